//! Networks' parts: parameters, layers, optimizers, schedules.

pub mod layers;
pub mod optim;
pub mod params;

pub use layers::{BatchNormOptions, Layers, Trainable};
pub use optim::{Convention, Optimizer, Rule, Schedule};
pub use params::{Param, ParamStore};
