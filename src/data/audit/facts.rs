//! What the rows of a table say, in a form that can be counted: classes, views, ages; and names that tell nobody who.

use crate::data::table::{Record, plain};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which class an image belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRule {
    /// Class name and the findings that make it; empty for the rule of [`ClassRule::of`] without names.
    pub named: Vec<(String, Vec<String>)>,
}

impl ClassRule {
    /// Reads `NAME=FINDING,FINDING` texts.
    ///
    /// # Errors
    /// [`Error::Usage`] for a text of another form, or a name that is there twice.
    pub fn parse(texts: &[String]) -> Result<ClassRule> {
        let mut rule = ClassRule::default();
        for text in texts {
            let (name, findings) = text.split_once('=').unwrap_or((text, text));
            let findings: Vec<String> = findings.split(',').map(plain).filter(|f| !f.is_empty()).collect();
            let name = name.trim();
            if name.is_empty() || findings.is_empty() {
                return Err(Error::Usage(format!("class {text:?}: NAME=FINDING or NAME=FINDING,FINDING is needed")));
            }
            if rule.named.iter().any(|(n, _)| n == name) {
                return Err(Error::Usage(format!("class {name:?} is given twice")));
            }
            rule.named.push((name.to_string(), findings));
        }
        Ok(rule)
    }

    /// The class of a record. With names: the one class that has one of its findings, none where two classes do or no
    /// class does. Without: its finding in lower case, "normal" for "No Finding", "several findings" for more than one.
    pub fn of(&self, record: &Record) -> Option<String> {
        let labels: Vec<String> = record.labels().collect();
        if self.named.is_empty() {
            return match labels.as_slice() {
                [] => None,
                [one] if one == "no finding" || one == "normal" => Some("normal".into()),
                [one] => Some(one.clone()),
                _ => Some("several findings".into()),
            };
        }
        let mut fits = self.named.iter().filter(|(_, findings)| labels.iter().any(|l| findings.contains(l)));
        match (fits.next(), fits.next()) {
            (Some((name, _)), None) => Some(name.clone()),
            _ => None,
        }
    }

    /// The rule in words, for reports.
    pub fn describe(&self) -> String {
        if self.named.is_empty() {
            return "the finding as the source has it; 'No Finding' and 'Normal' are one class, and so are all images with \
                    more than one finding"
                .into();
        }
        let one = |(name, findings): &(String, Vec<String>)| format!("{name}: {}", findings.join(" or "));
        self.named.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// From where an image looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// PA: the beam enters at the back, as with a standing patient.
    Pa,
    /// AP: the beam enters at the front, as with a patient in bed.
    Ap,
    /// Frontal, PA or AP not said.
    Frontal,
    /// From the side.
    Lateral,
    /// A slice of a CT.
    Ct,
    /// Something else.
    Other,
    /// The table does not say.
    NotStated,
}

impl View {
    /// The view that a table's cell means.
    pub fn of(cell: Option<&str>) -> View {
        let text = cell.unwrap_or_default().trim().to_ascii_uppercase();
        let is = |list: &[&str]| list.contains(&text.as_str());
        let begins = |list: &[&str]| list.iter().any(|b| text.starts_with(b));
        match text.as_str() {
            "" => View::NotStated,
            _ if begins(&["PA"]) => View::Pa,
            _ if begins(&["AP"]) => View::Ap,
            _ if begins(&["FRONTAL"]) => View::Frontal,
            _ if is(&["L", "LL", "RL", "LAT"]) || begins(&["LATERAL", "LEFT LATERAL", "RIGHT LATERAL"]) => {
                View::Lateral
            }
            _ if begins(&["AXIAL", "CORONAL", "SAGITTAL", "CT"]) => View::Ct,
            _ => View::Other,
        }
    }

    /// As tables show it.
    pub fn name(self) -> &'static str {
        match self {
            View::Pa => "PA",
            View::Ap => "AP",
            View::Frontal => "frontal",
            View::Lateral => "lateral",
            View::Ct => "CT",
            View::Other => "other view",
            View::NotStated => "not stated",
        }
    }

    /// Whether the image is a radiograph from the front or the back, or nothing says otherwise.
    pub fn may_be_frontal(self) -> bool {
        matches!(self, View::Pa | View::Ap | View::Frontal | View::NotStated)
    }
}

/// Years, from what tables have in a column of ages: `65`, `058Y`, `006M`, `012D`, `50+`, `early 40s`.
pub fn years(cell: Option<&str>) -> Option<f64> {
    let text = cell?;
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let rest = &text[start..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let number: f64 = rest[..end].trim_end_matches('.').parse().ok()?;
    let unit = rest[end..].trim_start().chars().next().unwrap_or('y').to_ascii_lowercase();
    Some(match unit {
        'm' => number / 12.0,
        'w' => number / 52.18,
        'd' => number / 365.25,
        _ => number,
    })
}

/// Below this age a patient counts as a child, in years.
pub const ADULT: f64 = 18.0;
/// A larger age is an error of the table (NIH has 414).
pub const OLDEST: f64 = 120.0;

/// The age in words for tables: "child", a decade, "not stated".
pub fn age_group(years: Option<f64>) -> String {
    match years {
        None => "not stated".into(),
        Some(y) if y < ADULT => "under 18".into(),
        Some(y) if y < 30.0 => "18 to 29".into(),
        Some(y) if y < 80.0 => format!("{} to {}", 10 * (y / 10.0) as u32, 10 * (y / 10.0) as u32 + 9),
        Some(y) if y <= OLDEST => "80 and over".into(),
        Some(_) => "implausible".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let r = |finding: &str| Record { finding: finding.into(), ..Record::default() };
        let all = ClassRule::default();
        let of = |f: &str| all.of(&r(f)).unwrap_or_default();
        assert_eq!([of("No Finding"), of("normal"), of("COVID-19")], ["normal", "normal", "covid-19"]);
        assert_eq!(
            [of("Mass|Edema"), of(" Pleural_Thickening"), of("")],
            ["several findings", "pleural thickening", ""]
        );
        let texts = ["ill=Mass,COVID-19".to_string(), "No Finding".into()];
        let rule = ClassRule::parse(&texts).unwrap();
        let of = |f: &str| rule.of(&r(f));
        assert_eq!(of("mass|edema").as_deref(), Some("ill"));
        assert_eq!(of("no finding").as_deref(), Some("No Finding"));
        assert_eq!((of("Mass|No Finding"), of("Edema")), (None, None));
        for bad in ["=a", "a=", ""] {
            assert_eq!(ClassRule::parse(&[bad.into()]).unwrap_err().exit_code(), 2, "{bad}");
        }
        assert!(ClassRule::parse(&["a=x".into(), "a=y".into()]).is_err());
    }

    #[test]
    fn views() {
        let cases = [
            ("PA", View::Pa),
            ("ap erect", View::Ap),
            ("AP Supine", View::Ap),
            ("L", View::Lateral),
            ("Lateral", View::Lateral),
            ("Axial", View::Ct),
            ("Coronal", View::Ct),
            ("", View::NotStated),
            ("FRONTAL", View::Frontal),
            ("oblique", View::Other),
        ];
        for (cell, want) in cases {
            assert_eq!(View::of(Some(cell)), want, "{cell}");
        }
        assert_eq!(View::of(None), View::NotStated);
        assert!(View::NotStated.may_be_frontal() && !View::Ct.may_be_frontal());
    }

    #[test]
    fn ages() {
        let cases = [
            ("65", 65.0),
            ("058Y", 58.0),
            ("006M", 0.5),
            ("50+", 50.0),
            ("early 40s", 40.0),
            ("36.5", 36.5),
            ("12 months", 1.0),
        ];
        for (cell, want) in cases {
            assert_eq!(years(Some(cell)), Some(want), "{cell}");
        }
        assert!((years(Some("073D")).unwrap() - 0.2).abs() < 1e-3);
        assert_eq!((years(Some("adult")), years(None)), (None, None));
        let groups = [Some(0.5), Some(17.9), Some(29.0), Some(45.0), Some(85.0), Some(414.0), None].map(age_group);
        assert_eq!(
            groups,
            ["under 18", "under 18", "18 to 29", "40 to 49", "80 and over", "implausible", "not stated"]
        );
    }
}
