//! Every network, training step and inference: `cargo bench --bench models [NAME] [-- --smoke]`. Each case is a process of its own, so
//! that its memory and its first pass are its own. Wall time of whole steps, results read back; GFLOP/s against the FMA loop
//! measured in the same run; resident memory beside the plan's figure. `RADIOGRAD_BENCH_CASE="resnet50 224 1 infer"` runs one
//! case in this process, `PROFILE=1` adds device times by dispatch on stderr.

mod common;

use common::Row;
use radiograd::models::Network;
use radiograd::nn::{DROPOUT_INPUT, Layers, Optimizer};
use radiograd::ops::Smoothing;
use radiograd::{Feed, Gpu, Graph, Plan, PlanSpec, Shape};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

/// A network and the sides that are measured: of its paper or its published weights, and for `--smoke` about the smallest.
/// Batches: in software, on a GPU.
const CASES: [(&str, usize, usize, [usize; 2]); 13] = [
    ("detl12", 64, 36, [16, 64]),
    ("detl12", 128, 0, [16, 64]),
    ("detl12", 224, 0, [8, 32]),
    ("hernandez_custom", 150, 16, [8, 64]),
    ("zhong_dcnn", 80, 16, [8, 64]),
    ("gaowang", 64, 8, [16, 128]),
    ("vgg16", 224, 32, [1, 32]),
    ("vgg19", 224, 32, [1, 32]),
    ("resnet50", 224, 32, [2, 32]),
    ("densenet121", 224, 32, [2, 32]),
    ("inception_v3", 299, 75, [1, 32]),
    ("inception_resnet_v2", 299, 75, [1, 16]),
    ("xception", 299, 71, [1, 16]),
];

/// The variable that tells a child its case: `NAME SIDE BATCH train|infer`.
const CASE: &str = "RADIOGRAD_BENCH_CASE";

fn main() {
    if let Ok(case) = std::env::var(CASE) {
        println!("{}", child(&case));
        return;
    }
    let gpu = common::open();
    let c = common::ceilings(&gpu);
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (network, side, smallest, batches) in CASES {
        let (side, batch) = match (common::smoke(), gpu.is_software()) {
            (true, _) if smallest == 0 => continue,
            // Batch norm needs two values a channel.
            (true, _) => (smallest, 2),
            (_, true) => (side, batches[0]),
            _ => (side, batches[1]),
        };
        for (mode, words) in [("train", "train step"), ("infer", "inference")] {
            let name = format!("{network} {words} {side} batch {batch}");
            if !common::wanted(&name) {
                continue;
            }
            match spawn(&format!("{network} {side} {batch} {mode}")) {
                Ok(v) => {
                    let of = |key: &str| v[key].as_f64().unwrap_or(f64::NAN);
                    let ms = of("ms");
                    notes.push(note(&name, &v, c.gflops));
                    rows.push(Row {
                        name,
                        kernel: "whole step".into(),
                        ms,
                        gflops: of("gflop") / ms * 1e3,
                        gbytes: 0.0,
                        arithmetic: true,
                        more: v,
                    });
                }
                Err(e) => {
                    eprintln!("{name}: {e}");
                    std::process::exit(1);
                }
            }
        }
    }
    common::report("models", &gpu, &c, &rows);
    println!("\n| case | ms | GFLOP/s | of the FMA loop | plan MB | measured MB | pipelines | first pass s |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    notes.iter().for_each(|n| println!("{n}"));
}

/// A row of the table for `benches/RESULTS.md`.
fn note(name: &str, v: &Value, peak: f64) -> String {
    let of = |key: &str| v[key].as_f64().unwrap_or(f64::NAN);
    let speed = of("gflop") / of("ms") * 1e3;
    format!(
        "| {name} | {:.0} | {speed:.1} | {:.0} % | {:.0} | {:.0} | {} | {:.2} |",
        of("ms"),
        100.0 * speed / peak,
        of("plan_mb"),
        of("resident_mb"),
        v["pipelines"],
        of("first_s")
    )
}

/// Runs a case in a process of its own.
fn spawn(case: &str) -> Result<Value, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = Command::new(program)
        .args(std::env::args().skip(1).filter(|a| a == "--smoke"))
        .env(CASE, case)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err(format!("{case}: {}", out.status));
    }
    serde_json::from_slice(&out.stdout).map_err(|e| format!("{case}: {e}"))
}

/// Resident bytes of this process: now (`VmRSS`) or the most since [`forget_peak`] (`VmHWM`); NaN where the system does not tell.
fn resident(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

/// From now on `VmHWM` counts anew (proc(5), `clear_refs`).
fn forget_peak() {
    if let Err(e) = std::fs::write("/proc/self/clear_refs", "5") {
        eprintln!("peak memory is that of the whole process: {e}");
    }
}

/// One case: times, memory, pipelines. On software Vulkan the device's memory is the process': what is resident above the
/// program with its device and its compiled kernels is compared with the plan.
fn child(case: &str) -> Value {
    let start = Instant::now();
    let words: Vec<&str> = case.split(' ').collect();
    let [name, side, batch, mode] = words[..] else { panic!("{CASE}: '{case}'") };
    let number = |s: &str| s.parse::<usize>().expect("a number");
    let (side, batch, train) = (number(side), number(batch), mode == "train");
    let gpu = common::open();
    let open_s = start.elapsed().as_secs_f64();
    let network = Network::named(name).expect("is in the table");
    let weights = Rc::new(network.init(side, 4, 1).upload(&gpu).expect("fits"));
    gpu.wait().expect("a device");
    let before = resident("VmRSS") - weights_bytes(&weights);
    forget_peak();
    let begin = Instant::now();
    let step = Step::new(&gpu, &network, weights, (side, batch), train);
    let planned = begin.elapsed().as_secs_f64();
    let (first, plan, times) = step.run(&gpu, begin);
    let gflop: f64 = (0..plan.size().0)
        .filter_map(|i| {
            let words: Vec<&str> = plan.line(i).split_whitespace().collect();
            words.iter().position(|w| *w == "GFLOP").and_then(|at| words[at - 1].parse::<f64>().ok())
        })
        .sum();
    let ms = times[times.len() / 2];
    let peak = resident("VmHWM") - before;
    if std::env::var("PROFILE").is_ok() {
        for t in plan.profile(&gpu).expect("timestamps") {
            eprintln!("{:9.3} ms {}", t.nanoseconds / 1e6, plan.line(t.step));
        }
    }
    eprintln!(
        "{case}: planned in {planned:.2} s, {:.1} img/s, first pass {first:.2} s, memory {}",
        batch as f64 / ms * 1e3,
        plan.memory()
    );
    json!({"ms": ms, "gflop": gflop, "plan_mb": plan.memory().total() as f64 / 1e6, "resident_mb": peak / 1e6,
        "pipelines": gpu.pipelines(), "dispatches": plan.size().0, "open_s": open_s, "planned_s": planned, "first_s": first,
        "start_s": (begin - start).as_secs_f64() + first})
}

fn weights_bytes(weights: &radiograd::Weights) -> f64 {
    let (trainable, frozen) = weights.bytes();
    (trainable + frozen) as f64
}

/// A compiled step and what it is fed.
struct Step {
    plan: Plan,
    feeds: Vec<(radiograd::graph::ValueId, Numbers)>,
    hyper: Option<radiograd::graph::ValueId>,
    optimizer: Optimizer,
}

enum Numbers {
    F32(Vec<f32>),
    U32(Vec<u32>),
}

impl Step {
    fn new(
        gpu: &Gpu,
        network: &Network,
        weights: Rc<radiograd::Weights>,
        (side, batch): (usize, usize),
        train: bool,
    ) -> Step {
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(batch, 1, side, side));
        let out = network.record(&graph, x, 4, &Layers { training: train, ..Layers::default() });
        let optimizer = Optimizer::adam();
        let update = optimizer.clone();
        let mut spec = PlanSpec { outputs: vec![out.logits], ..Default::default() };
        let mut feeds = vec![(x.id, Numbers::F32(common::numbers(x.shape().elements(), 5)))];
        if train {
            let labels = graph.input_integers("labels", batch);
            feeds.push((labels.id, Numbers::U32((0..batch as u32).map(|i| i % 4).collect())));
            feeds.extend(graph.find_input(DROPOUT_INPUT).map(|t| (t.id, Numbers::U32(vec![1, 0, 0, 0]))));
            spec = update.step_of(out.logits.cross_entropy(labels, Smoothing::None, None).0);
        }
        let hyper = spec.hyper.map(|h| h.id);
        let plan = Plan::compile(gpu, &graph, &weights, &spec).expect("fits");
        Step { plan, feeds, hyper, optimizer }
    }

    /// Seconds from `begin` to the end of the first pass, and sorted milliseconds of passes after the warm-up.
    fn run(mut self, gpu: &Gpu, begin: Instant) -> (f64, Plan, Vec<f64>) {
        let (mut first, mut times) = (0.0, Vec::new());
        let runs = if common::smoke() { 2 } else { 7 };
        for i in 0..runs {
            let numbers = self.optimizer.advance(1e-4);
            let mut feeds: Vec<_> = self
                .feeds
                .iter()
                .map(|(id, v)| match v {
                    Numbers::F32(v) => (*id, Feed::F32(v.as_slice())),
                    Numbers::U32(v) => (*id, Feed::U32(v.as_slice())),
                })
                .collect();
            feeds.extend(self.hyper.map(|h| (h, Feed::F32(numbers.as_slice()))));
            let t = Instant::now();
            self.plan.step_by_id(gpu, &feeds).expect("runs");
            self.plan.finish(gpu).expect("runs");
            if i == 0 {
                first = begin.elapsed().as_secs_f64();
            }
            if i > 1 || common::smoke() {
                times.push(t.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        (first, self.plan, times)
    }
}
