//! Words of two pixels' inputs for [`crate::armv7em::gemm_single`]: the first plus 128 in the low byte, the second
//! in the high byte.
//!
//! In: inputs of `count` pixels, and of as many others behind them or elsewhere. Out: a word for each input of a
//! pair. Law: the bits between the bytes are zero; any alignment of the inputs will do.

use crate::asm::armv7em::{Block, Cond, Inst, Reg};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// Inputs side by side of a pixel, and pixels.
    pub inputs: usize,
    pub count: usize,
    /// Inputs from one pixel to the next, and words likewise.
    pub from: usize,
    pub to: usize,
}

/// Most inputs that are spelled without a loop where words do not hold them.
const BYTES: usize = 12;
/// Words of a turn of the loop over a pixel's inputs.
const TURN: usize = 2;

impl Join {
    /// The same with pixels that lie side by side, there and here, as one.
    pub fn new(inputs: usize, count: usize, from: usize, to: usize) -> Join {
        match from == inputs && to == inputs || count == 1 {
            true => Join { inputs: inputs * count, count: 1, from: 0, to: 0 },
            false => Join { inputs, count, from, to },
        }
    }

    /// The kernel `(a, b, out)`.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("join_s8");
        let len = (self.count - 1) * self.from + self.inputs;
        let a = k.buffer("a", DType::I8, len, Access::Read);
        let b = k.buffer("b", DType::I8, len, Access::Read);
        let out = k.buffer("out", DType::I32, (self.count - 1) * self.to + self.inputs, Access::Write);
        k.for_("pixel", 0, self.count, |k, pixel| {
            k.for_("i", 0, self.inputs, |k, i| {
                let from = k.let_("from", pixel * self.from + i);
                let word = (a.at(from) + 128) + b.at(from) * (1 << 24);
                k.store(out, pixel * self.to + i, word);
            });
        });
        if self.inputs.is_multiple_of(4) || self.inputs <= BYTES {
            k.native(self.block().native("dsp", core)?);
        }
        k.finish()
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(3);
        b.streams = true;
        let [first, second, out] = [0, 1, 2].map(|n| b.args[n]);
        let flip = b.reg();
        b.push(Inst::MovImm(flip, 0x8080_8080u32 as i32));
        let pixels = (self.count > 1).then(|| {
            let (end, slot) = (b.reg(), b.slot());
            b.push(Inst::Mov(end, out));
            b.advance(end, (4 * self.count * self.to) as i32);
            b.push(Inst::StrSlot(end, slot));
            (slot, b.label(self.count as u64))
        });
        if self.inputs.is_multiple_of(4) {
            let (words, each) = (self.inputs / 4, 4 * TURN);
            let (turns, rest) = (words / TURN, words % TURN);
            if turns > 1 {
                let end = b.reg();
                b.push(Inst::Mov(end, out));
                b.advance(end, (4 * each * turns) as i32);
                let top = b.label(turns as u64);
                (0..TURN).for_each(|n| self.word(&mut b, (first, second, out), n, flip));
                self.advance(&mut b, (first, second, out), each);
                b.push(Inst::Cmp(out, end));
                b.push(Inst::BranchBack(Cond::Ne, top));
                (0..rest).for_each(|n| self.word(&mut b, (first, second, out), n, flip));
                self.back(&mut b, (first, second, out), each * turns);
            } else {
                (0..words).for_each(|n| self.word(&mut b, (first, second, out), n, flip));
                self.back(&mut b, (first, second, out), 0);
            }
        } else {
            for i in 0..self.inputs as u32 {
                let [x, z] = b.regs_n();
                b.push(Inst::Ldrsb(x, first, i));
                b.push(Inst::Ldrb(z, second, i));
                b.push(Inst::AddImm(x, x, 128));
                b.push(Inst::AddLsl(x, x, z, 24));
                b.push(Inst::Str(x, out, 4 * i));
            }
            self.back(&mut b, (first, second, out), 0);
        }
        if let Some((slot, top)) = pixels {
            let end = b.reg();
            b.push(Inst::LdrSlot(end, slot));
            b.push(Inst::Cmp(out, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        b
    }

    /// Moves on by so many inputs.
    fn advance(&self, b: &mut Block, (first, second, out): (Reg, Reg, Reg), inputs: usize) {
        b.push(Inst::AddImm(first, first, inputs as i32));
        b.push(Inst::AddImm(second, second, inputs as i32));
        b.push(Inst::AddImm(out, out, 4 * inputs as i32));
    }
    /// Moves to the next pixel from behind so many inputs of this one.
    fn back(&self, b: &mut Block, (first, second, out): (Reg, Reg, Reg), inputs: usize) {
        if self.count > 1 {
            b.advance(first, self.from as i32 - inputs as i32);
            b.advance(second, self.from as i32 - inputs as i32);
            b.advance(out, 4 * (self.to as i32 - inputs as i32));
        }
    }

    /// Four inputs of each.
    fn word(&self, b: &mut Block, (first, second, out): (Reg, Reg, Reg), n: usize, flip: Reg) {
        let [x, z] = b.regs_n();
        b.push(Inst::Ldr(x, first, 4 * n as u32));
        b.push(Inst::Ldr(z, second, 4 * n as u32));
        b.push(Inst::Eor(x, x, flip));
        for byte in 0..4u32 {
            let word = b.reg();
            b.push(Inst::Uxtb(word, x, byte));
            if byte > 0 {
                b.push(Inst::LsrImm(z, z, 8));
            }
            b.push(Inst::AddLsl(word, word, z, 24));
            b.push(Inst::Str(word, out, (16 * n) as u32 + 4 * byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run_anywhere};

    #[test]
    fn body_and_instructions_are_exact() {
        let core = secateur_targets::core("cortex-m4").unwrap();
        let mut random = Random(91);
        let sizes = [(4, 1, 0, 0), (48, 4, 48, 48), (64, 4, 64, 64), (12, 5, 20, 36), (1, 9, 1, 10)];
        let more = [(3, 6, 3, 9), (27, 4, 27, 27), (13, 4, 15, 13), (20, 3, 20, 60), (32, 6, 32, 1200)];
        for (inputs, count, from, to) in sizes.into_iter().chain(more) {
            let join = Join::new(inputs, count, from, to);
            let len = (join.count - 1) * join.from + join.inputs;
            let [a, b] = [random.bytes(len), random.bytes(len)];
            let args = vec![Bind::Operand(0), Bind::Operand(1), Bind::Result(0)];
            let call = Call { kernel: join.kernel(&core).unwrap(), args };
            let out = (join.count - 1) * join.to + join.inputs;
            let operands = [Data::I8(a.clone()), Data::I8(b.clone())];
            let Data::I32(got) = run_anywhere(&call, &operands, DType::I32, out) else { panic!() };
            for (pixel, i) in (0..count).flat_map(|p| (0..inputs).map(move |i| (p, i))) {
                let at = pixel * from + i;
                let want = i32::from_le_bytes([(i16::from(a[at]) + 128) as u8, 0, 0, b[at] as u8]);
                assert_eq!(got[pixel * to + i], want, "{join:?} pixel {pixel} input {i}");
            }
        }
    }
}
