//! Columns of inputs for [`crate::armv6m::gemm`]: two pixels' inputs become the two halves of words.
//!
//! Law: a word is `a + b * 2^16` of the first and the second pixel's input, both signed, so
//! that one multiplication gives both products. Any alignment of the inputs will do.

use crate::asm::armv6m::{Code, Cond, Inst, LR, R0, R1, R2, R3, R4, R5, R6, R7, R12};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// The kernel `(a, b, out)`: `n` inputs of two pixels into words that stand `pitch` words apart.
pub fn kernel(n: usize, pitch: usize, core: &Cost) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("gather_s8");
    let a = k.buffer("a", DType::I8, n, Access::Read);
    let b = k.buffer("b", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I32, (n - 1) * pitch + 1, Access::Write);
    k.for_("i", 0, n, |k, i| k.store(out, i * pitch, a.at(i) + b.at(i) * 65536));
    k.native(code(n, pitch).finish(core)?);
    k.finish()
}

/// The kernel `(a, b, out)`: `rows` rows of `n` inputs of two pixels, rows `step` bytes apart; words
/// stand `pitch` words apart.
pub fn windows(n: usize, (rows, step): (usize, usize), pitch: usize, core: &Cost) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("gather_windows_s8");
    let a = k.buffer("a", DType::I8, (rows - 1) * step + n, Access::Read);
    let b = k.buffer("b", DType::I8, (rows - 1) * step + n, Access::Read);
    let out = k.buffer("out", DType::I32, (rows * n - 1) * pitch + 1, Access::Write);
    k.for_("r", 0, rows, |k, r| {
        k.for_("i", 0, n, |k, i| {
            let from = k.let_("from", r * step + i);
            k.store(out, r * (n * pitch) + i * pitch, a.at(from) + b.at(from) * 65536);
        });
    });
    k.native(windows_code(n, (rows, step), pitch).finish(core)?);
    k.finish()
}

/// As [`code`], in a loop over rows: lr holds where the words end.
pub fn windows_code(n: usize, (rows, step): (usize, usize), pitch: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    c.push(Inst::Mov(R7, R2));
    c.advance(R7, (4 * rows * n * pitch) as u32, R4);
    c.push(Inst::Mov(LR, R7));
    let row = c.here();
    c.times(rows as f64, |c| {
        let rest = columns(c, n, pitch);
        c.advance(R2, (4 * rest * pitch) as u32, R4);
        c.advance(R0, step as u32, R4);
        c.advance(R1, step as u32, R4);
        c.all([Inst::Cmp(R2, LR), Inst::BranchIf(Cond::Ne, row)]);
    });
    c
}

/// The kernel `(x, out)`: `n` inputs of each word's two pixels, which lie `apart` bytes from each other
/// and `step` from those of the next word; words of an input stand side by side, those of the next one
/// `pitch` words further.
pub fn rows(
    n: usize,
    words: usize,
    (step, apart): (usize, usize),
    pitch: usize,
    core: &Cost,
) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("gather_rows_s8");
    let x = k.buffer("x", DType::I8, (words - 1) * step + apart + n, Access::Read);
    let out = k.buffer("out", DType::I32, (n - 1) * pitch + words, Access::Write);
    k.for_("word", 0, words, |k, word| {
        k.for_("i", 0, n, |k, i| {
            let a = k.let_("a", word * step + i);
            k.store(out, i * pitch + word, x.at(a) + x.at(a + apart) * 65536);
        });
    });
    k.native(rows_code(n, words, (step, apart), pitch).finish(core)?);
    k.finish()
}

/// As [`code`], in a loop over words: lr holds where the last word ends.
pub fn rows_code(n: usize, words: usize, (step, apart): (usize, usize), pitch: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    c.push(Inst::Mov(R7, R1));
    c.push(Inst::Mov(R2, R1));
    c.push(Inst::Mov(R1, R0));
    c.advance(R1, apart as u32, R4);
    c.advance(R7, 4 * words as u32, R4);
    c.push(Inst::Mov(LR, R7));
    let word = c.here();
    c.times(words as f64, |c| {
        c.all([Inst::Mov(R12, R2)]);
        columns(c, n, pitch);
        // The next pixels, and the words beside these.
        c.push(Inst::Mov(R2, R12));
        c.push(Inst::AddImm(R2, 4));
        c.advance(R0, step as u32, R4);
        c.advance(R1, step as u32, R4);
        c.all([Inst::Cmp(R2, LR), Inst::BranchIf(Cond::Ne, word)]);
    });
    c
}

/// Inputs per turn of the loop.
const ROUND: usize = 4;

pub fn code(n: usize, pitch: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    columns(&mut c, n, pitch);
    c
}

/// `n` inputs at r0 and r1 into words from r2 on, which moves but for the words of as many inputs
/// as it gives back.
fn columns(c: &mut Code, n: usize, pitch: usize) -> usize {
    let step = 4 * pitch as u32;
    let (turns, rest) = if n < 2 * ROUND { (0, n) } else { (n / ROUND, n % ROUND) };
    c.push(Inst::MovImm(R3, 0));
    let round = |c: &mut Code, inputs: usize| {
        for j in 0..inputs as u32 {
            c.all([Inst::Ldrsb(R4, R0, R3), Inst::Ldrsb(R5, R1, R3), Inst::Lsl(R5, R5, 16)]);
            c.all([Inst::Add(R4, R4, R5), Inst::Str(R4, R2, step * (j % ROUND as u32)), Inst::AddImm(R3, 1)]);
            if j % ROUND as u32 == ROUND as u32 - 1 {
                c.advance(R2, step * ROUND as u32, R4);
            }
        }
    };
    if turns > 0 {
        c.constant(R6, (turns * ROUND) as u32);
        let top = c.here();
        c.times(turns as f64, |c| {
            round(c, ROUND);
            c.all([Inst::Cmp(R3, R6), Inst::BranchIf(Cond::Ne, top)]);
        });
    }
    round(c, rest);
    rest % ROUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let core = secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap();
        let mut random = Random(12);
        for (n, pairs, step) in [(1, 1, 1), (3, 4, 3), (9, 4, 12), (64, 4, 64), (131, 2, 700), (17, 3, 17)] {
            let x = random.bytes((2 * pairs - 1) * step + n);
            let call = Call {
                kernel: rows(n, pairs, (2 * step, step), pairs, &core).unwrap(),
                args: vec![Bind::Operand(0), Bind::Result(0)],
            };
            let Data::I32(all) = run(&call, &[Data::I8(x.clone())], DType::I32, n * pairs) else { panic!() };
            for i in 0..n {
                for pair in 0..pairs {
                    let at = 2 * pair * step + i;
                    assert_eq!(all[i * pairs + pair], i32::from(x[at]) + (i32::from(x[at + step]) << 16));
                }
            }
            // Rows of windows: as many inputs of pixels further on.
            let rows = pairs - pairs / 2;
            let (b_at, pitch) = (x.len() - ((rows - 1) * step + n), 1 + n % 3);
            let windows = windows(n, (rows, step), pitch, &core).unwrap();
            let call =
                Call { kernel: windows, args: vec![Bind::Operand(0), Bind::Operand(1), Bind::Result(0)] };
            let len = (rows * n - 1) * pitch + 1;
            let operands = [Data::I8(x.clone()), Data::I8(x[b_at..].to_vec())];
            let operands = operands.map(|d| match d {
                Data::I8(v) => Data::I8(v[..(rows - 1) * step + n].to_vec()),
                d => d,
            });
            let Data::I32(body) = run(&call, &operands, DType::I32, len) else { panic!() };
            for (i, &word) in body.iter().enumerate().step_by(pitch) {
                let at = i / pitch / n * step + i / pitch % n;
                assert_eq!(word, i32::from(x[at]) + (i32::from(x[b_at + at]) << 16));
            }
            // Two rows alone are the first pair of all.
            let args = vec![Bind::Operand(0), Bind::Operand(1), Bind::Result(0)];
            let call = Call { kernel: kernel(n, pairs, &core).unwrap(), args };
            let two = [Data::I8(x[..n].to_vec()), Data::I8(x[step..step + n].to_vec())];
            let Data::I32(one) = run(&call, &two, DType::I32, (n - 1) * pairs + 1) else { panic!() };
            assert!(one.iter().zip(&all).step_by(pairs).all(|(one, all)| one == all), "{n} {pairs} {step}");
        }
    }
}
