//! Helium blocks: kernels for Armv8.1-M cores with the vector extension, as instructions over
//! named registers.
//!
//! In: sizes, from the engine. Out: a [`crate::kernel::Native`] beside a body that is its
//! meaning. A generator writes stretches of straight code ([`Item::Run`]) between labels and
//! branches; [`order`] orders each stretch for the core, [`cost`] counts its cycles and [`text`]
//! prints it.
//!
//! Law: a block computes exactly what its body computes, touches no memory but its buffers and its
//! own frame, and keeps r4-r11 and q4-q7. It uses integer instructions only, so that cores
//! without vector floats run it.

mod convention;
mod cost;
mod order;
#[cfg(test)]
pub(crate) mod simulate;
mod text;

#[cfg(test)]
use crate::asm::simulate::simulation;
use crate::error::Result;
use crate::kernel::Native;

/// A general-purpose register, 0 to 14; 13 is the stack pointer, 14 `lr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct R(pub(crate) u8);

pub(crate) const SP: R = R(13);
pub(crate) const LR: R = R(14);

/// A vector register, 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Q(pub(crate) u8);

/// Width of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    B,
    H,
    W,
}

/// An address in a register, with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// `[r, #n]`
    Offset(R, i32),
    /// `[r, #n]!`: the register is moved first.
    Before(R, i32),
    /// `[r], #n`: the register is moved afterwards.
    After(R, i32),
}

impl At {
    fn base(self) -> R {
        match self {
            At::Offset(r, _) | At::Before(r, _) | At::After(r, _) => r,
        }
    }
    fn moves(self) -> bool {
        !matches!(self, At::Offset(..))
    }
}

/// Which half of the lanes a narrowing or widening instruction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Bottom,
    Top,
}

/// Lane-wise operations of two vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bin {
    Add(Lane),
    /// High half of the signed product of words.
    MulHigh,
    /// Saturating signed addition.
    QAdd(Lane),
    Mul(Lane),
    And,
    /// Shift of signed words by the second operand's lanes: left, or right with rounding.
    RoundShift,
    Max(Lane),
    Min(Lane),
    /// Product of the bytes of one half of each lane pair, as half-words.
    MulLong(Half),
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inst {
    Mov(R, R),
    /// Any 32-bit constant.
    MovImm(R, i32),
    /// A constant of -4095..=4095.
    AddImm(R, R, i32),
    Add(R, R, R),
    Sub(R, R, R),
    /// Loads and stores a word.
    Ldr(R, R, i32),
    Str(R, R, i32),
    /// Argument `n`, the fifth and later ones that the caller left on the stack.
    LdrArg(R, u32),
    /// Sixteen bytes.
    Load(Q, At),
    /// Signed bytes, widened to half-words or words; the base is a low register.
    LoadWide(Lane, Q, At),
    /// Bytes at a base plus each byte of the vector, unsigned.
    Gather(Q, R, Q),
    /// Sixteen bytes at a multiple of four, offset by as much as 508.
    LoadWords(Q, R, i32),
    Store(Q, At),
    /// The low byte of each half-word or word; the base is a low register.
    StoreNarrow(Lane, Q, At),
    /// Sum of products of sixteen signed bytes, added to the register if `acc`. The register is
    /// even.
    Dot {
        acc: bool,
        to: R,
        a: Q,
        b: Q,
    },
    /// Words 0 and 2, or 1 and 3, of a vector.
    SetLanes(Q, u8, R, R),
    Bin(Bin, Q, Q, Q),
    /// Addition of a register to every lane.
    AddAll(Lane, Q, Q, R),
    /// `d * a + r` and `d + a * r` of words, a register taking part in every lane.
    TimesPlusAll(Q, Q, R),
    PlusTimesAll(Q, Q, R),
    /// Saturating addition of a register to every half-word.
    QAddAll(Q, Q, R),
    /// Sign-extends one half of each pair of bytes or half-words.
    Widen(Lane, Half, Q, Q),
    /// Half-words or words, narrowed with saturation into one half of each lane; the other half
    /// of the result stays. The lane is the source's.
    Narrow(Lane, Half, Q, Q),
    /// The same after a rounding right shift, of half-words by 1..=8 or of words by 1..=16. (Its
    /// sibling without rounding is not used: binutils 2.40 writes this one for it.)
    NarrowShift(Lane, Half, Q, Q, u32),
    /// Arithmetic right shift of words by 1..=32.
    Asr(Q, Q, u32),
    /// Arithmetic right shift of words with rounding, by 1..=32.
    ShrRound(Q, Q, u32),
    /// Logical right shift of words.
    Shr(Q, Q, u32),
    Dup(Lane, Q, R),
    /// Predicate: true for the first `r` lanes.
    Vctp(Lane, R),
    /// The instruction where the predicate holds.
    Then(Predicated),
}

/// Instructions that may stand under a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predicated {
    Load(Q, At),
    LoadWide(Lane, Q, At),
    Store(Q, At),
    StoreNarrow(Lane, Q, At),
}

impl Predicated {
    fn plain(self) -> Inst {
        match self {
            Predicated::Load(q, at) => Inst::Load(q, at),
            Predicated::LoadWide(lane, q, at) => Inst::LoadWide(lane, q, at),
            Predicated::Store(q, at) => Inst::Store(q, at),
            Predicated::StoreNarrow(lane, q, at) => Inst::StoreNarrow(lane, q, at),
        }
    }
}

/// A part of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// Straight code; its order may be changed where no result changes.
    Run(Vec<Inst>),
    /// A loop of `turns` over `body`. `lr` counts: the body finds the turns that are left in it
    /// and must leave them there.
    Low { turns: u32, body: Vec<Item> },
    /// The same where `lr` holds the count already, which is `turns` in so many passes together.
    Again { turns: u32, passes: u32, body: Vec<Item> },
    /// The same, entered with a count that another register holds, over sixteen bytes (or eight
    /// half-words) a turn; the last turn's lanes beyond the count are off.
    Tail { lane: Lane, count: R, turns: u32, body: Vec<Inst> },
    /// A loop that counts `count` down by `step` and ends at or below zero.
    Down { count: R, step: i32, turns: u32, body: Vec<Item> },
    /// The run is left out where the register is not 1; `taken` of how many passes are.
    IfOne { count: R, body: Vec<Inst> },
}

/// A function: arguments in r0..r3.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    pub(crate) items: Vec<Item>,
    /// Words of its frame, from `sp` on.
    pub(crate) slots: u32,
    /// Vectors that a first turn reads before they are written; nothing of them is kept.
    pub(crate) early: Vec<Q>,
}

impl Block {
    pub(crate) fn run(&mut self, insts: impl IntoIterator<Item = Inst>) {
        let insts: Vec<Inst> = insts.into_iter().collect();
        if !insts.is_empty() {
            self.items.push(Item::Run(insts));
        }
    }
    /// Orders, counts and prints.
    pub(crate) fn native(&self) -> Result<Native> {
        let items = order::ordered(&self.items);
        let saved = Saved::of(&items);
        convention::verify(&items, &saved, &self.early)?;
        let (text, bytes) = text::print(&items, &saved, self.slots);
        Ok(Native {
            feature: "mve".to_string(),
            text,
            stack: saved.bytes() + 4 * self.frame(),
            cycles: cost::cycles(&items, &saved, self.slots),
            bytes,
            #[cfg(test)]
            simulation: simulation(move |args, memory| simulate::run(&items, args, memory)),
        })
    }
    fn frame(&self) -> u32 {
        self.slots.next_multiple_of(2)
    }
}

/// Registers that belong to the caller and are used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saved {
    /// Of r4..r11, an even number of registers with `lr`.
    pub(crate) scalars: Vec<u8>,
    /// Of q4..q7: the first of so many.
    pub(crate) vectors: u8,
}

impl Saved {
    fn of(items: &[Item]) -> Saved {
        let (mut scalars, mut top) = ([false; 16], 3);
        each(items, &mut |inst| {
            let f = inst.effects();
            for n in 4..12 {
                scalars[n] |= f.writes.has_r(n as u8);
            }
            for q in 4..8 {
                if f.writes.has_q(q) {
                    top = top.max(q);
                }
            }
        });
        counters(items, &mut |r| scalars[usize::from(r.0)] = true);
        let mut scalars: Vec<u8> = (4..12u8).filter(|&n| scalars[usize::from(n)]).collect();
        // With lr the stack stays a multiple of eight.
        if scalars.len().is_multiple_of(2) {
            scalars.push((4..13).find(|n| !scalars.contains(n)).unwrap_or(12));
            scalars.sort_unstable();
        }
        Saved { scalars, vectors: top - 3 }
    }
    fn bytes(&self) -> u32 {
        4 * (self.scalars.len() as u32 + 1) + 16 * u32::from(self.vectors)
    }
}

/// Visits every instruction, once wherever it stands.
fn each(items: &[Item], f: &mut dyn FnMut(&Inst)) {
    for item in items {
        match item {
            Item::Run(run) | Item::Tail { body: run, .. } | Item::IfOne { body: run, .. } => {
                run.iter().for_each(&mut *f);
            }
            Item::Low { body, .. } | Item::Again { body, .. } | Item::Down { body, .. } => each(body, f),
        }
    }
}

/// Visits the registers that loops count in.
fn counters(items: &[Item], f: &mut dyn FnMut(R)) {
    for item in items {
        match item {
            Item::Low { body, .. } | Item::Again { body, .. } => counters(body, f),
            Item::Down { count, body, .. } => {
                f(*count);
                counters(body, f);
            }
            _ => {}
        }
    }
}

/// The places of the first vector and of the predicate.
const VECTORS: u32 = 16;
const PREDICATE: u32 = 24;

/// A set of registers: r0..r14, then q0..q7, then the predicate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Set(u32);

impl Set {
    fn r(mut self, r: R) -> Set {
        self.0 |= 1 << r.0;
        self
    }
    fn q(mut self, q: Q) -> Set {
        self.0 |= 1 << (VECTORS + u32::from(q.0));
        self
    }
    fn predicate(mut self) -> Set {
        self.0 |= 1 << PREDICATE;
        self
    }
    fn has_r(self, n: u8) -> bool {
        self.0 >> n & 1 != 0
    }
    fn has_q(self, n: u8) -> bool {
        self.0 >> (16 + n) & 1 != 0
    }
    pub(crate) fn meets(self, o: Set) -> bool {
        self.0 & o.0 != 0
    }
    pub(crate) fn members(self) -> impl Iterator<Item = usize> {
        (0..25).filter(move |n| self.0 >> n & 1 != 0)
    }
}

/// What an instruction reads and writes, and how it meets memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Effects {
    pub(crate) reads: Set,
    pub(crate) writes: Set,
    pub(crate) load: bool,
    pub(crate) store: bool,
}

impl Inst {
    pub(crate) fn effects(&self) -> Effects {
        let none = Effects::default();
        let set = Set::default();
        let address = |mut e: Effects, at: At| {
            e.reads = e.reads.r(at.base());
            if at.moves() {
                e.writes = e.writes.r(at.base());
            }
            e
        };
        match *self {
            Inst::Mov(d, a) | Inst::AddImm(d, a, _) => Effects { reads: set.r(a), writes: set.r(d), ..none },
            Inst::MovImm(d, _) => Effects { writes: set.r(d), ..none },
            Inst::Add(d, a, b) | Inst::Sub(d, a, b) => {
                Effects { reads: set.r(a).r(b), writes: set.r(d), ..none }
            }
            Inst::Ldr(d, a, _) => Effects { reads: set.r(a), writes: set.r(d), load: true, ..none },
            Inst::Str(s, a, _) => Effects { reads: set.r(a).r(s), store: true, ..none },
            Inst::Load(q, at) | Inst::LoadWide(_, q, at) => {
                address(Effects { writes: set.q(q), load: true, ..none }, at)
            }
            Inst::LoadWords(q, r, _) => Effects { reads: set.r(r), writes: set.q(q), load: true, ..none },
            // Nothing writes what the caller left.
            Inst::LdrArg(d, _) => Effects { writes: set.r(d), ..none },
            Inst::Gather(d, r, q) => Effects { reads: set.r(r).q(q), writes: set.q(d), load: true, ..none },
            Inst::TimesPlusAll(d, a, r) | Inst::PlusTimesAll(d, a, r) => {
                Effects { reads: set.q(d).q(a).r(r), writes: set.q(d), ..none }
            }
            Inst::AddAll(_, d, a, r) | Inst::QAddAll(d, a, r) => {
                Effects { reads: set.q(a).r(r), writes: set.q(d), ..none }
            }
            Inst::Store(q, at) | Inst::StoreNarrow(_, q, at) => {
                address(Effects { reads: set.q(q), store: true, ..none }, at)
            }
            Inst::Dot { acc, to, a, b } => {
                let reads = set.q(a).q(b);
                Effects { reads: if acc { reads.r(to) } else { reads }, writes: set.r(to), ..none }
            }
            Inst::SetLanes(q, _, a, b) => Effects { reads: set.r(a).r(b).q(q), writes: set.q(q), ..none },
            Inst::Bin(_, d, a, b) => Effects { reads: set.q(a).q(b), writes: set.q(d), ..none },
            Inst::Widen(_, _, d, a) | Inst::ShrRound(d, a, _) | Inst::Shr(d, a, _) | Inst::Asr(d, a, _) => {
                Effects { reads: set.q(a), writes: set.q(d), ..none }
            }
            Inst::Narrow(_, _, d, a) | Inst::NarrowShift(_, _, d, a, _) => {
                Effects { reads: set.q(a).q(d), writes: set.q(d), ..none }
            }
            Inst::Dup(_, q, r) => Effects { reads: set.r(r), writes: set.q(q), ..none },
            Inst::Vctp(_, r) => Effects { reads: set.r(r), writes: set.predicate(), ..none },
            Inst::Then(p) => {
                let mut e = p.plain().effects();
                e.reads = e.reads.predicate();
                e
            }
        }
    }
    /// Whether the vector unit executes it.
    pub(crate) fn vector(&self) -> bool {
        !matches!(
            self,
            Inst::Mov(..)
                | Inst::MovImm(..)
                | Inst::AddImm(..)
                | Inst::Add(..)
                | Inst::Sub(..)
                | Inst::Ldr(..)
                | Inst::LdrArg(..)
                | Inst::Str(..)
        )
    }
}
