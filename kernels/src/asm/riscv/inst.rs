//! The instructions of a block for RISC-V, a row each ([`crate::asm::table`]): RV32IM, and the
//! integer vectors of V (Zve32x).
//!
//! One row is one machine instruction unless its comment says more. Bytes are those of the C
//! extension's 16-bit forms, which assemblers choose by themselves wherever one fits. Source: The
//! RISC-V Instruction Set Manual, Volume I, chapter 16 (C 2.0).

#[cfg(any(test, feature = "testing"))]
use crate::asm::riscv::simulate::Model;
use crate::asm::riscv::{SP, ZERO};
#[cfg(any(test, feature = "testing"))]
use crate::asm::simulate::product;
use crate::asm::table::{self, Both, Imm, In, Num, Out, choices, instructions, plain_operands, registers};

/// A numeric label.
pub(crate) type Label = u32;
type Base = table::Base<X>;
type Amount = table::Amount<X>;

/// The place of the first vector register.
pub const VECTORS: u32 = 32;

const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

registers! {
    /// A scalar register by number.
    X(u8) from 0, |n| NAMES.get(n as usize).unwrap_or(&"none").to_string();
    /// A vector register by number; of a group, its first.
    V(u8) from VECTORS, |n| format!("v{n}");
}

plain_operands! {
    Label: [];
}

choices! {
    /// Registers of a group, as `vsetvli` names them; 16-bit elements are the measure of a kernel.
    Lmul { Half "mf2" M1 "m1" M2 "m2" M4 "m4" M8 "m8" }
}

/// What the cost table tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Label,
    /// Branches that lead back or always, and those that are for the exception.
    Taken,
    Passed,
    Load,
    Store,
    Mul,
    MulHigh,
    /// So many plain instructions.
    Alu(u8),
    Vector(Lanes),
}

/// Widths of a vector instruction's results and operands, against the elements'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// The elements' width.
    Same,
    /// A result of twice the width.
    Wide,
    /// An operand of twice the width.
    Narrow,
    /// An operand of so many times less.
    Extend(u32),
    /// Bytes of memory, whatever the elements' width.
    Bytes,
    /// Only on elements of these bits.
    Only(u32),
}

/// What size and cost ask of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub kind: Kind,
    pub bytes: u32,
    /// Of a branch with a short form: its label, and how many bytes that form reaches back.
    pub near: Option<(Label, i32)>,
    pub encodes: bool,
}

const fn of(kind: Kind, bytes: u32) -> Form {
    Form { kind, bytes, near: None, encodes: true }
}
/// Short under a condition.
const fn short(kind: Kind, short: bool) -> Form {
    of(kind, if short { 2 } else { 4 })
}
const fn alu(short: bool) -> Form {
    self::short(Kind::Alu(1), short)
}
const fn branch(kind: Kind, short: bool, label: Label, reach: i32) -> Form {
    let near = if short { Some((label, reach)) } else { None };
    Form { near, ..self::short(kind, short) }
}
const fn vector(lanes: Lanes) -> Form {
    of(Kind::Vector(lanes), 4)
}

/// Whether all are of the eight registers that most compressed instructions name.
fn popular(registers: &[X]) -> bool {
    registers.iter().all(|x| (8..16).contains(&x.0))
}

/// A constant of six bits, sign included.
fn small(v: i32) -> bool {
    (-32..32).contains(&v)
}

pub(crate) fn word(data: X, address: X, offset: i32) -> bool {
    let stack = address == SP && (0..256).contains(&offset);
    let near = popular(&[data, address]) && (0..128).contains(&offset);
    (stack || near) && offset % 4 == 0
}

pub(crate) fn sum(d: X, a: X, v: i32) -> bool {
    match (d == a, a == SP) {
        _ if v == 0 => true,
        (true, true) => small(v) || v % 16 == 0 && (-512..512).contains(&v),
        (true, false) => small(v),
        (false, true) => popular(&[d]) && v % 4 == 0 && (0..1024).contains(&v),
        _ => a == ZERO && small(v),
    }
}

/// Any constant: its upper twenty bits, then the rest.
fn constant(d: X, v: i32) -> Form {
    if (-2048..2048).contains(&v) {
        return alu(small(v));
    }
    let upper = v.wrapping_add(0x800) >> 12;
    let rest = v.wrapping_sub(upper << 12);
    let first = if small(upper) { 2 } else { 4 };
    let second = if rest == 0 { 0 } else { alu(sum(d, d, rest)).bytes };
    of(Kind::Alu(if v % 4096 == 0 { 1 } else { 2 }), first + second)
}

use Lanes::{Bytes, Extend, Narrow, Only, Same, Wide};

instructions! {
    form Form, text _s, model m: Model<'_>;

    Label(l: Label) of(Kind::Label, 0), "{l}:" => {};
    /// Branches to an earlier label while the registers differ.
    BneBack(a: In<X>, b: In<X>, l: Label) branch(Kind::Taken, b == ZERO && popular(&[a]), l, 256), "bne {a}, {b}, {l}b" => if a != b { m.back(l) };
    /// Branches to a later label if any bit is set; if the top bit is not.
    BnezOn(a: In<X>, l: Label) branch(Kind::Passed, popular(&[a]), l, 256), "bnez {a}, {l}f" => if a != 0 { m.on(l) };
    BgezOn(a: In<X>, l: Label) of(Kind::Passed, 4), "bgez {a}, {l}f" => if a as i32 >= 0 { m.on(l) };
    Jump(l: Label) branch(Kind::Taken, true, l, 2048), "j {l}f" => m.on(l);
    Lb(d: Out<X>, a: Base, o: Imm<-2048, 2047>) of(Kind::Load, 4), "lb {d}, {o}({a})" => d = m.memory.byte(a.wrapping_add(o as u32)) as i8 as u32;
    Lbu(d: Out<X>, a: Base, o: Imm<-2048, 2047>) of(Kind::Load, 4), "lbu {d}, {o}({a})" => d = m.memory.byte(a.wrapping_add(o as u32)).into();
    Lhu(d: Out<X>, a: Base, o: Imm<-2048, 2047>) of(Kind::Load, 4), "lhu {d}, {o}({a})" => d = m.memory.aligned_half(a.wrapping_add(o as u32)).into();
    Lw(d: Out<X>, a: Base, o: Imm<-2048, 2047>) short(Kind::Load, word(d, a, o)), "lw {d}, {o}({a})" => d = m.memory.aligned(a.wrapping_add(o as u32));
    Sb(v: In<X>, a: Base, o: Imm<-2048, 2047>) of(Kind::Store, 4), "sb {v}, {o}({a})" => m.memory.put(a.wrapping_add(o as u32), v, 1);
    Sh(v: In<X>, a: Base, o: Imm<-2048, 2047>) of(Kind::Store, 4), "sh {v}, {o}({a})" => m.memory.put(a.wrapping_add(o as u32), v, 2);
    Sw(v: In<X>, a: Base, o: Imm<-2048, 2047>) short(Kind::Store, word(v, a, o)), "sw {v}, {o}({a})" => m.memory.put_aligned(a.wrapping_add(o as u32), v);
    /// Any constant.
    Li(d: Out<X>, v: Imm<{ i32::MIN }, { i32::MAX }>) constant(d, v), "li {d}, {v}" => d = v as u32;
    Mv(d: Out<X>, a: In<X>) alu(a != ZERO), "mv {d}, {a}" => d = a;
    Add(d: Out<X>, a: In<X>, b: In<X>) alu(d == a || d == b), "add {d}, {a}, {b}" => d = a.wrapping_add(b);
    Sub(d: Out<X>, a: In<X>, b: In<X>) alu(d == a && popular(&[d, b])), "sub {d}, {a}, {b}" => d = a.wrapping_sub(b);
    Or(d: Out<X>, a: In<X>, b: In<X>) alu((d == a || d == b) && popular(&[d, a, b])), "or {d}, {a}, {b}" => d = a | b;
    /// Constant of -2048..=2047.
    Addi(d: Out<X>, a: In<X>, v: Imm<-2048, 2047>) alu(sum(d, a, v)), "addi {d}, {a}, {v}" => d = a.wrapping_add(v as u32);
    Andi(d: Out<X>, a: In<X>, v: Imm<-2048, 2047>) alu(d == a && popular(&[d]) && small(v)), "andi {d}, {a}, {v}" => d = a & v as u32;
    Slli(d: Out<X>, a: In<X>, n: Num<0, 31>) alu(d == a && n > 0), "slli {d}, {a}, {n}" => d = a << n;
    Srai(d: Out<X>, a: In<X>, n: Num<0, 31>) alu(d == a && popular(&[d]) && n > 0), "srai {d}, {a}, {n}" => d = (a as i32 >> n) as u32;
    Sra(d: Out<X>, a: In<X>, b: Amount) alu(false), "sra {d}, {a}, {b}" => d = (a as i32 >> (b & 31)) as u32;
    Mul(d: Out<X>, a: In<X>, b: In<X>) of(Kind::Mul, 4), "mul {d}, {a}, {b}" => d = a.wrapping_mul(b);
    /// High word of the signed product.
    Mulh(d: Out<X>, a: In<X>, b: In<X>) of(Kind::MulHigh, 4), "mulh {d}, {a}, {b}" => d = (product(a, b) >> 32) as u32;
    /// `a = max(a, b)` and `a = min(a, b)`, signed: a branch over a move.
    Max(d: Both<X>, a: In<X>) of(Kind::Taken, if a == ZERO { 8 } else { 6 }), "bge {d}, {a}, 99f\nmv {d}, {a}\n99:" => d = (d as i32).max(a as i32) as u32;
    Min(d: Both<X>, a: In<X>) of(Kind::Taken, if a == ZERO { 8 } else { 6 }), "bge {a}, {d}, 99f\nmv {d}, {a}\n99:" => d = (d as i32).min(a as i32) as u32;

    /// How many of `n` (in a register) elements a strip takes, of 8, 16 or 32 bits.
    Vset(d: Out<X>, n: In<X>, bits: Num<8, 32, 8>, of: Lmul) Form { encodes: bits != 24 && (bits < 32 || of != Lmul::Half) && n != ZERO, ..alu(false) }, "vsetvli {d}, {n}, e{bits}, {of}, ta, ma" => d = m.length(n, bits, of);
    /// Rounding of `vnclip`: down.
    RoundDown() alu(false), "csrwi vxrm, 2" => m.round_down = true;
    /// Loads and stores of the elements' width that is named; the strip's element count.
    Vle8(d: Out<V>, a: Base) vector(Bytes), "vle8.v {d}, ({a})" => m.load(d, a, 8);
    Vle32(d: Out<V>, a: Base) vector(Only(32)), "vle32.v {d}, ({a})" => m.load(d, a, 32);
    Vse8(v: In<V>, a: Base) vector(Bytes), "vse8.v {v}, ({a})" => m.store(v, a);
    /// Loads bytes at unsigned offsets from an address.
    Vluxei8(d: Out<V>, a: Base, i: In<V>) vector(Only(8)), "vluxei8.v {d}, ({a}), {i}" => m.gather(d, a, i);
    /// Every element becomes the register, the other's.
    VmvX(d: Out<V>, x: In<X>) vector(Same), "vmv.v.x {d}, {x}" => m.scalar(d, d, x, |_, x| x);
    VmvV(d: Out<V>, a: In<V>) vector(Same), "vmv.v.v {d}, {a}" => m.binary(d, a, a, |a, _| a);
    /// Elements of half the width, sign-extended.
    Vsext2(d: Out<V>, a: In<V>) vector(Extend(2)), "vsext.vf2 {d}, {a}" => m.extend(d, a, 2);
    /// Elements of a quarter of the width, sign-extended.
    Vsext4(d: Out<V>, a: In<V>) vector(Extend(4)), "vsext.vf4 {d}, {a}" => m.extend(d, a, 4);
    VmulX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vmul.vx {d}, {a}, {x}" => m.scalar(d, a, x, i64::wrapping_mul);
    VmulV(d: Out<V>, a: In<V>, b: In<V>) vector(Same), "vmul.vv {d}, {a}, {b}" => m.binary(d, a, b, i64::wrapping_mul);
    VsubX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vsub.vx {d}, {a}, {x}" => m.scalar(d, a, x, |a, x| a - x);
    VandX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vand.vx {d}, {a}, {x}" => m.scalar(d, a, x, |a, x| a & x);
    /// `d += scalar * v`, `d += u * v`, into elements of twice the width.
    VwmaccX(d: Both<V>, x: In<X>, a: In<V>) vector(Wide), "vwmacc.vx {d}, {x}, {a}" => { let x = m.element_of(x); m.widened(d, |m, i| m.lane(a, i) * x) };
    VwmaccV(d: Both<V>, a: In<V>, b: In<V>) vector(Wide), "vwmacc.vv {d}, {a}, {b}" => m.widened(d, |m, i| m.lane(a, i) * m.lane(b, i));
    Vmulh(d: Out<V>, a: In<V>, b: In<V>) vector(Same), "vmulh.vv {d}, {a}, {b}" => { let bits = m.bits; m.binary(d, a, b, |a, b| (a * b) >> bits) };
    VmulhX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vmulh.vx {d}, {a}, {x}" => { let bits = m.bits; m.scalar(d, a, x, |a, x| (a * x) >> bits) };
    VaddX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vadd.vx {d}, {a}, {x}" => m.scalar(d, a, x, |a, x| a + x);
    VaddV(d: Out<V>, a: In<V>, b: In<V>) vector(Same), "vadd.vv {d}, {a}, {b}" => m.binary(d, a, b, |a, b| a + b);
    VsraV(d: Out<V>, a: In<V>, b: In<V>) vector(Same), "vsra.vv {d}, {a}, {b}" => { let most = i64::from(m.bits - 1); m.binary(d, a, b, |a, b| a >> (b & most)) };
    VsraX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vsra.vx {d}, {a}, {x}" => { let most = i64::from(m.bits - 1); m.scalar(d, a, x, |a, x| a >> (x & most)) };
    /// Arithmetic right shift to half the width, saturated: by a register, by nothing.
    VnclipX(d: Out<V>, a: In<V>, x: In<X>) vector(Narrow), "vnclip.wx {d}, {a}, {x}" => m.narrow(d, a, x);
    Vnclip0(d: Out<V>, a: In<V>) vector(Narrow), "vnclip.wi {d}, {a}, 0" => m.narrow(d, a, 0);
    VmaxX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vmax.vx {d}, {a}, {x}" => m.scalar(d, a, x, i64::max);
    VmaxV(d: Out<V>, a: In<V>, b: In<V>) vector(Same), "vmax.vv {d}, {a}, {b}" => m.binary(d, a, b, i64::max);
    VminX(d: Out<V>, a: In<V>, x: In<X>) vector(Same), "vmin.vx {d}, {a}, {x}" => m.scalar(d, a, x, i64::min);
}
