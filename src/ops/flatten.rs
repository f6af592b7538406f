//! Flattening a map to a vector, in PyTorch's order (C, H, W) or Keras' (H, W, C). A dense layer alone needs none: its filter is as
//! large as its input. This is for vectors that are joined with others, as in Zhong's network.

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Images, Op, Recorder, Shape, Tensor, ValueId, shape};

const SOURCE: Source = shader!("flatten.wgsl");

/// y [N, C·H·W] of x [N, C, H, W].
#[derive(Clone, Debug)]
pub struct Flatten {
    /// Keras' order, H W C, instead of C H W.
    pub channels_last: bool,
}

/// The inverse of [`Flatten`], its gradient.
#[derive(Clone, Debug)]
pub struct Unflatten {
    /// As in [`Flatten`].
    pub channels_last: bool,
    /// Shape of the result.
    pub image: Shape,
}

impl<'g> Tensor<'g> {
    /// [N, C, H, W] to [N, C·H·W] in the order C, H, W.
    ///
    /// # Panics
    /// When this is no image.
    #[track_caller]
    pub fn flatten(self) -> Tensor<'g> {
        self.apply(Flatten { channels_last: false }, &[])
    }

    /// [N, C, H, W] to [N, H·W·C] in Keras' order H, W, C.
    ///
    /// # Panics
    /// When this is no image.
    #[track_caller]
    pub fn flatten_channels_last(self) -> Tensor<'g> {
        self.apply(Flatten { channels_last: true }, &[])
    }
}

/// For each element of an image in the world's order, its place in the flat tensor.
fn places(image: Shape, channels_last: bool) -> impl Iterator<Item = usize> {
    let (n, c, h, w) = image.nchw();
    let pixels = h * w;
    (0..n * c * pixels).map(move |i| {
        let (image, f) = (i / (c * pixels), i % (c * pixels));
        image * c * pixels + if channels_last { f % pixels * c + f / pixels } else { f }
    })
}

fn launch(k: &mut Recorder, entry: &'static str, channels_last: bool, of: ValueId, x: ValueId, y: ValueId) {
    let (n, c, h, w) = k.shape(of).nchw();
    let (_, in_channels, _, _) = k.shape(x).nchw();
    let (_, out_channels, _, _) = k.shape(y).nchw();
    let quads = k.shape(y).words() / 4;
    let params = [
        ("images", n),
        ("channels", c),
        ("pixels", h * w),
        ("quads", quads),
        ("row_quads", shape::padded(out_channels) / 4),
        ("in_pitch", shape::padded(in_channels)),
    ]
    .map(|(name, v)| (name, Word::from(v)));
    let baked = [("CHANNELS_LAST", i64::from(channels_last))];
    k.launch(SOURCE, entry, &baked, &params, &[x.into(), y.into()], quads.div_ceil(64));
}

impl Op for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (n, c, h, w) = image(x[0])?;
        Ok(vec![Shape::image(n, c * h * w, 1, 1)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let mut y = vec![0.0; xs[0].elements()];
        places(xs[0], self.channels_last).zip(x[0]).for_each(|(at, v)| y[at] = *v);
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch(k, "flatten", self.channels_last, x[0], x[0], y[0]);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(Unflatten { channels_last: self.channels_last, image: x[0].shape() }, &[]))]
    }
}

impl Op for Unflatten {
    fn name(&self) -> &'static str {
        "unflatten"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (n, c, h, w) = image(self.image)?;
        if x[0] != Shape::image(n, c * h * w, 1, 1) {
            return Err(format!("{} is not {} flattened", x[0], self.image));
        }
        Ok(vec![self.image])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        vec![places(ys[0], self.channels_last).map(|at| x[0][at]).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        launch(k, "unflatten", self.channels_last, y[0], x[0], y[0]);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(Flatten { channels_last: self.channels_last }, &[]))]
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::ops::testing::Case;

    #[test]
    fn both_orders_and_their_gradients() {
        for (n, c, h, w) in [(1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 2, 1), (1, 8, 3, 3)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(n, c, h, w));
            case.check(&[x.flatten(), x.flatten_channels_last()], 0.0);
            case.check_gradients(x.flatten(), &[x], 1e-5);
            case.check_gradients(x.flatten_channels_last(), &[x], 1e-5);
        }
    }

    #[test]
    fn the_orders_are_those_of_the_frameworks() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        // Channel c, pixel p holds 10 c + p.
        let x = case.given("x", Shape::image(1, 2, 1, 3), &[0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
        let got = case.check(&[x.flatten(), x.flatten_channels_last()], 0.0);
        assert_eq!(got[0], [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
        assert_eq!(got[1], [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
    }
}
