//! An experiment from drawings to the panel, on the device.

use super::cell::NewHead;
use super::run::RunOptions;
use super::shortcut::{Shortcuts, shortcuts};
use super::train::{Context, prepare, with_copies};
use super::*;
use crate::data::division::{Method, Options};
use crate::data::phantom::teaching::Letter;
use crate::nn::Schedule;
use crate::ops::AugmentOptions;
use crate::ops::testing::gpu;

fn cell(epochs: usize) -> Cell {
    Cell {
        epochs,
        batch: 16,
        schedule: Schedule::Cosine { max: 2e-3, min: 0.0, epochs },
        ..Cell::new("cell", "gaowang")
    }
}

fn task(letter: Option<Letter>, patients: usize) -> Task {
    let synthetic = Synthetic {
        letter,
        ..Synthetic::as_classes(patients, &["normal", "COVID-19"], [Some(0), None, None, Some(1)])
    };
    Task::synthetic(&synthetic, &TaskOptions { talk: crate::Talk::Quiet, ..TaskOptions::new(32) }).unwrap()
}

fn options(by_image: bool) -> Options {
    Options { method: Method::Holdout, folds: 5, test: 0.3, validation: 0.2, by_image, seed: 1 }
}

fn panel(letter: Option<Letter>) -> Shortcuts {
    let (task, cell) = (task(letter, 240), cell(12));
    let folds = task.divide(&options(false)).unwrap();
    let context = Context { gpu: gpu(), cache: None, start: None, talk: crate::Talk::Quiet };
    let dir = tempfile::tempdir().unwrap();
    let o = RunOptions { checkpoints: false, weights: false, ..RunOptions::new(dir.path(), ["data", "folds"]) };
    let outcome = Run { context, cell: &cell, task: &task, folds: &folds }.run(&o).unwrap();
    let first = &outcome.folds[0].metrics;
    shortcuts(&context, &cell, &task, &[&folds[0]], (first.images, first.correct)).unwrap()
}

/// The mission's complaint: models that read the letter "R" instead of the lung.
#[test]
fn the_panel_catches_a_planted_letter_and_nothing_without_one() {
    let planted = panel(Some(Letter { class: 3, correlation: 0.95 }));
    assert!(planted.is_flagged(), "{planted:#?}");
    let border = &planted.probes[0];
    assert!(border.flagged && border.accuracy > 0.7, "{border:?}");
    assert!(planted.warning().unwrap().contains("border alone"));
    let clean = panel(None);
    assert!(!clean.is_flagged() && clean.warning().is_none(), "{clean:#?}");
    assert!(clean.source.is_err(), "there is one source");
}

#[test]
fn a_fold_that_is_done_is_not_done_again_and_another_configuration_is_refused() {
    let (task, cell) = (task(None, 32), cell(1));
    let folds = task.divide(&options(false)).unwrap();
    let context = Context { gpu: gpu(), cache: None, start: None, talk: crate::Talk::Quiet };
    let dir = tempfile::tempdir().unwrap();
    let o = RunOptions::new(dir.path(), ["data", "folds"]);
    let first = Run { context, cell: &cell, task: &task, folds: &folds }.run(&o).unwrap();
    let path = dir.path().join("fold-1/fold.json");
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    let again = Run { context, cell: &cell, task: &task, folds: &folds }.run(&o).unwrap();
    assert_eq!(written, std::fs::metadata(&path).unwrap().modified().unwrap());
    let of = |o: &Outcome| {
        let f = &o.folds[0];
        (f.name.clone(), f.metrics.confusion.clone(), f.panels.len(), f.heats.len(), f.panels[0].png.len())
    };
    assert!(of(&first) == of(&again) && first.overall.correct == again.overall.correct);
    assert_eq!(first.predictions, again.predictions);
    assert!(!dir.path().join("fold-1/checkpoint.safetensors").exists());
    let other = Cell { seed: 2, ..cell };
    let e = Run { context, cell: &other, task: &task, folds: &folds }.run(&o).unwrap_err();
    assert!(e.exit_code() == 2 && e.to_string().contains("another configuration"), "{e}");
}

#[test]
fn a_new_head_on_a_file_s_base_is_drawn_by_the_cell_s_rule() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.safetensors");
    let plain = cell(1);
    let base = plain.network().unwrap().init(32, 2, 9);
    crate::weights::save(&file, &base, &Default::default()).unwrap();
    let head = Some(NewHead { pooling: None, widths: vec![8], dropout: 0.0 });
    let of = |glorot| Cell { head: head.clone(), weights: Some(file.clone()), glorot, ..plain.clone() };
    let [he, glorot] = [false, true].map(|g| prepare(&of(g), 32, 2, None).unwrap());
    let of_base = he.network.base_parameters(32);
    let mut differ = 0;
    for (a, b) in he.params.params.iter().zip(&glorot.params.params) {
        assert_eq!(a.name, b.name);
        match base.params.iter().find(|p| p.name == a.name && of_base.contains(&p.name)) {
            Some(p) => assert!(a.values == p.values && b.values == p.values, "{}", a.name),
            None => differ += usize::from(a.values != b.values),
        }
    }
    assert!(differ > 0);
}

#[test]
fn copies_of_a_class_follow_the_images_and_are_of_no_other_part() {
    let task = task(None, 24);
    let parts = &task.divide(&options(false)).unwrap()[0];
    let items = task.items(&parts.train);
    let cell = Cell { augment: Some(AugmentOptions::BALVINSSON), augment_once: vec!["COVID-19".into()], ..cell(1) };
    let copied = with_copies(gpu(), &cell, &task, &task.planes, &items).unwrap().unwrap();
    let (n, area) = (items.len(), 32 * 32);
    let originals: Vec<usize> = items.iter().filter(|i| i.1 == 1).map(|i| i.0).collect();
    assert!(!originals.is_empty() && originals.len() < n);
    assert_eq!(copied.items.len(), n + originals.len());
    assert_eq!(copied.pixels.len(), copied.items.len() * area);
    for (k, (i, class)) in items.iter().enumerate() {
        assert_eq!(copied.items[k], (k, *class));
        assert_eq!(copied.pixels[k * area..][..area], task.planes[i * area..][..area]);
    }
    for (k, i) in originals.iter().enumerate() {
        assert_eq!(copied.items[n + k], (n + k, 1));
        let copy = &copied.pixels[(n + k) * area..][..area];
        assert_ne!(copy, &task.planes[i * area..][..area]);
        assert!(copy.iter().all(|v| v.is_finite()));
    }
    let plain = Cell { augment_once: Vec::new(), ..cell };
    assert!(with_copies(gpu(), &plain, &task, &task.planes, &items).unwrap().is_none());
}

#[test]
fn a_task_can_be_cut_and_keeps_masks_and_bonds_together() {
    let task = task(None, 40);
    let keep: Vec<usize> = (0..task.len()).step_by(3).collect();
    let part = task.subset(&keep);
    let area = 32 * 32;
    for (k, &i) in keep.iter().enumerate() {
        assert_eq!(part.planes[k * area..][..area], task.planes[i * area..][..area]);
        assert_eq!(part.masks.as_ref().unwrap().lungs[k], task.masks.as_ref().unwrap().lungs[i]);
        assert_eq!(
            (part.labels[k], &part.images[k], part.bonds.patients[k]),
            (task.labels[i], &task.images[i], task.bonds.patients[i])
        );
    }
    let rest = task.without_patients_of(&part);
    assert!(!rest.is_empty() && rest.images.iter().all(|f| part.images.iter().all(|p| p.patient != f.patient)));
    assert_ne!(part.digest(), task.digest());
    // Divided by image, a patient's images come apart, and the gate sees it.
    let folds = task.divide(&options(true)).unwrap();
    assert!(task.has_groups() && !task.leaks(&folds).is_empty());
    assert!(task.leaks(&task.divide(&options(false)).unwrap()).is_empty());
}

/// An image that goes away between the reading of all and the decoding of the chosen.
#[test]
fn an_image_that_is_gone_when_it_is_decoded_is_an_error_without_its_name_or_counted() {
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = vec!["file,finding,patient_id".to_string()];
        for k in 0..6u32 {
            crate::data::decode::tests::gray(40 + k, 40).save(dir.path().join(format!("sn-{k}.png"))).unwrap();
            rows.push(format!("sn-{k}.png,{},{k}", ["No Finding", "Mass"][k as usize % 2]));
        }
        std::fs::write(dir.path().join("metadata.csv"), rows.join("\n")).unwrap();
        dir
    };
    let task = |dir: &std::path::Path, skip_bad: bool| {
        let o = TaskOptions { talk: crate::Talk::Quiet, skip_bad, ..TaskOptions::new(16) };
        Task::labelled(&[dir.to_path_buf()], &o, |data| {
            std::fs::remove_file(dir.join("sn-2.png")).unwrap();
            let items = (0..data.records.len()).map(|i| (i, i % 2)).collect();
            let classes = ["normal", "mass"].map(String::from).to_vec();
            Ok(crate::data::labels::Labelled { classes, items, dropped: Default::default() })
        })
    };
    let dir = make();
    let e = task(dir.path(), false).unwrap_err();
    assert_eq!(e.exit_code(), 5);
    let text = e.to_string();
    assert!(text.contains("img-") && !text.contains("sn-2") && text.contains("--skip-bad"), "{text}");
    let dir = make();
    let left = task(dir.path(), true).unwrap();
    assert_eq!((left.len(), left.images.len(), left.planes.len()), (5, 5, 5 * 16 * 16));
    assert_eq!(left.labels, [0, 1, 1, 0, 1]);
    assert!(left.planes.iter().all(|v| v.is_finite()));
    let dropped: Vec<_> = left.dropped.iter().map(|d| (d.reason.as_str(), d.rows)).collect();
    assert_eq!(dropped, [("image cannot be used", 1)]);
    // The bonds go by the images that are left.
    assert_eq!((left.bonds.names.len(), left.bonds.patients.len()), (5, 5));
}
