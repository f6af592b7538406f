//! TOML manifests: how a public data set, as published, becomes records.
//!
//! A manifest describes either a table (`[table]`: one CSV row an image), a folder tree (`[[tree]]` with `[[name]]`
//! patterns for file names), or a union of other manifests and folders (`[[part]]`). `root` is the data's folder,
//! relative to the manifest; without it, the manifest's own folder. See `data-manifests/` for examples of all three.

pub(crate) mod onehot;
#[cfg(test)]
mod tests;

use crate::data::folder;
use crate::data::manifest_read::{read_table, read_tree};
use crate::data::table::{Dataset, Origin};
use crate::data::text::{Encoding, MAX_MANIFEST_BYTES, read_at_most};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The format tag that every manifest carries.
pub const FORMAT: &str = "radiograd-manifest-1";

/// One TOML file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Name of the source in tables and reports.
    pub name: String,
    /// Full title of the data set.
    #[serde(default)]
    pub title: String,
    /// Licence as the publisher states it.
    #[serde(default)]
    pub licence: String,
    /// What to cite.
    #[serde(default)]
    pub citation: String,
    /// Where it is published.
    #[serde(default)]
    pub url: String,
    /// Remarks: what to unpack where, what is odd.
    #[serde(default)]
    pub notes: String,
    /// Whether all patients are children, which the table need not say.
    #[serde(default)]
    pub children: bool,
    /// Namespace of patient ids; the name where it is not given.
    pub collection: Option<String>,
    /// The data's folder, relative to this file.
    pub root: Option<PathBuf>,
    /// One CSV row an image.
    pub table: Option<Table>,
    /// Folders whose images share a split and perhaps a label.
    #[serde(default)]
    pub tree: Vec<Tree>,
    /// What the names of the files in `tree` tell.
    #[serde(default)]
    pub name_rule: Vec<NameRule>,
    /// Source label to our label; "" means that the row has no finding.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels that are taken as they are.
    #[serde(default)]
    pub known_labels: Vec<String>,
    /// What to do with a label that is in neither list.
    #[serde(default)]
    pub unknown_labels: Unknown,
    /// Other data to unite; then nothing but `format`, `name` and texts may be given.
    #[serde(default)]
    pub part: Vec<Part>,
}

/// What happens to rows whose label no list names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Stop and list them.
    #[default]
    Error,
    /// Drop and count the rows.
    Drop,
    /// Take the label as it is.
    Keep,
}

/// Columns of a published CSV.
///
/// `file` is a template in which `{Column}` stands for a cell. Where a column is asked for, a text with braces is a template,
/// too: `patient = "{n}"`. Templates may also name what `capture` finds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The CSV file below the root, or several of the same columns.
    pub csv: OneOrMany,
    /// Its encoding.
    #[serde(default)]
    pub encoding: Encoding,
    /// A column whose text is taken apart, as a path that holds the patient's number.
    pub capture: Option<Capture>,
    /// Image path below one of `folders`; may end in `.*` for any image extension.
    pub file: String,
    /// Folders in which images are sought, in order; `*` stands for any characters of one level.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Column of the finding. Either this or `label_columns` is needed.
    pub label: Option<String>,
    /// What separates several findings in a cell.
    pub label_separator: Option<String>,
    /// One column for each finding, whose name it is: 1 is present, 0 or empty is not, -1 is uncertain.
    #[serde(default)]
    pub label_columns: Vec<String>,
    /// What an uncertain finding counts as; needed where there is one.
    pub uncertain: Option<Uncertain>,
    /// Column of the patient.
    pub patient: Option<String>,
    /// Column of the sex.
    pub sex: Option<String>,
    /// Column of the age.
    pub age: Option<String>,
    /// Column of the view; of several the first that is not empty.
    pub view: Option<OneOrMany>,
    /// Column of the modality.
    pub modality: Option<String>,
    /// Column of the source, where a table has several; the manifest's name where it is not given.
    pub source: Option<String>,
    /// Column of the published split.
    pub split: Option<String>,
    /// Column of the file's first name.
    pub original_name: Option<String>,
    /// Path of the finding's mask below the root.
    pub mask: Option<String>,
    /// Path of the lung fields' mask below the root.
    pub lung_mask: Option<String>,
    /// Rows to keep.
    #[serde(default)]
    pub keep: Vec<Keep>,
}

/// One text or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts.
    pub fn all(&self) -> &[String] {
        match self {
            OneOrMany::One(text) => std::slice::from_ref(text),
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// What a finding counts as of which a table says that it may be there (CheXpert's -1; Irvin et al. 2019, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uncertain {
    /// Present (U-Ones).
    Ones,
    /// Absent (U-Zeros).
    Zeros,
    /// The image is left out.
    Drop,
}

/// Takes the text of one column apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The column.
    pub column: String,
    /// Literals and `{captures}`, as in `{release}/{set}/patient{n}/{image}`; the last capture takes the rest.
    pub pattern: String,
}

/// Rows are kept where `column` has one of `values`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The column.
    pub column: String,
    /// The values that are kept.
    pub values: Vec<String>,
}

/// One folder of a tree, with everything below it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The folder below the root.
    pub folder: String,
    /// Label of its images where no name rule gives one.
    pub label: Option<String>,
    /// Published split of its images.
    pub split: Option<String>,
}

/// What a file name (without extension) tells: the first rule whose pattern fits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRule {
    /// Literals and `{captures}`, as in `person{n}_virus_{k}`.
    pub pattern: String,
    /// Label, before the label map.
    pub label: Option<String>,
    /// Patient: a template of captures and `{split}`.
    pub patient: Option<String>,
}

/// A member of a union: a manifest (with another root, where given) or a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// A manifest, relative to this file.
    pub manifest: Option<PathBuf>,
    /// A folder as `--data` takes it, relative to this file.
    pub folder: Option<PathBuf>,
    /// The data's folder for `manifest`, relative to this file.
    pub root: Option<PathBuf>,
}

/// Reads the manifest at `path` and the data it describes.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] (the TOML, a column, a label) or [`Error::Data`] (folders that are not there).
pub(crate) fn read(path: &Path) -> Result<Dataset> {
    read_with_root(path, None, 0)
}

impl Manifest {
    /// What it says about the data as a whole.
    pub(crate) fn origin(&self) -> Origin {
        let Manifest { title, licence, citation, url, .. } = self.clone();
        Origin { title, licence, citation, url, children: self.children, assumed: false }
    }
}

fn parse(path: &Path) -> Result<Manifest> {
    let text = String::from_utf8(read_at_most(path, MAX_MANIFEST_BYTES)?).map_err(|e| Error::format(path, e))?;
    let m: Manifest = toml::from_str(&text).map_err(|e| Error::format(path, e))?;
    let given = [m.table.is_some(), !m.tree.is_empty(), !m.part.is_empty()];
    if m.format != FORMAT {
        return Err(Error::format(path, format!("format {:?}; {FORMAT:?} is needed", m.format)));
    }
    if given.iter().filter(|g| **g).count() != 1 {
        return Err(Error::format(path, "exactly one of [table], [[tree]] and [[part]] is needed"));
    }
    Ok(m)
}

fn read_with_root(path: &Path, root: Option<&Path>, depth: usize) -> Result<Dataset> {
    if depth > 8 {
        return Err(Error::format(path, "manifests include each other more than 8 deep"));
    }
    let m = parse(path)?;
    let here = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !m.part.is_empty() {
        return unite(path, here, &m, depth);
    }
    let root = match (root, &m.root) {
        (Some(r), _) => r.to_path_buf(),
        (None, Some(r)) => here.join(r),
        (None, None) => here.to_path_buf(),
    };
    if !root.is_dir() {
        return Err(Error::Data(format!("{}: its root {} is no folder", path.display(), root.display())));
    }
    let mut data = Dataset { root, ..Dataset::default() };
    match &m.table {
        Some(table) => read_table(path, &m, table, &mut data)?,
        None => read_tree(path, &m, &mut data)?,
    }
    map_labels(path, &m, &mut data)?;
    data.origins = data.records.iter().map(|r| (r.source.clone(), m.origin())).collect();
    Ok(data)
}

/// Unites the parts below the deepest folder that holds all their roots.
fn unite(path: &Path, here: &Path, m: &Manifest, depth: usize) -> Result<Dataset> {
    let mut parts = Vec::new();
    for part in &m.part {
        let data = match (&part.manifest, &part.folder) {
            (Some(file), None) => {
                let root = part.root.as_ref().map(|r| here.join(r));
                read_with_root(&here.join(file), root.as_deref(), depth + 1)?
            }
            (None, Some(dir)) if part.root.is_none() => folder::read(&here.join(dir))?,
            _ => return Err(Error::format(path, "a [[part]] needs either manifest (and perhaps root) or folder")),
        };
        parts.push(data);
    }
    Dataset::unite(parts)
}

/// Applies the label lists: the whole cell first, then its parts.
fn map_labels(path: &Path, m: &Manifest, data: &mut Dataset) -> Result<()> {
    let separator = m.table.as_ref().and_then(|t| t.label_separator.as_deref()).unwrap_or("|");
    // The names of label columns are the manifest's own.
    let columns = m.table.iter().flat_map(|t| &t.label_columns);
    let known: HashSet<&str> = m.known_labels.iter().chain(columns).map(String::as_str).collect();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let one = |label: &str| -> Option<String> {
        let label = label.trim();
        m.labels.get(label).cloned().or_else(|| (label.is_empty() || known.contains(label)).then(|| label.to_string()))
    };
    data.records.retain_mut(|r| {
        let parts: Vec<&str> = r.finding.split(separator).map(str::trim).collect();
        let mut strange = Vec::new();
        let finding = one(&r.finding).unwrap_or_else(|| {
            let map = |p: &&str| {
                one(p).unwrap_or_else(|| {
                    strange.push(p.to_string());
                    p.to_string()
                })
            };
            parts.iter().map(map).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("|")
        });
        r.finding = finding;
        if !strange.is_empty() && m.unknown_labels != Unknown::Keep {
            strange.into_iter().for_each(|s| *unknown.entry(s).or_default() += 1);
            return false;
        }
        true
    });
    if m.unknown_labels == Unknown::Error && !unknown.is_empty() {
        let list: Vec<String> = unknown.iter().take(12).map(|(l, n)| format!("{l:?} ({n} rows)")).collect();
        let m = format!("{} labels are not in the manifest: {}", unknown.len(), list.join(", "));
        return Err(Error::format(path, m));
    }
    for (label, n) in unknown {
        data.drop_rows(format!("{}: unknown label {label:?}", m.name), n);
    }
    Ok(())
}
