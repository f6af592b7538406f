//! How the figures of an assessment or a comparison get their intervals.

use crate::error::{Error, Result};
use crate::eval::interval::Proportion;
use serde::Serialize;

/// How figures get their intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AssessOptions {
    /// Confidence level of every interval.
    pub level: f64,
    /// Resamples of the patient-clustered bootstrap; 0 for none.
    pub bootstrap: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Interval of proportions.
    pub proportion: Proportion,
    /// Bins of the calibration error.
    pub bins: usize,
}

impl Default for AssessOptions {
    fn default() -> AssessOptions {
        AssessOptions { level: 0.95, bootstrap: 2000, seed: 1, proportion: Proportion::Wilson, bins: 15 }
    }
}

impl AssessOptions {
    /// That intervals can be made with them.
    ///
    /// # Errors
    /// [`Error::Usage`] for a level outside (0, 1) or no bins.
    pub fn validate(&self) -> Result<()> {
        match (self.level > 0.0 && self.level < 1.0, self.bins) {
            (false, _) => Err(Error::Usage(format!("confidence level {}: between 0 and 1 is needed", self.level))),
            (true, 0) => Err(Error::Usage("calibration needs one bin or more".into())),
            _ => Ok(()),
        }
    }
}
