//! Runs Helium blocks on a model of the core, from the Armv8-M Architecture Reference Manual
//! (Arm DDI 0553, section C2.4): what the meanings of instructions stand on. Accesses outside the
//! buffers panic, as do words of a vector that are not aligned.

use crate::asm::mve::{Half, Inst, Item, LR, Lane, P, Q, R};
use crate::asm::simulate::Memory;
use crate::asm::table::File;

/// Where the stack ends, and its size.
const STACK: (u32, usize) = (0x4000_0000, 1024);

pub type Vector = [u8; 16];
/// Which bytes of a vector take part.
pub type Bytes = [bool; 16];

/// A core in the middle of a block.
pub struct Model<'a> {
    r: [u32; 15],
    q: [Vector; 8],
    predicate: Bytes,
    /// That of a loop's last turn, and where the instruction at hand writes.
    pub tail: Bytes,
    on: Bytes,
    pub memory: &'a mut Memory,
}

impl File<R> for Model<'_> {
    type Word = u32;
    fn read(&self, r: R) -> u32 {
        self.r[usize::from(r.0)]
    }
    fn write(&mut self, r: R, v: u32) {
        self.r[usize::from(r.0)] = v;
    }
}

impl File<Q> for Model<'_> {
    type Word = Vector;
    fn read(&self, q: Q) -> Vector {
        self.q[usize::from(q.0)]
    }
    fn write(&mut self, q: Q, v: Vector) {
        for i in (0..16).filter(|&i| self.on[i]) {
            self.q[usize::from(q.0)][i] = v[i];
        }
    }
}

impl File<P> for Model<'_> {
    type Word = Bytes;
    fn read(&self, _: P) -> Bytes {
        self.predicate
    }
    fn write(&mut self, _: P, v: Bytes) {
        self.predicate = v;
    }
}

/// Runs items with arguments in r0 to r3 and on the stack, and words of a frame from `sp` on.
pub fn run(items: &[Item], args: &[u32], memory: &mut Memory) {
    memory.regions.push((STACK.0 - STACK.1 as u32, vec![0xa5; STACK.1]));
    for (i, &v) in args.iter().skip(4).enumerate() {
        memory.put_aligned(STACK.0 - 64 + 4 * i as u32, v);
    }
    let mut r = [0xdead_beef; 15];
    let first = args.len().min(4);
    r[..first].copy_from_slice(&args[..first]);
    r[13] = STACK.0 - 256;
    let all = [true; 16];
    let mut core = Model { r, q: [[0x5a; 16]; 8], predicate: all, tail: all, on: all, memory };
    items.iter().for_each(|i| core.item(i));
}

impl Lane {
    fn bytes(self) -> usize {
        match self {
            Lane::B => 1,
            Lane::H => 2,
            Lane::W => 4,
        }
    }
    /// The first lanes.
    pub fn first(self, n: u32) -> Bytes {
        std::array::from_fn(|i| ((i / self.bytes()) as u64) < n.into())
    }
}

impl Half {
    /// The lane that is this half of a wider one.
    pub fn of(self, i: usize) -> usize {
        2 * i + usize::from(self == Half::Top)
    }
}

/// The lanes of a vector, sign-extended.
pub fn lanes(lane: Lane, v: Vector) -> Vec<i64> {
    let signed = |b: &[u8]| {
        let raw = b.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
        let free = 64 - 8 * b.len();
        ((raw << free) as i64) >> free
    };
    v.chunks(lane.bytes()).map(signed).collect()
}

/// The low bytes of each lane's value.
pub fn of(lane: Lane, f: impl Fn(usize) -> i64) -> Vector {
    let size = lane.bytes();
    std::array::from_fn(|i| f(i / size).to_le_bytes()[i % size])
}

pub fn each(lane: Lane, a: Vector, f: impl Fn(i64) -> i64) -> Vector {
    let a = lanes(lane, a);
    of(lane, |i| f(a[i]))
}

pub fn zip(lane: Lane, a: Vector, b: Vector, f: impl Fn(i64, i64) -> i64) -> Vector {
    let (a, b) = (lanes(lane, a), lanes(lane, b));
    of(lane, |i| f(a[i], b[i]))
}

/// `d` with one half of each lane replaced by a lane of `a`.
pub fn narrow(lane: Lane, half: Half, d: Vector, a: Vector, f: impl Fn(i64) -> i64) -> Vector {
    let to = if lane == Lane::W { Lane::H } else { Lane::B };
    let mut v = lanes(to, d);
    for (i, a) in lanes(lane, a).into_iter().enumerate() {
        v[half.of(i)] = saturate(to, f(a));
    }
    of(to, |i| v[i])
}

/// Limits a value to the signed lanes of a width.
pub fn saturate(lane: Lane, v: i64) -> i64 {
    let most = (1i64 << (8 * lane.bytes() - 1)) - 1;
    v.clamp(-most - 1, most)
}

pub fn rounded(v: i64, n: u32) -> i64 {
    (v + (1 << (n - 1))) >> n
}

/// Left, or right with rounding, by the low byte.
pub fn round_shift(a: i64, by: i64) -> i64 {
    match i64::from(by as i8) {
        n @ 0..32 => a << n,
        n @ -32..0 => rounded(a, -n as u32),
        _ => 0,
    }
}

impl Model<'_> {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Run(run) => run.iter().for_each(|i| self.inst(i)),
            Item::Low { turns, body } => {
                self.write(LR, *turns);
                self.counted(body);
            }
            Item::Again { body, .. } => self.counted(body),
            Item::Tail { lane, count, body, .. } => {
                let mut left = self.read(*count) as usize * lane.bytes();
                loop {
                    self.tail = std::array::from_fn(|i| i < left);
                    body.iter().for_each(|i| self.inst(i));
                    left = left.saturating_sub(16);
                    if left == 0 {
                        break;
                    }
                }
                self.tail = [true; 16];
            }
            Item::Down { count, step, body, .. } => loop {
                body.iter().for_each(|i| self.item(i));
                let left = self.read(*count) as i32 - step;
                self.write(*count, left as u32);
                if left <= 0 {
                    break;
                }
            },
            Item::IfOne { count, body } => {
                if self.read(*count) == 1 {
                    body.iter().for_each(|i| self.inst(i));
                }
            }
        }
    }
    fn counted(&mut self, body: &[Item]) {
        loop {
            body.iter().for_each(|i| self.item(i));
            let left = self.read(LR) - 1;
            self.write(LR, left);
            if left == 0 {
                break;
            }
        }
    }
    fn inst(&mut self, inst: &Inst) {
        self.on = self.tail;
        inst.execute(self);
    }
    pub fn argument(&mut self, n: u32) -> u32 {
        self.memory.aligned(STACK.0 - 64 + 4 * (n - 4))
    }
    /// Bytes from memory, one for each lane, where its predicate holds: zeros elsewhere.
    pub fn load(&mut self, lane: Lane, from: u32, on: Bytes) -> Vector {
        self.gathered(lane, |i| from + i as u32, on)
    }
    fn gathered(&mut self, lane: Lane, from: impl Fn(usize) -> u32, on: Bytes) -> Vector {
        self.on = [true; 16];
        let size = lane.bytes();
        let mut lane_of = |i: usize| if on[i * size] { self.memory.byte(from(i)) as i8 } else { 0 };
        let v: Vec<i64> = (0..16 / size).map(|i| lane_of(i).into()).collect();
        of(lane, |i| v[i])
    }
    pub fn gather(&mut self, base: u32, offsets: Vector) -> Vector {
        self.gathered(Lane::B, |i| base + u32::from(offsets[i]), self.tail)
    }
    pub fn words(&mut self, from: u32) -> Vector {
        assert!(from.is_multiple_of(4), "unaligned words at {from:#x}");
        self.load(Lane::B, from, self.tail)
    }
    pub fn store(&mut self, lane: Lane, v: Vector, to: u32, on: Bytes) {
        let size = lane.bytes();
        for i in (0..16 / size).filter(|i| on[i * size]) {
            self.memory.put(to + i as u32, v[i * size].into(), 1);
        }
    }
    /// The low half-word of each word whose predicate holds.
    pub fn store_halves(&mut self, v: Vector, to: u32, on: Bytes) {
        assert!(to.is_multiple_of(2), "unaligned half-words at {to:#x}");
        for i in (0..4).filter(|i| on[4 * i]) {
            let half = u16::from_le_bytes([v[4 * i], v[4 * i + 1]]);
            self.memory.put(to + 2 * i as u32, half.into(), 2);
        }
    }
    pub fn dot(&self, lane: Lane, a: Vector, b: Vector) -> u32 {
        let products = lanes(lane, a).into_iter().zip(lanes(lane, b)).map(|(a, b)| a.wrapping_mul(b));
        let on = self.tail.into_iter().step_by(lane.bytes());
        products.zip(on).filter(|p| p.1).fold(0, |sum, p| sum.wrapping_add(p.0 as u32))
    }
    /// Words replaced, in every turn.
    pub fn set(&mut self, mut d: Vector, first: u32, words: [u32; 2]) -> Vector {
        self.on = [true; 16];
        for (word, i) in words.into_iter().zip([first as usize, first as usize + 2]) {
            d[4 * i..][..4].copy_from_slice(&word.to_le_bytes());
        }
        d
    }
}
