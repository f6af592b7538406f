//! Fitting a classifier: epochs of shuffled batches, a validation pass after each, the best weights kept.

use super::batches::{Batch, Samples, order};
use super::diagnose::{self, SafePoint, Spoiled};
use super::events::{Observer, Start};
use super::interrupt;
use super::micro::Split;
use super::options::FitOptions;
use super::predict::{Predictor, accuracy_and_loss, first_not_finite};
use super::progress::Progress;
use super::resume::{Place, Saver};
use super::step::{Moment, Recipe};
use super::stopping::Ended;
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use crate::gpu::{Gpu, Storage};
use crate::models::Network;
use crate::nn::ParamStore;
use crate::plan::{LossScale, LossScaling, StepResult, Update};
use std::time::Instant;

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
    /// The weights of the best epoch ([`FitOptions::keep`]), whatever ended the training; those that it began with when not
    /// one epoch was completed.
    pub params: ParamStore,
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
    /// The epoch (from 1) whose weights these are; `None` when not one epoch was completed.
    pub best_epoch: Option<u32>,
    /// Its validation accuracy.
    pub validation_accuracy: Option<f64>,
    /// Its validation loss.
    pub validation_loss: Option<f64>,
    /// Bytes that the training plan takes.
    pub plan_bytes: u64,
    /// Why it ended.
    pub ended: Ended,
    /// Where loss scaling ended; `None` without it.
    pub loss_scale: Option<LossScale>,
    /// Seconds of the training steps of this call, from the first one's start to the last one's end on the device, epoch by
    /// epoch; validation and checkpoints are not counted.
    pub step_seconds: f64,
    /// Seconds of these in which the host filled batches with pixels. The device may still be at work on the step before
    /// then, so that it waited for data no longer than this.
    pub data_seconds: f64,
}

impl Fit {
    /// Whether Ctrl-C, or [`FitOptions::stop_after`], ended it early.
    pub fn interrupted(&self) -> bool {
        self.ended == Ended::Interrupted
    }
}

/// Trains `network` from `params` on `train`, and keeps the weights of the epoch that [`FitOptions::keep`] names by
/// `validation`. Batch norm uses the batch's statistics where it trains and keeps running ones, with which validation is
/// done; dropout draws anew each step. On a device with [`Storage::F16`] the optimizer scales the loss, with PyTorch's
/// numbers if it has none of its own. A fit that goes on from a checkpoint gives, on the same adapter, the very bits of one
/// that was never stopped.
///
/// `classes` is the number of labels; the network has as many outputs, or one with [`Loss::Binary`](super::Loss::Binary).
///
/// # Errors
/// [`Error::Usage`] for options that make no sense, no training images, or a checkpoint of another run; [`Error::Data`] for
/// a label outside of the classes; [`Error::Memory`] when the plan does not fit, before the first step, with the largest
/// batch that does ([`FitOptions::micro_batch`] splits it); [`Error::Numerics`] for an image with a pixel that is not
/// finite, naming its number, and when the loss is not finite, naming epoch, step and the first layer whose output or
/// gradient is not; [`Error::Format`] for a damaged checkpoint, [`Error::Io`] when one cannot be written; the observer's
/// errors; device errors.
pub fn fit(
    gpu: &Gpu,
    network: &Network,
    params: &ParamStore,
    classes: usize,
    (train, validation): (&Samples, &Samples),
    options: &FitOptions,
) -> Result<Fit> {
    options.check(classes, train.items.len(), validation.items.len())?;
    let options = &scaled(gpu, options);
    check_labels(&options.label, classes, &[train.items, validation.items])?;
    for part in [train, validation] {
        diagnose::check_inputs(&options.label, part)?;
    }
    let mut saver = Saver::new(gpu, network, params, classes, (train, validation), options);
    let recipe = Recipe { network, train, classes, options };
    let mut safe = SafePoint::start(params);
    let done = match run(gpu, recipe, params, validation, &mut saver, &mut safe) {
        Ok(fit) => Ok(fit),
        Err(Failure::Error(e)) => Err(e),
        Err(Failure::Spoiled(at)) => Err(diagnose::training(gpu, recipe, &at, safe, saver.as_ref())),
    };
    done.map_err(|e| saver.iter().fold(e, |e, s| s.name_last(e)))
}

/// What ends a run.
enum Failure {
    Error(Error),
    /// A loss that is not finite: where it comes from is found when the memory of the run is free again.
    Spoiled(Box<Spoiled>),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Error(e)
    }
}

/// A run's voice: lines of progress, and the observer.
struct Voice<'a> {
    progress: Progress,
    label: &'a str,
    observer: Option<&'a dyn Observer>,
}

impl Voice<'_> {
    /// A line that stays.
    fn note(&self, text: &str) {
        self.progress.line(text);
        self.observer.iter().for_each(|o| o.note(text));
    }

    /// Takes results up, and tells which steps they end.
    fn take(&self, at: &mut Place, done: Vec<StepResult>, outputs: usize) -> Result<(), usize> {
        let taken = at.tally.take(done, outputs);
        for (step, loss) in at.tally.finished.drain(..) {
            self.observer.iter().for_each(|o| o.step(self.label, at.epoch, step, loss));
        }
        taken
    }

    fn fault(&self) -> Option<Error> {
        self.observer.and_then(|o| o.fault())
    }
}

fn run(
    gpu: &Gpu,
    recipe: Recipe,
    params: &ParamStore,
    validation: &Samples,
    saver: &mut Option<Saver>,
    safe: &mut SafePoint,
) -> Result<Fit, Failure> {
    let Recipe { network, train, options, .. } = recipe;
    let (batch, outputs) = (options.batch, recipe.outputs());
    let mut params = params.clone();
    params.params.iter_mut().for_each(|p| p.trainable = options.trainable.includes(&p.name));
    let mut training = recipe.compile(gpu, &params, saver.as_ref().and_then(Saver::kept_micro_batch))?;
    let split = training.split;
    if let Some(s) = saver {
        s.divide(split);
    }
    let size = split.size.min(validation.items.len().max(1));
    let weights = training.plan.weights().clone();
    let mut predictor = Predictor::new(gpu, network, &weights, (validation, outputs, size), options.normalize)?;

    if options.show_plan {
        eprintln!("{}", training.plan);
    } else if !options.talk.is_quiet() {
        eprintln!("{}: training memory {}", options.label, training.plan.memory());
    }
    let (dispatches, submits) = training.plan.size();
    options.talk.detail(|| format!("{}: {dispatches} dispatches in {submits} submits a step", options.label));
    if split.count > 1 && !options.talk.is_quiet() {
        let (label, Split { size, count }) = (&options.label, split);
        let norm = if training.batch_norm { "; batch norm normalises over these, not over the batch" } else { "" };
        eprintln!("{label}: a batch of {batch} is split into {count} micro batches of {size} images{norm}");
    }
    let mut fit = Fit {
        params: params.clone(),
        history: Vec::new(),
        best_epoch: None,
        validation_accuracy: None,
        validation_loss: None,
        plan_bytes: training.plan.memory().total(),
        ended: Ended::Epochs,
        loss_scale: None,
        step_seconds: 0.0,
        data_seconds: 0.0,
    };
    let progress = Progress::new(&options.label, (options.epochs * train.items.len()) as u64, "images", options.talk);
    let mut voice = Voice { progress, label: &options.label, observer: options.observer.as_deref() };
    let mut at = Place { epoch: 0, step: 0, tally: Tally::default(), seconds: 0.0 };
    let steps = train.items.len().div_ceil(batch);
    if let Some(s) = saver {
        let found = s.resume(gpu, (&training.plan, &mut training.optimizer), &mut params, &mut fit)?;
        if let Some(found) = found {
            at = found.place;
            let done = at.epoch * train.items.len() + (at.step * batch).min(train.items.len());
            voice.progress.skip(done as u64);
            voice.note(&format!("{}: goes on at epoch {}, step {}", options.label, at.epoch + 1, at.step + 1));
            if !found.same_adapter {
                voice.note("the checkpoint is another adapter's or driver's: equal within rounding, not bit for bit");
            }
        }
    }
    if let Some(o) = voice.observer {
        let Fit { history, best_epoch, .. } = &fit;
        o.begin(&options.label, Start { history, best_epoch: *best_epoch, step: at.step, steps });
    }
    let mut buffer = Batch::default();
    // Between two updates of the weights: only there is the state of a training complete.
    let accumulation = options.optimizer.replays();
    let whole = |epoch: usize, step: usize| (epoch * steps + step).is_multiple_of(accumulation);
    let spoiled = |at: &Place, fit: &Fit, step: usize| {
        Failure::Spoiled(Box::new(Spoiled { epoch: at.epoch, step, split, history: fit.history.clone() }))
    };
    let mut here = 0;
    let mut fault = None;
    while at.epoch < options.epochs {
        if options.early_stopping.is_some_and(|s| s.stops(&fit.history)) {
            fit.ended = Ended::EarlyStopping;
            voice.note(&format!("{}: nothing improves any more, it ends after epoch {}", options.label, at.epoch));
            break;
        }
        let epoch = at.epoch;
        let (start, before) = (Instant::now(), at.seconds);
        if at.step == 0 && epoch > 0 && whole(epoch, 0) {
            let state = (&training.plan, training.optimizer.state());
            safe.advance(gpu, state, (epoch, 0), options.optimizer.moments() as u64)?;
        }
        let all = order(train.items.len(), options.seed, epoch);
        let (stepping, mut aside) = (Instant::now(), 0.0);
        for (step, part) in all.chunks(batch).enumerate().skip(at.step) {
            let stop = interrupt::requested() || options.stop_after.is_some_and(|n| here >= n);
            if stop && whole(epoch, step) {
                fit.ended = Ended::Interrupted;
                break;
            }
            let rate = options.schedule.step_rate(epoch, (step, steps), &fit.history);
            for (i, (positions, share)) in split.parts(part).enumerate() {
                let filling = Instant::now();
                // What pads the last batch of an epoch counts for nothing in the loss, but batch norm sees it.
                train.fill(&mut buffer, (positions, &all), split.size, options.normalize, Some((options.seed, epoch)));
                fit.data_seconds += filling.elapsed().as_secs_f64();
                let at_part = Moment { epoch, batch: epoch * steps + step, part: i, share };
                training.run(gpu, &recipe, &buffer, at_part, rate)?;
                at.tally.queue(step, i + 1 == split.count, &buffer.labels);
                let done: Vec<StepResult> = training.plan.results().collect();
                voice.take(&mut at, done, outputs).map_err(|step| spoiled(&at, &fit, step))?;
            }
            here += 1;
            at.step = step + 1;
            voice
                .progress
                .advance(part.len() as u64, &format!("epoch {}/{}{}", epoch + 1, options.epochs, at.tally.told()));
            if let Some(s) = saver.as_mut().filter(|s| s.due(here) && whole(epoch, step + 1)) {
                let done = training.plan.finish(gpu)?;
                voice.take(&mut at, done, outputs).map_err(|step| spoiled(&at, &fit, step))?;
                at.seconds = before + start.elapsed().as_secs_f64();
                let writing = Instant::now();
                s.write(gpu, (&training.plan, &training.optimizer), &params, &at, &fit)?;
                s.written(here);
                aside += writing.elapsed().as_secs_f64();
            }
        }
        let done = training.plan.finish(gpu)?;
        voice.take(&mut at, done, outputs).map_err(|step| spoiled(&at, &fit, step))?;
        fit.step_seconds += stepping.elapsed().as_secs_f64() - aside;
        at.seconds = before + start.elapsed().as_secs_f64();
        if fit.ended == Ended::Interrupted {
            break;
        }
        let scores = if validation.items.is_empty() {
            None
        } else {
            let logits = predictor.unchecked_logits(gpu, validation)?;
            if let Some(item) = first_not_finite(&logits) {
                let place = format!("{}, after epoch {}", options.label, epoch + 1);
                let here = (network, &weights, outputs);
                let found = diagnose::validation(gpu, here, (validation, item, options.normalize), &place);
                return Err(found.into());
            }
            Some(accuracy_and_loss(&logits, validation.items))
        };
        fit.history.push(EpochRecord {
            epoch: epoch as u32 + 1,
            train_loss: Some(at.tally.loss()),
            train_accuracy: Some(at.tally.accuracy()),
            validation_loss: scores.map(|s| s.1),
            validation_accuracy: scores.map(|s| s.0),
            learning_rate: options.schedule.step_rate(epoch, (0, steps), &fit.history),
            seconds: before + start.elapsed().as_secs_f64(),
        });
        let better = options.keep.takes_last(&fit.history);
        if better {
            fit.params.read(gpu, &weights)?;
            fit.best_epoch = Some(epoch as u32 + 1);
            (fit.validation_accuracy, fit.validation_loss) = (scores.map(|s| s.0), scores.map(|s| s.1));
        }
        let record = &fit.history[epoch];
        voice.progress.line(&describe(&options.label, record, options.epochs, better));
        at = Place { epoch: epoch + 1, step: 0, tally: Tally::default(), seconds: 0.0 };
        if let Some(o) = voice.observer {
            o.epoch(&options.label, record, better);
            fault = o.fault();
            if fault.is_some() {
                break;
            }
        }
    }
    fit.loss_scale = training.plan.loss_scale(gpu)?;
    if let Some(s) = fit.loss_scale.filter(|s| s.skipped() > 0) {
        let (label, left, scale) = (&options.label, s.skipped(), s.scale);
        voice.note(&format!("{label}: {left} updates left out for an overflow, the loss is scaled by {scale}"));
    }
    // At its end and at Ctrl-C, unless nothing was done; between two updates there is nothing whole to write.
    if let Some(s) = saver.as_ref().filter(|_| here > 0 && whole(at.epoch, at.step)) {
        s.write(gpu, (&training.plan, &training.optimizer), &params, &at, &fit)?;
        if fit.interrupted() {
            voice.note(&format!("{}: stopped at epoch {}, step {}", options.label, at.epoch + 1, at.step + 1));
        }
    }
    let fault = fault.or_else(|| voice.fault());
    voice.progress.finish();
    fault.map_or(Ok(fit), |e| Err(e.into()))
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
