//! Int8 layers on cores without `smlad`: Thumb-1 code with two products in a multiplication.
//!
//! A convolution or dense layer takes eight output pixels at a time, wherever they lie: their
//! inputs become columns of words in the workspace ([`gather`]), which all output channels read
//! ([`gemm`]). Padding is gathered from an array of zero points.
//!
//! In: sizes and a product. Out: the way `gemm` where it fits, and those of [`winograd`]. Law: the
//! outputs are those of the portable loops, bit by bit.

use crate::armv6m::dense::Dense;
use crate::armv6m::depthwise::Depthwise;
use crate::armv6m::elementwise;
use crate::armv6m::gemm::{Gemm, tile};
use crate::armv6m::im2col;
use crate::armv6m::plane::{self, Plane};
use crate::armv6m::round::rounding;
use crate::asm::armv6m::wide;
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Native, Val};
use crate::library::Library;
use crate::offer::{Candidate, Engine, Want};
use crate::problem::Geometry;
use crate::problem::Rows;
use crate::product::{Product, reach_len};
use crate::tensor::{DType, Data};
use crate::vector::Run;
use secateur_targets::{Cost, Target};
use std::sync::Arc;

/// The engine.
#[derive(Debug)]
pub struct Thumb;

/// The kernels made so far, and what instructions cost.
pub type Made<'a> = (&'a Library<'a>, &'a Cost);

/// Two pixels' inputs as words.
fn gather(n: usize, pitch: usize, (library, core): Made<'_>) -> Result<Arc<Kernel>> {
    library.once(&("gather", n, pitch), || im2col::kernel(n, pitch, core))
}

impl Engine for Thumb {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let Some(core) = &want.core().cost else { return Ok(Vec::new()) };
        if g.groups > 1 {
            // A plane serves one channel after the other: it may take what two tiles take.
            return depthwise(g, product, 2 * want.rows_limit, (want.library, core));
        }
        let mut ways = crate::armv6m::winograd_engine::ways(g, product, want, core)?;
        ways.extend(conv(g, product, (want.library, core))?);
        Ok(ways)
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let Some(core) = &want.core().cost else { return Ok(Vec::new()) };
        let mut ways: Vec<Candidate> = dense(rows, product, (want.library, core))?.into_iter().collect();
        if want.policy.spends_flash() && ways.iter().any(|way| way.way == "dense") {
            // Twice the flash of a layer that reads each weight once.
            ways.extend(one_row(rows.inputs.len, product, (want.library, core), "dense-words")?);
        }
        Ok(ways)
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        let Some(core) = &target.core.cost else { return Ok(Vec::new()) };
        elementwise::code(run, wide(core)).map(|c| c.finish(core)).into_iter().collect()
    }
}

/// Sizes and packed weights of a product of `pixels` columns; `taps` as in [`Gemm::pack`].
/// `None` if its sums or weights do not fit. The input's zero point is folded into the bias.
fn packed(
    product: &Product,
    (pixels, step): (usize, usize),
    taps: &[usize],
    core: &Cost,
) -> Result<Option<(Gemm, Bind)>> {
    let reach = product.reach()?;
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b), Finish::Int(r)) = (&folded.weights, &folded.bias, &folded.finish) else {
        return Ok(None);
    };
    let Some((form, constants)) = rounding(r, &reach, wide(core)) else { return Ok(None) };
    let (wide, outputs) = (wide(core), b.len());
    let pixels = pixels.min(tile(wide, outputs));
    let gemm = Gemm { taps: taps.len(), outputs, pixels, step, form, wide };
    let stream = gemm.pack(w, b, &constants, taps);
    Ok(stream.map(|s| (gemm, Bind::aligned("weights", Data::I32(s), 4))))
}

/// Loops over groups of pixels, the last one moved back so that it is whole; `body` gets the first
/// pixel of a group.
fn groups(
    k: &mut KernelBuilder,
    (pixels, size): (usize, usize),
    body: &mut dyn FnMut(&mut KernelBuilder, Val),
) {
    k.for_("group", 0, pixels.div_ceil(size), |k, group| {
        let first = k.let_("first", (group * size).min(pixels - size));
        body(k, first);
    });
}

/// Zeros for the taps that only fill a word.
fn fill(k: &mut KernelBuilder, gemm: &Gemm, acts: Buf) {
    let from = gemm.taps * gemm.columns();
    k.for_("i", from, gemm.acts_len(), |k, i| k.store(acts, i, 0));
}

/// A dense layer or pointwise convolution.
fn dense(rows: &Rows, product: &Product, (library, core): Made<'_>) -> Result<Option<Candidate>> {
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let unit = (inputs == 1 || rows.inputs.x == 1) && (outputs == 1 || rows.outputs.y == 1);
    if !unit {
        return Ok(None);
    }
    if rows.rows.is_empty() {
        return one_row(inputs, product, (library, core), "dense");
    }
    let (outer, inner) = match rows.rows.split_last() {
        Some((last, outer)) => (outer, *last),
        None => (&[][..], crate::problem::Axis { len: 1, x: 0, y: 0 }),
    };
    let taps: Vec<usize> = (0..inputs).collect();
    let Some((gemm, weights)) = packed(product, (inner.len, inner.y), &taps, core)? else { return Ok(None) };
    // An odd number of pixels, as only a few of them may be, has no second one in the last pair.
    let even = gemm.pixels.is_multiple_of(2);
    let gather = match even {
        true => library.once(&("rows", inputs, gemm.columns(), inner.x), || {
            im2col::rows(inputs, gemm.columns(), inner.x, core)
        })?,
        false => gather(inputs, gemm.columns(), (library, core))?,
    };
    let product_of = library.once(&gemm, || gemm.kernel(core))?;

    let mut lens: Vec<usize> = rows.rows.iter().map(|a| a.len).collect();
    let mut xs: Vec<usize> = rows.rows.iter().map(|a| a.x).collect();
    let mut ys: Vec<usize> = rows.rows.iter().map(|a| a.y).collect();
    lens.push(inputs);
    xs.push(1);
    let x_len = reach_len(&lens, &xs);
    *lens.last_mut().unwrap_or(&mut 1) = outputs;
    ys.push(1);
    let y_len = reach_len(&lens, &ys);

    let mut k = KernelBuilder::new("dense_s8_gemm");
    let x = k.buffer("x", DType::I8, x_len, Access::Read);
    let y = k.buffer("y", DType::I8, y_len, Access::Write);
    let acts = k.buffer("acts", DType::I32, gemm.acts_len(), Access::ReadWrite);
    let w = k.buffer("w", DType::I32, gemm.stream_len(), Access::Read);
    fill(&mut k, &gemm, acts);
    crate::axes::nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        groups(k, (inner.len, gemm.pixels), &mut |k, first| {
            let from = |p: Expr| x.from(x0 + p * inner.x);
            if even {
                k.call(&gather, vec![from(first.into()), acts.from(0)]);
            } else {
                k.for_("pair", 0, gemm.columns(), |k, pair| {
                    let a = k.let_("a", first + pair * 2);
                    let b = (a + 1).min(inner.len - 1);
                    k.call(&gather, vec![from(a.into()), from(b), acts.from(pair)]);
                });
            }
            k.call(&product_of, vec![acts.from(0), w.from(0), y.from(y0 + first * inner.y)]);
        });
    });
    let args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), weights];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "gemm", call, workspace: 4 * gemm.acts_len() }))
}

/// A dense layer on a single row: it has no second pixel to share a multiplication with, so two
/// channels do. As `dense-words` its weights take two bytes each.
fn one_row(
    inputs: usize,
    product: &Product,
    (library, core): Made<'_>,
    way: &'static str,
) -> Result<Option<Candidate>> {
    let reach = product.reach()?;
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b), Finish::Int(r)) = (&folded.weights, &folded.bias, &folded.finish) else {
        return Ok(None);
    };
    let Some((form, constants)) = rounding(r, &reach, wide(core)) else { return Ok(None) };
    let packed = [4, 2].into_iter().find_map(|step| {
        let dense = Dense { inputs, outputs: b.len(), form, expanded: way == "dense-words", step };
        let stream = dense.fits().then(|| dense.pack(w, b, &constants)).flatten();
        stream.map(|stream| (dense, stream))
    });
    let Some((dense, stream)) = packed else { return Ok(None) };
    let weights = Bind::aligned("weights", Data::I32(stream), 4);
    let call = Call {
        kernel: library.once(&dense, || dense.kernel(core))?,
        args: vec![Bind::Operand(0), weights, Bind::Result(0)],
    };
    Ok(Some(Candidate { way, call, workspace: 0 }))
}

/// A convolution with one group.
pub fn conv(g: &Geometry, product: &Product, (library, core): Made<'_>) -> Result<Option<Candidate>> {
    let [kh, kw] = g.kernel;
    // Channels last, and results so that pixels are evenly apart.
    let packed_x = g.cin == 1 || g.x[1] == 1;
    let packed_y = (g.cout == 1 || g.y[1] == 1) && (g.output[0] == 1 || g.y[2] == g.output[1] * g.y[3]);
    if g.groups > 1 || !packed_x || !packed_y {
        return Ok(None);
    }
    let mut taps = Vec::with_capacity(kh * kw * g.cin);
    for ky in 0..kh {
        for kx in 0..kw {
            taps.extend((0..g.cin).map(|ic| (ic * kh + ky) * kw + kx));
        }
    }
    let pixels = g.output[0] * g.output[1];
    let Some((gemm, weights)) = packed(product, (pixels, g.y[3]), &taps, core)? else { return Ok(None) };
    let columns = Columns::new(g, &gemm, (library, core))?;
    let product_of = library.once(&gemm, || gemm.kernel(core))?;

    let mut k = KernelBuilder::new("conv_s8_gemm");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, gemm.acts_len(), Access::ReadWrite);
    let w = k.buffer("w", DType::I32, gemm.stream_len(), Access::Read);
    let pad = g.padded().then(|| k.buffer("pad", DType::I8, g.cin, Access::Read));
    fill(&mut k, &gemm, acts);
    k.for_("n", 0, g.batch, |k, n| {
        groups(k, (pixels, gemm.pixels), &mut |k, first| {
            k.for_("pair", 0, gemm.columns(), |k, pair| {
                columns.pair(k, (x, acts, pad), n, first, pair);
            });
            let to = y.from(n * g.y[0] + first * g.y[3]);
            k.call(&product_of, vec![acts.from(0), w.from(0), to]);
        });
    });
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), weights];
    if pad.is_some() {
        let zeros = Data::I8(vec![product.x_zp as i8; g.cin]);
        args.push(Bind::aligned("padding", zeros, 1));
    }
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "gemm", call, workspace: 4 * gemm.acts_len() }))
}

/// A depthwise convolution: each channel's inputs become a plane of words, or strips of it with
/// at most `limit` bytes. Whole planes are another way where they cost less memory than a result
/// of its own, which may then stand where the input does.
fn depthwise(g: &Geometry, product: &Product, limit: usize, made: Made<'_>) -> Result<Vec<Candidate>> {
    let strips = planes(g, product, ("depthwise", limit), made)?;
    let mut ways = Vec::new();
    if g.in_step() && strips.as_ref().is_some_and(|way| !way.in_place()) {
        let whole = planes(g, product, ("depthwise-whole", g.y_len()), made)?;
        ways.extend(whole.filter(Candidate::in_place));
    }
    ways.extend(strips);
    Ok(ways)
}

fn planes(
    g: &Geometry,
    product: &Product,
    (way, limit): (&'static str, usize),
    (library, core): Made<'_>,
) -> Result<Option<Candidate>> {
    let channels_last = g.x[1] == 1 && g.y[1] == 1;
    if g.cin != 1 || g.cout != 1 || !channels_last {
        return Ok(None);
    }
    let reach = product.reach()?;
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b), Finish::Int(r)) = (&folded.weights, &folded.bias, &folded.finish) else {
        return Ok(None);
    };
    let Some((form, constants)) = rounding(r, &reach, wide(core)) else { return Ok(None) };
    let stride = g.strides[1];
    let width = (g.output[1] - 1) * stride + (g.kernel[1] - 1) * g.dilations[1] + 1;
    let columns = g.input[1].min(width.saturating_sub(g.pads[1]));
    let high = |rows: usize| (rows - 1) * g.strides[0] + (g.kernel[0] - 1) * g.dilations[0] + 1;
    let plane = Plane {
        stride,
        half: width.div_ceil(stride),
        columns,
        left: g.pads[1],
        rows: g.input[0].min(high(g.output[0]).saturating_sub(g.pads[0])),
        pixel: g.x[3],
        row: if g.input[0] == 1 { columns * g.x[3] } else { g.x[2] },
    };
    // Strips of rows, evenly; the last one is moved back so that it is whole.
    let mut strips = 1;
    while g.output[0].div_ceil(strips) > 1 && 4 * plane.pitch() * high(g.output[0].div_ceil(strips)) > limit {
        strips += 1;
    }
    let rows = g.output[0].div_ceil(strips);
    let strips = g.output[0].div_ceil(rows);
    let one_row = Plane { rows: 1, ..plane };
    let dw = Depthwise {
        plane: one_row,
        kernel: g.kernel,
        dilations: g.dilations,
        stride: g.strides[0],
        rows,
        columns: g.output[1],
        step: g.y[3],
        row: if rows == 1 { g.output[1] * g.y[3] } else { g.y[2] },
        form,
    };
    if columns == 0 || plane.rows == 0 || !plane.fits() || !dw.fits() {
        return Ok(None);
    }
    let Some(stream) = dw.pack(w, b, &constants) else { return Ok(None) };
    let weights = Bind::aligned("weights", Data::I32(stream), 4);
    let copied = if strips == 1 { plane } else { one_row };
    let copy = library.once(&copied, || copied.kernel(core))?;
    let product_of = library.once(&dw, || dw.kernel(core))?;
    let fill = library.once(&("fill", dw.plane_len()), || plane::fill(dw.plane_len(), core))?;

    let mut k = KernelBuilder::new("depthwise_s8_planes");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let words = k.buffer("plane", DType::I32, dw.plane_len(), Access::ReadWrite);
    let w = k.buffer("w", DType::I32, g.groups * dw.channel(), Access::Read);
    let shape = k.buffer("shape", DType::I32, dw.shape().len(), Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let pitch = plane.pitch();
    k.for_("n", 0, g.batch, |k, n| {
        k.for_("strip", 0, strips, |k, strip| {
            // Padding: what no input overwrites.
            k.call(&fill, vec![words.from(0), CallArg::Scalar(zx.into())]);
            let oy = k.let_("oy", (strip * rows).min(g.output[0] - rows));
            k.for_("channel", 0, g.groups, |k, channel| {
                if strips == 1 {
                    let from = x.from(n * g.x[0] + channel);
                    k.call(&copy, vec![from, words.from(g.pads[0] * pitch)]);
                } else {
                    k.for_("r", 0, high(rows), |k, r| {
                        let iy = k.let_("iy", oy * g.strides[0] + r - g.pads[0]);
                        k.if_(iy.ge(0).and(iy.lt(g.input[0])), |k| {
                            let from = x.from(n * g.x[0] + iy * g.x[2] + channel);
                            k.call(&copy, vec![from, words.from(r * pitch)]);
                        });
                    });
                }
                let to = y.from(n * g.y[0] + oy * g.y[2] + channel);
                k.call(&product_of, vec![words.from(0), w.from(channel * dw.channel()), to, shape.from(0)]);
            });
        });
    });
    let result = if g.in_step() && strips == 1 { Bind::ResultInPlace } else { Bind::Result(0) };
    let shape = Bind::aligned("shape", Data::I32(dw.shape()), 4);
    let args = vec![Bind::Operand(0), result, Bind::Workspace(0), weights, shape, Bind::Scalar(product.x_zp)];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace: 4 * dw.plane_len() }))
}

/// Gathers the windows of two output pixels.
struct Columns<'a> {
    g: &'a Geometry,
    gemm: Gemm,
    /// For a window and a row of it: their inputs lie side by side, and some are all inside.
    window: Option<Arc<Kernel>>,
    row: Option<Arc<Kernel>>,
    /// For one tap's channels.
    tap: Arc<Kernel>,
}

/// Where a window begins in the input, padding included.
#[derive(Clone, Copy)]
struct Corner {
    iy: Val,
    ix: Val,
}

impl<'a> Columns<'a> {
    fn new(g: &'a Geometry, gemm: &Gemm, (library, core): Made<'_>) -> Result<Columns<'a>> {
        let run = g.kernel[1] == 1 || (g.dilations[1] == 1 && g.x[3] == g.cin);
        let pitch = gemm.columns();
        let fits = |axis: usize| g.interior(axis).0 < g.interior(axis).1;
        let (n, step) = (g.kernel[1] * g.cin, g.dilations[0] * g.x[2]);
        let row = if run && fits(1) { Some(gather(n, pitch, (library, core))?) } else { None };
        let window = match (g.kernel[0], &row) {
            (1, _) | (_, None) => row.clone(),
            (rows, Some(_)) => Some(library.once(&("windows", n, rows, step, pitch), || {
                im2col::windows(n, (rows, step), pitch, core)
            })?),
        };
        let window = window.filter(|_| fits(0));
        Ok(Columns { g, gemm: *gemm, window, row, tap: gather(g.cin, pitch, (library, core))? })
    }

    /// The window of output pixel `p`.
    fn corner(&self, k: &mut KernelBuilder, p: Val) -> Corner {
        let g = self.g;
        // A quotient by the width, by a product: exact for as many pixels as there are.
        let (width, pixels) = (g.output[1], g.output[0] * g.output[1]);
        let (oy, ox) = if width.is_power_of_two() {
            let by = width.trailing_zeros() as i32;
            (k.let_("oy", p >> by), k.let_("ox", p & (width - 1)))
        } else if let Some((m, by)) = reciprocal(width, pixels) {
            let oy = k.let_("oy", (p * m) >> by);
            (oy, k.let_("ox", p - oy * width))
        } else {
            (k.let_("oy", p / width), k.let_("ox", p % width))
        };
        let iy = k.let_("iy", oy * g.strides[0] - g.pads[0]);
        Corner { iy, ix: k.let_("ix", ox * g.strides[1] - g.pads[1]) }
    }

    fn pair(
        &self,
        k: &mut KernelBuilder,
        (x, acts, pad): (Buf, Buf, Option<Buf>),
        n: Val,
        first: Val,
        pair: Val,
    ) {
        let (g, pixels) = (self.g, self.g.output[0] * self.g.output[1]);
        let a = k.let_("a", first + pair * 2);
        let b = k.let_("b", if self.gemm.pixels.is_multiple_of(2) { a + 1 } else { (a + 1).min(pixels - 1) });
        let (a, b) = (self.corner(k, a), self.corner(k, b));
        let [high, wide] = [0, 1].map(|axis| (g.kernel[axis] - 1) * g.dilations[axis]);
        let base = n * g.x[0];
        let at = |y: Val, x: Expr| base.clone() + y * g.x[2] + x * g.x[3];
        let Some(window) = &self.window else { return self.rows(k, (x, acts, pad), (a, b), &base, pair) };
        let whole = |k: &mut KernelBuilder| {
            let (from, other) = (at(a.iy, a.ix.into()), at(b.iy, b.ix.into()));
            k.call(window, vec![x.from(from), x.from(other), acts.from(pair)]);
        };
        if pad.is_none() {
            return whole(k);
        }
        let inside = |c: Corner| {
            let row = c.iy.ge(0).and((c.iy + high).lt(g.input[0]));
            row.and(c.ix.ge(0)).and((c.ix + wide).lt(g.input[1]))
        };
        k.if_else(inside(a).and(inside(b)), whole, |k| {
            self.rows(k, (x, acts, pad), (a, b), &base, pair);
        });
    }

    /// The same row by row, some of them padding.
    fn rows(
        &self,
        k: &mut KernelBuilder,
        (x, acts, pad): (Buf, Buf, Option<Buf>),
        (a, b): (Corner, Corner),
        base: &Expr,
        pair: Val,
    ) {
        let g = self.g;
        let wide = (g.kernel[1] - 1) * g.dilations[1];
        k.for_("ky", 0, g.kernel[0], |k, ky| {
            let ya = k.let_("ya", a.iy + ky * g.dilations[0]);
            let yb = k.let_("yb", b.iy + ky * g.dilations[0]);
            let at = |y: Val, x: Expr| base.clone() + y * g.x[2] + x * g.x[3];
            let to = ky * (g.kernel[1] * g.cin * self.gemm.columns()) + pair;
            let row_inside = |y: Val| y.ge(0).and(y.lt(g.input[0]));
            let whole = |k: &mut KernelBuilder, row: &Arc<Kernel>| {
                let (from, other) = (at(ya, a.ix.into()), at(yb, b.ix.into()));
                k.call(row, vec![x.from(from), x.from(other), acts.from(to.clone())]);
            };
            let taps = |k: &mut KernelBuilder| {
                k.for_("kx", 0, g.kernel[1], |k, kx| {
                    let xa = k.let_("xa", a.ix + kx * g.dilations[1]);
                    let xb = k.let_("xb", b.ix + kx * g.dilations[1]);
                    let to = acts.from(to.clone() + kx * (g.cin * self.gemm.columns()));
                    let (from, other) = (x.from(at(ya, xa.into())), x.from(at(yb, xb.into())));
                    let Some(pad) = pad else { return k.call(&self.tap, vec![from, other, to]) };
                    let inside = |y: Val, x: Val| row_inside(y).and(x.ge(0)).and(x.lt(g.input[1]));
                    let call = |k: &mut KernelBuilder, a, b| k.call(&self.tap, vec![a, b, to.clone()]);
                    k.if_else(
                        inside(ya, xa),
                        |k| {
                            k.if_else(
                                inside(yb, xb),
                                |k| call(k, from.clone(), other.clone()),
                                |k| call(k, from.clone(), pad.from(0)),
                            );
                        },
                        |k| {
                            k.if_else(
                                inside(yb, xb),
                                |k| call(k, pad.from(0), other.clone()),
                                |k| call(k, pad.from(0), pad.from(0)),
                            );
                        },
                    );
                });
            };
            let Some(row) = &self.row else { return taps(k) };
            let inside = |y: Val, x: Val| row_inside(y).and(x.ge(0)).and((x + wide).lt(g.input[1]));
            k.if_else(inside(ya, a.ix).and(inside(yb, b.ix)), |k| whole(k, row), taps);
        });
    }
}

/// `p / width == (p * m) >> by` for all `p < pixels`, products within 31 bits.
fn reciprocal(width: usize, pixels: usize) -> Option<(usize, i32)> {
    (8..24).find_map(|by| {
        let m = (1usize << by) / width + 1;
        let exact = pixels * m < 1 << 31 && (0..pixels).all(|p| (p * m) >> by == p / width);
        exact.then_some((m, by))
    })
}
