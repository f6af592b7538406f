//! The second half of planning: the budget, then buffers, pipelines, uniforms and bind groups.

use super::draft::{Draft, Place};
use super::replay::Rings;
use super::report::{MemoryReport, bytes};
use super::target::Target;
use super::texels::{Assignment, Fill};
use super::weights::{Layout, Weights};
use super::{Assign, Buffers, Dispatch, Input, LossScale, Output, Plan};
use crate::error::{Error, Result};
use crate::gpu::kernel::{self, Word};
use crate::gpu::{Gpu, KernelKey, Reflection};
use crate::graph::ValueId;
use crate::graph::record::Arena;
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes before and after each slot that no kernel may touch; written and checked by tests.
const GUARD: u64 = 256;

/// What tests fill memory with: NaN as f32 and as two f16.
const POISON: u32 = 0x7fc0_7fc0;

pub(super) fn build(gpu: &Gpu, weights: Rc<Weights>, draft: Draft) -> Result<Plan> {
    let reflections = reflect(&draft)?;
    let texels = Assignment::new(&draft.steps, &reflections);
    let report = measure(&weights.layout, &draft, texels.bytes(), guard(gpu));
    Target::of(gpu).check(&report)?;
    let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let mut b = Buffers {
        all: Vec::new(),
        inputs: Vec::new(),
        slots: Vec::new(),
        grads: Vec::new(),
        gradients: Vec::new(),
        moments: Vec::new(),
        guards: Vec::new(),
    };
    let mut add = |label: &str, size: u64| -> Result<usize> {
        b.all.push(gpu.buffer(label, size, storage)?);
        Ok(b.all.len() - 1)
    };
    for (i, (_, v)) in draft.inputs.iter().enumerate() {
        let at = add(&format!("input {i} {}", v.name), v.shape.words() as u64 * 4)?;
        b.inputs.push(at);
    }
    for (i, words) in draft.slots.words.iter().enumerate() {
        let size = *words as u64 * 4 + 2 * guard(gpu);
        let at = add(&format!("activation slot {i}"), size)?;
        b.slots.push(at);
        b.guards.push((at, guard(gpu), *words as u64 * 4));
    }
    if draft.moments.is_some() {
        for (i, c) in weights.trainable.iter().enumerate() {
            let at = add(&format!("gradients {i}"), c.words as u64 * 4)?;
            b.grads.push(at);
        }
    }
    for m in 0..draft.moments.unwrap_or(0) {
        let mut chunks = Vec::new();
        for (i, c) in weights.trainable.iter().enumerate() {
            chunks.push(add(&format!("moment {m} chunk {i}"), c.words as u64 * 4)?);
        }
        b.moments.push(chunks);
    }
    for p in &draft.gradients {
        let slot = param_slot(&weights, &draft, *p);
        b.gradients.push((b.grads[slot.chunk], slot.offset as u64 * 4, slot.shape.words() as u64 * 4));
    }
    let known = gpu.pipelines();
    gpu.prepare(draft.steps.iter().map(|s| &s.launch.key))?;
    let (dispatches, submits, listing) = dispatches(gpu, &weights, &draft, &b, &reflections, &texels)?;
    if gpu.pipelines() > known {
        gpu.keep_pipelines();
    }

    let mut offset = 0;
    let mut inputs = Vec::new();
    for (id, value) in &draft.inputs {
        inputs.push(Input { id: *id, value: value.clone(), offset });
        offset += value.shape.words() as u64 * 4;
    }
    let mut back = 0;
    let mut outputs = Vec::new();
    for (id, shape, integer) in &draft.outputs {
        let place = owned(gpu, &weights, &draft, &b, *id)?;
        outputs.push(Output { shape: *shape, integer: *integer, place, offset: back });
        back += shape.words() as u64 * 4;
    }
    let mut assigns = Vec::new();
    for (value, name) in &draft.assigns {
        let place = owned(gpu, &weights, &draft, &b, *value)?;
        let slot = weights.slot(name).expect("checked when the draft was made");
        assigns.push(Assign { place, to: (slot.chunk, slot.offset as u64 * 4), bytes: slot.shape.words() as u64 * 4 });
    }
    let rings = Rings::new(gpu, offset, back)?;
    let accumulation = draft.accumulation as u64;
    let input =
        |v: ValueId| if let Place::Input(i) = draft.places[&v] { b.inputs[i] } else { unreachable!("an input") };
    let scaling = draft.scaling.map(|(ids, _)| ids.map(input));
    let plan = Plan {
        weights,
        dispatches,
        submits,
        accumulation,
        inputs,
        outputs,
        assigns,
        buffers: b,
        scaling,
        rings,
        report,
        listing,
    };
    if let Some((_, scaling)) = draft.scaling {
        plan.restore_loss_scale(gpu, &LossScale::start(scaling))?;
    }
    Ok(plan)
}

/// Buffer and byte offset of a value in the plan's own memory.
fn owned(gpu: &Gpu, weights: &Weights, draft: &Draft, b: &Buffers, value: ValueId) -> Result<(usize, u64)> {
    Ok(match draft.places[&value] {
        Place::Slot(s, first) => (b.slots[s], guard(gpu) + first as u64 * 4),
        Place::Input(i) => (b.inputs[i], 0),
        Place::Grad(p) => {
            let slot = param_slot(weights, draft, p);
            (b.grads[slot.chunk], slot.offset as u64 * 4)
        }
        Place::Param(_) | Place::Chunk(..) => {
            return Err(Error::Internal("a parameter is read with Weights::download, not as an output".into()));
        }
    })
}

/// Room before and after each slot: only where tests look at it. What comes after is bound with the slot, because drivers
/// drop what is written past a binding's end before it could show.
fn guard(gpu: &Gpu) -> u64 {
    if gpu.guards { GUARD.max(gpu.limits.min_storage_buffer_offset_alignment as u64) } else { 0 }
}

fn param_slot<'w>(weights: &'w Weights, draft: &Draft, p: usize) -> &'w super::Slot {
    weights.slot(&draft.params[p].1).expect("checked when the draft was made")
}

/// The plan's memory; `guard` bytes stand before and after each slot.
pub(super) fn measure(weights: &Layout, draft: &Draft, textures: u64, guard: u64) -> MemoryReport {
    let (trainable, frozen) = weights.bytes();
    let inputs: u64 = draft.inputs.iter().map(|(_, v)| v.shape.words() as u64 * 4).sum();
    let outputs: u64 = draft.outputs.iter().map(|(_, s, _)| s.words() as u64 * 4).sum();
    let ring = super::IN_FLIGHT as u64;
    let uniforms = draft.steps.len() as u64 * 256;
    MemoryReport {
        parameters: trainable + frozen,
        gradients: if draft.moments.is_some() { trainable } else { 0 },
        moments: trainable * draft.moments.unwrap_or(0) as u64,
        activations: draft.slots.words.iter().map(|w| *w as u64 * 4 + 2 * guard).sum(),
        unshared: draft.unshared * 4,
        live: draft.live * 4,
        peak: draft.peak.clone(),
        workspace: draft.workspace * 4,
        transfer: inputs * (1 + ring) + outputs * ring + uniforms + textures,
        largest: draft
            .largest
            .as_ref()
            .map_or_else(String::new, |(path, s, words)| format!("{path} {s} {}", bytes(*words as u64 * 4))),
    }
}

/// What every step's kernel says of itself. A kernel is parsed once, not once a step: a network has hundreds of steps and a
/// dozen kernels.
pub(super) fn reflect(draft: &Draft) -> Result<Vec<Reflection>> {
    let mut known: HashMap<&KernelKey, Reflection> = HashMap::new();
    let mut all = Vec::with_capacity(draft.steps.len());
    for step in &draft.steps {
        let key = &step.launch.key;
        let reflection = match known.get(key) {
            Some(there) => there.clone(),
            None => known.entry(key).or_insert(kernel::parse(key)?.1).clone(),
        };
        if reflection.writes.len() != step.bound.len() {
            let (given, bound) = (step.bound.len(), reflection.writes.len());
            return Err(Error::Internal(format!(
                "{} / {}: {given} buffers given, {bound} bound",
                step.path, key.entry
            )));
        }
        all.push(reflection);
    }
    Ok(all)
}

type Built = (Vec<Dispatch>, Vec<std::ops::Range<usize>>, Vec<String>);

/// Pipelines, uniforms and bind groups; long dispatches cut, submits ended by estimated time.
fn dispatches(
    gpu: &Gpu,
    weights: &Weights,
    draft: &Draft,
    b: &Buffers,
    reflections: &[Reflection],
    texels: &Assignment,
) -> Result<Built> {
    let align = (gpu.limits.min_uniform_buffer_offset_alignment as usize).max(16);
    let (mut uniforms, mut planned) = (Vec::<u8>::new(), Vec::new());
    let (mut submits, mut start, mut spent) = (Vec::new(), 0, 0.0);
    let mut listing = Vec::new();
    for (index, step) in draft.steps.iter().enumerate() {
        let l = &step.launch;
        assert!(l.groups > 0, "{} / {}: an empty launch", step.path, l.key.entry);
        let fail = |m: String| Error::Internal(format!("{} / {}: {m}", step.path, l.key.entry));
        let reflection = &reflections[index];
        disjoint(step, &reflection.writes).map_err(fail)?;
        let ms = 1e3 * (l.cost.flops / (gpu.tuning.gflops * 1e9)).max(l.cost.bytes / (gpu.tuning.gbytes * 1e9));
        let pieces = ((ms / gpu.cutting.dispatch_ms).ceil() as u64).clamp(1, l.groups);
        let each = l.groups.div_ceil(pieces);
        for first in (0..l.groups).step_by(each as usize) {
            let count = each.min(l.groups - first);
            let grid = grid(count, gpu.limits.max_compute_workgroups_per_dimension.min(gpu.cutting.groups));
            let end = first + count;
            let word = |v: u64| u32::try_from(v).map(Word::U).map_err(|_| fail(format!("{} workgroups", l.groups)));
            let mut params = l.params.clone();
            params.push(("grid_first", word(first)?));
            params.push(("grid_width", Word::U(grid[0])));
            params.push(("grid_count", word(end)?));
            let bytes = reflection.write(&params).map_err(fail)?;
            let offset = uniforms.len().next_multiple_of(align);
            uniforms.resize(offset, 0);
            uniforms.extend_from_slice(&bytes);
            planned.push((index, grid, offset as u64, bytes.len() as u64));
            spent += ms / pieces as f64;
            if spent > gpu.cutting.submit_ms {
                submits.push(start..planned.len());
                (start, spent) = (planned.len(), 0.0);
            }
        }
        let mut p: Vec<String> = l.key.params.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let half = (1..32).filter(|b| l.key.half >> b & 1 == 1).map(|b| b.to_string()).collect::<Vec<_>>();
        if !half.is_empty() {
            p.push(format!("f16 bindings {}", half.join(",")));
        }
        listing.push(format!(
            "{index:4} {:28} {:22} {:>9} groups {:>9.3} GFLOP {:>8.2} MB  {}",
            step.path,
            l.key.entry,
            l.groups,
            l.cost.flops / 1e9,
            l.cost.bytes / 1e6,
            p.join(" ")
        ));
    }
    if start < planned.len() {
        submits.push(start..planned.len());
    }
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let uniform = gpu.buffer("uniforms", uniforms.len() as u64, usage)?;
    uniforms.resize(uniforms.len().next_multiple_of(4), 0);
    gpu.queue.write_buffer(&uniform, 0, &uniforms);
    let textures = texels.textures(gpu)?;
    let mut all: Vec<Dispatch> = Vec::new();
    for (index, grid, offset, size) in planned {
        let step = &draft.steps[index];
        let kernel = gpu.kernel(step.launch.key.clone())?;
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: bind(&uniform, offset, size) }];
        let mut fills = Vec::new();
        let mut views = Vec::new();
        for t in &texels.steps[index] {
            let texture = textures[t.texture].as_ref().expect("a texture that is assigned has rows");
            views.push((t.binding, texture.create_view(&Default::default())));
            // The pieces of a cut dispatch follow each other: the first one's copy serves all.
            if t.fill && all.last().is_none_or(|d| d.step != index) {
                let part = step.bound[t.binding - 1];
                let (buffer, offset) = locate(gpu, weights, draft, b, part.place);
                let offset = offset + part.first as u64 * 4;
                let (buffer, texture) = (buffer.clone(), texture.clone());
                fills.push(Fill { buffer, offset, quads: (part.words / 4) as u32, texture });
            }
        }
        for (i, part) in step.bound.iter().enumerate() {
            if let Some((_, view)) = views.iter().find(|(binding, _)| *binding == i + 1) {
                let resource = wgpu::BindingResource::TextureView(view);
                entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
                continue;
            }
            let (buffer, offset) = locate(gpu, weights, draft, b, part.place);
            let after = if matches!(part.place, Place::Slot(..)) { guard(gpu) } else { 0 };
            let resource = bind(buffer, offset + part.first as u64 * 4, part.words as u64 * 4 + after);
            entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
        }
        let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(step.launch.key.entry),
            layout: &kernel.layout,
            entries: &entries,
        });
        gpu.count_created();
        gpu.check().map_err(|e| Error::Internal(format!("{} / {}: {e}", step.path, step.launch.key.entry)))?;
        all.push(Dispatch { kernel, bind_group, grid, step: index, when: step.when, fills });
    }
    Ok((all, submits, listing))
}

fn bind(buffer: &wgpu::Buffer, offset: u64, size: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
}

/// Lays `count` workgroups out in two dimensions of at most `limit`.
fn grid(count: u64, limit: u32) -> [u32; 2] {
    let width = count.min(u64::from(limit));
    [width as u32, count.div_ceil(width) as u32]
}

fn locate<'b>(gpu: &Gpu, weights: &'b Weights, draft: &Draft, b: &'b Buffers, place: Place) -> (&'b wgpu::Buffer, u64) {
    match place {
        Place::Slot(s, first) => (&b.all[b.slots[s]], guard(gpu) + first as u64 * 4),
        Place::Input(i) => (&b.all[b.inputs[i]], 0),
        Place::Param(p) => {
            let slot = param_slot(weights, draft, p);
            (weights.buffer(slot), slot.offset as u64 * 4)
        }
        Place::Grad(p) => {
            let slot = param_slot(weights, draft, p);
            (&b.all[b.grads[slot.chunk]], slot.offset as u64 * 4)
        }
        Place::Chunk(Arena::Param, c) => (&weights.trainable[c].buffer, 0),
        Place::Chunk(Arena::Grad, c) => (&b.all[b.grads[c]], 0),
        Place::Chunk(Arena::Moment(m), c) => (&b.all[b.moments[m][c]], 0),
    }
}

/// wgpu accepts two overlapping `read_write` ranges silently, so it is asserted here that what a kernel writes is bound
/// nowhere else in its launch.
fn disjoint(step: &super::draft::Step, writes: &[bool]) -> Result<(), String> {
    for (i, a) in step.bound.iter().enumerate() {
        for (j, b) in step.bound.iter().enumerate().skip(i + 1) {
            if (a.place == b.place || a.place.same_slot(b.place)) && (writes[i] || writes[j]) {
                let place = a.place;
                return Err(format!("bindings {} and {} share {place:?} and one of them is written", i + 1, j + 1));
            }
        }
    }
    Ok(())
}

impl Plan {
    /// Fills activations, gradients and guard bands with NaN, so that a test sees what a kernel did not write.
    pub fn poison(&self, gpu: &Gpu) -> Result<()> {
        let whole = |at: &usize| (*at, 0, self.buffers.all[*at].size());
        for (at, offset, bytes) in self.buffers.slots.iter().map(whole).chain(self.buffers.gradients.iter().copied()) {
            let nan = vec![POISON; bytes as usize / 4];
            gpu.queue.write_buffer(&self.buffers.all[at], offset, bytemuck::cast_slice(&nan));
        }
        gpu.queue.submit([]);
        gpu.check()
    }

    /// Whether every guard band still holds what [`Plan::poison`] wrote; only plans of a [`Gpu`] with `guards` have them.
    ///
    /// # Errors
    /// [`Error::Numerics`] naming the slot and the first changed byte offset.
    pub fn check_guards(&self, gpu: &Gpu) -> Result<()> {
        for (at, start, len) in &self.buffers.guards {
            let buffer = &self.buffers.all[*at];
            let bytes = gpu.download(buffer, 0, buffer.size())?;
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
            let inside = (*start / 4) as usize..((start + len) / 4) as usize;
            let hit = words.iter().enumerate().find(|(i, w)| !inside.contains(i) && **w != POISON);
            if let Some((i, w)) = hit {
                let v = f32::from_bits(*w);
                return Err(Error::Numerics(format!(
                    "a kernel wrote {v} to word {i} of a slot whose words are {inside:?}"
                )));
            }
        }
        Ok(())
    }
}
