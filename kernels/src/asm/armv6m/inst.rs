//! The instructions of Armv6-M, and the few of Armv7-M that wide code may hold, a row each
//! ([`crate::asm::table`]). The first register is the result. Those that set flags in their 16-bit
//! encoding are marked with an `s` when printed.
//!
//! Sources: Armv6-M Architecture Reference Manual (Arm DDI 0419E, chapter A6.7) for what has an
//! encoding; of wide rows, the comment says which registers are used so.

#[cfg(any(test, feature = "testing"))]
use crate::asm::armv6m::simulate::Model;
use crate::asm::armv6m::{LR, Label, SP, list};
#[cfg(any(test, feature = "testing"))]
use crate::asm::simulate::{clip, product};
use crate::asm::table::{self, Num, Operand, Touch, arm, choices, instructions, plain_operands, registers};
#[cfg(any(test, feature = "testing"))]
use crate::asm::table::{Draw, Value};

type Out = table::Out<R>;
type In = table::In<R>;
type Both = table::Both<R>;
type Addend = table::Addend<R>;
type Base = table::Base<R>;
type Moved = table::Moved<R>;
type Index = table::Index<R>;

registers! {
    /// A machine register: r0..r12, 13 the stack pointer, 14 the link register.
    R(u8) from 0, arm;
}

plain_operands! {
    Label: [];
}

choices! {
    /// Conditions of a branch: equality, and the carry of an unsigned comparison or of a shift.
    Cond {
        Eq "eq"
        Ne "ne"
        /// Carry set, unsigned at least.
        Cs "cs"
        /// Carry clear, unsigned less.
        Cc "cc"
        /// Unsigned at most.
        Ls "ls"
    }
}

/// The registers of a mask, that are loaded or stored.
pub struct Loaded;
pub struct Stored;

macro_rules! masks {
    ($($role:ident $touch:ident)*) => { $(
        impl Operand for $role {
            type Field = u16;
            fn visit(mask: u16, f: &mut dyn FnMut(u32, Touch)) {
                (0..15).filter(|n| mask >> n & 1 == 1).for_each(|n| f(n, Touch::$touch));
            }
            #[cfg(any(test, feature = "testing"))]
            fn draw(_: &mut dyn Draw) -> Option<u16> {
                None
            }
        }
    )* };
}
masks! { Loaded Write Stored Read }

/// The mask; the model reads its registers.
#[cfg(any(test, feature = "testing"))]
impl<'a> Value<Model<'a>> for Stored {
    type Value = u16;
    fn get(mask: u16, _: &Model) -> u16 {
        mask
    }
}

/// The mask, and what is loaded.
#[cfg(any(test, feature = "testing"))]
impl<'a> Value<Model<'a>> for Loaded {
    type Value = (u16, [u32; 15]);
    fn get(mask: u16, m: &Model) -> Self::Value {
        (mask, m.r)
    }
    fn put(_: u16, (mask, values): Self::Value, m: &mut Model) {
        (0..15).filter(|n| mask >> n & 1 == 1).for_each(|n| m.r[n] = values[n]);
    }
}

/// What the cost table tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Label,
    /// A test out of a loop is mostly not taken, one back into it mostly is: counted as taken.
    Branch,
    /// Of so many words; with a jump where `pc` is popped.
    Many(u32),
    Return(u32),
    Load,
    /// They come in pairs, before further loads.
    LoadPair,
    Store,
    Alu,
    Mul,
    Mla,
    LongMul,
}

/// What size, cost and encoding ask of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub kind: Kind,
    /// Of Armv7-M, in four bytes; else of two.
    pub wide: bool,
    pub encodes: bool,
}

const fn of(kind: Kind, encodes: bool) -> Form {
    Form { kind, wide: false, encodes }
}
const fn alu(encodes: bool) -> Form {
    of(Kind::Alu, encodes)
}
const fn wide(kind: Kind, encodes: bool) -> Form {
    Form { kind, wide: true, encodes }
}

fn low(regs: &[R]) -> bool {
    regs.iter().all(|r| r.0 < 8)
}
fn high(r: R) -> bool {
    (8..=12).contains(&r.0)
}
/// Any but the stack pointer and the link register.
fn plain(regs: &[R]) -> bool {
    regs.iter().all(|r| r.0 <= 12)
}
fn near(d: R, b: R, o: u32) -> bool {
    low(&[d]) && o.is_multiple_of(4) && (b == SP && o <= 1020 || low(&[b]) && o <= 124)
}
const fn many(mask: u16) -> Kind {
    Kind::Many(mask.count_ones())
}
/// Whether the base is moved: unless it is loaded.
fn moves(b: R, mask: u16) -> &'static str {
    if mask >> b.0 & 1 == 1 { "" } else { "!" }
}

instructions! {
    form Form, text s, model m: Model<'_>;

    Label(l: Label) of(Kind::Label, true), "{l}:" => {};
    Branch(l: Label) of(Kind::Branch, true), "b {l}{s}" => m.go(l);
    BranchIf(c: Cond, l: Label) of(Kind::Branch, true), "b{c} {l}{s}" => if m.holds(c) { m.go(l) };
    /// Registers of a mask, ascending from the address; the base moves on unless it is loaded.
    Ldm(b: Moved, l: Loaded) of(many(l), low(&[b]) && l != 0 && l >> 8 == 0), "ldmia {b}{w}, {{{of}}}", w = moves(b, l), of = list(l, "") => b = m.loaded(b, &mut l);
    Stm(b: Moved, l: Stored) of(many(l), low(&[b]) && l != 0 && l >> 8 == 0 && l >> b.0 & 1 == 0), "stmia {b}!, {{{of}}}", of = list(l, "") => b = m.store_many(b, l);
    /// On the stack; bit 14 of a mask is the link register, as the program counter when popped.
    Push(l: Stored) of(many(l), l != 0 && l & !0x40ff == 0), "push {{{of}}}", of = list(l, "lr") => m.push(l);
    Pop(l: Loaded) of(if l >> 14 == 1 { Kind::Return(l.count_ones()) } else { many(l) }, l != 0 && l & !0x40ff == 0), "pop {{{of}}}", of = list(l, "pc") => m.r[13] = m.loaded(m.r[13], &mut l);
    /// Words at a byte offset of 0..=124, or 0..=1020 from the stack pointer.
    Ldr(d: Out, b: Base, o: Num<0, 1020, 4>) of(Kind::Load, near(d, b, o)), "ldr {d}, [{b}, #{o}]" => d = m.memory.aligned(b + o);
    Str(v: In, b: Base, o: Num<0, 1020, 4>) of(Kind::Store, near(v, b, o)), "str {v}, [{b}, #{o}]" => m.memory.put_aligned(b + o, v);
    /// The low byte, at an offset of 0..=31.
    Strb(v: In, b: Base, o: Num<0, 31>) of(Kind::Store, low(&[v, b])), "strb {v}, [{b}, #{o}]" => m.memory.put(b + o, v, 1);
    /// A signed byte at the sum of two registers.
    Ldrsb(d: Out, a: Base, b: Index) of(Kind::Load, low(&[d, a, b])), "ldrsb {d}, [{a}, {b}]" => d = m.memory.byte(a.wrapping_add(b)) as i8 as u32;
    /// The low byte there.
    StrbAt(v: In, a: Base, b: Index) of(Kind::Store, low(&[v, a, b])), "strb {v}, [{a}, {b}]" => m.memory.put(a.wrapping_add(b), v, 1);
    /// The stack pointer plus an offset.
    AddSp(d: Out, o: Num<0, 1020, 4>) alu(low(&[d])), "add {d}, sp, #{o}" => d = m.r[13] + o;
    /// Moves the stack pointer down or up.
    SubFrame(o: Num<0, 508, 4>) alu(true), "sub sp, sp, #{o}" => m.lower(o);
    AddFrame(o: Num<0, 508, 4>) alu(true), "add sp, sp, #{o}" => m.r[13] += o;
    /// Any registers, no flags.
    Mov(d: Out, a: In) alu(true), "mov {d}, {a}" => d = a;
    AddAny(d: Both, a: In) alu(true), "add {d}, {a}" => d = d.wrapping_add(a);
    /// 0..=255.
    MovImm(d: Out, v: Num<0, 255>) alu(low(&[d])), "movs {d}, #{v}" => d = m.flagged(v, m.c);
    /// In place, 0..=255.
    AddImm(d: Both, v: Num<0, 255>) alu(low(&[d])), "adds {d}, #{v}" => d = m.sum(d, v, false);
    SubImm(d: Both, v: Num<0, 255>) alu(low(&[d])), "subs {d}, #{v}" => d = m.sum(d, !v, true);
    Add(d: Out, a: In, b: In) alu(low(&[d, a, b])), "adds {d}, {a}, {b}" => d = m.sum(a, b, false);
    Sub(d: Out, a: In, b: In) alu(low(&[d, a, b])), "subs {d}, {a}, {b}" => d = m.sum(a, !b, true);
    /// In place, with the carry.
    Adc(d: Both, a: In) alu(low(&[d, a])), "adcs {d}, {a}" => d = m.sum(d, a, m.c);
    /// In place.
    Mul(d: Both, a: In) of(Kind::Mul, low(&[d, a])), "muls {d}, {a}, {d}" => d = m.flagged(d.wrapping_mul(a), m.c);
    And(d: Both, a: In) alu(low(&[d, a])), "ands {d}, {a}" => d = m.flagged(d & a, m.c);
    Bic(d: Both, a: In) alu(low(&[d, a])), "bics {d}, {a}" => d = m.flagged(d & !a, m.c);
    Mvn(d: Out, a: In) alu(low(&[d, a])), "mvns {d}, {a}" => d = m.flagged(!a, m.c);
    Lsl(d: Out, a: In, n: Num<0, 31>) alu(low(&[d, a])), "lsls {d}, {a}, #{n}" => d = m.flagged(a << n, if n == 0 { m.c } else { a >> (32 - n) & 1 == 1 });
    Lsr(d: Out, a: In, n: Num<1, 32>) alu(low(&[d, a])), "lsrs {d}, {a}, #{n}" => d = m.flagged((u64::from(a) >> n) as u32, a >> (n - 1) & 1 == 1);
    Asr(d: Out, a: In, n: Num<1, 32>) alu(low(&[d, a])), "asrs {d}, {a}, #{n}" => d = m.flagged((i64::from(a as i32) >> n) as u32, a >> (n - 1) & 1 == 1);
    Sxtb(d: Out, a: In) alu(low(&[d, a])), "sxtb {d}, {a}" => d = a as i8 as u32;
    Sxth(d: Out, a: In) alu(low(&[d, a])), "sxth {d}, {a}" => d = a as i16 as u32;
    /// Any registers.
    Cmp(a: In, b: In) alu(a != SP || b != SP), "cmp {a}, {b}" => (m.z, m.c) = (a == b, a >= b);
    CmpImm(a: In, v: Num<0, 255>) alu(low(&[a])), "cmp {a}, #{v}" => (m.z, m.c) = (a == v, a >= v);

    /// Armv7-M: loads a word and moves the base on, any registers.
    LoadNext(d: Out, b: Moved) wide(Kind::Load, d != b && d.0 <= 12), "ldr {d}, [{b}], #4" => { d = m.memory.aligned(b); b += 4 };
    /// Armv7-M: pushes several of r0..r12, high ones among them: of low ones alone the assembler
    /// makes 16 bits.
    PushAny(l: Stored) wide(many(l), l.count_ones() > 1 && l >> 8 != 0 && l >> 13 == 0), "push {{{of}}}", of = list(l, "") => m.push(l);
    /// Armv7-M: shifts one of r8..r12 in place and sets the flags.
    LslAny(d: Both, n: Num<1, 31>) wide(Kind::Alu, high(d)), "lsls {d}, {d}, #{n}" => d = m.flagged(d << n, d >> (32 - n) & 1 == 1);
    /// Armv7-M: the third register, shifted right, saturated to so many bits; any registers.
    Ssat(d: Out, bits: Num<1, 32>, a: In, n: Num<1, 31>) wide(Kind::Alu, plain(&[d, a])), "ssat {d}, #{bits}, {a}, asr #{n}" => d = clip((a as i32 >> n).into(), bits) as u32;
    /// Armv7-M: low and high word of a signed product, any registers.
    Smull(lo: Out, hi: Out, a: In, b: In) wide(Kind::LongMul, lo != hi && plain(&[lo, hi, a, b])), "smull {lo}, {hi}, {a}, {b}" => { lo = product(a, b) as u32; hi = (product(a, b) >> 32) as u32 };
    /// Armv7-M: a product, and one plus the fourth register; any registers.
    MulAny(d: Out, a: In, b: In) wide(Kind::Mul, plain(&[d, a, b])), "mul {d}, {a}, {b}" => d = a.wrapping_mul(b);
    Mla(d: Out, a: In, b: In, c: Addend) wide(Kind::Mla, plain(&[d, a, b, c])), "mla {d}, {a}, {b}, {c}" => d = a.wrapping_mul(b).wrapping_add(c);
    /// Armv7-M: a signed byte, and the base moves on; any registers.
    LdrsbNext(d: Out, b: Moved) wide(Kind::LoadPair, d != b && d.0 <= 12 && b != SP), "ldrsb {d}, [{b}], #1" => { d = m.memory.byte(b) as i8 as u32; b += 1 };
    /// Armv7-M: one of r8..lr at a byte offset of 0..=4095.
    LdrWide(d: Out, b: Base, o: Num<0, 4095>) wide(Kind::Load, high(d) || d == LR), "ldr {d}, [{b}, #{o}]" => d = m.memory.aligned(b + o);
    StrWide(v: In, b: Base, o: Num<0, 4095>) wide(Kind::Store, high(v)), "str {v}, [{b}, #{o}]" => m.memory.put_aligned(b + o, v);
    /// Armv7-M: any of r0..r12 from one of r8..r12 on, which moves on.
    LdmAny(b: Moved, l: Loaded) wide(many(l), high(b) && l.count_ones() > 1 && l >> 13 == 0 && l >> b.0 & 1 == 0), "ldmia {b}!, {{{of}}}", of = list(l, "") => b = m.loaded(b, &mut l);
    StmAny(b: Moved, l: Stored) wide(many(l), high(b) && l.count_ones() > 1 && l >> 13 == 0 && l >> b.0 & 1 == 0), "stmia {b}!, {{{of}}}", of = list(l, "") => b = m.store_many(b, l);
    /// Armv7-M: adds 0..=4095 to one of r8..r12, no flags.
    AddWide(d: Both, v: Num<0, 4095>) wide(Kind::Alu, high(d)), "add {d}, {d}, #{v}" => d = d.wrapping_add(v);
    /// Armv7-M, in place: one of r8..r12 shifted, the carry as of [`Inst::Asr`].
    AsrAny(d: Both, n: Num<1, 31>) wide(Kind::Alu, high(d)), "asrs {d}, {d}, #{n}" => d = m.flagged((d as i32 >> n) as u32, d >> (n - 1) & 1 == 1);
    /// Armv7-M, in place: adds one of r8..r12 with the carry.
    AdcAny(d: Both, a: In) wide(Kind::Alu, plain(&[d]) && high(a)), "adc {d}, {d}, {a}" => d = d.wrapping_add(a).wrapping_add(m.c.into());
    /// Armv7-M, in place: subtracts another register, shifted left. No flags.
    SubLsl(d: Both, a: In, n: Num<1, 31>) wide(Kind::Alu, plain(&[d, a])), "sub {d}, {d}, {a}, lsl #{n}" => d = d.wrapping_sub(a << n);
}
