//! Runs without weights for cores with `sxtab16` and `smmla`: sums, products, tables and copies of
//! int8 elements, four to a word; windows are in [`pools`].
//!
//! In: a [`Run`]. Out: its instructions, or `None` where its sizes do not fit them.
//! Law: as the run's: ascending order, any alignment.

use crate::armv7em::{normalize, pools};
use crate::asm::armv7em::{Block, Cond, Inst, Reg};
use crate::vector::Run;

/// The instructions of a run.
pub fn block(run: &Run) -> Option<Block> {
    match *run {
        Run::Sum { n, shift, lo, hi } => Some(sum(n, shift, (lo, hi))),
        Run::Product { n, sh, lo, hi } => Some(product(n, sh, (lo, hi))),
        Run::Table { n } => Some(table(n)),
        Run::Mean { windows, up, sh, lo, hi, even } => {
            pools::mean(&windows, pools::Ending { up, sh, limits: (lo, hi), even })
        }
        Run::Max { windows } => pools::max(&windows),
        Run::Copy { n } => Some(copy(n)),
        Run::Moments { n } => Some(normalize::moments(n)),
        Run::Normalize { n, shift, lo, hi } => Some(normalize::normalize(n, shift, (lo, hi))),
    }
    .map(|mut block| {
        block.streams = true;
        block
    })
}

/// Words per turn of a loop.
const TURN: usize = 2;

/// Shifts, saturates, clamps and stores a byte.
pub fn store(b: &mut Block, v: Reg, shift: u32, limits: (i32, i32), y: Reg, at: u32) {
    b.push(Inst::Ssat(v, 8, v, shift));
    if limits.0 > -128 {
        b.push(Inst::MaxImm(v, limits.0));
    }
    if limits.1 < 127 {
        b.push(Inst::MinImm(v, limits.1));
    }
    b.push(Inst::Strb(v, y, at));
}

/// `turns` of a loop that moves `walk` by so many bytes each.
pub fn turns(b: &mut Block, walk: Reg, bytes: usize, turns: usize, body: &dyn Fn(&mut Block)) {
    match turns {
        0 => {}
        1 => body(b),
        _ => {
            let end = b.reg();
            let slot = b.slot();
            b.push(Inst::Mov(end, walk));
            b.advance(end, (bytes * turns) as i32);
            b.push(Inst::StrSlot(end, slot));
            let top = b.label(turns as u64);
            body(b);
            let end = b.reg();
            b.push(Inst::LdrSlot(end, slot));
            b.push(Inst::Cmp(walk, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
    }
}

/// A loop over the words of two operands and a result, and what remains byte by byte. `each`
/// writes the element at an offset, `Some(i)` for byte `i` of two words and `None` for bytes
/// that stand sign-extended.
fn pairs(
    b: &mut Block,
    n: usize,
    [x0, x1, y]: [Reg; 3],
    each: &dyn Fn(&mut Block, [Reg; 2], Option<u32>, u32),
) {
    let words = |b: &mut Block, count: usize| {
        let loaded: Vec<[Reg; 2]> = (0..count)
            .map(|w| {
                let pair = b.regs_n();
                b.push(Inst::Ldr(pair[0], x0, 4 * w as u32));
                b.push(Inst::Ldr(pair[1], x1, 4 * w as u32));
                pair
            })
            .collect();
        for (w, pair) in loaded.into_iter().enumerate() {
            for i in 0..4 {
                each(b, pair, Some(i), 4 * w as u32 + i);
            }
        }
    };
    let turns = n / (4 * TURN);
    let advance = |b: &mut Block, by: usize| [x0, x1, y].into_iter().for_each(|r| b.advance(r, by as i32));
    if turns > 0 {
        let end = b.reg();
        let slot = b.slot();
        b.push(Inst::Mov(end, x0));
        b.advance(end, (4 * TURN * turns) as i32);
        b.push(Inst::StrSlot(end, slot));
        let top = b.label(turns as u64);
        words(b, TURN);
        advance(b, 4 * TURN);
        let end = b.reg();
        b.push(Inst::LdrSlot(end, slot));
        b.push(Inst::Cmp(x0, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
    }
    let mut rest = n - turns * 4 * TURN;
    if rest >= 4 {
        words(b, 1);
        advance(b, 4);
        rest -= 4;
    }
    for i in 0..rest as u32 {
        let pair: [Reg; 2] = b.regs_n();
        b.push(Inst::Ldrsb(pair[0], x0, i));
        b.push(Inst::Ldrsb(pair[1], x1, i));
        each(b, pair, None, i);
    }
}

fn sum(n: usize, shift: u32, limits: (i32, i32)) -> Block {
    let mut b = Block::new(4);
    b.streams = true;
    let [x0, x1, y, ma] = [b.args[0], b.args[1], b.args[2], b.args[3]];
    let [mb, c] = b.regs_n();
    b.push(Inst::LdrArg(mb, 4));
    b.push(Inst::LdrArg(c, 5));
    pairs(&mut b, n, [x0, x1, y], &|b, [u, v], byte, at| {
        let (mut p, mut q) = (u, v);
        if let Some(byte) = byte {
            [p, q] = b.regs_n();
            b.push(Inst::Sxtb(p, u, byte));
            b.push(Inst::Sxtb(q, v, byte));
        }
        let acc = b.reg();
        b.push(Inst::Mla(acc, p, ma, c));
        b.push(Inst::Mla(acc, q, mb, acc));
        store(b, acc, shift, limits, y, at);
    });
    b
}

fn product(n: usize, sh: u32, limits: (i32, i32)) -> Block {
    let mut b = Block::new(4);
    b.streams = true;
    let [x0, x1, y, za] = [b.args[0], b.args[1], b.args[2], b.args[3]];
    let [zb, m, rnd] = b.regs_n();
    b.push(Inst::LdrArg(zb, 4));
    b.push(Inst::LdrArg(m, 5));
    b.push(Inst::LdrArg(rnd, 6));
    b.push(Inst::Neg(za, za));
    b.push(Inst::Neg(zb, zb));
    pairs(&mut b, n, [x0, x1, y], &|b, [u, v], byte, at| {
        let [p, q, acc] = b.regs_n();
        match byte {
            Some(byte) => {
                b.push(Inst::Sxtab(p, za, u, byte));
                b.push(Inst::Sxtab(q, zb, v, byte));
            }
            None => {
                b.push(Inst::Add(p, u, za));
                b.push(Inst::Add(q, v, zb));
            }
        }
        b.push(Inst::Mul(acc, p, q));
        b.push(Inst::Smmla(acc, acc, m, rnd));
        store(b, acc, sh, limits, y, at);
    });
    b
}

fn table(n: usize) -> Block {
    let mut b = Block::new(3);
    let [x, table, y] = [b.args[0], b.args[1], b.args[2]];
    b.push(Inst::AddImm(table, table, 128));
    let words = |b: &mut Block, count: usize| {
        let words: Vec<Reg> = (0..count).map(|_| b.reg()).collect();
        for (i, &w) in words.iter().enumerate() {
            b.push(Inst::Ldr(w, x, 4 * i as u32));
        }
        for (i, w) in words.into_iter().enumerate() {
            let bytes: [Reg; 4] = b.regs_n();
            for (byte, &r) in bytes.iter().enumerate() {
                b.push(Inst::Sxtb(r, w, byte as u32));
            }
            for &r in &bytes {
                b.push(Inst::LdrsbAt(r, table, r, 0));
            }
            for (byte, &r) in bytes.iter().enumerate() {
                b.push(Inst::Strb(r, y, (4 * i + byte) as u32));
            }
        }
        b.advance(x, 4 * count as i32);
        b.advance(y, 4 * count as i32);
    };
    let turns = n / (4 * TURN);
    if turns > 0 {
        let end = b.reg();
        b.push(Inst::Mov(end, x));
        b.advance(end, (4 * TURN * turns) as i32);
        let top = b.label(turns as u64);
        words(&mut b, TURN);
        b.push(Inst::Cmp(x, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
    }
    let rest = n - 4 * TURN * turns;
    if rest >= 4 {
        words(&mut b, 1);
    }
    for i in 0..(rest % 4) as u32 {
        let r = b.reg();
        b.push(Inst::Ldrsb(r, x, i));
        b.push(Inst::LdrsbAt(r, table, r, 0));
        b.push(Inst::Strb(r, y, i));
    }
    b
}

/// Words per turn of a copy: loads in a row cost one cycle each behind the first.
const COPIED: usize = 4;

fn copy(n: usize) -> Block {
    let mut b = Block::new(2);
    let [x, y] = [b.args[0], b.args[1]];
    let words = |b: &mut Block, count: usize| {
        let words: Vec<Reg> = (0..count).map(|_| b.reg()).collect();
        for (i, &w) in words.iter().enumerate() {
            b.push(Inst::Ldr(w, x, 4 * i as u32));
        }
        for (i, &w) in words.iter().enumerate() {
            b.push(Inst::Str(w, y, 4 * i as u32));
        }
        b.advance(x, 4 * count as i32);
        b.advance(y, 4 * count as i32);
    };
    let turns = n / (4 * COPIED);
    if turns > 0 {
        let end = b.reg();
        b.push(Inst::Mov(end, x));
        b.advance(end, (4 * COPIED * turns) as i32);
        let top = b.label(turns as u64);
        words(&mut b, COPIED);
        b.push(Inst::Cmp(x, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
    }
    let rest = n - 4 * COPIED * turns;
    if rest >= 4 {
        words(&mut b, rest / 4);
    }
    for i in 0..(rest % 4) as u32 {
        let r = b.reg();
        b.push(Inst::Ldrsb(r, x, i));
        b.push(Inst::Strb(r, y, i));
    }
    b
}
