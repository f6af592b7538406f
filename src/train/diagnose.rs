//! Where a loss that is not finite comes from: the first layer whose output, or whose gradient, is a NaN or an infinity.
//!
//! When such a loss is read back, the steps behind it have spoiled every weight already. The training is therefore repeated
//! from the last state that is known to be good (a training gives the same bits again) step by step up to where the first
//! parameter is not finite or the loss will not be; that step is then computed value by value.

use super::batches::{Batch, Normalize, Samples, order};
use super::interrupt;
use super::micro::Split;
use super::resume::Saver;
use super::step::{Moment, Recipe};
use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use crate::gpu::{Gpu, Storage};
use crate::graph::{Graph, NodeId, Shape, Tensor};
use crate::models::Network;
use crate::nn::{Layers, OptimizerState, ParamStore};
use crate::plan::{self, Feed, LossScale, Plan, PlanSpec, StepResult, Weights};
use crate::weights::Checkpoint;
use rayon::prelude::*;
use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A state of the training is kept in memory at the start of each epoch if it is no larger; of a larger one there are the
/// checkpoints.
const KEPT: u64 = 64 << 20;

/// Repeating steps takes no longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// So many numbers are looked at at once.
const GROUP: usize = 1 << 24;

/// A state between two updates at which everything was finite.
pub(super) struct SafePoint<'a> {
    epoch: usize,
    step: usize,
    params: Cow<'a, ParamStore>,
    /// `None`: at their beginning.
    rest: Option<(Vec<plan::Moment>, OptimizerState, Option<LossScale>)>,
}

impl<'a> SafePoint<'a> {
    /// The beginning of a fit.
    pub(super) fn start(params: &'a ParamStore) -> SafePoint<'a> {
        SafePoint { epoch: 0, step: 0, params: Cow::Borrowed(params), rest: None }
    }

    /// The state of the device at this place, unless it is large or not finite; every step must be finished.
    pub(super) fn advance(
        &mut self,
        gpu: &Gpu,
        (plan, optimizer): (&Plan, OptimizerState),
        (epoch, step): (usize, usize),
        moments: u64,
    ) -> Result<()> {
        let (trainable, frozen) = plan.weights().bytes();
        if trainable * (1 + moments) + frozen > KEPT {
            return Ok(());
        }
        let mut now = self.params.clone().into_owned();
        now.read(gpu, plan.weights())?;
        if now.first_non_finite().is_none() {
            self.rest = Some((plan.moments(gpu)?, optimizer, plan.loss_scale(gpu)?));
            (self.epoch, self.step, self.params) = (epoch, step, Cow::Owned(now));
        }
        Ok(())
    }

    /// That of `checkpoint`, if it is a later one.
    fn or(self, checkpoint: Option<Checkpoint>) -> Result<SafePoint<'a>> {
        let Some(c) = checkpoint else { return Ok(self) };
        let (epoch, step) = (c.epoch as usize, c.step as usize);
        if (epoch, step) <= (self.epoch, self.step) {
            return Ok(self);
        }
        let mut params = self.params.into_owned();
        c.restore(&mut params)?;
        let scale = super::resume::restored_scale(&c.counters);
        Ok(SafePoint { epoch, step, params: Cow::Owned(params), rest: Some((c.moments, c.optimizer, scale)) })
    }
}

/// A step whose loss is not finite.
pub(super) struct Spoiled {
    /// From 0.
    pub(super) epoch: usize,
    pub(super) step: usize,
    pub(super) split: Split,
    /// The epochs before it.
    pub(super) history: Vec<EpochRecord>,
}

/// Where pixels (or features) of `samples` are not finite: the first such image, by its number.
///
/// # Errors
/// [`Error::Numerics`] naming it.
pub(super) fn check_inputs(label: &str, samples: &Samples) -> Result<()> {
    let (size, whole) = (samples.size(), samples.data.len().max(1));
    let fine = |image: usize| {
        let views = std::iter::once(samples.data).chain(samples.mirrored.iter().flat_map(|m| m.chunks(whole)));
        views.into_iter().all(|v| v[image * size..][..size].iter().all(|p| p.is_finite()))
    };
    match samples.items.par_iter().find_first(|i| !fine(i.0)) {
        None => Ok(()),
        Some((image, _)) => {
            Err(Error::Numerics(format!("{label}: image {image} has a pixel that is not a finite number")))
        }
    }
}

/// The error for a training step whose loss is not finite.
pub(super) fn training(gpu: &Gpu, recipe: Recipe, at: &Spoiled, safe: SafePoint, saver: Option<&Saver>) -> Error {
    let found = safe.or(saver.and_then(Saver::last)).and_then(|safe| repeat(gpu, recipe, at, safe));
    let what = found.unwrap_or_else(|e| format!("where it began could not be found ({e})"));
    Error::Numerics(format!(
        "{}, epoch {}, step {}: the loss is not finite; {what}; a smaller learning rate may help",
        recipe.options.label,
        at.epoch + 1,
        at.step + 1
    ))
}

/// The error for scores of validation image `item` that are not finite with the weights on the device.
pub(super) fn validation(
    gpu: &Gpu,
    (network, weights, outputs): (&Network, &Rc<Weights>, usize),
    (samples, item, normalize): (&Samples, usize, Normalize),
    at: &str,
) -> Error {
    let search = || {
        let graph = Graph::new();
        let x = graph.input("images", samples.batch_shape(1));
        network.record(&graph, x, outputs, &Layers::default());
        let mut batch = Batch::default();
        samples.fill(&mut batch, (&[item], &[]), 1, normalize, None);
        first(gpu, &graph, weights, |mut plan| {
            plan.step_by_id(gpu, &[(x.id, Feed::F32(&batch.pixels))])?;
            plan.finish(gpu)
        })
    };
    let image = samples.items[item].0;
    let what = match search() {
        Ok(Some(layer)) => format!("the first value that is not is {layer}"),
        Ok(None) => "on its own they are".into(),
        Err(e) => format!("where it began could not be found ({e})"),
    };
    Error::Numerics(format!("{at}: the scores of validation image {image} are not finite; {what}"))
}

/// Repeats the training from `safe` and says what is the first to be not finite.
fn repeat(gpu: &Gpu, recipe: Recipe, at: &Spoiled, safe: SafePoint) -> Result<String> {
    let Recipe { train, options: o, .. } = recipe;
    let steps = train.items.len().div_ceil(o.batch);
    let (first, last) = (safe.epoch * steps + safe.step, at.epoch * steps + at.step);
    if !o.talk.is_quiet() {
        let n = last.saturating_sub(first);
        eprintln!("{}: the loss is not finite; {n} steps are repeated to find the layer", o.label);
    }
    let mut now = safe.params.into_owned();
    now.params.iter_mut().for_each(|p| p.trainable = o.trainable.includes(&p.name));
    let mut training = recipe.compile(gpu, &now, Some(at.split.size))?;
    if let Some((moments, optimizer, scale)) = &safe.rest {
        training.plan.restore_moments(gpu, moments)?;
        training.optimizer.restore(*optimizer);
        scale.map_or(Ok(()), |s| training.plan.restore_loss_scale(gpu, &s))?;
    }
    let weights = training.plan.weights().clone();
    let start = Instant::now();
    // An update has the gradients of the steps since the last one.
    let accumulation = o.optimizer.replays();
    let (mut before, mut since) = (now.clone(), first);
    for k in first..last {
        if interrupt::requested() || start.elapsed() > PATIENCE {
            let left = last - k;
            return Ok(format!("which layer began it is not known: {left} steps were left to be repeated"));
        }
        if k % accumulation == 0 {
            (before, since) = (now.clone(), k);
        }
        let rate = o.schedule.step_rate(k / steps, (k % steps, steps), &at.history);
        each_part(recipe, at.split, k, |batch, moment| training.run(gpu, &recipe, batch, moment, rate))?;
        training.plan.finish(gpu)?;
        now.read(gpu, &weights)?;
        if let Some(parameter) = now.first_non_finite() {
            drop(training);
            let place = format!("in epoch {}, step {}", k / steps + 1, k % steps + 1);
            for k in since..=k {
                if let Some(layer) = in_step(gpu, recipe, at.split, k, &before)? {
                    return Ok(format!("the first value that is not is {layer}, {place}"));
                }
            }
            return Ok(format!(
                "the first value that is not is the parameter {parameter} after the update {place}, whose gradients \
                 were finite (learning rate {rate})"
            ));
        }
    }
    drop(training);
    match in_step(gpu, recipe, at.split, last, &now)? {
        Some(layer) => Ok(format!("the first value that is not is {layer}")),
        None => Ok("every value of the step is when it is computed again by itself".into()),
    }
}

/// Calls `run` with each micro batch of step `k`, counted over all epochs.
fn each_part(recipe: Recipe, split: Split, k: usize, mut run: impl FnMut(&Batch, Moment) -> Result<()>) -> Result<()> {
    let Recipe { train, options: o, .. } = recipe;
    let steps = train.items.len().div_ceil(o.batch);
    let epoch = k / steps;
    let all = order(train.items.len(), o.seed, epoch);
    let mut batch = Batch::default();
    for (i, (positions, share)) in split.parts(all.chunks(o.batch).nth(k % steps).unwrap_or(&[])).enumerate() {
        train.fill(&mut batch, (positions, &all), split.size, o.normalize, Some((o.seed, epoch)));
        run(&batch, Moment { epoch, batch: k, part: i, share })?;
    }
    Ok(())
}

/// The first layer of step `k` with the weights `params` that is not finite.
fn in_step(gpu: &Gpu, recipe: Recipe, split: Split, k: usize, params: &ParamStore) -> Result<Option<String>> {
    let graph = Graph::new();
    let probe = recipe.probe(&graph, split);
    let weights = Rc::new(params.of(&graph).upload(gpu)?);
    let mut found = None;
    each_part(recipe, split, k, |batch, moment| {
        if found.is_none() {
            found = first(gpu, &graph, &weights, |plan| {
                let mut step = probe.step(plan);
                step.run(gpu, &recipe, batch, moment, 0.0)?;
                step.plan.finish(gpu)
            })?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// The first node of `graph`, in the order in which it was recorded, with a value that is not finite; `run` runs a plan once.
fn first(
    gpu: &Gpu,
    graph: &Graph,
    weights: &Rc<Weights>,
    mut run: impl FnMut(Plan) -> Result<Vec<StepResult>>,
) -> Result<Option<String>> {
    let values: Vec<(NodeId, Tensor)> = (0..graph.len())
        .map(NodeId)
        .flat_map(|n| graph.node(n).outputs.into_iter().map(move |id| (n, Tensor { graph, id })))
        .filter(|(_, t)| !graph.describe(t.id).integer)
        .collect();
    let mut rest = &values[..];
    let mut most = GROUP;
    while !rest.is_empty() {
        let mut words = 0;
        let fits = |v: &&(NodeId, Tensor)| {
            words += v.1.shape().words();
            words <= most
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, later) = rest.split_at(count);
        let spec = PlanSpec { outputs: group.iter().map(|v| v.1).collect(), ..Default::default() };
        let results = match Plan::compile(gpu, graph, weights, &spec) {
            // What is read back needs memory of its own.
            Err(Error::Memory(_)) if count > 1 => {
                most = words / 2;
                continue;
            }
            plan => run(plan?)?,
        };
        for ((node, tensor), values) in group.iter().zip(results.iter().flat_map(|r| &r.outputs)) {
            if values.iter().any(|v| !v.is_finite()) {
                return Ok(Some(describe(graph, *node)));
            }
            let limit = half_limit(gpu, graph, *node, *tensor);
            if limit.is_some_and(|limit| values.iter().any(|v| v.abs() >= limit)) {
                return Ok(Some(format!("{}, which f16 cannot hold", describe(graph, *node))));
            }
        }
        rest = later;
    }
    Ok(None)
}

/// What is read back is f32, also where the training keeps the value as f16: the number from which on that is infinite. Of a
/// gradient it is not looked at, as one that overflows is left out with its update.
fn half_limit(gpu: &Gpu, graph: &Graph, node: NodeId, value: Tensor) -> Option<f32> {
    let image = matches!(value.shape(), Shape::Image { h, w, .. } if h * w > 1);
    let first = graph.node(node).outputs.first() == Some(&value.id);
    let half = gpu.storage() == Storage::F16 && image && first && graph.gradient_of(node).is_none();
    half.then_some(65_520.0)
}

/// "the output of block1.conv2 (conv2d)"; what has no path of its own is named after the layer before it.
fn describe(graph: &Graph, node: NodeId) -> String {
    let (what, of) = match graph.gradient_of(node) {
        Some(of) => ("gradient", of),
        None => ("output", node),
    };
    let op = graph.node(of).op.name();
    let path = graph.node(of).path;
    if !path.is_empty() {
        return format!("the {what} of {path} ({op})");
    }
    let before = (0..of.0).rev().map(|n| graph.node(NodeId(n)).path).find(|p| !p.is_empty());
    format!("the {what} of {op}{}", before.map_or(String::new(), |p| format!(" after {p}")))
}
