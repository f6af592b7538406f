//! ResNet50: He et al., arXiv:1512.03385, table 1. torchvision's has the stride of a stage in its first 3×3 convolution ("v1.5") and
//! no convolution biases; Keras' has it in the first 1×1, and biases.

use super::Base;
use crate::graph::Tensor;
use crate::nn::{BatchNormOptions, Layers};
use crate::ops::{Geometry, Window};

/// Blocks, width of the bottleneck and stride of each stage; a block's output has four times the width.
pub const STAGES: [(usize, usize, usize); 4] = [(3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)];

/// Which library's network.
#[derive(Clone, Copy, PartialEq)]
struct Dialect {
    keras: bool,
    norm: BatchNormOptions,
}

/// torchvision's ResNet50: `conv1`, `bn1`, `layer1.0.conv1` …
pub fn resnet50<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    network(layers, x, Dialect { keras: false, norm: BatchNormOptions::default() })
}

/// Keras' ResNet50 under the same names.
pub fn resnet50_keras<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let norm = BatchNormOptions { epsilon: 1.001e-5, momentum: 0.01, ..BatchNormOptions::default() };
    network(layers, x, Dialect { keras: true, norm })
}

fn network<'g>(layers: &Layers, x: Tensor<'g>, dialect: Dialect) -> Base<'g> {
    let y = conv(layers, x, "conv1", 64, 7, 2, dialect);
    let y = layers.batch_norm(y, "bn1", dialect.norm).relu();
    let mut y = y.max_pool(Window { size: [3, 3], stride: [2, 2], padding: [1; 4] });
    for (stage, (blocks, width, stride)) in STAGES.into_iter().enumerate() {
        for i in 0..blocks {
            let _scope = x.graph().scope(&format!("layer{}.{i}", stage + 1));
            y = bottleneck(layers, y, width, if i == 0 { Some(stride) } else { None }, dialect);
        }
    }
    Base { features: y, output: y }
}

/// 1×1, 3×3, 1×1 around a shortcut; the first of a stage (`stride`) has a convolution in its shortcut.
fn bottleneck<'g>(layers: &Layers, x: Tensor<'g>, width: usize, stride: Option<usize>, dialect: Dialect) -> Tensor<'g> {
    let step = stride.unwrap_or(1);
    let (first, second) = if dialect.keras { (step, 1) } else { (1, step) };
    let shortcut = match stride {
        None => x,
        Some(s) => {
            let y = conv(layers, x, "downsample.0", 4 * width, 1, s, dialect);
            layers.batch_norm(y, "downsample.1", dialect.norm)
        }
    };
    let y = conv(layers, x, "conv1", width, 1, first, dialect);
    let y = layers.batch_norm(y, "bn1", dialect.norm).relu();
    let y = conv(layers, y, "conv2", width, 3, second, dialect);
    let y = layers.batch_norm(y, "bn2", dialect.norm).relu();
    let y = conv(layers, y, "conv3", 4 * width, 1, 1, dialect);
    layers.batch_norm(y, "bn3", dialect.norm).add(shortcut).relu()
}

fn conv<'g>(
    layers: &Layers,
    x: Tensor<'g>,
    name: &str,
    k: usize,
    size: usize,
    stride: usize,
    dialect: Dialect,
) -> Tensor<'g> {
    let geometry = Geometry { stride: [stride; 2], padding: [size / 2; 4] };
    if dialect.keras {
        layers.conv2d(x, name, k, [size; 2], geometry)
    } else {
        layers.conv2d_unbiased(x, name, k, [size; 2], geometry)
    }
}
