//! A model on the device: scores and heat maps of decoded images.

use super::model::Model;
use super::stream::{Image, best};
use crate::error::{Error, Result};
use crate::explain::{CamOptions, Explanation, GradCam};
use crate::gpu::Gpu;
use crate::ops::CamMethod;
use crate::plan::{MemoryReport, Weights};
use crate::talk::Talk;
use crate::train::{Predictor, Samples};
use std::rc::Rc;

/// What a network says of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// As the network gives them.
    pub logits: Vec<f32>,
    /// One for each class of the model.
    pub probabilities: Vec<f64>,
    /// The class of the largest probability, of equal ones the first.
    pub class: usize,
}

impl Scores {
    /// What `model` makes of `logits`.
    pub(super) fn of(model: &Model, logits: Vec<f32>) -> Scores {
        let probabilities = model.probabilities(&logits);
        Scores { class: best(&probabilities), logits, probabilities }
    }

    /// Probability of [`Scores::class`].
    pub fn highest(&self) -> f64 {
        self.probabilities.get(self.class).copied().unwrap_or_default()
    }
}

/// A probability in a caption: "p = 0.62"; what two digits would call 0 or 1 is "p < 0.01" or "p > 0.99".
pub(super) fn in_words(p: f64) -> String {
    match p {
        p if p < 0.005 => "p < 0.01".into(),
        p if p > 0.995 => "p > 0.99".into(),
        p => format!("p = {p:.2}"),
    }
}

/// A model with its weights on the device; plans are made when they are asked for.
pub(super) struct Stage<'m> {
    pub model: &'m Model,
    /// Which of an image's planes it reads.
    pub frame: usize,
    weights: Rc<Weights>,
    batch: usize,
    predictor: Option<Predictor>,
    cam: Option<GradCam>,
}

impl<'m> Stage<'m> {
    pub fn new(gpu: &Gpu, model: &'m Model, batch: usize, frame: usize) -> Result<Stage<'m>> {
        let weights = Rc::new(model.params.upload(gpu)?);
        Ok(Stage { model, frame, weights, batch, predictor: None, cam: None })
    }

    /// Plans scores.
    pub fn plan_scores(&mut self, gpu: &Gpu) -> Result<()> {
        let m = self.model;
        let empty = Samples { data: &[], mirrored: None, shape: [1, m.side, m.side], items: &[] };
        let what = (&empty, m.outputs, self.batch);
        self.predictor = Some(Predictor::new(gpu, &m.network, &self.weights, what, m.normalize)?);
        Ok(())
    }

    /// Plans heat maps.
    pub fn plan_maps(&mut self, gpu: &Gpu, method: CamMethod, layer: Option<&str>) -> Result<()> {
        let m = self.model;
        let options = CamOptions {
            layer: layer.map(String::from),
            ..CamOptions::new(m.side, m.outputs).batch(self.batch).normalize(m.normalize).method(method)
        };
        self.cam = Some(GradCam::new(gpu, &m.network, &self.weights, &options)?);
        Ok(())
    }

    /// Says how large the plans are, for a stage of this name.
    pub fn tell(&self, talk: Talk, name: &str) {
        let (network, batch) = (self.model.network.name, self.batch);
        let say = |what: &str, memory: &MemoryReport| {
            talk.detail(|| format!("{name}: {network}, {what}, batch {batch}: memory {memory}"));
        };
        if let Some(p) = &self.predictor {
            say("scores", p.memory());
        }
        if let Some(cam) = &self.cam {
            say("maps", cam.memory());
        }
    }

    /// Scores of `images`, in order.
    pub fn scores(&mut self, gpu: &Gpu, images: &[&Image]) -> Result<Vec<Scores>> {
        let Some(predictor) = &mut self.predictor else {
            return Err(Error::Internal("scores were not planned".into()));
        };
        let (pixels, items) = gather(images, self.frame);
        let side = self.model.side;
        let samples = Samples { data: &pixels, mirrored: None, shape: [1, side, side], items: &items };
        let logits = predictor.logits(gpu, &samples).map_err(|e| from_first(e, images))?;
        Ok(logits.into_iter().map(|l| Scores::of(self.model, l)).collect())
    }

    /// Heat maps of `images` for a class each, in order.
    pub fn maps(&mut self, gpu: &Gpu, images: &[&Image], targets: &[usize]) -> Result<Vec<Explanation>> {
        let Some(cam) = &mut self.cam else { return Err(Error::Internal("maps were not planned".into())) };
        let (pixels, items) = gather(images, self.frame);
        let side = self.model.side;
        let samples = Samples { data: &pixels, mirrored: None, shape: [1, side, side], items: &items };
        let all = cam.explain(gpu, &samples, targets)?;
        for (e, image) in all.iter().zip(images) {
            if !e.peak.is_finite() || e.logits.iter().any(|l| !l.is_finite()) {
                let path = image.path.display();
                return Err(Error::Numerics(format!("{path}: the map or the scores of this image are not finite")));
            }
        }
        Ok(all)
    }

    /// A map without any preference; see [`GradCam::uniform`].
    pub fn uniform(&self) -> Vec<f32> {
        self.cam.as_ref().map_or_else(Vec::new, GradCam::uniform)
    }
}

/// The planes of `images` for a frame, behind each other, and their items.
fn gather(images: &[&Image], frame: usize) -> (Vec<f32>, Vec<(usize, usize)>) {
    let mut pixels = Vec::new();
    images.iter().for_each(|i| pixels.extend_from_slice(&i.decoded.planes[frame]));
    (pixels, (0..images.len()).map(|i| (i, 0)).collect())
}

fn from_first(e: Error, images: &[&Image]) -> Error {
    match (e, images.first()) {
        (Error::Numerics(m), Some(first)) => Error::Numerics(format!("from {} on: {m}", first.path.display())),
        (e, _) => e,
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn captions_do_not_call_anything_certain() {
        let words = [0.0, 0.0049, 0.0051, 0.62, 0.994, 0.9951, 1.0].map(in_words);
        let want = ["p < 0.01", "p < 0.01", "p = 0.01", "p = 0.62", "p = 0.99", "p > 0.99", "p > 0.99"];
        assert_eq!(words, want);
    }
}
