//! Runs Thumb-1 code on a model of the core, from the Armv6-M Architecture Reference Manual
//! (Arm DDI 0419E, chapter A6.7). The tests' host-side emulator: unaligned accesses and those
//! outside the buffers panic, as do callee-saved registers that do not come back.

use crate::asm::armv6m::{Code, Cond, Inst, R};
use crate::asm::simulate::{Memory, simulation};
use crate::kernel::Simulation;

/// Where the stack ends, and its size.
const STACK: (u32, usize) = (0x2000_0000, 4096);

/// What a run of a function took.
pub(crate) struct Ran {
    /// Bytes of stack.
    pub(crate) stack: u32,
}

/// A simulation of code that takes so many bytes of stack at most.
pub(crate) fn of(code: Code, stack: u32) -> Simulation {
    simulation(move |args, memory| {
        let ran = run(&code, args, memory);
        assert!(ran.stack <= stack, "{} bytes of stack, {stack} announced", ran.stack);
    })
}

/// Runs with the arguments in r0..r3 and on the stack.
pub(crate) fn run(code: &Code, args: &[u32], memory: &mut Memory) -> Ran {
    let insts = code.insts();
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
    let entry = r;
    let place = |l| insts.iter().position(|i| *i == Inst::Label(l)).unwrap();
    let (mut pc, mut count, mut lowest) = (0, 0u64, r[13]);
    // Zero and carry.
    let (mut z, mut c) = (false, false);
    while let Some(inst) = insts.get(pc) {
        pc += 1;
        count += 1;
        assert!(count < 100_000_000, "runs away");
        let g = |reg: &R| r[reg.0 as usize];
        let listed = |m: u16| (0..15usize).filter(move |i| m >> i & 1 == 1);
        use Inst::*;
        match inst {
            Label(_) => {}
            Branch(l) => pc = place(*l),
            BranchIf(cond, l) => {
                let taken = match cond {
                    Cond::Eq => z,
                    Cond::Ne => !z,
                    Cond::Cs => c,
                    Cond::Cc => !c,
                    Cond::Ls => !c || z,
                };
                if taken {
                    pc = place(*l);
                }
            }
            Ldm(b, m) | LdmAny(b, m) => {
                let mut at = g(b);
                for i in listed(*m) {
                    r[i] = memory.aligned(at);
                    at += 4;
                }
                if m >> b.0 & 1 == 0 {
                    r[b.0 as usize] = at;
                }
            }
            Stm(b, m) | StmAny(b, m) => {
                let mut at = g(b);
                for i in listed(*m) {
                    memory.put_aligned(at, r[i]);
                    at += 4;
                }
                r[b.0 as usize] = at;
            }
            LoadNext(d, b) => {
                r[d.0 as usize] = memory.aligned(g(b));
                r[b.0 as usize] += 4;
            }
            LslAny(d, n) => {
                c = g(d) >> (32 - n) & 1 == 1;
                r[d.0 as usize] = g(d) << n;
                z = r[d.0 as usize] == 0;
            }
            Push(m) | PushAny(m) => {
                r[13] -= 4 * m.count_ones();
                lowest = lowest.min(r[13]);
                let mut at = r[13];
                for i in listed(*m) {
                    memory.put_aligned(at, r[i]);
                    at += 4;
                }
            }
            Pop(m) => {
                for i in listed(*m) {
                    r[i] = memory.aligned(r[13]);
                    r[13] += 4;
                }
            }
            Ldr(d, b, o) | LdrWide(d, b, o) => r[d.0 as usize] = memory.aligned(g(b) + o),
            Str(s, b, o) | StrWide(s, b, o) => memory.put_aligned(g(b) + o, g(s)),
            Strb(s, b, o) => memory.at(g(b) + o, 1)[0] = g(s) as u8,
            Ldrsb(d, a, b) => r[d.0 as usize] = memory.at(g(a).wrapping_add(g(b)), 1)[0] as i8 as u32,
            StrbAt(s, a, b) => memory.at(g(a).wrapping_add(g(b)), 1)[0] = g(s) as u8,
            AddSp(d, o) => r[d.0 as usize] = r[13] + o,
            SubFrame(o) => {
                r[13] -= o;
                lowest = lowest.min(r[13]);
            }
            AddFrame(o) => r[13] += o,
            Mov(d, a) => r[d.0 as usize] = g(a),
            AddAny(d, a) => r[d.0 as usize] = g(d).wrapping_add(g(a)),
            Cmp(a, b) => (z, c) = (g(a) == g(b), g(a) >= g(b)),
            CmpImm(a, v) => (z, c) = (g(a) == *v, g(a) >= *v),
            Ssat(d, bits, a, n) => {
                let top = 1i64 << (bits - 1);
                r[d.0 as usize] = i64::from(g(a) as i32 >> n).clamp(-top, top - 1) as u32;
            }
            MulAny(d, a, b) => r[d.0 as usize] = g(a).wrapping_mul(g(b)),
            Mla(d, a, b, add) => r[d.0 as usize] = g(a).wrapping_mul(g(b)).wrapping_add(g(add)),
            LdrsbNext(d, b) => {
                r[d.0 as usize] = memory.at(g(b), 1)[0] as i8 as u32;
                r[b.0 as usize] += 1;
            }
            AddWide(d, v) => r[d.0 as usize] = g(d).wrapping_add(*v),
            AsrAny(d, n) => {
                c = g(d) >> (n - 1) & 1 == 1;
                r[d.0 as usize] = (g(d) as i32 >> n) as u32;
                z = r[d.0 as usize] == 0;
            }
            AdcAny(d, a) => r[d.0 as usize] = g(d).wrapping_add(g(a)).wrapping_add(c.into()),
            SubLsl(d, a, n) => r[d.0 as usize] = g(d).wrapping_sub(g(a) << n),
            Smull(lo, hi, a, b) => {
                let product = i64::from(g(a) as i32) * i64::from(g(b) as i32);
                r[lo.0 as usize] = product as u32;
                r[hi.0 as usize] = (product >> 32) as u32;
            }
            // The others set the flags by their result.
            MovImm(d, _)
            | AddImm(d, _)
            | SubImm(d, _)
            | Add(d, ..)
            | Sub(d, ..)
            | Adc(d, _)
            | Mul(d, _)
            | And(d, _)
            | Bic(d, _)
            | Mvn(d, _)
            | Lsl(d, ..)
            | Lsr(d, ..)
            | Asr(d, ..) => {
                let sum = |a: u32, b: u32, carry: bool| {
                    let wide = u64::from(a) + u64::from(b) + u64::from(carry);
                    (wide as u32, wide >> 32 != 0)
                };
                let (value, carry) = match inst {
                    MovImm(_, v) => (*v, c),
                    AddImm(d, v) => sum(g(d), *v, false),
                    SubImm(d, v) => sum(g(d), !*v, true),
                    Add(_, a, b) => sum(g(a), g(b), false),
                    Sub(_, a, b) => sum(g(a), !g(b), true),
                    Adc(d, a) => sum(g(d), g(a), c),
                    Mul(d, a) => (g(d).wrapping_mul(g(a)), c),
                    And(d, a) => (g(d) & g(a), c),
                    Bic(d, a) => (g(d) & !g(a), c),
                    Mvn(_, a) => (!g(a), c),
                    Lsl(_, a, 0) => (g(a), c),
                    Lsl(_, a, n) => (g(a) << n, g(a) >> (32 - n) & 1 == 1),
                    Lsr(_, a, n) => ((u64::from(g(a)) >> n) as u32, g(a) >> (n - 1) & 1 == 1),
                    Asr(_, a, n) => ((i64::from(g(a) as i32) >> n) as u32, g(a) >> (n - 1) & 1 == 1),
                    _ => unreachable!(),
                };
                r[d.0 as usize] = value;
                (z, c) = (value == 0, carry);
            }
            Sxtb(d, a) => r[d.0 as usize] = g(a) as i8 as u32,
            Sxth(d, a) => r[d.0 as usize] = i32::from(g(a) as i16) as u32,
        }
    }
    memory.regions.pop();
    assert_eq!(r[4..12], entry[4..12], "kept registers");
    assert_eq!(r[13], entry[13], "stack pointer");
    assert_eq!(r[14], entry[14], "return address");
    Ran { stack: entry[13] - lowest }
}
