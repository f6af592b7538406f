//! Learning rates: what each epoch (and, in a warm-up, each step) trains with. Every rate follows from the epoch, the step and
//! the history, so that a training which goes on from a checkpoint has the rates that it would have had.

use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use std::fmt;

/// The learning rate of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant {
        /// Learning rate.
        lr: f64,
    },
    /// lr(e) = min + (max − min) (1 + cos(π e / epochs)) / 2, e from 0 (Loshchilov & Hutter, arXiv:1608.03983).
    Cosine {
        /// At the start.
        max: f64,
        /// At the end.
        min: f64,
        /// Length.
        epochs: usize,
    },
    /// Zhong's three stages: `rates[0]` for 3 epochs, `rates[1]` to epoch 6, then `rates[2]`.
    ThreeStage {
        /// The three rates.
        rates: [f64; 3],
    },
    /// Keras' `ReduceLROnPlateau` on the validation loss, without cool-down: multiplied by `factor` whenever `patience` epochs
    /// in a row have not brought a loss below the best one less `min_delta`.
    /// <https://keras.io/api/callbacks/reduce_lr_on_plateau/>
    Plateau {
        /// At the start.
        lr: f64,
        /// What it is multiplied by, in (0, 1).
        factor: f64,
        /// Epochs without improvement; 0 is as 1.
        patience: usize,
        /// What counts as an improvement, in the unit of the loss.
        min_delta: f64,
        /// It never falls below.
        min_lr: f64,
    },
    /// From near 0 in equal parts, step by step, to the first rate of `then`, which begins after so many epochs (Goyal et
    /// al., arXiv:1706.02677 §2.2): step i from 0 of the n steps of the warm-up has (i + 1) / n of it.
    Warmup {
        /// Its length.
        epochs: usize,
        /// What comes then, and counts its epochs from there.
        then: Box<Schedule>,
    },
    /// From each epoch (from 0) on, the rate beside it; before the first of them, the first rate.
    Steps {
        /// Epochs in ascending order, with rates.
        rates: Vec<(usize, f64)>,
    },
}

/// Keras' default of `ReduceLROnPlateau(min_delta)`.
const MIN_DELTA: f64 = 1e-4;

impl Schedule {
    /// The names of [`Schedule::parse`].
    pub const NAMES: [&str; 5] = ["constant", "cosine", "three-stage", "plateau", "warmup-cosine"];

    /// The schedule of this name that begins with `lr` in a training of `epochs`: `cosine` falls to 0 at its end,
    /// `three-stage` has lr, lr / 2 and lr / 4 (Zhong's ratios), `plateau` multiplies by 0.1 after a tenth of the epochs,
    /// from 2 to 10, without a loss lower by 1e-4 (the numbers are Keras' defaults but for the patience), `warmup-cosine`
    /// warms up for a tenth of the epochs, 1 or more, and is a cosine over the others.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest name when there is none, and for a rate that is not positive and finite.
    pub fn parse(name: &str, lr: f64, epochs: usize) -> Result<Schedule> {
        let cosine = |epochs| Schedule::Cosine { max: lr, min: 0.0, epochs };
        let schedule = match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "constant" => Schedule::Constant { lr },
            "cosine" => cosine(epochs),
            "three-stage" => Schedule::ThreeStage { rates: [lr, lr / 2.0, lr / 4.0] },
            "plateau" => {
                let patience = (epochs / 10).clamp(2, 10);
                Schedule::Plateau { lr, factor: 0.1, patience, min_delta: MIN_DELTA, min_lr: 0.0 }
            }
            "warmup-cosine" => {
                let warm = (epochs / 10).max(1);
                Schedule::Warmup { epochs: warm, then: Box::new(cosine(epochs.saturating_sub(warm))) }
            }
            _ => {
                let nearest = crate::names::nearest(name, &Schedule::NAMES);
                return Err(Error::Usage(format!("there is no schedule '{name}'; {nearest}")));
            }
        };
        if !(lr > 0.0 && lr.is_finite()) {
            return Err(Error::Usage(format!(
                "schedule {name}: a learning rate is above 0 and finite, given was {lr}"
            )));
        }
        Ok(schedule)
    }

    /// The learning rate of `epoch`, counted from 0; `history` are the epochs before it, and more of it is not looked at. Of a
    /// warm-up it is the rate at the epoch's end.
    pub fn rate(&self, epoch: usize, history: &[EpochRecord]) -> f64 {
        self.step_rate(epoch, (0, 1), history)
    }

    /// The learning rate of a step of `epoch`: which one, from 0, of how many.
    pub fn step_rate(&self, epoch: usize, (step, steps): (usize, usize), history: &[EpochRecord]) -> f64 {
        let history = &history[..epoch.min(history.len())];
        match self {
            Schedule::Constant { lr } => *lr,
            Schedule::Cosine { max, min, epochs } => {
                let part = epoch as f64 / (*epochs).max(1) as f64;
                min + 0.5 * (max - min) * (1.0 + (std::f64::consts::PI * part).cos())
            }
            Schedule::ThreeStage { rates } => rates[(epoch / 3).min(2)],
            Schedule::Plateau { lr, factor, patience, min_delta, min_lr } => {
                plateau((*lr, *factor, *min_lr), (*patience, *min_delta), history)
            }
            Schedule::Warmup { epochs, then } if epoch < *epochs => {
                let part = (epoch * steps + step + 1) as f64 / (epochs * steps.max(1)) as f64;
                then.rate(0, &[]) * part
            }
            Schedule::Warmup { epochs, then } => {
                then.step_rate(epoch - epochs, (step, steps), &history[(*epochs).min(history.len())..])
            }
            Schedule::Steps { rates } => {
                let now = rates.iter().take_while(|r| r.0 <= epoch).last().or(rates.first());
                now.map_or(0.0, |r| r.1)
            }
        }
    }

    /// Whether rates follow from the validation loss: without validation images it would never change.
    pub fn watches_validation(&self) -> bool {
        match self {
            Schedule::Plateau { .. } => true,
            Schedule::Warmup { then, .. } => then.watches_validation(),
            _ => false,
        }
    }

    /// Whether its numbers make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] for rates that are negative, not finite or missing, a factor outside (0, 1), and steps whose epochs
    /// do not ascend.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::Usage(format!("schedule {self:?}: {what}")));
        let rates: Vec<f64> = match self {
            Schedule::Constant { lr } => vec![*lr],
            Schedule::Cosine { max, min, .. } => vec![*max, *min],
            Schedule::ThreeStage { rates } => rates.to_vec(),
            Schedule::Plateau { lr, min_lr, .. } => vec![*lr, *min_lr],
            Schedule::Warmup { then, .. } => return then.check(),
            Schedule::Steps { rates } => rates.iter().map(|r| r.1).collect(),
        };
        if rates.is_empty() || !rates.iter().all(|r| r.is_finite() && *r >= 0.0) {
            return bad("learning rates are finite and not negative, and there is one");
        }
        match self {
            Schedule::Plateau { factor, min_delta, .. } if !(*factor > 0.0 && *factor < 1.0 && *min_delta >= 0.0) => {
                bad("the factor is between 0 and 1, and min_delta is 0 or more")
            }
            Schedule::Steps { rates } if !rates.is_sorted_by(|a, b| a.0 < b.0) => bad("the epochs ascend"),
            _ => Ok(()),
        }
    }
}

/// The rate after the epochs of `history`.
fn plateau(
    (mut lr, factor, min_lr): (f64, f64, f64),
    (patience, min_delta): (usize, f64),
    history: &[EpochRecord],
) -> f64 {
    let (mut best, mut wait) = (f64::INFINITY, 0);
    // An epoch without a figure, or with NaN, is no improvement.
    for loss in history.iter().map(|r| r.validation_loss.unwrap_or(f64::NAN)) {
        if loss < best - min_delta {
            (best, wait) = (loss, 0);
            continue;
        }
        wait += 1;
        if wait >= patience && lr > min_lr {
            (lr, wait) = ((lr * factor).max(min_lr), 0);
        }
    }
    lr
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Schedule::Constant { lr } => write!(f, "constant {lr}"),
            Schedule::Cosine { max, min, epochs } => {
                write!(f, "cosine annealing from {max} to {min} over {epochs} epochs")
            }
            Schedule::ThreeStage { rates: [a, b, c] } => {
                write!(f, "three stages: {a} for 3 epochs, {b} to epoch 6, then {c}")
            }
            Schedule::Plateau { lr, factor, patience, min_delta, min_lr } => write!(
                f,
                "{lr}, times {factor} when {patience} epochs have not lowered the validation loss by {min_delta}, \
                 not below {min_lr}"
            ),
            Schedule::Warmup { epochs, then } => write!(f, "linear warm-up over {epochs} epochs, then {then}"),
            Schedule::Steps { rates } => {
                let all: Vec<String> = rates.iter().map(|(e, r)| format!("{r} from epoch {}", e + 1)).collect();
                write!(f, "in steps: {}", all.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(losses: &[Option<f64>]) -> Vec<EpochRecord> {
        let record = |(i, loss): (usize, &Option<f64>)| EpochRecord {
            epoch: i as u32 + 1,
            train_loss: None,
            train_accuracy: None,
            validation_loss: *loss,
            validation_accuracy: None,
            learning_rate: 0.0,
            seconds: 0.0,
        };
        losses.iter().enumerate().map(record).collect()
    }

    #[test]
    fn plateau_does_what_keras_does() {
        // Keras 3.15.1's ReduceLROnPlateau(factor=0.5, patience=2, min_delta=0.01, min_lr=1e-4) on these losses: its
        // optimizer's learning rate, at the start and after each epoch.
        let losses = [0.70, 0.60, 0.595, 0.6, 0.58, 0.575, 0.9, 0.571, 0.58, 0.6, 0.6, 0.6, 0.6].map(Some);
        let s = Schedule::Plateau { lr: 1e-3, factor: 0.5, patience: 2, min_delta: 0.01, min_lr: 1e-4 };
        let h = history(&losses);
        let got: Vec<f64> = (0..=losses.len()).map(|e| s.rate(e, &h)).collect();
        let want = [(4, 1e-3), (3, 5e-4), (2, 2.5e-4), (2, 1.25e-4), (3, 1e-4)];
        let want: Vec<f64> = want.iter().flat_map(|(n, lr)| vec![*lr; *n]).collect();
        assert_eq!(got, want);
        // What comes after an epoch does not change its rate; NaN and nothing are no improvement.
        assert_eq!(s.rate(4, &h[..4]), s.rate(4, &h));
        assert_eq!(s.rate(3, &history(&[Some(0.5), Some(f64::NAN), None])), 5e-4);
        assert_eq!(s.rate(3, &history(&[Some(f64::NAN), Some(0.5), Some(0.4)])), 1e-3);
    }

    #[test]
    fn warm_up_rises_by_step_and_what_follows_counts_from_there() {
        let cosine = Schedule::Cosine { max: 0.8, min: 0.0, epochs: 4 };
        let s = Schedule::Warmup { epochs: 2, then: Box::new(cosine.clone()) };
        let rates: Vec<f64> = (0..8).map(|i| s.step_rate(i / 4, (i % 4, 4), &[])).collect();
        assert!(rates.iter().zip(1..).all(|(r, i)| (r - 0.1 * f64::from(i)).abs() < 1e-15), "{rates:?}");
        assert_eq!((s.rate(0, &[]), s.rate(1, &[])), (0.4, 0.8));
        for e in 0..4 {
            assert_eq!(s.step_rate(2 + e, (3, 4), &[]), cosine.rate(e, &[]));
        }
        // The history of the warm-up is not the plateau's.
        let plateau = Schedule::Plateau { lr: 1.0, factor: 0.5, patience: 1, min_delta: 0.0, min_lr: 0.0 };
        let s = Schedule::Warmup { epochs: 1, then: Box::new(plateau) };
        let h = history(&[Some(0.1), Some(0.9), Some(1.0)]);
        assert_eq!([1, 2, 3].map(|e| s.rate(e, &h)), [1.0, 1.0, 0.5]);
        assert!(s.watches_validation() && !cosine.watches_validation());
    }

    #[test]
    fn steps_change_where_they_say() {
        let s = Schedule::Steps { rates: vec![(0, 1.0), (2, 0.5), (3, 0.25)] };
        assert_eq!([0, 1, 2, 3, 9].map(|e| s.rate(e, &[])), [1.0, 1.0, 0.5, 0.25, 0.25]);
        assert_eq!(Schedule::Steps { rates: vec![(4, 0.3)] }.rate(0, &[]), 0.3);
    }

    #[test]
    fn every_name_is_read_and_begins_with_its_rate() {
        for name in Schedule::NAMES {
            let s = Schedule::parse(&name.to_uppercase(), 4e-4, 20).unwrap();
            assert_eq!(s, Schedule::parse(&name.replace('-', "_"), 4e-4, 20).unwrap());
            let first = if name == "warmup-cosine" { 2e-4 } else { 4e-4 };
            assert_eq!(s.rate(0, &[]), first, "{name}");
            assert!(!s.to_string().contains('{'), "{s}");
        }
        assert_eq!(
            Schedule::parse("three-stage", 4e-4, 10).unwrap(),
            Schedule::ThreeStage { rates: [4e-4, 2e-4, 1e-4] }
        );
        let warm = Schedule::parse("warmup-cosine", 4e-4, 20).unwrap();
        assert_eq!(
            warm.to_string(),
            "linear warm-up over 2 epochs, then cosine annealing from 0.0004 to 0 over 18 epochs"
        );
        let e = Schedule::parse("cosin", 1e-3, 5).unwrap_err();
        assert!(e.to_string().contains("did you mean 'cosine'") && e.exit_code() == 2, "{e}");
        for lr in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Schedule::parse("cosine", lr, 5).unwrap_err().exit_code(), 2);
        }
        for rates in [vec![], vec![(3, 0.1), (2, 0.1)]] {
            assert!(Schedule::Steps { rates }.check().is_err());
        }
        let s = Schedule::Plateau { lr: 1e-3, factor: 1.0, patience: 2, min_delta: 0.01, min_lr: 1e-4 };
        assert!(s.check().is_err());
    }
}
