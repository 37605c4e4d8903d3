//! Packets: which instructions issue together, by list scheduling on slots and vector pipes.
//!
//! In: a straight stretch of instructions in an order that is right. Out: packets in order, each
//! with at most four. The longest chain of dependences goes first, then what stands first.

use super::Inst;

/// What an instruction takes of a packet.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    /// Scalar loads and stores, and vector ones, share two slots; one vector of either a packet.
    memory: u32,
    vector_memory: u32,
    /// The two multiply pipes, the shift and the permute pipe; `any` is an operation for any pipe.
    multiply: u32,
    shift: u32,
    permute: u32,
    any: u32,
    /// Scalar arithmetic.
    scalar: u32,
}

fn needs(inst: &Inst) -> Needs {
    use Inst::*;
    let none = Needs::default();
    match inst {
        Set(..) | Mov(..) | Add(..) => Needs { scalar: 1, ..none },
        LoadWord(..) => Needs { memory: 1, ..none },
        // A store goes alone into its slot, and no load beside it is asked for.
        StoreWord(..) => Needs { memory: 2, ..none },
        LoadNext(..) | Load(..) => Needs { memory: 1, vector_memory: 1, ..none },
        LoadAny(..) | StoreAny(..) => Needs { memory: 2, vector_memory: 1, permute: 1, ..none },
        Splat(..) | Dot(..) | DotAdd(..) => Needs { multiply: 1, ..none },
        MulLow(..) | MulHighAdd(..) => Needs { multiply: 2, ..none },
        ShiftRight(..) => Needs { shift: 1, ..none },
        PackHalves(..) | PackBytes(..) => Needs { permute: 1, ..none },
        Copy(..) | AddWords(..) | SubWords(..) | MaxBytes(..) | MinBytes(..) => Needs { any: 1, ..none },
    }
}

/// What a packet holds so far.
#[derive(Debug, Default)]
struct Room {
    used: Needs,
    insts: u32,
    words: u32,
}

impl Room {
    fn take(&mut self, inst: &Inst) -> bool {
        let (n, u) = (needs(inst), &self.used);
        let sum = Needs {
            memory: u.memory + n.memory,
            vector_memory: u.vector_memory + n.vector_memory,
            multiply: u.multiply + n.multiply,
            shift: u.shift + n.shift,
            permute: u.permute + n.permute,
            any: u.any + n.any,
            scalar: u.scalar + n.scalar,
        };
        let pipes = sum.multiply + sum.shift + sum.permute + sum.any;
        // A double multiply takes slots 2 and 3 both.
        let slots = sum.memory.min(2) + sum.multiply + sum.shift + sum.permute + sum.any + sum.scalar;
        let vector_stores_permute = n.vector_memory == 1 && n.permute == 1;
        let slots = if vector_stores_permute || (u.vector_memory == 1 && u.permute > 0 && u.memory == 2) {
            // The permute pipe of an unaligned access needs no slot of its own.
            slots - 1
        } else {
            slots
        };
        let fits = sum.memory <= 2
            && sum.vector_memory <= 1
            && sum.multiply <= 2
            && sum.shift <= 1
            && sum.permute <= 1
            && pipes <= 4
            && slots <= 4
            && self.insts < 4
            && self.words + inst.words() <= 4;
        if fits {
            self.used = sum;
            self.insts += 1;
            self.words += inst.words();
        }
        fits
    }
}

/// A place that instructions read and write: scalar register, vector register, or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    R(u32),
    V(u32),
    /// All of memory: loads only read it.
    Memory,
}

/// What an instruction writes and reads.
fn places(inst: &Inst) -> (Vec<Place>, Vec<Place>) {
    use Inst::*;
    let r = |r: super::R| Place::R(r.0);
    let v = |v: super::V| Place::V(v.0);
    let odd = |v: super::V| Place::V(v.0 + 1);
    match *inst {
        Set(d, _) => (vec![r(d)], vec![]),
        Mov(d, a) | Add(d, a, _) => (vec![r(d)], vec![r(a)]),
        LoadWord(d, a, _) => (vec![r(d)], vec![r(a), Place::Memory]),
        StoreWord(a, _, s) => (vec![Place::Memory], vec![r(a), r(s)]),
        LoadNext(d, a) => (vec![v(d), r(a)], vec![r(a), Place::Memory]),
        Load(d, a, _) | LoadAny(d, a, _) => (vec![v(d)], vec![r(a), Place::Memory]),
        StoreAny(a, _, s) => (vec![Place::Memory], vec![r(a), v(s)]),
        Splat(d, a) => (vec![v(d)], vec![r(a)]),
        Copy(d, a) => (vec![v(d)], vec![v(a)]),
        Dot(d, a, b) => (vec![v(d)], vec![v(a), r(b)]),
        DotAdd(d, a, b) => (vec![v(d)], vec![v(d), v(a), r(b)]),
        MulLow(d, a, b) => (vec![v(d), odd(d)], vec![v(a), v(b)]),
        MulHighAdd(d, a, b) => (vec![v(d), odd(d)], vec![v(d), odd(d), v(a), v(b)]),
        AddWords(d, a, b)
        | SubWords(d, a, b)
        | ShiftRight(d, a, b)
        | PackHalves(d, a, b)
        | PackBytes(d, a, b)
        | MaxBytes(d, a, b)
        | MinBytes(d, a, b) => (vec![v(d)], vec![v(a), v(b)]),
    }
}

/// Puts a straight stretch into packets.
pub(super) fn packets(insts: &[Inst]) -> Vec<Vec<Inst>> {
    let n = insts.len();
    let touched: Vec<_> = insts.iter().map(places).collect();
    // Later instruction, and how many packets it stands after at least: 1 where it needs what
    // the earlier one writes, 0 where it only overwrites what that one reads.
    let mut after: Vec<Vec<(usize, usize)>> = vec![Vec::new(); n];
    let mut waits = vec![0usize; n];
    for j in 0..n {
        for i in 0..j {
            let ((wi, ri), (wj, rj)) = (&touched[i], &touched[j]);
            let meet = |a: &[Place], b: &[Place]| a.iter().any(|p| b.contains(p));
            let distance = if meet(wi, rj) || meet(wi, wj) {
                Some(1)
            } else if meet(ri, wj) {
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
    use super::super::{R, V};
    use super::*;

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
