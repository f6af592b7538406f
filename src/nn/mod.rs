//! Networks' parts: parameters, layers, optimizers, schedules.

pub mod layers;
pub mod optim;
pub mod params;
pub mod schedule;

pub use layers::{BatchNormOptions, DROPOUT_INPUT, Layers, Trainable};
pub use optim::{Convention, Optimizer, OptimizerState, Rule};
pub use params::{Param, ParamStore};
pub use schedule::Schedule;
