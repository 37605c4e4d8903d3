//! The order of instructions: a list scheduler over the straight lines of a block, on virtual
//! registers, so that the assignment that follows renames them.
//!
//! In: a block in the generator's order. Out: the same instructions in another order with the
//! same result, that still fits the machine's registers. Law: what depends keeps its order. A
//! load moves before a store only where both offsets are known to differ, or where the
//! generator says that nothing stored is read again ([`crate::asm::armv7em::Block::streams`]).

use crate::asm::armv7em::Block;
use crate::asm::armv7em::assign::{MACHINE, hulls};
use crate::asm::armv7em::cost;
use crate::asm::armv7em::inst::{FLOATS, Inst, Reg, Sets};
use crate::asm::armv7em::text::Class;
use crate::asm::depend::{Link, Links, links};
use crate::asm::table::Touch;
use secateur_targets::{Cost, Pairing};
use std::collections::BTreeMap;

/// How a schedule is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// How far ahead of the first instruction that is left another one may be taken.
    pub window: usize,
    /// Values that may be alive at once.
    pub registers: usize,
    /// Packed arithmetic first, where it can only be the first of two.
    pub products_first: bool,
}

/// The searches that are worth their time on a core; the cheapest result is taken, the
/// generator's own order included.
pub fn searches(core: &Cost) -> Vec<Search> {
    let of = |window, products_first| Search { window, registers: MACHINE.len(), products_first };
    match core.pairing {
        Pairing::Dual => vec![of(40, true), of(20, true), of(40, false)],
        _ => vec![of(12, false), of(32, false)],
    }
}

/// The block with each straight line in a new order.
pub fn order(block: &Block, core: &Cost, search: Search) -> Block {
    reorder(block, &|line| line.schedule(core, search))
}

/// The block with each straight line in the quickest of the orders found, its own included.
pub fn quickest(block: &Block, core: &Cost) -> Block {
    reorder(block, &|line| {
        let own: Vec<usize> = (0..line.insts.len()).collect();
        let found = searches(core).into_iter().map(|search| line.schedule(core, search));
        found.fold(own, |a, b| if line.cycles(core, &b) < line.cycles(core, &a) { b } else { a })
    })
}

fn reorder(block: &Block, of: &dyn Fn(&Line) -> Vec<usize>) -> Block {
    let mut out = block.clone();
    let hulls = hulls(block);
    let mut from = 0;
    for to in 0..=block.insts.len() {
        if to < block.insts.len() && !block.insts[to].ends() {
            continue;
        }
        if to - from > 2 {
            let line = Line::new(block, &hulls, from, to);
            let insts: Vec<Inst> = of(&line).into_iter().map(|i| line.insts[i]).collect();
            out.insts[from..to].copy_from_slice(&insts);
        }
        from = to + 1;
    }
    out
}

/// One straight line.
struct Line<'a> {
    insts: &'a [Inst],
    /// By instruction, those that must come before it.
    before: Links,
    /// By instruction, the registers it touches, by number within the line.
    touches: Vec<Vec<usize>>,
    written: Vec<Vec<usize>>,
    /// By register of the line: alive at its start, alive after its end.
    enters: Vec<bool>,
    leaves: Vec<bool>,
    /// Registers that live through the line untouched.
    through: usize,
}

impl<'a> Line<'a> {
    fn new(block: &'a Block, hulls: &BTreeMap<Reg, (usize, usize)>, from: usize, to: usize) -> Line<'a> {
        let insts = &block.insts[from..to];
        let mut number: BTreeMap<Reg, usize> = BTreeMap::new();
        let (mut touches, mut written) = (Vec::new(), Vec::new());
        for inst in insts {
            let (w, r) = inst.operands();
            let mut id = |reg: &Reg| {
                let next = number.len();
                *number.entry(*reg).or_insert(next)
            };
            let r: Vec<usize> = r.iter().map(&mut id).collect();
            let w: Vec<usize> = w.iter().map(&mut id).collect();
            let mut all: Vec<usize> = r.iter().chain(&w).copied().collect();
            all.sort_unstable();
            all.dedup();
            touches.push(all);
            written.push(w);
        }
        let mut enters = vec![false; number.len()];
        let mut leaves = vec![false; number.len()];
        for (reg, &n) in &number {
            let (first, last) = hulls.get(reg).copied().unwrap_or((2 * from, 2 * to));
            enters[n] = first < 2 * from || (from == 0 && block.args.contains(reg));
            leaves[n] = last >= 2 * to;
        }
        let untouched = |(reg, &(first, last)): (&Reg, &(usize, usize))| {
            !number.contains_key(reg) && first < 2 * from.max(1) && last >= 2 * to
        };
        let through = hulls.iter().filter(|&h| untouched(h)).count();
        let mut before = links(insts, |inst, f| {
            inst.visit(&mut |place, touch| {
                if place < FLOATS {
                    f(place, touch)
                }
            });
            if inst.form().flags == Sets::Always {
                f(FLAGS, Touch::Write);
            }
        });
        let accesses: Vec<Option<Access>> = insts.iter().map(Access::of).collect();
        for (i, access) in accesses.iter().enumerate() {
            let Some(access) = access else { continue };
            let meets = |other: &Option<Access>| other.is_some_and(|o| access.conflicts(&o, block.streams));
            before[i].extend((0..i).filter(|&at| meets(&accesses[at])).map(|at| (at, Link::Memory)));
        }
        Line { insts, before, touches, written, enters, leaves, through }
    }

    /// Cycles in an order.
    fn cycles(&self, core: &Cost, order: &[usize]) -> u64 {
        let mut clock = Clock::new(self, core);
        order.iter().for_each(|&i| clock.take(i));
        clock.now
    }

    /// The order found.
    fn schedule(&self, core: &Cost, search: Search) -> Vec<usize> {
        let n = self.insts.len();
        let mut state = State::new(self, core, search.registers);
        let mut out = Vec::with_capacity(n);
        let mut first = 0;
        while out.len() < n {
            while state.done[first] {
                first += 1;
            }
            let mut best: Option<(usize, [u64; 3])> = None;
            for i in first..n.min(first + search.window) {
                if state.done[i] || !state.free(i) {
                    continue;
                }
                let price = state.price(i, search.products_first);
                if best.is_none_or(|(_, b)| price < b) && (i == first || state.fits(first, i)) {
                    best = Some((i, price));
                }
            }
            // What stands first depends on nothing that is left, and fits as it did before.
            let i = best.map_or(first, |b| b.0);
            state.take(i);
            out.push(i);
        }
        out
    }
}

/// The place of the flags: comparisons keep their order.
const FLAGS: u32 = u32::MAX;

/// An access of memory, by base and bytes. Between two accesses by a register that is written in
/// between, the register keeps the order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Access {
    store: bool,
    base: Base,
    bytes: (i64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Base {
    Frame,
    Float,
    Pointer(Reg),
    /// Anywhere outside of the frame.
    Unknown,
}

impl Access {
    fn of(inst: &Inst) -> Option<Access> {
        let form = inst.form();
        let store = form.class == Class::Store;
        let word = |base, store, n: u32| {
            let n = 4 * i64::from(n);
            Some(Access { store, base, bytes: (n, n + 4) })
        };
        match *inst {
            Inst::LdrSlot(_, slot) | Inst::StrSlot(_, slot) => return word(Base::Frame, store, slot.0),
            Inst::FloatTo(f, _) => return word(Base::Float, true, f.0),
            Inst::FloatFrom(_, f) => return word(Base::Float, false, f.0),
            _ => {}
        }
        let a = inst.touched(Touch::Base).or(inst.touched(Touch::Moved))?;
        let Some(o) = form.offset else { return Some(Access { store, base: Base::Unknown, bytes: (0, 0) }) };
        let bytes = (o.into(), (o + form.access).into());
        Some(Access { store, base: Base::Pointer(a), bytes })
    }
    /// Whether this must stay behind an earlier access.
    fn conflicts(&self, earlier: &Access, streams: bool) -> bool {
        if !self.store && !earlier.store {
            return false;
        }
        let own = |b: Base| matches!(b, Base::Frame | Base::Float);
        if own(self.base) != own(earlier.base) {
            return false;
        }
        if self.base == earlier.base && self.base != Base::Unknown {
            return self.bytes.0 < earlier.bytes.1 && earlier.bytes.0 < self.bytes.1;
        }
        if own(self.base) {
            return false;
        }
        // Another pointer: a store may hit what is loaded only before it, if at all.
        !(streams && earlier.store && !self.store)
    }
}

/// What has been scheduled.
struct State<'a> {
    line: &'a Line<'a>,
    done: Vec<bool>,
    /// By register of the line: touches that are left, and whether it holds a value.
    left: Vec<u32>,
    alive: Vec<bool>,
    pressure: usize,
    limit: usize,
    clock: Clock<'a>,
}

impl<'a> State<'a> {
    fn new(line: &'a Line<'a>, core: &'a Cost, limit: usize) -> State<'a> {
        let mut left = vec![0; line.enters.len()];
        line.touches.iter().flatten().for_each(|&r| left[r] += 1);
        let alive = line.enters.clone();
        let pressure = line.through + alive.iter().filter(|a| **a).count();
        State {
            line,
            done: vec![false; line.insts.len()],
            left,
            alive,
            pressure,
            limit,
            clock: Clock::new(line, core),
        }
    }
    /// Whether all that must come before has been taken.
    fn free(&self, i: usize) -> bool {
        self.line.before[i].iter().all(|&(b, _)| self.done[b])
    }
    /// Counts an instruction's registers; `back` takes it back. Gives false where too many
    /// are alive.
    fn touch(&mut self, i: usize, log: &mut Vec<(usize, bool)>) -> bool {
        for &r in &self.line.touches[i] {
            self.left[r] -= 1;
            log.push((r, self.alive[r]));
            let written = self.line.written[i].contains(&r);
            let alive = (self.alive[r] || written) && (self.left[r] > 0 || self.line.leaves[r]);
            self.pressure = self.pressure + usize::from(alive) - usize::from(self.alive[r]);
            self.alive[r] = alive;
        }
        // A result that nobody reads still needs a register for the moment.
        let lost = self.line.written[i].iter().filter(|&&r| !self.alive[r]).count();
        self.pressure + lost <= self.limit
    }
    fn back(&mut self, log: &[(usize, bool)]) {
        for &(r, was) in log.iter().rev() {
            self.pressure = self.pressure + usize::from(was) - usize::from(self.alive[r]);
            self.alive[r] = was;
            self.left[r] += 1;
        }
    }
    /// Whether the rest still fits in its old order when `i` comes now: nothing after `i` in
    /// that order notices.
    fn fits(&mut self, first: usize, i: usize) -> bool {
        let mut log = Vec::new();
        let mut fits = self.touch(i, &mut log);
        for k in first..i {
            if !fits {
                break;
            }
            if !self.done[k] {
                fits = self.touch(k, &mut log);
            }
        }
        self.back(&log);
        fits
    }
    /// What taking an instruction now costs: cycles first, then the likes of its kind, then
    /// its place.
    fn price(&self, i: usize, products_first: bool) -> [u64; 3] {
        let inst = &self.line.insts[i];
        let (start, paired) = self.clock.start(i);
        let wait = start.saturating_sub(self.clock.now);
        if self.clock.core.pairing == Pairing::Dual {
            let class = inst.form().class;
            let kind = if paired { 0 } else { 1 + u64::from(products_first && class != Class::Dsp) };
            return [wait, kind, i as u64];
        }
        [wait + self.clock.apart(inst), 0, i as u64]
    }
    fn take(&mut self, i: usize) {
        self.done[i] = true;
        self.touch(i, &mut Vec::new());
        self.clock.take(i);
    }
}

/// When instructions start, nearly as [`cost`] says it of the finished text.
struct Clock<'a> {
    line: &'a Line<'a>,
    core: &'a Cost,
    now: u64,
    /// When each instruction's result is there; when as an addend.
    ready: Vec<(u64, u64)>,
    /// The last instruction, when it started, and whether a second one may start with it.
    last: Option<(usize, u64, bool)>,
}

impl<'a> Clock<'a> {
    fn new(line: &'a Line<'a>, core: &'a Cost) -> Clock<'a> {
        Clock { line, core, now: 0, ready: vec![(0, 0); line.insts.len()], last: None }
    }
    /// When an instruction could start, and whether as the second of a pair.
    fn start(&self, i: usize) -> (u64, bool) {
        let inst = &self.line.insts[i];
        let addend = inst.touched(Touch::Addend);
        let mut at = 0;
        for &(b, link) in &self.line.before[i] {
            if link == Link::Value {
                let late = addend.is_some_and(|c| self.line.insts[b].operands().0.contains(&c));
                let alone = late && inst.operands().1.iter().filter(|r| Some(**r) == addend).count() == 1;
                at = at.max(if alone { self.ready[b].1 } else { self.ready[b].0 });
            }
        }
        if let Some((last, start, true)) = self.last
            && at <= start
            && self.pairs(last, i)
        {
            return (start, true);
        }
        (at.max(self.now), false)
    }
    fn pairs(&self, a: usize, b: usize) -> bool {
        if self.core.pairing != Pairing::Dual {
            return false;
        }
        let (x, y) = (&self.line.insts[a], &self.line.insts[b]);
        let touched = self.line.written[a].iter().any(|r| self.line.touches[b].contains(r));
        !touched && cost::kinds_pair(x.form().class, y.form().class)
    }
    /// What a load in this place costs more than beside another.
    fn apart(&self, inst: &Inst) -> u64 {
        let memory = |c: Class| matches!(c, Class::Load | Class::Store);
        if self.core.load_next >= self.core.load {
            return 0;
        }
        let after = self.last.is_some_and(|(l, ..)| self.line.insts[l].form().class == Class::Load);
        u64::from(after != memory(inst.form().class))
    }
    fn take(&mut self, i: usize) {
        let (start, second) = self.start(i);
        let inst = &self.line.insts[i];
        let (taken, latency) = cost::times(inst, self.core);
        let at = start + taken.max(1);
        let late = if inst.form().class == Class::Load { latency } else { 0 };
        self.ready[i] = (at + latency, at + late);
        if !second {
            self.now = start + taken;
        }
        self.last = Some((i, start, !second));
    }
}
