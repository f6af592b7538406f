//! The images of a run: from a folder or manifest, or synthetic; selected, decoded, divided.

use super::Options;
use crate::data::detl::{DetlOptions, Image, STAGE2_CLASSES, Selection};
use crate::data::detl_split::{Parts, SplitOptions};
use crate::data::phantom::{self, Phantom};
use crate::data::planes::{LoadOptions, Planes, load_planes};
use crate::data::split_file::Item;
use crate::data::table::{Dataset, OpenOptions};
use crate::error::{Error, Result};
use crate::eval::metrics_file::Dropped;
use crate::train::interrupt;
use std::path::PathBuf;

/// All images of a run.
pub struct Cohort {
    /// What the data is.
    pub name: String,
    /// Folder of the images; empty for synthetic ones.
    pub root: PathBuf,
    /// Data-A and Data-B.
    pub selection: Selection,
    /// Training, validation and test parts.
    pub parts: Parts,
    /// Decoded images by id.
    pub planes: Planes,
    /// Lesion masks by id, where the data has them.
    pub lesions: Option<Vec<Vec<u8>>>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
}

impl Cohort {
    /// Loads what `--data` names, or draws the synthetic cohort.
    ///
    /// # Errors
    /// [`Error::Data`], [`Error::Format`], [`Error::Io`] naming the file; [`Error::Usage`] when there are fewer patients
    /// than folds.
    pub fn load(options: &Options) -> Result<Cohort> {
        match &options.data {
            Some(path) => Cohort::from_files(options, path),
            None => Cohort::synthetic(options),
        }
    }

    fn from_files(o: &Options, path: &std::path::Path) -> Result<Cohort> {
        let data = Dataset::open(path, &OpenOptions { allow_missing: o.skip_bad, ..OpenOptions::default() })?;
        let draw = if o.smoke {
            DetlOptions { pretrain: o.source, normal: 40, pneumonia: 40, other: 36, seed: o.seed }
        } else {
            DetlOptions { pretrain: o.source, seed: o.seed, ..Default::default() }
        };
        let mut selection = Selection::draw(&data, &draw)?;
        if o.smoke {
            selection.stage1.truncate(160);
        }
        let files: Vec<PathBuf> = selection.images.iter().map(|i| i.file.clone()).collect();
        let load = LoadOptions {
            skip_bad: o.skip_bad,
            cache_dir: o.cache.as_deref(),
            progress: o.talk.talk().has_bars(),
            cancel: Some(interrupt::flag()),
            ..LoadOptions::default()
        };
        let planes = load_planes(&data.root, &files, o.side, &load)?;
        let bad: Vec<usize> = planes.bad.iter().map(|b| b.0).collect();
        let removed = selection.remove(&bad);
        let mut dropped: Vec<Dropped> =
            data.dropped.iter().map(|(reason, n)| Dropped { reason: reason.clone(), rows: *n as u64 }).collect();
        if removed > 0 {
            dropped.push(Dropped { reason: "damaged image (--skip-bad)".into(), rows: removed as u64 });
        }
        let name = format!("images below {}", path.file_name().unwrap_or(path.as_os_str()).to_string_lossy());
        Cohort::divided(o, name, data.root, selection, planes, None, dropped)
    }

    fn synthetic(o: &Options) -> Result<Cohort> {
        if !(phantom::MIN_SIDE..=phantom::MAX_SIDE).contains(&o.side) {
            let (a, b) = (phantom::MIN_SIDE, phantom::MAX_SIDE);
            return Err(Error::Usage(format!("--side {}: synthetic radiographs have {a} to {b} pixels", o.side)));
        }
        let [first, second] = o.patients();
        let stage1 = phantom::generate_binary(o.seed, first, o.side);
        let stage2 = phantom::generate(o.seed, second, o.side);
        let count = stage2.len();
        let item = |offset: usize| move |(i, p): (usize, &Phantom)| (offset + i, p.class);
        let items2: Vec<Item> = stage2.iter().enumerate().map(item(0)).collect();
        let items1: Vec<Item> = stage1.iter().enumerate().map(item(count)).collect();
        let all: Vec<Phantom> = stage2.into_iter().chain(stage1).collect();
        let image = |(i, p): (usize, &Phantom)| Image {
            file: format!("synthetic/{i:05}").into(),
            source: "synthetic".into(),
            group: p.patient as usize,
        };
        let selection = Selection {
            images: all.iter().enumerate().map(image).collect(),
            stage1_classes: phantom::BINARY_CLASSES,
            stage1: items1,
            stage2: items2,
            notes: Vec::new(),
        };
        let planes = Planes {
            side: o.side,
            data: all.iter().flat_map(|p| p.pixels.iter().copied()).collect(),
            sizes: vec![(o.side as u32, o.side as u32); all.len()],
            ..Default::default()
        };
        let masks = all.iter().map(|p| p.lesion.iter().map(|b| u8::from(*b)).collect()).collect();
        let name = "synthetic chest radiographs (built in)".into();
        Cohort::divided(o, name, PathBuf::new(), selection, planes, Some(masks), Vec::new())
    }

    fn divided(
        o: &Options,
        name: String,
        root: PathBuf,
        selection: Selection,
        planes: Planes,
        lesions: Option<Vec<Vec<u8>>>,
        dropped: Vec<Dropped>,
    ) -> Result<Cohort> {
        let split = SplitOptions { folds: o.folds(), by: o.split, seed: o.seed, ..Default::default() };
        let parts = selection.split(&split)?;
        Ok(Cohort { name, root, selection, parts, planes, lesions, dropped })
    }

    /// The whole account of the data for people.
    pub fn account(&self) -> String {
        let sizes = self.lesions.is_none().then_some(self.planes.sizes.as_slice());
        let dropped: String = self.dropped.iter().map(|d| format!("left out: {} × {}\n", d.rows, d.reason)).collect();
        format!("{}\n{}{dropped}", self.name, self.selection.summary(Some(&self.parts), sizes))
    }

    /// SHA-256 over all planes and labels that are used.
    pub fn digest(&self) -> String {
        let items: Vec<Item> = self.selection.stage1.iter().chain(&self.selection.stage2).copied().collect();
        self.planes.digest(&items)
    }

    /// Source of every Data-B image with its class, for tables.
    pub fn sources(&self) -> impl Iterator<Item = (usize, &str)> {
        self.selection.stage2.iter().map(|(id, class)| (*class, self.selection.images[*id].source.as_str()))
    }

    /// Images and patients of every class of Data-B.
    pub fn counts(&self) -> (Vec<u64>, Vec<u64>) {
        let of =
            |class: usize| -> Vec<Item> { self.selection.stage2.iter().copied().filter(|i| i.1 == class).collect() };
        let classes = 0..STAGE2_CLASSES.len();
        let images = classes.clone().map(|c| of(c).len() as u64).collect();
        (images, classes.map(|c| self.selection.patients(&of(c)) as u64).collect())
    }
}
