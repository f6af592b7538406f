//! Basu & Mitra's DETL as a table of figures. The protocol's numbers are those of [`super::detl`], the program that trains
//! DETL alone; here it runs as a cell like the other papers': divided by image and by patient, and asked what it reaches without lungs.

use super::Scale;
use super::detl::{AUGMENT, STAGE2_TRAINABLE};
use super::lab::{Lab, Plan};
use crate::data::detl::{DetlOptions, STAGE2_CLASSES, Selection};
use crate::data::division::{self, Parts};
use crate::data::file_name::slashed;
use crate::data::labels::Labelled;
use crate::data::table::Dataset;
use crate::error::Result;
use crate::experiment::heat::Extent;
use crate::experiment::{Cell, Figure, Findings, Freeze, Row, Synthetic, Task, Weighting};
use crate::nn::{Optimizer, ParamStore, Schedule};
use crate::train::Keep;
use std::collections::{BTreeMap, HashMap};

/// Side of the images; the paper names none.
const SIDE: usize = 64;

pub(super) fn run(lab: &Lab) -> Result<Findings> {
    let scale = lab.options.scale;
    let (first, second) = (stage1_task(lab)?, stage2_task(lab)?);
    let start = stage1(lab, &first, &second)?;
    let real = !lab.options.data.is_empty();
    let cell = Cell {
        freeze: Freeze::Base,
        epochs: scale.pick(2, if real { 20 } else { 8 }, 100),
        batch: if real { 16 } else { 8 },
        optimizer: Optimizer::sgd(0.9),
        // The synthetic run is short and has a rate of its own.
        schedule: Schedule::Constant { lr: if real { 1e-4 } else { 7e-3 } },
        keep: Keep::BestAccuracy,
        seed: lab.options.seed,
        ..Cell::new("stage-2", "detl12")
    };
    let folds = scale.pick(3, 5, 5);
    let plan = Plan {
        validation: 0.15,
        extent: Extent { images: 40, panels: 2, contour: false },
        ..Plan::kfold(folds, scale.pick(1, 5, 5))
    };
    let result = lab.cell(&second, &cell, &plan, Some(&start))?;
    let mut rows = vec![Row {
        note: "t interval over folds".into(),
        ..Row::of("accuracy, mean of the folds", "95.3 % +/- 0.02", &result, |o| {
            let folds: Vec<f64> = o.folds.iter().map(|f| f.metrics.accuracy).collect();
            Figure::mean(&folds)
        })
    }];
    for (k, class) in STAGE2_CLASSES.iter().enumerate() {
        let paper = if k == 0 || k == 3 { "100 %" } else { "-" };
        rows.push(Row::of(&format!("recall, {class}"), paper, &result, |o| Figure::recall(o, k)));
    }
    let mut reductions = Vec::new();
    if scale != Scale::Full {
        let (n, m) = (first.without_patients_of(&second).len(), second.len());
        reductions.push(format!(
            "{n} images in stage 1 (the paper: 108,948), {m} in stage 2 (1,197); {} epochs",
            cell.epochs
        ));
    }
    Ok(Findings {
        rows,
        readings: vec![
            format!("side {SIDE}: the paper names none"),
            format!("what trains in stage 2: {}", STAGE2_TRAINABLE.join(", ")),
            "validation is held out of training (the paper's wording allows overlap)".into(),
            "no patient of stage 2 is in stage 1".into(),
        ],
        reductions,
        warnings: second.notes.clone(),
        cells: vec![result],
        ..Findings::default()
    })
}

fn synthetic(scale: Scale) -> [usize; 2] {
    [scale.pick(80, 600, 600), scale.pick(40, 240, 300)]
}

/// Data-A.
fn stage1_task(lab: &Lab) -> Result<Task> {
    if lab.options.data.is_empty() {
        let [patients, _] = synthetic(lab.options.scale);
        let drawn = Synthetic::as_classes(patients, &["normal", "disease"], [Some(0), Some(1), Some(1), None]);
        return lab.task("normal-disease", &drawn, SIDE, None);
    }
    lab.chosen(SIDE, |data| {
        let s = draw(lab, data)?;
        Ok(labelled(data, &s, &s.stage1, &s.stage1_classes))
    })
}

/// Data-B.
fn stage2_task(lab: &Lab) -> Result<Task> {
    if lab.options.data.is_empty() {
        return lab.task("synthetic", &Synthetic::plain(synthetic(lab.options.scale)[1]), SIDE, None);
    }
    lab.chosen(SIDE, |data| {
        let s = draw(lab, data)?;
        Ok(labelled(data, &s, &s.stage2, &STAGE2_CLASSES))
    })
}

fn draw(lab: &Lab, data: &Dataset) -> Result<Selection> {
    let seed = lab.options.seed;
    let options = match lab.options.scale {
        Scale::Smoke => DetlOptions { normal: 40, pneumonia: 40, other: 36, seed, ..Default::default() },
        _ => DetlOptions { seed, ..Default::default() },
    };
    Selection::draw(data, &options)
}

fn labelled(data: &Dataset, s: &Selection, items: &[(usize, usize)], classes: &[&str]) -> Labelled {
    let at: HashMap<String, usize> = data.records.iter().enumerate().map(|(i, r)| (slashed(&r.file), i)).collect();
    let items =
        items.iter().filter_map(|(id, class)| Some((*at.get(&slashed(&s.images[*id].file))?, *class))).collect();
    Labelled { classes: classes.iter().map(|c| c.to_string()).collect(), items, dropped: BTreeMap::new() }
}

/// Stage 1 on the patients that stage 2 does not have.
fn stage1(lab: &Lab, all: &Task, second: &Task) -> Result<ParamStore> {
    let (scale, seed) = (lab.options.scale, lab.options.seed);
    let task = all.without_patients_of(second);
    // Stage 1 is not tested: what a hold-out would test trains.
    let parts = task.divide(&division::Options::holdout(seed))?.remove(0);
    let train_too = parts.train.iter().chain(&parts.val).copied().collect();
    let parts = Parts { train: train_too, val: parts.test.clone(), ..parts };
    let epochs = scale.pick(2, if lab.options.data.is_empty() { 3 } else { 20 }, 100);
    let cell = Cell {
        epochs,
        schedule: Schedule::Cosine { max: 1e-3, min: 0.0, epochs },
        class_weights: Weighting::Balanced,
        augment: Some(AUGMENT),
        seed,
        ..Cell::new("stage-1", "detl12")
    };
    lab.first_stage(&cell, &task, &parts)
}
