//! DETL end to end: Basu & Mitra, "Deep Learning for Screening COVID-19 using Chest X-Ray Images", arXiv:2004.10507.
//!
//! Stage 1 learns normal against disease (Adam, cosine annealing, real-time augmentation, balanced held-out validation).
//! Stage 2 gives the network a new head for four classes, freezes everything before the last convolution block and
//! retrains the rest with SGD, once a fold of a 5-fold cross-validation. The weights with the best validation accuracy are
//! kept; validation is a part of the training folds, never the test fold. What the paper leaves open is an option here.

mod cohort;
mod explain;
mod options;
mod output;

pub use cohort::Cohort;
pub use options::{ClassWeights, Options, parse_size};

use crate::data::detl::STAGE2_CLASSES;
use crate::data::split_file::Item;
use crate::error::{Error, Result};
use crate::eval::confusion::Confusion;
use crate::eval::folds::{FoldMetrics, FoldTraining};
use crate::eval::metrics_file::{History, Metrics, Status};
use crate::gpu::Gpu;
use crate::models::Network;
use crate::nn::{Optimizer, ParamStore, Schedule, Trainable};
use crate::ops::AugmentOptions;
use crate::train::{
    FeatureOptions, Features, Fit, FitOptions, Normalize, Predictor, Samples, features, fit, interrupt,
};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// Pixels to the network's input.
pub const NORMALIZE: Normalize = Normalize::CENTERED;

/// Real-time augmentation of stage 1: "rotation, scaling, mirroring" (the paper gives no ranges), and a little shift and
/// brightness.
pub const AUGMENT: AugmentOptions = AugmentOptions::DETL;

/// What trains in stage 2: the last convolution block and the dense layers.
pub const STAGE2_TRAINABLE: [&str; 2] = ["block3.*", "fc*"];

/// Where a run stands; every file is written as soon as it can be.
struct Run<'a> {
    gpu: &'a Gpu,
    options: &'a Options,
    cohort: &'a Cohort,
    network: Network,
    metrics: Metrics,
    explained: explain::Explained,
    best: Option<(f64, u32)>,
    written: Vec<PathBuf>,
}

/// Runs the protocol and writes `--out`; returns the metrics.
///
/// # Errors
/// Bad options and data before anything is computed; later the error names the files that were written last. An
/// interrupted run writes what there is and ends with [`Error::Interrupted`].
pub fn run(options: &Options) -> Result<Metrics> {
    let start = Instant::now();
    options.check()?;
    let network = Network::named("detl12")?;
    network.check_side(options.side)?;
    output::prepare(&options.out)?;
    let gpu = Gpu::with(&options.gpu()?)?;
    gpu.introduce(options.talk.talk());
    let cohort = Cohort::load(options)?;
    options.talk.talk().say(cohort.account());
    let metrics = output::blank(&gpu, options, &cohort)?;
    let explained = explain::Explained::default();
    let mut run =
        Run { gpu: &gpu, options, cohort: &cohort, network, metrics, explained, best: None, written: Vec::new() };
    run.written.push(output::split_file(&cohort, options)?);
    let outcome = run.stages(start);
    let written: Vec<String> = run.written.iter().map(|p| p.display().to_string()).collect();
    let last = written.join(", ");
    match outcome {
        Ok(()) if run.metrics.status == Status::Interrupted => {
            Err(Error::Interrupted(format!("interrupted; written: {last}")))
        }
        Ok(()) => Ok(run.metrics),
        Err(e) => Err(e.and_written(&last)),
    }
}

impl Run<'_> {
    fn stages(&mut self, start: Instant) -> Result<()> {
        let Some(base) = self.stage1()? else { return self.write(start) };
        let features = match self.features(&base) {
            Err(Error::Interrupted(_)) => {
                self.metrics.status = Status::Interrupted;
                return self.write(start);
            }
            other => other?,
        };
        let folds = self.cohort.parts.folds.clone();
        for (i, parts) in folds.iter().enumerate() {
            let done = self.fold(i as u32 + 1, parts, &base, &features)?;
            self.write(start)?;
            if !done {
                return Ok(());
            }
        }
        self.metrics.status = Status::Complete;
        self.write(start)
    }

    /// Normal against disease; `None` when interrupted before the first epoch ended.
    fn stage1(&mut self) -> Result<Option<ParamStore>> {
        let (o, parts) = (self.options, &self.cohort.parts);
        let classes = self.cohort.selection.stage1_classes.len();
        let fresh = self.network.init(o.side, classes, o.seed);
        let options = FitOptions {
            epochs: o.stage1_epochs(),
            batch: o.batch(),
            micro_batch: o.micro_batch,
            optimizer: Optimizer::adam(),
            schedule: Schedule::Cosine { max: o.lr1, min: 0.0, epochs: o.stage1_epochs() },
            trainable: Trainable::All,
            augment: Some(AUGMENT),
            class_weights: self.options.class_weights(&parts.train1, classes),
            normalize: NORMALIZE,
            seed: o.seed,
            label: "stage 1".into(),
            talk: o.talk.talk(),
            show_plan: o.plan,
            ..Default::default()
        };
        let result = fit(
            self.gpu,
            &self.network,
            &fresh,
            classes,
            (&self.samples(&parts.train1), &self.samples(&parts.val1)),
            &options,
        )?;
        self.keep_history(1, None, &result);
        if result.best_epoch.is_some() {
            let path = self.options.out.join("stage1.safetensors");
            let names = self.cohort.selection.stage1_classes.map(String::from);
            output::weights(&path, &result.params, self.options, &self.metrics, &names, &NORMALIZE)?;
            self.written.push(path);
        }
        Ok((!result.interrupted()).then_some(result.params))
    }

    /// One fold of stage 2; false when interrupted.
    fn fold(
        &mut self,
        number: u32,
        [train, val, test]: &[Vec<Item>; 3],
        base: &ParamStore,
        features: &Features,
    ) -> Result<bool> {
        let start = Instant::now();
        let o = self.options;
        let mut fresh = self.network.init(o.side, STAGE2_CLASSES.len(), o.seed.wrapping_add(u64::from(number)));
        let new = fresh.adopt(base);
        debug_assert_eq!(new, ["fc3.weight", "fc3.bias"], "only the last layer is new");
        let options = FitOptions {
            epochs: o.stage2_epochs(),
            batch: o.batch(),
            micro_batch: o.micro_batch,
            optimizer: Optimizer::sgd(0.9),
            schedule: Schedule::Constant { lr: o.lr2() },
            trainable: Trainable::Matching(STAGE2_TRAINABLE.map(String::from).to_vec()),
            augment: None,
            class_weights: None,
            normalize: Normalize::NONE,
            seed: o.seed.wrapping_add(u64::from(number)),
            label: format!("stage 2, fold {number}"),
            talk: o.talk.talk(),
            show_plan: o.plan && number == 1,
            ..Default::default()
        };
        let head = self.network.head_only();
        let parts = (&features.samples(train), &features.samples(val));
        let result = fit(self.gpu, &head, &fresh, STAGE2_CLASSES.len(), parts, &options)?;
        self.keep_history(2, Some(number), &result);
        if result.interrupted() || interrupt::requested() {
            return Ok(false);
        }
        let weights = Rc::new(result.params.upload(self.gpu)?);
        let tested = features.samples(test);
        let sizes = (&tested, STAGE2_CLASSES.len(), o.batch());
        let logits = Predictor::new(self.gpu, &head, &weights, sizes, Normalize::NONE)?.logits(self.gpu, &tested)?;
        let truth: Vec<usize> = test.iter().map(|i| i.1).collect();
        let predicted: Vec<usize> = logits.iter().map(|l| crate::train::argmax(l)).collect();
        let classes: Vec<String> = STAGE2_CLASSES.map(String::from).to_vec();
        self.explained.add(self.gpu, &self.network, &weights, self.cohort, (o.side, o.batch()), test, &predicted)?;
        let training = FoldTraining {
            train_images: train.len() as u64,
            validation_images: val.len() as u64,
            test_patients: self.cohort.selection.patients(test) as u64,
            best_epoch: result.best_epoch,
            validation_accuracy: result.validation_accuracy,
            seconds: start.elapsed().as_secs_f64(),
            weights_sha256: result.params.digest(),
        };
        let fold = FoldMetrics::new(number, Confusion::from_labels(&classes, &truth, &predicted)?, training)?;
        let (accuracy, images) = (100.0 * fold.accuracy, fold.images);
        o.talk.talk().say(format_args!("stage 2, fold {number}: test accuracy {accuracy:.1} % of {images} images"));
        self.metrics.folds.push(fold);
        // The fold with the best validation accuracy becomes weights.safetensors; the test fold has no say.
        let score = result.validation_accuracy.unwrap_or(0.0);
        if self.best.is_none_or(|(b, _)| score > b) {
            self.best = Some((score, number));
            let path = o.out.join("weights.safetensors");
            output::weights(&path, &result.params, o, &self.metrics, &classes, &NORMALIZE)?;
            if !self.written.contains(&path) {
                self.written.push(path);
            }
        }
        Ok(true)
    }

    fn samples<'s>(&'s self, items: &'s [Item]) -> Samples<'s> {
        Samples {
            data: &self.cohort.planes.data,
            mirrored: None,
            shape: [1, self.options.side, self.options.side],
            items,
        }
    }

    /// The frozen base's features of all Data-B images (and of the mirrored ones, if stage 2 mirrors): computed once, they
    /// serve every fold and epoch of stage 2, which has no other augmentation. The weights come out bit-equal to training through the frozen base (`kernels-tests`).
    fn features(&self, base: &ParamStore) -> Result<Features> {
        let o = self.options;
        let options = FeatureOptions {
            batch: o.batch(),
            micro_batch: o.micro_batch,
            normalize: NORMALIZE,
            mirrored: o.stage2_mirror(),
            cache: o.cache.as_deref(),
            talk: o.talk.talk(),
            ..Default::default()
        };
        features(self.gpu, &self.network, base, &self.samples(&self.cohort.selection.stage2), &options)
    }

    fn keep_history(&mut self, stage: u32, fold: Option<u32>, f: &Fit) {
        self.metrics.run.plan_memory_bytes = self.metrics.run.plan_memory_bytes.max(f.plan_bytes);
        if f.interrupted() {
            self.metrics.status = Status::Interrupted;
        }
        let history = History { stage, fold, best_epoch: f.best_epoch, epochs: f.history.clone() };
        self.metrics.history.push(history);
    }

    /// Everything that can be shown so far.
    fn write(&mut self, start: Instant) -> Result<()> {
        self.metrics.run.seconds = start.elapsed().as_secs_f64();
        if interrupt::requested() && self.metrics.folds.len() < self.cohort.parts.folds.len() {
            self.metrics.status = Status::Interrupted;
        }
        for path in output::results(&self.options.out, &mut self.metrics, &self.explained)? {
            if !self.written.contains(&path) {
                self.written.push(path);
            }
        }
        Ok(())
    }
}
