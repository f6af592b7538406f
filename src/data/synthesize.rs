//! A teaching set as files: what `radiograd data synthesize` writes.
//!
//! ```text
//! DIR/images/s1-00012-0.png    8-bit gray: seed, patient, image
//! DIR/masks/s1-00012-0.png     the finding, 255 where it is; none for normal images
//! DIR/lungs/s1-00012-0.png     the lung fields
//! DIR/metadata.csv             one row an image
//! DIR/manifest.toml            data-manifests/synthetic.toml with the options in its head
//! ```
//!
//! The table is written after the images and the manifest last: a set that was interrupted does not open.

use crate::data::folder::TABLE;
use crate::data::phantom::CLASSES;
use crate::data::phantom::teaching::{Example, Teaching};
use crate::error::{Error, Result};
use crate::files::write_atomic;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of the manifest in the folder.
pub const MANIFEST: &str = "manifest.toml";

/// The manifest as published.
const PUBLISHED: &str = include_str!("../../data-manifests/synthetic.toml");

/// Columns of the table: those that [`crate::data::folder`] reads, and for people `class` and `letter`.
const HEAD: &str = "file,finding,patient_id,sex,age,view,original_name,original_width,original_height,modality,source,\
    collection,mask,lung_mask,class,letter\n";

/// Patients drawn at a time: bounds the memory, and the wait after an interrupt.
const AT_ONCE: u64 = 32;

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// The folder.
    pub folder: PathBuf,
    /// Number of patients.
    pub patients: usize,
    /// Number of images.
    pub images: usize,
    /// Images of each class.
    pub classes: BTreeMap<String, usize>,
    /// Images of each source.
    pub sources: BTreeMap<String, usize>,
    /// Images with a letter, by class; empty without the option.
    pub letters: BTreeMap<String, usize>,
    /// Phi coefficient between "has a letter" and "is of the letter's class", as drawn; `None` without a letter or where one
    /// of the four cases makes it undefined.
    pub correlation: Option<f64>,
}

/// Writes a teaching set into `folder`, which must be empty or not there yet. `progress` gets the number of patients that were
/// just finished.
///
/// # Errors
/// [`Error::Usage`] as [`Teaching::check`] and for a folder with something in it, [`Error::Io`], [`Error::Interrupted`] where
/// `cancel` was set.
pub fn write(
    set: &Teaching,
    folder: &Path,
    progress: Option<&(dyn Fn(u64) + Sync)>,
    cancel: Option<&AtomicBool>,
) -> Result<Written> {
    set.check()?;
    must_be_empty(folder)?;
    for name in ["images", "masks", "lungs"] {
        let sub = folder.join(name);
        std::fs::create_dir_all(&sub).map_err(Error::io(&sub, "cannot create"))?;
    }
    let mut table = HEAD.to_string();
    let mut from = 0;
    while from < set.patients as u64 {
        if cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
            let m = format!("stopped after {from} of {} patients; {} is incomplete", set.patients, folder.display());
            return Err(Error::Interrupted(m));
        }
        let to = (from + AT_ONCE).min(set.patients as u64);
        let examples = set.draw_patients(from..to)?;
        let rows: Vec<String> = examples.par_iter().map(|e| write_one(set, folder, e)).collect::<Result<_>>()?;
        rows.iter().for_each(|row| table += row);
        if let Some(progress) = progress {
            progress(to - from);
        }
        from = to;
    }
    write_atomic(&folder.join(TABLE), table.as_bytes())?;
    write_atomic(&folder.join(MANIFEST), manifest(set).as_bytes())?;
    count(set, folder)
}

/// Refuses a folder that holds anything.
fn must_be_empty(folder: &Path) -> Result<()> {
    let mut entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(folder, "cannot list")(e)),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::Usage(format!("{}: the folder is not empty; nothing was written", folder.display()))),
    }
}

/// Name of a source in tables.
fn source_name(source: usize) -> String {
    format!("synthetic-{}", source + 1)
}

/// Writes the files of one image; returns its row.
fn write_one(set: &Teaching, folder: &Path, e: &Example) -> Result<String> {
    let (label, side) = (&e.label, set.side);
    // The same patient of the same seed is the same person in every set, whatever the side and the options.
    let name = format!("s{}-{:05}-{}.png", set.seed, label.patient, label.image);
    let gray: Vec<u8> = e.phantom.pixels.iter().map(|v| (v * 255.0).round() as u8).collect();
    let white = |mask: &[bool]| mask.iter().map(|&m| if m { 255 } else { 0 }).collect::<Vec<u8>>();
    write_png(&folder.join("images").join(&name), &gray, side)?;
    write_png(&folder.join("lungs").join(&name), &white(&e.phantom.lungs), side)?;
    let lesion = e.phantom.lesion.iter().any(|&m| m);
    if lesion {
        write_png(&folder.join("masks").join(&name), &white(&e.phantom.lesion), side)?;
    }
    let mask = if lesion { format!("masks/{name}") } else { String::new() };
    let letter = e.letter.map(String::from).unwrap_or_default();
    let (finding, patient, source) = (label.finding, label.patient, source_name(label.source));
    Ok(format!(
        "images/{name},{finding},s{}-{patient},,,PA,{name},{side},{side},X-ray,{source},synthetic,{mask},lungs/{name},{},{letter}\n",
        set.seed, CLASSES[label.class]
    ))
}

/// An 8-bit gray PNG.
fn write_png(path: &Path, gray: &[u8], side: usize) -> Result<()> {
    let mut bytes = Vec::new();
    let side = u32::try_from(side).map_err(|e| Error::Internal(e.to_string()))?;
    PngEncoder::new(&mut bytes)
        .write_image(gray, side, side, ExtendedColorType::L8)
        .map_err(|e| Error::Internal(format!("PNG encoder: {e}")))?;
    write_atomic(path, &bytes)
}

/// The published manifest with what this set was made of.
fn manifest(set: &Teaching) -> String {
    let letter = set
        .letter
        .map_or(String::new(), |l| format!(" --letter {} --letter-correlation {}", CLASSES[l.class], l.correlation));
    let (patients, side, seed, sources) = (set.patients, set.side, set.seed, set.sources);
    format!(
        "# radiograd data synthesize --patients {patients} --side {side} --seed {seed} --sources {sources}{letter}\n{PUBLISHED}"
    )
}

/// The figures of the set, from its labels.
fn count(set: &Teaching, folder: &Path) -> Result<Written> {
    let labels = set.labels()?;
    let mut written = Written {
        folder: folder.to_path_buf(),
        patients: set.patients,
        images: labels.len(),
        classes: BTreeMap::new(),
        sources: BTreeMap::new(),
        letters: BTreeMap::new(),
        correlation: None,
    };
    for label in &labels {
        let class = CLASSES[label.class].to_string();
        *written.classes.entry(class.clone()).or_default() += 1;
        *written.sources.entry(source_name(label.source)).or_default() += 1;
        if set.letter.is_some() {
            *written.letters.entry(class).or_default() += usize::from(label.letter);
        }
    }
    if let Some(letter) = set.letter {
        let n =
            |l: bool, c: bool| labels.iter().filter(|x| x.letter == l && (x.class == letter.class) == c).count() as f64;
        let (a, b, c, d) = (n(true, true), n(true, false), n(false, true), n(false, false));
        let phi = (a * d - b * c) / ((a + b) * (c + d) * (a + c) * (b + d)).sqrt();
        written.correlation = phi.is_finite().then_some(phi);
    }
    Ok(written)
}

impl std::fmt::Display for Written {
    /// Folder, counts and how to go on.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let list = |counts: &BTreeMap<String, usize>| {
            counts.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "{}: {} synthetic images of {} patients", self.folder.display(), self.images, self.patients)?;
        writeln!(f, "classes: {}", list(&self.classes))?;
        writeln!(f, "sources: {}", list(&self.sources))?;
        if !self.letters.is_empty() {
            let phi = self.correlation.map_or("not defined".into(), |r| format!("{r:.3}"));
            writeln!(f, "images with a letter: {}; correlation with its class (phi) {phi}", list(&self.letters))?;
        }
        writeln!(f, "Drawings for tests and teaching: they say nothing about real patients.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::LabelMap;
    use crate::data::phantom::teaching::Letter;
    use crate::data::table::{Dataset, OpenOptions};

    const SET: Teaching =
        Teaching { seed: 4, patients: 12, side: 40, letter: Some(Letter { class: 1, correlation: 0.9 }), sources: 3 };

    #[test]
    fn the_folder_and_its_manifest_open_alike_and_hold_what_was_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path().join("new/set");
        let written = write(&SET, &d, None, None).unwrap();
        let drawn = SET.draw().unwrap();
        assert_eq!((written.images, written.patients, written.sources.len()), (drawn.len(), 12, 3));
        let by_manifest = Dataset::open(&d.join(MANIFEST), &OpenOptions::default()).unwrap();
        let by_folder = Dataset::open(&d, &OpenOptions::default()).unwrap();
        assert_eq!(by_manifest.records, by_folder.records);
        assert!(by_folder.notes.is_empty() && by_manifest.dropped.is_empty(), "{:?}", by_folder.notes);
        let read = |path: &Path| image::open(d.join(path)).unwrap().into_luma8().into_raw();
        for (r, e) in by_manifest.records.iter().zip(&drawn) {
            assert_eq!((r.source.as_str(), r.finding.as_str()), (&*source_name(e.label.source), e.label.finding));
            let gray: Vec<f32> = read(&r.file).iter().map(|&v| f32::from(v) / 255.0).collect();
            assert_eq!(gray, e.phantom.pixels);
            let mask =
                |path: &Option<PathBuf>| path.as_ref().map(|p| read(p).iter().map(|&v| v == 255).collect::<Vec<_>>());
            assert_eq!(mask(&r.lung_mask).as_ref(), Some(&e.phantom.lungs));
            assert_eq!(mask(&r.mask), (e.label.class > 0).then(|| e.phantom.lesion.clone()));
        }
        let labelled = LabelMap::named("synthetic").unwrap().apply(&by_folder).unwrap();
        let classes: Vec<usize> = drawn.iter().map(|e| e.label.class).collect();
        assert_eq!(labelled.items.iter().map(|i| i.1).collect::<Vec<_>>(), classes);
        // Patients are groups; four classes of three patients each.
        assert_eq!(by_folder.groups().iter().max(), Some(&11));
        let table = std::fs::read_to_string(d.join(TABLE)).unwrap();
        let letters = table.lines().filter(|l| l.ends_with(",R") || l.ends_with(",L")).count();
        assert_eq!(letters, drawn.iter().filter(|e| e.letter.is_some()).count());
        assert_eq!(letters, written.letters.values().sum::<usize>());
        assert!(written.to_string().contains(&format!("{} synthetic images of 12 patients", drawn.len())));
    }

    #[test]
    fn same_options_same_bytes_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let small = Teaching { patients: 3, ..SET };
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write(&small, &a, None, None).unwrap();
        write(&small, &b, None, None).unwrap();
        for name in [TABLE, MANIFEST, "images/s4-00000-0.png", "lungs/s4-00002-0.png"] {
            assert_eq!(std::fs::read(a.join(name)).unwrap(), std::fs::read(b.join(name)).unwrap(), "{name}");
        }
        let e = write(&small, &a, None, None).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains("not empty"), "{e}");
        let stop = AtomicBool::new(true);
        let e = write(&small, &dir.path().join("c"), None, Some(&stop)).unwrap_err();
        assert!(e.exit_code() == 130 && !dir.path().join("c").join(TABLE).exists(), "{e}");
        assert_eq!(write(&Teaching { side: 8, ..SET }, &dir.path().join("d"), None, None).unwrap_err().exit_code(), 2);
        assert!(!dir.path().join("d").exists());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(write(&small, &dir.path().join("file"), None, None).is_err());
    }
}
