//! Explaining a classifier: class activation maps at any layer.

mod gradcam;
mod layer;
mod picture;

pub use crate::ops::CamMethod;
pub use gradcam::{CamOptions, Explanation, GradCam};
pub use layer::activation;
