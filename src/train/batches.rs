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
    /// The same of the images mirrored left to right, or of several augmented views one after another, where training may
    /// show any of them: features of a frozen base cannot be mirrored afterwards.
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
    /// Positions in `Samples::items`, those of the padding included; shorter than the batch where the padding is black.
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

    /// Fills `batch` with the items at `positions`, padded to `size` with images that count for nothing in the loss: with
    /// those at `padding`, over and over, or black ones where that is empty. Batch norm takes its statistics over the
    /// padding too, so that training pads with training images. `draw`: seed and epoch by which each image is shown as it is
    /// or in one of its other views, where there are any.
    pub(super) fn fill(
        &self,
        batch: &mut Batch,
        (positions, padding): (&[usize], &[usize]),
        size: usize,
        normalize: Normalize,
        draw: Option<(u64, usize)>,
    ) {
        let size_one = self.size();
        let missing = size.saturating_sub(positions.len());
        batch.items.clear();
        batch.items.extend_from_slice(positions);
        batch.items.extend(padding.iter().cycle().take(missing));
        batch.pixels.clear();
        batch.labels.clear();
        for at in &batch.items {
            let (image, _) = self.items[*at];
            let view = draw.map_or(0, |(seed, epoch)| pick(seed, epoch, image, self.views()));
            let source = match (view, self.mirrored) {
                (1.., Some(others)) => &others[(view - 1) * self.data.len()..],
                _ => self.data,
            };
            let source = &source[image * size_one..(image + 1) * size_one];
            batch.pixels.extend(source.iter().map(|v| (v - normalize.mean) * normalize.scale));
        }
        batch.labels.extend(positions.iter().map(|at| self.items[*at].1 as u32));
        batch.pixels.resize(size * size_one, 0.0);
        batch.labels.resize(size, PADDING);
    }

    /// How many views there are of each image, the image itself counted.
    pub fn views(&self) -> usize {
        1 + self.mirrored.map_or(0, |m| m.len() / self.data.len().max(1))
    }
}

/// Which of `views` an image is shown in during an epoch: all are equally likely.
fn pick(seed: u64, epoch: usize, image: usize, views: usize) -> usize {
    philox([image as u32, epoch as u32, 0x6d69_7272, 0], key(seed))[0] as usize % views
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
        samples.fill(&mut b, (&[0, 1], &[]), 3, Normalize::CENTERED, None);
        assert_eq!(b.pixels, [2.0, 0.0, 0.0]);
        assert_eq!(b.labels, [1, 0, PADDING]);
        samples.fill(&mut b, (&[1], &[0, 1]), 4, Normalize::CENTERED, None);
        assert_eq!(b.pixels, [0.0, 2.0, 0.0, 2.0]);
        assert_eq!((b.labels, b.items), (vec![0, PADDING, PADDING, PADDING], vec![1, 0, 1, 0]));
    }

    #[test]
    fn every_view_is_shown() {
        let (data, others) = ([1.0, 2.0], [3.0, 4.0, 5.0, 6.0]);
        let samples = Samples { data: &data, mirrored: Some(&others), shape: [1, 1, 1], items: &[(1, 0)] };
        let mut seen = [0; 7];
        let mut b = Batch::default();
        for epoch in 0..300 {
            samples.fill(&mut b, (&[0], &[]), 1, Normalize::NONE, Some((5, epoch)));
            seen[b.pixels[0] as usize] += 1;
        }
        assert!([2, 4, 6].iter().all(|v| (70..130).contains(&seen[*v])), "{seen:?}");
        samples.fill(&mut b, (&[0], &[]), 1, Normalize::NONE, None);
        assert_eq!(b.pixels, [2.0]);
    }
}
