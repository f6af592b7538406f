//! DETL: Basu & Mitra, "Deep Learning for Screening COVID-19 using Chest X-Ray Images", arXiv:2004.10507, section III-B.
//!
//! Twelve layers: 3×3 valid convolutions with ReLU, a 2×2 max pool after each pair, three dense layers. The paper gives no
//! input side; 64, 128 and 224 are used here, one channel.

use super::{Base, Head, Outputs, Pooling};
use crate::graph::Tensor;
use crate::nn::Layers;
use crate::ops::{Geometry, Window};

/// Channels of the two convolutions of each block.
pub const BLOCKS: [usize; 3] = [32, 64, 128];

/// Width of the hidden dense layers; the last one has as many outputs as there are classes.
pub const DENSE: [usize; 2] = [256, 128];

/// The smallest input side that leaves a pixel after the last pool.
pub const SMALLEST_SIDE: usize = 36;

/// DETL as the paper has it, on images `x` [N, 1, S, S]; parameters are `block1.conv1.weight` … `fc3.bias`.
///
/// # Panics
/// When the side is below [`SMALLEST_SIDE`]: the pools leave nothing.
#[track_caller]
pub fn detl12<'g>(x: Tensor<'g>, classes: usize, layers: &Layers) -> Outputs<'g> {
    let base = features(layers, x);
    Outputs { logits: dense_layers().record(layers, base.output, classes), features: base.features }
}

/// The convolutional part.
pub(super) fn features<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    last_block(layers, base(layers, x))
}

/// Blocks 1 and 2, which stage 2 of the paper freezes: images to pooled features [N, 64, H, W].
pub(super) fn base<'g>(layers: &Layers, x: Tensor<'g>) -> Tensor<'g> {
    (0..BLOCKS.len() - 1).fold(x, |y, i| block(layers, y, i).output)
}

/// Block 3 on the features of [`base`].
pub(super) fn last_block<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    block(layers, x, BLOCKS.len() - 1)
}

/// The dense layers.
pub(super) fn dense_layers() -> Head {
    Head::named(Pooling::Flatten, &[("fc1", DENSE[0], 0.0), ("fc2", DENSE[1], 0.0)], "fc3")
}

/// Two 3×3 valid convolutions, each with ReLU; and their max pool.
#[track_caller]
fn block<'g>(layers: &Layers, x: Tensor<'g>, index: usize) -> Base<'g> {
    let _scope = x.graph().scope(&format!("block{}", index + 1));
    let y = layers.conv2d(x, "conv1", BLOCKS[index], [3, 3], Geometry::VALID).relu();
    let features = layers.conv2d(y, "conv2", BLOCKS[index], [3, 3], Geometry::VALID).relu();
    Base { features, output: features.max_pool(Window::square(2)) }
}
