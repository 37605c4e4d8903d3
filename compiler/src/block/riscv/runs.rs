//! Runs without weights for RISC-V: copies and sums of int8 elements, on scalar registers and in
//! vectors.
//!
//! In: a [`Run`]. Out: its native text, or `None` where there is none. Law: as the run's:
//! ascending order, any alignment, each result after the operands of its place.

use super::{Block, Inst, Lmul, Pool, V, X, ZERO, argument};
use crate::kernel::Native;
use crate::lower::run::Run;
use secateur_targets::Target;

/// Done at once between two branches.
const ROUND: usize = 8;

/// The native of a run for a target's core.
pub(crate) fn native(run: &Run, target: &Target) -> Option<Native> {
    let block = Block::new(target)?;
    let vectors = target.has("rvv");
    let block = match *run {
        Run::Copy { n } if vectors => copy_lanes(block, n),
        Run::Copy { n } => copy_words(block, n),
        Run::Sum { n, shift, lo, hi } if vectors => sum_lanes(block, n, shift, (lo, hi)),
        Run::Sum { n, shift, lo, hi } => sum(block, n, shift, (lo, hi)),
        _ => return None,
    };
    Some(block.native(if vectors { "rvv" } else { "rv32" }))
}

fn copy_lanes(mut b: Block, n: usize) -> Block {
    let (x, out) = (argument(0), argument(1));
    let mut pool = Pool::beside(2);
    let [left, vl] = [(); 2].map(|()| pool.take());
    b.push(Inst::Li(left, n as i32));
    b.repeat(n.div_ceil(128), (left, ZERO), |b| {
        b.push(Inst::Vset(vl, left, 8, Lmul::M8));
        b.push(Inst::Vle8(V(0), x));
        b.push(Inst::Add(x, x, vl));
        b.push(Inst::Sub(left, left, vl));
        b.push(Inst::Vse8(V(0), out));
        b.push(Inst::Add(out, out, vl));
    });
    b
}

/// Words where both ends are aligned to words, else bytes.
fn copy_words(mut b: Block, n: usize) -> Block {
    let (x, out) = (argument(0), argument(1));
    let mut pool = Pool::beside(2);
    let [end, t] = [(); 2].map(|()| pool.take());
    let values = pool.take_n(ROUND);
    // `count` pieces of `size` bytes each.
    let part = |b: &mut Block, size: usize, count: usize| {
        let round = |b: &mut Block, n: usize| {
            for (i, &v) in values.iter().enumerate().take(n) {
                let at = (size * i) as i32;
                b.push(if size == 4 { Inst::Lw(v, x, at) } else { Inst::Lb(v, x, at) });
            }
            for (i, &v) in values.iter().enumerate().take(n) {
                let at = (size * i) as i32;
                b.push(if size == 4 { Inst::Sw(v, out, at) } else { Inst::Sb(v, out, at) });
            }
            b.push(Inst::Addi(x, x, (size * n) as i32));
            b.push(Inst::Addi(out, out, (size * n) as i32));
        };
        rounds(b, (x, end), size, count, round);
    };
    let words = n / 4;
    let (bytes, done) = (b.label(), b.label());
    if words > 0 {
        b.push(Inst::Or(t, x, out));
        b.push(Inst::Andi(t, t, 3));
        b.push(Inst::BnezOn(t, bytes));
        part(&mut b, 4, words);
        part(&mut b, 1, n % 4);
        b.push(Inst::Jump(done));
        b.push(Inst::Label(bytes));
        // Rare: what it costs does not count.
        b.rarely(|b| part(b, 1, n));
        b.push(Inst::Label(done));
    } else {
        part(&mut b, 1, n);
    }
    b
}

/// `count` pieces of `size` bytes from pointer `x` on, [`ROUND`] at once, then the rest.
fn rounds(b: &mut Block, (x, end): (X, X), size: usize, count: usize, round: impl Fn(&mut Block, usize)) {
    let (turns, rest) = (count / ROUND, count % ROUND);
    if turns > 1 {
        b.point(end, x, (turns * ROUND * size) as i32);
    }
    if turns > 0 {
        b.repeat(turns, (x, end), |b| round(b, ROUND));
    }
    if rest > 0 {
        round(b, rest);
    }
}

/// `(a, b, y, ma, mb, c)`.
fn sum(mut b: Block, n: usize, shift: u32, limits: (i32, i32)) -> Block {
    let [xa, xb, y, ma, mb, c] = [0, 1, 2, 3, 4, 5].map(argument);
    let mut pool = Pool::beside(6);
    let [end, lo, hi] = [(); 3].map(|()| pool.take());
    let (first, second) = (pool.take_n(ROUND), pool.take_n(ROUND));
    b.push(Inst::Li(lo, limits.0));
    b.push(Inst::Li(hi, limits.1));
    rounds(&mut b, (xa, end), 1, n, |b, n| {
        // Both operands of all places are read before the first result is written.
        for i in 0..n {
            b.push(Inst::Lb(first[i], xa, i as i32));
            b.push(Inst::Lb(second[i], xb, i as i32));
        }
        for i in 0..n {
            b.push(Inst::Mul(first[i], first[i], ma));
            b.push(Inst::Mul(second[i], second[i], mb));
        }
        for i in 0..n {
            b.push(Inst::Add(first[i], first[i], c));
            b.push(Inst::Add(first[i], first[i], second[i]));
            b.push(Inst::Srai(first[i], first[i], shift));
            b.push(Inst::Max(first[i], lo));
            b.push(Inst::Min(first[i], hi));
            b.push(Inst::Sb(first[i], y, i as i32));
        }
        for pointer in [xb, y, xa] {
            b.push(Inst::Addi(pointer, pointer, n as i32));
        }
    });
    b
}

/// The same in vectors: products of 32 bits.
fn sum_lanes(mut b: Block, n: usize, shift: u32, (lo, hi): (i32, i32)) -> Block {
    let [xa, xb, y, ma, mb, c] = [0, 1, 2, 3, 4, 5].map(argument);
    let mut pool = Pool::beside(6);
    let [left, vl, sh, least, most] = [(); 5].map(|()| pool.take());
    b.push(Inst::RoundDown);
    b.push(Inst::Li(left, n as i32));
    b.push(Inst::Li(sh, shift as i32));
    b.push(Inst::Li(least, lo));
    b.push(Inst::Li(most, hi));
    let (first, second) = (V(8), V(16));
    b.repeat(n.div_ceil(32), (left, ZERO), |b| {
        b.push(Inst::Vset(vl, left, 32, Lmul::M8));
        for (x, bytes, wide, m) in [(xa, V(0), first, ma), (xb, V(2), second, mb)] {
            b.push(Inst::Vle8(bytes, x));
            b.push(Inst::Add(x, x, vl));
            b.push(Inst::Vsext4(wide, bytes));
            b.push(Inst::VmulX(wide, wide, m));
        }
        b.push(Inst::VaddX(first, first, c));
        b.push(Inst::VaddV(first, first, second));
        b.push(Inst::VsraX(first, first, sh));
        b.push(Inst::Sub(left, left, vl));
        b.push(Inst::Vset(ZERO, vl, 16, Lmul::M4));
        b.push(Inst::Vnclip0(first, first));
        b.push(Inst::Vset(ZERO, vl, 8, Lmul::M2));
        b.push(Inst::Vnclip0(first, first));
        if lo > -128 {
            b.push(Inst::VmaxX(first, first, least));
        }
        if hi < 127 {
            b.push(Inst::VminX(first, first, most));
        }
        b.push(Inst::Vse8(first, y));
        b.push(Inst::Add(y, y, vl));
    });
    b
}
