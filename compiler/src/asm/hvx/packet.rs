//! Packets: which instructions issue together, by list scheduling on slots and vector pipes.
//!
//! In: a straight stretch of instructions in an order that is right. Out: packets in order, each
//! with at most four. The longest chain of dependences goes first, then what stands first.

use crate::asm::hvx::Inst;

/// The pipes of the vector unit that an instruction takes: two for multiplications, one for
/// shifts, one for permutations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipes {
    None,
    /// Any one.
    Any,
    /// Both for multiplications, or both others.
    Half,
    Multiply,
    Multiplies,
    Shift,
    Permute,
    /// Shifts and permutations.
    Move,
}

/// What an instruction takes of a packet.
#[derive(Debug, Clone, Copy)]
struct Needs {
    /// Of the two slots for memory.
    memory: u32,
    /// Of the two others.
    high: u32,
    /// Whether it accesses memory with a vector: one a packet.
    vector: bool,
    pipes: Pipes,
}

fn needs(inst: &Inst) -> Needs {
    use Inst::*;
    let any = |pipes| Needs { memory: 0, high: 0, vector: false, pipes };
    let high = |pipes| Needs { high: 1, ..any(pipes) };
    let load = |memory, pipes| Needs { memory, vector: true, ..any(pipes) };
    match inst {
        Set(..) | Mov(..) | Add(..) | And(..) | Greater(..) | Kept(..) | Dropped(..) => any(Pipes::None),
        Halves(..) => any(Pipes::None),
        LowBits(..) | ShiftBy(..) => high(Pipes::None),
        LoadWord(..) => Needs { memory: 1, ..any(Pipes::None) },
        LoadNext(..) | Load(..) => load(1, Pipes::Any),
        // No load beside a store is asked for.
        StoreMasked(..) => load(2, Pipes::Any),
        LoadAny(..) | StoreAny(..) => load(2, Pipes::Permute),
        Splat(..) | SplatByte(..) | SplatHalf(..) | Dot(..) | DotAdd(..) => high(Pipes::Multiply),
        MulLow(..) | MulHighAdd(..) | DotLanes(..) | DotHalves(..) | MulHalves(..) | MulHalvesAdd(..) => {
            high(Pipes::Multiplies)
        }
        ShiftRight(..) | ShiftRightAll(..) | ShiftLeftAll(..) | ShiftLeftAdd(..) | NarrowHalves(..) => {
            any(Pipes::Shift)
        }
        PackHalves(..) | PackBytes(..) | Align(..) | RotateUp(..) | RotateDown(..) | Interleave(..)
        | Exchange(..) | Lookup(..) | First(..) | FirstOrAll(..) => any(Pipes::Permute),
        LookupMore(..) => any(Pipes::Move),
        PairBytes(..) | PairHalves(..) | Widen(..) | Without(..) => any(Pipes::Half),
        Copy(..) | AddWords(..) | SubWords(..) | SubHalves(..) | AndWords(..) | Xor(..) | NarrowWords(..)
        | Select(..) | MaxBytes(..) | MinBytes(..) => any(Pipes::Any),
    }
}

/// What a packet holds so far.
#[derive(Debug, Default)]
struct Room {
    taken: Vec<Needs>,
    /// Slots: a vector at any address keeps one from others.
    slots: u32,
    words: u32,
}

impl Room {
    fn take(&mut self, inst: &Inst) -> bool {
        let n = needs(inst);
        let taken = || self.taken.iter().chain([&n]);
        let of = |pipes: Pipes| taken().filter(|t| t.pipes == pipes).count();
        let multiplies = of(Pipes::Multiply) + 2 * of(Pipes::Multiplies);
        let shifts = of(Pipes::Shift) + of(Pipes::Move);
        let permutes = of(Pipes::Permute) + of(Pipes::Move);
        let halves = of(Pipes::Half);
        let room = usize::from(multiplies == 0) + usize::from(shifts + permutes == 0);
        let pipes = multiplies + shifts + permutes + 2 * halves + of(Pipes::Any);
        let slots = self.slots + n.memory.max(1);
        let fits = multiplies <= 2
            && shifts <= 1
            && permutes <= 1
            && halves <= room
            && pipes <= 4
            && taken().map(|t| t.memory).sum::<u32>() <= 2
            && taken().map(|t| t.high).sum::<u32>() <= 2
            && taken().filter(|t| t.vector).count() <= 1
            && slots <= 4
            && self.words + inst.words() <= 4;
        if fits {
            self.taken.push(n);
            self.slots = slots;
            self.words += inst.words();
        }
        fits
    }
}

/// A place that instructions read and write: a register, or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    R(u32),
    V(u32),
    Q(u32),
    /// The scalar predicate.
    P,
    /// All of memory: loads only read it.
    Memory,
}

/// What an instruction writes and reads.
fn places(inst: &Inst) -> (Vec<Place>, Vec<Place>) {
    use Inst::*;
    let r = |r: crate::asm::hvx::R| Place::R(r.0);
    let v = |v: crate::asm::hvx::V| Place::V(v.0);
    let odd = |v: crate::asm::hvx::V| Place::V(v.0 + 1);
    let q = |q: crate::asm::hvx::Q| Place::Q(q.0);
    match *inst {
        Set(d, _) => (vec![r(d)], vec![]),
        Mov(d, a) | Add(d, a, _) | And(d, a, _) => (vec![r(d)], vec![r(a)]),
        LowBits(d, a, _) | ShiftBy(d, a, _) => (vec![r(d)], vec![r(a)]),
        Halves(d, a, b) => (vec![r(d)], vec![r(a), r(b)]),
        Greater(a, _) => (vec![Place::P], vec![r(a)]),
        Kept(d, a) | Dropped(d, a) => (vec![r(d)], vec![Place::P, r(a)]),
        LoadWord(d, a, _) => (vec![r(d)], vec![r(a), Place::Memory]),
        LoadNext(d, a) => (vec![v(d), r(a)], vec![r(a), Place::Memory]),
        Load(d, a, _) | LoadAny(d, a, _) => (vec![v(d)], vec![r(a), Place::Memory]),
        StoreAny(a, _, s) => (vec![Place::Memory], vec![r(a), v(s)]),
        StoreMasked(m, a, s) => (vec![Place::Memory], vec![q(m), r(a), v(s)]),
        Splat(d, a) | SplatByte(d, a) | SplatHalf(d, a) => (vec![v(d)], vec![r(a)]),
        Copy(d, a) | Interleave(d, a) => (vec![v(d)], vec![v(a)]),
        Widen(d, a) => (vec![v(d), odd(d)], vec![v(a)]),
        Lookup(d, a, b, _) => (vec![v(d)], vec![v(a), v(b)]),
        LookupMore(d, a, b, _) => (vec![v(d)], vec![v(d), v(a), v(b)]),
        DotHalves(d, a, b) | ShiftRightAll(d, a, b) | ShiftLeftAll(d, a, b) => (vec![v(d)], vec![v(a), r(b)]),
        ShiftLeftAdd(d, a, b) => (vec![v(d)], vec![v(d), v(a), r(b)]),
        MulHalvesAdd(d, a, b) => (vec![v(d), odd(d)], vec![v(d), odd(d), v(a), r(b)]),
        Dot(d, a, b) => (vec![v(d)], vec![v(a), r(b)]),
        DotAdd(d, a, b) => (vec![v(d)], vec![v(d), v(a), r(b)]),
        DotLanes(d, a, b) => (vec![v(d)], vec![v(d), v(a), v(b)]),
        NarrowHalves(d, a, b, n) | Align(d, a, b, n) => (vec![v(d)], vec![v(a), v(b), r(n)]),
        RotateUp(d, a, n) | RotateDown(d, a, n) => (vec![v(d)], vec![v(a), r(n)]),
        First(d, a) | FirstOrAll(d, a) => (vec![q(d)], vec![r(a)]),
        Without(d, a, b) => (vec![q(d)], vec![q(a), q(b)]),
        Select(d, m, a, b) => (vec![v(d)], vec![q(m), v(a), v(b)]),
        MulLow(d, a, b) | MulHalves(d, a, b) | PairBytes(d, a, b) | PairHalves(d, a, b) => {
            (vec![v(d), odd(d)], vec![v(a), v(b)])
        }
        MulHighAdd(d, a, b) => (vec![v(d), odd(d)], vec![v(d), odd(d), v(a), v(b)]),
        AddWords(d, a, b)
        | SubWords(d, a, b)
        | SubHalves(d, a, b)
        | AndWords(d, a, b)
        | Xor(d, a, b)
        | ShiftRight(d, a, b)
        | PackHalves(d, a, b)
        | Exchange(d, a, b)
        | PackBytes(d, a, b)
        | NarrowWords(d, a, b)
        | MaxBytes(d, a, b)
        | MinBytes(d, a, b) => (vec![v(d)], vec![v(a), v(b)]),
    }
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
