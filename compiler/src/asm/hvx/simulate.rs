//! Runs HVX blocks on a model of the core, from the Qualcomm Hexagon V66 and V67 HVX Programmer's
//! Reference Manuals. The tests' host-side emulator.
//!
//! Law: the instructions of a packet read what was before it; no two write the same place.

use crate::asm::armv7em::simulate::Memory;
use crate::asm::hvx::packet;
use crate::asm::hvx::{Code, Inst, Q, R, V, VECTOR};

type Vector = [u8; VECTOR];

/// Where arguments beyond the registers stand.
const STACK: u32 = 0x2000_0000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    pub(crate) r: [u32; 32],
    pub(crate) v: [Vector; 32],
    pub(crate) q: [[bool; VECTOR]; 4],
    pub(crate) p: bool,
}

impl Default for Registers {
    fn default() -> Registers {
        let v = std::array::from_fn(|i| std::array::from_fn(|b| (i * 37 + b * 5) as u8));
        Registers { r: std::array::from_fn(|i| 0x1111_0000 + i as u32), v, q: [[false; VECTOR]; 4], p: false }
    }
}

/// Runs with arguments in `r0`..`r5` and on the stack; in order, or in the packets that are printed.
pub(crate) fn run(code: &[Code], args: &[u32], memory: &mut Memory, in_packets: bool) {
    let mut registers = Registers::default();
    let (first, stacked) = args.split_at(args.len().min(6));
    registers.r[..first.len()].copy_from_slice(first);
    registers.r[29] = STACK;
    memory.regions.push((STACK, stacked.iter().flat_map(|v| v.to_le_bytes()).collect()));
    walk(code, &mut registers, memory, in_packets);
    memory.regions.pop();
}

fn walk(code: &[Code], registers: &mut Registers, memory: &mut Memory, in_packets: bool) {
    for part in code {
        match part {
            Code::Straight(insts) if in_packets => {
                packet::packets(insts).iter().for_each(|p| together(p, registers, memory));
            }
            Code::Straight(insts) => insts.iter().for_each(|i| together(&[*i], registers, memory)),
            Code::Loop { turns, body } => {
                (0..*turns).for_each(|_| walk(body, registers, memory, in_packets));
            }
        }
    }
}

fn words(v: &Vector) -> [i32; VECTOR / 4] {
    std::array::from_fn(|i| i32::from_le_bytes([0, 1, 2, 3].map(|b| v[4 * i + b])))
}
fn halves(v: &Vector) -> [i32; VECTOR / 2] {
    std::array::from_fn(|i| i32::from(i16::from_le_bytes([v[2 * i], v[2 * i + 1]])))
}
fn of_words(f: impl Fn(usize) -> i32) -> Vector {
    std::array::from_fn(|i| f(i / 4).to_le_bytes()[i % 4])
}
/// From the low bits.
fn of_halves(f: impl Fn(usize) -> i32) -> Vector {
    std::array::from_fn(|i| f(i / 2).to_le_bytes()[i % 2])
}
fn clip(v: i64, bits: u32) -> i32 {
    v.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) as i32
}
fn signed(word: u32, byte: usize) -> i32 {
    i32::from(word.to_le_bytes()[byte] as i8)
}
/// The halves of a scalar, signed.
fn pair(word: u32) -> [i64; 2] {
    [i64::from(word as i16), i64::from((word >> 16) as i16)]
}

/// A packet.
pub(crate) fn together(insts: &[Inst], registers: &mut Registers, memory: &mut Memory) {
    let old = registers.clone();
    let mut stores: Vec<(u32, Vec<u8>)> = Vec::new();
    for inst in insts {
        step(inst, &old, registers, memory, &mut stores);
    }
    for (address, bytes) in stores {
        memory.at(address, bytes.len() as u32).copy_from_slice(&bytes);
    }
}

fn step(
    inst: &Inst,
    old: &Registers,
    new: &mut Registers,
    memory: &mut Memory,
    stores: &mut Vec<(u32, Vec<u8>)>,
) {
    use Inst::*;
    let r = |r: R| old.r[r.0 as usize];
    let v = |v: V| &old.v[v.0 as usize];
    let odd = |v: V| &old.v[v.0 as usize + 1];
    let q = |q: Q| &old.q[q.0 as usize];
    let low7 = |a: R| r(a) as usize % VECTOR;
    let line = |address: u32| address & !(VECTOR as u32 - 1);
    let past = |a: R, n: i32| r(a).wrapping_add((n * VECTOR as i32) as u32);
    let saturated = |a: V, b: R, i: usize| -> i64 {
        let ([x, y], [m, n]) = ([2 * i, 2 * i + 1].map(|i| i64::from(halves(v(a))[i])), pair(r(b)));
        x * m + y * n
    };
    // Scalars.
    let scalar = match *inst {
        Set(d, c) => Some((d, c as u32)),
        Mov(d, a) => Some((d, r(a))),
        Add(d, a, c) => Some((d, r(a).wrapping_add(c as u32))),
        And(d, a, c) => Some((d, r(a) & c as u32)),
        LowBits(d, a, n) => Some((d, r(a) & ((1 << n) - 1))),
        ShiftBy(d, a, n) => Some((d, ((r(a) as i32) >> n) as u32)),
        Halves(d, a, b) => Some((d, r(a) << 16 | r(b) & 0xffff)),
        Kept(d, a) => Some((d, if old.p { r(a) } else { 0 })),
        Dropped(d, a) => Some((d, if old.p { 0 } else { r(a) })),
        LoadWord(d, a, o) => {
            let at = r(a).wrapping_add(o as u32);
            assert!(at.is_multiple_of(4), "unaligned load at {at:#x}");
            Some((d, u32::from_le_bytes(memory.at(at, 4).try_into().unwrap())))
        }
        _ => None,
    };
    if let Some((d, value)) = scalar {
        new.r[d.0 as usize] = value;
        return;
    }
    let mut load = |address: u32| -> Vector { memory.at(address, VECTOR as u32).try_into().unwrap() };
    let (d, value, second): (V, Vector, Option<Vector>) = match *inst {
        LoadNext(d, a) => {
            new.r[a.0 as usize] = past(a, 1);
            (d, load(line(r(a))), None)
        }
        Load(d, a, n) => (d, load(line(past(a, n))), None),
        LoadAny(d, a, n) => (d, load(past(a, n)), None),
        StoreAny(a, n, s) => return stores.push((past(a, n), v(s).to_vec())),
        StoreMasked(m, a, s) => {
            let at = line(r(a));
            let bytes = (0..VECTOR).filter(|&i| q(m)[i]);
            return stores.extend(bytes.map(|i| (at + i as u32, vec![v(s)[i]])));
        }
        Greater(a, c) => return new.p = r(a) as i32 > c,
        First(m, a) => return new.q[m.0 as usize] = std::array::from_fn(|i| i < low7(a)),
        FirstOrAll(m, a) => {
            let last = r(a).wrapping_sub(1) as usize % VECTOR;
            return new.q[m.0 as usize] = std::array::from_fn(|i| i <= last);
        }
        Without(m, a, b) => return new.q[m.0 as usize] = std::array::from_fn(|i| q(a)[i] && !q(b)[i]),
        Splat(d, a) => (d, of_words(|_| r(a) as i32), None),
        SplatByte(d, a) => (d, [r(a) as u8; VECTOR], None),
        SplatHalf(d, a) => (d, of_halves(|_| r(a) as i32), None),
        Copy(d, a) => (d, *v(a), None),
        Dot(d, a, b) | DotAdd(d, a, b) => {
            let before = if matches!(inst, DotAdd(..)) { words(v(d)) } else { [0; VECTOR / 4] };
            let product = |i: usize, b4: usize| i32::from(v(a)[4 * i + b4]) * signed(r(b), b4);
            (d, of_words(|i| (0..4).fold(before[i], |s, b4| s.wrapping_add(product(i, b4)))), None)
        }
        DotLanes(d, a, b) => {
            let (before, x, y) = (words(v(d)), v(a), v(b));
            let product = |i: usize| i32::from(x[i] as i8) * i32::from(y[i] as i8);
            (d, of_words(|i| (0..4).fold(before[i], |s, b4| s.wrapping_add(product(4 * i + b4)))), None)
        }
        DotHalves(d, a, b) => (d, of_words(|i| clip(saturated(a, b, i), 32)), None),
        MulHalves(d, a, b) => {
            let (x, y) = (halves(v(a)), halves(v(b)));
            let at = |i: usize| x[i].wrapping_mul(y[i]);
            (d, of_words(|i| at(2 * i)), Some(of_words(|i| at(2 * i + 1))))
        }
        MulHalvesAdd(d, a, b) => {
            let (x, m) = (halves(v(a)), pair(r(b)));
            let sum = |before: &Vector, odd: usize| {
                let before = words(before);
                of_words(|i| clip(i64::from(before[i]) + i64::from(x[2 * i + odd]) * m[odd], 32))
            };
            (d, sum(v(d), 0), Some(sum(odd(d), 1)))
        }
        Widen(d, a) => {
            let at = |i: usize| i32::from(v(a)[i] as i8);
            (d, of_halves(|i| at(2 * i)), Some(of_halves(|i| at(2 * i + 1))))
        }
        PairBytes(d, a, b) => {
            let at = |i: usize, odd: usize| [v(b), v(a)][i % 2][i / 2 * 2 + odd];
            (d, std::array::from_fn(|i| at(i, 0)), Some(std::array::from_fn(|i| at(i, 1))))
        }
        PairHalves(d, a, b) => {
            let at = |i: usize, odd: usize| halves([v(b), v(a)][i % 2])[i / 2 * 2 + odd];
            (d, of_halves(|i| at(i, 0)), Some(of_halves(|i| at(i, 1))))
        }
        AddWords(d, a, b) => (d, of_words(|i| words(v(a))[i].wrapping_add(words(v(b))[i])), None),
        SubWords(d, a, b) => (d, of_words(|i| words(v(a))[i].wrapping_sub(words(v(b))[i])), None),
        SubHalves(d, a, b) => (d, of_halves(|i| halves(v(a))[i] - halves(v(b))[i]), None),
        AndWords(d, a, b) => (d, std::array::from_fn(|i| v(a)[i] & v(b)[i]), None),
        Xor(d, a, b) => (d, std::array::from_fn(|i| v(a)[i] ^ v(b)[i]), None),
        MulLow(d, a, b) => {
            let (x, y) = (words(v(a)), words(v(b)));
            let at = |i: usize| i64::from(x[i]) * i64::from(y[i] & 0xffff);
            (d, of_words(|i| (at(i) << 16) as i32), Some(of_words(|i| (at(i) >> 16) as i32)))
        }
        MulHighAdd(d, a, b) => {
            let (x, y, low, high) = (words(v(a)), words(v(b)), words(v(d)), words(odd(d)));
            let at = |i: usize| i64::from(x[i]) * i64::from(y[i] >> 16) + i64::from(high[i]);
            let moved = |i: usize| ((low[i] as u32) >> 16) as i32 | (at(i) << 16) as i32;
            (d, of_words(moved), Some(of_words(|i| (at(i) >> 16) as i32)))
        }
        ShiftRight(d, a, b) => {
            // Six bits, of which the negative ones shift left.
            let by = |i: usize| words(v(b))[i] << 26 >> 26;
            let shifted = |i: usize| match (words(v(a))[i], by(i)) {
                (x, n) if n >= 0 => x >> n,
                (x, n) => (i64::from(x) << -n) as i32,
            };
            (d, of_words(shifted), None)
        }
        ShiftRightAll(d, a, b) => (d, of_words(|i| words(v(a))[i] >> (r(b) & 31)), None),
        ShiftLeftAll(d, a, b) => (d, of_words(|i| words(v(a))[i] << (r(b) & 31)), None),
        ShiftLeftAdd(d, a, b) => {
            (d, of_words(|i| words(v(d))[i].wrapping_add(words(v(a))[i] << (r(b) & 31))), None)
        }
        PackHalves(d, a, b) => {
            let half = VECTOR / 4;
            (d, of_halves(|i| clip(words([v(b), v(a)][i / half])[i % half].into(), 16)), None)
        }
        PackBytes(d, a, b) => {
            let half = VECTOR / 2;
            let at = |i: usize| clip(halves([v(b), v(a)][i / half])[i % half].into(), 8) as u8;
            (d, std::array::from_fn(at), None)
        }
        NarrowWords(d, a, b) => (d, of_halves(|i| clip(words([v(b), v(a)][i % 2])[i / 2].into(), 16)), None),
        NarrowHalves(d, a, b, n) => {
            let at = |i: usize| clip((halves([v(b), v(a)][i % 2])[i / 2] >> (r(n) & 7)).into(), 8) as u8;
            (d, std::array::from_fn(at), None)
        }
        Align(d, a, b, n) => {
            let at = |i: usize| if i < VECTOR { v(b)[i] } else { v(a)[i - VECTOR] };
            (d, std::array::from_fn(|i| at(i + low7(n))), None)
        }
        RotateUp(d, a, n) => (d, std::array::from_fn(|i| v(a)[(i + VECTOR - low7(n)) % VECTOR]), None),
        RotateDown(d, a, n) => (d, std::array::from_fn(|i| v(a)[(i + low7(n)) % VECTOR]), None),
        Exchange(d, a, b) => {
            let stages = [64, 32, 16, 8, 4, 2, 1].into_iter();
            let swap = |x: Vector, by: usize| -> Vector {
                std::array::from_fn(|i| x[if usize::from(v(b)[i]) & by == 0 { i } else { i ^ by }])
            };
            (d, stages.fold(*v(a), swap), None)
        }
        Interleave(d, a) => (d, std::array::from_fn(|i| v(a)[i / 2 + i % 2 * (VECTOR / 2)]), None),
        Lookup(d, a, b, n) | LookupMore(d, a, b, n) => {
            let before = if matches!(inst, LookupMore(..)) { *v(d) } else { [0; VECTOR] };
            let found = |index: u8| match index >> 5 == n as u8 {
                true => v(b)[usize::from(index % 64) * 2 + (n as usize >> 1 & 1)],
                false => 0,
            };
            (d, std::array::from_fn(|i| before[i] | found(v(a)[i])), None)
        }
        Select(d, m, a, b) => (d, std::array::from_fn(|i| if q(m)[i] { v(a)[i] } else { v(b)[i] }), None),
        MaxBytes(d, a, b) => (d, std::array::from_fn(|i| (v(a)[i] as i8).max(v(b)[i] as i8) as u8), None),
        MinBytes(d, a, b) => (d, std::array::from_fn(|i| (v(a)[i] as i8).min(v(b)[i] as i8) as u8), None),
        _ => unreachable!("a scalar"),
    };
    new.v[d.0 as usize] = value;
    if let Some(second) = second {
        new.v[d.0 as usize + 1] = second;
    }
}
