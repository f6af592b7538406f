//! `history.csv`: a row an epoch of each training.

use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use crate::files::write_atomic;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The rows of the file; the trainings in the order in which they began.
#[derive(Debug)]
pub(super) struct History {
    rows: Vec<Row>,
    path: PathBuf,
}

/// A row. Without serde's flattening, which the CSV writer has no headers for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    label: String,
    epoch: u32,
    train_loss: Option<f64>,
    train_accuracy: Option<f64>,
    validation_loss: Option<f64>,
    validation_accuracy: Option<f64>,
    learning_rate: f64,
    seconds: f64,
    /// 1 in the row of the epoch whose weights are kept.
    kept: u8,
}

impl Row {
    fn new(label: &str, r: &EpochRecord, kept: bool) -> Row {
        // NaN is written as nothing, as everywhere.
        let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
        Row {
            label: label.into(),
            epoch: r.epoch,
            train_loss: finite(r.train_loss),
            train_accuracy: finite(r.train_accuracy),
            validation_loss: finite(r.validation_loss),
            validation_accuracy: finite(r.validation_accuracy),
            learning_rate: r.learning_rate,
            seconds: r.seconds,
            kept: u8::from(kept),
        }
    }
}

impl History {
    /// Reads the file where it is.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a file with other columns or content.
    pub(super) fn open(path: &Path) -> Result<History> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(History { rows: Vec::new(), path: path.into() });
            }
            Err(e) => return Err(Error::io(path, "cannot read")(e)),
        };
        let bad = |e: csv::Error| Error::format(path, e);
        let mut csv = csv::Reader::from_reader(&bytes[..]);
        let header = csv.headers().map_err(bad)?;
        if header != HEADER.as_slice() {
            let (there, needed) = (header.iter().collect::<Vec<_>>().join(","), HEADER.join(","));
            return Err(Error::format(path, format!("its columns are '{there}', needed are '{needed}'")));
        }
        let rows = csv.deserialize().collect::<std::result::Result<Vec<Row>, _>>().map_err(bad)?;
        Ok(History { rows, path: path.into() })
    }

    /// Makes `epochs` all that there is of a training, and writes the file if that changes it: rows of epochs that are going
    /// to be done again go, those that are missing come.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn set(&mut self, label: &str, epochs: &[EpochRecord], best: Option<u32>) -> Result<()> {
        let rows: Vec<Row> = epochs.iter().map(|r| Row::new(label, r, best == Some(r.epoch))).collect();
        let first = self.rows.iter().position(|r| r.label == label).unwrap_or(self.rows.len());
        let mut all: Vec<Row> = self.rows.iter().filter(|r| r.label != label).cloned().collect();
        all.splice(first..first, rows);
        if all == self.rows && self.path.exists() {
            return Ok(());
        }
        self.rows = all;
        self.write()
    }

    /// Adds an epoch, in place of one with its number, and writes the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn add(&mut self, label: &str, record: &EpochRecord, best: bool) -> Result<()> {
        self.rows.retain(|r| r.label != label || r.epoch != record.epoch);
        for r in self.rows.iter_mut().filter(|r| best && r.label == label) {
            r.kept = 0;
        }
        let last = self.rows.iter().rposition(|r| r.label == label && r.epoch < record.epoch);
        let at = last.map_or(self.rows.len(), |last| last + 1);
        self.rows.insert(at, Row::new(label, record, best));
        self.write()
    }

    fn write(&self) -> Result<()> {
        let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        let bad = |e: csv::Error| Error::Internal(format!("history.csv: {e}"));
        csv.write_record(HEADER).map_err(bad)?;
        for row in &self.rows {
            csv.serialize(row).map_err(bad)?;
        }
        let bytes = csv.into_inner().map_err(|e| Error::Internal(format!("history.csv: {e}")))?;
        write_atomic(&self.path, &bytes)
    }
}

const HEADER: [&str; 9] = [
    "label",
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
    "kept",
];

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn record(epoch: u32) -> EpochRecord {
        EpochRecord {
            epoch,
            train_loss: Some(0.1 + 0.2),
            train_accuracy: Some(1.0 / f64::from(epoch)),
            validation_loss: Some(f64::NAN),
            validation_accuracy: None,
            learning_rate: 1e-7,
            seconds: 2.5,
        }
    }

    fn epochs(path: &Path) -> Vec<(String, u32, u8)> {
        History::open(path).unwrap().rows.into_iter().map(|r| (r.label, r.epoch, r.kept)).collect()
    }

    #[test]
    fn rows_come_back_and_are_never_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.csv");
        let mut h = History::open(&path).unwrap();
        let (a, b) = ("stage 1", "stage 2, fold \"3\"");
        h.set(a, &[], None).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEADER.join(",") + "\n");
        for (label, epoch, best) in [(a, 1, true), (b, 1, true), (a, 2, true), (a, 3, false), (b, 2, false)] {
            h.add(label, &record(epoch), best).unwrap();
        }
        let row = |l: &str, e, k| (l.to_string(), e, k);
        let whole = [row(a, 1, 0), row(a, 2, 1), row(a, 3, 0), row(b, 1, 1), row(b, 2, 0)];
        assert_eq!(epochs(&path), whole);
        let text = std::fs::read_to_string(&path).unwrap();
        let line = "stage 1,2,0.30000000000000004,0.5,,,1e-7,2.5,1";
        assert!(text.lines().any(|l| l == line) && !text.contains("NaN"), "{text}");
        // Read again: the same rows, bit for bit.
        let mut h = History::open(&path).unwrap();
        assert_eq!(h.rows[1], Row::new(a, &record(2), true));
        // It goes on from a checkpoint of epoch 1, and does 2 and 3 again; the other training has lost its second row.
        h.set(a, &[record(1)], Some(1)).unwrap();
        assert_eq!(epochs(&path), [row(a, 1, 1), row(b, 1, 1), row(b, 2, 0)]);
        h.add(a, &record(2), false).unwrap();
        h.add(a, &record(2), true).unwrap();
        h.set(b, &[record(1), record(2), record(3)], Some(3)).unwrap();
        assert_eq!(epochs(&path), [row(a, 1, 0), row(a, 2, 1), row(b, 1, 0), row(b, 2, 0), row(b, 3, 1)]);
    }

    #[test]
    fn another_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.csv");
        let text = HEADER.join(",") + "\nx,one,,,,,1,1,0\n";
        for bad in ["", "x", "label,epoch\nx,1\n", &text] {
            std::fs::write(&path, bad).unwrap();
            let e = History::open(&path).unwrap_err();
            assert!(e.exit_code() == 5 && e.to_string().contains("history.csv"), "{e}");
        }
    }
}
