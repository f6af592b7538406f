//! Training and prediction of image classifiers: batches, epochs, the best weights, progress, interruption.

mod augment;
mod batches;
mod diagnose;
pub mod events;
mod features;
#[cfg(test)]
mod features_tests;
mod fit;
pub mod interrupt;
mod micro;
#[cfg(test)]
mod micro_tests;
#[cfg(test)]
mod nan_tests;
mod options;
#[cfg(test)]
mod options_tests;
mod predict;
pub mod progress;
mod resume;
#[cfg(test)]
mod resume_tests;
pub mod run_folder;
mod step;
mod stopping;
mod tally;

pub use augment::{augment_once, augmented};
pub use batches::{Normalize, Samples};
pub use events::Observer;
pub use features::{FeatureOptions, Features, features};
pub use fit::{Fit, balanced, fit};
pub use micro::MicroBatch;
pub use options::{FitOptions, Loss};
pub use predict::{Predictor, accuracy_and_loss, argmax, class_of, probabilities};
pub use resume::CheckpointOptions;
pub use stopping::{EarlyStopping, Ended, Keep, Monitor};
