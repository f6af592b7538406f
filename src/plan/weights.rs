//! Parameters in device memory: trainable ones packed in arena chunks, so that an optimizer step is one dispatch a chunk;
//! frozen ones in chunks of their own.

use super::target::Target;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Shape, layout};
use std::collections::HashMap;

/// A parameter's place.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Full name.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Whether it lies in the trainable chunks.
    pub trainable: bool,
    /// Which chunk.
    pub chunk: usize,
    /// Words from the chunk's start.
    pub offset: usize,
}

/// Where the parameters of a network lie, known before there is memory for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    slots: Vec<Slot>,
    by_name: HashMap<String, usize>,
    /// Words of each chunk of trainable parameters.
    pub(crate) trainable: Vec<usize>,
    /// Words of each chunk of frozen ones.
    pub(crate) frozen: Vec<usize>,
}

/// All parameters of a network on one device. Plans for training and for inference share it.
pub struct Weights {
    pub(crate) layout: Layout,
    pub(crate) trainable: Vec<Chunk>,
    pub(crate) frozen: Vec<Chunk>,
}

pub(crate) struct Chunk {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) words: usize,
}

/// Where each parameter will lie: chunks of at most `limit` words, every parameter aligned to `align` words.
fn pack(sizes: &[usize], limit: usize, align: usize) -> (Vec<(usize, usize)>, Vec<usize>) {
    let (mut places, mut chunks) = (Vec::new(), vec![0usize]);
    for words in sizes {
        let mut at = chunks[chunks.len() - 1].next_multiple_of(align);
        if at > 0 && at + words > limit {
            chunks.push(0);
            at = 0;
        }
        let last = chunks.len() - 1;
        places.push((last, at));
        chunks[last] = at + words;
    }
    (places, chunks.into_iter().filter(|w| *w > 0).collect())
}

impl Layout {
    /// Places parameters: name, shape, whether trainable.
    ///
    /// # Errors
    /// [`Error::Memory`] when one exceeds the largest buffer, with the figures.
    pub(crate) fn new<'a>(target: &Target, params: impl IntoIterator<Item = (&'a str, Shape, bool)>) -> Result<Layout> {
        let params: Vec<_> = params.into_iter().collect();
        // A larger parameter has a chunk of its own and is bound in pieces.
        let limit = target.binding_words().min((target.max_buffer / 4) as usize);
        for (name, shape, _) in &params {
            let (need, have) = (shape.words() as u64 * 4, target.max_buffer);
            if need > have {
                return Err(Error::Memory(format!(
                    "parameter {name} {shape} takes {need} bytes, a buffer of {} holds at most {have}",
                    target.name
                )));
            }
        }
        let mut all = Layout::default();
        for trainable in [true, false] {
            let part: Vec<_> = params.iter().filter(|p| p.2 == trainable).collect();
            let sizes: Vec<usize> = part.iter().map(|p| p.1.words()).collect();
            let (places, chunks) = pack(&sizes, limit, target.align_words);
            for ((name, shape, _), (chunk, offset)) in part.iter().zip(places) {
                all.by_name.insert(name.to_string(), all.slots.len());
                all.slots.push(Slot { name: name.to_string(), shape: *shape, trainable, chunk, offset });
            }
            *(if trainable { &mut all.trainable } else { &mut all.frozen }) = chunks;
        }
        Ok(all)
    }

    /// The place of a parameter.
    pub(crate) fn slot(&self, name: &str) -> Option<&Slot> {
        self.by_name.get(name).map(|i| &self.slots[*i])
    }

    /// Bytes of trainable and of frozen parameters.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let sum = |c: &[usize]| c.iter().map(|words| *words as u64 * 4).sum();
        (sum(&self.trainable), sum(&self.frozen))
    }
}

impl Weights {
    /// Uploads parameters: name, shape, whether trainable, values in the world's layout.
    ///
    /// # Errors
    /// [`Error::Memory`] when one parameter exceeds the adapter's largest buffer or the device has no room, with the figures.
    pub fn upload<'a>(
        gpu: &Gpu,
        params: impl IntoIterator<Item = (&'a str, Shape, bool, &'a [f32])>,
    ) -> Result<Weights> {
        let params: Vec<_> = params.into_iter().collect();
        let layout = Layout::new(&Target::of(gpu), params.iter().map(|p| (p.0, p.1, p.2)))?;
        let mut w = Weights { layout, trainable: Vec::new(), frozen: Vec::new() };
        for trainable in [true, false] {
            let chunks = if trainable { &w.layout.trainable } else { &w.layout.frozen };
            let mut memory: Vec<Vec<f32>> = chunks.iter().map(|n| vec![0.0; *n]).collect();
            let slots = w.layout.slots.iter().filter(|s| s.trainable == trainable);
            for (slot, (_, shape, _, values)) in slots.zip(params.iter().filter(|p| p.2 == trainable)) {
                let place = slot.offset..slot.offset + shape.words();
                memory[slot.chunk][place].copy_from_slice(&layout::to_memory(*shape, values));
            }
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            for (i, m) in memory.iter().enumerate() {
                let label = format!("{} parameters {i}", if trainable { "trainable" } else { "frozen" });
                let buffer = gpu.buffer(&label, m.len() as u64 * 4, usage)?;
                gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(m));
                let chunk = Chunk { buffer, words: m.len() };
                if trainable { w.trainable.push(chunk) } else { w.frozen.push(chunk) }
            }
        }
        gpu.check()?;
        Ok(w)
    }

    /// The place of a parameter.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.layout.slot(name)
    }

    /// All places, trainable parameters first.
    pub fn slots(&self) -> &[Slot] {
        &self.layout.slots
    }

    pub(crate) fn buffer(&self, slot: &Slot) -> &wgpu::Buffer {
        let chunks = if slot.trainable { &self.trainable } else { &self.frozen };
        &chunks[slot.chunk].buffer
    }

    /// Bytes of trainable and of frozen parameters.
    pub fn bytes(&self) -> (u64, u64) {
        self.layout.bytes()
    }

    /// All parameters in the world's layout, in the order of upload with trainable ones first; waits.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn download(&self, gpu: &Gpu) -> Result<Vec<(String, Shape, Vec<f32>)>> {
        let read = |c: &Chunk| gpu.download(&c.buffer, 0, c.words as u64 * 4);
        let trainable = self.trainable.iter().map(read).collect::<Result<Vec<_>>>()?;
        let frozen = self.frozen.iter().map(read).collect::<Result<Vec<_>>>()?;
        let pick = |s: &Slot| {
            let bytes = if s.trainable { &trainable[s.chunk] } else { &frozen[s.chunk] };
            let part: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[s.offset * 4..(s.offset + s.shape.words()) * 4]);
            (s.name.clone(), s.shape, layout::to_world(s.shape, &part))
        };
        Ok(self.layout.slots.iter().map(pick).collect())
    }

    /// Overwrites parameters by name with values in the world's layout; the others stay.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not there or values of another size; nothing is written then.
    pub fn write<'a>(&self, gpu: &Gpu, values: impl IntoIterator<Item = (&'a str, &'a [f32])>) -> Result<()> {
        let mut all = Vec::new();
        for (name, v) in values {
            let slot = self.slot(name).ok_or_else(|| Error::Usage(format!("there is no parameter {name}")))?;
            if v.len() != slot.shape.elements() {
                return Err(Error::Usage(format!(
                    "parameter {name} is {}, given were {} numbers",
                    slot.shape,
                    v.len()
                )));
            }
            all.push((slot, layout::to_memory(slot.shape, v)));
        }
        for (slot, memory) in all {
            gpu.queue.write_buffer(self.buffer(slot), slot.offset as u64 * 4, bytemuck::cast_slice(&memory));
        }
        gpu.check()
    }
}

#[cfg(test)]
mod tests {
    use super::pack;

    #[test]
    fn chunks_respect_the_limit_and_the_alignment() {
        let (places, chunks) = pack(&[10, 70, 100, 5], 128, 64);
        assert_eq!(places, [(0, 0), (1, 0), (2, 0), (3, 0)]);
        assert_eq!(chunks, [10, 70, 100, 5]);
        let (places, chunks) = pack(&[10, 20], 128, 64);
        assert_eq!((places, chunks), (vec![(0, 0), (0, 64)], vec![84]));
        assert_eq!(pack(&[], 128, 64).1.len(), 0);
    }
}
