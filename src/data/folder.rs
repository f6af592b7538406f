//! The plain layout: a folder with images and a `metadata.csv`, or a folder of such folders.
//!
//! `metadata.csv` needs the columns `file` (relative to its folder) and `finding`; `patient_id`, `sex`, `age`, `view`,
//! `split` and `original_name` are used where they are, other columns are not read. A subfolder without `metadata.csv`
//! is skipped with a note.

use crate::data::collections;
use crate::data::decode::has_image_name;
use crate::data::table::{Dataset, Record, patient_key};
use crate::data::text::{Csv, Encoding, stay_below};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Name of the table in a folder.
pub const TABLE: &str = "metadata.csv";

/// Columns that a table need not have.
const OPTIONAL: [&str; 11] = [
    "patient_id",
    "sex",
    "age",
    "view",
    "modality",
    "split",
    "original_name",
    "mask",
    "lung_mask",
    "source",
    "collection",
];

/// Reads `root`: itself when it holds a `metadata.csv`, else each of its subfolders that does, by name.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] for a table that cannot be used, [`Error::Data`] when there is no table at all.
pub(crate) fn read(root: &Path) -> Result<Dataset> {
    let mut data = Dataset { root: root.to_path_buf(), ..Dataset::default() };
    if root.join(TABLE).is_file() {
        // "." has no name of its own.
        let name = root.canonicalize().map_err(Error::io(root, "cannot resolve"))?;
        let name = name.file_name().map_or("data".into(), |n| n.to_string_lossy().into_owned());
        read_table(&mut data, Path::new(""), &name)?;
        return Ok(data);
    }
    let mut folders: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(root).map_err(Error::io(root, "cannot list"))? {
        let entry = entry.map_err(Error::io(root, "cannot list"))?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            folders.push(name);
        }
    }
    folders.sort();
    let mut tables = 0;
    for name in &folders {
        if root.join(name).join(TABLE).is_file() {
            tables += 1;
            read_table(&mut data, Path::new(name), name)?;
        } else if !name.starts_with('.') {
            data.notes.push(format!("{name}: no {TABLE}, skipped"));
        }
    }
    if tables == 0 {
        let m = format!("no {TABLE} in it or in its {} subfolders", folders.len());
        return Err(Error::Data(format!(
            "{}: {m}; a data set as published needs a manifest (data-manifests/)",
            root.display()
        )));
    }
    Ok(data)
}

/// Reads one table as the source `name`, whose images lie in `folder` below the root.
fn read_table(data: &mut Dataset, folder: &Path, name: &str) -> Result<()> {
    let path = data.root.join(folder).join(TABLE);
    let table = Csv::read(&path, Encoding::Utf8)?;
    let (file, finding) = (table.column("file")?, table.column("finding")?);
    let optional = OPTIONAL.map(|c| table.optional(c));
    let own = name.split('-').next().unwrap_or(name);
    let (mut listed, mut sources) = (HashSet::new(), HashSet::new());
    for (i, row) in table.rows.iter().enumerate() {
        let path_in = |cell: &str| {
            stay_below(cell).map_err(|why| Error::format(&path, format!("row {}: the path {cell:?} {why}", i + 1)))
        };
        let below = path_in(&row[file])?;
        let [patient, sex, age, view, modality, split, original_name, mask, lung_mask, source, collection] =
            optional.map(|c| c.map(|c| row[c].clone()).filter(|v| !v.is_empty()));
        let [mask, lung_mask] = [mask, lung_mask].map(|m| m.map(|m| path_in(&m)).transpose());
        let (mask, lung_mask) = (mask?, lung_mask?);
        listed.extend([Some(&below), mask.as_ref(), lung_mask.as_ref()].into_iter().flatten().cloned());
        let (source, collection) = (source.unwrap_or_else(|| name.into()), collection.unwrap_or_else(|| own.into()));
        // Once a source: looking reads all published manifests.
        if sources.insert(source.clone())
            && let Some(origin) = collections::known(&collection)
        {
            data.origins.insert(source.clone(), origin);
        }
        data.records.push(Record {
            file: folder.join(below),
            finding: row[finding].clone(),
            patient: patient.and_then(|p| patient_key(&collection, &p)),
            sex,
            age,
            view,
            modality,
            source,
            collection,
            split,
            original_name,
            mask: mask.map(|m| folder.join(m)),
            lung_mask: lung_mask.map(|m| folder.join(m)),
        });
    }
    let base = data.root.join(folder);
    let extra = images_below(&base)?.iter().filter(|f| !listed.contains(*f)).count();
    if extra > 0 {
        data.notes.push(format!("{name}: {extra} images are not in {TABLE} and are not used"));
    }
    Ok(())
}

/// Image files below `base` by extension, relative to it, sorted. A folder that is reached twice through symbolic links
/// is read once, so a loop of links ends.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be listed.
pub(crate) fn images_below(base: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    let mut seen = HashSet::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        let at = base.join(&dir);
        if !seen.insert(at.canonicalize().map_err(Error::io(&at, "cannot resolve"))?) {
            continue;
        }
        for entry in std::fs::read_dir(&at).map_err(Error::io(&at, "cannot list"))? {
            let entry = entry.map_err(Error::io(&at, "cannot list"))?;
            let name = dir.join(entry.file_name());
            // A link that leads nowhere or round in circles has no metadata: it is neither folder nor image here.
            if std::fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
                todo.push(name);
            } else if has_image_name(&name) {
                images.push(name);
            }
        }
    }
    images.sort();
    Ok(images)
}

#[cfg(test)]
mod tests {
    use crate::data::table::{Dataset, OpenOptions};
    use std::path::Path;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn open(root: &Path) -> crate::error::Result<Dataset> {
        Dataset::open(root, &OpenOptions::default())
    }

    #[test]
    fn a_folder_of_folders() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        put(
            d,
            "nih-b/metadata.csv",
            "file,finding,patient_id,sex,age,view,original_name,extra\nimages/1.png,Mass|Edema,007,F,50+,PA,a.png,9\nimages/2.png,,8,,,,,\n",
        );
        put(d, "nih-a/metadata.csv", "finding,file\nNo Finding,1.jpg\nNo Finding,1.jpg\n");
        for f in ["nih-b/images/1.png", "nih-b/images/2.png", "nih-b/images/3.png", "nih-a/1.jpg", "raw/x.png"] {
            put(d, f, "");
        }
        let data = open(d).unwrap();
        assert_eq!(data.records.len(), 2);
        assert_eq!(data.records[0].file, Path::new("nih-a/1.jpg"));
        let r = &data.records[1];
        assert_eq!((r.patient.as_deref(), r.age.as_deref(), r.source.as_str()), (Some("nih:7"), Some("50+"), "nih-b"));
        assert_eq!(
            data.dropped.iter().map(|(k, n)| (k.as_str(), *n)).collect::<Vec<_>>(),
            [("no finding", 1), ("row listed twice", 1)]
        );
        assert_eq!(
            data.notes,
            ["nih-b: 1 images are not in metadata.csv and are not used", "raw: no metadata.csv, skipped"]
        );
        let s = data.summary();
        assert!(s.contains("nih-b") && s.contains("dropped: 1 x no finding") && !s.contains("007"), "{s}");
        // The folder itself, without its parent.
        let one = open(&d.join("nih-b")).unwrap();
        assert_eq!(
            (one.records[0].file.as_path(), one.records[0].source.as_str()),
            (Path::new("images/1.png"), "nih-b")
        );
    }

    #[test]
    fn bad_folders_are_explained() {
        for (table, needle, code) in [
            ("path,label\n1.png,x\n", "no column \"file\"; there are: path, label", 5),
            ("file,finding\n../1.png,x\n", "leaves its folder", 5),
            ("file,finding\n/etc/1.png,x\n", "is absolute", 5),
            ("file,finding\n1.png,x\n2.png,y\n3.png,y\n", "2 of 3 images are not there (first: 2.png)", 5),
            ("file,finding\n1.png,x\n1.png,y\n", "1 rows repeat a file with another finding", 5),
            ("file,finding\n1.png,\n", "no usable image (1 no finding)", 5),
            ("file,finding\n", "no usable image", 5),
            ("", "empty", 5),
        ] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), "metadata.csv", table);
            put(dir.path(), "1.png", "");
            let e = open(dir.path()).unwrap_err();
            assert!(e.to_string().contains(needle) && e.exit_code() == code, "{table:?}: {e}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("no metadata.csv"));
        assert_eq!(open(&dir.path().join("nowhere")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn missing_files_can_be_allowed() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "metadata.csv", "file,finding\n1.png,x\n2.png,y\n");
        put(dir.path(), "1.png", "");
        let data = Dataset::open(dir.path(), &OpenOptions { allow_missing: true, ..OpenOptions::default() }).unwrap();
        assert_eq!((data.records.len(), data.dropped["image file missing"]), (1, 1));
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "metadata.csv", "file,finding\n1.png,x\nself.png,x\n");
        put(dir.path(), "1.png", "");
        std::os::unix::fs::symlink(".", dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink("self.png", dir.path().join("self.png")).unwrap();
        let data = open(dir.path()).unwrap();
        assert_eq!(data.records.len(), 2); // the looping link is listed; reading it fails, by name, in planes
        assert_eq!(super::images_below(dir.path()).unwrap().len(), 2);
    }
}
