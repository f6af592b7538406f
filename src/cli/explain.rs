//! `radiograd explain`.

use super::predict::ModelArguments;
use super::{DeviceArguments, positive};
use clap::Args;
use radiograd::explain::CamMethod;
use radiograd::predict::{self, ExplainOptions, ExplainTable, Masks, Model, Naming, RunOptions, TableFormat, Target};
use radiograd::report::text::percent;
use radiograd::talk::TalkArguments;
use radiograd::train::interrupt;
use radiograd::{Gpu, Result};
use std::path::PathBuf;

/// Draw what a network looked at: for each image a panel of original, heat map and overlay, and a table of where the heat lies.
///
/// The map shows what raised the score of a class at a layer, not where a disease is. The table on standard output has the
/// pictures, the predicted and the explained class with its probability, the raw map's peak (0: the map is empty), and the shares
/// of the heat at the border (the outermost eighth of the side) and in the corners (squares of a quarter of the side), where
/// there is little lung. A map without any preference has 0.4375 and 0.25 there, less where a network without padding does not
/// see the border; its figures are said at the end. Pictures are called by hashes, and no file name is in them.
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
    /// Folder of the pictures.
    #[arg(long, value_name = "DIR", default_value = "explain")]
    out: PathBuf,
    /// The class whose score is explained; "predicted" is each image's own.
    #[arg(long, value_name = "NAME", default_value = "predicted")]
    class: String,
    /// The kind of map: gradcam, gradcam++, hirescam or layercam.
    #[arg(long, value_name = "METHOD", default_value = "gradcam")]
    method: String,
    /// The layer by its path, as in layer3.5 or features.denseblock3; without it the last convolution.
    #[arg(long, value_name = "PATH")]
    layer: Option<String>,
    /// Outline the innermost contour in red: where the heat is at least 9/10 of its maximum.
    #[arg(long)]
    contour: bool,
    /// Write the plain maps, too: 8-bit gray at the network's side, 0 where there is no heat, 255 where it is highest.
    #[arg(long)]
    maps: bool,
    /// Masks of the lungs, called as the images are (7.png for 7.jpg): the table says how much of the heat lies inside, and
    /// how large the mask is.
    #[arg(long, value_name = "DIR")]
    mask_dir: Option<PathBuf>,
    /// Images a step.
    #[arg(long, value_name = "N", default_value = "8", value_parser = positive)]
    batch: usize,
    /// Count damaged images instead of stopping at the first.
    #[arg(long)]
    skip_bad: bool,
    /// Call pictures by their files' names, which can hold patients' numbers, instead of hashes, and write paths below them.
    #[arg(long)]
    show_names: bool,
    /// Print JSON instead of CSV.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    talk: TalkArguments,
}

pub fn run(a: &Arguments) -> Result<()> {
    let (device, talk) = (a.device.options()?, a.talk.talk());
    let method = CamMethod::named(&a.method)?;
    let model = Model::open(&a.weights, &a.model.options())?;
    let target = match a.class.as_str() {
        "predicted" => Target::Predicted,
        name => Target::Class(model.class(name)?),
    };
    let files = predict::images(&a.images)?;
    let masks = a.mask_dir.as_deref().map(|dir| Masks::open(dir, &files)).transpose()?;
    let naming = Naming::new(&a.images, files.len(), a.show_names);
    let options = ExplainOptions {
        run: RunOptions { batch: a.batch, skip_bad: a.skip_bad, talk },
        method,
        layer: a.layer.as_deref(),
        target,
        dir: &a.out,
        naming: &naming,
        contour: a.contour,
        maps: a.maps,
        masks: masks.as_ref(),
    };
    let format = if a.json { TableFormat::Json } else { TableFormat::Csv };
    let mut table = ExplainTable::create(format, &model, &options)?;
    interrupt::install();
    let gpu = Gpu::with(&device)?;
    gpu.introduce(talk);
    let all = predict::explain(&gpu, &model, &files, &options, |explained| table.add(explained))?;
    let (n, dir) = (all.outcome.predicted, a.out.display());
    let plural = if n == 1 { "" } else { "s" };
    talk.say(format_args!("{n} panel{plural} in {dir}, empty maps: {}", all.empty));
    if let Some(u) = all.uniform {
        let (border, corners) = (percent(u.border), percent(u.corners));
        let words = "a map without any preference has";
        talk.say(format_args!("{words} {border} of its heat at the border, {corners} in the corners"));
    }
    table.finish(&all)
}
