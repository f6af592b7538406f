//! What a plan looks like: its memory and its list of dispatches, for people.

use super::Plan;
use std::fmt;

/// Bytes of a plan by purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Trainable and frozen parameters.
    pub parameters: u64,
    /// Gradients.
    pub gradients: u64,
    /// The optimizer's moments.
    pub moments: u64,
    /// Activations and workspaces, shared by lifetime.
    pub activations: u64,
    /// Activations and workspaces if nothing were shared.
    pub unshared: u64,
    /// Of activations and workspaces: the most that lives at once. No sharing takes less.
    pub live: u64,
    /// Layer and operation at which that is.
    pub peak: String,
    /// The most scratch memory that one operation takes; a part of `activations`.
    pub workspace: u64,
    /// Inputs, staging and read-back rings, uniforms, scratch textures.
    pub transfer: u64,
    /// The largest activation: layer, shape, bytes.
    pub largest: String,
}

impl MemoryReport {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.gradients + self.moments + self.activations + self.transfer
    }
}

/// Bytes with a unit, for people.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} in all: parameters {}, gradients {}, moments {}, activations {} ({} unshared; {} at once in {}), transfer {}; largest {}",
            bytes(self.total()),
            bytes(self.parameters),
            bytes(self.gradients),
            bytes(self.moments),
            bytes(self.activations),
            bytes(self.unshared),
            bytes(self.live),
            self.peak,
            bytes(self.transfer),
            self.largest
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (dispatches, submits) = self.size();
        writeln!(f, "{dispatches} dispatches in {submits} submits; {}", self.report)?;
        for line in &self.listing {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
