//! One case of the peers' harness on this engine: `cargo run --release --example peer_case -- w1_train 64 16 2`.
//! Prints the JSON line that every engine of that harness prints, so that all run side by side.
//!
//! Cases: `w1_train S B K`, `w1_infer S B` (the DETL network), `vgg16_infer S B` (the convolutional base), `resnet50_infer S B`,
//! `conv_fwd C HW N`, `conv_fwdbwd C HW N` (3×3 same with bias; backward gives dX, dW, db of mean(out²)). `PROFILE=1` adds
//! device times by dispatch on stderr.

use radiograd::models::{Network, detl12};
use radiograd::nn::{Layers, Optimizer, ParamStore};
use radiograd::ops::{Geometry, Smoothing};
use radiograd::{Feed, Gpu, GpuOptions, Graph, Plan, PlanSpec, Shape, Tensor};
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The harness' numbers: SplitMix64 of (stream << 40) + i, on a 24-bit grid in [0, 1).
fn unit(stream: u64, n: usize) -> Vec<f32> {
    let one = |i: u64| {
        let mut z = ((stream << 40) + i).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    };
    (0..n as u64).map(one).collect()
}

/// Weights of layer 1, 2, … in order, uniform in ±√(6 / fan-in); biases zero, batch norms new.
fn weights(graph: &Graph, case: &str) -> ParamStore {
    let mut store = ParamStore::init(graph, 0);
    if case == "resnet50_infer" {
        // torchvision's order: within a block the shortcut comes last, which is the order of the names.
        store.params.sort_by_key(|p| (p.name.starts_with("fc."), p.name.clone()));
    }
    let mut stream = 0;
    for p in &mut store.params {
        if let Shape::Filter { c, r, s, .. } = p.shape {
            stream += 1;
            let bound = (6.0 / (c * r * s) as f64).sqrt() as f32;
            p.values = unit(stream, p.values.len()).iter().map(|u| (u * 2.0 - 1.0) * bound).collect();
        }
    }
    store
}

/// A value fed before the first step; it stays on the device.
type Fed<'g> = (Tensor<'g>, Numbers);

enum Numbers {
    F32(Vec<f32>),
    U32(Vec<u32>),
}

/// Records a case: what to read, what to feed once, and for training the optimizer's input.
fn record<'a, 'g>(
    g: &'g Graph,
    (name, n): (&str, &[usize]),
    update: &'a Optimizer,
) -> Result<(PlanSpec<'a, 'g>, Vec<Fed<'g>>), String> {
    let mut spec = PlanSpec::default();
    let image = |shape: Shape| (g.input("x", shape), Numbers::F32(unit(1000, shape.elements())));
    let mut feeds = match (name, n) {
        ("w1_train" | "w1_infer", &[s, b, ..]) => vec![image(Shape::image(b, 1, s, s))],
        ("vgg16_infer" | "resnet50_infer", &[s, b]) => vec![image(Shape::image(b, 3, s, s))],
        ("conv_fwd" | "conv_fwdbwd", &[c, hw, b]) => vec![image(Shape::image(b, c, hw, hw))],
        _ => {
            let cases = ["w1_train S B K", "w1_infer S B", "vgg16_infer S B", "resnet50_infer S B", "conv_fwd C HW N"];
            return Err(format!("cases: {}, conv_fwdbwd C HW N", cases.join(", ")));
        }
    };
    let x = feeds[0].0;
    match (name, n) {
        ("w1_train", &[_, b, k]) => {
            let labels = g.input_integers("labels", b);
            feeds.push((labels, Numbers::U32((0..b).map(|i| (i % k) as u32).collect())));
            let (loss, _) = detl12(x, k, &Layers::default()).logits.cross_entropy(labels, Smoothing::None, None);
            spec = update.step_of(loss);
        }
        ("w1_infer", _) => spec.outputs = vec![detl12(x, 2, &Layers::default()).logits],
        ("vgg16_infer", _) => {
            spec.outputs = vec![Network::named("vgg16").map_err(|e| e.to_string())?.record_base(x)];
        }
        ("resnet50_infer", _) => {
            let network = Network::named("resnet50").map_err(|e| e.to_string())?;
            spec.outputs = vec![network.record(g, x, 1000, &Layers::default()).logits];
        }
        _ => {
            let y = Layers::default().conv2d(x, "conv", n[0], [3, 3], Geometry::same(3, 3));
            spec.outputs = vec![y];
            if name == "conv_fwdbwd" {
                // d mean(y²) / dy = 2 y / elements.
                let size = y.shape().elements();
                let scale = g.input("scale", y.shape());
                feeds.push((scale, Numbers::F32(vec![2.0 / size as f32; size])));
                let params = g.params();
                let params = params.iter().map(|(name, shape, _)| g.param(name, *shape, true));
                let wrt: Vec<Tensor> = [x].into_iter().chain(params).collect();
                let grads: Vec<Tensor> = y.gradients_with(y.multiply(scale), &wrt).into_iter().flatten().collect();
                spec.outputs = vec![grads[1], grads[0], grads[2]];
            }
        }
    }
    Ok((spec, feeds))
}

/// The number that the harness prints for a step: the loss, the first output, or dW\[0\] + dX\[0\].
fn value(outputs: &[Vec<f32>]) -> f64 {
    outputs.iter().take(2).map(|o| f64::from(o[0])).sum()
}

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().cloned().unwrap_or_default();
    let n: Vec<usize> =
        args.iter().skip(1).map(|a| a.parse().map_err(|e| format!("{a}: {e}"))).collect::<Result<_, _>>()?;
    let gpu = Gpu::with(&GpuOptions { checked: Some(false), ..Default::default() })?;
    let graph = Graph::new();
    let mut optimizer = Optimizer::adam();
    let update = optimizer.clone();
    let (spec, inputs) = record(&graph, (&name, &n), &update)?;
    let hyper = spec.hyper;
    let mut plan = Plan::compile(&gpu, &graph, &Rc::new(weights(&graph, &name).upload(&gpu)?), &spec)?;

    let mut first_feeds: Vec<(Tensor, Feed)> = inputs
        .iter()
        .map(|(t, v)| match v {
            Numbers::F32(v) => (*t, Feed::F32(v)),
            Numbers::U32(v) => (*t, Feed::U32(v)),
        })
        .collect();
    // One step; read: wait for it, as a loop that looks at each loss does.
    let mut step = |plan: &mut Plan, feeds: &mut Vec<(Tensor<'_>, Feed<'_>)>, read: bool| -> radiograd::Result<f64> {
        let numbers = optimizer.advance(1e-3);
        let mut all: Vec<(radiograd::graph::ValueId, Feed)> = feeds.drain(..).map(|(t, f)| (t.id, f)).collect();
        all.extend(hyper.map(|h| (h.id, Feed::F32(&numbers))));
        plan.step_by_id(&gpu, &all)?;
        Ok(if read { plan.finish(&gpu)?.last().map_or(f64::NAN, |r| value(&r.outputs)) } else { 0.0 })
    };
    let first = Instant::now();
    let mut vals = vec![step(&mut plan, &mut first_feeds, true)?];
    let (first_s, startup_s) = (first.elapsed().as_secs_f64(), start.elapsed().as_secs_f64());
    let mut none = Vec::new();
    for _ in 0..2 {
        vals.push(step(&mut plan, &mut none, true)?);
    }
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < 7 || (begin.elapsed() < Duration::from_secs(1) && times.len() < 500) {
        let t = Instant::now();
        step(&mut plan, &mut none, true)?;
        times.push(t.elapsed().as_secs_f64());
    }
    plan.finish(&gpu)?;
    let begin = Instant::now();
    for _ in 0..5 {
        step(&mut plan, &mut none, false)?;
    }
    plan.finish(&gpu)?;
    let async_s = begin.elapsed().as_secs_f64() / 5.0;
    times.sort_by(f64::total_cmp);
    let line = serde_json::json!({
        "peer": "radiograd", "variant": gpu.describe(), "case": name, "args": n, "first_s": first_s,
        "startup_s": startup_s, "median_s": times[times.len() / 2], "min_s": times[0], "n": times.len(),
        "async_step_s": async_s, "plan_mb": plan.memory().total() as f64 / 1e6,
        "pipelines": gpu.pipelines(), "dispatches": plan.size().0, "vals": vals, "status": "ok",
    });
    println!("{line}");
    if std::env::var("PROFILE").is_ok() {
        for t in plan.profile(&gpu)? {
            eprintln!("{:9.3} ms {}", t.nanoseconds / 1e6, plan.line(t.step));
        }
    }
    Ok(())
}
