//! Expressions in C.
//!
//! Law: no undefined behaviour and no implicit narrowing. An operator stands as it is where
//! nothing can overflow (`range`), else a helper of `secateur.h` stands for it.

use super::c::{Cx, Scope, scalar_type};
use super::range::fits;
use crate::error::{Error, Result, Site};
use crate::kernel::{BinOp, Expr, Ty, UnOp};
use crate::tensor::DType;

/// Shortest text that reads back as the same float; bits where there is none.
pub(super) fn float_literal(x: f32) -> String {
    if !x.is_finite() {
        return format!("secateur_float(0x{:08x}u)", x.to_bits());
    }
    format!("{x:?}f")
}

pub(super) fn int_literal(v: i64, ty: Ty) -> String {
    match (v, ty) {
        (i64::MIN, _) => "INT64_MIN".to_string(),
        (v, Ty::I64) if v < 0 => format!("-INT64_C({})", -v),
        (v, Ty::I64) => format!("INT64_C({v})"),
        (v, _) if v == i64::from(i32::MIN) => "INT32_MIN".to_string(),
        (v, _) => v.to_string(),
    }
}

impl Cx<'_> {
    /// An expression as a truth value.
    pub(super) fn condition(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        match e {
            Expr::Binary(op, ..) if op.compares() => self.expr(e, scope),
            // Both sides are free of effects, so the lazy operators mean the same on 0 and 1.
            Expr::Binary(op @ (BinOp::And | BinOp::Or), a, b) if truth(a) && truth(b) => {
                let sign = if *op == BinOp::And { "&&" } else { "||" };
                let side = |e: &Expr| -> Result<String> { Ok(format!("({})", self.condition(e, scope)?)) };
                Ok(format!("{} {sign} {}", side(a)?, side(b)?))
            }
            _ => Ok(format!("{} != 0", self.atom(e, scope)?)),
        }
    }

    /// An expression that binds tighter than any operator.
    pub(super) fn atom(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        let text = self.expr(e, scope)?;
        let wrap = match e {
            Expr::Select(..) | Expr::Cast(..) => !text.starts_with("secateur_"),
            Expr::Unary(UnOp::Neg, _) => true,
            Expr::Int(..) | Expr::Float(_) => text.starts_with('-'),
            Expr::Binary(op, a, b) => self.plain(*op, a, b, scope).is_some(),
            _ => false,
        };
        Ok(if wrap { format!("({text})") } else { text })
    }

    /// The operator, where it can be used as it stands: on floats, and on integers that do not
    /// leave their type.
    fn plain(&self, op: BinOp, a: &Expr, b: &Expr, scope: &Scope<'_>) -> Option<&'static str> {
        let ty = scope.ranges.ty(a);
        let float = ty == Ty::F32;
        let inside = || float || fits(scope.ranges.exact(op, a, b), ty);
        let (bl, bh) = scope.ranges.range(b);
        let width = if ty == Ty::I64 { 64 } else { 32 };
        match op {
            BinOp::Add if inside() => Some("+"),
            BinOp::Sub if inside() => Some("-"),
            BinOp::Mul if ty == Ty::I64 && self.module.thumb_1 => None,
            BinOp::Mul if inside() => Some("*"),
            BinOp::Div if float || ((bl > 0 || bh < 0) && inside()) => Some("/"),
            BinOp::Rem if !float && (bl > 0 || bh < -1) => Some("%"),
            BinOp::And => Some("&"),
            BinOp::Or => Some("|"),
            BinOp::Xor => Some("^"),
            BinOp::Shr if bl >= 0 && bh < width => Some(">>"),
            BinOp::Lt => Some("<"),
            BinOp::Le => Some("<="),
            BinOp::Gt => Some(">"),
            BinOp::Ge => Some(">="),
            BinOp::Eq => Some("=="),
            BinOp::Ne => Some("!="),
            _ => None,
        }
    }

    pub(super) fn expr(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        let missing = || Error::internal(Site::Whole, "an expression cannot be printed as C");
        Ok(match e {
            Expr::Int(v, ty) => int_literal(*v, *ty),
            Expr::Float(bits) => float_literal(bits.get()),
            Expr::Var(v) => scope.vars.get(v.0 as usize).ok_or_else(missing)?.clone(),
            Expr::Param(p) => scope.params.get(p.0 as usize).ok_or_else(missing)?.clone(),
            Expr::Load { buffer, index } => {
                let load = format!("{}[{}]", scope.params[buffer.0 as usize], self.expr(index, scope)?);
                match scope.ranges.elems[buffer.0 as usize] {
                    Some(DType::U32 | DType::U64) => format!("((int64_t){load})"),
                    _ => load,
                }
            }
            Expr::Unary(op, a) => match op {
                UnOp::Neg => format!("-{}", self.atom(a, scope)?),
                _ => {
                    let f = match op {
                        UnOp::Neg => return Err(missing()),
                        UnOp::Abs => "absf",
                        UnOp::Sqrt => "sqrtf",
                        UnOp::Exp => "expf",
                        UnOp::Log => "logf",
                        UnOp::Tanh => "tanhf",
                        UnOp::Sigmoid => "sigmoidf",
                        UnOp::Floor => "floorf",
                        UnOp::Round => "roundf",
                        UnOp::Order => "order",
                    };
                    format!("secateur_{f}({})", self.expr(a, scope)?)
                }
            },
            Expr::Binary(BinOp::Mul, a, b) if self.module.thumb_1 && scope.ranges.ty(a) == Ty::I64 => {
                let short = |e: &Expr| fits(scope.ranges.range(e), Ty::I32);
                let word = |e: &Expr| match e {
                    Expr::Cast(Ty::I64, inner) if scope.ranges.ty(inner) == Ty::I32 => {
                        self.expr(inner, scope)
                    }
                    Expr::Int(v, _) => Ok(int_literal(*v, Ty::I32)),
                    e => Ok(format!("(int32_t){}", self.atom(e, scope)?)),
                };
                match short(a) && short(b) {
                    true => format!("secateur_product({}, {})", word(a)?, word(b)?),
                    false => format!("secateur_mul64({}, {})", self.expr(a, scope)?, self.expr(b, scope)?),
                }
            }
            Expr::Binary(op, a, b) => match self.plain(*op, a, b, scope) {
                Some(sign) => {
                    // A chain of sums or of products needs no parentheses on its left.
                    let chain = matches!(
                        (op, a.as_ref()),
                        (BinOp::Add | BinOp::Sub, Expr::Binary(BinOp::Add | BinOp::Sub, ..))
                            | (BinOp::Mul, Expr::Binary(BinOp::Mul, ..))
                    );
                    let left = if chain { self.expr(a, scope)? } else { self.atom(a, scope)? };
                    format!("{left} {sign} {}", self.atom(b, scope)?)
                }
                None => {
                    let f = match op {
                        BinOp::Add => "add",
                        BinOp::Sub => "sub",
                        BinOp::Mul => "mul",
                        BinOp::Div => "div",
                        BinOp::Rem => "rem",
                        BinOp::Min => "min",
                        BinOp::Max => "max",
                        BinOp::Shl => "shl",
                        BinOp::Shr => "shr",
                        _ => return Err(missing()),
                    };
                    let suffix = match scope.ranges.ty(a) {
                        Ty::I32 => "",
                        Ty::I64 => "64",
                        Ty::F32 => "f",
                    };
                    let near = if self.module.near(*op, a, b, scope.ranges) { "_near" } else { "" };
                    format!("secateur_{f}{suffix}{near}({}, {})", self.expr(a, scope)?, self.expr(b, scope)?)
                }
            },
            Expr::Cast(to, a) => {
                let from = scope.ranges.ty(a);
                match (from, to) {
                    (Ty::F32, Ty::I32) => format!("secateur_to_i32({})", self.expr(a, scope)?),
                    (Ty::F32, Ty::I64) => format!("secateur_to_i64({})", self.expr(a, scope)?),
                    (from, to) if from == *to => self.expr(a, scope)?,
                    _ => format!("({}){}", scalar_type(*to), self.atom(a, scope)?),
                }
            }
            Expr::Select(c, a, b) => {
                let c = match c.as_ref() {
                    Expr::Var(_) | Expr::Param(_) => format!("{} != 0", self.expr(c, scope)?),
                    _ => self.condition(c, scope)?,
                };
                format!("({c}) ? {} : {}", self.atom(a, scope)?, self.atom(b, scope)?)
            }
            Expr::Call(instr, args) => {
                let args: Result<Vec<String>> = args.iter().map(|a| self.expr(a, scope)).collect();
                format!("{}_{}({})", self.name, self.module.instr(instr), args?.join(", "))
            }
        })
    }
}

/// Whether an expression is 0 or 1 by its form.
fn truth(e: &Expr) -> bool {
    match e {
        Expr::Binary(op, a, b) => {
            op.compares() || (matches!(op, BinOp::And | BinOp::Or) && truth(a) && truth(b))
        }
        _ => false,
    }
}
