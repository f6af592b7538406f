//! The body of one patient: outlines as functions of a point, in *body coordinates*: x from -1 (image left, the patient's
//! right) to +1, y from -1 (neck) to +1 (abdomen). The proportions are those of an upright postero-anterior radiograph.

use super::noise::{Rng, bell, fractal_noise, smoothstep, value_noise};

/// What a ray through one point of the body meets.
#[derive(Clone, Copy, Default)]
pub(super) struct Tissue {
    /// Attenuation of everything but lesions and vessels; 0 is air, 1 is the abdomen.
    pub attenuation: f32,
    /// Share of the ray that belongs to aerated lung, 0 to 1, soft at the borders.
    pub lung: f32,
    /// Silhouette of the heart, 0 to 1.
    pub heart: f32,
}

/// Anatomy of one patient. All lengths in body units (half an image side).
#[derive(Clone)]
pub(super) struct Anatomy {
    width: f32,
    apex: f32,
    /// Height of the domes of the diaphragm, [right (image left), left].
    pub base: [f32; 2],
    dome: f32,
    wall: f32,
    shoulder: f32,
    axilla: f32,
    /// Centre, half axes and tilt of the heart.
    pub heart: [f32; 5],
    mediastinum: f32,
    knob: f32,
    trachea: f32,
    rib_spacing: f32,
    rib_start: f32,
    rib_contrast: f32,
    rib_drop: f32,
    bone: f32,
    clavicle: [f32; 3],
    scapula: f32,
    breast: Option<[f32; 4]>,
    stomach: Option<[f32; 3]>,
    thickness: f32,
    scoliosis: f32,
    slope: f32,
    veil: [f32; 2],
    texture: f32,
    noise: u32,
}

impl Anatomy {
    /// A patient drawn at random; slender and stout, female and male, young and old.
    pub fn draw(rng: &mut Rng) -> Anatomy {
        let stout = rng.unit();
        let right = rng.range(0.26, 0.54);
        let female = rng.chance(0.5);
        Anatomy {
            width: rng.range(0.66, 0.86),
            apex: rng.range(-0.88, -0.68),
            base: [right, right + rng.range(0.02, 0.10)],
            dome: rng.range(0.20, 0.34),
            wall: rng.range(0.06, 0.10) + 0.10 * stout,
            shoulder: rng.range(-1.02, -0.88),
            axilla: rng.range(-0.30, 0.0),
            heart: [
                rng.range(0.06, 0.13),
                right - rng.range(0.10, 0.16),
                rng.range(0.26, 0.31),
                rng.range(0.25, 0.31),
                rng.range(0.25, 0.65),
            ],
            mediastinum: rng.range(0.10, 0.15) + 0.02 * stout,
            knob: rng.range(0.03, 0.09),
            trachea: rng.range(-0.03, 0.02),
            rib_spacing: rng.range(0.135, 0.17),
            rib_start: rng.range(0.0, 1.0),
            rib_contrast: rng.range(0.6, 1.2),
            rib_drop: rng.range(0.7, 1.3),
            bone: rng.range(0.7, 1.25),
            clavicle: [rng.range(-0.66, -0.54), rng.range(0.04, 0.20), rng.range(0.02, 0.05)],
            scapula: rng.range(0.4, 1.1),
            breast: female
                .then(|| [rng.range(0.40, 0.58), rng.range(0.0, 0.36), rng.range(0.22, 0.38), rng.range(0.04, 0.15)]),
            stomach: rng.chance(0.6).then(|| [rng.range(0.28, 0.48), rng.range(0.10, 0.17), rng.range(0.05, 0.10)]),
            thickness: rng.range(0.56, 0.64) + 0.06 * stout,
            scoliosis: rng.range(-0.03, 0.03),
            slope: rng.range(0.14, 0.50),
            veil: [rng.range(-0.06, 0.08), rng.range(-0.06, 0.06)],
            texture: rng.range(0.015, 0.045),
            noise: rng.bits() as u32,
        }
    }

    /// The same patient at another visit: another depth of breath, another heart beat and projection.
    pub fn visit(&self, rng: &mut Rng) -> Anatomy {
        let mut now = self.clone();
        let breath = rng.range(-0.09, 0.09);
        now.base = now.base.map(|b| b + breath);
        now.heart[1] += 0.7 * breath;
        let projection = rng.range(0.95, 1.06);
        now.heart[2] *= projection;
        now.heart[3] *= projection;
        now.mediastinum *= rng.range(0.94, 1.08);
        now.scapula *= rng.range(0.5, 1.2);
        now.noise = rng.bits() as u32;
        now
    }

    /// Lateral border of the lungs at height y.
    pub fn outer(&self, y: f32) -> f32 {
        let t = ((y - self.apex) / (0.55 - self.apex)).clamp(0.0, 1.0);
        let open = (1.0 - t) * (1.0 - t);
        self.width * (1.0 - 0.44 * open)
    }

    /// Upper border of the lung at |x|.
    pub fn top(&self, ax: f32) -> f32 {
        let d = (ax - 0.29) / 0.27;
        self.apex + 0.15 * d * d + 0.10 * d * d * d * d
    }

    /// Diaphragm of one side at |x|: a dome that falls to the costophrenic angle.
    pub fn diaphragm(&self, side: usize, ax: f32) -> f32 {
        let centre = 0.36;
        let d = if ax > centre { (ax - centre) / (self.width - centre) } else { 0.75 * (centre - ax) / centre };
        self.base[side] + self.dome * d * d
    }

    /// Distance from the midline to the border of the mediastinum: great vessels, aortic knob (left), atria.
    fn inner(&self, side: usize, y: f32) -> f32 {
        let vessels = self.mediastinum + 0.02 * smoothstep(-0.4, -0.8, y);
        if side == 1 {
            vessels
                + self.knob * bell(y + 0.33, 0.075)
                + 0.05 * bell(y + 0.12, 0.10)
                + 0.14 * smoothstep(-0.30, 0.15, y)
        } else {
            vessels + 0.03 * bell(y + 0.25, 0.15) + 0.05 * smoothstep(-0.15, 0.20, y)
        }
    }

    /// A point of a lung: `lateral` from 0 (mediastinum) to 1 (chest wall), `height` from 0 (apex) to 1 (diaphragm).
    pub fn lung_point(&self, side: usize, lateral: f32, height: f32) -> [f32; 2] {
        let low = self.diaphragm(side, 0.2 + 0.5 * lateral);
        let y = self.apex + 0.1 + (low - self.apex - 0.1) * height;
        let [cx, cy, rx, ry, _] = self.heart;
        let inside = 1.0 - ((y - cy) / ry).powi(2);
        let reach = if inside > 0.0 { rx * inside.sqrt() + if side == 1 { cx } else { -cx } } else { 0.0 };
        let inner = self.inner(side, y).max(reach);
        let ax = inner + (self.outer(y) - inner) * lateral;
        [if side == 1 { ax } else { -ax }, y]
    }

    /// Where the pulmonary vessels of one side enter the lung.
    pub fn hilum(&self, side: usize) -> [f32; 2] {
        let sign = if side == 1 { 1.0 } else { -1.0 };
        [sign * (self.mediastinum + 0.05), if side == 1 { -0.10 } else { -0.05 }]
    }

    /// Silhouette of the heart as (1 inside to 0 outside, thickness 0 to 1).
    fn heart_at(&self, x: f32, y: f32) -> (f32, f32) {
        let [cx, cy, rx, ry, tilt] = self.heart;
        let (dx, dy) = (x - cx, y - cy);
        if dx.abs() > 1.5 * rx || dy.abs() > 1.6 * ry {
            return (0.0, 0.0);
        }
        let (s, c) = tilt.sin_cos();
        let (u, v) = ((c * dx + s * dy) / (1.08 * rx), (c * dy - s * dx) / (0.95 * ry));
        let e = u * u + v * v;
        (smoothstep(1.10, 0.92, e), (1.0 - e).max(0.0).sqrt())
    }

    /// Bones of the cage at (x, y): posterior and anterior ribs, clavicles, shoulder blades, spine.
    fn bones(&self, x: f32, y: f32, ax: f32, outer: f32) -> f32 {
        let mut bone = 0.0;
        let wobble = 0.10 * value_noise(x * 2.0, y * 2.0, self.noise ^ 1);
        let q = ax / (outer + 0.05);
        let cage = smoothstep(1.02, 0.96, q) * smoothstep(self.apex - 0.10, self.apex + 0.04, y);
        if cage > 0.0 {
            // A band around the nearest integer of the rib's phase, with a denser rim: the cortex.
            let band = |phase: f32, half: f32| {
                let d = (phase - phase.round()).abs();
                let inside = smoothstep(half + 0.06, half - 0.04, d);
                inside * (0.62 + 0.38 * bell(d - half + 0.05, 0.06))
            };
            let behind = (y - self.rib_drop * (0.05 * q + 0.20 * q * q * q)) / self.rib_spacing + self.rib_start;
            let fade = smoothstep(0.06, 0.16, ax) * smoothstep(0.95, 0.45, y);
            bone += 0.085 * self.rib_contrast * fade * cage * band(behind + wobble, 0.21);
            let rest = (1.0 - q).max(0.0);
            let front = (y - self.rib_drop * 0.25 - 0.46 * rest.powf(0.75)) / (1.1 * self.rib_spacing) + self.rib_start;
            let end = smoothstep(0.38, 0.58, q) * smoothstep(0.75, 0.35, y);
            bone += 0.055 * self.rib_contrast * end * cage * band(front + wobble, 0.24);
        }
        let [sternal, rise, half] = self.clavicle;
        let t = (ax - 0.07) / 0.72;
        if (0.0..=1.25).contains(&t) {
            let axis = sternal - rise * t + 0.035 * (6.0 * t).sin();
            let d = (y - axis).abs();
            let inside = smoothstep(half + 0.012, half - 0.006, d) * smoothstep(0.0, 0.05, t);
            bone += 0.15 * inside * (0.6 + 0.4 * bell(d - half + 0.008, 0.012));
        }
        let blade = self.width - 0.02 + 0.22 * (y + 0.35).abs();
        let plate =
            smoothstep(blade - 0.12, blade - 0.09, ax) * smoothstep(0.12, -0.05, y) * smoothstep(-0.85, -0.65, y);
        bone += 0.05 * self.scapula * plate;
        let arm = ((ax - 1.0).powi(2) + (y - self.shoulder - 0.24).powi(2)).sqrt();
        bone += 0.16 * smoothstep(0.16, 0.13, arm);
        let column = (x - self.scoliosis * (3.0 * y).sin()).abs();
        if column < 0.16 {
            let phase = y / 0.125 + self.rib_start;
            let disc = bell((phase - phase.round()) * 0.125, 0.016);
            let body = smoothstep(0.085, 0.070, column) * (1.0 - 0.5 * disc) + 0.35 * bell(column - 0.074, 0.012);
            let pedicle = bell(column - 0.045, 0.012) * bell((phase - phase.floor() - 0.35) * 0.125, 0.016);
            bone += 0.085 * body + 0.06 * pedicle;
        }
        bone * self.bone
    }

    /// Everything that a ray through (x, y) meets.
    pub fn at(&self, x: f32, y: f32) -> Tissue {
        let ax = x.abs();
        let side = usize::from(x > 0.0);
        let outer = self.outer(y);
        // Outline of the body: neck, shoulders with arms, trunk.
        let trunk = self.width + self.wall;
        let bound =
            trunk + 0.10 * smoothstep(0.5, 1.0, y) + 0.75 * smoothstep(self.axilla + 0.45, self.axilla - 0.40, y);
        let neck = 0.26 + 1.2 * (y + 1.05).max(0.0).powi(2) * 4.0;
        let shoulder = y - (self.shoulder + 0.22 * ax * ax);
        let inside = smoothstep(0.0, 0.05, bound - ax).min(smoothstep(0.0, 0.06, shoulder).max(smoothstep(
            0.0,
            0.05,
            neck - ax,
        )));
        if inside <= 0.0 {
            return Tissue { attenuation: 0.0, lung: 0.0, heart: 0.0 };
        }
        let round = 1.0 - 0.30 * smoothstep(bound - 0.14, bound, ax) + 0.10 * bell(ax - outer - 0.02, 0.06);
        let mut a = self.thickness * round;

        let diaphragm = self.diaphragm(side, ax);
        let inner = self.inner(side, y);
        let (heart, heart_depth) = self.heart_at(x, y);
        let depth = (outer - ax).min(ax - inner).min(0.6 * (y - self.top(ax))).min(diaphragm - y);
        let soft_edge = smoothstep(-0.004, 0.022, depth);
        let lung = soft_edge * (1.0 - heart);
        // Air: thin at the borders, deep in the middle; less at the apex, and some behind heart and diaphragm.
        let profile = 1.0 - (1.0 - (depth.max(0.0) / self.slope).min(1.0)).powi(2);
        let air = (0.24 + 0.17 * profile) * soft_edge;
        a -= air * (1.0 - 0.90 * heart);
        // Below the domes the abdomen; beside them its border fades into the chest wall.
        let rim = 0.035 + 1.5 * (ax - outer + 0.04).max(0.0);
        let below = smoothstep(0.0, rim, y - diaphragm);
        // Heart and great vessels are one silhouette: the denser of both counts, not the sum.
        let centre = smoothstep(inner + 0.012, inner - 0.02, ax) * (0.085 + 0.05 * smoothstep(inner, 0.3 * inner, ax));
        let shade = (heart * (0.075 + 0.07 * heart_depth)).max(centre);
        a += shade * (1.0 - 0.75 * below) + below * (0.15 + 0.07 * smoothstep(0.0, 0.4, y - diaphragm));
        // Windpipe and main bronchi.
        if y < 0.0 {
            let middle = self.trachea * smoothstep(-0.8, -0.3, y);
            let pipe = smoothstep(0.050, 0.034, (x - middle).abs()) * smoothstep(-0.20, -0.26, y);
            let fork = (ax - 0.015 - 0.55 * (y + 0.24)).abs();
            let bronchus = smoothstep(0.034, 0.016, fork) * smoothstep(-0.26, -0.22, y) * smoothstep(-0.02, -0.10, y);
            a -= 0.10 * pipe.max(0.7 * bronchus);
        }
        let [hx, hy] = self.hilum(side);
        a += 0.10 * bell(x - hx, 0.05) * bell(y - hy, 0.12);
        if let Some([cx, cy, r, density]) = self.breast {
            let d = ((ax - cx).powi(2) + (0.85 * (y - cy)).powi(2)).sqrt() / r;
            a += density * smoothstep(1.0, 0.90, d) * (0.35 + 0.65 * smoothstep(cy - r, cy + r, y));
        }
        if let Some([sx, sy, r]) = self.stomach {
            let d = ((x - sx) / (1.5 * r)).powi(2) + ((y - self.base[1] - sy) / r).powi(2);
            a -= 0.20 * smoothstep(1.1, 0.7, d) * below;
        }
        a += self.bones(x, y, ax, outer);
        if soft_edge > 0.0 {
            // Muscle and fat over the lateral and the lower lung, more or less by build.
            a += soft_edge * (self.veil[0] * smoothstep(0.3, 0.75, ax) + self.veil[1] * smoothstep(-0.3, 0.4, y));
            a += self.texture * soft_edge * fractal_noise(x * 16.0, y * 16.0, 2, self.noise);
        }
        a += 0.025 * value_noise(x * 4.0, y * 4.0, self.noise ^ 2);
        let limb = smoothstep(trunk + 0.02, trunk + 0.2, ax);
        Tissue { attenuation: inside * a.max(0.0) * (1.0 - 0.15 * limb), lung, heart }
    }
}
