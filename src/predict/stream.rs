//! Thousands of images through a network: chunks are decoded on all cores while the device works on the one before.

use super::model::Model;
use super::stage::Stage;
use crate::data::decode::decode;
use crate::data::planes::{Preprocessing, read_image};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::talk::Talk;
use crate::train::progress::Progress;
use crate::train::{argmax, interrupt};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Bytes of planes in one chunk, at most; four chunks are in memory at once.
const CHUNK_BYTES: usize = 32 << 20;

/// Most images of a chunk whose maps are drawn: pictures take longer than scores, and Ctrl-C waits for a chunk.
const DRAWN: usize = 64;

/// How to go through the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Images a step.
    pub batch: usize,
    /// Damaged images are counted instead of being an error.
    pub skip_bad: bool,
    /// How much is said.
    pub talk: Talk,
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

/// What a network wants of a decoded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// How it becomes a square.
    pub preprocessing: Preprocessing,
    /// Of this side.
    pub side: usize,
}

/// A decoded image.
pub(super) struct Decoded {
    /// A plane for each frame.
    pub planes: Vec<Vec<f32>>,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Pixels of its mask that are inside, at the side of the first frame.
    pub mask: Option<Vec<u8>>,
}

/// A decoded image, where it comes from, and its place in the list, from 1 on.
pub(super) struct Image<'f> {
    pub number: usize,
    pub path: &'f Path,
    pub decoded: Decoded,
}

/// What finds the mask of an image at a side; `None` where it has none, an error where it cannot be used.
pub(super) type FindMask<'f> = dyn Fn(&Path, usize) -> std::result::Result<Option<Vec<u8>>, String> + Sync + 'f;

/// Which images, and how they are decoded.
pub(super) struct Feed<'f> {
    pub files: &'f [PathBuf],
    pub frames: &'f [Frame],
    /// Images a chunk.
    pub chunk: usize,
    /// What is being done, for the progress.
    pub label: &'static str,
    pub mask: Option<&'f FindMask<'f>>,
}

/// Images of a chunk: whole batches, so that only the last one of all is padded.
pub(super) fn chunk(frames: &[Frame], batch: usize, drawn: bool) -> usize {
    let plane: usize = frames.iter().map(|f| 4 * f.side * f.side).sum();
    // A drawn image has a map, its colours and pictures besides.
    let most = if drawn { (CHUNK_BYTES / (4 * plane.max(1))).min(DRAWN) } else { CHUNK_BYTES / plane.max(1) };
    (most / batch).max(1) * batch
}

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
    let batch = options.batch.min(files.len().max(1));
    let frames = [model.frame()];
    let mut stage = Stage::new(gpu, model, batch, 0)?;
    stage.plan_scores(gpu)?;
    stage.tell(options.talk, "predict");
    let feed = Feed { files, frames: &frames, chunk: chunk(&frames, batch, false), label: "predict", mask: None };
    feed.run(options, |images| {
        let all: Vec<&Image> = images.iter().collect();
        for (image, scores) in images.iter().zip(stage.scores(gpu, &all)?) {
            each(image.path, &scores.logits, &scores.probabilities)?;
        }
        Ok(())
    })
    .map_err(|e| interrupted(e, "nothing is written"))
}

/// An interruption, with what is left of the work.
pub(super) fn interrupted(error: Error, left: &str) -> Error {
    match error {
        Error::Interrupted(m) => Error::Interrupted(format!("{m}; {left}")),
        other => other,
    }
}

impl Feed<'_> {
    /// Calls `work` with the usable images of every chunk, in order.
    pub fn run(&self, options: &RunOptions, mut work: impl FnMut(Vec<Image>) -> Result<()>) -> Result<Outcome> {
        let files = self.files;
        let start = Instant::now();
        let mut outcome = Outcome::default();
        let mut progress = Progress::new(self.label, files.len() as u64, "images", options.talk);
        let done = std::thread::scope(|scope| {
            type Part<'a> = (usize, &'a [PathBuf], Vec<std::result::Result<Decoded, String>>);
            let (sender, receiver) = sync_channel::<Part>(1);
            scope.spawn(move || {
                for (i, part) in files.chunks(self.chunk).enumerate() {
                    let decoded = part.par_iter().map(|path| self.decode(path)).collect();
                    // The other end is gone when it ended with an error.
                    if interrupt::requested() || sender.send((i * self.chunk, part, decoded)).is_err() {
                        return;
                    }
                }
            });
            for (first, part, decoded) in receiver {
                let mut images = Vec::with_capacity(part.len());
                for (i, (path, decoded)) in part.iter().zip(decoded).enumerate() {
                    match decoded {
                        Ok(decoded) => images.push(Image { number: first + i + 1, path, decoded }),
                        Err(reason) if options.skip_bad => outcome.skipped.push((path.clone(), reason)),
                        Err(reason) => {
                            return Err(Error::format(path, format!("{reason} (--skip-bad goes on without it)")));
                        }
                    }
                }
                let count = images.len();
                work(images)?;
                outcome.predicted += count;
                progress.advance(part.len() as u64, &note(&outcome));
            }
            Ok(())
        });
        match done {
            Err(e) if !matches!(e, Error::Interrupted(_)) => return Err(e),
            Ok(()) if !interrupt::requested() || outcome.predicted + outcome.skipped.len() == files.len() => {}
            _ => {
                let (done, all) = (outcome.predicted, files.len());
                return Err(Error::Interrupted(format!("interrupted after {done} of {all} images")));
            }
        }
        outcome.seconds = start.elapsed().as_secs_f64();
        let (seconds, rate) = (outcome.seconds, progress.rate());
        let digits = usize::from(rate < 10.0);
        progress.line(&format!(
            "{} images in {seconds:.1} s, {rate:.digits$} img/s{}",
            outcome.predicted,
            note(&outcome)
        ));
        progress.finish();
        match outcome.skipped.first() {
            Some((path, reason)) if outcome.predicted == 0 => Err(Error::Data(format!(
                "none of {} images can be used; first: {}: {reason}",
                files.len(),
                path.display()
            ))),
            _ => Ok(outcome),
        }
    }

    /// One file to a plane for each frame: read, hashed and decoded once.
    fn decode(&self, path: &Path) -> std::result::Result<Decoded, String> {
        let bytes = read_image(path)?;
        let sha256 = Sha256::digest(&bytes).into();
        let plane = decode(&bytes, path).map_err(reason)?;
        drop(bytes);
        let square = |f: &Frame| f.preprocessing.square(&plane, f.side).map_err(reason);
        let planes = self.frames.iter().map(square).collect::<std::result::Result<_, _>>()?;
        let side = self.frames.first().map_or(0, |f| f.side);
        let mask = self.mask.map_or(Ok(None), |find| find(path, side))?;
        Ok(Decoded { planes, sha256, mask })
    }
}

fn note(outcome: &Outcome) -> String {
    match outcome.skipped.len() {
        0 => String::new(),
        n => format!(", {n} skipped"),
    }
}

/// What is wrong with a file, without its name.
pub(super) fn reason(e: Error) -> String {
    match e {
        Error::Format { reason, .. } => reason,
        other => other.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_whole_batches_of_bounded_memory() {
        let frame = |side| Frame { preprocessing: Preprocessing::default(), side };
        let small = chunk(&[frame(64)], 16, false);
        assert_eq!((small, small % 16), (2048, 0));
        assert_eq!(chunk(&[frame(64), frame(64)], 16, false), 1024);
        assert_eq!(chunk(&[frame(64)], 24, true), 48);
        assert_eq!(chunk(&[frame(1024)], 16, true), 16, "a batch at least");
    }
}
