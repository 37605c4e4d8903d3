//! Fully connected layers and pointwise convolutions as plain loops: every row of inputs times
//! one matrix of constant weights, float or int8.
//!
//! In: [`Rows`] and a [`Product`]. Out: one call.
//! Law: weights stand in the order in which the loops read them: blocks of four outputs share
//! each loaded input.

use super::product::{Product, constant, reach_len};
use super::spelled::{Role, Spelled};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder, Val};

/// An axis of rows: how many, and the step from one to the next in input and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) len: usize,
    pub(crate) x: usize,
    pub(crate) y: usize,
}

/// Sizes of a product of rows with a matrix `[outputs, inputs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Axes of rows, slowest first; neighbours that step evenly should be merged ([`merge`]).
    pub(crate) rows: Vec<Axis>,
    /// Inputs of a row; `y` is not used.
    pub(crate) inputs: Axis,
    /// Outputs of a row; `x` is not used.
    pub(crate) outputs: Axis,
}

/// Joins neighbouring axes that are one axis in memory on both sides, and drops axes of one.
pub(crate) fn merge(axes: &[Axis]) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::new();
    for &axis in axes.iter().filter(|a| a.len != 1) {
        match merged.last_mut() {
            Some(last) if last.x == axis.x * axis.len && last.y == axis.y * axis.len => {
                *last = Axis { len: last.len * axis.len, ..axis };
            }
            _ => merged.push(axis),
        }
    }
    merged
}

/// Outputs computed side by side.
const BLOCK: usize = 4;

/// Spells the product as one call: operand 0 to result.
pub(crate) fn dense(rows: &Rows, product: &Product) -> Result<Spelled> {
    let product = product.clone().folded();
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let whole = outputs / BLOCK * BLOCK;
    let mut order = Vec::with_capacity(inputs * outputs);
    for first in (0..whole).step_by(BLOCK) {
        for i in 0..inputs {
            order.extend((first..first + BLOCK).map(|o| o * inputs + i));
        }
    }
    order.extend(whole * inputs..outputs * inputs);
    let weights = product.packed(&order);

    let mut lens: Vec<usize> = rows.rows.iter().map(|a| a.len).collect();
    let mut xs: Vec<usize> = rows.rows.iter().map(|a| a.x).collect();
    let mut ys: Vec<usize> = rows.rows.iter().map(|a| a.y).collect();
    lens.push(inputs);
    xs.push(rows.inputs.x);
    let x_len = reach_len(&lens, &xs);
    *lens.last_mut().unwrap_or(&mut 1) = outputs;
    ys.push(rows.outputs.y);
    let y_len = reach_len(&lens, &ys);

    let mut k = KernelBuilder::new(format!("dense_{}_b1x4", product.finish.suffix()));
    let x = k.buffer("x", product.elem(), x_len, Access::Read);
    let y = k.buffer("y", product.elem(), y_len, Access::Write);
    let w = constant(&mut k, "w", &weights);
    let bias = constant(&mut k, "bias", &product.bias);
    let tail = product.finish.declare(&mut k);
    let block = |k: &mut KernelBuilder, x0: &Expr, y0: &Expr, o: Val, size: usize| {
        let acc: Vec<Val> = (0..size).map(|j| k.var(&format!("acc{j}"), bias.at(o + j))).collect();
        let first = k.let_("first", o * inputs);
        k.for_("i", 0, inputs, |k, i| {
            let v = k.let_("v", x.at(x0 + i * rows.inputs.x));
            for (j, &acc) in acc.iter().enumerate() {
                k.add_to(acc, v * w.at(first + i * size + j));
            }
        });
        for (j, &acc) in acc.iter().enumerate() {
            let channel = o + j;
            tail.store(k, y, y0 + &channel * rows.outputs.y, acc, &channel);
        }
    };
    nest(&mut k, &rows.rows, 0.into(), 0.into(), &mut |k, x0, y0| {
        k.for_step("o", 0, whole, BLOCK as i32, |k, o| block(k, x0, y0, o, BLOCK));
        k.for_("o", whole, outputs, |k, o| block(k, x0, y0, o, 1));
    });
    let kernel = k.finish()?;
    let mut args = vec![
        Role::Operand(0),
        Role::Result,
        Role::data("weights", weights),
        Role::data("bias", product.bias.clone()),
    ];
    args.extend(product.finish.roles());
    Ok(Spelled { kernel, args })
}

/// Loops over axes of rows; the body gets the offsets of the row in input and result.
fn nest(
    k: &mut KernelBuilder,
    axes: &[Axis],
    x0: Expr,
    y0: Expr,
    body: &mut dyn FnMut(&mut KernelBuilder, &Expr, &Expr),
) {
    match axes.split_first() {
        None => body(k, &x0, &y0),
        Some((axis, rest)) => k.for_("row", 0, axis.len, |k, r| {
            nest(k, rest, x0 + r * axis.x, y0 + r * axis.y, body);
        }),
    }
}
