//! Batch norm with statistics that are given: inference, and layers that do not train.

use super::grad::{alike, launch_sums, sums};
use super::{DX, DY, SOURCE, Walk, finish, launch_forward, per_channel, positive, tail, view};
use crate::gpu::Word;
use crate::graph::{Cost, Images, Op, Operand, Recorder, Shape, Tensor, ValueId, Views};
use crate::ops::{arity, image};
use std::rc::Rc;

/// a = γ / √(var + ε). Inputs γ if `gamma` (else it is 1), then var, all \[C\].
#[derive(Clone, Debug)]
pub struct BatchNormScale {
    /// ε, positive.
    pub epsilon: f32,
    /// Whether there is a γ.
    pub gamma: bool,
}

/// y = (x − mean) · a + β. Inputs x [N, C, H, W], mean, a, β \[C\], and a residual of y's shape that is added if `skip`.
#[derive(Clone, Debug)]
pub struct Normalize {
    /// Whether a residual is added (by fusion only).
    pub skip: bool,
    /// Whether negative results become 0 (by fusion only).
    pub relu: bool,
}

/// da = Σ dy · (x − mean) and dβ = Σ dy of [`Normalize`]. Inputs dy, x, mean; outputs da, dβ \[C\].
#[derive(Clone, Debug)]
pub struct NormalizeGradSums;

/// dx = dy · a. Inputs dy [N, C, H, W], a \[C\].
#[derive(Clone, Debug)]
pub struct NormalizeGradInput;

impl Op for BatchNormScale {
    fn name(&self) -> &'static str {
        "batch_norm_scale"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1 + usize::from(self.gamma))?;
        positive(self.epsilon)?;
        let var = x[x.len() - 1];
        if !matches!(var, Shape::Channels { .. }) || x[0] != var {
            return Err(format!("expected gamma and var of one [C], var is {var}"));
        }
        Ok(vec![var])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let gamma = |i: usize| if self.gamma { x[0][i] } else { 1.0 };
        let var = x[x.len() - 1];
        vec![var.iter().enumerate().map(|(i, v)| gamma(i) / (v + f64::from(self.epsilon)).sqrt()).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let channels = k.shape(y[0]).elements();
        let params = [("channels", Word::from(channels)), ("epsilon", Word::F(self.epsilon))];
        let buffers: Vec<Operand> = x.iter().chain(y).map(|v| (*v).into()).collect();
        let baked = [("GAMMA", i64::from(self.gamma))];
        k.launch(SOURCE, "batch_norm_scale", &baked, &params, &buffers, channels.div_ceil(256));
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        da: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        assert!(!wanted[x.len() - 1], "a running variance does not train");
        // dγ = da / √(var + ε): the same operation on da.
        if self.gamma { vec![wanted[0].then(|| da.apply(self.clone(), &[x[1]])), None] } else { vec![None] }
    }
}

impl Op for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 4 + usize::from(self.skip))?;
        per_channel(x[0], &x[1..4], &["mean", "scale", "beta"])?;
        if self.skip && x[4] != x[0] {
            return Err(format!("x is {}, the residual {}", x[0], x[4]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[0].nchw();
        let one = |(i, v): (usize, &f64)| {
            let k = i / (h * w) % c;
            (v - x[1][k]) * x[2][k] + x[3][k]
        };
        let mut y: Vec<f64> = x[0].iter().enumerate().map(one).collect();
        finish(&mut y, x.get(4).copied(), self.relu);
        vec![y]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1 | u32::from(self.skip) << 4, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch_forward(k, "normalize", &[], (x, y[0]), (self.skip, self.relu), &[]);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        assert!(!self.skip && !self.relu, "gradients are recorded before fusion");
        assert!(!wanted[1], "the mean of `normalize` is given; with the batch's own statistics use `batch_norm`");
        let dx = wanted[0].then(|| dy.apply(NormalizeGradInput, &[x[2]]));
        let sums = (wanted[2] || wanted[3]).then(|| dy.graph().record(NormalizeGradSums, &[dy, x[0], x[1]]));
        let [da, dbeta] = [0, 1].map(|i| sums.as_ref().filter(|_| wanted[2 + i]).map(|s| s[i]));
        vec![dx, None, da, dbeta]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        let words: usize = xs.iter().chain(ys).map(|s| s.words()).sum();
        Cost { flops: 3.0 * ys[0].elements() as f64, bytes: 4.0 * words as f64 }
    }

    fn cheap(&self) -> bool {
        // With a residual it would need the block's input, which then is needed again for the block before, and so on.
        !self.skip
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        let (skip, relu) = tail(next, self.skip, self.relu)?;
        Some(Rc::new(Normalize { skip, relu }))
    }
}

impl Op for NormalizeGradSums {
    fn name(&self) -> &'static str {
        "normalize_grad_sums"
    }

    fn images(&self) -> Images {
        Images::Sum
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 3)?;
        alike(x[0], x[1])?;
        per_channel(x[1], &x[2..], &["mean"])?;
        let (_, c, _, _) = image(x[1])?;
        Ok(vec![Shape::Channels { c }; 2])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        sums(x, xs).into()
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 3, output: false }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch_sums(k, x, y, None);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 4.0 * xs[0].elements() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

impl Op for NormalizeGradInput {
    fn name(&self) -> &'static str {
        "normalize_grad_input"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        per_channel(x[0], &x[1..], &["scale"])?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[0].nchw();
        vec![x[0].iter().enumerate().map(|(i, dy)| dy * x[1][i / (h * w) % c]).collect()]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let walk = Walk::writing(k.shape(x[0]));
        let params = [walk.params(), view(k, x[0], DY).to_vec(), view(k, y[0], DX).to_vec()].concat();
        let buffers: Vec<Operand> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "normalize_grad_input", &[], &params, &buffers, walk.groups());
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        // Linear in dy; the scale of a backward pass is a constant.
        vec![wanted[0].then(|| dy.apply(NormalizeGradInput, &[x[1]])), None]
    }
}
