//! Assembly text: unified syntax that GNU as and LLVM read alike, numeric labels. Each line
//! comes with what the issue model must know of it ([`Op`]), so that text, bytes and cycles
//! cannot part.
//!
//! Law: the size of a line is what both assemblers make of it. Where the flags are free,
//! instructions that have a 16-bit form only when they set them are spelled so.

use crate::asm::armv7em::assign::Assigned;
use crate::asm::armv7em::inst::{FLOATS, Inst, Label, Reg, Sets, Slot};
use crate::asm::table::Touch;
use std::fmt::{self, Display, Formatter};

/// Kinds of instructions that cores tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Alu,
    /// Shifts by constants, bit fields, extensions, packing.
    Shift,
    Mul,
    /// 32-bit multiply-accumulate.
    Mla,
    /// Packed and saturating arithmetic.
    Dsp,
    LongMul,
    Load,
    Store,
    /// Loads and stores of several words.
    LoadMany,
    StoreMany,
    /// Between core and floating-point registers.
    Float,
    /// Start of a conditional instruction.
    It,
    Branch,
    Jump,
    /// A jump to an address in memory.
    Enter,
}

/// The bit of the flags in the masks of an [`Op`]; core registers are 0..=15, floating-point
/// ones 16..=47.
pub(crate) const FLAGS: u64 = 1 << 48;

/// What the issue model knows of one machine instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    pub class: Class,
    /// Bytes: 2 or 4.
    pub size: u32,
    pub writes: u64,
    /// All that is read but the addend and the address.
    pub reads: u64,
    pub address: u64,
    /// The addend of a multiply-accumulate.
    pub addend: u64,
    /// Words of a load or store of several.
    pub words: u32,
}

impl Op {
    pub(crate) fn new(class: Class, short: bool) -> Op {
        let size = if short { 2 } else { 4 };
        Op { class, size, writes: 0, reads: 0, address: 0, addend: 0, words: 0 }
    }
}

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub text: String,
    /// None for a label.
    pub op: Option<Op>,
    /// The label that stands here or that is branched to.
    pub label: Option<Label>,
}

impl Display for Label {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The offset from the stack pointer.
impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", 4 * self.0)
    }
}

/// How the last operand is shifted, and by how much; by nothing is left out.
pub(crate) struct Shifted(pub &'static str, pub u32);

impl Display for Shifted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.1 == 0 { Ok(()) } else { write!(f, ", {} #{}", self.0, self.1) }
    }
}

/// The operands of a sum: two where the result is one of them.
pub(crate) fn in_place(d: Reg, a: Reg, b: Reg) -> String {
    if d == a || d == b { format!("{d}, {}", if d == a { b } else { a }) } else { format!("{d}, {a}, {b}") }
}

/// Two operands of which either may come first, the first not `last`.
pub(crate) fn ending(last: Reg, a: Reg, b: Reg) -> String {
    if a == last { format!("{b}, {a}") } else { format!("{a}, {b}") }
}

/// The same, the second not `first`.
pub(crate) fn beginning(first: Reg, a: Reg, b: Reg) -> String {
    if b == first { format!("{b}, {a}") } else { format!("{a}, {b}") }
}

fn bit(reg: Reg) -> u64 {
    1 << reg.0
}

/// Whether one instruction holds the constant as an 8-bit pattern, repeated or rotated
/// (Armv7-M Architecture Reference Manual, section A5.3.2).
fn pattern(v: u32) -> bool {
    let b = v & 0xff;
    let halves = v & 0xffff == v >> 16;
    v < 256
        || (halves && (v & 0xff00 == 0 || v & 0xff == 0 || v >> 8 & 0xff == b))
        || (8..32).any(|n| v.rotate_left(n) < 256 && v.rotate_left(n) >= 128)
}

/// The text, a line an instruction.
pub(crate) fn print(lines: &[Line]) -> String {
    let lines: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
    lines.join("\n")
}

/// Bytes of machine code.
pub(crate) fn bytes(lines: &[Line]) -> u32 {
    lines.iter().filter_map(|l| l.op).map(|op| op.size).sum()
}

/// The lines of a function, entry and exit included.
pub(crate) fn lines(block: &Assigned) -> Vec<Line> {
    spelled(block).0
}

/// The same, and by instruction its first line.
pub(crate) fn spelled(block: &Assigned) -> (Vec<Line>, Vec<usize>) {
    let (mut out, mut firsts) = (Vec::new(), Vec::new());
    let list = |last: &str| {
        let names = block.saved.iter().map(|&n| if n == 14 { last.to_owned() } else { Reg(n).to_string() });
        names.collect::<Vec<String>>().join(", ")
    };
    let mask: u64 = block.saved.iter().map(|&n| 1 << n).sum();
    // lr itself has a bit of its own in the short forms.
    let short = block.saved.iter().all(|&n| n < 8 || n == 14);
    let many = |class, writes, reads| {
        let words = block.saved.len() as u32;
        Op { writes, reads, address: 1 << 13, words, ..Op::new(class, short) }
    };
    let frame = |word: &str, out: &mut Vec<Line>| {
        if block.slots > 0 {
            let bytes = 4 * block.slots;
            let op = Op { writes: 1 << 13, reads: 1 << 13, ..Op::new(Class::Alu, bytes <= 508) };
            out.push(Line { text: format!("{word} sp, sp, #{bytes}"), op: Some(op), label: None });
        }
    };
    let text = format!("push {{{}}}", list("lr"));
    out.push(Line { text, op: Some(many(Class::StoreMany, 1 << 13, mask)), label: None });
    frame("sub", &mut out);
    let free = free_flags(&block.insts);
    for (inst, free) in block.insts.iter().zip(free) {
        firsts.push(out.len());
        Speller { out: &mut out, free, block }.spell(inst);
    }
    frame("add", &mut out);
    let text = format!("pop {{{}}}", list("pc"));
    let back = mask & !(1 << 14) | 1 << 13 | 1 << 15;
    out.push(Line { text, op: Some(many(Class::LoadMany, back, 0)), label: None });
    reach(&mut out);
    (out, firsts)
}

/// Whether the flags may be spoilt by each instruction: no branch reads what was in them.
fn free_flags(insts: &[Inst]) -> Vec<bool> {
    let mut free = vec![true; insts.len()];
    let mut needed = false;
    for (i, inst) in insts.iter().enumerate().rev() {
        free[i] = !needed;
        match inst {
            Inst::BranchBack(..) | Inst::Branch(..) => needed = true,
            Inst::Label(_) | Inst::Jump(_) | Inst::Enter(..) => needed = false,
            inst if inst.form().flags == Sets::Always => needed = false,
            _ => {}
        }
    }
    free
}

/// Gives branches that reach too far their long form.
fn reach(lines: &mut [Line]) {
    loop {
        let mut at = Vec::with_capacity(lines.len());
        let mut here = 0i64;
        for line in lines.iter() {
            at.push(here);
            here += line.op.map_or(0, |op| i64::from(op.size));
        }
        let place = |l: Label| {
            let found = lines.iter().position(|x| x.label == Some(l) && x.op.is_none());
            found.map_or(0, |i| at[i])
        };
        let far: Vec<usize> = (0..lines.len())
            .filter(|&i| {
                let (Some(op), Some(label)) = (lines[i].op, lines[i].label) else { return false };
                let by = place(label) - (at[i] + 4);
                let reach = if op.class == Class::Jump { -2048..=2046 } else { -256..=254 };
                op.class != Class::Enter && op.size == 2 && !reach.contains(&by)
            })
            .collect();
        if far.is_empty() {
            return;
        }
        for i in far {
            if let Some(op) = &mut lines[i].op {
                op.size = 4;
            }
        }
    }
}

struct Speller<'a> {
    out: &'a mut Vec<Line>,
    /// The flags may be spoilt.
    free: bool,
    block: &'a Assigned,
}

impl Speller<'_> {
    /// The line of an instruction's row, with what its operands' roles say.
    fn row(&mut self, inst: &Inst) {
        let form = inst.form();
        let sets = form.flags == Sets::Short && form.short && self.free;
        let short = form.short && (sets || form.flags != Sets::Short);
        // Shifts that set the flags take another way through the core.
        let class = if sets && form.class == Class::Shift { Class::Alu } else { form.class };
        let mut op = Op { words: 1, ..Op::new(class, short) };
        inst.visit(&mut |place, touch| {
            let bit = if place < FLOATS { 1 << place } else { 1 << (16 + place - FLOATS) };
            match touch {
                Touch::Read | Touch::Both | Touch::Amount => op.reads |= bit,
                Touch::Base | Touch::Moved | Touch::Index => op.address |= bit,
                Touch::Addend => op.addend |= bit,
                Touch::Write | Touch::Early | Touch::Part => {}
            }
            if touch.writes() {
                op.writes |= bit;
            }
        });
        let mut label = None;
        match *inst {
            Inst::LdrSlot(..) | Inst::StrSlot(..) => op.address |= 1 << 13,
            Inst::BranchBack(_, l) | Inst::Branch(_, l) => (op.reads, label) = (FLAGS, Some(l)),
            Inst::Jump(l) => label = Some(l),
            Inst::Enter(_, l) => (op.writes, op.address, label) = (1 << 15, 1 << 13, Some(l)),
            _ => {}
        }
        if sets || form.flags == Sets::Always {
            op.writes |= FLAGS;
        }
        self.out.push(Line { text: inst.text(if sets { "s" } else { "" }), op: Some(op), label });
    }
    /// A line of a row that is spelled by several.
    fn line(&mut self, text: String, class: Class, short: bool, (writes, reads): (u64, u64)) {
        let op = Op { writes, reads, ..Op::new(class, short) };
        self.out.push(Line { text, op: Some(op), label: None });
    }
    /// Replaces a register by a constant where the comparison with it holds.
    fn limit(&mut self, d: Reg, v: i32, cond: &str) {
        let (compare, put) = if v < 0 { ("cmn", "mvn") } else { ("cmp", "mov") };
        let short = v >= 0 && d.0 < 8;
        self.line(format!("{compare} {d}, #{}", v.abs()), Class::Alu, short, (FLAGS, bit(d)));
        self.line(format!("it {cond}"), Class::It, true, (0, FLAGS));
        let v = if v < 0 { -v - 1 } else { v };
        self.line(format!("{put}{cond} {d}, #{v}"), Class::Alu, short, (bit(d), 0));
    }
    fn limit_by(&mut self, d: Reg, a: Reg, cond: &str) {
        self.line(format!("cmp {d}, {a}"), Class::Alu, true, (FLAGS, bit(d) | bit(a)));
        self.line(format!("it {cond}"), Class::It, true, (0, FLAGS));
        self.line(format!("mov{cond} {d}, {a}"), Class::Alu, true, (bit(d), bit(a)));
    }
    fn constant(&mut self, d: Reg, v: u32) {
        let free = self.free && d.0 < 8;
        let mut line =
            |text, writes, reads| self.line(text, Class::Alu, writes & FLAGS != 0, (writes, reads));
        if v < 256 && free {
            return line(format!("movs {d}, #{v}"), bit(d) | FLAGS, 0);
        }
        if v > 0xffff && pattern(v) {
            return line(format!("mov {d}, #{v}"), bit(d), 0);
        }
        if v > 0xffff && pattern(!v) {
            return line(format!("mvn {d}, #{}", !v), bit(d), 0);
        }
        line(format!("movw {d}, #{}", v & 0xffff), bit(d), 0);
        if v > 0xffff {
            line(format!("movt {d}, #{}", v >> 16), bit(d), bit(d));
        }
    }
    fn max_bytes(&mut self, d: Reg, a: Reg, b: Reg) {
        let reads = bit(a) | bit(b);
        self.line(format!("ssub8 {d}, {a}, {b}"), Class::Dsp, false, (bit(d) | FLAGS, reads));
        self.line(format!("sel {d}, {a}, {b}"), Class::Dsp, false, (bit(d), reads | FLAGS));
    }
    fn spell(&mut self, inst: &Inst) {
        match *inst {
            Inst::Label(label) => self.out.push(Line { text: inst.text(""), op: None, label: Some(label) }),
            Inst::AddImm(d, a, 0) => self.row(&Inst::Mov(d, a)),
            Inst::LdrArg(d, n) => self.row(&Inst::LdrSlot(d, Slot(self.block.argument(n) / 4))),
            Inst::MovImm(d, v) => self.constant(d, v as u32),
            Inst::MaxImm(d, v) => self.limit(d, v, "lt"),
            Inst::MinImm(d, v) => self.limit(d, v, "gt"),
            Inst::Max(d, a) => self.limit_by(d, a, "lt"),
            Inst::Min(d, a) => self.limit_by(d, a, "gt"),
            Inst::MaxBytes(d, a, b) => self.max_bytes(d, a, b),
            _ => self.row(inst),
        }
    }
}
