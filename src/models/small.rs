//! The two small networks: Hernandez' own CNN and Gao & Wang's stage classifier. Blocks of one 3×3 convolution with ReLU
//! and a 2×2 max pool, then dense layers.

use super::Base;
use crate::graph::Tensor;
use crate::nn::Layers;
use crate::ops::{Geometry, Window};

/// Channels of each block: Hernandez, "Detection of COVID-19 using transfer learning", table of the custom CNN.
pub const HERNANDEZ: [usize; 4] = [32, 64, 128, 128];

/// Channels of each block: Gao & Wang, table 1: 896, 18,496 and 73,856 parameters.
pub const GAOWANG: [usize; 3] = [32, 64, 128];

fn blocks<'g>(layers: &Layers, x: Tensor<'g>, channels: &[usize]) -> Base<'g> {
    let (mut features, mut y) = (x, x);
    for (i, k) in channels.iter().enumerate() {
        features = layers.conv2d(y, &format!("conv{}", i + 1), *k, [3, 3], Geometry::same(3, 3)).relu();
        y = features.max_pool(Window::square(2));
    }
    Base { features, output: y }
}

/// Hernandez' custom CNN, `conv1` … `conv4`.
pub fn hernandez_custom<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    blocks(layers, x, &HERNANDEZ)
}

/// Gao & Wang's CNN, `conv1` … `conv3`.
pub fn gaowang<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    blocks(layers, x, &GAOWANG)
}
