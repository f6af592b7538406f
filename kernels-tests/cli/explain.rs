//! `radiograd explain`.

use crate::bad_input::refused;
use crate::{columns, even, image, model, ok, radiograd};
use radiograd::models::Preprocess;
use radiograd::train::Normalize;
use radiograd::weights::Scaling;
use std::collections::BTreeMap;
use std::path::Path;

const SIDE: usize = 32;

/// A folder of images whose names have a patient's number, and weights that do not say the same of all of them.
fn case(dir: &Path, count: u32) -> String {
    let scaling = Scaling::Same(Normalize::CENTERED);
    let weights = model(dir, "gaowang", SIDE, &["normal", "viral", "other"], false, scaling);
    std::fs::create_dir(dir.join("images")).unwrap();
    for i in 0..count {
        image(&dir.join(format!("images/patient4711-{i}.png")), 40 + i % 7, 3 * i + 1);
    }
    even(dir, &weights, "images");
    weights.to_str().unwrap().to_string()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|e| panic!("{column} '{}': {e}", row[column]))
}

fn files(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// Pure red pixels in the left, the middle and the right third of a panel.
fn red(panel: &Path) -> [usize; 3] {
    let picture = image::open(panel).unwrap().to_rgb8();
    let mut count = [0; 3];
    for (x, _, p) in picture.enumerate_pixels().filter(|(.., p)| p.0 == [255, 0, 0]) {
        assert_eq!(p.0, [255, 0, 0]);
        // Three pictures of 8 x 32 pixels after a margin of 12, 10 between them.
        count[((x as usize - 12) / (8 * SIDE + 10)).min(2)] += 1;
    }
    count
}

#[test]
fn a_folder_becomes_panels_maps_and_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d, 6);
    let arguments = ["explain", "--weights", &w, "images", "--out", "new/maps", "--contour", "--maps", "--batch", "4"];
    let csv = ok(d, &arguments);
    let head = "path,panel,map,predicted,explained,probability,peak,empty,border,corners\n";
    assert!(csv.starts_with(head), "{csv}");
    let rows = columns(&csv);
    let single = columns(&ok(d, &["predict", "--weights", &w, "images"]));
    assert_eq!((rows.len(), files(&d.join("new/maps")).len()), (6, 12));
    assert!(rows.iter().any(|r| r["predicted"] != rows[0]["predicted"]), "the test needs several classes: {csv}");
    let mut drawn = 0;
    for (i, (row, predicted)) in rows.iter().zip(&single).enumerate() {
        // The table has the user's paths, the files do not.
        assert_eq!(row["path"], format!("images/patient4711-{i}.png"));
        let name = Path::new(&row["panel"]).file_name().unwrap().to_str().unwrap();
        let (serial, hash) = name.strip_suffix(".png").unwrap().split_once('-').unwrap();
        assert_eq!(serial, format!("{:04}", i + 1));
        assert!(hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        assert_eq!(row["map"], row["panel"].replace(".png", ".map.png"));
        // The network says what it says without maps.
        assert_eq!((&row["predicted"], &row["explained"]), (&predicted["class"], &predicted["class"]));
        let p = number(predicted, &format!("p({})", row["predicted"]));
        assert!((number(row, "probability") - p).abs() < 2e-6);
        // The map is a gray picture of the network's side that reaches 255; the table's shares are its shares.
        let map = image::open(d.join(&row["map"])).unwrap();
        assert_eq!((map.color(), map.width(), map.height()), (image::ColorType::L8, SIDE as u32, SIDE as u32));
        let map = map.to_luma8();
        if row["empty"] == "true" {
            assert!(map.pixels().all(|p| p.0 == [0]) && number(row, "peak") == 0.0 && row["border"].is_empty());
            assert_eq!(red(&d.join(&row["panel"])), [0; 3]);
            continue;
        }
        drawn += 1;
        assert!(number(row, "peak") > 0.0);
        assert_eq!(map.pixels().map(|p| p.0[0]).max(), Some(255));
        let sum = |inside: &dyn Fn(u32, u32) -> bool| -> f64 {
            map.enumerate_pixels().filter(|(x, y, _)| inside(*x, *y)).map(|(_, _, p)| f64::from(p.0[0])).sum()
        };
        let all = sum(&|_, _| true);
        let border = sum(&|x, y| x.min(y) < 4 || x.max(y) >= 28);
        let corners = sum(&|x, y| !(8..24).contains(&x) && !(8..24).contains(&y));
        assert!((number(row, "border") - border / all).abs() < 0.01, "{row:?}: {border} of {all}");
        assert!((number(row, "corners") - corners / all).abs() < 0.01, "{row:?}: {corners} of {all}");
        // The contour: red in original and overlay alike, not in the map.
        let [original, plain, overlay] = red(&d.join(&row["panel"]));
        assert!(original > 0 && original == overlay && plain == 0, "{original} {plain} {overlay}");
    }
    assert!(drawn > 0, "all maps are empty: {csv}");
    // Without --contour nothing is red; one image alone has the same figures, and the name of its place there.
    let last = rows[5]["path"].as_str();
    let one = columns(&ok(d, &["explain", "--weights", &w, last, "--quiet"]));
    assert_eq!(files(&d.join("explain")).len(), 1);
    assert_eq!(red(&d.join(&one[0]["panel"])), [0; 3]);
    assert!((number(&one[0], "peak") - number(&rows[5], "peak")).abs() <= 1e-3 * number(&rows[5], "peak"));
    let hash = |r: &BTreeMap<String, String>| r["panel"].rsplit_once('-').unwrap().1.to_string();
    assert!(one[0]["panel"].contains("0001-") && hash(&one[0]) == hash(&rows[5]), "{}", one[0]["panel"]);
}

#[test]
fn another_class_another_method_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d, 3);
    let single = columns(&ok(d, &["predict", "--weights", &w, "images"]));
    let arguments =
        ["explain", "--weights", &w, "images", "--class", "viral", "--show-names", "--json", "--method", "LayerCAM"];
    let v: serde_json::Value = serde_json::from_str(&ok(d, &arguments)).unwrap();
    assert_eq!((&v["method"], &v["target"], &v["network"]), (&"layercam".into(), &"viral".into(), &"gaowang".into()));
    assert_eq!((v["uniform"]["border"].as_f64(), v["uniform"]["corners"].as_f64()), (Some(0.4375), Some(0.25)));
    for (row, predicted) in v["images"].as_array().unwrap().iter().zip(&single) {
        assert_eq!((&row["explained"], row["predicted"].as_str()), (&"viral".into(), Some(&*predicted["class"])));
        assert!((row["probability"].as_f64().unwrap() - number(predicted, "p(viral)")).abs() < 2e-6);
    }
    assert_eq!(files(&d.join("explain"))[1], "0002-patient4711-1.png");
    let at = |layer: &str, out: &str| {
        columns(&ok(d, &["explain", "--weights", &w, "images", "--layer", layer, "--out", out, "-q"]))
    };
    let (a, b) = (at("conv3", "a"), at("conv2", "b"));
    let peaks = |rows: &[BTreeMap<String, String>]| rows.iter().map(|r| number(r, "peak")).collect::<Vec<_>>();
    assert_ne!(peaks(&a), peaks(&b));
    // The folder's own copy of a name without --show-names: hashes only.
    assert!(files(&d.join("a")).iter().all(|f| !f.contains("patient")), "{:?}", files(&d.join("a")));
}

#[test]
fn heat_inside_masks() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d, 3);
    std::fs::create_dir(d.join("masks")).unwrap();
    let half = |left: bool| image::GrayImage::from_fn(72, 72, |x, _| image::Luma([u8::from((x < 36) == left)]));
    half(true).save(d.join("masks/patient4711-0.png")).unwrap();
    half(false).save(d.join("masks/patient4711-1.png")).unwrap();
    let arguments = ["explain", "--weights", &w, "images", "--mask-dir", "masks", "--maps", "--class", "other"];
    let rows = columns(&ok(d, &arguments));
    assert!(rows[2]["lungs"].is_empty() && rows[2]["lungs_area"].is_empty(), "there is no third mask");
    let mut seen = 0;
    for (row, left) in rows.iter().zip([true, false]).filter(|(r, _)| r["empty"] == "false") {
        seen += 1;
        assert_eq!(number(row, "lungs_area"), 0.5);
        let map = image::open(d.join(&row["map"])).unwrap().to_luma8();
        let sum = |all: bool| -> f64 {
            let inside = map.enumerate_pixels().filter(|(x, ..)| all || (*x < 16) == left);
            inside.map(|(.., p)| f64::from(p.0[0])).sum()
        };
        assert!((number(row, "lungs") - sum(false) / sum(true)).abs() < 0.01, "{row:?}");
    }
    assert!(seen > 0, "{rows:?}");
    // A damaged mask makes its image unusable.
    std::fs::write(d.join("masks/patient4711-1.png"), b"").unwrap();
    refused(d, &arguments, 5, &["patient4711-1.png", "its mask", "empty file", "--skip-bad"]);
    let some = columns(&ok(d, &[&arguments[..], &["--skip-bad", "--out", "some"]].concat()));
    assert_eq!(some.len(), 2);
}

#[test]
fn damaged_images() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d, 4);
    let bad = d.join("images/patient4711-2.png");
    let whole = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &whole[..whole.len() / 2]).unwrap();
    refused(d, &["explain", "--weights", &w, "images"], 5, &["patient4711-2.png", "--skip-bad"]);
    let out = radiograd(d, &["explain", "--weights", &w, "images", "--skip-bad", "--json"]);
    let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((v["images"].as_array().unwrap().len(), v["skipped"].as_array().unwrap().len()), (3, 1));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("1 skipped") && text.contains("3 panels in explain"), "{text}");
    // The number is the image's place in the list.
    assert!(files(&d.join("explain"))[2].starts_with("0004-"), "{:?}", files(&d.join("explain")));
}

#[test]
fn requests_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scaling = Scaling::Channels(Preprocess::Unit);
    let w = model(d, "gaowang", 16, &["normal", "viral"], false, scaling);
    let w = w.to_str().unwrap();
    std::fs::create_dir(d.join("images")).unwrap();
    image(&d.join("images/a.png"), 20, 1);
    let run = |more: &[&str], code: i32, parts: &[&str]| {
        refused(d, &[&["explain", "--weights", w, "images", "--out", "new"], more].concat(), code, parts);
    };
    run(&["--class", "virl"], 2, &["no class 'virl'", "did you mean 'viral'"]);
    run(&["--layer", "conv4"], 2, &["no layer 'conv4'", "did you mean 'conv"]);
    run(&["--layer", "fc1"], 2, &["'fc1'"]);
    run(&["--method", "gradcm"], 2, &["'gradcm'", "did you mean 'gradcam'"]);
    run(&["--batch", "0"], 2, &["--batch", "from 1 on"]);
    run(&["--mask-dir", "nowhere"], 2, &["nowhere"]);
    run(&["--mask-dir", "images/../images", "gone.png"], 2, &["gone.png"]);
    run(&["--network", "vgg16"], 5, &["weights of the network 'gaowang'"]);
    run(&["--memory", "10K"], 4, &["does not fit"]);
    let fixed = ["explain", "--weights", w, "images", "--out"];
    refused(d, &[&fixed[..], &["images/a.png"]].concat(), 1, &["images/a.png", "cannot write"]);
    refused(d, &[&fixed[..], &["images"]].concat(), 2, &["a.png lies in images", "name another folder"]);
    refused(d, &["explain", "--weights", w], 2, &["IMAGE"]);
    std::fs::create_dir(d.join("masks")).unwrap();
    image(&d.join("masks/b.png"), 20, 1);
    run(&["--mask-dir", "masks"], 5, &["masks", "file stem"]);
}

/// Ctrl-C after the first panel: exit code 130, whole pictures, no table.
#[cfg(unix)]
#[test]
fn an_interruption_leaves_whole_pictures() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let w = case(d, 4);
    // Many names for four images.
    std::fs::create_dir(d.join("many")).unwrap();
    for i in 0..600 {
        std::fs::hard_link(d.join(format!("images/patient4711-{}.png", i % 4)), d.join(format!("many/{i}.png")))
            .unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_radiograd"))
        .current_dir(d)
        .args(["explain", "--weights", &w, "many", "--batch", "4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !d.join("explain").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "no panel appears");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(130), "{text}");
    assert!(out.stdout.is_empty() && text.contains("panels are in explain, no table is printed"), "{text}");
    let left = files(&d.join("explain"));
    assert!(!left.is_empty() && left.len() < 600, "{}", left.len());
    for name in left {
        assert!(!name.starts_with('.'), "half a file: {name}");
        image::open(d.join("explain").join(name)).unwrap();
    }
}
