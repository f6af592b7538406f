//! Figures about predictions, each with an interval whose method is named.
//!
//! [`predictions`] is the file that all starts from. [`Assessment`] holds every figure of one set: [`confusion`],
//! [`rates`] with [`family`]-wise intervals, [`roc`] (DeLong) and average precision over a [`ranking`], [`calibration`],
//! and the patient-clustered [`bootstrap`]; [`regression`] says what being right depends on ([`design`], [`logistic`]).
//! [`Comparison`] is of two sets ([`mcnemar`], paired DeLong). Beside them: the energy of Grad-CAM maps inside lesions, how
//! far the source of an image gives its class away, and `metrics.json` of a run.
//!
//! Pure functions of slices and plain structs: nothing here knows the engine, so that every figure can be checked
//! against scikit-learn, SciPy and statsmodels (values stored in the tests).

pub mod assessment;
mod assessment_notes;
mod assessment_text;
pub mod bootstrap;
pub mod calibration;
pub mod cam_energy;
pub mod comparison;
pub mod confusion;
pub mod cross_table;
pub mod design;
pub mod family;
pub mod folds;
pub mod interval;
pub mod json;
mod linear;
pub mod logistic;
pub mod mcnemar;
pub mod metrics_file;
pub mod options;
pub mod predictions;
pub mod ranking;
pub mod rates;
pub mod regression;
mod resample;
pub mod roc;
#[cfg(test)]
pub(crate) mod testing;

pub use assessment::{AssessOptions, Assessment};
pub use cam_energy::{CamImage, CamScores, CamSummary, energy_inside, peak_inside, uniform_share};
pub use comparison::Comparison;
pub use confusion::{Averages, ClassScores, Confusion};
pub use cross_table::CrossTable;
pub use folds::{FoldMetrics, FoldTraining, Overall};
pub use interval::{Interval, Method, PairedDifference, clopper_pearson, paired_t, student_t, wilson};
pub use metrics_file::{DataSummary, Dropped, EpochRecord, History, Metrics, RunInfo, SplitKind, StageInfo, Status};
pub use predictions::{Prediction, Predictions};
