//! Bad input: a message that names the thing, an exit code, and nothing written.

use crate::{image, model, radiograd};
use radiograd::models::Preprocess;
use radiograd::weights::Scaling;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every file and folder below `dir`.
fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        all.insert(entry.path());
        if entry.path().is_dir() {
            all.extend(tree(&entry.path()));
        }
    }
    all
}

/// The run must end with `code`, say `parts`, print no result and leave the folder as it was.
pub fn refused(dir: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let before = tree(dir);
    let out = radiograd(dir, arguments);
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{arguments:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: '{part}' is missing in: {message}");
    }
    assert!(out.stdout.is_empty(), "{arguments:?} printed {}", String::from_utf8_lossy(&out.stdout));
    assert_eq!(tree(dir), before, "{arguments:?} wrote something");
}

#[test]
fn summaries_of_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    refused(d, &["summary", "resnet5"], 2, &["'resnet5'", "did you mean 'resnet50'", "zhong_dcnn"]);
    let optimizer = ["summary", "resnet50", "--train", "--optimizer", "nadan"];
    refused(d, &optimizer, 2, &["no optimizer 'nadan'; did you mean 'Nadam'"]);
    let layer = ["summary", "vgg16", "--train", "--trainable", "features.82.*"];
    refused(d, &layer, 2, &["no parameter matches 'features.82.*'", "did you mean 'features."]);
    refused(d, &["summary", "vgg16", "--input", "3x16x16"], 2, &["a side of 16 pixels", "32 to 1024"]);
    refused(d, &["summary", "detl12", "--input", "3x64x64"], 2, &["images of 3 channels, needed is 1 channel"]);
    refused(d, &["summary", "vgg16", "--input", "2x64x64"], 2, &["needed is 3 channels, or 1"]);
    refused(d, &["summary", "vgg16", "--batch", "0"], 2, &["--batch", "from 1 on"]);
    refused(d, &["summary", "vgg16", "--input", "64x64"], 2, &["--input", "1x80x80"]);
    refused(d, &["summary", "vgg16", "--memory", "lots"], 2, &["--memory lots"]);
    refused(d, &["sumary", "vgg16"], 2, &["summary"]);
}

#[test]
fn predictions_with_wrong_weights() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let good = model(d, "gaowang", 16, &["a", "b"], false, Scaling::Channels(Preprocess::Unit));
    image(&d.join("a.png"), 20, 1);
    let bytes = std::fs::read(&good).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(d.join(name), bytes).unwrap();
    put("cut.safetensors", &bytes[..bytes.len() - 100]);
    put("empty.safetensors", b"");
    put("text.safetensors", b"these are no weights, but a text that somebody saved under a wrong name");
    // A NaN in the numbers, and no digest in the header that would tell first.
    let digest = bytes.windows(16).position(|w| w == b"\"numbers_sha256\"").unwrap();
    let mut nan = bytes.clone();
    nan[digest + 1] = b'x';
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    put("nan.safetensors", &nan);
    let mut damaged = bytes.clone();
    damaged[end - 4] ^= 1;
    put("damaged.safetensors", &damaged);
    let run = |weights: &str, more: &[&str], code: i32, parts: &[&str]| {
        let mut arguments = vec!["predict", "--weights", weights, "a.png", "--out", "new/out.csv"];
        arguments.extend(more);
        refused(d, &arguments, code, parts);
    };
    let w = good.to_str().unwrap();
    run(w, &["--network", "vgg16"], 5, &["weights of the network 'gaowang'", "'vgg16'"]);
    run(w, &["--network", "gaowag"], 2, &["did you mean 'gaowang'"]);
    run("cut.safetensors", &[], 5, &["cut.safetensors", "its numbers lie from", "the file holds"]);
    run("empty.safetensors", &[], 5, &["empty.safetensors"]);
    run("text.safetensors", &[], 5, &["no safetensors file"]);
    run("nan.safetensors", &[], 5, &["not finite", "NaN"]);
    run("damaged.safetensors", &[], 5, &["damaged"]);
    run("gone.safetensors", &[], 1, &["gone.safetensors", "cannot read"]);
    run(w, &["--side", "32"], 2, &["needs images of side 16"]);
    run(w, &["--side", "2"], 2, &["a side of 2 pixels", "8 to 1024"]);
    run(w, &["--batch", "0"], 2, &["--batch", "from 1 on"]);
    run(w, &["--grey", "fold", "--preprocess", "imagenet"], 2, &["scaled alike", "replicate"]);
    run(w, &["--csv", "--json"], 2, &["--csv", "--json"]);
}

#[test]
fn predictions_of_what_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let weights = model(d, "gaowang", 16, &["a", "b"], false, Scaling::Channels(Preprocess::Unit));
    let w = weights.to_str().unwrap();
    image(&d.join("a.png"), 20, 1);
    image(&d.join("tiny.png"), 2, 1);
    std::fs::write(d.join("text.png"), b"<html>not found</html>").unwrap();
    std::fs::write(d.join("zero.png"), b"").unwrap();
    std::fs::create_dir(d.join("empty")).unwrap();
    let run = |images: &[&str], out: &str, code: i32, parts: &[&str]| {
        let mut arguments = vec!["predict", "--weights", w, "--out", out];
        arguments.extend(images);
        refused(d, &arguments, code, parts);
    };
    run(&["a.png", "text.png"], "t.csv", 5, &["text.png", "HTML", "--skip-bad"]);
    run(&["zero.png"], "new/t.csv", 5, &["zero.png", "empty file"]);
    run(&["tiny.png"], "t.csv", 5, &["at least 8 x 8"]);
    run(&["gone.png"], "t.csv", 2, &["gone.png"]);
    run(&["empty"], "t.csv", 5, &["no PNG, JPEG or DICOM file"]);
    run(&[], "t.csv", 2, &["IMAGE"]);
    run(&["a.png"], "a.png/t.csv", 1, &["a.png/t.csv", "cannot write"]);
    run(&["a.png"], "empty", 1, &["empty", "cannot write"]);
}

#[test]
fn a_batch_that_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let weights = model(d, "gaowang", 64, &["a", "b"], false, Scaling::Channels(Preprocess::Unit));
    std::fs::create_dir(d.join("images")).unwrap();
    for i in 0..64 {
        image(&d.join(format!("images/{i}.png")), 20, i);
    }
    let arguments = [
        "predict",
        "--weights",
        weights.to_str().unwrap(),
        "images",
        "--batch",
        "64",
        "--memory",
        "30M",
        "--out",
        "t.csv",
    ];
    refused(d, &arguments, 4, &["batch 64 does not fit; the largest that does is ", "30.0 MB", "largest conv1"]);
}
