//! The safetensors container: an 8-byte length, a JSON header, the numbers. Read by mapping the file into memory, so that
//! only what is looked at is loaded; every claim of the header is checked before a byte of the numbers is touched.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. Written here by hand as well, because the same
//! weights then always give the same bytes (the `safetensors` crate writes its metadata in random order; the tests
//! compare with it in both directions).

use super::Metadata;
use crate::error::{Error, Result};
use crate::files::hex;
use half::{bf16, f16};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The longest header that is read, as in the reference implementation.
const LARGEST_HEADER: u64 = 100_000_000;

/// Metadata key of the SHA-256 over all numbers of a file as they lie in it; checked by [`WeightsFile::verify`]. (Not
/// `data_sha256`, which is the digest of the images that a network was trained on.)
pub const DATA_DIGEST: &str = "numbers_sha256";

/// Element types and their bytes.
const TYPES: &[(&str, u64)] = &[
    ("BOOL", 1),
    ("U8", 1),
    ("I8", 1),
    ("F8_E4M3", 1),
    ("F8_E5M2", 1),
    ("I16", 2),
    ("U16", 2),
    ("F16", 2),
    ("BF16", 2),
    ("I32", 4),
    ("U32", 4),
    ("F32", 4),
    ("I64", 8),
    ("U64", 8),
    ("F64", 8),
    ("C64", 8),
];

/// The numbers of a stored tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored<'a> {
    /// Little-endian bytes of this element type, as in the file.
    Bytes(&'static str, &'a [u8]),
    /// Already f32: from a source that had to be rearranged.
    Values(Vec<f32>),
    /// A type of another container that has no place here; its name.
    Foreign(String),
}

impl Stored<'_> {
    /// The name of the element type.
    pub fn kind(&self) -> &str {
        match self {
            Stored::Bytes(kind, _) => kind,
            Stored::Values(_) => "F32",
            Stored::Foreign(kind) => kind,
        }
    }

    /// The numbers as f32: F32 as they are, F16 and BF16 widened, which is exact. `None` for another type.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let pairs = |bytes: &[u8], f: fn([u8; 2]) -> f32| bytes.chunks_exact(2).map(|b| f([b[0], b[1]])).collect();
        match self {
            Stored::Values(v) => Some(v.clone()),
            Stored::Bytes("F32", bytes) => {
                Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Stored::Bytes("F16", bytes) => Some(pairs(bytes, |b| f16::from_le_bytes(b).to_f32())),
            Stored::Bytes("BF16", bytes) => Some(pairs(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Stored::Bytes(..) | Stored::Foreign(_) => None,
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions in the file.
    pub dims: Vec<usize>,
    /// Its numbers, row-major.
    pub data: Stored<'a>,
}

/// A safetensors file, mapped into memory and checked.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    map: memmap2::Mmap,
    header: Header,
}

impl WeightsFile {
    /// Opens and checks `path`. The file must not be cut short by another program while it is open; whoever replaces
    /// it by a rename, as [`crate::files::write_atomic`] does, harms nobody.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] naming what the header claims and the file does not hold.
    pub fn open(path: &Path) -> Result<WeightsFile> {
        let map = map(path)?;
        let header = Header::parse(&map).map_err(|reason| Error::format(path, reason))?;
        Ok(WeightsFile { path: path.to_path_buf(), map, header })
    }

    /// What the file says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// All tensors in the order of their numbers.
    pub fn tensors(&self) -> Vec<StoredTensor<'_>> {
        self.header.tensors(&self.map)
    }

    /// Compares the numbers with the digest under [`DATA_DIGEST`], where there is one.
    ///
    /// # Errors
    /// [`Error::Format`] when they differ: the file was damaged after it had been written.
    pub fn verify(&self) -> Result<()> {
        match self.header.metadata.get(DATA_DIGEST) {
            Some(want) if *want != hex(&Sha256::digest(&self.map[self.header.start..])) => {
                Err(Error::format(&self.path, "damaged: the numbers do not have the digest that the header names"))
            }
            _ => Ok(()),
        }
    }
}

/// Maps `path` into memory, read-only.
pub(super) fn map(path: &Path) -> Result<memmap2::Mmap> {
    let file = std::fs::File::open(path).map_err(Error::io(path, "cannot read"))?;
    // SAFETY: the map is read-only and private to this process. What can go wrong is another program that shortens the
    // file meanwhile: the system then ends this process with a bus error, and memory stays sound.
    unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path, "cannot map into memory"))
}

/// A checked header.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    entries: Vec<(String, &'static str, Vec<usize>, std::ops::Range<usize>)>,
    /// Where the numbers begin in the file.
    start: usize,
}

impl Header {
    /// The header of a file's `bytes`, with every claim checked.
    pub(super) fn parse(bytes: &[u8]) -> Result<Header, String> {
        let Some(length) = bytes.first_chunk::<8>() else {
            return Err(format!("no safetensors file: {} bytes, needed are at least 8", bytes.len()));
        };
        let (length, rest) = (u64::from_le_bytes(*length), (bytes.len() - 8) as u64);
        if length > LARGEST_HEADER || length > rest {
            return Err(format!(
                "no safetensors file, or cut short: a header of {length} bytes is announced, {rest} follow \
                 (and at most {LARGEST_HEADER} are read)"
            ));
        }
        let start = 8 + length as usize;
        let text = std::str::from_utf8(&bytes[8..start])
            .map_err(|e| format!("no safetensors file: the header is no UTF-8 text: {e}"))?;
        if !text.starts_with('{') {
            return Err("no safetensors file: the header does not begin with {".into());
        }
        let raw: RawHeader =
            serde_json::from_str(text).map_err(|e| format!("no safetensors file: the header is broken: {e}"))?;
        let entries = check(raw.tensors, (bytes.len() - start) as u64)?;
        Ok(Header { metadata: raw.metadata.unwrap_or_default(), entries, start })
    }

    /// Views of the tensors in the file's `bytes`, the ones that were parsed.
    pub(super) fn tensors<'a>(&self, bytes: &'a [u8]) -> Vec<StoredTensor<'a>> {
        let data = &bytes[self.start..];
        let view = |(name, kind, dims, range): &(String, &'static str, Vec<usize>, std::ops::Range<usize>)| {
            StoredTensor { name: name.clone(), dims: dims.clone(), data: Stored::Bytes(kind, &data[range.clone()]) }
        };
        self.entries.iter().map(view).collect()
    }
}

type Entry = (String, &'static str, Vec<usize>, std::ops::Range<usize>);

/// The tensors in the order of their numbers, when they fill `size` bytes without a hole and without an overlap.
fn check(tensors: Vec<(String, RawTensor)>, size: u64) -> Result<Vec<Entry>, String> {
    let mut sorted = tensors;
    sorted.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let (mut at, mut entries) = (0u64, Vec::with_capacity(sorted.len()));
    for (name, t) in sorted {
        let (from, to) = t.data_offsets;
        let Some((kind, width)) = TYPES.iter().find(|(kind, _)| *kind == t.dtype) else {
            return Err(format!("{name}: element type '{}' is unknown", t.dtype));
        };
        let bytes = t.shape.iter().try_fold(*width, |n, d| n.checked_mul(*d));
        let Some(bytes) = bytes else {
            return Err(format!("{name}: the shape {:?} has more elements than any memory", t.shape));
        };
        if from > to || to > size {
            return Err(format!("{name}: its numbers lie from {from} to {to}, the file holds {size} bytes of them"));
        }
        if to - from != bytes {
            let have = to - from;
            return Err(format!("{name}: {kind} {:?} takes {bytes} bytes, the header gives it {have}", t.shape));
        }
        if from != at {
            let what = if from < at { "overlap what comes before" } else { "leave a hole" };
            return Err(format!("{name}: its numbers begin at {from} and {what}, expected was {at}"));
        }
        at = to;
        // Both fit: every offset is at most the length of the file, every dimension at most the number of bytes, unless
        // another dimension is 0.
        let dims = t.shape.iter().map(|d| usize::try_from(*d)).collect::<Result<Vec<_>, _>>();
        let dims = dims.map_err(|_| format!("{name}: the shape {:?} is too large", t.shape))?;
        entries.push((name, *kind, dims, from as usize..to as usize));
    }
    if at != size {
        return Err(format!("the tensors take {at} bytes, the file holds {size}: cut short or something appended"));
    }
    Ok(entries)
}

/// One tensor as the header has it; a field twice, missing or unknown is an error.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's JSON object; unlike a map it notices names that stand there twice.
#[derive(Default)]
struct RawHeader {
    metadata: Option<Metadata>,
    tensors: Vec<(String, RawTensor)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawHeader, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let (mut header, mut seen) = (RawHeader::default(), std::collections::HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("'{name}' stands there twice")));
                    }
                    if name == "__metadata__" {
                        header.metadata = map.next_value::<Option<BTreeMap<String, String>>>()?;
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// How a tensor is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// F32: nothing is lost.
    #[default]
    F32,
    /// F16 for filters and dense weights, half the size; biases and batch norm stay F32 (they are small, and running
    /// variances leave the range of F16).
    F16,
}

/// A tensor to be written: name, dimensions, numbers, precision.
pub(super) type Item<'a> = (&'a str, Vec<usize>, &'a [f32], Precision);

/// The bytes of a safetensors file of `items`, the same for the same content; [`DATA_DIGEST`] joins the metadata.
///
/// # Errors
/// [`Error::Numerics`] naming the tensor with a number that F16 cannot hold.
pub(super) fn encode(mut items: Vec<Item>, metadata: &Metadata) -> Result<Vec<u8>> {
    // F32 first: every tensor then lies on a multiple of its element size.
    items.sort_by_key(|(name, _, _, precision)| (*precision == Precision::F16, *name));
    let (mut data, mut tensors) = (Vec::new(), Vec::new());
    for (name, dims, values, precision) in items {
        let from = data.len();
        let kind = match precision {
            Precision::F32 => {
                data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
                "F32"
            }
            Precision::F16 => {
                if let Some(v) = values.iter().find(|v| v.is_finite() && f16::from_f32(**v).is_infinite()) {
                    return Err(Error::Numerics(format!("{name}: {v} is too large for F16; write F32")));
                }
                data.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
                "F16"
            }
        };
        let info = serde_json::json!({ "dtype": kind, "shape": dims, "data_offsets": [from, data.len()] });
        tensors.push((name, info));
    }
    let mut about = metadata.clone();
    about.insert(DATA_DIGEST.into(), hex(&Sha256::digest(&data)));
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!(about));
    header.extend(tensors.into_iter().map(|(name, info)| (name.to_string(), info)));
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.reserve_exact(text.len() + data.len());
    bytes.extend(text);
    bytes.extend(data);
    Ok(bytes)
}
