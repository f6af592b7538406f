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
    /// Cramer's V with the bias correction of Bergsma 2013 (<https://doi.org/10.1016/j.jkss.2012.10.002>): near 0 for an
    /// independent table however many rare values it has, where the plain V is not. `None` as above, and in older files.
    #[serde(default)]
    pub cramers_v_corrected: Option<f64>,
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
        let association = cramers_v(&counts);
        let largest_row = counts.iter().map(|row| row.iter().sum::<u64>()).max().unwrap_or(0);
        Ok(CrossTable {
            property: property.into(),
            classes: classes.to_vec(),
            values: columns.iter().map(|(v, _)| v.to_string()).collect(),
            accuracy_from_property: share(best_of_columns),
            accuracy_from_majority: share(largest_row),
            cramers_v: association.map(|a| a.0),
            cramers_v_corrected: association.map(|a| a.1),
            counts,
        })
    }

    /// All images.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Classes that share no value of the property with another class: the property alone tells them.
    pub fn separable(&self) -> Vec<&str> {
        let alone = |k: usize| {
            (0..self.values.len()).all(|j| {
                self.counts[k][j] == 0 || self.counts.iter().map(|row| row[j]).sum::<u64>() == self.counts[k][j]
            })
        };
        (0..self.classes.len())
            .filter(|&k| self.counts[k].iter().any(|n| *n > 0) && alone(k))
            .map(|k| self.classes[k].as_str())
            .collect()
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
/// and columns that are not empty; and the same with Bergsma's correction, in which chi² / n loses its expectation under
/// independence and rows and columns shrink likewise.
fn cramers_v(counts: &[Vec<u64>]) -> Option<(f64, f64)> {
    let rows: Vec<f64> = counts.iter().map(|r| r.iter().sum::<u64>() as f64).collect();
    let width = counts.first().map_or(0, Vec::len);
    let columns: Vec<f64> = (0..width).map(|j| counts.iter().map(|r| r[j]).sum::<u64>() as f64).collect();
    let n: f64 = rows.iter().sum();
    let used = |sums: &[f64]| sums.iter().filter(|s| **s > 0.0).count();
    let (r, c) = (used(&rows), used(&columns));
    let smaller = r.min(c);
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
    let plain = (chi2 / (n * (smaller - 1) as f64)).sqrt().min(1.0);
    let (r, c) = (r as f64, c as f64);
    let phi2 = (chi2 / n - (r - 1.0) * (c - 1.0) / (n - 1.0)).max(0.0);
    let shrunk = |k: f64| k - (k - 1.0) * (k - 1.0) / (n - 1.0);
    let least = shrunk(r).min(shrunk(c)) - 1.0;
    let corrected = if least > 0.0 { (phi2 / least).sqrt().min(1.0) } else { 0.0 };
    Some((plain, corrected))
}

impl std::fmt::Display for CrossTable {
    /// Values as rows, classes as columns, with sums: sources are often more than fit beside each other.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |s: &String| s.chars().count();
        let first = self.values.iter().map(width).max().unwrap_or(0).max(width(&self.property)).max(18) + 2;
        let sum = |row: &dyn Fn(usize) -> u64| (0..self.classes.len()).map(row).sum::<u64>();
        let line = |f: &mut std::fmt::Formatter<'_>, name: &str, row: &dyn Fn(usize) -> u64| {
            write!(f, "  {name:<first$}")?;
            for (k, class) in self.classes.iter().enumerate() {
                write!(f, "{:>1$}", row(k), width(class).max(6) + 2)?;
            }
            writeln!(f, "{:>9}", sum(row))
        };
        write!(f, "  {:<first$}", self.property)?;
        for class in &self.classes {
            write!(f, "{class:>0$}", width(class).max(6) + 2)?;
        }
        writeln!(f, "{:>9}", "all")?;
        for (j, value) in self.values.iter().enumerate() {
            line(f, value, &|k| self.counts[k][j])?;
        }
        line(f, "all", &|k| self.counts[k].iter().sum())
    }
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

    // V = sqrt(phi2c / min(rc - 1, cc - 1)) with chi2 of scipy.stats.chi2_contingency(T, correction=False), SciPy 1.17.
    #[test]
    fn the_corrected_v_agrees_with_its_formula() {
        let v = |counts: &[&[u64]]| table(counts).cramers_v_corrected.unwrap();
        assert!((v(&[&[30, 10], &[12, 25], &[5, 18]]) - 0.4451202624069771).abs() < 1e-12);
        assert!((v(&[&[3, 1, 2], &[2, 2, 1]]) - 0.0).abs() < 1e-12);
        assert!((v(&[&[40, 0, 0], &[0, 30, 0], &[0, 0, 20]]) - 1.0).abs() < 1e-12);
        // Metrics written before this field was there.
        let mut old = serde_json::to_value(table(&[&[3, 1], &[1, 3]])).unwrap();
        old.as_object_mut().unwrap().remove("cramers_v_corrected");
        assert_eq!(serde_json::from_value::<CrossTable>(old).unwrap().cramers_v_corrected, None);
    }

    #[test]
    fn classes_that_the_property_tells_and_the_text() {
        let t = table(&[&[50, 0], &[30, 0], &[0, 20]]);
        assert_eq!((t.total(), t.separable()), (100, vec!["c2"]));
        assert_eq!((t.accuracy_from_property, t.accuracy_from_majority), (Some(0.7), Some(0.5)));
        let text = t.to_string();
        assert!(text.lines().count() == 4 && text.lines().last().unwrap().trim_end().ends_with("100"), "{text}");
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
