//! Resizing a gray plane to a square, by one of four named rules ([`Resize`]).
//!
//! All of them are separable sums: columns first and then rows, with sums in f64 and the plane between the passes in f32
//! (Pillow's arithmetic on an image of mode "F"). Pixel centres lie at `i + 0.5`; what lies outside the image takes no
//! part. Aspect is *not* kept: a 4:5 radiograph is squeezed to a square, as in the papers.

use crate::data::decode::Plane;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Largest side that is offered; a larger one is a typing error rather than a wish.
pub const MAX_SIDE: usize = 4096;

/// A rule of resizing. When shrinking they differ much: `nearest` and `bilinear` look at one and at two pixels a side and
/// pass over the rest (which turns fine structure into false coarse structure), the other two look at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resize {
    /// `nearest`: the pixel in which the centre of the output pixel lies. Pillow's `NEAREST` and OpenCV's
    /// `INTER_NEAREST_EXACT`; OpenCV's `INTER_NEAREST` takes the pixel at the *corner* instead, half a step up and left.
    Nearest,
    /// `bilinear`: the four pixels around the centre of the output pixel, whatever the scale. OpenCV's `INTER_LINEAR`,
    /// PyTorch's `interpolate(mode="bilinear", align_corners=False, antialias=False)`.
    Bilinear,
    /// `bilinear-antialias`, the default: the triangle, widened by the scale when shrinking, cut off and renormalised at
    /// the border. Pillow's `BILINEAR`, `antialias=True` of torchvision.
    #[default]
    BilinearAntialias,
    /// `area`: the mean over what the output pixel covers, parts of pixels counted by their share. OpenCV's `INTER_AREA`
    /// (where both sides shrink or both grow; it mixes two rules otherwise) and, where the scale is a whole number,
    /// Pillow's `BOX`, which counts no parts.
    Area,
}

impl Resize {
    /// All rules.
    pub const ALL: [Resize; 4] = [Resize::Nearest, Resize::Bilinear, Resize::BilinearAntialias, Resize::Area];

    /// The name that [`str::parse`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Resize::Nearest => "nearest",
            Resize::Bilinear => "bilinear",
            Resize::BilinearAntialias => "bilinear-antialias",
            Resize::Area => "area",
        }
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Resize {
    type Err = Error;

    /// # Errors
    /// [`Error::Usage`] that lists the names.
    fn from_str(name: &str) -> Result<Resize> {
        Resize::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Resize::ALL.iter().map(|r| r.name()).collect();
            Error::Usage(format!("resizing '{name}': one of {} is needed", names.join(", ")))
        })
    }
}

/// The taps of one output pixel: the first input pixel and the weights, which sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

fn taps(how: Resize, input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let one = |o: usize| match how {
        // Whole numbers: a centre that lies on the edge of two pixels must not be decided by rounding.
        Resize::Nearest => Taps { first: (2 * o + 1) * input / (2 * output), weights: vec![1.0] },
        Resize::Bilinear => {
            let at = ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, (input - 1) as f64);
            let (first, part) = (at as usize, at.fract());
            Taps { first, weights: if part > 0.0 { vec![1.0 - part, part] } else { vec![1.0] } }
        }
        Resize::BilinearAntialias => {
            // Widening the triangle when shrinking is what antialias means; when enlarging it stays one pixel wide.
            let support = scale.max(1.0);
            let center = (o as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let mut weights: Vec<f64> =
                (first..end).map(|i| (1.0 - ((i as f64 - center + 0.5) / support).abs()).max(0.0)).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            Taps { first, weights }
        }
        // In units of 1 / output of an input pixel everything is whole.
        Resize::Area => {
            let (from, to) = (o * input, (o + 1) * input);
            let first = from / output;
            let share = |i: usize| ((i + 1) * output).min(to) - (i * output).max(from);
            Taps { first, weights: (first..to.div_ceil(output)).map(|i| share(i) as f64 / input as f64).collect() }
        }
    };
    (0..output).map(one).collect()
}

/// Resizes `plane` to `side` x `side` by the default rule ([`Resize::BilinearAntialias`]); returns `[side, side]` row-major
/// values, in `[0, 1]` as the input is.
///
/// # Errors
/// As [`resize_by`].
pub fn resize(plane: &Plane, side: usize) -> Result<Vec<f32>> {
    resize_by(plane, side, Resize::default())
}

/// Resizes `plane` to `side` x `side` by the rule `how`; returns `[side, side]` row-major values, in `[0, 1]` as the input
/// is.
///
/// # Errors
/// [`Error::Usage`] when `side` is 0 or larger than [`MAX_SIDE`], [`Error::Internal`] when the plane has no pixels.
pub fn resize_by(plane: &Plane, side: usize, how: Resize) -> Result<Vec<f32>> {
    if side == 0 || side > MAX_SIDE {
        return Err(Error::Usage(format!("image side {side}: 1 to {MAX_SIDE} is possible")));
    }
    let (w, h) = (plane.width, plane.height);
    if w == 0 || h == 0 || plane.data.len() != w * h {
        return Err(Error::Internal(format!("a plane of {w} x {h} with {} values", plane.data.len())));
    }
    let across = taps(how, w, side);
    let mut narrow = Vec::with_capacity(h * side); // [h, side]
    for row in plane.data.chunks_exact(w) {
        for t in &across {
            let pixels = &row[t.first..t.first + t.weights.len()];
            let sum: f64 = pixels.iter().zip(&t.weights).map(|(&p, &k)| f64::from(p) * k).sum();
            narrow.push(sum as f32);
        }
    }
    let mut out = Vec::with_capacity(side * side); // [side, side]
    let mut sums = vec![0f64; side];
    for t in taps(how, h, side) {
        sums.fill(0.0);
        for (i, &k) in t.weights.iter().enumerate() {
            let row = &narrow[(t.first + i) * side..][..side];
            sums.iter_mut().zip(row).for_each(|(s, &p)| *s += f64::from(p) * k);
        }
        // Rounding may leave 1 + 1e-7: the promise is [0, 1].
        out.extend(sums.iter().map(|&s| (s as f32).clamp(0.0, 1.0)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `v(x, y) = ((37 x + 91 y + x y) mod 256) / 255`: the same formula ran in Python.
    fn formula(width: usize, height: usize) -> Plane {
        let data = (0..height * width)
            .map(|i| ((37 * (i % width) + 91 * (i / width) + (i % width) * (i / width)) % 256) as f32 / 255.0);
        Plane { width, height, data: data.collect() }
    }

    /// Width, height, side and the values.
    type Case<'a> = (usize, usize, usize, &'a [f32]);

    fn check(how: Resize, cases: &[Case]) {
        for &(w, h, side, want) in cases {
            let got = resize_by(&formula(w, h), side, how).unwrap();
            assert_eq!(got.len(), want.len());
            let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-6, "{how}: {w} x {h} to {side}: {worst}");
        }
    }

    /// Pillow 13.0: `Image.fromarray(v.astype("float32")).resize((side, side), Image.BILINEAR)`.
    #[test]
    fn bilinear_with_antialias_agrees_with_pillow() {
        let cases: [Case; 4] = [
            (
                13,
                7,
                4,
                &[
                    0.3777927, 0.5544796, 0.4025788, 0.5935164, 0.4521663, 0.4589076, 0.5030943, 0.5289579, 0.5168314,
                    0.4535705, 0.4774473, 0.4602521, 0.4731055, 0.5779734, 0.4845138, 0.5912257,
                ],
            ),
            (
                10,
                16,
                3,
                &[0.4540911, 0.4897461, 0.4720993, 0.4733951, 0.4925906, 0.4733478, 0.4968029, 0.4976661, 0.5401298],
            ),
            (
                3,
                2,
                5,
                &[
                    0., 0.0580392, 0.1450981, 0.2321569, 0.2901961, 0.0356863, 0.0938824, 0.1811765, 0.2684706,
                    0.3266667, 0.1784314, 0.2372549, 0.3254902, 0.4137255, 0.472549, 0.3211765, 0.3806275, 0.469804,
                    0.5589804, 0.6184314, 0.3568628, 0.4164706, 0.5058824, 0.5952941, 0.654902,
                ],
            ),
            (
                101,
                67,
                4,
                &[
                    0.5066216, 0.496632, 0.5014722, 0.4988842, 0.5008055, 0.4920442, 0.4979508, 0.4995562, 0.4943373,
                    0.4947839, 0.5064391, 0.5112691, 0.5023996, 0.5012331, 0.507083, 0.5121292,
                ],
            ),
        ];
        check(Resize::BilinearAntialias, &cases);
    }

    /// Pillow 13.0 `Image.NEAREST`, which equals OpenCV 5.0 `INTER_NEAREST_EXACT` here.
    #[test]
    fn nearest_agrees_with_pillow() {
        check(
            Resize::Nearest,
            &[
                (
                    13,
                    7,
                    4,
                    &[
                        0.145098, 0.5803922, 0.1568628, 0.5921569, 0.8666667, 0.3215686, 0.9333333, 0.3882353,
                        0.5843138, 0.0627451, 0.7058824, 0.1843137, 0.3019608, 0.8078431, 0.4784314, 0.9843137,
                    ],
                ),
                (
                    10,
                    16,
                    3,
                    &[0.8666667, 0.4745098, 0.9333333, 0.01960784, 0.7254902, 0.2509804, 0.8196079, 0.6, 0.1843137],
                ),
                (
                    3,
                    2,
                    5,
                    &[
                        0., 0., 0.145098, 0.2901961, 0.2901961, 0., 0., 0.145098, 0.2901961, 0.2901961, 0.3568628,
                        0.3568628, 0.5058824, 0.654902, 0.654902, 0.3568628, 0.3568628, 0.5058824, 0.654902, 0.654902,
                        0.3568628, 0.3568628, 0.5058824, 0.654902, 0.654902,
                    ],
                ),
                // The centres lie on the edges between pixels.
                (
                    12,
                    8,
                    4,
                    &[
                        0.5058824, 0.9529412, 0.3960784, 0.8431373, 0.2235294, 0.6941177, 0.1607843, 0.6313726,
                        0.945098, 0.4352941, 0.9294118, 0.4196078, 0.6627451, 0.1764706, 0.6941177, 0.2078431,
                    ],
                ),
            ],
        );
    }

    /// OpenCV 5.0 `INTER_LINEAR` on float32, with weights of f32.
    #[test]
    fn bilinear_agrees_with_opencv() {
        check(
            Resize::Bilinear,
            &[
                (
                    13,
                    7,
                    4,
                    &[
                        0.2987133, 0.6338848, 0.2474878, 0.7238358, 0.6956495, 0.425674, 0.7988358, 0.4190564,
                        0.5592525, 0.2017769, 0.5972427, 0.2397672, 0.516973, 0.7308211, 0.4113358, 0.8134192,
                    ],
                ),
                (
                    10,
                    16,
                    3,
                    &[0.6456427, 0.4604575, 0.8051198, 0.3702615, 0.45, 0.5297385, 0.6526144, 0.4395425, 0.3937909],
                ),
                (
                    3,
                    2,
                    5,
                    &[
                        0., 0.05803922, 0.145098, 0.2321569, 0.2901961, 0.03568628, 0.09388236, 0.1811765, 0.2684706,
                        0.3266667, 0.1784314, 0.2372549, 0.3254902, 0.4137255, 0.472549, 0.3211765, 0.3806275,
                        0.469804, 0.5589804, 0.6184314, 0.3568628, 0.4164706, 0.5058824, 0.5952941, 0.654902,
                    ],
                ),
                (
                    12,
                    8,
                    4,
                    &[
                        0.3254902, 0.7666667, 0.2039216, 0.645098, 0.5450981, 0.5078431, 0.4705882, 0.4333333,
                        0.7647059, 0.2490196, 0.7372549, 0.2215686, 0.482353, 0.4921569, 0.5019608, 0.5117647,
                    ],
                ),
            ],
        );
    }

    /// OpenCV 5.0 `INTER_AREA` on float32; the last one is Pillow 13.0 `BOX`, too.
    #[test]
    fn area_agrees_with_opencv() {
        check(
            Resize::Area,
            &[
                (
                    13,
                    7,
                    4,
                    &[
                        0.3223013, 0.5979315, 0.3550528, 0.6086189, 0.4343461, 0.4669253, 0.5105366, 0.5210515,
                        0.5022625, 0.4462401, 0.5115708, 0.4334842, 0.4377936, 0.6241328, 0.4464124, 0.6106874,
                    ],
                ),
                (
                    10,
                    16,
                    3,
                    &[
                        0.4254412, 0.4996324, 0.4608824, 0.4764706, 0.5064706, 0.4611765, 0.5086765, 0.4944853,
                        0.5555882,
                    ],
                ),
                (
                    3,
                    2,
                    5,
                    &[
                        0., 0.04836602, 0.145098, 0.2418301, 0.2901961, 0., 0.04836602, 0.145098, 0.2418301, 0.2901961,
                        0.1784314, 0.227451, 0.3254902, 0.4235294, 0.472549, 0.3568628, 0.406536, 0.5058824, 0.6052288,
                        0.654902, 0.3568628, 0.406536, 0.5058824, 0.6052288, 0.654902,
                    ],
                ),
                (
                    12,
                    8,
                    4,
                    &[
                        0.3254902, 0.5993464, 0.3712418, 0.645098, 0.3777778, 0.5078431, 0.4705882, 0.4333333,
                        0.5973856, 0.4163399, 0.5699347, 0.3888889, 0.482353, 0.4921569, 0.5019608, 0.5117647,
                    ],
                ),
            ],
        );
    }

    #[test]
    fn names_are_read_and_written() {
        for how in Resize::ALL {
            assert_eq!(how.to_string().parse::<Resize>().unwrap(), how);
        }
        assert_eq!(Resize::default(), Resize::BilinearAntialias);
        let e = "cubic".parse::<Resize>().unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains("nearest, bilinear, bilinear-antialias, area"), "{e}");
    }

    #[test]
    fn keeps_constants_identity_and_range() {
        let flat = Plane { width: 33, height: 17, data: vec![1.0; 33 * 17] };
        let p = formula(9, 9);
        let one = Plane { width: 1, height: 1, data: vec![0.25] };
        for how in Resize::ALL {
            assert!(resize_by(&flat, 8, how).unwrap().iter().all(|&v| v == 1.0), "{how}");
            assert_eq!(resize_by(&p, 9, how).unwrap(), p.data, "{how}");
            assert_eq!(resize_by(&one, 3, how).unwrap(), [0.25; 9], "{how}");
        }
    }

    #[test]
    fn impossible_sides_are_refused() {
        for side in [0, MAX_SIDE + 1] {
            let e = resize(&formula(9, 9), side).unwrap_err();
            assert_eq!(e.exit_code(), 2, "{e}");
        }
    }
}
