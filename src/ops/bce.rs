//! Binary cross entropy from logits, with class weights and label smoothing: one output that a sigmoid would follow.

use super::activation::sigmoid;
use super::softmax::rows;
use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("bce.wgsl");

/// Mean over the batch of w\[t\] (max(x, 0) − x q + log(1 + exp(−|x|))), q = the label t smoothed: t (1 − ε) + ε / 2.
///
/// Inputs: logits [N, 1], labels (N integers 0 or 1; a larger one marks padding of the batch and counts for nothing).
/// Outputs: the mean loss (one number), the N losses.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryCrossEntropy {
    /// Weights of the labels 0 and 1: PyTorch's `pos_weight` is [1, pos_weight].
    pub weights: [f32; 2],
    /// Label smoothing ε, as Keras' `BinaryCrossentropy`.
    pub smoothing: f32,
}

impl Default for BinaryCrossEntropy {
    /// No weights, no smoothing.
    fn default() -> BinaryCrossEntropy {
        BinaryCrossEntropy { weights: [1.0, 1.0], smoothing: 0.0 }
    }
}

/// dx = dloss · w\[t\] (sigmoid(x) − q) / count. Inputs logits, labels, dloss.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryCrossEntropyGrad(pub BinaryCrossEntropy);

impl<'g> Tensor<'g> {
    /// Mean binary cross entropy of these logits [N, 1] against `labels` 0 or 1, and the N losses.
    ///
    /// # Panics
    /// When the shapes do not fit, a weight is negative, or the smoothing is outside [0, 1].
    #[track_caller]
    pub fn bce_with_logits(self, labels: Tensor<'g>, op: BinaryCrossEntropy) -> (Tensor<'g>, Tensor<'g>) {
        let out = self.graph().record(op, &[self, labels]);
        (out[0], out[1])
    }
}

/// z = x for label 0, −x for label 1, and the label's weight with dz/dx for its sign; `None`: padding.
struct Row {
    z: f64,
    weight: f64,
    sign: f64,
}

impl BinaryCrossEntropy {
    fn check(&self, x: &[Shape]) -> Result<usize, String> {
        let (n, c) = rows(x[0])?;
        if c != 1 {
            return Err(format!(
                "binary cross entropy needs logits [N, 1], C is {c}; for more classes use cross_entropy"
            ));
        }
        if x[1] != Shape::flat(n) {
            return Err(format!("logits have N {n}, labels are {}", x[1]));
        }
        if !self.weights.iter().all(|w| w.is_finite() && *w >= 0.0) || !(0.0..=1.0).contains(&self.smoothing) {
            return Err(format!("weights {:?} ≥ 0 and a smoothing {} in [0, 1]", self.weights, self.smoothing));
        }
        Ok(n)
    }

    /// The target of the class that the label is not.
    fn low(&self) -> f32 {
        self.smoothing / 2.0
    }

    fn rows(&self, x: &[&[f64]]) -> (Vec<Option<Row>>, f64) {
        let row = |(x, t): (&f64, &f64)| {
            let sign = if *t == 1.0 { -1.0 } else { 1.0 };
            let weight = f64::from(*self.weights.get(*t as usize)?);
            Some(Row { z: sign * x, weight, sign })
        };
        let all: Vec<_> = x[0].iter().zip(x[1]).map(row).collect();
        let count = all.iter().flatten().count().max(1) as f64;
        (all, count)
    }

    fn params(&self, n: usize) -> [(&'static str, Word); 4] {
        let [negative, positive] = self.weights.map(Word::F);
        [("rows", Word::from(n)), ("low", Word::F(self.low())), ("negative", negative), ("positive", positive)]
    }
}

impl Op for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "bce"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let n = self.check(x)?;
        Ok(vec![Shape::flat(1), Shape::flat(n)])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (all, count) = self.rows(x);
        let loss =
            |Row { z, weight, .. }: &Row| weight * (z.max(0.0) - f64::from(self.low()) * z + (-z.abs()).exp().ln_1p());
        let per: Vec<f64> = all.iter().map(|r| r.as_ref().map_or(0.0, loss)).collect();
        vec![vec![per.iter().sum::<f64>() / count], per]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let params = self.params(k.shape(x[0]).nchw().0);
        let buffers: Vec<_> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "bce", &[], &params, &buffers, 1);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        vec![wanted[0].then(|| x[0].apply(BinaryCrossEntropyGrad(self.clone()), &[x[1], dy])), None]
    }
}

impl Op for BinaryCrossEntropyGrad {
    fn name(&self) -> &'static str {
        "bce_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 3)?;
        self.0.check(x)?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (all, count) = self.0.rows(x);
        let slope =
            |Row { z, weight, sign }: &Row| sign * x[2][0] * weight * (sigmoid(*z) - f64::from(self.0.low())) / count;
        vec![all.iter().map(|r| r.as_ref().map_or(0.0, slope)).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let n = k.shape(x[0]).nchw().0;
        let buffers: Vec<_> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "bce_grad", &[], &self.0.params(n), &buffers, n.div_ceil(64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::{Case, numbers};

    #[test]
    fn losses_and_gradients_with_weights_smoothing_and_padding() {
        let options = [
            BinaryCrossEntropy::default(),
            BinaryCrossEntropy { weights: [1.0, 3.0], smoothing: 0.0 },
            BinaryCrossEntropy { weights: [0.5, 2.0], smoothing: 0.1 },
        ];
        for (n, op) in [1usize, 7, 67].into_iter().flat_map(|n| options.iter().map(move |o| (n, o))) {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let values: Vec<f32> = numbers(3, n).iter().map(|v| 6.0 * v).collect();
            let x = case.given("x", Shape::image(n, 1, 1, 1), &values);
            // Every fifth row is padding.
            let labels: Vec<u32> = (0..n as u32).map(|i| if i % 5 == 4 { 2 + i } else { i * i % 3 % 2 }).collect();
            let t = case.integers("labels", &labels);
            let (loss, per) = x.bce_with_logits(t, op.clone());
            case.check(&[loss, per], 2e-6);
            case.check_gradients(loss, &[x], 1e-5);
        }
    }

    #[test]
    fn small_losses_keep_their_digits_and_large_ones_do_not_overflow() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.given("x", Shape::image(4, 1, 1, 1), &[-12.0, 15.0, 1e4, -80.0]);
        let t = case.integers("labels", &[0, 1, 0, 1]);
        let (loss, per) = x.bce_with_logits(t, BinaryCrossEntropy::default());
        let dx = loss.gradients(&[x])[0].expect("a gradient");
        let got = case.check(&[per, dx], 1e-6);
        // log(1 + exp(−12)) in f32 would be off by some 1e-2 of itself; the gradient 1 − sigmoid(15) by 1e-1.
        for (i, z) in [12.0f64, 15.0].into_iter().enumerate() {
            assert!((f64::from(got[0][i]) / (-z).exp().ln_1p() - 1.0).abs() < 3e-6, "{got:?}");
            assert!((f64::from(got[1][i]).abs() * 4.0 * (1.0 + z.exp()) - 1.0).abs() < 3e-6, "{got:?}");
        }
        assert_eq!(got[0][2..], [1e4, 80.0]);
    }

    #[test]
    #[should_panic(expected = "needs logits [N, 1], C is 2")]
    fn two_logits_are_refused() {
        let graph = Graph::new();
        let (x, t) = (graph.input("x", Shape::image(3, 2, 1, 1)), graph.input_integers("labels", 3));
        x.bce_with_logits(t, BinaryCrossEntropy::default());
    }
}
