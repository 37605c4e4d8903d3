//! Convolutions and dense layers on cores with Helium, of inputs and results of eight bits or sixteen.
//!
//! Inputs stay as they are: the zero point is folded into the bias, and padding is rows of the
//! workspace that hold the zero point. What no Helium kernel takes goes to the blocks of the DSP
//! extension, which these cores have as well.
//!
//! In: sizes and a product. Out: ways. Law: the outputs are those of the portable loops, bit by bit.

use crate::armv7em::engine::Dsp;
use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, KernelBuilder, Native};
use crate::library::Library;
use crate::mve::depthwise::{self, Depthwise};
use crate::mve::elementwise;
use crate::mve::gemm::{Gemm, LANES};
use crate::mve::live;
use crate::mve::rows::{Columns, InputRows, Lay};
use crate::offer::{Candidate, DENSE4, Engine, Live, Loaded, SPARSE, Want};
use crate::panel::direct;
use crate::problem::{Geometry, Rows};
use crate::product::Product;
use crate::recurrent::Units;
use crate::softmax::Row;
use crate::tensor::{DType, Data};
use crate::vector::Run;
use secateur_targets::Target;

/// The engine of cores with Helium.
#[derive(Debug)]
pub struct Helium;

impl Engine for Helium {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let limit = want.rows_limit;
        let turned = turned(g).map(|g| (g, None)).or_else(|| columns_first(g, product));
        let (g2, product2) = match &turned {
            Some((g2, product2)) => (g2, product2.as_ref().unwrap_or(product)),
            None => (g, product),
        };
        let ways: Vec<Candidate> = match g.groups {
            1 => either(product, |four| conv(g2, product2, limit, want.library, four))?,
            _ => by_channel(g2, product2, limit, want.library)?.into_iter().collect(),
        };
        let mut ways = if ways.is_empty() { Dsp.conv(g, product, want)? } else { ways };
        if g.groups == 1 {
            ways.extend(crate::mve::sparse_engine::conv(g2, product2, want)?);
        }
        Ok(ways)
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let ways = either(product, |four| dense(rows, product, want.library, four))?;
        let mut ways = if ways.is_empty() { Dsp.dense(rows, product, want)? } else { ways };
        ways.extend(crate::mve::sparse_engine::dense(rows, product, want)?);
        Ok(ways)
    }
    fn wide(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let ways = either(product, |four| dense(rows, product, want.library, four))?;
        beside(ways, product, || Dsp.wide(rows, product, want))
    }
    fn wide_conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let turned = turned(g).map(|g| (g, None)).or_else(|| columns_first(g, product));
        let (g2, product2) = match &turned {
            Some((g2, product2)) => (g2, product2.as_ref().unwrap_or(product)),
            None => (g, product),
        };
        let ways = match g.groups {
            1 => either(product, |four| conv(g2, product2, want.rows_limit, want.library, four))?,
            _ => Vec::new(),
        };
        beside(ways, product, || Dsp.wide_conv(g, product, want))
    }
    fn live(&self, rows: &Rows, live: &Live, want: &Want<'_>) -> Result<Option<Loaded>> {
        match live::product(rows, live, want)? {
            Some(product) => Ok(Some(product)),
            None => Dsp.live(rows, live, want),
        }
    }
    fn units(&self, units: &Units, target: &Target) -> Result<Option<Native>> {
        Dsp.units(units, target)
    }
    fn softmax(&self, row: &Row, target: &Target) -> Result<Option<Native>> {
        Dsp.softmax(row, target)
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        match elementwise::block(run) {
            Some(block) => Ok(vec![block.native()?]),
            None => Dsp.run(run, target),
        }
    }
}

/// Helium's ways, and those of the DSP extension that keep weights in forms that Helium has not for these inputs.
fn beside(
    mut ways: Vec<Candidate>,
    product: &Product,
    others: impl FnOnce() -> Result<Vec<Candidate>>,
) -> Result<Vec<Candidate>> {
    let none = ways.is_empty();
    if none || product.operand == DType::I16 && (product.four_bits() || product.zeros()) {
        let kept = |way: &Candidate| none || way.way.starts_with(SPARSE) || way.way == DENSE4;
        ways.extend(others()?.into_iter().filter(kept));
    }
    Ok(ways)
}

/// A kernel over bytes of weights, and one over weights of four bits where these fit them.
fn either(product: &Product, way: impl Fn(bool) -> Result<Option<Candidate>>) -> Result<Vec<Candidate>> {
    let widths = [false, true].into_iter().filter(|&four| !four || product.four_bits());
    widths.filter_map(|four| way(four).transpose()).collect()
}

/// The variant's name.
fn named(four: bool) -> &'static str {
    if four { DENSE4 } else { "dot" }
}

/// The same convolution where pixels follow each other down a column in memory, as behind a
/// transposition: rows for columns, in the weights as well.
fn columns_first(g: &Geometry, product: &Product) -> Option<(Geometry, Option<Product>)> {
    let pixel = g.groups * g.cin;
    if g.x[2] != pixel || g.x[3] == pixel || g.input.contains(&1) {
        return None;
    }
    let Data::I32(w) = &product.weights else { return None };
    let [kh, kw] = g.kernel;
    let taps = (0..kw).flat_map(|x| (0..kh).map(move |y| y * kw + x));
    let weights = w.chunks(kh * kw).flat_map(|plane| taps.clone().map(|t| plane[t])).collect();
    Some((g.turned(), Some(Product { weights: Data::I32(weights), ..product.clone() })))
}

/// The same convolution with long rows: one column of rows becomes a row, and the channels of a
/// single row that stand one after another become rows of one channel.
fn turned(g: &Geometry) -> Option<Geometry> {
    let one = |axis: usize| g.input[axis] == 1 && g.kernel[axis] == 1 && g.output[axis] == 1;
    if one(1) && g.input[0] > 1 {
        return Some(g.turned());
    }
    let apart = g.cin > 1 && g.groups == 1 && g.x[1] != 1 && g.x[3] == 1;
    (one(0) && apart && g.pads[0] == 0).then(|| Geometry {
        cin: 1,
        input: [g.cin, g.input[1]],
        kernel: [g.cin, g.kernel[1]],
        strides: [1, g.strides[1]],
        dilations: [1, g.dilations[1]],
        pads: [0, g.pads[1]],
        x: [g.x[0], 1, g.x[1], 1],
        ..g.clone()
    })
}

/// Packs a product for a kernel of these sizes; `taps[j]` is the weight that input `j` of a
/// pixel's runs meets. `None` where it does not fit.
fn packed(gemm: &Gemm, product: &Product, ending: &Ending<'_>, taps: &[usize]) -> Option<Bind> {
    if !gemm.fits() {
        return None;
    }
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return None };
    let stream = gemm.pack(w, b, ending, taps)?;
    Some(Bind::aligned("weights", Data::I8(stream), 8))
}

/// The ending of results of either size.
pub(super) fn any_ending(product: &Product) -> Option<Ending<'_>> {
    Ending::of(&product.finish).or_else(|| Ending::wide(&product.finish))
}

/// A dense layer or pointwise convolution: each run of rows is one call.
fn dense(rows: &Rows, product: &Product, library: &Library<'_>, four: bool) -> Result<Option<Candidate>> {
    Ok(laid(rows, product, library, four)?.map(|(candidate, _)| candidate))
}

/// The same with the sizes of its kernel, which say how weights lie.
pub(super) fn laid(
    rows: &Rows,
    product: &Product,
    library: &Library<'_>,
    four: bool,
) -> Result<Option<(Candidate, Gemm)>> {
    let (outer, inner) = rows.split();
    let Some(ending) = any_ending(product) else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if !rows.side_by_side() {
        return Ok(None);
    }
    let gemm = Gemm {
        operand: product.operand,
        weights: DType::I8,
        result: product.finish.elem(),
        outputs,
        pixels: inner.len,
        x_step: inner.x,
        y_step: inner.y,
        runs: 1,
        run: inputs,
        run_pitch: 0,
        slack: false,
        four,
        sh: ending.sh,
        zp: ending.zp,
        lo: ending.limits.0,
        hi: ending.limits.1,
    };
    let taps: Vec<usize> = (0..inputs).collect();
    let Some(weights) = packed(&gemm, product, &ending, &taps) else { return Ok(None) };
    let mut k = KernelBuilder::new(format!("dense_{}_dot", product.suffix()));
    let x = k.buffer("x", gemm.operand, rows.x_len(), Access::Read);
    let y = k.buffer("y", gemm.result, rows.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, gemm.stream_len(), Access::Read);
    let kernel = library.once(&gemm, || gemm.kernel())?;
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        k.call(&kernel, vec![x.from(x0), w.from(0), y.from(y0)]);
    });
    let call = Call { kernel: k.finish()?, args: vec![Bind::Operand(0), Bind::Result(0), weights] };
    Ok(Some((Candidate { way: named(four), call, workspace: 0 }, gemm)))
}

/// A convolution, with at most `limit` bytes of input rows in the workspace where it can be.
fn conv(
    g: &Geometry,
    product: &Product,
    limit: usize,
    library: &Library<'_>,
    four: bool,
) -> Result<Option<Candidate>> {
    let Some(ending) = any_ending(product) else { return Ok(None) };
    let (operand, result) = (product.operand, product.finish.elem());
    let [kh, kw] = g.kernel;
    let (run, lanes) = (kw * g.cin, LANES / operand.size());
    let packed_y = g.cout == 1 || g.y[1] == 1;
    // The columns of a window that stand apart are runs of their own, in one row.
    let apart = kw > 1 && g.dilations[1] != 1;
    if g.groups > 1 || (apart && kh > 1) || !g.side_by_side() || !packed_y {
        return Ok(None);
    }
    let in_place = !g.padded();
    let narrow = if run < lanes && !apart { Columns::pitch(g, lanes) } else { None };
    let rows = InputRows::new(g, (operand, Lay::Linear), limit, (narrow.unwrap_or(0), 1), library);
    let columns = narrow.and_then(|pitch| Columns::new(&rows.panel, operand, pitch));
    let gemm = Gemm {
        operand,
        weights: DType::I8,
        result,
        outputs: g.cout,
        pixels: if in_place && columns.is_none() { g.output[1] } else { rows.panel.tile[1] },
        x_step: g.strides[1] * g.cin,
        y_step: g.y[3],
        runs: kh,
        run,
        run_pitch: g.dilations[0] * if in_place { g.x[2] } else { rows.panel.pitch },
        slack: !in_place,
        four,
        sh: ending.sh,
        zp: ending.zp,
        lo: ending.limits.0,
        hi: ending.limits.1,
    };
    let gemm = match &columns {
        Some(c) => Gemm { x_step: c.pitch, runs: 1, run: kh * run, run_pitch: 0, slack: true, ..gemm },
        None if apart => Gemm { runs: kw, run: g.cin, run_pitch: g.dilations[1] * g.cin, ..gemm },
        None => gemm,
    };
    let Some(weights) = packed(&gemm, product, &ending, &g.taps()) else { return Ok(None) };
    let kernel = library.once(&gemm, || gemm.kernel())?;
    let mut k = KernelBuilder::new(format!("conv_{}_dot", product.suffix()));
    let x = k.buffer("x", operand, g.x_len(), Access::Read);
    let y = k.buffer("y", result, g.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, gemm.stream_len(), Access::Read);
    let mut args = vec![Bind::Operand(0), Bind::Result(0), weights];
    if in_place && columns.is_none() {
        direct(&mut k, g, &mut |k, x0, y0| k.call(&kernel, vec![x.from(x0), w.from(0), y.from(y0)]));
        let call = Call { kernel: k.finish()?, args };
        return Ok(Some(Candidate { way: named(four), call, workspace: 0 }));
    }
    let space = rows.len();
    let buffer = k.buffer("rows", operand, space, Access::ReadWrite);
    args.push(Bind::Workspace(0));
    let mut workspace = space * operand.size();
    let columns = match &columns {
        Some(c) => {
            let at = workspace.next_multiple_of(8);
            let len = c.len(&gemm);
            workspace = at + len * operand.size();
            args.push(Bind::Workspace(at));
            Some((
                k.buffer("columns", operand, len, Access::ReadWrite),
                library.once(&c.gather, || c.gather.kernel())?,
            ))
        }
        None => None,
    };
    rows.each(&mut k, (x, buffer), product.x_zp, &|k, from, to| match &columns {
        Some((c, gather)) => {
            k.call(gather, vec![buffer.from(from), c.from(0)]);
            k.call(&kernel, vec![c.from(0), w.from(0), y.from(to)]);
        }
        None => k.call(&kernel, vec![buffer.from(from), w.from(0), y.from(to)]),
    })?;
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: named(four), call, workspace }))
}

/// A depthwise convolution: one output channel per group.
fn by_channel(
    g: &Geometry,
    product: &Product,
    limit: usize,
    library: &Library<'_>,
) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(&product.finish) else { return Ok(None) };
    let channels = g.groups;
    let packed = g.x[1] == 1 && g.y[1] == 1 && (g.input[1] == 1 || g.x[3] == channels);
    if g.cin != 1 || g.cout != 1 || !packed {
        return Ok(None);
    }
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return Ok(None) };
    let [kh, kw] = g.kernel;
    let Some(groups) = depthwise::groups(w, kh * kw) else { return Ok(None) };
    // Few channels share vectors with the next pixels'.
    let share = depthwise::LANES / channels.min(depthwise::LANES);
    let even = share * channels == depthwise::LANES;
    let alike = g.strides[1] == 1 && g.y[3] == channels && g.output[1].is_multiple_of(share);
    let joined = even && (share == 1 || alike);
    let (share, column) = if joined { (share, channels) } else { (1, depthwise::LANES) };
    let lay = if joined { Lay::Linear } else { Lay::Planes };
    let rows = InputRows::new(g, (DType::I8, lay), limit, (0, share), library);
    let call = Depthwise {
        channels,
        pixels: rows.panel.tile[1],
        kernel: g.kernel,
        row_pitch: g.dilations[0] * rows.panel.pitch,
        column: g.dilations[1] * column,
        plane_pitch: g.span(1, rows.panel.tile[1]) * depthwise::LANES,
        x_step: g.strides[1] * column,
        y_step: g.y[3],
        share,
        groups,
        sh: ending.sh,
        zp: ending.zp,
        lo: ending.limits.0,
        hi: ending.limits.1,
    };
    if !call.fits() {
        return Ok(None);
    }
    let Some(stream) = call.pack(w, b, &ending) else { return Ok(None) };
    let kernel = call.kernel()?;
    let mut k = KernelBuilder::new("depthwise_s8_planes");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, stream.len(), Access::Read);
    let buffer = k.buffer("rows", DType::I8, rows.len(), Access::ReadWrite);
    rows.each(&mut k, (x, buffer), product.x_zp, &|k, from, to| {
        k.call(&kernel, vec![buffer.from(from), w.from(0), y.from(to)]);
    })?;
    let weights = Bind::aligned("weights", Data::I8(stream), 8);
    let args = vec![Bind::Operand(0), Bind::Result(0), weights, Bind::Workspace(0)];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "lanes", call, workspace: rows.len() }))
}

#[cfg(test)]
mod tests;
