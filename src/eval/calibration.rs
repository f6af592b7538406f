//! Whether a probability means what it says: expected calibration error, Brier score, log loss, and the one number that
//! repairs most of it, a temperature.

use crate::eval::predictions::{Prediction, Predictions};
use serde::Serialize;

/// Probabilities below this count as this in logarithms, as in scikit-learn's `log_loss` for f64.
pub const LEAST: f64 = f64::EPSILON;

/// One bin of a reliability diagram: images whose largest probability lies in (low, high].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Lower end, not in the bin.
    pub low: f64,
    /// Upper end, in the bin.
    pub high: f64,
    /// Images in it.
    pub images: u64,
    /// Mean of their largest probability; `None` for an empty bin.
    pub confidence: Option<f64>,
    /// Share of them that is right.
    pub accuracy: Option<f64>,
}

/// What the measures need of one image.
#[derive(Debug, Clone, Copy)]
struct Top {
    confidence: f64,
    right: f64,
    bin: usize,
    brier: f64,
    log_loss: f64,
}

/// The top label of every image, ready to be averaged under weights.
#[derive(Debug, Clone)]
pub struct Calibration {
    tops: Vec<Top>,
    bins: usize,
}

impl Calibration {
    /// Of these probabilities (one row per image) and true classes, with `bins` equal-width bins (15 in Guo et al. 2017,
    /// <https://proceedings.mlr.press/v70/guo17a.html>).
    ///
    /// # Panics
    /// When the lengths differ, a class is out of range, or there is no bin.
    #[track_caller]
    pub fn of(probabilities: &[Vec<f64>], truth: &[usize], bins: usize) -> Calibration {
        assert_eq!(probabilities.len(), truth.len(), "calibration: rows and true classes");
        assert!(bins > 0, "calibration: no bin");
        let top = |(p, &truth): (&Vec<f64>, &usize)| {
            let best = (0..p.len()).fold(0, |b, k| if p[k] > p[b] { k } else { b });
            let confidence = p[best];
            let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1;
            let square = |(k, p): (usize, &f64)| (p - f64::from(u8::from(k == truth))).powi(2);
            let brier = p.iter().enumerate().map(square).sum();
            Top { confidence, right: f64::from(u8::from(best == truth)), bin, brier, log_loss: -log(p[truth]) }
        };
        Calibration { tops: probabilities.iter().zip(truth).map(top).collect(), bins }
    }

    /// Expected calibration error of the top label: mean over images of |accuracy - confidence| of their bin; each image
    /// counts `weight(i)` times. `None` without images. Its expectation is above 0 also for a calibrated model, the more
    /// so the fewer images there are.
    pub fn ece(&self, weight: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut gaps, mut total) = (vec![0.0; self.bins], 0.0);
        for (i, top) in self.tops.iter().enumerate() {
            gaps[top.bin] += weight(i) * (top.right - top.confidence);
            total += weight(i);
        }
        (total > 0.0).then(|| gaps.iter().map(|g: &f64| g.abs()).sum::<f64>() / total)
    }

    /// Brier's score as he defined it: mean over images of the sum over classes of (probability - truth)², from 0 to 2
    /// (scikit-learn's `brier_score_loss` with `scale_by_half=False`).
    pub fn brier(&self, weight: impl Fn(usize) -> f64) -> Option<f64> {
        self.mean(weight, |t| t.brier)
    }

    /// Mean of -ln(probability of the true class) in nats, probabilities cut at [`LEAST`].
    pub fn log_loss(&self, weight: impl Fn(usize) -> f64) -> Option<f64> {
        self.mean(weight, |t| t.log_loss)
    }

    fn mean(&self, weight: impl Fn(usize) -> f64, of: impl Fn(&Top) -> f64) -> Option<f64> {
        let total: f64 = (0..self.tops.len()).map(&weight).sum();
        let sum: f64 = self.tops.iter().enumerate().map(|(i, t)| weight(i) * of(t)).sum();
        (total > 0.0).then(|| sum / total)
    }

    /// The bins of the reliability diagram.
    pub fn bins(&self) -> Vec<Bin> {
        let of = |b: usize| {
            let own: Vec<&Top> = self.tops.iter().filter(|t| t.bin == b).collect();
            let mean = |get: fn(&Top) -> f64| {
                (!own.is_empty()).then(|| own.iter().map(|t| get(t)).sum::<f64>() / own.len() as f64)
            };
            Bin {
                low: b as f64 / self.bins as f64,
                high: (b + 1) as f64 / self.bins as f64,
                images: own.len() as u64,
                confidence: mean(|t| t.confidence),
                accuracy: mean(|t| t.right),
            }
        };
        (0..self.bins).map(of).collect()
    }
}

fn log(p: f64) -> f64 {
    p.max(LEAST).ln()
}

/// `probabilities` at temperature `1 / inverse`: softmax(inverse · ln p).
pub fn at_temperature(probabilities: &[f64], inverse: f64) -> Vec<f64> {
    let scaled: Vec<f64> = probabilities.iter().map(|p| inverse * log(*p)).collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scaled.iter().map(|s| (s - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Smallest and largest temperature that is looked for.
const RANGE: (f64, f64) = (0.01, 100.0);

/// The temperature that minimises the log loss of these rows (Guo et al. 2017); the end of [0.01, 100] where the minimum
/// lies outside, as when every image is right. The loss is convex in 1 / T, so its derivative is bisected. 1 without rows.
pub fn fit_temperature<'a>(rows: impl Iterator<Item = &'a Prediction> + Clone) -> f64 {
    // d/dβ of -β·s_truth + ln Σ exp(β·s): the expected s at temperature 1/β minus the true one.
    let slope = |inverse: f64| -> f64 {
        rows.clone()
            .map(|r| {
                let expected: f64 = at_temperature(&r.probabilities, inverse)
                    .iter()
                    .zip(&r.probabilities)
                    .map(|(q, p)| q * log(*p))
                    .sum();
                expected - log(r.probabilities[r.truth])
            })
            .sum()
    };
    if rows.clone().next().is_none() {
        return 1.0;
    }
    let (mut low, mut high) = (1.0 / RANGE.1, 1.0 / RANGE.0);
    if slope(low) >= 0.0 {
        return RANGE.1;
    }
    if slope(high) <= 0.0 {
        return RANGE.0;
    }
    // Halving the logarithm: 60 steps reach the last bits.
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    1.0 / (low * high).sqrt()
}

/// What temperature scaling does to the calibration error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TemperatureScaling {
    /// The temperature of all rows; above 1 the model is too sure of itself.
    pub temperature: f64,
    /// Temperature that each fold's rows were scaled with, fitted on other folds' rows; empty where it was fitted on the
    /// same rows.
    pub per_fold: Vec<(u32, f64)>,
    /// Whether every row was scaled with a temperature fitted on other patients of other folds; otherwise the figures after
    /// scaling are from the rows that the temperature was fitted on, and too good.
    pub cross_fitted: bool,
    /// Calibration error before.
    pub ece_before: Option<f64>,
    /// Calibration error after.
    pub ece_after: Option<f64>,
    /// Log loss before.
    pub log_loss_before: Option<f64>,
    /// Log loss after.
    pub log_loss_after: Option<f64>,
    /// That a temperature lies at the end of the range [0.01, 100] that is searched: the rows do not determine it.
    pub at_bound: bool,
}

impl TemperatureScaling {
    /// Fits and applies it; across folds where there are two or more: the temperature for a fold comes from the rows of the
    /// other folds whose patient and image are not in it.
    ///
    /// # Panics
    /// When there is no bin.
    #[track_caller]
    pub fn of(all: &Predictions, bins: usize) -> TemperatureScaling {
        let truth = all.truths();
        let before = Calibration::of(&probabilities(all), &truth, bins);
        let temperature = fit_temperature(all.rows.iter());
        let mut per_fold = Vec::new();
        for fold in all.folds() {
            let inside: std::collections::HashSet<(bool, &str)> =
                all.rows.iter().filter(|r| r.fold == fold).map(group).collect();
            let others = || all.rows.iter().filter(|r| r.fold != fold && !inside.contains(&group(r)));
            // Some row must be left to fit on, for every fold.
            if others().next().is_none() {
                per_fold.clear();
                break;
            }
            per_fold.push((fold, fit_temperature(others())));
        }
        let own = |fold: u32| per_fold.iter().find(|(f, _)| *f == fold).map_or(temperature, |(_, t)| *t);
        let scaled: Vec<Vec<f64>> =
            all.rows.iter().map(|r| at_temperature(&r.probabilities, 1.0 / own(r.fold))).collect();
        let after = Calibration::of(&scaled, &truth, bins);
        let bound = |t: f64| t <= RANGE.0 || t >= RANGE.1;
        TemperatureScaling {
            temperature,
            cross_fitted: !per_fold.is_empty(),
            at_bound: bound(temperature) || per_fold.iter().any(|(_, t)| bound(*t)),
            per_fold,
            ece_before: before.ece(|_| 1.0),
            ece_after: after.ece(|_| 1.0),
            log_loss_before: before.log_loss(|_| 1.0),
            log_loss_after: after.log_loss(|_| 1.0),
        }
    }
}

/// Patient of a row, or its image where the patient is not known.
fn group(r: &Prediction) -> (bool, &str) {
    if r.patient.is_empty() { (false, &r.image) } else { (true, &r.patient) }
}

/// The probabilities of all rows.
pub fn probabilities(all: &Predictions) -> Vec<Vec<f64>> {
    all.rows.iter().map(|r| r.probabilities.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: [usize; 24] = [1, 0, 2, 2, 0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 1, 0, 0, 2, 0, 2, 2, 0, 1, 1];
    #[rustfmt::skip]
    const PERCENT: [[u8; 3]; 24] = [
        [0, 99, 1], [96, 2, 2], [2, 9, 89], [6, 5, 89], [75, 9, 16], [31, 68, 1], [98, 1, 1], [31, 38, 31],
        [25, 54, 21], [64, 35, 1], [40, 41, 19], [99, 1, 0], [6, 39, 55], [19, 57, 24], [5, 92, 3], [48, 5, 47],
        [75, 6, 19], [9, 3, 88], [88, 12, 0], [0, 8, 92], [1, 3, 96], [80, 19, 1], [1, 78, 21], [11, 77, 12],
    ];

    fn all(fold: impl Fn(usize) -> u32) -> Predictions {
        let row = |i: usize| Prediction {
            image: format!("i{i}"),
            patient: String::new(),
            fold: fold(i),
            truth: TRUTH[i],
            probabilities: PERCENT[i].map(|p| f64::from(p) / 100.0).to_vec(),
        };
        Predictions { classes: ["a", "b", "c"].map(String::from).to_vec(), rows: (0..24).map(row).collect() }
    }

    fn close(got: Option<f64>, want: f64, within: f64) {
        assert!(got.is_some_and(|g| (g - want).abs() < within), "{got:?} is not {want}");
    }

    // ECE: numpy with the bins written out; the others: scikit-learn 1.9.1 (brier_score_loss(scale_by_half=False), log_loss).
    #[test]
    fn measures_agree_with_scikit_learn() {
        let all = all(|_| 0);
        let c = Calibration::of(&probabilities(&all), &TRUTH, 15);
        close(c.ece(|_| 1.0), 0.21, 1e-12);
        close(c.brier(|_| 1.0), 0.237775, 1e-12);
        close(c.log_loss(|_| 1.0), 0.4060280691172342, 1e-12);
        assert_eq!(c.ece(|_| 0.0), None);
        let bins = c.bins();
        assert_eq!((bins.len(), bins.iter().map(|b| b.images).sum::<u64>(), bins[0].accuracy), (15, 24, None));
        assert!(bins.iter().all(|b| b.confidence.is_none_or(|c| b.low < c && c <= b.high)));
        // Weights are repetitions.
        let mut twice = (probabilities(&all), TRUTH.to_vec());
        twice.0.extend_from_within(..6);
        twice.1.extend_from_within(..6);
        let t = Calibration::of(&twice.0, &twice.1, 15);
        let w = |i: usize| if i < 6 { 2.0 } else { 1.0 };
        close(c.ece(w), t.ece(|_| 1.0).unwrap(), 1e-12);
        close(c.brier(w), t.brier(|_| 1.0).unwrap(), 1e-12);
        // A certain error costs 36 nats and not infinity, and is in the last bin.
        let wrong = Calibration::of(&[vec![1.0, 0.0]], &[1], 15);
        close(wrong.log_loss(|_| 1.0), -f64::EPSILON.ln(), 1e-12);
        assert_eq!((wrong.ece(|_| 1.0), wrong.brier(|_| 1.0), wrong.bins()[14].images), (Some(1.0), Some(2.0), 1));
    }

    // scipy.optimize.minimize_scalar(method="bounded") over ln T.
    #[test]
    fn temperatures_agree_with_scipy() {
        let same = TemperatureScaling::of(&all(|_| 3), 15);
        assert!(!same.cross_fitted && !same.at_bound && same.per_fold.is_empty());
        close(Some(same.temperature), 0.6106850617, 1e-7);
        close(same.ece_after, 0.1473115148, 1e-7);
        let cross = TemperatureScaling::of(&all(|i| i as u32 % 3), 15);
        assert!(cross.cross_fitted);
        for ((fold, t), want) in cross.per_fold.iter().zip([0.6153779104, 0.6044344423, 0.6112361257]) {
            close(Some(*t), want, 1e-7);
            assert!(*fold < 3);
        }
        close(cross.ece_before, 0.21, 1e-12);
        close(cross.ece_after, 0.1471760842, 1e-7);
        close(cross.log_loss_after, 0.3685252811, 1e-7);
    }

    #[test]
    fn rows_that_do_not_determine_a_temperature_say_so() {
        let mut sure = all(|_| 0);
        sure.rows.retain(Prediction::right);
        let t = TemperatureScaling::of(&sure, 15);
        assert_eq!((t.temperature, t.at_bound), (0.01, true));
        let mut wrong = all(|_| 0);
        wrong
            .rows
            .iter_mut()
            .for_each(|r| r.truth = (0..3).min_by(|a, b| r.probabilities[*a].total_cmp(&r.probabilities[*b])).unwrap());
        assert_eq!(fit_temperature(wrong.rows.iter()), 100.0);
        assert_eq!(fit_temperature([].iter()), 1.0);
        // One patient in both folds: no other patient to fit on.
        let mut one = all(|i| i as u32 % 2);
        one.rows.iter_mut().for_each(|r| r.patient = "p".into());
        assert!(!TemperatureScaling::of(&one, 15).cross_fitted);
    }
}
