//! Weights files: safetensors in the world's layout under the layers' names, with enough metadata to predict from the file
//! alone (network, side, classes, preprocessing, digests). Written atomically; nothing in a file is ever executed, and no
//! pickle is ever parsed (`examples/convert_weights.py` turns `.pt` and `.pth` into safetensors).
//!
//! [`mod@file`] is the container, [`names`] the tables of other people's names, [`load_with`] brings both together and
//! [`KeyReport`] tells what became of every name. [`Checkpoint`] is what a training resumes from. Keras' weights come in by
//! [`keras`] and, with the feature `hdf5`, from their own files.

mod card;
pub mod checkpoint;
pub mod file;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "hdf5")]
pub mod hdf5;
pub mod keras;
mod keras_layers;
mod load;
#[cfg(test)]
mod load_tests;
pub mod names;
mod report;

pub use card::{Card, Scaling};
pub use checkpoint::Checkpoint;
pub use file::{Precision, WeightsFile};
pub use load::{LoadOptions, Loaded, inspect, load_with};
pub use report::{KeyReport, Mismatch, Unmatched};

use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::graph::Shape;
use crate::nn::ParamStore;
use half::f16;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Value of the metadata key `format`.
pub const FORMAT: &str = "radiograd-weights-1";

/// What a weights file says of itself, by key; [`Card`] has what is needed to predict, `sha256` is of the values …
pub type Metadata = BTreeMap<String, String>;

/// Dimensions of a parameter in a file: a dense weight is (K, F), as everybody's is.
fn dims(name: &str, shape: Shape) -> Vec<usize> {
    match shape {
        Shape::Filter { k, c, r, s } if is_dense(name) => vec![k, c * r * s],
        other => other.dims(),
    }
}

/// Dense layers are named `fc1`, `classifier.6`, `classif`, `dense2`, `head` or `out`; a filter's numbers are in the same
/// order either way.
fn is_dense(name: &str) -> bool {
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let layer = name.rsplit('.').skip(1).find(|part| !is_number(part)).unwrap_or("");
    let stem = layer.trim_end_matches(|c: char| c.is_ascii_digit());
    ["fc", "classifier", "classif", "dense", "head", "out"].contains(&stem)
}

/// Whether the file begins as HDF5 does. Knows PyTorch's files, to say what to do with them.
pub(crate) fn is_hdf5(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path, "cannot read"))?;
    file.take(8).read_to_end(&mut start).map_err(Error::io(path, "cannot read"))?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(&OLD_PYTORCH) {
        let reason = "a PyTorch file, which is a program to be run: convert it with examples/convert_weights.py";
        return Err(Error::format(path, reason));
    }
    Ok(start == *b"\x89HDF\r\n\x1a\n")
}

/// PyTorch's old files begin with a pickled magic number.
const OLD_PYTORCH: [u8; 8] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46];

/// Writes `params` to `path` as F32; see [`save_as`].
///
/// # Errors
/// As [`save_as`].
pub fn save(path: &Path, params: &ParamStore, metadata: &Metadata) -> Result<()> {
    save_as(path, params, metadata, Precision::F32)
}

/// Writes `params` to `path`. [`FORMAT`], the digest of the values (as they are stored: a loader gets the same digest)
/// and [`file::DATA_DIGEST`] are added to `metadata`. The same parameters and metadata give the same bytes.
///
/// # Errors
/// [`Error::Numerics`] naming the parameter that is not finite or too large for F16; [`Error::Io`] as [`write_atomic`].
pub fn save_as(path: &Path, params: &ParamStore, metadata: &Metadata, precision: Precision) -> Result<()> {
    if let Some(name) = params.first_non_finite() {
        return Err(Error::Numerics(format!("{}: not written, {name} holds a NaN or an infinity", path.display())));
    }
    let stored = |shape: Shape| match shape {
        Shape::Filter { .. } => precision,
        _ => Precision::F32,
    };
    let mut info = metadata.clone();
    info.insert("format".into(), FORMAT.into());
    info.insert(
        "sha256".into(),
        match precision {
            Precision::F32 => params.digest(),
            Precision::F16 => {
                let mut rounded = params.clone();
                for p in rounded.params.iter_mut().filter(|p| stored(p.shape) == Precision::F16) {
                    p.values.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
                }
                rounded.digest()
            }
        },
    );
    let items = params.params.iter();
    let items = items.map(|p| (p.name.as_str(), dims(&p.name, p.shape), p.values.as_slice(), stored(p.shape)));
    write_atomic(path, &file::encode(items.collect(), &info)?)
}

/// The metadata of a weights file; its numbers are not looked at.
///
/// # Errors
/// As [`WeightsFile::open`].
pub fn metadata(path: &Path) -> Result<Metadata> {
    Ok(WeightsFile::open(path)?.metadata().clone())
}

/// Fills `params` from a weights file; strict: every parameter must be there with its shape, and nothing else, but for
/// what the file's network has in [`names::TABLES`]. On an error `params` stays as it was.
///
/// # Errors
/// As [`load_with`].
pub fn load(path: &Path, params: &mut ParamStore) -> Result<Metadata> {
    Ok(load_with(path, params, &LoadOptions::default())?.metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;

    #[test]
    fn weights_survive_the_file_and_bad_files_leave_the_model_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let net = Network::named("detl12").unwrap();
        let params = net.init(36, 3, 1);
        // The digest of the training images, as DETL writes it: it is not that of the numbers.
        let images = ("data_sha256".to_string(), "00ff".to_string());
        let info = Metadata::from([("network".into(), "detl12".into()), images]);
        save(&path, &params, &info).unwrap();
        let mut other = net.init(36, 3, 2);
        let read = load(&path, &mut other).unwrap();
        assert_eq!(other.digest(), params.digest());
        assert_eq!((read["network"].as_str(), &read["sha256"]), ("detl12", &params.digest()));
        assert_eq!((read["data_sha256"].as_str(), read[file::DATA_DIGEST].len()), ("00ff", 64));

        let mut four = net.init(36, 4, 2);
        let before = four.digest();
        let e = load(&path, &mut four).unwrap_err().to_string();
        assert!(e.contains("fc3.weight is [3, 128], needed is [4, 128]"), "{e}");
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 7, 8, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(load(&path, &mut four).is_err());
        }
        assert_eq!(four.digest(), before);

        let mut broken = params.clone();
        broken.params[3].values[0] = f32::NAN;
        let e = save(&path, &broken, &info).unwrap_err();
        assert!(e.to_string().contains(&broken.params[3].name) && e.exit_code() == 6);
    }
}
