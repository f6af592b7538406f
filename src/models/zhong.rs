//! Zhong's deep CNN for COVID-19, viral pneumonia and normal chest films: 3×3 convolutions with ELU in four blocks; the dense
//! layers read the global maximum of every block's pooled output and the whole last map (63,148,835 parameters).

use super::Base;
use crate::graph::Tensor;
use crate::nn::Layers;
use crate::ops::{Geometry, Window};

/// Channels and convolutions of each block.
pub const BLOCKS: [(usize, usize); 4] = [(32, 2), (64, 2), (128, 3), (128, 3)];

/// `block1.conv1` … `block4.conv3`; the output is [N, 352 + 12,800] for images of side 80.
pub fn zhong_dcnn<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let graph = x.graph();
    let (mut features, mut y, mut maxima) = (x, x, Vec::new());
    for (block, (channels, convolutions)) in BLOCKS.into_iter().enumerate() {
        for i in 0..convolutions {
            let name = format!("block{}.conv{}", block + 1, i + 1);
            y = layers.conv2d(y, &name, channels, [3, 3], Geometry::same(3, 3)).elu(1.0);
        }
        features = y;
        y = y.max_pool(Window::square(2));
        maxima.push(y.global_max_pool());
    }
    maxima.push(features.flatten());
    Base { features, output: graph.concat(&maxima) }
}
