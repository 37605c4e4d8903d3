//! Runs without weights for RISC-V: copies, sums, products, means, greatest values and tables of
//! int8 elements, on scalar registers; [`crate::riscv::strips`] has them in vectors.
//!
//! In: a [`Run`]. Out: its native text, or `None` where there is none. Law: as the run's:
//! ascending order, any alignment, each result after the operands of its place.

use crate::asm::riscv::{Block, Inst, Pool, X, ZERO, argument};
use crate::error::Result;
use crate::kernel::Native;
use crate::riscv::strips;
use crate::vector::{Run, Windows};
use secateur_targets::Target;

/// Done at once between two branches.
const ROUND: usize = 8;
/// Taps of a window that are spelled out.
pub const SPELLED: usize = 4;

/// The native of a run for a target's core.
pub fn native(run: &Run, target: &Target) -> Result<Option<Native>> {
    let Some(block) = Block::new(target) else { return Ok(None) };
    if target.has("rvv") {
        return strips::block(block, run).map(|block| block.native("rvv")).transpose();
    }
    let block = match *run {
        Run::Copy { n } => copy(block, n),
        Run::Sum { n, shift, lo, hi } => sum(block, n, shift, (lo, hi)),
        Run::Product { n, sh, lo, hi } => product(block, n, sh, (lo, hi)),
        Run::Mean { windows, up, sh, lo, hi, even } => {
            mean(block, &windows, &Ending { up, sh, limits: (lo, hi), even })
        }
        Run::Max { windows } => max(block, &windows),
        Run::Table { n } => table(block, n),
        Run::Moments { .. } | Run::Normalize { .. } => return Ok(None),
    };
    block.native("rv32").map(Some)
}

/// How a mean ends.
#[derive(Clone, Copy)]
pub struct Ending {
    pub up: u32,
    pub sh: u32,
    pub limits: (i32, i32),
    pub even: Option<u32>,
}

/// Words where both ends are aligned to words, else bytes.
fn copy(mut b: Block, n: usize) -> Block {
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
pub fn rounds(b: &mut Block, (x, end): (X, X), size: usize, count: usize, round: impl Fn(&mut Block, usize)) {
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

/// Two operands `(a, b, y, ...)`, of `arguments` arguments in all: both elements of all places of a
/// round are read before `combine` makes the first of them a result and limits are kept.
fn two(
    mut b: Block,
    n: usize,
    arguments: u8,
    limits: (i32, i32),
    combine: impl Fn(&mut Block, &[X], &[X]),
) -> Block {
    let [xa, xb, y] = [0, 1, 2].map(argument);
    let mut pool = Pool::beside(arguments);
    let [end, lo, hi] = [(); 3].map(|()| pool.take());
    let (first, second) = (pool.take_n(ROUND), pool.take_n(ROUND));
    b.push(Inst::Li(lo, limits.0));
    b.push(Inst::Li(hi, limits.1));
    rounds(&mut b, (xa, end), 1, n, |b, n| {
        for i in 0..n {
            b.push(Inst::Lb(first[i], xa, i as i32));
            b.push(Inst::Lb(second[i], xb, i as i32));
        }
        combine(b, &first[..n], &second[..n]);
        store(b, &first[..n], y, (lo, hi));
        for pointer in [xb, y, xa] {
            b.push(Inst::Addi(pointer, pointer, n as i32));
        }
    });
    b
}

/// Stores results within limits, side by side.
fn store(b: &mut Block, results: &[X], y: X, (lo, hi): (X, X)) {
    for (&result, i) in results.iter().zip(0..) {
        b.push(Inst::Max(result, lo));
        b.push(Inst::Min(result, hi));
        b.push(Inst::Sb(result, y, i));
    }
}

/// `(a, b, y, ma, mb, c)`.
fn sum(b: Block, n: usize, shift: u32, limits: (i32, i32)) -> Block {
    let [ma, mb, c] = [3, 4, 5].map(argument);
    two(b, n, 6, limits, |b, first, second| {
        for (&a, &other) in first.iter().zip(second) {
            b.push(Inst::Mul(a, a, ma));
            b.push(Inst::Mul(other, other, mb));
        }
        for (&a, &other) in first.iter().zip(second) {
            b.push(Inst::Add(a, a, c));
            b.push(Inst::Add(a, a, other));
            b.push(Inst::Srai(a, a, shift));
        }
    })
}

/// `(a, b, y, za, zb, m, rnd)`.
fn product(b: Block, n: usize, sh: u32, limits: (i32, i32)) -> Block {
    let [za, zb, m, rnd] = [3, 4, 5, 6].map(argument);
    two(b, n, 7, limits, |b, first, second| {
        for (&a, &other) in first.iter().zip(second) {
            b.push(Inst::Sub(a, a, za));
            b.push(Inst::Sub(other, other, zb));
            b.push(Inst::Mul(a, a, other));
        }
        for &a in first {
            b.push(Inst::Mulh(a, a, m));
            b.push(Inst::Add(a, a, rnd));
            b.push(Inst::Srai(a, a, sh));
        }
    })
}

/// Registers of a walk over taps: the tap, where its row ends, the row, where rows end, and one
/// for constants.
#[derive(Clone, Copy)]
pub struct Walk {
    at: X,
    stop: X,
    row: X,
    last: X,
    t: X,
}

impl Walk {
    pub fn of(pool: &mut Pool) -> Walk {
        let [at, stop, row, last, t] = [(); 5].map(|()| pool.take());
        Walk { at, stop, row, last, t }
    }
    /// `tap` for each tap of the window at `x`, with the register that points to it.
    pub fn taps(&self, b: &mut Block, x: X, w: &Windows, mut tap: impl FnMut(&mut Block, X)) {
        let ([rows, columns], [down, across]) = (w.taps, w.pitch);
        if rows * columns <= SPELLED {
            for offset in (0..rows).flat_map(|r| (0..columns).map(move |c| r * down + c * across)) {
                match offset {
                    0 => tap(b, x),
                    _ => {
                        b.point(self.at, x, offset as i32);
                        tap(b, self.at);
                    }
                }
            }
            return;
        }
        b.push(Inst::Mv(self.row, x));
        if rows > 1 {
            b.point(self.last, x, (rows * down) as i32);
        }
        b.repeat(rows, (self.row, self.last), |b| {
            // One row of taps is walked by its own pointer.
            let at = if rows > 1 { self.at } else { self.row };
            if rows > 1 {
                b.push(Inst::Mv(at, self.row));
            }
            if columns > 1 {
                b.point(self.stop, at, (columns * across) as i32);
            }
            b.repeat(columns, (at, self.stop), |b| {
                tap(b, at);
                if columns > 1 {
                    b.advance(at, across as i32, self.t);
                }
            });
            if rows > 1 {
                b.advance(self.row, down as i32, self.t);
            }
        });
    }
}

/// What `body` writes turns for each pixel, with `x` and `y` at its first channel; it leaves them
/// behind the last one.
pub fn pixels(b: &mut Block, w: &Windows, (x, y): (X, X), (left, t): (X, X), body: impl FnOnce(&mut Block)) {
    if w.pixels > 1 {
        b.push(Inst::Li(left, w.pixels as i32));
    }
    b.repeat(w.pixels, (left, ZERO), |b| {
        body(b);
        if w.pixels > 1 {
            b.advance(x, w.step[0] as i32 - w.n as i32, t);
            b.advance(y, w.step[1] as i32 - w.n as i32, t);
            b.push(Inst::Addi(left, left, -1));
        }
    });
}

/// Each tap's elements of `n` channels: the next one is loaded before the one at hand is used.
fn elements(b: &mut Block, at: X, inputs: &[X], n: usize, mut each: impl FnMut(&mut Block, usize, X)) {
    b.push(Inst::Lb(inputs[0], at, 0));
    for i in 0..n {
        if i + 1 < n {
            b.push(Inst::Lb(inputs[(i + 1) % 2], at, i as i32 + 1));
        }
        each(b, i, inputs[i % 2]);
    }
}

/// `(x, y)`.
fn max(mut b: Block, w: &Windows) -> Block {
    let [x, y] = [0, 1].map(argument);
    let mut pool = Pool::beside(2);
    let [end, left] = [(); 2].map(|()| pool.take());
    let walk = Walk::of(&mut pool);
    let (best, inputs) = (pool.take_n(ROUND), pool.take_n(2));
    pixels(&mut b, w, (x, y), (left, walk.t), |b| {
        rounds(b, (x, end), 1, w.n, |b, n| {
            // The first tap twice costs less than to begin with the least value there is.
            best[..n].iter().zip(0..).for_each(|(&best, i)| b.push(Inst::Lb(best, x, i)));
            walk.taps(b, x, w, |b, at| {
                if at != x {
                    elements(b, at, &inputs, n, |b, i, input| b.push(Inst::Max(best[i], input)));
                }
            });
            best[..n].iter().zip(0..).for_each(|(&best, i)| b.push(Inst::Sb(best, y, i)));
            b.push(Inst::Addi(y, y, n as i32));
            b.push(Inst::Addi(x, x, n as i32));
        });
    });
    b
}

/// `(x, y, offset, m, rnd)`: the sums of a few columns at once.
fn mean(mut b: Block, w: &Windows, end: &Ending) -> Block {
    let [x, y, offset, m, rnd] = [0, 1, 2, 3, 4].map(argument);
    let mut pool = Pool::beside(5);
    let [stop, left, lo, hi] = [(); 4].map(|()| pool.take());
    let walk = Walk::of(&mut pool);
    let (sums, inputs) = (pool.take_n(ROUND), pool.take_n(2));
    let t = walk.t;
    b.push(Inst::Li(lo, end.limits.0));
    b.push(Inst::Li(hi, end.limits.1));
    pixels(&mut b, w, (x, y), (left, t), |b| {
        rounds(b, (x, stop), 1, w.n, |b, n| {
            let sums = &sums[..n];
            sums.iter().for_each(|&sum| b.push(Inst::Mv(sum, offset)));
            walk.taps(b, x, w, |b, at| {
                elements(b, at, &inputs, n, |b, i, input| b.push(Inst::Add(sums[i], sums[i], input)));
            });
            for &sum in sums {
                if let Some(by) = end.even {
                    b.push(Inst::Srai(t, sum, by));
                    b.push(Inst::Andi(t, t, 1));
                    b.push(Inst::Addi(sum, sum, -1));
                    b.push(Inst::Add(sum, sum, t));
                }
                if end.up > 0 {
                    b.push(Inst::Slli(sum, sum, end.up));
                }
                b.push(Inst::Mulh(sum, sum, m));
                b.push(Inst::Add(sum, sum, rnd));
                b.push(Inst::Srai(sum, sum, end.sh));
            }
            store(b, sums, y, (lo, hi));
            b.push(Inst::Addi(y, y, n as i32));
            b.push(Inst::Addi(x, x, n as i32));
        });
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
