//! Runs without weights for cores with `sxtab16` and `smmla`: sums, products, tables and copies of
//! int8 elements, four to a word; windows are in [`pools`].
//!
//! In: a [`Run`]. Out: its instructions, or `None` where its sizes do not fit them.
//! Law: as the run's: ascending order, any alignment.

use crate::asm::armv7em::{Block, Cond, Inst, Reg};
use crate::kernels::armv7em::pools;
use crate::kernels::vector::Run;

/// The instructions of a run.
pub(crate) fn block(run: &Run) -> Option<Block> {
    match *run {
        Run::Sum { n, shift, lo, hi } => Some(sum(n, shift, (lo, hi))),
        Run::Product { n, sh, lo, hi } => Some(product(n, sh, (lo, hi))),
        Run::Table { n } => Some(table(n)),
        Run::Mean { windows, up, sh, lo, hi, even } => {
            pools::mean(&windows, pools::Ending { up, sh, limits: (lo, hi), even })
        }
        Run::Max { windows } => pools::max(&windows),
        Run::Copy { n } => Some(copy(n)),
    }
    .map(|mut block| {
        block.streams = true;
        block
    })
}

/// Words per turn of a loop.
const TURN: usize = 2;

/// Shifts, saturates, clamps and stores a byte.
pub(crate) fn store(b: &mut Block, v: Reg, shift: u32, limits: (i32, i32), y: Reg, at: u32) {
    b.push(Inst::Ssat(v, 8, v, shift));
    if limits.0 > -128 {
        b.push(Inst::MaxImm(v, limits.0));
    }
    if limits.1 < 127 {
        b.push(Inst::MinImm(v, limits.1));
    }
    b.push(Inst::Strb(v, y, at));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::armv7em::assign::assign;
    use crate::asm::armv7em::simulate::{Memory, run as simulate};
    use crate::kernels::call::{Bind, Call};
    use crate::kernels::trial::{Random, run};
    use crate::kernels::vector::Windows;
    use crate::tensor::{DType, Data};

    /// Runs the body and the instructions on the same operands; each begins at an odd address.
    fn alike(of: Run, operands: &[Vec<i8>], n: usize, scalars: &[i32]) -> Vec<i8> {
        let mut args: Vec<Bind> = (0..operands.len()).map(Bind::Operand).collect();
        args.push(Bind::Result(0));
        args.extend(scalars.iter().map(|&s| Bind::Scalar(s)));
        let call = Call { kernel: of.body().finish().unwrap(), args };
        let data: Vec<Data> = operands.iter().cloned().map(Data::I8).collect();
        let Data::I8(want) = run(&call, &data, DType::I8, n) else { panic!() };
        let bytes = |v: &[i8]| -> Vec<u8> { std::iter::once(0).chain(v.iter().map(|&b| b as u8)).collect() };
        let mut regions: Vec<(u32, Vec<u8>)> =
            operands.iter().enumerate().map(|(i, v)| ((i as u32 + 1) << 20, bytes(v))).collect();
        regions.push((1 << 28, vec![0; n + 1]));
        let mut registers: Vec<u32> = regions.iter().map(|r| r.0 + 1).collect();
        registers.extend(scalars.iter().map(|&s| s as u32));
        let mut memory = Memory { regions };
        simulate(&assign(&block(&of).unwrap()).unwrap(), &registers, &mut memory);
        let got: Vec<i8> = memory.regions.last().unwrap().1[1..].iter().map(|&b| b as i8).collect();
        assert_eq!(got, want, "{of:?} {scalars:?}");
        want
    }

    #[test]
    fn sums_and_products_are_exact() {
        let mut random = Random(40);
        for (case, n) in [1usize, 3, 4, 7, 8, 9, 15, 16, 64, 203].into_iter().enumerate() {
            let limits = [(-128, 127), (-5, 127), (-128, 90), (0, 60)][case % 4];
            for round in 0..3 {
                let x = [random.bytes(n), random.bytes(n)];
                let shift = [12, 20, 22][round];
                let most = 1 << 20;
                let (ma, mb) = (random.within(0, most), random.within(-most, most));
                let scalars = [ma as i32, mb as i32, random.within(-(4 << 28), 4 << 28) as i32];
                alike(Run::Sum { n, shift, lo: limits.0, hi: limits.1 }, &x, n, &scalars);
                let sh = [1, 5, 20][round];
                let zero = [-128, 127, 3][round];
                let m = random.within(1 << 24, i32::MAX.into()) as i32;
                let (rnd, _) = crate::arith::requant::high(sh + 32, zero);
                let scalars = [zero, [127, -128, 0][round], m, rnd];
                alike(Run::Product { n, sh, lo: limits.0, hi: limits.1 }, &x, n, &scalars);
            }
        }
    }

    #[test]
    fn tables_are_exact() {
        let mut random = Random(42);
        let table: Vec<i8> = (0..256).map(|_| random.within(-128, 127) as i8).collect();
        for n in [1usize, 3, 4, 7, 8, 9, 15, 16, 203] {
            let x = random.bytes(n);
            let want = alike(Run::Table { n }, &[x.clone(), table.clone()], n, &[]);
            let by_hand: Vec<i8> = x.iter().map(|&x| table[(i32::from(x) + 128) as usize]).collect();
            assert_eq!(want, by_hand);
        }
    }

    /// Shapes of windows: channels, taps, pitches, pixels, steps.
    #[test]
    fn copies_are_exact() {
        let mut random = Random(65);
        for n in [1, 3, 4, 7, 15, 16, 18, 33, 64, 79, 300] {
            let x = random.bytes(n);
            assert_eq!(alike(Run::Copy { n }, std::slice::from_ref(&x), n, &[]), x, "{n}");
        }
    }

    fn windows() -> Vec<Windows> {
        let w = |n, taps, pitch, pixels, step| Windows::new(n, taps, pitch, pixels, step);
        vec![
            w(4, [1, 1], [0, 0], 1, [0, 0]),
            w(22, [1, 9], [0, 22], 1, [0, 0]),
            w(64, [1, 64], [0, 64], 1, [0, 0]),
            w(5, [1, 255], [0, 7], 1, [0, 0]),
            w(8, [1, 3], [0, 5000], 3, [16, 8]),
            w(7, [1, 49], [0, 1500], 1, [0, 0]),
            w(6, [1, 256], [0, 6], 1, [0, 0]),
            w(4, [1, 777], [0, 5], 1, [0, 0]),
            w(8, [2, 2], [64, 8], 4, [16, 8]),
            w(7, [3, 3], [70, 7], 3, [7, 7]),
            w(130, [2, 3], [1300, 130], 2, [390, 150]),
            w(36, [3, 3], [3000, 36], 3, [72, 36]),
            w(9, [4, 5], [90, 18], 2, [9, 9]),
            w(12, [17, 16], [400, 12], 2, [24, 12]),
            w(1, [2, 2], [9, 1], 5, [2, 1]),
            w(3, [3, 2], [30, 3], 4, [6, 3]),
            w(2, [1, 30], [0, 4], 2, [130, 5]),
            w(24, [6, 2], [5000, 24], 2, [24, 24]),
        ]
    }

    #[test]
    fn means_are_exact() {
        let mut random = Random(41);
        for (case, w) in windows().into_iter().enumerate() {
            let taps = w.taps[0] * w.taps[1];
            for (round, (lo, hi)) in [(-128, 127), (-20, 30)].into_iter().enumerate() {
                for even in [None, Some(2), Some(7)] {
                    let x = [random.bytes(w.input())];
                    let sh = [1, 3][case % 2];
                    let up = [0, 3][round];
                    let m = random.within(1 << 22, 1 << 28) as i32;
                    let zp = [-128, 127, 0][case % 3];
                    let scalars = [-zp * taps as i32, m, crate::arith::requant::high(sh + 32, -zp - 1).0];
                    alike(Run::Mean { windows: w, up, sh, lo, hi, even }, &x, w.output(), &scalars);
                }
            }
        }
    }

    #[test]
    fn maxima_are_exact() {
        let mut random = Random(43);
        for w in windows() {
            let mut x = random.bytes(w.input());
            alike(Run::Max { windows: w }, &[x.clone()], w.output(), &[]);
            x.iter_mut().for_each(|x| *x = if *x < 0 { -128 } else { 127 });
            alike(Run::Max { windows: w }, &[x.clone()], w.output(), &[]);
            x.fill(-128);
            alike(Run::Max { windows: w }, &[x], w.output(), &[]);
        }
    }
}
