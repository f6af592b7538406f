//! The audit as a whole, on small sets of planted faults.

use super::*;
use crate::data::audit::groups::Kind;
use crate::data::table::{Dataset, OpenOptions};
use std::path::{Path, PathBuf};

#[path = "../../../kernels-tests/picture.rs"]
mod picture;
use picture::picture;

struct Folder {
    dir: tempfile::TempDir,
    rows: Vec<String>,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: tempfile::tempdir().unwrap(), rows: Vec::new() }
    }

    fn add(&mut self, file: &str, image: &image::GrayImage, row: &str) {
        image.save(self.dir.path().join(file)).unwrap();
        self.rows.push(format!("{file},{row}"));
    }

    fn read(&self) -> Reading {
        self.write();
        let paths = [self.dir.path().to_path_buf()];
        Reading::open(&paths, &OpenOptions::default(), &ReadOptions::default(), false).unwrap()
    }

    fn write(&self) {
        let head = "file,finding,patient_id,sex,age,view,split\n".to_string();
        std::fs::write(self.dir.path().join("metadata.csv"), head + &self.rows.join("\n") + "\n").unwrap();
    }
}

/// Twelve images without fault, 4 to 5 of each class.
fn clean() -> Folder {
    let mut f = Folder::new();
    for k in 0..12 {
        let row =
            format!("{},{k},M,{},PA,{}", ["No Finding", "Mass", "Edema"][k % 3], 40 + k, ["train", "test"][k % 2]);
        f.add(&format!("{k}.png"), &picture(k as u32, 48), &row);
    }
    f
}

#[test]
fn a_clean_set_has_no_finding() {
    let a = audit(&clean().read(), &AuditOptions::default()).unwrap();
    assert_eq!((a.images, a.duplicates.groups.len(), a.leaks.len(), a.unusable.len()), (12, 0, 0, 0));
    assert_eq!((a.patients.known, a.patients.with_several, a.views.lateral), (12, 0, 0));
    assert_eq!(a.divisions, ["published split"]);
    // The folder has a name that no collection has.
    assert!(a.warnings.iter().all(|w| w.starts_with("No licence")), "{:?}", a.warnings);
    let json = serde_json::to_string(&a).unwrap();
    assert!(!json.contains("0.png") && !json.contains(".png"), "no file name in a report");
    assert_eq!(serde_json::from_str::<Audit>(&json).unwrap().sha256, a.sha256);
    let (text, page) = (text::summary(&a), crate::report::audit::render(&a));
    for out in [&text, &page] {
        assert!(out.contains("not a medical device") && !out.contains(".png"), "{out}");
    }
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("src=\"http") && !page.contains("<script"));
}

#[test]
fn planted_faults_are_found() {
    let mut f = clean();
    let p = |k| picture(k, 48);
    let brighter = |k: u32| {
        image::GrayImage::from_fn(48, 48, |x, y| image::Luma([(p(k).get_pixel(x, y)[0] as f32 * 0.6 + 60.0) as u8]))
    };
    f.add("copy.png", &p(0), "Mass,77,M,40,PA,test"); // the file of 0.png, another finding, another part
    f.add("bright.png", &brighter(1), "Mass,78,F,40,PA,test"); // looks like 1.png, in the same part
    f.add("small.png", &picture(2, 32), "Edema,79,F,40,PA,"); // 2.png at another size, in no part
    f.add("again.png", &picture(100, 48), "Mass,4,F,45,L,test"); // patient 4 of training; another sex, a lateral view
    f.add("child.png", &picture(101, 48), "Mass,80,F,006M,PA,train");
    f.add("old.png", &picture(102, 48), "Mass,81,F,414Y,PA,train");
    let reading = f.read();
    let a = audit(&reading, &AuditOptions::default()).unwrap();
    let d = &a.duplicates;
    assert_eq!((d.equal_files, d.equal_pixels, d.alike_pairs, d.groups.len()), (1, 0, 2, 3));
    assert_eq!((d.conflicts, d.across_patients, d.images), (1, 3, 6));
    assert!(d.groups[0].conflict && d.groups[0].kinds == [Kind::File], "{:?}", d.groups[0]);
    assert_eq!((a.patients.with_several, a.patients.with_both_sexes), (1, 1));
    assert_eq!((a.views.lateral, a.ages.children, a.ages.implausible), (1, 1, 1));
    let brief: Vec<(Bond, usize)> = a.leaks.iter().map(|l| (l.bond, l.groups)).collect();
    assert_eq!(brief, [(Bond::Patient, 1), (Bond::Duplicates, 1)]);
    assert_eq!(gate(&a.leaks, None).unwrap_err().exit_code(), 5);
    // Groups for a split: duplicates tie patients together.
    let groups = reading.groups(GroupBy::PatientAndDuplicates);
    let at = |name: &str| reading.data.records.iter().position(|r| r.file == Path::new(name)).unwrap();
    assert_eq!(groups[at("copy.png")], groups[at("0.png")]);
    assert_eq!(groups[at("again.png")], groups[at("4.png")]);
    assert_ne!(reading.groups(GroupBy::Patient)[at("copy.png")], reading.groups(GroupBy::Patient)[at("0.png")]);
    assert_eq!(reading.groups(GroupBy::Image).len(), 18);
    let allowed = AuditOptions { allow_leak: Some("to show the gap".into()), ..AuditOptions::default() };
    let a = audit(&reading, &allowed).unwrap();
    assert!(
        crate::report::audit::render(&a).contains("to show the gap") && text::summary(&a).contains("to show the gap")
    );
}

#[test]
fn a_confounded_label_is_guessed_without_the_lungs() {
    let mut f = Folder::new();
    // Class Mass is bright and AP, No Finding dark and PA, 40 images each of 20 patients.
    for k in 0..80u32 {
        let ill = k % 2 == 1;
        let bright = image::GrayImage::from_fn(16, 16, |x, y| {
            let v = picture(k, 16).get_pixel(x, y)[0] / 3;
            image::Luma([if ill { v + 150 } else { v }])
        });
        let row = format!(
            "{},{},,,{},",
            ["No Finding", "Mass"][ill as usize],
            k % 2 * 100 + k / 4,
            ["PA", "AP"][ill as usize]
        );
        f.add(&format!("{k}.png"), &bright, &row);
    }
    let a = audit(&f.read(), &AuditOptions::default()).unwrap();
    let find = |from: &str| a.predictions.iter().find(|p| p.from == from && p.of == "class");
    let (view, thumb) = (find("view").unwrap(), find("8 x 8 thumbnail").unwrap());
    assert_eq!((view.correct, view.images, view.majority), (80, 80, 0.5));
    assert!(thumb.accuracy > 0.95 && thumb.interval.low > 0.9, "{thumb:?}");
    assert!(find("source").is_none(), "one source says nothing");
    assert_eq!(a.properties[1].cramers_v, Some(1.0));
    assert!(a.warnings.iter().any(|w| w.contains("coincides with view")), "{:?}", a.warnings);
    // The same picture with labels that it cannot know.
    let mut f = Folder::new();
    for k in 0..80u32 {
        let row = format!("{},{k},,,PA,", ["No Finding", "Mass"][(k / 3 % 2) as usize]);
        f.add(&format!("{k}.png"), &picture(k, 16), &row);
    }
    let a = audit(&f.read(), &AuditOptions::default()).unwrap();
    let thumb = a.predictions.iter().find(|p| p.of == "class").unwrap();
    assert!(thumb.interval.low < 0.6, "{thumb:?}");
    assert!(!a.warnings.iter().any(|w| w.contains("thumbnails")), "{:?}", a.warnings);
}

#[test]
fn two_folders_that_share_pictures() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, side) in [("nih-a", 64), ("nih-b", 40)] {
        let at = dir.path().join(folder);
        std::fs::create_dir(&at).unwrap();
        let mut csv = "file,finding,patient_id,original_name\n".to_string();
        for k in 0..6u32 {
            // Two of six are the same in both folders; one of these under another name.
            let seed = if k < 2 { k } else { k + side };
            picture(seed, side).save(at.join(format!("{k}.png"))).unwrap();
            let name = if k == 0 { "x.png".into() } else { format!("{k}-{side}.png") };
            csv += &format!("{k}.png,Mass,{k}{side},{name}\n");
        }
        std::fs::write(at.join("metadata.csv"), csv).unwrap();
    }
    let paths: [PathBuf; 2] = ["nih-a", "nih-b"].map(|f| dir.path().join(f));
    let data = Dataset::open_all(&paths, &OpenOptions::default()).unwrap();
    assert!(data.origins["nih-a"].assumed && data.origins["nih-b"].licence.contains("NIH"));
    let reading = Reading::of(&paths, data, &ReadOptions::default(), true).unwrap();
    assert_eq!(reading.names[0], "nih-a/0.png");
    let a = audit(&reading, &AuditOptions::default()).unwrap();
    assert_eq!(a.shared.len(), 1);
    let s = &a.shared[0];
    assert_eq!((s.pictures, s.names, s.names_alike, s.conflicts), (2, 1, 1, 0));
    let twice = [dir.path().to_path_buf(), dir.path().join("nih-a")];
    let e = Dataset::open_all(&twice, &OpenOptions::default()).unwrap_err();
    assert!(e.exit_code() == 2 && e.to_string().contains("6 images are given twice"), "{e}");
}

#[test]
fn the_ledger_sees_every_change() {
    let f = clean();
    let before = Ledger::of(&f.read());
    let path = f.dir.path().join("digests.json");
    before.write(&path).unwrap();
    let before_again = Ledger::read(&path).unwrap();
    assert_eq!(before_again, before);
    assert!(before.compare(&Ledger::of(&f.read()), false).check().is_ok());
    // 0: other pixels. 1: the same pixels in another file. 2: gone. new: not there before.
    let mut other = picture(0, 48);
    other.put_pixel(3, 3, image::Luma([7]));
    other.save(f.dir.path().join("0.png")).unwrap();
    image::DynamicImage::ImageLuma8(picture(1, 48)).to_rgb8().save(f.dir.path().join("1.png")).unwrap();
    let mut f = f;
    f.rows.retain(|r| !r.starts_with("2.png"));
    f.add("new.png", &picture(50, 48), "Mass,,,,,");
    let now = Ledger::of(&f.read());
    let changes = before.compare(&now, true);
    let one = |name: &str| vec![name.to_string()];
    assert_eq!((changes.pixels.clone(), changes.bytes.clone()), (one("0.png"), one("1.png")));
    assert_eq!((changes.missing.clone(), changes.new.clone(), changes.unchanged), (one("2.png"), one("new.png"), 9));
    let e = changes.check().unwrap_err();
    assert!(e.exit_code() == 5 && e.to_string().contains("1 with other pixels: 0.png"), "{e}");
    assert!(!before.compare(&now, false).check().unwrap_err().to_string().contains(".png"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("5.png", "6x.png")).unwrap();
    assert!(Ledger::read(&path).unwrap_err().to_string().contains("changed since"));
    std::fs::write(&path, "{}").unwrap();
    assert_eq!(Ledger::read(&path).unwrap_err().exit_code(), 5);
}

#[test]
fn unusable_images_are_counted_by_name_and_reason() {
    let f = clean();
    std::fs::write(f.dir.path().join("3.png"), b"").unwrap();
    let whole = std::fs::read(f.dir.path().join("4.png")).unwrap();
    std::fs::write(f.dir.path().join("4.png"), &whole[..whole.len() - 40]).unwrap();
    let reading = f.read();
    let e = reading.check_bad(false).unwrap_err();
    assert!(e.exit_code() == 5 && e.to_string().contains("2 of 12 images cannot be used; first: img-"), "{e}");
    reading.check_bad(true).unwrap();
    let a = audit(&reading, &AuditOptions::default()).unwrap();
    assert_eq!((a.images, a.unusable.len()), (10, 2));
    assert!(
        a.unusable[0].reason.contains("empty file") && a.unusable[1].reason.contains("damaged PNG"),
        "{:?}",
        a.unusable
    );
    assert!(crate::report::audit::render(&a).contains("empty file"));
}
