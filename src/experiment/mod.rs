//! An experiment: images with classes ([`Task`]), divided into parts, and a training in one cell of a paper's table
//! ([`Cell`]); trained, tested, explained, and asked what it reaches without lungs ([`shortcut`]).
//!
//! Read in this order: [`task`] (the images), [`cell`] (what is trained and how), [`train`] (one training: the network, its
//! weights, the frozen base's features), [`run`] (all folds, kept on disk so that a run that was stopped goes on),
//! [`heat`] (where the network looked), [`shortcut`], [`dependence`] (on age and sex), [`result`] (figures and the report), [`settings`] (flags, environment and
//! file), [`program`] (`radiograd train`).

pub mod cell;
pub mod dependence;
mod files;
pub mod heat;
pub mod program;
pub mod result;
pub mod run;
pub mod settings;
pub mod shortcut;
pub mod task;
#[cfg(test)]
mod tests;
pub mod train;

pub use cell::{Cell, Freeze, Weighting};
pub use program::Program;
pub use result::{CellResult, Figure, Findings, Report, Row};
pub use run::{FoldRecord, Outcome, Run, RunOptions};
pub use settings::Settings;
pub use shortcut::{Probe, Shortcuts};
pub use task::{Facts, Synthetic, Task, TaskOptions};
