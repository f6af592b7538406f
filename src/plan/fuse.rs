//! Fusion: a node whose only output is read by exactly one other node becomes one with it where the operation knows a
//! kernel for both (`Op::fuse`): bias and ReLU into conv and dense, a ReLU's gradient into the conv's below it.

use crate::graph::{Node, ValueId};
use std::collections::HashMap;

/// Fuses `nodes` (in order) until nothing fits any more; values in `kept` are asked for from outside and stay.
pub fn fuse(nodes: Vec<Node>, kept: &[ValueId]) -> Vec<Node> {
    // A fusion moves uses from one node to another and removes one value, and inputs that it does not need.
    let mut uses: HashMap<ValueId, usize> = HashMap::new();
    nodes.iter().flat_map(|n| &n.inputs).for_each(|v| *uses.entry(*v).or_default() += 1);
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    // The node whose only output is this value.
    let mut makers: HashMap<ValueId, usize> = HashMap::new();
    for second in 0..nodes.len() {
        let free = |v: &ValueId| uses[v] == 1 && !kept.contains(v);
        // Chains grow from their end: conv + bias first, then (conv + bias) + relu.
        let joined = nodes[second].as_ref().and_then(|next| {
            let first = *makers.get(next.inputs.first().filter(|v| free(v))?)?;
            let producer = nodes[first].as_ref()?;
            let op = producer.op.fuse(next.op.as_ref())?;
            let inputs = producer.op.fused_inputs(&producer.inputs, &next.inputs[1..]);
            let before: Vec<ValueId> = producer.inputs.iter().chain(&next.inputs[1..]).copied().collect();
            Some((first, before, Node { op, inputs, outputs: next.outputs.clone(), path: producer.path.clone() }))
        });
        if let Some((first, before, node)) = joined {
            before.iter().for_each(|v| *uses.entry(*v).or_default() -= 1);
            node.inputs.iter().for_each(|v| *uses.entry(*v).or_default() += 1);
            // The fused node stands where the second stood: all its inputs are there by then.
            nodes[first] = None;
            nodes[second] = Some(node);
        }
        if let Some([output]) = nodes[second].as_ref().map(|n| n.outputs.as_slice()) {
            makers.insert(*output, second);
        }
    }
    nodes.into_iter().flatten().collect()
}
