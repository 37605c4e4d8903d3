//! Sums, minima and maxima that a loop in lanes carries along.
//!
//! Law: floats are taken in the order of iterations; integer sums are checked after every
//! term, unless the terms cannot leave the type.

use crate::kernel::{BinOp, Expr, Ty, VarId};
use crate::program::machine::compile::{Bind, Compiler, No, Run, Scope};
use crate::program::machine::env::{Env, Fault, LANES, Site};
use crate::program::machine::expr::IntKind;
use crate::program::machine::lanes::{self, IntLane, IntLoad};
use crate::program::machine::loops::accumulates;
use crate::program::machine::uniform::float_op;

impl Compiler {
    pub(crate) fn carry(
        &mut self,
        scope: &mut Scope<'_>,
        var: VarId,
        value: &Expr,
    ) -> Result<(Run, f64), No> {
        let ty = scope.vars[var.0 as usize].ty;
        let (op, e) = accumulates(var, value, ty).ok_or(No)?;
        let bind = self.vector.as_ref().and_then(|v| v.carried.get(&var)).cloned().ok_or(No)?;
        let site = self.site();
        match bind {
            Bind::Float(slot) => {
                let term = self.float(scope, e)?;
                let cost = term.cost + self.pass();
                let (lane, temp) = (term.kind.lane(), self.float_lanes());
                Ok((
                    Box::new(move |env| {
                        let n = env.lanes;
                        let t = lanes::filled_float(&lane, env, temp, n);
                        let acc = env.floats[slot];
                        env.floats[slot] = match op {
                            BinOp::Add => t[..n].iter().fold(acc, |a, &b| a + b),
                            op => t[..n].iter().fold(acc, |a, &b| float_op(op, a, b)),
                        };
                        env.lane_floats[temp] = t;
                    }),
                    cost,
                ))
            }
            Bind::Int(a) => {
                let [(slot, 1)] = a.terms[..] else { return Err(No) };
                let term = self.int(scope, e)?;
                let most = term.range.lo.unsigned_abs().max(term.range.hi.unsigned_abs());
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                let plain_cost = term.cost + self.pass();
                let (lane, temp) = (term.kind.lane(), self.int_lanes());
                let plain = move |env: &mut Env| {
                    let n = env.lanes;
                    let t = lanes::filled(&lane, env, temp, n);
                    env.ints[slot] = fold(op, ty, env, env.ints[slot], &t[..n], most, site);
                    env.lane_ints[temp] = t;
                };
                // A sum of products of narrow loads needs no pass over memory of its own.
                let narrow = op == BinOp::Add && ty == Ty::I32 && most <= i64::from(i32::MAX) / LANES as i64;
                if narrow
                    && let Expr::Binary(BinOp::Mul, x, y) = e
                    && let Some(product) = self.product(scope, x, y)?
                {
                    let cost = 15.0 + 0.5 * self.vector.as_ref().map_or(0.0, |v| v.lanes);
                    return Ok((
                        Box::new(move |env| {
                            let n = env.lanes;
                            let acc = env.ints[slot];
                            let fits = acc.abs() + n as i64 * most <= i64::from(i32::MAX);
                            match if fits { product.sum(env, n) } else { None } {
                                Some(sum) => env.ints[slot] = acc + sum,
                                None => plain(env),
                            }
                        }),
                        cost,
                    ));
                }
                Ok((Box::new(plain), plain_cost))
            }
            _ => Err(No),
        }
    }

    fn product(&mut self, scope: &mut Scope<'_>, x: &Expr, y: &Expr) -> Result<Option<Product>, No> {
        let (x, y) = (self.int(scope, x)?.kind, self.int(scope, y)?.kind);
        let load = |kind: IntKind| match kind.lane() {
            IntLane::Load(load) => Some(load),
            _ => None,
        };
        Ok(match (x, y) {
            (x @ IntKind::Load { .. }, y @ IntKind::Load { .. }) => {
                load(x).zip(load(y)).map(|(x, y)| Product::Loads(x, y))
            }
            (IntKind::Slot(s), y @ IntKind::Load { .. }) => load(y).map(|y| Product::Slot(s, y)),
            (x @ IntKind::Load { .. }, IntKind::Slot(s)) => load(x).map(|x| Product::Slot(s, x)),
            _ => None,
        })
    }
}

enum Product {
    Loads(IntLoad, IntLoad),
    Slot(usize, IntLoad),
}

impl Product {
    fn sum(&self, env: &mut Env, n: usize) -> Option<i64> {
        match self {
            Product::Loads(a, b) => lanes::dot(env, a, b, n),
            Product::Slot(slot, load) => lanes::dot_slot(env, *slot, load, n),
        }
    }
}

fn fold(op: BinOp, ty: Ty, env: &mut Env, acc: i64, terms: &[i64], most: i64, site: Site) -> i64 {
    match op {
        BinOp::Min => return terms.iter().fold(acc, |a, &b| a.min(b)),
        BinOp::Max => return terms.iter().fold(acc, |a, &b| a.max(b)),
        _ => {}
    }
    let room = if ty == Ty::I32 { i64::from(i32::MAX) } else { i64::MAX };
    let reach = most.checked_mul(terms.len() as i64).and_then(|m| m.checked_add(acc.checked_abs()?));
    if reach.is_some_and(|r| r <= room) {
        return terms.iter().fold(acc, |a, &b| a.wrapping_add(b));
    }
    let mut acc = acc;
    for &t in terms {
        let next = acc.checked_add(t).filter(|&v| ty == Ty::I64 || i64::from(v as i32) == v);
        match next {
            Some(v) => acc = v,
            None => {
                env.fail(site, Fault::Overflow, acc.wrapping_add(t));
                return 0;
            }
        }
    }
    acc
}
