//! Rows that are normalized, for cores with `smlad` and `smmul`: their sums, and their results.
//!
//! In: a length, and how a result ends. Out: the instructions. An element of sums takes under two cycles on
//! Cortex-M4, one of results nine: extend, two products, a bias, a product, saturate, store.

use crate::armv7em::elementwise::{store, turns};
use crate::asm::armv7em::{Block, Inst, Reg, Ror};

/// Words of elements per turn of a loop.
const TURN: usize = 4;

/// The sum of the elements and that of their squares.
pub(super) fn moments(n: usize) -> Block {
    let mut b = Block::new(2);
    let [x, sums] = [b.args[0], b.args[1]];
    let [sum, squares, ones] = b.regs_n();
    b.push(Inst::MovImm(sum, 0));
    b.push(Inst::MovImm(squares, 0));
    b.push(Inst::MovImm(ones, 0x0001_0001));
    let words = |b: &mut Block, count: usize| {
        for w in 0..count {
            let [word, even, odd] = b.regs_n();
            b.push(Inst::Ldr(word, x, 4 * w as u32));
            b.push(Inst::Sxtb16(even, word, Ror::R0));
            b.push(Inst::Sxtb16(odd, word, Ror::R8));
            b.push(Inst::Smlad(sum, even, ones, sum));
            b.push(Inst::Smlad(squares, even, even, squares));
            b.push(Inst::Smlad(sum, odd, ones, sum));
            b.push(Inst::Smlad(squares, odd, odd, squares));
        }
        b.advance(x, 4 * count as i32);
    };
    let whole = n / (4 * TURN);
    turns(&mut b, x, 4 * TURN, whole, &|b| words(b, TURN));
    let rest = n - 4 * TURN * whole;
    if rest >= 4 {
        words(&mut b, rest / 4);
    }
    for i in 0..(rest % 4) as u32 {
        let v = b.reg();
        b.push(Inst::Ldrsb(v, x, i));
        b.push(Inst::Add(sum, sum, v));
        b.push(Inst::Mla(squares, v, v, squares));
    }
    b.push(Inst::Str(sum, sums, 0));
    b.push(Inst::Str(squares, sums, 4));
    b
}

/// The results of a row.
pub(super) fn normalize(n: usize, shift: u32, limits: (i32, i32)) -> Block {
    let mut b = Block::new(4);
    b.streams = true;
    let [x, scale, bias, y] = [b.args[0], b.args[1], b.args[2], b.args[3]];
    let [by, less, m] = b.regs_n();
    b.push(Inst::LdrArg(by, 4));
    b.push(Inst::LdrArg(less, 5));
    b.push(Inst::LdrArg(m, 6));
    b.push(Inst::Neg(less, less));
    let close = |b: &mut Block, v: Reg, factor: Reg, top: bool, at: u32| {
        b.push(Inst::Mla(v, v, by, less));
        b.push(Inst::Smmul(v, v, m));
        let sum = b.reg();
        b.push(Inst::Ldr(sum, bias, 4 * at));
        match top {
            true => b.push(Inst::Smlabt(sum, v, factor, sum)),
            false => b.push(Inst::Smlabb(sum, v, factor, sum)),
        }
        store(b, sum, shift, limits, y, at);
    };
    let words = |b: &mut Block, count: usize| {
        for w in 0..count as u32 {
            let word = b.reg();
            b.push(Inst::Ldr(word, x, 4 * w));
            for half in 0..2 {
                let factors = b.reg();
                b.push(Inst::Ldr(factors, scale, 8 * w + 4 * half));
                for i in 0..2 {
                    let v = b.reg();
                    b.push(Inst::Sxtb(v, word, 2 * half + i));
                    close(b, v, factors, i == 1, 4 * w + 2 * half + i);
                }
            }
        }
        for (walk, size) in [(x, 1), (scale, 2), (bias, 4), (y, 1)] {
            b.advance(walk, (4 * size * count) as i32);
        }
    };
    let whole = n / (4 * TURN);
    turns(&mut b, x, 4 * TURN, whole, &|b| words(b, TURN));
    let rest = n - 4 * TURN * whole;
    if rest >= 4 {
        words(&mut b, rest / 4);
    }
    for i in 0..(rest % 4) as u32 {
        let [v, factor] = b.regs_n();
        b.push(Inst::Ldrsb(v, x, i));
        b.push(Inst::Ldrsh(factor, scale, 2 * i));
        close(&mut b, v, factor, false, i);
    }
    b
}
