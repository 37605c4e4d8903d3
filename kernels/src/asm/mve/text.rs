//! Assembly text of a Helium block: unified syntax that GNU as and LLVM read alike, numeric
//! labels. Out: the text and the bytes of its machine code.

use crate::asm::mve::{At, Inst, Item, LR, R, SP, Saved};

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

/// The instructions that make a constant.
pub(crate) fn constant(d: R, v: i32) -> String {
    let (lo, hi) = (v as u32 & 0xffff, v as u32 >> 16);
    match v {
        0..256 if low(d) => format!("movs {d}, #{v}"),
        _ if hi == 0 => format!("movw {d}, #{lo}"),
        _ => format!("movw {d}, #{lo}\nmovt {d}, #{hi}"),
    }
}

fn low(r: R) -> bool {
    r.0 < 8
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
                self.inst(&Inst::MovImm(LR, *turns as i32));
                self.counted(body);
            }
            Item::Again { body, .. } => self.counted(body),
            Item::Tail { lane, count, body, .. } => {
                self.line(4, &format!("dlstp.{lane} lr, {count}"));
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
        let mut rest = run;
        while !rest.is_empty() {
            let n = rest.iter().take(4).take_while(|i| i.form().then).count();
            if n > 0 {
                self.line(4, &format!("vps{}", "t".repeat(n)));
            }
            let (now, later) = rest.split_at(n.max(1));
            now.iter().for_each(|i| self.inst(i));
            rest = later;
        }
    }
    fn inst(&mut self, inst: &Inst) {
        let inst = match *inst {
            Inst::LdrArg(d, n) => Inst::Ldr(d, SP, (self.arguments + 4 * (n - 4)) as i32),
            inst => inst,
        };
        self.line(inst.form().bytes, &inst.text(""));
    }
}
