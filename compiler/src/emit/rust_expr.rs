//! Expressions in Rust.
//!
//! Law: no panic path. Integers wrap, divisors and shifts that are no literals go through the
//! runtime or are masked, floats are single operations in order.

use super::rust::{Cx, Scope, scalar_type};
use crate::error::{Error, Result, Site};
use crate::kernel::{BinOp, Expr, Ty, UnOp};
use crate::tensor::DType;
use std::fmt::Write;

/// Shortest literal that reads back as the same float; bits where there is none.
pub(super) fn float_literal(x: f32) -> String {
    if x.is_nan() {
        return format!("f32::from_bits(0x{:08x})", x.to_bits());
    }
    if x.is_infinite() {
        return if x > 0.0 { "f32::INFINITY".to_string() } else { "f32::NEG_INFINITY".to_string() };
    }
    format!("{x:?}_f32")
}

fn int_literal(v: i64, ty: Ty) -> String {
    match (v, ty) {
        (i64::MIN, _) => "i64::MIN".to_string(),
        (v, Ty::I32) if v == i64::from(i32::MIN) => "i32::MIN".to_string(),
        (v, ty) => format!("{v}_{}", scalar_type(ty)),
    }
}

impl Cx<'_> {
    pub(super) fn condition(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        match e {
            Expr::Binary(op, a, b) if op.compares() => {
                let sign = match op {
                    BinOp::Lt => "<",
                    BinOp::Le => "<=",
                    BinOp::Gt => ">",
                    BinOp::Ge => ">=",
                    BinOp::Eq => "==",
                    _ => "!=",
                };
                let right = if literal(b) { self.typed(b, scope)? } else { self.atom(b, scope)? };
                Ok(format!("{} {sign} {right}", self.atom(a, scope)?))
            }
            _ => Ok(format!("{} != 0", self.atom(e, scope)?)),
        }
    }

    /// An expression that can stand before `.method()`, `as` and any operator.
    pub(super) fn atom(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        let text = self.expr(e, scope)?;
        let wrap = match e {
            Expr::Select(..) | Expr::Unary(UnOp::Neg, _) => true,
            Expr::Int(..) | Expr::Float(_) => text.starts_with('-'),
            Expr::Cast(to, a) => *to != scope.ranges.ty(a) && !text.starts_with("i64::from("),
            Expr::Binary(op, a, b) => infix(*op, a, b, scope).is_some(),
            _ => false,
        };
        Ok(if wrap { format!("({text})") } else { text })
    }

    /// An expression where the type is known from the place: literals need no suffix.
    pub(super) fn typed(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        match e {
            Expr::Int(v, _) if *v > i32::MIN.into() => Ok(v.to_string()),
            _ => self.expr(e, scope),
        }
    }

    pub(super) fn expr(&self, e: &Expr, scope: &Scope<'_>) -> Result<String> {
        let missing = || Error::internal(Site::Whole, "an expression cannot be printed as Rust");
        Ok(match e {
            Expr::Int(v, ty) => int_literal(*v, *ty),
            Expr::Float(bits) => float_literal(bits.get()),
            Expr::Var(v) => scope.vars.get(v.0 as usize).ok_or_else(missing)?.clone(),
            Expr::Param(p) => scope.params.get(p.0 as usize).ok_or_else(missing)?.clone(),
            Expr::Load { buffer, index } => {
                let load = format!("{}.at({})", scope.params[buffer.0 as usize], self.typed(index, scope)?);
                match scope.ranges.elems[buffer.0 as usize] {
                    Some(DType::I32 | DType::I64 | DType::F32) => load,
                    Some(DType::U32) => format!("i64::from({load})"),
                    Some(DType::U64) => format!("{load}.cast_signed()"),
                    _ => format!("i32::from({load})"),
                }
            }
            Expr::Unary(op, a) => {
                let f = match op {
                    UnOp::Neg => return Ok(format!("-{}", self.atom(a, scope)?)),
                    UnOp::Abs => "abs",
                    UnOp::Sqrt => "sqrt",
                    UnOp::Exp => "exp",
                    UnOp::Log => "log",
                    UnOp::Tanh => "tanh",
                    UnOp::Sigmoid => "sigmoid",
                    UnOp::Floor => "floor",
                    UnOp::Round => "round_half_even",
                    UnOp::Order => "order",
                };
                format!("math::{f}({})", self.expr(a, scope)?)
            }
            Expr::Binary(op, ..) if op.compares() => format!("i32::from({})", self.condition(e, scope)?),
            Expr::Binary(op, a, b) => {
                if let Some(sign) = infix(*op, a, b, scope) {
                    let right = if literal(b) { self.typed(b, scope)? } else { self.atom(b, scope)? };
                    return Ok(format!("{} {sign} {right}", self.atom(a, scope)?));
                }
                let ty = scope.ranges.ty(a);
                let right = self.typed(b, scope)?;
                let method = |name: &str| -> Result<String> {
                    Ok(format!("{}.{name}({right})", self.atom(a, scope)?))
                };
                let function = |path: &str| -> Result<String> {
                    Ok(format!("{path}({}, {right})", self.expr(a, scope)?))
                };
                let shift = |name: &str| -> Result<String> {
                    Ok(format!("{}.{name}({} as u32)", self.atom(a, scope)?, self.atom(b, scope)?))
                };
                match op {
                    BinOp::Min if ty == Ty::F32 => function("math::min")?,
                    BinOp::Max if ty == Ty::F32 => function("math::max")?,
                    BinOp::Add => method("wrapping_add")?,
                    BinOp::Sub => method("wrapping_sub")?,
                    BinOp::Mul => method("wrapping_mul")?,
                    BinOp::Min | BinOp::Max if self.module.thumb_1 => {
                        let name = if *op == BinOp::Min { "min" } else { "max" };
                        let suffix = if ty == Ty::I64 { "64" } else { "" };
                        let near = if self.module.near(*op, a, b, scope.ranges) { "_near" } else { "" };
                        function(&format!("::secateur::{name}{suffix}{near}"))?
                    }
                    BinOp::Min => method("min")?,
                    BinOp::Max => method("max")?,
                    BinOp::Div if ty == Ty::I64 => function("::secateur::div64")?,
                    BinOp::Rem if ty == Ty::I64 => function("::secateur::rem64")?,
                    BinOp::Div => function("::secateur::div")?,
                    BinOp::Rem => function("::secateur::rem")?,
                    BinOp::Shr => shift("wrapping_shr")?,
                    BinOp::Shl => shift("wrapping_shl")?,
                    _ => return Err(missing()),
                }
            }
            Expr::Cast(to, a) => {
                let from = scope.ranges.ty(a);
                match (from, *to) {
                    (from, to) if from == to => self.atom(a, scope)?,
                    (Ty::I32, Ty::I64) => format!("i64::from({})", self.expr(a, scope)?),
                    (_, to) => format!("{} as {}", self.atom(a, scope)?, scalar_type(to)),
                }
            }
            Expr::Select(c, a, b) => format!(
                "if {} {{ {} }} else {{ {} }}",
                self.condition(c, scope)?,
                self.expr(a, scope)?,
                self.expr(b, scope)?
            ),
            Expr::Call(instr, args) => {
                let args: Result<Vec<String>> = args.iter().map(|a| self.expr(a, scope)).collect();
                format!("self::{}({})", self.module.instr(instr), args?.join(", "))
            }
        })
    }
}

/// The operator's sign, where it can be used as it stands: on floats, on bits, and for literal
/// divisors and shifts, which neither panic nor overflow.
fn infix(op: BinOp, a: &Expr, b: &Expr, scope: &Scope<'_>) -> Option<&'static str> {
    let ty = scope.ranges.ty(a);
    let b = if let Expr::Int(b, _) = b { Some(*b) } else { None };
    let divisor = b.is_some_and(|b| b != 0 && b != -1);
    let amount = b.is_some_and(|b| (0..if ty == Ty::I64 { 64 } else { 32 }).contains(&b));
    match op {
        BinOp::Add if ty == Ty::F32 => Some("+"),
        BinOp::Sub if ty == Ty::F32 => Some("-"),
        BinOp::Mul if ty == Ty::F32 => Some("*"),
        BinOp::Div if ty == Ty::F32 || divisor => Some("/"),
        BinOp::Rem if divisor => Some("%"),
        BinOp::And => Some("&"),
        BinOp::Or => Some("|"),
        BinOp::Xor => Some("^"),
        BinOp::Shl if amount => Some("<<"),
        BinOp::Shr if amount => Some(">>"),
        _ => None,
    }
}

pub(super) fn literal(e: &Expr) -> bool {
    matches!(e, Expr::Int(..))
}

/// A byte string literal.
pub(super) fn byte_string(bytes: &[u8]) -> String {
    let mut o = String::with_capacity(bytes.len() * 3 + 3);
    o.push_str("b\"");
    for &b in bytes {
        match b {
            0 => o.push_str("\\0"),
            b'"' => o.push_str("\\\""),
            b'\\' => o.push_str("\\\\"),
            0x20..=0x7e => o.push(char::from(b)),
            _ => {
                let _ = write!(o, "\\x{b:02x}");
            }
        }
    }
    o.push('"');
    o
}
