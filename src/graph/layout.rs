//! The one map between the engine's memory and the world. Weights in, weights out, checkpoints, fixtures and read-backs
//! all go through here.
//!
//! | kind | world | memory |
//! |---|---|---|
//! | image | N C H W | N H W C′ |
//! | filter | O I H W | H W I′ O′ |
//! | channels | C | C′ |
//! | windows | N C H W | N H W C′/4 words, one byte a channel, lowest byte first |
//!
//! C′ is C rounded up to a multiple of four; the extra lanes are zero and kernels keep them so. A dense weight (O, F) with
//! F flattened from C H W is the filter O C H W, so PyTorch's flatten order needs no map of its own.

use super::shape::{Shape, padded};

/// Calls `f(world index, memory index)` for every element of `shape`; for windows the memory index counts bytes.
pub fn each(shape: Shape, mut f: impl FnMut(usize, usize)) {
    match shape {
        Shape::Image { n, c, h, w } | Shape::Windows { n, c, h, w } => {
            let (plane, lanes) = (h * w, padded(c));
            for i in 0..n {
                for ch in 0..c {
                    let (from, to) = ((i * c + ch) * plane, i * plane * lanes + ch);
                    for px in 0..plane {
                        f(from + px, to + px * lanes);
                    }
                }
            }
        }
        Shape::Filter { k, c, r, s } => {
            let (taps, ci, ko) = (r * s, padded(c), padded(k));
            for o in 0..k {
                for i in 0..c {
                    for t in 0..taps {
                        f((o * c + i) * taps + t, (t * ci + i) * ko + o);
                    }
                }
            }
        }
        Shape::Channels { .. } | Shape::Flat { .. } => (0..shape.elements()).for_each(|i| f(i, i)),
    }
}

/// World order → memory order, extra lanes zero.
///
/// # Panics
/// When `world` has not `shape.elements()` numbers.
#[track_caller]
pub fn to_memory(shape: Shape, world: &[f32]) -> Vec<f32> {
    assert_eq!(world.len(), shape.elements(), "{shape} holds {} numbers, given were {}", shape.elements(), world.len());
    let mut memory = vec![0.0; shape.words()];
    each(shape, |w, m| memory[m] = world[w]);
    memory
}

/// Memory order → world order; extra lanes are dropped.
///
/// # Panics
/// When `memory` has not `shape.words()` words.
#[track_caller]
pub fn to_world(shape: Shape, memory: &[f32]) -> Vec<f32> {
    assert_eq!(memory.len(), shape.words(), "{shape} takes {} words, given were {}", shape.words(), memory.len());
    let mut world = vec![0.0; shape.elements()];
    if let Shape::Windows { .. } = shape {
        let bytes: &[u8] = bytemuck::cast_slice(memory);
        each(shape, |w, m| world[w] = f32::from(bytes[m]));
    } else {
        each(shape, |w, m| world[w] = memory[m]);
    }
    world
}

/// Memory indices that belong to no world element (the extra lanes), for tests that they stay zero.
pub fn extra_lanes(shape: Shape) -> Vec<usize> {
    let mut used = vec![false; shape.words()];
    if !matches!(shape, Shape::Windows { .. }) {
        each(shape, |_, m| used[m] = true);
    }
    (0..used.len()).filter(|i| !used[*i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_survives_the_round_trip() {
        for c in [1, 2, 3, 4, 5, 7, 8, 17] {
            let shapes = [
                Shape::image(2, c, 3, 5),
                Shape::Filter { k: 7, c, r: 3, s: 2 },
                Shape::Filter { k: c, c: 3, r: 1, s: 1 },
                Shape::Channels { c },
                Shape::flat(c),
            ];
            for shape in shapes {
                let world: Vec<f32> = (0..shape.elements()).map(|i| i as f32 + 1.0).collect();
                let memory = to_memory(shape, &world);
                assert_eq!(to_world(shape, &memory), world, "{shape}");
                let extra = extra_lanes(shape);
                assert_eq!(extra.len() + world.len(), memory.len());
                assert!(extra.iter().all(|i| memory[*i] == 0.0));
            }
        }
    }

    #[test]
    fn a_known_element_lies_where_the_table_says() {
        // N C H W = 1 3 2 2, element c 2, h 1, w 0 → memory (h*2+w)*4 + c = 10.
        let world: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(to_memory(Shape::image(1, 3, 2, 2), &world)[10], 10.0);
        // O I H W = 2 3 1 1, element o 1, i 2 → memory i*4 + o = 9.
        let filter: Vec<f32> = (0..6).map(|i| i as f32).collect();
        assert_eq!(to_memory(Shape::Filter { k: 2, c: 3, r: 1, s: 1 }, &filter)[9], 5.0);
    }
}
