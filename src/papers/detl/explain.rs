//! Grad-CAM over the test images of each fold: panels for the report, and energy inside lesion masks where there are any.

use super::{Cohort, NORMALIZE};
use crate::data::detl::STAGE2_CLASSES;
use crate::data::split_file::Item;
use crate::error::Result;
use crate::eval::cam_energy::{CamImage, energy_inside, peak_inside};
use crate::explain::{CamOptions, Explanation, GradCam};
use crate::gpu::Gpu;
use crate::models::Network;
use crate::plan::Weights;
use crate::report::gallery::GalleryItem;
use crate::train::Samples;
use std::rc::Rc;

/// Panels a class in the gallery, over all folds.
const PER_CLASS: usize = 4;

/// What was explained so far.
#[derive(Default)]
pub(super) struct Explained {
    pub(super) gallery: Vec<GalleryItem>,
    pub(super) cams: Vec<CamImage>,
}

impl Explained {
    /// Explains the predicted class of `test`: all images where there are masks, else those for the gallery.
    #[allow(clippy::too_many_arguments)] // a fold is a device, a network, its weights, data and predictions
    pub(super) fn add(
        &mut self,
        gpu: &Gpu,
        network: &Network,
        weights: &Rc<Weights>,
        cohort: &Cohort,
        (side, batch): (usize, usize),
        test: &[Item],
        predicted: &[usize],
    ) -> Result<()> {
        let mut shown = [0; STAGE2_CLASSES.len()];
        for item in &self.gallery {
            if let Some(c) = STAGE2_CLASSES.iter().position(|n| *n == item.truth) {
                shown[c] += 1;
            }
        }
        // One panel a class and fold, the first test image of the class in fold order: not picked by how it looks.
        let mut wanted = vec![false; test.len()];
        for (class, shown) in shown.into_iter().enumerate() {
            if let (true, Some(at)) = (shown < PER_CLASS, test.iter().position(|i| i.1 == class)) {
                wanted[at] = true;
            }
        }
        let all = cohort.lesions.is_some();
        let chosen: Vec<usize> = (0..test.len()).filter(|i| all || wanted[*i]).collect();
        let items: Vec<Item> = chosen.iter().map(|i| test[*i]).collect();
        let targets: Vec<usize> = chosen.iter().map(|i| predicted[*i]).collect();
        let samples = Samples { data: &cohort.planes.data, mirrored: None, shape: [1, side, side], items: &items };
        let options = CamOptions::new(side, STAGE2_CLASSES.len()).batch(batch).normalize(NORMALIZE);
        let mut cam = GradCam::new(gpu, network, weights, &options)?;
        let maps = cam.explain(gpu, &samples, &targets)?;
        let uniform = cam.uniform();
        for ((at, (id, class)), e) in chosen.iter().zip(&items).zip(&maps) {
            let mask = cohort.lesions.as_ref().map(|l| l[*id].as_slice());
            if let Some(mask) = mask {
                self.cams.push(CamImage {
                    class: *class,
                    energy: energy_inside(&e.map, mask),
                    uniform: energy_inside(&uniform, mask).unwrap_or(0.0),
                    peak: peak_inside(&e.map, mask),
                });
            }
            if wanted[*at] {
                self.gallery.push(picture(&samples, (*id, *class), e, mask, &uniform)?);
            }
        }
        self.gallery.sort_by_key(|i| STAGE2_CLASSES.iter().position(|n| *n == i.truth));
        Ok(())
    }
}

fn picture(
    samples: &Samples,
    (id, class): Item,
    e: &Explanation,
    mask: Option<&[u8]>,
    uniform: &[f32],
) -> Result<GalleryItem> {
    let (truth, predicted) = (STAGE2_CLASSES[class], STAGE2_CLASSES[e.target]);
    // A normal image has an empty mask: nothing to hit.
    let mask = mask.filter(|m| m.iter().any(|v| *v != 0));
    Ok(GalleryItem {
        truth: truth.into(),
        predicted: predicted.into(),
        probability: e.probability(),
        explained: predicted.into(),
        png: e.picture(samples, (id, class), &STAGE2_CLASSES, mask)?,
        energy_inside: mask.map(|m| energy_inside(&e.map, m)),
        uniform_share: mask.and_then(|m| energy_inside(uniform, m)),
    })
}
