//! Where the heat of a map lies, without knowing what the image shows: at the border, in the corners, inside a mask; and its
//! innermost contour.

use crate::eval::cam_energy::energy_inside;

/// The share of the maximum that bounds the innermost contour.
pub const INNERMOST: f32 = 0.9;

/// Shares of a map's heat (its sum) in parts of a square image that have little lung. Letters, borders of the film and
/// cables lie there; a network that looks there has learnt where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeatShares {
    /// In the outermost eighth of the side, all around; a map without any preference has 7/16 there, or less
    /// where it does not reach the border ([`crate::explain::GradCam::uniform`]).
    pub border: f64,
    /// In the four corner squares of a quarter of the side; a map without any preference has 1/4 there.
    pub corners: f64,
}

impl HeatShares {
    /// The shares of `map`, [side × side]; `None` for a map that is 0 everywhere, or holds what is negative or not finite.
    ///
    /// # Panics
    /// When the map has another size.
    #[track_caller]
    pub fn of(map: &[f32], side: usize) -> Option<HeatShares> {
        assert_eq!(map.len(), side * side, "heat shares: a map of {} values for a side of {side}", map.len());
        let border = energy_inside(map, &border(side))?;
        Some(HeatShares { border, corners: energy_inside(map, &corners(side))? })
    }
}

/// Whether a pixel coordinate is within `width` of either end.
fn outer(v: usize, side: usize, width: usize) -> bool {
    v < width || v + width >= side
}

/// The outermost eighth of the side, all around: 1 inside, [side × side]. At least one pixel.
pub fn border(side: usize) -> Vec<u8> {
    let width = (side as f64 / 8.0).round().max(1.0) as usize;
    let at = |i: usize| outer(i % side, side, width) || outer(i / side, side, width);
    (0..side * side).map(|i| u8::from(at(i))).collect()
}

/// The four corner squares of a quarter of the side: 1 inside, [side × side]. At least one pixel each.
pub fn corners(side: usize) -> Vec<u8> {
    let width = (side as f64 / 4.0).round().max(1.0) as usize;
    let at = |i: usize| outer(i % side, side, width) && outer(i / side, side, width);
    (0..side * side).map(|i| u8::from(at(i))).collect()
}

/// The innermost contour of a map (Balvinsson et al. draw it in red): 1 where the heat is at or above [`INNERMOST`] of the map's
/// own maximum; nothing of a map that is 0 everywhere.
pub fn innermost(map: &[f32]) -> Vec<u8> {
    let most = maximum(map);
    map.iter().map(|v| u8::from(most > 0.0 && *v >= INNERMOST * most)).collect()
}

/// The map divided by its own maximum and scaled to 0 … 255, rounded (Gao & Wang: to [0, 1], then to [0, 255]). No heat is 0
/// and stays so: the smallest value is not moved.
pub fn to_bytes(map: &[f32]) -> Vec<u8> {
    let most = maximum(map);
    let byte = |v: &f32| if most > 0.0 { (255.0 * (v / most).clamp(0.0, 1.0)).round() as u8 } else { 0 };
    map.iter().map(byte).collect()
}

fn maximum(map: &[f32]) -> f32 {
    map.iter().fold(0.0f32, |a, v| a.max(*v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_image() {
        let share = |mask: &[u8]| mask.iter().map(|m| f64::from(*m)).sum::<f64>() / mask.len() as f64;
        for side in [16, 64, 96] {
            assert_eq!((share(&border(side)), share(&corners(side))), (7.0 / 16.0, 0.25), "{side}");
        }
        assert!(share(&border(3)) > 0.5 && share(&corners(1)) == 1.0, "small sides have parts, too");
        let b = border(16);
        assert_eq!((b[0], b[16 + 1], b[2 * 16 + 2], b[15 * 16 + 8], b[13 * 16 + 8]), (1, 1, 0, 1, 0));
        let c = corners(16);
        assert_eq!((c[3 * 16 + 3], c[3 * 16 + 4], c[12 * 16 + 12], c[12 * 16 + 11], c[12 * 16 + 3]), (1, 0, 1, 0, 1));
    }

    #[test]
    fn shares_of_heat() {
        let mut map = vec![0.0; 256];
        assert_eq!(HeatShares::of(&map, 16), None);
        (map[0], map[8], map[8 * 16 + 8]) = (1.0, 1.0, 2.0);
        assert_eq!(HeatShares::of(&map, 16), Some(HeatShares { border: 0.5, corners: 0.25 }));
        let flat = HeatShares::of(&[0.3; 256], 16).unwrap();
        assert!((flat.border - 7.0 / 16.0).abs() < 1e-12 && (flat.corners - 0.25).abs() < 1e-12);
    }

    #[test]
    fn contour_and_bytes_go_by_the_maps_own_maximum() {
        // Enlarged maps need not reach the 1 that their raw map had.
        let map = [0.0, 0.4, 0.719, 0.7201, 0.8];
        assert_eq!(innermost(&map), [0, 0, 0, 1, 1]);
        assert_eq!(to_bytes(&map), [0, 128, 229, 230, 255]);
        assert_eq!((innermost(&[0.0; 2]), to_bytes(&[0.0; 2])), (vec![0; 2], vec![0; 2]));
    }
}
