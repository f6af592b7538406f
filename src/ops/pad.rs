//! Zero padding as an operation of its own (Keras' ZeroPadding2D), and cropping, which is its gradient. A convolution's own
//! padding needs neither: see [`super::Geometry`].

use super::pixels::Pixels;
use super::pool::pixels;
use super::{arity, image, shader};
use crate::gpu::Source;
use crate::graph::{Cost, Images, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("pad.wgsl");

/// y [N, C, H + top + bottom, W + left + right] = x [N, C, H, W] with zeros around it: top, bottom, left, right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroPad(pub [usize; 4]);

/// y = x without its outer rows and columns: top, bottom, left, right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop(pub [usize; 4]);

impl<'g> Tensor<'g> {
    /// Zeros around each image: top, bottom, left, right.
    ///
    /// # Panics
    /// When this is no image.
    #[track_caller]
    pub fn zero_pad2d(self, sides: [usize; 4]) -> Tensor<'g> {
        self.apply(ZeroPad(sides), &[])
    }

    /// Each image without its outer rows and columns: top, bottom, left, right.
    ///
    /// # Panics
    /// When nothing is left.
    #[track_caller]
    pub fn crop2d(self, sides: [usize; 4]) -> Tensor<'g> {
        self.apply(Crop(sides), &[])
    }
}

/// Calls `f(index in the large image, index in the small one)` for every pixel of the small one.
fn each(large: Shape, small: Shape, [top, _, left, _]: [usize; 4], mut f: impl FnMut(usize, usize)) {
    let ((n, c, lh, lw), (_, _, h, w)) = (large.nchw(), small.nchw());
    for plane in 0..n * c {
        for (row, column) in (0..h).flat_map(|r| (0..w).map(move |c| (r, c))) {
            f((plane * lh + row + top) * lw + column + left, (plane * h + row) * w + column);
        }
    }
}

fn launch(k: &mut Recorder, entry: &'static str, x: ValueId, y: ValueId, sides: [usize; 4]) {
    let Pixels { baked, params, groups } = pixels(k.shape(y), k.shape(x), sides);
    k.launch(SOURCE, entry, &baked, &params, &[x.into(), y.into()], groups);
}

fn moved(xs: &[Shape], ys: &[Shape]) -> Cost {
    Cost { flops: 0.0, bytes: 4.0 * (xs[0].words() + ys[0].words()) as f64 }
}

impl Op for ZeroPad {
    fn name(&self) -> &'static str {
        "zero_pad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let ((n, c, h, w), [top, bottom, left, right]) = (image(x[0])?, self.0);
        Ok(vec![Shape::image(n, c, h + top + bottom, w + left + right)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut y = vec![0.0; ys[0].elements()];
        each(ys[0], xs[0], self.0, |large, small| y[large] = x[0][small]);
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch(k, "zero_pad", x[0], y[0], self.0);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.crop2d(self.0))]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        moved(xs, ys)
    }
}

impl Op for Crop {
    fn name(&self) -> &'static str {
        "crop"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let ((n, c, h, w), [top, bottom, left, right]) = (image(x[0])?, self.0);
        if h <= top + bottom || w <= left + right {
            return Err(format!("cropping {:?} (top, bottom, left, right) leaves nothing of H {h}, W {w}", self.0));
        }
        Ok(vec![Shape::image(n, c, h - top - bottom, w - left - right)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut y = vec![0.0; ys[0].elements()];
        each(xs[0], ys[0], self.0, |large, small| y[small] = x[0][large]);
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch(k, "crop", x[0], y[0], self.0);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.zero_pad2d(self.0))]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        moved(xs, ys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    #[test]
    fn padding_cropping_and_their_gradients() {
        for ([n, c, h, w], sides) in [
            ([1, 1, 1, 1], [1, 0, 0, 0]),
            ([2, 3, 5, 7], [3, 3, 3, 3]),
            ([1, 17, 3, 2], [0, 1, 0, 1]),
            ([1, 33, 2, 3], [0, 0, 5, 2]),
            ([2, 5, 7, 3], [0; 4]),
        ] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(n, c, h, w));
            let y = x.zero_pad2d(sides);
            case.check(&[y, y.crop2d(sides)], 0.0);
            case.check_gradients(y, &[x], 1e-6);
            let large = case.random("large", y.shape());
            case.check_gradients(large.crop2d(sides), &[large], 1e-6);
        }
    }

    #[test]
    #[should_panic(expected = "leaves nothing of H 4, W 5")]
    fn cropping_everything_is_refused() {
        Graph::new().input("x", Shape::image(1, 1, 4, 5)).crop2d([1, 3, 0, 0]);
    }
}
