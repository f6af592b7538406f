//! What a reader must know before the accuracy: class by source tables, sizes, and how far the source alone would get.

use crate::data::detl::{STAGE2_CLASSES, Selection};
use crate::data::detl_split::Parts;
use crate::data::split_file::Item;
use crate::eval::CrossTable;
use std::collections::HashSet;
use std::fmt::Write;

impl Selection {
    /// Class by source of some items.
    ///
    /// # Panics
    /// When an item's class is not among `classes`.
    #[track_caller]
    pub fn cross_table(&self, classes: &[&str], items: &[Item]) -> CrossTable {
        let classes: Vec<String> = classes.iter().map(|c| c.to_string()).collect();
        let pairs = items.iter().map(|&(id, c)| (c, self.images[id].source.as_str()));
        CrossTable::count("source", &classes, pairs).unwrap_or_else(|e| panic!("{e}"))
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
            100.0 * t.accuracy_from_property.unwrap_or(0.0),
            100.0 * t.accuracy_from_majority.unwrap_or(0.0)
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
