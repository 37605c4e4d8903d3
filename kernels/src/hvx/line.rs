//! Brings a line of inputs into the workspace: pixels side by side or spread to a greater step,
//! between bytes of the zero point.
//!
//! Law: bytes are read in whole aligned vectors that hold one of the line at least, so nothing
//! beyond them is touched; what is written is all of the line and the [`SLACK`] behind it.

use crate::asm::hvx::{Code, Inst, MAX_TURNS, Q, R, V, VECTOR, native};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use std::sync::Arc;

/// Bytes behind a line that are written too, as the zero point.
pub const SLACK: usize = VECTOR;

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Zero points before the first pixel.
    pub left: usize,
    pub pixels: usize,
    /// Channels of a pixel, and the steps from one to the next in the input and in the line.
    pub channels: usize,
    pub from: usize,
    pub to: usize,
    /// The whole line without slack.
    pub total: usize,
}

/// The zero point in all bytes.
const ZERO: V = V(30);
/// Vectors of a turn.
const TURN: usize = 4;

impl Line {
    /// The kernel `(x, y, zero)`, or `(y, zero)` of a line without pixels.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        let Line { left, pixels, channels, from, to, total } = *self;
        let mut k = KernelBuilder::new(if pixels > 0 { "line_s8" } else { "zeros_s8" });
        let x = (pixels > 0).then(|| k.buffer("x", DType::I8, (pixels - 1) * from + channels, Access::Read));
        let y = k.buffer("y", DType::I8, total + SLACK, Access::Write);
        let zero = k.scalar("zero", -128, 127);
        k.for_("i", 0, left, |k, i| k.store(y, i, zero));
        if let Some(x) = x {
            k.for_("pixel", 0, pixels, |k, p| {
                k.for_("c", 0, channels, |k, c| k.store(y, p * to + c + left, x.at(p * from + c)));
                k.for_("c", channels, to, |k, c| k.store(y, p * to + c + left, zero));
            });
        }
        k.for_("i", left + pixels * to, total + SLACK, |k, i| k.store(y, i, zero));
        k.native(native(&self.code())?);
        k.finish()
    }
    pub fn fits(&self) -> bool {
        self.pixels <= MAX_TURNS && self.total <= 32_000 && self.from <= 8_000 && self.to <= 8_000
    }

    /// r0: pixels, r1: line, r2: zero point; r3 walks.
    fn code(&self) -> Vec<Code> {
        let Line { left, pixels, channels, from, to, total } = *self;
        let (y, zero) = if pixels > 0 { (R(1), R(2)) } else { (R(0), R(1)) };
        let mut code = vec![Code::Straight(vec![Inst::SplatByte(ZERO, zero), Inst::Mov(R(3), y)])];
        zeros(&mut code, left.div_ceil(VECTOR));
        let mut end = left.next_multiple_of(VECTOR);
        if pixels > 0 {
            code.push(Code::Straight(vec![Inst::Add(R(3), R(1), left as i32)]));
            if channels == from && channels == to {
                end = left + run(&mut code, pixels * channels);
            } else {
                self.spread(&mut code);
                end = left + (pixels - 1) * to + channels.next_multiple_of(VECTOR);
            }
        }
        // From the end of what was written on, and at last the slack.
        let more = (left + pixels * to).max(end).max(left);
        code.push(Code::Straight(vec![Inst::Add(R(3), y, more.min(total) as i32)]));
        zeros(&mut code, total.saturating_sub(more).div_ceil(VECTOR));
        code.push(Code::Straight(vec![Inst::Add(R(3), y, total as i32), Inst::StoreAny(R(3), 0, ZERO)]));
        Code::joined(code)
    }

    /// Pixel after pixel; bytes behind one are the zero point until the next one comes.
    fn spread(&self, code: &mut Vec<Code>) {
        let Line { pixels, channels, from, to, .. } = *self;
        let (vectors, rest) = (channels / VECTOR, channels % VECTOR);
        let reach = (pixels - 1) * from + channels;
        // Pixels behind which a whole vector may be read.
        let easy = (0..pixels).take_while(|p| p * from + (vectors + 1) * VECTOR <= reach).count();
        let mut line = Vec::new();
        if rest > 0 {
            line.extend([Inst::Set(R(5), rest as i32), Inst::First(Q(0), R(5))]);
            code.push(Code::Straight(std::mem::take(&mut line)));
        }
        let pixel = |line: &mut Vec<Inst>, turn: u32, easy: bool| {
            for i in 0..vectors {
                line.push(Inst::Add(R(6), R(0), (i * VECTOR) as i32));
                line.push(Inst::LoadAny(V(16 + turn), R(6), 0));
                line.push(Inst::Add(R(7), R(3), (i * VECTOR) as i32));
                line.push(Inst::StoreAny(R(7), 0, V(16 + turn)));
            }
            if rest > 0 {
                let v = V(turn);
                let (x, y) = (R(8 + turn), R(12 + turn));
                line.push(Inst::Add(x, R(0), (vectors * VECTOR) as i32));
                line.push(Inst::Add(y, R(3), (vectors * VECTOR) as i32));
                if easy {
                    line.push(Inst::LoadAny(v, x, 0));
                } else {
                    load_first(line, v, x, rest);
                }
                line.push(Inst::Select(v, Q(0), v, ZERO));
                line.push(Inst::StoreAny(y, 0, v));
            }
            line.push(Inst::Add(R(0), R(0), from as i32));
            line.push(Inst::Add(R(3), R(3), to as i32));
        };
        let mut turn = Vec::new();
        (0..TURN as u32).for_each(|i| pixel(&mut turn, i, true));
        code.extend(Code::repeated(easy / TURN, vec![Code::Straight(turn)]));
        (0..(easy % TURN) as u32).for_each(|i| pixel(&mut line, i, true));
        code.push(Code::Straight(line));
        let mut turn = Vec::new();
        pixel(&mut turn, 0, false);
        code.extend(Code::repeated(pixels - easy, vec![Code::Straight(turn)]));
    }
}

/// Vectors of the zero point from r3 on.
fn zeros(code: &mut Vec<Code>, vectors: usize) {
    let stores = |n: usize| -> Vec<Inst> {
        let stores = (0..n).map(|i| Inst::StoreAny(R(3), i as i32, ZERO));
        stores.chain((n > 0).then_some(Inst::Add(R(3), R(3), (n * VECTOR) as i32))).collect()
    };
    code.extend(Code::repeated(vectors / TURN, vec![Code::Straight(stores(TURN))]));
    code.push(Code::Straight(stores(vectors % TURN)));
}

/// `n` bytes from r0 to r3, and the zero point behind them; how far it is written.
fn run(code: &mut Vec<Code>, n: usize) -> usize {
    let (vectors, rest) = (n / VECTOR, n % VECTOR);
    let copies = |n: usize| -> Vec<Inst> {
        let mut line = Vec::new();
        for i in 0..n as u32 {
            line.push(Inst::LoadAny(V(i), R(0), i as i32));
            line.push(Inst::StoreAny(R(3), i as i32, V(i)));
        }
        if n > 0 {
            line.extend([R(0), R(3)].map(|r| Inst::Add(r, r, (n * VECTOR) as i32)));
        }
        line
    };
    code.extend(Code::repeated(vectors / TURN, vec![Code::Straight(copies(TURN))]));
    code.push(Code::Straight(copies(vectors % TURN)));
    if rest == 0 {
        return n;
    }
    let mut line = vec![Inst::Set(R(6), rest as i32), Inst::First(Q(0), R(6))];
    load_first(&mut line, V(0), R(0), rest);
    line.push(Inst::Select(V(0), Q(0), V(0), ZERO));
    line.push(Inst::StoreAny(R(3), 0, V(0)));
    code.push(Code::Straight(line));
    (vectors + 1) * VECTOR
}

/// Loads `n` bytes, 1 to 128, from any address; r4 to r5 and v28 to v29 are spoiled. No aligned
/// vector is touched that holds none of them.
pub fn load_first(line: &mut Vec<Inst>, v: V, from: R, n: usize) {
    line.push(Inst::Mov(R(4), from));
    line.push(Inst::Add(R(5), from, n as i32 - 1));
    line.push(Inst::Load(V(28), from, 0));
    line.push(Inst::Load(V(29), R(5), 0));
    line.push(Inst::Align(v, V(29), V(28), R(4)));
}
