//! radiograd: a GPU tensor engine in Rust and hand-written WGSL, just large enough to train and to explain the
//! convolutional networks that read chest X-rays. Research software, not a medical device.
//!
//! # The tour, in reading order
//!
//! 1. [`gpu`]: an adapter becomes a [`Gpu`]; a `.wgsl` file becomes a kernel. The binding rule and the fields of each
//!    kernel's `Params` are read off the shader by reflection, so nothing has to be kept in step by hand.
//! 2. [`graph`]: a [`Graph`] is recorded once. [`Tensor`] is a `Copy` handle with one method an operation; shapes are
//!    checked when recorded and are always the world's (N C H W). `graph/layout.rs` is the one map between the world and
//!    the engine's memory (channels last, channels rounded up to four). `graph/autograd.rs` records gradients as further
//!    nodes; `graph/reference.rs` runs the same graph in f64.
//! 3. [`ops`]: one file a family: equation, shape rule, f64 reference, kernel launches, gradient.
//! 4. [`plan`]: a graph becomes a [`Plan`]: fused nodes, memory by lifetime, a list of dispatches that is replayed each
//!    step. The memory is known before anything is allocated.
//! 5. [`nn`], [`models`]: layers, initialisation, optimizers, and the networks of the papers.
//! 6. [`data`], [`train`], [`eval`], [`explain`], [`report`], [`weights`]: from image files to figures with intervals,
//!    heat maps and a page that shows them.
//! 7. [`predict`]: from a weights file and image files to a table of probabilities, heat maps and a page; cascades.
//! 8. [`experiment`]: images, a division and a network become a trained, tested and explained cell with a report;
//!    [`papers`]: the five papers as tables of such cells.
//!
//! ```no_run
//! use radiograd::{Feed, Gpu, Graph, Plan, PlanSpec, Shape};
//! use radiograd::nn::{Layers, ParamStore};
//! use radiograd::ops::{Geometry, Window};
//! use std::rc::Rc;
//!
//! # fn main() -> radiograd::Result<()> {
//! let gpu = Gpu::new()?;
//! let g = Graph::new();
//! let x = g.input("images", Shape::image(8, 1, 32, 32));
//! let layers = Layers::default();
//! let y = layers.conv2d(x, "conv", 16, [3, 3], Geometry::same(3, 3)).relu().max_pool(Window::square(2));
//! let logits = layers.dense(y, "fc", 2);
//! let weights = Rc::new(ParamStore::init(&g, 1).upload(&gpu)?);
//! let spec = PlanSpec { outputs: vec![logits.softmax()], ..Default::default() };
//! let mut plan = Plan::compile(&gpu, &g, &weights, &spec)?;
//! println!("{}", plan.memory());
//! let probabilities = plan.run(&gpu, &[(x, Feed::F32(&vec![0.5; 8 * 32 * 32]))])?;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod data;
pub mod error;
pub mod eval;
pub mod experiment;
pub mod explain;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod names;
pub mod nn;
pub mod ops;
pub mod papers;
pub mod plan;
pub mod predict;
pub mod report;
pub mod selftest;
pub mod talk;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuOptions, Storage};
pub use graph::{Graph, Shape, Tensor};
pub use plan::{Feed, Plan, PlanSpec, Weights};
pub use talk::Talk;
