//! What accuracy is left without lungs: the same training on the border alone, on images with a blank centre, and on an 8×8
//! thumbnail; and how well the *source* of an image is told. A network that needs no lungs does not read them
//! (Maguolo & Nanni, arXiv:2004.12823; DeGrave et al., <https://doi.org/10.1038/s42256-021-00338-7>).

use super::cell::{Cell, Weighting};
use super::task::Task;
use super::train::{Context, Labels, train};
use crate::data::division::{self, Parts};
use crate::error::{Error, Result};
use crate::eval::{Interval, wilson};
use crate::train::{Loss, class_of, interrupt};
use serde::{Deserialize, Serialize};

/// The images' grey where something was taken away: the middle of the scale.
const BLANK: f32 = 0.5;

/// Share of the side, on each side, that is the border.
const BORDER: f64 = 0.125;

/// Share of the side, about the centre, that is blanked: lungs and heart.
const CENTRE: f64 = 0.7;

/// Side of the thumbnail.
const THUMBNAIL: usize = 8;

/// Of what an image's accuracy is above chance, the share that may survive without lungs before it is flagged.
pub const TOLERATED: f64 = 0.5;

/// Groups that a source needs to be told from others.
const LEAST_SOURCE: usize = 10;

/// What is left of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The outermost eighth on each side.
    Border,
    /// Everything but the central 70 % of width and height.
    CentreBlank,
    /// 8×8 cell means. The lungs are in it, coarsely: what it reaches is shown and not judged.
    Thumbnail,
}

impl Probe {
    /// All of them.
    pub const ALL: [Probe; 3] = [Probe::Border, Probe::CentreBlank, Probe::Thumbnail];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Probe::Border => "border alone",
            Probe::CentreBlank => "centre blanked",
            Probe::Thumbnail => "8 x 8 thumbnail",
        }
    }

    /// The planes `[n, side, side]` with only this left.
    ///
    /// # Panics
    /// When `planes` are no whole images.
    pub fn apply(self, planes: &[f32], side: usize) -> Vec<f32> {
        assert!(planes.len().is_multiple_of(side * side), "{} values for images of {side} x {side}", planes.len());
        planes.chunks(side * side).flat_map(|p| self.one(p, side)).collect()
    }

    fn one(self, plane: &[f32], side: usize) -> Vec<f32> {
        // Pixels of the middle, on each axis.
        let kept = match self {
            Probe::Border => BORDER,
            Probe::CentreBlank => (1.0 - CENTRE) / 2.0,
            Probe::Thumbnail => return thumbnail(plane, side),
        };
        let edge = (kept * side as f64).round().max(1.0) as usize;
        let middle = |v: usize| (edge..side - edge).contains(&v);
        let pixel = |(i, v): (usize, &f32)| if middle(i / side) && middle(i % side) { BLANK } else { *v };
        plane.iter().enumerate().map(pixel).collect()
    }
}

/// Means of 8×8 cells, each over all of its pixels.
fn thumbnail(plane: &[f32], side: usize) -> Vec<f32> {
    let cells = THUMBNAIL.min(side);
    let cell = |v: usize| v * cells / side;
    let (mut sums, mut counts) = (vec![0f64; cells * cells], vec![0f64; cells * cells]);
    for (i, v) in plane.iter().enumerate() {
        let at = cell(i / side) * cells + cell(i % side);
        sums[at] += f64::from(*v);
        counts[at] += 1.0;
    }
    (0..side * side).map(|i| cell(i / side) * cells + cell(i % side)).map(|at| (sums[at] / counts[at]) as f32).collect()
}

/// An accuracy with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// On what, in words.
    pub from: String,
    /// Test images.
    pub images: u64,
    /// Of these, right.
    pub correct: u64,
    /// `correct / images`.
    pub accuracy: f64,
    /// Wilson's.
    pub interval: Interval,
    /// Accuracy of always saying the most frequent class of the test images.
    pub majority: f64,
    /// Of what the whole image gives above the majority, the share that this gives; `None` where the whole image gives
    /// nothing.
    pub survives: Option<f64>,
    /// Whether that is too much to be chance or harmless.
    pub flagged: bool,
}

/// What the same network reaches without lungs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shortcuts {
    /// Which folds were used: the panel is trained anew on each.
    pub folds: Vec<String>,
    /// On whole images, on the same folds.
    pub whole: Reached,
    /// On what is left.
    pub probes: Vec<Reached>,
    /// How well the source is told, where there are two or more; why not otherwise.
    pub source: std::result::Result<Reached, String>,
}

impl Shortcuts {
    /// Whether anything is flagged.
    pub fn is_flagged(&self) -> bool {
        self.probes.iter().any(|p| p.flagged)
    }

    /// What a reader should be told first; `None` where nothing is flagged.
    pub fn warning(&self) -> Option<String> {
        let told: Vec<String> = self
            .probes
            .iter()
            .filter(|p| p.flagged)
            .map(|p| {
                format!(
                    "{} ({:.1} %, the whole image {:.1} %)",
                    p.from,
                    100.0 * p.accuracy,
                    100.0 * self.whole.accuracy
                )
            })
            .collect();
        (!told.is_empty()).then(|| format!(
            "Accuracy survives without lungs: the same network, trained on what is left, does well from {}. It may read marks, \
             collimation or exposure instead of the lung.",
            told.join(", ")
        ))
    }
}

/// Trains `cell` on each probe of the images, on these folds, and compares with `whole`: for each of the folds the numbers of
/// images and of right ones on whole images.
///
/// # Errors
/// As [`train`]; [`Error::Interrupted`].
pub fn shortcuts(
    context: &Context,
    cell: &Cell,
    task: &Task,
    folds: &[&Parts],
    whole: (u64, u64),
) -> Result<Shortcuts> {
    let majority = majority(task, folds);
    let reached = |from: &str, (images, correct): (u64, u64), majority: f64| {
        let interval = wilson(correct, images, 0.95).ok_or_else(|| Error::Data(format!("{from}: no test image")))?;
        let accuracy = correct as f64 / images as f64;
        Ok::<_, Error>(Reached {
            from: from.into(),
            images,
            correct,
            accuracy,
            interval,
            majority,
            survives: None,
            flagged: false,
        })
    };
    let all = reached("the whole image", whole, majority)?;
    let mut probes = Vec::new();
    for probe in Probe::ALL {
        let planes = probe.apply(&task.planes, task.side);
        let counts = count(context, cell, task, &planes, folds, probe.name())?;
        let mut r = reached(probe.name(), counts, majority)?;
        judge(&mut r, &all);
        r.flagged &= probe != Probe::Thumbnail;
        probes.push(r);
    }
    let source = match task.by_source(LEAST_SOURCE) {
        None => Err(format!("there are no two sources with {LEAST_SOURCE} patients each")),
        Some(by) => told_source(context, cell, &by, folds.len())
            .and_then(|(counts, majority)| reached("the source of an image", counts, majority))
            .map(Ok)?,
    };
    Ok(Shortcuts { folds: folds.iter().map(|f| f.name.clone()).collect(), whole: all, probes, source })
}

/// Sets what survives, and whether it is flagged: by more than chance above the majority, and more than [`TOLERATED`] of what
/// the whole image gives.
fn judge(r: &mut Reached, whole: &Reached) {
    let gain = whole.accuracy - r.majority;
    r.survives = (gain > 0.0).then(|| (r.accuracy - r.majority) / gain);
    r.flagged = r.interval.low > r.majority && r.survives.is_none_or(|s| s > TOLERATED);
}

/// Share of the most frequent class in the test parts.
fn majority(task: &Task, folds: &[&Parts]) -> f64 {
    let mut counts = vec![0usize; task.classes.len()];
    folds.iter().flat_map(|f| &f.test).for_each(|&i| counts[task.labels[i]] += 1);
    counts.iter().copied().max().unwrap_or(0) as f64 / counts.iter().sum::<usize>().max(1) as f64
}

/// Test images and right ones of trainings on `planes`.
fn count(
    context: &Context,
    cell: &Cell,
    task: &Task,
    planes: &[f32],
    folds: &[&Parts],
    what: &str,
) -> Result<(u64, u64)> {
    let mut sums = (0, 0);
    for parts in folds {
        let label = format!("{}, {}, {what}", cell.name, parts.name);
        let t = train(
            context,
            cell,
            task,
            planes,
            parts,
            Labels { label: label.clone(), checkpoint: None, observer: None },
        )?;
        if t.fit.interrupted() || interrupt::requested() {
            return Err(Error::Interrupted(format!("{label}: interrupted; finished folds are kept")));
        }
        let right = t.logits.iter().zip(&parts.test).filter(|(l, i)| class_of(l) == task.labels[**i]).count();
        sums = (sums.0 + parts.test.len() as u64, sums.1 + right as u64);
    }
    Ok(sums)
}

/// Counts for the source as the class, on a hold-out of the same size for as many folds, and the majority.
fn told_source(context: &Context, cell: &Cell, by: &Task, folds: usize) -> Result<((u64, u64), f64)> {
    let options = division::Options {
        method: division::Method::Kfold,
        folds: 5,
        test: 0.2,
        validation: 0.2,
        by_image: false,
        seed: cell.seed,
    };
    let parts = by.divide(&options)?;
    let used: Vec<&Parts> = parts.iter().take(folds.clamp(1, parts.len())).collect();
    // Classes are other ones now: no weights were given for them, and a sigmoid tells two only.
    let plain = matches!(cell.loss, Loss::Binary { .. }) && by.classes.len() != 2;
    let cell = Cell {
        class_weights: Weighting::Balanced,
        loss: if plain { Loss::default() } else { cell.loss },
        ..cell.clone()
    };
    Ok((count(context, &cell, by, &by.planes, &used, "the source")?, majority(by, &used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_leave_what_they_say() {
        let side = 16;
        let plane: Vec<f32> = (0..side * side).map(|i| i as f32 / 256.0).collect();
        let border = Probe::Border.apply(&plane, side);
        let centre = Probe::CentreBlank.apply(&plane, side);
        let changed = |p: &[f32]| p.iter().zip(&plane).filter(|(a, b)| a != b).count();
        assert_eq!((changed(&border), changed(&centre)), (12 * 12, 12 * 12));
        assert_eq!(border[8 * 16 + 8], BLANK);
        let thumb = Probe::Thumbnail.apply(&plane, side);
        assert_eq!(thumb[0], (plane[0] + plane[1] + plane[16] + plane[17]) / 4.0);
        let mean = |p: &[f32]| p.iter().map(|v| f64::from(*v)).sum::<f64>() / 256.0;
        assert!((mean(&thumb) - mean(&plane)).abs() < 1e-6);
        // A side that 8 does not divide: every pixel belongs to a cell.
        let odd = Probe::Thumbnail.apply(&[0.25; 19 * 19], 19);
        assert!(odd.iter().all(|v| *v == 0.25));
    }

    #[test]
    fn what_survives_is_flagged_and_chance_is_not() {
        let r = |correct: u64, images: u64| Reached {
            from: "x".into(),
            images,
            correct,
            accuracy: correct as f64 / images as f64,
            interval: wilson(correct, images, 0.95).unwrap(),
            majority: 0.5,
            survives: None,
            flagged: false,
        };
        let whole = r(90, 100);
        for (correct, images, flagged) in
            [(85, 100, true), (55, 100, false), (65, 100, false), (9, 10, true), (7, 10, false)]
        {
            let mut p = r(correct, images);
            judge(&mut p, &whole);
            assert_eq!(p.flagged, flagged, "{correct} of {images}: {p:?}");
        }
        // Where the whole image tells nothing, what is left may not tell anything either.
        let mut p = r(80, 100);
        judge(&mut p, &r(40, 100));
        assert!(p.flagged && p.survives.is_none());
    }
}
