//! Features of a frozen base, computed once and kept on disk; then heads train on them.
//!
//! A row is stored under SHA-256 of everything that it follows from: the base's weights and layers, the preprocessing, the
//! pixels, the view, the batch it was computed in, the adapter with its driver and the program's version. What comes from the
//! cache is therefore bit for bit what would have been computed. No name of a file or a patient goes in.

use super::batches::{Batch, Normalize, Samples};
use super::interrupt;
use super::micro::MicroBatch;
use super::progress::Progress;
use crate::data::pack::{Entry, Kind, Packs};
use crate::error::{Error, Result};
use crate::files::hex;
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Tensor};
use crate::models::Network;
use crate::nn::ParamStore;
use crate::ops::{Augment, AugmentOptions, ScaledAugment, WARP};
use crate::plan::{Feed, Plan, PlanSpec, StepResult, Target, forecast, largest_batch, with_largest_batch};
use crate::talk::Talk;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Changes when a row would be computed otherwise.
const VERSION: &str = concat!("radiograd-features-1 ", env!("CARGO_PKG_VERSION"));

/// What is computed is written at least so often: a program that is killed loses no more.
const FLUSH: Duration = Duration::from_secs(30);

/// Bytes of rows that are held back at most.
const HELD: usize = 32 << 20;

/// How features are computed.
#[derive(Clone, Copy, Debug)]
pub struct FeatureOptions<'a> {
    /// Images a step. Features of another batch size have rows of their own in the cache, as other kernels may compute them.
    pub batch: usize,
    /// Whether a batch that does not fit becomes a smaller one.
    pub micro_batch: MicroBatch,
    /// Pixels to the network's input.
    pub normalize: Normalize,
    /// A further view of each image beside itself: mirrored left to right.
    pub mirrored: bool,
    /// Further views of each image: so many, each augmented by chance.
    pub views: usize,
    /// How views differ from their image.
    pub augment: AugmentOptions,
    /// Seed of the views.
    pub seed: u64,
    /// Root of the cache ([`crate::data::cache::root`]); none keeps nothing on disk.
    pub cache: Option<&'a Path>,
    /// How much is said.
    pub talk: Talk,
}

impl Default for FeatureOptions<'_> {
    /// Batches of eight, no views, no cache on disk.
    fn default() -> Self {
        FeatureOptions {
            batch: 8,
            micro_batch: MicroBatch::Off,
            normalize: Normalize::NONE,
            mirrored: false,
            views: 0,
            augment: AugmentOptions::default(),
            seed: 1,
            cache: None,
            talk: Talk::default(),
        }
    }
}

impl FeatureOptions<'_> {
    /// Views are given for pixels in [0, 1]; the network's input is scaled.
    fn scaled_augment(&self) -> ScaledAugment {
        self.augment.scaled(self.normalize.mean, self.normalize.scale)
    }
}

/// Features of images, for [`Network::head_only`].
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Rows by image number, as in the samples that they were computed of; zeros for images that were not among them.
    data: Vec<f32>,
    /// The same of each view, one view after another.
    views: Vec<f32>,
    /// C, H, W of a row.
    pub shape: [usize; 3],
    /// Rows that were computed.
    pub computed: usize,
    /// Rows that came from the cache.
    pub from_cache: usize,
    /// Of those computed, how many were in the cache but damaged.
    pub repaired: usize,
    /// Wall-clock time of all of it.
    pub seconds: f64,
}

impl Features {
    /// Items with these features in place of their images.
    pub fn samples<'s>(&'s self, items: &'s [(usize, usize)]) -> Samples<'s> {
        let mirrored = (!self.views.is_empty()).then_some(self.views.as_slice());
        Samples { data: &self.data, mirrored, shape: self.shape, items }
    }
}

/// A row to be made: of which image, and in which view.
struct Row {
    image: usize,
    mirrored: bool,
    warp: [f32; WARP],
    /// Where it goes: 0 for the image itself.
    view: usize,
    key: [u8; 32],
}

/// Features of the images of `samples` by the base of `network` with the weights of `params`. Rows that the cache holds are
/// read, the others are computed and stored; a damaged row counts as missing.
///
/// # Errors
/// [`Error::Usage`] for batch 0 or views of features; [`Error::Memory`] when the plan does not fit, with the largest batch
/// that does; [`Error::Numerics`] when a
/// feature is not finite; [`Error::Io`] when the cache cannot be written; [`Error::Interrupted`] at Ctrl-C, after what was
/// computed is stored; device errors.
pub fn features(
    gpu: &Gpu,
    network: &Network,
    params: &ParamStore,
    samples: &Samples,
    options: &FeatureOptions,
) -> Result<Features> {
    if options.batch == 0 || samples.mirrored.is_some() {
        return Err(Error::Usage("features are computed of images alone, in batches of 1 or more".into()));
    }
    let start = Instant::now();
    let target = Target::of(gpu);
    let plan = |n: usize| {
        let graph = Graph::new();
        let outputs = vec![record(&graph, network, samples, n, options).features];
        forecast(&target, &graph, &PlanSpec { outputs, ..Default::default() })
    };
    let batch = match options.micro_batch {
        MicroBatch::Off => options.batch,
        MicroBatch::Of(n) => options.batch.min(n.max(1)),
        MicroBatch::Auto if plan(options.batch).is_ok_and(|report| target.check(&report).is_ok()) => options.batch,
        MicroBatch::Auto => largest_batch(&target, options.batch, plan)?.map_or(options.batch, |(n, _)| n),
    };
    let options = &FeatureOptions { batch, ..*options };
    let graph = Graph::new();
    let Recorded { images, warp, features: y } = record(&graph, network, samples, batch, options);
    let (_, c, h, w) = y.nchw();
    let size = c * h * w;
    let base = params.of(&graph);
    let digest = base_digest(gpu, network, &base, samples.shape, options);

    let ids: Vec<usize> = {
        let mut seen = HashSet::new();
        samples.items.iter().map(|i| i.0).filter(|i| seen.insert(*i)).collect()
    };
    let count = ids.iter().max().map_or(0, |m| m + 1);
    let mut out = Features {
        data: vec![0.0; count * size],
        views: vec![0.0; count * size * (usize::from(options.mirrored) + options.views)],
        shape: [c, h, w],
        computed: 0,
        from_cache: 0,
        repaired: 0,
        seconds: 0.0,
    };
    let mut missing = Vec::new();
    let mut packs = match options.cache {
        Some(root) => Some(Packs::open(&root.join("features").join(&hex(&digest)[..16]), Kind::features(size))?),
        None => None,
    };
    for row in rows(&ids, samples, &digest, options) {
        let place = out.row(&row, size);
        match packs.as_ref().map(|p| p.get(&row.key, place)) {
            Some(Ok(Some(_))) if place.iter().all(|v| v.is_finite()) => out.from_cache += 1,
            None | Some(Ok(None)) => missing.push(row),
            Some(_) => {
                out.repaired += 1;
                missing.push(row);
            }
        }
    }
    if let Some(root) = options.cache {
        let (all, dir) = (out.from_cache + missing.len(), root.join("features"));
        let repaired = if out.repaired > 0 { format!(", {} damaged", out.repaired) } else { String::new() };
        options
            .talk
            .detail(|| format!("features: {} of {all} from the cache {}{repaired}", out.from_cache, dir.display()));
    }
    if !missing.is_empty() {
        let weights = Rc::new(base.upload(gpu)?);
        let spec = PlanSpec { outputs: vec![y], ..Default::default() };
        let plan =
            Plan::compile(gpu, &graph, &weights, &spec).map_err(|e| with_largest_batch(e, &target, batch, plan))?;
        options.talk.detail(|| format!("features: memory {}", plan.memory()));
        let mut computing = Computing { gpu, plan, images, warp, samples, options, size };
        computing.all(&missing, packs.as_mut(), &mut out)?;
    }
    out.seconds = start.elapsed().as_secs_f64();
    Ok(out)
}

/// The base as it is recorded.
struct Recorded<'g> {
    images: Tensor<'g>,
    warp: Option<Tensor<'g>>,
    features: Tensor<'g>,
}

fn record<'g>(graph: &'g Graph, network: &Network, samples: &Samples, n: usize, o: &FeatureOptions) -> Recorded<'g> {
    let images = graph.input("images", samples.batch_shape(n));
    // The warp that changes nothing changes no bit, so that an image's own features do not depend on the views beside it.
    let warp = (o.views > 0).then(|| graph.input("augmentation", Shape::flat(n * WARP)));
    let x = warp.map_or(images, |w| images.augment(w, o.scaled_augment().op()));
    Recorded { images, warp, features: network.record_base(x) }
}

impl Features {
    fn row(&mut self, row: &Row, size: usize) -> &mut [f32] {
        let count = self.data.len() / size;
        match row.view {
            0 => &mut self.data[row.image * size..][..size],
            view => &mut self.views[((view - 1) * count + row.image) * size..][..size],
        }
    }
}

struct Computing<'a, 'g> {
    gpu: &'a Gpu,
    plan: Plan,
    images: Tensor<'g>,
    warp: Option<Tensor<'g>>,
    samples: &'a Samples<'a>,
    options: &'a FeatureOptions<'a>,
    size: usize,
}

impl Computing<'_, '_> {
    /// Computes `missing` batch by batch into `out`, and stores them as they come.
    fn all(&mut self, missing: &[Row], mut packs: Option<&mut Packs>, out: &mut Features) -> Result<()> {
        let mut progress = Progress::new("features", missing.len() as u64, "images", self.options.talk);
        // Rows up to `done` are in `out`, those up to `stored` on disk.
        let (mut done, mut stored, mut last) = (0, 0, Instant::now());
        let mut sizes = VecDeque::new();
        let mut batch = Batch::default();
        for part in missing.chunks(self.options.batch) {
            if interrupt::requested() {
                break;
            }
            self.queue(part, &mut batch)?;
            sizes.push_back(part.len());
            let results: Vec<StepResult> = self.plan.results().collect();
            self.take(results, &mut sizes, missing, &mut done, out)?;
            progress.advance(part.len() as u64, "");
            if last.elapsed() > FLUSH || (done - stored) * self.size * 4 > HELD {
                self.store(&missing[stored..done], packs.as_deref_mut(), out)?;
                (stored, last) = (done, Instant::now());
            }
        }
        let results = self.plan.finish(self.gpu)?;
        self.take(results, &mut sizes, missing, &mut done, out)?;
        self.store(&missing[stored..done], packs, out)?;
        progress.finish();
        out.computed = done;
        if done < missing.len() {
            let kept = if self.options.cache.is_some() { ", they are kept" } else { "" };
            let m = format!("interrupted; the features of {done} of {} images are computed{kept}", missing.len());
            return Err(Error::Interrupted(m));
        }
        Ok(())
    }

    fn queue(&mut self, part: &[Row], batch: &mut Batch) -> Result<()> {
        let (n, one) = (self.options.batch, self.samples.size());
        let Normalize { mean, scale } = self.options.normalize;
        batch.pixels.clear();
        for row in part {
            let pixels = row.pixels(self.samples);
            batch.pixels.extend(pixels.iter().map(|v| (v - mean) * scale));
        }
        batch.pixels.resize(n * one, 0.0);
        let mut warps: Vec<f32> = part.iter().flat_map(|r| r.warp).collect();
        warps.extend(Augment::IDENTITY.repeat(n - part.len()));
        let mut feeds = vec![(self.images, Feed::F32(&batch.pixels))];
        feeds.extend(self.warp.map(|w| (w, Feed::F32(&warps[..]))));
        self.plan.step(self.gpu, &feeds).map(|_| ())
    }

    fn take(
        &self,
        results: Vec<StepResult>,
        sizes: &mut VecDeque<usize>,
        missing: &[Row],
        done: &mut usize,
        out: &mut Features,
    ) -> Result<()> {
        for r in results {
            let count = sizes.pop_front().unwrap_or(0);
            for (row, values) in missing[*done..].iter().zip(r.outputs[0].chunks(self.size)).take(count) {
                if values.iter().any(|v| !v.is_finite()) {
                    return Err(Error::Numerics(format!("the features of image {} are not finite", row.image)));
                }
                out.row(row, self.size).copy_from_slice(values);
            }
            *done += count;
        }
        Ok(())
    }

    fn store(&self, rows: &[Row], packs: Option<&mut Packs>, out: &mut Features) -> Result<()> {
        let (Some(packs), false) = (packs, rows.is_empty()) else { return Ok(()) };
        let values: Vec<Vec<f32>> = rows.iter().map(|r| out.row(r, self.size).to_vec()).collect();
        let entries: Vec<Entry> =
            rows.iter().zip(&values).map(|(r, v)| Entry { key: r.key, size: (0, 0), values: v }).collect();
        packs.add(&entries)
    }
}

/// Every image, and every view of it.
fn rows(ids: &[usize], samples: &Samples, base: &[u8; 32], o: &FeatureOptions) -> Vec<Row> {
    let [_, h, w] = samples.shape;
    let scaled = o.scaled_augment();
    // Mirrored or not, and which of the views that are drawn; 0: none.
    let mirrored = o.mirrored.then_some((true, 0));
    let views = [(false, 0)].into_iter().chain(mirrored).chain((1..=o.views).map(|v| (false, v as u32)));
    let mut all = Vec::new();
    for (view, (mirrored, drawn)) in views.enumerate() {
        for image in ids {
            let mut warp = Augment::IDENTITY;
            if drawn > 0 {
                warp.copy_from_slice(&scaled.draw(o.seed, drawn, &[*image as u32], [h, w]));
            }
            let mut row = Row { image: *image, mirrored, warp, view, key: [0; 32] };
            let mut key = Sha256::new();
            key.update(base);
            key.update(bytemuck::cast_slice::<f32, u8>(&warp[..8]));
            // Views by warp, contrast and brightness alone keep the keys that they had before there was more.
            if drawn > 0 && (scaled.op() != Augment::default() || warp[8..] != Augment::IDENTITY[8..]) {
                key.update(bytemuck::cast_slice::<f32, u8>(&warp[8..]));
                key.update(format!("{:?}", scaled.op()));
            }
            key.update(bytemuck::cast_slice::<f32, u8>(&row.pixels(samples)));
            row.key = key.finalize().into();
            all.push(row);
        }
    }
    all
}

impl Row {
    /// What is shown to the base, before it is scaled and warped.
    fn pixels<'s>(&self, samples: &'s Samples) -> Cow<'s, [f32]> {
        let (one, width) = (samples.size(), samples.shape[2]);
        let pixels = &samples.data[self.image * one..][..one];
        match self.mirrored {
            false => Cow::Borrowed(pixels),
            true => Cow::Owned(pixels.chunks(width).flat_map(|line| line.iter().rev().copied()).collect()),
        }
    }
}

/// SHA-256 over everything but the image and its view.
fn base_digest(gpu: &Gpu, network: &Network, base: &ParamStore, shape: [usize; 3], o: &FeatureOptions) -> [u8; 32] {
    let i = &gpu.info;
    let words = [
        VERSION.to_string(),
        network.describe_base(),
        format!("{shape:?} in batches of {}", o.batch),
        // To the bit: decimal text of a description could be rounded.
        format!("{:08x} {:08x}", o.normalize.mean.to_bits(), o.normalize.scale.to_bits()),
        format!("{} {} {} {:?} {} {:?}", i.name, i.driver, i.driver_info, i.backend, gpu.tuning.name, gpu.storage()),
        base.digest(),
    ];
    let mut h = Sha256::new();
    for w in words {
        h.update((w.len() as u64).to_le_bytes());
        h.update(w);
    }
    h.finalize().into()
}
