//! Global average pooling: the mean over all pixels of each channel. Its kernels stand with the other pools'.

use super::pixels::Pixels;
use super::pool::{SOURCE, pixels};
use super::{arity, image};
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

/// y [N, C] = mean over rows and columns.
#[derive(Clone, Debug)]
pub struct GlobalAvgPool;

/// dx = dy / (H·W) everywhere. Input dy [N, C].
#[derive(Clone, Debug)]
pub struct GlobalAvgPoolGrad {
    /// Shape of the pooled image.
    pub input: Shape,
}

impl<'g> Tensor<'g> {
    /// Mean over rows and columns: [N, C, H, W] → [N, C].
    #[track_caller]
    pub fn global_avg_pool(self) -> Tensor<'g> {
        self.apply(GlobalAvgPool, &[])
    }
}

impl Op for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (n, c, _, _) = image(x[0])?;
        Ok(vec![Shape::image(n, c, 1, 1)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, _, h, w) = xs[0].nchw();
        vec![x[0].chunks(h * w).map(|plane| plane.iter().sum::<f64>() / (h * w) as f64).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let Pixels { baked, params, groups } = pixels(k.shape(y[0]), k.shape(x[0]), [0; 4]);
        k.launch(SOURCE, "global_avg_pool", &baked, &params, &[x[0].into(), y[0].into()], groups);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(GlobalAvgPoolGrad { input: x[0].shape() }, &[]))]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: xs[0].elements() as f64, bytes: 4.0 * xs[0].words() as f64 }
    }
}

impl Op for GlobalAvgPoolGrad {
    fn name(&self) -> &'static str {
        "global_avg_pool_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        Ok(vec![self.input])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let (_, _, h, w) = ys[0].nchw();
        vec![(0..ys[0].elements()).map(|i| x[0][i / (h * w)] / (h * w) as f64).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let Pixels { baked, params, groups } = pixels(self.input, k.shape(x[0]), [0; 4]);
        k.launch(SOURCE, "global_avg_pool_grad", &baked, &params, &[x[0].into(), y[0].into()], groups);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(GlobalAvgPool, &[]))]
    }
}
