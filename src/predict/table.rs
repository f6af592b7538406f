//! The table of probabilities as CSV or JSON, written row by row to a file that appears when it is complete.

use super::cascade::{Cascade, Verdict};
use super::model::Model;
use super::sink::Sink;
use super::stage::Scores;
use super::stream::Outcome;
use crate::error::Result;
use serde_json::{Value, json};
use std::path::Path;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// `path`, `class`, and a column of probabilities for each class.
    Csv,
    /// One object: network, classes, images, skipped.
    Json,
}

/// A table that grows. Dropped before [`Table::finish`] it leaves nothing.
pub struct Table {
    sink: Sink,
    format: TableFormat,
    classes: Vec<String>,
    /// Of each second stage: the class after which it runs, and its own.
    then: Vec<(String, Vec<String>)>,
    heat_maps: bool,
    rows: usize,
}

impl Table {
    /// Begins the table of `model`'s predictions at `out`, or for standard output.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when nothing can be written there.
    pub fn create(out: Option<&Path>, format: TableFormat, model: &Model) -> Result<Table> {
        Table::begin(out, format, model, &[], false)
    }

    /// Begins the table of `cascade`'s verdicts. With second stages there are further columns: `stage2_CLASS` with the
    /// probabilities, empty where it did not run (where two second stages have a class of the same name, `stage2_CLASS after
    /// FIRST`), and `final`, the verdict. With `heat_maps` a last one, `heat_map`: the name of the picture.
    ///
    /// # Errors
    /// As [`Table::create`].
    pub fn of_cascade(out: Option<&Path>, format: TableFormat, cascade: &Cascade, heat_maps: bool) -> Result<Table> {
        let then: Vec<(&str, &Model)> =
            cascade.then.iter().map(|t| (cascade.first.classes[t.class].as_str(), &t.model)).collect();
        Table::begin(out, format, &cascade.first, &then, heat_maps)
    }

    fn begin(
        out: Option<&Path>,
        format: TableFormat,
        model: &Model,
        then: &[(&str, &Model)],
        heat_maps: bool,
    ) -> Result<Table> {
        let mut table = Table {
            sink: Sink::create(out)?,
            format,
            classes: model.classes.clone(),
            then: then.iter().map(|(class, m)| (class.to_string(), m.classes.clone())).collect(),
            heat_maps,
            rows: 0,
        };
        match format {
            TableFormat::Csv => {
                let columns = model.classes.iter().map(|c| format!("p({c})"));
                let mut head: Vec<String> = ["path".to_string(), "class".into()].into_iter().chain(columns).collect();
                head.extend(table.second_columns());
                head.extend((!then.is_empty()).then(|| "final".into()));
                head.extend(heat_maps.then(|| "heat_map".into()));
                table.sink.csv(&head)?;
            }
            TableFormat::Json => {
                let mut about = describe(model);
                if !then.is_empty() {
                    let second = then.iter().map(|(class, m)| {
                        let mut about = describe(m);
                        about["after"] = json!(class);
                        about
                    });
                    about["then"] = second.collect();
                }
                let text = about.to_string();
                // The object goes on with the images.
                table.sink.put(&format!("{},\"images\":[", text.trim_end_matches('}')))?;
            }
        }
        Ok(table)
    }

    /// The columns of the second stages' probabilities.
    fn second_columns(&self) -> Vec<String> {
        let all = || self.then.iter().flat_map(|(_, classes)| classes);
        let name = |after: &str, class: &String| match all().filter(|c| *c == class).count() {
            1 => format!("stage2_{class}"),
            _ => format!("stage2_{class} after {after}"),
        };
        self.then.iter().flat_map(|(after, classes)| classes.iter().map(|c| name(after, c))).collect()
    }

    /// Adds an image.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn add(&mut self, path: &Path, logits: &[f32], probabilities: &[f64]) -> Result<()> {
        let class = super::stream::best(probabilities);
        let first = Scores { logits: logits.to_vec(), probabilities: probabilities.to_vec(), class };
        let name = self.classes[class].clone();
        self.add_verdict(&Verdict { path, first, second: None, class: &name, heat_map: None })
    }

    /// Adds an image of a cascade.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn add_verdict(&mut self, v: &Verdict) -> Result<()> {
        let (path, class) = (v.path.to_string_lossy().into_owned(), self.classes[v.first.class].clone());
        self.rows += 1;
        match self.format {
            TableFormat::Csv => {
                let mut row = vec![path, class];
                let six = |p: &f64| format!("{p:.6}");
                row.extend(v.first.probabilities.iter().map(six));
                for (t, (_, classes)) in self.then.iter().enumerate() {
                    match &v.second {
                        Some((ran, scores)) if *ran == t => row.extend(scores.probabilities.iter().map(six)),
                        _ => row.extend(classes.iter().map(|_| String::new())),
                    }
                }
                row.extend((!self.then.is_empty()).then(|| v.class.to_string()));
                row.extend(self.heat_maps.then(|| v.heat_map.clone().unwrap_or_default()));
                self.sink.csv(&row)
            }
            TableFormat::Json => {
                let (p, logits) = (&v.first.probabilities, &v.first.logits);
                let mut row = json!({"path": path, "class": class, "probabilities": p, "logits": logits});
                if !self.then.is_empty() {
                    row["stage2"] = v.second.as_ref().map_or(Value::Null, |(t, s)| {
                        let (after, classes) = &self.then[*t];
                        json!({"after": after, "class": classes[s.class], "probabilities": s.probabilities, "logits": s.logits})
                    });
                    row["final"] = json!(v.class);
                }
                if self.heat_maps {
                    row["heat_map"] = json!(v.heat_map);
                }
                let comma = if self.rows > 1 { "," } else { "" };
                self.sink.put(&format!("{comma}\n{row}"))
            }
        }
    }

    /// Ends the table: the file appears, or all goes to standard output.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); the file then does not appear.
    pub fn finish(mut self, outcome: &Outcome) -> Result<()> {
        if self.format == TableFormat::Json {
            self.sink.put(&format!("\n],{}\n", ending(outcome)))?;
        }
        self.sink.finish()
    }
}

/// What a table says of a model.
pub(super) fn describe(model: &Model) -> Value {
    json!({"network": model.network.name, "side": model.side, "classes": model.classes,
        "weights_sha256": model.params.digest()})
}

/// The last keys of a table, and the brace.
pub(super) fn ending(outcome: &Outcome) -> String {
    let skipped: Vec<_> = outcome
        .skipped
        .iter()
        .map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason}))
        .collect();
    let (seconds, rate) = (outcome.seconds, outcome.rate());
    let (skipped, seconds, rate) = (json!(skipped), json!(seconds), json!(rate));
    format!("\"skipped\":{skipped},\"seconds\":{seconds},\"images_per_second\":{rate}}}")
}
