//! The sentences below an [`Assessment`]: what is undefined, what the figures take for granted, what looks like a leak.

use crate::eval::assessment::Assessment;
use crate::eval::predictions::Predictions;
use std::collections::{BTreeMap, BTreeSet};

/// What follows from the rows and figures and must be known beside them.
pub(crate) fn remarks(of: &Assessment, all: &Predictions) -> Vec<String> {
    let mut notes: Vec<String> = of.confusion.undefined_notes().into_iter().map(|n| format!("The {n}.")).collect();
    for r in &of.ranking {
        match (r.roc_auc.value, r.roc_auc.interval) {
            (None, _) => {
                let which = if r.prevalence > 0.0 { "every image is" } else { "no image is" };
                notes.push(format!("ROC-AUC of {} is undefined: {which} of this class.", r.class));
            }
            (Some(_), None) => notes.push(format!(
                "ROC-AUC of {} has no DeLong interval: its variance is 0 or unknown (perfect separation, all scores \
                 equal, or a single image), which says nothing about other images.",
                r.class
            )),
            _ => {}
        }
    }
    let mut folds_of = BTreeMap::<&str, BTreeSet<u32>>::new();
    let images: BTreeSet<&str> = all.rows.iter().map(|r| r.image.as_str()).collect();
    all.rows.iter().filter(|r| !r.patient.is_empty()).for_each(|r| {
        folds_of.entry(&r.patient).or_default().insert(r.fold);
    });
    let repeated = all.rows.len() - images.len();
    let crossing = folds_of.values().filter(|f| f.len() > 1).count();
    if repeated > 0 {
        notes.push(format!(
            "{} predictions are of {} images: some are tested in several folds and count in each.",
            all.rows.len(),
            images.len()
        ));
    } else if crossing > 0 {
        notes.push(format!(
            "{crossing} {} images in more than one test fold: where the folds are of one cross-validation, a \
             model was trained on patients that it is tested on, and the figures are too high.",
            if crossing == 1 { "patient has" } else { "patients have" }
        ));
    }
    if of.patients > 1 && of.options.bootstrap > 0 && of.accuracy_clustered.is_none() {
        notes.push(
            "Every resample of patients has the same accuracy, as where all images are right: such figures have no \
             bootstrap interval."
                .into(),
        );
    }
    let unknown = all.rows.iter().filter(|r| r.patient.is_empty()).count();
    if unknown > 0 {
        notes.push(format!("{unknown} predictions have no patient; each such image is taken as a patient of its own."));
    }
    if of.patients < 2 && of.options.bootstrap > 0 {
        notes.push("All images are of one patient: there is no patient-clustered interval.".into());
    }
    if of.patients < images.len() as u64 {
        notes.push(
            "Patients have several images: intervals that take images as independent are too narrow; those of the \
             patient-clustered bootstrap are not."
                .into(),
        );
    }
    if of.folds.len() > 1 {
        notes.push(format!(
            "ROC-AUC and average precision rank the pooled probabilities of the {} folds' models.",
            of.folds.len()
        ));
    }
    if of.calibration.temperature.at_bound {
        notes.push("A temperature lies at the end of the range searched (0.01 to 100): the rows do not fix it.".into());
    }
    notes
}
