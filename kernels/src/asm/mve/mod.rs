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
mod inst;
mod order;
#[cfg(any(test, feature = "testing"))]
pub mod simulate;
mod text;

#[cfg(any(test, feature = "testing"))]
use crate::asm::simulate::simulation;
use crate::asm::verify::bit;
use crate::error::Result;
use crate::kernel::Native;
pub use inst::{Half, Inst, Lane, P, Q, R};
use inst::{PREDICATE, VECTORS};

pub const SP: R = R(13);
pub const LR: R = R(14);

pub const P0: P = P(0);

/// An address in a register, with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `[r, #n]`
    Offset(R, i32),
    /// `[r, #n]!`: the register is moved first.
    Before(R, i32),
    /// `[r], #n`: the register is moved afterwards.
    After(R, i32),
}

impl At {
    /// The register and the constant.
    fn parts(self) -> (R, i32) {
        match self {
            At::Offset(r, n) | At::Before(r, n) | At::After(r, n) => (r, n),
        }
    }
    fn moves(self) -> bool {
        !matches!(self, At::Offset(..))
    }
}

/// A part of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
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
pub struct Block {
    pub items: Vec<Item>,
    /// Words of its frame, from `sp` on.
    pub slots: u32,
    /// Vectors that a first turn reads before they are written; nothing of them is kept.
    pub early: Vec<Q>,
}

impl Block {
    pub fn run(&mut self, insts: impl IntoIterator<Item = Inst>) {
        let insts: Vec<Inst> = insts.into_iter().collect();
        if !insts.is_empty() {
            self.items.push(Item::Run(insts));
        }
    }
    /// Orders, counts and prints.
    pub fn native(&self) -> Result<Native> {
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
            #[cfg(not(any(test, feature = "testing")))]
            simulation: None,
            #[cfg(any(test, feature = "testing"))]
            simulation: simulation(move |args, memory| simulate::run(&items, args, memory)),
        })
    }
    fn frame(&self) -> u32 {
        self.slots.next_multiple_of(2)
    }
}

/// Registers that belong to the caller and are used.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// Of r4..r11, an even number of registers with `lr`.
    pub scalars: Vec<u8>,
    /// Of q4..q7: the first of so many.
    pub vectors: u8,
}

impl Saved {
    fn of(items: &[Item]) -> Saved {
        let mut written = 0;
        each(items, &mut |inst| {
            inst.visit(&mut |place, touch| written |= if touch.writes() { bit(place) } else { 0 });
        });
        counters(items, &mut |r| written |= bit(r.0.into()));
        let has = |place: u32| written & bit(place) != 0;
        let mut scalars: Vec<u8> = (4..12).filter(|&n| has(n.into())).collect();
        // With lr the stack stays a multiple of eight.
        if scalars.len().is_multiple_of(2) {
            scalars.push((4..13).find(|n| !scalars.contains(n)).unwrap_or(12));
            scalars.sort_unstable();
        }
        let top = (4..8).rev().find(|&q| has(VECTORS + u32::from(q)));
        Saved { scalars, vectors: top.map_or(0, |q| q - 3) }
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
