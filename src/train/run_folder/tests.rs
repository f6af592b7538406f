//! A folder's files over runs that end, are killed and go on.

use super::*;

fn record(epoch: u32) -> EpochRecord {
    EpochRecord {
        epoch,
        train_loss: Some(1.0 / f64::from(epoch)),
        train_accuracy: Some(0.5),
        validation_loss: Some(0.75),
        validation_accuracy: None,
        learning_rate: 1e-3,
        seconds: 1.5,
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Label and epoch of each row.
fn rows(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("history.csv")).unwrap();
    text.lines().skip(1).map(|l| l.split(',').take(2).collect::<Vec<_>>().join(" ")).collect()
}

fn event_files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|p| p.is_file());
    all.sort();
    all
}

fn start(history: &[EpochRecord]) -> Start<'_> {
    Start { history, best_epoch: history.last().map(|r| r.epoch), step: 0, steps: 2 }
}

/// Two steps and the epoch.
fn epoch(folder: &RunFolder, label: &str, epoch: u32) {
    (0..2).for_each(|step| folder.step(label, epoch as usize - 1, step, 0.5));
    folder.epoch(label, &record(epoch), true);
    assert!(folder.fault().is_none());
}

#[test]
fn a_run_that_is_killed_and_goes_on_has_every_epoch_once() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("runs/one");
    assert!(RunFolder::open(&dir).unwrap_err().to_string().contains("no run.json"));
    let folder = RunFolder::create(&dir, json!({ "adapter": "llvmpipe", "seed": 7 })).unwrap();
    folder.begin("stage 1", start(&[]));
    (1..=3).for_each(|e| epoch(&folder, "stage 1", e));
    assert_eq!(rows(&dir), ["stage 1 1", "stage 1 2", "stage 1 3"]);
    // Killed in the middle of a line and of a record.
    drop(folder);
    let curves = dir.join("tensorboard/stage 1");
    for torn in [dir.join("events.jsonl"), event_files(&curves).remove(0)] {
        let whole = std::fs::read(&torn).unwrap();
        std::fs::write(&torn, &whole[..whole.len() - 5]).unwrap();
    }
    assert_eq!(json_of(&dir.join("run.json"))["status"], "running");
    let e = RunFolder::create(&dir, Value::Null).unwrap_err();
    assert!(e.exit_code() == 2 && e.to_string().contains("holds a run already"), "{e}");

    let folder = RunFolder::open(&dir).unwrap();
    assert_eq!(folder.run(), json!({ "adapter": "llvmpipe", "seed": 7 }));
    // The checkpoint was of the end of epoch 1.
    folder.begin("stage 1", start(&[record(1)]));
    assert_eq!(rows(&dir), ["stage 1 1"]);
    epoch(&folder, "stage 1", 2);
    folder.begin("stage 2", start(&[]));
    epoch(&folder, "stage 2", 1);
    folder.set("weights_sha256", json!("ab")).unwrap();
    folder.note("done");
    folder.finish(RunStatus::Complete, None).unwrap();
    assert_eq!(rows(&dir), ["stage 1 1", "stage 1 2", "stage 2 1"]);
    let card = json_of(&dir.join("run.json"));
    assert_eq!((&card["status"], &card["run"]["weights_sha256"]), (&json!("complete"), &json!("ab")));
    assert_eq!(card["resumed"].as_array().unwrap().len(), 1);
    assert!(card["program"].as_str().unwrap().starts_with("radiograd 0."));
    assert!(card["started"].as_str() < card["ended"].as_str());

    let events = lines(&dir);
    let names: Vec<&str> = events.iter().map(|l| l["event"].as_str().unwrap()).collect();
    let (s, e) = ("step", "epoch");
    let want = [
        &["created", "begin"][..],
        // The third epoch's own line was the torn one.
        &[s, s, e, s, s, e, s, s],
        &["opened", "begin", s, s, e, "begin", s, s, e, "note", "ended"],
    ];
    assert_eq!(names, want.concat());
    let epoch = events.iter().find(|l| l["event"] == "epoch").unwrap();
    assert_eq!((&epoch["epoch"], &epoch["train_loss"], &epoch["label"]), (&json!(1), &json!(1.0), &json!("stage 1")));
    assert_eq!((event_files(&curves).len(), event_files(&curves.join("steps")).len()), (2, 2));
    assert_eq!(event_files(&dir.join("tensorboard/stage 2")).len(), 1);
}

#[test]
fn what_cannot_be_written_is_told_once() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("run");
    let folder = RunFolder::create(&dir, json!({})).unwrap();
    // Where the curves must go there is a file.
    std::fs::write(dir.join("tensorboard"), b"").unwrap();
    folder.begin("a", start(&[]));
    folder.epoch("a", &record(1), true);
    let e = folder.fault().unwrap();
    assert!(e.exit_code() == 1 && e.to_string().contains("tensorboard"), "{e}");
    assert!(folder.fault().is_none());
    // Nobody asked after this one.
    folder.epoch("a", &record(2), true);
    assert!(folder.finish(RunStatus::Failed, Some("no room")).is_err());
    let card = json_of(&dir.join("run.json"));
    assert_eq!((&card["status"], &card["message"]), (&json!("failed"), &json!("no room")));
    for (file, bad) in [("history.csv", "x"), ("run.json", "{"), ("run.json", "{\"format\":\"other\"}")] {
        let whole = std::fs::read(dir.join(file)).unwrap();
        std::fs::write(dir.join(file), bad).unwrap();
        let e = RunFolder::open(&dir).map(|_| ()).unwrap_err();
        assert!(matches!(e, Error::Format { .. }) && e.to_string().contains(file), "{e:?}");
        std::fs::write(dir.join(file), whole).unwrap();
    }
}

#[test]
fn of_a_long_epoch_a_hundred_steps_are_written() {
    let tmp = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(tmp.path(), json!({})).unwrap();
    folder.begin("a", Start { steps: 750, ..start(&[]) });
    (0..750).for_each(|step| folder.step("a", 0, step, 0.5));
    let steps: Vec<u64> = lines(tmp.path()).iter().filter_map(|l| l["step"].as_u64()).collect();
    assert_eq!(steps, (0..750).step_by(7).map(|s| s + 1).collect::<Vec<u64>>());
}

#[test]
fn labels_become_folders_that_no_two_share() {
    assert_eq!(folder_name("stage 2, fold 3"), "stage 2, fold 3");
    let odd = ["a/b", "a\\b", "a:b", "..", ".", "", " a", "a ", "a.", "steps", "a\nb", "../../x", "a_b"];
    let names: std::collections::HashSet<String> = odd.iter().map(|l| folder_name(l)).collect();
    assert_eq!(names.len(), odd.len());
    assert!(names.iter().all(|n| !n.contains(['/', '\\', ':']) && !n.starts_with('.') && n != "steps"), "{names:?}");
    assert!(folder_name(&"x".repeat(300)).len() < 60);
}

#[test]
fn names_are_hidden_and_stay_the_same() {
    // printf 'radiograd name\n00000013_005.png' | sha256sum
    assert_eq!(hashed("00000013_005.png"), "05292dc99908");
    assert_ne!(hashed("00000013_005.png"), hashed("00000013_006.png"));
}
