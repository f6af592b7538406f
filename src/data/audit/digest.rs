//! What is kept of each image: digests of the file and of the decoded pixels, its size, a thumbnail.
//!
//! The digest of the pixels does not depend on the file format: width, height and the gray values as 16-bit numbers are
//! hashed, so a PNG and a palette PNG or a 16-bit copy of it are equal. A file that was decoded once is not decoded
//! again: the cache (`audit` in [`crate::data::cache::root`]) holds pixel digest and thumbnail by the SHA-256 of the
//! file's bytes, which are read and hashed each time.

use crate::data::audit::look::SIDE;
use crate::data::decode::{Plane, decode, format_name};
use crate::data::pack::{Entry, Kind, Packs};
use crate::data::planes::{PREPROCESSING, read_image};
use crate::data::resize::resize;
use crate::error::{Error, Result};
use crate::talk::Talk;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Images that are decoded before the cache is written.
const CHUNK: usize = 2048;
/// A row of the cache: the thumbnail, the bytes of the pixel digest as one number each, and the mean and the mean square
/// of the plane.
const ROW: usize = SIDE * SIDE + 32 + 2;

/// What is kept of a usable image.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub file: [u8; 32],
    /// SHA-256 of width, height and 16-bit gray values.
    pub pixels: [u8; 32],
    /// Width and height in pixels, after the EXIF orientation.
    pub size: (u32, u32),
    /// "PNG", "JPEG" or "DICOM", by the first bytes.
    pub format: &'static str,
    /// `[SIDE, SIDE]` in [0, 1], resized with antialias, aspect not kept.
    pub thumb: Vec<f32>,
    /// Mean of the gray values in [0, 1].
    pub mean: f32,
    /// Mean of their squares.
    pub square: f32,
}

/// An image that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Bad {
    /// SHA-256 of the file where it can be read.
    pub file: Option<[u8; 32]>,
    /// Why, without the file's name.
    pub reason: String,
}

/// How images are read.
#[derive(Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Folder of the cache; none means no cache.
    pub cache_dir: Option<&'a Path>,
    /// Called with the number of images that were finished since the last call.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Set by Ctrl-C.
    pub cancel: Option<&'a AtomicBool>,
    /// How much is said besides.
    pub talk: Talk,
}

/// Reads, hashes and decodes `files` (relative to `root`) on all cores.
///
/// # Errors
/// [`Error::Io`] when the cache cannot be written; [`Error::Interrupted`]. A damaged or missing image is no error: it is
/// a [`Bad`] in its place.
pub fn read_all(root: &Path, files: &[PathBuf], options: &ReadOptions) -> Result<Vec<Result<Seen, Bad>>> {
    let mut packs = options.cache_dir.map(|dir| Packs::open(dir, Kind::audit(ROW))).transpose()?;
    let mut all = Vec::with_capacity(files.len());
    let mut from_cache = 0;
    for names in files.chunks(CHUNK) {
        let lookup = packs.as_ref();
        let done: Vec<Option<(Result<Seen, Bad>, bool)>> = names
            .par_iter()
            .map(|name| {
                if options.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                    return None;
                }
                let one = read_one(&root.join(name), lookup);
                if let Some(progress) = options.progress {
                    progress(1);
                }
                Some(one)
            })
            .collect();
        from_cache += done.iter().flatten().filter(|(_, cached)| *cached).count();
        let fresh = done.iter().flatten().filter(|(_, cached)| !cached);
        let fresh: Vec<&Seen> = fresh.filter_map(|(seen, _)| seen.as_ref().ok()).collect();
        if let Some(packs) = packs.as_mut().filter(|_| !fresh.is_empty()) {
            let rows: Vec<Vec<f32>> = fresh.iter().map(|s| to_row(s)).collect();
            let entry = |(s, values): (&&Seen, _)| Entry { key: key(&s.file), size: s.size, values };
            let entries: Vec<Entry> = fresh.iter().zip(rows.iter().map(Vec::as_slice)).map(entry).collect();
            packs.add(&entries)?;
        }
        let finished = done.iter().flatten().count();
        if finished < names.len() {
            let m = format!("interrupted while reading images; {} of {} are done", all.len() + finished, files.len());
            return Err(Error::Interrupted(m));
        }
        all.extend(done.into_iter().flatten().map(|(seen, _)| seen));
    }
    if let Some(dir) = options.cache_dir {
        let n = files.len();
        options.talk.detail(|| format!("reading: {from_cache} of {n} images known from the cache {}", dir.display()));
    }
    Ok(all)
}

/// One image, and whether it came from the cache.
fn read_one(path: &Path, packs: Option<&Packs>) -> (Result<Seen, Bad>, bool) {
    let bytes = match read_image(path) {
        Ok(bytes) => bytes,
        Err(reason) => return (Err(Bad { file: None, reason }), false),
    };
    let file: [u8; 32] = Sha256::digest(&bytes).into();
    let format = format_name(&bytes, path);
    let blank = Seen {
        bytes: bytes.len() as u64,
        file,
        pixels: [0; 32],
        size: (0, 0),
        format,
        thumb: Vec::new(),
        mean: 0.0,
        square: 0.0,
    };
    if let Some(packs) = packs {
        let mut row = vec![0f32; ROW];
        // An entry that is damaged is as good as none: the image is decoded.
        if let Ok(Some(size)) = packs.get(&key(&file), &mut row) {
            return (Ok(from_row(&row, Seen { size, ..blank })), true);
        }
    }
    let seen = decode(&bytes, path).and_then(|plane| {
        let n = plane.data.len() as f64;
        let sum = |f: &dyn Fn(f64) -> f64| (plane.data.iter().map(|&v| f(f64::from(v))).sum::<f64>() / n) as f32;
        Ok(Seen {
            pixels: pixel_digest(&plane),
            size: (plane.width as u32, plane.height as u32),
            thumb: resize(&plane, SIDE)?,
            mean: sum(&|v| v),
            square: sum(&|v| v * v),
            ..blank
        })
    });
    let seen = seen.map_err(|e| Bad {
        file: Some(file),
        reason: match e {
            Error::Format { reason, .. } => reason,
            other => other.to_string(),
        },
    });
    (seen, false)
}

/// SHA-256 over width, height (u32) and gray values (u16), little endian.
fn pixel_digest(plane: &Plane) -> [u8; 32] {
    let mut h = Sha256::new();
    h.update((plane.width as u32).to_le_bytes());
    h.update((plane.height as u32).to_le_bytes());
    let mut bytes = Vec::with_capacity(2 * plane.width);
    for row in plane.data.chunks(plane.width.max(1)) {
        bytes.clear();
        bytes.extend(row.iter().flat_map(|&v| ((v * 65535.0).round() as u16).to_le_bytes()));
        h.update(&bytes);
    }
    h.finalize().into()
}

fn key(file: &[u8; 32]) -> [u8; 32] {
    let mut h = Sha256::new();
    h.update(b"radiograd-audit-1");
    h.update(PREPROCESSING.as_bytes());
    h.update(file);
    h.finalize().into()
}

fn to_row(seen: &Seen) -> Vec<f32> {
    let digest = seen.pixels.iter().map(|&b| f32::from(b));
    seen.thumb.iter().copied().chain(digest).chain([seen.mean, seen.square]).collect()
}

fn from_row(row: &[f32], blank: Seen) -> Seen {
    let (thumb, rest) = row.split_at(SIDE * SIDE);
    let mut pixels = [0; 32];
    pixels.iter_mut().zip(rest).for_each(|(b, &v)| *b = v as u8);
    Seen { pixels, thumb: thumb.to_vec(), mean: rest[32], square: rest[33], ..blank }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::tests::{gray, jpeg, png};
    use image::{DynamicImage, ImageBuffer, Luma};

    fn read(root: &Path, names: &[&str], cache: Option<&Path>) -> Vec<Result<Seen, Bad>> {
        let files: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        read_all(root, &files, &ReadOptions { cache_dir: cache, ..ReadOptions::default() }).unwrap()
    }

    #[test]
    fn digests_of_files_and_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        let g = gray(40, 30);
        let deep = ImageBuffer::from_fn(40, 30, |x, y| Luma([u16::from(g.get_pixel(x, y)[0]) * 257]));
        let put = |name: &str, bytes: &[u8]| std::fs::write(d.join(name), bytes).unwrap();
        put("a.png", &png(&DynamicImage::ImageLuma8(g.clone())));
        put("copy.png", &png(&DynamicImage::ImageLuma8(g.clone())));
        put("rgba.png", &png(&DynamicImage::ImageRgba8(DynamicImage::ImageLuma8(g.clone()).to_rgba8())));
        put("deep.png", &png(&DynamicImage::ImageLuma16(deep)));
        put("lossy.png", &jpeg(&DynamicImage::ImageLuma8(g)));
        let all: Vec<Seen> = read(d, &["a.png", "copy.png", "rgba.png", "deep.png", "lossy.png"], None)
            .into_iter()
            .map(|s| s.unwrap())
            .collect();
        assert_eq!(all[0], all[1]);
        assert_eq!(all[0].file[..], Sha256::digest(std::fs::read(d.join("a.png")).unwrap())[..]);
        assert!(all[2].file != all[0].file && all[2].pixels == all[0].pixels, "RGBA of equal channels");
        assert!(all[3].file != all[0].file && all[3].pixels == all[0].pixels, "16 bits");
        assert!(all[4].pixels != all[0].pixels && all[4].format == "JPEG", "the bytes decide, not the name");
        assert_eq!((all[0].size, all[0].format, all[0].thumb.len()), ((40, 30), "PNG", SIDE * SIDE));
        assert!(all[0].square > all[0].mean * all[0].mean);
    }

    #[test]
    fn the_cache_gives_the_same_and_bad_files_have_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        let whole = png(&DynamicImage::ImageLuma8(gray(40, 30)));
        std::fs::write(d.join("a.png"), &whole).unwrap();
        std::fs::write(d.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
        std::fs::write(d.join("empty.png"), b"").unwrap();
        let cache = d.join("cache");
        let names = ["gone.png", "a.png", "cut.png", "empty.png"];
        let first = read(d, &names, Some(&cache));
        assert_eq!(first, read(d, &names, Some(&cache)));
        assert_eq!(first, read(d, &names, None));
        let reasons: Vec<&str> = first.iter().map(|s| s.as_ref().err().map_or("", |b| b.reason.as_str())).collect();
        assert!(reasons[0].starts_with("cannot read") && reasons[1].is_empty(), "{reasons:?}");
        assert!(reasons[2].contains("damaged PNG") && reasons[3].starts_with("empty file"), "{reasons:?}");
        assert!(!reasons.iter().any(|r| r.contains("cut.png")));
        let cancel = AtomicBool::new(true);
        let options = ReadOptions { cancel: Some(&cancel), ..ReadOptions::default() };
        let e = read_all(d, &[PathBuf::from("a.png")], &options).unwrap_err();
        assert_eq!(e.exit_code(), 130);
    }
}
