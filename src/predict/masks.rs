//! Masks of lungs beside the images: a folder of pictures of the same file stems.

use super::inputs::images;
use super::stream::reason;
use crate::data::decode::{Plane, decode};
use crate::data::planes::{Preprocessing, read_image};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Which file is the mask of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masks {
    files: BTreeMap<std::ffi::OsString, PathBuf>,
}

impl Masks {
    /// The masks of `files` in `dir` and below it, by file stem.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such folder; [`Error::Data`] when it has no picture, two for one stem of `files`, or
    /// none for any of them; [`Error::Io`].
    pub fn open(dir: &Path, files: &[PathBuf]) -> Result<Masks> {
        let wanted: HashSet<&OsStr> = files.iter().filter_map(|f| f.file_stem()).collect();
        let mut masks: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
        for path in images(&[dir.to_path_buf()])? {
            let Some(stem) = path.file_stem().filter(|s| wanted.contains(s)) else { continue };
            if let Some(other) = masks.insert(stem.to_os_string(), path.clone()) {
                return Err(Error::Data(format!(
                    "{} and {} are both masks of images named '{}'",
                    other.display(),
                    path.display(),
                    stem.to_string_lossy()
                )));
            }
        }
        if masks.is_empty() {
            let (n, dir) = (files.len(), dir.display());
            return Err(Error::Data(format!(
                "{dir}: no mask has the file stem of any of the {n} images, as in masks/7.png for images/7.png"
            )));
        }
        Ok(Masks { files: masks })
    }

    /// The mask of the image `path` at `side` x `side` (1 is inside): squeezed like the image, a pixel is inside where most of
    /// it was. Inside is what has at least half of the mask's largest value, whether that is 1 or 255. `None` where there is
    /// no mask of that stem, or where it is empty.
    pub(super) fn find(&self, path: &Path, side: usize) -> std::result::Result<Option<Vec<u8>>, String> {
        let Some(file) = path.file_stem().and_then(|stem| self.files.get(stem)) else { return Ok(None) };
        let named = |e: String| format!("its mask {}: {e}", file.display());
        let read = || -> std::result::Result<Vec<u8>, String> {
            let plane = decode(&read_image(file)?, file).map_err(reason)?;
            let most = plane.data.iter().fold(0.0f32, |a, v| a.max(*v));
            let inside = |v: &f32| if most > 0.0 && *v >= 0.5 * most { 1.0 } else { 0.0 };
            let plane = Plane { data: plane.data.iter().map(inside).collect(), ..plane };
            let square = Preprocessing::default().square(&plane, side).map_err(reason)?;
            Ok(square.iter().map(|v| u8::from(*v >= 0.5)).collect())
        };
        let mask = read().map_err(named)?;
        Ok(mask.contains(&1).then_some(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_found_by_its_stem_and_squeezed_like_its_image() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("m")).unwrap();
        for (name, value) in [("a.png", 255u8), ("b.png", 1), ("c.png", 0)] {
            // The left half is inside, whatever value says so.
            image::GrayImage::from_fn(32, 16, |x, _| image::Luma([if x < 16 { value } else { 0 }]))
                .save(at("m").join(name))
                .unwrap();
        }
        let files = ["x/a.jpg", "x/b.png", "x/c.png", "x/d.png"].map(PathBuf::from);
        let masks = Masks::open(&at("m"), &files).unwrap();
        let half: Vec<u8> = (0..64).map(|i| u8::from(i % 8 < 4)).collect();
        assert_eq!(masks.find(&files[0], 8).unwrap(), Some(half.clone()));
        assert_eq!(masks.find(&files[1], 8).unwrap(), Some(half));
        assert_eq!((masks.find(&files[2], 8).unwrap(), masks.find(&files[3], 8).unwrap()), (None, None));
        std::fs::write(at("m/b.png"), b"").unwrap();
        let e = masks.find(&files[1], 8).unwrap_err();
        assert!(e.contains("its mask") && e.contains("empty file"), "{e}");
        let none = Masks::open(&at("m"), &files[3..]).unwrap_err();
        assert!(none.exit_code() == 5 && none.to_string().contains("file stem"), "{none}");
        std::fs::copy(at("m/a.png"), at("m/a.jpg")).unwrap();
        assert!(Masks::open(&at("m"), &files).unwrap_err().to_string().contains("both masks"));
        assert_eq!(Masks::open(&at("gone"), &files).unwrap_err().exit_code(), 2);
    }
}
