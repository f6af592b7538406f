//! Data-A and Data-B of Basu & Mitra (arXiv:2004.10507, section III) from whatever [`Dataset`] there is.
//!
//! **Data-B**, four classes: 350 normal, 322 pneumonia, 300 other disease (50 of each of six findings), all COVID-19.
//! **Data-A**, two classes: normal against the 13 findings of NIH without pneumonia; or Kermany's normal against
//! pneumonia. No patient of Data-B is in Data-A. Only frontal images (see [`Record::is_frontal`]) are used.
//!
//! Decisions where the paper leaves room:
//! * *Sources.* Normal and pneumonia come from the one source with most pneumonia images (so that these two classes do
//!   not differ by source), other disease from the one with most images of the six findings, COVID-19 from all.
//! * *"50 images from the six pathology classes".* An image qualifies with *at least* one of the six and without
//!   pneumonia, as findings co-occur; it fills one quota only. The scarcest finding is served first; where there are
//!   fewer than 50, the rest is drawn from all images left.
//! * *Drawing.* By patient: patients in random order, those that Data-B already has first, all their fitting images until
//!   the count is reached. An image-wise draw is as random but touches more patients, all of whom Data-A then loses: on
//!   the 1,000-image NIH subset it would leave about 40 disease images for pre-training instead of about 140.
//! * An image that two sources hold (same collection and original name) is used once.

use crate::data::split::rng;
use crate::data::split_file::Item;
use crate::data::table::{Dataset, Record, plain};
use crate::error::{Error, Result};
use rand::seq::SliceRandom;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Classes of stage 2, in the order of their indices.
pub const STAGE2_CLASSES: [&str; 4] = ["normal", "pneumonia", "other", "covid19"];
/// The 13 findings that make Data-A's class "disease" (NIH's 14 without pneumonia), as [`plain`] writes them.
pub const DISEASES: [&str; 13] = [
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "effusion",
    "emphysema",
    "fibrosis",
    "hernia",
    "infiltration",
    "mass",
    "nodule",
    "pleural thickening",
    "pneumothorax",
];
/// The six findings of Data-B's class "other".
pub const OTHER: [&str; 6] = ["atelectasis", "cardiomegaly", "infiltration", "effusion", "nodule", "mass"];
const NORMAL: [&str; 3] = ["no finding", "normal", "healthy"];
const COVID: [&str; 3] = ["covid-19", "covid19", "covid"];

/// What stage 1 learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PretrainOn {
    /// Normal against disease, from the collection that Data-B's normal images come from.
    #[default]
    Nih,
    /// Normal against pneumonia, from the collection `kermany`.
    Kermany,
}

impl std::str::FromStr for PretrainOn {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "nih" => Ok(PretrainOn::Nih),
            "kermany" => Ok(PretrainOn::Kermany),
            _ => Err(Error::Usage(format!("source {s:?}: nih or kermany is possible"))),
        }
    }
}

/// Sizes and seed; the default is the paper's.
#[derive(Clone, Debug)]
pub struct DetlOptions {
    /// What stage 1 learns from.
    pub pretrain: PretrainOn,
    /// Normal images in Data-B.
    pub normal: usize,
    /// Pneumonia images in Data-B.
    pub pneumonia: usize,
    /// Other disease in Data-B, a sixth for each finding.
    pub other: usize,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for DetlOptions {
    fn default() -> Self {
        DetlOptions { pretrain: PretrainOn::Nih, normal: 350, pneumonia: 322, other: 300, seed: 1 }
    }
}

/// An image of the selection. Its position in [`Selection::images`] is its id, for planes and fold file alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Path below the data set's root.
    pub file: PathBuf,
    /// Folder or manifest.
    pub source: String,
    /// Patient group of [`Dataset::groups`].
    pub group: usize,
}

/// Data-A and Data-B.
#[derive(Clone, Debug)]
pub struct Selection {
    /// All images of both: Data-B first.
    pub images: Vec<Image>,
    /// Class names of stage 1.
    pub stage1_classes: [&'static str; 2],
    /// Data-A: `(id, class)`.
    pub stage1: Vec<Item>,
    /// Data-B: `(id, class)`.
    pub stage2: Vec<Item>,
    /// What was taken, left out, or is short, for people.
    pub notes: Vec<String>,
}

fn is_any(r: &Record, labels: &[&str]) -> bool {
    r.labels().any(|l| labels.contains(&l.as_str()))
}

fn is_normal(r: &Record) -> bool {
    r.labels().all(|l| NORMAL.contains(&l.as_str()))
}

/// The source with most records that fit; the first by name among equals.
fn richest(data: &Dataset, fits: impl Fn(&Record) -> bool) -> Option<&str> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    data.records.iter().filter(|r| fits(r)).for_each(|r| *count.entry(&r.source).or_default() += 1);
    count.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))).map(|(s, _)| s)
}

/// State of the draws: what Data-B holds so far.
struct Draw<'a> {
    data: &'a Dataset,
    groups: &'a [usize],
    used: HashSet<usize>,
    patients: HashSet<usize>,
    originals: HashSet<(&'a str, &'a str)>,
}

impl<'a> Draw<'a> {
    fn original(&self, i: usize) -> Option<(&'a str, &'a str)> {
        let r: &'a Record = &self.data.records[i];
        Some((&r.collection, r.original_name.as_deref()?))
    }

    /// Takes up to `want` of `pool` by patient; returns what was taken.
    fn take(&mut self, pool: &[usize], want: usize, seed: u64, purpose: &str) -> Vec<usize> {
        let mut by: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        pool.iter().for_each(|&i| by.entry(self.groups[i]).or_default().push(i));
        let mut order: Vec<usize> = by.keys().copied().collect();
        order.shuffle(&mut rng(seed, purpose));
        order.sort_by_key(|g| !self.patients.contains(g)); // stable: known patients first
        let mut taken = Vec::new();
        for i in order.iter().flat_map(|g| &by[g]).copied() {
            let original = self.original(i);
            if taken.len() == want {
                break;
            }
            if self.used.contains(&i) || original.is_some_and(|o| self.originals.contains(&o)) {
                continue;
            }
            self.used.insert(i);
            self.originals.extend(original);
            self.patients.insert(self.groups[i]);
            taken.push(i);
        }
        taken
    }
}

impl Selection {
    /// Draws Data-B and then Data-A from `data`.
    ///
    /// # Errors
    /// [`Error::Data`] when a class of either stage finds no image; fewer than asked for are taken and noted.
    pub fn draw(data: &Dataset, options: &DetlOptions) -> Result<Selection> {
        let groups = data.groups();
        let pool = |fits: &dyn Fn(&Record) -> bool| -> Vec<usize> {
            (0..data.records.len()).filter(|&i| fits(&data.records[i]) && data.records[i].is_frontal()).collect()
        };
        let covid = |r: &Record| is_any(r, &COVID);
        let pneumonia = |r: &Record| r.has("pneumonia") && !covid(r);
        let other = |r: &Record| is_any(r, &OTHER) && !r.has("pneumonia") && !covid(r);
        let mut notes = Vec::new();
        let mut d =
            Draw { data, groups: &groups, used: HashSet::new(), patients: HashSet::new(), originals: HashSet::new() };
        let mut stage2: Vec<(usize, usize)> = Vec::new();

        let main = richest(data, |r| pneumonia(r) && r.is_frontal());
        let main = main.or_else(|| richest(data, is_normal)).unwrap_or_default();
        let from = |r: &Record| r.source == main;
        let simple: [(usize, Vec<usize>, usize); 3] = [
            (3, pool(&covid), usize::MAX),
            (1, pool(&|r| from(r) && pneumonia(r)), options.pneumonia),
            (0, pool(&|r| from(r) && is_normal(r)), options.normal),
        ];
        for (class, pool, want) in simple {
            let taken = d.take(&pool, want, options.seed, STAGE2_CLASSES[class]);
            note_shortage(&mut notes, STAGE2_CLASSES[class], taken.len(), want);
            stage2.extend(taken.into_iter().map(|i| (i, class)));
        }
        let lateral = data.records.iter().filter(|r| covid(r) && !r.is_frontal()).count();
        if lateral > 0 {
            notes.push(format!("Data-B covid19: {lateral} images are not frontal and left out"));
        }

        let second = richest(data, |r| other(r) && r.is_frontal()).unwrap_or_default();
        let pool6 = pool(&|r| r.source == second && other(r));
        let taken = draw_other(&mut d, &pool6, options, &mut notes);
        note_shortage(&mut notes, "other", taken.len(), options.other);
        stage2.extend(taken.into_iter().map(|i| (i, 2)));

        for (c, name) in STAGE2_CLASSES.iter().enumerate() {
            if !stage2.iter().any(|&(_, k)| k == c) {
                return Err(Error::Data(format!(
                    "Data-B: no image of class {name}; findings there are: {}",
                    findings(data)
                )));
            }
        }
        stage2.sort_unstable();
        let collection =
            data.records.iter().find(|r| r.source == main).map(|r| r.collection.clone()).unwrap_or_default();
        let (stage1_classes, stage1) = data_a(&d, options.pretrain, &collection, &mut notes)?;

        let mut images = Vec::new();
        let mut number = |items: Vec<(usize, usize)>| -> Vec<Item> {
            let add = |(i, class): (usize, usize)| {
                let r = &data.records[i];
                images.push(Image { file: r.file.clone(), source: r.source.clone(), group: groups[i] });
                (images.len() - 1, class)
            };
            items.into_iter().map(add).collect()
        };
        let (stage2, stage1) = (number(stage2), number(stage1));
        Ok(Selection { images, stage1_classes, stage1, stage2, notes })
    }
}

fn note_shortage(notes: &mut Vec<String>, class: &str, found: usize, want: usize) {
    if found < want && want != usize::MAX {
        notes.push(format!("Data-B {class}: {found} images instead of {want}: there are no more"));
    }
}

/// The class "other": a quota for each finding, the scarcest first, then the rest from what is left.
fn draw_other(d: &mut Draw, pool: &[usize], options: &DetlOptions, notes: &mut Vec<String>) -> Vec<usize> {
    let with = |f: &str| pool.iter().copied().filter(|&i| d.data.records[i].has(f)).collect::<Vec<_>>();
    let mut quotas: Vec<(&str, Vec<usize>)> = OTHER.iter().map(|f| (*f, with(f))).collect();
    quotas.sort_by_key(|(_, pool)| pool.len());
    let quota = options.other / OTHER.len();
    let (mut taken, mut told) = (Vec::new(), Vec::new());
    for (finding, pool) in quotas {
        let got = d.take(&pool, quota, options.seed, finding);
        told.push(format!("{finding} {} of {}", got.len(), pool.len()));
        taken.extend(got);
    }
    let rest = d.take(pool, options.other - taken.len(), options.seed, "other, the rest");
    notes.push(format!(
        "Data-B other: {}; {} more from the {} images that qualify",
        told.join(", "),
        rest.len(),
        pool.len()
    ));
    taken.extend(rest);
    taken
}

/// Class names, and `(record, class)` items.
type TwoClasses = ([&'static str; 2], Vec<(usize, usize)>);

/// Data-A: `(record, class)` by record, without patients of Data-B.
fn data_a(d: &Draw, pretrain: PretrainOn, collection: &str, notes: &mut Vec<String>) -> Result<TwoClasses> {
    let (classes, collection) = match pretrain {
        PretrainOn::Nih => (["normal", "disease"], collection),
        PretrainOn::Kermany => (["normal", "pneumonia"], "kermany"),
    };
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    let mut originals = HashSet::new();
    let mut items = Vec::new();
    for (i, r) in d.data.records.iter().enumerate().filter(|(_, r)| r.collection == collection) {
        let pneumonia = r.labels().any(|l| l.contains("pneumonia"));
        let class = match pretrain {
            _ if is_normal(r) => Ok(0),
            PretrainOn::Kermany if pneumonia => Ok(1),
            PretrainOn::Nih if pneumonia => Err("pneumonia".to_string()),
            PretrainOn::Nih if is_any(r, &DISEASES) && !is_any(r, &COVID) => Ok(1),
            _ => Err(format!("finding of neither class ({})", plain(&r.finding))),
        };
        let class = match class {
            Ok(_) if d.used.contains(&i) => continue,
            Ok(_) if d.patients.contains(&d.groups[i]) => Err("patient is in Data-B".to_string()),
            Ok(_) if !r.is_frontal() => Err("not frontal".to_string()),
            Ok(_) if d.original(i).is_some_and(|o| !originals.insert(o)) => Err("also in another folder".to_string()),
            other => other,
        };
        match class {
            Ok(class) => items.push((i, class)),
            // Data-B's own images are no news.
            Err(_) if d.used.contains(&i) => {}
            Err(why) => *left.entry(why).or_default() += 1,
        }
    }
    notes.extend(left.into_iter().map(|(why, n)| format!("Data-A without {n} images: {why}")));
    for (c, name) in classes.iter().enumerate() {
        if !items.iter().any(|&(_, k)| k == c) {
            let m = format!("Data-A (collection {collection:?}): no image of class {name} is left");
            return Err(Error::Data(format!("{m}; findings there are: {}", findings(d.data))));
        }
    }
    Ok((classes, items))
}

/// The ten most frequent findings with counts.
fn findings(data: &Dataset) -> String {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    data.records.iter().for_each(|r| *count.entry(r.finding.clone()).or_default() += 1);
    let mut list: Vec<_> = count.into_iter().collect();
    list.sort_by_key(|a| std::cmp::Reverse(a.1));
    let head: Vec<String> = list.iter().take(10).map(|(f, n)| format!("{f:?} {n}")).collect();
    head.join(", ") + if list.len() > 10 { ", ..." } else { "" }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::detl_split::SplitOptions;
    use std::path::Path;

    /// A small world: an NIH folder with 40 patients and many findings, a second with pneumonia, two COVID folders.
    pub(crate) fn world() -> Dataset {
        let mut records = Vec::new();
        let mut add = |source: &str, finding: &str, patient: Option<usize>, view: &str, name: String| {
            let collection = source.split('-').next().unwrap().to_string();
            records.push(Record {
                file: PathBuf::from(format!("{source}/{}.png", name)),
                finding: finding.into(),
                patient: patient.map(|p| format!("{collection}:{p}")),
                view: Some(view.into()),
                source: source.into(),
                collection,
                original_name: Some(name),
                ..Record::default()
            });
        };
        for i in 0..240 {
            let finding = match i % 8 {
                0..4 => "No Finding".to_string(),
                4 => format!("{}|Edema", OTHER[i / 8 % 6]),
                5 => OTHER[i / 8 % 6].to_uppercase(),
                6 => "Hernia".into(),
                _ => "Mass|Pneumonia".into(),
            };
            add("nih-a", &finding, Some(i / 6), "PA", format!("a{i}"));
        }
        for i in 0..90 {
            let finding = if i % 2 == 0 { "No Finding" } else { "Pneumonia|Edema" };
            // b0 and a0 are one image; patients 0..18 are in both folders.
            add("nih-b", finding, Some(i / 5), "AP", if i == 0 { "a0".into() } else { format!("b{i}") });
        }
        for i in 0..30 {
            let patient = (i % 3 > 0).then_some(i / 3);
            add("cohen-x", "COVID-19", patient, if i % 6 == 5 { "L" } else { "PA" }, format!("c{i}"));
        }
        for i in 0..60 {
            let finding = ["Normal", "Bacterial pneumonia", "Viral pneumonia"][i % 3];
            add("kermany-k", finding, Some(i / 2), "", format!("k{i}"));
        }
        Dataset { records, ..Dataset::default() }
    }

    pub(crate) fn options() -> DetlOptions {
        DetlOptions { normal: 30, pneumonia: 40, other: 24, ..DetlOptions::default() }
    }

    #[test]
    fn the_protocol_holds() {
        let data = world();
        let mut draws = HashSet::new();
        for seed in 0..6 {
            for pretrain in [PretrainOn::Nih, PretrainOn::Kermany] {
                let o = DetlOptions { pretrain, seed, ..options() };
                let s = Selection::draw(&data, &o).unwrap();
                assert_eq!(s.images, Selection::draw(&data, &o).unwrap().images, "same seed, same images");
                let n = |c| s.stage2.iter().filter(|i| i.1 == c).count();
                assert_eq!([n(0), n(1), n(2), n(3)], [30, 40, 24, 25]);
                let record = |id: usize| data.records.iter().find(|r| r.file == s.images[id].file).unwrap();
                for &(id, class) in &s.stage2 {
                    let r = record(id);
                    let source = ["nih-b", "nih-b", "nih-a", "cohen-x"][class];
                    assert!(r.source == source && r.is_frontal());
                    assert!(class != 2 || is_any(r, &OTHER) && !r.has("pneumonia"));
                }
                let files: HashSet<_> = s.images.iter().map(|i| &i.file).collect();
                assert_eq!(files.len(), s.images.len(), "an image is in one stage only, once");
                let b: HashSet<usize> = s.stage2.iter().map(|&(id, _)| s.images[id].group).collect();
                assert!(s.stage1.iter().all(|&(id, _)| !b.contains(&s.images[id].group)));
                let ok = |(id, class): (usize, usize)| {
                    let r = record(id);
                    match pretrain {
                        PretrainOn::Nih => r.collection == "nih" && !r.has("pneumonia") && (class == 0) == is_normal(r),
                        PretrainOn::Kermany => r.collection == "kermany" && (class == 0) == r.has("normal"),
                    }
                };
                assert!(s.stage1.iter().all(|&i| ok(i)));
                let parts = s.split(&SplitOptions { folds: 3, seed, ..SplitOptions::default() }).unwrap();
                assert_eq!(s.split_file(&parts, Path::new("r"), 64, seed).leaks(), Vec::<String>::new());
                let tested: usize = parts.folds.iter().map(|f| f[2].len()).sum();
                assert_eq!(tested, s.stage2.len());
                draws.insert(s.stage2.iter().map(|&(id, _)| s.images[id].file.clone()).collect::<Vec<_>>());
            }
        }
        assert_eq!(draws.len(), 6, "Data-B depends on the seed and not on the pre-training set");
    }

    #[test]
    fn shortages_are_told_and_empty_classes_refused() {
        let data = world();
        let mut scarce = data.clone();
        scarce.records.retain(|r| r.finding != "Hernia");
        let s = Selection::draw(&scarce, &DetlOptions { pneumonia: 99, other: 600, ..options() }).unwrap_err();
        // Everything of the six findings is in Data-B, and there is no other disease: stage 1 has nothing to tell apart.
        assert!(s.to_string().contains("Data-A"), "{s}");
        let s =
            Selection::draw(&data, &DetlOptions { pneumonia: 99, pretrain: PretrainOn::Kermany, ..options() }).unwrap();
        assert!(
            s.notes.iter().any(|n| n == "Data-B pneumonia: 45 images instead of 99: there are no more"),
            "{:?}",
            s.notes
        );
        assert!(s.notes.iter().any(|n| n.contains("covid19: 5 images are not frontal")));
        let mut none = data.clone();
        none.records.retain(|r| r.collection != "cohen");
        let e = Selection::draw(&none, &options()).unwrap_err();
        assert!(e.to_string().contains("no image of class covid19") && e.exit_code() == 5, "{e}");
        none = data.clone();
        none.records.retain(|r| r.collection != "kermany");
        assert!(Selection::draw(&none, &DetlOptions { pretrain: PretrainOn::Kermany, ..options() }).is_err());
        assert!(Selection::draw(&Dataset::default(), &options()).is_err());
    }
}
