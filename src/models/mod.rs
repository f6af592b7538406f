//! The networks of the five papers, one file a family; each paper's table is a const with the citation above it.

pub mod detl;

pub use detl::detl12;

use crate::error::{Error, Result};
use crate::graph::{Graph, Shape, Tensor};
use crate::nn::{Layers, ParamStore, Trainable};

/// What a classifier computes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'g> {
    /// Class scores before softmax, [N, classes].
    pub logits: Tensor<'g>,
    /// The last convolutional activation, where Grad-CAM looks.
    pub features: Tensor<'g>,
}

/// Records a whole network: graph, images, classes.
type Record = for<'g> fn(&'g Graph, Tensor<'g>, usize, &Layers) -> Outputs<'g>;

/// Records the part of a network before its cut.
type RecordBase = for<'g> fn(&'g Graph, Tensor<'g>, &Layers) -> Tensor<'g>;

/// The place of a feature map's cells in the image, in pixels; the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Distance from cell to cell.
    pub stride: usize,
    /// Where the first cell begins.
    pub offset: usize,
}

/// Which part of a network is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Head,
}

/// A network by name.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Its name in files and on the command line.
    pub name: &'static str,
    /// The smallest side of its input that leaves a pixel at the end.
    pub smallest_side: usize,
    /// Where Grad-CAM's cells lie in the image: cell i of a row is centred on the pixels from `offset + i · stride` to
    /// `offset + (i + 1) · stride`. Unpadded convolutions eat a border, so the cells do not span the image, and stretching
    /// the map over all of it would move the heat outwards by up to `offset` pixels.
    pub cells: Cells,
    whole: Record,
    base: RecordBase,
    head: Record,
    part: Part,
}

/// All networks.
pub const NETWORKS: &[Network] = &[Network {
    name: "detl12",
    smallest_side: detl::SMALLEST_SIDE,
    cells: detl::CELLS,
    whole: detl::detl12,
    base: detl::base,
    head: detl::head,
    part: Part::Whole,
}];

impl Network {
    /// The network of this name.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names there are.
    pub fn named(name: &str) -> Result<Network> {
        NETWORKS.iter().find(|n| n.name == name).copied().ok_or_else(|| {
            let names: Vec<_> = NETWORKS.iter().map(|n| n.name).collect();
            Error::Usage(format!("there is no network '{name}'; there is {}", names.join(", ")))
        })
    }

    /// Records the network on `x`: images [N, 1, S, S], or for [`Network::head_only`] the base's features.
    ///
    /// # Panics
    /// When the side is below [`Network::smallest_side`]; [`Network::check_side`] tells before.
    #[track_caller]
    pub fn record<'g>(&self, graph: &'g Graph, x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
        match self.part {
            Part::Whole => (self.whole)(graph, x, classes, layers),
            Part::Head => (self.head)(graph, x, classes, layers),
        }
    }

    /// Records the part that transfer learning freezes: images [N, 1, S, S] to features.
    ///
    /// # Panics
    /// As [`Network::record`].
    #[track_caller]
    pub fn record_base<'g>(&self, graph: &'g Graph, x: Tensor<'g>) -> Tensor<'g> {
        (self.base)(graph, x, &Layers { trainable: Trainable::Matching(Vec::new()), training: false })
    }

    /// The same network from the base's features on: what trains when the base is frozen. Its parameters have the same
    /// names; the base's are not among them.
    pub fn head_only(self) -> Network {
        Network { part: Part::Head, ..self }
    }

    /// Whether images of `side` × `side` fit.
    ///
    /// # Errors
    /// [`Error::Usage`] with what the network needs.
    pub fn check_side(&self, side: usize) -> Result<()> {
        let range = self.smallest_side..=1024;
        if range.contains(&side) {
            return Ok(());
        }
        Err(Error::Usage(format!("{}: a side of {side} pixels, possible is {} to 1024", self.name, range.start())))
    }

    /// Freshly initialised parameters for `side` and `classes`; no device needed.
    pub fn init(&self, side: usize, classes: usize, seed: u64) -> ParamStore {
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(1, 1, side, side));
        self.record(&graph, x, classes, &Layers::default());
        ParamStore::init(&graph, seed)
    }
}
