//! RV32IM and the vectors of V, drawn from each row of the table: scalar registers that compressed
//! forms reach and others, every width of elements in every group of registers, and lengths of
//! none to more than there are. By hand those that take a label.

use super::{Case, Drawn, Table, X as FROM, Y as TO, bytes, spellings_equal_meanings, words};
use crate::asm::riscv::simulate::run as simulate;
use crate::asm::riscv::{Block, Inst, Kind, Lanes, Lmul, SP, V, VECTORS as FIRST_VECTOR, X, ZERO, argument};
use crate::asm::simulate::Memory;
use crate::asm::table::Touch;
use secateur_targets::Target;
use std::collections::BTreeSet;

/// Instructions tried in one case; each has four words of results: two that stores write, two of
/// registers.
const TRIES: usize = 8;
const SCALARS: Table = Table { entries: 48, words: 4, results: 4 * TRIES };

/// What a scalar instruction is tried on: operands from the table, a register to write, an
/// address, an amount, one more; pointers to the entry and to its results.
#[derive(Clone, Copy)]
struct On {
    read: [X; 3],
    d: X,
    p: X,
    t: X,
    x: X,
    y: X,
}

impl On {
    fn register(&self, touch: Touch, drawn: &mut Drawn) -> u32 {
        let [a, b, c] = self.read;
        let any = drawn.any(8);
        let x = match touch {
            Touch::Read | Touch::Amount => [a, b, c, a, b, c, a, ZERO][any],
            Touch::Base => self.p,
            Touch::Both => self.read[any % 3],
            _ => [a, b, c, a, self.d, self.d, self.d, self.d][any],
        };
        x.0.into()
    }
}

/// The results of an instruction, the `at`th of its case.
fn tried(k: &mut Block, on: &On, inst: Inst, at: i32) {
    let results = 16 * at;
    for (i, r) in (0..).zip(on.read) {
        k.push(Inst::Lw(r, on.x, 4 * i));
    }
    // An address that the offset leads from to the entry or to the results.
    let address = |k: &mut Block, from, by: i32| {
        k.push(Inst::Li(on.p, by));
        k.push(Inst::Add(on.p, on.p, from));
    };
    match inst {
        Inst::Lw(.., o) => address(k, on.x, (at & 1) * 4 - o),
        Inst::Lhu(.., o) => address(k, on.x, (at & 3) * 2 - o),
        Inst::Lb(.., o) | Inst::Lbu(.., o) => address(k, on.x, at - o),
        Inst::Sw(.., o) => address(k, on.y, results - o),
        Inst::Sb(.., o) => address(k, on.y, results + at % 4 - o),
        Inst::Sh(.., o) => address(k, on.y, results + at % 4 / 2 * 2 - o),
        _ => {}
    }
    k.push(inst);
    let mut written = None;
    inst.visit(&mut |place, touch| {
        if touch.writes() {
            written = Some(X(place as u8));
        }
    });
    written.into_iter().for_each(|d| k.push(Inst::Sw(d, on.y, results + 8)));
}

/// A loop over the table around `body`, on registers that compressed forms name, or others.
fn looped(target: &Target, popular: bool, body: impl FnOnce(&mut Block, &On)) -> Block {
    let mut b = Block::new(target).unwrap();
    let first = if popular { 12 } else { 28 };
    let [a, second, c, d] = [0, 1, 2, 3].map(|i| X(first + i));
    let (p, t) = if popular { (X(8), X(9)) } else { (X(6), X(7)) };
    let on = On { read: [a, second, c], d, p, t, x: argument(0), y: argument(1) };
    let end = X(17);
    b.point(end, on.x, (4 * SCALARS.words * SCALARS.entries) as i32);
    b.repeat(SCALARS.entries, (on.x, end), |b| {
        body(b, &on);
        b.push(Inst::Addi(on.x, on.x, 4 * SCALARS.words as i32));
        b.push(Inst::Addi(on.y, on.y, 4 * SCALARS.results as i32));
    });
    b
}

/// A block for each row of scalars whose operands can be drawn.
fn drawn(target: &Target, popular: bool) -> Vec<(&'static str, Block)> {
    let vector = |i: &Inst| {
        matches!(i.form().kind, Kind::Vector(_)) || matches!(i, Inst::Vset(..) | Inst::RoundDown())
    };
    let row = |&name: &&'static str| {
        let mut found = 0;
        let block = looped(target, popular, |k, on| {
            let registers = |drawn: &mut Drawn, first, touch| {
                if first == FIRST_VECTOR { 0 } else { on.register(touch, drawn) }
            };
            let mut drawn = Drawn::new(name);
            for at in 0..TRIES as i32 {
                let inst = drawn.legal(&registers, |d| Inst::draw(name, d), Inst::legal);
                if let Some(inst) = inst.filter(|i| !vector(i)) {
                    tried(k, on, inst, at);
                    found += 1;
                }
            }
        });
        (found > 0).then_some((name, block))
    };
    Inst::NAMES.iter().filter_map(row).collect()
}

/// 1 where a branch to a later label was not taken; `far` with much between.
fn ahead(k: &mut Block, on: &On, far: usize, inst: impl Fn(u32) -> Inst) {
    let ([a, b, c], over) = (on.read, k.label());
    k.push(Inst::Li(on.d, 0));
    k.push(inst(over));
    k.push(Inst::Li(on.d, 1));
    (0..far).for_each(|_| k.push(Inst::Mul(c, b, a)));
    k.push(Inst::Label(over));
    k.push(Inst::Sw(on.d, on.y, 0));
}

/// How often a loop turned: once or twice, as long as the registers differ.
fn back(k: &mut Block, on: &On, far: usize, (a, b): (X, X)) {
    let top = k.label();
    k.push(Inst::Li(on.d, 0));
    k.push(Inst::Label(top));
    k.push(Inst::Addi(on.d, on.d, 1));
    (0..far).for_each(|_| k.push(Inst::Mul(on.t, on.read[1], on.d)));
    // The second time they are equal.
    let done = k.label();
    k.push(Inst::Addi(on.t, on.d, -2));
    let leave = k.label();
    k.push(Inst::BnezOn(on.t, leave));
    k.push(Inst::Jump(done));
    k.push(Inst::Label(leave));
    k.push(Inst::BneBack(a, b, top));
    k.push(Inst::Label(done));
    k.push(Inst::Sw(on.d, on.y, 0));
}

/// What is not drawn: constants by the way they are made, words of the frame, and branches.
fn written(target: &Target, popular: bool) -> Vec<(&'static str, Block)> {
    let looped = |body: &dyn Fn(&mut Block, &On)| {
        looped(target, popular, |k, on| {
            (0..).zip(on.read).for_each(|(i, r)| k.push(Inst::Lw(r, on.x, 4 * i)));
            body(k, on);
        })
    };
    let constants = |of: [i32; TRIES]| {
        looped(&|k, on| (0..).zip(of).for_each(|(at, v)| tried(k, on, Inst::Li(on.d, v), at)))
    };
    let mut all = vec![
        ("small constants", constants([0, 31, 32, -32, -33, 2047, -2048, 4097])),
        ("constants", constants([2048, 4096, 32768, 0x1_f000, 0x2_0000, 0x0123_4567, -4096, -0x2_0000])),
        ("far constants", constants([-0x2_1000, i32::MIN, i32::MAX, -2049, 0x1_f7ff, 0x1_f800, 63, 64])),
    ];
    let slots = looped(&|k, on| {
        let at: Vec<i32> = (0..70).map(|_| k.slot()).collect();
        for (slot, r) in [at[0], at[63], at[64]].into_iter().zip(on.read) {
            k.push(Inst::Sw(r, SP, slot));
        }
        for (i, slot) in (0..).zip([at[0], at[63], at[64]]) {
            k.push(Inst::Lw(on.d, SP, slot));
            k.push(Inst::Sw(on.d, on.y, 4 * i));
        }
    });
    all.push(("slots", slots));
    for (name, far) in [("near", 0), ("far", 70), ("farther", 600)] {
        all.push((name, looped(&|k, on| ahead(k, on, far, Inst::Jump))));
        if far < 600 {
            all.push((name, looped(&|k, on| ahead(k, on, far, |l| Inst::BnezOn(on.read[0], l)))));
            all.push((name, looped(&|k, on| ahead(k, on, far, |l| Inst::BgezOn(on.read[0], l)))));
            all.push((name, looped(&|k, on| back(k, on, far, (on.read[0], ZERO)))));
            all.push((name, looped(&|k, on| back(k, on, far, (on.read[0], on.read[1])))));
        }
    }
    all
}

fn case(name: String, block: Block, feature: &str, output: usize) -> Case {
    let native = block.native(feature).unwrap_or_else(|e| panic!("{name}: {e}"));
    let meaning = move |x: &[i32]| {
        let mut memory = Memory { regions: vec![(FROM, bytes(x)), (TO, vec![0; 4 * output])] };
        simulate(&block, &[FROM, TO], &mut memory);
        words(&memory.regions[1].1)
    };
    Case { name, native, meaning: Box::new(meaning) }
}

fn scalar_cases(target: &Target) -> Vec<(Case, BTreeSet<&'static str>)> {
    let mut all = Vec::new();
    for (kind, popular) in [("popular", true), ("other", false)] {
        for (name, b) in drawn(target, popular).into_iter().chain(written(target, popular)) {
            let tried = b.insts().iter().map(Inst::name).collect();
            all.push((case(format!("{name} {kind}"), b, "rv32", SCALARS.output()), tried));
        }
    }
    all
}

#[test]
fn scalar_spellings_equal_meanings() {
    let target = secateur_targets::find("rv32imc").unwrap();
    let cases: Vec<Case> = scalar_cases(&target).into_iter().map(|c| c.0).collect();
    spellings_equal_meanings("rv32imc", SCALARS, &cases, false);
}

/// Words of an operand: a group of eight registers.
const GROUP: usize = 32;
/// A count and a scalar, then two operands and what the result's group holds before.
const VECTORS: Table = Table { entries: 12, words: 2 + 3 * GROUP, results: GROUP };

/// What a vector instruction is tried on.
#[derive(Clone, Copy)]
struct Operands {
    a: V,
    b: V,
    d: V,
    /// The scalar; the address of the first operand.
    s: X,
    p: X,
}

/// Bits of the result's elements, if there are such elements in such a group.
fn result(lanes: Lanes, bits: u32, lmul: Lmul) -> Option<u32> {
    let wide = bits <= 16 && lmul != Lmul::M8;
    match lanes {
        Lanes::Same => Some(bits),
        Lanes::Bytes => Some(8),
        Lanes::Only(of) => (of == bits).then_some(of),
        Lanes::Extend(by) => (bits / by >= 8).then_some(bits),
        Lanes::Wide => wide.then_some(2 * bits),
        Lanes::Narrow => wide.then_some(bits),
    }
}

/// Instructions of each row of vectors, in place too where the result has the operands' width.
fn vectors(o: Operands) -> Vec<(Inst, Lanes)> {
    let mut all = Vec::new();
    for name in Inst::NAMES {
        let mut drawn = Drawn::new(name);
        for in_place in [false, true] {
            let reads = std::cell::Cell::new(0);
            let registers = |_: &mut Drawn, first: u32, touch: Touch| -> u32 {
                match (first == FIRST_VECTOR, touch) {
                    (true, Touch::Read) => {
                        let nth = reads.replace(reads.get() + 1);
                        [if in_place { o.d } else { o.a }, o.b][nth % 2].0.into()
                    }
                    (true, _) => o.d.0.into(),
                    (false, Touch::Base) => o.p.0.into(),
                    (false, _) => o.s.0.into(),
                }
            };
            let Some(inst) = drawn.legal(&registers, |d| Inst::draw(name, d), Inst::legal) else { continue };
            let Kind::Vector(lanes) = inst.form().kind else { continue };
            let known = all.iter().any(|(i, _)| *i == inst);
            if !in_place || matches!(lanes, Lanes::Same | Lanes::Narrow) && !known {
                all.push((inst, lanes));
            }
        }
    }
    all
}

fn vector_cases(target: &Target) -> Vec<Case> {
    let groups = [Lmul::Half, Lmul::M1, Lmul::M2, Lmul::M4, Lmul::M8];
    let mut all = Vec::new();
    let [s, p] = [14, 15].map(X);
    let o = Operands { a: V(8), b: V(16), d: V(24), s, p };
    for (inst, lanes) in vectors(o) {
        for bits in [8, 16, 32] {
            // Elements of 32 bits fill a register at least.
            for lmul in groups.into_iter().filter(|&l| bits < 32 || l != Lmul::Half) {
                let Some(made) =
                    result(lanes, bits, lmul).filter(|&made| made <= bits || lanes == Lanes::Wide)
                else {
                    continue;
                };
                let mut b = Block::new(target).unwrap();
                let [x, y] = [0, 1].map(argument);
                let [end, n, vl, t] = [12, 13, 16, 17].map(X);
                b.point(end, x, (4 * VECTORS.words * VECTORS.entries) as i32);
                b.repeat(VECTORS.entries, (x, end), |b| {
                    b.push(Inst::Lw(n, x, 0));
                    b.push(Inst::Andi(n, n, 255));
                    b.push(Inst::Lw(s, x, 4));
                    b.push(Inst::Li(t, 4 * GROUP as i32));
                    b.push(Inst::Vset(ZERO, t, 8, Lmul::M8));
                    for (i, v) in [o.a, o.b, o.d].into_iter().enumerate() {
                        b.push(Inst::Addi(p, x, 8 + (4 * GROUP * i) as i32));
                        b.push(Inst::Vle8(v, p));
                    }
                    b.push(Inst::Addi(p, x, 8));
                    if lanes == Lanes::Narrow {
                        b.push(Inst::RoundDown());
                    }
                    b.push(Inst::Vset(vl, n, bits, lmul));
                    let stores = matches!(inst, Inst::Vse8(..));
                    if stores {
                        b.push(Inst::Mv(p, y));
                    }
                    b.push(inst);
                    if !stores {
                        // Bytes of the elements, not those behind them.
                        b.push(Inst::Slli(vl, vl, (made / 8).ilog2()));
                        b.push(Inst::Vset(ZERO, vl, 8, Lmul::M8));
                        b.push(Inst::Vse8(o.d, y));
                    }
                    b.push(Inst::Addi(x, x, 4 * VECTORS.words as i32));
                    b.push(Inst::Addi(y, y, 4 * VECTORS.results as i32));
                });
                all.push(case(format!("{inst:?} on {bits} bits, {lmul}"), b, "rvv", VECTORS.output()));
            }
        }
    }
    all
}

#[test]
fn vector_spellings_equal_meanings() {
    let target = secateur_targets::find("rv32imcv").unwrap();
    spellings_equal_meanings("rv32imcv", VECTORS, &vector_cases(&target), false);
}

/// What `vsetvli` gives: a length for each width and group.
#[test]
fn lengths_equal_meanings() {
    let target = secateur_targets::find("rv32imcv").unwrap();
    let mut all = Vec::new();
    for bits in [8, 16, 32] {
        for lmul in [Lmul::Half, Lmul::M1, Lmul::M2, Lmul::M4, Lmul::M8] {
            if bits == 32 && lmul == Lmul::Half {
                continue;
            }
            let mut b = Block::new(&target).unwrap();
            let ([x, y], [end, n, vl]) = ([0, 1].map(argument), [12, 13, 14].map(X));
            b.point(end, x, (4 * SCALARS.words * SCALARS.entries) as i32);
            b.repeat(SCALARS.entries, (x, end), |b| {
                b.push(Inst::Lw(n, x, 0));
                b.push(Inst::Vset(vl, n, bits, lmul));
                b.push(Inst::Sw(vl, y, 0));
                // Short ones, between none and some.
                b.push(Inst::Andi(n, n, 15));
                b.push(Inst::Vset(vl, n, bits, lmul));
                b.push(Inst::Sw(vl, y, 4));
                b.push(Inst::Addi(x, x, 4 * SCALARS.words as i32));
                b.push(Inst::Addi(y, y, 4 * SCALARS.results as i32));
            });
            all.push(case(format!("Vset to {bits} bits, {lmul}"), b, "rvv", SCALARS.output()));
        }
    }
    spellings_equal_meanings("rv32imcv", SCALARS, &all, false);
}

#[test]
fn each_row_has_a_case() {
    let target = secateur_targets::find("rv32imc").unwrap();
    let mut tried: BTreeSet<&str> = scalar_cases(&target).into_iter().flat_map(|c| c.1).collect();
    let o = Operands { a: V(8), b: V(16), d: V(24), s: X(14), p: X(15) };
    tried.extend(vectors(o).iter().map(|v| v.0.name()));
    let missing: Vec<_> = Inst::NAMES.iter().filter(|n| !tried.contains(**n)).collect();
    // Those have cases of their own.
    assert_eq!(missing, [&"Vset", &"RoundDown"]);
}
