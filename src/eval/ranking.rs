//! Scores in ascending order with their ties, from which ROC-AUC, average precision and the ROC curve are read off in one
//! pass, also under weights: a bootstrap sorts once and not in each resample.

/// The order of some scores.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Indices of the scores, ascending.
    order: Vec<usize>,
    /// Where each run of equal scores ends in `order` (exclusive).
    ends: Vec<usize>,
}

/// One point of a ROC curve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RocPoint {
    /// 1 - specificity.
    pub false_positive_rate: f64,
    /// Sensitivity.
    pub true_positive_rate: f64,
    /// Scores from here on count as positive; infinite at the first point, where nothing does.
    #[serde(skip)]
    pub threshold: f64,
}

impl Ranking {
    /// Ranks `scores`, which must not be NaN.
    pub fn new(scores: &[f64]) -> Ranking {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let mut ends: Vec<usize> = (1..order.len()).filter(|&i| scores[order[i]] != scores[order[i - 1]]).collect();
        if !order.is_empty() {
            ends.push(order.len());
        }
        Ranking { order, ends }
    }

    /// Indices with equal scores, groups in ascending order.
    fn groups(&self) -> impl DoubleEndedIterator<Item = &[usize]> {
        let start = |g: usize| if g == 0 { 0 } else { self.ends[g - 1] };
        (0..self.ends.len()).map(move |g| &self.order[start(g)..self.ends[g]])
    }

    /// Rank of each score from 1; equal scores share the mean of their ranks.
    pub fn midranks(&self) -> Vec<f64> {
        let (mut ranks, mut below) = (vec![0.0; self.order.len()], 0);
        for group in self.groups() {
            let rank = below as f64 + 0.5 * (group.len() + 1) as f64;
            group.iter().for_each(|&i| ranks[i] = rank);
            below += group.len();
        }
        ranks
    }

    /// Area under the ROC curve: the share of (positive, negative) pairs in which the positive has the larger score, ties
    /// counting one half; each image counts `weight(i)` times. `None` without a positive or without a negative.
    pub fn auc(&self, positive: &[bool], weight: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut positives, mut negatives, mut pairs) = (0.0, 0.0, 0.0);
        for group in self.groups() {
            let (p, n) = sums(group, positive, &weight);
            pairs += p * (negatives + 0.5 * n);
            positives += p;
            negatives += n;
        }
        (positives > 0.0 && negatives > 0.0).then(|| pairs / (positives * negatives))
    }

    /// Average precision, the sum of precision × step in recall over all thresholds (scikit-learn's
    /// `average_precision_score`; no interpolation). `None` without a positive.
    pub fn average_precision(&self, positive: &[bool], weight: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut hits, mut all, mut sum) = (0.0, 0.0, 0.0);
        for group in self.groups().rev() {
            let (p, n) = sums(group, positive, &weight);
            hits += p;
            all += p + n;
            if p > 0.0 {
                sum += p * hits / all;
            }
        }
        (hits > 0.0).then(|| sum / hits)
    }

    /// The ROC curve from (0, 0) to (1, 1), one point per distinct score; empty without a positive or a negative. `scores`
    /// are those that were ranked.
    pub fn roc_curve(&self, positive: &[bool], scores: &[f64]) -> Vec<RocPoint> {
        let positives = positive.iter().filter(|p| **p).count() as f64;
        let negatives = positive.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        let (mut p, mut n) = (0.0, 0.0);
        let first = RocPoint { false_positive_rate: 0.0, true_positive_rate: 0.0, threshold: f64::INFINITY };
        let mut points = vec![first];
        for group in self.groups().rev() {
            let (more_p, more_n) = sums(group, positive, &|_| 1.0);
            p += more_p;
            n += more_n;
            points.push(RocPoint {
                false_positive_rate: n / negatives,
                true_positive_rate: p / positives,
                threshold: group.first().map_or(f64::NAN, |&i| scores[i]),
            });
        }
        points
    }
}

/// Weight of the positives and of the negatives in a group.
fn sums(group: &[usize], positive: &[bool], weight: &impl Fn(usize) -> f64) -> (f64, f64) {
    group.iter().fold((0.0, 0.0), |(p, n), &i| if positive[i] { (p + weight(i), n) } else { (p, n + weight(i)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    // scikit-learn 1.9.1: roc_auc_score, average_precision_score, roc_curve(drop_intermediate=False).
    const SCORES: [f64; 10] = [0.1, 0.4, 0.4, 0.35, 0.8, 0.8, 0.7, 0.2, 0.4, 0.9];
    const POSITIVE: [bool; 10] = [false, false, true, true, true, false, true, false, false, true];
    const WEIGHTS: [f64; 10] = [1.0, 0.0, 2.0, 1.0, 3.0, 1.0, 0.0, 1.0, 1.0, 2.0];

    #[test]
    fn areas_agree_with_scikit_learn() {
        let r = Ranking::new(&SCORES);
        assert!((r.auc(&POSITIVE, |_| 1.0).unwrap() - 0.74).abs() < 1e-15);
        assert!((r.auc(&POSITIVE, |i| WEIGHTS[i]).unwrap() - 0.796875).abs() < 1e-15);
        assert!((r.average_precision(&POSITIVE, |_| 1.0).unwrap() - 0.7226190476190475).abs() < 1e-15);
        assert!((r.average_precision(&POSITIVE, |i| WEIGHTS[i]).unwrap() - 0.8569444444444445).abs() < 1e-15);
        let curve = r.roc_curve(&POSITIVE, &SCORES);
        let points: Vec<_> = curve.iter().map(|p| (p.false_positive_rate, p.true_positive_rate, p.threshold)).collect();
        let want = [(0.0, 0.0, f64::INFINITY), (0.0, 0.2, 0.9), (0.2, 0.4, 0.8), (0.2, 0.6, 0.7), (0.6, 0.8, 0.4)];
        assert_eq!(points[..5], want);
        assert_eq!(points[5..], [(0.6, 1.0, 0.35), (0.8, 1.0, 0.2), (1.0, 1.0, 0.1)]);
    }

    #[test]
    fn ties_absent_classes_and_no_scores() {
        assert_eq!(Ranking::new(&[0.4, 0.1, 0.4, 0.4, 0.9]).midranks(), [3.0, 1.0, 3.0, 3.0, 5.0]);
        let tied = Ranking::new(&[0.5; 4]);
        let mixed = [true, false, false, false];
        assert_eq!((tied.auc(&mixed, |_| 1.0), tied.average_precision(&mixed, |_| 1.0)), (Some(0.5), Some(0.25)));
        assert_eq!((tied.auc(&[true; 4], |_| 1.0), tied.auc(&[false; 4], |_| 1.0)), (None, None));
        assert_eq!(tied.average_precision(&[false; 4], |_| 1.0), None);
        assert_eq!(tied.auc(&mixed, |i| f64::from(u8::from(i > 0))), None, "the positive was not drawn");
        let none = Ranking::new(&[]);
        assert_eq!((none.auc(&[], |_| 1.0), none.midranks().len(), none.roc_curve(&[], &[]).len()), (None, 0, 0));
        assert_eq!(Ranking::new(&[0.3]).average_precision(&[true], |_| 1.0), Some(1.0));
    }
}
