//! Checkpoints of a fit: when they are written, what is in them, and how a fit goes on from one as if it had never stopped.
//!
//! A checkpoint stands between two steps. Everything that is drawn at random (order, augmentation, views, dropout) follows
//! from the seed, the epoch, the step and the image, so that epoch and step are all the state that chance has.

use super::batches::Samples;
use super::fit::Fit;
use super::micro::Split;
use super::options::{FitOptions, Loss};
use super::stopping::Keep;
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use crate::files::hex;
use crate::gpu::{Gpu, Storage};
use crate::models::Network;
use crate::nn::layers::is_statistic;
use crate::nn::{Optimizer, ParamStore};
use crate::plan::{LossScale, Plan, SCALE_STATE, Weights};
use crate::weights::Checkpoint;
use crate::weights::checkpoint::Array;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where and how often a fit writes a checkpoint. It also writes one at Ctrl-C and at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointOptions {
    /// The file; each checkpoint replaces the one before it, atomically.
    pub path: PathBuf,
    /// One every so many steps.
    pub every_steps: Option<u64>,
    /// One when so much time has gone by.
    pub every: Option<Duration>,
    /// Go on from `path` where it exists; where it does not, the fit starts at its beginning. Without this, what is there is
    /// replaced.
    pub resume: bool,
}

impl CheckpointOptions {
    /// A checkpoint every five minutes in `path`, and going on from it.
    pub fn resuming(path: impl Into<PathBuf>) -> CheckpointOptions {
        let every = Some(Duration::from_secs(300));
        CheckpointOptions { path: path.into(), every_steps: None, every, resume: true }
    }
}

/// Where a fit stands.
pub(super) struct Place {
    /// From 0.
    pub(super) epoch: usize,
    /// Steps of this epoch that are done.
    pub(super) step: usize,
    pub(super) tally: Tally,
    /// Seconds that this epoch has taken so far, in all runs together.
    pub(super) seconds: f64,
}

/// A checkpoint's counter of the images of a micro batch.
const MICRO_BATCH: &str = "micro_batch";

/// Writes the checkpoints of one fit.
pub(super) struct Saver<'a> {
    options: &'a CheckpointOptions,
    network: &'a Network,
    config: String,
    micro_batch: usize,
    data: String,
    adapter: u64,
    /// When the last one was written, and after how many steps of this run.
    last: (Instant, u64),
    /// Whether this run wrote one, or went on from one.
    there: Cell<bool>,
}

impl<'a> Saver<'a> {
    /// For a fit from the parameters `start`; `None` when it writes no checkpoints.
    pub(super) fn new(
        gpu: &Gpu,
        network: &'a Network,
        start: &ParamStore,
        classes: usize,
        (train, validation): (&Samples, &Samples),
        fit: &'a FitOptions,
    ) -> Option<Saver<'a>> {
        let options = fit.checkpoint.as_ref()?;
        Some(Saver {
            options,
            network,
            config: config(gpu.storage(), network, start, classes, fit),
            micro_batch: fit.batch,
            data: format!("training {}, validation {}", digest(train), digest(validation)),
            adapter: adapter(gpu),
            last: (Instant::now(), 0),
            there: Cell::new(false),
        })
    }

    /// The images of a micro batch in the checkpoint that the fit is to go on from: with others its bits would be others.
    /// `None` where there is none to go on from; what is wrong with it is said when it is taken up.
    pub(super) fn kept_micro_batch(&self) -> Option<usize> {
        let path = Some(&self.options.path).filter(|p| self.options.resume && p.exists())?;
        Checkpoint::read(path).ok()?.counters.get(MICRO_BATCH).and_then(|n| usize::try_from(*n).ok())
    }

    /// Batches are divided so.
    pub(super) fn divide(&mut self, split: Split) {
        self.micro_batch = split.size;
        if split.count > 1 {
            self.config += &format!("\nmicro batch = {}", split.size);
        }
    }

    /// The checkpoint from which the run can go on, if there is one.
    pub(super) fn last(&self) -> Option<Checkpoint> {
        Checkpoint::read(&self.options.path).ok().filter(|_| self.there.get())
    }

    /// `e` with the checkpoint from which the run can go on.
    pub(super) fn name_last(&self, e: Error) -> Error {
        if self.there.get() { e.and_written(&self.options.path.display().to_string()) } else { e }
    }

    /// Whether a checkpoint is due after so many steps of this run.
    pub(super) fn due(&self, steps: u64) -> bool {
        self.options.every_steps.is_some_and(|n| steps - self.last.1 >= n.max(1))
            || self.options.every.is_some_and(|t| self.last.0.elapsed() >= t)
    }

    /// Counts anew from here.
    pub(super) fn written(&mut self, steps: u64) {
        self.last = (Instant::now(), steps);
    }

    /// Writes where the fit stands; every step must be finished and its results in the tally.
    pub(super) fn write(
        &self,
        gpu: &Gpu,
        (plan, optimizer): (&Plan, &Optimizer),
        params: &ParamStore,
        place: &Place,
        fit: &Fit,
    ) -> Result<()> {
        let mut now = params.clone();
        now.read(gpu, plan.weights())?;
        let mut c = Checkpoint::of(self.network.name, &now);
        (c.epoch, c.step) = (place.epoch as u64, place.step as u64);
        c.moments = plan.moments(gpu)?;
        c.optimizer = optimizer.state();
        (c.config, c.data_digest) = (self.config.clone(), self.data.clone());
        place.tally.store(&mut c.counters);
        c.counters.insert("epoch.seconds".into(), place.seconds.to_bits());
        c.counters.insert("adapter".into(), self.adapter);
        c.counters.insert(MICRO_BATCH.into(), self.micro_batch as u64);
        store_history(&fit.history, &mut c.counters);
        if let Some(scale) = plan.loss_scale(gpu)? {
            let words = scale.words().into_iter().enumerate();
            c.counters.extend(words.map(|(i, w)| (format!("loss_scale.{i}"), w.to_bits().into())));
        }
        if let Some(best) = fit.best_epoch {
            c.counters.insert("best.epoch".into(), best.into());
            let accuracy = fit.validation_accuracy.map(|a| ("best.accuracy".into(), a.to_bits()));
            c.counters.extend(accuracy);
            let changes = |name: &str| plan.weights().slot(name).is_some_and(|s| s.trainable || is_statistic(name));
            for p in fit.params.params.iter().filter(|p| changes(&p.name)) {
                let dims = c.params.get(&p.name).map(|a| a.dims.clone()).unwrap_or_default();
                c.extra.insert(format!("best/{}", p.name), Array { dims, values: p.values.clone() });
            }
        }
        c.write(&self.options.path)?;
        self.there.set(true);
        Ok(())
    }

    /// Takes up a checkpoint where one is wanted and there: into the device's weights and moments, the optimizer, `params` and
    /// `fit`. Says whether the adapter is another one.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what of network, configuration and data differs; [`Error::Format`] for a damaged file;
    /// everything stays as it was then.
    pub(super) fn resume(
        &self,
        gpu: &Gpu,
        (plan, optimizer): (&Plan, &mut Optimizer),
        params: &mut ParamStore,
        fit: &mut Fit,
    ) -> Result<Option<Resumed>> {
        let path = &self.options.path;
        if !self.options.resume || !path.exists() {
            return Ok(None);
        }
        let c = Checkpoint::read(path)?;
        self.there.set(true);
        let of = |m: String| Error::Usage(format!("{}: {m}", path.display()));
        c.check_resumes(self.network.name, &self.config, &self.data).map_err(|e| of(e.to_string()))?;
        let incomplete = |what: &str| Error::format(path, format!("a checkpoint without {what}"));
        let tally = Tally::restored(&c.counters).ok_or_else(|| incomplete("the sums of its epoch"))?;
        let history = restored_history(&c.counters).ok_or_else(|| incomplete("its history"))?;
        let number = |name: &str| c.counters.get(name).copied();
        // Whether there must be one follows from the optimizer, which is part of the configuration.
        let scale = optimizer.scaling.map(|_| restored_scale(&c.counters).ok_or_else(|| incomplete("its loss scale")));
        let scale = scale.transpose()?;
        let mut now = params.clone();
        c.restore(&mut now)?;
        let mut best = now.clone();
        for (name, array) in &c.extra {
            let name = name.strip_prefix("best/").unwrap_or_default();
            let p = best.params.iter_mut().find(|p| p.name == name && p.values.len() == array.values.len());
            p.ok_or_else(|| incomplete(&format!("a parameter for its best {name}")))?.values.clone_from(&array.values);
        }
        plan.restore_moments(gpu, &c.moments).map_err(|e| Error::format(path, e))?;
        if let Some(scale) = scale {
            plan.restore_loss_scale(gpu, &scale)?;
        }
        plan.weights().take(gpu, &now)?;
        *params = now;
        optimizer.restore(c.optimizer);
        fit.best_epoch = number("best.epoch").map(|e| e as u32);
        fit.validation_accuracy = number("best.accuracy").map(f64::from_bits);
        let of_best = fit.best_epoch.and_then(|e| history.get((e as usize).checked_sub(1)?));
        fit.validation_loss = of_best.and_then(|r| r.validation_loss);
        fit.history = history;
        if fit.best_epoch.is_some() {
            fit.params = best;
        }
        let seconds = number("epoch.seconds").map_or(0.0, f64::from_bits);
        let place = Place { epoch: c.epoch as usize, step: c.step as usize, tally, seconds };
        Ok(Some(Resumed { place, same_adapter: number("adapter") == Some(self.adapter) }))
    }
}

/// What a checkpoint led to.
pub(super) struct Resumed {
    pub(super) place: Place,
    pub(super) same_adapter: bool,
}

impl Weights {
    /// Overwrites those parameters of `store` that are here.
    fn take(&self, gpu: &Gpu, store: &ParamStore) -> Result<()> {
        let here = store.params.iter().filter(|p| self.slot(&p.name).is_some());
        self.write(gpu, here.map(|p| (p.name.as_str(), p.values.as_slice())))
    }
}

/// Everything but data and number of epochs that the weights follow from, a line each. Epochs are left out so that a training
/// can be prolonged, and so is early stopping: what a schedule depends on is in the schedule.
fn config(storage: Storage, network: &Network, start: &ParamStore, classes: usize, o: &FitOptions) -> String {
    // Recomputation is not among them: it changes no bit.
    let lines = [
        format!("storage = {storage:?}"),
        format!("base = {}", network.describe_base()),
        format!("head = {:?}", network.head),
        format!("classes = {classes}"),
        format!("initial weights = {}", start.digest()),
        format!("batch = {}", o.batch),
        format!("optimizer = {:?}", o.optimizer),
        format!("schedule = {:?}", o.schedule),
        format!("trainable = {:?}", o.trainable),
        format!("augmentation = {:?}", o.augment),
        format!("class weights = {:?}", o.class_weights),
        format!("preprocessing = {}", o.normalize.describe()),
        format!("seed = {}", o.seed),
    ];
    // What was added to the options later has a line only where it is not as it always was: older checkpoints go on.
    let loss = (o.loss != Loss::default()).then(|| format!("loss = {:?}", o.loss));
    let keep = (o.keep != Keep::default()).then(|| format!("keep = {:?}", o.keep));
    lines.into_iter().chain(loss).chain(keep).collect::<Vec<_>>().join("\n")
}

/// SHA-256 over classes and pixels (or features) of all items in order, with all their views.
fn digest(samples: &Samples) -> String {
    let mut h = Sha256::new();
    h.update(samples.shape.map(|d| d as u64).iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<u8>>());
    let size = samples.size();
    let whole = samples.data.len().max(1);
    for (image, class) in samples.items {
        // The image's number too: order and augmentation follow from it.
        h.update((*image as u64).to_le_bytes());
        h.update((*class as u64).to_le_bytes());
        let views = std::iter::once(samples.data).chain(samples.mirrored.iter().flat_map(|m| m.chunks(whole)));
        for view in views {
            h.update(bytemuck::cast_slice::<f32, u8>(&view[image * size..(image + 1) * size]));
        }
    }
    hex(&h.finalize())
}

/// The adapter and its driver, as a number: others round differently.
fn adapter(gpu: &Gpu) -> u64 {
    let i = &gpu.info;
    let all = Sha256::digest(format!("{}|{}|{}|{:?}", i.name, i.driver, i.driver_info, i.backend));
    u64::from_le_bytes(std::array::from_fn(|at| all[at]))
}

/// Names of a record's figures among the counters.
const FIGURES: [&str; 6] =
    ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds"];

fn store_history(history: &[EpochRecord], counters: &mut BTreeMap<String, u64>) {
    counters.insert("history".into(), history.len() as u64);
    for (i, r) in history.iter().enumerate() {
        let figures = [
            r.train_loss,
            r.train_accuracy,
            r.validation_loss,
            r.validation_accuracy,
            Some(r.learning_rate),
            Some(r.seconds),
        ];
        let known = FIGURES.iter().zip(figures).filter_map(|(name, v)| Some((name, v?)));
        counters.extend(known.map(|(name, v)| (format!("history.{i}.{name}"), v.to_bits())));
    }
}

fn restored_history(counters: &BTreeMap<String, u64>) -> Option<Vec<EpochRecord>> {
    let one = |i: u64| {
        let figure = |at: usize| counters.get(&format!("history.{i}.{}", FIGURES[at])).map(|v| f64::from_bits(*v));
        Some(EpochRecord {
            epoch: u32::try_from(i).ok()? + 1,
            train_loss: figure(0),
            train_accuracy: figure(1),
            validation_loss: figure(2),
            validation_accuracy: figure(3),
            learning_rate: figure(4)?,
            seconds: figure(5)?,
        })
    };
    (0..*counters.get("history")?).map(one).collect()
}

pub(super) fn restored_scale(counters: &BTreeMap<String, u64>) -> Option<LossScale> {
    let mut words = [0.0; 1 + SCALE_STATE];
    for (i, w) in words.iter_mut().enumerate() {
        *w = f32::from_bits(u32::try_from(*counters.get(&format!("loss_scale.{i}"))?).ok()?);
    }
    LossScale::of_words(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_comes_back_bit_for_bit() {
        let record = |epoch, accuracy| EpochRecord {
            epoch,
            train_loss: Some(0.1 + 0.2),
            train_accuracy: Some(1.0 / 3.0),
            validation_loss: None,
            validation_accuracy: accuracy,
            learning_rate: 1e-3,
            seconds: 0.7,
        };
        let history = [record(1, None), record(2, Some(0.6))];
        let mut counters = BTreeMap::new();
        store_history(&history, &mut counters);
        assert_eq!(restored_history(&counters).unwrap(), history);
        counters.remove("history.1.seconds");
        assert_eq!(restored_history(&counters), None);
    }

    #[test]
    fn the_data_digest_sees_pixels_classes_views_and_order() {
        let data = [0.0, 0.25, 0.5, 0.75];
        let other = [1.0, 0.25, 0.5, 0.75];
        let of = |data: &[f32], mirrored: Option<&[f32]>, items: &[(usize, usize)]| {
            digest(&Samples { data, mirrored, shape: [1, 1, 2], items })
        };
        let plain = of(&data, None, &[(0, 1), (1, 0)]);
        assert_eq!(plain, of(&data, None, &[(0, 1), (1, 0)]));
        for changed in [
            of(&other, None, &[(0, 1), (1, 0)]),
            of(&data, None, &[(0, 1), (1, 1)]),
            of(&data, None, &[(1, 0), (0, 1)]),
            of(&data, Some(&other), &[(0, 1), (1, 0)]),
        ] {
            assert_ne!(plain, changed);
        }
        // What no item refers to does not count.
        assert_eq!(of(&data, None, &[(1, 0)]), of(&other, None, &[(1, 0)]));
    }
}
