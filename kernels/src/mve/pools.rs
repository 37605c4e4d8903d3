//! Greatest elements and means of windows in Helium: sixteen channels at a time, or eight where
//! their sums need half-words, or four where they need words.
//!
//! Windows of few taps are spelled out, a pointer for each of their rows, in a loop over pixels;
//! single ones in a loop over channels. Those of many taps are loops over taps.
//!
//! Bound of a spelled turn: two cycles of the memory pipe for each tap and for the result.

use crate::asm::mve::{At, Block, Half, Inst, Item, Lane, P0, Q, R};
use crate::mve::elementwise::{clamp, half, limits, narrow, unhalved};
use crate::vector::Windows;

/// Taps that are spelled out.
const SPELLED: usize = 25;
/// Taps whose sum of int8 surely fits 16 bits.
const HALVES: usize = 255;
/// Pointers of a window's rows; loads that widen take low registers only.
const ROWS: [R; 5] = [R(0), R(3), R(5), R(6), R(7)];
const Y: R = R(1);
/// Channels that are left.
const LEFT: R = R(8);
/// In loops over taps: the pointer that walks, rows and pixels that are left, what sums start at.
const WALK: R = R(5);
const ROW: R = R(10);
const PIXEL: R = R(11);
const START: R = R(6);
/// Holds what is too large for an addition.
const FAR: R = R(12);

/// What is done to the taps of a window.
struct Over<'a> {
    w: &'a Windows,
    lane: Lane,
    /// A further tap.
    tap: fn(Lane, Q, Q, Q) -> Inst,
    /// Makes results, in the low byte of each lane of `q0`.
    close: Vec<Inst>,
}

/// `(x, y)`
pub fn max(w: &Windows) -> Block {
    let over = Over { w, lane: Lane::B, tap: Inst::Max, close: Vec::new() };
    over.block(Vec::new(), 0x80)
}

/// `(x, y, offset, m, rnd)`; `None` where shifts are out of reach.
pub fn mean(w: &Windows, (up, sh): (u32, u32), ends: (i32, i32), even: Option<u32>) -> Option<Block> {
    let taps = w.taps[0] * w.taps[1];
    let shifts = (1..=31).contains(&sh) && up <= 30 && even.is_none_or(|by| (1..=31).contains(&by));
    if !shifts || taps > 1 << 16 {
        return None;
    }
    let (offset, m, rnd, one) = (R(2), R(3), R(4), R(9));
    let halves = taps <= HALVES;
    let lane = if halves { Lane::H } else { Lane::W };
    let mut entry = vec![Inst::LdrArg(rnd, 4), Inst::Dup(Lane::W, Q(6), m)];
    unhalved(&mut entry, rnd, if halves { 1 << (sh - 1) } else { half(sh) });
    limits(&mut entry, ends);
    if up > 0 {
        entry.extend([Inst::MovImm(FAR, 1 << up), Inst::Dup(Lane::W, Q(4), FAR)]);
    }
    if even.is_some() {
        entry.extend([Inst::MovImm(one, 1), Inst::Dup(Lane::W, Q(3), one)]);
        entry.push(Inst::AddImm(offset, offset, -1));
    }
    let mut close = Vec::new();
    let sums: &[Q] = if halves { &[Q(0), Q(1)] } else { &[Q(0)] };
    if halves {
        close.push(Inst::Widen(Lane::H, Half::Top, Q(1), Q(0)));
        close.push(Inst::Widen(Lane::H, Half::Bottom, Q(0), Q(0)));
    }
    for &q in sums {
        close.push(Inst::AddAll(Lane::W, q, q, offset));
        if let Some(by) = even {
            // The offset is one less already.
            close.push(Inst::AddAll(Lane::W, Q(2), q, one));
            close.push(Inst::Asr(Q(2), Q(2), by));
            close.push(Inst::And(Q(2), Q(2), Q(3)));
            close.push(Inst::AddLanes(Lane::W, q, q, Q(2)));
        }
        if up > 0 {
            close.push(Inst::Mul(Lane::W, q, q, Q(4)));
        }
        close.push(Inst::MulHigh(q, q, Q(6)));
        close.push(Inst::AddAll(Lane::W, q, q, rnd));
        if !halves {
            narrow(&mut close, q, sh);
        } else if sh > 16 {
            close.push(Inst::Asr(q, q, sh - 16));
        }
    }
    if halves {
        close.push(Inst::NarrowShift(Lane::W, Half::Bottom, Q(0), Q(0), sh.min(16)));
        close.push(Inst::NarrowShift(Lane::W, Half::Top, Q(0), Q(1), sh.min(16)));
        close.push(Inst::Narrow(Lane::H, Half::Bottom, Q(0), Q(0)));
    }
    clamp(&mut close, Q(0), ends);
    Some(Over { w, lane, tap: Inst::AddLanes, close }.block(entry, 0))
}

/// Adds any constant.
fn advance(insts: &mut Vec<Inst>, reg: R, by: i32) {
    if by == 0 {
    } else if by.abs() <= 4095 {
        insts.push(Inst::AddImm(reg, reg, by));
    } else {
        insts.extend([Inst::MovImm(FAR, by), Inst::Add(reg, reg, FAR)]);
    }
}

impl Over<'_> {
    /// Channels of a vector.
    fn columns(&self) -> usize {
        match self.lane {
            Lane::B => 16,
            Lane::H => 8,
            Lane::W => 4,
        }
    }
    fn ragged(&self) -> bool {
        !self.w.n.is_multiple_of(self.columns())
    }

    /// The function behind what `entry` sets; sums start at `start`.
    fn block(&self, entry: Vec<Inst>, start: i32) -> Block {
        let w = self.w;
        let mut b = Block::default();
        b.run(entry);
        if w.taps[0] <= ROWS.len() && w.taps[0] * w.taps[1] <= SPELLED {
            self.spelled(&mut b);
        } else {
            self.looped(&mut b, start);
        }
        b
    }

    /// A load that moves its register on, or leaves that to an addition behind it.
    fn load(&self, insts: &mut Vec<Inst>, q: Q, from: R, by: i32, predicated: bool) {
        let near = by.abs() <= 127;
        let at = if near && by != 0 { At::After(from, by) } else { At::Offset(from, 0) };
        insts.push(match (self.lane, predicated) {
            (Lane::B, false) => Inst::Load(q, at),
            (Lane::B, true) => Inst::LoadThen(P0, q, at),
            (lane, false) => Inst::LoadWide(lane, q, at),
            (lane, true) => Inst::LoadWideThen(P0, lane, q, at),
        });
        if !near {
            advance(insts, from, by);
        }
    }
    fn store(&self, insts: &mut Vec<Inst>, by: i32, predicated: bool) {
        let near = by.abs() <= 127;
        let at = if near && by != 0 { At::After(Y, by) } else { At::Offset(Y, 0) };
        insts.push(match (self.lane, predicated) {
            (Lane::B, false) => Inst::Store(Q(0), at),
            (Lane::B, true) => Inst::StoreThen(P0, Q(0), at),
            (lane, false) => Inst::StoreNarrow(lane, Q(0), at),
            (lane, true) => Inst::StoreNarrowThen(P0, lane, Q(0), at),
        });
        if !near {
            advance(insts, Y, by);
        }
    }

    fn spelled(&self, b: &mut Block) {
        let w = self.w;
        let rows = &ROWS[..w.taps[0]];
        let columns = self.columns();
        let mut entry = Vec::new();
        for r in rows.windows(2) {
            entry.push(Inst::Mov(r[1], r[0]));
            advance(&mut entry, r[1], w.pitch[0] as i32);
        }
        entry.push(Inst::MovImm(LEFT, w.n as i32));
        b.run(entry);
        // From one window to the next; a single one's channels follow each other.
        let single = w.pixels == 1;
        let [x_step, y_step] = if single { [columns, columns] } else { w.step }.map(|s| s as i32);
        // Lanes of other widths than the loop's would be half on: results need their predicate.
        let tail = single && self.close.is_empty();
        let predicated = !tail && self.ragged();
        let mut turn = Vec::new();
        let mut first = true;
        for &row in rows {
            for j in 0..w.taps[1] {
                let last = j + 1 == w.taps[1];
                let back = (w.taps[1] - 1) * w.pitch[1];
                let by = if last { x_step - back as i32 } else { w.pitch[1] as i32 };
                self.load(&mut turn, if first { Q(0) } else { Q(1) }, row, by, predicated);
                if !first {
                    turn.push((self.tap)(self.lane, Q(0), Q(0), Q(1)));
                }
                first = false;
            }
        }
        turn.extend(&self.close);
        self.store(&mut turn, y_step, predicated);
        let turns = w.n.div_ceil(columns) as u32;
        if tail {
            b.items.push(Item::Tail { lane: self.lane, count: LEFT, turns, body: turn });
            return;
        }
        let mut body = Vec::new();
        if predicated {
            body.push(Item::Run(vec![Inst::Vctp(P0, self.lane, LEFT)]));
        }
        if single {
            body.push(Item::Run(turn));
            b.items.push(Item::Down { count: LEFT, step: columns as i32, turns, body });
            return;
        }
        body.push(Item::Low { turns: w.pixels as u32, body: vec![Item::Run(turn)] });
        if turns == 1 {
            return b.items.extend(body);
        }
        let mut next = Vec::new();
        let back = |step: i32| columns as i32 - w.pixels as i32 * step;
        rows.iter().for_each(|&r| advance(&mut next, r, back(x_step)));
        advance(&mut next, Y, back(y_step));
        body.push(Item::Run(next));
        b.items.push(Item::Down { count: LEFT, step: columns as i32, turns, body });
    }

    fn looped(&self, b: &mut Block, start: i32) {
        let (w, x) = (self.w, R(0));
        let columns = self.columns();
        let predicated = self.ragged();
        b.run([Inst::MovImm(START, start), Inst::MovImm(PIXEL, w.pixels as i32)]);
        let mut open = vec![Inst::Mov(WALK, x), Inst::Dup(self.lane, Q(0), START)];
        if predicated {
            open.push(Inst::Vctp(P0, self.lane, LEFT));
        }
        let mut turn = Vec::new();
        self.load(&mut turn, Q(1), WALK, w.pitch[1] as i32, predicated);
        turn.push((self.tap)(self.lane, Q(0), Q(0), Q(1)));
        let taps = Item::Low { turns: w.taps[1] as u32, body: vec![Item::Run(turn)] };
        let mut body = Vec::new();
        if w.taps[0] > 1 {
            open.push(Inst::MovImm(ROW, w.taps[0] as i32));
            let mut next = Vec::new();
            advance(&mut next, WALK, w.pitch[0] as i32 - (w.taps[1] * w.pitch[1]) as i32);
            let rows = vec![taps, Item::Run(next)];
            body.extend([
                Item::Run(open),
                Item::Down { count: ROW, step: 1, turns: w.taps[0] as u32, body: rows },
            ]);
        } else {
            body.extend([Item::Run(open), taps]);
        }
        let mut close = self.close.clone();
        self.store(&mut close, columns as i32, predicated);
        close.push(Inst::AddImm(x, x, columns as i32));
        body.push(Item::Run(close));
        let turns = w.n.div_ceil(columns);
        let vectors = Item::Down { count: LEFT, step: columns as i32, turns: turns as u32, body };
        let left = Item::Run(vec![Inst::MovImm(LEFT, w.n as i32)]);
        if w.pixels == 1 {
            b.items.extend([left, vectors]);
            return;
        }
        let mut next = Vec::new();
        let stored = (turns * columns) as i32;
        advance(&mut next, x, w.step[0] as i32 - stored);
        advance(&mut next, Y, w.step[1] as i32 - stored);
        let body = vec![left, vectors, Item::Run(next)];
        b.items.push(Item::Down { count: PIXEL, step: 1, turns: w.pixels as u32, body });
    }
}
