//! Operators on integers with scales beside them: what they mean in real numbers, between a DequantizeLinear for
//! each operand and a QuantizeLinear for the result, which later become integers again.

use super::build::{Builder, Expanded, attr, int};
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::refuse;
use crate::tensor::{DType, Tensor};

/// Operand `i` as reals, by the scale and the zero point behind it.
fn real(b: &mut Builder<'_>, i: usize, axis: Option<i64>) -> Result<String> {
    let (x, scale) = (b.input(i)?, b.input(i + 1)?);
    let mut inputs = vec![x, scale];
    if b.optional(i + 2).is_some() {
        inputs.push(b.input(i + 2)?);
    }
    let wide = b.operand(i + 1)?.shape.iter().product::<usize>() > 1;
    let attrs = axis.filter(|_| wide).map(|a| int("axis", a)).into_iter().collect();
    // A scale of one element is that of the whole tensor, whatever its shape.
    for (j, input) in inputs.iter_mut().enumerate().skip(1) {
        if !wide && !b.operand(i + j)?.shape.is_empty() {
            *input = b.reshape(input, &[]);
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(b.with("DequantizeLinear", &inputs, attrs))
}

/// A result by the scale and the zero point at inputs `i` and `i + 1`.
fn stored(b: &mut Builder<'_>, y: &str, i: usize) -> Result<String> {
    let mut inputs = vec![y.to_string()];
    for j in i..=i + 1 {
        if b.optional(j).is_some() {
            let input = b.input(j)?;
            let single =
                b.operand(j)?.shape.iter().product::<usize>() == 1 && !b.operand(j)?.shape.is_empty();
            inputs.push(if single { b.reshape(&input, &[]) } else { input });
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(b.op("QuantizeLinear", &inputs))
}

pub(super) fn mat_mul(mut b: Builder<'_>) -> Result<Expanded> {
    let columns = b.shape(3)?.len() as i64 - 1;
    let (x, w) = (real(&mut b, 0, None)?, real(&mut b, 3, Some(columns))?);
    let y = b.op("MatMul", &[&x, &w]);
    let y = stored(&mut b, &y, 6)?;
    b.finish(vec![y])
}

/// What a convolution says of its windows.
fn windows(b: &Builder<'_>) -> Result<Vec<(String, Attr)>> {
    let mut attrs = Vec::new();
    for name in ["strides", "pads", "dilations", "kernel_shape"] {
        attrs.extend(b.cx.ints(name)?.map(|v| attr(name, Attr::Ints(v.to_vec()))));
    }
    attrs.push(int("group", b.cx.int_or("group", 1)?));
    attrs.push(attr("auto_pad", Attr::Str(b.cx.str_or("auto_pad", "NOTSET")?.into())));
    Ok(attrs)
}

pub(super) fn conv(mut b: Builder<'_>) -> Result<Expanded> {
    let attrs = windows(&b)?;
    let (x, w) = (real(&mut b, 0, None)?, real(&mut b, 3, Some(0))?);
    let mut inputs = vec![x, w];
    if b.optional(8).is_some() {
        // The bias has the scale of the products.
        let (bias, a, c) = (b.input(8)?, b.input(1)?, b.input(4)?);
        let (a, c) = (b.reshape(&a, &[]), c);
        let mut scale = b.op("Mul", &[&a, &c]);
        let wide = b.operand(4)?.shape.iter().product::<usize>() > 1;
        let attrs = if wide { vec![int("axis", 0)] } else { Vec::new() };
        if !wide {
            scale = b.reshape(&scale, &[]);
        }
        inputs.push(b.with("DequantizeLinear", &[&bias, &scale], attrs));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let y = b.with("Conv", &inputs, attrs);
    let y = stored(&mut b, &y, 6)?;
    b.finish(vec![y])
}

/// Integers less their zero point, as floats.
fn shifted(b: &mut Builder<'_>, i: usize, zero: usize, along: Option<(usize, usize)>) -> Result<String> {
    let x = b.input(i)?;
    let x = b.cast(&x, DType::F32);
    let Some(point) = b.optional(zero) else { return Ok(x) };
    let name = b.input(zero)?;
    let mut name = b.cast(&name, DType::F32);
    let n: usize = point.shape.iter().product();
    if let (Some((axis, rank)), true) = (along, n > 1) {
        let mut shape = vec![1; rank];
        shape[axis] = n;
        name = b.reshape(&name, &shape);
    }
    Ok(b.op("Sub", &[&x, &name]))
}

/// So many products of 8 by 8 bits have a sum that single precision holds exactly.
const EXACT: usize = 256;

/// Exact while partial sums stay below 2^24; these are added as integers.
pub(super) fn mat_mul_integer(mut b: Builder<'_>) -> Result<Expanded> {
    let (left, right) = (b.shape(0)?, b.shape(1)?);
    let (rank, wide) = (left.len(), right.len());
    if rank < 2 || wide < 2 {
        return Err(refuse(format!("has operands of shapes {left:?} and {right:?}")));
    }
    let a = shifted(&mut b, 0, 2, Some((rank - 2, rank)))?;
    let c = shifted(&mut b, 1, 3, Some((wide - 1, wide)))?;
    let inner = left[rank - 1];
    let mut sum: Option<String> = None;
    for start in (0..inner.max(1)).step_by(EXACT) {
        let end = (start + EXACT).min(inner) as i64;
        let (x, y) = if inner <= EXACT {
            (a.clone(), c.clone())
        } else {
            (b.slice(&a, rank - 1, start as i64, end, 1), b.slice(&c, wide - 2, start as i64, end, 1))
        };
        let part = b.op("MatMul", &[&x, &y]);
        let part = b.cast(&part, DType::I32);
        sum = Some(sum.map_or(part.clone(), |sum| b.op("Add", &[&sum, &part])));
    }
    let y = sum.ok_or_else(|| refuse("multiplies nothing"))?;
    b.finish(vec![y])
}

pub(super) fn conv_integer(mut b: Builder<'_>) -> Result<Expanded> {
    let attrs = windows(&b)?;
    let weights = b.shape(1)?;
    if weights.iter().skip(1).product::<usize>() > EXACT {
        return Err(refuse("sums more than 256 products, beyond what floats hold exactly"));
    }
    let x = shifted(&mut b, 0, 2, None)?;
    let w = shifted(&mut b, 1, 3, Some((0, weights.len())))?;
    let y = b.with("Conv", &[&x, &w], attrs);
    let y = b.cast(&y, DType::I32);
    b.finish(vec![y])
}

/// Scale and zero point from the least and the greatest element.
pub(super) fn dynamic(mut b: Builder<'_>) -> Result<Expanded> {
    let x = b.input(0)?;
    let axes: Vec<usize> = (0..b.shape(0)?.len()).collect();
    let (least, most) = (b.reduce("ReduceMin", &x, &axes), b.reduce("ReduceMax", &x, &axes));
    let (least, most) = (b.reshape(&least, &[]), b.reshape(&most, &[]));
    let zero = b.float(0.0);
    let (least, most) = (b.op("Min", &[&least, &zero]), b.op("Max", &[&most, &zero]));
    let range = b.op("Sub", &[&most, &least]);
    let steps = b.float(255.0);
    let scale = b.op("Div", &[&range, &steps]);
    let below = b.op("Sub", &[&zero, &least]);
    let point = b.op("Div", &[&below, &scale]);
    let point = b.op("Round", &[&point]);
    let hi = b.constant(Tensor::f32(&[], vec![255.0]));
    let point = b.op("Min", &[&point, &hi]);
    let shown = b.cast(&point, DType::U8);
    let y = b.op("Div", &[&x, &scale]);
    let y = b.op("Round", &[&y]);
    let y = b.op("Add", &[&y, &point]);
    let y = b.op("Max", &[&y, &zero]);
    let y = b.op("Min", &[&y, &hi]);
    let y = b.cast(&y, DType::U8);
    b.finish(vec![y, scale, shown])
}

/// One real operator between integers: operands with scale and zero point each, behind them those of the result.
fn between(mut b: Builder<'_>, operands: usize, op: &str, attrs: Vec<(String, Attr)>) -> Result<Expanded> {
    let mut names = Vec::with_capacity(operands);
    for i in 0..operands {
        names.push(real(&mut b, 3 * i, None)?);
    }
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    let y = b.with(op, &inputs, attrs);
    let y = stored(&mut b, &y, 3 * operands)?;
    b.finish(vec![y])
}

pub(super) fn add(b: Builder<'_>) -> Result<Expanded> {
    between(b, 2, "Add", Vec::new())
}

pub(super) fn mul(b: Builder<'_>) -> Result<Expanded> {
    between(b, 2, "Mul", Vec::new())
}

pub(super) fn sigmoid(b: Builder<'_>) -> Result<Expanded> {
    between(b, 1, "Sigmoid", Vec::new())
}

pub(super) fn leaky_relu(b: Builder<'_>) -> Result<Expanded> {
    let alpha = attr("alpha", Attr::Float(b.cx.float_or("alpha", 0.01)?));
    between(b, 1, "LeakyRelu", vec![alpha])
}

pub(super) fn average_pool(b: Builder<'_>) -> Result<Expanded> {
    let mut attrs = windows(&b)?;
    attrs.retain(|(name, _)| name != "group" && name != "dilations");
    for name in ["ceil_mode", "count_include_pad"] {
        attrs.push(int(name, b.cx.int_or(name, 0)?));
    }
    pooled(b, "AveragePool", attrs)
}

pub(super) fn global_average_pool(b: Builder<'_>) -> Result<Expanded> {
    pooled(b, "GlobalAveragePool", Vec::new())
}

/// A pool between integers, whose channels may stand last.
fn pooled(mut b: Builder<'_>, op: &str, attrs: Vec<(String, Attr)>) -> Result<Expanded> {
    let rank = b.shape(0)?.len();
    if b.cx.int_or("channels_last", 0)? == 0 || rank < 3 {
        return between(b, 1, op, attrs);
    }
    let x = real(&mut b, 0, None)?;
    let front: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let back: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let x = b.transpose(&x, &front);
    let y = b.with(op, &[&x], attrs);
    let y = b.transpose(&y, &back);
    let y = stored(&mut b, &y, 3)?;
    b.finish(vec![y])
}

/// Before operator set 13 all axes from one on are one.
pub(super) fn softmax(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let flat = b.cx.int_or("opset", 13)? < 13;
    let given = b.cx.int_or("axis", if flat { 1 } else { -1 })?;
    let at = crate::ops::check::axis(given, shape.len())?;
    let mut y = real(&mut b, 0, None)?;
    if flat {
        y = b.reshape(&y, &[shape[..at].iter().product(), shape[at..].iter().product()]);
        y = b.with("Softmax", &[&y], vec![int("axis", 1)]);
        y = b.reshape(&y, &shape);
    } else {
        y = b.with("Softmax", &[&y], vec![int("axis", at as i64)]);
    }
    let y = stored(&mut b, &y, 3)?;
    b.finish(vec![y])
}

/// The result's scale comes first, and behind it each part with its own.
pub(super) fn concat(mut b: Builder<'_>) -> Result<Expanded> {
    let axis = b.cx.int("axis")?.ok_or_else(|| refuse("`axis` is missing"))?;
    let mut names = Vec::new();
    for i in (2..b.cx.inputs.len()).step_by(3) {
        names.push(real(&mut b, i, None)?);
    }
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    let y = b.with("Concat", &inputs, vec![int("axis", axis)]);
    let y = stored(&mut b, &y, 0)?;
    b.finish(vec![y])
}

/// A product with a bias whose scale is that of the products.
pub(super) fn gemm(mut b: Builder<'_>) -> Result<Expanded> {
    let turned = b.cx.int_or("transB", 0)? != 0;
    let alpha = b.cx.float_or("alpha", 1.0)?;
    let (x, w) = (real(&mut b, 0, None)?, real(&mut b, 3, Some(if turned { 0 } else { 1 }))?);
    let mut inputs = vec![x, w];
    if b.optional(6).is_some() {
        let (bias, a, c) = (b.input(6)?, b.input(1)?, b.input(4)?);
        let a = b.reshape(&a, &[]);
        let mut scale = b.op("Mul", &[&a, &c]);
        if alpha != 1.0 {
            let alpha = b.float(alpha);
            scale = b.op("Mul", &[&scale, &alpha]);
        }
        let wide = b.operand(4)?.shape.iter().product::<usize>() > 1;
        let last = b.shape(6)?.len() as i64 - 1;
        let attrs = if wide { vec![int("axis", last)] } else { Vec::new() };
        if !wide {
            scale = b.reshape(&scale, &[]);
        }
        inputs.push(b.with("DequantizeLinear", &[&bias, &scale], attrs));
    }
    let attrs = vec![
        int("transA", b.cx.int_or("transA", 0)?),
        int("transB", turned.into()),
        attr("alpha", Attr::Float(alpha)),
    ];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let y = b.with("Gemm", &inputs, attrs);
    // Without a scale of its own the result is real.
    let y = if b.optional(7).is_some() { stored(&mut b, &y, 7)? } else { y };
    b.finish(vec![y])
}
