//! `radiograd summary`.

use super::{DeviceArguments, positive, print};
use clap::Args;
use radiograd::models::Network;
use radiograd::models::summary::SummaryOptions;
use radiograd::nn::Optimizer;
use radiograd::plan::Target;
use radiograd::{Error, Gpu, Result, Storage};

/// Show a network layer by layer: kind, output, parameters, operations, bytes; and the memory that it takes.
///
/// Needs no GPU: without one the memory is planned for software Vulkan's limits.
#[derive(Args)]
pub struct Arguments {
    /// The network: detl12, zhong_dcnn, vgg16, resnet50, resnet50_keras … A wrong name is answered with all of them.
    name: String,
    /// Channels, rows and columns of the images; by default those of the network's paper.
    #[arg(long, value_name = "C×H×W", value_parser = dimensions)]
    input: Option<[usize; 3]>,
    /// Images a step.
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    batch: usize,
    /// Outputs; by default those of the network's paper.
    #[arg(long, value_name = "N", value_parser = positive)]
    classes: Option<usize>,
    /// A training step instead of inference: gradients, moments, what the backward pass keeps.
    #[arg(long)]
    train: bool,
    /// The optimizer of --train, which decides how many moments there are: SGD, momentum, Nesterov, Adam, AdamW, Nadam,
    /// RMSprop.
    #[arg(long, value_name = "NAME", default_value = "Adam", requires = "train")]
    optimizer: String,
    /// Compute cheap results again in the backward pass instead of keeping them: less memory, the same numbers.
    #[arg(long, requires = "train")]
    recompute: bool,
    /// Only parameters of these names train, `*` stands for anything: --trainable 'classifier.*'.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', requires = "train")]
    trainable: Vec<String>,
    /// Activations as 16-bit floats.
    #[arg(long)]
    f16: bool,
    #[command(flatten)]
    device: DeviceArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `1x80x80` or `1×80×80`.
fn dimensions(text: &str) -> std::result::Result<[usize; 3], String> {
    let parts: Vec<&str> = text.split(['x', 'X', '×']).collect();
    let numbers: Vec<usize> = parts.iter().filter_map(|p| p.parse().ok()).filter(|n| *n > 0).collect();
    match <[usize; 3]>::try_from(numbers) {
        Ok(all) if parts.len() == 3 => Ok(all),
        _ => Err("channels, rows and columns are needed, as in 1x80x80".into()),
    }
}

pub fn run(a: &Arguments) -> Result<()> {
    let network = Network::named(&a.name)?;
    let options = SummaryOptions {
        input: a.input,
        batch: a.batch,
        classes: a.classes,
        training: a.train.then(|| Optimizer::named(&a.optimizer)).transpose()?,
        recompute: a.recompute,
        trainable: a.trainable.clone(),
    };
    // What cannot be is said before a device is looked for.
    network.check_input(a.input.unwrap_or([
        network.channels(),
        network.architecture.side,
        network.architecture.side,
    ]))?;
    let device = a.device.options()?;
    let storage = Storage::f16(a.f16);
    let target = match Gpu::with(&device) {
        Ok(gpu) => Target::of(&gpu.with_storage(storage)?),
        // Whoever names an adapter wants that one.
        Err(Error::NoAdapter(_)) if a.device.adapter.is_none() => {
            Target::portable().with_budget(device.memory).with_storage(storage)
        }
        Err(e) => return Err(e),
    };
    let summary = network.summary(&target, &options)?;
    if a.json { print(&format!("{}\n", summary.to_json())) } else { print(&summary.to_string()) }
}
