//! Where a network looked: Grad-CAM of test images, the share of heat in the lungs and in the lesion where there are masks,
//! at the border and in the corners always, and panels for people.

use super::task::Task;
use super::train::{Context, Trained};
use crate::error::{Error, Result};
use crate::eval::cam_energy::{CamImage, CamScores, CamSummary, energy_inside, peak_inside};
use crate::explain::heat::{border, corners, innermost};
use crate::explain::{CamOptions, GradCam};
use crate::report::gallery::GalleryItem;
use crate::report::overlay::Marks;
use crate::train::class_of;
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// The heat of one image: (share inside, share of a map without preference) by zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    /// True class.
    pub class: usize,
    /// What was measured, by zone: `lungs`, `lesion`, `border`, `corners`.
    pub zones: Vec<Zone>,
}

/// Heat of one image in one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// Its name.
    pub zone: String,
    /// Share of the heat inside; `None` for a map that is 0 everywhere.
    pub inside: Option<f64>,
    /// The same of a map without preference, over the part of the image that the map covers.
    pub uniform: f64,
    /// Whether the map's maximum lies inside.
    pub peak: Option<bool>,
}

/// A panel and its caption, as kept on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// File below the fold's folder.
    pub file: String,
    /// True class.
    pub truth: String,
    /// Predicted class, which the map explains.
    pub predicted: String,
    /// Its probability.
    pub probability: f64,
    /// The PNG file.
    #[serde(skip)]
    pub png: Vec<u8>,
}

impl Panel {
    /// As reports show it.
    pub fn item(&self) -> GalleryItem {
        GalleryItem {
            truth: self.truth.clone(),
            predicted: self.predicted.clone(),
            probability: self.probability,
            explained: self.predicted.clone(),
            png: self.png.clone(),
            energy_inside: None,
            uniform_share: None,
        }
    }
}

/// How much is explained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Test images of a fold whose heat is measured, taken in turn from the classes; all where there are fewer.
    pub images: usize,
    /// Of these, panels a class.
    pub panels: usize,
    /// Outlines the innermost contour of the heat in red (Balvinsson) instead of a lesion.
    pub contour: bool,
}

/// The first of each class in turn, `count` in all, in the order of `items`.
fn in_turn(items: &[(usize, usize)], classes: usize, count: usize) -> Vec<usize> {
    let mut by: Vec<Vec<usize>> = vec![Vec::new(); classes];
    items.iter().enumerate().rev().for_each(|(at, item)| by[item.1].push(at));
    let mut chosen = Vec::new();
    while chosen.len() < count && by.iter().any(|b| !b.is_empty()) {
        chosen.extend(by.iter_mut().filter_map(Vec::pop));
    }
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}

/// Explains the predicted class of test images.
///
/// # Errors
/// As [`GradCam::new`] and [`GradCam::explain`].
pub fn explain(
    context: &Context,
    trained: &Trained,
    task: &Task,
    test: &[usize],
    extent: Extent,
) -> Result<(Vec<Heat>, Vec<Panel>)> {
    let (side, classes) = (task.side, task.classes.len());
    let all = task.items(test);
    let chosen = in_turn(&all, classes, extent.images);
    if chosen.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let items: Vec<(usize, usize)> = chosen.iter().map(|at| all[*at]).collect();
    let said: Vec<usize> = chosen.iter().map(|at| class_of(&trained.logits[*at])).collect();
    let samples = task.samples(&task.planes, &items);
    let weights = Rc::new(trained.fit.params.upload(context.gpu)?);
    let options = CamOptions::new(side, trained.outputs).batch(items.len().min(8)).normalize(trained.scaling.split().0);
    let mut cam = GradCam::new(context.gpu, &trained.network, &weights, &options)?;
    let maps = cam.explain(context.gpu, &samples, &said)?;
    let uniform = cam.uniform();
    let (edge, corner) = (border(side), corners(side));
    let mut shown = vec![0; classes];
    let (mut heats, mut panels) = (Vec::new(), Vec::new());
    for (e, item) in maps.iter().zip(&items) {
        let (image, class) = *item;
        let mut zones = Vec::new();
        let mut measure = |zone: &str, mask: &[u8]| {
            let share = energy_inside(&uniform, mask).unwrap_or(0.0);
            // A normal image has an empty lesion: nothing to hit.
            if share > 0.0 {
                let inside = energy_inside(&e.map, mask);
                zones.push(Zone { zone: zone.into(), inside, uniform: share, peak: peak_inside(&e.map, mask) });
            }
        };
        if let Some(m) = &task.masks {
            measure("lungs", &m.lungs[image]);
            measure("lesion", &m.lesions[image]);
        }
        measure("border", &edge);
        measure("corners", &corner);
        heats.push(Heat { class, zones });
        if shown[class] < extent.panels {
            shown[class] += 1;
            let lesion = task.masks.as_ref().map(|m| m.lesions[image].as_slice());
            let (truth, said) = (&task.classes[class], &task.classes[e.target]);
            let png = match extent.contour {
                false => e.picture(&samples, *item, &task.classes, lesion)?,
                true => {
                    let contour = innermost(&e.map);
                    let marks = Marks { contour: Some(&contour), ..Marks::default() };
                    let caption = format!("true {truth}, predicted {said}, p = {:.2}", e.probability());
                    e.panel(&task.planes[image * side * side..][..side * side], side, None, &marks, &caption)?
                }
            };
            panels.push(Panel {
                file: format!("cam/{}-{}.png", file_name(&task.classes[class]), shown[class]),
                truth: truth.clone(),
                predicted: said.clone(),
                probability: e.probability(),
                png,
            });
        }
    }
    Ok((heats, panels))
}

/// A class name as part of a file's name.
pub fn file_name(class: &str) -> String {
    class.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// The heat in each zone that was measured, over all images.
///
/// # Errors
/// [`Error::Data`] for a class that is none of `classes`.
pub fn summarise(heats: &[Heat], classes: &[String]) -> Result<Vec<CamSummary>> {
    let mut out = Vec::new();
    for zone in ["lungs", "lesion", "border", "corners"] {
        let one = |h: &Heat| {
            let z = h.zones.iter().find(|z| z.zone == zone)?;
            Some(CamImage { class: h.class, energy: z.inside, uniform: z.uniform, peak: z.peak })
        };
        let images: Vec<CamImage> = heats.iter().filter_map(one).collect();
        out.extend(CamSummary::of(zone, "predicted class", classes, &images)?);
    }
    Ok(out)
}

/// The figures of a zone over all classes.
pub fn of_zone<'s>(summaries: &'s [CamSummary], zone: &str) -> Option<&'s CamScores> {
    summaries.iter().find(|s| s.mask == zone).map(|s| &s.all)
}

impl Panel {
    /// Reads the picture that belongs to a record.
    pub(super) fn load(&mut self, folder: &std::path::Path) -> Result<()> {
        let path = folder.join(&self.file);
        self.png = std::fs::read(&path).map_err(Error::io(&path, "cannot read"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_taken_in_turn() {
        let items = [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 1)];
        assert_eq!(in_turn(&items, 3, 4), [0, 1, 3, 4]);
        assert_eq!(in_turn(&items, 3, 100), [0, 1, 2, 3, 4, 5]);
        assert!(in_turn(&[], 3, 4).is_empty());
    }
}
