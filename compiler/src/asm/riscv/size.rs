//! Bytes of machine code, with the 16-bit forms of the C extension, which assemblers choose by
//! themselves wherever one fits.
//!
//! Source: The RISC-V Instruction Set Manual, Volume I, chapter 16 (C 2.0).

use crate::asm::riscv::{Inst, SP, X, ZERO};

/// One of the eight registers that most compressed instructions name.
fn popular(x: X) -> bool {
    (8..16).contains(&x.0)
}

/// A constant of six bits, sign included.
fn small(v: i32) -> bool {
    (-32..32).contains(&v)
}

fn word(data: X, address: X, offset: i32) -> u32 {
    let stack = address == SP && (0..256).contains(&offset);
    let near = popular(data) && popular(address) && (0..128).contains(&offset);
    if (stack || near) && offset % 4 == 0 { 2 } else { 4 }
}

fn add_constant(d: X, a: X, v: i32) -> u32 {
    let short = match (d == a, a == SP) {
        _ if v == 0 => true,
        (true, true) => small(v) || v % 16 == 0 && (-512..512).contains(&v),
        (true, false) => small(v),
        (false, true) => popular(d) && v % 4 == 0 && (0..1024).contains(&v),
        _ => a == ZERO && small(v),
    };
    if short { 2 } else { 4 }
}

/// Any constant: its upper twenty bits, then the rest.
fn constant(d: X, v: i32) -> u32 {
    if (-2048..2048).contains(&v) {
        return if small(v) { 2 } else { 4 };
    }
    let upper = v.wrapping_add(0x800) >> 12;
    let rest = v.wrapping_sub(upper << 12);
    let first = if small(upper) && upper != 0 { 2 } else { 4 };
    first + if rest == 0 { 0 } else { add_constant(d, d, rest) }
}

/// Bytes of an instruction; `near`: its label is close enough for a short branch.
fn bytes(inst: &Inst, near: impl Fn(u32, i32) -> bool) -> u32 {
    use Inst::*;
    let short = match *inst {
        Label(_) => return 0,
        BneBack(a, b, l) => b == ZERO && popular(a) && near(l, 256),
        BnezOn(a, l) => popular(a) && near(l, 256),
        Jump(l) => near(l, 2048),
        Lw(d, a, o) | Sw(d, a, o) => return word(d, a, o),
        Li(d, v) => return constant(d, v),
        Mv(_, a) => a != ZERO,
        Add(d, a, b) => d == a || d == b,
        Sub(d, a, b) => d == a && popular(d) && popular(b),
        Or(d, a, b) => (d == a || d == b) && [d, a, b].into_iter().all(popular),
        Addi(d, a, v) => return add_constant(d, a, v),
        Andi(d, a, v) => d == a && popular(d) && small(v),
        Slli(d, a, n) => d == a && n > 0,
        Srai(d, a, n) => d == a && popular(d) && n > 0,
        // A branch over a move.
        Max(_, a) | Min(_, a) => return if a == ZERO { 8 } else { 6 },
        _ => false,
    };
    if short { 2 } else { 4 }
}

/// Bytes of a function, entry and exit included.
pub(crate) fn function(insts: &[Inst], slots: u32, saved: &[X], stack: u32) -> u32 {
    let mut sizes: Vec<u32> = insts.iter().map(|i| bytes(i, |_, _| true)).collect();
    // Branches grow until all reach their labels.
    loop {
        let mut at = vec![0i32; insts.len() + 1];
        for (i, &size) in sizes.iter().enumerate() {
            at[i + 1] = at[i] + size as i32;
        }
        let label = |l: u32| insts.iter().position(|i| *i == Inst::Label(l)).map_or(0, |i| at[i]);
        let grow = |(i, inst): (usize, &Inst)| {
            bytes(inst, |l, reach| (-reach..reach).contains(&(label(l) - at[i]))).max(sizes[i])
        };
        let grown: Vec<u32> = insts.iter().enumerate().map(grow).collect();
        if grown == sizes {
            break;
        }
        sizes = grown;
    }
    let frame = match stack {
        0 => 0,
        n => add_constant(SP, SP, -(n as i32)) + add_constant(SP, SP, n as i32),
    };
    let kept: u32 = saved.iter().zip(0..).map(|(&r, i)| 2 * word(r, SP, 4 * (slots as i32 + i))).sum();
    sizes.iter().sum::<u32>() + frame + kept + 2
}
