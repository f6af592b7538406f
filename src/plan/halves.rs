//! Which values a plan keeps as f16 ([`crate::gpu::Storage::F16`]).
//!
//! An image that is more than one pixel, that a kernel writes and that nobody outside of the plan reads
//! is kept as f16: activations and their gradients, which are nearly all of a training's memory. Inputs, outputs, parameters,
//! their gradients, moments, statistics, partial sums, what has one pixel (logits, features) and the loss stay f32, and so does
//! all arithmetic: kernels widen what they load and round what they store (`src/gpu/half.rs`).

use crate::error::Result;
use crate::gpu::{KernelKey, half, kernel};
use crate::graph::{Launch, Node, Operand, Shape, ValueId};
use std::collections::{HashMap, HashSet};

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
            if let Some(v) = value(o).filter(|_| able >> (i + 1) & 1 == 0) {
                self.hosts.remove(&host(v));
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
        let half = |o: &Operand| value(o).is_some_and(|v| self.contains(host(v)));
        launch.buffers.iter().enumerate().filter(|(_, o)| half(o)).fold(0, |all, (i, _)| all | 1 << (i + 1))
    }
}

/// The value that an operand is, or is a part of.
fn value(o: &Operand) -> Option<ValueId> {
    match o {
        Operand::Value(value) | Operand::Part { value, .. } => Some(*value),
        Operand::Workspace(_) | Operand::Chunk(..) => None,
    }
}
