//! The instructions of [`crate::mve::gemm`] as they come: of a group of channels the products, then what makes results
//! of the sums, then the next group.
//!
//! In: sizes. Out: a block for each of them, which [`pipelined`] surpasses where there are many pixels. Law: that of
//! the kernel, whose body says it.
//!
//! [`pipelined`]: Gemm::pipelined

use crate::asm::mve::{At, Block, Inst, Item, LR, Lane, P0, Q, R, SP};
use crate::mve::gemm::{Gemm, Shape, Turns};
use crate::mve::stream::{keep, lane, limit, shift};
use crate::tensor::DType;

/// A register that walks, and how far it is from where it started.
pub(super) struct Walk {
    reg: R,
    at: i32,
}

impl Walk {
    pub(super) fn new(reg: R) -> Walk {
        Walk { reg, at: 0 }
    }
    /// The address of `target`, where `next` is wanted afterwards. The register moves when the
    /// next address would be out of reach.
    pub(super) fn to(&mut self, insts: &mut Vec<Inst>, target: i32, next: Option<i32>) -> At {
        if (target - self.at).abs() > 127 {
            self.jump(insts, target);
        }
        let by = target - self.at;
        match next {
            Some(next) if by != 0 && (next - self.at).abs() > 127 => {
                self.at = target;
                At::Before(self.reg, by)
            }
            _ => At::Offset(self.reg, by),
        }
    }
    pub(super) fn jump(&mut self, insts: &mut Vec<Inst>, target: i32) {
        advance(insts, self.reg, target - self.at);
        self.at = target;
    }
}

/// Adds any constant; r2 is free where one is too large for an instruction.
pub(super) fn advance(insts: &mut Vec<Inst>, reg: R, by: i32) {
    if by == 0 {
    } else if by.abs() <= 4095 {
        insts.push(Inst::AddImm(reg, reg, by));
    } else {
        insts.push(Inst::MovImm(R(2), by));
        insts.push(Inst::Add(reg, reg, R(2)));
    }
}

impl Gemm {
    /// Pointers of both pixels' inputs and of the weights. What loads them widened wants a low one.
    pub(super) fn pointers(&self) -> [R; 3] {
        if self.widens() { [R(1), R(9), R(3)] } else { [R(1), R(3), R(9)] }
    }
    /// Bytes of so many inputs or results.
    pub(super) fn x_bytes(&self, n: usize) -> i32 {
        (n * self.operand.size()) as i32
    }
    pub(super) fn y_bytes(&self, n: usize) -> i32 {
        (n * self.result.size()) as i32
    }
    /// Loads weights of a channel, in lanes as wide as the inputs'.
    fn weights(&self, q: Q, at: At) -> Inst {
        if self.widens() { Inst::LoadWide(Lane::H, q, at) } else { Inst::Load(q, at) }
    }
    /// Stores a pixel's results, `then`: where the predicate holds. Those of two pixels have a word each.
    pub(super) fn store(&self, then: bool, q: Q, at: At) -> Inst {
        match (self.shape(), self.result, then) {
            (Shape::Eight, DType::I16, false) => Inst::Store(q, at),
            (Shape::Eight, DType::I16, true) => Inst::StoreThen(P0, q, at),
            (Shape::Four, DType::I16, false) => Inst::StoreHalves(q, at),
            (Shape::Four, DType::I16, true) => Inst::StoreHalvesThen(P0, q, at),
            (shape, _, false) => Inst::StoreNarrow(shape.lane(), q, at),
            (shape, _, true) => Inst::StoreNarrowThen(P0, shape.lane(), q, at),
        }
    }

    /// The instructions, one group of channels behind the other; for groups that do not overlap.
    pub(super) fn block(&self) -> Block {
        let mut b = Block::default();
        let [x0, x1, w] = self.pointers();
        let (y0, y1, count) = (R(7), R(5), R(11));
        let (x_step, y_step) = (self.x_bytes(self.x_step), self.y_bytes(self.y_step));
        let pairs = self.pixels.div_ceil(2);
        let four = self.shape() == Shape::Four;
        let mut entry = vec![Inst::Mov(w, R(1)), Inst::Mov(y0, R(2)), Inst::Mov(x0, R(0))];
        if four {
            entry.push(Inst::Mov(x1, x0));
            advance(&mut entry, x1, x_step);
            entry.push(Inst::AddImm(y1, y0, y_step));
        }
        keep(&mut entry, self.result, self.zp, (self.lo, self.hi));
        if self.predicated() {
            entry.push(Inst::MovImm(R(0), self.run as i32));
            entry.push(Inst::Vctp(P0, lane(self.operand), R(0)));
        }
        if pairs > 1 {
            b.slots = 1;
            entry.push(Inst::MovImm(R(0), pairs as i32));
            entry.push(Inst::Str(R(0), SP, 0));
        }
        b.run(entry);
        let groups = self.groups();
        let turns = self.turns().map_or(1, |t| t.turns);
        let ragged = self.ragged();
        let mut body = Block::default();
        let low = turns == 1 && !ragged && groups > 1;
        if low {
            let mut insts = vec![Inst::Mov(count, LR)];
            self.group_insts(&mut body, &mut insts, Some(Inst::Mov(LR, count)));
            b_loop_low(&mut body, groups);
        } else {
            let mut enter = Vec::new();
            if ragged || groups > 1 {
                enter.push(Inst::MovImm(count, self.outputs as i32));
            }
            self.group_insts(&mut body, &mut Vec::new(), None);
            let inner = std::mem::take(&mut body.items);
            body.run(enter);
            if groups > 1 {
                let step = self.group() as i32;
                body.items.push(Item::Down { count, step, turns: groups as u32, body: inner });
            } else {
                body.items.extend(inner);
            }
        }
        if pairs > 1 {
            let mut next = Vec::new();
            next.push(Inst::Ldr(R(0), SP, 0));
            advance(&mut next, x0, 2 * x_step);
            advance(&mut next, x1, 2 * x_step);
            let stored = self.y_bytes(self.groups() * self.group());
            advance(&mut next, y0, 2 * y_step - stored);
            advance(&mut next, y1, 2 * y_step - stored);
            advance(&mut next, w, -(self.stream_len() as i32));
            next.push(Inst::AddImm(R(4), R(0), -1));
            next.push(Inst::Str(R(4), SP, 0));
            body.run(next);
            if self.pixels % 2 == 1 {
                // The last pair takes the pixel before it again.
                let mut back = Vec::new();
                for reg in [x0, x1] {
                    advance(&mut back, reg, -x_step);
                }
                for reg in [y0, y1] {
                    advance(&mut back, reg, -y_step);
                }
                body.items.push(Item::IfOne { count: R(4), body: back });
            }
            b.items.push(Item::Down { count: R(0), step: 1, turns: pairs as u32, body: body.items });
        } else {
            b.items.extend(body.items);
        }
        b
    }

    /// Whether a group has fewer channels than the others.
    pub fn ragged(&self) -> bool {
        !self.outputs.is_multiple_of(self.group()) && !self.overlaps()
    }

    /// The code of one group of channels: products, requantization, stores.
    fn group_insts(&self, b: &mut Block, insts: &mut Vec<Inst>, last: Option<Inst>) {
        let [x0, x1, w] = self.pointers();
        let Some(Turns { turns, chunks: part, step, rest }) = self.turns() else { return };
        let (mut px, mut py, mut pw) = (Walk::new(x0), Walk::new(x1), Walk::new(w));
        let four = self.shape() == Shape::Four;
        let chunks = self.chunks();
        let looped = turns > 1;
        // Where the chunks of one turn start, and those behind the loop.
        let starts = match looped {
            true => (0..part).map(|c| self.x_bytes(self.start(c))).collect(),
            false => self.starts(),
        };
        let last_starts: Vec<i32> = (chunks - rest..chunks).map(|c| self.x_bytes(self.start(c))).collect();
        let accumulators = [0u8, 2, 4, 6, 8, 10, 12, 14].map(R);
        if self.predicated() && self.ragged() {
            // The results' predicate took the place of the inputs'.
            insts.extend([Inst::MovImm(R(0), self.run as i32), Inst::Vctp(P0, lane(self.operand), R(0))]);
        }
        if looped {
            insts.extend(accumulators.map(|r| Inst::MovImm(r, 0)));
            insts.push(Inst::MovImm(R(5), turns as i32));
            b.run(std::mem::take(insts));
        }
        let (vector, step) = (self.vector() as i32, self.x_bytes(step));
        let wide = self.vectors() as i32 * vector;
        let products = |insts: &mut Vec<Inst>, walks: [&mut Walk; 3], starts: &[i32], end: Option<i32>| {
            let [px, py, pw] = walks;
            for (c, &at) in starts.iter().enumerate() {
                let next = starts.get(c + 1).copied().or(end);
                let (a, b2) = if c % 2 == 0 { (Q(0), Q(1)) } else { (Q(2), Q(3)) };
                let input = |insts: &mut Vec<Inst>, q: Q, p: &mut Walk| {
                    let at = p.to(insts, at, next);
                    insts.push(if self.predicated() { Inst::LoadThen(P0, q, at) } else { Inst::Load(q, at) });
                };
                input(insts, a, px);
                if four {
                    input(insts, b2, py);
                }
                for j in 0..self.vectors() {
                    let q = self.weight_register(j);
                    let from = c as i32 * wide + j as i32 * vector;
                    let at = pw.to(insts, from, Some(from + vector));
                    insts.push(self.weights(q, at));
                    let dot = if looped || c > 0 { Inst::DotAdd } else { Inst::Dot };
                    let of = lane(self.operand);
                    let sums = |insts: &mut Vec<Inst>, channel: usize| {
                        insts.push(dot(of, accumulators[channel], a, q));
                        if four {
                            insts.push(dot(of, accumulators[4 + channel], b2, q));
                        }
                    };
                    if self.four {
                        sums(insts, 2 * j);
                        insts.push(Inst::ShlBytes(q, q, 4));
                        sums(insts, 2 * j + 1);
                    } else {
                        sums(insts, j);
                    }
                }
            }
        };
        if looped {
            products(insts, [&mut px, &mut py, &mut pw], &starts, Some(step));
            px.jump(insts, step);
            if four {
                py.jump(insts, step);
            }
            pw.jump(insts, part as i32 * wide);
            let body = vec![Item::Run(std::mem::take(insts))];
            b.items.push(Item::Down { count: R(5), step: 1, turns: turns as u32, body });
            px.at = turns as i32 * step;
            py.at = px.at;
            pw.at = 0;
            products(insts, [&mut px, &mut py, &mut pw], &last_starts, None);
            pw.at -= rest as i32 * wide;
        } else {
            products(insts, [&mut px, &mut py, &mut pw], &starts, None);
            pw.at -= self.weights_len() as i32;
        }
        for pair in accumulators.chunks(2).filter(|_| self.four) {
            insts.push(Inst::SubAsr(pair[0], pair[0], pair[1], 4));
            insts.push(Inst::AsrImm(pair[0], pair[0], 4));
            insts.push(Inst::AsrImm(pair[1], pair[1], 4));
        }
        self.finish(insts, &accumulators, &mut pw);
        px.jump(insts, 0);
        if four {
            py.jump(insts, 0);
        }
        insts.extend(last);
        b.run(std::mem::take(insts));
    }

    /// Where the chunks of all runs start, in bytes.
    pub(super) fn starts(&self) -> Vec<i32> {
        let start = move |r: usize, c| self.x_bytes(r * self.run_pitch + self.start(c));
        let run = |r: usize| (0..self.chunks()).map(move |c| start(r, c));
        (0..self.runs).flat_map(run).collect()
    }

    fn weight_register(&self, j: usize) -> Q {
        // q5 is free unless both limits are constants.
        if self.limits()[1] { Q(4) } else { [Q(4), Q(5)][j % 2] }
    }

    /// Requantizes and stores the sums of a group. `w` stands so that its bias is at 0.
    fn finish(&self, insts: &mut Vec<Inst>, acc: &[R; 8], w: &mut Walk) {
        let (y0, y1, count) = (R(7), R(5), R(11));
        let (a, b) = (Q(0), Q(1));
        for (q, of) in [(a, 0), (b, 4)] {
            insts.push(Inst::SetLanes(q, 0, acc[of], acc[of + 2]));
            insts.push(Inst::SetLanes(q, 1, acc[of + 1], acc[of + 3]));
        }
        let four = self.shape() == Shape::Four;
        let bytes = 4 * self.group() as i32;
        let end = bytes * self.words() as i32;
        // Words of the sums in the second vector stand behind those of the first.
        let second = if four { 0 } else { 16 };
        let words = |insts: &mut Vec<Inst>, w: &mut Walk, n: i32, op: fn(Q, Q, Q) -> Inst| {
            let (p, q) = (Q(2), Q(3));
            for (v, q, at) in [(a, p, n * bytes), (b, q, n * bytes + second)] {
                if v == a || !four {
                    let last = at + 16 == end;
                    let next = if last { end } else { at + 16 };
                    let from = w.to(insts, at, Some(next));
                    insts.push(Inst::Load(q, from));
                }
                let q = if four { p } else { q };
                insts.push(op(v, v, q));
            }
        };
        words(insts, w, 0, |d, a, b| Inst::AddLanes(Lane::W, d, a, b));
        words(insts, w, 1, Inst::MulHigh);
        shift(insts, [a, b], self.sh, |insts| words(insts, w, 2, Inst::RoundShift));
        w.jump(insts, end);
        limit(insts, self.result, a, (self.lo, self.hi));
        if four {
            insts.push(Inst::Shr(b, a, 16));
        }
        let ragged = self.ragged();
        if four && self.turns().is_some_and(|t| t.turns > 1) {
            insts.push(Inst::AddImm(y1, y0, self.y_bytes(self.y_step)));
        }
        if ragged {
            insts.push(Inst::Vctp(P0, self.shape().lane(), count));
        }
        let mut store = |q, at| insts.push(self.store(ragged, q, at));
        store(a, At::After(y0, self.y_bytes(self.group())));
        if four {
            store(b, At::After(y1, self.y_bytes(4)));
        }
    }
}

/// Turns the items of `b` into a loop that `lr` counts.
fn b_loop_low(b: &mut Block, turns: usize) {
    let body = std::mem::take(&mut b.items);
    b.items.push(Item::Low { turns: turns as u32, body });
}
