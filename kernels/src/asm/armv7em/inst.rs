//! The instructions of a block: Thumb-2 with the DSP extension, over virtual or machine
//! registers, a row each ([`crate::asm::table`]).
//!
//! One row is one machine instruction unless its comment says more; those have no text here and
//! are spelled in [`super::text`]. Law: assignment, order and cost know of registers and kinds what
//! the rows say.

use crate::asm::armv7em::text::{Class, Shifted, beginning, ending, in_place};
use crate::asm::table::{self, Imm, Num, arm, choices, instructions, plain_operands, registers};
#[cfg(any(test, feature = "testing"))]
use crate::asm::{
    armv7em::simulate::{Flags, Model, ROUND, extend, high, unsigned, wide_product},
    simulate::{clip, dual, halves, pairs, product},
};

/// A numeric label; may stand once in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(pub u32);

/// A word of the block's own stack frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u32);

/// The place of the first floating-point register, above all virtual ones.
pub const FLOATS: u32 = 1 << 16;

registers! {
    /// A virtual register: a 32-bit value that may be written more than once. After assignment the
    /// number is the machine's, lr being 14.
    Reg(u32) from 0, arm;
    /// A floating-point register s0..s15 that keeps a word; only for cores that surely have an FPU.
    Float(u32) from FLOATS, |n| format!("s{n}");
}

plain_operands! {
    Label: [];
    Slot: [Slot(0), Slot(1)];
}

choices! {
    /// Rotation of the last operand of extensions. Of pairs, `R0` takes bytes 0 and 2, `R8` bytes 1
    /// and 3.
    Ror { R0 "" R8 ", ror #8" R16 ", ror #16" R24 ", ror #24" }
    /// What the last comparison must have found; `Lo` and `Hs` are unsigned below and not below.
    Cond { Eq "eq" Ne "ne" Lo "lo" Hs "hs" Lt "lt" Ge "ge" Gt "gt" Le "le" }
}

type Out = table::Out<Reg>;
type Early = table::Early<Reg>;
type In = table::In<Reg>;
type Both = table::Both<Reg>;
type Addend = table::Addend<Reg>;
type Base = table::Base<Reg>;
type Moved = table::Moved<Reg>;
type Index = table::Index<Reg>;
type Amount = table::Amount<Reg>;

/// What the cores and the printer ask of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub class: Class,
    /// Two bytes; else four.
    pub short: bool,
    pub flags: Sets,
    /// Bytes of memory, and where behind a pointer, if that is known.
    pub access: u32,
    pub offset: Option<u32>,
    /// Whether the operands may stand beside each other.
    pub encodes: bool,
}

/// Whether an instruction sets the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    Never,
    /// In its short form only, spelled with an `s`: taken where the flags are free.
    Short,
    Always,
}

const fn wide(class: Class) -> Form {
    Form { class, short: false, flags: Sets::Never, access: 0, offset: None, encodes: true }
}
/// Short under a condition.
const fn short(class: Class, short: bool) -> Form {
    Form { short, ..wide(class) }
}
/// Short under a condition and where the flags are free.
const fn flags(class: Class, short: bool) -> Form {
    Form { short, flags: Sets::Short, ..wide(class) }
}
/// Sets the flags, whatever its spelling.
const fn compare(short: bool) -> Form {
    Form { short, flags: Sets::Always, ..wide(Class::Alu) }
}
/// Of so many bytes of memory, short under a condition.
const fn load(access: u32, short: bool) -> Form {
    Form { short, access, ..wide(Class::Load) }
}
const fn store(access: u32, short: bool) -> Form {
    Form { short, access, ..wide(Class::Store) }
}

impl Form {
    const fn at(self, offset: u32) -> Form {
        Form { offset: Some(offset), ..self }
    }
    const fn only(self, encodes: bool) -> Form {
        Form { encodes, ..self }
    }
}

fn low(regs: &[Reg]) -> bool {
    regs.iter().all(|r| r.0 < 8)
}
/// Whether low registers and an offset fit the short form of an access of `unit` bytes.
fn near(d: Reg, a: Reg, o: u32, unit: u32) -> bool {
    low(&[d, a]) && o.is_multiple_of(unit) && o / unit <= 31
}

use Class::{Alu, Branch as Back, Dsp, Float as Fpu, LongMul, Shift};

instructions! {
    form Form, text s, model m: Model<'_>;

    /// The position of a numeric label. Flags do not live across it.
    Label(l: Label) wide(Back), "{l}:" => {};
    /// Branches to an earlier label, or to a later one, while the condition holds.
    BranchBack(c: Cond, l: Label) short(Back, true), "b{c} {l}b" => m.branch(c, l);
    Branch(c: Cond, l: Label) short(Back, true), "b{c} {l}f" => m.branch(c, l);
    /// Goes to a later label.
    Jump(l: Label) short(Class::Jump, true), "b {l}f" => m.go(l);
    /// The address of a later label, for [`Inst::Enter`].
    Adr(d: Out, l: Label) wide(Alu), "adr.w {d}, {l}f" => d = m.address(l);
    /// Goes to the address in a word of the frame: computed so that it is that of the label,
    /// the addresses of equal pieces of code being evenly apart. Bit 0 must be set.
    Enter(n: Slot, l: Label) wide(Class::Enter), "ldr pc, [sp, #{n}]" => m.enter(n, l);

    /// Loads and stores with a byte offset of 0..=4095: words, bytes, halves, zero- or
    /// sign-extended.
    Ldr(d: Out, a: Base, o: Num<0, 4095>) load(4, near(d, a, o, 4)).at(o), "ldr {d}, [{a}, #{o}]" => d = m.memory.word(a + o);
    Ldrb(d: Out, a: Base, o: Num<0, 4095>) load(1, near(d, a, o, 1)).at(o), "ldrb {d}, [{a}, #{o}]" => d = m.memory.byte(a + o).into();
    Ldrsb(d: Out, a: Base, o: Num<0, 4095>) load(1, false).at(o), "ldrsb {d}, [{a}, #{o}]" => d = m.memory.byte(a + o) as i8 as u32;
    Ldrh(d: Out, a: Base, o: Num<0, 4095>) load(2, near(d, a, o, 2)).at(o), "ldrh {d}, [{a}, #{o}]" => d = m.memory.half(a + o).into();
    Ldrsh(d: Out, a: Base, o: Num<0, 4095>) load(2, false).at(o), "ldrsh {d}, [{a}, #{o}]" => d = m.memory.half(a + o) as i16 as u32;
    Str(v: In, a: Base, o: Num<0, 4095>) store(4, near(v, a, o, 4)).at(o), "str {v}, [{a}, #{o}]" => m.memory.put(a + o, v, 4);
    Strb(v: In, a: Base, o: Num<0, 4095>) store(1, near(v, a, o, 1)).at(o), "strb {v}, [{a}, #{o}]" => m.memory.put(a + o, v, 1);
    Strh(v: In, a: Base, o: Num<0, 4095>) store(2, near(v, a, o, 2)).at(o), "strh {v}, [{a}, #{o}]" => m.memory.put(a + o, v, 2);
    /// Word access spelled by four bytes whatever its registers, where code must be evenly long.
    LdrWide(d: Out, a: Base, o: Num<0, 4095>) load(4, false).at(o), "ldr.w {d}, [{a}, #{o}]" => d = m.memory.word(a + o);
    StrWide(v: In, a: Base, o: Num<0, 4095>) store(4, false).at(o), "str.w {v}, [{a}, #{o}]" => m.memory.put(a + o, v, 4);
    /// Access at the pointer itself, which then moves by -255..=255 bytes.
    LdrPost(d: Out, a: Moved, by: Imm<-255, 255>) load(4, false).at(0), "ldr {d}, [{a}], #{by}" => { d = m.memory.word(a); a = a.wrapping_add(by as u32) };
    LdrsbPost(d: Out, a: Moved, by: Imm<-255, 255>) load(1, false).at(0), "ldrsb {d}, [{a}], #{by}" => { d = m.memory.byte(a) as i8 as u32; a = a.wrapping_add(by as u32) };
    LdrshPost(d: Out, a: Moved, by: Imm<-255, 255>) load(2, false).at(0), "ldrsh {d}, [{a}], #{by}" => { d = m.memory.half(a) as i16 as u32; a = a.wrapping_add(by as u32) };
    StrPost(v: In, a: Moved, by: Imm<-255, 255>) store(4, false).at(0), "str {v}, [{a}], #{by}" => { m.memory.put(a, v, 4); a = a.wrapping_add(by as u32) };
    StrbPost(v: In, a: Moved, by: Imm<-255, 255>) store(1, false).at(0), "strb {v}, [{a}], #{by}" => { m.memory.put(a, v, 1); a = a.wrapping_add(by as u32) };
    StrhPost(v: In, a: Moved, by: Imm<-255, 255>) store(2, false).at(0), "strh {v}, [{a}], #{by}" => { m.memory.put(a, v, 2); a = a.wrapping_add(by as u32) };
    /// Access at `a + (b << 0..=3)`.
    LdrAt(d: Out, a: Base, b: Index, n: Num<0, 3>) load(4, n == 0 && low(&[d, a, b])), "ldr {d}, [{a}, {b}{by}]", by = Shifted("lsl", n) => d = m.memory.word(a.wrapping_add(b << n));
    LdrbAt(d: Out, a: Base, b: Index, n: Num<0, 3>) load(1, n == 0 && low(&[d, a, b])), "ldrb {d}, [{a}, {b}{by}]", by = Shifted("lsl", n) => d = m.memory.byte(a.wrapping_add(b << n)).into();
    LdrsbAt(d: Out, a: Base, b: Index, n: Num<0, 3>) load(1, n == 0 && low(&[d, a, b])), "ldrsb {d}, [{a}, {b}{by}]", by = Shifted("lsl", n) => d = m.memory.byte(a.wrapping_add(b << n)) as i8 as u32;
    LdrshAt(d: Out, a: Base, b: Index, n: Num<0, 3>) load(2, n == 0 && low(&[d, a, b])), "ldrsh {d}, [{a}, {b}{by}]", by = Shifted("lsl", n) => d = m.memory.half(a.wrapping_add(b << n)) as i16 as u32;
    StrAt(v: In, a: Base, b: Index, n: Num<0, 3>) store(4, n == 0 && low(&[v, a, b])), "str {v}, [{a}, {b}{by}]", by = Shifted("lsl", n) => m.memory.put(a.wrapping_add(b << n), v, 4);
    StrbAt(v: In, a: Base, b: Index, n: Num<0, 3>) store(1, n == 0 && low(&[v, a, b])), "strb {v}, [{a}, {b}{by}]", by = Shifted("lsl", n) => m.memory.put(a.wrapping_add(b << n), v, 1);
    /// Loads and stores a word of the frame.
    LdrSlot(d: Out, n: Slot) load(4, low(&[d]) && n.0 <= 255), "ldr {d}, [sp, #{n}]" => d = m.frame[n.0 as usize];
    StrSlot(v: In, n: Slot) store(4, low(&[v]) && n.0 <= 255), "str {v}, [sp, #{n}]" => m.frame[n.0 as usize] = v;
    /// Loads argument `n`, the fifth (4) and later ones that the caller left on the stack: a word
    /// above the frame.
    LdrArg(d: Out, n: Num<4, 255>) load(4, false), "" => d = m.args[n as usize];
    /// Moves a word to and from a floating-point register.
    FloatTo(f: table::Out<Float>, a: In) wide(Fpu), "vmov {f}, {a}" => f = a;
    FloatFrom(d: Out, f: table::In<Float>) wide(Fpu), "vmov {d}, {f}" => d = f;

    Mov(d: Out, a: In) short(Alu, true), "mov {d}, {a}" => d = a;
    /// Any 32-bit constant; two instructions where one cannot hold it.
    MovImm(d: Out, v: Imm<{ i32::MIN }, { i32::MAX }>) wide(Alu), "" => d = v as u32;
    Add(d: Out, a: In, b: In) if d == a || d == b { short(Alu, true) } else { flags(Alu, low(&[d, a, b])) }, "add{s} {of}", of = in_place(d, a, b) => d = a.wrapping_add(b);
    Sub(d: Out, a: In, b: In) flags(Alu, low(&[d, a, b])), "sub{s} {d}, {a}, {b}" => d = a.wrapping_sub(b);
    /// Constant of -4095..=4095; of 0 a move.
    AddImm(d: Out, a: In, v: Imm<-4095, 4095>) flags(Alu, low(&[d, a]) && (v.abs() <= 7 || d == a && v.abs() <= 255)), "{sum}{s} {d}, {a}, #{n}",
        sum = if v < 0 { "sub" } else { "add" }, s = if s.is_empty() { "w" } else { s }, n = v.abs() => d = a.wrapping_add(v as u32);
    /// `a + (b << n)` and `a + (b >> n)`, n of 1..=31; `AddAsr` keeps the sign of b.
    AddLsl(d: Out, a: In, b: In, n: Num<1, 31>) wide(Shift), "add {d}, {a}, {b}, lsl #{n}" => d = a.wrapping_add(b << n);
    AddLsr(d: Out, a: In, b: In, n: Num<1, 31>) wide(Shift), "add {d}, {a}, {b}, lsr #{n}" => d = a.wrapping_add(b >> n);
    AddAsr(d: Out, a: In, b: In, n: Num<1, 31>) wide(Shift), "add {d}, {a}, {b}, asr #{n}" => d = a.wrapping_add((b as i32 >> n) as u32);
    And(d: Out, a: In, b: In) flags(Alu, (d == a || d == b) && low(&[d, a, b])), "and{s} {d}, {of}", of = beginning(d, a, b) => d = a & b;
    Orr(d: Out, a: In, b: In) flags(Alu, (d == a || d == b) && low(&[d, a, b])), "orr{s} {d}, {of}", of = beginning(d, a, b) => d = a | b;
    Eor(d: Out, a: In, b: In) flags(Alu, (d == a || d == b) && low(&[d, a, b])), "eor{s} {d}, {of}", of = beginning(d, a, b) => d = a ^ b;
    /// The low bytes of both halves under a mask of 1..=255, and the high bytes.
    MaskLow(d: Out, a: In, v: Num<1, 255>) wide(Alu), "and {d}, {a}, #{mask}", mask = v * 0x0001_0001 => d = a & (v * 0x0001_0001);
    MaskHigh(d: Out, a: In, v: Num<1, 255>) wide(Alu), "and {d}, {a}, #{mask}", mask = v * 0x0100_0100 => d = a & (v * 0x0100_0100);
    /// Zeros above the highest bit.
    Clz(d: Out, a: In) wide(Alu), "clz {d}, {a}" => d = a.leading_zeros();
    /// `-a`.
    Neg(d: Out, a: In) flags(Alu, low(&[d, a])), "rsb{s} {d}, {a}, #0" => d = a.wrapping_neg();
    /// Shifts by 1..=31.
    LslImm(d: Out, a: In, n: Num<1, 31>) flags(Shift, low(&[d, a])), "lsl{s} {d}, {a}, #{n}" => d = a << n;
    LsrImm(d: Out, a: In, n: Num<1, 31>) flags(Shift, low(&[d, a])), "lsr{s} {d}, {a}, #{n}" => d = a >> n;
    AsrImm(d: Out, a: In, n: Num<1, 31>) flags(Shift, low(&[d, a])), "asr{s} {d}, {a}, #{n}" => d = (a as i32 >> n) as u32;
    /// Shifts by a register's low byte, below 32 here.
    Lsl(d: Out, a: In, b: Amount) flags(Alu, d == a && low(&[d, b])), "lsl{s} {d}, {a}, {b}" => d = a << (b & 31);
    Lsr(d: Out, a: In, b: Amount) flags(Alu, d == a && low(&[d, b])), "lsr{s} {d}, {a}, {b}" => d = a >> (b & 31);
    Asr(d: Out, a: In, b: Amount) flags(Alu, d == a && low(&[d, b])), "asr{s} {d}, {a}, {b}" => d = (a as i32 >> (b & 31)) as u32;
    /// `width` bits from bit `lsb` on, zero- or sign-extended: `(d, a, lsb, width)`.
    Ubfx(d: Out, a: In, at: Num<0, 31>, n: Num<1, 32>) wide(Shift).only(at + n <= 32), "ubfx {d}, {a}, #{at}, #{n}" => d = a << (32 - at - n) >> (32 - n);
    Sbfx(d: Out, a: In, at: Num<0, 31>, n: Num<1, 32>) wide(Shift).only(at + n <= 32), "sbfx {d}, {a}, #{at}, #{n}" => d = ((a << (32 - at - n)) as i32 >> (32 - n)) as u32;
    /// Low `width` bits of `a` over bits `lsb..` of the result.
    Bfi(d: Both, a: In, at: Num<0, 31>, n: Num<1, 32>) wide(Shift).only(at + n <= 32), "bfi {d}, {a}, #{at}, #{n}" => {
        let mask = ((1u64 << n) - 1) as u32;
        d = d & !(mask << at) | (a & mask) << at
    };
    /// A byte (0 the lowest) of the operand, extended.
    Uxtb(d: Out, a: In, n: Num<0, 3>) short(Shift, n == 0 && low(&[d, a])), "uxtb {d}, {a}{by}", by = Shifted("ror", 8 * n) => d = a >> (8 * n) & 0xff;
    Sxtb(d: Out, a: In, n: Num<0, 3>) short(Shift, n == 0 && low(&[d, a])), "sxtb {d}, {a}{by}", by = Shifted("ror", 8 * n) => d = (a >> (8 * n)) as i8 as u32;
    /// The low half, extended.
    Uxth(d: Out, a: In) short(Shift, low(&[d, a])), "uxth {d}, {a}" => d = a & 0xffff;
    Sxth(d: Out, a: In) short(Shift, low(&[d, a])), "sxth {d}, {a}" => d = a as i16 as u32;

    /// Sets the flags.
    Cmp(a: In, b: In) compare(true), "cmp {a}, {b}" => m.flags = Flags::of(a, b);
    /// Constant of 0..=255.
    CmpImm(a: In, v: Num<0, 255>) compare(low(&[a])), "cmp {a}, #{v}" => m.flags = Flags::of(a, v);
    /// Subtracts 0..=255 and sets the flags by the result.
    SubsImm(d: Out, a: In, v: Num<0, 255>) compare(low(&[d, a]) && (v <= 7 || d == a)), "subs {d}, {a}, #{v}" => { m.flags = Flags::of(a, v); d = a.wrapping_sub(v) };
    /// `if r < c { r = c }` and `if r > c { r = c }`, c of -255..=255. Three instructions;
    /// spoils the flags.
    MaxImm(d: Both, v: Imm<-255, 255>) compare(false), "" => d = (d as i32).max(v) as u32;
    MinImm(d: Both, v: Imm<-255, 255>) compare(false), "" => d = (d as i32).min(v) as u32;
    /// The same with a register.
    Max(d: Both, a: In) compare(false), "" => d = (d as i32).max(a as i32) as u32;
    Min(d: Both, a: In) compare(false), "" => d = (d as i32).min(a as i32) as u32;

    /// Low half of the first, low half of the second above it.
    Pkhbt(d: Out, a: In, b: In) wide(Shift), "pkhbt {d}, {a}, {b}, lsl #16" => d = (a & 0xffff) | (b << 16);
    /// Low half of the first, high half of the second.
    Pkh(d: Out, a: In, b: In) wide(Shift), "pkhbt {d}, {a}, {b}" => d = (a & 0xffff) | (b & 0xffff_0000);
    /// High half of the first; below it the low half of the second shifted right by 1..=31.
    Pkhtb(d: Out, a: In, b: In, n: Num<1, 31>) wide(Shift), "pkhtb {d}, {a}, {b}, asr #{n}" => d = (a & 0xffff_0000) | ((b as i32 >> n) as u32 & 0xffff);
    /// Bytes 0 and 2 (after rotation) of the operand, extended into halves.
    Sxtb16(d: Out, a: In, k: Ror) wide(Dsp), "sxtb16 {d}, {a}{k}" => d = extend(0, a, k, |v| i32::from(v as i8));
    Uxtb16(d: Out, a: In, k: Ror) wide(Dsp), "uxtb16 {d}, {a}{k}" => d = extend(0, a, k, |v| i32::from(v as u8));
    /// The same, added to the halves of the first operand.
    Sxtab16(d: Out, a: In, b: In, k: Ror) wide(Dsp), "sxtab16 {d}, {a}, {b}{k}" => d = extend(a, b, k, |v| i32::from(v as i8));
    Uxtab16(d: Out, a: In, b: In, k: Ror) wide(Dsp), "uxtab16 {d}, {a}, {b}{k}" => d = extend(a, b, k, |v| i32::from(v as u8));
    /// First operand plus a byte (0 the lowest), or the low half after rotation, of the second, extended.
    Uxtab(d: Out, a: In, b: In, n: Num<0, 3>) wide(Dsp), "uxtab {d}, {a}, {b}{by}", by = Shifted("ror", 8 * n) => d = a.wrapping_add(b >> (8 * n) & 0xff);
    Sxtab(d: Out, a: In, b: In, n: Num<0, 3>) wide(Dsp), "sxtab {d}, {a}, {b}{by}", by = Shifted("ror", 8 * n) => d = a.wrapping_add((b >> (8 * n)) as i8 as u32);
    Sxtah(d: Out, a: In, b: In, k: Ror) wide(Dsp), "sxtah {d}, {a}, {b}{k}" => d = a.wrapping_add(b.rotate_right(8 * k as u32) as i16 as u32);
    /// Halves added and subtracted, wrapping; `Q` saturates.
    Sadd16(d: Out, a: In, b: In) wide(Dsp), "sadd16 {d}, {a}, {b}" => d = pairs(a, b, |a, b| a + b);
    Ssub16(d: Out, a: In, b: In) wide(Dsp), "ssub16 {d}, {a}, {b}" => d = pairs(a, b, |a, b| a - b);
    Qadd16(d: Out, a: In, b: In) wide(Dsp), "qadd16 {d}, {a}, {b}" => d = pairs(a, b, |a, b| clip((a + b).into(), 16));
    Qsub16(d: Out, a: In, b: In) wide(Dsp), "qsub16 {d}, {a}, {b}" => d = pairs(a, b, |a, b| clip((a - b).into(), 16));

    /// Bytes subtracted, wrapping.
    Usub8(d: Out, a: In, b: In) wide(Dsp), "usub8 {d}, {a}, {b}" => {
        let [a, b] = [a, b].map(u32::to_le_bytes);
        d = u32::from_le_bytes(std::array::from_fn(|i| a[i].wrapping_sub(b[i])))
    };
    /// The greater of each pair of signed bytes. Two instructions, the first of which writes the
    /// result's register before the second reads the operands: they must be other registers.
    MaxBytes(d: Early, a: In, b: In) wide(Dsp).only(d != a && d != b), "" => {
        let [a, b] = [a, b].map(u32::to_le_bytes);
        d = u32::from_le_bytes(std::array::from_fn(|i| (a[i] as i8).max(b[i] as i8) as u8))
    };

    Mul(d: Out, a: In, b: In) flags(Class::Mul, (d == a || d == b) && low(&[d, a, b])), "mul{s} {d}, {of}", of = ending(d, a, b) => d = a.wrapping_mul(b);
    /// `c + a * b` and `c - a * b`.
    Mla(d: Out, a: In, b: In, c: Addend) wide(Class::Mla), "mla {d}, {a}, {b}, {c}" => d = c.wrapping_add(a.wrapping_mul(b));
    Mls(d: Out, a: In, b: In, c: Addend) wide(Class::Mla), "mls {d}, {a}, {b}, {c}" => d = c.wrapping_sub(a.wrapping_mul(b));
    /// Low and high word of the signed 64-bit product.
    Smull(lo: Out, hi: Out, a: In, b: In) wide(LongMul).only(lo != hi), "smull {lo}, {hi}, {a}, {b}" => { lo = product(a, b) as u32; hi = (product(a, b) >> 32) as u32 };
    /// The same added to both.
    Smlal(lo: Both, hi: Both, a: In, b: In) wide(LongMul).only(lo != hi), "smlal {lo}, {hi}, {a}, {b}" => {
        let sum = (u64::from(hi) << 32 | u64::from(lo)).wrapping_add(product(a, b) as u64);
        lo = sum as u32;
        hi = (sum >> 32) as u32
    };
    /// `a.lo * b.lo + a.hi * b.hi`; `x` crosses the halves of b; `Smusd` subtracts the second.
    Smuad(d: Out, a: In, b: In) wide(Dsp), "smuad {d}, {a}, {b}" => d = dual(a, b, 0, 1);
    Smuadx(d: Out, a: In, b: In) wide(Dsp), "smuadx {d}, {a}, {b}" => d = dual(a, b.rotate_right(16), 0, 1);
    Smusd(d: Out, a: In, b: In) wide(Dsp), "smusd {d}, {a}, {b}" => d = dual(a, b, 0, -1);
    /// The same added to `c`, wrapping.
    Smlad(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlad {d}, {a}, {b}, {c}" => d = dual(a, b, c, 1);
    Smladx(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smladx {d}, {a}, {b}, {c}" => d = dual(a, b.rotate_right(16), c, 1);
    Smlsd(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlsd {d}, {a}, {b}, {c}" => d = dual(a, b, c, -1);
    /// Product of two halves: `b` bottom, `t` top.
    Smulbb(d: Out, a: In, b: In) wide(Dsp), "smulbb {d}, {a}, {b}" => d = (halves(a).0 * halves(b).0) as u32;
    Smulbt(d: Out, a: In, b: In) wide(Dsp), "smulbt {d}, {a}, {b}" => d = (halves(a).0 * halves(b).1) as u32;
    Smultb(d: Out, a: In, b: In) wide(Dsp), "smultb {d}, {a}, {b}" => d = (halves(a).1 * halves(b).0) as u32;
    Smultt(d: Out, a: In, b: In) wide(Dsp), "smultt {d}, {a}, {b}" => d = (halves(a).1 * halves(b).1) as u32;
    /// The same added to `c`, wrapping.
    Smlabb(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlabb {d}, {a}, {b}, {c}" => d = c.wrapping_add((halves(a).0 * halves(b).0) as u32);
    Smlabt(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlabt {d}, {a}, {b}, {c}" => d = c.wrapping_add((halves(a).0 * halves(b).1) as u32);
    Smlatb(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlatb {d}, {a}, {b}, {c}" => d = c.wrapping_add((halves(a).1 * halves(b).0) as u32);
    Smlatt(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlatt {d}, {a}, {b}, {c}" => d = c.wrapping_add((halves(a).1 * halves(b).1) as u32);
    /// `(a * b.half) >> 16`, and added to `c`.
    Smulwb(d: Out, a: In, b: In) wide(Dsp), "smulwb {d}, {a}, {b}" => d = wide_product(a, halves(b).0);
    Smulwt(d: Out, a: In, b: In) wide(Dsp), "smulwt {d}, {a}, {b}" => d = wide_product(a, halves(b).1);
    Smlawb(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlawb {d}, {a}, {b}, {c}" => d = c.wrapping_add(wide_product(a, halves(b).0));
    Smlawt(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smlawt {d}, {a}, {b}, {c}" => d = c.wrapping_add(wide_product(a, halves(b).1));
    /// High word of `a * b`; `r` rounds it.
    Smmul(d: Out, a: In, b: In) wide(Dsp), "smmul {d}, {a}, {b}" => d = high(a, b, 0, 0);
    Smmulr(d: Out, a: In, b: In) wide(Dsp), "smmulr {d}, {a}, {b}" => d = high(a, b, 0, ROUND);
    /// High word of `a * b + (c << 32)`; `r` rounds it.
    Smmla(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smmla {d}, {a}, {b}, {c}" => d = high(a, b, c, 0);
    Smmlar(d: Out, a: In, b: In, c: Addend) wide(Dsp), "smmlar {d}, {a}, {b}, {c}" => d = high(a, b, c, ROUND);
    /// Arithmetic right shift by 0..=31, saturated to `bits` signed or unsigned:
    /// `(d, bits, a, shift)`.
    Ssat(d: Out, bits: Num<1, 32>, a: In, n: Num<0, 31>) wide(Dsp), "ssat {d}, #{bits}, {a}{by}", by = Shifted("asr", n) => d = clip((a as i32 >> n).into(), bits) as u32;
    Usat(d: Out, bits: Num<0, 31>, a: In, n: Num<0, 31>) wide(Dsp), "usat {d}, #{bits}, {a}{by}", by = Shifted("asr", n) => d = unsigned(a as i32 >> n, bits) as u32;
    /// Left shift by 1..=31 instead.
    SsatLsl(d: Out, bits: Num<1, 32>, a: In, n: Num<1, 31>) wide(Dsp), "ssat {d}, #{bits}, {a}, lsl #{n}" => d = clip(((a << n) as i32).into(), bits) as u32;
    /// Each half saturated.
    Ssat16(d: Out, bits: Num<1, 16>, a: In) wide(Dsp), "ssat16 {d}, #{bits}, {a}" => d = pairs(a, 0, |v, _| clip(v.into(), bits));
    Usat16(d: Out, bits: Num<0, 15>, a: In) wide(Dsp), "usat16 {d}, #{bits}, {a}" => d = pairs(a, 0, |v, _| unsigned(v, bits));
}

impl Inst {
    /// Registers written, and registers read, in the order of their text.
    pub fn operands(&self) -> (Vec<Reg>, Vec<Reg>) {
        let (mut written, mut read) = (Vec::new(), Vec::new());
        self.visit(&mut |place, touch| {
            if touch.writes() && place < FLOATS {
                written.push(Reg(place));
            }
            if touch.reads() && place < FLOATS {
                read.push(Reg(place));
            }
        });
        (written, read)
    }
    /// Whether control may leave the straight line after it, or enter at it.
    pub fn ends(&self) -> bool {
        use Inst::*;
        matches!(self, Label(_) | BranchBack(..) | Branch(..) | Jump(_) | Enter(..))
    }
    /// The register that it touches so.
    pub fn touched(&self, so: table::Touch) -> Option<Reg> {
        let mut found = None;
        self.visit(&mut |place, touch| {
            if touch == so {
                found = Some(Reg(place));
            }
        });
        found
    }
}
