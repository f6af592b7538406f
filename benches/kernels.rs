//! Every kernel, forward and backward, in the shapes of the papers' networks: `cargo bench --bench kernels [NAME] [-- --smoke]`.
//! The cases are `bench_table` of `kernels-tests/cases.rs`, the same that are tested. Times are device timestamps; shares
//! refer to the ceilings measured in the same run.

mod common;

use common::Row;
use radiograd::nn::Optimizer;
use radiograd::ops::Smoothing;
use radiograd::selftest::cases::{Case, bench_table, table};
use radiograd::selftest::prepare;
use radiograd::{Gpu, Graph, Plan, Shape};
use std::rc::Rc;

/// Families that arithmetic bounds; the others move bytes.
const ARITHMETIC: [&str; 2] = ["conv2d", "dense"];

fn main() {
    let gpu = common::open();
    let ceilings = common::ceilings(&gpu);
    // The tests' own cases are small and of every family.
    let cases = if common::smoke() { table() } else { bench_table() };
    let mut rows = Vec::new();
    for case in cases.iter().filter(|c| common::wanted(&c.name)) {
        measure(&gpu, &mut rows, case);
    }
    if common::wanted("adam") {
        adam(&gpu, &mut rows, if common::smoke() { 1 << 14 } else { 1 << 24 });
    }
    common::report("kernels", &gpu, &ceilings, &rows);
}

/// Times every launch of a case; a kernel that runs twice in one case (a gradient of a sum) has two rows.
fn measure(gpu: &Gpu, rows: &mut Vec<Row>, case: &Case) {
    let plan = match prepare(gpu, case) {
        Ok(plan) => plan,
        Err(e) => {
            eprintln!("{}: {e}", case.name);
            std::process::exit(i32::from(e.exit_code()));
        }
    };
    for (step, ms) in common::time(gpu, &plan, if common::smoke() { 1 } else { 7 }) {
        push(rows, &case.name, plan.line(step), ms, ARITHMETIC.contains(&case.family));
    }
}

/// One Adam step over a parameter of `len` numbers.
fn adam(gpu: &Gpu, rows: &mut Vec<Row>, len: usize) {
    let graph = Graph::new();
    let filter = Shape::Filter { k: 256, c: len / 256, r: 1, s: 1 };
    let x = graph.input("x", Shape::image(1, len / 256, 1, 1));
    let w = graph.param("w", filter, true);
    let t = graph.input_integers("t", 1);
    let (loss, _) = x.dense(w).cross_entropy(t, Smoothing::None, None);
    let values = common::numbers(len, 3);
    let weights = radiograd::Weights::upload(gpu, [("w", filter, true, values.as_slice())]).expect("fits");
    let plan = Plan::compile(gpu, &graph, &Rc::new(weights), &Optimizer::adam().step_of(loss)).expect("fits");
    let all = common::time(gpu, &plan, if common::smoke() { 1 } else { 7 });
    if let Some((step, ms)) = all.last() {
        push(rows, "adam 64 MiB of parameters", plan.line(*step), *ms, false);
    }
}

/// Reads kernel, GFLOP and MB off the plan's listing.
fn push(rows: &mut Vec<Row>, name: &str, line: &str, ms: f64, arithmetic: bool) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let before = |unit: &str| {
        words.iter().position(|w| *w == unit).and_then(|i| words[i - 1].parse::<f64>().ok()).unwrap_or(0.0)
    };
    let kernel = words.iter().position(|w| *w == "groups").map_or("?", |i| words[i - 2]);
    rows.push(Row {
        name: name.into(),
        kernel: kernel.into(),
        ms,
        gflops: before("GFLOP") / ms * 1e3,
        gbytes: before("MB") / ms,
        arithmetic,
        more: serde_json::Value::Null,
    });
}
