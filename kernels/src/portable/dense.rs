//! Fully connected layers and pointwise convolutions as plain loops: every row of inputs times
//! one matrix of constant weights, float or int8.
//!
//! In: [`Rows`] and a [`Product`]. Out: one call.
//! Law: weights stand in the order in which the loops read them: blocks of four outputs share
//! each loaded input.

use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder, Val};
use crate::problem::Rows;
use crate::product::{Product, constant};

/// Outputs computed side by side.
const BLOCK: usize = 4;

/// Spells the product as one call, operand 0 to result, its weights in `four` bits each or in as many
/// bytes as they want.
pub fn dense(rows: &Rows, product: &Product, four: bool) -> Result<Call> {
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
    let weights = product.coefficients(&order, four);

    let mut k = KernelBuilder::new(format!("dense_{}_b1x4", product.suffix()));
    let x = k.buffer("x", product.operand, rows.x_len(), Access::Read);
    let y = k.buffer("y", product.finish.elem(), rows.y_len(), Access::Write);
    let w = weights.declare(&mut k);
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
        Bind::Operand(0),
        Bind::Result(0),
        Bind::data("weights", weights.data),
        Bind::data("bias", product.bias.clone()),
    ];
    args.extend(product.finish.roles());
    Ok(Call { kernel, args })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::quant::{Clamp, Quant};
    use crate::arith::requant::{multiplier, requantize};
    use crate::problem::{Axis, merge};
    use crate::tensor::{DType, Data, Tensor};
    use crate::trial::{Random, run};

    fn shapes() -> Vec<Rows> {
        let axis = |len, x, y| Axis { len, x, y };
        vec![
            Rows { rows: vec![], inputs: axis(13, 1, 0), outputs: axis(4, 0, 1) },
            Rows { rows: vec![axis(3, 7, 9)], inputs: axis(7, 1, 0), outputs: axis(9, 0, 1) },
            // Rows and columns swapped in memory on both sides.
            Rows { rows: vec![axis(5, 1, 1)], inputs: axis(6, 5, 0), outputs: axis(3, 0, 5) },
            Rows {
                rows: vec![axis(2, 100, 3), axis(4, 8, 20)],
                inputs: axis(8, 1, 0),
                outputs: axis(2, 0, 1),
            },
            Rows { rows: vec![axis(2, 1, 1)], inputs: axis(1, 1, 0), outputs: axis(1, 0, 1) },
        ]
    }

    /// `(result offset, output, input offsets in order)` of every output.
    fn outputs(r: &Rows) -> Vec<(usize, usize, Vec<usize>)> {
        let mut rows = vec![(0, 0)];
        for a in &r.rows {
            rows =
                rows.iter().flat_map(|&(x, y)| (0..a.len).map(move |i| (x + i * a.x, y + i * a.y))).collect();
        }
        rows.iter()
            .flat_map(|&(x, y)| {
                (0..r.outputs.len).map(move |o| {
                    (y + o * r.outputs.y, o, (0..r.inputs.len).map(|i| x + i * r.inputs.x).collect())
                })
            })
            .collect()
    }

    fn lens(all: &[(usize, usize, Vec<usize>)]) -> (usize, usize) {
        let x = all.iter().flat_map(|o| o.2.iter()).max().unwrap() + 1;
        (x, all.iter().map(|o| o.0).max().unwrap() + 1)
    }

    #[test]
    fn float_rows_agree_with_double_sums() {
        let mut random = Random(1);
        for r in shapes() {
            let all = outputs(&r);
            let (x_len, y_len) = lens(&all);
            let (n, k) = (r.outputs.len, r.inputs.len);
            let (w, b, x) = (random.floats(n * k), random.floats(n), random.floats(x_len));
            let product = Product::float(&w, Some(&b), n, Clamp { lo: -1.0, hi: f32::INFINITY });
            let call = dense(&r, &product, false).unwrap();
            let Data::F32(got) = run(&call, &[Data::F32(x.clone())], DType::F32, y_len) else { panic!() };
            for (at, o, from) in &all {
                let sum: f64 =
                    from.iter().enumerate().map(|(i, &xi)| f64::from(x[xi]) * f64::from(w[o * k + i])).sum();
                let want = (sum + f64::from(b[*o])).max(-1.0);
                assert!((f64::from(got[*at]) - want).abs() < 1e-4, "{} {want}", got[*at]);
            }
        }
    }

    #[test]
    fn integer_rows_are_exact() {
        let mut random = Random(2);
        for (i, r) in shapes().iter().chain(&shapes()).enumerate() {
            let all = outputs(r);
            let (x_len, y_len) = lens(&all);
            let (n, k) = (r.outputs.len, r.inputs.len);
            let w: Vec<i8> = random.bytes(n * k);
            let scales: Vec<f32> = (0..n).map(|_| random.within(1, 9000) as f32 / 1e5).collect();
            let wt = Tensor::new(vec![n, k], Data::I8(w.clone())).unwrap();
            let wq = Quant { dtype: DType::I8, scale: scales.clone(), zero_point: vec![0; n], axis: Some(0) };
            let (x_zp, y_zp) = ([-128, 127, 5][i % 3], [5, -128, 127][i % 3]);
            let sy = if i % 2 == 0 { 2.0 } else { 0.02 };
            let (xq, yq) = (Quant::per_tensor(DType::I8, 0.1, x_zp), Quant::per_tensor(DType::I8, sy, y_zp));
            // A bias without a code: real values.
            let real: Vec<f32> = random.floats(n);
            let bias = Tensor::new(vec![n], Data::F32(real.clone())).unwrap();
            let product = Product::int((&wt, &wq), Some((&bias, None)), &xq, &yq, Clamp::NONE).unwrap();
            let x = random.bytes(x_len);
            let call = dense(r, &product, false).unwrap();
            let Data::I8(got) = run(&call, &[Data::I8(x.clone())], DType::I8, y_len) else { panic!() };
            for (at, o, from) in &all {
                let step = f64::from(0.1f32) * f64::from(scales[*o]);
                let bias = (f64::from(real[*o]) / step).round_ties_even() as i64;
                let sum: i64 = (from.iter().enumerate())
                    .map(|(i, &xi)| (i64::from(x[xi]) - i64::from(x_zp)) * i64::from(w[o * k + i]))
                    .sum();
                let by = multiplier(step / f64::from(sy)).unwrap();
                let want = requantize((sum + bias) as i32, by, y_zp, -128, 127);
                assert_eq!(i32::from(got[*at]), want, "case {i} output {o}");
            }
        }
    }

    #[test]
    fn even_axes_merge() {
        let axis = |len, x, y| Axis { len, x, y };
        assert_eq!(merge(&[axis(1, 0, 0), axis(4, 30, 20), axis(5, 6, 4)]), [axis(20, 6, 4)]);
        assert_eq!(merge(&[axis(4, 30, 21), axis(5, 6, 4)]).len(), 2);
    }
}
