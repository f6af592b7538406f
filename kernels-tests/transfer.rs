//! Transfer learning: a frozen base has finite and correct gradients after it, nothing runs backward in it, and its batch norm
//! statistics do not move.

use crate::{Test, count, plain, say};
use radiograd::graph::ValueId;
use radiograd::graph::reference::{Values, evaluate};
use radiograd::models::{Head, Network, Pooling};
use radiograd::nn::{Layers, Optimizer, ParamStore, Trainable};
use radiograd::ops::Smoothing;
use radiograd::selftest::draw::Stream;
use radiograd::train::{FeatureOptions, FitOptions, Normalize, Samples, features, fit};
use radiograd::{Feed, Graph, Plan, PlanSpec, Shape, Tensor};
use std::rc::Rc;

pub const TESTS: &[Test] = &[
    ("transfer::a_head_trains_on_frozen_resnet50", a_head_trains),
    ("transfer::gradients_after_a_frozen_base_are_right", gradients_are_right),
    ("transfer::only_what_trains_has_gradients_moments_and_kernels", only_what_trains),
];

/// The smallest side of ResNet50: one pixel is left at its end.
const SIDE: usize = 32;
const CLASSES: usize = 2;

/// Images whose gradients are compared. Batch norm of two images would give ±1 whatever comes in, and no gradient to speak of.
const BATCH: usize = 5;

fn network() -> Network {
    let head = Head::new(Pooling::GlobalAverage, &[16], 0.0);
    Network::named("resnet50").unwrap_or_else(|e| panic!("{e}")).with_head(head)
}

/// Random weights with running statistics as a trained network has them: none is 0 or 1, and branches that are small beside
/// their shortcuts, so that features are of order 1.
fn weights() -> ParamStore {
    let mut store = network().init(SIDE, CLASSES, 4);
    let mut s = Stream::new(9, "statistics");
    for p in &mut store.params {
        if p.name.ends_with("bn3.weight") {
            p.values.fill(0.2);
        }
        match p.name.rsplit('.').next() {
            Some("running_mean") => p.values.iter_mut().for_each(|v| *v = 0.2 * s.unit()),
            Some("running_var") => p.values.iter_mut().for_each(|v| *v = 1.0 + 0.5 * s.unit()),
            _ => {}
        }
    }
    store
}

/// Images of which one half or the other is bright.
fn images(n: usize) -> (Vec<f32>, Vec<(usize, usize)>) {
    let mut s = Stream::new(3, "halves");
    let mut data = Vec::new();
    for i in 0..n {
        let bright = |x: usize| (x < SIDE / 2) == (i % 2 == 0);
        let pixel = |at: usize| 0.5 + 0.2 * s.unit() + if bright(at % SIDE) { 0.2 } else { -0.2 };
        data.extend((0..SIDE * SIDE).map(pixel));
    }
    (data, (0..n).map(|i| (i, i % 2)).collect())
}

fn frozen() -> Trainable {
    Trainable::Matching(vec!["head.*".into()])
}

fn a_head_trains() {
    let (network, start) = (network(), weights());
    let (data, items) = images(10);
    let of = |items| Samples { data: &data, mirrored: None, shape: [1, SIDE, SIDE], items };
    let given = |normalize| FitOptions {
        epochs: 6,
        batch: 4,
        trainable: frozen(),
        normalize,
        talk: radiograd::Talk::Quiet,
        ..FitOptions::default()
    };
    let parts = (&of(&items), &of(&items));
    let through =
        fit(plain(), &network, &start, CLASSES, parts, &given(Normalize::CENTERED)).unwrap_or_else(|e| panic!("{e}"));
    let losses: Vec<f64> = through.history.iter().filter_map(|r| r.train_loss).collect();
    assert!(losses.iter().all(|l| l.is_finite()) && losses[5] < 0.7 * losses[0], "{losses:?}");
    assert_eq!(through.params.first_non_finite(), None);
    let (mut still, mut moved) = (0, 0);
    for (a, b) in start.params.iter().zip(&through.params.params) {
        let same = a.values.iter().zip(&b.values).all(|(x, y)| x.to_bits() == y.to_bits());
        assert_eq!(same, !a.name.starts_with("head."), "{}", a.name);
        if same { still += 1 } else { moved += 1 }
    }
    assert_eq!((still, moved), (53 + 53 * 4, 4), "53 filters and 53 batch norms of four rows each are frozen");
    // The same head on features that were computed once.
    let options = FeatureOptions {
        batch: 4,
        normalize: Normalize::CENTERED,
        talk: radiograd::Talk::Quiet,
        ..FeatureOptions::default()
    };
    let rows = features(plain(), &network, &start, &of(&items), &options).unwrap_or_else(|e| panic!("{e}"));
    let parts = (&rows.samples(&items), &rows.samples(&items));
    let on = fit(plain(), &network.head_only(), &start, CLASSES, parts, &given(Normalize::NONE))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(on.params.digest(), through.params.digest(), "cached features give the same head");
    count("trainings compared bit by bit", 1);
    say(&format!("ResNet50 {SIDE}x{SIDE}, frozen base, new head: losses {losses:.4?}"));
}

/// Side of the images whose gradients are compared: the last maps are 2×2 then. On 1×1 maps batch norm divides by the spread
/// of five numbers, and of nearly equal ones: then f32 and f64 share no digit, whoever computes.
const WIDE: usize = 64;

/// Input of large random blocks: images that differ everywhere.
fn blocks(n: usize) -> Vec<f32> {
    let mut s = Stream::new(3, "blocks");
    let coarse: Vec<f32> = (0..n * 64).map(|_| 2.0 * s.unit()).collect();
    let of = |i: usize, y: usize, x: usize| coarse[i * 64 + y / (WIDE / 8) * 8 + x / (WIDE / 8)];
    (0..n * WIDE * WIDE).map(|i| of(i / (WIDE * WIDE), i / WIDE % WIDE, i % WIDE)).collect()
}

/// Loss and parameters of a network in which `trainable` trains, recorded for training.
fn record<'g>(
    graph: &'g Graph,
    side: usize,
    trainable: Trainable,
) -> (Tensor<'g>, Tensor<'g>, Tensor<'g>, Vec<Tensor<'g>>) {
    let x = graph.input("images", Shape::image(BATCH, 1, side, side));
    let labels = graph.input_integers("labels", BATCH);
    let layers = Layers { trainable, training: true, ..Layers::default() };
    let out = network().record(graph, x, CLASSES, &layers);
    let (loss, _) = out.logits.cross_entropy(labels, Smoothing::None, None);
    let params = graph.params().iter().filter(|p| p.2).map(|(n, s, t)| graph.param(n, *s, *t)).collect();
    (x, labels, loss, params)
}

/// Against the f64 interpreter: the head alone, and with the last block, whose batch norms then use the batch's statistics
/// behind those that use the running ones.
fn gradients_are_right() {
    let store = weights();
    let pixels = blocks(BATCH);
    let targets: Vec<u32> = (0..BATCH as u32).map(|i| i % 2).collect();
    let last =
        Trainable::after(store.params.iter().map(|p| p.name.as_str()), "layer4.1").unwrap_or_else(|e| panic!("{e}"));
    for (trainable, parameters) in [(frozen(), 4), (last, 4 + 9)] {
        let graph = Graph::new();
        let (x, labels, loss, params) = record(&graph, WIDE, trainable);
        assert_eq!(params.len(), parameters);
        let grads: Vec<Tensor> = loss.gradients(&params).into_iter().flatten().collect();
        assert_eq!(grads.len(), parameters);
        let device = Rc::new(store.upload(plain()).unwrap_or_else(|e| panic!("{e}")));
        let outputs: Vec<Tensor> = [loss].into_iter().chain(grads.iter().copied()).collect();
        let spec = PlanSpec { outputs: outputs.clone(), ..PlanSpec::default() };
        let mut plan = Plan::compile(plain(), &graph, &device, &spec).unwrap_or_else(|e| panic!("{e}"));
        plan.poison(plain()).unwrap_or_else(|e| panic!("{e}"));
        let feeds = [(x, Feed::F32(&pixels[..])), (labels, Feed::U32(&targets))];
        let got = plan.run(plain(), &feeds).unwrap_or_else(|e| panic!("{e}"));
        let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let mut known: Values =
            [(x.id, wide(&pixels)), (labels.id, targets.iter().map(|t| f64::from(*t)).collect())].into();
        for (name, shape, trains) in graph.params() {
            let id: ValueId = graph.param(&name, shape, trains).id;
            known.insert(id, wide(&store.get(&name).unwrap_or_else(|| panic!("{name}")).values));
        }
        let want = evaluate(&graph, &known, &outputs);
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            let top = w.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let worst = g.iter().zip(w).fold(0.0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs()));
            assert!(top > 0.0 && g.iter().all(|v| v.is_finite()), "output {i}");
            assert!(worst <= 2e-3 * top, "{parameters} parameters, output {i}: {worst:e} of {top:e}");
        }
    }
}

/// The listing of a training plan shows the frozen base's forward kernels and nothing else of it.
fn only_what_trains() {
    let base = network().base_parameters(SIDE);
    let store = weights();
    let graph = Graph::new();
    let (x, _, loss, params) = record(&graph, SIDE, frozen());
    let optimizer = Optimizer::adam();
    let spec = optimizer.step_of(loss);
    assert_eq!((spec.gradients.len(), params.len(), spec.assign.len()), (4, 4, 0));
    let mut marked = store.clone();
    marked.params.iter_mut().for_each(|p| p.trainable = frozen().includes(&p.name));
    let device = Rc::new(marked.upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let plan = Plan::compile(plain(), &graph, &device, &spec).unwrap_or_else(|e| panic!("{e}"));
    let head: u64 = marked.params.iter().filter(|p| p.trainable).map(|p| p.shape.elements() as u64).sum();
    assert_eq!(head, 2048 * 16 + 16 + 2 * 16 + 2);
    let memory = plan.memory();
    // Bytes of the head alone, but for padding between its parameters; twice for Adam's two moments.
    assert!(memory.gradients >= 4 * head && memory.gradients < 4 * head + 4096, "{memory}");
    assert_eq!(memory.moments, 2 * memory.gradients);

    let forward = Graph::new();
    let images = forward.input("images", x.shape());
    let y = network().record_base(images);
    let spec = PlanSpec { outputs: vec![y], ..PlanSpec::default() };
    let inference = Plan::compile(plain(), &forward, &device, &spec).unwrap_or_else(|e| panic!("{e}"));
    // Layer and kernel of every dispatch; the first column is a number that depends on what comes before.
    let dispatches = |plan: &Plan| -> Vec<String> {
        let row = |l: &str| l.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ");
        plan.to_string().lines().skip(1).map(row).collect()
    };
    let of_base = |row: &String| {
        let layer = row.split(' ').next().unwrap_or_default();
        base.iter().any(|p| p.starts_with(&format!("{layer}.")))
    };
    let in_training: Vec<String> = dispatches(&plan).into_iter().filter(of_base).collect();
    let alone: Vec<String> = dispatches(&inference).into_iter().filter(of_base).collect();
    assert!(in_training.len() >= 53, "{plan}");
    assert_eq!(in_training, alone, "the frozen base runs in training what it runs in inference");
    let backward = dispatches(&plan).iter().filter(|r| r.contains("grad")).count();
    assert!(backward >= 3, "the head runs backward:\n{plan}");
    say(&format!("ResNet50, frozen base: {} dispatches of the base, {backward} backward, {memory}", in_training.len()));
}
