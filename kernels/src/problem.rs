//! What kernels are asked for: sizes and memory strides of convolutions and products, without
//! operator, graph or weights.

use super::product::reach_len;

/// Sizes of a convolution. Pairs are height, width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Input and output channels of one group.
    pub cin: usize,
    pub cout: usize,
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Padding before the first row and column; what follows the last is implied.
    pub pads: [usize; 2],
    /// Memory strides of batch, channel, row, column.
    pub x: [usize; 4],
    pub y: [usize; 4],
}

impl Geometry {
    /// Output positions `lo..hi` along an axis whose taps all lie inside the input.
    pub fn interior(&self, axis: usize) -> (usize, usize) {
        let lo = self.pads[axis].div_ceil(self.strides[axis]);
        let reach = (self.kernel[axis] - 1) * self.dilations[axis];
        let last = (self.input[axis] + self.pads[axis]).checked_sub(reach + 1);
        let hi = last.map_or(0, |last| last / self.strides[axis] + 1).min(self.output[axis]);
        (lo.min(hi), hi)
    }
    /// Channels of an input pixel.
    pub fn pixel(&self) -> usize {
        self.groups * self.cin
    }
    /// Whether input pixels lie side by side, channels last.
    pub fn side_by_side(&self) -> bool {
        (self.pixel() == 1 || self.x[1] == 1) && (self.input[1] == 1 || self.x[3] == self.pixel())
    }
    /// Inputs under `n` neighbouring outputs along an axis, padding included.
    pub fn span(&self, axis: usize, n: usize) -> usize {
        (n - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }
    /// Which of an output channel's weights each input of a window meets, by row, column and channel.
    pub fn taps(&self) -> Vec<usize> {
        let [kh, kw] = self.kernel;
        let window = (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx)));
        window.flat_map(|(ky, kx)| (0..self.cin).map(move |c| (c * kh + ky) * kw + kx)).collect()
    }
    /// Whether some output reads padding.
    pub fn padded(&self) -> bool {
        (0..2).any(|axis| self.interior(axis) != (0, self.output[axis]))
    }
    pub fn x_len(&self) -> usize {
        reach_len(&[self.batch, self.groups * self.cin, self.input[0], self.input[1]], &self.x)
    }
    pub fn y_len(&self) -> usize {
        reach_len(&[self.batch, self.groups * self.cout, self.output[0], self.output[1]], &self.y)
    }
    /// Whether each output has the place of the input above it, so that a kernel that has read
    /// all inputs of a channel may write its outputs over them.
    pub fn in_step(&self) -> bool {
        self.cin == 1 && self.cout == 1 && self.input == self.output && self.x == self.y
    }
    /// Rows and columns exchanged. The weights of windows of one row or one column stay in place.
    pub fn turned(&self) -> Geometry {
        let of = |v: [usize; 2]| [v[1], v[0]];
        let strides = |v: [usize; 4]| [v[0], v[1], v[3], v[2]];
        Geometry {
            input: of(self.input),
            output: of(self.output),
            kernel: of(self.kernel),
            strides: of(self.strides),
            dilations: of(self.dilations),
            pads: of(self.pads),
            x: strides(self.x),
            y: strides(self.y),
            ..*self
        }
    }
    pub fn depthwise(&self) -> bool {
        self.cin == 1 && self.groups > 1
    }
}

/// An axis of rows: how many, and the step from one to the next in input and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub len: usize,
    pub x: usize,
    pub y: usize,
}

/// Sizes of a product of rows with a matrix `[outputs, inputs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Axes of rows, slowest first; neighbours that step evenly should be merged ([`merge`]).
    pub rows: Vec<Axis>,
    /// Inputs of a row; `y` is not used.
    pub inputs: Axis,
    /// Outputs of a row; `x` is not used.
    pub outputs: Axis,
}

impl Rows {
    /// Whether the inputs of a row lie side by side, and its outputs.
    pub fn side_by_side(&self) -> bool {
        (self.inputs.len == 1 || self.inputs.x == 1) && (self.outputs.len == 1 || self.outputs.y == 1)
    }
    /// The axes of rows but for the innermost, and that one: of one row where there is none.
    pub fn split(&self) -> (&[Axis], Axis) {
        match self.rows.split_last() {
            Some((last, outer)) => (outer, *last),
            None => (&[], Axis { len: 1, x: 0, y: 0 }),
        }
    }
    /// Elements from the first input that is read to the last.
    pub fn x_len(&self) -> usize {
        self.len(|a| a.x, self.inputs)
    }
    /// Elements from the first output that is written to the last.
    pub fn y_len(&self) -> usize {
        self.len(|a| a.y, self.outputs)
    }
    fn len(&self, step: fn(&Axis) -> usize, row: Axis) -> usize {
        let axes = || self.rows.iter().chain([&row]);
        reach_len(&axes().map(|a| a.len).collect::<Vec<_>>(), &axes().map(step).collect::<Vec<_>>())
    }
    /// Whether each row of outputs has the place of its row of inputs, so that a kernel that has
    /// read a row may write its outputs over it.
    pub fn in_step(&self) -> bool {
        self.inputs.len == self.outputs.len && self.rows.iter().all(|a| a.len == 1 || a.x == a.y)
    }
}

/// Joins neighbouring axes that are one axis in memory on both sides, and drops axes of one.
pub fn merge(axes: &[Axis]) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::new();
    for &axis in axes.iter().filter(|a| a.len != 1) {
        match merged.last_mut() {
            Some(last) if last.x == axis.x * axis.len && last.y == axis.y * axis.len => {
                *last = Axis { len: last.len * axis.len, ..axis };
            }
            _ => merged.push(axis),
        }
    }
    merged
}

/// A convolution that is a matrix product of every pixel, or of every few: 1x1, no padding.
pub fn pointwise(g: &Geometry) -> Option<Rows> {
    let plain = g.kernel == [1, 1] && g.groups == 1 && !g.padded();
    plain.then(|| Rows {
        rows: merge(&[
            Axis { len: g.batch, x: g.x[0], y: g.y[0] },
            Axis { len: g.output[0], x: g.strides[0] * g.x[2], y: g.y[2] },
            Axis { len: g.output[1], x: g.strides[1] * g.x[3], y: g.y[3] },
        ]),
        inputs: Axis { len: g.cin, x: g.x[1], y: 0 },
        outputs: Axis { len: g.cout, x: 0, y: g.y[1] },
    })
}
