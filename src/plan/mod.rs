//! From a graph to a list of dispatches with their memory: compiled once, then replayed every step.
//!
//! A step creates no buffer, no bind group and no pipeline: inputs go through a staging ring, results come back through a
//! ring of mapped buffers, and only [`IN_FLIGHT`] steps are under way at once.

mod build;
mod draft;
mod forecast;
pub mod fuse;
mod halves;
pub mod liveness;
mod loss_scale;
#[cfg(test)]
mod memory_tests;
mod moments;
mod profile;
pub mod recompute;
mod replay;
mod report;
pub mod slices;
mod target;
mod texels;
mod weights;
mod windows;

pub(crate) use draft::fused;
pub use draft::{kernels, update_kernels};
pub(crate) use forecast::with_largest_batch;
pub use forecast::{forecast, largest_batch};
pub use loss_scale::{LossScale, LossScaling, SCALE_STATE};
pub use moments::Moment;
pub use profile::Timing;
pub use replay::{Feed, StepResult};
pub use report::{MemoryReport, bytes};
pub use target::Target;
pub use weights::{Slot, Weights};

use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Graph, Operand, Recorder, Shape, Tensor, Value, ValueId};
use std::rc::Rc;

/// Steps that may be under way at once.
pub const IN_FLIGHT: usize = 3;

/// Numbers in an optimizer's hyperparameter input.
pub const HYPER: usize = 16;

/// An optimizer, as planning sees it: launches over the chunks of the arenas.
pub trait Update {
    /// For messages and profiles.
    fn name(&self) -> &'static str;
    /// How many moments it keeps for each parameter.
    fn moments(&self) -> usize;
    /// So many replays make one update: the gradient arena then holds the mean of their gradients.
    fn accumulation(&self) -> usize {
        1
    }
    /// Whether, and how, the gradients are those of a loss times a factor.
    fn scaling(&self) -> Option<LossScaling> {
        None
    }
    /// The launches of one update over the arenas' chunks of so many words each; `hyper` is [`HYPER`] numbers. `scale` are the
    /// factor of the loss and the [`SCALE_STATE`] numbers of its state, given if there is [`Update::scaling`].
    fn record(&self, k: &mut Recorder, hyper: Operand, scale: Option<[Operand; 2]>, chunks: &[usize]);
}

/// On which replays a dispatch runs, of the k that make an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// On all of them.
    Always,
    /// On the first: its gradients overwrite those of the last update.
    First,
    /// On all but the first: their gradients are added.
    Later,
    /// On the last: the update.
    Last,
}

impl When {
    /// Whether it runs on replay `index` of `of`, counted from 0.
    fn runs(self, index: u64, of: u64) -> bool {
        match self {
            When::Always => true,
            When::First => index == 0,
            When::Later => index > 0,
            When::Last => index + 1 == of,
        }
    }
}

/// What a plan computes.
#[derive(Default)]
pub struct PlanSpec<'a, 'g> {
    /// Values that are read back after each step.
    pub outputs: Vec<Tensor<'g>>,
    /// Parameters and their gradients, for `update`.
    pub gradients: Vec<(Tensor<'g>, Tensor<'g>)>,
    /// The optimizer that ends the step.
    pub update: Option<&'a dyn Update>,
    /// Its input of [`HYPER`] numbers.
    pub hyper: Option<Tensor<'g>>,
    /// With [`Update::scaling`]: the inputs that hold the factor of the loss, one number, and its state, [`SCALE_STATE`]
    /// numbers. Nobody feeds them: the plan starts them and the update writes them.
    pub scale: Option<[Tensor<'g>; 2]>,
    /// Parameters that do not train, and the value whose bits each holds after the step (running statistics). They are
    /// written last: whatever reads the parameter in this step sees its old value.
    pub assign: Vec<(Tensor<'g>, Tensor<'g>)>,
    /// Whether cheap results (batch norm and its ReLU) are computed again for the backward pass instead of being kept: the
    /// same numbers bit by bit, less memory, a little more time.
    pub recompute: bool,
}

/// A compiled plan: owns its activations, gradients and moments, shares the weights.
pub struct Plan {
    weights: Rc<Weights>,
    dispatches: Vec<Dispatch>,
    /// Each submit is a range of `dispatches`.
    submits: Vec<std::ops::Range<usize>>,
    /// Replays that make one update.
    accumulation: u64,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    assigns: Vec<Assign>,
    buffers: Buffers,
    /// The buffers of the loss' factor and its state.
    scaling: Option<[usize; 2]>,
    rings: replay::Rings,
    report: MemoryReport,
    listing: Vec<String>,
}

struct Dispatch {
    kernel: std::sync::Arc<crate::gpu::kernel::Kernel>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
    step: usize,
    /// Operands that are copied into textures first.
    fills: Vec<texels::Fill>,
    when: When,
}

struct Input {
    id: ValueId,
    value: Value,
    /// Byte offset in a staging buffer.
    offset: u64,
}

struct Output {
    shape: Shape,
    integer: bool,
    place: (usize, u64),
    offset: u64,
}

/// A copy into a parameter that ends the step.
struct Assign {
    place: (usize, u64),
    /// Chunk of the frozen parameters, and byte offset in it.
    to: (usize, u64),
    bytes: u64,
}

/// All memory that the plan owns.
struct Buffers {
    all: Vec<wgpu::Buffer>,
    inputs: Vec<usize>,
    slots: Vec<usize>,
    grads: Vec<usize>,
    /// The parts of `grads` that the plan writes: buffer, byte offset, bytes. Between them, and for parameters that the loss
    /// does not depend on, there are zeros.
    gradients: Vec<(usize, u64, u64)>,
    moments: Vec<Vec<usize>>,
    guards: Vec<(usize, u64, u64)>,
}

impl Plan {
    /// Chooses kernels, assigns memory, checks the budget, then builds every buffer, pipeline and bind group.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] before anything is allocated when a buffer exceeds the adapter's binding size or the whole exceeds
    /// the budget; [`crate::Error::Usage`] when the weights do not fit the graph.
    pub fn compile(gpu: &Gpu, graph: &Graph, weights: &Rc<Weights>, spec: &PlanSpec) -> Result<Plan> {
        let draft = draft::Draft::new(&Target::of(gpu), graph, &weights.layout, spec)?;
        build::build(gpu, weights.clone(), draft)
    }

    /// What memory the plan takes, by purpose.
    pub fn memory(&self) -> &MemoryReport {
        &self.report
    }

    /// The weights that it reads and updates.
    pub fn weights(&self) -> &Rc<Weights> {
        &self.weights
    }

    /// Whether this value is an input of the plan.
    pub fn reads(&self, input: ValueId) -> bool {
        self.inputs.iter().any(|i| i.id == input)
    }

    /// How many replays make one update of the weights (`Optimizer::with_accumulation`); the last of them updates.
    pub fn accumulation(&self) -> u64 {
        self.accumulation
    }

    /// How many dispatches and submits a step has; with accumulation, those of all replays of an update counted once.
    pub fn size(&self) -> (usize, usize) {
        (self.dispatches.len(), self.submits.len())
    }
}
