//! How each case is recorded: one function a family, for any sizes, with its tolerance and where that comes from.

use super::{Bound, Build, Case, Input, Kind};
use crate::graph::shape::Shape;
use crate::graph::{Graph, Tensor};
use crate::ops::{BinaryCrossEntropy, CrossEntropy, Geometry, GlobalMaxPool, MaxPool, Smoothing, Window};

pub(super) fn boxed(f: impl for<'g> Fn(&'g Graph, &[Tensor<'g>]) -> Vec<Tensor<'g>> + Send + Sync + 'static) -> Build {
    Box::new(f)
}

pub(super) fn input(name: &'static str, shape: Shape, kind: Kind) -> Input {
    Input { name, shape, kind }
}

pub(super) fn image([n, c, h, w]: [usize; 4], kind: Kind) -> Input {
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

/// Concatenation of parts with these channels, in N, H, W.
pub fn concat([n, h, w]: [usize; 3], channels: [usize; 3]) -> Case {
    let names = ["a", "b", "c"];
    let part = |(name, c): (&'static str, usize)| input(name, Shape::image(n, c, h, w), Kind::Unit(1.0));
    Case {
        name: format!("concat n{n} {channels:?} {h}x{w}"),
        family: "concat",
        inputs: names.into_iter().zip(channels).map(part).collect(),
        build: boxed(|g, t| vec![g.concat(t)]),
        bound: Bound::Sums { forward: 1, backward: 1 },
        bench: false,
    }
}

/// Channels `first..first + channels` of x.
pub fn slice(x: [usize; 4], first: usize, channels: usize) -> Case {
    Case {
        name: format!("slice n{} c{} {}x{} {first}+{channels}", x[0], x[1], x[2], x[3]),
        family: "slice",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(move |_, t| vec![t[0].slice_channels(first, channels)]),
        bound: Bound::Sums { forward: 1, backward: 1 },
        bench: false,
    }
}

/// Flattening in the order C, H, W, or H, W, C.
pub fn flatten(x: [usize; 4], channels_last: bool) -> Case {
    let order = if channels_last { "hwc" } else { "chw" };
    Case {
        name: format!("flatten n{} c{} {}x{} {order}", x[0], x[1], x[2], x[3]),
        family: "flatten",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(move |_, t| vec![if channels_last { t[0].flatten_channels_last() } else { t[0].flatten() }]),
        bound: Bound::Sums { forward: 1, backward: 1 },
        bench: false,
    }
}

/// A grey image as three channels.
pub fn replicate([n, h, w]: [usize; 3]) -> Case {
    Case {
        name: format!("replicate n{n} {h}x{w}"),
        family: "replicate",
        inputs: vec![image([n, 1, h, w], Kind::Fixed(1.0))],
        build: boxed(|_, t| vec![t[0].replicate([1.0, -2.0, 0.5], [0.25, 1.0, -0.5])]),
        bound: Bound::Sums { forward: 2, backward: 1 },
        bench: false,
    }
}

/// A dense block: 1×1 and 3×3 convolutions that read all before them and write their own channels beside it, in the same
/// memory.
pub fn dense_block([n, c, h, w]: [usize; 4], growth: usize, layers: usize) -> Case {
    let mut inputs = vec![image([n, c, h, w], Kind::Unit(1.0))];
    inputs.push(input("w0", Shape::Filter { k: c, c, r: 1, s: 1 }, Kind::Unit(0.5)));
    for i in 0..layers {
        inputs.push(input("narrow", Shape::Filter { k: 8, c: c + i * growth, r: 1, s: 1 }, Kind::Unit(0.5)));
        inputs.push(input("wide", Shape::Filter { k: growth, c: 8, r: 3, s: 3 }, Kind::Unit(0.5)));
    }
    let build = boxed(move |g, t| {
        let mut all = t[0].conv2d(t[1], Geometry::VALID);
        for pair in t[2..].chunks(2) {
            let new = all.conv2d(pair[0], Geometry::VALID).conv2d(pair[1], Geometry::same(3, 3));
            all = g.concat(&[all, new]);
        }
        // Something reads the whole, so that it is no result itself and may host its parts.
        vec![all.max_pool(Window::square(2))]
    });
    let terms = (c + layers * growth) * layers + 80 * layers + n * h * w;
    Case {
        name: format!("dense block n{n} c{c} {h}x{w} growth {growth} x{layers}"),
        family: "concat",
        inputs,
        build,
        bound: Bound::Sums { forward: terms, backward: terms },
        bench: false,
    }
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

/// Global max pooling; the second result is which pixel won.
pub fn global_max_pool(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("global_max_pool n{n} c{c} {h}x{w}"),
        family: "global_max_pool",
        inputs: vec![image(x, Kind::Apart)],
        build: boxed(|g, t| g.record(GlobalMaxPool, t)),
        bound: Bound::Sums { forward: 0, backward: 0 },
        bench: false,
    }
}

/// Zeros around an image, and, if `crop`, the way back from it.
pub fn zero_pad(x: [usize; 4], sides: [usize; 4], crop: bool) -> Case {
    let [n, c, h, w] = x;
    let what = if crop { "crop" } else { "zero_pad" };
    Case {
        name: format!("{what} n{n} c{c} {h}x{w} {sides:?}").replace(", ", ","),
        family: "zero_pad",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(move |_, t| vec![if crop { t[0].crop2d(sides) } else { t[0].zero_pad2d(sides) }]),
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

/// Logarithm of the softmax of `n` rows of `c` classes, logits within ± `range`.
pub fn log_softmax(n: usize, c: usize, range: f32) -> Case {
    let (classes, r) = (c as f64, f64::from(range));
    // As for cross entropy: the sum of exponentials, 2⁻²¹ = 8 u for log near 1 and 3 ulp elsewhere; then two differences.
    let forward = 6.0 + 10.0 * r + classes + 8.0 + 6.0 * classes.ln() + 2.0 * (2.0 * r + classes.ln());
    // exp(y) <= 1 with its own error and y's, times a sum of at most `classes` terms <= 1.
    let exp = forward + 6.0 + 4.0 * (2.0 * r + classes.ln());
    Case {
        name: format!("log_softmax n{n} c{c} range {range}"),
        family: "softmax",
        inputs: vec![image([n, c, 1, 1], Kind::Unit(range))],
        build: boxed(|_, t| vec![t[0].log_softmax()]),
        bound: Bound::Absolute { forward, backward: classes * exp + classes * classes + 2.0 * classes + 1.0 },
        bench: false,
    }
}

/// Binary cross entropy of `n` rows.
pub fn binary_cross_entropy(n: usize, range: f32, padding: bool, op: BinaryCrossEntropy) -> Case {
    let (weight, r) = (f64::from(op.weights[0].max(op.weights[1])), f64::from(range));
    Case {
        name: format!(
            "bce n{n} weights {:?} smoothing {}{} range {range}",
            op.weights,
            op.smoothing,
            if padding { " padded" } else { "" }
        ),
        family: "cross_entropy",
        inputs: vec![
            image([n, 1, 1, 1], Kind::Unit(range)),
            input("labels", Shape::flat(n), Kind::Labels { classes: 2, padding }),
        ],
        build: boxed(move |_, t| {
            let (loss, per) = t[0].bce_with_logits(t[1], op.clone());
            vec![loss, per]
        }),
        // log1p(exp(-|x|)): 7.5 u of exp as for ELU, a division, 12 roundings of numbers <= 0.7; a loss <= range + 0.7 in a
        // product, a difference, two products, a sum of n and a division. Backward as sigmoid, then two products, a division.
        bound: Bound::Absolute {
            forward: weight * (22.0 + (r + 0.7) * (n as f64 + 9.0)),
            backward: weight * (14.0 + 1.0 + 9.0),
        },
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

/// Softmax cross entropy with class weights whose mean divides by their sum.
pub fn cross_entropy_normalized(n: usize, c: usize, range: f32, padding: bool) -> Case {
    let plain = cross_entropy(n, c, range, padding, true, Smoothing::None);
    Case {
        name: format!("{} normalized", plain.name),
        build: boxed(|g, t| g.record(CrossEntropy { smoothing: Smoothing::None, weights: true, normalize: true }, t)),
        // Weights are 0.5 to 1.5: a row's share is at most 3 / rows instead of 1.5 / rows, so all errors are twice as large.
        bound: Bound::CrossEntropy { classes: c, range: 2.0 * f64::from(range), rows: 2 * n },
        ..plain
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
