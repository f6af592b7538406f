//! The one test binary of kernels, graph and plan. `cargo test --test kernels-tests -- [FILTER…]`; it has its own small
//! harness because it ends with totals that only the whole process knows: operations × directions, fixtures, drawn cases.

mod clipping;
mod fixtures;
mod half;
mod modes;
mod norm;
mod parity;
mod parity_networks;
mod parity_test;
mod properties;
mod refusals;
mod rules;
mod shaders;
mod table;
mod training;
mod transfer;
mod uniformity;

use radiograd::{Gpu, GpuOptions};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// A test: its name and what it does; it fails by panicking.
type Test = (&'static str, fn());

/// The device that most tests share: checked shaders and guard bands, whatever the build.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions { checked: Some(true), guards: true, ..GpuOptions::default() }))
}

/// The device of tests of whole networks: as users run it, unchecked and with memory shared by lifetime.
pub fn plain() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions { checked: Some(false), ..GpuOptions::default() }))
}

/// A device of its own for tests that need other options.
pub fn open(options: GpuOptions) -> Gpu {
    Gpu::with(&options).unwrap_or_else(|e| panic!("{e}"))
}

static TOTALS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Adds to a total that is printed at the end.
pub fn count(what: &'static str, n: usize) {
    *TOTALS.lock().unwrap_or_else(|e| e.into_inner()).entry(what).or_default() += n as u64;
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The message of the panic that `f` must end with; nothing is printed of it.
pub fn refusal(f: impl FnOnce()) -> Option<String> {
    QUIET.set(true);
    let caught = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(false);
    let payload = caught.err()?;
    let text = payload.downcast_ref::<&str>().map(|s| s.to_string());
    Some(payload.downcast_ref::<String>().cloned().or(text).unwrap_or_default())
}

/// Prints a line at once; lines of tests that run side by side do not mix.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    for line in text.lines() {
        let _ = writeln!(out, "    {line}");
    }
}

fn main() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            print(info);
        }
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let lists: [&[Test]; 8] = [
        shaders::TESTS,
        fixtures::TESTS,
        table::TESTS,
        refusals::TESTS,
        training::TESTS,
        modes::TESTS,
        properties::TESTS,
        parity_test::TESTS,
    ];
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let tests: Vec<Test> = lists
        .into_iter()
        .chain([rules::TESTS, norm::TESTS, clipping::TESTS, transfer::TESTS, half::TESTS])
        .flatten()
        .copied()
        .filter(|t| wanted(t.0))
        .collect();
    if arguments.iter().any(|a| a == "--list") {
        tests.iter().for_each(|t| println!("{}: test", t.0));
        return;
    }
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|v| v.parse().ok());
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(|n| n.get().min(4))).unwrap_or(1);
    println!("running {} tests on {threads} threads", tests.len());
    let (next, failed, start) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
                    let word = if ok { "ok" } else { "FAILED" };
                    println!("test {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f64());
                    if !ok {
                        failed.lock().unwrap_or_else(|e| e.into_inner()).push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(|e| e.into_inner());
    println!("\ntotals:");
    for (what, n) in TOTALS.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        println!("  {n:>9} {what}");
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {} failed; {:.1} s",
        tests.len() - failed.len(),
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        println!("failures: {}", failed.join(", "));
        std::process::exit(101);
    }
}
