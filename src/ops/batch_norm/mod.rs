//! Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167): the one layer that is explained completely.
//!
//! Per channel, over the M = N·H·W pixels of x [N, C, H, W], with x̂ = (x − mean) / √(var + ε):
//!
//! y = x̂ · γ + β
//!
//! **Where mean and var come from.** In training from the batch ([`BatchStats`], var is the biased Σ (x − mean)² / M), and
//! [`RunningUpdate`] moves the running statistics towards them: running ← (1 − m) · running + m · batch. In inference, and
//! in a frozen layer, from the running statistics, which then are constants.
//!
//! **Gradients with batch statistics.** mean and var depend on every x of the channel. Summing the three paths gives
//!
//! dβ = Σ dy,  dγ = Σ dy · x̂,  dx = γ / √(var + ε) · (dy − dβ / M − x̂ · dγ / M).
//!
//! All of dx comes from [`BatchNorm`], so [`BatchStats`] has no gradient of its own and mean and var get none: two passes
//! over dy and x, the first for the sums ([`BatchNormGradSums`]), the second for dx ([`BatchNormGradInput`]).
//!
//! **Gradients with running statistics.** y = (x − mean) · a + β with a = γ / √(var + ε) ([`BatchNormScale`], [C] numbers):
//! dx = dy · a, da = Σ dy · (x − mean), dβ = Σ dy ([`Normalize`] and its gradients). A frozen layer needs dx only, which
//! needs no x: nothing is kept for it.
//!
//! The plan fuses a following residual addition and ReLU into the kernel that writes y; a convolution takes a
//! [`Normalize`] after it into its own.

mod frozen;
mod grad;
mod stats;

pub use frozen::{BatchNormScale, Normalize, NormalizeGradInput, NormalizeGradSums};
pub use grad::{BatchNormGradInput, BatchNormGradSums};
pub use stats::{BatchStats, RunningUpdate};

use super::{Add, Relu, arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Images, Op, Operand, Recorder, Shape, Tensor, ValueId, Views, downcast, shape};
use std::rc::Rc;

const SOURCE: Source = shader!("batch_norm.wgsl");

/// y = (x − mean) / √(var + ε) · γ + β, of the batch's own statistics. Inputs x [N, C, H, W], mean, var, then γ if `gamma`,
/// β, all \[C\], then a residual of y's shape that is added if `skip`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// ε, positive.
    pub epsilon: f32,
    /// Whether there is a γ; else it is 1.
    pub gamma: bool,
    /// Whether a residual is added (by fusion only).
    pub skip: bool,
    /// Whether negative results become 0 (by fusion only).
    pub relu: bool,
}

impl<'g> Tensor<'g> {
    /// Mean and biased variance \[C\] of each channel over images and pixels.
    ///
    /// # Panics
    /// When this is no image.
    #[track_caller]
    pub fn batch_stats(self) -> (Tensor<'g>, Tensor<'g>) {
        let both = self.graph().record(BatchStats, &[self]);
        (both[0], both[1])
    }

    /// Normalises with (mean, var) of [`Tensor::batch_stats`]; γ is 1 where it is `None`. The gradient goes through the
    /// statistics as well, so they MUST be those of this very tensor.
    ///
    /// # Panics
    /// When the shapes do not fit or ε is not positive.
    #[track_caller]
    pub fn batch_norm(
        self,
        (mean, var): (Tensor<'g>, Tensor<'g>),
        gamma: Option<Tensor<'g>>,
        beta: Tensor<'g>,
        epsilon: f32,
    ) -> Tensor<'g> {
        let others: Vec<Tensor> = [mean, var].into_iter().chain(gamma).chain([beta]).collect();
        self.apply(BatchNorm { epsilon, gamma: gamma.is_some(), skip: false, relu: false }, &others)
    }

    /// (x − mean) · `scale` + β with given statistics: `scale` is [`Tensor::batch_norm_scale`] of the variance.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn normalize(self, mean: Tensor<'g>, scale: Tensor<'g>, beta: Tensor<'g>) -> Tensor<'g> {
        self.apply(Normalize { skip: false, relu: false }, &[mean, scale, beta])
    }

    /// γ / √(this + ε) for a variance \[C\]; γ is 1 where it is `None`.
    ///
    /// # Panics
    /// When the shapes do not fit or ε is not positive.
    #[track_caller]
    pub fn batch_norm_scale(self, gamma: Option<Tensor<'g>>, epsilon: f32) -> Tensor<'g> {
        let inputs: Vec<Tensor> = gamma.into_iter().chain([self]).collect();
        self.graph().record(BatchNormScale { epsilon, gamma: gamma.is_some() }, &inputs)[0]
    }
}

/// ε > 0: a channel that is constant over the batch, and the extra lanes, have variance 0.
fn positive(epsilon: f32) -> Result<(), String> {
    if epsilon > 0.0 && epsilon.is_finite() { Ok(()) } else { Err(format!("epsilon is {epsilon}, must be above 0")) }
}

/// `channels` inputs of x's [C] after x, named in `names`.
fn per_channel(x: Shape, others: &[Shape], names: &[&str]) -> Result<(), String> {
    let (_, c, _, _) = image(x)?;
    match others.iter().zip(names).find(|(s, _)| **s != Shape::Channels { c }) {
        Some((s, name)) => Err(format!("x has C {c}, {name} is {s}")),
        None => Ok(()),
    }
}

/// The launch grid of `batch_norm.wgsl`: a thread owns a quad of channels of `rows` consecutive pixels.
struct Walk {
    pixels: usize,
    quads: usize,
    rows: usize,
    slots: usize,
}

impl Walk {
    /// For kernels that write every pixel: 16 pixels a thread, as many bytes a workgroup as elementwise kernels move.
    fn writing(x: Shape) -> Walk {
        Walk::new(x, 16)
    }

    /// For the first kernel of a reduction: at least 64 pixels a thread, at most 1,024 slots, which leaves little for the
    /// second.
    fn reducing(x: Shape) -> Walk {
        let (n, _, h, w) = x.nchw();
        Walk::new(x, (n * h * w).div_ceil(1024).max(64))
    }

    fn new(x: Shape, rows: usize) -> Walk {
        let (n, c, h, w) = x.nchw();
        let pixels = n * h * w;
        Walk { pixels, quads: shape::padded(c) / 4, rows, slots: pixels.div_ceil(rows) }
    }

    fn params(&self) -> Vec<(&'static str, Word)> {
        let all = [("channel_quads", self.quads), ("pixels", self.pixels), ("rows", self.rows), ("slots", self.slots)];
        all.map(|(name, v)| (name, Word::from(v))).to_vec()
    }

    fn groups(&self) -> usize {
        (self.slots * self.quads).div_ceil(64)
    }
}

/// Where an image lies, as two fields of `Params`.
fn view(k: &Recorder, v: ValueId, [stride, offset]: [&'static str; 2]) -> [(&'static str, Word); 2] {
    let view = k.view(v);
    [(stride, Word::from(view.stride)), (offset, Word::from(view.offset))]
}

const X: [&str; 2] = ["x_stride", "x_offset"];
const Y: [&str; 2] = ["y_stride", "y_offset"];
const DX: [&str; 2] = ["dx_stride", "dx_offset"];
const DY: [&str; 2] = ["dy_stride", "dy_offset"];
const SKIP: [&str; 2] = ["skip_stride", "skip_offset"];

/// Fuses a residual addition or a ReLU: (skip, relu) afterwards.
fn tail(next: &dyn Op, skip: bool, relu: bool) -> Option<(bool, bool)> {
    if downcast::<Add>(next).is_some() && !skip && !relu {
        return Some((true, relu));
    }
    downcast::<Relu>(next).filter(|_| !relu).map(|_| (skip, true))
}

/// Launches `batch_norm` or `normalize`; `x` are the op's inputs.
fn launch_forward(
    k: &mut Recorder,
    entry: &'static str,
    baked: &[(&'static str, i64)],
    (x, y): (&[ValueId], ValueId),
    (skip, relu): (bool, bool),
    more: &[(&'static str, Word)],
) {
    let walk = Walk::writing(k.shape(y));
    let mut params = walk.params();
    params.extend(view(k, x[0], X));
    params.extend(view(k, y, Y));
    if skip {
        params.extend(view(k, x[x.len() - 1], SKIP));
    }
    params.push(("relu", Word::from(usize::from(relu))));
    params.extend_from_slice(more);
    let baked: Vec<_> = baked.iter().copied().chain([("SKIP", i64::from(skip))]).collect();
    let buffers: Vec<Operand> = x.iter().chain([&y]).map(|v| (*v).into()).collect();
    k.launch(SOURCE, entry, &baked, &params, &buffers, walk.groups());
}

/// Adds the residual and applies the ReLU to a reference.
fn finish(y: &mut [f64], skip: Option<&[f64]>, relu: bool) {
    if let Some(skip) = skip {
        y.iter_mut().zip(skip).for_each(|(y, s)| *y += s);
    }
    if relu {
        y.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 4 + usize::from(self.gamma) + usize::from(self.skip))?;
        positive(self.epsilon)?;
        let names: &[&str] = if self.gamma { &["mean", "var", "gamma", "beta"] } else { &["mean", "var", "beta"] };
        per_channel(x[0], &x[1..], names)?;
        if self.skip && x[x.len() - 1] != x[0] {
            return Err(format!("x is {}, the residual {}", x[0], x[x.len() - 1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[0].nchw();
        let beta = x[3 + usize::from(self.gamma)];
        let one = |(i, v): (usize, &f64)| {
            let k = i / (h * w) % c;
            let gamma = if self.gamma { x[3][k] } else { 1.0 };
            (v - x[1][k]) / (x[2][k] + f64::from(self.epsilon)).sqrt() * gamma + beta[k]
        };
        let mut y: Vec<f64> = x[0].iter().enumerate().map(one).collect();
        finish(&mut y, self.skip.then(|| x[x.len() - 1]), self.relu);
        vec![y]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1 | u32::from(self.skip) << (4 + u32::from(self.gamma)), output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let baked = [("GAMMA", i64::from(self.gamma))];
        let more = [("epsilon", Word::F(self.epsilon))];
        launch_forward(k, "batch_norm", &baked, (x, y[0]), (self.skip, self.relu), &more);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        assert!(!self.skip && !self.relu, "gradients are recorded before fusion");
        let sums = dy.graph().record(BatchNormGradSums { epsilon: self.epsilon }, &[dy, x[0], x[1], x[2]]);
        let dx = wanted[0].then(|| {
            let others: Vec<Tensor> =
                [x[0], x[1], x[2], sums[0], sums[1]].into_iter().chain(self.gamma.then(|| x[3])).collect();
            dy.apply(BatchNormGradInput { epsilon: self.epsilon, gamma: self.gamma }, &others)
        });
        // The paths through mean and var are part of dx.
        let gamma = self.gamma.then_some(Some(sums[0]));
        [dx, None, None].into_iter().chain(gamma).chain([Some(sums[1])]).collect()
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
        Some(Rc::new(BatchNorm { skip, relu, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests;
