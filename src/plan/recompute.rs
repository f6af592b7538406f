//! Recomputation: cheap results are computed a second time where the backward pass reads them, instead of being kept from the
//! forward pass (Chen et al., arXiv:1604.06174; for BN and ReLU of DenseNets Pleiss et al., arXiv:1707.06990).

use crate::graph::{Node, ValueId};
use std::collections::HashMap;

/// Fewest nodes between two uses of a value for which it is dropped and made again.
const WAIT: usize = 8;

/// Adds, for each node that is [`crate::graph::Op::cheap`], a copy of it before the first use after the longest time that its
/// output waits, if its large inputs live until then anyway. `fresh` makes a value like the given one, `large` says which
/// count; values in `kept` stay.
pub fn recompute(
    mut nodes: Vec<Node>,
    kept: &[ValueId],
    large: &dyn Fn(ValueId) -> bool,
    fresh: &mut dyn FnMut(ValueId) -> ValueId,
) -> Vec<Node> {
    let mut at = nodes.len();
    while at > 0 {
        at -= 1;
        let [y] = nodes[at].outputs[..] else { continue };
        if !nodes[at].op.cheap() || kept.contains(&y) || !large(y) {
            continue;
        }
        let uses = |v: ValueId| nodes.iter().enumerate().filter(move |(_, n)| n.inputs.contains(&v)).map(|(i, _)| i);
        let touched: Vec<usize> = [at].into_iter().chain(uses(y)).collect();
        let Some((wait, late)) = touched.windows(2).map(|w| (w[1] - w[0], w[1])).max_by_key(|g| g.0) else { continue };
        let lives = |v: &ValueId| !large(*v) || kept.contains(v) || uses(*v).any(|i| i >= late);
        // One use and no other before it: the value is made where it is needed.
        if wait < WAIT || touched[1] == late || !nodes[at].inputs.iter().all(lives) {
            continue;
        }
        let again = fresh(y);
        for n in &mut nodes[late..] {
            n.inputs.iter_mut().filter(|v| **v == y).for_each(|v| *v = again);
        }
        let copy = Node { outputs: vec![again], ..nodes[at].clone() };
        nodes.insert(late, copy);
    }
    nodes
}

/// Shapes of values that planning adds to those of a graph.
#[derive(Default)]
pub(crate) struct Added {
    /// The first number that the graph does not use.
    pub(crate) base: usize,
    /// For each added value the one that it is like.
    pub(crate) like: HashMap<ValueId, ValueId>,
}

impl Added {
    /// A value like `v`.
    pub(crate) fn fresh(&mut self, v: ValueId) -> ValueId {
        let id = ValueId(self.base + self.like.len());
        self.like.insert(id, v);
        id
    }

    /// The graph's value that `v` is, or is like.
    pub(crate) fn original(&self, v: ValueId) -> ValueId {
        self.like.get(&v).copied().unwrap_or(v)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Shape};
    use crate::nn::{BatchNormOptions, Layers, Optimizer, ParamStore};
    use crate::ops::Geometry;
    use crate::ops::testing::{gpu, numbers};
    use crate::{Feed, Plan};
    use std::rc::Rc;

    /// Loss and weights of three steps, kernels of a step, and bytes if nothing were shared.
    fn steps(recompute: bool) -> (Vec<f32>, Vec<f32>, usize, u64) {
        let graph = Graph::new();
        let layers = Layers { training: true, ..Layers::default() };
        let x = graph.input("x", Shape::image(2, 3, 9, 7));
        let mut y = x;
        for i in 0..4 {
            let conv = layers.conv2d_unbiased(y, &format!("conv{i}"), 8, [3, 3], Geometry::same(3, 3));
            y = layers.batch_norm(conv, &format!("bn{i}"), BatchNormOptions::default()).relu();
            y = if i % 2 == 1 { y.add(conv) } else { y };
        }
        let labels = graph.input_integers("labels", 2);
        let logits = layers.dense(y.global_avg_pool(), "fc", 3);
        let (loss, _) = logits.cross_entropy(labels, crate::ops::Smoothing::None, None);
        let mut adam = Optimizer::adam();
        let update = adam.clone();
        let mut spec = update.step_of(loss);
        spec.recompute = recompute;
        let hyper = spec.hyper.unwrap();
        let weights = Rc::new(ParamStore::init(&graph, 5).upload(gpu()).unwrap());
        let mut plan = Plan::compile(gpu(), &graph, &weights, &spec).unwrap();
        let images = numbers(3, 2 * 3 * 9 * 7);
        let mut losses = Vec::new();
        for _ in 0..3 {
            let h = adam.advance(1e-2);
            let feeds = [(x, Feed::F32(&images)), (labels, Feed::U32(&[2, 0])), (hyper, Feed::F32(&h))];
            losses.extend_from_slice(&plan.run(gpu(), &feeds).unwrap()[0]);
        }
        let after = weights.download(gpu()).unwrap().into_iter().flat_map(|w| w.2).collect();
        (losses, after, plan.size().0, plan.memory().live)
    }

    #[test]
    fn the_same_bits_with_more_kernels_and_less_memory() {
        let (kept, again) = (steps(false), steps(true));
        assert_eq!((&kept.0, &kept.1), (&again.0, &again.1));
        assert!(again.2 >= kept.2 + 2, "{} kernels, kept {}", again.2, kept.2);
        assert!(again.3 < kept.3, "{} bytes live at once, kept {}", again.3, kept.3);
    }
}
