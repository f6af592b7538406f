//! The counts of an audit, one function a section of the report.

use crate::data::audit::facts::{ADULT, OLDEST, View, age_group, years};
use crate::data::audit::groups::{Kind, Sets};
use crate::data::audit::leak::Division;
use crate::data::audit::look::ALIKE;
use crate::data::audit::reading::{GroupBy, Reading};
use crate::data::audit::result::{
    Ages, ClassCount, Count, Duplicates, Group, Member, Patients, Shared, Source, Unusable, Views,
};
use crate::data::table::Record;
use crate::error::Result;
use crate::eval::CrossTable;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Images that cannot be used.
pub fn unusable(reading: &Reading) -> Vec<Unusable> {
    let one = |(i, reason): (usize, &str)| Unusable {
        name: reading.names[i].clone(),
        source: reading.data.records[i].source.clone(),
        reason: reason.into(),
    };
    reading.bad().map(one).collect()
}

/// Counts, the largest first, of equal ones by name.
fn counts(names: impl Iterator<Item = String>) -> Vec<Count> {
    let mut by: BTreeMap<String, u64> = BTreeMap::new();
    names.for_each(|n| *by.entry(n).or_default() += 1);
    let mut all: Vec<Count> = by.into_iter().map(|(name, images)| Count { name, images }).collect();
    all.sort_by_key(|c| std::cmp::Reverse(c.images));
    all
}

/// Sources by name.
pub fn sources(reading: &Reading) -> Vec<Source> {
    let mut by: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let records = &reading.data.records;
    reading.usable().into_iter().for_each(|i| by.entry(&records[i].source).or_default().push(i));
    let one = |(name, items): (&str, Vec<usize>)| {
        let origin = reading.data.origins.get(name);
        let seen: Vec<_> = items.iter().filter_map(|&i| reading.image(i)).collect();
        let longer = |f: fn(u32, u32) -> u32, start: u32| seen.iter().map(|s| s.size.0.max(s.size.1)).fold(start, f);
        // Each image counts alike, however large it is.
        let mean =
            |f: &dyn Fn(usize) -> f32| (0..seen.len()).map(|k| f64::from(f(k))).sum::<f64>() / seen.len().max(1) as f64;
        let (m, q) = (mean(&|k| seen[k].mean), mean(&|k| seen[k].square));
        Source {
            name: name.into(),
            collection: records[items[0]].collection.clone(),
            images: items.len() as u64,
            patients: items.iter().filter_map(|&i| records[i].patient.as_ref()).collect::<HashSet<_>>().len() as u64,
            without_patient: items.iter().filter(|&&i| records[i].patient.is_none()).count() as u64,
            side: [longer(u32::min, u32::MAX), longer(u32::max, 0)],
            formats: counts(seen.iter().map(|s| s.format.to_string())),
            licence: origin.map(|o| o.licence.clone()).filter(|l| !l.is_empty()),
            licence_assumed: origin.is_some_and(|o| o.assumed),
            gray: [m, (q - m * m).max(0.0).sqrt()],
        }
    };
    by.into_iter().map(one).collect()
}

/// Classes, the largest first.
pub fn classes(reading: &Reading, class_of: &[Option<String>]) -> Vec<ClassCount> {
    let groups = reading.groups(GroupBy::Patient);
    let mut by: BTreeMap<&str, (u64, HashSet<usize>, HashSet<&str>)> = BTreeMap::new();
    for i in reading.usable() {
        if let Some(class) = &class_of[i] {
            let e = by.entry(class).or_default();
            e.0 += 1;
            e.1.insert(groups[i]);
            e.2.insert(&reading.data.records[i].source);
        }
    }
    let one = |(name, (images, patients, sources)): (&str, (u64, HashSet<usize>, HashSet<&str>))| ClassCount {
        name: name.into(),
        images,
        patients: patients.len() as u64,
        sources: sources.len() as u64,
    };
    let mut all: Vec<ClassCount> = by.into_iter().map(one).collect();
    all.sort_by_key(|c| std::cmp::Reverse(c.images));
    all
}

/// Patients: how many, how unevenly.
pub fn patients(reading: &Reading, class_of: &[Option<String>]) -> Patients {
    let records = &reading.data.records;
    let mut by: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut out = Patients::default();
    for i in reading.usable() {
        match &records[i].patient {
            Some(p) => by.entry(p).or_default().push(i),
            None => out.unknown += 1,
        }
    }
    let several = |items: &[usize], value: &dyn Fn(usize) -> Option<String>| -> u64 {
        u64::from(items.iter().filter_map(|&i| value(i)).collect::<HashSet<_>>().len() > 1)
    };
    let sex = |i: usize| {
        let first = records[i].sex.as_deref()?.trim().chars().next()?.to_ascii_lowercase();
        matches!(first, 'm' | 'f').then(|| first.to_string())
    };
    for items in by.values() {
        let n = items.len() as u64;
        out.known += 1;
        out.most = out.most.max(n);
        if n > 1 {
            out.with_several += 1;
            out.images_of_those += n;
        }
        out.in_several_sources += several(items, &|i| Some(records[i].source.clone()));
        out.with_several_classes += several(items, &|i| class_of[i].clone());
        out.with_both_sexes += several(items, &sex);
    }
    out
}

/// The findings of a record as a set, "normal" and "no finding" being one.
fn findings(record: &Record) -> BTreeSet<String> {
    record.labels().map(|l| if l == "no finding" { "normal".into() } else { l }).collect()
}

/// Duplicate groups.
pub fn duplicates(reading: &Reading) -> Duplicates {
    let records = &reading.data.records;
    let mut sets = Sets::new(reading.seen.len());
    reading.links.iter().for_each(|l| sets.join(l.a, l.b));
    let mut links: HashMap<usize, Vec<(Kind, f64)>> = HashMap::new();
    for l in &reading.links {
        links.entry(sets.find(l.a)).or_default().push((l.kind, l.correlation));
    }
    let patients = reading.groups(GroupBy::Patient);
    let member = |&i: &usize| Member {
        name: reading.names[i].clone(),
        source: records[i].source.clone(),
        finding: records[i].finding.clone(),
        split: records[i].split.clone(),
        size: reading.image(i).map_or([0, 0], |s| [s.size.0, s.size.1]),
    };
    let mut groups: Vec<Group> = Vec::new();
    let mut images = 0;
    for items in sets.groups() {
        let own = links.remove(&items[0]).unwrap_or_default();
        images += items.len() as u64;
        groups.push(Group {
            images: items.iter().map(member).collect(),
            kinds: own.iter().map(|l| l.0).collect::<BTreeSet<_>>().into_iter().collect(),
            correlation: own.iter().map(|l| l.1).fold(1.0, f64::min),
            patients: items.iter().map(|&i| patients[i]).collect::<HashSet<_>>().len() as u64,
            conflict: items.iter().map(|&i| findings(&records[i])).collect::<HashSet<_>>().len() > 1,
        });
    }
    // Conflicts first, then what a split by patient would miss.
    groups.sort_by_key(|g| (!g.conflict, g.patients < 2));
    let of = |wanted: fn(Kind) -> bool| reading.links.iter().filter(|l| wanted(l.kind)).count() as u64;
    Duplicates {
        equal_files: of(|k| k == Kind::File),
        equal_pixels: of(|k| k == Kind::Pixels),
        alike_pairs: of(|k| matches!(k, Kind::Look(_))),
        alike_from: ALIKE,
        images,
        across_patients: groups.iter().filter(|g| g.patients > 1).count() as u64,
        conflicts: groups.iter().filter(|g| g.conflict).count() as u64,
        groups,
    }
}

/// Pictures and names that two sources share.
pub fn shared(reading: &Reading, duplicates: &Duplicates) -> Vec<Shared> {
    let mut by: BTreeMap<[String; 2], Shared> = BTreeMap::new();
    fn entry<'m>(by: &'m mut BTreeMap<[String; 2], Shared>, a: &str, b: &str) -> &'m mut Shared {
        let sources = if a < b { [a.to_string(), b.to_string()] } else { [b.to_string(), a.to_string()] };
        by.entry(sources.clone()).or_insert(Shared { sources, pictures: 0, names: 0, names_alike: 0, conflicts: 0 })
    }
    for group in &duplicates.groups {
        let own: BTreeSet<&str> = group.images.iter().map(|m| m.source.as_str()).collect();
        let own: Vec<&str> = own.into_iter().collect();
        for (x, a) in own.iter().enumerate() {
            for b in &own[x + 1..] {
                let e = entry(&mut by, a, b);
                e.pictures += 1;
                e.conflicts += u64::from(group.conflict);
            }
        }
    }
    let mut sets = Sets::new(reading.seen.len());
    reading.links.iter().for_each(|l| sets.join(l.a, l.b));
    let mut names: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for i in reading.usable() {
        let r = &reading.data.records[i];
        if let Some(name) = &r.original_name {
            names.entry((&r.collection, name)).or_default().push(i);
        }
    }
    for items in names.values() {
        let mut seen = HashSet::new();
        for (x, &i) in items.iter().enumerate() {
            for &j in &items[x + 1..] {
                let (a, b) = (&reading.data.records[i].source, &reading.data.records[j].source);
                let pair = if a < b { (a, b) } else { (b, a) };
                if a != b && seen.insert(pair) {
                    let e = entry(&mut by, a, b);
                    e.names += 1;
                    e.names_alike += u64::from(sets.find(i) == sets.find(j));
                }
            }
        }
    }
    by.into_values().collect()
}

/// Views.
pub fn views(reading: &Reading) -> Views {
    let of = |i: usize| View::of(reading.data.records[i].view.as_deref());
    let all: Vec<View> = reading.usable().into_iter().map(of).collect();
    let count = |view: View| all.iter().filter(|v| **v == view).count() as u64;
    Views {
        counts: counts(all.iter().map(|v| v.name().to_string())),
        lateral: count(View::Lateral),
        ct: count(View::Ct),
        not_stated: count(View::NotStated),
    }
}

/// Whether record `i` is of a child: by its age, or because its whole source is; and which of the two.
fn child(reading: &Reading, i: usize) -> (bool, bool) {
    let r = &reading.data.records[i];
    match years(r.age.as_deref()) {
        Some(y) => (y < ADULT, false),
        None => {
            let all = reading.data.origins.get(&r.source).is_some_and(|o| o.children);
            (all, all)
        }
    }
}

/// Whether record `i` is of a child by its age or its source.
pub fn is_child(reading: &Reading, i: usize) -> bool {
    child(reading, i).0
}

/// Ages.
pub fn ages(reading: &Reading) -> Ages {
    let mut out = Ages::default();
    let mut names = Vec::new();
    for i in reading.usable() {
        let age = years(reading.data.records[i].age.as_deref());
        let (is, by_collection) = child(reading, i);
        out.children += u64::from(is);
        out.children_by_collection += u64::from(by_collection);
        out.not_stated += u64::from(age.is_none() && !by_collection);
        out.implausible += u64::from(age.is_some_and(|y| y > OLDEST));
        names.push(if by_collection { "child, by collection".to_string() } else { age_group(age) });
    }
    out.counts = counts(names.into_iter());
    out
}

/// The split that the tables publish, where some image has one. Names are compared without case.
pub fn published(reading: &Reading) -> Option<Division> {
    let part = |r: &Record| r.split.as_deref().map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty());
    let of: Vec<Option<String>> = reading.data.records.iter().map(part).collect();
    let parts: Vec<String> = of.iter().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let index = |name: &Option<String>| parts.binary_search(name.as_ref()?).ok();
    let part_of: Vec<Option<usize>> =
        of.iter().enumerate().map(|(i, name)| index(name).filter(|_| reading.image(i).is_some())).collect();
    (!parts.is_empty()).then_some(Division { name: "published split".into(), parts, part_of })
}

/// Classes as indices, for tables; those with few images are one, or a table would not fit a page.
pub struct ClassIndex {
    names: Vec<String>,
    /// Position and class of the usable images that have one.
    items: Vec<(usize, usize)>,
}

/// Most classes in a table.
const COLUMNS: usize = 10;

impl ClassIndex {
    /// The nine largest classes and the rest.
    pub fn new(reading: &Reading, class_of: &[Option<String>]) -> ClassIndex {
        let all = classes(reading, class_of);
        let shown = if all.len() <= COLUMNS { all.len() } else { COLUMNS - 1 };
        let mut names: Vec<String> = all[..shown].iter().map(|c| c.name.clone()).collect();
        let rest = all.len() - shown;
        if rest > 0 {
            names.push(format!("{rest} other classes"));
        }
        let index = |class: &String| names.iter().position(|n| n == class).unwrap_or(names.len() - 1);
        let items = reading.usable().into_iter().filter_map(|i| Some((i, index(class_of[i].as_ref()?)))).collect();
        ClassIndex { names, items }
    }

    /// Class against a property.
    ///
    /// # Errors
    /// As [`CrossTable::count`].
    pub fn table(&self, property: &str, value: &dyn Fn(usize) -> String) -> Result<CrossTable> {
        let values: Vec<String> = self.items.iter().map(|&(i, _)| value(i)).collect();
        let pairs = self.items.iter().zip(&values).map(|((_, c), v)| (*c, v.as_str()));
        CrossTable::count(property, &self.names, pairs)
    }

    /// View against source: whether the view gives the source away. Rows are views.
    ///
    /// # Errors
    /// As [`CrossTable::count`].
    pub fn sources_by_view(&self, reading: &Reading) -> Result<CrossTable> {
        let records = &reading.data.records;
        let view = |i: usize| View::of(records[i].view.as_deref());
        let present: BTreeSet<View> = reading.usable().into_iter().map(view).collect();
        let present: Vec<View> = present.into_iter().collect();
        let names: Vec<String> = present.iter().map(|v| v.name().to_string()).collect();
        let pairs = reading.usable().into_iter().filter_map(|i| {
            let row = present.binary_search(&view(i)).ok()?;
            Some((row, records[i].source.as_str()))
        });
        CrossTable::count("view in source", &names, pairs)
    }
}
