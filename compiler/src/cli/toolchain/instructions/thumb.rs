//! Thumb-1, with what wide code adds on Armv7-M: instructions drawn from each row of the table, and by
//! hand those that take a label, lists of registers or the stack pointer.

use super::{Case, Drawn, Table, X, Y, bytes, spellings_equal_meanings, words};
use crate::asm::armv6m::simulate::run;
use crate::asm::armv6m::{
    Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask, wide,
};
use crate::asm::simulate::Memory;
use crate::asm::table::Touch;
use secateur_targets::Cost;
use std::collections::BTreeSet;

const TABLE: Table = Table { entries: 24, words: 4, results: 8 };

/// Bytes of frame that a case may use.
const FRAME: u32 = 16;
const R10: R = R(10);
const R11: R = R(11);

/// Operands stand in r2, r3 and r4, pointers to the entry and to its results in r0 and r1, zero in r8,
/// one in r9; r12 is kept. Results are r2-r5; before, r5 is zero, r6 and r7 are free.
type Try = (&'static str, Vec<Inst>);

#[rustfmt::skip]
fn plain() -> Vec<Try> {
    use Inst::*;
    vec![
        ("adds in place", vec![Add(R7, R2, R3), Add(R2, R2, R2)]), ("subs nothing", vec![Sub(R2, R2, R2)]),
        ("adcs itself", vec![Adc(R2, R2)]), ("muls itself", vec![Mul(R4, R4)]), ("cmp itself", vec![Cmp(R4, R4)]),
        ("mov flags", vec![Mov(R2, R8)]), ("add twice", vec![AddAny(R2, R2)]),
        ("ldr", vec![Ldr(R2, R0, 0), Ldr(R3, R0, 12), Ldr(R4, R1, 0)]),
        ("str", vec![Str(R4, R1, 0), Str(R3, SP, 4), Str(R2, SP, 0), Ldr(R7, R1, 0), Ldr(R3, SP, 0), Ldr(R2, SP, 4), Mov(R4, R7)]),
        ("ldm", vec![Mov(R7, R0), Ldm(R7, mask(&[R2, R4, R6])), Sub(R7, R7, R0), Mov(R3, R6), Mov(R2, R7)]),
        ("ldm over its base", vec![Mov(R3, R0), Ldm(R3, mask(&[R2, R3, R4]))]),
        ("ldm one", vec![Mov(R6, R0), Ldm(R6, mask(&[R7])), Sub(R6, R6, R0), Mov(R3, R6), Mov(R2, R7)]),
        ("stm", vec![Mov(R7, R1), Stm(R7, mask(&[R2, R4])), Sub(R7, R7, R1), Ldr(R2, R1, 4), Ldr(R3, R1, 0), Mov(R4, R7)]),
        ("stm all", vec![Mov(R7, SP), Stm(R7, mask(&[R2, R3, R4, R5])), Ldr(R2, SP, 12), Ldr(R3, SP, 8), Ldr(R4, SP, 4)]),
        ("push", vec![Push(mask(&[R2, R3, R4])), Pop(mask(&[R3])), Pop(mask(&[R2, R4]))]),
        ("push of lr", vec![Mov(R10, LR), Mov(LR, R3), Push(mask(&[R2, LR])), Mov(LR, R10), Pop(mask(&[R3, R4]))]),
        ("add of sp", vec![Str(R3, SP, 8), AddSp(R7, 8), Ldr(R2, R7, 0), AddSp(R7, 0), Mov(R6, SP), Sub(R7, R7, R6), Mov(R3, R7)]),
        ("frame", vec![Str(R3, SP, 0), SubFrame(8), Str(R2, SP, 4), Ldr(R3, SP, 8), AddFrame(8), Mov(R7, SP), SubImm(R7, 4), Ldr(R2, R7, 0)]),
        ("mov of sp", vec![Mov(R10, SP), Push(mask(&[R2, R4])), Mov(R7, SP), Mov(SP, R10), Mov(R6, SP), Sub(R2, R6, R7)]),
    ]
}

#[rustfmt::skip]
fn of_wide_code() -> Vec<Try> {
    use Inst::*;
    vec![
        ("ldr post high", vec![Mov(R10, LR), Mov(LR, R0), LoadNext(R2, LR), LoadNext(R11, LR), Mov(R6, LR), Mov(LR, R10), Sub(R3, R6, R0), Mov(R4, R11)]),
        ("push any", vec![Mov(R10, R2), Mov(R11, R4), PushAny(mask(&[R9, R10, R11])), Pop(mask(&[R2, R3, R4]))]),
        ("push any and low", vec![Mov(R10, R4), PushAny(mask(&[R2, R10])), Pop(mask(&[R3, R4]))]),
        ("ldr wide", vec![LdrWide(R10, R0, 4), Str(R2, SP, 8), LdrWide(R11, SP, 8), LdrWide(LR, R0, 0), Mov(R2, R10), Mov(R3, R11), Mov(R4, LR)]),
        ("str wide", vec![Mov(R10, R3), StrWide(R10, R1, 4), StrWide(R10, SP, 12), Ldr(R2, SP, 12), Ldr(R4, R1, 4)]),
        ("ldm high", vec![Mov(R10, R0), LdmAny(R10, mask(&[R2, R9, R11])), Mov(R3, R11), Mov(R6, R10), Sub(R4, R6, R0), MovImm(R6, 1), Mov(R9, R6)]),
        ("stm high", vec![Mov(R10, SP), Mov(R11, R2), StmAny(R10, mask(&[R3, R4, R11])), Ldr(R2, SP, 8), Ldr(R4, SP, 0), Ldr(R3, SP, 4)]),
        ("asrs high and adc", vec![Mov(R10, R2), AsrAny(R10, 16), AdcAny(R3, R10), Mov(R2, R10), AsrAny(R10, 1), AdcAny(R10, R10), Mov(R4, R10)]),
    ]
}

/// A loop over the table around `body`, which begins with the flags of a comparison of r3 and r4.
fn looped(body: impl Fn(&mut Code)) -> Code {
    let mut c = Code::new(FRAME, 16, true);
    c.all([
        Inst::MovImm(R2, 1),
        Inst::Mov(R9, R2),
        Inst::MovImm(R2, 0),
        Inst::Mov(R8, R2),
        Inst::Mov(R2, R0),
    ]);
    c.advance(R2, (4 * TABLE.words * TABLE.entries) as u32, R3);
    c.push(Inst::Mov(R12, R2));
    let top = c.here();
    c.all([Inst::Ldr(R2, R0, 0), Inst::Ldr(R3, R0, 4), Inst::Ldr(R4, R0, 8)]);
    c.all([Inst::Mov(R5, R8), Inst::Cmp(R3, R4)]);
    body(&mut c);
    for (i, r) in [R2, R3, R4, R5].into_iter().enumerate() {
        c.push(Inst::Str(r, R1, 4 * i as u32));
    }
    c.all([Inst::AddImm(R0, 4 * TABLE.words as u32), Inst::AddImm(R1, 4 * TABLE.results as u32)]);
    c.all([Inst::Cmp(R0, R12), Inst::BranchIf(Cond::Ne, top)]);
    c
}

/// What is left of the flags, in r5: twice the zero flag and the carry.
fn flags(c: &mut Code) {
    let over = c.label();
    c.all([Inst::Mov(R5, R8), Inst::BranchIf(Cond::Ne, over), Inst::Mov(R5, R9)]);
    c.place(over);
    c.push(Inst::Adc(R5, R5));
}

/// Instructions, and what they leave of the flags.
fn straight(insts: &[Inst]) -> Code {
    looped(|c| {
        insts.iter().for_each(|&i| c.push(i));
        flags(c);
    })
}

/// Registers to read and write: operands, r3 again in r10; an address in r7 or r11, an index in r6.
fn register(drawn: &mut Drawn, _: u32, touch: Touch) -> u32 {
    let of: &[u32] = match touch {
        Touch::Base | Touch::Moved => &[7, 11],
        Touch::Index => &[6],
        _ => &[2, 3, 4, 10],
    };
    of[drawn.any(of.len())]
}

/// A drawn instruction: of its address, the bytes from the register on are what its text says. What it
/// stores stands behind r10 and how far r7 and r11 are from the entry or the results.
fn around(inst: Inst) -> Code {
    let text = inst.text("");
    let inside = text.split('[').nth(1).and_then(|t| t.split(']').next()).unwrap_or("");
    let by: u32 = inside.split('#').nth(1).map_or(0, |by| by.parse().unwrap());
    let from = if text.starts_with("st") { R1 } else { R0 };
    looped(|c| {
        c.all([Inst::Mov(R7, from), Inst::AddImm(R7, if from == R1 { 24 } else { 0 })]);
        (0..by / 255).for_each(|_| c.push(Inst::SubImm(R7, 255)));
        c.all([Inst::SubImm(R7, by % 255), Inst::Mov(R11, R7), Inst::MovImm(R6, 3), Inst::Mov(R10, R3)]);
        c.all([Inst::Cmp(R3, R4), inst]);
        flags(c);
        c.all([Inst::Mov(R6, R10), Inst::Str(R6, R1, 16), Inst::Mov(R6, R11)]);
        c.all([Inst::Sub(R6, R6, from), Inst::Sub(R7, R7, from), Inst::Lsl(R6, R6, 16)]);
        c.all([Inst::Add(R6, R6, R7), Inst::Str(R6, R1, 20)]);
    })
}

/// Instructions of each row of a core, but those that move or give the stack pointer.
fn drawn(core: &Cost) -> Vec<(String, Code)> {
    let of = |name: &&str| Drawn::all(name, &register, |d| Inst::draw(name, d), Inst::legal);
    let of_stack = |i: &Inst| matches!(i, Inst::AddSp(..) | Inst::SubFrame(_) | Inst::AddFrame(_));
    let all = Inst::NAMES.iter().flat_map(of).filter(|i| !of_stack(i) && (wide(core) || !i.form().wide));
    all.map(|inst| (format!("{inst:?}"), around(inst))).collect()
}

/// One in r5 where a branch forward was not taken, two more where one back was.
fn branch(how: Option<Cond>) -> Code {
    looped(|c| {
        let [over, back, on, end] = [(); 4].map(|()| c.label());
        let to = |l| how.map_or(Inst::Branch(l), |cond| Inst::BranchIf(cond, l));
        c.all([Inst::Cmp(R2, R3), to(over), Inst::AddImm(R5, 1)]);
        c.place(over);
        c.push(Inst::Branch(on));
        c.place(back);
        c.all([Inst::AddImm(R5, 2), Inst::Branch(end)]);
        c.place(on);
        c.all([Inst::Cmp(R2, R3), to(back)]);
        c.place(end);
    })
}

/// All cases of a core.
fn codes(core: &Cost) -> Vec<(String, Code)> {
    let mut tries = plain();
    if wide(core) {
        tries.extend(of_wide_code());
    }
    let mut all = drawn(core);
    all.extend(tries.iter().map(|(n, i)| ((*n).into(), straight(i))));
    let conds = [Cond::Eq, Cond::Ne, Cond::Cs, Cond::Cc, Cond::Ls].map(Some);
    all.extend(conds.into_iter().chain([None]).map(|how| (format!("branch {how:?}"), branch(how))));
    all
}

fn check(core: &str) {
    let cost = secateur_targets::core(core).unwrap().cost.unwrap();
    let codes = codes(&cost);
    let tried: BTreeSet<&str> = codes.iter().flat_map(|(_, c)| c.insts()).map(|i| i.name()).collect();
    let missing: Vec<_> = Inst::NAMES.iter().filter(|n| !tried.contains(**n)).collect();
    assert_eq!(missing.is_empty(), wide(&cost), "rows without a case: {missing:?}");
    let cases: Vec<Case> = codes
        .into_iter()
        .map(|(name, code)| {
            let native = code.clone().finish(&cost).unwrap_or_else(|e| panic!("{name}: {e}"));
            let meaning = move |x: &[i32]| {
                let regions = vec![(X, bytes(x)), (Y, vec![0; 4 * TABLE.output()])];
                let mut memory = Memory { regions };
                run(&code, &[X, Y], &mut memory);
                words(&memory.regions[1].1)
            };
            Case { name, native, meaning: Box::new(meaning) }
        })
        .collect();
    spellings_equal_meanings(core, TABLE, &cases, false);
}

#[test]
fn spellings_equal_meanings_on_cortex_m0plus() {
    check("cortex-m0plus");
}

#[test]
fn spellings_equal_meanings_on_cortex_m3() {
    check("cortex-m3");
}

#[test]
fn a_core_without_wide_instructions_gets_none() {
    let core = secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap();
    for (name, insts) in of_wide_code() {
        assert!(straight(&insts).finish(&core).is_err(), "{name}");
    }
}
