//! Products of two run-time tensors as plain loops (MatMul, Gemm), float or int8, with
//! broadcasting, any memory order, and an optional constant addend.
//!
//! In: a [`Pair`]. Out: one call: operands 0 and 1 to result.
//! Law: integer sums are refused unless they fit 32 bits for every input.

use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, KernelBuilder, Val};
use crate::product::{constant, reach_len};
use crate::tensor::Data;

/// An outer axis (batch): how many, and the steps in `a`, `b` and the result; 0 repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    pub len: usize,
    pub a: usize,
    pub b: usize,
    pub y: usize,
}

/// Sizes of `y[.., m, n] = sum over k of a[.., m, k] * b[.., k, n]` and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub batch: Vec<Outer>,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// Strides: of m and k in `a`, of k and n in `b`, of m and n in `y`.
    pub a: [usize; 2],
    pub b: [usize; 2],
    pub y: [usize; 2],
    /// Zero points of `a` and `b`; 0 for floats.
    pub zero: [i32; 2],
    /// Factor on the float product (`alpha`); 1 for integers, where the scales hold it.
    pub alpha: f32,
    pub add: Addend,
    /// One multiplier, or one per column.
    pub finish: Finish,
}

/// What is added to the product, already in its units.
#[derive(Debug, Clone, PartialEq)]
pub enum Addend {
    None,
    /// Known at compile time, with its strides over m and n.
    Constant(Data, [usize; 2]),
    /// Operand 2, a float, times a factor.
    Operand([usize; 2], f32),
}

/// Spells the product.
pub fn matmul(p: &Pair) -> Result<Call> {
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
    let mut args = vec![Bind::Operand(0), Bind::Operand(1)];
    let added = match &p.add {
        Addend::None => None,
        Addend::Constant(data, strides) => {
            args.push(Bind::data("addend", data.clone()));
            Some((constant(&mut k, "c", data), *strides, 1.0))
        }
        Addend::Operand(strides, factor) => {
            args.push(Bind::Operand(2));
            let len = reach_len(&[p.m, p.n], strides);
            Some((k.buffer("c", elem, len, Access::Read), *strides, *factor))
        }
    };
    let y = k.buffer("y", elem, outer(|o| o.y, [(p.m, p.y[0]), (p.n, p.y[1])]), Access::Write);
    args.push(Bind::Result(0));
    let zero: Vec<Option<Val>> = (["za", "zb"].iter().zip(p.zero))
        .map(|(name, zp)| (zp != 0).then(|| k.scalar(name, -128, 127)))
        .collect();
    args.extend(p.zero.iter().filter(|&&zp| zp != 0).map(|&zp| Bind::Scalar(zp)));
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
    Ok(Call { kernel: k.finish()?, args })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::quant::Clamp;
    use crate::arith::requant::{Output, multiplier, requant, requantize};
    use crate::tensor::DType;
    use crate::trial::{Random, run};

    fn shapes() -> Vec<Pair> {
        let plain = Pair {
            batch: vec![],
            m: 3,
            k: 5,
            n: 4,
            a: [5, 1],
            b: [4, 1],
            y: [4, 1],
            zero: [0, 0],
            alpha: 1.0,
            add: Addend::None,
            finish: Finish::Float(Clamp::NONE),
        };
        // `b` is repeated over the first axis, `a` over the second.
        let batch = vec![Outer { len: 2, a: 15, b: 0, y: 36 }, Outer { len: 3, a: 0, b: 20, y: 12 }];
        vec![
            Pair { batch, ..plain.clone() },
            Pair { a: [1, 3], b: [1, 5], y: [1, 3], ..plain.clone() },
            Pair { m: 1, n: 1, a: [0, 1], b: [1, 0], y: [0, 0], ..plain },
        ]
    }

    /// Offsets in result, row, column, and in `a` and `b` along the sum.
    fn each(p: &Pair, mut visit: impl FnMut(usize, usize, usize, Vec<(usize, usize)>)) {
        let mut at = vec![(0, 0, 0)];
        for o in &p.batch {
            at = at
                .iter()
                .flat_map(|&(a, b, y)| (0..o.len).map(move |i| (a + i * o.a, b + i * o.b, y + i * o.y)))
                .collect();
        }
        for (a, b, y) in at {
            for i in 0..p.m {
                for j in 0..p.n {
                    let pairs = (0..p.k).map(|l| (a + i * p.a[0] + l * p.a[1], b + l * p.b[0] + j * p.b[1]));
                    visit(y + i * p.y[0] + j * p.y[1], i, j, pairs.collect());
                }
            }
        }
    }

    fn lens(p: &Pair) -> [usize; 3] {
        let mut most = [0; 3];
        each(p, |y, _, _, pairs| {
            most[2] = most[2].max(y + 1);
            for (a, b) in pairs {
                most = [most[0].max(a + 1), most[1].max(b + 1), most[2]];
            }
        });
        most
    }

    #[test]
    fn float_products_agree_with_double_sums() {
        let mut random = Random(11);
        for (case, p) in shapes().into_iter().enumerate() {
            let c = random.floats(p.n);
            let p = Pair { alpha: 0.5, add: Addend::Operand([0, usize::from(p.n > 1)], 2.0), ..p };
            let [al, bl, yl] = lens(&p);
            let (a, b) = (random.floats(al), random.floats(bl));
            let operands = [Data::F32(a.clone()), Data::F32(b.clone()), Data::F32(c.clone())];
            let Data::F32(got) = run(&matmul(&p).unwrap(), &operands, DType::F32, yl) else { panic!() };
            each(&p, |y, _, j, pairs| {
                let sum: f64 = pairs.iter().map(|&(i, k)| f64::from(a[i]) * f64::from(b[k])).sum();
                let want = 0.5 * sum + 2.0 * f64::from(c[j]);
                assert!((f64::from(got[y]) - want).abs() < 1e-4, "case {case}: {} {want}", got[y]);
            });
        }
    }

    #[test]
    fn integer_products_are_exact() {
        let mut random = Random(12);
        for (case, p) in shapes().into_iter().enumerate() {
            for (za, zb, zy) in [(-128, 127, 0), (127, -128, -128), (0, 9, 127)] {
                let out = Output { zp: zy, lo: -100, hi: 127 };
                // One multiplier per column, the second far below the first.
                let real: Vec<f64> = (0..p.n).map(|j| 0.003 / (1.0 + 3.0 * j as f64)).collect();
                let most = p.k as i32 * 255 * 255;
                let r = requant(&real, &vec![(-most, most); p.n], out).unwrap();
                let c: Vec<i32> = (0..p.m).map(|_| random.within(-9999, 9999) as i32).collect();
                let p = Pair {
                    zero: [za, zb],
                    add: Addend::Constant(Data::I32(c.clone()), [1, 0]),
                    finish: Finish::Int(r),
                    ..p.clone()
                };
                let [al, bl, yl] = lens(&p);
                let (a, b) = (random.bytes(al), random.bytes(bl));
                let operands = [Data::I8(a.clone()), Data::I8(b.clone())];
                let Data::I8(got) = run(&matmul(&p).unwrap(), &operands, DType::I8, yl) else { panic!() };
                each(&p, |y, i, j, pairs| {
                    let sum: i64 = (pairs.iter())
                        .map(|&(i, k)| (i64::from(a[i]) - i64::from(za)) * (i64::from(b[k]) - i64::from(zb)))
                        .sum();
                    let by = multiplier(real[j]).unwrap();
                    let want = requantize((sum + i64::from(c[i])) as i32, by, zy, -100, 127);
                    assert_eq!(i32::from(got[y]), want, "case {case}");
                });
            }
        }
    }
}
