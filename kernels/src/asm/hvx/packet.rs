//! Packets: which instructions issue together, by list scheduling on slots and vector pipes.
//!
//! In: a straight stretch of instructions in an order that is right. Out: packets in order, each
//! with at most four. The longest chain of dependences goes first, then what stands first.

use crate::asm::depend::{Link, heights, links};
use crate::asm::hvx::Inst;
use crate::asm::hvx::inst::{Form, Pipes};
use crate::asm::table::Touch;

/// What a packet holds so far.
#[derive(Debug, Default)]
struct Room {
    taken: Vec<Form>,
    /// Slots: a vector at any address keeps one from others.
    slots: u32,
    words: u32,
}

impl Room {
    fn take(&mut self, inst: &Inst) -> bool {
        let n = inst.form();
        let taken = || self.taken.iter().chain([&n]);
        let of = |pipes: Pipes| taken().filter(|t| t.pipes == pipes).count();
        let multiplies = of(Pipes::Multiply) + 2 * of(Pipes::Multiplies);
        let shifts = of(Pipes::Shift) + of(Pipes::Move);
        let permutes = of(Pipes::Permute) + of(Pipes::Move);
        let halves = of(Pipes::Half);
        let room = usize::from(multiplies == 0) + usize::from(shifts + permutes == 0);
        let pipes = multiplies + shifts + permutes + 2 * halves + of(Pipes::Any);
        let slots = self.slots + n.slots.max(1);
        let fits = multiplies <= 2
            && shifts <= 1
            && permutes <= 1
            && halves <= room
            && pipes <= 4
            && taken().map(|t| t.slots).sum::<u32>() <= 2
            && taken().map(|t| t.high).sum::<u32>() <= 2
            && taken().filter(|t| t.vector).count() <= 1
            && slots <= 4
            && self.words + n.words <= 4;
        if fits {
            self.taken.push(n);
            self.slots = slots;
            self.words += n.words;
        }
        fits
    }
}

/// Places besides registers: the scalar predicate, and all of memory, which loads only read.
const PREDICATE: u32 = 100;
const MEMORY: u32 = 101;

fn touches(inst: &Inst, f: &mut dyn FnMut(u32, Touch)) {
    inst.visit(f);
    let form = inst.form();
    form.predicate.into_iter().for_each(|t| f(PREDICATE, t));
    form.memory.into_iter().for_each(|t| f(MEMORY, t));
}

/// Puts a straight stretch into packets.
pub(crate) fn packets(insts: &[Inst]) -> Vec<Vec<Inst>> {
    let links = links(insts, touches);
    // How many packets behind the earlier one at least: the same, where it only overwrites
    // what that one reads.
    let apart = |link| usize::from(link != Link::Over);
    let heights = heights(&links, |link| apart(link) as u64);
    let mut at: Vec<Option<usize>> = vec![None; insts.len()];
    let mut packets: Vec<Vec<Inst>> = Vec::new();
    while at.contains(&None) {
        let now = packets.len();
        let mut room = Room::default();
        let mut packet = Vec::new();
        // Taking one may let another join that only overwrites what it reads: look again.
        loop {
            let passed = |&(b, link): &(usize, Link)| at[b].is_some_and(|p| p + apart(link) <= now);
            let ready = |&i: &usize| at[i].is_none() && links[i].iter().all(passed);
            let mut order: Vec<usize> = (0..insts.len()).filter(ready).collect();
            order.sort_by_key(|&i| (std::cmp::Reverse(heights[i]), i));
            let Some(i) = order.into_iter().find(|&i| room.take(&insts[i])) else { break };
            packet.push(insts[i]);
            at[i] = Some(now);
        }
        packets.push(packet);
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::hvx::{R, V};

    #[test]
    fn readers_may_share_a_packet_with_a_later_writer_only() {
        let two = [Inst::DotAdd(V(0), V(8), R(4)), Inst::LoadNext(V(8), R(1))];
        assert_eq!(packets(&two).len(), 1);
        let chain = [Inst::LoadNext(V(8), R(1)), Inst::DotAdd(V(0), V(8), R(4))];
        assert_eq!(packets(&chain).len(), 2);
    }

    #[test]
    fn pipes_bound_a_packet() {
        let dots: Vec<Inst> = (0..6).map(|i| Inst::DotAdd(V(i), V(8), R(4 + i))).collect();
        assert_eq!(packets(&dots).len(), 3);
        let wide = [Inst::MulLow(V(0), V(2), V(3)), Inst::DotAdd(V(4), V(5), R(6))];
        assert_eq!(packets(&wide).len(), 2);
    }
}
