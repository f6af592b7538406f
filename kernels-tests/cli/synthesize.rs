//! `radiograd data synthesize`: what it writes opens, and what it must not do.

use crate::{ok, radiograd};

#[test]
fn a_set_with_a_letter_is_written_and_its_audit_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let options = ["--patients", "24", "--side", "32", "--seed", "5", "--sources", "2", "--letter", "covid19"];
    let mut all = vec!["data", "synthesize", "--out", "set", "--json", "--letter-correlation", "1"];
    all.extend(options);
    let out: serde_json::Value = serde_json::from_str(&ok(d, &all)).unwrap();
    let images = out["images"].as_u64().unwrap();
    assert_eq!((out["patients"].as_u64(), out["correlation"].as_f64()), (Some(24), Some(1.0)));
    assert_eq!(out["letters"]["covid19"], out["classes"]["covid19"]);
    assert_eq!(out["letters"]["normal"].as_u64(), Some(0));
    for path in ["set", "set/manifest.toml"] {
        let stats: serde_json::Value =
            serde_json::from_str(&ok(d, &["data", "stats", path, "--no-cache", "--json"])).unwrap();
        assert_eq!(stats["images"].as_u64(), Some(images), "{path}");
        assert_eq!(stats["sources"].as_array().map(Vec::len), Some(2), "{path}: {stats}");
    }
    // The same options give the same picture; the folder is not written twice.
    let mut again = vec!["data", "synthesize", "--out", "again", "-q", "--letter-correlation", "1"];
    again.extend(options);
    let text = ok(d, &again);
    assert!(text.contains("synthetic images of 24 patients") && text.contains("(phi) 1.000"), "{text}");
    let picture = |set: &str| std::fs::read(d.join(set).join("images/s5-00003-0.png")).unwrap();
    assert_eq!(picture("set"), picture("again"));
    let second = radiograd(d, &again);
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("not empty"));
}

#[test]
fn impossible_options_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (options, needle) in [
        (&["--letter", "covid"][..], "did you mean 'covid19'?"),
        (&["--side", "8"], "side 8: 32 to 1024"),
        (&["--sources", "9"], "9 sources: 1 to 6"),
        (&["--letter", "normal", "--letter-correlation", "-1.5"], "-1.5 is not between"),
        (&["--letter-correlation", "0.5"], "--letter <CLASS>"),
        (&["--patients", "0"], "from 1 on"),
    ] {
        let mut all = vec!["data", "synthesize", "--out", "set"];
        all.extend(options);
        let out = radiograd(d, &all);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && text.contains(needle), "{options:?}: {text}");
        assert!(!d.join("set").exists(), "{options:?}");
    }
}
