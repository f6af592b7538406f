//! The self test: every operation of the case table on the user's adapter against its f64 reference, forward and
//! backward, with poisoned memory and guard bands.

#[path = "../../kernels-tests/cases.rs"]
pub mod cases;
mod check;
pub mod draw;
mod half;

pub use check::{Computed, check, compute, kernels, prepare};
pub use half::{U16, check_half};

use crate::error::Result;
use crate::gpu::Gpu;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One thing that was checked of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// The family of operations.
    pub family: &'static str,
    /// `forward`, `gradient of w`, `guard bands`, `extra lanes`.
    pub direction: String,
    /// The largest error, relative to the sum of the absolute values of what was added up (see `cases::Bound`).
    pub worst_error: f64,
    /// What it may be.
    pub tolerance: f64,
    /// Whether all elements were within their tolerances.
    pub ok: bool,
    /// How many elements were compared.
    pub elements: usize,
    /// What was wrong, for people; empty when nothing was.
    pub note: String,
}

/// Runs every case whose name contains `filter` (empty: all) on `gpu`; `progress` is told index, count and name before
/// each. Use a `gpu` with guard bands (`GpuOptions::guards`) to have those checked as well.
///
/// # Errors
/// Errors of the device. A failed comparison is a result with `ok` false, not an error.
pub fn run(gpu: &Gpu, filter: &str, mut progress: impl FnMut(usize, usize, &str)) -> Result<Vec<CaseResult>> {
    let table: Vec<_> = cases::table().into_iter().filter(|c| c.name.contains(filter)).collect();
    let mut all = Vec::new();
    for (i, case) in table.iter().enumerate() {
        progress(i, table.len(), &case.name);
        all.extend(check(gpu, case)?);
    }
    Ok(all)
}

/// The worst error of each family and direction as a table for people, then the failures, then the totals.
pub fn summary(results: &[CaseResult]) -> String {
    #[derive(Default)]
    struct Row {
        checks: usize,
        elements: usize,
        worst: f64,
        allowed: f64,
        failed: usize,
    }
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for r in results {
        let part = r.direction.split(' ').next().unwrap_or("");
        let direction = if part == "gradient" { "backward" } else { r.direction.as_str() };
        let row = rows.entry((r.family, direction)).or_default();
        row.checks += 1;
        row.elements += r.elements;
        // NaN must win over any number here.
        if r.worst_error.is_nan() || r.worst_error > row.worst || row.checks == 1 {
            (row.worst, row.allowed) = (r.worst_error, r.tolerance);
        }
        row.failed += usize::from(!r.ok);
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:18} {:12} {:>6} {:>9} {:>12} {:>12}",
        "operation", "direction", "checks", "elements", "worst error", "allowed"
    );
    for ((family, direction), r) in rows {
        let end = if r.failed > 0 { format!("  {} FAILED", r.failed) } else { String::new() };
        let _ = writeln!(
            text,
            "{family:18} {direction:12} {:>6} {:>9} {:>12.2e} {:>12.2e}{end}",
            r.checks, r.elements, r.worst, r.allowed
        );
    }
    for r in results.iter().filter(|r| !r.ok) {
        let _ = writeln!(text, "FAIL {} / {}: {}", r.name, r.direction, r.note);
    }
    let failed = results.iter().filter(|r| !r.ok).count();
    let elements: usize = results.iter().map(|r| r.elements).sum();
    let _ = writeln!(text, "{} checks of {elements} elements, {failed} failed", results.len());
    text
}
