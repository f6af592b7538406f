//! Class against another property of the images (source, resolution, view): how far that property alone gives the
//! class away. Where it does, accuracy says little about lungs.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Counts of class × value of a property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossTable {
    /// The property, as in "source".
    pub property: String,
    /// Names of the classes (rows).
    pub classes: Vec<String>,
    /// Values of the property (columns), in alphabetical order.
    pub values: Vec<String>,
    /// One row per class, one count per value.
    pub counts: Vec<Vec<u64>>,
    /// Accuracy of a guess that knows nothing but the property: the most frequent class of each value. Counted on
    /// the same images, so it is an upper bound when values are rare.
    pub accuracy_from_property: Option<f64>,
    /// Accuracy of always guessing the most frequent class.
    pub accuracy_from_majority: Option<f64>,
    /// Cramer's V (0 independent, 1 one determines the other), without bias correction; `None` when the table has
    /// fewer than two classes or values with images.
    pub cramers_v: Option<f64>,
}

impl CrossTable {
    /// Counts (class index, value of the property) of every image.
    ///
    /// # Errors
    /// [`Error::Data`] when a class index is not below the number of classes.
    pub fn count<'a>(
        property: &str,
        classes: &[String],
        images: impl IntoIterator<Item = (usize, &'a str)>,
    ) -> Result<CrossTable> {
        let mut columns = std::collections::BTreeMap::<&str, Vec<u64>>::new();
        for (class, value) in images {
            let column = columns.entry(value).or_insert_with(|| vec![0; classes.len()]);
            *column.get_mut(class).ok_or_else(|| {
                Error::Data(format!("table of class and {property}: class {class} of {} classes", classes.len()))
            })? += 1;
        }
        let columns: Vec<(&str, Vec<u64>)> = columns.into_iter().collect();
        let counts: Vec<Vec<u64>> = (0..classes.len()).map(|k| columns.iter().map(|(_, c)| c[k]).collect()).collect();
        let total: u64 = counts.iter().flatten().sum();
        let share = |n: u64| (total > 0).then(|| n as f64 / total as f64);
        let best_of_columns = columns.iter().map(|(_, c)| c.iter().max().copied().unwrap_or(0)).sum();
        let largest_row = counts.iter().map(|row| row.iter().sum::<u64>()).max().unwrap_or(0);
        Ok(CrossTable {
            property: property.into(),
            classes: classes.to_vec(),
            values: columns.iter().map(|(v, _)| v.to_string()).collect(),
            accuracy_from_property: share(best_of_columns),
            accuracy_from_majority: share(largest_row),
            cramers_v: cramers_v(&counts),
            counts,
        })
    }

    /// A sentence for the reader when the property gives the class away: Cramer's V of 0.3 or more (a medium effect for
    /// a table with two rows or columns by Cohen's convention) and a guess from the property that beats the majority
    /// guess by 5 percentage points.
    pub fn warning(&self) -> Option<String> {
        let (v, guess, majority) = (self.cramers_v?, self.accuracy_from_property?, self.accuracy_from_majority?);
        if v < 0.3 || guess < majority + 0.05 {
            return None;
        }
        let owned: Vec<&str> = (0..self.values.len())
            .filter(|&j| self.counts.iter().filter(|row| row[j] > 0).count() == 1)
            .map(|j| self.values[j].as_str())
            .collect();
        let only = match owned.len() {
            0 => String::new(),
            1..=6 => format!(" Each of these occurs in one class only: {}.", owned.join("; ")),
            n => format!(" {n} of its {} values occur in one class only.", self.values.len()),
        };
        let p = &self.property;
        Some(format!(
            "Class coincides with {p} (Cramer's V {v:.2}): knowing only the {p} of an image and nothing of its content \
             gives {:.1} % accuracy (always the largest class: {:.1} %).{only} The network's accuracy may come from \
             that, not from disease.",
            100.0 * guess,
            100.0 * majority
        ))
    }
}

/// Cramer's V of a table of counts (Cramer 1946, section 21.4): sqrt(chi² / (n · (min(rows, columns) - 1))), over rows
/// and columns that are not empty.
fn cramers_v(counts: &[Vec<u64>]) -> Option<f64> {
    let rows: Vec<f64> = counts.iter().map(|r| r.iter().sum::<u64>() as f64).collect();
    let width = counts.first().map_or(0, Vec::len);
    let columns: Vec<f64> = (0..width).map(|j| counts.iter().map(|r| r[j]).sum::<u64>() as f64).collect();
    let n: f64 = rows.iter().sum();
    let used = |sums: &[f64]| sums.iter().filter(|s| **s > 0.0).count();
    let smaller = used(&rows).min(used(&columns));
    if smaller < 2 {
        return None;
    }
    let mut chi2 = 0.0;
    for (i, row) in counts.iter().enumerate() {
        for (j, &count) in row.iter().enumerate() {
            let expected = rows[i] * columns[j] / n;
            if expected > 0.0 {
                chi2 += (count as f64 - expected).powi(2) / expected;
            }
        }
    }
    Some((chi2 / (n * (smaller - 1) as f64)).sqrt().min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counts: &[&[u64]]) -> CrossTable {
        let classes: Vec<String> = (0..counts.len()).map(|k| format!("c{k}")).collect();
        let mut images = Vec::new();
        for (k, row) in counts.iter().enumerate() {
            for (j, &n) in row.iter().enumerate() {
                images.extend((0..n).map(|_| (k, ["s0", "s1", "s2"][j])));
            }
        }
        CrossTable::count("source", &classes, images).unwrap()
    }

    // Expected values: SciPy 1.17, scipy.stats.contingency.association(T, "cramer").
    #[test]
    fn cramers_v_agrees_with_scipy() {
        let t = table(&[&[30, 10], &[12, 25], &[5, 18]]);
        assert!((t.cramers_v.unwrap() - 0.4651158290028855).abs() < 1e-12);
        assert_eq!(t.accuracy_from_property, Some(55.0 / 100.0));
        assert_eq!(t.accuracy_from_majority, Some(0.4));
        assert!(t.warning().unwrap().contains("55.0 % accuracy"));
        let t = table(&[&[350, 0, 0], &[322, 0, 0], &[0, 300, 0], &[0, 0, 161]]);
        assert!((t.cramers_v.unwrap() - 1.0).abs() < 1e-12);
        assert!(t.warning().unwrap().contains("one class only: s1; s2."), "{:?}", t.warning());
    }

    #[test]
    fn no_warning_without_association() {
        let t = table(&[&[10, 20], &[10, 20]]);
        assert!(t.cramers_v.unwrap() < 1e-9);
        assert_eq!(t.warning(), None);
        let one = table(&[&[10], &[20]]);
        assert_eq!((one.cramers_v, one.warning()), (None, None));
        let empty = CrossTable::count("view", &["a".to_string()], []).unwrap();
        assert_eq!((empty.accuracy_from_property, empty.cramers_v), (None, None));
        assert!(CrossTable::count("view", &["a".to_string()], [(1, "PA")]).is_err());
    }
}
