//! Runs assigned instructions on a model of the core: what each does to registers and memory,
//! from the Armv7-M Architecture Reference Manual. The tests' host-side emulator.

use crate::asm::armv7em::assign::Assigned;
use crate::asm::armv7em::inst::{Cond, Inst, Label, Reg, Ror};
use crate::asm::armv7em::text;
use crate::kernel::Simulation;
use std::cmp::Ordering;
use std::sync::Arc;

/// Memory regions by base address.
pub(crate) struct Memory {
    pub(crate) regions: Vec<(u32, Vec<u8>)>,
}

impl Memory {
    pub(crate) fn at(&mut self, address: u32, len: u32) -> &mut [u8] {
        for (base, bytes) in &mut self.regions {
            if address >= *base && address + len <= *base + bytes.len() as u32 {
                let from = (address - *base) as usize;
                return &mut bytes[from..from + len as usize];
            }
        }
        panic!("access of {len} bytes at {address:#x}");
    }
    /// A word where unaligned accesses trap.
    pub(crate) fn aligned(&mut self, address: u32) -> u32 {
        assert!(address.is_multiple_of(4), "unaligned load at {address:#x}");
        self.word(address)
    }
    pub(crate) fn put_aligned(&mut self, address: u32, v: u32) {
        assert!(address.is_multiple_of(4), "unaligned store at {address:#x}");
        self.put(address, v, 4);
    }
    fn word(&mut self, address: u32) -> u32 {
        u32::from_le_bytes(self.at(address, 4).try_into().unwrap())
    }
    fn half(&mut self, address: u32) -> u16 {
        u16::from_le_bytes(self.at(address, 2).try_into().unwrap())
    }
    fn byte(&mut self, address: u32) -> u8 {
        self.at(address, 1)[0]
    }
    fn put(&mut self, address: u32, v: u32, len: u32) {
        self.at(address, len).copy_from_slice(&v.to_le_bytes()[..len as usize]);
    }
}

/// A simulation of a kernel's native form, by what runs it in a memory.
pub(crate) fn simulation(run: impl Fn(&[u32], &mut Memory) + Send + Sync + 'static) -> Simulation {
    Simulation(Arc::new(move |args, regions| {
        let mut memory = Memory { regions: std::mem::take(regions) };
        run(args, &mut memory);
        *regions = memory.regions;
    }))
}

/// Runs all orders of a block, which do the same.
pub(crate) fn of_orders(all: Vec<Assigned>) -> Simulation {
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

fn halves(v: u32) -> (i32, i32) {
    (i32::from(v as i16), i32::from((v >> 16) as i16))
}

fn pack(lo: i32, hi: i32) -> u32 {
    (lo as u32 & 0xffff) | (hi as u32) << 16
}

fn pairs(a: u32, b: u32, f: impl Fn(i32, i32) -> i32) -> u32 {
    let ((al, ah), (bl, bh)) = (halves(a), halves(b));
    pack(f(al, bl), f(ah, bh))
}

fn clip16(v: i32) -> i32 {
    v.clamp(-0x8000, 0x7fff)
}

fn signed(v: i32, bits: u32) -> i32 {
    let top = 1i64 << (bits - 1);
    i64::from(v).clamp(-top, top - 1) as i32
}

fn unsigned(v: i32, bits: u32) -> i32 {
    i64::from(v).clamp(0, (1 << bits) - 1) as i32
}

/// `a.lo * b.lo + sign * a.hi * b.hi + c`, wrapping.
fn dual(a: u32, b: u32, c: u32, sign: i64) -> u32 {
    let ((al, ah), (bl, bh)) = (halves(a), halves(b));
    let sum = i64::from(al) * i64::from(bl) + sign * i64::from(ah) * i64::from(bh);
    (sum as u32).wrapping_add(c)
}

/// High word of `a * b + (c << 32) + round`.
fn high(a: u32, b: u32, c: u32, round: i64) -> u32 {
    let product = i64::from(a as i32) * i64::from(b as i32);
    (product.wrapping_add(i64::from(c) << 32).wrapping_add(round) >> 32) as u32
}

/// `(a * b) >> 16` of a word and a half.
fn wide(a: u32, half: i32) -> u32 {
    ((i64::from(a as i32) * i64::from(half)) >> 16) as u32
}

fn rotated(v: u32, ror: Ror) -> u32 {
    v.rotate_right(ror.bits())
}

const ROUND: i64 = 1 << 31;

/// What the last comparison found, signed and unsigned.
#[derive(Clone, Copy)]
struct Flags(Ordering, Ordering);

impl Flags {
    fn of(a: u32, b: u32) -> Flags {
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

/// The address of each instruction.
fn places(block: &Assigned) -> Vec<u32> {
    let (lines, firsts) = text::spelled(block);
    firsts.iter().map(|&n| 0x0800_0000 + text::bytes(&lines[..n])).collect()
}

/// Runs with the arguments in r0..r3, further ones where a caller leaves them; gives the number
/// of instructions executed.
pub(crate) fn run(block: &Assigned, args: &[u32], memory: &mut Memory) -> u64 {
    let mut r = [0xdead_beefu32; 15];
    let first = args.len().min(4);
    r[..first].copy_from_slice(&args[..first]);
    let places = places(block);
    let mut frame = vec![0xdead_beefu32; block.slots as usize];
    let mut floats = [0xdead_beefu32; 16];
    let (mut pc, mut flags, mut count) = (0, Flags::of(0, 0), 0u64);
    while let Some(inst) = block.insts.get(pc) {
        use Inst::*;
        let g = |reg: Reg| r[reg.0 as usize];
        let to = |l: self::Label| block.insts.iter().position(|i| *i == Label(l)).unwrap();
        count += 1;
        assert!(count < 100_000_000, "runs away");
        // A second result: the moved pointer, or the high word of a product.
        let mut also: Option<(Reg, u32)> = None;
        let (d, value) = match *inst {
            Label(_) => {
                count -= 1;
                (None, 0)
            }
            BranchBack(c, l) | Branch(c, l) => {
                if flags.hold(c) {
                    pc = to(l);
                }
                (None, 0)
            }
            Jump(l) => {
                pc = to(l);
                (None, 0)
            }
            Adr(d, l) => (Some(d), places[to(l)]),
            Enter(slot, l) => {
                let place = frame[slot.0 as usize];
                pc = to(l);
                assert_eq!(place, places[pc] | 1, "the computed address is another label's");
                (None, 0)
            }
            Ldr(d, a, o) | LdrWide(d, a, o) => (Some(d), memory.word(g(a) + o)),
            Ldrb(d, a, o) => (Some(d), memory.byte(g(a) + o).into()),
            Ldrsb(d, a, o) => (Some(d), memory.byte(g(a) + o) as i8 as u32),
            Ldrh(d, a, o) => (Some(d), memory.half(g(a) + o).into()),
            Ldrsh(d, a, o) => (Some(d), memory.half(g(a) + o) as i16 as u32),
            Str(s, a, o) | StrWide(s, a, o) => (memory.put(g(a) + o, g(s), 4), (None, 0)).1,
            Strb(s, a, o) => (memory.put(g(a) + o, g(s), 1), (None, 0)).1,
            Strh(s, a, o) => (memory.put(g(a) + o, g(s), 2), (None, 0)).1,
            LdrPost(d, a, by) | LdrsbPost(d, a, by) | LdrshPost(d, a, by) => {
                also = Some((a, g(a).wrapping_add(by as u32)));
                let v = match inst {
                    LdrPost(..) => memory.word(g(a)),
                    LdrsbPost(..) => memory.byte(g(a)) as i8 as u32,
                    _ => memory.half(g(a)) as i16 as u32,
                };
                (Some(d), v)
            }
            StrPost(s, a, by) | StrbPost(s, a, by) | StrhPost(s, a, by) => {
                also = Some((a, g(a).wrapping_add(by as u32)));
                let len = match inst {
                    StrPost(..) => 4,
                    StrbPost(..) => 1,
                    _ => 2,
                };
                memory.put(g(a), g(s), len);
                (None, 0)
            }
            LdrAt(d, a, b, n) => (Some(d), memory.word(g(a).wrapping_add(g(b) << n))),
            LdrbAt(d, a, b, n) => (Some(d), memory.byte(g(a).wrapping_add(g(b) << n)).into()),
            LdrsbAt(d, a, b, n) => (Some(d), memory.byte(g(a).wrapping_add(g(b) << n)) as i8 as u32),
            LdrshAt(d, a, b, n) => (Some(d), memory.half(g(a).wrapping_add(g(b) << n)) as i16 as u32),
            StrAt(s, a, b, n) => (memory.put(g(a).wrapping_add(g(b) << n), g(s), 4), (None, 0)).1,
            StrbAt(s, a, b, n) => (memory.put(g(a).wrapping_add(g(b) << n), g(s), 1), (None, 0)).1,
            LdrSlot(d, s) => (Some(d), frame[s.0 as usize]),
            StrSlot(s, slot) => {
                frame[slot.0 as usize] = g(s);
                (None, 0)
            }
            LdrArg(d, n) => (Some(d), args[n as usize]),
            FloatTo(f, a) => {
                floats[f.0 as usize] = g(a);
                (None, 0)
            }
            FloatFrom(d, f) => (Some(d), floats[f.0 as usize]),
            Mov(d, a) => (Some(d), g(a)),
            MovImm(d, v) => (Some(d), v as u32),
            Add(d, a, b) => (Some(d), g(a).wrapping_add(g(b))),
            Sub(d, a, b) => (Some(d), g(a).wrapping_sub(g(b))),
            AddImm(d, a, v) => (Some(d), g(a).wrapping_add(v as u32)),
            AddLsl(d, a, b, n) => (Some(d), g(a).wrapping_add(g(b) << n)),
            AddAsr(d, a, b, n) => (Some(d), g(a).wrapping_add((g(b) as i32 >> n) as u32)),
            And(d, a, b) => (Some(d), g(a) & g(b)),
            Orr(d, a, b) => (Some(d), g(a) | g(b)),
            Eor(d, a, b) => (Some(d), g(a) ^ g(b)),
            Neg(d, a) => (Some(d), g(a).wrapping_neg()),
            LslImm(d, a, n) => (Some(d), g(a) << n),
            LsrImm(d, a, n) => (Some(d), g(a) >> n),
            AsrImm(d, a, n) => (Some(d), (g(a) as i32 >> n) as u32),
            Lsl(d, a, b) => (Some(d), g(a) << (g(b) & 31)),
            Lsr(d, a, b) => (Some(d), g(a) >> (g(b) & 31)),
            Asr(d, a, b) => (Some(d), (g(a) as i32 >> (g(b) & 31)) as u32),
            Ubfx(d, a, at, n) => (Some(d), g(a) << (32 - at - n) >> (32 - n)),
            Sbfx(d, a, at, n) => (Some(d), ((g(a) << (32 - at - n)) as i32 >> (32 - n)) as u32),
            Bfi(d, a, at, n) => {
                let mask = ((1u64 << n) - 1) as u32;
                (Some(d), g(d) & !(mask << at) | (g(a) & mask) << at)
            }
            Uxtb(d, a, n) => (Some(d), g(a) >> (8 * n) & 0xff),
            Sxtb(d, a, n) => (Some(d), (g(a) >> (8 * n)) as i8 as u32),
            Uxth(d, a) => (Some(d), g(a) & 0xffff),
            Sxth(d, a) => (Some(d), g(a) as i16 as u32),
            Cmp(a, b) => {
                flags = Flags::of(g(a), g(b));
                (None, 0)
            }
            CmpImm(a, v) => {
                flags = Flags::of(g(a), v);
                (None, 0)
            }
            SubsImm(d, a, v) => {
                flags = Flags::of(g(a), v);
                (Some(d), g(a).wrapping_sub(v))
            }
            MaxImm(d, v) => (Some(d), (g(d) as i32).max(v) as u32),
            MinImm(d, v) => (Some(d), (g(d) as i32).min(v) as u32),
            Max(d, a) => (Some(d), (g(d) as i32).max(g(a) as i32) as u32),
            Min(d, a) => (Some(d), (g(d) as i32).min(g(a) as i32) as u32),
            Pkhbt(d, a, b) => (Some(d), (g(a) & 0xffff) | (g(b) << 16)),
            Pkh(d, a, b) => (Some(d), (g(a) & 0xffff) | (g(b) & 0xffff_0000)),
            Pkhtb(d, a, b, n) => (Some(d), (g(a) & 0xffff_0000) | ((g(b) as i32 >> n) as u32 & 0xffff)),
            Sxtb16(d, a, k) => (Some(d), extend(0, g(a), k, |v| i32::from(v as i8))),
            Uxtb16(d, a, k) => (Some(d), extend(0, g(a), k, |v| i32::from(v as u8))),
            Sxtab16(d, a, b, k) => (Some(d), extend(g(a), g(b), k, |v| i32::from(v as i8))),
            Uxtab16(d, a, b, k) => (Some(d), extend(g(a), g(b), k, |v| i32::from(v as u8))),
            Sxtab(d, a, b, n) => (Some(d), g(a).wrapping_add((g(b) >> (8 * n)) as i8 as u32)),
            Sxtah(d, a, b, k) => (Some(d), g(a).wrapping_add(rotated(g(b), k) as i16 as u32)),
            Sadd16(d, a, b) => (Some(d), pairs(g(a), g(b), |a, b| a + b)),
            Ssub16(d, a, b) => (Some(d), pairs(g(a), g(b), |a, b| a - b)),
            Qadd16(d, a, b) => (Some(d), pairs(g(a), g(b), |a, b| clip16(a + b))),
            Qsub16(d, a, b) => (Some(d), pairs(g(a), g(b), |a, b| clip16(a - b))),
            MaxBytes(d, a, b) => {
                assert!(
                    d != a && d != b,
                    "the first half of the instruction spoils an operand of the second"
                );
                let (a, b) = (g(a).to_le_bytes(), g(b).to_le_bytes());
                let greater = std::array::from_fn(|i| (a[i] as i8).max(b[i] as i8) as u8);
                (Some(d), u32::from_le_bytes(greater))
            }
            Mul(d, a, b) => (Some(d), g(a).wrapping_mul(g(b))),
            Mla(d, a, b, c) => (Some(d), g(c).wrapping_add(g(a).wrapping_mul(g(b)))),
            Mls(d, a, b, c) => (Some(d), g(c).wrapping_sub(g(a).wrapping_mul(g(b)))),
            Smull(lo, hi, a, b) => {
                let product = i64::from(g(a) as i32) * i64::from(g(b) as i32);
                also = Some((hi, (product >> 32) as u32));
                (Some(lo), product as u32)
            }
            Smuad(d, a, b) => (Some(d), dual(g(a), g(b), 0, 1)),
            Smuadx(d, a, b) => (Some(d), dual(g(a), g(b).rotate_right(16), 0, 1)),
            Smusd(d, a, b) => (Some(d), dual(g(a), g(b), 0, -1)),
            Smlad(d, a, b, c) => (Some(d), dual(g(a), g(b), g(c), 1)),
            Smladx(d, a, b, c) => (Some(d), dual(g(a), g(b).rotate_right(16), g(c), 1)),
            Smlsd(d, a, b, c) => (Some(d), dual(g(a), g(b), g(c), -1)),
            Smulbb(d, a, b) => (Some(d), (halves(g(a)).0 * halves(g(b)).0) as u32),
            Smulbt(d, a, b) => (Some(d), (halves(g(a)).0 * halves(g(b)).1) as u32),
            Smultb(d, a, b) => (Some(d), (halves(g(a)).1 * halves(g(b)).0) as u32),
            Smultt(d, a, b) => (Some(d), (halves(g(a)).1 * halves(g(b)).1) as u32),
            Smlabb(d, a, b, c) => (Some(d), ((halves(g(a)).0 * halves(g(b)).0) as u32).wrapping_add(g(c))),
            Smlabt(d, a, b, c) => (Some(d), ((halves(g(a)).0 * halves(g(b)).1) as u32).wrapping_add(g(c))),
            Smlatb(d, a, b, c) => (Some(d), ((halves(g(a)).1 * halves(g(b)).0) as u32).wrapping_add(g(c))),
            Smlatt(d, a, b, c) => (Some(d), ((halves(g(a)).1 * halves(g(b)).1) as u32).wrapping_add(g(c))),
            Smulwb(d, a, b) => (Some(d), wide(g(a), halves(g(b)).0)),
            Smulwt(d, a, b) => (Some(d), wide(g(a), halves(g(b)).1)),
            Smlawb(d, a, b, c) => (Some(d), wide(g(a), halves(g(b)).0).wrapping_add(g(c))),
            Smlawt(d, a, b, c) => (Some(d), wide(g(a), halves(g(b)).1).wrapping_add(g(c))),
            Smmul(d, a, b) => (Some(d), high(g(a), g(b), 0, 0)),
            Smmulr(d, a, b) => (Some(d), high(g(a), g(b), 0, ROUND)),
            Smmla(d, a, b, c) => (Some(d), high(g(a), g(b), g(c), 0)),
            Smmlar(d, a, b, c) => (Some(d), high(g(a), g(b), g(c), ROUND)),
            Ssat(d, bits, a, s) => (Some(d), signed(g(a) as i32 >> s, bits) as u32),
            Usat(d, bits, a, s) => (Some(d), unsigned(g(a) as i32 >> s, bits) as u32),
            SsatLsl(d, bits, a, s) => (Some(d), signed(((g(a)) << s) as i32, bits) as u32),
            Ssat16(d, bits, a) => (Some(d), pairs(g(a), 0, |v, _| signed(v, bits))),
            Usat16(d, bits, a) => (Some(d), pairs(g(a), 0, |v, _| unsigned(v, bits))),
        };
        if let Some((reg, v)) = also {
            r[reg.0 as usize] = v;
        }
        if let Some(d) = d {
            r[d.0 as usize] = value;
        }
        pc += 1;
    }
    count
}

fn extend(add: u32, v: u32, ror: Ror, byte: impl Fn(u32) -> i32) -> u32 {
    let v = rotated(v, ror);
    let (al, ah) = halves(add);
    pack(al + byte(v), ah + byte(v >> 16))
}
