//! Weights as multiples of a step, one after the other: what each loses by it, those that follow make up for
//! (GPTQ; Frantar et al., 2023).
//!
//! In: a layer's least-squares problem, weights that are optimal for it, a step for each row. Out: integers.
//! The largest diagonals of the Hessian go first. The order and the factor are those of Babai's nearest plane
//! (Chen et al., The Geometry of LLM Quantization, 2025), which asks for the factor of the Hessian and no
//! inverse. Law: weights that are zero stay so; every sum has a fixed order.

use super::matrix::Matrix;
use super::solve::{Solver, alike};
use crate::parallel;

/// The steps of a layer's rows, and the greatest integer.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    pub by_row: &'a [f32],
    pub most: i8,
}

/// The integers of `weights`, which solve the problem with their zeros.
pub fn round(solver: &Solver, weights: &Matrix, steps: Steps<'_>) -> Matrix {
    let columns = weights.sizes.columns();
    let runs = alike(columns, &weights.nonzero());
    let rounded = parallel::map(runs.len(), |run| {
        let rows = runs[run].clone();
        let mut order: Vec<usize> = (0..columns).filter(|&i| weights.row(rows.start)[i] != 0.0).collect();
        // The last goes first.
        order.sort_by(|&a, &b| solver.hessian[(a, a)].total_cmp(&solver.hessian[(b, b)]).then(b.cmp(&a)));
        let Some(factor) = solver.factor(&order) else {
            return rows.map(|row| plain(weights.row(row), row, steps)).collect();
        };
        rows.map(|row| {
            let (real, step) = (weights.row(row), f64::from(steps.by_row[row]));
            let mut integers = vec![0.0; columns];
            // What each weight that is rounded lost.
            let mut lost = vec![0.0; order.len()];
            for i in (0..order.len()).rev() {
                let (below, column) = (&lost[i + 1..], factor.column(i));
                let others: f64 = column[1..].iter().zip(below).map(|(l, lost)| l * lost).sum();
                let wanted = real[order[i]] + others / column[0];
                let integer = nearest(wanted / step, steps.most);
                integers[order[i]] = integer;
                lost[i] = real[order[i]] - integer * step;
            }
            integers
        })
        .collect::<Vec<_>>()
    });
    Matrix { sizes: weights.sizes, values: rounded.into_iter().flatten().flatten().collect() }
}

fn nearest(value: f64, most: i8) -> f64 {
    value.round_ties_even().clamp(-f64::from(most), f64::from(most))
}

/// Each for itself.
fn plain(real: &[f64], row: usize, steps: Steps<'_>) -> Vec<f64> {
    real.iter().map(|w| nearest(w / f64::from(steps.by_row[row]), steps.most)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::least_squares::{Moments, Rows, Sizes};

    /// Numbers between -1 and 1.
    fn chance(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 33) as f64 / f64::from(1u32 << 30)) - 1.0
    }

    /// A layer of one row whose inputs hang together as much as `mixed` says.
    fn layer(columns: usize, mixed: f64, seed: u64) -> (Solver, Matrix) {
        let sizes = Sizes { rows: 1, inputs: columns, taps: 1 };
        let mut state = seed;
        let weights = Matrix { sizes, values: (0..columns).map(|_| chance(&mut state)).collect() };
        let mut rows = Rows::default();
        for _ in 0..64 {
            let common = chance(&mut state);
            let inputs: Vec<f64> = (0..columns).map(|_| mixed * common + chance(&mut state)).collect();
            let output: f64 = inputs.iter().zip(&weights.values).map(|(x, w)| x * w).sum();
            rows.inputs.extend(inputs.iter().map(|x| *x as f32));
            rows.outputs.push(output as f32);
        }
        let moments = Moments::of(&rows, columns, 1);
        (Solver::new(&moments, &weights).unwrap(), weights)
    }

    /// What the layer's outputs lose, damping and all.
    fn cost(solver: &Solver, real: &[f64], integers: &[f64], step: f64) -> f64 {
        let lost: Vec<f64> = real.iter().zip(integers).map(|(w, q)| w - q * step).collect();
        let n = lost.len();
        (0..n)
            .flat_map(|i| (0..n).map(move |j| (i, j)))
            .map(|(i, j)| lost[i] * solver.hessian[(i, j)] * lost[j])
            .sum()
    }

    /// The least cost of all integers there are.
    fn best(solver: &Solver, real: &[f64], step: f64, most: i32) -> f64 {
        let (n, each) = (real.len() as u32, 2 * most + 1);
        let of = |mut number: i32| {
            let mut digits = || {
                let digit = number % each - most;
                number /= each;
                f64::from(digit)
            };
            (0..n).map(|_| digits()).collect::<Vec<f64>>()
        };
        (0..each.pow(n)).map(|number| cost(solver, real, &of(number), step)).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn rounding_is_near_the_best_integers_and_better_than_each_alone() {
        let (mut ours, mut alone, mut least) = (0.0, 0.0, 0.0);
        for seed in 0..40 {
            let (solver, weights) = layer(4, 2.0, seed);
            let solved = solver.dense(&weights);
            let (step, most) = (0.34, 3);
            let steps = Steps { by_row: &[step], most };
            let found = round(&solver, &solved, steps);
            let step = f64::from(step);
            let (real, optimum) = (solved.row(0), best(&solver, solved.row(0), step, most.into()));
            let one = cost(&solver, real, found.row(0), step);
            assert!(one >= optimum - 1e-12, "{seed}: {one} below the least {optimum}");
            ours += one;
            alone += cost(&solver, real, &plain(real, 0, steps), step);
            least += optimum;
        }
        assert!(ours < 1.25 * least, "{ours} against {least}");
        assert!(ours < 0.6 * alone, "{ours} against {alone}");
    }

    /// Two weights by hand: the second takes what the first lost, as far as their inputs are alike.
    #[test]
    fn what_one_loses_the_next_makes_up_for() {
        let (solver, _) = layer(2, 3.0, 5);
        let sizes = Sizes { rows: 1, inputs: 2, taps: 1 };
        let weights = Matrix { sizes, values: vec![1.4, 2.45] };
        let found = round(&solver, &weights, Steps { by_row: &[1.0], most: 127 });
        let h = |i: usize, j: usize| solver.hessian[(i, j)];
        let (first, second) = if h(0, 0) >= h(1, 1) { (0, 1) } else { (1, 0) };
        let integer = weights.values[first].round();
        let lost = weights.values[first] - integer;
        let want = (weights.values[second] + h(first, second) / h(second, second) * lost).round();
        assert_eq!((found.values[first], found.values[second]), (integer, want));
        assert_ne!(want, weights.values[second].round());
    }

    #[test]
    fn zeros_stay_and_the_greatest_integer_holds() {
        let (solver, mut weights) = layer(6, 1.0, 9);
        (weights.values[1], weights.values[4]) = (0.0, 0.0);
        let found = round(&solver, &weights, Steps { by_row: &[0.01], most: 7 });
        assert_eq!((found.values[1], found.values[4]), (0.0, 0.0));
        assert!(found.values.iter().all(|q| q.abs() <= 7.0 && q.fract() == 0.0));
    }
}
