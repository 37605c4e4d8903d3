//! Depthwise convolution of one channel on a [`Plane`] of words: up to six output columns at once,
//! each tap one load of as many words.
//!
//! Stream of a channel in words: the bias, [`Constants::words`], then the weights as bytes,
//! row by row.
//!
//! What differs between layers that share the code stands in an array of its own ([`Depthwise::shape`]).
//!
//! Law: the outputs of a row are all written, none beside them; where the last block does not fit
//! it is moved back and writes some of them twice.

use crate::armv6m::plane::Plane;
use crate::armv6m::round::{Constants, Form};
use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R12, SP, mask};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// Accumulators, and with them greatest number of columns of a block.
const SUMS: [R; 6] = [R(8), R(9), R(10), R(11), R12, LR];
/// Taps that are worth spelling out.
const TAPS: usize = 32;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    /// Words of a row of the plane, its stride and its phases.
    pub plane: Plane,
    pub kernel: [usize; 2],
    pub dilations: [usize; 2],
    /// Rows of the plane from one output row to the next.
    pub stride: usize,
    /// Outputs.
    pub rows: usize,
    pub columns: usize,
    /// Result elements from one column and from one row to the next.
    pub step: usize,
    pub row: usize,
    pub form: Form,
}

/// Slots of the frame in bytes, behind the weights: constants, bias, the shape, pointers.
struct Frame {
    constants: u32,
    bias: u32,
    shape: u32,
    column: u32,
    limit: u32,
    y: u32,
    last: u32,
    size: u32,
}

/// Words of [`Depthwise::shape`].
const SHAPE: usize = 12;
/// Their places: bytes from the first block of a row to the last, of all rows of the plane, from one
/// row of outputs to the next; steps of the result; then what leads from tap to tap.
const REACH: u32 = 0;
const ROWS: u32 = 4;
const PITCH: u32 = 8;
const STEP: u32 = 12;
const ROW: u32 = 16;
const BACK: u32 = 20;
const DOWN: u32 = 24;
/// From an even column of the window, from an odd one.
const ACROSS: [u32; 2] = [28, 32];

impl Depthwise {
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    /// Columns of a block: all blocks but the last are full.
    fn block(&self) -> usize {
        self.columns.div_ceil(self.columns.div_ceil(SUMS.len()))
    }
    /// Words of a channel's stream.
    pub fn channel(&self) -> usize {
        1 + self.form.words() + self.taps().div_ceil(4)
    }
    pub fn plane_len(&self) -> usize {
        let rows = (self.rows - 1) * self.stride + (self.kernel[0] - 1) * self.dilations[0] + 1;
        rows * self.plane.pitch()
    }
    pub fn y_len(&self) -> usize {
        (self.rows - 1) * self.row + (self.columns - 1) * self.step + 1
    }
    pub fn fits(&self) -> bool {
        self.taps() <= TAPS && self.row >= self.columns * self.step
    }
    /// Word of the plane that tap `(ky, kx)` of the first output reads.
    fn tap(&self, ky: usize, kx: usize) -> usize {
        ky * self.dilations[0] * self.plane.pitch() + self.plane.at(kx * self.dilations[1])
    }

    /// Bytes that the pointer to the plane moves from tap `t` to the next one.
    fn move_on(&self, t: usize) -> i64 {
        let at = |t: usize| self.tap(t / self.kernel[1], t % self.kernel[1]) as i64;
        4 * (at(t + 1) - at(t) - self.block() as i64)
    }
    fn phase(&self, t: usize) -> usize {
        t % self.kernel[1] * self.dilations[1] % self.plane.stride
    }
    /// Whether the next tap stands in the next row of the window.
    fn wraps(&self, t: usize) -> bool {
        (t + 1).is_multiple_of(self.kernel[1])
    }
    /// What the code reads of the layer's sizes.
    pub fn shape(&self) -> Vec<i32> {
        let n = self.block();
        let blocks = self.columns.div_ceil(n);
        let within = |phase| (0..self.taps() - 1).find(|&t| !self.wraps(t) && self.phase(t) == phase);
        let down = (0..self.taps() - 1).find(|&t| self.wraps(t));
        let bytes = |t: Option<usize>| t.map_or(0, |t| self.move_on(t));
        let pitch = 4 * (self.stride * self.plane.pitch()) as i64;
        let all: [i64; SHAPE] = [
            4 * (self.columns - n) as i64,
            pitch * self.rows as i64,
            pitch,
            self.step as i64,
            (self.row - self.columns * self.step) as i64,
            ((blocks * n - self.columns) * self.step) as i64,
            bytes(down),
            bytes(within(0)),
            bytes(within(1)),
            0,
            0,
            0,
        ];
        all.map(|v| v as i32).to_vec()
    }

    /// Packs the coefficients of all channels; `None` where weights are no bytes.
    pub fn pack(&self, weights: &[i32], bias: &[i32], constants: &[Constants]) -> Option<Vec<i32>> {
        let mut stream = Vec::with_capacity(bias.len() * self.channel());
        for (o, k) in constants.iter().enumerate() {
            stream.push(i32::try_from(i64::from(bias[o]) - k.end).ok()?);
            stream.extend(&k.words);
            for four in weights[o * self.taps()..(o + 1) * self.taps()].chunks(4) {
                let mut word = [0u8; 4];
                for (byte, &w) in word.iter_mut().zip(four) {
                    *byte = i8::try_from(w).ok()? as u8;
                }
                stream.push(i32::from_le_bytes(word));
            }
        }
        Some(stream)
    }

    /// The kernel `(plane, w, y, shape)` of one channel.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("depthwise_s8_plane");
        let plane = k.buffer("plane", DType::I32, self.plane_len(), Access::Read);
        let w = k.buffer("w", DType::I32, self.channel(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        // Only the instructions need to be told.
        k.buffer("shape", DType::I32, SHAPE, Access::Read);
        k.for_("oy", 0, self.rows, |k, oy| {
            k.for_("ox", 0, self.columns, |k, ox| {
                let acc = k.var("acc", w.at(0));
                let from = k.let_("from", oy * (self.stride * self.plane.pitch()) + ox);
                for t in 0..self.taps() {
                    let word = w.at(1 + self.form.words() + t / 4);
                    let weight = (((word >> (8 * (t % 4)) as i32) & 255) ^ 128) - 128;
                    let tap = self.tap(t / self.kernel[1], t % self.kernel[1]);
                    k.add_to(acc, weight * plane.at(from + tap));
                }
                let out = self.form.meaning(k, acc, &|i| w.at(1 + i));
                k.store(y, oy * self.row + ox * self.step, out);
            });
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r0-r5 inputs, r6 a weight, r7 points to the plane, r8-r12 and lr sums.
    pub fn code(&self) -> Code {
        let taps = self.taps() as u32;
        let constants = 4 * taps;
        let bias = constants + 4 * self.form.words() as u32;
        let shape = bias + 4;
        let column = shape + 4 * SHAPE as u32;
        let f = Frame {
            constants,
            bias,
            shape,
            column,
            limit: column + 4,
            y: column + 8,
            last: column + 12,
            size: column + 16,
        };
        let mut c = Code::new(f.size, 0, true);
        let blocks = self.columns.div_ceil(self.block()) as f64;
        // Weights as words, the other coefficients and pointers into the frame.
        c.all([Inst::Str(R0, SP, f.column), Inst::Str(R2, SP, f.y), Inst::AddSp(R2, f.shape)]);
        for _ in 0..SHAPE / 4 {
            let four = mask(&[R4, R5, R6, R7]);
            c.all([Inst::Ldm(R3, four), Inst::Stm(R2, four)]);
        }
        for (slot, to) in [(REACH, f.limit), (ROWS, f.last)] {
            c.all([Inst::Ldr(R3, SP, f.shape + slot), Inst::Add(R3, R3, R0), Inst::Str(R3, SP, to)]);
        }
        c.all([Inst::Ldm(R1, mask(&[R0])), Inst::Str(R0, SP, f.bias)]);
        for i in 0..self.form.words() as u32 {
            c.all([Inst::Ldm(R1, mask(&[R0])), Inst::Str(R0, SP, f.constants + 4 * i)]);
        }
        for t in 0..taps {
            if t % 4 == 0 {
                c.push(Inst::Ldm(R1, mask(&[R0])));
            } else {
                c.push(Inst::Asr(R0, R0, 8));
            }
            c.all([Inst::Sxtb(R2, R0), Inst::Str(R2, SP, 4 * t)]);
        }
        let block = c.here();
        let rows = self.rows as f64;
        let done = c.label();
        c.times(rows * blocks, |c| {
            self.sums(c, &f);
            self.outputs(c, &f);
            c.all([Inst::Ldr(R0, SP, f.column), Inst::Ldr(R1, SP, f.limit), Inst::Cmp(R0, R1)]);
            c.push(Inst::BranchIf(Cond::Eq, done));
        });
        c.times(rows * (blocks - 1.0), |c| {
            // The next block, moved back where it does not fit.
            let whole = c.label();
            c.all([Inst::AddImm(R0, 4 * self.block() as u32), Inst::Cmp(R0, R1)]);
            c.all([Inst::BranchIf(Cond::Ls, whole), Inst::Mov(R0, R1)]);
            c.all([Inst::Ldr(R3, SP, f.shape + BACK), Inst::Sub(R2, R2, R3)]);
            c.place(whole);
            c.all([Inst::Str(R0, SP, f.column), Inst::Str(R2, SP, f.y), Inst::Branch(block)]);
        });
        c.place(done);
        c.times(rows, |c| {
            // The next row of outputs.
            c.all([Inst::Ldr(R3, SP, f.shape + ROW), Inst::Add(R2, R2, R3), Inst::Str(R2, SP, f.y)]);
            c.all([Inst::Ldr(R3, SP, f.shape + PITCH), Inst::Add(R1, R1, R3), Inst::Str(R1, SP, f.limit)]);
            c.all([Inst::Ldr(R3, SP, f.shape + REACH), Inst::Sub(R1, R1, R3), Inst::Str(R1, SP, f.column)]);
            c.all([Inst::Ldr(R3, SP, f.last), Inst::Cmp(R1, R3)]);
            let end = c.label();
            c.all([Inst::BranchIf(Cond::Eq, end), Inst::Branch(block)]);
            c.place(end);
        });
        c
    }

    /// The sums of a block, whose first column r7 finds in the frame.
    fn sums(&self, c: &mut Code, f: &Frame) {
        let inputs = [R0, R1, R2, R3, R4, R5];
        let n = self.block();
        c.all([Inst::Ldr(R7, SP, f.column), Inst::Ldr(R0, SP, f.bias)]);
        SUMS[..n].iter().for_each(|&sum| c.push(Inst::Mov(sum, R0)));
        for t in 0..self.taps() {
            if t > 0 {
                let by = self.move_on(t - 1);
                // Columns of one phase lie side by side whatever the width.
                let slot = match (self.wraps(t - 1), self.plane.stride) {
                    (true, _) => Some(DOWN),
                    (false, 1) => None,
                    (false, _) => Some(ACROSS[self.phase(t - 1)]),
                };
                match slot {
                    Some(slot) => c.all([Inst::Ldr(R6, SP, f.shape + slot), Inst::Add(R7, R7, R6)]),
                    None if by >= 0 => c.advance(R7, by as u32, R6),
                    None => c.push(Inst::SubImm(R7, -by as u32)),
                }
            }
            c.all([Inst::Ldr(R6, SP, 4 * t as u32), Inst::Ldm(R7, mask(&inputs[..n]))]);
            for (&input, &sum) in inputs[..n].iter().zip(&SUMS) {
                c.all([Inst::Mul(input, R6), Inst::AddAny(sum, input)]);
            }
        }
    }

    /// Requantizes and stores a block; r2 then points behind it.
    fn outputs(&self, c: &mut Code, f: &Frame) {
        let words = self.form.registers();
        c.all([Inst::AddSp(R2, f.constants), Inst::Ldm(R2, mask(words)), Inst::Ldr(R2, SP, f.y)]);
        for (i, &sum) in SUMS[..self.block()].iter().enumerate() {
            c.push(Inst::Mov(R0, sum));
            self.form.spell(c, sum);
            c.push(Inst::Strb(R0, R2, 0));
            if i == 0 {
                // The first sum's register is free now.
                c.all([Inst::Ldr(R1, SP, f.shape + STEP), Inst::Mov(SUMS[0], R1)]);
            }
            c.push(Inst::AddAny(R2, SUMS[0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Output, requant};
    use crate::armv6m::round::rounding;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(99);
        // kernel, strides, dilations, output, channels
        let sizes = [
            ([3, 3], [1, 1], [1, 1], [4, 5], 7),
            ([3, 3], [2, 2], [1, 1], [3, 12], 300),
            ([5, 5], [1, 1], [1, 1], [2, 7], 8),
            ([1, 9], [1, 1], [1, 2], [1, 20], 4),
            ([7, 1], [3, 1], [1, 1], [2, 1], 1),
            ([2, 3], [1, 2], [2, 3], [3, 13], 5),
        ];
        for (case, (kernel, [sy, sx], dilations, [rows, columns], channels)) in
            sizes.into_iter().chain(sizes).enumerate()
        {
            let wide = case >= sizes.len();
            let name = if wide { "cortex-m3" } else { "cortex-m0plus" };
            let core = secateur_targets::core(name).unwrap().cost.unwrap();
            let width = (columns - 1) * sx + (kernel[1] - 1) * dilations[1] + 1;
            let left = case % 2;
            let plane = Plane {
                stride: sx,
                half: width.div_ceil(sx),
                columns: width - left,
                left,
                rows: (rows - 1) * sy + (kernel[0] - 1) * dilations[0] + 1,
                pixel: channels,
                row: width * channels,
            };
            let taps = kernel[0] * kernel[1];
            let w: Vec<i32> = random.bytes(taps).iter().map(|&v| i32::from(v)).collect();
            let most = taps as i32 * 128 * 128;
            let reach = [(-most - 50, most - 50)];
            let out = Output { zp: [-128, 127, 5][case % 3], lo: -128, hi: [127, 127, 90][case % 3] };
            let r = requant(&[0.003], &reach, out).unwrap();
            let (form, constants) = rounding(&r, &reach, wide).unwrap();
            let dw = Depthwise {
                plane: Plane { rows: 1, ..plane },
                kernel,
                dilations,
                stride: sy,
                rows,
                columns,
                step: channels,
                row: (columns + case % 2) * channels,
                form,
            };
            assert!(plane.fits() && dw.fits());
            let x = random.bytes((plane.rows - 1) * plane.row + (plane.columns - 1) * plane.pixel + 1);
            let words = plane.rows * plane.pitch();
            let call =
                Call { kernel: plane.kernel(&core).unwrap(), args: vec![Bind::Operand(0), Bind::Result(0)] };
            let Data::I32(body) = run(&call, &[Data::I8(x.clone())], DType::I32, words) else { panic!() };
            let stream = dw.pack(&w, &[-50], &constants).unwrap();
            let shape = dw.shape();
            let told = Bind::aligned("shape", Data::I32(shape), 4);
            let args = vec![Bind::Operand(0), Bind::Operand(1), Bind::Result(0), told];
            let call = Call { kernel: dw.kernel(&core).unwrap(), args };
            let operands = [Data::I32(body), Data::I32(stream)];
            let Data::I8(outputs) = run(&call, &operands, DType::I8, dw.y_len()) else { panic!() };
            for oy in 0..rows {
                for ox in 0..columns {
                    let mut sum = -50;
                    for t in 0..taps {
                        let (ky, kx) = (t / kernel[1], t % kernel[1]);
                        let (iy, ix) = (oy * sy + ky * dilations[0], ox * sx + kx * dilations[1]);
                        if let Some(ix) = ix.checked_sub(left) {
                            sum += w[t] * i32::from(x[iy * plane.row + ix * channels]);
                        }
                    }
                    let at = oy * dw.row + ox * dw.step;
                    assert_eq!(i32::from(outputs[at]), r.apply(0, sum), "case {case} at {oy} {ox}");
                }
            }
        }
    }
}
