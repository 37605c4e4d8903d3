//! Runs without weights for RISC-V in vectors, [`crate::riscv::elementwise`] on strips of elements.
//!
//! In: a [`Run`]. Out: its block. Law: as the run's; a strip is as long as `vsetvli` makes it.

use crate::asm::riscv::{Block, Inst, Lmul, Pool, V, X, ZERO, argument};
use crate::riscv::elementwise::{Ending, Walk, pixels};
use crate::riscv::gemm_rvv::VLEN;
use crate::vector::{Run, Windows};

/// The instructions of a run.
pub fn block(block: Block, run: &Run) -> Option<Block> {
    Some(match *run {
        Run::Copy { n } => copy(block, n),
        Run::Sum { n, shift, lo, hi } => sum(block, n, shift, (lo, hi)),
        Run::Product { n, sh, lo, hi } => product(block, n, sh, (lo, hi)),
        Run::Mean { windows, up, sh, lo, hi, even } => {
            mean(block, &windows, &Ending { up, sh, limits: (lo, hi), even })
        }
        Run::Max { windows } => max(block, &windows),
        Run::Table { n } => table(block, n),
        Run::Moments { .. } | Run::Normalize { .. } => return None,
    })
}

/// What `body` writes turns for each strip of `n` elements of so many bits, in groups of eight
/// registers; `vl` is its length, and `left` how many are left.
fn strips(b: &mut Block, n: usize, bits: u32, (left, vl): (X, X), body: impl FnOnce(&mut Block)) {
    b.push(Inst::Li(left, n as i32));
    b.repeat(n.div_ceil(8 * VLEN / bits as usize), (left, ZERO), |b| {
        b.push(Inst::Vset(vl, left, bits, Lmul::M8));
        b.push(Inst::Sub(left, left, vl));
        body(b);
    });
}

/// Limits, in registers.
struct Limits {
    lo: (i32, X),
    hi: (i32, X),
}

impl Limits {
    fn of(b: &mut Block, pool: &mut Pool, (lo, hi): (i32, i32)) -> Limits {
        let limits = Limits { lo: (lo, pool.take()), hi: (hi, pool.take()) };
        for (value, x) in [limits.lo, limits.hi] {
            b.push(Inst::Li(x, value));
        }
        limits
    }
    /// Words of a group of eight registers to bytes, saturated and within limits, then stored.
    fn store(&self, b: &mut Block, v: V, (y, vl): (X, X)) {
        b.push(Inst::Vset(ZERO, vl, 16, Lmul::M4));
        b.push(Inst::Vnclip0(v, v));
        b.push(Inst::Vset(ZERO, vl, 8, Lmul::M2));
        b.push(Inst::Vnclip0(v, v));
        if self.lo.0 > -128 {
            b.push(Inst::VmaxX(v, v, self.lo.1));
        }
        if self.hi.0 < 127 {
            b.push(Inst::VminX(v, v, self.hi.1));
        }
        b.push(Inst::Vse8(v, y));
        b.push(Inst::Add(y, y, vl));
    }
}

fn copy(mut b: Block, n: usize) -> Block {
    let (x, out) = (argument(0), argument(1));
    let mut pool = Pool::beside(2);
    let [left, vl] = [(); 2].map(|()| pool.take());
    strips(&mut b, n, 8, (left, vl), |b| {
        b.push(Inst::Vle8(V(0), x));
        b.push(Inst::Add(x, x, vl));
        b.push(Inst::Vse8(V(0), out));
        b.push(Inst::Add(out, out, vl));
    });
    b
}

/// Two operands `(a, b, y, ...)`, of `arguments` arguments in all, as words: `each` changes one of
/// them, the first or the second, and `combine` makes both a result in the first by way of `sh`,
/// which holds `shift`.
fn two(
    mut b: Block,
    (n, arguments): (usize, u8),
    (shift, limits): (u32, (i32, i32)),
    each: impl Fn(&mut Block, V, usize),
    combine: impl Fn(&mut Block, [V; 2], X),
) -> Block {
    let [xa, xb, y] = [0, 1, 2].map(argument);
    let mut pool = Pool::beside(arguments);
    let [left, vl, sh] = [(); 3].map(|()| pool.take());
    let limits = Limits::of(&mut b, &mut pool, limits);
    b.push(Inst::RoundDown());
    b.push(Inst::Li(sh, shift as i32));
    strips(&mut b, n, 32, (left, vl), |b| {
        for (i, (x, bytes, wide)) in [(xa, V(0), V(8)), (xb, V(2), V(16))].into_iter().enumerate() {
            b.push(Inst::Vle8(bytes, x));
            b.push(Inst::Add(x, x, vl));
            b.push(Inst::Vsext4(wide, bytes));
            each(b, wide, i);
        }
        combine(b, [V(8), V(16)], sh);
        limits.store(b, V(8), (y, vl));
    });
    b
}

/// `(a, b, y, ma, mb, c)`: products of 32 bits.
fn sum(b: Block, n: usize, shift: u32, limits: (i32, i32)) -> Block {
    let [ma, mb, c] = [3, 4, 5].map(argument);
    let each = |b: &mut Block, v, i: usize| b.push(Inst::VmulX(v, v, [ma, mb][i]));
    two(b, (n, 6), (shift, limits), each, |b, [first, second], sh| {
        b.push(Inst::VaddX(first, first, c));
        b.push(Inst::VaddV(first, first, second));
        b.push(Inst::VsraX(first, first, sh));
    })
}

/// `(a, b, y, za, zb, m, rnd)`.
fn product(b: Block, n: usize, shift: u32, limits: (i32, i32)) -> Block {
    let [za, zb, m, rnd] = [3, 4, 5, 6].map(argument);
    let each = |b: &mut Block, v, i: usize| b.push(Inst::VsubX(v, v, [za, zb][i]));
    two(b, (n, 7), (shift, limits), each, |b, [first, second], sh| {
        b.push(Inst::VmulV(first, first, second));
        b.push(Inst::VmulhX(first, first, m));
        b.push(Inst::VaddX(first, first, rnd));
        b.push(Inst::VsraX(first, first, sh));
    })
}

/// `(x, y)`.
fn max(mut b: Block, w: &Windows) -> Block {
    let [x, y] = [0, 1].map(argument);
    let mut pool = Pool::beside(2);
    let [left, vl, turns] = [(); 3].map(|()| pool.take());
    let walk = Walk::of(&mut pool);
    let (best, tap) = (V(8), V(16));
    pixels(&mut b, w, (x, y), (turns, vl), |b| {
        strips(b, w.n, 8, (left, vl), |b| {
            b.push(Inst::Vle8(best, x));
            walk.taps(b, x, w, |b, at| {
                if at != x {
                    b.push(Inst::Vle8(tap, at));
                    b.push(Inst::VmaxV(best, best, tap));
                }
            });
            b.push(Inst::Vse8(best, y));
            b.push(Inst::Add(x, x, vl));
            b.push(Inst::Add(y, y, vl));
        });
    });
    b
}

/// `(x, y, offset, m, rnd)`.
fn mean(mut b: Block, w: &Windows, end: &Ending) -> Block {
    let [x, y, offset, m, rnd] = [0, 1, 2, 3, 4].map(argument);
    let mut pool = Pool::beside(5);
    let [left, vl, turns, sh, t] = [(); 5].map(|()| pool.take());
    let walk = Walk::of(&mut pool);
    let limits = Limits::of(&mut b, &mut pool, end.limits);
    b.push(Inst::RoundDown());
    b.push(Inst::Li(sh, end.sh as i32));
    let (bytes, wide, sums) = (V(0), V(8), V(16));
    pixels(&mut b, w, (x, y), (turns, vl), |b| {
        strips(b, w.n, 32, (left, vl), |b| {
            b.push(Inst::VmvX(sums, offset));
            walk.taps(b, x, w, |b, at| {
                b.push(Inst::Vle8(bytes, at));
                b.push(Inst::Vsext4(wide, bytes));
                b.push(Inst::VaddV(sums, sums, wide));
            });
            if let Some(by) = end.even {
                b.push(Inst::Li(t, by as i32));
                b.push(Inst::VsraX(wide, sums, t));
                b.push(Inst::Li(t, 1));
                b.push(Inst::VandX(wide, wide, t));
                b.push(Inst::VsubX(sums, sums, t));
                b.push(Inst::VaddV(sums, sums, wide));
            }
            if end.up > 0 {
                b.push(Inst::Li(t, 1 << end.up));
                b.push(Inst::VmulX(sums, sums, t));
            }
            b.push(Inst::VmulhX(sums, sums, m));
            b.push(Inst::VaddX(sums, sums, rnd));
            b.push(Inst::VsraX(sums, sums, sh));
            b.push(Inst::Add(x, x, vl));
            limits.store(b, sums, (y, vl));
        });
    });
    b
}

/// `(x, table, y)`: by loads at offsets of 0..=255.
fn table(mut b: Block, n: usize) -> Block {
    let [x, table, y] = [0, 1, 2].map(argument);
    let mut pool = Pool::beside(3);
    let [left, vl, half] = [(); 3].map(|()| pool.take());
    b.push(Inst::Li(half, 128));
    strips(&mut b, n, 8, (left, vl), |b| {
        b.push(Inst::Vle8(V(0), x));
        b.push(Inst::Add(x, x, vl));
        b.push(Inst::VaddX(V(0), V(0), half));
        b.push(Inst::Vluxei8(V(8), table, V(0)));
        b.push(Inst::Vse8(V(8), y));
        b.push(Inst::Add(y, y, vl));
    });
    b
}
