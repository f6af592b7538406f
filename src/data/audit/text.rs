//! The audit on a terminal: one screen, the findings first.

use crate::data::audit::result::{Audit, Prediction};
use crate::report::text::{ends, percent, thousands};
use std::fmt::Write;

/// Groups of duplicates that are listed.
const GROUPS: usize = 12;

/// The summary of an audit. No file names unless the audit was told to show them.
pub fn summary(a: &Audit) -> String {
    let mut out = format!("Audit of {}\n", a.data.join(", "));
    _ = writeln!(out, "{} images, SHA-256 {}", thousands(a.images), a.sha256.get(..16).unwrap_or(&a.sha256));
    for d in &a.dropped {
        _ = writeln!(out, "left out: {} x {}", d.rows, d.reason);
    }
    for note in &a.notes {
        _ = writeln!(out, "note: {note}");
    }
    for u in a.unusable.iter().take(GROUPS) {
        _ = writeln!(out, "unusable: {} ({}): {}", u.name, u.source, u.reason);
    }
    if a.unusable.len() > GROUPS {
        _ = writeln!(out, "unusable: and {} more", a.unusable.len() - GROUPS);
    }
    sources(a, &mut out);
    _ = writeln!(out, "\nClass by source ({})", a.class_rule);
    for t in a.tables.iter().take(2) {
        _ = write!(out, "{t}");
        let v = |v: Option<f64>| v.map_or("undefined".into(), |v| format!("{v:.2}"));
        _ = writeln!(out, "  Cramer's V {}, corrected for bias {}\n", v(t.cramers_v), v(t.cramers_v_corrected));
    }
    people(a, &mut out);
    duplicates(a, &mut out);
    predictions(a, &mut out);
    if !a.divisions.is_empty() {
        let verdict = if a.leaks.is_empty() { "no patient and no duplicate group crosses" } else { "LEAKS, see below" };
        _ = writeln!(out, "\nSplits compared: {}: {verdict}", a.divisions.join(", "));
    }
    if !a.warnings.is_empty() {
        out.push('\n');
    }
    for w in &a.warnings {
        _ = writeln!(out, "Warning: {w}");
    }
    _ = writeln!(out, "\n{}", a.disclaimer);
    out
}

fn sources(a: &Audit, out: &mut String) {
    let width = a.sources.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).max(6) + 2;
    _ = writeln!(
        out,
        "\n{:<width$}{:>8}{:>10}{:>17}{:>16}  licence",
        "source", "images", "patients", "without patient", "longer side"
    );
    for s in &a.sources {
        let side =
            if s.side[0] == s.side[1] { s.side[0].to_string() } else { format!("{} to {}", s.side[0], s.side[1]) };
        let licence = s.licence.as_deref().unwrap_or("not known");
        let assumed = if s.licence.is_some() && s.licence_assumed {
            format!(" (of the collection {})", s.collection)
        } else {
            String::new()
        };
        _ = writeln!(
            out,
            "{:<width$}{:>8}{:>10}{:>17}{side:>16}  {licence}{assumed}",
            s.name, s.images, s.patients, s.without_patient
        );
    }
}

fn people(a: &Audit, out: &mut String) {
    let p = &a.patients;
    _ = writeln!(
        out,
        "Patients: {} known; {} have several images ({} images, at most {}); {} are in several sources; {} have images of \
         several classes; {} images have no patient",
        thousands(p.known),
        thousands(p.with_several),
        thousands(p.images_of_those),
        p.most,
        p.in_several_sources,
        p.with_several_classes,
        thousands(p.unknown)
    );
    let list = |counts: &[crate::data::audit::result::Count]| {
        counts.iter().map(|c| format!("{} {}", c.name, thousands(c.images))).collect::<Vec<_>>().join(", ")
    };
    _ = writeln!(out, "Views: {}", list(&a.views.counts));
    let ages = &a.ages;
    _ = writeln!(
        out,
        "Ages: {} images of children ({} because the whole collection is of children), {} not stated, {} implausible",
        thousands(ages.children),
        thousands(ages.children_by_collection),
        thousands(ages.not_stated),
        ages.implausible
    );
}

fn duplicates(a: &Audit, out: &mut String) {
    let d = &a.duplicates;
    _ = writeln!(
        out,
        "\nDuplicates: {} equal files, {} equal pixels in other files, {} pairs that look the same (correlation {:.2} and \
         above); {} groups of {} images, {} across patients, {} with conflicting findings",
        d.equal_files,
        d.equal_pixels,
        d.alike_pairs,
        d.alike_from,
        d.groups.len(),
        d.images,
        d.across_patients,
        d.conflicts
    );
    for s in &a.shared {
        let names = if s.names > 0 {
            format!("; {} first names in both, of which {} look the same", s.names, s.names_alike)
        } else {
            String::new()
        };
        _ = writeln!(
            out,
            "  {} and {} share {} pictures{names}; {} with conflicting findings",
            s.sources[0], s.sources[1], s.pictures, s.conflicts
        );
    }
    for g in d.groups.iter().filter(|g| g.conflict || g.patients > 1).take(GROUPS) {
        let one = |m: &crate::data::audit::result::Member| format!("{} ({}, {})", m.name, m.source, m.finding);
        let images: Vec<String> = g.images.iter().take(4).map(one).collect();
        let more = if g.images.len() > 4 { format!(" and {} more", g.images.len() - 4) } else { String::new() };
        let kind = if g.conflict { "conflict" } else { "patients" };
        _ = writeln!(out, "  {kind} {:.3}: {}{more}", g.correlation, images.join(" = "));
    }
    let listed = d.groups.iter().filter(|g| g.conflict || g.patients > 1).count();
    if listed > GROUPS {
        _ = writeln!(out, "  and {} more such groups", listed - GROUPS);
    }
}

fn predictions(a: &Audit, out: &mut String) {
    let Some(first) = a.predictions.first() else { return };
    _ = writeln!(
        out,
        "\nGuessed without the lungs ({}-fold cross-validation, grouped by patient and duplicates; 95 % {} intervals over images)",
        first.folds, first.interval.method
    );
    for p in &a.predictions {
        let Prediction { of, from, .. } = p;
        _ = writeln!(
            out,
            "  {of:<7} from {from:<16} {:>7} {:<13} mean over {} classes {:>7}; always the largest {:>7}",
            percent(p.accuracy),
            ends(&p.interval),
            p.classes,
            percent(p.balanced),
            percent(p.majority)
        );
    }
}
