//! The statistics of [`crate::eval::assessment`] under weights: what one resample of the bootstrap computes.

use crate::eval::calibration::Calibration;
use crate::eval::predictions::Predictions;
use crate::eval::ranking::Ranking;

/// Figures of all classes together, in the order of [`Resampler::statistics`].
const OVERALL: [&str; 8] =
    ["accuracy", "balanced accuracy", "macro f1", "ece", "brier", "log loss", "macro auc", "macro ap"];
/// Figures of each class.
const PER_CLASS: [&str; 6] = ["auc", "ap", "sensitivity", "specificity", "ppv", "npv"];

/// All that does not change from resample to resample.
pub(crate) struct Resampler<'a> {
    calibration: &'a Calibration,
    classes: usize,
    truth: Vec<usize>,
    predicted: Vec<usize>,
    /// Per class the order of its scores and which images are of it.
    ranked: Vec<(Ranking, Vec<bool>)>,
}

impl<'a> Resampler<'a> {
    pub fn new(all: &Predictions, calibration: &'a Calibration) -> Resampler<'a> {
        let (classes, truth) = (all.classes.len(), all.truths());
        let ranked =
            (0..classes).map(|k| (Ranking::new(&all.scores(k)), truth.iter().map(|t| *t == k).collect())).collect();
        Resampler { calibration, classes, predicted: all.predicted(), truth, ranked }
    }

    /// Where a figure of all classes is.
    pub fn index(&self, name: &str) -> usize {
        OVERALL.iter().position(|n| *n == name).unwrap_or_else(|| unreachable!("statistic {name}"))
    }

    /// Where a figure of class `k` is.
    pub fn index_of(&self, name: &str, k: usize) -> usize {
        let at = PER_CLASS.iter().position(|n| *n == name).unwrap_or_else(|| unreachable!("statistic {name}"));
        OVERALL.len() + k * PER_CLASS.len() + at
    }

    /// All figures with image `i` counting `weights[i]` times; `None` where one is not defined. A mean over classes is
    /// not defined when a class of the data was not drawn: it would be the mean of something else.
    pub fn statistics(&self, weights: &[f64]) -> Vec<Option<f64>> {
        let k = self.classes;
        let (mut support, mut predicted, mut correct) = (vec![0.0; k], vec![0.0; k], vec![0.0; k]);
        for (i, w) in weights.iter().enumerate() {
            support[self.truth[i]] += w;
            predicted[self.predicted[i]] += w;
            if self.truth[i] == self.predicted[i] {
                correct[self.truth[i]] += w;
            }
        }
        let total: f64 = support.iter().sum();
        let ratio = |a: f64, b: f64| (b > 0.0).then(|| a / b);
        let weight = |i: usize| weights[i];
        let there: Vec<usize> = (0..k).filter(|&c| self.ranked[c].1.contains(&true)).collect();
        let drawn = there.iter().all(|&c| support[c] > 0.0);
        let aucs: Vec<Option<f64>> = self.ranked.iter().map(|(r, own)| r.auc(own, weight)).collect();
        let aps: Vec<Option<f64>> = self.ranked.iter().map(|(r, own)| r.average_precision(own, weight)).collect();
        let f1 = |c: usize| ratio(2.0 * correct[c], support[c] + predicted[c]).unwrap_or(0.0);
        let mean = |values: Vec<f64>| ratio(values.iter().sum(), values.len() as f64).filter(|_| drawn);
        let mean_of = |all: &[Option<f64>]| mean(all.iter().flatten().copied().collect());
        let mut out = vec![
            ratio(correct.iter().sum(), total),
            mean(there.iter().map(|&c| correct[c] / support[c]).collect()),
            mean((0..k).map(f1).collect()),
            self.calibration.ece(weight),
            self.calibration.brier(weight),
            self.calibration.log_loss(weight),
            mean_of(&aucs),
            mean_of(&aps),
        ];
        for c in 0..k {
            let neither = total + correct[c] - support[c] - predicted[c];
            out.extend([
                aucs[c],
                aps[c],
                ratio(correct[c], support[c]),
                ratio(neither, total - support[c]),
                ratio(correct[c], predicted[c]),
                ratio(neither, total - predicted[c]),
            ]);
        }
        out
    }
}
