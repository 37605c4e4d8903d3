//! Thumb-1 code: the instructions of Armv6-M over machine registers, for cores without `smlad`, and
//! the few of Armv7-M that save moves where the core has them ([`wide`]).
//!
//! In: a [`Code`] written by a generator (`gemm`, `gather` and their kin). Here its text is
//! printed, its bytes are counted and its cycles weighed. Out: a [`Native`] for the feature
//! `thumb`.
//!
//! Law: every instruction has an encoding of 16 bits that Armv6-M knows, but for those marked in
//! [`Inst`], which only wide code may hold; every access is
//! aligned, and nothing but the core registers is touched. Registers are named by the generator:
//! only eight of them multiply, and which eight decides the speed.

mod inst;
#[cfg(any(test, feature = "testing"))]
pub mod simulate;

use crate::asm::verify::{Convention, Step, set};
use crate::error::{Error, Result, Site};
use crate::kernel::Native;
use secateur_targets::Cost;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use inst::Kind;
pub use inst::{Cond, Inst, R};

pub const R0: R = R(0);
pub const R1: R = R(1);
pub const R2: R = R(2);
pub const R3: R = R(3);
pub const R4: R = R(4);
pub const R5: R = R(5);
pub const R6: R = R(6);
pub const R7: R = R(7);
pub const R8: R = R(8);
pub const R9: R = R(9);
pub const R12: R = R(12);
pub const SP: R = R(13);
pub const LR: R = R(14);

/// A position in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(u32);

impl Inst {
    /// Bytes of its encoding.
    fn size(&self) -> u32 {
        match (self, self.form().wide) {
            (Inst::Label(_), _) => 0,
            (_, true) => 4,
            (_, false) => 2,
        }
    }
    fn step(&self) -> Step<'_, Inst> {
        match *self {
            Inst::Label(l) => Step::Label(l.0),
            Inst::BranchIf(_, l) => Step::Branch(l.0),
            Inst::Branch(l) => Step::Jump(l.0),
            _ => Step::Inst(self),
        }
    }
}

/// Whether a core knows the instructions of Armv7-M: those have a multiply-accumulate.
pub fn wide(core: &Cost) -> bool {
    core.mla.is_some()
}

/// The registers of a mask.
pub fn mask(regs: &[R]) -> u16 {
    regs.iter().fold(0, |m, r| m | 1 << r.0)
}

/// A function under construction, arguments in r0..r3.
#[derive(Debug, Clone, Default)]
pub struct Code {
    /// Each instruction and how often one call runs it, on average.
    insts: Vec<(Inst, f64)>,
    labels: u32,
    times: f64,
    /// Bytes of frame below the saved registers.
    frame: u32,
    /// Greatest number of bytes pushed below the frame.
    deepest: u32,
    /// The high registers that are used are saved.
    high: bool,
    /// How many instructions save registers and make the frame.
    entry: usize,
}

/// Bytes of r4..r7 and lr, and of r8..r11.
const SAVED: (u32, u32) = (20, 16);

impl Code {
    /// A function with `frame` bytes for itself, that pushes up to `deepest` bytes beside it. Only
    /// with `high` may it touch r8..r11; r12 is free, and lr once it is saved, as it always is.
    pub fn new(frame: u32, deepest: u32, high: bool) -> Code {
        let mut c = Code { times: 1.0, frame, deepest, high, ..Code::default() };
        c.push(Inst::Push(mask(&[R4, R5, R6, R7, LR])));
        if high {
            for (low, from) in [(R4, 8), (R5, 9), (R6, 10), (R7, 11)] {
                c.push(Inst::Mov(low, R(from)));
            }
            c.push(Inst::Push(mask(&[R4, R5, R6, R7])));
        }
        if frame > 0 {
            c.push(Inst::SubFrame(frame));
        }
        c.entry = c.insts.len();
        c
    }
    /// Where argument `i >= 4` stands above the stack pointer, while nothing else is pushed.
    pub fn argument(&self, i: u32) -> u32 {
        self.kept() + self.frame + 4 * (i - 4)
    }
    /// Bytes of saved registers.
    fn kept(&self) -> u32 {
        SAVED.0 + if self.high { SAVED.1 } else { 0 }
    }
    pub fn push(&mut self, inst: Inst) {
        self.insts.push((inst, self.times));
    }
    pub fn all<const N: usize>(&mut self, insts: [Inst; N]) {
        insts.into_iter().for_each(|i| self.push(i));
    }
    /// A label to be placed later.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }
    pub fn place(&mut self, label: Label) {
        self.push(Inst::Label(label));
    }
    /// A label at this place.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }
    /// What `body` appends runs `n` times as often as what stands around it.
    pub fn times(&mut self, n: f64, body: impl FnOnce(&mut Code)) {
        let outer = self.times;
        self.times *= n;
        body(self);
        self.times = outer;
    }
    /// Any constant of 0..2^24 into a low register.
    pub fn constant(&mut self, d: R, v: u32) {
        if v <= 255 {
            return self.push(Inst::MovImm(d, v));
        }
        let zeros = v.trailing_zeros();
        if v >> zeros <= 255 {
            self.all([Inst::MovImm(d, v >> zeros), Inst::Lsl(d, d, zeros)]);
            return;
        }
        self.constant(d, v >> 8);
        self.push(Inst::Lsl(d, d, 8));
        if v & 255 != 0 {
            self.push(Inst::AddImm(d, v & 255));
        }
    }
    /// Adds a constant of 0..2^24 to a low register, by way of another where it is large.
    pub fn advance(&mut self, d: R, v: u32, by_way: R) {
        match v {
            0 => {}
            1..=255 => self.push(Inst::AddImm(d, v)),
            256..=510 => self.all([Inst::AddImm(d, 255), Inst::AddImm(d, v - 255)]),
            _ => {
                self.constant(by_way, v);
                self.push(Inst::Add(d, d, by_way));
            }
        }
    }
    /// Restores what was saved and returns.
    fn leave(&mut self) {
        if self.frame > 0 {
            self.push(Inst::AddFrame(self.frame));
        }
        if self.high {
            self.push(Inst::Pop(mask(&[R4, R5, R6, R7])));
            for (low, to) in [(R4, 8), (R5, 9), (R6, 10), (R7, 11)] {
                self.push(Inst::Mov(R(to), low));
            }
        }
        self.push(Inst::Pop(mask(&[R4, R5, R6, R7, LR])));
    }
    /// The native text, return included.
    pub fn finish(mut self, core: &Cost) -> Result<Native> {
        self.verify()?;
        #[cfg(any(test, feature = "testing"))]
        let code = self.clone();
        let stack = self.kept() + self.frame + self.deepest;
        self.leave();
        let cycles: f64 = self.insts.iter().map(|(i, n)| n * cycles(i, core)).sum();
        Ok(Native {
            feature: "thumb".into(),
            text: self.text(wide(core))?,
            stack,
            cycles: libm::rint(cycles) as u64,
            bytes: self.insts.iter().map(|(i, _)| i.size()).sum(),
            #[cfg(not(any(test, feature = "testing")))]
            simulation: None,
            #[cfg(any(test, feature = "testing"))]
            simulation: simulate::of(code, stack),
        })
    }
    /// Holds what stands between entry and exit against the procedure call standard (AAPCS32).
    fn verify(&self) -> Result<()> {
        let convention = Convention {
            name: "Armv6-M",
            entry: set([0, 1, 2, 3, 13, 14]),
            has: set(0..15),
            kept: if self.high { 0 } else { set(8..12) },
            register: |place| R(place as u8).to_string(),
        };
        convention.verify(&self.insts[self.entry..].iter().map(|(i, _)| i.step()).collect::<Vec<_>>())
    }
    #[cfg(any(test, feature = "testing"))]
    pub fn insts(&self) -> Vec<Inst> {
        let mut whole = self.clone();
        whole.leave();
        whole.insts.iter().map(|(i, _)| *i).collect()
    }

    /// Refuses what has no encoding of 16 bits.
    fn text(&self, wide: bool) -> Result<String> {
        let refuse = |i: &Inst, why: &str| {
            Err(Error::internal(Site::Whole, format!("Thumb-1 cannot spell {i:?}: {why}")))
        };
        let (mut at, mut places) = (0i64, BTreeMap::new());
        for (inst, _) in &self.insts {
            match inst {
                Inst::Label(l) => drop(places.insert(*l, at)),
                _ => at += i64::from(inst.size()),
            }
        }
        let (mut text, mut at) = (String::new(), 0i64);
        for (inst, _) in &self.insts {
            if !inst.legal() || inst.form().wide && !wide {
                return refuse(inst, "a register or a number is out of range");
            }
            let reach = match inst {
                Inst::Branch(l) => Some((l, 2046)),
                Inst::BranchIf(_, l) => Some((l, 254)),
                _ => None,
            };
            let mut backward = false;
            if let Some((label, reach)) = reach {
                let Some(to) = places.get(label) else { return refuse(inst, "its label stands nowhere") };
                let distance = to - (at + 4);
                backward = distance < 0;
                if distance.abs() > reach {
                    return refuse(inst, "its label is too far away");
                }
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text += &inst.text(if backward { "b" } else { "f" });
            at += i64::from(inst.size());
        }
        Ok(text)
    }
}

/// Cycles on a core.
fn cycles(inst: &Inst, core: &Cost) -> f64 {
    let many = |n: u32| core.multiple + core.multiple_each * n as f32;
    f64::from(match inst.form().kind {
        Kind::Label => 0.0,
        Kind::Branch => core.branch_taken,
        Kind::Many(n) => many(n),
        Kind::Return(n) => many(n) + core.branch_taken,
        Kind::Load => core.load,
        Kind::LoadPair => (core.load + core.load_next) / 2.0,
        Kind::Store => core.store,
        Kind::Alu => core.alu,
        Kind::Mul => core.mul,
        Kind::Mla => core.mla.unwrap_or(core.mul + core.alu),
        Kind::LongMul => core.mul_long.unwrap_or(core.mul),
    })
}

impl Display for Label {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", 20 + self.0)
    }
}

/// The registers of a mask; `link` is what bit 14 is called.
fn list(mask: u16, link: &str) -> String {
    let mut names: Vec<String> = (0..13).filter(|n| mask >> n & 1 == 1).map(|n| R(n).to_string()).collect();
    if mask >> 14 & 1 == 1 {
        names.push(link.into());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_registers_are_written_where_they_are_saved() {
        let core = secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap();
        for high in [false, true] {
            let mut c = Code::new(0, 0, high);
            c.push(Inst::Mov(R8, R0));
            let why = c.finish(&core).err().map(|e| e.to_string());
            assert_eq!(why.is_none(), high);
            assert!(why.is_none_or(|w| w.contains("touches r8, which is the caller's and not saved")));
        }
    }
}
