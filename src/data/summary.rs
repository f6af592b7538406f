//! What a reader must know before the accuracy: class by source tables, sizes, and how far the source alone would get.

use crate::data::detl::{STAGE2_CLASSES, Selection};
use crate::data::detl_split::Parts;
use crate::data::split_file::Item;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// Images by class and source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrossTable {
    /// Class names.
    pub classes: Vec<String>,
    /// Source to images by class.
    pub sources: BTreeMap<String, Vec<usize>>,
}

impl CrossTable {
    /// Counts `(source, class)` pairs.
    pub fn new<'a>(classes: &[&str], items: impl Iterator<Item = (&'a str, usize)>) -> CrossTable {
        let mut sources: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (source, class) in items {
            sources.entry(source.to_string()).or_insert_with(|| vec![0; classes.len()])[class] += 1;
        }
        CrossTable { classes: classes.iter().map(|c| c.to_string()).collect(), sources }
    }

    /// All images.
    pub fn total(&self) -> usize {
        self.sources.values().flatten().sum()
    }

    /// Accuracy of a classifier that knows only the source: the most frequent class of each. Far above the share of the
    /// largest class means that class and source are confounded.
    pub fn accuracy_from_source(&self) -> f64 {
        let right: usize = self.sources.values().filter_map(|n| n.iter().max()).sum();
        right as f64 / self.total().max(1) as f64
    }

    /// Share of the largest class: the accuracy of knowing nothing.
    pub fn largest_class(&self) -> f64 {
        let class = |c: usize| self.sources.values().map(|n| n[c]).sum::<usize>();
        (0..self.classes.len()).map(class).max().unwrap_or(0) as f64 / self.total().max(1) as f64
    }

    /// Classes that come from one source only and share it with no other class, or from sources of their own.
    pub fn separable(&self) -> Vec<&str> {
        let own = |c: usize| self.sources.values().all(|n| n[c] == 0 || n[c] == n.iter().sum::<usize>());
        (0..self.classes.len()).filter(|&c| own(c)).map(|c| self.classes[c].as_str()).collect()
    }
}

impl std::fmt::Display for CrossTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = |name: &str, n: &[usize]| {
            let cells: String = n.iter().map(|n| format!("{n:>11}")).collect();
            format!("  {name:<20}{cells}{:>9}", n.iter().sum::<usize>())
        };
        let head: String = self.classes.iter().map(|c| format!("{c:>11}")).collect();
        writeln!(f, "  {:<20}{head}{:>9}", "", "all")?;
        for (source, n) in &self.sources {
            writeln!(f, "{}", row(source, n))?;
        }
        let sums: Vec<usize> = (0..self.classes.len()).map(|c| self.sources.values().map(|n| n[c]).sum()).collect();
        writeln!(f, "{}", row("all", &sums))
    }
}

impl Selection {
    /// Class by source of some items.
    pub fn cross_table(&self, classes: &[&str], items: &[Item]) -> CrossTable {
        CrossTable::new(classes, items.iter().map(|&(id, c)| (self.images[id].source.as_str(), c)))
    }

    /// Number of patients (groups) among some items.
    pub fn patients(&self, items: &[Item]) -> usize {
        items.iter().map(|&(id, _)| self.images[id].group).collect::<HashSet<_>>().len()
    }

    /// One sentence to print beside every accuracy of stage 2.
    pub fn confounding(&self) -> String {
        let t = self.cross_table(&STAGE2_CLASSES, &self.stage2);
        let mut out = format!(
            "Class coincides with source here: knowing only the source gives {:.1} % accuracy, knowing nothing {:.1} %",
            100.0 * t.accuracy_from_source(),
            100.0 * t.largest_class()
        );
        let separable = t.separable();
        if !separable.is_empty() {
            out += &format!("; {} can be told by source alone", separable.join(" and "));
        }
        out + " (scanner, resolution, file format, burnt-in letters)."
    }

    /// The whole account: tables, parts, what was left out, the warning. `sizes` are the stored sizes (width, height) by
    /// image id, as [`crate::data::planes::Planes::sizes`] has them, where known. No file or patient names.
    pub fn summary(&self, parts: Option<&Parts>, sizes: Option<&[(u32, u32)]>) -> String {
        let mut out = String::new();
        let stages =
            [("Data-A", &self.stage1_classes[..], &self.stage1), ("Data-B", &STAGE2_CLASSES[..], &self.stage2)];
        for (name, classes, items) in stages {
            _ = writeln!(out, "{name}: {} images of {} patients", items.len(), self.patients(items));
            _ = write!(out, "{}", self.cross_table(classes, items));
            if let Some(sizes) = sizes {
                for (c, class) in classes.iter().enumerate() {
                    let of = items.iter().filter(|i| i.1 == c).filter_map(|i| sizes.get(i.0));
                    let mut long: Vec<u32> = of.map(|&(w, h)| w.max(h)).filter(|&n| n > 0).collect();
                    long.sort_unstable();
                    if let (Some(a), Some(b)) = (long.first(), long.last()) {
                        _ = writeln!(out, "  {class}: longer side {a} to {b} pixels, median {}", long[long.len() / 2]);
                    }
                }
            }
        }
        if let Some(p) = parts {
            let n = |items: &[Item]| format!("{} ({} patients)", items.len(), self.patients(items));
            _ = writeln!(
                out,
                "stage 1: training {}, validation {}, unused {}",
                n(&p.train1),
                n(&p.val1),
                p.unused1.len()
            );
            for (i, [train, val, test]) in p.folds.iter().enumerate() {
                _ = writeln!(out, "fold {}: training {}, validation {}, test {}", i + 1, n(train), n(val), n(test));
            }
        }
        for note in &self.notes {
            _ = writeln!(out, "note: {note}");
        }
        _ = writeln!(out, "warning: {}", self.confounding());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confounding_is_measured() {
        let items = [("a", 0, 50), ("a", 1, 30), ("b", 2, 20)];
        let all = items.iter().flat_map(|&(s, c, n)| std::iter::repeat_n((s, c), n));
        let t = CrossTable::new(&["x", "y", "z"], all);
        assert_eq!((t.total(), t.separable()), (100, vec!["z"]));
        assert!((t.accuracy_from_source() - 0.7).abs() < 1e-12 && (t.largest_class() - 0.5).abs() < 1e-12);
        let text = t.to_string();
        assert!(text.lines().count() == 4 && text.contains("100"), "{text}");
    }
}
