//! Inference over many images: logits, probabilities, accuracy.

use super::batches::{Batch, Normalize, Samples};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Tensor, ValueId};
use crate::models::Network;
use crate::nn::Layers;
use crate::plan::{Feed, MemoryReport, Plan, PlanSpec, StepResult, Target, Weights, forecast, with_largest_batch};
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
    /// on the device already. `classes` is the number of outputs: 1 for a network with a sigmoid ([`super::Loss::outputs`]).
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

    /// What memory the plan takes.
    pub fn memory(&self) -> &MemoryReport {
        self.plan.memory()
    }

    /// Logits of every item, in order: `[n][classes]`.
    ///
    /// # Errors
    /// Device errors; [`Error::Numerics`] naming the image when a logit is not finite.
    pub fn logits(&mut self, gpu: &Gpu, samples: &Samples) -> Result<Vec<Vec<f32>>> {
        let all = self.unchecked_logits(gpu, samples)?;
        match first_not_finite(&all) {
            Some(bad) => Err(Error::Numerics(format!("the scores of image {} are not finite", samples.items[bad].0))),
            None => Ok(all),
        }
    }

    /// The same with whatever numbers come.
    pub(super) fn unchecked_logits(&mut self, gpu: &Gpu, samples: &Samples) -> Result<Vec<Vec<f32>>> {
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
        Ok(all)
    }
}

/// Which row holds a NaN or an infinity.
pub(super) fn first_not_finite(rows: &[Vec<f32>]) -> Option<usize> {
    rows.iter().position(|l| l.iter().any(|v| !v.is_finite()))
}

fn take(all: &mut Vec<Vec<f32>>, done: Vec<StepResult>, counts: &mut VecDeque<usize>, classes: usize) {
    for r in done {
        let count = counts.pop_front().unwrap_or(0);
        all.extend(r.outputs[0].chunks(classes).take(count).map(<[f32]>::to_vec));
    }
}

/// Probability of each class, in f64: softmax of a row of logits, or \[1 − p, p\] with p the sigmoid of the only one.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    if let [one] = logits {
        let (p, q) = (sigmoid(f64::from(*one)), sigmoid(-f64::from(*one)));
        return vec![q, p];
    }
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let e: Vec<f64> = logits.iter().map(|v| f64::from(v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The first of the largest scores.
pub fn argmax(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// The class that a row of logits says: the first of the largest; of a single one, 1 where it is above 0.
pub fn class_of(logits: &[f32]) -> usize {
    if let [one] = logits { usize::from(*one > 0.0) } else { argmax(logits) }
}

/// Share of right predictions and mean cross entropy of `logits` against the items' classes; of rows with one logit the binary
/// one.
pub fn accuracy_and_loss(logits: &[Vec<f32>], items: &[(usize, usize)]) -> (f64, f64) {
    let n = items.len().max(1) as f64;
    let right = logits.iter().zip(items).filter(|(l, (_, t))| class_of(l) == *t).count() as f64;
    let loss = |(l, (_, t)): (&Vec<f32>, &(usize, usize))| match l[..] {
        // log(1 + exp(z)) that neither overflows nor loses its digits.
        [one] => {
            let z = if *t == 1 { -f64::from(one) } else { f64::from(one) };
            z.max(0.0) + (-z.abs()).exp().ln_1p()
        }
        ref all => -probabilities(all)[*t].max(1e-300).ln(),
    };
    (right / n, logits.iter().zip(items).map(loss).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_logit_is_two_classes() {
        let items = [(0, 1), (1, 0), (2, 1), (3, 0)];
        let one: Vec<Vec<f32>> = [2.0, 0.5, -1.0, 0.0].map(|v| vec![v]).to_vec();
        // The softmax of (0, x) is the sigmoid of x.
        let two: Vec<Vec<f32>> = one.iter().map(|l| vec![0.0, l[0]]).collect();
        for (a, b) in one.iter().zip(&two) {
            assert_eq!((class_of(a), class_of(b)), (argmax(b), argmax(b)));
            let (p, q) = (probabilities(a), probabilities(b));
            assert!(p.len() == 2 && p.iter().zip(&q).all(|(p, q)| (p - q).abs() < 1e-15), "{p:?} {q:?}");
        }
        let ((a, l), (b, m)) = (accuracy_and_loss(&one, &items), accuracy_and_loss(&two, &items));
        assert_eq!((a, b), (0.5, 0.5));
        assert!((l - m).abs() < 1e-15, "{l} {m}");
        // Far out, where 1 - p has no digits left.
        assert_eq!(accuracy_and_loss(&[vec![800.0]], &[(0, 0)]), (0.0, 800.0));
        assert!((probabilities(&[50.0])[0] / (-50f64).exp() - 1.0).abs() < 1e-12);
    }
}
