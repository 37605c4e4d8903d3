//! Helium; the meaning is that of [`crate::asm::mve::simulate`].

use super::{Case, Table, X, Y, bytes, spellings_equal_meanings, words};
use crate::asm::mve::simulate::run;
use crate::asm::mve::{At, Bin, Block, Half, Inst, Item, LR, Lane, Predicated, Q, R, SP};
use crate::asm::simulate::Memory;
use std::collections::BTreeSet;

/// An entry is as long as bytes of a vector reach.
const TABLE: Table = Table { entries: 40, words: 64, results: 12 };

/// Vectors stand in q0, q1 and q2, words in r4 to r6, pointers to the entry and to its results in
/// r0 and r1, both again in r2 and r3. Results are q2, r4 to r6 and what is stored behind
/// them; q4 is q0 as well.
type Try = (String, Vec<Inst>);

/// Kinds of instructions, each of which has a case; arguments on the stack are tried by the runs.
fn kind(inst: &Inst) -> usize {
    match inst {
        Inst::Mov(..) => 0,
        Inst::MovImm(..) => 1,
        Inst::AddImm(..) => 2,
        Inst::Add(..) => 3,
        Inst::Sub(..) => 4,
        Inst::Ldr(..) => 5,
        Inst::Str(..) => 6,
        Inst::Load(..) => 7,
        Inst::LoadWide(..) => 8,
        Inst::Gather(..) => 9,
        Inst::LoadWords(..) => 10,
        Inst::Store(..) => 11,
        Inst::StoreNarrow(..) => 12,
        Inst::Dot { .. } => 13,
        Inst::SetLanes(..) => 14,
        Inst::Bin(op, ..) => match op {
            Bin::Add(_) => 15,
            Bin::MulHigh => 16,
            Bin::QAdd(_) => 17,
            Bin::Mul(_) => 18,
            Bin::And => 19,
            Bin::RoundShift => 20,
            Bin::Max(_) => 21,
            Bin::Min(_) => 22,
            Bin::MulLong(_) => 23,
        },
        Inst::AddAll(..) => 24,
        Inst::TimesPlusAll(..) => 25,
        Inst::PlusTimesAll(..) => 26,
        Inst::QAddAll(..) => 27,
        Inst::Widen(..) => 28,
        Inst::Narrow(..) => 29,
        Inst::NarrowShift(..) => 30,
        Inst::Asr(..) => 31,
        Inst::ShrRound(..) => 32,
        Inst::Shr(..) => 33,
        Inst::Dup(..) => 34,
        Inst::Vctp(..) => 35,
        Inst::Then(p) => match p {
            Predicated::Load(..) => 36,
            Predicated::LoadWide(..) => 37,
            Predicated::Store(..) => 38,
            Predicated::StoreNarrow(..) => 39,
        },
        Inst::LdrArg(..) => KINDS,
    }
}
const KINDS: usize = 40;

const LANES: [Lane; 3] = [Lane::B, Lane::H, Lane::W];
const HALVES: [Half; 2] = [Half::Bottom, Half::Top];
/// Where stored results begin, and how many bytes they have.
const STORED: i32 = 32;

fn tries() -> Vec<Try> {
    let (a, b, d, other) = (Q(0), Q(1), Q(2), Q(4));
    let (x, y) = (R(2), R(3));
    let mut all: Vec<Try> = Vec::new();
    let mut add = |insts: Vec<Inst>| all.push((format!("{insts:?}"), insts));
    add(vec![Inst::Mov(R(4), R(5))]);
    add(vec![Inst::Mov(R(9), R(5)), Inst::Mov(R(4), R(9))]);
    for v in [0, 255, 256, 65535, 65536, -1, i32::MIN, 0x1234_5678] {
        add(vec![Inst::MovImm(R(4), v), Inst::MovImm(R(12), v), Inst::Mov(R(5), R(12))]);
    }
    for v in [0, 1, 255, 256, 4095, -1, -255, -256, -4095] {
        add(vec![Inst::AddImm(R(4), R(4), v), Inst::AddImm(R(5), R(6), v)]);
        add(vec![Inst::Mov(R(9), R(4)), Inst::AddImm(R(9), R(9), v), Inst::Mov(R(4), R(9))]);
    }
    add(vec![Inst::Add(R(4), R(4), R(5)), Inst::Mov(R(10), R(6)), Inst::Add(R(6), R(10), R(5))]);
    add(vec![Inst::Sub(R(4), R(5), R(6)), Inst::Mov(R(10), R(6)), Inst::Sub(R(6), R(10), R(5))]);
    add(vec![Inst::Ldr(R(4), R(0), 8), Inst::Ldr(R(5), R(2), 124), Inst::Ldr(R(9), R(2), 128)]);
    add(vec![Inst::Str(R(4), R(3), STORED), Inst::Mov(R(9), R(5)), Inst::Str(R(9), R(3), STORED + 12)]);
    add(vec![Inst::Str(R(4), SP, 0), Inst::Str(R(5), SP, 4), Inst::Ldr(R(6), SP, 0)]);
    let addresses = |r| [At::Offset(r, 0), At::Offset(r, 127), At::Before(r, 7), At::After(r, 127)];
    let back = |r| [At::Offset(r, -1), At::Before(r, -5), At::After(r, -127)];
    for at in addresses(x).into_iter().chain(back(x)) {
        // What lies before the first entry belongs to nobody.
        let behind = Inst::AddImm(x, x, 8);
        let moved = Inst::Sub(R(4), x, R(0));
        add(vec![behind, Inst::Load(d, at), moved]);
        add(vec![behind, Inst::Vctp(Lane::B, R(7)), Inst::Then(Predicated::Load(d, at)), moved]);
        for lane in [Lane::H, Lane::W] {
            add(vec![behind, Inst::LoadWide(lane, d, at), moved]);
            add(vec![behind, Inst::Vctp(lane, R(7)), Inst::Then(Predicated::LoadWide(lane, d, at)), moved]);
        }
    }
    for at in [At::Offset(y, STORED), At::Before(y, STORED), At::After(y, 13)] {
        let ahead = if matches!(at, At::After(..)) { STORED } else { 0 };
        let (before, moved) = (Inst::AddImm(y, y, ahead), Inst::Sub(R(4), y, R(1)));
        add(vec![before, Inst::Store(a, at), moved]);
        add(vec![before, Inst::Vctp(Lane::B, R(7)), Inst::Then(Predicated::Store(a, at)), moved]);
        for lane in [Lane::H, Lane::W] {
            add(vec![before, Inst::StoreNarrow(lane, a, at), moved]);
            let then = Inst::Then(Predicated::StoreNarrow(lane, a, at));
            add(vec![before, Inst::Vctp(lane, R(7)), then, moved]);
        }
    }
    // Neighbours under one predicate, one more than share an instruction.
    let five = (0..5).map(|i| Inst::Then(Predicated::Store(Q(0), At::Offset(y, STORED + i))));
    add([Inst::Vctp(Lane::B, R(7))].into_iter().chain(five).collect());
    for n in [0, 4, 16, 124] {
        add(vec![Inst::LoadWords(d, x, n)]);
    }
    add(vec![Inst::Mov(R(9), x), Inst::AddImm(R(9), R(9), 508), Inst::LoadWords(d, R(9), -508)]);
    add(vec![Inst::Gather(d, R(0), a)]);
    add(vec![Inst::Dot { acc: true, to: R(4), a, b }, Inst::Dot { acc: false, to: R(6), a: b, b: d }]);
    add(vec![Inst::Mov(R(8), R(5)), Inst::Dot { acc: true, to: R(8), a, b: a }, Inst::Mov(R(4), R(8))]);
    for first in [0, 1] {
        add(vec![Inst::SetLanes(d, first, R(4), R(5))]);
    }
    let mut ops = vec![Bin::MulHigh, Bin::And, Bin::RoundShift];
    ops.extend(HALVES.map(Bin::MulLong));
    for lane in LANES {
        ops.extend([Bin::Add(lane), Bin::QAdd(lane), Bin::Mul(lane), Bin::Max(lane), Bin::Min(lane)]);
        add(vec![Inst::AddAll(lane, d, a, R(4))]);
        add(vec![Inst::Dup(lane, d, R(4))]);
    }
    for op in ops {
        add(vec![Inst::Bin(op, d, a, b)]);
        add(vec![Inst::Bin(op, d, d, other)]);
    }
    // Shifts by small amounts, up and down.
    for by in [-33, -32, -31, -7, -1, 0, 1, 31, 32, 33] {
        add(vec![Inst::MovImm(R(4), by), Inst::Dup(Lane::W, b, R(4)), Inst::Bin(Bin::RoundShift, d, a, b)]);
    }
    add(vec![Inst::TimesPlusAll(d, a, R(4))]);
    add(vec![Inst::PlusTimesAll(d, a, R(4))]);
    add(vec![Inst::QAddAll(d, a, R(4))]);
    for half in HALVES {
        for (lane, most) in [(Lane::H, 8), (Lane::W, 16)] {
            let widened = if lane == Lane::H { Lane::B } else { Lane::H };
            add(vec![Inst::Widen(widened, half, d, a)]);
            add(vec![Inst::Narrow(lane, half, d, a)]);
            for n in [1, most / 2, most] {
                add(vec![Inst::NarrowShift(lane, half, d, a, n)]);
            }
        }
    }
    for n in [1, 9, 31, 32] {
        add(vec![Inst::Asr(d, a, n)]);
        add(vec![Inst::ShrRound(d, a, n)]);
        add(vec![Inst::Shr(d, a, n)]);
    }
    all
}

/// A loop over the table around `body`, in order.
fn looped(body: Vec<Item>) -> Block {
    let mut b = Block { slots: 4, ..Block::default() };
    b.run([Inst::MovImm(R(11), TABLE.entries as i32)]);
    let mut open = vec![Inst::Load(Q(0), At::Offset(R(0), 0)), Inst::Load(Q(1), At::Offset(R(0), 16))];
    open.extend([Inst::Load(Q(2), At::Offset(R(0), 32)), Inst::Load(Q(4), At::Offset(R(0), 0))]);
    open.extend((4..8).map(|n| Inst::Ldr(R(n), R(0), 32 + 4 * i32::from(n))));
    open.extend([Inst::Mov(R(2), R(0)), Inst::Mov(R(3), R(1))]);
    let mut close = vec![Inst::Store(Q(2), At::Offset(R(1), 0))];
    close.extend((4..7).map(|n| Inst::Str(R(n), R(1), 4 * i32::from(n))));
    let next = vec![
        Inst::AddImm(R(0), R(0), 4 * TABLE.words as i32),
        Inst::AddImm(R(1), R(1), 4 * TABLE.results as i32),
    ];
    let items = [vec![Item::Run(open)], body, vec![Item::Run(close), Item::Run(next)]].concat();
    b.items.push(Item::Down { count: R(11), step: 1, turns: TABLE.entries as u32, body: items });
    b
}

/// The predicates' counts are the entry's word in r7, cut to a few more than there are lanes.
fn case(name: String, block: Block) -> Case {
    let native = block.native().unwrap_or_else(|e| panic!("{name}: {e}"));
    let meaning = move |x: &[i32]| {
        let regions = vec![(X, bytes(x)), (Y, vec![0; 4 * TABLE.output()])];
        let mut memory = Memory { regions };
        run(&block.items, &[X, Y], &mut memory);
        words(&memory.regions[1].1)
    };
    Case { name, native, meaning: Box::new(meaning) }
}

/// Loops, each of which counts its turns in r4 or runs over the lanes of its last turn.
fn loops() -> Vec<Case> {
    let turn = || Inst::AddImm(R(4), R(4), 3);
    let mut all = Vec::new();
    for turns in [1, 2, 7] {
        let body = vec![Item::Run(vec![turn()])];
        all.push((format!("le of {turns}"), vec![Item::Low { turns, body: body.clone() }]));
        let enter = Item::Run(vec![Inst::MovImm(R(9), turns as i32), Inst::Mov(LR, R(9))]);
        all.push((
            format!("le again of {turns}"),
            vec![enter, Item::Again { turns, passes: 1, body: body.clone() }],
        ));
        for step in [1, 3] {
            let count = Item::Run(vec![Inst::MovImm(R(9), turns as i32)]);
            let down = Item::Down { count: R(9), step, turns, body: body.clone() };
            all.push((format!("down from {turns} by {step}"), vec![count, down]));
        }
        let count = Item::Run(vec![Inst::MovImm(R(9), turns as i32)]);
        all.push((
            format!("if {turns} is one"),
            vec![count, Item::IfOne { count: R(9), body: vec![turn()] }],
        ));
    }
    for (lane, counts) in [(Lane::B, [1, 15, 16, 17]), (Lane::H, [1, 7, 8, 9]), (Lane::W, [1, 3, 4, 5])] {
        for n in counts {
            let load = match lane {
                Lane::B => Inst::Load(Q(0), At::After(R(2), 5)),
                lane => Inst::LoadWide(lane, Q(0), At::After(R(2), 5)),
            };
            let mut body = vec![load, Inst::Bin(Bin::Add(lane), Q(2), Q(2), Q(0))];
            body.push(Inst::Dot { acc: true, to: R(4), a: Q(0), b: Q(1) });
            body.push(match lane {
                Lane::B => Inst::Store(Q(2), At::Offset(R(3), STORED)),
                lane => Inst::StoreNarrow(lane, Q(2), At::Offset(R(3), STORED)),
            });
            let count = Item::Run(vec![Inst::MovImm(R(9), n)]);
            let tail = Item::Tail { lane, count: R(9), turns: 1, body };
            all.push((format!("tail of {n} {lane:?}"), vec![count, tail]));
        }
    }
    all.into_iter().map(|(name, body)| case(name, looped(body))).collect()
}

#[test]
fn spellings_equal_meanings_on_cortex_m55() {
    let tries = tries();
    let tried: BTreeSet<usize> = tries.iter().flat_map(|t| t.1.iter().map(kind)).collect();
    assert_eq!(tried, (0..KINDS).collect(), "kinds without a case");
    // One after the other, as they stand.
    let straight = |insts: &Vec<Inst>| {
        let mut items: Vec<Item> = Vec::new();
        for &inst in insts {
            match (&mut items[..], inst) {
                ([.., Item::Run(run)], Inst::Then(_)) if matches!(run[0], Inst::Then(_)) => run.push(inst),
                _ => items.push(Item::Run(vec![inst])),
            }
        }
        items
    };
    let mut cases: Vec<Case> = tries.iter().map(|(n, i)| case(n.clone(), looped(straight(i)))).collect();
    cases.extend(loops());
    spellings_equal_meanings("cortex-m55", TABLE, &cases, false);
}
