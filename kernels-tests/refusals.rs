//! What must be refused, and how: with the figures, before anything is allocated, and with the names that there are.

use crate::{Test, gpu, open, plain, refusal};
use radiograd::gpu::AdapterChoice;
use radiograd::models::{Network, detl12};
use radiograd::nn::{Layers, ParamStore};
use radiograd::ops::{Geometry, Smoothing, Window};
use radiograd::plan::IN_FLIGHT;
use radiograd::train::{FitOptions, Samples, fit};
use radiograd::{Error, Feed, Gpu, GpuOptions, Graph, Plan, PlanSpec, Shape, Weights};
use std::rc::Rc;

pub const TESTS: &[Test] = &[
    ("refusals::a_plan_beyond_the_budget", a_plan_beyond_the_budget),
    ("refusals::a_parameter_beyond_a_buffer", a_parameter_beyond_a_buffer),
    ("refusals::an_activation_beyond_a_binding", an_activation_beyond_a_binding),
    ("refusals::shapes_that_do_not_fit", shapes_that_do_not_fit),
    ("refusals::unknown_adapters_and_rows", unknown_adapters_and_rows),
    ("refusals::feeds_that_do_not_fit", feeds_that_do_not_fit),
    ("refusals::weights_of_another_network", weights_of_another_network),
    ("refusals::trainings_that_cannot_be", trainings_that_cannot_be),
];

fn a_plan_beyond_the_budget() {
    let small = open(GpuOptions { memory: Some(10_000_000), ..GpuOptions::default() });
    let graph = Graph::new();
    let x = graph.input("x", Shape::image(16, 1, 64, 64));
    let net = detl12(x, 4, &Layers::default());
    let weights = Rc::new(ParamStore::init(&graph, 1).upload(&small).unwrap_or_else(|e| panic!("{e}")));
    let before = small.objects_created();
    let spec = PlanSpec { outputs: vec![net.logits], ..PlanSpec::default() };
    let Err(e) = Plan::compile(&small, &graph, &weights, &spec) else { panic!("10 MB are not enough") };
    assert_eq!(e.exit_code(), 4, "{e}");
    let text = e.to_string();
    for part in ["10.0 MB", "--memory", "activations", "block1.conv1", "parameters"] {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
    assert_eq!(small.objects_created(), before, "a refused plan allocates nothing");
    // The same plan with room, and with memory shared by lifetime.
    let weights = Rc::new(ParamStore::init(&graph, 1).upload(plain()).unwrap_or_else(|e| panic!("{e}")));
    let roomy = Plan::compile(plain(), &graph, &weights, &spec);
    let report = roomy.unwrap_or_else(|e| panic!("{e}")).memory().clone();
    assert!(report.total() > 10_000_000 && report.activations < report.unshared, "{report}");
}

fn a_parameter_beyond_a_buffer() {
    // Found before its numbers are looked at.
    let limit = gpu().limits.max_buffer_size as usize / 4;
    let shape = Shape::Filter { k: 4096, c: limit / 4096 + 4, r: 1, s: 1 };
    let Err(e) = Weights::upload(gpu(), [("fc1.weight", shape, true, &[][..])]) else { panic!("it does not fit") };
    assert_eq!(e.exit_code(), 4);
    assert!(
        e.to_string().contains("fc1.weight") && e.to_string().contains(&gpu().limits.max_buffer_size.to_string()),
        "{e}"
    );
}

fn an_activation_beyond_a_binding() {
    let side = ((gpu().limits.max_storage_buffer_binding_size / 16) as f64).sqrt() as usize + 1;
    let graph = Graph::new();
    let y = graph.input("x", Shape::image(1, 1, side, side)).relu();
    let weights = Rc::new(ParamStore::default().upload(gpu()).unwrap_or_else(|e| panic!("{e}")));
    let before = gpu().memory_budget;
    let Err(e) = Plan::compile(gpu(), &graph, &weights, &PlanSpec { outputs: vec![y], ..PlanSpec::default() }) else {
        panic!("{side} x {side} x 4 numbers do not fit one binding (budget {before:?})")
    };
    assert_eq!(e.exit_code(), 4);
    assert!(e.to_string().contains("relu"), "{e}");
}

fn shapes_that_do_not_fit() {
    type Record = fn(&Graph);
    let cases: [(Record, &[&str]); 9] = [
        (
            |g| {
                let _s = g.scope("block1.conv1");
                let w = g.param("w", Shape::Filter { k: 8, c: 4, r: 3, s: 3 }, true);
                g.input("x", Shape::image(2, 3, 8, 8)).conv2d(w, Geometry::VALID);
            },
            &["block1.conv1 / conv2d_forward", "C 3", "takes 4"],
        ),
        (
            |g| {
                let _s = g.scope("conv");
                let w = g.param("w", Shape::Filter { k: 8, c: 3, r: 5, s: 5 }, true);
                g.input("x", Shape::image(2, 3, 4, 8)).conv2d(w, Geometry::VALID);
            },
            &["conv / conv2d_forward", "H 4", "5×5"],
        ),
        (
            |g| {
                let _s = g.scope("fc1");
                let w = g.param("w", Shape::Filter { k: 8, c: 3, r: 1, s: 1 }, true);
                g.input("x", Shape::image(2, 3, 2, 2)).dense(w);
            },
            &["fc1 / dense", "O 8, I 3"],
        ),
        (
            |g| {
                let _s = g.scope("stem.pool");
                g.input("x", Shape::image(2, 3, 1, 8)).max_pool(Window::square(2));
            },
            &["stem.pool / max_pool", "H 1", "2×2"],
        ),
        (
            |g| {
                let _s = g.scope("merge");
                let b = g.input("b", Shape::image(2, 3, 4, 5));
                g.input("x", Shape::image(2, 3, 4, 4)).add(b);
            },
            &["merge / add", "W 4", "W 5"],
        ),
        (
            |g| {
                let _s = g.scope("head");
                let t = g.input_integers("labels", 3);
                g.input("x", Shape::image(2, 4, 1, 1)).cross_entropy(t, Smoothing::None, None);
            },
            &["head / cross_entropy", "N 2", "[3]"],
        ),
        (
            |g| {
                let _s = g.scope("head");
                g.input("x", Shape::image(2, 4, 3, 3)).softmax();
            },
            &["head / softmax", "H 3"],
        ),
        (
            |g| {
                g.param("w", Shape::Channels { c: 3 }, true);
                g.param("w", Shape::Channels { c: 4 }, true);
            },
            &["parameter w", "C 3", "C 4"],
        ),
        (
            |g| {
                detl12(g.input("x", Shape::image(1, 1, 32, 32)), 2, &Layers::default());
            },
            &["block3", "smaller than"],
        ),
    ];
    for (record, parts) in cases {
        let graph = Graph::new();
        let Some(message) = refusal(|| record(&graph)) else { panic!("{parts:?}: nothing was refused") };
        for part in parts {
            assert!(message.contains(part), "'{part}' is missing in: {message}");
        }
    }
}

fn unknown_adapters_and_rows() {
    let ask = |o: GpuOptions| Gpu::with(&o).err().unwrap_or_else(|| panic!("{o:?} was accepted"));
    let name = gpu().info.name.clone();
    for wish in ["no such adapter", "4711"] {
        let e = ask(GpuOptions { adapter: AdapterChoice::named(wish), ..GpuOptions::default() });
        assert!(matches!(e, Error::NoAdapter(_)) && e.exit_code() == 3, "{e}");
        assert!(e.to_string().contains(wish) && e.to_string().contains(&name), "what there is must be listed: {e}");
    }
    let e = ask(GpuOptions { tuning: Some("quantum".into()), ..GpuOptions::default() });
    assert!(e.exit_code() == 2 && e.to_string().contains("integrated"), "{e}");
    // Naming it is choosing it: the same adapter, and a part of the name is enough.
    let part = name.split_whitespace().next().unwrap_or("").to_uppercase();
    let same = open(GpuOptions { adapter: AdapterChoice::named(part), ..GpuOptions::default() });
    assert_eq!(same.info.name, name);
}

fn feeds_that_do_not_fit() {
    let graph = Graph::new();
    let (x, t) = (graph.input("x", Shape::image(2, 3, 1, 1)), graph.input_integers("labels", 2));
    let other = graph.input("unused", Shape::flat(1));
    let (loss, _) = x.cross_entropy(t, Smoothing::None, None);
    let weights = Rc::new(ParamStore::default().upload(gpu()).unwrap_or_else(|e| panic!("{e}")));
    let spec = PlanSpec { outputs: vec![loss], ..PlanSpec::default() };
    let mut plan = Plan::compile(gpu(), &graph, &weights, &spec).unwrap_or_else(|e| panic!("{e}"));
    let (images, labels) = ([0.5f32; 6], [0u32, 1]);
    let bad: [(&str, (radiograd::Tensor, Feed)); 4] = [
        ("needs 6 numbers, given were 5", (x, Feed::F32(&images[..5]))),
        ("needs 2 integers, given were 2 numbers", (t, Feed::F32(&images[..2]))),
        ("needs 6 numbers, given were 2 integers", (x, Feed::U32(&labels))),
        ("is no input of this plan", (other, Feed::F32(&images[..1]))),
    ];
    // More often than there are staging buffers: a refused feed must not use one up.
    for _ in 0..2 * IN_FLIGHT {
        for (text, feed) in &bad {
            let e = plan.run(gpu(), &[*feed]).expect_err(text);
            assert!(e.to_string().contains(text) && e.exit_code() == 2, "{e}");
        }
    }
    let got = plan.run(gpu(), &[(x, Feed::F32(&images)), (t, Feed::U32(&labels))]).unwrap_or_else(|e| panic!("{e}"));
    assert!((f64::from(got[0][0]) - 3f64.ln()).abs() < 1e-6, "{got:?}");
}

fn weights_of_another_network() {
    let (a, b) = (Graph::new(), Graph::new());
    let layers = Layers::default();
    let small = layers.dense(a.input("x", Shape::image(1, 3, 1, 1)), "fc", 2);
    layers.dense(b.input("x", Shape::image(1, 5, 1, 1)), "fc", 2);
    let spec = PlanSpec { outputs: vec![small], ..PlanSpec::default() };
    for (graph, part) in
        [(b, "fc.weight: the weights hold filter [O 2, I 5]"), (Graph::new(), "no parameter fc.weight")]
    {
        let weights = Rc::new(ParamStore::init(&graph, 0).upload(gpu()).unwrap_or_else(|e| panic!("{e}")));
        let Err(e) = Plan::compile(gpu(), &a, &weights, &spec) else { panic!("accepted: {part}") };
        assert!(e.to_string().contains(part) && e.exit_code() == 2, "{e}");
    }
}

fn trainings_that_cannot_be() {
    let small = open(GpuOptions { memory: Some(60_000_000), ..GpuOptions::default() });
    let net = Network::named("gaowang").unwrap_or_else(|e| panic!("{e}"));
    let params = net.init(64, 2, 1);
    let data = vec![0.5; 2 * 64 * 64];
    let good: Vec<(usize, usize)> = (0..128).map(|i| (i % 2, i % 2)).collect();
    let attempt = |items: &[(usize, usize)], batch: usize| {
        let part = |items| Samples { data: &data, mirrored: None, shape: [1, 64, 64], items };
        let options = FitOptions { batch, epochs: 1, talk: radiograd::Talk::Quiet, ..FitOptions::default() };
        fit(&small, &net, &params, 2, (&part(items), &part(&good[..2])), &options)
    };
    let refused = |items: &[(usize, usize)], batch: usize, code: u8, parts: &[&str]| {
        let Err(e) = attempt(items, batch) else { panic!("accepted: {parts:?}") };
        assert_eq!(e.exit_code(), code, "{e}");
        parts.iter().for_each(|p| assert!(e.to_string().contains(p), "'{p}' is missing in: {e}"));
        e.to_string()
    };
    refused(&[(0, 1), (1, 2)], 2, 5, &["image 1 has the label 2", "2 classes, 0 to 1"]);
    refused(&good, 0, 2, &["batch 0"]);
    let told = refused(&good, 128, 4, &["batch 128 does not fit", "60.0 MB", "largest conv1"]);
    // What it says would fit does, and one image more does not.
    let number = told.split("the largest that does is ").nth(1).and_then(|t| t.split(' ').next()?.parse().ok());
    let largest: usize = number.unwrap_or_else(|| panic!("{told}"));
    attempt(&good[..largest], largest).unwrap_or_else(|e| panic!("{largest}: {e}"));
    refused(&good, largest + 1, 4, &["does not fit"]);
}
