//! `radiograd data`: planted faults and the exit codes that they must give.

use crate::picture::picture;
use crate::radiograd;
use std::path::Path;

const HEAD: &str = "file,finding,patient_id,view,split";

/// Thirty images of thirty patients, two classes, alternately in training and test; returns the table's rows.
fn folder(dir: &Path) -> Vec<String> {
    std::fs::create_dir_all(dir).unwrap();
    let mut rows = vec![HEAD.to_string()];
    for k in 0..30u32 {
        picture(k, 40).save(dir.join(format!("00000{k:03}_000.png"))).unwrap();
        let (finding, split) = (["No Finding", "Mass"][k as usize / 2 % 2], ["train", "test"][k as usize % 2]);
        rows.push(format!("00000{k:03}_000.png,{finding},{k},PA,{split}"));
    }
    table(dir, &rows);
    rows
}

fn table(dir: &Path, rows: &[String]) {
    std::fs::write(dir.join("metadata.csv"), rows.join("\n") + "\n").unwrap();
}

/// Exit code, standard output and messages of `radiograd data ...`, without a cache outside `dir`.
fn data(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut all = vec!["data", arguments[0], "set", "--no-cache"];
    all.extend(&arguments[1..]);
    let out = radiograd(dir, &all);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_clean_set_passes_and_nothing_names_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folder(&d.join("set"));
    let (code, out, err) = data(d, &["audit", "--out", "report"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("30 images") && out.contains("published split: no patient and no duplicate group"), "{out}");
    let page = std::fs::read_to_string(d.join("report/audit.html")).unwrap();
    let found = std::fs::read_to_string(d.join("report/audit.json")).unwrap();
    for text in [&out, &err, &page, &found] {
        assert!(!text.contains("_000"), "a file name: {text}");
    }
    assert!(
        page.contains("not a medical device") && !page.contains("<script") && !page.contains("src=\"http"),
        "{page}"
    );
    let (_, out, _) = data(d, &["audit", "--json"]);
    assert_eq!(json(&out)["sha256"], json(&found)["sha256"]);
    // Other commands of the family.
    let (code, out, err) = data(d, &["stats", "--json"]);
    assert_eq!((code, json(&out)["images"].as_u64()), (0, Some(30)), "{err}");
    let (code, out, err) = data(d, &["preview", "--out", "sheet.png", "--each", "3", "--side", "32"]);
    assert_eq!(code, 0, "{err}");
    let sheet = image::open(d.join("sheet.png")).unwrap();
    assert!(out.contains(&format!("{} x {} pixels, 2 of 2 classes", sheet.width(), sheet.height())), "{out}");
    // Two images a class, each in a row with three views.
    let views = [
        "preview",
        "--out",
        "views.png",
        "--each",
        "2",
        "--side",
        "32",
        "--augment",
        "zhong,fill=reflect",
        "--views",
        "3",
    ];
    let (code, out, err) = data(d, &[&views[..], &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let expected = "mirror,crop=0.1,contrast=0.1,brightness=0.1,saturation=0.1,fill=reflect";
    assert_eq!(json(&out)["augment"]["text"].as_str(), Some(expected));
    // Four rows of images in place of two of classes.
    let views = image::open(d.join("views.png")).unwrap();
    assert!(views.height() > sheet.height() + 2 * 32, "{} and {}", views.height(), sheet.height());
    let (code, _, err) = data(d, &["preview", "--out", "views.png", "--augment", "zhnog"]);
    assert!(code == 2 && err.contains("did you mean 'zhong'"), "{err}");
    let (code, _, err) = data(d, &["preview", "--out", "views.png", "--views", "3"]);
    assert!(code == 2 && err.contains("--augment"), "{err}");
}

#[test]
fn a_planted_leak_stops_and_a_reason_lets_it_pass() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut rows = folder(&d.join("set"));
    picture(100, 40).save(d.join("set/second.png")).unwrap();
    rows.push("second.png,No Finding,0,PA,test".into()); // patient 0 trains
    table(&d.join("set"), &rows);
    let (code, out, err) = data(d, &["audit"]);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("1 patient is in both test and train") && err.contains("img-"), "{err}");
    assert!(out.contains("LEAKS") && !err.contains("second.png"), "the report is printed, without names: {out}{err}");
    let (code, _, err) = data(d, &["audit", "--show-names"]);
    assert!(code == 5 && err.contains("second.png"), "{err}");
    let (code, out, err) = data(d, &["audit", "--allow-leak", "the paper's own split"]);
    assert!(code == 0 && out.contains("the paper's own split"), "{err}");
    assert_eq!(data(d, &["audit", "--allow-leak", " "]).0, 2);
}

#[test]
fn copies_under_another_name_are_found_where_they_cross() {
    for (what, seed) in [("copy", 0u32), ("bright", 0), ("large", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        let mut rows = folder(&d.join("set"));
        let p = picture(seed, if what == "large" { 90 } else { 40 });
        let copy = match what {
            "bright" => image::GrayImage::from_fn(40, 40, |x, y| {
                image::Luma([(f32::from(p.get_pixel(x, y)[0]) * 0.6 + 70.0) as u8])
            }),
            _ => p,
        };
        copy.save(d.join("set/other.png")).unwrap();
        rows.push("other.png,Mass,,PA,test".into()); // the original trains as "No Finding"
        table(&d.join("set"), &rows);
        let (code, out, err) = data(d, &["audit", "--json"]);
        assert_eq!(code, 5, "{what}: {err}");
        assert!(err.contains("1 duplicate group is in both test and train"), "{what}: {err}");
        let found = json(&out);
        let equal = found["duplicates"]["equal_files"].as_u64();
        assert_eq!(equal, Some(u64::from(what == "copy")), "{what}");
        assert_eq!(found["duplicates"]["conflicts"].as_u64(), Some(1), "{what}: other finding, same picture");
    }
}

#[test]
fn splits_keep_together_what_belongs_together() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut rows = folder(&d.join("set"));
    picture(0, 40).save(d.join("set/other.png")).unwrap();
    rows.push("other.png,No Finding,777,PA,train".into()); // the picture of patient 0 under another patient
    picture(200, 40).save(d.join("set/side.png")).unwrap();
    rows.push("side.png,Mass,201,L,train".into());
    table(&d.join("set"), &rows);
    let (code, out, err) = data(d, &["split", "--out", "folds.json", "--seed", "3"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("left out: 1 x lateral view") && out.contains("SHA-256 of the file: "), "{out}");
    let file = json(&std::fs::read_to_string(d.join("folds.json")).unwrap());
    let images = file["images"].as_array().unwrap();
    assert_eq!((images.len(), file["folds"].as_array().unwrap().len()), (31, 5));
    let group = |name: &str| &images.iter().find(|i| i["file"] == name).unwrap()["group"];
    assert_eq!(group("other.png"), group("00000000_000.png"));
    // The audit accepts that file, and the same seed gives the same bytes.
    let before = std::fs::read(d.join("folds.json")).unwrap();
    let (code, _, err) = data(d, &["split", "--out", "again.json", "--seed", "3"]);
    assert!(code == 0 && std::fs::read(d.join("again.json")).unwrap() == before, "{err}");
    let (code, out, err) = data(d, &["audit", "--split", "folds.json", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&out)["divisions"].as_array().unwrap().len(), 6);
    // A patient in two parts of the file.
    let mut leaky = file.clone();
    let other = images.iter().position(|i| i["file"] == "other.png").unwrap();
    let tests =
        |f: usize| file["folds"][f]["test"].as_array().unwrap().iter().any(|k| k.as_u64() == Some(other as u64));
    let fold = (0..5).find(|&f| tests(f)).unwrap();
    let parts = &mut leaky["folds"][fold];
    parts["test"].as_array_mut().unwrap().retain(|k| k.as_u64() != Some(other as u64));
    parts["train"].as_array_mut().unwrap().push(other.into());
    std::fs::write(d.join("leaky.json"), leaky.to_string()).unwrap();
    let (code, _, err) = data(d, &["audit", "--split", "leaky.json"]);
    assert!(code == 5 && err.contains("leaky, fold") && err.contains("duplicate group is in both"), "{code} {err}");
    // By patient or by image the duplicates cross or may cross: only a reason lets that pass.
    let mut crossed = false;
    for seed in ["0", "1", "2", "3"] {
        let name = format!("image{seed}.json");
        let (code, _, err) = data(d, &["split", "--group", "image", "--seed", seed, "--out", &name]);
        crossed |= code == 5;
        assert!(code == 0 || err.contains("the split leaks"), "{err}");
        assert_eq!(code == 0, d.join(&name).exists(), "nothing is written for a split that leaks");
    }
    assert!(crossed);
    let allowed = ["split", "--group", "image", "--out", "image.json", "--allow-leak", "as in the paper"];
    assert_eq!(data(d, &allowed).0, 0);
    let (code, _, err) = data(d, &["split", "--method", "leave-one-source-out", "--out", "x.json"]);
    assert!(code == 2 && err.contains("at least 2 sources"), "{err}");
    assert_eq!(data(d, &["split", "--folds", "16", "--out", "x.json"]).0, 2);
}

#[test]
fn verifying_names_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folder(&d.join("set"));
    assert_eq!(data(d, &["audit", "--out", "first"]).0, 0);
    let (code, out, _) = data(d, &["audit", "--verify", "first/digests.json"]);
    assert!(code == 0 && out.contains("all 30 images are as they were"), "{out}");
    picture(500, 40).save(d.join("set/00000003_000.png")).unwrap();
    let (code, _, err) = data(d, &["audit", "--verify", "first/digests.json", "--show-names"]);
    assert!(code == 5 && err.contains("1 with other pixels: 00000003_000.png"), "{err}");
    let (code, out, err) = data(d, &["audit", "--verify", "first/digests.json", "--json"]);
    assert!(code == 5 && !err.contains("_000"), "{err}");
    assert_eq!(json(&out)["pixels"].as_array().map(Vec::len), Some(1));
    assert_eq!(data(d, &["audit", "--verify", "first/audit.json"]).0, 5);
    assert_eq!(data(d, &["audit", "--verify", "gone.json"]).0, 1);
}

#[test]
fn what_cannot_be_read_is_an_error_or_counted() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut rows = folder(&d.join("set"));
    let set = d.join("set");
    let whole = std::fs::read(set.join("00000001_000.png")).unwrap();
    std::fs::write(set.join("empty.png"), b"").unwrap();
    std::fs::write(set.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    image::GrayImage::new(1, 1).save(set.join("tiny.png")).unwrap();
    let mut bad = vec!["empty.png", "cut.png", "tiny.png"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("loop.png", set.join("loop.png")).unwrap();
        std::os::unix::fs::symlink(".", set.join("again")).unwrap();
        bad.push("loop.png");
    }
    rows.extend(bad.iter().map(|name| format!("{name},Mass,,PA,train")));
    table(&set, &rows);
    let n = bad.len();
    let (code, out, err) = data(d, &["audit"]);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains(&format!("{n} of {} images cannot be used", 30 + n)) && err.contains("--skip-bad"), "{err}");
    assert!(out.contains("empty file") && out.contains("damaged PNG") && out.contains("1 x 1 pixels"), "{out}");
    let (code, out, err) = data(d, &["audit", "--skip-bad", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&out)["unusable"].as_array().map(Vec::len), Some(n));
    assert!(err.contains(&format!("{n} of ")), "{err}");
    assert_eq!(data(d, &["split", "--out", "x.json"]).0, 5);
    assert!(!d.join("x.json").exists());
    assert_eq!(data(d, &["split", "--out", "x.json", "--skip-bad"]).0, 0);
    // Tables that cannot be used.
    table(&set, &["path,label".into(), "a.png,x".into()]);
    let (code, _, err) = data(d, &["audit"]);
    assert!(code == 5 && err.contains("no column \"file\""), "{err}");
    assert_eq!(radiograd(d, &["data", "audit", "nowhere"]).status.code(), Some(2));
    assert_eq!(radiograd(d, &["data"]).status.code(), Some(2));
}
