//! Explaining a classifier: Grad-CAM.

mod gradcam;

pub use gradcam::{Explanation, GradCam};
