//! Sums of squares: the L2 penalty as a term of the loss, and the launches with which an optimizer finds the global norm
//! of all gradients.

use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Operand, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("square_sum.wgsl");

/// Quads that one workgroup adds up.
const GROUP: usize = 4096;

/// y = factor · Σ x², one number. Any shape.
#[derive(Clone, Debug)]
pub struct L2Penalty {
    /// What the sum is multiplied with.
    pub factor: f32,
}

/// dx = 2 · factor · dy · x. Inputs x and dy, one number.
#[derive(Clone, Debug)]
pub struct L2PenaltyGrad {
    /// As of [`L2Penalty`].
    pub factor: f32,
}

impl<'g> Tensor<'g> {
    /// `factor` · Σ x², one number: add it to a loss. Keras' `L2(λ)` has factor λ and gradient 2 λ x; PyTorch's
    /// `weight_decay` λ is factor λ / 2 with gradient λ x.
    ///
    /// # Panics
    /// When `factor` is not finite.
    #[track_caller]
    pub fn l2_penalty(self, factor: f32) -> Tensor<'g> {
        self.apply(L2Penalty { factor }, &[])
    }
}

/// How many partial sums `words` words have.
pub(crate) fn parts(words: usize) -> usize {
    (words / 4).div_ceil(GROUP)
}

/// Partial sums of the squares of `words` words of `x` into `part` from word `first` on.
pub(crate) fn partial(k: &mut Recorder, x: Operand, words: usize, part: Operand, first: usize) {
    let params = [("quads", Word::from(words / 4)), ("first", Word::from(first))];
    k.launch(SOURCE, "square_sum", &[], &params, &[x, part], parts(words)).cost =
        Cost { flops: 2.0 * words as f64, bytes: 4.0 * words as f64 };
}

/// min(1, `max_norm` / (√Σ part + `epsilon`)) of `count` partial sums into the first word of `out`, the norm into the second.
pub(crate) fn clip(k: &mut Recorder, part: Operand, count: usize, max_norm: f32, epsilon: f32, out: Operand) {
    let params = [("parts", Word::from(count)), ("max_norm", Word::F(max_norm)), ("epsilon", Word::F(epsilon))];
    k.launch(SOURCE, "clip_coefficient", &[], &params, &[part, out], 1);
}

impl Op for L2Penalty {
    fn name(&self) -> &'static str {
        "l2_penalty"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        if !self.factor.is_finite() {
            return Err(format!("the factor of an L2 penalty must be finite, given was {}", self.factor));
        }
        Ok(vec![Shape::flat(1)])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![vec![f64::from(self.factor) * x[0].iter().map(|v| v * v).sum::<f64>()]]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        let count = parts(words);
        let part = k.workspace(count.next_multiple_of(4));
        partial(k, x[0].into(), words, part, 0);
        let params = [("parts", Word::from(count)), ("factor", Word::F(self.factor))];
        k.launch(SOURCE, "square_sum_total", &[], &params, &[part, y[0].into()], 1);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(x[0].apply(L2PenaltyGrad { factor: self.factor }, &[dy]))]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 2.0 * xs[0].elements() as f64, bytes: 4.0 * xs[0].words() as f64 }
    }
}

impl Op for L2PenaltyGrad {
    fn name(&self) -> &'static str {
        "l2_penalty_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        if x[1] != Shape::flat(1) {
            return Err(format!("dy is one number, given was {}", x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| 2.0 * f64::from(self.factor) * x[1][0] * v).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        let buffers = [x[0].into(), x[1].into(), y[0].into()];
        k.elementwise(SOURCE, "square_sum_grad", &[], &[("factor", Word::F(self.factor))], &buffers, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    #[test]
    fn penalties_and_their_gradients() {
        for shape in [
            Shape::Filter { k: 4, c: 3, r: 3, s: 3 },
            Shape::Filter { k: 5, c: 7, r: 1, s: 2 },
            Shape::Channels { c: 17 },
            Shape::flat(1),
        ] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", shape);
            let y = x.l2_penalty(0.25).add(x.l2_penalty(0.5));
            case.check(&[y], 1e-6);
            case.check_gradients(y, &[x], 1e-5);
        }
        // Several workgroups, the last with a ragged end.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", Shape::flat(4 * GROUP * 5 + 4099));
        case.check(&[x.l2_penalty(1e-3)], 1e-6);
    }
}
