//! What an operation says when it is planned: kernel launches over values and workspaces, as data.

use super::graph::ValueId;
use super::op::Cost;
use super::shape::{Shape, padded};
use crate::gpu::tuning::Tuning;
use crate::gpu::{KernelKey, Source, Word};

/// One of an optimizer's or the weights' arenas; they are parallel: the same offset is the same parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arena {
    /// The trainable parameters.
    Param,
    /// Their gradients.
    Grad,
    /// The optimizer's moment of this number.
    Moment(usize),
}

/// A buffer that a kernel binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operand {
    /// A value of the graph.
    Value(ValueId),
    /// Scratch memory of one node, by number.
    Workspace(usize),
    /// Part of a value's memory, when the whole exceeds what one binding holds.
    Part {
        /// The value.
        value: ValueId,
        /// First word; a multiple of [`PART_ALIGN`].
        first: usize,
        /// How many words.
        words: usize,
    },
    /// A whole chunk of an arena.
    Chunk(Arena, usize),
}

/// Bindings start at multiples of this many words: 256 bytes, the most that any adapter asks for.
pub const PART_ALIGN: usize = 64;

impl From<ValueId> for Operand {
    fn from(v: ValueId) -> Operand {
        Operand::Value(v)
    }
}

/// A kernel launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Which kernel.
    pub key: KernelKey,
    /// The fields of `Params` without the grid's three.
    pub params: Vec<(&'static str, Word)>,
    /// Inputs, then outputs, in binding order.
    pub buffers: Vec<Operand>,
    /// Workgroups, as a linear count.
    pub groups: u64,
    /// Work in it.
    pub cost: Cost,
}

/// How an image lies in its buffer, in quads of channels. Concatenation along the channels is done by letting each part live
/// inside the whole: then the pixels of a part are further apart than its own channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// From one pixel to the next.
    pub stride: usize,
    /// Before the first pixel.
    pub offset: usize,
}

/// What planning knows of a graph's values when an operation is asked for its launches.
pub(crate) trait Values {
    fn shape(&self, v: ValueId) -> Shape;
    /// The value whose memory holds `v`, itself if it has its own, and the channel quads before it.
    fn host(&self, v: ValueId) -> (ValueId, usize);
}

/// Collects the launches of one node.
pub struct Recorder<'a> {
    /// The adapter's row of the tuning table.
    pub tuning: Tuning,
    /// Words that one binding can hold.
    pub binding_words: usize,
    values: &'a dyn Values,
    pub(crate) launches: Vec<Launch>,
    pub(crate) workspaces: Vec<usize>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(tuning: Tuning, binding_words: usize, values: &'a dyn Values) -> Recorder<'a> {
        Recorder { tuning, binding_words, values, launches: Vec::new(), workspaces: Vec::new() }
    }

    /// The shape of a value.
    pub fn shape(&self, v: ValueId) -> Shape {
        self.values.shape(v)
    }

    /// How an image lies in its buffer. Only operations whose [`super::Op::views`] says so meet one that is not dense.
    pub fn view(&self, v: ValueId) -> View {
        let (host, offset) = self.values.host(v);
        let (_, c, _, _) = self.shape(host).nchw();
        View { stride: padded(c) / 4, offset }
    }

    /// Words of the memory that a kernel binds to reach this value: its own, or that of the wider value it lies in.
    pub fn memory_words(&self, v: ValueId) -> usize {
        self.shape(self.values.host(v).0).words()
    }

    /// Whether these two lie in the same memory: one is a slice of the other, and there is nothing to copy.
    pub fn share(&self, a: ValueId, b: ValueId) -> bool {
        self.values.host(a).0 == self.values.host(b).0
    }

    /// Scratch memory of `words` 32-bit words that lives as long as this node runs.
    pub fn workspace(&mut self, words: usize) -> Operand {
        self.workspaces.push(words);
        Operand::Workspace(self.workspaces.len() - 1)
    }

    /// Adds a launch of `entry` from `source` over `groups` workgroups.
    pub fn launch(
        &mut self,
        source: Source,
        entry: &'static str,
        baked: &[(&'static str, i64)],
        params: &[(&'static str, Word)],
        buffers: &[Operand],
        groups: usize,
    ) -> &mut Launch {
        let key = KernelKey { source, entry, params: baked.to_vec(), half: 0 };
        let cost = Cost::default();
        let launch = Launch { key, params: params.to_vec(), buffers: buffers.to_vec(), groups: groups as u64, cost };
        self.launches.push(launch);
        let last = self.launches.len() - 1;
        &mut self.launches[last]
    }

    /// How many quads of a run of `quads` a streaming kernel moves at once, and its `WIDE` (`shaders/prelude/cell.wgsl`).
    pub fn cell(&self, quads: usize) -> (usize, (&'static str, i64)) {
        if self.tuning.wide() && quads.is_multiple_of(2) { (2, ("WIDE", 1)) } else { (1, ("WIDE", 0)) }
    }

    /// [`Recorder::elementwise`] for a kernel over cells (`shaders/prelude/cell.wgsl`) that binds `x`, then `y`, all of y's
    /// shape; `Params` gets `cells`.
    pub fn streaming(
        &mut self,
        source: Source,
        entry: &'static str,
        baked: &[(&'static str, i64)],
        params: &[(&'static str, Word)],
        x: &[ValueId],
        y: ValueId,
    ) {
        let all = self.shape(y).words() / 4;
        let (quads, wide) = self.cell(all);
        let cells = all / quads;
        let baked = [&[wide], baked].concat();
        let params = [&[("cells", Word::from(cells))], params].concat();
        let buffers: Vec<Operand> = x.iter().chain([&y]).map(|v| (*v).into()).collect();
        self.launch(source, entry, &baked, &params, &buffers, cells.div_ceil(if quads == 2 { 256 } else { 1024 }));
    }

    /// A launch over `words` words of memory, four `vec4`s a thread of a 256-wide workgroup (`ELEMENTWISE` of
    /// `prelude/elementwise.wgsl`); `Params` gets `quads`.
    pub fn elementwise(
        &mut self,
        source: Source,
        entry: &'static str,
        baked: &[(&'static str, i64)],
        params: &[(&'static str, Word)],
        buffers: &[Operand],
        words: usize,
    ) {
        let quads = words / 4;
        let mut all = vec![("quads", Word::from(quads))];
        all.extend_from_slice(params);
        self.launch(source, entry, baked, &all, buffers, quads.div_ceil(1024));
    }
}
