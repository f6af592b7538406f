//! Colour maps for heat maps, and the overlay of one on a gray image.

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("colormap.wgsl");

/// Which colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colors {
    /// Turbo (A. Mikhailov, Google 2019) as its published polynomial of degree 5, which differs from its table by 0.03 on
    /// average: dark blue, green, yellow, dark red.
    #[default]
    Turbo,
    /// Jet, piecewise linear, as in most published Grad-CAM figures.
    Jet,
}

/// Coefficients of Turbo's polynomial for red, green, blue, the constant first; the shader repeats them, a test compares. Copyright 2019 Google LLC, Apache-2.0
/// (the shader published with "Turbo, an improved rainbow colormap for visualization").
const TURBO: [[f64; 6]; 3] = [
    [0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943],
    [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604],
    [0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973],
];

impl Colors {
    /// Red, green and blue in [0, 1] of a value, which is clamped to [0, 1]. A legend draws with this on the host.
    pub fn rgb(self, value: f64) -> [f64; 3] {
        let v = value.clamp(0.0, 1.0);
        let clamp = |x: f64| x.clamp(0.0, 1.0);
        match self {
            Colors::Turbo => TURBO.map(|c| clamp(c.iter().rev().fold(0.0, |sum, k| sum * v + k))),
            Colors::Jet => [3.0, 2.0, 1.0].map(|at| clamp(1.5 - (4.0 * v - at).abs())),
        }
    }

    fn baked(self) -> (&'static str, i64) {
        ("MAP", self as i64)
    }
}

/// rgb [N, 3, H, W] = the colours of a map [N, 1, H, W] in [0, 1].
#[derive(Clone, Debug)]
pub struct Colormap(pub Colors);

/// rgb [N, 3, H, W] = (1 − a) · gray + a · colour of the map. Inputs map and gray [N, 1, H, W], both clamped to [0, 1].
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The colours.
    pub colors: Colors,
    /// Weight of the colour, 0 to 1.
    pub alpha: f32,
    /// Whether the weight is `alpha` times the map's value, which leaves the image alone where the map is 0.
    pub by_value: bool,
}

impl<'g> Tensor<'g> {
    /// The colours [N, 3, H, W] of this map [N, 1, H, W].
    ///
    /// # Panics
    /// When this has more than one channel.
    #[track_caller]
    pub fn colormap(self, colors: Colors) -> Tensor<'g> {
        self.apply(Colormap(colors), &[])
    }

    /// This map's colours blended over a gray image of the same size; see [`Overlay`].
    ///
    /// # Panics
    /// When the shapes differ, or have more than one channel, or alpha is outside [0, 1].
    #[track_caller]
    pub fn overlay(self, gray: Tensor<'g>, op: Overlay) -> Tensor<'g> {
        self.apply(op, &[gray])
    }
}

fn rgb_shape(map: Shape) -> Result<Vec<Shape>, String> {
    match image(map)? {
        (n, 1, h, w) => Ok(vec![Shape::image(n, 3, h, w)]),
        _ => Err(format!("expected a map [N, 1, H, W], given was {map}")),
    }
}

/// Per-pixel colours in the order N 3 H W.
fn planes(plane: usize, n: usize, color: impl Fn(usize) -> [f64; 3]) -> Vec<f64> {
    (0..n * 3 * plane).map(|i| color(i / (3 * plane) * plane + i % plane)[i / plane % 3]).collect()
}

impl Op for Colormap {
    fn name(&self) -> &'static str {
        "colormap"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        rgb_shape(x[0])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, _, h, w) = xs[0].nchw();
        vec![planes(h * w, n, |i| self.0.rgb(x[0][i]))]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(y[0]).words();
        k.elementwise(SOURCE, "colormap", &[self.0.baked()], &[], &[x[0].into(), y[0].into()], words);
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        Cost { flops: 36.0 * xs[0].elements() as f64, bytes: 4.0 * (xs[0].words() + ys[0].words()) as f64 }
    }
}

impl Op for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        if x[0] != x[1] {
            return Err(format!("the map is {}, the gray image {}", x[0], x[1]));
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(format!("alpha {} is outside [0, 1]", self.alpha));
        }
        rgb_shape(x[0])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, _, h, w) = xs[0].nchw();
        let color = |i: usize| {
            let (v, gray) = (x[0][i].clamp(0.0, 1.0), x[1][i].clamp(0.0, 1.0));
            let a = f64::from(self.alpha) * if self.by_value { v } else { 1.0 };
            self.colors.rgb(v).map(|c| (1.0 - a) * gray + a * c)
        };
        vec![planes(h * w, n, color)]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(y[0]).words();
        let baked = [self.colors.baked(), ("BY_VALUE", i64::from(self.by_value))];
        let params = [("alpha", Word::F(self.alpha))];
        k.elementwise(SOURCE, "overlay", &baked, &params, &[x[0].into(), x[1].into(), y[0].into()], words);
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        Cost { flops: 48.0 * xs[0].elements() as f64, bytes: 4.0 * (2 * xs[0].words() + ys[0].words()) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    #[test]
    fn maps_and_overlays_on_the_gpu() {
        for colors in [Colors::Turbo, Colors::Jet] {
            for (n, h, w) in [(1, 1, 1), (3, 7, 5), (2, 33, 41)] {
                let graph = Graph::new();
                let mut case = Case::new(&graph);
                // Random values in [-1, 1): half of them below the map's range.
                let (x, gray) =
                    (case.random("x", Shape::image(n, 1, h, w)), case.random("gray", Shape::image(n, 1, h, w)));
                let over = |by_value| x.overlay(gray, Overlay { colors, alpha: 0.4, by_value });
                // The terms of Turbo's polynomial reach 153.
                case.check(&[x.colormap(colors), over(false), over(true)], 1e-4);
            }
        }
    }

    #[test]
    fn by_value_leaves_the_image_where_the_map_is_empty() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.given("x", Shape::image(1, 1, 1, 3), &[0.0, 0.0, 1.0]);
        let gray = case.given("gray", Shape::image(1, 1, 1, 3), &[0.25, 0.75, 0.5]);
        let got = case.check(&[x.overlay(gray, Overlay { colors: Colors::Jet, alpha: 1.0, by_value: true })], 1e-6);
        assert_eq!(got[0], [0.25, 0.75, 0.5, 0.25, 0.75, 0.0, 0.25, 0.75, 0.0]);
    }

    #[test]
    fn the_shader_has_the_same_coefficients() {
        let word = |w: &str| w.trim_matches(|c: char| !c.is_ascii_digit() && c != '-').parse::<f64>().ok();
        let words: Vec<f64> = SOURCE.text.split([' ', '(']).filter_map(word).collect();
        assert!(TURBO.iter().flatten().all(|k| words.contains(k)), "{words:?}");
    }

    #[test]
    fn turbo_is_the_published_map() {
        // Rows of the published table of 256 colours. Over all rows the polynomial differs from it by at most 0.086 in red,
        // 0.035 in green and 0.125 in blue (the darkest blue, row 0), on average by 0.03, 0.007 and 0.036.
        let table = [
            (0.0, [0.18995, 0.07176, 0.23217]),
            (64.0, [0.15844, 0.73551, 0.92305]),
            (128.0, [0.64362, 0.98999, 0.23356]),
            (192.0, [0.9836, 0.49291, 0.12849]),
            (255.0, [0.4796, 0.01583, 0.01055]),
        ];
        for (row, want) in table {
            let got = Colors::Turbo.rgb(row / 255.0);
            for ((g, w), most) in got.iter().zip(want).zip([0.087, 0.035, 0.126]) {
                assert!((g - w).abs() < most, "row {row}: {got:?}, table {want:?}");
            }
        }
        assert_eq!(Colors::Jet.rgb(0.0), [0.0, 0.0, 0.5]);
        assert_eq!(Colors::Jet.rgb(0.5), [0.5, 1.0, 0.5]);
        assert_eq!(Colors::Jet.rgb(2.0), [0.5, 0.0, 0.0]);
    }
}
