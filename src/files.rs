//! Writing files so that nobody ever sees half of one: a temporary name in the same folder, then a rename.

use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The files that were told, where they are told.
static TOLD: Mutex<Option<BTreeSet<PathBuf>>> = Mutex::new(None);

/// From now on each file that is written is told on standard error, once. For programs (`--verbose`), not for libraries.
pub fn tell_written() {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

/// Tells a file that is there now, if files are told and this one was not yet.
pub(crate) fn written(path: &Path) {
    if let Some(told) = TOLD.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        && told.insert(path.to_path_buf())
    {
        eprintln!("wrote {}", path.display());
    }
}

/// Writes `bytes` to `path` atomically: a temporary file in the same folder is written, flushed to disk and renamed.
///
/// # Errors
/// [`Error::Io`] naming `path` when the folder cannot be made, the disk is full or the rename fails; an existing file
/// at `path` is then left as it was and the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(d) if !d.as_os_str().is_empty() => d,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(dir).map_err(Error::io(dir, "cannot create the folder"))?;
    let mut tmp = tempfile::Builder::new()
        .prefix(".radiograd-")
        .tempfile_in(dir)
        .map_err(Error::io(path, "cannot create a temporary file beside it"))?;
    tmp.write_all(bytes).map_err(Error::io(path, "cannot write"))?;
    rename(tmp, path)
}

/// Flushes a temporary file to disk and gives it its name.
fn rename(tmp: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    tmp.as_file().sync_all().map_err(Error::io(path, "cannot write to disk"))?;
    #[cfg(unix)]
    {
        // tempfile makes files private (0600); results are meant to be shared like any other file.
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        tmp.as_file().set_permissions(mode).map_err(Error::io(path, "cannot set permissions"))?;
    }
    tmp.persist(path).map_err(|e| Error::Io {
        path: path.to_path_buf(),
        action: "cannot rename into place",
        source: e.error,
    })?;
    written(path);
    Ok(())
}

/// A file that grows under a temporary name and appears at its place when it is complete; dropped before, it leaves nothing.
pub struct AtomicFile {
    file: std::io::BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins a file for `path`, in the nearest folder above it that exists: a missing folder is made by
    /// [`AtomicFile::commit`] only.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing can be written there: below a file, without permission, or where a folder stands.
    pub fn create(path: &Path) -> Result<AtomicFile> {
        let absolute = std::path::absolute(path).map_err(Error::io(path, "cannot write"))?;
        let no = |kind: std::io::ErrorKind| Error::io(path, "cannot write")(kind.into());
        if absolute.is_dir() {
            return Err(no(std::io::ErrorKind::IsADirectory));
        }
        let above = absolute.ancestors().skip(1).find(|a| std::fs::symlink_metadata(a).is_ok());
        let above = above.ok_or_else(|| no(std::io::ErrorKind::NotFound))?;
        if !above.is_dir() {
            return Err(no(std::io::ErrorKind::NotADirectory));
        }
        let tmp = tempfile::Builder::new()
            .prefix(".radiograd-")
            .tempfile_in(above)
            .map_err(Error::io(path, "cannot create a temporary file for it"))?;
        Ok(AtomicFile { file: std::io::BufWriter::new(tmp), path: absolute })
    }

    /// The file appears.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left then, and a file that was there stays as it was.
    pub fn commit(self) -> Result<()> {
        let path = &self.path;
        let tmp = self.file.into_inner().map_err(|e| Error::io(path, "cannot write")(e.into_error()))?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::io(dir, "cannot create the folder"))?;
        }
        rename(tmp, path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Bytes as hexadecimal digits: how digests are written everywhere.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b.json");
        write_atomic(&file, b"one").unwrap();
        write_atomic(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_below_a_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"x").unwrap();
        let e = write_atomic(&dir.path().join("f/out.json"), b"x").unwrap_err();
        assert!(e.to_string().contains("cannot create the folder"), "{e}");
        assert_eq!(e.exit_code(), 1);
    }

    #[test]
    fn a_growing_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/deep/out.csv");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of what was given up");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        for bad in [path.join("x.csv"), path.join("a/b.csv"), dir.path().join("new")] {
            let e = AtomicFile::create(&bad).err().unwrap();
            assert!(e.to_string().contains("cannot write") && e.exit_code() == 1, "{e}");
        }
    }
}
