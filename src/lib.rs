//! radiograd: placeholder tour
#![warn(missing_docs)]

pub mod data;
pub mod error;
pub mod eval;
pub mod explain;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod nn;
pub mod ops;
pub mod papers;
pub mod plan;
pub mod report;
pub mod selftest;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuOptions};
pub use graph::{Graph, Shape, Tensor};
pub use plan::{Feed, Plan, PlanSpec, Weights};
