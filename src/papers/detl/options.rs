//! The options of a DETL run, as the command line has them.

use crate::data::detl::PretrainOn;
use crate::data::split::SplitBy;
use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, GpuOptions};
use crate::talk::TalkArguments;
use crate::train::MicroBatch;
use std::path::PathBuf;

/// Trains the DETL network of Basu & Mitra (arXiv:2004.10507) in two stages, tests it by cross-validation and explains
/// it with Grad-CAM.
///
/// Without --data it runs on built-in synthetic radiographs. Research software, not a medical device.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "detl", version)]
pub struct Options {
    /// A folder whose subfolders hold images and a metadata.csv, or a TOML manifest; synthetic radiographs without it.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: Option<PathBuf>,
    /// What stage 1 learns from: nih (normal, 13 findings) or kermany (normal, pneumonia).
    #[arg(long, default_value = "nih")]
    pub source: PretrainOn,
    /// Synthetic patients for stage 1 and for the folds, about two images each.
    #[arg(long, value_name = "N,N", value_delimiter = ',', num_args = 2)]
    pub patients: Option<Vec<usize>>,
    /// Side of the network's input in pixels.
    #[arg(long, default_value_t = 64)]
    pub side: usize,
    /// Epochs of stage 1; the paper has 100.
    #[arg(long, value_name = "N")]
    pub stage1_epochs: Option<usize>,
    /// Epochs of stage 2 in each fold.
    #[arg(long, value_name = "N")]
    pub stage2_epochs: Option<usize>,
    /// Learning rate at the start of stage 1 (Adam, cosine annealing).
    #[arg(long, default_value_t = 1e-3)]
    pub lr1: f64,
    /// Learning rate of stage 2 (SGD, momentum 0.9); the paper has 1e-4, which is the default with --data.
    #[arg(long)]
    pub lr2: Option<f64>,
    /// Weight the classes of stage 1 by their frequency: Data-A can be far from balanced, and then the network learns
    /// nothing but to say the larger class. The paper does not say.
    #[arg(long, value_enum, default_value = "balanced")]
    pub class_weights: ClassWeights,
    /// Mirror images at random in stage 2 as well. The paper augments stage 1 only; the synthetic run always mirrors.
    #[arg(long)]
    pub mirror: bool,
    /// Images a step; 16 with --data, else 8.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Split a batch that does not fit into micro batches, whose gradients add up: auto, or so many images at once.
    #[arg(long, value_name = "auto|N", default_value = "off")]
    pub micro_batch: MicroBatch,
    /// Folds of the cross-validation; 5 with --data, as in the paper, else 3.
    #[arg(long)]
    pub folds: Option<usize>,
    /// patient: all images of a patient are in one fold. image: as in the paper, to show the gap.
    #[arg(long, default_value = "patient")]
    pub split: SplitBy,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A small and short run to see that everything works; its accuracy means nothing.
    #[arg(long)]
    pub smoke: bool,
    /// Folder for the results.
    #[arg(long, value_name = "DIR", default_value = "out/detl")]
    pub out: PathBuf,
    /// Folder for decoded images, for what the frozen base computes and for compiled pipelines; none keeps nothing.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Count and skip damaged images instead of stopping.
    #[arg(long)]
    pub skip_bad: bool,
    /// Adapter by index, part of its name or PCI address; `radiograd devices` lists them.
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// Memory that a plan may use, as in 512M or 2G.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Print the training plans: every dispatch with its layer, kernel and cost.
    #[arg(long)]
    pub plan: bool,
    /// How much is said.
    #[command(flatten)]
    pub talk: TalkArguments,
}

/// Weights of the classes in the loss of stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClassWeights {
    /// Every class has the same sum of weights.
    Balanced,
    /// Every image has the same weight.
    None,
}

impl Options {
    /// The weights of stage 1's classes for these training items.
    pub fn class_weights(&self, train: &[(usize, usize)], classes: usize) -> Option<Vec<f32>> {
        (self.class_weights == ClassWeights::Balanced).then(|| crate::train::balanced(train, classes))
    }

    /// The options of a run without arguments.
    pub fn new() -> Options {
        <Options as clap::Parser>::parse_from(["detl"])
    }

    /// Refuses what cannot run before anything is touched.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the option.
    pub fn check(&self) -> Result<()> {
        let no = |m: String| Err(Error::Usage(m));
        if self.folds() < 2 {
            return no(format!("--folds {}: 2 or more", self.folds()));
        }
        if !(1..=1024).contains(&self.batch()) {
            return no(format!("--batch {}: 1 to 1024", self.batch()));
        }
        if let Some(p) = self.patients.as_ref().filter(|p| p.len() != 2 || p.iter().any(|n| !(8..=100_000).contains(n)))
        {
            return no(format!("--patients {p:?}: two numbers, each 8 to 100000"));
        }
        if self.stage1_epochs() == 0 || self.stage2_epochs() == 0 {
            return no("--stage1-epochs and --stage2-epochs: 1 or more".into());
        }
        for (name, rate) in [("--lr1", self.lr1), ("--lr2", self.lr2())] {
            if !(rate > 0.0 && rate < 10.0) {
                return no(format!("{name} {rate}: above 0 and below 10"));
            }
        }
        self.gpu().map(|_| ())
    }

    /// Epochs of stage 1.
    pub fn stage1_epochs(&self) -> usize {
        self.stage1_epochs.unwrap_or(match (self.smoke, &self.data) {
            (true, _) => 1,
            (_, None) => 3,
            _ => 40,
        })
    }

    /// Epochs of stage 2.
    pub fn stage2_epochs(&self) -> usize {
        self.stage2_epochs.unwrap_or(match (self.smoke, &self.data) {
            (true, _) => 1,
            (_, None) => 8,
            _ => 40,
        })
    }

    /// Images a step. The synthetic run has few images and needs many steps.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(if self.data.is_none() { 8 } else { 16 })
    }

    /// Folds of the cross-validation.
    pub fn folds(&self) -> usize {
        self.folds.unwrap_or(if self.data.is_none() { 3 } else { 5 })
    }

    /// Whether stage 2 mirrors: asked for, or the synthetic run, which is short of images.
    pub fn stage2_mirror(&self) -> bool {
        self.mirror || self.data.is_none()
    }

    /// Synthetic patients of stage 1 and of the folds.
    pub fn patients(&self) -> [usize; 2] {
        match (self.patients.as_deref(), self.smoke) {
            (Some(&[a, b]), _) => [a, b],
            (_, true) => [40, 60],
            _ => [400, 300],
        }
    }

    /// Learning rate of stage 2. The synthetic run is short and has its own.
    pub fn lr2(&self) -> f64 {
        self.lr2.unwrap_or(if self.data.is_none() { 7e-3 } else { 1e-4 })
    }

    /// How to open the device.
    ///
    /// # Errors
    /// [`Error::Usage`] for a `--memory` that is no size.
    pub fn gpu(&self) -> Result<GpuOptions> {
        let memory = self.memory.as_deref().map(parse_size).transpose()?;
        let adapter = AdapterChoice { name: self.adapter.clone() };
        Ok(GpuOptions { adapter, memory, cache: self.cache.clone(), ..Default::default() })
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

/// Bytes of a size as people write it: 800M, 2G, 1.5GiB, 1000000.
///
/// # Errors
/// [`Error::Usage`] when it is none.
pub fn parse_size(text: &str) -> Result<u64> {
    let bad = || Error::Usage(format!("--memory {text}: a size such as 800M, 2G or 1.5GiB"));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        _ => return Err(bad()),
    };
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("800M").unwrap(), 800_000_000);
        assert_eq!(parse_size("1.5GiB").unwrap(), 1_610_612_736);
        assert_eq!(parse_size("77").unwrap(), 77);
        for bad in ["", "x", "2T", "-1", "1.2.3G"] {
            assert_eq!(parse_size(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn impossible_options_are_refused_by_name() {
        let o = Options::new();
        for (bad, name) in [
            (Options { folds: Some(1), ..o.clone() }, "--folds"),
            (Options { batch: Some(0), ..o.clone() }, "--batch"),
            (Options { lr1: f64::NAN, ..o.clone() }, "--lr1"),
            (Options { stage1_epochs: Some(0), ..o.clone() }, "--stage1-epochs"),
            (Options { memory: Some("lots".into()), ..o.clone() }, "--memory"),
        ] {
            let e = bad.check().unwrap_err();
            assert!(e.to_string().contains(name), "{e}");
        }
        o.check().unwrap();
    }
}
