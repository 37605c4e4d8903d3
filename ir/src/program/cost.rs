//! What a kernel costs before it runs: operations counted from the loop bounds, and cycles
//! predicted from a core's table.
//!
//! In: a kernel or a step, with what its scalars are. Out: a [`Count`]; with a core's
//! [`Cost`](secateur_targets::Cost), cycles. A loop whose bounds depend on outer variables turns
//! as often as the middle of its interval says; of two branches the dearer one is taken.
//! Law: a model to compare choices with. It knows neither registers nor the compiler's own
//! tricks, and never decides what is right.

use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::{BinOp, CallArg, Expr, Kernel, ParamId, ParamKind, Stmt, Ty, UnOp, VarId};
use crate::program::{Arg, Step};
use secateur_targets::Cost;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Operations executed, on average over what is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Count {
    pub loads: f64,
    pub stores: f64,
    /// Adds, logic, shifts, comparisons, minima of 32-bit integers; 64-bit ones count twice.
    pub alu: f64,
    /// 32-bit products.
    pub multiplies: f64,
    /// 64-bit products.
    pub long_multiplies: f64,
    pub divides: f64,
    pub float_ops: f64,
    pub float_divides: f64,
    /// Exponentials and the like.
    pub functions: f64,
    /// Turns of loops, and conditions.
    pub branches: f64,
    pub calls: f64,
    /// 64-bit divisions, which no 32-bit core has an instruction for.
    pub long_divides: f64,
    /// Loops that only store one constant, which compilers call `memset` for, and their bytes.
    pub fills: f64,
    pub filled: f64,
    /// Cycles of native kernels, their entry and return included.
    pub native: f64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, o: Count) {
        self.add(o, 1.0);
    }
}

/// Float operations of one exponential or other polynomial, and cycles of a float operation in
/// software; both typical.
const FUNCTION: f64 = 20.0;
const SOFT_FLOAT: f64 = 60.0;
/// Cycles of a 64-bit product and of a division where the core has no instruction for it.
const SOFT_LONG: f64 = 20.0;
const SOFT_DIVIDE: f64 = 40.0;
/// Cycles of a 64-bit division in software, and those of a call of `memset` beside its stores.
const SOFT_LONG_DIVIDE: f64 = 100.0;
const FILL: f64 = 40.0;
/// What each further instruction that may start in a cycle gains in code as compilers order it.
const FURTHER_ISSUE: f64 = 0.3;

impl Count {
    fn add(&mut self, o: Count, times: f64) {
        self.loads += o.loads * times;
        self.stores += o.stores * times;
        self.alu += o.alu * times;
        self.multiplies += o.multiplies * times;
        self.long_multiplies += o.long_multiplies * times;
        self.divides += o.divides * times;
        self.float_ops += o.float_ops * times;
        self.float_divides += o.float_divides * times;
        self.functions += o.functions * times;
        self.branches += o.branches * times;
        self.calls += o.calls * times;
        self.long_divides += o.long_divides * times;
        self.fills += o.fills * times;
        self.filled += o.filled * times;
        self.native += o.native * times;
    }
    fn total(&self) -> f64 {
        self.loads
            + self.stores
            + self.alu
            + self.multiplies
            + self.long_multiplies
            + self.divides
            + self.float_ops
            + self.float_divides
            + FUNCTION * self.functions
            + self.branches
            + self.calls
            + SOFT_LONG_DIVIDE * self.long_divides
            + FILL * self.fills
            + self.filled / 4.0
            + self.native
    }
    /// Cycles on a core, from memory without wait states.
    pub fn cycles(&self, core: &Cost) -> f64 {
        let or = |have: Option<f32>, soft: f64| have.map_or(soft, f64::from);
        let float = or(core.float, SOFT_FLOAT);
        let alu = f64::from(core.alu);
        // Half of the loads follow another one.
        let load = (f64::from(core.load) + f64::from(core.load_next)) / 2.0 + f64::from(core.load_use) / 2.0;
        let counting = if core.low_overhead_loops { 0.0 } else { 2.0 * alu };
        (self.loads * load
            + self.stores * f64::from(core.store)
            + self.alu * alu
            + self.multiplies * f64::from(core.mul)
            + self.long_multiplies * or(core.mul_long, SOFT_LONG)
            + self.divides * or(core.div, SOFT_DIVIDE)
            + (self.float_ops + FUNCTION * self.functions) * float
            + self.float_divides * or(core.float_div, SOFT_FLOAT)
            // A loop counts and compares, if its core does not, and jumps.
            + self.branches * (f64::from(core.branch_taken) + counting)
            + self.calls * 2.0 * f64::from(core.call))
            / (1.0 + FURTHER_ISSUE * f64::from(core.issue.max(1) - 1))
            + SOFT_LONG_DIVIDE * self.long_divides
            + FILL * self.fills
            // A word a store, in loops of three.
            + self.filled / 4.0 * (f64::from(core.store) + (alu + f64::from(core.branch_taken)) / 3.0)
            + self.native
    }
}

/// Operations of one call, scalars anywhere in their range.
pub fn count(kernel: &Kernel) -> Count {
    count_with(kernel, &BTreeMap::new())
}

/// Operations of a step.
pub fn count_step(step: &Step) -> Count {
    let scalars = step.args.iter().zip(0..).filter_map(|(arg, i)| match arg {
        Arg::Scalar(v) => Some((ParamId(i), Interval::point(*v))),
        _ => None,
    });
    count_with(&step.kernel, &scalars.collect())
}

/// Bytes of machine code of the native kernels that a kernel calls, each kernel once.
pub fn native_bytes(kernel: &Kernel) -> usize {
    natives(kernel).iter().map(|n| n.bytes as usize).sum()
}

/// The natives of a kernel and of those that it calls, each once.
pub fn natives(kernel: &Kernel) -> Vec<&crate::kernel::Native> {
    native_kernels(kernel).iter().filter_map(|k| k.native.first()).collect()
}

/// The kernels with a native among a kernel and those that it calls, each once.
pub fn native_kernels(kernel: &Kernel) -> Vec<&Kernel> {
    fn collect<'a>(kernel: &'a Kernel, found: &mut Vec<&'a Kernel>) {
        if found.contains(&kernel) {
            return;
        }
        if !kernel.native.is_empty() {
            return found.push(kernel);
        }
        crate::kernel::visit(&kernel.body, &mut |s| {
            if let Stmt::Call { kernel, .. } = s {
                collect(kernel, found);
            }
        });
    }
    let mut found = Vec::new();
    collect(kernel, &mut found);
    found
}

/// Operations of one call, with ranges of some scalar parameters known.
fn count_with(kernel: &Kernel, scalars: &BTreeMap<ParamId, Interval>) -> Count {
    // Kernels carry natives for the one core that they are built for.
    if let Some(native) = kernel.native.first() {
        return Count { native: native.cycles as f64, ..Count::default() };
    }
    let mut cx = Cx { kernel, scalars, vars: BTreeMap::new() };
    cx.block(&kernel.body)
}

struct Cx<'a> {
    kernel: &'a Kernel,
    scalars: &'a BTreeMap<ParamId, Interval>,
    /// Ranges of loop variables and lets.
    vars: BTreeMap<VarId, Interval>,
}

impl Cx<'_> {
    fn block(&mut self, body: &[Stmt]) -> Count {
        let mut sum = Count::default();
        body.iter().for_each(|s| sum += self.stmt(s));
        sum
    }
    fn stmt(&mut self, s: &Stmt) -> Count {
        let mut sum = Count::default();
        match s {
            Stmt::For { var, lo, hi, step, body } => {
                sum += self.expr(lo);
                sum += self.expr(hi);
                let (a, b) = (self.range(lo), self.range(hi));
                let middle = |r: Interval| (r.lo as f64 + r.hi as f64) / 2.0;
                let turns = ((middle(b) - middle(a)) / f64::from(*step)).ceil().max(0.0);
                if let Some(size) = self.fill(*var, *step, body) {
                    sum.fills += 1.0;
                    sum.filled += turns * size as f64;
                    return sum;
                }
                self.vars.insert(*var, Interval { lo: a.lo, hi: (b.hi - 1).max(a.lo) });
                sum.add(self.block(body), turns);
                sum.branches += turns;
            }
            Stmt::Let { var, value } => {
                sum += self.expr(value);
                let range = self.range(value);
                self.vars.insert(*var, range);
            }
            Stmt::Var { value, .. } | Stmt::Assign { value, .. } => sum += self.expr(value),
            Stmt::Store { index, value, .. } => {
                sum += self.index(index);
                sum += self.expr(value);
                sum.stores += 1.0;
            }
            Stmt::If { cond, then, els } => {
                sum += self.expr(cond);
                sum.branches += 1.0;
                let (a, b) = (self.block(then), self.block(els));
                sum += if a.total() >= b.total() { a } else { b };
            }
            Stmt::Call { kernel, args } => {
                sum.calls += 1.0;
                let mut scalars = BTreeMap::new();
                for (arg, i) in args.iter().zip(0..) {
                    match arg {
                        CallArg::Slice { offset, .. } => sum += self.index(offset),
                        CallArg::Scalar(e) => {
                            sum += self.expr(e);
                            scalars.insert(ParamId(i), self.range(e));
                        }
                    }
                }
                sum += count_with(kernel, &scalars);
            }
        }
        sum
    }
    /// Bytes of an element where a loop's body is one store of a constant to the next element.
    fn fill(&self, var: VarId, step: i32, body: &[Stmt]) -> Option<usize> {
        let [Stmt::Store { buffer, index, value: Expr::Int(..) }] = body else { return None };
        let by = affine(index)?.terms.iter().find(|t| t.0 == 2 * var.0 as usize)?.1.abs();
        (by == 1 && step == 1).then_some(self.kernel.buffer(*buffer)?.0.size())
    }
    /// Addresses: a compiler moves what an inner loop does not change out of it and walks a
    /// pointer, so an affine index costs one addition at most.
    fn index(&mut self, e: &Expr) -> Count {
        match affine(e) {
            Some(a) if a.terms.is_empty() => Count::default(),
            Some(_) => Count { alu: 1.0, ..Count::default() },
            None => self.expr(e),
        }
    }
    fn expr(&mut self, e: &Expr) -> Count {
        let mut sum = Count::default();
        match e {
            Expr::Int(..) | Expr::Float(_) | Expr::Var(_) | Expr::Param(_) => {}
            Expr::Load { index, .. } => {
                sum += self.index(index);
                sum.loads += 1.0;
            }
            Expr::Unary(op, a) => {
                sum += self.expr(a);
                match op {
                    UnOp::Neg | UnOp::Abs => sum.float_ops += 1.0,
                    UnOp::Order => sum.alu += 7.0,
                    UnOp::Sqrt => sum.float_divides += 1.0,
                    UnOp::Floor | UnOp::Round => sum.float_ops += 4.0,
                    UnOp::Exp | UnOp::Log | UnOp::Tanh | UnOp::Sigmoid => sum.functions += 1.0,
                }
            }
            Expr::Binary(op, a, b) => {
                sum += self.expr(a);
                sum += self.expr(b);
                self.operation(*op, a, &mut sum);
            }
            Expr::Cast(to, a) => {
                sum += self.expr(a);
                let from = self.ty(a);
                if *to == Ty::F32 || from == Ty::F32 {
                    sum.float_ops += 1.0;
                }
            }
            Expr::Select(c, a, b) => {
                sum += self.expr(c);
                sum += self.expr(a);
                sum += self.expr(b);
                // A comparison is there already; what it chooses takes two more.
                sum.alu += 2.0;
            }
            Expr::Call(instr, args) => {
                args.iter().for_each(|a| sum += self.expr(a));
                // Where a core has it natively it is one instruction; here its body counts.
                let body = Kernel {
                    name: instr.name.clone(),
                    params: Vec::new(),
                    vars: instr.params.clone(),
                    body: Vec::new(),
                    native: Vec::new(),
                };
                let none = BTreeMap::new();
                sum += Cx { kernel: &body, scalars: &none, vars: BTreeMap::new() }.expr(&instr.body);
            }
        }
        sum
    }
    fn operation(&self, op: BinOp, a: &Expr, sum: &mut Count) {
        match (self.ty(a), op) {
            (Ty::F32, BinOp::Div) => sum.float_divides += 1.0,
            (Ty::F32, _) => sum.float_ops += 1.0,
            (Ty::I64, BinOp::Div | BinOp::Rem) => sum.long_divides += 1.0,
            (_, BinOp::Div | BinOp::Rem) => sum.divides += 1.0,
            (Ty::I32, BinOp::Mul) => sum.multiplies += 1.0,
            (_, BinOp::Mul) => sum.long_multiplies += 1.0,
            (Ty::I32, BinOp::Min | BinOp::Max) => sum.alu += 3.0,
            (Ty::I64, op) if op.shifts() => sum.alu += 4.0,
            (Ty::I64, _) => sum.alu += 2.0,
            _ => sum.alu += 1.0,
        }
    }
    fn ty(&self, e: &Expr) -> Ty {
        self.kernel.type_of(e).unwrap_or(Ty::I32)
    }
    fn range(&self, e: &Expr) -> Interval {
        match e {
            Expr::Int(v, _) => Interval::point(*v),
            Expr::Var(v) => self.vars.get(v).copied().unwrap_or(Interval::of(Ty::I32)),
            Expr::Param(p) => self.scalars.get(p).copied().unwrap_or_else(|| {
                match self.kernel.params.get(p.0 as usize).map(|p| &p.kind) {
                    Some(ParamKind::Scalar { lo, hi }) => Interval::new(*lo, *hi),
                    _ => Interval::of(Ty::I32),
                }
            }),
            Expr::Binary(op, a, b) => Interval::binary(*op, self.range(a), self.range(b)),
            _ => Interval::of(Ty::I32),
        }
    }
}

/// The affine form of an index over its variables and parameters.
fn affine(e: &Expr) -> Option<Affine> {
    match e {
        Expr::Int(v, _) => Some(Affine::constant(*v)),
        Expr::Var(v) => Some(Affine::symbol(2 * v.0 as usize)),
        Expr::Param(p) => Some(Affine::symbol(2 * p.0 as usize + 1)),
        Expr::Binary(BinOp::Add, a, b) => affine(a)?.plus(&affine(b)?),
        Expr::Binary(BinOp::Sub, a, b) => affine(a)?.minus(&affine(b)?),
        Expr::Binary(BinOp::Mul, a, b) => {
            let (a, b) = (affine(a)?, affine(b)?);
            if b.terms.is_empty() { a.scaled(b.constant) } else { None }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Access, KernelBuilder, int};
    use crate::tensor::DType;

    #[test]
    fn counts_are_those_of_the_loops() {
        let mut k = KernelBuilder::new("dense");
        let x = k.buffer("x", DType::I8, 64, Access::Read);
        let w = k.buffer("w", DType::I8, 640, Access::Read);
        let y = k.buffer("y", DType::I32, 10, Access::Write);
        k.for_("n", 0, 10, |k, n| {
            let acc = k.var("acc", 0);
            k.for_("i", 0, 64, |k, i| k.add_to(acc, x.at(i) * w.at(n * 64 + i)));
            k.store(y, n, acc);
        });
        let c = count(&k.finish().unwrap());
        assert_eq!((c.loads, c.stores, c.multiplies, c.branches), (1280.0, 10.0, 640.0, 650.0));
        // A turn of the inner loop: one sum, two addresses.
        assert_eq!(c.alu, 640.0 * 3.0 + 10.0);
    }

    #[test]
    fn dependent_loops_count_their_middle() {
        let mut k = KernelBuilder::new("triangle");
        let y = k.buffer("y", DType::I32, 100, Access::Write);
        k.for_("i", 0, 9, |k, i| k.for_("j", int(0).max(i - 20), i + 1, |k, j| k.store(y, i * 9 + j, j)));
        assert_eq!(count(&k.finish().unwrap()).stores, 45.0);
    }

    #[test]
    fn cores_differ_where_their_instructions_do() {
        let mut k = KernelBuilder::new("requantize");
        let x = k.buffer("x", DType::I32, 8, Access::Read);
        let y = k.buffer("y", DType::I32, 8, Access::Write);
        k.for_("i", 0, 8, |k, i| k.store(y, i, ((x.at(i).i64() * 12345i64) >> 31).i32()));
        let c = count(&k.finish().unwrap());
        let cycles = |core: &str| c.cycles(&secateur_targets::core(core).unwrap().cost.unwrap());
        assert!(cycles("cortex-m0plus") > 2.0 * cycles("cortex-m4"));
        assert!(cycles("cortex-m7") <= cycles("cortex-m4"));
    }
}
