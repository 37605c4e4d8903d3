//! BatchNormalization that no product took over: per channel, in float and in integers.

use super::Cx;
use super::elementwise::{affine, clamped};
use super::nest::{Nest, signed};
use crate::error::Result;
use crate::kernel::{Access, KernelBuilder};
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
            cx.step(k.finish()?, vec![x.arg, g, o, y.arg])
        }
        (Some((gain, offset)), true) => {
            let ((si, zi), (so, zo)) = (affine(cx, &x)?, affine(cx, &y)?);
            let (lo, hi) = y.limits(clamp);
            let far = |a: f64, v: &f64| a.max(v.abs());
            let widest =
                gain.iter().fold(0.0, &far) * si / so * 256.0 + offset.iter().fold(0.0, far) / so + 256.0;
            let (_, exponent) = libm::frexp(widest);
            let s = (30 - exponent).min(24);
            if s < 6 {
                return Err(cx.unsupported("its gains are too large for its quantized result"));
            }
            let scaled = |r: f64| libm::rint(libm::ldexp(r, s));
            let m: Vec<i32> = gain.iter().map(|g| scaled(g * si / so) as i32).collect();
            let c: Vec<i32> = offset
                .iter()
                .zip(&m)
                .map(|(o, &m)| (scaled(o / so) as i32) + (zo << s) + (1 << (s - 1)) - zi * m)
                .collect();
            let (m, c) = (cx.constant("gain", Data::I32(m), 4), cx.constant("offset", Data::I32(c), 4));
            let mut k = KernelBuilder::new("batch_normalization_s8");
            let from = x.param(&mut k, "x", Access::Read);
            let gains = k.buffer("gain", DType::I32, channels, Access::Read);
            let offsets = k.buffer("offset", DType::I32, channels, Access::Read);
            let to = y.param(&mut k, "y", Access::Write);
            nest.write(&mut k, &bases, &mut |k, at| {
                let acc = from.at(&at[1]) * gains.at(&at[2]) + offsets.at(&at[2]);
                k.store(to, &at[0], (acc >> s).clamp(lo, hi));
            });
            cx.step(k.finish()?, vec![x.arg, m, c, y.arg])
        }
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
            cx.step(k.finish()?, vec![x.arg, p[0].arg, p[1].arg, p[2].arg, p[3].arg, y.arg])
        }
    }
}
