//! `radiograd data split`.

use super::super::{positive, print};
use super::Source;
use clap::{Args, ValueEnum};
use radiograd::data::audit::facts::View;
use radiograd::data::audit::{ClassRule, Division, GroupBy, Reading, gate, leaks, sections};
use radiograd::data::division::{Method, Options, Parts, divide};
use radiograd::data::file_name::slashed;
use radiograd::data::fold_file::{self, FoldFile, FoldImage};
use radiograd::eval::Dropped;
use radiograd::files::hex;
use radiograd::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// Divide a data set into training, validation and test parts, and write them to a file.
///
/// Folds and hold-out are stratified by class and keep groups together, by the greedy rule of scikit-learn's
/// StratifiedGroupKFold. An image without a patient is its own group unless duplicates tie it to others. A division that lets a
/// patient or a duplicate group cross ends with exit code 5 unless --allow-leak gives a reason, which the file holds.
///
/// Lateral views and CT slices are left out, children are kept; --lateral and --children change that.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How to divide.
    #[arg(long, value_enum, default_value = "kfold")]
    method: MethodName,
    /// Folds of kfold.
    #[arg(long, value_name = "K", default_value = "5", value_parser = positive)]
    folds: usize,
    /// Share of the test part of holdout.
    #[arg(long, value_name = "SHARE", default_value = "0.2")]
    test: f64,
    /// Share of the validation part in what is not tested.
    #[arg(long, value_name = "SHARE", default_value = "0.15")]
    validation: f64,
    /// What may not be separated.
    #[arg(long, value_enum, default_value = "patient+duplicates")]
    group: GroupName,
    /// Views from the side.
    #[arg(long, value_enum, default_value = "out")]
    lateral: InOut,
    /// Patients under 18, by age or because the whole collection is of children.
    #[arg(long, value_enum, default_value = "in")]
    children: InOut,
    /// Leave out classes with too few groups for the method (kfold: fewer than folds), instead of ending with an error.
    #[arg(long)]
    drop_small_classes: bool,
    /// Seed of all draws.
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Let leaks pass for this reason, which the file holds.
    #[arg(long, value_name = "REASON")]
    allow_leak: Option<String>,
    /// The file to write (JSON). It holds file names: keep it beside the data.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodName {
    /// k test folds, of each remainder a validation part.
    Kfold,
    /// One test and one validation part.
    Holdout,
    /// Each source is the test part once; what is tied to it is set aside.
    LeaveOneSourceOut,
}

#[derive(Clone, Copy, ValueEnum)]
enum GroupName {
    /// Images of a patient, and images that are one radiograph.
    #[value(name = "patient+duplicates")]
    PatientAndDuplicates,
    /// Images of a patient.
    Patient,
    /// Nothing, as in papers that leak.
    Image,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum InOut {
    /// Used.
    In,
    /// Left out and counted.
    Out,
}

pub fn run(a: &Arguments) -> Result<()> {
    let rule = ClassRule::parse(&a.source.classes)?;
    gate(&[], a.allow_leak.as_deref())?;
    for (name, share) in [("--test", a.test), ("--validation", a.validation)] {
        if !(share > 0.0 && share <= 0.5) {
            return Err(Error::Usage(format!("{name} {share}: more than 0 and at most 0.5 is possible")));
        }
    }
    let reading = a.source.read()?;
    reading.check_bad(a.source.skip_bad)?;
    let by = match a.group {
        GroupName::PatientAndDuplicates => GroupBy::PatientAndDuplicates,
        GroupName::Patient => GroupBy::Patient,
        GroupName::Image => GroupBy::Image,
    };
    let groups = reading.groups(by);
    let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
    reading.data.dropped.iter().for_each(|(why, n)| *left_out.entry(why.clone()).or_default() += *n as u64);
    let mut chosen = choose(a, &reading, &rule, &mut left_out);
    let needed = match a.method {
        MethodName::Kfold => a.folds,
        // As many parts as the hold-out is drawn from.
        MethodName::Holdout => (1.0 / a.test).round().max(3.0) as usize,
        MethodName::LeaveOneSourceOut => 2,
    };
    if a.drop_small_classes {
        drop_small(&mut chosen, &groups, needed, &mut left_out);
    }
    let classes: Vec<String> = chosen.iter().map(|(_, c)| c.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let names: Vec<&str> = classes.iter().map(String::as_str).collect();
    let labels: Vec<usize> = chosen.iter().filter_map(|(_, c)| classes.binary_search(c).ok()).collect();
    let items: Vec<usize> = chosen.iter().map(|(i, _)| *i).collect();
    let own: Vec<usize> = items.iter().map(|&i| groups[i]).collect();
    let sources: Vec<&str> = items.iter().map(|&i| reading.data.records[i].source.as_str()).collect();
    let method = match a.method {
        MethodName::Kfold => Method::Kfold,
        MethodName::Holdout => Method::Holdout,
        MethodName::LeaveOneSourceOut => Method::LeaveOneSourceOut,
    };
    let options = Options {
        method,
        folds: a.folds,
        test: a.test,
        validation: a.validation,
        by_image: by == GroupBy::Image,
        seed: a.seed,
    };
    let folds = divide(&labels, &own, &sources, &names, &options).map_err(|e| match e {
        Error::Usage(m) if m.starts_with("class ") => {
            Error::Usage(format!("{m}; --drop-small-classes leaves it out, --class unites classes"))
        }
        other => other,
    })?;
    let found = leaks(&divisions(&folds, &items, reading.seen.len()), &reading.bonds());
    let leak_allowed = gate(&found, a.allow_leak.as_deref())?;
    let image = |(k, &i): (usize, &usize)| FoldImage {
        file: slashed(&reading.data.records[i].file),
        source: sources[k].to_string(),
        class: labels[k],
        group: own[k],
        sha256: reading.image(i).map_or_else(String::new, |s| hex(&s.file)),
    };
    let bad = reading.bad().count() as u64;
    if bad > 0 {
        left_out.insert("image cannot be used".into(), bad);
    }
    let file = FoldFile {
        format: fold_file::FORMAT.into(),
        method: method.name().into(),
        group_by: by.name().into(),
        seed: a.seed,
        rules: rules(a, &rule),
        left_out: left_out.into_iter().map(|(reason, rows)| Dropped { reason, rows }).collect(),
        leaks: found,
        leak_allowed,
        classes,
        images: items.iter().enumerate().map(image).collect(),
        folds,
    };
    let sha256 = file.write(&a.out)?;
    a.source.talk.talk().say(a.out.display());
    print(&if a.json { json(&file, &sha256) } else { text(&file, &sha256) })
}

/// The images that take part and their classes; the others are counted.
fn choose(
    a: &Arguments,
    reading: &Reading,
    rule: &ClassRule,
    left_out: &mut BTreeMap<String, u64>,
) -> Vec<(usize, String)> {
    let mut chosen = Vec::new();
    for i in reading.usable() {
        let r = &reading.data.records[i];
        let view = View::of(r.view.as_deref());
        let why = match view {
            View::Lateral if a.lateral == InOut::Out => Some("lateral view"),
            View::Ct => Some("CT slice"),
            _ if a.children == InOut::Out && sections::is_child(reading, i) => Some("child"),
            _ => None,
        };
        match (why, rule.of(r)) {
            (None, Some(class)) => chosen.push((i, class)),
            (Some(why), _) => *left_out.entry(why.into()).or_default() += 1,
            (None, None) => *left_out.entry("finding of no class or of two".into()).or_default() += 1,
        }
    }
    chosen
}

fn drop_small(
    chosen: &mut Vec<(usize, String)>,
    groups: &[usize],
    needed: usize,
    left_out: &mut BTreeMap<String, u64>,
) {
    let mut own: BTreeMap<String, (HashSet<usize>, u64)> = BTreeMap::new();
    for (i, class) in chosen.iter() {
        let e = own.entry(class.clone()).or_default();
        e.0.insert(groups[*i]);
        e.1 += 1;
    }
    for (class, (with, images)) in own.iter().filter(|(_, (with, _))| with.len() < needed) {
        let groups = if with.len() == 1 { "1 group".to_string() } else { format!("{} groups", with.len()) };
        left_out.insert(format!("class {class} has {groups} only"), *images);
    }
    chosen.retain(|(_, class)| own[class].0.len() >= needed);
}

/// Which images take part, in words.
fn rules(a: &Arguments, rule: &ClassRule) -> Vec<String> {
    let word = |v: InOut| if v == InOut::In { "in" } else { "out" };
    vec![
        format!("class: {}", rule.describe()),
        format!("lateral views: {}", word(a.lateral)),
        "CT slices: out".into(),
        format!("children: {}", word(a.children)),
        "an image without patient is its own group unless duplicates tie it to others".into(),
    ]
}

fn divisions(folds: &[Parts], items: &[usize], n: usize) -> Vec<Division> {
    let one = |fold: &Parts| {
        let mut part_of = vec![None; n];
        for (part, list) in [&fold.train, &fold.val, &fold.test].into_iter().enumerate() {
            list.iter().for_each(|&k| part_of[items[k]] = Some(part));
        }
        let parts = ["training", "validation", "test"].map(String::from).to_vec();
        Division { name: fold.name.clone(), parts, part_of }
    };
    folds.iter().map(one).collect()
}

/// Images by class of a part.
fn by_class(file: &FoldFile, part: &[usize]) -> Vec<u64> {
    let mut counts = vec![0; file.classes.len()];
    part.iter().for_each(|&k| counts[file.images[k].class] += 1);
    counts
}

fn json(file: &FoldFile, sha256: &str) -> String {
    let part = |items: &[usize]| {
        let groups: HashSet<usize> = items.iter().map(|&k| file.images[k].group).collect();
        serde_json::json!({"images": items.len(), "groups": groups.len(), "by_class": by_class(file, items)})
    };
    let folds: Vec<_> = file
        .folds
        .iter()
        .map(|f| {
            serde_json::json!({"name": f.name, "train": part(&f.train), "val": part(&f.val), "test": part(&f.test),
                "unused": f.unused.len()})
        })
        .collect();
    let all = serde_json::json!({"sha256": sha256, "method": file.method, "group_by": file.group_by, "seed": file.seed,
        "rules": file.rules, "left_out": file.left_out, "leaks": file.leaks, "leak_allowed": file.leak_allowed,
        "classes": file.classes, "images": file.images.len(), "folds": folds});
    format!("{all}\n")
}

fn text(file: &FoldFile, sha256: &str) -> String {
    let mut out = format!(
        "{} by {}, seed {}: {} images, {} classes\n",
        file.method,
        file.group_by,
        file.seed,
        file.images.len(),
        file.classes.len()
    );
    for rule in &file.rules {
        out += &format!("rule: {rule}\n");
    }
    for d in &file.left_out {
        out += &format!("left out: {} x {}\n", d.rows, d.reason);
    }
    let first = file.folds.iter().map(|f| f.name.chars().count()).max().unwrap_or(0).max(4) + 2;
    let width = |c: &String| c.chars().count().max(5) + 2;
    let head: String = file.classes.iter().map(|c| format!("{c:>0$}", width(c))).collect();
    out += &format!("\n{:<first$}{:<12}{:>8}{:>8}{head}\n", "fold", "part", "images", "groups");
    for f in &file.folds {
        for (name, items) in [("training", &f.train), ("validation", &f.val), ("test", &f.test), ("unused", &f.unused)]
        {
            if items.is_empty() {
                continue;
            }
            let groups: HashSet<usize> = items.iter().map(|&k| file.images[k].group).collect();
            let counts = by_class(file, items);
            let cells: String = counts.iter().zip(&file.classes).map(|(n, c)| format!("{n:>0$}", width(c))).collect();
            out += &format!("{:<first$}{name:<12}{:>8}{:>8}{cells}\n", f.name, items.len(), groups.len());
        }
    }
    if let Some(reason) = &file.leak_allowed {
        out += &format!("\nLeaks were allowed, because: {reason}\n");
        file.leaks.iter().for_each(|l| out += &format!("  {l}\n"));
    }
    out + &format!("\nSHA-256 of the file: {sha256}\n")
}
