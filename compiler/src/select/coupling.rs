//! Pairwise coupling: shares of classes that agree best with those of every two, found by iteration.
//!
//! In: a place of floats `[rows, n * n]`. Out: one kernel, with what it knows of a row in the workspace. Law: each
//! number is computed from the same ones in the same order as [`PairwiseCoupling`] evaluates it.

use super::composite::Composite;
use super::{Cx, PORTABLE};
use crate::error::Result;
use crate::kernel::{Access, Expr, float, int};
use crate::ops::PairwiseCoupling;
use crate::tensor::DType;

pub(crate) fn select(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    if x.quant.is_some() || y.quant.is_some() {
        return Err(cx.unsupported("is not computed on integers of 8 bits"));
    }
    let (rows, n) = (y.shape[0], y.shape[1]);
    let mut layer = Composite::new("pairwise_coupling_f32");
    let from = layer.port("pairs", &x, Access::Read);
    let [sizes, products, shares] =
        ["sizes", "products", "shares"].map(|name| layer.place(name, DType::F32, n));
    let to = layer.port("y", &y, Access::Write);
    layer.k.for_("row", 0, rows, |k, row| {
        // The share of class i among i and j.
        let pair = |i: Expr, j: Expr| from.at(row * x.strides[0] + (i * n + j) * x.strides[1]);
        let product = |i: Expr, j: Expr| {
            let apart = -(pair(j.clone(), i.clone()) * pair(i.clone(), j.clone()));
            i.equals(j).select(sizes.at(i), apart)
        };
        k.for_("i", 0, n, |k, i| {
            let size = k.var("size", float(0.0));
            k.for_("j", 0, n, |k, j| {
                let share = k.let_("share", pair(j.into(), i.into()));
                k.set(size, size + share * share);
            });
            k.store(sizes, i, size);
            k.store(shares, i, float(1.0 / n as f32));
        });
        let goes_on = k.var("goes_on", int(1));
        k.for_("turn", 0, PairwiseCoupling::TURNS, |k, _| {
            k.if_(goes_on, |k| {
                let whole = k.var("whole", float(0.0));
                k.for_("i", 0, n, |k, i| {
                    let sum = k.var("sum", float(0.0));
                    k.for_("j", 0, n, |k, j| k.set(sum, sum + product(i.into(), j.into()) * shares.at(j)));
                    k.store(products, i, sum);
                    k.set(whole, whole + shares.at(i) * sum);
                });
                let worst = k.var("worst", float(0.0));
                k.for_("i", 0, n, |k, i| k.set(worst, worst.max((products.at(i) - whole).abs())));
                k.set(goes_on, int(1) - worst.lt(float(PairwiseCoupling::near(n))));
                k.if_(goes_on, |k| {
                    k.for_("i", 0, n, |k, i| {
                        let step = k.let_("step", (whole - products.at(i)) / sizes.at(i));
                        let sum = k.let_("sum", step + float(1.0));
                        k.store(shares, i, shares.at(i) + step);
                        let change = step * (step * sizes.at(i) + products.at(i) * float(2.0));
                        k.set(whole, (whole + change) / sum / sum);
                        k.for_("j", 0, n, |k, j| {
                            let moved = products.at(j) + step * product(i.into(), j.into());
                            k.store(products, j, moved / sum);
                            k.store(shares, j, shares.at(j) / sum);
                        });
                    });
                });
            });
        });
        k.for_("i", 0, n, |k, i| k.store(to, row * y.strides[0] + i * y.strides[1], shares.at(i)));
    });
    cx.offers.push(layer.offer(PORTABLE)?);
    Ok(())
}
