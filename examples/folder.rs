//! A folder of X-rays becomes a tested model, from the library: `cargo run --release --example folder -- DIR`.

use radiograd::data::{audit::gate, division, labels::LabelMap};
use radiograd::eval::assessment::{AssessOptions, Assessment};
use radiograd::experiment::{Cell, Run, RunOptions, Synthetic, Task, TaskOptions, train::Context};
use radiograd::{Gpu, Result, Talk};
use std::path::Path;

fn main() -> Result<()> {
    let (gpu, options) = (Gpu::new()?, TaskOptions { per_class: Some(200), ..TaskOptions::new(64) });
    let task = match std::env::args().nth(1) {
        Some(folder) => Task::from_files(&[folder.into()], &LabelMap::named("normal-disease")?, &options)?,
        None => {
            let kinds = [Some(0), None, None, Some(1)]; // of normal, pneumonia, other, COVID-19
            Task::synthetic(&Synthetic::as_classes(240, &["normal", "covid19"], kinds), &options)?
        }
    };
    let cell = Cell { epochs: 10, ..Cell::new("first", "detl12") };
    let folds = task.divide(&division::Options::holdout(1))?; // by patient and duplicates
    gate(&task.leaks(&folds), None)?; // nothing crosses from one part into another
    let context = Context { gpu: &gpu, cache: None, start: None, talk: Talk::Normal };
    let digests = [task.digest(), division::digest(&folds)];
    let out = RunOptions::new(Path::new("out/folder"), [&digests[0], &digests[1]]); // goes on where it was stopped
    let outcome = Run { context, cell: &cell, task: &task, folds: &folds }.run(&out)?;
    println!("{}", Assessment::of(&outcome.predictions, &AssessOptions::default())?);
    Ok(())
}
