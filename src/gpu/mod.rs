//! The GPU layer: adapters, devices, and kernels from WGSL files. Knows nothing of graphs.

pub mod adapter;
mod device;
pub mod half;
pub mod kernel;
mod pipelines;
mod storage;
pub mod tuning;
pub mod wgsl;

pub use adapter::AdapterChoice;
pub use device::{Cutting, Gpu, GpuOptions};
pub use kernel::{KernelKey, Reflection, Word};
pub use storage::Storage;
pub use wgsl::Source;
