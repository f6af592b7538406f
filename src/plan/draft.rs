//! The first half of planning, without a byte allocated: which nodes run, what they launch, and which memory each value
//! needs. A refused plan ends here.

use super::fuse::fuse;
use super::liveness::{self, Lifetime, Slots};
use super::slices::Slices;
use super::weights::Weights;
use super::{PlanSpec, Update};
use crate::error::{Error, Result};
use crate::gpu::tuning::Tuning;
use crate::gpu::{Gpu, KernelKey};
use crate::graph::record::{Arena, PART_ALIGN, Values};
use crate::graph::{Graph, Launch, Node, Operand, Origin, Recorder, Shape, Tensor, Value, ValueId};
use std::collections::{HashMap, HashSet};

/// Where an operand's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Activation slot.
    Slot(usize),
    /// The input buffer of this number.
    Input(usize),
    /// A parameter, by its index in `Draft::params`.
    Param(usize),
    /// A gradient in the gradient arena, by the parameter's index.
    Grad(usize),
    /// A whole chunk of an arena.
    Chunk(Arena, usize),
}

/// A launch with its layer's path.
pub(crate) struct Step {
    pub(crate) path: String,
    pub(crate) op: &'static str,
    pub(crate) launch: Launch,
    /// What each buffer is.
    pub(crate) bound: Vec<Bound>,
}

/// Words `first..first + words` of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) place: Place,
    pub(crate) first: usize,
    pub(crate) words: usize,
}

/// A plan without memory.
pub(crate) struct Draft {
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Slots,
    pub(crate) inputs: Vec<(ValueId, Value)>,
    pub(crate) params: Vec<(ValueId, String)>,
    pub(crate) places: HashMap<ValueId, Place>,
    pub(crate) outputs: Vec<(ValueId, Shape, bool)>,
    /// The largest value, for the message of a refused plan.
    pub(crate) largest: Option<(String, Shape)>,
    /// Words of activations and workspaces if nothing shared memory.
    pub(crate) unshared: u64,
}

/// What operations may ask about values.
struct Described<'g> {
    graph: &'g Graph,
    slices: Slices,
}

impl Values for Described<'_> {
    fn shape(&self, v: ValueId) -> Shape {
        self.graph.inner.borrow().values[v.0].shape
    }

    fn host(&self, v: ValueId) -> (ValueId, usize) {
        self.slices.host(v)
    }
}

/// The nodes that `outputs` depend on, in order.
fn needed(graph: &Graph, outputs: &[ValueId]) -> Vec<Node> {
    let inner = graph.inner.borrow();
    let mut wanted = vec![false; inner.values.len()];
    outputs.iter().for_each(|v| wanted[v.0] = true);
    let mut keep = vec![false; inner.nodes.len()];
    for (i, n) in inner.nodes.iter().enumerate().rev() {
        if n.outputs.iter().any(|v| wanted[v.0]) {
            keep[i] = true;
            n.inputs.iter().for_each(|v| wanted[v.0] = true);
        }
    }
    inner.nodes.iter().zip(keep).filter(|(_, k)| *k).map(|(n, _)| n.clone()).collect()
}

/// The kernels that a plan of `outputs` launches under a row of the tuning table, in order; needs no GPU.
pub fn kernels(graph: &Graph, outputs: &[Tensor], tuning: Tuning) -> Vec<KernelKey> {
    let roots: Vec<ValueId> = outputs.iter().map(|t| t.id).collect();
    // Nothing shares memory here, so that the kernels that copy are among them.
    let values = Described { graph, slices: Slices::default() };
    let of = |node: &Node| {
        let mut recorder = Recorder::new(tuning, usize::MAX, &values);
        node.op.dispatch(&mut recorder, &node.inputs, &node.outputs);
        recorder.launches.into_iter().map(|l| l.key).collect::<Vec<_>>()
    };
    fuse(needed(graph, &roots), &roots).iter().flat_map(of).collect()
}

impl Draft {
    pub(crate) fn new(gpu: &Gpu, graph: &Graph, weights: &Weights, spec: &PlanSpec) -> Result<Draft> {
        let mut roots: Vec<ValueId> = spec.outputs.iter().map(|t| t.id).collect();
        roots.extend(spec.gradients.iter().map(|(_, g)| g.id));
        let nodes = fuse(needed(graph, &roots), &roots);
        let describe = |v: ValueId| graph.describe(v);

        let mut draft = Draft {
            steps: Vec::new(),
            slots: Slots::default(),
            inputs: Vec::new(),
            params: Vec::new(),
            places: HashMap::new(),
            outputs: spec.outputs.iter().map(|t| (t.id, t.shape(), describe(t.id).integer)).collect(),
            largest: None,
            unshared: 0,
        };
        draft.place_sources(graph, weights, &nodes, &roots)?;
        draft.place_gradients(weights, spec, describe)?;

        // Record every node's launches; memory lives from the node that first writes a value in it to the last that reads
        // one.
        let placed: HashSet<ValueId> = roots.iter().chain(draft.places.keys()).copied().collect();
        let shape = |v: ValueId| graph.inner.borrow().values[v.0].shape;
        let values = Described { graph, slices: Slices::find(&nodes, &shape, &|v| placed.contains(&v)) };
        let end = nodes.len();
        let mut lifetimes: Vec<Lifetime> = Vec::new();
        let mut of_host: HashMap<ValueId, usize> = HashMap::new();
        let mut recorded = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            for v in &node.outputs {
                let host = values.slices.host(*v).0;
                if draft.largest.as_ref().is_none_or(|(_, s)| shape(host).words() > s.words()) {
                    draft.largest = Some((node.path.clone(), shape(host)));
                }
                if !draft.places.contains_key(v) {
                    let last = if roots.contains(&host) { end } else { i };
                    of_host.entry(host).or_insert_with(|| {
                        lifetimes.push(Lifetime { words: shape(host).words(), first: i, last });
                        lifetimes.len() - 1
                    });
                }
            }
            for v in node.inputs.iter().chain(&node.outputs) {
                if let Some(l) = of_host.get(&values.slices.host(*v).0) {
                    lifetimes[*l].last = lifetimes[*l].last.max(i);
                }
            }
            let mut recorder = Recorder::new(gpu.tuning, gpu.binding_words(), &values);
            node.op.dispatch(&mut recorder, &node.inputs, &node.outputs);
            let xs: Vec<Shape> = node.inputs.iter().map(|v| shape(*v)).collect();
            let ys: Vec<Shape> = node.outputs.iter().map(|v| shape(*v)).collect();
            let (mut launches, workspaces) = (recorder.launches, recorder.workspaces);
            if let Some(first) = launches.first_mut() {
                first.cost = node.op.cost(&xs, &ys);
            }
            let start = lifetimes.len();
            lifetimes.extend(workspaces.iter().map(|w| Lifetime { words: *w, first: i, last: i }));
            recorded.push((launches, start));
        }
        // Guard bands stand at a value's end, so a guarded value has its slot to itself.
        draft.slots = if gpu.guards { liveness::separate(&lifetimes) } else { liveness::assign(&lifetimes) };
        draft.unshared = lifetimes.iter().map(|l| l.words as u64).sum();
        for (v, l) in of_host {
            draft.places.insert(v, Place::Slot(draft.slots.slot[l]));
        }
        for (node, (launches, workspaces)) in nodes.iter().zip(recorded) {
            for launch in launches {
                let place = |o: &Operand| match *o {
                    Operand::Value(v) => {
                        let host = values.slices.host(v).0;
                        Bound { place: draft.places[&host], first: 0, words: shape(host).words() }
                    }
                    Operand::Part { value, first, words } => Bound { place: draft.places[&value], first, words },
                    Operand::Workspace(w) => {
                        let l = workspaces + w;
                        Bound { place: Place::Slot(draft.slots.slot[l]), first: 0, words: lifetimes[l].words }
                    }
                    Operand::Chunk(a, c) => {
                        Bound { place: Place::Chunk(a, c), first: 0, words: weights.trainable[c].words }
                    }
                };
                let bound = launch.buffers.iter().map(place).collect();
                draft.steps.push(Step { path: node.path.clone(), op: node.op.name(), launch, bound });
            }
        }
        if let Some(update) = spec.update {
            draft.add_update(weights, update, spec, gpu.binding_words());
        }
        draft.check_bindings(gpu)?;
        Ok(draft)
    }

    /// Inputs and parameters that the nodes read, or that are asked for directly.
    fn place_sources(&mut self, graph: &Graph, weights: &Weights, nodes: &[Node], roots: &[ValueId]) -> Result<()> {
        let mut used: Vec<ValueId> =
            nodes.iter().flat_map(|n| n.inputs.iter().copied()).chain(roots.iter().copied()).collect();
        used.sort_unstable();
        used.dedup();
        for v in used {
            let value = graph.describe(v);
            match value.origin {
                Origin::Input => {
                    self.places.insert(v, Place::Input(self.inputs.len()));
                    self.inputs.push((v, value));
                }
                Origin::Param { .. } => {
                    let slot = weights.slot(&value.name).ok_or_else(|| {
                        Error::Usage(format!("the weights hold no parameter {} {}", value.name, value.shape))
                    })?;
                    if slot.shape != value.shape {
                        let (n, have, want) = (&value.name, slot.shape, value.shape);
                        return Err(Error::Usage(format!(
                            "parameter {n}: the weights hold {have}, the graph needs {want}"
                        )));
                    }
                    self.places.insert(v, Place::Param(self.params.len()));
                    self.params.push((v, value.name));
                }
                Origin::Node { .. } => {}
            }
        }
        Ok(())
    }

    /// Gradients of an optimizer's parameters lie in the gradient arena, where its one dispatch finds them.
    fn place_gradients(
        &mut self,
        weights: &Weights,
        spec: &PlanSpec,
        describe: impl Fn(ValueId) -> Value,
    ) -> Result<()> {
        if spec.update.is_none() {
            return Ok(());
        }
        for (param, grad) in &spec.gradients {
            let name = describe(param.id).name;
            let fits = weights.slot(&name).is_some_and(|s| s.trainable && s.shape == grad.shape());
            if !fits || !matches!(describe(grad.id).origin, Origin::Node { .. }) || self.places.contains_key(&grad.id) {
                return Err(Error::Internal(format!("the gradient of {name} has no place of its own")));
            }
            let index = self.params.iter().position(|(v, _)| *v == param.id);
            let index = index.ok_or_else(|| Error::Internal(format!("{name} has a gradient but is not used")))?;
            self.places.insert(grad.id, Place::Grad(index));
        }
        Ok(())
    }

    fn add_update(&mut self, weights: &Weights, update: &dyn Update, spec: &PlanSpec, binding_words: usize) {
        let hyper = spec.hyper.expect("an update comes with its hyperparameter input").id;
        if !self.places.contains_key(&hyper) {
            self.places.insert(hyper, Place::Input(self.inputs.len()));
            self.inputs.push((hyper, spec.hyper.expect("as above").graph().describe(hyper)));
        }
        // A chunk that holds one large parameter is updated in pieces.
        let most = binding_words / PART_ALIGN * PART_ALIGN;
        for (chunk, c) in weights.trainable.iter().enumerate() {
            for first in (0..c.words).step_by(most) {
                let words = most.min(c.words - first);
                let launch = update.launch(Operand::Value(hyper), chunk, words);
                let bound = launch.buffers.iter().map(|o| match *o {
                    Operand::Value(v) => {
                        Bound { place: self.places[&v], first: 0, words: crate::graph::shape::padded(super::HYPER) }
                    }
                    Operand::Chunk(a, i) => Bound { place: Place::Chunk(a, i), first, words },
                    Operand::Part { .. } | Operand::Workspace(_) => unreachable!("optimizers bind whole chunks"),
                });
                let bound = bound.collect();
                self.steps.push(Step { path: format!("optimizer chunk {chunk}"), op: update.name(), launch, bound });
            }
        }
    }

    /// No buffer may exceed what one binding can hold.
    fn check_bindings(&self, gpu: &Gpu) -> Result<()> {
        let limit = gpu.binding_words() as u64 * 4;
        for s in &self.steps {
            for b in &s.bound {
                let bytes = b.words as u64 * 4;
                if bytes > limit {
                    return Err(Error::Memory(format!(
                        "{} / {}: a buffer of {bytes} bytes is needed, {} binds at most {limit} at once; \
                         a smaller batch or image side makes it fit",
                        s.path, s.op, gpu.info.name
                    )));
                }
            }
        }
        Ok(())
    }
}
