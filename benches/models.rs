//! DETL, train step and inference, at 64², 128² and 224²: `cargo bench --bench models [-- --smoke]`. Wall time of a whole
//! step, results read back; GFLOP/s against the FMA loop measured in the same run; memory as the plan has it.

mod common;

use common::Row;
use radiograd::models::Network;
use radiograd::nn::{Layers, Optimizer};
use radiograd::ops::Smoothing;
use radiograd::{Feed, Gpu, Graph, Plan, PlanSpec, Shape};
use std::rc::Rc;
use std::time::Instant;

fn main() {
    let gpu = common::open();
    let c = common::ceilings(&gpu);
    let mut rows = Vec::new();
    let software = gpu.is_software();
    let cases: &[(usize, usize)] = match (common::smoke(), software) {
        (true, _) => &[(64, 2)],
        (_, true) => &[(64, 16), (128, 16), (224, 8)],
        _ => &[(64, 16), (128, 32), (224, 32)],
    };
    for (side, batch) in cases {
        for train in [true, false] {
            let name = format!("detl12 {} {side} batch {batch}", if train { "train step" } else { "inference" });
            if common::wanted(&name) {
                rows.push(step(&gpu, &name, *side, *batch, train));
            }
        }
    }
    common::report("models", &gpu, &c, &rows);
}

fn step(gpu: &Gpu, name: &str, side: usize, batch: usize, train: bool) -> Row {
    let network = Network::named("detl12").expect("is there");
    let graph = Graph::new();
    let x = graph.input("images", Shape::image(batch, 1, side, side));
    let out = network.record(&graph, x, 4, &Layers::default());
    let labels = graph.input_integers("labels", batch);
    let mut optimizer = Optimizer::adam();
    let update = optimizer.clone();
    let mut spec = PlanSpec { outputs: vec![out.logits], ..Default::default() };
    if train {
        spec = update.step_of(out.logits.cross_entropy(labels, Smoothing::None, None).0);
    }
    let hyper = spec.hyper;
    let weights = Rc::new(network.init(side, 4, 1).upload(gpu).expect("fits"));
    let mut plan = Plan::compile(gpu, &graph, &weights, &spec).expect("fits");
    let pixels = common::numbers(x.shape().elements(), 5);
    let truth: Vec<u32> = (0..batch as u32).map(|i| i % 4).collect();
    let flops: f64 = (0..plan.size().0)
        .filter_map(|i| {
            let words: Vec<&str> = plan.line(i).split_whitespace().collect();
            words.iter().position(|w| *w == "GFLOP").and_then(|at| words[at - 1].parse::<f64>().ok())
        })
        .sum();
    let mut times = Vec::new();
    for i in 0..if common::smoke() { 2 } else { 9 } {
        let numbers = optimizer.advance(1e-4);
        let mut feeds = vec![(x, Feed::F32(&pixels))];
        if let Some(h) = hyper {
            feeds.extend([(labels, Feed::U32(&truth)), (h, Feed::F32(&numbers))]);
        }
        let t = Instant::now();
        plan.run(gpu, &feeds).expect("runs");
        if i > 1 || common::smoke() {
            times.push(t.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let ms = times[times.len() / 2];
    eprintln!("{name}: {:.0} img/s, memory {}", batch as f64 / ms * 1e3, plan.memory());
    Row { name: name.into(), kernel: "whole step".into(), ms, gflops: flops / ms * 1e3, gbytes: 0.0, arithmetic: true }
}
