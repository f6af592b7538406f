//! THE table of cases: which operations, on which shapes, with which random inputs. Forward, gradient, bounds and
//! determinism tests, `radiograd selftest` and `cargo bench` all read it. A case is data and a recipe that records it;
//! what is done with it is `src/selftest/`'s business.
//!
//! Adding an operation: write a function that returns its [`Case`] for given sizes and call it in [`table`] with ugly
//! ones (1, 2, 3, 7, 17, 33, primes); if it belongs in the benchmarks, call it in [`bench_table`] with the shapes of the
//! papers' networks as well.

use crate::graph::shape::Shape;
use crate::graph::{Graph, Tensor};
use crate::ops::{Border, CamMap, Colors, Fill, Geometry, MaxPool, Overlay, Smoothing, Window};

/// Which random numbers an input holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Uniform in ± this.
    Unit(f32),
    /// A random order of numbers 2⁻⁹ apart, half of them negative, none 0: no ties for max, no kink for ReLU.
    Apart,
    /// Uniform in [0.5, 1.5): class weights.
    Positive,
    /// Uniform in ± this, and no derivative is taken: an operation for pictures, or numbers that are given.
    Fixed(f32),
    /// Random integers below 2²⁰: seeds and counters.
    Words,
    /// Labels below `classes`; with `padding`, every third is `classes` or more and marks padding of the batch.
    Labels {
        /// How many classes.
        classes: usize,
        /// Whether some rows are padding.
        padding: bool,
    },
}

/// An input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name: `x`, `w`, `b`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// What it holds.
    pub kind: Kind,
}

/// From where the tolerance of a case follows. u = 2⁻²⁴ is the unit roundoff of f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Sums of products: |error| ≤ γₙ Σ|terms| with γₙ = n u / (1 − n u) for n rounding errors in a row, in any order of
    /// summation (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1). Σ|terms| is the reference on
    /// absolute values.
    Sums {
        /// n of the result.
        forward: usize,
        /// The largest n of its gradients.
        backward: usize,
    },
    /// |error| ≤ so many u, where results are at most about 1: the case's function says why.
    Absolute {
        /// Of the result.
        forward: f64,
        /// Of its gradients.
        backward: f64,
    },
    /// Softmax over `classes` numbers within ± `range`; WGSL allows exp an error of 3 + 2|x| ulp, log 2⁻²¹ near 1 and
    /// 3 ulp elsewhere, division 2.5 ulp (WGSL §15.7.4).
    Softmax {
        /// How many classes.
        classes: usize,
        /// The largest logit.
        range: f64,
    },
    /// Cross entropy on top of it, the mean over `rows`.
    CrossEntropy {
        /// How many classes.
        classes: usize,
        /// The largest logit.
        range: f64,
        /// Rows that are summed.
        rows: usize,
    },
}

/// Records a case on its inputs and returns its results; gradients are those of the first.
pub type Build = Box<dyn for<'g> Fn(&'g Graph, &[Tensor<'g>]) -> Vec<Tensor<'g>> + Send + Sync>;

/// A case of the table.
pub struct Case {
    /// Its name, unique in the table: operation and sizes.
    pub name: String,
    /// The family of operations, for summaries: `conv2d`.
    pub family: &'static str,
    /// Its inputs, in the order `build` takes them.
    pub inputs: Vec<Input>,
    /// Records it.
    pub build: Build,
    /// Its tolerance.
    pub bound: Bound,
    /// Whether it stands for a shape of a published network.
    pub bench: bool,
}

fn boxed(f: impl for<'g> Fn(&'g Graph, &[Tensor<'g>]) -> Vec<Tensor<'g>> + Send + Sync + 'static) -> Build {
    Box::new(f)
}

fn input(name: &'static str, shape: Shape, kind: Kind) -> Input {
    Input { name, shape, kind }
}

fn image([n, c, h, w]: [usize; 4], kind: Kind) -> Input {
    input("x", Shape::image(n, c, h, w), kind)
}

/// What follows a convolution in one [`conv`] case; the plan fuses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tail {
    /// Nothing.
    Plain,
    /// A bias.
    Bias,
    /// A bias and a ReLU.
    Relu,
}

/// A convolution of `x` [N, C, H, W] with `k` filters of `r` × `s`.
pub fn conv(x: [usize; 4], k: usize, [r, s]: [usize; 2], stride: [usize; 2], padding: [usize; 4], tail: Tail) -> Case {
    let geometry = Geometry { stride, padding };
    let [n, c, h, w] = x;
    let (p, q) = ((h + padding[0] + padding[1] - r) / stride[0] + 1, (w + padding[2] + padding[3] - s) / stride[1] + 1);
    let mut inputs = vec![image(x, Kind::Unit(1.0)), input("w", Shape::Filter { k, c, r, s }, Kind::Unit(1.0))];
    if tail != Tail::Plain {
        inputs.push(input("b", Shape::Channels { c: k }, Kind::Unit(1.0)));
    }
    let build = boxed(move |_, t| {
        let y = t[0].conv2d(t[1], geometry);
        vec![match tail {
            Tail::Plain => y,
            Tail::Bias => y.bias(t[2]),
            Tail::Relu => y.bias(t[2]).relu(),
        }]
    });
    let [top, bottom, left, right] = padding;
    let text = |[a, b]: [usize; 2]| if a == b { format!("{a}") } else { format!("{a}x{b}") };
    let pads = if padding == [top; 4] { format!("{top}") } else { format!("{top},{bottom},{left},{right}") };
    Case {
        name: format!("conv2d n{n} c{c} {h}x{w} k{k} {r}x{s} s{} p{pads} {tail:?}", text(stride)).to_lowercase(),
        family: "conv2d",
        inputs,
        build,
        bound: Bound::Sums { forward: c * r * s + 1, backward: (k * r * s).max(n * p * q) + 1 },
        bench: false,
    }
}

/// A dense layer with `k` outputs on `x` [N, C, H, W].
pub fn dense(x: [usize; 4], k: usize, tail: Tail) -> Case {
    let [n, c, h, w] = x;
    let case = conv(x, k, [h, w], [1, 1], [0; 4], tail);
    Case { name: format!("dense n{n} f{} k{k} {tail:?}", c * h * w).to_lowercase(), family: "dense", ..case }
}

/// Two convolutions with a ReLU between them: the mask of the ReLU's gradient is fused into the second's grad_input.
pub fn conv_relu_conv(x: [usize; 4], k: usize, k2: usize, stride: [usize; 2]) -> Case {
    let [n, c, h, w] = x;
    let inputs = vec![
        image(x, Kind::Unit(1.0)),
        input("w", Shape::Filter { k, c, r: 3, s: 3 }, Kind::Unit(1.0)),
        input("b", Shape::Channels { c: k }, Kind::Unit(1.0)),
        input("w2", Shape::Filter { k: k2, c: k, r: 3, s: 3 }, Kind::Unit(1.0)),
    ];
    let second = Geometry { stride, padding: [1; 4] };
    Case {
        name: format!("conv relu conv n{n} c{c} {h}x{w} k{k} k{k2} s{}", stride[0]),
        family: "fused chains",
        inputs,
        build: boxed(move |_, t| vec![t[0].conv2d(t[1], Geometry::same(3, 3)).bias(t[2]).relu().conv2d(t[3], second)]),
        bound: Bound::Sums { forward: 9 * c + 9 * k + 2, backward: 9 * c + 9 * k + 9 * k2 + 2 * n * h * w + 4 },
        bench: false,
    }
}

/// Convolution, ReLU, pool: the pool's backward kernel applies the ReLU's mask.
pub fn conv_relu_pool(x: [usize; 4], k: usize, window: Window, max: bool) -> Case {
    let [n, c, h, w] = x;
    let inputs = vec![
        image(x, Kind::Unit(1.0)),
        input("w", Shape::Filter { k, c, r: 3, s: 3 }, Kind::Unit(1.0)),
        input("b", Shape::Channels { c: k }, Kind::Unit(1.0)),
    ];
    let build = boxed(move |_, t| {
        let y = t[0].conv2d(t[1], Geometry::same(3, 3)).bias(t[2]).relu();
        vec![if max { y.max_pool(window) } else { y.avg_pool(window, true) }]
    });
    let taps = window.size[0] * window.size[1];
    Case {
        name: format!("conv relu {} n{n} c{c} {h}x{w} k{k}", if max { "max_pool" } else { "avg_pool" }),
        family: "fused chains",
        inputs,
        build,
        bound: Bound::Sums { forward: 9 * c + taps + 8, backward: 9 * k + n * h * w + taps + 8 },
        bench: false,
    }
}

/// A residual connection: the gradient of `x` is a sum of two.
pub fn residual(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("residual n{n} c{c} {h}x{w}"),
        family: "add",
        inputs: vec![image(x, Kind::Unit(1.0)), input("w", Shape::Filter { k: c, c, r: 3, s: 3 }, Kind::Unit(1.0))],
        build: boxed(|_, t| vec![t[0].conv2d(t[1], Geometry::same(3, 3)).add(t[0])]),
        bound: Bound::Sums { forward: 9 * c + 2, backward: 9 * c + n * h * w + 2 },
        bench: false,
    }
}

fn window_name(x: [usize; 4], w: Window) -> String {
    let ([n, c, h, wide], [r, s], [a, b]) = (x, w.size, w.stride);
    format!("n{n} c{c} {h}x{wide} {r}x{s} s{a}x{b} p{:?}", w.padding).replace(", ", ",")
}

/// Max pooling; the second result is which element won.
pub fn max_pool(x: [usize; 4], window: Window) -> Case {
    Case {
        name: format!("max_pool {}", window_name(x, window)),
        family: "max_pool",
        inputs: vec![image(x, Kind::Apart)],
        build: boxed(move |g, t| g.record(MaxPool(window), t)),
        bound: Bound::Sums { forward: 0, backward: window.size[0] * window.size[1] },
        bench: false,
    }
}

/// Average pooling.
pub fn avg_pool(x: [usize; 4], window: Window, include: bool) -> Case {
    let taps = window.size[0] * window.size[1];
    Case {
        name: format!("avg_pool {}{}", window_name(x, window), if include { " include" } else { "" }),
        family: "avg_pool",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(move |_, t| vec![t[0].avg_pool(window, include)]),
        // A division may cost 2.5 ulp: 5 u.
        bound: Bound::Sums { forward: taps + 5, backward: taps + 5 },
        bench: false,
    }
}

/// Global average pooling.
pub fn global_avg_pool(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("global_avg_pool n{n} c{c} {h}x{w}"),
        family: "global_avg_pool",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(|_, t| vec![t[0].global_avg_pool()]),
        bound: Bound::Sums { forward: h * w + 5, backward: 5 },
        bench: false,
    }
}

/// A bias by itself.
pub fn bias(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("bias n{n} c{c} {h}x{w}"),
        family: "bias",
        inputs: vec![image(x, Kind::Unit(1.0)), input("b", Shape::Channels { c }, Kind::Unit(1.0))],
        build: boxed(|_, t| vec![t[0].bias(t[1])]),
        bound: Bound::Sums { forward: 1, backward: n * h * w },
        bench: false,
    }
}

/// ReLU by itself.
pub fn relu(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("relu n{n} c{c} {h}x{w}"),
        family: "relu",
        inputs: vec![image(x, Kind::Apart)],
        build: boxed(|_, t| vec![t[0].relu()]),
        bound: Bound::Sums { forward: 0, backward: 0 },
        bench: false,
    }
}

/// Addition by itself.
pub fn add(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("add n{n} c{c} {h}x{w}"),
        family: "add",
        inputs: vec![image(x, Kind::Unit(1.0)), input("b", Shape::image(n, c, h, w), Kind::Unit(1.0))],
        build: boxed(|_, t| vec![t[0].add(t[1])]),
        bound: Bound::Sums { forward: 1, backward: 0 },
        bench: false,
    }
}

/// Element-wise product by itself.
pub fn multiply(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("multiply n{n} c{c} {h}x{w}"),
        family: "multiply",
        inputs: vec![image(x, Kind::Unit(1.0)), input("b", Shape::image(n, c, h, w), Kind::Unit(1.0))],
        build: boxed(|_, t| vec![t[0].multiply(t[1])]),
        bound: Bound::Sums { forward: 1, backward: 1 },
        bench: false,
    }
}

/// Dropout with its own random numbers; the reference draws the same.
pub fn dropout(x: [usize; 4], p: f32) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("dropout n{n} c{c} {h}x{w} p {p}"),
        family: "dropout",
        inputs: vec![image(x, Kind::Unit(1.0)), input("random", Shape::flat(4), Kind::Words)],
        build: boxed(move |_, t| vec![t[0].dropout(p, 3, t[1])]),
        // 1 / (1 - p) is rounded, and the product.
        bound: Bound::Sums { forward: 2, backward: 2 },
        bench: false,
    }
}

/// Bilinear resizing.
pub fn resize(x: [usize; 4], size: [usize; 2], align: bool) -> Case {
    let [n, c, h, w] = x;
    // Outputs that one input pixel reaches along each axis.
    let reach = |from: usize, to: usize| 2.0 * (to as f64 / from as f64).ceil() + 2.0;
    let terms = reach(h, size[0]) * reach(w, size[1]);
    Case {
        name: format!("resize n{n} c{c} {h}x{w} to {}x{}{}", size[0], size[1], if align { " corners" } else { "" }),
        family: "resize",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(move |_, t| vec![t[0].resize(size, align)]),
        // Four values <= 1, each with two weights of absolute error 2 u and five roundings; backward, at most `terms` of
        // them in a sum.
        bound: Bound::Absolute { forward: 36.0, backward: terms * (9.0 + terms) },
        bench: false,
    }
}

/// The Grad-CAM map of given gradients.
pub fn grad_cam(x: [usize; 4], relu: bool) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("grad_cam n{n} c{c} {h}x{w}{}", if relu { " relu" } else { "" }),
        family: "grad_cam",
        inputs: vec![image(x, Kind::Fixed(1.0)), input("gradient", Shape::image(n, c, h, w), Kind::Fixed(1.0))],
        build: boxed(move |_, t| vec![t[1].global_avg_pool().apply(CamMap { relu }, &[t[0]])]),
        bound: Bound::Sums { forward: h * w + c + 6, backward: 0 },
        bench: false,
    }
}

/// Maps divided by their maxima.
pub fn cam_normalize(n: usize, h: usize, w: usize) -> Case {
    Case {
        name: format!("cam_normalize n{n} {h}x{w}"),
        family: "grad_cam",
        inputs: vec![image([n, 1, h, w], Kind::Fixed(1.0))],
        build: boxed(|_, t| {
            let (map, top) = t[0].cam_normalize();
            vec![map, top]
        }),
        // One division of 2.5 ulp, or a reciprocal and a product.
        bound: Bound::Absolute { forward: 8.0, backward: 0.0 },
        bench: false,
    }
}

/// A heat map over a gray image.
pub fn overlay(n: usize, h: usize, w: usize, colors: Colors) -> Case {
    Case {
        name: format!("overlay n{n} {h}x{w} {colors:?}").to_lowercase(),
        family: "colormap",
        inputs: vec![image([n, 1, h, w], Kind::Fixed(1.1)), input("gray", Shape::image(n, 1, h, w), Kind::Fixed(1.0))],
        build: boxed(move |_, t| {
            vec![t[0].colormap(colors), t[0].overlay(t[1], Overlay { colors, alpha: 0.4, by_value: true })]
        }),
        // Horner's scheme on Turbo's polynomial: ten roundings, coefficients that add up to 393 at most.
        bound: Bound::Absolute { forward: 10.0 * 393.0 + 16.0, backward: 0.0 },
        bench: false,
    }
}

/// Augmentation with arbitrary maps (far more than a rotation; half of what they show is outside).
pub fn augment(x: [usize; 4], border: Border) -> Case {
    let [n, c, h, w] = x;
    let reach = (h + w + 1) as f64;
    Case {
        name: format!("augment n{n} c{c} {h}x{w} {border:?}").to_lowercase(),
        family: "augment",
        inputs: vec![image(x, Kind::Fixed(1.0)), input("warp", Shape::flat(n * crate::ops::WARP), Kind::Fixed(1.0))],
        build: boxed(move |_, t| vec![t[0].augment(t[1], border)]),
        // Positions up to h + w + 1 with three roundings each; along each axis values change by at most 2 a pixel (3 to a
        // border of 2); then ten roundings of numbers up to 3.
        bound: Bound::Absolute { forward: 2.0 * 3.0 * 3.0 * reach + 30.0, backward: 0.0 },
        bench: false,
    }
}

/// A constant row.
pub fn fill(len: usize) -> Case {
    Case {
        name: format!("fill {len}"),
        family: "fill",
        inputs: Vec::new(),
        build: boxed(move |g, _| g.record(Fill { shape: Shape::flat(len), value: -1.25 }, &[])),
        bound: Bound::Sums { forward: 0, backward: 0 },
        bench: false,
    }
}

/// Softmax of `n` rows of `c` classes, logits within ± `range`.
pub fn softmax(n: usize, c: usize, range: f32) -> Case {
    Case {
        name: format!("softmax n{n} c{c} range {range}"),
        family: "softmax",
        inputs: vec![image([n, c, 1, 1], Kind::Unit(range))],
        build: boxed(|_, t| vec![t[0].softmax()]),
        bound: Bound::Softmax { classes: c, range: f64::from(range) },
        bench: false,
    }
}

/// Softmax cross entropy of `n` rows.
pub fn cross_entropy(n: usize, c: usize, range: f32, padding: bool, weights: bool, smoothing: Smoothing) -> Case {
    let mut inputs = vec![
        image([n, c, 1, 1], Kind::Unit(range)),
        input("labels", Shape::flat(n), Kind::Labels { classes: c, padding }),
    ];
    if weights {
        inputs.push(input("class weights", Shape::Channels { c }, Kind::Positive));
    }
    let smooth = match smoothing {
        Smoothing::None => "",
        Smoothing::OverAll(_) => " over all",
        Smoothing::Others(_) => " others",
    };
    let (pad, weigh) = (if padding { " padded" } else { "" }, if weights { " weights" } else { "" });
    Case {
        name: format!("cross_entropy n{n} c{c}{smooth}{weigh}{pad} range {range}"),
        family: "cross_entropy",
        inputs,
        build: boxed(move |_, t| {
            let (loss, per) = t[0].cross_entropy(t[1], smoothing, t.get(2).copied());
            vec![loss, per]
        }),
        bound: Bound::CrossEntropy { classes: c, range: f64::from(range), rows: n },
        bench: false,
    }
}

/// The layers of DETL on `side` × `side` images (Basu & Mitra, arXiv:2004.10507, section III-B). With `tail`
/// [`Tail::Bias`] instead of ReLU the derivatives of these many numbers have no kinks.
pub fn detl(batch: usize, side: usize, tail: Tail) -> Vec<Case> {
    let (mut all, mut c, mut s) = (Vec::new(), 1, side);
    for k in crate::models::detl::BLOCKS {
        for _ in 0..2 {
            all.push(conv([batch, c, s, s], k, [3, 3], [1, 1], [0; 4], tail));
            (c, s) = (k, s - 2);
        }
        all.push(max_pool([batch, c, s, s], Window::square(2)));
        s /= 2;
    }
    let mut x = [batch, c, s, s];
    for k in crate::models::detl::DENSE {
        all.push(dense(x, k, tail));
        x = [batch, k, 1, 1];
    }
    all.push(dense(x, 4, Tail::Bias));
    all.push(cross_entropy(batch, 4, 3.0, false, false, Smoothing::None));
    all.into_iter().map(|c| Case { name: format!("detl{side} {}", c.name), bench: true, ..c }).collect()
}

/// Every case that `radiograd selftest` and the tests run.
pub fn table() -> Vec<Case> {
    use Tail::{Bias, Plain, Relu};
    let window = |size, stride, padding| Window { size, stride, padding };
    let mut all = vec![
        conv([1, 1, 1, 1], 1, [1, 1], [1, 1], [0; 4], Plain),
        conv([2, 3, 7, 5], 7, [3, 3], [1, 1], [1; 4], Bias),
        conv([2, 1, 9, 11], 17, [3, 3], [1, 1], [0; 4], Relu),
        conv([1, 1, 33, 7], 33, [5, 3], [1, 1], [2, 2, 1, 1], Bias),
        conv([2, 3, 13, 12], 4, [7, 7], [2, 2], [3; 4], Bias),
        conv([3, 5, 5, 9], 3, [1, 7], [1, 1], [0, 0, 3, 3], Plain),
        conv([1, 4, 9, 5], 5, [7, 1], [1, 1], [3, 3, 0, 0], Relu),
        conv([1, 2, 3, 2], 33, [3, 3], [1, 1], [2; 4], Plain),
        conv([1, 17, 17, 13], 2, [5, 5], [3, 3], [2; 4], Bias),
        conv([2, 7, 8, 11], 9, [3, 2], [2, 1], [2, 0, 0, 1], Plain),
        conv([1, 5, 7, 8], 6, [2, 2], [3, 3], [0; 4], Plain),
        conv([2, 5, 7, 6], 3, [1, 1], [2, 2], [0; 4], Bias),
        conv([2, 1, 8, 7], 8, [3, 3], [2, 2], [0, 1, 0, 1], Bias),
        conv([3, 33, 1, 1], 17, [3, 3], [1, 1], [1; 4], Plain),
        conv([7, 33, 3, 1], 10, [1, 1], [1, 1], [0; 4], Plain),
        conv([2, 8, 17, 33], 16, [3, 3], [1, 1], [1; 4], Relu),
        dense([1, 1, 1, 1], 1, Plain),
        dense([2, 67, 1, 1], 9, Bias),
        dense([17, 33, 1, 1], 2, Relu),
        dense([5, 3, 3, 5], 7, Bias),
        dense([2, 1, 7, 3], 33, Plain),
        dense([3, 128, 4, 4], 3, Bias),
        conv_relu_conv([2, 3, 7, 5], 5, 6, [1, 1]),
        conv_relu_conv([1, 1, 11, 7], 9, 3, [2, 2]),
        conv_relu_pool([2, 2, 9, 7], 5, Window::square(2), true),
        conv_relu_pool([1, 3, 8, 8], 6, window([3, 3], [2, 2], [1; 4]), true),
        conv_relu_pool([1, 3, 7, 9], 5, window([3, 3], [2, 2], [1; 4]), false),
        residual([2, 5, 7, 6]),
        max_pool([2, 3, 7, 5], Window::square(2)),
        max_pool([1, 17, 9, 7], window([3, 3], [2, 2], [1; 4])),
        max_pool([3, 1, 8, 8], window([3, 3], [2, 2], [0, 1, 0, 1])),
        max_pool([1, 2, 11, 13], window([2, 2], [3, 3], [0; 4])),
        max_pool([1, 33, 7, 33], window([3, 2], [1, 2], [1, 2, 0, 1])),
        max_pool([1, 260, 3, 2], Window::square(2)),
        max_pool([1, 7, 1, 1], Window::square(1)),
        avg_pool([2, 3, 7, 5], Window::square(2), true),
        avg_pool([1, 17, 9, 7], window([3, 3], [1, 1], [1; 4]), false),
        avg_pool([2, 1, 7, 11], window([3, 3], [2, 2], [1, 2, 2, 0]), true),
        avg_pool([1, 33, 5, 7], window([2, 3], [3, 2], [1, 0, 0, 2]), false),
        avg_pool([1, 260, 2, 3], Window::square(2), false),
        global_avg_pool([2, 3, 7, 5]),
        global_avg_pool([1, 17, 1, 1]),
        global_avg_pool([3, 260, 2, 33]),
        bias([1, 1, 1, 1]),
        bias([2, 7, 17, 33]),
        bias([3, 33, 5, 7]),
        relu([1, 1, 1, 1]),
        relu([2, 17, 13, 11]),
        add([1, 7, 1, 3]),
        add([2, 17, 13, 11]),
        multiply([1, 3, 1, 1]),
        multiply([2, 17, 13, 11]),
        dropout([1, 1, 1, 1], 0.5),
        dropout([3, 5, 7, 3], 0.25),
        dropout([2, 33, 17, 7], 0.9),
        resize([1, 1, 1, 1], [3, 2], false),
        resize([2, 3, 7, 7], [28, 28], false),
        resize([1, 5, 11, 9], [5, 6], false),
        resize([1, 17, 3, 2], [7, 13], true),
        grad_cam([1, 1, 1, 1], true),
        grad_cam([2, 33, 7, 9], true),
        grad_cam([3, 7, 3, 5], false),
        cam_normalize(3, 7, 9),
        overlay(2, 7, 17, Colors::Turbo),
        overlay(1, 3, 33, Colors::Jet),
        augment([3, 1, 17, 13], Border::Nearest),
        augment([2, 5, 7, 3], Border::Constant(2.0)),
        fill(1),
        fill(7),
        softmax(1, 2, 1.0),
        softmax(4, 5, 4.0),
        softmax(65, 3, 10.0),
        softmax(7, 33, 20.0),
        cross_entropy(1, 2, 3.0, false, false, Smoothing::None),
        cross_entropy(7, 3, 3.0, false, true, Smoothing::None),
        cross_entropy(17, 4, 5.0, true, false, Smoothing::OverAll(0.1)),
        cross_entropy(67, 3, 3.0, true, true, Smoothing::Others(0.12)),
        cross_entropy(5, 17, 40.0, false, true, Smoothing::OverAll(0.1)),
    ];
    all.extend(detl(1, 64, Bias));
    all
}

/// The shapes that `cargo bench` times: DETL's layers with a training batch, and layers of the papers' other networks.
pub fn bench_table() -> Vec<Case> {
    use Tail::{Bias, Plain, Relu};
    let window = |size, stride, padding| Window { size, stride, padding };
    let mut all = vec![
        // The bars of the peers' harness.
        conv([8, 64, 56, 56], 64, [3, 3], [1, 1], [1; 4], Plain),
        dense([512, 512, 1, 1], 512, Plain),
        // VGG-16 (Simonyan & Zisserman, arXiv:1409.1556): first, middle, last block.
        conv([4, 3, 224, 224], 64, [3, 3], [1, 1], [1; 4], Relu),
        conv([4, 256, 56, 56], 256, [3, 3], [1, 1], [1; 4], Relu),
        conv([4, 512, 14, 14], 512, [3, 3], [1, 1], [1; 4], Relu),
        // ResNet-50 (He et al., arXiv:1512.03385): stem, 1×1 and strided 3×3.
        conv([8, 3, 224, 224], 64, [7, 7], [2, 2], [3; 4], Plain),
        conv([8, 256, 56, 56], 64, [1, 1], [1, 1], [0; 4], Plain),
        conv([8, 128, 56, 56], 128, [3, 3], [2, 2], [1; 4], Plain),
        // Inception v3 (Szegedy et al., arXiv:1512.00567): the factorised 7×7.
        conv([8, 192, 17, 17], 192, [1, 7], [1, 1], [0, 0, 3, 3], Plain),
        dense([16, 2048, 1, 1], 1000, Bias),
        max_pool([8, 64, 112, 112], window([3, 3], [2, 2], [1; 4])),
        avg_pool([8, 256, 28, 28], Window::square(2), true),
        global_avg_pool([8, 2048, 7, 7]),
        relu([8, 64, 56, 56]),
        add([8, 64, 56, 56]),
        bias([8, 64, 56, 56]),
        softmax(256, 1000, 4.0),
    ];
    all.iter_mut().for_each(|c| c.bench = true);
    all.extend(detl(16, 64, Relu));
    all
}
