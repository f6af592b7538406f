//! The commands, one a file. Results go to stdout, progress and remarks to stderr.

mod cache;
mod compare;
mod completions;
mod data;
mod devices;
mod eval;
mod explain;
mod paper;
mod predict;
mod selftest;
mod summary;
mod train;

use clap::{Args, Parser, Subcommand};
use radiograd::data::cache::root as cache_root;
use radiograd::gpu::AdapterChoice;
use radiograd::papers::detl::parse_size;
use radiograd::{Error, GpuOptions, Result};
use std::io::Write;

/// A GPU tensor engine for the convolutional networks that read chest X-rays.
///
/// Research software, not a medical device: nothing here may be used for diagnosis or treatment.
///
/// Begin with `radiograd paper detl --scale smoke`, or with your images: `data audit`, `data split`, `train`, `eval`, `explain`.
/// Results go to standard output, progress to standard error; every command that has a result has --json. Settings come from flags, then
/// RADIOGRAD_* variables, then WGPU_* for the device, then a config file, then defaults.
///
/// Exit codes: 0 ok, 1 other, 2 usage, 3 no suitable adapter, 4 out of memory, 5 data or a leak, 6 numerics, 7 device lost,
/// 130 interrupted.
#[derive(Parser)]
#[command(name = "radiograd", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Devices(devices::Arguments),
    Selftest(selftest::Arguments),
    Data(data::Arguments),
    Train(Box<train::Arguments>),
    Resume(train::ResumeArguments),
    Eval(eval::Arguments),
    Predict(predict::Arguments),
    Explain(explain::Arguments),
    Compare(compare::Arguments),
    Summary(summary::Arguments),
    Paper(paper::Arguments),
    Cache(cache::Arguments),
    Completions(completions::Arguments),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Cache(a) => cache::run(&a),
            Command::Completions(a) => completions::run(&a),
            Command::Data(a) => data::run(&a),
            Command::Devices(a) => devices::run(a),
            Command::Train(a) => train::run(&a),
            Command::Resume(a) => train::resume(&a),
            Command::Paper(a) => paper::run(&a),
            Command::Selftest(a) => selftest::run(a),
            Command::Summary(a) => summary::run(&a),
            Command::Predict(a) => predict::run(&a),
            Command::Eval(a) => eval::run(&a),
            Command::Compare(a) => compare::run(&a),
            Command::Explain(a) => explain::run(&a),
        }
    }
}

/// Options of every command that computes.
#[derive(Args)]
struct DeviceArguments {
    /// Adapter by index, part of its name or PCI address; `radiograd devices` lists them.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
    /// Memory that a plan may use, as in 512M or 2G.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

impl DeviceArguments {
    fn options(&self) -> Result<GpuOptions> {
        let memory = self.memory.as_deref().map(parse_size).transpose()?;
        let adapter = AdapterChoice { name: self.adapter.clone() };
        Ok(GpuOptions { adapter, memory, cache: cache_root().ok(), ..Default::default() })
    }
}

/// Prints a result. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::io("standard output", "cannot write")),
    }
}

/// Whole numbers from 1 on.
fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) | Err(_) => Err("a whole number from 1 on is needed".into()),
        Ok(n) => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
