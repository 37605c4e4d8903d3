//! Packets: which instructions issue together, by list scheduling on slots and vector pipes.
//!
//! In: a straight stretch of instructions in an order that is right. Out: packets in order, each
//! with at most four. The longest chain of dependences goes first, then what stands first.

use crate::asm::hvx::Inst;
use crate::asm::hvx::inst::{Form, Pipes};
use crate::asm::table::Touch;
use crate::asm::verify::{Set, bit};

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

/// What an instruction writes and reads.
fn places(inst: &Inst) -> (Set, Set) {
    let (mut written, mut read) = (0, 0);
    let mut touch = |place, touch: Touch| {
        written |= if touch.writes() { bit(place) } else { 0 };
        read |= if touch.reads() { bit(place) } else { 0 };
    };
    inst.visit(&mut touch);
    let form = inst.form();
    form.predicate.into_iter().for_each(|t| touch(PREDICATE, t));
    form.memory.into_iter().for_each(|t| touch(MEMORY, t));
    (written, read)
}

/// Puts a straight stretch into packets.
pub(crate) fn packets(insts: &[Inst]) -> Vec<Vec<Inst>> {
    let n = insts.len();
    let touched: Vec<_> = insts.iter().map(places).collect();
    // Later instruction, and how many packets it stands after at least: 1 where it needs what
    // the earlier one writes, 0 where it only overwrites what that one reads.
    let mut after: Vec<Vec<(usize, usize)>> = vec![Vec::new(); n];
    let mut waits = vec![0usize; n];
    for j in 0..n {
        for i in 0..j {
            let ((wi, ri), (wj, rj)) = (touched[i], touched[j]);
            let distance = if wi & (rj | wj) != 0 {
                Some(1)
            } else if ri & wj != 0 {
                Some(0)
            } else {
                None
            };
            if let Some(d) = distance {
                after[i].push((j, d));
                waits[j] += 1;
            }
        }
    }
    let mut height = vec![0usize; n];
    for i in (0..n).rev() {
        height[i] = after[i].iter().map(|&(j, d)| height[j] + d).max().unwrap_or(0);
    }
    let mut earliest = vec![0usize; n];
    let mut done = vec![false; n];
    let mut packets: Vec<Vec<Inst>> = Vec::new();
    let mut left = n;
    while left > 0 {
        let now = packets.len();
        let mut room = Room::default();
        let mut packet = Vec::new();
        // Taking one may let another join that only overwrites what it reads: look again.
        loop {
            let ready = |i: &usize| !done[*i] && waits[*i] == 0 && earliest[*i] <= now;
            let mut order: Vec<usize> = (0..n).filter(ready).collect();
            order.sort_by_key(|&i| (std::cmp::Reverse(height[i]), i));
            let Some(i) = order.into_iter().find(|&i| room.take(&insts[i])) else { break };
            packet.push(insts[i]);
            done[i] = true;
            left -= 1;
            for &(j, d) in &after[i] {
                waits[j] -= 1;
                earliest[j] = earliest[j].max(now + d);
            }
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
