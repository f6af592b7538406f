//! The `radiograd` command line.

use clap::{Parser, Subcommand};
use radiograd::gpu::{AdapterChoice, adapter, tuning};
use radiograd::train::progress::Progress;
use radiograd::{Error, Gpu, GpuOptions, selftest};
use std::process::ExitCode;

/// A GPU tensor engine for the convolutional networks that read chest X-rays.
///
/// Research software, not a medical device: nothing here may be used for diagnosis or treatment.
///
/// Training and explanation live in examples for now: `cargo run --release --example detl -- --help`.
///
/// Exit codes: 0 ok, 1 other, 2 usage, 3 no suitable adapter, 4 out of memory, 5 data, 6 numerics, 7 device lost,
/// 130 interrupted.
#[derive(Parser)]
#[command(name = "radiograd", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters with their limits and optional features; the one that would be taken is marked.
    Devices {
        /// Mark the adapter that this name, index or PCI address would take.
        #[arg(long)]
        adapter: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check every operation, forward and gradient, on an adapter against its f64 reference; exit 6 on failure.
    Selftest {
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
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Devices { adapter, json } => devices(adapter, json),
        Command::Selftest { adapter, filter, unchecked, json } => selftest(adapter, &filter, unchecked, json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("radiograd: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

fn devices(choice: Option<String>, json: bool) -> Result<(), Error> {
    let instance = adapter::instance();
    let all = pollster::block_on(adapter::list(&instance));
    let chosen = pollster::block_on(adapter::select(&instance, &AdapterChoice { name: choice }))?.get_info();
    let mut rows = Vec::new();
    for (index, a) in all.iter().enumerate() {
        let (info, limits, features) = (a.get_info(), a.limits(), a.features());
        let has = |f| features.contains(f);
        rows.push(serde_json::json!({
            "index": index, "name": info.name, "type": format!("{:?}", info.device_type),
            "backend": format!("{:?}", info.backend), "driver": format!("{} {}", info.driver, info.driver_info),
            "pci": info.device_pci_bus_id, "chosen": info == chosen,
            "tuning": tuning::for_adapter(&info, features).name,
            "f16": has(wgpu::Features::SHADER_F16), "subgroups": has(wgpu::Features::SUBGROUP),
            "subgroup_size": [info.subgroup_min_size, info.subgroup_max_size],
            "int64": has(wgpu::Features::SHADER_INT64), "timestamps": has(wgpu::Features::TIMESTAMP_QUERY),
            "max_storage_binding_bytes": limits.max_storage_buffer_binding_size,
            "max_buffer_bytes": limits.max_buffer_size,
            "max_workgroup_invocations": limits.max_compute_invocations_per_workgroup,
            "max_workgroup_memory_bytes": limits.max_compute_workgroup_storage_size,
        }));
    }
    if json {
        println!("{}", serde_json::Value::Array(rows));
        return Ok(());
    }
    for r in rows {
        let yes = |k: &str| if r[k] == true { "yes" } else { "no" };
        let text = |k: &str| r[k].as_str().unwrap_or("").to_string();
        let mark = if r["chosen"] == true { "*" } else { " " };
        println!("{mark} {}: {}", r["index"], text("name"));
        println!("     type {}, backend {}, driver {}", text("type"), text("backend"), text("driver"));
        if !text("pci").is_empty() {
            println!("     PCI {}", text("pci"));
        }
        println!(
            "     largest binding {} MiB, buffer {} MiB, workgroup {} threads and {} KiB",
            r["max_storage_binding_bytes"].as_u64().unwrap_or(0) >> 20,
            r["max_buffer_bytes"].as_u64().unwrap_or(0) >> 20,
            r["max_workgroup_invocations"],
            r["max_workgroup_memory_bytes"].as_u64().unwrap_or(0) >> 10
        );
        println!(
            "     f16 {}, subgroups {} ({} to {} lanes), 64-bit integers {}, timestamps {}, tuning row {}",
            yes("f16"),
            yes("subgroups"),
            r["subgroup_size"][0],
            r["subgroup_size"][1],
            yes("int64"),
            yes("timestamps"),
            text("tuning")
        );
    }
    Ok(())
}

fn selftest(name: Option<String>, filter: &str, unchecked: bool, json: bool) -> Result<(), Error> {
    let options =
        GpuOptions { adapter: AdapterChoice { name }, checked: Some(!unchecked), guards: true, ..Default::default() };
    let gpu = Gpu::with(&options)?;
    eprintln!("{}, shader modules {}", gpu.describe(), if unchecked { "unchecked" } else { "checked" });
    let mut progress = None;
    let results = selftest::run(&gpu, filter, |_, total, name| {
        progress.get_or_insert_with(|| Progress::new("selftest", total as u64, "cases", json)).advance(1, name);
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
