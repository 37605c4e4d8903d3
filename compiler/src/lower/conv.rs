//! Convolution as plain loops: any stride, dilation, padding, grouping and memory order, float
//! or int8. One-dimensional convolutions have height 1.
//!
//! In: a [`Geometry`] and a [`Product`]. Out: one call. Output pixels whose window lies inside
//! the input run without any test; only the border's pixels ask for each tap.
//! Law: weights stand in the order in which the loops read them.

use super::product::{Product, Zero, constant, reach_len};
use super::spelled::{Role, Spelled};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val};
use std::sync::Arc;

/// Sizes of a convolution. Pairs are height, width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    /// Input and output channels of one group.
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    /// Padding before the first row and column; what follows the last is implied.
    pub(crate) pads: [usize; 2],
    /// Memory strides of batch, channel, row, column.
    pub(crate) x: [usize; 4],
    pub(crate) y: [usize; 4],
}

impl Geometry {
    /// Output positions `lo..hi` along an axis whose taps all lie inside the input.
    pub(crate) fn interior(&self, axis: usize) -> (usize, usize) {
        let lo = self.pads[axis].div_ceil(self.strides[axis]);
        let reach = (self.kernel[axis] - 1) * self.dilations[axis];
        let last = (self.input[axis] + self.pads[axis]).checked_sub(reach + 1);
        let hi = last.map_or(0, |last| last / self.strides[axis] + 1).min(self.output[axis]);
        (lo.min(hi), hi)
    }
    /// Whether some output reads padding.
    pub(crate) fn padded(&self) -> bool {
        (0..2).any(|axis| self.interior(axis) != (0, self.output[axis]))
    }
    pub(crate) fn x_len(&self) -> usize {
        reach_len(&[self.batch, self.groups * self.cin, self.input[0], self.input[1]], &self.x)
    }
    pub(crate) fn y_len(&self) -> usize {
        reach_len(&[self.batch, self.groups * self.cout, self.output[0], self.output[1]], &self.y)
    }
    fn depthwise(&self) -> bool {
        self.cin == 1 && self.groups > 1
    }
}

/// Output channels computed side by side.
const BLOCK: usize = 4;

/// Where the coefficients come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Known at compile time, packed in the order of reading.
    Packed,
    /// Operand 1 as the model has it, row-major, and operand 2 if there is a bias.
    Operands { bias: bool },
}

/// Spells a convolution as one kernel call: operand 0 to result.
pub(crate) fn conv(g: &Geometry, product: &Product, kernels: Kernels) -> Result<Spelled> {
    let padded = g.padded();
    let product = if padded { product.clone() } else { product.clone().folded() };
    let packed = kernels == Kernels::Packed;
    let depthwise = packed && g.depthwise();
    let order = match kernels {
        Kernels::Operands { .. } => (0..product.weights.len()).collect(),
        Kernels::Packed if depthwise => depthwise_order(g),
        Kernels::Packed => blocked_order(g),
    };
    let weights = product.packed(&order);

    let kind = if depthwise { "depthwise" } else { "conv" };
    let mut k = KernelBuilder::new(format!("{kind}_{}", product.finish.suffix()));
    let x = k.buffer("x", product.elem(), g.x_len(), Access::Read);
    let y = k.buffer("y", product.elem(), g.y_len(), Access::Write);
    let w = constant(&mut k, "w", &weights);
    let bias = constant(&mut k, "bias", &product.bias);
    let zero = product.declare_zero(&mut k);
    let tail = product.finish.declare(&mut k);

    let body = |k: &mut KernelBuilder, at: &Pixel, inside: bool| {
        let mut sink = |k: &mut KernelBuilder, index: Expr, acc: Val, channel: &Expr| {
            tail.store(k, y, index, acc, channel);
        };
        let from = Sources { x, w, bias, zero, packed };
        if depthwise {
            channels(g, k, at, inside, from, &mut sink);
        } else {
            blocks(g, k, at, inside, from, &mut sink);
        }
    };
    k.for_("n", 0, g.batch, |k, n| {
        k.for_("oy", 0, g.output[0], |k, oy| {
            k.for_("ox", 0, g.output[1], |k, ox| {
                let at = Pixel { n, oy, ox };
                if !padded {
                    return body(k, &at, true);
                }
                let ((y0, y1), (x0, x1)) = (g.interior(0), g.interior(1));
                if y0 == y1 || x0 == x1 {
                    return body(k, &at, false);
                }
                let rows = oy.ge(y0).and(oy.lt(y1));
                let inside = rows.and(ox.ge(x0)).and(ox.lt(x1));
                k.if_else(inside, |k| body(k, &at, true), |k| body(k, &at, false));
            });
        });
    });
    let kernel: Arc<Kernel> = k.finish()?;
    let bias = Role::data("bias", product.bias.clone());
    let mut args = vec![Role::Operand(0), Role::Result];
    args.extend(match kernels {
        Kernels::Packed => [Role::data("weights", weights), bias],
        Kernels::Operands { bias: false } => [Role::Operand(1), bias],
        Kernels::Operands { bias: true } => [Role::Operand(1), Role::Operand(2)],
    });
    args.extend(product.zero_role());
    args.extend(product.finish.roles());
    Ok(Spelled { kernel, args })
}

/// The output pixel at work.
struct Pixel {
    n: Val,
    oy: Val,
    ox: Val,
}

/// Offset of an output pixel, without its channel.
fn pixel(g: &Geometry, at: &Pixel) -> Expr {
    at.n * g.y[0] + at.oy * g.y[2] + at.ox * g.y[3]
}

/// What the loops read.
#[derive(Clone, Copy)]
struct Sources {
    x: Buf,
    w: Buf,
    bias: Buf,
    zero: Zero,
    /// Weights in blocks; else as the model has them.
    packed: bool,
}

type Sink<'a> = &'a mut dyn FnMut(&mut KernelBuilder, Expr, Val, &Expr);

/// Runs `tap(k, row offset, kernel row)` for each row of the window that is inside.
fn window(
    g: &Geometry,
    axis: usize,
    k: &mut KernelBuilder,
    out: Val,
    inside: bool,
    tap: &mut dyn FnMut(&mut KernelBuilder, Expr, Val),
) {
    let names = [("ky", "iy"), ("kx", "ix")][axis];
    let stride = g.x[2 + axis];
    k.for_(names.0, 0, g.kernel[axis], |k, t| {
        let at = out * g.strides[axis] + t * g.dilations[axis] - g.pads[axis];
        let (lo, hi) = g.interior(axis);
        if inside || (lo, hi) == (0, g.output[axis]) {
            return tap(k, at * stride, t);
        }
        let at = k.let_(names.1, at);
        k.if_(at.ge(0).and(at.lt(g.input[axis])), |k| tap(k, at * stride, t));
    });
}

/// Where the weights of output channel `(group, m)`, tap `(ic, ky, kx)` stand in the model.
fn model_index(g: &Geometry, group: usize, m: usize, ic: usize, ky: usize, kx: usize) -> usize {
    (((group * g.cout + m) * g.cin + ic) * g.kernel[0] + ky) * g.kernel[1] + kx
}

/// `[group][block][ky][kx][ic][channel in block]`, whole blocks first, then single channels.
fn blocked_order(g: &Geometry) -> Vec<usize> {
    let mut order = Vec::new();
    let whole = g.cout / BLOCK * BLOCK;
    let firsts = (0..whole).step_by(BLOCK).map(|m| (m, BLOCK)).chain((whole..g.cout).map(|m| (m, 1)));
    let blocks: Vec<(usize, usize)> = firsts.collect();
    for group in 0..g.groups {
        for &(first, size) in &blocks {
            for ky in 0..g.kernel[0] {
                for kx in 0..g.kernel[1] {
                    for ic in 0..g.cin {
                        order.extend((first..first + size).map(|m| model_index(g, group, m, ic, ky, kx)));
                    }
                }
            }
        }
    }
    order
}

/// Blocks of output channels that share each loaded input.
fn blocks(g: &Geometry, k: &mut KernelBuilder, at: &Pixel, inside: bool, from: Sources, sink: Sink<'_>) {
    let taps = g.kernel[0] * g.kernel[1] * g.cin;
    let whole = if from.packed { g.cout / BLOCK * BLOCK } else { 0 };
    k.for_("g", 0, g.groups, |k, group| {
        k.for_step("m", 0, whole, BLOCK as i32, |k, m| {
            block(g, k, at, inside, from, (group, m, BLOCK), group * (g.cout * taps) + m * taps, sink);
        });
        k.for_("m", whole, g.cout, |k, m| {
            block(g, k, at, inside, from, (group, m, 1), group * (g.cout * taps) + m * taps, sink);
        });
    });
}

fn block(
    g: &Geometry,
    k: &mut KernelBuilder,
    at: &Pixel,
    inside: bool,
    Sources { x, w, bias, zero, packed }: Sources,
    (group, m, size): (Val, Val, usize),
    weights: Expr,
    sink: Sink<'_>,
) {
    let channel = k.let_("channel", group * g.cout + m);
    let first = k.let_("first", weights);
    let acc: Vec<Val> = (0..size).map(|j| k.var(&format!("acc{j}"), bias.at(channel + j))).collect();
    let base = at.n * g.x[0] + group * (g.cin * g.x[1]);
    window(g, 0, k, at.oy, inside, &mut |k, row, ky| {
        window(g, 1, k, at.ox, inside, &mut |k, column, kx| {
            // Packed weights have the input channels of a tap side by side.
            let (tap, step) = match packed {
                true => ((ky * g.kernel[1] + kx) * (g.cin * size), size),
                false => (ky * g.kernel[1] + kx, g.kernel[0] * g.kernel[1]),
            };
            k.for_("ic", 0, g.cin, |k, ic| {
                let index = base.clone() + row.clone() + column + ic * g.x[1];
                let v = k.let_("v", zero.load(x, index));
                for (j, &acc) in acc.iter().enumerate() {
                    k.add_to(acc, v * w.at(first + tap.clone() + ic * step + j));
                }
            });
        });
    });
    let out = pixel(g, at);
    for (j, &acc) in acc.iter().enumerate() {
        let channel = channel + j;
        sink(k, out.clone() + &channel * g.y[1], acc, &channel);
    }
}

/// `[ky][kx][channel]`: neighbours in memory belong to neighbouring channels.
fn depthwise_order(g: &Geometry) -> Vec<usize> {
    let mut order = Vec::new();
    for ky in 0..g.kernel[0] {
        for kx in 0..g.kernel[1] {
            for c in 0..g.groups * g.cout {
                order.push(model_index(g, c / g.cout, c % g.cout, 0, ky, kx));
            }
        }
    }
    order
}

/// One output channel after the other, each from its own input channel.
fn channels(g: &Geometry, k: &mut KernelBuilder, at: &Pixel, inside: bool, from: Sources, sink: Sink<'_>) {
    let Sources { x, w, bias, zero, .. } = from;
    let all = g.groups * g.cout;
    k.for_("g", 0, g.groups, |k, group| {
        k.for_("m", 0, g.cout, |k, m| {
            let channel = k.let_("channel", group * g.cout + m);
            let acc = k.var("acc", bias.at(channel));
            let base = at.n * g.x[0] + group * g.x[1];
            // Small windows are spelled out: offsets become constants of each load.
            if inside && g.kernel[0] * g.kernel[1] <= 25 {
                let base = base
                    + (at.oy * g.strides[0] - g.pads[0]) * g.x[2]
                    + (at.ox * g.strides[1] - g.pads[1]) * g.x[3];
                let base = k.let_("base", base);
                for ky in 0..g.kernel[0] {
                    for kx in 0..g.kernel[1] {
                        let offset = ky * g.dilations[0] * g.x[2] + kx * g.dilations[1] * g.x[3];
                        let tap = (ky * g.kernel[1] + kx) * all;
                        k.add_to(acc, zero.load(x, base + offset) * w.at(channel + tap));
                    }
                }
            } else {
                window(g, 0, k, at.oy, inside, &mut |k, row, ky| {
                    window(g, 1, k, at.ox, inside, &mut |k, column, kx| {
                        let tap = (ky * g.kernel[1] + kx) * all;
                        let index = base.clone() + row.clone() + column;
                        k.add_to(acc, zero.load(x, index) * w.at(channel + tap));
                    });
                });
            }
            sink(k, pixel(g, at) + channel * g.y[1], acc, &channel.into());
        });
    });
}
