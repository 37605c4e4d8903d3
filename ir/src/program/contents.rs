//! What the constants of a program hold: for each buffer parameter of each kernel, the interval
//! of all elements that any step or caller passes.
//!
//! Tables of shifts and offsets are proven by their values, not by their element type. A
//! parameter that is ever given a run-time buffer may hold anything of its type.

use crate::kernel::interval::Interval;
use crate::kernel::{CallArg, Kernel, Param, ParamKind, Stmt, visit};
use crate::program::{Arg, Constant, Program};
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// By position of a kernel in `kernels(program)`, then by parameter.
pub(crate) type Contents = Vec<Vec<Interval>>;

/// What a parameter may hold when nothing is known of its argument.
pub(crate) fn anything(param: &Param) -> Interval {
    match param.kind {
        ParamKind::Buffer { elem, .. } => Interval::of_elem(elem),
        ParamKind::Scalar { lo, hi } => Interval::new(lo, hi),
    }
}

/// The contents of every kernel's parameters, for `all = kernels(program)`.
pub(crate) fn contents(program: &Program, all: &[Arc<Kernel>]) -> Contents {
    // `None` until a first argument is seen.
    let mut known: Vec<Vec<Option<Interval>>> = all.iter().map(|k| vec![None; k.params.len()]).collect();
    let position = |kernel: &Arc<Kernel>| all.iter().position(|k| Arc::ptr_eq(k, kernel) || k == kernel);
    let mut join = |at: usize, param: usize, found: Interval| {
        let slot = &mut known[at][param];
        *slot = Some(slot.map_or(found, |have| have.join(found)));
    };
    for step in program.entries.iter().flat_map(|e| &e.steps) {
        let Some(at) = position(&step.kernel) else { continue };
        for (i, (arg, param)) in step.args.iter().zip(&step.kernel.params).enumerate() {
            let found = match *arg {
                Arg::Constant { constant, .. } => {
                    program.constants.get(constant.0 as usize).and_then(range_of).unwrap_or(anything(param))
                }
                _ => anything(param),
            };
            join(at, i, found);
        }
    }
    // Callees stand before their callers, so backwards every caller is settled first.
    for at in (0..all.len()).rev() {
        let own: Vec<Interval> =
            known[at].iter().zip(&all[at].params).map(|(k, p)| k.unwrap_or(anything(p))).collect();
        visit(&all[at].body, &mut |s| {
            let Stmt::Call { kernel, args } = s else { return };
            let Some(callee) = position(kernel) else { return };
            for (i, (arg, param)) in args.iter().zip(&kernel.params).enumerate() {
                let found = match arg {
                    CallArg::Slice { buffer, .. } => {
                        own.get(buffer.0 as usize).copied().unwrap_or(anything(param))
                    }
                    CallArg::Scalar(_) => anything(param),
                };
                let slot = &mut known[callee][i];
                *slot = Some(slot.map_or(found, |have| have.join(found)));
            }
        });
    }
    known
        .into_iter()
        .zip(all)
        .map(|(known, k)| known.into_iter().zip(&k.params).map(|(r, p)| r.unwrap_or(anything(p))).collect())
        .collect()
}

/// The interval of a constant's elements; `None` for floats, which the prover does not bound, and
/// for U64, whose loads share the bits of I64.
fn range_of(constant: &Constant) -> Option<Interval> {
    if matches!(constant.dtype, DType::F32 | DType::U64) {
        return None;
    }
    let values = match Data::from_le_bytes(constant.dtype, &constant.bytes) {
        Data::I64(v) => v.into_iter().map(i128::from).collect::<Vec<_>>(),
        Data::U32(v) => v.into_iter().map(i128::from).collect(),
        Data::I32(v) => v.into_iter().map(i128::from).collect(),
        Data::I16(v) => v.into_iter().map(i128::from).collect(),
        Data::U16(v) => v.into_iter().map(i128::from).collect(),
        Data::I8(v) => v.into_iter().map(i128::from).collect(),
        Data::U8(v) => v.into_iter().map(i128::from).collect(),
        Data::Bool(v) => v.into_iter().map(i128::from).collect(),
        Data::F32(_) | Data::U64(_) => return None,
    };
    let lo = *values.iter().min()?;
    let hi = *values.iter().max()?;
    Some(Interval { lo, hi })
}
