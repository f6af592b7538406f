//! A grey image as the three channels that a network trained on colours expects.

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Images, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("replicate.wgsl");

/// y[n, k] = scale\[k\] · x[n, 0] + shift\[k\]; x [N, 1, H, W], y [N, 3, H, W]. An operation for pictures: no gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicate {
    /// Factor of each channel.
    pub scale: [f32; 3],
    /// Added to each channel.
    pub shift: [f32; 3],
}

impl<'g> Tensor<'g> {
    /// Three channels of a grey image, each with its own factor and shift.
    ///
    /// # Panics
    /// When this is no image of one channel.
    #[track_caller]
    pub fn replicate(self, scale: [f32; 3], shift: [f32; 3]) -> Tensor<'g> {
        self.apply(Replicate { scale, shift }, &[])
    }
}

impl Op for Replicate {
    fn name(&self) -> &'static str {
        "replicate"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        match image(x[0])? {
            (n, 1, h, w) => Ok(vec![Shape::image(n, 3, h, w)]),
            _ => Err(format!("expected a grey image, given was {}", x[0])),
        }
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, _, h, w) = xs[0].nchw();
        let channel = |i: usize, k: usize| {
            let (scale, shift) = (f64::from(self.scale[k]), f64::from(self.shift[k]));
            x[0][i * h * w..(i + 1) * h * w].iter().map(move |v| scale * v + shift)
        };
        vec![(0..n).flat_map(|i| (0..3).flat_map(move |k| channel(i, k))).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (n, _, h, w) = k.shape(x[0]).nchw();
        let mut params = vec![("pixels", Word::from(n * h * w))];
        params.extend(["scale_r", "scale_g", "scale_b"].into_iter().zip(self.scale.map(Word::F)));
        params.extend(["shift_r", "shift_g", "shift_b"].into_iter().zip(self.shift.map(Word::F)));
        k.launch(SOURCE, "replicate", &[], &params, &[x[0].into(), y[0].into()], (n * h * w).div_ceil(256));
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::ops::testing::Case;

    #[test]
    fn each_channel_has_its_own_line() {
        for (n, h, w) in [(1, 1, 1), (2, 17, 33)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(n, 1, h, w));
            case.check(&[x.replicate([1.0, -2.0, 4.0], [0.5, 0.0, -0.25])], 1e-6);
        }
    }
}
