//! `radiograd eval` and `radiograd compare`: files of predictions in, figures, pictures and exit codes out.

use crate::{ok, radiograd};
use std::path::Path;

/// Sixty predictions over two classes, two images a patient, three folds; every `wrong`th is wrong.
fn predictions(path: &Path, wrong: usize, first: usize) {
    let mut text = "image,patient,fold,truth,predicted,p_normal,p_COVID-19\n".to_string();
    for i in first..first + 60 {
        let truth = i * 7 % 5 % 2;
        let said = if i % wrong == 0 { 1 - truth } else { truth };
        let high = 0.5 + f64::from((i * 37 % 49) as u32 + 1) / 100.0;
        let p = if said == 0 { [high, 1.0 - high] } else { [1.0 - high, high] };
        let name = |k: usize| ["normal", "COVID-19"][k];
        let (patient, fold) = (i / 2, i / 2 % 3);
        text += &format!("img{i},pat{patient},{fold},{},{},{:?},{:?}\n", name(truth), name(said), p[0], p[1]);
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Exit code and messages of a run that must fail.
fn fails(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let out = radiograd(dir, arguments);
    assert!(out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stdout));
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_run_is_assessed_in_words_in_json_and_in_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    predictions(&d.join("run/predictions.csv"), 7, 0);
    let text = ok(d, &["eval", "run", "--out", "figures"]);
    assert!(text.starts_with("              precision    recall  f1-score   support\n\n      normal"), "{text}");
    for part in
        ["85.0 [73.9, 91.9]  Wilson", "51 of 60", "patient-clustered bootstrap", "DeLong", "Bonferroni, 2 intervals"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let written: Vec<String> = ["assessment.json", "assessment.txt", "roc.svg", "reliability.svg", "confusion.svg"]
        .iter()
        .map(|f| std::fs::read_to_string(d.join("figures").join(f)).unwrap_or_else(|e| panic!("{f}: {e}")))
        .collect();
    assert_eq!(written[1], text);
    assert!(written[2..].iter().all(|svg| svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>")));
    let found = json(&ok(d, &["eval", "run/predictions.csv", "--json"]));
    assert_eq!(found["sets"][0]["assessment"], json(&written[0]), "the same seed, the same intervals");
    assert_eq!(found["sets"][0]["assessment"]["accuracy"]["successes"], 51);
    let exact = ["eval", "run", "--json", "--interval", "clopper-pearson", "--level", "0.9", "--bootstrap", "0"];
    let exact = json(&ok(d, &exact))["sets"][0]["assessment"].clone();
    assert_eq!(exact["accuracy"]["interval"]["method"], "clopper-pearson");
    assert_eq!(exact["accuracy"]["interval"]["level"], 0.9);
    assert!(exact["accuracy_clustered"].is_null());
}

#[test]
fn several_runs_are_assessed_apart_or_pooled() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    predictions(&d.join("a/predictions.csv"), 7, 0);
    predictions(&d.join("b.csv"), 5, 60);
    let apart = json(&ok(d, &["eval", "a", "b.csv", "--json", "--bootstrap", "50", "--out", "o"]));
    assert_eq!(apart["sets"].as_array().map(Vec::len), Some(2));
    assert_eq!(apart["sets"][1]["source"], "b.csv");
    assert!(d.join("o/1/roc.svg").exists() && d.join("o/2/assessment.json").exists());
    let pooled = json(&ok(d, &["eval", "a", "b.csv", "--pool", "--json", "--bootstrap", "50"]));
    assert_eq!(pooled["sets"][0]["assessment"]["images"], 120);
    let (code, message) = fails(d, &["eval", "a", "a", "--pool"]);
    assert!(
        code == 5 && message.contains("a: cannot be pooled: predictions, row 61: image \"img0\" is there twice"),
        "{message}"
    );
}

#[test]
fn being_right_is_regressed_on_covariates() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    predictions(&d.join("run/predictions.csv"), 4, 0);
    let mut table = "image,age,sex,site\n".to_string();
    for i in 0..58 {
        // Images of site B are all right: none of them is a multiple of 4.
        let site = if i % 4 == 1 { "B" } else { "A" };
        table += &format!("img{i},{},{},{site}\n", 20 + i * 31 % 60, if i * 3 % 7 < 3 { "F" } else { "M" });
    }
    std::fs::write(d.join("covariates.csv"), table).unwrap();
    let formula =
        |f: &'static str| ["eval", "run", "--bootstrap", "0", "--covariates", "covariates.csv", "--formula", f];
    let text = ok(d, &formula("age + sex + age:sex"));
    assert!(text.contains("being right on age + sex + age:sex (58 images") && text.contains("age:sex[M]"), "{text}");
    assert!(text.contains("2 images left out: no row in the table") && !text.contains("separation"), "{text}");
    let text = ok(d, &formula("age + site"));
    assert!(
        text.contains("quasi-complete separation")
            && text.contains("site[B]      no finite estimate: it grows towards +inf"),
        "{text}"
    );
    let (code, message) = fails(d, &formula("agee"));
    assert!(code == 2 && message.contains("did you mean 'age'?"), "{message}");
    let (code, message) = fails(d, &formula("age ~ sex"));
    assert!(code == 2 && message.contains("'~'"), "{message}");
    assert_eq!(fails(d, &["eval", "run", "--formula", "age"]).0, 2, "--covariates is needed");
}

#[test]
fn two_runs_are_compared_on_the_images_that_both_have() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    predictions(&d.join("a/predictions.csv"), 9, 0);
    predictions(&d.join("b/predictions.csv"), 4, 10);
    let text = ok(d, &["compare", "a", "b"]);
    // Of images 10 to 59 the first is wrong on 18, 27, 36, 45, 54, the second on the multiples of 4.
    for part in [
        "50 images of 25 patients in both",
        "only the first right 11, only the second 4, both 34, neither 1",
        "exact p 0.118",
        "DeLong",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("Note: 10 images are in the first only and 10 in the second only"), "{text}");
    let found = json(&ok(d, &["compare", "a", "b", "--json"]));
    assert_eq!((found["images"].as_u64(), found["mcnemar"]["only_first"].as_u64()), (Some(50), Some(11)));
    predictions(&d.join("c/predictions.csv"), 4, 600);
    let (code, message) = fails(d, &["compare", "a", "c"]);
    assert!(code == 5 && message.contains("none of the 60 images"), "{message}");
}

#[test]
fn damaged_files_end_with_a_message_and_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::create_dir(d.join("empty")).unwrap();
    std::fs::write(d.join("zero.csv"), "").unwrap();
    let head = "image,patient,fold,truth,predicted,p_a,p_b\n";
    std::fs::write(d.join("nan.csv"), format!("{head}x,1,0,a,a,0.5,0.5\ny,1,0,a,a,NaN,1\n")).unwrap();
    std::fs::write(d.join("one.csv"), format!("{head}x,1,0,a,a,0.75,0.25\n")).unwrap();
    for (file, want, code) in [
        ("empty", "empty: no predictions.csv in this folder", 5),
        ("zero.csv", "zero.csv: line 1: no column \"image\"", 5),
        ("nan.csv", "nan.csv: line 3: p_a is NaN; a probability is needed", 5),
        ("missing.csv", "missing.csv: cannot read", 1),
    ] {
        let (got, message) = fails(d, &["eval", file]);
        assert!(got == code && message.contains(want), "{file}: {got} {message}");
    }
    assert_eq!(fails(d, &["eval", "one.csv", "--level", "1.5"]).0, 2);
    assert_eq!(fails(d, &["eval", "one.csv", "--interval", "wald"]).0, 2);
    // One image is little, but no fault.
    let text = ok(d, &["eval", "one.csv"]);
    assert!(text.contains("All images are of one patient") && !text.contains("NaN"), "{text}");
}
