//! The units of a recurrent layer for cores with `smlad`.
//!
//! In: [`Units`]. Out: the instructions, or `None` where their sizes do not fit them. One function of the table
//! takes eight cycles on Cortex-M4: saturate, index, load, fraction, product, extend, add.

use crate::armv7em::elementwise::turns;
use crate::asm::armv7em::{Block, Inst, Reg};
use crate::recurrent::{ENTRY_BITS, Unit, Units};

/// Units of a turn.
const TURN: usize = 2;
/// 2^14: half of a Q15 one, and half of what a product of two Q15 is shifted by.
const HALF: i32 = 1 << 14;

/// Registers that stay.
struct Kept {
    gx: Reg,
    gh: Reg,
    /// The middle of the table.
    table: Reg,
    h: Reg,
    h8: Reg,
    cell: Option<Reg>,
    half: Reg,
}

/// The instructions.
pub fn block(units: &Units) -> Option<Block> {
    let far = 2 * (units.rows() + TURN) > 4095;
    if far || units.clip.is_some() || units.has_peepholes() || units.hidden == 0 {
        return None;
    }
    let mut b = Block::new(4);
    b.streams = true;
    let [gx, gh, table, h] = [b.args[0], b.args[1], b.args[2], b.args[3]];
    let [h8, half] = b.regs_n();
    b.push(Inst::LdrArg(h8, 4));
    let cell = units.has_cell().then(|| b.reg());
    if let Some(cell) = cell {
        b.push(Inst::LdrArg(cell, 5));
    }
    b.push(Inst::MovImm(half, HALF));
    b.push(Inst::AddImm(table, table, 512));
    let kept = Kept { gx, gh, table, h, h8, cell, half };
    turns(&mut b, gx, 2 * TURN, units.hidden / TURN, &|b| several(b, units, &kept, TURN));
    if !units.hidden.is_multiple_of(TURN) {
        several(&mut b, units, &kept, units.hidden % TURN);
    }
    Some(b)
}

/// Some units, and on to the next.
fn several(b: &mut Block, units: &Units, kept: &Kept, count: usize) {
    for n in 0..count {
        unit(b, units, kept, n);
    }
    for halves in [kept.gx, kept.gh, kept.h].into_iter().chain(kept.cell) {
        b.advance(halves, 2 * count as i32);
    }
    b.advance(kept.h8, count as i32);
}

/// The sum of a gate.
fn sum(b: &mut Block, units: &Units, kept: &Kept, gate: usize, n: usize) -> Reg {
    let at = (2 * (gate * units.hidden + n)) as u32;
    let [x, h] = b.regs_n();
    b.push(Inst::Ldrsh(x, kept.gx, at));
    b.push(Inst::Ldrsh(h, kept.gh, at));
    b.push(Inst::Add(x, x, h));
    x
}

/// tanh of `x`, which has so many bits behind the point; `x` is overwritten.
fn tanh(b: &mut Block, kept: &Kept, x: Reg, bits: u32) -> Reg {
    let shift = bits - ENTRY_BITS;
    b.push(Inst::Ssat(x, bits + 4, x, 0));
    let (entry, y) = (b.reg(), b.reg());
    if shift == 0 {
        b.push(Inst::LdrAt(entry, kept.table, x, 2));
        b.push(Inst::Sxth(y, entry));
        return y;
    }
    b.push(Inst::AsrImm(entry, x, shift));
    b.push(Inst::LdrAt(entry, kept.table, entry, 2));
    b.push(Inst::Ubfx(x, x, 0, shift));
    b.push(Inst::Smultb(x, entry, x));
    b.push(Inst::Sxth(entry, entry));
    b.push(Inst::AddAsr(y, entry, x, shift));
    y
}

/// The sigmoid of a sum, which is overwritten.
fn sigmoid(b: &mut Block, units: &Units, kept: &Kept, x: Reg) -> Reg {
    let y = tanh(b, kept, x, units.fraction + 1);
    b.push(Inst::AddAsr(y, kept.half, y, 1));
    y
}

fn unit(b: &mut Block, units: &Units, kept: &Kept, n: usize) {
    let at = 2 * n as u32;
    let half = kept.half;
    let next = match (units.unit, kept.cell) {
        (Unit::GruReset, _) => {
            let r = sum(b, units, kept, 1, n);
            let r = sigmoid(b, units, kept, r);
            let h = b.reg();
            b.push(Inst::Ldrsh(h, kept.h, at));
            b.push(Inst::Smlabb(r, r, h, half));
            b.push(Inst::AsrImm(r, r, 15));
            return narrow(b, units, kept, r, n);
        }
        (Unit::GruAfter | Unit::GruBefore, _) => {
            let new = if units.unit == Unit::GruAfter {
                let r = sum(b, units, kept, 1, n);
                let r = sigmoid(b, units, kept, r);
                let last = (2 * (2 * units.hidden + n)) as u32;
                let [x, h] = b.regs_n();
                b.push(Inst::Ldrsh(h, kept.gh, last));
                b.push(Inst::Smlabb(r, r, h, half));
                b.push(Inst::Ldrsh(x, kept.gx, last));
                b.push(Inst::AddAsr(x, x, r, 15));
                x
            } else {
                sum(b, units, kept, 2, n)
            };
            let new = tanh(b, kept, new, units.fraction);
            let z = sum(b, units, kept, 0, n);
            let z = sigmoid(b, units, kept, z);
            let h = b.reg();
            b.push(Inst::Ldrsh(h, kept.h, at));
            b.push(Inst::Sub(h, h, new));
            b.push(Inst::Mla(h, z, h, half));
            b.push(Inst::AddAsr(new, new, h, 15));
            new
        }
        (Unit::Lstm { coupled, .. }, Some(cell)) => {
            let i = sum(b, units, kept, 0, n);
            let i = sigmoid(b, units, kept, i);
            let f = if coupled {
                let f = b.reg();
                b.push(Inst::LslImm(f, half, 1));
                b.push(Inst::AddImm(f, f, -1));
                b.push(Inst::Sub(f, f, i));
                f
            } else {
                let f = sum(b, units, kept, 2, n);
                sigmoid(b, units, kept, f)
            };
            let new = sum(b, units, kept, 3, n);
            let new = tanh(b, kept, new, units.fraction);
            b.push(Inst::Smulbb(i, i, new));
            let c = b.reg();
            b.push(Inst::Ldrsh(c, cell, at));
            b.push(Inst::Smlabb(c, f, c, half));
            match 15 - units.cell_bits {
                0 => b.push(Inst::Add(c, c, i)),
                shift => b.push(Inst::AddAsr(c, c, i, shift)),
            }
            b.push(Inst::Ssat(c, 16, c, 15));
            b.push(Inst::Strh(c, cell, at));
            let o = sum(b, units, kept, 1, n);
            let o = sigmoid(b, units, kept, o);
            let out = tanh(b, kept, c, units.cell_bits);
            b.push(Inst::Smlabb(o, o, out, half));
            b.push(Inst::AsrImm(o, o, 15));
            o
        }
        _ => {
            let x = sum(b, units, kept, 0, n);
            tanh(b, kept, x, units.fraction)
        }
    };
    b.push(Inst::Strh(next, kept.h, at));
    narrow(b, units, kept, next, n);
}

/// Stores a state as products read it; the register is overwritten.
fn narrow(b: &mut Block, units: &Units, kept: &Kept, state: Reg, n: usize) {
    b.push(Inst::AddImm(state, state, 1 << (units.narrow - 1)));
    b.push(Inst::Ssat(state, 8, state, units.narrow));
    b.push(Inst::Strb(state, kept.h8, n as u32));
}
