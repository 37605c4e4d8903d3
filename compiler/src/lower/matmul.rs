//! Products of two run-time tensors as plain loops (MatMul, Gemm), float or int8, with
//! broadcasting, any memory order, and an optional constant addend.
//!
//! In: a [`Pair`]. Out: one call: operands 0 and 1 to result.
//! Law: integer sums are refused unless they fit 32 bits for every input.

use super::finish::Finish;
use super::product::{constant, reach_len};
use super::spelled::{Role, Spelled};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, KernelBuilder, Val};
use crate::tensor::Data;

/// An outer axis (batch): how many, and the steps in `a`, `b` and the result; 0 repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outer {
    pub(crate) len: usize,
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) y: usize,
}

/// Sizes of `y[.., m, n] = sum over k of a[.., m, k] * b[.., k, n]` and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    pub(crate) batch: Vec<Outer>,
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Strides: of m and k in `a`, of k and n in `b`, of m and n in `y`.
    pub(crate) a: [usize; 2],
    pub(crate) b: [usize; 2],
    pub(crate) y: [usize; 2],
    /// Zero points of `a` and `b`; 0 for floats.
    pub(crate) zero: [i32; 2],
    /// Factor on the float product (`alpha`); 1 for integers, where the scales hold it.
    pub(crate) alpha: f32,
    pub(crate) add: Addend,
    /// One multiplier, or one per column.
    pub(crate) finish: Finish,
}

/// What is added to the product, already in its units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Addend {
    None,
    /// Known at compile time, with its strides over m and n.
    Constant(Data, [usize; 2]),
    /// Operand 2, a float, times a factor.
    Operand([usize; 2], f32),
}

/// Spells the product.
pub(crate) fn matmul(p: &Pair) -> Result<Spelled> {
    let elem = p.finish.elem();
    if let Finish::Int(_) = p.finish {
        let most = match &p.add {
            Addend::Constant(Data::I32(c), _) => c.iter().map(|&v| i64::from(v).abs()).max().unwrap_or(0),
            _ => 0,
        };
        if p.k as i64 * (255 * 255) + most > i64::from(i32::MAX) {
            return Err(Error::model(Site::Whole, format!("sums over {} products can leave 32 bits", p.k)));
        }
    }
    let outer = |step: fn(&Outer) -> usize, axes: [(usize, usize); 2]| {
        let mut extents: Vec<usize> = p.batch.iter().map(|o| o.len).collect();
        let mut strides: Vec<usize> = p.batch.iter().map(step).collect();
        for (extent, stride) in axes {
            extents.push(extent);
            strides.push(stride);
        }
        reach_len(&extents, &strides)
    };
    let mut k = KernelBuilder::new(format!("matmul_{}", p.finish.suffix()));
    let a = k.buffer("a", elem, outer(|o| o.a, [(p.m, p.a[0]), (p.k, p.a[1])]), Access::Read);
    let b = k.buffer("b", elem, outer(|o| o.b, [(p.k, p.b[0]), (p.n, p.b[1])]), Access::Read);
    let mut args = vec![Role::Operand(0), Role::Operand(1)];
    let added = match &p.add {
        Addend::None => None,
        Addend::Constant(data, strides) => {
            args.push(Role::data("addend", data.clone()));
            Some((constant(&mut k, "c", data), *strides, 1.0))
        }
        Addend::Operand(strides, factor) => {
            args.push(Role::Operand(2));
            let len = reach_len(&[p.m, p.n], strides);
            Some((k.buffer("c", elem, len, Access::Read), *strides, *factor))
        }
    };
    let y = k.buffer("y", elem, outer(|o| o.y, [(p.m, p.y[0]), (p.n, p.y[1])]), Access::Write);
    args.push(Role::Result);
    let zero: Vec<Option<Val>> = (["za", "zb"].iter().zip(p.zero))
        .map(|(name, zp)| (zp != 0).then(|| k.scalar(name, -128, 127)))
        .collect();
    args.extend(p.zero.iter().filter(|&&zp| zp != 0).map(|&zp| Role::Scalar(zp)));
    let tail = p.finish.declare(&mut k);
    args.extend(p.finish.roles());
    let per_column = matches!(&p.finish, Finish::Int(r) if r.m.len() > 1);
    let float = matches!(p.finish, Finish::Float(_));

    nest(&mut k, &p.batch, [0.into(), 0.into(), 0.into()], &mut |k, at| {
        k.for_("i", 0, p.m, |k, i| {
            k.for_("j", 0, p.n, |k, j| {
                let start: Expr = if float { 0.0f32.into() } else { 0.into() };
                let acc = k.var("acc", start);
                k.for_("l", 0, p.k, |k, l| {
                    let mut u = a.at(&at[0] + i * p.a[0] + l * p.a[1]);
                    let mut v = b.at(&at[1] + l * p.b[0] + j * p.b[1]);
                    if let Some(zp) = zero[0] {
                        u = u - zp;
                    }
                    if let Some(zp) = zero[1] {
                        v = v - zp;
                    }
                    k.add_to(acc, u * v);
                });
                if float && p.alpha != 1.0 {
                    k.set(acc, acc * p.alpha);
                }
                if let Some((c, strides, factor)) = added {
                    let mut v = c.at(i * strides[0] + j * strides[1]);
                    if factor != 1.0 {
                        v = v * factor;
                    }
                    k.add_to(acc, v);
                }
                let channel: Expr = if per_column { j.into() } else { 0.into() };
                tail.store(k, y, &at[2] + i * p.y[0] + j * p.y[1], acc, &channel);
            });
        });
    });
    Ok(Spelled { kernel: k.finish()?, args })
}

fn nest(
    k: &mut KernelBuilder,
    axes: &[Outer],
    [a, b, y]: [Expr; 3],
    body: &mut dyn FnMut(&mut KernelBuilder, &[Expr; 3]),
) {
    match axes.split_first() {
        None => body(k, &[a, b, y]),
        Some((o, rest)) => k.for_("batch", 0, o.len, |k, r| {
            nest(k, rest, [a + r * o.a, b + r * o.b, y + r * o.y], body);
        }),
    }
}
