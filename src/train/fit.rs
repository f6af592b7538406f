//! Fitting a classifier: epochs of shuffled batches, a validation pass after each, the best weights kept.

use super::batches::{Batch, Normalize, Samples, order};
use super::interrupt;
use super::micro::{MicroBatch, Split};
use super::predict::{Predictor, accuracy_and_loss};
use super::progress::Progress;
use super::resume::{CheckpointOptions, Place, Saver};
use super::step::{Moment, Recipe};
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use crate::gpu::{Gpu, Storage};
use crate::models::Network;
use crate::nn::{Optimizer, ParamStore, Schedule, Trainable};
use crate::ops::AugmentOptions;
use crate::plan::{LossScale, LossScaling, StepResult};
use std::time::Instant;

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
    /// No progress.
    pub quiet: bool,
    /// Print every dispatch of the training plan.
    pub show_plan: bool,
    /// Checkpoints, and going on from one.
    pub checkpoint: Option<CheckpointOptions>,
    /// End after so many steps as if Ctrl-C had been pressed, for work in slices; none means no end.
    pub stop_after: Option<u64>,
}

impl Default for FitOptions {
    /// Ten epochs of Adam at 1e-3 in batches of 16, everything trains, nothing is augmented.
    fn default() -> FitOptions {
        FitOptions {
            epochs: 10,
            batch: 16,
            optimizer: Optimizer::adam(),
            schedule: Schedule::Constant { lr: 1e-3 },
            micro_batch: MicroBatch::Off,
            recompute: false,
            trainable: Trainable::All,
            augment: None,
            class_weights: None,
            normalize: Normalize::CENTERED,
            seed: 1,
            label: "training".into(),
            quiet: false,
            show_plan: false,
            checkpoint: None,
            stop_after: None,
        }
    }
}

/// Weights that give every class the same sum over `items`: n / (classes · n of the class), as scikit-learn's "balanced". A
/// class without images has weight 0.
pub fn balanced(items: &[(usize, usize)], classes: usize) -> Vec<f32> {
    let count = |c: usize| items.iter().filter(|i| i.1 == c).count();
    let weight = |n: usize| if n == 0 { 0.0 } else { items.len() as f32 / (classes * n) as f32 };
    (0..classes).map(|c| weight(count(c))).collect()
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The weights of the best epoch (of the last complete one without validation images).
    pub params: ParamStore,
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
    /// The epoch (from 1) whose weights these are; `None` when not one epoch was completed.
    pub best_epoch: Option<u32>,
    /// Its validation accuracy.
    pub validation_accuracy: Option<f64>,
    /// Bytes that the training plan takes.
    pub plan_bytes: u64,
    /// Whether Ctrl-C, or [`FitOptions::stop_after`], ended it early.
    pub interrupted: bool,
    /// Where loss scaling ended; `None` without it.
    pub loss_scale: Option<LossScale>,
}

/// Trains `network` from `params` on `train`, and keeps the weights with the best accuracy on `validation`; the first of
/// equals, as nothing says that a later one is better. Batch norm uses the batch's statistics where it trains and keeps running
/// ones, with which validation is done; dropout draws anew each step. On a device with [`Storage::F16`] the optimizer scales the
/// loss, with PyTorch's numbers if it has none of its own. A fit that goes on from a checkpoint gives, on the same
/// adapter, the very bits of one that was never stopped.
///
/// # Errors
/// [`Error::Usage`] for batch 0, no training images, or a checkpoint of another run; [`Error::Data`] for a label outside of the
/// classes; [`Error::Memory`] when the plan does not fit, before the first step, with the largest batch that does
/// ([`FitOptions::micro_batch`] splits it);
/// [`Error::Numerics`] when the loss is not finite, naming epoch and step; [`Error::Format`] for a damaged checkpoint,
/// [`Error::Io`] when one cannot be written; device errors.
pub fn fit(
    gpu: &Gpu,
    network: &Network,
    params: &ParamStore,
    classes: usize,
    (train, validation): (&Samples, &Samples),
    options: &FitOptions,
) -> Result<Fit> {
    if options.batch == 0 || train.items.is_empty() {
        let (b, n) = (options.batch, train.items.len());
        return Err(Error::Usage(format!("{}: batch {b} over {n} training images", options.label)));
    }
    let options = &scaled(gpu, options);
    check_labels(&options.label, classes, &[train.items, validation.items])?;
    let mut saver = Saver::new(gpu, network, params, classes, (train, validation), options);
    let done = run(gpu, Recipe { network, train, classes, options }, params, validation, &mut saver);
    done.map_err(|e| saver.iter().fold(e, |e, s| s.name_last(e)))
}

fn run(gpu: &Gpu, recipe: Recipe, params: &ParamStore, validation: &Samples, saver: &mut Option<Saver>) -> Result<Fit> {
    let Recipe { network, train, classes, options } = recipe;
    let batch = options.batch;
    let mut params = params.clone();
    params.params.iter_mut().for_each(|p| p.trainable = options.trainable.includes(&p.name));
    let mut training = recipe.compile(gpu, &params, saver.as_ref().and_then(Saver::kept_micro_batch))?;
    let split = training.split;
    if let Some(s) = saver {
        s.divide(split);
    }
    let size = split.size.min(validation.items.len().max(1));
    let weights = training.plan.weights().clone();
    let mut predictor = Predictor::new(gpu, network, &weights, (validation, classes, size), options.normalize)?;

    if options.show_plan {
        eprintln!("{}", training.plan);
    } else if !options.quiet {
        eprintln!("{}: training memory {}", options.label, training.plan.memory());
    }
    if split.count > 1 && !options.quiet {
        let (label, Split { size, count }) = (&options.label, split);
        let norm = if training.batch_norm { "; batch norm normalises over these, not over the batch" } else { "" };
        eprintln!("{label}: a batch of {batch} is split into {count} micro batches of {size} images{norm}");
    }
    let mut fit = Fit {
        params: params.clone(),
        history: Vec::new(),
        best_epoch: None,
        validation_accuracy: None,
        plan_bytes: training.plan.memory().total(),
        interrupted: false,
        loss_scale: None,
    };
    let mut progress =
        Progress::new(&options.label, (options.epochs * train.items.len()) as u64, "images", options.quiet);
    let mut at = Place { epoch: 0, step: 0, tally: Tally::default(), seconds: 0.0 };
    if let Some(s) = saver {
        let found = s.resume(gpu, (&training.plan, &mut training.optimizer), &mut params, &mut fit)?;
        if let Some(found) = found {
            at = found.place;
            let done = at.epoch * train.items.len() + (at.step * batch).min(train.items.len());
            progress.skip(done as u64);
            progress.line(&format!("{}: goes on at epoch {}, step {}", options.label, at.epoch + 1, at.step + 1));
            if !found.same_adapter {
                progress
                    .line("the checkpoint is another adapter's or driver's: equal within rounding, not bit for bit");
            }
        }
    }
    let mut buffer = Batch::default();
    let steps = train.items.len().div_ceil(batch);
    // Between two updates of the weights: only there is the state of a training complete.
    let accumulation = options.optimizer.replays();
    let whole = |epoch: usize, step: usize| (epoch * steps + step).is_multiple_of(accumulation);
    let mut here = 0;
    while at.epoch < options.epochs {
        let epoch = at.epoch;
        let (start, before) = (Instant::now(), at.seconds);
        let rate = options.schedule.rate(epoch);
        let all = order(train.items.len(), options.seed, epoch);
        for (step, part) in all.chunks(batch).enumerate().skip(at.step) {
            let stop = interrupt::requested() || options.stop_after.is_some_and(|n| here >= n);
            if stop && whole(epoch, step) {
                fit.interrupted = true;
                break;
            }
            for (i, (positions, share)) in split.parts(part).enumerate() {
                // What pads the last batch of an epoch counts for nothing in the loss, but batch norm sees it.
                train.fill(&mut buffer, (positions, &all), split.size, options.normalize, Some((options.seed, epoch)));
                let at_part = Moment { epoch, batch: epoch * steps + step, part: i, share };
                training.run(gpu, &recipe, &buffer, at_part, rate)?;
                at.tally.queue(step, &buffer.labels);
                let done: Vec<StepResult> = training.plan.results().collect();
                at.tally.take(done, classes).map_err(|e| at_epoch(&options.label, epoch, e))?;
            }
            here += 1;
            at.step = step + 1;
            progress.advance(
                part.len() as u64,
                &format!("epoch {}/{}, loss {:.3}", epoch + 1, options.epochs, at.tally.recent),
            );
            if let Some(s) = saver.as_mut().filter(|s| s.due(here) && whole(epoch, step + 1)) {
                let done = training.plan.finish(gpu)?;
                at.tally.take(done, classes).map_err(|e| at_epoch(&options.label, epoch, e))?;
                at.seconds = before + start.elapsed().as_secs_f64();
                s.write(gpu, (&training.plan, &training.optimizer), &params, &at, &fit)?;
                s.written(here);
            }
        }
        let done = training.plan.finish(gpu)?;
        at.tally.take(done, classes).map_err(|e| at_epoch(&options.label, epoch, e))?;
        at.seconds = before + start.elapsed().as_secs_f64();
        if fit.interrupted {
            break;
        }
        let checked = (!validation.items.is_empty()).then(|| predictor.logits(gpu, validation)).transpose()?;
        let scores = checked.map(|l| accuracy_and_loss(&l, validation.items));
        let better = scores.is_none_or(|(a, _)| fit.validation_accuracy.is_none_or(|b| a > b));
        if better {
            fit.params.read(gpu, &weights)?;
            fit.best_epoch = Some(epoch as u32 + 1);
            fit.validation_accuracy = scores.map(|s| s.0);
        }
        let record = EpochRecord {
            epoch: epoch as u32 + 1,
            train_loss: Some(at.tally.loss()),
            train_accuracy: Some(at.tally.accuracy()),
            validation_loss: scores.map(|s| s.1),
            validation_accuracy: scores.map(|s| s.0),
            learning_rate: rate,
            seconds: before + start.elapsed().as_secs_f64(),
        };
        progress.line(&describe(&options.label, &record, options.epochs, better));
        fit.history.push(record);
        at = Place { epoch: epoch + 1, step: 0, tally: Tally::default(), seconds: 0.0 };
    }
    fit.loss_scale = training.plan.loss_scale(gpu)?;
    if let Some(s) = fit.loss_scale.filter(|s| s.skipped() > 0) {
        let (label, left, scale) = (&options.label, s.skipped(), s.scale);
        progress.line(&format!("{label}: {left} updates left out for an overflow, the loss is scaled by {scale}"));
    }
    // At its end and at Ctrl-C, unless nothing was done; between two updates there is nothing whole to write.
    if let Some(s) = saver.as_ref().filter(|_| here > 0 && whole(at.epoch, at.step)) {
        s.write(gpu, (&training.plan, &training.optimizer), &params, &at, &fit)?;
        if fit.interrupted {
            progress.line(&format!("{}: stopped at epoch {}, step {}", options.label, at.epoch + 1, at.step + 1));
        }
    }
    progress.finish();
    Ok(fit)
}

/// The options with the loss scaling that f16 gradients need.
fn scaled(gpu: &Gpu, options: &FitOptions) -> FitOptions {
    let mut o = options.clone();
    if gpu.storage() == Storage::F16 && o.optimizer.scaling.is_none() {
        o.optimizer = o.optimizer.with_loss_scaling(LossScaling::default());
    }
    o
}

/// A label that is no class would count for nothing in the loss, silently.
fn check_labels(label: &str, classes: usize, parts: &[&[(usize, usize)]]) -> Result<()> {
    match parts.iter().copied().flatten().find(|(_, class)| *class >= classes) {
        None => Ok(()),
        Some((image, class)) => Err(Error::Data(format!(
            "{label}: image {image} has the label {class}; there are {classes} classes, 0 to {}",
            classes.saturating_sub(1)
        ))),
    }
}

fn at_epoch(label: &str, epoch: usize, step: usize) -> Error {
    Error::Numerics(format!(
        "{label}, epoch {}, step {}: the loss is not finite; a smaller learning rate may help, the weights before \
         this epoch are unharmed",
        epoch + 1,
        step + 1
    ))
}

fn describe(label: &str, r: &EpochRecord, epochs: usize, better: bool) -> String {
    let percent = |v: Option<f64>| v.map_or("-".into(), |v| format!("{:.1} %", 100.0 * v));
    let loss = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.4}"));
    format!(
        "{label} epoch {:3}/{epochs}  train loss {} acc {}  validation loss {} acc {}  lr {:.2e}  {:.1} s{}",
        r.epoch,
        loss(r.train_loss),
        percent(r.train_accuracy),
        loss(r.validation_loss),
        percent(r.validation_accuracy),
        r.learning_rate,
        r.seconds,
        if better { "  *" } else { "" }
    )
}
