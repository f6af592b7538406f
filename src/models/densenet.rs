//! DenseNet121: Huang et al., arXiv:1608.06993, table 1: every layer of a block reads the channels of all before it. The
//! concatenations are one buffer a block (`src/plan/slices.rs`). Names as in torchvision; Keras' differs in ε and momentum.

use super::Base;
use crate::graph::Tensor;
use crate::nn::{BatchNormOptions, Layers};
use crate::ops::{Geometry, Window};

/// Layers of each block.
pub const BLOCKS: [usize; 4] = [6, 12, 24, 16];

/// Channels that a layer adds, and four times as many in its bottleneck.
pub const GROWTH: usize = 32;

/// torchvision's DenseNet121: `features.conv0`, `features.denseblock1.denselayer1.norm1` …
pub fn densenet121<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    network(layers, x, BatchNormOptions::default())
}

/// Keras' DenseNet121 under the same names.
pub fn densenet121_keras<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    network(layers, x, BatchNormOptions { epsilon: 1.001e-5, momentum: 0.01, ..BatchNormOptions::default() })
}

fn network<'g>(layers: &Layers, x: Tensor<'g>, norm: BatchNormOptions) -> Base<'g> {
    let graph = x.graph();
    let _scope = graph.scope("features");
    let point = |y, name: &str, k| layers.conv2d_unbiased(y, name, k, [1, 1], Geometry::VALID);
    let y = layers.conv2d_unbiased(x, "conv0", 64, [7, 7], Geometry { stride: [2, 2], padding: [3; 4] });
    let y = layers.batch_norm(y, "norm0", norm).relu();
    let mut all = y.max_pool(Window { size: [3, 3], stride: [2, 2], padding: [1; 4] });
    for (block, count) in BLOCKS.into_iter().enumerate() {
        for i in 0..count {
            let _scope = graph.scope(&format!("denseblock{}.denselayer{}", block + 1, i + 1));
            let y = point(layers.batch_norm(all, "norm1", norm).relu(), "conv1", 4 * GROWTH);
            let y = layers.batch_norm(y, "norm2", norm).relu();
            let new = layers.conv2d_unbiased(y, "conv2", GROWTH, [3, 3], Geometry::same(3, 3));
            all = graph.concat(&[all, new]);
        }
        if block + 1 < BLOCKS.len() {
            let _scope = graph.scope(&format!("transition{}", block + 1));
            let (_, channels, _, _) = all.nchw();
            let y = point(layers.batch_norm(all, "norm", norm).relu(), "conv", channels / 2);
            all = y.avg_pool(Window::square(2), true);
        }
    }
    let y = layers.batch_norm(all, "norm5", norm).relu();
    Base { features: y, output: y }
}
