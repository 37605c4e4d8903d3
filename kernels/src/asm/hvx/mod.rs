//! Blocks for Hexagon with HVX, vectors of 128 bytes: instructions over machine registers, put
//! into packets here and printed for LLVM's assembler.
//!
//! In: straight stretches and hardware loops written by a generator (`gemm`, `depthwise`, `line`, `runs`). Out: a
//! [`Native`](crate::kernel::Native).
//!
//! Source: Qualcomm Hexagon V66 and V67 HVX Programmer's Reference Manuals (resources and slots of
//! each instruction, packet rules).
//!
//! Laws: a packet reads all its registers before it writes any, so a later writer may stand beside
//! an earlier reader, and nothing else that depends may share a packet. Only registers that a
//! callee may spoil are used: r0-r15, r28, p0, v0-v31, and the hardware loops.

mod inst;
mod packet;
#[cfg(any(test, feature = "testing"))]
pub mod simulate;

#[cfg(any(test, feature = "testing"))]
use crate::asm::simulate::simulation;
use crate::asm::verify::{Convention, Step, set};
use crate::error::Result;
use crate::kernel::Native;
pub use inst::{Inst, Q, R, V};
use inst::{PREDICATES, VECTORS};
use std::fmt::Write;

/// Bytes of a vector.
pub const VECTOR: usize = 128;

/// Most turns of a hardware loop whose count stands in the instruction.
pub const MAX_TURNS: usize = 1023;

/// Code in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Code {
    Straight(Vec<Inst>),
    /// A hardware loop of `turns`, 1 to [`MAX_TURNS`]; at most two deep.
    Loop {
        turns: usize,
        body: Vec<Code>,
    },
    /// A hardware loop of as many turns as a register holds, one at least, `about` so many on average.
    Counted {
        count: R,
        about: f64,
        body: Vec<Code>,
    },
}

impl Code {
    /// `body` that many times: nothing, itself, or a loop.
    pub fn repeated(turns: usize, body: Vec<Code>) -> Vec<Code> {
        match turns {
            0 => Vec::new(),
            1 => body,
            _ => vec![Code::Loop { turns, body }],
        }
    }
    /// Straight stretches that follow each other as one; empty ones gone.
    pub fn joined(code: Vec<Code>) -> Vec<Code> {
        let mut joined: Vec<Code> = Vec::new();
        for part in code {
            match (joined.last_mut(), part) {
                (_, Code::Straight(line)) if line.is_empty() => {}
                (Some(Code::Straight(before)), Code::Straight(line)) => before.extend(line),
                (_, part) => joined.push(part),
            }
        }
        joined
    }
}

/// Text under construction.
#[derive(Debug, Default)]
struct Printed {
    text: String,
    words: u32,
    /// Packets executed.
    packets: f64,
    labels: u32,
}

impl Printed {
    /// Prints code that runs `turns` times; its last packet ends the hardware loop `ends`.
    fn code(&mut self, code: &[Code], turns: f64, ends: Option<u32>) {
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
                    self.repeated(&format!("#{own}"), body, (turns, *own as f64), ends);
                }
                Code::Counted { count, about, body } => {
                    self.repeated(&count.to_string(), body, (turns, *about), ends);
                }
            }
        }
    }
    /// Prints a loop of `own` turns that is entered `turns` times.
    fn repeated(&mut self, count: &str, body: &[Code], (turns, own): (f64, f64), ends: Option<u32>) {
        // The inner loop is 0.
        let which = u32::from(body.iter().any(|c| !matches!(c, Code::Straight(_))));
        self.labels += 1;
        let label = self.labels;
        let _ = writeln!(self.text, "{{ loop{which}({label}f,{count}) }}\n{label}:");
        self.words += 1;
        self.packets += turns;
        self.code(body, turns * own, Some(which));
        if ends.is_some() {
            self.packet(&[], turns, ends);
        }
    }
    fn packet(&mut self, insts: &[Inst], turns: f64, ends: Option<u32>) {
        let mut texts: Vec<String> = insts.iter().map(|i| i.text("")).collect();
        // The packet that ends a loop has a word for each bit of that news.
        let least = ends.map_or(1, |which| 2 + which as usize);
        texts.resize(texts.len().max(least), "nop".to_string());
        let end = ends.map_or(String::new(), |which| format!(":endloop{which}"));
        let _ = writeln!(self.text, "{{ {} }}{end}", texts.join("; "));
        let nops = texts.len() as u32 - insts.len() as u32;
        self.words += nops + insts.iter().map(|i| i.form().words).sum::<u32>();
        self.packets += turns;
    }
}

/// Holds code against the calling convention. A loop turns at least once, so that what it writes
/// is there behind it.
fn verify(code: &[Code]) -> Result<()> {
    let vectors = VECTORS..VECTORS + 32;
    let convention = Convention {
        name: "HVX",
        entry: set((0..6).chain([29])),
        has: set((0..16).chain([28, 29]).chain(vectors).chain(PREDICATES..PREDICATES + 4)),
        kept: set([29]),
        register: |place| match place {
            0..VECTORS => R(place).to_string(),
            VECTORS..PREDICATES => V(place - VECTORS).to_string(),
            _ => Q(place - PREDICATES).to_string(),
        },
    };
    let mut steps = Vec::new();
    straight(code, &mut |inst| steps.push(Step::Inst(inst)));
    convention.verify(&steps)
}

fn straight<'a>(code: &'a [Code], f: &mut dyn FnMut(&'a Inst)) {
    for part in code {
        match part {
            Code::Straight(insts) => insts.iter().for_each(&mut *f),
            Code::Loop { body, .. } | Code::Counted { body, .. } => straight(body, f),
        }
    }
}

/// A native kernel of some code. Arguments stand in r0..r5.
pub fn native(code: &[Code]) -> Result<Native> {
    verify(code)?;
    let mut out = Printed::default();
    out.code(code, 1.0, None);
    out.text.push_str("{ jumpr r31 }");
    Ok(Native {
        feature: "hvx".to_string(),
        text: out.text,
        stack: 0,
        cycles: out.packets.round() as u64 + 1,
        bytes: 4 * (out.words + 1),
        #[cfg(not(any(test, feature = "testing")))]
        simulation: None,
        #[cfg(any(test, feature = "testing"))]
        simulation: {
            let code = code.to_vec();
            simulation(move |args, memory| simulate::run(&code, args, memory, true))
        },
    })
}
