//! HVX of Hexagon: every instruction on vectors and scalars of the table, at addresses of any
//! alignment; the packets that they are put into are run by the model too, and printed the same.

use super::{Case, Table, X as FROM, Y as TO, bytes, spellings_equal_meanings, words};
use crate::asm::hvx::simulate::run as simulate;
use crate::asm::hvx::{Code, Inst, Q, R, V, VECTOR, native};
use crate::asm::simulate::Memory;
use std::collections::BTreeSet;

/// Words of a vector.
const LANES: usize = VECTOR / 4;
/// Three vectors and four scalars an entry. Two vectors of results; what is behind them are
/// places for aligned vectors, which are zeros again in the end.
const TABLE: Table = Table { entries: 24, words: 3 * LANES + 4, results: 5 * LANES };

/// Operands: three vectors, of which the first two are a pair; two more pairs to write; scalars
/// that shifts and rotations take, and others.
const A: V = V(8);
const B: V = V(9);
const C: V = V(10);
const D: V = V(4);
const S: R = R(6);
const T: R = R(7);
/// An aligned address behind the results.
const P: R = R(5);
const ZERO: R = R(4);

type Try = (&'static str, Vec<Inst>);

/// Results are d and the register behind it, which hold the third operand and the first before.
fn tries() -> Vec<Try> {
    use Inst::*;
    let d = D;
    let to_scalar = |name, inst: Inst| (name, vec![inst, Splat(D, R(8))]);
    let to_predicate = |name, insts: Vec<Inst>| (name, [insts, vec![Select(D, Q(3), A, B)]].concat());
    let out = R(8);
    let mut all: Vec<Try> = vec![
        to_scalar("Set", Set(out, 0x1234_5678)),
        to_scalar("Set -1", Set(out, -1)),
        to_scalar("Set least", Set(out, i32::MIN)),
        to_scalar("Mov", Mov(out, S)),
        to_scalar("Add", Add(out, S, 32_767)),
        to_scalar("Add less", Add(out, S, -32_768)),
        to_scalar("And", And(out, S, 127)),
        to_scalar("And 511", And(out, S, 511)),
        to_scalar("And -128", And(out, S, -128)),
        to_scalar("LowBits", LowBits(out, S, 12)),
        to_scalar("LowBits 31", LowBits(out, S, 31)),
        to_scalar("ShiftBy", ShiftBy(out, S, 12)),
        to_scalar("ShiftBy 31", ShiftBy(out, S, 31)),
        to_scalar("Halves", Halves(out, S, T)),
        to_scalar("LoadWord", LoadWord(out, R(0), 8)),
        to_scalar("LoadWord on", LoadWord(out, R(0), 380)),
        ("Greater, Kept", vec![Greater(S, 128), Kept(out, T), Splat(D, out)]),
        ("Greater, Dropped", vec![Greater(S, -1), Dropped(out, T), Splat(D, out)]),
        ("Greater itself", vec![And(S, S, 255), Greater(S, 128), Kept(out, S), Splat(D, out)]),
        ("LoadAny", vec![LoadAny(d, R(0), 1)]),
        ("LoadAny back", vec![Add(out, R(0), 3 * VECTOR as i32 + 1), LoadAny(d, out, -2)]),
        ("StoreAny", vec![StoreAny(P, 1, A), Add(out, P, 128), LoadAny(d, out, 0)]),
        (
            "StoreAny unaligned",
            vec![Add(out, P, 77), StoreAny(out, 0, A), LoadAny(d, P, 0), LoadAny(V(5), P, 1)],
        ),
        ("Load", vec![StoreAny(P, 1, A), Add(out, P, 127), Load(d, out, 1)]),
        (
            "LoadNext",
            vec![StoreAny(P, 0, A), StoreAny(P, 1, B), Mov(out, P), LoadNext(d, out), LoadNext(V(5), out)],
        ),
        ("StoreMasked", vec![First(Q(1), S), Add(out, P, 100), StoreMasked(Q(1), out, A), LoadAny(d, P, 0)]),
        ("StoreMasked, all", vec![FirstOrAll(Q(0), ZERO), StoreMasked(Q(0), P, B), LoadAny(d, P, 0)]),
        ("Splat", vec![Splat(d, S)]),
        ("SplatByte", vec![SplatByte(d, S)]),
        ("SplatHalf", vec![SplatHalf(d, S)]),
        ("Copy", vec![Copy(d, A)]),
        ("Dot", vec![Dot(d, A, S)]),
        ("DotAdd", vec![DotAdd(d, A, S)]),
        ("DotLanes", vec![DotLanes(d, A, B)]),
        ("DotHalves", vec![DotHalves(d, A, S)]),
        ("MulHalves", vec![MulHalves(d, A, B)]),
        ("MulHalvesAdd", vec![MulHalvesAdd(d, B, S)]),
        ("Widen", vec![Widen(d, A)]),
        ("Widen over", vec![Widen(d, d)]),
        ("PairBytes", vec![PairBytes(d, A, B)]),
        ("PairBytes over", vec![PairBytes(d, V(5), d)]),
        ("PairHalves", vec![PairHalves(d, A, B)]),
        ("AddWords", vec![AddWords(d, A, B)]),
        ("SubWords", vec![SubWords(d, A, B)]),
        ("SubHalves", vec![SubHalves(d, A, B)]),
        ("AndWords", vec![AndWords(d, A, B)]),
        ("Xor", vec![Xor(d, A, B)]),
        ("MulLow", vec![MulLow(d, A, B)]),
        ("MulHighAdd", vec![MulHighAdd(d, A, B)]),
        ("MulLow, MulHighAdd", vec![MulLow(d, A, B), MulHighAdd(d, A, B)]),
        ("ShiftRight", vec![ShiftRight(d, A, B)]),
        ("ShiftRightAll", vec![ShiftRightAll(d, A, S)]),
        ("ShiftLeftAll", vec![ShiftLeftAll(d, A, S)]),
        ("ShiftLeftAdd", vec![ShiftLeftAdd(d, A, S)]),
        ("PackHalves", vec![PackHalves(d, A, B)]),
        ("PackBytes", vec![PackBytes(d, A, B)]),
        ("NarrowWords", vec![NarrowWords(d, A, B)]),
        ("NarrowHalves", vec![NarrowHalves(d, A, B, ZERO)]),
        ("Align", vec![Align(d, A, B, S)]),
        ("RotateUp", vec![RotateUp(d, A, S)]),
        ("RotateDown", vec![RotateDown(d, A, S)]),
        ("Exchange", vec![Exchange(d, A, B)]),
        ("Interleave", vec![Interleave(d, A)]),
        to_predicate("First", vec![First(Q(3), S)]),
        to_predicate("First none", vec![First(Q(3), ZERO)]),
        to_predicate("FirstOrAll", vec![FirstOrAll(Q(3), S)]),
        to_predicate("FirstOrAll all", vec![FirstOrAll(Q(3), ZERO)]),
        to_predicate("Without", vec![First(Q(0), S), FirstOrAll(Q(1), T), Without(Q(3), Q(1), Q(0))]),
        ("Select", vec![FirstOrAll(Q(2), S), Select(d, Q(2), B, C)]),
        ("MaxBytes", vec![MaxBytes(d, A, B)]),
        ("MinBytes", vec![MinBytes(d, A, B)]),
    ];
    for n in 0..8 {
        all.push((["Lookup 0", "1", "2", "3", "4", "5", "6", "7"][n as usize], vec![Lookup(d, A, B, n)]));
        all.push(("LookupMore", vec![LookupMore(d, A, B, n)]));
    }
    all
}

/// A loop over the table.
fn code(of: &[Inst]) -> Vec<Code> {
    let mut line = vec![Inst::Set(ZERO, 0)];
    line.extend([A, B, C].into_iter().enumerate().map(|(i, v)| Inst::LoadAny(v, R(0), i as i32)));
    line.extend([Inst::Copy(D, C), Inst::Copy(V(D.0 + 1), A)]);
    let scalars = 3 * VECTOR as i32;
    line.extend([Inst::LoadWord(S, R(0), scalars), Inst::LoadWord(T, R(0), scalars + 4)]);
    line.extend([Inst::Add(P, R(1), 3 * VECTOR as i32 - 1), Inst::And(P, P, -(VECTOR as i32))]);
    line.extend(of);
    line.extend([Inst::StoreAny(R(1), 0, D), Inst::StoreAny(R(1), 1, V(D.0 + 1))]);
    // Whatever the alignment was, nothing is left of the places for aligned vectors.
    line.push(Inst::Xor(A, A, A));
    line.extend((2..5).map(|n| Inst::StoreAny(R(1), n, A)));
    line.push(Inst::Add(R(0), R(0), 4 * TABLE.words as i32));
    line.push(Inst::Add(R(1), R(1), 4 * TABLE.results as i32));
    vec![Code::Loop { turns: TABLE.entries, body: vec![Code::Straight(line)] }]
}

#[test]
fn spellings_equal_meanings_on_hexagon() {
    let case = |(name, insts): Try| {
        let code = code(&insts);
        let native = native(&code).unwrap_or_else(|e| panic!("{name}: {e}"));
        let meaning = move |x: &[i32]| {
            let [in_order, in_packets] = [false, true].map(|in_packets| {
                let regions = vec![(FROM, bytes(x)), (TO, vec![0; 4 * TABLE.output()])];
                let mut memory = Memory { regions };
                simulate(&code, &[FROM, TO], &mut memory, in_packets);
                words(&memory.regions[1].1)
            });
            assert_eq!(in_order, in_packets, "packets of {insts:?}");
            in_order
        };
        Case { name: name.into(), native, meaning: Box::new(meaning) }
    };
    let tried: BTreeSet<&str> = tries().iter().flat_map(|t| &t.1).map(Inst::name).collect();
    assert_eq!(tried, Inst::NAMES.iter().copied().collect(), "rows without a case");
    let cases: Vec<Case> = tries().into_iter().map(case).collect();
    spellings_equal_meanings("hexagon-v67", TABLE, &cases, false);
}
