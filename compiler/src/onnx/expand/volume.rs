//! Windows over three spatial axes, by windows over two and one.

use super::build::{Builder, Expanded, attr, int};
use crate::error::Result;
use crate::ops::check::{refuse, sizes};
use crate::ops::{Attr, ParseCx};

/// Whether the input has three spatial axes.
pub(super) fn is_volume(cx: &ParseCx<'_>) -> bool {
    matches!(cx.inputs.first(), Some(Some(x)) if x.shape.len() == 5)
}

/// The attributes of a window, by axis; pads in front, then behind.
pub(super) struct Windows {
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    pub(super) pads: Vec<usize>,
}

/// Reads and checks them; padding that ONNX leaves to the operator is computed here.
pub(super) fn windows(b: &Builder<'_>, kernel: Vec<usize>) -> Result<Windows> {
    let (shape, n) = (b.shape(0)?, kernel.len());
    let (strides, dilations) = (b.sizes_of("strides", 1, n)?, b.sizes_of("dilations", 1, n)?);
    let mut pads = b.sizes_of("pads", 0, 2 * n)?;
    let fits = n > 0 && shape.len() == n + 2;
    if !fits || kernel.contains(&0) || strides.contains(&0) || dilations.contains(&0) {
        return Err(refuse(format!("a window of {kernel:?} does not fit an input of shape {shape:?}")));
    }
    match b.cx.str_or("auto_pad", "NOTSET")? {
        "NOTSET" => {}
        "VALID" => pads = vec![0; 2 * n],
        same @ ("SAME_UPPER" | "SAME_LOWER") => {
            for a in 0..n {
                let (size, s) = (shape[a + 2], strides[a]);
                let need = (size.div_ceil(s).max(1) - 1) * s + dilations[a] * (kernel[a] - 1) + 1;
                let all = need.saturating_sub(size);
                let front = if same == "SAME_UPPER" { all / 2 } else { all - all / 2 };
                (pads[a], pads[a + n]) = (front, all - front);
            }
        }
        other => return Err(refuse(format!("pads by `{other}`"))),
    }
    Ok(Windows { kernel, strides, dilations, pads })
}

pub(super) fn list(name: &str, values: &[usize]) -> (String, Attr) {
    attr(name, Attr::Ints(values.iter().map(|&v| v as i64).collect()))
}

/// The taps along the first axis become channels of a convolution over the other two.
pub(super) fn conv(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, weights) = (b.shape(0)?, b.shape(1)?);
    if weights.len() != 5 {
        return Err(refuse(format!("weights of shape {weights:?} do not fit an input of shape {shape:?}")));
    }
    let w = windows(&b, weights[2..].to_vec())?;
    let (n, c) = (shape[0], shape[1]);
    let deep = shape[2] + w.pads[0] + w.pads[3];
    let reach = w.dilations[0] * (w.kernel[0] - 1) + 1;
    let steps =
        deep.checked_sub(reach).map(|room| room / w.strides[0] + 1).ok_or_else(|| refuse("has no result"))?;
    let mut x = b.input(0)?;
    if w.pads[0] + w.pads[3] > 0 {
        let mut pads = vec![0i64; 10];
        (pads[2], pads[7]) = (w.pads[0] as i64, w.pads[3] as i64);
        let pads = b.ints(&pads);
        x = b.op("Pad", &[&x, &pads]);
    }
    let mut taps = Vec::with_capacity(w.kernel[0]);
    for k in 0..w.kernel[0] {
        let start = k * w.dilations[0];
        let end = start + (steps - 1) * w.strides[0] + 1;
        let tap = b.slice(&x, 2, start as i64, end as i64, w.strides[0] as i64);
        taps.push(b.reshape(&tap, &[n, c, 1, steps, shape[3], shape[4]]));
    }
    let taps: Vec<&str> = taps.iter().map(String::as_str).collect();
    let all = b.concat(&taps, 2);
    let all = b.transpose(&all, &[0, 3, 1, 2, 4, 5]);
    let all = b.reshape(&all, &[n * steps, c * w.kernel[0], shape[3], shape[4]]);
    let by = b.input(1)?;
    let by = b.reshape(&by, &[weights[0], weights[1] * weights[2], weights[3], weights[4]]);
    let bias = if b.optional(2).is_some() { Some(b.input(2)?) } else { None };
    let mut inputs = vec![all.as_str(), by.as_str()];
    inputs.extend(bias.as_deref());
    let attrs = vec![
        list("strides", &w.strides[1..]),
        list("dilations", &w.dilations[1..]),
        list("pads", &[w.pads[1], w.pads[2], w.pads[4], w.pads[5]]),
        int("group", b.cx.int_or("group", 1)?),
    ];
    let y = b.with("Conv", &inputs, attrs);
    let out = |a: usize| {
        let whole = shape[a + 2] + w.pads[a] + w.pads[a + 3];
        whole.checked_sub(w.dilations[a] * (w.kernel[a] - 1) + 1).map(|room| room / w.strides[a] + 1)
    };
    let (Some(rows), Some(columns)) = (out(1), out(2)) else { return Err(refuse("has no result")) };
    let y = b.reshape(&y, &[n, steps, weights[0], rows, columns]);
    let y = b.transpose(&y, &[0, 2, 1, 3, 4]);
    b.finish(vec![y])
}

/// Elements along an axis that a pool gives.
pub(super) fn pooled(n: usize, w: &Windows, a: usize, up: bool) -> Result<usize> {
    let whole = n + w.pads[a] + w.pads[a + w.kernel.len()];
    let room =
        whole.checked_sub(w.dilations[a] * (w.kernel[a] - 1) + 1).ok_or_else(|| refuse("has no result"))?;
    let mut steps = if up { room.div_ceil(w.strides[a]) } else { room / w.strides[a] } + 1;
    // The last window must begin within the input or the padding in front.
    if up && (steps - 1) * w.strides[a] >= n + w.pads[a] {
        steps -= 1;
    }
    Ok(steps)
}

/// Over two axes, then over the one left.
pub(super) fn pool(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let kernel = sizes(b.cx.ints("kernel_shape")?.unwrap_or(&[]), "a size of the window")?;
    let w = windows(&b, kernel)?;
    let op = b.cx.op_type;
    let up = b.cx.int_or("ceil_mode", 0)? != 0;
    let mut shared = vec![int("ceil_mode", up.into())];
    if op == "AveragePool" {
        shared.push(int("count_include_pad", b.cx.int_or("count_include_pad", 0)?));
    }
    let (rows, columns) = (pooled(shape[3], &w, 1, up)?, pooled(shape[4], &w, 2, up)?);
    let steps = pooled(shape[2], &w, 0, up)?;
    let x = b.input(0)?;
    let x = b.reshape(&x, &[shape[0], shape[1] * shape[2], shape[3], shape[4]]);
    let mut attrs = shared.clone();
    attrs.extend([
        list("kernel_shape", &w.kernel[1..]),
        list("strides", &w.strides[1..]),
        list("dilations", &w.dilations[1..]),
        list("pads", &[w.pads[1], w.pads[2], w.pads[4], w.pads[5]]),
    ]);
    let y = b.with(op, &[&x], attrs);
    let y = b.reshape(&y, &[shape[0], shape[1], shape[2], rows * columns]);
    let mut attrs = shared;
    attrs.extend([
        list("kernel_shape", &[w.kernel[0], 1]),
        list("strides", &[w.strides[0], 1]),
        list("dilations", &[w.dilations[0], 1]),
        list("pads", &[w.pads[0], 0, w.pads[3], 0]),
    ]);
    let y = b.with(op, &[&y], attrs);
    let y = b.reshape(&y, &[shape[0], shape[1], steps, rows, columns]);
    b.finish(vec![y])
}
