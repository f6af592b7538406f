//! A data set with everything that was read of its images: what audit, split and gate share.

use crate::data::audit::digest::{Bad, ReadOptions, Seen, read_all};
use crate::data::audit::groups::{Link, Sets, links};
use crate::data::audit::leak::Bonds;
use crate::data::file_name::{hashed_name, slashed};
use crate::data::table::{Dataset, OpenOptions};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What may not be separated by a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupBy {
    /// Images of a patient, and images that are one radiograph.
    #[default]
    #[serde(rename = "patient+duplicates")]
    PatientAndDuplicates,
    /// Images of a patient.
    #[serde(rename = "patient")]
    Patient,
    /// Nothing.
    #[serde(rename = "image")]
    Image,
}

impl GroupBy {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            GroupBy::PatientAndDuplicates => "patient+duplicates",
            GroupBy::Patient => "patient",
            GroupBy::Image => "image",
        }
    }
}

/// A data set and its images.
pub struct Reading {
    /// Folders and manifests as they were given.
    pub paths: Vec<PathBuf>,
    /// The records.
    pub data: Dataset,
    /// For each record what was read, or why not.
    pub seen: Vec<Result<Seen, Bad>>,
    /// For each record its name in reports.
    pub names: Vec<String>,
    /// Whether these are the files' own names.
    pub names_shown: bool,
    /// Pairs of images that are one.
    pub links: Vec<Link>,
}

impl Reading {
    /// Opens `paths` and reads all images; damaged ones stay in their place as [`Bad`].
    ///
    /// # Errors
    /// As [`Dataset::open_all`] and [`read_all`].
    pub fn open(paths: &[PathBuf], open: &OpenOptions, read: &ReadOptions, show_names: bool) -> Result<Reading> {
        let data = Dataset::open_all(paths, open)?;
        Reading::of(paths, data, read, show_names)
    }

    /// Reads all images of `data`; `paths` are for reports.
    ///
    /// # Errors
    /// As [`read_all`].
    pub fn of(paths: &[PathBuf], data: Dataset, read: &ReadOptions, show_names: bool) -> Result<Reading> {
        let files: Vec<PathBuf> = data.records.iter().map(|r| r.file.clone()).collect();
        let seen = read_all(&data.root, &files, read)?;
        let name = |(file, seen): (&PathBuf, &Result<Seen, Bad>)| {
            let digest = seen.as_ref().map_or_else(|bad| bad.file.as_ref(), |s| Some(&s.file));
            if show_names { slashed(file) } else { hashed_name(digest, file) }
        };
        let names = files.iter().zip(&seen).map(name).collect();
        let usable: Vec<Option<&Seen>> = seen.iter().map(|s| s.as_ref().ok()).collect();
        let links = links(&usable);
        Ok(Reading { paths: paths.to_vec(), data, seen, names, names_shown: show_names, links })
    }

    /// What was read of record `i`, where it is usable.
    pub fn image(&self, i: usize) -> Option<&Seen> {
        self.seen.get(i)?.as_ref().ok()
    }

    /// Positions of the usable images.
    pub fn usable(&self) -> Vec<usize> {
        (0..self.seen.len()).filter(|&i| self.seen[i].is_ok()).collect()
    }

    /// Positions and reasons of the others.
    pub fn bad(&self) -> impl Iterator<Item = (usize, &str)> {
        self.seen.iter().enumerate().filter_map(|(i, s)| Some((i, s.as_ref().err()?.reason.as_str())))
    }

    /// Stops at images that cannot be used, unless these are to be passed over.
    ///
    /// # Errors
    /// [`Error::Data`] that counts them and names the first, when `skip` is not set; or when none is left.
    pub fn check_bad(&self, skip: bool) -> Result<()> {
        let bad: Vec<(usize, &str)> = self.bad().collect();
        let Some(&(first, reason)) = bad.first() else { return Ok(()) };
        let all = bad.len() == self.seen.len();
        if skip && !all {
            return Ok(());
        }
        let hint = if all { "" } else { "; --skip-bad goes on without them" };
        let shown = if self.names_shown { "" } else { "; --show-names tells files' names" };
        Err(Error::Data(format!(
            "{} of {} images cannot be used; first: {}: {reason}{hint}{shown}",
            bad.len(),
            self.seen.len(),
            self.names[first]
        )))
    }

    /// The duplicate groups: positions of two and more images that are one radiograph.
    pub fn duplicate_groups(&self) -> Vec<Vec<usize>> {
        let mut sets = Sets::new(self.seen.len());
        self.links.iter().for_each(|l| sets.join(l.a, l.b));
        sets.groups()
    }

    /// For each record the number of what it may not be separated from. A record without patient is its own group unless
    /// duplicates, or its first name in another source of the collection, tie it to others.
    pub fn groups(&self, by: GroupBy) -> Vec<usize> {
        let mut sets = Sets::new(self.seen.len());
        if by != GroupBy::Image {
            let mut first = std::collections::HashMap::new();
            for (i, g) in self.data.groups().into_iter().enumerate() {
                sets.join(*first.entry(g).or_insert(i), i);
            }
        }
        if by == GroupBy::PatientAndDuplicates {
            self.links.iter().for_each(|l| sets.join(l.a, l.b));
        }
        sets.numbers()
    }

    /// What the leak gate compares.
    pub fn bonds(&self) -> Bonds {
        let mut duplicates = vec![None; self.seen.len()];
        for (g, members) in self.duplicate_groups().iter().enumerate() {
            members.iter().for_each(|&i| duplicates[i] = Some(g));
        }
        let patients = self.data.groups().into_iter().map(Some).collect();
        Bonds { patients, duplicates, names: self.names.clone() }
    }

    /// The position of each file, by its path below the root with `/`.
    pub fn positions(&self) -> std::collections::HashMap<String, usize> {
        self.data.records.iter().enumerate().map(|(i, r)| (slashed(&r.file), i)).collect()
    }

    /// The paths as given, for reports.
    pub fn given(&self) -> Vec<String> {
        self.paths.iter().map(|p: &PathBuf| Path::display(p).to_string()).collect()
    }
}
