//! Shape: The shape as i64; folded on import.

use crate::error::Result;
use crate::tensor::{DType, Tensor};
use super::check::{at_most, operand, result};
use super::{Operand, Operator, ParseCx, ValueType};

/// The shape as i64; folded on import.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub start: i64,
    pub end: Option<i64>,
}

impl Operator for Shape {
    const NAME: &'static str = "Shape";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Shape { start: cx.int_or("start", 0)?, end: cx.int("end")? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        result(DType::I64, vec![self.range(x.shape.len()).len()])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![self.of(super::check::tensor(inputs, 0)?.shape())])
    }
}

impl Shape {
    /// The result for an operand of `shape`, whose data are not needed.
    pub fn of(&self, shape: &[usize]) -> Tensor {
        let sizes: Vec<i64> = shape[self.range(shape.len())].iter().map(|&d| d as i64).collect();
        Tensor::i64(&[sizes.len()], sizes)
    }
    /// The axes that are told; as Python slices, out of range is clamped.
    fn range(&self, rank: usize) -> std::ops::Range<usize> {
        let r = rank as i64;
        let clamp = |v: i64| (if v < 0 { v.saturating_add(r) } else { v }).clamp(0, r) as usize;
        let (start, end) = (clamp(self.start), self.end.map_or(rank, clamp));
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_both_ends_and_clamps() {
        let of = |start, end| Shape { start, end }.of(&[3, 4, 5]).to_i64_vec();
        assert_eq!(of(0, None), [3, 4, 5]);
        assert_eq!(of(1, None), [4, 5]);
        assert_eq!(of(-1, None), [5]);
        assert_eq!(of(0, Some(-1)), [3, 4]);
        assert_eq!(of(-10, Some(10)), [3, 4, 5]);
        assert!(of(2, Some(1)).is_empty());
        assert_eq!(of(i64::MIN, Some(i64::MAX)), [3, 4, 5]);
    }
}
