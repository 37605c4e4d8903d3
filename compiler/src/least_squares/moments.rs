//! Second moments of a layer: of what it reads, and of that with what it should give.
//!
//! In: rows of inputs (im2col) and wanted outputs, in single precision. Out: means, the centred
//! Hessian `E[x x']` and the cross moments `E[x y']`. Law: sums run in double precision in the order of
//! the rows, whatever the threads, and no product is left to a library that picks instructions by machine.

use crate::parallel;

/// Rows of inputs and outputs of a layer, one under the other.
#[derive(Debug, Default)]
pub struct Rows {
    pub inputs: Vec<f32>,
    pub outputs: Vec<f32>,
}

/// See the head of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// How many rows they are of.
    pub count: usize,
    pub columns: usize,
    /// Outputs: rows of weights.
    pub rows: usize,
    pub mean_in: Vec<f64>,
    pub mean_out: Vec<f64>,
    /// Square, row by row.
    pub hessian: Vec<f64>,
    /// `columns` by `rows`.
    pub cross: Vec<f64>,
    /// Mean square of each output, its mean taken off.
    pub energy: Vec<f64>,
}

/// Rows of inputs that are taken in at once.
const STEP: usize = 8;

impl Moments {
    pub fn of(rows: &Rows, columns: usize, outputs: usize) -> Moments {
        let count = rows.inputs.len() / columns.max(1);
        let (mean_in, mean_out) = (means(&rows.inputs, columns), means(&rows.outputs, outputs));
        let over = 1.0 / count.max(1) as f64;
        // Every so many columns are one task, as later ones have more to do.
        let tasks = 16.min(columns);
        let parts = parallel::map(tasks, |task| {
            let mine: Vec<usize> = (task..columns).step_by(tasks).collect();
            part(rows, &mean_in, &mean_out, &mine)
        });
        let (mut hessian, mut cross) = (vec![0.0; columns * columns], vec![0.0; columns * outputs]);
        for (task, part) in parts.into_iter().enumerate() {
            for (i, (squares, products)) in (task..columns).step_by(tasks).zip(part) {
                for (j, v) in squares.into_iter().enumerate() {
                    hessian[i * columns + j] = v * over;
                    hessian[j * columns + i] = v * over;
                }
                for (to, v) in cross[i * outputs..].iter_mut().zip(products) {
                    *to = v * over;
                }
            }
        }
        let mut energy = vec![0.0; outputs];
        for row in rows.outputs.chunks_exact(outputs.max(1)) {
            for ((sum, &y), mean) in energy.iter_mut().zip(row).zip(&mean_out) {
                *sum += (f64::from(y) - mean) * (f64::from(y) - mean);
            }
        }
        energy.iter_mut().for_each(|e| *e *= over);
        Moments { count, columns, rows: outputs, mean_in, mean_out, hessian, cross, energy }
    }

    /// The bias that some weights need to give the wanted mean.
    pub fn bias(&self, row: usize, weights: &[f64]) -> f64 {
        let sum: f64 = weights.iter().zip(&self.mean_in).map(|(w, x)| w * x).sum();
        self.mean_out[row] - sum
    }
}

fn means(values: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    let mut count = 0usize;
    for row in values.chunks_exact(width.max(1)) {
        sums.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
        count += 1;
    }
    sums.iter_mut().for_each(|s| *s /= count.max(1) as f64);
    sums
}

/// The rows of Hessian (as far as the diagonal) and cross moments of some columns.
fn part(rows: &Rows, mean_in: &[f64], mean_out: &[f64], mine: &[usize]) -> Vec<(Vec<f64>, Vec<f64>)> {
    let (columns, outputs) = (mean_in.len(), mean_out.len());
    let mut sums: Vec<(Vec<f64>, Vec<f64>)> =
        mine.iter().map(|&i| (vec![0.0; i + 1], vec![0.0; outputs])).collect();
    let (mut x, mut y) = (vec![0.0; STEP * columns], vec![0.0; STEP * outputs]);
    let count = rows.inputs.len() / columns.max(1);
    for first in (0..count).step_by(STEP) {
        let here = STEP.min(count - first);
        centred(&rows.inputs[first * columns..(first + here) * columns], mean_in, &mut x);
        centred(&rows.outputs[first * outputs..(first + here) * outputs], mean_out, &mut y);
        for (&i, (squares, products)) in mine.iter().zip(&mut sums) {
            let by: [f64; STEP] = std::array::from_fn(|t| x[t * columns + i]);
            add(squares, &by, &x, columns);
            add(products, &by, &y, outputs);
        }
    }
    sums
}

/// Rows with their means taken off; rows that are missing are zero.
fn centred(rows: &[f32], means: &[f64], to: &mut [f64]) {
    to.fill(0.0);
    for (to, row) in to.chunks_exact_mut(means.len().max(1)).zip(rows.chunks_exact(means.len().max(1))) {
        to.iter_mut().zip(row).zip(means).for_each(|((t, &v), mean)| *t = f64::from(v) - mean);
    }
}

/// `sums += by' * rows`, rows `width` apart.
fn add(sums: &mut [f64], by: &[f64; STEP], rows: &[f64], width: usize) {
    let n = sums.len();
    let row = |t: usize| &rows[t * width..t * width + n];
    let all: [&[f64]; STEP] = std::array::from_fn(row);
    for j in 0..n {
        let mut sum = 0.0;
        for t in 0..STEP {
            sum += by[t] * all[t][j];
        }
        sums[j] += sum;
    }
}
