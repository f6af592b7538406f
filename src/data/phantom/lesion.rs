//! Findings: what a disease adds to the ray through a point of the lung, with the mask that a reader would draw.

use super::anatomy::{Anatomy, Tissue};
use super::noise::{Rng, bell, fractal_noise, smoothstep};

/// An opacity with a wavy border, in body coordinates.
#[derive(Clone)]
struct Patch {
    centre: [f32; 2],
    radius: [f32; 2],
    tilt: f32,
    density: f32,
    /// Width of the border relative to the radius: 0.1 is a sharp nodule, 0.6 is ill defined.
    soft: f32,
    /// How far the border wanders, relative to the radius.
    wave: f32,
    /// Amplitude and frequency of the texture inside.
    grain: [f32; 2],
    seed: u32,
}

impl Patch {
    /// Density at (x, y) and the share of the full density, 0 to 1, that draws the mask.
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let reach = 1.9 * self.radius[0].max(self.radius[1]);
        if dx.abs() > reach || dy.abs() > reach {
            return (0.0, 0.0);
        }
        let (s, c) = self.tilt.sin_cos();
        let (u, v) = ((c * dx + s * dy) / self.radius[0], (c * dy - s * dx) / self.radius[1]);
        let scale = 1.0 / self.radius[0].max(self.radius[1]);
        let r = (u * u + v * v).sqrt() + self.wave * fractal_noise(dx * scale * 1.7, dy * scale * 1.7, 3, self.seed);
        let share = smoothstep(1.0 + self.soft, 1.0 - self.soft, r);
        if share <= 0.0 {
            return (0.0, 0.0);
        }
        let [amplitude, frequency] = self.grain;
        let grain = 1.0 + amplitude * fractal_noise(x * frequency, y * frequency, 2, self.seed ^ 0x55);
        (self.density * share * grain, share)
    }
}

/// Fluid between lung and chest wall: its surface climbs towards the wall (the meniscus).
#[derive(Clone)]
struct Effusion {
    side: usize,
    level: f32,
    climb: f32,
    density: f32,
}

/// Air between lung and chest wall: no vessels, a fine line where the lung ends.
#[derive(Clone)]
struct Pneumothorax {
    side: usize,
    gap: f32,
    apex: f32,
}

/// A band of collapsed lung.
#[derive(Clone)]
struct Band {
    from: [f32; 2],
    to: [f32; 2],
    half: f32,
    density: f32,
}

/// All findings of one image.
#[derive(Clone, Default)]
pub(super) struct Findings {
    patches: Vec<Patch>,
    /// Air-filled bronchi inside a consolidation: start, end, half width.
    bronchi: Vec<([f32; 2], [f32; 2], f32)>,
    /// Interlobar fissure that stops a consolidation: a point on it, its slope, the side that stays clear.
    fissure: Option<([f32; 2], f32, f32)>,
    effusion: Option<Effusion>,
    pneumothorax: Option<Pneumothorax>,
    bands: Vec<Band>,
    enlarged_heart: bool,
}

/// What the findings do to a ray.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    /// Added attenuation; negative where air replaces lung.
    pub added: f32,
    /// Share of the vessels that can still be seen.
    pub vessels: f32,
    /// Part of the lesion mask.
    pub marked: bool,
}

/// The diseases that can be drawn; a patient has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disease {
    None,
    Pneumonia,
    Effusion,
    Cardiomegaly,
    Nodules,
    Mass,
    Pneumothorax,
    Atelectasis,
    Oedema,
    Covid,
}

impl Disease {
    /// The finding as the tables of real data sets write it.
    pub fn finding(self) -> &'static str {
        match self {
            Disease::None => "No Finding",
            Disease::Pneumonia => "Pneumonia",
            Disease::Effusion => "Effusion",
            Disease::Cardiomegaly => "Cardiomegaly",
            Disease::Nodules => "Nodule",
            Disease::Mass => "Mass",
            Disease::Pneumothorax => "Pneumothorax",
            Disease::Atelectasis => "Atelectasis",
            Disease::Oedema => "Edema",
            Disease::Covid => "COVID-19",
        }
    }
}

/// Distance of a point to a segment.
pub(super) fn to_segment(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let (px, py) = (p[0] - a[0], p[1] - a[1]);
    let t = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
    ((px - t * dx).powi(2) + (py - t * dy).powi(2)).sqrt()
}

impl Findings {
    /// Findings of `disease` in one image. `course` is the patient's stream (place of the disease), `state` the image's
    /// (how far it has got); cardiomegaly changes the anatomy itself.
    pub fn draw(disease: Disease, anatomy: &mut Anatomy, course: &mut Rng, state: &mut Rng) -> Findings {
        let mut f = Findings::default();
        let stage = state.range(0.8, 1.15);
        let side = usize::from(course.chance(0.5));
        match disease {
            Disease::None => {}
            Disease::Pneumonia => f.consolidation(anatomy, side, stage, course),
            Disease::Covid => f.ground_glass(anatomy, stage, course),
            Disease::Effusion => {
                let both = course.chance(0.2);
                let floor = anatomy.base[side];
                f.effusion = Some(Effusion {
                    side: if both { 2 } else { side },
                    level: floor - course.range(0.16, 0.46) * stage,
                    climb: course.range(0.12, 0.34),
                    density: course.range(0.28, 0.38),
                });
            }
            Disease::Cardiomegaly => {
                let grow = course.range(1.55, 1.85) * (0.96 + 0.04 * stage);
                anatomy.heart[2] *= grow;
                anatomy.heart[3] *= 0.5 + 0.5 * grow;
                anatomy.heart[0] += 0.05;
                anatomy.heart[4] *= 0.6;
                f.enlarged_heart = true;
            }
            Disease::Nodules | Disease::Mass => {
                let mass = disease == Disease::Mass;
                let count = if mass { 1 } else { course.int(3, 6) };
                for i in 0..count {
                    let side = if i == 0 { side } else { usize::from(course.chance(0.5)) };
                    let radius = if mass { course.range(0.14, 0.21) } else { course.range(0.055, 0.09) };
                    let edge = if mass { 0.28 } else { 0.15 };
                    f.patches.push(Patch {
                        centre: anatomy.lung_point(side, course.range(edge, 1.0 - edge), course.range(0.18, 0.82)),
                        radius: [radius * stage, radius * stage * course.range(0.85, 1.15)],
                        tilt: course.range(0.0, 3.0),
                        density: course.range(0.32, 0.42),
                        soft: 0.10,
                        wave: if mass { 0.18 } else { 0.06 },
                        grain: [0.05, 20.0],
                        seed: course.bits() as u32,
                    });
                }
            }
            Disease::Pneumothorax => {
                f.pneumothorax =
                    Some(Pneumothorax { side, gap: course.range(0.20, 0.36) * stage, apex: course.range(0.10, 0.28) });
            }
            Disease::Atelectasis => {
                for _ in 0..course.int(2, 3) {
                    let height = course.range(0.55, 0.88);
                    let from = anatomy.lung_point(side, course.range(0.0, 0.2), height - course.range(-0.05, 0.12));
                    let to = anatomy.lung_point(side, course.range(0.7, 1.0), height);
                    f.bands.push(Band {
                        from,
                        to,
                        half: course.range(0.024, 0.042) * stage,
                        density: course.range(0.25, 0.35),
                    });
                }
            }
            Disease::Oedema => {
                // Both hila, butterfly-shaped: central, where the other bilateral disease is peripheral.
                for side in [0, 1] {
                    for _ in 0..3 {
                        f.patches.push(Patch {
                            centre: anatomy.lung_point(side, course.range(0.10, 0.34), course.range(0.35, 0.75)),
                            radius: [course.range(0.12, 0.18) * stage, course.range(0.18, 0.28) * stage],
                            tilt: course.range(-0.4, 0.4),
                            density: course.range(0.14, 0.22),
                            soft: 0.55,
                            wave: 0.25,
                            grain: [0.35, 16.0],
                            seed: course.bits() as u32,
                        });
                    }
                }
            }
        }
        f
    }

    /// Lobar consolidation: dense, confluent, one lung, with air-filled bronchi, often cut off by a fissure.
    fn consolidation(&mut self, anatomy: &Anatomy, side: usize, stage: f32, course: &mut Rng) {
        let lateral = course.range(0.25, 0.70);
        let height = course.range(0.22, 0.85);
        let density = course.range(0.32, 0.42);
        let seed = course.bits() as u32;
        let main = anatomy.lung_point(side, lateral, height);
        for i in 0..course.int(1, 2) {
            let shift = if i == 0 { [0.0; 2] } else { [course.range(-0.14, 0.14), course.range(-0.16, 0.16)] };
            let radius = course.range(0.19, 0.29) * stage * if i == 0 { 1.0 } else { 0.75 };
            self.patches.push(Patch {
                centre: [main[0] + shift[0], main[1] + shift[1]],
                radius: [radius, radius * course.range(0.8, 1.3)],
                tilt: course.range(-0.7, 0.7),
                density,
                soft: 0.28,
                wave: 0.34,
                grain: [0.16, 13.0],
                seed: seed.wrapping_add(i),
            });
        }
        // Bronchi fan out from the hilum into the patch.
        let hilum = anatomy.hilum(side);
        for _ in 0..course.int(3, 5) {
            let end = [main[0] + course.range(-0.15, 0.15), main[1] + course.range(-0.17, 0.17)];
            let start = [hilum[0] + 0.45 * (end[0] - hilum[0]), hilum[1] + 0.45 * (end[1] - hilum[1])];
            self.bronchi.push((start, end, course.range(0.008, 0.014)));
        }
        if course.chance(0.5) {
            let up = course.sign();
            self.fissure = Some(([main[0], main[1] + up * course.range(0.06, 0.14)], course.range(-0.25, 0.25), up));
        }
    }

    /// Bilateral, peripheral, patchy haze with ill-defined borders, more below than above.
    fn ground_glass(&mut self, anatomy: &Anatomy, stage: f32, course: &mut Rng) {
        let density = course.range(0.20, 0.28);
        for side in [0, 1] {
            for _ in 0..course.int(2, 4) {
                let size = course.range(0.09, 0.145) * stage;
                self.patches.push(Patch {
                    centre: anatomy.lung_point(side, course.range(0.5, 0.95), course.range(0.03, 0.85).sqrt()),
                    radius: [size, size * course.range(1.0, 1.7)],
                    tilt: course.range(-0.5, 0.5),
                    density: density * course.range(0.8, 1.2),
                    soft: 0.5,
                    wave: 0.42,
                    grain: [0.45, 26.0],
                    seed: course.bits() as u32,
                });
            }
        }
    }

    /// What the findings do at (x, y), where the body has `tissue`.
    pub fn at(&self, anatomy: &Anatomy, x: f32, y: f32, tissue: Tissue) -> Change {
        let mut change = Change { added: 0.0, vessels: 1.0, marked: false };
        let side = usize::from(x > 0.0);
        if self.enlarged_heart && tissue.heart > 0.5 {
            change.marked = true;
        }
        let lung = tissue.lung;
        if lung <= 0.0 {
            return change;
        }
        let (mut density, mut share) = (0.0_f32, 0.0_f32);
        for patch in &self.patches {
            let (d, s) = patch.at(x, y);
            // Overlapping patches merge rather than add up.
            density = density.max(d) + 0.35 * density.min(d);
            share = share.max(s);
        }
        if let Some((through, slope, up)) = self.fissure {
            let beyond = up * (y - through[1] - slope * (x - through[0]));
            let keep = smoothstep(0.012, -0.012, beyond);
            density *= keep;
            share *= keep;
        }
        if share > 0.0 {
            for &(a, b, half) in &self.bronchi {
                density -= 0.13 * share * bell(to_segment([x, y], a, b), half);
            }
        }
        for band in &self.bands {
            let d = to_segment([x, y], band.from, band.to);
            let s = smoothstep(1.25 * band.half, 0.75 * band.half, d);
            density = density.max(band.density * s);
            share = share.max(s);
        }
        if let Some(e) = &self.effusion
            && (e.side == side || e.side == 2)
        {
            let wall = (anatomy.outer(y) - x.abs()).max(0.0);
            let surface = e.level - e.climb * (-wall / 0.09).exp();
            let s = smoothstep(-0.03, 0.03, y - surface);
            density = density.max(e.density * s * (1.0 - 0.15 * smoothstep(0.2, 0.0, y - surface)));
            share = share.max(s);
        }
        change.added = lung * density;
        change.vessels = 1.0 - 0.7 * share;
        change.marked |= lung > 0.5 && share > 0.5;
        if let Some(p) = &self.pneumothorax
            && p.side == side
        {
            let gap = p.gap + p.apex * smoothstep(-0.2, -0.8, y);
            let open = gap * smoothstep(0.45, 0.05, y - 0.05);
            // The gap is lateral and apical: the lung stays attached at the hilum and the diaphragm.
            let wall = (anatomy.outer(y) - x.abs()).min(0.6 * (y - anatomy.top(x.abs())));
            let inside = wall - 0.55 * open;
            if open > 0.01 {
                let empty = smoothstep(0.006, -0.006, inside);
                change.added += lung * (-0.095 * empty + 0.10 * bell(inside, 0.010) + 0.05 * (1.0 - empty));
                change.vessels *= 1.0 - empty;
                change.marked |= lung > 0.5 && empty > 0.5;
            }
        }
        change
    }
}
