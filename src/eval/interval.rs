//! Confidence intervals whose method is named in the result.
//!
//! Quantiles are found by bisection on statrs' distribution functions: the inverse functions of statrs 0.19 are good
//! to three figures only in places (its own tests say so for the t distribution with 2 degrees of freedom).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;

/// How an [`Interval`] was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Score interval of a proportion (Wilson 1927, <https://doi.org/10.1080/01621459.1927.10502953>).
    Wilson,
    /// "Exact" interval of a proportion (Clopper and Pearson 1934, <https://doi.org/10.1093/biomet/26.4.404>).
    ClopperPearson,
    /// Student's t interval of a mean.
    StudentT,
    /// Student's t interval of the mean of paired differences.
    PairedT,
    /// Normal interval of an area under the ROC curve with DeLong's variance ([`crate::eval::roc`]).
    DeLong,
    /// Percentiles of resamples of whole patients ([`crate::eval::bootstrap`]).
    ClusteredBootstrap,
    /// Estimate and multiples of its standard error, as of a regression's coefficient.
    Wald,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::Wilson => "Wilson",
            Method::ClopperPearson => "Clopper-Pearson",
            Method::StudentT => "Student's t",
            Method::PairedT => "paired t",
            Method::DeLong => "DeLong",
            Method::ClusteredBootstrap => "patient-clustered bootstrap",
            Method::Wald => "Wald",
        })
    }
}

/// A confidence level as "95 %"; 0.57 does not become 56.99999999999999 %.
pub fn level_text(level: f64) -> String {
    format!("{} %", (level * 1e8).round() / 1e6)
}

/// A two-sided confidence interval, in the unit of what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence level, as in 0.95.
    pub level: f64,
    /// How it was made.
    pub method: Method,
}

impl Interval {
    /// Whether `x` lies in the closed interval.
    pub fn contains(&self, x: f64) -> bool {
        self.low <= x && x <= self.high
    }
}

/// Which interval a proportion gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proportion {
    /// [`wilson`].
    #[default]
    Wilson,
    /// [`clopper_pearson`].
    ClopperPearson,
}

impl Proportion {
    /// "Wilson" or "Clopper-Pearson".
    pub fn name(self) -> String {
        match self {
            Proportion::Wilson => Method::Wilson.to_string(),
            Proportion::ClopperPearson => Method::ClopperPearson.to_string(),
        }
    }

    /// The interval for `successes` of `trials`; `None` without trials.
    ///
    /// # Panics
    /// When `successes > trials` or `level` is not between 0 and 1.
    #[track_caller]
    pub fn interval(self, successes: u64, trials: u64, level: f64) -> Option<Interval> {
        match self {
            Proportion::Wilson => wilson(successes, trials, level),
            Proportion::ClopperPearson => clopper_pearson(successes, trials, level),
        }
    }
}

/// `estimate` and its standard error as an interval by the normal distribution; `None` when the error is 0 (an interval
/// without width would claim a certainty that there is not) or not finite.
///
/// # Panics
/// When `level` is not between 0 and 1.
#[track_caller]
pub fn normal_interval(estimate: f64, error: f64, level: f64, method: Method) -> Option<Interval> {
    check(0, 0, level);
    let half = normal_quantile(0.5 + 0.5 * level) * error;
    (error > 0.0 && half.is_finite()).then_some(Interval { low: estimate - half, high: estimate + half, level, method })
}

/// Two-sided p value of a standard normal `z`.
pub fn normal_p_value(z: f64) -> f64 {
    // statrs' cdf loses the far tail to cancellation; its erfc does not.
    statrs::function::erf::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Upper tail of the chi-squared distribution with `degrees` degrees of freedom at `x`.
pub fn chi_squared_p_value(x: f64, degrees: usize) -> f64 {
    if x <= 0.0 || degrees == 0 {
        return 1.0;
    }
    statrs::function::gamma::gamma_ur(0.5 * degrees as f64, 0.5 * x)
}

/// Wilson's score interval for `successes` of `trials`, without continuity correction; `None` without trials.
///
/// The trials are taken to be independent. Images of one patient are not, so over images it is too narrow.
///
/// # Panics
/// When `successes > trials` or `level` is not between 0 and 1.
#[track_caller]
pub fn wilson(successes: u64, trials: u64, level: f64) -> Option<Interval> {
    check(successes, trials, level);
    if trials == 0 {
        return None;
    }
    let (n, p) = (trials as f64, successes as f64 / trials as f64);
    let z = normal_quantile(0.5 + 0.5 * level);
    let shrink = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / shrink;
    let half = z / shrink * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    // At 0 and at n successes one end is exactly 0 or 1; the formula leaves it off by a rounding error.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == trials { 1.0 } else { (centre + half).min(1.0) };
    Some(Interval { low, high, level, method: Method::Wilson })
}

/// Clopper-Pearson interval for `successes` of `trials`; `None` without trials. Never below its nominal level.
///
/// # Panics
/// When `successes > trials` or `level` is not between 0 and 1.
#[track_caller]
pub fn clopper_pearson(successes: u64, trials: u64, level: f64) -> Option<Interval> {
    check(successes, trials, level);
    if trials == 0 {
        return None;
    }
    let (k, n, tail) = (successes as f64, trials as f64, 0.5 * (1.0 - level));
    let low = if successes == 0 { 0.0 } else { bisect(0.0, 1.0, tail, |x| beta_reg(k, n - k + 1.0, x)) };
    let high = if successes == trials { 1.0 } else { bisect(0.0, 1.0, 1.0 - tail, |x| beta_reg(k + 1.0, n - k, x)) };
    Some(Interval { low, high, level, method: Method::ClopperPearson })
}

/// Student's t interval of the mean of `values`; `None` for fewer than two values or one that is not finite.
///
/// It is not cut at 0 and 1 when the values are accuracies. Over the folds of one cross-validation the values are not
/// independent (training sets overlap), so it is a description, somewhat too narrow (Bengio and Grandvalet 2004,
/// <https://www.jmlr.org/papers/v5/grandvalet04a.html>).
///
/// # Panics
/// When `level` is not between 0 and 1.
#[track_caller]
pub fn student_t(values: &[f64], level: f64) -> Option<Interval> {
    check(0, 0, level);
    let (mean, error) = mean_and_standard_error(values)?;
    let half = student_quantile(0.5 + 0.5 * level, (values.len() - 1) as f64) * error;
    Some(Interval { low: mean - half, high: mean + half, level, method: Method::StudentT })
}

/// Mean of the differences of two paired samples, its interval, and the two-sided test that it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Number of pairs.
    pub pairs: usize,
    /// Mean of `a - b`.
    pub mean: f64,
    /// Interval of that mean.
    pub interval: Interval,
    /// t statistic with `pairs - 1` degrees of freedom; `None` when all differences are equal.
    pub t: Option<f64>,
    /// Two-sided p value of `t`.
    pub p_value: Option<f64>,
}

/// t interval of the mean of `a[i] - b[i]`, as for the accuracies of two programs on the same folds; `None` for fewer
/// than two pairs or a value that is not finite.
///
/// # Panics
/// When the lengths differ or `level` is not between 0 and 1.
#[track_caller]
pub fn paired_t(a: &[f64], b: &[f64], level: f64) -> Option<PairedDifference> {
    assert_eq!(a.len(), b.len(), "paired_t: {} values against {}", a.len(), b.len());
    let differences: Vec<f64> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    let interval = Interval { method: Method::PairedT, ..student_t(&differences, level)? };
    let (mean, error) = mean_and_standard_error(&differences)?;
    let t = (error > 0.0).then(|| mean / error);
    let p_value = t.map(|t| 2.0 * student_cdf(-t.abs(), (a.len() - 1) as f64));
    Some(PairedDifference { pairs: a.len(), mean, interval, t, p_value })
}

/// Mean and its standard error (n - 1 in the variance), or `None` for fewer than two or non-finite values.
fn mean_and_standard_error(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, (variance / n).sqrt()))
}

/// Quantile of the standard normal distribution for `p` in [0.5, 1).
fn normal_quantile(p: f64) -> f64 {
    let normal = Normal::standard();
    bisect(0.0, 40.0, p, |x| normal.cdf(x))
}

/// Quantile of Student's t distribution for `p` in [0.5, 1).
fn student_quantile(p: f64, degrees: f64) -> f64 {
    let mut high = 1.0;
    while student_cdf(high, degrees) < p && high < 1e300 {
        high *= 2.0;
    }
    bisect(0.0, high, p, |x| student_cdf(x, degrees))
}

/// Distribution function of Student's t with `degrees` >= 1 degrees of freedom.
fn student_cdf(x: f64, degrees: f64) -> f64 {
    StudentsT::new(0.0, 1.0, degrees).map_or(f64::NAN, |t| t.cdf(x))
}

/// Where the non-decreasing function `f` reaches `p` between `low` and `high`, to the last bit that halving reaches.
fn bisect(mut low: f64, mut high: f64, p: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if f(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[track_caller]
fn check(successes: u64, trials: u64, level: f64) {
    assert!(successes <= trials, "interval: {successes} successes of {trials} trials");
    assert!(level > 0.0 && level < 1.0, "interval: confidence level {level} is not between 0 and 1");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-10 * want.abs().max(1.0), "{got:.15} is not {want:.15}");
    }

    /// successes, trials, then Wilson (statsmodels 0.15 `proportion_confint(method="wilson")`) and Clopper-Pearson
    /// (SciPy 1.17 `binomtest(k, n).proportion_ci(method="exact")`), each low and high, level 0.95.
    #[rustfmt::skip]
    const PROPORTIONS: [(u64, u64, [f64; 4]); 8] = [
        (81, 263, [0.255288519878274, 0.3662095769828, 0.252736745585043, 0.367621922601347]),
        (0, 10, [0.0, 0.277532799862889, 0.0, 0.308497107818763]),
        (10, 10, [0.722467200137111, 1.0, 0.691502892181237, 1.0]),
        (1, 1, [0.206549314377237, 1.0, 0.025, 1.0]),
        (0, 1, [0.0, 0.793450685622763, 0.0, 0.975]),
        (953, 1000, [0.938060061918471, 0.964472894893616, 0.937987369306929, 0.965264937733205]),
        (57, 100, [0.472153895492123, 0.662667014758899, 0.467133738324846, 0.668608983368612]),
        (3, 7, [0.15821985525147, 0.749541635472343, 0.0989882784424369, 0.81594843235993]),
    ];

    #[test]
    fn proportions_agree_with_statsmodels_and_scipy() {
        for (k, n, want) in PROPORTIONS {
            let (w, c) = (wilson(k, n, 0.95).unwrap(), clopper_pearson(k, n, 0.95).unwrap());
            for (got, want) in [w.low, w.high, c.low, c.high].into_iter().zip(want) {
                close(got, want);
            }
        }
        let w = wilson(57, 100, 0.99).unwrap();
        close(w.low, 0.442075702679974);
        close(w.high, 0.689213401039811);
        let c = clopper_pearson(57, 100, 0.90).unwrap();
        close(c.low, 0.482824499657161);
        close(c.high, 0.653992673378677);
        assert_eq!(wilson(0, 0, 0.95), None);
        assert_eq!(clopper_pearson(0, 0, 0.95), None);
    }

    #[test]
    fn quantiles_agree_with_scipy() {
        close(normal_quantile(0.975), 1.959963984540054);
        for (degrees, want) in [
            (1.0, 12.7062047361747),
            (2.0, 4.30265272974946),
            (4.0, 2.77644510519779),
            (9.0, 2.2621571627982),
            (30.0, 2.04227245630124),
            (1000.0, 1.96233908082641),
        ] {
            close(student_quantile(0.975, degrees), want);
        }
    }

    #[test]
    fn t_intervals_agree_with_scipy() {
        let a = [0.57, 0.61, 0.55, 0.59, 0.58];
        let i = student_t(&a, 0.95).unwrap();
        close(i.low, 0.552235548948022);
        close(i.high, 0.607764451051978);
        let i = student_t(&a, 0.99).unwrap();
        close(i.low, 0.5339590512865);
        close(i.high, 0.6260409487135);
        // Two folds: wide, and not cut at 1.
        let i = student_t(&[0.9, 0.95], 0.95).unwrap();
        close(i.low, 0.607344881595633);
        close(i.high, 1.24265511840437);
        let d = paired_t(&a, &[0.55, 0.60, 0.57, 0.58, 0.54], 0.95).unwrap();
        close(d.mean, 0.012);
        close(d.interval.low, -0.0149186340233789);
        close(d.interval.high, 0.0389186340233789);
        close(d.t.unwrap(), 1.2377054955105546);
        close(d.p_value.unwrap(), 0.2835110642276414);
        assert!(d.interval.contains(0.0));
        assert_eq!(d.interval.method, Method::PairedT);
    }

    #[test]
    fn tails_agree_with_scipy() {
        // scipy.stats.norm.sf and chi2.sf
        for (z, want) in
            [(0.0, 1.0), (1.5, 0.133614402537716), (-3.0, 0.002699796063260189), (9.0, 2.257176811907681e-19)]
        {
            assert!((normal_p_value(z) / want - 1.0).abs() < 1e-9, "{z}: {}", normal_p_value(z));
        }
        for (x, degrees, want) in
            [(3.841458820694124, 1, 0.05), (1.0, 3, 0.8012519569012009), (60.0, 2, 9.357622968840175e-14)]
        {
            let got = chi_squared_p_value(x, degrees);
            assert!((got / want - 1.0).abs() < 1e-9, "{x}: {got}");
        }
        assert_eq!([0.95, 0.57, 0.999].map(level_text), ["95 %", "57 %", "99.9 %"]);
        assert_eq!(normal_interval(0.5, 0.0, 0.95, Method::Wald), None);
        let i = normal_interval(1.0, 2.0, 0.95, Method::Wald).unwrap();
        close(i.high, 4.919927969080108);
    }

    #[test]
    fn too_few_or_unusable_values_give_none() {
        assert_eq!(student_t(&[0.5], 0.95), None);
        assert_eq!(student_t(&[0.5, f64::NAN], 0.95), None);
        let d = paired_t(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], 0.95).unwrap();
        assert_eq!((d.mean, d.t, d.p_value), (0.0, None, None));
    }

    #[test]
    #[should_panic(expected = "3 successes of 2 trials")]
    fn more_successes_than_trials_is_a_bug_of_the_caller() {
        wilson(3, 2, 0.95);
    }
}
