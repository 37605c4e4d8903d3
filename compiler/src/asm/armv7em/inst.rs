//! The instructions of a block: Thumb-2 with the DSP extension, over virtual or machine
//! registers.
//!
//! One variant is one machine instruction unless its comment says more. The first register is the
//! result, if there is one. Law: [`Inst::each`] names every register that an instruction
//! reads or writes; assignment, order and cost know no others.

/// A virtual register: a 32-bit value that may be written more than once. After assignment the
/// number is the machine's, lr being 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u32);

/// A numeric label; may stand once in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(pub u32);

/// A word of the block's own stack frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u32);

/// A floating-point register s0..s15 that keeps a word; only for cores that surely have an FPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Float(pub u32);

/// Rotation of the last operand of extensions. Of pairs, `R0` takes bytes 0 and 2, `R8` bytes 1
/// and 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ror {
    R0,
    R8,
    R16,
    R24,
}

impl Ror {
    pub fn bits(self) -> u32 {
        match self {
            Ror::R0 => 0,
            Ror::R8 => 8,
            Ror::R16 => 16,
            Ror::R24 => 24,
        }
    }
}

/// What the last comparison must have found; `Lo` and `Hs` are unsigned below and not below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    Eq,
    Ne,
    Lo,
    Hs,
    Lt,
    Ge,
    Gt,
    Le,
}

/// How an instruction touches a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    Read,
    Write,
    /// Read, then written.
    Both,
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inst {
    /// The position of a numeric label. Flags do not live across it.
    Label(Label),
    /// Branches to an earlier label, or to a later one, while the condition holds.
    BranchBack(Cond, Label),
    Branch(Cond, Label),
    /// Goes to a later label.
    Jump(Label),
    /// The address of a later label, for [`Inst::Enter`].
    Adr(Reg, Label),
    /// Goes to the address in a word of the frame: computed so that it is that of the label,
    /// the addresses of equal pieces of code being evenly apart. Bit 0 must be set.
    Enter(Slot, Label),

    /// Loads and stores with a byte offset of 0..=4095: words, bytes, halves, zero- or
    /// sign-extended.
    Ldr(Reg, Reg, u32),
    Ldrb(Reg, Reg, u32),
    Ldrsb(Reg, Reg, u32),
    Ldrh(Reg, Reg, u32),
    Ldrsh(Reg, Reg, u32),
    Str(Reg, Reg, u32),
    Strb(Reg, Reg, u32),
    Strh(Reg, Reg, u32),
    /// Word access spelled by four bytes whatever its registers, where code must be evenly long.
    LdrWide(Reg, Reg, u32),
    StrWide(Reg, Reg, u32),
    /// Access at the pointer itself, which then moves by -255..=255 bytes.
    LdrPost(Reg, Reg, i32),
    LdrsbPost(Reg, Reg, i32),
    LdrshPost(Reg, Reg, i32),
    StrPost(Reg, Reg, i32),
    StrbPost(Reg, Reg, i32),
    StrhPost(Reg, Reg, i32),
    /// Access at `a + (b << 0..=3)`.
    LdrAt(Reg, Reg, Reg, u32),
    LdrbAt(Reg, Reg, Reg, u32),
    LdrsbAt(Reg, Reg, Reg, u32),
    LdrshAt(Reg, Reg, Reg, u32),
    StrAt(Reg, Reg, Reg, u32),
    StrbAt(Reg, Reg, Reg, u32),
    /// Loads and stores a word of the frame.
    LdrSlot(Reg, Slot),
    StrSlot(Reg, Slot),
    /// Loads argument `n`, the fifth (4) and later ones that the caller left on the stack.
    LdrArg(Reg, u32),
    /// Moves a word to and from a floating-point register.
    FloatTo(Float, Reg),
    FloatFrom(Reg, Float),

    Mov(Reg, Reg),
    /// Any 32-bit constant; two instructions where one cannot hold it.
    MovImm(Reg, i32),
    Add(Reg, Reg, Reg),
    Sub(Reg, Reg, Reg),
    /// Constant of -4095..=4095.
    AddImm(Reg, Reg, i32),
    /// `a + (b << n)` and `a + (b >> n)`, n of 1..=31.
    AddLsl(Reg, Reg, Reg, u32),
    AddAsr(Reg, Reg, Reg, u32),
    And(Reg, Reg, Reg),
    Orr(Reg, Reg, Reg),
    Eor(Reg, Reg, Reg),
    /// `-a`.
    Neg(Reg, Reg),
    /// Shifts by 1..=31.
    LslImm(Reg, Reg, u32),
    LsrImm(Reg, Reg, u32),
    AsrImm(Reg, Reg, u32),
    /// Shifts by a register's low byte, below 32 here.
    Lsl(Reg, Reg, Reg),
    Lsr(Reg, Reg, Reg),
    Asr(Reg, Reg, Reg),
    /// `width` bits from bit `lsb` on, zero- or sign-extended: `(d, a, lsb, width)`.
    Ubfx(Reg, Reg, u32, u32),
    Sbfx(Reg, Reg, u32, u32),
    /// Low `width` bits of `a` over bits `lsb..` of the result.
    Bfi(Reg, Reg, u32, u32),
    /// A byte (0 the lowest) of the operand, extended.
    Uxtb(Reg, Reg, u32),
    Sxtb(Reg, Reg, u32),
    /// The low half, extended.
    Uxth(Reg, Reg),
    Sxth(Reg, Reg),

    /// Sets the flags.
    Cmp(Reg, Reg),
    /// Constant of 0..=255.
    CmpImm(Reg, u32),
    /// Subtracts 0..=255 and sets the flags by the result.
    SubsImm(Reg, Reg, u32),
    /// `if r < c { r = c }` and `if r > c { r = c }`, c of -255..=255. Three instructions;
    /// spoils the flags.
    MaxImm(Reg, i32),
    MinImm(Reg, i32),
    /// The same with a register.
    Max(Reg, Reg),
    Min(Reg, Reg),

    /// Low half of the first, low half of the second above it.
    Pkhbt(Reg, Reg, Reg),
    /// Low half of the first, high half of the second.
    Pkh(Reg, Reg, Reg),
    /// High half of the first; below it the low half of the second shifted right by 1..=31.
    Pkhtb(Reg, Reg, Reg, u32),
    /// Bytes 0 and 2 (after rotation) of the operand, extended into halves.
    Sxtb16(Reg, Reg, Ror),
    Uxtb16(Reg, Reg, Ror),
    /// The same, added to the halves of the first operand.
    Sxtab16(Reg, Reg, Reg, Ror),
    Uxtab16(Reg, Reg, Reg, Ror),
    /// First operand plus a byte (0 the lowest), or the low half after rotation, of the second,
    /// sign-extended.
    Sxtab(Reg, Reg, Reg, u32),
    Sxtah(Reg, Reg, Reg, Ror),
    /// Halves added and subtracted, wrapping; `Q` saturates.
    Sadd16(Reg, Reg, Reg),
    Ssub16(Reg, Reg, Reg),
    Qadd16(Reg, Reg, Reg),
    Qsub16(Reg, Reg, Reg),

    /// The greater of each pair of signed bytes. Two instructions, the first of which writes the
    /// result's register before the second reads the operands: they must be other registers.
    MaxBytes(Reg, Reg, Reg),

    Mul(Reg, Reg, Reg),
    /// `c + a * b` and `c - a * b`.
    Mla(Reg, Reg, Reg, Reg),
    Mls(Reg, Reg, Reg, Reg),
    /// Low and high word of the signed 64-bit product.
    Smull(Reg, Reg, Reg, Reg),
    /// `a.lo * b.lo + a.hi * b.hi`; `x` crosses the halves of b; `Smusd` subtracts the second.
    Smuad(Reg, Reg, Reg),
    Smuadx(Reg, Reg, Reg),
    Smusd(Reg, Reg, Reg),
    /// The same added to `c`, wrapping.
    Smlad(Reg, Reg, Reg, Reg),
    Smladx(Reg, Reg, Reg, Reg),
    Smlsd(Reg, Reg, Reg, Reg),
    /// Product of two halves: `b` bottom, `t` top.
    Smulbb(Reg, Reg, Reg),
    Smulbt(Reg, Reg, Reg),
    Smultb(Reg, Reg, Reg),
    Smultt(Reg, Reg, Reg),
    /// The same added to `c`, wrapping.
    Smlabb(Reg, Reg, Reg, Reg),
    Smlabt(Reg, Reg, Reg, Reg),
    Smlatb(Reg, Reg, Reg, Reg),
    Smlatt(Reg, Reg, Reg, Reg),
    /// `(a * b.half) >> 16`, and added to `c`.
    Smulwb(Reg, Reg, Reg),
    Smulwt(Reg, Reg, Reg),
    Smlawb(Reg, Reg, Reg, Reg),
    Smlawt(Reg, Reg, Reg, Reg),
    /// High word of `a * b`; `r` rounds it.
    Smmul(Reg, Reg, Reg),
    Smmulr(Reg, Reg, Reg),
    /// High word of `a * b + (c << 32)`; `r` rounds it.
    Smmla(Reg, Reg, Reg, Reg),
    Smmlar(Reg, Reg, Reg, Reg),
    /// Arithmetic right shift by 0..=31, saturated to `bits` signed or unsigned:
    /// `(d, bits, a, shift)`.
    Ssat(Reg, u32, Reg, u32),
    Usat(Reg, u32, Reg, u32),
    /// Left shift by 1..=31 instead.
    SsatLsl(Reg, u32, Reg, u32),
    /// Each half saturated.
    Ssat16(Reg, u32, Reg),
    Usat16(Reg, u32, Reg),
}

impl Inst {
    /// Every register in the order of the text, and how it is touched.
    pub fn each(&mut self, f: &mut dyn FnMut(&mut Reg, Touch)) {
        use Inst::*;
        use Touch::{Both, Read, Write};
        match self {
            Label(_) | BranchBack(..) | Branch(..) | Jump(_) | Enter(..) => {}
            Ldr(d, a, _)
            | LdrWide(d, a, _)
            | Ldrb(d, a, _)
            | Ldrsb(d, a, _)
            | Ldrh(d, a, _)
            | Ldrsh(d, a, _)
            | Uxtb(d, a, _)
            | Sxtb(d, a, _)
            | LslImm(d, a, _)
            | LsrImm(d, a, _)
            | AsrImm(d, a, _)
            | Ubfx(d, a, ..)
            | Sbfx(d, a, ..)
            | SubsImm(d, a, _)
            | Ssat(d, _, a, _)
            | Usat(d, _, a, _)
            | SsatLsl(d, _, a, _)
            | Ssat16(d, _, a)
            | Usat16(d, _, a) => {
                f(d, Write);
                f(a, Read);
            }
            Mov(d, a) | Neg(d, a) | Uxth(d, a) | Sxth(d, a) => {
                f(d, Write);
                f(a, Read);
            }
            AddImm(d, a, _) => {
                f(d, Write);
                f(a, Read);
            }
            Sxtb16(d, a, _) | Uxtb16(d, a, _) => {
                f(d, Write);
                f(a, Read);
            }
            Str(s, a, _) | StrWide(s, a, _) | Strb(s, a, _) | Strh(s, a, _) => {
                f(s, Read);
                f(a, Read);
            }
            LdrPost(d, a, _) | LdrsbPost(d, a, _) | LdrshPost(d, a, _) => {
                f(d, Write);
                f(a, Both);
            }
            StrPost(s, a, _) | StrbPost(s, a, _) | StrhPost(s, a, _) => {
                f(s, Read);
                f(a, Both);
            }
            StrAt(s, a, b, _) | StrbAt(s, a, b, _) => {
                f(s, Read);
                f(a, Read);
                f(b, Read);
            }
            Adr(d, _) | LdrSlot(d, _) | LdrArg(d, _) | FloatFrom(d, _) | MovImm(d, _) => f(d, Write),
            StrSlot(s, _) | FloatTo(_, s) => f(s, Read),
            LdrAt(d, a, b, _)
            | LdrbAt(d, a, b, _)
            | LdrsbAt(d, a, b, _)
            | LdrshAt(d, a, b, _)
            | AddLsl(d, a, b, _)
            | AddAsr(d, a, b, _)
            | Pkhtb(d, a, b, _)
            | Sxtab(d, a, b, _) => {
                f(d, Write);
                f(a, Read);
                f(b, Read);
            }
            Sxtab16(d, a, b, _) | Uxtab16(d, a, b, _) | Sxtah(d, a, b, _) => {
                f(d, Write);
                f(a, Read);
                f(b, Read);
            }
            Add(d, a, b)
            | Sub(d, a, b)
            | And(d, a, b)
            | Orr(d, a, b)
            | Eor(d, a, b)
            | Lsl(d, a, b)
            | Lsr(d, a, b)
            | Asr(d, a, b)
            | Pkhbt(d, a, b)
            | Pkh(d, a, b)
            | Sadd16(d, a, b)
            | Ssub16(d, a, b)
            | Qadd16(d, a, b)
            | Qsub16(d, a, b)
            | MaxBytes(d, a, b)
            | Mul(d, a, b)
            | Smuad(d, a, b)
            | Smuadx(d, a, b)
            | Smusd(d, a, b)
            | Smulbb(d, a, b)
            | Smulbt(d, a, b)
            | Smultb(d, a, b)
            | Smultt(d, a, b)
            | Smulwb(d, a, b)
            | Smulwt(d, a, b)
            | Smmul(d, a, b)
            | Smmulr(d, a, b) => {
                f(d, Write);
                f(a, Read);
                f(b, Read);
            }
            Cmp(a, b) => {
                f(a, Read);
                f(b, Read);
            }
            CmpImm(a, _) => f(a, Read),
            MaxImm(d, _) | MinImm(d, _) => f(d, Both),
            Max(d, a) | Min(d, a) | Bfi(d, a, ..) => {
                f(d, Both);
                f(a, Read);
            }
            Mla(d, a, b, c)
            | Mls(d, a, b, c)
            | Smlad(d, a, b, c)
            | Smladx(d, a, b, c)
            | Smlsd(d, a, b, c)
            | Smlabb(d, a, b, c)
            | Smlabt(d, a, b, c)
            | Smlatb(d, a, b, c)
            | Smlatt(d, a, b, c)
            | Smlawb(d, a, b, c)
            | Smlawt(d, a, b, c)
            | Smmla(d, a, b, c)
            | Smmlar(d, a, b, c) => {
                f(d, Write);
                f(a, Read);
                f(b, Read);
                f(c, Read);
            }
            Smull(lo, hi, a, b) => {
                f(lo, Write);
                f(hi, Write);
                f(a, Read);
                f(b, Read);
            }
        }
    }
    /// Registers written, and registers read, in the order of their text.
    pub fn operands(&self) -> (Vec<Reg>, Vec<Reg>) {
        let (mut written, mut read) = (Vec::new(), Vec::new());
        self.clone().each(&mut |reg, touch| {
            if touch != Touch::Read {
                written.push(*reg);
            }
            if touch != Touch::Write {
                read.push(*reg);
            }
        });
        (written, read)
    }
    /// The same instruction on other registers.
    pub fn map(&self, mut f: impl FnMut(Reg) -> Reg) -> Inst {
        let mut inst = *self;
        inst.each(&mut |reg, _| *reg = f(*reg));
        inst
    }
    /// Whether control may leave the straight line after it, or enter at it.
    pub fn ends(&self) -> bool {
        use Inst::*;
        matches!(self, Label(_) | BranchBack(..) | Branch(..) | Jump(_) | Enter(..))
    }
    /// Writes the flags, whatever its spelling.
    pub fn sets_flags(&self) -> bool {
        use Inst::*;
        matches!(self, Cmp(..) | CmpImm(..) | SubsImm(..) | MaxImm(..) | MinImm(..) | Max(..) | Min(..))
    }
    /// Whether the result must not take the register of an operand that ends here.
    pub fn writes_early(&self) -> bool {
        matches!(self, Inst::MaxBytes(..))
    }
    /// The addend of a multiply-accumulate, which its pipeline takes late.
    pub fn addend(&self) -> Option<Reg> {
        use Inst::*;
        match *self {
            Mla(.., c)
            | Mls(.., c)
            | Smlad(.., c)
            | Smladx(.., c)
            | Smlsd(.., c)
            | Smlabb(.., c)
            | Smlabt(.., c)
            | Smlatb(.., c)
            | Smlatt(.., c)
            | Smlawb(.., c)
            | Smlawt(.., c)
            | Smmla(.., c)
            | Smmlar(.., c) => Some(c),
            _ => None,
        }
    }
}
