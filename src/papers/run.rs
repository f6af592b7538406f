//! A paper by its name, and the report of its run.

use super::lab::{Lab, PaperOptions, Scale};
use super::{balvinsson, detl_cells, gao_wang, hernandez, zhong};
use crate::error::{Error, Result};
use crate::experiment::{Findings, Report};
use crate::gpu::Gpu;
use crate::names::nearest;
use crate::train::{RunFolder, Status};
use std::rc::Rc;
use std::time::Instant;

/// A paper.
pub struct Paper {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What to cite.
    pub citation: &'static str,
    run: fn(&Lab) -> Result<Findings>,
}

/// The five papers.
pub const PAPERS: [Paper; 5] = [
    Paper {
        name: "detl",
        title: "DETL: domain extension transfer learning",
        citation: "Basu S, Mitra S, Saha N. Deep Learning for Screening COVID-19 using Chest X-Ray Images. arXiv:2004.10507",
        run: detl_cells::run,
    },
    Paper {
        name: "hernandez",
        title: "A network of one's own against transfer learning",
        citation: "Hernandez D, Pereira R, Georgieva P. COVID-19 detection through X-Ray chest images. ICAI 2020",
        run: hernandez::run,
    },
    Paper {
        name: "balvinsson",
        title: "Localization decides, not accuracy",
        citation: "Balvinsson et al. COVID-19 detection in chest X-rays by transfer learning. KTH",
        run: balvinsson::run,
    },
    Paper {
        name: "zhong",
        title: "A deep network of 63 million parameters",
        citation: "Zhong Y. Using Deep Convolutional Neural Networks to Diagnose COVID-19 From Chest X-Ray Images. arXiv:2007.09695",
        run: zhong::run,
    },
    Paper {
        name: "gao-wang",
        title: "A two-stage cascade with a user interface",
        citation: "Gao T, Wang G. Chest X-ray image analysis and classification for COVID-19 pneumonia detection using deep CNN",
        run: gao_wang::run,
    },
];

/// The paper of this name.
///
/// # Errors
/// [`Error::Usage`] with the nearest names.
pub fn named(name: &str) -> Result<&'static Paper> {
    let names: Vec<&str> = PAPERS.iter().map(|p| p.name).collect();
    let near = || Error::Usage(format!("there is no paper '{name}'; {}", nearest(name, &names)));
    PAPERS.iter().find(|p| p.name == name).ok_or_else(near)
}

/// Runs a paper's protocol and writes `report.html`, `report.json`, `run.json`, `history.csv`, `events.jsonl`, TensorBoard's files and a
/// folder a cell into the options' `out`.
///
/// # Errors
/// [`Error::Usage`] for an unknown paper; otherwise as data, training and files; an interrupted run goes on when it is started again.
pub fn run(gpu: &Gpu, name: &str, options: &PaperOptions) -> Result<Report> {
    let paper = named(name)?;
    let start = Instant::now();
    let configuration = serde_json::json!({
        "paper": name,
        "scale": options.scale.name(),
        "seed": options.seed,
        "synthetic": options.data.is_empty(),
        "weights": options.weights.keys().collect::<Vec<_>>(),
        "adapter": gpu.describe(),
    });
    let folder = Rc::new(RunFolder::open_or_create(&options.out, configuration)?);
    let lab = Lab { gpu, options, folder: folder.clone() };
    let mut findings = match (paper.run)(&lab) {
        Ok(findings) => findings,
        Err(e) => {
            let status = if matches!(e, Error::Interrupted(_)) { Status::Interrupted } else { Status::Failed };
            folder.finish(status, Some(&e.to_string()))?;
            return Err(e.and_written(&options.out.display().to_string()));
        }
    };
    warn(options, &mut findings);
    let mut report =
        Report::new((paper.name, paper.title, paper.citation), options.scale.name(), gpu.describe(), findings);
    report.seconds = start.elapsed().as_secs_f64();
    report.write(&options.out)?;
    folder.finish(Status::Complete, None)?;
    Ok(report)
}

/// The warnings that every paper's run needs.
fn warn(o: &PaperOptions, f: &mut Findings) {
    let mut first = Vec::new();
    if o.scale == Scale::Smoke {
        first.push("A smoke run: a few images and epochs. Its figures mean nothing.".to_string());
    }
    if o.data.is_empty() {
        first.push("The images are drawings: no figure here says anything about patients or about the paper.".into());
    }
    first.append(&mut f.warnings);
    f.warnings = first;
}
