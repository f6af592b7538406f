//! `radiograd predict`.

use crate::{image, model, ok, radiograd};
use radiograd::Gpu;
use radiograd::data::planes::{LoadOptions, load_planes};
use radiograd::models::{Head, Network, Pooling, Preprocess};
use radiograd::nn::Trainable;
use radiograd::train::{FitOptions, Normalize, Predictor, Samples, fit, probabilities};
use radiograd::weights::{self, Card, Metadata, Scaling};
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
        quiet: true,
        ..FitOptions::default()
    };
    let start = network.init(16, 3, 3);
    let fit = fit(&gpu, &network, &start, 3, (&samples, &Samples { items: &[], ..samples }), &options).unwrap();
    let scaling = Scaling::Same(options.normalize);
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let card = Card { network: network.clone(), side: 16, classes, scaling };
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
