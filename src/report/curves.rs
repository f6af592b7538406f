//! Charts of an assessment as SVG: ROC curves of the classes and the reliability diagram. The confusion matrix is
//! [`crate::report::chart::confusion`].

use crate::error::Result;
use crate::eval::assessment::Assessment;
use crate::eval::calibration::Bin;
use crate::eval::interval::{Interval, level_text, wilson};
use crate::eval::predictions::Predictions;
use crate::eval::ranking::{Ranking, RocPoint};
use crate::report::chart::{Area, BLUE, Drawn, FAINT, GRID, INK, UNITS, VERMILLION, at, line, style, svg};
use crate::report::text::thousands;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Okabe and Ito's colours but black and yellow, which is too light for a line.
const COLOURS: [RGBColor; 6] =
    [BLUE, VERMILLION, RGBColor(0, 158, 115), RGBColor(204, 121, 167), RGBColor(230, 159, 0), RGBColor(86, 180, 233)];

/// Left and upper corner of the square that curves are drawn in, and its side.
const PLOT: (i32, i32, i32) = (74, 44, 380);

/// One curve of [`roc`].
#[derive(Debug, Clone, PartialEq)]
pub struct RocCurve {
    /// Name of the class.
    pub class: String,
    /// Its area; `None` when it is undefined.
    pub auc: Option<f64>,
    /// Interval of the area.
    pub interval: Option<Interval>,
    /// From (0, 0) to (1, 1); empty when it is undefined.
    pub points: Vec<RocPoint>,
}

/// The curve of each class against the others, with the areas of `assessment`, which is of the same predictions.
///
/// # Panics
/// When the assessment has fewer classes than the predictions.
#[track_caller]
pub fn roc_curves(all: &Predictions, assessment: &Assessment) -> Vec<RocCurve> {
    let of = |(k, class): (usize, &String)| {
        let (scores, own) = (all.scores(k), all.rows.iter().map(|r| r.truth == k).collect::<Vec<bool>>());
        let area = assessment.ranking[k].roc_auc;
        let points = Ranking::new(&scores).roc_curve(&own, &scores);
        RocCurve { class: class.clone(), auc: area.value, interval: area.interval, points }
    };
    all.classes.iter().enumerate().map(of).collect()
}

/// ROC curves of up to 30 classes, one-vs-rest, with their areas; 860 pixels wide.
///
/// # Errors
/// [`crate::Error::Internal`] when the drawing library refuses.
pub fn roc(curves: &[RocCurve], title: &str) -> Result<String> {
    let (left, top, side) = PLOT;
    let shown = &curves[..curves.len().min(30)];
    let height = (top + side + 62).max(top + 60 + 22 * shown.len() as i32);
    svg(860, height as u32, title, |root| {
        frame(root, title, "false positive rate (1 - specificity)", "true positive rate (sensitivity)")?;
        line(root, corner(0.0, 0.0), corner(1.0, 1.0), FAINT, true)?;
        for (i, curve) in shown.iter().enumerate().rev() {
            let (colour, width) = stroke(i);
            let mut path: Vec<(i32, i32)> =
                curve.points.iter().map(|p| corner(p.false_positive_rate, p.true_positive_rate)).collect();
            path.dedup();
            root.draw(&PathElement::new(path, colour.stroke_width(width)))?;
        }
        let x = left + side + 28;
        let left_middle = Pos::new(HPos::Left, VPos::Center);
        root.draw(&Text::new("area under the curve", at(x, top + 8), style(13.0, FAINT).pos(left_middle)))?;
        for (i, curve) in shown.iter().enumerate() {
            let y = top + 34 + 22 * i as i32;
            let (colour, width) = stroke(i);
            root.draw(&PathElement::new([at(x, y), at(x + 28, y)], colour.stroke_width(width)))?;
            let area = match (curve.auc, curve.interval) {
                (Some(a), Some(i)) => format!("{a:.3} [{:.3}, {:.3}]", i.low, i.high),
                (Some(a), None) => format!("{a:.3}"),
                (None, _) => "undefined".into(),
            };
            let name = cut(&curve.class, 24);
            root.draw(&Text::new(format!("{name}: {area}"), at(x + 36, y), style(12.0, INK).pos(left_middle)))?;
        }
        let rest = curves.len() - shown.len();
        let method =
            curves.iter().find_map(|c| c.interval).map(|i| format!("{} intervals: {}", level_text(i.level), i.method));
        let more = (rest > 0).then(|| format!("{rest} more classes are not drawn"));
        for (i, text) in method.into_iter().chain(more).enumerate() {
            let y = top + 40 + 22 * shown.len() as i32 + 18 * i as i32;
            root.draw(&Text::new(text, at(x, y), style(12.0, FAINT).pos(left_middle)))?;
        }
        Ok(())
    })
}

/// Reliability diagram: accuracy against confidence of each bin with Wilson intervals at `level`, and how many images are
/// in the bins; 500 pixels wide. `ece` is written into it.
///
/// # Errors
/// [`crate::Error::Internal`] when the drawing library refuses.
pub fn reliability(bins: &[Bin], ece: Option<f64>, level: f64, title: &str) -> Result<String> {
    let (left, top, side) = PLOT;
    let below = top + side + 58;
    let tall = 64;
    svg(500, (below + tall + 26) as u32, title, |root| {
        frame(root, title, "confidence (probability of the predicted class)", "accuracy")?;
        line(root, corner(0.0, 0.0), corner(1.0, 1.0), FAINT, true)?;
        let (left_middle, centre) = (Pos::new(HPos::Left, VPos::Center), Pos::new(HPos::Center, VPos::Center));
        let largest = bins.iter().map(|b| b.images).max().unwrap_or(0).max(1);
        let mut path = Vec::new();
        for bin in bins {
            let (x, to) = (corner(bin.low, 0.0).0, corner(bin.high, 0.0).0);
            let share = bin.images as f64 / largest as f64;
            let high = at(0, below + tall - (f64::from(tall) * share).ceil() as i32).1;
            let bar = [(x + UNITS as i32, high), (to - UNITS as i32, at(0, below + tall).1)];
            if bin.images > 0 {
                root.draw(&Rectangle::new(bar, RGBColor(150, 190, 215).filled()))?;
            }
            let (Some(confidence), Some(accuracy)) = (bin.confidence, bin.accuracy) else { continue };
            path.push(corner(confidence, accuracy));
            let right = ((accuracy * bin.images as f64).round() as u64).min(bin.images);
            if let Some(i) = wilson(right, bin.images, level) {
                line(root, corner(confidence, i.low), corner(confidence, i.high), FAINT, false)?;
            }
        }
        root.draw(&PathElement::new(path.clone(), BLUE.stroke_width(2 * UNITS)))?;
        for point in path {
            root.draw(&Circle::new(point, 4 * UNITS, BLUE.filled()))?;
        }
        let text = ece.map_or("no image".into(), |e| format!("ECE {e:.3}; lines: {} Wilson", level_text(level)));
        root.draw(&Text::new(text, at(left + 12, top + 16), style(12.0, INK).pos(left_middle)))?;
        let count = format!("images per bin, at most {}", thousands(largest));
        root.draw(&Text::new(count, at(left + side / 2, below + tall + 14), style(12.0, FAINT).pos(centre)))?;
        root.draw(&PathElement::new(
            [at(left, below + tall), at(left + side, below + tall)],
            FAINT.stroke_width(UNITS),
        ))?;
        Ok(())
    })
}

/// Title, grid and axes from 0 to 1.
fn frame(root: &Area, title: &str, below: &str, beside: &str) -> Drawn {
    let (left, top, side) = PLOT;
    let (left_middle, centre) = (Pos::new(HPos::Left, VPos::Center), Pos::new(HPos::Center, VPos::Center));
    root.draw(&Text::new(title.to_string(), at(14, 18), style(15.0, INK).pos(left_middle)))?;
    let right = style(12.0, INK).pos(Pos::new(HPos::Right, VPos::Center));
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let ((x, _), (_, y)) = (corner(share, 0.0), corner(0.0, share));
        let grid = GRID.stroke_width(UNITS);
        root.draw(&PathElement::new([(x, corner(0.0, 0.0).1), (x, corner(0.0, 1.0).1)], grid))?;
        root.draw(&PathElement::new([(corner(0.0, 0.0).0, y), (corner(1.0, 0.0).0, y)], grid))?;
        let label = format!("{share:.1}");
        let at_x = (x, at(0, top + side + 14).1);
        root.draw(&Text::new(label.clone(), at_x, style(12.0, INK).pos(centre)))?;
        root.draw(&Text::new(label, (at(left - 8, 0).0, y), right.clone()))?;
    }
    root.draw(&Rectangle::new([corner(0.0, 1.0), corner(1.0, 0.0)], FAINT.stroke_width(UNITS)))?;
    let middle = at(left + side / 2, top + side + 36);
    root.draw(&Text::new(below.to_string(), middle, style(13.0, INK).pos(centre)))?;
    let turned = ("sans-serif", 13.0 * 1.24 * f64::from(UNITS)).into_font().transform(FontTransform::Rotate270);
    root.draw(&Text::new(beside.to_string(), at(22, top + side / 2), turned.color(&INK).pos(centre)))?;
    Ok(())
}

/// Where (x, y) from 0 to 1 lies in the square.
fn corner(x: f64, y: f64) -> (i32, i32) {
    let (left, top, side) = PLOT;
    let units = |v: f64| (v.clamp(0.0, 1.0) * f64::from(side * UNITS as i32)).round() as i32;
    let (x0, y0) = at(left, top + side);
    (x0 + units(x), y0 - units(y))
}

/// Colour and width of curve `i`: beyond six the colours come again, thinner.
fn stroke(i: usize) -> (RGBColor, u32) {
    let width = if i < COLOURS.len() { 2 * UNITS } else { UNITS };
    (COLOURS[i % COLOURS.len()], width)
}

fn cut(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        return name.to_string();
    }
    name.chars().take(letters - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::assessment::AssessOptions;
    use crate::eval::testing::made;

    #[test]
    fn charts_hold_the_figures() {
        let all = made(90, 60, 0);
        let a = Assessment::of(&all, &AssessOptions::default()).unwrap();
        let curves = roc_curves(&all, &a);
        let chart = roc(&curves, "ROC <test>").unwrap();
        for part in
            ["normal: 0.977 [0.954, 0.999]", "95 % intervals: DeLong", "ROC &lt;test&gt;", "false positive rate"]
        {
            assert!(chart.contains(part), "{part} in {chart}");
        }
        assert_eq!(curves[0].points.len(), 91, "one point per distinct score and the origin");
        let chart = reliability(&a.calibration.bins, a.calibration.ece.value, 0.95, "Reliability").unwrap();
        let ece = format!("ECE {:.3}; lines: 95 % Wilson", a.calibration.ece.value.unwrap());
        assert!(chart.contains(&ece) && chart.contains("images per bin") && !chart.contains("NaN"), "{chart}");
        // As many dots as there are bins with images.
        let filled = a.calibration.bins.iter().filter(|b| b.images > 0).count();
        assert_eq!(chart.matches("<circle").count(), filled);
    }

    #[test]
    fn undefined_curves_and_many_classes_can_be_drawn() {
        let undefined =
            RocCurve { class: "a class with a very long name".into(), auc: None, interval: None, points: vec![] };
        let chart = roc(&vec![undefined; 40], "x").unwrap();
        assert!(chart.contains("a class with a very l...: undefined") && chart.contains("10 more classes"), "{chart}");
        assert!(reliability(&[], None, 0.95, "x").unwrap().contains("no image"));
    }
}
