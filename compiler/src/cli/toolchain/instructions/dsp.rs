//! Thumb-2 with the DSP extension, on low registers and on high ones; the meaning is that of
//! [`crate::asm::armv7em::simulate`].

use super::{Case, Table, X, Y, bytes, spellings_equal_meanings, words};
use crate::asm::armv7em::assign::assign;
use crate::asm::armv7em::simulate::{Memory, run as simulate};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use secateur_targets::Core;

const TABLE: Table = Table { entries: 48, words: 4, results: 2 };

/// What an instruction is tried on: loaded operands, pointers to the entry and to its results.
#[derive(Clone, Copy)]
struct On {
    a: Reg,
    b: Reg,
    c: Reg,
    x: Reg,
    y: Reg,
}

type Try = (&'static str, fn(&mut Block, On) -> [Reg; 2]);

/// One result; the second is the first operand.
macro_rules! one {
    ($on:ident; $name:ident, $($arg:tt)*) => {
        (stringify!($name), |k: &mut Block, $on: On| {
            let d = k.reg();
            k.push(Inst::$name(d, $($arg)*));
            [d, $on.a]
        })
    };
}

/// A result that is read before, from a copy of the third operand.
macro_rules! over {
    ($on:ident; $name:ident, $($arg:tt)*) => {
        (stringify!($name), |k: &mut Block, $on: On| {
            let d = k.reg();
            k.push(Inst::Mov(d, $on.c));
            k.push(Inst::$name(d, $($arg)*));
            [d, $on.a]
        })
    };
}

/// An amount of a shift.
fn amount(k: &mut Block, of: Reg) -> Reg {
    let d = k.reg();
    k.push(Inst::Ubfx(d, of, 0, 5));
    d
}

/// Access behind a moved pointer: the value, and how far the pointer went.
fn post(k: &mut Block, from: Reg, inst: impl Fn(Reg, Reg) -> Inst) -> [Reg; 2] {
    let [d, p] = k.regs_n();
    k.push(Inst::Mov(p, from));
    k.push(Inst::MovImm(d, -2));
    k.push(inst(d, p));
    k.push(Inst::Sub(p, p, from));
    [d, p]
}

/// A store over results that are zero, read back.
fn stored(k: &mut Block, y: Reg, inst: impl Fn(&mut Block)) -> [Reg; 2] {
    let zero = k.reg();
    k.push(Inst::MovImm(zero, 0));
    k.push(Inst::Str(zero, y, 0));
    k.push(Inst::Str(zero, y, 4));
    inst(k);
    let [u, v] = k.regs_n();
    k.push(Inst::Ldr(u, y, 0));
    k.push(Inst::Ldr(v, y, 4));
    [u, v]
}

/// 1 where a forward branch was not taken.
fn branch(k: &mut Block, c: Cond, a: Reg, b: Reg) -> [Reg; 2] {
    let d = k.reg();
    k.push(Inst::MovImm(d, 0));
    k.push(Inst::Cmp(a, b));
    let over = k.ahead();
    k.push(Inst::Branch(c, over));
    k.push(Inst::MovImm(d, 1));
    k.place(over);
    [d, a]
}

#[rustfmt::skip]
fn tries() -> Vec<Try> {
    let mut all: Vec<Try> = vec![
        one!(on; Ldr, on.x, 4), one!(on; Ldrb, on.x, 3), one!(on; Ldrsb, on.x, 2), one!(on; Ldrh, on.x, 6), one!(on; Ldrsh, on.x, 10),
        one!(on; LdrWide, on.x, 8),
        ("LdrPost", |k, on| post(k, on.x, |d, p| Inst::LdrPost(d, p, 4))),
        ("LdrsbPost", |k, on| post(k, on.x, |d, p| Inst::LdrsbPost(d, p, -3))),
        ("LdrshPost", |k, on| post(k, on.x, |d, p| Inst::LdrshPost(d, p, 255))),
        ("LdrAt", |k, on| at(k, on, |d, x, i| Inst::LdrAt(d, x, i, 2))),
        ("LdrAt0", |k, on| at(k, on, |d, x, i| Inst::LdrAt(d, x, i, 0))),
        ("LdrbAt", |k, on| at(k, on, |d, x, i| Inst::LdrbAt(d, x, i, 1))),
        ("LdrsbAt", |k, on| at(k, on, |d, x, i| Inst::LdrsbAt(d, x, i, 0))),
        ("LdrshAt", |k, on| at(k, on, |d, x, i| Inst::LdrshAt(d, x, i, 1))),
        ("Str", |k, on| stored(k, on.y, |k| k.push(Inst::Str(on.a, on.y, 4)))),
        ("StrWide", |k, on| stored(k, on.y, |k| k.push(Inst::StrWide(on.a, on.y, 4)))),
        ("Strb", |k, on| stored(k, on.y, |k| k.push(Inst::Strb(on.a, on.y, 3)))),
        ("Strh", |k, on| stored(k, on.y, |k| k.push(Inst::Strh(on.a, on.y, 2)))),
        ("StrAt", |k, on| stored(k, on.y, |k| { let i = index(k, on.a); k.push(Inst::StrAt(on.b, on.y, i, 2)) })),
        ("StrbAt", |k, on| stored(k, on.y, |k| { let i = index(k, on.a); k.push(Inst::StrbAt(on.b, on.y, i, 1)) })),
        ("StrPost", |k, on| stored(k, on.y, |k| moved(k, on, |s, p| Inst::StrPost(s, p, 4)))),
        ("StrbPost", |k, on| stored(k, on.y, |k| moved(k, on, |s, p| Inst::StrbPost(s, p, 5)))),
        ("StrhPost", |k, on| stored(k, on.y, |k| moved(k, on, |s, p| Inst::StrhPost(s, p, 2)))),
        ("Slots", |k, on| {
            let (s, d) = (k.slot(), k.reg());
            k.push(Inst::StrSlot(on.a, s));
            k.push(Inst::LdrSlot(d, s));
            [d, on.b]
        }),
        ("Floats", |k, on| {
            let (f, d) = (k.float(), k.reg());
            k.push(Inst::FloatTo(f, on.a));
            k.push(Inst::FloatFrom(d, f));
            [d, on.b]
        }),
        one!(on; Mov, on.b), one!(on; MovImm, 0), one!(on; MovImm, 255), one!(on; MovImm, 256), one!(on; MovImm, -1),
        one!(on; MovImm, 0x1234_5678), one!(on; MovImm, 0x00ab_00ab), one!(on; MovImm, 0x3fc0_0000), one!(on; MovImm, -257),
        one!(on; MovImm, 0x1fe00), one!(on; MovImm, i32::MIN), one!(on; MovImm, 65536), one!(on; MovImm, -0x5400_5401),
        one!(on; Add, on.a, on.b), over!(on; Add, on.c, on.a), one!(on; Sub, on.a, on.b), one!(on; AddImm, on.a, 7), one!(on; AddImm, on.a, 8),
        one!(on; AddImm, on.a, -3), one!(on; AddImm, on.a, 4095), one!(on; AddImm, on.a, -4095),
        ("AddImm in place", |k, on| { k.push(Inst::AddImm(on.c, on.c, 200)); [on.c, on.a] }),
        ("AddImm back in place", |k, on| { k.push(Inst::AddImm(on.c, on.c, -255)); [on.c, on.a] }),
        one!(on; AddLsl, on.a, on.b, 1), one!(on; AddLsl, on.a, on.b, 31), one!(on; AddAsr, on.a, on.b, 8), one!(on; AddAsr, on.a, on.b, 31),
        one!(on; And, on.a, on.b), one!(on; Orr, on.a, on.b), one!(on; Eor, on.a, on.b),
        ("And in place", |k, on| { k.push(Inst::And(on.c, on.c, on.b)); [on.c, on.a] }),
        ("Eor over the second", |k, on| { k.push(Inst::Eor(on.c, on.a, on.c)); [on.c, on.a] }),
        one!(on; Neg, on.a), one!(on; LslImm, on.a, 1), one!(on; LslImm, on.a, 31), one!(on; LsrImm, on.a, 1), one!(on; LsrImm, on.a, 31),
        one!(on; AsrImm, on.a, 1), one!(on; AsrImm, on.a, 31),
        ("Lsl", |k, on| { let (n, d) = (amount(k, on.b), k.reg()); k.push(Inst::Lsl(d, on.a, n)); [d, n] }),
        ("Lsr", |k, on| { let (n, d) = (amount(k, on.b), k.reg()); k.push(Inst::Lsr(d, on.a, n)); [d, n] }),
        ("Asr", |k, on| { let (n, d) = (amount(k, on.b), k.reg()); k.push(Inst::Asr(d, on.a, n)); [d, n] }),
        ("Asr in place", |k, on| { let n = amount(k, on.b); k.push(Inst::Asr(on.c, on.c, n)); [on.c, n] }),
        one!(on; Ubfx, on.a, 0, 8), one!(on; Ubfx, on.a, 7, 25), one!(on; Sbfx, on.a, 3, 1), one!(on; Sbfx, on.a, 0, 32),
        over!(on; Bfi, on.a, 8, 8), over!(on; Bfi, on.a, 31, 1),
        one!(on; Uxtb, on.a, 0), one!(on; Uxtb, on.a, 3), one!(on; Sxtb, on.a, 0), one!(on; Sxtb, on.a, 2), one!(on; Uxth, on.a), one!(on; Sxth, on.a),
        one!(on; SubsImm, on.a, 1), one!(on; SubsImm, on.a, 200),
        over!(on; MaxImm, 0), over!(on; MaxImm, -128), over!(on; MaxImm, 255), over!(on; MinImm, 127), over!(on; MinImm, -255),
        over!(on; Max, on.a), over!(on; Min, on.a),
        one!(on; Pkhbt, on.a, on.b), one!(on; Pkh, on.a, on.b), one!(on; Pkhtb, on.a, on.b, 16), one!(on; Pkhtb, on.a, on.b, 1),
        one!(on; Sxtb16, on.a, Ror::R0), one!(on; Sxtb16, on.a, Ror::R8), one!(on; Uxtb16, on.a, Ror::R0), one!(on; Uxtb16, on.a, Ror::R8),
        one!(on; Sxtab16, on.a, on.b, Ror::R0), one!(on; Sxtab16, on.a, on.b, Ror::R8), one!(on; Uxtab16, on.a, on.b, Ror::R0),
        one!(on; Uxtab16, on.a, on.b, Ror::R24), one!(on; Sxtab, on.a, on.b, 0), one!(on; Sxtab, on.a, on.b, 3),
        one!(on; Sxtah, on.a, on.b, Ror::R0), one!(on; Sxtah, on.a, on.b, Ror::R16),
        one!(on; Sadd16, on.a, on.b), one!(on; Ssub16, on.a, on.b), one!(on; Qadd16, on.a, on.b), one!(on; Qsub16, on.a, on.b),
        one!(on; MaxBytes, on.a, on.b), one!(on; MaxBytes, on.b, on.a),
        one!(on; Mul, on.a, on.b), one!(on; Mla, on.a, on.b, on.c), one!(on; Mls, on.a, on.b, on.c),
        ("Mul in place", |k, on| { k.push(Inst::Mul(on.c, on.c, on.b)); [on.c, on.a] }),
        ("Smull", |k, on| { let [lo, hi] = k.regs_n(); k.push(Inst::Smull(lo, hi, on.a, on.b)); [lo, hi] }),
        one!(on; Smuad, on.a, on.b), one!(on; Smuadx, on.a, on.b), one!(on; Smusd, on.a, on.b),
        one!(on; Smlad, on.a, on.b, on.c), one!(on; Smladx, on.a, on.b, on.c), one!(on; Smlsd, on.a, on.b, on.c),
        one!(on; Smulbb, on.a, on.b), one!(on; Smulbt, on.a, on.b), one!(on; Smultb, on.a, on.b), one!(on; Smultt, on.a, on.b),
        one!(on; Smlabb, on.a, on.b, on.c), one!(on; Smlabt, on.a, on.b, on.c), one!(on; Smlatb, on.a, on.b, on.c), one!(on; Smlatt, on.a, on.b, on.c),
        one!(on; Smulwb, on.a, on.b), one!(on; Smulwt, on.a, on.b), one!(on; Smlawb, on.a, on.b, on.c), one!(on; Smlawt, on.a, on.b, on.c),
        one!(on; Smmul, on.a, on.b), one!(on; Smmulr, on.a, on.b), one!(on; Smmla, on.a, on.b, on.c), one!(on; Smmlar, on.a, on.b, on.c),
        one!(on; Ssat, 8, on.a, 0), one!(on; Ssat, 8, on.a, 31), one!(on; Ssat, 32, on.a, 1), one!(on; Ssat, 16, on.a, 14),
        one!(on; Usat, 8, on.a, 0), one!(on; Usat, 31, on.a, 1), one!(on; SsatLsl, 8, on.a, 3), one!(on; SsatLsl, 32, on.a, 31),
        one!(on; Ssat16, 8, on.a), one!(on; Usat16, 8, on.a),
    ];
    all.extend([
        ("Eq", (|k, on| branch(k, Cond::Eq, on.a, on.b)) as fn(&mut Block, On) -> [Reg; 2]),
        ("Ne", |k, on| branch(k, Cond::Ne, on.a, on.b)),
        ("Lo", |k, on| branch(k, Cond::Lo, on.a, on.b)),
        ("Hs", |k, on| branch(k, Cond::Hs, on.a, on.b)),
        ("Lt", |k, on| branch(k, Cond::Lt, on.a, on.b)),
        ("Ge", |k, on| branch(k, Cond::Ge, on.a, on.b)),
        ("Gt", |k, on| branch(k, Cond::Gt, on.a, on.b)),
        ("Le", |k, on| branch(k, Cond::Le, on.a, on.b)),
        ("Jump", |k, on| {
            let (d, over) = (k.reg(), k.ahead());
            k.push(Inst::Mov(d, on.a));
            k.push(Inst::Jump(over));
            k.push(Inst::Mov(d, on.b));
            k.place(over);
            [d, on.a]
        }),
        ("Enter", |k, on| {
            // Two pieces of four bytes; bit 0 of an operand says at which to enter.
            let (slot, first, second) = (k.slot(), k.ahead(), k.ahead());
            let [d, at, one] = k.regs_n();
            k.push(Inst::MovImm(d, 0));
            k.push(Inst::Adr(at, first));
            k.push(Inst::MovImm(one, 1));
            k.push(Inst::Orr(at, at, one));
            k.push(Inst::AddImm(at, at, 4));
            k.push(Inst::StrSlot(at, slot));
            k.push(Inst::Enter(slot, second));
            k.place(first);
            k.push(Inst::Smlad(d, on.a, on.b, d));
            k.place(second);
            k.push(Inst::Smlad(d, on.b, on.c, d));
            [d, on.a]
        }),
    ]);
    all
}

/// Loads at a small index.
fn at(k: &mut Block, on: On, inst: impl Fn(Reg, Reg, Reg) -> Inst) -> [Reg; 2] {
    let (i, d) = (index(k, on.a), k.reg());
    k.push(inst(d, on.x, i));
    [d, i]
}

/// 0 or 1.
fn index(k: &mut Block, of: Reg) -> Reg {
    let d = k.reg();
    k.push(Inst::Ubfx(d, of, 0, 1));
    d
}

fn moved(k: &mut Block, on: On, inst: impl Fn(Reg, Reg) -> Inst) {
    let p = k.reg();
    k.push(Inst::Mov(p, on.y));
    k.push(inst(on.a, p));
    k.push(inst(on.b, p));
    // Beyond the results lies the next entry's; its own run comes later.
}

/// A loop over the table; on `high` registers where low ones are kept busy.
fn block(of: &Try, high: bool) -> Block {
    let mut k = Block::new(2);
    let [x, y] = [k.args[0], k.args[1]];
    let busy: Vec<Reg> = if high { (0..4).map(|_| k.reg()).collect() } else { Vec::new() };
    busy.iter().for_each(|&r| k.push(Inst::MovImm(r, 9)));
    let end = k.reg();
    k.push(Inst::Mov(end, x));
    k.advance(end, (4 * TABLE.words * TABLE.entries) as i32);
    let top = k.label(TABLE.entries as u64);
    let [a, b, c] = k.regs_n();
    for (i, r) in [a, b, c].into_iter().enumerate() {
        k.push(Inst::Ldr(r, x, 4 * i as u32));
    }
    let results = (of.1)(&mut k, On { a, b, c, x, y });
    for (i, r) in results.into_iter().enumerate() {
        k.push(Inst::Str(r, y, 4 * i as u32));
    }
    k.push(Inst::AddImm(x, x, 4 * TABLE.words as i32));
    k.push(Inst::AddImm(y, y, 4 * TABLE.results as i32));
    k.push(Inst::Cmp(x, end));
    k.push(Inst::BranchBack(Cond::Ne, top));
    busy.iter().for_each(|&r| k.push(Inst::Cmp(r, r)));
    k
}

/// All blocks.
fn cases(core: &Core) -> Vec<Case> {
    let mut all = Vec::new();
    for of in tries() {
        for high in [false, true] {
            let block = block(&of, high);
            let name = format!("{} {}", of.0, if high { "high" } else { "low" });
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
    let block = block(&tries()[0], false);
    for name in ["cortex-m0plus", "cortex-m3"] {
        let core = secateur_targets::core(name).unwrap();
        assert!(block.native("dsp", &core).unwrap_err().to_string().contains("has no `dsp`"), "{name}");
    }
}
