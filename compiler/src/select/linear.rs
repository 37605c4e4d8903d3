//! Conv, Dense, Gemm and MatMul of the graph -> products, and what computes them.
//!
//! In: a node and how its values lie. Out: what the core's engine offers for an int8 product with
//! constant weights; where it offers nothing, and for all others, the portable loops.

use super::problem::{conv_offers, dense_offers, geometry, rows};
use super::{Cx, View};
use crate::arith::requant::{Output, requant};
use crate::error::Result;
use crate::kernels::call::Call;
use crate::kernels::epilogue::Finish;
use crate::kernels::offer::{Candidate, DENSE4};
use crate::kernels::portable::conv::{Kernels, conv};
use crate::kernels::portable::dense::dense;
use crate::kernels::portable::matmul::{Addend, Outer, Pair, matmul};
use crate::kernels::problem::{Geometry, pointwise};
use crate::kernels::product::{Product, affine};
use crate::ops;
use crate::tensor::{DType, Data};

impl Cx<'_> {
    /// Appends a call of a kernel that knows no node.
    fn call(&mut self, call: Result<Call>) -> Result<()> {
        let call = self.owned(self.here(call)?);
        self.calls.push(call);
        Ok(())
    }
}

impl Cx<'_> {
    /// Offers portable loops over weights of four bits beside what the engine offers, where it has no
    /// kernel for them itself; where it has nothing, they stand alone if flash is what counts.
    fn offer4(&mut self, product: &Product, call: impl FnOnce() -> Result<Call>) -> Result<()> {
        let known = self.offers.iter().any(|offer| offer.way == DENSE4);
        let wanted = !self.offers.is_empty() || self.want.policy.saves_flash();
        if product.four_bits() && !known && wanted {
            let call = self.here(call())?;
            self.offers.push(Candidate { way: DENSE4, call, workspace: 0 });
        }
        Ok(())
    }
}

/// Conv.
pub(super) fn select_conv(cx: &mut Cx<'_>, op: &ops::Conv) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let weights = cx.need(1)?;
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() || weights.is_empty() {
        return Err(cx.unsupported("convolves an empty tensor"));
    }
    let g = geometry(op, &x, &weights.shape, &y);
    let Some(w) = weights.constant() else {
        return run_time_weights(cx, &g);
    };
    let product = cx.product(w)?;
    let portable = |four: bool| match (pointwise(&g), four) {
        (Some(rows), four) => dense(&rows, &product, four),
        (None, false) => conv(&g, &product, Kernels::Packed),
        (None, true) => conv(&g, &product, Kernels::Packed4),
    };
    if x.quant.is_some() && !cx.portable {
        cx.offers = cx.here(conv_offers(&g, &product, &cx.want))?;
        cx.offer4(&product, || portable(true))?;
    }
    if cx.offers.is_empty() { cx.call(portable(false)) } else { Ok(()) }
}

/// A float convolution whose weights are computed at run time, row-major or not at all.
fn run_time_weights(cx: &mut Cx<'_>, g: &Geometry) -> Result<()> {
    if cx.codes(&[cx.need(0)?, cx.need(1)?, cx.result()?])?.is_some() {
        return Err(cx.unsupported("int8 weights must be known at compile time"));
    }
    let w = cx.input(1)?;
    if w.strides != crate::tensor::row_major_strides(&w.shape) {
        return Err(cx.unsupported("run-time weights must lie row-major"));
    }
    let rows = w.shape[0];
    // The weights only give sizes here; the kernel reads the operands.
    let product = Product::float(&vec![0.0; w.len()], None, rows, cx.clamp());
    let bias = cx.operand(2).is_some();
    cx.call(conv(g, &product, Kernels::Operands { bias }))
}

/// Dense.
pub(super) fn select_dense(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let weights = cx.need(1)?;
    let Some(w) = weights.constant() else {
        return Err(cx.unsupported("its weights are computed at run time"));
    };
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        return Err(cx.unsupported("multiplies an empty tensor"));
    }
    let rows = rows(&x, &y);
    let product = cx.product(w)?;
    if x.quant.is_some() && !cx.portable {
        cx.offers = cx.here(dense_offers(&rows, &product, &cx.want))?;
        cx.offer4(&product, || dense(&rows, &product, true))?;
    }
    if cx.offers.is_empty() { cx.call(dense(&rows, &product, false)) } else { Ok(()) }
}

/// How two run-time factors end: one multiplier, or one per column of the product, which is an
/// index along axis `column` of the second.
fn pair_finish(cx: &Cx<'_>, k: usize, column: usize, alpha: f32) -> Result<([i32; 2], Finish)> {
    let (a, b, y) = (cx.need(0)?, cx.need(1)?, cx.result()?);
    let clamp = cx.clamp();
    let Some(q) = cx.codes(&[a, b, y])? else { return Ok(([0, 0], Finish::Float(clamp))) };
    let (sa, za) = cx.here(affine(q[0]))?;
    let (sy, _) = cx.here(affine(q[2]))?;
    let zb = q[1].zero_point.first().copied().unwrap_or(0);
    let per_column = q[1].axis == Some(column) && b.shape.get(column) == Some(&q[1].scale.len());
    if (q[1].scale.len() > 1 && !per_column) || q[1].zero_point.iter().any(|&z| z != zb) {
        return Err(cx.unsupported("its second factor is quantized along an axis that is summed over"));
    }
    if b.stored() != DType::I8 {
        return Err(cx.unsupported("its second factor is not int8"));
    }
    let real: Vec<f64> = q[1].scale.iter().map(|&sb| sa * f64::from(sb) * f64::from(alpha) / sy).collect();
    let most = (k as i64 * 255 * 255 + 1).min(i64::from(i32::MAX)) as i32;
    let out = cx.here(Output::new(q[2], clamp))?;
    let r = cx.here(requant(&real, &vec![(-most, most); real.len()], out))?;
    Ok(([za, zb], Finish::Int(r)))
}

/// MatMul: matrices in the last two axes, the others broadcast; vectors are one row or column.
pub(super) fn select_matmul(cx: &mut Cx<'_>) -> Result<()> {
    let (a, b, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let axes = |loc: &View, row: bool| -> (Vec<(usize, usize)>, [(usize, usize); 2]) {
        let all: Vec<(usize, usize)> = loc.shape.iter().copied().zip(loc.strides.iter().copied()).collect();
        match all.split_last_chunk::<2>() {
            Some((outer, last)) => (outer.to_vec(), *last),
            None if row => (Vec::new(), [(1, 0), all[0]]),
            None => (Vec::new(), [all[0], (1, 0)]),
        }
    };
    let ((a_outer, [am, ak]), (b_outer, [bk, bn])) = (axes(&a, true), axes(&b, false));
    let (m, k, n) = (am.0, ak.0, bn.0);
    // Result axes after the batch: m unless `a` was a vector, n unless `b` was one.
    let (has_m, has_n) = (a.shape.len() > 1, b.shape.len() > 1);
    let inner = usize::from(has_m) + usize::from(has_n);
    let outer = y.shape.len() - inner;
    let ym = if has_m { y.strides[outer] } else { 0 };
    let yn = if has_n { y.strides[y.strides.len() - 1] } else { 0 };
    let broadcast = |axes: &[(usize, usize)], i: usize| -> usize {
        match (i + axes.len()).checked_sub(outer) {
            Some(j) if axes[j].0 != 1 => axes[j].1,
            _ => 0,
        }
    };
    let batch = (0..outer)
        .map(|i| Outer {
            len: y.shape[i],
            a: broadcast(&a_outer, i),
            b: broadcast(&b_outer, i),
            y: y.strides[i],
        })
        .collect();
    let (zero, finish) = pair_finish(cx, k, b.shape.len().saturating_sub(1), 1.0)?;
    let pair = Pair {
        batch,
        m,
        k,
        n,
        a: [am.1, ak.1],
        b: [bk.1, bn.1],
        y: [ym, yn],
        zero,
        alpha: 1.0,
        add: Addend::None,
        finish,
    };
    cx.call(matmul(&pair))
}

/// Gemm whose factors are both computed at run time (others became Dense).
pub(super) fn select_gemm(cx: &mut Cx<'_>, op: &ops::Gemm) -> Result<()> {
    let (a, b, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let turn = |loc: &View, turned: bool| {
        let (s, d) = (&loc.strides, &loc.shape);
        if turned { ([d[1], d[0]], [s[1], s[0]]) } else { ([d[0], d[1]], [s[0], s[1]]) }
    };
    let (([m, k], sa), ([_, n], sb)) = (turn(&a, op.trans_a), turn(&b, op.trans_b));
    let (zero, finish) = pair_finish(cx, k, usize::from(!op.trans_b), op.alpha)?;
    // An addend of lower rank lies along the last axes; axes of one repeat.
    let spread = |shape: &[usize], strides: &[usize]| -> [usize; 2] {
        let axis = |i: usize| match (i + shape.len()).checked_sub(2) {
            Some(j) if shape[j] != 1 => strides[j],
            _ => 0,
        };
        [axis(0), axis(1)]
    };
    let add = match cx.operand(2).filter(|_| op.beta != 0.0) {
        None => Addend::None,
        Some(c) => match (&finish, c.constant()) {
            (Finish::Float(_), _) => {
                let c = cx.input(2)?;
                let strides = spread(&c.shape, &c.strides);
                Addend::Operand(strides, op.beta)
            }
            (Finish::Int(r), Some(t)) if r.m.len() == 1 => {
                let step = product_step(cx, op.alpha)?;
                let scale = match &c.quant {
                    Some(q) => affine(q).map_err(|e| e.at(cx.node().site()))?,
                    None => (1.0, 0),
                };
                let units = t.to_f64_vec().into_iter().map(|v| {
                    let real = (v - f64::from(scale.1)) * scale.0 * f64::from(op.beta);
                    libm::rint(real / step) as i32
                });
                let strides = spread(&c.shape, &crate::tensor::row_major_strides(&c.shape));
                Addend::Constant(Data::I32(units.collect()), strides)
            }
            _ => return Err(cx.unsupported("an int8 addend must be constant, with one scale")),
        },
    };
    // Integers hold alpha in their multiplier.
    let alpha = if matches!(finish, Finish::Float(_)) { op.alpha } else { 1.0 };
    let strides = [y.strides[0], y.strides[1]];
    let pair = Pair { batch: Vec::new(), m, k, n, a: sa, b: sb, y: strides, zero, alpha, add, finish };
    cx.call(matmul(&pair))
}

/// What one step of an integer product of the operands is worth, `alpha` included.
fn product_step(cx: &Cx<'_>, alpha: f32) -> Result<f64> {
    let mut step = f64::from(alpha);
    for i in 0..2 {
        if let Some(q) = &cx.need(i)?.quant {
            step *= affine(q).map_err(|e| e.at(cx.node().site()))?.0;
        }
    }
    Ok(step)
}
