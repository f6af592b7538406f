//! From a file to a network's parameters: names through the tables, shapes and types compared, and either everything is
//! taken or nothing.

use super::file::{Stored, StoredTensor, WeightsFile};
use super::names::{self, NameTable};
use super::report::{KeyReport, Mismatch, Unmatched};
use super::{Metadata, dims, is_hdf5};
use crate::error::{Error, Result};
use crate::graph::Shape;
use crate::nn::{Param, ParamStore};
use std::collections::HashMap;
use std::path::Path;

/// How a file is matched with a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// The network, for its row of [`names::TABLES`]; a file that names another network is refused. Empty: what the
    /// file says.
    pub network: String,
    /// Layers that may be missing or of another shape, all of their parameters together (`fc`, `classifier.6`): they keep
    /// the numbers they have.
    pub replaced_heads: Vec<String>,
    /// Sums the first filter over its input channels, for a network that takes one gray channel where the weights take
    /// three. Equal to feeding the same gray image three times *when the channels are scaled alike*.
    pub fold_grayscale: bool,
    /// Whether missing and unexpected names are errors; wrong shapes and types and what is not finite always are.
    pub strict: bool,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions { network: String::new(), replaced_heads: Vec::new(), fold_grayscale: false, strict: true }
    }
}

impl LoadOptions {
    /// Strict, for `network`.
    pub fn of(network: &str) -> LoadOptions {
        LoadOptions { network: network.into(), ..Default::default() }
    }

    /// The same with the network's own classifier replaced.
    pub fn with_new_head(mut self) -> LoadOptions {
        let head = names::table(&self.network).head;
        self.replaced_heads.extend((!head.is_empty()).then(|| head.to_string()));
        self
    }

    /// The same with the first filter summed over its input channels.
    pub fn with_grayscale_fold(mut self) -> LoadOptions {
        self.fold_grayscale = true;
        self
    }
}

/// What came out of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// What the file says of itself.
    pub metadata: Metadata,
    /// What happened to every name.
    pub report: KeyReport,
}

/// What loading would do, with nothing changed; names that do not fit are in the report and no error.
///
/// # Errors
/// As [`load_with`], for a file that cannot be read at all.
pub fn inspect(path: &Path, params: &ParamStore, options: &LoadOptions) -> Result<Loaded> {
    Ok(plan(path, params, options)?.0)
}

/// Fills `params` from a safetensors file, or from a Keras `.h5` file where the crate was built with the feature
/// `hdf5`. All or nothing: on an error `params` is bit for bit as it was.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a damaged file, the weights of another network, and names, shapes, types or numbers
/// that do not fit (the key report's problems).
pub fn load_with(path: &Path, params: &mut ParamStore, options: &LoadOptions) -> Result<Loaded> {
    let (loaded, values) = plan(path, params, options)?;
    let problems = loaded.report.problems(options.strict);
    if !problems.is_empty() {
        return Err(Error::format(path, problems.join("; ")));
    }
    for (p, v) in params.params.iter_mut().zip(values) {
        if let Some(v) = v {
            p.values = v;
        }
    }
    Ok(loaded)
}

type Values = Vec<Option<Vec<f32>>>;

fn plan(path: &Path, params: &ParamStore, options: &LoadOptions) -> Result<(Loaded, Values)> {
    if is_hdf5(path)? {
        #[cfg(feature = "hdf5")]
        {
            let tensors = super::hdf5::read(path, params, &options.network)?;
            let (mut report, values) = assign(tensors, params, options, &options.network);
            if !report.problems(true).is_empty() && !options.network.ends_with("_keras") {
                report.hint = Some(format!("these are Keras weights, whose dialect may be {}_keras", options.network));
            }
            return Ok((Loaded { metadata: Metadata::new(), report }, values));
        }
        #[cfg(not(feature = "hdf5"))]
        return Err(Error::format(path, "an HDF5 file (Keras?); this program was built without the feature hdf5"));
    }
    let file = WeightsFile::open(path)?;
    let metadata = file.metadata().clone();
    let says = metadata.get("network").map_or("", String::as_str);
    if !options.network.is_empty() && !says.is_empty() && names::base(says) != names::base(&options.network) {
        let reason = format!("holds weights of the network '{says}', needed are those of '{}'", options.network);
        return Err(Error::format(path, reason));
    }
    file.verify()?;
    let network = if options.network.is_empty() { says } else { &options.network };
    let (report, values) = assign(file.tensors(), params, options, network);
    Ok((Loaded { metadata, report }, values))
}

/// Matches `tensors` with `params`: the report, and the new numbers of each parameter that takes some.
pub(super) fn assign(
    tensors: Vec<StoredTensor>,
    params: &ParamStore,
    options: &LoadOptions,
    network: &str,
) -> (KeyReport, Values) {
    let table = names::table(network);
    let index: HashMap<&str, usize> = params.params.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
    let mut report = KeyReport::default();
    let mut found: Vec<Option<StoredTensor>> = vec![None; params.params.len()];
    for tensor in tensors {
        if table.ignores(&tensor.name) {
            report.ignored.push(tensor.name);
            continue;
        }
        let name = table.rename(&tensor.name, |n| index.contains_key(n));
        match index.get(name.as_str()) {
            None if head_of(&name, options).is_some() => report.ignored.push(tensor.name),
            None => report.unexpected.push(Unmatched { name: tensor.name, nearest: Vec::new() }),
            Some(i) => match &found[*i] {
                Some(other) => report.ambiguous.push(format!("{} and {} are both {name}", other.name, tensor.name)),
                None => found[*i] = Some(tensor),
            },
        }
    }
    let kept = kept_heads(params, &found, options, table);
    let mut values = Vec::with_capacity(found.len());
    for (p, tensor) in params.params.iter().zip(found) {
        let in_kept_head = head_of(&p.name, options).is_some_and(|h| kept.contains(&h));
        if in_kept_head {
            report.replaced.push(p.name.clone());
            report.ignored.extend(tensor.map(|t| t.name));
            values.push(None);
            continue;
        }
        values.push(match tensor {
            Some(tensor) => take(p, &tensor, options, table, &mut report),
            None => {
                report.missing.push(Unmatched { name: p.name.clone(), nearest: Vec::new() });
                None
            }
        });
    }
    report.find_nearest();
    (report, values)
}

/// The replaced head that a parameter belongs to.
fn head_of<'o>(name: &str, options: &'o LoadOptions) -> Option<&'o str> {
    let within = |head: &&str| name.strip_prefix(*head).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    options.replaced_heads.iter().map(String::as_str).find(within)
}

/// Heads of which at least one parameter does not fit: a head is taken whole or not at all.
fn kept_heads<'o>(
    params: &ParamStore,
    found: &[Option<StoredTensor>],
    options: &'o LoadOptions,
    table: &NameTable,
) -> Vec<&'o str> {
    let unfit = params.params.iter().zip(found).filter(|(p, tensor)| {
        let fits = |t: &StoredTensor| matches!(fit(p, &t.dims, options, table), Fit::Equal | Fit::Fold);
        !tensor.as_ref().is_some_and(fits)
    });
    unfit.filter_map(|(p, _)| head_of(&p.name, options)).collect()
}

/// How a stored tensor fits a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Equal,
    /// The first filter, over more than one channel where the network has one.
    Fold,
    No,
}

fn fit(p: &Param, found: &[usize], options: &LoadOptions, table: &NameTable) -> Fit {
    let Shape::Filter { k, c, r, s } = p.shape else {
        return if found == p.shape.dims() { Fit::Equal } else { Fit::No };
    };
    // A dense weight is (K, F) or a convolution as large as its input: the same numbers in the same order.
    if found == [k, c, r, s] || found == [k, c * r * s] {
        return Fit::Equal;
    }
    let first = p.name.strip_suffix(".weight").is_some_and(|layer| layer == table.first_conv);
    match found {
        [o, i, y, x] if options.fold_grayscale && first && c == 1 && *i > 0 && [*o, *y, *x] == [k, r, s] => Fit::Fold,
        _ => Fit::No,
    }
}

/// The numbers for `p`, or why there are none, in the report.
fn take(
    p: &Param,
    tensor: &StoredTensor,
    options: &LoadOptions,
    table: &NameTable,
    report: &mut KeyReport,
) -> Option<Vec<f32>> {
    let name = || p.name.clone();
    let how = fit(p, &tensor.dims, options, table);
    if how == Fit::No {
        let (found, needed) = (format!("{:?}", tensor.dims), format!("{:?}", dims(&p.name, p.shape)));
        report.wrong_shape.push(Mismatch { name: name(), found, needed });
        return None;
    }
    let Some(values) = tensor.data.to_f32() else {
        let found = tensor.data.kind().to_string();
        report.wrong_type.push(Mismatch { name: name(), found, needed: "F32, F16 or BF16".into() });
        return None;
    };
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        report.not_finite.push(format!("{} holds {} at element {at}", p.name, values[at]));
        return None;
    }
    if tensor.name != p.name {
        report.renamed.push((tensor.name.clone(), name()));
    }
    report.loaded.push(name());
    if how == Fit::Fold {
        report.folded = Some(name());
        return Some(sum_channels(&values, tensor.dims[1], p.shape));
    }
    Some(values)
}

/// A filter bank (K, `channels`, R, S) summed over its input channels, in f64.
fn sum_channels(values: &[f32], channels: usize, shape: Shape) -> Vec<f32> {
    let Shape::Filter { k, r, s, .. } = shape else { return Vec::new() };
    let at = |o: usize, i: usize, p: usize| f64::from(values[(o * channels + i) * r * s + p]);
    let one = |o: usize, p: usize| (0..channels).map(|i| at(o, i, p)).sum::<f64>() as f32;
    (0..k).flat_map(|o| (0..r * s).map(move |p| (o, p))).map(|(o, p)| one(o, p)).collect()
}

impl StoredTensor<'_> {
    /// A tensor whose numbers were rearranged already.
    pub(super) fn owned(name: String, dims: Vec<usize>, values: Vec<f32>) -> StoredTensor<'static> {
        StoredTensor { name, dims, data: Stored::Values(values) }
    }
}
