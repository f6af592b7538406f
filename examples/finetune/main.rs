//! Transfer learning with any of the networks: a frozen base, a new head, features computed once, and Grad-CAM of the result.
//!
//! `cargo run --release --example finetune -- --model all --smoke` runs all eleven on built-in synthetic radiographs; `-- --help`
//! tells more. Without `--weights` the base is random: everything runs, and the accuracy says little. What it writes is
//! enough for `radiograd predict --weights FILE IMAGE…`.

mod cohort;
mod options;
mod row;

use clap::Parser;
use cohort::Cohort;
use options::{AUGMENT, Options};
use radiograd::Talk;
use radiograd::data::cache;
use radiograd::experiment::Cell;
use radiograd::experiment::train::{Prepared, prepare};
use radiograd::explain::{CamOptions, GradCam};
use radiograd::files::write_atomic;
use radiograd::models::Network;
use radiograd::nn::ParamStore;
use radiograd::train::{
    CheckpointOptions, FeatureOptions, Fit, FitOptions, MicroBatch, Normalize, Predictor, argmax, features, fit,
    interrupt,
};
use radiograd::weights::{self, Card, Scaling};
use radiograd::{Error, Gpu, Result, Storage};
use row::Row;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

/// Images that are explained, the first of the validation part.
const EXPLAINED: usize = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    interrupt::install();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("finetune: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(o: &Options) -> Result<()> {
    // Every name and size is checked before anything is computed.
    let cells = o.cells()?;
    let gpu = Gpu::with(&o.gpu()?)?.with_storage(Storage::f16(o.f16))?;
    println!("{}", gpu.describe());
    let mut cohort: Option<Cohort> = None;
    for (i, (cell, side)) in cells.into_iter().enumerate() {
        if cohort.as_ref().is_none_or(|c| c.side != side) {
            cohort = Some(Cohort::load(o, side)?);
        }
        let Some(cohort) = &cohort else { continue };
        if i == 0 {
            println!("{}", cohort.describe());
            println!("{}", Row::head(o.compare));
        }
        println!("{}", one(o, &gpu, &cell, cohort)?.line(o.compare));
    }
    let what = if o.smoke { "heat maps" } else { "heat maps and weights" };
    println!("{what} are in {}", o.out.display());
    Ok(())
}

fn one(o: &Options, gpu: &Gpu, cell: &Cell, cohort: &Cohort) -> Result<Row> {
    let (side, classes) = (cohort.side, cohort.classes.len());
    let Prepared { network, params, scaling, .. } = prepare(cell, side, classes, None)?;
    let base = network.base_parameters(side);
    let trainable = cell.trainable(&params, &base)?;
    let trained = params.params.iter().filter(|p| trainable.includes(&p.name)).map(|p| p.shape.elements()).sum();
    let total = params.count().0;
    let checkpoint = o.out.join(format!("{}.checkpoint.safetensors", network.name));
    let given = FitOptions {
        epochs: cell.epochs,
        batch: cell.batch,
        optimizer: cell.optimizer.clone(),
        schedule: cell.schedule.clone(),
        trainable: trainable.clone(),
        micro_batch: cell.micro_batch,
        recompute: cell.recompute,
        normalize: scaling.split().0,
        seed: cell.seed,
        label: network.name.into(),
        talk: if o.smoke { Talk::Quiet } else { o.talk.talk() },
        checkpoint: (!o.smoke || o.resume)
            .then(|| CheckpointOptions { resume: o.resume, ..CheckpointOptions::resuming(checkpoint) }),
        ..FitOptions::default()
    };
    let images = (cohort.samples(&cohort.train), cohort.samples(&cohort.validation));
    let whole = || {
        let augmented = FitOptions { augment: cell.augment, ..given.clone() };
        fit(gpu, &network, &params, classes, (&images.0, &images.1), &augmented)
    };

    let frozen = base.iter().all(|name| !trainable.includes(name));
    let (done, cached) = if frozen {
        let (done, features) = on_features(o, gpu, (&network, &params, &base), cohort, &given)?;
        (done, Some(features))
    } else {
        (whole()?, None)
    };
    if done.interrupted() {
        return Err(Error::Interrupted("interrupted; --resume goes on from the checkpoint in --out".into()));
    }
    let mean = |f: &Fit| f.history.iter().map(|r| r.seconds).sum::<f64>() / f.history.len().max(1) as f64;
    let mut uncached = None;
    if o.compare && frozen {
        let through = FitOptions { checkpoint: None, ..given.clone() };
        let other = fit(gpu, &network, &params, classes, (&images.0, &images.1), &through)?;
        if o.views == 0 && other.params.digest() != done.params.digest() {
            return Err(Error::Numerics("the head on cached features is not that on the frozen base".into()));
        }
        uncached = Some(mean(&other));
    }
    explain(o, gpu, &network, &done.params, cohort, given.normalize)?;
    if !o.smoke {
        save(o, network.clone(), &done.params, cohort, scaling)?;
    }
    Ok(Row {
        network: network.name.into(),
        side,
        base: if o.weights.is_some() { "loaded" } else { "random" },
        trained,
        total,
        features: cached,
        epoch: mean(&done),
        accuracy: done.validation_accuracy,
        uncached,
    })
}

/// Trains what comes after the frozen base on its features; the parameters of all of the network, seconds, rows cached.
fn on_features(
    o: &Options,
    gpu: &Gpu,
    (network, params, base): (&Network, &ParamStore, &[String]),
    cohort: &Cohort,
    given: &FitOptions,
) -> Result<(Fit, (f64, usize))> {
    let start = Instant::now();
    let root = (!o.no_cache).then(cache::root).transpose()?;
    let options = FeatureOptions {
        batch: o.batch,
        micro_batch: o.micro_batch,
        normalize: given.normalize,
        mirrored: false,
        views: o.views,
        augment: AUGMENT,
        seed: o.seed,
        cache: root.as_deref(),
        talk: given.talk,
    };
    // Validation images are seen as they are.
    let train = features(gpu, network, params, &cohort.samples(&cohort.train), &options)?;
    let plain = FeatureOptions { views: 0, ..options };
    let check = features(gpu, network, params, &cohort.samples(&cohort.validation), &plain)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut rest = params.clone();
    rest.params.retain(|p| !base.contains(&p.name));
    let options = FitOptions { normalize: Normalize::NONE, ..given.clone() };
    let parts = (&train.samples(&cohort.train), &check.samples(&cohort.validation));
    let mut done = fit(gpu, &network.head_only(), &rest, cohort.classes.len(), parts, &options)?;
    let mut all = params.clone();
    all.adopt(&done.params);
    done.params = all;
    Ok((done, (seconds, train.from_cache + check.from_cache)))
}

/// Heat maps of the first validation images for the class that the network says.
fn explain(
    o: &Options,
    gpu: &Gpu,
    network: &Network,
    params: &ParamStore,
    cohort: &Cohort,
    normalize: Normalize,
) -> Result<()> {
    let weights = Rc::new(params.upload(gpu)?);
    let items = &cohort.validation[..EXPLAINED.min(cohort.validation.len())];
    let (samples, classes) = (cohort.samples(items), cohort.classes.len());
    // Where memory is short, one by one.
    let batch = if o.micro_batch == MicroBatch::Off { items.len() } else { 1 };
    let mut predictor = Predictor::new(gpu, network, &weights, (&samples, classes, batch), normalize)?;
    let said: Vec<usize> = predictor.logits(gpu, &samples)?.iter().map(|l| argmax(l)).collect();
    let options = CamOptions::new(cohort.side, classes).batch(batch).normalize(normalize);
    let mut cam = GradCam::new(gpu, network, &weights, &options)?;
    for (i, (e, item)) in cam.explain(gpu, &samples, &said)?.iter().zip(items).enumerate() {
        let file = o.out.join(format!("{}-{}.png", network.name, i + 1));
        write_atomic(&file, &e.picture(&samples, *item, &cohort.classes, None)?)?;
    }
    Ok(())
}

/// The whole network's weights, with what is needed to use them.
fn save(o: &Options, network: Network, params: &ParamStore, cohort: &Cohort, scaling: Scaling) -> Result<()> {
    let path = o.out.join(format!("{}.safetensors", network.name));
    let mut info = Card {
        network,
        side: cohort.side,
        classes: cohort.classes.clone(),
        scaling,
        preprocessing: Default::default(),
    }
    .metadata();
    info.insert("seed".into(), o.seed.to_string());
    info.insert("base".into(), if o.weights.is_some() { "loaded" } else { "random" }.into());
    weights::save(&path, params, &info)
}
