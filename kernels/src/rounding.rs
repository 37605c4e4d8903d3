//! The requantization rule of `arith::requant` as instructions of the loop language.

use crate::kernel::{self, BinOp, Expr, Instr, Ty, Var, VarId};
use std::sync::Arc;

fn instr(name: &str, params: &[&str], body: Expr) -> Arc<Instr> {
    let params = params.iter().map(|p| Var { name: (*p).into(), ty: Ty::I32 }).collect();
    Arc::new(Instr { name: name.into(), params, result: Ty::I32, body })
}

fn bin(op: BinOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, Box::new(a), Box::new(b))
}

fn arg(i: u32) -> Expr {
    Expr::Var(VarId(i))
}

fn wide(e: Expr) -> Expr {
    Expr::Cast(Ty::I64, Box::new(e))
}

/// What a sum becomes by way of [`requantize_high_instr`]: by a multiplier, a rounding constant and a shift,
/// within limits.
pub fn requantized<L: Into<Expr>>(
    sum: impl Into<Expr>,
    m: impl Into<Expr>,
    (rnd, sh): (impl Into<Expr>, impl Into<Expr>),
    (lo, hi): (L, L),
) -> Expr {
    let args = vec![sum.into(), m.into(), rnd.into(), sh.into(), lo.into(), hi.into()];
    kernel::instr(&requantize_high_instr(), args)
}

/// The upper 32 bits of a product.
pub fn high_word(a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    let product = a.into().i64() * b.into().i64();
    (product >> 32).i32()
}

/// `requantize(acc, m, s, zp, lo, hi)`: the rule for any shift of 1..=[`MAX_SHIFT`](crate::arith::requant::MAX_SHIFT).
pub fn requantize_instr() -> Arc<Instr> {
    let half = bin(BinOp::Shl, Expr::Int(1, Ty::I64), bin(BinOp::Sub, arg(2), Expr::Int(1, Ty::I32)));
    let product = bin(BinOp::Mul, wide(arg(0)), wide(arg(1)));
    let scaled = bin(BinOp::Shr, bin(BinOp::Add, product, half), arg(2));
    let moved = bin(BinOp::Add, scaled, wide(arg(3)));
    let clamped = bin(BinOp::Min, bin(BinOp::Max, moved, wide(arg(4))), wide(arg(5)));
    instr("requantize", &["acc", "m", "s", "zp", "lo", "hi"], Expr::Cast(Ty::I32, Box::new(clamped)))
}

/// `requantize_high(acc, m, rnd, sh, lo, hi)` with the arguments of [`high`](crate::arith::requant::high): the same rule
/// for shifts of [`HIGH_SHIFT`](crate::arith::requant::HIGH_SHIFT) and more, by the high word of the product alone.
pub fn requantize_high_instr() -> Arc<Instr> {
    let product = bin(BinOp::Mul, wide(arg(0)), wide(arg(1)));
    let high = bin(BinOp::Shr, product, Expr::Int(32, Ty::I32));
    let high = Expr::Cast(Ty::I32, Box::new(high));
    let scaled = bin(BinOp::Shr, bin(BinOp::Add, high, arg(2)), arg(3));
    let clamped = bin(BinOp::Min, bin(BinOp::Max, scaled, arg(4)), arg(5));
    instr("requantize_high", &["acc", "m", "rnd", "sh", "lo", "hi"], clamped)
}
