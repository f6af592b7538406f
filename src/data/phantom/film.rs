//! From body to film: posture, projection, scatter, exposure, noise.

use super::anatomy::Anatomy;
use super::lesion::{Findings, to_segment};
use super::noise::{Rng, bell, smoothstep, value_noise};
use super::vessels::{self, Segment};

/// What a patient's films have in common: the machine that takes them.
pub(super) struct Habit {
    gamma: f32,
    scatter: f32,
    grain: f32,
}

impl Habit {
    /// A machine at random.
    pub fn draw(rng: &mut Rng) -> Habit {
        Habit { gamma: rng.range(0.95, 1.35), scatter: rng.range(0.0, 0.10), grain: rng.range(0.004, 0.016) }
    }
}

/// Posture and exposure of one image.
pub(super) struct View {
    sine: f32,
    cosine: f32,
    scale: f32,
    shift: [f32; 2],
    gain: f32,
    offset: f32,
    gamma: f32,
    scatter: f32,
    grain: f32,
    tilt: [f32; 2],
    /// Dark margins where the collimator or the cassette ends: left, top, right, bottom, as parts of the side.
    margin: [f32; 4],
    /// Letter beside the shoulder: centre in image units and which of two glyphs.
    marker: Option<([f32; 2], bool)>,
    /// A catheter or cable that lies on the patient: corners in body coordinates.
    line: Vec<[f32; 2]>,
    noise: u32,
}

/// Attenuation and masks of one exposure, side × side.
pub(super) struct Exposed {
    pub attenuation: Vec<f32>,
    pub lesion: Vec<bool>,
    pub lungs: Vec<bool>,
}

impl View {
    /// One image of a patient whose machine is `habit`.
    pub fn draw(habit: &Habit, rng: &mut Rng) -> View {
        let (sine, cosine) = (0.05 * rng.normal()).sin_cos();
        let margin = |rng: &mut Rng| if rng.chance(0.15) { rng.range(0.01, 0.07) } else { 0.0 };
        let mut line = Vec::new();
        if rng.chance(0.18) {
            let mut at = [rng.range(-0.7, 0.7), -1.1];
            line.push(at);
            for _ in 0..5 {
                at = [0.75 * at[0] + rng.range(-0.22, 0.22), at[1] + rng.range(0.14, 0.32)];
                line.push(at);
            }
        }
        View {
            sine,
            cosine,
            scale: 1.04 + 0.07 * rng.normal(),
            shift: [0.06 * rng.normal(), 0.065 * rng.normal()],
            gain: rng.range(0.94, 1.18),
            offset: rng.range(-0.06, 0.05),
            gamma: habit.gamma * rng.range(0.88, 1.14),
            scatter: habit.scatter * rng.range(0.7, 1.3),
            grain: habit.grain * rng.range(0.8, 1.2),
            tilt: [0.04 * rng.normal(), 0.04 * rng.normal()],
            margin: [margin(rng), margin(rng), margin(rng), margin(rng)],
            marker: rng
                .chance(0.6)
                .then(|| ([rng.sign() * rng.range(0.72, 0.9), rng.range(-0.92, -0.75)], rng.chance(0.5))),
            line,
            noise: rng.bits() as u32,
        }
    }

    /// Image coordinates (-1 to 1) to body coordinates.
    fn to_body(&self, u: f32, v: f32) -> [f32; 2] {
        let (du, dv) = ((u - self.shift[0]) / self.scale, (v - self.shift[1]) / self.scale);
        [self.cosine * du + self.sine * dv, self.cosine * dv - self.sine * du]
    }

    /// Body coordinates to image coordinates: the inverse of `to_body`.
    fn to_image(&self, p: [f32; 2]) -> [f32; 2] {
        let (du, dv) = (self.cosine * p[0] - self.sine * p[1], self.sine * p[0] + self.cosine * p[1]);
        [self.scale * du + self.shift[0], self.scale * dv + self.shift[1]]
    }
}

/// Projects the body: attenuation per pixel (mean over its samples) and the masks (majority of its samples).
pub(super) fn expose(anatomy: &Anatomy, findings: &Findings, tree: &[Segment], view: &View, side: usize) -> Exposed {
    // At least 128 samples across: a rib is 5 pixels wide there, and a small image is a reduced large one.
    let samples = 128_usize.div_ceil(side);
    let fine = side * samples;
    let half = 0.5 * fine as f32;
    let mut vessel_map = vec![0.0; fine * fine];
    vessels::draw(tree, &mut vessel_map, fine, view.scale * half, |p| {
        let [u, v] = view.to_image(p);
        [(u + 1.0) * half, (v + 1.0) * half]
    });
    let mut exposed = Exposed {
        attenuation: vec![0.0; side * side],
        lesion: vec![false; side * side],
        lungs: vec![false; side * side],
    };
    let share = 1.0 / (samples * samples) as f32;
    for row in 0..side {
        for column in 0..side {
            let (mut sum, mut lesion, mut lungs) = (0.0, 0, 0);
            for i in 0..samples * samples {
                let (fine_row, fine_column) = (row * samples + i / samples, column * samples + i % samples);
                let [x, y] =
                    view.to_body((fine_column as f32 + 0.5) / half - 1.0, (fine_row as f32 + 0.5) / half - 1.0);
                let tissue = anatomy.at(x, y);
                let change = findings.at(anatomy, x, y, tissue);
                let vessel = vessel_map[fine_row * fine + fine_column] * tissue.lung * change.vessels;
                sum += tissue.attenuation + change.added + vessel;
                lesion += usize::from(change.marked);
                lungs += usize::from(tissue.lung > 0.5);
            }
            let at = row * side + column;
            exposed.attenuation[at] = sum * share;
            exposed.lesion[at] = 2 * lesion > samples * samples;
            exposed.lungs[at] = 2 * lungs > samples * samples;
        }
    }
    overlay_line(&mut exposed.attenuation, side, view);
    exposed
}

/// A catheter: a thin dense line along `view.line`, at least about a pixel wide.
fn overlay_line(attenuation: &mut [f32], side: usize, view: &View) {
    let pixel = 2.0 / side as f32;
    let half = 0.008_f32.max(0.45 * pixel);
    let strength = 0.16 * (0.008 / half).sqrt();
    let corners: Vec<[f32; 2]> = view.line.iter().map(|&p| view.to_image(p)).collect();
    for pair in corners.windows(2) {
        let index = |t: f32| ((t + 1.0) / pixel).clamp(0.0, side as f32) as usize;
        let reach = 3.0 * half;
        let columns = index(pair[0][0].min(pair[1][0]) - reach)..index(pair[0][0].max(pair[1][0]) + reach + pixel);
        for row in index(pair[0][1] - reach)..index(pair[1][1] + reach) {
            let v = (row as f32 + 0.5) * pixel - 1.0;
            // Each piece draws its own rows only: no double density at the corners.
            if v < pair[0][1] || v >= pair[1][1] {
                continue;
            }
            for column in columns.clone() {
                let u = (column as f32 + 0.5) * pixel - 1.0;
                attenuation[row * side + column] += strength * bell(to_segment([u, v], pair[0], pair[1]), half);
            }
        }
    }
}

/// Mean over a window of 2 `radius` + 1 in both directions, borders repeated: two running sums.
fn box_blur(image: &[f32], side: usize, radius: usize) -> Vec<f32> {
    let pass = |source: &[f32]| -> Vec<f32> {
        // Blurs rows and transposes, so that two passes blur both ways.
        let mut out = vec![0.0; side * side];
        let width = (2 * radius + 1) as f32;
        for row in 0..side {
            let line = &source[row * side..(row + 1) * side];
            let at = |i: isize| line[i.clamp(0, side as isize - 1) as usize];
            let r = radius as isize;
            let mut sum: f32 = (-r..=r).map(at).sum();
            for column in 0..side {
                out[column * side + row] = sum / width;
                sum += at(column as isize + r + 1) - at(column as isize - r);
            }
        }
        out
    };
    pass(&pass(image))
}

/// The film: scatter, exposure curve, letters, margins, noise, 8 bits.
pub(super) fn develop(attenuation: &[f32], side: usize, view: &View, rng: &mut Rng) -> Vec<f32> {
    let fog = box_blur(attenuation, side, side / 8);
    let noise = box_blur(&(0..side * side).map(|_| rng.normal()).collect::<Vec<_>>(), side, 1);
    let mut pixels = Vec::with_capacity(side * side);
    for row in 0..side {
        for column in 0..side {
            let at = row * side + column;
            let (u, v) =
                ((column as f32 + 0.5) * 2.0 / side as f32 - 1.0, (row as f32 + 0.5) * 2.0 / side as f32 - 1.0);
            let a = attenuation[at] * (1.0 - 2.0 * view.scatter) + 2.0 * view.scatter * fog[at];
            let heel = view.tilt[0] * u + view.tilt[1] * v + 0.03 * value_noise(u * 1.3, v * 1.3, view.noise);
            // Straight part of the film's curve, then a shoulder towards white.
            let exposed = (1.12 * view.gain * (a + heel * smoothstep(0.0, 0.2, a))
                + view.offset * smoothstep(0.0, 0.2, a))
            .max(0.0);
            let curve = if exposed < 0.6 { exposed } else { 0.6 + 0.38 * (1.0 - (-(exposed - 0.6) / 0.38).exp()) };
            let mut value = curve.powf(view.gamma);
            // Quantum noise grows where few photons arrive; white and slightly blurred parts.
            let grain = view.grain * (0.5 + value);
            value += grain * (0.55 * rng.normal() + 1.6 * noise[at]);
            let x = (column as f32 + 0.5) / side as f32;
            let y = (row as f32 + 0.5) / side as f32;
            let [left, top, right, bottom] = view.margin;
            if x < left || y < top || x > 1.0 - right || y > 1.0 - bottom {
                value = 0.02;
            }
            if let Some((centre, r)) = view.marker
                && letter(r, (u - centre[0]) / 0.05, (v - centre[1]) / 0.065)
            {
                value = 0.97;
            }
            pixels.push((value.clamp(0.0, 1.0) * 255.0).round() / 255.0);
        }
    }
    pixels
}

/// True where the letter R (or L) in the box [-1, 1]² has ink.
fn letter(r: bool, x: f32, y: f32) -> bool {
    if x.abs() > 1.0 || y.abs() > 1.0 {
        return false;
    }
    let stem = x < -0.45;
    if !r {
        return stem || y > 0.55;
    }
    let bowl = ((x + 0.1) / 0.95).powi(2) + ((y + 0.45) / 0.55).powi(2);
    let leg = y > 0.0 && (x - 0.9 * y - 0.05).abs() < 0.32;
    stem || (y < 0.1 && (0.38..=1.0).contains(&bowl)) || leg
}
