//! Random numbers and smooth noise of the phantom: integer hashes only, so that the same (seed, index) is the same scene
//! whatever the thread, the order of generation or the version of a random number crate.

/// One round of the finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that mixes all 64 bits.
pub(super) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64 stream, keyed by a path of numbers such as (seed, patient, image).
#[derive(Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// Stream for one key; different keys give unrelated streams.
    pub fn keyed(key: &[u64]) -> Rng {
        Rng(key.iter().fold(0x5261_6469_6f67_7261, |state, &k| mix(state ^ mix(k))))
    }

    /// Next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let out = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        out
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Integer in low..=high.
    pub fn int(&mut self, low: u32, high: u32) -> u32 {
        low + (self.bits() % u64::from(high - low + 1)) as u32
    }

    /// True with probability p.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// +1 or -1.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }

    /// About normal, mean 0, variance 1 (sum of four uniforms; bounded by ±3.5, which suits a picture).
    pub fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 1.732_050_8
    }
}

/// Hash of a lattice point to [-1, 1]; 32-bit, since this is the inner loop of the noise.
fn lattice(ix: i32, iy: i32, seed: u32) -> f32 {
    let mut h = (ix as u32).wrapping_mul(0x85eb_ca6b) ^ (iy as u32).wrapping_mul(0xc2b2_ae35) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^= h >> 15;
    (h >> 8) as f32 * (2.0 / 16_777_215.0) - 1.0
}

/// Value noise in [-1, 1] at (x, y) with unit lattice spacing, smooth first derivative.
pub(super) fn value_noise(x: f32, y: f32, seed: u32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let fade = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (fade(x - fx), fade(y - fy));
    let top = lattice(ix, iy, seed) * (1.0 - u) + lattice(ix + 1, iy, seed) * u;
    let bottom = lattice(ix, iy + 1, seed) * (1.0 - u) + lattice(ix + 1, iy + 1, seed) * u;
    top * (1.0 - v) + bottom * v
}

/// Sum of `octaves` of value noise, each at twice the frequency and half the amplitude, scaled to about [-1, 1].
pub(super) fn fractal_noise(x: f32, y: f32, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut amplitude, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        sum += amplitude * value_noise(x * scale, y * scale, seed.wrapping_add(octave * 7919));
        total += amplitude;
        amplitude *= 0.5;
        scale *= 2.0;
    }
    sum / total
}

/// Cubic step from 0 at `low` to 1 at `high`; `low > high` gives the falling step.
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// exp(-d² / 2) without the tails that nobody sees: a bell of width `sigma` around 0.
pub(super) fn bell(d: f32, sigma: f32) -> f32 {
    let t = d / sigma;
    if t.abs() > 3.5 { 0.0 } else { (-0.5 * t * t).exp() }
}
