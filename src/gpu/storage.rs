//! In which type plans keep activations.

use super::device::Gpu;
use super::tuning::{Core, Tuning};
use crate::error::{Error, Result};

/// The type of activations and of their gradients in a plan's memory. All arithmetic is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits where that is possible: half the memory, 11 bits of precision, magnitudes from 6e-8 to 65504. A training needs
    /// loss scaling then ([`crate::nn::Optimizer::with_loss_scaling`]).
    F16,
}

impl Storage {
    /// [`Storage::F16`] or not.
    pub fn f16(yes: bool) -> Storage {
        if yes { Storage::F16 } else { Storage::F32 }
    }

    /// The row of the tuning table with the loads that this type allows: f16 comes neither in pairs of 64-bit integers nor
    /// through textures.
    pub(crate) fn tuning(self, tuning: Tuning) -> Tuning {
        match (self, tuning.core) {
            (Storage::F16, Core::Subgroup { rows, pixels, weight_rows, .. }) => {
                let core = Core::Subgroup { rows, pixels, weight_rows, load64: false, texels: false };
                Tuning { core, ..tuning }
            }
            _ => tuning,
        }
    }
}

impl Gpu {
    /// The same device with plans that keep activations in this type; [`Storage::F32`] is what it is opened with.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] naming the adapter when it has no 16-bit floats.
    pub fn with_storage(mut self, storage: Storage) -> Result<Gpu> {
        if storage == Storage::F16 && !self.features.contains(wgpu::Features::SHADER_F16) {
            let adapter = self.describe();
            return Err(Error::NoAdapter(format!(
                "f16 storage needs an adapter with SHADER_F16; {adapter} has it not"
            )));
        }
        self.storage = storage;
        Ok(self)
    }

    /// In which type plans on this device keep activations.
    pub fn storage(&self) -> Storage {
        self.storage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_without_f16_is_refused_by_name() {
        let mut gpu = Gpu::new().unwrap();
        gpu.features.remove(wgpu::Features::SHADER_F16);
        let name = gpu.info.name.clone();
        let gpu = gpu.with_storage(Storage::F32).unwrap();
        let Err(e) = gpu.with_storage(Storage::F16) else { panic!("it has no f16") };
        assert!(e.exit_code() == 3 && e.to_string().contains(&name) && e.to_string().contains("SHADER_F16"), "{e}");
    }
}
