//! All folds of a cell, each kept on disk as soon as it is tested: a run that was stopped goes on where it was, and shards of
//! a run can be worked on by several machines.
//!
//! In the cell's folder: `predictions.csv`, and for each fold `fold-K/` with `fold.json` (what was measured), `predictions.csv`,
//! `weights.safetensors`, `checkpoint.safetensors` while it trains, and `cam/*.png`.

use super::cell::Cell;
use super::heat::{self, Extent, Heat, Panel};
use super::task::Task;
use super::train::{Context, Labels, Trained, train};
use crate::data::division::Parts;
use crate::data::preprocessing::Preprocessing;
use crate::error::{Error, Result};
use crate::eval::confusion::Confusion;
use crate::eval::folds::{FoldMetrics, FoldTraining, Overall};
use crate::eval::metrics_file::History;
use crate::eval::predictions::{Prediction, Predictions};
use crate::files::{hex, write_atomic};
use crate::train::{Observer, class_of, interrupt, probabilities};
use crate::weights::{self, Card};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// The format tag of `fold.json`.
const FORMAT: &str = "radiograd-fold-1";

/// How a cell is run.
#[derive(Clone)]
pub struct RunOptions<'a> {
    /// The cell's folder.
    pub out: &'a Path,
    /// How much is explained.
    pub extent: Extent,
    /// Of so many shards, the one to do (from 1): folds whose number leaves that remainder.
    pub shard: Option<(usize, usize)>,
    /// Writes the folds' weights.
    pub weights: bool,
    /// Writes checkpoints while training.
    pub checkpoints: bool,
    /// Who is told of epochs.
    pub observer: Option<Rc<dyn Observer>>,
    /// SHA-256 of the images ([`Task::digest`], which reads all of them) and of their division.
    pub digests: [&'a str; 2],
}

impl<'a> RunOptions<'a> {
    /// Everything, in this folder: all folds, weights, checkpoints, the heat of 24 images and two panels a class.
    pub fn new(out: &'a Path, digests: [&'a str; 2]) -> RunOptions<'a> {
        RunOptions {
            out,
            extent: Extent { images: 24, panels: 2, contour: false },
            shard: None,
            weights: true,
            checkpoints: true,
            observer: None,
            digests,
        }
    }
}

/// What a fold gave; the content of `fold.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldRecord {
    /// Always `radiograd-fold-1`.
    format: String,
    /// SHA-256 over everything that the result follows from.
    digest: String,
    /// The fold's name.
    pub name: String,
    /// Its figures.
    pub metrics: FoldMetrics,
    /// Its epochs.
    pub history: History,
    /// Why training ended.
    pub ended: String,
    /// Parameters that trained, and all of them.
    pub trained: (usize, usize),
    /// Bytes of the training plan.
    pub plan_bytes: u64,
    /// Where the network looked.
    pub heats: Vec<Heat>,
    /// Panels.
    pub panels: Vec<Panel>,
}

/// What a cell gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The cell's name.
    pub name: String,
    /// Folds that were planned.
    pub planned: usize,
    /// Folds that there are.
    pub folds: Vec<FoldRecord>,
    /// What was said of the test images, all folds together.
    pub predictions: Predictions,
    /// All folds pooled.
    pub overall: Overall,
}

impl Outcome {
    /// Whether all folds are there.
    pub fn is_complete(&self) -> bool {
        self.folds.len() == self.planned
    }

    /// The heat of all folds' images.
    pub fn heats(&self) -> Vec<Heat> {
        self.folds.iter().flat_map(|f| f.heats.iter().cloned()).collect()
    }
}

/// A cell on a task's folds.
pub struct Run<'a> {
    /// Device, caches, initial weights.
    pub context: Context<'a>,
    /// What is trained.
    pub cell: &'a Cell,
    /// The images.
    pub task: &'a Task,
    /// Their division.
    pub folds: &'a [Parts],
}

impl Run<'_> {
    /// Does what is not done yet of the shard's folds, and collects all that there are.
    ///
    /// # Errors
    /// As [`train`] and [`heat::explain`]; [`Error::Usage`] for an impossible shard, [`Error::Io`] when a file cannot be written, [`Error::Interrupted`] naming the
    /// folder from which the run goes on.
    pub fn run(&self, o: &RunOptions) -> Result<Outcome> {
        if let Some((i, n)) = o.shard.filter(|(i, n)| *i == 0 || i > n) {
            return Err(Error::Usage(format!("shard {i}/{n}: the first of n shards is 1/n, the last n/n")));
        }
        let common = self.common(o.digests[0]);
        let mut folds = Vec::new();
        let mut rows = Vec::new();
        for (k, parts) in self.folds.iter().enumerate() {
            let folder = o.out.join(format!("fold-{}", k + 1));
            let digest = digest(common.clone(), parts);
            let mine = o.shard.is_none_or(|(i, n)| k % n == i - 1);
            let found = match read(&folder, &digest)? {
                Some(found) => Some(found),
                None if mine => Some(self.fold(k, parts, &folder, digest, o)?),
                None => None,
            };
            if let Some((record, said)) = found {
                folds.push(record);
                rows.extend(said.rows);
            }
        }
        let metrics: Vec<FoldMetrics> = folds.iter().map(|f: &FoldRecord| f.metrics.clone()).collect();
        let overall = Overall::pool(&metrics)?
            .ok_or_else(|| Error::Usage(format!("{}: this shard has no fold", self.cell.name)))?;
        let predictions = Predictions { classes: self.task.classes.clone(), rows };
        predictions.write(&o.out.join("predictions.csv"))?;
        Ok(Outcome { name: self.cell.name.clone(), planned: self.folds.len(), folds, predictions, overall })
    }

    /// What all folds follow from, hashed: the cell, the adapter, the initial weights and the images.
    fn common(&self, data: &str) -> Sha256 {
        let mut h = Sha256::new();
        for (key, value) in self.cell.describe() {
            h.update(format!("{key} = {value}\n"));
        }
        let info = &self.context.gpu.info;
        let storage = self.context.gpu.storage();
        h.update(format!("{} | {} | {} | {storage:?}\n", info.name, info.driver, info.driver_info));
        h.update(self.context.start.map_or_else(String::new, crate::nn::ParamStore::digest));
        h.update(data);
        h
    }

    fn fold(
        &self,
        k: usize,
        parts: &Parts,
        folder: &Path,
        digest: String,
        o: &RunOptions,
    ) -> Result<(FoldRecord, Predictions)> {
        let (start, task) = (Instant::now(), self.task);
        let label = format!("{}, {}", self.cell.name, parts.name);
        let checkpoint = folder.join("checkpoint.safetensors");
        let labels = Labels {
            label: label.clone(),
            checkpoint: o.checkpoints.then_some(&checkpoint),
            observer: o.observer.clone(),
        };
        let trained = train(&self.context, self.cell, task, &task.planes, parts, labels)?;
        if trained.fit.interrupted() || interrupt::requested() {
            let m = format!("{label}: interrupted; the same command goes on from {}", folder.display());
            return Err(Error::Interrupted(m));
        }
        let predictions = self.predictions(k as u32 + 1, parts, &trained.logits);
        let truth: Vec<usize> = predictions.rows.iter().map(|r| r.truth).collect();
        let said: Vec<usize> = trained.logits.iter().map(|l| class_of(l)).collect();
        let (heats, panels) = heat::explain(&self.context, &trained, task, &parts.test, o.extent)?;
        for p in &panels {
            write_atomic(&folder.join(&p.file), &p.png)?;
        }
        predictions.write(&folder.join("predictions.csv"))?;
        if o.weights {
            self.save(&folder.join("weights.safetensors"), &trained, o)?;
        }
        let patients = |part: &[usize]| {
            part.iter().map(|&i| task.images[i].group).collect::<std::collections::BTreeSet<_>>().len() as u64
        };
        let training = FoldTraining {
            train_images: parts.train.len() as u64,
            validation_images: parts.val.len() as u64,
            test_patients: patients(&parts.test),
            best_epoch: trained.fit.best_epoch,
            validation_accuracy: trained.fit.validation_accuracy,
            seconds: start.elapsed().as_secs_f64(),
            weights_sha256: trained.fit.params.digest(),
        };
        let confusion = Confusion::from_labels(&task.classes, &truth, &said)?;
        let record = FoldRecord {
            format: FORMAT.into(),
            digest,
            name: parts.name.clone(),
            metrics: FoldMetrics::new(k as u32 + 1, confusion, training)?,
            history: History {
                stage: 1,
                fold: Some(k as u32 + 1),
                best_epoch: trained.fit.best_epoch,
                epochs: trained.fit.history.clone(),
            },
            ended: format!("{:?}", trained.fit.ended),
            trained: trained.trained,
            plan_bytes: trained.fit.plan_bytes,
            heats,
            panels,
        };
        // Last: a fold whose record is there is done.
        let text = serde_json::to_string(&record).map_err(|e| Error::Internal(format!("fold.json: {e}")))?;
        write_atomic(&folder.join("fold.json"), text.as_bytes())?;
        if o.checkpoints && checkpoint.exists() {
            std::fs::remove_file(&checkpoint).map_err(Error::io(&checkpoint, "cannot remove"))?;
        }
        let m = &record.metrics;
        let accuracy = 100.0 * m.accuracy;
        self.context.talk.say(format_args!("{label}: test accuracy {accuracy:.1} % of {} images", m.images));
        Ok((record, predictions))
    }

    fn predictions(&self, fold: u32, parts: &Parts, logits: &[Vec<f32>]) -> Predictions {
        let row = |(&i, l): (&usize, &Vec<f32>)| Prediction {
            image: self.task.images[i].name.clone(),
            patient: self.task.images[i].patient.clone(),
            fold,
            truth: self.task.labels[i],
            probabilities: probabilities(l),
        };
        Predictions { classes: self.task.classes.clone(), rows: parts.test.iter().zip(logits).map(row).collect() }
    }

    /// A weights file that predicts alone.
    fn save(&self, path: &Path, trained: &Trained, o: &RunOptions) -> Result<()> {
        let (network, scaling) = (trained.network.clone(), trained.scaling);
        let card = Card {
            network,
            side: self.task.side,
            classes: self.task.classes.clone(),
            scaling,
            preprocessing: Preprocessing::parse(&self.task.preprocessing).unwrap_or_default(),
        };
        let mut info = card.metadata();
        info.insert("seed".into(), self.cell.seed.to_string());
        info.insert("base".into(), if self.cell.weights.is_some() { "loaded" } else { "random" }.into());
        let [data, folds] = o.digests.map(String::from);
        info.extend([("data_sha256".to_string(), data), ("folds_sha256".into(), folds)]);
        weights::save(path, &trained.fit.params, &info)
    }
}

/// SHA-256 over what all folds follow from and the parts of this one.
fn digest(mut common: Sha256, parts: &Parts) -> String {
    for part in [&parts.train, &parts.val, &parts.test] {
        common.update((part.len() as u64).to_le_bytes());
        part.iter().for_each(|&i| common.update((i as u64).to_le_bytes()));
    }
    hex(&common.finalize())
}

/// The fold in `folder`, if it is there and of the same digest.
fn read(folder: &Path, digest: &str) -> Result<Option<(FoldRecord, Predictions)>> {
    let path: PathBuf = folder.join("fold.json");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    let mut record: FoldRecord =
        serde_json::from_slice(&bytes).map_err(|e| Error::format(&path, format!("no record of a fold: {e}")))?;
    if record.format != FORMAT || record.digest != digest {
        let m = "holds a fold of another configuration, of other images or of another adapter; choose another --out, or remove it";
        return Err(Error::Usage(format!("{}: {m}", path.display())));
    }
    for panel in &mut record.panels {
        panel.load(folder)?;
    }
    Ok(Some((record, Predictions::read(&folder.join("predictions.csv"))?)))
}
