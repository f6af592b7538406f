//! Softmax cross entropy from logits, with class weights and both label smoothings.

use super::arity;
use super::softmax::{SOURCE, rows, sizes, softmax_row};
use crate::gpu::Word;
use crate::graph::{Op, Recorder, Shape, Tensor, ValueId};

/// Label smoothing by ε.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Smoothing {
    /// Plain one-hot targets.
    #[default]
    None,
    /// (1 − ε) one-hot + ε / C over all classes (Szegedy et al., arXiv:1512.00567 §7; Keras, PyTorch).
    OverAll(f32),
    /// 1 − ε on the label, ε / (C − 1) on the others (Zhong, eq. 2).
    Others(f32),
}

impl Smoothing {
    /// Target on the label and on every other class.
    fn targets(self, classes: usize) -> (f32, f32) {
        let c = classes as f32;
        match self {
            Smoothing::None => (1.0, 0.0),
            Smoothing::OverAll(e) => (1.0 - e + e / c, e / c),
            Smoothing::Others(e) => (1.0 - e, e / (c - 1.0)),
        }
    }
}

/// Mean over the batch of w\[t\] Σ q\[k\] (logsumexp(x) − x\[k\]).
///
/// Inputs: logits [N, C], labels (N integers; a label ≥ C marks padding of the batch and counts for nothing), and class
/// weights \[C\] if `weights`. Outputs: the mean loss (one number), the N losses.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// Label smoothing.
    pub smoothing: Smoothing,
    /// Whether a third input holds class weights.
    pub weights: bool,
    /// Whether the mean divides by the sum of the rows' weights (PyTorch's `CrossEntropyLoss(weight)`) instead of by their
    /// count (Keras' `class_weight`).
    pub normalize: bool,
}

/// dx = dloss · w\[t\] (softmax(x) − q) / count. Inputs logits, labels, (class weights,) dloss.
#[derive(Clone, Debug)]
pub struct CrossEntropyGrad(pub CrossEntropy);

impl<'g> Tensor<'g> {
    /// Mean softmax cross entropy of these logits [N, C] against `labels`, and the N losses.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[track_caller]
    pub fn cross_entropy(
        self,
        labels: Tensor<'g>,
        smoothing: Smoothing,
        weights: Option<Tensor<'g>>,
    ) -> (Tensor<'g>, Tensor<'g>) {
        let op = CrossEntropy { smoothing, weights: weights.is_some(), normalize: false };
        let inputs: Vec<Tensor> = [self, labels].into_iter().chain(weights).collect();
        let out = self.graph().record(op, &inputs);
        (out[0], out[1])
    }
}

/// One row of the batch; no label: padding.
struct Row<'a> {
    logits: &'a [f64],
    label: Option<usize>,
    weight: f64,
}

impl CrossEntropy {
    fn check(&self, x: &[Shape]) -> Result<(usize, usize), String> {
        let (n, c) = rows(x[0])?;
        if x[1] != Shape::flat(n) {
            return Err(format!("logits have N {n}, labels are {}", x[1]));
        }
        if self.weights && x[2] != (Shape::Channels { c }) {
            return Err(format!("logits have C {c}, class weights are {}", x[2]));
        }
        if c < 2 {
            return Err(format!("softmax cross entropy needs 2 classes or more, C is {c}"));
        }
        Ok((n, c))
    }

    /// Rows with label and weight, and what the sum is divided by, for the reference.
    fn rows<'a>(&self, x: &[&'a [f64]], c: usize) -> (Vec<Row<'a>>, f64) {
        let row = |(logits, t): (&'a [f64], &f64)| {
            let label = Some(*t as usize).filter(|t| *t < c);
            let weight = label.map_or(0.0, |t| if self.weights { x[2][t] } else { 1.0 });
            Row { logits, label, weight }
        };
        let all: Vec<_> = x[0].chunks(c).zip(x[1]).map(row).collect();
        let valid = all.iter().filter(|r| r.label.is_some());
        let count: f64 = valid.map(|r| if self.normalize { r.weight } else { 1.0 }).sum();
        (all, if count > 0.0 { count } else { 1.0 })
    }

    fn target(&self, k: usize, t: usize, c: usize) -> f64 {
        let (on, off) = self.smoothing.targets(c);
        f64::from(if k == t { on } else { off })
    }

    fn baked(&self) -> [(&'static str, i64); 2] {
        [("WEIGHTS", i64::from(self.weights)), ("NORMALIZE", i64::from(self.normalize && self.weights))]
    }

    fn params(&self, s: Shape) -> Vec<(&'static str, Word)> {
        let (on, off) = self.smoothing.targets(s.nchw().1);
        let mut all = sizes(s).to_vec();
        all.extend([("on", Word::F(on)), ("off", Word::F(off))]);
        all
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 2 + usize::from(self.weights))?;
        let (n, _) = self.check(x)?;
        Ok(vec![Shape::flat(1), Shape::flat(n)])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, _, _) = xs[0].nchw();
        let (all, count) = self.rows(x, c);
        let loss = |Row { logits: r, label, weight: w }: &Row| {
            let Some(t) = *label else { return 0.0 };
            let top = r.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = r.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
            w * r.iter().enumerate().map(|(k, v)| self.target(k, t, c) * (log_sum - (v - top))).sum::<f64>()
        };
        let per: Vec<f64> = all.iter().map(loss).collect();
        vec![vec![per.iter().sum::<f64>() / count], per]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let params = self.params(k.shape(x[0]));
        let buffers: Vec<_> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "cross_entropy", &self.baked(), &params, &buffers, 1);
    }

    fn gradient<'g>(
        &self,
        x: &[Tensor<'g>],
        _: &[Tensor<'g>],
        dy: Tensor<'g>,
        wanted: &[bool],
    ) -> Vec<Option<Tensor<'g>>> {
        let others: Vec<Tensor> = x[1..].iter().copied().chain([dy]).collect();
        let dx = wanted[0].then(|| x[0].apply(CrossEntropyGrad(self.clone()), &others));
        [dx, None, None][..x.len()].to_vec()
    }
}

impl Op for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }

    fn shapes(&self, x: &[Shape]) -> Result<Vec<Shape>, String> {
        arity(x, 3 + usize::from(self.0.weights))?;
        self.0.check(x)?;
        Ok(vec![x[0]])
    }

    fn reference(&self, x: &[&[f64]], xs: &[Shape], _: &[Shape]) -> Vec<Vec<f64>> {
        let (_, c, _, _) = xs[0].nchw();
        let (all, count) = self.0.rows(x, c);
        let dloss = x[x.len() - 1][0];
        let row = |Row { logits: r, label, weight: w }: &Row| {
            let Some(t) = *label else { return vec![0.0; c] };
            let y = softmax_row(r);
            y.iter().enumerate().map(|(k, y)| dloss * w * (y - self.0.target(k, t, c)) / count).collect()
        };
        vec![all.iter().flat_map(row).collect()]
    }

    fn dispatch(&self, k: &mut Recorder, x: &[ValueId], y: &[ValueId]) {
        let s = k.shape(x[0]);
        let params = self.0.params(s);
        let buffers: Vec<_> = x.iter().chain(y).map(|v| (*v).into()).collect();
        k.launch(SOURCE, "cross_entropy_grad", &self.0.baked(), &params, &buffers, s.nchw().0.div_ceil(64));
    }
}
