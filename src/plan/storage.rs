//! In which type a plan keeps its activations.
//!
//! With [`Storage::F16`] an image that is more than one pixel, that a kernel writes and that nobody outside of the plan reads
//! is kept as f16: activations and their gradients, which are nearly all of a training's memory. Inputs, outputs, parameters,
//! their gradients, moments, statistics, partial sums, what has one pixel (logits, features) and the loss stay f32, and so does
//! all arithmetic: kernels widen what they load and round what they store (`src/gpu/half.rs`).

use crate::error::{Error, Result};
use crate::gpu::tuning::{Core, Tuning};
use crate::gpu::{Gpu, KernelKey, half, kernel};
use crate::graph::{Launch, Node, Operand, Shape, ValueId};
use std::collections::{HashMap, HashSet};

/// The type of activations in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits where that is possible: half the memory, 11 bits of precision, magnitudes from 6e-8 to 65504. A training needs
    /// loss scaling then ([`crate::nn::Optimizer::with_loss_scaling`]). Adapters with `SHADER_F16` only.
    F16,
}

impl Storage {
    /// `f16` or `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
        }
    }

    /// Whether `gpu` can do it.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] naming the adapter when it has no 16-bit floats.
    pub fn check(self, gpu: &Gpu) -> Result<()> {
        if self == Storage::F32 || gpu.features.contains(wgpu::Features::SHADER_F16) {
            return Ok(());
        }
        Err(Error::NoAdapter(format!("f16 storage needs SHADER_F16, which {} does not have", gpu.describe())))
    }

    /// The row of the tuning table with the loads that this type allows: f16 comes neither in pairs of 64-bit integers nor
    /// through textures.
    pub(super) fn tuning(self, tuning: Tuning) -> Tuning {
        match (self, tuning.core) {
            (Storage::F16, Core::Subgroup { rows, pixels, weight_rows, .. }) => {
                let core = Core::Subgroup { rows, pixels, weight_rows, load64: false, texels: false };
                Tuning { core, ..tuning }
            }
            _ => tuning,
        }
    }
}

/// The values, by host, that are kept as f16.
#[derive(Default)]
pub(super) struct Halves {
    hosts: HashSet<ValueId>,
    eligible: HashMap<KernelKey, u32>,
}

impl Halves {
    /// What could be: images of several pixels that are first outputs of nodes and lie in no `fixed` place, if that holds for
    /// all that share their memory.
    pub(super) fn new(
        nodes: &[Node],
        shape: &dyn Fn(ValueId) -> Shape,
        host: &dyn Fn(ValueId) -> ValueId,
        fixed: &dyn Fn(ValueId) -> bool,
    ) -> Halves {
        let (mut hosts, mut refused) = (HashSet::new(), HashSet::new());
        for (at, v) in nodes.iter().flat_map(|n| n.outputs.iter().enumerate()) {
            // A further output is what an operation saves for its gradient: winners of a maximum are numbers above 2048.
            let image = matches!(shape(*v), Shape::Image { h, w, .. } if h * w > 1);
            let all = if at == 0 && image && !fixed(*v) { &mut hosts } else { &mut refused };
            all.insert(host(*v));
        }
        hosts.retain(|h| !refused.contains(h) && !fixed(*h));
        Halves { hosts, eligible: HashMap::new() }
    }

    /// Leaves out what a kernel cannot read or write as f16: integers in a float's clothes.
    ///
    /// # Errors
    /// Shaders that do not parse.
    pub(super) fn retain(&mut self, launch: &Launch, host: &dyn Fn(ValueId) -> ValueId) -> Result<()> {
        if self.hosts.is_empty() {
            return Ok(());
        }
        let able = match self.eligible.get(&launch.key) {
            Some(there) => *there,
            None => {
                let able = half::eligible(&kernel::parse(&launch.key)?.0);
                self.eligible.insert(launch.key.clone(), able);
                able
            }
        };
        for (i, o) in launch.buffers.iter().enumerate() {
            match o {
                Operand::Value(v) if able >> (i + 1) & 1 == 0 => _ = self.hosts.remove(&host(*v)),
                // Its parts begin where bindings may, counted in f32.
                Operand::Part { value, .. } => _ = self.hosts.remove(&host(*value)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether what lies in the memory of `host` is f16.
    pub(super) fn contains(&self, host: ValueId) -> bool {
        self.hosts.contains(&host)
    }

    /// 32-bit words of `words` numbers there.
    pub(super) fn words(&self, host: ValueId, words: usize) -> usize {
        if self.contains(host) { words / 2 } else { words }
    }

    /// The launch's f16 bindings, for its kernel's key.
    pub(super) fn mask(&self, launch: &Launch, host: &dyn Fn(ValueId) -> ValueId) -> u32 {
        let half = |o: &Operand| matches!(o, Operand::Value(v) if self.contains(host(*v)));
        launch.buffers.iter().enumerate().filter(|(_, o)| half(o)).fold(0, |all, (i, _)| all | 1 << (i + 1))
    }
}
