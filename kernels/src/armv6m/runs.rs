//! Runs of products whose sums fit 16 bits: where they end, and how their sums come together.
//!
//! A word holds the inputs of two pixels, and its product with a weight both products
//! ([`crate::armv6m::gemm`]). At the end of a run the sums are pushed on the stack; later they are popped and
//! summed up for both pixels.
//!
//! Law: no run leaves 16 bits, whatever the inputs.

use crate::asm::armv6m::{Code, Cond, Inst, Label, R, R0, R1, R2, R3, R4, R5, R6, R7, SP, mask};

/// Where the frame holds what runs are summed up in: eight words.
pub const TOTALS: u32 = 0;

/// Pushes the sums of a run, in r8 and the following.
pub fn push_sums(c: &mut Code, words: u8, wide: bool) {
    if wide && words > 1 {
        return c.push(Inst::PushAny(((1 << words) - 1) << 8));
    }
    (0..words).for_each(|i| c.push(Inst::Mov(R(i), R(8 + i))));
    c.push(Inst::Push((1 << words) - 1));
}

/// Pops the runs' words until the stack pointer is at `bottom`: words are summed up in r8 and the
/// following, their rounded upper halves in r4 and the following.
pub fn pop_runs(c: &mut Code, words: u8, bottom: R, runs: f64) {
    let run = c.here();
    c.times(runs, |c| {
        c.push(Inst::Pop(mask(&[R0, R1, R2, R3][..words.into()])));
        for i in 0..words {
            // The shift leaves the uppermost bit it drops in the carry: the half is rounded.
            c.all([Inst::AddAny(R(8 + i), R(i)), Inst::Asr(R(i), R(i), 16), Inst::Adc(R(4 + i), R(i))]);
        }
        c.all([Inst::Cmp(SP, bottom), Inst::BranchIf(Cond::Ne, run)]);
    });
}

/// Runs of `length` of so many taps, by code for the first and the last two of each four, which is told whether a run
/// begins, and leaves in the carry whether it ends. `push` keeps sums, `again` goes back behind the last ones.
pub fn runs(
    c: &mut Code,
    (taps, length): (f64, f64),
    [first, last]: [&dyn Fn(&mut Code, bool); 2],
    push: &dyn Fn(&mut Code),
    again: &dyn Fn(&mut Code, Label),
) {
    let runs = (taps / length).max(1.0);
    let [top, back, middle, end] = [(); 4].map(|()| c.label());
    let begin = c.here();
    c.times(runs / 2.0, |c| {
        first(c, true);
        c.push(Inst::BranchIf(Cond::Cc, back));
    });
    c.times(runs / 2.0, |c| {
        c.place(middle);
        push(c);
        last(c, true);
        c.push(Inst::BranchIf(Cond::Cc, top));
    });
    c.times(runs / 8.0, |c| c.push(Inst::Branch(end)));
    c.place(top);
    c.times((taps / 4.0 - runs / 2.0).max(0.0), |c| {
        first(c, false);
        c.push(Inst::BranchIf(Cond::Cs, middle));
        c.place(back);
        last(c, false);
        c.push(Inst::BranchIf(Cond::Cc, top));
    });
    c.place(end);
    c.times(runs / 2.0, |c| {
        push(c);
        again(c, begin);
    });
}

/// Sums up the runs that [`push_sums`] left above the frame at `frame`: r4 and the following become sums of
/// the second pixels, r8 and the following of the words. The first segment of a channel, which is its only one
/// where there is no `at`, finds the bias in the first word of the frame; of several each finds the sums
/// so far in its first eight words, and keeps r6 at byte `at`.
pub fn sum_up(c: &mut Code, words: u8, (frame, at): (R, Option<u32>), runs: f64) {
    c.push(Inst::Mov(R0, frame));
    match at {
        None => {
            c.push(Inst::Ldr(R4, R0, TOTALS));
            (1..words).for_each(|i| c.push(Inst::Mov(R(4 + i), R4)));
            c.all([Inst::Lsl(R0, R4, 16), Inst::Add(R0, R0, R4)]);
            (0..words).for_each(|i| c.push(Inst::Mov(R(8 + i), R0)));
        }
        Some(at) => {
            c.push(Inst::Str(R6, R0, at));
            c.all([Inst::Ldm(R0, mask(&[R4, R5, R6, R7])), Inst::Ldm(R0, mask(&[R0, R1, R2, R3]))]);
            (0..4).for_each(|i| c.push(Inst::Mov(R(8 + i), R(i))));
        }
    }
    pop_runs(c, words, frame, runs);
}

/// Parts what [`sum_up`] found into a word for each pixel, from [`TOTALS`] of the frame on.
pub fn part_sums(c: &mut Code, words: u8) {
    c.push(Inst::AddSp(R2, TOTALS));
    for i in 0..words {
        c.all([Inst::Mov(R0, R(8 + i)), Inst::Lsl(R1, R(4 + i), 16), Inst::Sub(R0, R0, R1)]);
        c.push(Inst::Stm(R2, mask(&[R0, R(4 + i)])));
    }
}

/// Where the runs of a segment end.
pub struct Runs {
    /// Least and greatest sum of a lane's products so far.
    lanes: Vec<(i32, i32)>,
    flags: u32,
    steps: u32,
}

impl Runs {
    pub fn new(lanes: usize) -> Runs {
        Runs { lanes: vec![(0, 0); lanes], flags: 0, steps: 0 }
    }
    /// Adds a step of a few weights of each lane, which ends the run before it or does not; `None` where
    /// they alone are too much.
    pub fn step<const N: usize>(&mut self, weights: impl Fn(usize) -> [i32; N]) -> Option<bool> {
        // One less than 16 bits hold, for what the lower half takes from the upper one.
        let fits = |&(least, most): &(i32, i32)| least >= -32767 && most <= 32767;
        let all: Vec<(i32, i32)> = (0..self.lanes.len())
            .map(|lane| {
                let ends = weights(lane).map(|w| ((w * 127).min(w * -128), (w * 127).max(w * -128)));
                ends.iter().fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1))
            })
            .collect();
        let longer: Vec<(i32, i32)> =
            self.lanes.iter().zip(&all).map(|(l, a)| (l.0 + a.0, l.1 + a.1)).collect();
        let ends = self.steps > 0 && !longer.iter().all(fits);
        if ends {
            self.flags |= 1 << (32 - self.steps);
        }
        self.lanes = if ends { all } else { longer };
        self.steps += 1;
        self.lanes.iter().all(fits).then_some(ends)
    }
    /// From the top bit on, one for each step; the last step ends a run too.
    pub fn flags(&self) -> u32 {
        self.flags | 1 << (32 - self.steps)
    }
}
