//! Resize, Upsample and ConvTranspose: other sizes of spatial axes.
//!
//! A resized axis is a product with a constant matrix, as every result is a weighted sum of elements along it; to
//! the nearest element it is a Gather by constant indices.

use super::build::{Builder, Expanded, attr, int};
use crate::error::Result;
use crate::ops::check::{axis, len, refuse, size, sizes};
use crate::ops::{Attr, ParseCx};
use crate::tensor::{DType, Tensor};

/// How results are mapped to places between elements.
struct Resizing<'a> {
    coordinates: &'a str,
    nearest: &'a str,
    /// `nearest`, `linear` or `cubic`.
    mode: &'a str,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
}

/// One axis: its sizes, the scale between them, and the part that is cut out (for `tf_crop_and_resize`).
struct Span {
    from: usize,
    to: usize,
    scale: f64,
    crop: [f64; 2],
}

impl Resizing<'_> {
    /// The place in the operand that a result comes from. In single precision, as onnxruntime has it: which of two
    /// elements is nearer depends on it.
    fn place(&self, at: usize, span: &Span) -> Result<f64> {
        let (x, n, s) = (at as f32, span.from as f32, span.scale as f32);
        // What the scale says, which need not be whole.
        let wide = s * n;
        Ok(f64::from(match self.coordinates {
            "half_pixel" => (x + 0.5) / s - 0.5,
            "half_pixel_symmetric" => {
                let adjustment = span.to as f32 / wide;
                n / 2.0 * (1.0 - adjustment) + (x + 0.5) / s - 0.5
            }
            "pytorch_half_pixel" if span.to == 1 => -0.5,
            "pytorch_half_pixel" => (x + 0.5) / s - 0.5,
            "align_corners" if span.to == 1 => 0.0,
            "align_corners" => x * (n - 1.0) / (wide - 1.0),
            "asymmetric" => x / s,
            "tf_crop_and_resize" => {
                let ([start, end], last) = (span.crop.map(|c| c as f32), n - 1.0);
                match span.to {
                    1 => 0.5 * (start + end) * last,
                    to => start * last + x * (end - start) * last / (to as f32 - 1.0),
                }
            }
            other => return Err(refuse(format!("has the coordinates `{other}`"))),
        }))
    }

    /// Weights of the elements around a place, from the first on. `ratio` is how far behind the one before it.
    fn weights(&self, ratio: f64, scale: f64) -> Result<Vec<f64>> {
        let a = self.cubic;
        let kernel = |x: f64| -> f64 {
            let x = x.abs();
            match self.mode {
                "linear" => (1.0 - x).max(0.0),
                _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
                _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
                _ => 0.0,
            }
        };
        let reach = if self.mode == "linear" { 1.0 } else { 2.0 };
        if self.mode == "nearest" {
            let second = match self.nearest {
                "round_prefer_floor" => ratio > 0.5,
                "round_prefer_ceil" => ratio >= 0.5,
                "floor" => ratio == 1.0,
                "ceil" => true,
                other => return Err(refuse(format!("takes the nearest by `{other}`"))),
            };
            return Ok(vec![f64::from(u8::from(!second)), f64::from(u8::from(second))]);
        }
        let scale = if self.antialias { scale.min(1.0) } else { 1.0 };
        let start = (-reach / scale).floor() as i64 + 1;
        if start < -4096 {
            return Err(refuse("makes an axis more than 2048 times shorter"));
        }
        let taps = 2 - 2 * start;
        let weights: Vec<f64> = (start..start + taps).map(|i| kernel((i as f64 - ratio) * scale)).collect();
        let sum: f64 = weights.iter().sum();
        Ok(if self.antialias { weights.iter().map(|w| w / sum).collect() } else { weights })
    }

    /// By result: index and weight of each element that it is made of; none where it lies outside of the operand.
    fn axis(&self, span: &Span) -> Result<Vec<Option<Vec<(usize, f64)>>>> {
        let n = span.from as i64;
        let mut rows = Vec::with_capacity(span.to);
        for at in 0..span.to {
            let place = self.place(at, span)?;
            let outside = place < 0.0 || place > n as f64 - 1.0;
            if self.coordinates == "tf_crop_and_resize" && outside {
                rows.push(None);
                continue;
            }
            let before = place.ceil() - 1.0;
            let mut weights = self.weights(place - before, span.scale)?;
            let first = before as i64 + 1 - weights.len() as i64 / 2;
            if self.exclude_outside && self.mode != "nearest" {
                for (i, w) in weights.iter_mut().enumerate() {
                    if !(0..n).contains(&(first + i as i64)) {
                        *w = 0.0;
                    }
                }
                let sum: f64 = weights.iter().sum();
                weights.iter_mut().for_each(|w| *w /= sum);
            }
            let inside = |i: usize| (first + i as i64).clamp(0, n - 1) as usize;
            let taps = weights.iter().enumerate().filter(|(_, w)| **w != 0.0);
            rows.push(Some(taps.map(|(i, &w)| (inside(i), w)).collect()));
        }
        Ok(rows)
    }
}

/// Writes one axis: elements by index, or a product with weights; `outside` is what lies beyond the operand.
fn resize_axis(
    b: &mut Builder<'_>,
    x: &str,
    shape: &mut [usize],
    at: usize,
    rows: &[Option<Vec<(usize, f64)>>],
    outside: f32,
) -> Result<String> {
    let n = shape[at];
    shape[at] = rows.len();
    let single = rows.iter().map(|row| match row.as_deref() {
        Some([(i, 1.0)]) => Some(*i as i64),
        _ => None,
    });
    if let Some(indices) = single.collect::<Option<Vec<i64>>>() {
        let index = b.ints(&indices);
        return Ok(b.gather(x, &index, at));
    }
    if b.operand(0)?.dtype != DType::F32 {
        return Err(refuse("interpolates between numbers that are no floats"));
    }
    len(&[n, rows.len()])?;
    let mut matrix = vec![0.0f64; n * rows.len()];
    for (column, row) in rows.iter().enumerate() {
        for &(i, w) in row.iter().flatten() {
            matrix[i * rows.len() + column] += w;
        }
    }
    let matrix: Vec<f32> = matrix.into_iter().map(|w| w as f32).collect();
    let matrix = b.constant(Tensor::f32(&[n, rows.len()], matrix));
    let rank = shape.len();
    // The axis last, and back.
    let mut perm: Vec<usize> = (0..rank).filter(|&a| a != at).collect();
    perm.push(at);
    let mut back: Vec<usize> = (0..rank - 1).collect();
    back.insert(at, rank - 1);
    let turned = if at + 1 == rank { x.to_string() } else { b.transpose(x, &perm) };
    let mut y = b.op("MatMul", &[&turned, &matrix]);
    if rows.iter().any(Option::is_none) {
        let beyond = rows.iter().map(|row| if row.is_none() { outside } else { 0.0 }).collect();
        let beyond = b.constant(Tensor::f32(&[rows.len()], beyond));
        y = b.op("Add", &[&y, &beyond]);
    }
    Ok(if at + 1 == rank { y } else { b.transpose(&y, &back) })
}

/// The numbers of a constant input, if there are any.
fn reals(cx: &ParseCx<'_>, index: usize, what: &str) -> Result<Option<Vec<f64>>> {
    let given = cx.const_tensor(index, what)?.map(Tensor::to_f64_vec);
    Ok(given.filter(|v| !v.is_empty()))
}

pub(super) fn resize(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let rank = shape.len();
    let old = b.cx.opset < 11;
    let mode = match b.cx.str_or("mode", "nearest")? {
        mode @ ("nearest" | "linear" | "cubic") => mode,
        "bilinear" | "trilinear" => "linear",
        other => return Err(refuse(format!("has the mode `{other}`"))),
    };
    let how = Resizing {
        coordinates: b
            .cx
            .str_or("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?,
        nearest: b.cx.str_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?,
        mode,
        cubic: f64::from(b.cx.float_or("cubic_coeff_a", -0.75)?),
        exclude_outside: b.cx.int_or("exclude_outside", 0)? != 0,
        antialias: b.cx.int_or("antialias", 0)? != 0,
    };
    let all: Vec<i64> = (0..rank as i64).collect();
    let given = b.cx.ints("axes")?.unwrap_or(&all);
    let axes = given.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<usize>>>()?;
    let places: [usize; 2] = if old { [1, usize::MAX] } else { [2, 3] };
    let scales = match b.cx.attrs.get("scales") {
        Some(Attr::Floats(v)) => Some(v.iter().map(|&s| f64::from(s)).collect()),
        _ => reals(&b.cx, places[0], "scales")?,
    };
    let wish = reals(&b.cx, places[1], "sizes")?;
    let crop = if old { None } else { reals(&b.cx, 1, "roi")? };
    let count = scales.as_ref().or(wish.as_ref()).map_or(0, Vec::len);
    if count != axes.len()
        || crop.as_ref().is_some_and(|c| c.len() != 2 * axes.len()) && how.coordinates == "tf_crop_and_resize"
    {
        return Err(refuse(format!("{count} scales or sizes for {} axes", axes.len())));
    }
    let mut spans = Vec::with_capacity(axes.len());
    for (i, &a) in axes.iter().enumerate() {
        let n = shape[a] as f64;
        let (scale, to) = match (&scales, &wish) {
            // In single precision too: seven tenths of ten are seven.
            (Some(s), _) => (s[i], f64::from((n as f32 * s[i] as f32).floor())),
            (None, Some(w)) => (w[i] / n, w[i]),
            (None, None) => return Err(refuse("has neither scales nor sizes")),
        };
        let start_end = crop.as_ref().filter(|c| c.len() == 2 * axes.len());
        let crop = start_end.map_or([0.0, 1.0], |c| [c[i], c[axes.len() + i]]);
        spans.push((a, Span { from: shape[a], to: 0, scale, crop }, to));
    }
    // One scale for all axes, so that nothing is stretched.
    let policy = b.cx.str_or("keep_aspect_ratio_policy", "stretch")?;
    if scales.is_none() && policy != "stretch" {
        let all = spans.iter().map(|s| s.1.scale);
        let one = match policy {
            "not_larger" => all.fold(f64::INFINITY, f64::min),
            "not_smaller" => all.fold(0.0, f64::max),
            other => return Err(refuse(format!("keeps the aspect ratio by `{other}`"))),
        };
        for (_, span, to) in &mut spans {
            *to = (span.from as f64 * one + 0.5).floor();
            span.scale = one;
        }
    }
    let outside = b.cx.float_or("extrapolation_value", 0.0)?;
    let mut x = b.input(0)?;
    let mut now = shape;
    let same = |span: &Span, to: f64| {
        to == span.from as f64 && span.scale == 1.0 && how.coordinates != "tf_crop_and_resize"
    };
    for (a, mut span, to) in spans {
        if !span.scale.is_finite()
            || span.scale <= 0.0
            || !(0.0..=67_108_864.0).contains(&to)
            || span.from == 0
        {
            return Err(refuse(format!("scales an axis of {} by {}", span.from, span.scale)));
        }
        if same(&span, to) {
            continue;
        }
        span.to = to as usize;
        let wide = span.scale as f32 * span.from as f32;
        if how.coordinates == "align_corners" && scales.is_some() && wide.fract() != 0.0 {
            b.warn(
                format!(
                    "aligns the corners of an axis of {} that its scale makes {wide} long: places are those of the \
                     standard, by this length, where onnxruntime and PyTorch take {to}",
                    span.from
                ),
                "give `sizes` instead of `scales`, which all read alike",
            );
        }
        let rows = how.axis(&span)?;
        x = resize_axis(&mut b, &x, &mut now, a, &rows, outside)?;
        len(&now)?;
    }
    b.finish(vec![x])
}

/// A convolution of the input with zeros between its elements, by weights turned round.
pub(super) fn conv_transpose(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, weights) = (b.shape(0)?, b.shape(1)?);
    let spatial = shape.len().saturating_sub(2);
    if spatial == 0 || weights.len() != shape.len() {
        return Err(refuse(format!("weights of shape {weights:?} do not fit an input of shape {shape:?}")));
    }
    let group = size(b.cx.int_or("group", 1)?, "the number of groups")?;
    let (channels, each) = (shape[1], weights[1]);
    if group == 0 || weights[0] != channels || channels % group != 0 {
        return Err(refuse(format!(
            "{channels} channels do not fit weights of shape {weights:?} in {group} groups"
        )));
    }
    let (strides, dilations) = (b.sizes_of("strides", 1, spatial)?, b.sizes_of("dilations", 1, spatial)?);
    let (more, pads) = (b.sizes_of("output_padding", 0, spatial)?, b.sizes_of("pads", 0, 2 * spatial)?);
    let wish = b.cx.ints("output_shape")?.map(|v| sizes(v, "a size of the output")).transpose()?;
    // Some exporters write batch and channels too.
    let wish = wish.map(|w| w[w.len().saturating_sub(spatial)..].to_vec()).filter(|w| w.len() == spatial);
    let auto = b.cx.str_or("auto_pad", "NOTSET")?;
    let mut edges = Vec::with_capacity(spatial);
    for a in 0..spatial {
        let (n, k, s) = (shape[a + 2] as i64, weights[a + 2] as i64, strides[a] as i64);
        if n == 0 || k == 0 || s == 0 {
            return Err(refuse("has an empty axis or no stride"));
        }
        let reach = (k - 1) * dilations[a] as i64;
        let whole = s * (n - 1) + more[a] as i64 + reach + 1;
        let to = match (&wish, auto) {
            (Some(w), _) => w[a] as i64,
            (None, "SAME_UPPER" | "SAME_LOWER") => n * s,
            (None, "NOTSET" | "VALID") => whole - (pads[a] + pads[spatial + a]) as i64,
            (None, other) => return Err(refuse(format!("pads by `{other}`"))),
        };
        let begin = match (&wish, auto) {
            (None, "NOTSET") => pads[a] as i64,
            (None, "VALID") => 0,
            (_, "SAME_UPPER") => (whole - to).max(0) / 2,
            _ => (whole - to).max(0) - (whole - to).max(0) / 2,
        };
        if to < 0 {
            return Err(refuse(format!("gives an axis of {to} elements")));
        }
        // Zeros in front and behind; those between the elements come with `s - 1` behind the last.
        let front = reach - begin;
        edges.push((front, to + reach - n * s - front));
    }
    let mut x = b.input(0)?;
    let mut now = shape.clone();
    if strides.iter().any(|&s| s > 1) {
        let apart: Vec<usize> =
            shape[..2].iter().copied().chain(shape[2..].iter().flat_map(|&n| [n, 1])).collect();
        let mut between = vec![0i64; 2 * apart.len()];
        for (a, &s) in strides.iter().enumerate() {
            between[apart.len() + 3 + 2 * a] = s as i64 - 1;
            now[a + 2] *= s;
        }
        len(&now)?;
        let between = b.ints(&between);
        x = b.reshape(&x, &apart);
        x = b.op("Pad", &[&x, &between]);
        x = b.reshape(&x, &now);
    }
    let pads: Vec<i64> = [0, 0]
        .into_iter()
        .chain(edges.iter().map(|e| e.0))
        .chain([0, 0])
        .chain(edges.iter().map(|e| e.1))
        .collect();
    let pads = b.ints(&pads);
    x = b.op("Pad", &[&x, &pads]);
    // [C, M / g, ...] -> [M, C / g, ...], each tap in the opposite place.
    let mut w = b.input(1)?;
    let kernel = &weights[2..];
    w = b.reshape(&w, &[&[group, channels / group, each], kernel].concat());
    let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..3 + spatial).collect();
    w = b.transpose(&w, &perm);
    w = b.reshape(&w, &[&[group * each, channels / group], kernel].concat());
    for a in 0..spatial {
        w = b.slice(&w, a + 2, -1, i64::MIN + 1, -1);
    }
    let ints = |v: &[usize]| Attr::Ints(v.iter().map(|&v| v as i64).collect());
    let attrs = vec![
        int("group", group as i64),
        attr("dilations", ints(&dilations)),
        attr("kernel_shape", ints(kernel)),
    ];
    let bias = if b.optional(2).is_some() { Some(b.input(2)?) } else { None };
    let mut inputs = vec![x.as_str(), w.as_str()];
    inputs.extend(bias.as_deref());
    let y = b.with("Conv", &inputs, attrs);
    b.finish(vec![y])
}
