//! The teaching set: the phantom's patients, photographed by several sources, with a letter that betrays a class.
//!
//! It shows what a shortcut is and lets a test prove that the program finds one. Everything that the network should look at
//! is as in [`super::generate`]: same patients, same anatomy, same lesions. Two things are added that it should not look at:
//!
//! * *Sources.* Patients 0 to 3 come from source 0, 4 to 7 from source 1 and so on, round and round: every source has every
//!   class equally often. Each source has its own grey curve, border and noise; source 0 leaves the image as it is.
//! * *A letter*, R or L, in an upper corner, outside the lungs, larger and brighter than the small ones beside the shoulder that
//!   60 % of all images carry. Whether an image has one is drawn for each image with a probability that depends on its class
//!   alone.
//!
//! # The letter's correlation
//!
//! Let p be the frequency of the class, a = P(letter | class) and b = P(letter | any other class). The phi coefficient between
//! "has a letter" and "is of the class" is
//!
//! ```text
//! phi = (a - b) sqrt(p (1 - p)) / sqrt(q (1 - q)),   q = p a + (1 - p) b
//! ```
//!
//! Of the pairs (a, b) that give a wanted phi the symmetric one is taken, a = (1 + t) / 2 and b = (1 - t) / 2, where with
//! m = 1 - 2 p
//!
//! ```text
//! t = phi / sqrt(1 - m² (1 - phi²))
//! ```
//!
//! So phi = 0 gives a letter in half of all images whatever their class, phi = 1 a letter in the class and nowhere else,
//! phi = -1 a letter everywhere else. p is 1/4, the share of each class in the set's design (exact for the patients where
//! their number is a multiple of 4, expected for the images).

use super::letter::{self, CORNER};
use super::noise::Rng;
use super::style;
use super::{CLASSES, MAX_SIDE, MIN_SIDE, Patient, Phantom, four_class_disease};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::ops::Range;

pub use super::style::MAX_SOURCES;

/// Side of the upper corners that hold the letter, as a part of the image's side.
pub const LETTER_CORNER: f32 = CORNER;

/// Frequency of each class.
const FREQUENCY: f64 = 1.0 / CLASSES.len() as f64;

/// Keys of the streams of this module, beside those of the phantom.
const LETTER_THERE: u64 = 1 << 50;
const LETTER_PLACE: u64 = 1 << 51;
const SOURCE_NOISE: u64 = 1 << 52;

/// A letter in a corner and what it betrays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letter {
    /// Index into [`CLASSES`].
    pub class: usize,
    /// Phi coefficient between "has a letter" and "is of the class", -1 to 1.
    pub correlation: f64,
}

impl Letter {
    /// P(letter | class) and P(letter | another class): see the module text.
    pub fn probabilities(&self) -> [f64; 2] {
        let (phi, m) = (self.correlation, 1.0 - 2.0 * FREQUENCY);
        let t = phi / (1.0 - m * m * (1.0 - phi * phi)).sqrt();
        [0.5 * (1.0 + t), 0.5 * (1.0 - t)]
    }
}

/// What a teaching set is made of. The same values give the same bytes on the same machine, and a patient does not depend on how
/// many there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Teaching {
    /// Seed of all draws.
    pub seed: u64,
    /// Number of patients, 1 to 4 images each (2.1 on average).
    pub patients: usize,
    /// Side of the images in pixels, [`MIN_SIDE`] to [`MAX_SIDE`].
    pub side: usize,
    /// The artefact, where there is one.
    pub letter: Option<Letter>,
    /// Number of sources, 1 to [`MAX_SOURCES`].
    pub sources: usize,
}

impl Default for Teaching {
    fn default() -> Self {
        Teaching { seed: 1, patients: 100, side: 64, letter: None, sources: 1 }
    }
}

/// What is known of an image without drawing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Number of the patient.
    pub patient: u64,
    /// Which of the patient's images, from 0.
    pub image: u64,
    /// Index into [`CLASSES`].
    pub class: usize,
    /// The finding in the words of real tables: `No Finding`, `Pneumonia`, `COVID-19`, or one of six for the class "other".
    pub finding: &'static str,
    /// The source, from 0.
    pub source: usize,
    /// Whether the letter is there.
    pub letter: bool,
}

/// One image of a teaching set.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it shows.
    pub label: Label,
    /// Pixels and masks; the masks end at the source's border.
    pub phantom: Phantom,
    /// The letter: R in the upper left corner, L in the upper right one.
    pub letter: Option<char>,
    /// Pixels that the letter changed, side × side; empty where there is none.
    pub ink: Vec<bool>,
}

impl Teaching {
    /// Checks what a user asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] for no patient, a side, a number of sources, a class or a correlation that cannot be.
    pub fn check(&self) -> Result<()> {
        let no = |what: String| Err(Error::Usage(what));
        if self.patients == 0 {
            return no("a teaching set needs at least 1 patient".into());
        }
        if !(MIN_SIDE..=MAX_SIDE).contains(&self.side) {
            return no(format!("side {}: {MIN_SIDE} to {MAX_SIDE} is possible", self.side));
        }
        if !(1..=MAX_SOURCES).contains(&self.sources) {
            return no(format!("{} sources: 1 to {MAX_SOURCES} are possible", self.sources));
        }
        match self.letter {
            Some(l) if l.class >= CLASSES.len() => no(format!("letter: there is no class {}", l.class)),
            Some(l) if !(-1.0..=1.0).contains(&l.correlation) => {
                no(format!("letter: a correlation of {} is not between -1 and 1", l.correlation))
            }
            _ => Ok(()),
        }
    }

    /// Labels of all images, patient by patient, without drawing any.
    ///
    /// # Errors
    /// As [`Teaching::check`].
    pub fn labels(&self) -> Result<Vec<Label>> {
        self.check()?;
        let of = |p: u64| {
            let patient = self.patient(p);
            (0..patient.images).map(|image| self.label(&patient, image)).collect::<Vec<_>>()
        };
        Ok((0..self.patients as u64).flat_map(of).collect())
    }

    /// Draws all images, patient by patient, on all cores.
    ///
    /// # Errors
    /// As [`Teaching::check`].
    pub fn draw(&self) -> Result<Vec<Example>> {
        self.draw_patients(0..self.patients as u64)
    }

    /// Draws the images of some patients, so that a large set need not be in memory at once.
    ///
    /// # Errors
    /// As [`Teaching::check`]; [`Error::Usage`] for patients that the set does not have.
    pub fn draw_patients(&self, patients: Range<u64>) -> Result<Vec<Example>> {
        self.check()?;
        if patients.end > self.patients as u64 {
            return Err(Error::Usage(format!("patients {patients:?} of a set of {}", self.patients)));
        }
        let of = |p: u64| {
            let patient = self.patient(p);
            (0..patient.images).map(|image| self.example(&patient, image)).collect::<Vec<_>>()
        };
        Ok(patients.into_par_iter().flat_map_iter(of).collect())
    }

    fn patient(&self, number: u64) -> Patient {
        Patient::draw(self.seed, number, (number % 4) as usize, four_class_disease)
    }

    fn label(&self, patient: &Patient, image: u64) -> Label {
        let (number, class) = (patient.number, patient.class);
        let source = (number / 4 % self.sources as u64) as usize;
        let letter = self.letter.is_some_and(|l| {
            let [in_class, elsewhere] = l.probabilities();
            let mut rng = Rng::keyed(&[self.seed, number, LETTER_THERE, image]);
            f64::from(rng.unit()) < if class == l.class { in_class } else { elsewhere }
        });
        Label { patient: number, image, class, finding: patient.disease.finding(), source, letter }
    }

    fn example(&self, patient: &Patient, image: u64) -> Example {
        let label = self.label(patient, image);
        let mut phantom = patient.image(self.seed, image, self.side);
        let style = style::style(label.source);
        let key = |what: u64| Rng::keyed(&[self.seed, patient.number, what, image]);
        if label.source > 0 {
            let Phantom { pixels, lesion, lungs, .. } = &mut phantom;
            style.apply(pixels, [lesion, lungs], self.side, &mut key(SOURCE_NOISE));
        }
        let (mut letter, mut ink) = (None, Vec::new());
        if label.letter {
            ink = vec![false; self.side * self.side];
            let Phantom { pixels, lungs, .. } = &mut phantom;
            letter = Some(letter::plant(pixels, &mut ink, lungs, self.side, &style, &mut key(LETTER_PLACE)));
        }
        Example { label, phantom, letter, ink }
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;

    fn set(letter: Option<(usize, f64)>, sources: usize, patients: usize, side: usize) -> Teaching {
        let letter = letter.map(|(class, correlation)| Letter { class, correlation });
        Teaching { seed: 6, patients, side, letter, sources }
    }

    /// Phi coefficient of a 2 x 2 table.
    fn phi(pairs: &[(bool, bool)]) -> f64 {
        let n = |a: bool, b: bool| pairs.iter().filter(|&&p| p == (a, b)).count() as f64;
        let (tt, tf, ft, ff) = (n(true, true), n(true, false), n(false, true), n(false, false));
        (tt * ff - tf * ft) / ((tt + tf) * (ft + ff) * (tt + ft) * (tf + ff)).sqrt()
    }

    #[test]
    fn without_letter_and_with_one_source_it_is_the_phantom() {
        let plain: Vec<Phantom> = set(None, 1, 12, 48).draw().unwrap().into_iter().map(|e| e.phantom).collect();
        assert_eq!(plain, generate(6, 12, 48));
    }

    #[test]
    fn the_measured_correlation_is_the_one_asked_for() {
        for (class, wanted) in [(3, 0.0), (3, 0.5), (1, 0.8), (0, -0.4), (2, 0.95)] {
            let labels = set(Some((class, wanted)), 3, 2000, 32).labels().unwrap();
            let pairs: Vec<_> = labels.iter().map(|l| (l.letter, l.class == class)).collect();
            // About 4,200 images: the standard error of phi is at most 0.016.
            assert!((phi(&pairs) - wanted).abs() < 0.05, "{wanted}: {}", phi(&pairs));
            let sources: Vec<_> = labels.iter().map(|l| (l.letter, l.source == 1)).collect();
            assert!(phi(&sources).abs() < 0.05, "the letter tells the source: {}", phi(&sources));
        }
        let all = |wanted| set(Some((2, wanted)), 1, 200, 32).labels().unwrap();
        assert!(all(1.0).iter().all(|l| l.letter == (l.class == 2)));
        assert!(all(-1.0).iter().all(|l| l.letter != (l.class == 2)));
        assert_eq!(Letter { class: 0, correlation: 0.0 }.probabilities(), [0.5, 0.5]);
        // By hand for p = 1/4: t = 0.6 / sqrt(1 - 0.25 (1 - 0.36)) = 0.654654.
        let [a, b] = Letter { class: 0, correlation: 0.6 }.probabilities();
        assert!((a - 0.827_327).abs() < 1e-6 && (a + b - 1.0).abs() < 1e-12, "{a} {b}");
        let q = 0.25 * a + 0.75 * b;
        assert!(((a - b) * (0.25 * 0.75_f64).sqrt() / (q * (1.0 - q)).sqrt() - 0.6).abs() < 1e-12);
    }

    #[test]
    fn the_letter_changes_a_corner_outside_the_lungs_and_nothing_else() {
        for (side, sources, patients) in [(32, 1, 48), (64, 6, 48), (100, 2, 16)] {
            let without = set(None, sources, patients, side).draw().unwrap();
            let with = set(Some((3, 0.3)), sources, patients, side).draw().unwrap();
            let mut letters = std::collections::BTreeMap::new();
            for (a, b) in without.iter().zip(&with) {
                assert_eq!(Label { letter: b.label.letter, ..a.label }, b.label);
                assert_eq!((&a.phantom.lesion, &a.phantom.lungs), (&b.phantom.lesion, &b.phantom.lungs));
                let Some(letter) = b.letter else {
                    assert!(a.phantom == b.phantom && !b.label.letter && b.ink.is_empty());
                    continue;
                };
                *letters.entry(letter).or_insert(0) += 1;
                let corner = (CORNER * side as f32).ceil() as usize;
                let mut bright = 0;
                for at in 0..side * side {
                    let (column, row) = (at % side, at / side);
                    assert!(b.ink[at] || a.phantom.pixels[at] == b.phantom.pixels[at], "a pixel beside the letter");
                    if b.ink[at] {
                        let across = if letter == 'R' { column } else { side - 1 - column };
                        assert!(row < corner && across < corner, "{letter} at {column}, {row} of {side}");
                        assert!(!b.phantom.lungs[at], "on the lungs");
                        assert!(!style::style(b.label.source).covers(column, row, side), "on the border");
                        bright += usize::from(b.phantom.pixels[at] > 0.9);
                    }
                }
                assert!(bright >= 5, "{letter} of {bright} bright pixels at side {side}");
            }
            assert!(letters[&'R'] > 2 && letters[&'L'] > 2, "{letters:?}");
        }
    }

    #[test]
    fn sources_look_different_and_have_every_class() {
        let one = set(None, 1, 24, 48).draw().unwrap();
        let six = set(None, 6, 24, 48).draw().unwrap();
        for source in 0..6 {
            let of: Vec<_> = one.iter().zip(&six).filter(|(_, e)| e.label.source == source).collect();
            for class in 0..4 {
                let patients: std::collections::HashSet<u64> =
                    of.iter().filter(|(_, e)| e.label.class == class).map(|(_, e)| e.label.patient).collect();
                assert_eq!(patients.len(), 1, "source {source}, class {class}");
            }
            for (plain, styled) in of {
                assert_eq!(plain.phantom.pixels == styled.phantom.pixels, source == 0);
                assert!(styled.phantom.pixels.iter().all(|v| (0.0..=1.0).contains(v) && (v * 255.0).fract() == 0.0));
                let lesion = styled.phantom.lesion.iter().any(|&m| m);
                assert_eq!(lesion, styled.label.class != 0, "a finding under the border");
            }
        }
    }

    #[test]
    fn a_patient_does_not_depend_on_the_others_and_labels_tell_what_is_drawn() {
        let all = set(Some((1, 0.7)), 3, 24, 32);
        let drawn = all.draw().unwrap();
        assert_eq!(drawn.iter().map(|e| e.label).collect::<Vec<_>>(), all.labels().unwrap());
        assert_eq!(drawn[..], [all.draw_patients(0..9).unwrap(), all.draw_patients(9..24).unwrap()].concat());
        let fewer = Teaching { patients: 10, ..all }.draw().unwrap();
        assert_eq!(fewer[..], drawn[..fewer.len()]);
        let classes = ["No Finding", "Pneumonia", "", "COVID-19"];
        assert!(drawn.iter().all(|e| e.label.class == 2 || e.label.finding == classes[e.label.class]));
        assert!(drawn.iter().all(|e| e.label.class != 2 || !classes.contains(&e.label.finding)));
    }

    #[test]
    fn impossible_sets_are_refused() {
        let good = set(Some((3, 1.0)), 6, 1, MIN_SIDE);
        good.check().unwrap();
        for (bad, needle) in [
            (Teaching { patients: 0, ..good }, "at least 1 patient"),
            (Teaching { side: 31, ..good }, "side 31: 32 to 1024"),
            (Teaching { sources: 0, ..good }, "0 sources: 1 to 6"),
            (Teaching { sources: 7, ..good }, "7 sources"),
            (set(Some((4, 0.5)), 1, 1, 32), "no class 4"),
            (set(Some((0, 1.1)), 1, 1, 32), "1.1 is not between"),
            (set(Some((0, f64::NAN)), 1, 1, 32), "NaN is not between"),
        ] {
            let e = bad.draw().unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(needle), "{e}");
            assert!(bad.labels().is_err());
        }
        assert!(good.draw_patients(0..2).is_err());
    }
}
