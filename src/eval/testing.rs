//! Predictions for tests, by a formula that Python computes to the same bits.

use crate::eval::predictions::{Prediction, Predictions};

/// `images` predictions over three classes, two images a patient, three folds; the true class's score is larger by `boost`.
pub(crate) fn made(images: usize, boost: usize, seed: usize) -> Predictions {
    let row = |i: usize| {
        let truth = [0, 0, 1, 2, 1][i % 5];
        let hash = |k: usize| (i * 37 + k * 61 + i * k * 13 + seed * (i * i + k * 29)) % 97 + 1;
        let scores = [0, 1, 2].map(|k| (hash(k) + if k == truth { boost } else { 0 }) as f64);
        let sum = scores[0] + scores[1] + scores[2];
        let patient = format!("p{}", i / 2);
        let probabilities = scores.map(|s| s / sum).to_vec();
        Prediction { image: format!("i{i}"), patient, fold: (i / 2 % 3) as u32 + 1, truth, probabilities }
    };
    let classes = ["normal", "other disease", "COVID-19"].map(String::from).to_vec();
    Predictions { classes, rows: (0..images).map(row).collect() }
}
