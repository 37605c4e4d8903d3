//! Normalizations: differences to a mean, divided by what they are like.

use super::build::{Builder, Expanded, attr, int};
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::{axes, axis, refuse, size, sizes};
use crate::tensor::{DType, Tensor};

/// What is normalized over axes, with the mean and the deviation.
struct Normal {
    value: String,
    mean: String,
    deviation: String,
}

fn normal(b: &mut Builder<'_>, x: &str, axes: &[usize], epsilon: f32) -> Normal {
    let mean = b.reduce("ReduceMean", x, axes);
    let difference = b.op("Sub", &[x, &mean]);
    let square = b.op("Mul", &[&difference, &difference]);
    let variance = b.reduce("ReduceMean", &square, axes);
    let epsilon = b.float(epsilon);
    let variance = b.op("Add", &[&variance, &epsilon]);
    let deviation = b.op("Sqrt", &[&variance]);
    let value = b.op("Div", &[&difference, &deviation]);
    Normal { value, mean, deviation }
}

/// Times a scale, plus a bias if there is one; both reshaped first where a shape is given.
fn scaled(b: &mut Builder<'_>, mut y: String, shape: Option<&[usize]>) -> Result<String> {
    for (i, op) in [(1, "Mul"), (2, "Add")] {
        if b.optional(i).is_some() {
            let mut by = b.input(i)?;
            if let Some(shape) = shape {
                by = b.reshape(&by, shape);
            }
            y = b.op(op, &[&y, &by]);
        }
    }
    Ok(y)
}

pub(super) fn layer(mut b: Builder<'_>) -> Result<Expanded> {
    let rank = b.shape(0)?.len();
    let first = axis(b.cx.int_or("axis", -1)?, rank)?;
    let epsilon = b.cx.float_or("epsilon", 1e-5)?;
    let x = b.input(0)?;
    b.input(1)?;
    let over: Vec<usize> = (first..rank).collect();
    let n = normal(&mut b, &x, &over, epsilon);
    let y = scaled(&mut b, n.value, None)?;
    let mut results = vec![y];
    if b.wanted(1) || b.wanted(2) {
        let inverse = b.op("Reciprocal", &[&n.deviation]);
        results.extend([n.mean, inverse]);
    }
    b.finish(results)
}

pub(super) fn root_mean_square(mut b: Builder<'_>) -> Result<Expanded> {
    let rank = b.shape(0)?.len();
    let first = axis(b.cx.int_or("axis", -1)?, rank)?;
    let epsilon = b.cx.float_or("epsilon", 1e-5)?;
    let (x, scale) = (b.input(0)?, b.input(1)?);
    let square = b.op("Mul", &[&x, &x]);
    let mean = b.reduce("ReduceMean", &square, &(first..rank).collect::<Vec<_>>());
    let epsilon = b.float(epsilon);
    let mean = b.op("Add", &[&mean, &epsilon]);
    let root = b.op("Sqrt", &[&mean]);
    let y = b.op("Div", &[&x, &root]);
    let y = b.op("Mul", &[&y, &scale]);
    b.finish(vec![y])
}

/// The channels' shape beside that of a tensor of so many axes.
fn channels(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|a| if a == 1 { shape[1] } else { 1 }).collect()
}

pub(super) fn instance(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    if shape.len() < 3 {
        return Err(refuse("has no spatial axis"));
    }
    let x = b.input(0)?;
    let epsilon = b.cx.float_or("epsilon", 1e-5)?;
    let n = normal(&mut b, &x, &(2..shape.len()).collect::<Vec<_>>(), epsilon);
    let y = scaled(&mut b, n.value, Some(&channels(&shape)))?;
    b.finish(vec![y])
}

/// In groups of channels; operator set 18 scales by group, later ones by channel.
pub(super) fn group(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let groups = size(b.cx.int("num_groups")?.unwrap_or(0), "the number of groups")?;
    if shape.len() < 3 || groups == 0 || shape[1] % groups != 0 {
        return Err(refuse(format!("an input of shape {shape:?} does not part into {groups} groups")));
    }
    let x = b.input(0)?;
    let epsilon = b.cx.float_or("epsilon", 1e-5)?;
    let rest: usize = shape[1..].iter().product::<usize>() / groups;
    let parted = b.reshape(&x, &[shape[0], groups, rest]);
    let n = normal(&mut b, &parted, &[2], epsilon);
    let y = if b.cx.opset < 21 {
        let y = scaled(&mut b, n.value, Some(&[1, groups, 1]))?;
        b.reshape(&y, &shape)
    } else {
        let y = b.reshape(&n.value, &shape);
        scaled(&mut b, y, Some(&channels(&shape)))?
    };
    b.finish(vec![y])
}

pub(super) fn mean_variance(mut b: Builder<'_>) -> Result<Expanded> {
    let rank = b.shape(0)?.len();
    let over = axes(b.cx.ints("axes")?.unwrap_or(&[0, 2, 3]), rank)?;
    let x = b.input(0)?;
    let mean = b.reduce("ReduceMean", &x, &over);
    let difference = b.op("Sub", &[&x, &mean]);
    let square = b.op("Mul", &[&difference, &difference]);
    let variance = b.reduce("ReduceMean", &square, &over);
    let deviation = b.op("Sqrt", &[&variance]);
    let least = b.float(1e-9);
    let deviation = b.op("Add", &[&deviation, &least]);
    let y = b.op("Div", &[&difference, &deviation]);
    b.finish(vec![y])
}

/// Divided by a norm along an axis; where that is zero, so is the result.
pub(super) fn norm(mut b: Builder<'_>) -> Result<Expanded> {
    let at = axis(b.cx.int_or("axis", -1)?, b.shape(0)?.len())?;
    let op = match b.cx.int_or("p", 2)? {
        1 => "ReduceL1",
        2 => "ReduceL2",
        other => return Err(refuse(format!("has the norm {other}"))),
    };
    let x = b.input(0)?;
    let norm = b.reduce(op, &x, &[at]);
    let least = b.float(1e-30);
    let norm = b.op("Max", &[&norm, &least]);
    let y = b.op("Div", &[&x, &norm]);
    b.finish(vec![y])
}

/// Divided by a power of the squares of the channels around: their mean over a window along the channels.
pub(super) fn local_response(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let window = size(b.cx.int("size")?.unwrap_or(0), "the window")?;
    if shape.len() < 2 || window == 0 {
        return Err(refuse(format!("a window of {window} channels of an input of shape {shape:?}")));
    }
    let (alpha, beta) = (b.cx.float_or("alpha", 1e-4)?, b.cx.float_or("beta", 0.75)?);
    let bias = b.cx.float_or("bias", 1.0)?;
    let x = b.input(0)?;
    let square = b.op("Mul", &[&x, &x]);
    let rest: usize = shape[2..].iter().product();
    let rows = b.reshape(&square, &[shape[0], 1, shape[1], rest]);
    let before = (window - 1) / 2;
    let attrs = vec![
        attr("kernel_shape", Attr::Ints(vec![window as i64, 1])),
        attr("pads", Attr::Ints(vec![before as i64, 0, (window - 1 - before) as i64, 0])),
        int("count_include_pad", 1),
    ];
    let mean = b.with("AveragePool", &[&rows], attrs);
    let mean = b.reshape(&mean, &shape);
    let (alpha, bias, beta) = (b.float(alpha), b.float(bias), b.float(beta));
    let scaled = b.op("Mul", &[&mean, &alpha]);
    let scaled = b.op("Add", &[&scaled, &bias]);
    let by = b.op("Pow", &[&scaled, &beta]);
    let y = b.op("Div", &[&x, &by]);
    b.finish(vec![y])
}

/// The norm of each window: a depthwise convolution of ones over powers.
pub(super) fn pool(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let kernel = sizes(b.cx.ints("kernel_shape")?.unwrap_or(&[]), "a size of the window")?;
    if shape.len() < 3 || kernel.len() != shape.len() - 2 {
        return Err(refuse(format!("a window of {kernel:?} does not fit an input of shape {shape:?}")));
    }
    if b.cx.int_or("ceil_mode", 0)? != 0 {
        return Err(refuse("rounds its size up, which is not supported"));
    }
    let p = b.cx.int_or("p", 2)?;
    if !(1..=64).contains(&p) {
        return Err(refuse(format!("has the norm {p}")));
    }
    let x = b.input(0)?;
    let size = b.op("Abs", &[&x]);
    let exponent = b.float(p as f32);
    let powers = if p == 1 { size } else { b.op("Pow", &[&size, &exponent]) };
    let ones: usize = kernel.iter().product::<usize>().saturating_mul(shape[1]);
    crate::ops::check::len(&[&[shape[1]], kernel.as_slice()].concat())?;
    let weights = [&[shape[1], 1], kernel.as_slice()].concat();
    let weights = b.constant(Tensor::f32(&weights, vec![1.0; ones]));
    let mut attrs = vec![int("group", shape[1] as i64)];
    for name in ["strides", "pads", "dilations"] {
        attrs.extend(b.cx.ints(name)?.map(|v| attr(name, Attr::Ints(v.to_vec()))));
    }
    attrs.push(attr("auto_pad", Attr::Str(b.cx.str_or("auto_pad", "NOTSET")?.into())));
    let sum = b.with("Conv", &[&powers, &weights], attrs);
    let root = b.float(1.0 / p as f32);
    let y = if p == 1 { sum } else { b.op("Pow", &[&sum, &root]) };
    if b.operand(0)?.dtype != DType::F32 {
        return Err(refuse("the input is not float"));
    }
    b.finish(vec![y])
}
