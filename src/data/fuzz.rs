//! A deterministic mutation fuzzer over what reads foreign files here: the decoders of images, CSV tables and manifests.
//! Seeded flips, cuts, lies in length fields (with checksums made true again), swapped and repeated pieces of small valid
//! files. A reader must return, must keep its promises about what it returns, and must not take more memory than its
//! limits say. `cargo test --release --lib data::fuzz -- --ignored` runs it longer (RADIOGRAD_FUZZ mutations a file).

use crate::data::decode::tests::{gray, jpeg, png};
use crate::data::decode::{MAX_BYTES, MAX_PIXELS, MIN_SIDE, decode_inner};
use crate::data::table::{Dataset, OpenOptions};
use crate::data::text::{Csv, Encoding};
use image::DynamicImage;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

/// The system's allocator, counting what each thread holds. Only unit tests run with it.
struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that is ending has no counters any more.
    _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        PEAK.try_with(|peak| peak.set(peak.get().max(held.get())))
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` returns and the most bytes that it held at once.
fn measured<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.get();
    PEAK.set(before);
    let result = f();
    (result, (PEAK.get() - before).max(0) as u64)
}

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Lengths that a liar would write.
const LIES: [u32; 10] = [0, 1, 7, 0x7f, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_fff0, u32::MAX];

/// One mutation of any bytes; mostly near the front, where the headers are.
fn mutate(valid: &[u8], r: &mut Random) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    let place = |r: &mut Random, n: usize| if r.below(2) == 0 { r.below(n.min(200)) } else { r.below(n) };
    match r.below(8) {
        0 => bytes.truncate(r.below(valid.len())),
        1 | 2 => {
            for _ in 0..1 + r.below(4) {
                let at = place(r, bytes.len());
                bytes[at] ^= 1 << r.below(8);
            }
        }
        3 => {
            for _ in 0..1 + r.below(3) {
                let at = place(r, bytes.len());
                bytes[at] = [0, 0xff, 0x7f, 0x80, r.next() as u8][r.below(5)];
            }
        }
        4 | 5 => {
            // A number of 2 or 4 bytes, in either order.
            let (lie, at) = (LIES[r.below(LIES.len())], place(r, bytes.len().saturating_sub(4)));
            let n = 2 + 2 * r.below(2);
            let four =
                if r.below(2) == 0 { lie.to_le_bytes() } else { lie.rotate_left(16 * (n == 2) as u32).to_be_bytes() };
            bytes[at..at + n].copy_from_slice(&four[..n]);
        }
        6 => {
            // A piece that stands there once more, or instead of another.
            let (from, to) = (place(r, bytes.len()), place(r, bytes.len()));
            let piece = valid[from..(from + 1 + r.below(40)).min(valid.len())].to_vec();
            let end = if r.below(2) == 0 { to } else { (to + piece.len()).min(bytes.len()) };
            bytes.splice(to..end, piece);
        }
        _ => {
            let from = place(r, bytes.len());
            bytes.drain(from..(from + 1 + r.below(20)).min(valid.len()));
        }
    }
    bytes
}

/// Makes the checksums of a PNG's chunks true again, so that a lie reaches what stands behind them.
fn mend(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        if end.saturating_add(4) > bytes.len() {
            return;
        }
        let sum = crate::data::decode::tests::crc32(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

/// Runs `rounds` mutations of each file through the decoder; `(accepted, refused)` and the reasons without their numbers.
fn images(files: &[Vec<u8>], rounds: usize) -> ((usize, usize), BTreeSet<String>) {
    let (mut accepted, mut refused, mut reasons) = (0, 0, BTreeSet::new());
    for (i, valid) in files.iter().enumerate() {
        decode_inner(valid, Path::new("a")).expect("the file is valid before it is mutated");
        let mut r = Random(i as u64 + 1);
        for _ in 0..rounds {
            let mut bytes = mutate(valid, &mut r);
            if r.below(2) == 0 && bytes.starts_with(b"\x89PNG") {
                mend(&mut bytes);
            }
            // The inner function, without the net below it: a panic of a decoder fails the test.
            let (result, held) = measured(|| decode_inner(&bytes, Path::new("a")));
            assert!(held <= MAX_BYTES + 4 * MAX_PIXELS + (1 << 20), "{held} bytes were held");
            match result {
                Ok(p) => {
                    assert_eq!(p.data.len(), p.width * p.height);
                    assert!(p.data.len() as u64 <= MAX_PIXELS && p.width.min(p.height) >= MIN_SIDE as usize);
                    assert!(p.data.iter().all(|v| (0.0..=1.0).contains(v)));
                    accepted += 1;
                }
                Err(reason) => {
                    let words: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(90).collect();
                    reasons.insert(words);
                    refused += 1;
                }
            }
        }
    }
    ((accepted, refused), reasons)
}

fn png_and_jpeg() -> Vec<Vec<u8>> {
    let g = DynamicImage::ImageLuma8(gray(40, 33));
    let colour = DynamicImage::ImageRgba8(g.to_rgba8());
    let deep = DynamicImage::ImageLuma16(g.to_luma16());
    let lossy = DynamicImage::ImageRgb8(g.to_rgb8());
    vec![png(&g), png(&colour), png(&deep), jpeg(&g), jpeg(&lossy)]
}

#[cfg(feature = "dicom")]
fn dicom() -> Vec<Vec<u8>> {
    crate::data::dicom::tests::files().into_iter().map(|(_, bytes)| bytes.to_vec()).collect()
}

/// Runs `rounds` mutations of a table and of two manifests; `(accepted, refused)`.
fn tables(rounds: usize) -> (usize, usize) {
    let table: &[u8] =
        b"file,finding,patient_id,sex,age,view,split,original_name,\n1.png,Mass|Edema,007,F,50+,PA,train,a.png,\n\
        \"b/2.png\",No Finding,8a,M,,AP,test,\"x, \"\"y\"\"\",\n";
    let of_table: &[u8] = b"format = \"radiograd-manifest-1\"\nname = \"t\"\nunknown_labels = \"keep\"\n[table]\n\
        csv = \"metadata.csv\"\nfile = \"{file}\"\nlabel = \"finding\"\npatient = \"patient_id\"\nfolders = [\".\", \"b*\"]\n\
        keep = [{ column = \"view\", values = [\"PA\", \"AP\"] }]\n[labels]\n\"Mass\" = \"mass\"\n";
    let of_tree: &[u8] =
        b"format = \"radiograd-manifest-1\"\nname = \"t\"\nunknown_labels = \"keep\"\n[[tree]]\nfolder = \"b\"\nlabel = \"Normal\"\n\
        split = \"train\"\n[[name_rule]]\npattern = \"person{n}_{k}\"\npatient = \"{split}-P{n}\"\nlabel = \"x\"\n";
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::create_dir(d.join("b")).unwrap();
    for name in ["1.png", "b/2.png", "b/person1_virus.png"] {
        std::fs::write(d.join(name), b"x").unwrap();
    }
    let (mut accepted, mut refused) = (0, 0);
    let mut take = |result: crate::error::Result<usize>| match result {
        Ok(_) => accepted += 1,
        Err(e) => {
            assert!(matches!(e.exit_code(), 1 | 2 | 5), "{e}");
            refused += 1;
        }
    };
    let mut r = Random(9);
    for i in 0..rounds {
        let bytes = mutate(table, &mut r);
        for encoding in [Encoding::Utf8, Encoding::Latin1] {
            let (result, held) = measured(|| Csv::parse(Path::new("t.csv"), &bytes, encoding));
            // Cells of 24 bytes, of which a short row may be given as many as the header has.
            assert!(held < 1 << 20, "{held} bytes were held for {}", bytes.len());
            if let Ok(t) = &result {
                assert!(t.rows.iter().all(|row| row.len() == t.columns.len()));
            }
            take(result.map(|t| t.rows.len()));
        }
        if i % 8 == 0 {
            // Through files: the folder's table, then a manifest that reads the good table, then a tree.
            let open = |path: &Path| {
                let data = Dataset::open(path, &OpenOptions { allow_missing: true, ..OpenOptions::default() })?;
                assert!(data.records.iter().all(|r| r.file.components().all(|c| c.as_os_str() != "..")));
                Ok(data.groups().len())
            };
            std::fs::write(d.join("metadata.csv"), &bytes).unwrap();
            take(open(d));
            std::fs::write(d.join("metadata.csv"), table).unwrap();
            for (name, valid) in [("t.toml", of_table), ("tree.toml", of_tree)] {
                std::fs::write(d.join(name), valid).unwrap();
                open(&d.join(name)).expect("the manifest is valid before it is mutated");
                std::fs::write(d.join(name), mutate(valid, &mut r)).unwrap();
                take(open(&d.join(name)));
            }
        }
    }
    (accepted, refused)
}

#[test]
fn mutated_images_never_panic_and_stay_within_their_memory() {
    let ((accepted, refused), reasons) = images(&png_and_jpeg(), 400);
    assert!(accepted > 50 && refused > 500, "accepted {accepted}, refused {refused}");
    assert!(reasons.len() > 12, "the mutations reach many checks: {reasons:?}");
}

#[cfg(feature = "dicom")]
#[test]
fn mutated_dicom_never_panics_and_stays_within_its_memory() {
    let ((accepted, refused), reasons) = images(&dicom(), 400);
    assert!(accepted > 500 && refused > 500, "accepted {accepted}, refused {refused}");
    assert!(reasons.len() > 20, "the mutations reach many checks: {reasons:?}");
    assert!(!reasons.iter().any(|r| r.contains("Nobody") || r.contains("NOBODY")), "{reasons:?}");
}

#[test]
fn mutated_tables_and_manifests_never_panic() {
    let (accepted, refused) = tables(600);
    assert!(accepted > 100 && refused > 100, "accepted {accepted}, refused {refused}");
}

#[test]
#[ignore = "takes minutes; RADIOGRAD_FUZZ sets the number of mutations a file"]
fn mutated_files_for_long() {
    let rounds = std::env::var("RADIOGRAD_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let (counts, reasons) = images(&png_and_jpeg(), rounds);
    eprintln!("images accepted and refused: {counts:?}, {} reasons", reasons.len());
    #[cfg(feature = "dicom")]
    {
        let (counts, reasons) = images(&dicom(), rounds);
        eprintln!("DICOM accepted and refused: {counts:?}, {} reasons", reasons.len());
    }
    eprintln!("tables accepted and refused: {:?}", tables(rounds / 4));
}
