//! The first half of planning, without a byte allocated: which nodes run, what they launch, and which memory each value
//! needs. A refused plan ends here.

use super::fuse::fuse;
use super::halves::Halves;
use super::liveness::{self, Lifetime, Slots};
use super::recompute::{Added, recompute};
use super::slices::Slices;
use super::target::Target;
use super::weights::Layout;
use super::{LossScaling, PlanSpec, SCALE_STATE, Update, When, windows};
use crate::error::{Error, Result};
use crate::gpu::tuning::Tuning;
use crate::gpu::{KernelKey, Source, Storage, Word};
use crate::graph::record::{Arena, PART_ALIGN, Values};
use crate::graph::{Cost, Graph, Launch, Node, Operand, Origin, Recorder, Shape, Tensor, Value, ValueId};
use crate::ops::shader;
use std::collections::{HashMap, HashSet};

const ACCUMULATE: Source = shader!("accumulate.wgsl");

/// Where an operand's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Activation slot, from this word on.
    Slot(usize, usize),
    /// The input buffer of this number.
    Input(usize),
    /// A parameter, by its index in `Draft::params`.
    Param(usize),
    /// A gradient in the gradient arena, by the parameter's index.
    Grad(usize),
    /// A chunk of an arena.
    Chunk(Arena, usize),
}

impl Place {
    /// Whether these lie in one buffer of the activations.
    pub(crate) fn same_slot(self, other: Place) -> bool {
        matches!((self, other), (Place::Slot(a, _), Place::Slot(b, _)) if a == b)
    }
}

impl Slots {
    /// The place of value `i`.
    fn place(&self, i: usize) -> Place {
        Place::Slot(self.slot[i], self.first[i])
    }
}

/// A launch with its layer's path.
pub(crate) struct Step {
    pub(crate) path: String,
    pub(crate) op: &'static str,
    pub(crate) launch: Launch,
    /// What each buffer is.
    pub(crate) bound: Vec<Bound>,
    pub(crate) when: When,
}

/// Words `first..first + words` of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) place: Place,
    pub(crate) first: usize,
    pub(crate) words: usize,
}

impl Bound {
    /// Whether writing one may change the other: in a slot only where their words meet.
    pub(crate) fn touches(self, other: Bound) -> bool {
        match (self.place, other.place) {
            (Place::Slot(s, a), Place::Slot(t, b)) => {
                let (a, b) = (a + self.first, b + other.first);
                s == t && a < b + other.words && b < a + self.words
            }
            (a, b) => a == b,
        }
    }
}

/// A plan without memory.
pub(crate) struct Draft {
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Slots,
    pub(crate) inputs: Vec<(ValueId, Value)>,
    pub(crate) params: Vec<(ValueId, String)>,
    pub(crate) places: HashMap<ValueId, Place>,
    pub(crate) outputs: Vec<(ValueId, Shape, bool)>,
    /// Indices of the parameters whose gradients lie in the arena.
    pub(crate) gradients: Vec<usize>,
    /// Moments of the optimizer, if there is one.
    pub(crate) moments: Option<usize>,
    /// The inputs that hold the factor of the loss and its state.
    pub(crate) scaling: Option<([ValueId; 2], LossScaling)>,
    /// Replays that make one update.
    pub(crate) accumulation: usize,
    /// Values and the frozen parameters that take their bits after the step.
    pub(crate) assigns: Vec<(ValueId, String)>,
    /// The largest value and its words, for the message of a refused plan.
    pub(crate) largest: Option<(String, Shape, usize)>,
    /// Words of activations and workspaces if nothing shared memory.
    pub(crate) unshared: u64,
    /// Words that live at once at the most: no packing needs less.
    pub(crate) live: u64,
    /// Layer and operation at which they do.
    pub(crate) peak: String,
    /// The most words of scratch memory that one node takes.
    pub(crate) workspace: u64,
}

/// What operations may ask about values.
struct Described<'g> {
    graph: &'g Graph,
    slices: Slices,
    added: Added,
}

impl Values for Described<'_> {
    fn shape(&self, v: ValueId) -> Shape {
        self.graph.inner.borrow().values[self.added.original(v).0].shape
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

/// The nodes that a plan of `outputs` runs.
pub(crate) fn fused(graph: &Graph, outputs: &[Tensor]) -> Vec<Node> {
    let roots: Vec<ValueId> = outputs.iter().map(|t| t.id).collect();
    fuse(needed(graph, &roots), &roots)
}

/// The kernels that a plan of `outputs` launches under a row of the tuning table, in order; needs no GPU.
pub fn kernels(graph: &Graph, outputs: &[Tensor], tuning: Tuning) -> Vec<KernelKey> {
    // Nothing shares memory here, so that the kernels that copy are among them.
    let values = Described { graph, slices: Slices::default(), added: Added::default() };
    let of = |node: &Node| {
        let mut recorder = Recorder::new(tuning, usize::MAX, &values);
        node.op.dispatch(&mut recorder, &node.inputs, &node.outputs);
        recorder.launches.into_iter().map(|l| l.key).collect::<Vec<_>>()
    };
    fused(graph, outputs).iter().flat_map(of).collect()
}

/// The kernels that `update` launches on parameters of `words` words, and those of accumulation; needs no GPU.
pub fn update_kernels(update: &dyn Update, words: usize, tuning: Tuning) -> Vec<KernelKey> {
    let graph = &Graph::new();
    let values = Described { graph, slices: Slices::default(), added: Added::default() };
    let mut k = Recorder::new(tuning, usize::MAX, &values);
    let any = Operand::Chunk(Arena::Param, 0);
    update.record(&mut k, any, update.scaling().map(|_| [any; 2]), &[words]);
    let add = |first| accumulate(words, update.accumulation(), first);
    let added = (update.accumulation() > 1).then(|| [add(true), add(false)]).into_iter().flatten();
    added.chain(k.launches).map(|l| l.key).collect()
}

/// `words` words in runs that a binding holds: (first, words).
fn pieces(words: usize, binding_words: usize) -> Vec<(usize, usize)> {
    let most = binding_words / PART_ALIGN * PART_ALIGN;
    (0..words).step_by(most).map(|first| (first, most.min(words - first))).collect()
}

/// Adds a gradient of `words` words to the arena; its two buffers are placed by the caller.
pub(super) fn accumulate(words: usize, of: usize, first: bool) -> Launch {
    let quads = words / 4;
    Launch {
        key: KernelKey { source: ACCUMULATE, entry: "accumulate", params: vec![("FIRST", i64::from(first))], half: 0 },
        params: vec![("quads", Word::from(quads)), ("factor", Word::F((1.0 / of as f64) as f32))],
        buffers: Vec::new(),
        groups: quads.div_ceil(1024) as u64,
        cost: Cost { flops: 2.0 * words as f64, bytes: 12.0 * words as f64 },
    }
}

/// Values and the names of the parameters that take them.
fn assigns(weights: &Layout, spec: &PlanSpec, describe: impl Fn(ValueId) -> Value) -> Result<Vec<(ValueId, String)>> {
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
    pub(crate) fn new(gpu: &Target, graph: &Graph, weights: &Layout, spec: &PlanSpec) -> Result<Draft> {
        let mut roots: Vec<ValueId> = spec.outputs.iter().map(|t| t.id).collect();
        roots.extend(spec.gradients.iter().map(|(_, g)| g.id));
        roots.extend(spec.assign.iter().map(|(_, v)| v.id));
        let mut nodes = fuse(needed(graph, &roots), &roots);
        let base = graph.inner.borrow().values.len();
        let added = std::cell::RefCell::new(Added { base, ..Added::default() });
        if spec.recompute {
            let shape = |v: ValueId| graph.inner.borrow().values[v.0].shape;
            let large = |v: ValueId| matches!(shape(v), Shape::Image { .. });
            let large = |v: ValueId| large(added.borrow().original(v));
            nodes = recompute(nodes, &roots, &large, &mut |v| added.borrow_mut().fresh(v));
        }
        let accumulation = spec.update.map_or(1, Update::accumulation);
        if accumulation == 0 {
            return Err(Error::Usage("gradients are accumulated over 1 replay or more, asked for were 0".into()));
        }
        let describe = |v: ValueId| graph.describe(v);

        let mut draft = Draft {
            steps: Vec::new(),
            slots: Slots::default(),
            inputs: Vec::new(),
            params: Vec::new(),
            places: HashMap::new(),
            outputs: spec.outputs.iter().map(|t| (t.id, t.shape(), describe(t.id).integer)).collect(),
            gradients: Vec::new(),
            moments: spec.update.map(|u| u.moments()),
            scaling: None,
            accumulation,
            assigns: assigns(weights, spec, describe)?,
            largest: None,
            unshared: 0,
            live: 0,
            peak: String::new(),
            workspace: 0,
        };
        draft.place_sources(graph, weights, &nodes, &roots)?;
        let sums = draft.place_gradients(weights, spec, describe)?;
        // A gradient that is added to the arena lives until then, not to the end.
        roots.retain(|v| spec.outputs.iter().any(|t| t.id == *v) || !sums.contains_key(v));

        // Record every node's launches; memory lives from the node that first writes a value in it to the last that reads
        // one.
        let placed: HashSet<ValueId> = roots.iter().chain(draft.places.keys()).copied().collect();
        let mut values = Described { graph, slices: Slices::default(), added: added.into_inner() };
        values.slices = Slices::find(&nodes, &|v| values.shape(v), &|v| placed.contains(&v));
        let shape = |v: ValueId| values.shape(v);
        let host = |v: ValueId| values.slices.host(v).0;
        let mut halves = match gpu.storage {
            Storage::F16 => Halves::new(&nodes, &shape, &host, &|v| placed.contains(&v)),
            Storage::F32 => Halves::default(),
        };
        let end = nodes.len();
        let mut lifetimes: Vec<Lifetime> = Vec::new();
        let mut of_host: HashMap<ValueId, usize> = HashMap::new();
        let mut recorded = Vec::new();
        let mut apart: Vec<(usize, usize)> = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            for v in &node.outputs {
                let host = values.slices.host(*v).0;
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
            let (launches, workspaces) = windows::record(node, gpu, &values);
            launches.iter().try_for_each(|l| halves.retain(l, &host))?;
            let start = lifetimes.len();
            draft.workspace = draft.workspace.max(workspaces.iter().map(|w| *w as u64).sum());
            lifetimes.extend(workspaces.iter().map(|w| Lifetime { words: *w, first: i, last: i }));
            // What a node writes lies in another buffer than all else that it touches.
            let of = |v: &ValueId| of_host.get(&values.slices.host(*v).0).copied();
            let written: Vec<usize> = node.outputs.iter().filter_map(of).chain(start..lifetimes.len()).collect();
            let touched: Vec<usize> = node.inputs.iter().filter_map(of).chain(written.iter().copied()).collect();
            let pairs = written.iter().flat_map(|w| touched.iter().map(move |t| (*w, *t)));
            apart.extend(pairs.filter(|(w, t)| w != t));
            recorded.push((launches, start));
        }
        for (v, l) in &of_host {
            lifetimes[*l].words = halves.words(*v, lifetimes[*l].words);
        }
        for (node, v) in nodes.iter().flat_map(|n| n.outputs.iter().map(move |v| (n, host(*v)))) {
            let words = halves.words(v, shape(v).words());
            if draft.largest.as_ref().is_none_or(|(.., most)| words > *most) {
                draft.largest = Some((node.path.clone(), shape(v), words));
            }
        }
        // What the optimizer is told of as a chunk is a piece of one where a binding does not hold it.
        let split = |(i, words): (usize, &usize)| {
            pieces(*words, gpu.binding_words()).into_iter().map(move |(first, words)| (i, first, words))
        };
        let chunks: Vec<(usize, usize, usize)> = weights.trainable.iter().enumerate().flat_map(split).collect();
        let mut update = Recorder::new(gpu.tuning, gpu.binding_words(), &values);
        let update_start = lifetimes.len();
        if let Some(u) = spec.update {
            let hyper = draft.place_hyper(spec)?;
            let scale = draft.place_scale(spec)?;
            let words: Vec<usize> = chunks.iter().map(|c| c.2).collect();
            u.record(&mut update, Operand::Value(hyper), scale.map(|s| s.map(Operand::Value)), &words);
            lifetimes.extend(update.workspaces.iter().map(|w| Lifetime { words: *w, first: end, last: end }));
            let all = update_start..lifetimes.len();
            apart.extend(all.clone().flat_map(|a| (update_start..a).map(move |b| (a, b))));
        }
        // Guard bands stand at a value's end, so a guarded value has its slot to itself.
        draft.slots = if gpu.guards { liveness::separate(&lifetimes) } else { liveness::assign(&lifetimes, &apart) };
        draft.unshared = lifetimes.iter().map(|l| l.words as u64).sum();
        let (live, peak) = liveness::peak(&lifetimes);
        draft.live = live as u64;
        draft.peak = nodes.get(peak).map_or("the optimizer".into(), |n| match n.path.as_str() {
            "" => n.op.name().into(),
            path => format!("{path} / {}", n.op.name()),
        });
        for (v, l) in of_host {
            draft.places.insert(v, draft.slots.place(l));
        }
        let locate = |draft: &Draft, o: &Operand, workspaces: usize| match *o {
            Operand::Value(v) => {
                let host = host(v);
                Bound { place: draft.places[&host], first: 0, words: halves.words(host, shape(host).words()) }
            }
            Operand::Part { value, first, words } => {
                let (first, words) = (halves.words(value, first), halves.words(value, words));
                Bound { place: draft.places[&value], first, words }
            }
            Operand::Workspace(w) => {
                let l = workspaces + w;
                Bound { place: draft.slots.place(l), first: 0, words: lifetimes[l].words }
            }
            Operand::Chunk(a, c) => {
                let (chunk, first, words) = chunks[c];
                Bound { place: Place::Chunk(a, chunk), first, words }
            }
        };
        for (node, (launches, workspaces)) in nodes.iter().zip(recorded) {
            for mut launch in launches {
                launch.key.half = halves.mask(&launch, &host);
                let bound = launch.buffers.iter().map(|o| locate(&draft, o, workspaces)).collect();
                let (path, op) = (node.path.clone(), node.op.name());
                draft.steps.push(Step { path, op, launch, bound, when: When::Always });
            }
            for (v, param) in node.outputs.iter().filter_map(|v| Some((v, sums.get(v)?))) {
                for (param, when) in param.iter().flat_map(|p| [(*p, When::First), (*p, When::Later)]) {
                    for (first, words) in pieces(shape(*v).words(), gpu.binding_words()) {
                        let launch = accumulate(words, accumulation, when == When::First);
                        let bound = [draft.places[v], Place::Grad(param)].map(|place| Bound { place, first, words });
                        let path = node.path.clone();
                        draft.steps.push(Step { path, op: "accumulate", launch, bound: bound.to_vec(), when });
                    }
                }
            }
        }
        for launch in update.launches {
            let chunk = launch
                .buffers
                .iter()
                .find_map(|o| if let Operand::Chunk(_, c) = o { Some(chunks[*c].0) } else { None });
            let path = chunk.map_or("optimizer".into(), |c| format!("optimizer chunk {c}"));
            let bound = launch.buffers.iter().map(|o| locate(&draft, o, update_start)).collect();
            draft.steps.push(Step { path, op: launch.key.entry, launch, bound, when: When::Last });
        }
        draft.check_bindings(gpu)?;
        Ok(draft)
    }

    /// Inputs and parameters that the nodes read, or that are asked for directly.
    fn place_sources(&mut self, graph: &Graph, weights: &Layout, nodes: &[Node], roots: &[ValueId]) -> Result<()> {
        let mut used: Vec<ValueId> =
            nodes.iter().flat_map(|n| n.inputs.iter().copied()).chain(roots.iter().copied()).collect();
        // What planning added comes from nodes.
        let recorded = graph.inner.borrow().values.len();
        used.retain(|v| v.0 < recorded);
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

    /// Gradients of an optimizer's parameters lie in the gradient arena, where its one dispatch finds them: written there
    /// by their nodes, or, where they are accumulated, added. Returns which values are added to which parameters' places.
    fn place_gradients(
        &mut self,
        weights: &Layout,
        spec: &PlanSpec,
        describe: impl Fn(ValueId) -> Value,
    ) -> Result<HashMap<ValueId, Vec<usize>>> {
        let mut sums: HashMap<ValueId, Vec<usize>> = HashMap::new();
        if spec.update.is_none() {
            return Ok(sums);
        }
        for (param, grad) in &spec.gradients {
            let name = describe(param.id).name;
            let fits = weights.slot(&name).is_some_and(|s| s.trainable && s.shape == grad.shape());
            if !fits || !matches!(describe(grad.id).origin, Origin::Node { .. }) || self.places.contains_key(&grad.id) {
                return Err(Error::Internal(format!("the gradient of {name} has no place of its own")));
            }
            let index = self.params.iter().position(|(v, _)| *v == param.id);
            let index = index.ok_or_else(|| Error::Internal(format!("{name} has a gradient but is not used")))?;
            self.gradients.push(index);
            if self.accumulation > 1 {
                sums.entry(grad.id).or_default().push(index);
            } else {
                self.places.insert(grad.id, Place::Grad(index));
            }
        }
        Ok(sums)
    }

    /// The optimizer's hyperparameters are an input even where no node reads them.
    fn place_hyper(&mut self, spec: &PlanSpec) -> Result<ValueId> {
        let hyper =
            spec.hyper.ok_or_else(|| Error::Internal("an update comes with its hyperparameter input".into()))?;
        Ok(self.place_input(hyper))
    }

    fn place_input(&mut self, t: Tensor) -> ValueId {
        if !self.places.contains_key(&t.id) {
            self.places.insert(t.id, Place::Input(self.inputs.len()));
            self.inputs.push((t.id, t.graph().describe(t.id)));
        }
        t.id
    }

    /// The factor of the loss and its state are inputs that the update writes.
    fn place_scale(&mut self, spec: &PlanSpec) -> Result<Option<[ValueId; 2]>> {
        let Some(scaling) = spec.update.and_then(Update::scaling) else { return Ok(None) };
        let fits = |t: &[Tensor; 2]| t[0].shape() == Shape::flat(1) && t[1].shape() == Shape::flat(SCALE_STATE);
        let inputs = spec.scale.filter(fits);
        let inputs = inputs.ok_or_else(|| Error::Internal("loss scaling comes with its two inputs".into()))?;
        let ids = inputs.map(|t| self.place_input(t));
        self.scaling = Some((ids, scaling));
        Ok(Some(ids))
    }

    /// No buffer may exceed what one binding can hold.
    fn check_bindings(&self, gpu: &Target) -> Result<()> {
        let limit = gpu.binding_words() as u64 * 4;
        for s in &self.steps {
            for b in &s.bound {
                let bytes = b.words as u64 * 4;
                if bytes > limit {
                    return Err(Error::Memory(format!(
                        "{} / {}: a buffer of {bytes} bytes is needed, {} binds at most {limit} at once; \
                         a smaller batch or image side makes it fit",
                        s.path, s.op, gpu.name
                    )));
                }
            }
        }
        Ok(())
    }
}
