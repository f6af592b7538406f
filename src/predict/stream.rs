//! Thousands of images through a network: chunks are decoded on all cores while the device works on the one before.

use super::model::Model;
use crate::data::planes::{preprocess, read_image};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::train::progress::Progress;
use crate::train::{Predictor, Samples, argmax, interrupt};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Bytes of planes in one chunk, at most; three chunks are in memory at once.
const CHUNK_BYTES: usize = 32 << 20;

/// How to go through the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Images a step.
    pub batch: usize,
    /// Damaged images are counted instead of being an error.
    pub skip_bad: bool,
    /// No progress.
    pub quiet: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Images with probabilities.
    pub predicted: usize,
    /// Images that could not be used, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// Seconds from the first image on.
    pub seconds: f64,
}

/// A decoded image, or why it cannot be used.
type Decoded = std::result::Result<Vec<f32>, String>;

/// Calls `each` with path, logits and probabilities of every image of `files`, in order.
///
/// # Errors
/// [`Error::Memory`] when the batch does not fit, with the largest that does; [`Error::Format`] naming a damaged image without
/// `skip_bad`; [`Error::Data`] when no image can be used; [`Error::Numerics`] for scores that are not finite;
/// [`Error::Interrupted`]; what `each` ends with; device errors.
pub fn run(
    gpu: &Gpu,
    model: &Model,
    files: &[PathBuf],
    options: &RunOptions,
    mut each: impl FnMut(&Path, &[f32], &[f64]) -> Result<()>,
) -> Result<Outcome> {
    let side = model.side;
    let batch = options.batch.min(files.len().max(1));
    let empty = Samples { data: &[], mirrored: None, shape: [1, side, side], items: &[] };
    let weights = Rc::new(model.params.upload(gpu)?);
    let mut predictor = Predictor::new(gpu, &model.network, &weights, (&empty, model.outputs, batch), model.normalize)?;
    let start = Instant::now();
    let mut outcome = Outcome::default();
    let mut progress = Progress::new("predict", files.len() as u64, "images", options.quiet);
    // Whole batches, so that only the last one of all is padded.
    let chunk = (CHUNK_BYTES / (4 * side * side) / batch).max(1) * batch;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<(&[PathBuf], Vec<Decoded>)>(1);
        scope.spawn(move || {
            for part in files.chunks(chunk) {
                let decoded = part.par_iter().map(|path| decode(path, side)).collect();
                // The other end is gone when it ended with an error.
                if interrupt::requested() || sender.send((part, decoded)).is_err() {
                    return;
                }
            }
        });
        for (part, decoded) in receiver {
            let (mut pixels, mut paths) = (Vec::with_capacity(part.len() * side * side), Vec::new());
            for (path, image) in part.iter().zip(decoded) {
                match image {
                    Ok(plane) => {
                        pixels.extend(plane);
                        paths.push(path.as_path());
                    }
                    Err(reason) if options.skip_bad => outcome.skipped.push((path.clone(), reason)),
                    Err(reason) => {
                        return Err(Error::format(path, format!("{reason} (--skip-bad goes on without it)")));
                    }
                }
            }
            let items: Vec<(usize, usize)> = (0..paths.len()).map(|i| (i, 0)).collect();
            let samples = Samples { data: &pixels, items: &items, ..empty };
            let logits = predictor.logits(gpu, &samples).map_err(|e| match (e, paths.first()) {
                (Error::Numerics(m), Some(first)) => Error::Numerics(format!("from {} on: {m}", first.display())),
                (e, _) => e,
            })?;
            for (path, scores) in paths.iter().zip(&logits) {
                each(path, scores, &model.probabilities(scores))?;
            }
            outcome.predicted += paths.len();
            progress.advance(part.len() as u64, &note(&outcome));
        }
        Ok(())
    })?;
    if interrupt::requested() && outcome.predicted + outcome.skipped.len() < files.len() {
        let (done, all) = (outcome.predicted, files.len());
        return Err(Error::Interrupted(format!("interrupted after {done} of {all} images; nothing is written")));
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    let rate = progress.rate();
    let seconds = outcome.seconds;
    progress.line(&format!("{} images in {seconds:.1} s, {rate:.0} img/s{}", outcome.predicted, note(&outcome)));
    progress.finish();
    match outcome.skipped.first() {
        Some((path, reason)) if outcome.predicted == 0 => {
            Err(Error::Data(format!("none of {} images can be used; first: {}: {reason}", files.len(), path.display())))
        }
        _ => Ok(outcome),
    }
}

fn note(outcome: &Outcome) -> String {
    match outcome.skipped.len() {
        0 => String::new(),
        n => format!(", {n} skipped"),
    }
}

fn decode(path: &Path, side: usize) -> Decoded {
    preprocess(&read_image(path)?, path, side).map(|(plane, _)| plane).map_err(|e| match e {
        Error::Format { reason, .. } => reason,
        other => other.to_string(),
    })
}

impl Outcome {
    /// Images a second.
    pub fn rate(&self) -> f64 {
        self.predicted as f64 / self.seconds.max(1e-9)
    }
}

/// The class of the largest probability.
pub(super) fn best(probabilities: &[f64]) -> usize {
    argmax(&probabilities.iter().map(|p| *p as f32).collect::<Vec<_>>())
}
