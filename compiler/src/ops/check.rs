//! What operator files check and normalise: operand counts, types, axes, sizes.
//!
//! Law: nothing here panics, whatever numbers an adversarial file holds.

use super::{Narrow, Operand, Operator, ValueType};
use crate::error::{Error, Result, Site};
use crate::tensor::{DType, Tensor};

/// No tensor may have more elements: far beyond any microcontroller, far below what would
/// exhaust the machine that compiles.
pub(crate) const MAX_ELEMENTS: usize = 1 << 26;

pub(crate) fn refuse(message: impl Into<String>) -> Error {
    Error::model(Site::Whole, message)
}

/// The operand at `index`; refuses when it is missing, or so large that strides would overflow.
pub(crate) fn operand<'a>(inputs: &[Option<Operand<'a>>], index: usize) -> Result<Operand<'a>> {
    let operand = optional(inputs, index).ok_or_else(|| refuse(format!("input {index} is missing")))?;
    len(operand.shape)?;
    Ok(operand)
}

/// The operand at `index`, `None` when left out.
pub(crate) fn optional<'a>(inputs: &[Option<Operand<'a>>], index: usize) -> Option<Operand<'a>> {
    inputs.get(index).copied().flatten()
}

/// The tensor at `index`; refuses when it is missing.
pub(crate) fn tensor<'a>(inputs: &[Option<&'a Tensor>], index: usize) -> Result<&'a Tensor> {
    inputs.get(index).copied().flatten().ok_or_else(|| refuse(format!("input {index} is missing")))
}

/// The elements of a float tensor.
pub(crate) fn floats(tensor: &Tensor) -> Result<&[f32]> {
    tensor.as_f32().ok_or_else(|| refuse(format!("an input has type {} instead of float", tensor.dtype())))
}

/// Refuses more operands than the operator takes.
pub(crate) fn at_most(inputs: &[Option<Operand<'_>>], max: usize) -> Result<()> {
    if inputs.len() > max {
        return Err(refuse(format!("has {} inputs, at most {max} are defined", inputs.len())));
    }
    Ok(())
}

/// Checks tensors as `infer` checks operands, and gives the types of the results.
pub(crate) fn infer_tensors<O: Operator>(op: &O, inputs: &[Option<&Tensor>]) -> Result<Vec<ValueType>> {
    let operands: Vec<Option<Operand<'_>>> = inputs
        .iter()
        .map(|t| t.map(|t| Operand { dtype: t.dtype(), shape: t.shape(), data: Some(t) }))
        .collect();
    op.infer(&operands)
}

/// Checks tensors as `infer` checks operands, and gives the shape of the first result.
pub(crate) fn result_shape<O: Operator>(op: &O, inputs: &[Option<&Tensor>]) -> Result<Vec<usize>> {
    Ok(infer_tensors(op, inputs)?.into_iter().next().map(|t| t.shape).unwrap_or_default())
}

/// The one result type of an operator; refuses sizes that overflow or exhaust memory.
pub(crate) fn result(dtype: DType, shape: Vec<usize>) -> Result<Vec<ValueType>> {
    Ok(vec![value_type(dtype, shape)?])
}

/// A result type; refuses sizes that overflow or exhaust memory.
pub(crate) fn value_type(dtype: DType, shape: Vec<usize>) -> Result<ValueType> {
    len(&shape)?;
    Ok(ValueType { dtype, shape })
}

/// The number of elements; refuses sizes that overflow or exhaust memory.
pub(crate) fn len(shape: &[usize]) -> Result<usize> {
    // A zero does not hide the size of the other axes: strides are products of those.
    let others = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
    match others {
        Some(n) if n <= MAX_ELEMENTS => Ok(if shape.contains(&0) { 0 } else { n }),
        _ => Err(refuse(format!("a tensor of shape {shape:?} is too large"))
            .help(format!("at most {MAX_ELEMENTS} elements are supported"))),
    }
}

/// A size, count or offset of a file: not negative, and small enough that sums of a few of them
/// cannot overflow.
pub(crate) fn size(value: i64, what: &str) -> Result<usize> {
    usize::try_from(value)
        .ok()
        .filter(|&v| v <= MAX_ELEMENTS)
        .ok_or_else(|| refuse(format!("{what} is {value}, which is negative or too large")))
}

/// [`size`] of every value.
pub(crate) fn sizes(values: &[i64], what: &str) -> Result<Vec<usize>> {
    values.iter().map(|&v| size(v, what)).collect()
}

/// An axis in `-rank..rank`, counted from the front.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64;
    if axis < -r || axis >= r {
        return Err(refuse(format!("axis {axis} does not exist in a tensor of {rank} axes")));
    }
    Ok(if axis < 0 { axis + r } else { axis } as usize)
}

/// Axes counted from the front, sorted; refuses doubles.
pub(crate) fn axes(values: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = values.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<usize>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(refuse(format!("axes {values:?} name one axis twice")));
    }
    Ok(out)
}

/// Checks that axes are sorted, distinct and exist.
pub(crate) fn sorted_axes(axes: &[usize], rank: usize) -> Result<()> {
    if axes.windows(2).any(|w| w[0] >= w[1]) || axes.last().is_some_and(|&a| a >= rank) {
        return Err(refuse(format!("axes {axes:?} do not fit a tensor of {rank} axes")));
    }
    Ok(())
}

pub(crate) fn float(operand: Operand<'_>, what: &str) -> Result<()> {
    if operand.dtype != DType::F32 {
        return Err(refuse(format!("{what} has type {}, only floats are defined", operand.dtype)));
    }
    Ok(())
}

pub(crate) fn numeric(operand: Operand<'_>, what: &str) -> Result<()> {
    if operand.dtype == DType::Bool {
        return Err(refuse(format!("{what} has type bool, only numbers are defined")));
    }
    Ok(())
}

pub(crate) fn same_dtype(a: Operand<'_>, b: Operand<'_>) -> Result<()> {
    if a.dtype != b.dtype {
        return Err(refuse(format!("the inputs have different types, {} and {}", a.dtype, b.dtype)));
    }
    Ok(())
}

/// The number a constant input of one element holds.
pub(crate) fn scalar(tensor: &Tensor, what: &str) -> Result<f64> {
    match tensor.to_f64_vec()[..] {
        [v] if !v.is_nan() => Ok(v),
        [_] => Err(refuse(format!("{what} is not a number"))),
        _ => Err(refuse(format!("{what} has {} elements instead of one", tensor.len()))),
    }
}

/// Our element type for a type number of ONNX (`TensorProto.DataType`).
pub(crate) fn dtype(code: i64) -> Result<DType> {
    Ok(match code {
        1 | 10 | 11 | 16 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        12 => DType::U32,
        13 => DType::U64,
        _ => {
            let what = Narrow::of(code).map_or_else(|| format!("number {code}"), |narrow| narrow.to_string());
            return Err(refuse(format!("the ONNX element type {what} is not supported")));
        }
    })
}

/// The only operand's elements, unchanged, under the shape that the operator infers.
pub(crate) fn relabel<O: Operator>(op: &O, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    let types = infer_tensors(op, inputs)?;
    types.iter().map(|ty| tensor(inputs, 0)?.reshaped(&ty.shape)).collect()
}

/// The mean of floats whose sum is known more precisely. A sum that single precision cannot hold is
/// infinite, as it is where the model runs.
pub(crate) fn mean(sum: f64, count: usize) -> f32 {
    if sum.abs() > f64::from(f32::MAX) { sum as f32 } else { (sum / count as f64) as f32 }
}

/// A product of sizes, saturated.
pub(crate) fn product<'a>(sizes: impl IntoIterator<Item = &'a usize>) -> u64 {
    sizes.into_iter().fold(1, |n: u64, &d| n.saturating_mul(d as u64))
}
