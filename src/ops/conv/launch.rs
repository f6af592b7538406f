//! How the convolution kernels are launched: sizes, tiles, splits of the reduction. `shaders/conv.wgsl` has the equations.

use super::super::shader;
use super::{Conv2d, Geometry};
use crate::gpu::kernel::{MOST_TEXELS, TEXEL_ROW};
use crate::gpu::tuning::Core;
use crate::gpu::{Source, Word};
use crate::graph::record::PART_ALIGN;
use crate::graph::{Operand, Recorder, Shape, ValueId, View, shape};

const CONV: Source = shader!("conv.wgsl");
const REDUCE: Source = shader!("gemm_reduce.wgsl");

/// Whether this convolution is a dense layer: a filter as large as its input.
pub(super) fn dense(geometry: Geometry, filter: Shape, x: Shape) -> bool {
    let (_, _, h, w) = x.nchw();
    geometry == Geometry::VALID && matches!(filter, Shape::Filter { r, s, .. } if (r, s) == (h, w))
}

/// One geometry for the three kernels, in quads of channels.
pub(super) struct Sizes {
    n: usize,
    h: usize,
    w: usize,
    c_quads: usize,
    p: usize,
    q: usize,
    k_quads: usize,
    r: usize,
    s: usize,
    geometry: Geometry,
    x_view: View,
    y_view: View,
    /// The true channel count of x, for the first layer of grey images.
    channels: usize,
}

impl Sizes {
    /// `x` and `y` are the values with the shapes of the forward pass: activations or their gradients.
    pub(super) fn new(k: &Recorder, x: ValueId, filter: Shape, y: ValueId, geometry: Geometry) -> Sizes {
        let ((n, c, h, w), (_, ko, p, q)) = (k.shape(x).nchw(), k.shape(y).nchw());
        let Shape::Filter { r, s, .. } = filter else { unreachable!("checked when recorded") };
        let (c_quads, k_quads) = (shape::padded(c) / 4, shape::padded(ko) / 4);
        let (x_view, y_view) = (k.view(x), k.view(y));
        let all = Sizes { n, h, w, c_quads, p, q, k_quads, r, s, geometry, x_view, y_view, channels: c };
        if dense(geometry, filter, k.shape(x)) {
            // Dense: pixels and channels of an image are one run of memory, the images one row of pixels.
            let channels = if h * w == 1 { c } else { 4 };
            let x_view = if h * w == 1 { x_view } else { View { stride: c_quads * h * w, offset: 0 } };
            let c_quads = c_quads * h * w;
            return Sizes { n: 1, h: 1, w: n, c_quads, p: 1, q: n, r: 1, s: 1, x_view, channels, ..all };
        }
        if geometry == Geometry::VALID && (r, s) == (1, 1) {
            // A 1×1 convolution is a matrix product: an image is one long row.
            return Sizes { h: 1, w: h * w, p: 1, q: h * w, ..all };
        }
        all
    }

    /// A grey image's first layer: one true channel in a quad of four.
    fn single_channel(&self) -> bool {
        self.channels == 1 && self.c_quads == 1
    }

    fn strided(&self) -> bool {
        self.geometry.stride != [1, 1]
    }

    fn params(&self, splits: usize, split_size: usize, out_quads: usize, relu: bool) -> Vec<(&'static str, Word)> {
        let ([sh, sw], [top, _, left, _]) = (self.geometry.stride, self.geometry.padding);
        [
            ("n", self.n),
            ("h", self.h),
            ("w", self.w),
            ("c_quads", self.c_quads),
            ("p", self.p),
            ("q", self.q),
            ("k_quads", self.k_quads),
            ("r", self.r),
            ("s", self.s),
            ("stride_h", sh),
            ("stride_w", sw),
            ("pad_top", top),
            ("pad_left", left),
            ("x_pitch", self.x_view.stride),
            ("x_first", self.x_view.offset),
            ("y_pitch", self.y_view.stride),
            ("y_first", self.y_view.offset),
            ("split_first", 0),
            ("w_skip", 0),
            ("splits", splits),
            ("split_size", split_size),
            ("out_quads", out_quads),
            ("relu", usize::from(relu)),
            ("epilogue", 0),
        ]
        .map(|(n, v)| (n, Word::from(v)))
        .to_vec()
    }
}

/// Slices of a reduction over `units` so that `tiles` tiles become about `fill` workgroups, none empty.
fn split(units: usize, tiles: usize, fill: usize) -> (usize, usize) {
    let wanted = (fill / tiles.max(1)).clamp(1, units);
    let size = units.div_ceil(wanted);
    (units.div_ceil(size), size)
}

/// A register tile: what to bake, and the outputs it covers.
struct Tile {
    baked: Vec<(&'static str, i64)>,
    /// Pixels of a workgroup (forward, input gradient), or filter elements (filter gradient).
    m: usize,
    /// Channels of a workgroup.
    n: usize,
}

impl Tile {
    /// The tile of forward and input gradient, or of the filter gradient; `one`: a single true input channel; `words`: the
    /// larger operand, which a texture may not hold.
    fn new(core: Core, weight: bool, one: bool, words: usize) -> Tile {
        match core {
            Core::Subgroup { rows, pixels, weight_rows, load64, texels } => {
                let (rows, pixels) = match (weight, one) {
                    (false, false) => (rows, pixels),
                    (false, true) => (32, pixels),
                    (true, false) => (weight_rows, 2),
                    (true, true) => (12, 2),
                };
                let mut baked =
                    vec![("ROWS", i64::from(rows)), ("PIXELS", i64::from(pixels)), ("LOAD64", i64::from(load64))];
                if one {
                    baked.push(("C_TRUE", 1));
                }
                if texels && words / 4 <= MOST_TEXELS {
                    baked.push(("TEXELS", TEXEL_ROW as i64));
                }
                let (m, n) = if weight { (rows, 32) } else { (8 * pixels, rows) };
                Tile { baked, m: m as usize, n: n as usize }
            }
            Core::Workgroup { bm, bn, bk, tm, tn } => {
                let sizes = [("BM", bm), ("BN", bn), ("BK", bk), ("TM", tm), ("TN", tn)];
                let baked = [("CORE", 1)].into_iter().chain(sizes.map(|(n, v)| (n, i64::from(v)))).collect();
                Tile { baked, m: bm as usize, n: bn as usize }
            }
        }
    }
}

/// Words of the larger of a kernel's two operands.
fn larger(k: &Recorder, x: &[ValueId]) -> usize {
    k.memory_words(x[0]).max(k.memory_words(x[1]))
}

/// Sums the slices in `part` and applies the epilogue.
struct Reduce<'a> {
    part: Operand,
    extra: &'a [ValueId],
    flags: &'a [(&'static str, i64)],
    /// Fields of `Params` that the flags bring.
    fields: &'a [(&'static str, Word)],
    out: Operand,
    view: View,
    quads: usize,
    row_quads: usize,
    splits: usize,
    relu: bool,
}

impl Reduce<'_> {
    fn launch(self, k: &mut Recorder) {
        let common = [
            ("splits", Word::from(self.splits)),
            ("out_quads", Word::from(self.quads)),
            ("row_quads", Word::from(self.row_quads)),
            ("out_pitch", Word::from(self.view.stride)),
            ("out_first", Word::from(self.view.offset)),
            ("relu", Word::from(usize::from(self.relu))),
        ];
        let params = [&common[..], self.fields].concat();
        let extra = self.extra.iter().map(|v| Operand::from(*v));
        let buffers: Vec<Operand> = [self.part].into_iter().chain(extra).chain([self.out]).collect();
        k.launch(REDUCE, "gemm_reduce", self.flags, &params, &buffers, self.quads.div_ceil(64));
    }
}

/// Overwrites a field of `Params`.
fn set(params: &mut [(&'static str, Word)], name: &str, value: usize) {
    params.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, v)| *v = Word::from(value));
}

/// Runs of `unit`s of filter memory, `words` words each, of which one binding holds several: (first unit, units).
fn pieces(k: &Recorder, units: usize, words: usize) -> Vec<(usize, usize)> {
    let most = (k.binding_words / words).max(1);
    (0..units).step_by(most).map(|first| (first, most.min(units - first))).collect()
}

pub(super) fn forward(k: &mut Recorder, z: &Sizes, x: &[ValueId], y: ValueId, op: &Conv2d) {
    let t = Tile::new(k.tuning.core, false, z.single_channel(), larger(k, x));
    let tiles = (4 * z.k_quads).div_ceil(t.n) * (z.n * z.p * z.q).div_ceil(t.m);
    let (mut splits, mut size) = split(z.c_quads, tiles, k.tuning.fill as usize);
    let quads = z.n * z.p * z.q * z.k_quads;
    let all = [("BIAS", op.bias), ("NORM", op.norm), ("SKIP", op.skip)];
    let flags: Vec<_> = all.into_iter().filter(|f| f.1).map(|(name, _)| (name, 1)).collect();
    let mut fields = Vec::new();
    let mut baked = t.baked;
    if op.skip {
        let view = k.view(x[x.len() - 1]);
        fields = vec![("skip_pitch", Word::from(view.stride)), ("skip_first", Word::from(view.offset))];
        baked.push(("SKIP", 1));
    }
    // Bias and batch norm are told by a field of Params, not by a variant; what is not there is bound to the filter.
    let epilogue = usize::from(op.bias) + 2 * usize::from(op.norm);
    let buffers = |w: Operand, out: Operand| -> Vec<Operand> {
        let extra = |at: usize, there: bool| if there { x[at].into() } else { w };
        let first = 2 + usize::from(op.bias);
        let skip = op.skip.then(|| x[x.len() - 1].into());
        [x[0].into(), w, extra(2, op.bias)]
            .into_iter()
            .chain((first..first + 3).map(|at| extra(at, op.norm)))
            .chain(skip)
            .chain([out])
            .collect()
    };
    let (filter, row) = (k.shape(x[1]).words(), 16 * z.k_quads); // words, and words of a quad of input channels
    let holds = k.binding_words / row / 4 * 4;
    // A filter of several taps is no run of memory for some of its channels; the planner refuses it with the figures.
    if filter <= k.binding_words || (z.r, z.s) != (1, 1) || holds == 0 {
        let mut params = [z.params(splits, size, quads, op.relu), fields.clone()].concat();
        set(&mut params, "epilogue", epilogue);
        let part = (splits > 1).then(|| k.workspace(quads * 4 * splits));
        let buffers = buffers(x[1].into(), part.unwrap_or(y.into()));
        k.launch(CONV, "conv2d_forward", &baked, &params, &buffers, tiles * splits);
        if let Some(part) = part {
            let (extra, out, view, row_quads, relu) = (&x[2..], y.into(), z.y_view, z.k_quads, op.relu);
            Reduce { part, extra, flags: &flags, fields: &fields, out, view, quads, row_quads, splits, relu }.launch(k);
        }
        return;
    }
    // The filter exceeds a binding: its input channels are summed in runs of slices, each launch binding its own part.
    size = size.next_multiple_of(4).min(holds);
    splits = z.c_quads.div_ceil(size);
    let part = k.workspace(quads * 4 * splits);
    for (first, count) in pieces(k, splits, size * row) {
        let mut params = [z.params(splits, size, quads, op.relu), fields.clone()].concat();
        set(&mut params, "split_first", first);
        set(&mut params, "w_skip", first * size * row / 4);
        let start = first * size * row;
        let words = (count * size * row).min(filter - start);
        let w = Operand::Part { value: x[1], first: start, words };
        k.launch(CONV, "conv2d_forward", &baked, &params, &buffers(w, part), tiles * count);
    }
    let (extra, out, view, row_quads, relu) = (&x[2..], y.into(), z.y_view, z.k_quads, op.relu);
    Reduce { part, extra, flags: &flags, fields: &fields, out, view, quads, row_quads, splits, relu }.launch(k);
}

/// The runs of input channels whose filter rows one binding holds, as (first quad, quads, the filter's part); one run, the
/// whole, for most.
fn rows(k: &Recorder, z: &Sizes, w: ValueId) -> Vec<(usize, usize, Operand)> {
    let (all, row) = (k.shape(w).words(), 16 * z.k_quads);
    if all <= k.binding_words || (z.r, z.s) != (1, 1) {
        return vec![(0, z.c_quads, w.into())];
    }
    // A part starts where bindings may: four quads of channels are at least that many words.
    const { assert!(4 * 16 == PART_ALIGN) };
    let runs = pieces(k, z.c_quads.div_ceil(4), 4 * row);
    let run = |(first, units): (usize, usize)| {
        let (first, last) = (first * 4, (4 * (first + units)).min(z.c_quads));
        (first, last - first, Operand::Part { value: w, first: first * row, words: (last - first) * row })
    };
    runs.into_iter().map(run).collect()
}

pub(super) fn grad_input(k: &mut Recorder, z: &Sizes, x: &[ValueId], dx: ValueId) {
    for (first, c_quads, w) in rows(k, z, x[1]) {
        let x_view = View { offset: z.x_view.offset + first, ..z.x_view };
        grad_input_run(k, &Sizes { c_quads, x_view, ..*z }, x, w, dx);
    }
}

fn grad_input_run(k: &mut Recorder, z: &Sizes, x: &[ValueId], w: Operand, dx: ValueId) {
    let t = Tile::new(k.tuning.core, false, false, larger(k, x));
    let [sh, sw] = z.geometry.stride;
    // With a stride, the pixels of each phase meet their own taps only: a grid of tiles a phase.
    let pixels = z.n * z.h.div_ceil(sh) * z.w.div_ceil(sw);
    let tiles = (4 * z.c_quads).div_ceil(t.n) * pixels.div_ceil(t.m) * sh * sw;
    let (splits, size) = split(z.k_quads, tiles, k.tuning.fill as usize);
    let quads = z.n * z.h * z.w * z.c_quads;
    let flags: &[_] = if x.len() > 2 { &[("MASK", 1)] } else { &[] };
    let mut baked = t.baked;
    baked.push(("STRIDED", i64::from(z.strided())));
    let mut params = z.params(splits, size, quads, false);
    if z.strided() {
        // Few layers have a stride: one pipeline for those with and without a mask.
        baked.push(("MASK", 1));
        params.push(("masked", Word::from(flags.len())));
    } else {
        baked.extend(flags);
    }
    let part = (splits > 1).then(|| k.workspace(quads * 4 * splits));
    let out = part.unwrap_or(dx.into());
    let mask = x.get(2).map(|v| (*v).into()).or(z.strided().then_some(w));
    let buffers: Vec<Operand> = [x[0].into(), w].into_iter().chain(mask).chain([out]).collect();
    k.launch(CONV, "conv2d_grad_input", &baked, &params, &buffers, tiles * splits);
    if let Some(part) = part {
        let (extra, out, view, row_quads) = (&x[2..], dx.into(), z.x_view, z.c_quads);
        Reduce { part, extra, flags, fields: &[], out, view, quads, row_quads, splits, relu: false }.launch(k);
    }
}

pub(super) fn grad_weight(k: &mut Recorder, z: &Sizes, x: &[ValueId], dw: ValueId) {
    for (first, c_quads, out) in rows(k, z, dw) {
        let x_view = View { offset: z.x_view.offset + first, ..z.x_view };
        grad_weight_run(k, &Sizes { c_quads, x_view, ..*z }, x, out);
    }
}

fn grad_weight_run(k: &mut Recorder, z: &Sizes, x: &[ValueId], out: Operand) {
    let one = z.single_channel() && matches!(k.tuning.core, Core::Subgroup { .. });
    let t = Tile::new(k.tuning.core, true, one, larger(k, x));
    // With one true channel a row of the tile is a filter tap, else an element (tap, channel).
    let rows = z.r * z.s * if one { 1 } else { 4 * z.c_quads };
    let tiles = rows.div_ceil(t.m) * (4 * z.k_quads).div_ceil(t.n);
    let (splits, size) = split(z.n * z.p, tiles, k.tuning.fill as usize);
    let quads = z.r * z.s * z.c_quads * 4 * z.k_quads;
    let params = z.params(splits, size, quads, false);
    let part = (splits > 1).then(|| k.workspace(quads * 4 * splits));
    let buffers = [x[0].into(), x[1].into(), part.unwrap_or(out)];
    k.launch(CONV, "conv2d_grad_weight", &t.baked, &params, &buffers, tiles * splits);
    if let Some(part) = part {
        let (view, row_quads) = (View { stride: z.k_quads, offset: 0 }, z.k_quads);
        let (extra, flags, fields): (&[_], &[_], &[_]) = (&[], &[], &[]);
        Reduce { part, extra, flags, fields, out, view, quads, row_quads, splits, relu: false }.launch(k);
    }
}
