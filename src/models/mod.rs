//! The networks of the five papers, one file a family; each paper's table is a const with the citation above it. Layers and names
//! are torchvision's and timm's; `_keras` networks differ from them as Keras' do.

mod cells;
mod densenet;
pub mod detl;
mod head;
mod inception_resnet_v2;
mod inception_v3;
mod registry;
mod resnet;
mod small;
#[cfg(test)]
mod testing;
mod vgg;
mod xception;
mod zhong;

pub use cells::{Cells, cells};
pub use detl::detl12;
pub use head::{Activation, Head, Hidden, Pooling};
pub use registry::{Architecture, NETWORKS, Preprocess, Published};

use crate::error::{Error, Result};
use crate::graph::{Graph, Shape, Tensor};
use crate::nn::{BatchNormOptions, Layers, ParamStore, Trainable};
use crate::ops::Geometry;

/// What a classifier computes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'g> {
    /// Class scores before softmax, [N, classes]; one score before the sigmoid where there is one output.
    pub logits: Tensor<'g>,
    /// The last convolutional activation, where Grad-CAM looks.
    pub features: Tensor<'g>,
}

/// What the convolutional part of a network computes.
#[derive(Clone, Copy, Debug)]
pub struct Base<'g> {
    /// The activation where Grad-CAM looks.
    pub features: Tensor<'g>,
    /// What the head reads.
    pub output: Tensor<'g>,
}

/// Convolution without bias, batch norm and ReLU under `NAME.conv` and `NAME.bn`: the unit of the Inception family.
struct Unit<'a> {
    layers: &'a Layers,
    norm: BatchNormOptions,
}

impl Unit<'_> {
    fn unit<'g>(&self, x: Tensor<'g>, name: &str, k: usize, size: [usize; 2], geometry: Geometry) -> Tensor<'g> {
        let _scope = x.graph().scope(name);
        let y = self.layers.conv2d_unbiased(x, "conv", k, size, geometry);
        self.layers.batch_norm(y, "bn", self.norm).relu()
    }

    /// Stride 1 and the padding that keeps the size.
    fn same<'g>(&self, x: Tensor<'g>, name: &str, k: usize, size: [usize; 2]) -> Tensor<'g> {
        self.unit(x, name, k, size, Geometry::same(size[0], size[1]))
    }

    /// 3×3 without padding.
    fn valid<'g>(&self, x: Tensor<'g>, name: &str, k: usize) -> Tensor<'g> {
        self.unit(x, name, k, [3, 3], Geometry::VALID)
    }

    /// 3×3, stride 2, without padding.
    fn strided<'g>(&self, x: Tensor<'g>, name: &str, k: usize) -> Tensor<'g> {
        self.unit(x, name, k, [3, 3], Geometry { stride: [2, 2], padding: [0; 4] })
    }
}

/// Which part of a network is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Head,
}

/// How a grey image meets a first filter of three channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grey {
    /// The image is given three times.
    #[default]
    Replicate,
    /// The first filter is summed over its channels, and the network has one channel: the same logits, a third of the first
    /// layer's work. `crate::weights` sums published filters on loading.
    Fold,
}

/// A network: an architecture with a head.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name in files and on the command line.
    pub name: &'static str,
    /// What is known of it: input, preprocessing, parameters, licence of published weights.
    pub architecture: &'static Architecture,
    /// What stands between features and logits.
    pub head: Head,
    /// How a grey image meets a first filter of three channels.
    pub grey: Grey,
    /// How a grey pixel in [0, 1] becomes the three channels of [`Grey::Replicate`]; without it, each is the pixel itself.
    pub preprocess: Option<Preprocess>,
    part: Part,
}

impl Network {
    /// The network of this name, with the head of its paper.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest names.
    pub fn named(name: &str) -> Result<Network> {
        let architecture = NETWORKS.iter().find(|n| n.name == name).ok_or_else(|| {
            let names: Vec<&str> = NETWORKS.iter().map(|n| n.name).collect();
            Error::Usage(format!("there is no network '{name}'; {}", crate::names::nearest(name, &names)))
        })?;
        Ok(Network {
            name: architecture.name,
            architecture,
            head: (architecture.head)(),
            grey: Grey::default(),
            preprocess: None,
            part: Part::Whole,
        })
    }

    /// The same base with another head.
    pub fn with_head(self, head: Head) -> Network {
        Network { head, ..self }
    }

    /// The same network for grey images by this means.
    pub fn with_grey(self, grey: Grey) -> Network {
        Network { grey, ..self }
    }

    /// The same network, where grey pixels in [0, 1] become three channels as published weights saw them. Give the network
    /// pixels as they are, then.
    pub fn with_preprocess(self, preprocess: Preprocess) -> Network {
        Network { preprocess: Some(preprocess), ..self }
    }

    /// The base in words: two networks with the same words and weights compute the same features.
    pub fn describe_base(&self) -> String {
        let Network { name, grey, preprocess, head, part, .. } = self;
        let part = if *part == Part::Head { ", from its features on" } else { "" };
        let channels = preprocess.map_or("as they are", Preprocess::name);
        format!("{name}, {:?} pooling, grey {grey:?}, channels {channels}{part}", head.pooling)
    }

    /// Names of the base's parameters in the order of its layers.
    pub fn base_parameters(&self, side: usize) -> Vec<String> {
        let graph = Graph::new();
        self.record_base(graph.input("images", Shape::image(1, 1, side, side)));
        graph.params().into_iter().map(|p| p.0).collect()
    }

    /// Channels of the first filter.
    pub fn channels(&self) -> usize {
        if self.grey == Grey::Fold { 1 } else { self.architecture.channels }
    }

    /// Records the network on `x`: images [N, C, H, W], where C is 1 or the network's channels, or for [`Network::head_only`]
    /// the base's features.
    ///
    /// # Panics
    /// When the images are too small: [`Network::check_side`] tells before.
    #[track_caller]
    pub fn record<'g>(&self, graph: &'g Graph, x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
        assert!(std::ptr::eq(graph, x.graph()), "{}: the images are of another graph", self.name);
        let (features, vector) = match self.part {
            Part::Whole => {
                let base = (self.architecture.base)(layers, self.expand(x));
                (base.features, self.head.pool(base.output))
            }
            Part::Head => match self.architecture.after_cut {
                None => (x, x),
                Some(rest) => {
                    let base = rest(layers, x);
                    (base.features, self.head.pool(base.output))
                }
            },
        };
        Outputs { logits: self.head.record(layers, vector, classes), features }
    }

    /// Records the part that transfer learning freezes: images to what [`Network::head_only`] reads.
    ///
    /// # Panics
    /// As [`Network::record`].
    #[track_caller]
    pub fn record_base<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let layers = Layers { trainable: Trainable::Matching(Vec::new()), ..Layers::default() };
        let x = self.expand(x);
        match self.architecture.before_cut {
            Some(stem) => stem(&layers, x),
            None => self.head.pool((self.architecture.base)(&layers, x).output),
        }
    }

    /// A grey image as the channels of the first filter.
    fn expand<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let (_, c, _, _) = x.nchw();
        let (scale, shift) = self.preprocess.map_or(([1.0; 3], [0.0; 3]), Preprocess::channels);
        if c == 1 && self.channels() == 3 { x.replicate(scale, shift) } else { x }
    }

    /// The same network from the base's features on: what trains when the base is frozen. Its parameters have the same
    /// names; the base's are not among them.
    pub fn head_only(&self) -> Network {
        Network { part: Part::Head, ..self.clone() }
    }

    /// Whether images of `side` × `side` fit.
    ///
    /// # Errors
    /// [`Error::Usage`] with what the network needs.
    pub fn check_side(&self, side: usize) -> Result<()> {
        let range = self.architecture.smallest_side..=1024;
        if range.contains(&side) {
            return Ok(());
        }
        Err(Error::Usage(format!("{}: a side of {side} pixels, possible is {} to 1024", self.name, range.start())))
    }

    /// Freshly initialised parameters for grey images of `side` and for `classes`; no device needed.
    pub fn init(&self, side: usize, classes: usize, seed: u64) -> ParamStore {
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(1, 1, side, side));
        self.record(&graph, x, classes, &Layers::default());
        ParamStore::init(&graph, seed)
    }

    /// Where the cells of Grad-CAM's map lie in images of `side`.
    pub fn cells(&self, side: usize) -> Cells {
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(1, 1, side, side));
        let whole = Network { part: Part::Whole, ..self.clone() };
        let out = whole.record(&graph, x, 2, &Layers::default());
        cells(&graph, out.features.id)
    }
}
