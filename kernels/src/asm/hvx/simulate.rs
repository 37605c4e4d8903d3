//! Runs HVX blocks on a model of the core, from the Qualcomm Hexagon V66 and V67 HVX Programmer's
//! Reference Manuals. The tests' host-side emulator.
//!
//! Law: the instructions of a packet read what was before it; no two write the same place.

use crate::asm::hvx::packet;
use crate::asm::hvx::{Code, Inst, Q, R, V, VECTOR};
use crate::asm::simulate::Memory;
use crate::asm::table::File;

type Vector = [u8; VECTOR];

/// Where arguments beyond the registers stand.
const STACK: u32 = 0x2000_0000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    pub r: [u32; 32],
    pub v: [Vector; 32],
    pub q: [[bool; VECTOR]; 4],
    pub p: bool,
}

impl Default for Registers {
    fn default() -> Registers {
        let v = std::array::from_fn(|i| std::array::from_fn(|b| (i * 37 + b * 5) as u8));
        Registers { r: std::array::from_fn(|i| 0x1111_0000 + i as u32), v, q: [[false; VECTOR]; 4], p: false }
    }
}

/// Runs with arguments in `r0`..`r5` and on the stack; in order, or in the packets that are printed.
pub fn run(code: &[Code], args: &[u32], memory: &mut Memory, in_packets: bool) {
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
            Code::Counted { count, body, .. } => {
                let turns = registers.r[count.0 as usize];
                assert!((1..1 << 20).contains(&turns), "{turns} turns");
                (0..turns).for_each(|_| walk(body, registers, memory, in_packets));
            }
        }
    }
}

pub fn words(v: &Vector) -> [i32; VECTOR / 4] {
    std::array::from_fn(|i| i32::from_le_bytes([0, 1, 2, 3].map(|b| v[4 * i + b])))
}
pub fn halves(v: &Vector) -> [i32; VECTOR / 2] {
    std::array::from_fn(|i| i32::from(i16::from_le_bytes([v[2 * i], v[2 * i + 1]])))
}
pub fn of_words(f: impl Fn(usize) -> i32) -> Vector {
    std::array::from_fn(|i| f(i / 4).to_le_bytes()[i % 4])
}
/// From the low bits.
pub fn of_halves(f: impl Fn(usize) -> i32) -> Vector {
    std::array::from_fn(|i| f(i / 2).to_le_bytes()[i % 2])
}
/// Words, each with `f` of its four bytes added.
pub fn lanes(v: Vector, f: impl Fn(usize) -> i32) -> Vector {
    let before = words(&v);
    of_words(|i| (4 * i..4 * i + 4).fold(before[i], |sum, b| sum.wrapping_add(f(b))))
}
/// A signed byte of a word.
pub fn signed(word: u32, byte: usize) -> i32 {
    i32::from(word.to_le_bytes()[byte] as i8)
}
/// The halves of a scalar, signed.
pub fn halves_of(word: u32) -> [i64; 2] {
    [i64::from(word as i16), i64::from((word >> 16) as i16)]
}
/// The aligned vector around an address.
pub fn line(address: u32) -> u32 {
    address & !(VECTOR as u32 - 1)
}

/// A core in the middle of a packet: what was before it, and what is behind it.
pub struct Model<'a> {
    pub old: &'a Registers,
    pub new: &'a mut Registers,
    pub memory: &'a mut Memory,
    pub stores: Vec<(u32, Vec<u8>)>,
}

impl Model<'_> {
    pub fn load(&mut self, address: u32) -> Vector {
        self.memory.at(address, VECTOR as u32).try_into().unwrap()
    }
    /// An address and so many vectors.
    pub fn past(&self, address: u32, n: i32) -> u32 {
        address.wrapping_add((n * VECTOR as i32) as u32)
    }
}

impl File<R> for Model<'_> {
    type Word = u32;
    fn read(&self, r: R) -> u32 {
        self.old.r[r.0 as usize]
    }
    fn write(&mut self, r: R, v: u32) {
        self.new.r[r.0 as usize] = v;
    }
}

impl File<V> for Model<'_> {
    type Word = Vector;
    fn read(&self, v: V) -> Vector {
        self.old.v[v.0 as usize]
    }
    fn write(&mut self, v: V, value: Vector) {
        self.new.v[v.0 as usize] = value;
    }
}

impl File<Q> for Model<'_> {
    type Word = [bool; VECTOR];
    fn read(&self, q: Q) -> [bool; VECTOR] {
        self.old.q[q.0 as usize]
    }
    fn write(&mut self, q: Q, value: [bool; VECTOR]) {
        self.new.q[q.0 as usize] = value;
    }
}

/// A packet.
pub fn together(insts: &[Inst], registers: &mut Registers, memory: &mut Memory) {
    let old = registers.clone();
    let mut m = Model { old: &old, new: registers, memory, stores: Vec::new() };
    insts.iter().for_each(|inst| inst.execute(&mut m));
    for (address, bytes) in m.stores {
        m.memory.at(address, bytes.len() as u32).copy_from_slice(&bytes);
    }
}
