//! Inception v3: Szegedy et al., arXiv:1512.00567, as published by torchvision (without the auxiliary head) and by Keras. Keras' batch
//! norm has no γ, and its 3×3 average pools do not count the padding.

use super::{Base, Unit};
use crate::graph::Tensor;
use crate::nn::{BatchNormOptions, Layers};
use crate::ops::Window;

/// Channels of the pooled branch of the three 35×35 modules.
pub const MIXED_5: [(&str, usize); 3] = [("5b", 32), ("5c", 64), ("5d", 64)];

/// Width of the factorised 7×7 branches of the four 17×17 modules.
pub const MIXED_6: [(&str, usize); 4] = [("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)];

/// torchvision's Inception v3: `Conv2d_1a_3x3.conv`, `Mixed_5b.branch1x1.bn` …
pub fn inception_v3<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let norm = BatchNormOptions { epsilon: 1e-3, ..BatchNormOptions::default() };
    network(x, &Unit { layers, norm }, true)
}

/// Keras' Inception v3 under the same names.
pub fn inception_v3_keras<'g>(layers: &Layers, x: Tensor<'g>) -> Base<'g> {
    let norm = BatchNormOptions { epsilon: 1e-3, momentum: 0.01, gamma: false, ..BatchNormOptions::default() };
    network(x, &Unit { layers, norm }, false)
}

fn network<'g>(x: Tensor<'g>, u: &Unit, count_padding: bool) -> Base<'g> {
    let graph = x.graph();
    let reduce = Window { size: [3, 3], stride: [2, 2], padding: [0; 4] };
    let around = Window { size: [3, 3], stride: [1, 1], padding: [1; 4] };
    let mean = |x: Tensor<'g>| x.avg_pool(around, count_padding);
    let y = u.strided(x, "Conv2d_1a_3x3", 32);
    let y = u.valid(y, "Conv2d_2a_3x3", 32);
    let y = u.same(y, "Conv2d_2b_3x3", 64, [3, 3]).max_pool(reduce);
    let y = u.same(y, "Conv2d_3b_1x1", 80, [1, 1]);
    let mut y = u.valid(y, "Conv2d_4a_3x3", 192).max_pool(reduce);
    for (name, pooled) in MIXED_5 {
        let _scope = graph.scope(&format!("Mixed_{name}"));
        let a = u.same(y, "branch1x1", 64, [1, 1]);
        let b = u.same(u.same(y, "branch5x5_1", 48, [1, 1]), "branch5x5_2", 64, [5, 5]);
        let c = u.same(u.same(y, "branch3x3dbl_1", 64, [1, 1]), "branch3x3dbl_2", 96, [3, 3]);
        let c = u.same(c, "branch3x3dbl_3", 96, [3, 3]);
        y = graph.concat(&[a, b, c, u.same(mean(y), "branch_pool", pooled, [1, 1])]);
    }
    {
        let _scope = graph.scope("Mixed_6a");
        let a = u.strided(y, "branch3x3", 384);
        let b = u.same(u.same(y, "branch3x3dbl_1", 64, [1, 1]), "branch3x3dbl_2", 96, [3, 3]);
        y = graph.concat(&[a, u.strided(b, "branch3x3dbl_3", 96), y.max_pool(reduce)]);
    }
    for (name, width) in MIXED_6 {
        let _scope = graph.scope(&format!("Mixed_{name}"));
        let a = u.same(y, "branch1x1", 192, [1, 1]);
        let b = u.same(u.same(y, "branch7x7_1", width, [1, 1]), "branch7x7_2", width, [1, 7]);
        let b = u.same(b, "branch7x7_3", 192, [7, 1]);
        let c = u.same(u.same(y, "branch7x7dbl_1", width, [1, 1]), "branch7x7dbl_2", width, [7, 1]);
        let c = u.same(u.same(c, "branch7x7dbl_3", width, [1, 7]), "branch7x7dbl_4", width, [7, 1]);
        let c = u.same(c, "branch7x7dbl_5", 192, [1, 7]);
        y = graph.concat(&[a, b, c, u.same(mean(y), "branch_pool", 192, [1, 1])]);
    }
    {
        let _scope = graph.scope("Mixed_7a");
        let a = u.strided(u.same(y, "branch3x3_1", 192, [1, 1]), "branch3x3_2", 320);
        let b = u.same(u.same(y, "branch7x7x3_1", 192, [1, 1]), "branch7x7x3_2", 192, [1, 7]);
        let b = u.strided(u.same(b, "branch7x7x3_3", 192, [7, 1]), "branch7x7x3_4", 192);
        y = graph.concat(&[a, b, y.max_pool(reduce)]);
    }
    for name in ["7b", "7c"] {
        let _scope = graph.scope(&format!("Mixed_{name}"));
        let fork = |x, name: &str| {
            [("a", [1, 3]), ("b", [3, 1])].map(|(part, size)| u.same(x, &format!("{name}{part}"), 384, size))
        };
        let a = u.same(y, "branch1x1", 320, [1, 1]);
        let b = fork(u.same(y, "branch3x3_1", 384, [1, 1]), "branch3x3_2");
        let c = u.same(u.same(y, "branch3x3dbl_1", 448, [1, 1]), "branch3x3dbl_2", 384, [3, 3]);
        let c = fork(c, "branch3x3dbl_3");
        y = graph.concat(&[a, b[0], b[1], c[0], c[1], u.same(mean(y), "branch_pool", 192, [1, 1])]);
    }
    Base { features: y, output: y }
}
