//! What goes wrong around a training: the disk is full, images go away, and a folder holds everything that is no radiograph. A
//! message, an exit code, whole files or none, and a run that goes on.

use crate::bad_input::refused;
use crate::picture::picture;
use crate::train::{folder, small, weights};
use crate::{ok, radiograd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries.map(|e| e.unwrap().path()).flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

/// Every file of a run is what its name says, to its last byte.
fn all_whole(run: &Path) {
    for path in files(run) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let shown = path.display();
        match name.rsplit_once('.').map_or("", |n| n.1) {
            _ if name.starts_with("events.out.tfevents.") => {
                // Length of 8 bytes, its checksum, content, its checksum.
                let mut at = 0;
                while at < bytes.len() {
                    let length = bytes.get(at..at + 8).unwrap_or_else(|| panic!("{shown}: torn"));
                    at += 16 + u64::from_le_bytes(length.try_into().unwrap()) as usize;
                }
                assert!(at == bytes.len() && at > 0, "{shown}: ends within a record");
            }
            "json" => {
                _ = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_else(|e| panic!("{shown}: {e}"))
            }
            "jsonl" => {
                let lines = text(&bytes);
                assert!(lines.ends_with('\n'), "{shown}: {lines}");
                for line in lines.lines() {
                    serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{shown}: {e}: {line}"));
                }
            }
            "csv" => assert!(csv::Reader::from_reader(&bytes[..]).records().all(|r| r.is_ok()), "{shown}"),
            "png" => _ = image::load_from_memory(&bytes).unwrap_or_else(|e| panic!("{shown}: {e}")),
            "safetensors" => {
                safetensors::SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{shown}: {e}"));
            }
            "html" => assert!(text(&bytes).trim_end().ends_with("</html>"), "{shown}"),
            _ => panic!("{shown}: not a file of a run"),
        }
    }
}

/// A disk of a few pages, in a namespace of its own: it is gone with the script, whatever becomes of the test. 77: none to be had.
const DISK: &str = r#"
set -u
page=$(getconf PAGESIZE)
mount -t tmpfs -o size=$((6 * page)) none disk || exit 77
"$@" --out disk/run 2>first.err; echo $? >first.code
cp -R disk/run first
mount -o remount,size=2500k none disk || exit 77
"$PROGRAM" resume disk/run --no-cache -q 2>second.err; echo $? >second.code
cp -R disk/run second
mount -o remount,size=32m none disk || exit 77
"$PROGRAM" resume disk/run --no-cache -q 2>third.err; echo $? >third.code
cp -R disk/run third
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_a_training_that_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::create_dir(d.join("disk")).unwrap();
    let program = env!("CARGO_BIN_EXE_radiograd");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", DISK, "sh", program]).args(small("8", &[]));
    command.current_dir(d).env("NO_COLOR", "1").env("PROGRAM", program).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(script) = command.spawn() else {
        eprintln!("skipped: no `unshare` on this machine, so no small disk to fill");
        return;
    };
    ok(d, &small("8", &["--out", "whole"]));
    let done: Output = script.wait_with_output().unwrap();
    if !d.join("first.code").exists() || done.status.code() == Some(77) {
        eprintln!("skipped: no small disk may be mounted here ({})", text(&done.stderr).trim());
        return;
    }
    assert!(done.status.success(), "{}", text(&done.stderr));
    let read = |name: &str| std::fs::read_to_string(d.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    // In the middle of the training, and where its weights and pictures are written.
    for part in ["first", "second"] {
        let message = read(&format!("{part}.err"));
        assert_eq!(read(&format!("{part}.code")).trim(), "1", "{message}");
        assert!(message.contains("disk/run/") && message.contains("No space left on device"), "{message}");
        all_whole(&d.join(part));
        assert!(!d.join(part).join("fold-1/fold.json").exists() && !d.join(part).join("report.html").exists());
    }
    // The first error is told, not that its own note could not be written.
    assert!(!read("first.err").contains("run.json"), "{}", read("first.err"));
    let epochs = |run: &str| read(&format!("{run}/history.csv")).lines().count() - 1;
    assert!((1..8).contains(&epochs("first")), "the disk was full after {} epochs", epochs("first"));
    assert!(
        !d.join("first/fold-1/checkpoint.safetensors").exists() && !d.join("first/fold-1/weights.safetensors").exists()
    );
    assert!(d.join("second/fold-1/checkpoint.safetensors").exists(), "what was trained is not lost");
    assert_eq!(read("third.code").trim(), "0", "{}", read("third.err"));
    all_whole(&d.join("third"));
    assert_eq!((epochs("third"), epochs("whole")), (8, 8));
    assert!(weights(&d.join("third")) == weights(&d.join("whole")), "other weights than without a full disk");
}

/// Arguments of a training on the folder `set` that [`folder`] makes.
fn on_set<'a>(epochs: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let set =
        ["train", "--data", "set", "--labels", "labels.toml", "--network", "gaowang", "--side", "32", "--no-cache"];
    set.into_iter().chain(["--epochs", epochs, "--out", "run"]).chain(more.iter().copied()).collect()
}

#[test]
fn images_that_go_away_before_a_training_and_within_it() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folder(&d.join("set"));
    ok(d, &["data", "audit", "set", "--no-cache", "-q"]);
    std::fs::remove_file(d.join("set/sn-4711-3.png")).unwrap();
    refused(d, &on_set("1", &["-q"]), 5, &["1 of 30 images are not there", "img-", "--skip-bad", "--show-names"]);
    let out = radiograd(d, &on_set("1", &["-q"]));
    assert!(!text(&out.stderr).contains("sn-4711"), "{}", text(&out.stderr));
    refused(d, &on_set("1", &["-q", "--show-names"]), 5, &["sn-4711-3.png"]);
    // Without it, and from the second epoch on without any.
    let mut run = Command::new(env!("CARGO_BIN_EXE_radiograd"));
    run.current_dir(d).args(on_set("12", &["--skip-bad"])).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let (start, history) = (Instant::now(), d.join("run/history.csv"));
    let epochs = || std::fs::read_to_string(&history).map_or(0, |t| t.lines().count().saturating_sub(1));
    while epochs() < 1 && run.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::rename(d.join("set"), d.join("away")).unwrap();
    assert!(epochs() < 12, "gone too late: nothing is tested");
    let done = run.wait_with_output().unwrap();
    let message = text(&done.stderr);
    assert!(done.status.success() && epochs() == 12, "{message}");
    assert!(message.contains("left out: 1 x image file missing") && !message.contains("sn-4711"), "{message}");
    // The run is of those images: with others there is no going on.
    refused(d, &["resume", "run", "--no-cache", "-q"], 2, &["set"]);
    std::fs::rename(d.join("away"), d.join("set")).unwrap();
    std::fs::remove_file(d.join("set/sn-4711-4.png")).unwrap();
    let out = radiograd(d, &["resume", "run", "--no-cache", "-q"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("of other images"), "{}", text(&out.stderr));
}

#[test]
fn a_training_among_files_that_are_no_radiographs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let set = d.join("set");
    folder(&set);
    let table = std::fs::read_to_string(set.join("metadata.csv")).unwrap();
    let whole = std::fs::read(set.join("sn-4711-0.png")).unwrap();
    std::fs::write(set.join("sn-4711-zero.png"), b"").unwrap();
    std::fs::write(set.join("sn-4711-cut.png"), &whole[..whole.len() / 2]).unwrap();
    image::GrayImage::new(1, 1).save(set.join("sn-4711-one.png")).unwrap();
    // 20 megapixels, which is no fault.
    let small = picture(99, 40);
    let large = image::GrayImage::from_fn(5000, 4000, |x, y| *small.get_pixel(x / 125, y / 100));
    large.save(set.join("sn-4711-large.png")).unwrap();
    let mut names = vec!["large", "zero", "cut", "one"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("sn-4711-loop.png", set.join("sn-4711-loop.png")).unwrap();
        std::os::unix::fs::symlink(".", set.join("again")).unwrap();
        names.push("loop");
    }
    let row = |(k, name): (usize, &&str)| format!("sn-4711-{name}.png,Mass,{},PA\n", 100 + k);
    let rows: String = names.iter().enumerate().map(row).collect();
    std::fs::write(set.join("metadata.csv"), table.clone() + &rows).unwrap();
    let (bad, all) = (names.len() - 1, 30 + names.len());
    let said = format!("{bad} of {all} images cannot be used");
    refused(d, &on_set("1", &["-q"]), 5, &[&said, "img-", "--skip-bad"]);
    let done = radiograd(d, &on_set("1", &["--skip-bad"]));
    let message = text(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{message}");
    assert!(message.contains(&format!("left out: {bad} x image cannot be used")), "{message}");
    assert!(!message.contains("sn-4711"), "{message}");
    let split: serde_json::Value = serde_json::from_slice(&std::fs::read(d.join("run/split.json")).unwrap()).unwrap();
    let images = split["images"].as_array().unwrap();
    assert!(images.len() == 31 && images.iter().any(|i| i["file"] == "sn-4711-large.png"), "{images:?}");
    all_whole(&d.join("run"));
    // A table that cannot be used.
    std::fs::write(set.join("metadata.csv"), table.replace("file,finding", "path,label")).unwrap();
    let arguments: Vec<&str> = on_set("1", &["-q"]).iter().map(|a| if *a == "run" { "other" } else { a }).collect();
    refused(d, &arguments, 5, &["metadata.csv", "no column \"file\""]);
}
