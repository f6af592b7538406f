//! Sensitivity, specificity and predictive values of each class against the others, accuracy, and Keras' precision and
//! recall at a threshold: counts with intervals.

use crate::eval::confusion::Confusion;
use crate::eval::family;
use crate::eval::interval::{Interval, Proportion};
use crate::eval::predictions::Predictions;
use serde::Serialize;

/// A share of images with its interval, images taken as independent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Images that have what is counted.
    pub successes: u64,
    /// Images that could have it.
    pub trials: u64,
    /// `successes / trials`; `None` when nothing could.
    pub value: Option<f64>,
    /// Wilson or Clopper-Pearson interval.
    pub interval: Option<Interval>,
}

impl Rate {
    /// The rate of `successes` in `trials`.
    ///
    /// # Panics
    /// When `successes > trials` or `level` is not between 0 and 1.
    #[track_caller]
    pub fn new(successes: u64, trials: u64, method: Proportion, level: f64) -> Rate {
        let value = (trials > 0).then(|| successes as f64 / trials as f64);
        Rate { successes, trials, value, interval: method.interval(successes, trials, level) }
    }
}

/// A class against all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassRates {
    /// Name of the class.
    pub class: String,
    /// Of its images, those predicted as it (recall).
    pub sensitivity: Rate,
    /// Of the other images, those not predicted as it.
    pub specificity: Rate,
    /// Of the images predicted as it, those that are of it (precision).
    pub ppv: Rate,
    /// Of the images not predicted as it, those that are not.
    pub npv: Rate,
    /// Interval of the PPV that holds together with all other PPV and NPV of [`family_size`] (Bonferroni).
    pub ppv_family: Option<Interval>,
    /// The same of the NPV.
    pub npv_family: Option<Interval>,
}

/// How many predictive values K classes have: PPV and NPV of each; two classes have only two different ones, because the
/// NPV of one is the PPV of the other.
pub fn family_size(classes: usize) -> usize {
    if classes == 2 { 2 } else { 2 * classes }
}

/// Rates of each class of a K×K `matrix` (see [`Confusion::validate`]) at confidence `level`. The family-wise intervals of
/// the predictive values (Gao and Wang) each have level 1 - (1 - level) / [`family_size`].
///
/// # Panics
/// When `level` is not between 0 and 1.
#[track_caller]
pub fn class_rates(matrix: &Confusion, method: Proportion, level: f64) -> Vec<ClassRates> {
    let total = matrix.total();
    let together = family::bonferroni_level(level, family_size(matrix.classes.len()));
    let of = |(k, class): (usize, &String)| {
        let (support, correct) = (matrix.support(k), matrix.counts[k][k]);
        let predicted: u64 = matrix.counts.iter().map(|row| row[k]).sum();
        // Neither of the class nor predicted as it.
        let neither = total + correct - support - predicted;
        let rate = |successes, trials| Rate::new(successes, trials, method, level);
        ClassRates {
            class: class.clone(),
            sensitivity: rate(correct, support),
            specificity: rate(neither, total - support),
            ppv: rate(correct, predicted),
            npv: rate(neither, total - predicted),
            ppv_family: method.interval(correct, predicted, together),
            npv_family: method.interval(neither, total - predicted, together),
        }
    };
    matrix.classes.iter().enumerate().map(of).collect()
}

/// Precision and recall as `keras.metrics.Precision()` and `Recall()` count them on softmax outputs: every (image, class)
/// pair whose probability exceeds the threshold is a prediction, so an image without a probability above it has none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThresholdScores {
    /// The threshold, 0.5 in Keras.
    pub threshold: f64,
    /// Of the pairs above the threshold, those of the true class.
    pub precision: Rate,
    /// Of the images, those whose true class is above the threshold.
    pub recall: Rate,
}

/// Micro-averaged precision and recall at `threshold` (Zhong's table 3 reports these at 0.5).
///
/// # Panics
/// When `level` is not between 0 and 1.
#[track_caller]
pub fn at_threshold(all: &Predictions, threshold: f64, method: Proportion, level: f64) -> ThresholdScores {
    let above = |p: &f64| *p > threshold;
    let predicted: usize = all.rows.iter().map(|r| r.probabilities.iter().filter(|p| above(p)).count()).sum();
    let hits = all.rows.iter().filter(|r| above(&r.probabilities[r.truth])).count();
    ThresholdScores {
        threshold,
        precision: Rate::new(hits as u64, predicted as u64, method, level),
        recall: Rate::new(hits as u64, all.rows.len() as u64, method, level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::interval::wilson;
    use crate::eval::predictions::Prediction;

    #[test]
    fn rates_of_three_classes() {
        let classes = ["a", "b", "c"].map(String::from);
        let matrix = Confusion { classes: classes.to_vec(), counts: vec![vec![8, 2, 0], vec![1, 5, 0], vec![0, 4, 0]] };
        let rates = class_rates(&matrix, Proportion::Wilson, 0.95);
        let counts = |r: &Rate| (r.successes, r.trials);
        let b = &rates[1];
        assert_eq!([&b.sensitivity, &b.specificity, &b.ppv, &b.npv].map(counts), [(5, 6), (8, 14), (5, 11), (8, 9)]);
        assert_eq!(b.ppv.interval, wilson(5, 11, 0.95));
        assert_eq!(b.ppv_family, wilson(5, 11, 1.0 - 0.05 / 6.0));
        // statsmodels: proportion_confint(5, 11, alpha=0.05 / 6, method="wilson")
        let together = b.ppv_family.unwrap();
        assert!(
            (together.low - 0.1616855635219831).abs() < 1e-9 && (together.high - 0.7826363936858192).abs() < 1e-9,
            "{together:?}"
        );
        let c = &rates[2];
        assert_eq!((c.ppv.value, c.ppv.interval, c.ppv_family), (None, None, None), "never predicted");
        assert_eq!([&c.sensitivity, &c.specificity, &c.npv].map(counts), [(0, 4), (16, 16), (16, 20)]);
        let exact = class_rates(&matrix, Proportion::ClopperPearson, 0.9);
        assert_eq!(exact[0].npv.interval, Proportion::ClopperPearson.interval(9, 11, 0.9));
        assert_eq!((family_size(2), family_size(3)), (2, 6));
    }

    #[test]
    fn keras_counts_only_what_is_above_one_half() {
        let row = |truth: usize, p: [f64; 3]| Prediction {
            image: format!("{p:?}"),
            patient: String::new(),
            fold: 0,
            truth,
            probabilities: p.to_vec(),
        };
        let rows = vec![
            row(0, [0.6, 0.3, 0.1]),
            row(1, [0.4, 0.45, 0.15]),
            row(2, [0.7, 0.1, 0.2]),
            row(0, [0.5, 0.5, 0.0]),
            row(2, [0.05, 0.05, 0.9]),
        ];
        let all = Predictions { classes: ["a", "b", "c"].map(String::from).to_vec(), rows };
        let s = at_threshold(&all, 0.5, Proportion::Wilson, 0.95);
        // keras.metrics.Precision()(one_hot, p) = 2 / 3, Recall() = 2 / 5.
        assert_eq!((s.precision.successes, s.precision.trials, s.recall.trials), (2, 3, 5));
        let none = at_threshold(&all, 0.95, Proportion::Wilson, 0.95);
        assert_eq!((none.precision.value, none.recall.value), (None, Some(0.0)));
    }
}
