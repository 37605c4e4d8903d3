//! Runs Helium blocks on a model of the core, from the Armv8-M Architecture Reference Manual
//! (Arm DDI 0553, section C2.4): what instructions mean, beside how they are spelled.
//! Accesses outside the buffers panic, as do words of a vector that are not aligned.

use crate::asm::mve::{At, Bin, Half, Inst, Item, LR, Lane, Predicated, Q, R};
use crate::asm::simulate::Memory;

/// Where the stack ends, and its size.
const STACK: (u32, usize) = (0x4000_0000, 1024);

struct Core<'a> {
    r: [u32; 15],
    q: [[u8; 16]; 8],
    /// The predicate, a byte each, and that of a loop's last turn.
    predicate: [bool; 16],
    tail: [bool; 16],
    memory: &'a mut Memory,
}

/// Runs items with arguments in r0 to r3 and on the stack, and words of a frame from `sp` on.
pub(crate) fn run(items: &[Item], args: &[u32], memory: &mut Memory) {
    memory.regions.push((STACK.0 - STACK.1 as u32, vec![0xa5; STACK.1]));
    for (i, &v) in args.iter().skip(4).enumerate() {
        memory.put_aligned(STACK.0 - 64 + 4 * i as u32, v);
    }
    let mut r = [0xdead_beef; 15];
    let first = args.len().min(4);
    r[..first].copy_from_slice(&args[..first]);
    r[13] = STACK.0 - 256;
    let all = [true; 16];
    let mut core = Core { r, q: [[0x5a; 16]; 8], predicate: all, tail: all, memory };
    items.iter().for_each(|i| core.item(i));
}

fn bytes(lane: Lane) -> usize {
    match lane {
        Lane::B => 1,
        Lane::H => 2,
        Lane::W => 4,
    }
}

/// The lanes of a vector, sign-extended.
fn lanes(lane: Lane, v: [u8; 16]) -> Vec<i64> {
    let size = bytes(lane);
    let signed = |b: &[u8]| {
        let raw = b.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
        let free = 64 - 8 * size;
        ((raw << free) as i64) >> free
    };
    v.chunks(size).map(signed).collect()
}

/// Limits a value to the signed lanes of a width.
fn saturate(lane: Lane, v: i64) -> i64 {
    let most = (1i64 << (8 * bytes(lane) - 1)) - 1;
    v.clamp(-most - 1, most)
}

fn rounded(v: i64, n: u32) -> i64 {
    (v + (1 << (n - 1))) >> n
}

/// The lane of half the width.
fn narrower(lane: Lane) -> Lane {
    if lane == Lane::W { Lane::H } else { Lane::B }
}

impl Core<'_> {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Run(run) => run.iter().for_each(|i| self.inst(i)),
            Item::Low { turns, body } => {
                self.set(LR, *turns);
                self.counted(body);
            }
            Item::Again { body, .. } => self.counted(body),
            Item::Tail { lane, count, body, .. } => {
                let mut left = self.get(*count) as usize * bytes(*lane);
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
                let left = self.get(*count) as i32 - step;
                self.set(*count, left as u32);
                if left <= 0 {
                    break;
                }
            },
            Item::IfOne { count, body } => {
                if self.get(*count) == 1 {
                    body.iter().for_each(|i| self.inst(i));
                }
            }
        }
    }
    fn counted(&mut self, body: &[Item]) {
        loop {
            body.iter().for_each(|i| self.item(i));
            let left = self.get(LR) - 1;
            self.set(LR, left);
            if left == 0 {
                break;
            }
        }
    }
    fn get(&self, r: R) -> u32 {
        self.r[usize::from(r.0)]
    }
    fn set(&mut self, r: R, v: u32) {
        self.r[usize::from(r.0)] = v;
    }
    fn vector(&self, q: Q) -> [u8; 16] {
        self.q[usize::from(q.0)]
    }
    fn lanes(&self, lane: Lane, q: Q) -> Vec<i64> {
        lanes(lane, self.vector(q))
    }
    /// Writes the lanes' low bytes where the last turn of a loop has them.
    fn put(&mut self, lane: Lane, q: Q, v: &[i64]) {
        let size = bytes(lane);
        for i in (0..16).filter(|&i| self.tail[i]) {
            self.q[usize::from(q.0)][i] = v[i / size].to_le_bytes()[i % size];
        }
    }
    fn map(&mut self, lane: Lane, d: Q, a: Q, f: impl Fn(i64) -> i64) {
        let v: Vec<i64> = self.lanes(lane, a).into_iter().map(f).collect();
        self.put(lane, d, &v);
    }
    fn zip(&mut self, lane: Lane, d: Q, (a, b): (Q, Q), f: impl Fn(i64, i64) -> i64) {
        let v: Vec<i64> =
            self.lanes(lane, a).into_iter().zip(self.lanes(lane, b)).map(|(a, b)| f(a, b)).collect();
        self.put(lane, d, &v);
    }
    /// The lanes of `d`, one half of each replaced.
    fn narrow(&mut self, lane: Lane, half: Half, d: Q, a: Q, f: impl Fn(i64) -> i64) {
        let to = narrower(lane);
        let mut v = self.lanes(to, d);
        for (i, a) in self.lanes(lane, a).into_iter().enumerate() {
            v[2 * i + usize::from(half == Half::Top)] = saturate(to, f(a));
        }
        // Only whole lanes are tried where turns are cut.
        self.put(to, d, &v);
    }
    fn address(&mut self, at: At) -> u32 {
        match at {
            At::Offset(r, n) => self.get(r).wrapping_add(n as u32),
            At::Before(r, n) => {
                self.set(r, self.get(r).wrapping_add(n as u32));
                self.get(r)
            }
            At::After(r, n) => {
                let was = self.get(r);
                self.set(r, was.wrapping_add(n as u32));
                was
            }
        }
    }
    /// Bytes from memory, one for each lane, where its predicate holds: zeros elsewhere.
    fn load(&mut self, lane: Lane, q: Q, at: At, on: [bool; 16]) {
        let (from, size) = (self.address(at), bytes(lane));
        let v: Vec<i64> = (0..16 / size)
            .map(|i| if on[i * size] { i64::from(self.memory.at(from + i as u32, 1)[0] as i8) } else { 0 })
            .collect();
        self.q[usize::from(q.0)] = std::array::from_fn(|i| v[i / size].to_le_bytes()[i % size]);
    }
    fn store(&mut self, lane: Lane, q: Q, at: At, on: [bool; 16]) {
        let (to, size, v) = (self.address(at), bytes(lane), self.vector(q));
        for i in (0..16 / size).filter(|i| on[i * size]) {
            self.memory.at(to + i as u32, 1)[0] = v[i * size];
        }
    }
    fn then(&mut self, p: Predicated) {
        let on = self.predicate;
        match p {
            Predicated::Load(q, at) => self.load(Lane::B, q, at, on),
            Predicated::LoadWide(lane, q, at) => self.load(lane, q, at, on),
            Predicated::Store(q, at) => self.store(Lane::B, q, at, on),
            Predicated::StoreNarrow(lane, q, at) => self.store(lane, q, at, on),
        }
    }
    fn inst(&mut self, inst: &Inst) {
        let on = self.tail;
        match *inst {
            Inst::Mov(d, a) => self.set(d, self.get(a)),
            Inst::MovImm(d, v) => self.set(d, v as u32),
            Inst::AddImm(d, a, v) => self.set(d, self.get(a).wrapping_add(v as u32)),
            Inst::Add(d, a, b) => self.set(d, self.get(a).wrapping_add(self.get(b))),
            Inst::Sub(d, a, b) => self.set(d, self.get(a).wrapping_sub(self.get(b))),
            Inst::Ldr(d, a, n) => {
                let v = self.memory.aligned(self.get(a).wrapping_add(n as u32));
                self.set(d, v);
            }
            Inst::Str(s, a, n) => self.memory.put_aligned(self.get(a).wrapping_add(n as u32), self.get(s)),
            Inst::LdrArg(d, n) => {
                let v = self.memory.aligned(STACK.0 - 64 + 4 * (n - 4));
                self.set(d, v);
            }
            Inst::Load(q, at) => self.load(Lane::B, q, at, on),
            Inst::LoadWide(lane, q, at) => self.load(lane, q, at, on),
            Inst::LoadWords(q, r, n) => {
                assert!(self.get(r).wrapping_add(n as u32).is_multiple_of(4), "{inst:?}");
                self.load(Lane::B, q, At::Offset(r, n), on);
            }
            Inst::Gather(d, r, q) => {
                let base = self.get(r);
                let v = self.vector(q).map(|o| i64::from(self.memory.at(base + u32::from(o), 1)[0] as i8));
                self.put(Lane::B, d, &v);
            }
            Inst::Store(q, at) => self.store(Lane::B, q, at, on),
            Inst::StoreNarrow(lane, q, at) => self.store(lane, q, at, on),
            Inst::Dot { acc, to, a, b } => {
                let pairs = self.lanes(Lane::B, a).into_iter().zip(self.lanes(Lane::B, b));
                let sum: i64 = pairs.zip(on).filter(|p| p.1).map(|((a, b), _)| a * b).sum();
                let from = if acc { self.get(to) } else { 0 };
                self.set(to, from.wrapping_add(sum as u32));
            }
            Inst::SetLanes(q, first, a, b) => {
                for (r, i) in [(a, first), (b, first + 2)] {
                    let word = self.get(r).to_le_bytes();
                    self.q[usize::from(q.0)][4 * usize::from(i)..][..4].copy_from_slice(&word);
                }
            }
            Inst::Bin(op, d, a, b) => self.bin(op, d, (a, b)),
            Inst::AddAll(lane, d, a, r) => {
                let by = i64::from(self.get(r) as i32);
                self.map(lane, d, a, |v| v.wrapping_add(by));
            }
            Inst::TimesPlusAll(d, a, r) => {
                let by = i64::from(self.get(r) as i32);
                self.zip(Lane::W, d, (d, a), |d, a| d.wrapping_mul(a).wrapping_add(by));
            }
            Inst::PlusTimesAll(d, a, r) => {
                let by = i64::from(self.get(r) as i32);
                self.zip(Lane::W, d, (d, a), |d, a| d.wrapping_add(a.wrapping_mul(by)));
            }
            Inst::QAddAll(d, a, r) => {
                let by = i64::from(self.get(r) as i16);
                self.map(Lane::H, d, a, |v| saturate(Lane::H, v + by));
            }
            Inst::Widen(lane, half, d, a) => {
                let v = self.lanes(lane, a).into_iter().skip(usize::from(half == Half::Top));
                let v: Vec<i64> = v.step_by(2).collect();
                self.put(if lane == Lane::B { Lane::H } else { Lane::W }, d, &v);
            }
            Inst::Narrow(lane, half, d, a) => self.narrow(lane, half, d, a, |v| v),
            Inst::NarrowShift(lane, half, d, a, n) => self.narrow(lane, half, d, a, |v| rounded(v, n)),
            Inst::Asr(d, a, n) => self.map(Lane::W, d, a, |v| v >> n),
            Inst::ShrRound(d, a, n) => self.map(Lane::W, d, a, |v| rounded(v, n)),
            Inst::Shr(d, a, n) => self.map(Lane::W, d, a, |v| (v & 0xffff_ffff) >> n),
            Inst::Dup(lane, q, r) => {
                let v = vec![i64::from(self.get(r)); 16 / bytes(lane)];
                self.put(lane, q, &v);
            }
            Inst::Vctp(lane, r) => {
                let left = u64::from(self.get(r)) * bytes(lane) as u64;
                self.predicate = std::array::from_fn(|i| (i as u64) < left);
            }
            Inst::Then(p) => self.then(p),
        }
    }
    fn bin(&mut self, op: Bin, d: Q, of: (Q, Q)) {
        match op {
            Bin::Add(lane) => self.zip(lane, d, of, |a, b| a + b),
            Bin::MulHigh => self.zip(Lane::W, d, of, |a, b| (a * b) >> 32),
            Bin::QAdd(lane) => self.zip(lane, d, of, |a, b| saturate(lane, a + b)),
            Bin::Mul(lane) => self.zip(lane, d, of, |a, b| a.wrapping_mul(b)),
            Bin::And => self.zip(Lane::B, d, of, |a, b| a & b),
            Bin::RoundShift => self.zip(Lane::W, d, of, |a, b| match i64::from(b as i8) {
                n @ 0..32 => a << n,
                32.. => 0,
                n @ -32..0 => rounded(a, -n as u32),
                _ => 0,
            }),
            Bin::Max(lane) => self.zip(lane, d, of, i64::max),
            Bin::Min(lane) => self.zip(lane, d, of, i64::min),
            Bin::MulLong(half) => {
                let skip = usize::from(half == Half::Top);
                let (a, b) = (self.lanes(Lane::B, of.0), self.lanes(Lane::B, of.1));
                let v: Vec<i64> = (0..8).map(|i| a[2 * i + skip] * b[2 * i + skip]).collect();
                self.put(Lane::H, d, &v);
            }
        }
    }
}
