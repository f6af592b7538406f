//! Several figures or tests that should hold together: Bonferroni and Holm.

/// Level that each of `size` intervals needs so that all hold together with probability `level` or more, whatever their
/// dependence: 1 - (1 - level) / size. `level` itself for a family of none or one.
pub fn bonferroni_level(level: f64, size: usize) -> f64 {
    1.0 - (1.0 - level) / size.max(1) as f64
}

/// P values times their number, at most 1.
pub fn bonferroni(p_values: &[f64]) -> Vec<f64> {
    p_values.iter().map(|p| (p * p_values.len() as f64).min(1.0)).collect()
}

/// P values adjusted by Holm's step-down procedure (1979, <https://www.jstor.org/stable/4615733>), in the order given: never
/// larger than Bonferroni's and valid under any dependence.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let n = p_values.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let (mut adjusted, mut largest) = (vec![0.0; n], 0.0f64);
    for (before, &i) in order.iter().enumerate() {
        largest = largest.max((n - before) as f64 * p_values[i]).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

/// As [`holm`] over those that there are; the family is as large as they are many.
pub fn holm_of(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let there: Vec<f64> = p_values.iter().flatten().copied().collect();
    let mut adjusted = holm(&there).into_iter();
    p_values.iter().map(|p| p.and_then(|_| adjusted.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_p_values_are_statsmodels() {
        // statsmodels 0.15 multipletests(p, method="holm") and "bonferroni".
        let p = [0.012, 0.2, 0.0004, 0.03, 0.03, 0.9];
        let close = |got: Vec<f64>, want: [f64; 6]| {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-12), "{got:?} is not {want:?}");
        };
        close(holm(&p), [0.06, 0.4, 0.0024, 0.12, 0.12, 0.9]);
        close(bonferroni(&p), [0.072, 1.0, 0.0024, 0.18, 0.18, 1.0]);
        assert!(holm(&[]).is_empty());
        assert_eq!(holm_of(&[None, Some(0.02), Some(0.6)]), [None, Some(0.04), Some(0.6)]);
        assert!((bonferroni_level(0.95, 6) - 0.991_666_666_666_666_6).abs() < 1e-15);
        assert_eq!(bonferroni_level(0.9, 0), 0.9);
    }
}
