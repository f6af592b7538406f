//! DETL: Basu & Mitra, "Deep Learning for Screening COVID-19 using Chest X-Ray Images", arXiv:2004.10507, section III-B.
//!
//! Twelve layers: 3×3 valid convolutions with ReLU, a 2×2 max pool after each pair, three dense layers. The paper gives no
//! input side; 64, 128 and 224 are used here, one channel.

use super::{Cells, Outputs};
use crate::graph::{Graph, Tensor};
use crate::nn::Layers;
use crate::ops::{Geometry, Window};

/// Channels of the two convolutions of each block.
pub const BLOCKS: [usize; 3] = [32, 64, 128];

/// Width of the hidden dense layers; the last one has as many outputs as there are classes.
pub const DENSE: [usize; 2] = [256, 128];

/// The smallest input side that leaves a pixel after the last pool.
pub const SMALLEST_SIDE: usize = 36;

/// Cells of the last convolution's map. A valid 3×3 convolution shifts centres by one pixel, a 2×2 pool by half a pixel and
/// doubles the distance: cell m is centred at 2·(2·(m + 2) + ½ + 2) + ½ + 2 = 4 m + 15.5, so it begins at pixel 4 m + 14.
pub const CELLS: Cells = Cells { stride: 4, offset: 14 };

/// Records DETL on images `x` [N, 1, S, S]; parameters are `block1.conv1.weight` … `fc3.bias`.
///
/// # Panics
/// When the side is below [`SMALLEST_SIDE`]: the pools leave nothing.
#[track_caller]
pub fn detl12<'g>(graph: &'g Graph, x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
    head(graph, base(graph, x, layers), classes, layers)
}

/// Blocks 1 and 2, which stage 2 of the paper freezes: images to pooled features [N, 64, H, W].
///
/// # Panics
/// As [`detl12`].
#[track_caller]
pub fn base<'g>(graph: &'g Graph, x: Tensor<'g>, layers: &Layers) -> Tensor<'g> {
    (0..BLOCKS.len() - 1).fold(x, |y, i| block(graph, y, i, layers).1)
}

/// Block 3 and the dense layers on the features of [`base`].
///
/// # Panics
/// As [`detl12`].
#[track_caller]
pub fn head<'g>(graph: &'g Graph, x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
    let (features, mut y) = block(graph, x, BLOCKS.len() - 1, layers);
    for (i, width) in DENSE.into_iter().enumerate() {
        y = layers.dense(y, &format!("fc{}", i + 1), width).relu();
    }
    Outputs { logits: layers.dense(y, "fc3", classes), features }
}

/// Two 3×3 valid convolutions, each with ReLU; and their max pool.
#[track_caller]
fn block<'g>(graph: &'g Graph, x: Tensor<'g>, index: usize, layers: &Layers) -> (Tensor<'g>, Tensor<'g>) {
    let _scope = graph.scope(&format!("block{}", index + 1));
    let y = layers.conv2d(x, "conv1", BLOCKS[index], [3, 3], Geometry::VALID).relu();
    let features = layers.conv2d(y, "conv2", BLOCKS[index], [3, 3], Geometry::VALID).relu();
    (features, features.max_pool(Window::square(2)))
}
