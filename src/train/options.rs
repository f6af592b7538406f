//! How to fit: everything that a training follows from beside the network and its images.

use super::batches::Normalize;
use super::events::Observer;
use super::micro::MicroBatch;
use super::resume::CheckpointOptions;
use super::stopping::{EarlyStopping, Keep};
use crate::error::{Error, Result};
use crate::nn::{Optimizer, Schedule, Trainable};
use crate::ops::{AugmentOptions, Smoothing};
use crate::talk::Talk;
use std::rc::Rc;

/// What is made small. Figures of validation are always those of the plain loss, without smoothing and weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Softmax cross entropy, an output for each class.
    CrossEntropy {
        /// Label smoothing.
        smoothing: Smoothing,
    },
    /// Binary cross entropy on a network with one output, which a sigmoid follows: the probability of class 1. There are still
    /// two classes, with the labels 0 and 1.
    Binary {
        /// What an image of class 1 counts in the loss, beside its class weight; 1 without.
        positive_weight: Option<f32>,
    },
}

impl Default for Loss {
    /// Cross entropy with plain targets.
    fn default() -> Loss {
        Loss::CrossEntropy { smoothing: Smoothing::None }
    }
}

impl Loss {
    /// Outputs that a network for so many classes has: for [`Network::init`](crate::models::Network::init) and
    /// [`Predictor::new`](super::Predictor::new).
    pub fn outputs(self, classes: usize) -> usize {
        match self {
            Loss::CrossEntropy { .. } => classes,
            Loss::Binary { .. } => 1,
        }
    }

    /// # Errors
    /// [`Error::Usage`] for a smoothing outside [0, 1), a weight that is not above 0, and other classes than two with one
    /// output.
    fn check(self, classes: usize) -> Result<()> {
        match self {
            Loss::CrossEntropy { smoothing: Smoothing::OverAll(e) | Smoothing::Others(e) }
                if !(0.0..1.0).contains(&e) =>
            {
                Err(Error::Usage(format!("label smoothing by {e}: it is 0 or more and below 1")))
            }
            Loss::Binary { .. } if classes != 2 => {
                Err(Error::Usage(format!("binary cross entropy is for two classes, there are {classes}")))
            }
            Loss::Binary { positive_weight: Some(w) } if !(w > 0.0 && w.is_finite()) => {
                Err(Error::Usage(format!("a positive weight of {w}: it is above 0 and finite")))
            }
            _ => Ok(()),
        }
    }
}

/// How to fit.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Epochs.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Learning rate by epoch.
    pub schedule: Schedule,
    /// What is made small.
    pub loss: Loss,
    /// Which epoch's weights are returned.
    pub keep: Keep,
    /// When it ends before its last epoch; none means never.
    pub early_stopping: Option<EarlyStopping>,
    /// Whether batches are worked on in parts: for a batch that does not fit.
    pub micro_batch: MicroBatch,
    /// Less memory, a little more time, the same bits: cheap results of the forward pass are computed again for the backward
    /// pass ([`crate::PlanSpec::recompute`]).
    pub recompute: bool,
    /// Which parameters train.
    pub trainable: Trainable,
    /// Real-time augmentation of training images.
    pub augment: Option<AugmentOptions>,
    /// Weight of each class in the loss; all 1 without.
    pub class_weights: Option<Vec<f32>>,
    /// Pixels to input.
    pub normalize: Normalize,
    /// Seed of order, augmentation and dropout.
    pub seed: u64,
    /// For progress: "stage 1".
    pub label: String,
    /// How much is said.
    pub talk: Talk,
    /// Print every dispatch of the training plan.
    pub show_plan: bool,
    /// Checkpoints, and going on from one.
    pub checkpoint: Option<CheckpointOptions>,
    /// End after so many steps as if Ctrl-C had been pressed, for work in slices; none means no end.
    pub stop_after: Option<u64>,
    /// Who is told what happens: [`RunFolder`](super::run_folder::RunFolder).
    pub observer: Option<Rc<dyn Observer>>,
}

impl Default for FitOptions {
    /// Ten epochs of Adam at 1e-3 in batches of 16, everything trains, nothing is augmented.
    fn default() -> FitOptions {
        FitOptions {
            epochs: 10,
            batch: 16,
            optimizer: Optimizer::adam(),
            schedule: Schedule::Constant { lr: 1e-3 },
            loss: Loss::default(),
            keep: Keep::default(),
            early_stopping: None,
            micro_batch: MicroBatch::Off,
            recompute: false,
            trainable: Trainable::All,
            augment: None,
            class_weights: None,
            normalize: Normalize::CENTERED,
            seed: 1,
            label: "training".into(),
            talk: Talk::default(),
            show_plan: false,
            checkpoint: None,
            stop_after: None,
            observer: None,
        }
    }
}

impl FitOptions {
    /// Whether it all goes together for so many classes, training and validation images.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what does not.
    pub(super) fn check(&self, classes: usize, train: usize, validation: usize) -> Result<()> {
        let of = |m: String| Err(Error::Usage(format!("{}: {m}", self.label)));
        if self.batch == 0 || train == 0 {
            return of(format!("batch {} over {train} training images", self.batch));
        }
        self.loss.check(classes)?;
        self.schedule.check()?;
        self.early_stopping.map_or(Ok(()), |s| s.check())?;
        if validation == 0 && (self.early_stopping.is_some() || self.schedule.watches_validation()) {
            return of("early stopping and plateau watch the validation images, and there are none".into());
        }
        let Some(weights) = &self.class_weights else { return Ok(()) };
        if weights.len() != classes || !weights.iter().all(|w| w.is_finite() && *w >= 0.0) {
            return of(format!("class weights {weights:?} for {classes} classes: one each, 0 or more"));
        }
        Ok(())
    }
}
