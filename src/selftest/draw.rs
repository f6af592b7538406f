//! Random inputs for cases, reproducible from a seed, and away from the kinks of ReLU and max pooling where derivatives
//! are compared.

use super::cases::{Case, Input, Kind};
use crate::graph::reference::{Values, evaluate};
use crate::graph::{Graph, Shape, Tensor, downcast};
use crate::ops::{GlobalMaxPool, MaxPool, Relu, WARP, Window};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    /// The stream of this seed and name.
    pub fn new(seed: u64, name: &str) -> Stream {
        let mix = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
        Stream(name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), mix))
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [−1, 1), a multiple of 2⁻²³: exact in f32.
    pub fn unit(&mut self) -> f32 {
        (self.word() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Uniform below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.word() >> 33) as usize % n.max(1)
    }
}

/// Values of one input.
pub fn draw(input: &Input, s: &mut Stream) -> Vec<f32> {
    let n = input.shape.elements();
    match input.kind {
        Kind::Words => (0..n).map(|_| s.below(1 << 20) as f32).collect(),
        Kind::Unit(scale) | Kind::Fixed(scale) => (0..n).map(|_| s.unit() * scale).collect(),
        Kind::Warp => (0..n).map(|i| if i % WARP < 12 { s.unit() } else { s.below(1 << 16) as f32 }).collect(),
        Kind::Positive => (0..n).map(|_| 1.0 + 0.5 * s.unit()).collect(),
        Kind::Labels { classes, padding } => {
            let label = |i: usize, v: usize| if padding && i % 3 == 1 { classes + v } else { v };
            (0..n).map(|i| label(i, s.below(classes)) as f32).collect()
        }
        Kind::Apart => {
            let mut v: Vec<f32> = (0..n).map(|i| (2.0 * i as f32 + 1.0 - n as f32) / 1024.0).collect();
            // The middle of an odd number of them is 0: moved off the kink.
            v.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = 0.5 / 1024.0);
            for i in (1..n).rev() {
                v.swap(i, s.below(i + 1));
            }
            v
        }
    }
}

/// A case recorded on a graph of its own, with the numbers of its inputs.
pub struct Recorded<'g> {
    /// The inputs.
    pub inputs: Vec<Tensor<'g>>,
    /// The results; derivatives are of the first.
    pub outputs: Vec<Tensor<'g>>,
    /// What the inputs hold; labels as numbers.
    pub values: Vec<Vec<f32>>,
}

impl Recorded<'_> {
    /// The inputs' values for the f64 interpreter.
    pub fn known(&self) -> Values {
        let wide = |v: &Vec<f32>| v.iter().map(|x| f64::from(*x)).collect();
        self.inputs.iter().zip(&self.values).map(|(t, v)| (t.id, wide(v))).collect()
    }
}

/// Distance that every ReLU input keeps from 0 and every maximum from the runner-up: more than f32 rounding and the step
/// of the finite differences can bridge.
pub const MARGIN: f64 = 4e-4;

/// Records `case` on `graph`; no numbers yet.
fn record<'g>(graph: &'g Graph, case: &Case) -> Recorded<'g> {
    let make = |i: &Input| match i.kind {
        Kind::Labels { .. } | Kind::Words => graph.input_integers(i.name, i.shape.elements()),
        _ => graph.input(i.name, i.shape),
    };
    let inputs: Vec<Tensor> = case.inputs.iter().map(make).collect();
    let outputs = (case.build)(graph, &inputs);
    Recorded { inputs, outputs, values: Vec::new() }
}

/// Which numbers a recorded case gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// None.
    Nothing,
    /// The first draw, for benchmarks: a kink matters to finite differences only, and large cases cannot keep away from it.
    Any,
    /// Drawn again until [`MARGIN`] is kept everywhere.
    Apart,
}

/// Records `case` on `graph` and draws its inputs.
///
/// # Panics
/// When of 200 draws that are to keep away from the kinks none does: the case is too large and must be made smaller.
pub fn record_with<'g>(graph: &'g Graph, case: &Case, wanted: Draw) -> Recorded<'g> {
    let mut r = record(graph, case);
    if wanted == Draw::Nothing {
        return r;
    }
    let mut best = 0.0;
    for seed in 0..200 {
        let mut s = Stream::new(seed, &case.name);
        r.values = case.inputs.iter().map(|i| draw(i, &mut s)).collect();
        if wanted == Draw::Any {
            return r;
        }
        let margin = margin(graph, &r.known());
        if margin >= MARGIN {
            return r;
        }
        best = f64::max(best, margin);
    }
    panic!("{}: no draw stays {MARGIN} away from the kinks, the best {best}", case.name);
}

/// The smallest distance from a kink: |x| before a ReLU, maximum less runner-up in a pooling window.
fn margin(graph: &Graph, known: &Values) -> f64 {
    let kinks: Vec<(Option<Window>, Tensor, Shape)> = {
        let inner = graph.inner.borrow();
        let of = |n: &crate::graph::Node| {
            let x = Tensor { graph, id: n.inputs.first().copied()? };
            let y = inner.values[n.outputs[0].0].shape;
            let whole = |_: &GlobalMaxPool| {
                let (_, _, h, w) = x.shape().nchw();
                Window { size: [h, w], stride: [1, 1], padding: [0; 4] }
            };
            let global = downcast::<GlobalMaxPool>(n.op.as_ref()).map(whole);
            let pool = downcast::<MaxPool>(n.op.as_ref()).map(|m| m.0).or(global);
            (pool.is_some() || downcast::<Relu>(n.op.as_ref()).is_some()).then_some((pool, x, y))
        };
        inner.nodes.iter().filter_map(of).collect()
    };
    let mut least = f64::INFINITY;
    for (pool, x, y) in kinks {
        let v = evaluate(graph, known, &[x]).remove(0);
        match pool {
            None => least = v.iter().fold(least, |a, b| a.min(b.abs())),
            Some(w) => {
                let mut top = vec![(f64::NEG_INFINITY, f64::NEG_INFINITY); y.elements()];
                w.each(x.shape(), y, |o, i, _| {
                    let t = &mut top[o];
                    *t = if v[i] > t.0 { (v[i], t.0) } else { (t.0, t.1.max(v[i])) };
                });
                // Equal zeros are what a ReLU left: its own gradient is zero there, so who wins does not matter.
                let gap = |t: &(f64, f64)| if *t == (0.0, 0.0) { f64::INFINITY } else { t.0 - t.1 };
                least = top.iter().map(gap).fold(least, f64::min);
            }
        }
    }
    least
}
