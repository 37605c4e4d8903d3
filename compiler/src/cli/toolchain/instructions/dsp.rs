//! Thumb-2 with the DSP extension, on low registers and on high ones: instructions drawn from each
//! row of the table, and by hand those that take a label.

use super::{Case, Drawn, Table, X, Y, bytes, spellings_equal_meanings, words};
use crate::asm::armv7em::assign::assign;
use crate::asm::armv7em::simulate::run as simulate;
use crate::asm::armv7em::{Block, Cond, FLOATS, Float, Inst, Reg, Slot};
use crate::asm::simulate::Memory;
use crate::asm::table::Touch;
use secateur_targets::Core;
use std::collections::BTreeSet;

/// Instructions tried in one case; each has four words of results: two that stores write, two of
/// registers.
const TRIES: usize = 5;
const TABLE: Table = Table { entries: 48, words: 4, results: 4 * TRIES };

/// What an instruction is tried on: loaded operands and others, an address, an index of 0 or 1, an
/// amount of 0 to 31. The entry and its results stand at x and y.
#[derive(Clone, Copy)]
struct On {
    read: [Reg; 3],
    written: [Reg; 2],
    p: Reg,
    i: Reg,
    n: Reg,
    x: Reg,
    y: Reg,
}

impl On {
    fn register(&self, first: u32, touch: Touch, drawn: &mut Drawn) -> u32 {
        if first == FLOATS {
            return 3;
        }
        let any = drawn.any(5);
        let reg = match touch {
            Touch::Read | Touch::Addend | Touch::Both => self.read[any % 3],
            // In place, too.
            Touch::Write | Touch::Part => {
                [self.read[0], self.read[1], self.read[2], self.written[0], self.written[1]][any]
            }
            Touch::Early => self.written[0],
            Touch::Base | Touch::Moved => self.p,
            Touch::Index => self.i,
            Touch::Amount => self.n,
        };
        reg.0
    }
}

/// The results of an instruction, the `at`th of its case.
fn tried(k: &mut Block, on: &On, inst: Inst, at: u32) {
    let form = inst.form();
    let touched = |touch| inst.touched(touch).is_some();
    let stores = form.access > 0 && inst.operands().0.iter().all(|r| *r == on.p);
    let results = 16 * at;
    for (i, r) in (0..).zip(on.read) {
        k.push(Inst::Ldr(r, on.x, 4 * i));
    }
    if touched(Touch::Amount) {
        k.push(Inst::Ubfx(on.n, on.read[1], 0, 5));
    }
    if touched(Touch::Index) {
        k.push(Inst::Ubfx(on.i, on.read[0], 0, 1));
    }
    let moves = touched(Touch::Moved);
    let from = if stores { on.y } else { on.x };
    let ahead = if stores { results as i32 } else { 0 } - form.offset.unwrap_or(0) as i32;
    if moves || touched(Touch::Base) {
        k.push(Inst::Mov(on.p, from));
        k.advance(on.p, ahead);
    }
    k.push(Inst::FloatTo(Float(3), on.read[2]));
    k.push(Inst::StrSlot(on.read[2], Slot(0)));
    k.push(Inst::StrSlot(on.read[2], Slot(1)));
    let mut made: Vec<Reg> = inst.operands().0;
    if let Inst::Cmp(..) | Inst::CmpImm(..) | Inst::SubsImm(..) = inst {
        use Cond::*;
        let (conds, d) = ([Eq, Ne, Lo, Hs, Lt, Ge, Gt, Le], on.n);
        k.push(Inst::MovImm(d, 0));
        // No flags live across a label: each condition has its own comparison.
        let in_place = inst.operands().1.iter().any(|r| made.contains(r));
        let conds = if in_place { &conds[at as usize..][..1] } else { &conds[..] };
        for (&c, bit) in conds.iter().zip(0..) {
            let over = k.ahead();
            k.push(inst);
            k.push(Inst::Branch(c, over));
            k.push(Inst::AddImm(d, d, 1 << bit));
            k.place(over);
        }
        made.push(d);
    } else {
        k.push(inst);
    }
    match inst {
        Inst::FloatTo(f, _) => k.push(Inst::FloatFrom(on.n, f)),
        Inst::StrSlot(_, slot) => k.push(Inst::LdrSlot(on.n, slot)),
        _ if moves => k.push(Inst::Sub(on.p, on.p, from)),
        _ => {}
    }
    if matches!(inst, Inst::FloatTo(..) | Inst::StrSlot(..)) {
        made.push(on.n);
    }
    for (i, r) in (0..).zip(made) {
        k.push(Inst::Str(r, on.y, results + 8 + 4 * i));
    }
}

/// A loop over the table around `body`; on `high` registers where low ones are kept busy.
fn looped(high: bool, body: impl FnOnce(&mut Block, &On)) -> Block {
    let mut k = Block::new(2);
    let [x, y] = [k.args[0], k.args[1]];
    let busy: Vec<Reg> = if high { (0..4).map(|_| k.reg()).collect() } else { Vec::new() };
    busy.iter().for_each(|&r| k.push(Inst::MovImm(r, 9)));
    for _ in 0..4 {
        let _ = (k.slot(), k.float());
    }
    let end = k.reg();
    k.push(Inst::Mov(end, x));
    k.advance(end, (4 * TABLE.words * TABLE.entries) as i32);
    let top = k.label(TABLE.entries as u64);
    let on = On { read: k.regs_n(), written: k.regs_n(), p: k.reg(), i: k.reg(), n: k.reg(), x, y };
    body(&mut k, &on);
    k.push(Inst::AddImm(x, x, 4 * TABLE.words as i32));
    k.push(Inst::AddImm(y, y, 4 * TABLE.results as i32));
    k.push(Inst::Cmp(x, end));
    k.push(Inst::BranchBack(Cond::Ne, top));
    busy.iter().for_each(|&r| k.push(Inst::Cmp(r, r)));
    k
}

/// A block for each row whose operands can be drawn.
fn drawn(high: bool) -> Vec<(String, Block)> {
    let row = |&name: &&'static str| {
        let mut found = 0;
        let block = looped(high, |k, on| {
            let registers = |drawn: &mut Drawn, first, touch| on.register(first, touch, drawn);
            let mut drawn = Drawn::new(name);
            for at in 0..TRIES as u32 {
                if let Some(inst) = drawn.legal(&registers, |d| Inst::draw(name, d), Inst::legal) {
                    tried(k, on, inst, at);
                    found += 1;
                }
            }
        });
        (found > 0).then(|| (name.to_string(), block))
    };
    // Arguments on the stack are tried by whole kernels.
    Inst::NAMES.iter().filter(|name| **name != "LdrArg").filter_map(row).collect()
}

/// What is not drawn: constants by the way they are made, and what takes labels.
fn written(high: bool) -> Vec<(String, Block)> {
    let constants = |of: [i32; TRIES]| {
        looped(high, move |k, on| {
            for (at, v) in (0..).zip(of) {
                tried(k, on, Inst::MovImm(on.written[0], v), at);
            }
        })
    };
    let jump = looped(high, |k, on| {
        let ([a, b, _], d, over) = (on.read, on.written[0], k.ahead());
        k.push(Inst::Ldr(a, on.x, 0));
        k.push(Inst::Ldr(b, on.x, 4));
        k.push(Inst::Mov(d, a));
        k.push(Inst::Jump(over));
        k.push(Inst::Mov(d, b));
        k.place(over);
        k.push(Inst::Str(d, on.y, 0));
    });
    let enter = looped(high, |k, on| {
        // Two pieces of four bytes, the second of which is entered.
        let (slot, first, second) = (Slot(0), k.ahead(), k.ahead());
        let ([a, b, c], [d, at], one) = (on.read, on.written, on.i);
        (0..).zip(on.read).for_each(|(i, r)| k.push(Inst::Ldr(r, on.x, 4 * i)));
        k.push(Inst::MovImm(d, 0));
        k.push(Inst::Adr(at, first));
        k.push(Inst::MovImm(one, 1));
        k.push(Inst::Orr(at, at, one));
        k.push(Inst::AddImm(at, at, 4));
        k.push(Inst::StrSlot(at, slot));
        k.push(Inst::Enter(slot, second));
        k.place(first);
        k.push(Inst::Smlad(d, a, b, d));
        k.place(second);
        k.push(Inst::Smlad(d, b, c, d));
        k.push(Inst::Str(d, on.y, 0));
    });
    vec![
        ("constants".into(), constants([0, 255, 256, -1, 0x1234_5678])),
        ("patterns".into(), constants([0x00ab_00ab, 0x3fc0_0000, -257, 0x1fe00, -0x5400_5401])),
        ("wide constants".into(), constants([i32::MIN, 65535, 65536, 0x5600_5600, 0x7777_7777])),
        ("Jump".into(), jump),
        ("Enter".into(), enter),
    ]
}

/// All blocks.
fn cases(core: &Core) -> Vec<Case> {
    let (mut all, mut tried) = (Vec::new(), BTreeSet::new());
    for high in [false, true] {
        for (name, block) in drawn(high).into_iter().chain(written(high)) {
            let name = format!("{name} {}", if high { "high" } else { "low" });
            tried.extend(block.insts.iter().map(Inst::name));
            let native = block.native("dsp", core).unwrap_or_else(|e| panic!("{name}: {e}"));
            let assigned = assign(&block).unwrap();
            let meaning = move |x: &[i32]| {
                let regions = vec![(X, bytes(x)), (Y, vec![0; 4 * TABLE.output()])];
                let mut memory = Memory { regions };
                simulate(&assigned, &[X, Y], &mut memory);
                words(&memory.regions[1].1)
            };
            all.push(Case { name, native, meaning: Box::new(meaning) });
        }
    }
    let missing: Vec<_> = Inst::NAMES.iter().filter(|n| !tried.contains(**n)).collect();
    assert_eq!(missing, [&"LdrArg"], "rows without a case");
    all
}

fn check(core: &str) {
    let cases = cases(&secateur_targets::core(core).unwrap());
    spellings_equal_meanings(core, TABLE, &cases, false);
}

#[test]
fn spellings_equal_meanings_on_cortex_m4() {
    check("cortex-m4");
}

#[test]
fn spellings_equal_meanings_on_cortex_m33() {
    check("cortex-m33");
}

#[test]
fn spellings_equal_meanings_on_cortex_m7() {
    check("cortex-m7");
}

#[test]
fn spellings_equal_meanings_on_cortex_m55() {
    check("cortex-m55");
}

#[test]
fn a_core_without_the_extension_gets_no_instructions_of_it() {
    let block = looped(false, |_, _| {});
    for name in ["cortex-m0plus", "cortex-m3"] {
        let core = secateur_targets::core(name).unwrap();
        assert!(block.native("dsp", &core).unwrap_err().to_string().contains("has no `dsp`"), "{name}");
    }
}
