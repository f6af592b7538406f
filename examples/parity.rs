//! Compares this engine with PyTorch through fixtures: `cargo run --release --example parity -- DIR [FILTER] [--f16]`.
//! One line a case: name, quantities, the worst error and its tolerance, ok or FAIL. Exit code 1 on failure.
//!
//! With --f16 activations are stored as 16-bit floats. The fixtures' tolerances are those of f32, so what is printed then is
//! the largest error relative to
//! the largest element, and nothing passes or fails.

#[path = "../kernels-tests/fixtures.rs"]
mod fixtures;
#[path = "../kernels-tests/parity.rs"]
mod parity;
#[path = "../kernels-tests/parity_networks.rs"]
mod parity_networks;

use parity::Outcome;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("parity: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let f16 = std::env::args().any(|a| a == "--f16");
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--f16");
    let folder = arguments.next().map(PathBuf::from).or_else(fixtures::folder);
    let folder = folder.ok_or("usage: parity DIR [FILTER], where DIR holds the fixtures")?;
    let filter = arguments.next().unwrap_or_default();
    let gpu = radiograd::Gpu::new()?.with_storage(radiograd::Storage::f16(f16))?;
    eprintln!("on {}", gpu.describe());
    let (mut passed, mut failed, mut missing, mut quantities) = (0, 0, 0, 0);
    for f in fixtures::read_all(&folder)?.iter().filter(|f| f.name.contains(&filter)) {
        match parity::compare(&gpu, f)? {
            Outcome::Unsupported(what) => {
                missing += 1;
                println!("{:36} not supported yet: {what}", f.name);
            }
            Outcome::Compared(r) if f16 => {
                let result = r.worst_result().map(|(name, off)| format!("  results {off:.1e} ({name})"));
                let gradient = r.gradient_error().map(|off| format!("  gradient {off:.1e}"));
                let parts = [result, gradient].into_iter().flatten();
                println!("{:36} {:3} quantities{}", f.name, r.quantities, parts.collect::<String>());
                quantities += r.quantities;
                passed += 1;
            }
            Outcome::Compared(r) => {
                let worst = r.worst.as_ref().map_or(String::new(), |(name, d)| format!("{d} ({name})"));
                println!(
                    "{:36} {:3} quantities  {worst}  {}",
                    f.name,
                    r.quantities,
                    if r.ok() { "ok" } else { "FAIL" }
                );
                r.failed.iter().for_each(|m| println!("    {m}"));
                quantities += r.quantities;
                *if r.ok() { &mut passed } else { &mut failed } += 1;
            }
        }
    }
    println!("{passed} cases ok, {failed} failed, {quantities} quantities compared; {missing} cases not supported yet");
    Ok(failed == 0)
}
