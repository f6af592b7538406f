//! Joining values: addition, scaled addition, product, multiples, and the constant that starts a backward pass.

use super::activation::{Relu, ReluGrad};
use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Images, Op, Recorder, Shape, Tensor, ValueId, downcast};
use std::rc::Rc;

const SOURCE: Source = shader!("merge.wgsl");

/// y = a + b, equal shapes; max(a + b, 0) if the plan fused the ReLU of a residual block into it.
#[derive(Clone, Debug, Default)]
pub struct Add {
    relu: bool,
}

/// y = a + factor · b, equal shapes: residual scaling (Szegedy et al., arXiv:1602.07261, section 3.3); its ReLU fuses too.
#[derive(Clone, Debug)]
pub struct AddScaled {
    /// What b is multiplied with.
    pub factor: f32,
    relu: bool,
}

/// y = factor · x.
#[derive(Clone, Debug)]
pub struct Scale {
    /// What x is multiplied with.
    pub factor: f32,
}

/// y = a · b element by element, equal shapes: a given dropout mask, for example.
#[derive(Clone, Debug)]
pub struct Multiply;

/// y = `value` everywhere; no inputs.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Shape of the output.
    pub shape: Shape,
    /// The number.
    pub value: f32,
}

impl<'g> Tensor<'g> {
    /// This + `other`.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    #[allow(clippy::should_implement_trait)] // a graph handle: `+` would hide that it records a node
    pub fn add(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Add::default(), &[other])
    }

    /// This + `factor` · `other`.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn add_scaled(self, other: Tensor<'g>, factor: f32) -> Tensor<'g> {
        self.apply(AddScaled { factor, relu: false }, &[other])
    }

    /// `factor` · this.
    pub fn scale(self, factor: f32) -> Tensor<'g> {
        self.apply(Scale { factor }, &[])
    }

    /// This · `other`, element by element.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn multiply(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Multiply, &[other])
    }
}

/// The shape of a sum.
fn sum_shape(x: &[Shape]) -> Result<Vec<Shape>, String> {
    arity(x, 2)?;
    if x[0] != x[1] {
        return Err(format!("cannot add {} and {}", x[0], x[1]));
    }
    Ok(vec![x[0]])
}

/// a + factor · b, and its ReLU.
fn sum(x: &[&[f64]], factor: f64, relu: bool) -> Vec<Vec<f64>> {
    let rectify = |v: f64| if relu && v < 0.0 { 0.0 } else { v };
    vec![x[0].iter().zip(x[1]).map(|(a, b)| rectify(a + factor * b)).collect()]
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        sum_shape(x)
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        sum(x, 1.0, self.relu)
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let baked = [("RELU", i64::from(self.relu))];
        k.streaming(SOURCE, "add", &baked, &[], x, y[0]);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], y: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        let d = if self.relu { dy.apply(ReluGrad, &[y[0]]) } else { dy };
        vec![Some(d), Some(d)]
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        downcast::<Relu>(next).filter(|_| !self.relu)?;
        Some(Rc::new(Add { relu: true }))
    }
}

impl Op for AddScaled {
    fn name(&self) -> &'static str {
        "add_scaled"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        sum_shape(x)
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        sum(x, f64::from(self.factor), self.relu)
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (baked, params) = ([("RELU", i64::from(self.relu))], [("factor", Word::F(self.factor))]);
        k.streaming(SOURCE, "add_scaled", &baked, &params, x, y[0]);
    }

    fn gradient<'g>(
        &self,
        _: &[Tensor<'g>],
        y: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        let d = if self.relu { dy.apply(ReluGrad, &[y[0]]) } else { dy };
        vec![wanted[0].then_some(d), wanted[1].then(|| d.scale(self.factor))]
    }

    fn fuse(&self, next: &dyn Op) -> Option<Rc<dyn Op>> {
        downcast::<Relu>(next).filter(|_| !self.relu)?;
        Some(Rc::new(AddScaled { relu: true, ..self.clone() }))
    }
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().map(|v| f64::from(self.factor) * v).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "scale", &[], &[("factor", Word::F(self.factor))], x, y[0]);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy.scale(self.factor))]
    }
}

impl Op for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        if x[0] != x[1] {
            return Err(format!("cannot multiply {} and {} element by element", x[0], x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().zip(x[1]).map(|(a, b)| a * b).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        k.streaming(SOURCE, "multiply", &[], &[], x, y[0]);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        vec![wanted[0].then(|| dy.multiply(x[1])), wanted[1].then(|| dy.multiply(x[0]))]
    }
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 0)?;
        match self.shape {
            Shape::Flat { .. } => Ok(vec![self.shape]),
            other => Err(format!("fills plain rows of numbers only, asked for was {other}")),
        }
    }

    fn reference(&self, _: &[&[f64]], _: &[Shape], ys: &[Shape]) -> Vec<Vec<f64>> {
        vec![vec![f64::from(self.value); ys[0].elements()]]
    }

    fn dispatch(&self, k: &mut Recorder, _: &[ValueId], y: &[ValueId]) {
        let elements = Word::from(self.shape.elements());
        let params = [("value", Word::F(self.value)), ("elements", elements)];
        k.elementwise(SOURCE, "fill", &[], &params, &[y[0].into()], self.shape.words());
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::ops::testing::Case;

    #[test]
    fn products_and_their_gradients() {
        for (n, c, h, w) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 17, 3, 3)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let (a, b) = (case.random("a", Shape::image(n, c, h, w)), case.random("b", Shape::image(n, c, h, w)));
            let y = a.multiply(b).add(a);
            case.check(&[y], 1e-6);
            case.check_gradients(y, &[a, b], 1e-5);
        }
        // More than one workgroup, and no multiple of one.
        let graph = Graph::new();
        let mut case = Case::new(&graph);
        let (a, b) = (case.random("a", Shape::flat(9001)), case.random("b", Shape::flat(9001)));
        case.check(&[a.multiply(b)], 1e-6);
    }
    #[test]
    fn multiples_and_their_gradients() {
        for (n, c, h, w) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 17, 3, 3), (1, 5, 41, 43)] {
            let graph = Graph::new();
            let mut case = Case::new(&graph);
            let (a, b) = (case.random("a", Shape::image(n, c, h, w)), case.random("b", Shape::image(n, c, h, w)));
            let y = a.add_scaled(b, 0.17).add(b.scale(-2.5));
            // Asked for alone, the sums and their ReLUs are one kernel each.
            let fused = [a.add_scaled(b, 0.17).relu(), a.add(b).relu()];
            case.check(&fused, 1e-6);
            case.check(&[y, a.scale(3.0)], 1e-6);
            if n * c * h * w < 1000 {
                case.check_gradients(y, &[a, b], 1e-5);
            }
        }
    }

    #[test]
    fn a_relu_after_a_sum_costs_no_kernel() {
        let graph = Graph::new();
        let (a, b) = (graph.input("a", Shape::flat(5)), graph.input("b", Shape::flat(5)));
        for y in [a.add(b).relu(), a.add_scaled(b, 0.1).relu()] {
            let kernels = crate::plan::kernels(&graph, &[y], crate::ops::testing::gpu().tuning);
            assert_eq!(kernels.len(), 1);
            assert!(kernels[0].params.contains(&("RELU", 1)), "{:?}", kernels[0]);
        }
    }
}
