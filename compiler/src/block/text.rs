//! Assembly text: unified syntax that GNU as and LLVM read alike, numeric labels.

use super::assign::Assigned;
use super::{Cond, Inst, Label, Reg, Ror};
use std::fmt::Write;

fn r(reg: Reg) -> String {
    match reg.0 {
        14 => "lr".into(),
        n => format!("r{n}"),
    }
}

fn ror(ror: Ror) -> &'static str {
    match ror {
        Ror::R0 => "",
        Ror::R8 => ", ror #8",
    }
}

/// The rotation that brings byte `n` down.
fn byte(n: u32) -> &'static str {
    ["", ", ror #8", ", ror #16", ", ror #24"][n as usize % 4]
}

/// One instruction per line, entry and exit included.
pub(super) fn print(block: &Assigned) -> String {
    let saved: Vec<String> = block.saved.iter().map(|&n| r(Reg(n))).collect();
    let back: Vec<String> =
        block.saved.iter().map(|&n| if n == 14 { "pc".into() } else { r(Reg(n)) }).collect();
    let mut text = String::new();
    let _ = writeln!(text, "push {{{}}}", saved.join(", "));
    if block.slots > 0 {
        let _ = writeln!(text, "sub sp, sp, #{}", 4 * block.slots);
    }
    for inst in &block.insts {
        line(&mut text, block, inst);
    }
    if block.slots > 0 {
        let _ = writeln!(text, "add sp, sp, #{}", 4 * block.slots);
    }
    let _ = write!(text, "pop {{{}}}", back.join(", "));
    text
}

fn line(text: &mut String, block: &Assigned, inst: &Inst) {
    use Inst::*;
    // Writing to a string cannot fail.
    let _ = match *inst {
        Label(self::Label(l)) => writeln!(text, "{l}:"),
        BranchBack(Cond::Ne, self::Label(l)) => writeln!(text, "bne {l}b"),
        Ldr(d, a, o) => writeln!(text, "ldr {}, [{}, #{o}]", r(d), r(a)),
        Ldrsb(d, a, o) => writeln!(text, "ldrsb {}, [{}, #{o}]", r(d), r(a)),
        Str(s, a, o) => writeln!(text, "str {}, [{}, #{o}]", r(s), r(a)),
        Strb(s, a, o) => writeln!(text, "strb {}, [{}, #{o}]", r(s), r(a)),
        LdrSlot(d, slot) => writeln!(text, "ldr {}, [sp, #{}]", r(d), 4 * slot.0),
        StrSlot(s, slot) => writeln!(text, "str {}, [sp, #{}]", r(s), 4 * slot.0),
        LdrArg(d, n) => writeln!(text, "ldr {}, [sp, #{}]", r(d), block.argument(n)),
        Mov(d, a) => writeln!(text, "mov {}, {}", r(d), r(a)),
        MovImm(d, v) => {
            let (lo, hi) = (v as u32 & 0xffff, v as u32 >> 16);
            let _ = writeln!(text, "movw {}, #{lo}", r(d));
            if hi != 0 { writeln!(text, "movt {}, #{hi}", r(d)) } else { Ok(()) }
        }
        Add(d, a, b) => writeln!(text, "add {}, {}, {}", r(d), r(a), r(b)),
        Sub(d, a, b) => writeln!(text, "sub {}, {}, {}", r(d), r(a), r(b)),
        AddImm(d, a, v) if (0..=7).contains(&v) && d != a => writeln!(text, "add {}, {}, #{v}", r(d), r(a)),
        AddImm(d, a, v) if (0..=255).contains(&v) => writeln!(text, "add {}, {}, #{v}", r(d), r(a)),
        AddImm(d, a, v) if v < 0 => writeln!(text, "subw {}, {}, #{}", r(d), r(a), -v),
        AddImm(d, a, v) => writeln!(text, "addw {}, {}, #{v}", r(d), r(a)),
        Cmp(a, b) => writeln!(text, "cmp {}, {}", r(a), r(b)),
        Mul(d, a, b) => writeln!(text, "mul {}, {}, {}", r(d), r(a), r(b)),
        Mla(d, a, b, c) => writeln!(text, "mla {}, {}, {}, {}", r(d), r(a), r(b), r(c)),
        Ubfx(d, a, l, w) => writeln!(text, "ubfx {}, {}, #{l}, #{w}", r(d), r(a)),
        Sxtb(d, a, n) => writeln!(text, "sxtb {}, {}{}", r(d), r(a), byte(n)),
        Sxtab(d, a, b, n) => writeln!(text, "sxtab {}, {}, {}{}", r(d), r(a), r(b), byte(n)),
        MaxImm(d, v) => limit(text, d, v, "lt"),
        MinImm(d, v) => limit(text, d, v, "gt"),
        Neg(d, a) => writeln!(text, "rsb {}, {}, #0", r(d), r(a)),
        LslImm(d, a, n) => writeln!(text, "lsl {}, {}, #{n}", r(d), r(a)),
        Pkhbt(d, a, b) => writeln!(text, "pkhbt {}, {}, {}, lsl #16", r(d), r(a), r(b)),
        Sxtb16(d, a, k) => writeln!(text, "sxtb16 {}, {}{}", r(d), r(a), ror(k)),
        Sxtab16(d, a, b, k) => writeln!(text, "sxtab16 {}, {}, {}{}", r(d), r(a), r(b), ror(k)),
        Sadd16(d, a, b) => writeln!(text, "sadd16 {}, {}, {}", r(d), r(a), r(b)),
        Ssub16(d, a, b) => writeln!(text, "ssub16 {}, {}, {}", r(d), r(a), r(b)),
        Smuad(d, a, b) => writeln!(text, "smuad {}, {}, {}", r(d), r(a), r(b)),
        Smlad(d, a, b, c) => writeln!(text, "smlad {}, {}, {}, {}", r(d), r(a), r(b), r(c)),
        Smlabb(d, a, b, c) => writeln!(text, "smlabb {}, {}, {}, {}", r(d), r(a), r(b), r(c)),
        Smlatt(d, a, b, c) => writeln!(text, "smlatt {}, {}, {}, {}", r(d), r(a), r(b), r(c)),
        Smmla(d, a, b, c) => writeln!(text, "smmla {}, {}, {}, {}", r(d), r(a), r(b), r(c)),
        Asr(d, a, b) => writeln!(text, "asr {}, {}, {}", r(d), r(a), r(b)),
        Ssat(d, n, a, 0) => writeln!(text, "ssat {}, #{n}, {}", r(d), r(a)),
        Ssat(d, n, a, s) => writeln!(text, "ssat {}, #{n}, {}, asr #{s}", r(d), r(a)),
    };
}

/// Replaces a register by a constant where the comparison with it holds.
fn limit(text: &mut String, d: Reg, v: i32, cond: &str) -> std::fmt::Result {
    let (compare, load, v) = if v < 0 { ("cmn", "mvn", -v) } else { ("cmp", "mov", v) };
    writeln!(text, "{compare} {}, #{v}", r(d))?;
    writeln!(text, "it {cond}")?;
    writeln!(text, "{load}{cond} {}, #{}", r(d), if load == "mvn" { v - 1 } else { v })
}
