//! Runs without weights in Helium: sums and products of int8 elements, tables and copies; windows
//! stand in [`crate::mve::pools`].
//!
//! In: a [`Run`]. Out: its instructions, or `None` where its sizes do not fit them.
//! Law: as the run's: ascending order, any alignment.

use crate::asm::mve::{At, Block, Half, Inst, Item, Lane, Q, R};
use crate::mve::pools;
use crate::vector::Run;

/// The instructions of a run.
pub fn block(run: &Run) -> Option<Block> {
    match *run {
        Run::Sum { n, shift, lo, hi } => Some(sum(n, shift, (lo, hi))),
        Run::Product { n, sh, lo, hi } if (1..=31).contains(&sh) => Some(product(n, sh, (lo, hi))),
        Run::Product { .. } => None,
        Run::Mean { windows, up, sh, lo, hi, even } => pools::mean(&windows, (up, sh), (lo, hi), even),
        Run::Max { windows } => Some(pools::max(&windows)),
        Run::Copy { n } => Some(vectors(
            n,
            vec![Inst::Load(Q(0), At::After(R(0), 16)), Inst::Store(Q(0), At::After(R(1), 16))],
            R(2),
        )),
        Run::Moments { .. } | Run::Normalize { .. } => None,
        Run::Table { n } => {
            let mut b = Block::default();
            b.run([Inst::MovImm(R(3), 128), Inst::MovImm(R(12), n as i32)]);
            b.items.push(Item::Tail {
                lane: Lane::B,
                count: R(12),
                turns: n.div_ceil(16) as u32,
                body: vec![
                    Inst::Load(Q(0), At::After(R(0), 16)),
                    Inst::AddAll(Lane::B, Q(0), Q(0), R(3)),
                    Inst::Gather(Q(1), R(1), Q(0)),
                    Inst::Store(Q(1), At::After(R(2), 16)),
                ],
            });
            Some(b)
        }
    }
}

/// Limits of the results in bytes, where they are not those of int8.
const LEAST: Q = Q(7);
const GREATEST: Q = Q(5);

/// A loop over `n` bytes, sixteen a turn.
fn vectors(n: usize, body: Vec<Inst>, count: R) -> Block {
    let mut b = Block::default();
    b.run([Inst::MovImm(count, n as i32)]);
    b.items.push(Item::Tail { lane: Lane::B, count, turns: n.div_ceil(16) as u32, body });
    b
}

/// Sets the registers of the limits; r12 is free.
pub fn limits(insts: &mut Vec<Inst>, (lo, hi): (i32, i32)) {
    for (limit, missing, q) in [(lo, -128, LEAST), (hi, 127, GREATEST)] {
        if limit != missing {
            insts.extend([Inst::MovImm(R(12), limit & 0xff), Inst::Dup(Lane::B, q, R(12))]);
        }
    }
}

pub fn clamp(insts: &mut Vec<Inst>, q: Q, (lo, hi): (i32, i32)) {
    if lo > -128 {
        insts.push(Inst::Max(Lane::B, q, q, LEAST));
    }
    if hi < 127 {
        insts.push(Inst::Min(Lane::B, q, q, GREATEST));
    }
}

/// What [`narrow`] adds to words before it shifts them.
pub fn half(shift: u32) -> i32 {
    let (first, rest) = (shift.min(16), shift.saturating_sub(16));
    let second = if rest > 0 { 1 << (rest.min(8) + 15) } else { 0 };
    ((1 << (first - 1)) + second) << rest.saturating_sub(8)
}

/// Words shifted right and saturated to the lowest byte of each: `(q + half(shift)) >> shift`.
pub fn narrow(insts: &mut Vec<Inst>, q: Q, shift: u32) {
    let (first, rest) = (shift.min(16), shift.saturating_sub(16));
    if rest > 8 {
        insts.push(Inst::Asr(q, q, rest - 8));
    }
    insts.push(Inst::NarrowShift(Lane::W, Half::Bottom, q, q, first));
    insts.push(match rest.min(8) {
        0 => Inst::Narrow(Lane::H, Half::Bottom, q, q),
        rest => Inst::NarrowShift(Lane::H, Half::Bottom, q, q, rest),
    });
}

/// Takes from a register what [`narrow`] adds; r12 is free.
pub fn unhalved(insts: &mut Vec<Inst>, r: R, half: i32) {
    insts.extend([Inst::MovImm(R(12), half), Inst::Sub(r, r, R(12))]);
}

/// Loops over elements of two operands (r0, r1) and a result (r2), four to a vector: several
/// vectors a turn, then what remains. `each` computes the result in the first register from both.
fn pairs(b: &mut Block, n: usize, free: &[Q], each: &dyn Fn(&mut Vec<Inst>, Q, Q)) {
    const VECTORS: usize = 4;
    let turns = n / (4 * VECTORS);
    if turns > 0 {
        let mut body = Vec::new();
        for v in (0..VECTORS).rev() {
            // The last vector to be loaded moves the pointers.
            let at = |r| if v == 0 { At::After(r, 4 * VECTORS as i32) } else { At::Offset(r, 4 * v as i32) };
            let (x, y) = (Q(v as u8), free[v % free.len()]);
            body.extend([Inst::LoadWide(Lane::W, x, at(R(0))), Inst::LoadWide(Lane::W, y, at(R(1)))]);
            each(&mut body, x, y);
            body.push(Inst::StoreNarrow(Lane::W, x, at(R(2))));
        }
        b.items.push(Item::Low { turns: turns as u32, body: vec![Item::Run(body)] });
    }
    let rest = n - turns * 4 * VECTORS;
    if rest > 0 {
        let mut body = vec![
            Inst::LoadWide(Lane::W, Q(0), At::After(R(0), 4)),
            Inst::LoadWide(Lane::W, free[0], At::After(R(1), 4)),
        ];
        each(&mut body, Q(0), free[0]);
        body.push(Inst::StoreNarrow(Lane::W, Q(0), At::After(R(2), 4)));
        b.run([Inst::MovImm(R(4), rest as i32)]);
        b.items.push(Item::Tail { lane: Lane::W, count: R(4), turns: rest.div_ceil(4) as u32, body });
    }
}

/// Registers for the second operand.
fn second(limits: (i32, i32)) -> &'static [Q] {
    if limits.1 < 127 { &[Q(4)] } else { &[Q(4), Q(5)] }
}

/// `(a, b, y, ma, mb, c)`
fn sum(n: usize, shift: u32, ends: (i32, i32)) -> Block {
    let (mb, c) = (R(5), R(6));
    let mut b = Block::default();
    let mut entry = vec![Inst::Dup(Lane::W, Q(6), R(3)), Inst::LdrArg(mb, 4), Inst::LdrArg(c, 5)];
    unhalved(&mut entry, c, half(shift));
    limits(&mut entry, ends);
    b.run(entry);
    pairs(&mut b, n, second(ends), &|insts, x, y| {
        insts.push(Inst::TimesPlusAll(x, Q(6), c));
        insts.push(Inst::PlusTimesAll(x, y, mb));
        narrow(insts, x, shift);
        clamp(insts, x, ends);
    });
    b
}

/// `(a, b, y, za, zb, m, rnd)`
fn product(n: usize, sh: u32, ends: (i32, i32)) -> Block {
    let (za, zb, rnd) = (R(5), R(6), R(7));
    let mut b = Block::default();
    let mut entry = vec![Inst::LdrArg(zb, 4), Inst::LdrArg(R(4), 5), Inst::LdrArg(rnd, 6)];
    entry.push(Inst::Dup(Lane::W, Q(6), R(4)));
    entry.push(Inst::MovImm(R(4), 0));
    entry.extend([Inst::Sub(za, R(4), R(3)), Inst::Sub(zb, R(4), zb)]);
    unhalved(&mut entry, rnd, half(sh));
    limits(&mut entry, ends);
    b.run(entry);
    pairs(&mut b, n, second(ends), &|insts, x, y| {
        insts.push(Inst::AddAll(Lane::W, x, x, za));
        insts.push(Inst::AddAll(Lane::W, y, y, zb));
        insts.push(Inst::Mul(Lane::W, x, x, y));
        insts.push(Inst::MulHigh(x, x, Q(6)));
        insts.push(Inst::AddAll(Lane::W, x, x, rnd));
        narrow(insts, x, sh);
        clamp(insts, x, ends);
    });
    b
}
