//! From a weights file and image files to a table of probabilities: [`Model`] is the file with its network, [`run`] goes through
//! thousands of images a chunk at a time, [`Table`] writes CSV or JSON.

mod inputs;
mod model;
mod stream;
mod table;

pub use inputs::images;
pub use model::{Model, ModelOptions};
pub use stream::{Outcome, RunOptions, run};
pub use table::{Table, TableFormat};
