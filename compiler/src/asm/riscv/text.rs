//! Assembly text that GNU as and LLVM read alike: ABI names of registers, numeric labels.

use crate::asm::riscv::{Inst, Lmul, V, X};
use std::fmt::{Display, Formatter, Result, Write};

const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

impl Display for X {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(NAMES.get(self.0 as usize).unwrap_or(&"zero"))
    }
}

impl Display for V {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "v{}", self.0)
    }
}

impl Display for Lmul {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Lmul::Half => "mf2",
            Lmul::M1 => "m1",
            Lmul::M2 => "m2",
            Lmul::M4 => "m4",
            Lmul::M8 => "m8",
        })
    }
}

/// One instruction per line, entry and exit included. The frame holds `slots` words, then the
/// saved registers.
pub(crate) fn print(insts: &[Inst], slots: u32, saved: &[X], stack: u32) -> String {
    let mut text = String::new();
    if stack > 0 {
        let _ = writeln!(text, "addi sp, sp, -{stack}");
    }
    for (i, r) in saved.iter().enumerate() {
        let _ = writeln!(text, "sw {r}, {}(sp)", 4 * (slots as usize + i));
    }
    for inst in insts {
        line(&mut text, inst);
    }
    for (i, r) in saved.iter().enumerate() {
        let _ = writeln!(text, "lw {r}, {}(sp)", 4 * (slots as usize + i));
    }
    if stack > 0 {
        let _ = writeln!(text, "addi sp, sp, {stack}");
    }
    text.push_str("ret");
    text
}

fn line(text: &mut String, inst: &Inst) {
    use Inst::*;
    // Writing to a string cannot fail.
    let _ = match *inst {
        Label(l) => writeln!(text, "{l}:"),
        BneBack(a, b, l) => writeln!(text, "bne {a}, {b}, {l}b"),
        BnezOn(a, l) => writeln!(text, "bnez {a}, {l}f"),
        BgezOn(a, l) => writeln!(text, "bgez {a}, {l}f"),
        Jump(l) => writeln!(text, "j {l}f"),
        Lb(d, a, o) => writeln!(text, "lb {d}, {o}({a})"),
        Lw(d, a, o) => writeln!(text, "lw {d}, {o}({a})"),
        Sb(s, a, o) => writeln!(text, "sb {s}, {o}({a})"),
        Sw(s, a, o) => writeln!(text, "sw {s}, {o}({a})"),
        Li(d, v) => writeln!(text, "li {d}, {v}"),
        Mv(d, a) => writeln!(text, "mv {d}, {a}"),
        Add(d, a, b) => writeln!(text, "add {d}, {a}, {b}"),
        Sub(d, a, b) => writeln!(text, "sub {d}, {a}, {b}"),
        Or(d, a, b) => writeln!(text, "or {d}, {a}, {b}"),
        Addi(d, a, v) => writeln!(text, "addi {d}, {a}, {v}"),
        Andi(d, a, v) => writeln!(text, "andi {d}, {a}, {v}"),
        Slli(d, a, n) => writeln!(text, "slli {d}, {a}, {n}"),
        Srai(d, a, n) => writeln!(text, "srai {d}, {a}, {n}"),
        Sra(d, a, b) => writeln!(text, "sra {d}, {a}, {b}"),
        Mul(d, a, b) => writeln!(text, "mul {d}, {a}, {b}"),
        Mulh(d, a, b) => writeln!(text, "mulh {d}, {a}, {b}"),
        Max(d, a) => writeln!(text, "bge {d}, {a}, 99f\nmv {d}, {a}\n99:"),
        Min(d, a) => writeln!(text, "bge {a}, {d}, 99f\nmv {d}, {a}\n99:"),

        Vset(d, n, bits, m) => writeln!(text, "vsetvli {d}, {n}, e{bits}, {m}, ta, ma"),
        RoundDown => writeln!(text, "csrwi vxrm, 2"),
        Vle8(d, a) => writeln!(text, "vle8.v {d}, ({a})"),
        Vle32(d, a) => writeln!(text, "vle32.v {d}, ({a})"),
        Vse8(s, a) => writeln!(text, "vse8.v {s}, ({a})"),
        VmvV(d, a) => writeln!(text, "vmv.v.v {d}, {a}"),
        Vsext2(d, a) => writeln!(text, "vsext.vf2 {d}, {a}"),
        Vsext4(d, a) => writeln!(text, "vsext.vf4 {d}, {a}"),
        Vluxei8(d, a, i) => writeln!(text, "vluxei8.v {d}, ({a}), {i}"),
        VmvX(d, x) => writeln!(text, "vmv.v.x {d}, {x}"),
        VmulV(d, a, b) => writeln!(text, "vmul.vv {d}, {a}, {b}"),
        VsubX(d, a, x) => writeln!(text, "vsub.vx {d}, {a}, {x}"),
        VandX(d, a, x) => writeln!(text, "vand.vx {d}, {a}, {x}"),
        VmulhX(d, a, x) => writeln!(text, "vmulh.vx {d}, {a}, {x}"),
        VmulX(d, a, x) => writeln!(text, "vmul.vx {d}, {a}, {x}"),
        VwmaccX(d, x, v) => writeln!(text, "vwmacc.vx {d}, {x}, {v}"),
        VwmaccV(d, u, v) => writeln!(text, "vwmacc.vv {d}, {u}, {v}"),
        Vmulh(d, a, b) => writeln!(text, "vmulh.vv {d}, {a}, {b}"),
        VaddX(d, a, x) => writeln!(text, "vadd.vx {d}, {a}, {x}"),
        VaddV(d, a, b) => writeln!(text, "vadd.vv {d}, {a}, {b}"),
        VsraV(d, a, b) => writeln!(text, "vsra.vv {d}, {a}, {b}"),
        VsraX(d, a, x) => writeln!(text, "vsra.vx {d}, {a}, {x}"),
        VnclipX(d, a, x) => writeln!(text, "vnclip.wx {d}, {a}, {x}"),
        Vnclip0(d, a) => writeln!(text, "vnclip.wi {d}, {a}, 0"),
        VmaxX(d, a, x) => writeln!(text, "vmax.vx {d}, {a}, {x}"),
        VmaxV(d, a, b) => writeln!(text, "vmax.vv {d}, {a}, {b}"),
        VminX(d, a, x) => writeln!(text, "vmin.vx {d}, {a}, {x}"),
    };
}
