//! Nodes whose operands are all known: their results, computed on import.
//!
//! In: an operator, its operands and the types of its results. Out: those results. Law: a constant is refused before
//! it is computed, if it or all of them would be too large.

use crate::error::{Error, Result, Site};
use crate::ops::{Op, Operand, ValueType};
use crate::tensor::Tensor;

/// Bounds on what folding may compute: elements of one constant, and of all together.
pub(super) const MAX_FOLDED: usize = 1 << 24;
pub(super) const MAX_FOLDED_TOTAL: usize = 1 << 26;
/// Multiply-accumulates of one node that may be folded.
const MAX_FOLDED_MACS: u64 = 1 << 30;

/// The results of a node whose operands are all known; `None` for one that runs at run time.
///
/// DequantizeLinear stays although its operand may be known: a quantized model's weights are
/// the stored integers, and `quantize` reads them from there.
pub(super) fn fold(
    op: &Op,
    operands: &[Option<Operand<'_>>],
    types: &[ValueType],
    already: usize,
) -> Result<Option<Vec<Tensor>>> {
    if let (Op::Shape(op), Some(Some(operand))) = (op, operands.first()) {
        // A value known only at run time still has a known shape.
        return Ok(Some(vec![op.of(operand.shape)]));
    }
    let known = operands.iter().flatten().all(|o| o.data.is_some());
    if !known || matches!(op, Op::DequantizeLinear(_)) {
        return Ok(None);
    }
    let elements = types.iter().map(|t| t.shape.iter().product::<usize>()).sum::<usize>();
    let macs = op.macs(operands, types);
    if elements > MAX_FOLDED || already + elements > MAX_FOLDED_TOTAL || macs > MAX_FOLDED_MACS {
        return Err(Error::model(
            Site::Whole,
            format!("computes a constant of {elements} elements, more than can be folded"),
        ));
    }
    let inputs: Vec<Option<&Tensor>> = operands.iter().map(|o| o.and_then(|o| o.data)).collect();
    let results = op.eval(&inputs)?;
    for (result, ty) in results.iter().zip(types) {
        if result.shape() != ty.shape || result.dtype() != ty.dtype {
            return Err(Error::internal(
                Site::Whole,
                format!(
                    "computes {} {:?} where {} {:?} was inferred",
                    result.dtype(),
                    result.shape(),
                    ty.dtype,
                    ty.shape
                ),
            ));
        }
    }
    Ok(Some(results))
}
