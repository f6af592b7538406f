//! Xception: Chollet, arXiv:1610.02357, figure 5, as published by timm (`legacy_xception`) and by Keras. timm pads its strided max pools by
//! one pixel on each side, Keras by its `same` rule; ε differs.

use super::Base;
use crate::graph::Tensor;
use crate::nn::{BatchNormOptions, Layers};
use crate::ops::{Geometry, Window};

/// Channels of the separable convolutions of each block and its stride; block 1 begins without ReLU.
pub const BLOCKS: [(&[usize], usize); 12] = [
    (&[128, 128], 2),
    (&[256, 256], 2),
    (&[728, 728], 2),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728; 3], 1),
    (&[728, 1024], 2),
];

/// timm's legacy Xception: `conv1`, `block1.rep.0.conv1`, `block1.rep.0.pointwise`, `block1.rep.1` …
pub fn xception<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    network(layers, x, BatchNormOptions::default(), false)
}

/// Keras' Xception under the same names.
pub fn xception_keras<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    network(layers, x, BatchNormOptions { epsilon: 1e-3, momentum: 0.01, ..BatchNormOptions::default() }, true)
}

fn separable<'g>(layers: &Layers, x: Tensor<'g>, name: &str, k: usize) -> Tensor<'g> {
    let _scope = x.graph().scope(name);
    let y = layers.depthwise_conv2d(x, "conv1", 1, [3, 3], Geometry::same(3, 3));
    layers.conv2d_unbiased(y, "pointwise", k, [1, 1], Geometry::VALID)
}

fn network<'g>(layers: &Layers, x: Tensor<'g>, norm: BatchNormOptions, keras: bool) -> Base<'g> {
    let graph = x.graph();
    let plain = |x, name: &str, k, stride| {
        layers.conv2d_unbiased(x, name, k, [3, 3], Geometry { stride: [stride; 2], padding: [0; 4] })
    };
    let y = layers.batch_norm(plain(x, "conv1", 32, 2), "bn1", norm).relu();
    let mut y = layers.batch_norm(plain(y, "conv2", 64, 1), "bn2", norm).relu();
    for (index, (channels, stride)) in BLOCKS.into_iter().enumerate() {
        let _scope = graph.scope(&format!("block{}", index + 1));
        let strided = stride == 2;
        let shortcut = if strided {
            let k = channels[channels.len() - 1];
            let s = layers.conv2d_unbiased(y, "skip", k, [1, 1], Geometry { stride: [2; 2], padding: [0; 4] });
            layers.batch_norm(s, "skipbn", norm)
        } else {
            y
        };
        // timm numbers every layer of the sequence: ReLU, separable convolution, batch norm, …
        let mut at = 0;
        for (i, k) in channels.iter().enumerate() {
            if i > 0 || index > 0 {
                y = y.relu();
                at += 1;
            }
            y = separable(layers, y, &format!("rep.{at}"), *k);
            y = layers.batch_norm(y, &format!("rep.{}", at + 1), norm);
            at += 2;
        }
        if strided {
            let (_, _, h, w) = y.nchw();
            let padding = if keras { Geometry::keras_same([h, w], [3, 3], [2, 2]).padding } else { [1; 4] };
            y = y.max_pool(Window { size: [3, 3], stride: [2, 2], padding });
        }
        y = y.add(shortcut);
    }
    let y = layers.batch_norm(separable(layers, y, "conv3", 1536), "bn3", norm).relu();
    let y = layers.batch_norm(separable(layers, y, "conv4", 2048), "bn4", norm).relu();
    Base { features: y, output: y }
}
