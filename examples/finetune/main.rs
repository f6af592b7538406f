//! Transfer learning with any of the networks: a frozen base, a new head, features computed once, and Grad-CAM of the result.
//!
//! `cargo run --release --example finetune -- --model all --smoke` runs all eleven on built-in synthetic radiographs; `-- --help`
//! tells more. Without `--weights` the base is random: everything runs, and the accuracy says little.

use clap::Parser;
use radiograd::data::cache;
use radiograd::data::phantom;
use radiograd::data::planes::{self, load_planes};
use radiograd::data::split::{holdout, rng};
use radiograd::data::table::{Dataset, OpenOptions, plain};
use radiograd::explain::{CamOptions, GradCam};
use radiograd::files::write_atomic;
use radiograd::gpu::{AdapterChoice, GpuOptions};
use radiograd::models::{Head, Network, Pooling};
use radiograd::nn::{Optimizer, ParamStore, Schedule, Trainable};
use radiograd::ops::AugmentOptions;
use radiograd::report::overlay::{Panel, PanelStyle, panel, png_bytes};
use radiograd::report::text::{percent_or, thousands};
use radiograd::train::{
    CheckpointOptions, FeatureOptions, Fit, FitOptions, Normalize, Samples, features, fit, interrupt, probabilities,
};
use radiograd::weights::{self, LoadOptions, Metadata};
use radiograd::{Error, Gpu, Graph, Result, Shape};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

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

/// Views of each image that are computed when the base is frozen and images are to be augmented.
const AUGMENT: AugmentOptions =
    AugmentOptions { rotation_degrees: 10.0, scale: 0.1, shift: 0.05, mirror: true, brightness: 0.05, contrast: 0.0 };

/// Images that are explained, the first of the validation part.
const EXPLAINED: usize = 3;

/// Trains a new head on a network's frozen base and explains it with Grad-CAM. Research software, not a medical device.
///
/// What the frozen base computes is kept on disk (RADIOGRAD_CACHE, else the system's folder for caches).
#[derive(Clone, Debug, Parser)]
#[command(name = "finetune", version)]
struct Options {
    /// The network, or all: the eleven of the papers.
    #[arg(long)]
    model: String,
    /// A small and short run to see that everything works; its accuracy means nothing.
    #[arg(long)]
    smoke: bool,
    /// A folder whose subfolders hold images and a metadata.csv, or a TOML manifest; synthetic radiographs without it.
    #[arg(long, value_name = "DIR|FILE")]
    data: Option<PathBuf>,
    /// Weights of the base, as torchvision, timm or this program write them; random ones without it.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Side of the network's input in pixels; the network's own without it.
    #[arg(long)]
    side: Option<usize>,
    /// Widths of the head's hidden layers; an empty text is none.
    #[arg(long, default_value = "128,128")]
    head: String,
    /// Dropout after each hidden layer.
    #[arg(long, default_value_t = 0.3)]
    dropout: f32,
    /// Freeze the parameters that match, as in features.*; repeat for more. The whole base without it.
    #[arg(long, value_name = "PATTERN", conflicts_with = "freeze_to")]
    freeze: Vec<String>,
    /// Freeze everything up to this layer or block.
    #[arg(long, value_name = "LAYER")]
    freeze_to: Option<String>,
    /// Epochs.
    #[arg(long)]
    epochs: Option<usize>,
    /// Images a step.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Learning rate at the start (Adam, cosine annealing).
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Augmented views of each image whose features are computed as well.
    #[arg(long, default_value_t = 0)]
    views: usize,
    /// Synthetic patients, about two images each; 16 or more.
    #[arg(long)]
    patients: Option<usize>,
    /// Keep no features on disk.
    #[arg(long)]
    no_cache: bool,
    /// Also train through the frozen base, without the cache, and compare: time of an epoch, and the weights bit by bit.
    #[arg(long)]
    compare: bool,
    /// Go on from the checkpoint in --out.
    #[arg(long)]
    resume: bool,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for heat maps, weights and checkpoints; --smoke writes heat maps only.
    #[arg(long, value_name = "DIR", default_value = "out/finetune")]
    out: PathBuf,
    /// Adapter by index, part of its name or PCI address.
    #[arg(long)]
    adapter: Option<String>,
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    interrupt::install();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("finetune: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(o: &Options) -> Result<()> {
    let names: Vec<&str> = if o.model == "all" { ELEVEN.to_vec() } else { vec![&o.model] };
    if names.len() > 1 && o.weights.is_some() {
        return Err(Error::Usage("--weights is for one network, not for --model all".into()));
    }
    // Every name and size is checked before anything is computed.
    let networks = names.iter().map(|n| network(o, n)).collect::<Result<Vec<_>>>()?;
    if o.batch == 0 || o.epochs == Some(0) || !(0.0..1.0).contains(&o.dropout) || !(o.lr > 0.0 && o.lr < 10.0) {
        let m = "--batch and --epochs: 1 or more; --dropout: 0 or more and below 1; --lr: above 0 and below 10";
        return Err(Error::Usage(m.into()));
    }
    let gpu = Gpu::with(&GpuOptions { adapter: AdapterChoice { name: o.adapter.clone() }, ..Default::default() })?;
    println!("{}", gpu.describe());
    let mut cohort: Option<Cohort> = None;
    for (i, (network, side)) in networks.into_iter().enumerate() {
        if cohort.as_ref().is_none_or(|c| c.side != side) {
            cohort = Some(Cohort::load(o, side)?);
        }
        let Some(cohort) = &cohort else { continue };
        if i == 0 {
            println!("{}", cohort.describe());
            println!("{}", Row::head(o.compare));
        }
        println!("{}", one(o, &gpu, network, cohort)?.line(o.compare));
    }
    let what = if o.smoke { "heat maps" } else { "heat maps and weights" };
    println!("{what} are in {}", o.out.display());
    Ok(())
}

/// The network with its new head, and the side of its images.
fn network(o: &Options, name: &str) -> Result<(Network, usize)> {
    let network = Network::named(name)?;
    let bad = || Error::Usage(format!("--head {}: widths such as 128,128", o.head));
    let widths = o.head.split(',').map(str::trim).filter(|w| !w.is_empty());
    let widths = widths.map(|w| w.parse().ok().filter(|w| (1..=65_536).contains(w)).ok_or_else(bad));
    let widths: Vec<usize> = widths.collect::<Result<_>>()?;
    // Small networks read the map as it is; the large ones' maps are averaged, whatever their own head does.
    let own = network.head.pooling;
    let pooling = if network.architecture.published.is_some() { Pooling::GlobalAverage } else { own };
    let side = match (o.side, o.smoke) {
        (Some(side), _) => side,
        (None, true) => smallest_with_a_map(&network),
        (None, false) => network.architecture.side,
    };
    network.check_side(side)?;
    Ok((network.with_head(Head::new(pooling, &widths, o.dropout)), side))
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

/// Images with classes, in two parts that share no patient.
struct Cohort {
    side: usize,
    pixels: Vec<f32>,
    classes: Vec<String>,
    train: Vec<(usize, usize)>,
    validation: Vec<(usize, usize)>,
    name: String,
}

impl Cohort {
    fn load(o: &Options, side: usize) -> Result<Cohort> {
        let (pixels, labels, groups, classes, name) = match &o.data {
            None => {
                if !(phantom::MIN_SIDE..=phantom::MAX_SIDE).contains(&side) {
                    let (a, b) = (phantom::MIN_SIDE, phantom::MAX_SIDE);
                    return Err(Error::Usage(format!("--side {side}: synthetic radiographs have {a} to {b} pixels")));
                }
                let patients = o.patients.unwrap_or(if o.smoke { 16 } else { 120 }).clamp(16, 100_000);
                let all = phantom::generate(o.seed, patients, side);
                let classes = phantom::CLASSES.map(String::from).to_vec();
                let labels: Vec<usize> = all.iter().map(|p| p.class).collect();
                let groups = all.iter().map(|p| p.patient as usize).collect();
                let pixels = all.into_iter().flat_map(|p| p.pixels).collect();
                (pixels, labels, groups, classes, "synthetic radiographs (built in)".to_string())
            }
            Some(path) => from_files(o, path, side)?,
        };
        let names: Vec<&str> = classes.iter().map(String::as_str).collect();
        let (train, validation) = holdout(&labels, &groups, &names, 0.25, &mut rng(o.seed, "validation"))?;
        let items = |part: Vec<usize>| part.into_iter().map(|i| (i, labels[i])).collect();
        Ok(Cohort { side, pixels, train: items(train), validation: items(validation), classes, name })
    }

    fn samples<'s>(&'s self, items: &'s [(usize, usize)]) -> Samples<'s> {
        Samples { data: &self.pixels, mirrored: None, shape: [1, self.side, self.side], items }
    }

    fn describe(&self) -> String {
        let (n, m) = (self.train.len(), self.validation.len());
        format!("{}: {n} images to train on, {m} to validate; classes {}", self.name, self.classes.join(", "))
    }
}

type Loaded = (Vec<f32>, Vec<usize>, Vec<usize>, Vec<String>, String);

/// Frontal images with exactly one finding, of the findings that eight patients or more have.
fn from_files(o: &Options, path: &Path, side: usize) -> Result<Loaded> {
    let data = Dataset::open(path, &OpenOptions::default())?;
    let groups = data.groups();
    let usable = |i: &usize| data.records[*i].is_frontal() && data.records[*i].labels().count() == 1;
    let finding = |i: usize| plain(&data.records[i].finding);
    let usable: Vec<usize> = (0..data.records.len()).filter(usable).collect();
    let mut classes: Vec<String> = usable.iter().map(|i| finding(*i)).collect();
    classes.sort();
    classes.dedup();
    classes.retain(|c| {
        let mut patients: Vec<usize> = usable.iter().filter(|i| finding(**i) == *c).map(|i| groups[*i]).collect();
        patients.sort_unstable();
        patients.dedup();
        patients.len() >= 8
    });
    if classes.len() < 2 {
        return Err(Error::Data(format!("{}: fewer than two findings with eight patients each", path.display())));
    }
    let class = |i: usize| classes.iter().position(|c| *c == finding(i));
    let chosen: Vec<(usize, usize)> = usable.iter().filter_map(|i| Some((*i, class(*i)?))).collect();
    let files: Vec<PathBuf> = chosen.iter().map(|(i, _)| data.records[*i].file.clone()).collect();
    let cache = (!o.no_cache).then(cache::root).transpose()?.map(|r| r.join("planes"));
    let load = planes::LoadOptions {
        cache_dir: cache.as_deref(),
        progress: !o.quiet,
        cancel: Some(interrupt::flag()),
        ..Default::default()
    };
    let pixels = load_planes(&data.root, &files, side, &load)?.data;
    let (labels, groups) = (chosen.iter().map(|c| c.1).collect(), chosen.iter().map(|c| groups[c.0]).collect());
    Ok((pixels, labels, groups, classes, format!("{} images", chosen.len())))
}

/// A line of the table.
struct Row {
    network: String,
    side: usize,
    base: &'static str,
    trained: usize,
    total: usize,
    features: Option<(f64, usize)>,
    epoch: f64,
    accuracy: Option<f64>,
    uncached: Option<f64>,
}

impl Row {
    fn head(compare: bool) -> String {
        let more = if compare { "   uncached  faster" } else { "" };
        format!(
            "{:20} {:>4} {:7} {:>11} of {:>11} {:>20} {:>9} {:>10}{more}",
            "network", "side", "base", "trained", "parameters", "features", "epoch", "validation"
        )
    }

    fn line(&self, compare: bool) -> String {
        let (trained, total) = (thousands(self.trained as u64), thousands(self.total as u64));
        let features = self.features.map_or("-".into(), |(s, cached)| format!("{s:.1} s, {cached} cached"));
        let more = self.uncached.filter(|_| compare);
        let more = more.map_or(String::new(), |u| format!("   {u:7.2} s {:6.1}x", u / self.epoch));
        format!(
            "{:20} {:>4} {:7} {trained:>11} of {total:>11} {features:>20} {:>7.3} s {:>10}{more}",
            self.network,
            self.side,
            self.base,
            self.epoch,
            percent_or(self.accuracy)
        )
    }
}

/// The base's weights into `params`, and how its images are to be given.
fn load_base(o: &Options, network: Network, params: &mut ParamStore) -> Result<(Network, Normalize)> {
    let Some(path) = &o.weights else { return Ok((network, Normalize::CENTERED)) };
    let old = Network::named(network.name)?.head;
    let heads = old.layers().chain(network.head.layers()).map(String::from).collect();
    let options = LoadOptions { replaced_heads: heads, ..LoadOptions::of(network.name) };
    let loaded = weights::load_with(path, params, &options)?;
    // A file of this program says how its images were given; published weights go by their registry entry.
    let number = |key: &str| loaded.metadata.get(key).and_then(|v| v.parse::<f32>().ok());
    let preprocess = network.architecture.preprocess;
    Ok(match (number("mean"), number("scale")) {
        (Some(mean), Some(scale)) if loaded.metadata.get("channel_preprocessing").is_none_or(String::is_empty) => {
            (network, Normalize { mean, scale })
        }
        _ => (network.with_preprocess(preprocess), Normalize::NONE),
    })
}

fn one(o: &Options, gpu: &Gpu, network: Network, cohort: &Cohort) -> Result<Row> {
    let (side, classes) = (cohort.side, cohort.classes.len());
    let mut params = network.init(side, classes, o.seed);
    let (network, normalize) = load_base(o, network, &mut params)?;
    let names = || params.params.iter().map(|p| p.name.as_str());
    let base = network.base_parameters(side);
    let trainable = match &o.freeze_to {
        Some(layer) => Trainable::after(names(), layer)?,
        None if !o.freeze.is_empty() => Trainable::Except(o.freeze.clone()),
        None => Trainable::Except(base.clone()),
    };
    if let Some(pattern) = trainable.idle_pattern(names()) {
        let layers: Vec<&str> = names().filter_map(|n| n.rsplit_once('.').map(|p| p.0)).collect();
        let nearest = radiograd::names::nearest(pattern, &layers);
        return Err(Error::Usage(format!("--freeze {pattern} is no parameter of {}; {nearest}", network.name)));
    }
    let trained: usize = params.params.iter().filter(|p| trainable.includes(&p.name)).map(|p| p.shape.elements()).sum();
    if trained == 0 {
        return Err(Error::Usage("everything is frozen: there is nothing to train".into()));
    }
    let total = params.count().0;
    let epochs = o.epochs.unwrap_or(if o.smoke { 8 } else { 30 });
    let checkpoint = o.out.join(format!("{}.checkpoint.safetensors", network.name));
    let given = FitOptions {
        epochs,
        batch: o.batch,
        optimizer: Optimizer::adam().with_clip_norm(1.0),
        schedule: Schedule::Cosine { max: o.lr, min: 0.0, epochs },
        trainable: trainable.clone(),
        normalize,
        seed: o.seed,
        label: network.name.into(),
        quiet: o.quiet || o.smoke,
        checkpoint: (!o.smoke || o.resume)
            .then(|| CheckpointOptions { resume: o.resume, ..CheckpointOptions::resuming(checkpoint) }),
        ..FitOptions::default()
    };
    let images = (cohort.samples(&cohort.train), cohort.samples(&cohort.validation));
    let whole = || {
        let augment = (o.views > 0).then_some(AUGMENT);
        fit(gpu, &network, &params, classes, (&images.0, &images.1), &FitOptions { augment, ..given.clone() })
    };

    let frozen = base.iter().all(|name| !trainable.includes(name));
    let (done, cached) = if frozen {
        let (done, features) = on_features(o, gpu, (&network, &params, &base), cohort, &given)?;
        (done, Some(features))
    } else {
        (whole()?, None)
    };
    if done.interrupted {
        return Err(Error::Interrupted("interrupted; --resume goes on from the checkpoint in --out".into()));
    }
    let mean = |f: &Fit| f.history.iter().map(|r| r.seconds).sum::<f64>() / f.history.len().max(1) as f64;
    let mut uncached = None;
    if o.compare && frozen {
        let through = FitOptions { checkpoint: None, ..given.clone() };
        let other = fit(gpu, &network, &params, classes, (&images.0, &images.1), &through)?;
        if o.views == 0 && other.params.digest() != done.params.digest() {
            return Err(Error::Numerics("the head on cached features is not that on the frozen base".into()));
        }
        uncached = Some(mean(&other));
    }
    explain(o, gpu, &network, &done.params, cohort, normalize)?;
    if !o.smoke {
        save(o, &network, &done.params, cohort, normalize)?;
    }
    Ok(Row {
        network: network.name.into(),
        side,
        base: if o.weights.is_some() { "loaded" } else { "random" },
        trained,
        total,
        features: cached,
        epoch: mean(&done),
        accuracy: done.validation_accuracy,
        uncached,
    })
}

/// Trains what comes after the frozen base on its features; the parameters of all of the network, seconds, rows cached.
fn on_features(
    o: &Options,
    gpu: &Gpu,
    (network, params, base): (&Network, &ParamStore, &[String]),
    cohort: &Cohort,
    given: &FitOptions,
) -> Result<(Fit, (f64, usize))> {
    let start = Instant::now();
    let root = (!o.no_cache).then(cache::root).transpose()?;
    let options = FeatureOptions {
        batch: o.batch,
        normalize: given.normalize,
        views: o.views,
        augment: AUGMENT,
        seed: o.seed,
        cache: root.as_deref(),
        quiet: given.quiet,
    };
    // Validation images are seen as they are.
    let train = features(gpu, network, params, &cohort.samples(&cohort.train), &options)?;
    let plain = FeatureOptions { views: 0, ..options };
    let check = features(gpu, network, params, &cohort.samples(&cohort.validation), &plain)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut rest = params.clone();
    rest.params.retain(|p| !base.contains(&p.name));
    let options = FitOptions { normalize: Normalize::NONE, ..given.clone() };
    let parts = (&train.samples(&cohort.train), &check.samples(&cohort.validation));
    let mut done = fit(gpu, &network.head_only(), &rest, cohort.classes.len(), parts, &options)?;
    let mut all = params.clone();
    all.adopt(&done.params);
    done.params = all;
    Ok((done, (seconds, train.from_cache + check.from_cache)))
}

/// Heat maps of the first validation images for the class that the network says.
fn explain(
    o: &Options,
    gpu: &Gpu,
    network: &Network,
    params: &ParamStore,
    cohort: &Cohort,
    normalize: Normalize,
) -> Result<()> {
    let weights = Rc::new(params.upload(gpu)?);
    let items = &cohort.validation[..EXPLAINED.min(cohort.validation.len())];
    let (side, classes) = (cohort.side, cohort.classes.len());
    let samples = cohort.samples(items);
    let sizes = (&samples, classes, items.len());
    let mut predictor = radiograd::train::Predictor::new(gpu, network, &weights, sizes, normalize)?;
    let said: Vec<usize> = predictor.logits(gpu, &samples)?.iter().map(|l| radiograd::train::argmax(l)).collect();
    let options = CamOptions::new(side, classes).batch(items.len()).normalize(normalize);
    let mut cam = GradCam::new(gpu, network, &weights, &options)?;
    for (i, (e, (image, class))) in cam.explain(gpu, &samples, &said)?.iter().zip(items).enumerate() {
        let plane = &cohort.pixels[image * side * side..][..side * side];
        let gray: Vec<u8> = plane.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        let empty = if e.is_empty() { ", no evidence anywhere" } else { "" };
        let (truth, predicted) = (&cohort.classes[*class], &cohort.classes[e.target]);
        let caption =
            format!("true {truth}, predicted {predicted}, p = {:.2}{empty}", probabilities(&e.logits)[e.target]);
        let all = Panel { width: side, height: side, gray: &gray, map_rgb: &e.rgb, mask: None, caption: &caption };
        let file = o.out.join(format!("{}-{}.png", network.name, i + 1));
        write_atomic(&file, &png_bytes(&panel(&all, &PanelStyle::default())?)?)?;
    }
    Ok(())
}

/// The whole network's weights, with what is needed to use them.
fn save(o: &Options, network: &Network, params: &ParamStore, cohort: &Cohort, normalize: Normalize) -> Result<()> {
    let pooling = match network.head.pooling {
        Pooling::GlobalAverage => "global_average",
        Pooling::GlobalMax => "global_max",
        Pooling::Flatten => "flatten",
    };
    let widths: Vec<String> = network.head.hidden.iter().map(|h| h.width.to_string()).collect();
    let info = Metadata::from([
        ("network".into(), network.name.into()),
        ("head".into(), format!("{pooling} {}", widths.join(","))),
        ("side".into(), cohort.side.to_string()),
        ("channels".into(), network.channels().to_string()),
        ("classes".into(), cohort.classes.join("|")),
        ("preprocessing".into(), planes::PREPROCESSING.into()),
        ("channel_preprocessing".into(), network.preprocess.map_or("", |p| p.name()).into()),
        ("mean".into(), normalize.mean.to_string()),
        ("scale".into(), normalize.scale.to_string()),
        ("seed".into(), o.seed.to_string()),
        ("base".into(), if o.weights.is_some() { "loaded" } else { "random" }.into()),
    ]);
    weights::save(&o.out.join(format!("{}.safetensors", network.name)), params, &info)
}
