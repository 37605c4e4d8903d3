//! Thumb-1, with what wide code adds on Armv7-M; the meaning is that of
//! [`crate::asm::armv6m::simulate`].

use super::{Case, Table, X, Y, bytes, spellings_equal_meanings, words};
use crate::asm::armv6m::simulate::run;
use crate::asm::armv6m::{
    Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask, wide,
};
use crate::asm::simulate::Memory;
use secateur_targets::Cost;
use std::collections::BTreeSet;

const TABLE: Table = Table { entries: 48, words: 4, results: 4 };

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
        ("movs", vec![MovImm(R2, 0)]), ("movs 255", vec![MovImm(R2, 255)]),
        ("adds #0", vec![AddImm(R2, 0)]), ("adds #255", vec![AddImm(R2, 255)]),
        ("subs #0", vec![SubImm(R2, 0)]), ("subs #1", vec![SubImm(R2, 1)]), ("subs #255", vec![SubImm(R2, 255)]),
        ("adds", vec![Add(R2, R3, R4)]), ("adds in place", vec![Add(R7, R2, R3), Add(R2, R2, R2)]),
        ("subs", vec![Sub(R2, R3, R4)]), ("subs in place", vec![Sub(R2, R2, R3)]), ("subs nothing", vec![Sub(R2, R2, R2)]),
        ("adcs", vec![Adc(R2, R3)]), ("adcs itself", vec![Adc(R2, R2)]),
        ("muls", vec![Mul(R2, R3)]), ("muls itself", vec![Mul(R4, R4)]),
        ("ands", vec![And(R2, R3)]), ("bics", vec![Bic(R2, R3)]), ("mvns", vec![Mvn(R2, R3)]),
        ("lsls 0", vec![Lsl(R2, R3, 0)]), ("lsls 1", vec![Lsl(R2, R3, 1)]), ("lsls 31", vec![Lsl(R2, R2, 31)]), ("lsls 8", vec![Lsl(R7, R3, 8), Mov(R2, R7)]),
        ("lsrs 1", vec![Lsr(R2, R3, 1)]), ("lsrs 31", vec![Lsr(R2, R2, 31)]), ("lsrs 32", vec![Lsr(R2, R3, 32)]),
        ("asrs 1", vec![Asr(R2, R3, 1)]), ("asrs 16", vec![Asr(R2, R2, 16)]), ("asrs 31", vec![Asr(R2, R3, 31)]), ("asrs 32", vec![Asr(R2, R3, 32)]),
        ("sxtb", vec![Sxtb(R2, R3)]), ("sxtb in place", vec![Sxtb(R4, R4)]),
        ("sxth", vec![Sxth(R2, R3)]), ("sxth in place", vec![Sxth(R4, R4)]),
        ("cmp", vec![Cmp(R2, R3)]), ("cmp high", vec![Mov(R10, R4), Cmp(R10, R3)]), ("cmp itself", vec![Cmp(R4, R4)]), ("cmp of high", vec![Mov(R11, R3), Cmp(R2, R11)]),
        ("cmp #0", vec![CmpImm(R2, 0)]), ("cmp #255", vec![CmpImm(R3, 255)]), ("cmp #1", vec![CmpImm(R4, 1)]),
        ("mov", vec![Mov(R2, R3)]), ("mov high", vec![Mov(R11, R3), Mov(R10, R11), Mov(R2, R10)]), ("mov flags", vec![Mov(R2, R8)]),
        ("add", vec![AddAny(R2, R3)]), ("add high", vec![Mov(R11, R3), AddAny(R11, R2), AddAny(R11, R9), Mov(R2, R11)]), ("add twice", vec![AddAny(R2, R2)]),
        ("ldr", vec![Ldr(R2, R0, 0), Ldr(R3, R0, 12), Ldr(R4, R1, 0)]),
        ("str", vec![Str(R4, R1, 0), Str(R3, SP, 4), Str(R2, SP, 0), Ldr(R7, R1, 0), Ldr(R3, SP, 0), Ldr(R2, SP, 4), Mov(R4, R7)]),
        ("ldr far", vec![Mov(R7, R0), SubImm(R7, 112), Ldr(R2, R7, 124)]),
        ("strb", vec![Str(R5, R1, 4), Strb(R2, R1, 5), Strb(R3, R1, 7), Ldr(R7, R1, 4), Mov(R2, R7)]),
        ("strb far", vec![Mov(R7, R1), SubImm(R7, 24), Strb(R4, R7, 31), Ldr(R2, R1, 4)]),
        ("strb at", vec![MovImm(R7, 6), StrbAt(R2, R1, R7), MovImm(R7, 4), StrbAt(R3, R7, R1), Ldr(R2, R1, 4)]),
        ("ldrsb", vec![MovImm(R7, 3), Ldrsb(R2, R0, R7), MovImm(R7, 5), Ldrsb(R3, R7, R0)]),
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
        ("ldr post", vec![Mov(R7, R0), LoadNext(R2, R7), LoadNext(R10, R7), Sub(R7, R7, R0), Mov(R3, R7), Mov(R4, R10)]),
        ("ldr post high", vec![Mov(R10, LR), Mov(LR, R0), LoadNext(R2, LR), LoadNext(R11, LR), Mov(R6, LR), Mov(LR, R10), Sub(R3, R6, R0), Mov(R4, R11)]),
        ("push any", vec![Mov(R10, R2), Mov(R11, R4), PushAny(mask(&[R9, R10, R11])), Pop(mask(&[R2, R3, R4]))]),
        ("push any and low", vec![Mov(R10, R4), PushAny(mask(&[R2, R10])), Pop(mask(&[R3, R4]))]),
        ("ssat", vec![Ssat(R2, 8, R3, 1), Ssat(R3, 8, R3, 31), Ssat(R4, 8, R4, 20)]),
        ("ssat high", vec![Mov(R10, R2), Ssat(R11, 1, R10, 3), Ssat(R10, 32, R10, 7), Mov(R2, R10), Mov(R3, R11)]),
        ("smull", vec![Smull(R6, R7, R2, R3), Smull(R3, R4, R4, R4), Mov(R2, R7), Add(R3, R3, R6)]),
        ("smull high", vec![Mov(R10, R3), Smull(R10, R2, R10, R4), Mov(R3, R10), Smull(R11, R10, R2, R3), Mov(R4, R10)]),
        ("mul", vec![Cmp(R2, R3), MulAny(R2, R3, R4), Mov(R10, R3), MulAny(R10, R10, R2), Mov(R3, R10)]),
        ("mla", vec![Mla(R2, R3, R4, R2), Mov(R10, R2), Mla(R11, R10, R10, R10), Mov(R4, R11)]),
        ("ldrsb post", vec![Mov(R10, R0), LdrsbNext(R2, R10), LdrsbNext(R11, R10), Mov(R3, R11), Mov(R6, R10), Sub(R4, R6, R0)]),
        ("ldr wide", vec![LdrWide(R10, R0, 4), Str(R2, SP, 8), LdrWide(R11, SP, 8), LdrWide(LR, R0, 0), Mov(R2, R10), Mov(R3, R11), Mov(R4, LR)]),
        ("str wide", vec![Mov(R10, R3), StrWide(R10, R1, 4), StrWide(R10, SP, 12), Ldr(R2, SP, 12), Ldr(R4, R1, 4)]),
        ("ldm high", vec![Mov(R10, R0), LdmAny(R10, mask(&[R2, R9, R11])), Mov(R3, R11), Mov(R6, R10), Sub(R4, R6, R0), MovImm(R6, 1), Mov(R9, R6)]),
        ("stm high", vec![Mov(R10, SP), Mov(R11, R2), StmAny(R10, mask(&[R3, R4, R11])), Ldr(R2, SP, 8), Ldr(R4, SP, 0), Ldr(R3, SP, 4)]),
        ("add wide", vec![Mov(R10, R2), AddWide(R10, 24), Mov(R2, R10), AddWide(R10, 4095), Mov(R3, R10)]),
        ("asrs high and adc", vec![Mov(R10, R2), AsrAny(R10, 16), AdcAny(R3, R10), Mov(R2, R10), AsrAny(R10, 1), AdcAny(R10, R10), Mov(R4, R10)]),
        ("asrs high flags", vec![Mov(R11, R3), AsrAny(R11, 31), Mov(R2, R11)]),
        ("sub shifted", vec![SubLsl(R2, R3, 16), Mov(R10, R4), SubLsl(R10, R2, 1), Mov(R3, R10)]),
        ("lsls high", vec![Mov(R10, R2), LslAny(R10, 1), Mov(R2, R10)]),
        ("lsls high 31", vec![Mov(R11, R3), LslAny(R11, 31), Mov(R2, R11)]),
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

/// Instructions, and in r5 what they leave of the flags: twice the zero flag and the carry.
fn straight(insts: &[Inst]) -> Code {
    looped(|c| {
        insts.iter().for_each(|&i| c.push(i));
        let over = c.label();
        c.all([Inst::Mov(R5, R8), Inst::BranchIf(Cond::Ne, over), Inst::Mov(R5, R9)]);
        c.place(over);
        c.push(Inst::Adc(R5, R5));
    })
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
    let mut all: Vec<(String, Code)> = tries.iter().map(|(n, i)| ((*n).into(), straight(i))).collect();
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
