//! Dividing items into training, validation and test parts so that every class is everywhere and no patient is in two.
//!
//! Items are positions `0..n` with a class and a group. [`group_kfold`] is the greedy rule of scikit-learn's
//! `StratifiedGroupKFold`: groups, those with the most uneven class counts first, each go to the fold where the spread of
//! class shares over the folds stays smallest, and among equals to the smallest fold. Randomness enters by shuffling the
//! groups first. [`kfold`] is the image-wise division of many papers, offered to show the gap.

use crate::error::{Error, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};

/// What may not be separated: a patient's images, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitBy {
    /// All images of a patient stay together.
    #[default]
    Patient,
    /// Each image for itself, as in papers that leak.
    Image,
}

impl std::str::FromStr for SplitBy {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "patient" => Ok(SplitBy::Patient),
            "image" => Ok(SplitBy::Image),
            _ => Err(Error::Usage(format!("split {s:?}: patient or image is possible"))),
        }
    }
}

/// One fold: positions of items, each part ascending, disjoint, together all items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// To train on.
    pub train: Vec<usize>,
    /// To choose the best weights on.
    pub val: Vec<usize>,
    /// To report on, never to choose on.
    pub test: Vec<usize>,
}

/// A balanced validation part, see [`balanced_holdout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balanced {
    /// To train on.
    pub train: Vec<usize>,
    /// Equally many of each class.
    pub val: Vec<usize>,
    /// Surplus images of validation patients: neither in `val` (balance) nor in `train` (patients).
    pub unused: Vec<usize>,
}

/// A random generator for one purpose: draws for one purpose do not shift those for another.
pub fn rng(seed: u64, purpose: &str) -> StdRng {
    let mut h = Sha256::new();
    h.update(seed.to_le_bytes());
    h.update(purpose.as_bytes());
    StdRng::from_seed(h.finalize().into())
}

/// Class counts by group, groups ascending by label.
fn count_groups(labels: &[usize], groups: &[usize], classes: usize) -> BTreeMap<usize, Vec<usize>> {
    let mut counts = BTreeMap::new();
    for (&l, &g) in labels.iter().zip(groups) {
        counts.entry(g).or_insert_with(|| vec![0; classes])[l] += 1;
    }
    counts
}

fn check(labels: &[usize], groups: &[usize], classes: &[&str], parts: usize, what: &str) -> Result<()> {
    if labels.len() != groups.len() || labels.iter().any(|&l| l >= classes.len()) {
        return Err(Error::Internal("split: labels, groups and classes do not fit".into()));
    }
    if parts < 2 {
        return Err(Error::Usage(format!("{parts} {what}: at least 2 are needed")));
    }
    if classes.len() < 2 {
        return Err(Error::Data(format!("one class only ({}): at least 2 are needed", classes.join(""))));
    }
    let by = count_groups(labels, groups, classes.len());
    for (c, name) in classes.iter().enumerate() {
        let images = labels.iter().filter(|&&l| l == c).count();
        let with = by.values().filter(|n| n[c] > 0).count();
        if images == 0 {
            return Err(Error::Data(format!("class {name} has no image; every class needs some")));
        }
        if with < parts {
            let m =
                format!("class {name} has {images} images of {with} patients (or groups): fewer than {parts} {what}");
            return Err(Error::Usage(m));
        }
    }
    Ok(())
}

/// Stratified grouped k-fold: the positions of each test fold, ascending. `shuffle: None` keeps the groups in ascending
/// order, as scikit-learn does without shuffle.
///
/// # Errors
/// [`Error::Usage`] when `k < 2` or a class has fewer groups than folds; [`Error::Data`] when there is one class only or
/// a class without items.
pub fn group_kfold(
    labels: &[usize],
    groups: &[usize],
    classes: &[&str],
    k: usize,
    shuffle: Option<&mut StdRng>,
) -> Result<Vec<Vec<usize>>> {
    check(labels, groups, classes, k, "folds")?;
    let fold_of = greedy(labels, groups, classes.len(), k, shuffle);
    let mut folds = vec![Vec::new(); k];
    for (i, g) in groups.iter().enumerate() {
        folds[fold_of[g]].push(i);
    }
    Ok(folds)
}

/// The greedy rule: the fold of each group.
fn greedy(
    labels: &[usize],
    groups: &[usize],
    classes: usize,
    k: usize,
    shuffle: Option<&mut StdRng>,
) -> BTreeMap<usize, usize> {
    let mut order: Vec<(usize, Vec<f64>)> = count_groups(labels, groups, classes)
        .into_iter()
        .map(|(g, n)| (g, n.into_iter().map(|n| n as f64).collect()))
        .collect();
    if let Some(rng) = shuffle {
        order.shuffle(rng);
    }
    // Stable, so that groups of equal spread keep their (shuffled) order.
    order.sort_by(|a, b| std(b.1.iter().copied()).total_cmp(&std(a.1.iter().copied())));
    let total: Vec<f64> = (0..classes).map(|c| order.iter().map(|(_, n)| n[c]).sum::<f64>().max(1.0)).collect();
    let mut folds = vec![vec![0f64; classes]; k];
    let mut fold_of = BTreeMap::new();
    for (g, counts) in order {
        let (mut best, mut least, mut fewest) = (0, f64::INFINITY, f64::INFINITY);
        for f in 0..k {
            let spread =
                |c: usize| std((0..k).map(|j| (folds[j][c] + if j == f { counts[c] } else { 0.0 }) / total[c]));
            let eval = (0..classes).map(spread).sum::<f64>() / classes as f64;
            let samples: f64 = folds[f].iter().sum();
            let equal = (eval - least).abs() <= 1e-8 + 1e-5 * least.abs() && least.is_finite();
            if eval < least || equal && samples < fewest {
                (best, least, fewest) = (f, eval, samples);
            }
        }
        folds[best].iter_mut().zip(&counts).for_each(|(a, b)| *a += b);
        fold_of.insert(g, best);
    }
    fold_of
}

/// Population standard deviation.
fn std(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt()
}

/// Plain stratified k-fold of images: each class is shuffled and dealt to the folds in turn, going on where the class
/// before stopped, so that fold sizes differ by at most one.
///
/// # Errors
/// As [`group_kfold`], every image being its own group.
pub fn kfold(labels: &[usize], classes: &[&str], k: usize, rng: &mut StdRng) -> Result<Vec<Vec<usize>>> {
    let alone: Vec<usize> = (0..labels.len()).collect();
    check(labels, &alone, classes, k, "folds")?;
    let mut folds = vec![Vec::new(); k];
    let mut next = 0;
    for c in 0..classes.len() {
        let mut items: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == c).collect();
        items.shuffle(rng);
        for i in items {
            folds[next % k].push(i);
            next += 1;
        }
    }
    folds.iter_mut().for_each(|f| f.sort_unstable());
    Ok(folds)
}

/// Stratified grouped hold-out: `(train, held)` with about `fraction` of each class held. Of the `1 / fraction` parts of
/// [`group_kfold`] the one is held whose class shares are nearest to their mean.
///
/// # Errors
/// As [`group_kfold`], and [`Error::Usage`] when `fraction` is not in `(0, 0.5]`.
pub fn holdout(
    labels: &[usize],
    groups: &[usize],
    classes: &[&str],
    fraction: f64,
    rng: &mut StdRng,
) -> Result<(Vec<usize>, Vec<usize>)> {
    check_fraction(fraction)?;
    check(labels, groups, classes, 2, "parts (training and validation)")?;
    let k = ((1.0 / fraction).round() as usize).max(2);
    let fold_of = greedy(labels, groups, classes.len(), k, Some(rng));
    let mut counts = vec![vec![0usize; classes.len()]; k];
    labels.iter().zip(groups).for_each(|(&l, g)| counts[fold_of[g]][l] += 1);
    let total: Vec<usize> = (0..classes.len()).map(|c| counts.iter().map(|n| n[c]).sum()).collect();
    let off = |n: &[usize]| -> f64 {
        n.iter().zip(&total).map(|(&n, &t)| (n as f64 / t as f64 - 1.0 / k as f64).abs()).sum()
    };
    let held = (0..k).min_by(|&a, &b| off(&counts[a]).total_cmp(&off(&counts[b]))).unwrap_or(0);
    let (val, train): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|&i| fold_of[&groups[i]] == held);
    whole(labels, classes, &[("training", &train), ("validation", &val)])?;
    Ok((train, val))
}

/// Each class in each of the parts, else an error that says which is missing where.
fn whole(labels: &[usize], classes: &[&str], parts: &[(&str, &[usize])]) -> Result<()> {
    for (part, items) in parts {
        for (c, name) in classes.iter().enumerate() {
            if !items.iter().any(|&i| labels[i] == c) {
                let m = format!(
                    "no {name} image is left for the {part} part: too few patients, or one has too many images"
                );
                return Err(Error::Data(m));
            }
        }
    }
    Ok(())
}

fn check_fraction(fraction: f64) -> Result<()> {
    if fraction > 0.0 && fraction <= 0.5 {
        return Ok(());
    }
    Err(Error::Usage(format!("validation fraction {fraction}: more than 0 and at most 0.5 is possible")))
}

/// A class-balanced validation part, drawn at random by group. Each class gets `fraction` of the *smallest* class's
/// size (more, where every group is larger than that). A group that would overfill a class is passed over; whatever imbalance then remains is set aside in `unused`.
///
/// # Errors
/// As [`holdout`].
pub fn balanced_holdout(
    labels: &[usize],
    groups: &[usize],
    classes: &[&str],
    fraction: f64,
    rng: &mut StdRng,
) -> Result<Balanced> {
    check_fraction(fraction)?;
    check(labels, groups, classes, 2, "parts (training and validation)")?;
    let n = classes.len();
    let by = count_groups(labels, groups, n);
    let smallest = (0..n).map(|c| labels.iter().filter(|&&l| l == c).count()).min().unwrap_or(0);
    let mut order: Vec<usize> = by.keys().copied().collect();
    order.shuffle(rng);
    let mut target = ((smallest as f64 * fraction).round() as usize).max(1);
    let (held, got) = loop {
        let mut got = vec![0; n];
        let mut held = HashSet::new();
        for &g in &order {
            let counts = &by[&g];
            if (0..n).all(|c| counts[c] == 0 || got[c] + counts[c] <= target) {
                (0..n).for_each(|c| got[c] += counts[c]);
                held.insert(g);
            }
        }
        // Where every patient is larger than the wish, the wish grows.
        if got.iter().all(|&n| n > 0) || target >= smallest {
            break (held, got);
        }
        target = (target * 2).min(smallest);
    };
    let each = got.iter().copied().min().unwrap_or(0);
    let mut out = Balanced { train: Vec::new(), val: Vec::new(), unused: Vec::new() };
    for c in 0..n {
        let (mut val, train): (Vec<usize>, Vec<usize>) =
            (0..labels.len()).filter(|&i| labels[i] == c).partition(|&i| held.contains(&groups[i]));
        val.shuffle(rng);
        out.unused.extend(val.drain(each..));
        out.val.extend(val);
        out.train.extend(train);
    }
    [&mut out.train, &mut out.val, &mut out.unused].into_iter().for_each(|v| v.sort_unstable());
    whole(labels, classes, &[("training", &out.train), ("validation", &out.val)])?;
    Ok(out)
}

/// Cross-validation: test folds, and of each remainder a validation part of about `val_fraction`.
///
/// # Errors
/// As [`group_kfold`] and [`holdout`].
pub fn cross_validation(
    labels: &[usize],
    groups: &[usize],
    classes: &[&str],
    (k, by, val_fraction): (usize, SplitBy, f64),
    seed: u64,
) -> Result<Vec<Fold>> {
    let alone: Vec<usize> = (0..labels.len()).collect();
    let groups = if by == SplitBy::Patient { groups } else { &alone };
    let mut shuffle = rng(seed, "folds");
    let tests = match by {
        SplitBy::Patient => group_kfold(labels, groups, classes, k, Some(&mut shuffle))?,
        SplitBy::Image => kfold(labels, classes, k, &mut shuffle)?,
    };
    let mut folds = Vec::new();
    for (f, test) in tests.into_iter().enumerate() {
        let mut in_test = vec![false; labels.len()];
        test.iter().for_each(|&i| in_test[i] = true);
        let rest: Vec<usize> = (0..labels.len()).filter(|&i| !in_test[i]).collect();
        let l: Vec<usize> = rest.iter().map(|&i| labels[i]).collect();
        let g: Vec<usize> = rest.iter().map(|&i| groups[i]).collect();
        let (train, val) = holdout(&l, &g, classes, val_fraction, &mut rng(seed, &format!("validation of fold {f}")))?;
        let back = |part: Vec<usize>| part.into_iter().map(|i| rest[i]).collect();
        folds.push(Fold { train: back(train), val: back(val), test });
    }
    Ok(folds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    const ABC: [&str; 3] = ["a", "b", "c"];

    /// Skewed classes, groups of 1 to 7 images that mostly share a class.
    fn sample(n: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let mut r = rng(seed, "test");
        let mut draw = |n: u32| (r.next_u32() % n) as usize;
        let (mut labels, mut groups) = (Vec::new(), Vec::new());
        while labels.len() < n {
            let (g, c) = (1000 + labels.len() * 3, [0, 0, 0, 1, 1, 2][draw(6)]);
            for _ in 0..1 + draw(7) {
                labels.push(if draw(8) == 0 { draw(3) } else { c });
                groups.push(g);
            }
        }
        (labels, groups)
    }

    /// scikit-learn 1.9.1: `StratifiedGroupKFold(5).split(y, y, g)` with these `y` and `g`.
    #[test]
    fn same_folds_as_scikit_learn() {
        let y: Vec<usize> = (0..60).map(|i| if i % 5 == 0 { 0 } else { (i * i + i / 7) % 3 }).collect();
        let g: Vec<usize> = (0..60).map(|i| (i * 13) % 41 / 2).collect();
        let want: [&[usize]; 5] = [
            &[0, 2, 11, 13, 19, 21, 30, 35, 41, 43, 52, 54],
            &[3, 8, 9, 15, 22, 25, 27, 31, 37, 44, 49, 50, 56],
            &[6, 12, 14, 16, 28, 33, 34, 38, 47, 53, 55, 57],
            &[1, 5, 7, 20, 23, 24, 29, 39, 42, 46, 48],
            &[4, 10, 17, 18, 26, 32, 36, 40, 45, 51, 58, 59],
        ];
        assert_eq!(group_kfold(&y, &g, &ABC, 5, None).unwrap(), want);
    }

    #[test]
    fn every_item_once_no_group_twice_classes_close() {
        for seed in 0..8 {
            let (labels, groups) = sample(600, seed);
            let folds = cross_validation(&labels, &groups, &ABC, (5, SplitBy::Patient, 0.15), seed).unwrap();
            let mut tested = vec![0; labels.len()];
            for f in &folds {
                f.test.iter().for_each(|&i| tested[i] += 1);
                let set = |part: &[usize]| part.iter().map(|&i| groups[i]).collect::<HashSet<_>>();
                let (a, b, c) = (set(&f.train), set(&f.val), set(&f.test));
                assert!(a.is_disjoint(&b) && a.is_disjoint(&c) && b.is_disjoint(&c));
                let mut all = [f.train.as_slice(), &f.val, &f.test].concat();
                all.sort_unstable();
                assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
                for class in 0..3 {
                    let share = |part: &[usize]| {
                        part.iter().filter(|&&i| labels[i] == class).count() as f64
                            / labels.iter().filter(|&&l| l == class).count() as f64
                    };
                    assert!((share(&f.test) - 0.2).abs() < 0.05, "seed {seed}, class {class}: {}", share(&f.test));
                    assert!((share(&f.val) - 0.8 * 0.15).abs() < 0.05, "seed {seed}, class {class}: {}", share(&f.val));
                }
            }
            assert!(tested.iter().all(|&n| n == 1));
            assert_eq!(folds, cross_validation(&labels, &groups, &ABC, (5, SplitBy::Patient, 0.15), seed).unwrap());
            assert_ne!(folds, cross_validation(&labels, &groups, &ABC, (5, SplitBy::Patient, 0.15), seed + 1).unwrap());
        }
    }

    #[test]
    fn image_wise_folds_are_even_and_cross_patients() {
        let (labels, groups) = sample(601, 3);
        let folds = cross_validation(&labels, &groups, &ABC, (5, SplitBy::Image, 0.2), 1).unwrap();
        let sizes: Vec<usize> = folds.iter().map(|f| f.test.len()).collect();
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        let crossing = folds[0].test.iter().any(|&i| folds[0].train.iter().any(|&j| groups[i] == groups[j]));
        assert!(crossing, "the image-wise split is there to show the leak");
    }

    #[test]
    fn balanced_validation() {
        let (labels, groups) = sample(900, 5);
        let smallest = (0..3).map(|c| labels.iter().filter(|&&l| l == c).count()).min().unwrap();
        let b = balanced_holdout(&labels, &groups, &ABC, 0.2, &mut rng(1, "v")).unwrap();
        let n: Vec<usize> = (0..3).map(|c| b.val.iter().filter(|&&i| labels[i] == c).count()).collect();
        assert!(n[0] == n[1] && n[1] == n[2]);
        let wish = smallest as f64 * 0.2;
        assert!((n[0] as f64) > 0.6 * wish && (n[0] as f64) <= wish.ceil(), "{} of {wish}", n[0]);
        let train: HashSet<usize> = b.train.iter().map(|&i| groups[i]).collect();
        assert!(b.val.iter().chain(&b.unused).all(|&i| !train.contains(&groups[i])));
        assert_eq!(b.train.len() + b.val.len() + b.unused.len(), labels.len());
    }

    #[test]
    fn impossible_requests_are_explained() {
        let two = ["a", "b"];
        let e = group_kfold(&[0, 0, 1, 1], &[0, 1, 2, 2], &two, 2, None).unwrap_err();
        assert!(e.to_string().contains("class b has 2 images of 1 patients") && e.exit_code() == 2, "{e}");
        for (labels, needle) in [(vec![0, 0, 0], "class b has no image"), (vec![0, 1, 0], "fewer than 2 folds")] {
            let e = group_kfold(&labels, &[0, 1, 2], &two, 2, None).unwrap_err();
            assert!(e.to_string().contains(needle), "{e}");
        }
        assert!(group_kfold(&[0, 0], &[0, 1], &["a"], 2, None).unwrap_err().to_string().contains("one class only"));
        assert_eq!(kfold(&[0, 1], &two, 1, &mut rng(1, "")).unwrap_err().exit_code(), 2);
        assert!(holdout(&[0, 1], &[0, 1], &two, 0.7, &mut rng(1, "")).is_err());
        assert!("patients".parse::<SplitBy>().is_err() && "image".parse::<SplitBy>().unwrap() == SplitBy::Image);
        // One patient holds nearly everything: only the other can validate.
        let labels = [0, 0, 0, 0, 1, 1, 1, 1, 0, 1];
        let b = balanced_holdout(&labels, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1], &two, 0.2, &mut rng(1, "")).unwrap();
        assert_eq!(b.val, [8, 9]);
        // Every patient is larger than the wish: the smallest part that can be had is taken.
        let b = balanced_holdout(&labels[..8], &[0, 0, 1, 1, 0, 0, 1, 1], &two, 0.2, &mut rng(1, "")).unwrap();
        assert_eq!((b.val.len(), b.train.len()), (4, 4));
    }
}
