//! The case table on the shared device: forward, gradients, guard bands, extra lanes.

use crate::{Test, count, gpu, say};
use radiograd::selftest::{cases, run, summary};

pub const TESTS: &[Test] = &[("table::every_case", every_case), ("table::names_are_unique", names_are_unique)];

fn every_case() {
    say(&format!("on {}", gpu().describe()));
    let results = run(gpu(), "", |_, _, _| {}).unwrap_or_else(|e| panic!("{e}"));
    say(&summary(&results));
    let compared = results.iter().filter(|r| r.direction.starts_with("forward") || r.direction.starts_with("gradient"));
    count("operations x directions compared with f64", compared.clone().count());
    count("elements compared with f64", compared.map(|r| r.elements).sum());
    for direction in ["guard bands", "extra lanes"] {
        let of = results.iter().filter(|r| r.direction == direction);
        count(
            if direction == "guard bands" { "slots with guard bands" } else { "outputs with zero extra lanes" },
            of.map(|r| r.elements).sum(),
        );
    }
    let failed: Vec<_> = results.iter().filter(|r| !r.ok).map(|r| format!("{} / {}", r.name, r.direction)).collect();
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed.join("; "));
}

fn names_are_unique() {
    for table in [cases::table(), cases::bench_table()] {
        let mut names: Vec<_> = table.iter().map(|c| &c.name).collect();
        names.sort();
        let total = names.len();
        names.dedup();
        assert_eq!(names.len(), total, "a name that occurs twice hides a case from filters");
    }
}
