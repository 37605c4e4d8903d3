//! What stands in emitted text outside of native functions, and what it comes down to in machine code.
//!
//! In: the items of a module. Out: how many there are of each kind, and with a core's
//! [`CodeSize`], bytes. Law: a model for budgets where nothing was built, fitted to builds by
//! `tests/bench/size`; a build's own figure stands before it wherever there is one.

use super::module::Module;
use crate::kernel::{BinOp, CallArg, Expr, Stmt, Ty, visit};
use crate::program::Arg;
use secateur_targets::CodeSize;
use serde::Serialize;

/// How many there are of each kind of what compilers make instructions of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CodeParts {
    /// Functions that are not native.
    pub functions: usize,
    pub loops: usize,
    pub branches: usize,
    pub loads: usize,
    pub stores: usize,
    /// Additions, products, shifts, comparisons and the like of 32 bits, those of indices too.
    pub operations: usize,
    /// The lesser or greater of two numbers, and choices between them.
    pub choices: usize,
    /// Operations of 64 bits.
    pub long: usize,
    pub floats: usize,
    /// Calls from one kernel to another, and what they pass.
    pub calls: usize,
    pub arguments: usize,
    /// Calls from `run`, and what they pass.
    pub steps: usize,
    pub step_arguments: usize,
}

impl CodeParts {
    pub(super) fn of(module: &Module<'_>) -> CodeParts {
        let mut parts = CodeParts::default();
        for item in module.items.iter().filter(|item| item.native.is_none()) {
            parts.functions += 1;
            visit(&item.kernel.body, &mut |s| {
                parts.statement(s);
                s.exprs(&mut |e| e.visit(&mut |e| parts.expression(e, item.ranges.ty(e))));
            });
        }
        for (instr, _) in &module.instrs {
            // A function of its own in the text, once for all its uses.
            instr.body.visit(&mut |e| parts.expression(e, Ty::I32));
        }
        for step in &module.run.steps {
            parts.steps += 1;
            parts.step_arguments += step.args.iter().filter(|arg| !matches!(arg, Arg::Scalar(0))).count();
        }
        parts
    }

    fn statement(&mut self, s: &Stmt) {
        match s {
            Stmt::For { .. } => self.loops += 1,
            Stmt::If { els, .. } => self.branches += 1 + usize::from(!els.is_empty()),
            Stmt::Store { .. } => self.stores += 1,
            Stmt::Call { args, .. } => {
                self.calls += 1;
                let passed = |arg: &&CallArg| !matches!(arg, CallArg::Scalar(Expr::Int(0, _)));
                self.arguments += args.iter().filter(passed).count();
            }
            Stmt::Let { .. } | Stmt::Var { .. } | Stmt::Assign { .. } => {}
        }
    }

    fn expression(&mut self, e: &Expr, ty: Ty) {
        match e {
            Expr::Load { .. } => self.loads += 1,
            Expr::Select(..) | Expr::Binary(BinOp::Min | BinOp::Max, ..) => self.choices += 1,
            Expr::Unary(..) | Expr::Binary(..) if ty == Ty::F32 => self.floats += 1,
            Expr::Unary(..) | Expr::Binary(..) if ty == Ty::I64 => self.long += 1,
            Expr::Unary(..) | Expr::Binary(..) | Expr::Call(..) => self.operations += 1,
            Expr::Cast(to, _) => match (to, ty) {
                (Ty::F32, _) | (_, Ty::F32) => self.floats += 1,
                _ => {}
            },
            Expr::Int(..) | Expr::Float(_) | Expr::Var(_) | Expr::Param(_) => {}
        }
    }

    /// Bytes of machine code on a core.
    pub fn bytes(&self, size: &CodeSize) -> usize {
        let each = [
            (self.functions, size.function),
            (self.loops, size.loop_),
            (self.branches, size.branch),
            (self.loads, size.load),
            (self.stores, size.store),
            (self.operations, size.operation),
            (self.choices, size.choice),
            (self.long, size.long),
            (self.floats, size.float),
            (self.calls, size.call),
            (self.arguments, size.argument),
            (self.steps, size.step),
            (self.step_arguments, size.step_argument),
        ];
        let all = each.iter().map(|(n, bytes)| *n as f64 * f64::from(*bytes)).sum::<f64>();
        (f64::from(size.model) + all).max(0.0) as usize
    }
}
