//! `radiograd data synthesize`.

use super::super::{positive, print};
use clap::Args;
use radiograd::data::phantom::CLASSES;
use radiograd::data::phantom::teaching::{Letter, Teaching};
use radiograd::data::synthesize;
use radiograd::names::nearest;
use radiograd::talk::TalkArguments;
use radiograd::train::interrupt;
use radiograd::train::progress::Progress;
use radiograd::{Error, Result};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Draw a data set of synthetic chest radiographs: four classes, patients with several images, masks, sources that look
/// different, and a letter in a corner that betrays a class as strongly as you say.
///
/// The folder then opens as any other: data audit DIR, or DIR/manifest.toml. Use it to see what a shortcut does to an accuracy.
/// Drawings for tests and teaching: they say nothing about real patients.
#[derive(Args)]
pub struct Arguments {
    /// The folder to write; it must be empty or not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Patients, a quarter of each class (normal, pneumonia, other, covid19); 1 to 4 images each.
    #[arg(long, value_name = "N", default_value = "100", value_parser = positive)]
    patients: usize,
    /// Side of the images in pixels, 32 to 1024.
    #[arg(long, value_name = "N", default_value = "64", value_parser = positive)]
    side: usize,
    /// Seed of all draws.
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Sources, 1 to 6: each with its own exposure, border and noise.
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    sources: usize,
    /// Plant a letter (R or L in an upper corner) that goes with this class.
    #[arg(long, value_name = "CLASS")]
    letter: Option<String>,
    /// Phi coefficient between the letter and its class: 0 is no relation (half of all images have it), 1 the class and nothing
    /// else, -1 everything else.
    #[arg(long, value_name = "R", default_value = "0.9", requires = "letter", allow_negative_numbers = true)]
    letter_correlation: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    talk: TalkArguments,
}

pub fn run(a: &Arguments) -> Result<()> {
    let class = |name: &String| {
        let unknown = || Error::Usage(format!("--letter: no class {name:?}; {}", nearest(name, &CLASSES)));
        CLASSES.iter().position(|c| c == name).ok_or_else(unknown)
    };
    let class = a.letter.as_ref().map(class).transpose()?;
    let letter = class.map(|class| Letter { class, correlation: a.letter_correlation });
    let set = Teaching { seed: a.seed, patients: a.patients, side: a.side, letter, sources: a.sources };
    interrupt::install();
    let bar = Mutex::new(Progress::new("drawing", a.patients as u64, "patients", a.talk.talk()));
    let advance = |n: u64| bar.lock().unwrap_or_else(PoisonError::into_inner).advance(n, "");
    let written = synthesize::write(&set, &a.out, Some(&advance), Some(interrupt::flag()));
    bar.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    let written = written?;
    if a.json {
        let text = serde_json::to_string(&written).map_err(|e| Error::Internal(format!("synthesize: {e}")))?;
        return print(&(text + "\n"));
    }
    print(&format!("{written}\nNext: radiograd data audit {}\n", a.out.display()))
}
