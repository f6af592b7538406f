//! TensorBoard's event files: records of TFRecord framing, each an `Event` of protocol buffers, written by hand as it takes a
//! page. <https://www.tensorflow.org/tutorials/load_data/tfrecord>,
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto>, `summary.proto` beside it.

use super::clock;
use crate::error::{Error, Result};
use crate::files::written;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The version of the format; the readers drop what a restart makes void from version 2 on.
const VERSION: &str = "brain.Event:2";

/// What every event file has in its name.
const PREFIX: &str = "events.out.tfevents.";

/// One event file, which appears with its first record.
#[derive(Debug)]
pub(super) struct EventFile {
    file: File,
    path: PathBuf,
    /// Bytes of its whole records.
    length: u64,
}

impl EventFile {
    /// A new file in the folder `dir`, which sorts after those that are there: readers take them in the order of their names.
    /// What they hold from step `first` on is void.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn create(dir: &Path, first: i64) -> Result<EventFile> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir, "cannot create the folder"))?;
        let (mut latest, mut there) = (clock::seconds() as u64, 0u32);
        for entry in std::fs::read_dir(dir).map_err(Error::io(dir, "cannot read the folder"))? {
            let name = entry.map_err(Error::io(dir, "cannot read the folder"))?.file_name();
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)) else { continue };
            there += 1;
            // A clock that was set back must not hide what is written now.
            latest = latest.max(rest.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0));
        }
        let path = dir.join(format!("{PREFIX}{latest:010}.radiograd.{there:04}"));
        let made = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = made.map_err(Error::io(&path, "cannot create"))?;
        let mut events = EventFile { file, path, length: 0 };
        // The restart into a first file, too: TensorBoard's slow loader takes no notice of the first one that it sees.
        let head = [version(clock::seconds()), restart(clock::seconds(), first)];
        if let Err(e) = head.iter().try_for_each(|event| events.write(event)) {
            // A file without its head is none.
            _ = std::fs::remove_file(&events.path);
            return Err(e);
        }
        written(&events.path);
        Ok(events)
    }

    /// Writes numbers by name, as those of `step`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn scalars(&mut self, step: i64, values: &[(&str, f64)]) -> Result<()> {
        self.write(&scalars(clock::seconds(), step, values))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        // In one piece, and at once: a program that is killed tears at most its last record, which readers leave out.
        let record = record(event);
        if let Err(e) = self.file.write_all(&record) {
            // On a full disk: what is written when there is space again must not follow a torn record.
            _ = self.file.set_len(self.length);
            return Err(Error::io(&self.path, "cannot write")(e));
        }
        self.length += record.len() as u64;
        Ok(())
    }
}

/// The first event of a file.
fn version(time: f64) -> Vec<u8> {
    let mut e = event(time, 0);
    bytes(&mut e, 3, VERSION.as_bytes());
    e
}

/// A training goes on at `step`: what was written before of this and later steps is void (`SessionLog.START`).
fn restart(time: f64, step: i64) -> Vec<u8> {
    let mut e = event(time, step);
    bytes(&mut e, 7, &[1 << 3, 1]);
    e
}

/// `Summary.Value`s with `simple_value`.
fn scalars(time: f64, step: i64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut one = Vec::new();
        bytes(&mut one, 1, tag.as_bytes());
        one.push(2 << 3 | 5);
        one.extend((*value as f32).to_le_bytes());
        bytes(&mut summary, 1, &one);
    }
    let mut e = event(time, step);
    bytes(&mut e, 5, &summary);
    e
}

/// `wall_time` and `step`, which is left out where it is 0, as protocol buffers do.
fn event(time: f64, step: i64) -> Vec<u8> {
    let mut e = vec![1 << 3 | 1];
    e.extend(time.to_le_bytes());
    if step != 0 {
        e.push(2 << 3);
        varint(&mut e, step as u64);
    }
    e
}

/// Field `number` with these bytes.
fn bytes(to: &mut Vec<u8>, number: u8, content: &[u8]) {
    to.push(number << 3 | 2);
    varint(to, content.len() as u64);
    to.extend(content);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Length, its checksum, content, its checksum.
fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), content, &masked(content)].concat()
}

/// A checksum of bytes that hold checksums must not be one of them.
fn masked(content: &[u8]) -> [u8; 4] {
    crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli), RFC 3720 B.4.
fn crc32c(content: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut i) = ([0; 256], 0);
        while i < 256 {
            let (mut c, mut bit) = (i as u32, 0);
            while bit < 8 {
                c = (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg());
                bit += 1;
            }
            table[i] = c;
            i += 1;
        }
        table
    };
    !content.iter().fold(!0u32, |c, b| (c >> 8) ^ TABLE[usize::from(c as u8 ^ b)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the writer of TensorBoard 2.21.0 made of a version, a `SessionLog.START` at step 3, two numbers at step 300 and one
    /// at step 0.
    const TENSORBOARD: &str = "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9\
        0f000000000000006d532b090900002040fc54d94110033a02080120ab681c\
        3800000000000000a3797d570900004040fc54d94110ac022a2a0a110a0a6c6f73732f747261696e150000003f\
        0a150a0e61636375726163792f747261696e150000000091b8c155\
        1d00000000000000602fdf230900006040fc54d9412a120a100a096c6f73732f73746570150000a03f9bae6b3a";

    #[test]
    fn the_bytes_are_those_of_tensorboard_s_own_writer() {
        let events = [
            version(1_700_000_000.25),
            restart(1_700_000_000.5, 3),
            scalars(1_700_000_001.0, 300, &[("loss/train", 0.5), ("accuracy/train", 0.0)]),
            scalars(1_700_000_001.5, 0, &[("loss/step", 1.25)]),
        ];
        let all: Vec<u8> = events.iter().flat_map(|e| record(e)).collect();
        assert_eq!(crate::files::hex(&all), TENSORBOARD);
    }

    #[test]
    fn checksums_are_those_of_the_rfc() {
        // RFC 3720 B.4.
        for (content, sum) in [
            (vec![0; 32], 0x8a91_36aa),
            (vec![0xff; 32], 0x62a8_ab43),
            ((0..32).collect::<Vec<u8>>(), 0x46dd_794e),
            ((0..32).rev().collect(), 0x113f_db5c),
        ] {
            assert_eq!(crc32c(&content), sum);
        }
    }

    #[test]
    fn a_later_file_sorts_after_the_others_and_begins_with_its_restart() {
        let dir = tempfile::tempdir().unwrap();
        drop(EventFile::create(dir.path(), 1).unwrap());
        // Written by a clock that was ahead.
        let ahead = dir.path().join(format!("{PREFIX}9999999998.radiograd.0001"));
        std::fs::write(&ahead, b"").unwrap();
        let mut third = EventFile::create(dir.path(), 7).unwrap();
        third.scalars(7, &[("a", 0.25)]).unwrap();
        let mut names: Vec<PathBuf> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.last(), Some(&third.path));
        // The times are nobody's business.
        let timeless = |path: &Path| {
            let (bytes, mut at, mut events) = (std::fs::read(path).unwrap(), 0, Vec::new());
            while at < bytes.len() {
                let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
                events.push(bytes[at + 12 + 9..at + 12 + length].to_vec());
                at += 16 + length;
            }
            events
        };
        let after_time = |e: Vec<u8>| e[9..].to_vec();
        let begin = |step| vec![after_time(version(0.0)), after_time(restart(0.0, step))];
        assert_eq!(timeless(&names[0]), begin(1));
        assert_eq!(timeless(&third.path), [begin(7), vec![after_time(scalars(0.0, 7, &[("a", 0.25)]))]].concat());
    }
}
