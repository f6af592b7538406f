//! Confusion matrix, scores per class and their averages, and the classification report in scikit-learn's layout.

use crate::error::{Error, Result};
use crate::eval::interval::{Interval, wilson};
use serde::{Deserialize, Serialize};

/// Counts of (true class, predicted class) over K classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Names of the K classes.
    pub classes: Vec<String>,
    /// K rows (true class) of K columns (predicted class).
    pub counts: Vec<Vec<u64>>,
}

/// Scores of one class. A score whose denominator is 0 is `None`, not 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Name of the class.
    pub class: String,
    /// Images that are of this class.
    pub support: u64,
    /// Images that were predicted to be of this class.
    pub predicted: u64,
    /// Images for which both hold.
    pub correct: u64,
    /// `correct / predicted` (positive predictive value); `None` when the class was never predicted.
    pub precision: Option<f64>,
    /// Wilson interval of the precision.
    pub precision_interval: Option<Interval>,
    /// `correct / support` (sensitivity); `None` when no image is of this class.
    pub recall: Option<f64>,
    /// Wilson interval of the recall.
    pub recall_interval: Option<Interval>,
    /// `2 correct / (support + predicted)`; `None` when both are 0.
    pub f1: Option<f64>,
}

/// Averages of the scores over the classes. As in scikit-learn an undefined score enters as 0; `undefined` says how
/// many did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// Average precision over classes.
    pub precision: f64,
    /// Average recall over classes.
    pub recall: f64,
    /// Average F1 over classes.
    pub f1: f64,
    /// Scores with denominator 0 that entered as 0.
    pub undefined: usize,
}

impl Confusion {
    /// An empty matrix over `classes`.
    pub fn new(classes: &[String]) -> Confusion {
        Confusion { classes: classes.to_vec(), counts: vec![vec![0; classes.len()]; classes.len()] }
    }

    /// Counts `truth[i]`, `predicted[i]` (class indices).
    ///
    /// # Errors
    /// [`Error::Data`] when the lengths differ or an index is not below the number of classes.
    pub fn from_labels(classes: &[String], truth: &[usize], predicted: &[usize]) -> Result<Confusion> {
        if truth.len() != predicted.len() {
            let (t, p) = (truth.len(), predicted.len());
            return Err(Error::Data(format!("confusion matrix: {t} true labels but {p} predictions")));
        }
        let mut matrix = Confusion::new(classes);
        for (i, (&t, &p)) in truth.iter().zip(predicted).enumerate() {
            let k = classes.len();
            let cell = matrix.counts.get_mut(t).and_then(|row| row.get_mut(p)).ok_or_else(|| {
                Error::Data(format!(
                    "confusion matrix: image {i} has true class {t} and predicted class {p}, of {k} classes"
                ))
            })?;
            *cell += 1;
        }
        Ok(matrix)
    }

    /// Adds the counts of `other`, as when folds are pooled.
    ///
    /// # Errors
    /// [`Error::Data`] when the classes differ.
    pub fn merge(&mut self, other: &Confusion) -> Result<()> {
        self.validate()?;
        other.validate()?;
        if self.classes != other.classes {
            let (a, b) = (self.classes.join(", "), other.classes.join(", "));
            return Err(Error::Data(format!("confusion matrices over different classes: {a} against {b}")));
        }
        for (cell, more) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *cell += more;
        }
        Ok(())
    }

    /// That `counts` is K×K; a matrix read from a file may be anything.
    ///
    /// # Errors
    /// [`Error::Data`] that says what there is.
    pub fn validate(&self) -> Result<()> {
        let k = self.classes.len();
        match self.counts.iter().map(Vec::len).find(|&columns| columns != k) {
            Some(columns) => Err(Error::Data(format!("confusion matrix: a row of {columns} counts for {k} classes"))),
            None if self.counts.len() != k => {
                Err(Error::Data(format!("confusion matrix: {} rows for {k} classes", self.counts.len())))
            }
            None => Ok(()),
        }
    }

    /// Number of images.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Number of images on the diagonal.
    pub fn correct(&self) -> u64 {
        self.counts.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum()
    }

    /// Share of images on the diagonal; `None` without images.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.correct(), self.total())
    }

    /// Mean of the recalls of the classes that have images (balanced accuracy); `None` without images.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let recalls: Vec<f64> =
            (0..self.classes.len()).filter_map(|i| ratio(self.counts[i][i], self.support(i))).collect();
        (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
    }

    /// Images of class `i`.
    pub fn support(&self, i: usize) -> u64 {
        self.counts[i].iter().sum()
    }

    /// Share of the images of true class `row` that were predicted as `column`; `None` when that class has no image.
    pub fn row_share(&self, row: usize, column: usize) -> Option<f64> {
        ratio(self.counts[row][column], self.support(row))
    }

    /// Scores of each class with Wilson intervals at 95 %, in the order of `classes`.
    pub fn per_class(&self) -> Vec<ClassScores> {
        let scores = |(i, class): (usize, &String)| {
            let (support, correct) = (self.support(i), self.counts[i][i]);
            let predicted = self.counts.iter().map(|row| row[i]).sum();
            ClassScores {
                class: class.clone(),
                support,
                predicted,
                correct,
                precision: ratio(correct, predicted),
                precision_interval: wilson(correct, predicted, 0.95),
                recall: ratio(correct, support),
                recall_interval: wilson(correct, support, 0.95),
                f1: ratio(2 * correct, support + predicted),
            }
        };
        self.classes.iter().enumerate().map(scores).collect()
    }

    /// Unweighted mean of the scores over all classes, also those without images (as scikit-learn with `labels=`).
    pub fn macro_average(&self) -> Averages {
        let scores = self.per_class();
        let weights = vec![1.0; scores.len()];
        average(&scores, &weights)
    }

    /// Mean of the scores over the classes, weighted by support.
    pub fn weighted_average(&self) -> Averages {
        let scores = self.per_class();
        let weights: Vec<f64> = scores.iter().map(|s| s.support as f64).collect();
        average(&scores, &weights)
    }

    /// The text of scikit-learn's `classification_report` with `digits` decimals, byte for byte: undefined scores show
    /// as 0. What was undefined is in [`Confusion::undefined_notes`], which belongs below it.
    pub fn classification_report(&self, digits: usize) -> String {
        let width = self.classes.iter().map(|c| c.chars().count()).chain([12, digits]).max().unwrap_or(12);
        let mut text = format!("{:>width$} ", "");
        for title in ["precision", "recall", "f1-score", "support"] {
            text += &format!(" {title:>9}");
        }
        text += "\n\n";
        let row = |name: &str, p: f64, r: f64, f: f64, n: u64| {
            format!("{name:>width$}  {p:>9.digits$} {r:>9.digits$} {f:>9.digits$} {n:>9}\n")
        };
        for s in self.per_class() {
            let zero = |x: Option<f64>| x.unwrap_or(0.0);
            text += &row(&s.class, zero(s.precision), zero(s.recall), zero(s.f1), s.support);
        }
        let (accuracy, total) = (self.accuracy().unwrap_or(0.0), self.total());
        text += &format!("\n{:>width$}  {:>9} {:>9} {accuracy:>9.digits$} {total:>9}\n", "accuracy", "", "");
        for (name, a) in [("macro avg", self.macro_average()), ("weighted avg", self.weighted_average())] {
            text += &row(name, a.precision, a.recall, a.f1, total);
        }
        text
    }

    /// One sentence per score whose denominator is 0.
    pub fn undefined_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for s in self.per_class() {
            if s.precision.is_none() {
                notes.push(format!(
                    "precision of {} is undefined (never predicted) and counts as 0 in averages",
                    s.class
                ));
            }
            if s.recall.is_none() {
                notes.push(format!("recall of {} is undefined (no image of it) and counts as 0 in averages", s.class));
            }
            if s.f1.is_none() {
                notes.push(format!(
                    "F1 of {} is undefined (never predicted, no image of it) and counts as 0 in averages",
                    s.class
                ));
            }
        }
        notes
    }
}

/// `a / b`, or `None` when `b` is 0.
fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}

fn average(scores: &[ClassScores], weights: &[f64]) -> Averages {
    let total: f64 = weights.iter().sum();
    let mean = |get: fn(&ClassScores) -> Option<f64>| {
        let sum: f64 = scores.iter().zip(weights).map(|(s, w)| w * get(s).unwrap_or(0.0)).sum();
        if total > 0.0 { sum / total } else { 0.0 }
    };
    let undefined = scores.iter().flat_map(|s| [s.precision, s.recall, s.f1]).filter(Option::is_none).count();
    Averages { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1), undefined }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|s| s.to_string()).collect()
    }

    fn four() -> Confusion {
        let classes = names(&["normal", "pneumonia", "other disease", "COVID-19"]);
        let truth = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3];
        let predicted = [0, 0, 0, 1, 2, 1, 1, 1, 0, 2, 2, 2, 1, 2, 3, 3, 3, 3];
        Confusion::from_labels(&classes, &truth, &predicted).unwrap()
    }

    // Expected texts and averages: scikit-learn 1.9.1, classification_report(y, p, labels=..., target_names=...).
    #[test]
    fn report_is_scikit_learns() {
        let m = four();
        assert_eq!(m.counts, [[3, 1, 1, 0], [1, 3, 0, 0], [0, 1, 4, 1], [0, 0, 0, 3]]);
        let want = "               precision    recall  f1-score   support\n\n       normal       0.75      0.60      0.67         5\n    pneumonia       0.60      0.75      0.67         4\nother disease       0.80      0.67      0.73         6\n     COVID-19       0.75      1.00      0.86         3\n\n     accuracy                           0.72        18\n    macro avg       0.73      0.75      0.73        18\n weighted avg       0.73      0.72      0.72        18\n";
        assert_eq!(m.classification_report(2), want);
        let want = "               precision    recall  f1-score   support\n\n       normal     0.7500    0.6000    0.6667         5\n    pneumonia     0.6000    0.7500    0.6667         4\nother disease     0.8000    0.6667    0.7273         6\n     COVID-19     0.7500    1.0000    0.8571         3\n\n     accuracy                         0.7222        18\n    macro avg     0.7250    0.7542    0.7294        18\n weighted avg     0.7333    0.7222    0.7186        18\n";
        assert_eq!(m.classification_report(4), want);
        assert!(m.undefined_notes().is_empty());
    }

    #[test]
    fn classes_never_predicted_or_absent_are_reported() {
        let classes = names(&["a", "b", "never predicted", "absent"]);
        let m = Confusion::from_labels(&classes, &[0, 0, 1, 1, 1, 2], &[0, 1, 1, 1, 0, 0]).unwrap();
        let want = "                 precision    recall  f1-score   support\n\n              a       0.33      0.50      0.40         2\n              b       0.67      0.67      0.67         3\nnever predicted       0.00      0.00      0.00         1\n         absent       0.00      0.00      0.00         0\n\n       accuracy                           0.50         6\n      macro avg       0.25      0.29      0.27         6\n   weighted avg       0.44      0.50      0.47         6\n";
        assert_eq!(m.classification_report(2), want);
        let s = m.per_class();
        assert_eq!((s[2].precision, s[2].recall, s[2].f1), (None, Some(0.0), Some(0.0)));
        assert_eq!((s[3].precision, s[3].recall, s[3].f1), (None, None, None));
        assert_eq!(m.undefined_notes().len(), 4);
        assert_eq!(m.macro_average().undefined, 4);
        assert!((m.macro_average().recall - 0.291_666_666_666_666_6).abs() < 1e-12);
        // Over the three classes that have images: (1/2 + 2/3 + 0) / 3.
        assert!((m.balanced_accuracy().unwrap() - 7.0 / 18.0).abs() < 1e-12);
    }

    #[test]
    fn pooling_adds_and_refuses_other_classes() {
        let mut m = four();
        m.merge(&four()).unwrap();
        assert_eq!((m.total(), m.correct()), (36, 26));
        assert_eq!(m.accuracy(), four().accuracy());
        let e = m.merge(&Confusion::new(&names(&["a", "b"]))).unwrap_err();
        assert!(e.to_string().contains("different classes"), "{e}");
    }

    #[test]
    fn labels_out_of_range_are_errors_and_nothing_is_none() {
        let two = names(&["a", "b"]);
        let e = Confusion::from_labels(&two, &[0, 2], &[0, 1]).unwrap_err();
        assert_eq!(e.to_string(), "confusion matrix: image 1 has true class 2 and predicted class 1, of 2 classes");
        assert!(Confusion::from_labels(&two, &[0], &[]).is_err());
        assert_eq!(Confusion::new(&two).accuracy(), None);
        assert_eq!(Confusion::new(&two).balanced_accuracy(), None);
        let ragged = Confusion { classes: two, counts: vec![vec![1, 2], vec![3]] };
        assert!(ragged.validate().unwrap_err().to_string().contains("a row of 1 counts for 2 classes"));
    }
}
