//! Checks that a kernel is well formed: declarations, scopes, types, access, calls.
//!
//! Law: whatever passes can be evaluated, proven and printed without a further check of types.

use super::{Access, BinOp, CallArg, Expr, Kernel, Param, ParamId, ParamKind, Stmt, Ty, Var, VarId};
use crate::error::{Error, Result, Site};

/// Refuses an ill-formed kernel with an internal error that names it.
pub fn verify(kernel: &Kernel) -> Result<()> {
    let mut cx = Cx {
        kernel,
        scopes: vec![Vec::new()],
        declared: vec![false; kernel.vars.len()],
        mutable: Vec::new(),
    };
    let run = |cx: &mut Cx<'_>| -> Result<(), String> {
        identifier(&kernel.name)?;
        for (i, p) in kernel.params.iter().enumerate() {
            identifier(&p.name)?;
            if kernel.params[..i].iter().any(|q| q.name == p.name) {
                return Err(format!("two parameters are named `{}`", p.name));
            }
            if let ParamKind::Scalar { lo, hi } = p.kind
                && lo > hi
            {
                return Err(format!("the range of `{}` is empty", p.name));
            }
        }
        for v in &kernel.vars {
            identifier(&v.name)?;
        }
        cx.block(&kernel.body)
    };
    run(&mut cx).map_err(|why| Error::internal(Site::Kernel(kernel.name.clone()), why))
}

fn identifier(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let head = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if head && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(())
    } else {
        Err(format!("`{name}` is not an identifier"))
    }
}

struct Cx<'a> {
    kernel: &'a Kernel,
    /// Variables in scope, by block.
    scopes: Vec<Vec<VarId>>,
    declared: Vec<bool>,
    mutable: Vec<VarId>,
}

impl Cx<'_> {
    fn name(&self, var: VarId) -> String {
        self.kernel.vars.get(var.0 as usize).map_or(format!("#{}", var.0), |v| v.name.clone())
    }
    fn declare(&mut self, var: VarId) -> Result<Ty, String> {
        let slot =
            self.declared.get_mut(var.0 as usize).ok_or(format!("variable #{} does not exist", var.0))?;
        if std::mem::replace(slot, true) {
            return Err(format!("`{}` is declared twice", self.name(var)));
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(var);
        }
        Ok(self.kernel.vars[var.0 as usize].ty)
    }
    fn block(&mut self, body: &[Stmt]) -> Result<(), String> {
        body.iter().try_for_each(|s| self.stmt(s))
    }
    fn scoped(&mut self, body: &[Stmt], var: Option<VarId>) -> Result<(), String> {
        self.scopes.push(Vec::new());
        if let Some(var) = var {
            self.declare(var)?;
        }
        self.block(body)?;
        self.scopes.pop();
        Ok(())
    }
    fn expr(&self, e: &Expr) -> Result<Ty, String> {
        let mut unseen = None;
        e.visit(&mut |e| {
            if let Expr::Var(v) = e
                && !self.scopes.iter().flatten().any(|x| x == v)
            {
                unseen.get_or_insert(*v);
            }
        });
        if let Some(v) = unseen {
            return Err(format!("`{}` is used outside of its scope", self.name(v)));
        }
        type_of(e, &self.kernel.params, &self.kernel.vars)
    }
    fn want(&self, e: &Expr, ty: Ty, what: &str) -> Result<(), String> {
        let got = self.expr(e)?;
        if got == ty { Ok(()) } else { Err(format!("{what} is {got:?}, expected {ty:?}")) }
    }
    fn stmt(&mut self, s: &Stmt) -> Result<(), String> {
        match s {
            Stmt::For { var, lo, hi, step, body } => {
                self.want(lo, Ty::I32, "the lower bound of a loop")?;
                self.want(hi, Ty::I32, "the upper bound of a loop")?;
                if *step < 1 {
                    return Err(format!("the step of loop `{}` is {step}", self.name(*var)));
                }
                if self.kernel.vars.get(var.0 as usize).is_some_and(|v| v.ty != Ty::I32) {
                    return Err(format!("loop variable `{}` is not I32", self.name(*var)));
                }
                self.scoped(body, Some(*var))
            }
            Stmt::Let { var, value } | Stmt::Var { var, value } => {
                let got = self.expr(value)?;
                let ty = self.declare(*var)?;
                if matches!(s, Stmt::Var { .. }) {
                    self.mutable.push(*var);
                }
                if got != ty {
                    return Err(format!("`{}` is {ty:?}, its value is {got:?}", self.name(*var)));
                }
                Ok(())
            }
            Stmt::Assign { var, value } => {
                let ty = self.expr(&Expr::Var(*var))?;
                if !self.mutable.contains(var) {
                    return Err(format!("assignment to `{}`, which is not mutable", self.name(*var)));
                }
                self.want(value, ty, &format!("the value of `{}`", self.name(*var)))
            }
            Stmt::Store { buffer, index, value } => {
                let (elem, _, access) = self.kernel.buffer(*buffer).ok_or("a store to what is no buffer")?;
                if access == Access::Read {
                    return Err(format!(
                        "a store to `{}`, which is read-only",
                        self.kernel.param_name(*buffer)
                    ));
                }
                self.want(index, Ty::I32, "the index of a store")?;
                let what = format!("what is stored to `{}`", self.kernel.param_name(*buffer));
                self.want(value, Ty::of(elem), &what)
            }
            Stmt::If { cond, then, els } => {
                self.want(cond, Ty::I32, "a condition")?;
                self.scoped(then, None)?;
                self.scoped(els, None)
            }
            Stmt::Call { kernel, args } => {
                if args.len() != kernel.params.len() {
                    return Err(format!(
                        "`{}` takes {} arguments, got {}",
                        kernel.name,
                        kernel.params.len(),
                        args.len()
                    ));
                }
                for (arg, param) in args.iter().zip(&kernel.params) {
                    self.arg(arg, param).map_err(|why| format!("call of `{}`: {why}", kernel.name))?;
                }
                Ok(())
            }
        }
    }
    fn arg(&self, arg: &CallArg, param: &Param) -> Result<(), String> {
        match (arg, &param.kind) {
            (CallArg::Scalar(e), ParamKind::Scalar { .. }) => self.want(e, Ty::I32, &param.name),
            (CallArg::Slice { buffer, offset }, ParamKind::Buffer { elem, access, .. }) => {
                self.want(offset, Ty::I32, "the offset of a slice")?;
                let (own, _, own_access) =
                    self.kernel.buffer(*buffer).ok_or("a slice of what is no buffer")?;
                if own != *elem {
                    return Err(format!("`{}` takes {elem}, got {own}", param.name));
                }
                let ok = match access {
                    Access::Read => own_access != Access::Write,
                    Access::Write => own_access != Access::Read,
                    Access::ReadWrite => own_access == Access::ReadWrite,
                };
                if ok {
                    Ok(())
                } else {
                    Err(format!("`{}` is {own_access:?}", self.kernel.param_name(*buffer)))
                }
            }
            _ => Err(format!("`{}` is a scalar where a buffer is expected, or the reverse", param.name)),
        }
    }
}

/// The type of an expression over given parameters and variables, or why it has none.
pub fn type_of(e: &Expr, params: &[Param], vars: &[Var]) -> Result<Ty, String> {
    let go = |e: &Expr| type_of(e, params, vars);
    let param = |id: ParamId| params.get(id.0 as usize).ok_or(format!("parameter #{} does not exist", id.0));
    match e {
        Expr::Int(v, ty) => {
            let fits = match ty {
                Ty::I32 => i32::try_from(*v).is_ok(),
                Ty::I64 => true,
                Ty::F32 => false,
            };
            if fits { Ok(*ty) } else { Err(format!("the constant {v} is no {ty:?}")) }
        }
        Expr::Float(_) => Ok(Ty::F32),
        Expr::Var(v) => {
            vars.get(v.0 as usize).map(|v| v.ty).ok_or(format!("variable #{} does not exist", v.0))
        }
        Expr::Param(p) => match &param(*p)?.kind {
            ParamKind::Scalar { .. } => Ok(Ty::I32),
            ParamKind::Buffer { .. } => Err(format!("buffer `{}` is used as a scalar", param(*p)?.name)),
        },
        Expr::Load { buffer, index } => {
            let p = param(*buffer)?;
            let ParamKind::Buffer { elem, access, .. } = &p.kind else {
                return Err(format!("a load from `{}`, which is no buffer", p.name));
            };
            if *access == Access::Write {
                return Err(format!("a load from `{}`, which is write-only", p.name));
            }
            match go(index)? {
                Ty::I32 => Ok(Ty::of(*elem)),
                ty => Err(format!("the index into `{}` is {ty:?}, expected I32", p.name)),
            }
        }
        Expr::Unary(op, a) => match go(a)? {
            Ty::F32 => Ok(op.result()),
            ty => Err(format!("{op:?} of {ty:?}; it takes a float")),
        },
        Expr::Binary(op, a, b) => {
            let (ta, tb) = (go(a)?, go(b)?);
            let integers =
                matches!(op, BinOp::Rem | BinOp::And | BinOp::Or | BinOp::Xor | BinOp::Shl | BinOp::Shr);
            if integers && ta == Ty::F32 {
                return Err(format!("{op:?} of floats"));
            }
            let expected = if op.shifts() { Ty::I32 } else { ta };
            if tb != expected {
                return Err(format!("{op:?} of {ta:?} and {tb:?}"));
            }
            Ok(if op.compares() { Ty::I32 } else { ta })
        }
        Expr::Cast(to, a) => go(a).map(|_| *to),
        Expr::Select(c, a, b) => {
            let (tc, ta, tb) = (go(c)?, go(a)?, go(b)?);
            if tc != Ty::I32 || ta != tb {
                return Err(format!("a selection by {tc:?} between {ta:?} and {tb:?}"));
            }
            Ok(ta)
        }
        Expr::Call(instr, args) => {
            if args.len() != instr.params.len() {
                return Err(format!("`{}` takes {} operands", instr.name, instr.params.len()));
            }
            for (arg, p) in args.iter().zip(&instr.params) {
                let ty = go(arg)?;
                if ty != p.ty {
                    return Err(format!("operand `{}` of `{}` is {ty:?}", p.name, instr.name));
                }
            }
            let body = type_of(&instr.body, &[], &instr.params)?;
            if body == instr.result {
                Ok(body)
            } else {
                Err(format!("the body of `{}` is {body:?}", instr.name))
            }
        }
    }
}
