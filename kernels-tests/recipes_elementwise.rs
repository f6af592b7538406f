//! Recipes of what works element by element, and of pictures: one function a family, as in `recipes.rs`.

use super::recipes::{boxed, image, input};
use super::{Bound, Case, Kind};
use crate::graph::shape::Shape;
use crate::ops::{Augment, Border, CamMap, CamPlusWeights, CamProduct, Colors, Fill, Overlay, WARP};

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

/// ELU by itself; for α other than 1 it has a kink at 0.
pub fn elu(x: [usize; 4], alpha: f32) -> Case {
    let [n, c, h, w] = x;
    let a = f64::from(alpha);
    Case {
        name: format!("elu n{n} c{c} {h}x{w} alpha {alpha}"),
        family: "elu",
        inputs: vec![image(x, Kind::Apart)],
        build: boxed(move |_, t| vec![t[0].elu(alpha)]),
        // Where x < 0: exp errs by (3 + 2|x|) ulp, exp(x) <= 1 and |x| exp(x) <= 0.37, so by 7.5 u; then two roundings.
        // Backward alpha + y is rounded and multiplied on top of that.
        bound: Bound::Absolute { forward: 10.0 * a, backward: 13.0 * a + 1.0 },
        bench: false,
    }
}

/// Sigmoid by itself.
pub fn sigmoid(x: [usize; 4], range: f32) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("sigmoid n{n} c{c} {h}x{w} range {range}"),
        family: "sigmoid",
        inputs: vec![image(x, Kind::Unit(range))],
        build: boxed(|_, t| vec![t[0].sigmoid()]),
        // exp as for ELU, one sum, one division of 2.5 ulp; backward |d(y (1 - y))/dy| <= 1 and three roundings.
        bound: Bound::Absolute { forward: 14.0, backward: 17.0 },
        bench: false,
    }
}

/// a + factor · b, and its ReLU, which the plan fuses.
pub fn add_scaled(x: [usize; 4], factor: f32, relu: bool) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("add_scaled n{n} c{c} {h}x{w} factor {factor}{}", if relu { " relu" } else { "" }),
        family: "add_scaled",
        inputs: vec![image(x, Kind::Unit(1.0)), input("b", Shape::image(n, c, h, w), Kind::Unit(1.0))],
        build: boxed(move |_, t| {
            let y = t[0].add_scaled(t[1], factor);
            vec![if relu { y.relu() } else { y }]
        }),
        bound: Bound::Sums { forward: 2, backward: 1 },
        bench: false,
    }
}

/// A residual sum with its ReLU in one kernel.
pub fn add_relu(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    Case { name: format!("add relu n{n} c{c} {h}x{w}"), build: boxed(|_, t| vec![t[0].add(t[1]).relu()]), ..add(x) }
}

/// A multiple.
pub fn scale(x: [usize; 4], factor: f32) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("scale n{n} c{c} {h}x{w} factor {factor}"),
        family: "scale",
        inputs: vec![image(x, Kind::Unit(1.0))],
        build: boxed(move |_, t| vec![t[0].scale(factor)]),
        bound: Bound::Sums { forward: 1, backward: 1 },
        bench: false,
    }
}

/// A sum of squares.
pub fn l2_penalty(shape: Shape) -> Case {
    Case {
        name: format!("l2_penalty {shape}"),
        family: "l2_penalty",
        inputs: vec![input("x", shape, Kind::Unit(1.0))],
        build: boxed(|_, t| vec![t[0].l2_penalty(0.25)]),
        bound: Bound::Sums { forward: shape.elements() + 2, backward: 3 },
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

/// The maps of given features and gradients, pixel by pixel.
pub fn cam_product(x: [usize; 4], positive: bool) -> Case {
    let [n, c, h, w] = x;
    Case {
        name: format!("cam_product n{n} c{c} {h}x{w}{}", if positive { " positive" } else { "" }),
        family: "grad_cam",
        inputs: vec![image(x, Kind::Fixed(1.0)), input("gradient", Shape::image(n, c, h, w), Kind::Fixed(1.0))],
        build: boxed(move |_, t| vec![t[1].apply(CamProduct { positive }, &[t[0]])]),
        bound: Bound::Sums { forward: c + 4, backward: 0 },
        bench: false,
    }
}

/// The channel weights of Grad-CAM++.
pub fn cam_plus_weights(x: [usize; 4]) -> Case {
    let [n, c, h, w] = x;
    let pixels = (h * w) as f64;
    Case {
        name: format!("cam_plus_weights n{n} c{c} {h}x{w}"),
        family: "grad_cam",
        inputs: vec![image(x, Kind::Fixed(1.0)), input("gradient", Shape::image(n, c, h, w), Kind::Fixed(1.0))],
        // Features after a ReLU: near a pole of 1 / (2 + S g) no bound holds.
        build: boxed(move |_, t| vec![t[0].relu().apply(CamPlusWeights, &[t[1]])]),
        // g / (2 + S g) < min(1/2, 1/S): P of them, where S is near P/4 and surely above P/8, are less than 8 and less than
        // P/2. S has P roundings, the denominator 3 more, the division 2.5 ulp (5 u), the sum P.
        bound: Bound::Absolute { forward: (pixels / 2.0).min(8.0) * (2.0 * pixels + 10.0), backward: 0.0 },
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

/// Augmentation with arbitrary maps (far more than a rotation; half of what they show is outside), and with everything else
/// that `how` asks for.
pub fn augment(x: [usize; 4], how: impl Into<Augment>) -> Case {
    let ([n, c, h, w], how) = (x, how.into());
    let reach = (h + w + 1) as f64;
    let stages = [(how.saturation, " saturation"), (how.noise, " noise"), (how.salt_pepper.is_some(), " salt")];
    let stages: String = stages.iter().filter(|s| s.0).map(|s| s.1).collect();
    // Positions up to h + w + 1 with three roundings each; along each axis values change by at most 2 a pixel (3 to a border
    // of 2); then ten roundings of numbers up to 3.
    let mut bound = 2.0 * 3.0 * 3.0 * reach + 30.0;
    if how.border == Border::Reflect {
        // Folding a position: a product, a difference.
        bound += 2.0 * 3.0 * 3.0 * reach;
    }
    if how.saturation {
        // Values up to 3 from one another by 6: each error three times, and six roundings of numbers up to 9.
        bound = 3.0 * bound + 54.0;
    }
    if how.noise {
        // The normal number is exact: a product up to 4.6 and a sum up to 14.
        bound += 19.0;
    }
    Case {
        name: format!("augment n{n} c{c} {h}x{w} {:?}{stages}", how.border).to_lowercase(),
        family: "augment",
        inputs: vec![image(x, Kind::Fixed(1.0)), input("warp", Shape::flat(n * WARP), Kind::Warp)],
        build: boxed(move |_, t| vec![t[0].augment(t[1], how)]),
        bound: Bound::Absolute { forward: bound, backward: 0.0 },
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
