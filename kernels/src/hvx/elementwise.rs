//! Runs without weights in HVX: sums, products, means, maxima, tables and copies of int8 elements.
//!
//! Words are taken apart as they are put together again: of a vector of bytes every fourth one
//! each in four vectors of words.
//!
//! In: a [`Run`]. Out: its instructions, or `None` where its sizes do not fit them.
//! Law: as the run's: ascending order, any alignment; what is beside the elements is not stored,
//! and not read but in an aligned vector with some of them.

use crate::asm::hvx::{Code, Inst, MAX_TURNS, R, V, VECTOR};
use crate::hvx::depthwise::store_first;
use crate::hvx::line::load_first;
use crate::vector::{Run, Windows};

/// Holds zero; r4 to r8 are for loads and stores of few elements.
const ZERO: R = R(3);
const LOW: V = V(26);
const HIGH: V = V(27);
/// Multiplier and rounding constant.
const M: V = V(24);
const ROUND: V = V(25);
/// Amount of the last shift.
const SHIFT: R = R(9);
/// Taps that are spelled out.
const STRAIGHT: usize = 9;

/// The instructions of a run.
pub fn code(run: &Run) -> Option<Vec<Code>> {
    let code = match *run {
        Run::Sum { n, shift, lo, hi } => sum(n, shift, (lo, hi)),
        Run::Product { n, sh, lo, hi } if (1..=31).contains(&sh) => product(n, sh, (lo, hi)),
        Run::Product { .. } | Run::Moments { .. } | Run::Normalize { .. } => return None,
        Run::Mean { windows, up, sh, lo, hi, even } => {
            let fits = (1..=31).contains(&sh) && up <= 31 && even.is_none_or(|by| by <= 31);
            if !fits {
                return None;
            }
            pool(&windows, &Mean { up, sh, ends: (lo, hi), even })?
        }
        Run::Max { windows } => pool(&windows, &Max)?,
        Run::Copy { n } => stream(n, &[R(0)], R(1), Vec::new(), &|_, set| (V(set), V(set)), 4),
        Run::Table { n } => table(n),
    };
    Some(Code::joined(code))
}

/// Elements of one or two operands to a result, a vector at a time, `sets` of them in a turn.
/// Operand `i` of set `s` is loaded to `v(10 * s + i)`; `each` says where its result is and the
/// vector that a store of few elements may spoil.
fn stream(
    n: usize,
    from: &[R],
    to: R,
    head: Vec<Inst>,
    each: &dyn Fn(&mut Vec<Inst>, u32) -> (V, V),
    sets: u32,
) -> Vec<Code> {
    let per = if from.len() == 1 && sets > 2 { 1 } else { 10 };
    let turn = |n: u32| -> Vec<Inst> {
        let mut line = Vec::new();
        for set in 0..n {
            for (i, &r) in from.iter().enumerate() {
                line.push(Inst::LoadAny(V(per * set + i as u32), r, set as i32));
            }
        }
        let results: Vec<V> = (0..n).map(|set| each(&mut line, per * set).0).collect();
        for (set, v) in results.into_iter().enumerate() {
            line.push(Inst::StoreAny(to, set as i32, v));
        }
        if n > 0 {
            line.extend(from.iter().chain([&to]).map(|&r| Inst::Add(r, r, (n as usize * VECTOR) as i32)));
        }
        line
    };
    let (vectors, rest) = (n / VECTOR, n % VECTOR);
    let mut code = vec![Code::Straight(head)];
    let (turns, left) = (vectors / sets as usize, vectors % sets as usize);
    // A loop counts to a limit; two count further.
    for part in [turns / MAX_TURNS * MAX_TURNS, turns % MAX_TURNS] {
        if part >= MAX_TURNS {
            let body = Code::repeated(MAX_TURNS, vec![Code::Straight(turn(sets))]);
            code.extend(Code::repeated(part / MAX_TURNS, body));
        } else {
            code.extend(Code::repeated(part, vec![Code::Straight(turn(sets))]));
        }
    }
    let mut line = turn(left as u32);
    if rest > 0 {
        for (i, &r) in from.iter().enumerate() {
            load_first(&mut line, V(i as u32), r, rest);
        }
        let (result, spoiled) = each(&mut line, 0);
        if result != spoiled {
            line.push(Inst::Copy(spoiled, result));
        }
        store_first(&mut line, spoiled, to, rest);
    }
    code.push(Code::Straight(line));
    code
}

/// Sets the vectors of the limits.
fn limits(line: &mut Vec<Inst>, (lo, hi): (i32, i32)) {
    for (limit, none, v) in [(lo, -128, LOW), (hi, 127, HIGH)] {
        if limit != none {
            line.extend([Inst::Set(R(10), limit), Inst::SplatByte(v, R(10))]);
        }
    }
}

/// Four vectors of words, of every fourth element each, to one of bytes within the limits; the
/// first of the words is spoiled, and it is the result.
fn narrow(line: &mut Vec<Inst>, [a, b, c, d]: [V; 4], (lo, hi): (i32, i32)) {
    line.push(Inst::NarrowWords(a, c, a));
    line.push(Inst::NarrowWords(b, d, b));
    line.push(Inst::NarrowHalves(a, b, a, ZERO));
    if lo > -128 {
        line.push(Inst::MaxBytes(a, a, LOW));
    }
    if hi < 127 {
        line.push(Inst::MinBytes(a, a, HIGH));
    }
}

/// A word's high product with the multiplier, rounded and shifted; the pair is spoiled.
fn requantize(line: &mut Vec<Inst>, word: V, pair: V) {
    line.push(Inst::MulLow(pair, word, M));
    line.push(Inst::MulHighAdd(pair, word, M));
    line.push(Inst::AddWords(word, V(pair.0 + 1), ROUND));
    line.push(Inst::ShiftRightAll(word, word, SHIFT));
}

/// Bits of a coefficient that the first of two products takes.
const LOW_BITS: u32 = 12;

/// `(a, b, y, ma, mb, c)`
fn sum(n: usize, shift: u32, ends: (i32, i32)) -> Vec<Code> {
    let (low, high, by, c) = (R(12), R(13), R(14), V(24));
    let mut head = vec![Inst::Splat(c, R(5))];
    head.extend([Inst::LowBits(R(10), R(3), LOW_BITS), Inst::LowBits(R(11), R(4), LOW_BITS)]);
    head.push(Inst::Halves(low, R(11), R(10)));
    head.extend([Inst::ShiftBy(R(10), R(3), LOW_BITS), Inst::ShiftBy(R(11), R(4), LOW_BITS)]);
    head.push(Inst::Halves(high, R(11), R(10)));
    head.extend([Inst::Set(ZERO, 0), Inst::Set(SHIFT, shift as i32), Inst::Set(by, LOW_BITS as i32)]);
    limits(&mut head, ends);
    let each = |line: &mut Vec<Inst>, set: u32| {
        let v = |i: u32| V(set + i);
        line.extend([Inst::Widen(v(2), v(0)), Inst::Widen(v(4), v(1))]);
        line.extend([Inst::PairHalves(v(6), v(4), v(2)), Inst::PairHalves(v(8), v(5), v(3))]);
        // Elements 0, 2, 1 and 3 of four.
        for (i, word) in [0, 2, 1, 3].into_iter().enumerate() {
            let (both, word, high_part) = (v(6 + i as u32), v(word), v(4 + i as u32 % 2));
            line.push(Inst::DotHalves(word, both, low));
            line.push(Inst::DotHalves(high_part, both, high));
            line.push(Inst::AddWords(word, word, c));
            line.push(Inst::ShiftLeftAdd(word, high_part, by));
            line.push(Inst::ShiftRightAll(word, word, SHIFT));
        }
        narrow(line, [v(0), v(1), v(2), v(3)], ends);
        (v(0), v(0))
    };
    stream(n, &[R(0), R(1)], R(2), head, &each, 2)
}

/// `(a, b, y, za, zb, m, rnd)`
fn product(n: usize, sh: u32, ends: (i32, i32)) -> Vec<Code> {
    let (za, zb) = (V(22), V(23));
    let mut head = vec![Inst::LoadWord(R(10), R(29), 0), Inst::Splat(ROUND, R(10)), Inst::Splat(M, R(5))];
    head.extend([Inst::SplatHalf(za, R(3)), Inst::SplatHalf(zb, R(4))]);
    head.extend([Inst::Set(ZERO, 0), Inst::Set(SHIFT, sh as i32)]);
    limits(&mut head, ends);
    let each = |line: &mut Vec<Inst>, set: u32| {
        let v = |i: u32| V(set + i);
        line.extend([Inst::Widen(v(2), v(0)), Inst::Widen(v(4), v(1))]);
        line.extend([2, 3].map(|i| Inst::SubHalves(v(i), v(i), za)));
        line.extend([4, 5].map(|i| Inst::SubHalves(v(i), v(i), zb)));
        // Elements 0 and 2 of four, 1 and 3.
        line.extend([Inst::MulHalves(v(0), v(2), v(4)), Inst::MulHalves(v(6), v(3), v(5))]);
        let words = [v(0), v(6), v(1), v(7)];
        for (i, word) in words.into_iter().enumerate() {
            requantize(line, word, [v(2), v(4), v(8)][i % 3]);
        }
        narrow(line, words, ends);
        (v(0), v(0))
    };
    stream(n, &[R(0), R(1)], R(2), head, &each, 2)
}

/// `(x, table, y)`
fn table(n: usize) -> Vec<Code> {
    let (first, second, turned) = (V(24), V(25), V(26));
    let mut head = vec![Inst::LoadAny(first, R(1), 0), Inst::LoadAny(second, R(1), 1)];
    head.extend([first, second].map(|v| Inst::Interleave(v, v)));
    head.extend([Inst::Set(R(10), -128), Inst::SplatByte(turned, R(10))]);
    let each = |line: &mut Vec<Inst>, set: u32| {
        let (x, y) = (V(set), V(set + 1));
        line.push(Inst::Xor(x, x, turned));
        line.push(Inst::Lookup(y, x, first, 0));
        for part in 1..8 {
            line.push(Inst::LookupMore(y, x, if part < 4 { first } else { second }, part));
        }
        (y, y)
    };
    stream(n, &[R(0)], R(2), head, &each, 2)
}

/// What a pool does: with the taps of a vector of channels, and with all of them together.
trait Taps {
    fn head(&self, line: &mut Vec<Inst>);
    fn open(&self, line: &mut Vec<Inst>);
    /// A tap in the lower register of a pair, which may be spoiled.
    fn tap(&self, line: &mut Vec<Inst>, x: V);
    /// The result to v0.
    fn close(&self, line: &mut Vec<Inst>);
}

struct Max;

impl Taps for Max {
    fn head(&self, line: &mut Vec<Inst>) {
        line.extend([Inst::Set(R(10), -128), Inst::SplatByte(V(21), R(10))]);
    }
    fn open(&self, line: &mut Vec<Inst>) {
        line.push(Inst::Copy(V(0), V(21)));
    }
    fn tap(&self, line: &mut Vec<Inst>, x: V) {
        line.push(Inst::MaxBytes(V(0), V(0), x));
    }
    fn close(&self, _: &mut Vec<Inst>) {}
}

struct Mean {
    up: u32,
    sh: u32,
    ends: (i32, i32),
    even: Option<u32>,
}

/// The sum to begin with, 1 and -1 in words.
const OFFSET: V = V(21);
const ONE: V = V(22);
const LESS: V = V(23);

impl Taps for Mean {
    /// `(x, y, offset, m, rnd)`
    fn head(&self, line: &mut Vec<Inst>) {
        line.extend([Inst::Splat(OFFSET, R(2)), Inst::Splat(M, R(3)), Inst::Splat(ROUND, R(4))]);
        line.extend([Inst::Set(ZERO, 0), Inst::Set(SHIFT, self.sh as i32)]);
        line.extend([Inst::Set(R(11), 1 << 16 | 1), Inst::Set(R(12), self.up as i32)]);
        if let Some(by) = self.even {
            line.extend([Inst::Set(R(13), by as i32), Inst::Set(R(10), 1), Inst::Splat(ONE, R(10))]);
            line.extend([Inst::Set(R(10), -1), Inst::Splat(LESS, R(10))]);
        }
        limits(line, self.ends);
    }
    fn open(&self, line: &mut Vec<Inst>) {
        line.extend((0..4).map(|i| Inst::Copy(V(i), OFFSET)));
    }
    fn tap(&self, line: &mut Vec<Inst>, x: V) {
        line.push(Inst::Widen(x, x));
        // Elements 0 and 2 of four, 1 and 3.
        line.push(Inst::MulHalvesAdd(V(0), x, R(11)));
        line.push(Inst::MulHalvesAdd(V(2), V(x.0 + 1), R(11)));
    }
    fn close(&self, line: &mut Vec<Inst>) {
        for i in 0..4 {
            let (word, pair) = (V(i), V(4 + 2 * i));
            if self.even.is_some() {
                line.push(Inst::ShiftRightAll(pair, word, R(13)));
                line.push(Inst::AndWords(pair, pair, ONE));
                line.push(Inst::AddWords(word, word, pair));
                line.push(Inst::AddWords(word, word, LESS));
            }
            if self.up > 0 {
                line.push(Inst::ShiftLeftAll(word, word, R(12)));
            }
            requantize(line, word, pair);
        }
        narrow(line, [V(0), V(2), V(1), V(3)], self.ends);
    }
}

/// `(x, y, ..)`: windows of one pixel after the other, a vector of channels at a time. r14 and r15
/// walk over taps and rows of them.
fn pool(w: &Windows, taps: &dyn Taps) -> Option<Vec<Code>> {
    const PIECES: usize = 4;
    let (vectors, rest) = (w.n / VECTOR, w.n % VECTOR);
    let far = [w.pitch[0], w.pitch[1], w.step[0], w.step[1]].iter().any(|&p| p > 32_000);
    let pieces = vectors + usize::from(rest > 0);
    if far
        || w.taps[1] > MAX_TURNS
        || w.taps[0] > 2 * STRAIGHT
        || w.pixels > MAX_TURNS
        || vectors > MAX_TURNS
        || w.pixels > 1 && pieces > PIECES
    {
        return None;
    }
    // One piece of the channels, `n` of them, from r0 to r1.
    let piece = |n: usize| -> Vec<Code> {
        let mut code = Vec::new();
        let tap = |line: &mut Vec<Inst>, i: usize| {
            let x = [V(16), V(18)][i % 2];
            if n == VECTOR {
                line.push(Inst::LoadAny(x, R(14), 0));
            } else {
                load_first(line, x, R(14), n);
            }
            taps.tap(line, x);
            line.push(Inst::Add(R(14), R(14), w.pitch[1] as i32));
        };
        let mut line = vec![Inst::Mov(R(15), R(0))];
        taps.open(&mut line);
        for _ in 0..w.taps[0] {
            line.extend([Inst::Mov(R(14), R(15)), Inst::Add(R(15), R(15), w.pitch[0] as i32)]);
            if w.taps[0] * w.taps[1] <= STRAIGHT {
                (0..w.taps[1]).for_each(|i| tap(&mut line, i));
            } else {
                // Two taps a turn keep more of a packet busy.
                (0..w.taps[1] % 2).for_each(|i| tap(&mut line, i));
                code.push(Code::Straight(std::mem::take(&mut line)));
                let mut turn = Vec::new();
                (0..2).for_each(|i| tap(&mut turn, i));
                code.extend(Code::repeated(w.taps[1] / 2, vec![Code::Straight(turn)]));
            }
        }
        taps.close(&mut line);
        if n == VECTOR {
            line.push(Inst::StoreAny(R(1), 0, V(0)));
        } else {
            store_first(&mut line, V(0), R(1), n);
        }
        line.extend([R(0), R(1)].map(|r| Inst::Add(r, r, n as i32)));
        code.push(Code::Straight(line));
        code
    };
    let mut head = Vec::new();
    taps.head(&mut head);
    let mut code = vec![Code::Straight(head)];
    let mut all = Vec::new();
    if w.pixels == 1 {
        all.extend(Code::repeated(vectors, Code::joined(piece(VECTOR))));
    } else {
        (0..vectors).for_each(|_| all.extend(piece(VECTOR)));
    }
    if rest > 0 {
        all.extend(piece(rest));
    }
    if w.pixels > 1 {
        let back = |step: usize| step as i32 - w.n as i32;
        all.push(Code::Straight(vec![
            Inst::Add(R(0), R(0), back(w.step[0])),
            Inst::Add(R(1), R(1), back(w.step[1])),
        ]));
    }
    code.extend(Code::repeated(w.pixels, Code::joined(all)));
    Some(code)
}
