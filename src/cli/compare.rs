//! `radiograd compare`.

use super::eval::{Intervals, read, readable};
use clap::Args;
use radiograd::Result;
use radiograd::eval::comparison::Comparison;
use std::path::PathBuf;

/// Two models on the same images: McNemar's test, DeLong's test of the ROC areas, and differences with patient-clustered
/// intervals.
///
/// Each is a run's folder, which holds predictions.csv, or such a file. Images are matched by their key; those that only one
/// has are counted and not compared. No GPU is needed.
#[derive(Args)]
pub struct Arguments {
    /// The first.
    #[arg(value_name = "RUN_OR_CSV")]
    first: PathBuf,
    /// The second; differences are first minus second.
    #[arg(value_name = "RUN_OR_CSV")]
    second: PathBuf,
    #[command(flatten)]
    intervals: Intervals,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(a: &Arguments) -> Result<()> {
    let options = a.intervals.options()?;
    let comparison = Comparison::of(&read(&a.first)?, &read(&a.second)?, &options)?;
    if a.json { super::print(&readable(&comparison)?) } else { super::print(&comparison.to_string()) }
}
