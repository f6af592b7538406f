//! Statistics of a batch, and the running statistics that follow them.

use super::{SOURCE, Walk, X, view};
use crate::gpu::Word;
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId, Views, shape};
use crate::ops::{arity, image};

/// mean\[c\] = Σ x / M and var\[c\] = Σ (x − mean)² / M over the M = N·H·W pixels of x [N, C, H, W]. Outputs mean, var.
///
/// No gradient: [`super::BatchNorm`] returns all of dx.
#[derive(Clone, Debug)]
pub struct BatchStats;

/// running ← (1 − momentum) · running + momentum · batch, for mean and variance. Inputs running mean, running var, mean,
/// var (biased), all \[C\]; outputs the new running mean and var. `Graph::assign` puts them in place.
#[derive(Clone, Debug)]
pub struct RunningUpdate {
    /// Share of the batch: PyTorch's sense, 1 − Keras' momentum.
    pub momentum: f32,
    /// Pixels that the batch's statistics are of.
    pub samples: usize,
    /// Whether the variance enters with the factor M / (M − 1) (PyTorch, TensorFlow's fused kernel), or as it is (Keras 3).
    pub unbiased: bool,
}

impl RunningUpdate {
    fn unbias(&self) -> f64 {
        if self.unbiased { self.samples as f64 / (self.samples as f64 - 1.0) } else { 1.0 }
    }
}

impl Op for BatchStats {
    fn name(&self) -> &'static str {
        "batch_stats"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (_, c, _, _) = image(x[0])?;
        Ok(vec![Shape::Channels { c }; 2])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, c, h, w) = xs[0].nchw();
        let count = (n * h * w) as f64;
        let (mut mean, mut var) = (vec![0.0; c], vec![0.0; c]);
        x[0].iter().enumerate().for_each(|(i, v)| mean[i / (h * w) % c] += v / count);
        x[0].iter().enumerate().for_each(|(i, v)| var[i / (h * w) % c] += (v - mean[i / (h * w) % c]).powi(2) / count);
        vec![mean, var]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1, output: false }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let walk = Walk::reducing(k.shape(x[0]));
        let part = k.workspace(2 * 4 * walk.slots * walk.quads);
        let params = [walk.params(), view(k, x[0], X).to_vec()].concat();
        k.launch(SOURCE, "batch_stats_partial", &[], &params, &[x[0].into(), part], walk.groups());
        k.launch(SOURCE, "batch_stats_total", &[], &walk.params(), &[part, y[0].into(), y[1].into()], walk.quads);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], _: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        // Reached only where mean is used outside of a batch norm, whose gradient would be missing here.
        panic!("batch_stats has no gradient of its own: only batch_norm may use mean and var of what trains")
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 4.0 * xs[0].elements() as f64, bytes: 4.0 * xs[0].words() as f64 }
    }
}

impl Op for RunningUpdate {
    fn name(&self) -> &'static str {
        "running_update"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 4)?;
        if !matches!(x[0], Shape::Channels { .. }) || x.iter().any(|s| *s != x[0]) {
            return Err("expected running mean, running var, mean, var, all of one [C]".into());
        }
        if self.unbiased && self.samples < 2 {
            return Err(format!("an unbiased variance over {} value(s) a channel", self.samples));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(format!("momentum {} is outside of 0 to 1", self.momentum));
        }
        Ok(vec![x[0]; 2])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let m = f64::from(self.momentum);
        let step = |old: &[f64], new: &[f64], factor: f64| {
            old.iter().zip(new).map(|(o, n)| (1.0 - m) * o + m * n * factor).collect()
        };
        vec![step(x[0], x[2], 1.0), step(x[1], x[3], self.unbias())]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let Shape::Channels { c } = k.shape(x[0]) else { unreachable!("checked when recorded") };
        let quads = shape::padded(c) / 4;
        let params = [
            ("channel_quads", Word::from(quads)),
            ("momentum", Word::F(self.momentum)),
            ("unbias", Word::F(self.unbias() as f32)),
        ];
        let buffers: Vec<_> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "running_update", &[], &params, &buffers, quads.div_ceil(64));
    }
}
