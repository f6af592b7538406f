//! The table of explanations: which picture belongs to which image, and where the heat lies.

use super::explain::{ExplainOptions, Explained, Explanations, Target};
use super::model::Model;
use super::sink::Sink;
use super::table::{TableFormat, describe, ending};
use crate::error::Result;
use serde_json::{Value, json};

/// A table of explanations that grows; it goes to standard output when it is complete. Dropped before [`ExplainTable::finish`]
/// it leaves nothing.
pub struct ExplainTable {
    sink: Sink,
    format: TableFormat,
    classes: Vec<String>,
    maps: bool,
    masks: bool,
    rows: usize,
}

impl ExplainTable {
    /// Begins the table of `model`'s explanations. Columns: `path` as the user gave it, `panel` (the picture), with plain maps
    /// `map`, `predicted`, `explained`, `probability` (of the explained class), `peak`, `empty`, and the heat's shares `border`
    /// and `corners`, with masks `lungs` and `lungs_area` (what a map without any preference would have there).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when nothing can be written.
    pub fn create(format: TableFormat, model: &Model, options: &ExplainOptions) -> Result<ExplainTable> {
        let (maps, masks) = (options.maps, options.masks.is_some());
        let mut table =
            ExplainTable { sink: Sink::create(None)?, format, classes: model.classes.clone(), maps, masks, rows: 0 };
        match format {
            TableFormat::Csv => {
                let mut head = vec!["path", "panel"];
                head.extend(maps.then_some("map"));
                head.extend(["predicted", "explained", "probability", "peak", "empty", "border", "corners"]);
                head.extend(masks.then_some(["lungs", "lungs_area"]).into_iter().flatten());
                table.sink.csv(&head.into_iter().map(String::from).collect::<Vec<_>>())?;
            }
            TableFormat::Json => {
                let mut about = describe(model);
                about["method"] = json!(options.method.name());
                about["layer"] = json!(options.layer.unwrap_or(model.network.architecture.gradcam_layer));
                about["target"] = match options.target {
                    Target::Predicted => json!("predicted"),
                    Target::Class(class) => json!(model.classes[class]),
                };
                let text = about.to_string();
                // The object goes on with the images.
                table.sink.put(&format!("{},\"images\":[", text.trim_end_matches('}')))?;
            }
        }
        Ok(table)
    }

    /// Adds an image.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn add(&mut self, e: &Explained) -> Result<()> {
        self.rows += 1;
        let text = |p: &std::path::Path| p.to_string_lossy().into_owned();
        let (path, panel, map) = (text(e.path), text(&e.panel), e.map.as_deref().map(text));
        let (predicted, explained) = (&self.classes[e.scores.class], &self.classes[e.target]);
        let (border, corners) = (e.shares.map(|s| s.border), e.shares.map(|s| s.corners));
        let (lungs, area) = (e.lungs.and_then(|l| l.1), e.lungs.map(|l| l.0));
        match self.format {
            TableFormat::Csv => {
                let share = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.4}"));
                let mut row = vec![path, panel];
                row.extend(self.maps.then(|| map.unwrap_or_default()));
                row.extend([
                    predicted.clone(),
                    explained.clone(),
                    format!("{:.6}", e.probability()),
                    format!("{:.6e}", e.peak),
                    e.is_empty().to_string(),
                    share(border),
                    share(corners),
                ]);
                if self.masks {
                    row.extend([share(lungs), share(area)]);
                }
                self.sink.csv(&row)
            }
            TableFormat::Json => {
                let mut row = json!({"path": path, "panel": panel, "predicted": predicted, "explained": explained,
                    "probability": e.probability(), "probabilities": e.scores.probabilities, "logits": e.scores.logits,
                    "peak": e.peak, "empty": e.is_empty(), "border": border, "corners": corners});
                if self.maps {
                    row["map"] = json!(map);
                }
                if self.masks {
                    (row["lungs"], row["lungs_area"]) = (json!(lungs), json!(area));
                }
                let comma = if self.rows > 1 { "," } else { "" };
                self.sink.put(&format!("{comma}\n{row}"))
            }
        }
    }

    /// Ends the table: all goes to standard output.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn finish(mut self, all: &Explanations) -> Result<()> {
        if self.format == TableFormat::Json {
            let uniform = all.uniform.map_or(Value::Null, |u| json!({"border": u.border, "corners": u.corners}));
            let ending = ending(&all.outcome);
            self.sink.put(&format!("\n],\"uniform\":{uniform},\"empty_maps\":{},{ending}\n", all.empty))?;
        }
        self.sink.finish()
    }
}
