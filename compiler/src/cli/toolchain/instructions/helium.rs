//! Helium: instructions drawn from each row of the table, and by hand loops, the stack, and what
//! needs neighbours or certain operands.

use super::{Case, Drawn, Table, X, Y, bytes, spellings_equal_meanings, words};
use crate::asm::mve::simulate::run;
use crate::asm::mve::{At, Block, Inst, Item, LR, Lane, P0, Q, R, SP};
use crate::asm::simulate::Memory;
use crate::asm::table::{Register, Touch};
use std::collections::BTreeSet;

/// An entry is as long as bytes of a vector reach.
const TABLE: Table = Table { entries: 16, words: 64, results: 16 };

/// Where stored results begin, in bytes.
const STORED: i32 = 32;

/// Vectors stand in q0, q1, q2 and again in q4, words in r4 to r7 and r9, pointers to the entry and
/// to its results in r0 and r1, both again in r2 and r3. Results are q2, r4 to r6, r9, what is stored,
/// and in r12 how far it and r2 are behind the entry or the results.
type Try = (String, Vec<Inst>);

/// Registers to read and write, of each kind.
fn register(drawn: &mut Drawn, first: u32, touch: Touch) -> u32 {
    let of: &[u32] = match (first, touch) {
        (R::FIRST, Touch::Base | Touch::Moved) => &[2, 12],
        (R::FIRST, _) => &[4, 5, 6, 9],
        (Q::FIRST, Touch::Read | Touch::Index) => &[0, 1, 2, 4],
        (Q::FIRST, _) => &[2],
        _ => &[0],
    };
    of[drawn.any(of.len())]
}

/// An instruction with what has to stand around it: of its address, the bytes from the register
/// on are what its text says.
fn around(inst: Inst) -> Vec<Inst> {
    let (form, text) = (inst.form(), inst.text(""));
    let inside = text.split('[').nth(1).and_then(|t| t.split(']').next()).unwrap_or("");
    let by: i32 = inside.split('#').nth(1).map_or(0, |by| by.parse().unwrap());
    let (from, ahead) = if form.memory == Some(Touch::Write) { (R(1), STORED) } else { (R(0), 64) };
    let mut all = Vec::new();
    for p in [R(2), R(12)] {
        all.extend([Inst::Mov(p, from), Inst::AddImm(p, p, ahead - by)]);
    }
    if form.then {
        all.push(Inst::Vctp(P0, Lane::W, R(7)));
    }
    all.push(inst);
    if let Inst::Vctp(..) = inst {
        all.push(Inst::StoreThen(P0, Q(0), At::Offset(R(3), STORED)));
    }
    all.extend([R(2), R(12)].map(|p| Inst::Sub(p, p, from)));
    all.push(Inst::Add(R(12), R(12), R(2)));
    all
}

/// Instructions of each row; arguments on the stack are tried by the runs.
fn drawn() -> Vec<Try> {
    let rows = Inst::NAMES.iter().filter(|name| **name != "LdrArg");
    let of = |name: &&str| Drawn::all(name, &register, |d| Inst::draw(name, d), Inst::legal);
    rows.flat_map(of).map(|inst| (format!("{inst:?}"), around(inst))).collect()
}

/// What is not drawn.
fn written() -> Vec<Try> {
    let mut all: Vec<Try> = Vec::new();
    let mut add = |insts: Vec<Inst>| all.push((format!("{insts:?}"), insts));
    for v in [0xffff, 0x1_0000, -1, 0x1234_5678] {
        add(vec![Inst::MovImm(R(4), v), Inst::MovImm(R(12), v), Inst::Mov(R(5), R(12))]);
    }
    add(vec![Inst::Str(R(4), SP, 0), Inst::Str(R(5), SP, 4), Inst::Ldr(R(6), SP, 0)]);
    // Neighbours under one predicate, one more than share an instruction.
    let five = (0..5).map(|i| Inst::StoreThen(P0, Q(0), At::Offset(R(3), STORED + i)));
    add([Inst::Vctp(P0, Lane::B, R(7))].into_iter().chain(five).collect());
    // Shifts by small amounts, up and down.
    for by in [-33, -32, -31, -7, -1, 0, 1, 31, 32, 33] {
        let amounts = [Inst::MovImm(R(4), by), Inst::Dup(Lane::W, Q(1), R(4))];
        add([&amounts[..], &[Inst::RoundShift(Q(2), Q(0), Q(1))]].concat());
    }
    all
}

/// A loop over the table around `body`, in order.
fn looped(body: Vec<Item>) -> Block {
    let mut b = Block { slots: 4, ..Block::default() };
    b.run([Inst::MovImm(R(11), TABLE.entries as i32)]);
    let vectors = [(0, 0), (1, 16), (2, 32), (4, 0)];
    let mut open = vectors.map(|(q, at)| Inst::Load(Q(q), At::Offset(R(0), at))).to_vec();
    open.extend([4, 5, 6, 7, 9].map(|n| Inst::Ldr(R(n), R(0), 32 + 4 * i32::from(n))));
    open.extend([Inst::Mov(R(2), R(0)), Inst::Mov(R(3), R(1)), Inst::MovImm(R(12), 0)]);
    let mut close = vec![Inst::Store(Q(2), At::Offset(R(1), 0))];
    let words = [(4, 16), (5, 20), (6, 24), (9, 28), (12, 56)];
    close.extend(words.map(|(n, at)| Inst::Str(R(n), R(1), at)));
    let next = vec![
        Inst::AddImm(R(0), R(0), 4 * TABLE.words as i32),
        Inst::AddImm(R(1), R(1), 4 * TABLE.results as i32),
    ];
    let items = [vec![Item::Run(open)], body, vec![Item::Run(close), Item::Run(next)]].concat();
    b.items.push(Item::Down { count: R(11), step: 1, turns: TABLE.entries as u32, body: items });
    b
}

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
            let mut body = vec![load, Inst::AddLanes(lane, Q(2), Q(2), Q(0))];
            body.push(Inst::DotAdd(lane, R(4), Q(0), Q(1)));
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
    let tries = [drawn(), written()].concat();
    let tried: BTreeSet<&str> = tries.iter().flat_map(|t| &t.1).map(Inst::name).collect();
    let missing: Vec<_> = Inst::NAMES.iter().filter(|n| !tried.contains(**n)).collect();
    assert_eq!(missing, [&"LdrArg"], "rows without a case");
    // One after the other, as they stand; neighbours under a predicate together.
    let straight = |insts: &[Inst]| {
        let together = insts.chunk_by(|a, b| a.form().then && b.form().then);
        together.map(|run| Item::Run(run.to_vec())).collect::<Vec<_>>()
    };
    let mut cases: Vec<Case> = tries.iter().map(|(n, i)| case(n.clone(), looped(straight(i)))).collect();
    cases.extend(loops());
    spellings_equal_meanings("cortex-m55", TABLE, &cases, false);
}
