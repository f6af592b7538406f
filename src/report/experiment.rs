//! The page of an experiment: the table of a paper's figures beside ours where there is a paper, then for each cell accuracy, confusion, what is
//! left without lungs, where it looked, curves and run card. One file, nothing is loaded.

use crate::error::Result;
use crate::eval::assessment::{AssessOptions, Assessment};
use crate::eval::{CamSummary, CrossTable};
use crate::experiment::shortcut::{Reached, Shortcuts, TOLERATED};
use crate::experiment::{CellResult, Figure, Report, Row};
use crate::report::chart::{self, CurveRange};
use crate::report::curves;
use crate::report::encode::{definitions, escape, row, table};
use crate::report::gallery::{gallery_figure, heat_row, heat_table};
use crate::report::html::{cross_table, first, page, section};
use crate::report::text::{bytes, duration, ends, percent, thousands};

/// The page of a run.
///
/// # Errors
/// As the charts.
pub fn render(report: &Report) -> Result<String> {
    let mut body = first(&report.warnings);
    if !report.rows.is_empty() {
        body += &section("The paper's figures and ours", &claims(report));
    }
    for (title, text) in &report.findings.extras {
        body += &section(&escape(title), &format!("<pre>{}</pre>\n", escape(text)));
    }
    for cell in &report.findings.cells {
        body += &section(&escape(&cell.name), &one(cell)?);
    }
    body += &section("Run card", &card(report));
    let scale = if report.scale.is_empty() { String::new() } else { format!(" ({} run)", report.scale) };
    Ok(page(&format!("{}{scale}", report.title), &body, &report.program))
}

fn claims(report: &Report) -> String {
    let figure = |f: &Option<Figure>| f.as_ref().map_or("-".into(), |f| escape(&f.to_string()));
    let line = |r: &Row| {
        let cells =
            [escape(&r.what), escape(&r.paper), figure(&r.ours), figure(&r.leak_free)].map(|c| format!("<td>{c}</td>"));
        format!("<tr>{}<td class=\"text note\">{}</td></tr>\n", cells.concat(), escape(&r.note))
    };
    let rows: String = report.rows.iter().map(line).collect();
    let list = |title: &str, all: &[String]| match all {
        [] => String::new(),
        all => {
            let items: String = all.iter().map(|t| format!("<li>{}</li>\n", escape(t))).collect();
            format!("<h3>{title}</h3>\n<ul>\n{items}</ul>\n")
        }
    };
    format!(
        "<p>{}</p>\n{}<p class=\"note\">95 % intervals: Wilson's for shares of images (images of one patient are taken as independent, so \
         they are somewhat narrow), Student's t for means. \"By image\" divides as the paper does, where a patient's images can be in \
         training and test; \"by patient\" keeps patients and duplicates together. A dash: not run, or no patient has two images.</p>\n{}{}",
        escape(&report.citation),
        table(&["", "paper", "ours, by image", "ours, by patient", "note"], &rows),
        list("How this run is smaller than the paper", &report.reductions),
        list("Which readings ran", &report.readings)
    )
}

fn one(cell: &CellResult) -> Result<String> {
    let o = &cell.leak_free.overall;
    let mut out = format!("<p>{}</p>\n", escape(&cell.data));
    out += &format!(
        "<p class=\"headline\">{} <small>{}</small></p><p class=\"note\">accuracy on {} test images of {}, divided by patient</p>\n",
        percent(o.accuracy),
        ends(&o.accuracy_interval),
        thousands(o.images),
        if o.folds == 1 { "one fold".into() } else { format!("{} folds", o.folds) }
    );
    if !cell.leak_free.is_complete() {
        let (have, all) = (cell.leak_free.folds.len(), cell.leak_free.planned);
        out += &format!("<p><strong>{have} of {all} folds: other shards are missing.</strong></p>\n");
    }
    if let Some(s) = &cell.shortcuts {
        out += &format!("<h3>What is left without lungs</h3>\n{}", panel(s));
    }
    out += &format!(
        "<details><summary>Confusion and classes</summary>\n<figure>{}</figure>\n<pre>{}</pre></details>\n",
        chart::confusion(&o.confusion, "Confusion matrix, divided by patient")?,
        escape(&o.confusion.classification_report(2))
    );
    let assessment = Assessment::of(&cell.leak_free.predictions, &AssessOptions::default())?;
    let title = "Each class against the others, divided by patient";
    out += &format!(
        "<details><summary>Every figure with its interval</summary>\n<figure>{}</figure>\n<pre>{}</pre></details>\n",
        curves::roc(&curves::roc_curves(&cell.leak_free.predictions, &assessment), title)?,
        escape(&assessment.to_string())
    );
    if !cell.heat.is_empty() {
        out += &format!("<h3>Where the network looked (Grad-CAM)</h3>\n{}", heat(&cell.heat));
    }
    let panels: Vec<_> = cell.leak_free.folds.iter().take(1).flat_map(|f| &f.panels).collect();
    if !panels.is_empty() {
        let figures: String = panels.iter().map(|p| gallery_figure(&p.item())).collect();
        out += &format!("<details><summary>{} panels</summary>\n{figures}</details>\n", panels.len());
    }
    let range = CurveRange::of(cell.leak_free.folds.iter().map(|f| &f.history));
    let mut curves = String::new();
    for f in &cell.leak_free.folds {
        curves += &format!("<figure>{}</figure>\n", chart::curves(&f.history, range)?);
    }
    out += &format!("<details><summary>Training curves</summary>\n{curves}</details>\n");
    out += &format!("<details><summary>Class, source and view</summary>\n{}</details>\n", tables(&cell.tables));
    out += &format!("<details><summary>Configuration</summary>\n{}</details>\n", configuration(cell));
    Ok(out)
}

fn tables(all: &[CrossTable]) -> String {
    all.iter().map(|t| cross_table(t, &[])).collect()
}

/// The shortcut panel.
pub fn panel(s: &Shortcuts) -> String {
    let line = |r: &Reached, judged: bool| {
        let survives = r.survives.filter(|_| judged).map_or(String::new(), |v| format!("{:.0} %", 100.0 * v));
        let mark = if r.flagged && judged { "<strong>survives without lungs</strong>" } else { "" };
        row("", &[escape(&r.from), percent(r.accuracy), ends(&r.interval), percent(r.majority), survives, mark.into()])
    };
    let mut rows = line(&s.whole, false);
    rows.extend(s.probes.iter().map(|p| line(p, true)));
    let source = match &s.source {
        Ok(r) => {
            rows += &line(r, false);
            String::new()
        }
        Err(why) => format!(" The source was not guessed: {}.", escape(why)),
    };
    format!(
        "{}<p class=\"note\">The same network and training, on what is left of the images ({}). Survives: share of what the whole image \
         gives above the largest class. Flagged where the interval lies above the largest class and more than {:.0} % survives; the thumbnail \
         holds the lungs, coarsely, and is not judged.{source}</p>\n",
        table(&["trained on", "accuracy", "95 % Wilson", "largest class", "survives", ""], &rows),
        escape(&s.folds.join(", ")),
        100.0 * TOLERATED
    )
}

fn heat(all: &[CamSummary]) -> String {
    let rows: String = all.iter().map(|s| heat_row("", &s.mask, &s.all)).collect();
    format!(
        "{}<p class=\"note\">Share of the heat for the predicted class in each zone; Student's t interval over images. A uniform map has \
         no preference. Border: the outermost eighth; corners: squares of a quarter of the side.</p>\n",
        heat_table("zone", &rows)
    )
}

fn configuration(cell: &CellResult) -> String {
    let folds = &cell.leak_free.folds;
    let (trained, all) = folds.first().map_or((0, 0), |f| f.trained);
    let seconds: f64 = folds.iter().map(|f| f.metrics.training.seconds).sum();
    let mut pairs = cell.configuration.clone();
    pairs.push(("trained parameters".into(), format!("{} of {}", thousands(trained as u64), thousands(all as u64))));
    pairs.push(("plan memory".into(), bytes(folds.iter().map(|f| f.plan_bytes).max().unwrap_or(0))));
    pairs.push(("time".into(), duration(seconds)));
    pairs.push(("data SHA-256".into(), cell.digests[0].clone()));
    pairs.push(("folds SHA-256".into(), cell.digests[1].clone()));
    for f in folds {
        let name = format!("weights SHA-256, {}", f.name);
        pairs.push((name, format!("{} ({})", f.metrics.training.weights_sha256, f.ended)));
    }
    definitions(&pairs)
}

fn card(report: &Report) -> String {
    let pairs = [
        ("paper", report.citation.clone()),
        ("scale", report.scale.clone()),
        ("adapter", report.adapter.clone()),
        ("time of this run", duration(report.seconds)),
        ("program", report.program.clone()),
    ];
    definitions(&pairs.into_iter().filter(|p| !p.1.is_empty()).map(|(k, v)| (k.to_string(), v)).collect::<Vec<_>>())
}
