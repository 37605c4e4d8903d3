//! Walks over expressions and statements, so that passes name only the cases they change.

use super::{CallArg, Expr, Stmt};

impl Expr {
    /// Calls `f` on this expression and all below it, outside in.
    pub fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        f(self);
        match self {
            Expr::Int(..) | Expr::Float(_) | Expr::Var(_) | Expr::Param(_) => {}
            Expr::Load { index: a, .. } | Expr::Unary(_, a) | Expr::Cast(_, a) => a.visit(f),
            Expr::Binary(_, a, b) => {
                a.visit(f);
                b.visit(f);
            }
            Expr::Select(c, a, b) => {
                c.visit(f);
                a.visit(f);
                b.visit(f);
            }
            Expr::Call(_, args) => args.iter().for_each(|a| a.visit(f)),
        }
    }
    /// The same operation over `f` of each operand.
    pub fn map(&self, f: &mut dyn FnMut(&Expr) -> Expr) -> Expr {
        match self {
            Expr::Int(..) | Expr::Float(_) | Expr::Var(_) | Expr::Param(_) => self.clone(),
            Expr::Load { buffer, index } => Expr::Load { buffer: *buffer, index: Box::new(f(index)) },
            Expr::Unary(op, a) => Expr::Unary(*op, Box::new(f(a))),
            Expr::Cast(to, a) => Expr::Cast(*to, Box::new(f(a))),
            Expr::Binary(op, a, b) => {
                let a = Box::new(f(a));
                Expr::Binary(*op, a, Box::new(f(b)))
            }
            Expr::Select(c, a, b) => {
                let c = Box::new(f(c));
                let a = Box::new(f(a));
                Expr::Select(c, a, Box::new(f(b)))
            }
            Expr::Call(instr, args) => Expr::Call(instr.clone(), args.iter().map(f).collect()),
        }
    }
}

impl Stmt {
    /// Calls `f` on the expressions that stand in this statement itself, not in its blocks.
    pub fn exprs<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match self {
            Stmt::For { lo, hi, .. } => {
                f(lo);
                f(hi);
            }
            Stmt::Let { value, .. } | Stmt::Var { value, .. } | Stmt::Assign { value, .. } => f(value),
            Stmt::Store { index, value, .. } => {
                f(index);
                f(value);
            }
            Stmt::If { cond, .. } => f(cond),
            Stmt::Call { args, .. } => args.iter().for_each(|a| match a {
                CallArg::Slice { offset: e, .. } | CallArg::Scalar(e) => f(e),
            }),
        }
    }
}

/// Calls `f` on each statement and all inside it, in order. Called kernels are not entered.
pub fn visit<'a>(body: &'a [Stmt], f: &mut dyn FnMut(&'a Stmt)) {
    for s in body {
        f(s);
        match s {
            Stmt::For { body, .. } => visit(body, f),
            Stmt::If { then, els, .. } => {
                visit(then, f);
                visit(els, f);
            }
            _ => {}
        }
    }
}
