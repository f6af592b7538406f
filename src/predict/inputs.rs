//! Which image files are meant: files as named, folders with all that is in and below them.

use crate::data::decode::has_image_name;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The files that `paths` name: a file whatever it is called, of a folder every PNG, JPEG and DICOM file below it by name. Links to folders
/// inside a folder are not followed: they may go round in circles.
///
/// # Errors
/// [`Error::Usage`] for a path that does not exist; [`Error::Data`] for a folder without images; [`Error::Io`].
pub fn images(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
        if !meta.is_dir() {
            all.push(path.clone());
            continue;
        }
        let before = all.len();
        walk(path, &mut all)?;
        if all.len() == before {
            return Err(Error::Data(format!(
                "{}: no PNG, JPEG or DICOM file in this folder or below it",
                path.display()
            )));
        }
    }
    Ok(all)
}

fn walk(dir: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = std::fs::read_dir(dir)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .map_err(Error::io(dir, "cannot read the folder"))?;
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        if is_dir {
            walk(&path, all)?;
        } else if has_image_name(&path) {
            all.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_in_order_and_other_files_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/c")).unwrap();
        for name in ["z.PNG", "a.jpg", "b/2.jpeg", "b/c/1.png", "c.DCM", "b/c/3.dcm", "notes.txt", "b/table.csv"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/circle")).unwrap();
        let found = images(&[dir.path().join("notes.txt"), dir.path().to_path_buf()]).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string()).collect();
        assert_eq!(names, ["notes.txt", "a.jpg", "b/2.jpeg", "b/c/1.png", "b/c/3.dcm", "c.DCM", "z.PNG"]);
        assert_eq!(images(&[dir.path().join("gone.png")]).unwrap_err().exit_code(), 2);
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert_eq!(images(&[dir.path().join("empty")]).unwrap_err().exit_code(), 5);
    }
}
