//! `radiograd data`: audit, split, stats, preview, synthesize.

mod audit;
mod preview;
mod split;
mod stats;
mod synthesize;

use clap::{Args, Subcommand};
use radiograd::Result;
use radiograd::data::audit::{ReadOptions, Reading};
use radiograd::data::cache;
use radiograd::data::table::OpenOptions;
use radiograd::talk::TalkArguments;
use radiograd::train::interrupt;
use radiograd::train::progress::Progress;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Look at a data set before training on it: audit, split, figures, contact sheet.
///
/// PATH is a folder with a metadata.csv (columns file and finding; patient_id, sex, age, view, split and original_name where
/// there are), a folder of such folders, or a .toml manifest as in data-manifests/. No GPU is needed but for preview --augment.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Audit(audit::Arguments),
    Split(split::Arguments),
    Stats(stats::Arguments),
    Preview(preview::Arguments),
    Synthesize(synthesize::Arguments),
}

pub fn run(a: &Arguments) -> Result<()> {
    match &a.command {
        Command::Audit(a) => audit::run(a),
        Command::Split(a) => split::run(a),
        Command::Stats(a) => stats::run(a),
        Command::Preview(a) => preview::run(a),
        Command::Synthesize(a) => synthesize::run(a),
    }
}

/// How every command here reads its data.
#[derive(Args)]
struct Source {
    /// Folders and manifests.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A class and the findings that make it, as in covid=COVID-19 or ill=Mass,Nodule; for each class once. Images of no class
    /// or of two are not used. Without it a finding is a class, "No Finding" and "Normal" are one, and so are all images
    /// with several findings.
    #[arg(long = "class", value_name = "NAME=FINDING,...")]
    classes: Vec<String>,
    /// Count missing and damaged images instead of ending with exit code 5.
    #[arg(long)]
    skip_bad: bool,
    /// Show files' names, which can hold patients' numbers, instead of hashes.
    #[arg(long)]
    show_names: bool,
    /// Neither read nor write the cache of decoded images.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    talk: TalkArguments,
}

impl Source {
    /// Reads all images, with progress on stderr.
    fn read(&self) -> Result<Reading> {
        let talk = self.talk.talk();
        interrupt::install();
        // A machine without a place for caches decodes each time.
        let dir = if self.no_cache { None } else { cache::root().ok().map(|root| root.join("audit")) };
        let options = OpenOptions { allow_missing: self.skip_bad, hash_names: !self.show_names };
        let data = radiograd::data::table::Dataset::open_all(&self.paths, &options)?;
        let bar = Mutex::new(Progress::new("reading", data.records.len() as u64, "images", talk));
        let advance = |n: u64| bar.lock().unwrap_or_else(PoisonError::into_inner).advance(n, "");
        let read =
            ReadOptions { cache_dir: dir.as_deref(), progress: Some(&advance), cancel: Some(interrupt::flag()), talk };
        let reading = Reading::of(&self.paths, data, &read, self.show_names);
        bar.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        let reading = reading?;
        let bad = reading.bad().count();
        if self.skip_bad && bad > 0 {
            talk.say(format_args!("{bad} of {} images cannot be used and are passed over", reading.seen.len()));
        }
        Ok(reading)
    }
}
