//! Heat maps of many images: a panel and, if wanted, the plain map of each, and what can be said of them in figures.

use super::masks::Masks;
use super::model::Model;
use super::naming::{Naming, check_folder};
use super::stage::{Scores, Stage, in_words};
use super::stream::{Feed, FindMask, Image, Outcome, RunOptions, chunk, interrupted};
use crate::error::{Error, Result};
use crate::eval::cam_energy::energy_inside;
use crate::explain::picture::title;
use crate::explain::{CamMethod, Explanation, HeatShares, heat};
use crate::files::write_atomic;
use crate::gpu::Gpu;
use crate::report::html::DISCLAIMER;
use crate::report::overlay::{Marks, gray_png};
use crate::report::text::percent;
use crate::train::interrupt;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// The class whose score is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Of each image its own: the one with the highest probability.
    #[default]
    Predicted,
    /// The same for all.
    Class(usize),
}

/// What to draw and where.
#[derive(Clone, Debug)]
pub struct ExplainOptions<'a> {
    /// Batch, and what happens to damaged images.
    pub run: RunOptions,
    /// Which map.
    pub method: CamMethod,
    /// At which layer; `None`: the last convolutional activation.
    pub layer: Option<&'a str>,
    /// For which class.
    pub target: Target,
    /// Folder of the pictures.
    pub dir: &'a Path,
    /// What they are called.
    pub naming: &'a Naming,
    /// Whether the innermost contour is drawn.
    pub contour: bool,
    /// Whether the plain maps are written: 8-bit gray, 255 where the map is highest.
    pub maps: bool,
    /// Masks of the lungs.
    pub masks: Option<&'a Masks>,
}

/// What is to be said of an image's map.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained<'a> {
    /// The image.
    pub path: &'a Path,
    /// The panel.
    pub panel: PathBuf,
    /// The plain map, where it was asked for.
    pub map: Option<PathBuf>,
    /// What the network says.
    pub scores: Scores,
    /// The class whose score was explained.
    pub target: usize,
    /// The raw map's maximum; 0: the method finds nothing that speaks for the class, the map is empty.
    pub peak: f32,
    /// Where the heat lies; `None` for an empty map.
    pub shares: Option<HeatShares>,
    /// The mask's share of the image, and the share of the heat in it; `None` without a mask, inside for an empty map.
    pub lungs: Option<(f64, Option<f64>)>,
}

impl Explained<'_> {
    /// Probability of the explained class.
    pub fn probability(&self) -> f64 {
        self.scores.probabilities.get(self.target).copied().unwrap_or_default()
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.peak == 0.0
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanations {
    /// Images, and what was skipped.
    pub outcome: Outcome,
    /// Maps in which nothing speaks for the class.
    pub empty: usize,
    /// What a map without any preference has at the border and in the corners.
    pub uniform: Option<HeatShares>,
}

/// Draws the map of every image of `files` and calls `each` with what is to be said of it, in order. Pictures appear one by
/// one, each complete; none is in memory longer than its chunk.
///
/// # Errors
/// [`Error::Usage`] for a layer that the network does not have (with the nearest names) or that gives no map, and for an image
/// in the folder of the pictures, both before anything is written; otherwise as [`super::run`], and [`Error::Io`] when a
/// picture cannot be written.
pub fn explain(
    gpu: &Gpu,
    model: &Model,
    files: &[PathBuf],
    options: &ExplainOptions,
    mut each: impl FnMut(&Explained) -> Result<()>,
) -> Result<Explanations> {
    check_folder(options.dir, "--out", files)?;
    let batch = options.run.batch.min(files.len().max(1));
    let mut stage = Stage::new(gpu, model, batch, 0)?;
    stage.plan_maps(gpu, options.method, options.layer)?;
    if options.target == Target::Predicted {
        stage.plan_scores(gpu)?;
    }
    stage.tell(options.run.talk, "explain");
    let frames = [model.frame()];
    let find = |path: &Path, side: usize| options.masks.map_or(Ok(None), |m| m.find(path, side));
    let mask: Option<&FindMask> = options.masks.is_some().then_some(&find);
    let feed = Feed { files, frames: &frames, chunk: chunk(&frames, batch, true), label: "explain", mask };
    let (mut written, mut empty) = (0, 0);
    let done = feed.run(&options.run, |images| {
        for images in images.chunks(batch) {
            if interrupt::requested() {
                return Err(Error::Interrupted(String::new()));
            }
            let all: Vec<&Image> = images.iter().collect();
            let targets = match options.target {
                Target::Class(class) => vec![class; all.len()],
                Target::Predicted => stage.scores(gpu, &all)?.iter().map(|s| s.class).collect(),
            };
            let maps = stage.maps(gpu, &all, &targets)?;
            let pairs = images.par_iter().zip(&maps);
            let said: Vec<Explained> = pairs.map(|(i, map)| draw(model, options, i, map)).collect::<Result<_>>()?;
            written += said.len();
            empty += said.iter().filter(|s| s.is_empty()).count();
            said.iter().try_for_each(&mut each)?;
        }
        Ok(())
    });
    let dir = options.dir.display();
    let outcome = done.map_err(|e| interrupted(e, &format!("{written} panels are in {dir}, no table is printed")))?;
    let uniform = HeatShares::of(&stage.uniform(), model.side);
    Ok(Explanations { outcome, empty, uniform })
}

/// The names of an image's panel and map.
fn names(options: &ExplainOptions, image: &Image) -> (PathBuf, Option<PathBuf>) {
    let stem = options.naming.stem(image.number, image.path, &image.decoded.sha256);
    let at = |end: &str| options.dir.join(format!("{stem}{end}"));
    (at(".png"), options.maps.then(|| at(".map.png")))
}

/// What is to be said of a map.
fn figures<'a>(model: &Model, options: &ExplainOptions, image: &Image<'a>, map: &Explanation) -> Explained<'a> {
    let (panel, plain) = names(options, image);
    let lungs = image.decoded.mask.as_ref().map(|mask| {
        let area = mask.iter().map(|m| f64::from(*m)).sum::<f64>() / mask.len() as f64;
        (area, energy_inside(&map.map, mask))
    });
    Explained {
        path: image.path,
        panel,
        map: plain,
        scores: Scores::of(model, map.logits.clone()),
        target: map.target,
        peak: map.peak,
        shares: HeatShares::of(&map.map, model.side),
        lungs,
    }
}

/// Writes an image's panel and, if wanted, its plain map.
fn draw<'a>(model: &Model, options: &ExplainOptions, image: &Image<'a>, map: &Explanation) -> Result<Explained<'a>> {
    let said = figures(model, options, image, map);
    let contour = (options.contour && !said.is_empty()).then(|| heat::innermost(&map.map));
    let above = options
        .layer
        .map_or_else(|| title(options.method).to_string(), |layer| format!("{} at {layer}", title(options.method)));
    let marks = Marks { map: &above, contour: contour.as_deref() };
    let caption = caption(model, options, &said);
    let mask = image.decoded.mask.as_deref();
    write_atomic(&said.panel, &map.panel(&image.decoded.planes[0], model.side, mask, &marks, &caption)?)?;
    if let Some(path) = &said.map {
        write_atomic(path, &gray_png(&heat::to_bytes(&map.map), model.side, model.side)?)?;
    }
    Ok(said)
}

/// What stands below a panel.
fn caption(model: &Model, options: &ExplainOptions, said: &Explained) -> String {
    let (predicted, target) = (&model.classes[said.scores.class], &model.classes[said.target]);
    let mut text = options.naming.shown(said.path).map_or(String::new(), |name| format!("{name}: "));
    text += &format!("predicted {predicted}, {}", in_words(said.scores.highest()));
    if said.target != said.scores.class {
        text += &format!("; map for {target}, {}", in_words(said.probability()));
    }
    if said.is_empty() {
        text += &format!("; the map is empty: {} finds nothing that speaks for this class", title(options.method));
    } else if options.contour {
        text += "; red: heat of at least 9/10 of its maximum";
    }
    if let Some((area, heat)) = said.lungs {
        text += "; white: mask of the lungs";
        if let Some(heat) = heat {
            text += &format!(", {} of the heat on {} of the image", percent(heat), percent(area));
        }
    }
    format!("{text}. {DISCLAIMER}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::testing;

    #[test]
    fn captions_say_what_is_seen_and_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let model = testing::model(dir.path());
        let (hidden, shown) = (Naming::new(&[], 1, false), Naming::new(&[], 1, true));
        let path = Path::new("a/00001280_004.png");
        let said = |target, peak| Explained {
            path,
            panel: "p.png".into(),
            map: None,
            scores: Scores::of(&model, vec![0.0, 0.5]),
            target,
            peak,
            shares: None,
            lungs: None,
        };
        let mut options = ExplainOptions {
            run: RunOptions { batch: 1, skip_bad: false, talk: crate::Talk::Quiet },
            method: CamMethod::GradCam,
            layer: None,
            target: Target::Predicted,
            dir: Path::new("out"),
            naming: &hidden,
            contour: true,
            maps: false,
            masks: None,
        };
        let text = caption(&model, &options, &said(1, 1.0));
        assert!(text.starts_with("predicted viral, p = 0.62; red: heat of at least 9/10 of its maximum. "), "{text}");
        assert!(text.ends_with(DISCLAIMER) && !text.contains("1280"));
        let text = caption(&model, &options, &said(0, 0.0));
        assert!(
            text.contains(
                "viral, p = 0.62; map for normal, p = 0.38; the map is empty: Grad-CAM finds nothing that speaks for"
            ),
            "{text}"
        );
        assert!(!text.contains("red:"), "an empty map has no contour");
        options.naming = &shown;
        assert!(caption(&model, &options, &said(1, 1.0)).starts_with("a/00001280_004.png: predicted"));
        let lungs = Explained { lungs: Some((0.25, Some(0.5))), ..said(1, 1.0) };
        assert!(caption(&model, &options, &lungs).contains("50.0 % of the heat on 25.0 % of the image"));
    }
}
