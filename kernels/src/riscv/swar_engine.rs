//! The ways `pairs` and `blocks1x1` of RV32IM: two pixels in a word, two products in a multiplication.
//!
//! A row of outputs, or a tile of it, is cut into halves (of an odd one, they share the middle):
//! pixel `i` of the first is computed with pixel `i` of the second. The input rows under them
//! become words of both in the workspace, by way of a line of bytes where there is padding.
//!
//! In: sizes and a product. Out: a way, or none where a row has one pixel, the window's columns
//! lie apart, or weights or workspace do not fit. Law: the outputs are those of the portable
//! loops, bit by bit.

use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::offer::{Candidate, Want, Weights};
use crate::panel::{Fill, Panel, Part, Span};
use crate::problem::Geometry;
use crate::problem::Rows;
use crate::product::Product;
use crate::riscv::engine::{Packed, channels_last, unroll};
use crate::riscv::gemm::{Sizes, declare_shift};
use crate::riscv::gemm_sparse::{self, Sparse};
use crate::riscv::gemm_swar::{PAIRS, Pairs, pair};
use crate::riscv::rows::{Copier, tiles};
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// The product of a block.
#[derive(Debug, Clone, Copy)]
enum Block {
    All(Pairs),
    Sparse(Sparse),
}

/// The variant's name, and that of the one in tiles.
fn ways(weights: Weights) -> [&'static str; 2] {
    match weights {
        Weights::All => ["pairs", "pairs in tiles"],
        Weights::Sparse => ["blocks1x1", "blocks1x1 in tiles"],
    }
}

impl Block {
    /// Packs a product for a block of these sizes. `None` where it does not fit, and of sparse weights
    /// where they take more bytes than all, but for `speed`.
    fn pack(
        kept: Weights,
        sizes: &Sizes,
        apart: usize,
        packed: &Packed,
        want: &Want<'_>,
    ) -> Option<(Block, Vec<i8>, Vec<i32>)> {
        match kept {
            Weights::All => {
                let pairs = Pairs { sizes: *sizes, apart };
                let (weights, words) =
                    pairs.fits().then(|| pairs.pack(&packed.weights, &packed.words)).flatten()?;
                Some((Block::All(pairs), weights, words))
            }
            Weights::Sparse => {
                let (sparse, weights, words) = Sparse::pack(sizes, apart, &packed.weights, &packed.words)?;
                let bytes = |weights: &[i8], words: &[i32]| weights.len() + 4 * words.len();
                let few = Sizes { pixels: PAIRS.min(sizes.pixels), ..*sizes };
                let all = Block::pack(Weights::All, &few, apart, packed, want);
                let all = all.map_or(packed.weights.len(), |(_, weights, words)| bytes(&weights, &words));
                let small = bytes(&weights, &words) <= all || want.policy.spends_flash();
                (sparse.fits() && small).then_some((Block::Sparse(sparse), weights, words))
            }
        }
    }
    fn kernel(&self, want: &Want<'_>) -> Result<Arc<Kernel>> {
        match self {
            Block::All(pairs) => want.library.once(pairs, || pairs.kernel(want.target())),
            Block::Sparse(sparse) => want.library.once(sparse, || sparse.kernel(want.target())),
        }
    }
    /// Words of inputs that a call reads behind its windows.
    fn beyond(&self) -> usize {
        match self {
            Block::All(pairs) => pairs.beyond(),
            Block::Sparse(_) => 0,
        }
    }
}

/// Two rows' inputs as words.
fn paired(n: usize, want: &Want<'_>) -> Result<Arc<Kernel>> {
    want.library.once(&("pair", n), || pair(n, want.target()))
}

/// A row of `n` pixels in halves.
#[derive(Clone, Copy)]
struct Halves {
    /// Pixels of a half, and from a pixel to its partner.
    len: usize,
    apart: usize,
    /// Pairs side by side.
    pairs: usize,
}

impl Halves {
    fn of(n: usize, weights: Weights) -> Option<Halves> {
        let len = n.div_ceil(2);
        let pairs = match weights {
            Weights::All => PAIRS.min(len),
            Weights::Sparse => gemm_sparse::pairs(len),
        };
        (n >= 2).then_some(Halves { len, apart: n - len, pairs })
    }
}

/// Parameters of the layer's kernel that calls pass on.
struct Layer {
    w: Buf,
    c: Buf,
    shift: Option<(Val, Val)>,
}

impl Layer {
    fn declare(k: &mut KernelBuilder, (w, c): (usize, usize), one_shift: bool) -> Layer {
        Layer {
            w: k.buffer("w", DType::I8, w, Access::Read),
            c: k.buffer("c", DType::I32, c, Access::Read),
            shift: one_shift.then(|| declare_shift(k)),
        }
    }
    fn call(&self, k: &mut KernelBuilder, kernel: &Arc<Kernel>, acts: CallArg, y: CallArg) {
        let mut args = vec![acts, self.w.from(0), self.c.from(0), y];
        args.extend(self.shift.iter().flat_map(|&(rnd, sh)| [rnd, sh].map(|v| CallArg::Scalar(v.into()))));
        k.call(kernel, args);
    }
}

fn roles(packed: &Packed, weights: Vec<i8>, words: Vec<i32>) -> Vec<Bind> {
    let mut roles =
        vec![Bind::aligned("weights", Data::I8(weights), 4), Bind::data("words", Data::I32(words))];
    roles.extend(packed.one.into_iter().flat_map(|(rnd, sh)| [Bind::Scalar(rnd), Bind::Scalar(sh)]));
    roles
}

/// A dense layer of several rows, or a pointwise convolution.
pub fn dense(rows: &Rows, product: &Product, want: &Want<'_>, weights: Weights) -> Result<Option<Candidate>> {
    let way = ways(weights)[0];
    let Some(packed) = Packed::of(product) else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let (outer, inner) = rows.split();
    let halves = Halves::of(inner.len, weights).filter(|_| rows.side_by_side());
    let Some(halves) = halves else { return Ok(None) };
    let sizes = Sizes {
        runs: 1,
        run: inputs,
        run_pitch: inputs,
        outputs,
        pixels: halves.pairs,
        blocks: 1,
        pitch: inputs,
        step: inner.y,
        unroll: unroll(want),
        one_shift: packed.one.is_some(),
        lo: packed.limits.0,
        hi: packed.limits.1,
    };
    let found = Block::pack(weights, &sizes, halves.apart * inner.y, &packed, want);
    let Some((block, weights, words)) = found else { return Ok(None) };
    let acts_len = sizes.acts_len() + block.beyond();
    if 4 * acts_len > 2 * want.rows_limit {
        return Ok(None);
    }

    let mut k = KernelBuilder::new("dense_s8_pairs");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, rows.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, acts_len, Access::ReadWrite);
    let layer = Layer::declare(&mut k, (weights.len(), words.len()), packed.one.is_some());
    let gather = paired(inputs, want)?;
    let kernel = block.kernel(want)?;
    crate::axes::nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        k.for_("block", 0, halves.len.div_ceil(halves.pairs), |k, block| {
            // The last block is moved back so that it is whole.
            let first = k.let_("first", (block * halves.pairs).min(halves.len - halves.pairs));
            for q in 0..halves.pairs {
                let at = k.let_("at", x0 + (first + q) * inner.x);
                let both = [x.from(at), x.from(at + halves.apart * inner.x)];
                k.call(&gather, [both.to_vec(), vec![acts.from(q * inputs)]].concat());
            }
            layer.call(k, &kernel, acts.from(0), y.from(y0 + first * inner.y));
        });
    });
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0)];
    args.extend(roles(&packed, weights, words));
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace: 4 * acts_len }))
}

/// A convolution with one group and neighbouring columns: with whole rows, if there is room, and
/// with tiles that need about as little workspace as other ways.
pub fn conv(g: &Geometry, product: &Product, want: &Want<'_>, weights: Weights) -> Result<Vec<Candidate>> {
    let [way, in_tiles] = ways(weights);
    let whole = tiled(g, product, (want, weights), (way, 2 * want.rows_limit))?;
    let tiles = match &whole {
        Some(way) if way.workspace <= want.rows_limit / 2 => None,
        _ => tiled(g, product, (want, weights), (in_tiles, want.rows_limit / 2))?,
    };
    Ok(whole.into_iter().chain(tiles).collect())
}

fn tiled(
    g: &Geometry,
    product: &Product,
    (want, weights): (&Want<'_>, Weights),
    (way, limit): (&'static str, usize),
) -> Result<Option<Candidate>> {
    let Some(packed) = Packed::of(product) else { return Ok(None) };
    let [kh, kw] = g.kernel;
    let c = g.cin;
    let packed_y = g.cout == 1 || g.y[1] == 1;
    if g.groups > 1 || !packed_y || (kw > 1 && g.dilations[1] != 1) {
        return Ok(None);
    }
    let lines = g.padded() || !g.side_by_side();
    // Input columns under a half; bytes of words and of a line.
    let under = |n: usize| (n.div_ceil(2) - 1) * g.strides[1] + kw;
    let line = |n: usize| if lines { ((n - 1) * g.strides[1] + kw) * c } else { 0 };
    let taken = |n: usize| 4 * kh * under(n) * c + line(n);
    // Whole rows, or tiles of whole blocks with the fewest pixels that are computed again.
    let n = g.output[1];
    let blocks = (1..=n / (2 * PAIRS)).map(|blocks| 2 * PAIRS * blocks).filter(|&t| taken(t) <= limit);
    let again = |t: &usize| (n.div_ceil(*t) * t, n - t);
    let Some(columns) = Some(n).filter(|_| taken(n) <= limit).or(blocks.min_by_key(again)) else {
        return Ok(None);
    };
    let Some(halves) = Halves::of(columns, weights) else { return Ok(None) };
    let packed = Packed { weights: channels_last(&packed.weights, g), ..packed };
    let run_pitch = under(columns) * c;
    let of = |blocks: usize| Sizes {
        runs: kh,
        run: kw * c,
        run_pitch,
        outputs: g.cout,
        pixels: halves.pairs,
        blocks,
        pitch: g.strides[1] * c,
        step: g.y[3],
        unroll: unroll(want),
        one_shift: packed.one.is_some(),
        lo: packed.limits.0,
        hi: packed.limits.1,
    };
    // Blocks that do not fill a half are called one after the other, the last one moved back.
    let calls = if halves.len.is_multiple_of(halves.pairs) { 1 } else { halves.len.div_ceil(halves.pairs) };
    let sizes = of(if calls == 1 { halves.len / halves.pairs } else { 1 });
    let found = Block::pack(weights, &sizes, halves.apart * g.y[3], &packed, want);
    let Some((block, weights, words)) = found else { return Ok(None) };
    let acts_len = kh * run_pitch + block.beyond();
    let (panel, line_len) = (Panel { pitch: run_pitch, ..tiles(g, false, columns) }, line(columns));
    let workspace = 4 * acts_len + line_len;
    if workspace > limit {
        return Ok(None);
    }

    let mut k = KernelBuilder::new("conv_s8_pairs");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, acts_len, Access::ReadWrite);
    let layer = Layer::declare(&mut k, (weights.len(), words.len()), packed.one.is_some());
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0)];
    args.extend(roles(&packed, weights, words));
    let gather = paired(run_pitch, want)?;
    let kernel = block.kernel(want)?;
    let apart = halves.apart * g.strides[1] * c;
    let copier = lines.then(|| {
        let room = k.buffer("line", DType::I8, line_len, Access::ReadWrite);
        let zx = k.scalar("zx", -128, 127);
        args.extend([Bind::Workspace(4 * acts_len), Bind::Scalar(packed.x_zp)]);
        Copier { g, x, room, len: line_len, lines: 1, zx, library: want.library }
    });
    let pairer = Pairer { copier, x, acts, apart, gather };
    panel.each(&mut k, &pairer, &mut |k, tile| {
        k.for_("call", 0, calls, |k, call| {
            let last = if calls == 1 { 0 } else { halves.len - halves.pairs };
            let first = k.let_("pixel", (call * halves.pairs).min(last));
            let acts = acts.from(first * (g.strides[1] * c));
            layer.call(k, &kernel, acts, y.from(&tile.y + first * g.y[3]));
        });
    })?;
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace }))
}

/// Brings both halves of a row as words, by way of a line of bytes where there is padding.
struct Pairer<'a> {
    copier: Option<Copier<'a>>,
    x: Buf,
    acts: Buf,
    /// Inputs from the first half to the second.
    apart: usize,
    gather: Arc<Kernel>,
}

impl Pairer<'_> {
    fn pair(&self, k: &mut KernelBuilder, (bytes, from): (Buf, Expr), to: Expr) {
        let both = [bytes.from(&from), bytes.from(from + self.apart)];
        k.call(&self.gather, [both.to_vec(), vec![self.acts.from(to)]].concat());
    }
}

impl Fill for Pairer<'_> {
    fn clear(&self, k: &mut KernelBuilder, part: &Part) -> Result<()> {
        self.copier.iter().try_for_each(|copier| copier.clear(k, part))
    }
    fn line(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: Expr) -> Result<()> {
        match &self.copier {
            Some(copier) => copier.line(k, span, from, 0.into()),
            None => {
                self.pair(k, (self.x, from), to);
                Ok(())
            }
        }
    }
    fn padding(&self, k: &mut KernelBuilder, span: &Span, _to: Expr) -> Result<()> {
        self.copier.iter().try_for_each(|copier| copier.padding(k, span, 0.into()))
    }
    fn done(&self, k: &mut KernelBuilder, to: Expr) {
        if let Some(copier) = &self.copier {
            self.pair(k, (copier.room, 0.into()), to);
        }
    }
}
