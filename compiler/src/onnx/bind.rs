//! Inputs that the user binds to numbers -> constants.
//!
//! In: the declared inputs and the user's `--bind NAME=VALUE`. Out: a tensor for each bound input. Law: a
//! bound input has exactly as many numbers as its shape says, and each is one of its type; nothing is
//! repeated, cut or wrapped to fit.

use super::proto::Port;
use crate::error::{Error, Result};
use crate::options::{Number, Numbers};
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeMap;

/// Refuses a name that is no input of the model.
pub(super) fn check(given: &BTreeMap<String, Numbers>, inputs: &[Port]) -> Result<()> {
    let Some(stray) = given.keys().find(|name| inputs.iter().all(|p| p.name != **name)) else {
        return Ok(());
    };
    let names: Vec<String> = inputs.iter().map(|p| format!("`{}`", p.name)).collect();
    let help = match names.as_slice() {
        [] => "the model has no inputs".to_string(),
        _ => format!("its inputs are {}", names.join(", ")),
    };
    Err(Error::entry("bind", stray, format!("the model has no input `{stray}`")).help(help))
}

/// What a bound input of a type and shape holds.
pub(super) fn tensor(name: &str, dtype: DType, shape: &[usize], given: &Numbers) -> Result<Tensor> {
    let (len, numbers) = (shape.iter().product::<usize>(), &given.0);
    if numbers.len() != len {
        let why = format!("the input `{name}` has the shape {shape:?}: {len} numbers, not {}", numbers.len());
        return Err(Error::entry("bind", name, why)
            .help("`--bind NAME=A,B,...` gives them in row-major order, `--dim NAME=N` fixes an axis"));
    }
    let refused = |number: &Number| {
        let limits = match dtype.range() {
            _ if dtype == DType::Bool => ", true or false".to_string(),
            Some((lo, hi)) => format!(", whole numbers from {lo} to {hi}"),
            None => String::new(),
        };
        let why = format!("the input `{name}` has the type {dtype}{limits}, which does not hold {number}");
        Error::entry("bind", name, why)
    };
    let data = match dtype {
        DType::F32 => Data::F32(
            numbers.iter().map(|n| real(*n).ok_or_else(|| refused(n))).collect::<Result<Vec<f32>>>()?,
        ),
        DType::Bool => Data::Bool(
            numbers.iter().map(|n| truth(*n).ok_or_else(|| refused(n))).collect::<Result<Vec<bool>>>()?,
        ),
        _ => {
            let all = numbers.iter().map(|n| whole(*n, dtype).ok_or_else(|| refused(n)));
            Data::from_i64(dtype, &all.collect::<Result<Vec<i64>>>()?)
        }
    };
    Tensor::new(shape.to_vec(), data)
}

/// The nearest float, if it is finite.
fn real(number: Number) -> Option<f32> {
    let nearest = match number {
        Number::Whole(n) => n as f32,
        Number::Real(x) => x as f32,
        Number::Truth(_) => return None,
    };
    nearest.is_finite().then_some(nearest)
}

fn truth(number: Number) -> Option<bool> {
    match number {
        Number::Truth(b) => Some(b),
        Number::Whole(n @ (0 | 1)) => Some(n == 1),
        _ => None,
    }
}

/// A whole number within the range of a type.
fn whole(number: Number, dtype: DType) -> Option<i64> {
    let n = match number {
        Number::Whole(n) => n,
        // Up to here, floats of 64 bits have all whole numbers.
        Number::Real(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => x as i64,
        _ => return None,
    };
    let (lo, hi) = dtype.range()?;
    (lo..=hi).contains(&i128::from(n)).then_some(n)
}
