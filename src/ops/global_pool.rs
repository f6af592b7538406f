//! Global pooling: mean or maximum over all pixels of each channel. The kernels stand with the other pools'.

use super::pixels::Pixels;
use super::pool::{SOURCE, pixels};
use super::{arity, image};
use crate::graph::{Cost, Images, Op, Recorder, Shape, Tensor, ValueId};

/// y [N, C] = mean over rows and columns.
#[derive(Clone, Debug)]
pub struct GlobalAvgPool;

/// dx = dy / (H·W) everywhere. Input dy [N, C].
#[derive(Clone, Debug)]
pub struct GlobalAvgPoolGrad {
    /// Shape of the pooled image.
    pub input: Shape,
}

/// y [N, C] = max over rows and columns. Outputs y and the row-major index of the pixel that won (ties: the first), as a
/// number, which f32 holds exactly below 2²⁴ pixels.
#[derive(Clone, Debug)]
pub struct GlobalMaxPool;

/// dx = dy at the pixel that won, else 0. Inputs dy [N, C] and the winners.
#[derive(Clone, Debug)]
pub struct GlobalMaxPoolGrad {
    /// Shape of the pooled image.
    pub input: Shape,
}

impl<'g> Tensor<'g> {
    /// Mean over rows and columns: [N, C, H, W] → [N, C].
    #[track_caller]
    pub fn global_avg_pool(self) -> Tensor<'g> {
        self.apply(GlobalAvgPool, &[])
    }

    /// Maximum over rows and columns: [N, C, H, W] → [N, C].
    ///
    /// # Panics
    /// When an image has more than 2²⁴ pixels.
    #[track_caller]
    pub fn global_max_pool(self) -> Tensor<'g> {
        self.apply(GlobalMaxPool, &[])
    }
}

impl Op for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn images(&self) -> Images {
        Images::Each
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

    fn images(&self) -> Images {
        Images::Each
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
        let Pixels { baked, params, groups } = pixels(k.shape(y[0]), k.shape(x[0]), [0; 4]);
        k.launch(SOURCE, "global_avg_pool_grad", &baked, &params, &[x[0].into(), y[0].into()], groups);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(GlobalAvgPool, &[]))]
    }
}

impl Op for GlobalMaxPool {
    fn name(&self) -> &'static str {
        "global_max_pool"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (n, c, h, w) = image(x[0])?;
        if h * w > 1 << 24 {
            return Err(format!("{h}×{w} pixels; the winner's index is exact up to 2^24"));
        }
        Ok(vec![Shape::image(n, c, 1, 1); 2])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, _, h, w) = xs[0].nchw();
        let first = |plane: &[f64]| {
            let better = |best: usize, i: usize| if plane[i] > plane[best] { i } else { best };
            let won = (1..h * w).fold(0, better);
            (plane[won], won as f64)
        };
        let (y, won) = x[0].chunks(h * w).map(first).unzip();
        vec![y, won]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let Pixels { baked, params, groups } = pixels(k.shape(y[0]), k.shape(x[0]), [0; 4]);
        k.launch(SOURCE, "global_max_pool", &baked, &params, &[x[0].into(), y[0].into(), y[1].into()], groups);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(GlobalMaxPoolGrad { input: x[0].shape() }, &[y[1]]))]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: xs[0].elements() as f64, bytes: 4.0 * xs[0].words() as f64 }
    }
}

impl Op for GlobalMaxPoolGrad {
    fn name(&self) -> &'static str {
        "global_max_pool_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        Ok(vec![self.input])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let (_, _, h, w) = ys[0].nchw();
        let one = |i: usize| if x[1][i / (h * w)] == (i % (h * w)) as f64 { x[0][i / (h * w)] } else { 0.0 };
        vec![(0..ys[0].elements()).map(one).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let Pixels { baked, params, groups } = pixels(k.shape(y[0]), k.shape(x[0]), [0; 4]);
        let buffers = [x[0].into(), x[1].into(), y[0].into()];
        k.launch(SOURCE, "global_max_pool_grad", &baked, &params, &buffers, groups);
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::ops::GlobalMaxPool;
    use crate::ops::testing::Case;

    #[test]
    fn maximum_over_an_image_and_its_gradient() {
        for (n, c, h, w) in [(1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 2, 33), (1, 260, 3, 2)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(n, c, h, w));
            let both = graph.record(GlobalMaxPool, &[x]);
            case.check(&both, 0.0);
            if n * c * h * w < 1000 {
                case.check_gradients(both[0], &[x], 1e-6);
            }
        }
    }

    #[test]
    fn the_first_of_equals_wins_and_takes_the_whole_gradient() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.given("x", Shape::image(1, 2, 1, 4), &[-1.0, 3.0, 3.0, 2.0, -2.0, -2.0, -2.0, -5.0]);
        let dy = case.given("dy", Shape::image(1, 2, 1, 1), &[7.0, 9.0]);
        let dx = x.global_max_pool().gradients_with(dy, &[x])[0].expect("a gradient");
        let got = case.check(&[dx], 0.0);
        assert_eq!(got[0], [0.0, 7.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]);
    }
}
