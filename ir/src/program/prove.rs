//! Interval proof: no access of a program leaves its buffer.
//!
//! In: a program. Out: nothing, or the kernel, statement and interval that are unproven.
//! Every load, store, slice and argument is bounded from the loop bounds, the declared ranges
//! of scalars, the element types, and the conditions around it. Divisors are shown not to be
//! zero and shift amounts to be in range.
//! Law: sound for wrapping arithmetic. What might overflow its type counts as unknown.

use crate::error::{Error, Result, Site};
use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::{
    Access, BinOp, CallArg, Expr, Kernel, ParamId, ParamKind, Stmt, Ty, Var, VarId, print_expr, print_stmt,
};
use crate::program::contents::{anything, contents};
use crate::program::{Arg, Place, Port, Program, kernels};
use crate::tensor::DType;
use std::collections::BTreeMap;

/// Proves all kernels of a program and all of its steps.
pub fn prove(program: &Program) -> Result<()> {
    placed(program)?;
    let all = kernels(program);
    for (k, held) in all.iter().zip(contents(program, &all)) {
        prove_holding(k, &held)?;
    }
    for step in program.entries.iter().flat_map(|e| &e.steps) {
        step_fits(program, step)?;
    }
    Ok(())
}

/// Proves one kernel for all arguments that its parameters allow.
pub fn prove_kernel(kernel: &Kernel) -> Result<()> {
    prove_holding(kernel, &kernel.params.iter().map(anything).collect::<Vec<_>>())
}

/// Proves one kernel whose parameters hold elements of these intervals.
fn prove_holding(kernel: &Kernel, held: &[Interval]) -> Result<()> {
    // Mutable variables start as unknown; a second round knows what was assigned in the first.
    let mut mutables = BTreeMap::new();
    for _ in 0..2 {
        let mut cx = Cx::new(kernel, &mutables, held);
        cx.block(&kernel.body);
        mutables = cx.assigned;
    }
    let mut cx = Cx::new(kernel, &mutables, held);
    cx.block(&kernel.body);
    match cx.unproven {
        Some(why) => Err(Error::internal(Site::Kernel(kernel.name.clone()), format!("unproven: {why}"))),
        None => Ok(()),
    }
}

/// Every buffer and port lies in the arena, aligned to its elements. Inputs do not overlap each
/// other, nor do outputs, unless they are one.
fn placed(program: &Program) -> Result<()> {
    let unproven = |why: String| Err(Error::internal(Site::Whole, format!("unproven: {why}")));
    let lies = |name: &str, elem: DType, len: usize, at: usize| {
        let (bytes, room) = (len.saturating_mul(elem.size()), program.arena);
        if at.saturating_add(bytes) > room || !at.is_multiple_of(elem.size()) {
            return unproven(format!("`{name}` of {bytes} bytes at {at} in {room} bytes"));
        }
        Ok(())
    };
    for b in &program.buffers {
        let (Place::Arena(at) | Place::State(at)) = b.place;
        lies(&b.name, b.elem, b.len, at)?;
    }
    for ports in [&program.inputs, &program.outputs] {
        for (i, a) in ports.iter().enumerate() {
            lies(&a.name, a.elem, a.len(), a.at)?;
            let meets = |b: &&Port| a.at < b.at + b.bytes() && b.at < a.at + a.bytes();
            if let Some(b) = ports[..i].iter().find(meets).filter(|b| b.at != a.at || b.bytes() != a.bytes())
            {
                return unproven(format!("ports `{}` and `{}` overlap", a.name, b.name));
            }
        }
    }
    Ok(())
}

fn step_fits(program: &Program, step: &crate::program::Step) -> Result<()> {
    let k = &step.kernel;
    let fail =
        |why: String| Err(Error::internal(Site::Kernel(k.name.clone()), format!("unproven step: {why}")));
    if step.args.len() != k.params.len() {
        return fail(format!("{} arguments for {} parameters", step.args.len(), k.params.len()));
    }
    // Written and read bytes of the arena, to check the in-place rule.
    let mut spans: Vec<(usize, usize, bool, &str)> = Vec::new();
    for (arg, param) in step.args.iter().zip(&k.params) {
        let (own, start) = match (arg, &param.kind) {
            (Arg::Scalar(v), ParamKind::Scalar { lo, hi }) => {
                if !(lo..=hi).contains(&v) {
                    return fail(format!("`{}` is {v}, not in {lo}..={hi}", param.name));
                }
                continue;
            }
            (Arg::Buffer { buffer, offset }, ParamKind::Buffer { access, .. }) => {
                let Some(b) = program.buffers.get(buffer.0 as usize) else {
                    return fail(format!("`{}` does not exist", param.name));
                };
                let (Place::Arena(at) | Place::State(at)) = b.place;
                let start = Some((at + offset * b.elem.size(), *access));
                ((b.elem, b.len.checked_sub(*offset)), start)
            }
            (Arg::Constant { constant, offset }, ParamKind::Buffer { access, .. }) => {
                let Some(c) = program.constants.get(constant.0 as usize) else {
                    return fail(format!("`{}` does not exist", param.name));
                };
                if *access != Access::Read {
                    return fail(format!("`{}` writes to the constant `{}`", param.name, c.name));
                }
                ((c.dtype, (c.bytes.len() / c.dtype.size()).checked_sub(*offset)), None)
            }
            _ => {
                return fail(format!(
                    "`{}` is a scalar where a buffer is expected, or the reverse",
                    param.name
                ));
            }
        };
        let ParamKind::Buffer { elem, len, .. } = param.kind else { continue };
        if own.0 != elem || own.1.is_none_or(|have| have < len) {
            return fail(format!("`{}` takes {elem}[{len}], got {}[{:?}]", param.name, own.0, own.1));
        }
        if let Some((at, access)) = start {
            spans.push((at, at + len * elem.size(), access != Access::Read, &param.name));
        }
    }
    for (i, a) in spans.iter().enumerate() {
        for b in &spans[i + 1..] {
            let overlap = a.0 < b.1 && b.0 < a.1;
            if overlap && (a.2 || b.2) && a.0 != b.0 {
                return fail(format!("`{}` and `{}` overlap without the same start", a.3, b.3));
            }
        }
    }
    Ok(())
}

/// What is known of a value: its interval, and its affine form over symbols.
#[derive(Debug, Clone)]
struct Known {
    range: Interval,
    affine: Option<Affine>,
}

/// `lo <= affine <= hi` holds here.
#[derive(Debug, Clone)]
struct Fact {
    affine: Affine,
    range: Interval,
}

/// More facts than these are not combined: every subset is tried.
const FACTS: usize = 8;

struct Cx<'a> {
    kernel: &'a Kernel,
    /// Interval of each symbol. A symbol is a parameter or an immutable variable.
    symbols: Vec<Interval>,
    vars: BTreeMap<VarId, Known>,
    facts: Vec<Fact>,
    /// Ranges of mutable variables, known from an earlier round.
    mutables: &'a BTreeMap<VarId, Interval>,
    /// By parameter: the interval of its elements.
    held: &'a [Interval],
    /// All that was assigned to each mutable variable in this round.
    assigned: BTreeMap<VarId, Interval>,
    unproven: Option<String>,
}

/// Variables of an instruction's body, by position.
type Operands<'x> = Option<&'x [Known]>;

impl<'a> Cx<'a> {
    fn new(kernel: &'a Kernel, mutables: &'a BTreeMap<VarId, Interval>, held: &'a [Interval]) -> Self {
        let symbols = kernel
            .params
            .iter()
            .map(|p| match p.kind {
                ParamKind::Scalar { lo, hi } => Interval::new(lo, hi),
                ParamKind::Buffer { .. } => Interval::point(0),
            })
            .collect();
        Cx {
            kernel,
            symbols,
            vars: BTreeMap::new(),
            facts: Vec::new(),
            mutables,
            held,
            assigned: BTreeMap::new(),
            unproven: None,
        }
    }
    fn symbol(&mut self, range: Interval) -> Known {
        self.symbols.push(range);
        Known { range, affine: Some(Affine::symbol(self.symbols.len() - 1)) }
    }
    fn refuse(&mut self, why: impl FnOnce() -> String) {
        if self.unproven.is_none() {
            self.unproven = Some(why());
        }
    }

    // Statements.

    fn block(&mut self, body: &[Stmt]) {
        body.iter().for_each(|s| self.stmt(s));
    }
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::For { var, lo, hi, step, body } => {
                let (a, b) = (self.expr(lo, s), self.expr(hi, s));
                if b.range.hi <= a.range.lo {
                    return;
                }
                let mut last = b.range.hi - 1;
                if a.range.lo == a.range.hi {
                    last = a.range.lo + (last - a.range.lo) / i128::from(*step) * i128::from(*step);
                }
                let last = last.max(a.range.lo);
                if last + i128::from(*step) > i32::MAX.into() {
                    self.refuse(|| format!("the end of `{}` overflows", print_stmt(self.kernel, s)));
                }
                let v = self.symbol(Interval { lo: a.range.lo, hi: last });
                self.vars.insert(*var, v);
                let (symbols, facts) = (self.symbols.clone(), self.facts.len());
                let var = Expr::Var(*var);
                self.bound(BinOp::Max, BinOp::Ge, &var, lo, s);
                self.bound(BinOp::Min, BinOp::Lt, &var, hi, s);
                self.block(body);
                self.facts.truncate(facts);
                self.restore(symbols);
            }
            Stmt::Let { var, value } => {
                let known = self.expr(value, s);
                // An affine value stands for itself, so that guards on either spelling meet.
                let known = if known.affine.is_some() { known } else { self.symbol(known.range) };
                self.vars.insert(*var, known);
            }
            Stmt::Var { var, value } | Stmt::Assign { var, value } => {
                let known = self.expr(value, s);
                let all = self.assigned.get(var).map_or(known.range, |r| r.join(known.range));
                self.assigned.insert(*var, all);
                let ty = self.kernel.vars[var.0 as usize].ty;
                let range = self.mutables.get(var).copied().unwrap_or(Interval::of(ty));
                self.vars.insert(*var, Known { range, affine: None });
            }
            Stmt::Store { buffer, index, value } => {
                self.expr(value, s);
                self.access(*buffer, index, s);
            }
            Stmt::If { cond, then, els } => {
                let known = self.expr(cond, s);
                for (body, truth, never) in
                    [(then, true, Interval::point(0)), (els, false, Interval::point(1))]
                {
                    // A branch that cannot be reached needs no proof.
                    if body.is_empty() || known.range == never {
                        continue;
                    }
                    let (symbols, facts) = (self.symbols.clone(), self.facts.len());
                    self.assume(cond, truth, s);
                    self.block(body);
                    self.facts.truncate(facts);
                    self.restore(symbols);
                }
            }
            Stmt::Call { kernel: callee, args } => {
                for (arg, param) in args.iter().zip(&callee.params) {
                    match (arg, &param.kind) {
                        (CallArg::Slice { buffer, offset }, ParamKind::Buffer { len, .. }) => {
                            let known = self.expr(offset, s);
                            let own = self.kernel.buffer(*buffer).map_or(0, |b| b.1);
                            let end = known.range.hi.saturating_add(*len as i128);
                            if known.range.lo < 0 || end > own as i128 {
                                self.refuse(|| {
                                    format!(
                                        "slice offset {} of {own} elements, `{}` takes {len}, in `{}`",
                                        known.range,
                                        param.name,
                                        print_stmt(self.kernel, s)
                                    )
                                });
                            }
                        }
                        (CallArg::Scalar(e), ParamKind::Scalar { lo, hi }) => {
                            let known = self.expr(e, s);
                            if !known.range.within(Interval::new(*lo, *hi)) {
                                self.refuse(|| {
                                    format!(
                                        "`{}` is {}, not in {lo}..={hi}, in `{}`",
                                        param.name,
                                        known.range,
                                        print_stmt(self.kernel, s)
                                    )
                                });
                            }
                        }
                        _ => self.refuse(|| format!("arguments of `{}`", print_stmt(self.kernel, s))),
                    }
                }
            }
        }
    }
    /// Forgets refinements made in a block; symbols born there stay.
    fn restore(&mut self, old: Vec<Interval>) {
        self.symbols[..old.len()].copy_from_slice(&old);
    }

    // Conditions.

    /// Takes over what `cond` being true (or false) says.
    fn assume(&mut self, cond: &Expr, truth: bool, s: &Stmt) {
        let Expr::Binary(op, a, b) = cond else { return };
        match (op, truth) {
            (BinOp::And, true) | (BinOp::Or, false) => {
                // Of values other than 0 and 1, `and` says less: 1 & 2 is 0.
                let bits = Interval::new(0, 1);
                if self.expr(a, s).range.within(bits) && self.expr(b, s).range.within(bits) {
                    self.assume(a, truth, s);
                    self.assume(b, truth, s);
                }
            }
            (BinOp::Lt, true) | (BinOp::Ge, false) => self.less(a, b, -1, s),
            (BinOp::Le, true) | (BinOp::Gt, false) => self.less(a, b, 0, s),
            (BinOp::Gt, true) | (BinOp::Le, false) => self.less(b, a, -1, s),
            (BinOp::Ge, true) | (BinOp::Lt, false) => self.less(b, a, 0, s),
            (BinOp::Eq, true) | (BinOp::Ne, false) => {
                self.less(a, b, 0, s);
                self.less(b, a, 0, s);
            }
            _ => {}
        }
    }
    /// `v op e`, where `e` may be a `Max` of lower bounds or a `Min` of upper bounds.
    fn bound(&mut self, split: BinOp, op: BinOp, v: &Expr, e: &Expr, s: &Stmt) {
        match e {
            Expr::Binary(o, a, b) if *o == split => {
                self.bound(split, op, v, a, s);
                self.bound(split, op, v, b, s);
            }
            _ if op == BinOp::Ge => self.less(e, v, 0, s),
            _ => self.less(v, e, -1, s),
        }
    }
    /// `a <= b + slack`.
    fn less(&mut self, a: &Expr, b: &Expr, slack: i128, s: &Stmt) {
        if self.kernel.type_of(a) == Ok(Ty::F32) {
            return;
        }
        let (a, b) = (self.expr(a, s), self.expr(b, s));
        let (Some(a), Some(b)) = (a.affine, b.affine) else { return };
        let Some(mut d) = a.minus(&b) else { return };
        // d <= slack; without its constant: terms <= slack - constant.
        let hi = slack - i128::from(d.constant);
        d.constant = 0;
        if let [(symbol, k @ (1 | -1))] = d.terms[..] {
            let own = &mut self.symbols[symbol];
            *own =
                own.meet(if k == 1 { Interval { lo: own.lo, hi } } else { Interval { lo: -hi, hi: own.hi } });
        } else if !d.terms.is_empty() && self.facts.len() < FACTS {
            let lo = i128::MIN / 4;
            self.facts.push(Fact { affine: d, range: Interval { lo, hi } });
        }
    }

    // Expressions.

    fn access(&mut self, buffer: ParamId, index: &Expr, s: &Stmt) {
        let known = self.expr(index, s);
        self.inside(buffer, index, known.range, s);
    }
    fn inside(&mut self, buffer: ParamId, index: &Expr, range: Interval, s: &Stmt) {
        let len = self.kernel.buffer(buffer).map_or(0, |b| b.1);
        if range.lo < 0 || range.hi >= len as i128 {
            self.refuse(|| {
                format!(
                    "index `{}` of `{}` is {range}, the length is {len}, in `{}`",
                    print_expr(self.kernel, index),
                    self.kernel.param_name(buffer),
                    print_stmt(self.kernel, s)
                )
            });
        }
    }
    /// An expression of any type; floats are only searched for accesses.
    fn expr(&mut self, e: &Expr, s: &Stmt) -> Known {
        self.eval(e, s, None)
    }
    fn eval(&mut self, e: &Expr, s: &Stmt, operands: Operands<'_>) -> Known {
        let (range, affine, ty) = match e {
            Expr::Int(v, _) => {
                return Known { range: Interval::point(*v), affine: Some(Affine::constant(*v)) };
            }
            Expr::Float(_) => return Known { range: Interval::of(Ty::I64), affine: None },
            Expr::Var(v) => {
                let known = match operands {
                    Some(operands) => operands.get(v.0 as usize).cloned(),
                    None => self.vars.get(v).cloned(),
                };
                let known = known.unwrap_or(Known { range: Interval::of(Ty::I64), affine: None });
                // The interval may have been refined since the variable was bound.
                let range = self.refine(known.range, &known.affine);
                return Known { range, ..known };
            }
            Expr::Param(p) => {
                let range = self.symbols[p.0 as usize];
                return Known { range, affine: Some(Affine::symbol(p.0 as usize)) };
            }
            Expr::Load { buffer, index } => {
                let known = self.eval(index, s, operands);
                self.inside(*buffer, index, known.range, s);
                let range = self.held.get(buffer.0 as usize).copied().unwrap_or(Interval::of(Ty::I64));
                return Known { range, affine: None };
            }
            Expr::Unary(op, a) => {
                self.eval(a, s, operands);
                return Known { range: Interval::of(op.result()), affine: None };
            }
            Expr::Cast(to, a) => {
                let known = self.eval(a, s, operands);
                if *to == Ty::F32 || self.ty(a) == Ty::F32 {
                    return Known { range: Interval::of(*to), affine: None };
                }
                (known.range, known.affine, *to)
            }
            Expr::Select(c, a, b) => {
                self.eval(c, s, operands);
                let (a, b) = (self.eval(a, s, operands), self.eval(b, s, operands));
                return Known { range: a.range.join(b.range), affine: None };
            }
            Expr::Call(instr, args) => {
                let args: Vec<Known> = args.iter().map(|a| self.eval(a, s, operands)).collect();
                let vars: &[Var] = &instr.params;
                // The body's types come from its own parameters.
                let known = Body { vars }.eval(self, &instr.body, s, &args);
                return Known { range: known.range.meet(Interval::of(instr.result)), affine: None };
            }
            Expr::Binary(op, a, b) => {
                let ty = self.ty(a);
                let (x, y) = (self.eval(a, s, operands), self.eval(b, s, operands));
                return self.binary(*op, ty, x, y, s);
            }
        };
        self.typed(range, affine, ty)
    }
    fn binary(&mut self, op: BinOp, ty: Ty, x: Known, y: Known, s: &Stmt) -> Known {
        if ty == Ty::F32 {
            let range = if op.compares() { Interval::new(0, 1) } else { Interval::of(Ty::I64) };
            return Known { range, affine: None };
        }
        if matches!(op, BinOp::Div | BinOp::Rem) && y.range.contains(0) {
            self.refuse(|| format!("a divisor of {} in `{}`", y.range, print_stmt(self.kernel, s)));
        }
        let width = if ty == Ty::I64 { 63 } else { 31 };
        if op.shifts() && !y.range.within(Interval::new(0, width)) {
            self.refuse(|| format!("a shift by {} in `{}`", y.range, print_stmt(self.kernel, s)));
        }
        let affine = match (op, &x.affine, &y.affine) {
            (BinOp::Add, Some(a), Some(b)) => a.plus(b),
            (BinOp::Sub, Some(a), Some(b)) => a.minus(b),
            (BinOp::Mul, Some(a), Some(b)) => match (a.terms.is_empty(), b.terms.is_empty()) {
                (_, true) => a.scaled(b.constant),
                (true, _) => b.scaled(a.constant),
                _ => None,
            },
            _ => None,
        };
        let result = if op.compares() { Ty::I32 } else { ty };
        self.typed(Interval::binary(op, x.range, y.range), affine, result)
    }
    /// A result of type `ty`: refined; unknown if it may leave its type.
    fn typed(&mut self, range: Interval, affine: Option<Affine>, ty: Ty) -> Known {
        let range = self.refine(range, &affine);
        if range.within(Interval::of(ty)) {
            Known { range, affine }
        } else {
            Known { range: Interval::of(ty), affine: None }
        }
    }
    fn ty(&self, e: &Expr) -> Ty {
        self.kernel.type_of(e).unwrap_or(Ty::I64)
    }
    /// Narrows an interval by the affine form and by the facts that hold here.
    fn refine(&self, range: Interval, affine: &Option<Affine>) -> Interval {
        let Some(a) = affine else { return range };
        range.meet(self.span(a)).meet(self.by_facts(a, 0, Interval::point(0)))
    }
    fn span(&self, a: &Affine) -> Interval {
        a.terms.iter().fold(Interval::point(a.constant), |sum, &(symbol, k)| {
            sum.plus(self.symbols[symbol].scale(k.into()))
        })
    }
    /// The best interval of `a + rest` that using each fact from `from` on once, or not, gives.
    fn by_facts(&self, a: &Affine, from: usize, rest: Interval) -> Interval {
        let plain = self.span(a).plus(rest);
        let Some(fact) = self.facts.get(from) else { return plain };
        let mut best = self.by_facts(a, from + 1, rest);
        // a = k * fact + remainder, with k such that one symbol disappears.
        for &(symbol, of_fact) in &fact.affine.terms {
            let Some(&(_, of_a)) = a.terms.iter().find(|t| t.0 == symbol) else { continue };
            if of_a % of_fact != 0 {
                continue;
            }
            let k = of_a / of_fact;
            let Some(left) = fact.affine.scaled(k).and_then(|f| a.minus(&f)) else { continue };
            let part = fact.range.meet(self.span(&fact.affine)).scale(k.into());
            best = best.meet(self.by_facts(&left, from + 1, rest.plus(part)));
            break;
        }
        best
    }
}

/// An instruction's body: the same evaluation over operands, with the operands' types.
struct Body<'x> {
    vars: &'x [Var],
}

impl Body<'_> {
    fn eval(&self, cx: &mut Cx<'_>, e: &Expr, s: &Stmt, args: &[Known]) -> Known {
        let ty = |e: &Expr| crate::kernel::verify::type_of(e, &[], self.vars).unwrap_or(Ty::I64);
        match e {
            Expr::Binary(op, a, b) => {
                let of = ty(a);
                let (x, y) = (self.eval(cx, a, s, args), self.eval(cx, b, s, args));
                cx.binary(*op, of, x, y, s)
            }
            Expr::Cast(to, a) => {
                let known = self.eval(cx, a, s, args);
                if *to == Ty::F32 || ty(a) == Ty::F32 {
                    return Known { range: Interval::of(*to), affine: None };
                }
                cx.typed(known.range, known.affine, *to)
            }
            Expr::Select(c, a, b) => {
                self.eval(cx, c, s, args);
                let (a, b) = (self.eval(cx, a, s, args), self.eval(cx, b, s, args));
                Known { range: a.range.join(b.range), affine: None }
            }
            Expr::Call(instr, inner) => {
                let inner: Vec<Known> = inner.iter().map(|a| self.eval(cx, a, s, args)).collect();
                Body { vars: &instr.params }.eval(cx, &instr.body, s, &inner)
            }
            e => cx.eval(e, s, Some(args)),
        }
    }
}
