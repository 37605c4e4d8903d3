//! The plain meaning of a kernel: a walk over its statements, one scalar at a time.
//!
//! Slow and short on purpose: the compiled evaluator is tested against it.

use crate::error::{Error, Result, Site};
use crate::kernel::scalar::{self, Scalar};
use crate::kernel::{CallArg, Expr, Kernel, ParamId, ParamKind, Stmt, VarId, print_stmt};
use crate::program::machine::memory::{Integer, Memory, Slice, get_f32, put_f32, with_integer};
use crate::tensor::DType;

/// What a parameter is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    Slice(Slice),
    Scalar(i32),
}

/// Runs a kernel once.
pub(crate) fn run(kernel: &Kernel, args: &[Bound], memory: &mut Memory) -> Result<()> {
    let fail = |why: String| Error::internal(Site::Kernel(kernel.name.clone()), why);
    for (arg, param) in args.iter().zip(&kernel.params) {
        match (arg, &param.kind) {
            (Bound::Slice(s), ParamKind::Buffer { elem, len, .. }) if s.elem == *elem && s.len >= *len => {}
            (Bound::Scalar(v), ParamKind::Scalar { lo, hi }) if (lo..=hi).contains(&v) => {}
            _ => {
                return Err(fail(format!("argument `{}` is {arg:?}, expected {:?}", param.name, param.kind)));
            }
        }
    }
    let mut frame = Frame { kernel, args, memory, vars: vec![None; kernel.vars.len()] };
    frame.block(&kernel.body)
}

struct Frame<'a> {
    kernel: &'a Kernel,
    args: &'a [Bound],
    memory: &'a mut Memory,
    vars: Vec<Option<Scalar>>,
}

impl Frame<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<()> {
        body.iter().try_for_each(|s| self.stmt(s))
    }
    fn stmt(&mut self, s: &Stmt) -> Result<()> {
        let site = |why: String| {
            let site = Site::Kernel(self.kernel.name.clone());
            Error::internal(site, format!("{why} in `{}`", print_stmt(self.kernel, s)))
        };
        match s {
            Stmt::For { var, lo, hi, step, body } => {
                let (lo, hi) = (self.int(lo).map_err(site)?, self.int(hi).map_err(site)?);
                let mut v = lo;
                while v < hi {
                    self.vars[var.0 as usize] = Some(Scalar::I32(v as i32));
                    self.block(body)?;
                    v += i64::from(*step);
                }
                Ok(())
            }
            Stmt::Let { var, value } | Stmt::Var { var, value } | Stmt::Assign { var, value } => {
                let value = self.expr(value).map_err(site)?;
                self.vars[var.0 as usize] = Some(value);
                Ok(())
            }
            Stmt::Store { buffer, index, value } => {
                let value = self.expr(value).map_err(site)?;
                self.store(*buffer, index, value).map_err(|why| {
                    let site = Site::Kernel(self.kernel.name.clone());
                    Error::internal(site, format!("{why} in `{}`", print_stmt(self.kernel, s)))
                })
            }
            Stmt::If { cond, then, els } => {
                let cond = self.int(cond).map_err(site)?;
                self.block(if cond != 0 { then } else { els })
            }
            Stmt::Call { kernel, args } => {
                let bound = args
                    .iter()
                    .zip(&kernel.params)
                    .map(|(arg, param)| match arg {
                        CallArg::Scalar(e) => Ok(Bound::Scalar(self.int(e)? as i32)),
                        CallArg::Slice { buffer, offset } => {
                            let own = self.slice(*buffer)?;
                            let len = self.kernel.buffer(*buffer).map_or(0, |b| b.1);
                            let offset =
                                usize::try_from(self.int(offset)?).ok().filter(|&o| o <= len).ok_or(
                                    format!("the slice for `{}` starts outside of its buffer", param.name),
                                )?;
                            Ok(Bound::Slice(Slice {
                                start: own.start + offset * own.elem.size(),
                                len: len - offset,
                                ..own
                            }))
                        }
                    })
                    .collect::<Result<Vec<_>, String>>()
                    .map_err(site)?;
                run(kernel, &bound, self.memory)
            }
        }
    }
    fn slice(&self, buffer: ParamId) -> Result<Slice, String> {
        match self.args.get(buffer.0 as usize) {
            Some(Bound::Slice(s)) => Ok(*s),
            _ => Err("a scalar is used as a buffer".into()),
        }
    }
    /// Byte position of an element, checked against the parameter's length.
    fn at(&self, buffer: ParamId, index: &Expr) -> Result<(Slice, usize), String> {
        let slice = self.slice(buffer)?;
        let len = self.kernel.buffer(buffer).map_or(0, |b| b.1);
        let index = self.int(index)?;
        match usize::try_from(index) {
            Ok(i) if i < len => Ok((slice, slice.start + i * slice.elem.size())),
            _ => Err(format!("index {index} into `{}` of {len} elements", self.kernel.param_name(buffer))),
        }
    }
    fn store(&mut self, buffer: ParamId, index: &Expr, value: Scalar) -> Result<(), String> {
        let (slice, at) = self.at(buffer, index)?;
        let bytes = &mut self.memory.regions[slice.region];
        match value {
            Scalar::F32(v) => put_f32(bytes, at, v),
            Scalar::I32(_) | Scalar::I64(_) => {
                let v = if let Scalar::I32(v) = value { v.into() } else { wide(value) };
                let fits = with_integer!(slice.elem, T => {
                    T::put(bytes, at, v);
                    T::fits(v)
                }, float => false);
                if !fits {
                    return Err(format!("{v} stored as {}", slice.elem));
                }
            }
        }
        Ok(())
    }
    fn int(&self, e: &Expr) -> Result<i64, String> {
        self.expr(e).map(wide)
    }
    fn expr(&self, e: &Expr) -> Result<Scalar, String> {
        eval(e, &|v| self.vars.get(v.0 as usize).copied().flatten(), &|e| match e {
            Expr::Param(p) => match self.args.get(p.0 as usize) {
                Some(Bound::Scalar(v)) => Ok(Scalar::I32(*v)),
                _ => Err("a buffer is used as a scalar".into()),
            },
            Expr::Load { buffer, index } => {
                let (slice, at) = self.at(*buffer, index)?;
                let bytes = &self.memory.regions[slice.region];
                Ok(match slice.elem {
                    DType::F32 => Scalar::F32(get_f32(bytes, at)),
                    elem => {
                        let v = with_integer!(elem, T => T::get(bytes, at), float => 0);
                        if crate::kernel::Ty::of(elem) == crate::kernel::Ty::I64 {
                            Scalar::I64(v)
                        } else {
                            Scalar::I32(v as i32)
                        }
                    }
                })
            }
            _ => Err("an expression without meaning".into()),
        })
    }
}

fn wide(v: Scalar) -> i64 {
    match v {
        Scalar::I32(v) => v.into(),
        Scalar::I64(v) => v,
        Scalar::F32(v) => v as i64,
    }
}

/// Evaluates an expression; `outer` gives parameters and loads.
fn eval(
    e: &Expr,
    vars: &dyn Fn(VarId) -> Option<Scalar>,
    outer: &dyn Fn(&Expr) -> Result<Scalar, String>,
) -> Result<Scalar, String> {
    let go = |e: &Expr| eval(e, vars, outer);
    match e {
        Expr::Int(v, crate::kernel::Ty::I64) => Ok(Scalar::I64(*v)),
        Expr::Int(v, _) => Ok(Scalar::I32(*v as i32)),
        Expr::Float(x) => Ok(Scalar::F32(x.get())),
        Expr::Var(v) => vars(*v).ok_or_else(|| "a variable without value".to_string()),
        Expr::Unary(op, a) => match go(a)? {
            Scalar::F32(x) => Ok(scalar::unary(*op, x)),
            _ => Err("a float function of an integer".into()),
        },
        Expr::Binary(op, a, b) => scalar::binary(*op, go(a)?, go(b)?).map_err(Into::into),
        Expr::Cast(to, a) => scalar::cast(*to, go(a)?).map_err(Into::into),
        Expr::Select(c, a, b) => {
            // Both sides, so that an error does not hide behind a condition.
            let (c, a, b) = (go(c)?, go(a)?, go(b)?);
            Ok(if wide(c) != 0 { a } else { b })
        }
        Expr::Call(instr, args) => {
            let args = args.iter().map(go).collect::<Result<Vec<_>, _>>()?;
            eval(&instr.body, &|v| args.get(v.0 as usize).copied(), outer)
        }
        Expr::Param(_) | Expr::Load { .. } => outer(e),
    }
}
