//! Least squares of one layer: the weights that give its wanted outputs best, some of them zero.
//!
//! In: moments of a layer's inputs and of the outputs that it should have. Out: weights. Law: for any
//! choice of weights that stay, [`Solver::refit`] gives the minimum of
//! `E|y - wx|^2 + damping |w - w0|^2` over them, w0 being the weights as trained; means are taken off, the
//! bias makes up for them.

use super::cholesky::{Cholesky, Symmetric};
use super::matrix::Matrix;
use super::moments::Moments;
use crate::error::{Error, Result, Site};
use crate::parallel;
use std::ops::Range;

/// Damping as a share of the mean diagonal of the Hessian.
const DAMPING: f64 = 0.01;

/// How often the damping may grow tenfold before the moments count as broken.
const RAISES: u32 = 9;

/// A layer's least-squares problem.
#[derive(Debug)]
pub struct Solver {
    /// Hessian with damping on its diagonal.
    pub(super) hessian: Symmetric,
    factor: Cholesky,
    /// What the normal equations ask for: row by row of weights.
    wanted: Vec<f64>,
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
            let hessian = Symmetric::new(n, moments.hessian.clone()).damped(damping);
            if let Some(factor) = Cholesky::new(hessian.clone()) {
                let want = |k: usize, row: usize| {
                    moments.cross[k * moments.rows + row] + damping * trained.row(row)[k]
                };
                let wanted = (0..moments.rows).flat_map(|row| (0..n).map(move |k| want(k, row))).collect();
                return Ok(Solver { hessian, factor, wanted, damping, raised: raise > 0 });
            }
            damping *= 10.0;
        }
        Err(Error::internal(Site::Whole, "the Hessian of its inputs has no factor however it is damped"))
    }

    /// The best weights when none has to be zero.
    pub fn dense(&self, trained: &Matrix) -> Matrix {
        let rows = trained.sizes.rows;
        let solved = parallel::map(rows, |row| self.factor.solve(self.wanted(row).to_vec()));
        Matrix { sizes: trained.sizes, values: solved.concat() }
    }

    /// The inverse of the damped Hessian, row by row.
    pub fn inverse(&self) -> Vec<f64> {
        let n = self.hessian.size;
        let unit = |at: usize| (0..n).map(|i| f64::from(u8::from(i == at))).collect();
        parallel::map(n, |at| self.factor.solve(unit(at))).concat()
    }

    /// What the normal equations ask for one row of weights.
    fn wanted(&self, row: usize) -> &[f64] {
        &self.wanted[row * self.hessian.size..][..self.hessian.size]
    }

    /// The best weights where only those of `kept` may be other than zero.
    pub fn refit(&self, kept: &[bool], trained: &Matrix) -> Matrix {
        let (n, sizes) = (self.hessian.size, trained.sizes);
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
    pub(super) fn factor(&self, columns: &[usize]) -> Option<Cholesky> {
        let part = |i: usize, j: usize| self.hessian[(columns[i], columns[j])];
        factor(&Symmetric::from_fn(columns.len(), part), self.damping)
    }

    /// The weights of some rows at the columns that stay.
    fn part(&self, stay: &[usize], rows: Range<usize>) -> Vec<Vec<f64>> {
        let factor = self.factor(stay);
        rows.map(|row| {
            let wanted = self.wanted(row);
            let mut weights = vec![0.0; wanted.len()];
            if let Some(factor) = &factor {
                let solved = factor.solve(stay.iter().map(|&i| wanted[i]).collect());
                stay.iter().zip(solved).for_each(|(&i, w)| weights[i] = w);
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
fn factor(hessian: &Symmetric, damping: f64) -> Option<Cholesky> {
    let mut more = 0.0;
    for _ in 0..=RAISES {
        if let Some(factor) = Cholesky::new(hessian.clone().damped(more)) {
            return Some(factor);
        }
        more = if more == 0.0 { damping } else { more * 10.0 };
    }
    None
}
