//! Augmentation of a batch in one pass: rotation, scaling, mirroring, shift, brightness and contrast, each image its own.
//! The host draws a few numbers an image ([`AugmentOptions::draw`]), the device resamples.

use super::philox::{key, philox, unit};
use super::pixels::pixels;
use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("augment.wgsl");

/// Numbers an image in the input of [`Augment`].
pub const WARP: usize = 8;

/// What lies outside an image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Border {
    /// The nearest pixel of its edge.
    #[default]
    Nearest,
    /// This value.
    Constant(f32),
}

/// y = contrast · x(warped) + brightness, bilinear. Inputs x [N, C, H, W] and a row of N·[`WARP`] numbers: for each image
/// m0 to m5, brightness, contrast, where the output's pixel (column w, row h) shows the input at column m0·w + m1·h + m2
/// and row m3·w + m4·h + m5. `[1, 0, 0, 0, 1, 0, 0, 1]` changes no bit.
#[derive(Clone, Debug)]
pub struct Augment(pub Border);

impl<'g> Tensor<'g> {
    /// Each image of the batch warped by its own [`WARP`] numbers; see [`Augment`].
    ///
    /// # Panics
    /// When this is no image or `warp` no row of N·[`WARP`] numbers.
    #[track_caller]
    pub fn augment(self, warp: Tensor<'g>, border: Border) -> Tensor<'g> {
        self.apply(Augment(border), &[warp])
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
        let pixel = |plane: usize, row: f64, column: f64| {
            let (i, j) = (row.clamp(0.0, (h - 1) as f64), column.clamp(0.0, (w - 1) as f64));
            match self.0 {
                Border::Constant(v) if i != row || j != column => f64::from(v),
                _ => x[0][(plane * h + i as usize) * w + j as usize],
            }
        };
        let mut y = Vec::with_capacity(n * c * h * w);
        for plane in 0..n * c {
            let m = &x[1][plane / c * WARP..][..WARP];
            for (row, column) in (0..h).flat_map(|r| (0..w).map(move |c| (r as f64, c as f64))) {
                let (u, v) = (m[0] * column + m[1] * row + m[2], m[3] * column + m[4] * row + m[5]);
                let (j, i) = (u.floor(), v.floor());
                let along = |i: f64| pixel(plane, i, j) * (1.0 - (u - j)) + pixel(plane, i, j + 1.0) * (u - j);
                y.push(m[7] * (along(i) * (1.0 - (v - i)) + along(i + 1.0) * (v - i)) + m[6]);
            }
        }
        vec![y]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let shape = k.shape(x[0]);
        let mut g = pixels(shape);
        let channels = shape.nchw().1;
        g.params.push(("channels", Word::from(channels)));
        g.baked.push(("GRAY", i64::from(channels == 1)));
        if let Border::Constant(v) = self.0 {
            g.baked.push(("CONSTANT", 1));
            g.params.push(("fill", Word::F(v)));
        }
        k.launch(SOURCE, "augment", &g.baked, &g.params, &[x[0].into(), x[1].into(), y[0].into()], g.groups);
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 11.0 * xs[0].elements() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

/// How far the images of a training set are changed. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AugmentOptions {
    /// Largest angle, in degrees, to either side.
    pub rotation_degrees: f32,
    /// Largest change of size: 0.1 means a factor between 0.9 and 1.1. Below 1.
    pub scale: f32,
    /// Largest shift along each axis, as a part of the side.
    pub shift: f32,
    /// Whether every second image, by chance, is mirrored left to right.
    pub mirror: bool,
    /// Largest number added to or taken from all pixels.
    pub brightness: f32,
    /// Largest change of contrast about 0: 0.1 means a factor between 0.9 and 1.1.
    pub contrast: f32,
}

/// Keeps the augmentation's random numbers apart from those of dropout under the same seed ("augm").
const STREAM: u32 = 0x6175_676d;

impl AugmentOptions {
    /// The input of [`Augment`] for these images of `size` = [H, W]. What happens to an image follows from the seed, the epoch
    /// and its number in the data set alone, not from its batch. Each number is uniform in its range.
    ///
    /// # Panics
    /// When `scale` is 1 or more, or a range is negative or no number.
    #[track_caller]
    pub fn draw(&self, seed: u64, epoch: u32, images: &[u32], size: [usize; 2]) -> Vec<f32> {
        let ranges = [self.rotation_degrees, self.scale, self.shift, self.brightness, self.contrast];
        assert!(ranges.iter().all(|r| *r >= 0.0 && r.is_finite()), "a range of {self:?} is negative or no number");
        assert!(self.scale < 1.0, "scale {}: a factor of 0 would leave nothing", self.scale);
        images.iter().flat_map(|i| self.one(seed, epoch, *i, size)).collect()
    }

    fn one(&self, seed: u64, epoch: u32, image: u32, [h, w]: [usize; 2]) -> [f32; WARP] {
        let words: [[u32; 4]; 2] = [0, 1].map(|block| philox([image, epoch, block, STREAM], key(seed)));
        // Uniform in [-range, range).
        let within = |word: u32, range: f32| (unit(word) * 2.0 - 1.0) * f64::from(range);
        let angle = within(words[0][0], self.rotation_degrees).to_radians();
        let factor = 1.0 + within(words[0][1], self.scale);
        let (right, down) = (within(words[0][2], self.shift) * w as f64, within(words[0][3], self.shift) * h as f64);
        let mirrored = self.mirror && unit(words[1][0]) < 0.5;
        // Forward, about the centre: mirror, scale, rotate, shift. The output's pixel therefore comes from
        // centre + mirror · rotate(-angle) · (pixel - centre - shift) / factor.
        let (sin, cos) = angle.sin_cos();
        let flip = if mirrored { -1.0 } else { 1.0 };
        let m = [flip * cos / factor, flip * sin / factor, -sin / factor, cos / factor];
        let (cx, cy) = ((w as f64 - 1.0) / 2.0, (h as f64 - 1.0) / 2.0);
        let (tx, ty) = (cx + right, cy + down);
        let brightness = within(words[1][1], self.brightness);
        let contrast = 1.0 + within(words[1][2], self.contrast);
        let (mx, my) = (cx - m[0] * tx - m[1] * ty, cy - m[2] * tx - m[3] * ty);
        // + 0.0 turns a negative zero into zero.
        [m[0], m[1], mx, m[2], m[3], my, brightness, contrast].map(|v| (v + 0.0) as f32)
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
    };
    const IDENTITY: [f32; WARP] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0];

    /// One image after another through the GPU with these numbers, checked against the reference.
    fn warp(shape: Shape, numbers: &[f32], border: Border, tolerance: f64) -> Vec<f32> {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", shape);
        let m = case.given("warp", Shape::flat(numbers.len()), numbers);
        case.check(&[x.augment(m, border)], tolerance).remove(0)
    }

    #[test]
    fn random_warps_of_ugly_sizes() {
        for border in [Border::Nearest, Border::Constant(-0.7)] {
            for (n, c, h, w) in
                [(1, 1, 1, 1), (3, 1, 17, 33), (2, 3, 7, 5), (2, 5, 16, 16), (1, 1, 3, 300), (1, 65, 3, 3)]
            {
                let images: Vec<u32> = (0..n as u32).collect();
                // A position of up to 300 pixels carries a rounding error of some 1e-5.
                warp(Shape::image(n, c, h, w), &ALL.draw(1, 0, &images, [h, w]), border, 4e-7 * w.max(8) as f64);
            }
        }
    }

    #[test]
    fn the_identity_changes_no_bit() {
        for (c, h, w) in [(1, 41, 67), (3, 5, 7)] {
            let none = AugmentOptions::default().draw(9, 4, &[0, 1], [h, w]);
            assert_eq!(none, [IDENTITY, IDENTITY].concat());
            for border in [Border::Nearest, Border::Constant(0.5)] {
                assert_eq!(warp(Shape::image(2, c, h, w), &none, border, 0.0), numbers(1000, 2 * c * h * w));
            }
        }
    }

    #[test]
    fn mirroring_and_whole_shifts_are_exact() {
        let x = numbers(1000, 12);
        let mirror = [-1.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let got = warp(Shape::image(1, 1, 3, 4), &mirror, Border::Nearest, 0.0);
        assert_eq!(got, x.chunks(4).flat_map(|r| r.iter().rev()).copied().collect::<Vec<_>>());
        // One column to the right, two rows down.
        let shift = [1.0, 0.0, -1.0, 0.0, 1.0, -2.0, 0.0, 1.0];
        let got = warp(Shape::image(1, 1, 3, 4), &shift, Border::Constant(9.0), 0.0);
        assert_eq!(got, [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, x[0], x[1], x[2]]);
    }

    #[test]
    fn far_away_is_the_border() {
        for far in [1e9f32, -1e9, f32::MAX] {
            let m = [1.0, 0.0, far, 0.0, 1.0, far, 0.0, 1.0];
            assert_eq!(warp(Shape::image(1, 1, 3, 4), &m, Border::Constant(2.0), 0.0), [2.0; 12]);
        }
    }

    #[test]
    fn what_is_drawn_follows_from_seed_epoch_and_image_alone() {
        let batch = ALL.draw(5, 2, &[3, 8, 1], [64, 64]);
        assert_eq!(batch[WARP..2 * WARP], ALL.draw(5, 2, &[8], [64, 64]));
        assert_ne!(ALL.draw(5, 3, &[8], [64, 64]), ALL.draw(5, 2, &[8], [64, 64]));
        assert_ne!(ALL.draw(6, 2, &[8], [64, 64]), ALL.draw(5, 2, &[8], [64, 64]));
    }

    #[test]
    fn the_numbers_fill_their_ranges_and_the_map_is_a_similarity() {
        let images: Vec<u32> = (0..2000).collect();
        let all = ALL.draw(11, 0, &images, [50, 40]);
        let (mut mirrored, mut angles, mut brightness) = (0, Vec::new(), Vec::new());
        for m in all.chunks(WARP).map(|m| m.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()) {
            let determinant = m[0] * m[4] - m[1] * m[3];
            mirrored += usize::from(determinant < 0.0);
            let factor = determinant.abs().sqrt().recip();
            assert!((0.8 - 1e-5..1.2 + 1e-5).contains(&factor), "factor {factor}");
            angles.push((-m[3]).atan2(m[4]).to_degrees());
            brightness.push(m[6]);
            // Columns and rows of a similarity are perpendicular and of one length.
            assert!(
                (m[0] * m[3] + m[1] * m[4]).abs() < 1e-6
                    && (m[0].powi(2) + m[1].powi(2) - determinant.abs()).abs() < 1e-6
            );
            // The input's centre is seen at the output's centre plus the shift.
            let (cx, cy) = (19.5 - m[2], 24.5 - m[5]);
            let out = [(m[4] * cx - m[1] * cy) / determinant - 19.5, (m[0] * cy - m[3] * cx) / determinant - 24.5];
            assert!(out[0].abs() <= 0.15 * 40.0 + 1e-3 && out[1].abs() <= 0.15 * 50.0 + 1e-3, "shift {out:?}");
        }
        // Five standard deviations.
        assert!((mirrored as f64 - 1000.0).abs() < 112.0, "{mirrored} mirrored");
        for (v, range) in [(angles, 20.0), (brightness, 0.3)] {
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            let most = v.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            assert!(mean.abs() < 5.0 * range / (3.0f64 * 2000.0).sqrt() && most <= range + 1e-6 && most > 0.99 * range);
        }
    }
}
