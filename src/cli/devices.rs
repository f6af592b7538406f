//! `radiograd devices`.

use clap::Args;
use radiograd::Result;
use radiograd::gpu::{AdapterChoice, adapter, tuning};

/// List the adapters with their limits and optional features; the one that would be taken is marked.
#[derive(Args)]
pub struct Arguments {
    /// Mark the adapter that this name, index or PCI address would take.
    #[arg(long)]
    adapter: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: Arguments) -> Result<()> {
    let Arguments { adapter: choice, json } = a;
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
