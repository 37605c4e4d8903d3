//! Integer ranges of expressions, so that C may use a plain operator where nothing overflows.
//!
//! In: a kernel. Out: bounds of its scalars and expressions. Law: a bound always holds for
//! code that the interval proof accepts; what is not known is the whole range of the type.

use crate::kernel::{BinOp, Expr, Kernel, ParamKind, Stmt, Ty, visit};

/// Inclusive bounds.
pub(super) type Range = (i128, i128);

/// Bounds of an integer type; floats get a range that means nothing.
pub(super) fn of_type(ty: Ty) -> Range {
    match ty {
        Ty::I32 | Ty::F32 => (i32::MIN.into(), i32::MAX.into()),
        Ty::I64 => (i64::MIN.into(), i64::MAX.into()),
    }
}

pub(super) fn fits(r: Range, ty: Ty) -> bool {
    let (lo, hi) = of_type(ty);
    lo <= r.0 && r.1 <= hi
}

/// What is known about names: types and bounds of parameters and variables.
#[derive(Debug)]
pub(super) struct Ranges {
    pub(super) params: Vec<Range>,
    pub(super) vars: Vec<Range>,
    pub(super) var_types: Vec<Ty>,
    pub(super) elems: Vec<Option<crate::tensor::DType>>,
}

impl Ranges {
    pub(super) fn of(kernel: &Kernel) -> Ranges {
        let mut ranges = Ranges {
            params: kernel
                .params
                .iter()
                .map(|p| match p.kind {
                    ParamKind::Scalar { lo, hi } => (lo.into(), hi.into()),
                    ParamKind::Buffer { .. } => (0, 0),
                })
                .collect(),
            vars: kernel.vars.iter().map(|v| of_type(v.ty)).collect(),
            var_types: kernel.vars.iter().map(|v| v.ty).collect(),
            elems: kernel
                .params
                .iter()
                .map(|p| match p.kind {
                    ParamKind::Buffer { elem, .. } => Some(elem),
                    ParamKind::Scalar { .. } => None,
                })
                .collect(),
        };
        // Declarations come before uses; mutable scalars keep the range of their type.
        visit(&kernel.body, &mut |s| match s {
            Stmt::For { var, lo, hi, .. } => {
                let (lo, hi) = (ranges.range(lo).0, ranges.range(hi).1 - 1);
                ranges.vars[var.0 as usize] = (lo, hi.max(lo));
            }
            Stmt::Let { var, value } => {
                let r = ranges.range(value);
                ranges.vars[var.0 as usize] = r;
            }
            _ => {}
        });
        ranges
    }
    pub(super) fn ty(&self, e: &Expr) -> Ty {
        match e {
            Expr::Int(_, ty) | Expr::Cast(ty, _) => *ty,
            Expr::Float(_) => Ty::F32,
            Expr::Unary(op, _) => op.result(),
            Expr::Var(v) => self.var_types[v.0 as usize],
            Expr::Param(_) => Ty::I32,
            Expr::Load { buffer, .. } => self.elems[buffer.0 as usize].map_or(Ty::I32, Ty::of),
            Expr::Binary(op, a, _) => {
                if op.compares() {
                    Ty::I32
                } else {
                    self.ty(a)
                }
            }
            Expr::Select(_, a, _) => self.ty(a),
            Expr::Call(instr, _) => instr.result,
        }
    }
    /// Bounds before wrapping: outside of the type where the operation may overflow.
    pub(super) fn exact(&self, op: BinOp, a: &Expr, b: &Expr) -> Range {
        let ((al, ah), (bl, bh)) = (self.range(a), self.range(b));
        let all = of_type(self.ty(a));
        let corners = |f: &dyn Fn(i128, i128) -> i128| {
            let c = [f(al, bl), f(al, bh), f(ah, bl), f(ah, bh)];
            (c.into_iter().min().unwrap_or(0), c.into_iter().max().unwrap_or(0))
        };
        match op {
            BinOp::Add => (al + bl, ah + bh),
            BinOp::Sub => (al - bh, ah - bl),
            // The factors fit 64 bits, so the product fits 128.
            BinOp::Mul => corners(&|x, y| x * y),
            BinOp::Div if bl > 0 || bh < 0 => corners(&|x, y| x / y),
            BinOp::Rem if bl > 0 => (if al < 0 { 1 - bh } else { 0 }, if ah > 0 { bh - 1 } else { 0 }),
            BinOp::Min => (al.min(bl), ah.min(bh)),
            BinOp::Max => (al.max(bl), ah.max(bh)),
            BinOp::And if al >= 0 && bl >= 0 => (0, ah.min(bh)),
            BinOp::And if bl >= 0 => (0, bh),
            BinOp::And if al >= 0 => (0, ah),
            BinOp::Shl if bl >= 0 && bh < 63 => corners(&|x, y| x << y),
            BinOp::Shr if bl >= 0 && bh < 64 => corners(&|x, y| x >> y),
            op if op.compares() => (0, 1),
            _ => all,
        }
    }
    pub(super) fn range(&self, e: &Expr) -> Range {
        let ty = self.ty(e);
        let found = match e {
            Expr::Int(v, _) => ((*v).into(), (*v).into()),
            Expr::Var(v) => self.vars[v.0 as usize],
            Expr::Param(p) => self.params[p.0 as usize],
            Expr::Load { buffer, .. } => {
                self.elems[buffer.0 as usize].and_then(|d| d.range()).unwrap_or(of_type(ty))
            }
            Expr::Binary(op, a, b) => self.exact(*op, a, b),
            Expr::Select(_, a, b) => {
                let ((al, ah), (bl, bh)) = (self.range(a), self.range(b));
                (al.min(bl), ah.max(bh))
            }
            Expr::Cast(_, a) if self.ty(a) != Ty::F32 => self.range(a),
            Expr::Call(instr, args) => {
                let inner = Ranges {
                    params: Vec::new(),
                    vars: args.iter().map(|a| self.range(a)).collect(),
                    var_types: instr.params.iter().map(|p| p.ty).collect(),
                    elems: Vec::new(),
                };
                inner.range(&instr.body)
            }
            _ => of_type(ty),
        };
        if fits(found, ty) { found } else { of_type(ty) }
    }
}
