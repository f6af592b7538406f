//! The first half of planning, without a byte allocated: which nodes run, what they launch, and which memory each value
//! needs. A refused plan ends here.

use super::fuse::fuse;
use super::liveness::{self, Lifetime, Slots};
use super::weights::Weights;
use super::{PlanSpec, Update};
use crate::error::{Error, Result};
use crate::gpu::tuning::Tuning;
use crate::gpu::{Gpu, KernelKey};
use crate::graph::record::Arena;
use crate::graph::{Graph, Launch, Node, Operand, Origin, Recorder, Shape, Tensor, Value, ValueId};
use std::collections::HashMap;

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
    /// Place and words of each buffer.
    pub(crate) places: Vec<(Place, usize)>,
}

/// A plan without memory.
pub(crate) struct Draft {
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Slots,
    pub(crate) inputs: Vec<(ValueId, Value)>,
    pub(crate) params: Vec<(ValueId, String)>,
    pub(crate) places: HashMap<ValueId, Place>,
    pub(crate) outputs: Vec<(ValueId, Shape, bool)>,
    /// Values and the frozen parameters that take their bits after the step.
    pub(crate) assigns: Vec<(ValueId, String)>,
    /// The largest value, for the message of a refused plan.
    pub(crate) largest: Option<(String, Shape)>,
    /// Words of activations and workspaces if nothing shared memory.
    pub(crate) unshared: u64,
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
    let shapes = |v: ValueId| graph.describe(v).shape;
    let of = |node: &Node| {
        let mut recorder = Recorder::new(tuning, &shapes);
        node.op.dispatch(&mut recorder, &node.inputs, &node.outputs);
        recorder.launches.into_iter().map(|l| l.key).collect::<Vec<_>>()
    };
    fuse(needed(graph, &roots), &roots).iter().flat_map(of).collect()
}

/// Values and the names of the parameters that take them.
fn assigns(weights: &Weights, spec: &PlanSpec, describe: impl Fn(ValueId) -> Value) -> Result<Vec<(ValueId, String)>> {
    let mut all: Vec<(ValueId, String)> = Vec::new();
    for (param, value) in &spec.assign {
        let (p, v) = (describe(param.id), describe(value.id));
        let slot = weights.slot(&p.name).filter(|s| !s.trainable && s.shape == p.shape && s.shape == v.shape);
        let once = all.iter().all(|(_, name)| *name != p.name);
        if slot.is_none() || !once || !matches!(v.origin, Origin::Node { .. } | Origin::Input) {
            return Err(Error::Usage(format!(
                "{} {} cannot take the value {} {}: needed are a frozen parameter of the weights, its shape, one value",
                p.name, p.shape, v.name, v.shape
            )));
        }
        all.push((value.id, p.name));
    }
    Ok(all)
}

impl Draft {
    pub(crate) fn new(gpu: &Gpu, graph: &Graph, weights: &Weights, spec: &PlanSpec) -> Result<Draft> {
        let mut roots: Vec<ValueId> = spec.outputs.iter().map(|t| t.id).collect();
        roots.extend(spec.gradients.iter().map(|(_, g)| g.id));
        roots.extend(spec.assign.iter().map(|(_, v)| v.id));
        let nodes = fuse(needed(graph, &roots), &roots);
        let describe = |v: ValueId| graph.describe(v);

        let mut draft = Draft {
            steps: Vec::new(),
            slots: Slots::default(),
            inputs: Vec::new(),
            params: Vec::new(),
            places: HashMap::new(),
            outputs: spec.outputs.iter().map(|t| (t.id, t.shape(), describe(t.id).integer)).collect(),
            assigns: assigns(weights, spec, describe)?,
            largest: None,
            unshared: 0,
        };
        draft.place_sources(graph, weights, &nodes, &roots)?;
        draft.place_gradients(weights, spec, describe)?;

        // Record every node's launches; a value lives from the node that writes it to the last that reads it.
        let end = nodes.len();
        let mut lifetimes: Vec<Lifetime> = Vec::new();
        let mut of_value: HashMap<ValueId, usize> = HashMap::new();
        let mut recorded = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            for v in &node.outputs {
                let value = describe(*v);
                if draft.largest.as_ref().is_none_or(|(_, s)| value.shape.words() > s.words()) {
                    draft.largest = Some((node.path.clone(), value.shape));
                }
                if !draft.places.contains_key(v) {
                    let last = if roots.contains(v) { end } else { i };
                    of_value.insert(*v, lifetimes.len());
                    lifetimes.push(Lifetime { words: value.shape.words(), first: i, last });
                }
            }
            for v in &node.inputs {
                if let Some(l) = of_value.get(v) {
                    lifetimes[*l].last = lifetimes[*l].last.max(i);
                }
            }
            let shapes = |v: ValueId| describe(v).shape;
            let mut recorder = Recorder::new(gpu.tuning, &shapes);
            node.op.dispatch(&mut recorder, &node.inputs, &node.outputs);
            let xs: Vec<Shape> = node.inputs.iter().map(|v| shapes(*v)).collect();
            let ys: Vec<Shape> = node.outputs.iter().map(|v| shapes(*v)).collect();
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
        for (v, l) in of_value {
            draft.places.insert(v, Place::Slot(draft.slots.slot[l]));
        }
        for (node, (launches, workspaces)) in nodes.iter().zip(recorded) {
            for launch in launches {
                let place = |o: &Operand| match *o {
                    Operand::Value(v) => (draft.places[&v], describe(v).shape.words()),
                    Operand::Workspace(w) => {
                        (Place::Slot(draft.slots.slot[workspaces + w]), lifetimes[workspaces + w].words)
                    }
                    Operand::Chunk(a, c) => (Place::Chunk(a, c), 0),
                };
                let places = launch.buffers.iter().map(place).collect();
                draft.steps.push(Step { path: node.path.clone(), op: node.op.name(), launch, places });
            }
        }
        if let Some(update) = spec.update {
            draft.add_update(weights, update, spec);
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

    fn add_update(&mut self, weights: &Weights, update: &dyn Update, spec: &PlanSpec) {
        let hyper = spec.hyper.expect("an update comes with its hyperparameter input").id;
        if !self.places.contains_key(&hyper) {
            self.places.insert(hyper, Place::Input(self.inputs.len()));
            self.inputs.push((hyper, spec.hyper.expect("as above").graph().describe(hyper)));
        }
        for (chunk, c) in weights.trainable.iter().enumerate() {
            let launch = update.launch(Operand::Value(hyper), chunk, c.words);
            let places = launch.buffers.iter().map(|o| match *o {
                Operand::Value(v) => (self.places[&v], crate::graph::shape::padded(super::HYPER)),
                Operand::Chunk(a, i) => (Place::Chunk(a, i), c.words),
                Operand::Workspace(_) => unreachable!("optimizers have no workspace"),
            });
            let places = places.collect();
            self.steps.push(Step { path: format!("optimizer chunk {chunk}"), op: update.name(), launch, places });
        }
    }

    /// No buffer may exceed what one binding can hold.
    fn check_bindings(&self, gpu: &Gpu) -> Result<()> {
        let limit = gpu.limits.max_storage_buffer_binding_size;
        for s in &self.steps {
            for (_, words) in &s.places {
                let bytes = *words as u64 * 4;
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
