//! Attention, in float and in integers.
//!
//! In: a node. Out: one call that walks over heads, or what else the leading axes are. A row of integer scores is
//!
//! - `L = sat16(requantize(sum((q - zq) * (k - zk))))`, in powers of two with `f` bits behind the point; keys and
//!   values without a zero point are at least -127, as weights of native products are;
//! - `L + mask`, or for a closed key a number far below;
//! - the share of a key `p = (T[d mod 2^f] >> (d / 2^f) + 64) >> 7`, by its distance `d` from the greatest score,
//!   with `T[i] = 127 * 128 * 2^(-i / 2^f)`: 127 for the greatest, and not yet divided by their sum;
//! - `c = sat16(sum(p * (v - zv)) / 2^h)`, with `h` so large that no sum leaves 16 bits;
//! - the result, `c` times the inverse of `sum(p)`.
//!
//! Law: nothing here divides, and no branch or loop bound depends on data.

use super::composite::Composite;
use super::elementwise::{affine, clamped};
use super::softmax::inverse;
use super::{Cx, PORTABLE, View};
use crate::arith::requant::{HIGH_SHIFT, MAX_SHIFT, Multiplier, Output, high, multiplier};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, float, instr, int, long};
use crate::kernels::axes::{Nest, broadcast, step};
use crate::kernels::offer::{Candidate, Live};
use crate::kernels::problem::{Axis, Rows};
use crate::kernels::registry::engine;
use crate::kernels::rounding::{requantize_high_instr, requantize_instr};
use crate::ops::Attention;
use crate::ops::attention::{KEYS, MASK, Mask, QUERIES, VALUES};
use crate::tensor::{DType, Data};

/// What a closed key's score is, whatever bits it has: no share is left of it beside a real score.
const CLOSED: i32 = -(1 << 20);

/// Digits of the inverse of a sum of shares.
const DIGITS: usize = 31;

/// Sizes, and where values stand: `[rows, columns]` of a matrix with its strides.
struct Shape {
    queries: usize,
    keys: usize,
    depth: usize,
    width: usize,
    /// By result, queries, keys, values, mask.
    heads: Nest,
    q: [isize; 2],
    k: [isize; 2],
    v: [isize; 2],
    y: [isize; 2],
    mask: [isize; 2],
}

/// How a mask is read.
enum Masking {
    All,
    /// A buffer of numbers to add.
    Numbers(Buf),
    /// Stored numbers, with their zero point and what brings them to scores.
    Stored(Buf, i32, Multiplier),
    /// A bit that keeps a score, or another score.
    Bits(Buf, bool, Expr),
}

fn shape(x: [&View; 3], mask: Option<&View>, y: &View) -> Shape {
    let [q, k, v] = x;
    let lead = y.shape.len() - 2;
    let whole = |view: &View, last: [usize; 2]| {
        let mut to = y.shape[..lead].to_vec();
        to.extend(last);
        broadcast(&view.shape, &view.strides, &to)
    };
    let (queries, width) = (y.shape[lead], y.shape[lead + 1]);
    let (depth, keys) = (k.shape[k.shape.len() - 2], k.shape[k.shape.len() - 1]);
    let strides = [
        whole(y, [queries, width]),
        whole(q, [queries, depth]),
        whole(k, [depth, keys]),
        whole(v, [keys, width]),
        mask.map_or_else(|| vec![0; lead + 2], |m| whole(m, [queries, keys])),
    ];
    let heads: Vec<Vec<isize>> = strides.iter().map(|s| s[..lead].to_vec()).collect();
    let last = |i: usize| [strides[i][lead], strides[i][lead + 1]];
    Shape {
        queries,
        keys,
        depth,
        width,
        heads: Nest::new(&y.shape[..lead], &heads),
        y: last(0),
        q: last(1),
        k: last(2),
        v: last(3),
        mask: last(4),
    }
}

fn at(base: &Expr, strides: [isize; 2], row: impl Into<Expr>, column: impl Into<Expr>) -> Expr {
    step(step(base.clone(), row.into(), strides[0]), column.into(), strides[1])
}

/// The node by one kernel.
pub(crate) fn attention(cx: &mut Cx<'_>, op: &Attention) -> Result<()> {
    let y = cx.output(0)?;
    if y.is_empty() {
        return Ok(());
    }
    match y.quant {
        None => single(cx, op, &y),
        Some(_) => quantized(cx, op, &y),
    }
}

/// The mask as an operand, where there is one.
fn mask_view(cx: &Cx<'_>, op: &Attention) -> Result<Option<View>> {
    if op.mask == Mask::All { Ok(None) } else { cx.input(MASK).map(Some) }
}

fn single(cx: &mut Cx<'_>, op: &Attention, y: &View) -> Result<()> {
    let (q, k, v) = (cx.input(QUERIES)?, cx.input(KEYS)?, cx.input(VALUES)?);
    let mask = mask_view(cx, op)?;
    let s = shape([&q, &k, &v], mask.as_ref(), y);
    let clamp = cx.clamp();
    let mut b = Composite::new("attention_f32");
    let [from, keys, values] =
        [("q", &q), ("k", &k), ("v", &v)].map(|(name, view)| b.port(name, view, Access::Read));
    let masking = match (&mask, op.mask) {
        (Some(view), Mask::Chosen { kept, otherwise }) => {
            Masking::Bits(b.port("mask", view, Access::Read), kept, float(otherwise))
        }
        (Some(view), _) => Masking::Numbers(b.port("mask", view, Access::Read)),
        (None, _) => Masking::All,
    };
    let to = b.port("y", y, Access::Write);
    let scores = b.place("scores", DType::F32, s.keys);
    let scale = op.scale;
    s.heads.write(&mut b.k, &[0, 0, 0, 0, 0].map(Expr::from), &mut |k, head| {
        k.for_("row", 0, s.queries, |k, row| {
            let top = k.var("top", float(f32::NEG_INFINITY));
            k.for_("key", 0, s.keys, |k, key| {
                let sum = k.var("sum", float(0.0));
                k.for_("i", 0, s.depth, |k, i| {
                    k.add_to(sum, from.at(at(&head[1], s.q, row, i)) * keys.at(at(&head[2], s.k, i, key)));
                });
                let score = sum * scale;
                let place = at(&head[4], s.mask, row, key);
                let score = match &masking {
                    Masking::Numbers(mask) | Masking::Stored(mask, ..) => score + mask.at(place),
                    Masking::Bits(mask, kept, otherwise) => {
                        mask.at(place).equals(i32::from(*kept)).select(score, otherwise.clone())
                    }
                    Masking::All => score,
                };
                let score = k.let_("score", score);
                k.store(scores, key, score);
                k.set(top, top.max(score));
            });
            let total = k.var("total", float(0.0));
            k.for_("key", 0, s.keys, |k, key| {
                let share = k.let_("share", (scores.at(key) - top).exp());
                k.store(scores, key, share);
                k.add_to(total, share);
            });
            k.for_("key", 0, s.keys, |k, key| k.store(scores, key, scores.at(key) / total));
            k.for_("e", 0, s.width, |k, e| {
                let sum = k.var("sum", float(0.0));
                k.for_("key", 0, s.keys, |k, key| {
                    k.add_to(sum, scores.at(key) * values.at(at(&head[3], s.v, key, e)));
                });
                k.store(to, at(&head[0], s.y, row, e), clamped(sum.into(), clamp, DType::F32));
            });
        });
    });
    let offer = cx.here(b.offer(PORTABLE))?;
    cx.offers.push(offer);
    Ok(())
}

/// The numbers of an integer kernel.
struct Numbers {
    /// Bits behind the point of scores.
    bits: u32,
    /// What brings sums of products to scores.
    score: Multiplier,
    zeros: [i32; 3],
    /// Bits that sums over keys lose.
    halvings: u32,
    /// The inverse of a sum of shares: its mantissa, then the shift behind its product and the result.
    mantissa: f64,
    shift: u32,
    out: Output,
}

/// Shares by distance, before they are halved: 127 for none, with seven bits behind the point.
fn shares(bits: u32) -> Data {
    let n = 1 << bits;
    let share = |i: i32| libm::rint(16256.0 * libm::exp2(-f64::from(i) / f64::from(n)));
    Data::I16((0..n).map(|i| share(i) as i16).collect())
}

/// In steps of a power of two with `bits` behind the point.
fn score(real: f64, bits: u32) -> i32 {
    let steps = libm::rint(libm::ldexp(real * std::f64::consts::LOG2_E, bits as i32));
    if steps.is_nan() { CLOSED } else { steps.clamp(f64::from(CLOSED), f64::from(-CLOSED)) as i32 }
}

fn numbers(cx: &Cx<'_>, op: &Attention, s: &Shape, x: [&View; 3], y: &View) -> Result<Numbers> {
    let Some(bits) = op.bits() else {
        return Err(cx.unsupported("has no range of its scores, which calibration samples give"));
    };
    let [q, k, v] = [affine(cx, x[0])?, affine(cx, x[1])?, affine(cx, x[2])?];
    let (so, zo) = affine(cx, y)?;
    let (lo, hi) = y.limits(cx.clamp());
    if s.depth > 1 << 15 {
        return Err(cx.unsupported("sums more than 2^15 products, beyond 32-bit accumulators"));
    }
    let steps = libm::ldexp(q.0 * k.0 * f64::from(op.scale) * std::f64::consts::LOG2_E, bits as i32);
    let by = cx.here(multiplier(steps))?;
    // The greatest sum over keys, either sign.
    let most = 127 * 255 * s.keys as i64;
    let halvings = (0..32u32).find(|h| most >> h <= 32767).unwrap_or(31);
    // c * 2^halvings * sv / sum(p) in steps of the result.
    let (mantissa, exponent) = libm::frexp(libm::ldexp(v.0 / so, halvings as i32));
    let shift = 6 + DIGITS as i32 - exponent;
    if !(1..=MAX_SHIFT as i32).contains(&shift) {
        return Err(cx.unsupported("has scales of values and result too far apart for 32 bits"));
    }
    Ok(Numbers {
        bits,
        score: by,
        zeros: [q.1, k.1, v.1],
        halvings,
        mantissa,
        shift: shift as u32,
        out: Output { zp: zo, lo, hi },
    })
}

/// A score of 16 bits from a sum of products.
fn narrowed(sum: Expr, by: Multiplier, limit: i32) -> Expr {
    let numbers = [by.m, by.s as i32, 0, -limit - 1, limit].map(Expr::from);
    instr(&requantize_instr(), std::iter::once(sum).chain(numbers).collect())
}

/// Declares a mask of an integer kernel.
fn masking(
    cx: &Cx<'_>,
    b: &mut Composite,
    op: &Attention,
    bits: u32,
    view: Option<&View>,
) -> Result<Masking> {
    let Some(view) = view else { return Ok(Masking::All) };
    if let Mask::Chosen { kept, otherwise } = op.mask {
        let closed = int(score(f64::from(otherwise), bits));
        return Ok(Masking::Bits(b.port("mask", view, Access::Read), kept, closed));
    }
    if let Some(known) = cx.need(MASK)?.real_constant() {
        let real = known.to_f64_vec();
        let narrow = |v: &f64| score(*v, bits).clamp(-32768, 32767) as i16;
        let data = Data::I16(real.iter().map(narrow).collect());
        return Ok(Masking::Numbers(b.data("mask", data, 4)));
    }
    let (scale, zero) = affine(cx, view)?;
    let by = libm::ldexp(scale * std::f64::consts::LOG2_E, bits as i32);
    let by = cx.here(multiplier(by.min(1e9)))?;
    Ok(Masking::Stored(b.port("mask", view, Access::Read), zero, by))
}

/// Where the scores and the shares of a row stand, what shares are made by, and room for scores with their mask
/// where that takes more than a sum.
struct Room {
    scores: Buf,
    shares: Buf,
    table: Buf,
    row: Option<Buf>,
}

impl Room {
    /// Room for so many rows of scores in the workspace; `wide` elements of each at least.
    fn new(
        b: &mut Composite,
        s: &Shape,
        n: &Numbers,
        masking: &Masking,
        (rows, wide): (usize, usize),
    ) -> Room {
        let stored = matches!(masking, Masking::Stored(..));
        Room {
            scores: b.place("scores", DType::I16, rows * s.keys.max(wide)),
            shares: b.place("row_shares", DType::I8, rows * s.keys),
            table: b.data("shares", shares(n.bits), 4),
            row: stored.then(|| b.place("masked", DType::I32, s.keys)),
        }
    }
}

/// Turns a row of scores into shares, and gives their sum.
fn soften(
    k: &mut KernelBuilder,
    room: &Room,
    first: &Expr,
    (s, bits): (&Shape, u32),
    masked: &dyn Fn(Val, Expr) -> Expr,
) -> Val {
    let top = k.var("top", int(2 * CLOSED));
    k.for_("key", 0, s.keys, |k, key| {
        let score = k.let_("score", masked(key, room.scores.at(first + key)));
        if let Some(row) = room.row {
            k.store(row, key, score);
        }
        k.set(top, top.max(score));
    });
    let total = k.var("total", int(0));
    k.for_("key", 0, s.keys, |k, key| {
        let score = match room.row {
            Some(row) => row.at(key),
            None => masked(key, room.scores.at(first + key)),
        };
        let below = k.let_("below", top - score);
        let halved = k.let_("halved", (below >> bits as i32).clamp(0, 15));
        let share = ((room.table.at(below & ((1 << bits) - 1)) >> halved) + 64) >> 7;
        let share = k.let_("share", share);
        k.store(room.shares, first + key, share);
        k.add_to(total, share);
    });
    total
}

/// The result of a sum over keys of 16 bits.
fn divided(sum: Expr, inverse: &Expr, n: &Numbers) -> Expr {
    let Output { zp, lo, hi } = n.out;
    if n.shift >= HIGH_SHIFT {
        let (rnd, sh) = high(n.shift, zp);
        let args = vec![sum, inverse.clone(), rnd.into(), int(sh as i32), lo.into(), hi.into()];
        return instr(&requantize_high_instr(), args);
    }
    let numbers = [n.shift as i32, zp, lo, hi].map(Expr::from);
    instr(&requantize_instr(), [sum, inverse.clone()].into_iter().chain(numbers).collect())
}

/// The inverse of a sum of shares, which is 127 for one key and at most that for each.
fn inverse_of(k: &mut KernelBuilder, total: Val, s: &Shape, n: &Numbers) -> Expr {
    let wide = k.var("wide", total.max(127).min(127 * s.keys as i32).i64() * long(1 << 24));
    let found = inverse(k, wide, 2 * s.keys, n.mantissa, DIGITS);
    k.let_("inverse", found).into()
}

/// What a kernel of integers is written from.
struct Parts<'a> {
    s: Shape,
    n: Numbers,
    op: &'a Attention,
    x: [View; 3],
    mask: Option<View>,
    y: View,
}

impl Parts<'_> {
    /// A kernel with parameters for queries, keys, values and result, and its mask.
    fn declared(&self, cx: &Cx<'_>) -> Result<(Composite, [Buf; 4], Masking)> {
        let mut b = Composite::new("attention_s8");
        let [q, k, v] = &self.x;
        let [from, keys, values] =
            [("q", q), ("k", k), ("v", v)].map(|(name, view)| b.port(name, view, Access::Read));
        let masking = masking(cx, &mut b, self.op, self.n.bits, self.mask.as_ref())?;
        let to = b.port("y", &self.y, Access::Write);
        Ok((b, [from, keys, values, to], masking))
    }
}

/// A score with its mask, of the key and the row in a head whose mask begins at `head`.
fn masked(masking: &Masking, s: &Shape, (head, row, key): (&Expr, Val, Val), score: Expr) -> Expr {
    let place = at(head, s.mask, row, key);
    match masking {
        Masking::All => score,
        Masking::Numbers(mask) => score + mask.at(place),
        Masking::Stored(mask, zero, by) => {
            let stored = mask.at(place);
            let real = if *zero == 0 { stored } else { stored - *zero };
            score + narrowed(real, *by, -CLOSED)
        }
        Masking::Bits(mask, kept, otherwise) => {
            mask.at(place).equals(i32::from(*kept)).select(score, otherwise.clone())
        }
    }
}

fn quantized(cx: &mut Cx<'_>, op: &Attention, y: &View) -> Result<()> {
    let x = [cx.input(QUERIES)?, cx.input(KEYS)?, cx.input(VALUES)?];
    let mask = mask_view(cx, op)?;
    let s = shape([&x[0], &x[1], &x[2]], mask.as_ref(), y);
    let n = numbers(cx, op, &s, [&x[0], &x[1], &x[2]], y)?;
    let parts = Parts { s, n, op, x, mask, y: y.clone() };
    let offer = match native(cx, &parts)? {
        Some(offer) => offer,
        None => portable(cx, &parts)?,
    };
    cx.offers.push(offer);
    Ok(())
}

/// One row after the other, in loops for any core.
fn portable(cx: &Cx<'_>, parts: &Parts<'_>) -> Result<Candidate> {
    let Parts { s, n, .. } = parts;
    let (mut b, [from, keys, values, to], masking) = parts.declared(cx)?;
    let room = Room::new(&mut b, s, n, &masking, (1, 0));
    let [zq, zk, zv] = n.zeros;
    let less = |value: Expr, zero: i32| if zero == 0 { value } else { value - zero };
    // Weights of native products reach from -127 to 127.
    let weight = |value: Expr, zero: i32| if zero == 0 { value.max(-127) } else { value - zero };
    s.heads.write(&mut b.k, &[0, 0, 0, 0, 0].map(Expr::from), &mut |k, head| {
        k.for_("row", 0, s.queries, |k, row| {
            k.for_("key", 0, s.keys, |k, key| {
                let sum = k.var("sum", int(0));
                k.for_("i", 0, s.depth, |k, i| {
                    let (a, b) = (from.at(at(&head[1], s.q, row, i)), keys.at(at(&head[2], s.k, i, key)));
                    k.add_to(sum, less(a, zq) * weight(b, zk));
                });
                k.store(room.scores, key, narrowed(sum.into(), n.score, 32767));
            });
            let masked = |key: Val, score: Expr| masked(&masking, s, (&head[4], row, key), score);
            let total = soften(k, &room, &int(0), (s, n.bits), &masked);
            let inverse = inverse_of(k, total, s, n);
            k.for_("e", 0, s.width, |k, e| {
                let half = if n.halvings > 0 { 1 << (n.halvings - 1) } else { 0 };
                let sum = k.var("sum", int(half));
                k.for_("key", 0, s.keys, |k, key| {
                    let value = weight(values.at(at(&head[3], s.v, key, e)), zv);
                    k.add_to(sum, room.shares.at(key) * value);
                });
                let narrow = (sum >> n.halvings as i32).clamp(-32768, 32767);
                k.store(to, at(&head[0], s.y, row, e), divided(narrow, &inverse, n));
            });
        });
    });
    cx.here(b.offer(PORTABLE))
}

/// All rows of a head at once, by the products of the core, whose weights are the keys and the values; `None`
/// where it has none for these sizes.
fn native(cx: &Cx<'_>, parts: &Parts<'_>) -> Result<Option<Candidate>> {
    let Parts { s, n, .. } = parts;
    let Some(engine) = engine(cx.want.target()).filter(|_| !cx.portable) else { return Ok(None) };
    let positive = |v: isize| usize::try_from(v).ok();
    let strides = |of: [isize; 2]| Some([positive(of[0])?, positive(of[1])?]);
    let (Some(q), Some(k), Some(v)) = (strides(s.q), strides(s.k), strides(s.v)) else { return Ok(None) };
    // Keys and values of native products have no zero point.
    if n.zeros[1] != 0 || n.zeros[2] != 0 || n.halvings == 0 {
        return Ok(None);
    }
    let rows = |inputs: usize, outputs: usize, [row, input]: [usize; 2]| Rows {
        rows: vec![Axis { len: s.queries, x: row, y: outputs }],
        inputs: Axis { len: inputs, x: input, y: 0 },
        outputs: Axis { len: outputs, x: 0, y: 1 },
    };
    let out = Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() };
    let wide = |strides, x_zp, by| Live { strides, x_zp, w_zp: 0, least: -127, by, out, result: DType::I16 };
    let first = wide(k, n.zeros[0], n.score);
    let scores = cx.here(engine.live(&rows(s.depth, s.keys, q), &first, &cx.want))?;
    let halved = Multiplier { m: 1 << 30, s: 30 + n.halvings };
    let second = wide(v, 0, halved);
    let sums = cx.here(engine.live(&rows(s.keys, s.width, [s.keys, 1]), &second, &cx.want))?;
    let (Some(scores), Some(sums)) = (scores, sums) else { return Ok(None) };
    if scores.stream.0 != sums.stream.0 {
        return Ok(None);
    }

    let (mut b, [from, keys, values, to], masking) = parts.declared(cx)?;
    let stream = b.place("stream", scores.stream.0, scores.stream.1.max(sums.stream.1));
    let room = Room::new(&mut b, s, n, &masking, (s.queries, s.width));
    let wide = room.scores;
    let inverses = b.place("inverses", DType::I32, s.queries);
    let (lay_keys, lay_values) = (scores.pack, sums.pack);
    let score_of = b.inner(cx, "scores", (scores.product.call, scores.product.workspace))?;
    let sum_of = b.inner(cx, "sums", (sums.product.call, sums.product.workspace))?;
    s.heads.write(&mut b.k, &[0, 0, 0, 0, 0].map(Expr::from), &mut |k, head| {
        k.call(&lay_keys, vec![keys.from(head[2].clone()), stream.from(0)]);
        score_of.call(k, &[from.from(head[1].clone()), stream.from(0)], wide.from(0));
        k.for_("row", 0, s.queries, |k, row| {
            let first: Expr = k.let_("first", row * s.keys).into();
            let masked = |key: Val, score: Expr| masked(&masking, s, (&head[4], row, key), score);
            let total = soften(k, &room, &first, (s, n.bits), &masked);
            let inverse = inverse_of(k, total, s, n);
            k.store(inverses, row, inverse);
        });
        k.call(&lay_values, vec![values.from(head[3].clone()), stream.from(0)]);
        sum_of.call(k, &[room.shares.from(0), stream.from(0)], wide.from(0));
        k.for_("row", 0, s.queries, |k, row| {
            let inverse: Expr = k.let_("inverse", inverses.at(row)).into();
            k.for_("e", 0, s.width, |k, e| {
                let sum = wide.at(row * s.width + e);
                k.store(to, at(&head[0], s.y, row, e), divided(sum, &inverse, n));
            });
        });
    });
    cx.here(b.offer("attention")).map(Some)
}
