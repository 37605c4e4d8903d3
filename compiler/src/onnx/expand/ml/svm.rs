//! Support vectors: how alike a row is to each of them, and what classes or numbers that speaks for.
//!
//! Law: distances are taken from the middle of the support vectors, so that nothing is lost where all features
//! lie far from zero.

use super::super::build::{Builder, Expanded};
use super::classes::{Classes, above};
use super::features::checked;
use super::linear::product;
use super::scores::Transform;
use super::{Rows, floats, ints};
use crate::error::Result;
use crate::ops::check::{len, refuse, size};
use crate::tensor::DType;

/// How alike rows are to support vectors: `[rows, vectors]`.
fn likeness(b: &mut Builder<'_>, r: &Rows, vectors: &[f32], count: usize) -> Result<String> {
    let parameters = floats(b, "kernel_params")?;
    let (gamma, offset, degree) = match *parameters {
        [] => (0.0, 0.0, 0.0),
        [gamma, offset, degree] => (gamma, offset, degree),
        _ => return Err(refuse(format!("`kernel_params` has {} numbers instead of 3", parameters.len()))),
    };
    let scaled = |factor: f32| vectors.iter().map(|v| v * factor).collect::<Vec<f32>>();
    match b.cx.str_or("kernel_type", "LINEAR")? {
        "LINEAR" => product(b, &r.x, vectors.to_vec(), count, Vec::new()),
        "POLY" => {
            let dot = product(b, &r.x, scaled(gamma), count, vec![offset; count])?;
            let square = |b: &mut Builder<'_>| b.op("Mul", &[&dot, &dot]);
            Ok(if degree == 2.0 {
                square(b)
            } else if degree == 3.0 {
                let square = square(b);
                b.op("Mul", &[&square, &dot])
            } else {
                let degree = b.float(degree);
                b.op("Pow", &[&dot, &degree])
            })
        }
        "SIGMOID" => {
            let dot = product(b, &r.x, scaled(gamma), count, vec![offset; count])?;
            Ok(b.op("Tanh", &[&dot]))
        }
        "RBF" => radial(b, r, vectors, count, gamma),
        other => Err(refuse(format!("has the kernel_type `{other}`"))),
    }
}

/// `exp(-gamma * |x - v|^2)`, with the square taken apart: `2 * gamma * x * v - gamma * (|v|^2 + |x|^2)`.
fn radial(b: &mut Builder<'_>, r: &Rows, vectors: &[f32], count: usize, gamma: f32) -> Result<String> {
    let middle: Vec<f32> = (0..r.features)
        .map(|f| {
            let sum: f64 = vectors.iter().skip(f).step_by(r.features).map(|v| f64::from(*v)).sum();
            (sum / count as f64) as f32
        })
        .collect();
    let moved: Vec<f64> =
        vectors.iter().zip(middle.iter().cycle()).map(|(v, m)| f64::from(*v) - f64::from(*m)).collect();
    let gamma_64 = f64::from(gamma);
    let sizes = moved.chunks(r.features).map(|v| (-gamma_64 * v.iter().map(|x| x * x).sum::<f64>()) as f32);
    let weights = moved.iter().map(|v| (2.0 * gamma_64 * v) as f32).collect();
    let sizes: Vec<f32> = sizes.collect();
    let middle = b.floats(&[r.features], middle)?;
    let x = b.op("Sub", &[&r.x, &middle]);
    let dot = product(b, &x, weights, count, sizes)?;
    let square = b.op("Mul", &[&x, &x]);
    let sum = b.reduce("ReduceSum", &square, &[1]);
    let gamma = b.float(gamma);
    let size = b.op("Mul", &[&sum, &gamma]);
    let exponent = b.op("Sub", &[&dot, &size]);
    Ok(b.op("Exp", &[&exponent]))
}

/// Rows of as many features as the support vectors have.
fn fitting(b: &mut Builder<'_>, vectors: &[f32], count: usize) -> Result<Rows> {
    let width = vectors.len().checked_div(count).unwrap_or(0);
    if width == 0 || width * count != vectors.len() {
        return Err(refuse(format!("`support_vectors` has {} numbers for {count} vectors", vectors.len())));
    }
    checked(b, width)
}

fn need(name: &str, list: Vec<f32>, least: usize) -> Result<Vec<f32>> {
    if list.len() < least {
        return Err(refuse(format!("`{name}` has {} numbers, and {least} are needed", list.len())));
    }
    Ok(list)
}

pub(super) fn regressor(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::named(&b)?;
    let count = size(b.cx.int_or("n_supports", 0)?, "`n_supports`")?;
    let coefficients = floats(&b, "coefficients")?;
    let mut rho = need("rho", floats(&b, "rho")?, 1)?;
    rho.truncate(1);
    let (x, width) = if count > 0 {
        let vectors = floats(&b, "support_vectors")?;
        let r = fitting(&mut b, &vectors, count)?;
        (likeness(&mut b, &r, &vectors, count)?, count)
    } else {
        let r = checked(&mut b, coefficients.len())?;
        (r.x, r.features)
    };
    if coefficients.len() != width {
        return Err(refuse(format!("has {} coefficients for {width} numbers", coefficients.len())));
    }
    let mut y = product(&mut b, &x, coefficients, 1, rho)?;
    if b.cx.int_or("one_class", 0)? != 0 {
        let [none, one, minus] = [0.0, 1.0, -1.0].map(|v| b.float(v));
        let above = b.op("Greater", &[&y, &none]);
        y = b.op("Where", &[&above, &one, &minus]);
    }
    if transform != Transform::None {
        b.ignored(transform);
    }
    b.finish(vec![y])
}

pub(super) fn classifier(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::named(&b)?;
    let classes = Classes::of(&mut b, "classlabels_ints", "classlabels_strings")?;
    if classes.count() < 2 {
        return Err(refuse("has one class"));
    }
    let supports = ints(&b, "vectors_per_class")?;
    let supports = supports.iter().map(|&v| size(v, "`vectors_per_class`")).collect::<Result<Vec<_>>>()?;
    let coefficients = floats(&b, "coefficients")?;
    let [a, c] = [floats(&b, "prob_a")?, floats(&b, "prob_b")?];
    let (label, scores) = if supports.iter().sum::<usize>() == 0 {
        linear(&mut b, &classes, coefficients, !a.is_empty(), transform)?
    } else {
        voted(&mut b, &classes, &supports, (&coefficients, a, c), transform)?
    };
    b.finish(vec![label, scores])
}

/// Scores by one product for each class.
fn linear(
    b: &mut Builder<'_>,
    classes: &Classes,
    coefficients: Vec<f32>,
    probabilities: bool,
    transform: Transform,
) -> Result<(String, String)> {
    let count = classes.count();
    let rho = need("rho", floats(b, "rho")?, 1)?;
    let r = checked(b, coefficients.len() / count)?;
    let positive = coefficients.iter().all(|c| *c >= 0.0);
    let bias = vec![rho.first().copied().unwrap_or(0.0); count];
    let scores = product(b, &r.x, coefficients, count, bias)?;
    let mut label = classes.greatest(b, &scores);
    if count == 2 && !probabilities {
        // The second class stands for every score that is large enough.
        let most = b.reduce("ReduceMax", &scores, &[1]);
        let limit = if positive { f32::from_bits(0.5f32.to_bits() - 1) } else { 0.0 };
        let second = above(b, &most, limit, r.rows, [1, 0])?;
        let second = b.cast(&second, DType::Bool);
        let named = b.ints(&[classes.label(1)]);
        label = b.op("Where", &[&second, &named, &label]);
    }
    Ok((label, transform.of_many(b, &scores)))
}

/// A decision for each pair of classes, whose winners are counted.
fn voted(
    b: &mut Builder<'_>,
    classes: &Classes,
    supports: &[usize],
    (coefficients, slopes, offsets): (&[f32], Vec<f32>, Vec<f32>),
    transform: Transform,
) -> Result<(String, String)> {
    let (n, count) = (classes.count(), supports.iter().sum::<usize>());
    if supports.len() != n {
        return Err(refuse(format!("`vectors_per_class` has {} numbers for {n} classes", supports.len())));
    }
    let pairs = n * (n - 1) / 2;
    len(&[pairs, n])?;
    len(&[pairs, count])?;
    let mut rho = need("rho", floats(b, "rho")?, pairs)?;
    rho.truncate(pairs);
    if coefficients.len() != (n - 1) * count {
        return Err(refuse(format!(
            "has {} coefficients, and {} are needed",
            coefficients.len(),
            (n - 1) * count
        )));
    }
    let vectors = floats(b, "support_vectors")?;
    let r = fitting(b, &vectors, count)?;
    let alike = likeness(b, &r, &vectors, count)?;
    let starts: Vec<usize> = supports
        .iter()
        .scan(0, |next, len| {
            let start = *next;
            *next += len;
            Some(start)
        })
        .collect();
    // By pair: coefficients of its two classes, and zeros for all others; who wins, and who else.
    let mut weights = Vec::with_capacity(pairs * count);
    let (mut wins, mut losses) = (vec![0.0; n * pairs], vec![0.0; n]);
    for i in 0..n {
        for j in i + 1..n {
            let pair = weights.len() / count;
            let mut row = vec![0.0; count];
            for (class, of) in [(i, j - 1), (j, i)] {
                let own = starts[class]..starts[class] + supports[class];
                let from = &coefficients[of * count..(of + 1) * count];
                row[own.clone()].copy_from_slice(&from[own]);
            }
            weights.extend(row);
            wins[i * pairs + pair] = 1.0;
            wins[j * pairs + pair] = -1.0;
            losses[j] += 1.0;
        }
    }
    let decisions = product(b, &alike, weights, pairs, rho)?;
    let none = b.float(0.0);
    let first = b.op("Greater", &[&decisions, &none]);
    let first = b.cast(&first, DType::F32);
    let votes = product(b, &first, wins, n, losses)?;
    let label = classes.greatest(b, &votes);
    let scores = if !slopes.is_empty() || !offsets.is_empty() {
        let (mut slopes, mut offsets) = (need("prob_a", slopes, pairs)?, need("prob_b", offsets, pairs)?);
        slopes.truncate(pairs);
        offsets.truncate(pairs);
        let shares = shares(b, &decisions, (r.rows, n), slopes, offsets)?;
        transform.of_many(b, &shares)
    } else if n == 2 {
        transform.of_pair(b, &decisions, transform != Transform::None)?
    } else {
        transform.of_many(b, &decisions)
    };
    Ok((label, scores))
}

/// Probabilities of classes from decisions between every two of them, `[rows, pairs]`: a sigmoid for each pair (Platt,
/// 1999), and what agrees best with all of them.
fn shares(
    b: &mut Builder<'_>,
    decisions: &str,
    (rows, n): (usize, usize),
    slopes: Vec<f32>,
    offsets: Vec<f32>,
) -> Result<String> {
    /// No class is certain.
    const LEAST: f32 = 1e-7;
    let pairs = slopes.len();
    let (slopes, offsets) = (b.floats(&[pairs], slopes)?, b.floats(&[pairs], offsets)?);
    let scaled = b.op("Mul", &[decisions, &slopes]);
    let exponent = b.op("Add", &[&scaled, &offsets]);
    let other = b.op("Sigmoid", &[&exponent]);
    let one = b.float(1.0);
    let first = b.op("Sub", &[&one, &other]);
    let (least, most) = (b.float(LEAST), b.float(1.0 - LEAST));
    let first = b.op("Clip", &[&first, &least, &most]);
    let second = b.op("Sub", &[&one, &first]);
    let none = b.floats(&[rows, 1], vec![0.0; rows])?;
    let all = b.concat(&[&first, &second, &none], 1);
    // Where the share of class i among i and j stands, the first of a pair being the lesser.
    len(&[n, n])?;
    let place = |i: usize, j: usize| i * (2 * n - i - 1) / 2 + j - i - 1;
    let places: Vec<usize> = (0..n * n)
        .map(|at| match (at / n, at % n) {
            (i, j) if i < j => place(i, j),
            (i, j) if i > j => pairs + place(j, i),
            _ => 2 * pairs,
        })
        .collect();
    let places = b.sizes(&places);
    let matrix = b.gather(&all, &places, 1);
    Ok(b.op("PairwiseCoupling", &[&matrix]))
}
