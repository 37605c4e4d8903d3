//! Linear models: one product, and what its scores become.

use super::super::build::{Builder, Expanded, int};
use super::classes::{Classes, above};
use super::features::checked;
use super::floats;
use super::scores::Transform;
use crate::error::Result;
use crate::ops::check::{refuse, size};

/// `x * weights + bias`: `[rows, features]`, and `outputs` rows of weights.
pub(super) fn product(
    b: &mut Builder<'_>,
    x: &str,
    weights: Vec<f32>,
    outputs: usize,
    bias: Vec<f32>,
) -> Result<String> {
    let width = weights.len().checked_div(outputs).unwrap_or(0);
    if weights.len() != width * outputs || width == 0 {
        return Err(refuse(format!("has {} coefficients for {outputs} results", weights.len())));
    }
    let weights = b.floats(&[outputs, width], weights)?;
    if bias.is_empty() {
        return Ok(b.with("Gemm", &[x, &weights], vec![int("transB", 1)]));
    }
    if bias.len() != outputs {
        return Err(refuse(format!("has {} intercepts for {outputs} results", bias.len())));
    }
    let bias = b.floats(&[outputs], bias)?;
    Ok(b.with("Gemm", &[x, &weights, &bias], vec![int("transB", 1)]))
}

/// Rows of as many features as each of `outputs` results has coefficients.
fn fitting(b: &mut Builder<'_>, weights: &[f32], outputs: usize) -> Result<super::Rows> {
    let width = weights.len().checked_div(outputs).unwrap_or(0);
    if width == 0 || width * outputs != weights.len() {
        return Err(refuse(format!("has {} coefficients for {outputs} results", weights.len())));
    }
    checked(b, width)
}

pub(super) fn regressor(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::named(&b)?;
    let targets = size(b.cx.int_or("targets", 1)?, "`targets`")?;
    let (weights, bias) = (floats(&b, "coefficients")?, floats(&b, "intercepts")?);
    let r = fitting(&mut b, &weights, targets)?;
    let y = product(&mut b, &r.x, weights, targets, bias)?;
    let y = if targets == 1 { transform.of_one(&mut b, &y) } else { transform.of_many(&mut b, &y) };
    b.finish(vec![y])
}

pub(super) fn classifier(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::named(&b)?;
    let classes = Classes::of(&mut b, "classlabels_ints", "classlabels_strings")?;
    let (weights, bias) = (floats(&b, "coefficients")?, floats(&b, "intercepts")?);
    let outputs = if bias.is_empty() { classes.count() } else { bias.len() };
    let r = fitting(&mut b, &weights, outputs)?;
    let scores = product(&mut b, &r.x, weights, outputs, bias)?;
    let (label, scores) = match (outputs, classes.count()) {
        (1, 2) => {
            let labels = [classes.label(1), classes.label(0)];
            let label = above(&mut b, &scores, 0.0, r.rows, labels)?;
            (label, transform.of_pair(&mut b, &scores, true)?)
        }
        (n, count) if n == count && n > 1 => {
            (classes.greatest(&mut b, &scores), transform.of_many(&mut b, &scores))
        }
        (n, count) => return Err(refuse(format!("has scores for {n} classes and labels for {count}"))),
    };
    b.finish(vec![label, scores])
}
