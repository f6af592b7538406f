//! Reverse-mode differentiation, the only traversal: gradients are recorded as further nodes of the same graph, only for
//! what trains, and nothing upstream of the first trainable parameter runs backward.

use super::graph::{Graph, NodeId, Origin, Tensor, ValueId};
use std::collections::HashMap;

/// Records the gradients of Σ `seed` · `of` for each of `wrt`; `None` for a value that `of` does not depend on.
///
/// `seed` has the shape of `of`: the upstream gradient, a constant 1 for a loss. `sum` records the addition of two
/// gradients of one value. Users call `Tensor::gradients` and `Tensor::gradients_with` of `ops`.
///
/// # Panics
/// When the shapes of `of` and `seed` differ.
#[track_caller]
pub fn gradients<'g>(
    of: Tensor<'g>,
    seed: Tensor<'g>,
    wrt: &[Tensor<'g>],
    sum: fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let graph = of.graph();
    assert!(of.shape() == seed.shape(), "the upstream gradient of {} is {}", of.shape(), seed.shape());
    let wanted = reaches(graph, of.id, wrt);
    let mut grads: HashMap<ValueId, Tensor<'g>> = HashMap::new();
    grads.insert(of.id, seed);
    let last = match graph.describe(of.id).origin {
        Origin::Node { node, .. } => node.0 + 1,
        _ => 0,
    };
    for n in (0..last).rev() {
        let node = graph.inner.borrow().nodes[n].clone();
        let Some(&dy) = grads.get(&node.outputs[0]) else { continue };
        let needs: Vec<bool> = node.inputs.iter().map(|v| wanted[v.0]).collect();
        if !needs.iter().any(|b| *b) {
            continue;
        }
        let handle = |v: &ValueId| Tensor { graph, id: *v };
        let (x, y): (Vec<_>, Vec<_>) =
            (node.inputs.iter().map(handle).collect(), node.outputs.iter().map(handle).collect());
        let start = graph.len();
        let back = node.op.gradient(&x, &y, dy, &needs);
        for ((input, need), d) in node.inputs.iter().zip(&needs).zip(back) {
            let (true, Some(d)) = (*need, d) else { continue };
            let total = match grads.get(input) {
                // Every further use of a value adds to its gradient.
                Some(&before) => sum(before, d),
                None => d,
            };
            grads.insert(*input, total);
        }
        // What was recorded for the backward pass belongs to the layer whose gradient it is.
        let mut inner = graph.inner.borrow_mut();
        for later in &mut inner.nodes[start..] {
            later.path.clone_from(&node.path);
        }
        let end = inner.nodes.len();
        inner.backward.push((start..end, NodeId(n)));
    }
    wrt.iter().map(|t| grads.get(&t.id).copied().filter(|_| wanted[t.id.0])).collect()
}

/// For every value: does it lie on a path from one of `wrt` to `of`? Values come before the nodes that use them.
fn reaches(graph: &Graph, of: ValueId, wrt: &[Tensor]) -> Vec<bool> {
    let inner = graph.inner.borrow();
    let mut on = vec![false; inner.values.len()];
    for t in wrt {
        on[t.id.0] = true;
    }
    for node in &inner.nodes {
        if node.inputs.iter().any(|v| on[v.0]) {
            node.outputs.iter().for_each(|v| on[v.0] = true);
        }
    }
    let mut used = vec![false; inner.values.len()];
    used[of.0] = true;
    for node in inner.nodes.iter().rev() {
        if node.outputs.iter().any(|v| used[v.0]) {
            node.inputs.iter().for_each(|v| used[v.0] = true);
        }
    }
    on.iter().zip(used).map(|(a, b)| *a && b).collect()
}
