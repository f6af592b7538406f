//! DICOM files on the command line of `predict` and `explain`, with the feature `dicom` and without it.

use crate::bad_input::refused;
use crate::{image, model};
use radiograd::train::Normalize;
use radiograd::weights::Scaling;
use std::path::Path;

/// Weights, and a folder with a PNG and two DICOM files, one in a folder of its own. They are the reader's own test files:
/// formula pixels that pydicom wrote.
fn case(dir: &Path) -> String {
    let weights = model(dir, "gaowang", 16, &["a", "b"], false, Scaling::Same(Normalize::CENTERED));
    std::fs::create_dir_all(dir.join("images/study")).unwrap();
    image(&dir.join("images/a.png"), 20, 1);
    let files: [(&str, &[u8]); 2] = [
        ("images/b.DCM", include_bytes!("../../src/data/dicom/testdata/linear.dcm")),
        ("images/study/c.dcm", include_bytes!("../../src/data/dicom/testdata/jpeg_lossless.dcm")),
    ];
    files.iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
    weights.to_str().unwrap().to_string()
}

#[cfg(feature = "dicom")]
#[test]
fn folders_are_searched_for_dicom_files() {
    use crate::{columns, ok};
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d);
    let rows = columns(&ok(d, &["predict", "--weights", &w, "images", "-q"]));
    let paths: Vec<&str> = rows.iter().map(|r| r["path"].as_str()).collect();
    assert_eq!(paths, ["images/a.png", "images/b.DCM", "images/study/c.dcm"]);
    assert_ne!(rows[1]["p(a)"], rows[2]["p(a)"], "the files differ");
    // Scanners' own names have no ending: a file that is named is known by its mark, and is the same image.
    std::fs::copy(d.join("images/b.DCM"), d.join("IM000001")).unwrap();
    let one = columns(&ok(d, &["predict", "--weights", &w, "IM000001", "-q"]));
    let p = |r: &std::collections::BTreeMap<String, String>| r["p(a)"].parse::<f64>().unwrap();
    assert!((p(&one[0]) - p(&rows[1])).abs() < 2e-6, "{one:?} {rows:?}");
    let panels = columns(&ok(d, &["explain", "--weights", &w, "images", "--out", "panels", "-q"]));
    assert_eq!(panels.len(), 3);
    for row in &panels {
        let panel = image::open(d.join(&row["panel"])).unwrap().to_rgb8();
        assert!(panel.pixels().any(|p| p != panel.get_pixel(0, 0)), "{}: an empty picture", row["panel"]);
    }
    // What is called DICOM and is none is said to be damaged, and can be counted.
    std::fs::write(d.join("images/d.dcm"), b"not one").unwrap();
    refused(d, &["predict", "--weights", &w, "images", "-q", "--out", "t.csv"], 5, &["d.dcm", "--skip-bad"]);
    assert_eq!(columns(&ok(d, &["predict", "--weights", &w, "images", "-q", "--skip-bad"])).len(), 3);
}

#[cfg(not(feature = "dicom"))]
#[test]
fn without_the_feature_its_name_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d);
    for (command, images, out, named) in [
        ("predict", "images", "t.csv", "b.DCM"),
        ("predict", "images/study", "t.csv", "c.dcm"),
        ("explain", "images/b.DCM", "panels", "b.DCM"),
    ] {
        let arguments = [command, "--weights", &w, images, "-q", "--out", out];
        refused(d, &arguments, 5, &[named, "--features dicom", "--skip-bad"]);
    }
}
