//! Every figure of a set of predictions, each with its interval and the name of the method.

use crate::error::Result;
use crate::eval::assessment_notes::remarks;
use crate::eval::bootstrap::{Bootstrap, Clusters};
use crate::eval::calibration::{Bin, Calibration, TemperatureScaling, probabilities};
use crate::eval::confusion::Confusion;
use crate::eval::interval::{Interval, student_t};
pub use crate::eval::options::AssessOptions;
use crate::eval::predictions::Predictions;
use crate::eval::ranking::Ranking;
use crate::eval::rates::{ClassRates, Rate, ThresholdScores, at_threshold, class_rates, family_size};
use crate::eval::regression::Regression;
use crate::eval::resample::Resampler;
use crate::eval::roc::RocAuc;
use serde::Serialize;

/// A figure with one interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The figure; `None` when it is not defined.
    pub value: Option<f64>,
    /// Its interval; `None` when there is none.
    pub interval: Option<Interval>,
}

/// Accuracy of one fold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FoldAccuracy {
    /// Number of the fold.
    pub fold: u32,
    /// Its accuracy.
    pub accuracy: Rate,
}

/// How well the probability of a class ranks its images above the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassRanking {
    /// Name of the class, or "macro average".
    pub class: String,
    /// Area under the ROC curve, one-vs-rest, with DeLong's interval.
    pub roc_auc: Figure,
    /// The same with the patient-clustered bootstrap.
    pub roc_auc_clustered: Option<Interval>,
    /// Average precision (area under the precision-recall curve) with the patient-clustered bootstrap.
    pub average_precision: Figure,
    /// Share of the images that are of the class: the average precision of scores that say nothing.
    pub prevalence: f64,
}

/// Patient-clustered intervals of a class's rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusteredRates {
    /// Name of the class.
    pub class: String,
    /// Of the sensitivity.
    pub sensitivity: Option<Interval>,
    /// Of the specificity.
    pub specificity: Option<Interval>,
    /// Of the positive predictive value.
    pub ppv: Option<Interval>,
    /// Of the negative predictive value.
    pub npv: Option<Interval>,
}

/// Whether probabilities mean what they say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationFigures {
    /// Expected calibration error of the top label, equal-width bins.
    pub ece: Figure,
    /// Brier score summed over classes, from 0 to 2.
    pub brier: Figure,
    /// Mean -ln(probability of the true class), nats.
    pub log_loss: Figure,
    /// Bins of the reliability diagram.
    pub bins: Vec<Bin>,
    /// What one temperature does to it.
    pub temperature: TemperatureScaling,
}

/// Mean probability that the true class got (Zhong, table 4).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrueClassProbability {
    /// Name of the class.
    pub class: String,
    /// Its images.
    pub images: u64,
    /// Mean over them with Student's t interval, images taken as independent.
    pub mean: Figure,
}

/// Every figure of a set of predictions. `Display` is the report for a terminal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Predictions (an image of several folds counts in each).
    pub images: u64,
    /// Different patients; an image of an unknown patient counts as one.
    pub patients: u64,
    /// How the intervals were made.
    pub options: AssessOptions,
    /// Share of right predictions, images taken as independent.
    pub accuracy: Rate,
    /// The same with the patient-clustered bootstrap.
    pub accuracy_clustered: Option<Interval>,
    /// Accuracy of each fold.
    pub folds: Vec<FoldAccuracy>,
    /// Mean of the folds' accuracies with Student's t interval; `None` for one fold.
    pub fold_mean: Option<Figure>,
    /// Mean recall of the classes that have images, with the patient-clustered bootstrap.
    pub balanced_accuracy: Figure,
    /// Unweighted mean of the classes' F1 (scikit-learn's macro average), with the patient-clustered bootstrap.
    pub macro_f1: Figure,
    /// Counts of true and predicted class.
    pub confusion: Confusion,
    /// Sensitivity, specificity and predictive values.
    pub per_class: Vec<ClassRates>,
    /// Predictive values whose intervals hold together.
    pub family_size: usize,
    /// Patient-clustered intervals of the rates; empty where every patient has one image (the others say the same then).
    pub per_class_clustered: Vec<ClusteredRates>,
    /// ROC-AUC and average precision of each class.
    pub ranking: Vec<ClassRanking>,
    /// Their means over the classes that have both.
    pub macro_ranking: ClassRanking,
    /// Calibration.
    pub calibration: CalibrationFigures,
    /// Mean probability of the true class.
    pub true_class: Vec<TrueClassProbability>,
    /// Keras' precision and recall at 0.5.
    pub at_half: ThresholdScores,
    /// What being right depends on, where covariates were given ([`Regression::of`]).
    pub regression: Option<Regression>,
    /// What the reader of these figures must know.
    pub notes: Vec<String>,
}

impl Assessment {
    /// All figures of `all`.
    ///
    /// # Errors
    /// As [`Predictions::validate`] and [`AssessOptions::validate`].
    pub fn of(all: &Predictions, options: &AssessOptions) -> Result<Assessment> {
        all.validate()?;
        options.validate()?;
        let (level, classes) = (options.level, &all.classes);
        let (truth, predicted) = (all.truths(), all.predicted());
        let confusion = Confusion::from_labels(classes, &truth, &predicted)?;
        let clusters = Clusters::of_patients(all);
        let probabilities = probabilities(all);
        let calibration = Calibration::of(&probabilities, &truth, options.bins);
        let resampler = Resampler::new(all, &calibration);
        let bootstrap = Bootstrap { resamples: options.bootstrap, seed: options.seed, level };
        let resampled = bootstrap.intervals(&clusters, |w| resampler.statistics(w));
        let drawn = |name: &str| resampled[resampler.index(name)].interval;
        let drawn_of = |name: &str, k: usize| resampled[resampler.index_of(name, k)].interval;

        let folds: Vec<FoldAccuracy> = fold_accuracies(all, options);
        let shares: Vec<f64> = folds.iter().filter_map(|f| f.accuracy.value).collect();
        let fold_mean = (folds.len() > 1).then(|| Figure { value: mean(&shares), interval: student_t(&shares, level) });

        let n = all.rows.len() as f64;
        let of_class = |k: usize| truth.iter().map(|t| *t == k).collect::<Vec<bool>>();
        let areas: Vec<Option<RocAuc>> = (0..classes.len()).map(|k| RocAuc::of(&all.scores(k), &of_class(k))).collect();
        let ranking: Vec<ClassRanking> = areas
            .iter()
            .enumerate()
            .map(|(k, area)| ClassRanking {
                class: classes[k].clone(),
                roc_auc: figure_of(area.as_ref(), level),
                roc_auc_clustered: area.as_ref().and(drawn_of("auc", k)),
                average_precision: {
                    let value = Ranking::new(&all.scores(k)).average_precision(&of_class(k), |_| 1.0);
                    Figure { value, interval: value.and(drawn_of("ap", k)) }
                },
                prevalence: confusion.support(k) as f64 / n,
            })
            .collect();
        let defined: Vec<RocAuc> = areas.into_iter().flatten().collect();
        let precisions: Vec<f64> = ranking.iter().filter_map(|r| r.average_precision.value).collect();
        let present: Vec<f64> = ranking.iter().map(|r| r.prevalence).filter(|p| *p > 0.0).collect();
        let macro_ranking = ClassRanking {
            class: "macro average".into(),
            roc_auc: figure_of(RocAuc::mean(&defined).as_ref(), level),
            roc_auc_clustered: drawn("macro auc"),
            average_precision: Figure { value: mean(&precisions), interval: drawn("macro ap") },
            prevalence: mean(&present).unwrap_or(0.0),
        };
        let clustered = |(k, class): (usize, &String)| ClusteredRates {
            class: class.clone(),
            sensitivity: drawn_of("sensitivity", k),
            specificity: drawn_of("specificity", k),
            ppv: drawn_of("ppv", k),
            npv: drawn_of("npv", k),
        };
        let several = clusters.count() < clusters.images() && options.bootstrap > 0;
        let true_class = |(k, class): (usize, &String)| {
            let own: Vec<f64> = all.rows.iter().filter(|r| r.truth == k).map(|r| r.probabilities[k]).collect();
            let mean = Figure { value: mean(&own), interval: student_t(&own, level) };
            TrueClassProbability { class: class.clone(), images: own.len() as u64, mean }
        };
        let mut assessment = Assessment {
            classes: classes.clone(),
            images: all.rows.len() as u64,
            patients: clusters.count() as u64,
            options: *options,
            accuracy: Rate::new(confusion.correct(), confusion.total(), options.proportion, level),
            accuracy_clustered: drawn("accuracy"),
            folds,
            fold_mean,
            balanced_accuracy: Figure { value: confusion.balanced_accuracy(), interval: drawn("balanced accuracy") },
            macro_f1: Figure { value: Some(confusion.macro_average().f1), interval: drawn("macro f1") },
            per_class: class_rates(&confusion, options.proportion, level),
            family_size: family_size(classes.len()),
            per_class_clustered: classes.iter().enumerate().filter(|_| several).map(clustered).collect(),
            ranking,
            macro_ranking,
            calibration: CalibrationFigures {
                ece: Figure { value: calibration.ece(|_| 1.0), interval: drawn("ece") },
                brier: Figure { value: calibration.brier(|_| 1.0), interval: drawn("brier") },
                log_loss: Figure { value: calibration.log_loss(|_| 1.0), interval: drawn("log loss") },
                bins: calibration.bins(),
                temperature: TemperatureScaling::of(all, options.bins),
            },
            true_class: classes.iter().enumerate().map(true_class).collect(),
            at_half: at_threshold(all, 0.5, options.proportion, level),
            regression: None,
            confusion,
            notes: Vec::new(),
        };
        assessment.notes = remarks(&assessment, all);
        if options.bootstrap > 0 {
            // What is not defined over all images has a note of its own.
            let whole = resampler.statistics(&vec![1.0; all.rows.len()]);
            let missed = resampled.iter().zip(whole).filter(|(_, v)| v.is_some()).map(|(r, _)| r.undefined).max();
            let missed = missed.unwrap_or(0);
            if missed > 0 && clusters.count() > 1 {
                assessment.notes.push(format!(
                    "In up to {missed} of {} resamples a figure was not defined (no patient of a class was drawn, or a \
                     class was not predicted); they are left out, and a figure that is not defined in half of them has no \
                     interval.",
                    options.bootstrap
                ));
            }
        }
        Ok(assessment)
    }
}

fn figure_of(area: Option<&RocAuc>, level: f64) -> Figure {
    Figure { value: area.map(|a| a.auc), interval: area.and_then(|a| a.interval(level)) }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn fold_accuracies(all: &Predictions, options: &AssessOptions) -> Vec<FoldAccuracy> {
    let of = |fold: u32| {
        let own: Vec<bool> = all.rows.iter().filter(|r| r.fold == fold).map(|r| r.right()).collect();
        let right = own.iter().filter(|r| **r).count() as u64;
        FoldAccuracy { fold, accuracy: Rate::new(right, own.len() as u64, options.proportion, options.level) }
    };
    all.folds().into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::interval::{Method, Proportion};
    use crate::eval::testing::made;

    fn close(got: Option<f64>, want: f64, within: f64) {
        assert!(got.is_some_and(|g| (g - want).abs() < within), "{got:?} is not {want}");
    }

    // scikit-learn 1.9.1 on the same rows; intervals of the bootstrap: 20,000 (4,000 for the areas) resamples of patients
    // in numpy.
    #[test]
    fn figures_agree_with_scikit_learn() {
        let a = Assessment::of(&made(90, 60, 0), &AssessOptions::default()).unwrap();
        assert_eq!((a.images, a.patients, a.folds.len()), (90, 45, 3));
        assert_eq!(a.confusion.counts, [[30, 3, 3], [2, 33, 1], [0, 0, 18]]);
        close(a.accuracy.value, 0.9, 1e-12);
        close(a.balanced_accuracy.value, 0.9166666666666666, 1e-12);
        close(a.macro_f1.value, 0.899673202614379, 1e-12);
        let aucs = [0.9768518518518519, 0.9531893004115226, 0.9783950617283951];
        let aps = [0.9685540986079766, 0.9449440857818301, 0.9166662976540934];
        for ((r, auc), ap) in a.ranking.iter().zip(aucs).zip(aps) {
            close(r.roc_auc.value, auc, 1e-12);
            close(r.average_precision.value, ap, 1e-12);
            assert_eq!(r.roc_auc.interval.map(|i| i.method), Some(Method::DeLong));
        }
        close(a.macro_ranking.roc_auc.value, 0.9694787379972566, 1e-12);
        close(a.macro_ranking.average_precision.value, aps.iter().sum::<f64>() / 3.0, 1e-12);
        close(a.calibration.log_loss.value, 0.6384924291228218, 1e-12);
        close(a.calibration.brier.value, 0.3580681763344724, 1e-12);
        for (t, want) in a.true_class.iter().zip([0.5270108773555955, 0.5582141097636147, 0.5401940223937974]) {
            close(t.mean.value, want, 1e-12);
            assert_eq!(t.mean.interval.map(|i| i.method), Some(Method::StudentT));
        }
        assert_eq!((a.at_half.precision.successes, a.at_half.precision.trials), (56, 57));
        let covid = &a.ranking[2];
        for (interval, low, high, within) in [
            (a.accuracy_clustered, 0.8333, 0.9556, 0.012),
            (covid.roc_auc_clustered, 0.9500, 0.9962, 0.006),
            (covid.average_precision.interval, 0.8010, 0.9866, 0.02),
        ] {
            let i = interval.unwrap();
            assert_eq!(i.method, Method::ClusteredBootstrap);
            close(Some(i.low), low, within);
            close(Some(i.high), high, within);
        }
        assert!(a.notes.iter().any(|n| n.contains("Patients have several images")), "{:?}", a.notes);
        assert_eq!(a, Assessment::of(&made(90, 60, 0), &AssessOptions::default()).unwrap(), "same seed");
    }

    #[test]
    fn an_absent_class_and_perfect_separation_are_said() {
        let mut all = made(60, 1000, 0);
        all.rows.retain(|r| r.truth != 2);
        let a = Assessment::of(&all, &AssessOptions::default()).unwrap();
        close(a.accuracy.value, 1.0, 1e-12);
        assert_eq!((a.accuracy_clustered, a.macro_ranking.average_precision.interval), (None, None), "no width");
        assert!(a.accuracy.interval.is_some_and(|i| i.low > 0.9 && i.low < 1.0));
        let [normal, _, covid] = &a.ranking[..] else { panic!() };
        assert_eq!((normal.roc_auc.value, normal.roc_auc.interval), (Some(1.0), None));
        assert_eq!((covid.roc_auc.value, covid.roc_auc_clustered, covid.average_precision.value), (None, None, None));
        close(a.macro_ranking.roc_auc.value, 1.0, 1e-12);
        assert_eq!(a.true_class[2].mean, Figure { value: None, interval: None });
        assert_eq!(a.per_class[2].sensitivity.value, None);
        let notes = a.notes.join("\n");
        for part in [
            "ROC-AUC of COVID-19 is undefined: no image",
            "ROC-AUC of normal has no DeLong interval",
            "Every resample of patients has the same accuracy",
            "recall of COVID-19",
            "A temperature lies at the end",
        ] {
            assert!(notes.contains(part), "{part} in {notes}");
        }
        assert!(!notes.contains("resamples a figure was not defined"), "{notes}");
        serde_json::to_string(&a).unwrap();
    }

    #[test]
    fn one_image_one_patient_and_equal_scores() {
        let one = Assessment::of(&made(1, 60, 0), &AssessOptions::default()).unwrap();
        assert_eq!((one.images, one.patients, one.accuracy_clustered, one.fold_mean), (1, 1, None, None));
        assert!(one.notes.iter().any(|n| n.contains("ROC-AUC of normal is undefined: every image")), "{:?}", one.notes);
        assert!(!one.to_string().contains("NaN"), "{one}");

        let mut patient = made(30, 60, 0);
        patient.rows.iter_mut().for_each(|r| r.patient = "p".into());
        let p = Assessment::of(&patient, &AssessOptions::default()).unwrap();
        assert_eq!((p.patients, p.accuracy_clustered, p.calibration.ece.interval), (1, None, None));
        let notes = p.notes.join("\n");
        assert!(
            notes.contains("All images are of one patient") && notes.contains("1 patient has images in more than one"),
            "{notes}"
        );
        assert!(!p.calibration.temperature.cross_fitted);

        let mut tied = made(30, 60, 0);
        tied.rows.iter_mut().for_each(|r| r.probabilities = vec![0.25, 0.25, 0.5]);
        let t = Assessment::of(&tied, &AssessOptions::default()).unwrap();
        assert!(t.ranking.iter().all(|r| r.roc_auc.value == Some(0.5) && r.roc_auc.interval.is_none()));
        assert_eq!(t.at_half.precision.value, None, "no probability is above 0.5");
        assert_eq!(t.accuracy.successes, 6);
        assert!(!t.to_string().contains("NaN"), "{t}");
    }

    #[test]
    fn options_decide_the_intervals() {
        let all = made(60, 60, 0);
        let o =
            AssessOptions { bootstrap: 0, level: 0.9, proportion: Proportion::ClopperPearson, ..Default::default() };
        let a = Assessment::of(&all, &o).unwrap();
        assert_eq!((a.accuracy_clustered, a.calibration.brier.interval, a.per_class_clustered.len()), (None, None, 0));
        let i = a.accuracy.interval.unwrap();
        assert_eq!((i.level, i.method), (0.9, Method::ClopperPearson));
        let e = Assessment::of(&all, &AssessOptions { level: 1.0, ..o }).unwrap_err();
        assert!(e.to_string().contains("confidence level 1") && e.exit_code() == 2, "{e}");
        let mut twice = all.clone();
        twice.rows.extend(all.rows.iter().map(|r| crate::eval::Prediction { fold: 9, ..r.clone() }));
        let a = Assessment::of(&twice, &o).unwrap();
        assert!(a.notes.iter().any(|n| n.contains("120 predictions are of 60 images")), "{:?}", a.notes);
    }
}
