//! Runs RISC-V blocks on a model of the core, from The RISC-V Instruction Set Manual, Volume I
//! (RV32I 2.1, M 2.0) and the "V" Vector Extension 1.0. The tests' host-side emulator: elements
//! behind the vector length are lost, as they may be where tails are agnostic, and a group of
//! registers has to begin at a multiple of its length.

use crate::asm::riscv::{Block, Inst, Lmul, V, X};
use crate::asm::simulate::Memory;
use crate::asm::table::File;

/// Bytes of a vector register.
const VLENB: usize = 16;
/// Where the stack ends, and its size.
const STACK: (u32, usize) = (0x7000_0000, 4096);

/// A core in the middle of a block.
pub struct Model<'a> {
    x: [u32; 32],
    v: [u8; 32 * VLENB],
    /// Elements, their bits, and the group.
    vl: usize,
    pub bits: u32,
    lmul: Lmul,
    pub round_down: bool,
    pub memory: &'a mut Memory,
    insts: &'a [Inst],
    /// The next instruction.
    pc: usize,
}

/// Runs with arguments in `a0`..`a7`.
pub fn run(block: &Block, args: &[u32], memory: &mut Memory) {
    memory.regions.push((STACK.0, vec![0xa5; STACK.1]));
    let mut x: [u32; 32] = std::array::from_fn(|i| 0x1111_0000 + i as u32);
    x[0] = 0;
    x[2] = STACK.0 + STACK.1 as u32 - 16 * (block.slots).div_ceil(4);
    x[10..10 + args.len()].copy_from_slice(args);
    let (v, lmul, insts) = ([0xee; 32 * VLENB], Lmul::M1, &block.insts[..]);
    let mut m = Model { x, v, vl: 0, bits: 8, lmul, round_down: false, memory, insts, pc: 0 };
    let mut count = 0u64;
    while let Some(inst) = insts.get(m.pc) {
        m.pc += 1;
        count += 1;
        assert!(count < 100_000_000, "runs away");
        inst.execute(&mut m);
    }
    memory.regions.pop();
}

impl File<X> for Model<'_> {
    type Word = u32;
    fn read(&self, r: X) -> u32 {
        self.x[r.0 as usize]
    }
    fn write(&mut self, r: X, v: u32) {
        assert!(!matches!(r.0, 2..=4), "{r} is not to be written");
        if r.0 != 0 {
            self.x[r.0 as usize] = v;
        }
    }
}

/// Vectors are read and written by their elements.
impl File<V> for Model<'_> {
    type Word = V;
    fn read(&self, v: V) -> V {
        v
    }
    fn write(&mut self, _: V, _: V) {}
}

impl Model<'_> {
    /// Goes to a label that stands before, or behind.
    pub fn back(&mut self, l: u32) {
        self.pc = self.insts[..self.pc].iter().rposition(|i| *i == Inst::Label(l)).unwrap();
    }
    pub fn on(&mut self, l: u32) {
        self.pc += self.insts[self.pc..].iter().position(|i| *i == Inst::Label(l)).unwrap();
    }
    /// What `vsetvli` gives.
    pub fn length(&mut self, n: u32, bits: u32, lmul: Lmul) -> u32 {
        let registers = if lmul == Lmul::Half { 0.5 } else { f32::from(lmul.registers()) };
        let most = (registers * (8 * VLENB) as f32) as usize / bits as usize;
        self.vl = (n as usize).min(most);
        (self.bits, self.lmul) = (bits, lmul);
        self.vl as u32
    }
    /// Element `i` of `bits` in the group of a register, signed.
    fn element(&self, v: V, i: usize, bits: u32) -> i64 {
        let at = v.0 as usize * VLENB + i * bits as usize / 8;
        match bits {
            8 => i64::from(self.v[at] as i8),
            16 => i64::from(i16::from_le_bytes([self.v[at], self.v[at + 1]])),
            _ => i64::from(i32::from_le_bytes(self.v[at..at + 4].try_into().unwrap())),
        }
    }
    /// Writes a group of elements of `bits`; what lies behind them in the group is lost.
    fn put(&mut self, v: V, bits: u32, values: &[i64]) {
        // Registers of the group: as many as the type's times the ratio of widths.
        let eighths = |l: Lmul| if l == Lmul::Half { 4 } else { 8 * u32::from(l.registers()) };
        let group = eighths(self.lmul) * bits / self.bits;
        assert!((1..=64).contains(&group), "{bits} bits of {} in {:?}", self.bits, self.lmul);
        let registers = group.div_ceil(8) as usize;
        assert!((v.0 as usize).is_multiple_of(registers), "{v} begins no group of {registers}");
        if values.is_empty() {
            return;
        }
        let from = v.0 as usize * VLENB;
        self.v[from..from + registers * VLENB].fill(0xff);
        let each = bits as usize / 8;
        for (i, value) in values.iter().enumerate() {
            self.v[from + i * each..][..each].copy_from_slice(&value.to_le_bytes()[..each]);
        }
    }
    /// `f` of every element's number into a group of elements of `bits`.
    fn each(&mut self, d: V, bits: u32, f: impl Fn(&Self, usize) -> i64) {
        let values: Vec<i64> = (0..self.vl).map(|i| f(self, i)).collect();
        self.put(d, bits, &values);
    }
    pub fn binary(&mut self, d: V, a: V, b: V, f: impl Fn(i64, i64) -> i64) {
        let bits = self.bits;
        self.each(d, bits, |m, i| f(m.element(a, i, bits), m.element(b, i, bits)));
    }
    /// The low bits of a scalar, as an element.
    pub fn element_of(&self, x: u32) -> i64 {
        i64::from((x << (32 - self.bits)) as i32 >> (32 - self.bits))
    }
    pub fn scalar(&mut self, d: V, a: V, x: u32, f: impl Fn(i64, i64) -> i64) {
        let x = self.element_of(x);
        self.each(d, self.bits, |m, i| f(m.lane(a, i), x));
    }
    /// An element of the width that is set.
    pub fn lane(&self, v: V, i: usize) -> i64 {
        self.element(v, i, self.bits)
    }
    /// Adds to elements of twice the width.
    pub fn widened(&mut self, d: V, f: impl Fn(&Self, usize) -> i64) {
        let bits = 2 * self.bits;
        self.each(d, bits, |m, i| m.element(d, i, bits).wrapping_add(f(m, i)));
    }
    /// To half the width, rounded down and saturated.
    pub fn narrow(&mut self, d: V, a: V, shift: u32) {
        assert!(self.round_down, "vnclip rounds by vxrm");
        let bits = self.bits;
        let most = (1i64 << (bits - 1)) - 1;
        let shift = shift % (2 * bits);
        self.each(d, bits, |m, i| (m.element(a, i, 2 * bits) >> shift).clamp(-most - 1, most));
    }
    pub fn extend(&mut self, d: V, a: V, by: u32) {
        let bits = self.bits;
        assert!(d != a || by == 1, "a source of another width lies in its result");
        self.each(d, bits, |m, i| m.element(a, i, bits / by));
    }

    fn bytes(&mut self, at: u32, bits: u32) -> i64 {
        let mut wide = [0; 8];
        wide[..bits as usize / 8].copy_from_slice(self.memory.at(at, bits / 8));
        i64::from_le_bytes(wide) << (64 - bits) >> (64 - bits)
    }
    pub fn load(&mut self, d: V, a: u32, bits: u32) {
        let values: Vec<i64> = (0..self.vl as u32).map(|i| self.bytes(a + i * bits / 8, bits)).collect();
        self.put(d, bits, &values);
    }
    pub fn store(&mut self, v: V, a: u32) {
        for i in 0..self.vl {
            self.memory.put(a + i as u32, self.element(v, i, 8) as u32, 1);
        }
    }
    pub fn gather(&mut self, d: V, a: u32, index: V) {
        let at = |m: &Self, i| a + u32::from(m.element(index, i, 8) as u8);
        let values: Vec<i64> = (0..self.vl).map(|i| self.bytes(at(self, i), self.bits)).collect();
        self.put(d, self.bits, &values);
    }
}
