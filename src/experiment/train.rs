//! One training of a cell: network and weights, the frozen base's features where there is one, the fit, and the scores of the
//! test images.

use super::cell::{Cell, Freeze, Weighting};
use super::task::Task;
use crate::data::division::Parts;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::Network;
use crate::nn::{ParamStore, Schedule};
use crate::talk::Talk;
use crate::train::{
    CheckpointOptions, FeatureOptions, Fit, FitOptions, Normalize, Observer, Predictor, Samples, augment_once,
    balanced, features, fit,
};
use crate::weights::{self, Card, LoadOptions, Scaling};
use std::path::Path;
use std::rc::Rc;

/// What trainings share: the device, where features are kept, what they begin with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Root of the caches; none keeps nothing on disk.
    pub cache: Option<&'a Path>,
    /// Weights that an earlier stage trained; those of equal name and shape are taken.
    pub start: Option<&'a ParamStore>,
    /// How much is said.
    pub talk: Talk,
}

/// The network of a cell with its parameters and how its images are given.
pub struct Prepared {
    /// The network, with its outputs' head.
    pub network: Network,
    /// Its parameters.
    pub params: ParamStore,
    /// How pixels become its input.
    pub scaling: Scaling,
    /// Its outputs.
    pub outputs: usize,
}

/// Loads or draws the weights of `cell`.
///
/// # Errors
/// As [`Cell::check`]; [`Error::Format`] for a weights file that does not fit.
pub fn prepare(cell: &Cell, side: usize, classes: usize, start: Option<&ParamStore>) -> Result<Prepared> {
    cell.check(side, classes)?;
    let (network, outputs) = (cell.network()?, cell.outputs(classes)?);
    let draw = |network: &Network| {
        let params = network.init(side, outputs, cell.seed);
        if cell.glorot { params.glorot() } else { params }
    };
    let Some(path) = &cell.weights else {
        let mut params = draw(&network);
        if let Some(start) = start {
            params.adopt(start);
        }
        return Ok(Prepared { network, params, scaling: Scaling::Same(Normalize::CENTERED), outputs });
    };
    // A file of this program says how its images were given; published weights go by their registry entry.
    let card = Card::open(path, network.name)?;
    let heads = [&Network::named(network.name)?.head, &card.network.head, &network.head];
    let replaced_heads = heads.iter().flat_map(|h| h.layers()).map(String::from).collect();
    let network = card.network.clone().with_head(network.head);
    let mut params = draw(&network);
    weights::load_with(path, &mut params, &LoadOptions { replaced_heads, ..LoadOptions::of(network.name) })?;
    if let Some(start) = start {
        params.adopt(start);
    }
    let network = match card.scaling.split().1 {
        Some(preprocess) => network.with_preprocess(preprocess),
        None => network,
    };
    Ok(Prepared { network, params, scaling: card.scaling, outputs })
}

/// A trained and tested cell.
pub struct Trained {
    /// The network.
    pub network: Network,
    /// How pixels become its input.
    pub scaling: Scaling,
    /// Its outputs.
    pub outputs: usize,
    /// The fit, with the parameters of the whole network.
    pub fit: Fit,
    /// Scores of the test images, in the order of [`Parts::test`]; empty when interrupted.
    pub logits: Vec<Vec<f32>>,
    /// Parameters that trained, and all of them.
    pub trained: (usize, usize),
}

/// What one training is called, where its checkpoint lies, and who watches.
pub struct Labels<'a> {
    /// For progress and history.
    pub label: String,
    /// The checkpoint's file; none writes none.
    pub checkpoint: Option<&'a Path>,
    /// Who is told of epochs.
    pub observer: Option<Rc<dyn Observer>>,
}

/// Trains `cell` on the training part of `parts` with the pixels `planes`, validates on its validation part, and scores its test
/// part with the weights that are kept.
///
/// # Errors
/// As [`prepare`], [`features`] and [`fit`].
pub fn train(
    context: &Context,
    cell: &Cell,
    task: &Task,
    planes: &[f32],
    parts: &Parts,
    labels: Labels,
) -> Result<Trained> {
    let Some((epochs, lr)) = cell.head_first else { return once(context, cell, task, planes, parts, labels) };
    let head = Cell {
        freeze: Freeze::Base,
        epochs,
        schedule: Schedule::Constant { lr },
        augment: cell.augment.filter(|_| !cell.augment_once.is_empty()),
        views: 0,
        head_first: None,
        ..cell.clone()
    };
    let path = labels.checkpoint.map(|p| p.with_file_name("head.checkpoint.safetensors"));
    let first = Labels {
        label: format!("{}, head", labels.label),
        checkpoint: path.as_deref(),
        observer: labels.observer.clone(),
    };
    let trained = once(context, &head, task, planes, parts, first)?;
    if trained.fit.interrupted() {
        return Ok(trained);
    }
    // The base stays the file's or the earlier stage's: adopting all of it changes nothing there.
    let started = Context { start: Some(&trained.fit.params), ..*context };
    once(&started, cell, task, planes, parts, labels)
}

/// One fit.
fn once(context: &Context, cell: &Cell, task: &Task, planes: &[f32], parts: &Parts, labels: Labels) -> Result<Trained> {
    let (side, classes) = (task.side, task.classes.len());
    let Prepared { network, params, scaling, outputs } = prepare(cell, side, classes, context.start)?;
    let base = network.base_parameters(side);
    let trainable = cell.trainable(&params, &base)?;
    let count = |p: &crate::nn::Param| p.shape.elements();
    let trained = params.params.iter().filter(|p| trainable.includes(&p.name)).map(count).sum();
    let total = params.count().0;
    let normalize = scaling.split().0;
    let [items, validation, test] = [&parts.train, &parts.val, &parts.test].map(|p| task.items(p));
    // Copies are of training images and train: no other part sees them.
    let copied = with_copies(context.gpu, cell, task, planes, &items)?;
    let (seen, items) = copied.as_ref().map_or((planes, &items), |c| (&c.pixels, &c.items));
    let class_weights = match &cell.class_weights {
        Weighting::Equal => None,
        Weighting::Balanced => Some(balanced(items, classes)),
        Weighting::Given(w) => Some(w.clone()),
    };
    let options = FitOptions {
        epochs: cell.epochs,
        batch: cell.batch,
        optimizer: cell.optimizer.clone(),
        schedule: cell.schedule.clone(),
        micro_batch: cell.micro_batch,
        recompute: cell.recompute,
        trainable: trainable.clone(),
        augment: cell.live_augment(),
        class_weights,
        loss: cell.loss,
        keep: cell.keep,
        early_stopping: cell.early_stopping,
        normalize,
        seed: cell.seed,
        label: labels.label,
        talk: context.talk,
        checkpoint: labels.checkpoint.map(CheckpointOptions::resuming),
        observer: labels.observer,
        ..FitOptions::default()
    };
    let gpu = context.gpu;
    let frozen = matches!(cell.freeze, Freeze::Base) || base.iter().all(|name| !trainable.includes(name));
    let images = |items| task.samples(planes, items);
    let seen = task.samples(seen, items);
    let (done, logits) = if frozen && (cell.live_augment().is_none() || cell.views > 0) {
        on_features(
            context,
            cell,
            (&network, &params, &base),
            [&seen, &images(&validation), &images(&test)],
            classes,
            outputs,
            &options,
        )?
    } else {
        let done = fit(gpu, &network, &params, classes, (&seen, &images(&validation)), &options)?;
        let logits = match done.interrupted() {
            true => Vec::new(),
            false => score(gpu, &network, &done.params, (&images(&test), outputs, cell.batch), normalize)?,
        };
        (done, logits)
    };
    Ok(Trained { network, scaling, outputs, fit: done, logits, trained: (trained, total) })
}

/// Training images with copies.
pub(super) struct Copied {
    /// Pixels of the images, then of the copies.
    pub(super) pixels: Vec<f32>,
    /// Where they lie, with their classes.
    pub(super) items: Vec<(usize, usize)>,
}

/// `items` and one augmented copy of each of the classes that the cell names; nothing when it names none.
pub(super) fn with_copies(
    gpu: &Gpu,
    cell: &Cell,
    task: &Task,
    planes: &[f32],
    items: &[(usize, usize)],
) -> Result<Option<Copied>> {
    let classes = cell.copied(&task.classes)?;
    if classes.is_empty() {
        return Ok(None);
    }
    let options = cell.augment.unwrap_or_default();
    let copies = augment_once(gpu, &task.samples(planes, items), &classes, &options, cell.seed)?;
    let area = task.side * task.side;
    let own = items.iter().flat_map(|(i, _)| &planes[i * area..][..area]);
    let labels = items.iter().map(|i| i.1);
    let labels = labels.clone().chain(labels.filter(|class| classes.contains(class)));
    Ok(Some(Copied { pixels: own.copied().chain(copies).collect(), items: labels.enumerate().collect() }))
}

/// Trains and tests what comes after the frozen base on its features.
#[allow(clippy::too_many_arguments)] // a training's parts, passed once
fn on_features(
    context: &Context,
    cell: &Cell,
    (network, params, base): (&Network, &ParamStore, &[String]),
    [train, validation, test]: [&Samples; 3],
    classes: usize,
    outputs: usize,
    options: &FitOptions,
) -> Result<(Fit, Vec<Vec<f32>>)> {
    let gpu = context.gpu;
    let plain = FeatureOptions {
        batch: cell.batch,
        micro_batch: cell.micro_batch,
        normalize: options.normalize,
        seed: cell.seed,
        cache: context.cache,
        talk: context.talk,
        ..FeatureOptions::default()
    };
    // Validation and test images are seen as they are.
    let views = FeatureOptions { views: cell.views, augment: cell.live_augment().unwrap_or_default(), ..plain };
    let seen = features(gpu, network, params, train, &views)?;
    let checked = features(gpu, network, params, validation, &plain)?;
    let mut rest = params.clone();
    rest.params.retain(|p| !base.contains(&p.name));
    let head = network.head_only();
    let options = FitOptions { normalize: Normalize::NONE, augment: None, ..options.clone() };
    let parts = (&seen.samples(train.items), &checked.samples(validation.items));
    let mut done = fit(gpu, &head, &rest, classes, parts, &options)?;
    let logits = match done.interrupted() {
        true => Vec::new(),
        false => {
            let tested = features(gpu, network, params, test, &plain)?;
            score(gpu, &head, &done.params, (&tested.samples(test.items), outputs, cell.batch), Normalize::NONE)?
        }
    };
    let mut all = params.clone();
    all.adopt(&done.params);
    done.params = all;
    Ok((done, logits))
}

/// Scores of all items of `samples`.
fn score(
    gpu: &Gpu,
    network: &Network,
    params: &ParamStore,
    (samples, outputs, batch): (&Samples, usize, usize),
    normalize: Normalize,
) -> Result<Vec<Vec<f32>>> {
    if samples.items.is_empty() {
        return Err(Error::Usage(format!("{}: no image to test on", network.name)));
    }
    let weights = Rc::new(params.upload(gpu)?);
    let batch = batch.min(samples.items.len());
    Predictor::new(gpu, network, &weights, (samples, outputs, batch), normalize)?.logits(gpu, samples)
}
