//! Assembly text: unified syntax that GNU as and LLVM read alike, numeric labels. Each line
//! comes with what the issue model must know of it ([`Op`]), so that text, bytes and cycles
//! cannot part.
//!
//! Law: the size of a line is what both assemblers make of it. Where the flags are free,
//! instructions that have a 16-bit form only when they set them are spelled so.

use crate::asm::armv7em::assign::Assigned;
use crate::asm::armv7em::inst::{Cond, Inst, Label, Reg, Ror};
use std::fmt::Write;

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
pub const FLAGS: u64 = 1 << 48;

/// What the issue model knows of one machine instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
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

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// None for a label.
    pub op: Option<Op>,
    /// The label that stands here or that is branched to.
    pub label: Option<Label>,
}

fn r(reg: Reg) -> String {
    match reg.0 {
        13 => "sp".into(),
        14 => "lr".into(),
        n => format!("r{n}"),
    }
}

fn rotation(bits: u32) -> String {
    if bits == 0 { String::new() } else { format!(", ror #{bits}") }
}

fn ror(ror: Ror) -> String {
    rotation(ror.bits())
}

fn cond(c: Cond) -> &'static str {
    match c {
        Cond::Eq => "eq",
        Cond::Ne => "ne",
        Cond::Lo => "lo",
        Cond::Hs => "hs",
        Cond::Lt => "lt",
        Cond::Ge => "ge",
        Cond::Gt => "gt",
        Cond::Le => "le",
    }
}

fn low(regs: &[Reg]) -> bool {
    regs.iter().all(|r| r.0 < 8)
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
        let names = block.saved.iter().map(|&n| if n == 14 { last.to_owned() } else { r(Reg(n)) });
        names.collect::<Vec<String>>().join(", ")
    };
    let mask: u64 = block.saved.iter().map(|&n| 1 << n).sum();
    // lr itself has a bit of its own in the short forms.
    let size = if block.saved.iter().all(|&n| n < 8 || n == 14) { 2 } else { 4 };
    let many = |class, writes, reads| Op {
        class,
        size,
        writes,
        reads,
        address: 1 << 13,
        addend: 0,
        words: block.saved.len() as u32,
    };
    let frame = |word: &str, out: &mut Vec<Line>| {
        if block.slots > 0 {
            let bytes = 4 * block.slots;
            let op = Op {
                class: Class::Alu,
                size: if bytes <= 508 { 2 } else { 4 },
                writes: 1 << 13,
                reads: 1 << 13,
                address: 0,
                addend: 0,
                words: 0,
            };
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
            inst if inst.sets_flags() => needed = false,
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
    fn line(&mut self, text: String, op: Op) {
        self.out.push(Line { text, op: Some(op), label: None });
    }
    /// An instruction that reads `reads` and writes `d`.
    fn op(&mut self, text: String, class: Class, narrow: bool, d: Reg, reads: &[Reg]) {
        let reads = reads.iter().fold(0, |m, &r| m | bit(r));
        let size = if narrow { 2 } else { 4 };
        // A line with an `s` sets the flags.
        let word = text.split(' ').next().unwrap_or("");
        let sets = ["movs", "adds", "subs", "rsbs", "muls", "ands", "orrs", "eors", "lsls", "lsrs", "asrs"];
        let flags = if sets.contains(&word) { FLAGS } else { 0 };
        self.line(text, Op { class, size, writes: bit(d) | flags, reads, address: 0, addend: 0, words: 0 });
    }
    /// A plain three-register instruction without a short form.
    fn wide(&mut self, name: &str, class: Class, d: Reg, reads: &[Reg], rest: &str) {
        let mut text = format!("{name} {}", r(d));
        reads.iter().for_each(|&a| text += &format!(", {}", r(a)));
        self.op(text + rest, class, false, d, reads);
    }
    /// A multiply-accumulate.
    fn mac(&mut self, name: &str, class: Class, [d, a, b, c]: [Reg; 4]) {
        let text = format!("{name} {}, {}, {}, {}", r(d), r(a), r(b), r(c));
        let op = Op {
            class,
            size: 4,
            writes: bit(d),
            reads: bit(a) | bit(b),
            address: 0,
            addend: bit(c),
            words: 0,
        };
        self.line(text, op);
    }
    /// Logic: short when in place on low registers and the flags are free.
    fn logic(&mut self, name: &str, d: Reg, a: Reg, b: Reg) {
        let (a, b) = if d == b { (b, a) } else { (a, b) };
        let narrow = self.free && d == a && low(&[d, b]);
        let s = if narrow { "s" } else { "" };
        self.op(format!("{name}{s} {}, {}, {}", r(d), r(a), r(b)), Class::Alu, narrow, d, &[a, b]);
    }
    fn shift_imm(&mut self, name: &str, d: Reg, a: Reg, n: u32) {
        let narrow = self.free && low(&[d, a]);
        let (s, class) = if narrow { ("s", Class::Alu) } else { ("", Class::Shift) };
        self.op(format!("{name}{s} {}, {}, #{n}", r(d), r(a)), class, narrow, d, &[a]);
    }
    fn shift(&mut self, name: &str, d: Reg, a: Reg, b: Reg) {
        let narrow = self.free && d == a && low(&[d, b]);
        let s = if narrow { "s" } else { "" };
        self.op(format!("{name}{s} {}, {}, {}", r(d), r(a), r(b)), Class::Alu, narrow, d, &[a, b]);
    }
    fn load(&mut self, name: &str, d: Reg, a: Reg, place: &str, narrow: bool) {
        let size = if narrow { 2 } else { 4 };
        let op =
            Op { class: Class::Load, size, writes: bit(d), reads: 0, address: bit(a), addend: 0, words: 1 };
        self.line(format!("{name} {}, {place}", r(d)), op);
    }
    fn store(&mut self, name: &str, s: Reg, a: Reg, place: &str, narrow: bool) {
        let size = if narrow { 2 } else { 4 };
        let op =
            Op { class: Class::Store, size, writes: 0, reads: bit(s), address: bit(a), addend: 0, words: 1 };
        self.line(format!("{name} {}, {place}", r(s)), op);
    }
    /// Loads and stores at a register and a constant; `unit` is the width where a short form
    /// exists.
    fn at(&mut self, name: &str, d: Reg, a: Reg, o: u32, unit: Option<u32>) {
        let narrow = unit.is_some_and(|u| low(&[d, a]) && o.is_multiple_of(u) && o / u <= 31);
        let place = format!("[{}, #{o}]", r(a));
        if name.starts_with('l') {
            self.load(name, d, a, &place, narrow)
        } else {
            self.store(name, d, a, &place, narrow)
        }
    }
    /// The same with a register as offset.
    fn indexed(&mut self, name: &str, d: Reg, a: Reg, b: Reg, n: u32) {
        let narrow = n == 0 && low(&[d, a, b]);
        let by = if n == 0 { String::new() } else { format!(", lsl #{n}") };
        let place = format!("[{}, {}{by}]", r(a), r(b));
        if name.starts_with('l') {
            self.load(name, d, a, &place, narrow)
        } else {
            self.store(name, d, a, &place, narrow)
        }
        if let Some(Line { op: Some(op), .. }) = self.out.last_mut() {
            op.address |= bit(b);
        }
    }
    fn post(&mut self, name: &str, d: Reg, a: Reg, by: i32) {
        let place = format!("[{}], #{by}", r(a));
        if name.starts_with('l') {
            self.load(name, d, a, &place, false)
        } else {
            self.store(name, d, a, &place, false)
        }
        if let Some(Line { op: Some(op), .. }) = self.out.last_mut() {
            op.writes |= bit(a);
        }
    }
    fn stack(&mut self, name: &str, d: Reg, at: u32) {
        let narrow = low(&[d]) && at <= 1020;
        let place = format!("[sp, #{at}]");
        if name.starts_with('l') {
            self.load(name, d, Reg(13), &place, narrow)
        } else {
            self.store(name, d, Reg(13), &place, narrow)
        }
    }
    fn compare(&mut self, text: String, narrow: bool, reads: u64) {
        let size = if narrow { 2 } else { 4 };
        self.line(
            text,
            Op { class: Class::Alu, size, writes: FLAGS, reads, address: 0, addend: 0, words: 0 },
        );
    }
    fn it(&mut self, cond: &str) {
        let op = Op { class: Class::It, size: 2, writes: 0, reads: FLAGS, address: 0, addend: 0, words: 0 };
        self.line(format!("it {cond}"), op);
    }
    /// Replaces a register by a constant where the comparison with it holds.
    fn limit(&mut self, d: Reg, v: i32, cond: &str) {
        let compare = if v < 0 { "cmn" } else { "cmp" };
        self.compare(format!("{compare} {}, #{}", r(d), v.abs()), v >= 0 && low(&[d]), bit(d));
        self.it(cond);
        let (text, narrow) = if v < 0 {
            (format!("mvn{cond} {}, #{}", r(d), -v - 1), false)
        } else {
            (format!("mov{cond} {}, #{v}", r(d)), low(&[d]))
        };
        self.op(text, Class::Alu, narrow, d, &[]);
    }
    fn limit_by(&mut self, d: Reg, a: Reg, cond: &str) {
        self.compare(format!("cmp {}, {}", r(d), r(a)), true, bit(d) | bit(a));
        self.it(cond);
        self.op(format!("mov{cond} {}, {}", r(d), r(a)), Class::Alu, true, d, &[a]);
    }
    fn branch(&mut self, text: String, class: Class, label: Label) {
        let reads = if class == Class::Branch { FLAGS } else { 0 };
        let op = Op { class, size: 2, writes: 0, reads, address: 0, addend: 0, words: 0 };
        self.out.push(Line { text, op: Some(op), label: Some(label) });
    }
    fn add_imm(&mut self, d: Reg, a: Reg, v: i32) {
        let (name, n) = if v < 0 { ("sub", -v) } else { ("add", v) };
        let narrow = self.free && low(&[d, a]) && (n <= 7 || (d == a && n <= 255));
        let s = if narrow { "s" } else { "w" };
        if v == 0 {
            return self.op(format!("mov {}, {}", r(d), r(a)), Class::Alu, true, d, &[a]);
        }
        self.op(format!("{name}{s} {}, {}, #{n}", r(d), r(a)), Class::Alu, narrow, d, &[a]);
    }
    fn constant(&mut self, d: Reg, v: u32) {
        let name = r(d);
        if v < 256 && self.free && low(&[d]) {
            return self.op(format!("movs {name}, #{v}"), Class::Alu, true, d, &[]);
        }
        if v > 0xffff && pattern(v) {
            return self.op(format!("mov {name}, #{v}"), Class::Alu, false, d, &[]);
        }
        if v > 0xffff && pattern(!v) {
            return self.op(format!("mvn {name}, #{}", !v), Class::Alu, false, d, &[]);
        }
        self.op(format!("movw {name}, #{}", v & 0xffff), Class::Alu, false, d, &[]);
        if v > 0xffff {
            self.op(format!("movt {name}, #{}", v >> 16), Class::Alu, false, d, &[d]);
        }
    }

    fn spell(&mut self, inst: &Inst) {
        use Inst::*;
        match *inst {
            Label(label) => {
                self.out.push(Line { text: format!("{}:", label.0), op: None, label: Some(label) });
            }
            BranchBack(c, l) => self.branch(format!("b{} {}b", cond(c), l.0), Class::Branch, l),
            Branch(c, l) => self.branch(format!("b{} {}f", cond(c), l.0), Class::Branch, l),
            Jump(l) => self.branch(format!("b {}f", l.0), Class::Jump, l),
            Adr(d, l) => self.op(format!("adr.w {}, {}f", r(d), l.0), Class::Alu, false, d, &[]),
            Enter(slot, label) => {
                let (writes, address) = (1 << 15, 1 << 13);
                let op = Op { class: Class::Enter, size: 4, writes, reads: 0, address, addend: 0, words: 1 };
                let text = format!("ldr pc, [sp, #{}]", 4 * slot.0);
                self.out.push(Line { text, op: Some(op), label: Some(label) });
            }
            LdrWide(d, a, o) => self.at("ldr.w", d, a, o, None),
            StrWide(s, a, o) => self.at("str.w", s, a, o, None),
            Ldr(d, a, o) => self.at("ldr", d, a, o, Some(4)),
            Ldrb(d, a, o) => self.at("ldrb", d, a, o, Some(1)),
            Ldrh(d, a, o) => self.at("ldrh", d, a, o, Some(2)),
            Ldrsb(d, a, o) => self.at("ldrsb", d, a, o, None),
            Ldrsh(d, a, o) => self.at("ldrsh", d, a, o, None),
            Str(s, a, o) => self.at("str", s, a, o, Some(4)),
            Strb(s, a, o) => self.at("strb", s, a, o, Some(1)),
            Strh(s, a, o) => self.at("strh", s, a, o, Some(2)),
            LdrPost(d, a, by) => self.post("ldr", d, a, by),
            LdrsbPost(d, a, by) => self.post("ldrsb", d, a, by),
            LdrshPost(d, a, by) => self.post("ldrsh", d, a, by),
            StrPost(s, a, by) => self.post("str", s, a, by),
            StrbPost(s, a, by) => self.post("strb", s, a, by),
            StrhPost(s, a, by) => self.post("strh", s, a, by),
            LdrAt(d, a, b, n) => self.indexed("ldr", d, a, b, n),
            LdrbAt(d, a, b, n) => self.indexed("ldrb", d, a, b, n),
            LdrsbAt(d, a, b, n) => self.indexed("ldrsb", d, a, b, n),
            LdrshAt(d, a, b, n) => self.indexed("ldrsh", d, a, b, n),
            StrAt(s, a, b, n) => self.indexed("str", s, a, b, n),
            StrbAt(s, a, b, n) => self.indexed("strb", s, a, b, n),
            LdrSlot(d, slot) => self.stack("ldr", d, 4 * slot.0),
            StrSlot(s, slot) => self.stack("str", s, 4 * slot.0),
            LdrArg(d, n) => self.stack("ldr", d, self.block.argument(n)),
            FloatTo(f, a) => {
                let (writes, reads) = (1 << (16 + f.0), bit(a));
                let op = Op { class: Class::Float, size: 4, writes, reads, address: 0, addend: 0, words: 0 };
                self.line(format!("vmov s{}, {}", f.0, r(a)), op);
            }
            FloatFrom(d, f) => {
                let (writes, reads) = (bit(d), 1 << (16 + f.0));
                let op = Op { class: Class::Float, size: 4, writes, reads, address: 0, addend: 0, words: 0 };
                self.line(format!("vmov {}, s{}", r(d), f.0), op);
            }
            Mov(d, a) => self.op(format!("mov {}, {}", r(d), r(a)), Class::Alu, true, d, &[a]),
            MovImm(d, v) => self.constant(d, v as u32),
            Add(d, a, b) if d == a || d == b => {
                let other = if d == a { b } else { a };
                self.op(format!("add {}, {}", r(d), r(other)), Class::Alu, true, d, &[a, b]);
            }
            Add(d, a, b) | Sub(d, a, b) => {
                let name = if matches!(inst, Add(..)) { "add" } else { "sub" };
                let narrow = self.free && low(&[d, a, b]);
                let s = if narrow { "s" } else { "" };
                self.op(format!("{name}{s} {}, {}, {}", r(d), r(a), r(b)), Class::Alu, narrow, d, &[a, b]);
            }
            AddImm(d, a, v) => self.add_imm(d, a, v),
            AddLsl(d, a, b, n) => self.wide("add", Class::Shift, d, &[a, b], &format!(", lsl #{n}")),
            AddAsr(d, a, b, n) => self.wide("add", Class::Shift, d, &[a, b], &format!(", asr #{n}")),
            And(d, a, b) => self.logic("and", d, a, b),
            Orr(d, a, b) => self.logic("orr", d, a, b),
            Eor(d, a, b) => self.logic("eor", d, a, b),
            Neg(d, a) => {
                let narrow = self.free && low(&[d, a]);
                let s = if narrow { "s" } else { "" };
                self.op(format!("rsb{s} {}, {}, #0", r(d), r(a)), Class::Alu, narrow, d, &[a]);
            }
            LslImm(d, a, n) => self.shift_imm("lsl", d, a, n),
            LsrImm(d, a, n) => self.shift_imm("lsr", d, a, n),
            AsrImm(d, a, n) => self.shift_imm("asr", d, a, n),
            Lsl(d, a, b) => self.shift("lsl", d, a, b),
            Lsr(d, a, b) => self.shift("lsr", d, a, b),
            Asr(d, a, b) => self.shift("asr", d, a, b),
            Ubfx(d, a, at, n) => self.wide("ubfx", Class::Shift, d, &[a], &format!(", #{at}, #{n}")),
            Sbfx(d, a, at, n) => self.wide("sbfx", Class::Shift, d, &[a], &format!(", #{at}, #{n}")),
            Bfi(d, a, at, n) => {
                self.op(format!("bfi {}, {}, #{at}, #{n}", r(d), r(a)), Class::Shift, false, d, &[d, a]);
            }
            Uxtb(d, a, n) => self.byte("uxtb", d, a, n),
            Sxtb(d, a, n) => self.byte("sxtb", d, a, n),
            Uxth(d, a) => self.op(format!("uxth {}, {}", r(d), r(a)), Class::Shift, low(&[d, a]), d, &[a]),
            Sxth(d, a) => self.op(format!("sxth {}, {}", r(d), r(a)), Class::Shift, low(&[d, a]), d, &[a]),
            Cmp(a, b) => self.compare(format!("cmp {}, {}", r(a), r(b)), true, bit(a) | bit(b)),
            CmpImm(a, v) => self.compare(format!("cmp {}, #{v}", r(a)), low(&[a]), bit(a)),
            SubsImm(d, a, v) => {
                let narrow = low(&[d, a]) && (v <= 7 || d == a);
                self.op(format!("subs {}, {}, #{v}", r(d), r(a)), Class::Alu, narrow, d, &[a]);
            }
            MaxImm(d, v) => self.limit(d, v, "lt"),
            MinImm(d, v) => self.limit(d, v, "gt"),
            Max(d, a) => self.limit_by(d, a, "lt"),
            Min(d, a) => self.limit_by(d, a, "gt"),
            Pkhbt(d, a, b) => self.wide("pkhbt", Class::Shift, d, &[a, b], ", lsl #16"),
            Pkh(d, a, b) => self.wide("pkhbt", Class::Shift, d, &[a, b], ""),
            Pkhtb(d, a, b, n) => self.wide("pkhtb", Class::Shift, d, &[a, b], &format!(", asr #{n}")),
            Sxtb16(d, a, k) => self.wide("sxtb16", Class::Dsp, d, &[a], &ror(k)),
            Uxtb16(d, a, k) => self.wide("uxtb16", Class::Dsp, d, &[a], &ror(k)),
            Sxtab16(d, a, b, k) => self.wide("sxtab16", Class::Dsp, d, &[a, b], &ror(k)),
            Uxtab16(d, a, b, k) => self.wide("uxtab16", Class::Dsp, d, &[a, b], &ror(k)),
            Sxtab(d, a, b, n) => self.wide("sxtab", Class::Dsp, d, &[a, b], &rotation(8 * n)),
            Sxtah(d, a, b, k) => self.wide("sxtah", Class::Dsp, d, &[a, b], &ror(k)),
            Sadd16(d, a, b) => self.wide("sadd16", Class::Dsp, d, &[a, b], ""),
            Ssub16(d, a, b) => self.wide("ssub16", Class::Dsp, d, &[a, b], ""),
            Qadd16(d, a, b) => self.wide("qadd16", Class::Dsp, d, &[a, b], ""),
            Qsub16(d, a, b) => self.wide("qsub16", Class::Dsp, d, &[a, b], ""),
            MaxBytes(d, a, b) => {
                self.wide("ssub8", Class::Dsp, d, &[a, b], "");
                if let Some(Line { op: Some(op), .. }) = self.out.last_mut() {
                    op.writes |= FLAGS;
                }
                self.wide("sel", Class::Dsp, d, &[a, b], "");
                if let Some(Line { op: Some(op), .. }) = self.out.last_mut() {
                    op.reads |= FLAGS;
                }
            }
            Mul(d, a, b) => {
                let (a, b) = if d == a { (b, a) } else { (a, b) };
                let narrow = self.free && d == b && low(&[d, a]);
                let s = if narrow { "s" } else { "" };
                self.op(format!("mul{s} {}, {}, {}", r(d), r(a), r(b)), Class::Mul, narrow, d, &[a, b]);
            }
            Mla(d, a, b, c) => self.mac("mla", Class::Mla, [d, a, b, c]),
            Mls(d, a, b, c) => self.mac("mls", Class::Mla, [d, a, b, c]),
            Smull(lo, hi, a, b) => {
                let text = format!("smull {}, {}, {}, {}", r(lo), r(hi), r(a), r(b));
                self.op(text, Class::LongMul, false, lo, &[a, b]);
                if let Some(Line { op: Some(op), .. }) = self.out.last_mut() {
                    op.writes |= bit(hi);
                }
            }
            Smuad(d, a, b) => self.wide("smuad", Class::Dsp, d, &[a, b], ""),
            Smuadx(d, a, b) => self.wide("smuadx", Class::Dsp, d, &[a, b], ""),
            Smusd(d, a, b) => self.wide("smusd", Class::Dsp, d, &[a, b], ""),
            Smlad(d, a, b, c) => self.mac("smlad", Class::Dsp, [d, a, b, c]),
            Smladx(d, a, b, c) => self.mac("smladx", Class::Dsp, [d, a, b, c]),
            Smlsd(d, a, b, c) => self.mac("smlsd", Class::Dsp, [d, a, b, c]),
            Smulbb(d, a, b) => self.wide("smulbb", Class::Dsp, d, &[a, b], ""),
            Smulbt(d, a, b) => self.wide("smulbt", Class::Dsp, d, &[a, b], ""),
            Smultb(d, a, b) => self.wide("smultb", Class::Dsp, d, &[a, b], ""),
            Smultt(d, a, b) => self.wide("smultt", Class::Dsp, d, &[a, b], ""),
            Smlabb(d, a, b, c) => self.mac("smlabb", Class::Dsp, [d, a, b, c]),
            Smlabt(d, a, b, c) => self.mac("smlabt", Class::Dsp, [d, a, b, c]),
            Smlatb(d, a, b, c) => self.mac("smlatb", Class::Dsp, [d, a, b, c]),
            Smlatt(d, a, b, c) => self.mac("smlatt", Class::Dsp, [d, a, b, c]),
            Smulwb(d, a, b) => self.wide("smulwb", Class::Dsp, d, &[a, b], ""),
            Smulwt(d, a, b) => self.wide("smulwt", Class::Dsp, d, &[a, b], ""),
            Smlawb(d, a, b, c) => self.mac("smlawb", Class::Dsp, [d, a, b, c]),
            Smlawt(d, a, b, c) => self.mac("smlawt", Class::Dsp, [d, a, b, c]),
            Smmul(d, a, b) => self.wide("smmul", Class::Dsp, d, &[a, b], ""),
            Smmulr(d, a, b) => self.wide("smmulr", Class::Dsp, d, &[a, b], ""),
            Smmla(d, a, b, c) => self.mac("smmla", Class::Dsp, [d, a, b, c]),
            Smmlar(d, a, b, c) => self.mac("smmlar", Class::Dsp, [d, a, b, c]),
            Ssat(d, n, a, s) => self.saturate("ssat", d, n, a, ("asr", s)),
            Usat(d, n, a, s) => self.saturate("usat", d, n, a, ("asr", s)),
            SsatLsl(d, n, a, s) => self.saturate("ssat", d, n, a, ("lsl", s)),
            Ssat16(d, n, a) => self.saturate("ssat16", d, n, a, ("asr", 0)),
            Usat16(d, n, a) => self.saturate("usat16", d, n, a, ("asr", 0)),
        }
    }
    fn byte(&mut self, name: &str, d: Reg, a: Reg, n: u32) {
        let text = format!("{name} {}, {}{}", r(d), r(a), rotation(8 * n));
        self.op(text, Class::Shift, n == 0 && low(&[d, a]), d, &[a]);
    }
    fn saturate(&mut self, name: &str, d: Reg, bits: u32, a: Reg, (how, by): (&str, u32)) {
        let mut text = format!("{name} {}, #{bits}, {}", r(d), r(a));
        if by > 0 {
            let _ = write!(text, ", {how} #{by}");
        }
        self.op(text, Class::Dsp, false, d, &[a]);
    }
}
