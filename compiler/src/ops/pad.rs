//! Pad: Pads with a constant, an edge, a reflection or a wrap.

use super::check::{at_most, axis, operand, refuse, result, result_shape, scalar, tensor};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering};
use crate::error::Result;
use crate::tensor::{Data, Tensor, row_major_strides};

/// What stands beyond the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

/// Pads with a constant, an edge, a reflection or a wrap.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    pub mode: PadMode,
    /// Begin of each axis, then end of each; negative cuts.
    pub pads: Vec<i64>,
    /// For `PadMode::Constant`.
    pub value: f64,
}

impl Operator for Pad {
    const NAME: &'static str = "Pad";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let mode = match cx.str_or("mode", "constant")? {
            "constant" => PadMode::Constant,
            "edge" => PadMode::Edge,
            "reflect" => PadMode::Reflect,
            "wrap" => PadMode::Wrap,
            other => {
                return Err(refuse(format!("`mode` is `{other}`"))
                    .help("defined are constant, edge, reflect and wrap"));
            }
        };
        if cx.opset < 11 {
            let pads = cx.ints("pads")?.ok_or_else(|| refuse("the pads are missing"))?;
            return Ok(Pad { mode, pads: pads.to_vec(), value: f64::from(cx.float_or("value", 0.0)?) });
        }
        let given = cx.const_ints(1, "pads")?.ok_or_else(|| refuse("the pads are missing"))?;
        let value = cx.const_tensor(2, "value")?.map_or(Ok(0.0), |t| scalar(t, "the value"))?;
        let axes: Vec<usize> = match cx.const_ints(3, "axes")? {
            None => (0..rank).collect(),
            Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
        };
        if given.len() != 2 * axes.len() {
            return Err(refuse(format!("{} pads do not fit {} axes", given.len(), axes.len())));
        }
        let mut pads = vec![0; 2 * rank];
        for (i, &a) in axes.iter().enumerate() {
            pads[a] = given[i];
            pads[rank + a] = given[axes.len() + i];
        }
        Ok(Pad { mode, pads, value })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        let rank = x.shape.len();
        if self.pads.len() != 2 * rank {
            return Err(refuse(format!("{} pads do not fit {rank} axes", self.pads.len())));
        }
        let mut shape = Vec::with_capacity(rank);
        for (a, &n) in x.shape.iter().enumerate() {
            let (begin, end) = (self.pads[a], self.pads[rank + a]);
            if self.mode != PadMode::Constant && (begin < 0 || end < 0 || (n == 0 && begin.max(end) > 0)) {
                return Err(refuse(format!("pads {:?} of shape {:?} need a constant", self.pads, x.shape)));
            }
            let sum = (n as i64).checked_add(begin).and_then(|v| v.checked_add(end));
            // Cutting more than there is would leave an element count below zero.
            let size = sum.and_then(|v| usize::try_from(v).ok());
            let cut = [begin, end].iter().all(|&p| p >= -(n as i64));
            shape.push(size.filter(|_| cut).ok_or_else(|| {
                refuse(format!("pads {:?} do not fit shape {:?}", self.pads, x.shape))
            })?);
        }
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let x = tensor(inputs, 0)?;
        // For every axis, which input position an output position reads; `None` for the constant.
        let sources: Vec<Vec<Option<usize>>> = (0..shape.len())
            .map(|a| (0..shape[a]).map(|o| self.source(o as i64 - self.pads[a], x.shape()[a] as i64)).collect())
            .collect();
        let own = row_major_strides(x.shape());
        let still = vec![0; shape.len()];
        let places = broadcast::Walk::new(&shape, &still, 0).count();
        let mut index = vec![0usize; shape.len()];
        let mut from = Vec::with_capacity(places);
        for _ in 0..places {
            let offset = (0..shape.len()).try_fold(0, |o, a| sources[a][index[a]].map(|i| o + i * own[a]));
            from.push(offset);
            for a in (0..shape.len()).rev() {
                index[a] += 1;
                if index[a] < shape[a] {
                    break;
                }
                index[a] = 0;
            }
        }
        macro_rules! fill {
            ($v:expr, $value:expr) => {
                Data::from(from.iter().map(|o| o.map_or($value, |o| $v[o])).collect::<Vec<_>>())
            };
        }
        let data = match x.data() {
            Data::F32(v) => fill!(v, self.value as f32),
            Data::I8(v) => fill!(v, self.value as i8),
            Data::U8(v) => fill!(v, self.value as u8),
            Data::I16(v) => fill!(v, self.value as i16),
            Data::U16(v) => fill!(v, self.value as u16),
            Data::I32(v) => fill!(v, self.value as i32),
            Data::U32(v) => fill!(v, self.value as u32),
            Data::I64(v) => fill!(v, self.value as i64),
            Data::U64(v) => fill!(v, self.value as u64),
            Data::Bool(v) => fill!(v, self.value != 0.0),
        };
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Pad { mode: self.mode, pads: &self.pads, value: self.value })
    }
}

impl Pad {
    /// The position in an axis of `n` elements that stands at `i`, counted from its first element;
    /// `None` for the constant. `n` is above 0 where `i` lies outside and the mode is another.
    pub(crate) fn source(&self, i: i64, n: i64) -> Option<usize> {
        let inside = match self.mode {
            _ if (0..n).contains(&i) => i,
            PadMode::Constant => return None,
            PadMode::Edge => i.clamp(0, n - 1),
            PadMode::Wrap => i.rem_euclid(n),
            PadMode::Reflect => {
                // To and fro: a period of 2 (n - 1), in which the ends occur once.
                let at = i.rem_euclid((2 * (n - 1)).max(1));
                if at < n { at } else { 2 * (n - 1) - at }
            }
        };
        Some(inside as usize)
    }
}
