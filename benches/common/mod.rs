//! What the benches share: the measured ceilings, timing by device timestamps, rows and their table and JSON.

#![allow(dead_code)] // each bench uses its part

use radiograd::gpu::{Source, Word};
use radiograd::graph::{Cost, Op, Recorder, ValueId};
use radiograd::{Gpu, Graph, Plan, PlanSpec, Result, Shape, Tensor, Weights};
use serde_json::json;
use std::rc::Rc;

const PEAK: Source = Source { file: "peak.wgsl", text: include_str!("../peak.wgsl") };

/// A register-only multiply-add loop over `groups` workgroups.
pub struct FmaPeak {
    pub groups: usize,
    pub width: usize,
}

/// y = x; `wide`: in loads of 64-bit integers.
pub struct CopyPeak {
    pub wide: bool,
}

const ROUNDS: usize = 2000;

impl Op for FmaPeak {
    fn name(&self) -> &'static str {
        "fma_peak"
    }
    fn shapes(&self, _: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![Shape::flat(self.groups * self.width * 4)])
    }
    fn reference(&self, _: &[&[f64]], _: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let one = |i: usize| {
            let (thread, factor) = (i / 4, [1e-6, 2e-6, 3e-6, 5e-6][i % 4]);
            let d = (thread % self.width) as f64 * 1e-3 + 0.1;
            let chain = |first: f64| (0..4 * ROUNDS).fold(first, |a, _| a * 0.999 + d);
            (0..4).map(|j| chain((thread + j) as f64 * factor)).sum()
        };
        vec![(0..ys[0].elements()).map(one).collect()]
    }
    fn dispatch(&self, k: &mut Recorder, _: &[ValueId], y: &[ValueId]) {
        let baked = [("WIDTH", self.width as i64), ("ROUNDS", ROUNDS as i64)];
        k.launch(PEAK, "fma_peak", &baked, &[("seed", Word::F(0.999))], &[y[0].into()], self.groups);
    }
    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], _: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        Vec::new()
    }
    fn cost(&self, _: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: (self.groups * self.width * ROUNDS * 16 * 4 * 2) as f64, bytes: 0.0 }
    }
}

impl Op for CopyPeak {
    fn name(&self) -> &'static str {
        "copy_peak"
    }
    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![x[0]])
    }
    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].to_vec()]
    }
    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        let buffers = [x[0].into(), y[0].into()];
        if self.wide {
            let quads = [("quads", Word::from(words / 4))];
            k.launch(PEAK, "copy_peak", &[("WIDE", 1)], &quads, &buffers, (words / 8).div_ceil(256));
        } else {
            k.elementwise(PEAK, "copy_peak", &[("WIDE", 0)], &[], &buffers, words);
        }
    }
    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], _: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        Vec::new()
    }
}

/// What the machine can do, measured now.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    pub gflops: f64,
    pub gbytes: f64,
}

/// One measured row.
pub struct Row {
    pub name: String,
    pub kernel: String,
    pub ms: f64,
    pub gflops: f64,
    pub gbytes: f64,
    /// Whether arithmetic or bytes bound it.
    pub arithmetic: bool,
    /// What else belongs to it, for the JSON; null where nothing does.
    pub more: serde_json::Value,
}

/// `--smoke` (CI): every bench once and small; its figures mean nothing.
pub fn smoke() -> bool {
    std::env::args().any(|a| a == "--smoke") || std::env::var("BENCH_SMOKE").is_ok()
}

/// A filter of names: the first argument that is no option.
pub fn wanted(name: &str) -> bool {
    std::env::args().skip(1).filter(|a| !a.starts_with("--")).all(|a| name.contains(&a))
}

/// Opens the adapter with unchecked shader modules, as programs do.
pub fn open() -> Gpu {
    let options = radiograd::GpuOptions { checked: Some(false), ..Default::default() };
    match Gpu::with(&options) {
        Ok(gpu) => gpu,
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(i32::from(e.exit_code()));
        }
    }
}

/// Values for weights and inputs that are neither zero nor equal.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let one = |i: u64| {
        let z = (i + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..n as u64).map(one).collect()
}

/// Compiles a graph whose parameters get random values and whose `outputs` are kept on the device.
pub fn plan(gpu: &Gpu, graph: &Graph, outputs: Vec<Tensor>) -> (Plan, Rc<Weights>) {
    let params: Vec<_> = graph.params().into_iter().map(|(n, s, t)| (n, s, t, numbers(s.elements(), 7))).collect();
    let weights = Weights::upload(gpu, params.iter().map(|(n, s, t, v)| (n.as_str(), *s, *t, v.as_slice())));
    let weights = Rc::new(weights.expect("weights fit"));
    let plan = Plan::compile(gpu, graph, &weights, &PlanSpec { outputs, ..Default::default() }).expect("the plan fits");
    (plan, weights)
}

/// Median milliseconds of every launch of `plan`, in order, over `runs` runs after one to warm up. A long launch is cut into
/// several dispatches, whose times are added.
pub fn time(gpu: &Gpu, plan: &Plan, runs: usize) -> Vec<(usize, f64)> {
    let once = || {
        let all = plan.profile(gpu).expect("timestamps");
        let launches = all.chunk_by(|a, b| a.step == b.step);
        launches.map(|l| (l[0].step, l.iter().map(|t| t.nanoseconds / 1e6).sum::<f64>())).collect::<Vec<_>>()
    };
    once();
    let all: Vec<_> = (0..runs.max(1)).map(|_| once()).collect();
    (0..all[0].len())
        .map(|i| {
            let mut t: Vec<f64> = all.iter().map(|r| r[i].1).collect();
            t.sort_by(f64::total_cmp);
            (all[0][i].0, t[t.len() / 2])
        })
        .collect()
}

/// Measures both ceilings. The best of several copies and loops counts.
pub fn ceilings(gpu: &Gpu) -> Ceilings {
    let (groups, words) = if smoke() { (64, 1 << 16) } else { (2048, 16 << 20) };
    let mut best = Ceilings { gflops: 0.0, gbytes: 0.0 };
    for width in [8, 64] {
        let graph = Graph::new();
        let op = FmaPeak { groups: groups * 8 / width, width };
        let flops = op.cost(&[], &[]).flops;
        let y = graph.record(op, &[]);
        let (p, _w) = plan(gpu, &graph, y);
        let ms = time(gpu, &p, 3)[0].1;
        best.gflops = best.gflops.max(flops / ms / 1e6);
    }
    let int64 = gpu.features.contains(wgpu::Features::SHADER_INT64);
    for wide in [false, true].into_iter().filter(|w| !w || int64) {
        let graph = Graph::new();
        let x = graph.input("x", Shape::flat(words));
        let y = graph.record(CopyPeak { wide }, &[x]);
        let (p, _w) = plan(gpu, &graph, y);
        let ms = time(gpu, &p, 5)[0].1;
        best.gbytes = best.gbytes.max((words * 8) as f64 / ms / 1e6);
    }
    best
}

/// Prints the table and writes JSON under `target/`.
pub fn report(bench: &str, gpu: &Gpu, c: &Ceilings, rows: &[Row]) {
    println!("{bench}: {}", gpu.describe());
    println!("measured in this run: FMA loop {:.1} GFLOP/s, copy {:.1} GB/s", c.gflops, c.gbytes);
    println!("{:44} {:24} {:>10} {:>9} {:>8} {:>9}", "case", "kernel", "ms", "GFLOP/s", "GB/s", "of peak");
    let mut json_rows = Vec::new();
    for r in rows {
        let share = if r.arithmetic { r.gflops / c.gflops } else { r.gbytes / c.gbytes };
        let what = if r.arithmetic { "FMA" } else { "copy" };
        println!(
            "{:44} {:24} {:10.3} {:9.1} {:8.1} {:5.0} % {what}",
            r.name,
            r.kernel,
            r.ms,
            r.gflops,
            r.gbytes,
            100.0 * share
        );
        json_rows.push(json!({"case": r.name, "kernel": r.kernel, "ms": r.ms, "gflops": r.gflops, "gbytes": r.gbytes, "share": share, "of": what, "more": r.more}));
    }
    let all = json!({"bench": bench, "adapter": gpu.describe(), "tuning": gpu.tuning.name, "smoke": smoke(),
        "fma_gflops": c.gflops, "copy_gbytes": c.gbytes, "rows": json_rows});
    let path = std::path::Path::new("target").join(format!("bench-{bench}.json"));
    match radiograd::files::write_atomic(&path, all.to_string().as_bytes()) {
        Ok(()) => eprintln!("written to {}", path.display()),
        Err(e) => eprintln!("{e}"),
    }
}
