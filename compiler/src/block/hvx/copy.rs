//! Copies runs of bytes between places at multiples of four bytes.

use super::{Code, Inst, R, V, VECTOR, native};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use std::sync::Arc;

/// Vectors that are spelled out.
const STRAIGHT: usize = 8;

/// The kernel `(x, y)` for `n` bytes, a multiple of four.
pub(crate) fn kernel(n: usize) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("copy_s8");
    let x = k.buffer("x", DType::I8, n, Access::Read);
    let y = k.buffer("y", DType::I8, n, Access::Write);
    k.for_("i", 0, n, |k, i| k.store(y, i, x.at(i)));
    k.native(native(&code(n)));
    k.finish()
}

/// r0: from, r1: to.
fn code(n: usize) -> Vec<Code> {
    let vector = |line: &mut Vec<Inst>, i: usize| {
        line.push(Inst::LoadAny(V(i as u32), R(0), i as i32));
        line.push(Inst::StoreAny(R(1), i as i32, V(i as u32)));
    };
    let mut code = Vec::new();
    let mut line = Vec::new();
    let (vectors, rest) = (n / VECTOR, n % VECTOR);
    let turns = if vectors > STRAIGHT { vectors / 4 } else { 0 };
    let step = |line: &mut Vec<Inst>, n: usize| {
        line.push(Inst::Add(R(0), R(0), (VECTOR * n) as i32));
        line.push(Inst::Add(R(1), R(1), (VECTOR * n) as i32));
    };
    if turns > 0 {
        (0..4).for_each(|i| vector(&mut line, i));
        step(&mut line, 4);
        code.push(Code::Loop { turns, body: vec![Code::Straight(std::mem::take(&mut line))] });
    }
    let left = vectors - 4 * turns;
    (0..left.min(8)).for_each(|i| vector(&mut line, i));
    if rest > 0 && vectors > 0 {
        // The last vector, which overlaps the one before it.
        let back = (left * VECTOR + rest) as i32 - VECTOR as i32;
        line.push(Inst::Add(R(0), R(0), back));
        line.push(Inst::Add(R(1), R(1), back));
        vector(&mut line, 0);
    } else {
        for at in (0..rest).step_by(4) {
            let word = R(2 + (at / 4 % 8) as u32);
            line.push(Inst::LoadWord(word, R(0), at as i32));
            line.push(Inst::StoreWord(R(1), at as i32, word));
        }
    }
    if !line.is_empty() {
        code.push(Code::Straight(line));
    }
    code
}
