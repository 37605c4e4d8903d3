//! Cycles of a block on an in-order core without wait states, by the Cortex-M4's rules: one
//! cycle an instruction; a load takes two, but one when the next instruction is a load or
//! store that does not need it; a taken branch takes three.
//!
//! Source: Arm Cortex-M4 Processor Technical Reference Manual r0p1, section 3.3.1.

use super::{Inst, Label};

/// Cycles of a straight run of instructions, labels and branches (as not taken) included.
pub fn straight(insts: &[Inst]) -> u64 {
    let mut cycles = 0;
    for (i, inst) in insts.iter().enumerate() {
        cycles += match inst {
            Inst::Label(_) => 0,
            Inst::Ldr(d, ..) | Inst::Ldrsb(d, ..) | Inst::LdrSlot(d, _) | Inst::LdrArg(d, _) => {
                let next = insts.get(i + 1);
                let memory = matches!(
                    next,
                    Some(
                        Inst::Ldr(..)
                            | Inst::Ldrsb(..)
                            | Inst::LdrSlot(..)
                            | Inst::LdrArg(..)
                            | Inst::Str(..)
                            | Inst::Strb(..)
                            | Inst::StrSlot(..)
                    )
                );
                if memory && next.is_some_and(|n| !n.operands().1.contains(d)) { 1 } else { 2 }
            }
            Inst::MovImm(_, v) => 1 + u64::from(*v as u32 > 0xffff),
            Inst::MaxImm(..) | Inst::MinImm(..) => 3,
            _ => 1,
        };
    }
    cycles
}

/// Cycles of a block whose backward branches are each taken `trips(label) - 1` times per entry
/// of their loop, entry and exit of the function left out.
pub fn cycles(insts: &[Inst], trips: &dyn Fn(Label) -> u64) -> u64 {
    // Innermost loops end first: fold them into their cost from the inside out.
    fn walk(insts: &[Inst], trips: &dyn Fn(Label) -> u64) -> u64 {
        let mut total = 0;
        let mut i = 0;
        let mut from = 0;
        while i < insts.len() {
            if let Inst::Label(label) = insts[i] {
                let end =
                    (i..insts.len()).find(|&e| matches!(insts[e], Inst::BranchBack(_, l) if l == label));
                if let Some(end) = end {
                    total += straight(&insts[from..i]);
                    let n = trips(label);
                    total += n * (walk(&insts[i + 1..end], trips) + 3) - 2;
                    i = end + 1;
                    from = i;
                    continue;
                }
            }
            i += 1;
        }
        total + straight(&insts[from..])
    }
    walk(insts, trips)
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Cond};
    use super::*;

    #[test]
    fn loads_side_by_side_cost_one_more_than_their_number() {
        let mut b = Block::new(1);
        let p = b.args[0];
        let [u, v, w] = b.regs_n();
        b.push(Inst::Ldr(u, p, 0));
        b.push(Inst::Ldr(v, p, 4));
        b.push(Inst::Add(w, u, v));
        assert_eq!(straight(&b.insts), 4);
        // A pointer that was just loaded cannot be used side by side.
        b.insts.insert(1, Inst::Ldr(w, u, 0));
        assert_eq!(straight(&b.insts), 6);
    }

    #[test]
    fn loops_count_their_trips() {
        let mut b = Block::new(2);
        let (p, q) = (b.args[0], b.args[1]);
        let top = b.label(4);
        b.push(Inst::AddImm(p, p, 4));
        b.push(Inst::Cmp(p, q));
        b.push(Inst::BranchBack(Cond::Ne, top));
        // Four rounds of 1 + 1 + 3, the last branch not taken.
        assert_eq!(cycles(&b.insts, &|_| 4), 4 * 5 - 2);
    }
}
