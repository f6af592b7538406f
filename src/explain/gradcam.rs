//! Grad-CAM: Selvaraju et al., arXiv:1610.02391; Basu & Mitra, eq. 1-2. For the score of a class before softmax,
//! w_c = mean over space of ∂score/∂A_c, map = ReLU(Σ w_c A_c), where A is the last convolutional activation.
//!
//! Gradients run from the scores to the activation only; the whole chain (gradient, pooling, weighted sum, normalisation,
//! enlargement, colours) is one plan on the device.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Tensor, ValueId};
use crate::models::Network;
use crate::nn::Layers;
use crate::ops::Colors;
use crate::plan::{Feed, Plan, PlanSpec, Weights};
use crate::train::{Normalize, Samples};
use std::rc::Rc;

/// The explanation of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The class whose score was explained.
    pub target: usize,
    /// All class scores before softmax.
    pub logits: Vec<f32>,
    /// The map at the input's size, [side × side] in [0, 1]: enlarged to where its cells lie in the image
    /// ([`crate::models::Cells`]), 0 outside of them; all zero where `peak` is 0.
    pub map: Vec<f32>,
    /// The raw map's maximum; 0: the class found no evidence anywhere, and there is nothing to show.
    pub peak: f32,
    /// The map in colours, [side × side × 3].
    pub rgb: Vec<u8>,
}

/// A compiled Grad-CAM plan.
pub struct GradCam {
    plan: Plan,
    input: ValueId,
    upstream: ValueId,
    batch: usize,
    side: usize,
    classes: usize,
    normalize: Normalize,
    /// Rows and columns of the enlarged map, and where it begins in the image.
    frame: [usize; 2],
    offset: isize,
}

impl GradCam {
    /// Plans Grad-CAM of `network` at `side` for `classes` in batches of `batch`, on weights that are on the device.
    ///
    /// # Errors
    /// [`Error::Memory`] when it does not fit; [`Error::Usage`] when the weights are another network's.
    pub fn new(
        gpu: &Gpu,
        network: &Network,
        weights: &Rc<Weights>,
        (side, classes, batch): (usize, usize, usize),
        normalize: Normalize,
    ) -> Result<GradCam> {
        let graph = Graph::new();
        let x = graph.input("images", Shape::image(batch, 1, side, side));
        let upstream = graph.input("class", Shape::image(batch, classes, 1, 1));
        let out = network.record(&graph, x, classes, &Layers::default());
        let _scope = graph.scope("gradcam");
        let gradient = out.logits.gradients_with(upstream, &[out.features])[0]
            .ok_or_else(|| Error::Internal("the scores do not depend on the features".into()))?;
        let (map, peak) = out.features.grad_cam(gradient, true).cam_normalize();
        let (_, _, h, w) = map.nchw();
        let cells = network.cells(side);
        let frame = [h, w].map(|n| (n as f64 * cells.stride).round() as usize);
        let large = map.resize(frame, false);
        let outputs: Vec<Tensor> = vec![out.logits, large, peak, large.colormap(Colors::Turbo)];
        let plan = Plan::compile(gpu, &graph, weights, &PlanSpec { outputs, ..Default::default() })?;
        Ok(GradCam {
            plan,
            input: x.id,
            upstream: upstream.id,
            batch,
            side,
            classes,
            normalize,
            frame,
            offset: cells.offset.round() as isize,
        })
    }

    /// Explains the score of `targets[i]` for item i of `samples`.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are fewer targets than items or a target is no class; device errors.
    pub fn explain(&mut self, gpu: &Gpu, samples: &Samples, targets: &[usize]) -> Result<Vec<Explanation>> {
        if targets.len() != samples.items.len() || targets.iter().any(|t| *t >= self.classes) {
            let (n, t, c) = (samples.items.len(), targets.len(), self.classes);
            return Err(Error::Usage(format!("{n} images, {t} target classes, each below {c}")));
        }
        let plane = self.side * self.side;
        let mut all = Vec::with_capacity(targets.len());
        for (chunk, items) in samples.items.chunks(self.batch).enumerate() {
            let targets = &targets[chunk * self.batch..][..items.len()];
            let mut pixels = vec![0.0; self.batch * plane];
            let mut one_hot = vec![0.0; self.batch * self.classes];
            for (i, ((image, _), target)) in items.iter().zip(targets).enumerate() {
                let source = &samples.data[image * plane..(image + 1) * plane];
                let n = self.normalize;
                pixels[i * plane..(i + 1) * plane]
                    .iter_mut()
                    .zip(source)
                    .for_each(|(p, v)| *p = (v - n.mean) * n.scale);
                one_hot[i * self.classes + target] = 1.0;
            }
            let feeds = [(self.input, Feed::F32(&pixels)), (self.upstream, Feed::F32(&one_hot))];
            self.plan.step_by_id(gpu, &feeds)?;
            let Some(result) = self.plan.finish(gpu)?.pop() else { continue };
            let [logits, maps, peaks, colours] = &result.outputs[..] else {
                return Err(Error::Internal("Grad-CAM has four outputs".into()));
            };
            for (i, target) in targets.iter().enumerate() {
                let frame: usize = self.frame.iter().product();
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
                all.push(Explanation {
                    target: *target,
                    logits: logits[i * self.classes..(i + 1) * self.classes].to_vec(),
                    map,
                    peak: peaks[i],
                    rgb,
                });
            }
        }
        Ok(all)
    }

    /// Pairs of pixels: in the enlarged map, and in the image. Where unpadded convolutions ate a border (offset > 0) its pixels
    /// have no cell; beside the cells of padded ones, the nearest cell speaks for the rest.
    fn placed(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let at = |v: usize, length: usize| {
            let v = v as isize - self.offset;
            let inside = (0..length as isize).contains(&v);
            (inside || self.offset <= 0).then(|| v.clamp(0, length as isize - 1) as usize)
        };
        let [h, w] = self.frame;
        let all = (0..self.side).flat_map(|y| (0..self.side).map(move |x| (y, x)));
        all.filter_map(move |(y, x)| Some((at(y, h)? * w + at(x, w)?, y * self.side + x)))
    }

    /// A map without any preference, [side × side]: 1 where the network's cells lie, 0 elsewhere. What a real map is
    /// compared with.
    pub fn uniform(&self) -> Vec<f32> {
        let mut map = vec![0.0; self.side * self.side];
        self.placed().for_each(|(_, to)| map[to] = 1.0);
        map
    }
}
