//! Loops: iteration by iteration or in lanes, whichever is expected to be faster, where lanes
//! are legal at all.

use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::{BinOp, Expr, Stmt, Ty, Var, VarId, visit};
use crate::program::machine::compile::{Bind, Compiler, No, Root, Run, Scope, Vector};
use crate::program::machine::env::LANES;
use crate::program::machine::legal::independent;
use std::collections::BTreeMap;

impl Compiler {
    pub(crate) fn for_either(&mut self, scope: &mut Scope<'_>, s: &Stmt) -> Result<(Run, f64), No> {
        let Stmt::For { var, lo, hi, step, body } = s else { return Err(No) };
        if self.vector.is_some() {
            return self.for_each(scope, *var, lo, hi, *step, body);
        }
        let binds = scope.binds.clone();
        let in_lanes = self.for_lanes(scope, *var, lo, hi, *step, body);
        self.vector = None;
        scope.binds = binds;
        let kept = self.loops_in_lanes;
        let plain = self.for_each(scope, *var, lo, hi, *step, body)?;
        match in_lanes {
            Ok(lanes) if self.always_lanes || lanes.1 < plain.1 => {
                self.loops_in_lanes = kept + 1;
                Ok(lanes)
            }
            _ => Ok(plain),
        }
    }

    /// One iteration after the other.
    fn for_each(
        &mut self,
        scope: &mut Scope<'_>,
        var: VarId,
        lo: &Expr,
        hi: &Expr,
        step: i32,
        body: &[Stmt],
    ) -> Result<(Run, f64), No> {
        let (lo, hi) = (self.int(scope, lo)?, self.int(scope, hi)?);
        let (range, trips) = span(lo.range, hi.range, step);
        let (lo, hi) = (lo.uniform()?.code(), hi.uniform()?.code());
        let slot = self.int_slot(Root::Symbol, range);
        scope.bind(var, Bind::Int(Affine::symbol(slot)), range);
        if let Some(v) = &mut self.vector {
            v.inner += 1;
        }
        let (body, cost) = self.block(scope, body)?;
        if let Some(v) = &mut self.vector {
            v.inner -= 1;
        }
        let step = i64::from(step);
        let run: Run = Box::new(move |env| {
            let mut v = lo(env);
            let hi = hi(env);
            while v < hi {
                env.ints[slot] = v;
                body(env);
                if env.failure.is_some() {
                    return;
                }
                v += step;
            }
        });
        Ok((run, 4.0 + trips * (cost + 2.0)))
    }

    /// Many iterations side by side.
    fn for_lanes(
        &mut self,
        scope: &mut Scope<'_>,
        var: VarId,
        lo: &Expr,
        hi: &Expr,
        step: i32,
        body: &[Stmt],
    ) -> Result<(Run, f64), No> {
        let (lo, hi) = (self.int(scope, lo)?, self.int(scope, hi)?);
        let (range, trips) = span(lo.range, hi.range, step);
        if trips < 2.0 {
            return Err(No);
        }
        let (lo, hi) = (lo.uniform()?.code(), hi.uniform()?.code());
        let step = i64::from(step);
        let slot = self.int_slot(Root::Symbol, range);
        let mut sums = BTreeMap::new();
        for var in carried(scope.vars, body)? {
            let (bind, range) = scope.binds[var.0 as usize].clone().ok_or(No)?;
            scope.bind(var, Bind::Carried, range);
            sums.insert(var, bind);
        }
        scope.bind(var, Bind::Linear(Affine::symbol(slot), step), range);
        let lanes = trips.min(LANES as f64);
        let first = self.roots.len();
        self.vector = Some(Vector { slot, step, first, inner: 0, touches: Vec::new(), carried: sums, lanes });
        let (body, cost) = self.block(scope, body)?;
        let Some(vector) = self.vector.take() else { return Err(No) };
        if !independent(&vector, &self.roots, &self.ranges) {
            return Err(No);
        }
        let run: Run = Box::new(move |env| {
            let mut v = lo(env);
            let hi = hi(env);
            while v < hi {
                let left = (hi - v + step - 1) / step;
                env.lanes = left.min(LANES as i64) as usize;
                env.ints[slot] = v;
                body(env);
                if env.failure.is_some() {
                    return;
                }
                v += env.lanes as i64 * step;
            }
        });
        Ok((run, 6.0 + (trips / LANES as f64).ceil() * (cost + 2.0)))
    }
}

/// Values of a loop variable, and how often the loop turns at most.
fn span(lo: Interval, hi: Interval, step: i32) -> (Interval, f64) {
    let last = (hi.hi - 1).max(lo.lo);
    let trips = ((hi.hi - lo.lo).max(0) + i128::from(step) - 1) / i128::from(step);
    (Interval { lo: lo.lo, hi: last }, trips as f64)
}

/// `var = var op e`, with `e` free of `var`: the operation and `e`.
pub(crate) fn accumulates(var: VarId, value: &Expr, ty: Ty) -> Option<(BinOp, &Expr)> {
    let Expr::Binary(op, a, b) = value else { return None };
    let free = |e: &Expr| {
        let mut free = true;
        e.visit(&mut |e| free &= *e != Expr::Var(var));
        free
    };
    let own = Expr::Var(var);
    match op {
        BinOp::Add | BinOp::Min | BinOp::Max if **a == own && free(b) => Some((*op, b)),
        // On floats the order of operands shows (NaN, zeros of both signs).
        BinOp::Add | BinOp::Min | BinOp::Max if ty != Ty::F32 && **b == own && free(a) => Some((*op, a)),
        _ => None,
    }
}

/// Variables of outside that a loop body assigns, each always by one kind of accumulation.
/// Floats only once an iteration, so that their order stays.
fn carried(vars: &[Var], body: &[Stmt]) -> Result<Vec<VarId>, No> {
    let mut own: Vec<VarId> = Vec::new();
    visit(body, &mut |s| {
        if let Stmt::Let { var, .. } | Stmt::Var { var, .. } | Stmt::For { var, .. } = s {
            own.push(*var);
        }
    });
    let mut found: BTreeMap<VarId, (BinOp, usize)> = BTreeMap::new();
    let mut legal = true;
    fn go(
        body: &[Stmt],
        looped: bool,
        vars: &[Var],
        own: &[VarId],
        found: &mut BTreeMap<VarId, (BinOp, usize)>,
        legal: &mut bool,
    ) {
        for s in body {
            match s {
                Stmt::For { body, .. } => go(body, true, vars, own, found, legal),
                Stmt::If { then, els, .. } => {
                    go(then, looped, vars, own, found, legal);
                    go(els, looped, vars, own, found, legal);
                }
                Stmt::Assign { var, value } if !own.contains(var) => {
                    let ty = vars[var.0 as usize].ty;
                    let Some((op, _)) = accumulates(*var, value, ty) else {
                        *legal = false;
                        continue;
                    };
                    let entry = found.entry(*var).or_insert((op, 0));
                    entry.1 += 1;
                    *legal &= entry.0 == op && (ty != Ty::F32 || (entry.1 == 1 && !looped));
                }
                _ => {}
            }
        }
    }
    go(body, false, vars, &own, &mut found, &mut legal);
    if legal { Ok(found.into_keys().collect()) } else { Err(No) }
}
