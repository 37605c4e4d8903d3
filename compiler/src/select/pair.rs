//! Gemm and MatMul of two run-time values.
//!
//! In: a node and how its values lie. Out: the portable loops, and of int8 products what the core's engine has for dense
//! layers: the second factor is laid as weights lie, in the workspace. Law: both ways compute the same, bit by bit.

use super::composite::Composite;
use super::{Cx, PORTABLE, View};
use crate::arith::requant::{Output, requant};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder};
use crate::kernels::axes::Nest;
use crate::kernels::epilogue::Finish;
use crate::kernels::offer::{Candidate, Live, Loaded};
use crate::kernels::portable::matmul::{Addend, Outer, Pair, matmul};
use crate::kernels::problem::{Axis, Rows};
use crate::kernels::product::affine;
use crate::kernels::registry::engine;
use crate::ops;
use crate::tensor::{DType, Data};

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
    multiply(cx, &pair, [&a, &b, &y])
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
    multiply(cx, &pair, [&a, &b, &y])
}

/// The portable loops, and beside them what the core's engine has.
fn multiply(cx: &mut Cx<'_>, pair: &Pair, views: [&View; 3]) -> Result<()> {
    let portable = cx.here(matmul(pair))?;
    match native(cx, pair, views)? {
        Some(offer) => {
            cx.offers = vec![offer, Candidate { way: PORTABLE, call: portable, workspace: 0 }];
            Ok(())
        }
        None => cx.call(Ok(portable)),
    }
}

/// The second factor laid as the core's kernels have weights, once for all rows of the first, in the workspace.
fn native(cx: &Cx<'_>, p: &Pair, views: [&View; 3]) -> Result<Option<Candidate>> {
    let Some(engine) = engine(cx.want.target()).filter(|_| !cx.portable) else { return Ok(None) };
    let (Finish::Int(r), Addend::None) = (&p.finish, &p.add) else { return Ok(None) };
    if r.m.len() != 1 || p.m * p.k * p.n == 0 {
        return Ok(None);
    }
    // Rows whose inputs do not lie side by side are brought together first.
    let apart = p.k > 1 && p.a[1] != 1;
    let [row, input] = if apart { [p.k, 1] } else { p.a };
    let rows = Rows {
        rows: vec![Axis { len: p.m, x: row, y: p.y[0] }],
        inputs: Axis { len: p.k, x: input, y: 0 },
        outputs: Axis { len: p.n, x: 0, y: p.y[1] },
    };
    let live = Live {
        strides: p.b,
        x_zp: p.zero[0],
        w_zp: p.zero[1],
        least: i8::MIN.into(),
        by: r.at(0),
        out: r.out,
        result: DType::I8,
    };
    let Some(Loaded { pack, stream, product }) = cx.here(engine.live(&rows, &live, &cx.want))? else {
        return Ok(None);
    };
    let [a, b, y] = views;
    let mut c = Composite::new("matmul_s8_laid");
    let (from, weights) = (c.port("a", a, Access::Read), c.port("b", b, Access::Read));
    let to = c.port("y", y, Access::Write);
    let laid = c.place("stream", stream.0, stream.1);
    let near = apart.then(|| c.place("rows", DType::I8, p.m * p.k));
    let way = product.way;
    let product = c.inner(cx, "product", (product.call, product.workspace))?;
    // Matrices that all products share are laid before them.
    let once = p.batch.iter().all(|o| o.b == 0 || o.len == 1);
    let lay = |k: &mut KernelBuilder, at: Expr| k.call(&pack, vec![weights.from(at), laid.from(0)]);
    if once {
        lay(&mut c.k, 0.into());
    }
    let lens: Vec<usize> = p.batch.iter().map(|o| o.len).collect();
    let steps: [fn(&Outer) -> usize; 3] = [|o| o.y, |o| o.a, |o| o.b];
    let strides = steps.map(|step| p.batch.iter().map(|o| step(o) as isize).collect::<Vec<_>>());
    Nest::new(&lens, &strides).write(&mut c.k, &[0, 0, 0].map(Expr::from), &mut |k, at| {
        if !once {
            lay(k, at[2].clone());
        }
        let mut first = from.from(at[1].clone());
        if let Some(near) = near {
            k.for_("row", 0, p.m, |k, i| {
                k.for_("input", 0, p.k, |k, l| {
                    k.store(near, i * p.k + l, from.at(&at[1] + i * p.a[0] + l * p.a[1]));
                });
            });
            first = near.from(0);
        }
        product.call(k, &[first, laid.from(0)], to.from(at[0].clone()));
    });
    cx.here(c.offer(way)).map(Some)
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
