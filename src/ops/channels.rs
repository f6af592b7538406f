//! Concatenation along the channels, slices of channels, and their gradients. The planner lets parts share the memory of the
//! whole wherever the kernels around allow it (`src/plan/slices.rs`): then nothing here is launched.

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Graph, Images, Op, Part, Recorder, Shape, Tensor, ValueId, Views, shape};

const SOURCE: Source = shader!("channels.wgsl");

/// y = the channels of a, then those of b. Inputs a [N, Ca, H, W], b [N, Cb, H, W].
#[derive(Clone, Debug)]
pub struct Concat;

/// y = channels `first..first + channels` of x.
#[derive(Clone, Debug)]
pub struct SliceChannels {
    /// The first channel.
    pub first: usize,
    /// How many.
    pub channels: usize,
}

/// The gradient of [`SliceChannels`]: dy at channels `first..` of `channels`, zero elsewhere.
#[derive(Clone, Debug)]
pub struct PadChannels {
    /// Where dy's first channel goes.
    pub first: usize,
    /// Channels of the result.
    pub channels: usize,
}

impl Graph {
    /// Concatenation of images [N, C₁, H, W], [N, C₂, H, W], … along the channels.
    ///
    /// # Panics
    /// When there is none, or N, H, W differ.
    #[track_caller]
    pub fn concat<'g>(&'g self, parts: &[Tensor<'g>]) -> Tensor<'g> {
        let all = parts.iter().copied().reduce(|a, b| a.apply(Concat, &[b]));
        all.unwrap_or_else(|| panic!("{}: a concatenation of nothing", self.path("")))
    }
}

impl<'g> Tensor<'g> {
    /// Channels `first..first + channels` of an image.
    ///
    /// # Panics
    /// When it has fewer.
    #[track_caller]
    pub fn slice_channels(self, first: usize, channels: usize) -> Tensor<'g> {
        self.apply(SliceChannels { first, channels }, &[])
    }
}

/// One of the images that a gather reads, and the channel of y that is its channel 0 (modulo 2³²).
struct From {
    value: ValueId,
    first: u32,
}

fn gather(k: &mut Recorder, a: From, b: Option<From>, y: ValueId) {
    let (n, c, h, w) = k.shape(y).nchw();
    let y_view = k.view(y);
    let mut params = vec![
        ("pixels", Word::from(n * h * w)),
        ("channels", Word::from(c)),
        ("y_stride", Word::from(y_view.stride)),
        ("y_offset", Word::from(y_view.offset)),
    ];
    let second = b.as_ref().unwrap_or(&a);
    for (from, names) in [
        (&a, ["a_channels", "a_first", "a_stride", "a_offset"]),
        (second, ["b_channels", "b_first", "b_stride", "b_offset"]),
    ] {
        let (view, (_, channels, _, _)) = (k.view(from.value), k.shape(from.value).nchw());
        let values = [Word::from(channels), Word::U(from.first), Word::from(view.stride), Word::from(view.offset)];
        params.extend(names.into_iter().zip(values));
    }
    let baked = [("TWO", i64::from(b.is_some()))];
    let buffers: Vec<_> = [a.value].into_iter().chain(b.map(|b| b.value)).chain([y]).map(Into::into).collect();
    let quads = n * h * w * shape::padded(c) / 4;
    k.launch(SOURCE, "gather_channels", &baked, &params, &buffers, quads.div_ceil(64));
}

/// Copies `quads` quads of every pixel, from quad `from` of x to quad `to` of y.
fn copy(k: &mut Recorder, x: ValueId, from: usize, y: ValueId, to: usize, quads: usize) {
    let ((n, _, h, w), vx, vy) = (k.shape(x).nchw(), k.view(x), k.view(y));
    let params = [
        ("pixels", n * h * w),
        ("quads", quads),
        ("x_stride", vx.stride),
        ("x_first", vx.offset + from),
        ("y_stride", vy.stride),
        ("y_first", vy.offset + to),
    ]
    .map(|(name, v)| (name, Word::from(v)));
    k.launch(SOURCE, "copy_channels", &[], &params, &[x.into(), y.into()], (n * h * w * quads).div_ceil(64));
}

fn moved(ys: &[Shape]) -> Cost {
    Cost { flops: 0.0, bytes: 8.0 * ys[0].words() as f64 }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let ((n, a, h, w), (nb, b, hb, wb)) = (image(x[0])?, image(x[1])?);
        if (n, h, w) != (nb, hb, wb) {
            return Err(format!("cannot join {} and {} along the channels", x[0], x[1]));
        }
        Ok(vec![Shape::image(n, a + b, h, w)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let ((n, a, h, w), (_, b, _, _)) = (xs[0].nchw(), xs[1].nchw());
        let part = |i: usize, t: usize, c: usize| &x[t][i * c * h * w..(i + 1) * c * h * w];
        vec![(0..n).flat_map(|i| part(i, 0, a).iter().chain(part(i, 1, b))).copied().collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (_, first, _, _) = k.shape(x[0]).nchw();
        if !first.is_multiple_of(4) {
            let b = From { value: x[1], first: first as u32 };
            return gather(k, From { value: x[0], first: 0 }, Some(b), y[0]);
        }
        for (v, to) in [(x[0], 0), (x[1], first / 4)] {
            if !k.share(v, y[0]) {
                let (_, c, _, _) = k.shape(v).nchw();
                copy(k, v, 0, y[0], to, shape::padded(c) / 4);
            }
        }
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        let ((_, a, ..), (_, b, ..)) = (x[0].nchw(), x[1].nchw());
        vec![wanted[0].then(|| dy.slice_channels(0, a)), wanted[1].then(|| dy.slice_channels(a, b))]
    }

    fn cost(&self, _: &[Shape], ys: &[Shape]) -> Cost {
        moved(ys)
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 3, output: true }
    }

    fn parts(&self, xs: &[Shape], _: &[Shape]) -> Vec<Part> {
        let (_, first, _, _) = xs[0].nchw();
        // Both or none where the seam is inside a quad: the gather writes whole quads.
        if !first.is_multiple_of(4) {
            return Vec::new();
        }
        vec![Part::InputInOutput { input: 0, first: 0 }, Part::InputInOutput { input: 1, first }]
    }
}

impl Op for SliceChannels {
    fn name(&self) -> &'static str {
        "slice_channels"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (n, c, h, w) = image(x[0])?;
        if self.channels == 0 || self.first + self.channels > c {
            return Err(format!("channels {}..{} of C {c}", self.first, self.first + self.channels));
        }
        Ok(vec![Shape::image(n, self.channels, h, w)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, c, h, w) = xs[0].nchw();
        let part = |i: usize| &x[0][(i * c + self.first) * h * w..][..self.channels * h * w];
        vec![(0..n).flat_map(part).copied().collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (_, c, _, _) = k.shape(x[0]).nchw();
        if k.share(x[0], y[0]) {
            return;
        }
        // A slice that ends inside a quad would bring its neighbours along, unless it ends where x ends.
        if self.first.is_multiple_of(4) && (self.channels.is_multiple_of(4) || self.first + self.channels == c) {
            copy(k, x[0], self.first / 4, y[0], 0, shape::padded(self.channels) / 4);
        } else {
            gather(k, From { value: x[0], first: (self.first as u32).wrapping_neg() }, None, y[0]);
        }
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        let (_, channels, _, _) = x[0].nchw();
        vec![Some(dy.apply(PadChannels { first: self.first, channels }, &[]))]
    }

    fn cost(&self, _: &[Shape], ys: &[Shape]) -> Cost {
        moved(ys)
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1, output: true }
    }

    fn parts(&self, _: &[Shape], _: &[Shape]) -> Vec<Part> {
        vec![Part::OutputInInput { first: self.first }]
    }
}

impl Op for PadChannels {
    fn name(&self) -> &'static str {
        "pad_channels"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (n, c, h, w) = image(x[0])?;
        if self.first + c > self.channels {
            return Err(format!("channels {}..{} of C {}", self.first, self.first + c, self.channels));
        }
        Ok(vec![Shape::image(n, self.channels, h, w)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let (n, c, h, w) = xs[0].nchw();
        let mut y = vec![0.0; ys[0].elements()];
        for i in 0..n {
            let at = (i * self.channels + self.first) * h * w;
            y[at..at + c * h * w].copy_from_slice(&x[0][i * c * h * w..(i + 1) * c * h * w]);
        }
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        gather(k, From { value: x[0], first: self.first as u32 }, None, y[0]);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        let (_, c, _, _) = x[0].nchw();
        vec![Some(dy.slice_channels(self.first, c))]
    }

    fn cost(&self, _: &[Shape], ys: &[Shape]) -> Cost {
        moved(ys)
    }

    fn views(&self, _: &[Shape], _: &[Shape]) -> Views {
        Views { inputs: 1, output: true }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::nn::ParamStore;
    use crate::ops::Geometry;
    use crate::ops::testing::{Case, gpu};
    use crate::{Plan, PlanSpec};

    #[test]
    fn parts_of_any_width_are_joined_and_cut() {
        for (n, a, b, c, h, w) in [(1, 1, 1, 1, 1, 1), (2, 3, 5, 2, 3, 7), (2, 4, 8, 3, 5, 5), (1, 17, 4, 33, 2, 3)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let parts = [a, b, c].map(|c| case.random("part", Shape::image(n, c, h, w)));
            let y = graph.concat(&parts);
            case.check(&[y, y.slice_channels(a, b), y.slice_channels(a - 1, 2)], 1e-6);
            case.check_gradients(y, &parts, 1e-5);
            case.check_gradients(y.slice_channels(a - 1, b), &parts[..2], 1e-5);
        }
    }

    #[test]
    fn convolutions_write_into_the_whole_and_read_from_it() {
        // A dense block: each convolution reads everything before it and writes its own slice.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", Shape::image(2, 8, 5, 6));
        let w = [12, 8, 16].map(|k| (k, 0));
        let mut all = x.conv2d(case.random("w0", Shape::Filter { k: w[0].0, c: 8, r: 3, s: 3 }), Geometry::same(3, 3));
        for (i, (k, _)) in w.iter().enumerate().skip(1) {
            let (_, c, _, _) = all.nchw();
            let narrow = case.random(&format!("n{i}"), Shape::Filter { k: 8, c, r: 1, s: 1 });
            let wide = case.random(&format!("w{i}"), Shape::Filter { k: *k, c: 8, r: 3, s: 3 });
            let new = all.conv2d(narrow, Geometry::VALID).conv2d(wide, Geometry::same(3, 3));
            all = graph.concat(&[all, new]);
        }
        let y = all.conv2d(case.random("last", Shape::Filter { k: 5, c: 36, r: 1, s: 1 }), Geometry::VALID);
        case.check(&[y], 1e-4);
        // Nothing is copied: three convolutions write into the whole and three read prefixes of it.
        let weights = std::rc::Rc::new(ParamStore::default().upload(gpu()).expect("weights"));
        let spec = PlanSpec { outputs: vec![y], ..Default::default() };
        let plan = Plan::compile(gpu(), &graph, &weights, &spec).expect("a plan").to_string();
        assert!(plan.contains("conv2d_forward") && !plan.contains("_channels"), "{plan}");
        case.check_gradients(y, &[x], 2e-3);
    }
}
