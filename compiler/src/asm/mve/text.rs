//! Assembly text of a Helium block: unified syntax that GNU as and LLVM read alike, numeric
//! labels. Out: the text and the bytes of its machine code.

use crate::asm::mve::{At, Bin, Half, Inst, Item, LR, Lane, Q, R, SP, Saved};

impl std::fmt::Display for R {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            13 => f.write_str("sp"),
            14 => f.write_str("lr"),
            n => write!(f, "r{n}"),
        }
    }
}

impl std::fmt::Display for Q {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "q{}", self.0)
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            At::Offset(r, 0) => write!(f, "[{r}]"),
            At::Offset(r, n) => write!(f, "[{r}, #{n}]"),
            At::Before(r, n) => write!(f, "[{r}, #{n}]!"),
            At::After(r, n) => write!(f, "[{r}], #{n}"),
        }
    }
}

fn bits(lane: Lane) -> u32 {
    match lane {
        Lane::B => 8,
        Lane::H => 16,
        Lane::W => 32,
    }
}

fn letter(half: Half) -> char {
    match half {
        Half::Bottom => 'b',
        Half::Top => 't',
    }
}

fn low(r: R) -> bool {
    r.0 < 8
}

/// Bytes of a load or store of a word.
fn word(data: R, base: R, offset: i32) -> u32 {
    let reach = match base {
        SP => 1020,
        base if low(base) => 124,
        _ => -1,
    };
    if low(data) && (0..=reach).contains(&offset) && offset % 4 == 0 { 2 } else { 4 }
}

struct Printer {
    text: String,
    bytes: u32,
    labels: u32,
    /// From `sp` to the first argument on the stack.
    arguments: u32,
}

/// The whole function, entry and return included.
pub(crate) fn print(items: &[Item], saved: &Saved, slots: u32) -> (String, u32) {
    let mut p = Printer { text: String::new(), bytes: 0, labels: 0, arguments: 0 };
    p.arguments = saved.bytes() + 4 * slots.next_multiple_of(2);
    let names = |last: &str| {
        let regs = saved.scalars.iter().map(|&n| R(n).to_string());
        regs.chain([last.to_string()]).collect::<Vec<_>>().join(", ")
    };
    let vectors = format!("d8-d{}", 7 + 2 * saved.vectors);
    let frame = 4 * slots.next_multiple_of(2);
    // Low registers have short forms.
    let ends = if saved.scalars.iter().all(|&n| n < 8) { 2 } else { 4 };
    p.line(ends, &format!("push {{{}}}", names("lr")));
    if saved.vectors > 0 {
        p.line(4, &format!("vpush {{{vectors}}}"));
    }
    if frame > 0 {
        p.line(2, &format!("sub sp, sp, #{frame}"));
    }
    p.items(items);
    if frame > 0 {
        p.line(2, &format!("add sp, sp, #{frame}"));
    }
    if saved.vectors > 0 {
        p.line(4, &format!("vpop {{{vectors}}}"));
    }
    p.line(ends, &format!("pop {{{}}}", names("pc")));
    p.text.pop();
    (p.text, p.bytes)
}

impl Printer {
    fn line(&mut self, bytes: u32, line: &str) {
        self.bytes += bytes;
        self.text.push_str(line);
        self.text.push('\n');
    }
    fn label(&mut self) -> u32 {
        self.labels += 1;
        let label = self.labels;
        self.line(0, &format!("{label}:"));
        label
    }
    fn items(&mut self, items: &[Item]) {
        for item in items {
            self.item(item);
        }
    }
    fn item(&mut self, item: &Item) {
        match item {
            Item::Run(run) => self.run(run),
            Item::Low { turns, body } => {
                // `le` needs no `dls` before it: that is a move to `lr`.
                self.inst(&Inst::MovImm(LR, *turns as i32), false);
                self.counted(body);
            }
            Item::Again { body, .. } => self.counted(body),
            Item::Tail { lane, count, body, .. } => {
                self.line(4, &format!("dlstp.{} lr, {count}", bits(*lane)));
                let top = self.label();
                self.run(body);
                self.line(4, &format!("letp lr, {top}b"));
            }
            Item::Down { count, step, body, .. } => {
                let (top, start) = (self.label(), self.bytes);
                self.items(body);
                self.line(if low(*count) { 2 } else { 4 }, &format!("subs {count}, {count}, #{step}"));
                // A short branch reaches back 256 bytes from behind the next instruction.
                let near = self.bytes + 4 - start <= 256;
                self.line(if near { 2 } else { 4 }, &format!("bgt {top}b"));
            }
            Item::IfOne { count, body } => {
                self.labels += 1;
                let past = self.labels;
                self.line(if low(*count) { 2 } else { 4 }, &format!("cmp {count}, #1"));
                self.line(2, &format!("bne {past}f"));
                self.run(body);
                self.line(0, &format!("{past}:"));
            }
        }
    }
    /// A loop that `lr` counts.
    fn counted(&mut self, body: &[Item]) {
        let top = self.label();
        self.items(body);
        self.line(4, &format!("le lr, {top}b"));
    }
    /// Neighbours under a predicate share one `vpst`.
    fn run(&mut self, run: &[Inst]) {
        let mut i = 0;
        while i < run.len() {
            let n = run[i..].iter().take(4).take_while(|i| matches!(i, Inst::Then(_))).count();
            if n == 0 {
                self.inst(&run[i], false);
                i += 1;
                continue;
            }
            self.line(4, &format!("vps{}", "t".repeat(n)));
            for inst in &run[i..i + n] {
                if let Inst::Then(p) = inst {
                    self.inst(&p.plain(), true);
                }
            }
            i += n;
        }
    }
    fn inst(&mut self, inst: &Inst, then: bool) {
        let t = if then { "t" } else { "" };
        let (bytes, line) = match *inst {
            Inst::Mov(d, a) => (2, format!("mov {d}, {a}")),
            Inst::MovImm(d, v @ 0..256) if low(d) => (2, format!("movs {d}, #{v}")),
            Inst::MovImm(d, v) => {
                let (lo, hi) = (v as u32 & 0xffff, v as u32 >> 16);
                if hi != 0 {
                    self.line(4, &format!("movw {d}, #{lo}"));
                    (4, format!("movt {d}, #{hi}"))
                } else {
                    (4, format!("movw {d}, #{lo}"))
                }
            }
            Inst::AddImm(d, a, v) if d == a && low(d) && (0..256).contains(&v) => {
                (2, format!("adds {d}, #{v}"))
            }
            Inst::AddImm(d, a, v) if d == a && low(d) && (-255..0).contains(&v) => {
                (2, format!("subs {d}, #{}", -v))
            }
            Inst::AddImm(d, a, v) if v < 0 => (4, format!("subw {d}, {a}, #{}", -v)),
            Inst::AddImm(d, a, v) => (4, format!("addw {d}, {a}, #{v}")),
            Inst::Sub(d, a, b) => {
                (if low(d) && low(a) && low(b) { 2 } else { 4 }, format!("subs {d}, {a}, {b}"))
            }
            Inst::Add(d, a, b) => (if d == a { 2 } else { 4 }, format!("add {d}, {a}, {b}")),
            Inst::Ldr(d, a, n) => (word(d, a, n), format!("ldr {d}, [{a}, #{n}]")),
            Inst::Str(s, a, n) => (word(s, a, n), format!("str {s}, [{a}, #{n}]")),
            Inst::Load(q, at) => (4, format!("vldrb{t}.u8 {q}, {at}")),
            Inst::Store(q, at) => (4, format!("vstrb{t}.8 {q}, {at}")),
            Inst::LoadWords(q, r, n) => (4, format!("vldrw{t}.u32 {q}, {}", At::Offset(r, n))),
            Inst::LdrArg(d, n) => {
                let from = self.arguments + 4 * (n - 4);
                (word(d, SP, from as i32), format!("ldr {d}, [sp, #{from}]"))
            }
            Inst::LoadWide(lane, q, at) => (4, format!("vldrb{t}.s{} {q}, {at}", bits(lane))),
            Inst::Gather(d, r, q) => (4, format!("vldrb{t}.u8 {d}, [{r}, {q}]")),
            Inst::AddAll(l, d, a, r) => (4, format!("vadd.i{} {d}, {a}, {r}", bits(l))),
            Inst::TimesPlusAll(d, a, r) => (4, format!("vmlas.s32 {d}, {a}, {r}")),
            Inst::PlusTimesAll(d, a, r) => (4, format!("vmla.s32 {d}, {a}, {r}")),
            Inst::Asr(d, a, n) => (4, format!("vshr.s32 {d}, {a}, #{n}")),
            Inst::QAddAll(d, a, r) => (4, format!("vqadd.s16 {d}, {a}, {r}")),
            Inst::StoreNarrow(lane, q, at) => (4, format!("vstrb{t}.{} {q}, {at}", bits(lane))),
            Inst::Dot { acc, to, a, b } => {
                (4, format!("vmladav{}.s8 {to}, {a}, {b}", if acc { "a" } else { "" }))
            }
            Inst::SetLanes(q, first, a, b) => (4, format!("vmov {q}[{}], {q}[{first}], {a}, {b}", first + 2)),
            Inst::Bin(op, d, a, b) => (4, format!("{} {d}, {a}, {b}", mnemonic(op))),
            Inst::Widen(lane, half, d, a) => (4, format!("vmovl{}.s{} {d}, {a}", letter(half), bits(lane))),
            Inst::Narrow(lane, half, d, a) => (4, format!("vqmovn{}.s{} {d}, {a}", letter(half), bits(lane))),
            Inst::NarrowShift(lane, half, d, a, n) => {
                (4, format!("vqrshrn{}.s{} {d}, {a}, #{n}", letter(half), bits(lane)))
            }
            Inst::ShrRound(d, a, n) => (4, format!("vrshr.s32 {d}, {a}, #{n}")),
            Inst::Shr(d, a, n) => (4, format!("vshr.u32 {d}, {a}, #{n}")),
            Inst::Dup(lane, q, r) => (4, format!("vdup.{} {q}, {r}", bits(lane))),
            Inst::Vctp(lane, r) => (4, format!("vctp.{} {r}", bits(lane))),
            Inst::Then(p) => return self.inst(&p.plain(), true),
        };
        self.line(bytes, &line);
    }
}

fn mnemonic(op: Bin) -> String {
    match op {
        Bin::Add(l) => format!("vadd.i{}", bits(l)),
        Bin::MulHigh => "vmulh.s32".into(),
        Bin::QAdd(l) => format!("vqadd.s{}", bits(l)),
        Bin::Mul(l) => format!("vmul.i{}", bits(l)),
        Bin::And => "vand".into(),
        Bin::RoundShift => "vrshl.s32".into(),
        Bin::Max(l) => format!("vmax.s{}", bits(l)),
        Bin::Min(l) => format!("vmin.s{}", bits(l)),
        Bin::MulLong(h) => format!("vmull{}.s8", letter(h)),
    }
}
