//! Pad: Pads with a constant, an edge, a reflection or a wrap.

use super::check::{at_most, axis, operand, refuse, result, scalar};
use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

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

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
