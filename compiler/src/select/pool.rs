//! Windows of MaxPool and AveragePool over one or two spatial axes.
//!
//! In: a window, an operand and a result. Out: native kernels over rows of pixels where the core
//! has them, region by region; else loops over the result, channels innermost, around loops over
//! the taps. Windows that reach beyond the border are cut to it; averages count what the operator
//! says they count, exactly, by a multiplier for each count.

use super::copy::requantizing;
use super::elementwise::{affine_of_either, clamped, mapped, named};
use super::reduce::{lowest, most_summed, stored};
use super::region::{Region, regions, write};
use super::{Cx, View, requantized, ties_to_even};
use crate::arith::requant::{Multiplier, Output, multiplier};
use crate::error::Result;
use crate::kernel::{Access, CallArg, Expr, KernelBuilder, Val, float, instr, int};
use crate::kernels::call::Bind;
use crate::kernels::rounding::requantize_instr;
use crate::kernels::vector::{Averaging, Run};
use crate::ops::Window;
use crate::tensor::{DType, Data};

/// One spatial axis of a window walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    /// Input and output elements.
    pub(crate) n: usize,
    pub(crate) out: usize,
    pub(crate) taps: usize,
    pub(crate) stride: usize,
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) dilation: usize,
    pub(crate) x_stride: usize,
    pub(crate) y_stride: usize,
}

/// What is known of a window along one axis, at one place of the result.
#[derive(Debug, Clone)]
enum Reach {
    /// All taps are inside; the first one's element.
    Whole(Expr),
    /// Elements from `lo` up to `hi`, one apart.
    Cut(Val, Val),
    /// First element of dilated taps, possibly outside.
    Sparse(Val),
}

impl Axis {
    fn whole(&self) -> bool {
        let last = (self.out - 1) * self.stride + (self.taps - 1) * self.dilation;
        self.begin == 0 && last < self.n
    }
    /// Binds what the window at `o` reaches.
    fn reach(&self, k: &mut KernelBuilder, o: Val) -> Reach {
        if self.whole() {
            return Reach::Whole(o * self.stride);
        }
        let first = k.let_("first", o * self.stride - self.begin);
        if self.dilation > 1 {
            return Reach::Sparse(first);
        }
        Reach::Cut(k.let_("lo", first.max(0)), k.let_("hi", (first + self.taps).min(self.n)))
    }
    /// Loops over the taps inside the border.
    fn taps(
        &self,
        k: &mut KernelBuilder,
        reach: &Reach,
        base: Expr,
        body: &mut dyn FnMut(&mut KernelBuilder, Expr),
    ) {
        match reach {
            Reach::Whole(first) => k.for_("t", 0, self.taps, |k, t| {
                body(k, base + (first.clone() + t * self.dilation) * self.x_stride);
            }),
            Reach::Cut(lo, hi) => {
                k.for_("t", *lo, *hi, |k, t| body(k, base + t * self.x_stride));
            }
            Reach::Sparse(first) => k.for_("t", 0, self.taps, |k, t| {
                let i = k.let_("at", *first + t * self.dilation);
                k.if_(i.ge(0), |k| {
                    k.if_(i.lt(self.n), |k| body(k, base + i * self.x_stride));
                });
            }),
        }
    }
    /// How many taps of the window at `o` count, as an expression and its greatest value.
    fn count(&self, o: Val, with_pad: bool) -> Expr {
        let d = self.dilation;
        let first = o * self.stride - self.begin;
        let border = if with_pad { self.n + self.end } else { self.n };
        // Taps before `border`, less those before the first element.
        let until = ((int(border as i32) - first.clone() + (d - 1)) / d).min(self.taps);
        let from = if with_pad { int(0) } else { ((int(d as i32 - 1) - first) / d).max(0) };
        (until - from).clamp(1, self.taps)
    }
    /// Whether the count is the same everywhere.
    fn steady(&self, with_pad: bool) -> bool {
        let last = (self.out - 1) * self.stride + (self.taps - 1) * self.dilation;
        self.whole() || (with_pad && last < self.begin + self.n + self.end)
    }
}

/// The two spatial axes; a single one is the second of them.
fn axes(x: &View, y: &View, w: &Window<'_>) -> [Axis; 2] {
    let n = w.kernel.len();
    let axis = |i: usize| Axis {
        n: x.shape[2 + i],
        out: y.shape[2 + i],
        taps: w.kernel[i],
        stride: w.strides[i],
        begin: w.pads[i],
        end: w.pads[n + i],
        dilation: w.dilations[i],
        x_stride: x.strides[2 + i],
        y_stride: y.strides[2 + i],
    };
    let one =
        Axis { n: 1, out: 1, taps: 1, stride: 1, begin: 0, end: 0, dilation: 1, x_stride: 0, y_stride: 0 };
    if n == 1 { [one, axis(0)] } else { [axis(0), axis(1)] }
}

/// Loops over the result: `body(k, places, reaches, index of y, base index of x)`.
fn windows(
    k: &mut KernelBuilder,
    x: &View,
    y: &View,
    axes: &[Axis; 2],
    body: &mut dyn FnMut(&mut KernelBuilder, [Val; 2], &[Reach; 2], Expr, Expr),
) {
    k.for_("b", 0, y.shape[0], |k, b| {
        k.for_("h", 0, axes[0].out, |k, h| {
            let high = axes[0].reach(k, h);
            k.for_("w", 0, axes[1].out, |k, w| {
                let reaches = [high, axes[1].reach(k, w)];
                let row = b * y.strides[0] + h * axes[0].y_stride + w * axes[1].y_stride;
                k.for_("c", 0, y.shape[1], |k, c| {
                    let from = b * x.strides[0] + c * x.strides[1];
                    body(k, [h, w], &reaches, row + c * y.strides[1], from);
                });
            });
        });
    });
}

/// MaxPool.
pub(crate) fn max_pool(cx: &mut Cx<'_>, window: &Window<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let table = requantizing(cx, &x, &y)?;
    let axes = axes(&x, &y, window);
    if y.quant.is_some()
        && let Some(regions) = regions(cx, (&x, &y), &axes, false, &|windows| Run::Max { windows })?
    {
        let mut k = KernelBuilder::new("max_pool_s8");
        let from = x.param(&mut k, "x", Access::Read);
        let to = y.param(&mut k, "y", Access::Write);
        write(&mut k, (&x, from), (&y, to), &axes, &regions, &|_| Vec::new());
        cx.step(k, vec![x.arg.clone(), y.arg.clone()])?;
        // The table is a pass of its own over the result, which is the smaller side.
        return table.map_or(Ok(()), |table| mapped(cx, &y, &y, table));
    }
    let mut k = KernelBuilder::new(named("max_pool", y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let map = table.as_ref().map(|_| k.buffer("table", y.elem, 256, Access::Read));
    let to = y.param(&mut k, "y", Access::Write);
    windows(&mut k, &x, &y, &axes, &mut |k, _, reach, at, base| {
        let best = k.var("best", lowest(x.elem));
        axes[0].taps(k, &reach[0], base, &mut |k, row| {
            axes[1].taps(k, &reach[1], row, &mut |k, i| k.set(best, best.max(from.at(i))));
        });
        let value = match map {
            Some(map) => map.at(best.clamp(-128, 127) + 128),
            None if y.quant.is_some() => best.into(),
            None => clamped(best.into(), clamp, y.elem),
        };
        k.store(to, at, value);
    });
    cx.step(k, [Some(x.arg.clone()), table, Some(y.arg.clone())].into_iter().flatten().collect())
}

/// AveragePool.
pub(crate) fn average_pool(cx: &mut Cx<'_>, window: &Window<'_>, with_pad: bool) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let axes = axes(&x, &y, window);
    let most = axes[0].taps * axes[1].taps;
    let steady = axes.iter().all(|a| a.steady(with_pad));
    let count = |at: [Val; 2]| axes[0].count(at[0], with_pad) * axes[1].count(at[1], with_pad);
    let mut k = KernelBuilder::new(named("average_pool", y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    let mut args = vec![x.arg.clone(), y.arg.clone()];
    if y.quant.is_none() {
        if !y.elem.is_float() {
            return Err(cx.unsupported("averages integers; cast them to float"));
        }
        windows(&mut k, &x, &y, &axes, &mut |k, place, reach, at, base| {
            let sum = k.var("sum", float(0.0));
            axes[0].taps(k, &reach[0], base, &mut |k, row| {
                axes[1].taps(k, &reach[1], row, &mut |k, i| k.add_to(sum, from.at(i)));
            });
            let count = if steady { float(most as f32) } else { count(place).f32() };
            k.store(to, at, clamped(sum / count, clamp, DType::F32));
        });
        return cx.step(k, args);
    }
    let ((si, zi), (so, zo)) = (affine_of_either(cx, &x)?, affine_of_either(cx, &y)?);
    let (lo, hi) = y.limits(clamp);
    if most > most_summed(x.elem) {
        return Err(cx.unsupported("sums so many elements that they leave 32-bit accumulators"));
    }
    let site = cx.node().site();
    let (least, greatest) = stored(x.elem);
    let zero = k.scalar("zi", least, greatest);
    args.push(Bind::Scalar(zi));
    let out = Output { zp: zo, lo, hi };
    if steady {
        // Padded taps count as real zeros: they add nothing to a sum of differences.
        let by = multiplier(si / so / most as f64).map_err(|e| e.at(site))?;
        if let Some((averaging, even)) = Averaging::one(by, zo, most)
            && averaged(cx, (&x, zi), &y, &axes, with_pad, (&averaging, even, out), &|_| 0)?
        {
            return Ok(());
        }
        let apply = requantized(&mut k, &mut args, by, out);
        windows(&mut k, &x, &y, &axes, &mut |k, _, reach, at, base| {
            let sum = k.var("sum", int(0));
            axes[0].taps(k, &reach[0], base, &mut |k, row| {
                axes[1].taps(k, &reach[1], row, &mut |k, i| k.add_to(sum, from.at(i) - zero));
            });
            k.store(to, at, apply(ties_to_even(by, sum.into())));
        });
        return cx.step(k, args);
    }
    let Multiplier { m, s } = multiplier(si / so).map_err(|e| e.at(site))?;
    let by_count = |n: usize| if n == 0 { m } else { libm::rint(f64::from(m) / n as f64) as i32 };
    let by_count: Vec<i32> = (0..=most).map(by_count).collect();
    if let Some(averaging) = Averaging::new(&by_count[1..], s, zo, most)
        && averaged(cx, (&x, zi), &y, &axes, with_pad, (&averaging, None, out), &|count| count - 1)?
    {
        return Ok(());
    }
    let table = cx.constant("by_count", Data::I32(by_count), 4);
    let multipliers = k.buffer("by_count", DType::I32, most + 1, Access::Read);
    args.push(table);
    windows(&mut k, &x, &y, &axes, &mut |k, place, reach, at, base| {
        let sum = k.var("sum", int(0));
        axes[0].taps(k, &reach[0], base, &mut |k, row| {
            axes[1].taps(k, &reach[1], row, &mut |k, i| k.add_to(sum, from.at(i) - zero));
        });
        let n = k.let_("n", count(place).clamp(1, most));
        let out = [multipliers.at(n), (s as i32).into(), zo.into(), lo.into(), hi.into()];
        let all = std::iter::once(Expr::from(sum)).chain(out).collect();
        k.store(to, at, instr(&requantize_instr(), all));
    });
    cx.step(k, args)
}

/// An average by native kernels, `which` giving the number of the multiplier by the taps that
/// count; false where the core has none.
fn averaged(
    cx: &mut Cx<'_>,
    (x, zi): (&View, i32),
    y: &View,
    axes: &[Axis; 2],
    with_pad: bool,
    (averaging, even, out): (&Averaging, Option<u32>, Output),
    which: &dyn Fn(usize) -> usize,
) -> Result<bool> {
    let &Averaging { up, sh, rnd, .. } = averaging;
    let run = |windows| Run::Mean { windows, up, sh, lo: out.lo, hi: out.hi, even };
    let Some(regions) = regions(cx, (x, y), axes, with_pad, &run)? else { return Ok(false) };
    let mut k = KernelBuilder::new("average_pool_s8");
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    let scalars = |r: &Region| {
        let offset = -zi * r.taps() as i32;
        let m = averaging.m.get(which(r.count())).copied().unwrap_or(1);
        [offset, m, rnd].map(|v| CallArg::Scalar(int(v))).to_vec()
    };
    write(&mut k, (x, from), (y, to), axes, &regions, &scalars);
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])?;
    Ok(true)
}
