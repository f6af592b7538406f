//! The file of a division: which image is where, why, and what was left out, as JSON that a PyTorch script reads too.
//!
//! It holds file names (NIH's contain patients' numbers), so it belongs beside the data and not into a report; reports
//! show its SHA-256.

use crate::data::audit::leak::{Division, Leak};
use crate::data::division::Parts;
use crate::data::file_name::slashed;
use crate::data::split_file::{self, SplitFile};
use crate::error::{Error, Result};
use crate::eval::Dropped;
use crate::files::{hex, write_atomic};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// The format tag.
pub const FORMAT: &str = "radiograd-folds-1";

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldFile {
    /// Always [`FORMAT`].
    pub format: String,
    /// "kfold", "holdout" or "leave-one-source-out".
    pub method: String,
    /// What was kept together: "patient+duplicates", "patient" or "image".
    pub group_by: String,
    /// Seed of the draws.
    pub seed: u64,
    /// Which images take part, in words.
    pub rules: Vec<String>,
    /// Images that do not, counted by reason.
    pub left_out: Vec<Dropped>,
    /// What crosses from one part into another.
    pub leaks: Vec<Leak>,
    /// Why that was allowed.
    pub leak_allowed: Option<String>,
    /// Class names; a class is an index into them.
    pub classes: Vec<String>,
    /// The images; parts speak of their positions here.
    pub images: Vec<FoldImage>,
    /// The folds.
    pub folds: Vec<Parts>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldImage {
    /// Path below the data's root, with `/`.
    pub file: String,
    /// Folder or manifest that it comes from.
    pub source: String,
    /// Index of its class.
    pub class: usize,
    /// What was kept together shares it; a number in this file and not the patient's.
    pub group: usize,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl FoldFile {
    /// Writes the file (atomically) and returns its SHA-256, for checkpoints and reports.
    ///
    /// # Errors
    /// [`Error::Io`] naming `path`.
    pub fn write(&self, path: &Path) -> Result<String> {
        let text = self.text()?;
        write_atomic(path, text.as_bytes())?;
        Ok(hex(&Sha256::digest(text.as_bytes())))
    }

    /// SHA-256 of the file that [`FoldFile::write`] writes.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn sha256(&self) -> Result<String> {
        Ok(hex(&Sha256::digest(self.text()?.as_bytes())))
    }

    fn text(&self) -> Result<String> {
        let mut text = serde_json::to_string(self).map_err(|e| Error::Internal(format!("file of folds: {e}")))?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a file and checks that it is consistent (not that it is free of leaks).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] when it is no such file, or names an image, a class or a part twice or none.
    pub fn read(path: &Path) -> Result<FoldFile> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
        let file: FoldFile = serde_json::from_slice(&bytes).map_err(|e| Error::format(path, e))?;
        if file.format != FORMAT {
            return Err(Error::format(path, format!("format {:?}; {FORMAT:?} is needed", file.format)));
        }
        let mut seen = HashMap::new();
        for (i, image) in file.images.iter().enumerate() {
            if image.class >= file.classes.len() {
                return Err(Error::format(path, format!("image {i}: class {} of {}", image.class, file.classes.len())));
            }
            if let Some(j) = seen.insert(&image.file, i) {
                return Err(Error::format(path, format!("images {j} and {i} are one file")));
            }
        }
        for fold in &file.folds {
            let mut used = vec![false; file.images.len()];
            for &i in [&fold.train, &fold.val, &fold.test, &fold.unused].into_iter().flatten() {
                match used.get_mut(i) {
                    Some(u) if !*u => *u = true,
                    Some(_) => return Err(Error::format(path, format!("{}: image {i} is in two parts", fold.name))),
                    None => return Err(Error::format(path, format!("{}: there is no image {i}", fold.name))),
                }
            }
        }
        Ok(file)
    }

    /// The folds as divisions of a data set of `n` images in which `position` finds a file; and how many images of the
    /// file the data set does not have.
    fn divisions(&self, position: &HashMap<String, usize>, n: usize) -> (Vec<Division>, usize) {
        let place: Vec<Option<usize>> = self.images.iter().map(|i| position.get(&i.file).copied()).collect();
        let one = |fold: &Parts| {
            let mut part_of = vec![None; n];
            for (part, items) in [&fold.train, &fold.val, &fold.test].into_iter().enumerate() {
                items.iter().filter_map(|&i| place[i]).for_each(|i| part_of[i] = Some(part));
            }
            Division { name: fold.name.clone(), parts: PARTS.map(String::from).to_vec(), part_of }
        };
        (self.folds.iter().map(one).collect(), place.iter().filter(|p| p.is_none()).count())
    }
}

const PARTS: [&str; 3] = ["training", "validation", "test"];

/// Divisions of a data set whose files lie at `position`, from a file of either format: what `data split` writes, or
/// the folds of the DETL protocol.
///
/// # Errors
/// As [`FoldFile::read`] and [`SplitFile::read`]; [`Error::Data`] when the data set lacks images of the file.
pub fn read_divisions(path: &Path, position: &HashMap<String, usize>, n: usize) -> Result<Vec<Division>> {
    #[derive(Deserialize)]
    struct Tag {
        format: String,
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
    let tag: Tag = serde_json::from_slice(&bytes)
        .map_err(|e| Error::format(path, format!("no file of folds, as data split writes it: {e}")))?;
    let (divisions, missing) = match tag.format.as_str() {
        FORMAT => FoldFile::read(path)?.divisions(position, n),
        split_file::FORMAT => stages(&SplitFile::read(path)?, position, n),
        other => {
            let m = format!("format {other:?}; {FORMAT:?} or {:?} is needed", split_file::FORMAT);
            return Err(Error::format(path, m));
        }
    };
    if missing > 0 {
        let m = format!("{missing} of its images are not in the data; was it made for the same folder?");
        return Err(Error::Data(format!("{}: {m}", path.display())));
    }
    Ok(divisions)
}

/// The divisions of the DETL protocol: within stage 1, within each fold, and stage 1 against each fold.
fn stages(file: &SplitFile, position: &HashMap<String, usize>, n: usize) -> (Vec<Division>, usize) {
    let place: HashMap<usize, Option<usize>> =
        file.images.iter().map(|i| (i.id, position.get(&slashed(Path::new(&i.file))).copied())).collect();
    let division = |name: String, parts: &[(&str, Vec<&[split_file::Item]>)]| {
        let mut part_of = vec![None; n];
        for (p, (_, items)) in parts.iter().enumerate() {
            let ids = items.iter().flat_map(|i| i.iter()).map(|(id, _)| *id);
            ids.filter_map(|id| place.get(&id).copied().flatten()).for_each(|i| part_of[i] = Some(p));
        }
        Division { name, parts: parts.iter().map(|(name, _)| name.to_string()).collect(), part_of }
    };
    let s1 = &file.stage1;
    let mut all = vec![division("stage 1".into(), &[("training", vec![&s1.train]), ("validation", vec![&s1.val])])];
    for (k, f) in file.stage2.folds.iter().enumerate() {
        let parts = [("training", vec![&f.train[..]]), ("validation", vec![&f.val[..]]), ("test", vec![&f.test[..]])];
        all.push(division(format!("fold {}", k + 1), &parts));
        let both = [("stage 1", vec![&s1.train[..], &s1.val]), ("stage 2", vec![&f.train[..], &f.val, &f.test])];
        all.push(division(format!("stage 1 and fold {}", k + 1), &both));
    }
    (all, place.values().filter(|p| p.is_none()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> FoldFile {
        let image = |k: usize| FoldImage {
            file: format!("a/{k}.png"),
            source: "a".into(),
            class: k % 2,
            group: k,
            sha256: "00".into(),
        };
        FoldFile {
            format: FORMAT.into(),
            method: "kfold".into(),
            group_by: "patient".into(),
            seed: 1,
            rules: vec!["laterals out".into()],
            left_out: Vec::new(),
            leaks: Vec::new(),
            leak_allowed: None,
            classes: vec!["x".into(), "y".into()],
            images: (0..4).map(image).collect(),
            folds: vec![Parts {
                name: "fold 1".into(),
                train: vec![0, 1],
                val: vec![2],
                test: vec![3],
                unused: Vec::new(),
            }],
        }
    }

    #[test]
    fn round_trip_digest_and_divisions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folds.json");
        let digest = small().write(&path).unwrap();
        assert_eq!(digest, small().sha256().unwrap());
        assert_eq!(FoldFile::read(&path).unwrap(), small());
        let position: HashMap<String, usize> = (0..5).map(|k| (format!("a/{k}.png"), 4 - k)).collect();
        let d = read_divisions(&path, &position, 5).unwrap();
        assert_eq!(d[0].part_of, [None, Some(2), Some(1), Some(0), Some(0)]);
        let e = read_divisions(&path, &HashMap::new(), 5).unwrap_err();
        assert!(e.exit_code() == 5 && e.to_string().contains("4 of its images"), "{e}");
    }

    #[test]
    fn the_detl_protocol_is_read_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.json");
        let json = serde_json::json!({"format": split_file::FORMAT, "root": "d", "side": 64, "seed": 1,
            "images": (0..4).map(|k| serde_json::json!({"id": k, "file": format!("{k}"), "source": "a", "group": k})).collect::<Vec<_>>(),
            "stage1": {"classes": ["n", "d"], "train": [[0, 0]], "val": []},
            "stage2": {"classes": ["n"], "folds": [{"train": [[1, 0]], "val": [[2, 0]], "test": [[3, 0]]}]}});
        std::fs::write(&path, json.to_string()).unwrap();
        let position: HashMap<String, usize> = (0..4).map(|k| (k.to_string(), k)).collect();
        let d = read_divisions(&path, &position, 4).unwrap();
        assert_eq!(d.len(), 3);
        assert_eq!(d[1].part_of, [None, Some(0), Some(1), Some(2)]);
        assert_eq!(d[2].part_of, [Some(0), Some(1), Some(1), Some(1)]);
    }

    #[test]
    fn inconsistent_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folds.json");
        let bad: [fn(&mut FoldFile); 5] = [
            |f| f.format = "x".into(),
            |f| f.images[1].file = "a/0.png".into(),
            |f| f.images[1].class = 2,
            |f| f.folds[0].val = vec![0],
            |f| f.folds[0].val = vec![4],
        ];
        for change in bad {
            let mut f = small();
            change(&mut f);
            f.write(&path).unwrap();
            assert_eq!(FoldFile::read(&path).unwrap_err().exit_code(), 5);
        }
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(read_divisions(&path, &HashMap::new(), 0).unwrap_err().exit_code(), 5);
    }
}
