//! The second result of MaxPool: where each maximum stands.
//!
//! Law: of equal elements the first counts, in the row-major order of the window; a place is one of the input's,
//! of a window without any number too.

use super::build::{Builder, Expanded, int};
use super::volume::{Windows, list, pooled, windows};
use crate::error::Result;
use crate::ops::ParseCx;
use crate::ops::check::{len, refuse, sizes};
use crate::tensor::{DType, Data, Tensor, row_major_strides};

/// Whether the places are wanted.
pub(super) fn gives_places(cx: &ParseCx<'_>) -> bool {
    cx.outputs > 1
}

/// By tap along an axis, the position that each window has it at: within the input and the window, so that
/// what lies in the padding is another tap once more.
fn positions(w: &Windows, a: usize, n: usize, steps: usize) -> Result<Vec<Vec<usize>>> {
    let mut taps = vec![Vec::with_capacity(steps); w.kernel[a]];
    for step in 0..steps {
        let at =
            |k: usize| (step * w.strides[a] + k * w.dilations[a]).checked_sub(w.pads[a]).filter(|&p| p < n);
        let inside: Vec<usize> = (0..w.kernel[a]).filter_map(at).collect();
        let (Some(&first), Some(&last)) = (inside.first(), inside.last()) else {
            return Err(refuse("has a window that lies in the padding, whose maximum has no place"));
        };
        for (k, tap) in taps.iter_mut().enumerate() {
            let before = step * w.strides[a] + k * w.dilations[a] < w.pads[a] + first;
            tap.push(at(k).unwrap_or(if before { first } else { last }));
        }
    }
    Ok(taps)
}

/// Elements of an axis at rising positions: a cut, where they are evenly spaced.
fn taken(b: &mut Builder<'_>, x: &str, axis: usize, at: &[usize], n: usize) -> String {
    let step = match at {
        [first, second, ..] => second - first,
        _ => 1,
    };
    if step == 0 || at.windows(2).any(|p| p[1] - p[0] != step) {
        let places: Vec<i64> = at.iter().map(|&p| p as i64).collect();
        let places = b.ints(&places);
        return b.gather(x, &places, axis);
    }
    let (first, last) = (at.first().copied().unwrap_or(0), at.last().copied().unwrap_or(0));
    if at.len() == n {
        return x.to_string();
    }
    b.slice(x, axis, first as i64, last as i64 + 1, step as i64)
}

/// The maxima, and for each the least place of those of its window that are as great.
pub(super) fn max_with_places(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let kernel = sizes(b.cx.ints("kernel_shape")?.unwrap_or(&[]), "a size of the window")?;
    let w = windows(&b, kernel)?;
    let spatial = w.kernel.len();
    let up = b.cx.int_or("ceil_mode", 0)? != 0;
    let by_column = match b.cx.int_or("storage_order", 0)? {
        0 => false,
        1 => true,
        other => return Err(refuse(format!("has the storage order {other}"))),
    };
    let x = b.input(0)?;
    let attrs = vec![
        list("kernel_shape", &w.kernel),
        list("strides", &w.strides),
        list("dilations", &w.dilations),
        list("pads", &w.pads),
        int("ceil_mode", up.into()),
    ];
    let most = b.with("MaxPool", &[&x], attrs);
    if !b.wanted(1) {
        return b.finish(vec![most]);
    }
    let plane = &shape[2..];
    let (strides, area) = (row_major_strides(plane), len(plane)?);
    if i32::try_from(area).is_err() || area == 0 {
        return Err(refuse(format!("pools an input of shape {shape:?}")));
    }
    let out = (0..spatial).map(|a| pooled(plane[a], &w, a, up)).collect::<Result<Vec<usize>>>()?;
    let taps = (0..spatial).map(|a| positions(&w, a, plane[a], out[a])).collect::<Result<Vec<_>>>()?;
    let (steps, by_step) = (len(&out)?, row_major_strides(&out));
    let places = |b: &mut Builder<'_>, tap: &[usize]| -> Result<String> {
        let place = |i: usize| -> i64 {
            (0..spatial).map(|a| (taps[a][tap[a]][i / by_step[a] % out[a]] * strides[a]) as i64).sum()
        };
        let data = Data::from_i64(DType::I32, &(0..steps).map(place).collect::<Vec<_>>());
        Ok(b.constant(Tensor::new(out.clone(), data)?))
    };
    let last: Vec<usize> = w.kernel.iter().map(|k| k - 1).collect();
    let end = places(&mut b, &last)?;
    let mut found: Option<String> = None;
    let (count, by_tap) = (len(&w.kernel)?, row_major_strides(&w.kernel));
    // The elements of a tap, cut along one axis after the other.
    let mut cut = vec![x; spatial + 1];
    let mut before: Vec<Option<usize>> = vec![None; spatial];
    // The last tap is where it is if no other is.
    for t in 0..(count - 1).max(1) {
        let tap: Vec<usize> = (0..spatial).map(|a| t / by_tap[a] % w.kernel[a]).collect();
        let stale = (0..spatial).find(|&a| before[a] != Some(tap[a])).unwrap_or(spatial);
        for a in stale..spatial {
            cut[a + 1] = taken(&mut b, &cut[a].clone(), a + 2, &taps[a][tap[a]], plane[a]);
            before[a] = Some(tap[a]);
        }
        let equal = b.op("Equal", &[&cut[spatial], &most]);
        let own = places(&mut b, &tap)?;
        let place = b.op("Where", &[&equal, &own, &end]);
        found = Some(match found {
            None => place,
            Some(least) => b.op("Min", &[&least, &place]),
        });
    }
    let Some(mut found) = found else { return Err(refuse("has a window without taps")) };
    if by_column {
        found = turned(&mut b, &found, plane)?;
    }
    let found = b.cast(&found, DType::I64);
    let mut lead = shape[..2].to_vec();
    lead.extend(vec![1; spatial]);
    let base: Vec<i64> = (0..shape[0] * shape[1]).map(|i| (i * area) as i64).collect();
    let base = b.constant(Tensor::i64(&lead, base));
    let found = b.op("Add", &[&found, &base]);
    b.finish(vec![most, found])
}

/// Places of a row-major order in the order that has the first axis innermost.
fn turned(b: &mut Builder<'_>, place: &str, plane: &[usize]) -> Result<String> {
    let strides = row_major_strides(plane);
    let mut own = 1;
    let mut sum: Option<String> = None;
    for (&n, &stride) in plane.iter().zip(&strides) {
        let [by, size, times] = [stride, n, own].map(|v| b.number(DType::I32, v as f64));
        let (by, size, times) = (by?, size?, times?);
        let at = b.op("Div", &[place, &by]);
        let at = b.op("Mod", &[&at, &size]);
        let at = b.op("Mul", &[&at, &times]);
        sum = Some(match sum {
            None => at,
            Some(sum) => b.op("Add", &[&sum, &at]),
        });
        own *= n;
    }
    sum.ok_or_else(|| refuse("has no axes"))
}
