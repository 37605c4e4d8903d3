//! Convolutions on tiles of planes: inputs become words once for all taps of a row of the kernel that
//! read them, and stay for the next row of outputs.
//!
//! A tile is up to eight pixels side by side. Word `i` of a channel's plane holds the input that lies `i`
//! pixels from the tile's first one, and the one that is half a tile further; the next tap of a row of
//! the kernel is the next word, or with stride 2 that of the other phase. A tile walks down the image:
//! what its next row shares with this one moves up.
//!
//! In: a convolution's sizes and a sparse product. Out: the way `blocks1x1-planes` where it fits. Law: what no
//! input covers is the zero point.

use crate::armv6m::engine::{Made, gather};
use crate::armv6m::gemm_sparse::PIXELS;
use crate::armv6m::im2col;
use crate::armv6m::packed::SPARSE_PLANES;
use crate::asm::armv6m::{Code, Cond, Inst, LR, R0, R1, R2, R3, R4, R5, R6, R7, mask};
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::offer::Candidate;
use crate::problem::Geometry;
use crate::product::reach_len;
use crate::tensor::{DType, Data};
use secateur_targets::Cost;
use std::sync::Arc;

/// Most words of a plane: those of four channels are stored by offsets from one pointer.
const PITCH: usize = 10;

/// Where the words of a tile stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// Pixels of a tile, and words of them.
    pub pixels: usize,
    pub columns: usize,
    stride: usize,
    /// Words of one phase of a plane.
    half: usize,
    /// Inputs side by side whose words a plane holds.
    inputs: usize,
}

impl Planes {
    /// `None` where this is no way to lay out a convolution.
    pub fn new(g: &Geometry) -> Option<Planes> {
        let stride = g.strides[1];
        let last = g.x[1] == 1 && g.y[1] == 1;
        if g.groups > 1 || !last || g.dilations != [1, 1] || g.kernel == [1, 1] || stride > 2 {
            return None;
        }
        let pixels = g.output[1].min(PIXELS);
        let columns = pixels.div_ceil(2);
        let inputs = (columns - 1) * stride + g.kernel[1];
        let planes = Planes { pixels, columns, stride, half: inputs.div_ceil(stride), inputs };
        Some(planes).filter(|p| p.pitch() <= PITCH)
    }
    /// Words of a plane.
    fn pitch(&self) -> usize {
        self.stride * self.half
    }
    /// Words of the planes of a row.
    fn row(&self, g: &Geometry) -> usize {
        g.cin * self.pitch()
    }
    pub fn acts_len(&self, g: &Geometry) -> usize {
        g.kernel[0] * self.row(g)
    }
    /// For each tap, where its words begin and which of a row's weights it is, by place.
    pub fn places(&self, g: &Geometry) -> Vec<(usize, usize)> {
        let [kh, kw] = g.kernel;
        let mut places = Vec::with_capacity(kh * kw * g.cin);
        for ky in 0..kh {
            for kx in 0..kw {
                let at = |c: usize| {
                    (ky * g.cin + c) * self.pitch() + kx % self.stride * self.half + kx / self.stride
                };
                places.extend((0..g.cin).map(|c| (at(c), (c * kh + ky) * kw + kx)));
            }
        }
        places.sort_unstable();
        places
    }
    /// Result elements from the first pixel of a word to its second.
    pub fn apart(&self, g: &Geometry) -> usize {
        self.columns * g.y[3]
    }
}

/// The convolution `way` by a product `(acts, w, y)` whose stream has `len` words.
pub fn conv(
    g: &Geometry,
    planes: &Planes,
    (product, stream, len): (&Arc<Kernel>, Bind, usize),
    x_zp: i32,
    made: Made<'_>,
) -> Result<Candidate> {
    let (library, core) = made;
    let (row, acts_len, tiles) = (planes.row(g), planes.acts_len(g), g.output[1].div_ceil(planes.pixels));
    let (high, down) = (g.kernel[0], g.strides[0].min(g.kernel[0]));
    let rows = Rows::new(g, planes, made)?;
    let kept = (high - down) * row;
    let slide = match kept {
        0 => None,
        _ => Some(library.once(&("slide", kept, down * row), || slide(kept, down * row, core))?),
    };
    let fill = rows.kernel()?;
    let mut k = KernelBuilder::new("conv_s8_planes");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, acts_len, Access::ReadWrite);
    let w = k.buffer("w", DType::I32, len, Access::Read);
    let pad = rows.pads().then(|| k.buffer("pad", DType::I8, g.cin, Access::Read));
    k.for_("n", 0, g.batch, |k, n| {
        k.for_("tile", 0, tiles, |k, tile| {
            let ox = k.let_("ox", (tile * planes.pixels).min(g.output[1] - planes.pixels));
            let ix = k.let_("ix", ox * g.strides[1] - g.pads[1]);
            // Row `ky` of the planes becomes row `iy` of the input.
            let fill = |k: &mut KernelBuilder, ky: Val, iy: Expr| {
                let mut args = vec![x.from(n * g.x[0]), acts.from(ky * row)];
                args.extend(pad.map(|pad| pad.from(0)));
                args.extend([CallArg::Scalar(iy), CallArg::Scalar(ix.into())]);
                k.call(&fill, args);
            };
            // What the first row of outputs finds where it looks for the row before it.
            k.for_("ky", down, high, |k, ky| fill(k, ky, ky - (g.pads[0] + down)));
            k.for_("oy", 0, g.output[0], |k, oy| {
                if let Some(slide) = &slide {
                    k.call(slide, vec![acts.from(0)]);
                }
                k.for_("ky", high - down, high, |k, ky| {
                    fill(k, ky, oy * g.strides[0] + ky - g.pads[0]);
                });
                let to = y.from(n * g.y[0] + oy * g.y[2] + ox * g.y[3]);
                k.call(product, vec![acts.from(0), w.from(0), to]);
            });
        });
    });
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), stream];
    if pad.is_some() {
        args.push(Bind::aligned("padding", Data::I8(vec![x_zp as i8; g.cin]), 1));
    }
    let call = Call { kernel: k.finish()?, args };
    Ok(Candidate { way: SPARSE_PLANES, call, workspace: 4 * acts_len })
}

/// What makes words of a row of inputs.
struct Rows<'a> {
    g: &'a Geometry,
    planes: Planes,
    /// All words of a phase, where all inputs are inside.
    phases: Vec<Arc<Kernel>>,
    /// One word of each channel.
    one: Arc<Kernel>,
}

impl<'a> Rows<'a> {
    fn new(g: &'a Geometry, planes: &Planes, (library, core): Made<'_>) -> Result<Rows<'a>> {
        let (step, apart, pitch) =
            (planes.stride * g.x[3], planes.columns * planes.stride * g.x[3], planes.pitch());
        let phases = (0..planes.stride.min(planes.inputs)).map(|phase| {
            let words = (planes.inputs - phase).div_ceil(planes.stride);
            library.once(&("rows", g.cin, words, step, apart, pitch), || {
                im2col::rows(g.cin, words, (step, apart), pitch, core)
            })
        });
        let phases = phases.collect::<Result<_>>()?;
        Ok(Rows { g, planes: *planes, phases, one: gather(g.cin, pitch, (library, core))? })
    }
    /// The input that the last word's second pixel reads, counted from the tile's first one.
    fn last(&self) -> usize {
        self.planes.inputs - 1 + self.planes.columns * self.planes.stride
    }
    /// Whether words may lie outside: of an odd number of pixels, the last word has no second one.
    fn pads(&self) -> bool {
        self.g.padded() || !self.planes.pixels.is_multiple_of(2)
    }

    /// The kernel `(x, acts, pad, iy, ix)`, without the third where nothing is outside: the words of input row
    /// `iy` of a sample from column `ix` on.
    fn kernel(&self) -> Result<Arc<Kernel>> {
        let (g, planes) = (self.g, &self.planes);
        let mut k = KernelBuilder::new("planes_s8");
        let len = reach_len(&[g.cin, g.input[0], g.input[1]], &g.x[1..]);
        let x = k.buffer("x", DType::I8, len, Access::Read);
        let acts = k.buffer("acts", DType::I32, planes.row(g), Access::Write);
        let pad = self.pads().then(|| k.buffer("pad", DType::I8, g.cin, Access::Read));
        let [top, left] = g.pads.map(|p| -(p as i32));
        let bottom = top + ((g.output[0] - 1) * g.strides[0] + g.kernel[0] - 1) as i32;
        let right = left + ((g.output[1] - planes.pixels) * g.strides[1]) as i32;
        let (iy, ix) = (k.scalar("iy", top, bottom), k.scalar("ix", left, right));
        let at = |column: Expr| x.from(iy * g.x[2] + column * g.x[3]);
        let whole = |k: &mut KernelBuilder| {
            for (phase, kernel) in self.phases.iter().enumerate() {
                k.call(kernel, vec![at(ix + phase), acts.from(phase * planes.half)]);
            }
        };
        let Some(pad) = pad else {
            whole(&mut k);
            return k.finish();
        };
        let inside = |column: &Expr, last: usize| {
            column.ge(0).and((column.clone() + last).lt(g.input[1])).and(iy.ge(0)).and(iy.lt(g.input[0]))
        };
        let by_word = |k: &mut KernelBuilder| {
            k.for_("i", 0, planes.inputs, |k, i| {
                let place = if planes.stride == 1 { i.into() } else { (i & 1) * planes.half + (i >> 1) };
                let to = acts.from(place);
                let a: Expr = k.let_("a", ix + i).into();
                let b: Expr = k.let_("b", ix + i + planes.columns * planes.stride).into();
                let call = |k: &mut KernelBuilder, a, b| k.call(&self.one, vec![a, b, to.clone()]);
                k.if_else(
                    inside(&a, 0),
                    |k| {
                        k.if_else(
                            inside(&b, 0),
                            |k| call(k, at(a.clone()), at(b.clone())),
                            |k| call(k, at(a.clone()), pad.from(0)),
                        );
                    },
                    |k| {
                        k.if_else(
                            inside(&b, 0),
                            |k| call(k, pad.from(0), at(b.clone())),
                            |k| call(k, pad.from(0), pad.from(0)),
                        );
                    },
                );
            });
        };
        // Rows that are shorter than a tile's have none that lies inside.
        match self.last() < g.input[1] {
            true => k.if_else(inside(&ix.into(), self.last()), whole, by_word),
            false => by_word(&mut k),
        }
        k.finish()
    }
}

/// The kernel `(acts)`: moves `n` words up by `by` words.
fn slide(n: usize, by: usize, core: &Cost) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("slide_s32");
    let acts = k.buffer("acts", DType::I32, n + by, Access::ReadWrite);
    k.for_("i", 0, n, |k, i| k.store(acts, i, acts.at(i + by)));
    k.native(slide_code(n, by).finish(core)?);
    k.finish()
}

/// Words of a turn of the loop.
const TURN: usize = 6;

/// r0 and r1 point to where words go and come from, lr to where whole turns end.
pub fn slide_code(n: usize, by: usize) -> Code {
    let mut c = Code::new(0, 0, false);
    let words = [R2, R3, R4, R5, R6, R7];
    c.push(Inst::Mov(R1, R0));
    c.advance(R1, 4 * by as u32, R2);
    let (turns, rest) = (n / TURN, n % TURN);
    if turns > 0 {
        c.push(Inst::Mov(R2, R0));
        c.advance(R2, (4 * TURN * turns) as u32, R3);
        c.push(Inst::Mov(LR, R2));
        let top = c.here();
        c.times(turns as f64, |c| {
            c.all([Inst::Ldm(R1, mask(&words)), Inst::Stm(R0, mask(&words)), Inst::Cmp(R0, LR)]);
            c.push(Inst::BranchIf(Cond::Ne, top));
        });
    }
    if rest > 0 {
        c.all([Inst::Ldm(R1, mask(&words[..rest])), Inst::Stm(R0, mask(&words[..rest]))]);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::run;

    #[test]
    fn words_move_up() {
        let core = secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap();
        for (n, by) in [(1, 1), (6, 2), (13, 7), (100, 300), (12, 6), (5, 200)] {
            let words: Vec<i32> = (0..(n + by) as i32).map(|i| i * 65537 - 9).collect();
            let mut k = KernelBuilder::new("slid");
            let x = k.buffer("x", DType::I32, n + by, Access::Read);
            let y = k.buffer("y", DType::I32, n + by, Access::ReadWrite);
            k.for_("i", 0, n + by, |k, i| k.store(y, i, x.at(i)));
            k.call(&slide(n, by, &core).unwrap(), vec![y.from(0)]);
            let call = Call { kernel: k.finish().unwrap(), args: vec![Bind::Operand(0), Bind::Result(0)] };
            let moved = run(&call, &[Data::I32(words.clone())], DType::I32, n + by);
            let want: Vec<i32> = words[by..].iter().chain(&words[n..]).copied().collect();
            assert_eq!(moved, Data::I32(want), "{n} words by {by}");
        }
    }
}
