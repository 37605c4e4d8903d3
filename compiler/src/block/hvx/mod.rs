//! Blocks for Hexagon with HVX, vectors of 128 bytes: instructions over machine registers, put
//! into packets here and printed for LLVM's assembler.
//!
//! In: straight stretches and hardware loops written by a generator (`gemm`, `copy`). Out: a
//! [`Native`](crate::kernel::Native).
//!
//! Source: Qualcomm Hexagon V66 and V67 HVX Programmer's Reference Manuals (resources and slots of
//! each instruction, packet rules).
//!
//! Laws: a packet reads all its registers before it writes any, so a later writer may stand beside
//! an earlier reader, and nothing else that depends may share a packet. Only registers that a
//! callee may spoil are used: r0-r15, r28, p0, v0-v31, and the hardware loops.

pub(crate) mod copy;
pub(crate) mod gemm;
mod packet;

use crate::kernel::Native;
use std::fmt::Write;

/// A scalar register, `r0`..`r15` or `r28`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct R(pub(crate) u32);

/// A vector register; pairs are named by their even one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct V(pub(crate) u32);

/// One instruction. The first register is the result, except of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inst {
    /// Any 32-bit constant.
    Set(R, i32),
    Mov(R, R),
    /// Constant of -32768..=32767.
    Add(R, R, i32),
    /// Word at a byte offset.
    LoadWord(R, R, i32),
    StoreWord(R, i32, R),
    /// The vector at an aligned address, which then moves on by one vector.
    LoadNext(V, R),
    /// The vector `n` vectors on from an aligned address.
    Load(V, R, i32),
    /// At any address, `n` vectors on.
    LoadAny(V, R, i32),
    StoreAny(R, i32, V),
    /// The word in all lanes.
    Splat(V, R),
    Copy(V, V),
    /// Each lane: sum of four products of an unsigned byte and the scalar's signed byte.
    Dot(V, V, R),
    /// The same, added.
    DotAdd(V, V, R),
    AddWords(V, V, V),
    SubWords(V, V, V),
    /// 64-bit product of words with the low, unsigned halves of others, into a pair.
    MulLow(V, V, V),
    /// Adds the product with the high halves: the odd register is the product's high word then.
    MulHighAdd(V, V, V),
    /// Arithmetic shift of each word by another's amount.
    ShiftRight(V, V, V),
    /// Words to halves and halves to bytes, saturated: first the lanes of the last operand.
    PackHalves(V, V, V),
    PackBytes(V, V, V),
    MaxBytes(V, V, V),
    MinBytes(V, V, V),
}

/// Most turns of a hardware loop whose count stands in the instruction.
pub(crate) const MAX_TURNS: usize = 1023;

/// Code in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Code {
    Straight(Vec<Inst>),
    /// A hardware loop of `turns`, 1 to [`MAX_TURNS`]; at most two deep.
    Loop {
        turns: usize,
        body: Vec<Code>,
    },
}

impl Inst {
    /// Text of the instruction.
    fn text(&self) -> String {
        use Inst::*;
        let r = |r: R| format!("r{}", r.0);
        let v = |v: V| format!("v{}", v.0);
        let pair = |v: V| format!("v{}:{}", v.0 + 1, v.0);
        match *self {
            Set(d, c) => format!("{} = ##{c}", r(d)),
            Mov(d, a) => format!("{} = {}", r(d), r(a)),
            Add(d, a, c) => format!("{} = add({},#{c})", r(d), r(a)),
            LoadWord(d, a, o) => format!("{} = memw({}+#{o})", r(d), r(a)),
            StoreWord(a, o, s) => format!("memw({}+#{o}) = {}", r(a), r(s)),
            LoadNext(d, a) => format!("{} = vmem({}++#1)", v(d), r(a)),
            Load(d, a, o) => format!("{} = vmem({}+#{o})", v(d), r(a)),
            LoadAny(d, a, o) => format!("{} = vmemu({}+#{o})", v(d), r(a)),
            StoreAny(a, o, s) => format!("vmemu({}+#{o}) = {}", r(a), v(s)),
            Splat(d, a) => format!("{} = vsplat({})", v(d), r(a)),
            Copy(d, a) => format!("{} = {}", v(d), v(a)),
            Dot(d, a, b) => format!("{}.w = vrmpy({}.ub,{}.b)", v(d), v(a), r(b)),
            DotAdd(d, a, b) => format!("{}.w += vrmpy({}.ub,{}.b)", v(d), v(a), r(b)),
            AddWords(d, a, b) => format!("{}.w = vadd({}.w,{}.w)", v(d), v(a), v(b)),
            SubWords(d, a, b) => format!("{}.w = vsub({}.w,{}.w)", v(d), v(a), v(b)),
            MulLow(d, a, b) => format!("{} = vmpye({}.w,{}.uh)", pair(d), v(a), v(b)),
            MulHighAdd(d, a, b) => format!("{} += vmpyo({}.w,{}.h)", pair(d), v(a), v(b)),
            ShiftRight(d, a, b) => format!("{}.w = vasr({}.w,{}.w)", v(d), v(a), v(b)),
            PackHalves(d, a, b) => format!("{}.h = vpack({}.w,{}.w):sat", v(d), v(a), v(b)),
            PackBytes(d, a, b) => format!("{}.b = vpack({}.h,{}.h):sat", v(d), v(a), v(b)),
            MaxBytes(d, a, b) => format!("{}.b = vmax({}.b,{}.b)", v(d), v(a), v(b)),
            MinBytes(d, a, b) => format!("{}.b = vmin({}.b,{}.b)", v(d), v(a), v(b)),
        }
    }
    /// Words of the instruction; constants that do not fit take another.
    fn words(&self) -> u32 {
        match self {
            Inst::Set(..) => 2,
            _ => 1,
        }
    }
}

/// Text under construction.
#[derive(Debug, Default)]
struct Printed {
    text: String,
    words: u32,
    /// Packets executed.
    packets: u64,
    labels: u32,
}

impl Printed {
    /// Prints code that runs `turns` times; its last packet ends the hardware loop `ends`.
    fn code(&mut self, code: &[Code], turns: u64, ends: Option<u32>) {
        for (i, part) in code.iter().enumerate() {
            let ends = ends.filter(|_| i + 1 == code.len());
            match part {
                Code::Straight(insts) => {
                    let packets = packet::packets(insts);
                    for (j, p) in packets.iter().enumerate() {
                        self.packet(p, turns, ends.filter(|_| j + 1 == packets.len()));
                    }
                }
                Code::Loop { turns: own, body } => {
                    // The inner loop is 0.
                    let inner = !body.iter().any(|c| matches!(c, Code::Loop { .. }));
                    let which = u32::from(!inner);
                    self.labels += 1;
                    let label = self.labels;
                    let _ = writeln!(self.text, "{{ loop{which}({label}f,#{own}) }}\n{label}:");
                    self.words += 1;
                    self.packets += turns;
                    self.code(body, turns * *own as u64, Some(which));
                    if ends.is_some() {
                        self.packet(&[], turns, ends);
                    }
                }
            }
        }
    }
    fn packet(&mut self, insts: &[Inst], turns: u64, ends: Option<u32>) {
        let mut texts: Vec<String> = insts.iter().map(Inst::text).collect();
        // The packet that ends a loop has a word for each bit of that news.
        let least = ends.map_or(1, |which| 2 + which as usize);
        texts.resize(texts.len().max(least), "nop".to_string());
        let end = ends.map_or(String::new(), |which| format!(":endloop{which}"));
        let _ = writeln!(self.text, "{{ {} }}{end}", texts.join("; "));
        let nops = texts.len() as u32 - insts.len() as u32;
        self.words += nops + insts.iter().map(Inst::words).sum::<u32>();
        self.packets += turns;
    }
}

/// A native kernel of some code. Arguments stand in r0..r5.
pub(crate) fn native(code: &[Code]) -> Native {
    let mut out = Printed::default();
    out.code(code, 1, None);
    out.text.push_str("{ jumpr r31 }");
    Native {
        feature: "hvx".to_string(),
        text: out.text,
        stack: 0,
        cycles: out.packets + 1,
        bytes: 4 * (out.words + 1),
    }
}
