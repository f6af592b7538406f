//! `--verbose`: what it says and where, and that it changes no result.

use crate::train::folder;
use crate::{image, model, radiograd};
use radiograd::train::Normalize;
use radiograd::weights::Scaling;
use std::path::Path;
use std::process::Command;

/// Standard output and standard error of a run that must succeed, with its caches in `dir`.
fn said(dir: &Path, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_radiograd"));
    command.current_dir(dir).args(arguments).env("NO_COLOR", "1").env("RADIOGRAD_CACHE", dir.join("cache"));
    let out = command.output().unwrap_or_else(|e| panic!("the program does not start: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    (text(&out.stdout), text(&out.stderr))
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

#[test]
fn details_go_to_standard_error_and_results_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let weights = model(d, "gaowang", 16, &["a", "b"], false, Scaling::Same(Normalize::CENTERED));
    let w = weights.to_str().unwrap();
    image(&d.join("a.png"), 20, 1);
    let common = ["adapter: ", "memory for plans: ", "compiled pipelines: "];
    let (plain, usual) = said(d, &["predict", "--weights", w, "a.png"]);
    let (table, details) = said(d, &["predict", "--weights", w, "a.png", "-v"]);
    assert_eq!(plain, table);
    has(&details, &common);
    has(&details, &["gaowang, scores, batch 1: memory "]);
    assert!(common.iter().all(|c| !usual.contains(c)), "{usual}");
    let (_, details) = said(d, &["explain", "--weights", w, "a.png", "--out", "panels", "--verbose"]);
    has(&details, &common);
    has(&details, &["gaowang, maps, batch 1: memory ", "wrote panels/0001-"]);
    // A training: plans, files, and each file once.
    let training =
        ["train", "--network", "gaowang", "--side", "32", "--patients", "16", "--batch", "8", "--epochs", "2"];
    let (_, details) = said(d, &[&training[..], &["--no-cache", "-v", "--out", "run"]].concat());
    has(&details, &common);
    has(&details, &["training memory ", " dispatches in ", "wrote run/fold-1/weights.safetensors"]);
    assert_eq!(details.matches("wrote run/history.csv").count(), 1, "{details}");
    let (_, details) = said(d, &["resume", "run", "--no-cache", "-v"]);
    has(&details, &common);
    has(&details, &["wrote run/report.html"]);
    let (_, details) = said(d, &["eval", "run", "--out", "figures", "--bootstrap", "10", "-v"]);
    has(
        &details,
        &["run: ", " predictions of 4 classes", "wrote figures/assessment.json", "assessed with 10 resamples"],
    );
    let both = radiograd(d, &["eval", "run", "-q", "-v"]);
    assert_eq!(both.status.code(), Some(2));
    // Caches, that have nothing and then everything.
    folder(&d.join("set"));
    let on_set =
        ["--data", "set", "--labels", "labels.toml", "--network", "gaowang", "--side", "32", "--freeze", "base"];
    let training = [&["train", "--epochs", "1", "-v"][..], &on_set].concat();
    for (out, had) in [("cold", 0), ("warm", 30)] {
        let (_, details) = said(d, &[&training[..], &["--out", out]].concat());
        has(&details, &[&format!("reading: {had} of 30 images known"), &format!("planes: {had} of 30 from the cache")]);
        let features: Vec<&str> =
            details.lines().filter(|l| l.starts_with("features: ") && l.contains("cache")).collect();
        let hit = |l: &&str| l.split(' ').nth(1) == l.split(' ').nth(3);
        assert!(!features.is_empty() && features.iter().all(|l| hit(l) == (had > 0)), "{details}");
    }
}
