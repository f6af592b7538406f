//! Replay: one step is a staged upload, a list of dispatches, and a read-back that nobody waits for.

use super::{IN_FLIGHT, Plan};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::shape::padded;
use crate::graph::{Shape, Tensor, ValueId, layout};
use std::collections::VecDeque;

/// What the host gives for an input, in the world's layout.
#[derive(Clone, Copy, Debug)]
pub enum Feed<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Integers: labels, counters.
    U32(&'a [u32]),
}

/// The outputs of one step in the world's layout, in the order of `PlanSpec::outputs`; integers as numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Counts from 0 since the plan was compiled.
    pub step: u64,
    /// One row of numbers an output.
    pub outputs: Vec<Vec<f32>>,
}

/// Staging and read-back buffers, and the steps under way.
pub(super) struct Rings {
    up: Vec<wgpu::Buffer>,
    down: Vec<wgpu::Buffer>,
    scratch: Vec<f32>,
    under_way: VecDeque<(u64, usize, wgpu::SubmissionIndex)>,
    done: VecDeque<StepResult>,
    steps: u64,
}

impl Rings {
    pub(super) fn new(gpu: &Gpu, up: u64, down: u64) -> Result<Rings> {
        use wgpu::BufferUsages as U;
        let ring = |label, bytes: u64, usage| -> Result<Vec<wgpu::Buffer>> {
            (0..if bytes > 0 { IN_FLIGHT } else { 0 }).map(|_| gpu.buffer(label, bytes, usage)).collect()
        };
        let up = ring("staging", up, U::MAP_WRITE | U::COPY_SRC)?;
        let down = ring("read back", down, U::MAP_READ | U::COPY_DST)?;
        for b in &up {
            b.slice(..).map_async(wgpu::MapMode::Write, |_| {});
        }
        gpu.device.poll(wgpu::PollType::Poll).map_err(|e| Error::DeviceLost(e.to_string()))?;
        Ok(Rings { up, down, scratch: Vec::new(), under_way: VecDeque::new(), done: VecDeque::new(), steps: 0 })
    }
}

impl Plan {
    /// Queues one step and returns its number without waiting for it, unless [`IN_FLIGHT`] steps are under way: then the
    /// oldest is waited for. An input that is not fed keeps its last content. With [`Plan::accumulation`] k, every k-th step
    /// since the plan was compiled ends with the update.
    ///
    /// # Errors
    /// [`Error::Usage`] for a feed of the wrong size or for a value that is no input of this plan; device errors.
    pub fn step(&mut self, gpu: &Gpu, feeds: &[(Tensor, Feed)]) -> Result<u64> {
        let feeds: Vec<(ValueId, Feed)> = feeds.iter().map(|(t, f)| (t.id, *f)).collect();
        self.step_by_id(gpu, &feeds)
    }

    /// [`Plan::step`] with the inputs named by id, for callers that keep no graph.
    ///
    /// # Errors
    /// As [`Plan::step`].
    pub fn step_by_id(&mut self, gpu: &Gpu, feeds: &[(ValueId, Feed)]) -> Result<u64> {
        self.queue_step(gpu, feeds).map_err(|e| gpu.cause(e))
    }

    fn queue_step(&mut self, gpu: &Gpu, feeds: &[(ValueId, Feed)]) -> Result<u64> {
        while self.rings.under_way.len() >= IN_FLIGHT {
            self.collect_oldest(gpu)?;
        }
        let number = self.rings.steps;
        let ring = (number % IN_FLIGHT as u64) as usize;
        let copies = self.stage(ring, feeds)?;
        let mut last = None;
        for (i, range) in self.submits.iter().enumerate() {
            let mut e = gpu.device.create_command_encoder(&Default::default());
            if i == 0 {
                for (from, to, bytes) in &copies {
                    e.copy_buffer_to_buffer(&self.rings.up[ring], *from, &self.buffers.all[*to], 0, *bytes);
                }
            }
            // One pass, unless operands must be copied into textures in between.
            for part in self.dispatches[range.clone()].chunk_by(|_, next| next.fills.is_empty()) {
                part[0].fills.iter().for_each(|f| f.record(&mut e));
                let mut pass = e.begin_compute_pass(&Default::default());
                let mut current: *const wgpu::ComputePipeline = std::ptr::null();
                let turn = number % self.accumulation;
                for d in part.iter().filter(|d| d.when.runs(turn, self.accumulation)) {
                    if !std::ptr::eq(current, &d.kernel.pipeline) {
                        pass.set_pipeline(&d.kernel.pipeline);
                        current = &d.kernel.pipeline;
                    }
                    pass.set_bind_group(0, &d.bind_group, &[]);
                    pass.dispatch_workgroups(d.grid[0], d.grid[1], 1);
                }
            }
            if i + 1 == self.submits.len() {
                self.encode_assigns(&mut e);
                for o in &self.outputs {
                    let (buffer, at) = (&self.buffers.all[o.place.0], o.place.1);
                    e.copy_buffer_to_buffer(buffer, at, &self.rings.down[ring], o.offset, o.shape.words() as u64 * 4);
                }
            }
            last = Some(gpu.queue.submit([e.finish()]));
        }
        let Some(index) = last else { return Err(Error::Internal("the plan has nothing to run".into())) };
        if let Some(b) = self.rings.up.get(ring) {
            b.slice(..).map_async(wgpu::MapMode::Write, |_| {});
        }
        if let Some(b) = self.rings.down.get(ring) {
            b.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        }
        gpu.check()?;
        self.rings.under_way.push_back((number, ring, index));
        self.rings.steps += 1;
        Ok(number)
    }

    /// The copies that end a step: values into parameters that do not train.
    pub(super) fn encode_assigns(&self, e: &mut wgpu::CommandEncoder) {
        for a in &self.assigns {
            let (from, to) = (&self.buffers.all[a.place.0], &self.weights.frozen[a.to.0].buffer);
            e.copy_buffer_to_buffer(from, a.place.1, to, a.to.1, a.bytes);
        }
    }

    /// Writes the feeds into staging buffer `ring` and says what to copy where: (staging offset, buffer, bytes).
    fn stage(&mut self, ring: usize, feeds: &[(ValueId, Feed)]) -> Result<Vec<(u64, usize, u64)>> {
        let mut copies = Vec::new();
        let Some(staging) = self.rings.up.get(ring) else {
            return if feeds.is_empty() { Ok(copies) } else { Err(Error::Usage("this plan has no inputs".into())) };
        };
        for (id, feed) in feeds {
            let found = self.inputs.iter().position(|i| i.id == *id);
            let at = found.ok_or_else(|| Error::Usage(format!("value {} is no input of this plan", id.0)))?;
            let (input, shape) = (&self.inputs[at], self.inputs[at].value.shape);
            let (given, integer) = match feed {
                Feed::F32(v) => (v.len(), false),
                Feed::U32(v) => (v.len(), true),
            };
            if given != shape.elements() || integer != input.value.integer {
                return Err(Error::Usage(format!(
                    "input {}: {shape} needs {} {}, given were {given} {}",
                    input.value.name,
                    shape.elements(),
                    if input.value.integer { "integers" } else { "numbers" },
                    if integer { "integers" } else { "numbers" },
                )));
            }
            let bytes = shape.words() as u64 * 4;
            let scratch = &mut self.rings.scratch;
            scratch.clear();
            scratch.resize(shape.words(), 0.0);
            match feed {
                Feed::F32(v) => layout::each(shape, |w, m| scratch[m] = v[w]),
                Feed::U32(v) => v.iter().enumerate().for_each(|(i, w)| scratch[i] = f32::from_bits(*w)),
            }
            let mut view = staging
                .slice(input.offset..input.offset + bytes)
                .get_mapped_range_mut()
                .map_err(|e| Error::Internal(format!("staging: {e}")))?;
            view.copy_from_slice(bytemuck::cast_slice(scratch));
            copies.push((input.offset, self.buffers.inputs[at], bytes));
        }
        staging.unmap();
        Ok(copies)
    }

    /// Waits for the oldest step under way and moves its results to the queue.
    fn collect_oldest(&mut self, gpu: &Gpu) -> Result<()> {
        let Some((step, ring, index)) = self.rings.under_way.pop_front() else { return Ok(()) };
        gpu.wait_for(Some(index))?;
        let mut outputs = Vec::new();
        if let Some(buffer) = self.rings.down.get(ring) {
            let view = buffer.slice(..).get_mapped_range().map_err(|e| Error::Internal(format!("read back: {e}")))?;
            for o in &self.outputs {
                let words: Vec<f32> = bytemuck::pod_collect_to_vec(&view[o.offset as usize..][..o.shape.words() * 4]);
                outputs.push(world(o.shape, o.integer, &words));
            }
            drop(view);
            buffer.unmap();
        }
        self.rings.done.push_back(StepResult { step, outputs });
        Ok(())
    }

    /// The results of steps that are known to be done, oldest first; never waits.
    pub fn results(&mut self) -> impl Iterator<Item = StepResult> + '_ {
        self.rings.done.drain(..)
    }

    /// Waits for all steps under way and returns all results not taken yet, oldest first.
    ///
    /// # Errors
    /// Device errors.
    pub fn finish(&mut self, gpu: &Gpu) -> Result<Vec<StepResult>> {
        while !self.rings.under_way.is_empty() {
            self.collect_oldest(gpu)?;
        }
        Ok(self.results().collect())
    }

    /// One step, waited for: its outputs in the world's layout.
    ///
    /// # Errors
    /// As [`Plan::step`].
    pub fn run(&mut self, gpu: &Gpu, feeds: &[(Tensor, Feed)]) -> Result<Vec<Vec<f32>>> {
        self.step(gpu, feeds)?;
        let mut all = self.finish(gpu)?;
        Ok(all.pop().map(|r| r.outputs).unwrap_or_default())
    }

    /// The raw memory of every output after a finished step, for tests of the extra lanes.
    ///
    /// # Errors
    /// Device errors.
    pub fn output_memory(&self, gpu: &Gpu) -> Result<Vec<(Shape, Vec<f32>)>> {
        let read = |o: &super::Output| {
            let bytes = gpu.download(&self.buffers.all[o.place.0], o.place.1, o.shape.words() as u64 * 4)?;
            Ok((o.shape, bytemuck::pod_collect_to_vec(&bytes)))
        };
        self.outputs.iter().map(read).collect()
    }
}

fn world(shape: Shape, integer: bool, words: &[f32]) -> Vec<f32> {
    match shape {
        Shape::Flat { len } if integer => {
            debug_assert_eq!(words.len(), padded(len));
            words[..len].iter().map(|w| w.to_bits() as f32).collect()
        }
        _ => layout::to_world(shape, words),
    }
}
