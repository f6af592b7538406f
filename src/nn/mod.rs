//! Networks' parts: parameters, layers, optimizers, schedules.

pub mod layers;
pub mod optim;
pub mod params;

pub use layers::{BatchNormOptions, DROPOUT_INPUT, Layers, Trainable};
pub use optim::{Convention, Optimizer, OptimizerState, Rule, Schedule};
pub use params::{Param, ParamStore};
