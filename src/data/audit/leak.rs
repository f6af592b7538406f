//! The leak gate: nobody, and no picture, in two parts of one division.
//!
//! A [`Division`] says in which part each image is (training, validation, test); [`Bonds`] say which images belong
//! together (one patient, one duplicate group). [`leaks`] finds what crosses, [`gate`] stops with exit code 5 or
//! records why it was allowed.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// In which part each image of a data set is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// As in "fold 1" or "published split".
    pub name: String,
    /// Names of the parts, none of which may share a patient with another.
    pub parts: Vec<String>,
    /// For each image the index of its part; `None` is in no part and crosses nothing.
    pub part_of: Vec<Option<usize>>,
}

/// What ties images together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bond {
    /// One patient.
    Patient,
    /// One radiograph under several names.
    Duplicates,
}

/// Which images belong together.
#[derive(Clone, Debug, Default)]
pub struct Bonds {
    /// For each image the number of its patient, where known.
    pub patients: Vec<Option<usize>>,
    /// For each image the number of its duplicate group, where it is in one.
    pub duplicates: Vec<Option<usize>>,
    /// For each image its name for messages (hashed, or as the user wishes).
    pub names: Vec<String>,
}

/// Groups that lie in two parts of one division.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Name of the division.
    pub division: String,
    /// What ties the images.
    pub bond: Bond,
    /// The two parts.
    pub parts: [String; 2],
    /// How many patients or duplicate groups lie in both.
    pub groups: usize,
    /// How many images these have in the two parts.
    pub images: usize,
    /// One image of either part for each of the first groups.
    pub examples: Vec<[String; 2]>,
}

/// Examples that a leak names at most.
const EXAMPLES: usize = 3;

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match (self.bond, self.groups) {
            (Bond::Patient, 1) => "patient is",
            (Bond::Patient, _) => "patients are",
            (Bond::Duplicates, 1) => "duplicate group is",
            (Bond::Duplicates, _) => "duplicate groups are",
        };
        let [a, b] = &self.parts;
        let examples: Vec<String> = self.examples.iter().map(|[x, y]| format!("{x} and {y}")).collect();
        write!(
            f,
            "{}: {} {what} in both {a} and {b} ({} images; for example {})",
            self.division,
            self.groups,
            self.images,
            examples.join("; ")
        )
    }
}

/// All that crosses, by division, then patients before duplicates, then parts.
///
/// # Panics
/// When a division or a bond does not speak of as many images as there are names.
#[track_caller]
pub fn leaks(divisions: &[Division], bonds: &Bonds) -> Vec<Leak> {
    let n = bonds.names.len();
    assert!(bonds.patients.len() == n && bonds.duplicates.len() == n, "bonds of {n} images");
    let mut found = Vec::new();
    for division in divisions {
        assert_eq!(division.part_of.len(), n, "{}: parts of as many images as there are", division.name);
        for (bond, group_of) in [(Bond::Patient, &bonds.patients), (Bond::Duplicates, &bonds.duplicates)] {
            // Group, then part, to images.
            let mut members: BTreeMap<usize, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
            for (i, (group, part)) in group_of.iter().zip(&division.part_of).enumerate() {
                if let (Some(group), Some(part)) = (group, part) {
                    members.entry(*group).or_default().entry(*part).or_default().push(i);
                }
            }
            let mut crossing: BTreeMap<(usize, usize), Vec<[&[usize]; 2]>> = BTreeMap::new();
            for parts in members.values() {
                let parts: Vec<(usize, &[usize])> = parts.iter().map(|(p, images)| (*p, images.as_slice())).collect();
                for (x, a) in parts.iter().enumerate() {
                    for b in &parts[x + 1..] {
                        crossing.entry((a.0, b.0)).or_default().push([a.1, b.1]);
                    }
                }
            }
            for ((a, b), groups) in crossing {
                let name = |images: &[usize]| bonds.names[images[0]].clone();
                found.push(Leak {
                    division: division.name.clone(),
                    bond,
                    parts: [division.parts[a].clone(), division.parts[b].clone()],
                    groups: groups.len(),
                    images: groups.iter().flatten().map(|images| images.len()).sum(),
                    examples: groups.iter().take(EXAMPLES).map(|both| both.map(name)).collect(),
                });
            }
        }
    }
    found
}

/// Lets pass what does not leak, and what leaks for a reason that is given; the reason comes back to be printed in the
/// report when it was needed.
///
/// # Errors
/// [`Error::Data`] (exit code 5) that counts and names what crosses; [`Error::Usage`] for a reason without letters.
pub fn gate(leaks: &[Leak], allow: Option<&str>) -> Result<Option<String>> {
    let allow = allow.map(str::trim);
    if allow.is_some_and(|reason| !reason.chars().any(char::is_alphabetic)) {
        return Err(Error::Usage("--allow-leak: a reason in words is needed; reports print it".into()));
    }
    if leaks.is_empty() {
        return Ok(None);
    }
    if let Some(reason) = allow {
        return Ok(Some(reason.to_string()));
    }
    const LINES: usize = 6;
    let mut lines: Vec<String> = leaks.iter().take(LINES).map(|l| format!("\n  {l}")).collect();
    if leaks.len() > LINES {
        lines.push(format!("\n  and {} more", leaks.len() - LINES));
    }
    Err(Error::Data(format!(
        "the split leaks: what a network learns by heart would count as skill{}\n\
         Divide by patient and duplicates (radiograd data split --group patient+duplicates), or give --allow-leak REASON.",
        lines.concat()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bonds() -> Bonds {
        Bonds {
            patients: vec![Some(0), Some(0), Some(1), None, None, Some(2)],
            duplicates: vec![None, None, Some(0), Some(0), None, None],
            names: (0..6).map(|i| format!("img-{i}")).collect(),
        }
    }

    fn division(parts: [i32; 6]) -> Division {
        Division {
            name: "fold 1".into(),
            parts: ["train", "val", "test"].map(String::from).to_vec(),
            part_of: parts.iter().map(|&p| usize::try_from(p).ok()).collect(),
        }
    }

    #[test]
    fn what_crosses_is_counted_and_named() {
        let clean = [division([0, 0, 1, 1, 2, 0]), division([0, -1, 1, -1, 2, 0])];
        assert_eq!(leaks(&clean, &bonds()), []);
        assert_eq!(gate(&[], Some("no need")).unwrap(), None);
        let found = leaks(&[division([0, 2, 0, 1, 2, 1])], &bonds());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].bond, found[0].groups, found[0].images), (Bond::Patient, 1, 2));
        assert_eq!(found[0].parts, ["train", "test"]);
        assert_eq!(found[1].examples, [["img-2".to_string(), "img-3".to_string()]]);
        let e = gate(&found, None).unwrap_err();
        assert_eq!(e.exit_code(), 5);
        let text = e.to_string();
        assert!(text.contains("1 patient is in both train and test (2 images; for example img-0 and img-1)"), "{text}");
        assert!(text.contains("1 duplicate group is in both train and val"), "{text}");
    }

    #[test]
    fn a_reason_opens_the_gate_and_an_empty_one_does_not() {
        let found = leaks(&[division([0, 2, -1, -1, -1, -1])], &bonds());
        assert_eq!(gate(&found, Some(" to show the gap ")).unwrap().as_deref(), Some("to show the gap"));
        for bad in ["", "  ", "--"] {
            assert_eq!(gate(&found, Some(bad)).unwrap_err().exit_code(), 2);
        }
    }
}
