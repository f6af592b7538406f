//! What a data set is to the rest of the program: a list of [`Record`]s and what was left out on the way.
//!
//! [`Dataset::open`] takes a folder (whose subfolders, or which itself, hold images and a `metadata.csv`) or a TOML
//! manifest ([`crate::data::manifest`]). Nothing is decoded here.
//!
//! Patients. A patient's key is `collection:id`, as in `nih:1280`: two folders of one collection number the same people
//! (NIH's two folders here), two collections do not. For a folder the collection is its name up to the first hyphen, for
//! a manifest it is stated. An id that ends in a digit and one lower-case letter (`COVID-00013a`, `COVID-00013b`: two
//! images of one person) loses the letter. Joining two people by mistake costs a little balance, separating one person's
//! images leaks: where in doubt, ids are joined.

use crate::data::decode::has_image_name;
use crate::data::file_name::hashed_name;
use crate::data::{folder, manifest};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One image and what its source says about it. Empty cells are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The image, relative to [`Dataset::root`]. May hold a patient's number: not for reports.
    pub file: PathBuf,
    /// The source's own finding; several are joined by `|`.
    pub finding: String,
    /// The patient's key `collection:id`; `None` makes the image its own patient.
    pub patient: Option<String>,
    /// Sex as the source writes it.
    pub sex: Option<String>,
    /// Age as the source writes it (`058Y`, `50+`).
    pub age: Option<String>,
    /// View as the source writes it (`PA`, `AP Supine`, `L`).
    pub view: Option<String>,
    /// Name of the folder or manifest that the image comes from.
    pub source: String,
    /// The body of data whose patients are numbered together (`nih`, `cohen`, `kermany`).
    pub collection: String,
    /// Split as published (`train`, `test`).
    pub split: Option<String>,
    /// The file's name where it was first published, to find the same image in two folders.
    pub original_name: Option<String>,
    /// What made the image, as the source writes it (`X-ray`, `CT`, `DX`).
    pub modality: Option<String>,
    /// Mask of the finding, relative to [`Dataset::root`]: an image of the same proportions, white where the finding is.
    pub mask: Option<PathBuf>,
    /// Mask of the lung fields, likewise.
    pub lung_mask: Option<PathBuf>,
}

impl Record {
    /// The findings, one by one, as [`plain`] writes them.
    pub fn labels(&self) -> impl Iterator<Item = String> + '_ {
        self.finding.split('|').map(plain).filter(|l| !l.is_empty())
    }

    /// Whether one of the findings is `label` (case and `_` do not matter).
    pub fn has(&self, label: &str) -> bool {
        let label = plain(label);
        self.labels().any(|l| l == label)
    }

    /// Whether the image counts as frontal: the view begins with PA or AP, is "frontal", or is not stated.
    pub fn is_frontal(&self) -> bool {
        let view = self.view.as_deref().unwrap_or_default().to_ascii_uppercase();
        view.is_empty() || view.starts_with("PA") || view.starts_with("AP") || view == "FRONTAL"
    }
}

/// A label without the accidents of spelling: trimmed, lower case, `_` as a space.
pub fn plain(label: &str) -> String {
    label.trim().replace('_', " ").to_lowercase()
}

/// The key of patient `id` in `collection`; `None` for an empty id. See the module text on the trailing letter.
pub fn patient_key(collection: &str, id: &str) -> Option<String> {
    let id = id.trim();
    let base = id.strip_suffix(|c: char| c.is_ascii_lowercase()).filter(|b| b.ends_with(|c: char| c.is_ascii_digit()));
    // "1280" and "00001280" and a spreadsheet's "1280.0" are one number.
    let id = base.unwrap_or(id);
    let id = id.strip_suffix(".0").unwrap_or(id);
    // Patient 0 is a patient, too.
    let keep_one = id.len().saturating_sub(1);
    let zeros = id.bytes().take(keep_one).take_while(|&b| b == b'0').count();
    let id = if id.bytes().all(|b| b.is_ascii_digit()) { &id[zeros..] } else { id };
    (!id.is_empty()).then(|| format!("{collection}:{id}"))
}

/// How strictly a data set is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Rows whose image is not there are dropped and counted instead of being an error (a partial download).
    pub allow_missing: bool,
    /// Messages name files by hashes instead of their own names, which can hold patients' numbers.
    pub hash_names: bool,
}

impl OpenOptions {
    /// What `file` is called in messages.
    fn name(&self, file: &Path) -> String {
        if self.hash_names { hashed_name(None, file) } else { file.display().to_string() }
    }

    /// What is said after a name.
    fn hint(&self) -> &'static str {
        if self.hash_names { "; --show-names tells files' names" } else { "" }
    }
}

/// Where a source comes from and what may be done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Full title.
    pub title: String,
    /// Licence as the publisher states it; empty where nothing is known.
    pub licence: String,
    /// What to cite.
    pub citation: String,
    /// Where it is published.
    pub url: String,
    /// Whether all patients are children.
    pub children: bool,
    /// Whether this is known of the collection that the folder's name speaks of, not stated for the folder itself.
    pub assumed: bool,
}

/// Records of one or more sources below one root folder.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// What is known of each source, by its name.
    pub origins: BTreeMap<String, Origin>,
    /// Folder to which [`Record::file`] is relative.
    pub root: PathBuf,
    /// The usable rows, in the order of the sources and their tables.
    pub records: Vec<Record>,
    /// Rows left out, counted by reason.
    pub dropped: BTreeMap<String, usize>,
    /// Remarks for the reader, as "raw-samples: no metadata.csv, skipped".
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens a folder or a TOML manifest.
    ///
    /// # Errors
    /// [`Error::Usage`] when `path` is neither; [`Error::Data`] and [`Error::Format`] for tables without the needed
    /// columns, rows that leave the folder, contradict each other or name missing files (with counts), and when nothing
    /// is left.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Dataset> {
        let meta = std::fs::metadata(path).map_err(|e| Error::Usage(format!("--data {}: {e}", path.display())))?;
        let data = if meta.is_dir() {
            folder::read(path)?
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
            manifest::read(path)?
        } else {
            return Err(Error::Usage(format!("--data {}: a folder or a .toml manifest is needed", path.display())));
        };
        data.checked(path, options)
    }

    /// Opens several folders and manifests as one data set below the deepest folder that holds them all.
    ///
    /// # Errors
    /// As [`Dataset::open`] for each; [`Error::Usage`] without a path or with one inside another; [`Error::Io`].
    pub fn open_all(paths: &[PathBuf], options: &OpenOptions) -> Result<Dataset> {
        match paths {
            [] => Err(Error::Usage("no folder and no manifest is given".into())),
            [one] => Dataset::open(one, options),
            _ => {
                let parts = paths.iter().map(|p| Dataset::open(p, options)).collect::<Result<Vec<_>>>()?;
                let all = Dataset::unite(parts)?;
                let mut seen = HashSet::new();
                match all.records.iter().filter(|r| !seen.insert(&r.file)).count() {
                    0 => Ok(all),
                    n => Err(Error::Usage(format!("{n} images are given twice: one of the folders lies in another"))),
                }
            }
        }
    }

    /// Unites data sets below the deepest folder that holds all their roots.
    ///
    /// # Errors
    /// [`Error::Io`] when a root cannot be resolved, [`Error::Usage`] when they have no folder in common.
    pub(crate) fn unite(mut parts: Vec<Dataset>) -> Result<Dataset> {
        for part in &mut parts {
            part.root = part.root.canonicalize().map_err(Error::io(&part.root, "cannot resolve"))?;
        }
        let mut root = parts.first().map(|p| p.root.clone()).unwrap_or_default();
        while !parts.iter().all(|p| p.root.starts_with(&root)) {
            if !root.pop() {
                return Err(Error::Usage("the parts have no folder in common".into()));
            }
        }
        let mut all = Dataset { root, ..Dataset::default() };
        for part in parts {
            let below = part.root.strip_prefix(&all.root).map_err(|e| Error::Internal(e.to_string()))?.to_path_buf();
            let up = |path: Option<PathBuf>| path.map(|p| below.join(p));
            all.records.extend(part.records.into_iter().map(|mut r| {
                (r.mask, r.lung_mask) = (up(r.mask), up(r.lung_mask));
                Record { file: below.join(&r.file), ..r }
            }));
            for (reason, n) in part.dropped {
                all.drop_rows(reason, n);
            }
            all.notes.extend(part.notes);
            all.origins.extend(part.origins);
        }
        Ok(all)
    }

    /// Adds `n` to the count of rows dropped for `reason`.
    pub(crate) fn drop_rows(&mut self, reason: impl Into<String>, n: usize) {
        if n > 0 {
            *self.dropped.entry(reason.into()).or_default() += n;
        }
    }

    /// The checks that every reader needs: findings, duplicate rows, missing files, nothing left.
    fn checked(mut self, opened: &Path, options: &OpenOptions) -> Result<Dataset> {
        let listed = self.records.len();
        let mut records = std::mem::take(&mut self.records);
        records.retain(|r| r.labels().next().is_some());
        self.drop_rows("no finding", listed - records.len());

        let mut seen: HashMap<PathBuf, usize> = HashMap::new();
        let (mut conflicts, mut first, mut repeats) = (0, String::new(), 0);
        for r in records {
            match seen.get(&r.file) {
                None => {
                    seen.insert(r.file.clone(), self.records.len());
                    self.records.push(r);
                }
                Some(&i) if self.records[i].finding == r.finding && self.records[i].patient == r.patient => {
                    repeats += 1
                }
                Some(_) => {
                    conflicts += 1;
                    if conflicts == 1 {
                        first = options.name(&r.file);
                    }
                }
            }
        }
        if conflicts > 0 {
            let m = format!(
                "{conflicts} rows repeat a file with another finding or patient (first: {first}){}",
                options.hint()
            );
            return Err(Error::Data(format!("{}: {m}", opened.display())));
        }
        self.drop_rows("row listed twice", repeats);

        let mut folders = Listings::default();
        let missing: HashSet<PathBuf> =
            self.records.iter().map(|r| &r.file).filter(|f| !folders.has(&self.root.join(f))).cloned().collect();
        if !missing.is_empty() && (!options.allow_missing || missing.len() == self.records.len()) {
            let first = self.records.iter().map(|r| &r.file).find(|f| missing.contains(*f));
            let first = first.map(|f| options.name(f)).unwrap_or_default();
            let (n, all, hint) = (missing.len(), self.records.len(), options.hint());
            let skip = if n == all { "" } else { "; --skip-bad goes on without them" };
            let m = format!("{n} of {all} images are not there (first: {first}){skip}{hint}");
            return Err(Error::Data(format!("{}: {m}", opened.display())));
        }
        self.records.retain(|r| !missing.contains(&r.file));
        self.drop_rows("image file missing", missing.len());
        self.check_masks(&mut folders, opened, options)?;
        if self.records.is_empty() {
            let why: Vec<String> =
                self.dropped.iter().map(|(k, n)| format!("{n} {k}")).chain(self.notes.clone()).collect();
            return Err(Error::Data(format!("{}: no usable image ({})", opened.display(), why.join("; "))));
        }
        Ok(self)
    }

    /// Masks that are named must be there; where files may be missing, the image stays and loses its mask.
    fn check_masks(&mut self, folders: &mut Listings, opened: &Path, options: &OpenOptions) -> Result<()> {
        let (mut missing, mut first) = (0, None);
        for mask in self.records.iter_mut().flat_map(|r| [&mut r.mask, &mut r.lung_mask]) {
            if mask.as_ref().is_some_and(|m| !folders.has(&self.root.join(m))) {
                missing += 1;
                let name = mask.take().map(|m| options.name(&m));
                first = first.or(name);
            }
        }
        match (missing, first) {
            (0, _) => Ok(()),
            (n, first) if !options.allow_missing => {
                let m = format!("{n} masks are not there (first: {}){}", first.unwrap_or_default(), options.hint());
                Err(Error::Data(format!("{}: {m}", opened.display())))
            }
            (n, _) => {
                self.notes.push(format!("{n} masks are not there: these images have none"));
                Ok(())
            }
        }
    }

    /// A group for each record, numbered in order of appearance: images of one patient share it, and so do images of
    /// one `original_name` in two sources of one collection. A record without patient is a group of its own.
    pub fn groups(&self) -> Vec<usize> {
        let mut parent: Vec<usize> = (0..self.records.len()).collect();
        fn find(parent: &mut [usize], mut i: usize) -> usize {
            while parent[i] != i {
                parent[i] = parent[parent[i]];
                i = parent[i];
            }
            i
        }
        let mut join = |a: usize, b: usize| {
            let (a, b) = (find(&mut parent, a), find(&mut parent, b));
            parent[a.max(b)] = a.min(b);
        };
        let mut patients: HashMap<&str, usize> = HashMap::new();
        let mut names: HashMap<(&str, &str), usize> = HashMap::new();
        for (i, r) in self.records.iter().enumerate() {
            if let Some(p) = &r.patient {
                join(*patients.entry(p).or_insert(i), i);
            }
            if let Some(name) = &r.original_name {
                let j = *names.entry((&r.collection, name)).or_insert(i);
                // Within one source the same name may be "frontal.png" of every patient: that joins nobody.
                if self.records[j].source != r.source {
                    join(j, i);
                }
            }
        }
        let mut number = HashMap::new();
        (0..self.records.len())
            .map(|i| {
                let root = find(&mut parent, i);
                let next = number.len();
                *number.entry(root).or_insert(next)
            })
            .collect()
    }

    /// A table for people: images, patients and frontal images by source, rows dropped, notes. No file or patient names.
    pub fn summary(&self) -> String {
        let groups = self.groups();
        let mut by: BTreeMap<&str, (usize, HashSet<usize>, usize, usize)> = BTreeMap::new();
        for (r, g) in self.records.iter().zip(groups) {
            let e = by.entry(&r.source).or_default();
            e.0 += 1;
            e.1.insert(g);
            e.2 += usize::from(r.is_frontal());
            e.3 += usize::from(r.patient.is_none());
        }
        let mut out =
            format!("{:<24}{:>8}{:>10}{:>9}{:>17}\n", "source", "images", "patients", "frontal", "without patient");
        for (source, (n, patients, frontal, alone)) in by {
            _ = writeln!(out, "{source:<24}{n:>8}{:>10}{frontal:>9}{alone:>17}", patients.len());
        }
        for (reason, n) in &self.dropped {
            _ = writeln!(out, "dropped: {n} x {reason}");
        }
        for note in &self.notes {
            _ = writeln!(out, "note: {note}");
        }
        out
    }
}

/// Folder listings, read once each: a table of 100,000 rows must not ask the file system 100,000 times.
#[derive(Default)]
pub(crate) struct Listings {
    names: HashMap<PathBuf, HashMap<String, String>>,
}

impl Listings {
    fn list(&mut self, dir: &Path) -> &HashMap<String, String> {
        self.names.entry(dir.to_path_buf()).or_insert_with_key(|dir| {
            let mut names = HashMap::new();
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if let Ok(name) = entry.file_name().into_string() {
                    // "stem.*" finds a name whose extension the table does not tell.
                    if let Some((stem, _)) = name.rsplit_once('.')
                        && has_image_name(Path::new(&name))
                    {
                        names.insert(format!("{stem}.*"), name.clone());
                    }
                    names.insert(name.clone(), name);
                }
            }
            names
        })
    }

    /// The name in the listing of `path`'s folder that fits; `path` may end in `.*`.
    pub(crate) fn find(&mut self, path: &Path) -> Option<PathBuf> {
        let (dir, name) = (path.parent()?, path.file_name()?.to_str()?);
        self.list(dir).get(name).map(|n| dir.join(n))
    }

    fn has(&mut self, path: &Path) -> bool {
        self.find(path).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patient_keys() {
        assert_eq!(patient_key("nih", "00001280").as_deref(), Some("nih:1280"));
        assert_eq!(patient_key("nih", "1280.0"), patient_key("nih", " 1280 "));
        assert_eq!(patient_key("f", "COVID-00013a"), patient_key("f", "COVID-00013b"));
        assert_ne!(patient_key("nih", "2"), patient_key("cohen", "2"));
        assert_eq!(patient_key("kermany", "train-N0115").as_deref(), Some("kermany:train-N0115"));
        assert_eq!(patient_key("x", "anna").as_deref(), Some("x:anna"));
        assert_eq!(patient_key("x", "000").as_deref(), Some("x:0"));
        assert_eq!(patient_key("x", "  "), None);
    }

    #[test]
    fn views_and_labels() {
        let r = |view: &str| Record {
            view: Some(view.into()),
            finding: "Pleural_Thickening| Mass".into(),
            ..Record::default()
        };
        assert!(["PA", "AP Supine", "ap", "Frontal", ""].iter().all(|v| r(v).is_frontal()));
        assert!(["L", "Lateral", "Axial", "LL"].iter().all(|v| !r(v).is_frontal()));
        assert!(r("").has("pleural thickening") && r("").has("Mass") && !r("").has("Masses"));
        assert!(Record::default().is_frontal());
    }

    #[test]
    fn groups_join_patients_and_shared_images_but_not_equal_names_in_one_source() {
        let r = |source: &str, patient: Option<&str>, name: Option<&str>| Record {
            source: source.into(),
            collection: source.split('-').next().unwrap().into(),
            patient: patient.map(str::to_string),
            original_name: name.map(str::to_string),
            ..Record::default()
        };
        let records = vec![
            r("nih-a", Some("nih:1"), Some("x.png")),
            r("nih-a", Some("nih:2"), Some("x.png")),
            r("nih-a", Some("nih:1"), None),
            r("nih-b", None, Some("x.png")),
            r("cohen", None, Some("x.png")),
            r("cohen", None, None),
        ];
        let d = Dataset { records, ..Dataset::default() };
        assert_eq!(d.groups(), [0, 1, 0, 0, 2, 3]);
    }
}
