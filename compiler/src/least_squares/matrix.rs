//! A layer's weights as a matrix.
//!
//! Law: columns stand tap by tap, `tap * inputs + input`. [`Matrix::from_onnx`] and [`Matrix::to_onnx`] are the
//! only places that know ONNX's order.

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
    /// Which weights are not zero.
    pub fn nonzero(&self) -> Vec<bool> {
        self.values.iter().map(|w| *w != 0.0).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
