//! `events.jsonl`: what happened, a JSON object a line, in the order in which it happened.

use super::clock;
use crate::error::{Error, Result};
use crate::files::written;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    /// Bytes of its whole lines.
    length: u64,
}

/// A line.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(flatten)]
    content: T,
}

impl Log {
    /// Opens the file, or begins it. A last line that a killed program or a full disk left torn is cut off.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open(path: &Path) -> Result<Log> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(Error::io(path, "cannot open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io(path, "cannot read"))?;
        let whole = whole_lines(&bytes);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(Error::io(path, "cannot cut its torn last line"))?;
        }
        file.seek(SeekFrom::Start(whole as u64)).map_err(Error::io(path, "cannot read"))?;
        written(path);
        Ok(Log { file, path: path.into(), length: whole as u64 })
    }

    /// Appends a line and gives it to the system. Of one that a full disk does not take nothing is left: lines that come when
    /// there is space again are no tail of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write(&mut self, event: &str, label: Option<&str>, content: impl Serialize) -> Result<()> {
        let line = Line { time: clock::now(), event, label, content };
        let mut text = serde_json::to_string(&line).map_err(|e| Error::Internal(format!("events.jsonl: {e}")))?;
        text.push('\n');
        if let Err(e) = self.file.write_all(text.as_bytes()) {
            // Should this fail, too, the next opening cuts a torn last line.
            _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(Error::io(&self.path, "cannot write")(e));
        }
        self.length += text.len() as u64;
        Ok(())
    }
}

/// How many bytes the lines take that are whole: each ends, and the last of them is JSON (after a power cut it can be zeros).
fn whole_lines(bytes: &[u8]) -> usize {
    let end_of = |b: &[u8]| b.iter().rposition(|c| *c == b'\n').map_or(0, |at| at + 1);
    let mut end = end_of(bytes);
    while end > 0 {
        let start = end_of(&bytes[..end - 1]);
        if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes[start..end]).is_ok() {
            break;
        }
        end = start;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_cut_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        for (torn, lines) in [("", 2), ("{\"event\":\"ep", 2), ("\0\0\0\0", 2), ("\0\0\n", 2), ("{\"event\"\n{", 2)] {
            _ = std::fs::remove_file(&path);
            let mut log = Log::open(&path).unwrap();
            log.write("note", None, serde_json::json!({ "text": "one\ntwo" })).unwrap();
            log.write("note", Some("a"), serde_json::json!({ "value": f64::NAN })).unwrap();
            drop(log);
            let before = std::fs::read_to_string(&path).unwrap();
            assert_eq!(before.lines().count(), lines);
            std::fs::write(&path, format!("{before}{torn}")).unwrap();
            Log::open(&path).unwrap().write("note", None, serde_json::json!({ "text": "three" })).unwrap();
            let after = std::fs::read_to_string(&path).unwrap();
            let last = after.strip_prefix(&before).unwrap();
            assert!(last.ends_with("\"text\":\"three\"}\n") && last.lines().count() == 1, "{after}");
            assert!(after.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
        }
        // Nothing but a torn line.
        std::fs::write(&path, "{\"ev").unwrap();
        drop(Log::open(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
