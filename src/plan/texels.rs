//! Operands that kernels read as textures (`shaders/prelude/texel.wgsl` says why): the plan owns a few scratch textures and
//! copies an operand into one before the dispatch that reads it, unless it is there from an earlier dispatch.

use super::draft::{Bound, Place, Step};
use crate::error::Result;
use crate::gpu::kernel::TEXEL_ROW;
use crate::gpu::{Gpu, Reflection};

/// Scratch textures of a plan: a product reads two, and its next neighbour shares one with it (dy in a backward pass).
const TEXTURES: usize = 3;

/// Bytes of a row of texels.
const ROW_BYTES: u64 = TEXEL_ROW as u64 * 16;

/// A copy before a dispatch.
pub(super) struct Fill {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) quads: u32,
    pub(super) texture: wgpu::Texture,
}

impl Fill {
    /// Full rows first, then the beginning of the last one.
    pub(super) fn record(&self, e: &mut wgpu::CommandEncoder) {
        let (full, rest) = (self.quads / TEXEL_ROW as u32, self.quads % TEXEL_ROW as u32);
        let mut copy = |row: u32, width: u32, height: u32| {
            if width * height == 0 {
                return;
            }
            let layout = wgpu::TexelCopyBufferLayout {
                offset: self.offset + u64::from(row) * ROW_BYTES,
                bytes_per_row: Some(ROW_BYTES as u32),
                rows_per_image: None,
            };
            let mut to = self.texture.as_image_copy();
            to.origin.y = row;
            let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
            e.copy_buffer_to_texture(wgpu::TexelCopyBufferInfo { buffer: &self.buffer, layout }, to, size);
        };
        copy(0, TEXEL_ROW as u32, full);
        copy(full, rest, 1);
    }
}

/// The texture of one operand of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// Binding number.
    pub(super) binding: usize,
    /// Which scratch texture.
    pub(super) texture: usize,
    /// Whether it must be filled first.
    pub(super) fill: bool,
}

/// Which texture each step's operands get, and the rows that each texture needs.
pub(super) struct Assignment {
    pub(super) steps: Vec<Vec<Assigned>>,
    pub(super) rows: [usize; TEXTURES],
}

impl Assignment {
    /// Walks the steps once; a texture is taken from the operand that was read longest ago.
    pub(super) fn new(steps: &[Step], reflections: &[Reflection]) -> Assignment {
        let mut held: [Option<Bound>; TEXTURES] = [None; TEXTURES];
        let mut used = [0; TEXTURES];
        let mut all = Assignment { steps: Vec::new(), rows: [0; TEXTURES] };
        for (now, (step, r)) in steps.iter().zip(reflections).enumerate() {
            let mut mine: Vec<Assigned> = Vec::new();
            let wanted: Vec<(usize, Bound)> =
                step.bound.iter().copied().enumerate().filter(|(i, _)| r.textures[*i]).collect();
            for (i, operand) in &wanted {
                let found = held.iter().position(|h| *h == Some(*operand));
                // Not from an operand that this very step reads.
                let free = |t: &usize| !held[*t].is_some_and(|h| wanted.iter().any(|(_, o)| *o == h));
                let texture = found.or_else(|| (0..TEXTURES).filter(free).min_by_key(|t| used[*t]));
                let texture = texture.expect("no kernel reads more operands as textures than there are");
                held[texture] = Some(*operand);
                used[texture] = now + 1;
                all.rows[texture] = all.rows[texture].max(operand.words.div_ceil(4 * TEXEL_ROW));
                mine.push(Assigned { binding: i + 1, texture, fill: found.is_none() });
            }
            // What the step writes is stale in a texture. A chunk holds many values: forget everything.
            for (written, _) in step.bound.iter().zip(&r.writes).filter(|(_, w)| **w) {
                let chunk = matches!(written.place, Place::Chunk(..));
                let stale = |h: &Option<Bound>| chunk || h.is_some_and(|b| b.touches(*written));
                held.iter_mut().filter(|h| stale(h)).for_each(|h| *h = None);
            }
            all.steps.push(mine);
        }
        all
    }

    /// Bytes of all textures.
    pub(super) fn bytes(&self) -> u64 {
        self.rows.iter().map(|r| *r as u64 * ROW_BYTES).sum()
    }

    /// Makes the textures that are used.
    ///
    /// # Errors
    /// What the device reports.
    pub(super) fn textures(&self, gpu: &Gpu) -> Result<Vec<Option<wgpu::Texture>>> {
        let make = |rows: &usize| {
            (*rows > 0).then(|| {
                let size = wgpu::Extent3d { width: TEXEL_ROW as u32, height: *rows as u32, depth_or_array_layers: 1 };
                gpu.count_created();
                gpu.device.create_texture(&wgpu::TextureDescriptor {
                    label: Some("operand"),
                    size,
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D2,
                    format: wgpu::TextureFormat::Rgba32Float,
                    usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
                    view_formats: &[],
                })
            })
        };
        let all = self.rows.iter().map(make).collect();
        gpu.check()?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{KernelKey, Source};
    use crate::graph::{Cost, Launch};

    /// A step over activation slots: the first two read as textures, the last written.
    fn step(slots: [usize; 3]) -> Step {
        let key = KernelKey { source: Source { file: "", text: "" }, entry: "", params: Vec::new(), half: 0 };
        let launch = Launch { key, params: Vec::new(), buffers: Vec::new(), groups: 1, cost: Cost::default() };
        let bound =
            slots.map(|s| Bound { place: Place::Slot(s, 0), first: 0, words: 4 * (TEXEL_ROW + 1) * (s + 1) }).to_vec();
        Step { path: String::new(), op: "", launch, bound, when: super::super::When::Always }
    }

    #[test]
    fn operands_are_copied_once_until_they_change() {
        let (writes, textures) = (vec![false, false, true], vec![true, true, false]);
        let r = Reflection { fields: Vec::new(), size: 0, writes, textures, workgroup: [1; 3] };
        let steps = [[0, 1, 2], [2, 0, 3], [4, 2, 5], [5, 2, 0], [0, 2, 6]].map(step);
        let a = Assignment::new(&steps, &[r.clone(), r.clone(), r.clone(), r.clone(), r]);
        let of = |i: usize| a.steps[i].iter().map(|t| (t.binding, t.texture, t.fill)).collect::<Vec<_>>();
        assert_eq!(of(0), [(1, 0, true), (2, 1, true)]);
        assert_eq!(of(1), [(1, 2, true), (2, 0, false)], "0 is still there");
        assert_eq!(of(2), [(1, 1, true), (2, 2, false)], "1 is the oldest");
        assert_eq!(of(3), [(1, 0, true), (2, 2, false)], "a step's own operands stay");
        assert_eq!(of(4), [(1, 1, true), (2, 2, false)], "0 was written by the step before");
        assert_eq!(
            a.rows,
            [7, 6, 4],
            "slot s needs s + 1 rows and as many quads: 5 in the first, 4 and 2 in the others"
        );
    }
}
