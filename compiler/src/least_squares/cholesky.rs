//! A positive definite matrix as a triangle times its transpose, and the systems that it solves.
//!
//! In: a [`Symmetric`] matrix. Out: its [`Cholesky`] factor, or none where it is not positive definite. Law: every sum
//! has a fixed order, and every step is one of plain IEEE arithmetic: no instruction joins two, so that all machines
//! give the same bits. Written here, as libraries of matrices took a sixth of the time in which the compiler itself is
//! built, and this is all that was asked of one.

use std::ops::{Index, IndexMut};

/// A symmetric matrix, all of it in memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Symmetric {
    pub(super) size: usize,
    values: Vec<f64>,
}

impl Symmetric {
    /// From `size` times `size` elements.
    pub(super) fn new(size: usize, values: Vec<f64>) -> Symmetric {
        debug_assert_eq!(values.len(), size * size);
        Symmetric { size, values }
    }
    /// What `f` says of row and column.
    pub(super) fn from_fn(size: usize, f: impl Fn(usize, usize) -> f64) -> Symmetric {
        Symmetric { size, values: (0..size * size).map(|at| f(at / size, at % size)).collect() }
    }
    /// The same with a number added to the diagonal.
    pub(super) fn damped(mut self, by: f64) -> Symmetric {
        (0..self.size).for_each(|i| self[(i, i)] += by);
        self
    }
}

impl Index<(usize, usize)> for Symmetric {
    type Output = f64;
    fn index(&self, (row, column): (usize, usize)) -> &f64 {
        &self.values[row * self.size + column]
    }
}

impl IndexMut<(usize, usize)> for Symmetric {
    fn index_mut(&mut self, (row, column): (usize, usize)) -> &mut f64 {
        &mut self.values[row * self.size + column]
    }
}

/// The lower triangle `L` of `L * transposed(L)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cholesky {
    size: usize,
    /// Column by column; what stands above the diagonal is never read.
    columns: Vec<f64>,
}

impl Cholesky {
    /// The factor; `None` where a pivot is not positive, or no number.
    pub(super) fn new(matrix: Symmetric) -> Option<Cholesky> {
        let Symmetric { size, values: mut columns } = matrix;
        for j in 0..size {
            let (before, own) = columns.split_at_mut(j * size);
            let own = &mut own[j..size];
            for column in before.chunks_exact(size) {
                subtract(own, column[j], &column[j..]);
            }
            // A number that is none is not greater either.
            if !own.first().is_some_and(|pivot| *pivot > 0.0) {
                return None;
            }
            let root = own[0].sqrt();
            own[0] = root;
            own[1..].iter_mut().for_each(|v| *v /= root);
        }
        Some(Cholesky { size, columns })
    }

    /// Column `j` of the triangle, from the diagonal down.
    pub(super) fn column(&self, j: usize) -> &[f64] {
        &self.columns[j * self.size + j..(j + 1) * self.size]
    }

    /// The solution of the system for a right-hand side.
    pub(super) fn solve(&self, mut side: Vec<f64>) -> Vec<f64> {
        debug_assert_eq!(side.len(), self.size);
        for i in 0..self.size {
            let column = self.column(i);
            let value = side[i] / column[0];
            side[i] = value;
            subtract(&mut side[i + 1..], value, &column[1..]);
        }
        for i in (0..self.size).rev() {
            let column = self.column(i);
            side[i] = (side[i] - dot(&column[1..], &side[i + 1..])) / column[0];
        }
        side
    }
}

/// Takes `factor * what` off.
fn subtract(from: &mut [f64], factor: f64, what: &[f64]) {
    from.iter_mut().zip(what).for_each(|(to, v)| *to -= factor * v);
}

/// Eight sums side by side, which are added in pairs, and what is left over after them.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (eights, rest) = a.as_chunks::<8>();
    let (others, behind) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in eights.iter().zip(others) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let pairs = (0..4).fold(0.0, |sum, i| sum + (sums[i] + sums[i + 4]));
    rest.iter().zip(behind).fold(pairs, |sum, (a, b)| sum + a * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix: sums of products of chance, and a diagonal.
    fn matrix(size: usize) -> Symmetric {
        let mut state = size as u64;
        let mut chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as f64 / f64::from(1u32 << 30)) - 1.0
        };
        let rows: Vec<Vec<f64>> = (0..size).map(|_| (0..size + 3).map(|_| chance()).collect()).collect();
        let product = |i: usize, j: usize| rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum();
        Symmetric::from_fn(size, product).damped(0.1)
    }

    #[test]
    fn the_factor_times_its_transpose_is_the_matrix() {
        for size in [0, 1, 2, 7, 8, 9, 33] {
            let whole = matrix(size);
            let factor = Cholesky::new(whole.clone()).unwrap();
            let element = |i: usize, k: usize| if k <= i { factor.column(k)[i - k] } else { 0.0 };
            for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let product: f64 = (0..size).map(|k| element(i, k) * element(j, k)).sum();
                assert!((product - whole[(i, j)]).abs() < 1e-12 * (1.0 + size as f64), "{size}: {i}, {j}");
            }
        }
    }

    #[test]
    fn solutions_give_their_right_hand_sides() {
        for size in [1, 2, 7, 8, 9, 33] {
            let whole = matrix(size);
            let side: Vec<f64> = (0..size).map(|i| i as f64 - 2.5).collect();
            let solved = Cholesky::new(whole.clone()).unwrap().solve(side.clone());
            for (i, want) in side.iter().enumerate() {
                let product: f64 = (0..size).map(|j| whole[(i, j)] * solved[j]).sum();
                assert!((product - want).abs() < 1e-9, "{size}: {product} for {want}");
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        for values in
            [vec![0.0], vec![-1.0], vec![f64::NAN], vec![1.0, 2.0, 2.0, 1.0], vec![1.0, 1.0, 1.0, 1.0]]
        {
            let size = if values.len() == 1 { 1 } else { 2 };
            assert_eq!(Cholesky::new(Symmetric::new(size, values.clone())), None, "{values:?}");
        }
    }
}
