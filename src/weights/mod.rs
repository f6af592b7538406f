//! Weights files: safetensors in the world's layout under the layers' names, with enough metadata to predict from the file
//! alone (network, side, classes, preprocessing, digests). Written atomically; nothing in a file is ever executed.
//! Dense weights count their features in the order C H W; Keras' H W C is converted by [`keras_dense_to_chw`].

mod keras;

pub use keras::{chw_dense_to_keras, keras_dense_to_chw};

use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::graph::Shape;
use crate::nn::ParamStore;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Value of the metadata key `format`.
pub const FORMAT: &str = "radiograd-weights-1";

/// What a weights file says of itself, by key: `network`, `side`, `classes` (joined by `|`), `preprocessing`, `sha256` …
pub type Metadata = BTreeMap<String, String>;

/// Dimensions of a parameter in a file: a dense weight is (K, F), as everybody's is.
fn dims(name: &str, shape: Shape) -> Vec<usize> {
    match shape {
        Shape::Filter { k, c, r, s } if is_dense(name) => vec![k, c * r * s],
        other => other.dims(),
    }
}

/// Dense layers are named `fc…`, `classifier…` or `head…`; a filter's numbers are in the same order either way.
fn is_dense(name: &str) -> bool {
    name.rsplit('.').nth(1).is_some_and(|layer| ["fc", "classifier", "head"].iter().any(|p| layer.starts_with(p)))
}

/// Writes `params` to `path`. [`FORMAT`] and the digest of the values are added to `metadata`.
///
/// # Errors
/// [`Error::Numerics`] naming the parameter that is not finite; [`Error::Io`] as [`write_atomic`].
pub fn save(path: &Path, params: &ParamStore, metadata: &Metadata) -> Result<()> {
    if let Some(name) = params.first_non_finite() {
        return Err(Error::Numerics(format!("{}: not written, {name} holds a NaN or an infinity", path.display())));
    }
    let mut info: HashMap<String, String> = metadata.clone().into_iter().collect();
    info.insert("format".into(), FORMAT.into());
    info.insert("sha256".into(), params.digest());
    let mut views = Vec::new();
    for p in &params.params {
        let view = TensorView::new(Dtype::F32, dims(&p.name, p.shape), bytemuck::cast_slice(&p.values))
            .map_err(|e| Error::Internal(format!("{}: {e}", p.name)))?;
        views.push((p.name.clone(), view));
    }
    let bytes = safetensors::serialize(views, Some(info)).map_err(|e| Error::Internal(format!("safetensors: {e}")))?;
    write_atomic(path, &bytes)
}

/// The metadata of a weights file.
///
/// # Errors
/// As [`load`].
pub fn metadata(path: &Path) -> Result<Metadata> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
    read_metadata(path, &bytes)
}

fn read_metadata(path: &Path, bytes: &[u8]) -> Result<Metadata> {
    let (_, header) =
        SafeTensors::read_metadata(bytes).map_err(|e| Error::format(path, format!("no safetensors file: {e}")))?;
    Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
}

/// Fills `params` from a weights file; strict: every parameter must be there with its shape, and nothing else. On an
/// error `params` stays as it was.
///
/// # Errors
/// [`Error::Format`] listing what is missing, unexpected, of another shape or type, not finite, or a damaged file.
pub fn load(path: &Path, params: &mut ParamStore) -> Result<Metadata> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
    let info = read_metadata(path, &bytes)?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| Error::format(path, format!("no safetensors file: {e}")))?;
    let mut problems = Vec::new();
    let mut values = Vec::new();
    for p in &params.params {
        let Ok(view) = file.tensor(&p.name) else {
            problems.push(format!("{} is missing", p.name));
            continue;
        };
        let want = dims(&p.name, p.shape);
        if view.dtype() != Dtype::F32 {
            problems.push(format!("{} is {:?}, needed is F32", p.name, view.dtype()));
        } else if view.shape() != want {
            problems.push(format!("{} is {:?}, needed is {want:?}", p.name, view.shape()));
        } else {
            let v: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            if v.iter().any(|x| !x.is_finite()) {
                problems.push(format!("{} holds a NaN or an infinity", p.name));
            }
            values.push(v);
        }
    }
    let unexpected = file.names().into_iter().filter(|n| params.get(n).is_none());
    problems.extend(unexpected.map(|n| format!("{n} is not a parameter of this network")));
    if !problems.is_empty() {
        problems.sort();
        let more = problems.len().saturating_sub(8);
        problems.truncate(8);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(Error::format(path, format!("{}{tail}", problems.join("; "))));
    }
    params.params.iter_mut().zip(values).for_each(|(p, v)| p.values = v);
    Ok(info)
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
        let info = Metadata::from([("network".into(), "detl12".into())]);
        save(&path, &params, &info).unwrap();
        let mut other = net.init(36, 3, 2);
        let read = load(&path, &mut other).unwrap();
        assert_eq!(other.digest(), params.digest());
        assert_eq!((read["network"].as_str(), &read["sha256"]), ("detl12", &params.digest()));

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
