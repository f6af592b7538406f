//! What planning asks of a device. Everything but the memory itself can be planned without one.

use super::report::{MemoryReport, bytes};
use crate::error::{Error, Result};
use crate::gpu::tuning::{self, Tuning};
use crate::gpu::{Gpu, Storage};

/// A device as planning sees it: limits, tuning row, budget.
#[derive(Clone, Debug)]
pub struct Target {
    /// For messages.
    pub name: String,
    /// Bytes that a plan may use in all; `None` where nobody tells.
    pub memory_budget: Option<u64>,
    pub(crate) tuning: Tuning,
    pub(crate) storage: Storage,
    pub(crate) guards: bool,
    pub(crate) binding_words: usize,
    pub(crate) max_buffer: u64,
    pub(crate) align_words: usize,
}

impl Target {
    /// An opened device.
    pub fn of(gpu: &Gpu) -> Target {
        Target {
            name: gpu.info.name.clone(),
            memory_budget: gpu.memory_budget,
            tuning: gpu.tuning,
            storage: gpu.storage,
            guards: gpu.guards,
            binding_words: gpu.binding_words(),
            max_buffer: gpu.limits.max_buffer_size,
            align_words: (gpu.limits.min_storage_buffer_offset_alignment as usize / 4).max(4),
        }
    }

    /// No device at hand: software Vulkan's limits (128 MiB a binding, 2 GiB a buffer), no budget.
    pub fn portable() -> Target {
        Target {
            name: "software Vulkan (no adapter is there; its limits are assumed)".into(),
            memory_budget: None,
            tuning: tuning::TABLE[0],
            storage: Storage::F32,
            guards: false,
            binding_words: (128 << 20) / 4,
            max_buffer: 2 << 30,
            align_words: 64,
        }
    }

    /// The same with this budget in bytes.
    pub fn with_budget(self, memory_budget: Option<u64>) -> Target {
        Target { memory_budget, ..self }
    }

    /// The same with plans that keep activations in this type.
    pub fn with_storage(self, storage: Storage) -> Target {
        Target { storage, ..self }
    }

    /// Words of a buffer that one binding holds.
    pub(crate) fn binding_words(&self) -> usize {
        self.binding_words
    }

    /// Whether a plan of this size may be built.
    ///
    /// # Errors
    /// [`Error::Memory`] with the figures when it exceeds the budget.
    pub fn check(&self, report: &MemoryReport) -> Result<()> {
        match self.memory_budget.filter(|b| report.total() > *b) {
            None => Ok(()),
            Some(budget) => Err(Error::Memory(format!(
                "the plan needs {}, {} may use {} (--memory); {report}",
                bytes(report.total()),
                self.name,
                bytes(budget)
            ))),
        }
    }
}
