//! The data audit: what a careful person checks before training.
//!
//! Read in this order: [`digest`] (SHA-256 of files and pixels, thumbnails), [`look`] (do two images look the same?),
//! [`groups`] (duplicate groups), [`reading`] (a data set with all that), [`leak`] (the gate between parts of a split),
//! [`facts`] (classes, views, ages, hashed names), [`predict`] and [`ridge`] (how far the label can be guessed without the
//! lungs), [`sections`] (the counts), [`result`] (the shape of `audit.json`), [`ledger`] (the manifest of digests, written
//! and verified), [`text`] (the summary on a terminal). The page is [`crate::report::audit`].

pub mod digest;
pub mod facts;
pub mod groups;
pub mod leak;
pub mod ledger;
pub mod look;
pub mod predict;
pub mod reading;
pub mod result;
pub mod ridge;
pub mod sections;
pub mod text;

pub use digest::ReadOptions;
pub use facts::ClassRule;
pub use leak::{Bonds, Division, Leak, gate, leaks};
pub use ledger::Ledger;
pub use reading::{GroupBy, Reading};
pub use result::Audit;

use crate::data::audit::leak::Bond;
use crate::error::Result;
use crate::eval::{CrossTable, Dropped};
use crate::report::html::DISCLAIMER;
use crate::report::text::{percent, thousands};

/// What an audit is asked.
#[derive(Clone, Debug, Default)]
pub struct AuditOptions {
    /// Which class an image belongs to.
    pub classes: ClassRule,
    /// Splits to compare, besides the one that the data's tables publish.
    pub divisions: Vec<Division>,
    /// Why leaks are allowed.
    pub allow_leak: Option<String>,
}

/// Audits a data set. A leak is no error here: it is in the result, for [`gate`].
///
/// # Errors
/// [`crate::Error::Internal`] only.
pub fn audit(reading: &Reading, options: &AuditOptions) -> Result<Audit> {
    let class_of: Vec<Option<String>> = reading.data.records.iter().map(|r| options.classes.of(r)).collect();
    let mut divisions: Vec<Division> = sections::published(reading).into_iter().collect();
    divisions.extend(options.divisions.iter().cloned());
    let leaks = leak::leaks(&divisions, &reading.bonds());
    let class = sections::ClassIndex::new(reading, &class_of);
    let duplicates = sections::duplicates(reading);
    let table = |name: &str, value: &dyn Fn(usize) -> String| class.table(name, value);
    let values: Vec<[String; 6]> = (0..reading.seen.len()).map(|i| predict::properties(reading, i)).collect();
    let property = |k: usize| {
        let values = &values;
        move |i: usize| values[i][k].clone()
    };
    let sources = class.sources_by_view(reading)?;
    let mut properties = Vec::new();
    for (k, name) in predict::PROPERTIES.into_iter().enumerate() {
        let t = table(name, &property(k))?;
        properties.push(result::Property {
            name: name.into(),
            values: t.values.len() as u64,
            cramers_v: t.cramers_v,
            cramers_v_corrected: t.cramers_v_corrected,
        });
    }
    let mut found = Audit {
        format: result::FORMAT.into(),
        program: format!("radiograd {}", env!("CARGO_PKG_VERSION")),
        disclaimer: DISCLAIMER.into(),
        data: reading.given(),
        names_shown: reading.names_shown,
        warnings: Vec::new(),
        images: reading.usable().len() as u64,
        sha256: Ledger::of(reading).sha256,
        unusable: sections::unusable(reading),
        dropped: reading
            .data
            .dropped
            .iter()
            .map(|(reason, n)| Dropped { reason: reason.clone(), rows: *n as u64 })
            .collect(),
        notes: reading.data.notes.clone(),
        sources: sections::sources(reading),
        class_rule: options.classes.describe(),
        unclassed: reading.usable().iter().filter(|&&i| class_of[i].is_none()).count() as u64,
        classes: sections::classes(reading, &class_of),
        patients: sections::patients(reading, &class_of),
        shared: sections::shared(reading, &duplicates),
        views: sections::views(reading),
        ages: sections::ages(reading),
        properties,
        tables: vec![table("source", &property(0))?, table("view", &property(1))?, sources],
        predictions: predict::predictions(reading, &class_of)?,
        divisions: divisions.iter().map(|d| d.name.clone()).collect(),
        leak_allowed: options.allow_leak.as_ref().filter(|_| !leaks.is_empty()).map(|r| r.trim().to_string()),
        leaks,
        duplicates,
    };
    found.warnings = warnings(&found);
    Ok(found)
}

/// What a reader should know before any accuracy on this data, the worst first.
fn warnings(a: &Audit) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for leak in &a.leaks {
        let what = if leak.bond == Bond::Patient { "patients" } else { "duplicates" };
        let why = a.leak_allowed.as_ref().map_or(String::new(), |r| format!(" Allowed, because: {r}."));
        out.push(format!("Leak of {what}. {leak}.{why}"));
    }
    if !a.unusable.is_empty() {
        out.push(format!("{} images cannot be used; see the list.", a.unusable.len()));
    }
    let d = &a.duplicates;
    if d.conflicts > 0 {
        out.push(format!(
            "{} of {} duplicate groups have conflicting findings: what is or looks like one radiograph is labelled differently.",
            d.conflicts,
            d.groups.len()
        ));
    }
    if d.across_patients > 0 {
        out.push(format!(
            "{} duplicate groups hold images of different patients by the tables: a split by patient alone can leak.",
            d.across_patients
        ));
    }
    if a.patients.with_both_sexes > 0 {
        let (n, have) =
            (a.patients.with_both_sexes, if a.patients.with_both_sexes == 1 { "patient has" } else { "patients have" });
        out.push(format!("{n} {have} both sexes in the tables."));
    }
    out.extend(a.tables.iter().take(2).filter_map(CrossTable::warning));
    for p in &a.predictions {
        if p.from == "8 x 8 thumbnail" && p.interval.low > p.majority + 0.05 {
            out.push(format!(
                "From thumbnails of 8 x 8 pixels, on which no finding can be seen, the {} is guessed right in {} (always the \
                 largest: {}).",
                p.of,
                percent(p.accuracy),
                percent(p.majority)
            ));
        }
    }
    if a.views.lateral + a.views.ct > 0 {
        let (lateral, ct) = (thousands(a.views.lateral), thousands(a.views.ct));
        out.push(format!("Not all views are frontal: {lateral} lateral, {ct} CT slices."));
    }
    let grown = a.images - a.ages.children - a.ages.not_stated;
    if a.ages.children > 0 && grown > 0 {
        out.push(format!(
            "Children ({} images) and adults ({} by their stated age) are together: their chests differ.",
            thousands(a.ages.children),
            thousands(grown)
        ));
    }
    if a.ages.implausible > 0 {
        out.push(format!("{} images have an age above {} years.", a.ages.implausible, facts::OLDEST));
    }
    let unknown: Vec<&str> = a.sources.iter().filter(|s| s.licence.is_none()).map(|s| s.name.as_str()).collect();
    if !unknown.is_empty() {
        out.push(format!("No licence is known of {}.", unknown.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests;
