//! A training step, compiled: for a whole batch, or for one micro batch of it.

use super::batches::{Batch, Samples};
use super::micro::{MicroBatch, Split};
use super::options::{FitOptions, Loss};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Tensor, ValueId};
use crate::models::Network;
use crate::nn::{DROPOUT_INPUT, Layers, Optimizer, ParamStore};
use crate::ops::{BinaryCrossEntropy, ScaledAugment, WARP};
use crate::plan::{
    Feed, HYPER, MemoryReport, Plan, PlanSpec, Target, bytes, forecast, largest_batch, with_largest_batch,
};
use std::rc::Rc;

/// What a step is recorded from.
#[derive(Clone, Copy)]
pub(super) struct Recipe<'a> {
    pub(super) network: &'a Network,
    pub(super) train: &'a Samples<'a>,
    pub(super) classes: usize,
    pub(super) options: &'a FitOptions,
}

/// A compiled step with its inputs.
pub(super) struct Step {
    pub(super) plan: Plan,
    /// How a batch is divided.
    pub(super) split: Split,
    /// With its accumulation over micro batches.
    pub(super) optimizer: Optimizer,
    /// Whether batch norm takes its statistics from the images of a step.
    pub(super) batch_norm: bool,
    inputs: Inputs<ValueId>,
}

/// The inputs of a step, of which a step has those that it needs.
#[derive(Clone, Copy)]
struct Inputs<T> {
    images: T,
    labels: T,
    affine: Option<T>,
    class_weights: Option<T>,
    /// What a micro batch's gradient counts.
    share: Option<T>,
    hyper: Option<T>,
    dropout: Option<T>,
}

impl<'g> Inputs<Tensor<'g>> {
    fn ids(self, graph: &'g Graph, spec: &PlanSpec<'_, 'g>) -> Inputs<ValueId> {
        let id = |t: Option<Tensor>| t.map(|t| t.id);
        Inputs {
            images: self.images.id,
            labels: self.labels.id,
            affine: id(self.affine),
            class_weights: id(self.class_weights),
            share: id(self.share),
            hyper: id(spec.hyper),
            dropout: graph.find_input(DROPOUT_INPUT).map(|t| t.id),
        }
    }
}

/// A step as it is recorded.
struct Recorded<'g> {
    inputs: Inputs<Tensor<'g>>,
    loss: Tensor<'g>,
    logits: Tensor<'g>,
}

/// Where in the training a step is, from 0.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) epoch: usize,
    /// Counts the batches of all epochs.
    pub(super) batch: usize,
    /// Which micro batch of it, and what it counts.
    pub(super) part: usize,
    pub(super) share: f32,
}

impl FitOptions {
    /// The augmentation is given for pixels in [0, 1]; the network's input is scaled.
    fn scaled_augment(&self) -> Option<ScaledAugment> {
        self.augment.map(|a| a.scaled(self.normalize.mean, self.normalize.scale))
    }
}

impl Recipe<'_> {
    /// Compiles the step, for the micro batches that the options ask for or, with [`MicroBatch::Auto`], for those that fit;
    /// `kept` is the micro batch of the checkpoint that the fit goes on from. The parameters of `params` go to the device.
    ///
    /// # Errors
    /// [`Error::Memory`] with the largest batch that fits, [`Error::Usage`] for micro batches of 0 images; device errors.
    pub(super) fn compile(self, gpu: &Gpu, params: &ParamStore, kept: Option<usize>) -> Result<Step> {
        let batch = self.options.batch;
        let (most, auto) = match self.options.micro_batch {
            MicroBatch::Off => (batch, false),
            MicroBatch::Of(0) => {
                return Err(Error::Usage(format!("{}: micro batches of 0 images", self.options.label)));
            }
            MicroBatch::Of(n) => (n, false),
            MicroBatch::Auto => match kept {
                Some(n) => (n, false),
                None => (self.largest(&Target::of(gpu))?, true),
            },
        };
        let mut split = Split::of(batch, most);
        loop {
            match self.compile_split(gpu, params, split) {
                // By the figures it fits, and yet the device has no room: nobody says how much it has.
                Err(Error::Memory(_)) if auto && split.size > 1 && self.fits(&Target::of(gpu), split) => {
                    split = Split::of(batch, split.size / 2);
                }
                other => return other,
            }
        }
    }

    /// The most images that fit at once, or the batch where not even one does: to be refused like any other.
    fn largest(self, target: &Target) -> Result<usize> {
        let batch = self.options.batch;
        if self.fits(target, Split::of(batch, batch)) {
            return Ok(batch);
        }
        let found =
            largest_batch(target, batch, |n| self.forecast(target, Split { size: n, count: batch.div_ceil(n) }))?;
        Ok(found.map_or(batch, |(n, _)| n))
    }

    fn fits(self, target: &Target, split: Split) -> bool {
        self.forecast(target, split).is_ok_and(|report| target.check(&report).is_ok())
    }

    fn forecast(self, target: &Target, split: Split) -> Result<MemoryReport> {
        let (graph, optimizer) = (Graph::new(), self.optimizer(split));
        forecast(target, &graph, &self.spec(&self.record(&graph, split), &optimizer))
    }

    fn optimizer(self, split: Split) -> Optimizer {
        let given = &self.options.optimizer;
        given.clone().with_accumulation(given.replays() * split.count)
    }

    fn compile_split(self, gpu: &Gpu, params: &ParamStore, split: Split) -> Result<Step> {
        let (graph, optimizer) = (Graph::new(), self.optimizer(split));
        let recorded = self.record(&graph, split);
        let spec = self.spec(&recorded, &optimizer);
        // Only what this part of the network uses goes to the device.
        let weights = Rc::new(params.of(&graph).upload(gpu)?);
        let plan = Plan::compile(gpu, &graph, &weights, &spec).map_err(|e| self.refused(e, &Target::of(gpu), split))?;
        let inputs = recorded.inputs.ids(&graph, &spec);
        let batch_norm = !spec.assign.is_empty();
        Ok(Step { plan, split, batch_norm, inputs, optimizer: self.optimizer(split) })
    }

    /// `error` with the largest batch that fits, and whether parts of it would.
    fn refused(self, error: Error, target: &Target, split: Split) -> Error {
        let e = with_largest_batch(error, target, split.size, |n| self.forecast(target, Split { size: n, ..split }));
        let Error::Memory(m) = e else { return e };
        let parts = |n: usize| Split { size: n, count: split.size.div_ceil(n) };
        match self.options.micro_batch {
            MicroBatch::Off if split.size > 1 && self.fits(target, parts(1)) => {
                Error::Memory(format!("{m}; in micro batches it fits (FitOptions::micro_batch, --micro-batch auto)"))
            }
            MicroBatch::Auto if split.count == 1 && split.size > 1 => match self.forecast(target, parts(1)) {
                // Beside an image there is the sum of the gradients.
                Ok(r) => Error::Memory(format!("{m}; micro batches of one image need {}", bytes(r.total()))),
                Err(_) => Error::Memory(m),
            },
            _ => Error::Memory(m),
        }
    }

    /// Records the step with its gradients into `graph`, for plans of any of its values. The loss is not scaled: of a scaled
    /// one, gradients may overflow.
    pub(super) fn probe(self, graph: &Graph, split: Split) -> Probe {
        let mut optimizer = self.optimizer(split);
        optimizer.scaling = None;
        let recorded = self.record(graph, split);
        let inputs = recorded.inputs.ids(graph, &self.spec(&recorded, &optimizer));
        Probe { split, optimizer, inputs }
    }

    fn record(self, graph: &Graph, split: Split) -> Recorded<'_> {
        let (n, options) = (split.size, self.options);
        let images = graph.input("images", self.train.batch_shape(n));
        let labels = graph.input_integers("labels", n);
        let augment = options.scaled_augment().map(|a| (graph.input("augmentation", Shape::flat(n * WARP)), a.op()));
        let x = augment.map_or(images, |(a, how)| images.augment(a, how));
        let affine = augment.map(|a| a.0);
        let layers = Layers { trainable: options.trainable.clone(), training: true, ..Layers::default() };
        let logits = self.network.record(graph, x, self.outputs(), &layers).logits;
        let (loss, class_weights) = self.record_loss(graph, logits, labels);
        let share = (split.count > 1).then(|| graph.input("share", loss.shape()));
        let inputs = Inputs { images, labels, affine, class_weights, share, hyper: None, dropout: None };
        Recorded { inputs, loss, logits }
    }

    /// Numbers that the network gives for an image.
    pub(super) fn outputs(self) -> usize {
        self.options.loss.outputs(self.classes)
    }

    /// The mean loss, and the input of the class weights where it has one.
    fn record_loss<'g>(
        self,
        graph: &'g Graph,
        logits: Tensor<'g>,
        labels: Tensor<'g>,
    ) -> (Tensor<'g>, Option<Tensor<'g>>) {
        let given = self.options.class_weights.as_ref();
        match self.options.loss {
            Loss::CrossEntropy { smoothing } => {
                let weights = given.map(|_| graph.input("class weights", Shape::Channels { c: self.classes }));
                (logits.cross_entropy(labels, smoothing, weights).0, weights)
            }
            Loss::Binary { positive_weight } => {
                let mut op = BinaryCrossEntropy::default();
                // There are two, checked with the options.
                given.into_iter().for_each(|w| op.weights.copy_from_slice(w));
                op.weights[1] *= positive_weight.unwrap_or(1.0);
                (logits.bce_with_logits(labels, op).0, None)
            }
        }
    }

    fn spec<'o, 'g>(self, step: &Recorded<'g>, optimizer: &'o Optimizer) -> PlanSpec<'o, 'g> {
        let mut spec = match step.inputs.share {
            None => optimizer.step_of(step.loss),
            Some(share) => optimizer.step_with(step.loss, share),
        };
        spec.outputs.push(step.logits);
        spec.recompute = self.options.recompute;
        spec
    }
}

/// A step that is recorded and not compiled.
pub(super) struct Probe {
    split: Split,
    optimizer: Optimizer,
    inputs: Inputs<ValueId>,
}

impl Probe {
    /// The step as `plan` runs it: one for values of the graph that it was recorded into.
    pub(super) fn step(&self, plan: Plan) -> Step {
        let (split, optimizer) = (self.split, self.optimizer.clone());
        Step { plan, split, optimizer, batch_norm: false, inputs: self.inputs }
    }
}

impl Step {
    /// Queues a replay on `batch`, at learning rate `rate`.
    pub(super) fn run(&mut self, gpu: &Gpu, recipe: &Recipe, batch: &Batch, at: Moment, rate: f64) -> Result<()> {
        let Recipe { train, options: o, .. } = *recipe;
        let [_, height, width] = train.shape;
        let numbers: [f32; HYPER] = self.optimizer.advance(rate);
        let drawn = o.scaled_augment().map(|a| {
            let ids: Vec<u32> = batch.items.iter().map(|i| train.items[*i].0 as u32).collect();
            a.draw(o.seed, at.epoch as u32, &ids, [height, width])
        });
        // Each micro batch has a stream of its own: its images are counted from 0 again.
        let random = [o.seed as u32, (o.seed >> 32) as u32, at.batch as u32, at.part as u32];
        let share = [at.share];
        let i = &self.inputs;
        let floats = [
            i.hyper.map(|t| (t, &numbers[..])),
            i.affine.zip(drawn.as_deref()),
            i.class_weights.zip(o.class_weights.as_deref()),
            i.share.map(|t| (t, &share[..])),
        ];
        let mut feeds = vec![(i.images, Feed::F32(&batch.pixels)), (i.labels, Feed::U32(&batch.labels))];
        feeds.extend(floats.into_iter().flatten().map(|(t, v)| (t, Feed::F32(v))));
        feeds.extend(i.dropout.map(|t| (t, Feed::U32(&random[..]))));
        // A plan for some values of a step does not read all of its inputs.
        feeds.retain(|f| self.plan.reads(f.0));
        self.plan.step_by_id(gpu, &feeds).map(|_| ())
    }
}
