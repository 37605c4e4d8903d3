//! Kernels to closures: slots for variables, typed loads and stores, calls.
//!
//! Every loop is tried both ways, iteration by iteration and in lanes (`loops`). A loop may run
//! in lanes when its control flow is the same for all iterations, no iteration reads what
//! another writes (`legal`), and what it carries along is a sum, minimum or maximum that keeps
//! its order (`carry`).
//! Law: the result is what `interpret` gives, bit for bit.

use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::{CallArg, Expr, Kernel, Param, ParamId, ParamKind, Stmt, Ty, Var, VarId, print_stmt};
use crate::program::machine::env::{Base, Env, Mem, Site};
use crate::program::machine::expr::{FloatCode, FloatKind, IntCode, IntKind};
use crate::program::machine::lanes::{self, Target};
use crate::program::machine::legal::Touch;
use crate::program::machine::loops::accumulates;
use crate::program::machine::memory::{Integer, put_f32, with_integer};
use crate::program::machine::uniform::{Float, Int};
use std::collections::BTreeMap;

/// Code of a statement.
pub(crate) type Run = Box<dyn Fn(&mut Env) + Send + Sync>;

/// The loop at hand cannot run in lanes. Never happens outside of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct No;

/// What an integer slot holds, for telling addresses apart.
#[derive(Debug, Clone)]
pub(crate) enum Root {
    /// Some fixed value while it is in scope.
    Symbol,
    /// A sum of other slots.
    Sum(Affine),
    /// Changes.
    Mutable,
}

/// How a variable is held.
#[derive(Debug, Clone)]
pub(crate) enum Bind {
    Int(Affine),
    /// First lane, then so much more per lane.
    Linear(Affine, i64),
    IntLanes(usize),
    Constant(f32),
    Float(usize),
    FloatLanes(usize),
    /// Carried along by the loop in lanes: only its own assignment may name it.
    Carried,
}

/// What a parameter is bound to.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    Buffer(Mem),
    Scalar(Affine, Interval),
}

/// One instance of a kernel (or of an instruction's body).
pub(crate) struct Scope<'k> {
    pub kernel: Option<&'k Kernel>,
    pub params: &'k [Param],
    pub vars: &'k [Var],
    pub bound: Vec<Bound>,
    pub binds: Vec<Option<(Bind, Interval)>>,
}

impl Scope<'_> {
    pub(crate) fn ty(&self, e: &Expr) -> Ty {
        crate::kernel::verify::type_of(e, self.params, self.vars).unwrap_or(Ty::I32)
    }
    pub(crate) fn mem(&self, buffer: ParamId) -> Result<Mem, No> {
        match self.bound.get(buffer.0 as usize) {
            Some(Bound::Buffer(mem)) => Ok(*mem),
            _ => Err(No),
        }
    }
    pub(crate) fn bind(&mut self, var: VarId, bind: Bind, range: Interval) {
        self.binds[var.0 as usize] = Some((bind, range));
    }
}

/// The loop that is being compiled in lanes.
pub(crate) struct Vector {
    /// Slot of its variable: the first lane's value.
    pub slot: usize,
    /// Difference of its variable between lanes.
    pub step: i64,
    /// Slots from here on belong to its body.
    pub first: usize,
    /// Loops open inside of it.
    pub inner: usize,
    pub touches: Vec<Touch>,
    /// Where the variables that it carries along are held.
    pub carried: BTreeMap<VarId, Bind>,
    /// Lanes that are expected to run at once, for the estimate.
    pub lanes: f64,
}

/// Slots, sites, and the loop in lanes if one is open.
#[derive(Default)]
pub(crate) struct Compiler {
    pub roots: Vec<Root>,
    pub ranges: Vec<Interval>,
    pub floats: usize,
    pub lane_ints: usize,
    pub lane_floats: usize,
    /// Kernel and statement of each site.
    pub sites: Vec<(String, String)>,
    pub vector: Option<Vector>,
    /// Loops that were kept in lanes.
    pub loops_in_lanes: usize,
    /// Takes lanes wherever they are legal, whatever they cost: for tests.
    pub always_lanes: bool,
    /// Runs native forms in the place of bodies.
    pub natives: bool,
}

impl Compiler {
    pub(crate) fn int_slot(&mut self, root: Root, range: Interval) -> usize {
        self.roots.push(root);
        self.ranges.push(range);
        self.roots.len() - 1
    }
    pub(crate) fn int_lanes(&mut self) -> usize {
        self.lane_ints += 1;
        self.lane_ints - 1
    }
    pub(crate) fn float_lanes(&mut self) -> usize {
        self.lane_floats += 1;
        self.lane_floats - 1
    }
    fn float_slot(&mut self) -> usize {
        self.floats += 1;
        self.floats - 1
    }
    pub(crate) fn site(&self) -> Site {
        self.sites.len().saturating_sub(1) as Site
    }
    /// A whole kernel with its parameters bound.
    pub(crate) fn kernel(&mut self, kernel: &Kernel, bound: Vec<Bound>) -> Result<(Run, f64), No> {
        let native = kernel.native.first().and_then(|native| native.simulation.as_ref());
        if let (true, Some(simulation)) = (self.natives, native) {
            let run = crate::program::machine::natives::simulated(kernel, bound, simulation);
            return if self.vector.is_some() { Err(No) } else { Ok((run, 1.0)) };
        }
        let mut scope = Scope {
            kernel: Some(kernel),
            params: &kernel.params,
            vars: &kernel.vars,
            bound,
            binds: vec![None; kernel.vars.len()],
        };
        self.block(&mut scope, &kernel.body)
    }

    pub(crate) fn block(&mut self, scope: &mut Scope<'_>, body: &[Stmt]) -> Result<(Run, f64), No> {
        let mut all: Vec<Run> = Vec::new();
        let mut cost = 1.0;
        for s in body {
            if let (Some(run), c) = self.stmt(scope, s)? {
                all.push(run);
                cost += c;
            }
        }
        let run: Run = match all.len() {
            0 => Box::new(|_| {}),
            1 => all.remove(0),
            2 => {
                let (b, a) = (all.remove(1), all.remove(0));
                Box::new(move |env| {
                    a(env);
                    b(env);
                })
            }
            _ => Box::new(move |env| all.iter().for_each(|run| run(env))),
        };
        Ok((run, cost))
    }

    fn stmt(&mut self, scope: &mut Scope<'_>, s: &Stmt) -> Result<(Option<Run>, f64), No> {
        if let Some(kernel) = scope.kernel {
            self.sites.push((kernel.name.clone(), print_stmt(kernel, s)));
        }
        let site = self.site();
        match s {
            Stmt::For { .. } => {
                let (run, cost) = self.for_either(scope, s)?;
                Ok((Some(run), cost))
            }
            Stmt::Let { var, value } => self.let_(scope, *var, value),
            Stmt::Var { var, value } => self.var(scope, *var, value),
            Stmt::Assign { var, value } => {
                let (run, cost) = self.assign(scope, *var, value)?;
                Ok((Some(run), cost))
            }
            Stmt::Store { buffer, index, value } => {
                let mem = scope.mem(*buffer)?;
                let index = self.int(scope, index)?;
                self.touch(true, mem, &index);
                let (run, cost) = match Ty::of(mem.elem) {
                    Ty::F32 => {
                        let value = self.float(scope, value)?;
                        (self.store_float(mem, index.kind, value.kind, site), index.cost + value.cost)
                    }
                    _ => {
                        let value = self.int(scope, value)?;
                        (self.store(mem, index.kind, value.kind, site), index.cost + value.cost)
                    }
                };
                Ok((Some(run), cost + self.pass()))
            }
            Stmt::If { cond, then, els } => {
                let cond = self.int(scope, cond)?;
                let IntKind::Uniform(c) = cond.kind else { return Err(No) };
                let c = c.code();
                let (then, a) = self.block(scope, then)?;
                let (els, b) = self.block(scope, els)?;
                let run: Run = Box::new(move |env| if c(env) != 0 { then(env) } else { els(env) });
                Ok((Some(run), cond.cost + a.max(b)))
            }
            Stmt::Call { kernel, args } => {
                if self.vector.is_some() {
                    return Err(No);
                }
                let (run, cost) = self.call(scope, kernel, args, site)?;
                Ok((Some(run), cost))
            }
        }
    }

    /// Expected cost of one pass over the lanes, or of one scalar operation.
    pub(crate) fn pass(&self) -> f64 {
        self.vector.as_ref().map_or(3.0, |v| 8.0 + 0.6 * v.lanes)
    }

    fn let_(&mut self, scope: &mut Scope<'_>, var: VarId, value: &Expr) -> Result<(Option<Run>, f64), No> {
        if scope.ty(value) == Ty::F32 {
            let FloatCode { kind, cost } = self.float(scope, value)?;
            let (bind, run) = self.hold_float(kind);
            scope.bind(var, bind, Interval::of(Ty::F32));
            return Ok((run, cost));
        }
        let code = self.int(scope, value)?;
        let (range, cost) = (code.range, code.cost);
        let (bind, run) = self.hold(code);
        scope.bind(var, bind, range);
        Ok((run, cost))
    }

    /// Keeps an integer under a name that does not change: in a slot, or as the sum it is.
    pub(crate) fn hold(&mut self, code: IntCode) -> (Bind, Option<Run>) {
        let fixed = |c: &Compiler, a: &Affine| {
            a.terms.iter().all(|&(slot, _)| !matches!(c.roots[slot], Root::Mutable))
        };
        match code.kind {
            IntKind::Uniform(Int::Affine(a)) if a.terms.len() < 2 && fixed(self, &a) => (Bind::Int(a), None),
            IntKind::Uniform(v) => {
                let root = match &v {
                    Int::Affine(a) if fixed(self, a) => Root::Sum(a.clone()),
                    _ => Root::Symbol,
                };
                let slot = self.int_slot(root, code.range);
                let f = v.code();
                (Bind::Int(Affine::symbol(slot)), Some(Box::new(move |env| env.ints[slot] = f(env))))
            }
            IntKind::Linear(a, k) if fixed(self, &a) => (Bind::Linear(a, k), None),
            kind => {
                let slot = self.int_lanes();
                (Bind::IntLanes(slot), Some(lanes::fill_slot(slot, kind.lane())))
            }
        }
    }
    pub(crate) fn hold_float(&mut self, kind: FloatKind) -> (Bind, Option<Run>) {
        match kind {
            FloatKind::Uniform(Float::Constant(v)) => (Bind::Constant(v), None),
            FloatKind::Uniform(v) => {
                let slot = self.float_slot();
                let f = v.code();
                (Bind::Float(slot), Some(Box::new(move |env| env.floats[slot] = f(env))))
            }
            kind => {
                let slot = self.float_lanes();
                (Bind::FloatLanes(slot), Some(lanes::fill_float_slot(slot, kind)))
            }
        }
    }

    fn var(&mut self, scope: &mut Scope<'_>, var: VarId, value: &Expr) -> Result<(Option<Run>, f64), No> {
        let ty = scope.ty(value);
        let in_lanes = self.vector.is_some();
        let (bind, run, cost): (Bind, Run, f64) = if ty == Ty::F32 {
            let value = self.float(scope, value)?;
            if in_lanes {
                let slot = self.float_lanes();
                (Bind::FloatLanes(slot), lanes::fill_float_slot(slot, value.kind), value.cost + self.pass())
            } else {
                let slot = self.float_slot();
                let f = value.uniform()?.code();
                (Bind::Float(slot), Box::new(move |env| env.floats[slot] = f(env)), 3.0)
            }
        } else {
            let value = self.int(scope, value)?;
            if in_lanes {
                let slot = self.int_lanes();
                let cost = value.cost + self.pass();
                (Bind::IntLanes(slot), lanes::fill_slot(slot, value.kind.lane()), cost)
            } else {
                let slot = self.int_slot(Root::Mutable, Interval::of(ty));
                let f = value.uniform()?.code();
                (Bind::Int(Affine::symbol(slot)), Box::new(move |env| env.ints[slot] = f(env)), 3.0)
            }
        };
        scope.bind(var, bind, Interval::of(ty));
        Ok((Some(run), cost))
    }

    fn assign(&mut self, scope: &mut Scope<'_>, var: VarId, value: &Expr) -> Result<(Run, f64), No> {
        let (bind, _) = scope.binds[var.0 as usize].clone().ok_or(No)?;
        let site = self.site();
        match bind {
            Bind::Carried => self.carry(scope, var, value),
            Bind::Int(a) => {
                let [(slot, 1)] = a.terms[..] else { return Err(No) };
                let value = self.int(scope, value)?;
                let cost = value.cost;
                let f = value.uniform()?.code();
                Ok((Box::new(move |env| env.ints[slot] = f(env)), cost + 1.0))
            }
            Bind::Float(slot) => {
                let value = self.float(scope, value)?;
                let cost = value.cost;
                let f = value.uniform()?.code();
                Ok((Box::new(move |env| env.floats[slot] = f(env)), cost + 1.0))
            }
            Bind::IntLanes(slot) => {
                let ty = scope.vars[var.0 as usize].ty;
                let temp = self.int_lanes();
                if let Some((op, e)) = accumulates(var, value, ty) {
                    let b = self.int(scope, e)?;
                    let cost = b.cost + self.pass();
                    let b = b.kind.lane();
                    return Ok((
                        Box::new(move |env| {
                            let mut acc = std::mem::take(&mut env.lane_ints[slot]);
                            let n = env.lanes;
                            lanes::int_assign(op, ty, env, &mut acc[..n], &b, temp, false, site);
                            env.lane_ints[slot] = acc;
                        }),
                        cost,
                    ));
                }
                let value = self.int(scope, value)?;
                let cost = value.cost + self.pass();
                let lane = value.kind.lane();
                Ok((
                    Box::new(move |env| {
                        let t = lanes::filled(&lane, env, temp, env.lanes);
                        env.lane_ints[temp] = std::mem::replace(&mut env.lane_ints[slot], t);
                    }),
                    cost,
                ))
            }
            Bind::FloatLanes(slot) => {
                let temp = self.float_lanes();
                if let Some((op, e)) = accumulates(var, value, Ty::F32) {
                    let b = self.float(scope, e)?;
                    let cost = b.cost + self.pass();
                    let b = b.kind.lane();
                    return Ok((
                        Box::new(move |env| {
                            let mut acc = std::mem::take(&mut env.lane_floats[slot]);
                            let n = env.lanes;
                            lanes::float_assign(op, env, &mut acc[..n], &b, temp);
                            env.lane_floats[slot] = acc;
                        }),
                        cost,
                    ));
                }
                let value = self.float(scope, value)?;
                let cost = value.cost + self.pass();
                let lane = value.kind.lane();
                Ok((
                    Box::new(move |env| {
                        let t = lanes::filled_float(&lane, env, temp, env.lanes);
                        env.lane_floats[temp] = std::mem::replace(&mut env.lane_floats[slot], t);
                    }),
                    cost,
                ))
            }
            Bind::Linear(..) | Bind::Constant(_) => Err(No),
        }
    }

    // Stores and calls.

    fn store(&mut self, mem: Mem, index: IntKind, value: IntKind, site: Site) -> Run {
        match (index, value) {
            (IntKind::Uniform(i), IntKind::Uniform(v)) => {
                let (i, v) = (i.code(), v.code());
                with_integer!(mem.elem, T => Box::new(move |env: &mut Env| {
                    let value = v(env);
                    let index = i(env);
                    if !T::fits(value) {
                        return env.fail(site, crate::program::machine::env::Fault::Store, value);
                    }
                    match mem.at(env, index, T::SIZE) {
                        Some(at) => T::put(&mut env.memory.regions[mem.region], at, value),
                        None => env.fail(site, crate::program::machine::env::Fault::Index, index),
                    }
                }), float => Box::new(|_| {}))
            }
            (index, value) => {
                let target = self.target(index);
                let (value, temp) = (value.lane(), self.int_lanes());
                Box::new(move |env| {
                    let n = env.lanes;
                    let t = lanes::filled(&value, env, temp, n);
                    lanes::store(env, mem, &target, &t[..n], site);
                    env.lane_ints[temp] = t;
                })
            }
        }
    }
    fn store_float(&mut self, mem: Mem, index: IntKind, value: FloatKind, site: Site) -> Run {
        match (index, value) {
            (IntKind::Uniform(i), FloatKind::Uniform(v)) => {
                let (i, v) = (i.code(), v.code());
                Box::new(move |env| {
                    let value = v(env);
                    let index = i(env);
                    match mem.at(env, index, 4) {
                        Some(at) => put_f32(&mut env.memory.regions[mem.region], at, value),
                        None => env.fail(site, crate::program::machine::env::Fault::Index, index),
                    }
                })
            }
            (index, value) => {
                let target = self.target(index);
                let (value, temp) = (value.lane(), self.float_lanes());
                Box::new(move |env| {
                    let n = env.lanes;
                    let t = lanes::filled_float(&value, env, temp, n);
                    lanes::store_float(env, mem, &target, &t[..n], site);
                    env.lane_floats[temp] = t;
                })
            }
        }
    }
    fn target(&mut self, index: IntKind) -> Target {
        match index {
            IntKind::Uniform(v) => Target::Strided(v.code(), 0),
            IntKind::Linear(a, k) => Target::Strided(Int::Affine(a).code(), k),
            kind => Target::Scattered(kind.lane(), self.int_lanes()),
        }
    }

    fn call(
        &mut self,
        scope: &mut Scope<'_>,
        callee: &Kernel,
        args: &[CallArg],
        site: Site,
    ) -> Result<(Run, f64), No> {
        let mut before: Vec<Run> = Vec::new();
        let mut bound = Vec::new();
        for (arg, param) in args.iter().zip(&callee.params) {
            bound.push(match (arg, &param.kind) {
                (CallArg::Scalar(e), ParamKind::Scalar { lo, hi }) => {
                    let code = self.int(scope, e)?;
                    let declared = Interval::new(*lo, *hi);
                    let slot = self.int_slot(Root::Symbol, declared);
                    let f = code.uniform()?.code();
                    let (lo, hi) = (i64::from(*lo), i64::from(*hi));
                    before.push(Box::new(move |env| {
                        let v = f(env);
                        if !(lo..=hi).contains(&v) {
                            env.fail(site, crate::program::machine::env::Fault::Scalar, v);
                        }
                        env.ints[slot] = v;
                    }));
                    Bound::Scalar(Affine::symbol(slot), declared)
                }
                (CallArg::Slice { buffer, offset }, ParamKind::Buffer { len, .. }) => {
                    let mem = scope.mem(*buffer)?;
                    let code = self.int(scope, offset)?;
                    let slot = self.int_slot(Root::Mutable, Interval::of(Ty::I64));
                    let f = code.uniform()?.code();
                    let (len, size) = (*len, mem.elem.size());
                    before.push(Box::new(move |env| {
                        let at = f(env);
                        let fits = at >= 0 && at as u64 + len as u64 <= mem.len as u64;
                        if !fits {
                            env.fail(site, crate::program::machine::env::Fault::Slice, at);
                        }
                        let at = if fits { at as usize } else { 0 };
                        env.ints[slot] = (mem.base(env) + at * size) as i64;
                    }));
                    Bound::Buffer(Mem { base: Base::Slot(slot), len, ..mem })
                }
                _ => return Err(No),
            });
        }
        let (run, cost) = self.kernel(callee, bound)?;
        let run: Run = Box::new(move |env| {
            before.iter().for_each(|f| f(env));
            if env.failure.is_none() {
                run(env);
            }
        });
        Ok((run, cost + 5.0 * args.len() as f64))
    }
}
