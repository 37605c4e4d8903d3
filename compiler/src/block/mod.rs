//! Instruction blocks: inner loops as instructions over virtual registers, for cores where the
//! order and the registers of a loop decide its speed.
//!
//! In: a [`Block`] written by a generator (`gemm`, `depthwise`, `widen`). Here registers are assigned
//! ([`assign`]), cycles counted ([`cost`]) and the assembly text printed that C (a `.S` file)
//! and Rust (naked functions) share. Out: a [`crate::kernel::Native`] beside a kernel whose
//! body is the block's meaning.
//!
//! Law: a block computes exactly what the kernel's body computes, bit by bit, and touches no
//! memory but its buffers and its own stack frame. It uses no floating-point register: the
//! FPU may be absent or asleep.

pub mod assign;
pub mod cost;
pub(crate) mod depthwise;
pub(crate) mod gemm;
pub(crate) mod runs;
mod text;
pub(crate) mod widen;

#[cfg(test)]
mod simulate;

use crate::error::Result;
use crate::kernel::Native;

/// A virtual register: a 32-bit value that may be written more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u32);

/// A numeric label; may stand once in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(pub u32);

/// A word of the block's own stack frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u32);

/// Rotation of the second operand of `sxtb16` and `sxtab16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ror {
    R0,
    R8,
}

/// Conditions of a branch, after a comparison of unsigned pointers or of equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    Ne,
}

/// One instruction of the Thumb-2 DSP subset. The first register is the result, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inst {
    /// The position of a numeric label.
    Label(Label),
    /// Branches to an earlier label while the last comparison found unequal operands.
    BranchBack(Cond, Label),
    /// Word load and stores with a byte offset of 0..=4095.
    Ldr(Reg, Reg, u32),
    Str(Reg, Reg, u32),
    /// Stores the low byte.
    Strb(Reg, Reg, u32),
    /// Loads a byte, sign-extended.
    Ldrsb(Reg, Reg, u32),
    /// Loads and stores a word of the frame.
    LdrSlot(Reg, Slot),
    StrSlot(Reg, Slot),
    /// Loads argument `n`, the fifth and later ones that the caller left on the stack.
    LdrArg(Reg, u32),
    Mov(Reg, Reg),
    /// Any 32-bit constant.
    MovImm(Reg, i32),
    Add(Reg, Reg, Reg),
    Sub(Reg, Reg, Reg),
    /// Constant of -4095..=4095.
    AddImm(Reg, Reg, i32),
    Cmp(Reg, Reg),
    /// `a * b` and `c + a * b`, wrapping.
    Mul(Reg, Reg, Reg),
    Mla(Reg, Reg, Reg, Reg),
    /// `width` bits from `lsb` on, as an unsigned number.
    Ubfx(Reg, Reg, u32, u32),
    /// A byte (0 the lowest) of the operand, sign-extended; the same, added to the first operand.
    Sxtb(Reg, Reg, u32),
    Sxtab(Reg, Reg, Reg, u32),
    /// `if r < c { r = c }` and `if r > c { r = c }`, c of -255..=255.
    MaxImm(Reg, i32),
    MinImm(Reg, i32),
    /// `-a`.
    Neg(Reg, Reg),
    /// Left shift by 1..=31.
    LslImm(Reg, Reg, u32),
    /// Low half of the first, low half of the second above it.
    Pkhbt(Reg, Reg, Reg),
    /// Bytes 0 and 2 (after rotation) of the operand, sign-extended into halves.
    Sxtb16(Reg, Reg, Ror),
    /// The same, added to the halves of the first operand.
    Sxtab16(Reg, Reg, Reg, Ror),
    /// Sums and differences of the halves, wrapping.
    Sadd16(Reg, Reg, Reg),
    Ssub16(Reg, Reg, Reg),
    /// `a.lo * b.lo + a.hi * b.hi`.
    Smuad(Reg, Reg, Reg),
    /// `c + a.lo * b.lo + a.hi * b.hi`, wrapping.
    Smlad(Reg, Reg, Reg, Reg),
    /// `c + a.lo * b.lo` and `c + a.hi * b.hi`, wrapping.
    Smlabb(Reg, Reg, Reg, Reg),
    Smlatt(Reg, Reg, Reg, Reg),
    /// High word of `a * b + (c << 32)`.
    Smmla(Reg, Reg, Reg, Reg),
    /// Arithmetic right shift by a register's low byte, below 32 here.
    Asr(Reg, Reg, Reg),
    /// Arithmetic right shift by 0..=31, saturated to `bits`.
    Ssat(Reg, u32, Reg, u32),
}

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
    /// Assigns registers and prints the text for cores with `feature`.
    pub fn native(&self, feature: &str) -> Result<Native> {
        let assigned = assign::assign(self)?;
        Ok(Native {
            feature: feature.to_string(),
            text: text::print(&assigned),
            stack: assigned.stack(),
            cycles: cost::cycles(&self.insts, &|label| self.trips(label)),
            bytes: 4 * self.insts.len() as u32,
        })
    }
}

/// How the sums of a layer's channels are requantized.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounding<'a> {
    pub(crate) multipliers: &'a [i32],
    /// Rounding constant and shift of each channel, as [`crate::quantize::requant::high`] gives
    /// them.
    pub(crate) each: &'a [(i32, u32)],
}

/// Appends a word to a stream of 16-bit halves.
fn word(stream: &mut Vec<i16>, v: i32) {
    stream.extend([v as i16, (v >> 16) as i16]);
}

/// Where a block keeps what rounds a channel's sums.
enum Round {
    /// One constant in a register, one shift.
    Layer(Reg, u32),
    /// Constant and shift are words of the stream, from a byte offset on.
    Channel(Reg, u32),
}

/// Requantizes the sums of one channel, multiplied by `m`, and stores them, `step` bytes apart
/// from `y + at` on.
fn close(
    b: &mut Block,
    sums: &[Reg],
    m: Reg,
    round: Round,
    (y, at, step): (Reg, usize, usize),
    limits: (i32, i32),
) {
    let (constant, shift) = match round {
        Round::Layer(constant, _) => (constant, None),
        Round::Channel(w, from) => {
            let [constant, shift] = b.regs_n();
            b.push(Inst::Ldr(constant, w, from));
            b.push(Inst::Ldr(shift, w, from + 4));
            (constant, Some(shift))
        }
    };
    for &s in sums {
        b.push(Inst::Smmla(s, s, m, constant));
    }
    for (column, &s) in sums.iter().enumerate() {
        match (shift, &round) {
            (Some(shift), _) => {
                b.push(Inst::Asr(s, s, shift));
                b.push(Inst::Ssat(s, 8, s, 0));
            }
            (None, Round::Layer(_, sh) | Round::Channel(_, sh)) => b.push(Inst::Ssat(s, 8, s, *sh)),
        }
        if limits.0 > -128 {
            b.push(Inst::MaxImm(s, limits.0));
        }
        if limits.1 < 127 {
            b.push(Inst::MinImm(s, limits.1));
        }
        b.push(Inst::Strb(s, y, (at + step * column) as u32));
    }
}

impl Inst {
    /// Registers written and read, in the order of their text.
    pub fn operands(&self) -> (Option<Reg>, Vec<Reg>) {
        use Inst::*;
        match *self {
            Label(_) | BranchBack(..) => (None, vec![]),
            Ldr(d, a, _) | Ldrsb(d, a, _) => (Some(d), vec![a]),
            Str(s, a, _) | Strb(s, a, _) => (None, vec![s, a]),
            LdrSlot(d, _) | LdrArg(d, _) | MovImm(d, _) => (Some(d), vec![]),
            StrSlot(s, _) => (None, vec![s]),
            Mov(d, a)
            | Neg(d, a)
            | AddImm(d, a, _)
            | LslImm(d, a, _)
            | Ubfx(d, a, ..)
            | Sxtb(d, a, _)
            | Sxtb16(d, a, _)
            | Ssat(d, _, a, _) => (Some(d), vec![a]),
            Add(d, a, b)
            | Sub(d, a, b)
            | Asr(d, a, b)
            | Mul(d, a, b)
            | Sxtab(d, a, b, _)
            | Pkhbt(d, a, b)
            | Sxtab16(d, a, b, _)
            | Sadd16(d, a, b)
            | Ssub16(d, a, b)
            | Smuad(d, a, b) => (Some(d), vec![a, b]),
            Cmp(a, b) => (None, vec![a, b]),
            MaxImm(d, _) | MinImm(d, _) => (Some(d), vec![d]),
            Mla(d, a, b, c)
            | Smlad(d, a, b, c)
            | Smlabb(d, a, b, c)
            | Smlatt(d, a, b, c)
            | Smmla(d, a, b, c) => (Some(d), vec![a, b, c]),
        }
    }
    /// The same instruction on other registers.
    pub fn map(&self, mut f: impl FnMut(Reg) -> Reg) -> Inst {
        use Inst::*;
        match *self {
            Label(l) => Label(l),
            BranchBack(c, l) => BranchBack(c, l),
            Ldr(d, a, o) => Ldr(f(d), f(a), o),
            Ldrsb(d, a, o) => Ldrsb(f(d), f(a), o),
            Str(s, a, o) => Str(f(s), f(a), o),
            Strb(s, a, o) => Strb(f(s), f(a), o),
            LdrSlot(d, s) => LdrSlot(f(d), s),
            StrSlot(r, s) => StrSlot(f(r), s),
            LdrArg(d, n) => LdrArg(f(d), n),
            Mov(d, a) => Mov(f(d), f(a)),
            MovImm(d, v) => MovImm(f(d), v),
            Add(d, a, b) => Add(f(d), f(a), f(b)),
            Sub(d, a, b) => Sub(f(d), f(a), f(b)),
            Asr(d, a, b) => Asr(f(d), f(a), f(b)),
            AddImm(d, a, v) => AddImm(f(d), f(a), v),
            Cmp(a, b) => Cmp(f(a), f(b)),
            Mul(d, a, b) => Mul(f(d), f(a), f(b)),
            Mla(d, a, b, c) => Mla(f(d), f(a), f(b), f(c)),
            Ubfx(d, a, l, w) => Ubfx(f(d), f(a), l, w),
            Sxtb(d, a, n) => Sxtb(f(d), f(a), n),
            Sxtab(d, a, b, n) => Sxtab(f(d), f(a), f(b), n),
            MaxImm(d, v) => MaxImm(f(d), v),
            MinImm(d, v) => MinImm(f(d), v),
            Neg(d, a) => Neg(f(d), f(a)),
            LslImm(d, a, n) => LslImm(f(d), f(a), n),
            Pkhbt(d, a, b) => Pkhbt(f(d), f(a), f(b)),
            Sxtb16(d, a, r) => Sxtb16(f(d), f(a), r),
            Sxtab16(d, a, b, r) => Sxtab16(f(d), f(a), f(b), r),
            Sadd16(d, a, b) => Sadd16(f(d), f(a), f(b)),
            Ssub16(d, a, b) => Ssub16(f(d), f(a), f(b)),
            Smuad(d, a, b) => Smuad(f(d), f(a), f(b)),
            Smlad(d, a, b, c) => Smlad(f(d), f(a), f(b), f(c)),
            Smlabb(d, a, b, c) => Smlabb(f(d), f(a), f(b), f(c)),
            Smlatt(d, a, b, c) => Smlatt(f(d), f(a), f(b), f(c)),
            Smmla(d, a, b, c) => Smmla(f(d), f(a), f(b), f(c)),
            Ssat(d, n, a, s) => Ssat(f(d), n, f(a), s),
        }
    }
}
