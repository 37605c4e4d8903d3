//! Spectra and grids: products with constant matrices, windows, and samples at computed places.

use super::build::{Builder, Expanded, attr, int};
use crate::error::Result;
use crate::ops::check::{axis, dtype, len, refuse, size, sizes};
use crate::ops::{Attr, ParseCx};
use crate::tensor::{DType, Data, Tensor};
use std::f64::consts::PI;

/// The number that a constant input of one element holds.
fn number(cx: &ParseCx<'_>, index: usize, what: &str) -> Result<Option<f64>> {
    match cx.const_tensor(index, what)?.map(Tensor::to_f64_vec).as_deref() {
        None => Ok(None),
        Some([v]) if v.is_finite() => Ok(Some(*v)),
        Some(_) => Err(refuse(format!("{what} is no single number"))),
    }
}

fn whole(cx: &ParseCx<'_>, index: usize, what: &str) -> Result<Option<usize>> {
    number(cx, index, what)?.map(|v| size(v as i64, what)).transpose()
}

/// A constant of a type that the node asks for.
fn given(b: &mut Builder<'_>, shape: Vec<usize>, values: Vec<f64>) -> Result<String> {
    let to = dtype(b.cx.int_or("output_datatype", 1)?)?;
    let data = match to {
        DType::F32 => Data::F32(values.iter().map(|&v| v as f32).collect()),
        other => Data::from_i64(other, &values.iter().map(|&v| v as i64).collect::<Vec<_>>()),
    };
    Ok(b.constant(Tensor::new(shape, data)?))
}

/// A window of cosines.
fn window(mut b: Builder<'_>, terms: [f64; 3]) -> Result<Expanded> {
    let n = whole(&b.cx, 0, "the size")?.ok_or_else(|| refuse("the size is missing"))?;
    len(&[n])?;
    let period = if b.cx.int_or("periodic", 1)? != 0 { n as f64 } else { n as f64 - 1.0 };
    let value = |i: usize| {
        let angle = 2.0 * PI * i as f64 / period;
        terms[0] - terms[1] * libm::cos(angle) + terms[2] * libm::cos(2.0 * angle)
    };
    let y = given(&mut b, vec![n], (0..n).map(value).collect())?;
    b.finish(vec![y])
}

pub(super) fn hann(b: Builder<'_>) -> Result<Expanded> {
    window(b, [0.5, 0.5, 0.0])
}

pub(super) fn hamming(b: Builder<'_>) -> Result<Expanded> {
    window(b, [25.0 / 46.0, 21.0 / 46.0, 0.0])
}

pub(super) fn blackman(b: Builder<'_>) -> Result<Expanded> {
    window(b, [0.42, 0.5, 0.08])
}

/// Triangles over a spectrum, evenly apart on the mel scale.
pub(super) fn mel_weights(mut b: Builder<'_>) -> Result<Expanded> {
    let missing = || refuse("an input is missing");
    let bins = whole(&b.cx, 0, "the number of bins")?.ok_or_else(missing)?;
    let length = whole(&b.cx, 1, "the length of the transform")?.ok_or_else(missing)?;
    let rate = number(&b.cx, 2, "the sample rate")?.ok_or_else(missing)?;
    let (low, high) = (number(&b.cx, 3, "the lower edge")?, number(&b.cx, 4, "the upper edge")?);
    let (low, high) = (low.ok_or_else(missing)?, high.ok_or_else(missing)?);
    let rows = length / 2 + 1;
    len(&[rows, bins])?;
    let mel = |hz: f64| 2595.0 * libm::log1p(hz / 700.0) / libm::log(10.0);
    let step = (mel(high) - mel(low)) / (bins + 2) as f64;
    let edge = |i: usize| -> i64 {
        let hz = 700.0 * libm::expm1((i as f64 * step + mel(low)) / 2595.0 * libm::log(10.0));
        ((length as f64 + 1.0) * hz / rate).floor() as i64
    };
    let mut out = vec![0.0; rows * bins];
    for i in 0..bins {
        let (left, middle, right) = (edge(i), edge(i + 1), edge(i + 2));
        if left < 0 || right > rows as i64 {
            return Err(refuse("has an edge beyond the spectrum"));
        }
        let mut set = |j: i64, v: f64| {
            if let Some(place) = out.get_mut(j as usize * bins + i) {
                *place = v;
            }
        };
        if left == middle {
            set(middle, 1.0);
        }
        (left..=middle)
            .filter(|_| middle > left)
            .for_each(|j| set(j, (j - left) as f64 / (middle - left) as f64));
        (middle..right).for_each(|j| set(j, (right - j) as f64 / (right - middle) as f64));
    }
    let y = given(&mut b, vec![rows, bins], out)?;
    b.finish(vec![y])
}

/// The matrix of a Fourier transform: rows are elements of the operand (real, then imaginary parts if it has
/// them), columns real and imaginary parts of frequencies by turns. `window` weighs the rows.
struct Fourier {
    rows: usize,
    length: usize,
    complex: bool,
    columns: usize,
    inverse: bool,
    /// Real results alone, from one half of the frequencies.
    real: bool,
}

impl Fourier {
    fn matrix(&self, window: &dyn Fn(usize) -> f64) -> Result<Vec<f32>> {
        let (parts, out) = (if self.complex { 2 } else { 1 }, if self.real { 1 } else { 2 });
        len(&[self.rows, parts, self.columns, out])?;
        let mut m = vec![0f32; self.rows * parts * self.columns * out];
        let scale = if self.inverse { 1.0 / self.length as f64 } else { 1.0 };
        for r in 0..self.rows.min(self.length) {
            // The other half of a real signal's frequencies mirrors this one.
            let twice = self.real && r > 0 && 2 * r != self.length;
            let weight = window(r) * scale * if twice { 2.0 } else { 1.0 };
            for c in 0..self.columns {
                let turn = 2.0 * PI * ((r * c) % self.length) as f64 / self.length as f64;
                let (re, im) =
                    (libm::cos(turn), if self.inverse { libm::sin(turn) } else { -libm::sin(turn) });
                // (x + iy)(re + i im)
                for (part, pair) in [[re, im], [-im, re]].into_iter().take(parts).enumerate() {
                    for (o, v) in pair.into_iter().take(out).enumerate() {
                        m[((r * parts + part) * self.columns + c) * out + o] = (v * weight) as f32;
                    }
                }
            }
        }
        Ok(m)
    }
}

pub(super) fn fourier(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let rank = shape.len();
    let parts = shape.last().copied().unwrap_or(0);
    if rank < 2 || !(1..=2).contains(&parts) {
        return Err(refuse(format!("an input of shape {shape:?} is no signal")));
    }
    let old = b.cx.opset < 20;
    let at =
        if old { b.cx.int_or("axis", 1)? } else { number(&b.cx, 2, "the axis")?.map_or(-2, |v| v as i64) };
    let at = axis(at, rank)?;
    if at + 1 == rank {
        return Err(refuse("transforms the axis of real and imaginary parts"));
    }
    let (inverse, onesided) = (b.cx.int_or("inverse", 0)? != 0, b.cx.int_or("onesided", 0)? != 0);
    let real = inverse && onesided;
    let n = shape[at];
    let length = whole(&b.cx, 1, "the length")?;
    let length = length.unwrap_or(if real { 2 * n.max(1) - 2 } else { n });
    if length == 0 || n == 0 {
        return Err(refuse("transforms nothing"));
    }
    let columns = if onesided && !inverse { length / 2 + 1 } else { length };
    let how = Fourier { rows: n, length, complex: parts == 2, columns, inverse, real };
    let out = if real { 1 } else { 2 };
    let matrix = how.matrix(&|_| 1.0)?;
    let matrix = b.constant(Tensor::f32(&[n * parts, columns * out], matrix));
    let mut perm: Vec<usize> = (0..rank - 1).filter(|&a| a != at).collect();
    let kept: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
    perm.extend([at, rank - 1]);
    let x = b.input(0)?;
    let x = b.transpose(&x, &perm);
    let x = b.reshape(&x, &[kept.as_slice(), &[n * parts]].concat());
    let y = b.op("MatMul", &[&x, &matrix]);
    let y = b.reshape(&y, &[kept.as_slice(), &[columns, out]].concat());
    let mut back: Vec<usize> = (0..rank - 2).collect();
    back.insert(at, rank - 2);
    back.push(rank - 1);
    let y = b.transpose(&y, &back);
    b.finish(vec![y])
}

/// Overlapping frames, each weighed and transformed: a convolution whose weights are the windowed waves.
pub(super) fn short_time_fourier(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let (batch, n) = match *shape.as_slice() {
        [batch, n] | [batch, n, 1] => (batch, n),
        _ => return Err(refuse(format!("a signal of shape {shape:?}, only real ones are supported"))),
    };
    let step =
        whole(&b.cx, 1, "the frame's step")?.filter(|&s| s > 0).ok_or_else(|| refuse("has no step"))?;
    let window = b.cx.const_tensor(2, "the window")?.map(Tensor::to_f64_vec);
    let length = whole(&b.cx, 3, "the frame's length")?;
    let length = length.or(window.as_ref().map(Vec::len)).unwrap_or(n);
    let window = window.unwrap_or_else(|| vec![1.0; length]);
    if length == 0 || length > n || window.len() != length {
        return Err(refuse(format!("frames of {length} of {n} elements, by a window of {}", window.len())));
    }
    let columns = if b.cx.int_or("onesided", 1)? != 0 { length / 2 + 1 } else { length };
    let how = Fourier { rows: length, length, complex: false, columns, inverse: false, real: false };
    let matrix = how.matrix(&|i| window[i])?;
    let weights = Tensor::f32(&[length, 2 * columns], matrix).transposed(&[1, 0]);
    let weights = b.constant(weights.reshaped(&[2 * columns, 1, length])?);
    let x = b.input(0)?;
    let x = b.reshape(&x, &[batch, 1, n]);
    let y = b.with("Conv", &[&x, &weights], vec![attr("strides", Attr::Ints(vec![step as i64]))]);
    let frames = (n - length) / step + 1;
    let y = b.transpose(&y, &[0, 2, 1]);
    let y = b.reshape(&y, &[batch, frames, columns, 2]);
    b.finish(vec![y])
}

/// Places of a regular grid, moved by a matrix.
pub(super) fn affine_grid(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let wish = sizes(&b.cx.const_ints(1, "size")?.unwrap_or_default(), "a size")?;
    let spatial = wish.len().saturating_sub(2);
    if !(2..=3).contains(&spatial) || shape != [wish[0], spatial, spatial + 1] {
        return Err(refuse(format!("matrices of shape {shape:?} do not fit a grid of {wish:?}")));
    }
    let corners = b.cx.int_or("align_corners", 0)? != 0;
    let axes = &wish[2..];
    let count = len(axes)?;
    let strides = crate::tensor::row_major_strides(axes);
    let place = |i: usize, a: usize| -> f32 {
        let (at, n) = ((i / strides[a] % axes[a]) as f64, axes[a] as f64);
        (if corners { 2.0 * at / (n - 1.0) - 1.0 } else { (2.0 * at + 1.0) / n - 1.0 }) as f32
    };
    // The innermost axis comes first, and a one last.
    let rows = |i: usize| (0..spatial).rev().map(move |a| place(i, a)).chain([1.0]);
    let grid = (0..count).flat_map(rows).collect();
    let grid = b.constant(Tensor::f32(&[count, spatial + 1], grid));
    let x = b.input(0)?;
    let x = b.transpose(&x, &[0, 2, 1]);
    let y = b.op("MatMul", &[&grid, &x]);
    let y = b.reshape(&y, &[&wish[..1], axes, &[spatial]].concat());
    b.finish(vec![y])
}

/// Samples between elements, at places that a grid gives.
pub(super) fn grid_sample(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, grid) = (b.shape(0)?, b.shape(1)?);
    let spatial = shape.len().saturating_sub(2);
    if spatial == 0
        || grid.len() != shape.len()
        || grid[spatial + 1] != spatial
        || grid[0] != shape[0]
        || shape[2..].contains(&0)
    {
        return Err(refuse(format!("a grid of shape {grid:?} does not fit an input of shape {shape:?}")));
    }
    let mode = match b.cx.str_or("mode", "linear")? {
        "bilinear" | "linear" => "linear",
        "nearest" => "nearest",
        "bicubic" | "cubic" => "cubic",
        other => return Err(refuse(format!("has the mode `{other}`"))),
    };
    let padding = b.cx.str_or("padding_mode", "zeros")?;
    if !["zeros", "border", "reflection"].contains(&padding) {
        return Err(refuse(format!("pads by `{padding}`")));
    }
    let corners = b.cx.int_or("align_corners", 0)? != 0;
    let points: usize = grid[1..=spatial].iter().product();
    let places = b.input(1)?;
    let axes = &shape[2..];
    let strides = crate::tensor::row_major_strides(axes);
    // By axis: index and weight of each tap, all of shape [N, 1, points].
    let mut taps: Vec<Vec<(String, Option<String>)>> = Vec::with_capacity(spatial);
    for a in 0..spatial {
        let last = (spatial - 1 - a) as i64;
        let g = b.slice(&places, spatial + 1, last, last + 1, 1);
        let g = b.reshape(&g, &[shape[0], 1, points]);
        let n = axes[a] as f32;
        let (gain, offset) =
            if corners { ((n - 1.0) / 2.0, (n - 1.0) / 2.0) } else { (n / 2.0, (n - 1.0) / 2.0) };
        let (gain, offset) = (b.float(gain), b.float(offset));
        let at = b.op("Mul", &[&g, &gain]);
        let mut at = b.op("Add", &[&at, &offset]);
        if mode == "nearest" {
            at = b.op("Round", &[&at]);
        }
        if padding == "border" && mode == "cubic" {
            // Only places beyond the elements' edges are moved, to the middle of the last.
            let (lo, hi) = if corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) };
            let (lo, hi) = (b.float(lo), b.float(hi));
            let (low, high) = (b.op("Less", &[&at, &lo]), b.op("Greater", &[&at, &hi]));
            let beyond = b.op("Or", &[&low, &high]);
            let moved = limited(&mut b, &at, 0.0, n - 1.0);
            at = b.op("Where", &[&beyond, &moved, &at]);
        } else if padding == "border" {
            at = limited(&mut b, &at, 0.0, n - 1.0);
        } else if padding == "reflection" {
            at = reflected(&mut b, &at, axes[a], corners);
        }
        let floor = if mode == "nearest" { at.clone() } else { b.op("Floor", &[&at]) };
        let ratio = b.op("Sub", &[&at, &floor]);
        let offsets: &[i64] = match mode {
            "nearest" => &[0],
            "linear" => &[0, 1],
            _ => &[-1, 0, 1, 2],
        };
        let mut own = Vec::with_capacity(offsets.len());
        for &offset in offsets {
            let by = b.float(offset as f32);
            let mut tap = b.op("Add", &[&floor, &by]);
            if padding == "reflection" {
                // Indices are cut off, not rounded: -0.5 is within the first element.
                tap = reflected(&mut b, &tap, axes[a], corners);
                tap = limited(&mut b, &tap, 0.0, n - 1.0);
                tap = b.op("Floor", &[&tap]);
            }
            let mut weight = match mode {
                "nearest" => None,
                "linear" => {
                    let one = b.float(1.0);
                    Some(if offset == 0 { b.op("Sub", &[&one, &ratio]) } else { ratio.clone() })
                }
                _ => Some(cubic(&mut b, &ratio, offset)),
            };
            if padding == "zeros" {
                let (none, end) = (b.float(0.0), b.float(n - 1.0));
                let (low, high) =
                    (b.op("GreaterOrEqual", &[&tap, &none]), b.op("LessOrEqual", &[&tap, &end]));
                let inside = b.op("And", &[&low, &high]);
                weight = Some(match weight {
                    Some(weight) => b.op("Where", &[&inside, &weight, &none]),
                    None => b.cast(&inside, DType::F32),
                });
            }
            let tap = limited(&mut b, &tap, 0.0, n - 1.0);
            let index = b.cast(&tap, DType::I64);
            let stride = b.number(DType::I64, strides[a] as f64)?;
            own.push((b.op("Mul", &[&index, &stride]), weight));
        }
        taps.push(own);
    }
    // All combinations of taps.
    let mut all: Vec<(String, Option<String>)> = taps.remove(0);
    for axis in taps {
        let mut next = Vec::with_capacity(all.len() * axis.len());
        for (i, w) in &all {
            for (j, v) in &axis {
                let index = b.op("Add", &[i, j]);
                let weight = match (w, v) {
                    (Some(w), Some(v)) => Some(b.op("Mul", &[w, v])),
                    (w, v) => w.clone().or(v.clone()),
                };
                next.push((index, weight));
            }
        }
        all = next;
    }
    let x = b.input(0)?;
    let x = b.reshape(&x, &[shape[0], shape[1], axes.iter().product()]);
    let mut sum: Option<String> = None;
    for (index, weight) in all {
        let index = b.expand(&index, &[shape[0], shape[1], points]);
        let mut term = b.with("GatherElements", &[&x, &index], vec![int("axis", 2)]);
        if let Some(weight) = weight {
            term = b.op("Mul", &[&term, &weight]);
        }
        sum = Some(match sum {
            None => term,
            Some(sum) => b.op("Add", &[&sum, &term]),
        });
    }
    let sum = sum.ok_or_else(|| refuse("samples nothing"))?;
    let y = b.reshape(&sum, &[&shape[..2], &grid[1..=spatial]].concat());
    b.finish(vec![y])
}

fn limited(b: &mut Builder<'_>, x: &str, lo: f32, hi: f32) -> String {
    let (lo, hi) = (b.float(lo), b.float(hi));
    let x = b.op("Max", &[x, &lo]);
    b.op("Min", &[&x, &hi])
}

/// Places beyond the borders thrown back, as often as it takes: a triangle wave.
fn reflected(b: &mut Builder<'_>, x: &str, n: usize, corners: bool) -> String {
    let (lo, hi) = if corners { (0.0, n as f32 - 1.0) } else { (-0.5, n as f32 - 0.5) };
    let range = hi - lo;
    if range <= 0.0 {
        let zero = b.float(0.0);
        return b.op("Mul", &[x, &zero]);
    }
    let (low, width, double) = (b.float(lo), b.float(range), b.float(2.0 * range));
    let from = b.op("Sub", &[x, &low]);
    let turns = b.op("Div", &[&from, &double]);
    let turns = b.op("Floor", &[&turns]);
    let whole = b.op("Mul", &[&turns, &double]);
    let rest = b.op("Sub", &[&from, &whole]);
    // In 0..2 * range: the second half runs back.
    let beyond = b.op("Sub", &[&rest, &width]);
    let beyond = b.op("Abs", &[&beyond]);
    let inside = b.op("Sub", &[&width, &beyond]);
    b.op("Add", &[&inside, &low])
}

/// Weights of the four elements around a place (Keys, 1981, with -0.75).
fn cubic(b: &mut Builder<'_>, ratio: &str, offset: i64) -> String {
    const A: f32 = -0.75;
    let one = b.float(1.0);
    let distance = match offset {
        -1 => b.op("Add", &[ratio, &one]),
        0 => ratio.to_string(),
        1 => b.op("Sub", &[&one, ratio]),
        _ => {
            let two = b.float(2.0);
            b.op("Sub", &[&two, ratio])
        }
    };
    let near = matches!(offset, 0 | 1);
    let coefficients = if near { [A + 2.0, -(A + 3.0), 0.0, 1.0] } else { [A, -5.0 * A, 8.0 * A, -4.0 * A] };
    let mut y = b.float(coefficients[0]);
    for c in &coefficients[1..] {
        let c = b.float(*c);
        let product = b.op("Mul", &[&y, &distance]);
        y = b.op("Add", &[&product, &c]);
    }
    y
}
