//! Orders straight Helium code for the core: of the instructions whose operands are there, the
//! one that can start first, and of those the one that most depends on.
//!
//! Law: every read sees the write it saw before. Stores keep their order, and so do the words of
//! the frame; vectors are loaded from other buffers than are stored to, so their order is free.

use crate::asm::mve::cost::Core;
use crate::asm::mve::inst::Pipe;
use crate::asm::mve::{Inst, Item};
use crate::asm::table::Touch;
use crate::asm::verify::{Set, bit};

pub(crate) fn ordered(items: &[Item]) -> Vec<Item> {
    items.iter().map(item).collect()
}

fn item(item: &Item) -> Item {
    match item {
        Item::Run(run) => Item::Run(straight(run)),
        Item::Low { turns, body } => Item::Low { turns: *turns, body: ordered(body) },
        Item::Again { turns, passes, body } => {
            Item::Again { turns: *turns, passes: *passes, body: ordered(body) }
        }
        Item::Tail { lane, count, turns, body } => {
            Item::Tail { lane: *lane, count: *count, turns: *turns, body: straight(body) }
        }
        Item::Down { count, step, turns, body } => {
            Item::Down { count: *count, step: *step, turns: *turns, body: ordered(body) }
        }
        Item::IfOne { count, body } => Item::IfOne { count: *count, body: straight(body) },
    }
}

/// What an instruction writes and reads.
fn places(inst: &Inst) -> (Set, Set) {
    let (mut written, mut read) = (0, 0);
    inst.visit(&mut |place, touch| {
        written |= if touch.writes() { bit(place) } else { 0 };
        read |= if touch.reads() { bit(place) } else { 0 };
    });
    (written, read)
}

/// Whether `b` must stay behind `a`.
fn bound(a: &Inst, b: &Inst) -> bool {
    let ((wa, ra), (wb, rb)) = (places(a), places(b));
    let (x, y) = (a.form(), b.form());
    let frame = x.pipe == Pipe::None && y.pipe == Pipe::None && x.memory.is_some() && y.memory.is_some();
    let stores = x.memory == Some(Touch::Write) && y.memory == Some(Touch::Write);
    wa & (rb | wb) != 0 || ra & wb != 0 || stores || frame
}

fn straight(run: &[Inst]) -> Vec<Inst> {
    let n = run.len();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut waits = vec![0usize; n];
    for j in 0..n {
        for i in 0..j {
            if bound(&run[i], &run[j]) {
                after[i].push(j);
                waits[j] += 1;
            }
        }
    }
    // Cycles from an instruction to the end along what depends on it.
    let mut height = vec![0u64; n];
    for i in (0..n).rev() {
        let below = after[i].iter().map(|&j| height[j]).max().unwrap_or(0);
        height[i] = below + 2;
    }
    let mut core = Core::new();
    let mut ready: Vec<usize> = (0..n).filter(|&i| waits[i] == 0).collect();
    let mut out = Vec::with_capacity(n);
    while !ready.is_empty() {
        let key = |&i: &usize| (core.start(&run[i]), std::cmp::Reverse(height[i]), i);
        let Some(&next) = ready.iter().min_by_key(|i| key(i)) else { break };
        ready.retain(|&i| i != next);
        core.issue(&run[next]);
        out.push(run[next]);
        for &j in &after[next] {
            waits[j] -= 1;
            if waits[j] == 0 {
                ready.push(j);
            }
        }
    }
    out
}
