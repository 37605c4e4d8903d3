//! Widening for cores with `sxtab16`: int8 inputs to int16 with the zero point subtracted, so
//! that padding is plain zero and `smlad` can take two at once.
//!
//! Law: four inputs `a b c d` become the halves `a c b d`, which is how `sxtab16` parts a word;
//! the weights beside them are packed in the same order ([`position`]). Where windows begin
//! between the fours, [`natural`] keeps the order at two more instructions a word.

use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Which input of a run stands at half `i` of the widened run.
pub fn position(i: usize) -> usize {
    match i % 4 {
        1 => i + 1,
        2 => i - 1,
        _ => i,
    }
}

/// The kernel `(x, out, zx)` for `n` inputs, a multiple of four.
pub fn kernel(n: usize, core: &Core) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("widen_s8");
    let x = k.buffer("x", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I16, n, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_step("i", 0, n, 4, |k, i| {
        for half in 0..4 {
            k.store(out, i + half, x.at(i + position(half)) - zx);
        }
    });
    k.native(block(n, true).native("dsp", core)?);
    k.finish()
}

/// The same for any `n`, inputs in their order.
pub fn natural(n: usize, core: &Core) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("widen_s8");
    let x = k.buffer("x", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I16, n, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_("i", 0, n, |k, i| k.store(out, i, x.at(i) - zx));
    k.native(block(n, false).native("dsp", core)?);
    k.finish()
}

/// The kernel `(x, out)` that copies `n` inputs of sixteen bits; `out` begins on a word.
pub fn copied(n: usize, core: &Core) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("copy_s16");
    let x = k.buffer("x", DType::I16, n, Access::Read);
    let out = k.buffer("out", DType::I16, n, Access::Write);
    k.for_("i", 0, n, |k, i| k.store(out, i, x.at(i)));
    let mut b = Block::new(2);
    b.streams = true;
    let [x, out] = [b.args[0], b.args[1]];
    let done = all(&mut b, n / 2, ROUND, [(x, 4), (out, 4)], &|b, start, n| {
        copy_round(b, (x, out), start, n);
    });
    if n % 2 == 1 {
        let one = b.reg();
        b.push(Inst::Ldrsh(one, x, 4 * done as u32));
        b.push(Inst::Strh(one, out, 4 * done as u32));
    }
    k.native(b.native("dsp", core)?);
    k.finish()
}

/// Writes what handles `words` words of x, at most so many a round, by `each(from word, words)`: rounds in a loop where
/// there are many, and where shorter ones leave no word to be spelled out beside them. Pointers go on by so many bytes
/// a word; gives the words by which they do not.
fn all(
    b: &mut Block,
    words: usize,
    per_round: usize,
    [(x, step_x), (out, step_out)]: [(Reg, i32); 2],
    each: &dyn Fn(&mut Block, usize, usize),
) -> usize {
    let even = (per_round / 2..per_round).rev().find(|&n| words.is_multiple_of(n));
    let (per_round, rounds) = match even.filter(|_| words > per_round && !words.is_multiple_of(per_round)) {
        Some(n) => (n, words / n),
        None => (per_round, if words > 2 * per_round { words / per_round } else { 0 }),
    };
    let rest = words - rounds * per_round;
    for start in (0..rest).step_by(per_round) {
        each(b, start, per_round.min(rest - start));
    }
    if rounds == 0 {
        return words;
    }
    let end = b.reg();
    b.advance(x, step_x * rest as i32);
    b.advance(out, step_out * rest as i32);
    b.push(Inst::Mov(end, x));
    b.advance(end, step_x * (per_round * rounds) as i32);
    let top = b.label(rounds as u64);
    each(b, 0, per_round);
    b.advance(x, step_x * per_round as i32);
    b.advance(out, step_out * per_round as i32);
    b.push(Inst::Cmp(x, end));
    b.push(Inst::BranchBack(Cond::Ne, top));
    0
}

/// Copies `n` words from word `start` on.
fn copy_round(b: &mut Block, (x, out): (Reg, Reg), start: usize, n: usize) {
    let words: Vec<Reg> = (0..n).map(|_| b.reg()).collect();
    for (i, &word) in words.iter().enumerate() {
        b.push(Inst::Ldr(word, x, 4 * (start + i) as u32));
    }
    for (i, &word) in words.iter().enumerate() {
        b.push(Inst::Str(word, out, 4 * (start + i) as u32));
    }
}

/// Words per round of the loop: all that the registers hold; fewer where order is kept.
const ROUND: usize = 8;
const NATURAL: usize = 6;

fn block(n: usize, parted: bool) -> Block {
    let per_round = if parted { ROUND } else { NATURAL };
    let mut b = Block::new(3);
    b.streams = true;
    let [x, out, zx] = [b.args[0], b.args[1], b.args[2]];
    let [minus, z] = b.regs_n();
    b.push(Inst::Neg(minus, zx));
    b.push(Inst::Pkhbt(z, minus, minus));
    let done = 4 * all(&mut b, n / 4, per_round, [(x, 4), (out, 8)], &|b, start, n| {
        round(b, (x, out, z), start, n, parted);
    });
    // What is left behind the last word, one by one.
    for i in 0..n % 4 {
        let [one, minus] = b.regs_n();
        b.push(Inst::Ldrsb(one, x, (done + i) as u32));
        b.push(Inst::Sxth(minus, z));
        b.push(Inst::Add(one, one, minus));
        b.push(Inst::Strh(one, out, 2 * (done + i) as u32));
    }
    b
}

/// `n` words from word `start` on: loads side by side, then extensions, then stores.
fn round(b: &mut Block, (x, out, z): (Reg, Reg, Reg), start: usize, n: usize, parted: bool) {
    let words: Vec<Reg> = (0..n).map(|_| b.reg()).collect();
    for (i, &word) in words.iter().enumerate() {
        b.push(Inst::Ldr(word, x, 4 * (start + i) as u32));
    }
    for (i, &word) in words.iter().enumerate() {
        let [even, odd] = b.regs_n();
        b.push(Inst::Sxtab16(even, z, word, Ror::R0));
        b.push(Inst::Sxtab16(odd, z, word, Ror::R8));
        let (low, high) = if parted {
            (even, odd)
        } else {
            let low = b.reg();
            b.push(Inst::Pkhbt(low, even, odd));
            b.push(Inst::Pkhtb(odd, odd, even, 16));
            (low, odd)
        };
        b.push(Inst::Str(low, out, 8 * (start + i) as u32));
        b.push(Inst::Str(high, out, 8 * (start + i) as u32 + 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run_anywhere};

    #[test]
    fn halves_are_copied() {
        let core = secateur_targets::core("cortex-m4").unwrap();
        let mut random = Random(5);
        for n in [1, 2, 3, 6, 8, 15, 16, 32, 33, 34, 47, 64, 100, 255] {
            let x: Vec<i16> = (0..n).map(|_| random.within(-32768, 32767) as i16).collect();
            let args = vec![Bind::Operand(0), Bind::Result(0)];
            let call = Call { kernel: copied(n, &core).unwrap(), args };
            let got = run_anywhere(&call, &[Data::I16(x.clone())], DType::I16, n);
            assert_eq!(got, Data::I16(x), "{n}");
        }
    }

    #[test]
    fn body_and_instructions_are_exact() {
        let core = secateur_targets::core("cortex-m4").unwrap();
        let mut random = Random(4);
        for n in [4, 16, 36, 64, 68, 128, 200, 5, 6, 27, 99] {
            for (zx, parted) in [(-128, true), (0, false), (127, true), (127, false), (-128, false)] {
                if parted && n % 4 != 0 {
                    continue;
                }
                let x = random.bytes(n);
                let from = |i| if parted { position(i) } else { i };
                let want: Vec<i16> = (0..n).map(|i| i16::from(x[from(i)]) - zx as i16).collect();
                let args = vec![Bind::Operand(0), Bind::Result(0), Bind::Scalar(zx)];
                let kernel = if parted { kernel(n, &core) } else { natural(n, &core) };
                let call = Call { kernel: kernel.unwrap(), args };
                let got = run_anywhere(&call, &[Data::I8(x)], DType::I16, n);
                assert_eq!(got, Data::I16(want), "{n} inputs, zero point {zx}");
            }
        }
    }
}
