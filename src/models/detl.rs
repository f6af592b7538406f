//! DETL: Basu & Mitra, "Deep Learning for Screening COVID-19 using Chest X-Ray Images", arXiv:2004.10507, section III-B.
//!
//! Twelve layers: 3×3 valid convolutions with ReLU, a 2×2 max pool after each pair, three dense layers. The paper gives no
//! input side; 64, 128 and 224 are used here, one channel.

use super::Outputs;
use crate::graph::{Graph, Tensor};
use crate::nn::Layers;
use crate::ops::{Geometry, Window};

/// Channels of the two convolutions of each block.
pub const BLOCKS: [usize; 3] = [32, 64, 128];

/// Width of the hidden dense layers; the last one has as many outputs as there are classes.
pub const DENSE: [usize; 2] = [256, 128];

/// The smallest input side that leaves a pixel after the last pool.
pub const SMALLEST_SIDE: usize = 36;

/// Records DETL on images `x` [N, 1, S, S]; parameters are `block1.conv1.weight` … `fc3.bias`.
///
/// # Panics
/// When the side is below [`SMALLEST_SIDE`]: the pools leave nothing.
#[track_caller]
pub fn detl12<'g>(graph: &'g Graph, x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
    let (mut y, mut features) = (x, x);
    for (i, channels) in BLOCKS.into_iter().enumerate() {
        let _scope = graph.scope(&format!("block{}", i + 1));
        y = layers.conv2d(y, "conv1", channels, [3, 3], Geometry::VALID).relu();
        y = layers.conv2d(y, "conv2", channels, [3, 3], Geometry::VALID).relu();
        features = y;
        y = y.max_pool(Window::square(2));
    }
    for (i, width) in DENSE.into_iter().enumerate() {
        y = layers.dense(y, &format!("fc{}", i + 1), width).relu();
    }
    Outputs { logits: layers.dense(y, "fc3", classes), features }
}
