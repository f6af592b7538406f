//! Dividing a data set: k folds, one hold-out, or each source left out once.
//!
//! Folds and hold-outs follow scikit-learn's `StratifiedGroupKFold` ([`crate::data::split`]). With one source left out,
//! images of the others that belong to a group of that source would leak and are set aside.

use crate::data::split::{group_kfold, holdout, kfold, rng};
use crate::error::{Error, Result};
use crate::files::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How a data set is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// k test folds, of each remainder a validation part.
    Kfold,
    /// One test and one validation part.
    Holdout,
    /// Each source is the test part once.
    LeaveOneSourceOut,
}

impl Method {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Kfold => "kfold",
            Method::Holdout => "holdout",
            Method::LeaveOneSourceOut => "leave-one-source-out",
        }
    }
}

/// What a division needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How.
    pub method: Method,
    /// Folds of [`Method::Kfold`].
    pub folds: usize,
    /// Share of the test part of [`Method::Holdout`].
    pub test: f64,
    /// Share of the validation part in what is not tested.
    pub validation: f64,
    /// Whether every image is a group of its own, and the plain stratified k-fold is asked.
    pub by_image: bool,
    /// Seed of all draws.
    pub seed: u64,
}

impl Options {
    /// A hold-out by group: 20 % for the test, 20 % of the rest for validation.
    pub fn holdout(seed: u64) -> Options {
        Options { method: Method::Holdout, folds: 5, test: 0.2, validation: 0.2, by_image: false, seed }
    }
}

/// The parts of one fold, positions ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// As in "fold 1" or "without nih".
    pub name: String,
    /// To train on.
    pub train: Vec<usize>,
    /// To choose the best weights on.
    pub val: Vec<usize>,
    /// To report on.
    pub test: Vec<usize>,
    /// In no part: another image of the same group is tested.
    pub unused: Vec<usize>,
}

/// SHA-256 (hex) over all parts of all folds.
pub fn digest(folds: &[Parts]) -> String {
    let text = serde_json::to_vec(folds).unwrap_or_default();
    hex(&Sha256::digest(text))
}

/// Divides `0..n` by class index, group and source.
///
/// # Errors
/// [`Error::Usage`] and [`Error::Data`] as [`group_kfold`] and [`holdout`]; [`Error::Usage`] when there is one source only
/// and one is to be left out.
pub fn divide(
    labels: &[usize],
    groups: &[usize],
    sources: &[&str],
    classes: &[&str],
    options: &Options,
) -> Result<Vec<Parts>> {
    let all: Vec<usize> = (0..labels.len()).collect();
    let alone: Vec<usize> = all.clone();
    let groups = if options.by_image { &alone } else { groups };
    let seed = options.seed;
    match options.method {
        Method::Kfold => {
            let mut shuffle = rng(seed, "folds");
            let tests = if options.by_image {
                kfold(labels, classes, options.folds, &mut shuffle)?
            } else {
                group_kfold(labels, groups, classes, options.folds, Some(&mut shuffle))?
            };
            let one = |(f, test): (usize, Vec<usize>)| {
                let rest = without(&all, &test);
                let purpose = format!("validation of fold {f}");
                let (train, val) = validation(labels, groups, classes, &rest, options.validation, (seed, &purpose))?;
                Ok(Parts { name: format!("fold {}", f + 1), train, val, test, unused: Vec::new() })
            };
            tests.into_iter().enumerate().map(one).collect()
        }
        Method::Holdout => {
            let (rest, test) = holdout(labels, groups, classes, options.test, &mut rng(seed, "test"))?;
            let (train, val) = validation(labels, groups, classes, &rest, options.validation, (seed, "validation"))?;
            Ok(vec![Parts { name: "hold-out".into(), train, val, test, unused: Vec::new() }])
        }
        Method::LeaveOneSourceOut => {
            let names: BTreeSet<&str> = sources.iter().copied().collect();
            if names.len() < 2 {
                let m = format!(
                    "leave-one-source-out needs at least 2 sources; there is {}",
                    sources.first().unwrap_or(&"none")
                );
                return Err(Error::Usage(m));
            }
            let one = |name: &str| {
                let test: Vec<usize> = all.iter().copied().filter(|&i| sources[i] == name).collect();
                let tested: HashSet<usize> = test.iter().map(|&i| groups[i]).collect();
                let (unused, rest): (Vec<usize>, Vec<usize>) =
                    without(&all, &test).into_iter().partition(|&i| tested.contains(&groups[i]));
                let purpose = format!("validation without {name}");
                let (train, val) = validation(labels, groups, classes, &rest, options.validation, (seed, &purpose))?;
                Ok(Parts { name: format!("without {name}"), train, val, test, unused })
            };
            names.into_iter().map(one).collect()
        }
    }
}

fn without(all: &[usize], held: &[usize]) -> Vec<usize> {
    let held: HashSet<usize> = held.iter().copied().collect();
    all.iter().copied().filter(|i| !held.contains(i)).collect()
}

/// Training and validation part of `rest`, with every class in both where that can be. A class with few groups may be
/// missing in a small validation part; then only classes with at least as many groups as there would be parts count for
/// the balance, and in the end none.
fn validation(
    labels: &[usize],
    groups: &[usize],
    classes: &[&str],
    rest: &[usize],
    fraction: f64,
    (seed, purpose): (u64, &str),
) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut own: BTreeMap<usize, HashSet<usize>> = BTreeMap::new();
    for &i in rest {
        own.entry(labels[i]).or_default().insert(groups[i]);
    }
    let g: Vec<usize> = rest.iter().map(|&i| groups[i]).collect();
    let back = |part: Vec<usize>| part.into_iter().map(|k| rest[k]).collect();
    let mut refused = None;
    for least in [2, (1.0 / fraction).ceil() as usize, usize::MAX] {
        let (strata, names) = strata(labels, rest, &g, classes, &own, least);
        match holdout(&strata, &g, &names, fraction, &mut rng(seed, purpose)) {
            Ok((train, val)) => return Ok((back(train), back(val))),
            // The first refusal speaks of the real classes.
            Err(e @ Error::Data(_)) => refused = refused.or(Some(e)),
            Err(e) => return Err(refused.unwrap_or(e)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::Internal("no validation part was tried".into())))
}

/// What a division of `rest` balances: classes with `least` groups and more, the others counted with the largest. Where
/// fewer than two remain there is nothing to balance, and two strata that mean nothing satisfy the rule.
fn strata<'c>(
    labels: &[usize],
    rest: &[usize],
    groups: &[usize],
    classes: &[&'c str],
    own: &BTreeMap<usize, HashSet<usize>>,
    least: usize,
) -> (Vec<usize>, Vec<&'c str>) {
    let kept: Vec<usize> = own.iter().filter(|(_, g)| g.len() >= least).map(|(c, _)| *c).collect();
    if kept.len() < 2 {
        let mut number = BTreeMap::new();
        let half = |g: &usize| {
            let next = number.len();
            *number.entry(*g).or_insert(next) % 2
        };
        return (groups.iter().map(half).collect(), vec!["one half of the groups", "the other half"]);
    }
    let largest = kept.iter().copied().max_by_key(|c| own[c].len()).unwrap_or(0);
    let stratum = |c: usize| kept.binary_search(&c).or_else(|_| kept.binary_search(&largest)).unwrap_or(0);
    (rest.iter().map(|&i| stratum(labels[i])).collect(), kept.iter().map(|&c| classes[c]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { method: Method::Kfold, folds: 5, test: 0.2, validation: 0.15, by_image: false, seed: 3 };

    /// 300 images of 100 groups, two classes, three sources; group 5 is in two sources.
    fn sample() -> (Vec<usize>, Vec<usize>, Vec<&'static str>) {
        let groups: Vec<usize> = (0..300).map(|i| i / 3).collect();
        let labels = groups.iter().map(|g| usize::from(g % 3 == 0)).collect();
        let mut sources: Vec<&str> = groups.iter().map(|g| ["a", "b", "c"][g % 4 % 3]).collect();
        sources[15] = "a";
        (labels, groups, sources)
    }

    fn check(parts: &[Parts], groups: &[usize]) {
        for p in parts {
            let mut seen = vec![0; groups.len()];
            [&p.train, &p.val, &p.test, &p.unused].into_iter().flatten().for_each(|&i| seen[i] += 1);
            assert!(seen.iter().all(|&n| n == 1), "{}", p.name);
            let set = |part: &[usize]| part.iter().map(|&i| groups[i]).collect::<HashSet<_>>();
            let (train, val, test) = (set(&p.train), set(&p.val), set(&p.test));
            assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test), "{}", p.name);
            assert!(!p.train.is_empty() && !p.val.is_empty() && !p.test.is_empty());
        }
    }

    #[test]
    fn every_method_keeps_groups_together() {
        let (labels, groups, sources) = sample();
        for (method, count) in [(Method::Kfold, 5), (Method::Holdout, 1), (Method::LeaveOneSourceOut, 3)] {
            let options = Options { method, ..OPTIONS };
            let parts = divide(&labels, &groups, &sources, &["x", "y"], &options).unwrap();
            assert_eq!(parts.len(), count);
            check(&parts, &groups);
            assert_eq!(
                parts,
                divide(&labels, &groups, &sources, &["x", "y"], &options).unwrap(),
                "same seed, same parts"
            );
        }
    }

    #[test]
    fn one_source_out_sets_aside_what_is_tied_to_it() {
        let (labels, groups, sources) = sample();
        let options = Options { method: Method::LeaveOneSourceOut, ..OPTIONS };
        let parts = divide(&labels, &groups, &sources, &["x", "y"], &options).unwrap();
        let a = parts.iter().find(|p| p.name == "without a").unwrap();
        assert_eq!(a.test, (0..300).filter(|&i| sources[i] == "a").collect::<Vec<_>>());
        assert_eq!(a.unused, [16, 17], "two images of the group whose third is in source a");
        let one = vec!["a"; 300];
        let e = divide(&labels, &groups, &one, &["x", "y"], &options).unwrap_err();
        assert!(e.exit_code() == 2 && e.to_string().contains("at least 2 sources"), "{e}");
    }

    #[test]
    fn what_remains_may_have_one_class_or_a_class_of_one_group() {
        let labels = [vec![0; 20], vec![1; 10]].concat();
        let groups: Vec<usize> = (0..30).collect();
        let sources: Vec<&str> = (0..30).map(|i| if i < 20 { "a" } else { "b" }).collect();
        let options = Options { method: Method::LeaveOneSourceOut, ..OPTIONS };
        check(&divide(&labels, &groups, &sources, &["x", "y"], &options).unwrap(), &groups);
        let mut labels = labels;
        labels[0] = 1;
        check(&divide(&labels, &groups, &sources, &["x", "y"], &options).unwrap(), &groups);
    }

    #[test]
    fn a_small_class_may_miss_in_the_validation_part() {
        // 100 groups of class x, 6 of class y: of the 4 or 5 that a fold leaves, a validation part of a seventh need not hold one.
        let labels = [vec![0; 100], vec![1; 6]].concat();
        let groups: Vec<usize> = (0..106).collect();
        for seed in 0..20 {
            let options = Options { seed, ..OPTIONS };
            let parts = divide(&labels, &groups, &["a"; 106], &["x", "y"], &options).unwrap();
            check(&parts, &groups);
            assert!(parts.iter().all(|p| p.test.iter().any(|&i| i >= 100)), "every class is tested");
        }
    }
}
