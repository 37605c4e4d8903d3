//! Instruction blocks for RISC-V: RV32IM, and the integer vectors of V (Zve32x).
//!
//! In: a [`Block`] that a generator (`product`, `lanes`, `depthwise`, `runs`) writes over machine
//! registers: thirty-one leave room to assign them by hand, and a core that issues in order
//! takes instructions as they are written. Out: a [`Native`] for the feature `rv32` or `rvv`.
//!
//! Laws: the psABI holds: `s0`-`s11` and `ra` are saved where they are used, `gp` and `tp` are
//! never touched, and the stack pointer stays a multiple of 16. Vectors work for any length of
//! register: what a strip takes is what `vsetvli` gives.

mod inst;
#[cfg(any(test, feature = "testing"))]
pub mod simulate;
mod text;

pub use inst::{Inst, Kind, Lanes, Lmul, V, VECTORS, X};

#[cfg(any(test, feature = "testing"))]
use crate::asm::simulate::simulation;
use crate::asm::verify::{Convention, Step, set};
use crate::error::Result;
use crate::kernel::Native;
use secateur_targets::{Cost, Target};

pub const ZERO: X = X(0);
pub const SP: X = X(2);
/// What an empty pool hands out. Its place is none.
const NONE: X = X(127);

/// Argument `n` of a call, 0..=7.
pub const fn argument(n: u8) -> X {
    X(10 + n)
}

/// What a block may use: those that a callee may change first.
const FREE: [u8; 28] = [
    10, 11, 12, 13, 14, 15, 16, 17, 5, 6, 7, 28, 29, 30, 31, 1, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
];

/// What a callee must keep: `ra` and `s0`-`s11`.
const KEPT: [u32; 13] = [1, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];

/// Hands out registers, arguments last so that they can be kept.
#[derive(Debug, Clone)]
pub struct Pool(Vec<X>);

impl Pool {
    /// All free registers but the first `arguments` arguments.
    pub fn beside(arguments: u8) -> Pool {
        Pool(FREE.iter().rev().map(|&r| X(r)).filter(|r| !(10..10 + arguments).contains(&r.0)).collect())
    }
    /// One register; of an empty pool one that no core has, so that the function is refused.
    pub fn take(&mut self) -> X {
        self.0.pop().unwrap_or(NONE)
    }
    pub fn take_n(&mut self, n: usize) -> Vec<X> {
        (0..n).map(|_| self.take()).collect()
    }
    /// Gives registers back.
    pub fn give(&mut self, registers: &[X]) {
        self.0.extend(registers.iter().rev());
    }
}

impl Lmul {
    /// Registers taken.
    pub fn registers(self) -> u8 {
        match self {
            Lmul::Half | Lmul::M1 => 1,
            Lmul::M2 => 2,
            Lmul::M4 => 4,
            Lmul::M8 => 8,
        }
    }
    /// The group that holds as many elements of half the width.
    pub fn narrower(self) -> Lmul {
        match self {
            Lmul::Half | Lmul::M1 => Lmul::Half,
            Lmul::M2 => Lmul::M1,
            Lmul::M4 => Lmul::M2,
            Lmul::M8 => Lmul::M4,
        }
    }
}

/// A function under construction.
#[derive(Debug, Clone)]
pub struct Block {
    insts: Vec<Inst>,
    /// Words of the frame beside saved registers.
    slots: u32,
    labels: u32,
    /// How often what is written now runs.
    times: f64,
    cycles: f64,
    /// Registers of the widest vector operand.
    lmul: Lmul,
    loaded: Option<X>,
    cost: Cost,
}

impl Block {
    /// An empty function for a target's core.
    pub fn new(target: &Target) -> Option<Block> {
        let cost = target.core.cost.clone()?;
        Some(Block {
            insts: Vec::new(),
            slots: 0,
            labels: 0,
            times: 1.0,
            cycles: 0.0,
            lmul: Lmul::M1,
            loaded: None,
            cost,
        })
    }
    pub fn push(&mut self, inst: Inst) {
        let mut reads_loaded = false;
        let loaded = self.loaded.map(|l| u32::from(l.0));
        inst.visit(&mut |place, touch| reads_loaded |= touch.reads() && loaded == Some(place));
        if reads_loaded {
            self.cycles += self.times * f64::from(self.cost.load_use);
        }
        if let Inst::Vset(_, _, _, lmul) = inst {
            self.lmul = lmul;
        }
        self.loaded = match inst {
            Inst::Lb(d, ..) | Inst::Lbu(d, ..) | Inst::Lhu(d, ..) | Inst::Lw(d, ..) => Some(d),
            _ => None,
        };
        self.cycles += self.times * self.cycles_of(&inst);
        self.insts.push(inst);
    }
    /// A vector instruction takes a cycle for each register of its group, as on a core whose
    /// data path is as wide as a register.
    fn cycles_of(&self, inst: &Inst) -> f64 {
        let c = &self.cost;
        let group = f64::from(self.lmul.registers());
        f64::from(match inst.form().kind {
            Kind::Label => 0.0,
            Kind::Taken => c.branch_taken,
            Kind::Passed => c.branch_not_taken,
            Kind::Load => c.load,
            Kind::Store => c.store,
            Kind::Mul => c.mul,
            Kind::MulHigh => c.mul_long.map_or(c.mul, |both| both - c.mul),
            Kind::Alu(n) => f32::from(n) * c.alu,
            Kind::Vector(Lanes::Bytes) => return (group / 2.0).max(1.0),
            Kind::Vector(Lanes::Wide) => return 2.0 * group,
            Kind::Vector(_) => return group,
        })
    }
    pub fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }
    pub fn slot(&mut self) -> i32 {
        self.slots += 1;
        4 * (self.slots as i32 - 1)
    }
    /// What `body` writes turns `n` times; it ends by making `a` equal to `b` at last.
    pub fn repeat(&mut self, n: usize, (a, b): (X, X), body: impl FnOnce(&mut Block)) {
        if n == 1 {
            return body(self);
        }
        let top = self.label();
        self.push(Inst::Label(top));
        let outer = self.times;
        self.times *= n as f64;
        body(self);
        self.push(Inst::BneBack(a, b, top));
        self.times = outer;
    }
    /// What `body` writes runs one time in so many, as a fraction.
    pub fn sometimes(&mut self, fraction: f64, body: impl FnOnce(&mut Block)) {
        let outer = self.times;
        self.times *= fraction;
        body(self);
        self.times = outer;
    }
    /// What `body` writes turns `n` times, counted down in a word of the frame by way of `t`.
    pub fn counted(&mut self, n: usize, (t, slot): (X, i32), body: impl FnOnce(&mut Block)) {
        if n > 1 {
            self.push(Inst::Li(t, n as i32));
            self.push(Inst::Sw(t, SP, slot));
        }
        self.repeat(n, (t, ZERO), |b| {
            body(b);
            if n > 1 {
                b.push(Inst::Lw(t, SP, slot));
                b.push(Inst::Addi(t, t, -1));
                b.push(Inst::Sw(t, SP, slot));
            }
        });
    }
    /// Adds any constant to a register, by way of `t` if it is large.
    pub fn advance(&mut self, reg: X, by: i32, t: X) {
        match by {
            0 => {}
            -2048..=2047 => self.push(Inst::Addi(reg, reg, by)),
            _ => {
                self.push(Inst::Li(t, by));
                self.push(Inst::Add(reg, reg, t));
            }
        }
    }
    /// `d = a + by`.
    pub fn point(&mut self, d: X, a: X, by: i32) {
        match by {
            0 => self.push(Inst::Mv(d, a)),
            -2048..=2047 => self.push(Inst::Addi(d, a, by)),
            _ => {
                self.push(Inst::Li(d, by));
                self.push(Inst::Add(d, d, a));
            }
        }
    }
    #[cfg(any(test, feature = "testing"))]
    pub fn insts(&self) -> &[Inst] {
        &self.insts
    }
    /// Callee-saved registers in use.
    fn saved(&self) -> Vec<X> {
        let mut saved = Vec::new();
        for inst in &self.insts {
            inst.visit(&mut |place, touch| {
                if touch.writes() && KEPT.contains(&place) {
                    saved.push(X(place as u8));
                }
            });
        }
        saved.sort_unstable();
        saved.dedup();
        saved
    }
    /// Holds the function against the psABI. Vectors are known by the first register of a group.
    fn verify(&self, saved: &[X]) -> Result<()> {
        let convention = Convention {
            name: "RISC-V",
            entry: set([0, 2].into_iter().chain(10..18)),
            // All but `gp` and `tp`.
            has: set((0..VECTORS + 32).filter(|x| !(3..5).contains(x))),
            kept: set([2].into_iter().chain(KEPT).filter(|&x| !saved.contains(&X(x as u8)))),
            register: |place| match place {
                VECTORS..64 => V((place - VECTORS) as u8).to_string(),
                _ => X(place as u8).to_string(),
            },
        };
        convention.verify(&self.insts.iter().map(Inst::step).collect::<Vec<_>>())
    }
    /// The text for cores with `feature`.
    pub fn native(&self, feature: &str) -> Result<Native> {
        let saved = self.saved();
        self.verify(&saved)?;
        let stack = (4 * self.slots + 4 * saved.len() as u32).next_multiple_of(16);
        let moves = 2.0 * saved.len() as f64 + 2.0;
        Ok(Native {
            feature: feature.to_string(),
            text: text::print(&self.insts, self.slots, &saved, stack),
            stack,
            cycles: (self.cycles + moves + 2.0 * f64::from(self.cost.call)).round() as u64,
            bytes: text::bytes(&self.insts, self.slots, &saved, stack),
            #[cfg(not(any(test, feature = "testing")))]
            simulation: None,
            #[cfg(any(test, feature = "testing"))]
            simulation: {
                let block = self.clone();
                simulation(move |args, memory| simulate::run(&block, args, memory))
            },
        })
    }
}

impl Inst {
    fn step(&self) -> Step<'_, Inst> {
        match *self {
            Inst::Label(l) => Step::Label(l),
            Inst::BneBack(.., l) | Inst::BnezOn(_, l) | Inst::BgezOn(_, l) => Step::Branch(l),
            Inst::Jump(l) => Step::Jump(l),
            _ => Step::Inst(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pool_is_refused() {
        let target = secateur_targets::find("rv32imc").unwrap();
        for (n, fits) in [(FREE.len() - 2, true), (FREE.len() - 1, false)] {
            let (mut b, mut pool) = (Block::new(&target).unwrap(), Pool::beside(2));
            pool.take_n(n).into_iter().for_each(|r| b.push(Inst::Li(r, 1)));
            let made = b.native("rv32").map(drop).map_err(|e| e.to_string());
            assert_eq!(made.is_ok(), fits);
            assert!(fits || made.unwrap_err().contains("touches none, which may not be touched"));
        }
    }
}
