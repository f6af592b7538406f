//! ReLU: y = max(x, 0). Fused into the conv, dense or bias before it; its gradient into the kernel that writes dy.

use super::{arity, shader};
use crate::gpu::Source;
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("activation.wgsl");

/// y = x where x ≥ 0, else 0. Any shape.
#[derive(Clone, Debug)]
pub struct Relu;

/// dx = dy where y > 0, else 0. Inputs dy and y, the forward output; the gradient at 0 is 0 (PyTorch).
#[derive(Clone, Debug)]
pub struct ReluGrad;

impl<'g> Tensor<'g> {
    /// max(x, 0).
    pub fn relu(self) -> Tensor<'g> {
        self.apply(Relu, &[])
    }
}

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| if *v < 0.0 { 0.0 } else { *v }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        k.streaming(SOURCE, "relu", &[x[0].into(), y[0].into()], words);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(ReluGrad, &[y[0]]))]
    }
}

impl Op for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        if x[0] != x[1] {
            return Err(format!("dy is {}, y is {}", x[0], x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().zip(x[1]).map(|(d, y)| if *y > 0.0 { *d } else { 0.0 }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        k.streaming(SOURCE, "relu_grad", &[x[0].into(), x[1].into(), y[0].into()], words);
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
