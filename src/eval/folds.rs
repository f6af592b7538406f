//! One tested fold of a cross-validation, and all of them pooled.

use crate::error::{Error, Result};
use crate::eval::confusion::{Averages, ClassScores, Confusion};
use crate::eval::interval::{Interval, student_t, wilson};
use serde::{Deserialize, Serialize};

/// How the weights came about that a fold was tested with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldTraining {
    /// Images that were trained on.
    pub train_images: u64,
    /// Images that chose the best epoch (a part of the training folds).
    pub validation_images: u64,
    /// Patients of the test fold.
    pub test_patients: u64,
    /// Epoch (from 1) whose weights were kept.
    pub best_epoch: Option<u32>,
    /// Validation accuracy of that epoch.
    pub validation_accuracy: Option<f64>,
    /// Wall-clock time of training and testing the fold.
    pub seconds: f64,
    /// SHA-256 of the weights.
    pub weights_sha256: String,
}

/// One fold of the cross-validation, tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldMetrics {
    /// Number of the fold, from 1.
    pub fold: u32,
    /// Test images.
    pub images: u64,
    /// Test images that were classified correctly.
    pub correct: u64,
    /// `correct / images`.
    pub accuracy: f64,
    /// Wilson interval of the accuracy, images taken as independent.
    pub accuracy_interval: Interval,
    /// Counts of true and predicted class.
    pub confusion: Confusion,
    /// Scores of each class.
    pub per_class: Vec<ClassScores>,
    /// How the weights came about.
    pub training: FoldTraining,
}

impl FoldMetrics {
    /// The figures of fold `fold` (from 1) out of its confusion matrix.
    ///
    /// # Errors
    /// [`Error::Data`] for a matrix without images or of wrong shape.
    pub fn new(fold: u32, confusion: Confusion, training: FoldTraining) -> Result<FoldMetrics> {
        confusion.validate()?;
        let (images, correct) = (confusion.total(), confusion.correct());
        let (Some(accuracy), Some(accuracy_interval)) = (confusion.accuracy(), wilson(correct, images, 0.95)) else {
            return Err(Error::Data(format!("fold {fold}: no test image")));
        };
        let per_class = confusion.per_class();
        Ok(FoldMetrics { fold, images, correct, accuracy, accuracy_interval, confusion, per_class, training })
    }
}

/// All tested folds together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overall {
    /// Number of folds that were tested.
    pub folds: u32,
    /// Test images of all of them.
    pub images: u64,
    /// Of these, classified correctly.
    pub correct: u64,
    /// `correct / images`.
    pub accuracy: f64,
    /// Wilson interval of the accuracy, images taken as independent.
    pub accuracy_interval: Interval,
    /// Mean of the folds' accuracies.
    pub fold_mean: f64,
    /// t interval of that mean; `None` for one fold.
    pub fold_interval: Option<Interval>,
    /// Mean recall of the classes that have images.
    pub balanced_accuracy: Option<f64>,
    /// Counts of true and predicted class.
    pub confusion: Confusion,
    /// Scores of each class.
    pub per_class: Vec<ClassScores>,
    /// Unweighted mean of the scores.
    pub macro_average: Averages,
    /// Mean of the scores weighted by support.
    pub weighted_average: Averages,
}

impl Overall {
    /// Pools `folds`; `None` when there are none.
    ///
    /// # Errors
    /// [`Error::Data`] when the folds are over different classes or hold no image.
    pub fn pool(folds: &[FoldMetrics]) -> Result<Option<Overall>> {
        let Some((first, rest)) = folds.split_first() else { return Ok(None) };
        let mut confusion = first.confusion.clone();
        for fold in rest {
            confusion.merge(&fold.confusion)?;
        }
        let (images, correct) = (confusion.total(), confusion.correct());
        let (Some(accuracy), Some(accuracy_interval)) = (confusion.accuracy(), wilson(correct, images, 0.95)) else {
            return Err(Error::Data("the folds hold no test image".into()));
        };
        let accuracies: Vec<f64> = folds.iter().map(|f| f.accuracy).collect();
        Ok(Some(Overall {
            folds: folds.len() as u32,
            images,
            correct,
            accuracy,
            accuracy_interval,
            fold_mean: accuracies.iter().sum::<f64>() / accuracies.len() as f64,
            fold_interval: student_t(&accuracies, 0.95),
            balanced_accuracy: confusion.balanced_accuracy(),
            per_class: confusion.per_class(),
            macro_average: confusion.macro_average(),
            weighted_average: confusion.weighted_average(),
            confusion,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training() -> FoldTraining {
        FoldTraining {
            train_images: 700,
            validation_images: 90,
            test_patients: 150,
            best_epoch: Some(7),
            validation_accuracy: Some(0.6),
            seconds: 12.5,
            weights_sha256: "ab".repeat(32),
        }
    }

    fn fold(number: u32, counts: [[u64; 2]; 2]) -> FoldMetrics {
        let classes = vec!["normal".to_string(), "COVID-19".to_string()];
        let counts = counts.iter().map(|r| r.to_vec()).collect();
        FoldMetrics::new(number, Confusion { classes, counts }, training()).unwrap()
    }

    #[test]
    fn pooling_gives_both_intervals() {
        let overall = Overall::pool(&[fold(1, [[8, 2], [0, 0]]), fold(2, [[9, 1], [0, 0]])]).unwrap().unwrap();
        assert_eq!((overall.images, overall.correct, overall.folds), (20, 17, 2));
        assert!((overall.accuracy - 0.85).abs() < 1e-12);
        assert_eq!(overall.accuracy_interval, wilson(17, 20, 0.95).unwrap());
        assert_eq!(overall.fold_interval, student_t(&[0.8, 0.9], 0.95));
        assert_eq!(Overall::pool(&[]).unwrap(), None);
        let empty = Confusion::new(&["a".to_string()]);
        assert!(FoldMetrics::new(3, empty, training()).unwrap_err().to_string().contains("fold 3: no test image"));
    }
}
