//! Writing kernels: lowering code says loops, loads and stores, out comes a checked,
//! simplified [`Kernel`].
//!
//! Law: a kernel that leaves [`KernelBuilder::finish`] is well formed (`verify`). Integer
//! literals take the type of the other side, so `acc64 + 1` and `index + 1` both work.
//!
//! ```
//! use secateur_ir::kernel::{Access, KernelBuilder};
//! use secateur_ir::tensor::DType;
//! let mut k = KernelBuilder::new("sum_s8");
//! let x = k.buffer("x", DType::I8, 16, Access::Read);
//! let y = k.buffer("y", DType::I32, 1, Access::Write);
//! let zero = k.scalar("zero", -128, 127);
//! let acc = k.var("acc", 0);
//! k.for_("i", 0, 16, |k, i| k.add_to(acc, x.at(i) - zero));
//! k.store(y, 0, acc);
//! let kernel = k.finish().unwrap();
//! assert_eq!(kernel.params.len(), 3);
//! ```

use super::verify::{type_of, verify};
use super::{
    Access, BinOp, CallArg, Expr, F32Bits, Instr, Kernel, Native, Param, ParamId, ParamKind, Stmt, Ty, UnOp,
    Var, VarId, simplify,
};
use crate::error::{Error, Result, Site};
use crate::tensor::DType;
use std::sync::Arc;

/// A buffer parameter under construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buf {
    pub param: ParamId,
    pub elem: DType,
    pub len: usize,
}

impl Buf {
    /// Loads one element.
    pub fn at(self, index: impl Into<Expr>) -> Expr {
        Expr::Load { buffer: self.param, index: Box::new(index.into()) }
    }
    /// The buffer from an element offset on, as an argument of a call.
    pub fn from(self, offset: impl Into<Expr>) -> CallArg {
        CallArg::Slice { buffer: self.param, offset: offset.into() }
    }
}

/// A named scalar: loop variable, `let`, mutable variable or scalar parameter. Cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Val {
    Var(VarId),
    Param(ParamId),
}

impl From<Val> for Expr {
    fn from(v: Val) -> Expr {
        match v {
            Val::Var(id) => Expr::Var(id),
            Val::Param(id) => Expr::Param(id),
        }
    }
}
impl From<&Val> for Expr {
    fn from(v: &Val) -> Expr {
        (*v).into()
    }
}
impl From<&Expr> for Expr {
    fn from(e: &Expr) -> Expr {
        e.clone()
    }
}
impl From<i32> for Expr {
    fn from(v: i32) -> Expr {
        Expr::Int(v.into(), Ty::I32)
    }
}
impl From<i64> for Expr {
    fn from(v: i64) -> Expr {
        Expr::Int(v, Ty::I64)
    }
}
/// Sizes and strides; `verify` refuses what does not fit 32 bits.
impl From<usize> for Expr {
    fn from(v: usize) -> Expr {
        Expr::Int(i64::try_from(v).unwrap_or(i64::MAX), Ty::I32)
    }
}
impl From<f32> for Expr {
    fn from(v: f32) -> Expr {
        Expr::Float(F32Bits(v.to_bits()))
    }
}

fn binary(op: BinOp, a: Expr, b: Expr) -> Expr {
    Expr::Binary(op, Box::new(a), Box::new(b))
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident),*) => { $(
        impl<R: Into<Expr>> std::ops::$trait<R> for Expr {
            type Output = Expr;
            fn $method(self, other: R) -> Expr { binary(BinOp::$op, self, other.into()) }
        }
        impl<R: Into<Expr>> std::ops::$trait<R> for &Expr {
            type Output = Expr;
            fn $method(self, other: R) -> Expr { binary(BinOp::$op, self.clone(), other.into()) }
        }
        impl<R: Into<Expr>> std::ops::$trait<R> for Val {
            type Output = Expr;
            fn $method(self, other: R) -> Expr { binary(BinOp::$op, self.into(), other.into()) }
        }
    )* };
}
operators!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div, Rem rem Rem, Shl shl Shl, Shr shr Shr,
    BitAnd bitand And, BitOr bitor Or, BitXor bitxor Xor);

impl std::ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::Unary(UnOp::Neg, Box::new(self))
    }
}
impl std::ops::Neg for Val {
    type Output = Expr;
    fn neg(self) -> Expr {
        -Expr::from(self)
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $op:ident),* $(,)?) => { $(
        $(#[$doc])*
        pub fn $name(&self, other: impl Into<Expr>) -> Expr {
            binary(BinOp::$op, self.into(), other.into())
        }
    )* };
}
macro_rules! functions {
    ($($name:ident $op:ident),* $(,)?) => { $(
        /// The function of one float (see [`UnOp`]).
        pub fn $name(&self) -> Expr {
            Expr::Unary(UnOp::$op, Box::new(self.into()))
        }
    )* };
}
macro_rules! scalar_methods {
    ($($type:ty),*) => { $(
        impl $type {
            methods!(
                /// `if b < a { b } else { a }`.
                min Min,
                /// `if a < b { b } else { a }`.
                max Max,
                /// 1 where less, else 0.
                lt Lt,
                /// 1 where less or equal, else 0.
                le Le,
                /// 1 where greater, else 0.
                gt Gt,
                /// 1 where greater or equal, else 0.
                ge Ge,
                /// 1 where equal, else 0.
                equals Eq,
                /// 1 where unequal, else 0.
                differs Ne,
                /// Bitwise; on comparisons the logical and (both sides are evaluated).
                and And,
                /// Bitwise; on comparisons the logical or (both sides are evaluated).
                or Or,
            );
            functions!(abs Abs, sqrt Sqrt, exp Exp, log Log, tanh Tanh, sigmoid Sigmoid, floor Floor, round Round,
                order Order);
            /// `max` with `lo`, then `min` with `hi`.
            pub fn clamp(&self, lo: impl Into<Expr>, hi: impl Into<Expr>) -> Expr {
                self.max(lo).min(hi)
            }
            /// `self != 0 ? then : els`.
            pub fn select(&self, then: impl Into<Expr>, els: impl Into<Expr>) -> Expr {
                Expr::Select(Box::new(self.into()), Box::new(then.into()), Box::new(els.into()))
            }
            /// To another scalar type.
            pub fn cast(&self, ty: Ty) -> Expr {
                Expr::Cast(ty, Box::new(self.into()))
            }
            /// Cast to `I32`.
            pub fn i32(&self) -> Expr {
                self.cast(Ty::I32)
            }
            /// Cast to `I64`.
            pub fn i64(&self) -> Expr {
                self.cast(Ty::I64)
            }
            /// Cast to `F32`.
            pub fn f32(&self) -> Expr {
                self.cast(Ty::F32)
            }
        }
    )* };
}
scalar_methods!(Expr, Val);

/// An `I32` constant.
pub fn int(value: i32) -> Expr {
    value.into()
}
/// An `I64` constant.
pub fn long(value: i64) -> Expr {
    value.into()
}
/// An `F32` constant.
pub fn float(value: f32) -> Expr {
    value.into()
}

/// A kernel under construction.
#[derive(Debug)]
pub struct KernelBuilder {
    name: String,
    params: Vec<Param>,
    vars: Vec<Var>,
    /// Open statement lists, innermost last.
    blocks: Vec<Vec<Stmt>>,
    native: Vec<Native>,
    /// The first mistake; `finish` reports it.
    mistake: Option<String>,
}

impl KernelBuilder {
    pub fn new(name: impl Into<String>) -> Self {
        KernelBuilder {
            name: name.into(),
            params: Vec::new(),
            vars: Vec::new(),
            blocks: vec![Vec::new()],
            native: Vec::new(),
            mistake: None,
        }
    }
    /// Adds a buffer parameter of `len` elements.
    pub fn buffer(&mut self, name: &str, elem: DType, len: usize, access: Access) -> Buf {
        let param = self.param(name, ParamKind::Buffer { elem, len, access });
        Buf { param, elem, len }
    }
    /// Adds a 32-bit scalar parameter within `lo..=hi`.
    pub fn scalar(&mut self, name: &str, lo: i32, hi: i32) -> Val {
        Val::Param(self.param(name, ParamKind::Scalar { lo, hi }))
    }
    /// Adds the scalar parameters that a kernel to be called has from parameter `from` on.
    pub fn like(&mut self, callee: &Kernel, from: usize) -> Vec<Val> {
        let rest = callee.params.iter().skip(from);
        let scalars = rest.filter(|p| matches!(p.kind, ParamKind::Scalar { .. }));
        scalars.map(|p| Val::Param(self.param(&p.name, p.kind.clone()))).collect()
    }
    fn param(&mut self, name: &str, kind: ParamKind) -> ParamId {
        self.params.push(Param { name: name.to_string(), kind });
        ParamId(self.params.len() as u32 - 1)
    }
    fn declare(&mut self, name: &str, ty: Ty) -> VarId {
        self.vars.push(Var { name: name.to_string(), ty });
        VarId(self.vars.len() as u32 - 1)
    }
    fn push(&mut self, stmt: Stmt) {
        if let Some(block) = self.blocks.last_mut() {
            block.push(stmt);
        }
    }
    fn block(&mut self, body: impl FnOnce(&mut Self)) -> Vec<Stmt> {
        self.blocks.push(Vec::new());
        body(self);
        self.blocks.pop().unwrap_or_default()
    }
    /// Gives literals the type of what they meet, and the type of the whole.
    fn typed(&mut self, e: impl Into<Expr>, want: Option<Ty>) -> (Expr, Ty) {
        let e = adapt(e.into(), want, &self.params, &self.vars);
        match type_of(&e, &self.params, &self.vars) {
            Ok(ty) => (e, ty),
            Err(why) => {
                self.mistake.get_or_insert(why);
                (e, want.unwrap_or(Ty::I32))
            }
        }
    }
    fn index(&mut self, e: impl Into<Expr>) -> Expr {
        self.typed(e, Some(Ty::I32)).0
    }
    /// `for name in lo..hi`.
    pub fn for_(
        &mut self,
        name: &str,
        lo: impl Into<Expr>,
        hi: impl Into<Expr>,
        body: impl FnOnce(&mut Self, Val),
    ) {
        self.for_step(name, lo, hi, 1, body);
    }
    /// `for name in (lo..hi).step_by(step)`.
    pub fn for_step(
        &mut self,
        name: &str,
        lo: impl Into<Expr>,
        hi: impl Into<Expr>,
        step: i32,
        body: impl FnOnce(&mut Self, Val),
    ) {
        let (lo, hi) = (self.index(lo), self.index(hi));
        let var = self.declare(name, Ty::I32);
        let body = self.block(|k| body(k, Val::Var(var)));
        self.push(Stmt::For { var, lo, hi, step, body });
    }
    /// An immutable scalar; its type is that of the value.
    pub fn let_(&mut self, name: &str, value: impl Into<Expr>) -> Val {
        let (value, ty) = self.typed(value, None);
        let var = self.declare(name, ty);
        self.push(Stmt::Let { var, value });
        Val::Var(var)
    }
    /// A mutable scalar; its type is that of the first value.
    pub fn var(&mut self, name: &str, value: impl Into<Expr>) -> Val {
        let (value, ty) = self.typed(value, None);
        let var = self.declare(name, ty);
        self.push(Stmt::Var { var, value });
        Val::Var(var)
    }
    /// Assigns a mutable scalar.
    pub fn set(&mut self, var: Val, value: impl Into<Expr>) {
        let Val::Var(id) = var else {
            self.mistake.get_or_insert_with(|| "assignment to a parameter".to_string());
            return;
        };
        let want = self.vars.get(id.0 as usize).map(|v| v.ty);
        let (value, _) = self.typed(value, want);
        self.push(Stmt::Assign { var: id, value });
    }
    /// `var = var + value`.
    pub fn add_to(&mut self, var: Val, value: impl Into<Expr>) {
        self.set(var, var + value);
    }
    /// Stores one element.
    pub fn store(&mut self, buffer: Buf, index: impl Into<Expr>, value: impl Into<Expr>) {
        let index = self.index(index);
        let (value, _) = self.typed(value, Some(Ty::of(buffer.elem)));
        self.push(Stmt::Store { buffer: buffer.param, index, value });
    }
    /// Runs the body where the condition is not 0.
    pub fn if_(&mut self, cond: impl Into<Expr>, then: impl FnOnce(&mut Self)) {
        self.if_else(cond, then, |_| {});
    }
    pub fn if_else(
        &mut self,
        cond: impl Into<Expr>,
        then: impl FnOnce(&mut Self),
        els: impl FnOnce(&mut Self),
    ) {
        let (cond, _) = self.typed(cond, Some(Ty::I32));
        let then = self.block(then);
        let els = self.block(els);
        self.push(Stmt::If { cond, then, els });
    }
    /// Calls another kernel: buffers as [`Buf::from`], scalars as [`CallArg::Scalar`].
    pub fn call(&mut self, kernel: &Arc<Kernel>, args: Vec<CallArg>) {
        let args = args
            .into_iter()
            .map(|arg| match arg {
                CallArg::Slice { buffer, offset } => CallArg::Slice { buffer, offset: self.index(offset) },
                CallArg::Scalar(e) => CallArg::Scalar(self.index(e)),
            })
            .collect();
        self.push(Stmt::Call { kernel: kernel.clone(), args });
    }
    /// Adds an implementation for cores that have a feature.
    pub fn native(&mut self, native: Native) {
        self.native.push(native);
    }
    /// Simplifies and checks. A mistake is a defect of the lowering code: `Fault::Internal`.
    pub fn finish(self) -> Result<Arc<Kernel>> {
        let kernel = simplify(self.spelled()?);
        verify(&kernel)?;
        Ok(Arc::new(kernel))
    }
    /// The kernel as it was spelled: checked, not simplified.
    pub fn spelled(self) -> Result<Kernel> {
        let site = Site::Kernel(self.name.clone());
        if let Some(why) = self.mistake {
            return Err(Error::internal(site, why));
        }
        let body = self.blocks.into_iter().next().unwrap_or_default();
        let kernel =
            Kernel { name: self.name, params: self.params, vars: self.vars, body, native: self.native };
        verify(&kernel)?;
        Ok(kernel)
    }
}

/// Applies an instruction.
pub fn instr(instr: &Arc<Instr>, args: Vec<Expr>) -> Expr {
    Expr::Call(instr.clone(), args)
}

/// Retypes integer literals to the type of their surroundings, and spells integer negation
/// as a subtraction (`UnOp` is for floats).
fn adapt(e: Expr, want: Option<Ty>, params: &[Param], vars: &[Var]) -> Expr {
    let go = |e: Expr, want| adapt(e, want, params, vars);
    let ty = |e: &Expr| type_of(e, params, vars).ok();
    match e {
        Expr::Int(v, own) => match want {
            Some(Ty::F32) => Expr::from(v as f32),
            Some(ty) => Expr::Int(v, ty),
            None => Expr::Int(v, own),
        },
        Expr::Load { buffer, index } => Expr::Load { buffer, index: Box::new(go(*index, Some(Ty::I32))) },
        Expr::Unary(op, a) => {
            let a = go(*a, if op == UnOp::Order { Some(Ty::F32) } else { want });
            match (op, ty(&a)) {
                (UnOp::Neg, Some(t @ (Ty::I32 | Ty::I64))) => binary(BinOp::Sub, Expr::Int(0, t), a),
                _ => Expr::Unary(op, Box::new(a)),
            }
        }
        Expr::Binary(op @ (BinOp::Shl | BinOp::Shr), a, b) => binary(op, go(*a, want), go(*b, Some(Ty::I32))),
        Expr::Binary(op, a, b) => {
            let outer = if op.compares() { None } else { want };
            let side = settled(&a, params, vars).or_else(|| settled(&b, params, vars)).or(outer);
            let side = side.or_else(|| ty(&a));
            binary(op, go(*a, side), go(*b, side))
        }
        Expr::Cast(to, a) => Expr::Cast(to, Box::new(go(*a, None))),
        Expr::Select(c, a, b) => {
            let side = settled(&a, params, vars).or_else(|| settled(&b, params, vars)).or(want);
            let side = side.or_else(|| ty(&a));
            Expr::Select(Box::new(go(*c, None)), Box::new(go(*a, side)), Box::new(go(*b, side)))
        }
        Expr::Call(instr, args) => {
            let wants: Vec<Ty> = instr.params.iter().map(|p| p.ty).collect();
            let args = args.into_iter().enumerate().map(|(i, a)| go(a, wants.get(i).copied())).collect();
            Expr::Call(instr, args)
        }
        Expr::Float(_) | Expr::Var(_) | Expr::Param(_) => e,
    }
}

/// The type of an expression, if it comes from more than integer literals.
fn settled(e: &Expr, params: &[Param], vars: &[Var]) -> Option<Ty> {
    let go = |e: &Expr| settled(e, params, vars);
    match e {
        Expr::Int(_, Ty::I32) => None,
        Expr::Int(_, ty) => Some(*ty),
        Expr::Unary(UnOp::Order, _) => Some(Ty::I32),
        Expr::Unary(_, a) => go(a),
        Expr::Binary(op, ..) if op.compares() => Some(Ty::I32),
        Expr::Binary(op, a, _) if op.shifts() => go(a),
        Expr::Binary(_, a, b) | Expr::Select(_, a, b) => go(a).or_else(|| go(b)),
        Expr::Cast(to, _) => Some(*to),
        Expr::Load { buffer: p, .. } => match params.get(p.0 as usize)?.kind {
            ParamKind::Buffer { elem, .. } => Some(Ty::of(elem)),
            ParamKind::Scalar { .. } => None,
        },
        Expr::Call(instr, _) => Some(instr.result),
        Expr::Float(_) | Expr::Var(_) | Expr::Param(_) => type_of(e, params, vars).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(k: KernelBuilder, part: &str) {
        let e = k.finish().unwrap_err();
        assert!(e.to_string().contains(part), "{e}");
    }

    #[test]
    fn literals_take_the_type_of_the_other_side() {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I64, 4, Access::Read);
        let y = k.buffer("y", DType::F32, 4, Access::Write);
        k.for_("i", 0, 4, |k, i| {
            let wide = k.let_("wide", (x.at(i) + 1) * 3);
            k.store(y, i, wide.f32() * 2.0 + 1);
        });
        let kernel = k.finish().unwrap();
        assert_eq!(kernel.vars[1].ty, Ty::I64);
    }

    #[test]
    fn mistakes_are_named() {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::F32, 4, Access::Read);
        k.store(x, 0, 1.0f32);
        refused(k, "read-only");

        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::F32, 4, Access::ReadWrite);
        let v = k.let_("v", x.at(0));
        k.set(v, 1.0f32);
        refused(k, "not mutable");

        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::F32, 4, Access::ReadWrite);
        let mut inner = None;
        k.for_("i", 0, 4, |_, i| inner = Some(i));
        k.store(x, inner.unwrap(), 1.0f32);
        refused(k, "outside of its scope");

        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::F32, 4, Access::ReadWrite);
        k.store(x, 0, x.at(1) + x.at(2).i32());
        refused(k, "Add of F32 and I32");

        let mut k = KernelBuilder::new("two words");
        let x = k.buffer("x", DType::I8, 4, Access::Write);
        k.store(x, 0, 1);
        refused(k, "identifier");

        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, 4, Access::Read);
        let y = k.buffer("y", DType::I8, 4, Access::Write);
        let mut callee = KernelBuilder::new("callee");
        let a = callee.buffer("a", DType::I8, 4, Access::Write);
        callee.store(a, 0, 1);
        let callee = callee.finish().unwrap();
        k.call(&callee, vec![y.from(0)]);
        k.call(&callee, vec![x.from(0)]);
        refused(k, "`x` is Read");
    }

    #[test]
    fn simplified_kernels_are_short() {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, 64, Access::Read);
        let y = k.buffer("y", DType::I32, 64, Access::Write);
        k.for_("n", 0, 1, |k, n| {
            k.for_("i", 0, 8, |k, i| {
                let base = k.let_("base", n * 64 + i * 1 + 0);
                let _unused = k.let_("unused", base * 7);
                k.if_(n.lt(1), |k| k.store(y, base, x.at(base + 1 + 2) * 1));
            });
        });
        let kernel = k.finish().unwrap();
        let mut want = KernelBuilder::new("k");
        let x = want.buffer("x", DType::I8, 64, Access::Read);
        let y = want.buffer("y", DType::I32, 64, Access::Write);
        want.for_("i", 0, 8, |k, i| k.store(y, i, x.at(i + 3)));
        assert_eq!(kernel.body, want.finish().unwrap().body);
    }
}
