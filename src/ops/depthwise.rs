//! Depthwise convolution, forward and backward: each input channel has filters of its own.
//!
//! y[n, c·m + j, p, q] = Σ over r, s of x[n, c, p·SH + r − top, q·SW + s − left] · w[c·m + j, 0, r, s],  j < m
//!
//! A separable convolution is this and a 1 × 1 convolution (Chollet 2017, arXiv:1610.02357). The order of output channels is
//! PyTorch's (`groups = C`) and Keras' (`depth_multiplier`).

use super::activation::ReluGrad;
use super::conv::Geometry;
use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Images, Op, Operand, Recorder, Shape, Tensor, ValueId, Views, downcast, shape};
use std::rc::Rc;

const SOURCE: Source = shader!("depthwise.wgsl");

/// Columns of a thread in `depthwise.wgsl`.
const COLS: usize = 2;

/// Rows that a thread walks down: its filter and the rows above are loaded once for them.
const ROWS: usize = 16;

/// Slices of the filter gradient's sum, at most: enough threads, and little left for the second kernel.
const CHUNKS: usize = 64;

/// y = x ∗ w channel by channel. Inputs x [N, C, H, W], w [C·m, 1, R, S].
#[derive(Clone, Debug)]
pub struct DepthwiseConv2d {
    /// Stride and padding.
    pub geometry: Geometry,
}

/// dx of [`DepthwiseConv2d`]. Inputs dy, w, and the ReLU output that was x if `mask`: then dx is 0 where it is not positive.
#[derive(Clone, Debug)]
pub struct DepthwiseConv2dGradInput {
    /// Stride and padding of the forward convolution.
    pub geometry: Geometry,
    /// Shape of x.
    pub input: Shape,
    /// Whether a third input masks the result.
    pub mask: bool,
}

/// dw of [`DepthwiseConv2d`]. Inputs x, dy.
#[derive(Clone, Debug)]
pub struct DepthwiseConv2dGradWeight {
    /// Stride and padding of the forward convolution.
    pub geometry: Geometry,
    /// Shape of w.
    pub filter: Shape,
}

impl<'g> Tensor<'g> {
    /// Convolution of each channel with filters of its own: `w` is [C·m, 1, R, S].
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn depthwise_conv2d(self, w: Tensor<'g>, geometry: Geometry) -> Tensor<'g> {
        self.apply(DepthwiseConv2d { geometry }, &[w])
    }
}

/// Filters a channel, rows and columns of a filter.
fn filter(x: Shape, w: Shape) -> Result<(usize, usize, usize), String> {
    let (_, c, _, _) = image(x)?;
    match w {
        Shape::Filter { k, c: 1, r, s } if k > 0 && k % c == 0 => Ok((k / c, r, s)),
        other => Err(format!("x has C {c}: expected a filter [O a multiple of {c}, I 1, H, W], given was {other}")),
    }
}

fn output(geometry: Geometry, x: Shape, w: Shape) -> Result<Shape, String> {
    let ((n, c, h, wide), (m, r, s)) = (image(x)?, filter(x, w)?);
    let [p, q] = geometry.size([h, wide], [r, s])?;
    Ok(Shape::image(n, c * m, p, q))
}

/// Calls `f(x index, w index, y index)` for every product of the sum, world order; naive loops.
fn each(geometry: Geometry, x: Shape, w: Shape, y: Shape, mut f: impl FnMut(usize, usize, usize)) {
    let ((n, c, h, wide), (_, k, p, q)) = (x.nchw(), y.nchw());
    let (m, r, s) = filter(x, w).expect("checked when recorded");
    for (image, out) in (0..n).flat_map(|i| (0..k).map(move |o| (i, o))) {
        for (row, column) in (0..p).flat_map(|a| (0..q).map(move |b| (a, b))) {
            for (a, b) in (0..r).flat_map(|a| (0..s).map(move |b| (a, b))) {
                let i = (row * geometry.stride[0] + a).wrapping_sub(geometry.padding[0]);
                let j = (column * geometry.stride[1] + b).wrapping_sub(geometry.padding[2]);
                if i < h && j < wide {
                    let from = ((image * c + out / m) * h + i) * wide + j;
                    f(from, (out * r + a) * s + b, ((image * k + out) * p + row) * q + column);
                }
            }
        }
    }
}

fn cost(x: Shape, w: Shape, y: Shape) -> Cost {
    let Shape::Filter { r, s, .. } = w else { unreachable!("checked when recorded") };
    Cost { flops: (2 * y.elements() * r * s) as f64, bytes: 4.0 * (x.words() + w.words() + y.words()) as f64 }
}

type Baked = Vec<(&'static str, i64)>;
type Params = Vec<(&'static str, Word)>;

/// What all kernels share: `#param`s and fields for reading `from` and writing (or, for the filter gradient, pairing) `to`.
fn common(k: &Recorder, [from, to]: [ValueId; 2], (w, geometry): (Shape, Geometry), m: usize) -> (Baked, Params) {
    let Shape::Filter { k: outputs, r, s, .. } = w else { unreachable!("checked when recorded") };
    let [sh, sw] = geometry.stride;
    let baked = [("R", r), ("S", s), ("SH", sh), ("SW", sw), ("MULTIPLIER", m)].map(|(n, v)| (n, v as i64)).to_vec();
    let ((_, _, ih, iw), (_, _, oh, ow)) = (k.shape(from).nchw(), k.shape(to).nchw());
    let (a, b) = (k.view(from), k.view(to));
    let fields = [
        ("in_h", ih),
        ("in_w", iw),
        ("out_h", oh),
        ("out_w", ow),
        ("in_stride", a.stride),
        ("in_offset", a.offset),
        ("out_stride", b.stride),
        ("out_offset", b.offset),
        ("k_quads", shape::padded(outputs) / 4),
    ];
    (baked, fields.map(|(n, v)| (n, Word::from(v))).to_vec())
}

fn pads(top: i64, left: i64) -> [(&'static str, Word); 2] {
    let word = |v: i64| Word::I(i32::try_from(v).expect("a padding fits in 32 bits"));
    [("pad_top", word(top)), ("pad_left", word(left))]
}

/// The grid of `depthwise_forward` and `depthwise_grad_input` over the image that is written.
fn grid(to: Shape) -> (Params, usize) {
    let (n, c, h, w) = to.nchw();
    let (quads, blocks, chunks) = (shape::padded(c) / 4, w.div_ceil(COLS), h.div_ceil(ROWS));
    let threads = n * chunks * blocks * quads;
    let fields =
        [("threads", threads), ("out_quads", quads), ("blocks", blocks), ("chunks", chunks), ("walk_rows", ROWS)];
    (fields.map(|(n, v)| (n, Word::from(v))).to_vec(), threads.div_ceil(64))
}

impl Op for DepthwiseConv2d {
    fn name(&self) -> &'static str {
        "depthwise_forward"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        Ok(vec![output(self.geometry, x[0], x[1])?])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut y = vec![0.0; ys[0].elements()];
        each(self.geometry, xs[0], xs[1], ys[0], |a, b, o| y[o] += x[0][a] * x[1][b]);
        vec![y]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let w = k.shape(x[1]);
        let (m, _, _) = filter(k.shape(x[0]), w).expect("checked when recorded");
        let (baked, mut params) = common(k, [x[0], y[0]], (w, self.geometry), m);
        let (fields, groups) = grid(k.shape(y[0]));
        let [top, _, left, _] = self.geometry.padding;
        params.extend(fields);
        params.extend(pads(top as i64, left as i64));
        k.launch(SOURCE, "depthwise_forward", &baked, &params, &[x[0].into(), x[1].into(), y[0].into()], groups);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        let geometry = self.geometry;
        let dx = DepthwiseConv2dGradInput { geometry, input: x[0].shape(), mask: false };
        let dw = DepthwiseConv2dGradWeight { geometry, filter: x[1].shape() };
        vec![wanted[0].then(|| dy.apply(dx, &[x[1]])), wanted[1].then(|| x[0].apply(dw, &[dy]))]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        cost(xs[0], xs[1], ys[0])
    }
}

impl Op for DepthwiseConv2dGradInput {
    fn name(&self) -> &'static str {
        "depthwise_grad_input"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2 + usize::from(self.mask))?;
        let y = output(self.geometry, self.input, x[1])?;
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
        each(self.geometry, self.input, xs[1], xs[0], |a, b, o| dx[a] += x[0][o] * x[1][b]);
        if self.mask {
            dx.iter_mut().zip(x[2]).for_each(|(d, m)| *d = if *m > 0.0 { *d } else { 0.0 });
        }
        vec![dx]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1 | u32::from(self.mask) << 2, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let w = k.shape(x[1]);
        let (m, r, s) = filter(k.shape(y[0]), w).expect("checked when recorded");
        let (mut baked, mut params) = common(k, [x[0], y[0]], (w, self.geometry), m);
        let (fields, groups) = grid(k.shape(y[0]));
        params.extend(fields);
        let [top, _, left, _] = self.geometry.padding.map(|v| v as i64);
        // With stride 1 it is the forward convolution with the filter turned round.
        let turned = self.geometry.stride == [1, 1] && m == 1;
        params.extend(if turned { pads(r as i64 - 1 - top, s as i64 - 1 - left) } else { pads(top, left) });
        baked.push(("MASK", i64::from(self.mask)));
        if self.mask {
            let view = k.view(x[2]);
            params.extend([("mask_stride", Word::from(view.stride)), ("mask_offset", Word::from(view.offset))]);
        }
        let buffers: Vec<Operand> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "depthwise_grad_input", &baked, &params, &buffers, groups);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        cost(self.input, xs[1], xs[0])
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        downcast::<ReluGrad>(next).filter(|_| !self.mask)?;
        Some(Rc::new(DepthwiseConv2dGradInput { mask: true, ..self.clone() }))
    }
}

impl Op for DepthwiseConv2dGradWeight {
    fn name(&self) -> &'static str {
        "depthwise_grad_weight"
    }

    fn images(&self) -> Images {
        Images::Sum
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let y = output(self.geometry, x[0], self.filter)?;
        if y != x[1] {
            return Err(format!("dy is {}, y is {y}", x[1]));
        }
        Ok(vec![self.filter])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut dw = vec![0.0; ys[0].elements()];
        each(self.geometry, xs[0], self.filter, xs[1], |a, b, o| dw[b] += x[0][a] * x[1][o]);
        vec![dw]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 3, output: false }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (m, r, s) = filter(k.shape(x[0]), self.filter).expect("checked when recorded");
        let (baked, mut params) = common(k, [x[0], x[1]], (self.filter, self.geometry), m);
        let (n, outputs, p, _) = k.shape(x[1]).nchw();
        let (quads, lines) = (shape::padded(outputs) / 4, n * p);
        let walk = lines.div_ceil(CHUNKS);
        let chunks = lines.div_ceil(walk);
        let threads = chunks * quads;
        let [top, _, left, _] = self.geometry.padding;
        params.extend(pads(top as i64, left as i64));
        params.extend([("threads", threads), ("lines", lines), ("walk_lines", walk)].map(|(n, v)| (n, Word::from(v))));
        let part = k.workspace(chunks * r * s * quads * 4);
        let buffers = [x[0].into(), x[1].into(), part];
        k.launch(SOURCE, "depthwise_grad_weight_partial", &baked, &params, &buffers, threads.div_ceil(64));
        let threads = r * s * quads;
        let params = [("threads", threads), ("k_quads", quads), ("chunks", chunks)].map(|(n, v)| (n, Word::from(v)));
        let groups = threads.div_ceil(64);
        k.launch(SOURCE, "depthwise_grad_weight_total", &[], &params, &[part, y[0].into()], groups);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        cost(xs[0], self.filter, xs[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    /// x, multiplier, filter, stride, padding.
    type Sizes = ([usize; 4], usize, [usize; 2], [usize; 2], [usize; 4]);

    const SIZES: [Sizes; 10] = [
        ([1, 1, 1, 1], 1, [1, 1], [1, 1], [0; 4]),
        ([2, 5, 7, 6], 1, [3, 3], [1, 1], [1; 4]),
        ([1, 17, 19, 11], 1, [3, 3], [1, 1], [1; 4]),
        ([2, 4, 8, 7], 1, [3, 3], [2, 2], [0, 1, 1, 1]),
        ([1, 7, 9, 10], 1, [5, 2], [1, 3], [2, 0, 4, 1]),
        ([2, 3, 3, 2], 1, [3, 3], [1, 1], [2, 3, 4, 2]),
        ([1, 6, 5, 9], 1, [2, 3], [3, 1], [1, 1, 0, 2]),
        ([2, 3, 6, 6], 2, [3, 3], [1, 1], [1; 4]),
        ([1, 5, 5, 7], 3, [3, 2], [2, 1], [1, 0, 1, 1]),
        ([2, 2, 4, 3], 5, [1, 3], [1, 2], [0, 0, 1, 1]),
    ];

    #[test]
    fn depthwise_and_its_gradients() {
        for ([n, c, h, w], m, [r, s], stride, padding) in SIZES {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(n, c, h, w));
            let filter = case.random("w", Shape::Filter { k: c * m, c: 1, r, s });
            let y = x.depthwise_conv2d(filter, Geometry { stride, padding });
            case.check(&[y], 1e-6);
            case.check_gradients(y, &[x, filter], 2e-5);
        }
    }

    #[test]
    fn the_gradient_of_a_relu_before_it_is_fused() {
        for (stride, padding) in [([1, 1], [1; 4]), ([2, 2], [0, 1, 0, 1])] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(2, 5, 9, 7));
            let w = case.random("w", Shape::Filter { k: 5, c: 1, r: 3, s: 3 });
            let y = x.relu().depthwise_conv2d(w, Geometry { stride, padding });
            let dy = case.random("dy", y.shape());
            let dx = y.gradients_with(dy, &[x])[0].expect("a gradient");
            case.check(&[dx], 1e-6);
            let keys = crate::plan::kernels(&graph, &[dx], crate::gpu::tuning::TABLE[0]);
            assert_eq!(keys.iter().map(|k| k.entry).collect::<Vec<_>>(), ["relu", "depthwise_grad_input"]);
        }
    }

    #[test]
    fn a_channel_alone_is_a_convolution() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", Shape::image(2, 1, 6, 5));
        let w = case.random("w", Shape::Filter { k: 3, c: 1, r: 3, s: 3 });
        let g = Geometry { stride: [1, 2], padding: [1, 0, 2, 1] };
        let got = case.check(&[x.depthwise_conv2d(w, g), x.conv2d(w, g)], 1e-6);
        got[0].iter().zip(&got[1]).for_each(|(a, b)| assert!((a - b).abs() < 1e-5));
    }

    #[test]
    fn filters_that_do_not_fit_are_named() {
        let op = DepthwiseConv2d { geometry: Geometry::VALID };
        let x = Shape::image(1, 3, 5, 5);
        assert!(op.shapes(&[x, Shape::Filter { k: 6, c: 1, r: 3, s: 3 }]).is_ok());
        assert!(op.shapes(&[x, Shape::Filter { k: 4, c: 1, r: 3, s: 3 }]).is_err_and(|m| m.contains("multiple of 3")));
        assert!(op.shapes(&[x, Shape::Filter { k: 3, c: 3, r: 3, s: 3 }]).is_err());
        assert!(op.shapes(&[x, Shape::Filter { k: 3, c: 1, r: 6, s: 3 }]).is_err_and(|m| m.contains("smaller")));
    }
}
