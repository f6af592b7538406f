//! The fixtures as a test: skipped, with the reason, where their folder is not there.

use crate::parity::{Outcome, compare};
use crate::{Test, count, fixtures, plain, say};
use std::collections::BTreeMap;

pub const TESTS: &[Test] = &[("parity::fixtures", all)];

fn all() {
    let Some(folder) = fixtures::folder() else {
        say("parity: skipped, there is no folder ../shared/parity/fixtures (or RADIOGRAD_PARITY) with an index.json");
        count("parity fixtures compared (folder absent, skipped)", 0);
        return;
    };
    let all = fixtures::read_all(&folder).unwrap_or_else(|e| panic!("{e}"));
    let (mut failed, mut missing) = (Vec::new(), BTreeMap::<String, usize>::new());
    for f in &all {
        match compare(plain(), f).unwrap_or_else(|e| panic!("{}: {e}", f.name)) {
            Outcome::Unsupported(what) => *missing.entry(what).or_default() += 1,
            Outcome::Compared(r) => {
                count("parity fixtures compared", 1);
                count("parity quantities compared", r.quantities);
                count("parity numbers compared", r.numbers);
                if !r.ok() && r.failed.is_empty() {
                    failed.push(format!("{}: nothing was compared", f.name));
                }
                failed.extend(r.failed.iter().map(|m| format!("{}: {m}", f.name)));
                r.skipped.iter().for_each(|s| *missing.entry(format!("quantity {s}")).or_default() += 1);
            }
        }
    }
    count(
        "parity fixtures of later issues",
        missing.iter().filter(|(k, _)| !k.starts_with("quantity")).map(|(_, n)| n).sum(),
    );
    let list: Vec<String> = missing.iter().map(|(what, n)| format!("{what} ({n})")).collect();
    say(&format!("parity: not supported yet: {}", list.join(", ")));
    assert!(failed.is_empty(), "{} quantities outside their tolerance:\n{}", failed.len(), failed.join("\n"));
}
