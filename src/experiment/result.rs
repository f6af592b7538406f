//! What comes of an experiment: figures with intervals, the table of a paper's figures beside ours, and the report that holds
//! all of it.

use super::run::Outcome;
use super::shortcut::Shortcuts;
use crate::error::{Error, Result};
use crate::eval::{CamSummary, CrossTable, Interval, student_t, wilson};
use crate::files::write_atomic;
use crate::report;
use crate::report::text::{ends, percent};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A figure with its interval.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// Its interval, where there is one.
    pub interval: Option<Interval>,
}

impl Figure {
    /// Right of all, with Wilson's interval.
    pub fn share(right: u64, all: u64) -> Option<Figure> {
        (all > 0).then(|| Figure { value: right as f64 / all as f64, interval: wilson(right, all, 0.95) })
    }

    /// The mean of `values` with the interval of Student's t.
    pub fn mean(values: &[f64]) -> Option<Figure> {
        let value = values.iter().sum::<f64>() / values.len() as f64;
        (!values.is_empty()).then(|| Figure { value, interval: student_t(values, 0.95) })
    }

    /// Accuracy over all test images.
    pub fn accuracy(o: &Outcome) -> Option<Figure> {
        Figure::share(o.overall.correct, o.overall.images)
    }

    /// Of those said to be of `class`, the share that is.
    pub fn precision(o: &Outcome, class: usize) -> Option<Figure> {
        let c = &o.overall.confusion;
        Figure::share(c.counts[class][class], c.counts.iter().map(|row| row[class]).sum())
    }

    /// Of those of `class`, the share that is said to be.
    pub fn recall(o: &Outcome, class: usize) -> Option<Figure> {
        let c = &o.overall.confusion;
        Figure::share(c.counts[class][class], c.support(class))
    }

    /// Harmonic mean of precision and recall, without an interval.
    pub fn f1(o: &Outcome, class: usize) -> Option<Figure> {
        Some(Figure { value: o.overall.per_class.get(class)?.f1?, interval: None })
    }

    /// Probability of the true class, mean over the images of `class` (Zhong, table 4).
    pub fn probability(o: &Outcome, class: usize) -> Option<Figure> {
        let of = o.predictions.rows.iter().filter(|r| r.truth == class).map(|r| r.probabilities[class]);
        Figure::mean(&of.collect::<Vec<_>>())
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let around = self.interval.as_ref().map_or(String::new(), |i| format!(" {}", ends(i)));
        write!(f, "{}{around}", percent(self.value))
    }
}

/// A line of the table that a paper's run ends in.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What the paper reports, as it prints it.
    pub paper: String,
    /// Ours with images divided as in the paper.
    pub ours: Option<Figure>,
    /// Ours with no patient and no duplicate in two parts.
    pub leak_free: Option<Figure>,
    /// What a reader must know of the line.
    pub note: String,
}

impl Row {
    /// A figure of `result`, by whatever `figure` reads off an outcome.
    pub fn of(what: &str, paper: &str, result: &CellResult, figure: impl Fn(&Outcome) -> Option<Figure>) -> Row {
        Row {
            what: what.into(),
            paper: paper.into(),
            ours: result.image_wise.as_ref().and_then(&figure),
            leak_free: figure(&result.leak_free),
            note: result.note.clone(),
        }
    }
}

/// What a cell gave in all of its divisions.
#[derive(Clone, Debug)]
pub struct CellResult {
    /// The cell's name.
    pub name: String,
    /// The task's name and images by class.
    pub data: String,
    /// Its configuration.
    pub configuration: Vec<(String, String)>,
    /// Images divided one by one, as papers do; `None` where that was not run, or where no patient has two images and
    /// there is no difference.
    pub image_wise: Option<Outcome>,
    /// Divided by patient and duplicate group.
    pub leak_free: Outcome,
    /// What is left without lungs.
    pub shortcuts: Option<Shortcuts>,
    /// Where it looked, by zone.
    pub heat: Vec<CamSummary>,
    /// Class against source and view.
    pub tables: Vec<CrossTable>,
    /// SHA-256 of the images and of their division.
    pub digests: [String; 2],
    /// Why a leak was allowed, where there is one.
    pub leaks: Option<String>,
    /// What a reader must know of it.
    pub note: String,
}

/// What came of a paper.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The table.
    pub rows: Vec<Row>,
    /// The cells behind it.
    pub cells: Vec<CellResult>,
    /// Which readings of ambiguous places ran, and what the paper contradicts itself in.
    pub readings: Vec<String>,
    /// How this run is smaller than the paper.
    pub reductions: Vec<String>,
    /// What must be read first.
    pub warnings: Vec<String>,
    /// Further tables and texts for the page: title and preformatted text.
    pub extras: Vec<(String, String)>,
}

/// What a run writes to `report.json`, without its pictures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the paper, or of the network.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What to cite; empty where there is nothing.
    pub citation: String,
    /// Program and version.
    pub program: String,
    /// `smoke`, `small` or `full`; empty for a training of one's own.
    pub scale: String,
    /// The adapter and its driver.
    pub adapter: String,
    /// Seconds of this run; what an earlier one had done is not counted.
    pub seconds: f64,
    /// Whether all folds of all cells are there: they are not where other shards have yet to run.
    pub complete: bool,
    /// The table.
    pub rows: Vec<Row>,
    /// Readings of ambiguous places.
    pub readings: Vec<String>,
    /// How the run is smaller than the paper.
    pub reductions: Vec<String>,
    /// What must be read first.
    pub warnings: Vec<String>,
    /// The shortcut panel of each cell that has one.
    pub shortcuts: Vec<(String, Shortcuts)>,
    /// The cells, for the page.
    #[serde(skip)]
    pub findings: Findings,
}

impl Report {
    /// The report of `findings`; the cells' own warnings go before the others.
    pub fn new(
        (name, title, citation): (&str, &str, &str),
        scale: &str,
        adapter: String,
        mut findings: Findings,
    ) -> Report {
        let mut warnings: Vec<String> = Vec::new();
        for c in &findings.cells {
            warnings.extend(
                c.leaks
                    .as_ref()
                    .map(|reason| format!("{}: images leak between parts. Allowed, because: {reason}.", c.name)),
            );
            warnings.extend(c.shortcuts.as_ref().and_then(|s| s.warning()).map(|w| format!("{}: {w}", c.name)));
        }
        let mut tables: Vec<String> =
            findings.cells.iter().flat_map(|c| c.tables.iter().filter_map(CrossTable::warning)).collect();
        tables.sort();
        tables.dedup();
        warnings.extend(tables);
        findings.warnings.extend(warnings);
        let panels = |c: &CellResult| Some((c.name.clone(), c.shortcuts.clone()?));
        Report {
            name: name.into(),
            title: title.into(),
            citation: citation.into(),
            program: concat!("radiograd ", env!("CARGO_PKG_VERSION")).into(),
            scale: scale.into(),
            adapter,
            seconds: 0.0,
            complete: findings.cells.iter().all(|c| c.leak_free.is_complete()),
            rows: findings.rows.clone(),
            readings: findings.readings.clone(),
            reductions: findings.reductions.clone(),
            warnings: findings.warnings.clone(),
            shortcuts: findings.cells.iter().filter_map(panels).collect(),
            findings,
        }
    }

    /// The content of `report.json`.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Internal(format!("report.json: {e}")))?;
        Ok(text + "\n")
    }

    /// Writes `report.html` and `report.json` into `out`; returns the page's path.
    ///
    /// # Errors
    /// [`Error::Io`]; as the charts.
    pub fn write(&self, out: &Path) -> Result<PathBuf> {
        write_atomic(&out.join("report.json"), self.json()?.as_bytes())?;
        let page = out.join("report.html");
        write_atomic(&page, report::experiment::render(self)?.as_bytes())?;
        Ok(page)
    }
}

impl std::fmt::Display for Report {
    /// The table for a terminal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let more = [&self.citation, &self.scale].into_iter().filter(|t| !t.is_empty()).cloned().collect::<Vec<_>>();
        writeln!(f, "{}{}{}", self.title, if more.is_empty() { "" } else { ": " }, more.join(", scale "))?;
        for c in &self.findings.cells {
            let o = &c.leak_free.overall;
            writeln!(
                f,
                "{}: test accuracy {} {} ({} of {} images, {} fold{})",
                c.name,
                percent(o.accuracy),
                ends(&o.accuracy_interval),
                o.correct,
                o.images,
                o.folds,
                if o.folds == 1 { "" } else { "s" }
            )?;
        }
        if self.rows.is_empty() {
            return self.warnings.iter().try_for_each(|w| writeln!(f, "Warning: {w}"));
        }
        let ours = |v: &Option<Figure>| v.as_ref().map_or("-".into(), ToString::to_string);
        let cells: Vec<[String; 4]> =
            self.rows.iter().map(|r| [r.what.clone(), r.paper.clone(), ours(&r.ours), ours(&r.leak_free)]).collect();
        let head = ["", "paper", "ours, divided by image", "ours, by patient"].map(String::from);
        let width = |k: usize| cells.iter().chain([&head]).map(|c| c[k].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        for (c, note) in
            std::iter::once((&head, "note")).chain(cells.iter().zip(self.rows.iter().map(|r| r.note.as_str())))
        {
            writeln!(
                f,
                "{:<a$}  {:<b$}  {:<c$}  {:<d$}  {note}",
                c[0],
                c[1],
                c[2],
                c[3],
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3]
            )?;
        }
        for (title, list) in [("Reduced", &self.reductions), ("Reading", &self.readings), ("Warning", &self.warnings)] {
            list.iter().try_for_each(|l| writeln!(f, "{title}: {l}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_carry_their_intervals() {
        let f = Figure::share(44, 50).unwrap();
        assert_eq!((f.value, f.interval.is_some()), (0.88, true));
        assert!(f.to_string().starts_with("88.0 % ["), "{f}");
        assert_eq!(Figure::share(0, 0), None);
        assert_eq!(Figure::mean(&[0.5]).unwrap().to_string(), "50.0 %");
    }
}
