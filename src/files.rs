//! Writing files so that nobody ever sees half of one: a temporary name in the same folder, then a rename.

use crate::error::{Error, Result};
use std::io::Write;
use std::path::Path;

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
    Ok(())
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
}
