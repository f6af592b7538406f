//! TOML manifests: how a public data set, as published, becomes records.
//!
//! A manifest describes either a table (`[table]`: one CSV row an image), a folder tree (`[[tree]]` with `[[name]]`
//! patterns for file names), or a union of other manifests and folders (`[[part]]`). `root` is the data's folder,
//! relative to the manifest; without it, the manifest's own folder. See `data-manifests/` for examples of all three.

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

/// Columns of a published CSV; `file` is a template in which `{Column}` stands for a cell.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The CSV file below the root.
    pub csv: String,
    /// Its encoding.
    #[serde(default)]
    pub encoding: Encoding,
    /// Image path below one of `folders`; may end in `.*` for any image extension.
    pub file: String,
    /// Folders in which images are sought, in order; `*` stands for any characters of one level.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Column of the finding.
    pub label: String,
    /// What separates several findings in a cell.
    pub label_separator: Option<String>,
    /// Column of the patient.
    pub patient: Option<String>,
    /// Column of the sex.
    pub sex: Option<String>,
    /// Column of the age.
    pub age: Option<String>,
    /// Column of the view.
    pub view: Option<String>,
    /// Column of the published split.
    pub split: Option<String>,
    /// Column of the file's first name.
    pub original_name: Option<String>,
    /// Rows to keep.
    #[serde(default)]
    pub keep: Vec<Keep>,
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
    data.origins.insert(m.name.clone(), m.origin());
    match &m.table {
        Some(table) => read_table(path, &m, table, &mut data)?,
        None => read_tree(path, &m, &mut data)?,
    }
    map_labels(path, &m, &mut data)?;
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
    let known: HashSet<&str> = m.known_labels.iter().map(String::as_str).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::OpenOptions;

    fn put(root: &Path, file: &str, text: impl AsRef<[u8]>) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Opens a published manifest on a tree at `root`.
    fn open(root: &Path, manifest: &str) -> Result<Dataset> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-manifests").join(manifest);
        std::fs::copy(&file, root.join("m.toml")).unwrap();
        Dataset::open(&root.join("m.toml"), &OpenOptions::default())
    }

    fn brief(d: &Dataset) -> Vec<(String, String, Option<String>)> {
        d.records.iter().map(|r| (r.file.display().to_string(), r.finding.clone(), r.patient.clone())).collect()
    }

    fn row(file: &str, finding: &str, patient: &str) -> (String, String, Option<String>) {
        (file.into(), finding.into(), (!patient.is_empty()).then(|| patient.into()))
    }

    #[test]
    fn every_published_manifest_parses_and_is_complete() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-manifests");
        let mut n = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let m = parse(&path).unwrap();
                assert!(
                    [&m.title, &m.licence, &m.citation, &m.url, &m.notes].iter().all(|t| !t.is_empty()),
                    "{}",
                    m.name
                );
                assert_eq!(path.file_stem().unwrap().to_str().unwrap(), m.name);
                n += 1;
            }
        }
        assert!(n >= 4);
    }

    #[test]
    fn nih_as_published() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        // The published header splits "OriginalImage[Width,Height]" into two names and ends in a comma.
        put(
            d,
            "Data_Entry_2017.csv",
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n\
            00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171,\n",
        );
        put(d, "images_001/images/00000001_000.png", "");
        put(d, "images_012/images/00000002_000.png", "");
        let data = open(d, "nih-chestxray14.toml").unwrap();
        let want = [
            row("images_001/images/00000001_000.png", "Cardiomegaly|Emphysema", "nih:1"),
            row("images_012/images/00000002_000.png", "No Finding", "nih:2"),
        ];
        assert_eq!(brief(&data), want);
        assert_eq!((data.records[0].age.as_deref(), data.records[1].view.as_deref()), (Some("058Y"), Some("AP")));
        std::fs::remove_dir_all(d.join("images_012")).unwrap();
        let e = open(d, "nih-chestxray14.toml").unwrap_err().to_string();
        assert!(e.contains("1 of 2 images are not there (first: images_001/images/00000002_000.png)"), "{e}");
        std::fs::remove_dir_all(d.join("images_001")).unwrap();
        assert!(open(d, "nih-chestxray14.toml").unwrap_err().to_string().contains("none of the folders"));
    }

    #[test]
    fn cohen_and_figure1_as_published_and_together() {
        let dir = tempfile::tempdir().unwrap();
        let (c, f) = (dir.path().join("cohen"), dir.path().join("f1"));
        put(
            &c,
            "metadata.csv",
            "patientid,offset,sex,age,finding,view,modality,folder,filename\n\
            2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,images,a b.jpg\n12b,0,M,65,\"COVID-19, ARDS\",L,X-ray,images,c.png\n\
            4,0,F,,Pneumonia/Bacterial,PA,X-ray,images,d.png\n5,0,F,,todo,PA,X-ray,images,e.png\n6,,,,Pneumonia/Viral/COVID-19,Axial,CT,volumes,x.nii.gz\n",
        );
        for name in ["a b.jpg", "c.png", "d.png", "e.png"] {
            put(&c, &format!("images/{name}"), "");
        }
        put(&f, "metadata.csv", b"patientid,offset,sex,age,finding,view,modality,notes\n\
            COVID-00001,13,M,33,COVID-19,AP erect,X-ray,39\xb0C\nCOVID-00003a,,M,,COVID-19,,X-ray,\nCOVID-00003b,,M,,,,X-ray,\n");
        for name in ["COVID-00001.jpg", "COVID-00003a.png", "COVID-00003b.jpg"] {
            put(&f, &format!("images/{name}"), "");
        }
        let cohen = open(&c, "cohen.toml").unwrap();
        assert_eq!(
            brief(&cohen),
            [
                row("images/a b.jpg", "COVID-19", "cohen:2"),
                row("images/c.png", "COVID-19|ARDS", "cohen:12"),
                row("images/d.png", "Pneumonia/Bacterial", "cohen:4"),
            ]
        );
        let reasons: Vec<_> = cohen.dropped.iter().map(|(k, n)| (k.as_str(), *n)).collect();
        assert_eq!(reasons, [("cohen: modality is CT", 1), ("no finding", 1)]);
        let fig = open(&f, "figure1.toml").unwrap();
        assert_eq!(brief(&fig)[1], row("images/COVID-00003a.png", "COVID-19", "figure1:COVID-00003"));
        put(
            dir.path(),
            "all/both.toml",
            "format = \"radiograd-manifest-1\"\nname = \"both\"\n[[part]]\nmanifest = \"../cohen/m.toml\"\n\
            [[part]]\nmanifest = \"../cohen/m.toml\"\nroot = \"../copy\"\n[[part]]\nfolder = \"../plain\"\n",
        );
        put(dir.path(), "plain/metadata.csv", "file,finding\n1.png,Mass\n");
        put(dir.path(), "plain/1.png", "");
        put(
            dir.path(),
            "copy/metadata.csv",
            "patientid,sex,age,finding,view,modality,folder,filename\n9,,,COVID-19,,X-ray,i,z.png\n",
        );
        put(dir.path(), "copy/i/z.png", "");
        let both = Dataset::open(&dir.path().join("all/both.toml"), &OpenOptions::default()).unwrap();
        assert_eq!(both.root, dir.path().canonicalize().unwrap());
        let files: Vec<_> = both.records.iter().map(|r| r.file.display().to_string()).collect();
        assert_eq!(files[0], "cohen/images/a b.jpg");
        assert_eq!(files[3..], ["copy/i/z.png", "plain/1.png"]);
    }

    #[test]
    fn kermany_as_published() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        for f in [
            "train/NORMAL/IM-0115-0001.jpeg",
            "train/NORMAL/NORMAL2-IM-0383-0001.jpeg",
            "train/PNEUMONIA/person12_bacteria_47.jpeg",
            "train/PNEUMONIA/person12_virus_48.jpeg",
            "test/NORMAL/odd.jpeg",
            "test/PNEUMONIA/person12_virus_1_2.jpeg",
            "test/PNEUMONIA/.DS_Store",
        ] {
            put(d, f, "");
        }
        let data = open(d, "kermany.toml").unwrap();
        let mut got = brief(&data);
        got.sort();
        assert_eq!(
            got,
            [
                row("test/NORMAL/odd.jpeg", "Normal", ""),
                row("test/PNEUMONIA/person12_virus_1_2.jpeg", "Viral pneumonia", "kermany:test-P12"),
                row("train/NORMAL/IM-0115-0001.jpeg", "Normal", "kermany:train-N0115"),
                row("train/NORMAL/NORMAL2-IM-0383-0001.jpeg", "Normal", "kermany:train-N0383"),
                row("train/PNEUMONIA/person12_bacteria_47.jpeg", "Bacterial pneumonia", "kermany:train-P12"),
                row("train/PNEUMONIA/person12_virus_48.jpeg", "Viral pneumonia", "kermany:train-P12"),
            ]
        );
        assert_eq!(data.notes, ["kermany: 1 file names tell no patient: each is its own"]);
        std::fs::remove_dir_all(d.join("test/NORMAL")).unwrap();
        assert!(open(d, "kermany.toml").unwrap_err().to_string().contains("no folder test/NORMAL"));
    }

    #[test]
    fn bad_manifests_are_explained() {
        let head = "format = \"radiograd-manifest-1\"\nname = \"x\"\n";
        let table = "[table]\ncsv = \"t.csv\"\nfile = \"{f}\"\nlabel = \"l\"\n";
        let known = "known_labels = [\"a\"]\n";
        for (text, needle) in [
            ("name = \"x\"", "missing field `format`"),
            ("format = \"other\"\nname = \"x\"\n[[tree]]\nfolder = \"a\"", "format \"other\""),
            (head, "exactly one of [table], [[tree]] and [[part]]"),
            (&format!("{head}rooot = \"a\"\n{table}"), "unknown field `rooot`"),
            (&format!("{head}root = \"nowhere\"\n{table}"), "is no folder"),
            (&format!("{head}{table}"), "2 labels are not in the manifest: \"a\" (1 rows), \"b\" (1 rows)"),
            (&format!("{head}{table}patient = \"p\""), "no column \"p\"; there are: f, l"),
            (&format!("{head}{known}unknown_labels = \"drop\"\n{table}folders = [\"../x\"]"), "leaves its folder"),
            (
                &format!(
                    "{head}{known}unknown_labels = \"drop\"\n[table]\ncsv = \"t.csv\"\nfile = \"{{g}}\"\nlabel = \"l\""
                ),
                "names {g}",
            ),
            (
                &format!(
                    "{head}{known}unknown_labels = \"drop\"\n[table]\ncsv = \"t.csv\"\nfile = \"../{{f}}\"\nlabel = \"l\""
                ),
                "leaves its folder",
            ),
            (&format!("{head}[[part]]\nroot = \".\""), "a [[part]] needs either"),
            (&format!("{head}[[part]]\nmanifest = \"m.toml\""), "more than 8 deep"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), "t.csv", "f,l\n1.png,a\n2.png,b\n");
            put(dir.path(), "1.png", "");
            put(dir.path(), "m.toml", text);
            let e = Dataset::open(&dir.path().join("m.toml"), &OpenOptions::default()).unwrap_err();
            assert!(e.to_string().contains(needle) && e.exit_code() == 5, "{text}\n{e}");
        }
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "t.csv", "f,l\n1.png,a\n2.png,b\n");
        put(dir.path(), "1.png", "");
        put(dir.path(), "m.toml", format!("{head}{known}unknown_labels = \"drop\"\n{table}"));
        let data = Dataset::open(&dir.path().join("m.toml"), &OpenOptions::default()).unwrap();
        assert_eq!((data.records.len(), data.dropped["x: unknown label \"b\""]), (1, 1));
    }
}
