//! Which epoch's weights are kept, when a training ends before its last epoch, and why it ended. All of it follows from the
//! history alone, so that a training that goes on from a checkpoint decides what it would have decided.

use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use std::fmt;

/// A figure of the validation images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// The mean loss: lower is better.
    ValidationLoss,
    /// The share that was right: higher is better.
    ValidationAccuracy,
}

impl Monitor {
    /// The figure of an epoch; `None` where nothing was measured, or NaN.
    pub fn value(self, record: &EpochRecord) -> Option<f64> {
        let value = match self {
            Monitor::ValidationLoss => record.validation_loss,
            Monitor::ValidationAccuracy => record.validation_accuracy,
        };
        value.filter(|v| !v.is_nan())
    }

    /// Whether `now` is better than `before` by more than `delta`.
    pub fn better(self, now: f64, before: f64, delta: f64) -> bool {
        match self {
            Monitor::ValidationLoss => now + delta < before,
            Monitor::ValidationAccuracy => now - delta > before,
        }
    }
}

/// Which epoch's weights a fit returns. Without validation images it is always the last complete one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// The best accuracy on validation images; the first of equals, as nothing says that a later one is better.
    #[default]
    BestAccuracy,
    /// The lowest loss on validation images; the first of equals.
    BestLoss,
    /// The last complete epoch.
    Last,
}

impl Keep {
    /// Whether the last epoch of `history` is to be kept instead of what was kept before. A figure that is NaN is worse than
    /// any number.
    pub fn takes_last(self, history: &[EpochRecord]) -> bool {
        let Some((last, before)) = history.split_last() else { return false };
        let monitor = match self {
            Keep::BestAccuracy => Monitor::ValidationAccuracy,
            Keep::BestLoss => Monitor::ValidationLoss,
            Keep::Last => return true,
        };
        let measured = last.validation_loss.is_some() || last.validation_accuracy.is_some();
        match monitor.value(last) {
            None => !measured || before.is_empty(),
            Some(now) => before.iter().filter_map(|r| monitor.value(r)).all(|b| monitor.better(now, b, 0.0)),
        }
    }
}

/// Ends a training whose figure does not improve any more, as Keras' `EarlyStopping`
/// (<https://keras.io/api/callbacks/early_stopping/>). What Keras does with `restore_best_weights`, [`Keep`] does whatever
/// ended the training: it looks at the best figure itself, Keras at the last one that was better by `min_delta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStopping {
    /// The figure.
    pub on: Monitor,
    /// So many epochs in a row without improvement end it; 0 is as 1.
    pub patience: usize,
    /// What counts as an improvement: better by more than this.
    pub min_delta: f64,
}

impl EarlyStopping {
    /// On the validation loss, any improvement counts.
    pub fn patience(epochs: usize) -> EarlyStopping {
        EarlyStopping { on: Monitor::ValidationLoss, patience: epochs, min_delta: 0.0 }
    }

    /// Whether the training is to end after these epochs.
    pub fn stops(&self, history: &[EpochRecord]) -> bool {
        let (mut best, mut wait) = (None, 0);
        for (i, record) in history.iter().enumerate() {
            wait += 1;
            match self.on.value(record) {
                Some(now) if best.is_none_or(|b| self.on.better(now, b, self.min_delta)) => {
                    (best, wait) = (Some(now), 0);
                }
                // Keras never ends a training with its first epoch.
                _ if wait >= self.patience && i > 0 => return true,
                _ => {}
            }
        }
        false
    }

    /// Whether its numbers make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] for a `min_delta` that is negative or not finite.
    pub fn check(&self) -> Result<()> {
        if self.min_delta >= 0.0 && self.min_delta.is_finite() {
            return Ok(());
        }
        Err(Error::Usage(format!("early stopping: min_delta {} is not 0 or more", self.min_delta)))
    }
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All its epochs are done.
    Epochs,
    /// Nothing improved any more.
    EarlyStopping,
    /// Ctrl-C, or [`FitOptions::stop_after`](super::FitOptions::stop_after).
    Interrupted,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Ended::Epochs => "all epochs done",
            Ended::EarlyStopping => "early stopping",
            Ended::Interrupted => "interrupted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(figures: &[(Option<f64>, Option<f64>)]) -> Vec<EpochRecord> {
        let record = |(i, (loss, accuracy)): (usize, &(Option<f64>, Option<f64>))| EpochRecord {
            epoch: i as u32 + 1,
            train_loss: None,
            train_accuracy: None,
            validation_loss: *loss,
            validation_accuracy: *accuracy,
            learning_rate: 0.0,
            seconds: 0.0,
        };
        figures.iter().enumerate().map(record).collect()
    }

    fn losses(all: &[f64]) -> Vec<EpochRecord> {
        history(&all.iter().map(|l| (Some(*l), Some(-l))).collect::<Vec<_>>())
    }

    /// After how many epochs it ends.
    fn end(stopping: EarlyStopping, h: &[EpochRecord]) -> Option<usize> {
        (1..=h.len()).find(|n| stopping.stops(&h[..*n]))
    }

    const LOSSES: [f64; 14] = [0.9, 0.8, 0.79, 0.801, 0.79, 0.7, 0.71, 0.72, 0.73, 0.69, 0.695, 0.7, 0.71, 0.72];

    /// Patience, min_delta, and the epoch after which Keras 3.15.1's `EarlyStopping` sets `stop_training` on these losses.
    const KERAS: [(usize, f64, Option<usize>); 10] = [
        (0, 0.0, Some(4)),
        (0, 0.05, Some(3)),
        (1, 0.0, Some(4)),
        (1, 0.05, Some(3)),
        (2, 0.0, Some(5)),
        (3, 0.0, Some(9)),
        (3, 0.05, Some(5)),
        (4, 0.0, Some(14)),
        (4, 0.05, Some(10)),
        (5, 0.0, None),
    ];

    #[test]
    fn early_stopping_ends_where_keras_does() {
        let h = losses(&LOSSES);
        for (patience, min_delta, keras) in KERAS {
            for on in [Monitor::ValidationLoss, Monitor::ValidationAccuracy] {
                assert_eq!(end(EarlyStopping { on, patience, min_delta }, &h), keras, "{patience} {min_delta} {on:?}");
            }
        }
    }

    #[test]
    fn nan_is_no_improvement_and_no_best() {
        let nan = f64::NAN;
        let stopping = EarlyStopping::patience(2);
        assert_eq!(end(stopping, &losses(&[nan, nan, 0.5, nan, nan])), Some(2));
        assert_eq!(end(stopping, &losses(&[0.5, nan, 0.4, 0.3, nan, nan])), Some(6));
        assert!(EarlyStopping { min_delta: nan, ..stopping }.check().is_err());
        // The second epoch is the first with a number; what came before does not stand in its way.
        let kept = |keep: Keep, h: &[EpochRecord]| (1..=h.len()).rfind(|n| keep.takes_last(&h[..*n]));
        let h = losses(&[nan, 0.7, 0.5, nan, 0.5, 0.6]);
        assert_eq!(kept(Keep::BestLoss, &h), Some(3));
        assert_eq!(kept(Keep::BestAccuracy, &h), Some(3));
        assert_eq!(kept(Keep::Last, &h), Some(6));
        assert_eq!(kept(Keep::BestLoss, &losses(&[nan, nan])), Some(1));
    }

    #[test]
    fn loss_and_accuracy_keep_different_epochs_and_nothing_measured_keeps_the_last() {
        let kept = |keep: Keep, h: &[EpochRecord]| (1..=h.len()).rfind(|n| keep.takes_last(&h[..*n]));
        let h = history(&[(Some(0.9), Some(0.8)), (Some(0.4), Some(0.7)), (Some(0.4), Some(0.8))]);
        assert_eq!(kept(Keep::BestAccuracy, &h), Some(1));
        assert_eq!(kept(Keep::BestLoss, &h), Some(2));
        let none = history(&[(None, None), (None, None)]);
        for keep in [Keep::BestAccuracy, Keep::BestLoss, Keep::Last] {
            assert_eq!(kept(keep, &none), Some(2));
            assert!(!keep.takes_last(&[]));
        }
    }
}
