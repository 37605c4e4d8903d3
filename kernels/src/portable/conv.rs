//! Convolution as plain loops: any stride, dilation, padding, grouping and memory order, float
//! or int8. One-dimensional convolutions have height 1.
//!
//! In: a [`Geometry`] and a [`Product`]. Out: one call. Output pixels whose window lies inside
//! the input run without any test; only the border's pixels ask for each tap.
//! Law: weights stand in the order in which the loops read them.

use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val};
use crate::problem::Geometry;
use crate::product::{Product, Weights, Zero, constant};
use std::sync::Arc;

/// Output channels computed side by side.
const BLOCK: usize = 4;

/// Where the coefficients come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Known at compile time, packed in the order of reading.
    Packed,
    /// The same, in four bits each.
    Packed4,
    /// Operand 1 as the model has it, row-major, and operand 2 if there is a bias.
    Operands { bias: bool },
}

/// Spells a convolution as one kernel call: operand 0 to result.
pub fn conv(g: &Geometry, product: &Product, kernels: Kernels) -> Result<Call> {
    let padded = g.padded();
    let product = if padded { product.clone() } else { product.clone().folded() };
    let packed = !matches!(kernels, Kernels::Operands { .. });
    let depthwise = packed && g.depthwise();
    let order = match kernels {
        Kernels::Operands { .. } => (0..product.weights.len()).collect(),
        _ if depthwise => depthwise_order(g),
        _ => blocked_order(g),
    };
    let weights = product.coefficients(&order, kernels == Kernels::Packed4);

    let kind = if depthwise { "depthwise" } else { "conv" };
    let mut k = KernelBuilder::new(format!("{kind}_{}", product.suffix()));
    let x = k.buffer("x", product.operand, g.x_len(), Access::Read);
    let y = k.buffer("y", product.finish.elem(), g.y_len(), Access::Write);
    let w = weights.declare(&mut k);
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
    let bias = Bind::data("bias", product.bias.clone());
    let mut args = vec![Bind::Operand(0), Bind::Result(0)];
    args.extend(match kernels {
        Kernels::Packed | Kernels::Packed4 => [Bind::data("weights", weights.data), bias],
        Kernels::Operands { bias: false } => [Bind::Operand(1), bias],
        Kernels::Operands { bias: true } => [Bind::Operand(1), Bind::Operand(2)],
    });
    args.extend(product.zero_role());
    args.extend(product.finish.roles());
    Ok(Call { kernel, args })
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
    w: Weights,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::quant::{Clamp, Quant};
    use crate::arith::requant::{Multiplier, requantize};
    use crate::tensor::{DType, Data, Tensor};
    use crate::trial::{Random, run};

    /// Shapes that differ in everything: kernel, stride, dilation, uneven padding, groups, odd
    /// channels, single rows and columns, both memory orders.
    pub(crate) fn shapes() -> Vec<Geometry> {
        let mut shapes = Vec::new();
        #[rustfmt::skip]
        let table: [(usize, usize, usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2], [usize; 4]); 14] = [
            // groups, cin, cout, input, kernel, strides, dilations, pads (begin, end)
            (1, 3, 5, [5, 4], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
            (1, 1, 4, [9, 6], [4, 3], [2, 2], [1, 1], [1, 0, 2, 1]),
            (1, 7, 9, [1, 11], [1, 5], [1, 3], [1, 1], [0, 4, 0, 0]),
            (1, 4, 8, [6, 6], [1, 1], [2, 2], [1, 1], [0, 0, 0, 0]),
            (1, 5, 3, [4, 7], [1, 1], [1, 1], [1, 1], [0, 0, 0, 0]),
            (2, 3, 4, [5, 5], [3, 2], [1, 2], [2, 1], [2, 0, 2, 1]),
            (3, 2, 1, [4, 4], [2, 2], [1, 1], [1, 1], [0, 0, 0, 0]),
            (6, 1, 1, [5, 7], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
            (5, 1, 2, [7, 5], [3, 3], [2, 2], [1, 1], [0, 0, 1, 1]),
            (4, 1, 1, [1, 9], [1, 9], [1, 1], [1, 1], [0, 4, 0, 4]),
            (3, 1, 3, [3, 3], [5, 5], [1, 1], [1, 1], [2, 2, 2, 2]),
            (7, 1, 1, [8, 8], [6, 6], [1, 1], [1, 1], [0, 0, 0, 0]),
            (1, 2, 2, [10, 1], [3, 1], [3, 1], [3, 1], [3, 0, 3, 0]),
            (1, 2, 6, [4, 4], [4, 4], [1, 1], [1, 1], [0, 0, 0, 0]),
        ];
        for (i, &(groups, cin, cout, input, kernel, strides, dilations, pads)) in table.iter().enumerate() {
            let out = |a: usize| {
                (input[a] + pads[a] + pads[a + 2] - (kernel[a] - 1) * dilations[a] - 1) / strides[a] + 1
            };
            let (output, batch) = ([out(0), out(1)], 1 + i % 2);
            // Channels last and, in every third case, channels first.
            let lay = |c: usize, [h, w]: [usize; 2], first: bool| {
                if first { [c * h * w, h * w, w, 1] } else { [c * h * w, 1, w * c, c] }
            };
            let g = Geometry {
                batch,
                groups,
                cin,
                cout,
                input,
                output,
                kernel,
                strides,
                dilations,
                pads: [pads[0], pads[1]],
                x: lay(groups * cin, input, i % 3 == 2),
                y: lay(groups * cout, output, i % 3 == 1),
            };
            shapes.push(g);
        }
        shapes
    }

    /// Visits every tap that lies inside: `(n, channel, oy, ox, input offset, model index)`.
    fn taps(g: &Geometry, mut visit: impl FnMut(usize, usize, Option<(usize, usize)>)) {
        for n in 0..g.batch {
            for m in 0..g.groups * g.cout {
                for oy in 0..g.output[0] {
                    for ox in 0..g.output[1] {
                        let at = n * g.y[0] + m * g.y[1] + oy * g.y[2] + ox * g.y[3];
                        visit(at, m, None);
                        for ic in 0..g.cin {
                            for ky in 0..g.kernel[0] {
                                for kx in 0..g.kernel[1] {
                                    let iy =
                                        (oy * g.strides[0] + ky * g.dilations[0]) as i64 - g.pads[0] as i64;
                                    let ix =
                                        (ox * g.strides[1] + kx * g.dilations[1]) as i64 - g.pads[1] as i64;
                                    let inside = (0..g.input[0] as i64).contains(&iy)
                                        && (0..g.input[1] as i64).contains(&ix);
                                    if inside {
                                        let c = m / g.cout * g.cin + ic;
                                        let x = n * g.x[0]
                                            + c * g.x[1]
                                            + iy as usize * g.x[2]
                                            + ix as usize * g.x[3];
                                        visit(
                                            at,
                                            m,
                                            Some((
                                                x,
                                                ((m * g.cin + ic) * g.kernel[0] + ky) * g.kernel[1] + kx,
                                            )),
                                        );
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn float_loops_agree_with_double_sums() {
        let mut random = Random(3);
        for (i, g) in shapes().iter().enumerate() {
            let rows = g.groups * g.cout;
            let w = random.floats(rows * g.cin * g.kernel[0] * g.kernel[1]);
            let (b, x) = (random.floats(rows), random.floats(g.x_len()));
            let clamp = if i % 2 == 0 { Clamp::NONE } else { Clamp { lo: 0.0, hi: 6.0 } };
            let mut want = vec![0f64; g.y_len()];
            taps(g, |at, m, tap| match tap {
                None => want[at] = f64::from(b[m]),
                Some((xi, wi)) => want[at] += f64::from(x[xi]) * f64::from(w[wi]),
            });
            let product = Product::float(&w, Some(&b), rows, clamp);
            let packed = conv(g, &product, Kernels::Packed).unwrap();
            let Data::F32(got) = run(&packed, &[Data::F32(x.clone())], DType::F32, g.y_len()) else {
                panic!()
            };
            let from_operands = conv(g, &product, Kernels::Operands { bias: true }).unwrap();
            let operands = [Data::F32(x), Data::F32(w), Data::F32(b)];
            let Data::F32(same) = run(&from_operands, &operands, DType::F32, g.y_len()) else { panic!() };
            for ((got, same), want) in got.iter().zip(&same).zip(&want) {
                let want = want.clamp(clamp.lo.into(), clamp.hi.into());
                assert!((f64::from(*got) - want).abs() < 1e-4, "case {i}: {got} {want}");
                assert!((f64::from(*same) - want).abs() < 1e-4, "case {i}: {same} {want}");
            }
        }
    }

    #[test]
    fn integer_loops_are_exact() {
        let mut random = Random(5);
        for round in 0..3 {
            for (i, g) in shapes().iter().enumerate() {
                let rows = g.groups * g.cout;
                let per_row = g.cin * g.kernel[0] * g.kernel[1];
                let wide = round == 2 && i % 2 == 0;
                // Imported weights: unsigned with a zero point, so up to nine bits wide.
                let stored: Vec<u8> = (0..rows * per_row).map(|_| random.within(0, 255) as u8).collect();
                let (weights, w_zp) = if wide {
                    (Data::U8(stored), random.within(0, 255) as i32)
                } else {
                    (Data::I8(stored.iter().map(|&v| (v as i8).max(-127)).collect()), 0)
                };
                let weights = Tensor::new(vec![rows, per_row], weights).unwrap();
                let per_channel = i % 2 == 1;
                let n = if per_channel { rows } else { 1 };
                let scales: Vec<f32> = (0..n).map(|_| random.within(1, 1000) as f32 / 1e5).collect();
                let wq = Quant {
                    dtype: weights.dtype(),
                    scale: scales.clone(),
                    zero_point: vec![w_zp; n],
                    axis: per_channel.then_some(0),
                };
                let x_zp = [-128, 127, 0, 3][(i + round) % 4];
                let y_zp = [127, -128, -7, 0][(i + 2 * round) % 4];
                let (sx, sy) = (0.02f32, [0.05f32, 1.0, 0.001][round]);
                let (xq, yq) =
                    (Quant::per_tensor(DType::I8, sx, x_zp), Quant::per_tensor(DType::I8, sy, y_zp));
                let bias: Vec<i32> = (0..rows).map(|_| random.within(-3000, 3000) as i32).collect();
                let bt = Tensor::new(vec![rows], Data::I32(bias.clone())).unwrap();
                let bq = Quant {
                    dtype: DType::I32,
                    scale: scales.iter().map(|s| s * sx).collect(),
                    zero_point: vec![0; n],
                    axis: per_channel.then_some(0),
                };
                let clamp = if i % 3 == 0 { Clamp { lo: 0.0, hi: 6.0 } } else { Clamp::NONE };
                let product = Product::int((&weights, &wq), Some((&bt, Some(&bq))), &xq, &yq, clamp).unwrap();
                let x = random.bytes(g.x_len());

                let w = weights.to_i64_vec();
                let mut acc = vec![0i64; g.y_len()];
                let mut channel = vec![0usize; g.y_len()];
                taps(g, |at, m, tap| match tap {
                    None => (acc[at], channel[at]) = (i64::from(bias[m]), m),
                    Some((xi, wi)) => {
                        acc[at] += (i64::from(x[xi]) - i64::from(x_zp)) * (w[wi] - i64::from(w_zp));
                    }
                });
                let limit = |v: f32| (v / sy).round_ties_even() as i64 + i64::from(y_zp);
                let lo = if clamp.is_none() { -128 } else { limit(0.0).clamp(-128, 127) };
                let hi = if clamp.is_none() { 127 } else { limit(6.0).clamp(-128, 127) };
                let want: Vec<i8> = (acc.iter().zip(&channel))
                    .map(|(&acc, &m)| {
                        let scale = scales[if per_channel { m } else { 0 }];
                        let real = f64::from(sx) * f64::from(scale) / f64::from(sy);
                        let Multiplier { m, s } = crate::arith::requant::multiplier(real).unwrap();
                        let by = Multiplier { m, s };
                        requantize(acc as i32, by, y_zp, lo as i32, hi as i32) as i8
                    })
                    .collect();
                let call = conv(g, &product, Kernels::Packed).unwrap();
                let got = run(&call, &[Data::I8(x.clone())], DType::I8, g.y_len());
                assert_eq!(got, Data::I8(want), "case {i} round {round}");
                // Weights of four bits: the same loops over half the bytes.
                let Data::I32(w) = &product.weights else { panic!() };
                let four = Data::I32(w.iter().map(|w| (w & 15) - 8).collect());
                let product = Product { weights: four, ..product };
                let [bytes, digits] = [Kernels::Packed, Kernels::Packed4].map(|kernels| {
                    let call = conv(g, &product, kernels).unwrap();
                    (run(&call, &[Data::I8(x.clone())], DType::I8, g.y_len()), call.data_bytes())
                });
                assert_eq!(bytes.0, digits.0, "case {i} round {round}");
                assert_eq!(bytes.1 - digits.1, product.weights.len() / 2);
            }
        }
    }

    #[test]
    fn equal_layers_share_a_kernel() {
        let g = &shapes()[0];
        let mut random = Random(9);
        let mut kernel = |zp: i32, scale: f32| {
            let w =
                Tensor::new(vec![5, 27], Data::I8(random.bytes(135).iter().map(|&v| v.max(-127)).collect()));
            let q = |z| Quant::per_tensor(DType::I8, scale, z);
            let p = Product::int((&w.unwrap(), &q(0)), None, &q(zp), &q(-zp), Clamp::NONE).unwrap();
            conv(g, &p, Kernels::Packed).unwrap().kernel
        };
        assert_eq!(kernel(3, 0.01), kernel(-100, 0.02));
    }
}
