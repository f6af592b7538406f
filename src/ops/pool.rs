//! Max pooling and average pooling; any window, stride and padding.

use super::activation::{Relu, ReluGrad};
use super::pixels::Pixels;
use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Images, Op, Origin, Recorder, Shape, Tensor, ValueId, Views, downcast, shape};
use std::rc::Rc;

pub(super) const SOURCE: Source = shader!("pool.wgsl");

/// A pooling window. Padding never counts as a value; the last windows are dropped where they do not fit (no ceil mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Step down and right.
    pub stride: [usize; 2],
    /// Padding at the top, bottom, left, right.
    pub padding: [usize; 4],
}

impl Window {
    /// A square window whose stride is its size.
    pub const fn square(size: usize) -> Window {
        Window { size: [size, size], stride: [size, size], padding: [0; 4] }
    }

    fn output(&self, x: Shape) -> Result<Shape, String> {
        let (n, c, h, w) = image(x)?;
        let ([r, s], [sh, sw], [top, bottom, left, right]) = (self.size, self.stride, self.padding);
        if r == 0 || s == 0 || sh == 0 || sw == 0 || r * s > 255 {
            return Err(format!("a window of {r}×{s} with stride {sh}×{sw} (1 to 255 elements, stride 1 or more)"));
        }
        if top.max(bottom) >= r || left.max(right) >= s {
            return Err(format!("padding {:?} must be smaller than the window {r}×{s}", self.padding));
        }
        if h + top + bottom < r || w + left + right < s {
            return Err(format!("H {h}, W {w} with padding {:?} is smaller than the window {r}×{s}", self.padding));
        }
        Ok(Shape::image(n, c, (h + top + bottom - r) / sh + 1, (w + left + right - s) / sw + 1))
    }

    fn baked(&self) -> Vec<(&'static str, i64)> {
        let ([r, s], [sh, sw]) = (self.size, self.stride);
        vec![("R", r as i64), ("S", s as i64), ("SH", sh as i64), ("SW", sw as i64)]
    }

    /// Calls `f(output index, input index, window element)` for every pair inside the image.
    pub(crate) fn each(&self, x: Shape, y: Shape, mut f: impl FnMut(usize, usize, usize)) {
        let ((n, c, h, w), (_, _, p, q)) = (x.nchw(), y.nchw());
        for plane in 0..n * c {
            for (row, column) in (0..p).flat_map(|r| (0..q).map(move |c| (r, c))) {
                for e in 0..self.size[0] * self.size[1] {
                    let a = (row * self.stride[0] + e / self.size[1]).wrapping_sub(self.padding[0]);
                    let b = (column * self.stride[1] + e % self.size[1]).wrapping_sub(self.padding[2]);
                    if a < h && b < w {
                        f((plane * p + row) * q + column, (plane * h + a) * w + b, e);
                    }
                }
            }
        }
    }
}

/// The launch grid over the pixels of `over`; `other` is the image on the other side.
pub(super) fn pixels(over: Shape, other: Shape, padding: [usize; 4]) -> Pixels {
    let (_, _, oh, ow) = other.nchw();
    let mut grid = super::pixels::pixels(over);
    grid.params.extend([
        ("other_rows", Word::from(oh)),
        ("other_columns", Word::from(ow)),
        ("pad_top", Word::from(padding[0])),
        ("pad_left", Word::from(padding[2])),
    ]);
    grid
}

/// The grid of a kernel over cells of channels: `over` is images, rows, columns and channels; `viewed` is an image that may be
/// part of a wider one, and the names of its stride and offset, in cells.
fn cells(
    k: &Recorder,
    over: [usize; 4],
    other: Shape,
    padding: [usize; 4],
    viewed: Option<(ValueId, [&'static str; 2])>,
) -> Pixels {
    let ([n, c, h, w], (_, _, oh, ow)) = (over, other.nchw());
    let quads = shape::padded(c) / 4;
    let view = viewed.map(|(v, names)| (k.view(v), names));
    // A cell of two quads must not straddle the channels before or after.
    let even = view.is_none_or(|(v, _)| (v.stride | v.offset).is_multiple_of(2));
    let (each, wide) = if even { k.cell(quads) } else { (1, ("WIDE", 0)) };
    // A thread's three divisions cost a CPU as much as two loads and stores: more pixels share them there.
    let mut grid = super::pixels::grid([n, h, w], quads / each, if k.tuning.wide() { 16 } else { 4 });
    let more = [("other_rows", oh), ("other_columns", ow), ("pad_top", padding[0]), ("pad_left", padding[2])];
    grid.params.extend(more.map(|(n, v)| (n, Word::from(v))));
    grid.params.extend(view.iter().flat_map(|(v, [stride, offset])| {
        [(*stride, Word::from(v.stride / each)), (*offset, Word::from(v.offset / each))]
    }));
    grid.baked.push(wide);
    grid
}

/// y = max over the window. Outputs y and which element won (ties: the first, as PyTorch and cuDNN).
#[derive(Clone, Debug)]
pub struct MaxPool(pub Window);

/// dx = Σ dy over the windows that a pixel won. Inputs dy, the winners, and y if a ReLU's output was pooled. With `mask` (by
/// fusion with that ReLU's gradient) only windows with a positive y count: a pixel that won is its window's y, so nothing needs
/// the pooled image in the backward pass.
#[derive(Clone, Debug)]
pub struct MaxPoolGrad {
    /// The window.
    pub window: Window,
    /// Shape of the pooled image.
    pub input: Shape,
    /// Whether y is a third input.
    pub pooled: bool,
    /// Whether dy is masked where y is not positive.
    pub mask: bool,
}

/// y = mean over the window; the padding counts with value 0 if `include_padding`.
#[derive(Clone, Debug)]
pub struct AvgPool {
    /// The window.
    pub window: Window,
    /// PyTorch's `count_include_pad`.
    pub include_padding: bool,
}

/// dx = Σ dy / count over the windows that hold a pixel. Input dy, and the ReLU output that was pooled if `mask`.
#[derive(Clone, Debug)]
pub struct AvgPoolGrad {
    /// The forward operation.
    pub forward: AvgPool,
    /// Shape of the pooled image.
    pub input: Shape,
    /// Whether a second input masks the result where it is not positive.
    pub mask: bool,
}

impl<'g> Tensor<'g> {
    /// Maximum over each window.
    ///
    /// # Panics
    /// When the window does not fit.
    #[track_caller]
    pub fn max_pool(self, window: Window) -> Tensor<'g> {
        self.apply(MaxPool(window), &[])
    }

    /// Mean over each window.
    ///
    /// # Panics
    /// When the window does not fit.
    #[track_caller]
    pub fn avg_pool(self, window: Window, include_padding: bool) -> Tensor<'g> {
        self.apply(AvgPool { window, include_padding }, &[])
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let y = self.0.output(x[0])?;
        let (n, c, h, w) = y.nchw();
        Ok(vec![y, Shape::Windows { n, c, h, w }])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let size = ys[0].elements();
        let (mut y, mut won) = (vec![f64::NEG_INFINITY; size], vec![255.0; size]);
        self.0.each(xs[0], ys[0], |o, i, e| {
            if won[o] == 255.0 || x[0][i] > y[o] {
                (y[o], won[o]) = (x[0][i], e as f64);
            }
        });
        vec![y, won]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 0, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (n, c, h, w) = k.shape(y[0]).nchw();
        let out = (y[0], ["out_stride", "out_offset"]);
        let Pixels { mut baked, params, groups } = cells(k, [n, c, h, w], k.shape(x[0]), self.0.padding, Some(out));
        baked.extend(self.0.baked());
        baked.push(("PADDED", i64::from(self.0.padding != [0; 4])));
        k.launch(SOURCE, "max_pool", &baked, &params, &[x[0].into(), y[0].into(), y[1].into()], groups);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        let graph = dy.graph();
        let pooled = match graph.describe(x[0].id).origin {
            Origin::Node { node, .. } => downcast::<Relu>(graph.node(node).op.as_ref()).is_some(),
            _ => false,
        };
        let op = MaxPoolGrad { window: self.0, input: x[0].shape(), pooled, mask: false };
        vec![Some(dy.apply(op, &[y[1], y[0]][..1 + usize::from(pooled)]))]
    }
}

impl Op for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max_pool_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2 + usize::from(self.pooled))?;
        if self.pooled && x[2] != x[0] {
            return Err(format!("dy is {}, y is {}", x[0], x[2]));
        }
        Ok(vec![self.input])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut dx = vec![0.0; ys[0].elements()];
        self.window.each(self.input, xs[0], |o, i, e| {
            if x[1][o] == e as f64 && (!self.mask || x[2][o] > 0.0) {
                dx[i] += x[0][o];
            }
        });
        vec![dx]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 4, output: false }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (n, c, h, w) = k.shape(y[0]).nchw();
        let (Window { size: [r, s], stride, padding }, dy) = (self.window, k.shape(x[0]));
        // Windows that do not overlap write their own pixels: dy and the winners are read once instead of r * s times.
        let apart = stride == [r, s] && padding == [0; 4];
        let over = if apart { [n, c, h.div_ceil(r), w.div_ceil(s)] } else { [n, c, h, w] };
        let mask = self.mask.then(|| (x[2], ["mask_stride", "mask_offset"]));
        let Pixels { mut baked, mut params, groups } = cells(k, over, dy, padding, mask);
        baked.extend(self.window.baked());
        baked.push(("MASK", i64::from(self.mask)));
        if apart {
            baked.extend([("APART", 1), ("RAGGED", i64::from(h % r + w % s > 0))]);
            params.extend([("height", Word::from(h)), ("width", Word::from(w))]);
        }
        let read = 2 + usize::from(self.mask);
        let buffers: Vec<_> = x[..read].iter().chain(&y[..1]).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "max_pool_grad", &baked, &params, &buffers, groups);
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        // A gradient of what a ReLU gave meets no other ReLU's.
        downcast::<ReluGrad>(next).filter(|_| self.pooled && !self.mask)?;
        Some(Rc::new(MaxPoolGrad { mask: true, ..self.clone() }))
    }

    fn fused_inputs(&self, own: &[ValueId], _: &[ValueId]) -> Vec<ValueId> {
        own.to_vec()
    }
}

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        Ok(vec![self.window.output(x[0])?])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let count = self.counts(xs[0], ys[0]);
        let mut y = vec![0.0; ys[0].elements()];
        self.window.each(xs[0], ys[0], |o, i, _| y[o] += x[0][i] / count[o]);
        vec![y]
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 0, output: true }
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let Pixels { mut baked, mut params, groups } = pixels(k.shape(y[0]), k.shape(x[0]), self.window.padding);
        let view = k.view(y[0]);
        params.extend([("out_stride", Word::from(view.stride)), ("out_offset", Word::from(view.offset))]);
        baked.extend(self.window.baked());
        baked.push(("INCLUDE", i64::from(self.include_padding)));
        k.launch(SOURCE, "avg_pool", &baked, &params, &[x[0].into(), y[0].into()], groups);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(AvgPoolGrad { forward: self.clone(), input: x[0].shape(), mask: false }, &[]))]
    }
}

impl AvgPool {
    /// How many pixels each output averages.
    fn counts(&self, x: Shape, y: Shape) -> Vec<f64> {
        let mut count = vec![0.0; y.elements()];
        self.window.each(x, y, |o, _, _| count[o] += 1.0);
        let all = (self.window.size[0] * self.window.size[1]) as f64;
        count.iter().map(|c: &f64| if self.include_padding { all } else { c.max(1.0) }).collect()
    }
}

impl Op for AvgPoolGrad {
    fn name(&self) -> &'static str {
        "avg_pool_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1 + usize::from(self.mask))?;
        Ok(vec![self.input])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let count = self.forward.counts(self.input, xs[0]);
        let mut dx = vec![0.0; ys[0].elements()];
        self.forward.window.each(self.input, xs[0], |o, i, _| {
            if !self.mask || x[1][i] > 0.0 {
                dx[i] += x[0][o] / count[o];
            }
        });
        vec![dx]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let window = self.forward.window;
        let Pixels { mut baked, params, groups } = pixels(k.shape(y[0]), k.shape(x[0]), window.padding);
        baked.extend(window.baked());
        baked.extend([("MASK", i64::from(self.mask)), ("INCLUDE", i64::from(self.forward.include_padding))]);
        let buffers: Vec<_> = x.iter().chain(&y[..1]).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "avg_pool_grad", &baked, &params, &buffers, groups);
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        downcast::<ReluGrad>(next).filter(|_| !self.mask)?;
        Some(Rc::new(AvgPoolGrad { mask: true, ..self.clone() }))
    }
}
