//! What a run writes: `metrics.json`, charts, Grad-CAM panels, weights, the fold file and `report.html`.

use super::explain::Explained;
use super::options::ClassWeights;
use super::{AUGMENT, Cohort, Options};
use crate::data::detl::STAGE2_CLASSES;
use crate::data::planes::PREPROCESSING;
use crate::data::split::SplitBy;
use crate::error::{Error, Result};
use crate::eval::cam_energy::CamSummary;
use crate::eval::cross_table::CrossTable;
use crate::eval::folds::Overall;
use crate::eval::metrics_file::{DataSummary, FORMAT, Metrics, RunInfo, SplitKind, StageInfo, Status};
use crate::files::{hex, write_atomic};
use crate::gpu::Gpu;
use crate::models::Network;
use crate::nn::{ParamStore, Trainable};
use crate::report::chart::{self, CurveRange};
use crate::report::html;
use crate::train::Normalize;
use crate::weights::{self, Card, Scaling};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Makes the output folder and checks that files can be written there, before hours are spent.
pub(super) fn prepare(out: &Path) -> Result<()> {
    let probe = out.join(".radiograd-probe");
    write_atomic(&probe, b"")?;
    std::fs::remove_file(&probe).map_err(Error::io(&probe, "cannot remove"))
}

/// `split.json`: which image is in which part, and the protocol, for other programs to repeat the run.
pub(super) fn split_file(cohort: &Cohort, o: &Options) -> Result<PathBuf> {
    let file = cohort.selection.split_file(&cohort.parts, &cohort.root, o.side, o.seed);
    let mut value = serde_json::to_value(&file).map_err(|e| Error::Internal(format!("split.json: {e}")))?;
    let mut augment = serde_json::to_value(AUGMENT).map_err(|e| Error::Internal(format!("split.json: {e}")))?;
    // The name under which programs that repeat the run know it.
    if let Some(rotation) = augment.as_object_mut().and_then(|a| a.remove("rotation")) {
        augment["rotation_degrees"] = rotation;
    }
    value["protocol"] = json!({
        "stage1_epochs": o.stage1_epochs(), "stage2_epochs": o.stage2_epochs(), "batch": o.batch(),
        "lr1": o.lr1, "lr2": o.lr2(), "momentum": 0.9,
        "stage2_mirror": o.stage2_mirror(),
        "class_weights": o.class_weights(&cohort.parts.train1, cohort.selection.stage1_classes.len()),
        "augment": augment,
        "normalise": {"subtract": super::NORMALIZE.mean, "multiply": super::NORMALIZE.scale},
    });
    let path = o.out.join("split.json");
    let text = serde_json::to_string(&value).map_err(|e| Error::Internal(format!("split.json: {e}")))?;
    write_atomic(&path, text.as_bytes())?;
    Ok(path)
}

/// The metrics of a run that has not started.
pub(super) fn blank(gpu: &Gpu, o: &Options, cohort: &Cohort) -> Result<Metrics> {
    let network = Network::named("detl12")?;
    let count = |classes: usize, t: &Trainable| {
        let mut params = network.init(o.side, classes, 0);
        params.params.iter_mut().for_each(|p| p.trainable = t.includes(&p.name));
        params.count()
    };
    let stage2 = Trainable::Matching(super::STAGE2_TRAINABLE.map(String::from).to_vec());
    let (parts, classes) = (&cohort.parts, STAGE2_CLASSES.map(String::from).to_vec());
    let [train, val, _] = &parts.folds[0];
    let stages = vec![
        StageInfo {
            name: "stage 1".into(),
            task: cohort.selection.stage1_classes.join(" against "),
            optimizer: match o.class_weights {
                ClassWeights::Balanced => "Adam, classes weighted by frequency".into(),
                ClassWeights::None => "Adam".into(),
            },
            learning_rate: o.lr1,
            schedule: "cosine annealing".into(),
            epochs: o.stage1_epochs() as u32,
            trainable: count(2, &Trainable::All).1 as u64,
            train_images: parts.train1.len() as u64,
            validation_images: parts.val1.len() as u64,
        },
        StageInfo {
            name: "stage 2".into(),
            task: match o.stage2_mirror() {
                true => format!("{}; images mirrored at random", STAGE2_CLASSES.join(", ")),
                false => STAGE2_CLASSES.join(", "),
            },
            optimizer: "SGD, momentum 0.9".into(),
            learning_rate: o.lr2(),
            schedule: "constant".into(),
            epochs: o.stage2_epochs() as u32,
            trainable: count(STAGE2_CLASSES.len(), &stage2).1 as u64,
            train_images: train.len() as u64,
            validation_images: val.len() as u64,
        },
    ];
    let (images, patients) = cohort.counts();
    let (split, warnings) = match o.split {
        SplitBy::Patient => (SplitKind::Patient, Vec::new()),
        SplitBy::Image => (SplitKind::Image, Vec::new()),
    };
    let run = RunInfo {
        title: format!("DETL (Basu and Mitra 2020) on {}", cohort.name),
        network: network.name.into(),
        parameters: count(STAGE2_CLASSES.len(), &stage2).0 as u64,
        side: o.side as u32,
        batch: o.batch() as u32,
        preprocessing: format!("{PREPROCESSING}; {}", super::NORMALIZE.describe()),
        split,
        planned_folds: o.folds() as u32,
        stages,
        seeds: BTreeMap::from([("all".into(), o.seed)]),
        adapter: gpu.info.name.clone(),
        driver: format!("{} {}", gpu.info.driver, gpu.info.driver_info),
        backend: format!("{:?}", gpu.info.backend),
        software_adapter: gpu.is_software(),
        plan_memory_bytes: 0,
        seconds: 0.0,
        data_sha256: cohort.digest(),
        folds_sha256: None,
    };
    let data = DataSummary {
        name: cohort.name.clone(),
        images,
        patients,
        tables: vec![CrossTable::count("source", &classes, cohort.sources())?],
        classes,
        dropped: cohort.dropped.clone(),
    };
    let mut metrics = Metrics {
        format: FORMAT.into(),
        program: concat!("radiograd ", env!("CARGO_PKG_VERSION")).into(),
        status: Status::Interrupted,
        run,
        data,
        overall: None,
        folds: Vec::new(),
        cam: None,
        history: Vec::new(),
        warnings,
    };
    metrics.warnings.extend(cohort.selection.notes.iter().cloned());
    if o.smoke {
        metrics.warnings.push("A smoke run: a few images and epochs, its accuracy means nothing.".into());
    }
    Ok(metrics)
}

/// A weights file with enough in it to predict from it alone.
pub(super) fn weights(
    path: &Path,
    params: &ParamStore,
    o: &Options,
    metrics: &Metrics,
    classes: &[String],
    normalize: &Normalize,
) -> Result<()> {
    let card = Card {
        network: Network::named(&metrics.run.network)?,
        side: o.side,
        classes: classes.to_vec(),
        scaling: Scaling::Same(*normalize),
        preprocessing: Default::default(),
    };
    let mut info = card.metadata();
    info.extend([
        ("data_sha256".to_string(), metrics.run.data_sha256.clone()),
        ("program".into(), metrics.program.clone()),
        ("seed".into(), o.seed.to_string()),
    ]);
    weights::save(path, params, &info)
}

/// Writes everything that can be shown so far; returns the paths.
pub(super) fn results(out: &Path, m: &mut Metrics, explained: &Explained) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = out.join(name);
        write_atomic(&path, bytes)?;
        written.push(path);
        Ok(())
    };
    m.overall = Overall::pool(&m.folds)?;
    m.cam = CamSummary::of("lesion", "predicted class", &m.data.classes, &explained.cams)?;
    if let Ok(text) = std::fs::read(out.join("split.json")) {
        m.run.folds_sha256 = Some(hex(&Sha256::digest(&text)));
    }
    let mut shown = m.clone();
    if shown.status == Status::Complete || crate::train::interrupt::requested() {
        shown.add_standard_warnings();
        m.warnings = shown.warnings.clone();
    }
    for stage in [1, 2] {
        let range = CurveRange::of(m.history.iter().filter(|h| h.stage == stage));
        for h in m.history.iter().filter(|h| h.stage == stage && !h.epochs.is_empty()) {
            put(&format!("curves-{}.svg", h.file_stem()), chart::curves(h, range)?.as_bytes())?;
        }
    }
    if let Some(overall) = &m.overall {
        let title = format!("All folds, accuracy {:.1} %", 100.0 * overall.accuracy);
        put("confusion.svg", chart::confusion(&overall.confusion, &title)?.as_bytes())?;
    }
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for item in &explained.gallery {
        // Numbered within the class, so that a later fold adds files and renames none.
        let number = numbers.entry(&item.truth).or_default();
        *number += 1;
        put(&format!("gradcam/{}-{number}.png", item.truth), &item.png)?;
    }
    put("report.html", html::render(m, &explained.gallery)?.as_bytes())?;
    m.write(&out.join("metrics.json"))?;
    written.push(out.join("metrics.json"));
    Ok(written)
}
