//! A network's parameters on the host: names, shapes, values in the world's layout.

use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape};
use crate::plan::Weights;
use rand::{Rng, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Full name: `block1.conv1.weight`.
    pub name: String,
    /// Shape.
    pub shape: Shape,
    /// Whether it trains.
    pub trainable: bool,
    /// Values, world layout.
    pub values: Vec<f32>,
}

/// All parameters of a network in the order of its layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamStore {
    /// The parameters.
    pub params: Vec<Param>,
}

/// FNV-1a, 64 bit: a parameter's own random stream does not depend on what comes before it.
pub(super) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

impl ParamStore {
    /// The parameters of `graph`, initialised: filters uniform in ±√(6 / fan-in) (He et al., arXiv:1502.01852, uniform form),
    /// γ and running variance of batch norm one, everything else (biases, β, running mean) zero. Same seed, same name, same
    /// numbers.
    pub fn init(graph: &Graph, seed: u64) -> ParamStore {
        let make = |(name, shape, trainable): (String, Shape, bool)| {
            let values = match shape {
                Shape::Filter { c, r, s, .. } => {
                    let bound = (6.0 / (c * r * s) as f64).sqrt();
                    let mut rng = StdRng::seed_from_u64(seed ^ fnv(&name));
                    let mut draw = || ((f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0 * 2.0 - 1.0) * bound;
                    (0..shape.elements()).map(|_| draw() as f32).collect()
                }
                Shape::Channels { c } if matches!(name.rsplit('.').next(), Some("weight" | "running_var")) => {
                    vec![1.0; c]
                }
                _ => vec![0.0; shape.elements()],
            };
            Param { name, shape, trainable, values }
        };
        ParamStore { params: graph.params().into_iter().map(make).collect() }
    }

    /// These initial parameters with filters uniform in ±√(6 / (fan-in + fan-out)) instead (Glorot & Bengio 2010), which is
    /// Keras' default: the same draws, scaled. Narrow layers behind wide ones die less often.
    pub fn glorot(mut self) -> ParamStore {
        for p in &mut self.params {
            if let Shape::Filter { k, c, .. } = p.shape {
                let factor = (c as f64 / (c + k) as f64).sqrt() as f32;
                p.values.iter_mut().for_each(|v| *v *= factor);
            }
        }
        self
    }

    /// Those of its parameters that `graph` has: what a part of a network needs on the device.
    pub fn of(&self, graph: &Graph) -> ParamStore {
        let names: HashSet<String> = graph.params().into_iter().map(|p| p.0).collect();
        ParamStore { params: self.params.iter().filter(|p| names.contains(&p.name)).cloned().collect() }
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|p| p.name == name)
    }

    /// How many numbers, and how many of them train.
    pub fn count(&self) -> (usize, usize) {
        let sum = |f: &dyn Fn(&&Param) -> bool| self.params.iter().filter(f).map(|p| p.shape.elements()).sum();
        (sum(&|_| true), sum(&|p| p.trainable))
    }

    /// Values of `other` for every parameter of the same name and shape; returns the names that found none.
    pub fn adopt(&mut self, other: &ParamStore) -> Vec<String> {
        let mut missing = Vec::new();
        for p in &mut self.params {
            match other.get(&p.name).filter(|o| o.shape == p.shape) {
                Some(o) => p.values.clone_from(&o.values),
                None => missing.push(p.name.clone()),
            }
        }
        missing
    }

    /// Uploads everything.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] when a parameter is too large for the adapter or there is no room.
    pub fn upload(&self, gpu: &Gpu) -> Result<Weights> {
        Weights::upload(gpu, self.params.iter().map(|p| (p.name.as_str(), p.shape, p.trainable, p.values.as_slice())))
    }

    /// Takes the values of `weights` over; waits.
    ///
    /// # Errors
    /// Device errors.
    pub fn read(&mut self, gpu: &Gpu, weights: &Weights) -> Result<()> {
        for (name, _, values) in weights.download(gpu)? {
            if let Some(p) = self.params.iter_mut().find(|p| p.name == name) {
                p.values = values;
            }
        }
        Ok(())
    }

    /// SHA-256 over names and values in order, as hexadecimal digits: equal digests, bit-equal weights.
    pub fn digest(&self) -> String {
        let mut h = Sha256::new();
        for p in &self.params {
            h.update(p.name.as_bytes());
            h.update(bytemuck::cast_slice::<f32, u8>(&p.values));
        }
        crate::files::hex(&h.finalize())
    }

    /// The name of the first parameter that holds a NaN or an infinity.
    pub fn first_non_finite(&self) -> Option<&str> {
        self.params.iter().find(|p| p.values.iter().any(|v| !v.is_finite())).map(|p| p.name.as_str())
    }
}
