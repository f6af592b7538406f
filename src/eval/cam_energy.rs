//! How much of a Grad-CAM map lies inside a mask (a lesion, the lungs), beside what a uniform map would have there.

use crate::error::{Error, Result};
use crate::eval::interval::{Interval, student_t};
use serde::{Deserialize, Serialize};

/// Share of the map's energy (sum of its values, which are >= 0 after Grad-CAM's ReLU) on the pixels where `mask` is
/// not 0. `map` and `mask` are of one size, H×W. `None` when the map sums to 0 (Grad-CAM found no evidence for the
/// class: there is no share to speak of) or holds a value that is negative or not finite.
///
/// # Panics
/// When the lengths differ.
#[track_caller]
pub fn energy_inside(map: &[f32], mask: &[u8]) -> Option<f64> {
    assert_eq!(map.len(), mask.len(), "energy_inside: map of {} pixels, mask of {}", map.len(), mask.len());
    if map.iter().any(|v| !v.is_finite() || *v < 0.0) {
        return None;
    }
    let total: f64 = map.iter().map(|&v| f64::from(v)).sum();
    let inside: f64 = map.iter().zip(mask).filter(|(_, m)| **m != 0).map(|(&v, _)| f64::from(v)).sum();
    (total > 0.0).then(|| inside / total)
}

/// Share of the image that the mask covers: what a uniform map would have inside. `None` for an empty image.
pub fn uniform_share(mask: &[u8]) -> Option<f64> {
    (!mask.is_empty()).then(|| mask.iter().filter(|&&m| m != 0).count() as f64 / mask.len() as f64)
}

/// Pointing game (Zhang et al. 2018, <https://doi.org/10.1007/s11263-017-1059-x>, without their tolerance margin):
/// whether the map's maximum lies inside the mask; of several equal maxima the first counts. `None` for a map that is
/// 0 everywhere or not finite.
///
/// # Panics
/// When the lengths differ.
#[track_caller]
pub fn peak_inside(map: &[f32], mask: &[u8]) -> Option<bool> {
    assert_eq!(map.len(), mask.len(), "peak_inside: map of {} pixels, mask of {}", map.len(), mask.len());
    if map.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let first_larger = |best: (f32, u8), (&v, &m): (&f32, &u8)| if v > best.0 { (v, m) } else { best };
    let (value, inside) = map.iter().zip(mask).fold((0.0, 0), first_larger);
    (value > 0.0).then_some(inside != 0)
}

/// What is kept of one image's map for the summary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CamImage {
    /// True class of the image (index).
    pub class: usize,
    /// [`energy_inside`] of its map.
    pub energy: Option<f64>,
    /// What a map without any preference would have inside: [`uniform_share`] of its mask, or [`energy_inside`] of a map of
    /// ones where the map covers a part of the image only.
    pub uniform: f64,
    /// [`peak_inside`] of its map.
    pub peak: Option<bool>,
}

/// Energy inside the masks over some images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CamScores {
    /// Whose images these are: a class name, or "all".
    pub class: String,
    /// Images with a mask that is not empty.
    pub images: usize,
    /// Of these, maps that are 0 everywhere or unusable; left out of the means below.
    pub zero_maps: usize,
    /// Mean share of energy inside the mask.
    pub energy_inside: Option<f64>,
    /// t interval of that mean over images.
    pub energy_interval: Option<Interval>,
    /// The mean of what a map without any preference would have inside (over the same images).
    pub uniform_share: Option<f64>,
    /// Share of maps whose maximum lies inside the mask.
    pub peak_inside: Option<f64>,
}

/// Energy inside the masks per class and over all, with a note on which masks these are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CamSummary {
    /// What the masks show, as in "lesion".
    pub mask: String,
    /// The class whose score was explained, as in "predicted class".
    pub target: String,
    /// Classes that have such masks.
    pub per_class: Vec<CamScores>,
    /// All of them together.
    pub all: CamScores,
}

impl CamSummary {
    /// Summary of `images`; an image whose mask is empty (`uniform` 0) has nothing to hit and is left out. `None` when
    /// no image is left.
    ///
    /// # Errors
    /// [`Error::Data`] when a class index is not below the number of classes.
    pub fn of(mask: &str, target: &str, classes: &[String], images: &[CamImage]) -> Result<Option<CamSummary>> {
        if let Some(bad) = images.iter().find(|i| i.class >= classes.len()) {
            return Err(Error::Data(format!("CAM summary: class {} of {} classes", bad.class, classes.len())));
        }
        let masked: Vec<CamImage> = images.iter().copied().filter(|i| i.uniform > 0.0).collect();
        if masked.is_empty() {
            return Ok(None);
        }
        let of_class = |(k, name): (usize, &String)| {
            let own: Vec<CamImage> = masked.iter().copied().filter(|i| i.class == k).collect();
            (!own.is_empty()).then(|| scores(name, &own))
        };
        let per_class = classes.iter().enumerate().filter_map(of_class).collect();
        Ok(Some(CamSummary { mask: mask.into(), target: target.into(), per_class, all: scores("all", &masked) }))
    }
}

fn scores(class: &str, images: &[CamImage]) -> CamScores {
    let usable: Vec<(f64, f64)> = images.iter().filter_map(|i| Some((i.energy?, i.uniform))).collect();
    let energies: Vec<f64> = usable.iter().map(|u| u.0).collect();
    let uniforms: Vec<f64> = usable.iter().map(|u| u.1).collect();
    let peaks: Vec<f64> = images.iter().filter_map(|i| i.peak).map(|hit| f64::from(u8::from(hit))).collect();
    CamScores {
        class: class.into(),
        images: images.len(),
        zero_maps: images.len() - usable.len(),
        energy_inside: mean(&energies),
        energy_interval: student_t(&energies, 0.95),
        uniform_share: mean(&uniforms),
        peak_inside: mean(&peaks),
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_of_small_maps() {
        let mask = [0, 255, 0, 1];
        assert_eq!(energy_inside(&[1.0, 2.0, 3.0, 4.0], &mask), Some(0.6));
        assert_eq!(energy_inside(&[0.0; 4], &mask), None, "an all-zero map has no share");
        assert_eq!(energy_inside(&[1.0, f32::NAN, 0.0, 0.0], &mask), None);
        assert_eq!(energy_inside(&[1.0, -1.0, 1.0, 0.0], &mask), None, "a map without ReLU is not an energy");
        assert_eq!(uniform_share(&mask), Some(0.5));
        assert_eq!(uniform_share(&[]), None);
        assert_eq!(energy_inside(&[0.25; 4], &mask), uniform_share(&mask));
    }

    #[test]
    fn peak_is_the_first_maximum() {
        assert_eq!(peak_inside(&[0.0, 5.0, 5.0], &[0, 1, 0]), Some(true));
        assert_eq!(peak_inside(&[0.0, 5.0, 5.0], &[0, 0, 1]), Some(false));
        assert_eq!(peak_inside(&[0.0, 0.0, 0.0], &[1, 1, 1]), None);
    }

    #[test]
    fn summary_counts_zero_maps_and_leaves_out_empty_masks() {
        let classes = ["normal".to_string(), "COVID-19".to_string()];
        let image = |class, energy, uniform| CamImage { class, energy, uniform, peak: energy.map(|e| e > 0.5) };
        let images =
            [image(0, Some(0.0), 0.0), image(1, Some(0.4), 0.1), image(1, Some(0.6), 0.3), image(1, None, 0.5)];
        let s = CamSummary::of("lesion", "predicted class", &classes, &images).unwrap().unwrap();
        assert_eq!(s.per_class.len(), 1);
        assert_eq!((s.all.images, s.all.zero_maps), (3, 1));
        assert!((s.all.energy_inside.unwrap() - 0.5).abs() < 1e-12);
        assert!((s.all.uniform_share.unwrap() - 0.2).abs() < 1e-12, "over the maps that have a share");
        assert_eq!(s.all.peak_inside, Some(0.5));
        assert_eq!(CamSummary::of("lesion", "x", &classes, &images[..1]).unwrap(), None);
        assert!(CamSummary::of("lesion", "x", &classes, &[image(2, None, 0.5)]).is_err());
    }
}
