//! The images of an experiment: decoded at one side, each with its class, its patient, its source, and masks where there are
//! any. Synthetic here; from files in `files.rs`.

use crate::data::audit::facts::View;
use crate::data::audit::{Bonds, Division, Leak, leaks};
use crate::data::division::{self, Parts, divide};
use crate::data::phantom::teaching::{Example, Letter, Teaching};
use crate::data::phantom::{self, Phantom};
use crate::data::planes::le_bytes;
use crate::data::preprocessing::Preprocessing;
use crate::error::{Error, Result};
use crate::eval::{CrossTable, Dropped};
use crate::files::hex;
use crate::talk::Talk;
use crate::train::Samples;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// What is known of an image. Names are hashed unless they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The image's name in reports and tables.
    pub name: String,
    /// Path below the data's root, which may hold a patient's number: for the file of folds alone. Empty for drawings.
    pub file: String,
    /// SHA-256 of the file, likewise.
    pub sha256: String,
    /// The patient's name, likewise hashed.
    pub patient: String,
    /// What may not be separated shares it.
    pub group: usize,
    /// Folder or manifest, or the synthetic source.
    pub source: String,
    /// As in "PA"; "not stated".
    pub view: String,
    /// Sex as the source writes it.
    pub sex: Option<String>,
    /// Age in years.
    pub age: Option<f64>,
}

/// How images are taken up.
#[derive(Clone, Debug)]
pub struct TaskOptions {
    /// Side in pixels.
    pub side: usize,
    /// How files become planes.
    pub preprocessing: Preprocessing,
    /// Images of each class at most, drawn by group; all without it.
    pub per_class: Option<usize>,
    /// Seed of that draw, and of synthetic images.
    pub seed: u64,
    /// Damaged images are counted instead of being an error.
    pub skip_bad: bool,
    /// Root of the caches; none keeps nothing on disk.
    pub cache: Option<PathBuf>,
    /// Files' own names in reports.
    pub show_names: bool,
    /// How much is said.
    pub talk: Talk,
}

impl TaskOptions {
    /// All images at this side, seed 1, hashed names, no cache.
    pub fn new(side: usize) -> TaskOptions {
        TaskOptions {
            side,
            preprocessing: Preprocessing::default(),
            per_class: None,
            seed: 1,
            skip_bad: false,
            cache: None,
            show_names: false,
            talk: Talk::default(),
        }
    }
}

/// Which synthetic images there are, and what their four kinds are called.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// Patients, about two images each.
    pub patients: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The class of each kind of [`phantom::CLASSES`]; images of a kind without one are left out.
    pub class_of: [Option<usize>; 4],
    /// A letter in a corner that goes with a class.
    pub letter: Option<Letter>,
    /// Sources with styles of their own; 1: all alike.
    pub sources: usize,
}

impl Synthetic {
    /// The four kinds as they are.
    pub fn plain(patients: usize) -> Synthetic {
        Synthetic {
            patients,
            classes: phantom::CLASSES.map(String::from).to_vec(),
            class_of: [Some(0), Some(1), Some(2), Some(3)],
            letter: None,
            sources: 1,
        }
    }

    /// Under the classes of a paper.
    pub fn as_classes(patients: usize, classes: &[&str], class_of: [Option<usize>; 4]) -> Synthetic {
        Synthetic { classes: classes.iter().map(|c| c.to_string()).collect(), class_of, ..Synthetic::plain(patients) }
    }
}

/// Masks, `[side, side]` an image, by image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masks {
    /// The lung fields.
    pub lungs: Vec<Vec<u8>>,
    /// What makes the finding; all zero for normal images.
    pub lesions: Vec<Vec<u8>>,
}

/// The images of an experiment.
#[derive(Clone, Debug)]
pub struct Task {
    /// What they are, for reports.
    pub name: String,
    /// Whether they are drawings.
    pub synthetic: bool,
    /// Class names.
    pub classes: Vec<String>,
    /// Side in pixels.
    pub side: usize,
    /// What is known of each image.
    pub images: Vec<Facts>,
    /// Class of each image.
    pub labels: Vec<usize>,
    /// `[n, side, side]` in [0, 1].
    pub planes: Vec<f32>,
    /// Masks, where there are any.
    pub masks: Option<Masks>,
    /// What belongs together, for the leak gate.
    pub bonds: Bonds,
    /// What was left out.
    pub dropped: Vec<Dropped>,
    /// Remarks for the reader.
    pub notes: Vec<String>,
    /// How files became planes, in words.
    pub preprocessing: String,
}

impl Task {
    /// Synthetic radiographs.
    ///
    /// # Errors
    /// [`Error::Usage`] for a side that cannot be drawn, or no image of a class.
    pub fn synthetic(s: &Synthetic, o: &TaskOptions) -> Result<Task> {
        let set = Teaching { seed: o.seed, patients: s.patients, side: o.side, letter: s.letter, sources: s.sources };
        let all: Vec<(Example, usize)> = set
            .draw()?
            .into_iter()
            .filter_map(|e| Some((s.class_of[e.label.class]?, e)))
            .map(|(c, e)| (e, c))
            .collect();
        if let Some(class) = (0..s.classes.len()).find(|c| !all.iter().any(|a| a.1 == *c)) {
            let m = format!("{} synthetic patients: no image of class {}", s.patients, s.classes[class]);
            return Err(Error::Usage(m));
        }
        let bytes = |mask: &[bool]| mask.iter().map(|b| u8::from(*b)).collect::<Vec<u8>>();
        let phantoms = || all.iter().map(|(t, _)| &t.phantom);
        let name = |(i, p): (usize, &Phantom)| format!("synthetic-{}-{i}", p.patient);
        let names: Vec<String> = phantoms().enumerate().map(name).collect();
        let facts = |(i, (t, _)): (usize, &(Example, usize))| Facts {
            name: names[i].clone(),
            patient: format!("synthetic-{}", t.phantom.patient),
            group: t.phantom.patient as usize,
            source: format!("synthetic-source-{}", t.label.source + 1),
            view: View::Frontal.name().into(),
            ..Facts::default()
        };
        Ok(Task {
            name: "synthetic chest radiographs (built in)".into(),
            synthetic: true,
            classes: s.classes.clone(),
            side: o.side,
            images: all.iter().enumerate().map(facts).collect(),
            labels: all.iter().map(|a| a.1).collect(),
            planes: phantoms().flat_map(|p| p.pixels.iter().copied()).collect(),
            masks: Some(Masks {
                lungs: phantoms().map(|p| bytes(&p.lungs)).collect(),
                lesions: phantoms().map(|p| bytes(&p.lesion)).collect(),
            }),
            bonds: Bonds {
                patients: phantoms().map(|p| Some(p.patient as usize)).collect(),
                duplicates: vec![None; all.len()],
                names: names.clone(),
            },
            dropped: Vec::new(),
            notes: vec!["The images are drawings: figures on them say nothing about patients.".into()],
            preprocessing: "drawn at the network's side".into(),
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Images at `positions` with their classes.
    pub fn items(&self, positions: &[usize]) -> Vec<(usize, usize)> {
        positions.iter().map(|&i| (i, self.labels[i])).collect()
    }

    /// These items with the pixels `planes`, which are this task's or changed ones of the same size.
    pub fn samples<'s>(&self, planes: &'s [f32], items: &'s [(usize, usize)]) -> Samples<'s> {
        Samples { data: planes, mirrored: None, shape: [1, self.side, self.side], items }
    }

    /// Divides the images.
    ///
    /// # Errors
    /// As [`divide`].
    pub fn divide(&self, options: &division::Options) -> Result<Vec<Parts>> {
        let groups: Vec<usize> = self.images.iter().map(|f| f.group).collect();
        let sources: Vec<&str> = self.images.iter().map(|f| f.source.as_str()).collect();
        let names: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        divide(&self.labels, &groups, &sources, &names, options)
    }

    /// What crosses from one part of a fold into another.
    pub fn leaks(&self, folds: &[Parts]) -> Vec<Leak> {
        leaks(&folds.iter().map(|f| self.division(f)).collect::<Vec<_>>(), &self.bonds)
    }

    fn division(&self, fold: &Parts) -> Division {
        let mut part_of = vec![None; self.len()];
        for (part, positions) in [&fold.train, &fold.val, &fold.test].into_iter().enumerate() {
            positions.iter().for_each(|&i| part_of[i] = Some(part));
        }
        let parts = ["training", "validation", "test"].map(String::from).to_vec();
        Division { name: fold.name.clone(), parts, part_of }
    }

    /// Whether a group has two images or more: only then do divisions by image and by patient differ.
    pub fn has_groups(&self) -> bool {
        let groups: BTreeSet<usize> = self.images.iter().map(|f| f.group).collect();
        groups.len() < self.len()
    }

    /// Images and patients of every class.
    pub fn counts(&self) -> (Vec<u64>, Vec<u64>) {
        let of = |class: usize| (0..self.len()).filter(move |&i| self.labels[i] == class);
        let patients = |c: usize| of(c).map(|i| self.images[i].group).collect::<BTreeSet<_>>().len() as u64;
        let classes = 0..self.classes.len();
        (classes.clone().map(|c| of(c).count() as u64).collect(), classes.map(patients).collect())
    }

    /// Class against source and against view.
    ///
    /// # Errors
    /// [`Error::Data`] only for labels outside of the classes.
    pub fn tables(&self) -> Result<Vec<CrossTable>> {
        let by = |name: &str, value: fn(&Facts) -> &str| {
            CrossTable::count(name, &self.classes, self.labels.iter().zip(&self.images).map(|(l, f)| (*l, value(f))))
        };
        Ok(vec![by("source", |f| &f.source)?, by("view", |f| &f.view)?])
    }

    /// The same images with their source as the class, for sources with `least` groups or more; `None` when there are not two.
    pub fn by_source(&self, least: usize) -> Option<Task> {
        let mut groups: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        self.images.iter().for_each(|f| {
            groups.entry(&f.source).or_default().insert(f.group);
        });
        let classes: Vec<String> =
            groups.iter().filter(|(_, g)| g.len() >= least).map(|(s, _)| s.to_string()).collect();
        if classes.len() < 2 {
            return None;
        }
        let keep: Vec<usize> = (0..self.len()).filter(|&i| classes.contains(&self.images[i].source)).collect();
        let mut task = self.subset(&keep);
        task.labels = task.images.iter().filter_map(|f| classes.iter().position(|c| *c == f.source)).collect();
        task.classes = classes;
        Some(task)
    }

    /// The images whose patients are not among those of `other`.
    pub fn without_patients_of(&self, other: &Task) -> Task {
        let theirs: HashSet<&str> = other.images.iter().map(|f| f.patient.as_str()).collect();
        let keep: Vec<usize> = (0..self.len()).filter(|&i| !theirs.contains(self.images[i].patient.as_str())).collect();
        self.subset(&keep)
    }

    /// The images at `keep` alone.
    pub fn subset(&self, keep: &[usize]) -> Task {
        let area = self.side * self.side;
        let pick = |masks: &[Vec<u8>]| keep.iter().map(|&i| masks[i].clone()).collect();
        Task {
            images: keep.iter().map(|&i| self.images[i].clone()).collect(),
            labels: keep.iter().map(|&i| self.labels[i]).collect(),
            planes: keep.iter().flat_map(|&i| self.planes[i * area..][..area].iter().copied()).collect(),
            masks: self.masks.as_ref().map(|m| Masks { lungs: pick(&m.lungs), lesions: pick(&m.lesions) }),
            bonds: Bonds {
                patients: keep.iter().map(|&i| self.bonds.patients[i]).collect(),
                duplicates: keep.iter().map(|&i| self.bonds.duplicates[i]).collect(),
                names: keep.iter().map(|&i| self.bonds.names[i].clone()).collect(),
            },
            ..self.shallow()
        }
    }

    /// Everything but the images.
    fn shallow(&self) -> Task {
        Task {
            images: Vec::new(),
            labels: Vec::new(),
            planes: Vec::new(),
            masks: None,
            bonds: Bonds::default(),
            name: self.name.clone(),
            classes: self.classes.clone(),
            dropped: self.dropped.clone(),
            notes: self.notes.clone(),
            preprocessing: self.preprocessing.clone(),
            ..*self
        }
    }

    /// SHA-256 over preprocessing, side, pixels and classes of all images in their order.
    pub fn digest(&self) -> String {
        let mut h = Sha256::new();
        h.update(self.preprocessing.as_bytes());
        h.update((self.side as u64).to_le_bytes());
        for (class, plane) in self.labels.iter().zip(self.planes.chunks(self.side * self.side)) {
            h.update((*class as u64).to_le_bytes());
            h.update(le_bytes(plane));
        }
        hex(&h.finalize())
    }

    /// Images and patients by class, in one line.
    pub fn describe(&self) -> String {
        let (images, patients) = self.counts();
        let class = |i: usize| format!("{} {} images of {} patients", self.classes[i], images[i], patients[i]);
        format!("{}: {}", self.name, (0..self.classes.len()).map(class).collect::<Vec<_>>().join(", "))
    }
}
