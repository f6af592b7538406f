//! Softmax over the channels of a dense activation [N, C].

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Op, Recorder, Shape, Tensor, ValueId, shape};

pub(super) const SOURCE: Source = shader!("softmax.wgsl");

/// y[n, c] = exp(x[n, c]) / Σ exp(x[n, ·]), computed relative to the row's maximum.
#[derive(Clone, Debug)]
pub struct Softmax;

/// dx = y (dy − Σ dy·y). Inputs dy and y.
#[derive(Clone, Debug)]
pub struct SoftmaxGrad;

impl<'g> Tensor<'g> {
    /// Softmax over the channels of a dense activation [N, C].
    ///
    /// # Panics
    /// When it has rows or columns.
    #[track_caller]
    pub fn softmax(self) -> Tensor<'g> {
        self.apply(Softmax, &[])
    }
}

/// N and C of a dense activation.
pub(super) fn rows(s: Shape) -> Result<(usize, usize), String> {
    let (n, c, h, w) = image(s)?;
    if h * w == 1 { Ok((n, c)) } else { Err(format!("expected [N, C], given was {s}")) }
}

pub(super) fn sizes(s: Shape) -> [(&'static str, Word); 3] {
    let (n, c, _, _) = s.nchw();
    [("rows", Word::from(n)), ("classes", Word::from(c)), ("pitch", Word::from(shape::padded(c)))]
}

/// Softmax of one row in f64.
pub(super) fn softmax_row(x: &[f64]) -> Vec<f64> {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|v| (v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        rows(x[0])?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, _, _) = xs[0].nchw();
        vec![x[0].chunks(c).flat_map(softmax_row).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let s = k.shape(x[0]);
        let groups = s.nchw().0.div_ceil(64);
        k.launch(SOURCE, "softmax", &[], &sizes(s), &[x[0].into(), y[0].into()], groups);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(SoftmaxGrad, &[y[0]]))]
    }
}

impl Op for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        rows(x[0])?;
        if x[0] != x[1] {
            return Err(format!("dy is {}, y is {}", x[0], x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, _, _) = xs[0].nchw();
        let row = |(d, y): (&[f64], &[f64])| {
            let dot: f64 = d.iter().zip(y).map(|(a, b)| a * b).sum();
            d.iter().zip(y).map(|(a, b)| b * (a - dot)).collect::<Vec<_>>()
        };
        vec![x[0].chunks(c).zip(x[1].chunks(c)).flat_map(row).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let s = k.shape(x[0]);
        let groups = s.nchw().0.div_ceil(64);
        k.launch(SOURCE, "softmax_grad", &[], &sizes(s), &[x[0].into(), x[1].into(), y[0].into()], groups);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], _: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![None, None]
    }
}
