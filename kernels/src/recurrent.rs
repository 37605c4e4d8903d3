//! What a recurrent layer does to its units at each step, in integers.
//!
//! Sums of products stand in sixteen bits with [`Units::fraction`] bits behind the point, the state in Q15, an
//! LSTM's cell with [`Units::cell_bits`] bits behind the point. What the next products read is the state rounded to
//! eight bits. One table of tanh serves all functions: sigmoid(x) is (1 + tanh(x / 2)) / 2.
//!
//! Law: every step fits 32 bits, and the kernels here are the meaning of what native ones compute.

use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Native, Val, int};
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// Elements of the table: tanh over -8..8 in steps of a sixteenth, each entry with the difference to the next.
pub const TABLE: usize = 4 * HALF;
/// Entries on each side of zero.
const HALF: usize = 128;
/// Bits that stay of a sum's fraction where it chooses the entry.
pub const ENTRY_BITS: u32 = 4;
/// Fractions that the sums may have.
pub const FRACTIONS: std::ops::RangeInclusive<u32> = 5..=15;

/// The table, in Q15.
pub fn table() -> Data {
    let entry = |i: usize| {
        let x = (i as f64 - HALF as f64) / 16.0;
        libm::rint(32768.0 * libm::tanh(x)).clamp(-32767.0, 32767.0) as i16
    };
    Data::I16((0..2 * HALF).flat_map(|i| [entry(i), entry(i + 1) - entry(i)]).collect())
}

/// What is computed of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// With the reset gate behind the product with the state.
    GruAfter,
    /// The reset gate alone: the state times it, for the product that follows.
    GruReset,
    /// All but the reset gate.
    GruBefore,
    Lstm {
        coupled: bool,
        peepholes: bool,
    },
    Rnn,
}

/// The units of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Units {
    pub unit: Unit,
    pub hidden: usize,
    /// Bits behind the point of sums, within [`FRACTIONS`].
    pub fraction: u32,
    /// Bits that products do not read of the state, 1 to 8: it keeps those above while it stays small.
    pub narrow: u32,
    /// Bits behind the point of an LSTM's cell, at most 15.
    pub cell_bits: u32,
    /// Bits behind the point of peepholes.
    pub peephole_bits: u32,
    /// The greatest absolute sum that a function is given, in its steps.
    pub clip: Option<i32>,
}

/// Buffers of the kernel.
struct Buffers {
    /// Sums with inputs and with the state, gates one behind the other.
    gx: Buf,
    gh: Buf,
    table: Buf,
    /// The state, and what of it products read.
    h: Buf,
    h8: Buf,
    /// An LSTM's cell.
    cell: Option<Buf>,
    peepholes: Option<Buf>,
}

impl Units {
    fn name(&self) -> &'static str {
        match self.unit {
            Unit::GruAfter => "gru_units_s16",
            Unit::GruReset => "gru_reset_s16",
            Unit::GruBefore => "gru_update_s16",
            Unit::Lstm { .. } => "lstm_units_s16",
            Unit::Rnn => "rnn_units_s16",
        }
    }
    /// Rows of sums.
    pub fn rows(&self) -> usize {
        self.hidden
            * match self.unit {
                Unit::GruAfter | Unit::GruReset | Unit::GruBefore => 3,
                Unit::Lstm { .. } => 4,
                Unit::Rnn => 1,
            }
    }
    /// Whether it has a cell beside the state.
    pub fn has_cell(&self) -> bool {
        matches!(self.unit, Unit::Lstm { .. })
    }
    pub fn has_peepholes(&self) -> bool {
        matches!(self.unit, Unit::Lstm { peepholes: true, .. })
    }

    /// The kernel `(gx, gh, table, h, h8, cell, peepholes)`, the last two where there are any, with a core's own form
    /// if it has one.
    pub fn kernel(&self, native: Option<Native>) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new(self.name());
        let (rows, hidden) = (self.rows(), self.hidden);
        let reads = if self.unit == Unit::GruReset { Access::Read } else { Access::ReadWrite };
        let b = Buffers {
            gx: k.buffer("gx", DType::I16, rows, Access::Read),
            gh: k.buffer("gh", DType::I16, rows, Access::Read),
            table: k.buffer("table", DType::I16, TABLE, Access::Read),
            h: k.buffer("h", DType::I16, hidden, reads),
            h8: k.buffer("h8", DType::I8, hidden, Access::Write),
            cell: self.has_cell().then(|| k.buffer("cell", DType::I16, hidden, Access::ReadWrite)),
            peepholes: self
                .has_peepholes()
                .then(|| k.buffer("peepholes", DType::I16, 3 * hidden, Access::Read)),
        };
        k.for_("u", 0, hidden, |k, u| self.unit(k, &b, u));
        if let Some(native) = native {
            k.native(native);
        }
        k.finish()
    }

    fn unit(&self, k: &mut KernelBuilder, b: &Buffers, u: Val) {
        let gx = |gate: usize| b.gx.at(u + gate * self.hidden);
        let gh = |gate: usize| b.gh.at(u + gate * self.hidden);
        let sum = |gate: usize| gx(gate) + gh(gate);
        let next: Expr = match (self.unit, b.cell) {
            (Unit::GruReset, _) => {
                let r = self.sigmoid(k, b, sum(1));
                let reset = k.let_("reset", r * b.h.at(u));
                k.store(b.h8, u, narrowed(rounded(reset.into(), 15), self.narrow));
                return;
            }
            (Unit::GruAfter | Unit::GruBefore, _) => {
                let new = if self.unit == Unit::GruAfter {
                    let r = self.sigmoid(k, b, sum(1));
                    let reset = k.let_("reset", r * gh(2));
                    gx(2) + rounded(reset.into(), 15)
                } else {
                    sum(2)
                };
                let new = self.tanh(k, b, new);
                let z = self.sigmoid(k, b, sum(0));
                let turn = k.let_("turn", z * (b.h.at(u) - new));
                new + rounded(turn.into(), 15)
            }
            (Unit::Lstm { coupled, .. }, Some(cell)) => {
                let hole = |gate: usize, sum: Expr, c: Val| match b.peepholes {
                    Some(p) => {
                        let shift = self.peephole_bits + self.cell_bits - self.fraction;
                        sum + rounded(p.at(u + gate * self.hidden) * c, shift)
                    }
                    None => sum,
                };
                let before = k.let_("before", cell.at(u));
                let i = self.sigmoid(k, b, hole(0, sum(0), before));
                let f = match coupled {
                    true => k.let_("f", int(32767) - i),
                    false => self.sigmoid(k, b, hole(2, sum(2), before)),
                };
                let new = self.tanh(k, b, sum(3));
                let kept = k.let_("kept", f * before);
                let added = k.let_("added", (i * new) >> (15 - self.cell_bits) as i32);
                let c = rounded(kept + added, 15).clamp(-32768, 32767);
                let c = k.let_("c", c);
                k.store(cell, u, c);
                let o = self.sigmoid(k, b, hole(1, sum(1), c));
                let out = self.function(k, b, c.into(), self.cell_bits);
                let out = k.let_("out", o * out);
                rounded(out.into(), 15)
            }
            _ => {
                let new = self.tanh(k, b, sum(0));
                new.into()
            }
        };
        let h = k.let_("next", next.clamp(-32768, 32767));
        k.store(b.h, u, h);
        k.store(b.h8, u, narrowed(h.into(), self.narrow));
    }

    fn clipped(&self, x: Expr) -> Expr {
        self.clip.map_or(x.clone(), |clip| x.clamp(-clip, clip))
    }
    /// tanh of a sum, in Q15.
    fn tanh(&self, k: &mut KernelBuilder, b: &Buffers, sum: Expr) -> Val {
        self.function(k, b, self.clipped(sum), self.fraction)
    }
    /// The sigmoid of a sum, in Q15.
    fn sigmoid(&self, k: &mut KernelBuilder, b: &Buffers, sum: Expr) -> Val {
        // Half of the sum is the sum with one more bit behind the point.
        let y = self.function(k, b, self.clipped(sum), self.fraction + 1);
        k.let_("sigmoid", (y >> 1) + 16384)
    }
    /// tanh of a number with `bits` bits behind the point, in Q15, between two entries of the table.
    fn function(&self, k: &mut KernelBuilder, b: &Buffers, x: Expr, bits: u32) -> Val {
        let shift = (bits - ENTRY_BITS) as i32;
        let x = k.let_("x", x.clamp(-(8i32 << bits), (8i32 << bits) - 1));
        let entry = k.let_("entry", ((x >> shift) + HALF as i32) * 2);
        let part = k.let_("part", x & ((1 << shift) - 1));
        let step = k.let_("step", (b.table.at(entry + 1) * part) >> shift);
        // An entry and less than the way to the next: the limits are those of the type.
        k.let_("y", (b.table.at(entry) + step).clamp(-32768, 32767))
    }
}

/// `x / 2^shift`, to the nearest, half up.
fn rounded(x: Expr, shift: u32) -> Expr {
    match shift {
        0 => x,
        shift => (x + (1i32 << (shift - 1))) >> shift as i32,
    }
}

/// A state in Q15 as eight bits, without so many of the lower ones.
pub fn narrowed(h: Expr, bits: u32) -> Expr {
    rounded(h, bits).clamp(-128, 127)
}

#[cfg(test)]
mod tests;
