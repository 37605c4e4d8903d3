//! BatchNormalization that no product took over: per channel, in float and in integers.

use super::elementwise::{affine, clamped};
use super::{Cx, View};
use crate::error::Result;
use crate::kernel::{Access, KernelBuilder, long};
use crate::kernels::axes::{Nest, signed};
use crate::tensor::{DType, Data};

/// BatchNormalization, per channel of axis 1: from constants one product and one sum, with
/// parameters computed at run time as written in the specification.
pub(crate) fn normalize(cx: &mut Cx<'_>, epsilon: f32) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let channels = x.shape.get(1).copied().unwrap_or(1);
    let clamp = cx.clamp();
    let mut params: Vec<Vec<f32>> = Vec::new();
    for i in 1..5 {
        if let Some(t) = cx.need(i)?.real_constant() {
            params.push(t.to_f32_vec());
        }
    }
    let along = |rank: usize| -> Vec<isize> { (0..rank).map(|a| isize::from(a == 1)).collect() };
    let walk = along(x.shape.len());
    let nest = Nest::new(&y.shape, &[signed(&y.strides), signed(&x.strides), walk]);
    let bases = [0.into(), 0.into(), 0.into()];
    let folded: Option<(Vec<f64>, Vec<f64>)> = match params.as_slice() {
        [scale, bias, mean, var] => Some(
            (0..channels)
                .map(|c| {
                    let gain = f64::from(scale[c]) / libm::sqrt(f64::from(var[c]) + f64::from(epsilon));
                    (gain, f64::from(bias[c]) - f64::from(mean[c]) * gain)
                })
                .unzip(),
        ),
        _ => None,
    };
    match (folded, y.quant.is_some()) {
        (Some((gain, offset)), false) => {
            let single = |v: &[f64]| Data::F32(v.iter().map(|&x| x as f32).collect());
            let (g, o) = (cx.constant("gain", single(&gain), 4), cx.constant("offset", single(&offset), 4));
            let mut k = KernelBuilder::new("batch_normalization_f32");
            let from = x.param(&mut k, "x", Access::Read);
            let gains = k.buffer("gain", DType::F32, channels, Access::Read);
            let offsets = k.buffer("offset", DType::F32, channels, Access::Read);
            let to = y.param(&mut k, "y", Access::Write);
            nest.write(&mut k, &bases, &mut |k, at| {
                let value = from.at(&at[1]) * gains.at(&at[2]) + offsets.at(&at[2]);
                k.store(to, &at[0], clamped(value, clamp, DType::F32));
            });
            cx.step(k, vec![x.arg.clone(), g, o, y.arg.clone()])
        }
        (Some((gain, offset)), true) => scaled(cx, "batch_normalization_s8", &x, &y, &nest, &gain, &offset),
        (None, true) => Err(cx.unsupported("its parameters are computed at run time")),
        (None, false) => {
            let p = [cx.input(1)?, cx.input(2)?, cx.input(3)?, cx.input(4)?];
            let mut k = KernelBuilder::new("batch_normalization_f32");
            let from = x.param(&mut k, "x", Access::Read);
            let [scale, bias, mean, var] = [(0, "scale"), (1, "bias"), (2, "mean"), (3, "var")]
                .map(|(i, n)| p[i].param(&mut k, n, Access::Read));
            let to = y.param(&mut k, "y", Access::Write);
            nest.write(&mut k, &bases, &mut |k, at| {
                let c = &at[2];
                let value =
                    (from.at(&at[1]) - mean.at(c)) / (var.at(c) + epsilon).sqrt() * scale.at(c) + bias.at(c);
                k.store(to, &at[0], clamped(value, clamp, DType::F32));
            });
            cx.step(
                k,
                vec![
                    x.arg.clone(),
                    p[0].arg.clone(),
                    p[1].arg.clone(),
                    p[2].arg.clone(),
                    p[3].arg.clone(),
                    y.arg.clone(),
                ],
            )
        }
    }
}

/// `gain * x + offset` between two quantized values, `nest` walking result, operand and the
/// coefficients: `(x * m + c) >> s` with zero points and rounding in `c`. In 64 bits where 32 would
/// leave fewer than 14 fraction bits, which could be seen in the result.
pub(super) fn scaled(
    cx: &mut Cx<'_>,
    name: &str,
    x: &View,
    y: &View,
    nest: &Nest,
    gain: &[f64],
    offset: &[f64],
) -> Result<()> {
    // Steps of the result beyond which everything saturates; they keep 64-bit sums in range.
    const FAR: f64 = 536_870_912.0;
    let ((si, zi), (so, zo)) = (affine(cx, x)?, affine(cx, y)?);
    let (lo, hi) = y.limits(cx.clamp());
    let steps = |v: &f64| v.clamp(-FAR, FAR);
    let gain: Vec<f64> = gain.iter().map(|g| steps(&(g * si / so))).collect();
    let offset: Vec<f64> = offset.iter().map(|o| steps(&(o / so))).collect();
    let far = |a: f64, v: &f64| a.max(v.abs());
    let widest = gain.iter().fold(0.0, &far) * 256.0 + offset.iter().fold(0.0, far) + 256.0;
    let (_, exponent) = libm::frexp(widest);
    let (s, wide) = match (30 - exponent).min(24) {
        s @ 14.. => (s, false),
        _ => (24, true),
    };
    let fixed = |r: f64| libm::rint(libm::ldexp(r, s)) as i64;
    let m: Vec<i64> = gain.iter().map(|&g| fixed(g)).collect();
    let zero = (i64::from(zo) << s) + (1i64 << (s - 1));
    let c: Vec<i64> = offset.iter().zip(&m).map(|(&o, &m)| fixed(o) + zero - i64::from(zi) * m).collect();
    let elem = if wide { DType::I64 } else { DType::I32 };
    let n = m.len();
    let (m, c) = (
        cx.constant("gain", Data::from_i64(elem, &m), 4),
        cx.constant("offset", Data::from_i64(elem, &c), 4),
    );
    let mut k = KernelBuilder::new(name);
    let from = x.param(&mut k, "x", Access::Read);
    let gains = k.buffer("gain", elem, n, Access::Read);
    let offsets = k.buffer("offset", elem, n, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let v = from.at(&at[1]);
        let v = if wide { v.i64() } else { v };
        let acc = (v * gains.at(&at[2]) + offsets.at(&at[2])) >> s;
        let value = if wide { acc.clamp(long(lo.into()), long(hi.into())).i32() } else { acc.clamp(lo, hi) };
        k.store(to, &at[0], value);
    });
    cx.step(k, vec![x.arg.clone(), m, c, y.arg.clone()])
}
