//! The explanation of one image as a picture for people.

use super::gradcam::Explanation;
use crate::error::{Error, Result};
use crate::ops::CamMethod;
use crate::report::overlay::{Marks, Panel, PanelStyle, marked, panel, png_bytes};
use crate::train::{Samples, probabilities};

impl Explanation {
    /// Probability of the explained class.
    pub fn probability(&self) -> f64 {
        probabilities(&self.logits)[self.target]
    }

    /// A PNG file of `plane`, the image [side × side] in [0, 1], the map in colours, and both over each other, with the caption
    /// below: a panel without any words of its own but those above the pictures.
    ///
    /// # Errors
    /// [`Error::Data`] when image, map, mask and contour are not of one size.
    pub fn panel(
        &self,
        plane: &[f32],
        side: usize,
        mask: Option<&[u8]>,
        marks: &Marks,
        caption: &str,
    ) -> Result<Vec<u8>> {
        let gray = gray(plane);
        let all = Panel { width: side, height: side, gray: &gray, map_rgb: &self.rgb, mask, caption };
        png_bytes(&marked(&all, &PanelStyle::default(), marks)?)
    }

    /// A PNG file: image `item` of `samples` (its number and class), the map in colours, and both over each other, with the
    /// class, what was explained (the predicted class) and its probability below. `mask`: an outline of so many pixels as the
    /// image has; none is drawn where it is empty.
    ///
    /// # Errors
    /// [`Error::Data`] when the image has more than one channel, is none of `samples`, or has another size than map or mask;
    /// or for a class without a name.
    pub fn picture(
        &self,
        samples: &Samples,
        (image, class): (usize, usize),
        classes: &[impl AsRef<str>],
        mask: Option<&[u8]>,
    ) -> Result<Vec<u8>> {
        let [channels, height, width] = samples.shape;
        let pixels = samples.data.chunks(height * width).nth(image).filter(|_| channels == 1);
        let name = |class: usize| classes.get(class).map(AsRef::as_ref);
        let (Some(pixels), Some(truth), Some(predicted)) = (pixels, name(class), name(self.target)) else {
            return Err(Error::Data(format!(
                "image {image} of class {class}, explained as class {}: there are {} classes and images {:?}",
                self.target,
                classes.len(),
                samples.shape
            )));
        };
        let gray = gray(pixels);
        let empty = if self.is_empty() { ", no evidence anywhere" } else { "" };
        let caption = format!("true {truth}, predicted {predicted}, p = {:.2}{empty}", self.probability());
        // A normal image has an empty mask: nothing to outline.
        let mask = mask.filter(|m| m.iter().any(|v| *v != 0));
        let all = Panel { width, height, gray: &gray, map_rgb: &self.rgb, mask, caption: &caption };
        png_bytes(&panel(&all, &PanelStyle::default())?)
    }
}

/// Values in [0, 1] as bytes.
pub(crate) fn gray(plane: &[f32]) -> Vec<u8> {
    plane.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
}

/// A method's name for readers.
pub(crate) fn title(method: CamMethod) -> &'static str {
    match method {
        CamMethod::GradCam => "Grad-CAM",
        CamMethod::GradCamPlusPlus => "Grad-CAM++",
        CamMethod::HiResCam => "HiResCAM",
        CamMethod::LayerCam => "LayerCAM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_its_image_and_names_its_classes() {
        let e = |logits: Vec<f32>, target| Explanation {
            target,
            logits,
            raw: vec![0.5; 4],
            map: vec![1.0; 16],
            peak: 0.5,
            rgb: vec![9; 48],
        };
        let data: Vec<f32> = (0..32).map(|i| i as f32 / 31.0).collect();
        let samples = Samples { data: &data, mirrored: None, shape: [1, 4, 4], items: &[] };
        let png = |image, class, names: &[&str]| e(vec![1.0, 3.0], 1).picture(&samples, (image, class), names, None);
        let (first, second) = (png(0, 0, &["a", "b"]).unwrap(), png(1, 0, &["a", "b"]).unwrap());
        assert!(first.starts_with(b"\x89PNG") && first != second);
        assert_ne!(first, png(0, 1, &["a", "b"]).unwrap(), "the caption has the true class");
        for (image, class, names) in [(2, 0, &["a", "b"][..]), (0, 2, &["a", "b"]), (0, 0, &["a"])] {
            assert_eq!(png(image, class, names).unwrap_err().exit_code(), 5);
        }
        let empty = e(vec![1.0, 3.0], 1).picture(&samples, (0, 0), &["a", "b"], Some(&[0; 16])).unwrap();
        assert_eq!(empty, first, "an empty mask has no outline");
        assert!((e(vec![1.0, 3.0], 1).probability() - 0.880797).abs() < 1e-5);
        let one = [0, 1].map(|target| e(vec![2.0], target).probability());
        assert!((one[0] + one[1] - 1.0).abs() < 1e-12 && one[1] > 0.88);
    }
}
