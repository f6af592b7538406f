//! The options, as the command line has them, and the network that they ask for.

use radiograd::data::{cache, phantom};
use radiograd::experiment::cell::{Cell, Freeze, NewHead};
use radiograd::gpu::{AdapterChoice, GpuOptions};
use radiograd::models::{Network, Pooling};
use radiograd::nn::{Optimizer, Schedule};
use radiograd::ops::AugmentOptions;
use radiograd::papers::detl::parse_size;
use radiograd::talk::TalkArguments;
use radiograd::train::MicroBatch;
use radiograd::{Error, Graph, Result, Shape};
use std::path::PathBuf;

/// Views of each image that are computed when the base is frozen and images are to be augmented.
pub const AUGMENT: AugmentOptions = AugmentOptions::DETL;

/// The eleven networks; the dialects are other weights for the same architectures.
const ELEVEN: [&str; 11] = [
    "detl12",
    "hernandez_custom",
    "zhong_dcnn",
    "gaowang",
    "vgg16",
    "vgg19",
    "resnet50",
    "densenet121",
    "inception_v3",
    "inception_resnet_v2",
    "xception",
];

/// Trains a new head on a network's frozen base and explains it with Grad-CAM. Research software, not a medical device.
///
/// What the frozen base computes is kept on disk (RADIOGRAD_CACHE, else the system's folder for caches).
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "finetune", version)]
pub struct Options {
    /// The network, or all: the eleven of the papers.
    #[arg(long)]
    pub model: String,
    /// A small and short run to see that everything works; its accuracy means nothing.
    #[arg(long)]
    pub smoke: bool,
    /// A folder whose subfolders hold images and a metadata.csv, or a TOML manifest; synthetic radiographs without it.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: Option<PathBuf>,
    /// Weights of the base, as torchvision, timm or this program write them; random ones without it.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Side of the network's input in pixels; the network's own without it.
    #[arg(long)]
    pub side: Option<usize>,
    /// Widths of the head's hidden layers; an empty text is none.
    #[arg(long, default_value = "128,128")]
    pub head: String,
    /// Dropout after each hidden layer.
    #[arg(long, default_value_t = 0.3)]
    pub dropout: f32,
    /// Freeze the parameters that match, as in features.*; repeat for more. The whole base without it.
    #[arg(long, value_name = "PATTERN", conflicts_with = "freeze_to")]
    pub freeze: Vec<String>,
    /// Freeze everything up to this layer or block.
    #[arg(long, value_name = "LAYER")]
    pub freeze_to: Option<String>,
    /// Epochs.
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Images a step.
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Split a batch that does not fit into micro batches, whose gradients add up: auto, or so many images at once.
    #[arg(long, value_name = "auto|N", default_value = "off")]
    pub micro_batch: MicroBatch,
    /// Compute cheap results again in the backward pass instead of keeping them: less memory, the same numbers.
    #[arg(long)]
    pub recompute: bool,
    /// Learning rate at the start (Adam, cosine annealing).
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// Augmented views of each image whose features are computed as well.
    #[arg(long, default_value_t = 0)]
    pub views: usize,
    /// Synthetic patients, about two images each; 16 or more.
    #[arg(long)]
    pub patients: Option<usize>,
    /// Keep nothing on disk but what goes to --out.
    #[arg(long)]
    pub no_cache: bool,
    /// Also train through the frozen base, without the cache, and compare: time of an epoch, and the weights bit by bit.
    #[arg(long)]
    pub compare: bool,
    /// Go on from the checkpoint in --out.
    #[arg(long)]
    pub resume: bool,
    /// Keep activations as 16-bit floats, and scale the loss. The adapter needs SHADER_F16.
    #[arg(long)]
    pub f16: bool,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for heat maps, weights and checkpoints; --smoke writes heat maps only.
    #[arg(long, value_name = "DIR", default_value = "out/finetune")]
    pub out: PathBuf,
    /// Adapter by index, part of its name or PCI address.
    #[arg(long)]
    pub adapter: Option<String>,
    /// Memory that a plan may use, as in 512M or 2G.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// How much is said.
    #[command(flatten)]
    pub talk: TalkArguments,
}

impl Options {
    /// The trainings, one a network with its new head, and the sides of their images; every name and size is checked.
    pub fn cells(&self) -> Result<Vec<(Cell, usize)>> {
        let names: Vec<&str> = if self.model == "all" { ELEVEN.to_vec() } else { vec![&self.model] };
        if names.len() > 1 && self.weights.is_some() {
            return Err(Error::Usage("--weights is for one network, not for --model all".into()));
        }
        if !(self.lr > 0.0 && self.lr < 10.0) {
            return Err(Error::Usage("--lr: above 0 and below 10".into()));
        }
        names.iter().map(|n| self.cell(n)).collect()
    }

    fn cell(&self, name: &str) -> Result<(Cell, usize)> {
        let network = Network::named(name)?;
        let bad = || Error::Usage(format!("--head {}: widths such as 128,128", self.head));
        let widths = self.head.split(',').map(str::trim).filter(|w| !w.is_empty());
        let widths = widths.map(|w| w.parse().map_err(|_| bad())).collect::<Result<_>>()?;
        // Small networks read the map as it is; the large ones' maps are averaged, whatever their own head does.
        let own = network.head.pooling;
        let pooling = if network.architecture.published.is_some() { Pooling::GlobalAverage } else { own };
        let side = match (self.side, self.smoke) {
            (Some(side), _) => side,
            (None, true) => smallest_with_a_map(&network),
            (None, false) => network.architecture.side,
        };
        let epochs = self.epochs();
        let cell = Cell {
            head: Some(NewHead { pooling: Some(pooling), widths, dropout: self.dropout }),
            weights: self.weights.clone(),
            freeze: match &self.freeze_to {
                Some(layer) => Freeze::UpTo(layer.clone()),
                None if !self.freeze.is_empty() => Freeze::Matching(self.freeze.clone()),
                None => Freeze::Base,
            },
            epochs,
            batch: self.batch,
            optimizer: Optimizer::adam().with_clip_norm(1.0),
            schedule: Schedule::Cosine { max: self.lr, min: 0.0, epochs },
            augment: (self.views > 0).then_some(AUGMENT),
            views: self.views,
            micro_batch: self.micro_batch,
            recompute: self.recompute,
            seed: self.seed,
            ..Cell::new(network.name, network.name)
        };
        // Any number of classes: the images are not read yet.
        cell.check(side, 2)?;
        Ok((cell, side))
    }

    /// How to open the device.
    pub fn gpu(&self) -> Result<GpuOptions> {
        let memory = self.memory.as_deref().map(parse_size).transpose()?;
        let cache = (!self.no_cache).then(|| cache::root().ok()).flatten();
        Ok(GpuOptions { adapter: AdapterChoice { name: self.adapter.clone() }, memory, cache, ..Default::default() })
    }

    /// Synthetic patients.
    pub fn patients(&self) -> usize {
        self.patients.unwrap_or(if self.smoke { 16 } else { 120 }).clamp(16, 100_000)
    }

    /// Epochs of a fit.
    pub fn epochs(&self) -> usize {
        self.epochs.unwrap_or(if self.smoke { 8 } else { 30 })
    }
}

/// The smallest side whose heat map has four cells or more: one cell explains nothing.
fn smallest_with_a_map(network: &Network) -> usize {
    let cells = |side: usize| {
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(1, 1, side, side));
        network.record(&graph, x, 2, &Default::default()).features.nchw().2
    };
    let first = network.architecture.smallest_side.max(phantom::MIN_SIDE);
    (first..).find(|side| cells(*side) >= 2).unwrap_or(network.architecture.side)
}
