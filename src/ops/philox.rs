//! Philox4x32-10, the counter-based random numbers of everything that is drawn: the same bits on the host and in WGSL
//! (`shaders/prelude/philox.wgsl`), no state, so a number follows from what it is for (seed, step, layer, element).
//!
//! Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Recorder, Shape, ValueId};

const SOURCE: Source = shader!("philox.wgsl");

/// Four random words for a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let p = u64::from(a) * u64::from(b);
        ((p >> 32) as u32, p as u32)
    };
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let ((high0, low0), (high1, low1)) = (product(0xD251_1F53, c[0]), product(0xCD9E_8D57, c[2]));
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The upper 24 bits of a random word as a number in [0, 1): exact in f32 and f64.
pub fn unit(word: u32) -> f64 {
    f64::from(word >> 8) / f64::from(1u32 << 24)
}

/// A random word as a number of a normal distribution of mean 0 and deviation 1, by integers alone, so that every device
/// (`shaders/prelude/normal.wgsl`) has the same numbers: exact in f32 and f64. They are multiples of 2⁻²¹, at most 4.53 in
/// size. The sum of the word's four bytes, which is bell-shaped with thin tails, is stretched by an odd polynomial (Teichroew's
/// method, in Knuth, The Art of Computer Programming 2, §3.4.1) that gives it the normal's second, fourth and sixth moments;
/// its distribution function is off by 0.0013 at most.
pub fn normal(word: u32) -> f64 {
    let sum = word.to_le_bytes().iter().map(|b| i32::from(*b)).sum::<i32>() - 510;
    let r = (sum * sum) >> 3;
    let stretch = r * 300 + ((r * r) >> 15) * 9528 + 32768;
    f64::from(sum * (13785 + (stretch >> 16))) / f64::from(1u32 << 21)
}

/// A 64-bit seed as a key.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// The generator as an operation, for self tests: B blocks of six integers (counter 0 to 3, key 0 and 1) → 8·B numbers,
/// the lower and the upper 16 bits of each of a block's four words.
#[derive(Clone, Debug)]
pub struct PhiloxWords;

impl Op for PhiloxWords {
    fn name(&self) -> &'static str {
        "philox_words"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        match x[0] {
            Shape::Flat { len } if len > 0 && len % 6 == 0 => Ok(vec![Shape::flat(len / 6 * 8)]),
            other => Err(format!("expected a row of six integers a block, given was {other}")),
        }
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let block = |b: &[f64]| {
            let w: Vec<u32> = b.iter().map(|v| *v as u32).collect();
            philox([w[0], w[1], w[2], w[3]], [w[4], w[5]])
        };
        let words = x[0].chunks(6).flat_map(block);
        vec![words.flat_map(|w| [f64::from(w & 0xffff), f64::from(w >> 16)]).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let blocks = k.shape(x[0]).elements() / 6;
        k.launch(
            SOURCE,
            "philox_words",
            &[],
            &[("blocks", Word::from(blocks))],
            &[x[0].into(), y[0].into()],
            blocks.div_ceil(64),
        );
    }

    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        let blocks = xs[0].elements() / 6;
        Cost { flops: 200.0 * blocks as f64, bytes: 4.0 * (xs[0].words() + ys[0].words()) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    /// `kat_vectors` of the Random123 distribution, philox4x32 10: counter, key, result.
    const KNOWN: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];

    #[test]
    fn known_answers() {
        for (counter, key, result) in KNOWN {
            assert_eq!(philox(counter, key), result);
        }
        assert_eq!((unit(0), unit(u32::MAX)), (0.0, 1.0 - 1.0 / f64::from(1u32 << 24)));
    }

    /// Exactly, over all 2³² words: how often each sum of four bytes comes follows from a convolution.
    #[test]
    fn normal_numbers_have_the_moments_and_tails_of_the_normal_distribution() {
        let mut ways = vec![1.0f64];
        for _ in 0..4 {
            let mut next = vec![0.0; ways.len() + 255];
            ways.iter().enumerate().for_each(|(i, w)| next[i..=i + 255].iter_mut().for_each(|n| *n += w / 256.0));
            ways = next;
        }
        // A word whose bytes add up to `sum`.
        let word = |sum: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| sum.saturating_sub(255 * i).min(255) as u8));
        let values: Vec<f64> = (0..ways.len()).map(|sum| normal(word(sum))).collect();
        assert!(values.windows(2).all(|w| w[0] < w[1]));
        let moment = |k: i32| ways.iter().zip(&values).map(|(p, v)| p * v.powi(k)).sum::<f64>();
        for (k, want, within) in [(1, 0.0, 1e-12), (2, 1.0, 5e-5), (3, 0.0, 1e-12), (4, 3.0, 5e-4), (6, 15.0, 5e-3)] {
            assert!((moment(k) - want).abs() < within, "moment {k} is {}", moment(k));
        }
        let (tail, most) =
            (|z: f64| ways.iter().zip(&values).filter(|p| *p.1 > z).map(|p| p.0).sum::<f64>(), values[1020]);
        // 1 - Phi(z), from tables.
        for (z, want, within) in [(1.0, 0.158_655, 0.002), (2.0, 0.022_750, 0.001), (3.0, 0.001_350, 0.0002)] {
            assert!((tail(z) - want).abs() < within, "above {z}: {}", tail(z));
        }
        assert!((4.52..4.54).contains(&most) && values[0] == -most && values[510] == 0.0, "most {most}");
        // In f32 as well.
        assert!(values.iter().all(|v| f64::from(*v as f32) == *v));
    }

    #[test]
    fn the_gpu_has_the_same_bits() {
        let mut blocks: Vec<[u32; 6]> = KNOWN.iter().map(|(c, k, _)| [c[0], c[1], c[2], c[3], k[0], k[1]]).collect();
        // 97 more blocks whose words are themselves random: 100 is no multiple of a workgroup.
        blocks.extend((0..97).map(|i| {
            let (a, b) = (philox([i, 0, 0, 0], [7, 7]), philox([i, 1, 0, 0], [7, 7]));
            [a[0], a[1], a[2], a[3], b[0], b[1]]
        }));
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.integers("blocks", &blocks.concat());
        let y = x.apply(PhiloxWords, &[]);
        let got = case.check(&[y], 0.0);
        for (i, (_, _, words)) in KNOWN.iter().enumerate() {
            let want: Vec<f32> = words.iter().flat_map(|w| [(w & 0xffff) as f32, (w >> 16) as f32]).collect();
            assert_eq!(got[0][8 * i..8 * i + 8], want);
        }
    }
}
