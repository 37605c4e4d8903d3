//! Geometry of sliding windows, shared by Conv, AveragePool and MaxPool.
//!
//! In: attributes and the input's spatial sizes. Out: strides, pads and dilations with `auto_pad`
//! resolved, and the sizes of the result. Source: ONNX, operators Conv and MaxPool.

use super::check::{refuse, sizes};
use super::{ParseCx, check};
use crate::error::Result;

/// A window over `kernel.len()` spatial axes.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    pub kernel: &'a [usize],
    pub strides: &'a [usize],
    /// Begins, then ends.
    pub pads: &'a [usize],
    pub dilations: &'a [usize],
    pub ceil_mode: bool,
}

/// Strides, pads and dilations of a node.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub strides: Vec<usize>,
    pub pads: Vec<usize>,
    pub dilations: Vec<usize>,
}

/// The spatial sizes of an NCHW / NCW shape; refuses other ranks.
pub(crate) fn spatial(shape: &[usize]) -> Result<&[usize]> {
    match shape.len() {
        3 | 4 => Ok(&shape[2..]),
        n => Err(refuse(format!("has an input of {n} axes {shape:?}"))
            .help("supported are [N, C, W] and [N, C, H, W]: one or two spatial axes")),
    }
}

/// Reads `strides`, `pads`, `dilations` and `auto_pad`.
pub(crate) fn parse(cx: &ParseCx<'_>, input: &[usize], kernel: &[usize]) -> Result<Parsed> {
    let n = input.len();
    let list = |name: &str, default: usize, len: usize, least: usize| -> Result<Vec<usize>> {
        let v = match cx.ints(name)? {
            None | Some([]) => vec![default; len],
            Some(v) => sizes(v, name)?,
        };
        if v.len() != len || v.iter().any(|&x| x < least) {
            return Err(refuse(format!("`{name}` is {v:?}: {len} numbers of at least {least} are needed")));
        }
        Ok(v)
    };
    if kernel.len() != n {
        return Err(refuse(format!("the window {kernel:?} does not fit {n} spatial axes")));
    }
    let strides = list("strides", 1, n, 1)?;
    let dilations = list("dilations", 1, n, 1)?;
    let mut pads = vec![0; 2 * n];
    match cx.str_or("auto_pad", "NOTSET")? {
        "NOTSET" | "" => pads = list("pads", 0, 2 * n, 0)?,
        "VALID" => {}
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            for i in 0..n {
                let extent = extent(kernel[i], dilations[i])?;
                let out = input[i].div_ceil(strides[i]);
                let covered = out
                    .saturating_sub(1)
                    .checked_mul(strides[i])
                    .and_then(|v| v.checked_add(extent))
                    .ok_or_else(|| refuse("the window is too large"))?;
                let total = covered.saturating_sub(input[i]);
                let (less, more) = (total / 2, total - total / 2);
                let upper = mode == "SAME_UPPER";
                pads[i] = if upper { less } else { more };
                pads[n + i] = if upper { more } else { less };
            }
        }
        other => {
            return Err(refuse(format!("`auto_pad` is `{other}`"))
                .help("defined are NOTSET, VALID, SAME_UPPER and SAME_LOWER"));
        }
    }
    Ok(Parsed { strides, pads, dilations })
}

/// Reads `kernel_shape`.
pub(crate) fn kernel_shape(cx: &ParseCx<'_>) -> Result<Vec<usize>> {
    let kernel = cx.ints("kernel_shape")?.ok_or_else(|| refuse("`kernel_shape` is missing"))?;
    sizes(kernel, "kernel_shape")
}

/// Input elements that a window of `kernel` taps spans.
fn extent(kernel: usize, dilation: usize) -> Result<usize> {
    kernel
        .checked_sub(1)
        .and_then(|k| k.checked_mul(dilation))
        .and_then(|e| e.checked_add(1))
        .filter(|&e| e <= check::MAX_ELEMENTS)
        .ok_or_else(|| refuse(format!("a window of {kernel} taps, {dilation} apart, is empty or too large")))
}

impl Window<'_> {
    /// Spatial sizes of the result for an input of spatial sizes `input`.
    pub(crate) fn out(&self, input: &[usize]) -> Result<Vec<usize>> {
        let n = input.len();
        let lists = [self.kernel.len(), self.strides.len(), self.dilations.len(), self.pads.len() / 2];
        if lists.iter().any(|&l| l != n) || self.strides.contains(&0) {
            return Err(refuse(format!("the window does not fit {n} spatial axes")));
        }
        (0..n)
            .map(|i| {
                let extent = extent(self.kernel[i], self.dilations[i])?;
                let (begin, end) = (self.pads[i], self.pads[n + i]);
                let padded = input[i]
                    .checked_add(begin)
                    .and_then(|v| v.checked_add(end))
                    .ok_or_else(|| refuse("the padded input is too large"))?;
                let room = padded.checked_sub(extent).filter(|_| input[i] > 0).ok_or_else(|| {
                    refuse(format!("a window of {extent} does not fit into {padded} padded elements"))
                })?;
                let stride = self.strides[i];
                let mut out = if self.ceil_mode { room.div_ceil(stride) } else { room / stride } + 1;
                // A window that would begin in the end padding is dropped.
                if self.ceil_mode && (out - 1) * stride >= input[i] + begin {
                    out -= 1;
                }
                Ok(out)
            })
            .collect()
    }
}

/// A window over two spatial axes; one axis counts as height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plane {
    pub input: [usize; 2],
    pub out: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    pub begin: [usize; 2],
    pub end: [usize; 2],
}

impl Window<'_> {
    /// The window on an input of these spatial sizes.
    pub(crate) fn plane(&self, input: &[usize]) -> Result<Plane> {
        let two = |v: &[usize], one: usize| match *v {
            [w] => Ok([one, w]),
            [h, w] => Ok([h, w]),
            _ => Err(refuse(format!("has {} spatial axes, supported are one and two", v.len()))),
        };
        let out = self.out(input)?;
        let (begin, end) = self.pads.split_at(input.len());
        Ok(Plane {
            input: two(input, 1)?,
            out: two(&out, 1)?,
            kernel: two(self.kernel, 1)?,
            strides: two(self.strides, 1)?,
            dilations: two(self.dilations, 1)?,
            begin: two(begin, 0)?,
            end: two(end, 0)?,
        })
    }
}

impl Plane {
    /// Input positions along `axis` that the window at output `o` covers, padding left out.
    fn taps(&self, axis: usize, o: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (dilation, begin, input) = (self.dilations[axis], self.begin[axis], self.input[axis]);
        let start = o * self.strides[axis];
        (0..self.kernel[axis])
            .filter_map(move |k| (start + k * dilation).checked_sub(begin).filter(|&i| i < input))
    }
    /// Taps of the window at output `o` that lie inside the padded input.
    fn padded_taps(&self, axis: usize, o: usize) -> usize {
        let start = o * self.strides[axis];
        let end = self.begin[axis] + self.input[axis] + self.end[axis];
        (0..self.kernel[axis]).filter(|k| start + k * self.dilations[axis] < end).count()
    }
    /// Calls `pool` for every window of every channel of `x`: with the elements inside, in rising
    /// order, and the number of taps inside the padded input.
    pub(crate) fn pool<T: Copy, U>(
        &self,
        x: &[T],
        mut pool: impl FnMut(&mut dyn Iterator<Item = T>, usize) -> U,
    ) -> Vec<U> {
        let [ih, iw] = self.input;
        let mut out = Vec::with_capacity(x.len() / (ih * iw).max(1) * self.out[0] * self.out[1]);
        for channel in x.chunks((ih * iw).max(1)) {
            for oy in 0..self.out[0] {
                for ox in 0..self.out[1] {
                    let columns = self.taps(1, ox);
                    let mut inside = self.taps(0, oy).flat_map(|y| columns.clone().map(move |x| y * iw + x));
                    let count = self.padded_taps(0, oy) * self.padded_taps(1, ox);
                    out.push(pool(&mut inside.by_ref().map(|i| channel[i]), count));
                }
            }
        }
        out
    }
}
