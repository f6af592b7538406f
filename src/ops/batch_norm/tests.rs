use super::*;
use crate::graph::Graph;
use crate::ops::testing::{Case, numbers};

/// One pixel, one image, ragged quads, more than one slot, more than one round of 64 slots.
const SIZES: [[usize; 4]; 7] =
    [[1, 1, 1, 1], [2, 3, 1, 1], [3, 7, 5, 3], [1, 17, 9, 11], [2, 33, 7, 7], [5, 4, 1, 67], [1, 5, 71, 61]];

fn recorded<'g>(case: &mut Case<'g>, [n, c, h, w]: [usize; 4], gamma: bool) -> (Tensor<'g>, Vec<Tensor<'g>>) {
    let x = case.random("x", Shape::image(n, c, h, w));
    let scale = gamma.then(|| case.random("gamma", Shape::Channels { c }));
    let beta = case.random("beta", Shape::Channels { c });
    let y = x.batch_norm(x.batch_stats(), scale, beta, 0.1);
    (y, [x].into_iter().chain(scale).chain([beta]).collect())
}

#[test]
fn batch_norm_and_its_gradients() {
    for (i, size) in SIZES.into_iter().enumerate() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let (y, wrt) = recorded(&mut case, size, i % 2 == 0);
        case.check(&[y], 4e-6);
        if size.iter().product::<usize>() < 2000 {
            case.check_gradients(y, &wrt, 4e-5);
        }
    }
}

#[test]
fn a_residual_and_a_relu_are_fused() {
    for size in SIZES {
        let [n, c, h, w] = size;
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let (y, wrt) = recorded(&mut case, size, true);
        let skip = case.random("skip", Shape::image(n, c, h, w));
        let own = y.add(skip).relu();
        let given = wrt[0].normalize(wrt[1], wrt[2], wrt[1]).add(skip).relu();
        case.check(&[own, wrt[0].normalize(wrt[1], wrt[2], wrt[1]).relu(), given], 4e-6);
        let keys = crate::plan::kernels(&graph, &[own, given], crate::gpu::tuning::TABLE[0]);
        let names: Vec<_> = keys.iter().map(|k| k.entry).collect();
        assert_eq!(names, ["batch_stats_partial", "batch_stats_total", "batch_norm", "normalize"]);
    }
}

#[test]
fn given_statistics_and_their_gradients() {
    for (i, [n, c, h, w]) in SIZES.into_iter().enumerate() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let shape = Shape::Channels { c };
        let x = case.random("x", Shape::image(n, c, h, w));
        let (gamma, beta, mean) = (case.random("gamma", shape), case.random("beta", shape), case.random("mean", shape));
        let positive: Vec<f32> = numbers(3, c).iter().map(|v| v + 1.1).collect();
        let var = case.given("var", shape, &positive);
        let scale = var.batch_norm_scale((i % 2 == 0).then_some(gamma), 1e-3);
        let y = x.normalize(mean, scale, beta);
        case.check(&[y, scale], 4e-6);
        if n * c * h * w < 2000 {
            let wrt = if i % 2 == 0 { vec![x, gamma, beta] } else { vec![x, beta] };
            case.check_gradients(y, &wrt, 4e-5);
        }
    }
}

/// 66,820 pixels with mean 100 and deviation 0.01: Σ x² − (Σ x)² / M in f32 would leave nothing of the variance.
#[test]
fn a_large_mean_does_not_hide_a_small_variance() {
    let graph = Graph::new();
    let mut case = Case::new(&graph);
    let shape = Shape::image(1, 2, 260, 257);
    let values: Vec<f32> = numbers(7, shape.elements()).iter().map(|v| 100.0 + 0.01 * v).collect();
    let x = case.given("x", shape, &values);
    let (mean, var) = x.batch_stats();
    // Half a unit in the last place of 100 is 3.8e-6; the mean of 66,820 roundings is far better than each of them.
    let got = case.check(&[mean, var], 1e-6);
    let known = case.known();
    let want = crate::graph::reference::evaluate(&graph, &known, &[var]).remove(0);
    for (g, w) in got[1].iter().zip(&want) {
        assert!((f64::from(*g) / w - 1.0).abs() < 1e-4, "variance {g}, f64 says {w}");
    }
}

#[test]
fn running_statistics_follow() {
    let graph = Graph::new();
    let mut case = Case::new(&graph);
    let shape = Shape::Channels { c: 7 };
    let all: Vec<Tensor> = ["running mean", "running var", "mean", "var"].map(|n| case.random(n, shape)).to_vec();
    for (momentum, unbiased) in [(0.1, true), (0.01, false), (1.0, true), (0.0, false)] {
        let next = graph.record(RunningUpdate { momentum, samples: 5, unbiased }, &all);
        let got = case.check(&next, 1e-6);
        if momentum == 0.0 {
            let old = case.known()[&all[0].id].clone();
            assert!(got[0].iter().zip(old).all(|(g, o)| f64::from(*g) == o), "momentum 0 changes no bit");
        }
    }
    let bad = RunningUpdate { momentum: 0.1, samples: 1, unbiased: true }.shapes(&[shape; 4]);
    assert!(bad.is_err_and(|m| m.contains("unbiased")));
}

#[test]
fn what_does_not_fit_is_named() {
    let (x, c) = (Shape::image(2, 3, 4, 5), Shape::Channels { c: 3 });
    let op = |epsilon| BatchNorm { epsilon, gamma: true, skip: false, relu: false };
    assert!(op(1e-5).shapes(&[x, c, c, c, c]).is_ok());
    assert!(op(0.0).shapes(&[x, c, c, c, c]).is_err_and(|m| m.contains("epsilon")));
    let wrong = Shape::Channels { c: 4 };
    assert!(op(1e-5).shapes(&[x, c, c, wrong, c]).is_err_and(|m| m.contains("gamma")));
    assert!(op(1e-5).shapes(&[x, c, c, c]).is_err());
}

/// One kernel (and the sum of its slices where it is split): nothing of the chain goes through memory.
#[test]
fn a_convolution_takes_batch_norm_residual_and_relu() {
    use crate::ops::Geometry;
    for (bias, [n, c, h, w], k, r, stride) in [
        (false, [2, 5, 7, 6], 7, 3, [1, 1]),
        (true, [1, 67, 5, 3], 34, 1, [1, 1]),
        (true, [2, 1, 9, 9], 5, 3, [2, 2]),
        (false, [3, 33, 1, 1], 10, 1, [1, 1]),
    ] {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let shape = Shape::Channels { c: k };
        let x = case.random("x", Shape::image(n, c, h, w));
        let filter = case.random("w", Shape::Filter { k, c, r, s: r });
        let z = x.conv2d(filter, Geometry { stride, padding: [(r - 1) / 2; 4] });
        let z = if bias { z.bias(case.random("b", shape)) } else { z };
        let [mean, scale, beta] = ["mean", "scale", "beta"].map(|name| case.random(name, shape));
        let skip = case.random("skip", z.shape());
        let y = z.normalize(mean, scale, beta).add(skip).relu();
        case.check(&[y], 1e-5);
        case.check(&[z.normalize(mean, scale, beta)], 1e-5);
        for row in crate::gpu::tuning::TABLE {
            let keys = crate::plan::kernels(&graph, &[y], *row);
            let names: Vec<_> = keys.iter().map(|k| k.entry).collect();
            assert!(
                names == ["conv2d_forward"] || names == ["conv2d_forward", "gemm_reduce"],
                "{}: {names:?}",
                row.name
            );
        }
    }
}
