//! Armv7E-M and Armv8-M with DSP instructions: inner loops as instructions over virtual registers,
//! on cores where the order and the registers of a loop decide its speed.
//!
//! In: a [`Block`] written by a generator of `kernels::armv7em`. Here registers are assigned
//! ([`assign`]), cycles counted ([`cost`]) and the assembly text printed that C (a `.S` file)
//! and Rust (naked functions) share. Out: a [`crate::kernel::Native`] beside a kernel whose
//! body is the block's meaning.
//!
//! Law: a block computes exactly what the kernel's body computes, bit by bit, and touches no
//! memory but its buffers and its own stack frame. It uses floating-point registers (s0..s15,
//! which a callee may spoil) only where the core surely has them.

pub mod assign;
mod cost;
mod inst;
pub mod order;
mod text;

#[cfg(any(test, feature = "testing"))]
pub mod simulate;

pub use inst::{Cond, FLOATS, Float, Inst, Label, Reg, Ror, Slot};

use crate::asm::armv7em::assign::Assigned;
use crate::asm::verify::{Convention, Step, set};
use crate::error::{Error, Result, Site};
use crate::kernel::Native;
use secateur_targets::{Core, Cost, Pairing};

/// A function of up to four register arguments and more on the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Registers that hold the first arguments at entry, in order.
    pub args: Vec<Reg>,
    pub insts: Vec<Inst>,
    /// Words of the frame.
    pub slots: u32,
    regs: u32,
    /// By label, how often its loop turns.
    trips: Vec<u64>,
    floats: u32,
    /// Nothing that the block stores through a pointer does it load again later, so that
    /// loads may move up before stores.
    pub streams: bool,
}

impl Block {
    /// A block with `args` register arguments (at most 4).
    pub fn new(args: u32) -> Self {
        let mut block = Block::default();
        block.args = (0..args).map(|_| block.reg()).collect();
        block
    }
    pub fn reg(&mut self) -> Reg {
        self.regs += 1;
        Reg(self.regs - 1)
    }
    pub fn regs_n<const N: usize>(&mut self) -> [Reg; N] {
        [(); N].map(|()| self.reg())
    }
    pub fn slot(&mut self) -> Slot {
        self.slots += 1;
        Slot(self.slots - 1)
    }
    /// The head of a loop that turns `trips` times whenever it is entered.
    pub fn label(&mut self, trips: u64) -> Label {
        self.trips.push(trips);
        let label = Label(self.trips.len() as u32);
        self.push(Inst::Label(label));
        label
    }
    /// How often the loop at a label turns.
    pub fn trips(&self, label: Label) -> u64 {
        self.trips.get(label.0 as usize - 1).copied().unwrap_or(1)
    }
    pub fn push(&mut self, inst: Inst) {
        self.insts.push(inst);
    }
    /// Adds any constant to a register, in place.
    pub fn advance(&mut self, reg: Reg, by: i32) {
        if by == 0 {
        } else if by.abs() <= 4095 {
            self.push(Inst::AddImm(reg, reg, by));
        } else {
            let t = self.reg();
            self.push(Inst::MovImm(t, by));
            self.push(Inst::Add(reg, reg, t));
        }
    }
    /// A label that a forward branch may name before [`Block::place`] puts it.
    pub fn ahead(&mut self) -> Label {
        self.trips.push(1);
        Label(self.trips.len() as u32)
    }
    pub fn place(&mut self, label: Label) {
        self.push(Inst::Label(label));
    }
    /// The next floating-point register that keeps a word, of sixteen. Check that the core has
    /// the `fpu` feature.
    pub fn float(&mut self) -> Float {
        self.floats += 1;
        Float(self.floats - 1)
    }
    /// Orders the instructions for a core, assigns registers and prints the text for cores with
    /// `feature`.
    pub fn native(&self, feature: &str, core: &Core) -> Result<Native> {
        let refuse = |why: &str| Error::internal(Site::Whole, format!("instruction block: {why}"));
        let has = |feature: &str| core.features.iter().any(|f| f == feature);
        if !has(feature) {
            return Err(refuse(&format!("{} has no `{feature}`", core.name)));
        }
        if self.floats > 16 || (self.floats > 0 && !has("fpu")) {
            return Err(refuse(&format!("{} floating-point registers on {}", self.floats, core.name)));
        }
        let cost = core.cost.as_ref().ok_or_else(|| refuse("the core has no cost table"))?;
        let own = Finished::new(self, self, cost)?;
        let orders = order::searches(cost).into_iter().map(|search| order::order(self, cost, search));
        // Lines apart: where two start at once a generator may know a better order for its own.
        let apart = (cost.pairing == Pairing::Dual).then(|| order::quickest(self, cost));
        // An order whose registers do not fit after all is no order.
        let found = orders.chain(apart).filter_map(|block| Finished::new(self, &block, cost).ok());
        #[cfg(any(test, feature = "testing"))]
        let mut all = vec![own.assigned.clone()];
        #[cfg(any(test, feature = "testing"))]
        let found = found.inspect(|order| all.push(order.assigned.clone()));
        let best = found.fold(own, |a, b| if b.cost() < a.cost() { b } else { a });
        self.verify(&best.assigned)?;
        Ok(Native {
            feature: feature.to_string(),
            text: text::print(&best.lines),
            stack: best.assigned.stack(),
            cycles: best.cycles,
            bytes: text::bytes(&best.lines),
            #[cfg(not(any(test, feature = "testing")))]
            simulation: None,
            #[cfg(any(test, feature = "testing"))]
            simulation: simulate::of_orders(all),
        })
    }
    /// Holds the finished function against the procedure call standard (AAPCS32).
    fn verify(&self, assigned: &Assigned) -> Result<()> {
        let floats = (0..self.floats).map(|n| FLOATS + n);
        let convention = Convention {
            name: "Armv7E-M",
            entry: set(0..self.args.len() as u32),
            has: set(assign::MACHINE.into_iter().chain(floats)),
            kept: set(assign::KEPT.into_iter().filter(|r| !assigned.saved.contains(r))),
            register: |place| {
                if place < FLOATS { Reg(place).to_string() } else { Float(place - FLOATS).to_string() }
            },
        };
        convention.verify(&assigned.insts.iter().map(Inst::step).collect::<Vec<_>>())
    }
}

/// A block in one order, assigned and priced.
struct Finished {
    assigned: Assigned,
    lines: Vec<text::Line>,
    cycles: u64,
}

impl Finished {
    fn new(block: &Block, ordered: &Block, cost: &Cost) -> Result<Finished> {
        let assigned = assign::assign(ordered)?;
        let lines = text::lines(&assigned);
        let cycles = cost::cycles(&lines, &|label| block.trips(label), cost);
        Ok(Finished { assigned, lines, cycles })
    }
    fn cost(&self) -> (u64, u32, u32) {
        (self.cycles, text::bytes(&self.lines), self.assigned.stack())
    }
}

impl Inst {
    fn step(&self) -> Step<'_, Inst> {
        match *self {
            Inst::Label(l) => Step::Label(l.0),
            Inst::BranchBack(_, l) | Inst::Branch(_, l) => Step::Branch(l.0),
            Inst::Jump(l) | Inst::Enter(_, l) => Step::Jump(l.0),
            _ => Step::Inst(self),
        }
    }
}
