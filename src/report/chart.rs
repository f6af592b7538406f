//! Charts as SVG: loss and accuracy per epoch, the confusion matrix, the folds' accuracies with their intervals.
//!
//! White background, colours of Okabe and Ito that colour-blind readers tell apart (training vermillion and dashed,
//! validation blue), axes with units. plotters rounds to whole units, so charts are drawn at twice their size and shown
//! at half. The letters are the reader's own sans-serif font.

use crate::error::{Error, Result};
use crate::eval::confusion::Confusion;
use crate::eval::folds::{FoldMetrics, Overall};
use crate::eval::metrics_file::{EpochRecord, History};
use crate::report::encode::escape;
use crate::report::text::thousands;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const FAINT: RGBColor = RGBColor(120, 120, 120);
pub(super) const GRID: RGBColor = RGBColor(225, 225, 225);
/// Drawing units per CSS pixel.
pub(super) const UNITS: u32 = 2;
/// Height of letters; plotters writes 1 / 1.24 of it into the file.
const LETTER: f64 = 13.0 * 1.24 * UNITS as f64;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Upper ends that several curve charts share, so that folds can be compared by eye.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurveRange {
    /// Last epoch.
    pub epochs: u32,
    /// Largest loss.
    pub loss: f64,
}

impl CurveRange {
    /// The range that holds all of `histories`; at least one epoch and a loss of 0.1.
    pub fn of<'a>(histories: impl IntoIterator<Item = &'a History>) -> CurveRange {
        let mut range = CurveRange { epochs: 1, loss: 0.1 };
        for record in histories.into_iter().flat_map(|h| &h.epochs) {
            range.epochs = range.epochs.max(record.epoch);
            for loss in [record.train_loss, record.validation_loss].into_iter().flatten().filter(|l| l.is_finite()) {
                range.loss = range.loss.max(loss);
            }
        }
        range
    }
}

/// Loss (left) and accuracy (right) per epoch, training and validation, 920×280 pixels; the kept epoch is marked.
///
/// # Errors
/// [`Error::Internal`] when the drawing library refuses.
pub fn curves(history: &History, range: CurveRange) -> Result<String> {
    let label = capital(&history.label());
    svg(920, 280, &format!("{label}: loss and accuracy per epoch"), |root| {
        let (head, body) = root.split_vertically(34 * UNITS);
        head.draw(&Text::new(label, at(14, 17), style(15.0, INK).pos(Pos::new(HPos::Left, VPos::Center))))?;
        let legend = [("training", VERMILLION, true), ("validation", BLUE, false)];
        for (i, (name, colour, dashed)) in legend.into_iter().enumerate() {
            let left = 560 + 130 * i as i32;
            line(&head, at(left, 17), at(left + 34, 17), colour, dashed)?;
            head.draw(&Text::new(name, at(left + 42, 17), style(13.0, INK).pos(Pos::new(HPos::Left, VPos::Center))))?;
        }
        if history.best_epoch.is_some() {
            head.draw(&Circle::new(at(833, 17), 6 * UNITS, BLUE.stroke_width(2 * UNITS)))?;
            head.draw(&Text::new("kept", at(845, 17), style(13.0, INK).pos(Pos::new(HPos::Left, VPos::Center))))?;
        }
        let (left, right) = body.split_horizontally(460 * UNITS);
        let percent = |a: Option<f64>| a.map(|a| 100.0 * a);
        curve(
            &left,
            "cross entropy (nats)",
            range.epochs,
            1.05 * range.loss,
            history,
            [&|e: &EpochRecord| e.train_loss, &|e: &EpochRecord| e.validation_loss],
        )?;
        curve(
            &right,
            "accuracy (%)",
            range.epochs,
            100.0,
            history,
            [&|e: &EpochRecord| percent(e.train_accuracy), &|e: &EpochRecord| percent(e.validation_accuracy)],
        )
    })
}

type Pick<'a> = &'a dyn Fn(&EpochRecord) -> Option<f64>;

/// One pair of curves (training, validation) with axes.
fn curve(area: &Area, unit: &str, epochs: u32, top: f64, history: &History, picks: [Pick; 2]) -> Drawn {
    // A single epoch is a point in the middle of the chart.
    let (first, last) = if epochs > 1 { (1, epochs) } else { (0, 2) };
    let mut chart = ChartBuilder::on(area)
        .margin_right(16 * UNITS)
        .margin_top(6 * UNITS)
        .margin_left(8 * UNITS)
        .margin_bottom(4 * UNITS)
        .x_label_area_size(42 * UNITS)
        .y_label_area_size(54 * UNITS)
        .build_cartesian_2d(first..last, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(UNITS))
        .axis_style(FAINT.stroke_width(UNITS))
        .x_labels(10)
        .y_labels(6)
        .x_desc("epoch")
        .y_desc(unit)
        .label_style(style(12.0, INK))
        .axis_desc_style(style(13.0, INK))
        .y_label_formatter(&|v| short(*v))
        .draw()?;
    for (pick, colour, dashed) in [(picks[0], VERMILLION, true), (picks[1], BLUE, false)] {
        for segment in segments(&history.epochs, pick) {
            let stroke = colour.stroke_width(2 * UNITS);
            if segment.len() == 1 {
                // The training dot is the larger one, so that it shows behind a validation dot of nearly its value.
                let radius = if dashed { 4 } else { 2 } * UNITS;
                chart.draw_series(segment.iter().map(|&p| Circle::new(p, radius, colour.filled())))?;
            } else if dashed {
                let (dash, gap) = (7 * UNITS, 4 * UNITS);
                chart.draw_series(DashedLineSeries::new(segment, dash, gap, stroke))?;
            } else {
                chart.draw_series(LineSeries::new(segment, stroke))?;
            }
        }
    }
    let kept = history.epochs.iter().find(|e| Some(e.epoch) == history.best_epoch);
    if let Some((epoch, value)) = kept.and_then(|e| Some((e.epoch, finite(picks[1](e))?))) {
        chart.draw_series([Circle::new((epoch, value), 6 * UNITS, BLUE.stroke_width(2 * UNITS))])?;
    }
    Ok(())
}

/// Runs of epochs that have a value: a gap in the measurements is a gap in the line.
fn segments(epochs: &[EpochRecord], pick: Pick) -> Vec<Vec<(u32, f64)>> {
    let mut runs = vec![Vec::new()];
    for record in epochs {
        match (finite(pick(record)), runs.last_mut()) {
            (Some(value), Some(run)) => run.push((record.epoch, value)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|r| !r.is_empty());
    runs
}

/// The confusion matrix: counts and the share of each true class (row %), darker blue for a larger share.
///
/// # Errors
/// [`Error::Data`] when the matrix is not K×K, [`Error::Internal`] when the drawing library refuses.
pub fn confusion(matrix: &Confusion, title: &str) -> Result<String> {
    matrix.validate()?;
    let k = matrix.classes.len() as i32;
    let names: Vec<Vec<String>> = matrix.classes.iter().map(|c| lines_of(c, 13)).collect();
    let name_lines = names.iter().map(Vec::len).max().unwrap_or(1) as i32;
    let (cell, left, top) = (96, 158, 76 + 16 * name_lines);
    let (width, height) = ((left + cell * k + 24).max(360), top + cell * k + 38);
    svg(width as u32, height as u32, title, |root| {
        let centre = Pos::new(HPos::Center, VPos::Center);
        root.draw(&Text::new(title.to_string(), at(14, 18), style(15.0, INK).pos(Pos::new(HPos::Left, VPos::Center))))?;
        let middle = left + cell * k / 2;
        root.draw(&Text::new("predicted class", at(middle, 48), style(13.0, FAINT).pos(centre)))?;
        let turned = ("sans-serif", LETTER).into_font().transform(FontTransform::Rotate270);
        let turned = turned.color(&FAINT).pos(centre);
        root.draw(&Text::new("true class", at(18, top + cell * k / 2), turned))?;
        for (i, name) in names.iter().enumerate() {
            let above = -16 * (name.len() as i32 - 1);
            let first = above / 2;
            let own = cell * i as i32 + cell / 2;
            for (j, part) in name.iter().enumerate() {
                let y = first + 16 * j as i32;
                let head = at(left + own, top - 18 + above + 16 * j as i32);
                root.draw(&Text::new(part.clone(), head, style(13.0, INK).pos(centre)))?;
                let right = style(13.0, INK).pos(Pos::new(HPos::Right, VPos::Center));
                root.draw(&Text::new(part.clone(), at(left - 10, top + own - 9 + y), right))?;
            }
            let support = format!("n = {}", thousands(matrix.support(i)));
            let right = style(12.0, FAINT).pos(Pos::new(HPos::Right, VPos::Center));
            let below = top + own - 9 + first + 16 * name.len() as i32;
            root.draw(&Text::new(support, at(left - 10, below), right))?;
            for j in 0..matrix.classes.len() {
                let share = matrix.row_share(i, j);
                let (x, y) = (left + cell * j as i32, top + cell * i as i32);
                let fill = shade(share.unwrap_or(0.0));
                root.draw(&Rectangle::new([at(x, y), at(x + cell, y + cell)], fill.filled()))?;
                root.draw(&Rectangle::new([at(x, y), at(x + cell, y + cell)], WHITE.stroke_width(2 * UNITS)))?;
                let ink = if share.unwrap_or(0.0) > 0.5 { WHITE } else { INK };
                let (count, percent) = (matrix.counts[i][j].to_string(), share.map(|s| format!("{:.1} %", 100.0 * s)));
                root.draw(&Text::new(count, at(x + cell / 2, y + 38), style(20.0, ink).pos(centre)))?;
                let percent = percent.unwrap_or_else(|| "no image".into());
                root.draw(&Text::new(percent, at(x + cell / 2, y + 62), style(12.0, ink).pos(centre)))?;
            }
        }
        let note = "count, and share of the true class (row %)";
        let left_middle = Pos::new(HPos::Left, VPos::Center);
        root.draw(&Text::new(
            note,
            at(left.min(width - 270), top + cell * k + 20),
            style(12.0, FAINT).pos(left_middle),
        ))?;
        Ok(())
    })
}

/// Label, accuracy, ends of its interval.
type AccuracyRow = (String, f64, Option<(f64, f64)>);

/// Accuracy of each fold and of all, with 95 % intervals, beside what needs no network: `references` are (label,
/// accuracy) pairs drawn as dashed lines, as the accuracy from the source alone.
///
/// # Errors
/// [`Error::Internal`] when the drawing library refuses.
pub fn accuracies(folds: &[FoldMetrics], overall: &Overall, references: &[(String, f64)]) -> Result<String> {
    let mut rows: Vec<AccuracyRow> = folds
        .iter()
        .map(|f| {
            (
                format!("fold {}, n = {}", f.fold, thousands(f.images)),
                f.accuracy,
                Some((f.accuracy_interval.low, f.accuracy_interval.high)),
            )
        })
        .collect();
    let pooled = &overall.accuracy_interval;
    rows.push((
        format!("all images, n = {}", thousands(overall.images)),
        overall.accuracy,
        Some((pooled.low, pooled.high)),
    ));
    rows.push(("mean of folds (t)".into(), overall.fold_mean, overall.fold_interval.map(|i| (i.low, i.high))));
    let (left, width, row, top) = (172, 700, 28, 44);
    let axis = top + row * rows.len() as i32 + 4;
    let x = |share: f64| left + (share.clamp(0.0, 1.0) * (width - left - 72) as f64).round() as i32;
    let height = axis + 52 + 20 * references.len() as i32;
    svg(width as u32, height as u32, "Test accuracy with 95 % intervals", |root| {
        let (left_middle, centre) = (Pos::new(HPos::Left, VPos::Center), Pos::new(HPos::Center, VPos::Center));
        let title = "Test accuracy with 95 % intervals";
        root.draw(&Text::new(title, at(14, 18), style(15.0, INK).pos(left_middle)))?;
        for tick in 0..=5 {
            let share = f64::from(tick) / 5.0;
            let grid = [at(x(share), top - 6), at(x(share), axis)];
            root.draw(&PathElement::new(grid, GRID.stroke_width(UNITS)))?;
            root.draw(&Text::new(format!("{}", tick * 20), at(x(share), axis + 14), style(12.0, INK).pos(centre)))?;
        }
        root.draw(&Text::new("accuracy (%)", at(x(0.5), axis + 34), style(13.0, INK).pos(centre)))?;
        // The first reference is the one that matters: it is drawn last, over others of the same value.
        for (i, (label, share)) in references.iter().enumerate().rev() {
            let colour = if i == 0 { VERMILLION } else { FAINT };
            line(root, at(x(*share), top - 6), at(x(*share), axis), colour, true)?;
            let y = axis + 56 + 20 * i as i32;
            line(root, at(left - 40, y), at(left - 8, y), colour, true)?;
            let text = format!("{:.1} %: {label}", 100.0 * share);
            root.draw(&Text::new(text, at(left, y), style(12.0, INK).pos(left_middle)))?;
        }
        for (i, (label, share, ends)) in rows.iter().enumerate() {
            let y = top + row * i as i32 + row / 2;
            let colour = if i < folds.len() { BLUE } else { INK };
            let right = style(13.0, INK).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(label.clone(), at(left - 12, y), right))?;
            if let Some((low, high)) = ends {
                line(root, at(x(*low), y), at(x(*high), y), colour, false)?;
                for end in [low, high] {
                    line(root, at(x(*end), y - 5), at(x(*end), y + 5), colour, false)?;
                }
            }
            root.draw(&Circle::new(at(x(*share), y), 4 * UNITS, colour.filled()))?;
            let text = format!("{:.1} %", 100.0 * share);
            root.draw(&Text::new(text, at(width - 60, y), style(13.0, INK).pos(left_middle)))?;
        }
        Ok(())
    })
}

pub(super) type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// A chart of `width`×`height` CSS pixels on white, with `title` for screen readers.
pub(super) fn svg(width: u32, height: u32, title: &str, draw: impl FnOnce(&Area) -> Drawn) -> Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (width * UNITS, height * UNITS)).into_drawing_area();
        let drawn = root.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&root));
        drawn.and_then(|()| root.present().map_err(Into::into)).map_err(|e| Error::Internal(format!("chart: {e}")))?;
    }
    let size = format!("<svg width=\"{}\" height=\"{}\"", width * UNITS, height * UNITS);
    let rest = text.strip_prefix(&size).and_then(|r| r.split_once('>'));
    let (attributes, body) =
        rest.ok_or_else(|| Error::Internal("chart: an SVG file begins in an unknown way".into()))?;
    let title = escape(title);
    Ok(format!(
        "<svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\"{attributes}><title>{title}</title>{body}"
    ))
}

/// A point given in CSS pixels.
pub(super) fn at(x: i32, y: i32) -> (i32, i32) {
    (x * UNITS as i32, y * UNITS as i32)
}

/// Letters of `pixels` CSS pixels.
pub(super) fn style(pixels: f64, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", pixels / 13.0 * LETTER).into_font().color(&colour)
}

/// A straight line of two pixels, dashed by hand (plotters dashes series only).
pub(super) fn line(area: &Area, from: (i32, i32), to: (i32, i32), colour: RGBColor, dashed: bool) -> Drawn {
    let stroke = colour.stroke_width(2 * UNITS);
    if !dashed {
        return Ok(area.draw(&PathElement::new([from, to], stroke))?);
    }
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy).max(1.0);
    let point = |s: f64| {
        let share = s.min(length) / length;
        (from.0 + (dx * share).round() as i32, from.1 + (dy * share).round() as i32)
    };
    let (dash, gap) = (f64::from(7 * UNITS), f64::from(4 * UNITS));
    let mut s = 0.0;
    while s < length {
        area.draw(&PathElement::new([point(s), point(s + dash)], stroke))?;
        s += dash + gap;
    }
    Ok(())
}

/// White at 0, dark blue at 1.
fn shade(share: f64) -> RGBColor {
    let mix = |a: f64, b: f64| (a + (b - a) * share.clamp(0.0, 1.0).powf(0.8)).round() as u8;
    RGBColor(mix(240.0, 8.0), mix(245.0, 64.0), mix(250.0, 129.0))
}

/// `name` in at most three lines of `letters` letters, cut with "..." where that is not enough.
fn lines_of(name: &str, letters: usize) -> Vec<String> {
    let mut lines = crate::report::glyphs::wrap(name, letters * crate::report::glyphs::ADVANCE);
    if lines.len() > 3 {
        lines.truncate(3);
        lines[2] = format!("{}...", lines[2].chars().take(letters.saturating_sub(3)).collect::<String>());
    }
    lines
}

/// A label for a tick: no decimals that say nothing.
fn short(v: f64) -> String {
    let text = format!("{v:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn finite(v: Option<f64>) -> Option<f64> {
    v.filter(|v| v.is_finite())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u32, loss: Option<f64>) -> EpochRecord {
        EpochRecord {
            epoch,
            train_loss: loss,
            train_accuracy: Some(0.5),
            validation_loss: loss,
            validation_accuracy: Some(0.4),
            learning_rate: 1e-3,
            seconds: 1.0,
        }
    }

    #[test]
    fn a_gap_in_the_measurements_is_a_gap_in_the_line() {
        let epochs = [record(1, Some(1.0)), record(2, Some(f64::NAN)), record(3, None), record(4, Some(0.5))];
        assert_eq!(segments(&epochs, &|e| e.train_loss), [vec![(1, 1.0)], vec![(4, 0.5)]]);
        let history = History { stage: 2, fold: Some(3), best_epoch: Some(4), epochs: epochs.to_vec() };
        let range = CurveRange::of([&history]);
        assert_eq!(range, CurveRange { epochs: 4, loss: 1.0 });
        let svg = curves(&history, range).unwrap();
        assert!(svg.starts_with("<svg width=\"920\" height=\"280\" role=\"img\" aria-label=\"Stage 2, fold 3: loss"));
        assert!(svg.contains("cross entropy (nats)") && svg.contains("accuracy (%)") && svg.contains("kept"));
        assert!(!svg.contains("NaN") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn empty_and_one_epoch_histories_can_be_drawn() {
        for epochs in [vec![], vec![record(1, Some(0.0))]] {
            let history = History { stage: 1, fold: None, best_epoch: Some(1), epochs };
            curves(&history, CurveRange::of([&history])).unwrap();
        }
    }

    #[test]
    fn every_count_and_share_is_in_the_confusion_picture() {
        let classes = ["a <b>".to_string(), "another very long class name that does not fit at all".to_string()];
        let matrix = Confusion { classes: classes.to_vec(), counts: vec![vec![17, 5], vec![0, 0]] };
        let svg = confusion(&matrix, "fold \"1\"").unwrap();
        for part in [
            "\n17\n",
            "\n5\n",
            "77.3 %",
            "22.7 %",
            "no image",
            "n = 22",
            "a &lt;b&gt;",
            "...",
            "aria-label=\"fold &quot;1&quot;\"",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("<b>"));
        let ragged = Confusion { classes: classes.to_vec(), counts: vec![vec![1]] };
        assert!(confusion(&ragged, "x").is_err());
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([short(0.0), short(0.25), short(100.0), short(1.5)], ["0", "0.25", "100", "1.5"]);
        assert_eq!(lines_of("other disease", 13), ["other disease"]);
        assert_eq!(lines_of("COVID-19", 4).len(), 2);
    }
}
