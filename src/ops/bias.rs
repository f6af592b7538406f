//! Bias: y[n, k, p, q] = x[n, k, p, q] + b[k], and its gradient db[k] = Σ dy over images and pixels.

use super::{arity, image, shader};
use crate::gpu::{Source, Word};
use crate::graph::{Images, Op, Recorder, Shape, Tensor, ValueId};

const SOURCE: Source = shader!("bias.wgsl");

/// y = x + b per channel. Inputs x [N, C, H, W], b \[C\].
#[derive(Clone, Debug)]
pub struct Bias;

/// db\[c\] = Σ dy[n, c, h, w]. Input dy.
#[derive(Clone, Debug)]
pub struct BiasGrad;

impl<'g> Tensor<'g> {
    /// Adds `b` \[C\] to every pixel.
    ///
    /// # Panics
    /// When `b` has another number of channels.
    #[track_caller]
    pub fn bias(self, b: Tensor<'g>) -> Tensor<'g> {
        self.apply(Bias, &[b])
    }
}

impl Op for Bias {
    fn name(&self) -> &'static str {
        "bias_add"
    }

    fn images(&self) -> Images {
        Images::Each
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2)?;
        let (_, c, _, _) = image(x[0])?;
        if x[1] != (Shape::Channels { c }) {
            return Err(format!("x has C {c}, the bias is {}", x[1]));
        }
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[0].nchw();
        vec![x[0].iter().enumerate().map(|(i, v)| v + x[1][i / (h * w) % c]).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (n, _, h, w) = k.shape(x[0]).nchw();
        let (pixels, quads) = (n * h * w, k.shape(x[1]).words() / 4);
        let (each, wide) = k.cell(quads);
        let cells = quads / each;
        let lanes = cells.next_power_of_two().min(64);
        // Many pixels a thread where a thread's fixed cost counts, many threads elsewhere.
        let repeat = pixels.div_ceil(64 / lanes).clamp(1, if k.tuning.wide() { 8 } else { 4 });
        let blocks = cells.div_ceil(lanes);
        let baked = [wide, ("LANES", lanes as i64), ("REPEAT", repeat as i64)];
        let params = [("pixels", pixels), ("channel_cells", cells), ("channel_blocks", blocks)];
        let params = params.map(|(n, v)| (n, Word::from(v)));
        let buffers = [x[0].into(), x[1].into(), y[0].into()];
        k.launch(SOURCE, "bias_add", &baked, &params, &buffers, pixels.div_ceil(64 / lanes * repeat) * blocks);
    }

    fn gradient<'g>(
        &self,
        _: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        vec![wanted[0].then_some(dy), wanted[1].then(|| dy.apply(BiasGrad, &[]))]
    }
}

impl Op for BiasGrad {
    fn name(&self) -> &'static str {
        "bias_grad"
    }

    fn images(&self) -> Images {
        Images::Sum
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 1)?;
        let (_, c, _, _) = image(x[0])?;
        Ok(vec![Shape::Channels { c }])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, h, w) = xs[0].nchw();
        let mut db = vec![0.0; c];
        x[0].iter().enumerate().for_each(|(i, v)| db[i / (h * w) % c] += v);
        vec![db]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let (n, _, h, w) = k.shape(x[0]).nchw();
        let (pixels, quads) = (n * h * w, k.shape(y[0]).words() / 4);
        // Chunks of at least 64 rows, at most 1,024 of them: enough threads, and little left for the second kernel.
        let rows = pixels.div_ceil(1024).max(64);
        let chunks = pixels.div_ceil(rows);
        let part = k.workspace(chunks * quads * 4);
        let (each, wide) = k.cell(quads);
        let cells = quads / each;
        let params = [("channel_cells", cells), ("pixels", pixels), ("rows", rows), ("chunks", chunks)];
        let params = params.map(|(n, v)| (n, Word::from(v)));
        k.launch(SOURCE, "bias_grad_partial", &[wide], &params, &[x[0].into(), part], (chunks * cells).div_ceil(64));
        let params = [("channel_quads", quads), ("chunks", chunks)].map(|(n, v)| (n, Word::from(v)));
        k.launch(SOURCE, "bias_grad_total", &[], &params, &[part, y[0].into()], quads);
    }
}
