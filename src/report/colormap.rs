//! Colour maps for pictures that the host draws; the formulas are those of [`crate::ops::Colors`], which the GPU computes alike.

use crate::ops::Colors;

/// A map from [0, 1] to colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colormap {
    /// Turbo (Mikhailov 2019, <https://research.google/blog/turbo-an-improved-rainbow-colormap-for-visualization/>), in
    /// its author's degree-5 polynomial approximation
    /// (<https://gist.github.com/mikhailov-work/0d177465a8151eb6ede1768d51d476c7>, Apache-2.0): smoother than jet, no
    /// false bands. The polynomial is within 20 of 255 of the author's table, at the ends within 32.
    #[default]
    Turbo,
    /// The classic jet of MATLAB (three trapezoids), which most Grad-CAM papers use.
    Jet,
}

impl Colormap {
    /// Colour of `x`, each channel in [0, 1]; `x` is first clamped to [0, 1], NaN becomes 0.
    pub fn rgb(self, x: f32) -> [f32; 3] {
        let x = if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) };
        let colors = match self {
            Colormap::Turbo => Colors::Turbo,
            Colormap::Jet => Colors::Jet,
        };
        colors.rgb(f64::from(x)).map(|v| v as f32)
    }

    /// Colour of `x` as bytes, rounded to nearest.
    pub fn rgb8(self, x: f32) -> [u8; 3] {
        self.rgb(x).map(|v| (255.0 * v).round() as u8)
    }

    /// A map of values in [0, 1] as RGB bytes, 3 per value.
    pub fn apply(self, values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|&v| self.rgb8(v)).collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Colormap::Turbo => "turbo",
            Colormap::Jet => "jet",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turbo_is_its_polynomial_and_near_its_table() {
        // The polynomial at i / 5 by NumPy in f64, and matplotlib 3.11 colormaps["turbo"], the author's table.
        let polynomial = [[35, 23, 27], [47, 158, 245], [78, 249, 131], [223, 220, 50], [244, 92, 23], [144, 13, 0]];
        let table = [[48, 18, 59], [62, 155, 254], [70, 248, 132], [225, 221, 55], [240, 91, 18], [122, 4, 3]];
        let far = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).map(|(a, b)| a.abs_diff(b)).max();
        for i in 0..6 {
            let got = Colormap::Turbo.rgb8(i as f32 / 5.0);
            assert!(far(got, polynomial[i]) <= Some(1), "{i}: {got:?}, polynomial {:?}", polynomial[i]);
            assert!(far(got, table[i]) <= Some(32), "{i}: {got:?}, table {:?}", table[i]);
        }
    }

    #[test]
    fn jet_has_its_corners() {
        let at = |x| Colormap::Jet.rgb8(x);
        assert_eq!(at(0.0), [0, 0, 128]);
        assert_eq!(at(0.125), [0, 0, 255]);
        assert_eq!(at(0.375), [0, 255, 255]);
        assert_eq!(at(0.5), [128, 255, 128]);
        assert_eq!(at(0.625), [255, 255, 0]);
        assert_eq!(at(1.0), [128, 0, 0]);
    }

    #[test]
    fn anything_is_clamped() {
        for map in [Colormap::Turbo, Colormap::Jet] {
            assert_eq!(map.rgb8(f32::NAN), map.rgb8(0.0));
            assert_eq!(map.rgb8(-3.0), map.rgb8(0.0));
            assert_eq!(map.rgb8(f32::INFINITY), map.rgb8(1.0));
            assert_eq!(map.apply(&[0.0, 1.0]).len(), 6);
        }
    }
}
