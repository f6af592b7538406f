//! Whether two images look the same: a hash that finds candidates and a correlation that decides.
//!
//! Chest radiographs all look alike: the plain correlation of a thumbnail with the most similar
//! other person is 0.92 in the median and 0.97 in one of a hundred. What differs is detail. So a thumbnail of 32 x 32 is normalised locally: from each pixel
//! its Gaussian mean (deviation 3 pixels) is taken, and the result divided by the local deviation. That removes
//! brightness and contrast, of the whole image exactly and of its parts nearly, so gamma and uneven exposure as well. Two
//! images look the same when the correlation of these maps is [`ALIKE`] or more.
//!
//! Where the line lies, on 8,040 images of five folders (NIH twice, Cohen, Figure 1, Kermany; 4,085 patients): of the
//! 32 million pairs of images, those of different patients have none between 0.930 and 0.989. The five pairs above were
//! looked at and each is one radiograph under two names; the seven next below were looked at too, and each is two films.
//! Images of one patient fill the gap (0.943 to 0.959 four times): joining them joins what the patient joins
//! already. (Measured with SciPy on this program's thumbnails.) Copies of 300 of these images, the least and the first percentile of the correlation with the original:
//! brightness 1.000 and 1.000; reduced to 64 x 64 0.998, 0.998; JPEG of quality 30 0.986, 0.992; noise of deviation 0.03
//! 0.967, 0.984; gamma 0.6 0.968, 0.973; gamma 1.8 0.955, 0.962; contrast times 1.5 with clipping 0.944, 0.957. Not all
//! are found of: a white mark in a corner over a seventieth of the area (84 %), borders of 2 % cut off (33 %), of 5 % (none).
//! Those are missed rather than different people joined.
//!
//! A negative (white and black exchanged) and a mirror image of the same radiograph are found as well.

use rayon::prelude::*;

/// Side of the thumbnail that is compared.
pub const SIDE: usize = 32;
/// Correlation of the locally normalised thumbnails from which two images count as the same; see the module text.
pub const ALIKE: f64 = 0.94;
/// Differing bits (of 256) of the hash up to which a pair is compared at all. Pairs that are alike differ in 25 at most in
/// the data of the module text, and the copies made there that are alike in 42 (two normal variables that correlate by 0.94
/// differ in sign in 11 %, 28 of 256).
pub const NEAR: u32 = 52;

/// Deviation of the Gaussian in pixels.
const SIGMA: f64 = 3.0;
/// What keeps flat regions flat instead of turning their noise into structure; the thumbnail's deviation is 0.25.
const FLOOR: f64 = 0.02;

/// What is compared of an image.
#[derive(Clone, Debug)]
pub struct Look {
    /// Signs of the 16 x 16 cell means of `map`.
    hash: [u64; 4],
    /// The same of the mirror image.
    mirrored: [u64; 4],
    /// `[SIDE, SIDE]`, mean 0 and norm 1.
    map: Vec<f32>,
}

/// How two images that look the same relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// The same picture, perhaps brighter, reduced or compressed anew.
    Same,
    /// White and black exchanged.
    Negative,
    /// Left and right exchanged.
    Mirrored,
    /// Both.
    MirroredNegative,
}

/// Two images that look the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike {
    /// Position of the first.
    pub a: usize,
    /// Position of the second; larger than `a`.
    pub b: usize,
    /// Absolute value of the correlation.
    pub correlation: f64,
    /// How they relate.
    pub relation: Relation,
}

impl Look {
    /// The look of a thumbnail `[SIDE, SIDE]`; `None` when it is flat, which looks like every other flat one.
    ///
    /// # Panics
    /// When the thumbnail has another size.
    pub fn of(thumb: &[f32]) -> Option<Look> {
        assert_eq!(thumb.len(), SIDE * SIDE, "a thumbnail of {SIDE} x {SIDE}");
        let values: Vec<f64> = thumb.iter().map(|&v| f64::from(v)).collect();
        let (mean, deviation) = moments(&values);
        // Less than a grey level of 255 in all.
        if deviation < 1e-3 || !deviation.is_finite() {
            return None;
        }
        let scaled: Vec<f64> = values.iter().map(|v| 0.25 * (v - mean) / deviation).collect();
        let local = local_normal(&scaled);
        let (mean, deviation) = moments(&local);
        if deviation < 1e-6 {
            return None;
        }
        let scale = 1.0 / (deviation * SIDE as f64);
        let map: Vec<f32> = local.iter().map(|v| ((v - mean) * scale) as f32).collect();
        Some(Look { hash: signs(&map), mirrored: signs(&mirror(&map)), map })
    }
}

/// Mean and population deviation.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt())
}

/// `(v - m) / (s + FLOOR)` with the Gaussian mean m and deviation s around each pixel.
fn local_normal(values: &[f64]) -> Vec<f64> {
    let mean = blur(values);
    let rest: Vec<f64> = values.iter().zip(&mean).map(|(v, m)| v - m).collect();
    let variance = blur(&rest.iter().map(|r| r * r).collect::<Vec<_>>());
    rest.iter().zip(variance).map(|(r, v)| r / (v.max(1e-6).sqrt() + FLOOR)).collect()
}

/// Gaussian filter over `[SIDE, SIDE]`, cut off at 4 deviations, the border pixel repeated (SciPy's `mode="nearest"`).
fn blur(values: &[f64]) -> Vec<f64> {
    let radius = (4.0 * SIGMA + 0.5) as isize;
    let weights: Vec<f64> = (-radius..=radius).map(|i| (-0.5 * (i as f64 / SIGMA).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let clamp = |i: isize| i.clamp(0, SIDE as isize - 1) as usize;
    let pass = |at: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        let point = |i: usize, j: usize| {
            let tap = |(t, w): (usize, &f64)| w * at(i, clamp(j as isize + t as isize - radius));
            weights.iter().enumerate().map(tap).sum::<f64>() / sum
        };
        (0..SIDE * SIDE).map(|p| point(p / SIDE, p % SIDE)).collect()
    };
    // Rows, then columns of the result; each pass leaves its axis last.
    let rows = pass(&|y, x| values[y * SIDE + x]);
    let columns = pass(&|x, y| rows[y * SIDE + x]);
    (0..SIDE * SIDE).map(|p| columns[p % SIDE * SIDE + p / SIDE]).collect()
}

/// One bit for each 2 x 2 cell: whether its sum is positive.
fn signs(map: &[f32]) -> [u64; 4] {
    let mut bits = [0u64; 4];
    for cell in 0..256 {
        let at = cell / 16 * 2 * SIDE + cell % 16 * 2;
        let sum = map[at] + map[at + 1] + map[at + SIDE] + map[at + SIDE + 1];
        bits[cell / 64] |= u64::from(sum > 0.0) << (cell % 64);
    }
    bits
}

fn differing(a: &[u64; 4], b: &[u64; 4]) -> u32 {
    a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum()
}

/// Sum of products in eight lanes, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0f32; 8];
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for k in 0..8 {
            lanes[k] += x[k] * y[k];
        }
    }
    lanes.iter().map(|&v| f64::from(v)).sum()
}

fn mirror(map: &[f32]) -> Vec<f32> {
    map.chunks_exact(SIDE).flat_map(|row| row.iter().rev().copied()).collect()
}

/// All pairs that look the same, ordered. The hashes of all pairs are compared (four words each), the maps of those that
/// are [`NEAR`].
pub fn pairs(looks: &[Option<Look>]) -> Vec<Alike> {
    let one = |a: usize| -> Vec<Alike> {
        let Some(x) = &looks[a] else { return Vec::new() };
        let flipped = mirror(&x.map);
        let mut found = Vec::new();
        for (b, y) in looks.iter().enumerate().skip(a + 1) {
            let Some(y) = y else { continue };
            let (straight, mirrored) = (differing(&x.hash, &y.hash), differing(&x.mirrored, &y.hash));
            let candidates = [
                (straight <= NEAR, false, 1.0, Relation::Same),
                (straight >= 256 - NEAR, false, -1.0, Relation::Negative),
                (mirrored <= NEAR, true, 1.0, Relation::Mirrored),
                (mirrored >= 256 - NEAR, true, -1.0, Relation::MirroredNegative),
            ];
            let best = candidates.into_iter().filter(|c| c.0).map(|(_, flip, sign, relation)| {
                let correlation = dot(if flip { &flipped } else { &x.map }, &y.map);
                Alike { a, b, correlation: (sign * correlation).min(1.0), relation }
            });
            // Of a picture that is its own mirror image the plain relation counts.
            let best = best
                .filter(|p| p.correlation >= ALIKE)
                .reduce(|p, q| if q.correlation > p.correlation { q } else { p });
            found.extend(best);
        }
        found
    };
    (0..looks.len()).into_par_iter().flat_map_iter(one).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture with structure of several sizes, its own for each `seed`.
    pub(crate) fn picture(seed: u32) -> Vec<f32> {
        let s = f64::from(seed);
        let value = |i: usize| {
            let (x, y) = ((i % SIDE) as f64, (i / SIDE) as f64);
            let wave = |a: f64, b: f64, p: f64| (a * x + b * y + p).sin();
            let k = 0.17 * (1.0 + (s * 1.7).sin());
            0.5 + 0.15 * wave(0.21 + k, 0.13, s)
                + 0.12 * wave(0.4, 0.57 - k, 2.0 * s)
                + 0.1 * wave(0.9 + k, 0.3, 3.0 * s)
        };
        (0..SIDE * SIDE).map(|i| value(i) as f32).collect()
    }

    /// SciPy 1.17: `gaussian_filter(v, 3, mode="nearest")` of `v[y, x] = ((37 x + 91 y + x y) mod 256) / 255`, and the map
    /// `(v - m) / (sqrt(gaussian_filter((v - m) ** 2, 3)) + 0.02)`.
    #[test]
    fn the_filter_agrees_with_scipy() {
        let v: Vec<f64> = (0..SIDE * SIDE)
            .map(|i| ((37 * (i % SIDE) + 91 * (i / SIDE) + (i % SIDE) * (i / SIDE)) % 256) as f64 / 255.0)
            .collect();
        let (m, l) = (blur(&v), local_normal(&v));
        for (at, mean, local) in [
            (0, 0.289515361970271, -1.030822083915489),
            (31, 0.515275587587599, -0.122348949275924),
            (500, 0.498407532331966, -0.330366441246851),
            (777, 0.508759571710613, 0.549238951568548),
            (1023, 0.488654608768788, -0.784523798200301),
        ] {
            assert!((m[at] - mean).abs() < 1e-12 && (l[at] - local).abs() < 1e-10, "{at}: {} {}", m[at], l[at]);
        }
    }

    #[test]
    fn copies_are_found_and_strangers_are_not() {
        let p = picture(1);
        let of = |f: &dyn Fn(usize) -> f32| Look::of(&(0..SIDE * SIDE).map(f).collect::<Vec<_>>());
        let looks = [
            Look::of(&p),
            of(&|i| 0.2 + 0.3 * p[i]),
            of(&|i| 1.0 - p[i]),
            of(&|i| p[i / SIDE * SIDE + SIDE - 1 - i % SIDE]),
            of(&|i| 0.9 - 0.5 * p[i / SIDE * SIDE + SIDE - 1 - i % SIDE]),
            Look::of(&picture(2)),
            Look::of(&picture(3)),
            Look::of(&[0.5; SIDE * SIDE]),
        ];
        assert!(looks[7].is_none());
        let found = pairs(&looks);
        let to_first: Vec<(usize, Relation)> = found.iter().filter(|p| p.a == 0).map(|p| (p.b, p.relation)).collect();
        let want =
            [(1, Relation::Same), (2, Relation::Negative), (3, Relation::Mirrored), (4, Relation::MirroredNegative)];
        assert_eq!(to_first, want);
        assert!(found[0].correlation > 0.999_999, "brightness and contrast do not matter: {:?}", found[0]);
        assert!(found.iter().all(|p| p.b < 5), "{found:?}");
        assert_eq!(found.len(), 10);
    }

    #[test]
    fn gamma_and_a_small_mark() {
        let p = picture(4);
        let gamma: Vec<f32> = p.iter().map(|v| v.powf(1.8)).collect();
        let marked: Vec<f32> =
            p.iter().enumerate().map(|(i, &v)| if i % SIDE < 2 && i / SIDE < 2 { 1.0 } else { v }).collect();
        let found = pairs(&[Look::of(&p), Look::of(&gamma), Look::of(&marked)]);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
