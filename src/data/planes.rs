//! All images of a list to planes: decoded and resized on all cores, with a cache on disk.
//!
//! The cache is keyed by SHA-256 of the preprocessing, the side and the *bytes of the file*. Path, size and time would
//! spare reading the files, but two files of one size written in the same second would be taken for each other, and a
//! moved data set would be decoded again. Reading and hashing are cheap beside decoding: a load that finds everything here
//! takes a tenth of the time that decoding small JPEGs takes. No path, patient or label is in
//! the cache, only hashes and planes.

use crate::data::pack::{Entry, Kind, Packs};
pub use crate::data::preprocessing::{PREPROCESSING, Preprocessing};
use crate::error::{Error, Result};
use crate::files::hex;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Images that are decoded before a cache pack is written: an interrupted run keeps what it has.
const CHUNK: usize = 2048;

/// How images are loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions<'a> {
    /// How a decoded image becomes a square; part of the cache's key.
    pub preprocessing: Preprocessing,
    /// Damaged images are listed in [`Planes::bad`] instead of being an error.
    pub skip_bad: bool,
    /// Folder of the cache; none means no cache.
    pub cache_dir: Option<&'a Path>,
    /// Progress bar on stderr (where that is a terminal).
    pub progress: bool,
    /// What messages call the images, in their order; their paths without it.
    pub names: Option<&'a [String]>,
    /// Set by Ctrl-C: loading ends with [`Error::Interrupted`], the cache keeps what was decoded.
    pub cancel: Option<&'a AtomicBool>,
}

/// Gray planes of a list of images.
#[derive(Clone, Debug, Default)]
pub struct Planes {
    /// Side in pixels.
    pub side: usize,
    /// How they were made.
    pub preprocessing: Preprocessing,
    /// `[n, side, side]` in `[0, 1]`; NaN for images in `bad`, so that using one by mistake is noticed.
    pub data: Vec<f32>,
    /// Stored `(width, height)` of each file, after orientation; `(0, 0)` for images in `bad`.
    pub sizes: Vec<(u32, u32)>,
    /// Images that could not be used: position in the list, and why.
    pub bad: Vec<(usize, String)>,
    /// How many planes came from the cache.
    pub from_cache: usize,
    /// Cache entries that were damaged and made anew.
    pub repaired: usize,
}

impl Planes {
    /// Number of images, damaged ones included.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Plane `i`, `[side, side]`.
    ///
    /// # Panics
    /// When `i` is out of range.
    pub fn plane(&self, i: usize) -> &[f32] {
        &self.data[i * self.side * self.side..][..self.side * self.side]
    }

    /// SHA-256 (hex) over preprocessing, side, and planes and classes of `items` (position, class), in their order: two
    /// runs with one digest saw the same pixels with the same labels.
    ///
    /// # Panics
    /// When a position is out of range.
    pub fn digest(&self, items: &[(usize, usize)]) -> String {
        let mut h = Sha256::new();
        h.update(self.preprocessing.words());
        h.update((self.side as u64).to_le_bytes());
        for &(i, class) in items {
            h.update((class as u64).to_le_bytes());
            h.update(le_bytes(self.plane(i)));
        }
        hex(&h.finalize())
    }
}

pub(crate) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn key(how: Preprocessing, side: usize, bytes: &[u8]) -> [u8; 32] {
    let mut h = Sha256::new();
    h.update(how.words());
    h.update((side as u64).to_le_bytes());
    h.update(bytes);
    h.finalize().into()
}

/// One image to a plane of `side` x `side` and its stored size by the default [`Preprocessing`], for one file in memory.
/// `name` is for messages.
///
/// # Errors
/// As [`Preprocessing::apply`].
pub fn preprocess(bytes: &[u8], name: &Path, side: usize) -> Result<(Vec<f32>, (u32, u32))> {
    Preprocessing::default().apply(bytes, name, side)
}

/// Loads `files` (relative to `root`) as planes of `side` x `side`.
///
/// # Errors
/// [`Error::Usage`] for an impossible side; [`Error::Memory`] when the planes do not fit; without `skip_bad`
/// [`Error::Format`] that names the first damaged or missing image and how many there are; [`Error::Data`] when no image
/// is left; [`Error::Io`] when the cache cannot be written; [`Error::Interrupted`].
pub fn load_planes(root: &Path, files: &[PathBuf], side: usize, options: &LoadOptions) -> Result<Planes> {
    let preprocessing = options.preprocessing;
    preprocessing.check(side)?;
    let area = side * side;
    let mut out = Planes { side, preprocessing, sizes: vec![(0, 0); files.len()], ..Planes::default() };
    let values = files.len() * area;
    out.data.try_reserve_exact(values).map_err(|_| {
        Error::Memory(format!("{} images of {side} x {side} need {} MB of memory", files.len(), values * 4 / 1_000_000))
    })?;
    out.data.resize(values, f32::NAN);
    let mut packs = options.cache_dir.map(|dir| Packs::open(dir, Kind::planes(side))).transpose()?;
    let bar = if options.progress {
        indicatif::ProgressBar::new(files.len() as u64)
    } else {
        indicatif::ProgressBar::hidden()
    };
    if let Ok(style) = indicatif::ProgressStyle::with_template("decoding {bar:30} {pos}/{len} ({per_sec}, {eta} left)")
    {
        bar.set_style(style);
    }

    for (chunk, names) in files.chunks(CHUNK).enumerate() {
        let first = chunk * CHUNK;
        let data = &mut out.data[first * area..][..names.len() * area];
        let lookup = packs.as_ref();
        let done: Vec<Outcome> = names
            .par_iter()
            .zip(data.par_chunks_exact_mut(area))
            .map(|(name, plane)| {
                if options.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                    return Outcome::Cancelled;
                }
                let outcome = load_one(root, name, (preprocessing, side), plane, lookup);
                bar.inc(1);
                outcome
            })
            .collect();
        let mut fresh = Vec::new();
        let (mut cancelled, mut left) = (false, 0);
        for (i, outcome) in done.into_iter().enumerate() {
            match outcome {
                Outcome::Cached(size) => {
                    out.sizes[first + i] = size;
                    out.from_cache += 1;
                }
                Outcome::Decoded { key, size, repaired } => {
                    out.sizes[first + i] = size;
                    out.repaired += usize::from(repaired);
                    fresh.push(Entry { key, size, values: &out.data[(first + i) * area..][..area] });
                }
                Outcome::Bad(reason) => out.bad.push((first + i, reason)),
                Outcome::Cancelled => (cancelled, left) = (true, left + 1),
            }
        }
        if let Some(packs) = &mut packs {
            packs.add(&fresh)?;
        }
        if cancelled {
            bar.finish_and_clear();
            let m = format!(
                "interrupted while decoding; {} of {} images are done",
                first + names.len() - left,
                files.len()
            );
            return Err(Error::Interrupted(m));
        }
    }
    bar.finish_and_clear();
    let name = |i: usize| match options.names.and_then(|names| names.get(i)) {
        Some(name) => PathBuf::from(name),
        None => files[i].clone(),
    };
    match out.bad.first() {
        Some((i, reason)) if !options.skip_bad => {
            let m = format!(
                "{reason} ({} of {} images cannot be used; --skip-bad goes on without them)",
                out.bad.len(),
                files.len()
            );
            Err(Error::format(name(*i), m))
        }
        Some((i, reason)) if out.bad.len() == files.len() => Err(Error::Data(format!(
            "none of {} images can be used; first: {}: {reason}",
            files.len(),
            name(*i).display()
        ))),
        _ => Ok(out),
    }
}

enum Outcome {
    Cached((u32, u32)),
    Decoded { key: [u8; 32], size: (u32, u32), repaired: bool },
    Bad(String),
    Cancelled,
}

fn load_one(
    root: &Path,
    name: &Path,
    (how, side): (Preprocessing, usize),
    plane: &mut [f32],
    packs: Option<&Packs>,
) -> Outcome {
    let bytes = match read_image(&root.join(name)) {
        Ok(b) => b,
        Err(e) => return Outcome::Bad(e),
    };
    let key = key(how, side, &bytes);
    let mut repaired = false;
    if let Some(packs) = packs {
        match packs.get(&key, plane) {
            Ok(Some(size)) => return Outcome::Cached(size),
            Ok(None) => {}
            Err(_) => repaired = true, // unreadable or wrong checksum: as if it were not there
        }
    }
    match how.apply(&bytes, name, side) {
        Ok((values, size)) => {
            plane.copy_from_slice(&values);
            Outcome::Decoded { key, size, repaired }
        }
        Err(e) => {
            plane.fill(f32::NAN); // a damaged cache entry may have been read into it
            Outcome::Bad(match e {
                Error::Format { reason, .. } => reason,
                other => other.to_string(),
            })
        }
    }
}

/// Largest file that is read; a radiograph has some megabytes.
const MAX_FILE: u64 = 1 << 30;

/// The bytes of an image file.
pub(crate) fn read_image(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("cannot read: {e}"))?;
    // A named pipe or a device would block for ever.
    if !meta.is_file() {
        return Err("not a file".into());
    }
    if meta.len() > MAX_FILE {
        return Err(format!("{} MB; at most {} MB are read", meta.len() >> 20, MAX_FILE >> 20));
    }
    std::fs::read(path).map_err(|e| format!("cannot read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::tests::{gray, jpeg, png};
    use image::DynamicImage;

    fn folder(n: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for i in 0..n {
            let image = DynamicImage::ImageLuma8(gray(20 + i as u32, 30));
            let file = PathBuf::from(format!("patient{i}.png"));
            std::fs::write(dir.path().join(&file), if i % 2 == 0 { png(&image) } else { jpeg(&image) }).unwrap();
            files.push(file);
        }
        (dir, files)
    }

    #[test]
    fn cached_planes_are_bit_equal_and_anonymous() {
        let (dir, files) = folder(6);
        let cache = dir.path().join("cache");
        let options = LoadOptions { cache_dir: Some(&cache), ..LoadOptions::default() };
        let plain = load_planes(dir.path(), &files, 16, &LoadOptions::default()).unwrap();
        let cold = load_planes(dir.path(), &files, 16, &options).unwrap();
        let warm = load_planes(dir.path(), &files, 16, &options).unwrap();
        assert_eq!((cold.from_cache, warm.from_cache, warm.repaired), (0, 6, 0));
        assert!(plain.data == cold.data && cold.data == warm.data && cold.sizes == warm.sizes);
        assert_eq!((warm.sizes[3], warm.len(), warm.plane(5).len()), ((23, 30), 6, 256));
        for entry in std::fs::read_dir(&cache).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(7).any(|w| w == b"patient") && !path.display().to_string().contains("patient"));
        }
        // Another side and a changed file are other entries.
        assert_eq!(load_planes(dir.path(), &files, 8, &options).unwrap().from_cache, 0);
        std::fs::write(dir.path().join(&files[0]), png(&DynamicImage::ImageLuma8(gray(50, 50)))).unwrap();
        let changed = load_planes(dir.path(), &files, 16, &options).unwrap();
        assert_eq!((changed.from_cache, changed.sizes[0]), (5, (50, 50)));
        let items: Vec<(usize, usize)> = (0..6).map(|i| (i, i % 2)).collect();
        assert_eq!(plain.digest(&items), warm.digest(&items));
        assert_ne!(plain.digest(&items), changed.digest(&items));
        assert_ne!(plain.digest(&items), plain.digest(&items[1..]));
    }

    #[test]
    fn each_preprocessing_has_its_own_cache_entries_and_digest() {
        use crate::data::resize::Resize;
        let (dir, files) = folder(2);
        let cache = dir.path().join("cache");
        let items = [(0, 0), (1, 1)];
        let mut digests = std::collections::HashSet::new();
        for resize in Resize::ALL {
            for cut in [0, 3] {
                let preprocessing = Preprocessing { resize, cut };
                let options = LoadOptions { cache_dir: Some(&cache), preprocessing, ..LoadOptions::default() };
                let cold = load_planes(dir.path(), &files, 16, &options).unwrap();
                let warm = load_planes(dir.path(), &files, 16, &options).unwrap();
                assert_eq!((cold.from_cache, warm.from_cache), (0, 2), "{preprocessing:?}");
                assert_eq!(cold.data, warm.data);
                assert!(digests.insert(warm.digest(&items)));
            }
        }
        // The key of the default as it was before there was a choice, so that caches of then are found.
        let bytes = std::fs::read(dir.path().join(&files[0])).unwrap();
        let mut h = Sha256::new();
        h.update(PREPROCESSING.as_bytes());
        h.update(16u64.to_le_bytes());
        h.update(&bytes);
        assert_eq!(key(Preprocessing::default(), 16, &bytes)[..], h.finalize()[..]);
    }

    #[test]
    fn damaged_cache_entries_are_found_and_made_anew() {
        let (dir, files) = folder(5);
        let cache = dir.path().join("cache");
        let options = LoadOptions { cache_dir: Some(&cache), ..LoadOptions::default() };
        let good = load_planes(dir.path(), &files, 16, &options).unwrap();
        let pack = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&pack).unwrap();
        let mut repaired = 0;
        for cut in (0..bytes.len()).step_by(97) {
            for change in 0..2 {
                let mut b = bytes.clone();
                if change == 0 {
                    b[cut] ^= 0x10
                } else {
                    b.truncate(cut)
                }
                std::fs::read_dir(&cache).unwrap().for_each(|e| std::fs::remove_file(e.unwrap().path()).unwrap());
                std::fs::write(&pack, b).unwrap();
                let again = load_planes(dir.path(), &files, 16, &options).unwrap();
                assert!(again.data == good.data && again.sizes == good.sizes, "byte {cut}");
                repaired += again.repaired;
                let warm = load_planes(dir.path(), &files, 16, &options).unwrap();
                assert_eq!((warm.from_cache, warm.repaired), (5, 0), "byte {cut}");
            }
        }
        assert!(repaired > 10, "{repaired}");
    }

    #[test]
    fn bad_images_stop_or_are_counted() {
        let (dir, mut files) = folder(4);
        std::fs::write(dir.path().join("patient2.png"), b"").unwrap();
        files.push("gone.png".into());
        std::fs::create_dir(dir.path().join("d.png")).unwrap();
        files.push("d.png".into());
        let e = load_planes(dir.path(), &files, 16, &LoadOptions::default()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "patient2.png: empty file (0 bytes) (3 of 6 images cannot be used; --skip-bad goes on without them)"
        );
        assert_eq!(e.exit_code(), 5);
        let skip = LoadOptions { skip_bad: true, ..LoadOptions::default() };
        let p = load_planes(dir.path(), &files, 16, &skip).unwrap();
        assert_eq!(p.bad.iter().map(|b| b.0).collect::<Vec<_>>(), [2, 4, 5]);
        assert!(p.plane(2).iter().all(|v| v.is_nan()) && p.plane(3).iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(load_planes(dir.path(), &files[4..], 16, &skip).unwrap_err().to_string().contains("none of 2 images"));
        assert_eq!(load_planes(dir.path(), &files, 0, &skip).unwrap_err().exit_code(), 2);
        let wide = LoadOptions { preprocessing: Preprocessing { cut: 4096, ..Default::default() }, ..skip };
        assert_eq!(load_planes(dir.path(), &files, 16, &wide).unwrap_err().exit_code(), 2);
        let stop = AtomicBool::new(true);
        let options = LoadOptions { cancel: Some(&stop), ..LoadOptions::default() };
        assert_eq!(load_planes(dir.path(), &files, 16, &options).unwrap_err().exit_code(), 130);
    }

    #[test]
    fn hostile_and_unusual_files_are_counted_by_name() {
        let (dir, mut files) = folder(1);
        let d = dir.path();
        let good = std::fs::read(d.join(&files[0])).unwrap();
        let put = |files: &mut Vec<PathBuf>, name: &str, bytes: &[u8]| {
            std::fs::write(d.join(name), bytes).unwrap();
            files.push(name.into());
        };
        let lossy = jpeg(&DynamicImage::ImageLuma8(gray(40, 30)));
        for k in 1..7 {
            put(&mut files, &format!("cut{k}.png"), &good[..good.len() * k / 7]);
            put(&mut files, &format!("cut{k}.jpg"), &lossy[..lossy.len() * k / 7]);
        }
        put(&mut files, "zero.png", b"");
        put(&mut files, "one.png", &png(&DynamicImage::ImageLuma8(gray(1, 1))));
        put(&mut files, "table.png", b"file,finding\n");
        #[cfg(unix)]
        for (name, to) in [("loop.png", "loop.png"), ("dangling.png", "nowhere"), ("zero_device.png", "/dev/zero")] {
            std::os::unix::fs::symlink(to, d.join(name)).unwrap();
            files.push(name.into());
        }
        put(&mut files, "large.png", &png(&DynamicImage::ImageLuma8(gray(5000, 4000))));
        let p = load_planes(d, &files, 16, &LoadOptions { skip_bad: true, ..LoadOptions::default() }).unwrap();
        assert_eq!(p.bad.len(), files.len() - 2, "the first and the last are images: {:?}", p.bad);
        assert_eq!((p.sizes[0], *p.sizes.last().unwrap()), ((20, 30), (5000, 4000)));
        let reason = |name: &str| {
            let bad = p.bad.iter().find(|(i, _)| files[*i] == Path::new(name));
            bad.map_or("not there", |(_, reason)| reason)
        };
        for (name, needle) in [
            ("cut3.png", "damaged PNG"),
            ("cut3.jpg", "truncated JPEG"),
            ("zero.png", "empty file"),
            ("one.png", "1 x 1 pixels; at least 8 x 8"),
            ("table.png", "neither PNG nor JPEG"),
            #[cfg(unix)]
            ("loop.png", "cannot read"),
            #[cfg(unix)]
            ("dangling.png", "cannot read"),
            #[cfg(unix)]
            ("zero_device.png", "not a file"),
        ] {
            assert!(reason(name).contains(needle), "{name}: {}", reason(name));
            let e = load_planes(d, &[PathBuf::from(name)], 16, &LoadOptions::default()).unwrap_err();
            assert!(e.to_string().starts_with(name) && e.exit_code() == 5, "{e}");
        }
    }
}
