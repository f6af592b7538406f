//! Turning a manifest's table or folder tree into records; the schema and its tests are in [`crate::data::manifest`].

use crate::data::folder;
use crate::data::manifest::{Keep, Manifest, NameRule, Table};
use crate::data::table::{Dataset, Listings, Record, patient_key};
use crate::data::text::{Csv, capture, fill, glob, stay_below};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// `[table]`: one record for each row that is kept, in the order of the CSV.
///
/// # Errors
/// [`Error::Format`] for columns, templates and paths; [`Error::Data`] when no folder is there.
pub(crate) fn read_table(path: &Path, m: &Manifest, t: &Table, data: &mut Dataset) -> Result<()> {
    let below = |p: &str| stay_below(p).map_err(|why| Error::format(path, format!("the path {p:?} {why}")));
    let table = Csv::read(&data.root.join(below(&t.csv)?), t.encoding)?;
    let label = table.column(&t.label)?;
    let columns = [&t.patient, &t.sex, &t.age, &t.view, &t.split, &t.original_name];
    let mut index = [None; 6];
    for (i, name) in columns.iter().enumerate() {
        index[i] = name.as_ref().map(|n| table.column(n)).transpose()?;
    }
    let keep: Vec<(usize, &Keep)> = t.keep.iter().map(|k| Ok((table.column(&k.column)?, k))).collect::<Result<_>>()?;
    let folders = expand(path, &data.root, &t.folders)?;
    let mut listings = Listings::default();
    let collection = m.collection.as_ref().unwrap_or(&m.name);
    for (i, row) in table.rows.iter().enumerate() {
        if let Some((c, k)) = keep.iter().find(|(c, k)| !k.values.iter().any(|v| v.eq_ignore_ascii_case(&row[*c]))) {
            let value = if row[*c].is_empty() { "empty" } else { &row[*c] };
            data.drop_rows(format!("{}: {} is {value}", m.name, k.column), 1);
            continue;
        }
        let name = fill(&t.file, |c| table.optional(c).map(|c| row[c].clone())).map_err(|e| Error::format(path, e))?;
        let name = stay_below(&name)
            .map_err(|why| Error::format(&table.path, format!("row {}: the path {name:?} {why}", i + 1)))?;
        // Where no folder has it, the record keeps the first place: the check for missing files names and counts it.
        let found = folders.iter().find_map(|f| {
            let file = listings.find(&data.root.join(f).join(&name))?;
            Some(f.join(name.parent()?).join(file.file_name()?))
        });
        let [patient, sex, age, view, split, original_name] =
            index.map(|c| c.map(|c| row[c].clone()).filter(|v| !v.is_empty()));
        data.records.push(Record {
            file: found.unwrap_or_else(|| folders[0].join(&name)),
            finding: row[label].clone(),
            patient: patient.and_then(|p| patient_key(collection, &p)),
            sex,
            age,
            view,
            source: m.name.clone(),
            collection: collection.clone(),
            split,
            original_name,
            ..Record::default()
        });
    }
    Ok(())
}

/// Folders below `root` that fit the patterns; the root itself where there are no patterns.
fn expand(path: &Path, root: &Path, patterns: &[String]) -> Result<Vec<PathBuf>> {
    if patterns.is_empty() {
        return Ok(vec![PathBuf::new()]);
    }
    let mut all = Vec::new();
    for pattern in patterns {
        let mut fits = vec![PathBuf::new()];
        if pattern != "." {
            let clean =
                stay_below(pattern).map_err(|why| Error::format(path, format!("the folder {pattern:?} {why}")))?;
            for level in clean.iter().filter_map(|l| l.to_str()) {
                let mut next = Vec::new();
                for dir in fits {
                    if !level.contains('*') {
                        next.push(dir.join(level));
                        continue;
                    }
                    let names = std::fs::read_dir(root.join(&dir)).into_iter().flatten().flatten();
                    let mut names: Vec<String> = names.filter_map(|e| e.file_name().into_string().ok()).collect();
                    names.sort();
                    next.extend(names.iter().filter(|n| glob(level, n)).map(|n| dir.join(n)));
                }
                fits = next;
            }
        }
        all.extend(fits.into_iter().filter(|f| root.join(f).is_dir()));
    }
    if all.is_empty() {
        let m = format!("none of the folders {} is in {}", patterns.join(", "), root.display());
        return Err(Error::Data(format!("{}: {m}", path.display())));
    }
    Ok(all)
}

/// `[[tree]]`: one record for each image file, sorted by path within each folder.
///
/// # Errors
/// [`Error::Data`] when a folder is not there; [`Error::Format`] for a template that names nothing.
pub(crate) fn read_tree(path: &Path, m: &Manifest, data: &mut Dataset) -> Result<()> {
    let collection = m.collection.as_ref().unwrap_or(&m.name);
    let mut unmatched = 0;
    for tree in &m.tree {
        let dir = stay_below(&tree.folder)
            .map_err(|why| Error::format(path, format!("the folder {:?} {why}", tree.folder)))?;
        if !data.root.join(&dir).is_dir() {
            let m = format!("no folder {} in {}", tree.folder, data.root.display());
            return Err(Error::Data(format!("{}: {m}", path.display())));
        }
        for file in folder::images_below(&data.root.join(&dir))? {
            let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let rule = m.name_rule.iter().find_map(|r| Some((r, capture(&r.pattern, stem)?)));
            let mut patient = None;
            match &rule {
                Some((NameRule { patient: Some(template), .. }, found)) => {
                    let value = |k: &str| found.get(k).cloned().or_else(|| tree.split.clone().filter(|_| k == "split"));
                    let id = fill(template, value).map_err(|e| Error::format(path, e))?;
                    patient = patient_key(collection, &id);
                }
                _ => unmatched += 1,
            }
            let label = rule.and_then(|(r, _)| r.label.clone()).or_else(|| tree.label.clone());
            data.records.push(Record {
                original_name: file.file_name().and_then(|n| n.to_str()).map(str::to_string),
                file: dir.join(file),
                finding: label.unwrap_or_default(),
                patient,
                source: m.name.clone(),
                collection: collection.clone(),
                split: tree.split.clone(),
                ..Record::default()
            });
        }
    }
    if unmatched > 0 {
        data.notes.push(format!("{}: {unmatched} file names tell no patient: each is its own", m.name));
    }
    Ok(())
}
