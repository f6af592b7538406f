//! McNemar's test: whether two models that saw the same images differ in how often they are right.

use crate::eval::interval::chi_squared_p_value;
use serde::Serialize;
use statrs::function::beta::beta_reg;

/// Which of two models was right on how many images, and the tests that it is as often one as the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Both right.
    pub both: u64,
    /// Only the first right.
    pub only_first: u64,
    /// Only the second right.
    pub only_second: u64,
    /// Neither right.
    pub neither: u64,
    /// Two-sided exact binomial p value over the images on which they differ; 1 without such images.
    pub p_exact: f64,
    /// (|b - c| - 1)² / (b + c), McNemar's chi-squared with Edwards' continuity correction; `None` without such images.
    pub chi_squared: Option<f64>,
    /// Its p value with one degree of freedom.
    pub p_chi_squared: Option<f64>,
}

impl McNemar {
    /// Counts `(first right, second right)` of every image.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> McNemar {
        let mut n = [[0u64; 2]; 2];
        pairs.into_iter().for_each(|(a, b)| n[usize::from(a)][usize::from(b)] += 1);
        let [[neither, c], [b, both]] = n;
        let (differ, fewer) = (b + c, b.min(c));
        // Twice P(X <= fewer) for X binomial of `differ` and one half.
        let tail = if fewer == differ { 1.0 } else { beta_reg((differ - fewer) as f64, (fewer + 1) as f64, 0.5) };
        let chi_squared = (differ > 0).then(|| (b.abs_diff(c) as f64 - 1.0).powi(2) / differ as f64);
        McNemar {
            both,
            only_first: b,
            only_second: c,
            neither,
            p_exact: (2.0 * tail).min(1.0),
            chi_squared,
            p_chi_squared: chi_squared.map(|x| chi_squared_p_value(x, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(b: u64, c: u64) -> McNemar {
        let pairs = |n: u64, pair: (bool, bool)| std::iter::repeat_n(pair, n as usize);
        McNemar::of(pairs(b, (true, false)).chain(pairs(c, (false, true))).chain(pairs(5, (true, true))))
    }

    #[test]
    fn p_values_agree_with_statsmodels() {
        // statsmodels 0.15: mcnemar([[5, b], [c, 0]], exact=True) and (exact=False, correction=True).
        for (b, c, exact, chi, p) in [
            (10, 3, 0.09228515625, 2.769230769230769, 0.0960923294556734),
            (1, 0, 1.0, 0.0, 1.0),
            (7, 7, 1.0, 0.07142857142857142, 0.7892680261342813),
            (0, 12, 0.00048828125, 10.083333333333334, 0.0014961642897455517),
            (121, 59, 4.4344492637551645e-06, 20.67222222222222, 5.450094825427117e-06),
            (5, 4, 1.0, 0.0, 1.0),
        ] {
            let t = test(b, c);
            assert_eq!((t.both, t.only_first, t.only_second, t.neither), (5, b, c, 0));
            assert!((t.p_exact / exact - 1.0).abs() < 1e-9, "{b} {c}: {}", t.p_exact);
            assert!((t.chi_squared.unwrap() - chi).abs() < 1e-12, "{t:?}");
            assert!((t.p_chi_squared.unwrap() / p - 1.0).abs() < 1e-9, "{b} {c}: {t:?}");
        }
        let none = test(0, 0);
        assert_eq!((none.p_exact, none.chi_squared, none.p_chi_squared), (1.0, None, None));
    }
}
