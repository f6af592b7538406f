//! Fusion: a node whose only output is read by exactly one other node becomes one with it where the operation knows a
//! kernel for both (`Op::fuse`): bias and ReLU into conv and dense, a ReLU's gradient into the conv's below it.

use crate::graph::{Node, ValueId};
use std::collections::HashMap;

/// Fuses `nodes` (in order) until nothing fits any more; values in `kept` are asked for from outside and stay.
pub fn fuse(nodes: Vec<Node>, kept: &[ValueId]) -> Vec<Node> {
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    for second in 0..nodes.len() {
        // Chains grow from their end: conv + bias first, then (conv + bias) + relu.
        let mut uses: HashMap<ValueId, usize> = HashMap::new();
        nodes.iter().flatten().flat_map(|n| &n.inputs).for_each(|v| *uses.entry(*v).or_default() += 1);
        let Some(next) = nodes[second].clone() else { continue };
        let Some(link) = next.inputs.first().copied() else { continue };
        if uses[&link] != 1 || kept.contains(&link) {
            continue;
        }
        let Some(first) = nodes[..second].iter().position(|n| n.as_ref().is_some_and(|n| n.outputs == [link])) else {
            continue;
        };
        let Some(producer) = nodes[first].clone() else { continue };
        let Some(op) = producer.op.fuse(next.op.as_ref()) else { continue };
        let inputs = producer.inputs.iter().chain(&next.inputs[1..]).copied().collect();
        // The fused node stands where the second stood: all its inputs are there by then.
        nodes[first] = None;
        nodes[second] = Some(Node { op, inputs, outputs: next.outputs, path: producer.path });
    }
    nodes.into_iter().flatten().collect()
}
