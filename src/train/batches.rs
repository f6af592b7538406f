//! Batches: which images of a pool, with which labels, in which order; the last one of an epoch is padded.

use crate::graph::Shape;
use crate::ops::philox::{key, philox};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// A label that counts for nothing: padding of a batch.
pub const PADDING: u32 = u32::MAX;

/// How pixels in [0, 1] become the network's input: (x − mean) · scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// Subtracted first.
    pub mean: f32,
    /// Multiplied then.
    pub scale: f32,
}

impl Normalize {
    /// x as it is: features.
    pub const NONE: Normalize = Normalize { mean: 0.0, scale: 1.0 };

    /// (x − 0.5) · 4: a chest radiograph's pixels have a mean near 0.5 and a deviation near 0.25.
    pub const CENTERED: Normalize = Normalize { mean: 0.5, scale: 4.0 };

    /// In words, for reports and weights files.
    pub fn describe(&self) -> String {
        format!("(x - {}) * {}", self.mean, self.scale)
    }
}

/// Images and labels: a pool of images (or of features of images) and the items that belong to this part of it.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// `[n, C, H, W]`; gray planes in [0, 1] have C = 1.
    pub data: &'a [f32],
    /// The same of the images mirrored left to right, where training may show either: features of a frozen base cannot be
    /// mirrored afterwards.
    pub mirrored: Option<&'a [f32]>,
    /// C, H, W.
    pub shape: [usize; 3],
    /// Index of an image in `data`, and its class.
    pub items: &'a [(usize, usize)],
}

/// One batch on its way to the device.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) pixels: Vec<f32>,
    pub(super) labels: Vec<u32>,
    /// Positions in `Samples::items`; shorter than the batch when padded.
    pub(super) items: Vec<usize>,
}

impl Samples<'_> {
    /// Numbers of one image.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// The shape of a batch of `n` images.
    pub fn batch_shape(&self, n: usize) -> Shape {
        let [c, h, w] = self.shape;
        Shape::image(n, c, h, w)
    }

    /// Fills `batch` with the items at `positions`, padded to `size` with black images that count for nothing. `draw`:
    /// seed and epoch by which each image is mirrored or not, where there are mirrored ones.
    pub(super) fn fill(
        &self,
        batch: &mut Batch,
        positions: &[usize],
        size: usize,
        normalize: Normalize,
        draw: Option<(u64, usize)>,
    ) {
        let size_one = self.size();
        batch.items.clear();
        batch.items.extend_from_slice(positions);
        batch.pixels.clear();
        batch.labels.clear();
        for at in positions {
            let (image, label) = self.items[*at];
            let view = match (self.mirrored, draw) {
                (Some(mirrored), Some((seed, epoch))) if coin(seed, epoch, image) => mirrored,
                _ => self.data,
            };
            let source = &view[image * size_one..(image + 1) * size_one];
            batch.pixels.extend(source.iter().map(|v| (v - normalize.mean) * normalize.scale));
            batch.labels.push(label as u32);
        }
        batch.pixels.resize(size * size_one, 0.0);
        batch.labels.resize(size, PADDING);
    }
}

/// A fair coin for an image in an epoch.
fn coin(seed: u64, epoch: usize, image: usize) -> bool {
    philox([image as u32, epoch as u32, 0x6d69_7272, 0], key(seed))[0] & 1 == 1
}

/// The order of an epoch: a shuffle that follows from seed and epoch alone.
pub(super) fn order(len: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..len).collect();
    all.shuffle(&mut StdRng::seed_from_u64(seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_that_depends_on_seed_and_epoch() {
        let a = order(100, 7, 3);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(a, order(100, 7, 3));
        assert_ne!(a, order(100, 7, 4));
        assert_ne!(a, order(100, 8, 3));
    }

    #[test]
    fn a_short_batch_is_padded_with_labels_that_count_for_nothing() {
        let planes = [0.5, 0.75, 1.0, 0.0];
        let samples = Samples { data: &planes, mirrored: None, shape: [1, 1, 1], items: &[(2, 1), (0, 0)] };
        let mut b = Batch::default();
        samples.fill(&mut b, &[0, 1], 3, Normalize::CENTERED, None);
        assert_eq!(b.pixels, [2.0, 0.0, 0.0]);
        assert_eq!(b.labels, [1, 0, PADDING]);
    }
}
