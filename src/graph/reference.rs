//! The f64 interpreter: runs the same graph with each operation's reference. Slow, and right.

use super::graph::{Graph, Origin, Tensor, ValueId};
use super::shape::Shape;
use std::collections::HashMap;

/// Values in the world's layout by id.
pub type Values = HashMap<ValueId, Vec<f64>>;

/// Computes every value that `outputs` depend on from the inputs and parameters in `known`, and returns `outputs`.
///
/// # Panics
/// When an input or parameter that is needed is not in `known`.
#[track_caller]
pub fn evaluate(graph: &Graph, known: &Values, outputs: &[Tensor]) -> Vec<Vec<f64>> {
    let inner = graph.inner.borrow();
    let mut needed = vec![false; inner.values.len()];
    outputs.iter().for_each(|t| needed[t.id.0] = true);
    for node in inner.nodes.iter().rev() {
        if node.outputs.iter().any(|v| needed[v.0]) {
            node.inputs.iter().for_each(|v| needed[v.0] = true);
        }
    }
    let mut all: HashMap<ValueId, Vec<f64>> = known.clone();
    for node in &inner.nodes {
        if !node.outputs.iter().any(|v| needed[v.0]) || node.outputs.iter().all(|v| all.contains_key(v)) {
            continue;
        }
        let shape = |v: &ValueId| inner.values[v.0].shape;
        let xs: Vec<Shape> = node.inputs.iter().map(shape).collect();
        let ys: Vec<Shape> = node.outputs.iter().map(shape).collect();
        let x: Vec<&[f64]> = node
            .inputs
            .iter()
            .map(|v| {
                let missing = || panic!("{} / {}: no value for {}", node.path, node.op.name(), inner.values[v.0].name);
                all.get(v).unwrap_or_else(missing).as_slice()
            })
            .collect();
        let y = node.op.reference(&x, &xs, &ys);
        assert_eq!(y.len(), ys.len(), "{}: the reference gives every output", node.op.name());
        for ((v, values), s) in node.outputs.iter().zip(y).zip(&ys) {
            assert_eq!(values.len(), s.elements(), "{}: the reference's output is {s}", node.op.name());
            all.insert(*v, values);
        }
    }
    let missing = |t: &Tensor| {
        let v = &inner.values[t.id.0];
        debug_assert!(!matches!(v.origin, Origin::Node { .. }));
        panic!("no value for {}", v.name)
    };
    outputs.iter().map(|t| all.get(&t.id).cloned().unwrap_or_else(|| missing(t))).collect()
}
