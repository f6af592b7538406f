//! Zhong: a convolutional network of 63,148,835 parameters, 80×80 pixels, COVID-19 against normal against pneumonia.

use super::lab::{Lab, Plan};
use crate::error::Result;
use crate::experiment::heat::Extent;
use crate::experiment::{Cell, Outcome, Synthetic, Weighting};
use crate::experiment::{Figure, Findings, Row};
use crate::nn::Schedule;
use crate::ops::{AugmentOptions, Smoothing};
use crate::train::{Keep, Loss};

/// Side of the images in the paper.
const SIDE: usize = 80;

/// Table 4: the class, its mean predicted probability with the paper's 95 % interval, its index in the label map `zhong`.
const PROBABILITIES: [(&str, &str, usize); 3] = [
    ("COVID-19", "84.45 % [81.85, 87.05]", 0),
    ("normal", "67.63 % [64.62, 70.63]", 1),
    ("pneumonia", "77.61 % [75.41, 79.81]", 2),
];

/// ε of label smoothing, and the weights of COVID-19, normal and pneumonia in the loss.
const SMOOTHING: f32 = 0.12;
const WEIGHTS: [f32; 3] = [10.0, 3.0, 1.0];

pub(super) fn run(lab: &Lab) -> Result<Findings> {
    let scale = lab.options.scale;
    let side = scale.pick(32, SIDE, SIDE);
    let per_class = scale.pick(None, Some(110), None);
    let epochs = scale.pick(1, 6, 10);
    let synthetic = Synthetic::as_classes(
        scale.pick(28, 120, 400),
        &["covid19", "normal", "pneumonia"],
        [Some(1), Some(2), None, Some(0)],
    );
    let task = lab.task("zhong", &synthetic, side, per_class)?;
    let cell = Cell {
        epochs,
        batch: scale.pick(16, 32, 32),
        schedule: Schedule::ThreeStage { rates: [4e-4, 2e-4, 1e-4] },
        loss: Loss::CrossEntropy { smoothing: Smoothing::Others(SMOOTHING) },
        class_weights: Weighting::Given(WEIGHTS.to_vec()),
        augment: Some(AugmentOptions::ZHONG),
        keep: Keep::Last,
        glorot: true,
        seed: lab.options.seed,
        ..Cell::new("zhong_dcnn", "zhong_dcnn")
    };
    // 740 of 6,354 images are tested in the paper.
    let plan = Plan {
        test: 0.12,
        validation: 0.1,
        extent: Extent { images: 24, panels: 2, contour: false },
        ..Plan::holdout()
    };
    let plan = if scale == super::Scale::Full { plan } else { Plan { test: 0.2, ..plan } };
    let result = lab.cell(&task, &cell, &plan, None)?;
    let mut rows = vec![
        Row::of("test accuracy", "87.3 %", &result, Figure::accuracy),
        Row::of("precision at threshold 0.5 (Keras)", "89.67 %", &result, |o| at_threshold(o).0),
        Row::of("recall at threshold 0.5 (Keras)", "84.46 %", &result, |o| at_threshold(o).1),
        Row::of("COVID-19 found", "98 of 100", &result, |o| Figure::recall(o, 0)),
    ];
    for (class, paper, k) in PROBABILITIES {
        let what = format!("mean predicted probability, {class}");
        rows.push(Row {
            note: "t interval over images, as table 4".into(),
            ..Row::of(&what, paper, &result, |o| Figure::probability(o, k))
        });
    }
    let mut reductions = Vec::new();
    if scale != super::Scale::Full {
        reductions
            .push(format!("{} images ({side} pixels) instead of 6,354; {epochs} epochs instead of 10", task.len()));
    }
    Ok(Findings {
        rows,
        readings: vec![
            "global pooling after each block: maximum, as in the author's code and its parameter count (the text says average)".into(),
            "learning rate 4e-4 for three epochs, 2e-4 to epoch 6, then 1e-4 (the text also speaks of a warm-up)".into(),
            format!("label smoothing {SMOOTHING}: spread over the other classes, equation 2 (Keras spreads it over all)"),
            "weights of the last epoch: the paper names no choice by validation".into(),
            "augmentation: the paper gives no ranges; ours are in the run card".into(),
        ],
        reductions,
        extras: vec![("Memory".into(), format!(
            "The training plan at batch {} takes {}; the paper's card had 2 GB.",
            cell.batch,
            crate::report::text::bytes(result.leak_free.folds[0].plan_bytes)
        ))],
        cells: vec![result],
        ..Findings::default()
    })
}

/// Keras' precision and recall: every class of every image whose probability is above 0.5 counts as said. An image with no
/// class above 0.5 lowers the recall, so that it is below the accuracy.
fn at_threshold(o: &Outcome) -> (Option<Figure>, Option<Figure>) {
    let said = |r: &crate::eval::predictions::Prediction| r.probabilities.iter().filter(|p| **p > 0.5).count() as u64;
    let rows = &o.predictions.rows;
    let hits = rows.iter().filter(|r| r.probabilities[r.truth] > 0.5).count() as u64;
    (Figure::share(hits, rows.iter().map(said).sum()), Figure::share(hits, rows.len() as u64))
}
