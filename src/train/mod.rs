//! Training and prediction of image classifiers: batches, epochs, the best weights, progress, interruption.

mod augment;
mod batches;
mod features;
#[cfg(test)]
mod features_tests;
mod fit;
pub mod interrupt;
mod micro;
#[cfg(test)]
mod micro_tests;
mod predict;
pub mod progress;
mod resume;
#[cfg(test)]
mod resume_tests;
mod step;
mod tally;

pub use augment::{augment_once, augmented};
pub use batches::{Normalize, Samples};
pub use features::{FeatureOptions, Features, features};
pub use fit::{Fit, FitOptions, balanced, fit};
pub use micro::MicroBatch;
pub use predict::{Predictor, accuracy_and_loss, argmax, probabilities};
pub use resume::CheckpointOptions;
