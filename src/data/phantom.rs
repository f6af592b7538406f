//! Synthetic chest radiographs, so that every command of this crate runs without a data set.
//!
//! A patient is a set of outlines (lungs, heart, mediastinum, diaphragm, ribs, clavicles, shoulder blades, spine, breasts);
//! an image sums the attenuation along each ray, adds vessels, findings, scatter and detector noise, and develops the sum
//! with an exposure of its own. The four classes differ in *where and how* the lungs are dense, while exposure, stature,
//! posture, breath and tubes vary more than the disease does: the pixels are not linearly separable.
//! [`teaching`] adds sources that look different and a letter that betrays a class.
//! These are drawings for tests and demonstrations. They say nothing about real patients.

mod anatomy;
mod film;
mod lesion;
mod letter;
mod noise;
mod style;
pub mod teaching;
mod vessels;

use anatomy::Anatomy;
use lesion::{Disease, Findings};
use noise::Rng;
use rayon::prelude::*;

/// Names of the four classes, in the order of [`Phantom::class`].
pub const CLASSES: [&str; 4] = ["normal", "pneumonia", "other", "covid19"];

/// Names of the two classes of [`generate_binary`].
pub const BINARY_CLASSES: [&str; 2] = ["normal", "disease"];

/// Smallest side that [`generate`] draws: below it a nodule is less than a pixel.
pub const MIN_SIDE: usize = 32;

/// Largest side that [`generate`] draws.
pub const MAX_SIDE: usize = 1024;

/// Patients of [`generate_binary`] are numbered from here, so that no number appears in both sets.
pub const FIRST_BINARY_PATIENT: u64 = 1 << 32;

/// One synthetic radiograph with its ground truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// Width and height in pixels.
    pub side: usize,
    /// Grey values in [0, 1], side × side, row by row from the top; multiples of 1/255, bone bright.
    pub pixels: Vec<f32>,
    /// Pixels that belong to the finding, side × side; empty (all false) for normal images only. For an enlarged heart
    /// the silhouette of the heart, for a pneumothorax the air-filled gap.
    pub lesion: Vec<bool>,
    /// Pixels of the lung fields, side × side, as they would be without opacities.
    pub lungs: Vec<bool>,
    /// Index into [`CLASSES`], or into [`BINARY_CLASSES`] for [`generate_binary`].
    pub class: usize,
    /// Number of the patient; images of one patient share anatomy, disease and class.
    pub patient: u64,
}

/// Synthetic radiographs of `patients` patients, 1 to 4 images each (2.1 on average), patient by patient.
///
/// Patient p has class p mod 4, so that the classes are balanced over patients. The same (seed, patients, side) gives
/// the same bytes on the same machine, and patient p does not depend on `patients`. Runs on all cores.
///
/// # Panics
/// If `side` is outside [`MIN_SIDE`]..=[`MAX_SIDE`]; callers check what a user typed.
pub fn generate(seed: u64, patients: usize, side: usize) -> Vec<Phantom> {
    cohort(patients, side, |p| draw_patient(seed, p, side, (p % 4) as usize, four_class_disease))
}

/// Synthetic radiographs for pre-training: [`BINARY_CLASSES`], patient p is healthy if p is even. The disease is any
/// finding but COVID-19. Patients are other ones than those of [`generate`] with the same seed, with numbers from
/// [`FIRST_BINARY_PATIENT`].
///
/// # Panics
/// As [`generate`].
pub fn generate_binary(seed: u64, patients: usize, side: usize) -> Vec<Phantom> {
    cohort(patients, side, |p| draw_patient(seed, FIRST_BINARY_PATIENT + p, side, (p % 2) as usize, binary_disease))
}

fn cohort(patients: usize, side: usize, draw: impl Fn(u64) -> Vec<Phantom> + Sync + Send) -> Vec<Phantom> {
    assert!((MIN_SIDE..=MAX_SIDE).contains(&side), "phantom side {side} is outside {MIN_SIDE}..={MAX_SIDE}");
    (0..patients as u64).into_par_iter().flat_map_iter(draw).collect()
}

/// The diseases of class "other", in the proportions in which they are drawn.
const OTHER: [Disease; 12] = [
    Disease::Effusion,
    Disease::Effusion,
    Disease::Effusion,
    Disease::Cardiomegaly,
    Disease::Cardiomegaly,
    Disease::Cardiomegaly,
    Disease::Pneumothorax,
    Disease::Pneumothorax,
    Disease::Pneumothorax,
    Disease::Nodules,
    Disease::Mass,
    Disease::Atelectasis,
];

/// Disease of a class of [`CLASSES`]; `lot` is 64 random bits.
fn four_class_disease(class: usize, lot: u64) -> Disease {
    match class {
        0 => Disease::None,
        1 => Disease::Pneumonia,
        2 => OTHER[(lot % 12) as usize],
        _ => Disease::Covid,
    }
}

/// Disease of a class of [`BINARY_CLASSES`]: consolidations and oedema stand for the infiltrates of a hospital archive.
fn binary_disease(class: usize, lot: u64) -> Disease {
    match (class, lot % 16) {
        (0, _) => Disease::None,
        (_, 12 | 13) => Disease::Pneumonia,
        (_, 14 | 15) => Disease::Oedema,
        (_, i) => OTHER[i as usize],
    }
}

/// What the images of one patient share. The streams are keyed by (seed, patient, image), never shared.
struct Patient {
    number: u64,
    class: usize,
    disease: Disease,
    /// Images of this patient, 1 to 4.
    images: u64,
    body: Anatomy,
    habit: film::Habit,
}

impl Patient {
    /// A patient, without drawing an image: cheap.
    fn draw(seed: u64, number: u64, class: usize, pick: fn(usize, u64) -> Disease) -> Patient {
        let mut rng = Rng::keyed(&[seed, number]);
        let body = Anatomy::draw(&mut rng);
        let disease = pick(class, rng.bits());
        let images = [1, 1, 1, 2, 2, 2, 2, 3, 3, 4][rng.int(0, 9) as usize];
        let habit = film::Habit::draw(&mut rng);
        Patient { number, class, disease, images, body, habit }
    }

    /// One image. A finding that falls outside the visible lung (behind the heart, say) is drawn again elsewhere, so that
    /// every diseased image shows its disease.
    fn image(&self, seed: u64, image: u64, side: usize) -> Phantom {
        let need = side * side / 250;
        let mut attempt = 0;
        loop {
            let mut course = Rng::keyed(&[seed, self.number, 1 << 40, attempt]);
            let mut state = Rng::keyed(&[seed, self.number, 1 << 41, image, attempt]);
            let mut now = self.body.visit(&mut state);
            let findings = Findings::draw(self.disease, &mut now, &mut course, &mut state);
            let mut tree = Rng::keyed(&[seed, self.number, 1 << 42]);
            let view = film::View::draw(&self.habit, &mut state);
            let exposed = film::expose(&now, &findings, &vessels::grow(&now, &mut tree), &view, side);
            let marked = exposed.lesion.iter().filter(|&&m| m).count();
            // Attempts are bounded only to make the loop's end evident; one in some thousand images needs a second one.
            if self.disease == Disease::None || marked >= need.max(3) || (marked > 0 && attempt >= 30) {
                let pixels = film::develop(&exposed.attenuation, side, &view, &mut state);
                let (class, patient) = (self.class, self.number);
                return Phantom { side, pixels, lesion: exposed.lesion, lungs: exposed.lungs, class, patient };
            }
            attempt += 1;
        }
    }
}

/// All images of one patient.
fn draw_patient(seed: u64, patient: u64, side: usize, class: usize, pick: fn(usize, u64) -> Disease) -> Vec<Phantom> {
    let patient = Patient::draw(seed, patient, class, pick);
    (0..patient.images).map(|image| patient.image(seed, image, side)).collect()
}

#[cfg(test)]
mod tests;
