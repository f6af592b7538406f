//! Inference over many images: logits, probabilities, accuracy.

use super::batches::{Batch, Normalize, Samples};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Tensor, ValueId};
use crate::models::Network;
use crate::nn::Layers;
use crate::plan::{Feed, Plan, PlanSpec, StepResult, Target, Weights, forecast, with_largest_batch};
use std::collections::VecDeque;
use std::rc::Rc;

/// A compiled inference plan of a network for batches of a fixed size.
pub struct Predictor {
    plan: Plan,
    input: ValueId,
    batch: usize,
    row: usize,
    normalize: Normalize,
}

impl Predictor {
    /// Plans `network` for images like those of `samples` and `classes` classes in batches of `batch`, on weights that are
    /// on the device already.
    ///
    /// # Errors
    /// [`Error::Memory`] when it does not fit, with the largest batch that does; [`Error::Usage`] when the weights are
    /// another network's, and for batch 0.
    pub fn new(
        gpu: &Gpu,
        network: &Network,
        weights: &Rc<Weights>,
        (samples, classes, batch): (&Samples, usize, usize),
        normalize: Normalize,
    ) -> Result<Predictor> {
        if batch == 0 {
            return Err(Error::Usage(format!("{}: batch 0, possible is 1 or more", network.name)));
        }
        let graph = Graph::new();
        let x = graph.input("images", samples.batch_shape(batch));
        let out = network.record(&graph, x, classes, &Layers::default());
        Predictor::compile(gpu, &graph, weights, (x, out.logits, batch), normalize).map_err(|e| {
            with_largest_batch(e, &Target::of(gpu), batch, |n| {
                let graph = Graph::new();
                let x = graph.input("images", samples.batch_shape(n));
                let out = network.record(&graph, x, classes, &Layers::default());
                forecast(&Target::of(gpu), &graph, &PlanSpec { outputs: vec![out.logits], ..Default::default() })
            })
        })
    }

    fn compile(
        gpu: &Gpu,
        graph: &Graph,
        weights: &Rc<Weights>,
        (x, y, batch): (Tensor, Tensor, usize),
        normalize: Normalize,
    ) -> Result<Predictor> {
        let spec = PlanSpec { outputs: vec![y], ..Default::default() };
        let plan = Plan::compile(gpu, graph, weights, &spec)?;
        Ok(Predictor { plan, input: x.id, batch, row: y.shape().elements() / batch, normalize })
    }

    /// Logits of every item, in order: `[n][classes]`.
    ///
    /// # Errors
    /// Device errors; [`Error::Numerics`] when a logit is not finite.
    pub fn logits(&mut self, gpu: &Gpu, samples: &Samples) -> Result<Vec<Vec<f32>>> {
        let mut batch = Batch::default();
        let mut counts = VecDeque::new();
        let mut all = Vec::with_capacity(samples.items.len());
        let positions: Vec<usize> = (0..samples.items.len()).collect();
        for part in positions.chunks(self.batch) {
            samples.fill(&mut batch, (part, &[]), self.batch, self.normalize, None);
            self.plan.step_by_id(gpu, &[(self.input, Feed::F32(&batch.pixels))])?;
            counts.push_back(part.len());
            let done: Vec<StepResult> = self.plan.results().collect();
            take(&mut all, done, &mut counts, self.row);
        }
        let done = self.plan.finish(gpu)?;
        take(&mut all, done, &mut counts, self.row);
        if let Some(bad) = all.iter().position(|l| l.iter().any(|v| !v.is_finite())) {
            return Err(Error::Numerics(format!("the scores of image {bad} are not finite")));
        }
        Ok(all)
    }
}

fn take(all: &mut Vec<Vec<f32>>, done: Vec<StepResult>, counts: &mut VecDeque<usize>, classes: usize) {
    for r in done {
        let count = counts.pop_front().unwrap_or(0);
        all.extend(r.outputs[0].chunks(classes).take(count).map(<[f32]>::to_vec));
    }
}

/// Softmax of one row of logits, in f64.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let e: Vec<f64> = logits.iter().map(|v| f64::from(v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

/// The first of the largest scores.
pub fn argmax(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// Share of right predictions and mean cross entropy of `logits` against the items' classes.
pub fn accuracy_and_loss(logits: &[Vec<f32>], items: &[(usize, usize)]) -> (f64, f64) {
    let n = items.len().max(1) as f64;
    let right = logits.iter().zip(items).filter(|(l, (_, t))| argmax(l) == *t).count() as f64;
    let loss: f64 = logits.iter().zip(items).map(|(l, (_, t))| -probabilities(l)[*t].max(1e-300).ln()).sum();
    (right / n, loss / n)
}
