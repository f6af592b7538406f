//! Balvinsson et al.: five pre-trained networks, two widths, frozen and fine-tuned; the most accurate one looked at letters.

use super::Scale;
use super::hernandez::random;
use super::lab::{Lab, Plan};
use crate::data::preprocessing::Preprocessing;
use crate::error::Result;
use crate::eval::CamScores;
use crate::experiment::cell::NewHead;
use crate::experiment::heat::{Extent, of_zone};
use crate::experiment::{Cell, Freeze, Synthetic};
use crate::experiment::{CellResult, Figure, Findings, Row};
use crate::models::Pooling;
use crate::nn::Schedule;
use crate::ops::AugmentOptions;
use crate::report::text::{percent, percent_or};
use crate::train::{EarlyStopping, Keep, Monitor};

/// Table 2: mean test accuracy of 4-fold cross-validation; columns 256, 512, 256 fine-tuned, 512 fine-tuned.
const TABLE2: [(&str, [f64; 4]); 5] = [
    ("vgg16", [0.9734, 0.9650, 0.9834, 0.9734]),
    ("vgg19", [0.9778, 0.9800, 0.9734, 0.9839]),
    ("inception_v3", [0.7550, 0.7300, 0.9244, 0.9278]),
    ("inception_resnet_v2", [0.8822, 0.8822, 0.9678, 0.9722]),
    ("xception", [0.8689, 0.6272, 0.9656, 0.9500]),
];

/// Table 3 (COVID-19 against the rest) and table 4 (against viral pneumonia): plain, fine-tuned, augmented, augmented and
/// fine-tuned; 512 only. The first two columns of table 3 are cells of table 2.
const TABLE3: [(&str, [f64; 4]); 2] =
    [("vgg19", [0.9734, 0.9800, 0.9777, 0.9867]), ("inception_resnet_v2", [0.8822, 0.9755, 0.8822, 0.9555])];
const TABLE4: [(&str, [f64; 4]); 2] =
    [("vgg19", [0.9741, 0.9799, 0.9799, 1.0000]), ("inception_resnet_v2", [0.8736, 0.9799, 0.8736, 0.9828])];

/// Learning rates of the head and of fine-tuning ("low").
const RATE: f64 = 1e-3;
const FINE: f64 = 1e-5;

/// A cell of the tables.
struct Spec {
    network: &'static str,
    width: usize,
    fine: bool,
    augmented: bool,
    viral: bool,
    paper: String,
    note: &'static str,
}

/// The cells of a scale: all of them, or in a trial those that the paper's finding is about.
fn specs(scale: Scale) -> Vec<Spec> {
    let mut all = Vec::new();
    for (network, figures) in TABLE2 {
        for (i, figure) in figures.into_iter().enumerate() {
            let (width, fine) = ([256, 512][i % 2], i >= 2);
            let note = match (network, i) {
                ("vgg19", 3) => "table 3 has .9800 for the same cell",
                ("vgg19", 1) => "table 3 has .9734 for the same cell",
                ("inception_resnet_v2", 3) => "table 3 has .9755 for the same cell",
                _ => "",
            };
            all.push(Spec {
                network,
                width,
                fine,
                augmented: false,
                viral: false,
                paper: format!("{figure:.4}"),
                note,
            });
        }
    }
    for (viral, table) in [(false, TABLE3), (true, TABLE4)] {
        for (network, figures) in table {
            for (i, figure) in figures.into_iter().enumerate().skip(if viral { 0 } else { 2 }) {
                let (fine, augmented) = (i % 2 == 1, i >= 2);
                let note = if viral && fine && augmented && network == "inception_resnet_v2" {
                    "paper: 44/0, 6/298"
                } else {
                    ""
                };
                all.push(Spec { network, width: 512, fine, augmented, viral, paper: format!("{figure:.4}"), note });
            }
        }
    }
    match scale {
        Scale::Full => all,
        // Fine-tuning takes minutes a cell without a GPU: only where the finding is, at width 512 on the plain images.
        Scale::Small => all.into_iter().filter(|s| !s.fine || s.width == 512 && !s.viral && !s.augmented).collect(),
        // The two networks that the finding compares; of the larger one the frozen cell.
        Scale::Smoke => {
            let wanted = |s: &Spec| {
                !s.viral
                    && !s.augmented
                    && s.width == 512
                    && (s.network == TABLE3[0].0 || s.network == TABLE3[1].0 && !s.fine)
            };
            all.into_iter().filter(wanted).collect()
        }
    }
}

pub(super) fn run(lab: &Lab) -> Result<Findings> {
    let o = lab.options;
    let scale = o.scale;
    // 112: the smallest round side at which every network's last map has more than one cell.
    let side = scale.pick(75, 112, 224);
    let per_class = scale.pick(None, Some(40), None);
    let patients = scale.pick(16, 60, 400);
    let task = |viral: bool| {
        let (labels, classes) = match viral {
            false => ("balvinsson-covid", ["non-covid19", "covid19"]),
            true => ("balvinsson-viral", ["viral-pneumonia", "covid19"]),
        };
        let kinds = if viral { [None, Some(0), None, Some(1)] } else { [Some(0), Some(0), None, Some(1)] };
        // 38 pixels of 300 are cut off each side; of other sizes the same share.
        let preprocessing = Preprocessing { cut: (side as f64 * 38.0 / 224.0).round() as usize, ..Default::default() };
        let synthetic = Synthetic::as_classes(patients, &classes, kinds);
        lab.cut_task(labels, &synthetic, side, per_class, preprocessing)
    };
    let (plain, mut viral) = (task(false)?, None);
    let plan = Plan {
        validation: 0.25,
        extent: Extent { images: scale.pick(8, 24, 64), panels: 2, contour: true },
        // Networks of a hundred million numbers each are of no use to anybody but at full scale.
        weights: scale == Scale::Full,
        ..Plan::kfold(4, scale.pick(1, 1, 4))
    };
    let mut findings = Findings::default();
    for s in specs(scale) {
        if s.viral && viral.is_none() {
            viral = Some(task(true)?);
        }
        let images = viral.as_ref().filter(|_| s.viral).unwrap_or(&plain);
        let cell = lab.with_weights(cell(lab, &s));
        // In a reduced run the panel and the image-wise division are made for the frozen cells of table 2 only, in a trial for the
        // first: three to five more trainings.
        let all = match scale {
            Scale::Full => true,
            Scale::Small => !s.fine && !s.viral && !s.augmented,
            Scale::Smoke => findings.cells.is_empty(),
        };
        let mut result = lab.cell(images, &cell, &Plan { probes: all, image_wise: all, ..plan.clone() }, None)?;
        result.note = s.note.into();
        let row = Row::of(&result.name, &s.paper, &result, |r| {
            let folds: Vec<f64> = r.folds.iter().map(|f| f.metrics.accuracy).collect();
            if folds.len() > 1 { Figure::mean(&folds) } else { Figure::accuracy(r) }
        });
        findings.rows.push(row);
        findings.cells.push(result);
    }
    findings.extras.push(("Localization beside accuracy".into(), looked(&findings.cells)));
    findings.readings = vec![
        format!("learning rate of fine-tuning {FINE} (the paper: \"low\"), of the head {RATE} (not given)"),
        "pooling before the hidden layer: global average (not given)".into(),
        "38 pixels cut off each side of 300 x 300 (the paper calls it 8 %; it is 12.7 %)".into(),
        "early stopping on the validation loss with patience 5 (not given), the weights of the best epoch".into(),
        "the innermost contour of the heat (above 9/10 of its maximum) is drawn in red".into(),
        "52 or 53 COVID-19 test images: the paper has both".into(),
    ];
    let networks: Vec<&str> = TABLE2.iter().map(|t| t.0).collect();
    if networks.iter().any(|n| !o.weights.contains_key(*n)) {
        findings.warnings.push(random(o, &networks));
    }
    if scale != Scale::Full {
        findings.reductions.push(format!(
            "{} cells of 32; {} images of {side} pixels (2,247 of 224, cut out of 300); 1 fold of 4",
            findings.cells.len(),
            plain.len()
        ));
    }
    Ok(findings)
}

fn cell(lab: &Lab, s: &Spec) -> Cell {
    let scale = lab.options.scale;
    let tail =
        [if s.fine { "-ft" } else { "" }, if s.augmented { "-aug" } else { "" }, if s.viral { "-viral" } else { "" }];
    Cell {
        head: Some(NewHead { pooling: Some(Pooling::GlobalAverage), widths: vec![s.width], dropout: 0.0 }),
        freeze: if s.fine { Freeze::Nothing } else { Freeze::Base },
        // "Unfreeze the pre-trained weights and fine-tune the whole network further": the head is trained by then.
        head_first: s.fine.then_some((scale.pick(2, 20, 60), RATE)),
        epochs: if s.fine { scale.pick(1, 2, 30) } else { scale.pick(4, 40, 60) },
        batch: if s.fine { 8 } else { 16 },
        schedule: Schedule::Constant { lr: if s.fine { FINE } else { RATE } },
        augment: s.augmented.then_some(AugmentOptions::BALVINSSON),
        // "Each COVID training image once": the last class of both tasks.
        augment_once: if s.augmented { vec!["covid19".into()] } else { Vec::new() },
        keep: Keep::BestLoss,
        early_stopping: Some(EarlyStopping { on: Monitor::ValidationLoss, patience: 5, min_delta: 0.0 }),
        seed: lab.options.seed,
        ..Cell::new(&format!("{}-{}{}", s.network, s.width, tail.concat()), s.network)
    }
}

/// Accuracy beside where the heat lies: the table that the paper's finding wants.
fn looked(cells: &[CellResult]) -> String {
    let mut out = format!("{:<28}{:>10}", "cell", "accuracy");
    for zone in ["lungs", "border", "corners"] {
        out += &format!("{:>10}{:>10}", zone, "uniform");
    }
    for c in cells {
        out += &format!("\n{:<28}{:>10}", c.name, percent(c.leak_free.overall.accuracy));
        for zone in ["lungs", "border", "corners"] {
            let found: Option<&CamScores> = of_zone(&c.heat, zone);
            let text = |v: fn(&CamScores) -> Option<f64>| found.map_or("-".into(), |s| percent_or(v(s)));
            out += &format!("{:>10}{:>10}", text(|s| s.energy_inside), text(|s| s.uniform_share));
        }
    }
    out + "\nShare of the heat in each zone beside that of a map without preference; lungs where there are masks.\n"
}
