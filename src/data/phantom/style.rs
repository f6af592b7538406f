//! How sources differ in the teaching set: the grey curve, the border and the noise that a hospital leaves on its images.

use super::noise::Rng;

/// Most sources of a teaching set.
pub const MAX_SOURCES: usize = 6;

/// What one source does to every image; source 0 does nothing.
pub(super) struct Style {
    /// Exponent of the grey curve: above 1 darker.
    gamma: f32,
    /// Grey value of black.
    lift: f32,
    /// Grey value of white.
    white: f32,
    /// Collimator or frame: left, top, right, bottom, as parts of the side.
    pub border: [f32; 4],
    /// Grey value of the border.
    frame: f32,
    /// Standard deviation of the noise.
    grain: f32,
}

/// Style of a source.
pub(super) fn style(source: usize) -> Style {
    let plain = Style { gamma: 1.0, lift: 0.0, white: 1.0, border: [0.0; 4], frame: 0.0, grain: 0.0 };
    match source % MAX_SOURCES {
        0 => plain,
        // Underexposed, collimated on all sides.
        1 => Style { gamma: 1.35, border: [0.035; 4], ..plain },
        // Washed out and noisy, no border.
        2 => Style { gamma: 0.8, lift: 0.12, white: 0.92, grain: 0.025, ..plain },
        // High contrast, collimated left and right.
        3 => Style { gamma: 1.15, white: 1.08, lift: -0.06, border: [0.06, 0.0, 0.06, 0.0], ..plain },
        // A scanned film on a white table.
        4 => Style { gamma: 0.9, lift: 0.05, border: [0.04, 0.02, 0.02, 0.04], frame: 0.95, ..plain },
        // Coarse grain, collimated above and below.
        _ => Style { gamma: 1.1, border: [0.0, 0.05, 0.0, 0.05], frame: 0.03, grain: 0.045, ..plain },
    }
}

impl Style {
    /// Whether the centre of pixel (column, row) lies on the border.
    pub fn covers(&self, column: usize, row: usize, side: usize) -> bool {
        let [x, y] = [column, row].map(|i| (i as f32 + 0.5) / side as f32);
        let [left, top, right, bottom] = self.border;
        x < left || y < top || x > 1.0 - right || y > 1.0 - bottom
    }

    /// Applies the style to `pixels` (side × side, multiples of 1/255 before and after) and clears the masks where the
    /// border covers them.
    pub fn apply(&self, pixels: &mut [f32], masks: [&mut [bool]; 2], side: usize, rng: &mut Rng) {
        for (at, v) in pixels.iter_mut().enumerate() {
            let noise = if self.grain > 0.0 { self.grain * rng.normal() } else { 0.0 };
            let curve = self.lift + (self.white - self.lift) * v.powf(self.gamma) + noise;
            let value = if self.covers(at % side, at / side, side) { self.frame } else { curve };
            *v = (value.clamp(0.0, 1.0) * 255.0).round() / 255.0;
        }
        for mask in masks {
            for (at, m) in mask.iter_mut().enumerate() {
                *m &= !self.covers(at % side, at / side, side);
            }
        }
    }
}
