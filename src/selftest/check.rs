//! One case: on the GPU with poisoned memory, in f64, and by finite differences of the f64 forward reference.

use super::CaseResult;
use super::cases::{Bound, Case, Kind};
use super::draw::{Draw, Recorded, Stream, record_with};
use crate::error::{Error, Result};
use crate::gpu::tuning::Tuning;
use crate::gpu::{Gpu, KernelKey};
use crate::graph::reference::{Values, evaluate};
use crate::graph::{Graph, Shape, Tensor, downcast, layout};
use crate::ops::GlobalMaxPool;
use crate::plan::{Feed, Plan, PlanSpec, Weights};
use std::rc::Rc;

/// Unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;

/// Step of the central differences; extrapolated from it and its half, so that the error is O(h⁴) (Richardson).
const STEP: f64 = 1.0 / 8192.0;

/// Floating point operations to spend on finite differences of one input; small cases get [`MOST`] elements.
const BUDGET: f64 = 2e8;
const MOST: usize = 24;

/// γₙ: the relative error of n roundings in a row.
fn gamma(n: usize) -> f64 {
    n as f64 * U / (1.0 - n as f64 * U)
}

/// What a case gave on a GPU.
#[derive(Clone, Debug)]
pub struct Computed {
    /// Results, then gradients, in the world's layout.
    pub outputs: Vec<Vec<f32>>,
    /// The first guard band that changed, if any.
    pub guards: Option<String>,
    /// The first extra lane that is not zero, if any.
    pub lanes: Option<String>,
    /// The plan's listing.
    pub listing: String,
}

/// A case with its upstream gradient and the gradients that are asked for.
pub(super) struct Differentiated<'g> {
    pub(super) recorded: Recorded<'g>,
    pub(super) upstream: Option<(Tensor<'g>, Vec<f32>)>,
    /// Index of the input, its gradient.
    pub(super) gradients: Vec<(usize, Tensor<'g>)>,
}

pub(super) fn differentiate<'g>(graph: &'g Graph, case: &Case, wanted: Draw) -> Differentiated<'g> {
    let recorded = record_with(graph, case, wanted);
    let smooth = |k: Kind| matches!(k, Kind::Unit(_) | Kind::Apart);
    let wrt: Vec<usize> = (0..case.inputs.len()).filter(|i| smooth(case.inputs[*i].kind)).collect();
    if wrt.is_empty() {
        return Differentiated { recorded, upstream: None, gradients: Vec::new() };
    }
    let y = recorded.outputs[0];
    let dy = graph.input("dy", y.shape());
    let mut s = Stream::new(1, &case.name);
    let values = (0..y.shape().elements()).map(|_| s.unit()).collect();
    let tensors: Vec<Tensor> = wrt.iter().map(|i| recorded.inputs[*i]).collect();
    let all = y.gradients_with(dy, &tensors);
    let gradients = wrt.into_iter().zip(all).filter_map(|(i, g)| Some((i, g?))).collect();
    Differentiated { recorded, upstream: Some((dy, values)), gradients }
}

impl<'g> Differentiated<'g> {
    pub(super) fn asked(&self) -> Vec<Tensor<'g>> {
        self.recorded.outputs.iter().copied().chain(self.gradients.iter().map(|g| g.1)).collect()
    }

    pub(super) fn known(&self) -> Values {
        let mut known = self.recorded.known();
        if let Some((dy, v)) = &self.upstream {
            known.insert(dy.id, v.iter().map(|x| f64::from(*x)).collect());
        }
        known
    }

    fn compile(&self, gpu: &Gpu, graph: &Graph) -> Result<Plan> {
        let none = std::iter::empty::<(&str, Shape, bool, &[f32])>();
        let weights = Rc::new(Weights::upload(gpu, none)?);
        Plan::compile(gpu, graph, &weights, &PlanSpec { outputs: self.asked(), ..PlanSpec::default() })
    }

    /// Feeds the case's numbers and runs once.
    fn feed(&self, gpu: &Gpu, graph: &Graph, plan: &mut Plan) -> Result<Vec<Vec<f32>>> {
        let r = &self.recorded;
        let labels: Vec<Vec<u32>> = r.values.iter().map(|v| v.iter().map(|x| *x as u32).collect()).collect();
        let mut feeds: Vec<(Tensor, Feed)> = Vec::new();
        for (i, t) in r.inputs.iter().enumerate() {
            let integer = graph.describe(t.id).integer;
            feeds.push((*t, if integer { Feed::U32(&labels[i]) } else { Feed::F32(&r.values[i]) }));
        }
        feeds.extend(self.upstream.iter().map(|(t, v)| (*t, Feed::F32(v))));
        // A value that nothing in the plan reads is no input of it: the dy of a ReLU that is not differentiated.
        feeds.retain(|(t, _)| plan.reads(t.id));
        plan.run(gpu, &feeds)
    }

    pub(super) fn run(&self, gpu: &Gpu, graph: &Graph) -> Result<Computed> {
        let mut plan = self.compile(gpu, graph)?;
        plan.poison(gpu)?;
        let outputs = self.feed(gpu, graph, &mut plan)?;
        let guards = match plan.check_guards(gpu) {
            Ok(()) => None,
            Err(Error::Numerics(m)) => Some(m),
            Err(e) => return Err(e),
        };
        let mut lanes = None;
        for (i, (shape, memory)) in plan.output_memory(gpu)?.into_iter().enumerate() {
            let hit = layout::extra_lanes(shape)
                .into_iter()
                .find(|w| !matches!(shape, Shape::Windows { .. }) && memory[*w] != 0.0);
            if let (Some(w), None) = (hit, &lanes) {
                lanes = Some(format!("output {i} {shape}: word {w} is {}", memory[w]));
            }
        }
        Ok(Computed { outputs, guards, lanes, listing: plan.to_string() })
    }
}

/// The kernels of a case, forward and backward, under a row of the tuning table; needs no GPU.
pub fn kernels(case: &Case, tuning: Tuning) -> Vec<KernelKey> {
    let graph = Graph::new();
    let d = differentiate(&graph, case, Draw::Nothing);
    crate::plan::kernels(&graph, &d.asked(), tuning)
}

/// The plan of a case, forward and backward, with its numbers in it: for benchmarks.
///
/// # Errors
/// Errors of the device.
pub fn prepare(gpu: &Gpu, case: &Case) -> Result<Plan> {
    let graph = Graph::new();
    let d = differentiate(&graph, case, Draw::Any);
    let mut plan = d.compile(gpu, &graph)?;
    d.feed(gpu, &graph, &mut plan)?;
    Ok(plan)
}

/// Runs a case, forward and backward, in memory full of NaN.
///
/// # Errors
/// Errors of the device.
pub fn compute(gpu: &Gpu, case: &Case) -> Result<Computed> {
    let graph = Graph::new();
    differentiate(&graph, case, Draw::Apart).run(gpu, &graph)
}

/// Runs a case and compares every result and every gradient with f64, a random part of the gradients with finite
/// differences, and looks at the guard bands and the extra lanes.
///
/// # Errors
/// Errors of the device.
pub fn check(gpu: &Gpu, case: &Case) -> Result<Vec<CaseResult>> {
    let graph = Graph::new();
    let d = differentiate(&graph, case, Draw::Apart);
    let got = d.run(gpu, &graph)?;
    let (known, asked) = (d.known(), d.asked());
    let want = evaluate(&graph, &known, &asked);
    let results = d.recorded.outputs.len();
    let scales = scales(&graph, case, &known, &asked, results);
    let mut all = Vec::new();
    for (i, t) in asked.iter().enumerate() {
        let (tolerance, scale) = &scales[i];
        let exact = vec![1.0; want[i].len()];
        let (tolerance, scale) =
            if matches!(t.shape(), Shape::Windows { .. }) { (0.0, &exact) } else { (*tolerance, scale) };
        let direction = match i.checked_sub(results) {
            None => "forward".to_string(),
            Some(g) => format!("gradient of {}", case.inputs[d.gradients[g].0].name),
        };
        let mut r = compare(&got.outputs[i], &want[i], scale, tolerance);
        (r.name, r.family, r.direction) = (case.name.clone(), case.family, direction);
        if let Some(g) = i.checked_sub(results) {
            let fd = Differences { graph: &graph, case, d: &d, known: &known, input: d.gradients[g].0 };
            fd.check(&got.outputs[i], &want[i], scale, &mut r);
        }
        all.push(r);
    }
    let slots = usize::from(gpu.guards);
    for (direction, fault, elements) in [("guard bands", got.guards, slots), ("extra lanes", got.lanes, asked.len())] {
        if elements > 0 {
            all.push(CaseResult {
                name: case.name.clone(),
                family: case.family,
                direction: direction.into(),
                worst_error: 0.0,
                tolerance: 0.0,
                ok: fault.is_none(),
                elements,
                note: fault.unwrap_or_default(),
            });
        }
    }
    Ok(all)
}

pub(super) fn compare(got: &[f32], want: &[f64], scale: &[f64], tolerance: f64) -> CaseResult {
    let mut r = CaseResult {
        name: String::new(),
        family: "",
        direction: String::new(),
        worst_error: 0.0,
        tolerance,
        ok: got.len() == want.len(),
        elements: want.len(),
        note: if got.len() == want.len() {
            String::new()
        } else {
            format!("{} elements for {}", got.len(), want.len())
        },
    };
    for (i, ((g, w), s)) in got.iter().zip(want).zip(scale).enumerate() {
        let error = (f64::from(*g) - w).abs();
        let relative = if error == 0.0 { 0.0 } else { error / s };
        // NaN compares false: it is never within the tolerance, and it stays the worst.
        let within = relative <= tolerance;
        if !within && r.ok {
            r.note = format!("element {i} is {g}, f64 says {w} (terms add up to {s:.3e})");
        }
        r.ok &= within;
        if !r.worst_error.is_nan() && (relative.is_nan() || relative > r.worst_error) {
            r.worst_error = relative;
        }
    }
    r
}

/// For each asked value its tolerance and, element by element, what it is relative to.
pub(super) fn scales(
    graph: &Graph,
    case: &Case,
    known: &Values,
    asked: &[Tensor],
    count: usize,
) -> Vec<(f64, Vec<f64>)> {
    let constant = |t: &Tensor, s: f64| vec![s; t.shape().elements()];
    match case.bound {
        Bound::Sums { forward, backward } => {
            // A negative factor makes a sum of magnitudes negative: only its size counts.
            let mut scale = evaluate(graph, &magnitudes(graph, known), asked);
            scale.iter_mut().flatten().for_each(|s| *s = s.abs());
            scale.into_iter().enumerate().map(|(i, s)| (gamma(if i < count { forward } else { backward }), s)).collect()
        }
        Bound::Absolute { forward, backward } => {
            let all = asked.iter().enumerate();
            all.map(|(i, t)| (U * if i < count { forward } else { backward }, constant(t, 1.0))).collect()
        }
        Bound::Channels { forward, image, channel } => {
            let (n, _, h, w) = asked[0].nchw();
            let bound = |(i, t): (usize, &Tensor)| match t.shape() {
                _ if i < count => (U * forward, constant(t, 1.0)),
                Shape::Channels { .. } => (U * channel, constant(t, (n * h * w) as f64)),
                _ => (U * image, constant(t, 1.0)),
            };
            asked.iter().enumerate().map(bound).collect()
        }
        Bound::Softmax { classes, range } => {
            // exp: rounding of the argument and its own 3 + 2|x| ulp, |x| <= 2 range; twice, for numerator and sum.
            let y = U * (2.0 * (6.0 + 10.0 * range) + classes as f64 + 5.0);
            let forward = evaluate(graph, known, &asked[..1]).remove(0);
            // dx = y (dy - sum dy y): |dy| <= 1 and sum y = 1, so the bracket is at most 2.
            let mut all = vec![(y, forward)];
            all.extend(asked[1..].iter().map(|t| (2.0 * y + (classes as f64 + 3.0) * U, constant(t, 2.0))));
            all
        }
        Bound::CrossEntropy { classes, range, rows } => {
            let (c, n) = (classes as f64, rows as f64);
            let weigh = case.inputs.iter().any(|i| i.kind == Kind::Positive);
            let weight = if weigh { 1.5 } else { 1.0 };
            let exp = U * (6.0 + 10.0 * range + c);
            let top = c.ln() + 2.0 * range;
            let loss = exp + 1.0 / 2_097_152.0 + 6.0 * U * c.ln() + top * (c + n + 9.0) * U;
            let labels = &known[&graph.find_input("labels").expect("a cross entropy has labels").id];
            let live = labels.iter().filter(|l| **l < c).count().max(1) as f64;
            let dx = 2.0 * exp + 13.0 * U;
            asked
                .iter()
                .enumerate()
                .map(|(i, t)| if i < count { (loss, constant(t, weight)) } else { (dx, constant(t, weight / live)) })
                .collect()
        }
    }
}

/// The absolute values of what is known; a max pool's winners stay those of the true values, while its result is the
/// largest of the window's magnitudes: no error of a maximum exceeds the largest error in its window.
fn magnitudes(graph: &Graph, known: &Values) -> Values {
    let pools: Vec<Vec<Tensor>> = {
        let inner = graph.inner.borrow();
        let windows = |n: &&crate::graph::Node| {
            n.outputs.iter().any(|v| matches!(inner.values[v.0].shape, Shape::Windows { .. }))
                || downcast::<GlobalMaxPool>(n.op.as_ref()).is_some()
        };
        inner
            .nodes
            .iter()
            .filter(windows)
            .map(|n| n.outputs.iter().map(|id| Tensor { graph, id: *id }).collect())
            .collect()
    };
    let mut all: Values = known.iter().map(|(k, v)| (*k, v.iter().map(|x| x.abs()).collect())).collect();
    for outputs in pools {
        let largest = evaluate(graph, &all, &outputs[..1]).remove(0);
        let winners = evaluate(graph, known, &outputs[1..]).remove(0);
        all.insert(outputs[0].id, largest);
        all.insert(outputs[1].id, winners);
    }
    all
}

/// Finite differences of Σ dy · y in one input.
struct Differences<'a, 'g> {
    graph: &'g Graph,
    case: &'a Case,
    d: &'a Differentiated<'g>,
    known: &'a Values,
    input: usize,
}

impl Differences<'_, '_> {
    fn check(&self, got: &[f32], gradient: &[f64], scale: &[f64], r: &mut CaseResult) {
        let Some((dy, upstream)) = &self.d.upstream else { return };
        let flops: f64 = self.flops();
        let count = ((BUDGET / (4.0 * flops)) as usize).clamp(1, MOST).min(gradient.len());
        let mut s = Stream::new(2, &self.case.name);
        let y = self.d.recorded.outputs[0];
        let largest = evaluate(self.graph, self.known, &[y])[0].iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let most = upstream.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        // Rounding of two f64 differences by a step, and of what they are differences of.
        let slack = 16.0 * f64::EPSILON * (largest + 1.0) * f64::from(most) * (upstream.len() as f64).sqrt() / STEP;
        debug_assert!(self.known.contains_key(&dy.id));
        // Smoothed targets are rounded to f32 and then add up to 1 only within that.
        let targets = if let Bound::CrossEntropy { classes, .. } = self.case.bound { classes as f64 * U } else { 0.0 };
        for _ in 0..count {
            let i = s.below(gradient.len());
            let (coarse, fine) = (self.slope(y, upstream, i, STEP), self.slope(y, upstream, i, STEP / 2.0));
            let slope = (4.0 * fine - coarse) / 3.0;
            let (reference, gpu) = ((slope - gradient[i]).abs(), (slope - f64::from(got[i])).abs());
            let allowed = slack + (1e-9 + targets) * scale[i];
            let faults = [
                (
                    reference <= allowed,
                    format!("element {i}: the f64 gradient is {}, finite differences say {slope}", gradient[i]),
                ),
                (
                    gpu <= allowed + r.tolerance * scale[i],
                    format!("element {i} is {}, finite differences say {slope}", got[i]),
                ),
            ];
            for (fine, note) in faults {
                if !fine && r.ok {
                    r.note = note;
                }
                r.ok &= fine;
            }
        }
        r.elements += count;
    }

    /// Central difference of Σ dy · y at element `i` of the input.
    fn slope(&self, y: Tensor, upstream: &[f32], i: usize, h: f64) -> f64 {
        let at = |h: f64| {
            let mut known = self.known.clone();
            if let Some(v) = known.get_mut(&self.d.recorded.inputs[self.input].id) {
                v[i] += h;
            }
            evaluate(self.graph, &known, &[y]).remove(0)
        };
        let (up, down) = (at(h), at(-h));
        up.iter().zip(&down).zip(upstream).map(|((a, b), d)| (a - b) * f64::from(*d)).sum::<f64>() / (2.0 * h)
    }

    fn flops(&self) -> f64 {
        let inner = self.graph.inner.borrow();
        let shape = |v: &crate::graph::ValueId| inner.values[v.0].shape;
        let last = self.d.recorded.outputs[0].id;
        let cost = |n: &crate::graph::Node| {
            let (xs, ys): (Vec<_>, Vec<_>) =
                (n.inputs.iter().map(shape).collect(), n.outputs.iter().map(shape).collect());
            n.op.cost(&xs, &ys).flops
        };
        inner.nodes.iter().filter(|n| n.outputs[0] <= last).map(cost).sum::<f64>().max(1.0)
    }
}
