//! Register assignment: virtual registers to r0-r12 and lr, by linear scan over live ranges.
//!
//! In: a [`Block`]. Out: the same instructions over machine registers ([`Assigned`]).
//! Law: nothing is spilled behind the generator's back; a block that needs more than fourteen
//! registers at once is refused, because its cycles would not be what was counted.

use crate::asm::armv7em::Block;
use crate::asm::armv7em::inst::{Inst, Label, Reg};
use crate::asm::table::Touch;
use crate::error::{Error, Result, Site};
use std::collections::{BTreeMap, BTreeSet};

/// r0..r12, then lr as 14.
pub const MACHINE: [u32; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
/// What a callee must keep: r4..r11; lr holds the way back.
pub const KEPT: [u32; 9] = [4, 5, 6, 7, 8, 9, 10, 11, 14];

/// A block over machine registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Registers by machine number.
    pub insts: Vec<Inst>,
    pub slots: u32,
    /// Registers saved at entry, ascending; lr is always among them.
    pub saved: Vec<u32>,
}

impl Assigned {
    /// Bytes of stack: saved registers and frame.
    pub fn stack(&self) -> u32 {
        4 * (self.saved.len() as u32 + self.slots)
    }
    /// Distance from the stack pointer to stack argument `n` (the fifth argument is 4).
    pub fn argument(&self, n: u32) -> u32 {
        self.stack() + 4 * (n - 4)
    }
}

/// Where control can go after each instruction.
fn successors(insts: &[Inst]) -> Vec<[Option<usize>; 2]> {
    let at: BTreeMap<u32, usize> = (insts.iter().enumerate())
        .filter_map(|(i, inst)| if let Inst::Label(Label(l)) = inst { Some((*l, i)) } else { None })
        .collect();
    (0..insts.len())
        .map(|i| {
            let next = (i + 1 < insts.len()).then_some(i + 1);
            match insts[i] {
                Inst::BranchBack(_, Label(l)) | Inst::Branch(_, Label(l)) => [next, at.get(&l).copied()],
                Inst::Jump(Label(l)) | Inst::Enter(_, Label(l)) => [None, at.get(&l).copied()],
                _ => [next, None],
            }
        })
        .collect()
}

/// Registers alive before each instruction.
pub fn liveness(insts: &[Inst]) -> Vec<BTreeSet<Reg>> {
    let next = successors(insts);
    let mut live: Vec<BTreeSet<Reg>> = vec![BTreeSet::new(); insts.len()];
    loop {
        let mut changed = false;
        for i in (0..insts.len()).rev() {
            let mut now: BTreeSet<Reg> =
                next[i].iter().flatten().flat_map(|&n| live[n].iter().copied()).collect();
            let (written, read) = insts[i].operands();
            written.iter().for_each(|reg| {
                now.remove(reg);
            });
            now.extend(read);
            if now != live[i] {
                live[i] = now;
                changed = true;
            }
        }
        if !changed {
            return live;
        }
    }
}

/// By register, the first and the last position at which it holds a value, and what is alive
/// where. Positions: a value is read at 2i and written at 2i + 1, so that an instruction's
/// result may take the register of an operand that ends there.
fn ranges(block: &Block) -> (Vec<BTreeSet<Reg>>, BTreeMap<Reg, (usize, usize)>) {
    let live = liveness(&block.insts);
    let mut ranges: BTreeMap<Reg, (usize, usize)> = BTreeMap::new();
    let mut touch = |reg: Reg, at: usize| {
        let range = ranges.entry(reg).or_insert((at, at));
        *range = (range.0.min(at), range.1.max(at));
    };
    block.args.iter().for_each(|&arg| touch(arg, 0));
    for (i, inst) in block.insts.iter().enumerate() {
        live[i].iter().for_each(|&reg| touch(reg, 2 * i));
        let (written, read) = inst.operands();
        read.iter().for_each(|&reg| touch(reg, 2 * i));
        let from = 2 * i + usize::from(inst.touched(Touch::Early).is_none());
        written.iter().for_each(|&reg| {
            touch(reg, from);
            touch(reg, 2 * i + 1);
        });
    }
    (live, ranges)
}

/// The positions at which each register holds a value, from first to last.
pub fn hulls(block: &Block) -> BTreeMap<Reg, (usize, usize)> {
    ranges(block).1
}

/// Assigns machine registers.
pub fn assign(block: &Block) -> Result<Assigned> {
    let refuse = |why: String| Error::internal(Site::Whole, format!("instruction block: {why}"));
    let (live, ranges) = ranges(block);
    if let Some(reg) = live.first().and_then(|l| l.iter().find(|r| !block.args.contains(r))) {
        return Err(refuse(format!("register v{} is read before it is written", reg.0)));
    }
    let mut order: Vec<(Reg, (usize, usize))> = ranges.into_iter().collect();
    order.sort_by_key(|&(reg, (from, _))| (from, reg));
    let mut free: BTreeSet<u32> = MACHINE.into_iter().collect();
    let mut active: Vec<(usize, u32)> = Vec::new();
    let mut map: BTreeMap<Reg, u32> = BTreeMap::new();
    for (n, &arg) in block.args.iter().enumerate() {
        map.insert(arg, n as u32);
        free.remove(&(n as u32));
    }
    for (reg, (from, to)) in order {
        active.retain(|&(end, machine)| {
            if end < from {
                free.insert(machine);
            }
            end >= from
        });
        let machine = match map.get(&reg) {
            Some(&machine) => machine,
            None => free.pop_first().ok_or_else(|| {
                refuse(format!("more than {} values are alive at instruction {}", MACHINE.len(), from / 2))
            })?,
        };
        map.insert(reg, machine);
        active.push((to, machine));
    }
    let machine = |place: u32| map.get(&Reg(place)).copied().unwrap_or(place);
    let insts: Vec<Inst> = block.insts.iter().map(|i| i.map(&machine)).collect();
    let used: BTreeSet<u32> = map.values().copied().collect();
    let saved = KEPT.into_iter().filter(|r| *r == 14 || used.contains(r)).collect();
    Ok(Assigned { insts, slots: block.slots, saved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_across_a_loop_keep_their_registers() {
        let mut b = Block::new(2);
        let (p, end) = (b.args[0], b.args[1]);
        let [sum, kept] = b.regs_n();
        b.push(Inst::MovImm(sum, 0));
        b.push(Inst::MovImm(kept, 7));
        let top = b.label(2);
        for _ in 0..3 {
            let v = b.reg();
            b.push(Inst::Ldr(v, p, 0));
            b.push(Inst::Add(sum, sum, v));
            b.push(Inst::AddImm(p, p, 4));
        }
        b.push(Inst::Cmp(p, end));
        b.push(Inst::BranchBack(crate::asm::armv7em::Cond::Ne, top));
        b.push(Inst::Str(kept, p, 0));
        b.push(Inst::Str(sum, p, 4));
        let a = assign(&b).unwrap();
        let (_, sum) = (a.insts[0].operands(), a.insts[0].operands().0[0]);
        let kept = a.insts[1].operands().0[0];
        assert_ne!(sum, kept);
        for inst in &a.insts[2..a.insts.len() - 2] {
            assert!(!inst.operands().0.contains(&kept), "{inst:?} overwrites a value that lives on");
        }
        // Three loaded values share one register: none outlives the next.
        let loaded: BTreeSet<Reg> =
            (a.insts.iter()).filter_map(|i| if let Inst::Ldr(d, ..) = i { Some(*d) } else { None }).collect();
        assert_eq!(loaded.len(), 1);
        assert_eq!(a.saved, [4, 14]);
    }

    #[test]
    fn a_fifteenth_value_is_refused() {
        let build = |n: usize| {
            let mut b = Block::new(1);
            let regs: Vec<Reg> = (0..n).map(|_| b.reg()).collect();
            for &r in &regs {
                b.push(Inst::Ldr(r, b.args[0], 0));
            }
            for &r in &regs {
                b.push(Inst::Str(r, b.args[0], 0));
            }
            assign(&b)
        };
        assert!(build(13).is_ok());
        assert!(build(14).unwrap_err().to_string().contains("more than 14"));
    }

    #[test]
    fn reading_what_was_never_written_is_refused() {
        let mut b = Block::new(1);
        let r = b.reg();
        b.push(Inst::Str(r, b.args[0], 0));
        assert!(assign(&b).is_err());
    }
}
