//! What the unit tests of the operations share: run a small graph on the GPU with poisoned memory and guard bands, compare
//! it with the f64 reference, and difference that reference.

use super::philox::{philox, unit};
use crate::gpu::GpuOptions;
use crate::graph::reference::{Values, evaluate};
use crate::graph::{Graph, Shape, Tensor, layout};
use crate::nn::ParamStore;
use crate::{Feed, Gpu, Plan, PlanSpec};
use std::rc::Rc;
use std::sync::OnceLock;

/// One device for all tests of this program, with bounds checks and guard bands.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::with(&GpuOptions { checked: Some(true), guards: true, ..Default::default() }).expect("an adapter")
    })
}

/// `n` numbers in [-1, 1) from a stream.
pub fn numbers(stream: u32, n: usize) -> Vec<f32> {
    let one = |i: usize| unit(philox([i as u32 / 4, 0, 0, stream], [1, 2])[i % 4]) * 2.0 - 1.0;
    (0..n).map(|i| one(i) as f32).collect()
}

/// A graph whose inputs have values.
pub struct Case<'g> {
    graph: &'g Graph,
    floats: Vec<(Tensor<'g>, Vec<f32>)>,
    words: Vec<(Tensor<'g>, Vec<u32>)>,
}

impl<'g> Case<'g> {
    pub fn new(graph: &'g Graph) -> Case<'g> {
        Case { graph, floats: Vec::new(), words: Vec::new() }
    }

    /// An input with these values.
    pub fn given(&mut self, name: &str, shape: Shape, values: &[f32]) -> Tensor<'g> {
        let t = self.graph.input(name, shape);
        self.floats.push((t, values.to_vec()));
        t
    }

    /// An input with random values in [-1, 1).
    pub fn random(&mut self, name: &str, shape: Shape) -> Tensor<'g> {
        let v = numbers(1000 + self.floats.len() as u32, shape.elements());
        self.given(name, shape, &v)
    }

    /// An integer input.
    pub fn integers(&mut self, name: &str, values: &[u32]) -> Tensor<'g> {
        let t = self.graph.input_integers(name, values.len());
        self.words.push((t, values.to_vec()));
        t
    }

    /// The inputs' values for the f64 interpreter.
    pub fn known(&self) -> Values {
        let floats = self.floats.iter().map(|(t, v)| (t.id, v.iter().map(|x| f64::from(*x)).collect()));
        let words = self.words.iter().map(|(t, v)| (t.id, v.iter().map(|x| f64::from(*x)).collect()));
        floats.chain(words).collect()
    }

    /// Runs the plan of `outputs` twice on poisoned memory and returns what the GPU gave. Every number must be within
    /// `tolerance` of the reference (relative to the output's largest value, at least 1), the extra lanes must be zero, the
    /// guard bands unchanged, and the second run equal to the first bit by bit.
    #[track_caller]
    pub fn check(&self, outputs: &[Tensor<'g>], tolerance: f64) -> Vec<Vec<f32>> {
        let gpu = gpu();
        let weights = Rc::new(ParamStore::init(self.graph, 0).upload(gpu).expect("weights"));
        let spec = PlanSpec { outputs: outputs.to_vec(), ..Default::default() };
        let mut plan = Plan::compile(gpu, self.graph, &weights, &spec).expect("a plan");
        let floats = self.floats.iter().map(|(t, v)| (*t, Feed::F32(v)));
        let words = self.words.iter().map(|(t, v)| (*t, Feed::U32(v)));
        // Only what the outputs depend on is an input of the plan.
        let used = self.used(outputs);
        let feeds: Vec<(Tensor, Feed)> = floats.chain(words).filter(|(t, _)| used.contains(&t.id)).collect();
        let mut run = || {
            plan.poison(gpu).expect("poison");
            let got = plan.run(gpu, &feeds).expect("a run");
            plan.check_guards(gpu).expect("guard bands");
            got
        };
        let (got, again) = (run(), run());
        let bits = |o: &[Vec<f32>]| o.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got), bits(&again), "two runs differ");
        for (shape, memory) in plan.output_memory(gpu).expect("memory") {
            let wrong = layout::extra_lanes(shape).into_iter().find(|i| memory[*i] != 0.0);
            assert_eq!(wrong, None, "{shape}: an extra lane is not zero");
        }
        for ((got, want), t) in got.iter().zip(evaluate(self.graph, &self.known(), outputs)).zip(outputs) {
            let scale = want.iter().fold(1.0f64, |a, v| a.max(v.abs()));
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let off = (f64::from(*g) - w).abs();
                assert!(
                    off <= tolerance * scale,
                    "{t:?} [{i}]: GPU {g}, reference {w}, tolerance {tolerance} × {scale}"
                );
            }
        }
        got
    }

    fn used(&self, outputs: &[Tensor<'g>]) -> Vec<crate::graph::ValueId> {
        let inner = self.graph.inner.borrow();
        let mut ids: Vec<_> = outputs.iter().map(|t| t.id).collect();
        for node in inner.nodes.iter().rev() {
            if node.outputs.iter().any(|v| ids.contains(v)) {
                ids.extend(&node.inputs);
            }
        }
        ids
    }

    /// Checks the gradients of Σ upstream · `of` for `wrt` on the GPU against central differences of the f64 reference;
    /// returns the largest difference.
    #[track_caller]
    pub fn check_gradients(&mut self, of: Tensor<'g>, wrt: &[Tensor<'g>], tolerance: f64) -> f64 {
        let upstream = self.random("upstream", of.shape());
        let grads: Vec<Tensor> = of.gradients_with(upstream, wrt).into_iter().map(|g| g.expect("a gradient")).collect();
        let got = self.check(&grads, tolerance);
        let known = self.known();
        let up = &known[&upstream.id];
        let mut worst = 0.0f64;
        for (t, got) in wrt.iter().zip(&got) {
            for (i, g) in got.iter().enumerate() {
                let value = |step: f64| {
                    let mut moved = known.clone();
                    moved.get_mut(&t.id).expect("wrt is an input")[i] += step;
                    let y = &evaluate(self.graph, &moved, &[of])[0];
                    y.iter().zip(up).map(|(a, b)| a * b).sum::<f64>()
                };
                let slope = (value(1e-4) - value(-1e-4)) / 2e-4;
                let off = (f64::from(*g) - slope).abs() / slope.abs().max(1.0);
                assert!(off <= tolerance, "d/d{t:?} [{i}]: GPU {g}, differences {slope}");
                worst = worst.max(off);
            }
        }
        worst
    }
}
