//! Means and maxima over windows in Thumb-1 code: four channels at once, tap after tap.
//!
//! In: a [`Run`] over [`Windows`]. Out: its code. A pixel's last four channels are taken again as
//! far as they are done already; results and operands do not overlap.

use crate::armv6m::elementwise::limit;
use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask};
use crate::vector::{Run, Windows};

const R10: R = R(10);
const R11: R = R(11);

/// Channels at once, and what they are summed up in.
const GROUP: usize = 4;
const SUMS: [R; GROUP] = [R4, R5, R6, R7];

/// Bytes of the frame: sums, then the place of a pixel's last group, that of the last pixel, where
/// sums begin, and the multiplier.
const LIMIT: u32 = 16;
const END: u32 = 20;
const OFFSET: u32 = 24;
const M: u32 = 28;
const FRAME: u32 = 32;

/// Taps of a row that are spelled out.
const SPELLED: usize = 4;

pub fn code(run: &Run, wide: bool) -> Option<Code> {
    match *run {
        Run::Mean { windows, up, sh, lo, hi, even } if (1..=31).contains(&sh) && up < 32 => {
            Some(mean(&windows, (up, sh), (lo, hi), even, wide))
        }
        Run::Max { windows } => Some(max(&windows)),
        _ => None,
    }
}

/// Adds a constant to a high register, by way of r2.
fn move_on(c: &mut Code, r: R, by: usize) {
    c.constant(R2, by as u32);
    c.push(Inst::AddAny(r, R2));
}

/// All groups of all pixels: r10 and r11 point to the operand's and the result's group. `begin`
/// sets up r4-r7, `tap` takes the byte in r2 and may spoil r3, `finish` writes the group.
fn groups(
    c: &mut Code,
    w: &Windows,
    begin: impl Fn(&mut Code),
    (spoils, tap): (bool, impl Fn(&mut Code, R)),
    finish: impl Fn(&mut Code, usize),
) {
    let size = w.n.min(GROUP);
    let (turns, pixels) = (w.n.div_ceil(size), w.pixels as f64);
    c.all([Inst::Mov(R10, R0), Inst::Mov(R11, R1)]);
    c.advance(R0, (w.n - size) as u32, R2);
    c.push(Inst::Str(R0, SP, LIMIT));
    c.advance(R0, ((w.pixels - 1) * w.step[0]) as u32, R2);
    c.push(Inst::Str(R0, SP, END));
    let [next, done] = [(); 2].map(|()| c.label());
    let group = c.here();
    c.times(pixels * turns as f64, |c| {
        begin(c);
        c.all([Inst::Mov(R0, R10), Inst::MovImm(R1, 1), Inst::MovImm(R3, 0)]);
        taps(c, w, size, spoils, &tap);
        finish(c, size);
        c.all([Inst::Mov(R0, R10), Inst::Mov(R2, R11), Inst::Ldr(R1, SP, LIMIT), Inst::Cmp(R0, R1)]);
        c.push(Inst::BranchIf(Cond::Eq, next));
    });
    c.times(pixels * (turns - 1) as f64, |c| {
        let whole = c.label();
        c.all([Inst::AddImm(R0, GROUP as u32), Inst::AddImm(R2, GROUP as u32), Inst::Cmp(R0, R1)]);
        c.all([Inst::BranchIf(Cond::Ls, whole), Inst::Sub(R0, R0, R1), Inst::Sub(R2, R2, R0)]);
        c.push(Inst::Mov(R0, R1));
        c.place(whole);
        c.all([Inst::Mov(R10, R0), Inst::Mov(R11, R2), Inst::Branch(group)]);
    });
    c.place(next);
    if w.pixels > 1 {
        c.times(pixels, |c| {
            c.all([Inst::Ldr(R3, SP, END), Inst::Cmp(R1, R3), Inst::BranchIf(Cond::Eq, done)]);
            c.constant(R3, w.step[0] as u32);
            c.all([Inst::Add(R1, R1, R3), Inst::Str(R1, SP, LIMIT)]);
            c.constant(R3, (w.n - size) as u32);
            c.all([Inst::Sub(R1, R1, R3), Inst::Mov(R10, R1)]);
            c.advance(R2, (w.step[1] - (w.n - size)) as u32, R3);
            c.all([Inst::Mov(R11, R2), Inst::Branch(group)]);
        });
    }
    c.place(done);
}

/// All taps of a group from r0 on, r1 and r3 hold one and zero: r8 and r9 tell where a row of taps
/// ends and where the rows do. With `spoils`, `each` leaves something in r3.
fn taps(c: &mut Code, w: &Windows, size: usize, spoils: bool, each: &impl Fn(&mut Code, R)) {
    let [rows, columns] = w.taps;
    // One tap, after which r0 has moved by `by`.
    let one = |c: &mut Code, by: usize| {
        let mut moved = 0;
        for (i, &sum) in SUMS[..size].iter().enumerate() {
            if i == 2 {
                c.push(Inst::AddImm(R0, 2));
                moved = 2;
            }
            if spoils && i % 2 == 0 {
                c.push(Inst::MovImm(R3, 0));
            }
            c.push(Inst::Ldrsb(R2, R0, [R3, R1][i % 2]));
            each(c, sum);
        }
        match by.checked_sub(moved) {
            Some(by) => c.advance(R0, by as u32, R2),
            None => c.push(Inst::SubImm(R0, (moved - by) as u32)),
        }
    };
    let row = |c: &mut Code| {
        if columns <= SPELLED {
            (0..columns).for_each(|_| one(c, w.pitch[1]));
            return;
        }
        c.push(Inst::Mov(R8, R0));
        move_on(c, R8, columns * w.pitch[1]);
        let top = c.here();
        c.times(columns as f64, |c| {
            one(c, w.pitch[1]);
            c.all([Inst::Cmp(R0, R8), Inst::BranchIf(Cond::Ne, top)]);
        });
    };
    if rows == 1 {
        return row(c);
    }
    c.all([Inst::Mov(R9, R0), Inst::Mov(R12, R0)]);
    move_on(c, R9, rows * w.pitch[0]);
    let top = c.here();
    c.times(rows as f64, |c| {
        row(c);
        move_on(c, R12, w.pitch[0]);
        c.all([Inst::Mov(R0, R12), Inst::Cmp(R0, R9), Inst::BranchIf(Cond::Ne, top)]);
    });
}

/// `(x, y)`.
fn max(w: &Windows) -> Code {
    let mut c = Code::new(FRAME, 0, true);
    let begin = |c: &mut Code| {
        c.all([Inst::MovImm(R4, 127), Inst::Mvn(R4, R4)]);
        SUMS[1..].iter().for_each(|&r| c.push(Inst::Mov(r, R4)));
    };
    // The greater one without a branch, by way of r3.
    let tap = |c: &mut Code, best: R| {
        c.all([Inst::Sub(R2, R2, best), Inst::Asr(R3, R2, 31), Inst::Bic(R2, R3), Inst::Add(best, best, R2)]);
    };
    groups(&mut c, w, begin, (true, tap), |c, size| {
        c.push(Inst::Mov(R1, R11));
        for (i, &best) in SUMS[..size].iter().enumerate() {
            c.push(Inst::Strb(best, R1, i as u32));
        }
    });
    c
}

/// `(x, y, offset, m, rnd)`: lr holds the constant.
fn mean(w: &Windows, (up, sh): (u32, u32), limits: (i32, i32), even: Option<u32>, wide: bool) -> Code {
    let mut c = Code::new(FRAME, 0, true);
    c.all([Inst::Str(R2, SP, OFFSET), Inst::Str(R3, SP, M), Inst::Ldr(R4, SP, c.argument(4))]);
    c.push(Inst::Mov(LR, R4));
    let begin = |c: &mut Code| {
        c.push(Inst::Ldr(R4, SP, OFFSET));
        SUMS[1..].iter().for_each(|&r| c.push(Inst::Mov(r, R4)));
    };
    let tap = |c: &mut Code, sum: R| c.push(Inst::Add(sum, sum, R2));
    groups(&mut c, w, begin, (false, tap), |c, size| {
        // The sums in the frame, one after the other.
        c.all([Inst::AddSp(R3, 0), Inst::Stm(R3, mask(&SUMS[..size])), Inst::Mov(R12, R3)]);
        c.all([Inst::AddSp(R3, 0), Inst::Mov(R2, R11), Inst::Ldr(R4, SP, M)]);
        if !wide {
            // Halves of the multiplier.
            c.all([Inst::Lsr(R5, R4, 16), Inst::Lsl(R4, R4, 16), Inst::Lsr(R4, R4, 16)]);
        }
        let one = c.here();
        c.times(size as f64, |c| {
            c.push(Inst::Ldm(R3, mask(&[R0])));
            if let Some(by) = even {
                match by {
                    31.. => c.push(Inst::Asr(R1, R0, 31)),
                    by => c.push(Inst::Lsl(R1, R0, 31 - by)),
                }
                c.all([Inst::Lsr(R1, R1, 31), Inst::SubImm(R0, 1), Inst::Add(R0, R0, R1)]);
            }
            if up > 0 {
                c.push(Inst::Lsl(R0, R0, up));
            }
            match wide {
                true => c.push(Inst::Smull(R1, R0, R0, R4)),
                false => high_word(c),
            }
            c.push(Inst::AddAny(R0, LR));
            limit(c, (R0, R1), sh, limits, wide);
            c.all([Inst::Strb(R0, R2, 0), Inst::AddImm(R2, 1), Inst::Cmp(R3, R12)]);
            c.push(Inst::BranchIf(Cond::Ne, one));
        });
    });
    c
}

/// r0 times `r5 * 2^16 + r4`, a positive number: the high word, in r0. By way of r1, r6 and r7.
fn high_word(c: &mut Code) {
    c.all([Inst::Lsl(R1, R0, 16), Inst::Lsr(R1, R1, 16), Inst::Asr(R6, R0, 16)]);
    c.all([Inst::Mov(R7, R1), Inst::Mul(R7, R4), Inst::Lsr(R7, R7, 16)]);
    // The upper half times the lower one and what is carried fit 32 bits with a sign.
    c.all([Inst::Mov(R0, R6), Inst::Mul(R0, R4), Inst::Add(R0, R0, R7)]);
    c.all([Inst::Mul(R1, R5), Inst::Mul(R6, R5), Inst::Asr(R7, R0, 16), Inst::Add(R6, R6, R7)]);
    c.all([Inst::Lsl(R0, R0, 16), Inst::Lsr(R0, R0, 16), Inst::Add(R1, R1, R0)]);
    c.all([Inst::Lsr(R1, R1, 16), Inst::Add(R0, R6, R1)]);
}
