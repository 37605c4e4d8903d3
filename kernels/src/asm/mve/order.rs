//! Orders straight Helium code for the core: of the instructions whose operands are there, the
//! one that can start first, and of those the one that most depends on.
//!
//! Law: every read sees the write it saw before. Stores keep their order, and so do the words of
//! the frame; vectors are loaded from other buffers than are stored to, so their order is free.

use crate::asm::depend::{heights, links};
use crate::asm::mve::cost::Core;
use crate::asm::mve::inst::{PREDICATE, Pipe};
use crate::asm::mve::{Inst, Item};
use crate::asm::table::Touch;
use std::cmp::Reverse;

pub(crate) fn ordered(items: &[Item]) -> Vec<Item> {
    let mut items = items.to_vec();
    for item in &mut items {
        match item {
            Item::Run(run) | Item::Tail { body: run, .. } | Item::IfOne { body: run, .. } => {
                *run = straight(run)
            }
            Item::Low { body, .. } | Item::Again { body, .. } | Item::Down { body, .. } => {
                *body = ordered(body)
            }
        }
    }
    items
}

/// What keeps its order besides registers: words of the frame, and stores.
const FRAME: u32 = PREDICATE + 1;
const STORES: u32 = PREDICATE + 2;

fn touches(inst: &Inst, f: &mut dyn FnMut(u32, Touch)) {
    inst.visit(f);
    let form = inst.form();
    if form.pipe == Pipe::None && form.memory.is_some() {
        f(FRAME, Touch::Both);
    }
    if form.memory == Some(Touch::Write) {
        f(STORES, Touch::Write);
    }
}

fn straight(run: &[Inst]) -> Vec<Inst> {
    let links = links(run, touches);
    let heights = heights(&links, |_| 1);
    let (mut core, mut done) = (Core::new(), vec![false; run.len()]);
    let mut out = Vec::with_capacity(run.len());
    loop {
        let ready = |&i: &usize| !done[i] && links[i].iter().all(|&(b, _)| done[b]);
        let key = |&i: &usize| (core.start(&run[i]), Reverse(heights[i]), i);
        let Some(next) = (0..run.len()).filter(ready).min_by_key(key) else { return out };
        done[next] = true;
        core.issue(&run[next]);
        out.push(run[next]);
    }
}
