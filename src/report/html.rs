//! `report.html`: one file that shows a run. Charts are inline SVG, pictures are data: URIs; it loads nothing, runs no
//! script, and forbids both to the browser. Every text from outside is escaped.

use crate::error::Result;
use crate::eval::confusion::ClassScores;
use crate::eval::cross_table::CrossTable;
use crate::eval::folds::{FoldMetrics, Overall};
use crate::eval::interval::Interval;
use crate::eval::metrics_file::{DataSummary, Metrics, RunInfo, Status};
use crate::report::chart::{self, CurveRange};
use crate::report::encode::{definitions, escape, row, table};
use crate::report::gallery::{GalleryItem, cams};
use crate::report::text::{bytes, duration, ends, percent, percent_or, thousands};

/// What this program is not; for the head of everything that people read.
pub const DISCLAIMER: &str =
    "Research software, not a medical device. Nothing here may be used for diagnosis or treatment.";

/// The page for `metrics` with the panels of `gallery`.
///
/// # Errors
/// As the charts: [`crate::error::Error::Data`] for a confusion matrix that is not square, [`crate::error::Error::Internal`].
pub fn render(metrics: &Metrics, gallery: &[GalleryItem]) -> Result<String> {
    let mut body = headline(metrics);
    body += &first(&metrics.warnings);
    if let Some(overall) = &metrics.overall {
        body += &section("Accuracy", &accuracy(metrics, overall)?);
        body += &section("Confusion and classes", &classes(overall)?);
    }
    body += &section("Data", &data(&metrics.data, &metrics.warnings));
    if !metrics.history.is_empty() {
        body += &section("Training curves", &curves(metrics)?);
    }
    if metrics.cam.is_some() || !gallery.is_empty() {
        body += &section("Where the network looked (Grad-CAM)", &cams(metrics, gallery));
    }
    body += &section("Run card", &run_card(metrics));
    Ok(page(&metrics.run.title, &body, &metrics.program))
}

/// A whole page: head, disclaimer, `body` (HTML already), footer. It loads nothing and forbids the browser to.
pub(crate) fn page(title: &str, body: &str, program: &str) -> String {
    let title = escape(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"disclaimer\">{DISCLAIMER}</p>\n{body}\
         <footer><p>Written by {}. {DISCLAIMER}</p></footer>\n</main>\n</body>\n</html>\n",
        include_str!("style.css"),
        escape(program)
    );
    // No line may break between a figure and its percent sign.
    page.replace(" %", "\u{a0}%")
}

/// The warnings, before everything else; nothing where there are none.
pub(crate) fn first(warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let items: String = warnings.iter().map(|w| format!("<li>{}</li>\n", escape(w))).collect();
    format!("<section class=\"warnings\"><h2>Read this first</h2>\n<ul>\n{items}</ul></section>\n")
}

/// A section with a heading.
pub(crate) fn section(title: &str, body: &str) -> String {
    format!("<section><h2>{title}</h2>\n{body}</section>\n")
}

/// The accuracy in large letters, and beside it what needs no network.
fn headline(metrics: &Metrics) -> String {
    let Some(o) = &metrics.overall else {
        return section("Result", "<p>No fold was tested.</p>\n");
    };
    let mut tiles = format!(
        "<div><p class=\"headline\">{} <small>{}</small></p><p class=\"note\">accuracy on {} test images, 95 % {} interval over \
         images</p></div>\n",
        percent(o.accuracy),
        ends(&o.accuracy_interval),
        thousands(o.images),
        o.accuracy_interval.method
    );
    if let Some(i) = &o.fold_interval {
        tiles += &format!(
            "<div><p class=\"headline\">{} <small>{}</small></p><p class=\"note\">mean of {} folds, split {}, 95 % {} \
             interval over folds</p></div>\n",
            percent(o.fold_mean),
            ends(i),
            o.folds,
            metrics.run.split,
            i.method
        );
    }
    let best = metrics.data.tables.iter().filter_map(|t| Some((t.accuracy_from_property?, t)));
    // The largest share; of equal ones the first table.
    if let Some((share, table)) = best.reduce(|a, b| if b.0 > a.0 { b } else { a }) {
        tiles += &format!(
            "<div><p class=\"headline\">{}</p><p class=\"note\">from the {} alone, without looking at the image (always the \
             largest class: {})</p></div>\n",
            percent(share),
            escape(&table.property),
            percent_or(table.accuracy_from_majority)
        );
    }
    let interrupted = match metrics.status {
        Status::Complete => String::new(),
        Status::Interrupted => format!(
            "<p><strong>Interrupted: {} of {} folds.</strong></p>\n",
            metrics.folds.len(),
            metrics.run.planned_folds
        ),
    };
    format!("<section>{interrupted}<div class=\"tiles\">\n{tiles}</div></section>\n")
}

fn accuracy(metrics: &Metrics, overall: &Overall) -> Result<String> {
    let mut references: Vec<(String, f64)> = Vec::new();
    for table in &metrics.data.tables {
        references.extend(table.accuracy_from_property.map(|a| (format!("from the {} alone", table.property), a)));
    }
    let majority = metrics.data.tables.iter().find_map(|t| t.accuracy_from_majority);
    references.extend(majority.map(|a| ("always the largest class".to_string(), a)));
    let picture = chart::accuracies(&metrics.folds, overall, &references)?;
    let epoch = |f: &FoldMetrics| f.training.best_epoch.map_or("none".into(), |e| e.to_string());
    let mut rows: String = metrics
        .folds
        .iter()
        .map(|f| {
            let t = &f.training;
            row(
                "",
                &[
                    f.fold.to_string(),
                    format!(
                        "{} / {} / {}",
                        thousands(t.train_images),
                        thousands(t.validation_images),
                        thousands(f.images)
                    ),
                    thousands(t.test_patients),
                    percent(f.accuracy),
                    ends(&f.accuracy_interval),
                    t.validation_accuracy.map_or("none".into(), percent),
                    epoch(f),
                    duration(t.seconds),
                    format!("<code>{}</code>", escape(t.weights_sha256.get(..12).unwrap_or(&t.weights_sha256))),
                ],
            )
        })
        .collect();
    let blank = String::new;
    rows += &row(
        " class=\"total\"",
        &[
            "all".into(),
            thousands(overall.images),
            thousands(metrics.folds.iter().map(|f| f.training.test_patients).sum()),
            percent(overall.accuracy),
            ends(&overall.accuracy_interval),
            blank(),
            blank(),
            duration(metrics.folds.iter().map(|f| f.training.seconds).sum()),
            blank(),
        ],
    );
    let head = [
        "fold",
        "train / val / test",
        "test patients",
        "accuracy",
        "95 % interval",
        "val. accuracy",
        "kept epoch",
        "time",
        "weights",
    ];
    let fold_note = overall.fold_interval.as_ref().map_or(String::new(), |i| {
        format!(
            "The interval over folds ({} of {} accuracies, {}) is not cut at 0 and 100 %. ",
            i.method,
            overall.folds,
            ends(i)
        )
    });
    Ok(format!(
        "<figure>{picture}</figure>\n{}<p class=\"note\">Intervals of folds and of all images are {} intervals: they take images \
         as independent, which images of one patient are not, so they are somewhat too narrow. {fold_note}Folds share training \
         images, so their accuracies are not independent either. Weights: first 12 digits of the SHA-256, all of it in \
         metrics.json.</p>\n",
        table(&head, &rows),
        overall.accuracy_interval.method
    ))
}

fn classes(overall: &Overall) -> Result<String> {
    let picture = chart::confusion(&overall.confusion, "Confusion matrix, all folds")?;
    let score = |share: Option<f64>, interval: &Option<Interval>| match (share, interval) {
        (Some(s), Some(i)) => format!("{} <span class=\"note\">{}</span>", percent(s), ends(i)),
        (s, _) => percent_or(s),
    };
    let class_row = |s: &ClassScores| {
        row(
            "",
            &[
                escape(&s.class),
                score(s.precision, &s.precision_interval),
                score(s.recall, &s.recall_interval),
                percent_or(s.f1),
                thousands(s.predicted),
                thousands(s.support),
            ],
        )
    };
    let mut rows: String = overall.per_class.iter().map(class_row).collect();
    for (name, a) in [("macro average", overall.macro_average), ("weighted average", overall.weighted_average)] {
        let cells = [
            name.into(),
            percent(a.precision),
            percent(a.recall),
            percent(a.f1),
            String::new(),
            thousands(overall.images),
        ];
        rows += &row(if name.starts_with('m') { " class=\"total\"" } else { "" }, &cells);
    }
    Ok(format!(
        "<figure>{picture}</figure>\n{}<p class=\"note\">Precision is the positive predictive value in this mix of classes, \
         recall the sensitivity; 95 % Wilson intervals. Balanced accuracy (mean recall): {}.</p>\n\
         <h3>Classification report</h3>\n<pre>{}</pre>\n",
        table(&["class", "precision", "recall", "F1", "predicted", "support"], &rows),
        percent_or(overall.balanced_accuracy),
        escape(&overall.confusion.classification_report(2))
    ))
}

fn data(data: &DataSummary, warnings: &[String]) -> String {
    let mut out = format!("<p>{}</p>\n", escape(&data.name));
    let mut rows = String::new();
    for (i, class) in data.classes.iter().enumerate() {
        let cell = |list: &[u64]| list.get(i).map_or("unknown".into(), |n| thousands(*n));
        rows += &row("", &[escape(class), cell(&data.images), cell(&data.patients)]);
    }
    rows += &row(" class=\"total\"", &["all".into(), thousands(data.images.iter().sum()), String::new()]);
    out += &table(&["class", "images", "patients"], &rows);
    for cross in &data.tables {
        out += &cross_table(cross, warnings);
    }
    if !data.dropped.is_empty() {
        let rows: String = data.dropped.iter().map(|d| row("", &[escape(&d.reason), thousands(d.rows)])).collect();
        out += &format!("<h3>Left out</h3>\n{}", table(&["reason", "rows"], &rows));
    }
    out
}

/// A table of class and a property, with what the property alone gives.
pub(crate) fn cross_table(cross: &CrossTable, warnings: &[String]) -> String {
    let property = escape(&cross.property);
    let head: Vec<String> =
        std::iter::once("class".to_string()).chain(cross.values.iter().map(|v| escape(v))).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let class_row = |(class, counts): (&String, &Vec<u64>)| {
        let cells: Vec<String> = std::iter::once(escape(class)).chain(counts.iter().map(|n| thousands(*n))).collect();
        row("", &cells)
    };
    let rows: String = cross.classes.iter().zip(&cross.counts).map(class_row).collect();
    let v = cross.cramers_v.map_or("undefined".into(), |v| format!("{v:.2}"));
    let corrected = cross.cramers_v_corrected.map_or(String::new(), |v| format!(", {v:.2} when corrected for bias"));
    let warning = match cross.warning() {
        Some(w) if warnings.contains(&w) => {
            format!("<p><strong>Class coincides with {property}: see the top of this page.</strong></p>\n")
        }
        Some(w) => format!("<p><strong>{}</strong></p>\n", escape(&w)),
        None => String::new(),
    };
    format!(
        "<h3>Class and {property}</h3>\n{}<p class=\"note\">Cramer's V {v}{corrected} (0 independent, 1 one determines the other). \
         Accuracy from the {property} alone: {}; always the largest class: {}.</p>\n{warning}",
        table(&head, &rows),
        percent_or(cross.accuracy_from_property),
        percent_or(cross.accuracy_from_majority)
    )
}

fn curves(metrics: &Metrics) -> Result<String> {
    let mut out = String::new();
    for history in &metrics.history {
        // Axes are shared within a stage, so that its folds can be compared.
        let range = CurveRange::of(metrics.history.iter().filter(|h| h.stage == history.stage));
        out += &format!("<figure>{}</figure>\n", chart::curves(history, range)?);
    }
    out += "<p class=\"note\">Training figures are means over the epoch's batches, with augmentation and while the weights \
            changed; validation figures are of the weights at its end. Validation images are never test images.</p>\n";
    Ok(out)
}

fn run_card(metrics: &Metrics) -> String {
    let run: &RunInfo = &metrics.run;
    let mut pairs: Vec<(&str, String)> = vec![
        ("Network", format!("{}, {} parameters, input {2}×{2}", run.network, thousands(run.parameters), run.side)),
        ("Preprocessing", run.preprocessing.clone()),
        ("Folds", format!("{} planned, {} tested, split {}", run.planned_folds, metrics.folds.len(), run.split)),
        ("Batch", run.batch.to_string()),
    ];
    for s in &run.stages {
        let text = format!(
            "{}; {}, learning rate {}, {}; {} epochs; {} of {} parameters trained; {} training and {} validation images",
            s.task,
            s.optimizer,
            s.learning_rate,
            s.schedule,
            s.epochs,
            thousands(s.trainable),
            thousands(run.parameters),
            thousands(s.train_images),
            thousands(s.validation_images)
        );
        pairs.push((&s.name, text));
    }
    let seeds: Vec<String> = run.seeds.iter().map(|(name, seed)| format!("{name} {seed}")).collect();
    let software = if run.software_adapter { " (software on the CPU)" } else { "" };
    pairs.extend([
        ("Seeds", seeds.join(", ")),
        ("Adapter", format!("{}{software}", run.adapter)),
        ("Driver", format!("{}, {}", run.driver, run.backend)),
        ("Plan memory", format!("{} at peak", bytes(run.plan_memory_bytes))),
        ("Time", duration(run.seconds)),
        ("Data SHA-256", run.data_sha256.clone()),
        ("Folds SHA-256", run.folds_sha256.clone().unwrap_or_else(|| "no fold file".into())),
        ("Program", metrics.program.clone()),
    ]);
    definitions(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::confusion::Confusion;
    use crate::eval::folds::FoldTraining;
    use crate::eval::metrics_file::{EpochRecord, FORMAT, History, SplitKind};

    fn metrics(classes: &[String]) -> Metrics {
        let confusion = Confusion::from_labels(classes, &[0, 0, 1, 1], &[0, 1, 1, 1]).unwrap();
        let training = FoldTraining {
            train_images: 10,
            validation_images: 2,
            test_patients: 4,
            best_epoch: None,
            validation_accuracy: None,
            seconds: 1.0,
            weights_sha256: "0123456789abcdef".into(),
        };
        let folds = vec![FoldMetrics::new(1, confusion, training).unwrap()];
        let record = EpochRecord {
            epoch: 1,
            train_loss: None,
            train_accuracy: None,
            validation_loss: None,
            validation_accuracy: None,
            learning_rate: 0.1,
            seconds: 1.0,
        };
        let sources = [(0, "<s1>"), (0, "<s1>"), (1, "s2&"), (1, "s2&")];
        Metrics {
            format: FORMAT.into(),
            program: "radiograd".into(),
            status: Status::Interrupted,
            run: RunInfo {
                title: "<script>alert('x')</script>".into(),
                network: "n".into(),
                parameters: 1,
                side: 64,
                batch: 1,
                preprocessing: "none".into(),
                split: SplitKind::Patient,
                planned_folds: 5,
                stages: vec![],
                seeds: Default::default(),
                adapter: "a".into(),
                driver: "d".into(),
                backend: "Vulkan".into(),
                software_adapter: true,
                plan_memory_bytes: 1 << 20,
                seconds: 1.0,
                data_sha256: "data".into(),
                folds_sha256: None,
            },
            data: DataSummary {
                name: "d".into(),
                classes: classes.to_vec(),
                images: vec![2, 2],
                patients: vec![2],
                tables: vec![CrossTable::count("source", classes, sources).unwrap()],
                dropped: vec![],
            },
            overall: Overall::pool(&folds).unwrap(),
            folds,
            cam: None,
            history: vec![History { stage: 1, fold: None, best_epoch: None, epochs: vec![record] }],
            warnings: vec!["<b>careful</b>".into()],
        }
    }

    fn item(truth: &str) -> GalleryItem {
        GalleryItem {
            truth: truth.into(),
            predicted: "x\" onload=\"y".into(),
            probability: 0.5,
            explained: "e".into(),
            png: b"foobar".to_vec(),
            energy_inside: Some(None),
            uniform_share: Some(0.1),
        }
    }

    #[test]
    fn page_is_escaped_and_loads_nothing() {
        let classes = ["<i>a</i>".to_string(), "b".to_string()];
        let page = render(&metrics(&classes), &[item("b"), item("not a class of the data")]).unwrap();
        for forbidden in ["<script", "<i>", "<b>", "<s1>", "http://www", "https://", "src=\"http", "\" onload", "NaN"] {
            // The SVG name space is a name, nothing is loaded from it.
            let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
            assert!(!page.contains(forbidden), "{forbidden} is in the page");
        }
        for part in [
            "&lt;script&gt;alert",
            "&lt;b&gt;careful",
            "s2&amp;",
            "src=\"data:image/png;base64,Zm9vYmFy\"",
            "75.0\u{a0}%",
            "Interrupted: 1 of 5 folds",
            "The map is 0 everywhere",
            "not a class of the data</h3>",
            "Class coincides with source",
            DISCLAIMER,
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
        assert_eq!(page.matches("<svg").count(), 3);
    }

    #[test]
    fn a_run_without_folds_has_a_page_too() {
        let classes = ["a".to_string(), "b".to_string()];
        let mut m = metrics(&classes);
        (m.overall, m.folds, m.history) = (None, vec![], vec![]);
        assert!(render(&m, &[]).unwrap().contains("No fold was tested."));
    }
}
