//! Runs without weights for RISC-V: copies, sums, products, means and tables of int8 elements, on
//! scalar registers and in vectors.
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
        Run::Product { n, sh, lo, hi } if vectors => product_lanes(block, n, sh, (lo, hi)),
        Run::Product { n, sh, lo, hi } => product(block, n, sh, (lo, hi)),
        Run::Mean { windows: w, up: 0, sh, lo, hi, even } => {
            let (n, (rows, pitch)) = (w.n, w.single()?);
            let end = Ending { sh, limits: (lo, hi), even };
            if vectors {
                mean_lanes(block, n, (rows, pitch), end)
            } else {
                mean(block, n, (rows, pitch), end)
            }
        }
        Run::Mean { .. } | Run::Max { .. } => return None,
        Run::Table { n } if vectors => table_lanes(block, n),
        Run::Table { n } => table(block, n),
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
        b.sometimes(0.0, |b| part(b, 1, n));
        b.push(Inst::Label(done));
    } else {
        part(&mut b, 1, n);
    }
    b
}

/// `count` pieces of `size` bytes from pointer `x` on, [`ROUND`] at once, then the rest.
pub(super) fn rounds(
    b: &mut Block,
    (x, end): (X, X),
    size: usize,
    count: usize,
    round: impl Fn(&mut Block, usize),
) {
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
        narrow(b, first, vl, (least, most), (lo, hi));
        b.push(Inst::Vse8(first, y));
        b.push(Inst::Add(y, y, vl));
    });
    b
}

/// Words of a group of eight registers to bytes, saturated and within limits.
fn narrow(b: &mut Block, v: V, vl: X, (least, most): (X, X), (lo, hi): (i32, i32)) {
    b.push(Inst::Vset(ZERO, vl, 16, Lmul::M4));
    b.push(Inst::Vnclip0(v, v));
    b.push(Inst::Vset(ZERO, vl, 8, Lmul::M2));
    b.push(Inst::Vnclip0(v, v));
    if lo > -128 {
        b.push(Inst::VmaxX(v, v, least));
    }
    if hi < 127 {
        b.push(Inst::VminX(v, v, most));
    }
}

/// `(a, b, y, za, zb, m, rnd)`.
fn product(mut b: Block, n: usize, sh: u32, limits: (i32, i32)) -> Block {
    let [xa, xb, y, za, zb, m, rnd] = [0, 1, 2, 3, 4, 5, 6].map(argument);
    let mut pool = Pool::beside(7);
    let [end, lo, hi] = [(); 3].map(|()| pool.take());
    let (first, second) = (pool.take_n(ROUND), pool.take_n(ROUND));
    b.push(Inst::Li(lo, limits.0));
    b.push(Inst::Li(hi, limits.1));
    rounds(&mut b, (xa, end), 1, n, |b, n| {
        for i in 0..n {
            b.push(Inst::Lb(first[i], xa, i as i32));
            b.push(Inst::Lb(second[i], xb, i as i32));
        }
        for i in 0..n {
            b.push(Inst::Sub(first[i], first[i], za));
            b.push(Inst::Sub(second[i], second[i], zb));
            b.push(Inst::Mul(first[i], first[i], second[i]));
        }
        for i in 0..n {
            b.push(Inst::Mulh(first[i], first[i], m));
            b.push(Inst::Add(first[i], first[i], rnd));
            b.push(Inst::Srai(first[i], first[i], sh));
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

/// The same in vectors.
fn product_lanes(mut b: Block, n: usize, shift: u32, (lo, hi): (i32, i32)) -> Block {
    let [xa, xb, y, za, zb, m, rnd] = [0, 1, 2, 3, 4, 5, 6].map(argument);
    let mut pool = Pool::beside(7);
    let [left, vl, sh, least, most] = [(); 5].map(|()| pool.take());
    b.push(Inst::RoundDown);
    b.push(Inst::Li(left, n as i32));
    b.push(Inst::Li(sh, shift as i32));
    b.push(Inst::Li(least, lo));
    b.push(Inst::Li(most, hi));
    let (first, second) = (V(8), V(16));
    b.repeat(n.div_ceil(32), (left, ZERO), |b| {
        b.push(Inst::Vset(vl, left, 32, Lmul::M8));
        for (x, bytes, wide, z) in [(xa, V(0), first, za), (xb, V(2), second, zb)] {
            b.push(Inst::Vle8(bytes, x));
            b.push(Inst::Add(x, x, vl));
            b.push(Inst::Vsext4(wide, bytes));
            b.push(Inst::VsubX(wide, wide, z));
        }
        b.push(Inst::VmulV(first, first, second));
        b.push(Inst::VmulhX(first, first, m));
        b.push(Inst::VaddX(first, first, rnd));
        b.push(Inst::VsraX(first, first, sh));
        b.push(Inst::Sub(left, left, vl));
        narrow(b, first, vl, (least, most), (lo, hi));
        b.push(Inst::Vse8(first, y));
        b.push(Inst::Add(y, y, vl));
    });
    b
}

/// How a mean ends.
#[derive(Clone, Copy)]
struct Ending {
    sh: u32,
    limits: (i32, i32),
    even: Option<u32>,
}

/// `(x, y, offset, m, rnd)`: the sums of a few columns at once.
fn mean(mut b: Block, n: usize, (rows, pitch): (usize, usize), end: Ending) -> Block {
    let [x, y, offset, m, rnd] = [0, 1, 2, 3, 4].map(argument);
    let mut pool = Pool::beside(5);
    let [at, stop, lo, hi, last, t] = [(); 6].map(|()| pool.take());
    let sums = pool.take_n(ROUND);
    let inputs = pool.take_n(2);
    b.push(Inst::Li(lo, end.limits.0));
    b.push(Inst::Li(hi, end.limits.1));
    rounds(&mut b, (x, last), 1, n, |b, n| {
        b.push(Inst::Mv(at, x));
        b.point(stop, x, (rows * pitch) as i32);
        sums[..n].iter().for_each(|&sum| b.push(Inst::Mv(sum, offset)));
        b.repeat(rows, (at, stop), |b| {
            b.push(Inst::Lb(inputs[0], at, 0));
            for i in 0..n {
                if i + 1 < n {
                    b.push(Inst::Lb(inputs[(i + 1) % 2], at, i as i32 + 1));
                }
                b.push(Inst::Add(sums[i], sums[i], inputs[i % 2]));
            }
            b.advance(at, pitch as i32, t);
        });
        for (i, &sum) in sums[..n].iter().enumerate() {
            if let Some(by) = end.even {
                b.push(Inst::Srai(t, sum, by));
                b.push(Inst::Andi(t, t, 1));
                b.push(Inst::Addi(sum, sum, -1));
                b.push(Inst::Add(sum, sum, t));
            }
            b.push(Inst::Mulh(sum, sum, m));
            b.push(Inst::Add(sum, sum, rnd));
            b.push(Inst::Srai(sum, sum, end.sh));
            b.push(Inst::Max(sum, lo));
            b.push(Inst::Min(sum, hi));
            b.push(Inst::Sb(sum, y, i as i32));
        }
        b.push(Inst::Addi(y, y, n as i32));
        b.push(Inst::Addi(x, x, n as i32));
    });
    b
}

/// The same in vectors of columns.
fn mean_lanes(mut b: Block, n: usize, (rows, pitch): (usize, usize), end: Ending) -> Block {
    let [x, y, offset, m, rnd] = [0, 1, 2, 3, 4].map(argument);
    let mut pool = Pool::beside(5);
    let [left, vl, at, stop, sh, least, most, t] = [(); 8].map(|()| pool.take());
    let (lo, hi) = end.limits;
    b.push(Inst::RoundDown);
    b.push(Inst::Li(left, n as i32));
    b.push(Inst::Li(sh, end.sh as i32));
    b.push(Inst::Li(least, lo));
    b.push(Inst::Li(most, hi));
    let (bytes, wide, sums) = (V(0), V(8), V(16));
    b.repeat(n.div_ceil(32), (left, ZERO), |b| {
        b.push(Inst::Vset(vl, left, 32, Lmul::M8));
        b.push(Inst::VmvX(sums, offset));
        b.push(Inst::Mv(at, x));
        b.point(stop, x, (rows * pitch) as i32);
        b.repeat(rows, (at, stop), |b| {
            b.push(Inst::Vle8(bytes, at));
            b.advance(at, pitch as i32, t);
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
        b.push(Inst::VmulhX(sums, sums, m));
        b.push(Inst::VaddX(sums, sums, rnd));
        b.push(Inst::VsraX(sums, sums, sh));
        b.push(Inst::Add(x, x, vl));
        b.push(Inst::Sub(left, left, vl));
        narrow(b, sums, vl, (least, most), (lo, hi));
        b.push(Inst::Vse8(sums, y));
        b.push(Inst::Add(y, y, vl));
    });
    b
}

/// `(x, table, y)`.
fn table(mut b: Block, n: usize) -> Block {
    let [x, middle, y] = [0, 1, 2].map(argument);
    let mut pool = Pool::beside(3);
    let end = pool.take();
    let values = pool.take_n(ROUND);
    b.push(Inst::Addi(middle, middle, 128));
    rounds(&mut b, (x, end), 1, n, |b, n| {
        let values = &values[..n];
        values.iter().zip(0..).for_each(|(&v, i)| b.push(Inst::Lb(v, x, i)));
        values.iter().for_each(|&v| b.push(Inst::Add(v, v, middle)));
        values.iter().for_each(|&v| b.push(Inst::Lb(v, v, 0)));
        values.iter().zip(0..).for_each(|(&v, i)| b.push(Inst::Sb(v, y, i)));
        b.push(Inst::Addi(y, y, n as i32));
        b.push(Inst::Addi(x, x, n as i32));
    });
    b
}

/// The same by loads at offsets of 0..=255.
fn table_lanes(mut b: Block, n: usize) -> Block {
    let [x, table, y] = [0, 1, 2].map(argument);
    let mut pool = Pool::beside(3);
    let [left, vl, half] = [(); 3].map(|()| pool.take());
    b.push(Inst::Li(left, n as i32));
    b.push(Inst::Li(half, 128));
    b.repeat(n.div_ceil(128), (left, ZERO), |b| {
        b.push(Inst::Vset(vl, left, 8, Lmul::M8));
        b.push(Inst::Vle8(V(0), x));
        b.push(Inst::Add(x, x, vl));
        b.push(Inst::VaddX(V(0), V(0), half));
        b.push(Inst::Vluxei8(V(8), table, V(0)));
        b.push(Inst::Sub(left, left, vl));
        b.push(Inst::Vse8(V(8), y));
        b.push(Inst::Add(y, y, vl));
    });
    b
}
