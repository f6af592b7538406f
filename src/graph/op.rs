//! The seam: what an operation is. One file in `src/ops/` a family, one shader file beside it; see `examples/add_an_op.rs`.

use super::graph::{Tensor, ValueId};
use super::record::Recorder;
use super::shape::Shape;
use std::any::Any;
use std::rc::Rc;

/// Floating point operations and bytes moved (each input read once, each output written once) of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating point operations; a multiply-add counts as two.
    pub flops: f64,
    /// Bytes.
    pub bytes: f64,
}

/// Which images of an operation may lie inside wider ones, see [`super::record::View`]: its kernels then address pixels by
/// `Recorder::view`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Inputs, one bit each.
    pub inputs: u32,
    /// The first output.
    pub output: bool,
}

/// What an operation does with the images of a batch. Planning cuts a batch whose tensors exceed what one binding holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Images {
    /// All at once: a batch is never cut.
    #[default]
    Together,
    /// Images a..b of the outputs depend on images a..b of the inputs, and on inputs that are no images.
    Each,
    /// The outputs, which are no images, are sums of what each image gives.
    Sum,
}

/// An operation of the graph. Backward kernels are operations too.
pub trait Op: Any {
    /// Name as in the shader file and in messages: `conv2d_forward`.
    fn name(&self) -> &'static str;

    /// Shapes of the outputs: the result first, then anything saved for the backward pass.
    ///
    /// # Errors
    /// What does not fit, with named dimensions; the recorder adds the layer's path.
    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String>;

    /// The equation in f64 over the world's layout, naive loops: documentation and oracle.
    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>>;

    /// The kernel launches.
    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]);

    /// Gradient of the loss for each input, recorded as further nodes; `dy` belongs to output 0. Where `wanted[i]` is
    /// false nothing may be recorded for input i. `None` also where an input has no gradient (labels).
    ///
    /// By default "no gradient": `None` for each input. For pictures, counters, random numbers, and for the gradients
    /// themselves: none of the papers needs a second derivative.
    ///
    /// # Panics
    /// By default when a gradient is wanted: a missing one must not pass for a zero.
    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        y: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        let _ = (y, dy);
        assert!(!wanted.contains(&true), "{} has no gradient, and one is needed here", self.name());
        vec![None; x.len()]
    }

    /// FLOPs and bytes of one run.
    fn cost(&self, xs: &[Shape], ys: &[Shape]) -> Cost {
        let words: usize = xs.iter().chain(ys).map(|s| s.words()).sum();
        Cost { flops: ys[0].elements() as f64, bytes: 4.0 * words as f64 }
    }

    /// What it does with the images of a batch. Where they are not taken together, [`Op::dispatch`] reads N from the recorder's
    /// shapes, not from those with which it was recorded.
    fn images(&self) -> Images {
        Images::Together
    }

    /// Which of its images may be channel slices of wider ones.
    fn views(&self, xs: &[Shape], ys: &[Shape]) -> Views {
        let _ = (xs, ys);
        Views::default()
    }

    /// For concatenation and slices, which cost nothing where memory can be shared: the input, or the output, that is a
    /// run of the other's channels, and its first channel.
    fn parts(&self, xs: &[Shape], ys: &[Shape]) -> Vec<Part> {
        let _ = (xs, ys);
        Vec::new()
    }

    /// One operation in place of this one and `next`, whose first input is this one's only output; the fused operation
    /// takes this one's inputs and then `next`'s others, see [`Op::fused_inputs`]. `None` where there is no such kernel.
    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        let _ = next;
        None
    }

    /// The inputs of the fused operation, from this one's and `next`'s others, where it does not need all.
    fn fused_inputs(&self, own: &[ValueId], others: &[ValueId]) -> Vec<ValueId> {
        [own, others].concat()
    }

    /// Whether planning may run it a second time in the backward pass instead of keeping its output: it moves as many bytes
    /// as a copy and little else ([`crate::plan::PlanSpec::recompute`]).
    fn cheap(&self) -> bool {
        false
    }
}

/// A run of channels of a wider value; see [`Op::parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Input `input` is channels `first..` of the output.
    InputInOutput {
        /// Which input.
        input: usize,
        /// Its first channel in the output.
        first: usize,
    },
    /// The output is channels `first..` of the first input.
    OutputInInput {
        /// Its first channel in the input.
        first: usize,
    },
}

/// Downcast helper: `op.is::<Relu>()`.
pub fn downcast<T: Op>(op: &dyn Op) -> Option<&T> {
    (op as &dyn Any).downcast_ref::<T>()
}
