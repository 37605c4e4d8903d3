//! Convolutions that an engine cannot spell, made of those that it can.
//!
//! In: a geometry and what the engine says to smaller ones. Out: ways made of calls of its own
//! ways: group after group, and, where taps lie apart along an axis, phase after phase: every
//! `d`-th output meets every `d`-th input alone, with taps that lie side by side. What a part reads
//! or writes stands in the workspace where the engine wants its channels packed.
//!
//! Law: as the engine's. A part is asked for like any other convolution, so that parts may
//! have parts.

use crate::arith::requant::{Requant, Shift};
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, ParamKind, Val, int};
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use crate::vector::{RUN_LEAST, Run, Windows};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Kernels of unlike groups beyond which they are too much code.
const KERNELS: usize = 4;
/// Alignment of what stands in the workspace: that of the widest vectors.
const ALIGN: usize = 128;

/// The engine's answer to a convolution.
pub type Ask<'a> = &'a dyn Fn(&Geometry, &Product) -> Result<Vec<Candidate>>;

/// The ways of a convolution: the engine's own, else those made of parts.
pub fn ways(g: &Geometry, product: &Product, want: &Want<'_>, ask: Ask<'_>) -> Result<Vec<Candidate>> {
    let own = ask(g, product)?;
    let kept = (g.x[1] == 1 || g.groups * g.cin == 1) && (g.y[1] == 1 || g.groups * g.cout == 1);
    if !own.is_empty() || !kept || !product.eight_bits() {
        return Ok(own);
    }
    let again = |g: &Geometry, product: &Product| ways(g, product, want, ask);
    if let Some(phases) = Phases::of(g) {
        return phases.ways(g, product, want, &again);
    }
    if g.groups > 1 && (g.cin > 1 || g.cout > 1) {
        // In place as far as the engine goes, then with packed inputs, then with packed results.
        for packed in [[false, false], [true, false], [true, true]] {
            let found = groups(g, product, want, &again, packed)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Ok(Vec::new())
}

/// Rows and columns of pixels of `n` channels that are moved between a value and the workspace.
struct Pixels<'a> {
    n: usize,
    size: [usize; 2],
    /// Distances of rows and columns on both sides.
    from: [usize; 2],
    to: [usize; 2],
    want: &'a Want<'a>,
}

impl Pixels<'_> {
    /// The kernel that moves `pixels` of a row; `None` where loops do.
    fn row(&self, pixels: usize) -> Result<Option<Arc<Kernel>>> {
        let windows = Windows::new(self.n, [1, 1], [0, 0], pixels, [self.from[1], self.to[1]]);
        if windows.pixels == 1 && windows.n >= RUN_LEAST {
            let copy = Run::Copy { n: windows.n }.kernel(self.want.library)?;
            if copy.is_some() {
                return Ok(copy);
            }
        }
        // The greatest of one tap is the tap.
        Run::Max { windows }.kernel(self.want.library)
    }
    /// Moves one pixel, or `pixels` of a row.
    fn moved(
        &self,
        k: &mut KernelBuilder,
        run: &Option<Arc<Kernel>>,
        pixels: usize,
        from: (Buf, Expr),
        to: (Buf, Expr),
    ) {
        if let Some(run) = run {
            return k.call(run, vec![from.0.from(from.1), to.0.from(to.1)]);
        }
        k.for_("p", 0, pixels, |k, p| {
            k.for_("c", 0, self.n, |k, c| {
                let value = from.0.at(&from.1 + p * self.from[1] + c);
                k.store(to.0, &to.1 + p * self.to[1] + c, value);
            });
        });
    }
    fn all(&self, k: &mut KernelBuilder, from: (Buf, Expr), to: (Buf, Expr)) -> Result<()> {
        let run = self.row(self.size[1])?;
        k.for_("h", 0, self.size[0], |k, h| {
            let (a, b) = (&from.1 + h * self.from[0], &to.1 + h * self.to[0]);
            self.moved(k, &run, self.size[1], (from.0, a), (to.0, b));
        });
        Ok(())
    }
}

/// A kernel under construction around calls of parts.
struct Whole {
    k: KernelBuilder,
    args: Vec<Bind>,
    x: Buf,
    y: Buf,
    /// Bytes of workspace in use.
    workspace: usize,
    /// Where the parts' own workspace stands, by its place in the order of offsets.
    shared: Vec<usize>,
}

impl Whole {
    fn new(g: &Geometry) -> Whole {
        let mut k = KernelBuilder::new("conv_s8_parts");
        let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
        let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
        Whole { k, args: vec![Bind::Operand(0), Bind::Result(0)], x, y, workspace: 0, shared: Vec::new() }
    }
    /// A place in the workspace for packed pixels.
    fn place(&mut self, name: &str, len: usize) -> Buf {
        self.args.push(Bind::Workspace(self.workspace));
        self.workspace += len.next_multiple_of(ALIGN);
        self.k.buffer(name, DType::I8, len, Access::ReadWrite)
    }
    /// Lays out the workspace of parts of which one runs at a time: the first piece of each at one
    /// place, with room for the longest, then the second.
    fn share(&mut self, ways: &[&Candidate]) {
        let offsets: Vec<Vec<usize>> = ways.iter().map(|way| offsets(&way.call)).collect();
        for piece in 0..offsets.iter().map(Vec::len).max().unwrap_or(0) {
            let lens = ways.iter().zip(&offsets).filter_map(|(way, all)| {
                let end = all.get(piece + 1).copied().unwrap_or(way.workspace);
                Some(end.saturating_sub(*all.get(piece)?))
            });
            self.shared.push(self.workspace);
            self.workspace += lens.max().unwrap_or(0).next_multiple_of(ALIGN);
        }
    }
    /// Declares what the calls of a part need beside operand and result.
    fn part(&mut self, parts: &[&Call]) -> Option<Part> {
        let first = parts.first()?;
        let mut given = Vec::new();
        for (i, (role, param)) in first.args.iter().zip(&first.kernel.params).enumerate() {
            // Parts of one kind have parameters of the same names.
            let name = format!("{}{}", param.name, self.args.len());
            let ParamKind::Buffer { elem, len, access } = param.kind else {
                let Bind::Scalar(v) = role else { return None };
                if parts.iter().any(|p| p.args[i] != *role) {
                    return None;
                }
                given.push(Given::Scalar(*v));
                continue;
            };
            given.push(match role {
                Bind::Operand(0) => Given::Operand,
                Bind::Result(0) => Given::Result,
                Bind::Workspace(at) => {
                    let piece = offsets(first).iter().position(|o| o == at)?;
                    self.args.push(Bind::Workspace(*self.shared.get(piece)?));
                    Given::Held(self.k.buffer(&name, elem, len, access), 0)
                }
                Bind::Data { name: says, data, align } => {
                    let step = len.next_multiple_of((align / elem.size()).max(1));
                    let mut all: Vec<i64> = Vec::with_capacity(parts.len() * step);
                    for part in parts {
                        let Bind::Data { data, .. } = &part.args[i] else { return None };
                        all.extend(whole(data)?);
                        all.resize(all.len().next_multiple_of(step), 0);
                    }
                    let data = Data::from_i64(data.dtype(), &all);
                    self.args.push(Bind::Data { name: says.clone(), data, align: *align });
                    Given::Held(self.k.buffer(&name, elem, all.len(), Access::Read), step)
                }
                _ => return None,
            });
        }
        Some(Part { kernel: first.kernel.clone(), given })
    }
    fn candidate(self, way: &'static str) -> Result<Candidate> {
        let workspace = self.workspace;
        Ok(Candidate { way, call: Call { kernel: self.k.finish()?, args: self.args }, workspace })
    }
}

/// The offsets into the workspace, ascending.
fn offsets(call: &Call) -> Vec<usize> {
    let all: BTreeSet<usize> =
        call.args.iter().filter_map(|a| if let Bind::Workspace(at) = a { Some(*at) } else { None }).collect();
    all.into_iter().collect()
}

/// Integers as they are.
fn whole(data: &Data) -> Option<Vec<i64>> {
    Some(match data {
        Data::I8(v) => v.iter().map(|&v| v.into()).collect(),
        Data::U8(v) => v.iter().map(|&v| v.into()).collect(),
        Data::I16(v) => v.iter().map(|&v| v.into()).collect(),
        Data::I32(v) => v.iter().map(|&v| v.into()).collect(),
        _ => return None,
    })
}

/// What a parameter of a part gets.
enum Given {
    Operand,
    Result,
    Scalar(i32),
    /// From an offset on that grows by the second with each of equal parts.
    Held(Buf, usize),
}

struct Part {
    kernel: Arc<Kernel>,
    given: Vec<Given>,
}

impl Part {
    fn call(&self, k: &mut KernelBuilder, number: &Expr, x: (Buf, Expr), y: (Buf, Expr)) {
        let args = self.given.iter().map(|given| match given {
            Given::Operand => x.0.from(x.1.clone()),
            Given::Result => y.0.from(y.1.clone()),
            Given::Scalar(v) => CallArg::Scalar(int(*v)),
            Given::Held(buffer, step) => buffer.from(number * *step),
        });
        k.call(&self.kernel, args.collect());
    }
}

/// The product of one group.
fn group_of(product: &Product, g: &Geometry, group: usize) -> Option<Product> {
    let (Data::I32(w), Data::I32(b), Finish::Int(r)) = (&product.weights, &product.bias, &product.finish)
    else {
        return None;
    };
    let taps = w.len() / b.len().max(1);
    let channels = group * g.cout..(group + 1) * g.cout;
    let shift = match &r.shift {
        Shift::Layer(s) => Shift::Layer(*s),
        Shift::Channel(s) => Shift::Channel(s[channels.clone()].to_vec()),
    };
    let m = if r.m.len() == 1 { r.m.clone() } else { r.m[channels.clone()].to_vec() };
    Some(Product {
        weights: Data::I32(w[channels.start * taps..channels.end * taps].to_vec()),
        bias: Data::I32(b[channels].to_vec()),
        x_zp: product.x_zp,
        operand: product.operand,
        finish: Finish::Int(Requant { m, shift, out: r.out }),
    })
}

/// Group after group; inputs and results packed in the workspace or where they stand.
fn groups(
    g: &Geometry,
    product: &Product,
    want: &Want<'_>,
    ask: Ask<'_>,
    [pack_x, pack_y]: [bool; 2],
) -> Result<Vec<Candidate>> {
    let packed = |n: usize, [h, w]: [usize; 2]| [h * w * n, 1, w * n, n];
    let sub = Geometry {
        batch: 1,
        groups: 1,
        x: if pack_x { packed(g.cin, g.input) } else { g.x },
        y: if pack_y { packed(g.cout, g.output) } else { g.y },
        ..g.clone()
    };
    let mut each = Vec::with_capacity(g.groups);
    for group in 0..g.groups {
        let Some(product) = group_of(product, g, group) else { return Ok(Vec::new()) };
        let found = ask(&sub, &product)?;
        if found.is_empty() {
            return Ok(found);
        }
        each.push(found);
    }
    let mut all = Vec::new();
    for first in &each[0] {
        let same = |found: &'_ Vec<Candidate>| found.iter().position(|c| c.way == first.way);
        let Some(ways) = each.iter().map(|f| same(f).map(|i| &f[i])).collect::<Option<Vec<_>>>() else {
            continue;
        };
        // Neighbours of one kernel are turns of one loop.
        let mut runs: Vec<Vec<&Call>> = Vec::new();
        for way in &ways {
            match runs.last_mut().filter(|run| run[0].kernel == way.call.kernel) {
                Some(run) => run.push(&way.call),
                None => runs.push(vec![&way.call]),
            }
        }
        if runs.len() > KERNELS {
            continue;
        }
        let mut whole = Whole::new(g);
        let image = pack_x.then(|| whole.place("image", sub.x_len()));
        let made = pack_y.then(|| whole.place("made", sub.y_len()));
        whole.share(&ways);
        let Some(parts) = runs.iter().map(|run| whole.part(run)).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let (x, y) = (whole.x, whole.y);
        let read = Pixels { n: g.cin, size: g.input, from: [g.x[2], g.x[3]], to: [sub.x[2], sub.x[3]], want };
        let write =
            Pixels { n: g.cout, size: g.output, from: [sub.y[2], sub.y[3]], to: [g.y[2], g.y[3]], want };
        let mut failed = Ok(());
        whole.k.for_("n", 0, g.batch, |k, n| {
            let mut first = 0;
            for (part, run) in parts.iter().zip(&runs) {
                k.for_("g", 0, run.len(), |k, i| {
                    let group = i + first;
                    let x0 = n * g.x[0] + &group * (g.cin * g.x[1]);
                    let y0 = n * g.y[0] + &group * (g.cout * g.y[1]);
                    let mut step = || {
                        if let Some(image) = image {
                            read.all(k, (x, x0.clone()), (image, int(0)))?;
                        }
                        let from = image.map_or((x, x0.clone()), |image| (image, int(0)));
                        let to = made.map_or((y, y0.clone()), |made| (made, int(0)));
                        part.call(k, &i.into(), from, to);
                        match made {
                            Some(made) => write.all(k, (made, int(0)), (y, y0.clone())),
                            None => Ok(()),
                        }
                    };
                    if let Err(e) = step() {
                        failed = Err(e);
                    }
                });
                first += run.len();
            }
        });
        failed?;
        all.push(whole.candidate(first.way)?);
    }
    Ok(all)
}

/// Outputs along an axis that meet the same inputs as their neighbours do, so many apart.
#[derive(Debug, Clone, Copy)]
struct Phases {
    /// By axis: how many there are, and the stride within one.
    count: [usize; 2],
    stride: [usize; 2],
}

impl Phases {
    /// Of a convolution whose taps lie apart.
    fn of(g: &Geometry) -> Option<Phases> {
        let mut phases = Phases { count: [1, 1], stride: g.strides };
        for axis in 0..2 {
            if g.kernel[axis] > 1 && g.dilations[axis] > 1 {
                let (mut a, mut b) = (g.strides[axis], g.dilations[axis]);
                while b > 0 {
                    (a, b) = (b, a % b);
                }
                phases.count[axis] = g.dilations[axis] / a;
                phases.stride[axis] = g.strides[axis] / a;
            }
        }
        let apart = (0..2).any(|axis| g.kernel[axis] > 1 && g.dilations[axis] > 1);
        apart.then_some(phases)
    }

    fn ways(self, g: &Geometry, product: &Product, want: &Want<'_>, ask: Ask<'_>) -> Result<Vec<Candidate>> {
        // By axis the phases with one output more, if any, then the others: first and number, outputs.
        let kinds: Vec<Vec<(usize, usize, usize)>> = (0..2)
            .map(|axis| {
                let (count, out) = (self.count[axis], g.output[axis]);
                let (more, least) = (out % count, out / count);
                [(0, more, least + 1), (more, count - more, least)]
                    .into_iter()
                    .filter(|&(_, phases, outputs)| phases > 0 && outputs > 0)
                    .collect()
            })
            .collect();
        let (pixel, made) = (g.groups * g.cin, g.groups * g.cout);
        // An image of all inputs of a phase, padding included.
        let size = |axis: usize, outputs: usize| (outputs - 1) * self.stride[axis] + g.kernel[axis];
        let sub = |outputs: [usize; 2], pack_y: bool| {
            let input = [0, 1].map(|axis| size(axis, outputs[axis]));
            let y = match pack_y {
                true => [outputs[0] * outputs[1] * made, 1, outputs[1] * made, made],
                false => [g.y[0], g.y[1], g.y[2] * self.count[0], g.y[3] * self.count[1]],
            };
            Geometry {
                batch: 1,
                input,
                output: outputs,
                strides: self.stride,
                dilations: [1, 1],
                pads: [0, 0],
                x: [input[0] * input[1] * pixel, 1, input[1] * pixel, pixel],
                y,
                ..g.clone()
            }
        };
        let pairs: Vec<[(usize, usize, usize); 2]> =
            kinds[0].iter().flat_map(|&rows| kinds[1].iter().map(move |&columns| [rows, columns])).collect();
        for pack_y in [false, true] {
            let subs: Vec<Geometry> = pairs.iter().map(|p| sub(p.map(|kind| kind.2), pack_y)).collect();
            let each = subs.iter().map(|s| ask(s, product)).collect::<Result<Vec<_>>>()?;
            let mut all = Vec::new();
            for first in each.first().map_or(&[][..], |f| f) {
                let same = |found: &'_ Vec<Candidate>| found.iter().position(|c| c.way == first.way);
                let ways = each.iter().map(|f| same(f).map(|i| &f[i])).collect::<Option<Vec<&Candidate>>>();
                let Some(ways) = ways else { continue };
                let kinds: Vec<Kind<'_>> = (0..pairs.len())
                    .map(|i| Kind { phases: pairs[i], sub: &subs[i], way: ways[i] })
                    .collect();
                all.extend(self.way(g, product, want, &kinds, pack_y)?);
            }
            if !all.is_empty() {
                return Ok(all);
            }
        }
        Ok(Vec::new())
    }

    fn way(
        self,
        g: &Geometry,
        product: &Product,
        want: &Want<'_>,
        kinds: &[Kind<'_>],
        pack_y: bool,
    ) -> Result<Option<Candidate>> {
        let mut whole = Whole::new(g);
        let longest =
            |len: &dyn Fn(&Geometry) -> usize| kinds.iter().map(|kind| len(kind.sub)).max().unwrap_or(0);
        let image = whole.place("image", longest(&Geometry::x_len));
        let made = pack_y.then(|| whole.place("made", longest(&Geometry::y_len)));
        whole.share(&kinds.iter().map(|kind| kind.way).collect::<Vec<_>>());
        let parts: Option<Vec<Part>> = kinds.iter().map(|kind| whole.part(&[&kind.way.call])).collect();
        let Some(parts) = parts else { return Ok(None) };
        let (x, y) = (whole.x, whole.y);
        let mut failed = Ok(());
        whole.k.for_("n", 0, g.batch, |k, n| {
            for (kind, part) in kinds.iter().zip(&parts) {
                let [rows, columns] = kind.phases;
                k.for_("py", rows.0, rows.0 + rows.1, |k, py| {
                    k.for_("px", columns.0, columns.0 + columns.1, |k, px| {
                        let mut step = || {
                            let inputs = Inputs { g, sub: kind.sub, zero: product.x_zp, want };
                            inputs.gather(k, (x, n * g.x[0]), image, [py, px])?;
                            let y0 = n * g.y[0] + py * g.y[2] + px * g.y[3];
                            let to = made.map_or((y, y0.clone()), |made| (made, int(0)));
                            part.call(k, &int(0), (image, int(0)), to);
                            let Some(made) = made else { return Ok(()) };
                            let (from, n) = (&kind.sub.y, g.groups * g.cout);
                            let to = [g.y[2] * self.count[0], g.y[3] * self.count[1]];
                            let pixels =
                                Pixels { n, size: kind.sub.output, from: [from[2], from[3]], to, want };
                            pixels.all(k, (made, int(0)), (y, y0))
                        };
                        if let Err(e) = step() {
                            failed = Err(e);
                        }
                    });
                });
            }
        });
        failed?;
        match kinds.first() {
            Some(first) => whole.candidate(first.way.way).map(Some),
            None => Ok(None),
        }
    }
}

/// The inputs of a phase: those of the whole, those that the part is to have, their zero point.
struct Inputs<'a> {
    g: &'a Geometry,
    sub: &'a Geometry,
    zero: i32,
    want: &'a Want<'a>,
}

impl Inputs<'_> {
    /// Copies them side by side, zero points where padding is.
    fn gather(
        &self,
        k: &mut KernelBuilder,
        (x, x0): (Buf, Expr),
        image: Buf,
        [py, px]: [Val; 2],
    ) -> Result<()> {
        let &Inputs { g, sub, zero, want } = self;
        let n = g.groups * g.cin;
        let step = [0, 1].map(|axis| if g.kernel[axis] > 1 { g.dilations[axis] } else { 1 });
        let pixels = Pixels {
            n,
            size: sub.input,
            from: [step[0] * g.x[2], step[1] * g.x[3]],
            to: [sub.x[2], sub.x[3]],
            want,
        };
        let first = |p: Val, axis: usize| p * g.strides[axis] - g.pads[axis];
        if !g.padded() {
            let at = x0 + first(py, 0) * g.x[2] + first(px, 1) * g.x[3];
            return pixels.all(k, (x, at), (image, int(0)));
        }
        let run = pixels.row(1)?;
        k.for_("h", 0, sub.input[0], |k, h| {
            let iy = k.let_("iy", first(py, 0) + h * step[0]);
            k.for_("w", 0, sub.input[1], |k, w| {
                let ix = k.let_("ix", first(px, 1) + w * step[1]);
                let to = k.let_("to", h * sub.x[2] + w * sub.x[3]);
                let inside = iy.ge(0).and(iy.lt(g.input[0])).and(ix.ge(0)).and(ix.lt(g.input[1]));
                k.if_else(
                    inside,
                    |k| {
                        let at = x0.clone() + iy * g.x[2] + ix * g.x[3];
                        pixels.moved(k, &run, 1, (x, at), (image, to.into()));
                    },
                    |k| k.for_("c", 0, n, |k, c| k.store(image, to + c, zero)),
                );
            });
        });
        Ok(())
    }
}

/// Phases of one size, and the way that the engine has for them.
struct Kind<'a> {
    /// By axis: first phase, number of phases, outputs of each.
    phases: [(usize, usize, usize); 2],
    sub: &'a Geometry,
    way: &'a Candidate,
}
