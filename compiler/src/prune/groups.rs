//! A layer's weights as a matrix, and the groups in which its pattern lets them go.
//!
//! In: the shape of a layer's weights and a pattern. Out: groups of columns, and of rows that share
//! them. Law: columns stand tap by tap, `tap * inputs + input`, so a group is a run of them, and none
//! crosses a tap. [`Matrix::from_onnx`] and [`Matrix::to_onnx`] are the only places that know ONNX's order.

use crate::options::Pattern;
use std::ops::Range;

/// Sizes of a layer's weights: `rows` outputs, each of `inputs` at each of `taps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub rows: usize,
    pub inputs: usize,
    pub taps: usize,
}

impl Sizes {
    pub fn columns(self) -> usize {
        self.inputs * self.taps
    }
    pub fn weights(self) -> usize {
        self.rows * self.columns()
    }
}

/// Weights, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub sizes: Sizes,
    pub values: Vec<f64>,
}

impl Matrix {
    /// From ONNX's `[outputs, inputs, taps...]`.
    pub fn from_onnx(sizes: Sizes, weights: &[f32]) -> Matrix {
        let mut values = vec![0.0; sizes.weights()];
        for (to, from) in sizes.places() {
            values[to] = f64::from(weights[from]);
        }
        Matrix { sizes, values }
    }
    pub fn to_onnx(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.sizes.weights()];
        for (from, to) in self.sizes.places() {
            weights[to] = self.values[from] as f32;
        }
        weights
    }
    pub fn row(&self, row: usize) -> &[f64] {
        let columns = self.sizes.columns();
        &self.values[row * columns..(row + 1) * columns]
    }
}

impl Sizes {
    /// Where each weight stands in a [`Matrix`], and where in ONNX's order.
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        let Sizes { rows, inputs, taps } = self;
        (0..rows * taps * inputs).map(move |to| {
            let (row, tap, input) = (to / (taps * inputs), to / inputs % taps, to % inputs);
            (to, (row * inputs + input) * taps + tap)
        })
    }
}

/// The groups of a layer under a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Rows that lose the same columns.
    pub rows: Vec<Range<usize>>,
    /// Columns that a row loses at once.
    pub columns: Vec<Range<usize>>,
    /// Columns among which a row keeps some, and how many; nothing where there is no such rule.
    pub quotas: Vec<(Range<usize>, usize)>,
}

fn runs(from: usize, len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(step.max(1)).map(move |at| from + at..from + (at + step).min(len))
}

impl Groups {
    pub fn new(sizes: Sizes, pattern: Pattern) -> Groups {
        let Sizes { rows, inputs, taps } = sizes;
        let at_taps = |step: usize| (0..taps).flat_map(move |tap| runs(tap * inputs, inputs, step));
        let row_groups = runs(0, rows, pattern.rows()).collect();
        match pattern {
            // They are no layer's own: see `channels`.
            Pattern::Channels => Groups { rows: row_groups, columns: Vec::new(), quotas: Vec::new() },
            Pattern::Block { columns, .. } => {
                Groups { rows: row_groups, columns: at_taps(columns).collect(), quotas: Vec::new() }
            }
            Pattern::Of { keep, of } => {
                // Of fewer inputs than the rule counts, the same share stays, rounded up.
                let quota = |run: Range<usize>| (run.clone(), (run.len() * keep).div_ceil(of));
                Groups {
                    rows: row_groups,
                    columns: at_taps(1).collect(),
                    quotas: at_taps(of).map(quota).collect(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_along_the_inputs_of_one_tap() {
        let sizes = Sizes { rows: 3, inputs: 5, taps: 2 };
        let groups = Groups::new(sizes, Pattern::Block { rows: 2, columns: 4 });
        assert_eq!(groups.rows, [0..2, 2..3]);
        assert_eq!(groups.columns, [0..4, 4..5, 5..9, 9..10]);
        let groups = Groups::new(sizes, Pattern::Of { keep: 2, of: 4 });
        assert_eq!(groups.columns.len(), 10);
        assert_eq!(groups.quotas, [(0..4, 2), (4..5, 1), (5..9, 2), (9..10, 1)]);
    }

    #[test]
    fn columns_stand_tap_by_tap() {
        // ONNX: output, input, tap.
        let sizes = Sizes { rows: 1, inputs: 2, taps: 3 };
        let weights = [10.0, 11.0, 12.0, 20.0, 21.0, 22.0];
        let matrix = Matrix::from_onnx(sizes, &weights);
        assert_eq!(matrix.values, [10.0, 20.0, 11.0, 21.0, 12.0, 22.0]);
        assert_eq!(matrix.to_onnx(), weights);
    }
}
