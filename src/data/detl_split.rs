//! Dividing Data-A and Data-B into the parts of both stages, and writing them down.

use crate::data::detl::{STAGE2_CLASSES, Selection};
use crate::data::split::{Balanced, Fold, SplitBy, balanced_holdout, cross_validation, rng};
use crate::data::split_file::{FORMAT, Item, SplitFile, SplitFold, SplitImage, Stage1, Stage2};
use crate::error::Result;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// How the selection is divided.
#[derive(Clone, Copy, Debug)]
pub struct SplitOptions {
    /// Folds of stage 2.
    pub folds: usize,
    /// By patient or by image (stage 2 only; stage 1 is always by patient).
    pub by: SplitBy,
    /// Part of the smaller class of Data-A, of each class, that validates stage 1.
    pub stage1_val: f64,
    /// Part of a fold's non-test images that validates stage 2.
    pub stage2_val: f64,
    /// Seed.
    pub seed: u64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        SplitOptions { folds: 5, by: SplitBy::Patient, stage1_val: 0.2, stage2_val: 0.15, seed: 1 }
    }
}

/// The parts of both stages, as items `(id, class)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Stage 1, training.
    pub train1: Vec<Item>,
    /// Stage 1, validation (balanced).
    pub val1: Vec<Item>,
    /// Data-A images of validation patients that balance left over.
    pub unused1: Vec<Item>,
    /// Folds of stage 2: training, validation, test.
    pub folds: Vec<[Vec<Item>; 3]>,
}

impl Selection {
    /// Takes damaged images out of both stages; ids of the others stay. Returns how many items went.
    pub fn remove(&mut self, ids: &[usize]) -> usize {
        let bad: HashSet<usize> = ids.iter().copied().collect();
        let before = self.stage1.len() + self.stage2.len();
        self.stage1.retain(|(id, _)| !bad.contains(id));
        self.stage2.retain(|(id, _)| !bad.contains(id));
        before - self.stage1.len() - self.stage2.len()
    }

    fn columns(&self, items: &[Item]) -> (Vec<usize>, Vec<usize>) {
        items.iter().map(|&(id, class)| (class, self.images[id].group)).unzip()
    }

    /// Divides both stages.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] and [`crate::Error::Data`] as [`cross_validation`] and [`balanced_holdout`]: too few patients, a class
    /// without images.
    pub fn split(&self, o: &SplitOptions) -> Result<Parts> {
        let (labels, groups) = self.columns(&self.stage1);
        let mut r = rng(o.seed, "stage 1 validation");
        let Balanced { train, val, unused } =
            balanced_holdout(&labels, &groups, &self.stage1_classes, o.stage1_val, &mut r)?;
        let pick = |items: &[Item], part: Vec<usize>| part.into_iter().map(|i| items[i]).collect::<Vec<_>>();
        let (labels, groups) = self.columns(&self.stage2);
        let folds = cross_validation(&labels, &groups, &STAGE2_CLASSES, (o.folds, o.by, o.stage2_val), o.seed)?;
        let fold = |f: Fold| [f.train, f.val, f.test].map(|p| pick(&self.stage2, p));
        Ok(Parts {
            train1: pick(&self.stage1, train),
            val1: pick(&self.stage1, val),
            unused1: pick(&self.stage1, unused),
            folds: folds.into_iter().map(fold).collect(),
        })
    }

    /// The fold file of these parts; groups are renumbered in order of appearance.
    pub fn split_file(&self, parts: &Parts, root: &Path, side: usize, seed: u64) -> SplitFile {
        let named: HashSet<usize> = self.stage1.iter().chain(&self.stage2).map(|&(id, _)| id).collect();
        let mut number = BTreeMap::new();
        let mut images = Vec::new();
        for (id, image) in self.images.iter().enumerate().filter(|(id, _)| named.contains(id)) {
            let next = number.len() as u64;
            let group = *number.entry(image.group).or_insert(next);
            let file = image.file.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join("/");
            images.push(SplitImage { id, file, source: image.source.clone(), group });
        }
        let names = |c: &[&str]| c.iter().map(|s| s.to_string()).collect();
        let folds = parts.folds.iter().cloned().map(|[train, val, test]| SplitFold { train, val, test }).collect();
        SplitFile {
            format: FORMAT.into(),
            root: root.to_string_lossy().into_owned(),
            side,
            seed,
            images,
            stage1: Stage1 {
                classes: names(&self.stage1_classes),
                train: parts.train1.clone(),
                val: parts.val1.clone(),
            },
            stage2: Stage2 { classes: names(&STAGE2_CLASSES), folds },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::detl::tests::{options, world};

    #[test]
    fn damaged_images_leave_both_stages() {
        let mut s = Selection::draw(&world(), &options()).unwrap();
        let (a, b) = (s.stage1[0].0, s.stage2[0].0);
        assert_eq!(s.remove(&[a, b, 100_000]), 2);
        let parts = s.split(&SplitOptions { folds: 2, ..SplitOptions::default() }).unwrap();
        let file = s.split_file(&parts, Path::new("r"), 64, 1);
        assert!(file.images.iter().all(|i| i.id != a && i.id != b));
        let text = s.summary(Some(&parts), None);
        assert!(text.contains("Data-B: 118 images") && text.contains("warning: Class coincides"), "{text}");
        let e = s.split(&SplitOptions { folds: 50, ..SplitOptions::default() }).unwrap_err();
        assert!(e.to_string().contains("fewer than 50 folds") && e.exit_code() == 2, "{e}");
    }
}
