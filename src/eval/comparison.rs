//! Two models on the same images: who is right where the other is not, and how much their areas differ.

use crate::error::{Error, Result};
use crate::eval::assessment::AssessOptions;
use crate::eval::assessment_text::{columns, ends, fixed, method, percent_ends};
use crate::eval::bootstrap::{Bootstrap, Clusters};
use crate::eval::calibration::Calibration;
use crate::eval::family::holm_of;
use crate::eval::interval::{Interval, level_text};
use crate::eval::mcnemar::McNemar;
use crate::eval::predictions::{Prediction, Predictions};
use crate::eval::rates::Rate;
use crate::eval::regression::p_text;
use crate::eval::resample::Resampler;
use crate::eval::roc::{AucDifference, RocAuc, paired_delong};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt::{Display, Formatter};

/// A figure of both, and their difference (first minus second).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Of the first.
    pub first: Option<f64>,
    /// Of the second.
    pub second: Option<f64>,
    /// First minus second.
    pub difference: Option<f64>,
    /// Patient-clustered bootstrap of the difference: both models in the same resamples.
    pub interval: Option<Interval>,
}

/// Areas of one class, or their mean over classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AucComparison {
    /// Name of the class, or "macro average".
    pub class: String,
    /// ROC-AUC of both with the patient-clustered interval of the difference.
    pub auc: Difference,
    /// DeLong's paired test; `None` when an area is not defined.
    pub delong: Option<AucDifference>,
    /// Its p value adjusted over the classes (Holm); `None` for the macro average, which is no member of that family.
    pub p_holm: Option<f64>,
}

/// Two sets of predictions of the same images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images (and folds, where an image is tested in several) that both have.
    pub images: u64,
    /// Patients of these.
    pub patients: u64,
    /// Images that only the first has; not compared.
    pub only_in_first: u64,
    /// Images that only the second has; not compared.
    pub only_in_second: u64,
    /// How the intervals were made.
    pub options: AssessOptions,
    /// Accuracy of the first.
    pub accuracy_first: Rate,
    /// Accuracy of the second.
    pub accuracy_second: Rate,
    /// Accuracy, balanced accuracy, macro F1, log loss and Brier score by name.
    pub figures: Vec<(String, Difference)>,
    /// McNemar's test.
    pub mcnemar: McNemar,
    /// ROC-AUC of each class.
    pub areas: Vec<AucComparison>,
    /// The mean over classes.
    pub macro_area: Option<AucComparison>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Compares `a` and `b` on the images that both have, matched by key (and by fold where a file has an image in several).
    ///
    /// # Errors
    /// As [`Predictions::validate`] and [`AssessOptions::validate`]; [`Error::Data`] when the classes differ, no image is in
    /// both, or an image's true class differs.
    pub fn of(a: &Predictions, b: &Predictions, options: &AssessOptions) -> Result<Comparison> {
        a.validate()?;
        b.validate()?;
        options.validate()?;
        let (first, second) = matched(a, b)?;
        let (level, rows) = (options.level, first.rows.len());
        let clusters = Clusters::of_patients(&first);
        let bootstrap = Bootstrap { resamples: options.bootstrap, seed: options.seed, level };
        let truth = first.truths();
        let calibration = [&first, &second]
            .map(|p| Calibration::of(&crate::eval::calibration::probabilities(p), &truth, options.bins));
        let (x, y) = (Resampler::new(&first, &calibration[0]), Resampler::new(&second, &calibration[1]));
        let all = vec![1.0; rows];
        let (of_x, of_y) = (x.statistics(&all), y.statistics(&all));
        let minus = |p: &[Option<f64>], q: &[Option<f64>]| -> Vec<Option<f64>> {
            p.iter().zip(q).map(|(p, q)| p.zip(*q).map(|(p, q)| p - q)).collect()
        };
        let drawn = bootstrap.intervals(&clusters, |w| minus(&x.statistics(w), &y.statistics(w)));
        let difference = |at: usize| {
            let difference = of_x[at].zip(of_y[at]).map(|(p, q)| p - q);
            Difference { first: of_x[at], second: of_y[at], difference, interval: difference.and(drawn[at].interval) }
        };
        let names = ["accuracy", "balanced accuracy", "macro f1", "log loss", "brier"];
        let area =
            |p: &Predictions, k: usize| RocAuc::of(&p.scores(k), &truth.iter().map(|t| *t == k).collect::<Vec<_>>());
        let pairs: Vec<Option<(RocAuc, RocAuc)>> =
            (0..first.classes.len()).map(|k| area(&first, k).zip(area(&second, k))).collect();
        let tests: Vec<Option<AucDifference>> =
            pairs.iter().map(|p| p.as_ref().map(|(x, y)| paired_delong(x, y, level))).collect();
        // With two classes both areas are one figure.
        let distinct = if first.classes.len() == 2 { 1 } else { tests.len() };
        let p_values: Vec<Option<f64>> = tests[..distinct].iter().map(|t| t.and_then(|t| t.p_value)).collect();
        let mut adjusted = holm_of(&p_values);
        adjusted.resize(tests.len(), adjusted[0]);
        let areas = (0..tests.len())
            .map(|k| AucComparison {
                class: first.classes[k].clone(),
                auc: difference(x.index_of("auc", k)),
                delong: tests[k],
                p_holm: adjusted[k],
            })
            .collect();
        let (xs, ys): (Vec<RocAuc>, Vec<RocAuc>) = pairs.into_iter().flatten().unzip();
        let macro_area = RocAuc::mean(&xs).zip(RocAuc::mean(&ys)).map(|(p, q)| AucComparison {
            class: "macro average".into(),
            auc: difference(x.index("macro auc")),
            delong: Some(paired_delong(&p, &q, level)),
            p_holm: None,
        });
        let right = |p: &Predictions| p.rows.iter().map(Prediction::right).collect::<Vec<bool>>();
        let (right_x, right_y) = (right(&first), right(&second));
        let accuracy =
            |r: &[bool]| Rate::new(r.iter().filter(|r| **r).count() as u64, rows as u64, options.proportion, level);
        let mut comparison = Comparison {
            classes: first.classes.clone(),
            images: rows as u64,
            patients: clusters.count() as u64,
            only_in_first: (a.rows.len() - rows) as u64,
            only_in_second: (b.rows.len() - rows) as u64,
            options: *options,
            accuracy_first: accuracy(&right_x),
            accuracy_second: accuracy(&right_y),
            figures: names.iter().map(|n| (n.to_string(), difference(x.index(n)))).collect(),
            mcnemar: McNemar::of(right_x.iter().copied().zip(right_y.iter().copied())),
            areas,
            macro_area,
            notes: Vec::new(),
        };
        comparison.notes = comparison.remarks(&first, &second);
        Ok(comparison)
    }

    fn remarks(&self, first: &Predictions, second: &Predictions) -> Vec<String> {
        let mut notes = Vec::new();
        if self.only_in_first + self.only_in_second > 0 {
            notes.push(format!(
                "{} images are in the first only and {} in the second only; they are not compared.",
                self.only_in_first, self.only_in_second
            ));
        }
        if self.patients < self.images {
            notes.push(
                "Patients have several images: McNemar's and DeLong's tests take images as independent, the \
                 patient-clustered intervals do not."
                    .into(),
            );
        }
        let other = first.rows.iter().zip(&second.rows).filter(|(x, y)| x.patient != y.patient).count();
        if other > 0 {
            notes.push(format!("The files give {other} images to different patients; those of the first were used."));
        }
        for area in &self.areas {
            match area.delong {
                None => {
                    notes.push(format!("ROC-AUC of {} is undefined: no image, or every image, is of it.", area.class))
                }
                Some(d) if d.z.is_none() => notes.push(format!(
                    "DeLong's test says nothing about {}: the difference has no variance, or it has a single image.",
                    area.class
                )),
                Some(_) => {}
            }
        }
        notes
    }
}

/// The rows that both have, in the order of `a` and with its classes.
fn matched(a: &Predictions, b: &Predictions) -> Result<(Predictions, Predictions)> {
    let order: Option<Vec<usize>> =
        a.classes.iter().map(|c| b.classes.iter().position(|d| d == c)).collect::<Option<_>>();
    let order = order.filter(|_| a.classes.len() == b.classes.len()).ok_or_else(|| {
        let (a, b) = (a.classes.join(", "), b.classes.join(", "));
        Error::Data(format!("the files are over different classes: {a} against {b}"))
    })?;
    let repeats = |p: &Predictions| {
        let mut seen = HashSet::new();
        !p.rows.iter().all(|r| seen.insert(r.image.as_str()))
    };
    let by_fold = repeats(a) || repeats(b);
    let key = |r: &'_ Prediction| (r.image.clone(), if by_fold { r.fold } else { 0 });
    let of_b: HashMap<(String, u32), &Prediction> = b.rows.iter().map(|r| (key(r), r)).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut differ = Vec::new();
    for x in &a.rows {
        let Some(y) = of_b.get(&key(x)) else { continue };
        let truth = order.iter().position(|&k| k == y.truth).unwrap_or_default();
        if truth != x.truth {
            differ.push(x.image.as_str());
        }
        let probabilities = order.iter().map(|&k| y.probabilities[k]).collect();
        second.push(Prediction { truth, probabilities, ..(*y).clone() });
        first.push(x.clone());
    }
    if first.is_empty() {
        let (a, b) = (a.rows.len(), b.rows.len());
        return Err(Error::Data(format!("none of the {a} images of the first file is among the {b} of the second")));
    }
    if let Some(image) = differ.first() {
        return Err(Error::Data(format!(
            "{} of {} images have another true class in the second file, as image \"{image}\"",
            differ.len(),
            first.len()
        )));
    }
    let of = |rows| Predictions { classes: a.classes.clone(), rows };
    Ok((of(first), of(second)))
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (level, o) = (level_text(self.options.level), &self.options);
        writeln!(f, "{} images of {} patients in both; difference: first minus second", self.images, self.patients)?;
        writeln!(f, "Accuracy in % with {level} intervals")?;
        let text = |v: Option<f64>, scale: f64, digits: usize| v.map_or("-".into(), |v| fixed(scale * v, digits));
        let rows: Vec<Vec<String>> = [("first", &self.accuracy_first), ("second", &self.accuracy_second)]
            .iter()
            .map(|(name, r)| {
                let counts = format!("{} of {}", r.successes, r.trials);
                vec![name.to_string(), text(r.value, 100.0, 1), percent_ends(r.interval), o.proportion.name(), counts]
            })
            .collect();
        writeln!(f, "{}", columns(&rows))?;
        let mut rows = vec![["", "first", "second", "difference", "interval", "method"].map(String::from).to_vec()];
        for (name, d) in &self.figures {
            let (first, second, difference) =
                (text(d.first, 1.0, 3), text(d.second, 1.0, 3), text(d.difference, 1.0, 3));
            rows.push(vec![name.clone(), first, second, difference, ends(d.interval), method(d.interval)]);
        }
        writeln!(f, "Differences with {level} intervals\n{}", columns(&rows))?;
        let m = &self.mcnemar;
        let chi = m.chi_squared.zip(m.p_chi_squared);
        let chi =
            chi.map_or(String::new(), |(x, p)| format!("; chi2 with continuity correction {x:.3}, p {}", p_text(p)));
        writeln!(
            f,
            "McNemar: only the first right {}, only the second {}, both {}, neither {}\n  exact p {}{chi}\n",
            m.only_first,
            m.only_second,
            m.both,
            m.neither,
            p_text(m.p_exact)
        )?;
        let head = ["", "first", "second", "difference", "DeLong", "z", "p", "p (Holm)", "clustered bootstrap"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for a in self.areas.iter().chain(&self.macro_area) {
            let p = |p: Option<f64>| p.map_or("-".into(), p_text);
            rows.push(vec![
                a.class.clone(),
                text(a.auc.first, 1.0, 3),
                text(a.auc.second, 1.0, 3),
                text(a.auc.difference, 1.0, 3),
                ends(a.delong.and_then(|d| d.interval)),
                text(a.delong.and_then(|d| d.z), 1.0, 2),
                p(a.delong.and_then(|d| d.p_value)),
                p(a.p_holm),
                ends(a.auc.interval),
            ]);
        }
        writeln!(f, "ROC-AUC, each class against the others, with {level} intervals\n{}", columns(&rows))?;
        for note in &self.notes {
            writeln!(f, "Note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::made;

    fn close(got: Option<f64>, want: f64, within: f64) {
        assert!(got.is_some_and(|g| (g - want).abs() < within), "{got:?} is not {want}");
    }

    // numpy: the textbook DeLong formula and 20,000 resamples of patients; scikit-learn for the figures.
    #[test]
    fn two_models_agree_with_python() {
        let c = Comparison::of(&made(90, 60, 0), &made(90, 40, 1), &AssessOptions::default()).unwrap();
        let m = &c.mcnemar;
        assert_eq!((m.only_first, m.only_second, m.both, m.neither), (24, 6, 57, 3));
        let accuracy = c.figures[0].1;
        close(accuracy.difference, 0.2, 1e-12);
        let i = accuracy.interval.unwrap();
        assert!((i.low - 0.0778).abs() < 0.012 && (i.high - 0.3222).abs() < 0.012, "{i:?}");
        for (area, [difference, z, p]) in c.areas.iter().zip([
            [0.17798353909465014, 3.550381954765487, 0.00038467260459152785],
            [-0.005144032921810648, -0.19725957103635333, 0.8436244153368693],
            [0.12422839506172867, 2.4094384102224136, 0.015977092508044282],
        ]) {
            let d = area.delong.unwrap();
            close(Some(d.difference), difference, 1e-12);
            close(d.z, z, 1e-9);
            close(d.p_value, p, 1e-9);
        }
        close(c.areas[0].p_holm, 3.0 * 0.00038467260459152785, 1e-8);
        close(c.areas[2].p_holm, 2.0 * 0.015977092508044282, 1e-8);
        let all = c.macro_area.as_ref().unwrap();
        close(all.auc.difference, 0.9694787379972566 - 0.8704561042524007, 1e-12);
        let text = c.to_string();
        for part in ["90 images of 45 patients", "McNemar: only the first right 24", "p (Holm)", "balanced accuracy"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn images_are_matched_by_key_whatever_the_order_and_the_columns() {
        let a = made(60, 60, 0);
        let mut b = made(80, 40, 1);
        b.rows.drain(..10);
        b.rows.reverse();
        let straight = Comparison::of(&a, &b, &AssessOptions::default()).unwrap();
        assert_eq!((straight.images, straight.only_in_first, straight.only_in_second), (50, 10, 20));
        assert!(straight.notes[0].contains("10 images are in the first only and 20 in the second only"));
        b.classes.rotate_left(1);
        for row in &mut b.rows {
            row.probabilities.rotate_left(1);
            row.truth = (row.truth + 2) % 3;
            row.fold = 0;
        }
        assert_eq!(Comparison::of(&a, &b, &AssessOptions::default()).unwrap(), straight);
        // In several folds the fold is part of the key.
        let mut twice = a.clone();
        twice.rows.extend(a.rows.iter().map(|r| Prediction { fold: r.fold + 3, ..r.clone() }));
        let c = Comparison::of(&twice, &a, &AssessOptions::default()).unwrap();
        assert_eq!((c.images, c.only_in_first, c.mcnemar.only_first, c.mcnemar.p_exact), (60, 60, 0, 1.0));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let (a, b) = (made(20, 60, 0), made(20, 40, 1));
        let refused = |b: &Predictions| Comparison::of(&a, b, &AssessOptions::default()).unwrap_err().to_string();
        let mut other = b.clone();
        other.classes[2] = "viral".into();
        assert!(
            refused(&other).contains("different classes: normal, other disease, COVID-19 against"),
            "{}",
            refused(&other)
        );
        let mut apart = b.clone();
        apart.rows.iter_mut().for_each(|r| r.image.push('x'));
        assert!(refused(&apart).contains("none of the 20 images"), "{}", refused(&apart));
        let mut relabelled = b.clone();
        relabelled.rows[3].truth = 0;
        assert!(refused(&relabelled).contains("1 of 20 images have another true class"), "{}", refused(&relabelled));
    }
}
