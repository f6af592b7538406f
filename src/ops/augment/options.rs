//! How far images are changed, and the numbers that are drawn for each.

use super::super::philox::{key, philox, unit};
use super::{Augment, Border, WARP};
use crate::error::{Error, Result};

/// How far the images of a training set are changed; pixels lie in [0, 1]. The default changes nothing. What is changed, in this
/// order: the geometry (mirrored, scaled, rotated, shifted, cropped; one resampling), contrast, brightness, saturation, Gaussian
/// noise, salt and pepper. Nothing is cut to [0, 1] afterwards.
///
/// In words: [`AugmentOptions::parse`].
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Largest change of contrast about 0 of the network's input: 0.1 means a factor between 0.9 and 1.1.
    pub contrast: f32,
    /// Random crop: the largest part of the side that is cut off, below 1. A window of at least 1 − this of the side, the same of
    /// both sides, lies anywhere in the image (after the other changes of geometry) and is resized back.
    pub crop: f32,
    /// Largest change of saturation about gray: 0.1 means a factor between 0.9 and 1.1 of each channel's distance from the
    /// luma. It changes nothing unless images have three channels, and nothing, to the bit, where these are equal: gray radiographs.
    pub saturation: f32,
    /// Standard deviation of Gaussian noise, of each pixel and channel its own.
    pub noise: f32,
    /// Probability that a pixel, all its channels, becomes 0 or 1, either as likely.
    pub salt_pepper: f32,
    /// What lies outside an image; a constant is a value in [0, 1] as pixels are.
    pub fill: Border,
}

impl Default for AugmentOptions {
    fn default() -> Self {
        AugmentOptions::NONE
    }
}

/// [`AugmentOptions`] for tensors that hold (pixel − mean) · scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaledAugment {
    options: AugmentOptions,
    mean: f32,
    scale: f32,
}

/// Keeps the augmentation's random numbers apart from those of dropout under the same seed ("augm").
const STREAM: u32 = 0x6175_676d;

impl AugmentOptions {
    /// Changes nothing.
    pub const NONE: AugmentOptions = AugmentOptions {
        rotation_degrees: 0.0,
        scale: 0.0,
        shift: 0.0,
        mirror: false,
        brightness: 0.0,
        contrast: 0.0,
        crop: 0.0,
        saturation: 0.0,
        noise: 0.0,
        salt_pepper: 0.0,
        fill: Border::Nearest,
    };

    /// The same for tensors that hold (pixel − `mean`) · `scale`, as a network's input does: there brightness, noise, salt, pepper
    /// and fill are others.
    pub fn scaled(self, mean: f32, scale: f32) -> ScaledAugment {
        ScaledAugment { options: self, mean, scale }
    }

    /// The input of [`Augment`] for these images of `size` = [H, W], pixels in [0, 1]; see [`ScaledAugment::draw`].
    ///
    /// # Panics
    /// When [`AugmentOptions::check`] refuses these options.
    #[track_caller]
    pub fn draw(&self, seed: u64, epoch: u32, images: &[u32], size: [usize; 2]) -> Vec<f32> {
        self.scaled(0.0, 1.0).draw(seed, epoch, images, size)
    }

    /// # Errors
    /// [`Error::Usage`] when a range is negative or no number, scale or crop is 1 or more, salt and pepper more than 1, or the fill no
    /// number.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str, v: f32, needed: &str| {
            Err(Error::Usage(format!("augmentation: {what} is {v}, needed is {needed}")))
        };
        let ranges = [
            ("rotation", self.rotation_degrees),
            ("scale", self.scale),
            ("shift", self.shift),
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("crop", self.crop),
            ("saturation", self.saturation),
            ("noise", self.noise),
            ("salt-pepper", self.salt_pepper),
        ];
        if let Some((name, v)) = ranges.into_iter().find(|(_, v)| !(*v >= 0.0 && v.is_finite())) {
            return refuse(name, v, "a number from 0 on");
        }
        for (name, v) in [("scale", self.scale), ("crop", self.crop)] {
            if v >= 1.0 {
                return refuse(name, v, "less than 1: nothing would be left of an image");
            }
        }
        if self.salt_pepper > 1.0 {
            return refuse("salt-pepper", self.salt_pepper, "a probability");
        }
        match self.fill {
            Border::Constant(v) if !v.is_finite() => refuse("fill", v, "a number"),
            _ => Ok(()),
        }
    }
}

impl ScaledAugment {
    /// The operation for what [`ScaledAugment::draw`] draws: it does what the options ask for, and no more.
    pub fn op(&self) -> Augment {
        let o = &self.options;
        let value = |pixel: f32| (pixel - self.mean) * self.scale;
        let border = match o.fill {
            Border::Constant(v) => Border::Constant(value(v)),
            other => other,
        };
        Augment {
            border,
            saturation: o.saturation > 0.0,
            noise: o.noise > 0.0,
            salt_pepper: (o.salt_pepper > 0.0).then(|| [value(0.0), value(1.0)]),
        }
    }

    /// The input of [`Augment`] for these images of `size` = [H, W]. What happens to an image follows from the seed, the epoch
    /// and its number in the data set alone, not from its batch. Each number is uniform in its range.
    ///
    /// # Panics
    /// When [`AugmentOptions::check`] refuses the options.
    #[track_caller]
    pub fn draw(&self, seed: u64, epoch: u32, images: &[u32], size: [usize; 2]) -> Vec<f32> {
        if let Err(e) = self.options.check() {
            panic!("{e}");
        }
        images.iter().flat_map(|i| self.one(seed, epoch, *i, size)).collect()
    }

    fn one(&self, seed: u64, epoch: u32, image: u32, [h, w]: [usize; 2]) -> [f32; WARP] {
        let o = &self.options;
        let words: [[u32; 4]; 4] = [0, 1, 2, 3].map(|block| philox([image, epoch, block, STREAM], key(seed)));
        // Uniform in [-range, range).
        let within = |word: u32, range: f32| (unit(word) * 2.0 - 1.0) * f64::from(range);
        let angle = within(words[0][0], o.rotation_degrees).to_radians();
        let factor = 1.0 + within(words[0][1], o.scale);
        let (right, down) = (within(words[0][2], o.shift) * w as f64, within(words[0][3], o.shift) * h as f64);
        let mirrored = o.mirror && unit(words[1][0]) < 0.5;
        // Forward, about the centre: mirror, scale, rotate, shift. The output's pixel therefore comes from
        // centre + mirror · rotate(-angle) · (pixel - centre - shift) / factor.
        let (sin, cos) = angle.sin_cos();
        let flip = if mirrored { -1.0 } else { 1.0 };
        let m = [flip * cos / factor, flip * sin / factor, -sin / factor, cos / factor];
        let (cx, cy) = ((w as f64 - 1.0) / 2.0, (h as f64 - 1.0) / 2.0);
        let (tx, ty) = (cx + right, cy + down);
        let (mx, my) = (cx - m[0] * tx - m[1] * ty, cy - m[2] * tx - m[3] * ty);
        // Last the crop: its pixel comes from first + rest · pixel. Its outermost pixels lie within the image's, so that a crop alone
        // shows nothing from outside.
        let cut = unit(words[2][0]) * f64::from(o.crop);
        let rest = 1.0 - cut;
        let (left, top) = (unit(words[2][1]) * cut * (w as f64 - 1.0), unit(words[2][2]) * cut * (h as f64 - 1.0));
        let (mx, my) = (mx + m[0] * left + m[1] * top, my + m[2] * left + m[3] * top);
        let brightness = within(words[1][1], o.brightness * self.scale);
        let contrast = 1.0 + within(words[1][2], o.contrast);
        let saturation = within(words[1][3], o.saturation);
        let noise = f64::from(o.noise * self.scale);
        // A number that nobody heeds is 0, so that equal numbers mean equal views.
        let random = if o.noise > 0.0 || o.salt_pepper > 0.0 { words[3] } else { [0; 4] };
        let half = |word: u32, shift: u32| f64::from(word >> shift & 0xffff);
        // + 0.0 turns a negative zero into zero.
        [
            m[0] * rest,
            m[1] * rest,
            mx,
            m[2] * rest,
            m[3] * rest,
            my,
            brightness,
            contrast,
            saturation,
            noise,
            f64::from(o.salt_pepper),
            0.0,
            half(random[0], 0),
            half(random[0], 16),
            half(random[1], 0),
            half(random[1], 16),
        ]
        .map(|v| (v + 0.0) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    const ALL: AugmentOptions = AugmentOptions {
        rotation_degrees: 20.0,
        scale: 0.2,
        shift: 0.15,
        mirror: true,
        brightness: 0.3,
        contrast: 0.25,
        ..AugmentOptions::NONE
    };

    /// The numbers that this seed gave when there was no more than warp, brightness and contrast (SHA-256 over their bits): trainings
    /// of that time give the weights that they gave.
    #[test]
    fn numbers_drawn_before_are_drawn_again() {
        let images: Vec<u32> = (0..16).map(|i| i * 7 + 3).collect();
        let o = AugmentOptions { contrast: 0.1, ..AugmentOptions::DETL };
        let drawn = o.draw(42, 3, &images, [64, 64]);
        let first: Vec<f32> = drawn.chunks(WARP).flat_map(|m| m[..8].to_vec()).collect();
        assert!(drawn.chunks(WARP).all(|m| m[8..] == Augment::IDENTITY[8..]));
        let digest = Sha256::digest(bytemuck::cast_slice::<f32, u8>(&first));
        assert_eq!(crate::files::hex(&digest)[..16], *"8a0bd362e51e4bc6");
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

    /// With [rows, columns] of pixels, where the corners of the output are seen.
    fn corners(m: &[f32], [h, w]: [usize; 2]) -> Vec<(f32, f32)> {
        let ends = |n: usize| [0.0, n as f32 - 1.0];
        let all = ends(h).into_iter().flat_map(|r| ends(w).map(|c| (r, c)));
        all.map(|(r, c)| (m[0] * c + m[1] * r + m[2], m[3] * c + m[4] * r + m[5])).collect()
    }

    #[test]
    fn a_crop_stays_within_the_image_and_fills_its_range() {
        let o = AugmentOptions { crop: 0.4, ..AugmentOptions::NONE };
        let (mut least, mut first) = (1.0f32, (0.0f32, 0.0f32));
        for m in o.draw(2, 0, &(0..2000).collect::<Vec<u32>>(), [50, 40]).chunks(WARP) {
            assert!(m[0] == m[4] && (0.6..=1.0).contains(&m[0]) && (m[1], m[3]) == (0.0, 0.0), "{m:?}");
            for (u, v) in corners(m, [50, 40]) {
                assert!((-1e-4..39.0001).contains(&u) && (-1e-4..49.0001).contains(&v), "seen at {u}, {v}");
            }
            least = least.min(m[0]);
            first = (first.0.max(m[2]), first.1.max(m[5]));
        }
        // As much is cut off as may be, on either side.
        assert!(least < 0.602 && first.0 > 0.38 * 39.0 && first.1 > 0.38 * 49.0, "{least} {first:?}");
        // It comes last: of an image that is shifted out of sight, nothing.
        let shifted = AugmentOptions { shift: 0.5, mirror: true, rotation_degrees: 30.0, ..o };
        for image in 0..50 {
            let plain = AugmentOptions { crop: 0.0, ..shifted }.draw(2, 0, &[image], [50, 40]);
            let cut = o.draw(2, 0, &[image], [50, 40]);
            let both = shifted.draw(2, 0, &[image], [50, 40]);
            for ((u, v), (x, y)) in corners(&cut, [50, 40]).into_iter().zip(corners(&both, [50, 40])) {
                let p = |k: usize| plain[k] * u + plain[k + 1] * v + plain[k + 2];
                assert!((p(0) - x).abs() < 1e-3 && (p(3) - y).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn what_is_given_for_pixels_is_scaled_for_a_networks_input() {
        let o = AugmentOptions { noise: 0.02, salt_pepper: 0.1, fill: Border::Constant(0.25), ..ALL };
        let (unit, wide) = (o.scaled(0.0, 1.0), o.scaled(0.5, 4.0));
        let want = |fill: f32, ends: [f32; 2]| Augment {
            border: Border::Constant(fill),
            saturation: false,
            noise: true,
            salt_pepper: Some(ends),
        };
        assert_eq!((unit.op(), wide.op()), (want(0.25, [0.0, 1.0]), want(-1.0, [-2.0, 2.0])));
        let (a, b) = (unit.draw(1, 0, &[5], [8, 8]), wide.draw(1, 0, &[5], [8, 8]));
        assert_eq!((b[6], b[9], b[7], b[10]), (a[6] * 4.0, a[9] * 4.0, a[7], a[10]));
        assert_eq!((&a[..6], &a[12..]), (&b[..6], &b[12..]));
        assert!(a[12..].iter().all(|v| (0.0..65536.0).contains(v) && v.fract() == 0.0) && a[12..] != [0.0; 4]);
        assert_ne!(a[12..], unit.draw(1, 0, &[6], [8, 8])[12..]);
        assert_eq!(AugmentOptions::NONE.scaled(0.5, 4.0).op(), Augment::default());
    }

    #[test]
    fn ranges_that_mean_nothing_are_refused() {
        let none = AugmentOptions::NONE;
        for (o, what) in [
            (AugmentOptions { scale: 1.0, ..none }, "scale is 1, needed is less than 1"),
            (AugmentOptions { crop: 1.5, ..none }, "crop is 1.5"),
            (AugmentOptions { noise: -0.1, ..none }, "noise is -0.1, needed is a number from 0 on"),
            (AugmentOptions { rotation_degrees: f32::NAN, ..none }, "rotation is NaN"),
            (AugmentOptions { salt_pepper: 1.01, ..none }, "salt-pepper is 1.01, needed is a probability"),
            (AugmentOptions { fill: Border::Constant(f32::INFINITY), ..none }, "fill is inf"),
        ] {
            let e = o.check().unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(what), "{e}");
        }
        assert!(AugmentOptions { salt_pepper: 1.0, fill: Border::Constant(-0.5), ..ALL }.check().is_ok());
    }
}
