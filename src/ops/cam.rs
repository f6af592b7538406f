//! Grad-CAM (Selvaraju et al., arXiv:1610.02391; Basu & Mitra eq. 1-2): how much each pixel of a feature map speaks for a
//! class. Weights: the global average of the class score's gradient; map: ReLU of the weighted sum of the features.

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Cost, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("cam.wgsl");

/// map [N, 1, H, W] = Σ_c weight [N, C] · a [N, C, H, W], its positive part if `relu`. Inputs weight and a.
#[derive(Clone, Debug)]
pub struct CamMap {
    /// Whether only what speaks *for* the class stays (Grad-CAM).
    pub relu: bool,
}

/// Each map divided by its own maximum. Outputs: the map in [0, 1], negative values at 0; and the maxima [N, 1], where 0 flags
/// a map without a positive value, which is all 0 then.
#[derive(Clone, Debug)]
pub struct CamNormalize;

impl<'g> Tensor<'g> {
    /// The Grad-CAM map [N, 1, H, W] of these features [N, C, H, W], given the gradient of the class score for them: record
    /// it with `logits.gradients_with(one_hot, &[features])`, where `one_hot` [N, K] picks the class of each image.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn grad_cam(self, gradient: Tensor<'g>, relu: bool) -> Tensor<'g> {
        gradient.global_avg_pool().apply(CamMap { relu }, &[self])
    }

    /// Maps [N, 1, H, W] each divided by its maximum, and the maxima [N, 1]; see [`CamNormalize`].
    ///
    /// # Panics
    /// When this has more than one channel.
    #[track_caller]
    pub fn cam_normalize(self) -> (Tensor<'g>, Tensor<'g>) {
        let y = self.graph().record(CamNormalize, &[self]);
        (y[0], y[1])
    }
}

impl Op for CamMap {
    fn name(&self) -> &'static str {
        "cam_map"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let (n, c, h, w) = image(x[1])?;
        if x[0] != Shape::image(n, c, 1, 1) {
            return Err(format!("the features are {}, the weights {}", x[1], x[0]));
        }
        Ok(vec![Shape::image(n, 1, h, w)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[1].nchw();
        let mut map = vec![0.0; ys[0].elements()];
        for (i, a) in x[1].iter().enumerate() {
            let (plane, pixel) = (i / (h * w), i % (h * w));
            map[plane / c * h * w + pixel] += x[0][plane] * a;
        }
        vec![map.iter().map(|v| if self.relu && *v < 0.0 { 0.0 } else { *v }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let ((n, _, h, w), quads) = (k.shape(x[1]).nchw(), k.shape(x[0]).words() / 4);
        let (pixels, plane) = (n * h * w, h * w);
        let params =
            [("pixels", Word::from(pixels)), ("plane", Word::from(plane)), ("channel_quads", Word::from(quads / n))];
        let buffers = [x[0].into(), x[1].into(), y[0].into()];
        k.launch(SOURCE, "cam_map", &[("RELU", i64::from(self.relu))], &params, &buffers, pixels.div_ceil(64));
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 2.0 * xs[1].elements() as f64, bytes: 4.0 * xs[1].words() as f64 }
    }
}

impl Op for CamNormalize {
    fn name(&self) -> &'static str {
        "cam_normalize"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        match image(x[0])? {
            (n, 1, _, _) => Ok(vec![x[0], Shape::image(n, 1, 1, 1)]),
            _ => Err(format!("expected maps [N, 1, H, W], given was {}", x[0])),
        }
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, _, h, w) = xs[0].nchw();
        let larger = |a: f64, b: &f64| if *b > a || b.is_nan() { *b } else { a };
        let maxima: Vec<f64> = x[0].chunks(h * w).map(|map| map.iter().fold(0.0, larger)).collect();
        let part = |(i, v): (usize, &f64)| match maxima[i / (h * w)] {
            _ if *v <= 0.0 => 0.0,
            most => v / most,
        };
        vec![x[0].iter().enumerate().map(part).collect(), maxima]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (n, _, h, w) = k.shape(x[0]).nchw();
        let buffers = [x[0].into(), y[0].into(), y[1].into()];
        k.launch(SOURCE, "cam_normalize", &[], &[("plane", Word::from(h * w))], &buffers, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::testing::Case;

    #[test]
    fn maps_of_ugly_sizes() {
        for (n, c, h, w) in [(1, 1, 1, 1), (3, 7, 5, 3), (2, 33, 7, 7), (1, 513, 1, 9)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let (a, da) = (case.random("a", Shape::image(n, c, h, w)), case.random("da", Shape::image(n, c, h, w)));
            let (map, signed) = (a.grad_cam(da, true), a.grad_cam(da, false));
            let (scaled, maxima) = signed.cam_normalize();
            let got = case.check(&[map, signed, scaled, maxima], 2e-6);
            assert!(got[2].iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }

    #[test]
    fn the_map_is_the_equation_worked_by_hand() {
        // Two channels, 1 × 2 pixels: gradients average to 2 and -1.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let a = case.given("a", Shape::image(1, 2, 1, 2), &[1.0, 2.0, 3.0, 3.0]);
        let da = case.given("da", Shape::image(1, 2, 1, 2), &[1.0, 3.0, -2.0, 0.0]);
        assert_eq!(case.check(&[a.grad_cam(da, true), a.grad_cam(da, false)], 0.0), [[0.0, 1.0], [-1.0, 1.0]]);
    }

    #[test]
    fn each_map_has_its_own_maximum_and_an_empty_map_is_flagged() {
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let maps = [0.0, 0.0, 0.0, -1.0, -2.0, -3.0, 4.0, -1.0, 1.0, 1e-30, 2e-30, 0.0];
        let x = case.given("x", Shape::image(4, 1, 1, 3), &maps);
        let (y, maxima) = x.cam_normalize();
        let got = case.check(&[y, maxima], 1e-6);
        assert_eq!(got[1], [0.0, 0.0, 4.0, 2e-30]);
        assert_eq!(got[0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.25, 0.5, 1.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "cam_normalize has no gradient")]
    fn a_gradient_that_does_not_exist_is_no_silent_zero() {
        let graph = Graph::new();
        let x = graph.input("x", Shape::image(1, 1, 2, 2));
        let y = x.cam_normalize().0;
        y.gradients_with(x, &[x]);
    }
}
