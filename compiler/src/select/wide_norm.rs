//! LayerNormalization and RMSNormalization whose operand or result has sixteen bits.
//!
//! In: an operand, a result, the axes that are normalized together, constants of scale and bias. Out: one kernel. It
//! computes what [`super::layer_norm`] does for eight bits, in more: with `V` as there, `V * 4^h` has 61 or 62 bits, of
//! whose upper 32 the root is taken; a normalized value has [`Span::fraction`] bits behind the point, the high word of
//! `((n * q - S) << u) * m`; and a result is `(high(x * G) + B) >> shift`, with `G` of 32 bits.
//!
//! Law: nothing here divides, no branch or loop bound depends on data, and no result is further than a step from the
//! real number.

use super::elementwise::affine_of_either;
use super::layer_norm::{inverse_root, nests, roots};
use super::{Cx, View};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, int, long};
use crate::kernels::rounding::high_word;
use crate::ops::Normalization;
use crate::ops::normalization::Span;
use crate::tensor::{DType, Data};

/// `2^44 / sqrt(v)` of what is left of `spread`, doubled twice until it has 61 or 62 bits, its upper 32 being `v`; and
/// how often that was.
fn root(k: &mut KernelBuilder, spread: Expr, roots: Buf) -> (Val, Val) {
    let mut v = k.let_("spread", spread.max(long(1)));
    let mut doublings = int(0);
    for by in [32, 16, 8, 4, 2] {
        let small = (v - long(1 << (62 - by))) >> 63;
        let by = k.let_("by", small.i32() & by);
        v = k.let_("spread", Expr::from(v) << by);
        doublings = doublings + by;
    }
    let doublings = k.let_("doublings", (doublings >> 1) & 31);
    let upper = k.let_("upper", (v >> 32).i32());
    // One step of Newton's method more, on 30 bits: v * z^2 is 2^88 where z is right.
    let near = inverse_root(k, upper, roots);
    let z = k.let_("near", near.i64() << 14);
    let share = k.let_("share", ((z * z) >> 30) * upper.i64());
    let missing = k.let_("missing", (long(1 << 58) - share) >> 14);
    (k.let_("m", (z + ((missing * z) >> 45)).i32()), doublings)
}

/// What becomes of a normalized value: a scale and a bias of 32 bits for each place, and the shift behind; `None` where
/// a step of the result is less than 32 bits of the value tell.
fn after(gain: &[f64], offset: &[f64], fraction: u32) -> Option<(Vec<i32>, Vec<i32>, u32)> {
    let most = |v: &[f64]| v.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    let (gain_most, offset_most) = (most(gain), most(offset));
    let fits = |shift: &u32| {
        gain_most * libm::ldexp(1.0, (shift + 32 - fraction) as i32) < 2_147_483_000.0
            && (offset_most + 1.0) * libm::ldexp(1.0, *shift as i32) < 536_870_912.0
    };
    let shift = (1..=22u32).rev().find(fits)?;
    let scale = |g: &f64| libm::rint(libm::ldexp(*g, (shift + 32 - fraction) as i32)) as i32;
    let bias = |o: &f64| libm::rint(libm::ldexp(o + 0.5, shift as i32)) as i32;
    Some((gain.iter().map(scale).collect(), offset.iter().map(bias).collect(), shift))
}

/// The node by one kernel.
pub(super) fn layer_norm(
    cx: &mut Cx<'_>,
    op: &Normalization,
    (x, y): (&View, &View),
    scale: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
) -> Result<()> {
    let ((si, zero), (so, zo)) = (affine_of_either(cx, x)?, affine_of_either(cx, y)?);
    let n = op.count(&x.shape);
    let Some(Span { fraction, extra }) = op.span(n, (si, zero)) else {
        return Err(cx.unsupported("normalizes rows whose sums of 16 bits leave 62"));
    };
    let of = |v: Option<Vec<f32>>, usual: f32| v.unwrap_or_else(|| vec![usual; n]);
    let gain: Vec<f64> = of(scale, 1.0).iter().map(|&g| f64::from(g) / so).collect();
    let offset: Vec<f64> = of(bias, 0.0).iter().map(|&b| f64::from(b) / so + f64::from(zo)).collect();
    let Some((gain, offset, shift)) = after(&gain, &offset, fraction) else {
        return Err(cx.unsupported("gives values of which a step is too small for its sums"));
    };
    let (lo, hi) = y.limits(cx.clamp());
    let count = n as i32;

    let (outer, inner) = nests(x, y, &op.axes);
    let name = if op.centred { "layer_norm" } else { "rms_norm" };
    let mut k = KernelBuilder::new(format!("{name}_{}_{}", x.elem, y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let gains = k.buffer("scale", DType::I32, n, Access::Read);
    let biases = k.buffer("bias", DType::I32, n, Access::Read);
    let table = k.buffer("roots", DType::I32, 64, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let first = [at[0].clone(), at[1].clone(), int(0)];
        let (sum, squares) = (k.var("sum", int(0)), k.var("squares", long(0)));
        inner.write(k, &first, &mut |k, at| {
            let q = k.let_("q", from.at(&at[1]));
            k.add_to(sum, q);
            let off: Expr = if op.centred { q.into() } else { q - zero };
            let off = k.let_("off", off);
            k.add_to(squares, off.i64() * off.i64());
        });
        let spread = squares * long(count.into()) + long(extra);
        let spread = if op.centred { spread - sum.i64() * sum.i64() } else { spread };
        let (m, doublings) = root(k, spread, table);
        let total: Expr = if op.centred { sum.into() } else { int(count * zero) };
        let total = k.let_("total", total);
        let up = k.let_("up", (doublings + (fraction as i32 - 28)) & 31);
        inner.write(k, &first, &mut |k, at| {
            let off = k.let_("off", (from.at(&at[1]) * count - total) << up);
            let value = k.let_("value", high_word(off, m));
            let steps = (high_word(value, gains.at(&at[2])) + biases.at(&at[2])) >> shift as i32;
            k.store(to, &at[0], steps.clamp(lo, hi));
        });
    });
    let args = vec![
        x.arg.clone(),
        cx.constant("scale", Data::I32(gain), 4),
        cx.constant("bias", Data::I32(offset), 4),
        cx.constant("roots", roots(), 4),
        y.arg.clone(),
    ];
    cx.step(k, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::call::{Bind, Call};
    use crate::kernels::trial::{Random, run};

    #[test]
    fn roots_are_right_to_27_bits_however_small_the_spread() {
        let mut random = Random(9);
        let mut values: Vec<i64> = (0..61).flat_map(|bits| [1i64 << bits, (2i64 << bits) - 1]).collect();
        values.extend((0..400).map(|i| random.within(1 << 40, 1 << 50) >> (i % 41)));
        let mut k = KernelBuilder::new("root");
        let x = k.buffer("x", DType::I64, values.len(), Access::Read);
        let table = k.buffer("roots", DType::I32, 64, Access::Read);
        let y = k.buffer("y", DType::I32, 2 * values.len(), Access::Write);
        k.for_("i", 0, values.len(), |k, i| {
            let (m, doublings) = root(k, x.at(i), table);
            k.store(y, i * 2, m);
            k.store(y, i * 2 + 1, doublings);
        });
        let args = vec![Bind::Operand(0), Bind::aligned("roots", roots(), 4), Bind::Result(0)];
        let call = Call { kernel: k.finish().unwrap(), args };
        let Data::I32(found) = run(&call, &[Data::I64(values.clone())], DType::I32, 2 * values.len()) else {
            panic!()
        };
        for (v, found) in values.iter().zip(found.chunks(2)) {
            // m = 2^60 / (sqrt(v) * 2^h)
            let want = libm::ldexp(1.0, 60 - found[1]) / libm::sqrt((*v).max(1) as f64);
            let off = (f64::from(found[0]) - want).abs() / want;
            assert!(off <= libm::ldexp(1.0, -27), "{v}: {found:?}, not {want}");
        }
    }

    #[test]
    fn scales_fill_their_bits() {
        let (scale, bias, shift) = after(&[4096.0, -10.0], &[100.0, -32768.0], 24).unwrap();
        assert!(scale[0] > 1 << 29 && bias[1] < -(1 << 24), "{scale:?} {bias:?} {shift}");
        assert_eq!(after(&[1e8], &[0.0], 24), None);
    }
}
