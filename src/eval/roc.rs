//! Area under the ROC curve with DeLong's variance, one-vs-rest, averaged over classes, and for two models on the same
//! images.
//!
//! DeLong, DeLong and Clarke-Pearson 1988 (<https://doi.org/10.2307/2531595>), computed from midranks as Sun and Xu 2014
//! (<https://doi.org/10.1109/LSP.2014.2337313>) do: O(n log n), ties exact. Images are taken as independent; where
//! patients have several, the patient-clustered bootstrap stands beside it ([`crate::eval::bootstrap`]).

use crate::eval::interval::{Interval, Method, normal_interval, normal_p_value};
use crate::eval::ranking::Ranking;
use serde::Serialize;

/// An area under the ROC curve and what each image contributes to its error.
#[derive(Debug, Clone, PartialEq)]
pub struct RocAuc {
    /// The area, 0.5 for scores that say nothing.
    pub auc: f64,
    /// Per image DeLong's structural component, centred and scaled so that the sum of squares is the variance, and the
    /// sum of products of two areas over the same images their covariance. `None` with a single positive or negative.
    influence: Option<Vec<f64>>,
}

impl RocAuc {
    /// Area of `scores` (not NaN) for telling `positive` images from the others; `None` without a positive or a
    /// negative.
    ///
    /// # Panics
    /// When the lengths differ.
    #[track_caller]
    pub fn of(scores: &[f64], positive: &[bool]) -> Option<RocAuc> {
        assert_eq!(scores.len(), positive.len(), "ROC-AUC: {} scores, {} labels", scores.len(), positive.len());
        let (ours, theirs): (Vec<usize>, Vec<usize>) = (0..scores.len()).partition(|&i| positive[i]);
        if ours.is_empty() || theirs.is_empty() {
            return None;
        }
        let (m, n) = (ours.len() as f64, theirs.len() as f64);
        let all = Ranking::new(scores).midranks();
        let among = |of: &[usize]| Ranking::new(&of.iter().map(|&i| scores[i]).collect::<Vec<_>>()).midranks();
        // For a positive the share of negatives below it, for a negative the share of positives above it.
        let mut component = vec![0.0; scores.len()];
        for (&i, rank) in ours.iter().zip(among(&ours)) {
            component[i] = (all[i] - rank) / n;
        }
        for (&i, rank) in theirs.iter().zip(among(&theirs)) {
            component[i] = 1.0 - (all[i] - rank) / m;
        }
        let auc = ours.iter().map(|&i| component[i]).sum::<f64>() / m;
        let influence = (m > 1.0 && n > 1.0).then(|| {
            let scale = |i: usize| if positive[i] { (m * (m - 1.0)).sqrt() } else { (n * (n - 1.0)).sqrt() };
            (0..scores.len()).map(|i| (component[i] - auc) / scale(i)).collect()
        });
        Some(RocAuc { auc, influence })
    }

    /// The mean of several areas over the same images, as of the classes one-vs-rest (macro average). Its variance holds
    /// the covariances: the same images are in all of them. `None` for no area.
    ///
    /// # Panics
    /// When the areas are over different numbers of images.
    #[track_caller]
    pub fn mean(areas: &[RocAuc]) -> Option<RocAuc> {
        let first = areas.first()?;
        let k = areas.len() as f64;
        let auc = areas.iter().map(|a| a.auc).sum::<f64>() / k;
        let add = |sum: Vec<f64>, a: &RocAuc| combine(&sum, a.influence.as_ref()?, |x, y| x + y / k);
        let zero = first.influence.as_ref().map(|i| vec![0.0; i.len()]);
        let influence = zero.and_then(|zero| areas.iter().try_fold(zero, add));
        Some(RocAuc { auc, influence })
    }

    /// DeLong's variance; `None` with a single positive or negative.
    pub fn variance(&self) -> Option<f64> {
        self.influence.as_ref().map(|i| i.iter().map(|x| x * x).sum())
    }

    /// Normal interval with DeLong's variance, cut at 0 and 1. `None` where the variance is not defined or 0: under
    /// perfect separation the method claims a certainty that the images do not give.
    ///
    /// # Panics
    /// When `level` is not between 0 and 1.
    #[track_caller]
    pub fn interval(&self, level: f64) -> Option<Interval> {
        let i = normal_interval(self.auc, self.variance()?.sqrt(), level, Method::DeLong)?;
        Some(Interval { low: i.low.max(0.0), high: i.high.min(1.0), ..i })
    }
}

/// Difference of two areas over the same images, and the test that it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AucDifference {
    /// Area of the first minus that of the second.
    pub difference: f64,
    /// Interval of the difference; `None` when its variance is 0 or not defined.
    pub interval: Option<Interval>,
    /// The difference in standard errors.
    pub z: Option<f64>,
    /// Two-sided p value of `z`.
    pub p_value: Option<f64>,
}

/// DeLong's test for two correlated ROC curves: `a` and `b` are areas over the same images in the same order.
///
/// # Panics
/// When they are over different numbers of images or `level` is not between 0 and 1.
#[track_caller]
pub fn paired_delong(a: &RocAuc, b: &RocAuc, level: f64) -> AucDifference {
    let difference = a.auc - b.auc;
    let parts = a.influence.as_ref().zip(b.influence.as_ref()).and_then(|(x, y)| combine(x, y, |x, y| x - y));
    let error = parts.map(|d| d.iter().map(|x| x * x).sum::<f64>().sqrt());
    let interval = error.and_then(|e| normal_interval(difference, e, level, Method::DeLong));
    let z = error.filter(|e| *e > 0.0).map(|e| difference / e);
    AucDifference { difference, interval, z, p_value: z.map(normal_p_value) }
}

#[track_caller]
fn combine(a: &[f64], b: &[f64], with: impl Fn(f64, f64) -> f64) -> Option<Vec<f64>> {
    assert_eq!(a.len(), b.len(), "ROC-AUC: areas over {} and over {} images", a.len(), b.len());
    Some(a.iter().zip(b).map(|(x, y)| with(*x, *y)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: Option<f64>, want: f64) {
        assert!(got.is_some_and(|g| (g - want).abs() < 1e-10), "{got:?} is not {want}");
    }

    // Three classes, 14 images, two models with many ties (scores in twentieths). Figures: the textbook formula in Python,
    // comparing every positive with every negative, numpy.cov of the components.
    const TRUTH: [usize; 14] = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2];
    #[rustfmt::skip]
    const A: [[u8; 3]; 14] = [
        [12, 2, 6], [11, 7, 2], [9, 2, 9], [19, 1, 0], [4, 13, 3], [1, 17, 2], [4, 13, 3], [6, 12, 2], [4, 16, 0],
        [5, 9, 6], [1, 5, 14], [5, 2, 13], [1, 1, 18], [1, 6, 13],
    ];
    #[rustfmt::skip]
    const B: [[u8; 3]; 14] = [
        [2, 14, 4], [12, 7, 1], [6, 3, 11], [4, 14, 2], [5, 1, 14], [1, 17, 2], [6, 12, 2], [2, 16, 2], [5, 7, 8],
        [4, 9, 7], [4, 1, 15], [5, 6, 9], [14, 3, 3], [3, 12, 5],
    ];

    fn areas(scores: &[[u8; 3]; 14]) -> Vec<RocAuc> {
        let of = |k: usize| {
            let column: Vec<f64> = scores.iter().map(|s| f64::from(s[k]) / 20.0).collect();
            RocAuc::of(&column, &TRUTH.map(|t| t == k)).unwrap()
        };
        (0..3).map(of).collect()
    }

    #[test]
    fn variances_agree_with_the_textbook_formula() {
        let (a, b) = (areas(&A), areas(&B));
        for (got, auc, variance) in [
            (&a[0], 0.9111111111111111, 0.008858024691358025),
            (&a[1], 0.9444444444444444, 0.0037037037037037047),
            (&a[2], 1.0, 0.0),
            (&b[0], 0.6, 0.028549382716049385),
            (&b[1], 0.8, 0.01558641975308642),
            (&b[2], 0.725, 0.022638888888888892),
        ] {
            close(Some(got.auc), auc);
            close(got.variance(), variance);
        }
        let i = a[0].interval(0.95).unwrap();
        close(Some(i.low), 0.7266450245679645);
        assert_eq!((i.high, i.method), (1.0, Method::DeLong), "1.0956 is cut");
        assert_eq!(a[2].interval(0.95), None, "perfect separation");
        // The macro average: a double loop over classes and images.
        let mean = RocAuc::mean(&a).unwrap();
        close(Some(mean.auc), 0.9518518518518517);
        close(mean.variance(), 0.002561100590176467);
    }

    #[test]
    fn paired_test_agrees_with_the_textbook_formula() {
        let (a, b) = (areas(&A), areas(&B));
        for (k, [difference, low, high, z, p]) in [
            [0.3111111111111112, -0.08539268350278972, 0.7076149057250122, 1.5378581018670516, 0.12408331358605622],
            [0.14444444444444426, -0.14874247424433945, 0.437631363133228, 0.9656157585206685, 0.3342364869527634],
            [0.275, -0.019900592425543373, 0.5699005924255434, 1.8277009595516474, 0.06759444405953569],
        ]
        .into_iter()
        .enumerate()
        {
            let d = paired_delong(&a[k], &b[k], 0.95);
            close(Some(d.difference), difference);
            close(d.interval.map(|i| i.low), low);
            close(d.interval.map(|i| i.high), high);
            close(d.z, z);
            close(d.p_value, p);
        }
        let same = paired_delong(&a[0], &a[0], 0.95);
        assert_eq!((same.difference, same.interval, same.z, same.p_value), (0.0, None, None, None));
    }

    #[test]
    fn what_cannot_be_known_is_none() {
        assert_eq!(RocAuc::of(&[0.1, 0.9], &[true, true]), None);
        assert_eq!(RocAuc::of(&[], &[]), None);
        let single = RocAuc::of(&[0.1, 0.9, 0.2], &[false, true, false]).unwrap();
        assert_eq!((single.auc, single.variance(), single.interval(0.95)), (1.0, None, None));
        let tied = RocAuc::of(&[0.5; 6], &[true, true, true, false, false, false]).unwrap();
        assert_eq!((tied.auc, tied.variance(), tied.interval(0.95)), (0.5, Some(0.0), None));
        assert_eq!(RocAuc::mean(&[tied, RocAuc { auc: 1.0, influence: None }]).unwrap().variance(), None);
        assert_eq!(RocAuc::mean(&[]), None);
    }
}
