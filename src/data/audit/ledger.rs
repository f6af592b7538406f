//! The manifest of digests: which bytes and which pixels each image had, to see later whether they still have.
//!
//! It holds file names (NIH's contain patients' numbers), so it belongs beside the data and not into a report.

use crate::data::audit::reading::Reading;
use crate::data::file_name::{hashed_name, slashed};
use crate::error::{Error, Result};
use crate::files::{hex, write_atomic};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// The format tag.
pub const FORMAT: &str = "radiograd-digests-1";

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Always [`FORMAT`].
    pub format: String,
    /// SHA-256 over path, file and pixel digest of all images, in their order: one line for a report.
    pub sha256: String,
    /// The images, by path.
    pub images: Vec<Line>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Name in reports.
    pub name: String,
    /// Path below the root, with `/`.
    pub file: String,
    /// Length of the file.
    pub bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of the decoded pixels.
    pub pixels_sha256: String,
}

/// What differs from an earlier manifest; each entry is a name for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Images in the manifest.
    pub expected: u64,
    /// Images that are as they were.
    pub unchanged: u64,
    /// Other pixels.
    pub pixels: Vec<String>,
    /// Another file with the same pixels.
    pub bytes: Vec<String>,
    /// In the manifest, and now not there or damaged.
    pub missing: Vec<String>,
    /// There now, and not in the manifest.
    pub new: Vec<String>,
}

impl Ledger {
    /// The digests of what was read.
    pub fn of(reading: &Reading) -> Ledger {
        let line = |i: usize| {
            let (seen, path) = (reading.image(i)?, &reading.data.records[i].file);
            Some(Line {
                name: hashed_name(Some(&seen.file), path),
                file: slashed(path),
                bytes: seen.bytes,
                width: seen.size.0,
                height: seen.size.1,
                sha256: hex(&seen.file),
                pixels_sha256: hex(&seen.pixels),
            })
        };
        let mut images: Vec<Line> = (0..reading.seen.len()).filter_map(line).collect();
        images.sort_by(|a, b| a.file.cmp(&b.file));
        Ledger { format: FORMAT.into(), sha256: digest(&images), images }
    }

    /// Writes the file (atomically), one line an image.
    ///
    /// # Errors
    /// [`Error::Io`] naming `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let line =
            |l: &Line| serde_json::to_string(l).map_err(|e| Error::Internal(format!("manifest of digests: {e}")));
        let lines = self.images.iter().map(line).collect::<Result<Vec<_>>>()?;
        let (format, sha256, lines) = (&self.format, &self.sha256, lines.join(",\n"));
        let text = format!("{{\"format\": \"{format}\", \"sha256\": \"{sha256}\", \"images\": [\n{lines}\n]}}\n");
        write_atomic(path, text.as_bytes())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] when it is no such file, or was changed since it was written.
    pub fn read(path: &Path) -> Result<Ledger> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
        let ledger: Ledger = serde_json::from_slice(&bytes)
            .map_err(|e| Error::format(path, format!("no manifest of digests, as data audit --out writes it: {e}")))?;
        if ledger.format != FORMAT {
            return Err(Error::format(path, format!("format {:?}; {FORMAT:?} is needed", ledger.format)));
        }
        if ledger.sha256 != digest(&ledger.images) {
            return Err(Error::format(path, "its own digest is wrong: it was changed since it was written"));
        }
        Ok(ledger)
    }

    /// What is different in `now`. Names are those of this manifest, or the files' own where `show_names` is set.
    pub fn compare(&self, now: &Ledger, show_names: bool) -> Changes {
        let named = |l: &Line| if show_names { l.file.clone() } else { l.name.clone() };
        let mut rest: BTreeMap<&str, &Line> = now.images.iter().map(|l| (l.file.as_str(), l)).collect();
        let mut out = Changes { expected: self.images.len() as u64, ..Changes::default() };
        for old in &self.images {
            match rest.remove(old.file.as_str()) {
                None => out.missing.push(named(old)),
                Some(new) if new.pixels_sha256 != old.pixels_sha256 => out.pixels.push(named(old)),
                Some(new) if new.sha256 != old.sha256 => out.bytes.push(named(old)),
                Some(_) => out.unchanged += 1,
            }
        }
        out.new.extend(rest.into_values().map(named));
        out
    }
}

fn digest(images: &[Line]) -> String {
    let mut h = Sha256::new();
    for l in images {
        for part in [&l.file, &l.sha256, &l.pixels_sha256] {
            h.update((part.len() as u64).to_le_bytes());
            h.update(part.as_bytes());
        }
    }
    hex(&h.finalize())
}

impl Changes {
    /// Nothing but a whole and equal set passes.
    ///
    /// # Errors
    /// [`Error::Data`] (exit code 5) that counts and names what changed.
    pub fn check(&self) -> Result<()> {
        const NAMED: usize = 5;
        let kinds = [
            ("with other pixels", &self.pixels),
            ("written anew with the same pixels", &self.bytes),
            ("missing or damaged", &self.missing),
            ("not in the manifest", &self.new),
        ];
        let line = |(what, names): (&str, &Vec<String>)| {
            let more = names.len().saturating_sub(NAMED);
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("\n  {} {what}: {}{tail}", names.len(), names[..names.len() - more].join(", "))
        };
        let lines: Vec<String> = kinds.into_iter().filter(|(_, n)| !n.is_empty()).map(line).collect();
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::Data(format!(
            "the data is not what the manifest describes ({} of {} images unchanged){}",
            self.unchanged,
            self.expected,
            lines.concat()
        )))
    }
}
