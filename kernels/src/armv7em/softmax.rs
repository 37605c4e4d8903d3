//! A row of an integer Softmax for cores with `smmla`: its maximum four bytes at a time, the sum of exponentials, one
//! reciprocal, the results.
//!
//! In: a [`Row`]. Out: the instructions, or `None` where its numbers do not fit them. Law: that of the row.
//!
//! The reciprocal is Newton's, in `r` with 30 bits behind the point, of the divisor `d` moved to [1/2, 1): from a
//! line that is wrong by at most 1/17, after two turns by 2^-16, after a third, whose remainder has 64 bits, by less
//! than one of the last place beside the square of that. Two less, it is too small by 0.9 to 2.4 places, so that a
//! quotient of up to 28 digits is at most one too small, which its remainder tells.
//!
//! Cycles on Cortex-M4: under one an element for the maximum, four for the sum and six for a result, and some 70 a
//! row, of which the reciprocal takes 42.

use crate::armv7em::elementwise::turns;
use crate::asm::armv7em::{Block, Inst, Reg};
use crate::softmax::Row;

/// Words of elements in a turn of a loop.
const TURN: usize = 2;
/// Most digits of a quotient that is at most one too small.
const DIGITS: u32 = 28;
/// 48/17 and 32/17 with 30 bits behind the point.
const LINE: (i32, i32) = (3_031_741_620u32 as i32, 2_021_161_080);

/// Where the elements of a row are, and the greatest of them in each byte.
struct Elements {
    x: Reg,
    exp: Reg,
    top: Reg,
}

/// The instructions.
pub(super) fn block(row: &Row) -> Option<Block> {
    let Row { n, beyond, digits, sh, .. } = *row;
    // The shift of the quotient lies between these.
    let (least, most) = (30i64 - i64::from(digits), 30 + i64::from(beyond) - i64::from(digits));
    let fits = n >= 4 && (1..=15).contains(&beyond) && digits <= DIGITS && least >= 0 && most <= 31;
    if !fits || !(1..=31).contains(&sh) {
        return None;
    }
    let mut b = Block::new(3);
    b.streams = true;
    let [x, exp, y] = [b.args[0], b.args[1], b.args[2]];
    let kept = b.slot();
    b.push(Inst::StrSlot(y, kept));
    let top = greatest(&mut b, x, n);
    let row_of = Elements { x, exp, top };
    let divisor = sum(&mut b, &row_of, row);
    let inverse = reciprocal(&mut b, divisor, row);
    let (y, rnd) = (b.reg(), b.reg());
    b.push(Inst::LdrSlot(y, kept));
    b.push(Inst::MovImm(rnd, row.rnd));
    each(&mut b, &row_of, n, Some(y), &|b, e, at| {
        b.push(Inst::Smmla(e, e, inverse, rnd));
        b.push(Inst::Ssat(e, 8, e, sh));
        b.push(Inst::Strb(e, y, at));
    });
    Some(b)
}

/// The greatest element, in each byte of a word.
fn greatest(b: &mut Block, x: Reg, n: usize) -> Reg {
    let all = b.reg();
    b.push(Inst::Ldr(all, x, 0));
    let next = |b: &mut Block, at: u32| {
        let [word, most] = b.regs_n();
        b.push(Inst::Ldr(word, x, at));
        b.push(Inst::MaxBytes(most, all, word));
        b.push(Inst::Mov(all, most));
    };
    let words = n / 4;
    let whole = words / (2 * TURN);
    turns(b, x, 8 * TURN, whole, &|b| {
        (0..2 * TURN).for_each(|w| next(b, 4 * w as u32));
        b.advance(x, 8 * TURN as i32);
    });
    let done = 8 * TURN * whole;
    (0..words - 2 * TURN * whole).for_each(|w| next(b, 4 * w as u32));
    if !n.is_multiple_of(4) {
        // The last word again has some of the one before.
        b.advance(x, n as i32 - 4 - done as i32);
        next(b, 0);
        b.advance(x, 4 - n as i32);
    } else {
        b.advance(x, -(done as i32));
    }
    let top = all;
    for by in [16, 8] {
        let [moved, most] = b.regs_n();
        b.push(Inst::LsrImm(moved, top, by));
        b.push(Inst::MaxBytes(most, moved, top));
        b.push(Inst::Mov(top, most));
    }
    b.push(Inst::Uxtb(top, top, 0));
    b.push(Inst::AddLsl(top, top, top, 8));
    b.push(Inst::AddLsl(top, top, top, 16));
    top
}

/// Calls `body` with the exponential of each element, in a register that it may overwrite, and where its result stands
/// from `y` on, which moves along. The elements' pointer comes back.
fn each(b: &mut Block, of: &Elements, n: usize, y: Option<Reg>, body: &dyn Fn(&mut Block, Reg, u32)) {
    let words = |b: &mut Block, count: usize| {
        for w in 0..count as u32 {
            let [word, below] = b.regs_n();
            b.push(Inst::Ldr(word, of.x, 4 * w));
            b.push(Inst::Usub8(below, of.top, word));
            for byte in 0..4 {
                let e = b.reg();
                b.push(Inst::Uxtb(e, below, byte));
                b.push(Inst::LdrAt(e, of.exp, e, 2));
                body(b, e, 4 * w + byte);
            }
        }
        b.advance(of.x, 4 * count as i32);
        if let Some(y) = y {
            b.advance(y, 4 * count as i32);
        }
    };
    let whole = n / (4 * TURN);
    turns(b, of.x, 4 * TURN, whole, &|b| words(b, TURN));
    let rest = n - 4 * TURN * whole;
    if rest >= 4 {
        words(b, rest / 4);
    }
    for i in 0..(rest % 4) as u32 {
        let e = b.reg();
        b.push(Inst::Ldrb(e, of.x, i));
        b.push(Inst::Usub8(e, of.top, e));
        b.push(Inst::Uxtb(e, e, 0));
        b.push(Inst::LdrAt(e, of.exp, e, 2));
        body(b, e, i);
    }
    b.advance(of.x, -((n - rest % 4) as i32));
}

/// The sum of exponentials, without its last bits.
fn sum(b: &mut Block, of: &Elements, row: &Row) -> Reg {
    let [low, high, one] = b.regs_n();
    b.push(Inst::MovImm(low, 0));
    b.push(Inst::MovImm(high, 0));
    b.push(Inst::MovImm(one, 1));
    each(b, of, row.n, None, &|b, e, _| b.push(Inst::Smlal(low, high, e, one)));
    b.push(Inst::LsrImm(low, low, row.beyond));
    b.push(Inst::AddLsl(low, low, high, 32 - row.beyond));
    low
}

/// `numerator * 2^digits / d`, rounded down.
fn reciprocal(b: &mut Block, d: Reg, row: &Row) -> Reg {
    let [up, normal, r, t] = b.regs_n();
    // Between 2^30 and 2^31: [1/2, 1) with 31 bits behind the point.
    b.push(Inst::Clz(up, d));
    b.push(Inst::AddImm(t, up, -1));
    b.push(Inst::Lsl(normal, d, t));
    // 48/17 - 32/17 of it, with 30 bits behind the point.
    b.push(Inst::MovImm(t, LINE.1));
    b.push(Inst::Smmul(t, normal, t));
    b.push(Inst::MovImm(r, LINE.0));
    b.push(Inst::LslImm(t, t, 1));
    b.push(Inst::Sub(r, r, t));
    let one = b.reg();
    b.push(Inst::MovImm(one, 1 << 29));
    for _ in 0..2 {
        let off = b.reg();
        b.push(Inst::Smmul(off, normal, r));
        b.push(Inst::Sub(off, one, off));
        b.push(Inst::LslImm(off, off, 6));
        b.push(Inst::Smmul(off, off, r));
        b.push(Inst::AddAsr(r, r, off, 3));
    }
    // How far the product is above one, with 61 bits behind the point, then 46.
    let [low, high] = b.regs_n();
    b.push(Inst::MovImm(low, 0));
    b.push(Inst::Neg(high, one));
    b.push(Inst::Smlal(low, high, normal, r));
    b.push(Inst::LslImm(high, high, 17));
    b.push(Inst::AddLsr(high, high, low, 15));
    b.push(Inst::Smmul(high, high, r));
    b.push(Inst::AsrImm(high, high, 14));
    b.push(Inst::Sub(r, r, high));
    b.push(Inst::AddImm(r, r, -2));
    // The quotient, or one less.
    let [q, least] = b.regs_n();
    b.push(Inst::MovImm(q, row.numerator << (row.beyond + 1)));
    b.push(Inst::Smmul(q, q, r));
    b.push(Inst::MovImm(least, 31 + row.beyond as i32 - row.digits as i32));
    b.push(Inst::Sub(least, least, up));
    b.push(Inst::Lsr(q, q, least));
    let rest = b.reg();
    b.push(Inst::MovImm(rest, ((row.numerator as u64) << row.digits) as u32 as i32));
    b.push(Inst::Mls(rest, q, d, rest));
    b.push(Inst::Sub(rest, rest, d));
    b.push(Inst::AddImm(q, q, 1));
    b.push(Inst::AddAsr(q, q, rest, 31));
    q
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::kernel::{Access, KernelBuilder};
    use crate::tensor::{DType, Data};
    use crate::trial::{Random, run};

    /// Of every number of digits, by divisors at both ends, near powers of two, and where quotients change.
    #[test]
    fn quotients_are_exact() {
        let core = secateur_targets::core("cortex-m4").unwrap();
        let mut random = Random(31);
        for (beyond, digits) in
            [(2, 26), (2, 1), (3, 28), (4, 26), (4, 28), (6, 17), (7, 27), (10, 12), (10, 28)]
        {
            let one = 1i64 << (30 - beyond);
            for numerator in [one / 2, one - 1, one / 2 + 1, random.within(1, one - 1), 1] {
                let all = (numerator as u64) << digits;
                let mut divisors = Vec::new();
                for near in -2..=2 {
                    divisors.extend((30 - beyond..=31).map(|bit| (1i64 << bit) + near));
                }
                for _ in 0..300 {
                    let d = random.within(one, (1 << 31) - 1);
                    // The least divisor of a quotient, and the greatest, where there is one of them.
                    let q = (all / d as u64).max(1);
                    divisors.extend([d, (all / q) as i64, (all / (q + 1)) as i64, (all / q) as i64 + 1]);
                }
                let divisors: Vec<i32> = divisors
                    .into_iter()
                    .filter(|d| (one..1 << 31).contains(d) && *d > numerator)
                    .map(|d| d as i32)
                    .collect();
                let n = divisors.len();
                let row =
                    Row { n, beyond: beyond as u32, numerator: numerator as i32, digits, rnd: 0, sh: 1 };
                let mut k = KernelBuilder::new("quotients");
                let x = k.buffer("x", DType::I32, n, Access::Read);
                let y = k.buffer("y", DType::I32, n, Access::Write);
                k.for_("i", 0, n, |k, i| {
                    let (rest, found) = (k.var("rest", row.numerator), k.var("found", 0));
                    k.for_("digit", 0, digits as usize, |k, _| {
                        let off = k.let_("off", rest - x.at(i) + rest);
                        let below = k.let_("below", off >> 31);
                        k.set(rest, off + (x.at(i) & below));
                        k.set(found, found + found + 1 + below);
                    });
                    k.store(y, i, found);
                });
                let mut b = Block::new(2);
                let [x, y] = [b.args[0], b.args[1]];
                turns(&mut b, x, 4, n, &|b| {
                    let d = b.reg();
                    b.push(Inst::Ldr(d, x, 0));
                    let q = reciprocal(b, d, &row);
                    b.push(Inst::Str(q, y, 0));
                    b.advance(x, 4);
                    b.advance(y, 4);
                });
                k.native(b.native("dsp", &core).unwrap());
                let call =
                    Call { kernel: k.finish().unwrap(), args: vec![Bind::Operand(0), Bind::Result(0)] };
                let Data::I32(found) = run(&call, &[Data::I32(divisors.clone())], DType::I32, n) else {
                    panic!()
                };
                for (d, q) in divisors.iter().zip(found) {
                    assert_eq!(q as u64, all / *d as u64, "{numerator} with {digits} digits by {d}");
                }
            }
        }
    }

    /// Cycles of a row, without those of a call.
    #[test]
    fn rows_take_few_cycles() {
        let core = secateur_targets::core("cortex-m4").unwrap();
        for (n, most) in [(24, 17.0), (64, 14.5)] {
            let row = Row { n, beyond: n.ilog2(), numerator: 1 << 20, digits: 26, rnd: 0, sh: 15 };
            let by = block(&row).unwrap().native("dsp", &core).unwrap().cycles as f64 / n as f64;
            assert!(by < most, "{by:.1} cycles an element of {n}");
        }
    }
}
