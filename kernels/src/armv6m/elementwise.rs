//! Runs without weights in Thumb-1 code: sums, products, tables and copies of int8 elements side by
//! side; windows stand in [`crate::armv6m::windows`].
//!
//! In: a [`Run`]. Out: its code, or `None` where its sizes do not fit. Wide code requantizes by
//! long products and saturates at once.
//! Law: as the run's: ascending order, each result after the operands of its place, any alignment.

use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask};
use crate::vector::Run;

const R10: R = R(10);
const R11: R = R(11);

/// The code of a run.
pub fn code(run: &Run, wide: bool) -> Option<Code> {
    match *run {
        Run::Sum { n, shift, lo, hi } => Some(sum(n, shift, (lo, hi), wide)),
        Run::Product { n, sh, lo, hi } if (1..=31).contains(&sh) => Some(product(n, sh, (lo, hi), wide)),
        Run::Table { n } => Some(table(n)),
        Run::Copy { n } => Some(copy(n)),
        Run::Mean { .. } | Run::Max { .. } => crate::armv6m::windows::code(run, wide),
        Run::Product { .. } | Run::Moments { .. } | Run::Normalize { .. } => None,
    }
}

/// `v >> shift` within limits, by way of `t`; any sum will do.
pub fn limit(c: &mut Code, (v, t): (R, R), shift: u32, (lo, hi): (i32, i32), wide: bool) {
    if wide && (lo, hi) == (-128, 127) {
        return c.push(Inst::Ssat(v, 8, v, shift));
    }
    let moved = |c: &mut Code, by: i32| match by {
        0 => {}
        1.. => c.push(Inst::AddImm(v, by.unsigned_abs())),
        _ => c.push(Inst::SubImm(v, by.unsigned_abs())),
    };
    // A sign tells what is beyond a limit, so that no branch depends on the data.
    c.push(Inst::Asr(v, v, shift));
    moved(c, -hi);
    c.all([Inst::Asr(t, v, 31), Inst::And(v, t)]);
    moved(c, hi - lo);
    c.all([Inst::Asr(t, v, 31), Inst::Bic(v, t)]);
    moved(c, lo);
}

/// `n` elements at the index r3, `round` of them between two branches; lr holds the last index.
fn rounds(c: &mut Code, n: usize, round: usize, each: impl Fn(&mut Code)) {
    let turns = n / round;
    let some = |c: &mut Code, count: usize| {
        for _ in 0..count {
            each(c);
            c.push(Inst::AddImm(R3, 1));
        }
    };
    if turns > 1 {
        c.constant(R3, (turns * round) as u32);
        c.push(Inst::Mov(LR, R3));
    }
    c.push(Inst::MovImm(R3, 0));
    if turns > 1 {
        let top = c.here();
        c.times(turns as f64, |c| {
            some(c, round);
            c.all([Inst::Cmp(R3, LR), Inst::BranchIf(Cond::Ne, top)]);
        });
    } else if turns == 1 {
        some(c, round);
    }
    some(c, n % round);
}

/// `(a, b, y, ma, mb, c)`: r6 and r7 the coefficients, r12 the constant.
fn sum(n: usize, shift: u32, limits: (i32, i32), wide: bool) -> Code {
    let mut c = Code::new(0, 0, false);
    c.all([Inst::Mov(R6, R3), Inst::Ldr(R7, SP, c.argument(4)), Inst::Ldr(R4, SP, c.argument(5))]);
    c.push(Inst::Mov(R12, R4));
    rounds(&mut c, n, 4, |c| {
        c.all([Inst::Ldrsb(R4, R0, R3), Inst::Ldrsb(R5, R1, R3), Inst::Mul(R4, R6), Inst::Mul(R5, R7)]);
        c.all([Inst::Add(R4, R4, R5), Inst::AddAny(R4, R12)]);
        limit(c, (R4, R5), shift, limits, wide);
        c.push(Inst::StrbAt(R4, R2, R3));
    });
    c
}

/// `(a, b, y, za, zb, m, rnd)`: r8 and r9 the zero points below zero, r10 the constant.
///
/// Without long products, of `m = mh * 2^16 + ml` the high word of `p * m`, for `p` within 17 bits,
/// is `(p * mh + (p * (ml >> 1) + (p >> 1) * (ml & 1) >> 15)) >> 16`: no part leaves 32 bits.
fn product(n: usize, sh: u32, limits: (i32, i32), wide: bool) -> Code {
    let mut c = Code::new(0, 0, true);
    let arguments = [4, 5, 6].map(|i| c.argument(i));
    c.all([Inst::MovImm(R4, 0), Inst::Sub(R3, R4, R3), Inst::Mov(R8, R3)]);
    c.all([Inst::Ldr(R3, SP, arguments[0]), Inst::Sub(R3, R4, R3), Inst::Mov(R9, R3)]);
    c.all([Inst::Ldr(R3, SP, arguments[2]), Inst::Mov(R10, R3), Inst::Ldr(R7, SP, arguments[1])]);
    if !wide {
        // r11 the upper half, r7 the lower one without its last bit, r6 all ones if that is set.
        c.all([Inst::Lsr(R3, R7, 16), Inst::Mov(R11, R3), Inst::Lsl(R3, R7, 31), Inst::Asr(R6, R3, 31)]);
        c.all([Inst::Lsl(R7, R7, 16), Inst::Lsr(R7, R7, 17)]);
    }
    rounds(&mut c, n, 2, |c| {
        c.all([Inst::Ldrsb(R4, R0, R3), Inst::Ldrsb(R5, R1, R3)]);
        c.all([Inst::AddAny(R4, R8), Inst::AddAny(R5, R9), Inst::Mul(R4, R5)]);
        if wide {
            c.push(Inst::Smull(R12, R4, R4, R7));
        } else {
            c.all([Inst::Mov(R5, R4), Inst::Mul(R5, R7), Inst::Mov(R12, R5), Inst::Asr(R5, R4, 1)]);
            c.all([Inst::And(R5, R6), Inst::AddAny(R5, R12), Inst::Asr(R5, R5, 15), Inst::Mov(R12, R5)]);
            c.all([Inst::Mov(R5, R11), Inst::Mul(R4, R5), Inst::AddAny(R4, R12), Inst::Asr(R4, R4, 16)]);
        }
        c.push(Inst::AddAny(R4, R10));
        limit(c, (R4, R5), sh, limits, wide);
        c.push(Inst::StrbAt(R4, R2, R3));
    });
    c
}

/// `(x, table, y)`.
fn table(n: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    c.push(Inst::AddImm(R1, 128));
    rounds(&mut c, n, 4, |c| {
        c.all([Inst::Ldrsb(R4, R0, R3), Inst::Ldrsb(R4, R1, R4), Inst::StrbAt(R4, R2, R3)]);
    });
    c
}

/// `(x, y)`: words where both stand at words, else bytes.
fn copy(n: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    let bytes = |c: &mut Code, n: usize| {
        rounds(c, n, 4, |c| c.all([Inst::Ldrsb(R4, R0, R3), Inst::StrbAt(R4, R1, R3)]));
    };
    if n < 16 {
        bytes(&mut c, n);
        return c;
    }
    let [unaligned, done] = [(); 2].map(|()| c.label());
    for pointer in [R0, R1] {
        c.all([Inst::Lsl(R2, pointer, 30), Inst::BranchIf(Cond::Ne, unaligned)]);
    }
    let four = [R4, R5, R6, R7];
    c.constant(R2, (n / 16) as u32);
    let top = c.here();
    c.times((n / 16) as f64, |c| {
        c.all([Inst::Ldm(R0, mask(&four)), Inst::Stm(R1, mask(&four)), Inst::SubImm(R2, 1)]);
        c.push(Inst::BranchIf(Cond::Ne, top));
    });
    let rest = &four[..n % 16 / 4];
    if !rest.is_empty() {
        c.all([Inst::Ldm(R0, mask(rest)), Inst::Stm(R1, mask(rest))]);
    }
    bytes(&mut c, n % 4);
    c.push(Inst::Branch(done));
    c.place(unaligned);
    // Rare: what it costs does not count.
    c.times(0.0, |c| bytes(c, n));
    c.place(done);
    c
}
