//! What being right depends on (Gao and Wang's third rule): logistic regression of "the predicted class is the true one" on
//! covariates such as age and sex and their interactions.

use crate::error::Result;
use crate::eval::design::{Coding, Covariates, Design, DesignTerm, Formula};
use crate::eval::family::holm_of;
use crate::eval::interval::{Interval, Method, chi_squared_p_value, level_text, normal_interval, normal_p_value};
use crate::eval::logistic::{Estimate, Separation, fit};
use crate::eval::predictions::Predictions;
use serde::Serialize;

/// A coefficient, in log odds of being right per unit of its column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coefficient {
    /// The column, as in `age` or `sex[M]` (M against the reference level).
    pub name: String,
    /// Maximum likelihood estimate; `None` where `remark` says why.
    pub estimate: Option<f64>,
    /// Its standard error from the information matrix.
    pub standard_error: Option<f64>,
    /// Wald's z.
    pub z: Option<f64>,
    /// Two-sided p value of `z`.
    pub p_value: Option<f64>,
    /// Wald interval of the estimate.
    pub interval: Option<Interval>,
    /// Why there is no estimate.
    pub remark: Option<String>,
}

/// Likelihood-ratio test of a term: the model with all terms that do not contain it, with and without it (type II, as
/// `car::Anova` in R).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TermTest {
    /// The term.
    pub term: String,
    /// Difference of the deviances.
    pub chi_squared: f64,
    /// Columns that the term adds.
    pub degrees: usize,
    /// Upper tail of chi-squared; `None` when the term adds no column.
    pub p_value: Option<f64>,
    /// The p value adjusted over all terms (Holm).
    pub p_holm: Option<f64>,
}

/// Logistic regression of being right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Regression {
    /// The right side of the formula.
    pub formula: String,
    /// Images that were used.
    pub images: u64,
    /// Of these, right.
    pub right: u64,
    /// Images (and folds) without a row in the table of covariates.
    pub without_covariates: u64,
    /// Images left out because a covariate is not known.
    pub with_missing: u64,
    /// How categories were coded.
    pub codings: Vec<Coding>,
    /// One per column, the intercept first.
    pub coefficients: Vec<Coefficient>,
    /// One per term.
    pub terms: Vec<TermTest>,
    /// -2 ln likelihood.
    pub deviance: f64,
    /// The same with the intercept only.
    pub null_deviance: f64,
    /// Whether and how the outcomes are separated; coefficients that diverge have no Wald test then.
    pub separation: Option<Separation>,
    /// Confidence level of the Wald intervals.
    pub level: f64,
}

impl Regression {
    /// Regresses being right on `formula` over the images of `table`.
    ///
    /// # Errors
    /// As [`Design::of`] and [`fit`].
    ///
    /// # Panics
    /// When `level` is not between 0 and 1.
    #[track_caller]
    pub fn of(all: &Predictions, table: &Covariates, formula: &Formula, level: f64) -> Result<Regression> {
        let keys: Vec<&str> = all.rows.iter().map(|r| r.image.as_str()).collect();
        let design = Design::of(formula, table, &keys)?;
        let y: Vec<bool> = design.used.iter().map(|&i| all.rows[i].right()).collect();
        let full = fit(&design.rows, &y)?;
        let coefficient = |(name, e): (&String, &Estimate)| {
            let (estimate, error) = match e {
                Estimate::Finite(b, error) => (Some(*b), Some(*error).filter(|e| e.is_finite())),
                _ => (None, None),
            };
            let z = estimate.zip(error).map(|(b, e)| b / e);
            let remark = match e {
                Estimate::Finite(..) => None,
                Estimate::Diverges(sign) => {
                    Some(format!("no finite estimate: it grows towards {}", if *sign > 0.0 { "+inf" } else { "-inf" }))
                }
                Estimate::Aliased => Some("left out: a combination of the columns before it".into()),
            };
            let interval = estimate.zip(error).and_then(|(b, e)| normal_interval(b, e, level, Method::Wald));
            let p_value = z.map(normal_p_value);
            Coefficient { name: name.clone(), estimate, standard_error: error, z, p_value, interval, remark }
        };
        let coefficients = design.names.iter().zip(&full.estimates).map(coefficient).collect();
        let mut terms = design.terms.iter().map(|t| term_test(&design, t, &y)).collect::<Result<Vec<_>>>()?;
        let adjusted = holm_of(&terms.iter().map(|t| t.p_value).collect::<Vec<_>>());
        terms.iter_mut().zip(adjusted).for_each(|(t, p)| t.p_holm = p);
        Ok(Regression {
            formula: formula.to_string(),
            images: y.len() as u64,
            right: y.iter().filter(|r| **r).count() as u64,
            without_covariates: design.without_row as u64,
            with_missing: design.with_missing as u64,
            coefficients,
            terms,
            deviance: full.deviance,
            null_deviance: fit(&vec![vec![1.0]; y.len()], &y)?.deviance,
            separation: full.separation,
            codings: design.codings,
            level,
        })
    }
}

fn term_test(design: &Design, term: &DesignTerm, y: &[bool]) -> Result<TermTest> {
    let model = |with: bool| {
        let taken = |t: &&DesignTerm| !t.variables.is_superset(&term.variables) || (with && t.name == term.name);
        let columns: Vec<usize> =
            std::iter::once(0).chain(design.terms.iter().filter(taken).flat_map(|t| t.columns.clone())).collect();
        let rows: Vec<Vec<f64>> = design.rows.iter().map(|r| columns.iter().map(|&c| r[c]).collect()).collect();
        fit(&rows, y)
    };
    let (with, without) = (model(true)?, model(false)?);
    let degrees = with.rank - without.rank;
    let chi_squared = (without.deviance - with.deviance).max(0.0);
    let p_value = (degrees > 0).then(|| chi_squared_p_value(chi_squared, degrees));
    Ok(TermTest { term: term.name.clone(), chi_squared, degrees, p_value, p_holm: None })
}

impl std::fmt::Display for Regression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "Logistic regression of being right on {} ({} images, {} right)",
            self.formula, self.images, self.right
        )?;
        for (n, why) in [(self.without_covariates, "no row in the table"), (self.with_missing, "a covariate not known")]
        {
            if n > 0 {
                writeln!(f, "  {n} images left out: {why}")?;
            }
        }
        for c in &self.codings {
            let levels = c.levels.iter().zip(&c.images[1..]).map(|(l, n)| format!("{l} ({n})")).collect::<Vec<_>>();
            let others = if levels.is_empty() { "no other level".into() } else { levels.join(", ") };
            writeln!(f, "  {}: {others} against {} ({})", c.variable, c.reference, c.images[0])?;
        }
        match self.separation {
            None => {}
            Some(Separation::OneOutcome) => {
                writeln!(f, "  {}: nothing can be said about what it depends on", Separation::OneOutcome)?;
            }
            Some(kind) => writeln!(
                f,
                "  {kind}: the covariates tell for certain whether {} images are right; coefficients that grow without end \
                 have no Wald test, and the likelihood-ratio tests use the likelihood's limit",
                if kind == Separation::Complete { "all" } else { "some" }
            )?,
        }
        let width = self.coefficients.iter().map(|c| c.name.chars().count()).chain([11]).max().unwrap_or(11);
        let level = level_text(self.level);
        writeln!(
            f,
            "  {:width$}  {:>9} {:>9} {:>7} {:>8}  {level} Wald interval",
            "log odds", "estimate", "std. err.", "z", "p"
        )?;
        for c in &self.coefficients {
            if let Some(remark) = &c.remark {
                writeln!(f, "  {:width$}  {remark}", c.name)?;
                continue;
            }
            let number = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
            let ends = c.interval.map_or("-".into(), |i| format!("[{:.4}, {:.4}]", i.low, i.high));
            let p = c.p_value.map_or("-".into(), p_text);
            let (b, e, z) = (number(c.estimate, 4), number(c.standard_error, 4), number(c.z, 2));
            writeln!(f, "  {:width$}  {b:>9} {e:>9} {z:>7} {p:>8}  {ends}", c.name)?;
        }
        writeln!(f)?;
        let title = "term (likelihood ratio, type II)";
        let wide = width.max(title.len());
        writeln!(f, "  {title:wide$}  {:>9} {:>3} {:>7} {:>8}", "chi2", "df", "p", "p (Holm)")?;
        for t in &self.terms {
            let p = |p: Option<f64>| p.map_or("-".into(), p_text);
            let (raw, holm) = (p(t.p_value), p(t.p_holm));
            writeln!(f, "  {:wide$}  {:>9.3} {:>3} {raw:>7} {holm:>8}", t.term, t.chi_squared, t.degrees)?;
        }
        writeln!(
            f,
            "  deviance {:.3} (intercept only: {:.3}); images are taken as independent",
            self.deviance, self.null_deviance
        )
    }
}

/// A p value as "0.034" or "<0.001".
pub(crate) fn p_text(p: f64) -> String {
    if p < 0.001 { "<0.001".into() } else { format!("{p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::predictions::Prediction;

    const RIGHT: &[u8] = b"110111011101101011110110111011011111011101011011110110101111";

    /// Images with these outcomes and a table with age, sex, site and grade of each.
    fn data(right: &[u8]) -> (Predictions, Covariates) {
        let row = |(i, r): (usize, &u8)| Prediction {
            image: format!("i{i}"),
            patient: String::new(),
            fold: 0,
            truth: usize::from(*r == b'0'),
            probabilities: vec![0.75, 0.25],
        };
        let rows = right.iter().enumerate().map(row).collect();
        let mut text = "image,age,sex,site,grade\n".to_string();
        for i in 0..right.len() {
            let (sex, site) = (["F", "M"][usize::from(i * 7 % 5 >= 2)], ["A", "B", "C"][(i * 11 + i / 7) % 3]);
            let grade = if right[i] == b'1' && i % 3 == 0 { "high" } else { "low" };
            text += &format!("i{i},{},{sex},{site},{grade}\n", 20 + i * 37 % 61);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("covariates.csv");
        std::fs::write(&path, text).unwrap();
        (Predictions { classes: vec!["a".into(), "b".into()], rows }, Covariates::read(&path).unwrap())
    }

    fn regression(formula: &str) -> Regression {
        let (all, table) = data(RIGHT);
        Regression::of(&all, &table, &Formula::parse(formula).unwrap(), 0.95).unwrap()
    }

    // statsmodels 0.15: smf.logit("y ~ age + sex + site + age:sex", d).fit(tol=1e-14); likelihood ratios from fits of the
    // smaller models with scipy.stats.chi2.sf.
    #[test]
    fn coefficients_and_tests_agree_with_statsmodels() {
        let r = regression("age * sex + site");
        #[rustfmt::skip]
        let want = [
            ("(intercept)", -0.06945080695639669, 0.9848322410939109, -0.07052044404969278, 0.9437794290588282, -1.9996865303143294),
            ("age", 0.0008360714284519083, 0.020047162071166455, 0.0417052261803389, 0.9667336876983877, -0.03845564422327174),
            ("sex[M]", -0.7549496535415524, 2.4354807232681135, -0.3099797285722317, 0.7565763718665688, -5.528404156188617),
            ("site[B]", 0.3475355718579128, 0.7705544516627268, 0.451020133759515, 0.651975038062086, -1.1627234015280419),
            ("site[C]", 0.4010332137226348, 0.766567224196592, 0.523154657626983, 0.6008666320621958, -1.1014109374315266),
            ("age:sex[M]", 0.04431063815495808, 0.04685024858373948, 0.9457930212634382, 0.3442541657677931, -0.04751416173591997),
        ];
        assert_eq!(r.coefficients.len(), want.len());
        for (c, (name, estimate, error, z, p, low)) in r.coefficients.iter().zip(want) {
            assert_eq!(c.name, name);
            let got = [c.estimate, c.standard_error, c.z, c.p_value, c.interval.map(|i| i.low)];
            for (got, want) in got.into_iter().zip([estimate, error, z, p, low]) {
                assert!((got.unwrap() - want).abs() < 1e-8, "{name}: {got:?} is not {want}");
            }
        }
        assert!((r.deviance - 60.59692426352521).abs() < 1e-8 && (r.null_deviance - 69.58982057017211).abs() < 1e-8);
        let want = [
            ("age", 0.26975871804864937, 1, 0.6034936721701326),
            ("sex", 4.854074298433922, 1, 0.027580910198428527),
            ("site", 0.3538028484170255, 2, 0.8378623733989102),
            ("age:sex", 0.9309907692686821, 1, 0.33460560658242844),
        ];
        for (t, (name, chi, degrees, p)) in r.terms.iter().zip(want) {
            assert_eq!((t.term.as_str(), t.degrees), (name, degrees));
            assert!((t.chi_squared - chi).abs() < 1e-7 && (t.p_value.unwrap() - p).abs() < 1e-8, "{t:?}");
        }
        assert!((r.terms[1].p_holm.unwrap() - 4.0 * 0.027580910198428527).abs() < 1e-7);
        let text = r.to_string();
        assert!(text.contains("sex: M (36) against F (24)") && text.contains("age:sex[M]"), "{text}");
    }

    #[test]
    fn separation_is_said_instead_of_a_wald_test() {
        let r = regression("age + grade");
        assert_eq!(r.separation, Some(Separation::Quasi));
        // high is the reference level: all of it is right, so the intercept and the other level diverge together.
        assert!(r.coefficients[2].estimate.is_none() && r.coefficients[0].estimate.is_none());
        assert!(r.coefficients[1].z.is_some(), "age is still estimated, from grade low");
        assert!(r.terms[1].p_value.is_some_and(|p| p < 0.01), "{:?}", r.terms);
        let text = r.to_string();
        assert!(text.contains("quasi-complete separation") && text.contains("grows towards -inf"), "{text}");
        let (all, table) = data(&[b'1'; 12]);
        let one = Regression::of(&all, &table, &Formula::parse("age").unwrap(), 0.95).unwrap();
        assert_eq!(one.separation, Some(Separation::OneOutcome));
        assert!(one.to_string().contains("nothing can be said"), "{one}");
    }
}
