//! One case of the peers' harness on this engine: `cargo run --release --example peer_case -- w1_train 64 16 2`.
//! Prints the JSON line that every engine of that harness prints, so that all run side by side.
//!
//! Cases: `w1_train S B K`, `w1_infer S B` (the DETL network), `conv_fwd C HW N`, `conv_fwdbwd C HW N` (3×3 same, bias;
//! the backward pass gives dX, dW, db of mean(out²)).

use radiograd::graph::layout;
use radiograd::models::detl12;
use radiograd::nn::{Layers, Optimizer, ParamStore};
use radiograd::ops::{Geometry, Smoothing};
use radiograd::plan::HYPER;
use radiograd::{Feed, Gpu, Graph, Plan, PlanSpec, Shape, Tensor};
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

/// Weights of layer 1, 2, … in order, uniform in ±√(6 / fan-in); biases zero.
fn weights(graph: &Graph) -> ParamStore {
    let mut store = ParamStore::init(graph, 0);
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

struct Case {
    gpu: Gpu,
    plan: Plan,
    optimizer: Option<Optimizer>,
}

impl Case {
    /// One step on inputs that are on the device already, its first output's first number, waited for.
    fn step(&mut self, hyper: Option<Tensor>, read: bool) -> Result<f64, radiograd::Error> {
        let mut numbers = [0.0; HYPER];
        let feeds: Vec<_> = match (&mut self.optimizer, hyper) {
            (Some(o), Some(h)) => {
                numbers = o.advance(1e-3);
                vec![(h, Feed::F32(&numbers))]
            }
            _ => Vec::new(),
        };
        self.plan.step(&self.gpu, &feeds)?;
        if !read {
            return Ok(0.0);
        }
        let all = self.plan.finish(&self.gpu)?;
        Ok(all.last().map_or(f64::NAN, |r| r.outputs.iter().map(|o| f64::from(o[0])).sum()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| -> Result<usize, String> {
        args.get(i).and_then(|a| a.parse().ok()).ok_or(format!("argument {i}: a number is needed"))
    };
    let name = args.first().cloned().unwrap_or_default();
    let gpu = Gpu::new()?;
    let graph = Graph::new();
    let (a, b) = (number(1)?, number(2)?);
    let mut spec = PlanSpec::default();
    let mut optimizer = None;
    let mut hyper = None;
    let mut labels = Vec::new();
    let (x, info) = match name.as_str() {
        "w1_train" | "w1_infer" => {
            let x = graph.input("x", Shape::image(b, 1, a, a));
            let classes = if name == "w1_train" { number(3)? } else { 2 };
            let net = detl12(&graph, x, classes, &Layers::default());
            if name == "w1_train" {
                let t = graph.input_integers("labels", b);
                labels = (0..b).map(|i| (i % classes) as u32).collect();
                let (loss, _) = net.logits.cross_entropy(t, Smoothing::None, None);
                let params: Vec<Tensor> = graph.params().iter().map(|(n, s, _)| graph.param(n, *s, true)).collect();
                let grads = loss.gradients(&params);
                spec.gradients = params.into_iter().zip(grads).filter_map(|(p, g)| Some((p, g?))).collect();
                spec.outputs = vec![loss];
                optimizer = Some(Optimizer::adam());
                hyper = Some(graph.input("hyper", Shape::flat(HYPER)));
            } else {
                spec.outputs = vec![net.logits];
            }
            (x, serde_json::json!({"S": a, "batch": b}))
        }
        "conv_fwd" | "conv_fwdbwd" => {
            let n = number(3)?;
            let x = graph.input("x", Shape::image(n, a, b, b));
            let y = Layers::default().conv2d(x, "conv", a, [3, 3], Geometry::same(3, 3));
            spec.outputs = vec![y];
            if name == "conv_fwdbwd" {
                // d mean(y²)/dy = 2 y / elements, fed as the upstream gradient by a second convolution with scaled weights
                // would need y; instead the upstream is y itself and the result is scaled on the host.
                let params: Vec<Tensor> = graph.params().iter().map(|(n, s, _)| graph.param(n, *s, true)).collect();
                let wrt: Vec<Tensor> = [x].into_iter().chain(params).collect();
                let grads: Vec<Tensor> = y.gradients_with(y, &wrt).into_iter().flatten().collect();
                spec.outputs = vec![grads[1], grads[0], grads[2]];
            }
            (x, serde_json::json!({"C": a, "HW": b, "batch": n}))
        }
        _ => return Err("cases: w1_train S B K, w1_infer S B, conv_fwd C HW N, conv_fwdbwd C HW N".into()),
    };
    let store = weights(&graph);
    let update = optimizer.clone();
    spec.update = update.as_ref().map(|u| u as _);
    spec.hyper = hyper;
    let plan = Plan::compile(&gpu, &graph, &Rc::new(store.upload(&gpu)?), &spec)?;
    if std::env::var("PLAN").is_ok() { eprintln!("{plan}"); }
    let mut case = Case { gpu, plan, optimizer };
    let image = unit(1000, x.shape().elements());
    let t = labels.len();
    let label_input = (t > 0).then(|| graph.input_integers("unused", 0));
    let _ = (label_input, layout::extra_lanes(Shape::flat(1)));
    let first = Instant::now();
    let mut numbers = [0.0; HYPER];
    let mut feeds = vec![(x, Feed::F32(&image))];
    let label_tensor = labels_tensor(&graph);
    if let Some(l) = label_tensor {
        feeds.push((l, Feed::U32(&labels)));
    }
    if let (Some(o), Some(h)) = (&mut case.optimizer, hyper) {
        numbers = o.advance(1e-3);
        feeds.push((h, Feed::F32(&numbers)));
    }
    case.plan.step(&case.gpu, &feeds)?;
    let mut vals = vec![case.plan.finish(&case.gpu)?.last().map_or(f64::NAN, |r| f64::from(r.outputs[0][0]))];
    let first_s = first.elapsed().as_secs_f64();
    let startup_s = start.elapsed().as_secs_f64();
    for _ in 0..2 {
        vals.push(case.step(hyper, true)?);
    }
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 7 || (begin.elapsed() < Duration::from_secs(1) && times.len() < 500) {
        let t = Instant::now();
        case.step(hyper, true)?;
        times.push(t.elapsed().as_secs_f64());
    }
    let begin = Instant::now();
    for _ in 0..5 {
        case.step(hyper, false)?;
    }
    case.plan.finish(&case.gpu)?;
    let async_s = begin.elapsed().as_secs_f64() / 5.0;
    times.sort_by(f64::total_cmp);
    println!(
        "{}",
        serde_json::json!({
            "peer": "radiograd", "variant": case.gpu.describe(), "case": name, "info": info, "first_s": first_s,
            "startup_s": startup_s, "median_s": times[times.len() / 2], "min_s": times[0], "n": times.len(),
            "async_step_s": async_s, "vals": vals, "status": "ok",
        })
    );
    if std::env::var("PROFILE").is_ok() {
        for t in case.plan.profile(&case.gpu)? { eprintln!("{:9.3} ms {}", t.nanoseconds / 1e6, case.plan.line(t.step)); }
    }
    let _ = numbers;
    Ok(())
}

fn labels_tensor(graph: &Graph) -> Option<Tensor<'_>> {
    graph.find_input("labels")
}
