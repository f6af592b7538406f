//! A contact sheet: small pictures in rows, one row of pictures a class, as a PNG file.

use crate::error::{Error, Result};
use crate::report::glyphs;
use image::{Rgb, RgbImage};

/// A row of the sheet.
pub struct SheetRow {
    /// What stands above it; without it the row follows close on the one before.
    pub title: String,
    /// Gray pictures `[side, side]` in [0, 1].
    pub pictures: Vec<Vec<f32>>,
}

const GAP: usize = 6;
/// Pixels a dot of the letters.
const DOT: usize = 2;
const HEAD: usize = (glyphs::HEIGHT + 4) * DOT;

/// Draws the rows below each other, pictures of `side` pixels, `footer` at the end.
///
/// # Errors
/// [`Error::Data`] when there is no picture, one has another size, or the sheet would be larger than 16,384 pixels a side.
pub fn sheet(rows: &[SheetRow], side: usize, footer: &str) -> Result<RgbImage> {
    let most = rows.iter().map(|r| r.pictures.len()).max().unwrap_or(0);
    if most == 0 {
        return Err(Error::Data("contact sheet: there is no picture".into()));
    }
    let titles = rows.iter().map(|r| glyphs::width(&r.title) * DOT).max().unwrap_or(0);
    let width = (GAP + most * (side + GAP)).max(2 * GAP + titles);
    let lines = glyphs::wrap(footer, (width - 2 * GAP) / DOT);
    let heights: usize = rows.iter().map(|r| head(r) + side + 2 * GAP).sum();
    let height = GAP + heights + lines.len() * HEAD + GAP;
    if width.max(height) > 16_384 {
        return Err(Error::Data(format!("contact sheet: {width} x {height} pixels; at most 16,384 a side are drawn")));
    }
    let mut out = RgbImage::from_pixel(width as u32, height as u32, Rgb([255; 3]));
    let mut top = GAP;
    for row in rows {
        text(&mut out, &row.title, GAP, top);
        top += head(row);
        for (k, picture) in row.pictures.iter().enumerate() {
            if picture.len() != side * side {
                return Err(Error::Data(format!(
                    "contact sheet: a picture of {} values, needed is {side} x {side}",
                    picture.len()
                )));
            }
            for (p, v) in picture.iter().enumerate() {
                let (x, y) = (GAP + k * (side + GAP) + p % side, top + p / side);
                out.put_pixel(x as u32, y as u32, Rgb([(v.clamp(0.0, 1.0) * 255.0).round() as u8; 3]));
            }
        }
        top += side + 2 * GAP;
    }
    for line in &lines {
        text(&mut out, line, GAP, top);
        top += HEAD;
    }
    Ok(out)
}

/// Pixels above the pictures of a row.
fn head(row: &SheetRow) -> usize {
    if row.title.is_empty() { 0 } else { HEAD }
}

fn text(out: &mut RgbImage, line: &str, left: usize, top: usize) {
    glyphs::draw(line, |x, y| {
        for (dx, dy) in (0..DOT).flat_map(|dy| (0..DOT).map(move |dx| (dx, dy))) {
            let (x, y) = ((left + x * DOT + dx) as u32, (top + y * DOT + dy) as u32);
            if x < out.width() && y < out.height() {
                out.put_pixel(x, y, Rgb([30; 3]));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_where_they_belong() {
        let row = |v: &[f32]| SheetRow { title: "c".into(), pictures: v.iter().map(|&v| vec![v; 16 * 16]).collect() };
        let s = sheet(&[row(&[0.0, 1.0]), row(&[0.5])], 16, "").unwrap();
        let at = |x: usize, y: usize| s.get_pixel(x as u32, y as u32).0[0];
        let first = GAP + HEAD;
        assert_eq!((at(GAP, first), at(GAP + 15, first + 15), at(GAP + 16 + GAP, first)), (0, 0, 255));
        assert_eq!(at(GAP, first + 16 + 2 * GAP + HEAD), 128);
        let below = SheetRow { title: String::new(), ..row(&[0.0]) };
        let s = sheet(&[row(&[1.0]), below], 16, "").unwrap();
        let next = first + 16 + 2 * GAP;
        assert_eq!((s.get_pixel(GAP as u32, next as u32).0, s.height() as usize), ([0; 3], next + 16 + 3 * GAP));
        assert_eq!(sheet(&[row(&[])], 16, "").unwrap_err().exit_code(), 5);
        assert!(sheet(&[row(&[0.0])], 8, "").unwrap_err().to_string().contains("256 values"));
        assert!(sheet(&[row(&vec![0.0; 1000])], 16, "").is_err());
    }
}
