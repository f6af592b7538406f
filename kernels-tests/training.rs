//! The training step as a whole: bit-equal runs, nothing created while it runs, results in order, few steps in flight.

use crate::{Test, count, open, plain, say};
use radiograd::gpu::Cutting;
use radiograd::models::detl12;
use radiograd::nn::{Layers, Optimizer, ParamStore, Trainable};
use radiograd::ops::Smoothing;
use radiograd::plan::{HYPER, IN_FLIGHT, Update};
use radiograd::selftest::draw::Stream;
use radiograd::{Feed, Gpu, GpuOptions, Graph, Plan, PlanSpec, Shape, Tensor};
use std::rc::Rc;

pub const TESTS: &[Test] = &[
    ("training::same_seed_same_bits", same_seed_same_bits),
    ("training::weights_larger_than_a_binding_train", weights_larger_than_a_binding_train),
    ("training::a_step_creates_nothing", a_step_creates_nothing),
    ("training::results_come_in_order_and_few_are_in_flight", results_come_in_order),
    ("training::inputs_keep_their_content", inputs_keep_their_content),
    ("training::nothing_runs_backward_for_what_is_frozen", nothing_runs_backward_for_what_is_frozen),
    ("training::fusion_changes_no_number", fusion_changes_no_number),
    ("training::a_nan_is_seen_in_the_loss", a_nan_is_seen_in_the_loss),
];

/// Side and batch of the test's DETL: the smallest side there is, and an odd batch.
const SIDE: usize = radiograd::models::detl::SMALLEST_SIDE;
const BATCH: usize = 3;

/// Three steps of DETL; the digest of its weights and the losses.
fn train(gpu: &Gpu, seed: u64, optimizer: Optimizer) -> (String, Vec<f32>) {
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(BATCH, 1, SIDE, SIDE));
    let net = detl12(x, 4, &Layers::default());
    let labels = graph.input_integers("labels", BATCH);
    let (loss, _) = net.logits.cross_entropy(labels, Smoothing::OverAll(0.1), None);
    let params: Vec<Tensor> = graph.params().iter().map(|(n, s, t)| graph.param(n, *s, *t)).collect();
    let grads = loss.gradients(&params);
    let hyper = graph.input("hyper", Shape::flat(HYPER));
    let mut store = ParamStore::init(&graph, seed);
    let weights = Rc::new(store.upload(gpu).unwrap_or_else(|e| panic!("{e}")));
    let update = optimizer.clone();
    let spec = PlanSpec {
        outputs: vec![loss],
        gradients: params.into_iter().zip(grads).filter_map(|(p, g)| Some((p, g?))).collect(),
        update: Some(&update as &dyn Update),
        hyper: Some(hyper),
        ..PlanSpec::default()
    };
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    let (mut optimizer, mut s, mut losses) = (optimizer, Stream::new(seed, "images"), Vec::new());
    for _ in 0..3 {
        let images: Vec<f32> = (0..BATCH * SIDE * SIDE).map(|_| s.unit()).collect();
        let targets: Vec<u32> = (0..BATCH).map(|_| s.below(4) as u32).collect();
        let numbers = optimizer.advance(1e-3);
        plan.step(gpu, &[(x, Feed::F32(&images)), (labels, Feed::U32(&targets)), (hyper, Feed::F32(&numbers))])
            .unwrap_or_else(|e| panic!("{e}"));
    }
    losses.extend(plan.finish(gpu).unwrap_or_else(|e| panic!("{e}")).iter().map(|r| r.outputs[0][0]));
    store.read(gpu, &weights).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(store.first_non_finite(), None);
    (store.digest(), losses)
}

fn same_seed_same_bits() {
    let first = train(plain(), 7, Optimizer::adam());
    assert_eq!(first, train(plain(), 7, Optimizer::adam()), "the same seed gives the same bits");
    assert_ne!(first.0, train(plain(), 8, Optimizer::adam()).0, "another seed gives other weights");
    // Pieces of a dispatch and grids of two dimensions: an optimizer's step in place must happen once.
    // Pieces of three groups, two wide: each piece's grid has a surplus group.
    let cutting = Cutting { dispatch_ms: 0.04, submit_ms: 0.1, groups: 2, ..Cutting::default() };
    let cut = open(GpuOptions { checked: Some(false), cutting, ..GpuOptions::default() });
    assert_eq!(first, train(&cut, 7, Optimizer::adam()), "cut in pieces");
    let sgd = train(plain(), 7, Optimizer::sgd(0.9));
    assert_eq!(sgd, train(&cut, 7, Optimizer::sgd(0.9)), "cut in pieces");
    count("trainings compared bit by bit", 4);
    say(&format!("DETL {SIDE}x{SIDE}, three steps of Adam: losses {:?}, weights {}", first.1, &first.0[..16]));
}

/// Three steps of Adam on two dense layers, the first of 49,152 bytes; the losses and the weights.
fn train_dense(gpu: &Gpu) -> (Vec<f32>, ParamStore) {
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(2, 64, 2, 2));
    let labels = graph.input_integers("labels", 2);
    let layers = Layers::default();
    let logits = layers.dense(layers.dense(x, "fc1", 48).relu(), "fc2", 3);
    let (loss, _) = logits.cross_entropy(labels, Smoothing::None, None);
    let mut store = ParamStore::init(&graph, 5);
    let weights = Rc::new(store.upload(gpu).unwrap_or_else(|e| panic!("{e}")));
    let mut optimizer = Optimizer::adam();
    let update = optimizer.clone();
    let spec = update.step_of(loss);
    let hyper = spec.hyper.expect("an optimizer has hyperparameters");
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    let mut s = Stream::new(3, "images");
    let images: Vec<f32> = (0..2 * 64 * 4).map(|_| s.unit()).collect();
    for _ in 0..3 {
        let numbers = optimizer.advance(1e-3);
        plan.step(gpu, &[(x, Feed::F32(&images)), (labels, Feed::U32(&[2, 0])), (hyper, Feed::F32(&numbers))])
            .unwrap_or_else(|e| panic!("{e}"));
    }
    let losses = plan.finish(gpu).unwrap_or_else(|e| panic!("{e}")).iter().map(|r| r.outputs[0][0]).collect();
    store.read(gpu, &weights).unwrap_or_else(|e| panic!("{e}"));
    (losses, store)
}

/// Forward, gradients and the optimizer's step in pieces: other sums, the same training.
fn weights_larger_than_a_binding_train() {
    let cutting = Cutting { binding: 10_000, ..Cutting::default() };
    let small = open(GpuOptions { checked: Some(true), cutting, ..GpuOptions::default() });
    let ((losses, weights), (want, store)) = (train_dense(&small), train_dense(plain()));
    for (a, b) in losses.iter().zip(&want) {
        assert!((a - b).abs() < 1e-5, "loss {a} with weights in pieces, {b} without");
    }
    assert!(want[2] < want[0]);
    for (p, q) in weights.params.iter().zip(&store.params) {
        // Adam moves by about the learning rate whatever the gradient's size, so rounding near zero may show.
        let off = p.values.iter().zip(&q.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-5, "{}: {off}", p.name);
    }
}

/// y = x + x on a device of its own, where nobody else counts.
fn doubling<'g>(graph: &'g Graph, gpu: &Gpu) -> (Tensor<'g>, Plan) {
    let x = graph.input("x", Shape::flat(5));
    let weights = Rc::new(ParamStore::default().upload(gpu).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec { outputs: vec![x.add(x.add(x))], ..PlanSpec::default() };
    (x, Plan::compile(gpu, graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}")))
}

fn a_step_creates_nothing() {
    let lone = open(GpuOptions { checked: Some(true), ..GpuOptions::default() });
    let graph = Graph::new();
    let (x, mut plan) = doubling(&graph, &lone);
    let before = lone.objects_created();
    assert!(before > 0);
    for k in 0..3 * IN_FLIGHT {
        plan.step(&lone, &[(x, Feed::F32(&[k as f32; 5]))]).unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(plan.finish(&lone).unwrap_or_else(|e| panic!("{e}")).len(), 3 * IN_FLIGHT);
    assert_eq!(lone.objects_created(), before, "buffers, bind groups or pipelines were made during steps");
}

fn results_come_in_order() {
    let graph = Graph::new();
    let (x, mut plan) = doubling(&graph, plain());
    let mut got = Vec::new();
    let steps = 4 * IN_FLIGHT + 1;
    for k in 0..steps {
        let number = plan.step(plain(), &[(x, Feed::F32(&[k as f32; 5]))]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(number, k as u64);
        got.extend(plan.results());
        assert!(k + 1 - got.len() <= IN_FLIGHT, "{} of {} steps are in flight", k + 1 - got.len(), k + 1);
    }
    assert!(got.len() >= steps - IN_FLIGHT, "results are handed out while others run");
    got.extend(plan.finish(plain()).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(got.len(), steps);
    for (k, r) in got.iter().enumerate() {
        assert_eq!((r.step, &r.outputs[0]), (k as u64, &vec![3.0 * k as f32; 5]));
    }
}

fn inputs_keep_their_content() {
    let graph = Graph::new();
    let (x, mut plan) = doubling(&graph, plain());
    let run = |plan: &mut Plan, feeds: &[(Tensor, Feed)]| plan.run(plain(), feeds).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(run(&mut plan, &[(x, Feed::F32(&[2.0; 5]))])[0], [6.0; 5]);
    for _ in 0..2 * IN_FLIGHT {
        assert_eq!(run(&mut plan, &[])[0], [6.0; 5], "an input that is not fed keeps its content");
    }
    assert_eq!(run(&mut plan, &[(x, Feed::F32(&[1.0; 5]))])[0], [3.0; 5]);
}

fn nothing_runs_backward_for_what_is_frozen() {
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 1, SIDE, SIDE));
    let layers =
        Layers { trainable: Trainable::Matching(vec!["fc*".into(), "block3.conv2.*".into()]), ..Layers::default() };
    let net = detl12(x, 2, &layers);
    let labels = graph.input_integers("labels", 1);
    let (loss, _) = net.logits.cross_entropy(labels, Smoothing::None, None);
    let params: Vec<Tensor> = graph.params().iter().filter(|p| p.2).map(|(n, s, t)| graph.param(n, *s, *t)).collect();
    assert_eq!(params.len(), 8);
    let before = graph.len();
    let grads: Vec<Tensor> = loss.gradients(&params).into_iter().flatten().collect();
    assert_eq!(grads.len(), 8);
    let weights = Rc::new(ParamStore::init(&graph, 1).upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec { outputs: grads, ..PlanSpec::default() };
    let plan = Plan::compile(plain(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}")).to_string();
    let grad_lines: Vec<&str> = plan.lines().filter(|l| l.contains("_grad")).collect();
    assert!(graph.len() > before && grad_lines.len() > 8);
    for early in ["block1", "block2", "block3.conv1"] {
        assert!(!grad_lines.iter().any(|l| l.contains(early)), "{early} is frozen and runs backward:\n{plan}");
    }
    assert!(
        !grad_lines.iter().any(|l| l.contains("block3.conv2") && l.contains("grad_input")),
        "nobody needs it:\n{plan}"
    );
}

/// Asking for the values in between keeps them from being fused away: fewer kernels without, the same numbers with.
fn fusion_changes_no_number() {
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(2, 3, 9, 7));
    let layers = Layers::default();
    let convolved = layers.conv2d(x, "conv1", 5, [3, 3], radiograd::ops::Geometry::same(3, 3));
    let hidden = convolved.relu();
    let second = layers.conv2d(hidden, "conv2", 6, [3, 3], radiograd::ops::Geometry::VALID);
    let y = second.relu().max_pool(radiograd::ops::Window::square(2));
    let dy = graph.input("dy", y.shape());
    let w = graph.param("conv1.weight", Shape::Filter { k: 5, c: 3, r: 3, s: 3 }, true);
    let back = y.gradients_with(dy, &[x, w, hidden]);
    let (dx, dw, dh) = (back[0].expect("a gradient"), back[1].expect("a gradient"), back[2].expect("a gradient"));
    let weights = Rc::new(ParamStore::init(&graph, 3).upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let mut s = Stream::new(5, "fusion");
    let mut draw = |t: Tensor| (0..t.shape().elements()).map(|_| s.unit()).collect::<Vec<f32>>();
    let (xv, dv) = (draw(x), draw(dy));
    let run = |outputs: Vec<Tensor>| {
        let spec = PlanSpec { outputs, ..PlanSpec::default() };
        let mut plan = Plan::compile(plain(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
        let got = plan.run(plain(), &[(x, Feed::F32(&xv)), (dy, Feed::F32(&dv))]).unwrap_or_else(|e| panic!("{e}"));
        (got, plan.size().0, plan.to_string())
    };
    let (fused, few, listing) = run(vec![y, dx, dw]);
    let (plain, many, _) = run(vec![y, dx, dw, convolved, second, dh]);
    assert!(few + 3 <= many, "{few} dispatches fused, {many} unfused");
    assert!(listing.contains("MASK=1") && listing.contains("BIAS=1"), "{listing}");
    assert_eq!(fused[..], plain[..3], "fused kernels give other numbers");
}

/// A broken step must not look like a good one: NaN passes through ReLU, pooling and the loss.
fn a_nan_is_seen_in_the_loss() {
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 1, SIDE, SIDE));
    let net = detl12(x, 2, &Layers::default());
    let labels = graph.input_integers("labels", 1);
    let (loss, _) = net.logits.cross_entropy(labels, Smoothing::None, None);
    let weights = Rc::new(ParamStore::init(&graph, 1).upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec { outputs: vec![loss], ..PlanSpec::default() };
    let mut plan = Plan::compile(plain(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    let mut images = vec![0.5f32; SIDE * SIDE];
    let mut loss = |images: &[f32]| {
        plan.run(plain(), &[(x, Feed::F32(images)), (labels, Feed::U32(&[0]))]).unwrap_or_else(|e| panic!("{e}"))[0][0]
    };
    assert!(loss(&images).is_finite());
    images[SIDE * SIDE / 2] = f32::NAN;
    assert!(loss(&images).is_nan());
    images[SIDE * SIDE / 2] = 0.5;
    assert!(loss(&images).is_finite(), "a NaN must not stay in memory for the next step");
}
