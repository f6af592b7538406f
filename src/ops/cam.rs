//! Class activation maps: how much each pixel of a feature map A [N, C, H, W] speaks for a class, given G = ∂score/∂A.
//!
//! - Grad-CAM (Selvaraju et al., arXiv:1610.02391; Basu & Mitra eq. 1-2): ReLU(Σ_c w_c A_c), w_c = mean of G_c over space.
//! - Grad-CAM++ (Chattopadhay et al., arXiv:1710.11063, eq. 10 and 19): w_c = Σ over space of α ReLU(G_c). With the score's
//!   exponential as the function that is explained, α = G² / (2 G² + S_c G³) = 1 / (2 + S_c G), S_c = Σ over space of A_c.
//!   The paper's w_c have the factor exp(score) besides, which no normalised map sees.
//! - HiResCAM (Draelos & Carin, arXiv:2011.08891): ReLU(Σ_c G_c · A_c), pixel by pixel.
//! - LayerCAM (Jiang et al., IEEE TIP 30, 2021, eq. 6-7): ReLU(Σ_c ReLU(G_c) · A_c).

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

/// w [N, C, 1, 1] of Grad-CAM++: Σ over space of ReLU(g) / (2 + S g), S = Σ over space of a. Inputs a and g [N, C, H, W].
///
/// Features after a ReLU have S ≥ 0, so the denominator is 2 or more. With negative features it can be 0 or less, where the
/// closed form means nothing: such a pixel counts 0 (pytorch-grad-cam lets its sign flip, and adds 10⁻⁶ to 2 g² + S g³).
#[derive(Clone, Debug)]
pub struct CamPlusWeights;

/// map [N, 1, H, W] = ReLU(Σ_c g · a), or with `positive` ReLU(Σ_c ReLU(g) · a). Inputs g and a [N, C, H, W].
#[derive(Clone, Debug)]
pub struct CamProduct {
    /// Whether negative gradients count nothing (LayerCAM), or as they are (HiResCAM).
    pub positive: bool,
}

/// Which map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CamMethod {
    /// Channels weighted by the mean of their gradient.
    #[default]
    GradCam,
    /// Channels weighted by their positive gradients, each by how sharply the score rises there: several small objects count
    /// like one large one.
    GradCamPlusPlus,
    /// Gradient times feature at each pixel: where the last layers are pooling and one dense layer, exactly what the
    /// score is a sum of.
    HiResCam,
    /// Positive gradient times feature: also for early layers, whose maps are finer.
    LayerCam,
}

impl CamMethod {
    /// All of them.
    pub const ALL: [CamMethod; 4] =
        [CamMethod::GradCam, CamMethod::GradCamPlusPlus, CamMethod::HiResCam, CamMethod::LayerCam];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            CamMethod::GradCam => "gradcam",
            CamMethod::GradCamPlusPlus => "gradcam++",
            CamMethod::HiResCam => "hirescam",
            CamMethod::LayerCam => "layercam",
        }
    }

    /// The method of this name, in any case.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] with the nearest names.
    pub fn named(name: &str) -> crate::Result<CamMethod> {
        let wanted = name.to_lowercase();
        CamMethod::ALL.into_iter().find(|m| m.name() == wanted).ok_or_else(|| {
            let names = CamMethod::ALL.map(CamMethod::name);
            let nearest = crate::names::nearest(name, &names);
            crate::Error::Usage(format!("there is no explanation method '{name}'; {nearest}"))
        })
    }
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

    /// The map [N, 1, H, W] of these features by a method, without its negative part; `gradient` as for [`Tensor::grad_cam`].
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn cam(self, gradient: Tensor<'g>, method: CamMethod) -> Tensor<'g> {
        match method {
            CamMethod::GradCam => self.grad_cam(gradient, true),
            CamMethod::GradCamPlusPlus => self.apply(CamPlusWeights, &[gradient]).apply(CamMap { relu: true }, &[self]),
            CamMethod::HiResCam => gradient.apply(CamProduct { positive: false }, &[self]),
            CamMethod::LayerCam => gradient.apply(CamProduct { positive: true }, &[self]),
        }
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

impl Op for CamPlusWeights {
    fn name(&self) -> &'static str {
        "cam_plus_weights"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let (n, c, _, _) = image(x[0])?;
        if x[0] != x[1] {
            return Err(format!("the features are {}, their gradient {}", x[0], x[1]));
        }
        Ok(vec![Shape::image(n, c, 1, 1)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, _, h, w) = xs[0].nchw();
        let weight = |(a, g): (&[f64], &[f64])| -> f64 {
            let sum: f64 = a.iter().sum();
            let one = |g: &f64| match 2.0 + sum * g {
                d if *g <= 0.0 || d <= 0.0 => 0.0,
                d => g / d,
            };
            g.iter().map(one).sum()
        };
        vec![x[0].chunks(h * w).zip(x[1].chunks(h * w)).map(weight).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let ((_, _, h, w), quads) = (k.shape(x[0]).nchw(), k.shape(y[0]).words() / 4);
        let (n, _, _, _) = k.shape(y[0]).nchw();
        let params =
            [("quads", Word::from(quads)), ("plane", Word::from(h * w)), ("channel_quads", Word::from(quads / n))];
        let buffers = [x[0].into(), x[1].into(), y[0].into()];
        k.launch(SOURCE, "cam_plus_weights", &[], &params, &buffers, quads.div_ceil(64));
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 5.0 * xs[0].elements() as f64, bytes: 8.0 * xs[0].words() as f64 }
    }
}

impl Op for CamProduct {
    fn name(&self) -> &'static str {
        "cam_product"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let (n, _, h, w) = image(x[1])?;
        if x[0] != x[1] {
            return Err(format!("the features are {}, their gradient {}", x[1], x[0]));
        }
        Ok(vec![Shape::image(n, 1, h, w)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[1].nchw();
        let mut map = vec![0.0; ys[0].elements()];
        for (i, (g, a)) in x[0].iter().zip(x[1]).enumerate() {
            let (plane, pixel) = (i / (h * w), i % (h * w));
            let g = if self.positive && *g < 0.0 { 0.0 } else { *g };
            map[plane / c * h * w + pixel] += g * a;
        }
        vec![map.iter().map(|v| if *v < 0.0 { 0.0 } else { *v }).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let ((n, _, h, w), quads) = (k.shape(x[1]).nchw(), k.shape(x[1]).words() / 4);
        let pixels = n * h * w;
        let params = [
            ("pixels", Word::from(pixels)),
            ("channel_quads", Word::from(quads / pixels)),
            ("positive", Word::from(usize::from(self.positive))),
        ];
        let buffers = [x[0].into(), x[1].into(), y[0].into()];
        k.launch(SOURCE, "cam_product", &[], &params, &buffers, pixels.div_ceil(64));
    }

    fn cost(&self, xs: &[Shape], _: &[Shape]) -> Cost {
        Cost { flops: 2.0 * xs[1].elements() as f64, bytes: 8.0 * xs[1].words() as f64 }
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
    fn the_other_methods_of_ugly_sizes() {
        for (n, c, h, w) in [(1, 1, 1, 1), (3, 7, 5, 3), (2, 33, 7, 7), (1, 261, 1, 9)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let (a, g) = (case.random("a", Shape::image(n, c, h, w)), case.random("g", Shape::image(n, c, h, w)));
            case.check(&[a.cam(g, CamMethod::HiResCam), a.cam(g, CamMethod::LayerCam)], 2e-6);
            // Near a pole of 1 / (2 + S g) no tolerance holds: features as a ReLU gives them.
            let y = a.relu();
            case.check(&[y.apply(CamPlusWeights, &[g]), y.cam(g, CamMethod::GradCamPlusPlus)], 5e-6);
        }
    }

    #[test]
    fn the_other_maps_are_their_equations_worked_by_hand() {
        // Two channels, 1 × 2 pixels. Sums S are 3 and 6; of the positive gradients 1, 3 and 2, α is 1/5, 1/11 and 1/14, so the
        // weights are 1/5 + 3/11 = 26/55 and 2/14.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let a = case.given("a", Shape::image(1, 2, 1, 2), &[1.0, 2.0, 4.0, 2.0]);
        let g = case.given("g", Shape::image(1, 2, 1, 2), &[1.0, 3.0, -2.0, 2.0]);
        let products = case.check(&[a.cam(g, CamMethod::HiResCam), a.cam(g, CamMethod::LayerCam)], 0.0);
        assert_eq!(products, [[0.0, 10.0], [1.0, 10.0]]);
        let plus = case.check(&[a.cam(g, CamMethod::GradCamPlusPlus)], 1e-6);
        for (got, want) in plus[0].iter().zip([26.0 / 55.0 + 4.0 / 7.0, 52.0 / 55.0 + 2.0 / 7.0]) {
            assert!((got - want).abs() < 1e-6, "{got}, by hand {want}");
        }
    }

    #[test]
    fn a_pole_of_the_closed_form_is_no_division_by_zero() {
        // S = -2: 2 + S g is 0 at g = 1, negative at g = 2 and 1 at g = 1/2.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let a = case.given("a", Shape::image(1, 1, 1, 3), &[-1.0, -1.0, 0.0]);
        let g = case.given("g", Shape::image(1, 1, 1, 3), &[1.0, 2.0, 0.5]);
        assert_eq!(case.check(&[a.apply(CamPlusWeights, &[g])], 0.0), [[0.5]]);
    }

    #[test]
    fn the_maps_are_those_of_a_numpy_computation() {
        // numpy, f64, with pytorch-grad-cam's expressions (its 1e-6 in the denominator of α left out); features and gradients
        // as below for i = 0 … 17.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let a: Vec<f32> = (0..18).map(|i| ((i * 7 % 11) as f32 - 3.0).max(0.0) / 4.0).collect();
        let g: Vec<f32> = (0..18).map(|i| ((i * 5 % 13) as f32 - 5.0) / 8.0).collect();
        let shape = Shape::image(1, 3, 2, 3);
        let (a, g) = (case.given("a", shape, &a), case.given("g", shape, &g));
        let maps = CamMethod::ALL.map(|m| a.cam(g, m));
        for ((got, want), method) in case.check(&maps, 2e-6).iter().zip(NUMPY).zip(CamMethod::ALL) {
            for (got, want) in got.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 3e-6, "{method:?}: {got}, numpy {want}");
            }
        }
    }

    /// Grad-CAM, Grad-CAM++, HiResCAM, LayerCAM.
    const NUMPY: [[f64; 6]; 4] = [
        [0.166666667, 0.166666667, 0.072916667, 0.354166667, 0.114583333, 0.062500000],
        [0.815814810, 0.582438533, 0.517384857, 1.371045380, 0.393481706, 0.443472735],
        [0.187500000, 0.250000000, 0.000000000, 0.000000000, 0.375000000, 0.375000000],
        [0.375000000, 0.250000000, 0.000000000, 0.625000000, 0.375000000, 0.375000000],
    ];

    #[test]
    fn methods_have_names_and_a_wrong_one_is_answered_with_the_nearest() {
        for method in CamMethod::ALL {
            assert_eq!(CamMethod::named(&method.name().to_uppercase()).unwrap(), method);
        }
        assert!(CamMethod::named("layer-cam").unwrap_err().to_string().contains("'layercam'"));
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
