//! Resizing a gray plane to a square: bilinear with antialias.
//!
//! The filter is the triangle, widened by the scale when shrinking (Pillow's `BILINEAR`, `antialias=True` of
//! torchvision), columns first and then rows, with sums in f64 and the plane between the passes in f32: the same
//! arithmetic as Pillow's `resize` on an image of mode "F", to which the tests compare. Pixel centres lie at `i + 0.5`;
//! at the border the filter is cut off and renormalised. Aspect is *not* kept: a 4:5 radiograph is squeezed to a square,
//! as in the papers. Cropping and padding are not offered in this version.

use crate::data::decode::Plane;
use crate::error::{Error, Result};

/// Largest side that is offered; a larger one is a typing error rather than a wish.
pub const MAX_SIDE: usize = 4096;

/// The taps of one output pixel: the first input pixel and the weights, which sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

fn taps(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    // Widening the triangle when shrinking is what antialias means; when enlarging it stays one pixel wide.
    let support = scale.max(1.0);
    (0..output)
        .map(|o| {
            let center = (o as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let mut weights: Vec<f64> =
                (first..end).map(|i| (1.0 - ((i as f64 - center + 0.5) / support).abs()).max(0.0)).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            Taps { first, weights }
        })
        .collect()
}

/// Resizes `plane` to `side` x `side`; returns `[side, side]` row-major values, in `[0, 1]` as the input is.
///
/// # Errors
/// [`Error::Usage`] when `side` is 0 or larger than [`MAX_SIDE`], [`Error::Internal`] when the plane has no pixels.
pub fn resize(plane: &Plane, side: usize) -> Result<Vec<f32>> {
    if side == 0 || side > MAX_SIDE {
        return Err(Error::Usage(format!("image side {side}: 1 to {MAX_SIDE} is possible")));
    }
    let (w, h) = (plane.width, plane.height);
    if w == 0 || h == 0 || plane.data.len() != w * h {
        return Err(Error::Internal(format!("a plane of {w} x {h} with {} values", plane.data.len())));
    }
    let across = taps(w, side);
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
    for t in taps(h, side) {
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

    /// Pillow 13.0: `Image.fromarray(v.astype("float32")).resize((side, side), Image.BILINEAR)`.
    #[test]
    fn agrees_with_pillow() {
        let cases: [(usize, usize, usize, &[f32]); 4] = [
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
        for (w, h, side, want) in cases {
            let got = resize(&formula(w, h), side).unwrap();
            assert_eq!(got.len(), want.len());
            let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-6, "{w} x {h} to {side}: {worst}");
        }
    }

    #[test]
    fn keeps_constants_identity_and_range() {
        let flat = Plane { width: 33, height: 17, data: vec![1.0; 33 * 17] };
        assert!(resize(&flat, 8).unwrap().iter().all(|&v| v == 1.0));
        let p = formula(9, 9);
        assert_eq!(resize(&p, 9).unwrap(), p.data);
        let one = Plane { width: 1, height: 1, data: vec![0.25] };
        assert_eq!(resize(&one, 3).unwrap(), [0.25; 9]);
    }

    #[test]
    fn impossible_sides_are_refused() {
        for side in [0, MAX_SIDE + 1] {
            let e = resize(&formula(9, 9), side).unwrap_err();
            assert_eq!(e.exit_code(), 2, "{e}");
        }
    }
}
