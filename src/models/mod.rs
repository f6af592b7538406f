//! The networks of the five papers, one file a family; each paper's table is a const with the citation above it.

pub mod detl;

pub use detl::detl12;

use crate::error::{Error, Result};
use crate::graph::{Graph, Shape, Tensor};
use crate::nn::{Layers, ParamStore};

/// What a classifier computes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'g> {
    /// Class scores before softmax, [N, classes].
    pub logits: Tensor<'g>,
    /// The last convolutional activation, where Grad-CAM looks.
    pub features: Tensor<'g>,
}

/// A network by name.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Its name in files and on the command line.
    pub name: &'static str,
    /// The smallest side of its input that leaves a pixel at the end.
    pub smallest_side: usize,
    record: for<'g> fn(&'g Graph, Tensor<'g>, usize, &Layers) -> Outputs<'g>,
}

/// All networks.
pub const NETWORKS: &[Network] = &[Network { name: "detl12", smallest_side: detl::SMALLEST_SIDE, record: detl12 }];

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

    /// Records the network on `x` [N, 1, S, S].
    ///
    /// # Panics
    /// When the side is below [`Network::smallest_side`]; [`Network::check_side`] tells before.
    #[track_caller]
    pub fn record<'g>(&self, graph: &'g Graph, x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
        (self.record)(graph, x, classes, layers)
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
