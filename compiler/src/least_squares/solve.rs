//! Least squares of one layer: the weights that give its wanted outputs best, some of them zero.
//!
//! In: moments of a layer's inputs and of the outputs that it should have. Out: weights. Law: for any
//! choice of weights that stay, [`Solver::refit`] gives the minimum of
//! `E|y - wx|^2 + damping |w - w0|^2` over them, w0 being the weights as trained; means are taken off, the
//! bias makes up for them.

use super::matrix::Matrix;
use super::moments::Moments;
use crate::error::{Error, Result, Site};
use crate::parallel;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use std::ops::Range;

/// Damping as a share of the mean diagonal of the Hessian.
const DAMPING: f64 = 0.01;

/// How often the damping may grow tenfold before the moments count as broken.
const RAISES: u32 = 9;

/// Columns of the inverse that one task solves.
const BLOCK: usize = 32;

/// A layer's least-squares problem.
#[derive(Debug)]
pub struct Solver {
    /// Hessian with damping on its diagonal.
    pub(super) hessian: DMatrix<f64>,
    factor: Cholesky<f64, Dyn>,
    /// By column and row of weights: what the normal equations ask for.
    wanted: DMatrix<f64>,
    /// What was added to the diagonal.
    pub damping: f64,
    /// Whether the first damping was too little.
    pub raised: bool,
}

impl Solver {
    /// Errors: moments that are no finite numbers.
    pub fn new(moments: &Moments, trained: &Matrix) -> Result<Solver> {
        let n = moments.columns;
        let mean = (0..n).map(|i| moments.hessian[i * n + i]).sum::<f64>() / n.max(1) as f64;
        // Inputs that never change leave the weights as they are.
        let mut damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        for raise in 0..=RAISES {
            let mut hessian = DMatrix::from_row_slice(n, n, &moments.hessian);
            (0..n).for_each(|i| hessian[(i, i)] += damping);
            if let Some(factor) = Cholesky::new(hessian.clone()) {
                let want = |k: usize, row: usize| {
                    moments.cross[k * moments.rows + row] + damping * trained.row(row)[k]
                };
                let wanted = DMatrix::from_fn(n, moments.rows, want);
                return Ok(Solver { hessian, factor, wanted, damping, raised: raise > 0 });
            }
            damping *= 10.0;
        }
        Err(Error::internal(Site::Whole, "the Hessian of its inputs has no factor however it is damped"))
    }

    /// The best weights when none has to be zero.
    pub fn dense(&self, trained: &Matrix) -> Matrix {
        let rows = trained.sizes.rows;
        let solved = parallel::map(rows, |row| {
            let wanted: DVector<f64> = self.wanted.column(row).into_owned();
            self.factor.solve(&wanted)
        });
        Matrix { sizes: trained.sizes, values: solved.iter().flat_map(|c| c.iter().copied()).collect() }
    }

    /// The inverse of the damped Hessian, row by row.
    pub fn inverse(&self) -> Vec<f64> {
        let n = self.hessian.nrows();
        let solved = parallel::map(n.div_ceil(BLOCK), |block| {
            let first = block * BLOCK;
            let unit = |i: usize, j: usize| f64::from(u8::from(i == first + j));
            self.factor.solve(&DMatrix::from_fn(n, BLOCK.min(n - first), unit))
        });
        let mut inverse = vec![0.0; n * n];
        for (block, columns) in solved.iter().enumerate() {
            for (j, column) in columns.column_iter().enumerate() {
                let at = (block * BLOCK + j) * n;
                inverse[at..at + n].copy_from_slice(column.as_slice());
            }
        }
        inverse
    }

    /// The best weights where only those of `kept` may be other than zero.
    pub fn refit(&self, kept: &[bool], trained: &Matrix) -> Matrix {
        let (n, sizes) = (self.hessian.nrows(), trained.sizes);
        if kept.iter().all(|k| *k) {
            return self.dense(trained);
        }
        let runs = alike(n, kept);
        let solved = parallel::map(runs.len(), |run| {
            let rows = runs[run].clone();
            let kept = &kept[rows.start * n..(rows.start + 1) * n];
            let stay: Vec<usize> = (0..n).filter(|&i| kept[i]).collect();
            self.part(&stay, rows)
        });
        Matrix { sizes, values: solved.into_iter().flatten().flatten().collect() }
    }

    /// The factor of the Hessian of some columns, in their order.
    pub(super) fn factor(&self, columns: &[usize]) -> Option<Cholesky<f64, Dyn>> {
        let n = columns.len();
        factor(DMatrix::from_fn(n, n, |i, j| self.hessian[(columns[i], columns[j])]), self.damping)
    }

    /// The weights of some rows at the columns that stay.
    fn part(&self, stay: &[usize], rows: Range<usize>) -> Vec<Vec<f64>> {
        let n = self.hessian.nrows();
        let factor = self.factor(stay);
        rows.map(|row| {
            let wanted = DVector::from_fn(stay.len(), |i, _| self.wanted[(stay[i], row)]);
            let mut weights = vec![0.0; n];
            if let Some(factor) = &factor {
                stay.iter().zip(factor.solve(&wanted).iter()).for_each(|(&i, w)| weights[i] = *w);
            }
            weights
        })
        .collect()
    }
}

/// Runs of rows that keep the same of their columns.
pub(super) fn alike(columns: usize, kept: &[bool]) -> Vec<Range<usize>> {
    let row = |row: usize| &kept[row * columns..(row + 1) * columns];
    let mut runs: Vec<Range<usize>> = Vec::new();
    for next in 0..kept.len() / columns.max(1) {
        match runs.last_mut() {
            Some(run) if row(run.start) == row(next) => run.end = next + 1,
            _ => runs.push(next..next + 1),
        }
    }
    runs
}

/// A part of a positive definite matrix is positive definite; where rounding makes it none, it is damped
/// again.
fn factor(hessian: DMatrix<f64>, damping: f64) -> Option<Cholesky<f64, Dyn>> {
    let mut more = 0.0;
    for _ in 0..=RAISES {
        let mut damped = hessian.clone();
        (0..damped.nrows()).for_each(|i| damped[(i, i)] += more);
        if let Some(factor) = Cholesky::new(damped) {
            return Some(factor);
        }
        more = if more == 0.0 { damping } else { more * 10.0 };
    }
    None
}
