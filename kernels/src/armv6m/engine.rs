//! Int8 layers on cores without `smlad`: Thumb-1 code with two products in a multiplication.
//!
//! A convolution or dense layer takes eight output pixels at a time, wherever they lie: their
//! inputs become columns of words in the workspace ([`gather`]), which all output channels read
//! ([`gemm`]). Padding is gathered from an array of zero points. Where weights are zero, the same columns serve
//! a product without these, and so do planes ([`crate::armv6m::planes`]).
//!
//! In: sizes and a product. Out: the ways `gemm`, `blocks1x1` and `blocks1x1-planes` where they fit, and those
//! of [`winograd`]. Law: the outputs are those of the portable loops, bit by bit.

use crate::armv6m::columns::Columns;
use crate::armv6m::dense::Dense;
use crate::armv6m::dense_sparse::DenseSparse;
use crate::armv6m::depthwise::Depthwise;
use crate::armv6m::elementwise;
use crate::armv6m::im2col;
use crate::armv6m::packed::{Folded, Packed, SPARSE, packed, sparse, way};
use crate::armv6m::plane::{self, Plane};
use crate::armv6m::planes::Planes;
use crate::asm::armv6m::wide;
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Native, Val};
use crate::library::Library;
use crate::offer::{Candidate, Engine, Want, Weights};
use crate::problem::Geometry;
use crate::problem::Rows;
use crate::product::Product;
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
pub fn gather(n: usize, pitch: usize, (library, core): Made<'_>) -> Result<Arc<Kernel>> {
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
        for weights in Weights::of(product) {
            ways.extend(conv(g, product, (want, core), weights)?);
            if weights == Weights::Sparse {
                ways.extend(tiles(g, product, (want, core))?);
            }
        }
        Ok(ways)
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let Some(core) = &want.core().cost else { return Ok(Vec::new()) };
        let mut ways = Vec::new();
        for weights in Weights::of(product) {
            ways.extend(dense(rows, product, (want, core), weights)?);
        }
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
fn fill(k: &mut KernelBuilder, taps: usize, packed: &Packed, acts: Buf) {
    let from = taps * packed.columns();
    k.for_("i", from, packed.acts_len(), |k, i| k.store(acts, i, 0));
}

/// A dense layer or pointwise convolution.
fn dense(
    rows: &Rows,
    product: &Product,
    (want, core): (&Want<'_>, &Cost),
    weights: Weights,
) -> Result<Option<Candidate>> {
    let library = want.library;
    let inputs = rows.inputs.len;
    if !rows.side_by_side() {
        return Ok(None);
    }
    if rows.rows.is_empty() {
        return match weights {
            Weights::All => one_row(inputs, product, (library, core), "dense"),
            Weights::Sparse => sparse_row(product, (want, core)),
        };
    }
    let (outer, inner) = rows.split();
    let taps: Vec<usize> = (0..inputs).collect();
    let way = way(weights);
    let found = packed(product, (inner.len, inner.y), &taps, (want, core), weights)?;
    let Some((packed, stream)) = found else { return Ok(None) };
    let columns = packed.columns();
    // An odd number of pixels, as only a few of them may be, has no second one in the last pair.
    let even = packed.pixels().is_multiple_of(2);
    let gather = match even {
        true => library.once(&("rows", inputs, columns, inner.x), || {
            im2col::rows(inputs, columns, (2 * inner.x, inner.x), columns, core)
        })?,
        false => gather(inputs, columns, (library, core))?,
    };
    let product_of = packed.kernel((library, core))?;

    let mut k = KernelBuilder::new("dense_s8_gemm");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, rows.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, packed.acts_len(), Access::ReadWrite);
    let w = k.buffer("w", DType::I32, packed.stream_len(), Access::Read);
    fill(&mut k, inputs, &packed, acts);
    crate::axes::nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        groups(k, (inner.len, packed.pixels()), &mut |k, first| {
            let from = |p: Expr| x.from(x0 + p * inner.x);
            if even {
                k.call(&gather, vec![from(first.into()), acts.from(0)]);
            } else {
                k.for_("pair", 0, columns, |k, pair| {
                    let a = k.let_("a", first + pair * 2);
                    let b = (a + 1).min(inner.len - 1);
                    k.call(&gather, vec![from(a.into()), from(b), acts.from(pair)]);
                });
            }
            k.call(&product_of, vec![acts.from(0), w.from(0), y.from(y0 + first * inner.y)]);
        });
    });
    let args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), stream];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace: 4 * packed.acts_len() }))
}

/// A dense layer on a single row: it has no second pixel to share a multiplication with, so two
/// channels do. As `dense-words` its weights take two bytes each.
fn one_row(
    inputs: usize,
    product: &Product,
    (library, core): Made<'_>,
    way: &'static str,
) -> Result<Option<Candidate>> {
    let Some(Folded { w, b, form, constants }) = Folded::of(product, core)? else { return Ok(None) };
    let packed = [4, 2].into_iter().find_map(|step| {
        let dense = Dense { inputs, outputs: b.len(), form, expanded: way == "dense-words", step };
        let stream = dense.fits().then(|| dense.pack(&w, &b, &constants)).flatten();
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

/// The same of weights that are not zero.
fn sparse_row(product: &Product, (want, core): (&Want<'_>, &Cost)) -> Result<Option<Candidate>> {
    let Some(Folded { w, b, form, constants }) = Folded::of(product, core)? else { return Ok(None) };
    let found = DenseSparse::pack(form, &w, &b, &constants);
    // A channel has its constants either way.
    let small = |d: &DenseSparse| 4 * (d.words + d.outputs) <= w.len() || want.policy.spends_flash();
    let Some((dense, stream)) = found.filter(|(d, _)| small(d)) else { return Ok(None) };
    let weights = Bind::aligned("weights", Data::I32(stream), 4);
    let kernel = want.library.once(&dense, || dense.kernel(core))?;
    let call = Call { kernel, args: vec![Bind::Operand(0), weights, Bind::Result(0)] };
    Ok(Some(Candidate { way: SPARSE, call, workspace: 0 }))
}

/// A convolution with one group.
pub fn conv(
    g: &Geometry,
    product: &Product,
    (want, core): (&Want<'_>, &Cost),
    weights: Weights,
) -> Result<Option<Candidate>> {
    let (way, library) = (way(weights), want.library);
    // Channels last, and results so that pixels are evenly apart.
    let packed_x = g.cin == 1 || g.x[1] == 1;
    let packed_y = (g.cout == 1 || g.y[1] == 1) && (g.output[0] == 1 || g.y[2] == g.output[1] * g.y[3]);
    if g.groups > 1 || !packed_x || !packed_y {
        return Ok(None);
    }
    let taps = g.taps();
    let pixels = g.output[0] * g.output[1];
    let found = packed(product, (pixels, g.y[3]), &taps, (want, core), weights)?;
    let Some((packed, stream)) = found else { return Ok(None) };
    let columns = Columns::new(g, packed.pixels(), (library, core))?;
    let product_of = packed.kernel((library, core))?;

    let mut k = KernelBuilder::new("conv_s8_gemm");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, packed.acts_len(), Access::ReadWrite);
    let w = k.buffer("w", DType::I32, packed.stream_len(), Access::Read);
    let pad = g.padded().then(|| k.buffer("pad", DType::I8, g.cin, Access::Read));
    fill(&mut k, taps.len(), &packed, acts);
    k.for_("n", 0, g.batch, |k, n| {
        groups(k, (pixels, packed.pixels()), &mut |k, first| {
            k.for_("pair", 0, packed.columns(), |k, pair| {
                columns.pair(k, (x, acts, pad), n, first, pair);
            });
            let to = y.from(n * g.y[0] + first * g.y[3]);
            k.call(&product_of, vec![acts.from(0), w.from(0), to]);
        });
    });
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), stream];
    if pad.is_some() {
        let zeros = Data::I8(vec![product.x_zp as i8; g.cin]);
        args.push(Bind::aligned("padding", zeros, 1));
    }
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace: 4 * packed.acts_len() }))
}

/// A convolution on tiles of planes.
fn tiles(g: &Geometry, product: &Product, (want, core): (&Want<'_>, &Cost)) -> Result<Option<Candidate>> {
    let Some(planes) = Planes::new(g) else { return Ok(None) };
    let sizes = (planes.acts_len(g), planes.pixels, [g.y[3], planes.apart(g)]);
    let found = sparse(product, sizes, &planes.places(g), (want, core))?;
    let Some((packed, stream)) = found else { return Ok(None) };
    let made = (want.library, core);
    let product_of = (&packed.kernel(made)?, stream, packed.stream_len());
    crate::armv6m::planes::conv(g, &planes, product_of, product.x_zp, made).map(Some)
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
    let Some(Folded { w, b, form, constants }) = Folded::of(product, core)? else { return Ok(None) };
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
    let Some(stream) = dw.pack(&w, &b, &constants) else { return Ok(None) };
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
