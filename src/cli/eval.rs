//! `radiograd eval`.

use clap::Args;
use radiograd::eval::assessment::{AssessOptions, Assessment};
use radiograd::eval::design::{Covariates, Formula};
use radiograd::eval::interval::Proportion;
use radiograd::eval::json::to_readable_string;
use radiograd::eval::predictions::Predictions;
use radiograd::eval::regression::Regression;
use radiograd::files::write_atomic;
use radiograd::report::chart::confusion;
use radiograd::report::curves::{reliability, roc, roc_curves};
use radiograd::talk::TalkArguments;
use radiograd::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Figures of predictions, each with an interval and the name of its method: classification report, confusion matrix, rates,
/// ROC and precision-recall areas, calibration, what being right depends on.
///
/// RUN_OR_CSV is a run's folder, which holds predictions.csv, or such a file: columns image, patient, fold, truth, predicted
/// and p_CLASS for each class. No GPU is needed.
#[derive(Args)]
pub struct Arguments {
    /// Run folders or files; each is assessed for itself.
    #[arg(required = true, value_name = "RUN_OR_CSV")]
    runs: Vec<PathBuf>,
    /// Assess all of them as one, as for the folds of a run in parts.
    #[arg(long)]
    pool: bool,
    #[command(flatten)]
    intervals: Intervals,
    /// Table with a column image and one column per covariate, for --formula.
    #[arg(long, value_name = "FILE.csv", requires = "formula")]
    covariates: Option<PathBuf>,
    /// What being right is regressed on, as in "age + sex + age:sex" or "age * sex"; C(code) makes categories of numbers.
    #[arg(long, value_name = "FORMULA", requires = "covariates")]
    formula: Option<String>,
    /// Folder for assessment.json, assessment.txt, roc.svg, reliability.svg and confusion.svg; with several runs in
    /// folders 1, 2, ... of it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    talk: TalkArguments,
}

/// How figures get their intervals.
#[derive(Args)]
pub struct Intervals {
    /// Confidence level.
    #[arg(long, value_name = "SHARE", default_value = "0.95")]
    level: f64,
    /// Resamples of the patient-clustered bootstrap; 0 for none.
    #[arg(long, value_name = "N", default_value = "2000")]
    bootstrap: usize,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Interval of proportions: wilson or clopper-pearson.
    #[arg(long, value_name = "METHOD", default_value = "wilson", value_parser = proportion)]
    interval: Proportion,
}

fn proportion(text: &str) -> std::result::Result<Proportion, String> {
    match text {
        "wilson" => Ok(Proportion::Wilson),
        "clopper-pearson" => Ok(Proportion::ClopperPearson),
        _ => Err("wilson or clopper-pearson is needed".into()),
    }
}

impl Intervals {
    /// Checked options.
    pub fn options(&self) -> Result<AssessOptions> {
        let (level, bootstrap, seed, proportion) = (self.level, self.bootstrap, self.seed, self.interval);
        let options = AssessOptions { level, bootstrap, seed, proportion, ..AssessOptions::default() };
        options.validate()?;
        Ok(options)
    }
}

/// What --json prints.
#[derive(Serialize)]
struct Output<'a> {
    sets: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    source: &'a str,
    assessment: Assessment,
}

/// The predictions of a run's folder or of a file.
pub fn read(path: &Path) -> Result<Predictions> {
    if !path.is_dir() {
        return Predictions::read(path);
    }
    let file = path.join("predictions.csv");
    if !file.exists() {
        let needed = "no predictions.csv in this folder; a run's folder or such a file is needed";
        return Err(Error::format(path, needed));
    }
    Predictions::read(&file)
}

pub fn run(a: &Arguments) -> Result<()> {
    let (options, talk) = (a.intervals.options()?, a.talk.talk());
    // What cannot be is said before anything is computed.
    let formula = a.formula.as_deref().map(Formula::parse).transpose()?;
    let table = a.covariates.as_deref().map(Covariates::read).transpose()?;
    let mut sets: Vec<(String, Predictions)> = Vec::new();
    for path in &a.runs {
        let (name, read) = (path.display().to_string(), read(path)?);
        talk.detail(|| format!("{name}: {} predictions of {} classes", read.rows.len(), read.classes.len()));
        match sets.last_mut().filter(|_| a.pool) {
            Some((names, all)) => {
                pool(all, read).map_err(|e| Error::format(path, format!("cannot be pooled: {e}")))?;
                *names = format!("{names}, {name}");
            }
            None => sets.push((name, read)),
        }
    }
    let mut texts = Vec::new();
    let mut found = Vec::new();
    for (i, (name, all)) in sets.iter().enumerate() {
        let start = Instant::now();
        let mut assessment = Assessment::of(all, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        talk.detail(|| format!("{name}: assessed with {} resamples in {seconds:.1} s", options.bootstrap));
        if let (Some(table), Some(formula)) = (&table, &formula) {
            assessment.regression = Some(Regression::of(all, table, formula, options.level)?);
        }
        if let Some(out) = &a.out {
            let dir = if sets.len() > 1 { out.join((i + 1).to_string()) } else { out.clone() };
            write(&dir, all, &assessment)?;
        }
        texts.push(if sets.len() > 1 { format!("{name}\n\n{assessment}") } else { assessment.to_string() });
        found.push(Found { source: name, assessment });
    }
    if a.json {
        return super::print(&readable(&Output { sets: found })?);
    }
    super::print(&texts.join("\n"))
}

/// JSON as people read it.
pub fn readable<T: Serialize>(value: &T) -> Result<String> {
    to_readable_string(value).map_err(|e| Error::Internal(format!("JSON: {e}")))
}

/// Adds the rows of `more`, whose classes must be the same in the same order.
fn pool(all: &mut Predictions, more: Predictions) -> Result<()> {
    if all.classes != more.classes {
        let (a, b) = (all.classes.join(", "), more.classes.join(", "));
        return Err(Error::Data(format!("its classes are {b}, those before are {a}")));
    }
    all.rows.extend(more.rows);
    all.validate()
}

fn write(dir: &Path, all: &Predictions, assessment: &Assessment) -> Result<()> {
    let c = &assessment.calibration;
    let level = assessment.options.level;
    for (name, text) in [
        ("assessment.json", readable(assessment)?),
        ("assessment.txt", assessment.to_string()),
        ("roc.svg", roc(&roc_curves(all, assessment), "ROC, each class against the others")?),
        ("reliability.svg", reliability(&c.bins, c.ece.value, level, "Reliability of the top probability")?),
        ("confusion.svg", confusion(&assessment.confusion, "Confusion matrix")?),
    ] {
        write_atomic(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}
