//! [`Assessment`] for a terminal: scikit-learn's report, the confusion matrix, then every figure with its interval and the
//! method's name.

use crate::eval::assessment::{Assessment, Figure};
use crate::eval::interval::{Interval, level_text};
use crate::eval::rates::Rate;
use std::fmt::{Display, Formatter, Result};

/// "[93.1, 95.0]" in percent.
pub(crate) fn percent_ends(i: Option<Interval>) -> String {
    i.map_or_else(|| "-".into(), |i| format!("[{:.1}, {:.1}]", 100.0 * i.low, 100.0 * i.high))
}

/// "[0.931, 0.950]".
pub(crate) fn ends(i: Option<Interval>) -> String {
    i.map_or_else(|| "-".into(), |i| format!("[{:.3}, {:.3}]", i.low, i.high))
}

/// `v` with so many decimals; 0 without a sign.
pub(crate) fn fixed(v: f64, digits: usize) -> String {
    let text = format!("{v:.digits$}");
    if text.bytes().all(|b| b"-0.".contains(&b)) { text.replace('-', "") } else { text }
}

/// The method's name, or what stands for an interval that is not there.
pub(crate) fn method(i: Option<Interval>) -> String {
    i.map_or_else(|| "no interval".into(), |i| i.method.to_string())
}

fn percent(v: Option<f64>) -> String {
    v.map_or_else(|| "-".into(), |v| format!("{:.1}", 100.0 * v))
}

fn decimal(v: Option<f64>) -> String {
    v.map_or_else(|| "-".into(), |v| fixed(v, 3))
}

fn rate(r: &Rate) -> String {
    format!("{:>5} {}", percent(r.value), percent_ends(r.interval))
}

fn share(f: &Figure) -> String {
    format!("{:>5} {}", percent(f.value), percent_ends(f.interval))
}

/// Columns padded to their widest cell; the first to the left, the others too, two spaces between.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(t, w)| format!("{t:w$}")).collect::<Vec<_>>().join("  ");
        format!("  {}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

fn cells(row: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    row.into_iter().map(Into::into).collect()
}

impl Display for Assessment {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{}", self.confusion.classification_report(2))?;
        self.matrix(f)?;
        self.accuracies(f)?;
        self.rates(f)?;
        self.areas(f)?;
        self.probabilities(f)?;
        if let Some(regression) = &self.regression {
            writeln!(f, "{regression}")?;
        }
        for note in &self.notes {
            writeln!(f, "Note: {note}")?;
        }
        Ok(())
    }
}

impl Assessment {
    fn matrix(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "Confusion matrix (rows: true class; columns: predicted class; count and row %)")?;
        let head = std::iter::once(String::new()).chain(self.classes.iter().cloned()).collect();
        let row = |(i, class): (usize, &String)| {
            let cell = |j: usize| match self.confusion.row_share(i, j) {
                Some(s) => format!("{} ({:.1} %)", self.confusion.counts[i][j], 100.0 * s),
                None => "0 (no image)".into(),
            };
            std::iter::once(class.clone()).chain((0..self.classes.len()).map(cell)).collect()
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(self.classes.iter().enumerate().map(row)).collect();
        writeln!(f, "{}", columns(&rows))
    }

    fn level(&self) -> String {
        level_text(self.options.level)
    }

    fn accuracies(&self, f: &mut Formatter<'_>) -> Result {
        let a = &self.accuracy;
        let (images, patients) = (self.images, self.patients);
        writeln!(f, "Accuracy in % with {} intervals ({images} predictions, {patients} patients)", self.level())?;
        let clustered = self.accuracy_clustered;
        let mut rows = vec![
            cells(["accuracy".into(), rate(a), method(a.interval), format!("{} of {}", a.successes, a.trials)]),
            cells(["".into(), format!("{:5} {}", "", percent_ends(clustered)), method(clustered)]),
        ];
        if let Some(m) = &self.fold_mean {
            let each: Vec<String> = self.folds.iter().map(|f| percent(f.accuracy.value)).collect();
            let what = format!("mean of {} folds", self.folds.len());
            let over = format!("{} over folds: {}", method(m.interval), each.join(" "));
            rows.push(cells([what, share(m), over]));
        }
        for (name, figure) in [("balanced accuracy", &self.balanced_accuracy), ("macro F1", &self.macro_f1)] {
            rows.push(cells([name.to_string(), share(figure), method(figure.interval)]));
        }
        for (name, r) in [("Keras precision", &self.at_half.precision), ("Keras recall", &self.at_half.recall)] {
            let counts = format!("{} of {} above {}", r.successes, r.trials, self.at_half.threshold);
            rows.push(cells([name.to_string(), rate(r), method(r.interval), counts]));
        }
        writeln!(f, "{}", columns(&rows))
    }

    fn rates(&self, f: &mut Formatter<'_>) -> Result {
        let interval = self.options.proportion.name();
        writeln!(f, "Each class against the others in % with {} {interval} intervals", self.level())?;
        let mut rows = vec![cells(["", "sensitivity", "specificity", "PPV", "NPV"])];
        for c in &self.per_class {
            let all = [&c.sensitivity, &c.specificity, &c.ppv, &c.npv].map(rate);
            rows.push(std::iter::once(c.class.clone()).chain(all).collect());
        }
        write!(f, "{}", columns(&rows))?;
        if !self.per_class_clustered.is_empty() {
            writeln!(f, "The same, patient-clustered bootstrap")?;
            let mut rows = vec![cells(["", "sensitivity", "specificity", "PPV", "NPV"])];
            for c in &self.per_class_clustered {
                let all = [c.sensitivity, c.specificity, c.ppv, c.npv].map(percent_ends);
                rows.push(std::iter::once(c.class.clone()).chain(all).collect());
            }
            write!(f, "{}", columns(&rows))?;
        }
        writeln!(
            f,
            "Predictive values, {interval} intervals that hold together at {} (Bonferroni, {} intervals)",
            self.level(),
            self.family_size
        )?;
        let mut rows = vec![cells(["", "PPV", "NPV"])];
        for c in &self.per_class {
            rows.push(cells([c.class.clone(), percent_ends(c.ppv_family), percent_ends(c.npv_family)]));
        }
        writeln!(f, "{}", columns(&rows))
    }

    fn areas(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "Ranking, each class against the others, with {} intervals", self.level())?;
        let head = ["", "ROC-AUC", "DeLong", "clustered bootstrap", "PR-AUC", "clustered bootstrap", "prevalence"];
        let mut rows = vec![cells(head)];
        for r in self.ranking.iter().chain([&self.macro_ranking]) {
            rows.push(vec![
                r.class.clone(),
                decimal(r.roc_auc.value),
                ends(r.roc_auc.interval),
                ends(r.roc_auc_clustered),
                decimal(r.average_precision.value),
                ends(r.average_precision.interval),
                decimal(Some(r.prevalence)),
            ]);
        }
        writeln!(f, "{}", columns(&rows))
    }

    fn probabilities(&self, f: &mut Formatter<'_>) -> Result {
        let c = &self.calibration;
        writeln!(f, "Calibration with {} intervals", self.level())?;
        let ece = format!("ECE (top label, {} bins)", self.options.bins);
        let named = [(ece.as_str(), &c.ece), ("Brier score (0 to 2)", &c.brier), ("log loss (nats)", &c.log_loss)];
        let rows: Vec<Vec<String>> = named
            .iter()
            .map(|(name, v)| {
                // A resample's ECE is larger than that of the data, by the bias that it has itself.
                let high =
                    if name.starts_with("ECE") && v.interval.is_some() { " (lies high: ECE is biased)" } else { "" };
                let method = format!("{}{high}", method(v.interval));
                cells([name.to_string(), decimal(v.value), ends(v.interval), method])
            })
            .collect();
        write!(f, "{}", columns(&rows))?;
        let t = &c.temperature;
        let fitted = match t.cross_fitted {
            true => format!(
                "fitted on other folds for each fold: {}",
                t.per_fold.iter().map(|(_, t)| format!("{t:.3}")).collect::<Vec<_>>().join(" ")
            ),
            false => "fitted on the same rows, so what it gains is too good".into(),
        };
        let change = |a: Option<f64>, b: Option<f64>| format!("{} -> {}", decimal(a), decimal(b));
        writeln!(
            f,
            "  temperature {:.3}: ECE {}, log loss {} ({fitted})\n",
            t.temperature,
            change(t.ece_before, t.ece_after),
            change(t.log_loss_before, t.log_loss_after)
        )?;
        writeln!(f, "Mean probability of the true class with {} intervals", self.level())?;
        let rows: Vec<Vec<String>> = self
            .true_class
            .iter()
            .map(|r| {
                let figure = [decimal(r.mean.value), ends(r.mean.interval), method(r.mean.interval)];
                std::iter::once(r.class.clone()).chain(figure).chain([format!("n = {}", r.images)]).collect()
            })
            .collect();
        writeln!(f, "{}", columns(&rows))
    }
}

#[cfg(test)]
mod tests {
    use crate::eval::assessment::{AssessOptions, Assessment};
    use crate::eval::testing::made;

    #[test]
    fn the_text_begins_with_scikit_learns_report() {
        let text = Assessment::of(&made(90, 60, 0), &AssessOptions::default()).unwrap().to_string();
        // scikit-learn 1.9.1: classification_report(truth, predicted, labels=[0, 1, 2], target_names=...)
        let report = "               precision    recall  f1-score   support\n\n       normal       0.94      0.83      0.88        36\nother disease       0.92      0.92      0.92        36\n     COVID-19       0.82      1.00      0.90        18\n\n     accuracy                           0.90        90\n    macro avg       0.89      0.92      0.90        90\n weighted avg       0.91      0.90      0.90        90\n";
        assert!(text.starts_with(report), "{text}");
        for part in [
            "  normal         30 (83.3 %)  3 (8.3 %)      3 (8.3 %)\n",
            "Accuracy in % with 95 % intervals (90 predictions, 45 patients)",
            "Wilson  ",
            "patient-clustered bootstrap\n",
            "Student's t over folds: ",
            "hold together at 95 % (Bonferroni, 6 intervals)",
            "fitted on other folds for each fold",
            "Keras precision     98.2 [90.7, 99.7]  Wilson",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(text.lines().all(|l| l.trim_end() == l), "no trailing blanks:\n{text}");
    }
}
