//! A paper's run as a program: `radiograd paper NAME` and `examples/paper.rs`.

use super::lab::{PaperOptions, Scale, weights_by_name};
use super::{named, run};
use crate::data::cache;
use crate::error::Result;
use crate::experiment::Report;
use crate::gpu::{AdapterChoice, Gpu, GpuOptions};
use crate::papers::detl::parse_size;
use crate::talk::TalkArguments;
use crate::train::interrupt;
use std::path::PathBuf;

/// The options, as the command line has them.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// detl, hernandez, balvinsson, zhong or gao-wang.
    pub name: String,
    /// Folders and manifests of images; synthetic radiographs without any. Repeat for more.
    #[arg(long, value_name = "PATH", env = "RADIOGRAD_DATA", value_delimiter = ':')]
    pub data: Vec<PathBuf>,
    /// How much is run.
    #[arg(long, value_enum, default_value = "small")]
    pub scale: Scale,
    /// Weights of a network's base, as in vgg19=vgg19.safetensors; random ones for the others. Repeat for more.
    #[arg(long, value_name = "NAME=FILE")]
    pub weights: Vec<String>,
    /// Folder for everything [default: out/paper-NAME-SCALE].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of everything that is drawn.
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
    /// Leave out what accuracy is left without lungs: three or four more trainings a cell.
    #[arg(long)]
    pub no_shortcuts: bool,
    /// Count damaged images instead of ending with exit code 5.
    #[arg(long)]
    pub skip_bad: bool,
    /// Files' own names, which can hold patients' numbers, instead of hashes.
    #[arg(long)]
    pub show_names: bool,
    /// Do the i-th of n shards of the folds.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub shard: Option<(usize, usize)>,
    /// Keep nothing on disk but what goes to --out.
    #[arg(long)]
    pub no_cache: bool,
    /// Adapter by index, part of its name or PCI address.
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// Memory that a plan may use, as in 512M or 2G.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// How much is said.
    #[command(flatten)]
    pub talk: TalkArguments,
}

/// `i/n` of `--shard`.
///
/// # Errors
/// What is needed, in words.
pub fn shard(text: &str) -> std::result::Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parts.filter(|(i, n)| (1..=*n).contains(i)).ok_or_else(|| "i/n is needed, from 1/n to n/n".into())
}

impl Arguments {
    /// Runs the paper; the report, and the folder it was written to. Ctrl-C ends it cleanly.
    ///
    /// # Errors
    /// As [`run`]; [`crate::Error::Usage`] for what the options say.
    pub fn run(&self) -> Result<(Report, PathBuf)> {
        let paper = named(&self.name)?;
        let out = self.out.clone();
        let out = out.unwrap_or_else(|| format!("out/paper-{}-{}", paper.name, self.scale.name()).into());
        let options = PaperOptions {
            data: self.data.clone(),
            scale: self.scale,
            out: out.clone(),
            seed: self.seed,
            weights: weights_by_name(&self.weights)?,
            cache: (!self.no_cache).then(cache::root).transpose()?,
            skip_bad: self.skip_bad,
            show_names: self.show_names,
            no_shortcuts: self.no_shortcuts,
            shard: self.shard,
            talk: self.talk.talk(),
        };
        let memory = self.memory.as_deref().map(parse_size).transpose()?;
        let adapter = AdapterChoice { name: self.adapter.clone() };
        interrupt::install();
        let device = GpuOptions { adapter, memory, cache: options.cache.clone(), ..GpuOptions::default() };
        let gpu = Gpu::with(&device)?;
        gpu.introduce(options.talk);
        Ok((run(&gpu, paper.name, &options)?, out))
    }

    /// What a run prints on stdout: the table and what belongs to it, or JSON.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] only.
    pub fn text(&self, report: &Report) -> Result<String> {
        if self.json {
            return report.json();
        }
        let extras = report.findings.extras.iter().map(|(title, text)| format!("\n{title}\n{text}\n"));
        Ok(format!("{report}{}", extras.collect::<String>()))
    }
}
