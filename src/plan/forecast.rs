//! A plan's memory with nothing allocated: for tables, and to say which batch fits when one does not.

use super::PlanSpec;
use super::build::{measure, reflect};
use super::draft::Draft;
use super::report::MemoryReport;
use super::target::Target;
use super::texels::Assignment;
use super::weights::Layout;
use crate::error::{Error, Result};
use crate::graph::Graph;

/// The memory that `Plan::compile` would take on `target`, with the parameters of `graph`; the budget is not looked at
/// ([`Target::check`] does). Guard bands, which only tests have, are not counted.
///
/// # Errors
/// [`Error::Memory`] when a tensor exceeds a buffer or a binding; as `Plan::compile` otherwise.
pub fn forecast(target: &Target, graph: &Graph, spec: &PlanSpec) -> Result<MemoryReport> {
    let params = graph.params();
    let layout = Layout::new(target, params.iter().map(|(n, shape, trainable)| (n.as_str(), *shape, *trainable)))?;
    let draft = Draft::new(target, graph, &layout, spec)?;
    let texels = Assignment::new(&draft.steps, &reflect(&draft)?);
    Ok(measure(&layout, &draft, texels.bytes(), 0))
}

/// The largest batch below `batch` whose plan fits `target`, and its memory; `None` when not even one image does. `plan`
/// forecasts a batch.
///
/// # Errors
/// What `plan` ends with, but for [`Error::Memory`], which means that a batch does not fit.
pub fn largest_batch(
    target: &Target,
    batch: usize,
    mut plan: impl FnMut(usize) -> Result<MemoryReport>,
) -> Result<Option<(usize, MemoryReport)>> {
    let mut fits = |n: usize| match plan(n).and_then(|report| target.check(&report).map(|()| report)) {
        Ok(report) => Ok(Some(report)),
        Err(Error::Memory(_)) => Ok(None),
        Err(other) => Err(other),
    };
    // Between a batch that fits (0: none is known) and one that does not: memory grows with the batch.
    let (mut low, mut high, mut best) = (0, batch.max(1), None);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match fits(middle)? {
            Some(report) => (low, best) = (middle, Some((middle, report))),
            None => high = middle,
        }
    }
    Ok(best)
}

/// `error`, if it refuses a batch that does not fit, with the largest that does. `plan` forecasts a batch.
pub(crate) fn with_largest_batch(
    error: Error,
    target: &Target,
    batch: usize,
    mut plan: impl FnMut(usize) -> Result<MemoryReport>,
) -> Error {
    let Error::Memory(message) = error else { return error };
    // By the figures it fits: the device itself had no room, and the figures cannot tell what would fit.
    if plan(batch).is_ok_and(|report| target.check(&report).is_ok()) {
        return Error::Memory(message);
    }
    match largest_batch(target, batch, plan) {
        Ok(Some((n, r))) => Error::Memory(format!(
            "batch {batch} does not fit; the largest that does is {n} ({}). {message}",
            super::report::bytes(r.total())
        )),
        Ok(None) => Error::Memory(format!("batch {batch} does not fit, and no smaller one does. {message}")),
        Err(_) => Error::Memory(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_finds_the_last_batch_that_fits() {
        let target = Target { memory_budget: Some(1000), ..Target::portable() };
        let plan = |n: usize| Ok(MemoryReport { activations: 30 * n as u64, parameters: 100, ..Default::default() });
        for (asked, want) in [(64, Some(30)), (31, Some(30)), (1, None)] {
            assert_eq!(largest_batch(&target, asked, plan).unwrap().map(|b| b.0), want, "{asked}");
        }
        let none = |n: usize| Ok(MemoryReport { activations: 5000 * n as u64, ..Default::default() });
        assert!(largest_batch(&target, 100, none).unwrap().is_none());
        let broken = |_| Err(Error::Internal("no plan".into()));
        assert!(largest_batch(&target, 100, broken).is_err());
        let refused = with_largest_batch(Error::Memory("too much".into()), &target, 64, plan).to_string();
        assert_eq!(refused, "batch 64 does not fit; the largest that does is 30 (1.0 kB). too much");
        let device = with_largest_batch(Error::Memory("no room".into()), &target, 20, plan).to_string();
        assert_eq!(device, "no room", "by its figures it fits");
    }
}
