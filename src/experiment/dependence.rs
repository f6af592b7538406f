//! What being right depends on, of what is known of the images: Gao & Wang's third rule, for every task whose collections state
//! age or sex.

use super::task::Task;
use crate::error::Result;
use crate::eval::design::{Covariates, Formula};
use crate::eval::predictions::Predictions;
use crate::eval::regression::Regression;
use std::collections::{BTreeSet, HashSet};

/// The covariates, in the order in which they stand in the formula.
const COVARIATES: [&str; 2] = ["age", "sex"];

/// Confidence level of the Wald intervals.
const LEVEL: f64 = 0.95;

/// Regresses being right on age, sex and their interaction, as far as they are known of the tested images and vary; otherwise
/// says why not.
///
/// # Errors
/// Those of the table and of the regression but for too little data, which is part of the text.
pub fn dependence(task: &Task, predictions: &Predictions) -> Result<String> {
    let tested: HashSet<&str> = predictions.rows.iter().map(|r| r.image.as_str()).collect();
    let rows: Vec<(String, Vec<String>)> = task
        .images
        .iter()
        .filter(|f| tested.contains(f.name.as_str()))
        .map(|f| {
            let age = f.age.map(|a| a.to_string()).unwrap_or_default();
            (f.name.clone(), vec![age, f.sex.clone().unwrap_or_default()])
        })
        .collect();
    let varies =
        |k: usize| rows.iter().map(|r| r.1[k].as_str()).filter(|v| !v.is_empty()).collect::<BTreeSet<_>>().len() > 1;
    let known: Vec<&str> = (0..COVARIATES.len()).filter(|&k| varies(k)).map(|k| COVARIATES[k]).collect();
    if known.is_empty() {
        return Ok(format!(
            "Not asked: of {} test images neither age nor sex is known, or all have the same.\n",
            rows.len()
        ));
    }
    let formula = Formula::parse(&known.join(" * "))?;
    match Regression::of(predictions, &Covariates::of(&COVARIATES, rows), &formula, LEVEL) {
        Ok(regression) => Ok(regression.to_string()),
        Err(e @ crate::error::Error::Data(_)) => Ok(format!("Not asked: {e}\n")),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::predictions::Prediction;
    use crate::experiment::{Synthetic, TaskOptions};

    /// Images of which every third is wrong, with these ages and sexes.
    fn data(age: fn(usize) -> Option<f64>, sex: fn(usize) -> Option<&'static str>) -> (Task, Predictions) {
        let options = TaskOptions { talk: crate::Talk::Quiet, ..TaskOptions::new(32) };
        let mut task = Task::synthetic(&Synthetic::plain(24), &options).unwrap();
        for (i, f) in task.images.iter_mut().enumerate() {
            (f.age, f.sex) = (age(i), sex(i).map(String::from));
        }
        let row = |(i, f): (usize, &crate::experiment::Facts)| Prediction {
            image: f.name.clone(),
            patient: f.patient.clone(),
            fold: 0,
            truth: usize::from(i % 3 == 0),
            probabilities: vec![0.6, 0.2, 0.1, 0.1],
        };
        let rows = task.images.iter().enumerate().map(row).collect();
        let predictions = Predictions { classes: task.classes.clone(), rows };
        (task, predictions)
    }

    #[test]
    fn what_is_known_is_asked_and_the_rest_is_said() {
        let text = |age, sex| {
            let (task, predictions) = data(age, sex);
            dependence(&task, &predictions).unwrap()
        };
        let both = text(|i| Some(20.0 + (i * 37 % 61) as f64), |i| Some(["F", "M"][usize::from(i * 7 % 5 >= 2)]));
        assert!(both.contains("age:sex") && both.contains("sex[M]") && both.contains("Wald"), "{both}");
        let age = text(|i| Some((i * 37 % 61) as f64), |_| Some("F"));
        assert!(age.contains("on age (") && !age.contains("sex"), "{age}");
        assert!(text(|_| None, |_| None).starts_with("Not asked"));
        // Each known, but never both of one image.
        let apart = text(|i| (i % 2 == 0).then_some(i as f64), |i| (i % 2 == 1).then_some(["F", "M"][i / 2 % 2]));
        assert!(apart.starts_with("Not asked") && apart.contains("none has all"), "{apart}");
    }
}
