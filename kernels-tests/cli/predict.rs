//! `radiograd predict`.

use crate::bad_input::refused;
use crate::{columns, even, image, model, ok, radiograd};
use radiograd::Gpu;
use radiograd::data::planes::{LoadOptions, load_planes};
use radiograd::models::{Head, Network, Pooling, Preprocess};
use radiograd::nn::Trainable;
use radiograd::train::{FitOptions, Normalize, Predictor, Samples, fit, probabilities};
use radiograd::weights::{self, Card, Metadata, Scaling};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Rows of a table: path, class, probabilities.
fn rows(csv: &str) -> Vec<(String, String, Vec<f64>)> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let row = |r: Result<csv::StringRecord, csv::Error>| {
        let r = r.unwrap();
        (r[0].to_string(), r[1].to_string(), r.iter().skip(2).map(|p| p.parse().unwrap()).collect())
    };
    reader.records().map(row).collect()
}

fn largest_difference(a: &str, b: &str) -> f64 {
    let (a, b) = (rows(a), rows(b));
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(&b).flat_map(|(x, y)| x.2.iter().zip(&y.2));
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

#[test]
fn a_folder_becomes_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let weights =
        model(dir.path(), "detl12", 36, &["normal", "viral, other"], false, Scaling::Same(Normalize::CENTERED));
    std::fs::create_dir(dir.path().join("images")).unwrap();
    for i in 0..7 {
        image(&dir.path().join(format!("images/{i}.png")), 40 + i, i);
    }
    let w = weights.to_str().unwrap();
    let csv = ok(dir.path(), &["predict", "--weights", w, "images", "--batch", "3"]);
    assert!(csv.starts_with("path,class,p(normal),\"p(viral, other)\"\n"), "{csv}");
    let all = rows(&csv);
    assert_eq!((all.len(), all[3].0.as_str()), (7, "images/3.png"));
    for (path, class, p) in &all {
        assert!((p[0] + p[1] - 1.0).abs() < 2e-6, "{path}");
        assert_eq!(class == "normal", p[0] >= p[1]);
    }
    // One image alone, other batches, JSON: the same figures.
    let one = ok(dir.path(), &["predict", "--weights", w, "images/3.png", "--csv"]);
    assert!((rows(&one)[0].2[0] - all[3].2[0]).abs() < 2e-6);
    // Stored as f16: nearly the same, or the adapter's name.
    let half = radiograd(dir.path(), &["predict", "--weights", w, "images", "--f16"]);
    if half.status.success() {
        let off = largest_difference(&csv, &String::from_utf8(half.stdout).unwrap());
        assert!(off > 0.0 && off < 5e-3, "{off}");
    } else {
        assert_eq!(half.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&half.stderr).contains("SHADER_F16"));
    }
    let arguments = ["predict", "--weights", w, "images", "--json", "--out", "new/table.json", "--quiet"];
    let out = radiograd(dir.path(), &arguments);
    assert!(out.status.success() && out.stdout.is_empty());
    let text = std::fs::read_to_string(dir.path().join("new/table.json")).unwrap();
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&v["network"], &v["classes"][1]), (&"detl12".into(), &"viral, other".into()));
    for (i, row) in v["images"].as_array().unwrap().iter().enumerate() {
        assert!((row["probabilities"][1].as_f64().unwrap() - all[i].2[1]).abs() < 2e-6);
    }
    assert_eq!(v["weights_sha256"], weights::metadata(&weights).unwrap()["sha256"]);
}

#[test]
fn replicated_and_folded_grey_give_equal_scores() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..4 {
        image(&dir.path().join(format!("{i}.png")), 30, i + 1);
    }
    for scaling in [Scaling::Channels(Preprocess::Signed), Scaling::Same(Normalize { mean: 0.4, scale: 3.0 })] {
        let weights = model(dir.path(), "zhong_dcnn", 16, &["a", "b", "c"], false, scaling);
        let w = weights.to_str().unwrap();
        let of = |grey: &str| {
            let text = ok(dir.path(), &["predict", "--weights", w, ".", "--grey", grey, "--json", "-q"]);
            let v: serde_json::Value = serde_json::from_str(&text).unwrap();
            let logits =
                |r: &serde_json::Value| r["logits"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect();
            v["images"].as_array().unwrap().iter().map(logits).collect::<Vec<Vec<f64>>>()
        };
        let (a, b) = (of("replicate"), of("fold"));
        let size = a.iter().flatten().map(|v| v.abs()).fold(0.0, f64::max);
        let apart = a.iter().flatten().zip(b.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(size > 0.0 && apart < 1e-5 * size.max(1.0), "{apart} of {size}");
        assert_ne!(a[0], a[1], "the images differ");
    }
}

#[test]
fn a_replaced_head_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..3).map(|i| format!("{i}.png").into()).collect();
    files.iter().enumerate().for_each(|(i, f)| image(&dir.path().join(f), 24, i as u32));
    let images = load_planes(dir.path(), &files, 16, &LoadOptions::default()).unwrap();
    let items = [(0, 0), (1, 1), (2, 2)];
    let samples = Samples { data: &images.data, mirrored: None, shape: [1, 16, 16], items: &items };
    // Fine-tuned as examples/finetune does it: a new head on a frozen base.
    let network = Network::named("gaowang").unwrap().with_head(Head::new(Pooling::GlobalMax, &[8], 0.25));
    let gpu = Gpu::new().unwrap();
    let options = FitOptions {
        epochs: 2,
        batch: 2,
        trainable: Trainable::Except(network.base_parameters(16)),
        talk: radiograd::Talk::Quiet,
        ..FitOptions::default()
    };
    let start = network.init(16, 3, 3);
    let fit = fit(&gpu, &network, &start, 3, (&samples, &Samples { items: &[], ..samples }), &options).unwrap();
    let scaling = Scaling::Same(options.normalize);
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let card = Card { network: network.clone(), side: 16, classes, scaling, preprocessing: Default::default() };
    weights::save(&dir.path().join("w.safetensors"), &fit.params, &card.metadata()).unwrap();

    let csv = ok(dir.path(), &["predict", "--weights", "w.safetensors", "0.png", "1.png", "2.png"]);
    let uploaded = Rc::new(fit.params.upload(&gpu).unwrap());
    let mut predictor = Predictor::new(&gpu, &network, &uploaded, (&samples, 3, 3), options.normalize).unwrap();
    for ((_, _, p), logits) in rows(&csv).iter().zip(predictor.logits(&gpu, &samples).unwrap()) {
        assert!(p.iter().zip(probabilities(&logits)).all(|(a, b)| (a - b).abs() < 2e-6), "{csv}");
    }
}

#[test]
fn one_output_is_a_sigmoid() {
    let dir = tempfile::tempdir().unwrap();
    let classes = ["normal", "covid"];
    let weights = model(dir.path(), "hernandez_custom", 16, &classes, true, Scaling::Channels(Preprocess::Unit));
    image(&dir.path().join("a.png"), 30, 3);
    let csv = ok(dir.path(), &["predict", "--weights", weights.to_str().unwrap(), "a.png"]);
    let (_, class, p) = &rows(&csv)[0];
    assert!(csv.starts_with("path,class,p(normal),p(covid)\n") && (p[0] + p[1] - 1.0).abs() < 2e-6);
    assert_eq!(class, classes[usize::from(p[1] > p[0])]);
}

#[test]
fn weights_that_say_nothing_need_the_networks_name() {
    let dir = tempfile::tempdir().unwrap();
    image(&dir.path().join("a.png"), 30, 3);
    let path = dir.path().join("published.safetensors");
    let params = Network::named("gaowang").unwrap().init(64, 2, 5);
    weights::save(&path, &params, &Metadata::new()).unwrap();
    let w = path.to_str().unwrap();
    let bare = radiograd(dir.path(), &["predict", "--weights", w, "a.png"]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("--network"));
    let csv = ok(dir.path(), &["predict", "--weights", w, "a.png", "--network", "gaowang"]);
    assert!(csv.starts_with("path,class,p(0),p(1)\n"), "{csv}");
    // The same in half precision and under PyTorch's wrapper would be the loader's business; the same under our own
    // description gives the same figures.
    let told = model(dir.path(), "gaowang", 64, &["0", "1"], false, Scaling::Channels(Preprocess::Unit));
    let params = Network::named("gaowang").unwrap().init(64, 2, 5);
    weights::save(&told, &params, &weights::metadata(&told).unwrap()).unwrap();
    assert!(
        largest_difference(&csv, &ok(dir.path(), &["predict", "--weights", told.to_str().unwrap(), "a.png"])) == 0.0
    );
}

#[test]
fn damaged_images_are_counted_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let weights = model(dir.path(), "gaowang", 16, &["a", "b"], false, Scaling::Channels(Preprocess::Unit));
    let w = weights.to_str().unwrap();
    let images = dir.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for i in 0..5 {
        image(&images.join(format!("{i}.png")), 20, i);
    }
    let whole = std::fs::read(images.join("1.png")).unwrap();
    std::fs::write(images.join("1.png"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(images.join("3.png"), b"no image at all").unwrap();
    let out = radiograd(dir.path(), &["predict", "--weights", w, "images", "--skip-bad", "--json"]);
    let v: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((v["images"].as_array().unwrap().len(), v["skipped"].as_array().unwrap().len()), (3, 2));
    assert!(v["skipped"][1]["reason"].as_str().unwrap().contains("neither PNG nor JPEG"));
    let text = String::from_utf8_lossy(&out.stderr).to_string();
    assert!(out.status.success() && text.contains("3 images") && text.contains("img/s, 2 skipped"), "{text}");
    check_all_bad(dir.path(), w);
}

fn check_all_bad(dir: &Path, weights: &str) {
    let out = radiograd(dir, &["predict", "--weights", weights, "images/1.png", "--skip-bad", "--out", "t.csv"]);
    assert_eq!(out.status.code(), Some(5));
    assert!(!dir.join("t.csv").exists());
}

/// Gao & Wang's two stages with random weights that do not say the same of every image of `images`, which is made: stage 1 at
/// side 16 and stage 2, another network, at 36.
fn two_stages(dir: &Path, count: u32) -> [String; 2] {
    std::fs::create_dir(dir.join("images")).unwrap();
    for i in 0..count {
        image(&dir.join(format!("images/patient4711-{i}.png")), 40 + i % 5, 5 * i + 2);
    }
    let unit = Scaling::Channels(Preprocess::Unit);
    let first = model(dir, "gaowang", 16, &["normal", "bacterial", "viral"], false, unit);
    let classes = ["not viral", "COVID-19", "other viral"];
    let second = model(dir, "detl12", 36, &classes, false, Scaling::Same(Normalize::CENTERED));
    [first, second].map(|path| {
        even(dir, &path, "images");
        path.to_str().unwrap().to_string()
    })
}

#[test]
fn a_cascade_is_its_two_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let [first, second] = two_stages(d, 12);
    let single = [&first, &second].map(|w| columns(&ok(d, &["predict", "--weights", w, "images", "--batch", "5"])));
    let then = format!("viral={second}");
    let arguments = ["predict", "--weights", &first, "images", "--then", &then, "--batch", "5"];
    let csv = ok(d, &arguments);
    let head = "path,class,p(normal),p(bacterial),p(viral),stage2_not viral,stage2_COVID-19,stage2_other viral,final\n";
    assert!(csv.starts_with(head), "{csv}");
    let rows = columns(&csv);
    let through = rows.iter().filter(|r| r["class"] == "viral").count();
    assert!(through > 1 && through < rows.len(), "the test needs both kinds: {csv}");
    let close = |a: &str, b: &str| (a.parse::<f64>().unwrap() - b.parse::<f64>().unwrap()).abs() < 2e-6;
    for (row, (one, two)) in rows.iter().zip(single[0].iter().zip(&single[1])) {
        assert_eq!((&row["path"], &row["class"]), (&one["path"], &one["class"]));
        for class in ["normal", "bacterial", "viral"] {
            assert!(close(&row[&format!("p({class})")], &one[&format!("p({class})")]), "{row:?} {one:?}");
        }
        let viral = row["class"] == "viral";
        assert_eq!(&row["final"], if viral { &two["class"] } else { &one["class"] });
        for class in ["not viral", "COVID-19", "other viral"] {
            let got = &row[&format!("stage2_{class}")];
            assert!(if viral { close(got, &two[&format!("p({class})")]) } else { got.is_empty() }, "{row:?} {two:?}");
        }
    }
    let v: serde_json::Value = serde_json::from_str(&ok(d, &[&arguments[..], &["--json"]].concat())).unwrap();
    assert_eq!((&v["then"][0]["after"], &v["then"][0]["side"]), (&"viral".into(), &36.into()));
    for (row, json) in rows.iter().zip(v["images"].as_array().unwrap()) {
        assert_eq!((json["final"].as_str(), json["stage2"].is_null()), (Some(&*row["final"]), row["class"] != "viral"));
        if row["class"] == "viral" {
            let p = json["stage2"]["probabilities"][1].as_f64().unwrap();
            assert!((p - row["stage2_COVID-19"].parse::<f64>().unwrap()).abs() < 2e-6);
            assert_eq!(json["stage2"]["class"].as_str(), Some(&*row["final"]));
        }
    }
    // Two second stages with classes of the same names.
    let also = format!("normal={second}");
    let both = columns(&ok(d, &[&arguments[..], &["--then", &also]].concat()));
    for (row, before) in both.iter().zip(&rows) {
        for after in ["viral", "normal"] {
            let got = &row[&format!("stage2_COVID-19 after {after}")];
            assert_eq!(got.is_empty(), row["class"] != after, "{row:?}");
            assert!(after == "normal" || *got == before["stage2_COVID-19"] || close(got, &before["stage2_COVID-19"]));
        }
        assert_eq!(row["final"] == "bacterial", row["class"] == "bacterial");
    }
}

#[test]
fn heat_maps_are_of_the_stage_that_gave_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let [first, second] = two_stages(d, 8);
    let whole = std::fs::read(d.join("images/patient4711-3.png")).unwrap();
    std::fs::write(d.join("images/patient4711-3.png"), &whole[..whole.len() / 2]).unwrap();
    let then = format!("viral={second}");
    let arguments = ["predict", "--weights", &first, "images", "--then", &then, "--heat-maps", "heat", "--skip-bad"];
    let csv = ok(d, &arguments);
    let rows = columns(&csv);
    assert_eq!((rows.len(), std::fs::read_dir(d.join("heat")).unwrap().count()), (7, 8), "7 panels and a page");
    let page = std::fs::read_to_string(d.join("heat/index.html")).unwrap();
    assert!(!page.contains("patient4711") && !csv.lines().any(|l| l.ends_with("patient4711-3.png")), "{csv}");
    for forbidden in ["<script", "http://", "https://"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("not a medical device") && page.contains("1 of 8 images could not be used"));
    assert_eq!(page.matches("class=\"case\"").count(), 7);
    let stages: BTreeMap<bool, Vec<u32>> = rows.iter().fold(BTreeMap::new(), |mut all, row| {
        let panel = d.join("heat").join(&row["heat_map"]);
        let width = image::open(&panel).unwrap_or_else(|e| panic!("{}: {e}", panel.display())).width();
        all.entry(row["class"] == "viral").or_insert_with(Vec::new).push(width);
        assert!(page.contains(&format!("href=\"{}\"", row["heat_map"])) && !row["heat_map"].contains("patient"));
        all
    });
    // Stage 1 sees 16 pixels, enlarged 16 times, stage 2 sees 36, enlarged 8 times: the panels differ in width.
    let widths: Vec<u32> = [16 * 16, 8 * 36].map(|w| 3 * w + 24 + 30 + 14 + 6 + 34).to_vec();
    assert!(
        stages[&false].iter().all(|w| *w == widths[0]) && stages[&true].iter().all(|w| *w == widths[1]),
        "{stages:?}"
    );
    let bars = page.matches("<h3>Stage 2</h3>").count();
    assert_eq!((bars, page.matches("<h3>Stage 1</h3>").count()), (stages[&true].len(), 7));
    // Without a second stage, with names, as JSON.
    let arguments = ["predict", "--weights", &second, "images/patient4711-1.png", "--heat-maps", "h2", "--show-names"];
    let v: serde_json::Value = serde_json::from_str(&ok(d, &[&arguments[..], &["--json"]].concat())).unwrap();
    assert_eq!(v["images"][0]["heat_map"], "0001-patient4711-1.png");
    assert!(v["images"][0].get("final").is_none());
    assert!(std::fs::read_to_string(d.join("h2/index.html")).unwrap().contains("images/patient4711-1.png"));
}

#[test]
fn cascades_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let unit = Scaling::Channels(Preprocess::Unit);
    let first = model(d, "gaowang", 16, &["normal", "viral"], false, unit);
    let second = model(d, "detl12", 36, &["a", "b"], false, unit);
    std::fs::create_dir(d.join("images")).unwrap();
    image(&d.join("images/a.png"), 20, 1);
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let bytes = std::fs::read(second).unwrap();
    std::fs::write(d.join("cut"), &bytes[..bytes.len() - 50]).unwrap();
    let run = |more: &[&str], code: i32, parts: &[&str]| {
        refused(d, &[&["predict", "--weights", first, "images", "--out", "new/t.csv"], more].concat(), code, parts);
    };
    let (good, off) = (format!("viral={second}"), format!("virl={second}"));
    run(&["--then", &off], 2, &["--then virl=", "no class 'virl'", "did you mean 'viral'"]);
    run(&["--then", second], 2, &["CLASS=FILE"]);
    run(&["--then", &good, "--then", &good], 2, &["'viral' has a second stage already"]);
    run(&["--then", "viral=gone"], 1, &["gone", "cannot read"]);
    run(&["--then", "viral=cut"], 5, &["cut"]);
    run(&["--show-names"], 2, &["--heat-maps"]);
    run(&["--then", &good, "--heat-maps", "images"], 2, &["a.png lies in images"]);
    run(&["--heat-maps", "images/a.png"], 1, &["images/a.png", "cannot write"]);
    image(&d.join("images/tiny.png"), 2, 1);
    run(&["--then", &good, "--heat-maps", "heat"], 5, &["tiny.png", "at least 8 x 8"]);
}
