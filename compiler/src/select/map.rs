//! Element-wise operators of any number of operands: one nest of loops around a function of the table.
//!
//! In: operands and a result as places. Out: one kernel; a function of one quantized operand is a table of
//! 256 bytes, as every other is.

use super::elementwise::{clamped, map_table, mapped, named};
use super::functions::apply;
use super::{Cx, View};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder, Ty, float, int, long};
use crate::kernels::axes::{Nest, broadcast, signed};
use crate::ops::Map;
use crate::tensor::{DType, Tensor};

/// `MatMul` -> `mat_mul`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut low = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && low {
            out.push('_');
        }
        low = c.is_ascii_lowercase();
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A constant of one element as the loop language has it.
fn literal(t: &Tensor) -> Expr {
    let (real, whole) = (t.to_f64_vec(), t.to_i64_vec());
    match Ty::of(t.dtype()) {
        Ty::F32 => float(real[0] as f32),
        Ty::I32 => int(whole[0] as i32),
        Ty::I64 => long(whole[0]),
    }
}

/// The node by one kernel.
pub(crate) fn map(cx: &mut Cx<'_>, op: &Map) -> Result<()> {
    let y = cx.output(0)?;
    if y.is_empty() {
        return Ok(());
    }
    if y.quant.is_some() {
        let x = cx.input(0)?;
        let node = &cx.node().op;
        let table = map_table(cx, &x, &y, |reals| {
            let x = Tensor::f32(&[reals.len()], reals.to_vec());
            Ok(node.eval(&[Some(&x)])?.first().map_or(Vec::new(), Tensor::to_f32_vec))
        })?;
        return mapped(cx, &x, &y, table);
    }
    let inputs: Vec<View> = (0..cx.node().inputs.len()).map(|i| cx.input(i)).collect::<Result<_>>()?;
    if inputs.iter().any(|x| x.quant.is_some()) {
        return Err(cx.unsupported("reads integers of 8 bits and gives others"));
    }
    let clamp = cx.clamp();
    let mut strides = vec![signed(&y.strides)];
    strides.extend(inputs.iter().map(|x| broadcast(&x.shape, &x.strides, &y.shape)));
    let nest = Nest::new(&y.shape, &strides);
    let mut k = KernelBuilder::new(named(&snake(op.function), inputs[0].elem));
    let from: Vec<_> =
        inputs.iter().enumerate().map(|(i, x)| x.param(&mut k, &format!("x{i}"), Access::Read)).collect();
    let to = y.param(&mut k, "y", Access::Write);
    let mut types: Vec<DType> = inputs.iter().map(|x| x.elem).collect();
    types.extend(op.tail.iter().map(Tensor::dtype));
    let bases = vec![int(0); strides.len()];
    nest.write(&mut k, &bases, &mut |k, at| {
        let mut args: Vec<Expr> = Vec::with_capacity(types.len());
        for (i, x) in from.iter().enumerate() {
            args.push(k.let_(&format!("v{i}"), x.at(&at[1 + i])).into());
        }
        args.extend(op.tail.iter().map(literal));
        let value = apply(k, op, &args, &types);
        k.store(to, &at[0], clamped(value, clamp, y.elem));
    });
    let mut args: Vec<_> = inputs.iter().map(|x| x.arg.clone()).collect();
    args.push(y.arg.clone());
    cx.step(k, args)
}
