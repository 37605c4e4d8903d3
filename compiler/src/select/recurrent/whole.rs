//! Recurrent layers of integers: products of 8 bits, sums and states of 16.
//!
//! In: a node whose operands and results are quantized, and what samples saw inside of it
//! ([`Spans`](crate::ops::recurrent::Spans)). Out: one call whose kernel has the products with all inputs (or those
//! of a few steps) in the workspace, and multiplies the state at each step. Law: as
//! [`crate::kernels::recurrent`]: the state is 16 bits wide from the first step to the last, whatever results hold.

use super::super::{Cx, PORTABLE, Variant, View};
use super::{Composite, Steps, Walk, lengths, place, results};
use crate::arith::requant::{Multiplier, Output, multiplier};
use crate::error::Result;
use crate::graph::Quant;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, instr, int};
use crate::kernels::call::Call;
use crate::kernels::offer::{Candidate, SPARSE};
use crate::kernels::portable::dense::dense;
use crate::kernels::problem::{Axis, Rows};
use crate::kernels::product::Product;
use crate::kernels::recurrent::{FRACTIONS, Unit, Units, narrowed, table};
use crate::kernels::registry::engine;
use crate::kernels::rounding::requantize_instr;
use crate::ops::Recurrent;
use crate::ops::recurrent::{BIAS, CELL, Cell, MOST_STATE, PEEPHOLES, Part, R, STATE, W, X, fraction};
use crate::policy::Price;
use crate::tensor::{DType, Data, Tensor};

/// Steps whose input products stand in memory together where not all fit.
const CHUNK: usize = 8;

/// The numbers of a layer: its products, and what becomes of their sums.
struct Numbers {
    /// With inputs, all biases of sums included that are added to it.
    inputs: Product,
    /// With the state, some rows after the others: their number, and the product.
    state: Vec<Product>,
    units: Vec<Units>,
    peepholes: Option<Data>,
}

impl Numbers {
    /// Whether enough weights of some product are zero for it to run without them.
    fn zeros(&self) -> bool {
        self.state.iter().chain([&self.inputs]).any(Product::zeros)
    }
}

/// A constant of floats.
fn constant(cx: &Cx<'_>, index: usize) -> Result<Option<Vec<f32>>> {
    let Some(value) = cx.operand(index) else { return Ok(None) };
    match value.real_constant() {
        Some(tensor) => Ok(Some(tensor.to_f32_vec())),
        None => Err(
            cx.unsupported(&format!("operand {index} is computed at run time, and integers need it before"))
        ),
    }
}

/// A constant of int8 weights with their scales.
fn weights<'a>(cx: &Cx<'a>, index: usize) -> Result<(&'a Tensor, &'a Quant)> {
    let value = cx.need(index)?;
    match (value.constant(), &value.quant) {
        (Some(tensor), Some(quant)) => Ok((tensor.as_ref(), quant)),
        _ => Err(cx.unsupported("int8 weights must be known at compile time")),
    }
}

/// Rows `from..to` of weights.
fn rows_of((tensor, quant): (&Tensor, &Quant), from: usize, to: usize) -> Result<(Tensor, Quant)> {
    let width = tensor.shape().get(1).copied().unwrap_or(0);
    let all = tensor.to_i64_vec();
    let part =
        Tensor::new(vec![to - from, width], Data::from_i64(tensor.dtype(), &all[from * width..to * width]))?;
    let mut quant = quant.clone();
    if quant.axis.is_some() {
        quant.scale = quant.scale[from..to].to_vec();
        quant.zero_point = quant.zero_point[from..to].to_vec();
    }
    Ok((part, quant))
}

fn numbers(cx: &Cx<'_>, op: &Recurrent, x: &Quant) -> Result<Numbers> {
    let (hidden, rows) = (op.hidden, op.cell.gates() * op.hidden);
    let Some(spans) = op.spans else {
        return Err(cx.unsupported("has no ranges of its sums, which calibration samples give"));
    };
    let (w, r) = (weights(cx, W)?, weights(cx, R)?);
    let bias = constant(cx, BIAS)?.unwrap_or_else(|| vec![0.0; 2 * rows]);
    let peepholes = constant(cx, PEEPHOLES)?;
    // What stands between products and functions: half as much again as samples saw, and no finer than sums are.
    let coarsest =
        |q: &Quant, x: f32| q.scale.iter().fold(0f64, |most, &s| most.max(f64::from(s) * f64::from(x)));
    let finest =
        coarsest(w.1, x.scale.first().copied().unwrap_or(1.0)).max(coarsest(r.1, op.state_quant().scale[0]));
    let (_, exponent) = libm::frexp(finest.max(1e-30));
    let bits = fraction(1.5 * f64::from(spans.sums)).min(-2 - exponent);
    let bits = bits.clamp(*FRACTIONS.start() as i32, *FRACTIONS.end() as i32) as u32;
    let cell_bits = op.cell_bits();
    let step = libm::ldexp(1.0, -(bits as i32));

    // The bias of a product that the reset gate multiplies stays with it.
    let apart = op.cell == Cell::Gru { reset_after: true };
    let kept = if apart { 2 * hidden } else { rows };
    let with_inputs: Vec<f32> =
        (0..rows).map(|j| bias[j] + if j < kept { bias[rows + j] } else { 0.0 }).collect();
    let with_state: Vec<f32> = (0..rows).map(|j| if j < kept { 0.0 } else { bias[rows + j] }).collect();
    let of = |values: &[f32]| Tensor::f32(&[values.len()], values.to_vec());
    let inputs = cx.here(Product::wide(w, Some((&of(&with_inputs), None)), x, step))?;
    let parts = match op.cell {
        Cell::Gru { reset_after: false } => vec![(0, 2 * hidden), (2 * hidden, rows)],
        _ => vec![(0, rows)],
    };
    let mut state = Vec::new();
    for (from, to) in parts {
        let (tensor, quant) = rows_of(r, from, to)?;
        let bias = of(&with_state[from..to]);
        state.push(cx.here(Product::wide(
            (&tensor, &quant),
            Some((&bias, None)),
            &op.state_quant(),
            step,
        ))?);
    }
    let peephole_bits = peepholes
        .as_ref()
        .map_or(15, |p| fraction(p.iter().fold(0f64, |most, v| most.max(f64::from(v.abs())))).clamp(0, 15))
        as u32;
    if peephole_bits + cell_bits < bits {
        return Err(cx.unsupported("has peepholes too large for sixteen bits"));
    }
    let scaled =
        |v: f32, bits: u32| libm::rint(libm::ldexp(f64::from(v), bits as i32)).clamp(-32768.0, 32767.0);
    let peepholes =
        peepholes.map(|p| Data::I16(p.iter().map(|&v| scaled(v, peephole_bits) as i16).collect()));
    let clip = op.clip.map(|c| (f64::from(c) * libm::ldexp(1.0, bits as i32)).min(262_144.0) as i32);
    let units = match op.cell {
        Cell::Gru { reset_after: true } => vec![Unit::GruAfter],
        Cell::Gru { reset_after: false } => vec![Unit::GruReset, Unit::GruBefore],
        Cell::Lstm { coupled } => vec![Unit::Lstm { coupled, peepholes: peepholes.is_some() }],
        Cell::Rnn => vec![Unit::Rnn],
    };
    let units = units
        .into_iter()
        .map(|unit| Units {
            unit,
            hidden,
            fraction: bits,
            narrow: 8 - op.headroom(),
            cell_bits,
            peephole_bits,
            clip,
        })
        .collect();
    Ok(Numbers { inputs, state, units, peepholes })
}

/// What runs a layer's products.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds {
    /// Whether some kernel is the core's own.
    native: bool,
    /// Whether some kernel leaves zeros out.
    sparse: bool,
}

/// The product of rows: the best of the core's own, if it has one, else portable loops. Where `zeros` may be left out,
/// those of the core that do are asked too.
fn product(
    cx: &Cx<'_>,
    rows: &Rows,
    product: &Product,
    zeros: bool,
    kinds: &mut Kinds,
) -> Result<(Call, usize)> {
    if let Some(engine) = engine(cx.want.target()).filter(|_| !cx.portable) {
        let offers = cx.here(engine.wide(rows, product, &cx.want))?.into_iter();
        let priced = |offer: Candidate| {
            let variant = Variant { name: String::new(), calls: vec![offer.call.clone()], workspace: 0 };
            let price = variant.price(cx.want.target());
            (offer, price)
        };
        let policy = cx.want.policy;
        let allowed = offers.filter(|offer| zeros || !offer.way.starts_with(SPARSE));
        let mut allowed: Vec<(Candidate, Price)> = allowed.map(priced).collect();
        policy.affordable(&mut allowed);
        let best = allowed.into_iter().min_by_key(|(_, price)| policy.rank(price)).map(|(offer, _)| offer);
        if let Some(best) = best {
            kinds.native = true;
            kinds.sparse |= best.way.starts_with(SPARSE);
            return Ok((best.call, best.workspace));
        }
    }
    let four = product.four_bits() && cx.want.policy.saves_flash() && !cx.portable;
    Ok((cx.here(dense(rows, product, four))?, 0))
}

/// Where a state comes from at the first step.
enum Start {
    Zero,
    /// In steps of the state.
    Data(Buf),
    /// An operand with its zero point, and what brings it to steps of the state; `None` where it has those.
    Live(Buf, Box<View>, i32, Option<Multiplier>),
}

impl Start {
    fn declare(
        layer: &mut Composite,
        cx: &Cx<'_>,
        index: usize,
        name: &'static str,
        bits: u32,
    ) -> Result<Start> {
        let Some(value) = cx.operand(index) else { return Ok(Start::Zero) };
        if let Some(real) = value.real_constant() {
            let real = real.to_f32_vec();
            if real.iter().all(|&v| v == 0.0) {
                return Ok(Start::Zero);
            }
            let most = libm::ldexpf(1.0, 15 - bits as i32) * MOST_STATE;
            if let Some(v) = real.iter().find(|v| v.abs() > most) {
                return Err(
                    cx.unsupported(&format!("has {v} in `{}`, and its integers reach to {most}", value.name))
                );
            }
            let step = |v: f32| libm::rint(libm::ldexp(f64::from(v), bits as i32)).clamp(-32768.0, 32767.0);
            let data = Data::I16(real.iter().map(|&v| step(v) as i16).collect());
            return Ok(Start::Data(layer.data(name, data, 2)));
        }
        let view = cx.input(index)?;
        let wide = view.elem == DType::I16;
        let Some((scale, zero)) = view.affine().filter(|_| wide || view.elem == DType::I8) else {
            return Err(cx.unsupported(&format!(
                "works on int8 or on float throughout, but `{}` is {}",
                value.name,
                value.stored()
            )));
        };
        let by = match f64::from(scale) * libm::ldexp(1.0, bits as i32) {
            1.0 if wide && zero == 0 => None,
            by => Some(cx.here(multiplier(by))?),
        };
        Ok(Start::Live(layer.port(name, &view, Access::Read), Box::new(view), zero, by))
    }
    fn at(&self, n: &Expr, u: Val, hidden: usize) -> Expr {
        match self {
            Start::Zero => int(0),
            Start::Data(buffer) => buffer.at(n * hidden + u),
            Start::Live(buffer, view, zero, by) => {
                let out = Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() };
                let value = buffer.at(place(view, n, n, u));
                match by {
                    None => value,
                    Some(by) => scaled(value - *zero, *by, out),
                }
            }
        }
    }
}

fn scaled(value: Expr, by: Multiplier, out: Output) -> Expr {
    let numbers = [by.m, by.s as i32, out.zp, out.lo, out.hi].map(Expr::from);
    instr(&requantize_instr(), std::iter::once(value).chain(numbers).collect())
}

/// How a result gets a state or a cell.
#[derive(Clone, Copy)]
enum Leave {
    /// It holds what products read.
    Narrow,
    /// It holds the sixteen bits.
    Whole,
    Scaled(Multiplier, Output),
}

/// How a result gets a state or a cell of so many bits behind the point.
fn leaving(cx: &Cx<'_>, op: &Recurrent, part: Part, view: &View, bits: u32) -> Result<Leave> {
    let wide = view.elem == DType::I16;
    let Some((scale, zero)) = view.affine().filter(|_| wide || view.elem == DType::I8) else {
        return Err(cx.unsupported("works on int8 or on float throughout, but a result is not int8"));
    };
    let natural =
        part != Part::Cell && view.quant.as_ref() == Some(&op.state_quant()) && cx.clamp().is_none();
    if natural {
        return Ok(Leave::Narrow);
    }
    let by = libm::ldexp(1.0, -(bits as i32)) / f64::from(scale);
    if wide && by == 1.0 && zero == 0 && cx.clamp().is_none() {
        return Ok(Leave::Whole);
    }
    let (lo, hi) = view.limits(cx.clamp());
    Ok(Leave::Scaled(cx.here(multiplier(by))?, Output { zp: zero, lo, hi }))
}

/// A layer whose values are int8: with the products of all inputs in memory at once, and with those of a few steps.
pub(super) fn select(cx: &mut Cx<'_>, op: &Recurrent) -> Result<()> {
    let x = cx.input(X)?;
    let Some(quant) = x.quant.clone().filter(|_| x.elem == DType::I8) else {
        return Err(cx.unsupported("works on int8 or on float throughout, but its input is not int8"));
    };
    let numbers = numbers(cx, op, &quant)?;
    let steps = x.shape[0];
    let few = (2..=CHUNK).rev().find(|n| steps.is_multiple_of(*n) && *n < steps).unwrap_or(1);
    let whole = cx.operand(crate::ops::recurrent::LENGTHS).is_some();
    let mut chunks = vec![steps];
    chunks.extend(Some(few).filter(|&n| n < steps && !whole && !cx.portable));
    for chunk in chunks {
        let offer = layer(cx, op, &x, &numbers, (chunk, false))?;
        cx.offers.extend(offer);
        let sparse = if numbers.zeros() { layer(cx, op, &x, &numbers, (chunk, true))? } else { None };
        cx.offers.extend(sparse);
    }
    Ok(())
}

/// The call with the products of so many steps in memory at once; where `zeros` are to be left out, `None` if no
/// kernel gains by it.
fn layer(
    cx: &Cx<'_>,
    op: &Recurrent,
    x: &View,
    numbers: &Numbers,
    (chunk, zeros): (usize, bool),
) -> Result<Option<Candidate>> {
    let hidden = op.hidden;
    let rows = op.cell.gates() * hidden;
    let Some(first) = numbers.units.first() else { return Err(cx.unsupported("has no units")) };
    let cell_bits = first.cell_bits;
    let name = match op.cell {
        Cell::Gru { .. } => "gru_s8",
        Cell::Lstm { .. } => "lstm_s8",
        Cell::Rnn => "rnn_s8",
    };
    let mut layer = Composite::new(name.to_string());
    let from = layer.port("x", x, Access::Read);
    let lengths = lengths(&mut layer, cx)?;
    let start = Start::declare(&mut layer, cx, STATE, "initial_h", 15)?;
    let start_cell = Start::declare(&mut layer, cx, CELL, "initial_c", cell_bits)?;
    let mut outputs = Vec::new();
    for (part, buffer, view) in results(&mut layer, cx, op)? {
        let bits = if part == Part::Cell { cell_bits } else { 15 };
        let how = leaving(cx, op, part, &view, bits)?;
        outputs.push((part, buffer, view, how));
    }
    let values = layer.data("tanh", table(), 4);
    let peepholes = numbers.peepholes.clone().map(|data| layer.data("peepholes", data, 2));
    let gx = layer.place("gx", DType::I16, chunk * rows);
    let gh = layer.place("gh", DType::I16, rows);
    let h = layer.place("h", DType::I16, hidden);
    let h8 = layer.place("h8", DType::I8, hidden);
    let cell = first.has_cell().then(|| layer.place("c", DType::I16, hidden));

    let side = |len: usize, x: usize, y: usize| Axis { len, x, y };
    let of_inputs = Rows {
        rows: vec![side(chunk, x.strides[0], rows)],
        inputs: side(x.shape[2], x.strides[2], 0),
        outputs: side(rows, 0, 1),
    };
    let mut kinds = Kinds::default();
    let call = product(cx, &of_inputs, &numbers.inputs, zeros, &mut kinds)?;
    let from_inputs = layer.inner(cx, "inputs", call)?;
    let mut from_state = Vec::new();
    let mut at = 0;
    for part in &numbers.state {
        let count = part.bias.len();
        let of_state = Rows { rows: Vec::new(), inputs: side(hidden, 1, 0), outputs: side(count, 0, 1) };
        let call = product(cx, &of_state, part, zeros, &mut kinds)?;
        from_state.push((layer.inner(cx, ["state", "reset"][from_state.len().min(1)], call)?, at));
        at += count;
    }
    if zeros && !kinds.sparse {
        return Ok(None);
    }
    let kernels = numbers
        .units
        .iter()
        .map(|units| cx.here(units.made(cx.want.library, cx.portable)))
        .collect::<Result<Vec<_>>>()?;

    let steps = Steps::of(op, x, lengths, chunk);
    let mut walk = Walk {
        open: &mut |k, n| {
            k.for_("u", 0, hidden, |k, u| {
                let value = k.let_("start", start.at(n, u, hidden));
                k.store(h, u, value);
                k.store(h8, u, narrowed(value.into(), first.narrow));
                if let Some(cell) = cell {
                    k.store(cell, u, start_cell.at(n, u, hidden));
                }
            });
        },
        chunk: &mut |k, n, first| {
            from_inputs.call(k, &[from.from(first * x.strides[0] + n * x.strides[1])], gx.from(0));
        },
        step: &mut |k, n, (t, within)| {
            let sums = k.let_("sums", within * rows);
            for ((product, at), (units, kernel)) in from_state.iter().zip(numbers.units.iter().zip(&kernels))
            {
                product.call(k, &[h8.from(0)], gh.from(*at));
                let mut args = vec![gx.from(sums), gh.from(0), values.from(0), h.from(0), h8.from(0)];
                args.extend(cell.filter(|_| units.has_cell()).map(|c| c.from(0)));
                args.extend(peepholes.filter(|_| units.has_peepholes()).map(|p| p.from(0)));
                k.call(kernel, args);
            }
            written(k, &outputs, &[(Part::Sequence, h)], h8, (t, n), hidden);
        },
        pad: &mut |k, n, t| {
            for (_, buffer, view, _) in outputs.iter().filter(|o| o.0 == Part::Sequence) {
                let zero = view.affine().map_or(0, |(_, zero)| zero);
                k.for_("u", 0, hidden, |k, u| k.store(*buffer, place(view, t, n, u), zero));
            }
        },
        close: &mut |k, n| {
            written(k, &outputs, &[(Part::State, h), (Part::Cell, cell.unwrap_or(h))], h8, (n, n), hidden);
        },
    };
    steps.walk(&mut layer.k, &mut walk);
    let way = match (kinds.native, chunk < x.shape[0]) {
        (true, false) if kinds.sparse => "blocks_recurrent",
        (true, true) if kinds.sparse => "blocks_recurrent_chunks",
        (true, false) => "recurrent",
        (true, true) => "recurrent_chunks",
        (false, false) => PORTABLE,
        (false, true) => "portable_chunks",
    };
    Ok(Some(layer.offer(way)?))
}

type Leaving = (Part, Buf, View, Leave);

/// Brings states to the results that hold them.
fn written(
    k: &mut KernelBuilder,
    outputs: &[Leaving],
    from: &[(Part, Buf)],
    narrow: Buf,
    (step, n): (&Expr, &Expr),
    hidden: usize,
) {
    for (part, buffer, view, how) in outputs {
        let Some((_, state)) = from.iter().find(|f| f.0 == *part) else { continue };
        k.for_("u", 0, hidden, |k, u| {
            let value = match how {
                Leave::Narrow => narrow.at(u),
                Leave::Whole => state.at(u),
                Leave::Scaled(by, out) => scaled(state.at(u), *by, *out),
            };
            k.store(*buffer, place(view, step, n, u), value);
        });
    }
}
