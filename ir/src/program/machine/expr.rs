//! Expressions to code: scalar where all lanes agree, else lane by lane.

use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::{BinOp, Expr, Instr, Ty, UnOp, scalar};
use crate::program::machine::compile::{Bind, Bound, Compiler, No, Run, Scope};
use crate::program::machine::env::{Mem, Site};
use crate::program::machine::lanes::{self, FloatLane, FloatLanes, IntLane, IntLanes, IntLoad};
use crate::program::machine::uniform::{self, Float, Int};

/// How an integer comes about.
pub(crate) enum IntKind {
    /// The same in all lanes.
    Uniform(Int),
    /// First lane, then so much more per lane.
    Linear(Affine, i64),
    Slot(usize),
    Load {
        mem: Mem,
        first: Affine,
        stride: i64,
        minus: Option<Int>,
        site: Site,
    },
    Code(IntLanes),
}

/// An integer expression: code, values it can have, expected cost.
pub(crate) struct IntCode {
    pub kind: IntKind,
    pub range: Interval,
    pub cost: f64,
}

/// How a float comes about.
pub(crate) enum FloatKind {
    Uniform(Float),
    Slot(usize),
    Load { mem: Mem, first: Affine, stride: i64, site: Site },
    Code(FloatLanes),
}

pub(crate) struct FloatCode {
    pub kind: FloatKind,
    pub cost: f64,
}

impl IntKind {
    pub(crate) fn lane(self) -> IntLane {
        match self {
            IntKind::Uniform(v) => IntLane::Uniform(v.code()),
            IntKind::Linear(a, k) => IntLane::Linear(Int::Affine(a).code(), k),
            IntKind::Slot(s) => IntLane::Slot(s),
            IntKind::Load { mem, first, stride, minus, site } => IntLane::Load(IntLoad {
                mem,
                first: Int::Affine(first).code(),
                stride,
                minus: minus.map(Int::code),
                site,
            }),
            IntKind::Code(f) => IntLane::Code(f),
        }
    }
}

impl FloatKind {
    pub(crate) fn lane(self) -> FloatLane {
        match self {
            FloatKind::Uniform(v) => FloatLane::Uniform(v.code()),
            FloatKind::Slot(s) => FloatLane::Slot(s),
            FloatKind::Load { mem, first, stride, site } => {
                FloatLane::Load { mem, first: Int::Affine(first).code(), stride, site }
            }
            FloatKind::Code(f) => FloatLane::Code(f),
        }
    }
}

impl IntCode {
    pub(crate) fn uniform(self) -> Result<Int, No> {
        if let IntKind::Uniform(v) = self.kind { Ok(v) } else { Err(No) }
    }
    fn is_uniform(&self) -> bool {
        matches!(self.kind, IntKind::Uniform(_))
    }
}

impl FloatCode {
    pub(crate) fn uniform(self) -> Result<Float, No> {
        if let FloatKind::Uniform(v) = self.kind { Ok(v) } else { Err(No) }
    }
    pub(super) fn is_uniform(&self) -> bool {
        matches!(self.kind, FloatKind::Uniform(_))
    }
}

/// A value that all lanes share, in code for lanes.
pub(super) fn uniform_cost(parts: f64) -> f64 {
    parts + 3.0
}

impl Compiler {
    /// Compiles an integer expression.
    pub(crate) fn int(&mut self, scope: &mut Scope<'_>, e: &Expr) -> Result<IntCode, No> {
        let site = self.site();
        match e {
            Expr::Int(v, _) => Ok(IntCode {
                kind: IntKind::Uniform(Int::constant(*v)),
                range: Interval::point(*v),
                cost: 0.0,
            }),
            Expr::Var(v) => {
                let (bind, range) = scope.binds.get(v.0 as usize).cloned().flatten().ok_or(No)?;
                let kind = match bind {
                    Bind::Int(a) => IntKind::Uniform(Int::Affine(a)),
                    Bind::Linear(a, k) => IntKind::Linear(a, k),
                    Bind::IntLanes(s) => IntKind::Slot(s),
                    _ => return Err(No),
                };
                Ok(IntCode { kind, range, cost: 1.0 })
            }
            Expr::Param(p) => match scope.bound.get(p.0 as usize) {
                Some(Bound::Scalar(a, range)) => {
                    Ok(IntCode { kind: IntKind::Uniform(Int::Affine(a.clone())), range: *range, cost: 1.0 })
                }
                _ => Err(No),
            },
            Expr::Load { buffer, index } => {
                let mem = scope.mem(*buffer)?;
                let index = self.int(scope, index)?;
                self.touch(false, mem, &index);
                let cost = index.cost;
                let (kind, cost) = match index.kind {
                    IntKind::Uniform(i) => {
                        (IntKind::Uniform(Int::Code(uniform::load(mem, i, site))), uniform_cost(cost))
                    }
                    IntKind::Linear(first, stride) => {
                        (IntKind::Load { mem, first, stride, minus: None, site }, cost + self.pass())
                    }
                    kind => (IntKind::Code(lanes::gather(mem, kind.lane(), site)), cost + self.pass()),
                };
                Ok(IntCode { kind, range: Interval::of_elem(mem.elem), cost })
            }
            Expr::Binary(op, a, b) => {
                let ty = scope.ty(a);
                if ty == Ty::F32 {
                    return self.compare(scope, *op, a, b);
                }
                let (a, b) = (self.int(scope, a)?, self.int(scope, b)?);
                Ok(self.int_binary(*op, ty, a, b))
            }
            Expr::Cast(to, a) if scope.ty(a) == Ty::F32 => self.truncate(scope, *to, a),
            Expr::Cast(to, a) => {
                let a = self.int(scope, a)?;
                let range = a.range.meet(Interval::of(*to));
                if *to == Ty::I64 || a.range.within(range) {
                    return Ok(IntCode { range, ..a });
                }
                let cost = a.cost + if a.is_uniform() { 3.0 } else { self.pass() };
                let kind = match a.kind {
                    IntKind::Uniform(v) => {
                        let f = v.code();
                        IntKind::Uniform(Int::Code(Box::new(move |env| {
                            let v = f(env);
                            env.fit(v, site)
                        })))
                    }
                    kind => {
                        let lane = kind.lane();
                        IntKind::Code(Box::new(move |env, out| {
                            lane.fill(env, out);
                            lanes::fit(env, out, site);
                        }))
                    }
                };
                Ok(IntCode { kind, range, cost })
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.int(scope, c)?, self.int(scope, a)?, self.int(scope, b)?);
                let range = a.range.join(b.range);
                let cost = c.cost + a.cost + b.cost;
                if c.is_uniform() && a.is_uniform() && b.is_uniform() {
                    let (c, a, b) = (c.uniform()?.code(), a.uniform()?.code(), b.uniform()?.code());
                    let f = move |env: &mut crate::program::machine::env::Env| {
                        let c = c(env);
                        let (a, b) = (a(env), b(env));
                        if c != 0 { a } else { b }
                    };
                    let kind = IntKind::Uniform(Int::Code(Box::new(f)));
                    return Ok(IntCode { kind, range, cost: uniform_cost(cost) });
                }
                let (c, a, b) = (c.kind.lane(), a.kind.lane(), b.kind.lane());
                let (t, u) = (self.int_lanes(), self.int_lanes());
                let kind = IntKind::Code(Box::new(move |env, out| {
                    a.fill(env, out);
                    let c = lanes::filled(&c, env, t, out.len());
                    let b = lanes::filled(&b, env, u, out.len());
                    for ((o, &c), &b) in out.iter_mut().zip(&c).zip(&b) {
                        *o = if c != 0 { *o } else { b };
                    }
                    env.lane_ints[t] = c;
                    env.lane_ints[u] = b;
                }));
                Ok(IntCode { kind, range, cost: cost + 2.0 * self.pass() })
            }
            Expr::Call(instr, args) => {
                let (mut inner, before, cost) = self.operands(scope, instr, args)?;
                let body = self.int(&mut inner, &instr.body)?;
                let (range, cost) = (body.range, cost + body.cost);
                if before.is_empty() {
                    return Ok(IntCode { cost, ..body });
                }
                let kind = match body.kind {
                    IntKind::Uniform(v) => {
                        let f = v.code();
                        IntKind::Uniform(Int::Code(Box::new(move |env| {
                            before.iter().for_each(|b| b(env));
                            f(env)
                        })))
                    }
                    kind => {
                        let lane = kind.lane();
                        IntKind::Code(Box::new(move |env, out| {
                            before.iter().for_each(|b| b(env));
                            lane.fill(env, out);
                        }))
                    }
                };
                Ok(IntCode { kind, range, cost })
            }
            Expr::Unary(UnOp::Order, a) => self.order(scope, a),
            Expr::Float(_) | Expr::Unary(..) => Err(No),
        }
    }

    /// Compiles a float expression.
    pub(crate) fn float(&mut self, scope: &mut Scope<'_>, e: &Expr) -> Result<FloatCode, No> {
        let site = self.site();
        match e {
            Expr::Float(v) => Ok(FloatCode { kind: FloatKind::Uniform(Float::Constant(v.get())), cost: 0.0 }),
            Expr::Var(v) => {
                let (bind, _) = scope.binds.get(v.0 as usize).cloned().flatten().ok_or(No)?;
                let kind = match bind {
                    Bind::Constant(v) => FloatKind::Uniform(Float::Constant(v)),
                    Bind::Float(s) => FloatKind::Uniform(Float::Slot(s)),
                    Bind::FloatLanes(s) => FloatKind::Slot(s),
                    _ => return Err(No),
                };
                Ok(FloatCode { kind, cost: 1.0 })
            }
            Expr::Load { buffer, index } => {
                let mem = scope.mem(*buffer)?;
                let index = self.int(scope, index)?;
                self.touch(false, mem, &index);
                let cost = index.cost;
                let (kind, cost) = match index.kind {
                    IntKind::Uniform(i) => {
                        let f = Float::Code(uniform::load_float(mem, i, site));
                        (FloatKind::Uniform(f), uniform_cost(cost))
                    }
                    IntKind::Linear(first, stride) => {
                        (FloatKind::Load { mem, first, stride, site }, cost + self.pass())
                    }
                    kind => {
                        let temp = self.int_lanes();
                        let code = lanes::gather_float(mem, kind.lane(), temp, site);
                        (FloatKind::Code(code), cost + 2.0 * self.pass())
                    }
                };
                Ok(FloatCode { kind, cost })
            }
            Expr::Unary(UnOp::Order, _) => Err(No),
            Expr::Unary(op, a) => {
                let a = self.float(scope, a)?;
                let op = *op;
                // Polynomials cost more than an addition.
                if a.is_uniform() {
                    let cost = uniform_cost(a.cost) + 10.0;
                    let kind = FloatKind::Uniform(uniform::float_unary(op, a.uniform()?));
                    return Ok(FloatCode { kind, cost });
                }
                let cost = a.cost + 10.0 * self.pass();
                let lane = a.kind.lane();
                let kind = FloatKind::Code(Box::new(move |env, out| {
                    lane.fill(env, out);
                    out.iter_mut().for_each(|v| *v = scalar::real(op, *v));
                }));
                Ok(FloatCode { kind, cost })
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.float(scope, a)?, self.float(scope, b)?);
                let (op, cost) = (*op, a.cost + b.cost);
                if a.is_uniform() && b.is_uniform() {
                    let kind = FloatKind::Uniform(uniform::float_binary(op, a.uniform()?, b.uniform()?));
                    return Ok(FloatCode { kind, cost: uniform_cost(cost) });
                }
                let (a, b, temp) = (a.kind.lane(), b.kind.lane(), self.float_lanes());
                let kind = FloatKind::Code(Box::new(move |env, out| {
                    a.fill(env, out);
                    lanes::float_assign(op, env, out, &b, temp);
                }));
                Ok(FloatCode { kind, cost: cost + self.pass() })
            }
            Expr::Cast(_, a) if scope.ty(a) == Ty::F32 => self.float(scope, a),
            Expr::Cast(_, a) => {
                let a = self.int(scope, a)?;
                let cost = a.cost;
                if a.is_uniform() {
                    let f = a.uniform()?.code();
                    let kind = FloatKind::Uniform(Float::Code(Box::new(move |env| f(env) as f32)));
                    return Ok(FloatCode { kind, cost: uniform_cost(cost) });
                }
                let (lane, temp) = (a.kind.lane(), self.int_lanes());
                let kind = FloatKind::Code(Box::new(move |env, out| {
                    let t = lanes::filled(&lane, env, temp, out.len());
                    out.iter_mut().zip(&t).for_each(|(o, &v)| *o = v as f32);
                    env.lane_ints[temp] = t;
                }));
                Ok(FloatCode { kind, cost: cost + self.pass() })
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.int(scope, c)?, self.float(scope, a)?, self.float(scope, b)?);
                let cost = c.cost + a.cost + b.cost;
                if c.is_uniform() && a.is_uniform() && b.is_uniform() {
                    let (c, a, b) = (c.uniform()?.code(), a.uniform()?.code(), b.uniform()?.code());
                    let f = move |env: &mut crate::program::machine::env::Env| {
                        let c = c(env);
                        let (a, b) = (a(env), b(env));
                        if c != 0 { a } else { b }
                    };
                    let kind = FloatKind::Uniform(Float::Code(Box::new(f)));
                    return Ok(FloatCode { kind, cost: uniform_cost(cost) });
                }
                let (c, a, b) = (c.kind.lane(), a.kind.lane(), b.kind.lane());
                let (t, u) = (self.int_lanes(), self.float_lanes());
                let kind = FloatKind::Code(Box::new(move |env, out| {
                    a.fill(env, out);
                    let c = lanes::filled(&c, env, t, out.len());
                    let b = lanes::filled_float(&b, env, u, out.len());
                    for ((o, &c), &b) in out.iter_mut().zip(&c).zip(&b) {
                        *o = if c != 0 { *o } else { b };
                    }
                    env.lane_ints[t] = c;
                    env.lane_floats[u] = b;
                }));
                Ok(FloatCode { kind, cost: cost + 2.0 * self.pass() })
            }
            Expr::Call(instr, args) => {
                let (mut inner, before, cost) = self.operands(scope, instr, args)?;
                let body = self.float(&mut inner, &instr.body)?;
                let cost = cost + body.cost;
                if before.is_empty() {
                    return Ok(FloatCode { cost, ..body });
                }
                let kind = match body.kind {
                    FloatKind::Uniform(v) => {
                        let f = v.code();
                        FloatKind::Uniform(Float::Code(Box::new(move |env| {
                            before.iter().for_each(|b| b(env));
                            f(env)
                        })))
                    }
                    kind => {
                        let lane = kind.lane();
                        FloatKind::Code(Box::new(move |env, out| {
                            before.iter().for_each(|b| b(env));
                            lane.fill(env, out);
                        }))
                    }
                };
                Ok(FloatCode { kind, cost })
            }
            Expr::Int(..) | Expr::Param(_) => Err(No),
        }
    }

    /// An integer operation on code.
    pub(crate) fn int_binary(&mut self, op: BinOp, ty: Ty, a: IntCode, b: IntCode) -> IntCode {
        let site = self.site();
        let exact = Interval::binary(op, a.range, b.range);
        let full = Interval::of(if op.compares() { Ty::I32 } else { ty });
        let width = if ty == Ty::I64 { 63 } else { 31 };
        let safe = exact.within(full)
            && !(matches!(op, BinOp::Div | BinOp::Rem) && b.range.contains(0))
            && (!op.shifts() || b.range.within(Interval::new(0, width)));
        let range = exact.meet(full);
        let cost = a.cost + b.cost;
        let factor = b.range.single();
        let (kind, cost) = match (a.kind, b.kind) {
            (IntKind::Uniform(x), IntKind::Uniform(y)) => {
                let code = uniform::binary(op, ty, x, y, safe, site);
                let more = if matches!(code, Int::Affine(_)) { 0.5 } else { 3.0 };
                (IntKind::Uniform(code), cost + more)
            }
            (IntKind::Linear(x, k), IntKind::Uniform(Int::Affine(y))) if safe => {
                let whole = match op {
                    BinOp::Add => x.plus(&y).map(|v| (v, k)),
                    BinOp::Sub => x.minus(&y).map(|v| (v, k)),
                    BinOp::Mul => factor.and_then(|f| Some((x.scaled(f)?, k.checked_mul(f)?))),
                    _ => None,
                };
                match whole {
                    Some((v, k)) => (IntKind::Linear(v, k), cost + 0.5),
                    None => {
                        let y = IntKind::Uniform(Int::Affine(y));
                        (self.int_pass(op, ty, IntKind::Linear(x, k), y, safe, site), cost + self.pass())
                    }
                }
            }
            (IntKind::Uniform(Int::Affine(x)), IntKind::Linear(y, k)) if safe && op == BinOp::Add => {
                match x.plus(&y) {
                    Some(v) => (IntKind::Linear(v, k), cost + 0.5),
                    None => {
                        let (x, y) = (IntKind::Uniform(Int::Affine(x)), IntKind::Linear(y, k));
                        (self.int_pass(op, ty, x, y, safe, site), cost + self.pass())
                    }
                }
            }
            (IntKind::Linear(x, k), IntKind::Linear(y, l))
                if safe && matches!(op, BinOp::Add | BinOp::Sub) =>
            {
                let whole = if op == BinOp::Add {
                    x.plus(&y).map(|v| (v, k + l))
                } else {
                    x.minus(&y).map(|v| (v, k - l))
                };
                match whole {
                    Some((v, 0)) => (IntKind::Uniform(Int::Affine(v)), cost + 0.5),
                    Some((v, k)) => (IntKind::Linear(v, k), cost + 0.5),
                    None => {
                        let (x, y) = (IntKind::Linear(x, k), IntKind::Linear(y, l));
                        (self.int_pass(op, ty, x, y, safe, site), cost + self.pass())
                    }
                }
            }
            (IntKind::Load { mem, first, stride, minus: None, site }, IntKind::Uniform(y))
                if safe && op == BinOp::Sub =>
            {
                (IntKind::Load { mem, first, stride, minus: Some(y), site }, cost)
            }
            (x, y) => (self.int_pass(op, ty, x, y, safe, site), cost + self.pass()),
        };
        IntCode { kind, range, cost }
    }
    fn int_pass(&mut self, op: BinOp, ty: Ty, a: IntKind, b: IntKind, safe: bool, site: Site) -> IntKind {
        // What commutes runs with the shared operand on the right: no temporary.
        let commutes = matches!(op, BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor);
        let swap = commutes && matches!(a, IntKind::Uniform(_));
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let (a, b, temp) = (a.lane(), b.lane(), self.int_lanes());
        IntKind::Code(Box::new(move |env, out| {
            a.fill(env, out);
            lanes::int_assign(op, ty, env, out, &b, temp, safe, site);
        }))
    }

    fn compare(&mut self, scope: &mut Scope<'_>, op: BinOp, a: &Expr, b: &Expr) -> Result<IntCode, No> {
        let (a, b) = (self.float(scope, a)?, self.float(scope, b)?);
        let (range, cost) = (Interval::new(0, 1), a.cost + b.cost);
        if a.is_uniform() && b.is_uniform() {
            let kind = IntKind::Uniform(uniform::float_compare(op, a.uniform()?, b.uniform()?));
            return Ok(IntCode { kind, range, cost: uniform_cost(cost) });
        }
        let (a, b) = (a.kind.lane(), b.kind.lane());
        let (t, u) = (self.float_lanes(), self.float_lanes());
        let kind = IntKind::Code(Box::new(move |env, out| {
            let a = lanes::filled_float(&a, env, t, out.len());
            let b = lanes::filled_float(&b, env, u, out.len());
            for ((o, &a), &b) in out.iter_mut().zip(&a).zip(&b) {
                *o = uniform::compare(op, a, b).into();
            }
            env.lane_floats[t] = a;
            env.lane_floats[u] = b;
        }));
        Ok(IntCode { kind, range, cost: cost + 3.0 * self.pass() })
    }

    /// Evaluates an instruction's operands into slots: its own scope, and what fills it.
    fn operands<'k>(
        &mut self,
        scope: &mut Scope<'_>,
        instr: &'k Instr,
        args: &[Expr],
    ) -> Result<(Scope<'k>, Vec<Run>, f64), No> {
        let mut inner = Scope {
            kernel: None,
            params: &[],
            vars: &instr.params,
            bound: Vec::new(),
            binds: vec![None; instr.params.len()],
        };
        let (mut before, mut cost) = (Vec::new(), 0.0);
        for ((arg, p), slot) in args.iter().zip(&instr.params).zip(0..) {
            let (bind, run, range) = if p.ty == Ty::F32 {
                let code = self.float(scope, arg)?;
                cost += code.cost;
                let (bind, run) = match code.kind {
                    FloatKind::Slot(s) => (Bind::FloatLanes(s), None),
                    FloatKind::Uniform(Float::Slot(s)) => (Bind::Float(s), None),
                    kind => self.hold_float(kind),
                };
                (bind, run, Interval::of(Ty::F32))
            } else {
                let code = self.int(scope, arg)?;
                cost += code.cost;
                let range = code.range;
                // Nothing is assigned while the body runs: even a mutable's slot can be shared.
                let (bind, run) = match code.kind {
                    IntKind::Slot(s) => (Bind::IntLanes(s), None),
                    IntKind::Uniform(Int::Affine(a)) if a.terms.len() < 2 => (Bind::Int(a), None),
                    kind => self.hold(IntCode { kind, range, cost: 0.0 }),
                };
                (bind, run, range)
            };
            before.extend(run);
            let slot: usize = slot;
            inner.binds[slot] = Some((bind, range));
        }
        Ok((inner, before, cost))
    }
}
