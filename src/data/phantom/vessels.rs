//! Pulmonary vessels: a tree of tapering segments from each hilum, projected into the image.

use super::anatomy::Anatomy;
use super::noise::Rng;

/// A piece of vessel in body coordinates.
pub(super) struct Segment {
    from: [f32; 2],
    to: [f32; 2],
    radius: f32,
}

/// The vessels of both lungs.
pub(super) fn grow(anatomy: &Anatomy, rng: &mut Rng) -> Vec<Segment> {
    let mut tree = Vec::with_capacity(400);
    for side in [0, 1] {
        let root = anatomy.hilum(side);
        let outward = if side == 1 { 1.0 } else { -1.0 };
        let trunks = rng.int(6, 8);
        for i in 0..trunks {
            // From steeply up to steeply down; vessels of the lower lung are wider when the patient stands.
            let angle = -1.25 + 2.65 * (i as f32 + rng.range(0.2, 0.8)) / trunks as f32;
            let radius = rng.range(0.007, 0.014) * if angle > 0.0 { 1.2 } else { 0.85 };
            // Roots lie along the hilum, not in one point, so that no star appears.
            let start = [root[0] + outward * rng.range(-0.05, 0.03), root[1] + 0.11 * angle + rng.range(-0.03, 0.03)];
            branch(start, angle + rng.range(-0.15, 0.15), outward, rng.range(0.10, 0.24), radius, 4, rng, &mut tree);
        }
    }
    tree
}

/// One vessel and its daughters.
#[allow(clippy::too_many_arguments)] // one recursive step; a struct of the same eight would only rename them
fn branch(
    from: [f32; 2],
    angle: f32,
    outward: f32,
    length: f32,
    radius: f32,
    left: u32,
    rng: &mut Rng,
    tree: &mut Vec<Segment>,
) {
    let to = [from[0] + outward * angle.cos() * length, from[1] + angle.sin() * length];
    tree.push(Segment { from, to, radius });
    if left == 0 {
        return;
    }
    let daughters = if left == 4 || rng.chance(0.75) { 2 } else { 1 };
    for i in 0..daughters {
        let turn = if daughters == 1 { rng.range(-0.45, 0.45) } else { (i as f32 - 0.5) * rng.range(0.5, 1.0) };
        let (length, radius) = (length * rng.range(0.62, 0.85), radius * rng.range(0.62, 0.80));
        branch(to, angle + turn, outward, length, radius, left - 1, rng, tree);
    }
}

/// Adds the vessels to `map` (side × side attenuation). `project` takes body coordinates to pixels, `unit` is the pixels
/// of one body unit. A vessel thinner than a pixel is drawn a pixel wide and fainter.
pub(super) fn draw(tree: &[Segment], map: &mut [f32], side: usize, unit: f32, project: impl Fn([f32; 2]) -> [f32; 2]) {
    for segment in tree {
        let (a, b) = (project(segment.from), project(segment.to));
        let true_radius = segment.radius * unit;
        let radius = true_radius.max(0.55);
        let density = 9.5 * segment.radius * (true_radius / radius);
        let reach = 1.7 * radius;
        let clip = |v: f32| v.clamp(0.0, side as f32) as usize;
        let columns = clip(a[0].min(b[0]) - reach)..clip(a[0].max(b[0]) + reach + 1.0);
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let inverse = 1.0 / (dx * dx + dy * dy).max(1e-6);
        for row in clip(a[1].min(b[1]) - reach)..clip(a[1].max(b[1]) + reach + 1.0) {
            for column in columns.clone() {
                let (px, py) = (column as f32 + 0.5 - a[0], row as f32 + 0.5 - a[1]);
                let t = ((px * dx + py * dy) * inverse).clamp(0.0, 1.0);
                let (ex, ey) = (px - t * dx, py - t * dy);
                let d2 = ex * ex + ey * ey;
                if d2 < reach * reach {
                    let cell = &mut map[row * side + column];
                    let round = 1.0 - d2 / (reach * reach);
                    *cell = cell.max(density * round * round);
                }
            }
        }
    }
}
