//! `predictions.csv`: what a model said about each test image, and the truth. All figures of [`crate::eval`] start here.

use crate::error::{Error, Result};
use crate::names::nearest;
use std::collections::HashSet;
use std::path::Path;

/// Probabilities of one image must add up to 1 within this.
const SUM_TOLERANCE: f64 = 1e-3;
/// Columns before the probabilities.
const COLUMNS: [&str; 5] = ["image", "patient", "fold", "truth", "predicted"];
/// Prefix of a probability's column.
const PROBABILITY: &str = "p_";

/// What a model said about one test image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Opaque key of the image (a hashed name); what `compare` and covariates join on.
    pub image: String,
    /// Opaque key of its patient; empty where the patient is not known, and the image is then its own group.
    pub patient: String,
    /// Number of the test fold; 0 where there is only one test set.
    pub fold: u32,
    /// Index of the true class.
    pub truth: usize,
    /// One probability per class; they add up to 1.
    pub probabilities: Vec<f64>,
}

impl Prediction {
    /// Index of the class with the largest probability, of equal ones the first (as numpy's argmax).
    pub fn predicted(&self) -> usize {
        let larger = |best: usize, k: usize| if self.probabilities[k] > self.probabilities[best] { k } else { best };
        (0..self.probabilities.len()).fold(0, larger)
    }

    /// Whether the predicted class is the true one.
    pub fn right(&self) -> bool {
        self.predicted() == self.truth
    }
}

/// The predictions of one model (or of one model per fold) over test images.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Names of the K classes, K >= 2.
    pub classes: Vec<String>,
    /// One row per test image and fold.
    pub rows: Vec<Prediction>,
}

impl Predictions {
    /// Reads a file: a head with `image`, `patient`, `fold`, `truth`, `predicted` and one `p_<class>` per class, in any
    /// order; `truth` and `predicted` are class names. Other columns are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read. [`Error::Format`], with the line, for a missing or doubled column, an unknown
    /// class, a probability that is no number, negative or not finite, probabilities that do not add up to 1 within
    /// 1e-3, a `predicted` that is not the class of the largest probability, an image twice in a fold, and for a file
    /// without rows.
    pub fn read(path: &Path) -> Result<Predictions> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
        Predictions::parse(&bytes).map_err(|reason| Error::format(path, reason))
    }

    /// As [`Predictions::read`], from the file's content; the error is the reason.
    fn parse(bytes: &[u8]) -> std::result::Result<Predictions, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
        let head = reader.headers().map_err(|e| format!("line 1: {e}"))?.clone();
        let head: Vec<&str> = head.iter().collect();
        let column = |name: &str| match head.iter().filter(|h| **h == name).count() {
            0 => Err(format!("line 1: no column \"{name}\"; {}", nearest(name, &head))),
            1 => Ok(head.iter().position(|h| *h == name).unwrap_or_default()),
            n => Err(format!("line 1: column \"{name}\" occurs {n} times")),
        };
        let [image, patient, fold, truth, predicted] = COLUMNS.map(column);
        let (image, patient, fold, truth, predicted) = (image?, patient?, fold?, truth?, predicted?);
        let (at, classes): (Vec<usize>, Vec<String>) = head
            .iter()
            .enumerate()
            .filter_map(|(i, h)| h.strip_prefix(PROBABILITY).map(|class| (i, class.to_string())))
            .unzip();
        check_classes(&classes).map_err(|e| format!("line 1: {e} (columns p_<class>)"))?;
        let names: Vec<&str> = classes.iter().map(String::as_str).collect();
        let (mut rows, mut seen) = (Vec::new(), HashSet::new());
        for record in reader.records() {
            let record = record.map_err(|e| match e.position() {
                Some(p) => format!("line {}: {}", p.line(), row_reason(&e)),
                None => e.to_string(),
            })?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |i: usize| record.get(i).unwrap_or_default();
            let class = |i: usize| {
                let unknown =
                    || format!("line {line}: {} \"{}\" is no class; {}", head[i], field(i), nearest(field(i), &names));
                names.iter().position(|n| *n == field(i)).ok_or_else(unknown)
            };
            let number = |i: usize| {
                let bad = || format!("line {line}: {} is \"{}\"; a number is needed", head[i], field(i));
                field(i).trim().parse::<f64>().map_err(|_| bad())
            };
            let row = Prediction {
                image: field(image).to_string(),
                patient: field(patient).to_string(),
                fold: field(fold).trim().parse().map_err(|_| {
                    format!("line {line}: fold is \"{}\"; a whole number from 0 on is needed", field(fold))
                })?,
                truth: class(truth)?,
                probabilities: at.iter().map(|&i| number(i)).collect::<std::result::Result<_, _>>()?,
            };
            check_row(&row, &classes).map_err(|e| format!("line {line}: {e}"))?;
            let named = class(predicted)?;
            if row.probabilities[named] < row.probabilities[row.predicted()] {
                let largest = &classes[row.predicted()];
                let named = &classes[named];
                return Err(format!(
                    "line {line}: predicted is \"{named}\", but \"{largest}\" has the largest probability"
                ));
            }
            if !seen.insert((row.fold, row.image.clone())) {
                return Err(format!("line {line}: image \"{}\" is there twice in fold {}", row.image, row.fold));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err("no prediction in it: at least one row is needed below the head".into());
        }
        Ok(Predictions { classes, rows })
    }

    /// That every row is one that [`Predictions::read`] would take.
    ///
    /// # Errors
    /// [`Error::Data`] with the row's number, from 1.
    pub fn validate(&self) -> Result<()> {
        check_classes(&self.classes).map_err(|e| Error::Data(format!("predictions: {e}")))?;
        if self.rows.is_empty() {
            return Err(Error::Data("predictions: not one image".into()));
        }
        let mut seen = HashSet::new();
        for (row, number) in self.rows.iter().zip(1..) {
            check_row(row, &self.classes).map_err(|e| Error::Data(format!("predictions, row {number}: {e}")))?;
            if !seen.insert((row.fold, row.image.as_str())) {
                let (image, fold) = (&row.image, row.fold);
                return Err(Error::Data(format!(
                    "predictions, row {number}: image \"{image}\" is there twice in fold {fold}"
                )));
            }
        }
        Ok(())
    }

    /// Writes the file atomically; [`Predictions::read`] gives back the same bits.
    ///
    /// # Errors
    /// As [`Predictions::validate`] and [`crate::files::write_atomic`].
    pub fn write(&self, path: &Path) -> Result<()> {
        self.validate()?;
        let failed = |e: csv::Error| Error::Internal(format!("{}: {e}", path.display()));
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = self.classes.iter().map(|c| format!("{PROBABILITY}{c}"));
        writer.write_record(COLUMNS.map(String::from).into_iter().chain(columns)).map_err(failed)?;
        for row in &self.rows {
            let (truth, predicted) = (&self.classes[row.truth], &self.classes[row.predicted()]);
            let keys = [row.image.clone(), row.patient.clone(), row.fold.to_string(), truth.clone(), predicted.clone()];
            // `{:?}` is the shortest text that reads back as the same f64.
            let numbers = row.probabilities.iter().map(|p| format!("{p:?}"));
            writer.write_record(keys.into_iter().chain(numbers)).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
        crate::files::write_atomic(path, &bytes)
    }

    /// True class of each row.
    pub fn truths(&self) -> Vec<usize> {
        self.rows.iter().map(|r| r.truth).collect()
    }

    /// Predicted class of each row.
    pub fn predicted(&self) -> Vec<usize> {
        self.rows.iter().map(Prediction::predicted).collect()
    }

    /// Probability of class `k` in each row.
    ///
    /// # Panics
    /// When there is no class `k`.
    #[track_caller]
    pub fn scores(&self, k: usize) -> Vec<f64> {
        self.rows.iter().map(|r| r.probabilities[k]).collect()
    }

    /// Numbers of the folds, ascending.
    pub fn folds(&self) -> Vec<u32> {
        self.rows.iter().map(|r| r.fold).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

fn row_reason(e: &csv::Error) -> String {
    match e.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, the head has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".into(),
        _ => e.to_string(),
    }
}

fn check_classes(classes: &[String]) -> std::result::Result<(), String> {
    if classes.len() < 2 {
        return Err(format!("{} classes; two or more are needed", classes.len()));
    }
    let twice = |(i, c): &(usize, &String)| classes[..*i].contains(c);
    match classes.iter().enumerate().find(twice) {
        Some((_, class)) => Err(format!("class \"{class}\" is there twice")),
        None if classes.iter().any(String::is_empty) => Err("a class without a name".into()),
        None => Ok(()),
    }
}

fn check_row(row: &Prediction, classes: &[String]) -> std::result::Result<(), String> {
    if row.image.is_empty() {
        return Err("image is empty; a key is needed".into());
    }
    if row.truth >= classes.len() {
        return Err(format!("true class {} of {} classes", row.truth, classes.len()));
    }
    if row.probabilities.len() != classes.len() {
        return Err(format!("{} probabilities for {} classes", row.probabilities.len(), classes.len()));
    }
    for (p, class) in row.probabilities.iter().zip(classes) {
        if !p.is_finite() || *p < 0.0 {
            return Err(format!("p_{class} is {p}; a probability is needed, a finite number from 0 on"));
        }
    }
    let sum: f64 = row.probabilities.iter().sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(format!("the probabilities add up to {sum:.6}; 1 within {SUM_TOLERANCE} is needed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "image,patient,fold,truth,predicted,p_normal,p_COVID-19\n";

    fn reason(text: &str) -> String {
        Predictions::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_file_reads_back_to_the_last_bit() {
        let probabilities =
            [vec![1.0 / 3.0, 2.0 / 3.0], vec![1.0 - 1e-17, 1e-17], vec![0.0, 1.0], vec![0.1 + 0.2, 0.7]];
        let row = |(i, p): (usize, &Vec<f64>)| Prediction {
            image: format!("im,{i}\"ü"),
            patient: if i == 0 { String::new() } else { "p\n1".into() },
            fold: i as u32,
            truth: i % 2,
            probabilities: p.clone(),
        };
        let classes = vec!["normal".to_string(), "a, \"b\"".into()];
        let all = Predictions { classes, rows: probabilities.iter().enumerate().map(row).collect() };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/predictions.csv");
        all.write(&path).unwrap();
        assert_eq!(Predictions::read(&path).unwrap(), all);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("image,patient,fold,truth,predicted,p_normal,\"p_a, \"\"b\"\"\"\n"), "{text}");
        assert_eq!(
            (all.predicted(), all.truths(), all.folds()),
            (vec![1, 0, 1, 1], vec![0, 1, 0, 1], vec![0, 1, 2, 3])
        );
    }

    #[test]
    fn columns_may_stand_in_any_order_and_others_are_passed_over() {
        let text = "\u{feff}p_b,source,truth,fold,image,p_a,predicted,patient\r\n0.25,nih,b,2,x,0.75,a,7\r\n";
        let read = Predictions::parse(text.as_bytes()).unwrap();
        assert_eq!(read.classes, ["b", "a"]);
        let want =
            Prediction { image: "x".into(), patient: "7".into(), fold: 2, truth: 0, probabilities: vec![0.25, 0.75] };
        assert_eq!(read.rows, [want]);
        assert!(!read.rows[0].right());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (rows, want) in [
            ("x,1,0,normal,normal,0.5,NaN\n", "line 2: p_COVID-19 is NaN; a probability is needed"),
            ("x,1,0,normal,normal,inf,0\n", "line 2: p_normal is inf"),
            ("x,1,0,normal,normal,1.5,-0.5\n", "line 2: p_COVID-19 is -0.5"),
            ("x,1,0,normal,normal,0.9,0.2\n", "line 2: the probabilities add up to 1.100000; 1 within 0.001 is needed"),
            ("x,1,0,normal,normal,0.9,\n", "line 2: p_COVID-19 is \"\"; a number is needed"),
            ("x,1,0,Normal,normal,0.9,0.1\n", "line 2: truth \"Normal\" is no class; did you mean 'normal'?"),
            ("x,1,0,normal,covid,0.9,0.1\n", "line 2: predicted \"covid\" is no class"),
            ("x,1,0,normal,COVID-19,0.9,0.1\n", "line 2: predicted is \"COVID-19\", but \"normal\" has the largest"),
            ("x,1,a,normal,normal,0.9,0.1\n", "line 2: fold is \"a\"; a whole number"),
            (",1,0,normal,normal,0.9,0.1\n", "line 2: image is empty"),
            (
                "x,1,0,normal,normal,0.9,0.1\nx,1,0,normal,normal,0.9,0.1\n",
                "line 3: image \"x\" is there twice in fold 0",
            ),
            ("x,1,0,normal,normal,0.9,0.1\nx,1,0,normal\n", "line 3: 4 fields, the head has 7"),
            ("", "no prediction in it"),
        ] {
            let found = reason(&format!("{HEAD}{rows}"));
            assert!(found.contains(want), "{found:?} should say {want:?}");
        }
        for (head, want) in [
            ("image,patient,truth,predicted,p_a,p_b\n", "line 1: no column \"fold\""),
            ("image,patient,fold,truth,predicted,p_a\n", "line 1: 1 classes; two or more are needed"),
            ("image,patient,fold,truth,predicted,p_a,p_a\n", "line 1: class \"a\" is there twice"),
            ("image,image,patient,fold,truth,predicted,p_a,p_b\n", "line 1: column \"image\" occurs 2 times"),
            ("", "line 1: no column \"image\""),
        ] {
            assert!(reason(head).contains(want), "{} should say {want:?}", reason(head));
        }
        assert!(
            Predictions::parse(b"image,patient,fold,truth,predicted,p_a,p_b\n\xff,1,0,a,a,1,0\n")
                .unwrap_err()
                .contains("line 2: not UTF-8")
        );
        // The same image in two folds (repeated cross-validation) is no fault, and equal probabilities decide nothing.
        let twice = format!("{HEAD}x,1,0,normal,normal,0.9,0.1\nx,1,1,normal,COVID-19,0.5,0.5\n");
        assert_eq!(Predictions::parse(twice.as_bytes()).unwrap().rows[1].predicted(), 0);
    }

    #[test]
    fn damaged_files_are_refused_or_valid_and_never_a_panic() {
        let whole = format!("{HEAD}x,1,0,normal,normal,0.9,0.1\n\"y,\"\"z\",,1,COVID-19,normal,0.5,0.5\n");
        let check = |bytes: &[u8]| {
            if let Ok(read) = Predictions::parse(bytes) {
                read.validate().unwrap();
            }
        };
        for at in 0..whole.len() {
            check(&whole.as_bytes()[..at]);
            for byte in [b'"', b',', b'\n', b'-', b'9', b'e', 0, 0xff] {
                let mut damaged = whole.clone().into_bytes();
                damaged[at] = byte;
                check(&damaged);
            }
        }
    }

    #[test]
    fn nothing_wrong_is_written() {
        let row = |p: [f64; 2]| Prediction {
            image: "x".into(),
            patient: "1".into(),
            fold: 0,
            truth: 0,
            probabilities: p.to_vec(),
        };
        let all = |rows: Vec<Prediction>| Predictions { classes: vec!["a".into(), "b".into()], rows };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("predictions.csv");
        for (rows, want) in [
            (vec![], "not one image"),
            (vec![row([0.5, f64::NAN])], "row 1: p_b is NaN"),
            (vec![row([0.5, 0.5]), row([1.0, 0.0])], "row 2: image \"x\" is there twice"),
            (vec![Prediction { truth: 2, ..row([1.0, 0.0]) }], "true class 2 of 2 classes"),
            (vec![Prediction { probabilities: vec![1.0], ..row([1.0, 0.0]) }], "1 probabilities for 2 classes"),
        ] {
            let e = all(rows).write(&path).unwrap_err();
            assert!(e.to_string().contains(want) && e.exit_code() == 5, "{e}");
            assert!(!path.exists());
        }
        let e = Predictions::read(&path).unwrap_err();
        assert!(e.to_string().contains("predictions.csv: cannot read") && e.exit_code() == 1, "{e}");
    }
}
