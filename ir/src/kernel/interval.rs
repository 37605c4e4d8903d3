//! Intervals of integers: what the prover and the evaluator know of a value before it runs.
//!
//! Law: the interval of a result holds every result of operands in their intervals, in exact
//! arithmetic (no wrapping). `i128` is wide enough for products of two `i64`.

use super::{BinOp, Ty};
use crate::tensor::DType;
use std::fmt;

/// All integers `lo..=hi`; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub lo: i128,
    pub hi: i128,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.lo, self.hi)
    }
}

impl Interval {
    pub fn new(lo: impl Into<i128>, hi: impl Into<i128>) -> Self {
        Interval { lo: lo.into(), hi: hi.into() }
    }
    pub fn point(v: impl Into<i128>) -> Self {
        let v = v.into();
        Interval { lo: v, hi: v }
    }
    /// All values of an integer type; for floats those of I64.
    pub fn of(ty: Ty) -> Self {
        match ty {
            Ty::I32 => Self::new(i32::MIN, i32::MAX),
            Ty::I64 | Ty::F32 => Self::new(i64::MIN, i64::MAX),
        }
    }
    /// What a load of an element gives (U64 shares the bits of I64).
    pub fn of_elem(elem: DType) -> Self {
        match elem {
            DType::U64 => Self::of(Ty::I64),
            elem => elem.range().map_or(Self::of(Ty::I64), |(lo, hi)| Interval { lo, hi }),
        }
    }
    pub fn within(self, outer: Interval) -> bool {
        outer.lo <= self.lo && self.hi <= outer.hi
    }
    pub fn contains(self, v: i128) -> bool {
        self.lo <= v && v <= self.hi
    }
    /// The smallest interval that holds both.
    pub fn join(self, other: Interval) -> Self {
        Interval { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
    /// What both hold; `self` if that is nothing (the place cannot be reached).
    pub fn meet(self, other: Interval) -> Self {
        let (lo, hi) = (self.lo.max(other.lo), self.hi.min(other.hi));
        if lo <= hi { Interval { lo, hi } } else { self }
    }
    /// The value, if there is but one.
    pub fn single(self) -> Option<i64> {
        if self.lo == self.hi { i64::try_from(self.lo).ok() } else { None }
    }
    pub fn scale(self, k: i128) -> Self {
        Self::hull([self.lo.saturating_mul(k), self.hi.saturating_mul(k)])
    }
    pub fn plus(self, other: Interval) -> Self {
        Interval { lo: self.lo.saturating_add(other.lo), hi: self.hi.saturating_add(other.hi) }
    }
    fn hull<const N: usize>(values: [i128; N]) -> Self {
        let lo = values.iter().copied().min().unwrap_or(0);
        let hi = values.iter().copied().max().unwrap_or(0);
        Interval { lo, hi }
    }
    fn corners(self, other: Interval, f: impl Fn(i128, i128) -> i128) -> Self {
        Self::hull([f(self.lo, other.lo), f(self.lo, other.hi), f(self.hi, other.lo), f(self.hi, other.hi)])
    }

    /// The results of an integer operation.
    pub fn binary(op: BinOp, a: Interval, b: Interval) -> Self {
        let truth = |always: bool, never: bool| match (always, never) {
            (true, _) => Self::point(1),
            (_, true) => Self::point(0),
            _ => Self::new(0, 1),
        };
        match op {
            BinOp::Add => a.plus(b),
            BinOp::Sub => a.plus(b.scale(-1)),
            BinOp::Mul => a.corners(b, i128::saturating_mul),
            BinOp::Div => {
                // The quotient grows as the divisor nears zero: take its values next to zero too.
                let divisors = [b.lo, b.hi, b.lo.max(1).min(b.hi), b.hi.min(-1).max(b.lo)];
                let mut all = Vec::new();
                for d in divisors.into_iter().filter(|&d| d != 0) {
                    all.extend([a.lo / d, a.hi / d]);
                }
                if a.contains(0) || all.is_empty() {
                    all.push(0);
                }
                let lo = all.iter().copied().min().unwrap_or(0);
                Interval { lo, hi: all.into_iter().max().unwrap_or(0) }
            }
            BinOp::Rem => {
                let m = b.lo.saturating_abs().max(b.hi.saturating_abs()).saturating_sub(1).max(0);
                let smallest =
                    if b.contains(0) { 1 } else { b.lo.saturating_abs().min(b.hi.saturating_abs()) };
                if a.lo >= 0 && a.hi < smallest {
                    return a;
                }
                let lo = if a.lo < 0 { a.lo.max(-m) } else { 0 };
                let hi = if a.hi > 0 { a.hi.min(m) } else { 0 };
                Interval { lo, hi }
            }
            BinOp::Min => Interval { lo: a.lo.min(b.lo), hi: a.hi.min(b.hi) },
            BinOp::Max => Interval { lo: a.lo.max(b.lo), hi: a.hi.max(b.hi) },
            BinOp::And => match (a.lo >= 0, b.lo >= 0) {
                (true, true) => Self::new(0, a.hi.min(b.hi)),
                (true, false) => Self::new(0, a.hi),
                (false, true) => Self::new(0, b.hi),
                (false, false) => Self::bits(a, b),
            },
            BinOp::Or | BinOp::Xor => {
                let bits = Self::bits(a, b);
                if a.lo >= 0 && b.lo >= 0 { Self::new(0, bits.hi) } else { bits }
            }
            BinOp::Shl => {
                let b = b.meet(Self::new(0, 63));
                a.corners(b, |a, b| a.saturating_mul(1 << b.clamp(0, 63)))
            }
            BinOp::Shr => a.corners(b.meet(Self::new(0, 63)), |a, b| a >> b.clamp(0, 63)),
            BinOp::Lt => truth(a.hi < b.lo, a.lo >= b.hi),
            BinOp::Le => truth(a.hi <= b.lo, a.lo > b.hi),
            BinOp::Gt => truth(a.lo > b.hi, a.hi <= b.lo),
            BinOp::Ge => truth(a.lo >= b.hi, a.hi < b.lo),
            BinOp::Eq => truth(a.lo == a.hi && a == b, a.hi < b.lo || b.hi < a.lo),
            BinOp::Ne => truth(a.hi < b.lo || b.hi < a.lo, a.lo == a.hi && a == b),
        }
    }
    /// All integers of as many bits as the operands need.
    fn bits(a: Interval, b: Interval) -> Self {
        let mut m: i128 = 1;
        while !(a.within(Interval { lo: -m, hi: m - 1 }) && b.within(Interval { lo: -m, hi: m - 1 })) {
            m *= 2;
        }
        Interval { lo: -m, hi: m - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::scalar::{self, Scalar};

    #[test]
    fn every_result_lies_in_its_interval() {
        use BinOp::*;
        let ops = [Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr, Lt, Le, Gt, Ge, Eq, Ne];
        let ends = [-7, -3, -1, 0, 1, 2, 5];
        for op in ops {
            for (&alo, &ahi) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
                for (&blo, &bhi) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))) {
                    if alo > ahi || blo > bhi {
                        continue;
                    }
                    let all = Interval::binary(op, Interval::new(alo, ahi), Interval::new(blo, bhi));
                    for a in alo..=ahi {
                        for b in blo..=bhi {
                            let Ok(Scalar::I32(v)) = scalar::binary(op, Scalar::I32(a), Scalar::I32(b))
                            else {
                                continue;
                            };
                            assert!(all.contains(v.into()), "{a} {op:?} {b} = {v}, not in {all}");
                        }
                    }
                }
            }
        }
    }
}
