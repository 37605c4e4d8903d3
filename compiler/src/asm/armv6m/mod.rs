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

#[cfg(test)]
pub(crate) mod simulate;

use crate::error::{Error, Result, Site};
use crate::kernel::Native;
use secateur_targets::Cost;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A machine register: r0..r12, 13 the stack pointer, 14 the link register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct R(pub(crate) u8);

pub(crate) const R0: R = R(0);
pub(crate) const R1: R = R(1);
pub(crate) const R2: R = R(2);
pub(crate) const R3: R = R(3);
pub(crate) const R4: R = R(4);
pub(crate) const R5: R = R(5);
pub(crate) const R6: R = R(6);
pub(crate) const R7: R = R(7);
pub(crate) const R8: R = R(8);
pub(crate) const R9: R = R(9);
pub(crate) const R12: R = R(12);
pub(crate) const SP: R = R(13);
pub(crate) const LR: R = R(14);

/// A position in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(u32);

/// Conditions of a branch: equality, and the carry of an unsigned comparison or of a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cond {
    Eq,
    Ne,
    /// Carry set, unsigned at least.
    Cs,
    /// Carry clear, unsigned less.
    Cc,
    /// Unsigned at most.
    Ls,
}

/// An instruction; the first register is the result. Those that set flags in their 16-bit
/// encoding are marked with an `s` when printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inst {
    Label(Label),
    Branch(Label),
    BranchIf(Cond, Label),
    /// Registers of a mask, ascending from the address; the base moves on unless it is loaded.
    Ldm(R, u16),
    Stm(R, u16),
    /// On the stack; bit 14 of a mask is the link register, as the program counter when popped.
    Push(u16),
    Pop(u16),
    /// Words at a byte offset of 0..=124, or 0..=1020 from the stack pointer.
    Ldr(R, R, u32),
    Str(R, R, u32),
    /// The low byte, at an offset of 0..=31.
    Strb(R, R, u32),
    /// A signed byte at the sum of two registers.
    Ldrsb(R, R, R),
    /// The low byte there.
    StrbAt(R, R, R),
    /// The stack pointer plus an offset.
    AddSp(R, u32),
    /// Moves the stack pointer down or up.
    SubFrame(u32),
    AddFrame(u32),
    /// Any registers, no flags.
    Mov(R, R),
    AddAny(R, R),
    /// 0..=255.
    MovImm(R, u32),
    /// In place, 0..=255.
    AddImm(R, u32),
    SubImm(R, u32),
    Add(R, R, R),
    Sub(R, R, R),
    /// In place, with the carry.
    Adc(R, R),
    /// In place.
    Mul(R, R),
    And(R, R),
    Bic(R, R),
    Mvn(R, R),
    Lsl(R, R, u32),
    Lsr(R, R, u32),
    Asr(R, R, u32),
    Sxtb(R, R),
    Sxth(R, R),
    /// Any registers.
    Cmp(R, R),
    CmpImm(R, u32),
    /// Armv7-M: loads a word and moves the base on, any registers.
    LoadNext(R, R),
    /// Armv7-M: pushes several of r0..r12, high ones among them.
    PushAny(u16),
    /// Armv7-M: shifts one of r8..r12 in place and sets the flags.
    LslAny(R, u32),
    /// Armv7-M: the third register, shifted right, saturated to so many bits; any registers.
    Ssat(R, u32, R, u32),
    /// Armv7-M: low and high word of a signed product, any registers.
    Smull(R, R, R, R),
    /// Armv7-M: a product, and one plus the fourth register; any registers.
    MulAny(R, R, R),
    Mla(R, R, R, R),
    /// Armv7-M: a signed byte, and the base moves on; any registers.
    LdrsbNext(R, R),
    /// Armv7-M: one of r8..lr at a byte offset of 0..=4095.
    LdrWide(R, R, u32),
    StrWide(R, R, u32),
    /// Armv7-M: any of r0..r12 from one of r8..r12 on, which moves on.
    LdmAny(R, u16),
    StmAny(R, u16),
    /// Armv7-M: adds 0..=4095 to one of r8..r12, no flags.
    AddWide(R, u32),
    /// Armv7-M, in place: one of r8..r12 shifted, the carry as of [`Inst::Asr`].
    AsrAny(R, u32),
    /// Armv7-M, in place: adds one of r8..r12 with the carry.
    AdcAny(R, R),
    /// Armv7-M, in place: subtracts another register, shifted left. No flags.
    SubLsl(R, R, u32),
}

impl Inst {
    /// Bytes of its encoding.
    fn size(&self) -> u32 {
        match self {
            Inst::Label(_) => 0,
            _ if self.is_wide() => 4,
            _ => 2,
        }
    }
    fn is_wide(&self) -> bool {
        use Inst::*;
        let loads = matches!(
            self,
            LoadNext(..) | LdrsbNext(..) | LdrWide(..) | StrWide(..) | PushAny(_) | LdmAny(..) | StmAny(..)
        );
        let products = matches!(self, MulAny(..) | Mla(..) | Smull(..) | Ssat(..));
        loads || products || matches!(self, LslAny(..) | AddWide(..) | AsrAny(..) | AdcAny(..) | SubLsl(..))
    }
}

/// Whether a core knows the instructions of Armv7-M: those have a multiply-accumulate.
pub(crate) fn wide(core: &Cost) -> bool {
    core.mla.is_some()
}

/// The registers of a mask.
pub(crate) fn mask(regs: &[R]) -> u16 {
    regs.iter().fold(0, |m, r| m | 1 << r.0)
}

/// A function under construction, arguments in r0..r3.
#[derive(Debug, Clone, Default)]
pub(crate) struct Code {
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
}

/// Bytes of r4..r7 and lr, and of r8..r11.
const SAVED: (u32, u32) = (20, 16);

impl Code {
    /// A function with `frame` bytes for itself, that pushes up to `deepest` bytes beside it. Only
    /// with `high` may it touch r8..r11; r12 is free, and lr once it is saved, as it always is.
    pub(crate) fn new(frame: u32, deepest: u32, high: bool) -> Code {
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
        c
    }
    /// Where argument `i >= 4` stands above the stack pointer, while nothing else is pushed.
    pub(crate) fn argument(&self, i: u32) -> u32 {
        self.kept() + self.frame + 4 * (i - 4)
    }
    /// Bytes of saved registers.
    fn kept(&self) -> u32 {
        SAVED.0 + if self.high { SAVED.1 } else { 0 }
    }
    pub(crate) fn push(&mut self, inst: Inst) {
        self.insts.push((inst, self.times));
    }
    pub(crate) fn all<const N: usize>(&mut self, insts: [Inst; N]) {
        insts.into_iter().for_each(|i| self.push(i));
    }
    /// A label to be placed later.
    pub(crate) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }
    pub(crate) fn place(&mut self, label: Label) {
        self.push(Inst::Label(label));
    }
    /// A label at this place.
    pub(crate) fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }
    /// What `body` appends runs `n` times as often as what stands around it.
    pub(crate) fn times(&mut self, n: f64, body: impl FnOnce(&mut Code)) {
        let outer = self.times;
        self.times *= n;
        body(self);
        self.times = outer;
    }
    /// Any constant of 0..2^24 into a low register.
    pub(crate) fn constant(&mut self, d: R, v: u32) {
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
    pub(crate) fn advance(&mut self, d: R, v: u32, by_way: R) {
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
    pub(crate) fn finish(mut self, core: &Cost) -> Result<Native> {
        #[cfg(test)]
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
            #[cfg(test)]
            simulation: simulate::of(code, stack),
        })
    }
    #[cfg(test)]
    pub(crate) fn insts(&self) -> Vec<Inst> {
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
            if !encodes(inst) || inst.is_wide() && !wide {
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
            print(&mut text, inst, if backward { 'b' } else { 'f' });
            at += i64::from(inst.size());
        }
        Ok(text)
    }
}

/// Whether the instruction has an encoding in Armv6-M (Arm DDI 0419E, chapter A6.7).
fn encodes(inst: &Inst) -> bool {
    use Inst::*;
    let low = |r: &R| r.0 < 8;
    let high = |r: &R| (8..=12).contains(&r.0);
    match inst {
        Label(_) | Branch(_) | BranchIf(..) => true,
        Ldm(b, m) | Stm(b, m) => {
            low(b) && *m != 0 && m >> 8 == 0 && !(matches!(inst, Stm(..)) && m >> b.0 & 1 == 1)
        }
        Push(m) | Pop(m) => *m != 0 && m & !0x40ff == 0,
        Ldr(d, b, o) | Str(d, b, o) => {
            low(d) && o % 4 == 0 && (*b == SP && *o <= 1020 || low(b) && *o <= 124)
        }
        Strb(d, b, o) => low(d) && low(b) && *o <= 31,
        Ldrsb(d, a, b) | StrbAt(d, a, b) | Add(d, a, b) | Sub(d, a, b) => low(d) && low(a) && low(b),
        AddSp(d, o) => low(d) && o % 4 == 0 && *o <= 1020,
        SubFrame(o) | AddFrame(o) => o % 4 == 0 && *o <= 508,
        Mov(..) | AddAny(..) => true,
        Cmp(a, b) => *a != SP || *b != SP,
        MovImm(d, v) | AddImm(d, v) | SubImm(d, v) | CmpImm(d, v) => low(d) && *v <= 255,
        Adc(d, a) | Mul(d, a) | And(d, a) | Bic(d, a) | Mvn(d, a) | Sxtb(d, a) | Sxth(d, a) => {
            low(d) && low(a)
        }
        LoadNext(d, b) => d != b && d.0 <= 12 && b.0 <= 14,
        // Of low registers alone the assembler makes 16 bits.
        PushAny(m) => m.count_ones() > 1 && m >> 8 != 0 && m >> 13 == 0,
        LslAny(d, n) => (8..=12).contains(&d.0) && (1..=31).contains(n),
        Ssat(d, bits, a, n) => d.0 <= 12 && a.0 <= 12 && (1..=32).contains(bits) && (1..=31).contains(n),
        MulAny(d, a, b) => [d, a, b].iter().all(|r| r.0 <= 12),
        Mla(d, a, b, add) => [d, a, b, add].iter().all(|r| r.0 <= 12),
        LdrsbNext(d, b) => d != b && d.0 <= 12 && (b.0 <= 12 || *b == LR),
        LdrWide(d, b, o) => ((8..=12).contains(&d.0) || *d == LR) && b.0 <= 14 && *o <= 4095,
        StrWide(d, b, o) => (8..=12).contains(&d.0) && b.0 <= 14 && *o <= 4095,
        LdmAny(b, m) | StmAny(b, m) => high(b) && m.count_ones() > 1 && m >> 13 == 0 && m >> b.0 & 1 == 0,
        AddWide(d, v) => high(d) && *v <= 4095,
        AsrAny(d, n) => high(d) && (1..=31).contains(n),
        AdcAny(d, a) => d.0 <= 12 && high(a),
        SubLsl(d, a, n) => d.0 <= 12 && a.0 <= 12 && (1..=31).contains(n),
        Smull(lo, hi, a, b) => lo != hi && [lo, hi, a, b].iter().all(|r| r.0 <= 12),
        Lsl(d, a, n) => low(d) && low(a) && *n <= 31,
        Lsr(d, a, n) | Asr(d, a, n) => low(d) && low(a) && (1..=32).contains(n),
    }
}

/// Cycles on a core, branches that lead back as taken.
fn cycles(inst: &Inst, core: &Cost) -> f64 {
    use Inst::*;
    let many = |m: &u16| core.multiple + core.multiple_each * m.count_ones() as f32;
    f64::from(match inst {
        Label(_) => 0.0,
        Branch(_) => core.branch_taken,
        // A test out of a loop is mostly not taken, one back into it mostly is.
        BranchIf(..) => core.branch_taken,
        Ldm(_, m) | Stm(_, m) | LdmAny(_, m) | StmAny(_, m) | Push(m) | PushAny(m) => many(m),
        Pop(m) => many(m) + if m >> 14 & 1 == 1 { core.branch_taken } else { 0.0 },
        Ldr(..) | Ldrsb(..) | LoadNext(..) | LdrWide(..) => core.load,
        // They come in pairs, before further loads.
        LdrsbNext(..) => (core.load + core.load_next) / 2.0,
        Str(..) | Strb(..) | StrbAt(..) | StrWide(..) => core.store,
        Mul(..) | MulAny(..) => core.mul,
        Mla(..) => core.mla.unwrap_or(core.mul + core.alu),
        Smull(..) => core.mul_long.unwrap_or(core.mul),
        _ => core.alu,
    })
}

fn name(r: R) -> String {
    match r.0 {
        13 => "sp".into(),
        14 => "lr".into(),
        n => format!("r{n}"),
    }
}

fn list(mask: u16, link: &str) -> String {
    let mut names: Vec<String> = (0..13).filter(|n| mask >> n & 1 == 1).map(|n| name(R(n))).collect();
    if mask >> 14 & 1 == 1 {
        names.push(link.into());
    }
    names.join(", ")
}

/// One line; numeric labels lie `way` (`b` or `f`) of a branch.
fn print(text: &mut String, inst: &Inst, way: char) {
    use Inst::*;
    let r = name;
    // Writing to a string cannot fail.
    let _ = match *inst {
        Label(l) => write!(text, "{}:", 20 + l.0),
        Branch(l) => write!(text, "b {}{way}", 20 + l.0),
        BranchIf(c, l) => {
            let c = match c {
                Cond::Eq => "eq",
                Cond::Ne => "ne",
                Cond::Cs => "cs",
                Cond::Cc => "cc",
                Cond::Ls => "ls",
            };
            write!(text, "b{c} {}{way}", 20 + l.0)
        }
        Ldm(b, m) if m >> b.0 & 1 == 1 => write!(text, "ldmia {}, {{{}}}", r(b), list(m, "")),
        Ldm(b, m) => write!(text, "ldmia {}!, {{{}}}", r(b), list(m, "")),
        Stm(b, m) => write!(text, "stmia {}!, {{{}}}", r(b), list(m, "")),
        Push(m) => write!(text, "push {{{}}}", list(m, "lr")),
        Pop(m) => write!(text, "pop {{{}}}", list(m, "pc")),
        Ldr(d, b, o) => write!(text, "ldr {}, [{}, #{o}]", r(d), r(b)),
        Str(d, b, o) => write!(text, "str {}, [{}, #{o}]", r(d), r(b)),
        Strb(d, b, o) => write!(text, "strb {}, [{}, #{o}]", r(d), r(b)),
        Ldrsb(d, a, b) => write!(text, "ldrsb {}, [{}, {}]", r(d), r(a), r(b)),
        StrbAt(d, a, b) => write!(text, "strb {}, [{}, {}]", r(d), r(a), r(b)),
        AddSp(d, o) => write!(text, "add {}, sp, #{o}", r(d)),
        SubFrame(o) => write!(text, "sub sp, sp, #{o}"),
        AddFrame(o) => write!(text, "add sp, sp, #{o}"),
        Mov(d, a) => write!(text, "mov {}, {}", r(d), r(a)),
        AddAny(d, a) => write!(text, "add {}, {}", r(d), r(a)),
        MovImm(d, v) => write!(text, "movs {}, #{v}", r(d)),
        AddImm(d, v) => write!(text, "adds {}, #{v}", r(d)),
        SubImm(d, v) => write!(text, "subs {}, #{v}", r(d)),
        Add(d, a, b) => write!(text, "adds {}, {}, {}", r(d), r(a), r(b)),
        Sub(d, a, b) => write!(text, "subs {}, {}, {}", r(d), r(a), r(b)),
        Adc(d, a) => write!(text, "adcs {}, {}", r(d), r(a)),
        Mul(d, a) => write!(text, "muls {}, {}, {}", r(d), r(a), r(d)),
        And(d, a) => write!(text, "ands {}, {}", r(d), r(a)),
        Bic(d, a) => write!(text, "bics {}, {}", r(d), r(a)),
        Mvn(d, a) => write!(text, "mvns {}, {}", r(d), r(a)),
        Lsl(d, a, n) => write!(text, "lsls {}, {}, #{n}", r(d), r(a)),
        Lsr(d, a, n) => write!(text, "lsrs {}, {}, #{n}", r(d), r(a)),
        Asr(d, a, n) => write!(text, "asrs {}, {}, #{n}", r(d), r(a)),
        Sxth(d, a) => write!(text, "sxth {}, {}", r(d), r(a)),
        Sxtb(d, a) => write!(text, "sxtb {}, {}", r(d), r(a)),
        Cmp(a, b) => write!(text, "cmp {}, {}", r(a), r(b)),
        CmpImm(a, v) => write!(text, "cmp {}, #{v}", r(a)),
        LoadNext(d, b) => write!(text, "ldr {}, [{}], #4", r(d), r(b)),
        PushAny(m) => write!(text, "push {{{}}}", list(m, "")),
        LslAny(d, n) => write!(text, "lsls {}, {}, #{n}", r(d), r(d)),
        Ssat(d, bits, a, n) => write!(text, "ssat {}, #{bits}, {}, asr #{n}", r(d), r(a)),
        MulAny(d, a, b) => write!(text, "mul {}, {}, {}", r(d), r(a), r(b)),
        Mla(d, a, b, add) => write!(text, "mla {}, {}, {}, {}", r(d), r(a), r(b), r(add)),
        LdrsbNext(d, b) => write!(text, "ldrsb {}, [{}], #1", r(d), r(b)),
        LdrWide(d, b, o) => write!(text, "ldr {}, [{}, #{o}]", r(d), r(b)),
        StrWide(d, b, o) => write!(text, "str {}, [{}, #{o}]", r(d), r(b)),
        LdmAny(b, m) => write!(text, "ldmia {}!, {{{}}}", r(b), list(m, "")),
        StmAny(b, m) => write!(text, "stmia {}!, {{{}}}", r(b), list(m, "")),
        AddWide(d, v) => write!(text, "add {}, {}, #{v}", r(d), r(d)),
        AsrAny(d, n) => write!(text, "asrs {}, {}, #{n}", r(d), r(d)),
        AdcAny(d, a) => write!(text, "adc {}, {}, {}", r(d), r(d), r(a)),
        SubLsl(d, a, n) => write!(text, "sub {}, {}, {}, lsl #{n}", r(d), r(d), r(a)),
        Smull(lo, hi, a, b) => write!(text, "smull {}, {}, {}, {}", r(lo), r(hi), r(a), r(b)),
    };
}
