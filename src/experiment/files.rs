//! A task from image files: read, labelled, drawn by group, and decoded.

use super::task::{Facts, Task, TaskOptions};
use crate::data::audit::facts::{View, years};
use crate::data::audit::{Bonds, GroupBy, ReadOptions, Reading};
use crate::data::file_name::{hashed_name, slashed};
use crate::data::fold_file::{FoldFile, FoldImage};
use crate::data::labels::{LabelMap, Labelled};
use crate::data::planes::{LoadOptions, load_planes};
use crate::data::split::rng;
use crate::data::table::{Dataset, OpenOptions};
use crate::error::{Error, Result};
use crate::eval::Dropped;
use crate::files::hex;
use crate::train::hashed;
use crate::train::interrupt;
use crate::train::progress::Progress;
use rand::seq::SliceRandom;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Why an image is left out that is no image, or cannot be read.
const UNUSABLE: &str = "image cannot be used";

impl Task {
    /// Images of the folders and manifests `paths` with the classes of `labels`.
    ///
    /// # Errors
    /// As [`Dataset::open_all`], [`LabelMap::apply`] and [`load_planes`]; [`Error::Interrupted`].
    pub fn from_files(paths: &[PathBuf], labels: &LabelMap, o: &TaskOptions) -> Result<Task> {
        let mut task = Task::labelled(paths, o, |data| labels.apply(data))?;
        task.name += &format!(", classes of '{}'", labels.name);
        Ok(task)
    }

    /// The images that a file of folds names, in its order: its positions are this task's.
    ///
    /// # Errors
    /// As [`Task::from_files`]; [`Error::Data`] when an image of the file is not in the data, or is another one now.
    pub fn of_folds(paths: &[PathBuf], folds: &FoldFile, o: &TaskOptions) -> Result<Task> {
        let all = TaskOptions { per_class: None, ..o.clone() };
        let task = Task::labelled(paths, &all, |data| {
            let at: HashMap<String, usize> =
                data.records.iter().enumerate().map(|(i, r)| (slashed(&r.file), i)).collect();
            let item = |image: &FoldImage| {
                let gone = || {
                    let name =
                        if o.show_names { image.file.clone() } else { hashed_name(None, Path::new(&image.file)) };
                    Error::Data(format!("the file of folds names {name}, which is not in the data"))
                };
                Ok((*at.get(&image.file).ok_or_else(gone)?, image.class))
            };
            let items = folds.images.iter().map(item).collect::<Result<_>>()?;
            Ok(Labelled { classes: folds.classes.clone(), items, dropped: BTreeMap::new() })
        })?;
        if task.len() != folds.images.len() {
            let (n, m) = (folds.images.len(), task.len());
            return Err(Error::Data(format!("the file of folds names {n} images, of which {m} can be used")));
        }
        match task
            .images
            .iter()
            .zip(&folds.images)
            .find(|(f, image)| !image.sha256.is_empty() && f.sha256 != image.sha256)
        {
            None => Ok(task),
            Some((f, _)) => {
                Err(Error::Data(format!("image {} is not the one that was divided: other SHA-256", f.name)))
            }
        }
    }

    /// Images of files with the classes that `label` gives to records.
    ///
    /// # Errors
    /// As [`Task::from_files`]; those of `label`.
    pub fn labelled(
        paths: &[PathBuf],
        o: &TaskOptions,
        label: impl FnOnce(&Dataset) -> Result<Labelled>,
    ) -> Result<Task> {
        let data = Dataset::open_all(paths, &OpenOptions { allow_missing: o.skip_bad, hash_names: !o.show_names })?;
        let reading = read(paths, data, o)?;
        reading.check_bad(o.skip_bad)?;
        let labelled = label(&reading.data)?;
        let usable: HashSet<usize> = reading.usable().into_iter().collect();
        let groups = reading.groups(GroupBy::PatientAndDuplicates);
        let mut dropped: BTreeMap<String, u64> = BTreeMap::new();
        let counted = reading.data.dropped.iter().chain(&labelled.dropped);
        counted.for_each(|(why, n)| *dropped.entry(why.clone()).or_default() += *n as u64);
        let all: Vec<(usize, usize)> = labelled.items.iter().copied().filter(|(i, _)| usable.contains(i)).collect();
        if all.len() < labelled.items.len() {
            dropped.insert(UNUSABLE.into(), (labelled.items.len() - all.len()) as u64);
        }
        let mut chosen = draw(&all, &groups, &labelled.classes, o);
        let mut notes = reading.data.notes.clone();
        if chosen.len() < all.len() {
            let n = o.per_class.unwrap_or_default();
            notes.push(format!("{} of {} images drawn: at most {n} a class, by patient", chosen.len(), all.len()));
        }
        let files: Vec<PathBuf> = chosen.iter().map(|(i, _)| reading.data.records[*i].file.clone()).collect();
        let dir = o.cache.as_ref().map(|root| root.join("planes"));
        let names: Vec<String> = chosen.iter().map(|(i, _)| reading.names[*i].clone()).collect();
        let load = LoadOptions {
            skip_bad: o.skip_bad,
            cache_dir: dir.as_deref(),
            progress: o.talk.has_bars(),
            names: Some(&names),
            cancel: Some(interrupt::flag()),
            preprocessing: o.preprocessing,
        };
        let mut planes = load_planes(&reading.data.root, &files, o.side, &load)?;
        if let Some(dir) = &dir {
            let (had, all) = (planes.from_cache, files.len());
            let repaired = if planes.repaired > 0 { format!(", {} damaged", planes.repaired) } else { String::new() };
            o.talk.detail(|| format!("planes: {had} of {all} from the cache {}{repaired}", dir.display()));
        }
        // Gone, or overwritten, since all were read a moment ago.
        let gone: HashSet<usize> = planes.bad.iter().map(|b| b.0).collect();
        if !gone.is_empty() {
            *dropped.entry(UNUSABLE.into()).or_default() += gone.len() as u64;
            let kept = |i: &usize| !gone.contains(i);
            planes.data = (0..chosen.len()).filter(kept).flat_map(|i| planes.plane(i).iter().copied()).collect();
            chosen = (0..chosen.len()).filter(kept).map(|i| chosen[i]).collect();
        }
        let bonds = reading.bonds();
        let of = |list: &[Option<usize>]| chosen.iter().map(|(i, _)| list[*i]).collect();
        let facts = |&(i, _): &(usize, usize)| {
            let r = &reading.data.records[i];
            let patient = match &r.patient {
                Some(p) if o.show_names => p.clone(),
                Some(p) => hashed(p),
                None => reading.names[i].clone(),
            };
            Facts {
                name: reading.names[i].clone(),
                file: slashed(&r.file),
                sha256: reading.image(i).map_or_else(String::new, |s| hex(&s.file)),
                patient,
                group: groups[i],
                source: r.source.clone(),
                view: View::of(r.view.as_deref()).name().into(),
                sex: r.sex.clone(),
                age: years(r.age.as_deref()),
            }
        };
        Ok(Task {
            name: given(paths),
            synthetic: false,
            classes: labelled.classes.clone(),
            side: o.side,
            images: chosen.iter().map(facts).collect(),
            labels: chosen.iter().map(|c| c.1).collect(),
            planes: planes.data,
            masks: None,
            bonds: Bonds {
                patients: of(&bonds.patients),
                duplicates: of(&bonds.duplicates),
                names: chosen.iter().map(|(i, _)| bonds.names[*i].clone()).collect(),
            },
            dropped: dropped.into_iter().map(|(reason, rows)| Dropped { reason, rows }).collect(),
            notes,
            preprocessing: o.preprocessing.words(),
        })
    }
}

/// The folders' and manifests' own names, without the places where they lie.
fn given(paths: &[PathBuf]) -> String {
    let name = |p: &PathBuf| p.file_name().unwrap_or(p.as_os_str()).to_string_lossy().into_owned();
    paths.iter().map(name).collect::<Vec<_>>().join(" and ")
}

fn read(paths: &[PathBuf], data: Dataset, o: &TaskOptions) -> Result<Reading> {
    let bar = Mutex::new(Progress::new("reading", data.records.len() as u64, "images", o.talk));
    let advance = |n: u64| bar.lock().unwrap_or_else(PoisonError::into_inner).advance(n, "");
    let dir: Option<PathBuf> = o.cache.as_ref().map(|root| Path::join(root, "audit"));
    let options = ReadOptions {
        cache_dir: dir.as_deref(),
        progress: Some(&advance),
        cancel: Some(interrupt::flag()),
        talk: o.talk,
    };
    let reading = Reading::of(paths, data, &options, o.show_names);
    bar.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    reading
}

/// At most `per_class` of each class: groups in random order, each with all its images of the class.
fn draw(all: &[(usize, usize)], groups: &[usize], classes: &[String], o: &TaskOptions) -> Vec<(usize, usize)> {
    let Some(most) = o.per_class else { return all.to_vec() };
    let mut chosen = Vec::new();
    for (class, name) in classes.iter().enumerate() {
        let mut by: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        all.iter().filter(|a| a.1 == class).for_each(|a| by.entry(groups[a.0]).or_default().push(a.0));
        let mut order: Vec<usize> = by.keys().copied().collect();
        order.shuffle(&mut rng(o.seed, &format!("draw of class {name}")));
        let images = order.iter().flat_map(|g| &by[g]).copied();
        chosen.extend(images.take(most).map(|i| (i, class)));
    }
    chosen.sort_unstable();
    chosen
}
