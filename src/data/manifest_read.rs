//! Turning a manifest's table or folder tree into records; the schema and its tests are in [`crate::data::manifest`].

use crate::data::folder;
use crate::data::manifest::onehot::OneHot;
use crate::data::manifest::{Keep, Manifest, NameRule, Table};
use crate::data::table::{Dataset, Listings, Record, patient_key};
use crate::data::text::{Csv, capture, fill, glob, stay_below};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a text of a record comes from: a column, or a template of columns and captures.
enum Cell<'m> {
    Column(usize),
    Template(&'m str),
}

/// The cells of one kind; several stand for the first that is not empty, none for nothing.
type Cells<'m> = Vec<Cell<'m>>;

/// A text without braces must name a column.
fn cell<'m>(table: &Csv, text: &'m str) -> Result<Cell<'m>> {
    if text.contains('{') { Ok(Cell::Template(text)) } else { Ok(Cell::Column(table.column(text)?)) }
}

/// Where all texts of a table's records come from.
struct Columns<'m> {
    label: Cells<'m>,
    patient: Cells<'m>,
    sex: Cells<'m>,
    age: Cells<'m>,
    view: Cells<'m>,
    modality: Cells<'m>,
    source: Cells<'m>,
    split: Cells<'m>,
    original_name: Cells<'m>,
    mask: Cells<'m>,
    lung_mask: Cells<'m>,
}

impl<'m> Columns<'m> {
    fn of(table: &Csv, t: &'m Table) -> Result<Columns<'m>> {
        let one = |name: &'m Option<String>| name.iter().map(|n| cell(table, n)).collect::<Result<Cells>>();
        let views = t.view.iter().flat_map(|v| v.all());
        Ok(Columns {
            label: one(&t.label)?,
            patient: one(&t.patient)?,
            sex: one(&t.sex)?,
            age: one(&t.age)?,
            view: views.map(|n| cell(table, n)).collect::<Result<_>>()?,
            modality: one(&t.modality)?,
            source: one(&t.source)?,
            split: one(&t.split)?,
            original_name: one(&t.original_name)?,
            mask: one(&t.mask)?,
            lung_mask: one(&t.lung_mask)?,
        })
    }
}

/// One row of a table with what was captured from it.
struct Row<'t> {
    table: &'t Csv,
    cells: &'t [String],
    captured: BTreeMap<String, String>,
}

impl Row<'_> {
    /// A template filled in; the reason where it names nothing.
    fn fill(&self, template: &str) -> Result<String, String> {
        let cell = |name: &str| self.table.optional(name).map(|c| self.cells[c].clone());
        fill(template, |name| self.captured.get(name).cloned().or_else(|| cell(name)))
    }

    /// The first cell that is not empty.
    fn text(&self, cells: &Cells) -> Result<Option<String>, String> {
        for cell in cells {
            let text = match cell {
                Cell::Column(c) => self.cells[*c].clone(),
                Cell::Template(template) => self.fill(template)?,
            };
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

/// `[table]`: one record for each row that is kept, in the order of the CSV files.
///
/// # Errors
/// [`Error::Format`] for columns, templates, label cells and paths; [`Error::Data`] when no folder is there.
pub(crate) fn read_table(path: &Path, m: &Manifest, t: &Table, data: &mut Dataset) -> Result<()> {
    if t.label.is_some() != t.label_columns.is_empty() {
        return Err(Error::format(path, "a [table] needs either label or label_columns"));
    }
    let mut tables = Vec::new();
    for csv in t.csv.all() {
        let csv = stay_below(csv).map_err(|why| Error::format(path, format!("the path {csv:?} {why}")))?;
        tables.push(Csv::read(&data.root.join(csv), t.encoding)?);
    }
    let folders = expand(path, &data.root, &t.folders)?;
    let mut listings = Listings::default();
    for table in &tables {
        read_rows((path, m, t), table, &folders, &mut listings, data)?;
    }
    Ok(())
}

/// The rows of one CSV file.
fn read_rows(
    (path, m, t): (&Path, &Manifest, &Table),
    table: &Csv,
    folders: &[PathBuf],
    listings: &mut Listings,
    data: &mut Dataset,
) -> Result<()> {
    let columns = Columns::of(table, t)?;
    let mut hot = OneHot::of(table, t)?;
    let capture_from = t.capture.as_ref().map(|c| Ok((table.column(&c.column)?, c))).transpose()?;
    let keep: Vec<(usize, &Keep)> = t.keep.iter().map(|k| Ok((table.column(&k.column)?, k))).collect::<Result<_>>()?;
    let collection = m.collection.as_ref().unwrap_or(&m.name);
    for (i, cells) in table.rows.iter().enumerate() {
        if let Some((c, k)) = keep.iter().find(|(c, k)| !k.values.iter().any(|v| v.eq_ignore_ascii_case(&cells[*c]))) {
            let value = if cells[*c].is_empty() { "empty" } else { &cells[*c] };
            data.drop_rows(format!("{}: {} is {value}", m.name, k.column), 1);
            continue;
        }
        let bad = |why: String| Error::format(&table.path, format!("row {}: {why}", i + 1));
        let captured = match &capture_from {
            Some((c, rule)) => capture(&rule.pattern, &cells[*c])
                .ok_or_else(|| bad(format!("{} {:?} does not fit {:?}", rule.column, cells[*c], rule.pattern)))?,
            None => BTreeMap::new(),
        };
        let row = Row { table, cells, captured };
        let text = |cells: &Cells| row.text(cells).map_err(|e| Error::format(path, e));
        let below = |name: &str| stay_below(name).map_err(|why| bad(format!("the path {name:?} {why}")));
        let name = below(&row.fill(&t.file).map_err(|e| Error::format(path, e))?)?;
        let finding = match &mut hot {
            Some(hot) => match hot.finding(cells).map_err(bad)? {
                Some(finding) => finding,
                None => continue,
            },
            None => text(&columns.label)?.unwrap_or_default(),
        };
        // Where no folder has it, the record keeps the first place: the check for missing files names and counts it.
        let found = folders.iter().find_map(|f| {
            let file = listings.find(&data.root.join(f).join(&name))?;
            Some(f.join(name.parent()?).join(file.file_name()?))
        });
        data.records.push(Record {
            file: found.unwrap_or_else(|| folders[0].join(&name)),
            finding,
            patient: text(&columns.patient)?.and_then(|p| patient_key(collection, &p)),
            sex: text(&columns.sex)?,
            age: text(&columns.age)?,
            view: text(&columns.view)?,
            modality: text(&columns.modality)?,
            source: text(&columns.source)?.unwrap_or_else(|| m.name.clone()),
            collection: collection.clone(),
            split: text(&columns.split)?,
            original_name: text(&columns.original_name)?,
            mask: text(&columns.mask)?.map(|p| below(&p)).transpose()?,
            lung_mask: text(&columns.lung_mask)?.map(|p| below(&p)).transpose()?,
        });
    }
    if let Some(hot) = hot {
        hot.settled().map_err(|why| Error::format(path, why))?;
        data.drop_rows(format!("{}: an uncertain finding", m.name), hot.dropped);
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
