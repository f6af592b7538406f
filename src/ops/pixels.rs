//! The launch grid of `shaders/prelude/pixels.wgsl`: the pixels of an image by quads of channels.

use crate::gpu::Word;
use crate::graph::{Shape, shape};

/// What a kernel over pixels is launched with.
pub(super) struct Pixels {
    /// Nothing at first.
    pub baked: Vec<(&'static str, i64)>,
    /// `rows`, `columns`, `column_blocks`, `channel_quads`, `channel_blocks`, `lane_bits`, `repeat`.
    pub params: Vec<(&'static str, Word)>,
    /// Workgroups.
    pub groups: usize,
}

/// The grid over the pixels of `over`.
pub(super) fn pixels(over: Shape) -> Pixels {
    let (n, c, h, w) = over.nchw();
    grid([n, h, w], shape::padded(c) / 4, 4)
}

/// The grid over images, rows and columns with `quads` quads (or cells) of channels, and at most `most` repeats a thread.
pub(super) fn grid([n, h, w]: [usize; 3], quads: usize, most: usize) -> Pixels {
    let lanes = quads.next_power_of_two().min(64);
    let repeat = w.div_ceil(64 / lanes).clamp(1, most);
    let (channel_blocks, column_blocks) = (quads.div_ceil(lanes), w.div_ceil(64 / lanes * repeat));
    let params = vec![
        ("rows", Word::from(h)),
        ("columns", Word::from(w)),
        ("column_blocks", Word::from(column_blocks)),
        ("channel_quads", Word::from(quads)),
        ("channel_blocks", Word::from(channel_blocks)),
        ("lane_bits", Word::from(lanes.trailing_zeros())),
        ("repeat", Word::from(repeat)),
    ];
    Pixels { baked: Vec::new(), params, groups: n * h * column_blocks * channel_blocks }
}
