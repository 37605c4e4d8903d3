//! The loop language. A [`Kernel`] is a function over buffers: loops, scalars, loads, stores.
//! It is evaluated, proven, costed, and printed as C and as Rust; no loop is written twice.
//!
//! Types: scalars are `I32`, `I64` or `F32`. Loads widen the buffer's element (I8, U8, I16,
//! U16, Bool, I32 to `I32`; U32, I64, U64 to `I64`; F32 to `F32`), stores narrow it: the value
//! must be in the element's range, which the evaluator asserts (U64 wraps).
//! Integer arithmetic must not overflow its type: the evaluator reports it, the emitted code
//! wraps. `Shr` is arithmetic. Division and remainder truncate towards zero as in C and Rust;
//! the divisor is never zero. Comparisons and logic give `I32` 0 or 1; `And`, `Or`, `Xor` are
//! bitwise.
//!
//! The amount of a shift is `I32` whatever is shifted. `Min` is `b < a ? b : a`, `Max` is
//! `a < b ? b : a`, on floats too. Casts to a narrower integer must fit, casts of integers to
//! F32 round to nearest even, casts of F32 to integers truncate, saturate, and take NaN to 0.
//! Which NaN a float operation gives (sign, payload) is open.
//!
//! Law: every index interval is proven from the loop bounds (`prove`), the evaluator asserts it.

pub mod affine;
mod build;
pub mod interval;
pub mod scalar;
mod simplify;
#[cfg(test)]
mod tests;
mod text;
pub mod verify;
mod walk;

pub use build::{Buf, KernelBuilder, Val, float, instr, int, long};
pub use simplify::simplify;
pub use text::{expr as print_expr, head as print_stmt, print};
pub use verify::verify;
pub use walk::visit;

use crate::tensor::DType;
use std::sync::Arc;

/// Type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    I32,
    I64,
    F32,
}

impl Ty {
    /// The scalar type that a load of `elem` gives.
    pub fn of(elem: DType) -> Ty {
        match elem {
            DType::F32 => Ty::F32,
            DType::U32 | DType::I64 | DType::U64 => Ty::I64,
            _ => Ty::I32,
        }
    }
}

/// A parameter of a kernel, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

/// A scalar of a kernel: loop variable, `let` or mutable; index into [`Kernel::vars`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VarId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

/// What a parameter is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// A pointer to at least `len` elements. Buffers may overlap only as the schedule's
    /// in-place rule says: same start, each element read before it is written.
    Buffer { elem: DType, len: usize, access: Access },
    /// A 32-bit scalar that every call passes within `lo..=hi`.
    Scalar { lo: i32, hi: i32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Param {
    pub name: String,
    pub kind: ParamKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Var {
    pub name: String,
    pub ty: Ty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    /// Left shift of an integer by a non-negative constant or scalar below the width.
    Shl,
    /// Arithmetic right shift.
    Shr,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

impl BinOp {
    /// Gives 0 or 1.
    pub fn compares(self) -> bool {
        matches!(self, BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge | BinOp::Eq | BinOp::Ne)
    }
    /// The right side is an amount of bits.
    pub fn shifts(self) -> bool {
        matches!(self, BinOp::Shl | BinOp::Shr)
    }
}

/// Functions of one float, to floats but for [`UnOp::Order`], all from `secateur_runtime::math` and its C twin (bit-identical).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnOp {
    Neg,
    Abs,
    Sqrt,
    Exp,
    Log,
    Tanh,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    Floor,
    /// Round half to even.
    Round,
    /// The integer by which floats compare: `x < y` of floats is `<` of these, zeros apart, of which the
    /// negative one comes first. What is no number is `i32::MAX`.
    Order,
}

impl UnOp {
    /// The type of the result.
    pub fn result(self) -> Ty {
        if self == UnOp::Order { Ty::I32 } else { Ty::F32 }
    }
}

/// A float constant that compares and hashes by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct F32Bits(pub u32);

impl F32Bits {
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// An instruction: a function of scalars whose `body` is its meaning. A core that has it
/// natively spells it by name (`targets/cores/*.toml`); elsewhere the body is printed inline.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Instr {
    pub name: String,
    pub params: Vec<Var>,
    pub result: Ty,
    /// Over `Var(VarId(i))`, i the position of a parameter; no loads.
    pub body: Expr,
}

/// A scalar expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expr {
    Int(i64, Ty),
    Float(F32Bits),
    Var(VarId),
    /// A scalar parameter.
    Param(ParamId),
    Load {
        buffer: ParamId,
        index: Box<Expr>,
    },
    Unary(UnOp, Box<Expr>),
    Binary(BinOp, Box<Expr>, Box<Expr>),
    /// Between scalar types. F32 to integer truncates towards zero and saturates.
    Cast(Ty, Box<Expr>),
    /// `if c != 0 { a } else { b }`; both sides may be evaluated, so both must be valid (the
    /// prover and the evaluator take no guard from the condition).
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    Call(Arc<Instr>, Vec<Expr>),
}

/// An argument of a call from one kernel to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallArg {
    /// The caller's buffer, from an element offset on; the callee's `len` must fit.
    Slice {
        buffer: ParamId,
        offset: Expr,
    },
    Scalar(Expr),
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stmt {
    /// `for var in (lo..hi).step_by(step)`, bounds evaluated once, `step >= 1`; var is I32.
    For {
        var: VarId,
        lo: Expr,
        hi: Expr,
        step: i32,
        body: Vec<Stmt>,
    },
    /// Declares an immutable scalar.
    Let {
        var: VarId,
        value: Expr,
    },
    /// Declares a mutable scalar.
    Var {
        var: VarId,
        value: Expr,
    },
    Assign {
        var: VarId,
        value: Expr,
    },
    Store {
        buffer: ParamId,
        index: Expr,
        value: Expr,
    },
    If {
        cond: Expr,
        then: Vec<Stmt>,
        els: Vec<Stmt>,
    },
    Call {
        kernel: Arc<Kernel>,
        args: Vec<CallArg>,
    },
}

/// A native implementation of a kernel: assembly text for one core feature. The kernel's body
/// stays its meaning and its portable form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Native {
    /// Core feature it needs, as in `targets/cores/*.toml` (`dsp`, `mve`).
    pub feature: String,
    /// Instructions only, in the syntax that GNU as and LLVM share: no label of the function,
    /// no directives. AAPCS: pointers and scalars in parameter order, r0..r3 then stack.
    pub text: String,
    /// Bytes of stack it uses, exact.
    pub stack: u32,
    /// Cycles of one call on the core that the text is ordered for, entry and return included,
    /// from memory without wait states.
    pub cycles: u64,
    /// Bytes of machine code.
    pub bytes: u32,
    /// Its instructions on a model of the core; tests have it.
    pub simulation: Option<Simulation>,
}

/// What runs a native form on a model of its core: takes the arguments of the call and the memory,
/// as address and bytes of each region.
#[derive(Clone)]
pub struct Simulation(pub Simulate);

type Simulate = Arc<dyn Fn(&[u32], &mut Vec<(u32, Vec<u8>)>) + Send + Sync>;

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulation")
    }
}

/// Two natives of one text run alike.
impl PartialEq for Simulation {
    fn eq(&self, _: &Simulation) -> bool {
        true
    }
}

impl Eq for Simulation {}

impl std::hash::Hash for Simulation {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// A function over buffers and scalars.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// `op_dtype_block` by house rule (`conv2d_s8`, `dense_s8_b1x4`); the emitters add what
    /// makes it unique.
    pub name: String,
    pub params: Vec<Param>,
    pub vars: Vec<Var>,
    pub body: Vec<Stmt>,
    /// Implementations for cores that have the feature; the first that fits is taken.
    pub native: Vec<Native>,
}

impl Kernel {
    /// Element type, length and access of a buffer parameter.
    pub fn buffer(&self, id: ParamId) -> Option<(DType, usize, Access)> {
        match self.params.get(id.0 as usize)?.kind {
            ParamKind::Buffer { elem, len, access } => Some((elem, len, access)),
            ParamKind::Scalar { .. } => None,
        }
    }
    /// Name of a parameter; `?` if it does not exist.
    pub fn param_name(&self, id: ParamId) -> &str {
        self.params.get(id.0 as usize).map_or("?", |p| &p.name)
    }
    /// Type of an expression of this kernel, or why it has none.
    pub fn type_of(&self, e: &Expr) -> Result<Ty, String> {
        verify::type_of(e, &self.params, &self.vars)
    }
}
