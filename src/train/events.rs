//! What a training tells while it runs: to a run folder, to a test, to a program with a window.

use crate::error::Error;
use crate::eval::EpochRecord;
use std::fmt;

/// Where a fit stands when it begins, or goes on from a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start<'a> {
    /// The epochs that are done; what an observer knows of later ones came from a run that was lost, and happens again.
    pub history: &'a [EpochRecord],
    /// Which of them is kept, from 1.
    pub best_epoch: Option<u32>,
    /// Steps of the next epoch that are done.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
}

/// Told what happens in a fit. Nothing that it does changes a bit of the training.
///
/// Debug is asked for so that [`FitOptions`](super::FitOptions) has it.
pub trait Observer: fmt::Debug {
    /// The fit called `label` begins, or goes on.
    fn begin(&self, label: &str, start: Start) {
        let _ = (label, start);
    }

    /// A step is done, `epoch` and `step` from 0, with the mean loss of its images. Results come a few steps late, but in order
    /// and before their epoch ends.
    fn step(&self, label: &str, epoch: usize, step: usize, loss: f64) {
        let _ = (label, epoch, step, loss);
    }

    /// An epoch is done; `best`: its weights are kept.
    fn epoch(&self, label: &str, record: &EpochRecord, best: bool);

    /// Something that a reader of the log wants to know.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// The first thing that went wrong in the observer since it was asked last. The fit asks when an epoch is done and at
    /// its end, writes its checkpoint, and ends with this error.
    fn fault(&self) -> Option<Error> {
        None
    }
}
