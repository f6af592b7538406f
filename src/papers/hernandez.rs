//! Hernandez, Pereira & Georgieva: a network of one's own against transfer learning, two classes and three.

use super::lab::{Lab, Plan};
use super::{PaperOptions, Scale};
use crate::data::division;
use crate::error::{Error, Result};
use crate::experiment::cell::NewHead;
use crate::experiment::heat::Extent;
use crate::experiment::train::{Labels, train};
use crate::experiment::{Cell, Freeze, Synthetic, Task};
use crate::experiment::{CellResult, Figure, Findings, Row};
use crate::models::Pooling;
use crate::nn::{ParamStore, Schedule};
use crate::ops::AugmentOptions;
use crate::train::{Keep, Loss};

/// Table I: network, accuracy, precision, recall, F1.
const TABLE: [(&str, [&str; 4]); 4] = [
    ("model 1, own network", ["68 %", "67 %", "63 %", "65 %"]),
    ("model 2, ResNet50", ["90.63 %", "90 %", "91.67 %", "90.72 %"]),
    ("model 3, VGG16", ["82.29 %", "80.39 %", "85.41 %", "82.82 %"]),
    ("model 4, DenseNet121", ["83.4 %", "89 %", "67 %", "76.19 %"]),
];

/// Figure 5: the heads of model 2 that were compared.
const LAYERS: [usize; 4] = [1, 2, 3, 4];
const WIDTHS: [usize; 5] = [8, 16, 32, 64, 128];

/// The head of models 2 to 4 where none is searched: the paper shows it in a figure only.
const HEAD: [usize; 2] = [64, 64];

const TWO: [&str; 2] = ["non-covid19", "covid19"];
const THREE: [&str; 3] = ["healthy", "pneumonia", "covid19"];

pub(super) fn run(lab: &Lab) -> Result<Findings> {
    let o = lab.options;
    let scale = o.scale;
    // In a reduced run one frozen base stands for the three in the panel, whose images have no features yet; in a trial also in the
    // division by image.
    let plan = |all: bool| Plan {
        probes: all || scale == Scale::Full,
        image_wise: all || scale != Scale::Smoke,
        extent: Extent { images: 16, panels: 2, contour: false },
        ..Plan::holdout()
    };
    let mut cells = Vec::new();

    // Model 1: 150 pixels in the paper.
    let side = scale.pick(32, 64, 150);
    let patients = scale.pick(28, 160, 400);
    let per_class = scale.pick(None, Some(120), None);
    let drawn = Synthetic::as_classes(patients, &TWO, [Some(0), None, None, Some(1)]);
    let binary = |side| lab.task("hernandez-binary", &drawn, side, per_class);
    let two = binary(side)?;
    let start = stage1(lab, &two, side)?;
    let custom = Cell {
        freeze: Freeze::Base,
        schedule: Schedule::Constant { lr: 1e-3 },
        epochs: scale.pick(2, 15, 30),
        ..base(o, "model-1", "hernandez_custom", None)
    };
    cells.push(lab.cell(&two, &custom, &plan(true), Some(&start))?);

    // Models 2 and 3 on frozen bases, a sigmoid output each.
    let side = scale.pick(32, 96, 224);
    let two = binary(side)?;
    let frozen = |name: &str, network: &str, lr: f64, widths: &[usize]| {
        lab.with_weights(Cell {
            schedule: Schedule::Constant { lr },
            loss: Loss::Binary { positive_weight: None },
            epochs: scale.pick(4, 40, 40),
            ..base(o, name, network, Some(widths))
        })
    };
    let (widths, grid) = search(lab, &two, &frozen("model-2-search", "resnet50", 5e-4, &HEAD))?;
    cells.push(lab.cell(&two, &frozen("model-2", "resnet50", 5e-4, &widths), &plan(true), None)?);
    cells.push(lab.cell(&two, &frozen("model-3", "vgg16", 3e-4, &HEAD), &plan(false), None)?);

    // Model 4: three classes, softmax.
    let synthetic = Synthetic::as_classes(patients, &THREE, [Some(0), Some(1), None, Some(2)]);
    let three = lab.task("hernandez-covid", &synthetic, side, per_class)?;
    let dense = Cell { loss: Loss::default(), ..frozen("model-4", "densenet121", 5e-4, &HEAD) };
    cells.push(lab.cell(&three, &dense, &plan(false), None)?);

    let mut rows = Vec::new();
    for (result, (what, paper)) in cells.iter().zip(TABLE) {
        rows.extend(table_rows(result, what, paper));
    }
    if let Some(row) = rows.iter_mut().find(|r| r.what.starts_with("model 4") && r.what.ends_with("accuracy")) {
        row.note = "the paper's confusion matrix (n = 12, 24, 12) gives 43.8 %, not 83.4 %".into();
    }
    let mut findings = Findings {
        rows,
        readings: vec![
            "model 1 is in a figure only: convolutions 32, 64, 128, 128 (3x3, ReLU, pooling 2) and dense 512".into(),
            format!("heads of models 3 and 4 are in a figure only: two hidden layers of {}", HEAD[0]),
            "augmentation (crop, flip, Gaussian noise): ranges are not given; one or two views of each image's features are cached".into(),
            "precision, recall and F1 of table I are of COVID-19".into(),
        ],
        extras: vec![("Model 2: heads on the frozen base (figure 5)".into(), grid)],
        cells,
        ..Findings::default()
    };
    if o.weights.len() < 3 {
        findings.warnings.push(random(o, &["resnet50", "vgg16", "densenet121"]));
    }
    if scale != Scale::Full {
        findings.reductions.push(format!(
            "{} pixels for model 1 (150 in the paper), {side} for the others (224); {} images of two classes, {} of three",
            scale.pick(32, 64, 150),
            two.len(),
            three.len()
        ));
    }
    Ok(findings)
}

/// What all models have in common.
fn base(o: &PaperOptions, name: &str, network: &str, widths: Option<&[usize]>) -> Cell {
    Cell {
        batch: 16,
        head: widths.map(|w| NewHead { pooling: Some(Pooling::GlobalAverage), widths: w.to_vec(), dropout: 0.0 }),
        freeze: Freeze::Base,
        augment: Some(AugmentOptions::HERNANDEZ),
        views: o.scale.pick(1, 2, 2),
        keep: Keep::BestAccuracy,
        glorot: network == "hernandez_custom",
        seed: o.seed,
        ..Cell::new(name, network)
    }
}

/// The warning that bases are random.
pub(super) fn random(o: &PaperOptions, networks: &[&str]) -> String {
    let names: Vec<&str> = networks.iter().copied().filter(|n| !o.weights.contains_key(*n)).collect();
    format!(
        "The bases of {} are RANDOM, not trained on ImageNet: --weights NAME=FILE gives published ones. Accuracies of frozen \
         random bases are no statement on the paper.",
        names.join(", ")
    )
}

/// Model 1, stage 1: healthy against not healthy, without patients of the second stage.
fn stage1(lab: &Lab, second: &Task, side: usize) -> Result<ParamStore> {
    let o = lab.options;
    let scale = o.scale;
    let synthetic = Synthetic::as_classes(
        scale.pick(72, 360, 1000),
        &["healthy", "not-healthy"],
        [Some(0), Some(1), Some(1), None],
    );
    let all = lab.task("hernandez-stage1", &synthetic, side, scale.pick(None, Some(300), None))?;
    // Synthetic patients of stage 2 are the first of stage 1; the later ones are left.
    let task = all.without_patients_of(second);
    if task.is_empty() {
        return Err(Error::Data("model 1, stage 1: every patient is needed for stage 2".into()));
    }
    let parts = task.divide(&division::Options::holdout(o.seed))?;
    let cell = Cell {
        freeze: Freeze::Nothing,
        schedule: Schedule::Constant { lr: 1e-3 },
        epochs: scale.pick(2, 12, 40),
        views: 0,
        ..base(o, "model-1-stage-1", "hernandez_custom", None)
    };
    lab.first_stage(&cell, &task, &parts[0])
}

/// Figure 5: all heads on the frozen base; the one with the best validation accuracy, and the table.
fn search(lab: &Lab, task: &Task, cell: &Cell) -> Result<(Vec<usize>, String)> {
    let scale = lab.options.scale;
    let widths = scale.pick(&WIDTHS[..2], &WIDTHS[..], &WIDTHS[..]);
    let layers = scale.pick(&LAYERS[..2], &LAYERS[..], &LAYERS[..]);
    let parts = task.divide(&division::Options::holdout(lab.options.seed))?;
    let mut best: Option<(f64, Vec<usize>)> = None;
    let mut text = format!("validation accuracy (%)\n{:>8}", "layers");
    widths.iter().for_each(|w| text += &format!("{w:>8}"));
    for n in layers {
        text += &format!("\n{n:>8}");
        for w in widths {
            let head = vec![*w; *n];
            let new = NewHead { pooling: Some(Pooling::GlobalAverage), widths: head.clone(), dropout: 0.0 };
            let cell = Cell { head: Some(new), name: format!("{}-{n}x{w}", cell.name), ..cell.clone() };
            let labels = Labels { label: cell.name.clone(), checkpoint: None, observer: Some(lab.folder.clone()) };
            let trained = train(&lab.context(None), &cell, task, &task.planes, &parts[0], labels)?;
            if trained.fit.interrupted() {
                return Err(Error::Interrupted("model 2, search of heads: interrupted; features are kept".into()));
            }
            let accuracy = trained.fit.validation_accuracy.unwrap_or(0.0);
            text += &format!("{:>8.1}", 100.0 * accuracy);
            if best.as_ref().is_none_or(|b| accuracy > b.0) {
                best = Some((accuracy, head));
            }
        }
    }
    let head = best.map_or(HEAD.to_vec(), |b| b.1);
    text += &format!("\nused: {} of {}, chosen on the validation part, never on the test part\n", head.len(), head[0]);
    Ok((head, text))
}

/// The four figures of table I: of COVID-19, the last class.
fn table_rows(result: &CellResult, what: &str, paper: [&str; 4]) -> Vec<Row> {
    let k = result.leak_free.predictions.classes.len() - 1;
    let row = |name: &str, paper: &str, figure: &dyn Fn(&crate::experiment::Outcome) -> Option<Figure>| {
        Row::of(&format!("{what}: {name}"), paper, result, figure)
    };
    vec![
        row("accuracy", paper[0], &Figure::accuracy),
        row("precision", paper[1], &|o| Figure::precision(o, k)),
        row("recall", paper[2], &|o| Figure::recall(o, k)),
        row("F1", paper[3], &|o| Figure::f1(o, k)),
    ]
}
