//! Recurrent layers: one call that walks over the steps of each sequence.
//!
//! In: a node and how its values lie. Out: a kernel with the state in the workspace, of floats ([`real`]) or of
//! integers ([`whole`]). Law: the state is written to no result but at the end of a step, so that results may lie
//! as the schedule likes.

mod real;
mod whole;

use super::composite::Composite;
use super::{Cx, View};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, int};
use crate::ops::Recurrent;
use crate::ops::recurrent::{LENGTHS, Part, X};

/// The calls of a recurrent layer.
pub(super) fn select(cx: &mut Cx<'_>, op: &Recurrent) -> Result<()> {
    let steps = cx.input(X)?;
    let results = (0..cx.node().outputs.len()).map(|i| cx.output(i)).collect::<Result<Vec<View>>>()?;
    if results.iter().all(View::is_empty) {
        return Ok(());
    }
    if steps.is_empty() {
        return Err(cx.unsupported("walks over an empty tensor"));
    }
    match steps.quant.is_some() || results.iter().any(|y| y.quant.is_some()) {
        true => whole::select(cx, op),
        false => real::select(cx, op),
    }
}

/// Where the elements of a state `[batch, hidden]` or a sequence `[steps, batch, hidden]` stand.
fn place(view: &View, step: &Expr, row: &Expr, unit: Val) -> Expr {
    let s = &view.strides;
    match s.as_slice() {
        [steps, batch, units] => step * *steps + row * *batch + unit * *units,
        [batch, units] => row * *batch + unit * *units,
        _ => int(0),
    }
}

/// The steps of each sequence of a batch, some of them together.
struct Steps {
    count: usize,
    batch: usize,
    reverse: bool,
    /// Steps of a chunk; all of them where sequences have lengths.
    chunk: usize,
    lengths: Option<Buf>,
}

/// What is written at the places of a walk over [`Steps`]; each is given the row of the batch.
struct Walk<'a> {
    /// Before the first step of a sequence.
    open: &'a mut dyn FnMut(&mut KernelBuilder, &Expr),
    /// Before the steps of a chunk, given the first in order of places.
    chunk: &'a mut dyn FnMut(&mut KernelBuilder, &Expr, &Expr),
    /// At each step, given its place, in the sequence and in the chunk.
    step: &'a mut dyn FnMut(&mut KernelBuilder, &Expr, (&Expr, &Expr)),
    /// At each place behind the end of a sequence.
    pad: &'a mut dyn FnMut(&mut KernelBuilder, &Expr, &Expr),
    /// After the last step.
    close: &'a mut dyn FnMut(&mut KernelBuilder, &Expr),
}

impl Steps {
    fn of(op: &Recurrent, x: &View, lengths: Option<Buf>, chunk: usize) -> Steps {
        let count = x.shape[0];
        let chunk = if lengths.is_some() { count } else { chunk };
        Steps { count, batch: x.shape[1], reverse: op.reverse, chunk, lengths }
    }
    fn walk(&self, k: &mut KernelBuilder, walk: &mut Walk<'_>) {
        let (count, chunk) = (self.count, self.chunk);
        k.for_("n", 0, self.batch, |k, n| {
            let n: Expr = n.into();
            (walk.open)(k, &n);
            if let Some(lengths) = self.lengths {
                let length = k.let_("length", lengths.at(&n).clamp(0, count as i32));
                (walk.chunk)(k, &n, &int(0));
                k.for_("s", 0, count, |k, s| {
                    k.if_else(
                        s.lt(length),
                        |k| {
                            // Not beyond the ends, which the comparison alone does not prove.
                            let back = (length - 1 - s).clamp(0, count as i32 - 1);
                            let at: Expr = if self.reverse { back } else { s.into() };
                            let at: Expr = k.let_("t", at).into();
                            (walk.step)(k, &n, (&at, &at));
                        },
                        |k| (walk.pad)(k, &n, &s.into()),
                    );
                });
            } else {
                k.for_("chunk", 0, count / chunk, |k, number| {
                    let first: Expr =
                        if self.reverse { int((count / chunk) as i32 - 1) - number } else { number.into() };
                    let first: Expr = k.let_("first", first * chunk).into();
                    (walk.chunk)(k, &n, &first);
                    k.for_("s", 0, chunk, |k, s| {
                        let within: Expr = if self.reverse { int(chunk as i32 - 1) - s } else { s.into() };
                        let within: Expr = k.let_("within", within).into();
                        let at: Expr = k.let_("t", &first + &within).into();
                        (walk.step)(k, &n, (&at, &within));
                    });
                });
            }
            (walk.close)(k, &n);
        });
    }
}

/// The lengths of sequences, where they are given.
fn lengths(layer: &mut Composite, cx: &Cx<'_>) -> Result<Option<Buf>> {
    let Some(value) = cx.operand(LENGTHS) else { return Ok(None) };
    if !value.shape.iter().all(|&n| n > 0) {
        return Ok(None);
    }
    Ok(layer.optional(cx, "lengths", LENGTHS)?.map(|(buffer, _)| buffer))
}

/// The results with their buffers.
fn results(layer: &mut Composite, cx: &Cx<'_>, op: &Recurrent) -> Result<Vec<(Part, Buf, View)>> {
    let mut all: Vec<(Part, Buf, View)> = Vec::new();
    for (i, &part) in op.parts.iter().enumerate().take(cx.node().outputs.len()) {
        let view = cx.output(i)?;
        let name = match part {
            Part::Sequence => "y",
            Part::State => "y_h",
            Part::Cell => "y_c",
        };
        // Twice where a run hands it to the next.
        let name = match all.iter().any(|(other, ..)| *other == part) {
            true => format!("{name}_{i}"),
            false => name.to_owned(),
        };
        all.push((part, layer.port(&name, &view, Access::Write), view));
    }
    Ok(all)
}
