//! The parity fixtures' generator and reader: FNV-1a names a SplitMix64 stream, so weights, inputs and labels are
//! formulas; JSON holds what PyTorch made of them. Described in the fixtures' own README; its test vectors are at the end.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The stream `seed/name`.
pub struct Stream(u64);

impl Stream {
    pub fn new(seed: u64, name: &str) -> Stream {
        Stream(fnv(&format!("{seed}/{name}")))
    }

    /// Output number `i`, from 1: random access.
    pub fn at(&self, i: u64) -> u64 {
        let mut z = self.0.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [−1, 1), exact in f32.
    pub fn unit(&self, i: u64) -> f64 {
        (self.at(i) >> 40) as f64 / 8_388_608.0 - 1.0
    }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn units(seed: u64, name: &str, n: usize) -> impl Iterator<Item = f64> {
    let s = Stream::new(seed, name);
    (1..=n as u64).map(move |i| s.unit(i))
}

/// Uniform in [−1, 1): network inputs.
pub fn unit(seed: u64, name: &str, n: usize) -> Vec<f32> {
    units(seed, name, n).map(|u| u as f32).collect()
}

/// A filter or dense weight: ± √(6 / fan-in).
pub fn weight(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let bound = (6.0 / fan_in as f64).sqrt();
    units(seed, name, shape.iter().product()).map(|u| (u * bound) as f32).collect()
}

/// A bias: ± 0.1.
pub fn bias(seed: u64, name: &str, n: usize) -> Vec<f32> {
    units(seed, name, n).map(|u| (0.1 * u) as f32).collect()
}

/// a + b u: the scale and shift of batch norm.
pub fn line(seed: u64, name: &str, n: usize, a: f64, b: f64) -> Vec<f32> {
    units(seed, name, n).map(|u| (a + b * u) as f32).collect()
}

/// `scale` · (1 + u / 4): running variances.
pub fn scaled(seed: u64, name: &str, n: usize, scale: f64) -> Vec<f32> {
    units(seed, name, n).map(|u| (scale * (1.0 + 0.25 * u)) as f32).collect()
}

/// Labels below `classes`.
pub fn labels(seed: u64, name: &str, n: usize, classes: u64) -> Vec<u32> {
    let s = Stream::new(seed, name);
    (1..=n as u64).map(|i| ((s.at(i) >> 33) % classes) as u32).collect()
}

/// A dropout mask for rate `p`.
pub fn mask(seed: u64, name: &str, n: usize, p: f64) -> Vec<f32> {
    units(seed, name, n).map(|u| if (u + 1.0) / 2.0 >= p { 1.0 } else { 0.0 }).collect()
}

/// One fixture.
pub struct Fixture {
    pub name: String,
    json: Value,
}

/// A folder with fixtures: `RADIOGRAD_PARITY`, else `../shared/parity/fixtures` beside the repository, if it is there.
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("RADIOGRAD_PARITY").map(PathBuf::from);
    let there = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/parity/fixtures"));
    there.join("index.json").is_file().then_some(there)
}

/// All fixtures of a folder by name.
pub fn read_all(folder: &Path) -> Result<Vec<Fixture>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("").to_string();
        if path.extension().is_some_and(|e| e == "json") && name != "index" {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let json: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            if json["format"] != "parity-1" {
                return Err(format!("{}: format {}, this reads parity-1", path.display(), json["format"]));
            }
            all.push(Fixture { name, json });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().map(|a| a.iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()).unwrap_or_default()
}

/// The numbers of a JSON array as sizes.
pub fn sizes(v: &Value) -> Vec<usize> {
    numbers(v).into_iter().map(|x| x as usize).collect()
}

impl Fixture {
    /// A field of the fixture.
    pub fn get(&self, key: &str) -> &Value {
        &self.json[key]
    }

    /// A string field, empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or("")
    }

    pub fn seed(&self) -> u64 {
        self.json["seed"].as_u64().unwrap_or(0)
    }

    /// Names of the quantities in `part` (`outputs`, `gradients`, …).
    pub fn names(&self, part: &str) -> Vec<&str> {
        self.json[part].as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Shape and f32 values of a stored input; shapes of optimizer inputs are their lengths.
    pub fn input(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let v = self.json["inputs"].get(name)?;
        let narrow = |v: &Value| numbers(v).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        if v.is_array() {
            let values = narrow(v);
            return Some((vec![values.len()], values));
        }
        Some((sizes(&v["shape"]), narrow(&v["values"])))
    }

    /// Checks that a stored input is what the generator makes of its name: both must be right.
    pub fn regenerate(&self, name: &str) -> Option<Vec<f32>> {
        let v = &self.json["inputs"][name];
        let (shape, seed) = (sizes(&v["shape"]), self.seed());
        let n = shape.iter().product();
        match v["gen"].as_str()? {
            "unit" => {
                let (scale, levels) = (v["scale"].as_f64().unwrap_or(1.0), v["levels"].as_f64());
                let one = |u: f64| (levels.map_or(u, |l| (u * l).floor() / l) * scale) as f32;
                Some(units(seed, name, n).map(one).collect())
            }
            "weight" => Some(weight(seed, name, &shape)),
            "bias" => Some(bias(seed, name, n)),
            "labels" => Some(labels(seed, name, n, v["classes"].as_u64()?).into_iter().map(|l| l as f32).collect()),
            "mask" => Some(mask(seed, name, n, v["p"].as_f64()?)),
            _ => None,
        }
    }

    /// The quantity `name` of `part`.
    pub fn quantity(&self, part: &str, name: &str) -> Option<Quantity<'_>> {
        self.json[part].get(name).map(Quantity)
    }
}

/// An expected tensor.
pub struct Quantity<'a>(&'a Value);

/// How far a tensor is from what is expected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    /// The largest error divided by its tolerance: at most 1 is a pass, NaN is not.
    pub ratio: f64,
    /// That error, and that tolerance.
    pub error: f64,
    pub tolerance: f64,
    /// Numbers compared.
    pub numbers: usize,
    /// The largest error of an element, and the largest element; of the norm where no element is stored.
    pub element: (f64, f64),
    /// Sums over all elements of the squares of their errors (estimated from the stored ones) and of themselves.
    pub squares: (f64, f64),
}

impl Distance {
    /// Whether every number is within its tolerance, and there was one.
    pub fn ok(&self) -> bool {
        self.ratio <= 1.0 && self.numbers > 0
    }
}

impl std::fmt::Display for Distance {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "error {:.2e} of {:.2e} allowed", self.error, self.tolerance)
    }
}

impl Quantity<'_> {
    /// Compares elements, norm and mean, each with the fixture's tolerance, never a wider one.
    pub fn distance(&self, got: &[f64]) -> Distance {
        let q = self.0;
        let size: usize = sizes(&q["shape"]).iter().product();
        let mut d = Distance::default();
        let mut take = |got: f64, want: f64, tolerance: f64| {
            let error = (got - want).abs();
            let ratio = error / tolerance;
            d.numbers += 1;
            if !d.ratio.is_nan() && (ratio.is_nan() || ratio > d.ratio) {
                (d.ratio, d.error, d.tolerance) = (ratio, error, tolerance);
            }
        };
        if got.len() != size {
            return Distance { ratio: f64::NAN, error: f64::NAN, ..d };
        }
        let listed = |values: &str| numbers(&q[values]).into_iter().map(f64::abs).fold(0.0, f64::max);
        let largest = q["max"].as_f64().unwrap_or(0.0).max(listed("values")).max(listed("val"));
        let tolerance = q["tol"].as_f64();
        if let Some(t) = tolerance {
            numbers(&q["values"]).iter().zip(got).for_each(|(w, g)| take(*g, *w, t));
            let at = sizes(&q["idx"]);
            at.iter().zip(numbers(&q["val"])).for_each(|(i, w)| take(got.get(*i).copied().unwrap_or(f64::NAN), w, t));
        }
        let listed = numbers(&q["values"]).into_iter().zip(got.iter().copied());
        let places = sizes(&q["idx"]).into_iter().map(|i| got.get(i).copied().unwrap_or(f64::NAN));
        let stored: Vec<_> = listed.chain(numbers(&q["val"]).into_iter().zip(places)).collect();
        // Written so that NaN stays.
        let off = stored.iter().map(|(w, g)| (g - w).abs());
        let off = off.fold(0.0, |a: f64, b| if b.is_nan() || b > a { b } else { a });
        let l2 = q["l2"].as_f64();
        let mean_square = stored.iter().map(|(w, g)| (g - w) * (g - w)).sum::<f64>() / stored.len().max(1) as f64;
        let all = l2.map_or_else(|| stored.iter().map(|(w, _)| w * w).sum(), |l2| l2 * l2);
        let norm = (got.iter().map(|g| g * g).sum::<f64>().sqrt() - l2.unwrap_or(0.0)).abs();
        let element = if largest > 0.0 { (off, largest) } else { (norm, l2.unwrap_or(0.0)) };
        let squares = (mean_square * size as f64, all);
        let sum = |f: &dyn Fn(f64) -> f64| got.iter().map(|g| f(*g)).sum::<f64>();
        if let (Some(w), Some(t)) = (q["l2"].as_f64(), q["l2_tol"].as_f64()) {
            take(sum(&|g| g * g).sqrt(), w, t);
        }
        if let (Some(w), Some(t)) = (q["mean"].as_f64(), q["mean_tol"].as_f64()) {
            take(sum(&|g| g) / size as f64, w, t);
        }
        Distance { element, squares, ..d }
    }
}

#[allow(dead_code)] // the example reads fixtures without running tests
pub const TESTS: &[(&str, fn())] = &[("fixtures::generator_test_vectors", generator_test_vectors)];

#[allow(dead_code)]
fn generator_test_vectors() {
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv("1/conv1.weight"), 0x44e4_65e1_5bca_7cd8);
    assert_eq!(fnv("20211/input"), 0x9d63_8008_da67_f3c6);
    assert_eq!([1, 2].map(|i| Stream(1_234_567).at(i)), [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    let first = Stream::new(1, "conv1.weight");
    let want = [0x3acd_2512_298f_04d5, 0x546b_c1a5_4112_1037, 0x959d_d239_6d93_617a, 0xb104_4ce7_7b1d_9075];
    assert_eq!([1, 2, 3, 4].map(|i| first.at(i)), want);
    assert_eq!(bits(&unit(1, "conv1.weight", 4)), [0xbf0a_65b6, 0xbeae_50fc, 0x3e2c_ee90, 0x3ec4_1130]);
    assert_eq!(bits(&unit(20211, "input", 4)), [0x3f3d_0c0a, 0xbed7_18a4, 0x3e1d_6800, 0xbe4c_c500]);
    assert_eq!(
        bits(&weight(1, "conv1.weight", &[8, 3, 3, 3])[..4]),
        [0xbe82_7b74, 0xbe24_58d7, 0x3da3_0ab0, 0x3e38_da97]
    );
    assert_eq!(bits(&bias(1, "conv1.bias", 4)), [0x3c0e_3880, 0x3b93_5cb3, 0xbcca_a546, 0x3da8_2a42]);
    assert_eq!(mask(1, "fc1.mask.step0", 12, 0.5), [1., 0., 0., 0., 0., 1., 0., 1., 1., 1., 0., 0.]);
    assert_eq!(labels(20211, "labels", 8, 3), [1, 2, 2, 2, 1, 0, 0, 0]);
}
