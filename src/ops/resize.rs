//! Bilinear resizing with PyTorch's conventions (`interpolate`, no antialiasing), and its gradient.

use super::pixels::{Pixels, pixels};
use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Images, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("resize.wgsl");

/// y [N, C, P, Q] from x [N, C, H, W]: each output element is the bilinear mean of four neighbours.
#[derive(Clone, Debug)]
pub struct Resize {
    /// Rows and columns of the result.
    pub size: [usize; 2],
    /// Whether the corners' centres meet; otherwise pixels are areas and the images' borders meet (half-pixel centres,
    /// positions outside clamped to the edge).
    pub align_corners: bool,
}

/// dx = the transpose of [`Resize`] on dy. Input dy.
#[derive(Clone, Debug)]
pub struct ResizeGrad {
    /// The forward operation.
    pub forward: Resize,
    /// Shape of what it resized.
    pub input: Shape,
}

impl<'g> Tensor<'g> {
    /// Bilinear resizing to `size` rows and columns; see [`Resize`].
    ///
    /// # Panics
    /// When this is no image or `size` holds a zero.
    #[track_caller]
    pub fn resize(self, size: [usize; 2], align_corners: bool) -> Tensor<'g> {
        self.apply(Resize { size, align_corners }, &[])
    }
}

/// One axis: output element i sits at max(i · mul + add, 0) / den of the input.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    mul: usize,
    add: i64,
    den: usize,
}

impl Axis {
    fn new(input: usize, output: usize, align_corners: bool) -> Axis {
        if align_corners {
            // A single output element is the first input element.
            Axis { input, output, mul: if output > 1 { input - 1 } else { 0 }, add: 0, den: (output - 1).max(1) }
        } else {
            // (i + 0.5) · input / output - 0.5
            Axis { input, output, mul: 2 * input, add: input as i64 - output as i64, den: 2 * output }
        }
    }

    /// The two input elements that output element `i` reads, with weights.
    fn taps(&self, i: usize) -> [(usize, f64); 2] {
        let numerator = ((i * self.mul) as i64 + self.add).max(0) as usize;
        let (low, t) = (numerator / self.den, (numerator % self.den) as f64 / self.den as f64);
        [(low, 1.0 - t), ((low + 1).min(self.input - 1), t)]
    }

    fn params(&self, names: [&'static str; 4]) -> [(&'static str, Word); 4] {
        let signed = |v: i64| Word::I(i32::try_from(v).expect("the size was checked when the node was recorded"));
        let inverse = Word::F((1.0 / self.den as f64) as f32);
        [
            (names[0], signed(self.mul as i64)),
            (names[1], signed(self.add)),
            (names[2], signed(self.den as i64)),
            (names[3], inverse),
        ]
    }

    /// Where the outputs that read input element i lie: within `reach` of ⌊i · ratio + centre⌋.
    fn window(&self, names: [&'static str; 3]) -> [(&'static str, Word); 3] {
        let (ratio, centre, reach) = if self.mul == 0 {
            (0.0, 0.0, self.output)
        } else {
            let ratio = self.den as f64 / self.mul as f64;
            // Strictly less than one input element away; one more for the floor and for rounding.
            (ratio, -(self.add as f64) / self.mul as f64, ratio.ceil() as usize + 1)
        };
        [(names[0], Word::F(ratio as f32)), (names[1], Word::F(centre as f32)), (names[2], Word::I(reach as i32))]
    }
}

impl Resize {
    fn axes(&self, x: Shape) -> [Axis; 2] {
        let (_, _, h, w) = x.nchw();
        [Axis::new(h, self.size[0], self.align_corners), Axis::new(w, self.size[1], self.align_corners)]
    }

    fn output(&self, x: Shape) -> Result<Shape, String> {
        let (n, c, h, w) = image(x)?;
        let [p, q] = self.size;
        if n * c * h * w * p * q == 0 {
            return Err(format!("cannot resize to {p}×{q}: a size is zero"));
        }
        // Numerators up to 2·input·output must fit in i32, and sizes be exact in f32.
        if h * p >= 1 << 29 || w * q >= 1 << 29 || h.max(w).max(p).max(q) > 1 << 20 {
            return Err(format!("resizing to {p}×{q}: the product of sizes along an axis must be below 2^29"));
        }
        Ok(Shape::image(n, c, p, q))
    }

    /// Calls `f(output index, input index, weight)`.
    fn each(&self, x: Shape, mut f: impl FnMut(usize, usize, f64)) {
        let ((n, c, h, w), [p, q], [rows, columns]) = (x.nchw(), self.size, self.axes(x));
        for plane in 0..n * c {
            for (row, column) in (0..p).flat_map(|r| (0..q).map(move |c| (r, c))) {
                for (i, s) in rows.taps(row) {
                    for (j, t) in columns.taps(column) {
                        f((plane * p + row) * q + column, (plane * h + i) * w + j, s * t);
                    }
                }
            }
        }
    }

    /// The launch grid over the pixels of `over`, for the kernels of both directions.
    fn grid(&self, over: Shape, other: Shape, x: Shape) -> Pixels {
        let mut grid = pixels(over);
        let ((_, _, oh, ow), [rows, columns]) = (other.nchw(), self.axes(x));
        grid.params.extend([("other_rows", Word::from(oh)), ("other_columns", Word::from(ow))]);
        grid.params.extend(rows.params(["row_mul", "row_add", "row_den", "row_inverse"]));
        grid.params.extend(columns.params(["column_mul", "column_add", "column_den", "column_inverse"]));
        grid
    }
}

impl Op for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        Ok(vec![self.output(x[0])?])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut y = vec![0.0; ys[0].elements()];
        self.each(xs[0], |o, i, weight| y[o] += weight * x[0][i]);
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let g = self.grid(k.shape(y[0]), k.shape(x[0]), k.shape(x[0]));
        k.launch(SOURCE, "resize", &g.baked, &g.params, &[x[0].into(), y[0].into()], g.groups);
    }

    fn gradient<'g>(&self, x: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.apply(ResizeGrad { forward: self.clone(), input: x[0].shape() }, &[]))]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        Cost { flops: 9.0 * ys[0].elements() as f64, bytes: 4.0 * (xs[0].words() + ys[0].words()) as f64 }
    }
}

impl Op for ResizeGrad {
    fn name(&self) -> &'static str {
        "resize_grad"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let y = self.forward.output(self.input)?;
        if x[0] != y {
            return Err(format!("dy is {}, the forward result {y}", x[0]));
        }
        Ok(vec![self.input])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let mut dx = vec![0.0; ys[0].elements()];
        self.forward.each(self.input, |o, i, weight| dx[i] += weight * x[0][o]);
        vec![dx]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let input = k.shape(y[0]);
        let mut g = self.forward.grid(input, k.shape(x[0]), input);
        let [rows, columns] = self.forward.axes(input);
        g.params.extend(rows.window(["row_ratio", "row_centre", "row_reach"]));
        g.params.extend(columns.window(["column_ratio", "column_centre", "column_reach"]));
        k.launch(SOURCE, "resize_grad", &g.baked, &g.params, &[x[0].into(), y[0].into()], g.groups);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        // Linear in dy: the transpose of the transpose.
        vec![Some(dy.apply(self.forward.clone(), &[]))]
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        Cost { flops: 8.0 * xs[0].elements() as f64, bytes: 4.0 * (xs[0].words() + ys[0].words()) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;
    use proptest::prelude::*;

    fn check(n: usize, c: usize, from: [usize; 2], to: [usize; 2], align: bool) {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", Shape::image(n, c, from[0], from[1]));
        let a = case.random("a", Shape::image(n, c, to[0], to[1]));
        let y = x.resize(to, align);
        case.check(&[y], 1e-6);
        case.check_gradients(y.multiply(a), &[x], 1e-5);
    }

    #[test]
    fn forward_and_gradient_on_ugly_sizes() {
        for align in [false, true] {
            check(1, 1, [1, 1], [1, 1], align);
            check(1, 1, [1, 7], [5, 1], align);
            check(2, 3, [7, 7], [28, 28], align);
            check(1, 5, [11, 9], [5, 6], align);
            check(1, 7, [3, 2], [17, 13], align);
            check(1, 1, [13, 17], [2, 3], align);
            check(1, 1, [2, 2], [3, 2], align);
        }
    }

    #[test]
    fn the_same_size_changes_no_bit() {
        for align in [false, true] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(2, 3, 41, 97));
            let got = case.check(&[x.resize([41, 97], align)], 0.0);
            assert_eq!(got[0], super::super::testing::numbers(1000, 2 * 3 * 41 * 97));
        }
    }

    #[test]
    fn many_channels_and_wide_rows_use_every_path_of_the_grid() {
        for (c, w) in [(300, 3), (1, 700), (20, 90)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.random("x", Shape::image(1, c, 2, w / 2));
            let y = x.resize([3, w], false);
            let dx = y.gradients_with(y, &[x])[0].expect("a gradient");
            case.check(&[y, dx], 3e-6);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..Default::default() })]
        #[test]
        fn the_backward_window_holds_every_output_that_reads_an_element(
            input in 1usize..1500, output in 1usize..1500, align: bool, at in 0.0f64..1.0,
        ) {
            // The kernel's arithmetic on the host, in f32.
            let a = Axis::new(input, output, align);
            let [(_, Word::F(ratio)), (_, Word::F(centre)), (_, Word::I(reach))] = a.window(["", "", ""]) else { panic!() };
            let i = (at * output as f64) as usize;
            for (tap, weight) in a.taps(i) {
                let near = (tap as f32 * ratio + centre).floor() as i32;
                prop_assert!(weight == 0.0 || (i as i32 - near).abs() <= reach, "output {i} of {input} → {output}");
            }
        }
    }
}
