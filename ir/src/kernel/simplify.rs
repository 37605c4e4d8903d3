//! Rewrites a kernel into a shorter one of the same meaning: constants folded, neutral
//! operations and dead scalars dropped, loops of one trip unrolled, names made unique.
//!
//! Law: an expression that did not overflow does not overflow afterwards, and float
//! operations keep their order: only exact identities are used on floats.

use super::scalar::{self, Scalar};
use super::verify::type_of;
use super::{BinOp, CallArg, Expr, F32Bits, Kernel, Param, ParamKind, Stmt, Ty, Var, VarId, visit};
use std::collections::{BTreeMap, BTreeSet};

/// Simplifies a well-formed kernel.
pub fn simplify(mut kernel: Kernel) -> Kernel {
    // Each round can expose more (a loop of one trip makes its variable a constant); two or
    // three reach the fixed point on real kernels.
    for _ in 0..8 {
        let mut assigned = BTreeSet::new();
        visit(&kernel.body, &mut |s| {
            if let Stmt::Assign { var, .. } = s {
                assigned.insert(*var);
            }
        });
        let mut cx = Cx { params: &kernel.params, vars: &kernel.vars, assigned, known: BTreeMap::new() };
        let body = cx.block(&kernel.body);
        let body = drop_dead(body);
        let done = body == kernel.body;
        kernel.body = body;
        if done {
            break;
        }
    }
    rename(kernel)
}

struct Cx<'a> {
    params: &'a [Param],
    vars: &'a [Var],
    /// Variables that change after their declaration.
    assigned: BTreeSet<VarId>,
    /// Immutable variables that are a constant, a parameter or another immutable variable.
    known: BTreeMap<VarId, Expr>,
}

impl Cx<'_> {
    fn ty(&self, e: &Expr) -> Option<Ty> {
        type_of(e, self.params, self.vars).ok()
    }
    fn block(&mut self, body: &[Stmt]) -> Vec<Stmt> {
        let mut out = Vec::with_capacity(body.len());
        for s in body {
            self.stmt(s, &mut out);
        }
        out
    }
    fn stmt(&mut self, s: &Stmt, out: &mut Vec<Stmt>) {
        match s {
            Stmt::For { var, lo, hi, step, body } => {
                let (lo, hi) = (self.expr(lo), self.expr(hi));
                if let (Expr::Int(a, _), Expr::Int(b, _)) = (&lo, &hi) {
                    if a >= b {
                        return;
                    }
                    if a + i64::from(*step) >= *b {
                        self.known.insert(*var, lo);
                        out.extend(self.block(body));
                        return;
                    }
                }
                let body = self.block(body);
                if !body.is_empty() {
                    out.push(Stmt::For { var: *var, lo, hi, step: *step, body });
                }
            }
            Stmt::Let { var, value } => {
                let value = self.expr(value);
                let copy = match &value {
                    Expr::Int(..) | Expr::Float(_) | Expr::Param(_) => true,
                    // A mutable variable may change between the copy and its use.
                    Expr::Var(v) => !self.assigned.contains(v),
                    _ => false,
                };
                if copy {
                    self.known.insert(*var, value);
                } else {
                    out.push(Stmt::Let { var: *var, value });
                }
            }
            Stmt::Var { var, value } if self.assigned.contains(var) => {
                out.push(Stmt::Var { var: *var, value: self.expr(value) });
            }
            Stmt::Var { var, value } => self.stmt(&Stmt::Let { var: *var, value: value.clone() }, out),
            Stmt::Assign { var, value } => {
                let value = self.expr(value);
                if value != Expr::Var(*var) {
                    out.push(Stmt::Assign { var: *var, value });
                }
            }
            Stmt::Store { buffer, index, value } => {
                out.push(Stmt::Store { buffer: *buffer, index: self.expr(index), value: self.expr(value) });
            }
            Stmt::If { cond, then, els } => {
                let cond = self.expr(cond);
                if let Expr::Int(c, _) = cond {
                    out.extend(self.block(if c != 0 { then } else { els }));
                    return;
                }
                let (then, els) = (self.block(then), self.block(els));
                if !then.is_empty() || !els.is_empty() {
                    out.push(Stmt::If { cond, then, els });
                }
            }
            Stmt::Call { kernel, args } => {
                let args = args
                    .iter()
                    .map(|a| match a {
                        CallArg::Slice { buffer, offset } => {
                            CallArg::Slice { buffer: *buffer, offset: self.expr(offset) }
                        }
                        CallArg::Scalar(e) => CallArg::Scalar(self.expr(e)),
                    })
                    .collect();
                out.push(Stmt::Call { kernel: kernel.clone(), args });
            }
        }
    }
    fn expr(&self, e: &Expr) -> Expr {
        let e = match e {
            Expr::Var(v) => return self.known.get(v).cloned().unwrap_or_else(|| e.clone()),
            Expr::Param(p) => {
                return match self.params[p.0 as usize].kind {
                    ParamKind::Scalar { lo, hi } if lo == hi => Expr::Int(lo.into(), Ty::I32),
                    _ => e.clone(),
                };
            }
            _ => e.map(&mut |e| self.expr(e)),
        };
        self.fold(e)
    }
    fn fold(&self, e: Expr) -> Expr {
        match e {
            Expr::Unary(op, a) => match *a {
                Expr::Float(x) => literal(scalar::unary(op, x.get())),
                a => Expr::Unary(op, Box::new(a)),
            },
            Expr::Cast(to, a) => {
                if self.ty(&a) == Some(to) {
                    return *a;
                }
                match constant(&a).map(|v| scalar::cast(to, v)) {
                    Some(Ok(v)) => literal(v),
                    _ => Expr::Cast(to, a),
                }
            }
            Expr::Select(c, a, b) => match *c {
                Expr::Int(0, _) => *b,
                Expr::Int(..) => *a,
                _ if a == b => *a,
                c => Expr::Select(Box::new(c), a, b),
            },
            Expr::Binary(op, a, b) => self.binary(op, *a, *b),
            e => e,
        }
    }
    fn binary(&self, op: BinOp, a: Expr, b: Expr) -> Expr {
        if let (Some(x), Some(y)) = (constant(&a), constant(&b)) {
            if let Ok(v) = scalar::binary(op, x, y) {
                return literal(v);
            }
            return make(op, a, b);
        }
        // Constants to the right of what commutes.
        let commutes = matches!(op, BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor);
        if commutes && matches!(a, Expr::Int(..)) {
            return self.binary(op, b, a);
        }
        if let Expr::Float(x) = b {
            return if matches!(op, BinOp::Mul | BinOp::Div) && x.get() == 1.0 { a } else { make(op, a, b) };
        }
        let Expr::Int(c, ty) = b else {
            return match (op, a) {
                (BinOp::Sub, a) if a == b && self.ty(&a).is_some_and(|t| t != Ty::F32) => {
                    Expr::Int(0, self.ty(&a).unwrap_or(Ty::I32))
                }
                (BinOp::Min | BinOp::Max, a) if a == b => a,
                (op, a) => make(op, a, b),
            };
        };
        match (op, a, c) {
            (BinOp::Sub, a, _) if c != i64::MIN && fits(-c, ty) && c != 0 => {
                self.binary(BinOp::Add, a, Expr::Int(-c, ty)).spell_subtraction()
            }
            (BinOp::Add | BinOp::Sub | BinOp::Or | BinOp::Xor | BinOp::Shl | BinOp::Shr, a, 0) => a,
            (BinOp::Mul | BinOp::Div, a, 1) => a,
            (BinOp::Mul | BinOp::And, _, 0) | (BinOp::Rem, _, 1) => Expr::Int(0, ty),
            (BinOp::Add, Expr::Binary(BinOp::Add, x, k), c) => match *k {
                Expr::Int(d, _) if c.checked_add(d).is_some_and(|s| fits(s, ty)) => {
                    self.binary(BinOp::Add, *x, Expr::Int(c + d, ty)).spell_subtraction()
                }
                k => make(op, make(BinOp::Add, *x, k), b),
            },
            (BinOp::Add, Expr::Binary(BinOp::Sub, x, k), c) => match *k {
                Expr::Int(d, _) if c.checked_sub(d).is_some_and(|s| fits(s, ty)) => {
                    self.binary(BinOp::Add, *x, Expr::Int(c - d, ty)).spell_subtraction()
                }
                k => make(op, make(BinOp::Sub, *x, k), b),
            },
            (BinOp::Mul, Expr::Binary(BinOp::Mul, x, k), c) => match *k {
                Expr::Int(d, _) if c.checked_mul(d).is_some_and(|s| fits(s, ty)) => {
                    self.binary(BinOp::Mul, *x, Expr::Int(c * d, ty))
                }
                k => make(op, make(BinOp::Mul, *x, k), b),
            },
            (op, a, _) => make(op, a, b).spell_subtraction(),
        }
    }
}

impl Expr {
    /// `x + (-c)` as `x - c`.
    fn spell_subtraction(self) -> Expr {
        match self {
            Expr::Binary(BinOp::Add, x, k) => match *k {
                Expr::Int(c, ty) if c < 0 && c != i64::MIN && fits(-c, ty) => {
                    make(BinOp::Sub, *x, Expr::Int(-c, ty))
                }
                k => make(BinOp::Add, *x, k),
            },
            e => e,
        }
    }
}

fn make(op: BinOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, Box::new(a), Box::new(b))
}

fn fits(v: i64, ty: Ty) -> bool {
    ty == Ty::I64 || i32::try_from(v).is_ok()
}

fn constant(e: &Expr) -> Option<Scalar> {
    match e {
        Expr::Int(v, Ty::I32) => i32::try_from(*v).ok().map(Scalar::I32),
        Expr::Int(v, Ty::I64) => Some(Scalar::I64(*v)),
        Expr::Float(x) => Some(Scalar::F32(x.get())),
        _ => None,
    }
}

fn literal(v: Scalar) -> Expr {
    match v {
        Scalar::I32(v) => Expr::Int(v.into(), Ty::I32),
        Scalar::I64(v) => Expr::Int(v, Ty::I64),
        Scalar::F32(v) => Expr::Float(F32Bits(v.to_bits())),
    }
}

/// Drops scalars that nothing reads, with their assignments.
fn drop_dead(body: Vec<Stmt>) -> Vec<Stmt> {
    let mut read = BTreeSet::new();
    visit(&body, &mut |s| {
        s.exprs(&mut |e| {
            e.visit(&mut |e| {
                if let Expr::Var(v) = e {
                    read.insert(*v);
                }
            });
        });
    });
    fn go(body: Vec<Stmt>, read: &BTreeSet<VarId>) -> Vec<Stmt> {
        body.into_iter()
            .filter_map(|s| match s {
                Stmt::Let { var, .. } | Stmt::Var { var, .. } | Stmt::Assign { var, .. }
                    if !read.contains(&var) =>
                {
                    None
                }
                Stmt::For { var, lo, hi, step, body } => {
                    Some(Stmt::For { var, lo, hi, step, body: go(body, read) })
                }
                Stmt::If { cond, then, els } => {
                    Some(Stmt::If { cond, then: go(then, read), els: go(els, read) })
                }
                s => Some(s),
            })
            .collect()
    }
    go(body, &read)
}

/// Numbers the variables in order of declaration and gives each a name that nothing in its
/// scope has, so that printers need no shadowing.
fn rename(kernel: Kernel) -> Kernel {
    struct Namer<'a> {
        old: &'a [Var],
        new: Vec<Var>,
        ids: BTreeMap<VarId, VarId>,
        taken: Vec<String>,
    }
    impl Namer<'_> {
        fn declare(&mut self, var: VarId) -> VarId {
            let Var { name, ty } = &self.old[var.0 as usize];
            let mut unique = name.clone();
            let mut n = 1;
            while self.taken.contains(&unique) {
                n += 1;
                unique = format!("{name}_{n}");
            }
            self.taken.push(unique.clone());
            let id = VarId(self.new.len() as u32);
            self.new.push(Var { name: unique, ty: *ty });
            self.ids.insert(var, id);
            id
        }
        fn expr(&self, e: &Expr) -> Expr {
            match e {
                Expr::Var(v) => Expr::Var(self.ids.get(v).copied().unwrap_or(*v)),
                e => e.map(&mut |e| self.expr(e)),
            }
        }
        fn block(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
            let outer = self.taken.len();
            let body = body.into_iter().map(|s| self.stmt(s)).collect();
            self.taken.truncate(outer);
            body
        }
        fn stmt(&mut self, s: Stmt) -> Stmt {
            match s {
                Stmt::For { var, lo, hi, step, body } => {
                    let (lo, hi) = (self.expr(&lo), self.expr(&hi));
                    let outer = self.taken.len();
                    let var = self.declare(var);
                    let body = self.block(body);
                    self.taken.truncate(outer);
                    Stmt::For { var, lo, hi, step, body }
                }
                Stmt::Let { var, value } => {
                    let value = self.expr(&value);
                    Stmt::Let { var: self.declare(var), value }
                }
                Stmt::Var { var, value } => {
                    let value = self.expr(&value);
                    Stmt::Var { var: self.declare(var), value }
                }
                Stmt::Assign { var, value } => {
                    Stmt::Assign { var: self.ids.get(&var).copied().unwrap_or(var), value: self.expr(&value) }
                }
                Stmt::Store { buffer, index, value } => {
                    Stmt::Store { buffer, index: self.expr(&index), value: self.expr(&value) }
                }
                Stmt::If { cond, then, els } => {
                    let cond = self.expr(&cond);
                    Stmt::If { cond, then: self.block(then), els: self.block(els) }
                }
                Stmt::Call { kernel, args } => {
                    let args = args
                        .iter()
                        .map(|a| match a {
                            CallArg::Slice { buffer, offset } => {
                                CallArg::Slice { buffer: *buffer, offset: self.expr(offset) }
                            }
                            CallArg::Scalar(e) => CallArg::Scalar(self.expr(e)),
                        })
                        .collect();
                    Stmt::Call { kernel, args }
                }
            }
        }
    }
    let mut namer = Namer {
        old: &kernel.vars,
        new: Vec::new(),
        ids: BTreeMap::new(),
        taken: kernel.params.iter().map(|p| p.name.clone()).collect(),
    };
    let body = namer.block(kernel.body);
    let vars = namer.new;
    Kernel { vars, body, ..kernel }
}
