//! One channel's inputs as a plane of words, for [`crate::armv6m::depthwise`].
//!
//! Columns are parted by their phase: column `i` of the padded row stands at word
//! `i % stride * half + i / stride`, so that what neighbouring outputs read lies side by side.
//!
//! Law: only the words of inputs are written; padding is there already. Any alignment of the
//! inputs will do.

use crate::asm::armv6m::{Code, Cond, Inst, LR, R0, R1, R2, R3, R4, R5, R6, R7, R12, mask};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// The kernel `(plane, zx)`: `n` words of padding.
pub fn fill(n: usize, core: &Cost) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("fill_s32");
    let plane = k.buffer("plane", DType::I32, n, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_("i", 0, n, |k, i| k.store(plane, i, zx));
    k.native(fill_code(n).finish(core)?);
    k.finish()
}

pub fn fill_code(n: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    let words = [R1, R2, R3, R4];
    words[1..].iter().for_each(|&r| c.push(Inst::Mov(r, R1)));
    if !n.is_multiple_of(4) {
        c.push(Inst::Stm(R0, mask(&words[..n % 4])));
    }
    if n >= 4 {
        c.constant(R5, (n / 4) as u32);
        let top = c.here();
        c.times((n / 4) as f64, |c| {
            c.all([Inst::Stm(R0, mask(&words)), Inst::SubImm(R5, 1), Inst::BranchIf(Cond::Ne, top)]);
        });
    }
    c
}

/// Sizes of a plane and of the inputs that one call copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    /// 1 or 2.
    pub stride: usize,
    /// Words of one phase of a row.
    pub half: usize,
    /// Inputs of a row that are copied, and the column of the first.
    pub columns: usize,
    pub left: usize,
    pub rows: usize,
    /// Bytes from one pixel to the next and from one row of inputs to the next.
    pub pixel: usize,
    pub row: usize,
}

impl Plane {
    /// Words of a row.
    pub fn pitch(&self) -> usize {
        self.stride * self.half
    }
    /// Where padded column `i` stands in its row.
    pub fn at(&self, i: usize) -> usize {
        i % self.stride * self.half + i / self.stride
    }
    pub fn fits(&self) -> bool {
        (1..=2).contains(&self.stride) && self.pixel <= 510 && self.row >= self.columns * self.pixel
    }

    /// The kernel `(x, plane)`, from the first input's byte and the first row's word on.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("plane_s8");
        let x_len = (self.rows - 1) * self.row + (self.columns - 1) * self.pixel + 1;
        let x = k.buffer("x", DType::I8, x_len, Access::Read);
        let plane = k.buffer("plane", DType::I32, self.rows * self.pitch(), Access::Write);
        k.for_("r", 0, self.rows, |k, r| {
            for phase in 0..self.stride {
                // The inputs whose column has this phase.
                let first = (phase + self.stride - self.left % self.stride) % self.stride;
                let n = self.columns.saturating_sub(first).div_ceil(self.stride);
                k.for_("i", 0, n, |k, i| {
                    let from = r * self.row + i * (self.stride * self.pixel) + first * self.pixel;
                    k.store(plane, r * self.pitch() + self.at(self.left + first) + i, x.at(from));
                });
            }
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r0 points to inputs, r1 and r2 to the words of even and of odd inputs, r3 is zero, r4-r7 are
    /// loaded; r12 and lr hold the ends of a row and of all.
    pub fn code(&self) -> Code {
        let mut c = Code::new(0, 0, false);
        let (four, rest) = (self.columns / 4, self.columns % 4);
        let looped = four > 2;
        c.constant(R4, (self.rows * self.row) as u32);
        c.all([Inst::Add(R4, R4, R0), Inst::Mov(LR, R4)]);
        // The second pointer of stride 2: where the second input goes.
        let (one, two) = (4 * self.at(self.left) as u32, 4 * self.at(self.left + 1) as u32);
        if self.stride == 2 {
            c.push(Inst::Mov(R2, R1));
            c.advance(R2, two, R4);
        }
        c.advance(R1, one, R4);
        c.push(Inst::MovImm(R3, 0));
        let row = c.here();
        let loaded = [R4, R5, R6, R7];
        c.times(self.rows as f64, |c| {
            let group = |c: &mut Code, n: usize| {
                for &r in &loaded[..n] {
                    c.push(Inst::Ldrsb(r, R0, R3));
                    c.push(Inst::AddImm(R0, self.pixel.min(255) as u32));
                    if self.pixel > 255 {
                        c.push(Inst::AddImm(R0, self.pixel as u32 - 255));
                    }
                }
                if self.stride == 1 {
                    c.push(Inst::Stm(R1, mask(&loaded[..n])));
                    return;
                }
                let every = |from: usize| -> u16 {
                    loaded[..n].iter().skip(from).step_by(2).fold(0, |m, r| m | mask(&[*r]))
                };
                c.push(Inst::Stm(R1, every(0)));
                if n > 1 {
                    c.push(Inst::Stm(R2, every(1)));
                }
            };
            if looped {
                c.constant(R4, (4 * four * self.pixel) as u32);
                c.all([Inst::Add(R4, R4, R0), Inst::Mov(R12, R4)]);
                let top = c.here();
                c.times(four as f64, |c| {
                    group(c, 4);
                    c.all([Inst::Cmp(R0, R12), Inst::BranchIf(Cond::Ne, top)]);
                });
            } else {
                (0..four).for_each(|_| group(c, 4));
            }
            if rest > 0 {
                group(c, rest);
            }
            // On to the next row: what the pointers have moved on is taken off.
            c.advance(R0, (self.row - self.columns * self.pixel) as u32, R4);
            let moved = |parity: usize| (self.columns + 1 - parity) / self.stride.max(1);
            let (first, second) = if self.stride == 1 { (self.columns, 0) } else { (moved(0), moved(1)) };
            c.advance(R1, 4 * (self.pitch() - first) as u32, R4);
            if self.stride == 2 {
                c.advance(R2, 4 * (self.pitch() - second) as u32, R4);
            }
            c.all([Inst::Cmp(R0, LR), Inst::BranchIf(Cond::Ne, row)]);
        });
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::run;

    #[test]
    fn all_words_are_filled() {
        let core = secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap();
        for n in [1, 3, 4, 7, 63, 1300] {
            let args = vec![Bind::Result(0), Bind::Scalar(-100)];
            let call = Call { kernel: fill(n, &core).unwrap(), args };
            assert_eq!(run(&call, &[], DType::I32, n), Data::I32(vec![-100; n]), "{n}");
        }
    }
}
