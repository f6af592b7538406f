//! Batches that do not fit at once: micro batches, whose gradients add up to that of the whole batch.

use crate::error::Error;
use std::str::FromStr;

/// Whether a batch is worked on in parts. The gradient is that of the whole batch within rounding, also for an epoch's short
/// last batch and with class weights. Batch norm that trains is the exception: it normalises over a micro batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MicroBatch {
    /// The whole batch at once; one that does not fit is refused.
    #[default]
    Off,
    /// The whole batch if it fits, else as few parts as fit. A fit that goes on from a checkpoint keeps the parts it had.
    Auto,
    /// At most so many images at once.
    Of(usize),
}

impl FromStr for MicroBatch {
    type Err = Error;

    fn from_str(text: &str) -> Result<MicroBatch, Error> {
        match (text, text.parse()) {
            ("off", _) => Ok(MicroBatch::Off),
            ("auto", _) => Ok(MicroBatch::Auto),
            (_, Ok(n)) if n > 0 => Ok(MicroBatch::Of(n)),
            _ => Err(Error::Usage(format!("'{text}': auto, off, or a number of images from 1 on"))),
        }
    }
}

/// A batch in parts of `size` images, the last one filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Images of a part.
    pub(super) size: usize,
    /// Parts.
    pub(super) count: usize,
}

impl Split {
    /// `batch` images in as few parts of at most `most` images as there can be, all of them about as large.
    pub(super) fn of(batch: usize, most: usize) -> Split {
        let count = batch.div_ceil(most.max(1));
        Split { size: batch.div_ceil(count), count }
    }

    /// The parts of a batch, of which an epoch's last one has fewer images; each with what its mean gradient counts: the
    /// plan takes the mean over the parts, and the batch's gradient is the mean over its images.
    pub(super) fn parts<T>(self, batch: &[T]) -> impl Iterator<Item = (&[T], f32)> {
        (0..self.count).map(move |i| {
            let (from, to) = ((i * self.size).min(batch.len()), ((i + 1) * self.size).min(batch.len()));
            (&batch[from..to], (self.count * (to - from)) as f32 / batch.len().max(1) as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_about_as_large_and_count_by_their_images() {
        assert_eq!(Split::of(16, 16), Split { size: 16, count: 1 });
        assert_eq!(Split::of(16, 7), Split { size: 6, count: 3 });
        assert_eq!(Split::of(3, 64), Split { size: 3, count: 1 });
        let images: Vec<u8> = (0..16).collect();
        for (batch, counts) in [(16, [6, 6, 4]), (7, [6, 1, 0])] {
            let parts: Vec<(&[u8], f32)> = Split::of(16, 7).parts(&images[..batch]).collect();
            assert_eq!(parts.iter().map(|p| p.0.len()).collect::<Vec<_>>(), counts);
            assert_eq!(parts.iter().flat_map(|p| p.0).copied().collect::<Vec<_>>(), images[..batch]);
            for (part, share) in parts {
                assert!((share / 3.0 - part.len() as f32 / batch as f32).abs() < 1e-6);
            }
        }
        assert_eq!(Split::of(5, 5).parts(&images[..2]).map(|p| p.1).collect::<Vec<_>>(), [1.0]);
    }

    #[test]
    fn words_and_numbers_are_read() {
        let read = |t: &str| t.parse::<MicroBatch>();
        assert_eq!(read("auto").unwrap(), MicroBatch::Auto);
        assert_eq!(read("off").unwrap(), MicroBatch::Off);
        assert_eq!(read("6").unwrap(), MicroBatch::Of(6));
        for bad in ["0", "-1", "some", ""] {
            assert_eq!(read(bad).unwrap_err().exit_code(), 2);
        }
    }
}
