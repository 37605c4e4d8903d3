//! Runs: the innermost loops of operators without weights, over elements that lie side by side.
//!
//! In: what is done to `n` elements. Out: a small kernel whose body says it, with the native
//! texts that the engine of the core has for it; `None` where it has none, and the operator
//! keeps its loops in one piece.
//!
//! Law: a native reads and writes the elements in ascending order, each result after the
//! operands of its place, so that a result may lie over an operand. Any alignment will do.

use super::native;
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder, instr};
use crate::quantize::requant::requantize_high_instr;
use crate::tensor::DType;
use secateur_targets::Target;
use std::sync::Arc;

/// Elements below which a call does not pay.
pub(crate) const RUN_LEAST: usize = 4;
/// Greatest coefficient of [`Run::Sum`].
pub(crate) const SUM_MOST: i32 = 1 << 20;

/// What is done to `n >= 1` int8 elements; the parameters of the kernel in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// `(a, b, y, ma, mb, c)`: `clamp((a * ma + b * mb + c) >> shift, lo, hi)`, no sum beyond 31
    /// bits. Coefficients are within [`SUM_MOST`], `shift` within 12..=30.
    Sum { n: usize, shift: u32, lo: i32, hi: i32 },
    /// `(a, b, y, za, zb, m, rnd)`: `(a - za) * (b - zb)`, requantized by the high word and `sh`.
    Product { n: usize, sh: u32, lo: i32, hi: i32 },
    /// `(x, y, offset, m, rnd)`: by column the sum of `offset` and `rows` elements, `pitch`
    /// apart, requantized by the high word and `sh`. With `even`, the sum is first made one less
    /// where its quotient by `1 << even` is even, so that ties go to the even neighbour.
    Mean { n: usize, rows: usize, pitch: usize, sh: u32, lo: i32, hi: i32, even: Option<u32> },
    /// `(x, y)`: as they are.
    Copy { n: usize },
    /// `(x, table, y)`: by a table of 256 bytes from -128 on.
    Table { n: usize },
}

impl Run {
    /// The kernel, where the target's core has a native form of it.
    pub(crate) fn kernel(&self, target: &Target) -> Result<Option<Arc<Kernel>>> {
        let Some(engine) = native::engine(target) else { return Ok(None) };
        let natives = engine.run(self, target)?;
        if natives.is_empty() {
            return Ok(None);
        }
        let mut k = self.body();
        natives.into_iter().for_each(|n| k.native(n));
        k.finish().map(Some)
    }

    /// The meaning.
    pub(crate) fn body(&self) -> KernelBuilder {
        match *self {
            Run::Sum { n, shift, lo, hi } => {
                let mut k = KernelBuilder::new("sum_s8");
                let a = k.buffer("a", DType::I8, n, Access::Read);
                let b = k.buffer("b", DType::I8, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                let ma = k.scalar("ma", 0, SUM_MOST);
                let mb = k.scalar("mb", -SUM_MOST, SUM_MOST);
                let c = k.scalar("c", -(5 << 28), 5 << 28);
                k.for_("i", 0, n, |k, i| {
                    let acc = a.at(i) * ma + b.at(i) * mb + c;
                    k.store(y, i, (acc >> shift as i32).clamp(lo, hi));
                });
                k
            }
            Run::Product { n, sh, lo, hi } => {
                let mut k = KernelBuilder::new("product_s8");
                let a = k.buffer("a", DType::I8, n, Access::Read);
                let b = k.buffer("b", DType::I8, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                let (za, zb) = (k.scalar("za", -128, 127), k.scalar("zb", -128, 127));
                let m = k.scalar("m", 1, i32::MAX);
                let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
                k.for_("i", 0, n, |k, i| {
                    let acc = (a.at(i) - za) * (b.at(i) - zb);
                    let out = [acc, m.into(), rnd.into(), (sh as i32).into(), lo.into(), hi.into()];
                    k.store(y, i, instr(&requantize_high_instr(), out.into()));
                });
                k
            }
            Run::Mean { n, rows, pitch, sh, lo, hi, even } => {
                let mut k = KernelBuilder::new("mean_s8");
                let x = k.buffer("x", DType::I8, (rows - 1) * pitch + n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                let offset = k.scalar("offset", -(128 << 22), 128 << 22);
                let m = k.scalar("m", 1, i32::MAX);
                let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
                k.for_("i", 0, n, |k, i| {
                    let sum = k.var("sum", offset);
                    k.for_("r", 0, rows, |k, r| k.add_to(sum, x.at(r * pitch + i)));
                    if let Some(by) = even {
                        k.set(sum, sum - 1 + ((sum >> by as i32) & 1));
                    }
                    let out = [sum.into(), m.into(), rnd.into(), (sh as i32).into(), lo.into(), hi.into()];
                    k.store(y, i, instr(&requantize_high_instr(), out.into()));
                });
                k
            }
            Run::Copy { n } => {
                let mut k = KernelBuilder::new("copy_run_s8");
                let x = k.buffer("x", DType::I8, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                k.for_("i", 0, n, |k, i| k.store(y, i, x.at(i)));
                k
            }
            Run::Table { n } => {
                let mut k = KernelBuilder::new("table_run_s8");
                let x = k.buffer("x", DType::I8, n, Access::Read);
                let table = k.buffer("table", DType::I8, 256, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                k.for_("i", 0, n, |k, i| k.store(y, i, table.at(x.at(i) + 128)));
                k
            }
        }
    }
}
