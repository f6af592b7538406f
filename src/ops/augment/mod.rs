//! Augmentation of a batch in one pass: rotation, scaling, mirroring, shift, crop, contrast, brightness, saturation, Gaussian
//! noise, salt and pepper, each image its own. The host draws a few numbers an image ([`AugmentOptions::draw`]), the device
//! resamples.

mod options;
mod text;

pub use options::{AugmentOptions, ScaledAugment};
pub use text::PRESETS;

use super::philox::{normal, philox, unit};
use super::pixels::pixels;
use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("augment.wgsl");

/// Numbers an image in the input of [`Augment`].
pub const WARP: usize = 16;

/// Positions farther away have no part of a pixel left in f32.
const FAR: f64 = 4_194_304.0;

/// What lies outside an image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Border {
    /// The nearest pixel of its edge.
    #[default]
    Nearest,
    /// This value.
    Constant(f32),
    /// The mirrored image, its edge twice: d c b a | a b c d | d c b a, what Keras and SciPy call `reflect` and NumPy `symmetric`.
    Reflect,
}

/// y = contrast · x(warped) + brightness, bilinear; then saturation, noise, and salt and pepper, where they are asked for. Inputs
/// x [N, C, H, W] and a row of N·[`WARP`] numbers, for each image
///
/// | number | meaning |
/// | --- | --- |
/// | 0 to 5 | m: the output's pixel (column w, row h) shows the input at column m0·w + m1·h + m2 and row m3·w + m4·h + m5 |
/// | 6, 7 | brightness, contrast |
/// | 8 | saturation s: x + s·(x − luma) with the luma of BT.601, for C = 3 |
/// | 9 | deviation of the noise: x + that · [`normal`](super::philox::normal), for each channel another number |
/// | 10 | probability of salt and pepper: all channels of a pixel become salt or pepper, either as likely |
/// | 11 | nothing |
/// | 12 to 15 | the key of the random numbers: 64 bits, in four whole numbers below 2¹⁶, the lowest first |
///
/// [`Augment::IDENTITY`] changes no bit. The random numbers of a pixel follow from key, pixel and channel alone: words of
/// `philox([row · W + column, channel / 4, 0, 0], key)` are the noise, the first of `philox([row · W + column, 0, 1, 0], key)` is
/// salt and pepper's. By integers: the same on the host and on every device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// What lies outside an image.
    pub border: Border,
    /// Whether number 8 is heeded. Without effect unless x has three channels.
    pub saturation: bool,
    /// Whether number 9 is heeded.
    pub noise: bool,
    /// Values of pepper and salt, if number 10 is heeded.
    pub salt_pepper: Option<[f32; 2]>,
}

impl Augment {
    /// The numbers of an image that is to stay as it is.
    pub const IDENTITY: [f32; WARP] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
}

impl From<Border> for Augment {
    /// Warp, contrast and brightness alone.
    fn from(border: Border) -> Augment {
        Augment { border, ..Augment::default() }
    }
}

impl<'g> Tensor<'g> {
    /// Each image of the batch changed by its own [`WARP`] numbers; `how` is an [`Augment`], or a [`Border`] where only warp,
    /// contrast and brightness are wanted.
    ///
    /// # Panics
    /// When this is no image or `warp` no row of N·[`WARP`] numbers.
    #[track_caller]
    pub fn augment(self, warp: Tensor<'g>, how: impl Into<Augment>) -> Tensor<'g> {
        self.apply(how.into(), &[warp])
    }
}

impl Op for Augment {
    fn name(&self) -> &'static str {
        "augment"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let (n, _, _, _) = image(x[0])?;
        if x[1] != Shape::flat(n * WARP) {
            return Err(format!("x has N {n}, so the warp has {} numbers; given was {}", n * WARP, x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (n, c, h, w) = xs[0].nchw();
        let mut y = Vec::with_capacity(n * c * h * w);
        for (images, m) in x[0].chunks(c * h * w).zip(x[1].chunks(WARP)) {
            let mut planes: Vec<Vec<f64>> = images.chunks(h * w).map(|plane| self.warped(plane, [h, w], m)).collect();
            let word = |i: usize| m[i] as u32;
            let key = [word(12) | word(13) << 16, word(14) | word(15) << 16];
            for place in 0..h * w {
                if let (true, [red, green, blue]) = (self.saturation, &mut planes[..]) {
                    let luma = 0.299 * red[place] + 0.587 * green[place] + 0.114 * blue[place];
                    [red, green, blue].into_iter().for_each(|plane| plane[place] += m[8] * (plane[place] - luma));
                }
                for (channel, plane) in planes.iter_mut().enumerate().filter(|_| self.noise) {
                    let words = philox([place as u32, channel as u32 / 4, 0, 0], key);
                    plane[place] += m[9] * normal(words[channel % 4]);
                }
                if let Some([pepper, salt]) = self.salt_pepper {
                    let word = philox([place as u32, 0, 1, 0], key)[0];
                    if unit(word) < m[10] {
                        let extreme = f64::from(if word & 1 == 1 { salt } else { pepper });
                        planes.iter_mut().for_each(|plane| plane[place] = extreme);
                    }
                }
            }
            y.extend(planes.into_iter().flatten());
        }
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let shape = k.shape(x[0]);
        let mut g = pixels(shape);
        let channels = shape.nchw().1;
        g.params.push(("channels", Word::from(channels)));
        g.baked.push(("GRAY", i64::from(channels == 1)));
        match self.border {
            Border::Nearest => {}
            Border::Constant(v) => {
                g.baked.push(("CONSTANT", 1));
                g.params.push(("fill", Word::F(v)));
            }
            Border::Reflect => g.baked.push(("REFLECT", 1)),
        }
        let stages = [("SATURATION", self.saturation && channels == 3), ("NOISE", self.noise)];
        g.baked.extend(stages.iter().filter(|s| s.1).map(|s| (s.0, 1)));
        if let Some([pepper, salt]) = self.salt_pepper {
            g.baked.push(("SALT", 1));
            g.params.extend([("pepper", Word::F(pepper)), ("salt", Word::F(salt))]);
        }
        k.launch(SOURCE, "augment", &g.baked, &g.params, &[x[0].into(), x[1].into(), y[0].into()], g.groups);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        let (n, c, h, w) = xs[0].nchw();
        let elements = xs[0].elements() as f64;
        // A block of the generator for four channels of a pixel, or for a pixel; some 100 operations, as dropout counts them.
        let blocks = n * h * w * (usize::from(self.noise) * c.div_ceil(4) + usize::from(self.salt_pepper.is_some()));
        let each = 11.0 + if self.saturation && c == 3 { 5.0 } else { 0.0 } + if self.noise { 12.0 } else { 0.0 };
        Cost { flops: each * elements + 200.0 * blocks as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

impl Augment {
    /// A plane after warp, contrast and brightness.
    fn warped(&self, plane: &[f64], [h, w]: [usize; 2], m: &[f64]) -> Vec<f64> {
        // A position, or with mirrored borders one in [0, 2 side) that shows the same.
        let fold = |at: f64, side: usize| match self.border {
            Border::Reflect => at.clamp(-FAR, FAR).rem_euclid(2.0 * side as f64),
            _ => at,
        };
        let inside = |at: f64, side: usize| match self.border {
            Border::Reflect => {
                let once = at.rem_euclid(2.0 * side as f64);
                once.min(2.0 * side as f64 - 1.0 - once)
            }
            _ => at.clamp(0.0, (side - 1) as f64),
        };
        let pixel = |row: f64, column: f64| {
            let (i, j) = (inside(row, h), inside(column, w));
            match self.border {
                Border::Constant(v) if i != row || j != column => f64::from(v),
                _ => plane[i as usize * w + j as usize],
            }
        };
        let one = |row: f64, column: f64| {
            let u = fold(m[0] * column + m[1] * row + m[2], w);
            let v = fold(m[3] * column + m[4] * row + m[5], h);
            let (j, i) = (u.floor(), v.floor());
            let along = |i: f64| pixel(i, j) * (1.0 - (u - j)) + pixel(i, j + 1.0) * (u - j);
            m[7] * (along(i) * (1.0 - (v - i)) + along(i + 1.0) * (v - i)) + m[6]
        };
        (0..h).flat_map(|r| (0..w).map(move |c| (r as f64, c as f64))).map(|(r, c)| one(r, c)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::{Case, numbers};

    const ALL: AugmentOptions = AugmentOptions {
        rotation_degrees: 20.0,
        scale: 0.2,
        shift: 0.15,
        mirror: true,
        brightness: 0.3,
        contrast: 0.25,
        ..AugmentOptions::NONE
    };
    const NOISY: AugmentOptions = AugmentOptions { crop: 0.3, saturation: 0.5, noise: 0.1, salt_pepper: 0.2, ..ALL };
    const IDENTITY: [f32; WARP] = Augment::IDENTITY;

    /// One image after another through the GPU with these numbers, checked against the reference.
    fn warp(shape: Shape, numbers: &[f32], how: impl Into<Augment>, tolerance: f64) -> Vec<f32> {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", shape);
        let m = case.given("warp", Shape::flat(numbers.len()), numbers);
        case.check(&[x.augment(m, how)], tolerance).remove(0)
    }

    /// This map, nothing else.
    fn map(m: [f32; 6]) -> [f32; WARP] {
        let mut all = IDENTITY;
        all[..6].copy_from_slice(&m);
        all
    }

    #[test]
    fn random_warps_of_ugly_sizes() {
        for border in [Border::Nearest, Border::Constant(-0.7), Border::Reflect] {
            for (n, c, h, w) in
                [(1, 1, 1, 1), (3, 1, 17, 33), (2, 3, 7, 5), (2, 5, 16, 16), (1, 1, 3, 300), (1, 65, 3, 3)]
            {
                let images: Vec<u32> = (0..n as u32).collect();
                // A position of up to 300 pixels carries a rounding error of some 1e-5.
                let tolerance = 4e-7 * w.max(8) as f64;
                warp(Shape::image(n, c, h, w), &ALL.draw(1, 0, &images, [h, w]), border, tolerance);
                let all = AugmentOptions { fill: border, ..NOISY }.scaled(0.5, 4.0);
                warp(Shape::image(n, c, h, w), &all.draw(1, 0, &images, [h, w]), all.op(), 2.0 * tolerance);
            }
        }
    }

    #[test]
    fn the_identity_changes_no_bit() {
        for (c, h, w) in [(1, 41, 67), (3, 5, 7)] {
            let none = AugmentOptions::default().draw(9, 4, &[0, 1], [h, w]);
            assert_eq!(none, [IDENTITY, IDENTITY].concat());
            for border in [Border::Nearest, Border::Constant(0.5), Border::Reflect] {
                // Plain, and in the company of images that are not to stay as they are.
                let all = AugmentOptions { fill: border, ..NOISY }.scaled(0.0, 1.0).op();
                for how in [border.into(), all] {
                    assert_eq!(warp(Shape::image(2, c, h, w), &none, how, 0.0), numbers(1000, 2 * c * h * w));
                }
            }
        }
    }

    #[test]
    fn mirroring_and_whole_shifts_are_exact() {
        let x = numbers(1000, 12);
        let mirror = map([-1.0, 0.0, 3.0, 0.0, 1.0, 0.0]);
        let got = warp(Shape::image(1, 1, 3, 4), &mirror, Border::Nearest, 0.0);
        assert_eq!(got, x.chunks(4).flat_map(|r| r.iter().rev()).copied().collect::<Vec<_>>());
        // One column to the right, two rows down.
        let shift = map([1.0, 0.0, -1.0, 0.0, 1.0, -2.0]);
        let got = warp(Shape::image(1, 1, 3, 4), &shift, Border::Constant(9.0), 0.0);
        assert_eq!(got, [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, x[0], x[1], x[2]]);
    }

    #[test]
    fn far_away_is_the_border() {
        for far in [1e9f32, -1e9, f32::MAX] {
            let m = map([1.0, 0.0, far, 0.0, 1.0, far]);
            assert_eq!(warp(Shape::image(1, 1, 3, 4), &m, Border::Constant(2.0), 0.0), [2.0; 12]);
            let x = numbers(1000, 12);
            assert!(warp(Shape::image(1, 1, 3, 4), &m, Border::Reflect, 0.0).iter().all(|v| x.contains(v)));
        }
    }

    #[test]
    fn reflection_repeats_the_edge_and_then_the_mirrored_image() {
        let x = numbers(1000, 3);
        let [a, b, c] = [x[0], x[1], x[2]];
        // A row of three pixels, seen from the column `from` on.
        let seen =
            |from: f32| warp(Shape::image(1, 1, 1, 3), &map([1.0, 0.0, from, 0.0, 1.0, 0.0]), Border::Reflect, 0.0);
        assert_eq!((seen(-3.0), seen(-6.0), seen(-9.0)), (vec![c, b, a], vec![a, b, c], vec![c, b, a]));
        assert_eq!(
            (seen(3.0), seen(6.0), seen(-1.0), seen(2.0)),
            (vec![c, b, a], vec![a, b, c], vec![a, a, b], vec![c, c, b])
        );
    }

    #[test]
    fn noise_is_the_normal_number_of_its_pixel_and_channel_to_the_bit() {
        for (c, h, w) in [(1, 17, 33), (3, 7, 5), (5, 3, 9)] {
            let mut m = [IDENTITY, IDENTITY].concat();
            // Contrast 0 leaves nothing of the image; the keys differ.
            for (image, key) in [[1.0, 2.0, 3.0, 4.0], [65535.0, 0.0, 9.0, 8.0]].into_iter().enumerate() {
                m[image * WARP + 7] = 0.0;
                m[image * WARP + 9] = 0.5;
                m[image * WARP + 12..][..4].copy_from_slice(&key);
            }
            let how = Augment { noise: true, ..Augment::default() };
            let got = warp(Shape::image(2, c, h, w), &m, how, 0.0);
            let number = |i: usize| {
                let (image, channel, place) = (i / (c * h * w), i / (h * w) % c, i % (h * w));
                let key = [[0x2_0001, 0x4_0003], [0xffff, 0x8_0009]][image];
                (0.5 * normal(philox([place as u32, channel as u32 / 4, 0, 0], key)[channel % 4])) as f32
            };
            assert_eq!(got, (0..got.len()).map(number).collect::<Vec<f32>>());
        }
    }

    #[test]
    fn noise_has_its_deviation_and_salt_and_pepper_its_share() {
        let [n, h, w] = [8, 64, 64];
        let o = AugmentOptions { noise: 0.1, salt_pepper: 0.05, ..AugmentOptions::NONE };
        let images: Vec<u32> = (0..n as u32).collect();
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.given("x", Shape::image(n, 3, h, w), &vec![0.25; n * 3 * h * w]);
        let numbers = o.draw(3, 1, &images, [h, w]);
        let m = case.given("warp", Shape::flat(numbers.len()), &numbers);
        let got = case.check(&[x.augment(m, o.scaled(0.0, 1.0).op())], 1e-6).remove(0);
        // Salt and pepper: exactly 0 or 1, in all three channels. Noise may not hit these: deviations of 2.5 and 7.5 can, exactly not.
        let count = |v: f32| got.iter().filter(|g| **g == v).count() as f64;
        let all = got.len() as f64;
        for v in [0.0, 1.0] {
            let deviation = 3.0 * (all / 3.0 * 0.025 * 0.975).sqrt();
            assert!((count(v) - 0.025 * all).abs() < 5.0 * deviation, "{} pixels are {v}", count(v));
        }
        for image in got.chunks(3 * h * w) {
            for i in 0..h * w {
                let extreme = |channel: usize| [0.0, 1.0].contains(&image[channel * h * w + i]);
                assert!(extreme(0) == extreme(1) && extreme(1) == extreme(2));
            }
        }
        let noise: Vec<f64> = got.iter().filter(|v| ![0.0, 1.0].contains(*v)).map(|v| f64::from(*v) - 0.25).collect();
        let count = noise.len() as f64;
        let mean = noise.iter().sum::<f64>() / count;
        let deviation = (noise.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        assert!(mean.abs() < 5.0 * 0.1 / count.sqrt() && (deviation - 0.1).abs() < 5.0 * 0.1 / (2.0 * count).sqrt());
        // Neighbours, channels and images have nothing to do with one another.
        for step in [1, w, h * w, 3 * h * w] {
            let pairs: Vec<f64> =
                got.iter().zip(&got[step..]).map(|(a, b)| f64::from((a - 0.25) * (b - 0.25))).collect();
            let plain = pairs.iter().filter(|p| p.abs() < 0.05).sum::<f64>() / pairs.len() as f64;
            assert!(plain.abs() < 2e-4, "a step of {step}: covariance {plain}");
        }
    }

    #[test]
    fn saturation_moves_colours_about_their_luma_and_leaves_gray_alone() {
        let mut m = IDENTITY;
        m[8] = -1.0;
        let how = Augment { saturation: true, ..Augment::default() };
        // Without any saturation all channels are the luma.
        let got = warp(Shape::image(1, 3, 5, 7), &m, how, 1e-6);
        assert!((0..35).all(|i| (got[i] - got[35 + i]).abs() < 1e-6 && (got[i] - got[70 + i]).abs() < 1e-6));
        let gray = numbers(77, 35);
        m[8] = 0.37;
        for c in [1, 3, 4] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let x = case.given("x", Shape::image(1, c, 5, 7), &gray.repeat(c));
            let row = case.given("warp", Shape::flat(WARP), &m);
            assert_eq!(case.check(&[x.augment(row, how)], 1e-6).remove(0), gray.repeat(c), "{c} equal channels");
        }
    }
}
