//! Dropout: y = x / (1 − p) where kept, else 0. The mask follows from (seed, step, layer, element) by Philox, so nothing is
//! stored for the backward pass: the gradient is the same operation on dy.

use super::philox::philox;
use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("dropout.wgsl");

/// Inputs x (an image) and the integers [seed low, seed high, step, stream]; one such input serves all layers of a
/// network, `layer` tells them apart.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability of a zero, 0 ≤ p < 1.
    pub p: f32,
    /// Which dropout of the network this is: others draw other numbers.
    pub layer: u32,
}

impl<'g> Tensor<'g> {
    /// Zeros elements with probability `p` and divides the others by 1 − p. `random` is an integer input of four words:
    /// seed low, seed high, step, stream (0, or the number of a Monte Carlo pass); see [`Dropout`].
    ///
    /// # Panics
    /// When p is outside [0, 1), this is no image or `random` no row of four.
    #[track_caller]
    pub fn dropout(self, p: f32, layer: u32, random: Tensor<'g>) -> Tensor<'g> {
        self.apply(Dropout { p, layer }, &[random])
    }
}

impl Dropout {
    /// unit ≥ p ⇔ the 24 upper bits ≥ this.
    fn threshold(&self) -> u32 {
        (f64::from(self.p) * f64::from(1u32 << 24)).ceil() as u32
    }

    /// Which elements of an image are kept, in the world's order, for the four words of `random`.
    ///
    /// # Panics
    /// When `shape` is no image.
    #[track_caller]
    pub fn mask(&self, shape: Shape, random: [u32; 4]) -> Vec<bool> {
        let (n, c, h, w) = shape.nchw();
        let mut keep = Vec::with_capacity(shape.elements());
        for (image, channel) in (0..n).flat_map(|i| (0..c).map(move |k| (i, k))) {
            for pixel in 0..h * w {
                let block = (image * h * w + pixel) * c.div_ceil(4) + channel / 4;
                let words = philox([block as u32, random[2], self.layer, random[3]], [random[0], random[1]]);
                keep.push(words[channel % 4] >> 8 >= self.threshold());
            }
        }
        keep
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        super::image(x[0])?;
        if !(0.0..1.0).contains(&self.p) {
            return Err(format!("p {} is outside [0, 1)", self.p));
        }
        if x[1] != Shape::flat(4) {
            return Err(format!("the random input holds [seed low, seed high, step, stream], given was {}", x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let random = [0, 1, 2, 3].map(|i| x[1][i] as u32);
        let keep = self.mask(xs[0], random);
        let scale = 1.0 - f64::from(self.p);
        vec![x[0].iter().zip(keep).map(|(v, k)| if k { v / scale } else { 0.0 }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        let scale = (1.0 / (1.0 - f64::from(self.p))) as f32;
        let params =
            [("threshold", Word::U(self.threshold())), ("layer", Word::U(self.layer)), ("scale", Word::F(scale))];
        k.elementwise(SOURCE, "dropout", &[], &params, &[x[0].into(), x[1].into(), y[0].into()], words);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        vec![wanted[0].then(|| dy.apply(self.clone(), &[x[1]])), None]
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 50.0 * xs[0].words() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    const RANDOM: [u32; 4] = [0xdead_beef, 7, 41, 0];

    #[test]
    fn the_gpu_keeps_what_the_reference_keeps() {
        for (n, c, h, w, p) in
            [(1, 1, 1, 1, 0.5), (3, 5, 7, 3, 0.25), (2, 17, 1, 1, 0.5), (1, 1, 33, 31, 0.9), (2, 33, 9, 8, 0.0)]
        {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let shape = Shape::image(n, c, h, w);
            let x = case.given("x", shape, &vec![1.0; shape.elements()]);
            let random = case.integers("random", &RANDOM);
            let y = x.dropout(p, 3, random);
            let got = case.check(&[y], 1e-6);
            let keep = Dropout { p, layer: 3 }.mask(shape, RANDOM);
            assert!(got[0].iter().zip(&keep).all(|(v, k)| (*v != 0.0) == *k));
        }
    }

    #[test]
    fn the_gradient_is_the_mask_on_dy() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let x = case.random("x", Shape::image(2, 7, 3, 5));
        let random = case.integers("random", &RANDOM);
        // Mid-graph: a product before and after, so that dy is nothing special.
        let (a, b) = (case.random("a", x.shape()), case.random("b", x.shape()));
        let y = x.multiply(a).dropout(0.5, 0, random).multiply(b);
        case.check_gradients(y, &[x, b], 1e-5);
    }

    #[test]
    fn masks_have_the_rate_and_differ_between_steps_layers_and_streams() {
        let shape = Shape::image(4, 64, 32, 32);
        let mask = |layer, random| Dropout { p: 0.3, layer }.mask(shape, random);
        let first = mask(0, [1, 0, 0, 0]);
        let n = first.len() as f64;
        let kept = first.iter().filter(|k| **k).count() as f64;
        // Five standard deviations of a binomial.
        assert!((kept - 0.7 * n).abs() < 5.0 * (n * 0.3 * 0.7).sqrt(), "kept {kept} of {n}");
        for other in [
            mask(1, [1, 0, 0, 0]),
            mask(0, [2, 0, 0, 0]),
            mask(0, [1, 1, 0, 0]),
            mask(0, [1, 0, 1, 0]),
            mask(0, [1, 0, 0, 1]),
        ] {
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count() as f64;
            // Independent masks agree with probability 0.49 + 0.09.
            assert!((same - 0.58 * n).abs() < 5.0 * (n * 0.58 * 0.42).sqrt(), "agree in {same} of {n}");
        }
    }

    #[test]
    #[should_panic(expected = "outside [0, 1)")]
    fn p_of_one_is_refused() {
        let graph = Graph::new();
        let x = graph.input("x", Shape::image(1, 1, 1, 1));
        let random = graph.input_integers("random", 4);
        x.dropout(1.0, 0, random);
    }
}
