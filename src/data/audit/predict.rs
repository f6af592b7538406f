//! How far the label can be guessed without a look at the lungs: from metadata, and from thumbnails of 8 x 8 pixels, on
//! which no finding can be seen.
//!
//! Five folds by the rule of [`crate::data::split::group_kfold`], grouped by patient and duplicates, so that nobody is
//! recognised. What these guesses reach, a network reaches without having learnt a disease.

use crate::data::audit::facts::{View, age_group, years};
use crate::data::audit::look::SIDE;
use crate::data::audit::reading::{GroupBy, Reading};
use crate::data::audit::result::Prediction;
use crate::data::audit::ridge::Ridge;
use crate::data::split::{group_kfold, rng};
use crate::error::{Error, Result};
use crate::eval::interval::wilson;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Folds.
const FOLDS: usize = 5;
/// Classes with fewer images are one class "other findings" here: a fold would hold three of them.
pub const SMALL: usize = 20;
/// Values of a property with fewer images are one value "rare".
const RARE: usize = 10;
/// Side of the thumbnails.
const THUMB: usize = 8;

/// What a table or a file's header tells of an image.
pub const PROPERTIES: [&str; 6] = ["source", "view", "age", "sex", "size in pixels", "file format"];

/// The values of [`PROPERTIES`] for record `i`.
pub fn properties(reading: &Reading, i: usize) -> [String; 6] {
    let r = &reading.data.records[i];
    let children = reading.data.origins.get(&r.source).is_some_and(|o| o.children);
    let age = match years(r.age.as_deref()) {
        None if children => "under 18".to_string(),
        y => age_group(y),
    };
    let sex = match r.sex.as_deref().unwrap_or_default().trim().chars().next().map(|c| c.to_ascii_lowercase()) {
        Some('f' | 'w') => "female",
        Some('m') => "male",
        Some(_) => "other",
        None => "not stated",
    };
    let (size, format) =
        reading.image(i).map_or((String::new(), ""), |s| (format!("{} x {}", s.size.0, s.size.1), s.format));
    let view = View::of(r.view.as_deref()).name();
    [r.source.clone(), view.into(), age, sex.into(), size, format.into()]
}

/// Rows of a cross-validation: names, and for each row its class, its group and its fold.
struct Rows {
    /// Positions of the records.
    items: Vec<usize>,
    classes: Vec<String>,
    labels: Vec<usize>,
    /// Positions (in `items`) of each test fold.
    folds: Vec<Vec<usize>>,
}

impl Rows {
    /// `None` when fewer than two classes have enough groups.
    fn of(reading: &Reading, class_of: &[Option<String>], groups: &[usize]) -> Result<Option<Rows>> {
        let mut images: BTreeMap<&str, usize> = BTreeMap::new();
        let mut own: BTreeMap<&str, HashSet<usize>> = BTreeMap::new();
        let known: Vec<(usize, &str)> =
            reading.usable().into_iter().filter_map(|i| Some((i, class_of[i].as_deref()?))).collect();
        for &(i, class) in &known {
            *images.entry(class).or_default() += 1;
            own.entry(class).or_default().insert(groups[i]);
        }
        let small = |c: &str| images[c] < SMALL || own[c].len() < FOLDS;
        let name = |c: &str| if small(c) { "other findings".to_string() } else { c.to_string() };
        let others: HashSet<usize> = known.iter().filter(|(_, c)| small(c)).map(|&(i, _)| groups[i]).collect();
        // Where even all small classes together cannot be in every fold, they are left out.
        let keep = |c: &str| !small(c) || others.len() >= FOLDS;
        let rows: Vec<(usize, String)> = known.iter().filter(|(_, c)| keep(c)).map(|&(i, c)| (i, name(c))).collect();
        let classes: Vec<String> = rows.iter().map(|(_, c)| c.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        if classes.len() < 2 {
            return Ok(None);
        }
        let index = |c: &String| classes.binary_search(c).map_err(|_| Error::Internal(format!("class {c}")));
        let labels = rows.iter().map(|(_, c)| index(c)).collect::<Result<Vec<_>>>()?;
        let items: Vec<usize> = rows.iter().map(|(i, _)| *i).collect();
        let groups: Vec<usize> = items.iter().map(|&i| groups[i]).collect();
        let names: Vec<&str> = classes.iter().map(String::as_str).collect();
        // A class may still have too few groups after "other findings" took some: then there is nothing to validate on.
        let folds = match group_kfold(&labels, &groups, &names, FOLDS, Some(&mut rng(0, "audit"))) {
            Err(Error::Usage(_) | Error::Data(_)) => return Ok(None),
            other => other?,
        };
        Ok(Some(Rows { items, classes, labels, folds }))
    }

    /// Runs the folds: `fit(training rows)` gives a guess for each row.
    fn validate<'a, G>(&'a self, fit: impl Fn(&[usize]) -> G + Sync) -> (u64, f64)
    where
        G: Fn(usize) -> usize + 'a,
    {
        let hits: Vec<Vec<bool>> = self
            .folds
            .par_iter()
            .map(|test| {
                let held: HashSet<usize> = test.iter().copied().collect();
                let train: Vec<usize> = (0..self.items.len()).filter(|i| !held.contains(i)).collect();
                let guess = fit(&train);
                test.iter().map(|&i| guess(i) == self.labels[i]).collect()
            })
            .collect();
        let (mut right, mut all) = (vec![0u64; self.classes.len()], vec![0u64; self.classes.len()]);
        for (i, hit) in self.folds.iter().flatten().zip(hits.iter().flatten()) {
            right[self.labels[*i]] += u64::from(*hit);
            all[self.labels[*i]] += 1;
        }
        let recall = right.iter().zip(&all).map(|(r, a)| *r as f64 / (*a).max(1) as f64);
        (right.iter().sum(), recall.sum::<f64>() / self.classes.len() as f64)
    }

    fn prediction(&self, of: &str, from: &str, method: &str, (correct, balanced): (u64, f64)) -> Result<Prediction> {
        let images = self.items.len() as u64;
        let interval = wilson(correct, images, 0.95).ok_or_else(|| Error::Internal("no image was guessed".into()))?;
        let largest = (0..self.classes.len()).map(|c| self.labels.iter().filter(|&&l| l == c).count()).max();
        Ok(Prediction {
            of: of.into(),
            from: from.into(),
            method: method.into(),
            folds: FOLDS as u64,
            images,
            classes: self.classes.len() as u64,
            correct,
            accuracy: correct as f64 / images as f64,
            interval,
            balanced,
            majority: largest.unwrap_or(0) as f64 / images as f64,
        })
    }

    /// Values of a property with the rare ones as one, as indices.
    fn values(&self, value: impl Fn(usize) -> String) -> (Vec<usize>, usize) {
        let raw: Vec<String> = self.items.iter().map(|&i| value(i)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        raw.iter().for_each(|v| *counts.entry(v).or_default() += 1);
        // 0 is "rare"; a value that no training row has is unlike all, and rare as well.
        let common: BTreeMap<&str, usize> =
            counts.iter().filter(|(_, n)| **n >= RARE).enumerate().map(|(k, (v, _))| (*v, k + 1)).collect();
        (raw.iter().map(|v| common.get(v.as_str()).copied().unwrap_or(0)).collect(), common.len() + 1)
    }

    /// The most frequent class of each value.
    fn by_majority(&self, values: &[usize], count: usize) -> (u64, f64) {
        let k = self.classes.len();
        let most = |n: &[usize]| (1..k).fold(0, |best, c| if n[c] > n[best] { c } else { best });
        self.validate(|train| {
            let (mut table, mut sum) = (vec![vec![0; k]; count], vec![0; k]);
            for &i in train {
                table[values[i]][self.labels[i]] += 1;
                sum[self.labels[i]] += 1;
            }
            let best: Vec<usize> =
                table.iter().map(|n| if n.iter().all(|&n| n == 0) { most(&sum) } else { most(n) }).collect();
            move |i: usize| best[values[i]]
        })
    }

    fn by_ridge(&self, features: &[Vec<f64>]) -> (u64, f64) {
        self.validate(|train| {
            let x: Vec<&[f64]> = train.iter().map(|&i| features[i].as_slice()).collect();
            let y: Vec<usize> = train.iter().map(|&i| self.labels[i]).collect();
            let model = Ridge::fit(&x, &y, self.classes.len());
            move |i: usize| model.predict(&features[i])
        })
    }
}

/// The guesses: class from each property, from all of them, from thumbnails; source from thumbnails.
///
/// # Errors
/// [`Error::Internal`] only: with too few images the list is empty.
pub fn predictions(reading: &Reading, class_of: &[Option<String>]) -> Result<Vec<Prediction>> {
    let groups = reading.groups(GroupBy::PatientAndDuplicates);
    let mut out = Vec::new();
    if let Some(rows) = Rows::of(reading, class_of, &groups)? {
        let all: Vec<[String; 6]> = (0..reading.seen.len()).map(|i| properties(reading, i)).collect();
        let mut features: Vec<Vec<f64>> = vec![Vec::new(); rows.items.len()];
        for (k, name) in PROPERTIES.iter().enumerate() {
            let (values, count) = rows.values(|i| all[i][k].clone());
            // One value everywhere says nothing, and a line that says so says nothing either.
            if values.iter().collect::<HashSet<_>>().len() > 1 {
                let method = "most frequent class of each value";
                out.push(rows.prediction("class", name, method, rows.by_majority(&values, count))?);
            }
            for (row, &v) in features.iter_mut().zip(&values) {
                row.extend((0..count).map(|c| f64::from(u8::from(c == v))));
            }
        }
        if !out.is_empty() {
            out.push(rows.prediction("class", "all metadata", "ridge classifier", rows.by_ridge(&features))?);
        }
        let thumbs = thumbnails(reading, &rows.items);
        out.push(rows.prediction("class", "8 x 8 thumbnail", "ridge classifier", rows.by_ridge(&thumbs))?);
    }
    let source_of: Vec<Option<String>> = reading.data.records.iter().map(|r| Some(r.source.clone())).collect();
    if let Some(rows) = Rows::of(reading, &source_of, &groups)? {
        let thumbs = thumbnails(reading, &rows.items);
        out.push(rows.prediction("source", "8 x 8 thumbnail", "ridge classifier", rows.by_ridge(&thumbs))?);
    }
    Ok(out)
}

/// `[THUMB, THUMB]` means of each image's thumbnail.
fn thumbnails(reading: &Reading, items: &[usize]) -> Vec<Vec<f64>> {
    let step = SIDE / THUMB;
    let one = |i: &usize| {
        let thumb = reading.image(*i).map_or(&[][..], |s| &s.thumb);
        let cell = |c: usize| {
            let (y, x) = (c / THUMB * step, c % THUMB * step);
            let sum: f64 = (0..step * step).map(|p| f64::from(thumb[(y + p / step) * SIDE + x + p % step])).sum();
            sum / (step * step) as f64
        };
        (0..THUMB * THUMB).map(cell).collect()
    };
    items.iter().map(one).collect()
}
