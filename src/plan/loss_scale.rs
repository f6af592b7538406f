//! Dynamic loss scaling as a plan keeps it: two small inputs that nobody feeds and that the update writes.
//!
//! Gradients of activations are often smaller than the smallest f16, so the loss is multiplied by S before they are computed
//! and they are divided by S before they are used. S is as large as can be without an overflow: it doubles from time to time
//! and is halved when a gradient is not finite; that step is left out. It all happens on the device: nobody waits.

use super::Plan;
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// How the factor of the loss changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaling {
    /// At first.
    pub initial: f32,
    /// Factor after [`LossScaling::interval`] good steps in a row.
    pub growth: f32,
    /// Factor after a step that was left out.
    pub backoff: f32,
    /// Good steps in a row after which it grows.
    pub interval: u32,
}

impl Default for LossScaling {
    /// Those of `torch.amp.GradScaler`: 65536, doubled every 2000 good steps, halved by an overflow.
    fn default() -> LossScaling {
        LossScaling { initial: 65536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// Words of the state beside the factor.
pub const SCALE_STATE: usize = 8;

/// The factor of the loss and what decides on its next value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The factor of the next step.
    pub scale: f32,
    /// Good steps in a row; steps left out; steps made; then what optimizers with bias correction remember
    /// (`shaders/loss_scale.wgsl`).
    state: [f32; SCALE_STATE],
}

impl LossScale {
    /// Before the first step.
    pub fn start(scaling: LossScaling) -> LossScale {
        LossScale { scale: scaling.initial, state: [0.0; SCALE_STATE] }
    }

    /// Good steps since the factor last changed.
    pub fn good(&self) -> u64 {
        self.state[0] as u64
    }

    /// Steps that were left out because a gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.state[1] as u64
    }

    /// Steps that changed the weights.
    pub fn applied(&self) -> u64 {
        self.state[2] as u64
    }

    /// All of it, for a checkpoint.
    pub fn words(&self) -> [f32; 1 + SCALE_STATE] {
        std::array::from_fn(|i| if i == 0 { self.scale } else { self.state[i - 1] })
    }

    /// From [`LossScale::words`]; `None` when that cannot be: a factor or a count that is not finite, or negative.
    pub fn of_words(words: [f32; 1 + SCALE_STATE]) -> Option<LossScale> {
        let fine = words[0] > 0.0 && words.iter().all(|w| w.is_finite() && *w >= 0.0);
        fine.then(|| LossScale { scale: words[0], state: std::array::from_fn(|i| words[i + 1]) })
    }
}

impl Plan {
    /// The factor of the loss after all steps that were queued; `None` for a plan without loss scaling. Waits.
    ///
    /// # Errors
    /// Device errors.
    pub fn loss_scale(&self, gpu: &Gpu) -> Result<Option<LossScale>> {
        let Some([scale, state]) = self.scaling else { return Ok(None) };
        let read = |at: usize, words: usize| -> Result<Vec<f32>> {
            Ok(bytemuck::pod_collect_to_vec(&gpu.download(&self.buffers.all[at], 0, words as u64 * 4)?))
        };
        let (scale, words) = (read(scale, 1)?, read(state, SCALE_STATE)?);
        let state = std::array::from_fn(|i| words[i]);
        Ok(Some(LossScale { scale: scale[0], state }))
    }

    /// Goes on from `scale`, what [`Plan::loss_scale`] gave.
    ///
    /// # Errors
    /// [`Error::Usage`] for a plan without loss scaling; device errors.
    pub fn restore_loss_scale(&self, gpu: &Gpu, scale: &LossScale) -> Result<()> {
        let Some([factor, state]) = self.scaling else {
            return Err(Error::Usage("this plan has no loss scaling, and the state of one is given".into()));
        };
        gpu.queue.write_buffer(&self.buffers.all[factor], 0, bytemuck::cast_slice(&[scale.scale, 0.0, 0.0, 0.0]));
        gpu.queue.write_buffer(&self.buffers.all[state], 0, bytemuck::cast_slice(&scale.state));
        gpu.check()
    }
}
