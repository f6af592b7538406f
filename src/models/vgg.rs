//! VGG: Simonyan & Zisserman, arXiv:1409.1556, configurations D and E. Names and layers as in torchvision; Keras' networks are the
//! same but for the order of the flattened features (`crate::weights::keras`).

use super::Base;
use crate::graph::Tensor;
use crate::nn::Layers;
use crate::ops::{Geometry, Window};

/// Channels of the five blocks.
pub const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];

/// Convolutions of each block of VGG16.
pub const VGG16: [usize; 5] = [2, 2, 3, 3, 3];

/// Convolutions of each block of VGG19.
pub const VGG19: [usize; 5] = [2, 2, 4, 4, 4];

fn features<'g>(layers: &Layers, x: Tensor<'g>, blocks: [usize; 5]) -> Base<'g> {
    // torchvision numbers every layer of the sequence: convolution, ReLU, …, pool.
    let (mut index, mut last, mut y) = (0, x, x);
    for (channels, convolutions) in CHANNELS.into_iter().zip(blocks) {
        for _ in 0..convolutions {
            last = layers.conv2d(y, &format!("features.{index}"), channels, [3, 3], Geometry::same(3, 3)).relu();
            (y, index) = (last, index + 2);
        }
        y = y.max_pool(Window::square(2));
        index += 1;
    }
    Base { features: last, output: y }
}

/// VGG16, `features.0` … `features.28`.
pub fn vgg16<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    features(layers, x, VGG16)
}

/// VGG19, `features.0` … `features.34`.
pub fn vgg19<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    features(layers, x, VGG19)
}
