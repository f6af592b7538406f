//! Gao & Wang: a small network at 64×64 in a cascade of two stages. Stage 1 tells normal, bacterial and viral; where viral is
//! the highest, stage 2 tells COVID-19 and other viruses.

use super::lab::{Lab, Plan};
use crate::error::Result;
use crate::experiment::dependence::dependence;
use crate::experiment::heat::Extent;
use crate::experiment::{Cell, Synthetic};
use crate::experiment::{Figure, Findings, Row};
use crate::nn::Schedule;
use crate::ops::AugmentOptions;
use crate::train::Keep;

/// Side of the images in the paper.
const SIDE: usize = 64;

/// The two stages: name, label map, classes of synthetic images, and the class of each synthetic kind.
type Stage = (&'static str, &'static str, [&'static str; 3], [Option<usize>; 4]);
const STAGES: [Stage; 2] = [
    ("stage-1", "gao-wang-stage1", ["normal", "bacterial", "viral"], [Some(0), Some(1), None, Some(2)]),
    ("stage-2", "gao-wang-stage2", ["not-viral", "covid19", "other-viral"], [Some(0), Some(0), Some(2), Some(1)]),
];

pub(super) fn run(lab: &Lab) -> Result<Findings> {
    let scale = lab.options.scale;
    let side = scale.pick(32, SIDE, SIDE);
    let epochs = scale.pick(2, 12, 60);
    let mut findings = Findings::default();
    for (name, labels, classes, class_of) in STAGES {
        let synthetic = Synthetic::as_classes(scale.pick(48, 240, 400), &classes, class_of);
        let task = lab.task(labels, &synthetic, side, scale.pick(None, Some(200), None))?;
        let cell = Cell {
            epochs,
            batch: 16,
            // The paper's Keras; with He's weights the layer of 16 dies in every second run.
            glorot: true,
            schedule: Schedule::Constant { lr: 1e-3 },
            augment: Some(AugmentOptions::GAO_WANG),
            // The stages' classes are of very unequal size.
            class_weights: crate::experiment::Weighting::Balanced,
            keep: Keep::BestAccuracy,
            seed: lab.options.seed,
            ..Cell::new(name, "gaowang")
        };
        // 400 of 1,900 images are tested, 100 validate.
        let plan = Plan {
            test: 0.2,
            validation: 0.1,
            extent: Extent { images: 24, panels: 2, contour: false },
            ..Plan::holdout()
        };
        let mut result = lab.cell(&task, &cell, &plan, None)?;
        result.note = match name {
            "stage-1" => "the paper's report is of one example hospital set, n = 163".into(),
            _ => "the paper gives no figure for stage 2".into(),
        };
        let paper = if name == "stage-1" { "91 % (n = 163)" } else { "-" };
        findings.rows.push(Row::of(&format!("{name}: accuracy"), paper, &result, Figure::accuracy));
        for (k, class) in classes.iter().enumerate() {
            let row = |what: &str, figure: fn(&crate::experiment::Outcome, usize) -> Option<Figure>| Row {
                note: String::new(),
                ..Row::of(&format!("{name}: {what}, {class}"), "-", &result, |o| figure(o, k))
            };
            findings.rows.push(row("precision", Figure::precision));
            findings.rows.push(row("recall", Figure::recall));
        }
        let what = format!("{name}: what being right depends on");
        findings.extras.push((what, dependence(&task, &result.leak_free.predictions)?));
        findings.cells.push(result);
    }
    findings.readings = vec![
        "dropout 0.5 after flatten: the paper does not say where".into(),
        "the text on bounding boxes, centre-ness and non-maximum suppression describes another system; it has no counterpart here".into(),
        "class weights by frequency: the paper is silent, and its stages are far from balanced here".into(),
    ];
    if scale != super::Scale::Full {
        let n: usize = findings.cells.iter().map(|c| c.leak_free.folds[0].metrics.training.train_images as usize).sum();
        findings.reductions.push(format!("{n} training images in both stages, {side} pixels, {epochs} epochs"));
    }
    let (one, two) = ("stage-1/by-patient/fold-1/weights.safetensors", "stage-2/by-patient/fold-1/weights.safetensors");
    findings.extras.push((
        "The cascade".into(),
        format!(
            "radiograd predict --weights {} --then viral={} --heat-maps DIR IMAGE...",
            lab.below(one).display(),
            lab.below(two).display()
        ),
    ));
    Ok(findings)
}
