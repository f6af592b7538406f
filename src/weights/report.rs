//! The key report: what happened to every parameter of a network and to every tensor of a file.

use std::fmt;

/// How many of a kind an error lists; the others are counted.
const LISTED: usize = 8;

/// A name that has no partner, and the names that come near it on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// The name.
    pub name: String,
    /// At most two similar names among those that have no partner either; filled in for the first few.
    pub nearest: Vec<String>,
}

/// A parameter whose tensor does not fit: what the file has, what was needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The parameter.
    pub name: String,
    /// What the file has.
    pub found: String,
    /// What was needed.
    pub needed: String,
}

/// What happened to every parameter and every tensor. Names are the network's, where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Parameters that took the file's numbers.
    pub loaded: Vec<String>,
    /// Of those: the file's name and the parameter's, where the table changed it.
    pub renamed: Vec<(String, String)>,
    /// The first filter, where its input channels were summed into one.
    pub folded: Option<String>,
    /// Parameters of a replaced head, which keep their own numbers.
    pub replaced: Vec<String>,
    /// Tensors that the table leaves out, and those of the head that was replaced.
    pub ignored: Vec<String>,
    /// Parameters that the file lacks.
    pub missing: Vec<Unmatched>,
    /// Tensors that this network does not have.
    pub unexpected: Vec<Unmatched>,
    /// Tensors that claim the same parameter.
    pub ambiguous: Vec<String>,
    /// Parameters whose tensor has other dimensions.
    pub wrong_shape: Vec<Mismatch>,
    /// Parameters whose tensor is no F32, F16 or BF16.
    pub wrong_type: Vec<Mismatch>,
    /// Parameters whose tensor holds a NaN or an infinity, and where.
    pub not_finite: Vec<String>,
    /// What to do about it, where that can be told.
    pub hint: Option<String>,
}

impl KeyReport {
    /// What speaks against loading, a line a kind; empty when nothing does. With `strict` off, what is missing and what
    /// is unexpected passes.
    pub fn problems(&self, strict: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |what: &str, items: Vec<String>| {
            if !items.is_empty() {
                let more = items.len().saturating_sub(LISTED);
                let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
                lines.push(format!("{} {what}: {}{tail}", items.len(), items[..items.len() - more].join(", ")));
            }
        };
        let near = |list: &[Unmatched]| list.iter().map(Unmatched::to_string).collect::<Vec<_>>();
        let both = |list: &[Mismatch]| {
            let line = |m: &Mismatch| format!("{} is {}, needed is {}", m.name, m.found, m.needed);
            list.iter().map(line).collect::<Vec<_>>()
        };
        if strict {
            add("missing", near(&self.missing));
            add("unexpected", near(&self.unexpected));
        }
        add("ambiguous", self.ambiguous.clone());
        add("of wrong shape", both(&self.wrong_shape));
        add("of wrong type", both(&self.wrong_type));
        add("not finite", self.not_finite.clone());
        if !lines.is_empty() {
            lines.extend(self.hint.clone());
        }
        lines
    }

    /// Looks for names that come near the unmatched ones.
    pub(super) fn find_nearest(&mut self) {
        let names = |list: &[Unmatched]| list.iter().map(|u| u.name.clone()).collect::<Vec<_>>();
        let (missing, unexpected) = (names(&self.missing), names(&self.unexpected));
        // Only for those that an error shows: two files of 900 names each would take seconds.
        self.missing.iter_mut().take(LISTED).for_each(|u| u.nearest = nearest(&u.name, &unexpected));
        self.unexpected.iter_mut().take(LISTED).for_each(|u| u.nearest = nearest(&u.name, &missing));
    }
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.nearest.as_slice() {
            [] => f.write_str(&self.name),
            near => write!(f, "{} (nearest: {})", self.name, near.join(" or ")),
        }
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "loaded {}", self.loaded.len())?;
        let mut count = |what: &str, n: usize| if n > 0 { write!(f, ", {what} {n}") } else { Ok(()) };
        count("of them renamed", self.renamed.len())?;
        count("replaced", self.replaced.len())?;
        count("ignored", self.ignored.len())?;
        if let Some(name) = &self.folded {
            write!(f, ", {name} summed over its input channels")?;
        }
        self.problems(true).iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

/// At most two of `names` that differ from `name` in at most a third of its letters.
fn nearest(name: &str, names: &[String]) -> Vec<String> {
    let limit = name.chars().count() / 3;
    let mut all: Vec<_> = names.iter().map(|n| (distance(name, n), n)).filter(|(d, _)| *d <= limit).collect();
    all.sort();
    all.into_iter().take(2).map(|(_, n)| n.clone()).collect()
}

/// Levenshtein's distance: letters inserted, removed or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_and_long_lists() {
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "abc")), (3, 3, 0));
        let names = ["layer1.0.conv2.weight", "layer1.0.conv1.weigth", "fc.weight"].map(String::from);
        assert_eq!(nearest("layer1.0.conv1.weight", &names), ["layer1.0.conv2.weight", "layer1.0.conv1.weigth"]);
        assert!(nearest("conv", &names).is_empty());

        let unmatched = |i| Unmatched { name: format!("p{i}"), nearest: Vec::new() };
        let report = KeyReport { missing: (0..11).map(unmatched).collect(), ..Default::default() };
        assert_eq!(report.problems(true), ["11 missing: p0, p1, p2, p3, p4, p5, p6, p7 and 3 more"]);
        assert!(report.problems(false).is_empty());
    }
}
