//! Every kernel, forward and backward, in the shapes of the papers' networks: `cargo bench --bench kernels [NAME] [-- --smoke]`.
//! Times are device timestamps; shares refer to the ceilings measured in the same run.

mod common;

use common::Row;
use radiograd::nn::Optimizer;
use radiograd::ops::{Geometry, Smoothing, Window};
use radiograd::{Gpu, Graph, Plan, Shape, Tensor};
use std::rc::Rc;

/// A convolution: N, C, side, K, filter side, padding.
const CONVS: [(&str, [usize; 6]); 8] = [
    ("conv 3x3 N8 C64 56 K64", [8, 64, 56, 64, 3, 1]),
    ("conv 3x3 N8 C128 28 K128", [8, 128, 28, 128, 3, 1]),
    ("detl block1.conv1 N16 C1 64 K32", [16, 1, 64, 32, 3, 0]),
    ("detl block1.conv2 N16 C32 62 K32", [16, 32, 62, 32, 3, 0]),
    ("detl block2.conv1 N16 C32 30 K64", [16, 32, 30, 64, 3, 0]),
    ("detl block2.conv2 N16 C64 28 K64", [16, 64, 28, 64, 3, 0]),
    ("detl block3.conv1 N16 C64 13 K128", [16, 64, 13, 128, 3, 0]),
    ("detl block3.conv2 N16 C128 11 K128", [16, 128, 11, 128, 3, 0]),
];

/// A dense layer: N, features, outputs.
const DENSE: [(&str, [usize; 3]); 3] = [
    ("gemm 512^3", [512, 512, 512]),
    ("detl fc1 N16 2048 256", [16, 2048, 256]),
    ("detl fc2 N16 256 128", [16, 256, 128]),
];

fn main() {
    let gpu = common::open();
    let c = common::ceilings(&gpu);
    let mut rows = Vec::new();
    let convs: &[_] = if common::smoke() { &CONVS[6..] } else { &CONVS };
    for (name, [n, ch, side, k, r, pad]) in convs {
        let filter = Shape::Filter { k: *k, c: *ch, r: *r, s: *r };
        let g = Geometry { stride: [1, 1], padding: [*pad; 4] };
        linear(&gpu, &mut rows, name, Shape::image(*n, *ch, *side, *side), filter, g);
    }
    let dense: &[_] = if common::smoke() { &DENSE[2..] } else { &DENSE };
    for (name, [n, f, k]) in dense {
        linear(
            &gpu,
            &mut rows,
            name,
            Shape::image(*n, *f, 1, 1),
            Shape::Filter { k: *k, c: *f, r: 1, s: 1 },
            Geometry::VALID,
        );
    }
    streaming(&gpu, &mut rows);
    common::report("kernels", &gpu, &c, &rows);
}

/// Forward, input gradient, filter gradient, with bias and ReLU fused as in the networks.
fn linear(gpu: &Gpu, rows: &mut Vec<Row>, name: &str, x: Shape, filter: Shape, geometry: Geometry) {
    if !common::wanted(name) {
        return;
    }
    let graph = Graph::new();
    let x = graph.input("x", x);
    let w = graph.param("w", filter, true);
    let y = x.conv2d(w, geometry);
    let dy = graph.input("dy", y.shape());
    let back: Vec<Tensor> = y.gradients_with(dy, &[x, w]).into_iter().flatten().collect();
    let outputs: Vec<Tensor> = [y].into_iter().chain(back).collect();
    run(gpu, rows, name, &graph, outputs, &[(x, 1), (dy, 2)], true);
}

/// Kernels that move bytes, over 64 MiB.
fn streaming(gpu: &Gpu, rows: &mut Vec<Row>) {
    let (n, side) = if common::smoke() { (1, 16) } else { (16, 128) };
    let shape = Shape::image(n, 64, side, side);
    type Build = for<'g> fn(&'g Graph, Tensor<'g>, Tensor<'g>) -> Vec<Tensor<'g>>;
    let cases: [(&str, Build); 6] = [
        ("relu 64 MiB", |_, x, _| vec![x.relu()]),
        ("relu gradient 64 MiB", |_, x, dy| x.relu().gradients_with(dy, &[x]).into_iter().flatten().collect()),
        ("add 64 MiB", |_, x, dy| vec![x.add(dy)]),
        ("bias 64 MiB", |g, x, _| vec![x.bias(g.param("b", Shape::Channels { c: 64 }, true))]),
        ("bias gradient 64 MiB", |g, x, dy| {
            let b = g.param("b", Shape::Channels { c: 64 }, true);
            x.bias(b).gradients_with(dy, &[b]).into_iter().flatten().collect()
        }),
        ("max pool 2x2 64 MiB", |_, x, _| vec![x.max_pool(Window::square(2))]),
    ];
    for (name, build) in cases {
        if !common::wanted(name) {
            continue;
        }
        let graph = Graph::new();
        let (x, dy) = (graph.input("x", shape), graph.input("dy", shape));
        let outputs = build(&graph, x, dy);
        let feeds: Vec<(Tensor, u64)> =
            if name.contains("add") || name.contains("gradient") { vec![(x, 1), (dy, 2)] } else { vec![(x, 1)] };
        run(gpu, rows, name, &graph, outputs, &feeds, false);
    }
    if common::wanted("max pool gradient") {
        let graph = Graph::new();
        let x = graph.input("x", shape);
        let y = x.max_pool(Window::square(2));
        let dy = graph.input("dy", y.shape());
        let dx = y.gradients_with(dy, &[x]);
        run(
            gpu,
            rows,
            "max pool 2x2 gradient 64 MiB",
            &graph,
            dx.into_iter().flatten().collect(),
            &[(x, 1), (dy, 2)],
            false,
        );
    }
    if common::wanted("adam") {
        adam(gpu, rows, shape.elements());
    }
}

/// One Adam step over a parameter of `len` numbers.
fn adam(gpu: &Gpu, rows: &mut Vec<Row>, len: usize) {
    let graph = Graph::new();
    let filter = Shape::Filter { k: 256, c: len / 256, r: 1, s: 1 };
    let x = graph.input("x", Shape::image(1, len / 256, 1, 1));
    let w = graph.param("w", filter, true);
    let t = graph.input_integers("t", 1);
    let (loss, _) = x.dense(w).cross_entropy(t, Smoothing::None, None);
    let values = common::numbers(len, 3);
    let weights = radiograd::Weights::upload(gpu, [("w", filter, true, values.as_slice())]).expect("fits");
    let plan = Plan::compile(gpu, &graph, &Rc::new(weights), &Optimizer::adam().step_of(loss)).expect("fits");
    let all = common::time(gpu, &plan, if common::smoke() { 1 } else { 7 });
    if let Some((step, ms)) = all.last() {
        push(rows, "adam 64 MiB of parameters", plan.line(*step), *ms, false);
    }
}

/// Times every dispatch of a graph after feeding random inputs.
fn run(
    gpu: &Gpu,
    rows: &mut Vec<Row>,
    name: &str,
    graph: &Graph,
    outputs: Vec<Tensor>,
    feeds: &[(Tensor, u64)],
    arithmetic: bool,
) {
    let (mut plan, _weights) = common::plan(gpu, graph, outputs);
    let values: Vec<Vec<f32>> = feeds.iter().map(|(t, s)| common::numbers(t.shape().elements(), *s)).collect();
    let fed = feeds.iter().zip(&values).filter(|((t, _), _)| plan.reads(t.id));
    let fed: Vec<_> = fed.map(|((t, _), v)| (*t, radiograd::Feed::F32(v))).collect();
    plan.run(gpu, &fed).expect("runs");
    for (step, ms) in common::time(gpu, &plan, if common::smoke() { 1 } else { 7 }) {
        push(rows, name, plan.line(step), ms, arithmetic);
    }
}

/// Reads kernel, GFLOP and MB off the plan's listing.
fn push(rows: &mut Vec<Row>, name: &str, line: &str, ms: f64, arithmetic: bool) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let before = |unit: &str| {
        words.iter().position(|w| *w == unit).and_then(|i| words[i - 1].parse::<f64>().ok()).unwrap_or(0.0)
    };
    let kernel = words.iter().position(|w| *w == "groups").map_or("?", |i| words[i - 2]);
    rows.push(Row {
        name: name.into(),
        kernel: kernel.into(),
        ms,
        gflops: before("GFLOP") / ms * 1e3,
        gbytes: before("MB") / ms,
        arithmetic,
    });
}
