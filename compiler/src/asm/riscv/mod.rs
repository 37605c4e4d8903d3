//! Instruction blocks for RISC-V: RV32IM, and the integer vectors of V (Zve32x).
//!
//! In: a [`Block`] that a generator (`product`, `lanes`, `depthwise`, `runs`) writes over machine
//! registers: thirty-one leave room to assign them by hand, and a core that issues in order
//! takes instructions as they are written. Out: a [`Native`] for the feature `rv32` or `rvv`.
//!
//! Laws: the psABI holds: `s0`-`s11` and `ra` are saved where they are used, `gp` and `tp` are
//! never touched, and the stack pointer stays a multiple of 16. Vectors work for any length of
//! register: what a strip takes is what `vsetvli` gives.

#[cfg(test)]
pub(crate) mod simulate;
mod size;
mod text;

#[cfg(test)]
use crate::asm::armv7em::simulate::simulation;
use crate::kernel::Native;
use secateur_targets::{Cost, Target};

/// A scalar register by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct X(pub(crate) u8);

/// A vector register by number; of a group, its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct V(pub(crate) u8);

pub(crate) const ZERO: X = X(0);
pub(crate) const SP: X = X(2);

/// Argument `n` of a call, 0..=7.
pub(crate) const fn argument(n: u8) -> X {
    X(10 + n)
}

/// What a block may use: those that a callee may change first.
const FREE: [u8; 28] = [
    10, 11, 12, 13, 14, 15, 16, 17, 5, 6, 7, 28, 29, 30, 31, 1, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
];

/// Hands out registers, arguments last so that they can be kept.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Vec<X>);

impl Pool {
    /// All free registers but the first `arguments` arguments.
    pub(crate) fn beside(arguments: u8) -> Pool {
        Pool(FREE.iter().rev().map(|&r| X(r)).filter(|r| !(10..10 + arguments).contains(&r.0)).collect())
    }
    /// One register. Generators count what they need, which the tests go through.
    pub(crate) fn take(&mut self) -> X {
        self.0.pop().unwrap_or(ZERO)
    }
    pub(crate) fn take_n(&mut self, n: usize) -> Vec<X> {
        (0..n).map(|_| self.take()).collect()
    }
    /// Gives registers back.
    pub(crate) fn give(&mut self, registers: &[X]) {
        self.0.extend(registers.iter().rev());
    }
}

/// Registers of a group, as `vsetvli` names them; 16-bit elements are the measure of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lmul {
    Half,
    M1,
    M2,
    M4,
    M8,
}

impl Lmul {
    /// Registers taken.
    pub(crate) fn registers(self) -> u8 {
        match self {
            Lmul::Half | Lmul::M1 => 1,
            Lmul::M2 => 2,
            Lmul::M4 => 4,
            Lmul::M8 => 8,
        }
    }
    /// The group that holds as many elements of half the width.
    pub(crate) fn narrower(self) -> Lmul {
        match self {
            Lmul::Half | Lmul::M1 => Lmul::Half,
            Lmul::M2 => Lmul::M1,
            Lmul::M4 => Lmul::M2,
            Lmul::M8 => Lmul::M4,
        }
    }
}

/// One instruction. The first register is the result, if any; offsets are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inst {
    Label(u32),
    /// Branches to an earlier label while the registers differ.
    BneBack(X, X, u32),
    /// Branches to a later label if any bit is set; if the top bit is not.
    BnezOn(X, u32),
    BgezOn(X, u32),
    Jump(u32),
    Lb(X, X, i32),
    Lw(X, X, i32),
    Sb(X, X, i32),
    Sw(X, X, i32),
    /// Any constant.
    Li(X, i32),
    Mv(X, X),
    Add(X, X, X),
    Sub(X, X, X),
    Or(X, X, X),
    /// Constant of -2048..=2047.
    Addi(X, X, i32),
    Andi(X, X, i32),
    Slli(X, X, u32),
    Srai(X, X, u32),
    Sra(X, X, X),
    Mul(X, X, X),
    /// High word of the signed product.
    Mulh(X, X, X),
    /// `a = max(a, b)` and `a = min(a, b)`, signed: a branch over a move.
    Max(X, X),
    Min(X, X),

    /// How many of `n` (in a register) elements a strip takes, of 8, 16 or 32 bits.
    Vset(X, X, u32, Lmul),
    /// Rounding of `vnclip`: down.
    RoundDown,
    /// Loads and stores of the elements' width that is named; the strip's element count.
    Vle8(V, X),
    Vle32(V, X),
    Vse8(V, X),
    /// Loads bytes at unsigned offsets from an address.
    Vluxei8(V, X, V),
    /// Every element becomes the register, the other's.
    VmvX(V, X),
    VmvV(V, V),
    /// Elements of half the width, sign-extended.
    Vsext2(V, V),
    /// Elements of a quarter of the width, sign-extended.
    Vsext4(V, V),
    VmulX(V, V, X),
    VmulV(V, V, V),
    VsubX(V, V, X),
    VandX(V, V, X),
    /// `d += scalar * v`, `d += u * v`, into elements of twice the width.
    VwmaccX(V, X, V),
    VwmaccV(V, V, V),
    Vmulh(V, V, V),
    VmulhX(V, V, X),
    VaddX(V, V, X),
    VaddV(V, V, V),
    VsraV(V, V, V),
    VsraX(V, V, X),
    /// Arithmetic right shift to half the width, saturated: by a register, by nothing.
    VnclipX(V, V, X),
    Vnclip0(V, V),
    VmaxX(V, V, X),
    VmaxV(V, V, V),
    VminX(V, V, X),
}

/// A function under construction.
#[derive(Debug, Clone)]
pub(crate) struct Block {
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
    pub(crate) fn new(target: &Target) -> Option<Block> {
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
    pub(crate) fn push(&mut self, inst: Inst) {
        let (_, read) = inst.operands();
        if self.loaded.is_some_and(|l| read.contains(&l)) {
            self.cycles += self.times * f64::from(self.cost.load_use);
        }
        if let Inst::Vset(_, _, _, lmul) = inst {
            self.lmul = lmul;
        }
        self.loaded = match inst {
            Inst::Lb(d, ..) | Inst::Lw(d, ..) => Some(d),
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
        f64::from(match inst {
            Inst::Label(_) => return 0.0,
            Inst::BneBack(..) | Inst::Jump(_) => c.branch_taken,
            Inst::BnezOn(..) | Inst::BgezOn(..) => c.branch_not_taken,
            Inst::Lb(..) | Inst::Lw(..) => c.load,
            Inst::Sb(..) | Inst::Sw(..) => c.store,
            Inst::Mul(..) => c.mul,
            Inst::Mulh(..) => c.mul_long.map_or(c.mul, |both| both - c.mul),
            Inst::Max(..) | Inst::Min(..) => c.branch_taken,
            Inst::Li(_, v) if (-2048..2048).contains(v) || v % 4096 == 0 => c.alu,
            Inst::Li(..) => 2.0 * c.alu,
            Inst::Vle8(..) | Inst::Vse8(..) => return (group / 2.0).max(1.0),
            Inst::VwmaccX(..) | Inst::VwmaccV(..) => return 2.0 * group,
            i if i.is_vector() => return group,
            _ => c.alu,
        })
    }
    pub(crate) fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }
    pub(crate) fn slot(&mut self) -> i32 {
        self.slots += 1;
        4 * (self.slots as i32 - 1)
    }
    /// What `body` writes turns `n` times; it ends by making `a` equal to `b` at last.
    pub(crate) fn repeat(&mut self, n: usize, (a, b): (X, X), body: impl FnOnce(&mut Block)) {
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
    pub(crate) fn sometimes(&mut self, fraction: f64, body: impl FnOnce(&mut Block)) {
        let outer = self.times;
        self.times *= fraction;
        body(self);
        self.times = outer;
    }
    /// What `body` writes turns `n` times, counted down in a word of the frame by way of `t`.
    pub(crate) fn counted(&mut self, n: usize, (t, slot): (X, i32), body: impl FnOnce(&mut Block)) {
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
    pub(crate) fn advance(&mut self, reg: X, by: i32, t: X) {
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
    pub(crate) fn point(&mut self, d: X, a: X, by: i32) {
        match by {
            0 => self.push(Inst::Mv(d, a)),
            -2048..=2047 => self.push(Inst::Addi(d, a, by)),
            _ => {
                self.push(Inst::Li(d, by));
                self.push(Inst::Add(d, d, a));
            }
        }
    }
    /// Callee-saved registers in use.
    fn saved(&self) -> Vec<X> {
        let kept = |x: &X| matches!(x.0, 1 | 8 | 9 | 18..=27);
        let written = self.insts.iter().filter_map(|i| i.operands().0).filter(kept);
        let mut saved: Vec<X> = written.collect();
        saved.sort_unstable();
        saved.dedup();
        saved
    }
    /// The text for cores with `feature`.
    pub(crate) fn native(&self, feature: &str) -> Native {
        let saved = self.saved();
        let stack = (4 * self.slots + 4 * saved.len() as u32).next_multiple_of(16);
        let moves = 2.0 * saved.len() as f64 + 2.0;
        Native {
            feature: feature.to_string(),
            text: text::print(&self.insts, self.slots, &saved, stack),
            stack,
            cycles: (self.cycles + moves + 2.0 * f64::from(self.cost.call)).round() as u64,
            bytes: size::function(&self.insts, self.slots, &saved, stack),
            #[cfg(test)]
            simulation: {
                let block = self.clone();
                simulation(move |args, memory| simulate::run(&block, args, memory))
            },
        }
    }
}

impl Inst {
    fn is_vector(&self) -> bool {
        use Inst::*;
        matches!(
            self,
            Vle32(..)
                | VmvV(..)
                | VmulV(..)
                | Vsext2(..)
                | Vsext4(..)
                | Vluxei8(..)
                | VmvX(..)
                | VmulX(..)
                | VsubX(..)
                | VandX(..)
                | VmulhX(..)
                | VsraX(..)
                | Vmulh(..)
                | VaddX(..)
                | VaddV(..)
                | VsraV(..)
                | VnclipX(..)
                | Vnclip0(..)
                | VmaxX(..)
                | VmaxV(..)
                | VminX(..)
        )
    }
    /// Scalar registers written and read.
    pub(crate) fn operands(&self) -> (Option<X>, Vec<X>) {
        use Inst::*;
        match *self {
            Label(_) | Jump(_) | RoundDown => (None, vec![]),
            BneBack(a, b, _) => (None, vec![a, b]),
            BnezOn(a, _) | BgezOn(a, _) => (None, vec![a]),
            Lb(d, a, _) | Lw(d, a, _) => (Some(d), vec![a]),
            Sb(s, a, _) | Sw(s, a, _) => (None, vec![s, a]),
            Li(d, _) => (Some(d), vec![]),
            Mv(d, a) | Addi(d, a, _) | Andi(d, a, _) | Slli(d, a, _) | Srai(d, a, _) => (Some(d), vec![a]),
            Add(d, a, b) | Sub(d, a, b) | Or(d, a, b) | Sra(d, a, b) | Mul(d, a, b) | Mulh(d, a, b) => {
                (Some(d), vec![a, b])
            }
            Max(d, a) | Min(d, a) => (Some(d), vec![d, a]),
            Vset(d, n, ..) => (Some(d), vec![n]),
            Vle8(_, a) | Vle32(_, a) | Vse8(_, a) => (None, vec![a]),
            VwmaccX(_, a, _)
            | Vluxei8(_, a, _)
            | VmvX(_, a)
            | VsubX(_, _, a)
            | VandX(_, _, a)
            | VmulhX(_, _, a)
            | VmulX(_, _, a)
            | VsraX(_, _, a)
            | VaddX(_, _, a)
            | VnclipX(_, _, a)
            | VmaxX(_, _, a)
            | VminX(_, _, a) => (None, vec![a]),
            VmvV(..) | VmulV(..) | Vsext2(..) | Vsext4(..) | VwmaccV(..) | Vmulh(..) | VaddV(..)
            | VsraV(..) | VmaxV(..) | Vnclip0(..) => (None, vec![]),
        }
    }
}
