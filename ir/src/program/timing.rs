//! Whether how long a kernel runs depends on the numbers that it reads.
//!
//! In: a kernel. Out: the reason, if it does. Law: a condition, a loop bound or a division
//! counts that is computed from what a buffer holds, constants aside; so do floats, which cores
//! without an FPU compute by software. Minima, maxima and selections are no branches: the emitters spell them
//! without. Native texts have none of these at all.

use crate::kernel::{BinOp, CallArg, Expr, Kernel, Stmt, Ty, UnOp, VarId};
use crate::program::{Arg, Step};
use std::collections::BTreeSet;

/// Why the time of a kernel depends on data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Branch,
    LoopBound,
    Division,
    Float,
}

impl Reason {
    pub fn words(self) -> &'static str {
        match self {
            Reason::Branch => "branches",
            Reason::LoopBound => "loop bounds",
            Reason::Division => "divisions",
            Reason::Float => "floats",
        }
    }
}

/// The first reason, in the order of [`Reason`], of a step's kernel and those that it calls.
pub fn depends_on_data(step: &Step) -> Option<Reason> {
    let data: Vec<bool> = step.args.iter().map(|a| matches!(a, Arg::Buffer { .. })).collect();
    reason(&step.kernel, &data)
}

/// `data` says by parameter whether what it holds, or is, depends on the input.
fn reason(kernel: &Kernel, data: &[bool]) -> Option<Reason> {
    if !kernel.native.is_empty() {
        return None;
    }
    let mut cx = Cx { kernel, data, tainted: BTreeSet::new(), found: BTreeSet::new() };
    // What a loop's later turns taint, its first reads.
    loop {
        let before = cx.tainted.len();
        cx.block(&kernel.body);
        if cx.tainted.len() == before {
            return cx.found.first().copied();
        }
    }
}

struct Cx<'a> {
    kernel: &'a Kernel,
    data: &'a [bool],
    tainted: BTreeSet<VarId>,
    found: BTreeSet<Reason>,
}

impl Cx<'_> {
    fn block(&mut self, body: &[Stmt]) {
        body.iter().for_each(|s| self.stmt(s));
    }

    fn stmt(&mut self, s: &Stmt) {
        s.exprs(&mut |e| self.expr(e));
        match s {
            Stmt::For { lo, hi, body, .. } => {
                if self.taints(lo) || self.taints(hi) {
                    self.found.insert(Reason::LoopBound);
                }
                self.block(body);
            }
            Stmt::Let { var, value } | Stmt::Var { var, value } | Stmt::Assign { var, value } => {
                if self.taints(value) {
                    self.tainted.insert(*var);
                }
            }
            Stmt::If { cond, then, els } => {
                if self.taints(cond) {
                    self.found.insert(Reason::Branch);
                }
                self.block(then);
                self.block(els);
            }
            Stmt::Call { kernel, args } => {
                let data: Vec<bool> = args
                    .iter()
                    .map(|a| match a {
                        CallArg::Slice { buffer, .. } => self.holds_data(buffer.0),
                        CallArg::Scalar(e) => self.taints(e),
                    })
                    .collect();
                self.found.extend(reason(kernel, &data));
            }
            Stmt::Store { .. } => {}
        }
    }

    /// Looks for divisions and floats.
    fn expr(&mut self, e: &Expr) {
        let mut found = BTreeSet::new();
        e.visit(&mut |e| {
            match e {
                // By a power of two, compilers shift.
                Expr::Binary(BinOp::Div | BinOp::Rem, a, b)
                    if !matches!(b.as_ref(), Expr::Int(n, Ty::I32) if *n > 0 && n & (n - 1) == 0)
                        && (self.taints(a) || self.taints(b)) =>
                {
                    found.insert(Reason::Division);
                }
                Expr::Unary(UnOp::Sqrt | UnOp::Exp | UnOp::Log | UnOp::Tanh | UnOp::Sigmoid, _)
                | Expr::Float(_)
                | Expr::Cast(Ty::F32, _) => {
                    found.insert(Reason::Float);
                }
                _ => {}
            }
            if self.kernel.type_of(e) == Ok(Ty::F32) && !matches!(e, Expr::Load { .. } | Expr::Var(_)) {
                found.insert(Reason::Float);
            }
        });
        self.found.extend(found);
    }

    fn holds_data(&self, param: u32) -> bool {
        self.data.get(param as usize) != Some(&false)
    }

    fn taints(&self, e: &Expr) -> bool {
        let mut found = false;
        e.visit(&mut |e| {
            found |= match e {
                Expr::Load { buffer, .. } => self.holds_data(buffer.0),
                Expr::Param(p) => self.holds_data(p.0),
                Expr::Var(v) => self.tainted.contains(v),
                _ => false,
            };
        });
        found
    }
}
