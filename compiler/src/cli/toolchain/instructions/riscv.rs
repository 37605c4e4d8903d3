//! RV32IM and the vectors of V: scalar registers that compressed forms reach and others, every
//! width of elements in every group of registers, and lengths of none to more than there are.

use super::{Case, Table, X as FROM, Y as TO, bytes, spellings_equal_meanings, words};
use crate::asm::armv7em::simulate::Memory;
use crate::asm::riscv::simulate::run as simulate;
use crate::asm::riscv::{Block, Inst, Lmul, SP, V, X, ZERO, argument};
use secateur_targets::Target;

/// What a scalar instruction is tried on: operands from the table, a register to write, one more;
/// pointers to the entry and to its results.
#[derive(Clone, Copy)]
struct On {
    a: X,
    b: X,
    c: X,
    d: X,
    t: X,
    x: X,
    y: X,
}

type Try = (&'static str, fn(&mut Block, On) -> [X; 2]);

const SCALARS: Table = Table { entries: 48, words: 4, results: 2 };

/// One result; the second is the first operand.
macro_rules! one {
    ($on:ident; $name:ident, $($arg:tt)*) => {
        (concat!(stringify!($name), " ", stringify!($($arg)*)), |k: &mut Block, $on: On| {
            k.push(Inst::$name($on.d, $($arg)*));
            [$on.d, $on.a]
        })
    };
}

/// A result over the third operand, which is read.
macro_rules! over {
    ($on:ident; $name:ident, $($arg:tt)*) => {
        (concat!(stringify!($name), " ", stringify!($($arg)*), " over"), |k: &mut Block, $on: On| {
            k.push(Inst::$name($on.c, $($arg)*));
            [$on.c, $on.a]
        })
    };
}

/// A store over results that are zero, read back.
fn stored(k: &mut Block, on: On, inst: Inst) -> [X; 2] {
    k.push(inst);
    k.push(Inst::Lw(on.c, on.y, 0));
    k.push(Inst::Lw(on.d, on.y, 4));
    [on.c, on.d]
}

/// 1 where a branch to a later label was not taken; `far` with much between.
fn ahead(k: &mut Block, on: On, far: usize, inst: impl Fn(u32) -> Inst) -> [X; 2] {
    let over = k.label();
    k.push(Inst::Li(on.d, 0));
    k.push(inst(over));
    k.push(Inst::Li(on.d, 1));
    (0..far).for_each(|_| k.push(Inst::Mul(on.c, on.b, on.a)));
    k.push(Inst::Label(over));
    [on.d, on.a]
}

/// How often a loop turned: once or twice, as long as the registers differ.
fn back(k: &mut Block, on: On, far: usize, (a, b): (X, X)) -> [X; 2] {
    let top = k.label();
    k.push(Inst::Li(on.d, 0));
    k.push(Inst::Label(top));
    k.push(Inst::Addi(on.d, on.d, 1));
    (0..far).for_each(|_| k.push(Inst::Mul(on.t, on.b, on.d)));
    // The second time they are equal.
    let done = k.label();
    k.push(Inst::Addi(on.t, on.d, -2));
    let leave = k.label();
    k.push(Inst::BnezOn(on.t, leave));
    k.push(Inst::Jump(done));
    k.push(Inst::Label(leave));
    k.push(Inst::BneBack(a, b, top));
    k.push(Inst::Label(done));
    [on.d, on.a]
}

#[rustfmt::skip]
fn scalars() -> Vec<Try> {
    vec![
        one!(on; Lb, on.x, 0), one!(on; Lb, on.x, 3), one!(on; Lw, on.x, 4), one!(on; Lw, on.x, 12),
        ("Lb back", |k, on| { k.push(Inst::Addi(on.t, on.x, 2047)); k.push(Inst::Lb(on.d, on.t, -2046)); [on.d, on.a] }),
        ("Lw back", |k, on| { k.push(Inst::Addi(on.t, on.x, 2044)); k.push(Inst::Lw(on.d, on.t, -2040)); [on.d, on.a] }),
        ("Lw near its end", |k, on| { k.push(Inst::Addi(on.t, on.x, -124)); k.push(Inst::Lw(on.d, on.t, 124)); [on.d, on.a] }),
        ("Lw beyond", |k, on| { k.push(Inst::Addi(on.t, on.x, -128)); k.push(Inst::Lw(on.d, on.t, 128)); [on.d, on.a] }),
        ("Sb", |k, on| stored(k, on, Inst::Sb(on.a, on.y, 0))), ("Sb at 7", |k, on| stored(k, on, Inst::Sb(on.b, on.y, 7))),
        ("Sw", |k, on| stored(k, on, Inst::Sw(on.a, on.y, 0))), ("Sw at 4", |k, on| stored(k, on, Inst::Sw(on.b, on.y, 4))),
        ("Slots", |k, on| {
            let at: Vec<i32> = (0..70).map(|_| k.slot()).collect();
            k.push(Inst::Sw(on.a, SP, at[0]));
            k.push(Inst::Sw(on.b, SP, at[63]));
            k.push(Inst::Sw(on.c, SP, at[64]));
            k.push(Inst::Lw(on.d, SP, at[0]));
            k.push(Inst::Lw(on.t, SP, at[63]));
            k.push(Inst::Add(on.d, on.d, on.t));
            k.push(Inst::Lw(on.t, SP, at[64]));
            k.push(Inst::Sub(on.d, on.d, on.t));
            [on.d, on.b]
        }),
        one!(on; Li, 0), one!(on; Li, 31), one!(on; Li, 32), one!(on; Li, -32), one!(on; Li, -33), one!(on; Li, 2047), one!(on; Li, -2048),
        one!(on; Li, 2048), one!(on; Li, 4096), one!(on; Li, 32768), one!(on; Li, 0x1_f000), one!(on; Li, 0x2_0000), one!(on; Li, 0x0123_4567),
        one!(on; Li, -4096), one!(on; Li, -0x2_0000), one!(on; Li, -0x2_1000), one!(on; Li, i32::MIN), one!(on; Li, i32::MAX), one!(on; Li, 4097),
        one!(on; Mv, on.b), over!(on; Mv, on.c), one!(on; Add, on.a, on.b), over!(on; Add, on.c, on.b), over!(on; Add, on.b, on.c), one!(on; Add, on.b, ZERO),
        one!(on; Sub, on.a, on.b), over!(on; Sub, on.c, on.b), over!(on; Sub, on.b, on.c), one!(on; Or, on.a, on.b), over!(on; Or, on.c, on.b),
        over!(on; Or, on.b, on.c), one!(on; Addi, on.a, 1), one!(on; Addi, on.a, 2047), one!(on; Addi, on.a, -2048), one!(on; Addi, on.a, 0),
        over!(on; Addi, on.c, 31), over!(on; Addi, on.c, 32), over!(on; Addi, on.c, -32), over!(on; Addi, on.c, -33), one!(on; Addi, ZERO, 9),
        one!(on; Andi, on.a, 1), one!(on; Andi, on.a, -2048), over!(on; Andi, on.c, 31), over!(on; Andi, on.c, 255),
        one!(on; Slli, on.a, 1), one!(on; Slli, on.a, 31), over!(on; Slli, on.c, 16), one!(on; Srai, on.a, 1), one!(on; Srai, on.a, 31), over!(on; Srai, on.c, 16),
        one!(on; Sra, on.a, on.b), over!(on; Sra, on.c, on.b), one!(on; Mul, on.a, on.b), over!(on; Mul, on.c, on.c), one!(on; Mulh, on.a, on.b),
        over!(on; Mulh, on.c, on.b), over!(on; Max, on.a), over!(on; Min, on.a), over!(on; Max, ZERO), over!(on; Min, ZERO),
        ("BnezOn", |k, on| ahead(k, on, 0, |l| Inst::BnezOn(on.a, l))), ("BgezOn", |k, on| ahead(k, on, 0, |l| Inst::BgezOn(on.a, l))),
        ("Jump", |k, on| ahead(k, on, 0, Inst::Jump)), ("BnezOn far", |k, on| ahead(k, on, 70, |l| Inst::BnezOn(on.a, l))),
        ("BgezOn far", |k, on| ahead(k, on, 70, |l| Inst::BgezOn(on.a, l))), ("Jump far", |k, on| ahead(k, on, 600, Inst::Jump)),
        ("BneBack", |k, on| back(k, on, 0, (on.a, on.b))), ("BneBack zero", |k, on| back(k, on, 0, (on.a, ZERO))),
        ("BneBack far", |k, on| back(k, on, 70, (on.a, ZERO))),
    ]
}

fn case(name: String, block: Block, feature: &str, output: usize) -> Case {
    let native = block.native(feature);
    let meaning = move |x: &[i32]| {
        let mut memory = Memory { regions: vec![(FROM, bytes(x)), (TO, vec![0; 4 * output])] };
        simulate(&block, &[FROM, TO], &mut memory);
        words(&memory.regions[1].1)
    };
    Case { name, native, meaning: Box::new(meaning) }
}

fn scalar_cases(target: &Target) -> Vec<Case> {
    let mut all = Vec::new();
    for (name, write) in scalars() {
        for (kind, first) in [("popular", 12), ("other", 28)] {
            let mut b = Block::new(target).unwrap();
            let [a, second, c, d] = [0, 1, 2, 3].map(|i| X(first + i));
            let on = On {
                a,
                b: second,
                c,
                d,
                t: X(if first == 12 { 9 } else { 7 }),
                x: argument(0),
                y: argument(1),
            };
            let end = X(17);
            b.point(end, on.x, (4 * SCALARS.words * SCALARS.entries) as i32);
            b.repeat(SCALARS.entries, (on.x, end), |b| {
                for (i, r) in [a, second, c].into_iter().enumerate() {
                    b.push(Inst::Lw(r, on.x, 4 * i as i32));
                }
                let results = write(b, on);
                for (i, r) in results.into_iter().enumerate() {
                    b.push(Inst::Sw(r, on.y, 4 * i as i32));
                }
                b.push(Inst::Addi(on.x, on.x, 4 * SCALARS.words as i32));
                b.push(Inst::Addi(on.y, on.y, 4 * SCALARS.results as i32));
            });
            all.push(case(format!("{name} {kind}"), b, "rv32", SCALARS.output()));
        }
    }
    all
}

#[test]
fn scalar_spellings_equal_meanings() {
    let target = secateur_targets::find("rv32imc").unwrap();
    spellings_equal_meanings("rv32imc", SCALARS, &scalar_cases(&target), false);
}

/// Words of an operand: a group of eight registers.
const GROUP: usize = 32;
/// A count and a scalar, then two operands and what the result's group holds before.
const VECTORS: Table = Table { entries: 12, words: 2 + 3 * GROUP, results: GROUP };

/// What a vector instruction is tried on.
#[derive(Clone, Copy)]
struct Lanes {
    a: V,
    b: V,
    d: V,
    /// The scalar; the address of the first operand.
    s: X,
    p: X,
}

/// Widths of results and operands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of the elements' width.
    Same,
    /// A result of twice the width.
    Wide,
    /// An operand of twice the width.
    Narrow,
    /// An operand of so many times less.
    Extend(u32),
    /// A result of these bits, whatever the elements' width.
    Load(u32),
    /// Memory is written.
    Store,
    /// Only on elements of these bits.
    Only(u32),
}

#[rustfmt::skip]
fn vectors() -> Vec<(&'static str, Kind, fn(Lanes) -> Inst)> {
    use Kind::*;
    vec![
        ("Vle8", Load(8), |o| Inst::Vle8(o.d, o.p)), ("Vle32", Only(32), |o| Inst::Vle32(o.d, o.p)),
        ("Vse8", Store, |o| Inst::Vse8(o.d, X(11))), ("Vluxei8", Only(8), |o| Inst::Vluxei8(o.d, o.p, o.a)),
        ("VmvX", Same, |o| Inst::VmvX(o.d, o.s)), ("VmvV", Same, |o| Inst::VmvV(o.d, o.a)),
        ("Vsext2", Extend(2), |o| Inst::Vsext2(o.d, o.a)), ("Vsext4", Extend(4), |o| Inst::Vsext4(o.d, o.a)),
        ("VmulX", Same, |o| Inst::VmulX(o.d, o.a, o.s)), ("VmulV", Same, |o| Inst::VmulV(o.d, o.a, o.b)),
        ("VmulV in place", Same, |o| Inst::VmulV(o.d, o.d, o.b)), ("VsubX", Same, |o| Inst::VsubX(o.d, o.a, o.s)),
        ("VandX", Same, |o| Inst::VandX(o.d, o.a, o.s)), ("VwmaccX", Wide, |o| Inst::VwmaccX(o.d, o.s, o.a)),
        ("VwmaccV", Wide, |o| Inst::VwmaccV(o.d, o.a, o.b)), ("Vmulh", Same, |o| Inst::Vmulh(o.d, o.a, o.b)),
        ("VmulhX", Same, |o| Inst::VmulhX(o.d, o.a, o.s)), ("VaddX", Same, |o| Inst::VaddX(o.d, o.a, o.s)),
        ("VaddX zero", Same, |o| Inst::VaddX(o.d, o.a, ZERO)), ("VaddV", Same, |o| Inst::VaddV(o.d, o.a, o.b)),
        ("VsraV", Same, |o| Inst::VsraV(o.d, o.a, o.b)), ("VsraX", Same, |o| Inst::VsraX(o.d, o.a, o.s)),
        ("VsraX in place", Same, |o| Inst::VsraX(o.d, o.d, o.s)), ("VnclipX", Narrow, |o| Inst::VnclipX(o.d, o.a, o.s)),
        ("VnclipX in place", Narrow, |o| Inst::VnclipX(o.d, o.d, o.s)), ("Vnclip0", Narrow, |o| Inst::Vnclip0(o.d, o.a)),
        ("Vnclip0 in place", Narrow, |o| Inst::Vnclip0(o.d, o.d)), ("VmaxX", Same, |o| Inst::VmaxX(o.d, o.a, o.s)),
        ("VmaxV", Same, |o| Inst::VmaxV(o.d, o.a, o.b)), ("VminX", Same, |o| Inst::VminX(o.d, o.a, o.s)),
    ]
}

/// Bits of the result's elements, if the kind has such elements in such a group.
fn result(kind: Kind, bits: u32, lmul: Lmul) -> Option<u32> {
    let wide = bits <= 16 && lmul != Lmul::M8;
    match kind {
        Kind::Same | Kind::Store => Some(bits),
        Kind::Load(of) => (of <= bits).then_some(of),
        Kind::Only(of) => (of == bits).then_some(of),
        Kind::Extend(by) => (bits / by >= 8).then_some(bits),
        Kind::Wide => wide.then_some(2 * bits),
        Kind::Narrow => wide.then_some(bits),
    }
}

fn vector_cases(target: &Target) -> Vec<Case> {
    let groups = [Lmul::Half, Lmul::M1, Lmul::M2, Lmul::M4, Lmul::M8];
    let mut all = Vec::new();
    for (name, kind, write) in vectors() {
        for bits in [8, 16, 32] {
            // Elements of 32 bits fill a register at least.
            for lmul in groups.into_iter().filter(|&l| bits < 32 || l != Lmul::Half) {
                let Some(made) = result(kind, bits, lmul) else { continue };
                let mut b = Block::new(target).unwrap();
                let [x, y] = [0, 1].map(argument);
                let [end, n, s, p, vl, t] = [12, 13, 14, 15, 16, 17].map(X);
                let o = Lanes { a: V(8), b: V(16), d: V(24), s, p };
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
                    if kind == Kind::Narrow {
                        b.push(Inst::RoundDown);
                    }
                    b.push(Inst::Vset(vl, n, bits, lmul));
                    b.push(write(o));
                    if kind != Kind::Store {
                        // Bytes of the elements, not those behind them.
                        b.push(Inst::Slli(vl, vl, (made / 8).ilog2()));
                        b.push(Inst::Vset(ZERO, vl, 8, Lmul::M8));
                        b.push(Inst::Vse8(o.d, y));
                    }
                    b.push(Inst::Addi(x, x, 4 * VECTORS.words as i32));
                    b.push(Inst::Addi(y, y, 4 * VECTORS.results as i32));
                });
                all.push(case(format!("{name} on {bits} bits, {lmul}"), b, "rvv", VECTORS.output()));
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
