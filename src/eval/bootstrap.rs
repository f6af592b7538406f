//! Percentile bootstrap over patients: whole patients are drawn with all their images, because images of one patient are
//! alike and intervals that draw single images are too narrow (Field and Welsh 2007,
//! <https://doi.org/10.1111/j.1467-9868.2007.00593.x>; percentiles: Efron and Tibshirani 1993, chapter 13).

use crate::eval::interval::{Interval, Method};
use crate::eval::predictions::Predictions;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;

/// Which images belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// Cluster of each image, from 0.
    of: Vec<usize>,
    count: usize,
}

impl Clusters {
    /// Images with equal keys belong together.
    pub fn by_key<K: std::hash::Hash + Eq>(keys: impl IntoIterator<Item = K>) -> Clusters {
        let mut known = HashMap::new();
        let mut number = |key: K| {
            let next = known.len();
            *known.entry(key).or_insert(next)
        };
        let of: Vec<usize> = keys.into_iter().map(&mut number).collect();
        Clusters { of, count: known.len() }
    }

    /// The patients; an image without one is its own group.
    pub fn of_patients(predictions: &Predictions) -> Clusters {
        let key = |patient: &'_ str, image: &'_ str| match patient.is_empty() {
            true => (false, image.to_string()),
            false => (true, patient.to_string()),
        };
        Clusters::by_key(predictions.rows.iter().map(|r| key(&r.patient, &r.image)))
    }

    /// Number of clusters.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.of.len()
    }
}

/// How often and from where it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples; 0 for no interval.
    pub resamples: usize,
    /// Same seed, same intervals, on any machine and any number of threads.
    pub seed: u64,
    /// Confidence level.
    pub level: f64,
}

/// What the resamples gave for one statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Resampled {
    /// Percentiles of the resamples; `None` with fewer than two patients, without resamples, where the statistic was not
    /// defined in half of them or more, or where all of them gave one value, as when every image is right: an interval
    /// without width would claim a certainty that there is not.
    pub interval: Option<Interval>,
    /// Resamples in which the statistic was not defined, as when no patient of a class was drawn; left out.
    pub undefined: usize,
}

impl Bootstrap {
    /// Intervals of several statistics from the same resamples. `statistics` gets a weight per image, how many times its
    /// patient was drawn, and gives as many values as there are statistics, `None` where one is not defined.
    ///
    /// # Panics
    /// When `level` is not between 0 and 1, or `statistics` gives different numbers of values.
    #[track_caller]
    pub fn intervals<F>(&self, clusters: &Clusters, statistics: F) -> Vec<Resampled>
    where
        F: Fn(&[f64]) -> Vec<Option<f64>> + Sync,
    {
        assert!(self.level > 0.0 && self.level < 1.0, "bootstrap: level {} is not between 0 and 1", self.level);
        let how_many = statistics(&vec![1.0; clusters.images()]).len();
        if clusters.count < 2 || self.resamples == 0 {
            return vec![Resampled { interval: None, undefined: 0 }; how_many];
        }
        let one = |number: u64| {
            let mut stream = Stream::new(self.seed, number);
            let mut drawn = vec![0.0; clusters.count];
            (0..clusters.count).for_each(|_| drawn[stream.below(clusters.count)] += 1.0);
            let weights: Vec<f64> = clusters.of.iter().map(|&c| drawn[c]).collect();
            let values = statistics(&weights);
            assert_eq!(values.len(), how_many, "bootstrap: a resample gave another number of statistics");
            values
        };
        let all: Vec<Vec<Option<f64>>> = (0..self.resamples as u64).into_par_iter().map(one).collect();
        let of = |k: usize| {
            let mut values: Vec<f64> = all.iter().filter_map(|v| v[k]).filter(|v| v.is_finite()).collect();
            values.sort_by(f64::total_cmp);
            let undefined = self.resamples - values.len();
            let tail = 0.5 * (1.0 - self.level);
            let varies = values.first() != values.last();
            let interval = (varies && 2 * undefined < self.resamples).then(|| Interval {
                low: percentile(&values, tail),
                high: percentile(&values, 1.0 - tail),
                level: self.level,
                method: Method::ClusteredBootstrap,
            });
            Resampled { interval, undefined }
        };
        (0..how_many).map(of).collect()
    }

    /// As [`Bootstrap::intervals`], for one statistic.
    ///
    /// # Panics
    /// When `level` is not between 0 and 1.
    #[track_caller]
    pub fn interval(&self, clusters: &Clusters, statistic: impl Fn(&[f64]) -> Option<f64> + Sync) -> Resampled {
        let all = self.intervals(clusters, |weights| vec![statistic(weights)]);
        all.first().copied().unwrap_or(Resampled { interval: None, undefined: 0 })
    }
}

/// Quantile of sorted values with linear interpolation (numpy's default); NaN without values.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let position = p * (sorted.len().max(1) - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    match (sorted.get(below), sorted.get(below + 1)) {
        (Some(a), Some(b)) => a + (b - a) * share,
        (Some(a), None) => *a,
        _ => f64::NAN,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014, <https://doi.org/10.1145/2660193.2660195>), a stream per resample; kept here so
/// that no update of a library changes published intervals.
struct Stream(u64);

impl Stream {
    fn new(seed: u64, number: u64) -> Stream {
        let mut first = Stream(seed);
        let offset = first.word();
        Stream(offset ^ number.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `n` (Lemire's multiplication; the bias of n / 2^64 is nothing here).
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: Bootstrap = Bootstrap { resamples: 4000, seed: 7, level: 0.95 };

    fn mean<'a>(x: &'a [f64]) -> impl Fn(&[f64]) -> Option<f64> + Sync + 'a {
        |w| {
            let n: f64 = w.iter().sum();
            (n > 0.0).then(|| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() / n)
        }
    }

    #[test]
    fn single_images_give_the_binomial_interval() {
        let x: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i < 140))).collect();
        let i = B.interval(&Clusters::by_key(0..200), mean(&x)).interval.unwrap();
        // Quantiles of Binomial(200, 0.7) / 200: 0.635 and 0.76 (scipy.stats.binom.ppf); 4000 resamples are off by little.
        assert!((i.low - 0.635).abs() < 0.006 && (i.high - 0.76).abs() < 0.006, "{i:?}");
        assert_eq!(i.method, Method::ClusteredBootstrap);
    }

    #[test]
    fn patients_whose_images_are_alike_widen_it() {
        // 40 patients of 5 equal images: as wide as for 40 images.
        let x: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i < 140))).collect();
        let i = B.interval(&Clusters::by_key((0..200).map(|i| i / 5)), mean(&x)).interval.unwrap();
        // Binomial(40, 0.7) / 40: 0.55 and 0.825.
        assert!((i.low - 0.55).abs() < 0.013 && (i.high - 0.825).abs() < 0.026, "{i:?}");
    }

    #[test]
    fn the_seed_decides_and_several_statistics_share_resamples() {
        let x: Vec<f64> = (0..30).map(|i| f64::from(i * i % 17)).collect();
        let clusters = Clusters::by_key((0..30).map(|i| i / 2));
        let one = B.interval(&clusters, mean(&x));
        assert_eq!(one, B.interval(&clusters, mean(&x)));
        assert_ne!(one, Bootstrap { seed: 8, ..B }.interval(&clusters, mean(&x)));
        let two = B.intervals(&clusters, |w| vec![mean(&x)(w), mean(&x)(w).map(|m| 2.0 * m)]);
        let (a, b) = (two[0].interval.unwrap(), two[1].interval.unwrap());
        assert!(two[0] == one && (b.low - 2.0 * a.low).abs() < 1e-12 && (b.high - 2.0 * a.high).abs() < 1e-12);
    }

    #[test]
    fn undefined_resamples_are_counted_and_one_patient_gives_none() {
        let first = |w: &[f64]| (w[0] > 0.0).then_some(w[1]);
        let few = B.interval(&Clusters::by_key(0..50), first);
        // (1 - 1/50)^50 = 0.364 of the resamples miss the first.
        assert!((few.undefined as f64 / 4000.0 - 0.364).abs() < 0.03 && few.interval.is_some(), "{few:?}");
        let rare = B.interval(&Clusters::by_key(0..50), |w| (w[0] > 1.0).then_some(w[1]));
        assert!(rare.undefined > 2000 && rare.interval.is_none(), "{rare:?}");
        assert_eq!(B.interval(&Clusters::by_key([1, 1, 1]), first), Resampled { interval: None, undefined: 0 });
        assert_eq!(B.interval(&Clusters::by_key(Vec::<u8>::new()), |_| Some(1.0)).interval, None);
        assert_eq!(Bootstrap { resamples: 0, ..B }.interval(&Clusters::by_key(0..9), |w| Some(w[0])).interval, None);
        assert_eq!(B.interval(&Clusters::by_key(0..9), |_| Some(1.0)).interval, None, "always the same");
    }

    #[test]
    fn percentiles_are_numpys() {
        // numpy.percentile([1, 2, 4, 8, 16], [2.5, 50, 97.5])
        let x = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_eq!([0.025, 0.5, 0.975].map(|p| (percentile(&x, p) * 1e9).round() / 1e9), [1.1, 4.0, 15.2]);
        assert_eq!(percentile(&[3.0], 0.3), 3.0);
    }
}
