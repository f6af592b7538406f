//! Where the caches lie, how large they are, and how to be rid of them: decoded planes ([`super::planes`]), digests and
//! thumbnails of the audit ([`super::audit`]), features of frozen bases ([`crate::train::features`]) and compiled pipelines
//! ([`crate::GpuOptions::cache`]). Their files hold numbers and SHA-256 keys; no name of a patient or a file.

use crate::error::{Error, Result};
use crate::report::text::bytes;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders below the root that are looked into.
const PARTS: [&str; 4] = ["audit", "features", "pipelines", "planes"];

/// Unfinished files of writers that died; a younger one may still be at work.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The folder of the caches: `RADIOGRAD_CACHE`, or `radiograd` in the system's folder for caches (`XDG_CACHE_HOME`, else
/// `.cache` at home; `LOCALAPPDATA` on Windows). It need not exist.
///
/// # Errors
/// [`Error::Usage`] when none of these variables is set.
pub fn root() -> Result<PathBuf> {
    root_by(|name| std::env::var_os(name))
}

fn root_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(own) = path("RADIOGRAD_CACHE") {
        return Ok(own);
    }
    // The XDG specification says that relative folders are to be ignored.
    let whole = |name: &str| path(name).filter(|p| p.is_absolute());
    let system = whole("XDG_CACHE_HOME").or_else(|| whole("HOME").map(|h| h.join(".cache")));
    let folder = system.or_else(|| whole("LOCALAPPDATA")).map(|f| f.join("radiograd"));
    folder.ok_or_else(|| {
        Error::Usage(
            "no folder for caches: neither RADIOGRAD_CACHE, XDG_CACHE_HOME, HOME nor LOCALAPPDATA is set".into(),
        )
    })
}

/// Files of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `audit`, `features`, `pipelines` or `planes`.
    pub name: &'static str,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the caches take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Their folder.
    pub root: PathBuf,
    /// By kind.
    pub parts: Vec<Part>,
}

impl Usage {
    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.bytes).sum()
    }

    /// Files of all parts.
    pub fn files(&self) -> u64 {
        self.parts.iter().map(|p| p.files).sum()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let files = |n: u64| if n == 1 { "1 file".into() } else { format!("{n} files") };
        write!(f, "{}: {} in {}", self.root.display(), bytes(self.bytes()), files(self.files()))?;
        for p in self.parts.iter().filter(|p| p.files > 0) {
            write!(f, "\n  {:9} {} in {}", p.name, bytes(p.bytes), files(p.files))?;
        }
        Ok(())
    }
}

/// Size and place of the caches below `root`; a folder that is not there is empty.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be listed.
pub fn describe(root: &Path) -> Result<Usage> {
    each(root, |_| Ok(()))
}

/// Removes the caches below `root` and says what was removed. Only files that this program names its caches' files are
/// removed, whatever `root` is, and folders that are empty then; links are not followed. A run that uses a cache meanwhile
/// computes again what it misses.
///
/// # Errors
/// [`Error::Io`] naming the file that cannot be removed.
pub fn clear(root: &Path) -> Result<Usage> {
    let usage = each(root, |file| match std::fs::remove_file(file) {
        // Another run cleared it first.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io(file, "cannot remove")),
    })?;
    for part in PARTS {
        let folder = root.join(part);
        // Folders that still hold something stay, which is no error.
        for inner in list(&folder)?.into_iter().filter(|(_, t)| t.is_dir()) {
            _ = std::fs::remove_dir(inner.0);
        }
        _ = std::fs::remove_dir(folder);
    }
    Ok(usage)
}

/// Calls `f` for every file of a cache, in `root/PART` and the folders in it, and sums them up.
fn each(root: &Path, f: impl Fn(&Path) -> Result<()>) -> Result<Usage> {
    let mut parts = Vec::new();
    for name in PARTS {
        let mut part = Part { name, ..Part::default() };
        let mut folders = vec![(root.join(name), true)];
        while let Some((folder, deeper)) = folders.pop() {
            for (path, kind) in list(&folder)? {
                if kind.is_dir() && deeper {
                    folders.push((path, false));
                } else if kind.is_file() && is_ours(&path, name) {
                    part.bytes += std::fs::symlink_metadata(&path).map_or(0, |m| m.len());
                    part.files += 1;
                    f(&path)?;
                }
            }
        }
        parts.push(part);
    }
    Ok(Usage { root: root.to_path_buf(), parts })
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, std::fs::FileType)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io(folder, "cannot list"))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(folder, "cannot list"))?;
        let path = entry.path();
        all.push((path.clone(), entry.file_type().map_err(Error::io(path, "cannot look at"))?));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Packs by their names, and what a writer that died left behind.
fn is_ours(path: &Path, part: &str) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let age = || std::fs::symlink_metadata(path).ok()?.modified().ok()?.elapsed().ok();
    name.starts_with(&format!("{part}-")) && name.ends_with(".pack")
        || name.starts_with(".radiograd-") && age().is_some_and(|a| a > ABANDONED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_follows_the_variables() {
        let with = |pairs: &[(&str, &str)]| {
            root_by(|name| pairs.iter().find(|p| p.0 == name).map(|p| p.1.into())).map(|p| p.display().to_string())
        };
        let all = [("RADIOGRAD_CACHE", "/a"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(with(&all).unwrap(), "/a");
        assert_eq!(with(&all[1..]).unwrap(), "/x/radiograd");
        assert_eq!(with(&all[2..]).unwrap(), "/h/.cache/radiograd");
        assert_eq!(with(&[("XDG_CACHE_HOME", "here"), ("HOME", "/h")]).unwrap(), "/h/.cache/radiograd");
        assert_eq!(with(&[("RADIOGRAD_CACHE", ""), ("HOME", "")]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn only_the_caches_own_files_are_counted_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cache");
        assert_eq!(describe(&root).unwrap().bytes(), 0);
        let ours = ["features/abc/features-8-1.pack", "pipelines/pipelines-v-1.pack", "planes/planes-16-2.pack"];
        let others = ["thesis.txt", "features/notes.pack", "planes/features-8-1.pack", "features/abc/.radiograd-new"];
        for name in ours.iter().chain(&others) {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, [0; 100]).unwrap();
        }
        #[cfg(unix)]
        {
            let far = dir.path().join("far");
            std::fs::create_dir(&far).unwrap();
            std::fs::write(far.join("features-8-9.pack"), [0; 9]).unwrap();
            std::os::unix::fs::symlink(&far, root.join("features/link")).unwrap();
        }
        let usage = describe(&root).unwrap();
        assert_eq!((usage.files(), usage.bytes()), (3, 300));
        let text = usage.to_string();
        assert!(
            text.contains("300 B in 3 files") && text.contains("planes") && text.contains("100 B in 1 file"),
            "{text}"
        );
        assert_eq!(clear(&root).unwrap(), usage);
        assert_eq!(describe(&root).unwrap().files(), 0);
        assert!(ours.iter().all(|n| !root.join(n).exists()) && others.iter().all(|n| root.join(n).exists()));
        #[cfg(unix)]
        assert!(dir.path().join("far/features-8-9.pack").exists());
        assert_eq!(clear(&root).unwrap().files(), 0);
    }
}
