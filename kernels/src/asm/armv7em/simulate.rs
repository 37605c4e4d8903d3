//! Runs assigned instructions on a model of the core: what each does to registers and memory,
//! from the Armv7-M Architecture Reference Manual. The tests' host-side emulator.

use crate::asm::armv7em::assign::Assigned;
use crate::asm::armv7em::inst::{Cond, Float, Inst, Label, Reg, Ror, Slot};
use crate::asm::armv7em::text;
use crate::asm::simulate::{Memory, halves, pack, product, simulation};
use crate::asm::table::File;
use crate::kernel::Simulation;
use std::cmp::Ordering;

/// Runs all orders of a block, which do the same.
pub fn of_orders(all: Vec<Assigned>) -> Option<Simulation> {
    simulation(move |args, memory| {
        let before = memory.regions.clone();
        for (n, order) in all.iter().enumerate() {
            let mut own = Memory { regions: before.clone() };
            run(order, args, &mut own);
            assert!(n == 0 || own.regions == memory.regions, "order {n} of the same instructions");
            memory.regions = own.regions;
        }
    })
}

pub fn unsigned(v: i32, bits: u32) -> i32 {
    i64::from(v).clamp(0, (1 << bits) - 1) as i32
}

/// High word of `a * b + (c << 32) + round`.
pub fn high(a: u32, b: u32, c: u32, round: i64) -> u32 {
    (product(a, b).wrapping_add(i64::from(c) << 32).wrapping_add(round) >> 32) as u32
}

/// `(a * b) >> 16` of a word and a half.
pub fn wide_product(a: u32, half: i32) -> u32 {
    ((i64::from(a as i32) * i64::from(half)) >> 16) as u32
}

pub const ROUND: i64 = 1 << 31;

/// What the last comparison found, signed and unsigned.
#[derive(Clone, Copy)]
pub struct Flags(Ordering, Ordering);

impl Flags {
    pub fn of(a: u32, b: u32) -> Flags {
        Flags((a as i32).cmp(&(b as i32)), a.cmp(&b))
    }
    fn hold(self, cond: Cond) -> bool {
        match cond {
            Cond::Eq => self.0.is_eq(),
            Cond::Ne => self.0.is_ne(),
            Cond::Lo => self.1.is_lt(),
            Cond::Hs => self.1.is_ge(),
            Cond::Lt => self.0.is_lt(),
            Cond::Ge => self.0.is_ge(),
            Cond::Gt => self.0.is_gt(),
            Cond::Le => self.0.is_le(),
        }
    }
}

/// A core in the middle of a block.
pub struct Model<'a> {
    r: [u32; 15],
    floats: [u32; 16],
    pub frame: Vec<u32>,
    pub args: &'a [u32],
    pub memory: &'a mut Memory,
    pub flags: Flags,
    insts: &'a [Inst],
    /// The address of each instruction.
    places: Vec<u32>,
    /// The next one.
    pc: usize,
}

impl File<Reg> for Model<'_> {
    type Word = u32;
    fn read(&self, r: Reg) -> u32 {
        self.r[r.0 as usize]
    }
    fn write(&mut self, r: Reg, v: u32) {
        self.r[r.0 as usize] = v;
    }
}

impl File<Float> for Model<'_> {
    type Word = u32;
    fn read(&self, f: Float) -> u32 {
        self.floats[f.0 as usize]
    }
    fn write(&mut self, f: Float, v: u32) {
        self.floats[f.0 as usize] = v;
    }
}

impl Model<'_> {
    fn place(&self, l: Label) -> usize {
        self.insts.iter().position(|i| *i == Inst::Label(l)).unwrap()
    }
    pub fn address(&self, l: Label) -> u32 {
        self.places[self.place(l)]
    }
    pub fn go(&mut self, l: Label) {
        self.pc = self.place(l);
    }
    pub fn branch(&mut self, c: Cond, l: Label) {
        if self.flags.hold(c) {
            self.go(l);
        }
    }
    pub fn enter(&mut self, slot: Slot, l: Label) {
        let to = self.frame[slot.0 as usize];
        assert_eq!(to, self.address(l) | 1, "the computed address is another label's");
        self.go(l);
    }
}

/// Runs with the arguments in r0..r3, further ones where a caller leaves them; gives the number
/// of instructions executed.
pub fn run(block: &Assigned, args: &[u32], memory: &mut Memory) -> u64 {
    let mut r = [0xdead_beefu32; 15];
    let first = args.len().min(4);
    r[..first].copy_from_slice(&args[..first]);
    let (lines, firsts) = text::spelled(block);
    let mut m = Model {
        r,
        floats: [0xdead_beef; 16],
        frame: vec![0xdead_beef; block.slots as usize],
        args,
        memory,
        flags: Flags::of(0, 0),
        insts: &block.insts,
        places: firsts.iter().map(|&n| 0x0800_0000 + text::bytes(&lines[..n])).collect(),
        pc: 0,
    };
    let mut count = 0;
    while let Some(inst) = block.insts.get(m.pc) {
        m.pc += 1;
        count += u64::from(!matches!(inst, Inst::Label(_)));
        assert!(count < 100_000_000, "runs away");
        inst.execute(&mut m);
    }
    count
}

/// Bytes 0 and 2 after rotation, each added to a half.
pub fn extend(add: u32, v: u32, ror: Ror, byte: impl Fn(u32) -> i32) -> u32 {
    let v = v.rotate_right(8 * ror as u32);
    let (al, ah) = halves(add);
    pack(al + byte(v), ah + byte(v >> 16))
}
