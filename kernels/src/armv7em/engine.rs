//! Int8 convolutions and dense layers through the instruction blocks of cores with `smlad`.
//!
//! Here stands what dense layers and pointwise convolutions are made of, two widened rows of inputs at
//! a time, and what all kernels of the core share; convolutions have files of their own.
//!
//! In: sizes and a product. Out: the ways there are. Law: the outputs are those of the portable loops,
//! bit by bit.

use crate::armv7em::dw_rows;
use crate::armv7em::elementwise;
use crate::armv7em::epilogue::holds_wide;
use crate::armv7em::gemm::{Gemm, MAX_SH, ROUND, SHORT};
use crate::armv7em::gemm_blocks::{Blocks, ROWS, most_columns};
use crate::armv7em::gemv8::Column;
use crate::armv7em::live;
use crate::armv7em::recurrent;
use crate::armv7em::softmax;
use crate::armv7em::stream::{Format, Stream};
use crate::armv7em::widen;
use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, CallArg, Expr, Kernel, KernelBuilder, Native, Val};
use crate::library::Library;
use crate::offer::{Candidate, DENSE4, Engine, Live, Loaded, Want};
use crate::problem::Geometry;
use crate::problem::Rows;
use crate::product::Product;
use crate::recurrent::Units;
use crate::softmax::Row;
use crate::tensor::{DType, Data};
use crate::vector::Run;
use secateur_targets::{Pairing, Target};
use std::sync::Arc;

/// The engine.
#[derive(Debug)]
pub struct Dsp;

impl Engine for Dsp {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        // The rows of a depthwise convolution hold all channels.
        let limit = 2 * want.rows_limit;
        let mut ways = crate::armv7em::winograd::engine::ways(g, product, want)?;
        ways.extend(crate::armv7em::dw_engine::pairs(g, product, want)?);
        for weights in Weights::of(product) {
            ways.extend(crate::armv7em::bands::bands(g, product, want, weights)?);
        }
        if product.zeros() {
            ways.extend(crate::armv7em::single_engine::conv(g, product, want)?);
        }
        if g.groups > 1 {
            ways.extend(dw_rows::depthwise(g, product, limit, want.library)?);
        }
        Ok(ways)
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let mut ways = crate::armv7em::rows::rows(rows, product, want)?;
        for weights in Weights::of(product) {
            if weights != Weights::Eight || ways.is_empty() {
                ways.extend(dense(rows, product, want, weights)?);
            }
        }
        if product.zeros() {
            ways.extend(crate::armv7em::single_engine::dense(rows, product, want)?);
        }
        Ok(ways)
    }
    fn wide_conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let ways = Weights::of(product);
        ways.filter_map(|weights| crate::armv7em::bands::bands(g, product, want, weights).transpose())
            .collect()
    }
    fn wide(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let product = product.clone().folded_wide();
        let ways = Weights::of(&product);
        ways.filter_map(|weights| dense(rows, &product, want, weights).transpose()).collect()
    }
    fn live(&self, rows: &Rows, live: &Live, want: &Want<'_>) -> Result<Option<Loaded>> {
        live::product(rows, live, want)
    }
    fn units(&self, units: &Units, target: &Target) -> Result<Option<Native>> {
        recurrent::block(units).map(|b| b.native("dsp", &target.core)).transpose()
    }
    fn softmax(&self, row: &Row, target: &Target) -> Result<Option<Native>> {
        softmax::block(row).map(|b| b.native("dsp", &target.core)).transpose()
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        elementwise::block(run).iter().map(|b| b.native("dsp", &target.core)).collect()
    }
}

/// How inputs of sixteen bits, or widened ones, lie in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In fours, as the widening block parts them.
    Parted,
    /// As in memory.
    Natural,
    /// The same of inputs that have sixteen bits in memory.
    Wide,
}

impl Order {
    /// Runs of a multiple of four inputs can be parted, unless they have sixteen bits.
    pub fn of(operand: DType, run: usize) -> Order {
        match operand {
            DType::I16 => Order::Wide,
            _ if run.is_multiple_of(4) => Order::Parted,
            _ => Order::Natural,
        }
    }
    /// Type of the inputs in memory.
    pub fn elem(self) -> DType {
        if self == Order::Wide { DType::I16 } else { DType::I8 }
    }
    /// Declares the zero point that inputs are widened with, where there is one.
    pub fn zero(self, k: &mut KernelBuilder) -> Option<Val> {
        (self != Order::Wide).then(|| k.scalar("zx", -128, 127))
    }
    pub fn position(self, i: usize) -> usize {
        if self == Order::Parted { widen::position(i) } else { i }
    }
}

/// How a product ends: by one shift where the packed form has room for it.
pub fn ending(product: &Product) -> Option<Ending<'_>> {
    Ending::of(&product.finish).map(|ending| ending.within(MAX_SH))
}

/// The same of results of eight or sixteen bits.
pub fn any_ending(product: &Product) -> Option<Ending<'_>> {
    let wide = || Ending::wide(&product.finish).filter(|ending| holds_wide(ending.limits));
    ending(product).or_else(|| wide().map(|ending| ending.within(MAX_SH)))
}

/// How a weight is kept in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    Eight,
    Four,
    /// Sixteen, where the run brings weights and eight do not hold them without their zero point.
    Sixteen,
    /// Eight, but for blocks of so many channels by four inputs that are zero.
    Blocks(usize),
}

impl Weights {
    /// Ways to keep those of a product that may pay.
    pub fn of(product: &Product) -> impl Iterator<Item = Weights> {
        let four = product.four_bits().then_some(Weights::Four);
        let blocks = ROWS.into_iter().filter(|_| product.zeros()).map(Weights::Blocks);
        [Weights::Eight].into_iter().chain(four).chain(blocks)
    }
    /// The variant's name.
    pub fn way(self) -> &'static str {
        match self {
            Weights::Eight | Weights::Sixteen => "gemm",
            Weights::Four => DENSE4,
            Weights::Blocks(4) => "blocks4x4",
            Weights::Blocks(2) => "blocks2x4",
            Weights::Blocks(_) => "blocks1x4",
        }
    }
    /// The most columns that its kernels take at once.
    pub fn most_columns(self) -> usize {
        match self {
            Weights::Eight | Weights::Four | Weights::Sixteen => 2,
            Weights::Blocks(rows) => most_columns(rows),
        }
    }
}

/// A format, and the one shift of all channels that it takes.
pub type Form = (Format, Option<u32>);

/// Formats of eight bits to try in this order.
pub fn bytes(ending: &Ending<'_>, want: &Want<'_>) -> Vec<Form> {
    // There weights of two bytes gain a sixth.
    match dual(want) && want.policy.spends_flash() {
        true => vec![(Format::Halves, ending.sh)],
        false => vec![(Format::Packed, ending.sh), (Format::Plain, None)],
    }
}

/// A product whose weights are packed.
#[derive(Debug, Clone, Copy)]
pub enum Packed {
    Whole(Gemm),
    Blocks(Blocks),
}

impl Packed {
    /// Packs a product for a block of these sizes in the first of the formats that its weights and sums
    /// fit. `None` if they fit none.
    pub fn new(
        sizes: &Gemm,
        product: &Product,
        (ending, want): (&Ending<'_>, &Want<'_>),
        weights: Weights,
        taps: &[Option<usize>],
    ) -> Result<Option<(Packed, Bind)>> {
        let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return Ok(None) };
        let (reach, rounding, spends) = (product.reach()?, ending.rounding(), want.policy.spends_flash());
        let whole = |forms: Vec<Form>| {
            forms.into_iter().find_map(|(format, sh)| {
                let gemm = Gemm { format, sh, ..*sizes };
                Some((Packed::Whole(gemm), gemm.stream().pack(w, b, rounding, &reach, taps)?))
            })
        };
        let found = match weights {
            Weights::Eight => whole(bytes(ending, want)),
            Weights::Four => whole(vec![(Format::Nibbles, ending.sh)]),
            Weights::Sixteen => whole(vec![(Format::Halves, ending.sh)]),
            Weights::Blocks(rows) => Blocks::least((rows, spends), sizes, w, b, rounding, &reach, taps)
                .filter(|(blocks, _)| blocks.pays())
                .map(|(blocks, stream)| (Packed::Blocks(blocks), stream)),
        };
        Ok(found.map(|(packed, stream)| (packed, Bind::aligned("weights", Data::I16(stream), 4))))
    }
    pub fn gemm(&self) -> Gemm {
        match self {
            Packed::Whole(gemm) => *gemm,
            Packed::Blocks(blocks) => blocks.gemm,
        }
    }
    /// The same weights for columns of inputs as `sizes` has them.
    pub fn of(&self, sizes: &Gemm) -> Packed {
        let Gemm { format, sh, .. } = self.gemm();
        match self {
            Packed::Whole(_) => Packed::Whole(Gemm { format, sh, ..*sizes }),
            Packed::Blocks(blocks) => {
                let gemm = Blocks::sizes(blocks.rows, &Gemm { sh, ..*sizes });
                Packed::Blocks(Blocks { gemm, ..*blocks })
            }
        }
    }
    /// Halves of the stream.
    pub fn len(&self) -> usize {
        match self {
            Packed::Whole(gemm) => gemm.stream().len(),
            Packed::Blocks(blocks) => blocks.len,
        }
    }
    pub fn kernel(&self, library: &Library<'_>) -> Result<Arc<Kernel>> {
        match self {
            Packed::Whole(gemm) => library.once(gemm, || gemm.kernel(library.core())),
            Packed::Blocks(blocks) => library.once(blocks, || blocks.kernel(library.core())),
        }
    }
}

/// Widens `n` inputs, or copies those of sixteen bits: a block where there are enough, else a plain loop.
pub fn widen_kernel(n: usize, order: Order, library: &Library<'_>) -> Result<Arc<Kernel>> {
    let core = library.core();
    match order {
        Order::Wide => return library.once(&("copy of halves", n), || widen::copied(n, core)),
        Order::Parted => return library.once(&("widen", n), || widen::kernel(n, core)),
        Order::Natural if n >= 4 => return library.once(&("widen in order", n), || widen::natural(n, core)),
        Order::Natural => {}
    }
    let mut k = KernelBuilder::new("widen_s8");
    let x = k.buffer("x", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I16, n, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_("i", 0, n, |k, i| k.store(out, i, x.at(i) - zx));
    k.finish()
}

pub fn call_widen(k: &mut KernelBuilder, kernel: &Arc<Kernel>, from: CallArg, to: CallArg, zx: Option<Val>) {
    let zx = zx.map(|zx| CallArg::Scalar(zx.into()));
    k.call(kernel, [from, to].into_iter().chain(zx).collect());
}

/// Whether the core starts two instructions at once.
pub fn dual(want: &Want<'_>) -> bool {
    want.core().cost.as_ref().is_some_and(|c| c.pairing == Pairing::Dual)
}

/// Weights of a layer whose code counts more than its cycles.
const SMALL: usize = 1024;

/// How many columns of so many to multiply at once: a power of two, and not more than `most`.
pub fn at_once(most: usize, len: usize) -> usize {
    (1..=most).rev().find(|n| n.is_power_of_two() && *n <= len).unwrap_or(1)
}

/// A dense layer or pointwise convolution.
pub fn dense(rows: &Rows, product: &Product, want: &Want<'_>, weights: Weights) -> Result<Option<Candidate>> {
    Ok(laid(rows, product, want, weights)?.map(|laid| laid.candidate))
}

/// A way, and how its weights lie: which of a channel's is met by each input that the stream has.
pub struct Laid {
    pub candidate: Candidate,
    pub stream: Stream,
    pub taps: Vec<Option<usize>>,
}

/// The same as [`dense`], with the stream of its weights.
pub fn laid(rows: &Rows, product: &Product, want: &Want<'_>, weights: Weights) -> Result<Option<Laid>> {
    let (library, core) = (want.library, want.core());
    let Some(ending) = any_ending(product) else { return Ok(None) };
    let (lo, hi) = ending.limits;
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if !rows.side_by_side() || inputs < 4 {
        return Ok(None);
    }
    let order = Order::of(product.operand, inputs);
    let pitch = inputs.next_multiple_of(2);
    // Pairs of rows are taken along the innermost axis of rows.
    let (outer, inner) = rows.split();
    // Rows of inputs that are multiplied at once: two, or more where blocks have few channels.
    let together = if inner.len > 1 { at_once(weights.most_columns(), inner.len) } else { 2 };
    let several = Gemm {
        runs: 1,
        pairs: pitch / 2,
        run_pitch: 0,
        outputs,
        columns: together,
        pitch,
        step: inner.y,
        format: Format::Packed,
        sh: ending.sh,
        lo,
        hi,
        round: if !want.policy.spends_flash() && inputs * outputs < SMALL { SHORT } else { ROUND },
        ahead: dual(want),
    };
    let one = Gemm { columns: 1, pitch: 0, step: 0, ..several };
    let turns = if inner.len > 1 && several.fits() { inner.len / together } else { 0 };
    let rest = inner.len - turns * together;
    // Rows that are left join the last ones of the turn before, which are still widened.
    let joined = turns > 0 && rest > 0 && together > 2;
    let taps: Vec<Option<usize>> =
        (0..pitch).map(|i| Some(order.position(i)).filter(|&p| p < inputs)).collect();
    let packed = Packed::new(&one, product, (&ending, want), weights, &taps)?;
    let Some((packed, stream)) = packed.filter(|p| p.0.gemm().fits()) else { return Ok(None) };
    let one = packed.gemm();
    // A single row: eight channels share each load of inputs.
    let alone = turns == 0 && weights == Weights::Eight && one.format != Format::Halves;
    let eight = if alone { column(&one, product, (&ending, want), &taps)? } else { None };
    let (eight, coefficients) = eight.map_or((None, stream), |(eight, stream)| (Some(eight), stream));

    let columns = if turns > 0 { together + if joined { rest } else { 0 } } else { 1 };
    let mut k = KernelBuilder::new(format!("dense_{}_gemm", product.suffix()));
    let x = k.buffer("x", order.elem(), rows.x_len(), Access::Read);
    let y = k.buffer("y", product.finish.elem(), rows.y_len(), Access::Write);
    let wide = k.buffer("wide", DType::I16, columns * pitch, Access::ReadWrite);
    let len = eight.map_or(packed.len(), |eight| eight.stream().len());
    let w = k.buffer("w", DType::I16, len, Access::Read);
    let zx = order.zero(&mut k);
    let round = one.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
    let widen_one = widen_kernel(inputs, order, library)?;
    let close = inner.x == inputs
        && match order {
            Order::Parted => true,
            Order::Natural => false,
            Order::Wide => pitch == inputs,
        };
    let widen = |rows: usize| match close {
        true => Ok(Some(widen_kernel(rows * inputs, order, library)?)),
        false => Ok::<_, crate::error::Error>(None),
    };
    let widen_turn = if turns > 0 { widen(together)? } else { None };
    let widen_rest = if joined { widen(rest)? } else { None };
    let gemm_several = if turns > 0 { Some(packed.of(&several).kernel(library)?) } else { None };
    let gemm_one = match eight {
        Some(eight) => library.once(&eight, || eight.kernel(core))?,
        None => packed.kernel(library)?,
    };
    let product_of = |k: &mut KernelBuilder, gemm: &Arc<Kernel>, from: usize, to: Expr| {
        let mut args = vec![wide.from(from), w.from(0), y.from(to)];
        args.extend(round.map(|r| CallArg::Scalar(r.into())));
        k.call(gemm, args);
    };
    // Widens so many rows, all in one where they lie side by side.
    let widen_rows =
        |k: &mut KernelBuilder, all: &Option<Arc<Kernel>>, rows: usize, from: Expr, to: usize| {
            let from = k.let_("from", from);
            match all {
                Some(all) => call_widen(k, all, x.from(from), wide.from(to), zx),
                None => (0..rows).for_each(|row| {
                    call_widen(k, &widen_one, x.from(from + row * inner.x), wide.from(to + row * pitch), zx);
                }),
            }
        };
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        if let Some(gemm) = &gemm_several {
            let name = if together == 2 { "pair" } else { "turn" };
            k.for_(name, 0, turns, |k, turn| {
                widen_rows(k, &widen_turn, together, x0 + turn * (together * inner.x), 0);
                product_of(k, gemm, 0, y0 + turn * (together * inner.y));
            });
            if joined {
                let first = inner.len - together;
                widen_rows(k, &widen_rest, rest, x0 + (turns * together * inner.x), together * pitch);
                return product_of(k, gemm, rest * pitch, y0 + first * inner.y);
            }
        }
        k.for_("row", turns * together, inner.len, |k, row| {
            call_widen(k, &widen_one, x.from(x0 + row * inner.x), wide.from(0), zx);
            product_of(k, &gemm_one, 0, y0 + row * inner.y);
        });
    });
    let in_place = rows.in_step() && product.eight_bits();
    let result = if in_place { Bind::ResultInPlace } else { Bind::Result(0) };
    let mut args = vec![Bind::Operand(0), result, Bind::Workspace(0), coefficients];
    args.extend(zx.map(|_| Bind::Scalar(product.x_zp)));
    args.extend(round.map(|_| Bind::Scalar(ending.rnd)));
    let call = Call { kernel: k.finish()?, args };
    let candidate = Candidate { way: weights.way(), call, workspace: 2 * columns * pitch };
    let stream = eight.map_or_else(|| one.stream(), |eight| eight.stream());
    Ok(Some(Laid { candidate, stream, taps }))
}

/// The product of one column by eight channels at a time, and its coefficients, if they fit.
fn column(
    one: &Gemm,
    product: &Product,
    (ending, want): (&Ending<'_>, &Want<'_>),
    taps: &[Option<usize>],
) -> Result<Option<(Column, Bind)>> {
    let (Data::I32(w), Data::I32(b), Some(sh)) = (&product.weights, &product.bias, one.sh) else {
        return Ok(None);
    };
    // At speed a loop of twice the length saves another hundredth.
    let round = if want.policy.spends_flash() { 2 * one.round } else { one.round };
    let eight = Column { pairs: one.pairs, outputs: one.outputs, sh, lo: one.lo, hi: one.hi, round };
    if !eight.fits() {
        return Ok(None);
    }
    let stream = eight.stream().pack(w, b, ending.rounding(), &product.reach()?, taps);
    Ok(stream.map(|s| (eight, Bind::aligned("weights", Data::I16(s), 4))))
}
