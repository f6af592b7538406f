//! Host-side cost: 500 dispatches replayed, planning, pipeline compilation: `cargo bench --bench overhead [-- --smoke]`.

mod common;

use radiograd::models::Network;
use radiograd::nn::{Layers, Optimizer};
use radiograd::ops::Smoothing;
use radiograd::{Graph, Plan, Shape};
use serde_json::json;
use std::rc::Rc;
use std::time::Instant;

fn main() {
    let start = Instant::now();
    let gpu = common::open();
    let open_ms = start.elapsed().as_secs_f64() * 1e3;

    // 500 tiny dispatches in a chain. `step` encodes and submits without waiting, so its time is the host's.
    let count = if common::smoke() { 20 } else { 500 };
    let graph = Graph::new();
    let x = graph.input("x", Shape::flat(64));
    let mut y = x;
    for _ in 0..count {
        y = y.relu();
    }
    let (mut plan, _weights) = common::plan(&gpu, &graph, vec![y]);
    let values = common::numbers(64, 1);
    let mut host = Vec::new();
    let mut whole = Vec::new();
    for _ in 0..if common::smoke() { 2 } else { 41 } {
        let t = Instant::now();
        plan.step(&gpu, &[(x, radiograd::Feed::F32(&values))]).expect("runs");
        host.push(t.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        plan.finish(&gpu).expect("runs");
        whole.push(t.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }
    host.sort_by(f64::total_cmp);
    whole.sort_by(f64::total_cmp);

    // Planning a DETL training step: with pipelines to compile, then with all of them there.
    let mut planning = Vec::new();
    for _ in 0..3 {
        let network = Network::named("detl12").expect("is there");
        let weights = Rc::new(network.init(64, 4, 1).upload(&gpu).expect("fits"));
        let t = Instant::now();
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(16, 1, 64, 64));
        let out = network.record(&graph, x, 4, &Layers::default());
        let labels = graph.input_integers("labels", 16);
        let (loss, _) = out.logits.cross_entropy(labels, Smoothing::None, None);
        Plan::compile(&gpu, &graph, &weights, &Optimizer::adam().step_of(loss)).expect("fits");
        planning.push(t.elapsed().as_secs_f64() * 1e3);
    }
    let (h, w) = (host[host.len() / 2], whole[whole.len() / 2]);
    println!("overhead: {}", gpu.describe());
    println!("open the device                      {open_ms:9.1} ms");
    println!("replay, host time per dispatch       {h:9.3} us   ({count} dispatches, encode + submit)");
    println!("replay, until done, per dispatch     {w:9.3} us");
    println!("plan DETL, pipelines to be made      {:9.1} ms   ({} pipelines)", planning[0], gpu.pipelines());
    println!("plan DETL, pipelines there           {:9.1} ms", planning[2]);
    let all = json!({"bench": "overhead", "adapter": gpu.describe(), "open_ms": open_ms, "host_us_per_dispatch": h,
        "until_done_us_per_dispatch": w, "plan_first_ms": planning[0], "plan_again_ms": planning[2], "smoke": common::smoke()});
    if let Err(e) = radiograd::files::write_atomic("target/bench-overhead.json".as_ref(), all.to_string().as_bytes()) {
        eprintln!("{e}");
    }
}
