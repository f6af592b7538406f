//! `metrics.json`: everything a run measured, for machines and for people.
//!
//! Field order is that of the structs below, lists are in a fixed order and numbers are as serde_json prints them, so
//! two equal runs differ in seconds only. A number that could not be measured is `null`; NaN is never written. No
//! patient, no file name and no path is in it.

use crate::error::{Error, Result};
use crate::eval::cam_energy::CamSummary;
use crate::eval::cross_table::CrossTable;
use crate::eval::folds::{FoldMetrics, Overall};
use crate::eval::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Value of [`Metrics::format`]; its number changes when a field changes its meaning or goes away.
pub const FORMAT: &str = "radiograd-metrics/1";

/// The content of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// [`FORMAT`].
    pub format: String,
    /// Name and version of the program, as in "radiograd 0.1.0".
    pub program: String,
    /// Whether the run came to its end.
    pub status: Status,
    /// What was run, on what.
    pub run: RunInfo,
    /// What it was run on.
    pub data: DataSummary,
    /// All folds that were tested, pooled; `None` before the first.
    pub overall: Option<Overall>,
    /// One entry per tested fold.
    pub folds: Vec<FoldMetrics>,
    /// Energy of the Grad-CAM maps inside masks, where the data has masks.
    pub cam: Option<CamSummary>,
    /// Loss and accuracy per epoch: stage 1, then each fold of stage 2.
    pub history: Vec<History>,
    /// What a reader must know before believing a figure.
    pub warnings: Vec<String>,
}

/// Whether a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All folds were trained and tested.
    Complete,
    /// The user interrupted it; folds that were not finished are missing.
    Interrupted,
}

/// How images were assigned to folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitKind {
    /// All images of a patient are in one fold.
    Patient,
    /// Images are assigned one by one, as in the paper: images of a patient can be in training and test.
    Image,
}

impl std::fmt::Display for SplitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SplitKind::Patient => "by patient",
            SplitKind::Image => "by image",
        })
    }
}

/// What was run, on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// What it is, as in "DETL (Basu and Mitra 2020), synthetic chest radiographs".
    pub title: String,
    /// Name of the network, as in "detl12".
    pub network: String,
    /// Number of its weights with the final head.
    pub parameters: u64,
    /// Width and height of the network's input in pixels.
    pub side: u32,
    /// Images in a training batch.
    pub batch: u32,
    /// How images become input, in words.
    pub preprocessing: String,
    /// How images were assigned to folds.
    pub split: SplitKind,
    /// Number of folds that were planned.
    pub planned_folds: u32,
    /// The training stages, in order.
    pub stages: Vec<StageInfo>,
    /// Every seed by its purpose.
    pub seeds: BTreeMap<String, u64>,
    /// Name of the adapter.
    pub adapter: String,
    /// Name and version of its driver.
    pub driver: String,
    /// Graphics API, as in "Vulkan".
    pub backend: String,
    /// Whether the adapter is software on the CPU.
    pub software_adapter: bool,
    /// Peak memory of the largest training plan in bytes.
    pub plan_memory_bytes: u64,
    /// Wall-clock time of the whole run.
    pub seconds: f64,
    /// SHA-256 over the images and labels that were used.
    pub data_sha256: String,
    /// SHA-256 of the file that lists the folds.
    pub folds_sha256: Option<String>,
}

/// One stage of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageInfo {
    /// As in "stage 1".
    pub name: String,
    /// What it learns from what, as in "normal against disease, 1,000 NIH images".
    pub task: String,
    /// As in "Adam" or "SGD, momentum 0.9".
    pub optimizer: String,
    /// First learning rate.
    pub learning_rate: f64,
    /// How it changes, as in "cosine annealing" or "constant".
    pub schedule: String,
    /// Epochs that were asked for.
    pub epochs: u32,
    /// Number of weights that are trained.
    pub trainable: u64,
    /// Number of training images (of the first fold, where there are folds).
    pub train_images: u64,
    /// Number of validation images (likewise).
    pub validation_images: u64,
}

/// The data that the folds were made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSummary {
    /// What the data is.
    pub name: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images per class.
    pub images: Vec<u64>,
    /// Patients per class; a patient with images of two classes counts in both.
    pub patients: Vec<u64>,
    /// Class × source, class × original size and the like.
    pub tables: Vec<CrossTable>,
    /// Images or rows that were left out, with the reason.
    pub dropped: Vec<Dropped>,
}

/// Images or rows that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// How many.
    pub rows: u64,
}

/// Epochs of one training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Stage, from 1.
    pub stage: u32,
    /// Fold, from 1, where the stage is trained once per fold.
    pub fold: Option<u32>,
    /// Epoch (from 1) whose weights were kept.
    pub best_epoch: Option<u32>,
    /// One record per epoch.
    pub epochs: Vec<EpochRecord>,
}

impl History {
    /// "stage 1" or "stage 2, fold 3".
    pub fn label(&self) -> String {
        match self.fold {
            Some(fold) => format!("stage {}, fold {fold}", self.stage),
            None => format!("stage {}", self.stage),
        }
    }

    /// "stage1" or "stage2-fold3", for file names.
    pub fn file_stem(&self) -> String {
        self.label().replace(", ", "-").replace(' ', "")
    }
}

/// One epoch. Losses are mean cross entropies in nats, accuracies shares of 1; `None` where nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 1.
    pub epoch: u32,
    /// Mean loss over the training batches, while the weights changed and with augmentation.
    pub train_loss: Option<f64>,
    /// Share of training images that were right, likewise.
    pub train_accuracy: Option<f64>,
    /// Mean loss over the validation images after the epoch.
    pub validation_loss: Option<f64>,
    /// Share of validation images that were right.
    pub validation_accuracy: Option<f64>,
    /// Learning rate of the epoch's first step.
    pub learning_rate: f64,
    /// Wall-clock time.
    pub seconds: f64,
}

impl Metrics {
    /// Appends the warnings that follow from the figures themselves: an interrupted run, folds by image, classes that
    /// coincide with another property, undefined scores, empty Grad-CAM maps. One that is there already is not
    /// repeated.
    pub fn add_standard_warnings(&mut self) {
        let mut found: Vec<String> = self.data.tables.iter().filter_map(CrossTable::warning).collect();
        if self.run.split == SplitKind::Image {
            found.push(
                "Folds are by image, not by patient: images of one patient can be in training and test, and the \
                 accuracy is then too high."
                    .into(),
            );
        }
        if self.status == Status::Interrupted {
            let (done, planned) = (self.folds.len(), self.run.planned_folds);
            found.push(format!("The run was interrupted: {done} of {planned} folds are in these figures."));
        }
        if let Some(overall) = &self.overall {
            found.extend(overall.confusion.undefined_notes().into_iter().map(|n| format!("The {n}.")));
        }
        if let Some(cam) = self.cam.as_ref().filter(|c| c.all.zero_maps > 0) {
            found.push(format!(
                "{} of {} Grad-CAM maps are 0 everywhere (no evidence for the explained class) or unusable; they are \
                 not in the energy figures.",
                cam.all.zero_maps, cam.all.images
            ));
        }
        for warning in found {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// [`Error::Numerics`] when a figure that must be there is NaN or infinite: it would be written as `null` and the
    /// file could not be read again.
    pub fn to_json(&self) -> Result<String> {
        let text = json::to_readable_string(self).map_err(|e| Error::Internal(format!("metrics.json: {e}")))?;
        match serde_json::from_str::<Metrics>(&text) {
            Ok(_) => Ok(text),
            Err(e) => {
                let line = text.lines().nth(e.line().saturating_sub(1)).unwrap_or("").trim();
                Err(Error::Numerics(format!("metrics.json would hold a number that is NaN or infinite, in: {line}")))
            }
        }
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// As [`Metrics::to_json`] and [`crate::files::write_atomic`].
    pub fn write(&self, path: &Path) -> Result<()> {
        crate::files::write_atomic(path, self.to_json()?.as_bytes())
    }

    /// Reads a file that [`Metrics::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is not of this format.
    pub fn read(path: &Path) -> Result<Metrics> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "cannot read"))?;
        let metrics: Metrics = serde_json::from_str(&text).map_err(|e| Error::format(path, e))?;
        if metrics.format != FORMAT {
            return Err(Error::format(path, format!("format \"{}\", expected \"{FORMAT}\"", metrics.format)));
        }
        let matrices = metrics.folds.iter().map(|f| &f.confusion).chain(metrics.overall.iter().map(|o| &o.confusion));
        for matrix in matrices {
            matrix.validate().map_err(|e| Error::format(path, e))?;
        }
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::confusion::Confusion;
    use crate::eval::folds::FoldTraining;

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

    fn metrics() -> Metrics {
        let classes = ["normal".to_string(), "COVID-19".to_string()];
        let folds: Vec<FoldMetrics> = [[[8, 2], [0, 0]], [[9, 1], [0, 0]]]
            .iter()
            .zip(1..)
            .map(|(counts, fold)| {
                let counts = counts.iter().map(|r| r.to_vec()).collect();
                FoldMetrics::new(fold, Confusion { classes: classes.to_vec(), counts }, training()).unwrap()
            })
            .collect();
        let images = [(0, "nih"), (0, "nih"), (1, "cohen"), (1, "cohen")];
        Metrics {
            format: FORMAT.into(),
            program: "radiograd 0.1.0".into(),
            status: Status::Interrupted,
            run: RunInfo {
                title: "DETL".into(),
                network: "detl12".into(),
                parameters: 1_000_000,
                side: 64,
                batch: 16,
                preprocessing: "gray, bilinear to 64×64".into(),
                split: SplitKind::Image,
                planned_folds: 5,
                stages: vec![],
                seeds: BTreeMap::from([("weights".into(), 1), ("folds".into(), 2)]),
                adapter: "llvmpipe".into(),
                driver: "Mesa 25.0.7".into(),
                backend: "Vulkan".into(),
                software_adapter: true,
                plan_memory_bytes: 123_456_789,
                seconds: 100.25,
                data_sha256: "cd".repeat(32),
                folds_sha256: None,
            },
            data: DataSummary {
                name: "test".into(),
                classes: classes.to_vec(),
                images: vec![2, 2],
                patients: vec![2, 2],
                tables: vec![CrossTable::count("source", &classes, images).unwrap()],
                dropped: vec![Dropped { reason: "no finding".into(), rows: 3 }],
            },
            overall: Overall::pool(&folds).unwrap(),
            folds,
            cam: None,
            history: vec![History {
                stage: 2,
                fold: Some(1),
                best_epoch: Some(1),
                epochs: vec![EpochRecord {
                    epoch: 1,
                    train_loss: Some(1.25),
                    train_accuracy: Some(0.5),
                    validation_loss: Some(f64::NAN),
                    validation_accuracy: None,
                    learning_rate: 1e-4,
                    seconds: 2.5,
                }],
            }],
            warnings: vec![],
        }
    }

    #[test]
    fn warnings_follow_from_the_figures_once() {
        let mut m = metrics();
        m.add_standard_warnings();
        m.add_standard_warnings();
        let all = m.warnings.join("\n");
        for part in ["Class coincides with source", "by image", "2 of 5 folds", "recall of COVID-19 is undefined"] {
            assert_eq!(all.matches(part).count(), 1, "{part} in {all}");
        }
    }

    #[test]
    fn file_reads_back_and_holds_no_nan() {
        let m = metrics();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.json");
        m.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("NaN") && text.contains("\"validation_loss\": null"), "{text}");
        assert_eq!(text, m.to_json().unwrap(), "same value, same bytes");
        let back = Metrics::read(&path).unwrap();
        let (a, b) = (back.overall.unwrap(), m.overall.unwrap());
        assert_eq!((a.confusion, a.images, back.data), (b.confusion, b.images, m.data));
        // Without its float_roundtrip feature serde_json may read the last bit otherwise.
        assert!((a.accuracy - b.accuracy).abs() < 1e-15);
        assert_eq!(back.history[0].epochs[0].validation_loss, None);
        assert!(text.lines().all(|l| l.chars().count() <= 250), "{text}");
    }

    #[test]
    fn a_figure_that_must_be_there_cannot_be_nan() {
        let mut m = metrics();
        m.run.seconds = f64::INFINITY;
        let e = m.to_json().unwrap_err();
        assert!(e.to_string().contains("\"seconds\": null") && e.exit_code() == 6, "{e}");
    }

    #[test]
    fn another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        let text = metrics().to_json().unwrap().replace(FORMAT, "radiograd-metrics/99");
        std::fs::write(&path, text).unwrap();
        assert!(Metrics::read(&path).unwrap_err().to_string().contains("expected \"radiograd-metrics/1\""));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Metrics::read(&path).unwrap_err().exit_code(), 5);
    }
}
