//! Runs RISC-V blocks on a model of the core, from The RISC-V Instruction Set Manual, Volume I
//! (RV32I 2.1, M 2.0) and the "V" Vector Extension 1.0. The tests' host-side emulator: elements
//! behind the vector length are lost, as they may be where tails are agnostic, and a group of
//! registers has to begin at a multiple of its length.

use crate::asm::armv7em::simulate::Memory;
use crate::asm::riscv::{Block, Inst, Lmul, V, X};

/// Bytes of a vector register.
const VLENB: usize = 16;
/// Where the stack ends, and its size.
const STACK: (u32, usize) = (0x2000_0000, 4096);

struct Machine<'a> {
    x: [u32; 32],
    v: [u8; 32 * VLENB],
    /// Elements, their bits, and the group.
    vl: usize,
    bits: u32,
    lmul: Lmul,
    round_down: bool,
    memory: &'a mut Memory,
}

/// Runs with arguments in `a0`..`a7`.
pub(crate) fn run(block: &Block, args: &[u32], memory: &mut Memory) {
    memory.regions.push((STACK.0, vec![0xa5; STACK.1]));
    let mut x: [u32; 32] = std::array::from_fn(|i| 0x1111_0000 + i as u32);
    x[0] = 0;
    x[2] = STACK.0 + STACK.1 as u32 - 16 * (block.slots).div_ceil(4);
    x[10..10 + args.len()].copy_from_slice(args);
    let (v, lmul) = ([0xee; 32 * VLENB], Lmul::M1);
    let mut m = Machine { x, v, vl: 0, bits: 8, lmul, round_down: false, memory };
    let insts = &block.insts;
    let before = |pc: usize, l: u32| insts[..pc].iter().rposition(|i| *i == Inst::Label(l)).unwrap();
    let behind = |pc: usize, l: u32| pc + insts[pc..].iter().position(|i| *i == Inst::Label(l)).unwrap();
    let (mut pc, mut count) = (0, 0u64);
    while let Some(inst) = insts.get(pc) {
        pc += 1;
        count += 1;
        assert!(count < 100_000_000, "runs away");
        let x = |r: X| m.x[r.0 as usize];
        match *inst {
            Inst::BneBack(a, b, l) if x(a) != x(b) => pc = before(pc, l),
            Inst::BnezOn(a, l) if x(a) != 0 => pc = behind(pc, l),
            Inst::BgezOn(a, l) if x(a) as i32 >= 0 => pc = behind(pc, l),
            Inst::Jump(l) => pc = behind(pc, l),
            Inst::BneBack(..) | Inst::BnezOn(..) | Inst::BgezOn(..) | Inst::Label(_) => {}
            _ => m.step(inst),
        }
    }
    assert_eq!(m.x[0], 0);
    memory.regions.pop();
}

impl Machine<'_> {
    fn get(&self, r: X) -> u32 {
        self.x[r.0 as usize]
    }
    fn set(&mut self, r: X, v: u32) {
        assert!(!matches!(r.0, 2..=4), "{r} is not to be written");
        if r.0 != 0 {
            self.x[r.0 as usize] = v;
        }
    }
    /// Address of an access of `len` bytes, which has to be a multiple of it.
    fn address(&self, a: X, offset: i32, len: u32) -> u32 {
        assert!((-2048..2048).contains(&offset));
        let at = self.get(a).wrapping_add(offset as u32);
        assert!(at.is_multiple_of(len), "{len} bytes at {at:#x}");
        at
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
    fn unary(&mut self, d: V, a: V, f: impl Fn(i64) -> i64) {
        let bits = self.bits;
        self.each(d, bits, |m, i| f(m.element(a, i, bits)));
    }
    fn binary(&mut self, d: V, a: V, b: V, f: impl Fn(i64, i64) -> i64) {
        let bits = self.bits;
        self.each(d, bits, |m, i| f(m.element(a, i, bits), m.element(b, i, bits)));
    }
    /// The low bits of a scalar register, as an element.
    fn scalar(&self, x: X) -> i64 {
        let low = self.get(x) << (32 - self.bits);
        i64::from(low as i32 >> (32 - self.bits))
    }
    /// To half the width, rounded down and saturated.
    fn narrow(&mut self, d: V, a: V, shift: u32) {
        assert!(self.round_down, "vnclip rounds by vxrm");
        let bits = self.bits;
        let most = (1i64 << (bits - 1)) - 1;
        let shift = shift % (2 * bits);
        self.each(d, bits, |m, i| (m.element(a, i, 2 * bits) >> shift).clamp(-most - 1, most));
    }
    fn extend(&mut self, d: V, a: V, by: u32) {
        let bits = self.bits;
        assert!(d != a || by == 1, "a source of another width lies in its result");
        self.each(d, bits, |m, i| m.element(a, i, bits / by));
    }

    fn step(&mut self, inst: &Inst) {
        use Inst::*;
        let bits = self.bits;
        match *inst {
            Lb(d, a, o) => {
                let at = self.address(a, o, 1);
                let v = self.memory.at(at, 1)[0] as i8;
                self.set(d, v as u32);
            }
            Lw(d, a, o) => {
                let at = self.address(a, o, 4);
                let v = self.memory.aligned(at);
                self.set(d, v);
            }
            Sb(s, a, o) => {
                let at = self.address(a, o, 1);
                self.memory.at(at, 1)[0] = self.get(s) as u8;
            }
            Sw(s, a, o) => {
                let at = self.address(a, o, 4);
                self.memory.put_aligned(at, self.get(s));
            }
            Li(d, v) => self.set(d, v as u32),
            Mv(d, a) => self.set(d, self.get(a)),
            Add(d, a, b) => self.set(d, self.get(a).wrapping_add(self.get(b))),
            Sub(d, a, b) => self.set(d, self.get(a).wrapping_sub(self.get(b))),
            Or(d, a, b) => self.set(d, self.get(a) | self.get(b)),
            Addi(d, a, v) => self.set(d, self.get(a).wrapping_add(v as u32)),
            Andi(d, a, v) => self.set(d, self.get(a) & v as u32),
            Slli(d, a, n) => self.set(d, self.get(a) << n),
            Srai(d, a, n) => self.set(d, (self.get(a) as i32 >> n) as u32),
            Sra(d, a, b) => self.set(d, (self.get(a) as i32 >> (self.get(b) & 31)) as u32),
            Mul(d, a, b) => self.set(d, self.get(a).wrapping_mul(self.get(b))),
            Mulh(d, a, b) => {
                let both = i64::from(self.get(a) as i32) * i64::from(self.get(b) as i32);
                self.set(d, (both >> 32) as u32);
            }
            Max(d, a) => self.set(d, (self.get(d) as i32).max(self.get(a) as i32) as u32),
            Min(d, a) => self.set(d, (self.get(d) as i32).min(self.get(a) as i32) as u32),

            Vset(d, n, bits, lmul) => {
                let registers = if lmul == Lmul::Half { 0.5 } else { f32::from(lmul.registers()) };
                let most = (registers * (8 * VLENB) as f32) as usize / bits as usize;
                // `zero` for both keeps the length, or asks for the most there is: never written.
                assert!(n.0 != 0, "no count");
                self.vl = (self.get(n) as usize).min(most);
                (self.bits, self.lmul) = (bits, lmul);
                self.set(d, self.vl as u32);
            }
            RoundDown => self.round_down = true,
            Vle8(d, a) => self.load(d, a, 8),
            Vle32(d, a) => self.load(d, a, 32),
            Vse8(s, a) => {
                for i in 0..self.vl {
                    let v = self.element(s, i, 8) as u8;
                    self.memory.at(self.get(a) + i as u32, 1)[0] = v;
                }
            }
            Vluxei8(d, a, index) => {
                let values: Vec<i64> = (0..self.vl)
                    .map(|i| {
                        let at = self.get(a) + self.element(index, i, 8) as u8 as u32;
                        self.bytes(at, bits)
                    })
                    .collect();
                self.put(d, bits, &values);
            }
            VmvX(d, x) => {
                let v = self.scalar(x);
                self.each(d, bits, |_, _| v);
            }
            VmvV(d, a) => self.unary(d, a, |a| a),
            Vsext2(d, a) => self.extend(d, a, 2),
            Vsext4(d, a) => self.extend(d, a, 4),
            VmulX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| a.wrapping_mul(x));
            }
            VmulV(d, a, b) => self.binary(d, a, b, |a, b| a.wrapping_mul(b)),
            VsubX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| a - x);
            }
            VandX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| a & x);
            }
            VwmaccX(d, x, a) => {
                let x = self.scalar(x);
                self.each(d, 2 * bits, |m, i| {
                    m.element(d, i, 2 * bits).wrapping_add(m.element(a, i, bits) * x)
                });
            }
            VwmaccV(d, a, b) => self.each(d, 2 * bits, |m, i| {
                m.element(d, i, 2 * bits).wrapping_add(m.element(a, i, bits) * m.element(b, i, bits))
            }),
            Vmulh(d, a, b) => self.binary(d, a, b, |a, b| (a * b) >> bits),
            VmulhX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| (a * x) >> bits);
            }
            VaddX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| a + x);
            }
            VaddV(d, a, b) => self.binary(d, a, b, |a, b| a + b),
            VsraV(d, a, b) => self.binary(d, a, b, |a, b| a >> (b & i64::from(bits - 1))),
            VsraX(d, a, x) => {
                let n = self.scalar(x) & i64::from(bits - 1);
                self.unary(d, a, |a| a >> n);
            }
            VnclipX(d, a, x) => self.narrow(d, a, self.get(x)),
            Vnclip0(d, a) => self.narrow(d, a, 0),
            VmaxX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| a.max(x));
            }
            VmaxV(d, a, b) => self.binary(d, a, b, i64::max),
            VminX(d, a, x) => {
                let x = self.scalar(x);
                self.unary(d, a, |a| a.min(x));
            }
            Label(_) | BneBack(..) | BnezOn(..) | BgezOn(..) | Jump(_) => unreachable!("branches"),
        }
    }
    fn bytes(&mut self, at: u32, bits: u32) -> i64 {
        let mut wide = [0; 8];
        wide[..bits as usize / 8].copy_from_slice(self.memory.at(at, bits / 8));
        i64::from_le_bytes(wide) << (64 - bits) >> (64 - bits)
    }
    fn load(&mut self, d: V, a: X, bits: u32) {
        let values: Vec<i64> =
            (0..self.vl as u32).map(|i| self.bytes(self.get(a) + i * bits / 8, bits)).collect();
        self.put(d, bits, &values);
    }
}
