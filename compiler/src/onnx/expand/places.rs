//! Operators that move elements about: repeats, blocks, gathers and scatters, by shapes or by indices into a
//! row of all elements.

use super::build::{Builder, Expanded, attr};
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::{axis, dtype, len, refuse, size, sizes};
use crate::tensor::{DType, Data, Tensor, row_major_strides};

/// Repeats by a new axis in front of each.
pub(super) fn tile(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let repeats = sizes(&b.cx.const_ints(1, "repeats")?.unwrap_or_default(), "a repeat")?;
    if repeats.len() != shape.len() {
        return Err(refuse(format!("{} repeats for {} axes", repeats.len(), shape.len())));
    }
    let x = b.input(0)?;
    let single: Vec<usize> = shape.iter().flat_map(|&n| [1, n]).collect();
    let many: Vec<usize> = shape.iter().zip(&repeats).flat_map(|(&n, &r)| [r, n]).collect();
    len(&many)?;
    let y = b.reshape(&x, &single);
    let y = b.expand(&y, &many);
    let all: Vec<usize> = shape.iter().zip(&repeats).map(|(&n, &r)| n * r).collect();
    let y = b.reshape(&y, &all);
    b.finish(vec![y])
}

/// Batch, channels, rows, columns and the side of a block.
fn blocks(b: &Builder<'_>) -> Result<([usize; 4], usize)> {
    let shape = b.shape(0)?;
    let side = size(b.cx.int("blocksize")?.unwrap_or(0), "the block")?;
    match *shape {
        [n, c, h, w] if side > 0 => Ok(([n, c, h, w], side)),
        _ => Err(refuse(format!("blocks of {side} of an input of shape {shape:?}"))),
    }
}

pub(super) fn depth_to_space(mut b: Builder<'_>) -> Result<Expanded> {
    let ([n, c, h, w], s) = blocks(&b)?;
    if c % (s * s) != 0 {
        return Err(refuse(format!("{c} channels do not part into blocks of {s}")));
    }
    let x = b.input(0)?;
    let d = c / (s * s);
    let y = match b.cx.str_or("mode", "DCR")? {
        "DCR" => {
            let y = b.reshape(&x, &[n, s, s, d, h, w]);
            b.transpose(&y, &[0, 3, 4, 1, 5, 2])
        }
        "CRD" => {
            let y = b.reshape(&x, &[n, d, s, s, h, w]);
            b.transpose(&y, &[0, 1, 4, 2, 5, 3])
        }
        other => return Err(refuse(format!("has the mode `{other}`"))),
    };
    let y = b.reshape(&y, &[n, d, h * s, w * s]);
    b.finish(vec![y])
}

pub(super) fn space_to_depth(mut b: Builder<'_>) -> Result<Expanded> {
    let ([n, c, h, w], s) = blocks(&b)?;
    if h % s != 0 || w % s != 0 {
        return Err(refuse(format!("{h} rows and {w} columns do not part into blocks of {s}")));
    }
    let x = b.input(0)?;
    let y = b.reshape(&x, &[n, c, h / s, s, w / s, s]);
    let perm = match b.cx.str_or("mode", "DCR")? {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return Err(refuse(format!("has the mode `{other}`"))),
    };
    let y = b.transpose(&y, &perm);
    let y = b.reshape(&y, &[n, c * s * s, h / s, w / s]);
    b.finish(vec![y])
}

/// Ones along a diagonal, of a type.
pub(super) fn eye(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let &[rows, columns] = shape.as_slice() else { return Err(refuse("the input is no matrix")) };
    let k = b.cx.int_or("k", 0)?;
    let ty = b.cx.int("dtype")?.map_or(Ok(b.operand(0)?.dtype), dtype)?;
    let one = |i: usize| i64::from((i % columns) as i64 == ((i / columns) as i64).saturating_add(k));
    let ones: Vec<i64> = (0..rows * columns).map(one).collect();
    let y = b.constant(Tensor::new(shape, Data::from_i64(ty, &ones))?);
    b.finish(vec![y])
}

/// A mask of what stays, and zeros elsewhere.
pub(super) fn triangle(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let &[.., rows, columns] = shape.as_slice() else { return Err(refuse("the input is no matrix")) };
    let k = match b.cx.const_ints(1, "k")?.as_deref() {
        None => 0,
        Some([k]) => *k,
        Some(_) => return Err(refuse("k is no single number")),
    };
    let upper = b.cx.int_or("upper", 1)? != 0;
    let keep = |i: usize| {
        let (r, c) = ((i / columns) as i64, (i % columns) as i64);
        if upper { c.saturating_sub(r) >= k } else { c.saturating_sub(r) <= k }
    };
    let mask = Data::Bool((0..rows * columns).map(keep).collect());
    let mask = b.constant(Tensor::new(vec![rows, columns], mask)?);
    let x = b.input(0)?;
    let zero = b.constant(Tensor::zeros(b.operand(0)?.dtype, &[]));
    let y = b.op("Where", &[&mask, &x, &zero]);
    b.finish(vec![y])
}

/// Indices into an axis of `n`, those below zero counted from the end.
fn turned(b: &mut Builder<'_>, index: &str, n: usize) -> Result<String> {
    let (none, n) = (b.number(DType::I64, 0.0)?, b.number(DType::I64, n as f64)?);
    let from_end = b.op("Add", &[index, &n]);
    let negative = b.op("Less", &[index, &none]);
    Ok(b.op("Where", &[&negative, &from_end, index]))
}

/// An index operand as i64.
fn whole(b: &mut Builder<'_>, input: usize) -> Result<String> {
    let index = b.input(input)?;
    match b.operand(input)?.dtype {
        DType::I64 => Ok(index),
        DType::I32 => Ok(b.cast(&index, DType::I64)),
        other => Err(refuse(format!("the indices have type {other}, i32 and i64 are defined"))),
    }
}

/// By element of an index tensor, where in `shape` it stands but for one axis.
fn offsets(shape: &[usize], index: &[usize], at: usize) -> Vec<i64> {
    let (own, all) = (row_major_strides(shape), row_major_strides(index));
    let place = |i: usize| -> usize {
        (0..index.len()).filter(|&a| a != at).map(|a| i / all[a] % index[a] * own[a]).sum()
    };
    (0..index.iter().product()).map(|i| place(i) as i64).collect()
}

/// Where the elements that an index tensor names along an axis stand in a row of all.
fn along_axis(b: &mut Builder<'_>, input: usize, at: usize) -> Result<String> {
    let (shape, index) = (b.shape(0)?, b.shape(input)?);
    let fits = index.len() == shape.len() && (0..shape.len()).all(|a| a == at || index[a] <= shape[a]);
    if !fits {
        return Err(refuse(format!("indices of shape {index:?} do not fit an input of shape {shape:?}")));
    }
    let stride = row_major_strides(&shape)[at];
    let places = whole(b, input)?;
    let places = turned(b, &places, shape[at])?;
    let stride = b.number(DType::I64, stride as f64)?;
    let places = b.op("Mul", &[&places, &stride]);
    let base = offsets(&shape, &index, at);
    let base = b.constant(Tensor::i64(&index, base));
    Ok(b.op("Add", &[&places, &base]))
}

pub(super) fn gather_elements(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let at = axis(b.cx.int_or("axis", 0)?, shape.len())?;
    let places = along_axis(&mut b, 1, at)?;
    let x = b.input(0)?;
    let row = b.reshape(&x, &[shape.iter().product()]);
    let y = b.gather(&row, &places, 0);
    b.finish(vec![y])
}

/// The flat index of each tuple in the last axis of an index tensor, for axes from `first` on: of the blocks
/// that these axes' elements are.
fn tuples(b: &mut Builder<'_>, input: usize, shape: &[usize], first: usize) -> Result<String> {
    let index = b.shape(input)?;
    let depth = index.last().copied().unwrap_or(0);
    if index.is_empty() || first + depth > shape.len() {
        return Err(refuse(format!("indices of shape {index:?} do not fit an input of shape {shape:?}")));
    }
    let places = whole(b, input)?;
    let axes = &shape[first..first + depth];
    let strides: Vec<i64> = row_major_strides(axes).iter().map(|&s| s as i64).collect();
    let n = b.ints(&axes.iter().map(|&n| n as i64).collect::<Vec<_>>());
    let none = b.number(DType::I64, 0.0)?;
    let from_end = b.op("Add", &[&places, &n]);
    let negative = b.op("Less", &[&places, &none]);
    let places = b.op("Where", &[&negative, &from_end, &places]);
    let strides = b.ints(&strides);
    let parts = b.op("Mul", &[&places, &strides]);
    let sum = b.reduce("ReduceSum", &parts, &[index.len() - 1]);
    Ok(b.reshape(&sum, &index[..index.len() - 1]))
}

pub(super) fn gather_nd(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, index) = (b.shape(0)?, b.shape(1)?);
    let batch = size(b.cx.int_or("batch_dims", 0)?, "the number of batch axes")?;
    let depth = index.last().copied().unwrap_or(0);
    if batch >= index.len() || batch + depth > shape.len() || shape[..batch] != index[..batch] {
        return Err(refuse(format!("indices of shape {index:?} do not fit an input of shape {shape:?}")));
    }
    let places = tuples(&mut b, 1, &shape, batch)?;
    let rows: usize = shape[batch..batch + depth].iter().product();
    let lead: usize = shape[..batch].iter().product();
    let count: usize = index[batch..index.len() - 1].iter().product();
    let block: usize = shape[batch + depth..].iter().product();
    let base = (0..lead).map(|i| (i * rows) as i64).collect();
    let base = b.constant(Tensor::i64(&[lead, 1], base));
    let places = b.reshape(&places, &[lead, count]);
    let places = b.op("Add", &[&places, &base]);
    let x = b.input(0)?;
    let x = b.reshape(&x, &[lead * rows, block]);
    let y = b.gather(&x, &places, 0);
    let out = [&index[..index.len() - 1], &shape[batch + depth..]].concat();
    let y = b.reshape(&y, &out);
    b.finish(vec![y])
}

/// Updates of a row, under the shape that it had.
fn scattered(
    mut b: Builder<'_>,
    places: &str,
    updates: &str,
    count: usize,
    reduction: &str,
) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let x = b.input(0)?;
    let row = b.reshape(&x, &[shape.iter().product()]);
    let (places, updates) = (b.reshape(places, &[count]), b.reshape(updates, &[count]));
    let attrs = vec![attr("reduction", Attr::Str(reduction.into()))];
    let y = b.with("ScatterFlat", &[&row, &places, &updates], attrs);
    let y = b.reshape(&y, &shape);
    b.finish(vec![y])
}

pub(super) fn scatter_elements(mut b: Builder<'_>) -> Result<Expanded> {
    let at = axis(b.cx.int_or("axis", 0)?, b.shape(0)?.len())?;
    let places = along_axis(&mut b, 1, at)?;
    let (index, updates) = (b.shape(1)?, b.input(2)?);
    if b.shape(2)? != index {
        return Err(refuse("has not as many updates as indices"));
    }
    let reduction = b.cx.str_or("reduction", "none")?;
    scattered(b, &places, &updates, index.iter().product(), reduction)
}

pub(super) fn scatter_nd(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, index) = (b.shape(0)?, b.shape(1)?);
    let places = tuples(&mut b, 1, &shape, 0)?;
    let depth = index.last().copied().unwrap_or(0);
    let (count, block) =
        (index[..index.len() - 1].iter().product::<usize>(), shape[depth..].iter().product::<usize>());
    if b.shape(2)? != [&index[..index.len() - 1], &shape[depth..]].concat() {
        return Err(refuse("has updates of a shape that does not fit its indices"));
    }
    // Each index names a block: all its elements.
    let places = b.reshape(&places, &[count, 1]);
    let by = b.number(DType::I64, block as f64)?;
    let places = b.op("Mul", &[&places, &by]);
    let inside = b.constant(Tensor::i64(&[1, block], (0..block as i64).collect()));
    let places = b.op("Add", &[&places, &inside]);
    let updates = b.input(2)?;
    let reduction = b.cx.str_or("reduction", "none")?;
    scattered(b, &places, &updates, count * block, reduction)
}

/// New elements in a cache, from an index by batch on.
pub(super) fn tensor_scatter(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, update) = (b.shape(0)?, b.shape(1)?);
    let at = axis(b.cx.int_or("axis", -2)?, shape.len())?;
    let same = update.len() == shape.len() && (0..shape.len()).all(|a| a == at || update[a] == shape[a]);
    if !same || update[at] > shape[at] || at == 0 {
        return Err(refuse(format!("an update of shape {update:?} does not fit a cache of shape {shape:?}")));
    }
    let start = match b.optional(2) {
        None => b.constant(Tensor::zeros(DType::I64, &[shape[0]])),
        Some(_) => whole(&mut b, 2)?,
    };
    let mut first = vec![1; shape.len()];
    first[0] = shape[0];
    let start = b.reshape(&start, &first);
    let steps = super::arithmetic::range_along(&mut b, update[at], at, shape.len());
    let mut places = b.op("Add", &[&start, &steps]);
    match b.cx.str_or("mode", "linear")? {
        "linear" => {}
        "circular" => {
            let n = b.number(DType::I64, shape[at] as f64)?;
            places = b.op("Mod", &[&places, &n]);
        }
        other => return Err(refuse(format!("has the mode `{other}`"))),
    }
    let stride = b.number(DType::I64, row_major_strides(&shape)[at] as f64)?;
    let places = b.op("Mul", &[&places, &stride]);
    let base = offsets(&shape, &update, at);
    let base = b.constant(Tensor::i64(&update, base));
    let places = b.op("Add", &[&places, &base]);
    let updates = b.input(1)?;
    scattered(b, &places, &updates, update.iter().product(), "none")
}

/// The first elements of each sequence backwards, the rest as they are.
pub(super) fn reverse_sequence(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let rank = shape.len();
    let time = axis(b.cx.int_or("time_axis", 0)?, rank)?;
    let batch = axis(b.cx.int_or("batch_axis", 1)?, rank)?;
    if time == batch || b.shape(1)? != [shape[batch]] {
        return Err(refuse("has not one length for each sequence"));
    }
    let lengths = whole(&mut b, 1)?;
    let mut wide = vec![1; rank];
    wide[batch] = shape[batch];
    let lengths = b.reshape(&lengths, &wide);
    let steps = super::arithmetic::range_along(&mut b, shape[time], time, rank);
    let one = b.number(DType::I64, 1.0)?;
    let last = b.op("Sub", &[&lengths, &one]);
    let back = b.op("Sub", &[&last, &steps]);
    let inside = b.op("Less", &[&steps, &lengths]);
    let places = b.op("Where", &[&inside, &back, &steps]);
    let stride = b.number(DType::I64, row_major_strides(&shape)[time] as f64)?;
    let places = b.op("Mul", &[&places, &stride]);
    let base = offsets(&shape, &shape, time);
    let base = b.constant(Tensor::i64(&shape, base));
    let places = b.op("Add", &[&places, &base]);
    let x = b.input(0)?;
    let row = b.reshape(&x, &[shape.iter().product()]);
    let y = b.gather(&row, &places, 0);
    b.finish(vec![y])
}

/// Crops and pads in the middle.
pub(super) fn center_crop_pad(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let wish = sizes(&b.cx.const_ints(1, "shape")?.unwrap_or_default(), "a size")?;
    let all: Vec<i64> = (0..shape.len() as i64).collect();
    let axes = b.cx.ints("axes")?.unwrap_or(&all);
    if axes.len() != wish.len() {
        return Err(refuse(format!("{} sizes for {} axes", wish.len(), axes.len())));
    }
    let mut pads = vec![0i64; 2 * shape.len()];
    for (&a, &n) in axes.iter().zip(&wish) {
        let a = axis(a, shape.len())?;
        let more = n as i64 - shape[a] as i64;
        // Half of it in front, rounded down either way.
        let before = if more < 0 { -(-more / 2) } else { more / 2 };
        (pads[a], pads[shape.len() + a]) = (before, more - before);
    }
    let x = b.input(0)?;
    let pads = b.ints(&pads);
    let y = b.op("Pad", &[&x, &pads]);
    b.finish(vec![y])
}

/// Elements where the indices of a pool say, in a field of zeros.
pub(super) fn max_unpool(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let kernel = sizes(b.cx.ints("kernel_shape")?.unwrap_or(&[]), "a size of the window")?;
    let spatial = kernel.len();
    if shape.len() != spatial + 2 || b.shape(1)? != shape {
        return Err(refuse(format!("a window of {kernel:?} does not fit an input of shape {shape:?}")));
    }
    let strides = sizes(b.cx.ints("strides")?.unwrap_or(&vec![1; spatial]), "a stride")?;
    let pads = sizes(b.cx.ints("pads")?.unwrap_or(&vec![0; 2 * spatial]), "a pad")?;
    if strides.len() != spatial || pads.len() != 2 * spatial {
        return Err(refuse("has attributes of different lengths"));
    }
    let mut own = shape[..2].to_vec();
    for a in 0..spatial {
        let whole = (shape[a + 2].max(1) - 1) * strides[a] + kernel[a];
        own.push(
            whole
                .checked_sub(pads[a] + pads[spatial + a])
                .ok_or_else(|| refuse("pads more than there is"))?,
        );
    }
    let all = len(&own)?;
    let count = len(&shape)?;
    let (x, places) = (b.input(0)?, whole(&mut b, 1)?);
    let field = b.constant(Tensor::zeros(b.operand(0)?.dtype, &[all]));
    let (x, places) = (b.reshape(&x, &[count]), b.reshape(&places, &[count]));
    let y = b.op("ScatterFlat", &[&field, &places, &x]);
    let mut y = b.reshape(&y, &own);
    if b.optional(2).is_some() {
        let wish = sizes(&b.cx.const_ints(2, "output_shape")?.unwrap_or_default(), "a size")?;
        if wish.len() != own.len() {
            return Err(refuse("has an output of another number of axes"));
        }
        let more = own.iter().zip(&wish).map(|(&n, &w)| w as i64 - n as i64);
        let pads: Vec<i64> = std::iter::repeat_n(0, own.len()).chain(more).collect();
        let pads = b.ints(&pads);
        y = b.op("Pad", &[&y, &pads]);
    }
    b.finish(vec![y])
}

/// Columns of windows summed where they overlap: a scatter by constant places; a last one takes what falls
/// into the padding.
pub(super) fn column_to_image(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let image = sizes(&b.cx.const_ints(1, "image_shape")?.unwrap_or_default(), "a size of the image")?;
    let block = sizes(&b.cx.const_ints(2, "block_shape")?.unwrap_or_default(), "a size of a block")?;
    let n = image.len();
    let (strides, dilations, pads) =
        (b.sizes_of("strides", 1, n)?, b.sizes_of("dilations", 1, n)?, b.sizes_of("pads", 0, 2 * n)?);
    let taps = len(&block)?;
    let (&[batch, planes, columns], true) =
        (&shape[..].try_into().unwrap_or([0; 3]), shape.len() == 3 && taps > 0 && block.len() == n)
    else {
        return Err(refuse(format!("blocks of {block:?} do not fit an input of shape {shape:?}")));
    };
    let mut steps = Vec::with_capacity(n);
    for a in 0..n {
        let reach = dilations[a] * (block[a].max(1) - 1) + 1;
        let room = (image[a] + pads[a] + pads[n + a]).checked_sub(reach);
        let room = room.filter(|_| strides[a] > 0).ok_or_else(|| refuse("has a block beyond the image"))?;
        steps.push(room / strides[a] + 1);
    }
    if planes % taps != 0 || len(&steps)? != columns {
        return Err(refuse(format!("blocks of {block:?} do not fit an input of shape {shape:?}")));
    }
    let (channels, pixels) = (planes / taps, len(&image)?);
    let all = len(&[batch, channels, pixels])?;
    let (per_tap, per_step, per_pixel) =
        (row_major_strides(&block), row_major_strides(&steps), row_major_strides(&image));
    let place = |i: usize| -> i64 {
        let (step, plane, lead) = (i % columns, i / columns % planes, i / columns / planes);
        let (tap, channel) = (plane % taps, plane / taps);
        let mut at = 0;
        for a in 0..n {
            let from =
                step / per_step[a] % steps[a] * strides[a] + tap / per_tap[a] % block[a] * dilations[a];
            match from.checked_sub(pads[a]).filter(|&p| p < image[a]) {
                Some(p) => at += p * per_pixel[a],
                None => return all as i64,
            }
        }
        ((lead * channels + channel) * pixels + at) as i64
    };
    let count = len(&shape)?;
    let places = b.constant(Tensor::i64(&[count], (0..count).map(place).collect()));
    let field = b.constant(Tensor::zeros(b.operand(0)?.dtype, &[all + 1]));
    let x = b.input(0)?;
    let x = b.reshape(&x, &[count]);
    let y = b.with("ScatterFlat", &[&field, &places, &x], vec![attr("reduction", Attr::Str("add".into()))]);
    let y = b.slice(&y, 0, 0, all as i64, 1);
    let y = b.reshape(&y, &[&[batch, channels], image.as_slice()].concat());
    b.finish(vec![y])
}
