//! Columns of inputs for [`super::gemm`]: two pixels' inputs become the two halves of words.
//!
//! Law: a word is `a + b * 2^16` of the first and the second pixel's input, both signed, so
//! that one multiplication gives both products. Any alignment of the inputs will do.

use super::{Code, Cond, Inst, R0, R1, R2, R3, R4, R5, R6};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// The kernel `(a, b, out)`: `n` inputs of two pixels into words that stand `pitch` words apart.
pub(crate) fn kernel(n: usize, pitch: usize, core: &Cost) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("gather_s8");
    let a = k.buffer("a", DType::I8, n, Access::Read);
    let b = k.buffer("b", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I32, (n - 1) * pitch + 1, Access::Write);
    k.for_("i", 0, n, |k, i| k.store(out, i * pitch, a.at(i) + b.at(i) * 65536));
    k.native(code(n, pitch).finish(core)?);
    k.finish()
}

/// Inputs per turn of the loop.
const ROUND: usize = 4;

pub(crate) fn code(n: usize, pitch: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    let step = 4 * pitch as u32;
    let (turns, rest) = if n < 2 * ROUND { (0, n) } else { (n / ROUND, n % ROUND) };
    c.push(Inst::MovImm(R3, 0));
    let round = |c: &mut Code, inputs: usize| {
        for j in 0..inputs as u32 {
            c.all([Inst::Ldrsb(R4, R0, R3), Inst::Ldrsb(R5, R1, R3), Inst::Lsl(R5, R5, 16)]);
            c.all([Inst::Add(R4, R4, R5), Inst::Str(R4, R2, step * (j % ROUND as u32)), Inst::AddImm(R3, 1)]);
            if j % ROUND as u32 == ROUND as u32 - 1 {
                c.advance(R2, step * ROUND as u32, R4);
            }
        }
    };
    if turns > 0 {
        c.constant(R6, (turns * ROUND) as u32);
        let top = c.here();
        c.times(turns as f64, |c| {
            round(c, ROUND);
            c.all([Inst::Cmp(R3, R6), Inst::BranchIf(Cond::Ne, top)]);
        });
    }
    round(&mut c, rest);
    c
}
