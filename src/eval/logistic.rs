//! Binary logistic regression by Newton's method (iteratively reweighted least squares), with separation proved and reported
//! instead of coefficients that are nothing but the last iteration (Albert and Anderson 1984,
//! <https://doi.org/10.1093/biomet/71.1.1>).

use crate::error::{Error, Result};
use crate::eval::linear::Cholesky;
use serde::Serialize;

/// Newton steps until it has converged, or has to be separated.
const STEPS: usize = 60;
/// A column is a combination of others when less than this share of its length is left without them.
const TOLERANCE: f64 = 1e-11;

/// Why coefficients have no finite estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Separation {
    /// All responses are equal.
    OneOutcome,
    /// A combination of the columns tells both outcomes apart without an error.
    Complete,
    /// A combination of the columns tells some rows' outcome for certain and nothing about the others.
    Quasi,
}

impl std::fmt::Display for Separation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Separation::OneOutcome => "only one outcome occurs",
            Separation::Complete => "complete separation",
            Separation::Quasi => "quasi-complete separation",
        })
    }
}

/// The estimate of one column's coefficient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Estimate {
    /// Estimate and standard error (from the information matrix).
    Finite(f64, f64),
    /// The likelihood grows without end in this direction: +1 or -1.
    Diverges(f64),
    /// The column is a combination of those before it and was left out.
    Aliased,
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// One per column.
    pub estimates: Vec<Estimate>,
    /// -2 ln likelihood; under separation its limit.
    pub deviance: f64,
    /// Columns that are not aliased.
    pub rank: usize,
    /// Whether and how the outcomes are separated.
    pub separation: Option<Separation>,
    /// Newton steps taken.
    pub steps: usize,
}

/// Fits P(y) = 1 / (1 + exp(-x·β)) to `rows` (each of the same number of columns, the intercept's ones among them).
///
/// # Errors
/// [`Error::Data`] without rows or columns, or for an entry that is not finite; [`Error::Numerics`] when Newton's method
/// neither converges nor finds a separating direction.
///
/// # Panics
/// When rows and responses differ in number or rows in length.
#[track_caller]
pub fn fit(rows: &[Vec<f64>], y: &[bool]) -> Result<Fit> {
    assert_eq!(rows.len(), y.len(), "logistic regression: rows and responses");
    let width = rows.first().map_or(0, Vec::len);
    assert!(rows.iter().all(|r| r.len() == width), "logistic regression: rows of different lengths");
    if width == 0 {
        return Err(Error::Data("logistic regression: no row or no column".into()));
    }
    if rows.iter().flatten().any(|v| !v.is_finite()) {
        return Err(Error::Data("logistic regression: an entry that is not finite".into()));
    }
    // Columns of length 1 on average, so that the tolerances mean the same for ages and for shares.
    let length = |j: usize| (rows.iter().map(|r| r[j] * r[j]).sum::<f64>() / rows.len() as f64).sqrt();
    let scales: Vec<f64> = (0..width).map(|j| Some(length(j)).filter(|s| *s > 0.0).unwrap_or(1.0)).collect();
    let scaled: Vec<Vec<f64>> = rows.iter().map(|r| r.iter().zip(&scales).map(|(v, s)| v / s).collect()).collect();
    let kept = Cholesky::of(&information(&scaled, |_| 0.25), TOLERANCE).kept;
    let x: Vec<Vec<f64>> = scaled.iter().map(|r| kept.iter().map(|&j| r[j]).collect()).collect();
    let state = iterate(&x, y)?;
    let errors = Cholesky::of(&information(&x, |i| weight(dot(&x[i], &state.beta))), 0.0);
    let error_of = |k: usize| {
        let at = errors.kept.iter().position(|&j| j == k)?;
        errors.inverse_diagonal().get(at).map(|v| v.sqrt())
    };
    let reach = state.direction.iter().fold(0.0f64, |m, d| m.max(d.abs()));
    let estimate = |j: usize| match kept.iter().position(|&k| k == j) {
        None => Estimate::Aliased,
        Some(k) if state.separation.is_some() && state.direction[k].abs() > 1e-3 * reach => {
            Estimate::Diverges(state.direction[k].signum())
        }
        Some(k) => Estimate::Finite(state.beta[k] / scales[j], error_of(k).map_or(f64::NAN, |e| e / scales[j])),
    };
    Ok(Fit {
        estimates: (0..width).map(estimate).collect(),
        deviance: state.deviance,
        rank: kept.len(),
        separation: state.separation,
        steps: state.steps,
    })
}

struct State {
    beta: Vec<f64>,
    deviance: f64,
    /// The last step.
    direction: Vec<f64>,
    separation: Option<Separation>,
    steps: usize,
}

/// Newton's method from 0, on columns that are independent.
fn iterate(x: &[Vec<f64>], y: &[bool]) -> Result<State> {
    let width = x[0].len();
    let mut beta = vec![0.0; width];
    let mut now = deviance(x, y, &beta);
    let mut direction = vec![0.0; width];
    for steps in 1..=STEPS {
        let residual = |i: usize| if y[i] { share(-dot(&x[i], &beta)) } else { -share(dot(&x[i], &beta)) };
        let gradient: Vec<f64> = (0..width).map(|j| (0..x.len()).map(|i| x[i][j] * residual(i)).sum()).collect();
        let factor = Cholesky::of(&information(x, |i| weight(dot(&x[i], &beta))), TOLERANCE);
        if factor.kept.len() < width {
            // The weights of separated rows have vanished.
            return separated(x, y, beta, now, direction, steps);
        }
        let step = factor.solve(&gradient);
        let mut share_of_step = 1.0;
        let (next, value) = loop {
            let next: Vec<f64> = beta.iter().zip(&step).map(|(b, s)| b + share_of_step * s).collect();
            let value = deviance(x, y, &next);
            // The sum rounds: near the minimum a step may change it by noise.
            if value <= now + 1e-9 * (1.0 + now) || share_of_step < 1e-6 {
                break (next, value);
            }
            share_of_step *= 0.5;
        };
        let size = step.iter().fold(0.0f64, |m, s| m.max(s.abs()));
        (beta, now, direction) = (next, value, step);
        if size < 1e-9 * (1.0 + beta.iter().fold(0.0f64, |m, b| m.max(b.abs()))) {
            return Ok(State { beta, deviance: now, direction, separation: None, steps });
        }
        // Separated rows move by 1 a step: at 30 their likelihood is 1 to the last bit that a deviance shows.
        if steps >= 30 && size > 0.1 {
            return separated(x, y, beta, now, direction, steps);
        }
    }
    separated(x, y, beta, now, direction, STEPS)
}

/// The state of a separated fit, if the last step proves it: no row's likelihood falls along it, and some rise for ever.
fn separated(
    x: &[Vec<f64>],
    y: &[bool],
    beta: Vec<f64>,
    deviance: f64,
    direction: Vec<f64>,
    steps: usize,
) -> Result<State> {
    let along = |i: usize, v: &[f64]| if y[i] { dot(&x[i], v) } else { -dot(&x[i], v) };
    let rows = 0..x.len();
    let gains: Vec<f64> = rows.clone().map(|i| along(i, &direction)).collect();
    let largest = gains.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    let separation = if y.iter().all(|v| *v == y[0]) {
        Separation::OneOutcome
    } else if rows.clone().all(|i| along(i, &beta) > 0.0) {
        // β itself tells all rows apart.
        Separation::Complete
    } else if largest > 0.0 && gains.iter().all(|g| *g >= -1e-5 * largest) {
        Separation::Quasi
    } else {
        return Err(Error::Numerics(format!(
            "logistic regression: Newton's method did not converge in {steps} steps and the outcomes are not separated"
        )));
    };
    Ok(State { beta, deviance, direction, separation: Some(separation), steps })
}

/// 1 / (1 + exp(-eta)), exact to the last bits on both sides.
fn share(eta: f64) -> f64 {
    if eta >= 0.0 { 1.0 / (1.0 + (-eta).exp()) } else { eta.exp() / (1.0 + eta.exp()) }
}

fn weight(eta: f64) -> f64 {
    share(eta) * share(-eta)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// -2 ln likelihood.
fn deviance(x: &[Vec<f64>], y: &[bool], beta: &[f64]) -> f64 {
    let surprise = |(r, y): (&Vec<f64>, &bool)| {
        let eta = if *y { dot(r, beta) } else { -dot(r, beta) };
        if eta > 0.0 { (-eta).exp().ln_1p() } else { eta.exp().ln_1p() - eta }
    };
    2.0 * x.iter().zip(y).map(surprise).sum::<f64>()
}

/// Σ w x xᵀ.
fn information(x: &[Vec<f64>], weight: impl Fn(usize) -> f64) -> Vec<Vec<f64>> {
    let width = x.first().map_or(0, Vec::len);
    let mut sum = vec![vec![0.0; width]; width];
    for (i, row) in x.iter().enumerate() {
        let w = weight(i);
        for (line, a) in sum.iter_mut().zip(row) {
            line.iter_mut().zip(row).for_each(|(cell, b)| *cell += w * a * b);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(x: &[f64]) -> Vec<Vec<f64>> {
        x.iter().map(|v| vec![1.0, *v]).collect()
    }

    const X: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

    #[test]
    fn a_line_agrees_with_statsmodels() {
        // statsmodels 0.15: sm.Logit(y, sm.add_constant(x)).fit()
        let y = [false, false, true, false, true, false, true, true];
        let f = fit(&rows(&X), &y).unwrap();
        let Estimate::Finite(b0, e0) = f.estimates[0] else { panic!("{f:?}") };
        let Estimate::Finite(b1, e1) = f.estimates[1] else { panic!("{f:?}") };
        for (got, want) in [b0, e0, b1, e1, f.deviance].into_iter().zip([
            -2.673379620893601,
            2.1207280331387457,
            0.5940843601985779,
            0.43224157964617566,
            8.44958107487313,
        ]) {
            assert!((got - want).abs() < 1e-8, "{got} is not {want}");
        }
        assert_eq!((f.separation, f.rank), (None, 2));
        // The same in other units, and with a column that is a combination.
        let many: Vec<Vec<f64>> = X.iter().map(|v| vec![1.0, 1e6 * v, 3.0 - 2.0 * v]).collect();
        let g = fit(&many, &y).unwrap();
        let Estimate::Finite(b, e) = g.estimates[1] else { panic!("{g:?}") };
        assert!((1e6 * b - b1).abs() < 1e-7 && (1e6 * e - e1).abs() < 1e-7 && (g.deviance - f.deviance).abs() < 1e-9);
        assert_eq!((g.estimates[2], g.rank), (Estimate::Aliased, 2));
    }

    #[test]
    fn separation_is_proved_and_named() {
        let y = [false, false, false, true, true, true, true, true];
        let f = fit(&rows(&X), &y).unwrap();
        assert_eq!(f.separation, Some(Separation::Complete));
        assert_eq!(f.estimates, [Estimate::Diverges(-1.0), Estimate::Diverges(1.0)]);
        assert!(f.deviance < 1e-8, "{f:?}");
        // Rows at x = 4 have both outcomes: quasi-complete, and the limit is their own likelihood, -2·2·ln(1/2).
        let x = [1.0, 2.0, 3.0, 4.0, 4.0, 6.0, 7.0, 8.0];
        let y = [false, false, false, true, false, true, true, true];
        let f = fit(&rows(&x), &y).unwrap();
        assert_eq!(f.separation, Some(Separation::Quasi));
        assert!((f.deviance - 4.0 * 2f64.ln()).abs() < 1e-8, "{f:?}");
        for outcome in [true, false] {
            let f = fit(&rows(&X), &[outcome; 8]).unwrap();
            assert_eq!(f.separation, Some(Separation::OneOutcome));
            assert!(f.deviance < 1e-8);
        }
        assert_eq!(fit(&rows(&[3.0]), &[true]).unwrap().separation, Some(Separation::OneOutcome), "one row");
    }

    #[test]
    fn a_level_that_is_always_right_diverges_alone() {
        // Columns: 1, group B, group C, x; all of group C is right. The others' estimates are those without group C.
        let (mut all, mut y) = (Vec::new(), Vec::new());
        for i in 0..40u32 {
            let v = f64::from(i * 7 % 11);
            all.push(vec![1.0, f64::from(i % 2), 0.0, v]);
            y.push((i * 5 + i % 3 + i * i) % 7 < 4);
        }
        let without = fit(&all.iter().map(|r| vec![r[0], r[1], r[3]]).collect::<Vec<_>>(), &y).unwrap();
        for i in 0..10u32 {
            all.push(vec![1.0, 0.0, 1.0, f64::from(i % 4)]);
            y.push(true);
        }
        let f = fit(&all, &y).unwrap();
        assert_eq!((f.separation, f.estimates[2]), (Some(Separation::Quasi), Estimate::Diverges(1.0)));
        for (a, b) in [(0, 0), (1, 1), (3, 2)] {
            let (Estimate::Finite(x, e), Estimate::Finite(want, error)) = (f.estimates[a], without.estimates[b]) else {
                panic!("{f:?}, {without:?}")
            };
            assert!((x - want).abs() < 1e-6 && (e - error).abs() < 1e-6, "{x} {want} {e} {error}");
        }
        assert!((f.deviance - without.deviance).abs() < 1e-6);
        assert_eq!(without.separation, None);
    }

    #[test]
    fn a_steep_line_that_is_not_separated_converges() {
        let x: Vec<f64> = (0..400).map(|i| f64::from(i) / 10.0).collect();
        // One crossing in the middle.
        let y: Vec<bool> = (0..400).map(|i| if i == 199 || i == 200 { i == 199 } else { i >= 200 }).collect();
        let f = fit(&rows(&x), &y).unwrap();
        assert_eq!(f.separation, None);
        assert!(matches!(f.estimates[1], Estimate::Finite(b, e) if b > 3.0 && e.is_finite()), "{f:?}");
        assert!(fit(&[vec![f64::NAN]], &[true]).is_err() && fit(&[], &[]).is_err());
    }
}
