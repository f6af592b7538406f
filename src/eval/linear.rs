//! Cholesky factors of small symmetric matrices, with columns left out that are combinations of those before them.

/// Factor L (lower, row by row) of a positive semidefinite matrix with the columns that it stands on.
#[derive(Debug, Clone)]
pub(crate) struct Cholesky {
    /// Indices of the columns that were kept, ascending.
    pub kept: Vec<usize>,
    lower: Vec<Vec<f64>>,
}

impl Cholesky {
    /// Factors `matrix` (rows of equal length, symmetric); a column whose pivot is below `tolerance` times its diagonal is a
    /// combination of the kept columns before it and is left out.
    pub fn of(matrix: &[Vec<f64>], tolerance: f64) -> Cholesky {
        let (mut kept, mut lower) = (Vec::new(), Vec::<Vec<f64>>::new());
        for (j, line) in matrix.iter().enumerate() {
            let mut row = Vec::with_capacity(kept.len() + 1);
            for (above, &i) in lower.iter().zip(&kept) {
                let done: f64 = row.iter().zip(above).map(|(a, b): (&f64, &f64)| a * b).sum();
                let k = row.len();
                let entry = line[i];
                row.push((entry - done) / above[k]);
            }
            let pivot = line[j] - row.iter().map(|a| a * a).sum::<f64>();
            if pivot > tolerance * line[j] && pivot.is_finite() {
                row.push(pivot.sqrt());
                lower.push(row);
                kept.push(j);
            }
        }
        Cholesky { kept, lower }
    }

    /// Solves matrix · x = b over the kept columns; `b` has one entry per kept column.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let n = self.lower.len();
        let mut x = b.to_vec();
        for i in 0..n {
            let done: f64 = (0..i).map(|k| self.lower[i][k] * x[k]).sum();
            x[i] = (x[i] - done) / self.lower[i][i];
        }
        for i in (0..n).rev() {
            let done: f64 = (i + 1..n).map(|k| self.lower[k][i] * x[k]).sum();
            x[i] = (x[i] - done) / self.lower[i][i];
        }
        x
    }

    /// Diagonal of the inverse over the kept columns.
    pub fn inverse_diagonal(&self) -> Vec<f64> {
        let n = self.lower.len();
        let unit = |i: usize| (0..n).map(|k| f64::from(u8::from(k == i))).collect::<Vec<f64>>();
        (0..n).map(|i| self.solve(&unit(i))[i]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_and_leaves_out_what_is_a_combination() {
        // Columns a, b, a + b, c with a·a = 4, a·b = 2, b·b = 3, c·a = 1, c·b = 0, c·c = 5.
        let m = [[4.0, 2.0, 6.0, 1.0], [2.0, 3.0, 5.0, 0.0], [6.0, 5.0, 11.0, 1.0], [1.0, 0.0, 1.0, 5.0]]
            .map(|r| r.to_vec());
        let c = Cholesky::of(&m, 1e-12);
        assert_eq!(c.kept, [0, 1, 3]);
        let x = c.solve(&[1.0, 2.0, 3.0]);
        for (i, want) in [(0, 1.0), (1, 2.0), (3, 3.0)] {
            let got: f64 = c.kept.iter().zip(&x).map(|(&j, x)| m[i][j] * x).sum();
            assert!((got - want).abs() < 1e-12, "{got}");
        }
        // numpy.linalg.inv of the 3x3 part: diagonal 15/37, 19/37, 8/37.
        for (got, want) in c.inverse_diagonal().iter().zip([15.0 / 37.0, 19.0 / 37.0, 8.0 / 37.0]) {
            assert!((got - want).abs() < 1e-12, "{got}");
        }
    }
}
