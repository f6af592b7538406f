//! `radiograd selftest`.

use clap::Args;
use radiograd::Talk;
use radiograd::gpu::AdapterChoice;
use radiograd::train::progress::Progress;
use radiograd::{Error, Gpu, GpuOptions, Result, selftest};

/// Check every operation, forward and gradient, on an adapter against its f64 reference; exit 6 on failure.
#[derive(Args)]
pub struct Arguments {
    /// Adapter by index, part of its name or PCI address.
    #[arg(long)]
    adapter: Option<String>,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// Shader modules without bounds checks, as release programs use them.
    #[arg(long)]
    unchecked: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: Arguments) -> Result<()> {
    let Arguments { adapter: name, filter, unchecked, json } = a;
    let filter = filter.as_str();
    let options =
        GpuOptions { adapter: AdapterChoice { name }, checked: Some(!unchecked), guards: true, ..Default::default() };
    let gpu = Gpu::with(&options)?;
    eprintln!("{}, shader modules {}", gpu.describe(), if unchecked { "unchecked" } else { "checked" });
    let mut progress = None;
    let results = selftest::run(&gpu, filter, |_, total, name| {
        progress
            .get_or_insert_with(|| {
                Progress::new("selftest", total as u64, "cases", if json { Talk::Quiet } else { Talk::Normal })
            })
            .advance(1, name);
    })?;
    if let Some(p) = progress {
        p.finish();
    }
    if results.is_empty() {
        return Err(Error::Usage(format!("--filter {filter}: no case has this in its name")));
    }
    if json {
        let row = |r: &selftest::CaseResult| {
            serde_json::json!({"case": r.name, "family": r.family, "direction": r.direction, "worst_error": finite(r.worst_error),
                "tolerance": r.tolerance, "ok": r.ok})
        };
        println!("{}", serde_json::Value::Array(results.iter().map(row).collect()));
    } else {
        println!("{}", selftest::summary(&results));
    }
    let failed: Vec<String> =
        results.iter().filter(|r| !r.ok).map(|r| format!("{} ({})", r.name, r.direction)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::Numerics(format!("{} of {} checks failed: {}", failed.len(), results.len(), failed.join(", "))))
}

/// JSON has no NaN.
fn finite(v: f64) -> Option<f64> {
    v.is_finite().then_some(v)
}
