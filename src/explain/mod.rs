//! Explaining a classifier: class activation maps at any layer, and where their heat lies.

mod gradcam;
pub mod heat;
mod layer;
pub(crate) mod picture;

pub use crate::ops::CamMethod;
pub use gradcam::{CamOptions, Explanation, GradCam};
pub use heat::HeatShares;
pub use layer::activation;
