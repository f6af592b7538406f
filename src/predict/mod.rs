//! From a weights file and image files to tables, heat maps and a page: [`Model`] is the file with its network, [`run`] goes
//! through thousands of images a chunk at a time, [`Table`] writes CSV or JSON. [`Cascade`] sends the images of a class on to a
//! second network, [`HeatMaps`] shows what the stages looked at, [`explain`] draws the map of any class at any layer.

mod cascade;
mod explain;
mod explain_table;
mod heat_maps;
mod inputs;
mod masks;
mod model;
mod naming;
mod sink;
mod stage;
mod stream;
mod table;
#[cfg(test)]
mod testing;

pub use cascade::{Cascade, Then, Verdict};
pub use explain::{ExplainOptions, Explained, Explanations, Target, explain};
pub use explain_table::ExplainTable;
pub use heat_maps::HeatMaps;
pub use inputs::images;
pub use masks::Masks;
pub use model::{Model, ModelOptions};
pub use naming::Naming;
pub use stage::Scores;
pub use stream::{Outcome, RunOptions, run};
pub use table::{Table, TableFormat};
