//! One case with activations stored as f16, against f64.

use super::CaseResult;
use super::cases::{Build, Case};
use super::check::{compare, differentiate, scales};
use super::draw::Draw;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::reference::evaluate;
use crate::graph::{Graph, Node, Shape, Tensor, ValueId, downcast};
use crate::ops::Scale;
use half::f16;
use std::collections::HashSet;

/// Unit roundoff of f16, to nearest: what a stored number is off by at most, relative to its size.
pub const U16: f64 = 1.0 / 2048.0;

/// What a number below the smallest normal f16 is off by at most.
const TINY: f64 = 1.0 / 33_554_432.0;

/// Whether a value in the middle of a plan is stored as f16.
fn stored(t: &Tensor) -> bool {
    !t.graph().describe(t.id).integer && matches!(t.shape(), Shape::Image { h, w, .. } if h * w > 1)
}

/// The same operations on inputs that were stored once and with results that will be: inputs and outputs of a plan are f32, so
/// a copy (a product with 1) stands between them and the case.
fn between_copies(case: Case) -> Case {
    let (build, copy) = (case.build, |t: Tensor<'_>| stored(&t));
    let build: Build = Box::new(move |graph, x| {
        let x: Vec<Tensor> = x.iter().map(|t| if copy(*t) { t.scale(1.0) } else { *t }).collect();
        build(graph, &x).into_iter().map(|y| if copy(y) { y.scale(1.0) } else { y }).collect()
    });
    Case { build, ..case }
}

/// How many times a number on the way to `value` is rounded to f16: kernels that `value` depends on and that store images.
/// Copies of what was stored before are exact.
fn roundings(nodes: &[Node], graph: &Graph, value: ValueId) -> usize {
    let (mut wanted, mut count) = (HashSet::from([value]), 0);
    for n in nodes.iter().rev() {
        if n.outputs.iter().any(|v| wanted.contains(v)) {
            wanted.extend(&n.inputs);
            let copies = downcast::<Scale>(n.op.as_ref()).is_some_and(|s| s.factor == 1.0);
            count += usize::from(!copies && stored(&Tensor { graph, id: n.outputs[0] }));
        }
    }
    count
}

/// Runs a case, forward and backward, with activations stored as f16 on a `gpu` with [`crate::Storage::F16`], and compares with
/// f64 on inputs rounded to f16. The tolerance is that of f32 and, for each time that a number on the way is stored, one
/// rounding to f16 of the sum of the magnitudes of what was added up; `worst_error` counts such roundings.
///
/// # Errors
/// Errors of the device.
pub fn check_half(gpu: &Gpu, case: Case) -> Result<Vec<CaseResult>> {
    let case = between_copies(case);
    let graph = Graph::new();
    let mut d = differentiate(&graph, &case, Draw::Apart);
    let round = |v: &mut f32| *v = f16::from_f32(*v).to_f32();
    let inputs = d.recorded.inputs.iter().zip(&mut d.recorded.values);
    inputs.filter(|(t, _)| stored(t)).for_each(|(_, v)| v.iter_mut().for_each(round));
    if let Some((dy, v)) = &mut d.upstream {
        v.iter_mut().filter(|_| stored(dy)).for_each(round);
    }
    let got = d.run(gpu, &graph)?;
    let (known, asked) = (d.known(), d.asked());
    let want = evaluate(&graph, &known, &asked);
    let results = d.recorded.outputs.len();
    let scales = scales(&graph, &case, &known, &asked, results);
    let nodes = crate::plan::fused(&graph, &asked);
    let mut all = Vec::new();
    for (i, t) in asked.iter().enumerate() {
        let (tolerance, scale) = &scales[i];
        let direction = match i.checked_sub(results) {
            None => "forward".to_string(),
            Some(g) => format!("gradient of {}", case.inputs[d.gradients[g].0].name),
        };
        let roundings = roundings(&nodes, &graph, t.id) as f64;
        let size: Vec<f64> = scale.iter().zip(&want[i]).map(|(s, w)| U16 * s.max(w.abs()) + TINY).collect();
        let exact = matches!(t.shape(), Shape::Windows { .. });
        let allowed = if exact { 0.0 } else { roundings + tolerance / U16 };
        let mut r = compare(&got.outputs[i], &want[i], &size, allowed);
        (r.name, r.family, r.direction) = (case.name.clone(), case.family, direction);
        all.push(r);
    }
    for (direction, fault) in [("guard bands", got.guards), ("extra lanes", got.lanes)] {
        let ok = fault.is_none();
        let (name, note) = (case.name.clone(), fault.unwrap_or_default());
        let (worst_error, tolerance, elements) = (0.0, 0.0, asked.len());
        let direction = direction.into();
        all.push(CaseResult { name, family: case.family, direction, worst_error, tolerance, ok, elements, note });
    }
    Ok(all)
}
