//! Grad-CAM panels as pictures: original, map and overlay side by side with a colour bar, enlarged so that a 64-pixel
//! image can be seen.
//!
//! The original is enlarged by repeating pixels (what the network saw, nothing invented), the map bilinearly (it is
//! smooth by nature); the captions say so. No patient and no file name is put into a picture by this module.

use crate::error::{Error, Result};
use crate::report::colormap::Colormap;
use crate::report::glyphs;
use image::{ImageEncoder, Rgb, RgbImage};

/// The images of one panel, all of one size, row by row from the top left.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The image that the network saw, one byte a pixel, H×W.
    pub gray: &'a [u8],
    /// Its map in colours, already at the image's size, H×W×3.
    pub map_rgb: &'a [u8],
    /// Pixels of a lesion (not 0 is inside), H×W; its outline is drawn into original and overlay.
    pub mask: Option<&'a [u8]>,
    /// Text below the pictures, as in "true COVID-19, predicted pneumonia, p = 0.62"; ASCII, broken at spaces. Empty where
    /// the page has its own caption.
    pub caption: &'a str,
}

/// How a panel is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PanelStyle {
    /// Enlargement; `None` takes the smallest that gives each picture at least 256 pixels in width.
    pub scale: Option<usize>,
    /// Weight of the map in the overlay, 0 to 1.
    pub alpha: f32,
    /// The colour map that `map_rgb` was made with, for the colour bar.
    pub colormap: Colormap,
}

impl Default for PanelStyle {
    fn default() -> PanelStyle {
        PanelStyle { scale: None, alpha: 0.45, colormap: Colormap::Turbo }
    }
}

/// What a panel shows besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks<'a> {
    /// What the map is, above it.
    pub map: &'a str,
    /// Pixels inside a contour of the map (not 0 is inside), H×W; it is outlined in red in original and overlay.
    pub contour: Option<&'a [u8]>,
}

impl Default for Marks<'_> {
    fn default() -> Self {
        Marks { map: "Grad-CAM", contour: None }
    }
}

/// How an outline is drawn, visible on any background.
#[derive(Clone, Copy)]
struct Line {
    inside: Rgb<u8>,
    outside: Rgb<u8>,
}

const MASK: Line = Line { inside: Rgb([255, 255, 255]), outside: Rgb([0, 0, 0]) };
const CONTOUR: Line = Line { inside: Rgb([255, 0, 0]), outside: Rgb([255, 255, 255]) };

const MARGIN: usize = 12;
const GAP: usize = 10;
const BAR: usize = 14;
/// Pixels a dot of the letters.
const DOT: usize = 2;
const LINE: usize = (glyphs::HEIGHT + 3) * DOT;
const INK: Rgb<u8> = Rgb([30, 30, 30]);

/// Draws `panel`: labels, three pictures and colour bar on white, and the caption below.
///
/// # Errors
/// [`Error::Data`] when a slice does not have the size that width and height promise, or the result would be larger
/// than 16,384 pixels a side.
pub fn panel(panel: &Panel, style: &PanelStyle) -> Result<RgbImage> {
    marked(panel, style, &Marks::default())
}

/// As [`panel()`], with other marks.
///
/// # Errors
/// As [`panel()`].
pub fn marked(panel: &Panel, style: &PanelStyle, marks: &Marks) -> Result<RgbImage> {
    let (w, h) = (panel.width, panel.height);
    let pixels =
        w.checked_mul(h).filter(|&n| n > 0).ok_or_else(|| Error::Data(format!("panel: an image of {w}×{h} pixels")))?;
    let sizes = [("image", panel.gray.len(), pixels), ("map", panel.map_rgb.len(), 3 * pixels)];
    let outlines = [("mask", panel.mask, MASK), ("contour", marks.contour, CONTOUR)];
    let outlines: Vec<_> = outlines.into_iter().filter_map(|(what, m, line)| Some((what, m?, line))).collect();
    let outline_sizes = outlines.iter().map(|(what, m, _)| (*what, m.len(), pixels));
    if let Some((what, got, want)) = sizes.into_iter().chain(outline_sizes).find(|(_, got, want)| got != want) {
        return Err(Error::Data(format!("panel of {w}×{h} pixels: the {what} has {got} bytes, needed are {want}")));
    }
    let scale = style.scale.unwrap_or_else(|| 256usize.div_ceil(w)).max(1);
    let (big_w, big_h) = (w * scale, h * scale);
    let labels = [
        format!("original, x{scale} nearest"),
        format!("{}, x{scale} bilinear", marks.map),
        format!("overlay, map {:.0} %", 100.0 * style.alpha),
    ];
    let bar_label = glyphs::width("0.5") * DOT;
    let total_w = 2 * MARGIN + 3 * big_w + 3 * GAP + BAR + 6 + bar_label;
    let caption = glyphs::wrap(panel.caption, (total_w - 2 * MARGIN) / DOT);
    // Labels share one number of lines so that the pictures stand in one row.
    let label_lines: Vec<Vec<String>> = labels.iter().map(|l| glyphs::wrap(l, big_w / DOT)).collect();
    let head = label_lines.iter().map(Vec::len).max().unwrap_or(0) * LINE;
    let top = MARGIN + head;
    let total_h = top + big_h + GAP + caption.len() * LINE + MARGIN;
    if total_w.max(total_h) > 16_384 {
        return Err(Error::Data(format!(
            "panel of {w}×{h} pixels enlarged {scale} times would be {total_w}×{total_h}"
        )));
    }
    let mut out = RgbImage::from_pixel(total_w as u32, total_h as u32, Rgb([255, 255, 255]));
    for (i, lines) in label_lines.iter().enumerate() {
        let left = MARGIN + i * (big_w + GAP);
        for (j, line) in lines.iter().enumerate() {
            text(&mut out, line, left, top - head + j * LINE);
        }
        for y in 0..big_h {
            for x in 0..big_w {
                let gray = panel.gray[y / scale * w + x / scale];
                let colour = match i {
                    0 => [gray; 3],
                    1 => bilinear(panel.map_rgb, w, h, x, y, scale),
                    _ => blend(gray, bilinear(panel.map_rgb, w, h, x, y, scale), style.alpha),
                };
                out.put_pixel((left + x) as u32, (top + y) as u32, Rgb(colour));
            }
        }
        for (_, mask, line) in outlines.iter().filter(|_| i != 1) {
            outline(&mut out, mask, *line, (w, h, scale), (left, top));
        }
    }
    colour_bar(&mut out, MARGIN + 3 * (big_w + GAP), top, big_h, style.colormap);
    for (i, line) in caption.iter().enumerate() {
        text(&mut out, line, MARGIN, top + big_h + GAP + i * LINE);
    }
    Ok(out)
}

/// `image` as a PNG file.
///
/// # Errors
/// [`Error::Internal`] when the encoder refuses, which memory alone can cause.
pub fn png_bytes(image: &RgbImage) -> Result<Vec<u8>> {
    png(image.as_raw(), image.width(), image.height(), image::ExtendedColorType::Rgb8)
}

/// Gray bytes, H×W, as a PNG file.
///
/// # Errors
/// [`Error::Data`] for another number of bytes; as [`png_bytes`].
pub fn gray_png(gray: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    if gray.len() != width * height {
        return Err(Error::Data(format!("a gray picture of {width}×{height} pixels has {} bytes", gray.len())));
    }
    png(gray, width as u32, height as u32, image::ExtendedColorType::L8)
}

fn png(pixels: &[u8], width: u32, height: u32, kind: image::ExtendedColorType) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new_with_quality(
        &mut bytes,
        image::codecs::png::CompressionType::Best,
        image::codecs::png::FilterType::Adaptive,
    )
    .write_image(pixels, width, height, kind)
    .map_err(|e| Error::Internal(format!("PNG encoder: {e}")))?;
    Ok(bytes)
}

/// `(1 - alpha) · gray + alpha · colour`, rounded.
fn blend(gray: u8, colour: [u8; 3], alpha: f32) -> [u8; 3] {
    let a = alpha.clamp(0.0, 1.0);
    colour.map(|c| ((1.0 - a) * f32::from(gray) + a * f32::from(c)).round() as u8)
}

/// Pixel (x, y) of `rgb` enlarged `scale` times: pixel centres at half integers, the border repeated.
fn bilinear(rgb: &[u8], w: usize, h: usize, x: usize, y: usize, scale: usize) -> [u8; 3] {
    let axis = |i: usize, n: usize| {
        let at = ((i as f32 + 0.5) / scale as f32 - 0.5).clamp(0.0, (n - 1) as f32);
        let low = at.floor() as usize;
        (low, (low + 1).min(n - 1), at - low as f32)
    };
    let ((x0, x1, fx), (y0, y1, fy)) = (axis(x, w), axis(y, h));
    std::array::from_fn(|c| {
        let at = |x: usize, y: usize| f32::from(rgb[(y * w + x) * 3 + c]);
        let top = at(x0, y0) + fx * (at(x1, y0) - at(x0, y0));
        let bottom = at(x0, y1) + fx * (at(x1, y1) - at(x0, y1));
        (top + fy * (bottom - top)).round() as u8
    })
}

/// Outline of the mask: two pixels inside its border and one outside.
fn outline(
    out: &mut RgbImage,
    mask: &[u8],
    line: Line,
    (w, h, scale): (usize, usize, usize),
    (left, top): (usize, usize),
) {
    let inside = |x: isize, y: isize| {
        let (x, y) = (x.div_euclid(scale as isize), y.div_euclid(scale as isize));
        x >= 0 && y >= 0 && x < w as isize && y < h as isize && mask[y as usize * w + x as usize] != 0
    };
    for y in 0..(h * scale) as isize {
        for x in 0..(w * scale) as isize {
            let here = inside(x, y);
            let reach = if here { 2 } else { 1 };
            let edge = (-reach..=reach).any(|dy| (-reach..=reach).any(|dx| inside(x + dx, y + dy) != here));
            if edge {
                let colour = if here { line.inside } else { line.outside };
                out.put_pixel((left as isize + x) as u32, (top as isize + y) as u32, colour);
            }
        }
    }
}

/// A vertical bar from 0 (bottom) to 1 (top, the map's maximum), with three marks.
fn colour_bar(out: &mut RgbImage, left: usize, top: usize, height: usize, map: Colormap) {
    for y in 0..height {
        let colour = map.rgb8(1.0 - y as f32 / (height - 1).max(1) as f32);
        (0..BAR).for_each(|x| out.put_pixel((left + x) as u32, (top + y) as u32, Rgb(colour)));
    }
    let letter = 7 * DOT;
    let last = height.saturating_sub(letter);
    for (label, y) in [("1", 0), ("0.5", last / 2), ("0", last)] {
        // A picture lower than two letters has room for one mark only.
        if height >= 4 * letter || label == "1" {
            text(out, label, left + BAR + 6, top + y);
        }
    }
}

fn text(out: &mut RgbImage, line: &str, left: usize, top: usize) {
    glyphs::draw(line, |x, y| {
        for (dx, dy) in (0..DOT).flat_map(|dy| (0..DOT).map(move |dx| (dx, dy))) {
            let (x, y) = ((left + x * DOT + dx) as u32, (top + y * DOT + dy) as u32);
            if x < out.width() && y < out.height() {
                out.put_pixel(x, y, INK);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small<'a>(gray: &'a [u8], map: &'a [u8], mask: Option<&'a [u8]>) -> Panel<'a> {
        Panel { width: 2, height: 2, gray, map_rgb: map, mask, caption: "p = 0.62" }
    }

    const MAP: [u8; 12] = [0, 0, 0, 100, 0, 0, 0, 200, 0, 100, 200, 0];

    #[test]
    fn pixels_are_where_they_belong() {
        let gray = [0, 50, 100, 200];
        let style = PanelStyle { scale: Some(128), alpha: 0.5, colormap: Colormap::Jet };
        let out = panel(&small(&gray, &MAP, None), &style).unwrap();
        let top = (MARGIN + 2 * LINE) as u32;
        let at = |i: usize, x: u32, y: u32| out.get_pixel((MARGIN + i * (256 + GAP)) as u32 + x, top + y).0;
        assert_eq!(at(0, 0, 0), [0; 3]);
        assert_eq!(at(0, 127, 0), [0; 3], "nearest");
        assert_eq!(at(0, 128, 0), [50; 3]);
        assert_eq!(at(0, 255, 255), [200; 3]);
        assert_eq!(at(1, 0, 0), [0; 3]);
        assert_eq!(at(1, 255, 255), [100, 200, 0]);
        let middle = at(1, 128, 128);
        assert!(middle[0].abs_diff(50) <= 1 && middle[1].abs_diff(100) <= 1, "{middle:?}");
        assert_eq!(at(2, 255, 255), [150, 200, 100]);
        assert_eq!(at(3, 0, 0), Colormap::Jet.rgb8(1.0));
        assert_eq!(at(3, 0, 255), Colormap::Jet.rgb8(0.0));
        let png = png_bytes(&out).unwrap();
        assert_eq!(image::load_from_memory(&png).unwrap().to_rgb8(), out);
    }

    #[test]
    fn mask_is_outlined_in_original_and_overlay_only() {
        let gray = [100; 4];
        let style = PanelStyle { scale: Some(128), alpha: 0.0, colormap: Colormap::Turbo };
        let out = panel(&small(&gray, &[7; 12], Some(&[0, 9, 0, 0])), &style).unwrap();
        let top = (MARGIN + 2 * LINE) as u32;
        for (i, lines) in [(0, true), (1, false), (2, true)] {
            let at = |x: u32, y: u32| out.get_pixel((MARGIN + i * (256 + GAP)) as u32 + x, top + y).0;
            let plain = if i == 1 { [7; 3] } else { [100; 3] };
            assert_eq!(at(128, 60), if lines { [255; 3] } else { plain });
            assert_eq!(at(127, 60), if lines { [0; 3] } else { plain });
            assert_eq!(at(126, 60), plain);
            assert_eq!(at(190, 60), plain);
        }
    }

    #[test]
    fn a_contour_is_red_and_goes_over_the_mask() {
        let style = PanelStyle { scale: Some(128), alpha: 0.0, colormap: Colormap::Turbo };
        let inside: [u8; 4] = [0, 1, 0, 0];
        let marks = Marks { map: "LayerCAM", contour: Some(&inside) };
        let out = marked(&small(&[100; 4], &[7; 12], Some(&[0, 1, 0, 1])), &style, &marks).unwrap();
        let top = (MARGIN + 2 * LINE) as u32;
        for (i, lines) in [(0, true), (1, false), (2, true)] {
            let at = |x: u32, y: u32| out.get_pixel((MARGIN + i * (256 + GAP)) as u32 + x, top + y).0;
            assert_eq!(at(128, 60) == [255, 0, 0], lines);
            assert_eq!(at(127, 60) == [255; 3], lines);
            assert_eq!(at(128, 200) == [255; 3], lines, "the mask's own outline stays white");
        }
        let plain = panel(&small(&[100; 4], &[7; 12], Some(&[0, 1, 0, 1])), &style).unwrap();
        assert!(plain.pixels().all(|p| p.0 != [255, 0, 0]) && plain != out);
        let short = Marks { contour: Some(&inside[..3]), ..Marks::default() };
        let e = marked(&small(&[0; 4], &MAP, None), &style, &short).unwrap_err();
        assert!(e.to_string().contains("the contour has 3 bytes"), "{e}");
    }

    #[test]
    fn gray_pictures_are_files() {
        let png = gray_png(&[0, 9, 200, 255, 1, 2], 3, 2).unwrap();
        let read = image::load_from_memory(&png).unwrap();
        assert_eq!((read.color(), read.to_luma8().into_raw()), (image::ColorType::L8, vec![0, 9, 200, 255, 1, 2]));
        assert!(gray_png(&[0; 5], 3, 2).is_err());
    }

    #[test]
    fn wrong_sizes_are_errors_that_name_them() {
        let e = panel(&small(&[0; 3], &MAP, None), &PanelStyle::default()).unwrap_err();
        assert_eq!(e.to_string(), "panel of 2×2 pixels: the image has 3 bytes, needed are 4");
        assert!(panel(&small(&[0; 4], &MAP, Some(&[1])), &PanelStyle::default()).is_err());
        let empty = Panel { width: 0, height: 2, gray: &[], map_rgb: &[], mask: None, caption: "" };
        assert!(panel(&empty, &PanelStyle::default()).is_err());
        let style = PanelStyle { scale: Some(10_000), ..PanelStyle::default() };
        assert!(panel(&small(&[0; 4], &MAP, None), &style).unwrap_err().to_string().contains("would be"));
    }
}
