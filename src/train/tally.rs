//! What an epoch adds up to.

use super::batches::PADDING;
use super::predict::class_of;
use crate::plan::StepResult;
use std::collections::{BTreeMap, VecDeque};

/// Sums of an epoch, filled as results arrive a few steps late.
#[derive(Default)]
pub(super) struct Tally {
    waiting: VecDeque<Waiting>,
    /// Of the step whose parts are arriving: sum of the losses, images.
    open: (f64, u64),
    /// Steps that are complete, with the mean loss of their images; for who wants to know.
    pub(super) finished: Vec<(usize, f64)>,
    loss: f64,
    right: u64,
    count: u64,
}

/// What has been queued and not arrived.
struct Waiting {
    step: usize,
    /// Whether it is the last part of its step.
    last: bool,
    labels: Vec<u32>,
}

impl Tally {
    /// A part of a step is on its way; `last`: no other part of it comes.
    pub(super) fn queue(&mut self, step: usize, last: bool, labels: &[u32]) {
        self.waiting.push_back(Waiting { step, last, labels: labels.to_vec() });
    }

    /// Adds results with so many logits an image; the error is the step whose loss is not finite.
    pub(super) fn take(&mut self, done: Vec<StepResult>, outputs: usize) -> Result<(), usize> {
        for r in done {
            let Some(Waiting { step, last, labels }) = self.waiting.pop_front() else { continue };
            let loss = f64::from(r.outputs[0][0]);
            if !loss.is_finite() {
                return Err(step);
            }
            let valid = labels.iter().filter(|l| **l != PADDING).count() as u64;
            // There is none in a micro batch that an epoch's short last batch left empty.
            if valid > 0 {
                self.loss += loss * valid as f64;
                self.count += valid;
                let rows = r.outputs[1].chunks(outputs).zip(&labels);
                self.right += rows.filter(|(l, t)| **t != PADDING && class_of(l) == **t as usize).count() as u64;
                self.open = (self.open.0 + loss * valid as f64, self.open.1 + valid);
            }
            if last {
                let (sum, count) = std::mem::take(&mut self.open);
                self.finished.push((step, sum / count.max(1) as f64));
            }
        }
        Ok(())
    }

    /// Mean loss of an image.
    pub(super) fn loss(&self) -> f64 {
        self.loss / self.count.max(1) as f64
    }

    /// The mean loss so far for a line of progress; nothing before the first loss has arrived.
    pub(super) fn told(&self) -> String {
        if self.count > 0 { format!(", loss {:.3}", self.loss()) } else { String::new() }
    }

    /// Share of right predictions.
    pub(super) fn accuracy(&self) -> f64 {
        self.right as f64 / self.count.max(1) as f64
    }

    /// The sums as whole numbers for a checkpoint; nothing may be waiting.
    pub(super) fn store(&self, counters: &mut BTreeMap<String, u64>) {
        debug_assert!(self.waiting.is_empty(), "results are missing from the sums");
        let sums = [self.loss.to_bits(), self.right, self.count];
        counters.extend(SUMS.map(String::from).into_iter().zip(sums));
    }

    /// What [`Tally::store`] stored; `None` when something is missing.
    pub(super) fn restored(counters: &BTreeMap<String, u64>) -> Option<Tally> {
        let [loss, right, count] = SUMS.map(|name| counters.get(name).copied());
        Some(Tally { loss: f64::from_bits(loss?), right: right?, count: count?, ..Tally::default() })
    }
}

const SUMS: [&str; 3] = ["epoch.loss", "epoch.right", "epoch.count"];
