//! 2-D convolution and dense layers, forward and backward, on one GEMM core.
//!
//! y[n, k, p, q] = Σ over c, r, s of x[n, c, p·SH + r − top, q·SW + s − left] · w[k, c, r, s]
//!
//! A dense layer is the convolution whose filter is as large as its input: w (K, F) with F flattened from C H W *is* the
//! filter K C H W, so flattening costs nothing and needs no layout of its own.

mod launch;

use super::activation::{Relu, ReluGrad};
use super::batch_norm::Normalize;
use super::bias::Bias;
use super::merge::Add;
use super::{arity, image};
use crate::graph::{Cost, Images, Op, Recorder, Shape, Tensor, ValueId, Views, downcast};
use std::rc::Rc;

/// Stride and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Step down and right.
    pub stride: [usize; 2],
    /// Padding at the top, bottom, left, right.
    pub padding: [usize; 4],
}

impl Geometry {
    /// Stride 1, no padding.
    pub const VALID: Geometry = Geometry { stride: [1, 1], padding: [0; 4] };

    /// Stride 1 and the padding that keeps H and W for an odd filter of `r` × `s`.
    pub const fn same(r: usize, s: usize) -> Geometry {
        Geometry { stride: [1, 1], padding: [(r - 1) / 2, r / 2, (s - 1) / 2, s / 2] }
    }

    /// Keras' and TensorFlow's `same`: as many outputs as input pixels over the stride, rounded up, and what padding that
    /// takes with the odd pixel at the bottom and right.
    pub const fn keras_same(input: [usize; 2], size: [usize; 2], stride: [usize; 2]) -> Geometry {
        const fn sides(input: usize, size: usize, stride: usize) -> (usize, usize) {
            let all = ((input.div_ceil(stride) - 1) * stride + size).saturating_sub(input);
            (all / 2, all - all / 2)
        }
        let (top, bottom) = sides(input[0], size[0], stride[0]);
        let (left, right) = sides(input[1], size[1], stride[1]);
        Geometry { stride, padding: [top, bottom, left, right] }
    }

    /// Shape of y for x and w.
    fn output(&self, x: Shape, w: Shape) -> Result<Shape, String> {
        let (n, c, h, wide) = image(x)?;
        let Shape::Filter { k, c: ci, r, s } = w else { return Err(format!("expected a filter, given was {w}")) };
        if c != ci {
            return Err(format!("x has C {c}, the filter takes {ci}"));
        }
        let [p, q] = self.size([h, wide], [r, s])?;
        Ok(Shape::image(n, k, p, q))
    }

    /// Rows and columns of y for those of x and of a filter.
    pub(crate) fn size(&self, [h, w]: [usize; 2], [r, s]: [usize; 2]) -> Result<[usize; 2], String> {
        if self.stride.contains(&0) {
            return Err(format!("stride {:?}", self.stride));
        }
        let [top, bottom, left, right] = self.padding;
        if h + top + bottom < r || w + left + right < s {
            return Err(format!("H {h}, W {w} with padding {:?} is smaller than the filter {r}×{s}", self.padding));
        }
        Ok([(h + top + bottom - r) / self.stride[0] + 1, (w + left + right - s) / self.stride[1] + 1])
    }

    /// Calls `f(x index, w index, y index)` for every product of the sum, world order; naive loops.
    fn each(&self, x: Shape, w: Shape, y: Shape, mut f: impl FnMut(usize, usize, usize)) {
        let ((n, c, h, wide), (_, k, p, q)) = (x.nchw(), y.nchw());
        let Shape::Filter { r, s, .. } = w else { unreachable!("checked when recorded") };
        for image in 0..n {
            for out in 0..k {
                for row in 0..p {
                    for column in 0..q {
                        let yi = ((image * k + out) * p + row) * q + column;
                        for (a, b) in (0..r).flat_map(|a| (0..s).map(move |b| (a, b))) {
                            let i = (row * self.stride[0] + a).wrapping_sub(self.padding[0]);
                            let j = (column * self.stride[1] + b).wrapping_sub(self.padding[2]);
                            if i < h && j < wide {
                                for ch in 0..c {
                                    f(((image * c + ch) * h + i) * wide + j, ((out * c + ch) * r + a) * s + b, yi);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn cost(x: Shape, w: Shape, y: Shape) -> Cost {
        let (n, k, p, q) = y.nchw();
        let flops = 2.0 * (n * p * q * w.elements()) as f64;
        debug_assert!(k > 0);
        Cost { flops, bytes: 4.0 * (x.words() + w.words() + y.words()) as f64 }
    }
}

/// The bit of the forward input if its pixels may be apart: a dense layer reads an image as one run.
fn strided_input(geometry: Geometry, filter: Shape, x: Shape) -> u32 {
    let (_, _, h, w) = x.nchw();
    u32::from(!launch::dense(geometry, filter, x) || h * w == 1)
}

/// y = x ∗ w (+ b) (normalised) (+ residual) (ReLU). Inputs x [N, C, H, W], w [K, C, R, S], then b \[K\] if `bias`, then mean, a,
/// β \[K\] if `norm`, then a residual of y's shape if `skip`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Stride and padding.
    pub geometry: Geometry,
    /// Whether a third input is added per output channel.
    pub bias: bool,
    /// Whether results become (y − mean) · a + β: batch norm with given statistics (by fusion only).
    pub norm: bool,
    /// Whether a residual is added after that (by fusion only).
    pub skip: bool,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// dx of [`Conv2d`]. Inputs dy, w, and the ReLU output that was x if `mask`: then dx is 0 where it is not positive.
#[derive(Clone, Debug)]
pub struct Conv2dGradInput {
    /// Stride and padding of the forward convolution.
    pub geometry: Geometry,
    /// Shape of x.
    pub input: Shape,
    /// Whether a third input masks the result.
    pub mask: bool,
}

/// dw of [`Conv2d`]. Inputs x, dy.
#[derive(Clone, Debug)]
pub struct Conv2dGradWeight {
    /// Stride and padding of the forward convolution.
    pub geometry: Geometry,
    /// Shape of w.
    pub filter: Shape,
}

impl<'g> Tensor<'g> {
    /// Convolution with the filter `w` [K, C, R, S]. Follow with [`Tensor::bias`] and [`Tensor::relu`]; the plan fuses them.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn conv2d(self, w: Tensor<'g>, geometry: Geometry) -> Tensor<'g> {
        self.apply(Conv2d { geometry, bias: false, norm: false, skip: false, relu: false }, &[w])
    }

    /// Dense layer: all of each image times `w`, whose shape is [`Tensor::dense_shape`]; gives [N, K].
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn dense(self, w: Tensor<'g>) -> Tensor<'g> {
        let want = match w.shape() {
            Shape::Filter { k, .. } => self.dense_shape(k),
            other => other,
        };
        assert!(w.shape() == want, "{} / dense: the weight is {}, needed is {want}", self.graph().path(""), w.shape());
        self.conv2d(w, Geometry::VALID)
    }

    /// The shape of a dense weight with `k` outputs on this activation. PyTorch's (K, C·H·W) row-major is the same numbers;
    /// Keras flattens as H W C, see [`crate::weights::keras`].
    #[track_caller]
    pub fn dense_shape(self, k: usize) -> Shape {
        let (_, c, r, s) = self.nchw();
        Shape::Filter { k, c, r, s }
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d_forward"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        let channels = usize::from(self.bias) + 3 * usize::from(self.norm);
        arity(x, 2 + channels + usize::from(self.skip))?;
        let y = self.geometry.output(x[0], x[1])?;
        let (_, c, _, _) = y.nchw();
        if let Some(b) = x[2..2 + channels].iter().find(|s| **s != Shape::Channels { c }) {
            return Err(format!("y has C {c}, the bias or a statistic is {b}"));
        }
        if self.skip && x[x.len() - 1] != y {
            return Err(format!("y is {y}, the residual {}", x[x.len() - 1]));
        }
        Ok(vec![y])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let (_, k, p, q) = ys[0].nchw();
        let mut y = vec![0.0; ys[0].elements()];
        if self.bias {
            y.iter_mut().enumerate().for_each(|(i, v)| *v = x[2][i / (p * q) % k]);
        }
        self.geometry.each(xs[0], xs[1], ys[0], |a, b, o| y[o] += x[0][a] * x[1][b]);
        if self.norm {
            let [mean, a, beta] = [0, 1, 2].map(|i| x[2 + usize::from(self.bias) + i]);
            y.iter_mut().enumerate().for_each(|(i, v)| {
                let c = i / (p * q) % k;
                *v = (*v - mean[c]) * a[c] + beta[c];
            });
        }
        if self.skip {
            y.iter_mut().zip(x[x.len() - 1]).for_each(|(v, s)| *v += s);
        }
        if self.relu {
            y.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
        }
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let sizes = launch::Sizes::new(k, x[0], k.shape(x[1]), y[0], self.geometry);
        launch::forward(k, &sizes, x, y[0], self);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        let fused = self.bias || self.norm || self.skip || self.relu;
        assert!(!fused, "gradients are recorded before fusion");
        let geometry = self.geometry;
        let dx = Conv2dGradInput { geometry, input: x[0].shape(), mask: false };
        let dw = Conv2dGradWeight { geometry, filter: x[1].shape() };
        vec![wanted[0].then(|| dy.apply(dx, &[x[1]])), wanted[1].then(|| x[0].apply(dw, &[dy]))]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        Geometry::cost(xs[0], xs[1], ys[0])
    }

    fn views(&self, xs: &[Shape], _: &[Shape]) -> Views {
        let skip = u32::from(self.skip) << (xs.len() - 1);
        Views { inputs: skip | strided_input(self.geometry, xs[1], xs[0]), output: true }
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        let plain = !self.norm && !self.skip && !self.relu;
        if downcast::<Bias>(next).is_some() && plain && !self.bias {
            return Some(Rc::new(Conv2d { bias: true, ..self.clone() }));
        }
        if downcast::<Normalize>(next).is_some_and(|n| !n.skip && !n.relu) && plain {
            return Some(Rc::new(Conv2d { norm: true, ..self.clone() }));
        }
        // After a batch norm only: a residual joins nothing else in the papers' networks, and each variant is a pipeline.
        if downcast::<Add>(next).is_some() && self.norm && !self.skip && !self.relu {
            return Some(Rc::new(Conv2d { skip: true, ..self.clone() }));
        }
        downcast::<Relu>(next).filter(|_| !self.relu)?;
        Some(Rc::new(Conv2d { relu: true, ..self.clone() }))
    }
}

impl Op for Conv2dGradInput {
    fn name(&self) -> &'static str {
        "conv2d_grad_input"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2 + usize::from(self.mask))?;
        let y = self.geometry.output(self.input, x[1])?;
        if y != x[0] {
            return Err(format!("dy is {}, y is {y}", x[0]));
        }
        if self.mask && x[2] != self.input {
            return Err(format!("x is {}, the mask {}", self.input, x[2]));
        }
        Ok(vec![self.input])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut dx = vec![0.0; ys[0].elements()];
        self.geometry.each(self.input, xs[1], xs[0], |a, b, o| dx[a] += x[0][o] * x[1][b]);
        if self.mask {
            dx.iter_mut().zip(x[2]).for_each(|(d, m)| *d = if *m > 0.0 { *d } else { 0.0 });
        }
        vec![dx]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let sizes = launch::Sizes::new(k, y[0], k.shape(x[1]), x[0], self.geometry);
        launch::grad_input(k, &sizes, x, y[0]);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Geometry::cost(self.input, xs[1], xs[0])
    }

    fn views(&self, xs: &[Shape], _: &[Shape]) -> Views {
        // The mask is read at dx's places, so both are dense or neither.
        Views { inputs: 1, output: !self.mask && strided_input(self.geometry, xs[1], self.input) == 1 }
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        downcast::<ReluGrad>(next).filter(|_| !self.mask)?;
        Some(Rc::new(Conv2dGradInput { mask: true, ..self.clone() }))
    }
}

impl Op for Conv2dGradWeight {
    fn name(&self) -> &'static str {
        "conv2d_grad_weight"
    }

    fn images(&self) -> Images {
        Images::Sum
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let y = self.geometry.output(x[0], self.filter)?;
        if y != x[1] {
            return Err(format!("dy is {}, y is {y}", x[1]));
        }
        Ok(vec![self.filter])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut dw = vec![0.0; ys[0].elements()];
        self.geometry.each(xs[0], self.filter, xs[1], |a, b, o| dw[b] += x[0][a] * x[1][o]);
        vec![dw]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let sizes = launch::Sizes::new(k, x[0], self.filter, x[1], self.geometry);
        launch::grad_weight(k, &sizes, x, y[0]);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Geometry::cost(xs[0], self.filter, xs[1])
    }

    fn views(&self, xs: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 2 | strided_input(self.geometry, self.filter, xs[0]), output: false }
    }
}
