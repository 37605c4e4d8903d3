//! Runs assigned instructions on a model of the core: what each does to registers and memory,
//! from the Armv7-M Architecture Reference Manual. The tests' host-side emulator.

use super::assign::Assigned;
use super::{Cond, Inst, Label, Reg, Ror};

/// Memory regions by base address.
pub(crate) struct Memory {
    pub(crate) regions: Vec<(u32, Vec<u8>)>,
}

impl Memory {
    fn at(&mut self, address: u32, len: u32) -> &mut [u8] {
        for (base, bytes) in &mut self.regions {
            if address >= *base && address + len <= *base + bytes.len() as u32 {
                let from = (address - *base) as usize;
                return &mut bytes[from..from + len as usize];
            }
        }
        panic!("access of {len} bytes at {address:#x}");
    }
    fn word(&mut self, address: u32) -> u32 {
        u32::from_le_bytes(self.at(address, 4).try_into().unwrap())
    }
    fn put(&mut self, address: u32, v: u32) {
        self.at(address, 4).copy_from_slice(&v.to_le_bytes());
    }
}

fn halves(v: u32) -> (i32, i32) {
    (i32::from(v as i16), i32::from((v >> 16) as i16))
}

/// Runs with the arguments in r0..r3 and on the stack; gives the number of instructions executed.
pub(crate) fn run(block: &Assigned, args: &[u32], memory: &mut Memory) -> u64 {
    let mut r = [0xdead_beefu32; 15];
    let first = args.len().min(4);
    r[..first].copy_from_slice(&args[..first]);
    let mut frame = vec![0xdead_beefu32; block.slots as usize];
    let (mut pc, mut equal, mut count) = (0, false, 0u64);
    while let Some(inst) = block.insts.get(pc) {
        use Inst::*;
        let g = |reg: Reg| r[reg.0 as usize];
        count += 1;
        assert!(count < 100_000_000, "runs away");
        let (d, value) = match *inst {
            Label(_) => {
                count -= 1;
                (None, 0)
            }
            BranchBack(Cond::Ne, self::Label(l)) => {
                if !equal {
                    pc = block.insts.iter().position(|i| *i == Label(self::Label(l))).unwrap();
                }
                (None, 0)
            }
            Ldr(d, a, o) => (Some(d), memory.word(g(a) + o)),
            Ldrsb(d, a, o) => (Some(d), i32::from(memory.at(g(a) + o, 1)[0] as i8) as u32),
            Str(s, a, o) => {
                memory.put(g(a) + o, g(s));
                (None, 0)
            }
            Strb(s, a, o) => {
                memory.at(g(a) + o, 1)[0] = g(s) as u8;
                (None, 0)
            }
            LdrSlot(d, s) => (Some(d), frame[s.0 as usize]),
            StrSlot(s, slot) => {
                frame[slot.0 as usize] = g(s);
                (None, 0)
            }
            LdrArg(d, n) => (Some(d), args[n as usize]),
            Mov(d, a) => (Some(d), g(a)),
            MovImm(d, v) => (Some(d), v as u32),
            Add(d, a, b) => (Some(d), g(a).wrapping_add(g(b))),
            Sub(d, a, b) => (Some(d), g(a).wrapping_sub(g(b))),
            Asr(d, a, b) => (Some(d), (g(a) as i32 >> (g(b) & 31)) as u32),
            AddImm(d, a, v) => (Some(d), g(a).wrapping_add(v as u32)),
            Cmp(a, b) => {
                equal = g(a) == g(b);
                (None, 0)
            }
            Mul(d, a, b) => (Some(d), g(a).wrapping_mul(g(b))),
            Mla(d, a, b, c) => (Some(d), g(a).wrapping_mul(g(b)).wrapping_add(g(c))),
            Ubfx(d, a, l, w) => (Some(d), g(a) >> l & ((1 << w) - 1)),
            Sxtb(d, a, n) => (Some(d), i32::from((g(a) >> (8 * n)) as i8) as u32),
            Sxtab(d, a, b, n) => (Some(d), g(a).wrapping_add(i32::from((g(b) >> (8 * n)) as i8) as u32)),
            MaxImm(d, v) => (Some(d), (g(d) as i32).max(v) as u32),
            MinImm(d, v) => (Some(d), (g(d) as i32).min(v) as u32),
            Neg(d, a) => (Some(d), g(a).wrapping_neg()),
            LslImm(d, a, n) => (Some(d), g(a) << n),
            Pkhbt(d, a, b) => (Some(d), (g(a) & 0xffff) | (g(b) << 16)),
            Sxtb16(d, a, k) => (Some(d), extend(0, g(a), k)),
            Sxtab16(d, a, b, k) => (Some(d), extend(g(a), g(b), k)),
            Sadd16(d, a, b) => (Some(d), lanes(g(a), g(b), i32::wrapping_add)),
            Ssub16(d, a, b) => (Some(d), lanes(g(a), g(b), i32::wrapping_sub)),
            Smuad(d, a, b) => {
                let ((al, ah), (bl, bh)) = (halves(g(a)), halves(g(b)));
                (Some(d), (i64::from(al * bl) + i64::from(ah * bh)) as u32)
            }
            Smlad(d, a, b, c) => {
                let ((al, ah), (bl, bh)) = (halves(g(a)), halves(g(b)));
                let sum = i64::from(al * bl) + i64::from(ah * bh);
                (Some(d), (sum as u32).wrapping_add(g(c)))
            }
            Smlabb(d, a, b, c) => (Some(d), ((halves(g(a)).0 * halves(g(b)).0) as u32).wrapping_add(g(c))),
            Smlatt(d, a, b, c) => (Some(d), ((halves(g(a)).1 * halves(g(b)).1) as u32).wrapping_add(g(c))),
            Smmla(d, a, b, c) => {
                let product = i64::from(g(a) as i32) * i64::from(g(b) as i32);
                (Some(d), (product.wrapping_add(i64::from(g(c)) << 32) >> 32) as u32)
            }
            Ssat(d, bits, a, s) => {
                let top = 1i32 << (bits - 1);
                (Some(d), (g(a) as i32 >> s).clamp(-top, top - 1) as u32)
            }
        };
        if let Some(d) = d {
            r[d.0 as usize] = value;
        }
        pc += 1;
    }
    count
}

fn extend(add: u32, v: u32, ror: Ror) -> u32 {
    let v = v.rotate_right(if ror == Ror::R8 { 8 } else { 0 });
    let (lo, hi) = (i32::from(v as i8), i32::from((v >> 16) as i8));
    let (al, ah) = halves(add);
    ((al + lo) as u16 as u32) | ((ah + hi) as u16 as u32) << 16
}

fn lanes(a: u32, b: u32, f: fn(i32, i32) -> i32) -> u32 {
    let ((al, ah), (bl, bh)) = (halves(a), halves(b));
    (f(al, bl) as u16 as u32) | (f(ah, bh) as u16 as u32) << 16
}
