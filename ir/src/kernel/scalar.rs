//! The arithmetic of the loop language on single scalars: what the evaluator computes and the
//! simplifier folds.
//!
//! Law: integers that leave their type, a zero divisor and a shift out of range are errors;
//! floats are single f32 operations.

use super::{BinOp, Ty, UnOp};
use secateur_runtime::math;

/// A value of a scalar type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    I32(i32),
    I64(i64),
    F32(f32),
}

/// One function of a float: the runtime's own, so that emitted code gives the same bits.
pub fn unary(op: UnOp, x: f32) -> Scalar {
    match op {
        UnOp::Order => Scalar::I32(math::order(x)),
        op => Scalar::F32(real(op, x)),
    }
}

/// One function of a float that gives a float; of [`UnOp::Order`] the operand.
pub fn real(op: UnOp, x: f32) -> f32 {
    match op {
        UnOp::Order => x,
        UnOp::Neg => -x,
        UnOp::Abs => math::abs(x),
        UnOp::Sqrt => math::sqrt(x),
        UnOp::Exp => math::exp(x),
        UnOp::Log => math::log(x),
        UnOp::Tanh => math::tanh(x),
        UnOp::Sigmoid => math::sigmoid(x),
        UnOp::Floor => math::floor(x),
        UnOp::Round => math::round_half_even(x),
    }
}

/// One binary operation; the error says what went wrong.
pub fn binary(op: BinOp, a: Scalar, b: Scalar) -> Result<Scalar, &'static str> {
    match (a, b) {
        (Scalar::I32(a), Scalar::I32(b)) if op.shifts() => {
            let v = shift(op, a.into(), b, 32)?;
            i32::try_from(v).map(Scalar::I32).map_err(|_| "overflow of i32")
        }
        (Scalar::I64(a), Scalar::I32(b)) if op.shifts() => shift(op, a, b, 64).map(Scalar::I64),
        (Scalar::I32(a), Scalar::I32(b)) => {
            let v = integer(op, a.into(), b.into())?;
            i32::try_from(v).map(Scalar::I32).map_err(|_| "overflow of i32")
        }
        (Scalar::I64(a), Scalar::I64(b)) => {
            let v = integer(op, a.into(), b.into())?;
            let v = i64::try_from(v).map_err(|_| "overflow of i64")?;
            Ok(if op.compares() { Scalar::I32(v as i32) } else { Scalar::I64(v) })
        }
        (Scalar::F32(a), Scalar::F32(b)) => float(op, a, b),
        _ => Err("operands of different types"),
    }
}

fn shift(op: BinOp, a: i64, amount: i32, width: i32) -> Result<i64, &'static str> {
    if !(0..width).contains(&amount) {
        return Err("shift amount out of range");
    }
    if op == BinOp::Shr {
        return Ok(a >> amount);
    }
    i64::try_from(i128::from(a) << amount).map_err(|_| "overflow of a left shift")
}

fn integer(op: BinOp, a: i128, b: i128) -> Result<i128, &'static str> {
    Ok(match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a * b,
        BinOp::Div | BinOp::Rem if b == 0 => return Err("division by zero"),
        BinOp::Div => a / b,
        BinOp::Rem => a % b,
        BinOp::Min => a.min(b),
        BinOp::Max => a.max(b),
        BinOp::And => a & b,
        BinOp::Or => a | b,
        BinOp::Xor => a ^ b,
        BinOp::Lt => (a < b).into(),
        BinOp::Le => (a <= b).into(),
        BinOp::Gt => (a > b).into(),
        BinOp::Ge => (a >= b).into(),
        BinOp::Eq => (a == b).into(),
        BinOp::Ne => (a != b).into(),
        BinOp::Shl | BinOp::Shr => return Err("a shift of different types"),
    })
}

fn float(op: BinOp, a: f32, b: f32) -> Result<Scalar, &'static str> {
    let truth = |t: bool| Ok(Scalar::I32(t.into()));
    Ok(Scalar::F32(match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a * b,
        BinOp::Div => a / b,
        BinOp::Min => math::min(a, b),
        BinOp::Max => math::max(a, b),
        BinOp::Lt => return truth(a < b),
        BinOp::Le => return truth(a <= b),
        BinOp::Gt => return truth(a > b),
        BinOp::Ge => return truth(a >= b),
        BinOp::Eq => return truth(a == b),
        BinOp::Ne => return truth(a != b),
        _ => return Err("a bit operation on floats"),
    }))
}

/// A cast; integers that do not fit are errors.
pub fn cast(to: Ty, v: Scalar) -> Result<Scalar, &'static str> {
    Ok(match (to, v) {
        (Ty::I32, Scalar::I32(_)) | (Ty::I64, Scalar::I64(_)) | (Ty::F32, Scalar::F32(_)) => v,
        (Ty::I32, Scalar::I64(x)) => {
            Scalar::I32(i32::try_from(x).map_err(|_| "a cast to i32 that does not fit")?)
        }
        (Ty::I32, Scalar::F32(x)) => Scalar::I32(x as i32),
        (Ty::I64, Scalar::I32(x)) => Scalar::I64(x.into()),
        (Ty::I64, Scalar::F32(x)) => Scalar::I64(x as i64),
        (Ty::F32, Scalar::I32(x)) => Scalar::F32(x as f32),
        (Ty::F32, Scalar::I64(x)) => Scalar::F32(x as f32),
    })
}
