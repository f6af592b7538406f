//! Activations: ReLU, ELU, sigmoid. ReLU is fused into the conv, dense, bias or addition before it, its gradient into the
//! kernel that writes dy. All gradients are of the output y alone, so the input's memory is free after the forward pass.

use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Images, Op, Recorder, Shape, Tensor, ValueId, shape};

const SOURCE: Source = shader!("activation.wgsl");

/// y = x where x ≥ 0, else 0. Any shape.
#[derive(Clone, Debug)]
pub struct Relu;

/// dx = dy where y > 0, else 0. Inputs dy and y, the forward output; the gradient at 0 is 0 (PyTorch).
#[derive(Clone, Debug)]
pub struct ReluGrad;

/// y = x where x ≥ 0, else α (exp(x) − 1) (Clevert et al., arXiv:1511.07289). Any shape; α > 0, because the gradient is
/// taken from y, whose sign must be that of x.
#[derive(Clone, Debug)]
pub struct Elu {
    /// α, 1 by default everywhere.
    pub alpha: f32,
}

/// dx = dy where y > 0, else dy (y + α). Inputs dy and y.
#[derive(Clone, Debug)]
pub struct EluGrad {
    /// α.
    pub alpha: f32,
}

/// y = 1 / (1 + exp(−x)). Images, channels, and plain rows.
#[derive(Clone, Debug)]
pub struct Sigmoid;

/// dx = dy y (1 − y). Inputs dy and y.
#[derive(Clone, Debug)]
pub struct SigmoidGrad;

impl<'g> Tensor<'g> {
    /// max(x, 0).
    pub fn relu(self) -> Tensor<'g> {
        self.apply(Relu, &[])
    }

    /// x, or where x is negative α (exp(x) − 1). PyTorch's and Keras' default of α is 1.
    ///
    /// # Panics
    /// When α is not positive and finite.
    #[track_caller]
    pub fn elu(self, alpha: f32) -> Tensor<'g> {
        self.apply(Elu { alpha }, &[])
    }

    /// 1 / (1 + exp(−x)). As the end of a network train its argument with [`Tensor::bce_with_logits`] instead.
    ///
    /// # Panics
    /// When this is a filter.
    #[track_caller]
    pub fn sigmoid(self) -> Tensor<'g> {
        self.apply(Sigmoid, &[])
    }
}

/// The shape of dx from those of dy and y.
fn same(x: &[Shape]) -> Result<Vec<Shape>, String> {
    arity(x, 2)?;
    if x[0] != x[1] {
        return Err(format!("dy is {}, y is {}", x[0], x[1]));
    }
    Ok(vec![x[0]])
}

/// f(dy, y), element by element.
fn zip(x: &[&[f64]], f: impl Fn(f64, f64) -> f64) -> Vec<Vec<f64>> {
    vec![x[0].iter().zip(x[1]).map(|(d, y)| f(*d, *y)).collect()]
}

/// 1 / (1 + exp(−x)) without overflow.
pub(super) fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| if *v < 0.0 { 0.0 } else { *v }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "relu", &[], &[], x, y[0]);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(ReluGrad, &[y[0]]))]
    }
}

impl Op for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        same(x)
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        zip(x, |d, y| if y > 0.0 { d } else { 0.0 })
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "relu_grad", &[], &[], x, y[0]);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        // Linear in dy, flat in y.
        vec![wanted[0].then(|| dy.apply(ReluGrad, &[x[1]])), None]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: xs[0].elements() as f64, bytes: 12.0 * xs[0].words() as f64 }
    }
}

impl Op for Elu {
    fn name(&self) -> &'static str {
        "elu"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(format!("alpha must be positive, given was {}", self.alpha));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| if *v < 0.0 { f64::from(self.alpha) * v.exp_m1() } else { *v }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "elu", &[], &[("alpha", Word::F(self.alpha))], x, y[0]);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(EluGrad { alpha: self.alpha }, &[y[0]]))]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        // About 30 operations for exp and the series.
        Cost { flops: 30.0 * xs[0].elements() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

impl Op for EluGrad {
    fn name(&self) -> &'static str {
        "elu_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        same(x)
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        zip(x, |d, y| if y > 0.0 { d } else { d * (y + f64::from(self.alpha)) })
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "elu_grad", &[], &[("alpha", Word::F(self.alpha))], x, y[0]);
    }
}

impl Op for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        match x[0] {
            Shape::Image { .. } | Shape::Channels { .. } | Shape::Flat { .. } => Ok(vec![x[0]]),
            other => Err(format!("expected an image, channels or a row of numbers, given was {other}")),
        }
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| sigmoid(*v)).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let s = k.shape(x[0]);
        // The sigmoid of an extra lane would be 1/2.
        let channels = match s {
            Shape::Image { c, .. } => c,
            other => other.elements(),
        };
        let quads = shape::padded(channels) / 4;
        let params = [("channel_quads", Word::from(quads)), ("channels", Word::from(channels))];
        let words = k.shape(x[0]).words();
        k.elementwise(SOURCE, "sigmoid", &[], &params, &[x[0].into(), y[0].into()], words);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(SigmoidGrad, &[y[0]]))]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 20.0 * xs[0].elements() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

impl Op for SigmoidGrad {
    fn name(&self) -> &'static str {
        "sigmoid_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        same(x)
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        zip(x, |d, y| d * y * (1.0 - y))
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "sigmoid_grad", &[], &[], x, y[0]);
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::ops::testing::{Case, numbers};

    #[test]
    fn elu_and_sigmoid_and_their_gradients() {
        for (n, c, h, w) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 17, 3, 3)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            // Away from the kink that ELU has at 0 for α other than 1.
            let shape = Shape::image(n, c, h, w);
            let values: Vec<f32> = numbers(7, shape.elements()).iter().map(|v| 4.0 * v + v.signum() * 1e-3).collect();
            let x = case.given("x", shape, &values);
            let (a, b, s) = (x.elu(1.0), x.elu(0.3), x.sigmoid());
            case.check(&[a, b, s], 1e-6);
            case.check_gradients(a, &[x], 1e-5);
            case.check_gradients(b, &[x], 1e-5);
            case.check_gradients(s, &[x], 1e-5);
        }
        // More than one workgroup, no multiple of one, and a row of numbers.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", Shape::flat(9001));
        case.check(&[x.sigmoid(), x.elu(1.0)], 1e-6);
        let y = case.random("y", Shape::image(1, 5, 41, 43));
        case.check(&[y.sigmoid(), y.elu(1.0)], 1e-6);
    }

    #[test]
    fn far_out_and_near_zero() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.given("x", Shape::flat(9), &[-1e4, -100.0, -1e-3, -1e-7, 0.0, 1e-7, 20.0, 100.0, 1e4]);
        let got = case.check(&[x.sigmoid(), x.elu(1.0)], 1e-6);
        assert_eq!((got[0][0], got[0][8]), (0.0, 1.0));
        // Relative accuracy where exp(x) − 1 would have cancelled.
        for (y, x) in got[1].iter().zip([-1e4f64, -100.0, -1e-3, -1e-7]) {
            assert!((f64::from(*y) / x.exp_m1() - 1.0).abs() < 1e-6, "elu({x}) is {y}");
        }
        assert_eq!(got[1][4..], [0.0, 1e-7, 20.0, 100.0, 1e4]);
    }

    #[test]
    #[should_panic(expected = "alpha must be positive")]
    fn a_negative_alpha_is_refused() {
        let graph = Graph::new();
        graph.input("x", Shape::flat(1)).elu(-1.0);
    }
}
