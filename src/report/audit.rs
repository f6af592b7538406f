//! `audit.html`: one page for a data audit, self-contained like [`crate::report::html`]. It holds no picture and, unless
//! the audit was told to show names, no file name.

use crate::data::audit::groups::Kind;
use crate::data::audit::look::Relation;
use crate::data::audit::result::{Audit, Group, Prediction, Source};
use crate::eval::CrossTable;
use crate::report::encode::{escape, row, table};
use crate::report::html::{cross_table, first, page, section};
use crate::report::text::{ends, percent, thousands};

/// Groups of duplicates that the page lists; all are in the JSON file.
const GROUPS: usize = 60;
/// Unusable images that the page lists.
const UNUSABLE: usize = 60;

/// The page.
pub fn render(a: &Audit) -> String {
    let mut body = tiles(a) + &first(&a.warnings);
    body += &section("Sources and classes", &sources(a));
    body += &section("Guessed without the lungs", &predictions(a));
    body += &section("Duplicates", &duplicates(a));
    body += &section("Patients, views, ages", &people(a));
    body += &section("Splits", &splits(a));
    if !a.unusable.is_empty() {
        body += &section("Unusable images", &unusable(a));
    }
    body += &section("About this audit", &about(a));
    page(&format!("Data audit: {}", a.data.join(", ")), &body, &a.program)
}

fn tiles(a: &Audit) -> String {
    let tile = |figure: String, note: String| {
        format!("<div><p class=\"headline\">{figure}</p><p class=\"note\">{note}</p></div>\n")
    };
    let d = &a.duplicates;
    let mut out = tile(
        thousands(a.images),
        format!(
            "images of {} known patients; {} unusable",
            thousands(a.patients.known),
            thousands(a.unusable.len() as u64)
        ),
    );
    out +=
        &tile(thousands(d.groups.len() as u64), format!("duplicate groups, {} with conflicting findings", d.conflicts));
    if let Some(v) = a.tables.first().and_then(|t| t.cramers_v) {
        out += &tile(
            format!("{v:.2}"),
            "Cramer's V of class and source (0 independent, 1 one determines the other)".into(),
        );
    }
    let best = a.predictions.iter().find(|p| p.of == "class" && p.from == "all metadata");
    if let Some(p) = best {
        let note = format!("class guessed from metadata alone (always the largest class: {})", percent(p.majority));
        out += &tile(percent(p.accuracy), note);
    }
    let leaks = if a.leaks.is_empty() { "none".to_string() } else { thousands(a.leaks.len() as u64) };
    out += &tile(leaks, format!("leaks between parts of a split ({} splits compared)", a.divisions.len()));
    format!("<section><div class=\"tiles\">\n{out}</div></section>\n")
}

fn sources(a: &Audit) -> String {
    let one = |s: &Source| {
        let side =
            if s.side[0] == s.side[1] { s.side[0].to_string() } else { format!("{} to {}", s.side[0], s.side[1]) };
        let formats: Vec<String> = s.formats.iter().map(|f| format!("{} {}", thousands(f.images), f.name)).collect();
        row(
            "",
            &[
                escape(&s.name),
                thousands(s.images),
                thousands(s.patients),
                thousands(s.without_patient),
                side,
                escape(&formats.join(", ")),
                format!("{:.2} ± {:.2}", s.gray[0], s.gray[1]),
            ],
        )
    };
    let rows: String = a.sources.iter().map(one).collect();
    let head = ["source", "images", "patients", "without patient", "longer side", "format", "gray, 0 to 1"];
    let mut out = table(&head, &rows);
    let licence = |s: &Source| {
        let text = s.licence.as_deref().unwrap_or("not known");
        let note = if s.licence.is_some() && s.licence_assumed {
            " <span class=\"note\">(of the public collection with this folder's name; not stated for the folder itself)</span>"
        } else {
            ""
        };
        format!("<dt>{}</dt><dd>{}{note}</dd>\n", escape(&s.name), escape(text))
    };
    out += &format!("<h3>Licences</h3>\n<dl>\n{}</dl>\n", a.sources.iter().map(licence).collect::<String>());
    let rows: String = a
        .classes
        .iter()
        .map(|c| row("", &[escape(&c.name), thousands(c.images), thousands(c.patients), thousands(c.sources)]))
        .collect();
    out += &format!(
        "<h3>Classes</h3>\n<p class=\"note\">Class: {}. {}</p>\n{}",
        escape(&a.class_rule),
        if a.unclassed > 0 { format!("{} images belong to none.", thousands(a.unclassed)) } else { String::new() },
        table(&["class", "images", "patients or single images", "sources"], &rows)
    );
    for t in a.tables.iter().take(2) {
        out += &cross_table(t, &a.warnings);
    }
    if let Some(t) = a.tables.get(2) {
        out += &format!("<h3>View and source</h3>\n{}", plain_table("view", t));
    }
    let v = |v: Option<f64>| v.map_or("undefined".into(), |v| format!("{v:.2}"));
    let rows: String = a
        .properties
        .iter()
        .map(|p| row("", &[escape(&p.name), thousands(p.values), v(p.cramers_v), v(p.cramers_v_corrected)]))
        .collect();
    let head = ["property", "values", "Cramer's V with the class", "corrected for bias"];
    out + &format!("<h3>All properties</h3>\n{}", table(&head, &rows))
}

/// Counts with row names under `corner`.
fn plain_table(corner: &str, t: &CrossTable) -> String {
    let head: Vec<String> = std::iter::once(corner.to_string()).chain(t.values.iter().map(|v| escape(v))).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let one = |(name, counts): (&String, &Vec<u64>)| {
        let cells: Vec<String> = std::iter::once(escape(name)).chain(counts.iter().map(|n| thousands(*n))).collect();
        row("", &cells)
    };
    table(&head, &t.classes.iter().zip(&t.counts).map(one).collect::<String>())
}

fn predictions(a: &Audit) -> String {
    let Some(p) = a.predictions.first() else {
        return "<p>Too few images or classes to cross-validate a guess.</p>\n".into();
    };
    let one = |p: &Prediction| {
        row(
            "",
            &[
                format!("{} from {}", escape(&p.of), escape(&p.from)),
                format!("{} {}", percent(p.accuracy), ends(&p.interval)),
                percent(p.majority),
                percent(p.balanced),
                p.classes.to_string(),
                thousands(p.images),
            ],
        )
    };
    let rows: String = a.predictions.iter().map(one).collect();
    let head = ["guess", "accuracy, 95 % interval", "always the largest", "mean over classes", "classes", "images"];
    format!(
        "<p>What these guesses reach, a network can reach without having learnt a disease.</p>\n<figure>{}</figure>\n{}\
         <p class=\"note\">{}-fold cross-validation, stratified, grouped by patient and duplicates. Single properties: the most \
         frequent class of each value; all metadata and thumbnails: a ridge classifier. {} intervals over images: images \
         of one patient are not independent, so they are somewhat too narrow. Classes with fewer than {} images are one \
         class here.</p>\n",
        chart(&a.predictions),
        table(&head, &rows),
        p.folds,
        p.interval.method,
        crate::data::audit::predict::SMALL
    )
}

/// A bar a guess with its interval, and a mark where always guessing the largest class ends.
fn chart(all: &[Prediction]) -> String {
    let (left, width, step) = (230, 640, 28);
    let height = 34 + step * all.len() as i32 + 44;
    let x = |share: f64| f64::from(left) + share * f64::from(width - 60);
    let mut out = String::new();
    let bottom = 20 + step * all.len() as i32;
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        out += &format!(
            "<line x1=\"{0:.1}\" y1=\"14\" x2=\"{0:.1}\" y2=\"{bottom}\" stroke=\"#e1e1e1\"/><text x=\"{0:.1}\" y=\"{1}\" \
             text-anchor=\"middle\" fill=\"#282828\">{2:.0} %</text>\n",
            x(share),
            bottom + 16,
            100.0 * share
        );
    }
    for (i, p) in all.iter().enumerate() {
        let y = 20 + step * i as i32;
        let colour = if p.of == "class" { "#0072b2" } else { "#009e73" };
        let (name, label) = (format!("{} from {}", escape(&p.of), escape(&p.from)), left - 10);
        let (low, high, length) = (x(p.interval.low), x(p.interval.high), x(p.accuracy) - f64::from(left));
        let (base, middle, mark) = (y + 12, y + 8, x(p.majority));
        let (top, end) = (y - 3, y + 19);
        out += &format!(
            "<text x=\"{label}\" y=\"{base}\" text-anchor=\"end\" fill=\"#282828\">{name}</text>\
             <rect x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"{colour}\"/>\
             <line x1=\"{low:.1}\" y1=\"{middle}\" x2=\"{high:.1}\" y2=\"{middle}\" stroke=\"#000000\" stroke-width=\"2\"/>\
             <line x1=\"{mark:.1}\" y1=\"{top}\" x2=\"{mark:.1}\" y2=\"{end}\" stroke=\"#d55e00\" stroke-width=\"3\"/>\n"
        );
    }
    let key = bottom + 36;
    out += &format!(
        "<line x1=\"{0}\" y1=\"{1}\" x2=\"{0}\" y2=\"{2}\" stroke=\"#d55e00\" stroke-width=\"3\"/><text x=\"{3}\" y=\"{4}\" \
         fill=\"#282828\">always the largest class; the black line is the 95 % interval</text>\n",
        left,
        key - 12,
        key + 4,
        left + 10,
        key
    );
    let total = left + width;
    format!(
        "<svg width=\"{total}\" height=\"{height}\" viewBox=\"0 0 {total} {height}\" role=\"img\" aria-label=\"Accuracy of guesses\" \
         font-family=\"sans-serif\" font-size=\"13\">\n{out}</svg>"
    )
}

fn duplicates(a: &Audit) -> String {
    let d = &a.duplicates;
    let mut out = format!(
        "<p>{} copies of files, {} other files with the pixels of an earlier one, {} pairs that look the same. Together {} \
         groups of {} images; {} hold several patients by the tables, {} have conflicting findings.</p>\n",
        thousands(d.equal_files),
        thousands(d.equal_pixels),
        thousands(d.alike_pairs),
        thousands(d.groups.len() as u64),
        thousands(d.images),
        d.across_patients,
        d.conflicts
    );
    if !a.shared.is_empty() {
        let rows: String = a
            .shared
            .iter()
            .map(|s| {
                let pair = format!("{} and {}", escape(&s.sources[0]), escape(&s.sources[1]));
                let names =
                    if s.names > 0 { format!("{} ({} look the same)", s.names, s.names_alike) } else { "none".into() };
                row("", &[pair, thousands(s.pictures), names, thousands(s.conflicts)])
            })
            .collect();
        let head = ["sources", "pictures in both", "first names in both", "conflicting findings"];
        out += &format!("<h3>Shared by two sources</h3>\n{}", table(&head, &rows));
    }
    let rows: String = d.groups.iter().take(GROUPS).map(group).collect();
    if !rows.is_empty() {
        let head = ["why, correlation", "images: source, finding, size"];
        out += &format!("<h3>Groups</h3>\n{}", table(&head, &rows));
    }
    if d.groups.len() > GROUPS {
        out += &format!("<p class=\"note\">{} of {} groups; all are in audit.json.</p>\n", GROUPS, d.groups.len());
    }
    out + &format!(
        "<p class=\"note\">Two images look the same when their locally normalised thumbnails of 32 x 32 pixels correlate by {:.2} \
         or more: brightness, contrast, gamma, size and compression do not matter, a border of 2 % cut off does. Negatives \
         and mirror images are found too. A chain of such pairs is one group.</p>\n",
        d.alike_from
    )
}

fn group(g: &Group) -> String {
    const SHOWN: usize = 6;
    let image = |m: &crate::data::audit::result::Member| {
        let split = m.split.as_ref().map_or(String::new(), |s| format!(", {}", escape(s)));
        format!(
            "<code>{}</code> ({}, {}, {} x {}{split})",
            escape(&m.name),
            escape(&m.source),
            escape(&m.finding),
            m.size[0],
            m.size[1]
        )
    };
    let mut images: Vec<String> = g.images.iter().take(SHOWN).map(image).collect();
    if g.images.len() > SHOWN {
        images.push(format!("and {} more", g.images.len() - SHOWN));
    }
    let kind = |k: &Kind| match k {
        Kind::File => "same file",
        Kind::Pixels => "same pixels",
        Kind::Look(Relation::Same) => "looks the same",
        Kind::Look(Relation::Negative) => "negative",
        Kind::Look(Relation::Mirrored) => "mirrored",
        Kind::Look(Relation::MirroredNegative) => "mirrored negative",
    };
    let kinds: Vec<&str> = g.kinds.iter().map(kind).collect();
    let mut remarks = vec![format!("{}, {:.3}", kinds.join(", "), g.correlation)];
    if g.conflict {
        remarks.push("<strong>conflicting findings</strong>".to_string());
    }
    if g.patients > 1 {
        remarks.push(format!("{} patients", g.patients));
    }
    // Findings can be long: this cell breaks its lines, or the table would be wider than the page.
    let images = format!("<div style=\"white-space: normal; text-align: left\">{}</div>", images.join("<br>"));
    row("", &[remarks.join("<br>"), images])
}

fn people(a: &Audit) -> String {
    let p = &a.patients;
    let pairs = [
        ("Known patients", thousands(p.known)),
        (
            "With several images",
            format!("{} ({} images, at most {})", thousands(p.with_several), thousands(p.images_of_those), p.most),
        ),
        ("In several sources", thousands(p.in_several_sources)),
        ("With images of several classes", thousands(p.with_several_classes)),
        ("With both sexes in the tables", thousands(p.with_both_sexes)),
        ("Images without a patient", thousands(p.unknown)),
        ("Lateral views", thousands(a.views.lateral)),
        ("CT slices", thousands(a.views.ct)),
        ("View not stated", thousands(a.views.not_stated)),
        (
            "Images of children",
            format!(
                "{} ({} because the whole collection is of children)",
                thousands(a.ages.children),
                thousands(a.ages.children_by_collection)
            ),
        ),
        ("Age not stated", thousands(a.ages.not_stated)),
        ("Implausible age", thousands(a.ages.implausible)),
    ];
    let list: String = pairs.iter().map(|(k, v)| format!("<dt>{k}</dt><dd>{v}</dd>\n")).collect();
    let counts = |title: &str, all: &[crate::data::audit::result::Count]| {
        let rows: String = all.iter().map(|c| row("", &[escape(&c.name), thousands(c.images)])).collect();
        format!("<h3>{title}</h3>\n{}", table(&[&title.to_lowercase(), "images"], &rows))
    };
    format!("<dl>\n{list}</dl>\n{}{}", counts("View", &a.views.counts), counts("Age", &a.ages.counts))
}

fn splits(a: &Audit) -> String {
    if a.divisions.is_empty() {
        return "<p>No split was given and the tables publish none.</p>\n".into();
    }
    let mut out = format!("<p>Compared: {}.</p>\n", escape(&a.divisions.join(", ")));
    if a.leaks.is_empty() {
        return out + "<p>No known patient and no duplicate group is in two parts.</p>\n";
    }
    if let Some(reason) = &a.leak_allowed {
        out += &format!("<p><strong>Leaks were allowed, because: {}</strong></p>\n", escape(reason));
    }
    let items: String = a.leaks.iter().map(|l| format!("<li>{}</li>\n", escape(&l.to_string()))).collect();
    out + &format!("<ul>\n{items}</ul>\n")
}

fn unusable(a: &Audit) -> String {
    let one = |u: &crate::data::audit::result::Unusable| {
        row("", &[format!("<code>{}</code>", escape(&u.name)), escape(&u.source), escape(&u.reason)])
    };
    let rows: String = a.unusable.iter().take(UNUSABLE).map(one).collect();
    let more = a.unusable.len().saturating_sub(UNUSABLE);
    let note = if more > 0 { format!("<p class=\"note\">and {more} more</p>\n") } else { String::new() };
    table(&["image", "source", "reason"], &rows) + &note
}

fn about(a: &Audit) -> String {
    let mut out = String::new();
    if !a.dropped.is_empty() {
        let rows: String = a.dropped.iter().map(|d| row("", &[escape(&d.reason), thousands(d.rows)])).collect();
        out += &format!("<h3>Left out</h3>\n{}", table(&["reason", "rows"], &rows));
    }
    if !a.notes.is_empty() {
        let items: String = a.notes.iter().map(|n| format!("<li>{}</li>\n", escape(n))).collect();
        out += &format!("<h3>Remarks</h3>\n<ul>\n{items}</ul>\n");
    }
    let names = if a.names_shown {
        "Names are those of the files, which can hold patients' numbers: this page is not for publication."
    } else {
        "Names are hashes over an image's content and path; digests.json, which stays beside the data, tells the files."
    };
    out + &format!("<p>SHA-256 of the data: <code>{}</code></p>\n<p class=\"note\">{names}</p>\n", escape(&a.sha256))
}
