//! Class activation maps of images: Grad-CAM (Selvaraju et al., arXiv:1610.02391; Basu & Mitra, eq. 1-2) and its relatives
//! ([`CamMethod`] has their equations and sources), for the score of a class before softmax at any layer.
//!
//! Gradients run from the scores to the layer only; the whole chain (gradient, map, normalisation, enlargement, colours) is one plan
//! on the device. Which parameters train does not matter: a frozen base is explained like any other.

use super::layer::activation;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Tensor, ValueId};
use crate::models::{Cells, Network, cells};
use crate::nn::Layers;
use crate::ops::{CamMethod, Colors};
use crate::plan::{Feed, MemoryReport, Plan, PlanSpec, Target, Weights, forecast, with_largest_batch};
use crate::train::{Normalize, Samples};
use std::rc::Rc;

/// The explanation of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The class whose score was explained.
    pub target: usize,
    /// All class scores before softmax; of a network with one output, the score before the sigmoid.
    pub logits: Vec<f32>,
    /// The map as the method gives it, [rows × columns] of the layer ([`GradCam::raw_size`]).
    pub raw: Vec<f32>,
    /// The map divided by its peak at the input's size, [side × side] in [0, 1]: enlarged to where its cells lie in the
    /// image ([`Cells`]), 0 outside of them; all zero where `peak` is 0.
    pub map: Vec<f32>,
    /// The raw map's maximum; 0: the class found no evidence anywhere, and there is nothing to show.
    pub peak: f32,
    /// The map in colours, [side × side × 3].
    pub rgb: Vec<u8>,
}

impl Explanation {
    /// Whether the method found nothing that speaks for the class: the map is 0 everywhere, and so is `peak`.
    pub fn is_empty(&self) -> bool {
        self.peak == 0.0
    }
}

/// What to explain and how.
#[derive(Clone, Debug, PartialEq)]
pub struct CamOptions {
    /// Side of the images.
    pub side: usize,
    /// Outputs of the network. 1: a sigmoid, with the classes 0 (explained is minus its score) and 1.
    pub classes: usize,
    /// Images a run.
    pub batch: usize,
    /// Channels of the images: 1, or what the network takes.
    pub channels: usize,
    /// What pixels go through first.
    pub normalize: Normalize,
    /// Which map.
    pub method: CamMethod,
    /// Layer path (`layer3.5`, `features.denseblock3`, `block2.conv1`); `None`: the last convolutional activation.
    pub layer: Option<String>,
}

impl CamOptions {
    /// Grad-CAM at the last convolutional activation of grey images, one at a time, pixels as they are.
    pub fn new(side: usize, classes: usize) -> CamOptions {
        CamOptions {
            side,
            classes,
            batch: 1,
            channels: 1,
            normalize: Normalize::NONE,
            method: CamMethod::GradCam,
            layer: None,
        }
    }

    /// The same in batches of `batch`.
    pub fn batch(self, batch: usize) -> CamOptions {
        CamOptions { batch, ..self }
    }

    /// The same for images of so many channels.
    pub fn channels(self, channels: usize) -> CamOptions {
        CamOptions { channels, ..self }
    }

    /// The same with pixels that go through this first.
    pub fn normalize(self, normalize: Normalize) -> CamOptions {
        CamOptions { normalize, ..self }
    }

    /// The same by another method.
    pub fn method(self, method: CamMethod) -> CamOptions {
        CamOptions { method, ..self }
    }

    /// The same at this layer.
    pub fn layer(self, path: &str) -> CamOptions {
        CamOptions { layer: Some(path.into()), ..self }
    }

    /// Classes that can be explained.
    fn targets(&self) -> usize {
        self.classes.max(2)
    }

    fn check(&self, network: &Network) -> Result<()> {
        network.check_side(self.side)?;
        let (b, k, c, takes) = (self.batch, self.classes, self.channels, network.channels());
        if b == 0 || k == 0 || (c != 1 && c != takes) {
            return Err(Error::Usage(format!(
                "{}: batch {b}, {k} classes, {c} channels; needed are 1 or more, 1 or more, 1 or {takes}",
                network.name
            )));
        }
        Ok(())
    }
}

/// A compiled plan that explains.
pub struct GradCam {
    plan: Plan,
    input: ValueId,
    upstream: ValueId,
    options: CamOptions,
    /// Rows and columns of the layer's map.
    size: [usize; 2],
    cells: Cells,
    /// Rows and columns of the enlarged map, and where it begins in the image.
    frame: [usize; 2],
    offset: isize,
}

/// A graph that explains.
struct Recorded<'g> {
    x: Tensor<'g>,
    upstream: Tensor<'g>,
    /// Scores, raw map, enlarged map, peak, colours.
    outputs: Vec<Tensor<'g>>,
    size: [usize; 2],
    cells: Cells,
    frame: [usize; 2],
}

fn record<'g>(graph: &'g Graph, network: &Network, options: &CamOptions) -> Result<Recorded<'g>> {
    let CamOptions { side, classes, batch, channels, .. } = *options;
    let x = graph.input("images", Shape::image(batch, channels, side, side));
    let upstream = graph.input("class", Shape::image(batch, classes, 1, 1));
    let out = network.record(graph, x, classes, &Layers::default());
    let features = match &options.layer {
        Some(path) => activation(out.logits, path)?,
        None => out.features,
    };
    let _scope = graph.scope("cam");
    let gradient = out.logits.gradients_with(upstream, &[features])[0]
        .ok_or_else(|| Error::Internal("the scores do not depend on the features".into()))?;
    let raw = features.cam(gradient, options.method);
    let (map, peak) = raw.cam_normalize();
    let (_, _, h, w) = map.nchw();
    let cells = cells(graph, features.id);
    let frame = [h, w].map(|n| (n as f64 * cells.stride).round() as usize);
    let large = map.resize(frame, false);
    let outputs = vec![out.logits, raw, large, peak, large.colormap(Colors::Turbo)];
    Ok(Recorded { x, upstream, outputs, size: [h, w], cells, frame })
}

impl GradCam {
    /// Plans explanations of `network` on weights that are on the device.
    ///
    /// # Errors
    /// [`Error::Memory`] when it does not fit, with the largest batch that does; [`Error::Usage`] when there is no such layer
    /// (with the nearest names) or it gives no map, the side or the channels are not the network's, or the weights are
    /// another network's.
    pub fn new(gpu: &Gpu, network: &Network, weights: &Rc<Weights>, options: &CamOptions) -> Result<GradCam> {
        options.check(network)?;
        let graph = Graph::new();
        let recorded = record(&graph, network, options)?;
        let spec = PlanSpec { outputs: recorded.outputs.clone(), ..Default::default() };
        let plan = Plan::compile(gpu, &graph, weights, &spec).map_err(|e| {
            with_largest_batch(e, &Target::of(gpu), options.batch, |batch| {
                let graph = Graph::new();
                let outputs = record(&graph, network, &options.clone().batch(batch))?.outputs;
                forecast(&Target::of(gpu), &graph, &PlanSpec { outputs, ..Default::default() })
            })
        })?;
        Ok(GradCam {
            plan,
            input: recorded.x.id,
            upstream: recorded.upstream.id,
            options: options.clone(),
            size: recorded.size,
            cells: recorded.cells,
            frame: recorded.frame,
            offset: recorded.cells.offset.round() as isize,
        })
    }

    /// Rows and columns of [`Explanation::raw`].
    pub fn raw_size(&self) -> [usize; 2] {
        self.size
    }

    /// Where the cells of the raw map lie in the image.
    pub fn cells(&self) -> Cells {
        self.cells
    }

    /// What memory the plan takes.
    pub fn memory(&self) -> &MemoryReport {
        self.plan.memory()
    }

    /// Explains the score of `targets[i]` for item i of `samples`.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are fewer targets than items, a target is no class, or the images have another size; device
    /// errors.
    pub fn explain(&mut self, gpu: &Gpu, samples: &Samples, targets: &[usize]) -> Result<Vec<Explanation>> {
        let CamOptions { side, batch, classes, channels, normalize, .. } = self.options;
        let most = self.options.targets();
        if targets.len() != samples.items.len() || targets.iter().any(|t| *t >= most) {
            let (n, t) = (samples.items.len(), targets.len());
            return Err(Error::Usage(format!("{n} images, {t} target classes, each below {most}")));
        }
        if samples.shape != [channels, side, side] {
            let [c, h, w] = samples.shape;
            return Err(Error::Usage(format!("images are {c}x{h}x{w}, planned was {channels}x{side}x{side}")));
        }
        let words = channels * side * side;
        let mut all = Vec::with_capacity(targets.len());
        for (items, targets) in samples.items.chunks(batch).zip(targets.chunks(batch)) {
            let mut pixels = vec![0.0; batch * words];
            let mut picked = vec![0.0; batch * classes];
            for (i, ((image, _), target)) in items.iter().zip(targets).enumerate() {
                let source = samples.data.get(image * words..(image + 1) * words).ok_or_else(|| {
                    Error::Usage(format!("image {image} of {} is asked for", samples.data.len() / words.max(1)))
                })?;
                pixels[i * words..(i + 1) * words]
                    .iter_mut()
                    .zip(source)
                    .for_each(|(p, v)| *p = (v - normalize.mean) * normalize.scale);
                match (classes, target) {
                    // One output is the score of class 1, its negative that of class 0.
                    (1, 0) => picked[i] = -1.0,
                    (1, _) => picked[i] = 1.0,
                    _ => picked[i * classes + target] = 1.0,
                }
            }
            let feeds = [(self.input, Feed::F32(&pixels)), (self.upstream, Feed::F32(&picked))];
            self.plan.step_by_id(gpu, &feeds)?;
            let Some(result) = self.plan.finish(gpu)?.pop() else { continue };
            for (i, target) in targets.iter().enumerate() {
                all.push(self.explanation(&result.outputs, i, *target)?);
            }
        }
        Ok(all)
    }

    /// Item i of a batch's outputs.
    fn explanation(&self, outputs: &[Vec<f32>], i: usize, target: usize) -> Result<Explanation> {
        let [logits, raw, maps, peaks, colours] = outputs else {
            return Err(Error::Internal("an explanation has five outputs".into()));
        };
        let (plane, classes) = (self.options.side * self.options.side, self.options.classes);
        let (frame, cells): (usize, usize) = (self.frame.iter().product(), self.size.iter().product());
        // Colours come back as three planes; pictures want them pixel by pixel.
        let colour = &colours[i * 3 * frame..(i + 1) * 3 * frame];
        let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
        let nothing = Colors::Turbo.rgb(0.0).map(|v| byte(v as f32));
        let mut map = vec![0.0; plane];
        let mut rgb = nothing.repeat(plane);
        for (from, to) in self.placed() {
            map[to] = maps[i * frame + from];
            for c in 0..3 {
                rgb[3 * to + c] = byte(colour[c * frame + from]);
            }
        }
        Ok(Explanation {
            target,
            logits: logits[i * classes..(i + 1) * classes].to_vec(),
            raw: raw[i * cells..(i + 1) * cells].to_vec(),
            map,
            peak: peaks[i],
            rgb,
        })
    }

    /// Pairs of pixels: in the enlarged map, and in the image. Where unpadded convolutions ate a border (offset > 0) its pixels
    /// have no cell; beside the cells of padded ones, the nearest cell speaks for the rest.
    fn placed(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let side = self.options.side;
        let at = |v: usize, length: usize| {
            let v = v as isize - self.offset;
            let inside = (0..length as isize).contains(&v);
            (inside || self.offset <= 0).then(|| v.clamp(0, length as isize - 1) as usize)
        };
        let [h, w] = self.frame;
        let all = (0..side).flat_map(move |y| (0..side).map(move |x| (y, x)));
        all.filter_map(move |(y, x)| Some((at(y, h)? * w + at(x, w)?, y * side + x)))
    }

    /// A map without any preference, [side × side]: 1 where the network's cells lie, 0 elsewhere. What a real map is
    /// compared with.
    pub fn uniform(&self) -> Vec<f32> {
        let mut map = vec![0.0; self.options.side * self.options.side];
        self.placed().for_each(|(_, to)| map[to] = 1.0);
        map
    }
}

#[cfg(test)]
#[path = "gradcam_tests.rs"]
mod tests;
