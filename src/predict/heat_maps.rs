//! The heat map of each image's verdict: a panel a picture, and pages that show them with the probabilities of all stages.

use super::cascade::{Cascade, Verdict};
use super::model::Model;
use super::naming::{Naming, check_folder};
use super::stage::{Scores, Stage, in_words};
use super::stream::{Image, Outcome, interrupted};
use crate::error::{Error, Result};
use crate::explain::Explanation;
use crate::explain::picture::gray;
use crate::files::write_atomic;
use crate::gpu::Gpu;
use crate::report::heat_page::{HeatRow, HeatSummary, StageBars, file_name, render};
use crate::report::html::DISCLAIMER;
use crate::report::overlay::{Marks, gray_png, png_bytes};
use crate::train::interrupt;
use image::RgbImage;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Images a page, at most: a browser holds all pictures of a page in memory.
const ROWS: usize = 200;
/// Bytes of rows a page, at most.
const BYTES: usize = 16 << 20;

/// Pictures and pages of a run, in a folder of their own. Pictures appear one by one, each complete; the first page, which has
/// the summary, is the last to appear.
pub struct HeatMaps {
    dir: PathBuf,
    naming: Naming,
    classes: Vec<String>,
    stage_names: Vec<String>,
    summary: HeatSummary,
    /// The rows of the first page, which waits for the summary, and whether it has all that it may.
    first: Option<String>,
    /// The rows of the page that grows.
    rows: String,
    count: usize,
    written: usize,
}

impl HeatMaps {
    /// Pictures of `cascade`'s verdicts on `files` in `dir`, called as `naming` says. Nothing is written yet.
    ///
    /// # Errors
    /// [`Error::Usage`] when one of `files` lies in `dir`; [`Error::Io`] when nothing can be written there.
    pub fn create(dir: &Path, naming: Naming, cascade: &Cascade, files: &[PathBuf]) -> Result<HeatMaps> {
        check_folder(dir, "--heat-maps", files)?;
        let stage_names = cascade.stage_names();
        let about = |model: &Model| {
            let (name, side, digest) = (model.network.name, model.side, model.params.digest());
            let classes = model.classes.join(", ");
            format!("{name}, {side} x {side} pixels; classes {classes}; weights SHA-256 {}", &digest[..12])
        };
        let mut stages: Vec<(String, String)> = stage_names.iter().cloned().zip(cascade.models().map(about)).collect();
        for (t, (_, text)) in cascade.then.iter().zip(stages.iter_mut().skip(1)) {
            *text = format!("for images that stage 1 calls {}: {text}", cascade.first.classes[t.class]);
        }
        // Verdicts in the order of the classes, stage by stage; those that no image gets are left out at the end.
        let mut classes: Vec<String> = Vec::new();
        for name in cascade.models().flat_map(|m| &m.classes) {
            if !classes.contains(name) {
                classes.push(name.clone());
            }
        }
        Ok(HeatMaps {
            dir: dir.to_path_buf(),
            naming,
            summary: HeatSummary {
                page: 1,
                stages,
                verdicts: classes.iter().map(|c| (c.clone(), 0)).collect(),
                ..HeatSummary::default()
            },
            classes,
            stage_names,
            first: None,
            rows: String::new(),
            count: 0,
            written: 0,
        })
    }

    /// Draws the maps of a chunk's verdicts, by the stage that gave each, and names the pictures in them.
    pub(super) fn draw(
        &mut self,
        gpu: &Gpu,
        cascade: &Cascade,
        stages: &mut [Stage],
        images: &[Image],
        verdicts: &mut [Verdict],
    ) -> Result<()> {
        let mut maps: Vec<Option<Explanation>> = vec![None; images.len()];
        for (s, stage) in stages.iter_mut().enumerate() {
            if interrupt::requested() {
                return Err(Error::Interrupted(String::new()));
            }
            let places: Vec<usize> = (0..images.len()).filter(|i| verdicts[*i].last().0 == s).collect();
            let chosen: Vec<&Image> = places.iter().map(|i| &images[*i]).collect();
            let targets: Vec<usize> = places.iter().map(|i| verdicts[*i].last().1.class).collect();
            for (i, map) in places.into_iter().zip(stage.maps(gpu, &chosen, &targets)?) {
                maps[i] = Some(map);
            }
        }
        let frames: Vec<usize> = stages.iter().map(|s| s.frame).collect();
        let this = &*self;
        let drawn: Vec<(HeatRow, String)> = images
            .par_iter()
            .zip(&maps)
            .zip(&*verdicts)
            .map(|((image, map), verdict)| this.picture(cascade, &frames, image, map.as_ref(), verdict))
            .collect::<Result<_>>()?;
        self.written += drawn.len();
        for ((row, html), verdict) in drawn.into_iter().zip(verdicts) {
            verdict.heat_map = Some(row.panel.clone());
            self.add(&row, html)?;
        }
        Ok(())
    }

    /// Writes an image's panel; its row, and that as HTML.
    fn picture(
        &self,
        cascade: &Cascade,
        frames: &[usize],
        image: &Image,
        map: Option<&Explanation>,
        verdict: &Verdict,
    ) -> Result<(HeatRow, String)> {
        let map = map.ok_or_else(|| Error::Internal("a verdict without a map".into()))?;
        let (last, scores) = verdict.last();
        let models: Vec<&Model> = cascade.models().collect();
        let side = models[last].side;
        let plane = &image.decoded.planes[frames[last]];
        let sha256 = &image.decoded.sha256;
        let panel = format!("{}.png", self.naming.stem(image.number, image.path, sha256));
        let mut caption = self.naming.shown(image.path).map_or(String::new(), |name| format!("{name}: "));
        caption += &format!("verdict {}, {}", verdict.class, in_words(scores.highest()));
        if last > 0 {
            let before = &cascade.first.classes[verdict.first.class];
            caption += &format!(" (stage 2; stage 1: {before}, {})", in_words(verdict.first.highest()));
        }
        if map.is_empty() {
            caption += "; the map is empty: Grad-CAM finds nothing that speaks for this class";
        }
        caption += &format!(". {DISCLAIMER}");
        write_atomic(&self.dir.join(&panel), &map.panel(plane, side, None, &Marks::default(), &caption)?)?;
        let stage = |s: usize, scores: &Scores| StageBars {
            name: self.stage_names[s].clone(),
            bars: models[s].classes.iter().cloned().zip(scores.probabilities.iter().copied()).collect(),
            best: scores.class,
        };
        let mut stages = vec![stage(0, &verdict.first)];
        stages.extend(verdict.second.as_ref().map(|(t, scores)| stage(t + 1, scores)));
        let picture = |rgb: &[u8]| {
            RgbImage::from_raw(side as u32, side as u32, rgb.to_vec())
                .ok_or_else(|| Error::Internal(format!("a map of {} bytes for a side of {side}", rgb.len())))
        };
        let row = HeatRow {
            number: image.number,
            name: self.naming.label(image.path, sha256),
            original: gray_png(&gray(plane), side, side)?,
            side,
            map: if map.is_empty() { None } else { Some(png_bytes(&picture(&map.rgb)?)?) },
            stages,
            panel,
        };
        let html = row.html();
        Ok((row, html))
    }

    /// Adds a row; a page that is full is written, the first one kept for the summary.
    fn add(&mut self, row: &HeatRow, html: String) -> Result<()> {
        if self.count == ROWS || (self.count > 0 && self.rows.len() + html.len() > BYTES) {
            self.turn(true)?;
        }
        self.rows += &html;
        self.count += 1;
        self.summary.images += 1;
        self.summary.empty += usize::from(row.map.is_none());
        if let Some(place) = self.classes.iter().position(|c| c == row.verdict()) {
            self.summary.verdicts[place].1 += 1;
        }
        Ok(())
    }

    /// Ends the page that grows.
    fn turn(&mut self, more: bool) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.count = 0;
        if self.summary.page == 1 {
            self.first = Some(rows);
        } else {
            let summary = HeatSummary { more, ..self.summary.clone() };
            self.write(&summary, &rows)?;
        }
        self.summary.page += 1;
        Ok(())
    }

    fn write(&self, summary: &HeatSummary, rows: &str) -> Result<()> {
        let program = concat!("radiograd ", env!("CARGO_PKG_VERSION"));
        write_atomic(&self.dir.join(file_name(summary.page)), render(summary, rows, program).as_bytes())
    }

    /// Writes the pages that wait; the path of the first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self, outcome: &Outcome) -> Result<PathBuf> {
        self.turn(false)?;
        self.summary.skipped = outcome.skipped.len();
        self.summary.verdicts.retain(|(_, n)| *n > 0);
        // Two turns or more: there is a second page.
        let more = self.summary.page > 2;
        let rows = self.first.take().unwrap_or_default();
        let summary = HeatSummary { page: 1, more, ..self.summary.clone() };
        self.write(&summary, &rows)?;
        Ok(self.dir.join(file_name(1)))
    }

    /// An interruption, with what is left of the work.
    pub(super) fn and_left(&self, error: Error) -> Error {
        let (n, dir) = (self.written, self.dir.display());
        interrupted(error, &format!("{n} panels are in {dir}, no page and no table is written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::testing;

    #[test]
    fn thousands_of_images_are_on_several_pages() {
        let dir = tempfile::tempdir().unwrap();
        let model = testing::model(dir.path());
        let out = dir.path().join("out");
        for (images, pages) in [(1, 1), (ROWS, 1), (ROWS + 1, 2), (2 * ROWS + 5, 3)] {
            let cascade = Cascade::of(model.clone());
            let mut heat = HeatMaps::create(&out, Naming::new(&[], images, false), &cascade, &[]).unwrap();
            for number in 1..=images {
                let bars = vec![("normal".to_string(), 0.2), ("viral".into(), 0.8)];
                let row = HeatRow {
                    number,
                    name: format!("img-{number}-"),
                    original: vec![],
                    side: 16,
                    map: (number > 1).then(Vec::new),
                    stages: vec![StageBars { name: "stage 1".into(), bars, best: 1 }],
                    panel: "x.png".into(),
                };
                let html = row.html();
                heat.add(&row, html).unwrap();
            }
            let index = heat.finish(&Outcome { predicted: images, ..Outcome::default() }).unwrap();
            assert_eq!(std::fs::read_dir(&out).unwrap().count(), pages, "{images}");
            let mut seen = 0;
            for page in 1..=pages {
                let text = std::fs::read_to_string(out.join(file_name(page))).unwrap();
                assert_eq!(text.contains("Next page"), page < pages, "{images}: page {page} of {pages}");
                assert_eq!(text.contains("Previous page"), page > 1);
                seen += text.matches("class=\"case\"").count();
            }
            assert_eq!(seen, images);
            let text = std::fs::read_to_string(&index).unwrap();
            assert!(text.contains(&format!("1 of {images} heat maps are empty")), "one map is empty");
            let row = text.contains("<td>viral</td>") && !text.contains("<td>normal</td>");
            assert!(row, "verdicts that no image has are left out");
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
}
