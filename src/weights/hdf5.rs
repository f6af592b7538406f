//! Keras' `.h5` files (feature `hdf5`), by the crate hdf5-pure, which is Rust alone.
//!
//! The container's numbers are read only after their size was compared with the file's: a lying shape costs no memory.

use super::file::StoredTensor;
use super::keras::{KerasArray, to_torch};
use crate::error::{Error, Result};
use crate::nn::ParamStore;
use hdf5_pure::{DType, Dataset, File, Group};
use std::path::Path;

/// Groups within groups that are followed; keras.applications' files have at most five.
const DEEPEST: usize = 12;

/// Arrays and groups that are looked at; InceptionResNetV2 has about 1800.
const MOST: usize = 20_000;

/// How much larger than the file an array may be when it is stored compressed.
const LARGEST_RATIO: u64 = 16;

/// The tensors of a Keras weights file for `network`; `params` tells which dense weights follow a flatten.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a damaged file, a network that is not in keras.applications, arrays that are no
/// F32.
pub fn read(path: &Path, params: &ParamStore, network: &str) -> Result<Vec<StoredTensor<'static>>> {
    let size = std::fs::metadata(path).map_err(Error::io(path, "cannot read"))?.len();
    let damaged = |e: hdf5_pure::Error| Error::format(path, format!("the HDF5 file cannot be read: {e}"));
    let file = File::open_streaming(path).map_err(damaged)?;
    collect(&file, size)
        .map_err(|e| Error::format(path, format!("the HDF5 file cannot be read: {e}")))
        .and_then(|arrays| to_torch(network, params, arrays).map_err(|e| Error::format(path, e)))
}

/// All arrays of `file`, which is `size` bytes long.
pub(super) fn collect(file: &File, size: u64) -> Result<Vec<KerasArray>, String> {
    let mut walk = Walk { size, seen: 0, arrays: Vec::new(), bytes: 0 };
    walk.group(&file.root(), "", 0)?;
    Ok(walk.arrays)
}

struct Walk {
    size: u64,
    seen: usize,
    arrays: Vec<KerasArray>,
    /// Of all arrays so far.
    bytes: u64,
}

impl Walk {
    fn group(&mut self, group: &Group, at: &str, depth: usize) -> Result<(), String> {
        let text = |e: hdf5_pure::Error| format!("group '{at}': {e}");
        if depth > DEEPEST {
            return Err(format!("group '{at}' lies more than {DEEPEST} groups deep"));
        }
        for name in group.datasets().map_err(text)? {
            self.count()?;
            let path = format!("{at}/{name}").trim_start_matches('/').to_string();
            let array = group.dataset(&name).map_err(|e| format!("{path}: {e}"))?;
            self.array(path, &array)?;
        }
        for name in group.groups().map_err(text)? {
            self.count()?;
            let inner = group.group(&name).map_err(text)?;
            // Moments are no weights.
            if depth > 0 || name != "optimizer_weights" {
                self.group(&inner, &format!("{at}/{name}"), depth + 1)?;
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.seen += 1;
        (self.seen <= MOST).then_some(()).ok_or_else(|| format!("more than {MOST} groups and arrays"))
    }

    fn array(&mut self, path: String, array: &Dataset) -> Result<(), String> {
        let text = |e: hdf5_pure::Error| format!("{path}: {e}");
        let shape = array.shape().map_err(text)?;
        let kind = array.dtype().map_err(text)?;
        if kind != DType::F32 {
            // Keras 3's and some others' counters; numbers that belong to no layer are not read.
            return match shape.as_slice() {
                [] | [1] => Ok(()),
                _ => Err(format!("{path}: holds {kind}, needed is f32")),
            };
        }
        let chunk = array.chunk_shape().map_err(text)?.unwrap_or_default();
        let packed = !array.filters().is_empty();
        let limit = if packed { self.size.saturating_mul(LARGEST_RATIO) } else { self.size };
        let bytes = |dims: &[u64]| dims.iter().try_fold(4u64, |n, d| n.checked_mul(*d)).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes(&shape));
        if bytes(&chunk) > limit.saturating_mul(2) || self.bytes > limit {
            let size = self.size;
            return Err(format!(
                "{path}: the shape {shape:?} (chunks {chunk:?}) is more than a file of {size} bytes holds"
            ));
        }
        let values = array.read_f32().map_err(text)?;
        let dims: Vec<usize> = shape.iter().filter_map(|d| usize::try_from(*d).ok()).collect();
        if dims.iter().product::<usize>() != values.len() {
            return Err(format!("{path}: {} numbers for the shape {shape:?}", values.len()));
        }
        self.arrays.push(KerasArray { path, dims, values });
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::graph::Shape;
    use crate::nn::Param;
    use crate::weights::{LoadOptions, load_with};
    use std::path::PathBuf;

    /// Written by h5py in the layout of keras.applications' files: number i of array a (from 1) is a + i / 1024.
    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/weights/testdata").join(name)
    }

    fn store(params: &[(&str, Shape)]) -> ParamStore {
        let make = |(name, shape): &(&str, Shape)| {
            let values = vec![-1.0; shape.elements()];
            Param { name: name.to_string(), shape: *shape, trainable: true, values }
        };
        ParamStore { params: params.iter().map(make).collect() }
    }

    const fn filter(k: usize, c: usize, r: usize, s: usize) -> Shape {
        Shape::Filter { k, c, r, s }
    }

    fn vgg() -> ParamStore {
        store(&[
            ("features.0.weight", filter(4, 2, 3, 3)),
            ("features.0.bias", Shape::Channels { c: 4 }),
            ("classifier.0.weight", filter(5, 4, 2, 3)),
            ("classifier.0.bias", Shape::Channels { c: 5 }),
            ("classifier.6.weight", filter(2, 5, 1, 1)),
            ("classifier.6.bias", Shape::Channels { c: 2 }),
        ])
    }

    #[test]
    fn keras_files_arrive_in_our_layout() {
        let mut s = vgg();
        let loaded = load_with(&fixture("vgg16.h5"), &mut s, &LoadOptions::of("vgg16")).unwrap();
        assert_eq!(loaded.report.loaded.len(), 6);
        let at = |s: &ParamStore, name: &str, i: usize| s.get(name).unwrap().values[i];
        let (o, i, h, w) = (3, 1, 2, 1);
        let from = ((h * 3 + w) * 2 + i) * 4 + o;
        assert_eq!(at(&s, "features.0.weight", ((o * 2 + i) * 3 + h) * 3 + w), 1.0 + from as f32 / 1024.0);
        assert_eq!(at(&s, "features.0.bias", 3), 2.0 + 3.0 / 1024.0);
        // Behind the flatten: H W C there, C H W here.
        let (o, c, h, w) = (4, 2, 1, 2);
        let from = ((h * 3 + w) * 4 + c) * 5 + o;
        assert_eq!(at(&s, "classifier.0.weight", ((o * 4 + c) * 2 + h) * 3 + w), 3.0 + from as f32 / 1024.0);
        assert_eq!(at(&s, "classifier.6.weight", 5 + 3), 5.0 + (3.0 * 2.0 + 1.0) / 1024.0);

        let channels = |c| Shape::Channels { c };
        let mut params = vec![
            ("conv1.weight", filter(4, 3, 3, 3)),
            ("block1.rep.0.conv1.weight", filter(4, 1, 3, 3)),
            ("block1.rep.0.pointwise.weight", filter(6, 4, 1, 1)),
            ("block1.skip.weight", filter(6, 4, 1, 1)),
            ("block2.skip.weight", filter(2, 6, 1, 1)),
        ];
        for (block, c) in [("block1.skipbn", 6), ("block2.skipbn", 2)] {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                params.push((Box::leak(format!("{block}.{part}").into_boxed_str()), channels(c)));
            }
        }
        let mut s = store(&params);
        load_with(&fixture("xception.h5"), &mut s, &LoadOptions::of("xception_keras")).unwrap();
        let (c, h, w) = (3, 2, 1);
        let from = (h * 3 + w) * 4 + c;
        assert_eq!(at(&s, "block1.rep.0.conv1.weight", (c * 3 + h) * 3 + w), 2.0 + from as f32 / 1024.0);
        // conv2d_9 comes before conv2d_10, which by letters it does not.
        assert_eq!(at(&s, "block1.skip.weight", 0), 4.0);
        assert_eq!(at(&s, "block2.skip.weight", 0), 9.0);
        assert_eq!(at(&s, "block2.skipbn.running_var", 1), 13.0 + 1.0 / 1024.0);
    }

    #[test]
    fn misfits_are_reported_and_change_nothing() {
        let mut s = vgg();
        s.params.remove(1);
        s.params[0].shape = filter(4, 2, 3, 4);
        s.params[0].values = vec![-1.0; 96];
        let before = s.clone();
        let e = load_with(&fixture("vgg16.h5"), &mut s, &LoadOptions::of("vgg16")).unwrap_err().to_string();
        assert_eq!(s, before);
        for part in [
            "1 unexpected: features.0.bias",
            "features.0.weight is [4, 2, 3, 3], needed is [4, 2, 3, 4]",
            "vgg16_keras",
        ] {
            assert!(e.contains(part), "{part} is not in: {e}");
        }
        let e = load_with(&fixture("vgg16.h5"), &mut s, &LoadOptions::of("detl12")).unwrap_err().to_string();
        assert!(e.contains("not for 'detl12'"), "{e}");
    }

    #[test]
    fn mutated_files_are_refused_and_never_panic() {
        fuzz(300);
    }

    /// Flips and cuts of the fixtures; every outcome but a panic, a changed store or a huge allocation is fine.
    pub(in crate::weights) fn fuzz(count: usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.h5");
        let valid = std::fs::read(fixture("vgg16.h5")).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % n as u64) as usize
        };
        let mut refused = 0;
        for i in 0..count {
            let mut bytes = valid.clone();
            if i % 5 == 0 {
                bytes.truncate(8 + next(bytes.len() - 8));
            } else {
                for _ in 0..1 + next(6) {
                    // Behind the signature, which would make it another kind of file.
                    let at = 8 + next(bytes.len() - 8);
                    bytes[at] = [bytes[at] ^ (1 << next(8)), 0xff, next(256) as u8][next(3)];
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let mut s = vgg();
            let before = s.clone();
            if load_with(&path, &mut s, &LoadOptions::of("vgg16")).is_err() {
                assert_eq!(s, before);
                refused += 1;
            }
        }
        assert!(refused > count / 10, "{refused} of {count} refused");
    }
}
