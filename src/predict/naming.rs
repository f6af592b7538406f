//! What the pictures of images are called: file names can hold patient numbers (those of NIH do), so that pictures have
//! hashes for names unless the user wants the real ones.

use crate::data::file_name::{hashed_name, slashed};
use crate::error::{Error, Result};
use crate::files::AtomicFile;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Most letters of a file's own name in the name of its picture.
const LETTERS: usize = 80;

/// How the pictures of a list of images are called.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    given: Vec<PathBuf>,
    digits: usize,
    show_names: bool,
}

impl Naming {
    /// Names for `total` images that were found under the paths `given`; real ones with `show_names`.
    pub fn new(given: &[PathBuf], total: usize, show_names: bool) -> Naming {
        Naming { given: given.to_vec(), digits: total.to_string().len().max(4), show_names }
    }

    /// The name that a person reads: `img-` and 12 digits, the same that `data audit` has for the image in the same
    /// folder, or its path.
    pub fn label(&self, path: &Path, sha256: &[u8; 32]) -> String {
        if self.show_names { path.display().to_string() } else { hashed_name(Some(sha256), self.below(path)) }
    }

    /// The path for a caption; none where names are hidden.
    pub fn shown(&self, path: &Path) -> Option<String> {
        self.show_names.then(|| path.display().to_string())
    }

    /// The beginning of the names of image `number`'s files: `0007-` and the 12 digits, or the file's own name, without what
    /// a link or a shell would stumble over.
    pub fn stem(&self, number: usize, path: &Path, sha256: &[u8; 32]) -> String {
        let digits = self.digits;
        let name = if self.show_names {
            let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
            path.file_stem().map(|s| s.to_string_lossy().chars().map(plain).take(LETTERS).collect()).unwrap_or_default()
        } else {
            hashed_name(Some(sha256), self.below(path)).trim_start_matches("img-").to_string()
        };
        format!("{number:0digits$}-{name}")
    }

    /// The path below the folder that the user named; the file's name where they named the file.
    fn below<'p>(&self, path: &'p Path) -> &'p Path {
        let rest = self.given.iter().find_map(|g| path.strip_prefix(g).ok().filter(|rest| !slashed(rest).is_empty()));
        rest.or_else(|| path.file_name().map(Path::new)).unwrap_or(path)
    }
}

/// Checks that pictures can be written into `dir`, and that none of `files` lies there: a picture of an earlier run is no
/// radiograph. Nothing is left behind.
///
/// # Errors
/// [`Error::Usage`] for an image in `dir`; [`Error::Io`] when nothing can be written there.
pub(super) fn check_folder(dir: &Path, option: &str, files: &[PathBuf]) -> Result<()> {
    drop(AtomicFile::create(&dir.join(".radiograd"))?);
    let Ok(real) = dir.canonicalize() else { return Ok(()) }; // it is not there yet
    let mut seen = HashSet::new();
    for file in files {
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if seen.insert(parent) && parent.canonicalize().is_ok_and(|p| p.starts_with(&real)) {
            return Err(Error::Usage(format!(
                "{} lies in {}, where {option} would write: pictures of an earlier run are no radiographs; name another folder",
                file.display(),
                dir.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashes_unless_they_are_wanted() {
        let given = [PathBuf::from("."), PathBuf::from("set"), PathBuf::from("set/00001280_004.png")];
        let path = Path::new("set/sub/00001280_004.png");
        let hidden = Naming::new(&given[1..], 20_000, false);
        let stem = hidden.stem(7, path, &[1; 32]);
        assert!(stem.starts_with("00007-") && stem.len() == 18 && !stem.contains("1280"), "{stem}");
        let audit = hashed_name(Some(&[1; 32]), Path::new("sub/00001280_004.png"));
        assert_eq!(hidden.label(path, &[1; 32]), audit);
        assert!(stem.ends_with(&audit["img-".len()..]));
        assert_eq!(hidden.shown(path), None);
        // The file by itself, and a file of the current folder.
        let file = Naming::new(&given[2..], 1, false);
        let own = hashed_name(Some(&[1; 32]), Path::new("00001280_004.png"));
        assert_eq!(file.label(Path::new("set/00001280_004.png"), &[1; 32]), own);
        let here = Naming::new(&given[..1], 1, false);
        assert_eq!(here.label(Path::new("./00001280_004.png"), &[1; 32]), own);
        let shown = Naming::new(&given, 20, true);
        assert_eq!(shown.stem(7, Path::new("a/x#1 \"b\"?.v2.png"), &[1; 32]), "0007-x_1__b__.v2");
        assert_eq!(shown.label(path, &[1; 32]), "set/sub/00001280_004.png");
        assert_eq!(shown.stem(1, Path::new(&"a".repeat(300)), &[0; 32]).len(), 5 + LETTERS);
    }

    #[test]
    fn pictures_do_not_go_where_images_lie() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("out/0001-a.png");
        let out = dir.path().join("out");
        check_folder(&out, "--out", &[dir.path().join("a.png")]).unwrap();
        assert!(!out.exists(), "a check leaves nothing");
        std::fs::create_dir(&out).unwrap();
        std::fs::write(&image, b"x").unwrap();
        let e = check_folder(&out, "--out", &[dir.path().join("a.png"), image.clone()]).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains("0001-a.png"), "{e}");
        assert_eq!(check_folder(&image, "--out", &[]).unwrap_err().exit_code(), 1, "a file is no folder");
    }
}
