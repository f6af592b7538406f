//! Label maps: from the findings that sources write to the classes of one experiment.
//!
//! A map is a TOML file (`format = "radiograd-labels-1"`) or one of the built-in ones (`data-manifests/labels/`, one for
//! each set of classes in the papers). [`LabelMap::apply`] goes through a [`Dataset`] and gives each record a class or a
//! reason why it has none, counted:
//!
//! 1. the map's `sources`, where it names some;
//! 2. the first rule that fits: the record has one of the findings in `any_of`, none of those in `none_of`, and comes
//!    from one of the rule's `collections` and `sources`, where it names some;
//! 3. `views`: frontal ones only, or all; CT slices never;
//! 4. `children`: in, out, or only;
//! 5. an image that two sources of one collection hold (the same original name) is used once, the first time it appears.
//!
//! Findings are compared as [`plain`] writes them; `*` in a rule stands for any characters (`pneumonia/viral/*`).

mod builtin;
#[cfg(test)]
mod tests;

use crate::data::audit::facts::{ADULT, View, years};
use crate::data::table::{Dataset, Record, plain};
use crate::data::text::{MAX_MANIFEST_BYTES, glob, read_at_most};
use crate::error::{Error, Result};
use crate::names::nearest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

pub use builtin::names;

/// The format tag that every map carries.
pub const FORMAT: &str = "radiograd-labels-1";

/// Most reasons that are printed.
const MOST_REASONS: usize = 12;

/// Which views are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Views {
    /// Those for which [`Record::is_frontal`] holds.
    #[default]
    Frontal,
    /// Laterals and others too.
    All,
}

/// Whether images of children are used: patients under 18, or of a source that is of children and states no age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Children {
    /// Beside the adults.
    #[default]
    In,
    /// Left out.
    Out,
    /// Nothing else.
    Only,
}

/// One rule: which findings make a class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The class, one of [`LabelMap::classes`].
    pub class: String,
    /// The record needs one of these findings; `*` alone means any.
    pub any_of: Vec<String>,
    /// The record may have none of these findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub none_of: Vec<String>,
    /// Only records of these sources; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Only records of these collections; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<String>,
}

impl Rule {
    fn has(patterns: &[String], labels: &[String]) -> bool {
        patterns.iter().any(|p| labels.iter().any(|l| glob(p, l)))
    }

    /// Whether the findings fit, wherever they come from.
    fn fits(&self, labels: &[String]) -> bool {
        Rule::has(&self.any_of, labels) && !Rule::has(&self.none_of, labels)
    }

    /// Whether records of this origin may be taken.
    fn takes(&self, r: &Record) -> bool {
        let listed = |list: &[String], name: &str| list.is_empty() || list.iter().any(|l| l == name);
        listed(&self.sources, &r.source) && listed(&self.collections, &r.collection)
    }
}

/// The classes of one experiment and which findings make them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelMap {
    /// Always [`FORMAT`].
    pub format: String,
    /// Short name, as on the command line.
    pub name: String,
    /// One line for reports.
    #[serde(default)]
    pub title: String,
    /// Class names, in the order of their indices.
    pub classes: Vec<String>,
    /// Which views are used.
    #[serde(default)]
    pub views: Views,
    /// Whether children are used.
    #[serde(default)]
    pub children: Children,
    /// Only records of these sources; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The rules; the first that fits a record decides.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// What a map made of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// Class names, as in the map.
    pub classes: Vec<String>,
    /// `(record, class)`, by record: an index into [`Dataset::records`] and one into `classes`.
    pub items: Vec<(usize, usize)>,
    /// Records without a class, counted by reason.
    pub dropped: BTreeMap<String, usize>,
}

impl Labelled {
    /// Images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.items.iter().for_each(|&(_, c)| counts[c] += 1);
        counts
    }

    /// Why records have no class, the most frequent reason first.
    pub fn reasons(&self) -> Vec<(&str, usize)> {
        let mut all: Vec<(&str, usize)> = self.dropped.iter().map(|(why, n)| (why.as_str(), *n)).collect();
        all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        all
    }
}

impl std::fmt::Display for Labelled {
    /// Classes with their images, then what was left out, a line each; of more than twelve reasons the most frequent.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let width = self.classes.iter().map(|c| c.chars().count()).max().unwrap_or(0);
        for (class, n) in self.classes.iter().zip(self.counts()) {
            writeln!(f, "{class:<width$} {n:>7}")?;
        }
        let reasons = self.reasons();
        let shown = if reasons.len() > MOST_REASONS { MOST_REASONS - 1 } else { reasons.len() };
        reasons[..shown].iter().try_for_each(|(why, n)| writeln!(f, "left out: {n} x {why}"))?;
        match reasons[shown..].iter().map(|r| r.1).sum::<usize>() {
            0 => Ok(()),
            n => writeln!(f, "left out: {n} for {} other reasons", reasons.len() - shown),
        }
    }
}

impl LabelMap {
    /// The built-in map `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest names.
    pub fn named(name: &str) -> Result<LabelMap> {
        match builtin::text(name) {
            Some(text) => LabelMap::parse(text).map_err(|e| Error::Internal(format!("label map {name}: {e}"))),
            None => Err(Error::Usage(format!("no label map {name:?}; {}", nearest(name, &names())))),
        }
    }

    /// A map from a TOML file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] when the file is not a label map or contradicts itself.
    pub fn read(path: &Path) -> Result<LabelMap> {
        let text = String::from_utf8(read_at_most(path, MAX_MANIFEST_BYTES)?).map_err(|e| Error::format(path, e))?;
        LabelMap::parse(&text).map_err(|e| Error::format(path, e))
    }

    /// What a user gives: a file where the text ends in `.toml`, else the name of a built-in map.
    ///
    /// # Errors
    /// As [`LabelMap::read`] and [`LabelMap::named`].
    pub fn open(name_or_path: &str) -> Result<LabelMap> {
        if name_or_path.to_ascii_lowercase().ends_with(".toml") {
            return LabelMap::read(Path::new(name_or_path));
        }
        LabelMap::named(name_or_path)
    }

    fn parse(text: &str) -> Result<LabelMap, String> {
        let mut map: LabelMap = toml::from_str(text).map_err(|e| e.to_string())?;
        if map.format != FORMAT {
            return Err(format!("format {:?}; {FORMAT:?} is needed", map.format));
        }
        let mut seen = HashSet::new();
        if map.classes.len() < 2 || !map.classes.iter().all(|c| !c.trim().is_empty() && seen.insert(c)) {
            return Err(format!("classes {:?}: two or more names are needed, each once", map.classes));
        }
        for (i, rule) in map.rules.iter_mut().enumerate() {
            if !map.classes.contains(&rule.class) {
                return Err(format!("rule {}: class {:?} is none of {:?}", i + 1, rule.class, map.classes));
            }
            for list in [&mut rule.any_of, &mut rule.none_of] {
                *list = list.iter().map(|f| plain(f)).collect();
            }
            if rule.any_of.is_empty() || rule.any_of.iter().chain(&rule.none_of).any(String::is_empty) {
                return Err(format!(
                    "rule {} for {:?}: findings are needed in any_of, none of them empty",
                    i + 1,
                    rule.class
                ));
            }
        }
        match map.classes.iter().find(|c| !map.rules.iter().any(|r| &r.class == *c)) {
            Some(class) => Err(format!("class {class:?} has no rule")),
            None => Ok(map),
        }
    }

    /// Gives the records of `data` their classes. The same data set gives the same items in the same order.
    ///
    /// # Errors
    /// [`Error::Data`] when a class finds no image: with the findings that there are and, where its rules name
    /// collections or sources, with those.
    pub fn apply(&self, data: &Dataset) -> Result<Labelled> {
        let mut dropped: BTreeMap<String, usize> = BTreeMap::new();
        let mut items = Vec::new();
        let mut originals: HashMap<(&str, &str), (&str, usize)> = HashMap::new();
        for (i, r) in data.records.iter().enumerate() {
            let class = self.class_of(data, r).and_then(|class| {
                let Some(name) = &r.original_name else { return Ok(class) };
                let (source, first) = *originals.entry((&r.collection, name)).or_insert((&r.source, class));
                // Within one source the same name may be "frontal.png" of every patient.
                if source == r.source {
                    Ok(class)
                } else if first == class {
                    Err("also in another source, used there".into())
                } else {
                    Err("also in another source with another class, used there".into())
                }
            });
            match class {
                Ok(class) => items.push((i, class)),
                Err(why) => *dropped.entry(why).or_default() += 1,
            }
        }
        let labelled = Labelled { classes: self.classes.clone(), items, dropped };
        match labelled.counts().iter().position(|&n| n == 0) {
            Some(class) => Err(self.without(class, data, &labelled)),
            None => Ok(labelled),
        }
    }

    /// Class of one record, or why it has none.
    fn class_of(&self, data: &Dataset, r: &Record) -> Result<usize, String> {
        if !self.sources.is_empty() && !self.sources.contains(&r.source) {
            return Err(format!("source {} is not used", r.source));
        }
        let labels: Vec<String> = r.labels().collect();
        let Some(rule) = self.rules.iter().find(|rule| rule.takes(r) && rule.fits(&labels)) else {
            let elsewhere = self.rules.iter().any(|rule| rule.fits(&labels));
            return Err(match (elsewhere, labels.as_slice()) {
                (true, [one]) => format!("{one} of collection {} is not used", r.collection),
                (true, _) => format!("several findings of collection {} are not used", r.collection),
                (false, [one]) => format!("finding of no class: {one}"),
                (false, _) => "several findings that make no class".into(),
            });
        };
        let class = self.classes.iter().position(|c| *c == rule.class).ok_or("class without a name")?;
        if r.modality.as_deref().is_some_and(|m| m.eq_ignore_ascii_case("CT"))
            || View::of(r.view.as_deref()) == View::Ct
        {
            return Err("CT slice".into());
        }
        if self.views == Views::Frontal && !r.is_frontal() {
            return Err("not frontal".into());
        }
        let child = match years(r.age.as_deref()) {
            Some(age) => age < ADULT,
            None => data.origins.get(&r.source).is_some_and(|o| o.children),
        };
        match self.children {
            Children::Out if child => Err("child".into()),
            Children::Only if !child => Err("not known to be a child".into()),
            _ => Ok(class),
        }
    }

    /// The error for a class that found no image.
    fn without(&self, class: usize, data: &Dataset, labelled: &Labelled) -> Error {
        let name = &self.classes[class];
        let rules = || self.rules.iter().filter(|r| r.class == *name);
        let list = |of: &dyn Fn(&Rule) -> Vec<String>| {
            let mut all: Vec<String> = rules().flat_map(of).collect();
            let mut seen = HashSet::new();
            all.retain(|f| seen.insert(f.clone()));
            all.join(", ")
        };
        let mut text =
            format!("label map {}: no image of class {name} (needed: {}", self.name, list(&|r| r.any_of.clone()));
        for (what, names) in
            [("collections", list(&|r| r.collections.clone())), ("sources", list(&|r| r.sources.clone()))]
        {
            if !names.is_empty() {
                text += &format!("; {what} {names}");
            }
        }
        let collections: BTreeMap<&str, ()> = data.records.iter().map(|r| (r.collection.as_str(), ())).collect();
        let collections: Vec<&str> = collections.into_keys().collect();
        text += &format!("). Findings there are: {}; collections: {}", findings(data), collections.join(", "));
        let left: Vec<String> = labelled.reasons().iter().take(4).map(|(why, n)| format!("{n} x {why}")).collect();
        if !left.is_empty() {
            text += &format!("; left out: {}", left.join(", "));
        }
        Error::Data(text)
    }
}

/// The twelve most frequent findings, one by one, with the number of records.
fn findings(data: &Dataset) -> String {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    data.records.iter().flat_map(Record::labels).for_each(|l| *count.entry(l).or_default() += 1);
    let mut list: Vec<_> = count.into_iter().collect();
    list.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let head: Vec<String> = list.iter().take(12).map(|(f, n)| format!("{f} {n}")).collect();
    let more = list.len().saturating_sub(12);
    head.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
