//! From a formula and a table of covariates to the columns of a regression: numbers as they are, categories as one 0/1
//! column per level but the first, interactions as products.

use crate::error::{Error, Result};
use crate::names::nearest;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// What is read as "not known".
const MISSING: [&str; 5] = ["", "na", "n/a", "nan", "null"];

/// A table of covariates, one row per image.
#[derive(Debug, Clone, PartialEq)]
pub struct Covariates {
    names: Vec<String>,
    values: HashMap<String, Vec<String>>,
}

impl Covariates {
    /// Reads a CSV file with a column `image` (the key of `predictions.csv`) and one column per covariate.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`], with the line, for a missing or doubled column, a row of another length, or an
    /// image that has two rows with different values.
    pub fn read(path: &Path) -> Result<Covariates> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
        Covariates::parse(&bytes).map_err(|reason| Error::format(path, reason))
    }

    /// Rows of values, in the order of `names`, by the image's key; an empty text is not known.
    pub fn of(names: &[&str], rows: impl IntoIterator<Item = (String, Vec<String>)>) -> Covariates {
        Covariates { names: names.iter().map(|n| n.to_string()).collect(), values: rows.into_iter().collect() }
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Covariates, String> {
        let mut reader = csv::Reader::from_reader(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        let head: Vec<String> =
            reader.headers().map_err(|e| e.to_string())?.iter().map(|h| h.trim().to_string()).collect();
        let known: Vec<&str> = head.iter().map(String::as_str).collect();
        let at = known.iter().position(|h| *h == "image");
        let at = at.ok_or_else(|| format!("line 1: no column \"image\"; {}", nearest("image", &known)))?;
        if let Some(twice) = (0..head.len()).find(|&i| head[..i].contains(&head[i])) {
            return Err(format!("line 1: column \"{}\" is there twice", head[twice]));
        }
        let mut values = HashMap::new();
        for record in reader.records() {
            let record = record.map_err(|e| e.to_string())?;
            let row: Vec<String> = record.iter().map(|v| v.trim().to_string()).collect();
            let line = record.position().map_or(0, csv::Position::line);
            match values.insert(row[at].clone(), row.clone()) {
                Some(before) if before != row => {
                    return Err(format!("line {line}: image \"{}\" has another row with other values", row[at]));
                }
                _ => {}
            }
        }
        Ok(Covariates { names: head, values })
    }

    /// Names of the covariates.
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).filter(|n| *n != "image").collect()
    }
}

/// A variable in a term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Variable {
    name: String,
    /// Written C(name): a category though its values are numbers.
    categorical: bool,
}

impl Variable {
    fn label(&self) -> String {
        if self.categorical { format!("C({})", self.name) } else { self.name.clone() }
    }
}

/// The right side of a formula as R and patsy write it: `age + sex + age:sex`, or `age * sex` for the same; `C(code)` makes
/// categories of numbers. The intercept is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formula {
    /// Terms by order of interaction; each the variables that are multiplied.
    terms: Vec<Vec<Variable>>,
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty term, another operator, or an interaction without its main effects.
    pub fn parse(text: &str) -> Result<Formula> {
        let bad = |what: String| Error::Usage(format!("formula \"{text}\": {what}"));
        let mut terms: Vec<Vec<Variable>> = Vec::new();
        let mut add = |mut term: Vec<Variable>| {
            let written = term.clone();
            term.sort();
            term.dedup();
            let same = |t: &Vec<Variable>| {
                let mut t = t.clone();
                t.sort();
                t == term
            };
            if !terms.iter().any(same) {
                terms.push(if term.len() == written.len() { written } else { term });
            }
        };
        for part in text.split('+') {
            let crossed: Vec<Vec<Variable>> = part
                .split('*')
                .map(|side| side.split(':').map(|name| variable(name.trim())).collect::<std::result::Result<_, _>>())
                .collect::<std::result::Result<_, _>>()
                .map_err(bad)?;
            if crossed.len() > 6 {
                return Err(bad(format!("{} variables crossed with *; six are possible", crossed.len())));
            }
            // All products of some of the crossed parts.
            for choice in 1..1usize << crossed.len() {
                let chosen = crossed.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1);
                add(chosen.flat_map(|(_, v)| v.clone()).collect());
            }
        }
        terms.sort_by_key(Vec::len);
        for term in terms.iter().filter(|t| t.len() > 1) {
            let lower = |v: &Variable| terms.iter().any(|t| t.len() == 1 && t[0] == *v);
            if let Some(alone) = term.iter().find(|v| !lower(v)) {
                let (name, all) = (alone.label(), label(term));
                return Err(bad(format!("{all} needs {name} as a term too: write {}", all.replace(':', " * "))));
            }
        }
        Ok(Formula { terms })
    }
}

fn label(term: &[Variable]) -> String {
    term.iter().map(Variable::label).collect::<Vec<_>>().join(":")
}

fn variable(text: &str) -> std::result::Result<Variable, String> {
    let inner = text.strip_prefix("C(").and_then(|t| t.strip_suffix(')'));
    let name = inner.unwrap_or(text).trim();
    if name.is_empty() {
        return Err("an empty term".into());
    }
    if let Some(odd) = name.chars().find(|c| "~()^/|-".contains(*c)) {
        return Err(format!("'{odd}' in \"{text}\" is not understood; there is +, :, * and C(name)"));
    }
    Ok(Variable { name: name.into(), categorical: inner.is_some() })
}

impl std::fmt::Display for Formula {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.terms.iter().map(|t| label(t)).collect::<Vec<_>>().join(" + "))
    }
}

/// How a categorical covariate was coded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coding {
    /// The covariate.
    pub variable: String,
    /// The level that the others are compared with: the first by number or alphabet.
    pub reference: String,
    /// The other levels, each of which has a column.
    pub levels: Vec<String>,
    /// Images used of the reference level and of each of the others.
    pub images: Vec<u64>,
}

/// A term of the formula and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesignTerm {
    /// As in the formula.
    pub name: String,
    /// The variables in it.
    pub variables: BTreeSet<String>,
    /// Its columns.
    pub columns: std::ops::Range<usize>,
}

/// The columns of a regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// Names of the columns; the first is the intercept, a category's is as in `sex[M]`.
    pub names: Vec<String>,
    /// The terms without the intercept.
    pub terms: Vec<DesignTerm>,
    /// How categories were coded.
    pub codings: Vec<Coding>,
    /// One row per image that is used.
    pub rows: Vec<Vec<f64>>,
    /// Which of the images these are.
    pub used: Vec<usize>,
    /// Images without a row in the table.
    pub without_row: usize,
    /// Images left out because a covariate of the formula is not known.
    pub with_missing: usize,
}

/// A variable's columns: name and value per used image.
type Columns = Vec<(String, Vec<f64>)>;

impl Design {
    /// Columns of `formula` for `images` (keys).
    ///
    /// # Errors
    /// [`Error::Usage`] for a covariate that the table does not have, [`Error::Data`] when no image is left, or there are
    /// not more images than columns.
    pub fn of(formula: &Formula, table: &Covariates, images: &[&str]) -> Result<Design> {
        let mut variables: Vec<&Variable> = formula.terms.iter().flatten().collect();
        variables.sort();
        variables.dedup();
        let at: Vec<usize> = variables
            .iter()
            .map(|v| {
                table.names.iter().position(|n| *n == v.name && n != "image").ok_or_else(|| {
                    let known = table.names();
                    Error::Usage(format!("no covariate \"{}\"; {}", v.name, nearest(&v.name, &known)))
                })
            })
            .collect::<Result<_>>()?;
        let there: Vec<usize> = (0..images.len()).filter(|&i| table.values.contains_key(images[i])).collect();
        let value = |i: usize, c: usize| table.values.get(images[i]).map_or("", |row| row[c].as_str());
        let missing = |v: &str| MISSING.contains(&v.to_lowercase().as_str());
        let known = |&&i: &&usize| at.iter().all(|&c| !missing(value(i, c)));
        let used: Vec<usize> = there.iter().filter(known).copied().collect();
        if used.is_empty() {
            return Err(Error::Data(format!(
                "covariates: of {} images {} have a row in the table and none has all of {formula}",
                images.len(),
                there.len()
            )));
        }
        let mut codings = Vec::new();
        let mut blocks = HashMap::new();
        for (variable, &c) in variables.iter().zip(&at) {
            let column: Vec<&str> = used.iter().map(|&i| value(i, c)).collect();
            blocks.insert(*variable, code(variable, &column, &mut codings));
        }
        let mut names = vec!["(intercept)".to_string()];
        let mut rows = vec![vec![1.0]; used.len()];
        let mut terms = Vec::new();
        for term in &formula.terms {
            let first = names.len();
            let mut product: Columns = vec![(String::new(), vec![1.0; used.len()])];
            for variable in term {
                product = product.iter().flat_map(|left| blocks[variable].iter().map(|b| times(left, b))).collect();
            }
            for (name, values) in product {
                names.push(name);
                rows.iter_mut().zip(values).for_each(|(row, v)| row.push(v));
            }
            // Images and columns of a design may both be many, their product must fit into memory.
            if names.len() >= used.len() {
                return Err(Error::Data(format!(
                    "covariates: {formula} makes {} columns or more, and there are {} images; an image's own name or \
                     number is no covariate",
                    names.len(),
                    used.len()
                )));
            }
            let variables = term.iter().map(Variable::label).collect();
            terms.push(DesignTerm { name: label(term), variables, columns: first..names.len() });
        }
        let (without_row, with_missing) = (images.len() - there.len(), there.len() - used.len());
        Ok(Design { names, terms, codings, rows, used, without_row, with_missing })
    }
}

/// The columns of one variable.
fn code(variable: &Variable, column: &[&str], codings: &mut Vec<Coding>) -> Columns {
    let numbers: Option<Vec<f64>> = column.iter().map(|v| v.parse::<f64>().ok().filter(|v| v.is_finite())).collect();
    if let (Some(numbers), false) = (&numbers, variable.categorical) {
        return vec![(variable.label(), numbers.clone())];
    }
    let mut levels: Vec<&str> = column.to_vec();
    levels.sort_by(|a, b| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) if numbers.is_some() => x.total_cmp(&y).then(a.cmp(b)),
        _ => a.cmp(b),
    });
    levels.dedup();
    let images = |level: &&str| column.iter().filter(|v| *v == level).count() as u64;
    codings.push(Coding {
        variable: variable.label(),
        reference: levels[0].to_string(),
        levels: levels[1..].iter().map(|l| l.to_string()).collect(),
        images: levels.iter().map(images).collect(),
    });
    let dummy = |level: &&str| {
        let values = column.iter().map(|v| f64::from(u8::from(v == level))).collect();
        (format!("{}[{level}]", variable.label()), values)
    };
    levels[1..].iter().map(dummy).collect()
}

fn times(left: &(String, Vec<f64>), right: &(String, Vec<f64>)) -> (String, Vec<f64>) {
    let name = if left.0.is_empty() { right.0.clone() } else { format!("{}:{}", left.0, right.0) };
    (name, left.1.iter().zip(&right.1).map(|(a, b)| a * b).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_read_as_r_reads_them() {
        let shown = |t: &str| Formula::parse(t).unwrap().to_string();
        assert_eq!(shown("age + sex + age:sex"), "age + sex + age:sex");
        assert_eq!(shown("age*sex"), "age + sex + age:sex");
        assert_eq!(shown("sex:age + age + sex + age:sex"), "age + sex + sex:age");
        assert_eq!(shown("a*b*C(c)"), "a + b + C(c) + a:b + a:C(c) + b:C(c) + a:b:C(c)");
        assert_eq!(shown("body mass index + age:age"), "body mass index + age");
        for (text, want) in [
            ("age +", "an empty term"),
            ("", "an empty term"),
            ("right ~ age", "'~' in \"right ~ age\""),
            ("age - 1", "'-'"),
            ("age + age:sex", "age:sex needs sex as a term too: write age * sex"),
        ] {
            let e = Formula::parse(text).unwrap_err();
            assert!(e.to_string().contains(want) && e.exit_code() == 2, "{e}");
        }
    }

    const TABLE: &str =
        "image,age,sex,code\ni0,50,M,10\ni1,60,F,2\ni2,,F,2\ni3,70,M,2\ni4,20,NA,2\ni5,30,F,10\ni6,41,M,10\n";

    #[test]
    fn columns_of_numbers_categories_and_products() {
        let table = Covariates::parse(TABLE.as_bytes()).unwrap();
        let formula = Formula::parse("age * sex + C(code)").unwrap();
        let images = ["i3", "i0", "i1", "i2", "i4", "i9", "i5", "i6", "i0"];
        let e = Design::of(&formula, &table, &images[..3]).unwrap_err();
        assert!(e.to_string().contains("columns or more, and there are 3 images"), "{e}");
        let d = Design::of(&formula, &table, &images).unwrap();
        assert_eq!(d.names, ["(intercept)", "age", "sex[M]", "C(code)[10]", "age:sex[M]"]);
        assert_eq!(d.rows[0], [1.0, 70.0, 1.0, 0.0, 70.0]);
        assert_eq!(d.rows[2], [1.0, 60.0, 0.0, 0.0, 0.0]);
        assert_eq!((d.used, d.without_row, d.with_missing), (vec![0, 1, 2, 6, 7, 8], 1, 2));
        assert_eq!((d.codings[0].variable.as_str(), d.codings[0].reference.as_str()), ("C(code)", "2"), "by number");
        assert_eq!((d.codings[1].reference.as_str(), &d.codings[1].images), ("F", &vec![2, 4]));
        assert_eq!(d.terms[3].columns, 4..5);
    }

    #[test]
    fn what_the_table_does_not_have_is_said() {
        let table = Covariates::parse(TABLE.as_bytes()).unwrap();
        let of = |f: &str| Design::of(&Formula::parse(f).unwrap(), &table, &["i0", "i1", "i3"]).unwrap_err();
        assert!(of("agee").to_string().contains("no covariate \"agee\"; did you mean 'age'?"), "{}", of("agee"));
        assert!(of("image").to_string().contains("no covariate \"image\""));
        let none = Design::of(&Formula::parse("age").unwrap(), &table, &["x"]).unwrap_err();
        assert!(none.to_string().contains("of 1 images 0 have a row"), "{none}");
        assert!(Covariates::parse(b"name,age\nx,1\n").unwrap_err().contains("no column \"image\""));
        assert!(Covariates::parse(b"image,age,age\nx,1,1\n").unwrap_err().contains("twice"));
        assert!(
            Covariates::parse(b"image,age\nx,1\nx,2\n").unwrap_err().contains("line 3: image \"x\" has another row")
        );
        assert!(Covariates::parse(b"image,age\nx,1\nx,1\n").is_ok());
    }
}
