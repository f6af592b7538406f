//! `radiograd train` and `resume`: what they write, what they refuse, and that a killed run ends where an unbroken one does.

use crate::picture::picture;
use crate::{ok, radiograd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The beginning of a training of seconds on drawings.
const SMALL: [&str; 12] = [
    "train",
    "--network",
    "gaowang",
    "--side",
    "32",
    "--patients",
    "24",
    "--batch",
    "8",
    "--no-cache",
    "-q",
    "--epochs",
];

/// A training of seconds on drawings, of so many epochs.
pub fn small<'a>(epochs: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    SMALL.into_iter().chain([epochs]).chain(more.iter().copied()).collect()
}

/// The weights of a run's first fold.
pub fn weights(run: &Path) -> Vec<u8> {
    let path = run.join("fold-1/weights.safetensors");
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Thirty images of fifteen patients, each with both of its images in one class.
pub fn folder(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let mut rows = vec!["file,finding,patient_id,view".to_string()];
    for k in 0..30u32 {
        picture(k, 40).save(dir.join(format!("sn-4711-{k}.png"))).unwrap();
        rows.push(format!("sn-4711-{k}.png,{},{},PA", ["No Finding", "Mass"][k as usize / 2 % 2], k / 2));
    }
    std::fs::write(dir.join("metadata.csv"), rows.join("\n") + "\n").unwrap();
    let rule = |class: &str, finding: &str| format!("[[rule]]\nclass = \"{class}\"\nany_of = [\"{finding}\"]\n");
    let head = "format = \"radiograd-labels-1\"\nname = \"test\"\nclasses = [\"normal\", \"mass\"]\n";
    let map = head.to_string() + &rule("normal", "no finding") + &rule("mass", "mass");
    std::fs::write(dir.join("../labels.toml"), map).unwrap();
}

#[test]
fn a_killed_run_goes_on_to_the_weights_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let out = ok(d, &small("6", &["--augment", "mirror,noise=0.02", "--out", "whole"]));
    assert!(out.contains("test accuracy"), "{out}");
    for file in
        ["report.html", "report.json", "predictions.csv", "run.json", "history.csv", "events.jsonl", "tensorboard"]
    {
        assert!(d.join("whole").join(file).exists(), "{file}");
    }
    let page = std::fs::read_to_string(d.join("whole/report.html")).unwrap();
    assert!(page.contains("not a medical device") && !page.contains("<script") && !page.contains("src=\"http"));

    // Killed as soon as there are epochs to lose.
    let mut run = Command::new(env!("CARGO_BIN_EXE_radiograd"))
        .current_dir(d)
        .args(small("6", &["--augment", "mirror,noise=0.02", "--out", "killed"]))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (start, history) = (Instant::now(), d.join("killed/history.csv"));
    let epochs = || std::fs::read_to_string(&history).map_or(0, |t| t.lines().count());
    while epochs() < 3 && run.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!d.join("killed/report.html").exists(), "killed too late: nothing is tested");
    ok(d, &["resume", "killed", "--no-cache", "-q"]);
    assert!(weights(&d.join("whole")) == weights(&d.join("killed")), "other weights");
    let rows = |run: &str| std::fs::read_to_string(d.join(run).join("history.csv")).unwrap().lines().count();
    assert_eq!(rows("whole"), rows("killed"), "epochs are listed once");
    // A finished run has nothing left to do; another run has no place in its folder.
    ok(d, &["resume", "whole", "--no-cache", "-q"]);
    let other = radiograd(d, &small("3", &["--out", "whole"]));
    assert_eq!(other.status.code(), Some(2), "{}", String::from_utf8_lossy(&other.stderr));
}

#[test]
fn a_leak_ends_with_five_unless_a_reason_is_given_that_the_report_prints() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folder(&d.join("set"));
    let base = [
        "train",
        "--data",
        "set",
        "--labels",
        "labels.toml",
        "--network",
        "gaowang",
        "--side",
        "32",
        "--epochs",
        "1",
        "--no-cache",
        "-q",
        "--group",
        "image",
    ];
    let leaking: Vec<&str> = base.into_iter().chain(["--out", "run"]).collect();
    let out = radiograd(d, &leaking);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(5), "{err}");
    assert!(err.contains("patient") && !err.contains("sn-4711"), "{err}");
    assert!(!d.join("run/fold-1").exists(), "nothing is trained");
    let allowed: Vec<&str> =
        base.into_iter().chain(["--out", "allowed", "--allow-leak", "as the paper divides"]).collect();
    let said = ok(d, &allowed);
    let page = std::fs::read_to_string(d.join("allowed/report.html")).unwrap();
    assert!(said.contains("as the paper divides") && page.contains("as the paper divides"), "{said}");
    // By patient nothing leaks, and no file name is in what may be shown.
    let fine: Vec<&str> = base[..13].iter().copied().chain(["--out", "fine"]).collect();
    ok(d, &fine);
    for file in ["report.html", "report.json", "predictions.csv", "history.csv", "events.jsonl", "run.json"] {
        let text = std::fs::read_to_string(d.join("fine").join(file)).unwrap();
        assert!(!text.contains("sn-4711"), "{file} names a file");
    }
}

#[test]
fn settings_come_from_flags_then_environment_then_file() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(
        d.join("c.toml"),
        "network = \"gaowang\"\nside = 32\npatients = 24\nepochs = 3\nbatch = 8\nlr = 0.002\n",
    )
    .unwrap();
    let run = |out: &str, flags: &[&str], environment: &[(&str, &str)]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_radiograd"));
        c.current_dir(d).args(["train", "--config", "c.toml", "--no-cache", "-q", "--out", out]).args(flags);
        let done = c.envs(environment.iter().copied()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read_to_string(d.join(out).join("history.csv")).unwrap().lines().count() - 1
    };
    assert_eq!(run("file", &[], &[]), 3);
    assert_eq!(run("environment", &[], &[("RADIOGRAD_EPOCHS", "2")]), 2);
    assert_eq!(run("flag", &["--epochs", "1"], &[("RADIOGRAD_EPOCHS", "2")]), 1);
}

#[test]
fn what_cannot_run_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("bad.toml"), "epoch = 3\n").unwrap();
    for (arguments, code, word) in [
        (vec!["--network", "detl13"], 2, "detl12"),
        (vec!["--side", "7"], 2, "side"),
        (vec!["--epochs", "0"], 2, "epochs"),
        (vec!["--augment", "rotatoin=3"], 2, "rotation"),
        (vec!["--schedule", "cosin"], 2, "cosine"),
        (vec!["--freeze", "blokc1.*"], 2, "block1"),
        (vec!["--loss", "binary"], 2, "2 classes"),
        (vec!["--class-weights", "1,2"], 2, "class weights"),
        (vec!["--labels", "zong", "--data", "."], 2, "zhong"),
        (vec!["--data", "nowhere"], 2, "nowhere"),
        (vec!["--split", "x.json"], 2, "data"),
        (vec!["--config", "bad.toml"], 5, "epoch"),
        (vec!["--grid", "lrr=1,2"], 2, "'lr'"),
        (vec!["--shard", "3/2"], 2, "i/n"),
    ] {
        let all: Vec<&str> =
            ["train", "--no-cache", "-q", "--out", "run"].into_iter().chain(arguments.iter().copied()).collect();
        let out = radiograd(d, &all);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: {err}");
        assert!(!d.join("run/fold-1").exists() && !d.join("run/report.html").exists(), "{arguments:?}");
    }
    let out = radiograd(d, &["resume", "nowhere"]);
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_grid_is_ranked_by_validation_and_shards_make_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let out = ok(d, &small("1", &["--grid", "lr=1e-3,1e-4", "--out", "grid"]));
    assert!(out.contains("lr=1e-3") && out.contains("lr=1e-4"), "{out}");
    assert!(d.join("grid/lr=1e-3/fold-1/fold.json").exists());
    // Two shards of three folds, and then all that there is.
    let folds = ["--method", "kfold", "--folds", "3", "--out", "folds"];
    let shard = |which: &'static str| small("1", &folds).into_iter().chain(["--shard", which]).collect::<Vec<_>>();
    ok(d, &shard("1/2"));
    assert!(!d.join("folds/fold-2").exists());
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let last: Vec<&str> = shard("2/2").into_iter().chain(["--json"]).collect();
    assert_eq!(json(ok(d, &last))["complete"], true);
    let mut whole = small("1", &folds[..4]);
    whole.extend(["--out", "whole", "--json"]);
    ok(d, &whole);
    let table = |run: &str| std::fs::read_to_string(d.join(run).join("predictions.csv")).unwrap();
    assert_eq!(table("folds"), table("whole"));
}
