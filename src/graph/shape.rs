//! Shapes as the world counts them, and how many words they take in the engine's memory.

use std::fmt;

/// The shape of a value. Dimensions are the world's; how they lie in memory is `layout.rs`' business alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Activations, N C H W. A flattened or dense activation of F features is N × F × 1 × 1.
    Image {
        /// Images.
        n: usize,
        /// Channels.
        c: usize,
        /// Rows.
        h: usize,
        /// Columns.
        w: usize,
    },
    /// A filter bank, O I H W. A dense weight is a filter as large as its input.
    Filter {
        /// Output channels.
        k: usize,
        /// Input channels.
        c: usize,
        /// Filter rows.
        r: usize,
        /// Filter columns.
        s: usize,
    },
    /// One number a channel: bias, class weights.
    Channels {
        /// Channels.
        c: usize,
    },
    /// A plain row of numbers: a loss, labels, counters.
    Flat {
        /// How many.
        len: usize,
    },
    /// Max pooling's memory: which element of its window won, one byte an output element, packed by four channels.
    Windows {
        /// Images.
        n: usize,
        /// Channels.
        c: usize,
        /// Rows.
        h: usize,
        /// Columns.
        w: usize,
    },
}

/// Channels are stored rounded up to a multiple of four, the extra lanes zero: the one place of that rule.
pub const fn padded(c: usize) -> usize {
    c.next_multiple_of(4)
}

impl Shape {
    /// N C H W.
    pub const fn image(n: usize, c: usize, h: usize, w: usize) -> Shape {
        Shape::Image { n, c, h, w }
    }

    /// `len` plain numbers.
    pub const fn flat(len: usize) -> Shape {
        Shape::Flat { len }
    }

    /// Numbers as the world counts them.
    pub fn elements(self) -> usize {
        match self {
            Shape::Image { n, c, h, w } | Shape::Windows { n, c, h, w } => n * c * h * w,
            Shape::Filter { k, c, r, s } => k * c * r * s,
            Shape::Channels { c } => c,
            Shape::Flat { len } => len,
        }
    }

    /// 32-bit words in the engine's memory.
    pub fn words(self) -> usize {
        match self {
            Shape::Image { n, c, h, w } => n * h * w * padded(c),
            Shape::Windows { n, c, h, w } => n * h * w * padded(c) / 4,
            Shape::Filter { k, c, r, s } => r * s * padded(c) * padded(k),
            Shape::Channels { c } => padded(c),
            Shape::Flat { len } => padded(len),
        }
    }

    /// The dimensions in the world's order.
    pub fn dims(self) -> Vec<usize> {
        match self {
            Shape::Image { n, c, h, w } | Shape::Windows { n, c, h, w } => vec![n, c, h, w],
            Shape::Filter { k, c, r, s } => vec![k, c, r, s],
            Shape::Channels { c } => vec![c],
            Shape::Flat { len } => vec![len],
        }
    }

    /// N, C, H, W of an image shape.
    ///
    /// # Panics
    /// When the shape is another kind: the recording op checks first and names its layer.
    #[track_caller]
    pub fn nchw(self) -> (usize, usize, usize, usize) {
        match self {
            Shape::Image { n, c, h, w } | Shape::Windows { n, c, h, w } => (n, c, h, w),
            other => panic!("{other} is no image"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Shape::Image { n, c, h: 1, w: 1 } => write!(f, "[N {n}, C {c}]"),
            Shape::Image { n, c, h, w } => write!(f, "[N {n}, C {c}, H {h}, W {w}]"),
            Shape::Filter { k, c, r: 1, s: 1 } => write!(f, "filter [O {k}, I {c}]"),
            Shape::Filter { k, c, r, s } => write!(f, "filter [O {k}, I {c}, H {r}, W {s}]"),
            Shape::Channels { c } => write!(f, "[C {c}]"),
            Shape::Flat { len } => write!(f, "[{len}]"),
            Shape::Windows { n, c, h, w } => write!(f, "windows [N {n}, C {c}, H {h}, W {w}]"),
        }
    }
}
