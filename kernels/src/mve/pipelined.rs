//! The products of [`crate::mve::gemm`], one pair of pixels behind the other: while the sums of a pair
//! are formed, those of the pair before it are requantized and stored.
//!
//! Four channels stay while the pixels pass, so that weights, biases and multipliers lie at fixed
//! offsets from one register. The first turn has no pair before it: a predicate switches its stores
//! off or, where the inputs need the predicate, they go to where the next turn stores. Of
//! an odd number of pixels the last comes in a second pass of one pair, with the pixel before it.
//!
//! Bound of a turn: eight products a chunk, two moves of sums into lanes and two products with the
//! multipliers hold the multiply pipe for two cycles each: `16 * chunks + 8` cycles for eight
//! results. Inputs of sixteen bits have twice the chunks; weights of bytes that are widened as they are loaded
//! have a pointer that walks, as offsets do not reach far from it.

use crate::asm::mve::{At, Block, Half, Inst, Item, LR, Lane, P0, Q, R, SP};
use crate::mve::gemm::{Gemm, LANES};
use crate::mve::straight::advance;
use crate::mve::stream::{ZERO, held, lane, shift};

const SUMS: [R; 8] = [R(0), R(2), R(4), R(6), R(8), R(10), R(12), LR];
/// Results of both pixels; the second is reached from the first where that is near enough.
const Y: [R; 2] = [R(7), R(5)];
/// Holds the loop's count while `lr` is a sum.
const COUNT: R = R(11);
/// Where the second result has no register of its own: the one limit of the results that is not
/// int8's, or how far the results' pointer moves in this turn, or the zero point of the results.
const SPARE: R = R(5);
/// Inputs of a chunk, weights of two channels, sums of the pair before, the zero point of the
/// results or the multipliers, and what is used once.
const INPUTS: [Q; 2] = [Q(0), Q(1)];
const WEIGHTS: [Q; 2] = [Q(4), Q(5)];
const BEFORE: [Q; 2] = [Q(2), Q(3)];
const KEPT: Q = Q(6);
const ONCE: Q = Q(7);
/// Words of the frame: channels that are left, channels from a group to the next, turns of the
/// next pass, passes that are left.
const LEFT: i32 = 0;
const ON: i32 = 4;
const TURNS: i32 = 8;
const PASSES: i32 = 12;
/// How far an offset reaches from the pointer of the weights.
const REACH: i32 = 508;

/// The pointer of the weights, and how far it is from where a group's start.
struct Weights {
    reg: R,
    at: i32,
    /// Where the pointer stands between turns.
    home: i32,
    /// Bytes of a group.
    len: i32,
}

impl Weights {
    fn reaches(&self, offset: i32) -> bool {
        (offset - self.at).abs() <= REACH
    }
    fn load(&mut self, insts: &mut Vec<Inst>, q: Q, offset: i32) {
        if !self.reaches(offset) {
            self.to(insts, (offset + REACH).min(self.len - LANES as i32));
        }
        insts.push(Inst::LoadWords(q, self.reg, offset - self.at));
    }
    /// Loads weights widened, and goes on to `next`.
    fn load_wide(&mut self, insts: &mut Vec<Inst>, q: Q, offset: i32, next: i32) {
        self.to(insts, offset);
        let by = next - offset;
        let near = by.abs() <= 127;
        let at = if near { At::After(self.reg, by) } else { At::Offset(self.reg, 0) };
        insts.push(Inst::LoadWide(Lane::H, q, at));
        self.at = if near { next } else { offset };
    }
    fn to(&mut self, insts: &mut Vec<Inst>, at: i32) {
        advance(insts, self.reg, at - self.at);
        self.at = at;
    }
}

impl Gemm {
    /// The block, where these sizes suit it.
    pub fn pipelined(&self) -> Option<Block> {
        let straight = self.group() == 4 && !self.four && self.turns()?.turns == 1;
        if !straight || !self.has_registers() || self.pixels < 2 || (self.alternates() && self.runs > 1) {
            return None;
        }
        let body = self.body();
        // A constant that is too large for an addition would need a register.
        let far = |i: &Inst| matches!(i, Inst::Add(_, _, R(2)));
        (!body.iter().any(far)).then(|| self.pipeline(body))
    }

    fn near(&self) -> bool {
        self.y_step <= 127
    }
    /// Whether the spare register, which has one use, suffices.
    pub fn has_registers(&self) -> bool {
        let limits = self.limits().into_iter().filter(|&limit| limit).count();
        limits + usize::from(self.predicated()) <= usize::from(self.near())
    }
    /// Whether the spare register holds the zero point, or there is none, so that a vector may hold the multipliers.
    fn keeps(&self) -> bool {
        self.wide() || self.near() && !self.predicated() && self.limits() == [false; 2]
    }
    /// The pointer of the weights.
    fn walk(&self) -> Weights {
        let [_, _, reg] = self.pointers();
        let home = if self.len() - LANES as i32 <= REACH { 0 } else { REACH };
        Weights { reg, at: home, home, len: self.len() }
    }
    /// Where a group's multipliers are.
    fn multipliers(&self) -> i32 {
        self.weights_len() as i32 + 16
    }
    /// Whether inputs and results take turns with the predicate.
    fn alternates(&self) -> bool {
        self.predicated() && self.ragged()
    }
    fn len(&self) -> i32 {
        self.group_len() as i32
    }
    /// Result pixels that the pointer is behind the pair that is summed first.
    fn lag(&self) -> i32 {
        if self.predicated() { 0 } else { 2 }
    }

    fn pipeline(&self, body: Vec<Inst>) -> Block {
        let (odd, pairs) = (self.pixels % 2 == 1, self.pixels / 2);
        let (x_step, y_step) = (self.x_bytes(self.x_step), self.y_bytes(self.y_step));
        let [x0, x1, reg] = self.pointers();
        let home = self.walk().home;
        let mut b = Block { slots: if odd { 4 } else { 2 }, early: BEFORE.to_vec(), ..Block::default() };
        let mut entry = vec![Inst::Mov(reg, R(1)), Inst::Mov(Y[0], R(2)), Inst::Mov(x0, R(0))];
        entry.push(Inst::Mov(x1, x0));
        advance(&mut entry, x1, x_step);
        advance(&mut entry, reg, home);
        if !self.near() {
            entry.push(Inst::AddImm(Y[1], Y[0], y_step));
        }
        let ys = &Y[..if self.near() { 1 } else { 2 }];
        for &y in ys {
            advance(&mut entry, y, -self.lag() * y_step);
        }
        if self.wide() {
        } else if self.keeps() {
            entry.push(Inst::MovImm(SPARE, self.zp & 0xffff));
        } else {
            entry.extend([Inst::MovImm(R(0), self.zp & 0xffff), Inst::Dup(Lane::H, ZERO, R(0))]);
        }
        for (limit, _) in [self.lo, self.hi].into_iter().zip(self.limits()).filter(|limit| limit.1) {
            entry.push(held(self.result, SPARE, limit));
        }
        if self.predicated() && !self.ragged() {
            entry.extend(self.predicate());
        }
        let groups = self.groups();
        if groups > 1 || self.ragged() {
            entry.extend([Inst::MovImm(R(0), self.outputs as i32), Inst::Str(R(0), SP, LEFT)]);
        }
        if self.overlaps() {
            let on = self.y_bytes(self.group() - self.common());
            entry.extend([Inst::MovImm(R(0), on), Inst::Str(R(0), SP, ON)]);
        }
        b.run(entry);

        let mut group = Block::default();
        // What a pass starts with: nothing to store yet.
        let mut start = if self.predicated() {
            vec![Inst::MovImm(SPARE, 0)]
        } else {
            vec![Inst::MovImm(R(0), 0), Inst::Vctp(P0, Lane::W, R(0))]
        };
        if self.keeps() {
            let mut w = self.walk();
            w.load(&mut start, KEPT, self.multipliers());
            w.to(&mut start, home);
        }
        let drain = self.drain();
        if odd {
            let set = |slot, v| [Inst::MovImm(R(0), v), Inst::Str(R(0), SP, slot)];
            group.run(set(PASSES, 2).into_iter().chain(set(TURNS, pairs as i32)));
            let mut pass = Block::default();
            pass.run(start.into_iter().chain([Inst::Ldr(LR, SP, TURNS)]));
            let turns = pairs as u32 + 1;
            pass.items.push(Item::Again { turns, passes: 2, body: vec![Item::Run(body)] });
            let mut next = drain;
            [x0, x1].iter().for_each(|&x| advance(&mut next, x, -x_step));
            ys.iter().for_each(|&y| advance(&mut next, y, (1 - self.lag()) * y_step));
            next.extend(set(TURNS, 1));
            next.extend([Inst::Ldr(R(0), SP, PASSES), Inst::AddImm(R(4), R(0), -1)]);
            next.push(Inst::Str(R(4), SP, PASSES));
            pass.run(next);
            group.items.push(Item::Down { count: R(0), step: 1, turns: 2, body: pass.items });
        } else {
            group.run(start);
            group.items.push(Item::Low { turns: pairs as u32, body: vec![Item::Run(body)] });
            group.run(drain);
        }
        if groups > 1 {
            let mut next = Vec::new();
            let (x_at, y_at) = match odd {
                true => (self.pixels - 1, self.pixels as i32 - 1 - self.lag()),
                false => (self.pixels, self.pixels as i32 - 2),
            };
            [x0, x1].iter().for_each(|&x| advance(&mut next, x, -(x_at as i32 * x_step)));
            let on = if self.overlaps() { 0 } else { self.y_bytes(4) };
            ys.iter().for_each(|&y| advance(&mut next, y, on - (y_at + self.lag()) * y_step));
            if self.overlaps() {
                next.extend([Inst::Ldr(R(0), SP, ON), Inst::Add(Y[0], Y[0], R(0))]);
                next.extend([Inst::MovImm(R(0), self.y_bytes(4)), Inst::Str(R(0), SP, ON)]);
            }
            advance(&mut next, reg, self.len());
            next.extend([Inst::Ldr(R(0), SP, LEFT), Inst::AddImm(R(4), R(0), -4)]);
            next.push(Inst::Str(R(4), SP, LEFT));
            group.run(next);
            b.items.push(Item::Down { count: R(0), step: 4, turns: groups as u32, body: group.items });
        } else {
            b.items.extend(group.items);
        }
        b
    }

    /// The predicate of a run's inputs, by way of r0.
    fn predicate(&self) -> [Inst; 2] {
        [Inst::MovImm(R(0), self.run as i32), Inst::Vctp(P0, lane(self.operand), R(0))]
    }

    /// A turn.
    fn body(&self) -> Vec<Inst> {
        let mut insts = vec![Inst::Mov(COUNT, LR)];
        let alternates = self.alternates();
        if alternates {
            insts.extend(self.predicate());
        }
        let mut w = self.walk();
        let [x0, x1, _] = self.pointers();
        let (vector, weights) = (self.vector() as i32, self.weights_len() as i32);
        // Where the pointer has to move, what is behind the weights is wanted after that.
        let mut done = !alternates && w.reaches(self.len() - LANES as i32);
        if done {
            self.requantize(&mut insts, &mut w, true);
        }
        let starts = self.starts();
        let end = 2 * self.x_bytes(self.x_step);
        for (c, &at) in starts.iter().enumerate() {
            // A pointer goes on to what is loaded next, at last in the next pair.
            let by = starts.get(c + 1).map_or(end, |&next| next) - at;
            for (q, x) in INPUTS.into_iter().zip([x0, x1]) {
                let near = by.abs() <= 127;
                let at = if near { At::After(x, by) } else { At::Offset(x, 0) };
                insts.push(if self.predicated() { Inst::LoadThen(P0, q, at) } else { Inst::Load(q, at) });
                if !near {
                    advance(&mut insts, x, by);
                }
            }
            if alternates {
                insts.extend([Inst::Ldr(LR, SP, LEFT), Inst::Vctp(P0, Lane::W, LR)]);
            }
            let dot = if c > 0 { Inst::DotAdd } else { Inst::Dot };
            for j in 0..4 {
                let q = WEIGHTS[j % 2];
                let at = (4 * c + j) as i32 * vector;
                if self.widens() {
                    let last = at + vector == weights;
                    w.load_wide(&mut insts, q, at, if last && done { w.home } else { at + vector });
                } else {
                    w.load(&mut insts, q, at);
                }
                if !done && w.reaches(self.len() - LANES as i32) {
                    self.requantize(&mut insts, &mut w, true);
                    done = true;
                }
                for (p, x) in INPUTS.into_iter().enumerate() {
                    insts.push(dot(lane(self.operand), SUMS[4 * p + j], x, q));
                }
            }
        }
        if !done {
            self.requantize(&mut insts, &mut w, true);
        }
        let home = w.home;
        w.to(&mut insts, home);
        for (q, of) in BEFORE.into_iter().zip([0, 4]) {
            insts.push(Inst::SetLanes(q, 0, SUMS[of], SUMS[of + 2]));
            insts.push(Inst::SetLanes(q, 1, SUMS[of + 1], SUMS[of + 3]));
        }
        if self.predicated() {
            insts.push(Inst::MovImm(SPARE, 2 * self.y_bytes(self.y_step)));
        } else if self.ragged() {
            insts.extend([Inst::Ldr(R(12), SP, LEFT), Inst::Vctp(P0, Lane::W, R(12))]);
        } else {
            // An address is more than there are lanes.
            insts.push(Inst::Vctp(P0, Lane::W, Y[0]));
        }
        insts.push(Inst::Mov(LR, COUNT));
        insts
    }

    /// What is left when the last pair of a pass is summed.
    fn drain(&self) -> Vec<Inst> {
        let mut insts = Vec::new();
        if self.alternates() {
            insts.extend([Inst::Ldr(R(0), SP, LEFT), Inst::Vctp(P0, Lane::W, R(0))]);
        }
        let mut w = self.walk();
        let home = w.home;
        self.requantize(&mut insts, &mut w, false);
        w.to(&mut insts, home);
        insts
    }

    /// Requantizes and stores the sums of the pair before.
    fn requantize(&self, insts: &mut Vec<Inst>, w: &mut Weights, moves: bool) {
        let [a, b] = BEFORE;
        let words = |insts: &mut Vec<Inst>, w: &mut Weights, at: i32, op: fn(Q, Q, Q) -> Inst| {
            w.load(insts, ONCE, at);
            insts.extend([op(a, a, ONCE), op(b, b, ONCE)]);
        };
        words(insts, w, self.weights_len() as i32, |d, a, b| Inst::AddLanes(Lane::W, d, a, b));
        if self.keeps() {
            insts.extend([a, b].map(|q| Inst::MulHigh(q, q, KEPT)));
        } else {
            words(insts, w, self.multipliers(), Inst::MulHigh);
        }
        let rounding = self.multipliers() + 16;
        shift(insts, [a, b], self.sh, |insts| words(insts, w, rounding, Inst::RoundShift));
        if !self.wide() {
            insts.push(match self.keeps() {
                true => Inst::QAddAll(a, a, SPARE),
                false => Inst::QAdd(Lane::H, a, a, ZERO),
            });
            insts.push(Inst::Narrow(Lane::H, Half::Bottom, a, a));
        }
        let limits: [fn(_, _, _, _) -> _; 2] = [Inst::Max, Inst::Min];
        for (op, _) in limits.into_iter().zip(self.limits()).filter(|limit| limit.1) {
            let lane = lane(self.result);
            insts.extend([Inst::Dup(lane, ONCE, SPARE), op(lane, a, a, ONCE)]);
        }
        insts.push(Inst::Shr(b, a, 16));
        let y_step = self.y_bytes(self.y_step);
        let switched = moves && !self.predicated();
        let mut store = |q, at| insts.push(self.store(self.ragged() || switched, q, at));
        store(b, if self.near() { At::Offset(Y[0], y_step) } else { At::Offset(Y[1], 0) });
        let post = switched && 2 * self.y_step <= 127;
        store(a, if post { At::After(Y[0], 2 * y_step) } else { At::Offset(Y[0], 0) });
        if self.predicated() {
            if moves {
                insts.push(Inst::Add(Y[0], Y[0], SPARE));
            }
        } else if moves {
            if !post {
                advance(insts, Y[0], 2 * y_step);
            }
            if !self.near() {
                advance(insts, Y[1], 2 * y_step);
            }
        }
    }
}
