//! What prepares features: scaling, normalizing, filling in, choosing and joining.

use super::super::build::{Builder, Expanded};
use super::{float_input, floats, ints, rows};
use crate::error::Result;
use crate::ops::check::refuse;
use crate::tensor::{DType, Data, Tensor};

/// Refuses a list that is neither one number for all features nor one for each.
fn for_each(name: &str, len: usize, features: usize) -> Result<()> {
    if len == 1 || len == features {
        return Ok(());
    }
    Err(refuse(format!("`{name}` has {len} numbers for {features} features")))
}

fn last_axis(shape: &[usize]) -> Result<usize> {
    shape.last().copied().ok_or_else(|| refuse("the input has no axis of features"))
}

/// `(x - offset) * scale`.
pub(super) fn scale(mut b: Builder<'_>) -> Result<Expanded> {
    let features = last_axis(&b.shape(0)?)?;
    let mut y = float_input(&mut b, 0)?;
    for (name, op) in [("offset", "Sub"), ("scale", "Mul")] {
        let list = floats(&b, name)?;
        if !list.is_empty() {
            for_each(name, list.len(), features)?;
            let by = b.floats(&[list.len()], list)?;
            y = b.op(op, &[&y, &by]);
        }
    }
    b.finish(vec![y])
}

/// Each row divided by its norm; one of norm zero stays.
pub(super) fn normalize(mut b: Builder<'_>) -> Result<Expanded> {
    let rank = b.shape(0)?.len();
    if !(1..=2).contains(&rank) {
        return Err(refuse(format!("the input has {rank} axes instead of rows of features")));
    }
    let axis = [rank - 1];
    let x = float_input(&mut b, 0)?;
    let norm = match b.cx.str_or("norm", "MAX")? {
        "MAX" => b.reduce("ReduceMax", &x, &axis),
        "L1" => {
            let size = b.op("Abs", &[&x]);
            b.reduce("ReduceSum", &size, &axis)
        }
        "L2" => {
            let square = b.op("Mul", &[&x, &x]);
            let sum = b.reduce("ReduceSum", &square, &axis);
            b.op("Sqrt", &[&sum])
        }
        other => return Err(refuse(format!("has the norm `{other}`"))),
    };
    let (none, one) = (b.float(0.0), b.float(1.0));
    let nothing = b.op("Equal", &[&norm, &none]);
    let norm = b.op("Where", &[&nothing, &one, &norm]);
    let y = b.op("Div", &[&x, &norm]);
    b.finish(vec![y])
}

/// Other numbers where one number stands.
pub(super) fn impute(mut b: Builder<'_>) -> Result<Expanded> {
    let (dtype, features) = (b.operand(0)?.dtype, last_axis(&b.shape(0)?)?);
    let x = b.input(0)?;
    let (name, missing, values) = if dtype.is_float() {
        let replaced = b.cx.float_or("replaced_value_float", 0.0)?;
        let missing = if replaced.is_nan() {
            b.op("IsNaN", &[&x])
        } else {
            let replaced = b.float(replaced);
            b.op("Equal", &[&x, &replaced])
        };
        let name = "imputed_value_floats";
        (name, missing, Data::F32(floats(&b, name)?))
    } else {
        let replaced =
            Tensor::new(Vec::new(), Data::from_i64(dtype, &[b.cx.int_or("replaced_value_int64", 0)?]))?;
        let replaced = b.constant(replaced);
        let name = "imputed_value_int64s";
        (name, b.op("Equal", &[&x, &replaced]), Data::from_i64(dtype, ints(&b, name)?))
    };
    for_each(name, values.len(), features)?;
    let values = b.constant(Tensor::new(vec![values.len()], values)?);
    let y = b.op("Where", &[&missing, &values, &x]);
    b.finish(vec![y])
}

/// One above a threshold, else zero.
pub(super) fn binarize(mut b: Builder<'_>) -> Result<Expanded> {
    let dtype = b.operand(0)?.dtype;
    let x = float_input(&mut b, 0)?;
    let threshold = b.float(b.cx.float_or("threshold", 0.0)?);
    let above = b.op("Greater", &[&x, &threshold]);
    let y = b.cast(&above, dtype);
    b.finish(vec![y])
}

/// Features of several inputs side by side, as floats.
pub(super) fn join(mut b: Builder<'_>) -> Result<Expanded> {
    let sizes = ints(&b, "inputdimensions")?;
    let mut parts = Vec::new();
    let mut height = None;
    for i in 0..b.cx.inputs.len() {
        let shape = b.shape(i)?;
        let (rows, features) = match *shape {
            [features] => (1, features),
            [rows, features] => (rows, features),
            _ => return Err(refuse(format!("input {i} has shape {shape:?} instead of rows of features"))),
        };
        if let Some(size) = sizes.get(i).filter(|size| usize::try_from(**size) != Ok(features)) {
            return Err(refuse(format!(
                "`inputdimensions` says {size} of input {i}, which has {features} features"
            )));
        }
        if *height.get_or_insert(rows) != rows {
            return Err(refuse("its inputs have different numbers of rows"));
        }
        let x = float_input(&mut b, i)?;
        parts.push(if shape.len() == 1 { b.reshape(&x, &[1, features]) } else { x });
    }
    if parts.is_empty() {
        return Err(refuse("has no inputs"));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let y = b.concat(&parts, 1);
    b.finish(vec![y])
}

/// Some features of each row, by their numbers.
pub(super) fn extract(mut b: Builder<'_>) -> Result<Expanded> {
    let (shape, index) = (b.shape(0)?, b.operand(1)?);
    last_axis(&shape)?;
    let (x, at) = (b.input(0)?, b.input(1)?);
    let count = index.shape.iter().product();
    let at = if index.dtype == DType::I64 { at } else { b.cast(&at, DType::I64) };
    let at = if index.shape.len() == 1 { at } else { b.reshape(&at, &[count]) };
    let mut y = b.gather(&x, &at, shape.len() - 1);
    if shape.len() == 1 {
        y = b.reshape(&y, &[1, count]);
    }
    b.finish(vec![y])
}

/// Features as rows, checked against what a model's lists are for.
pub(super) fn checked(b: &mut Builder<'_>, want: usize) -> Result<super::Rows> {
    let r = rows(b)?;
    if r.features == want {
        return Ok(r);
    }
    Err(refuse(format!("is for {want} features, and the input has {}", r.features)))
}
