//! Cycles of Helium code on Cortex-M55 from memory without wait states.
//!
//! A vector instruction holds its pipe (load-store, multiply, the rest) for two cycles, one for
//! each half of the vector; an instruction for another pipe may start a cycle later. Scalar code
//! waits for the second half. Results are written in the order of their instructions: what is
//! quick waits behind what is slow. Sources: Arm 102692 (two beats a cycle), LLVM's processor model
//! of cortex-m55 (latencies) and its model of cores that finish in order; Arm publishes no table.

use crate::asm::mve::inst::{PREDICATE, Pipe};
use crate::asm::mve::{Inst, Item, Saved};
use crate::asm::table::Touch;

/// A branch that is taken, and one that is not.
const TAKEN: u64 = 3;
const NOT_TAKEN: u64 = 1;

/// A core in the middle of straight code.
#[derive(Clone)]
pub(crate) struct Core {
    /// The next cycle in which an instruction can start.
    pub now: u64,
    /// When each pipe is free.
    free: [u64; 5],
    /// When the last vector instruction is through.
    through: u64,
    /// When the last vector result is written.
    written: u64,
    ready: [u64; PREDICATE as usize + 1],
}

impl Core {
    pub(crate) fn new() -> Core {
        Core { now: 0, free: [0; 5], through: 0, written: 0, ready: [0; PREDICATE as usize + 1] }
    }
    /// When an instruction could start.
    pub(crate) fn start(&self, inst: &Inst) -> u64 {
        let (mut at, form) = (self.now, inst.form());
        inst.visit(&mut |place, touch| {
            let ready = self.ready[place as usize];
            at = match touch {
                Touch::Write => at,
                // Addresses in a vector are wanted four cycles early.
                Touch::Index => at.max(ready + 4),
                _ => at.max(ready),
            };
        });
        match form.pipe {
            Pipe::None => at.max(self.through),
            pipe => at.max(self.free[pipe as usize]).max(self.written.saturating_sub(form.latency)),
        }
    }
    pub(crate) fn issue(&mut self, inst: &Inst) {
        let (at, form) = (self.start(inst), inst.form());
        inst.visit(&mut |place, touch| {
            if touch.writes() {
                // A moved base is there in the next cycle.
                self.ready[place as usize] = at + if touch == Touch::Moved { 1 } else { form.latency };
            }
        });
        if form.pipe != Pipe::None {
            self.through = at + form.held;
            self.free[form.pipe as usize] = self.through;
            self.written = at + form.latency;
        }
        self.now = at + form.turns;
    }
    fn run(&mut self, insts: &[Inst]) -> u64 {
        let from = self.now;
        insts.iter().for_each(|i| self.issue(i));
        self.now - from
    }
}

/// Cycles of a call, entry and return included.
pub(crate) fn cycles(items: &[Item], saved: &Saved, slots: u32) -> u64 {
    let pairs = (saved.scalars.len() as u64 + 2) / 2;
    let vectors = if saved.vectors > 0 { 2 * (1 + 2 * u64::from(saved.vectors)) } else { 0 };
    let frame = if slots > 0 { 2 } else { 0 };
    2 * pairs + 3 + vectors + frame + sequence(items)
}

fn sequence(items: &[Item]) -> u64 {
    items.iter().map(item).sum()
}

/// Cycles of `turns` over straight code that follows itself.
fn repeated(body: &[Inst], turns: u32) -> u64 {
    Core::new().run(body) + u64::from(turns.saturating_sub(1)) * steady(body)
}

/// Cycles of a turn behind others.
fn steady(body: &[Inst]) -> u64 {
    let mut core = Core::new();
    core.run(body);
    core.run(body);
    core.run(body)
}

fn item(item: &Item) -> u64 {
    match item {
        Item::Run(run) => Core::new().run(run),
        Item::Low { turns, body } => {
            let enter = 1 + if *turns > 1 { TAKEN } else { 0 };
            match body.as_slice() {
                [Item::Run(run)] => enter + repeated(run, *turns),
                _ => enter + u64::from(*turns) * sequence(body),
            }
        }
        Item::Again { turns, passes, body } => {
            // Of a pass on average.
            let all = turns.saturating_sub(*passes);
            let taken = if all > 0 { TAKEN } else { 0 };
            let straight = match body.as_slice() {
                [Item::Run(run)] => u64::from(*passes) * repeated(run, 1) + u64::from(all) * steady(run),
                _ => u64::from(*turns) * sequence(body),
            };
            taken + straight / u64::from((*passes).max(1))
        }
        Item::Tail { turns, body, .. } => 1 + if *turns > 1 { TAKEN } else { 0 } + repeated(body, *turns),
        Item::Down { turns, body, .. } => {
            let turns = u64::from(*turns);
            // The count waits for the vectors before it.
            let count = 2;
            turns * (sequence(body) + count) + (turns - 1) * TAKEN + NOT_TAKEN
        }
        Item::IfOne { .. } => 2 + TAKEN,
    }
}
