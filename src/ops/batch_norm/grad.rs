//! The gradients of batch norm with the batch's own statistics: sums over the pixels, then dx.

use super::{DX, DY, SOURCE, Walk, X, per_channel, positive, view};
use crate::gpu::Word;
use crate::graph::{Cost, Op, Operand, Recorder, Shape, ValueId, Views};
use crate::ops::{arity, image};

/// dγ = Σ dy · x̂ and dβ = Σ dy. Inputs dy, x, mean, var; outputs dγ, dβ \[C\].
#[derive(Clone, Debug)]
pub struct BatchNormGradSums {
    /// ε of the forward operation.
    pub epsilon: f32,
}

/// dx = γ / √(var + ε) · (dy − dβ / M − x̂ · dγ / M). Inputs dy, x, mean, var, dγ, dβ, and γ if `gamma`.
#[derive(Clone, Debug)]
pub struct BatchNormGradInput {
    /// ε of the forward operation.
    pub epsilon: f32,
    /// Whether there is a γ; else it is 1.
    pub gamma: bool,
}

/// Launches the two kernels of Σ dy · (x − mean) and Σ dy; with `scaled` (var, ε) the first is divided by √(var + ε).
pub(super) fn launch_sums(k: &mut Recorder, x: &[ValueId], y: &[ValueId], scaled: Option<(ValueId, f32)>) {
    let walk = Walk::reducing(k.shape(x[1]));
    let part = k.workspace(2 * 4 * walk.slots * walk.quads);
    let params = [walk.params(), view(k, x[0], DY).to_vec(), view(k, x[1], X).to_vec()].concat();
    let buffers = [x[0].into(), x[1].into(), x[2].into(), part];
    k.launch(SOURCE, "norm_grad_partial", &[], &params, &buffers, walk.groups());
    let mut params = walk.params();
    params.extend(scaled.map(|(_, epsilon)| ("epsilon", Word::F(epsilon))));
    let var = scaled.map(|(v, _)| Operand::from(v));
    let buffers: Vec<Operand> = [part].into_iter().chain(var).chain([y[0].into(), y[1].into()]).collect();
    k.launch(SOURCE, "norm_grad_total", &[("SCALED", i64::from(scaled.is_some()))], &params, &buffers, walk.quads);
}

/// Σ dy · (x − mean) and Σ dy in f64.
pub(super) fn sums(x: &[&[f64]], xs: &[Shape]) -> [Vec<f64>; 2] {
    let (_, c, h, w) = xs[1].nchw();
    let (mut first, mut second) = (vec![0.0; c], vec![0.0; c]);
    for (i, (dy, v)) in x[0].iter().zip(x[1]).enumerate() {
        let k = i / (h * w) % c;
        first[k] += dy * (v - x[2][k]);
        second[k] += dy;
    }
    [first, second]
}

/// dy and x are of one shape.
pub(super) fn alike(dy: Shape, x: Shape) -> Result<(), String> {
    if dy == x { Ok(()) } else { Err(format!("x is {x}, dy {dy}")) }
}

impl Op for BatchNormGradSums {
    fn name(&self) -> &'static str {
        "batch_norm_grad_sums"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 4)?;
        positive(self.epsilon)?;
        alike(x[0], x[1])?;
        per_channel(x[1], &x[2..], &["mean", "var"])?;
        let (_, c, _, _) = image(x[1])?;
        Ok(vec![Shape::Channels { c }; 2])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let [mut dgamma, dbeta] = sums(x, xs);
        dgamma.iter_mut().zip(x[3]).for_each(|(d, v)| *d /= (v + f64::from(self.epsilon)).sqrt());
        vec![dgamma, dbeta]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 3, output: false }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch_sums(k, x, y, Some((x[3], self.epsilon)));
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 4.0 * xs[0].elements() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

impl Op for BatchNormGradInput {
    fn name(&self) -> &'static str {
        "batch_norm_grad_input"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 6 + usize::from(self.gamma))?;
        positive(self.epsilon)?;
        alike(x[0], x[1])?;
        per_channel(x[1], &x[2..], &["mean", "var", "dgamma", "dbeta", "gamma"])?;
        Ok(vec![x[1]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, c, h, w) = xs[1].nchw();
        let count = (n * h * w) as f64;
        let one = |i: usize| {
            let k = i / (h * w) % c;
            let inverse = 1.0 / (x[3][k] + f64::from(self.epsilon)).sqrt();
            let gamma = if self.gamma { x[6][k] } else { 1.0 };
            gamma * inverse * (x[0][i] - x[5][k] / count - (x[1][i] - x[2][k]) * inverse * x[4][k] / count)
        };
        vec![(0..x[0].len()).map(one).collect()]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 3, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let walk = Walk::writing(k.shape(x[1]));
        let mut params = walk.params();
        params.extend(view(k, x[0], DY));
        params.extend(view(k, x[1], X));
        params.extend(view(k, y[0], DX));
        params.push(("epsilon", Word::F(self.epsilon)));
        let buffers: Vec<Operand> = x.iter().chain(y).map(|v| (*v).into()).collect();
        let baked = [("GAMMA", i64::from(self.gamma))];
        k.launch(SOURCE, "batch_norm_grad_input", &baked, &params, &buffers, walk.groups());
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 4.0 * xs[0].elements() as f64, bytes: 12.0 * xs[0].words() as f64 }
    }
}
