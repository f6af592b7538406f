//! `radiograd train` and `radiograd resume`.

use super::{DeviceArguments, print};
use clap::Args;
use radiograd::data::cache;
use radiograd::experiment::{Program, Settings};
use radiograd::papers::program::shard;
use radiograd::talk::TalkArguments;
use radiograd::train::{RunFolder, interrupt};
use radiograd::{Error, Gpu, Result, Storage};
use std::path::{Path, PathBuf};

/// Train a network, test it, explain it, and write a report.
///
/// Settings come from flags, then RADIOGRAD_* variables, then --config, then defaults. Without --data the images are synthetic
/// radiographs. Images of a patient and duplicates stay in one part; a division that separates them ends with exit code 5 unless
/// --allow-leak gives a reason, which the report prints.
///
/// The folder --out gets report.html, report.json, predictions.csv (for `radiograd eval`), run.json, history.csv, events.jsonl, tensorboard/,
/// and for each fold weights, figures and heat maps. An interrupted run goes on with `radiograd resume DIR`, to the same weights.
///
/// Research software, not a medical device.
#[derive(Args)]
pub struct Arguments {
    /// A TOML file of settings under the names of the flags, as in epochs = 20.
    #[arg(long, value_name = "FILE", env = "RADIOGRAD_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Try all combinations of such settings, as in lr=1e-3,1e-4; repeat for more. Chosen is by validation, never by test images.
    #[arg(long, value_name = "NAME=V,V...")]
    grid: Vec<String>,
    /// Folder for everything; it must not hold another run.
    #[arg(long, value_name = "DIR", default_value = "out/train")]
    out: PathBuf,
    #[command(flatten)]
    work: Work,
}

/// Go on with a run of `train` that was interrupted or killed: from its last checkpoint, to the same weights.
#[derive(Args)]
pub struct ResumeArguments {
    /// The run's folder.
    #[arg(value_name = "DIR")]
    run: PathBuf,
    #[command(flatten)]
    work: Work,
}

/// How the work is done; it changes no result.
#[derive(Args)]
struct Work {
    /// Do the i-th of n shards: of the folds, or with --grid of the combinations. The last to finish has the whole report.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Files' own names, which can hold patients' numbers, instead of hashes.
    #[arg(long)]
    show_names: bool,
    /// Keep nothing on disk but what goes to --out.
    #[arg(long)]
    no_cache: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    talk: TalkArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(a: &Arguments) -> Result<()> {
    let settings = match &a.config {
        None => a.settings.clone(),
        Some(path) => a.settings.or(&Settings::read(path)?)?,
    };
    let grid = a.grid.iter().map(|g| axis(g)).collect::<Result<Vec<_>>>()?;
    go(&settings, &grid, &a.out, &a.work)
}

pub fn resume(a: &ResumeArguments) -> Result<()> {
    let configuration = RunFolder::description(&a.run)?;
    let of = |e: serde_json::Error| Error::format(a.run.join("run.json"), format!("no run of `radiograd train`: {e}"));
    let settings: Settings = serde_json::from_value(configuration["settings"].clone()).map_err(of)?;
    let grid: Vec<(String, Vec<String>)> = serde_json::from_value(configuration["grid"].clone()).map_err(of)?;
    go(&settings, &grid, &a.run, &a.work)
}

fn go(settings: &Settings, grid: &[(String, Vec<String>)], out: &Path, work: &Work) -> Result<()> {
    let storage = Storage::f16(settings.f16.unwrap_or(false));
    // What is wrong with the request is said before a device is opened.
    settings.cell()?;
    settings.division()?;
    let talk = work.talk.talk();
    interrupt::install();
    let gpu = Gpu::with(&work.device.options()?)?.with_storage(storage)?;
    gpu.introduce(talk);
    let program = Program {
        gpu: &gpu,
        settings,
        out,
        grid,
        shard: work.shard,
        cache: (!work.no_cache).then(cache::root).transpose()?,
        show_names: work.show_names,
        talk,
    };
    let report = program.run()?;
    eprintln!("{}", out.join("report.html").display());
    print(&if work.json { report.json()? } else { report.to_string() })
}

/// `NAME=V,V...`.
fn axis(text: &str) -> Result<(String, Vec<String>)> {
    let bad = || Error::Usage(format!("--grid {text}: a setting and its values, as in lr=1e-3,1e-4"));
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let values: Vec<String> = values.split(',').map(|v| v.trim().to_string()).filter(|v| !v.is_empty()).collect();
    match values.is_empty() {
        true => Err(bad()),
        false => Ok((name.trim().to_string(), values)),
    }
}
