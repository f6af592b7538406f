//! Clipping by the global norm, and accumulation over replays: against f64, against one large batch, and bit by bit.

use crate::{Test, count, open, plain, say};
use radiograd::gpu::Cutting;
use radiograd::nn::{Convention, Layers, Optimizer, ParamStore, Rule};
use radiograd::ops::{Geometry, Smoothing, Window};
use radiograd::plan::{HYPER, Update};
use radiograd::selftest::draw::Stream;
use radiograd::{Feed, Gpu, GpuOptions, Graph, Plan, PlanSpec, Shape, Tensor};
use std::rc::Rc;

pub const TESTS: &[Test] = &[
    ("clipping::the_update_is_that_of_clipped_gradients", the_update_is_that_of_clipped_gradients),
    ("clipping::a_nan_gradient_is_seen", a_nan_gradient_is_seen),
    ("clipping::accumulation_equals_the_large_batch", accumulation_equals_the_large_batch),
    ("clipping::accumulation_survives_cut_dispatches", accumulation_survives_cut_dispatches),
    ("clipping::the_step_count_is_that_of_updates", the_step_count_is_that_of_updates),
];

/// Parameters of ugly sizes: gaps between them in the arena, several workgroups of 4,096 quads, a ragged end.
const SIZES: [usize; 4] = [1, 5, 40_003, 67];

/// One step on parameters 1 and gradients `g`; the second parameter has no gradient. Gradients and gaps are NaN before.
fn step(optimizer: &Optimizer, g: &[Vec<f32>], lr: f64) -> Vec<Vec<f32>> {
    let graph = Graph::new();
    let (mut gradients, mut feeds, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    let zeros: Vec<Vec<f32>> = SIZES.iter().map(|n| vec![0.0; *n]).collect();
    for (i, n) in SIZES.into_iter().enumerate() {
        let shape = Shape::Channels { c: n };
        let p = graph.param(&format!("p{i}"), shape, true);
        let (given, zero) = (graph.input(&format!("g{i}"), shape), graph.input(&format!("zero{i}"), shape));
        outputs.push(p.add(zero));
        feeds.push((zero, Feed::F32(&zeros[i])));
        if i != 1 {
            gradients.push((p, given.add(zero)));
            feeds.push((given, Feed::F32(&g[i])));
        }
    }
    let hyper = graph.input("hyper", Shape::flat(HYPER));
    let mut store = ParamStore::init(&graph, 0);
    store.params.iter_mut().for_each(|p| p.values.fill(1.0));
    let weights = Rc::new(store.upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec {
        outputs,
        gradients,
        update: Some(optimizer as &dyn Update),
        hyper: Some(hyper),
        ..PlanSpec::default()
    };
    let mut plan = Plan::compile(plain(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    plan.poison(plain()).unwrap_or_else(|e| panic!("{e}"));
    let numbers = optimizer.clone().advance(lr);
    feeds.push((hyper, Feed::F32(&numbers)));
    plan.run(plain(), &feeds).unwrap_or_else(|e| panic!("{e}"));
    store.read(plain(), &weights).unwrap_or_else(|e| panic!("{e}"));
    store.params.into_iter().map(|p| p.values).collect()
}

fn draws() -> Vec<Vec<f32>> {
    let mut s = Stream::new(4, "clipping");
    SIZES.iter().map(|n| (0..*n).map(|_| s.unit()).collect()).collect()
}

fn the_update_is_that_of_clipped_gradients() {
    let g = draws();
    let with_gradient = [0, 2, 3];
    let square = |v: &f32| f64::from(*v) * f64::from(*v);
    let norm = with_gradient.iter().flat_map(|i| &g[*i]).map(square).sum::<f64>().sqrt();
    let (lr, decay) = (0.5, 0.01);
    for (convention, max_norm) in [Convention::Torch, Convention::Keras]
        .into_iter()
        .flat_map(|c| [1e-3, 1.0, 0.999 * norm, 1.001 * norm, 1e6].map(|m| (c, m)))
    {
        let plain_sgd = Optimizer::new(Rule::Sgd { momentum: 0.0, nesterov: false });
        let o = plain_sgd.with_convention(convention).with_weight_decay(decay).with_clip_norm(max_norm);
        let got = step(&o, &g, lr);
        let epsilon = if convention == Convention::Keras { 0.0 } else { 1e-6 };
        let coefficient = (max_norm / (norm + epsilon)).min(1.0);
        for i in with_gradient {
            for (p, g) in got[i].iter().zip(&g[i]) {
                // Decay sees the parameter, not the clipped gradient.
                let want = 1.0 - lr * (coefficient * f64::from(*g) + decay);
                assert!((f64::from(*p) - want).abs() < 4e-7, "{convention:?} {max_norm}: {p}, f64 says {want}");
            }
        }
        count("clipped updates compared with f64", 1);
    }
    // With a small coefficient every digit of the norm counts: the change itself, not the parameter beside it.
    let o = Optimizer::sgd(0.0).with_clip_norm(1.0);
    let got = step(&o, &g, 1e3);
    for (p, g) in got[2].iter().zip(&g[2]) {
        let want = 1.0 - 1e3 / (norm + 1e-6) * f64::from(*g);
        assert!((f64::from(*p) - want).abs() < 2e-6 * (1.0 + want.abs()), "{p}, f64 says {want}");
    }
}

fn a_nan_gradient_is_seen() {
    let mut g = draws();
    g[3][66] = f32::NAN;
    let got = step(&Optimizer::sgd(0.0).with_clip_norm(1.0), &g, 0.1);
    assert!(got[0][0].is_nan() && got[2][40_002].is_nan(), "a NaN norm must not pass for no clipping");
}

const SIDE: usize = 9;

/// Trains a small network for three updates of `per` images in each of `replays` replays; returns losses and weights.
fn train(gpu: &Gpu, optimizer: &Optimizer, per: usize, replays: usize) -> (Vec<f32>, ParamStore) {
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(per, 3, SIDE, SIDE));
    let layers = Layers::default();
    let y = layers.conv2d(x, "conv", 7, [3, 3], Geometry::same(3, 3)).relu().max_pool(Window::square(2));
    let logits = layers.dense(y, "fc", 3);
    let labels = graph.input_integers("labels", per);
    let (loss, _) = logits.cross_entropy(labels, Smoothing::None, None);
    let spec = optimizer.step_of(loss);
    let hyper = spec.hyper.expect("a step has hyperparameters");
    let mut store = ParamStore::init(&graph, 3);
    let weights = Rc::new(store.upload(gpu).unwrap_or_else(|e| panic!("{e}")));
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.accumulation(), replays as u64);
    plan.poison(gpu).unwrap_or_else(|e| panic!("{e}"));
    let (mut o, mut s) = (optimizer.clone(), Stream::new(9, "accumulation"));
    let mut losses = Vec::new();
    for _ in 0..3 {
        let before = weights.download(gpu).unwrap_or_else(|e| panic!("{e}"));
        let mut sum = 0.0;
        for r in 0..replays {
            let pixels: Vec<f32> = (0..per * 3 * SIDE * SIDE).map(|_| s.unit()).collect();
            // From the image alone, so that it does not matter which batch it is in.
            let label = |image: &[f32]| u32::from(image[0] > -0.3) + u32::from(image[0] > 0.3);
            let targets: Vec<u32> = pixels.chunks(3 * SIDE * SIDE).map(label).collect();
            let numbers = o.advance(0.02);
            let feeds: [(Tensor, Feed); 3] =
                [(x, Feed::F32(&pixels)), (labels, Feed::U32(&targets)), (hyper, Feed::F32(&numbers))];
            sum += plan.run(gpu, &feeds).unwrap_or_else(|e| panic!("{e}"))[0][0];
            let now = weights.download(gpu).unwrap_or_else(|e| panic!("{e}"));
            let moved = now.iter().zip(&before).any(|(a, b)| a.2 != b.2);
            assert_eq!(moved, r + 1 == replays, "replay {r} of {replays}");
        }
        losses.push(sum / replays as f32);
    }
    store.read(gpu, &weights).unwrap_or_else(|e| panic!("{e}"));
    (losses, store)
}

fn accumulation_equals_the_large_batch() {
    let rules = [
        Optimizer::sgd(0.9),
        Optimizer::sgd(0.9).with_weight_decay(0.01).with_clip_norm(0.2),
        Optimizer::new(Rule::Nadam { beta1: 0.9, beta2: 0.999, epsilon: 1e-3 }).with_clip_norm(10.0),
    ];
    for o in rules {
        let (large, a) = train(plain(), &o, 6, 1);
        let many = o.clone().with_accumulation(3);
        let (small, b) = train(plain(), &many, 2, 3);
        let mut worst = 0.0f32;
        for (a, b) in a.params.iter().zip(&b.params) {
            a.values.iter().zip(&b.values).for_each(|(a, b)| worst = worst.max((a - b).abs()));
        }
        for (a, b) in large.iter().zip(&small) {
            assert!((a - b).abs() < 2e-6, "losses {large:?}, accumulated {small:?}");
        }
        assert!(worst < 5e-6, "{o:?}: weights differ by {worst:.2e}");
        assert_eq!(train(plain(), &many, 2, 3).1.digest(), b.digest(), "two runs give the same bits");
        say(&format!("{} over 3 replays of 2 images or one of 6: weights within {worst:.1e}", o.name()));
        count("accumulated trainings compared with a large batch", 1);
    }
}

fn accumulation_survives_cut_dispatches() {
    let o = Optimizer::adam().with_clip_norm(0.1).with_accumulation(2);
    let whole = train(plain(), &o, 2, 2).1.digest();
    let cutting = Cutting { dispatch_ms: 1e-4, submit_ms: 1e-3, groups: 2, ..Cutting::default() };
    let cut = open(GpuOptions { checked: Some(true), guards: true, cutting, ..GpuOptions::default() });
    assert_eq!(train(&cut, &o, 2, 2).1.digest(), whole);
}

fn the_step_count_is_that_of_updates() {
    for base in [Optimizer::adam(), Optimizer::new(Rule::Nadam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 })] {
        let (mut single, mut double) = (base.clone(), base.clone().with_accumulation(2));
        for update in 1..=4 {
            let want = single.advance(1e-3);
            assert_eq!([double.advance(1e-3), double.advance(1e-3)], [want; 2], "update {update}");
            assert_eq!((single.steps(), double.steps()), (update, update));
        }
    }
}
