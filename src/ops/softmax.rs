//! Softmax and its logarithm over the channels of a dense activation [N, C].

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

/// y[n, c] = x[n, c] − log Σ exp(x[n, ·]), computed relative to the row's maximum.
#[derive(Clone, Debug)]
pub struct LogSoftmax;

/// dx = dy − exp(y) Σ dy. Inputs dy and y.
#[derive(Clone, Debug)]
pub struct LogSoftmaxGrad;

impl<'g> Tensor<'g> {
    /// Softmax over the channels of a dense activation [N, C].
    ///
    /// # Panics
    /// When it has rows or columns.
    #[track_caller]
    pub fn softmax(self) -> Tensor<'g> {
        self.apply(Softmax, &[])
    }

    /// Logarithm of the softmax over the channels of a dense activation [N, C]: finite where a probability is 0 in f32.
    ///
    /// # Panics
    /// When it has rows or columns.
    #[track_caller]
    pub fn log_softmax(self) -> Tensor<'g> {
        self.apply(LogSoftmax, &[])
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

/// The shape of dx from those of dy and y.
fn gradient_shape(x: &[Shape]) -> Result<Vec<Shape>, String> {
    arity(x, 2)?;
    rows(x[0])?;
    if x[0] != x[1] {
        return Err(format!("dy is {}, y is {}", x[0], x[1]));
    }
    Ok(vec![x[0]])
}

/// One thread a row of x\[0\], bound with the other inputs and y.
fn launch(k: &mut Recorder, entry: &'static str, x: &[ValueId], y: &[ValueId]) {
    let s = k.shape(x[0]);
    let buffers: Vec<_> = x.iter().chain(y).map(|v| (*v).into()).collect();
    k.launch(SOURCE, entry, &[], &sizes(s), &buffers, s.nchw().0.div_ceil(64));
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
        launch(k, "softmax", x, y);
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
        gradient_shape(x)
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
        launch(k, "softmax_grad", x, y);
    }
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        rows(x[0])?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, _, _) = xs[0].nchw();
        let row = |r: &[f64]| {
            let top = r.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = r.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
            r.iter().map(|v| (v - top) - log_sum).collect::<Vec<_>>()
        };
        vec![x[0].chunks(c).flat_map(row).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch(k, "log_softmax", x, y);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(LogSoftmaxGrad, &[y[0]]))]
    }
}

impl Op for LogSoftmaxGrad {
    fn name(&self) -> &'static str {
        "log_softmax_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        gradient_shape(x)
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, _, _) = xs[0].nchw();
        let row = |(d, y): (&[f64], &[f64])| {
            let sum: f64 = d.iter().sum();
            d.iter().zip(y).map(|(d, y)| d - y.exp() * sum).collect::<Vec<_>>()
        };
        vec![x[0].chunks(c).zip(x[1].chunks(c)).flat_map(row).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch(k, "log_softmax_grad", x, y);
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::ops::testing::Case;

    #[test]
    fn log_softmax_and_its_gradient() {
        for (n, c) in [(1, 1), (3, 2), (7, 17), (65, 3)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(n, c, 1, 1));
            let y = x.log_softmax();
            case.check(&[y, x.softmax()], 1e-6);
            case.check_gradients(y, &[x], 1e-5);
        }
    }

    #[test]
    fn it_is_finite_where_the_softmax_is_zero() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.given("x", Shape::image(1, 3, 1, 1), &[0.0, 500.0, 499.0]);
        let got = case.check(&[x.log_softmax(), x.softmax()], 1e-6);
        assert!((got[0][0] + 500.313_26).abs() < 1e-3 && got[1][0] == 0.0, "{got:?}");
    }
}
