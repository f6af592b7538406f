//! Batch norm in a network: running statistics move where a layer trains, and only there; a frozen base stays as it is.

use crate::{Test, count, gpu, open, plain, refusal};
use radiograd::gpu::Cutting;
use radiograd::graph::reference::{Values, evaluate};
use radiograd::nn::{BatchNormOptions, Layers, Optimizer, ParamStore, Trainable};
use radiograd::ops::{Geometry, Smoothing};
use radiograd::selftest::draw::Stream;
use radiograd::{Error, Feed, Gpu, GpuOptions, Graph, Plan, PlanSpec, Shape, Tensor};
use std::rc::Rc;

pub const TESTS: &[Test] = &[
    ("norm::running_statistics_follow_the_batches", running_statistics_follow_the_batches),
    ("norm::a_frozen_layer_never_changes", a_frozen_layer_never_changes),
    ("norm::inference_uses_the_running_statistics", inference_uses_the_running_statistics),
    ("norm::assigned_parameters_are_read_before_they_are_written", read_before_written),
    ("norm::wrong_assignments_are_refused", wrong_assignments_are_refused),
];

const N: usize = 5;
const OPTIONS: BatchNormOptions = BatchNormOptions { epsilon: 1e-3, momentum: 0.2, unbiased: true, gamma: true };

struct Net<'g> {
    x: Tensor<'g>,
    labels: Tensor<'g>,
    logits: Tensor<'g>,
    loss: Tensor<'g>,
}

/// base: convolution, batch norm, ReLU; head: convolution, batch norm without gamma, a residual of it, ReLU, dense.
fn network<'g>(graph: &'g Graph, layers: &Layers) -> Net<'g> {
    let x = graph.input("x", Shape::image(N, 2, 7, 6));
    let base = layers.conv2d(x, "base.conv", 5, [3, 3], Geometry::same(3, 3));
    let base = layers.batch_norm(base, "base.bn", OPTIONS).relu();
    let y = layers.conv2d(base, "head.conv", 5, [1, 1], Geometry::VALID);
    let no_gamma = BatchNormOptions { gamma: false, unbiased: false, ..OPTIONS };
    let y = layers.batch_norm(y, "head.bn", no_gamma).add(base).relu();
    let logits = layers.dense(y.global_avg_pool(), "head.fc", 3);
    let labels = graph.input_integers("labels", N);
    let (loss, _) = logits.cross_entropy(labels, Smoothing::None, None);
    Net { x, labels, logits, loss }
}

fn data(step: usize) -> (Vec<f32>, Vec<u32>) {
    let mut s = Stream::new(step as u64, "norm");
    ((0..N * 2 * 42).map(|_| 3.0 * s.unit() + 1.0).collect(), (0..N).map(|_| s.below(3) as u32).collect())
}

/// Trains `steps` steps and returns the parameters before and after.
fn train(gpu: &Gpu, layers: &Layers, steps: usize, lr: f64) -> (ParamStore, ParamStore) {
    let graph = Graph::new();
    let net = network(&graph, layers);
    let mut store = ParamStore::init(&graph, 3);
    let before = store.clone();
    let weights = Rc::new(store.upload(gpu).unwrap_or_else(|e| panic!("{e}")));
    let (adam, mut optimizer) = (Optimizer::adam(), Optimizer::adam());
    let spec = adam.step_of(net.loss);
    let hyper = spec.hyper.expect("an optimizer has its numbers");
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    for step in 0..steps {
        let ((images, labels), numbers) = (data(step), optimizer.advance(lr));
        let feeds = [(net.x, Feed::F32(&images)), (net.labels, Feed::U32(&labels)), (hyper, Feed::F32(&numbers))];
        plan.step(gpu, &feeds).unwrap_or_else(|e| panic!("{e}"));
    }
    let losses = plan.finish(gpu).unwrap_or_else(|e| panic!("{e}"));
    assert!(losses.iter().all(|r| r.outputs[0][0].is_finite()));
    store.read(gpu, &weights).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(store.first_non_finite(), None);
    (before, store)
}

fn values<'s>(store: &'s ParamStore, name: &str) -> &'s [f32] {
    &store.get(name).unwrap_or_else(|| panic!("no {name}")).values
}

/// With learning rate 0 the weights stay, and the statistics of every step follow from the f64 reference.
fn running_statistics_follow_the_batches() {
    let layers = Layers { trainable: Trainable::All, training: true, ..Layers::default() };
    for gpu in [gpu(), plain()] {
        let (before, after) = train(gpu, &layers, 3, 0.0);
        for name in ["base.bn", "head.bn"] {
            assert!(values(&before, &format!("{name}.running_mean")).iter().all(|v| *v == 0.0));
            assert!(values(&before, &format!("{name}.running_var")).iter().all(|v| *v == 1.0));
        }
        assert!(before.get("base.bn.running_var").is_some_and(|p| !p.trainable));
        assert!(before.get("head.bn.weight").is_none() && values(&before, "base.bn.weight") == [1.0; 5]);
        let graph = Graph::new();
        let net = network(&graph, &layers);
        let mut known: Values = Values::new();
        for (name, shape, trainable) in graph.params() {
            let wide = values(&before, &name).iter().map(|v| f64::from(*v)).collect();
            known.insert(graph.param(&name, shape, trainable).id, wide);
        }
        let assigned = graph.assigned();
        assert_eq!(assigned.len(), 4);
        for step in 0..3 {
            known.insert(net.x.id, data(step).0.iter().map(|v| f64::from(*v)).collect());
            let next = evaluate(&graph, &known, &assigned.iter().map(|a| a.1).collect::<Vec<_>>());
            assigned.iter().zip(next).for_each(|((p, _), v)| {
                known.insert(p.id, v);
            });
        }
        for (p, _) in &assigned {
            let (name, want) = (graph.describe(p.id).name, &known[&p.id]);
            for (g, w) in values(&after, &name).iter().zip(want) {
                assert!((f64::from(*g) - w).abs() <= 1e-5 * w.abs().max(1.0), "{name}: {g}, f64 says {w}");
            }
            count("running statistics compared with f64", want.len());
        }
    }
    // The same bits when a step is many submits of many pieces.
    let cutting = Cutting { dispatch_ms: 0.001, submit_ms: 0.001, groups: 2, ..Cutting::default() };
    let cut = open(GpuOptions { checked: Some(false), cutting, ..GpuOptions::default() });
    assert_eq!(train(&cut, &layers, 3, 1e-2).1.digest(), train(plain(), &layers, 3, 1e-2).1.digest());
}

fn a_frozen_layer_never_changes() {
    let layers = Layers { trainable: Trainable::Matching(vec!["head.*".into()]), training: true, ..Layers::default() };
    let (before, after) = train(plain(), &layers, 4, 1e-2);
    for p in &before.params {
        let (same, base) = (p.values == values(&after, &p.name), p.name.starts_with("base."));
        assert_eq!(same, base, "{}: {}", p.name, if same { "did not change" } else { "changed" });
    }
    // Also when the patterns name the statistics themselves.
    let layers = Layers {
        trainable: Trainable::Matching(vec!["head.*".into(), "*running*".into()]),
        training: true,
        ..Layers::default()
    };
    let (before, after) = train(plain(), &layers, 2, 1e-2);
    assert_eq!(values(&before, "base.bn.running_mean"), values(&after, "base.bn.running_mean"));
    assert!(before.get("base.bn.running_mean").is_some_and(|p| !p.trainable));
    // A frozen batch norm passes the gradient on with one kernel, which needs none of its inputs.
    let graph = Graph::new();
    let net = network(
        &graph,
        &Layers { trainable: Trainable::Matching(vec!["base.conv.*".into()]), training: true, ..Layers::default() },
    );
    let w = graph.param("base.conv.weight", Shape::Filter { k: 5, c: 2, r: 3, s: 3 }, true);
    let dw = net.loss.gradients(&[w])[0].expect("a gradient");
    assert!(graph.assigned().is_empty());
    let keys = radiograd::plan::kernels(&graph, &[dw], radiograd::gpu::tuning::TABLE[0]);
    let used = |entry: &str| keys.iter().filter(|k| k.entry == entry).count();
    assert_eq!((used("normalize_grad_input"), used("norm_grad_partial"), used("batch_stats_partial")), (2, 0, 0));
}

fn inference_uses_the_running_statistics() {
    let training = Layers { trainable: Trainable::All, training: true, ..Layers::default() };
    let (_, store) = train(plain(), &training, 3, 1e-2);
    let graph = Graph::new();
    let net = network(&graph, &Layers::default());
    assert!(graph.assigned().is_empty());
    let weights = Rc::new(store.upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec { outputs: vec![net.logits], ..PlanSpec::default() };
    let mut plan = Plan::compile(plain(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    let (images, _) = data(9);
    let got = plan.run(plain(), &[(net.x, Feed::F32(&images))]).unwrap_or_else(|e| panic!("{e}")).remove(0);
    let mut known: Values = Values::new();
    for (name, shape, trainable) in graph.params() {
        let wide = values(&store, &name).iter().map(|v| f64::from(*v)).collect();
        known.insert(graph.param(&name, shape, trainable).id, wide);
    }
    known.insert(net.x.id, images.iter().map(|v| f64::from(*v)).collect());
    let want = evaluate(&graph, &known, &[net.logits]).remove(0);
    for (g, w) in got.iter().zip(&want) {
        assert!((f64::from(*g) - w).abs() <= 2e-5 * w.abs().max(1.0), "logit {g}, f64 says {w}");
    }
    let mut again = store.clone();
    again.read(plain(), &weights).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.digest(), store.digest(), "inference changes no parameter");
}

/// p ← p + x after every step, while the output is the old p + 2 x.
fn read_before_written() {
    for gpu in [gpu(), plain()] {
        let graph = Graph::new();
        let (x, p) = (graph.input("x", Shape::Channels { c: 3 }), graph.param("p", Shape::Channels { c: 3 }, false));
        let next = p.add(x);
        graph.assign(p, next);
        let weights = Rc::new(ParamStore::init(&graph, 0).upload(gpu).unwrap_or_else(|e| panic!("{e}")));
        let spec = PlanSpec { outputs: vec![next.add(x)], assign: graph.assigned(), ..PlanSpec::default() };
        let mut plan = Plan::compile(gpu, &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
        for _ in 0..5 {
            plan.step(gpu, &[(x, Feed::F32(&[1.0, 2.0, 3.0]))]).unwrap_or_else(|e| panic!("{e}"));
        }
        let all = plan.finish(gpu).unwrap_or_else(|e| panic!("{e}"));
        let first: Vec<f32> = all.iter().map(|r| r.outputs[0][0]).collect();
        assert_eq!(first, [2.0, 3.0, 4.0, 5.0, 6.0]);
        let now = weights.download(gpu).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(now[0].2, [5.0, 10.0, 15.0]);
    }
}

fn wrong_assignments_are_refused() {
    let graph = Graph::new();
    let c = Shape::Channels { c: 3 };
    let (x, p, t) = (graph.input("x", c), graph.param("p", c, false), graph.param("t", c, true));
    let y = x.add(x);
    assert!(refusal(|| graph.assign(t, y)).is_some_and(|m| m.contains("does not train")));
    let other = graph.input("other", Shape::Channels { c: 4 });
    assert!(refusal(|| graph.assign(p, other)).is_some());
    graph.assign(p, y);
    assert!(refusal(|| graph.assign(p, y)).is_some_and(|m| m.contains("two values")));
    // A plan whose weights train what the graph calls frozen.
    let mut store = ParamStore::init(&graph, 0);
    store.params.iter_mut().for_each(|p| p.trainable = true);
    let weights = Rc::new(store.upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec { assign: graph.assigned(), ..PlanSpec::default() };
    let e = Plan::compile(plain(), &graph, &weights, &spec).err();
    assert!(matches!(e, Some(Error::Usage(m)) if m.contains("frozen parameter")));
}
