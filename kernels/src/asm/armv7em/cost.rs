//! Cycles of a block on an in-order core without wait states: when each instruction starts, by
//! the core's `[cost]` table.
//!
//! In: the lines of a function ([`crate::asm::armv7em::text`]) and how often its loops turn. Out: cycles.
//! Sources of the rules: Arm Cortex-M4 Technical Reference Manual r0p1, section 3.3.1 (loads side
//! by side); for cores without a published table the core's file names what they are assumed
//! from. Law: every rule reads a number of the table, so a new core is data.

use crate::asm::armv7em::inst::{Inst, Label};
use crate::asm::armv7em::text::{Class, FLAGS, Line, Op};
use secateur_targets::{Cost, Pairing};

/// Whole cycles of a table's entry.
fn whole(v: f32) -> u64 {
    v.ceil().max(0.0) as u64
}

/// Cycles for which an instruction keeps the issue to itself.
fn occupancy(op: &Op, core: &Cost) -> u64 {
    match op.class {
        Class::Load => whole(core.load),
        Class::Store => whole(core.store),
        Class::LoadMany | Class::StoreMany | Class::Enter => {
            whole(core.multiple + core.multiple_each * op.words as f32).max(1)
        }
        Class::Mul => whole(core.mul),
        Class::Mla => whole(core.mla.unwrap_or(core.mul + core.alu)),
        Class::Dsp => whole(core.dsp.unwrap_or(core.alu)),
        Class::LongMul => whole(core.mul_long.unwrap_or(core.mul)),
        Class::Branch | Class::Jump => 0,
        Class::Alu | Class::Shift | Class::Float | Class::It => whole(core.alu),
    }
}

/// Cycles from the end of an instruction until its result can be used.
fn latency(op: &Op, core: &Cost) -> u64 {
    match op.class {
        Class::Load | Class::LoadMany => whole(core.load_use),
        Class::Mul | Class::Mla | Class::Dsp | Class::LongMul => whole(core.product_use),
        _ => 0,
    }
}

fn memory(class: Class) -> bool {
    matches!(class, Class::Load | Class::Store | Class::LoadMany | Class::StoreMany)
}

/// Whether the kinds of two independent instructions let them start together on a core that starts
/// two of any size.
pub(crate) fn kinds_pair(a: Class, b: Class) -> bool {
    let product = |c| matches!(c, Class::Mul | Class::Mla | Class::Dsp | Class::LongMul);
    let alone = |c| matches!(c, Class::LoadMany | Class::StoreMany | Class::Enter);
    let both = |class| a == class && b == class;
    // What both would need at once.
    let contended = (product(a) && product(b))
        || both(Class::Shift)
        || both(Class::Float)
        || (memory(a) && memory(b) && !both(Class::Load));
    !contended && !alone(a) && !alone(b) && b != Class::Dsp
}

/// Cycles that an instruction takes and those until its result can be used.
pub(crate) fn times(inst: &Inst, core: &Cost) -> (u64, u64) {
    let op = Op { words: 1, ..Op::new(inst.form().class, false) };
    let spelled = match inst {
        Inst::MaxImm(..) | Inst::MinImm(..) | Inst::Max(..) | Inst::Min(..) => 3,
        Inst::MaxBytes(..) => 2,
        _ => 1,
    };
    (spelled * occupancy(&op, core), latency(&op, core))
}

/// Whether `b` can start in the same cycle as the instruction before it.
fn pair(a: &Op, b: &Op, core: &Cost) -> bool {
    let alone = |c| matches!(c, Class::LoadMany | Class::StoreMany | Class::Enter);
    let branches = |c| matches!(c, Class::Branch | Class::Jump);
    if alone(a.class) || alone(b.class) || branches(a.class) {
        return false;
    }
    if a.writes & (b.reads | b.addend | b.address | b.writes) & !FLAGS != 0 {
        return false;
    }
    let flags = a.writes & b.reads & FLAGS != 0;
    match core.pairing {
        Pairing::None => false,
        Pairing::Narrow => {
            a.size == 2
                && b.size == 2
                && (a.class == Class::Alu || b.class == Class::Alu)
                && !flags
                && a.class != Class::It
                && b.class != Class::It
                && !branches(b.class)
        }
        Pairing::Dual => (!flags || b.class == Class::Branch) && kinds_pair(a.class, b.class),
    }
}

/// When the instructions of a straight line start.
pub(crate) struct Issue<'a> {
    core: &'a Cost,
    /// By register, when its value can be read.
    ready: [u64; 49],
    /// The first cycle that is free.
    now: u64,
    /// The last instruction, when it started, and whether it was the second of a pair.
    last: Option<(Op, u64, bool)>,
}

impl<'a> Issue<'a> {
    pub(crate) fn new(core: &'a Cost) -> Issue<'a> {
        Issue { core, ready: [0; 49], now: 0, last: None }
    }
    fn latest(&self, mask: u64) -> u64 {
        let bits = (0..49).filter(|b| mask >> b & 1 == 1);
        bits.map(|b: usize| self.ready[b]).max().unwrap_or(0)
    }
    /// Starts the next instruction; `next` is the one after it.
    fn start(&mut self, op: &Op, next: Option<&Op>) {
        let core = self.core;
        let read = self.latest(op.reads | op.address);
        let mut start = self.now.max(read);
        if op.addend != 0 {
            // A sum is handed from one product to the next without the product's latency.
            let late = self.last.is_some_and(|(last, ..)| last.class != Class::Load);
            let early = if late { whole(core.product_use) } else { 0 };
            start = start.max(self.latest(op.addend).saturating_sub(early));
        }
        let (mut taken, latency) = (occupancy(op, core), latency(op, core));
        if let Some((last, at, second)) = self.last
            && !second
            && start == self.now
            && pair(&last, op, core)
            && read <= at
        {
            self.last = Some((*op, at, true));
            return self.written(op, at + taken.max(1) + latency);
        }
        let beside = |n: &Op| matches!(n.class, Class::Load | Class::Store) && n.address & op.writes == 0;
        if op.class == Class::Load && next.is_some_and(beside) {
            taken = whole(core.load_next).min(taken);
        }
        self.last = Some((*op, start, false));
        self.now = start + taken;
        self.written(op, start + taken.max(1) + latency);
    }
    fn written(&mut self, op: &Op, at: u64) {
        for b in (0..49usize).filter(|b| op.writes >> b & 1 == 1) {
            // A pointer that a load moves is there at once.
            let moved = op.address >> b & 1 == 1 && op.class != Class::Load;
            self.ready[b] = if moved { at - latency(op, self.core) } else { at };
        }
    }
}

/// Cycles of a straight line: the first time, and each time when it follows itself.
fn straight(ops: &[Op], core: &Cost) -> (u64, u64) {
    let mut issue = Issue::new(core);
    let mut ends = [0; 4];
    for pass in 1..4 {
        issue.last = None;
        for (i, op) in ops.iter().enumerate() {
            issue.start(op, ops.get(i + 1));
        }
        ends[pass] = issue.now;
    }
    (ends[1], ends[3] - ends[2])
}

/// The walk over a function. Straight lines begin where control arrives and run through labels
/// up to the next branch, as the counting emulator sees them.
struct Walk<'a> {
    lines: &'a [Line],
    trips: &'a dyn Fn(Label) -> u64,
    core: &'a Cost,
}

impl Walk<'_> {
    /// Cycles of the straight line of `from..=to`.
    fn line(&self, from: usize, to: usize) -> (u64, u64) {
        let ops: Vec<Op> = self.lines[from..=to].iter().filter_map(|l| l.op).collect();
        straight(&ops, self.core)
    }
    /// Where a label stands.
    fn place(&self, label: Option<Label>) -> Option<usize> {
        self.lines.iter().position(|l| l.op.is_none() && l.label == label)
    }
    /// Cycles of `at..end`, of which the straight line begins at `from`; gives where the line
    /// that is open at the end begins. A loop's first turn runs on from what stands before it;
    /// the others are added where its branch stands.
    fn walk(&self, mut from: usize, mut at: usize, end: usize) -> (u64, usize) {
        let core = self.core;
        let mut cycles = 0;
        while at < end {
            let line = &self.lines[at];
            let Some(op) = line.op else {
                at += 1;
                continue;
            };
            match op.class {
                Class::Branch => {
                    // A forward branch is for the exception.
                    cycles += self.line(from, at).0 + whole(core.branch_not_taken);
                    if let Some(top) = self.place(line.label).filter(|&top| top < at) {
                        cycles += self.turns(top, at, line.label.map_or(1, self.trips));
                    }
                    (from, at) = (at + 1, at + 1);
                }
                Class::Jump | Class::Enter => {
                    let taken =
                        if op.class == Class::Jump { core.branch_taken } else { core.multiple_return };
                    cycles += self.line(from, at).0 + whole(taken);
                    at = self.place(line.label).filter(|&to| at < to && to < end).unwrap_or(end);
                    from = at;
                }
                _ => at += 1,
            }
        }
        (cycles, from)
    }
    /// Cycles of all turns but the first of the loop between a label and its branch.
    fn turns(&self, top: usize, branch: usize, trips: u64) -> u64 {
        let core = self.core;
        if trips < 2 {
            return 0;
        }
        let (turn, open) = self.walk(top + 1, top + 1, branch);
        let (once, steady) = self.line(open, branch);
        let again = if open == top + 1 { steady } else { once };
        turn + once
            + (trips - 2) * (turn + again)
            + (trips - 1) * whole(core.branch_taken)
            + core.branch_missed.map_or(0, whole)
    }
}

/// Cycles of one call: entry and return included, the call itself not.
pub(crate) fn cycles(lines: &[Line], trips: &dyn Fn(Label) -> u64, core: &Cost) -> u64 {
    let walk = Walk { lines, trips, core };
    let (cycles, open) = walk.walk(0, 0, lines.len());
    let last = if open < lines.len() { walk.line(open, lines.len() - 1).0 } else { 0 };
    cycles + last + whole(core.multiple_return)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::armv7em::Block;
    use crate::asm::armv7em::assign::assign;
    use crate::asm::armv7em::inst::Cond;
    use crate::asm::armv7em::text;

    fn core(name: &str) -> Cost {
        secateur_targets::core(name).unwrap().cost.unwrap()
    }

    /// Cycles of the instructions between entry and exit.
    fn body(block: &Block, name: &str) -> u64 {
        let core = core(name);
        let whole = |b: &Block| cycles(&text::lines(&assign(b).unwrap()), &|l| b.trips(l), &core);
        let mut empty = Block::new(block.args.len() as u32);
        // The same registers are saved.
        empty.slots = block.slots;
        whole(block) - whole(&empty)
    }

    #[test]
    fn loads_side_by_side_cost_one_more_than_their_number() {
        let mut b = Block::new(1);
        let p = b.args[0];
        let [u, v] = b.regs_n();
        b.push(Inst::Ldr(u, p, 0));
        b.push(Inst::Ldr(v, p, 4));
        b.push(Inst::Add(u, u, v));
        b.push(Inst::Mov(u, u));
        assert_eq!(body(&b, "cortex-m4"), 5);
        // A pointer that was just loaded cannot be used side by side.
        b.insts.insert(1, Inst::Ldr(v, u, 0));
        assert_eq!(body(&b, "cortex-m4"), 7);
    }

    #[test]
    fn loops_count_their_trips() {
        for trips in [1, 2, 5] {
            let mut b = Block::new(2);
            let (p, q) = (b.args[0], b.args[1]);
            let top = b.label(trips);
            b.push(Inst::AddImm(p, p, 4));
            b.push(Inst::Cmp(p, q));
            b.push(Inst::BranchBack(Cond::Ne, top));
            // Rounds of 1 + 1 + 3, the last branch not taken.
            assert_eq!(body(&b, "cortex-m4"), trips * 5 - 2);
        }
    }

    #[test]
    fn a_product_and_a_load_start_together_on_the_m7() {
        let mut b = Block::new(2);
        let [p, w] = [b.args[0], b.args[1]];
        let sums: [crate::asm::armv7em::Reg; 2] = b.regs_n();
        sums.iter().for_each(|&s| b.push(Inst::MovImm(s, 0)));
        let before = body(&b, "cortex-m7");
        for _ in 0..4 {
            for sum in sums {
                let v = b.reg();
                b.push(Inst::Smlad(sum, w, w, sum));
                b.push(Inst::Ldr(v, p, 0));
            }
        }
        assert_eq!(body(&b, "cortex-m7") - before, 8);
    }
}
