//! What an epoch adds up to.

use super::batches::PADDING;
use super::predict::argmax;
use crate::plan::StepResult;
use std::collections::{BTreeMap, VecDeque};

/// Sums of an epoch, filled as results arrive a few steps late.
#[derive(Default)]
pub(super) struct Tally {
    waiting: VecDeque<(usize, Vec<u32>)>,
    loss: f64,
    right: u64,
    count: u64,
    /// The last loss that arrived.
    pub(super) recent: f64,
}

impl Tally {
    pub(super) fn queue(&mut self, step: usize, labels: &[u32]) {
        self.waiting.push_back((step, labels.to_vec()));
    }

    /// Adds results; the error is the step whose loss is not finite.
    pub(super) fn take(&mut self, done: Vec<StepResult>, classes: usize) -> Result<(), usize> {
        for r in done {
            let Some((step, labels)) = self.waiting.pop_front() else { continue };
            let loss = f64::from(r.outputs[0][0]);
            if !loss.is_finite() {
                return Err(step);
            }
            let valid = labels.iter().filter(|l| **l != PADDING).count() as u64;
            if valid == 0 {
                // A micro batch that an epoch's short last batch left empty.
                continue;
            }
            self.recent = loss;
            self.loss += loss * valid as f64;
            self.count += valid;
            let rows = r.outputs[1].chunks(classes).zip(&labels);
            self.right += rows.filter(|(l, t)| **t != PADDING && argmax(l) == **t as usize).count() as u64;
        }
        Ok(())
    }

    /// Mean loss of an image.
    pub(super) fn loss(&self) -> f64 {
        self.loss / self.count.max(1) as f64
    }

    /// Share of right predictions.
    pub(super) fn accuracy(&self) -> f64 {
        self.right as f64 / self.count.max(1) as f64
    }

    /// The sums as whole numbers for a checkpoint; nothing may be waiting.
    pub(super) fn store(&self, counters: &mut BTreeMap<String, u64>) {
        debug_assert!(self.waiting.is_empty(), "results are missing from the sums");
        let sums = [self.loss.to_bits(), self.right, self.count, self.recent.to_bits()];
        counters.extend(SUMS.map(String::from).into_iter().zip(sums));
    }

    /// What [`Tally::store`] stored; `None` when something is missing.
    pub(super) fn restored(counters: &BTreeMap<String, u64>) -> Option<Tally> {
        let [loss, right, count, recent] = SUMS.map(|name| counters.get(name).copied());
        let (loss, recent) = (f64::from_bits(loss?), f64::from_bits(recent?));
        Some(Tally { waiting: VecDeque::new(), loss, right: right?, count: count?, recent })
    }
}

const SUMS: [&str; 4] = ["epoch.loss", "epoch.right", "epoch.count", "epoch.recent"];
