//! Losses: the logarithm of the right class, weighted and reduced.

use super::build::{Builder, Expanded, int};
use crate::error::Result;
use crate::ops::check::refuse;
use crate::tensor::DType;

/// The loss of log probabilities `[N, C, ...]` for targets `[N, ...]`.
fn loss(b: &mut Builder<'_>, log: &str, ignored: Option<i64>) -> Result<String> {
    let (shape, targets) = (b.shape(0)?, b.shape(1)?);
    if shape.len() < 2 || targets != [&shape[..1], &shape[2..]].concat() {
        return Err(refuse(format!("targets of shape {targets:?} do not fit an input of shape {shape:?}")));
    }
    let target = b.input(1)?;
    let target = b.cast(&target, DType::I64);
    let none = b.number(DType::I64, 0.0)?;
    let (safe, skip) = match ignored {
        None => (target, None),
        Some(index) => {
            let index = b.number(DType::I64, index as f64)?;
            let skip = b.op("Equal", &[&target, &index]);
            (b.op("Where", &[&skip, &none, &target]), Some(skip))
        }
    };
    let mut wide = shape.clone();
    wide[1] = 1;
    let index = b.reshape(&safe, &wide);
    let right = b.with("GatherElements", &[log, &index], vec![int("axis", 1)]);
    let right = b.reshape(&right, &targets);
    let mut value = b.op("Neg", &[&right]);
    let zero = b.float(0.0);
    let mut weights = None;
    if b.optional(2).is_some() {
        let given = b.input(2)?;
        weights = Some(b.gather(&given, &safe, 0));
    }
    if let Some(skip) = &skip {
        let one = b.float(1.0);
        let by = weights.unwrap_or(one);
        weights = Some(b.op("Where", &[skip, &zero, &by]));
        value = b.op("Where", &[skip, &zero, &value]);
    }
    if let Some(weights) = &weights {
        value = b.op("Mul", &[&value, weights]);
    }
    let axes: Vec<usize> = (0..targets.len()).collect();
    Ok(match b.cx.str_or("reduction", "mean")? {
        "none" => value,
        "sum" => {
            let sum = b.reduce("ReduceSum", &value, &axes);
            b.reshape(&sum, &[])
        }
        "mean" => {
            let mean = match &weights {
                None => b.reduce("ReduceMean", &value, &axes),
                Some(weights) => {
                    let weights = b.expand(weights, &targets);
                    let (sum, all) =
                        (b.reduce("ReduceSum", &value, &axes), b.reduce("ReduceSum", &weights, &axes));
                    b.op("Div", &[&sum, &all])
                }
            };
            b.reshape(&mean, &[])
        }
        other => return Err(refuse(format!("has the reduction `{other}`"))),
    })
}

pub(super) fn negative_log_likelihood(mut b: Builder<'_>) -> Result<Expanded> {
    let log = b.input(0)?;
    let ignored = b.cx.int("ignore_index")?;
    let y = loss(&mut b, &log, ignored)?;
    b.finish(vec![y])
}

pub(super) fn softmax_cross_entropy(mut b: Builder<'_>) -> Result<Expanded> {
    let scores = b.input(0)?;
    let log = b.with("LogSoftmax", &[&scores], vec![int("axis", 1)]);
    let ignored = b.cx.int("ignore_index")?;
    let y = loss(&mut b, &log, ignored)?;
    b.finish(vec![y, log])
}
