//! Runs Thumb-1 code on a model of the core, from the Armv6-M Architecture Reference Manual
//! (Arm DDI 0419E, chapter A6.7). The tests' host-side emulator: unaligned accesses and those
//! outside the buffers panic, as do callee-saved registers that do not come back.

use crate::asm::armv6m::{Code, Cond, Inst, Label, R};
use crate::asm::simulate::{Memory, simulation};
use crate::asm::table::File;
use crate::kernel::Simulation;

/// Where the stack ends, and its size.
const STACK: (u32, usize) = (0x2000_0000, 4096);

/// What a run of a function took.
pub struct Ran {
    /// Bytes of stack.
    pub stack: u32,
}

/// A simulation of code that takes so many bytes of stack at most.
pub fn of(code: Code, stack: u32) -> Option<Simulation> {
    simulation(move |args, memory| {
        let ran = run(&code, args, memory);
        assert!(ran.stack <= stack, "{} bytes of stack, {stack} announced", ran.stack);
    })
}

/// A core in the middle of a function.
pub struct Model<'a> {
    pub r: [u32; 15],
    /// Zero and carry.
    pub z: bool,
    pub c: bool,
    pub memory: &'a mut Memory,
    insts: &'a [Inst],
    /// The next instruction.
    pc: usize,
    /// The least value of the stack pointer.
    lowest: u32,
}

impl File<R> for Model<'_> {
    type Word = u32;
    fn read(&self, r: R) -> u32 {
        self.r[r.0 as usize]
    }
    fn write(&mut self, r: R, v: u32) {
        self.r[r.0 as usize] = v;
    }
}

fn listed(mask: u16) -> impl Iterator<Item = usize> {
    (0..15).filter(move |i| mask >> i & 1 == 1)
}

impl Model<'_> {
    pub fn go(&mut self, l: Label) {
        self.pc = self.insts.iter().position(|i| *i == Inst::Label(l)).unwrap();
    }
    pub fn holds(&self, c: Cond) -> bool {
        match c {
            Cond::Eq => self.z,
            Cond::Ne => !self.z,
            Cond::Cs => self.c,
            Cond::Cc => !self.c,
            Cond::Ls => !self.c || self.z,
        }
    }
    /// Sets the flags by a result.
    pub fn flagged(&mut self, v: u32, carry: bool) -> u32 {
        (self.z, self.c) = (v == 0, carry);
        v
    }
    pub fn sum(&mut self, a: u32, b: u32, carry: bool) -> u32 {
        let wide = u64::from(a) + u64::from(b) + u64::from(carry);
        self.flagged(wide as u32, wide >> 32 != 0)
    }
    /// Loads the registers of a mask from an address on; gives where they end.
    pub fn loaded(&mut self, mut at: u32, (mask, values): &mut (u16, [u32; 15])) -> u32 {
        for i in listed(*mask) {
            values[i] = self.memory.aligned(at);
            at += 4;
        }
        at
    }
    pub fn store_many(&mut self, mut at: u32, mask: u16) -> u32 {
        for i in listed(mask) {
            self.memory.put_aligned(at, self.r[i]);
            at += 4;
        }
        at
    }
    pub fn lower(&mut self, by: u32) {
        self.r[13] -= by;
        self.lowest = self.lowest.min(self.r[13]);
    }
    pub fn push(&mut self, mask: u16) {
        self.lower(4 * mask.count_ones());
        self.store_many(self.r[13], mask);
    }
}

/// Runs with the arguments in r0..r3 and on the stack.
pub fn run(code: &Code, args: &[u32], memory: &mut Memory) -> Ran {
    memory.regions.push((STACK.0, vec![0xa5; STACK.1]));
    let mut r = [0xdead_beefu32; 15];
    for i in 4..12 {
        r[i] = 0x1111_0000 + i as u32;
    }
    let (first, stacked) = args.split_at(args.len().min(4));
    r[..first.len()].copy_from_slice(first);
    r[13] = STACK.0 + STACK.1 as u32 - 4 * stacked.len() as u32;
    for (i, &v) in stacked.iter().enumerate() {
        memory.put_aligned(r[13] + 4 * i as u32, v);
    }
    r[14] = 0x1111_000e;
    let (entry, insts) = (r, code.insts());
    let mut m = Model { r, z: false, c: false, memory, insts: &insts, pc: 0, lowest: r[13] };
    let mut count = 0u64;
    while let Some(inst) = insts.get(m.pc) {
        m.pc += 1;
        count += 1;
        assert!(count < 100_000_000, "runs away");
        inst.execute(&mut m);
    }
    m.memory.regions.pop();
    assert_eq!(m.r[4..12], entry[4..12], "kept registers");
    assert_eq!(m.r[13], entry[13], "stack pointer");
    assert_eq!(m.r[14], entry[14], "return address");
    Ran { stack: entry[13] - m.lowest }
}
