//! How the cases of batch norm and of depthwise convolution are recorded; as in `recipes.rs`.

use super::recipes::{boxed, image, input};
use super::{Bound, Case, Kind};
use crate::graph::Tensor;
use crate::graph::shape::Shape;
use crate::ops::{Geometry, RunningUpdate};

/// What follows a batch norm in one [`batch_norm`] or [`normalize`] case; the plan fuses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// A ReLU.
    Relu,
    /// A residual addition and a ReLU.
    Skip,
}

impl After {
    fn apply<'g>(self, y: Tensor<'g>, skip: Option<&Tensor<'g>>) -> Tensor<'g> {
        match (self, skip) {
            (After::Nothing, _) => y,
            (After::Skip, Some(s)) => y.add(*s).relu(),
            _ => y.relu(),
        }
    }
}

/// Roundings in a row of a sum over `m` pixels: a slot of 64 (or a 1,024th), its slots by 64, then 64 in order; a merge of
/// statistics rounds four times.
fn chain(m: usize) -> f64 {
    let rows = m.div_ceil(1024).max(64);
    let slots = m.div_ceil(rows);
    4.0 * (m.min(rows) + slots.div_ceil(64) + slots.min(64)) as f64
}

/// Batch norm with the batch's own statistics, x within ± 1; the mean and the variance are results as well.
pub fn batch_norm(x: [usize; 4], gamma: bool, after: After) -> Case {
    let [n, c, h, w] = x;
    let m = n * h * w;
    // With 64 uniform numbers in ± 1 or more (variance 1/3) a channel's variance is above 0.2, with fewer an epsilon of 0.25
    // keeps the inverse deviation below 2.25.
    let (inverse, epsilon) = (2.25, if m < 64 { 0.25 } else { 1e-3 });
    let mut inputs = vec![image(x, Kind::Unit(1.0))];
    if gamma {
        inputs.push(input("gamma", Shape::Channels { c }, Kind::Unit(1.0)));
    }
    inputs.push(input("beta", Shape::Channels { c }, Kind::Unit(1.0)));
    if after == After::Skip {
        inputs.push(input("skip", Shape::image(n, c, h, w), Kind::Unit(1.0)));
    }
    let g = usize::from(gamma);
    let build = boxed(move |_, t| {
        let (mean, var) = t[0].batch_stats();
        let y = t[0].batch_norm((mean, var), gamma.then(|| t[1]), t[1 + g], epsilon);
        vec![after.apply(y, t.get(2 + g)), mean, var]
    });
    // In units of u, for |x|, |gamma|, |beta|, |dy| <= 1: the mean is off by k, xhat by 3 k + 20 inverse deviations, dgamma / M
    // and dbeta / M by that and k; dx has factors of at most 2 + 2 inverse deviations.
    let k = chain(m);
    let xhat = inverse * (3.0 * k + 20.0);
    let channel = xhat + k;
    let worst = 2.0 + 2.0 * inverse;
    let image = inverse * ((k / 2.0 + 12.0) * worst + k + xhat + 2.0 * inverse * channel);
    Case {
        name: format!("batch_norm n{n} c{c} {h}x{w}{} {after:?}", if gamma { "" } else { " no gamma" }).to_lowercase(),
        family: "batch_norm",
        inputs,
        build,
        bound: Bound::Channels { forward: xhat + 4.0 * inverse + 4.0, image, channel },
        bench: false,
    }
}

/// Batch norm with given statistics.
pub fn normalize(x: [usize; 4], gamma: bool, after: After) -> Case {
    let [n, c, h, w] = x;
    let shape = Shape::Channels { c };
    let mut inputs = vec![
        image(x, Kind::Unit(1.0)),
        input("running_mean", shape, Kind::Fixed(1.0)),
        input("running_var", shape, Kind::Positive),
        input("beta", shape, Kind::Unit(1.0)),
    ];
    if gamma {
        inputs.push(input("gamma", shape, Kind::Unit(1.0)));
    }
    if after == After::Skip {
        inputs.push(input("skip", Shape::image(n, c, h, w), Kind::Unit(1.0)));
    }
    let g = usize::from(gamma);
    let build = boxed(move |_, t| {
        let scale = t[2].batch_norm_scale(gamma.then(|| t[4]), 1e-3);
        vec![after.apply(t[0].normalize(t[1], scale, t[3]), t.get(4 + g))]
    });
    // a is at most sqrt(2) with some 10 roundings (its root and division have 2.5 ulp each), |x - mean| at most 2.
    let k = chain(n * h * w);
    Case {
        name: format!("normalize n{n} c{c} {h}x{w}{} {after:?}", if gamma { "" } else { " no gamma" }).to_lowercase(),
        family: "batch_norm",
        inputs,
        build,
        bound: Bound::Channels { forward: 48.0, image: 24.0, channel: 3.0 * (k + 16.0) },
        bench: false,
    }
}

/// One step of the running statistics.
pub fn running_update(c: usize, unbiased: bool) -> Case {
    let shape = Shape::Channels { c };
    let inputs = vec![
        input("running_mean", shape, Kind::Fixed(1.0)),
        input("running_var", shape, Kind::Positive),
        input("mean", shape, Kind::Fixed(1.0)),
        input("var", shape, Kind::Positive),
    ];
    Case {
        name: format!("running_update c{c}{}", if unbiased { " unbiased" } else { "" }),
        family: "batch_norm",
        inputs,
        build: boxed(move |g, t| g.record(RunningUpdate { momentum: 0.1, samples: 5, unbiased }, t)),
        // Two products and a sum of numbers up to 1.9, momentum, 1 - momentum and the factor rounded.
        bound: Bound::Absolute { forward: 16.0, backward: 0.0 },
        bench: false,
    }
}

/// A convolution with a frozen batch norm after it, all in one kernel: gradients of the statistics would need what is between
/// them, so those are fixed.
pub fn conv_norm(
    x: [usize; 4],
    k: usize,
    [r, s]: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    after: After,
) -> Case {
    let geometry = Geometry { stride, padding };
    let [n, c, h, w] = x;
    let (p, q) = ((h + padding[0] + padding[1] - r) / stride[0] + 1, (w + padding[2] + padding[3] - s) / stride[1] + 1);
    let channels = Shape::Channels { c: k };
    let mut inputs = vec![
        image(x, Kind::Unit(1.0)),
        input("w", Shape::Filter { k, c, r, s }, Kind::Unit(1.0)),
        input("mean", channels, Kind::Fixed(1.0)),
        input("scale", channels, Kind::Fixed(1.0)),
        input("beta", channels, Kind::Fixed(1.0)),
    ];
    if after == After::Skip {
        inputs.push(input("skip", Shape::image(n, k, p, q), Kind::Unit(1.0)));
    }
    // |x|, |w|, |mean|, |scale|, |beta| <= 1: sums of `terms` numbers, each with `terms` roundings at most, and eight more.
    let terms = (c * r * s + 1) as f64;
    let back = (k * r * s).max(n * p * q) as f64;
    Case {
        name: format!("conv norm n{n} c{c} {h}x{w} k{k} {r}x{s} s{} p{} {after:?}", stride[0], padding[0])
            .to_lowercase(),
        family: "fused chains",
        inputs,
        build: boxed(move |_, t| vec![after.apply(t[0].conv2d(t[1], geometry).normalize(t[2], t[3], t[4]), t.get(5))]),
        bound: Bound::Channels { forward: (terms + 8.0) * (terms + 2.0), image: (back + 4.0) * back, channel: 0.0 },
        bench: false,
    }
}

/// A depthwise convolution of `x` [N, C, H, W] with `m` filters of `r` × `s` a channel.
pub fn depthwise(
    x: [usize; 4],
    m: usize,
    [r, s]: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    relu: bool,
) -> Case {
    let geometry = Geometry { stride, padding };
    let [n, c, h, w] = x;
    let (p, q) = ((h + padding[0] + padding[1] - r) / stride[0] + 1, (w + padding[2] + padding[3] - s) / stride[1] + 1);
    let mut inputs =
        vec![image(x, Kind::Unit(1.0)), input("w", Shape::Filter { k: c * m, c: 1, r, s }, Kind::Unit(1.0))];
    if relu {
        inputs[0].kind = Kind::Apart;
    }
    let build = boxed(move |_, t| {
        let x = if relu { t[0].relu() } else { t[0] };
        vec![x.depthwise_conv2d(t[1], geometry)]
    });
    let text = |v: &[usize]| v.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(",");
    Case {
        name: format!(
            "depthwise n{n} c{c} {h}x{w} m{m} {r}x{s} s{} p{}{}",
            text(&stride),
            text(&padding),
            if relu { " after relu" } else { "" }
        ),
        family: "depthwise",
        inputs,
        build,
        bound: Bound::Sums { forward: r * s, backward: (m * r * s).max(n * p * q) + 1 },
        bench: false,
    }
}
