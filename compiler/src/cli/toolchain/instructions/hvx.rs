//! HVX of Hexagon: instructions drawn from each row, and by hand some that need others or certain
//! operands, on vectors and scalars of the table; the packets that they are put into are run by the
//! model too, and printed the same.

use super::{Case, Drawn, Table, X as FROM, Y as TO, bytes, spellings_equal_meanings, words};
use crate::asm::hvx::simulate::run as simulate;
use crate::asm::hvx::{Code, Inst, Q, R, V, VECTOR, native};
use crate::asm::simulate::Memory;
use crate::asm::table::{Register, Touch};
use std::collections::BTreeSet;

/// Words of a vector.
const LANES: usize = VECTOR / 4;
/// Three vectors and four scalars an entry. Two vectors of results; what is behind them are
/// places for aligned vectors, which are zeros again in the end.
const TABLE: Table = Table { entries: 12, words: 3 * LANES + 4, results: 5 * LANES };

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

/// What is written of scalars, or an address.
const OUT: R = R(8);

type Try = (String, Vec<Inst>);

/// Registers to read and write, of each kind.
fn register(drawn: &mut Drawn, first: u32, touch: Touch) -> u32 {
    let of: &[u32] = match (first, touch) {
        (R::FIRST, Touch::Read | Touch::Amount) => &[S.0, T.0, ZERO.0],
        (R::FIRST, _) => &[OUT.0],
        (V::FIRST, Touch::Read) => &[A.0, B.0, C.0, D.0],
        (V::FIRST, _) => &[D.0],
        (_, Touch::Read) => &[0, 1],
        _ => &[3],
    };
    of[drawn.any(of.len())]
}

/// An instruction with what has to stand around it. Results are d and the register behind it, which
/// hold the third operand and the first before. Of an address, the bytes or vectors from the register
/// on are what its text says; what is loaded are the first operands, stored at an aligned address.
fn around(inst: Inst) -> Vec<Inst> {
    use Inst::*;
    let (form, text) = (inst.form(), inst.text(""));
    let after = text.split("(r8+#").nth(1).and_then(|t| t.split(')').next());
    let by = after.map_or(0, |by| by.parse().unwrap()) * if form.vector { VECTOR as i32 } else { 1 };
    let (mut read, mut written, mut moves) = (Vec::new(), Vec::new(), false);
    inst.visit(&mut |place, touch| {
        moves |= touch == Touch::Moved;
        if touch.writes() { written.push(place) } else { read.push(place) }
    });
    let mut all = Vec::new();
    if read.iter().any(|r| *r >= Q::FIRST) {
        all.extend([First(Q(0), S), FirstOrAll(Q(1), T)]);
    }
    match (form.predicate, form.memory) {
        (Some(Touch::Read), _) => all.push(Greater(S, 128)),
        (_, Some(Touch::Read)) => {
            all.extend([StoreAny(P, 0, A), StoreAny(P, 1, B), Add(OUT, P, 124 - by)]);
        }
        (_, Some(_)) => all.push(Add(OUT, P, 77 - by)),
        _ => {}
    }
    all.push(inst);
    match written.first() {
        _ if moves => all.push(Load(V(D.0 + 1), OUT, 0)),
        Some(&r) if r < V::FIRST => all.push(Splat(D, OUT)),
        Some(&r) if r >= Q::FIRST => all.push(Select(D, Q(r - Q::FIRST), A, B)),
        None if form.predicate.is_some() => all.extend([Kept(OUT, T), Splat(D, OUT)]),
        None => all.extend([LoadAny(D, P, 0), LoadAny(V(D.0 + 1), P, 1)]),
        _ => {}
    }
    all
}

/// Instructions of each row.
fn drawn() -> Vec<Try> {
    let of = |name: &&str| Drawn::all(name, &register, |d| Inst::draw(name, d), Inst::legal);
    Inst::NAMES.iter().flat_map(of).map(|inst| (format!("{inst:?}"), around(inst))).collect()
}

/// What is not drawn.
fn written() -> Vec<Try> {
    use Inst::*;
    let masked = [FirstOrAll(Q(0), ZERO), StoreMasked(Q(0), P, B), LoadAny(D, P, 0)];
    let mut all = vec![
        vec![And(S, S, 255), Greater(S, 128), Kept(OUT, S), Splat(D, OUT)],
        masked.to_vec(),
        vec![Widen(D, D)],
        vec![PairBytes(D, V(5), D)],
        vec![MulLow(D, A, B), MulHighAdd(D, A, B)],
    ];
    all.extend((0..8).flat_map(|n| [vec![Lookup(D, A, B, n)], vec![LookupMore(D, A, B, n)]]));
    all.into_iter().map(|insts| (format!("{insts:?}"), insts)).collect()
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
        Case { name, native, meaning: Box::new(meaning) }
    };
    let tries = [drawn(), written()].concat();
    let tried: BTreeSet<&str> = tries.iter().flat_map(|t| &t.1).map(Inst::name).collect();
    assert_eq!(tried, Inst::NAMES.iter().copied().collect(), "rows without a case");
    let cases: Vec<Case> = tries.into_iter().map(case).collect();
    spellings_equal_meanings("hexagon-v67", TABLE, &cases, false);
}
