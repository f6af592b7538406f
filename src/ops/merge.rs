//! Joining values: addition, product, and the constant that starts a backward pass.

use super::{arity, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("merge.wgsl");

/// y = a + b, equal shapes.
#[derive(Clone, Debug)]
pub struct Add;

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
        self.apply(Add, &[other])
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

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        if x[0] != x[1] {
            return Err(format!("cannot add {} and {}", x[0], x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], _: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        vec![x[0].iter().zip(x[1]).map(|(a, b)| a + b).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let words = k.shape(x[0]).words();
        k.streaming(SOURCE, "add", &[x[0].into(), x[1].into(), y[0].into()], words);
    }

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], dy: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        vec![Some(dy), Some(dy)]
    }
}

impl Op for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
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
        let words = k.shape(x[0]).words();
        k.streaming(SOURCE, "multiply", &[x[0].into(), x[1].into(), y[0].into()], words);
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

    fn gradient<'g>(&self, _: &[Tensor<'g>], _: &[Tensor<'g>], _: Tensor<'g>, _: &[bool]) -> Vec<Option<Tensor<'g>>> {
        Vec::new()
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
}
