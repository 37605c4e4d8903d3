//! Elementwise operators with NumPy broadcasting, in float, in integers, and quantized.

use super::nest::{Nest, broadcast, signed};
use super::{Cx, Loc, quantize};
use crate::error::Result;
use crate::graph::Clamp;
use crate::kernel::{Access, Expr, KernelBuilder, Ty, float, long};
use crate::program::Arg;
use crate::tensor::{DType, Data};

/// `op_s8` and the like: the house's names of kernels.
pub(crate) fn named(op: &str, elem: DType) -> String {
    let suffix = match elem {
        DType::I8 => "s8",
        DType::I16 => "s16",
        DType::I32 => "s32",
        DType::I64 => "s64",
        other => other.name(),
    };
    format!("{op}_{suffix}")
}

/// The fused activation on a float or integer expression, in `max`, `min` order.
pub(crate) fn clamped(value: Expr, clamp: Clamp, elem: DType) -> Expr {
    let mut value = value;
    let lit = |x: f32| -> Expr {
        match Ty::of(elem) {
            Ty::F32 => float(x),
            _ => long(x as i64),
        }
    };
    if clamp.lo > f32::NEG_INFINITY {
        value = value.max(lit(clamp.lo));
    }
    if clamp.hi < f32::INFINITY {
        value = value.min(lit(clamp.hi));
    }
    value
}

/// A table of 256 bytes by `stored + 128`, for a function of reals between two quantized
/// values: dequantize, apply, clamp, quantize half to even, all in f32 as ONNX has it.
pub(crate) fn map_table(
    cx: &mut Cx<'_>,
    from: &Loc,
    to: &Loc,
    f: impl FnOnce(&[f32]) -> Vec<f32>,
) -> Result<Arg> {
    let (Some((si, zi)), Some((so, zo))) = (from.affine(), to.affine()) else {
        return Err(cx.unsupported("is quantized per channel or on one side only"));
    };
    if from.elem != DType::I8 || to.elem != DType::I8 {
        return Err(cx.unsupported("only 8-bit quantized values are supported"));
    }
    let clamp = cx.clamp();
    let reals: Vec<f32> = (-128..=127).map(|q| (q - zi) as f32 * si).collect();
    let stored = |y: f32| quantize(y.max(clamp.lo).min(clamp.hi), so, zo, -128, 127) as i8;
    let table = f(&reals).into_iter().map(stored).collect();
    Ok(cx.constant("table", Data::I8(table), 1))
}

/// A function of one operand, float or integer, by `f` on the loaded element.
pub(crate) fn unary(cx: &mut Cx<'_>, name: &str, f: impl Fn(&mut KernelBuilder, Expr) -> Expr) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let nest = Nest::new(&y.shape, &[signed(&y.strides), signed(&x.strides)]);
    let mut k = KernelBuilder::new(named(name, y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let value = f(k, from.at(&at[1]));
        k.store(to, &at[0], clamped(value, clamp, y.elem));
    });
    cx.step(k.finish()?, vec![x.arg, y.arg])
}

/// A function of two operands with broadcasting, float or integer.
pub(crate) fn binary(
    cx: &mut Cx<'_>,
    name: &str,
    f: impl Fn(&mut KernelBuilder, Expr, Expr) -> Expr,
) -> Result<()> {
    let (a, b, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let nest = Nest::new(
        &y.shape,
        &[
            signed(&y.strides),
            broadcast(&a.shape, &a.strides, &y.shape),
            broadcast(&b.shape, &b.strides, &y.shape),
        ],
    );
    let mut k = KernelBuilder::new(named(name, y.elem));
    let x0 = a.param(&mut k, "a", Access::Read);
    let x1 = b.param(&mut k, "b", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let value = f(k, x0.at(&at[1]), x1.at(&at[2]));
        k.store(to, &at[0], clamped(value, clamp, y.elem));
    });
    cx.step(k.finish()?, vec![a.arg, b.arg, y.arg])
}
