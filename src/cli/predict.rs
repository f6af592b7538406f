//! `radiograd predict`.

use super::{DeviceArguments, positive};
use clap::{Args, ValueEnum};
use radiograd::models::{Grey, Preprocess};
use radiograd::predict::{self, Cascade, HeatMaps, Model, ModelOptions, Naming, RunOptions, Table, TableFormat};
use radiograd::talk::TalkArguments;
use radiograd::train::interrupt;
use radiograd::{Gpu, Result, Storage};
use std::path::PathBuf;

/// Predict the class of images from a weights file: a table of path, class and the probability of each class.
///
/// A weights file of this program says itself which network it belongs to, how images are prepared and what the classes are
/// called. For published weights name the network: --network vgg16.
///
/// Two stages, as Gao & Wang have them: --then viral=stage2.safetensors sends the images whose highest class is "viral" through a
/// second weights file. --heat-maps shows what the stage that gave the verdict looked at.
///
/// Research software, not a medical device.
#[derive(Args)]
pub struct Arguments {
    /// The weights: safetensors, as training writes them.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// PNG, JPEG and DICOM files, and folders that are searched for them; DICOM needs a build with `--features dicom`.
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
    /// A second stage: images whose highest class is CLASS go through this weights file, too. The table gets its probabilities
    /// (stage2_...) and the final verdict. Can be given once for each class.
    #[arg(long, value_name = "CLASS=FILE")]
    then: Vec<String>,
    /// Write a heat map of each image's verdict into this folder, and index.html, which shows all with their probabilities.
    #[arg(long, value_name = "DIR")]
    heat_maps: Option<PathBuf>,
    /// Call pictures by their files' names, which can hold patients' numbers, instead of hashes. The table always has the
    /// paths that you gave.
    #[arg(long, requires = "heat_maps")]
    show_names: bool,
    #[command(flatten)]
    model: ModelArguments,
    /// Keep activations as 16-bit floats: half their memory, scores that differ in the third digit. The adapter needs them.
    #[arg(long)]
    f16: bool,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    talk: TalkArguments,
}

/// What the user says of a weights file that does not say it itself.
#[derive(Args)]
pub struct ModelArguments {
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
}

impl ModelArguments {
    pub fn options(&self) -> ModelOptions {
        ModelOptions {
            network: self.network.clone(),
            side: self.side,
            grey: self.grey.map(|g| match g {
                GreyName::Replicate => Grey::Replicate,
                GreyName::Fold => Grey::Fold,
            }),
            preprocess: self.preprocess.map(|p| match p {
                PreprocessName::Unit => Preprocess::Unit,
                PreprocessName::Signed => Preprocess::Signed,
                PreprocessName::Imagenet => Preprocess::ImageNet,
                PreprocessName::Caffe => Preprocess::Caffe,
            }),
        }
    }
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
    let (device, talk) = (a.device.options()?, a.talk.talk());
    let cascade = Cascade::open(Model::open(&a.weights, &a.model.options())?, &a.then)?;
    let files = predict::images(&a.images)?;
    let format = if a.json { TableFormat::Json } else { TableFormat::Csv };
    let mut table = Table::of_cascade(a.out.as_deref(), format, &cascade, a.heat_maps.is_some())?;
    let naming = Naming::new(&a.images, files.len(), a.show_names);
    let heat = a.heat_maps.as_deref().map(|dir| HeatMaps::create(dir, naming, &cascade, &files));
    let mut heat = heat.transpose()?;
    interrupt::install();
    let gpu = Gpu::with(&device)?.with_storage(Storage::f16(a.f16))?;
    gpu.introduce(talk);
    let run = RunOptions { batch: a.batch, skip_bad: a.skip_bad, talk };
    let outcome = cascade.run(&gpu, &files, &run, heat.as_mut(), |verdict| table.add_verdict(verdict))?;
    if let Some(heat) = heat {
        talk.say(heat.finish(&outcome)?.display());
    }
    table.finish(&outcome)
}
