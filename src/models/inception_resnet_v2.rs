//! Inception-ResNet v2: Szegedy et al., arXiv:1602.07261, as published by timm and by Keras: inception modules whose scaled output is
//! added to their input. Keras' batch norm has no γ.

use super::{Base, Unit};
use crate::graph::Tensor;
use crate::nn::{BatchNormOptions, Layers};
use crate::ops::{Geometry, Window};

/// Modules and scale of the residual of the three kinds; one more of the last kind, unscaled and without ReLU, ends them.
pub const REPEATS: [(usize, f32); 3] = [(10, 0.17), (20, 0.1), (9, 0.2)];

/// timm's Inception-ResNet v2: `conv2d_1a.conv`, `repeat.0.branch0.bn` …
pub fn inception_resnet_v2<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let norm = BatchNormOptions { epsilon: 1e-3, ..BatchNormOptions::default() };
    network(x, &Unit { layers, norm })
}

/// Keras' Inception-ResNet v2 under the same names.
pub fn inception_resnet_v2_keras<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let norm = BatchNormOptions { epsilon: 1e-3, momentum: 0.01, gamma: false, ..BatchNormOptions::default() };
    network(x, &Unit { layers, norm })
}

/// x + scale · (1×1 convolution of the branches).
fn residual<'g>(x: Tensor<'g>, u: &Unit, branches: &[Tensor<'g>], scale: f32) -> Tensor<'g> {
    let (_, channels, _, _) = x.nchw();
    let y = u.layers.conv2d(x.graph().concat(branches), "conv2d", channels, [1, 1], Geometry::VALID);
    x.add_scaled(y, scale)
}

fn network<'g>(x: Tensor<'g>, u: &Unit) -> Base<'g> {
    let graph = x.graph();
    let reduce = Window { size: [3, 3], stride: [2, 2], padding: [0; 4] };
    let around = Window { size: [3, 3], stride: [1, 1], padding: [1; 4] };
    let point = |x, name: &str, k| u.same(x, name, k, [1, 1]);
    let y = u.strided(x, "conv2d_1a", 32);
    let y = u.valid(y, "conv2d_2a", 32);
    let y = u.same(y, "conv2d_2b", 64, [3, 3]).max_pool(reduce);
    let y = point(y, "conv2d_3b", 80);
    let mut y = u.valid(y, "conv2d_4a", 192).max_pool(reduce);
    {
        let _scope = graph.scope("mixed_5b");
        let a = point(y, "branch0", 96);
        let b = u.same(point(y, "branch1.0", 48), "branch1.1", 64, [5, 5]);
        let c = u.same(point(y, "branch2.0", 64), "branch2.1", 96, [3, 3]);
        let c = u.same(c, "branch2.2", 96, [3, 3]);
        y = graph.concat(&[a, b, c, point(y.avg_pool(around, false), "branch3.1", 64)]);
    }
    for i in 0..REPEATS[0].0 {
        let _scope = graph.scope(&format!("repeat.{i}"));
        let a = point(y, "branch0", 32);
        let b = u.same(point(y, "branch1.0", 32), "branch1.1", 32, [3, 3]);
        let c = u.same(point(y, "branch2.0", 32), "branch2.1", 48, [3, 3]);
        let c = u.same(c, "branch2.2", 64, [3, 3]);
        y = residual(y, u, &[a, b, c], REPEATS[0].1).relu();
    }
    {
        let _scope = graph.scope("mixed_6a");
        let a = u.strided(y, "branch0", 384);
        let b = u.same(point(y, "branch1.0", 256), "branch1.1", 256, [3, 3]);
        y = graph.concat(&[a, u.strided(b, "branch1.2", 384), y.max_pool(reduce)]);
    }
    for i in 0..REPEATS[1].0 {
        let _scope = graph.scope(&format!("repeat_1.{i}"));
        let a = point(y, "branch0", 192);
        let b = u.same(point(y, "branch1.0", 128), "branch1.1", 160, [1, 7]);
        let b = u.same(b, "branch1.2", 192, [7, 1]);
        y = residual(y, u, &[a, b], REPEATS[1].1).relu();
    }
    {
        let _scope = graph.scope("mixed_7a");
        let a = u.strided(point(y, "branch0.0", 256), "branch0.1", 384);
        let b = u.strided(point(y, "branch1.0", 256), "branch1.1", 288);
        let c = u.same(point(y, "branch2.0", 256), "branch2.1", 288, [3, 3]);
        y = graph.concat(&[a, b, u.strided(c, "branch2.2", 320), y.max_pool(reduce)]);
    }
    for i in 0..=REPEATS[2].0 {
        let last = i == REPEATS[2].0;
        let _scope = graph.scope(&if last { "block8".to_string() } else { format!("repeat_2.{i}") });
        let a = point(y, "branch0", 192);
        let b = u.same(point(y, "branch1.0", 192), "branch1.1", 224, [1, 3]);
        let b = u.same(b, "branch1.2", 256, [3, 1]);
        let sum = residual(y, u, &[a, b], if last { 1.0 } else { REPEATS[2].1 });
        y = if last { sum } else { sum.relu() };
    }
    let y = point(y, "conv2d_7b", 1536);
    Base { features: y, output: y }
}
