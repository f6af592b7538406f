//! `radiograd predict`.

use super::{DeviceArguments, positive};
use clap::{Args, ValueEnum};
use radiograd::models::{Grey, Preprocess};
use radiograd::predict::{self, Model, ModelOptions, RunOptions, Table, TableFormat};
use radiograd::train::interrupt;
use radiograd::{Gpu, Result, Storage};
use std::path::PathBuf;

/// Predict the class of images from a weights file: a table of path, class and the probability of each class.
///
/// A weights file of this program says itself which network it belongs to, how images are prepared and what the classes are
/// called. For published weights name the network: --network vgg16.
///
/// Research software, not a medical device.
#[derive(Args)]
pub struct Arguments {
    /// The weights: safetensors, as training writes them.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// PNG and JPEG files, and folders that are searched for them.
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// Write the table here instead of to standard output. The file appears when it is complete.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write CSV, which is the default.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Images a step.
    #[arg(long, value_name = "N", default_value = "16", value_parser = positive)]
    batch: usize,
    /// Count damaged images instead of stopping at the first.
    #[arg(long)]
    skip_bad: bool,
    /// The network, where the file does not name it.
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Side of the images in pixels, where the file does not name it.
    #[arg(long, value_name = "N", value_parser = positive)]
    side: Option<usize>,
    /// How a grey image meets a first filter of three channels. The scores are equal; folding needs channels that are scaled
    /// alike, and saves two thirds of the first layer.
    #[arg(long, value_enum)]
    grey: Option<GreyName>,
    /// How pixels are scaled, in place of what the file or the network's published weights have.
    #[arg(long, value_enum)]
    preprocess: Option<PreprocessName>,
    /// Keep activations as 16-bit floats: half their memory, scores that differ in the third digit. The adapter needs them.
    #[arg(long)]
    f16: bool,
    #[command(flatten)]
    device: DeviceArguments,
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum GreyName {
    /// The image is given three times.
    Replicate,
    /// The first filter is summed over its channels.
    Fold,
}

#[derive(Clone, Copy, ValueEnum)]
enum PreprocessName {
    /// [0, 1].
    Unit,
    /// [-1, 1].
    Signed,
    /// ImageNet's mean and deviation.
    Imagenet,
    /// 0 to 255 minus ImageNet's mean, blue first.
    Caffe,
}

pub fn run(a: &Arguments) -> Result<()> {
    let options = ModelOptions {
        network: a.network.clone(),
        side: a.side,
        grey: a.grey.map(|g| match g {
            GreyName::Replicate => Grey::Replicate,
            GreyName::Fold => Grey::Fold,
        }),
        preprocess: a.preprocess.map(|p| match p {
            PreprocessName::Unit => Preprocess::Unit,
            PreprocessName::Signed => Preprocess::Signed,
            PreprocessName::Imagenet => Preprocess::ImageNet,
            PreprocessName::Caffe => Preprocess::Caffe,
        }),
    };
    let device = a.device.options()?;
    let model = Model::open(&a.weights, &options)?;
    let files = predict::images(&a.images)?;
    let format = if a.json { TableFormat::Json } else { TableFormat::Csv };
    let mut table = Table::create(a.out.as_deref(), format, &model)?;
    interrupt::install();
    let gpu = Gpu::with(&device)?.with_storage(Storage::f16(a.f16))?;
    let run = RunOptions { batch: a.batch, skip_bad: a.skip_bad, quiet: a.quiet };
    let outcome = predict::run(&gpu, &model, &files, &run, |path, logits, p| table.add(path, logits, p))?;
    table.finish(&outcome)
}
