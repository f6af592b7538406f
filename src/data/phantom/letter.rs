//! The planted artefact: a letter of lead, R or L, in an upper corner, drawn from strokes at any side.

use super::lesion::to_segment;
use super::noise::Rng;
use super::style::Style;

/// Side of the corner that holds the letter, as a part of the image's side.
pub const CORNER: f32 = 0.34;

/// Height of a letter as a part of the side; at small sides it is this many pixels instead.
const HEIGHT: f32 = 0.13;
const PIXELS: f32 = 7.0;
/// Width and half the stroke's width as parts of the height.
const WIDTH: f32 = 0.70;
const STROKE: f32 = 0.09;
/// Width of the shade around the strokes as a part of the height, and the brightest that the image is there: without it a
/// white letter on a bright shoulder would not be seen.
const SHADE: f32 = 0.09;
const SHADED: f32 = 0.55;

/// Strokes of each letter in a box of height 1 and width [`WIDTH`].
const R: [[[f32; 2]; 2]; 7] = [
    [[0.09, 0.09], [0.09, 0.91]],
    [[0.09, 0.09], [0.40, 0.09]],
    [[0.40, 0.09], [0.58, 0.20]],
    [[0.58, 0.20], [0.58, 0.38]],
    [[0.58, 0.38], [0.40, 0.50]],
    [[0.40, 0.50], [0.09, 0.50]],
    [[0.30, 0.50], [0.60, 0.91]],
];
const L: [[[f32; 2]; 2]; 2] = [[[0.09, 0.09], [0.09, 0.91]], [[0.09, 0.91], [0.58, 0.91]]];

/// A letter with its place: the upper left corner of its box and its height, in pixels.
struct Place {
    left: f32,
    top: f32,
    height: f32,
}

/// What the letter does to one pixel.
struct Touch {
    at: usize,
    /// Share of the pixel that the strokes cover.
    ink: f32,
    /// Share that strokes and shade cover together.
    shade: f32,
}

/// The pixels that a letter changes.
fn touches(strokes: &[[[f32; 2]; 2]], place: &Place, side: usize) -> Vec<Touch> {
    const FINE: usize = 4;
    let pad = SHADE * place.height;
    let range = |from: f32, length: f32| {
        (from - pad).floor().max(0.0) as usize..((from + length + pad).ceil().max(0.0) as usize).min(side)
    };
    let mut out = Vec::new();
    for row in range(place.top, place.height) {
        for column in range(place.left, WIDTH * place.height) {
            let (mut ink, mut shade) = (0, 0);
            for i in 0..FINE * FINE {
                let x = column as f32 + ((i % FINE) as f32 + 0.5) / FINE as f32 - place.left;
                let y = row as f32 + ((i / FINE) as f32 + 0.5) / FINE as f32 - place.top;
                let point = [x / place.height, y / place.height];
                let distance = strokes.iter().map(|s| to_segment(point, s[0], s[1])).fold(f32::INFINITY, f32::min);
                ink += usize::from(distance <= STROKE);
                shade += usize::from(distance <= STROKE + SHADE);
            }
            if shade > 0 {
                let part = |n: usize| n as f32 / (FINE * FINE) as f32;
                out.push(Touch { at: row * side + column, ink: part(ink), shade: part(shade) });
            }
        }
    }
    out
}

/// Draws an R into the upper left corner (the patient's right) or an L into the upper right one; returns which. It lies inside
/// the border of `style` and outside `lungs`. The pixels it changes are set in `ink`.
pub(super) fn plant(
    pixels: &mut [f32],
    ink: &mut [bool],
    lungs: &[bool],
    side: usize,
    style: &Style,
    rng: &mut Rng,
) -> char {
    let n = side as f32;
    let height = (HEIGHT * n).max(PIXELS);
    let first = if rng.chance(0.5) { 'R' } else { 'L' };
    let pad = SHADE * height;
    let mut best: Option<(usize, char, Vec<Touch>)> = None;
    // Where the lungs reach into one corner at every try, the other corner takes the other letter.
    'search: for letter in [first, if first == 'R' { 'L' } else { 'R' }] {
        let strokes: &[_] = if letter == 'R' { &R } else { &L };
        for _ in 0..32 {
            // On whole pixels: a stroke of one pixel that lies between two would be half as bright.
            let mut between = |border: f32, length: f32| {
                let low = (n * border).ceil();
                let high = (n * CORNER - length - pad).floor().max(low);
                low + rng.int(0, (high - low) as u32) as f32
            };
            let across = between(style.border[if letter == 'R' { 0 } else { 2 }], WIDTH * height);
            let top = between(style.border[1], height);
            let left = if letter == 'R' { across } else { (n - across - WIDTH * height).floor() };
            let cover = touches(strokes, &Place { left, top, height }, side);
            let lost = cover.iter().filter(|t| t.ink > 0.0 && lungs[t.at]).count();
            if best.as_ref().is_none_or(|b| lost < b.0) {
                best = Some((lost, letter, cover));
            }
            if lost == 0 {
                break 'search;
            }
        }
    }
    let Some((_, letter, cover)) = best else { return first };
    let free = |t: &Touch| !lungs[t.at] && !style.covers(t.at % side, t.at / side, side);
    for Touch { at, ink: on, shade } in cover.into_iter().filter(free) {
        let under = pixels[at] * (1.0 - shade) + pixels[at].min(SHADED) * shade;
        pixels[at] = ((under * (1.0 - on) + on) * 255.0).round() / 255.0;
        ink[at] = true;
    }
    letter
}
