//! Element-wise operators of any number of operands: one nest of loops around a function of the table.
//!
//! In: operands and a result as places. Out: one kernel; a function of one quantized operand is a table of
//! 256 bytes, as every other is.

use super::elementwise::{clamped, map_table, mapped, named};
use super::functions::apply;
use super::{Cx, View};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, KernelBuilder, Ty, float, int, long};
use crate::kernels::axes::{Nest, broadcast, signed};
use crate::ops::chain::Link;
use crate::ops::{Arith, Chain, Lowering, Map, Op, Operator};
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

/// Element-wise operators one after the other, by one kernel.
pub(crate) fn chain(cx: &mut Cx<'_>, op: &Chain) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    if y.quant.is_some() {
        let table = map_table(cx, &x, &y, |reals| {
            let x = Tensor::f32(&[reals.len()], reals.to_vec());
            Ok(op.eval(&[Some(&x)])?.first().map_or(Vec::new(), Tensor::to_f32_vec))
        })?;
        return mapped(cx, &x, &y, table);
    }
    let clamp = cx.clamp();
    let nest = Nest::new(&y.shape, &[signed(&y.strides), signed(&x.strides)]);
    let mut k = KernelBuilder::new("chain_f32");
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    let mut done = Ok(());
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let value: Expr = k.let_("v", from.at(&at[1])).into();
        let mut results: Vec<Expr> = Vec::with_capacity(op.steps.len());
        for (i, step) in op.steps.iter().enumerate() {
            let args: Vec<Expr> = step
                .links
                .iter()
                .map(|link| match link {
                    Link::Input => value.clone(),
                    Link::Step(i) => results[*i].clone(),
                    Link::Number(v) => float(*v),
                })
                .collect();
            match applied(k, &step.op, &args) {
                Ok(of) => results.push(k.let_(&format!("v{i}"), of).into()),
                Err(e) => {
                    done = Err(e);
                    return;
                }
            }
        }
        let last = results.pop().unwrap_or(value);
        k.store(to, &at[0], clamped(last, clamp, y.elem));
    });
    cx.here(done)?;
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

/// A float element-wise operator of expressions.
fn applied(k: &mut KernelBuilder, op: &Op, args: &[Expr]) -> Result<Expr> {
    let arg = |i: usize| {
        args.get(i).cloned().ok_or_else(|| Error::internal(Site::Whole, "a step lacks an operand"))
    };
    let first = arg(0)?;
    Ok(match op.lowering(&[])? {
        Lowering::Unary { function, .. } => function.of(first),
        Lowering::Clip { min, max } => {
            let x = min.map_or(first.clone(), |lo| first.max(float(lo as f32)));
            max.map_or(x.clone(), |hi| x.min(float(hi as f32)))
        }
        Lowering::Binary(arith) => {
            let second = arg(1)?;
            match arith {
                Arith::Add => first + second,
                Arith::Sub => first - second,
                Arith::Mul => first * second,
                Arith::Div => first / second,
            }
        }
        Lowering::Map(map) => {
            let mut all = args.to_vec();
            all.extend(map.tail.iter().map(literal));
            let mut types = vec![DType::F32; args.len()];
            types.extend(map.tail.iter().map(Tensor::dtype));
            apply(k, map, &all, &types)
        }
        _ => return Err(Error::internal(Site::Whole, "a step is no element-wise operator")),
    })
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
