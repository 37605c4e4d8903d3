//! Depthwise convolutions on vertical pairs: bands of rows, four channels at a time.
//!
//! The input rows under a band of outputs are widened in pairs into the workspace, then multiplied
//! by a block ([`crate::armv7em::dw_rowpair`]). Channels that do not make a whole group share one with
//! their neighbours before them. Windows may lie either way: pairs are taken along the axis
//! on which the window is longer, and signals of one dimension are pairs all along.
//!
//! In: sizes and a product. Out: the way `pairs`, and where that takes several bands but one would
//! cost less memory than a result of its own, the way `pairs-whole`. Law: every input is read
//! before an output of its channel is written over it where all rows are one band.

use crate::arith::requant::high;
use crate::armv7em::dw_1d::Line;
use crate::armv7em::dw_3x3::{FORMS, Form, Slide};
use crate::armv7em::dw_interleave::{PairRows, There};
use crate::armv7em::dw_plane::{Pass, Plane};
use crate::armv7em::dw_rowpair::{COLUMN, GROUP};
use crate::armv7em::dw_tiles::Tiles;
use crate::armv7em::engine::ending;
use crate::armv7em::epilogue::Rounding;
use crate::call::{Bind, Call};
use crate::epilogue::{Ending, Finish};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::library::Library;
use crate::offer::{Candidate, ROWS_LIMIT, Want};
use crate::policy::Policy;
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// A convolution seen along its pairs: index 0 is the axis of pairs, 1 the other one.
#[derive(Debug, Clone, Copy)]
struct View {
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 2],
    x: [usize; 2],
    y: [usize; 2],
    /// Distance of taps in the product's rows of weights.
    taps: [usize; 2],
    /// Columns from one pair of rows to the next.
    pitch: usize,
    /// Whether texts may know the distance of results.
    known: bool,
}

/// The pitch that rows of 3x3 windows share where code is to be small: a text holds its pitch.
const PITCH: usize = 64;
/// The least pitch of other windows, which share powers of two.
const LEAST_PITCH: usize = 16;
/// Outputs from which on a text of their own, which saves a cycle of each, is worth it.
const KNOWN: usize = 2048;
/// Rows up to which columns keep a pitch of their own: their text is their own anyway.
const NARROW: usize = 8;

impl View {
    fn of(g: &Geometry, policy: Policy<'_>) -> Option<View> {
        let outputs = g.output[0] * g.output[1] * g.groups;
        let along = |a: usize| {
            let of = |v: &[usize; 2]| [v[a], v[1 - a]];
            let taps = [g.kernel[1], 1];
            View {
                input: of(&g.input),
                output: of(&g.output),
                kernel: of(&g.kernel),
                strides: of(&g.strides),
                dilations: of(&g.dilations),
                pads: of(&g.pads),
                x: [g.x[2 + a], g.x[3 - a]],
                y: [g.y[2 + a], g.y[3 - a]],
                taps: of(&taps),
                pitch: 0,
                known: policy.spends_flash() && g.y[3 - a] <= 255 && outputs >= KNOWN,
            }
        };
        let mut views = [along(0), along(1)];
        if views[1].kernel[0] > views[0].kernel[0] || views[0].input[0] == 1 {
            views.swap(0, 1);
        }
        let view = views.into_iter().find(|v| v.dilations[0] == 1 || v.kernel[0] == 1)?;
        let columns = view.columns();
        let shared = view.square() && !policy.spends_flash() && (NARROW + 1..=PITCH).contains(&columns);
        let other = !view.square() && !view.line() && !policy.spends_flash() && columns <= PITCH;
        let pitch = match (shared, other) {
            (true, _) => PITCH,
            (_, true) => columns.next_power_of_two().max(LEAST_PITCH),
            _ => columns,
        };
        Some(View { pitch, ..view })
    }
    /// A window that slides.
    fn square(&self) -> bool {
        self.kernel == [3, 3]
            && self.strides[0] == self.strides[1]
            && self.strides[0] <= 2
            && self.dilations == [1, 1]
    }
    /// A signal along the pairs.
    fn line(&self) -> bool {
        self.input[1] == 1 && self.kernel[1] == 1 && self.output[1] == 1 && self.pads[1] == 0
    }
    /// Columns under a row of outputs, padding included.
    fn columns(&self) -> usize {
        (self.output[1] - 1) * self.strides[1] + (self.kernel[1] - 1) * self.dilations[1] + 1
    }
    /// Rows of pairs that `rows` rows of outputs read, which begin at an even row. Phases share one
    /// window, so that the first may reach one pair beyond its own.
    fn pairs(&self, rows: usize) -> usize {
        let phases = self.phases(rows);
        let ends = phases.iter().enumerate().filter(|(_, n)| **n > 0);
        let reach = ends.map(|(phase, n)| phase * self.second() + (n - 1) * self.apart() + self.window());
        reach.max().unwrap_or(0)
    }
    /// Pairs under an output of either phase.
    fn window(&self) -> usize {
        (self.kernel[0] + self.phases(2).len() - 1).div_ceil(2)
    }
    /// Pairs from one output of a phase to the next.
    fn apart(&self) -> usize {
        if self.strides[0] % 2 == 1 { self.strides[0] } else { self.strides[0] / 2 }
    }
    /// Pairs to the first output of the second phase.
    fn second(&self) -> usize {
        self.strides[0] / 2
    }
    /// Rows of each phase among `rows`; all bands have the same phases, if with no row.
    fn phases(&self, rows: usize) -> Vec<usize> {
        if self.strides[0] % 2 == 1 && self.output[0] > 1 {
            vec![rows.div_ceil(2), rows / 2]
        } else {
            vec![rows]
        }
    }
    /// Rows of outputs of a band whose pairs take at most `limit` bytes, or as few as there can be.
    fn band(&self, limit: usize) -> usize {
        let mut rows = self.output[0];
        let bytes = |rows: usize| 2 * COLUMN * self.pitch * self.pairs(rows);
        while rows > 2 && bytes(rows) > limit {
            let parts = self.output[0].div_ceil(rows) + 1;
            rows = self.output[0].div_ceil(parts).next_multiple_of(2).min(rows - 1) / 2 * 2;
        }
        rows.max(1)
    }
}

/// Rows of outputs and the pairs under them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Band {
    /// First row of outputs, and rows.
    first: usize,
    rows: usize,
    /// First input row that is read.
    input: usize,
    /// Pairs of padding before and behind the pairs that are written, and what those are.
    before: usize,
    behind: usize,
    upper_missing: bool,
    both: usize,
    lower_missing: bool,
}

impl Band {
    fn new(v: &View, first: usize, rows: usize) -> Band {
        let pairs = v.pairs(rows);
        let row = |i: usize| {
            let at = (first * v.strides[0] + i).checked_sub(v.pads[0])?;
            (at < v.input[0]).then_some(at)
        };
        let of = |j: usize| (row(2 * j), row(2 * j + 1));
        let mut band = Band {
            first,
            rows,
            input: (0..2 * pairs).find_map(row).unwrap_or(0),
            before: 0,
            behind: 0,
            upper_missing: false,
            both: 0,
            lower_missing: false,
        };
        for j in 0..pairs {
            match of(j) {
                (Some(_), Some(_)) => band.both += 1,
                (None, Some(_)) => band.upper_missing = true,
                (Some(_), None) => band.lower_missing = true,
                (None, None) if band.both == 0 && !band.upper_missing && !band.lower_missing => {
                    band.before += 1;
                }
                (None, None) => band.behind += 1,
            }
        }
        band
    }
    fn empty(&self) -> bool {
        self.both == 0 && !self.upper_missing && !self.lower_missing
    }
    /// The same place relative to its own first row: such bands share their kernels.
    fn like(&self, v: &View, next: &Band) -> bool {
        let moved = Band { first: self.first, input: self.input, ..*next };
        moved == *self
            && next.first - self.first == self.rows
            && next.input - self.input == self.rows * v.strides[0]
    }
}

/// What multiplies the pairs.
enum Multiply {
    Slide(Slide),
    Line(Line),
    Tiles(Tiles),
    Plane(Plane),
}

impl Multiply {
    fn kernel(&self, channels: usize, library: &Library<'_>) -> Result<Arc<Kernel>> {
        let core = library.core();
        match self {
            Multiply::Slide(s) => {
                let s = Slide { channels, ..*s };
                library.once(&s, || s.kernel(core))
            }
            Multiply::Line(l) => {
                let l = Line { channels, ..*l };
                library.once(&l, || l.kernel(core))
            }
            Multiply::Tiles(t) => {
                let t = Tiles { channels, ..*t };
                library.once(&t, || t.kernel(core))
            }
            Multiply::Plane(p) => {
                let p = Plane { channels, ..p.clone() };
                library.once(&p, || p.kernel(core))
            }
        }
    }
    fn scalars(&self, channels: usize) -> Vec<i32> {
        match self {
            Multiply::Slide(s) => Slide { channels, ..*s }.scalars().to_vec(),
            Multiply::Line(l) => Line { channels, ..*l }.scalars().to_vec(),
            Multiply::Tiles(t) => Tiles { channels, ..*t }.scalars().to_vec(),
            Multiply::Plane(_) => Vec::new(),
        }
    }
    /// Halves of the stream of one channel.
    fn stream(&self) -> usize {
        match self {
            Multiply::Slide(s) => Slide { channels: 1, ..*s }.stream_len(),
            Multiply::Line(l) => Line { channels: 1, ..*l }.stream_len(),
            Multiply::Tiles(t) => Tiles { channels: 1, ..*t }.stream_len(),
            Multiply::Plane(p) => Plane { channels: 1, ..p.clone() }.stream_len(),
        }
    }
    fn fits(&self) -> bool {
        match self {
            Multiply::Slide(s) => s.fits(),
            Multiply::Line(l) => l.fits(),
            Multiply::Tiles(t) => t.fits(),
            Multiply::Plane(p) => p.fits(),
        }
    }
}

/// The block for `rows` rows of outputs; its coefficients are of this form where it has several.
fn multiply(v: &View, rows: usize, ending: &Ending<'_>, form: Form) -> Multiply {
    let (lo, hi) = ending.limits;
    if let (true, Some(sh)) = (v.square(), ending.sh) {
        let slide = Slide {
            channels: GROUP,
            stride: v.strides[0],
            rows,
            outputs: v.output[1],
            pitch: v.pitch,
            left: v.pads[1],
            width: v.input[1],
            step: v.y[1],
            row: v.y[0],
            known: v.known,
            form,
            sh,
            lo,
            hi,
        };
        if slide.fits() {
            return Multiply::Slide(slide);
        }
    }
    if let (true, Some(sh)) = (v.line(), ending.sh) {
        let line = Line {
            channels: GROUP,
            taps: v.kernel[0],
            stride: v.strides[0],
            outputs: rows,
            step: v.y[0],
            sh,
            lo,
            hi,
        };
        if line.fits() {
            return Multiply::Line(line);
        }
    }
    let phases = v.phases(rows);
    let (window, apart) = (v.window(), v.apart());
    let turns = if v.strides[0] % 2 == 1 { 2 } else { 1 };
    if !v.line() {
        let tiles = Tiles {
            channels: GROUP,
            window: [window, v.kernel[1]],
            dilation: v.dilations[1],
            pitch: v.pitch,
            strides: [apart, v.strides[1]],
            passes: phases.len(),
            rows: [phases[0], phases.get(1).copied().unwrap_or(0)],
            second: (v.second(), v.y[0]),
            outputs: v.output[1],
            step: v.y[1],
            row: turns * v.y[0],
            known: v.known,
            sh: ending.sh,
            lo,
            hi,
        };
        if tiles.fits() {
            return Multiply::Tiles(tiles);
        }
    }
    let place = |phase: usize| (phase * v.second(), phase * v.y[0]);
    Multiply::Plane(if v.line() {
        let pass = |(phase, &n): (usize, &usize)| {
            let (column, y) = place(phase);
            Pass { pair: 0, column, y, rows: 1.min(n), outputs: n }
        };
        Plane {
            channels: GROUP,
            window: [1, window],
            dilation: 1,
            pitch: v.pairs(rows),
            strides: [1, apart],
            passes: phases.iter().enumerate().map(pass).collect(),
            step: turns * v.y[0],
            row: 0,
            sh: ending.sh,
            lo,
            hi,
        }
    } else {
        let pass = |(phase, &n): (usize, &usize)| {
            let (pair, y) = place(phase);
            Pass { pair, column: 0, y, rows: n, outputs: v.output[1] }
        };
        Plane {
            channels: GROUP,
            window: [window, v.kernel[1]],
            dilation: v.dilations[1],
            pitch: v.pitch,
            strides: [apart, v.strides[1]],
            passes: phases.iter().enumerate().map(pass).collect(),
            step: v.y[1],
            row: turns * v.y[0],
            sh: ending.sh,
            lo,
            hi,
        }
    })
}

/// A depthwise convolution with four channels or more.
pub fn pairs(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let side_by_side = g.x[1] == 1 && g.y[1] == 1;
    let fits = side_by_side && g.cin == 1 && g.cout == 1 && g.groups >= GROUP;
    let Some(v) = View::of(g, want.policy).filter(|_| fits) else { return Ok(Vec::new()) };
    let per_band = v.band(3 * want.rows_limit);
    let mut ways = Vec::new();
    let close = View { pitch: v.columns(), ..v };
    // Its text is one more where rows share a pitch: worth it only where memory is short.
    let apart = close.pitch == v.pitch || want.rows_limit < ROWS_LIMIT;
    if apart && g.in_step() && per_band < v.output[0] && close.band(g.y_len()) == v.output[0] {
        ways.extend(banded(g, &close, product, want, ("pairs-whole", v.output[0]))?);
    }
    ways.extend(banded(g, &v, product, want, ("pairs", per_band))?);
    Ok(ways)
}

/// The same in bands of so many rows.
fn banded(
    g: &Geometry,
    v: &View,
    product: &Product,
    want: &Want<'_>,
    (way, per_band): (&'static str, usize),
) -> Result<Option<Candidate>> {
    let Some(ending) = ending(product) else { return Ok(None) };
    let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return Ok(None) };
    let common = common(product, &ending, w, b);
    let (ending, w, b) = common.as_ref().map_or((&ending, &w[..], &b[..]), |(e, w, b)| (e, w, b));
    let bands: Vec<Band> = (0..v.output[0])
        .step_by(per_band)
        .map(|first| Band::new(v, first, per_band.min(v.output[0] - first)))
        .collect();
    // Bytes where they hold the weights and flash is not to be spent.
    let mut forms = FORMS.into_iter().filter(|form| *form == Form::Words || !want.policy.spends_flash());
    let packed = forms.find_map(|form| {
        let whole = multiply(v, per_band, ending, form);
        let blocks: Vec<Multiply> = bands.iter().map(|band| multiply(v, band.rows, ending, form)).collect();
        let alike = blocks.iter().all(|m| m.fits() && m.stream() == whole.stream());
        Some((stream(v, &whole, w, b, ending.rounding()).filter(|_| alike)?, blocks))
    });
    let Some((stream, blocks)) = packed.filter(|_| !bands.iter().any(Band::empty)) else { return Ok(None) };
    let driver = Driver { g, v: *v, ending, library: want.library, bands, blocks };
    driver.spell(way, product.x_zp, stream).map(Some)
}

/// Shifts behind the high word that channels are brought to: few, so that texts are shared, the usual one first.
const SHIFTS: [u32; 6] = [1, 4, 8, 12, 16, 20];

/// One of the usual shifts for all channels: weights and bias of a channel grow by as many bits
/// as its shift does, which changes no result. `None` where sums could leave 32 bits or weights 16.
fn common<'a>(
    product: &'a Product,
    ending: &Ending<'a>,
    w: &[i32],
    b: &[i32],
) -> Option<(Ending<'a>, Vec<i32>, Vec<i32>)> {
    let Finish::Int(r) = &product.finish else { return None };
    let most = ending.each.iter().map(|e| e.1).max()?;
    let sh = SHIFTS.into_iter().find(|&sh| sh >= most)?;
    let taps = w.len().checked_div(b.len())?;
    let (mut wide, mut bias) = (Vec::with_capacity(w.len()), Vec::with_capacity(b.len()));
    for (c, w) in w.chunks_exact(taps).enumerate() {
        let grow = sh - ending.each[c].1;
        let worst = i64::from(b[c]).abs() + w.iter().map(|w| 256 * i64::from(*w).abs()).sum::<i64>();
        if worst << grow > i64::from(i32::MAX) {
            return None;
        }
        wide.extend(w.iter().map(|w| w << grow));
        bias.push(b[c] << grow);
    }
    let fits = wide.iter().all(|&w| i16::try_from(w).is_ok());
    let (rnd, _) = high(sh + 32, r.out.zp);
    let ending = Ending { sh: Some(sh), rnd, each: Vec::new(), ..*ending };
    fits.then_some((ending, wide, bias))
}

/// The coefficients of all channels.
fn stream(v: &View, block: &Multiply, w: &[i32], b: &[i32], rounding: Rounding<'_>) -> Option<Vec<i16>> {
    let taps = v.kernel[0] * v.kernel[1];
    let weight = |c: usize, i: usize, j: usize| w[c * taps + i * v.taps[0] + j * v.taps[1]];
    let line = v.line();
    let paired = |c: usize, phase: usize, row: usize, column: usize, half: usize| {
        let (pair, other) = if line { (column, 0) } else { (row, column) };
        let tap = (2 * pair + half).checked_sub(phase).filter(|&t| t < v.kernel[0]);
        tap.map_or(0, |t| weight(c, t, other))
    };
    match block {
        Multiply::Slide(slide) => {
            let turned = (0..b.len()).flat_map(|c| (0..9).map(move |t| (c, t / 3, t % 3)));
            let turned: Vec<i32> = turned.map(|(c, i, j)| weight(c, i, j)).collect();
            slide.form.pack(&turned, b, rounding)
        }
        Multiply::Line(line) => {
            let turned = (0..b.len()).flat_map(|c| (0..line.taps).map(move |t| (c, t)));
            let turned: Vec<i32> = turned.map(|(c, t)| weight(c, t, 0)).collect();
            line.pack(&turned, b, rounding)
        }
        Multiply::Tiles(tiles) => tiles.pack(&paired, b, rounding),
        Multiply::Plane(plane) => plane.pack(b.len(), &paired, b, rounding),
    }
}

/// The loops around the blocks.
struct Driver<'a> {
    g: &'a Geometry,
    v: View,
    ending: &'a Ending<'a>,
    library: &'a Library<'a>,
    bands: Vec<Band>,
    blocks: Vec<Multiply>,
}

/// The parameters of the call.
#[derive(Clone, Copy)]
struct Buffers {
    x: Buf,
    y: Buf,
    wide: Buf,
    w: Buf,
    zx: Val,
    rnd: Option<Val>,
}

impl Driver<'_> {
    fn spell(&self, way: &'static str, x_zp: i32, stream: Vec<i16>) -> Result<Candidate> {
        let (g, v) = (self.g, &self.v);
        let pairs = self.bands.iter().map(|b| v.pairs(b.rows)).max().unwrap_or(0);
        let wide_len = pairs * v.pitch * COLUMN;
        let mut k = KernelBuilder::new("depthwise_s8_pairs");
        let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
        let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
        let wide = k.buffer("wide", DType::I16, wide_len, Access::ReadWrite);
        let w = k.buffer("w", DType::I16, stream.len(), Access::Read);
        let zx = k.scalar("zx", -128, 127);
        let rnd = self.ending.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
        let to = Buffers { x, y, wide, w, zx, rnd };
        // Columns of padding are cleared once: nothing is written over them.
        let (left, right) = (v.pads[1].min(v.columns()), v.pads[1] + self.width());
        if left > 0 || right < v.columns() {
            k.for_("pair", 0, pairs, |k, pair| {
                let row = k.let_("row", pair * (v.pitch * COLUMN));
                k.for_("i", 0, left * COLUMN, |k, i| k.store(wide, row + i, 0));
                k.for_("i", right * COLUMN, v.columns() * COLUMN, |k, i| k.store(wide, row + i, 0));
            });
        }
        // Rows of padding, before each band that has any.
        let clear = |k: &mut KernelBuilder, band: &Band| {
            let row = v.pitch * COLUMN;
            let last =
                band.before + band.both + usize::from(band.upper_missing) + usize::from(band.lower_missing);
            k.for_("i", 0, band.before * row, |k, i| k.store(wide, i, 0));
            k.for_("i", last * row, (last + band.behind) * row, |k, i| k.store(wide, i, 0));
        };
        let mut failed = None;
        k.for_("n", 0, g.batch, |k, n| {
            let (x0, y0) = (k.let_("x0", n * g.x[0]), k.let_("y0", n * g.y[0]));
            let mut i = 0;
            while i < self.bands.len() {
                let band = &self.bands[i];
                let run = 1
                    + (i + 1..self.bands.len())
                        .take_while(|&j| self.bands[j - 1].like(v, &self.bands[j]))
                        .count();
                k.for_("band", 0, run, |k, turn| {
                    clear(k, band);
                    let x0 = x0 + turn * (band.rows * v.strides[0] * v.x[0]) + band.input * v.x[0];
                    let y0 = y0 + turn * (band.rows * v.y[0]) + band.first * v.y[0];
                    let (x0, y0) = (k.let_("xb", x0), k.let_("yb", y0));
                    if let Err(e) = self.groups(k, &to, band, &self.blocks[i], (x0, y0)) {
                        failed.get_or_insert(e);
                    }
                });
                i += run;
            }
        });
        if let Some(e) = failed {
            return Err(e);
        }
        let weights = Bind::aligned("weights", Data::I16(stream), 4);
        let in_place = g.in_step() && self.bands.len() == 1;
        let result = if in_place { Bind::ResultInPlace } else { Bind::Result(0) };
        let mut args = vec![Bind::Operand(0), result, Bind::Workspace(0), weights, Bind::Scalar(x_zp)];
        args.extend(rnd.map(|_| Bind::Scalar(self.ending.rnd)));
        let call = Call { kernel: k.finish()?, args };
        Ok(Candidate { way, call, workspace: 2 * wide_len })
    }

    /// Input columns that are read.
    fn width(&self) -> usize {
        self.v.input[1].min(self.v.columns().saturating_sub(self.v.pads[1]))
    }

    /// All channels of a band.
    fn groups(
        &self,
        k: &mut KernelBuilder,
        to: &Buffers,
        band: &Band,
        block: &Multiply,
        (x0, y0): (Val, Val),
    ) -> Result<()> {
        let (channels, stream) = (self.g.groups, block.stream());
        let widen = self.widen(band)?;
        let whole = block.kernel(GROUP, self.library)?;
        let call = |k: &mut KernelBuilder, kernel: &Arc<Kernel>, n: usize, c: Expr, skip: usize| {
            for (kernel, from, at, scalars) in &widen {
                let mut args =
                    vec![to.x.from(x0 + &c + *from), to.wide.from(*at), CallArg::Scalar(to.zx.into())];
                args.extend(scalars.iter().map(|&s| CallArg::Scalar(s.into())));
                k.call(kernel, args);
            }
            let c = c + skip;
            let mut args = vec![to.wide.from(2 * skip), to.w.from(&c * stream), to.y.from(y0 + c)];
            args.extend(to.rnd.map(|r| CallArg::Scalar(r.into())));
            args.extend(block.scalars(n).into_iter().map(|s| CallArg::Scalar(s.into())));
            k.call(kernel, args);
        };
        k.for_step("c", 0, channels / GROUP * GROUP, GROUP as i32, |k, c| {
            call(k, &whole, GROUP, c.into(), 0);
        });
        let rest = channels % GROUP;
        if rest > 0 {
            let last = block.kernel(rest, self.library)?;
            call(k, &last, rest, (channels - GROUP).into(), GROUP - rest);
        }
        Ok(())
    }

    /// The kernels that write the pairs of a group: where in the band's input and in the
    /// workspace each begins, and its sizes as arguments.
    fn widen(&self, band: &Band) -> Result<Vec<(Arc<Kernel>, usize, usize, [i32; 6])>> {
        let v = &self.v;
        let (row, step) = (v.x[0], v.x[1]);
        let edge = |there| PairRows { there, pairs: 1, columns: self.width(), pitch: v.pitch, step, row };
        let start = (band.before * v.pitch + v.pads[1]) * COLUMN;
        let first = usize::from(band.upper_missing);
        let last = first + 2 * band.both;
        let pitch = v.pitch * COLUMN;
        let mut parts = Vec::new();
        if band.upper_missing {
            parts.push((edge(There::Lower), 0, start));
        }
        if band.both > 0 {
            let both = if v.line() {
                // Pairs of a signal are columns of one row.
                PairRows { columns: band.both, step: 2 * row, ..edge(There::Both) }
            } else {
                PairRows { pairs: band.both, ..edge(There::Both) }
            };
            let both = PairRows { pitch: both.pitch.max(both.columns), ..both };
            parts.push((both, first * row, start + first * pitch));
        }
        if band.lower_missing {
            parts.push((edge(There::Upper), last * row, start + (first + band.both) * pitch));
        }
        let spell = |(p, from, at): (PairRows, usize, usize)| {
            let kernel = self.library.once(&p, || p.kernel(self.library.core()))?;
            Ok((kernel, from, at, p.scalars()))
        };
        parts.into_iter().map(spell).collect()
    }
}

#[cfg(test)]
mod tests;
