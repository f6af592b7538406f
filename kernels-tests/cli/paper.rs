//! `radiograd paper NAME --scale smoke` for the five: the whole protocol on drawings.

use crate::{ok_with, radiograd};

/// Rows that a paper's table must have, and files below its folder.
fn smoke(name: &str, rows: &[&str], files: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // A cache of its own: heads on one frozen base share its features.
    let rest = ["--scale", "smoke", "--out", "run", "-q"];
    let text =
        ok_with(d, &["paper", name].into_iter().chain(rest).collect::<Vec<_>>(), &[("RADIOGRAD_CACHE", "cache")]);
    for row in rows {
        assert!(text.contains(row), "{name}: no {row} in\n{text}");
    }
    assert!(text.contains("smoke run") && text.contains("drawings"), "{text}");
    for file in ["report.html", "report.json", "run.json", "history.csv"].iter().chain(files) {
        assert!(d.join("run").join(file).exists(), "{name}: no {file}");
    }
    let page = std::fs::read_to_string(d.join("run/report.html")).unwrap();
    for part in [
        "not a medical device",
        "What is left without lungs",
        "Where the network looked",
        "Run card",
        "<svg",
        "data:image/png",
    ] {
        assert!(page.contains(part), "{name}: no '{part}' in the page");
    }
    // Pictures are letters, too, and may spell anything.
    let plain: String = page.split("base64,").map(|part| part.split_once('"').map_or(part, |p| p.1)).collect();
    for forbidden in ["<script", "src=\"http", "NaN"] {
        assert!(!plain.contains(forbidden), "{name}: {forbidden} in the page");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(d.join("run/report.json")).unwrap()).unwrap();
    assert_eq!(report["complete"], true);
    let table = report["rows"].as_array().unwrap();
    assert!(table.iter().all(|r| r["leak_free"]["value"].is_number() || r["leak_free"].is_null()));
    assert!(table.iter().any(|r| r["leak_free"]["interval"]["low"].is_number()), "{name}: figures have intervals");
    assert!(table.iter().any(|r| !r["ours"].is_null()), "{name}: divided as in the paper, too");
}

#[test]
fn detl() {
    smoke("detl", &["95.3 %", "recall, covid19"], &["stage-2/by-patient/fold-1/fold.json"]);
}

#[test]
fn hernandez() {
    smoke("hernandez", &["90.63 %", "43.8 %", "RANDOM", "layers"], &["model-2/by-patient/fold-1/fold.json"]);
}

#[test]
fn balvinsson() {
    smoke("balvinsson", &["0.9839", "corners", "RANDOM"], &["vgg19-512-ft/by-patient/fold-1/fold.json"]);
}

#[test]
fn zhong() {
    smoke("zhong", &["84.45 %", "98 of 100", "plan at batch"], &["zhong_dcnn/by-patient/predictions.csv"]);
}

#[test]
fn gao_wang() {
    smoke("gao-wang", &["stage-2: accuracy", "--then viral="], &["stage-2/by-patient/predictions.csv"]);
}

#[test]
fn an_unknown_paper_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = radiograd(dir.path(), &["paper", "zong"]);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && err.contains("zhong"), "{err}");
    let out = radiograd(dir.path(), &["paper", "zhong", "--weights", "vgg91=x"]);
    assert_eq!(out.status.code(), Some(2));
}
