//! `radiograd summary`.

use crate::{ok, radiograd};
use std::path::Path;

#[test]
fn the_table_and_the_plan_are_printed() {
    let text = ok(Path::new("."), &["summary", "zhong_dcnn", "--input", "1x80x80", "--batch", "4", "--train"]);
    for part in
        ["block4.conv3", "conv 3×3, elu", "128×10×10", "dense, elu, dropout 0.5", "63,148,835", "moments", "peak"]
    {
        assert!(text.contains(part), "'{part}' is missing in\n{text}");
    }
}

#[test]
fn json_has_every_figure() {
    let text = ok(Path::new("."), &["summary", "gaowang", "--json"]);
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(v["totals"]["parameters"], 234_002);
    assert_eq!(v["layers"][0]["output"], serde_json::json!([32, 64, 64]));
    assert!(v["memory"]["total"].as_u64() > Some(1_000_000) && v["refused"].is_null());
}

#[test]
fn training_has_its_optimizer_and_may_recompute() {
    let memory = |more: &[&str]| {
        let arguments = [&["summary", "densenet121", "--input", "1x64x64", "--batch", "2", "--train", "--json"], more];
        let v: serde_json::Value = serde_json::from_str(&ok(Path::new("."), &arguments.concat())).unwrap();
        ["moments", "activations"].map(|k| v["memory"][k].as_u64().unwrap())
    };
    let (adam, sgd) = (memory(&[]), memory(&["--optimizer", "sgd"]));
    assert_eq!((adam[0], adam[1]), (2 * sgd[0], sgd[1]));
    assert_eq!(memory(&["--optimizer", "Nadam"]), adam);
    let again = memory(&["--recompute"]);
    assert!(again[0] == adam[0] && 2 * again[1] < adam[1], "{again:?} of {adam:?}");
}

#[test]
fn a_batch_that_does_not_fit_is_said_with_the_one_that_does() {
    let arguments = ["summary", "gaowang", "--train", "--batch", "200", "--memory", "200M", "--json"];
    let v: serde_json::Value = serde_json::from_str(&ok(Path::new("."), &arguments)).unwrap();
    let refused = v["refused"].as_str().unwrap();
    let largest: u64 = refused.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(refused.contains("200.0 MB") && (16..200).contains(&largest), "{refused}");
    // It is the largest: it fits, and one more does not.
    for (batch, fits) in [(largest, true), (largest + 1, false)] {
        let text = batch.to_string();
        let arguments = ["summary", "gaowang", "--train", "--batch", &text, "--memory", "200M", "--json"];
        let v: serde_json::Value = serde_json::from_str(&ok(Path::new("."), &arguments)).unwrap();
        assert_eq!(v["refused"].is_null(), fits, "batch {batch}");
    }
}

#[test]
fn the_table_needs_no_adapter() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_radiograd"));
    // OpenGL is no backend of this program: there is no adapter then.
    let out = command.args(["summary", "resnet50"]).env("WGPU_BACKEND", "gl").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("25,557,032") && text.contains("software Vulkan"), "{text}");
    let named = radiograd(Path::new("."), &["summary", "gaowang", "--adapter", "no such adapter"]);
    assert_eq!(named.status.code(), Some(3));
}
