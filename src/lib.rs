//! radiograd: placeholder tour
#![warn(missing_docs)]

mod error;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod nn;
pub mod ops;
pub mod plan;
pub mod selftest;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuOptions};
pub use graph::{Graph, Shape, Tensor};
pub use plan::{Feed, Plan, PlanSpec, Weights};
