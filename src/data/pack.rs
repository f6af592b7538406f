//! Files of the caches: many planes, or rows of features, in one file, each with its own checksum.
//!
//! A pack is written once and never changed: `RGPLANE1`, `RGFEATS1` or `RGAUDIT1`, side (or length of a row) u32, count u32, then for each
//! row key (32 bytes), width u32, height u32 and the SHA-256 of its bytes (32), then the SHA-256 of all that, then the rows,
//! f32 little endian. One file an image would mean as many flushes to disk as images.

use crate::data::planes::le_bytes;
use crate::error::{Error, Result};
use crate::files::{hex, write_atomic};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const HEAD: usize = 16;
const ROW: usize = 32 + 8 + 32;
/// Bytes of rows in one pack at most.
const PACK_BYTES: usize = 64 << 20;

/// What a pack holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    magic: &'static [u8; 8],
    name: &'static str,
    /// Side of a plane or length of a row: in the header and in the file's name.
    size: usize,
    /// Numbers of a row.
    len: usize,
}

impl Kind {
    /// Planes of `side` × `side`.
    pub fn planes(side: usize) -> Kind {
        Kind { magic: b"RGPLANE1", name: "planes", size: side, len: side * side }
    }

    /// What the audit keeps of an image: `len` numbers.
    pub fn audit(len: usize) -> Kind {
        Kind { magic: b"RGAUDIT1", name: "audit", size: len, len }
    }

    /// Features of `len` numbers an image.
    pub fn features(len: usize) -> Kind {
        Kind { magic: b"RGFEATS1", name: "features", size: len, len }
    }

    fn bytes(&self) -> usize {
        self.len * 4
    }
}

/// A row to be stored.
pub(crate) struct Entry<'a> {
    /// SHA-256 of all that the row follows from.
    pub key: [u8; 32],
    /// Stored width and height of the file; zero for features.
    pub size: (u32, u32),
    /// The row.
    pub values: &'a [f32],
}

/// Where a row is.
struct Place {
    pack: usize,
    offset: u64,
    size: (u32, u32),
    sum: [u8; 32],
}

/// The packs of one kind in a cache folder.
pub(crate) struct Packs {
    dir: PathBuf,
    kind: Kind,
    files: Vec<PathBuf>,
    index: HashMap<[u8; 32], Place>,
}

impl Packs {
    /// Reads the indices of all packs of this kind. A pack with a damaged index is passed over: its rows are made anew.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made or listed.
    pub fn open(dir: &Path, kind: Kind) -> Result<Packs> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir, "cannot create the cache folder"))?;
        let mut packs = Packs { dir: dir.to_path_buf(), kind, files: Vec::new(), index: HashMap::new() };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(Error::io(dir, "cannot list the cache folder"))? {
            let path = entry.map_err(Error::io(dir, "cannot list the cache folder"))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.starts_with(&format!("{}-{}-", kind.name, kind.size)) && name.ends_with(".pack") {
                names.push(path);
            }
        }
        // By age, so that a row made anew after damage is the one that counts.
        names.sort_by_key(|p| (std::fs::metadata(p).and_then(|m| m.modified()).ok(), p.clone()));
        for path in names {
            if let Some(rows) = read_index(&path, kind) {
                let start = (HEAD + rows.len() + 32) as u64;
                for (i, row) in rows.chunks_exact(ROW).enumerate() {
                    let place = Place {
                        pack: packs.files.len(),
                        offset: start + (i * kind.bytes()) as u64,
                        size: (u32_at(row, 32), u32_at(row, 36)),
                        sum: array(&row[40..]),
                    };
                    packs.index.insert(array(row), place);
                }
                packs.files.push(path);
            }
        }
        Ok(packs)
    }

    /// Reads the row of `key` into `row`; `Ok(None)` when it is not there.
    ///
    /// # Errors
    /// When the pack cannot be read or the checksum is wrong; `row` then holds rubbish.
    pub fn get(&self, key: &[u8; 32], row: &mut [f32]) -> std::io::Result<Option<(u32, u32)>> {
        let Some(place) = self.index.get(key) else { return Ok(None) };
        let mut file = std::fs::File::open(&self.files[place.pack])?;
        file.seek(SeekFrom::Start(place.offset))?;
        let mut bytes = vec![0; row.len() * 4];
        file.read_exact(&mut bytes)?;
        if Sha256::digest(&bytes)[..] != place.sum {
            return Err(std::io::Error::other("checksum"));
        }
        for (v, b) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *v = f32::from_le_bytes(*b);
        }
        Ok(Some(place.size))
    }

    /// Writes new packs with `entries`.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full or the folder cannot be written.
    pub fn add(&mut self, entries: &[Entry]) -> Result<()> {
        let each = (PACK_BYTES / self.kind.bytes()).max(1);
        for entries in entries.chunks(each) {
            let rows: Vec<Vec<u8>> = entries.iter().map(|e| le_bytes(e.values)).collect();
            let mut out = self.kind.magic.to_vec();
            out.extend_from_slice(&(self.kind.size as u32).to_le_bytes());
            out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
            for (e, bytes) in entries.iter().zip(&rows) {
                out.extend_from_slice(&e.key);
                out.extend_from_slice(&e.size.0.to_le_bytes());
                out.extend_from_slice(&e.size.1.to_le_bytes());
                out.extend_from_slice(&Sha256::digest(bytes));
            }
            let sum = Sha256::digest(&out);
            out.extend_from_slice(&sum);
            let name = format!("{}-{}-{}.pack", self.kind.name, self.kind.size, &hex(&sum)[..16]);
            rows.iter().for_each(|p| out.extend_from_slice(p));
            write_atomic(&self.dir.join(name), &out)?;
        }
        Ok(())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut a = [0; 32];
    a.copy_from_slice(&bytes[..32]);
    a
}

/// The rows of a pack's index, or nothing when the file is no whole pack of this kind.
fn read_index(path: &Path, kind: Kind) -> Option<Vec<u8>> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut head = [0; HEAD];
    file.read_exact(&mut head).ok()?;
    let count = u64::from(u32_at(&head, 12));
    // Checked before anything of that size is allocated.
    let whole = (HEAD + 32) as u64 + count * (ROW + kind.bytes()) as u64;
    if head[..8] != kind.magic[..] || u32_at(&head, 8) as usize != kind.size || length != whole {
        return None;
    }
    let mut rows = vec![0; count as usize * ROW];
    file.read_exact(&mut rows).ok()?;
    let mut sum = [0; 32];
    file.read_exact(&mut sum).ok()?;
    let mut h = Sha256::new();
    h.update(head);
    h.update(&rows);
    (h.finalize()[..] == sum).then_some(rows)
}
