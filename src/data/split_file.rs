//! The fold file: which image is where, as JSON that a PyTorch script reads too.
//!
//! It holds file names (NIH's contain patient numbers), so it belongs beside the data and not into a report. A group is
//! an index in this file and not the patient's number.

use crate::error::{Error, Result};
use crate::files::write_atomic;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The format tag.
pub const FORMAT: &str = "radiograd-split-1";

/// An item of a part: `(image id, class)`.
pub type Item = (usize, usize);

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFile {
    /// Always [`FORMAT`].
    pub format: String,
    /// Folder to which the files are relative.
    pub root: String,
    /// Side in pixels that the run used.
    pub side: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// The images that the parts speak of.
    pub images: Vec<SplitImage>,
    /// Pre-training.
    pub stage1: Stage1,
    /// Cross-validation.
    pub stage2: Stage2,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitImage {
    /// Number by which the parts name it.
    pub id: usize,
    /// Path below the root, with `/`.
    pub file: String,
    /// Folder or manifest that it comes from.
    pub source: String,
    /// Images of one patient share it.
    pub group: u64,
}

/// Pre-training: two classes, training and validation part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage1 {
    /// Class names; a class is an index into them.
    pub classes: Vec<String>,
    /// To train on.
    pub train: Vec<Item>,
    /// To choose the best weights on.
    pub val: Vec<Item>,
}

/// Cross-validation: four classes, folds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage2 {
    /// Class names; a class is an index into them.
    pub classes: Vec<String>,
    /// The folds.
    pub folds: Vec<SplitFold>,
}

/// One fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFold {
    /// To train on.
    pub train: Vec<Item>,
    /// To choose the best weights on.
    pub val: Vec<Item>,
    /// To report on.
    pub test: Vec<Item>,
}

impl SplitFile {
    /// Writes the file (atomically).
    ///
    /// # Errors
    /// [`Error::Io`] naming `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec(self).map_err(|e| Error::Internal(format!("fold file: {e}")))?;
        json.push(b'\n');
        write_atomic(path, &json)
    }

    /// Reads a file and checks that it is consistent (not that it is free of leaks: see [`SplitFile::leaks`]).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] when it is no such file, names unknown ids or classes, or an id twice in a fold.
    pub fn read(path: &Path) -> Result<SplitFile> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
        let file: SplitFile = serde_json::from_slice(&bytes).map_err(|e| Error::format(path, e))?;
        if file.format != FORMAT {
            return Err(Error::format(path, format!("format {:?}; {FORMAT:?} is needed", file.format)));
        }
        let ids: HashSet<usize> = file.images.iter().map(|i| i.id).collect();
        if ids.len() != file.images.len() {
            return Err(Error::format(path, "an image id is there twice"));
        }
        for (what, classes, parts) in file.parts() {
            let mut seen = HashSet::new();
            for &(id, class) in parts.iter().flat_map(|p| p.iter()) {
                if !ids.contains(&id) || class >= classes || !seen.insert(id) {
                    let m = format!("{what}: [{id}, {class}] is unknown, of no class, or there twice");
                    return Err(Error::format(path, m));
                }
            }
        }
        Ok(file)
    }

    /// Every set of parts that must be disjoint: name, number of classes, parts (the last is the held-out one).
    fn parts(&self) -> Vec<(String, usize, Vec<&[Item]>)> {
        let s1 = &self.stage1;
        let mut all = vec![("stage 1".to_string(), s1.classes.len(), vec![s1.train.as_slice(), &s1.val])];
        for (i, f) in self.stage2.folds.iter().enumerate() {
            all.push((format!("fold {i}"), self.stage2.classes.len(), vec![f.train.as_slice(), &f.val, &f.test]));
        }
        all
    }

    /// Groups that are in two parts which must not share one: within stage 1, within a fold, and between stage 1 and any
    /// fold. Empty for a split by patient.
    pub fn leaks(&self) -> Vec<String> {
        let group: HashMap<usize, u64> = self.images.iter().map(|i| (i.id, i.group)).collect();
        let set = |part: &[Item]| part.iter().filter_map(|(id, _)| group.get(id).copied()).collect::<HashSet<u64>>();
        let mut leaks = Vec::new();
        let mut compare = |what: String, a: &HashSet<u64>, b: &HashSet<u64>| {
            let n = a.intersection(b).count();
            if n > 0 {
                leaks.push(format!("{what}: {n} patients in both"));
            }
        };
        let names = ["training", "validation", "test"];
        let mut first = HashSet::new();
        for (stage, (what, _, parts)) in self.parts().into_iter().enumerate() {
            let sets: Vec<HashSet<u64>> = parts.iter().map(|p| set(p)).collect();
            for i in 0..sets.len() {
                for j in i + 1..sets.len() {
                    compare(format!("{what}, {} and {}", names[i], names[j]), &sets[i], &sets[j]);
                }
            }
            let all: HashSet<u64> = sets.into_iter().flatten().collect();
            if stage == 0 {
                first = all;
            } else {
                compare(format!("stage 1 and {what}"), &first, &all);
            }
        }
        leaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> SplitFile {
        let image = |id, group| SplitImage { id, file: format!("a/{id}.png"), source: "a".into(), group };
        SplitFile {
            format: FORMAT.into(),
            root: "data".into(),
            side: 64,
            seed: 1,
            images: (0..6).map(|i| image(i, i as u64)).collect(),
            stage1: Stage1 { classes: vec!["n".into(), "d".into()], train: vec![(0, 0)], val: vec![(1, 1)] },
            stage2: Stage2 {
                classes: vec!["n".into(), "p".into()],
                folds: vec![SplitFold { train: vec![(2, 0), (3, 1)], val: vec![(4, 0)], test: vec![(5, 1)] }],
            },
        }
    }

    #[test]
    fn round_trip_in_the_stated_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.json");
        small().write(&path).unwrap();
        assert_eq!(SplitFile::read(&path).unwrap(), small());
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["stage2"]["folds"][0]["train"][1], serde_json::json!([3, 1]));
        assert_eq!(json["images"][5], serde_json::json!({"id": 5, "file": "a/5.png", "source": "a", "group": 5}));
    }

    #[test]
    fn inconsistent_files_and_leaks_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.json");
        let bad: [fn(&mut SplitFile); 5] = [
            |s| s.format = "x".into(),
            |s| s.images[1].id = 0,
            |s| s.stage1.val[0].0 = 99,
            |s| s.stage1.val[0].1 = 2,
            |s| s.stage2.folds[0].test[0].0 = 2,
        ];
        for change in bad {
            let mut s = small();
            change(&mut s);
            s.write(&path).unwrap();
            assert_eq!(SplitFile::read(&path).unwrap_err().exit_code(), 5);
        }
        std::fs::write(&path, "{").unwrap();
        assert_eq!(SplitFile::read(&path).unwrap_err().exit_code(), 5);
        assert!(small().leaks().is_empty());
        let mut s = small();
        s.images[5].group = 3;
        s.images[0].group = 4;
        assert_eq!(
            s.leaks(),
            ["fold 0, training and test: 1 patients in both", "stage 1 and fold 0: 1 patients in both"]
        );
    }
}
