//! What convolution, dense and matrix product have in common: coefficients at hand at compile
//! time, their zero points folded away, their sums proven to fit, and the way they end.
//!
//! Law: no partial sum of a product leaves 32 bits, whatever the run-time data; a layer whose
//! weights cannot promise that is refused.

use crate::arith::quant::{Clamp, Quant};
use crate::arith::requant::{Output, requant, requant_wide};
use crate::call::Bind;
use crate::epilogue::Finish;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val};
use crate::tensor::{DType, Data, Tensor};

/// A linear map with constant weights, one output channel per row.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// `[channels, taps]` row-major: `F32`, or `I32` with the weight zero point subtracted.
    pub weights: Data,
    /// `[channels]`: `F32`, or `I32` in units of input scale * weight scale.
    pub bias: Data,
    /// Zero point of the input; 0 for floats.
    pub x_zp: i32,
    /// Element type of the input in memory: `F32`, `I8` or `I16`.
    pub operand: DType,
    pub finish: Finish,
}

/// The affine code of an activation: scale and zero point.
pub fn affine(quant: &Quant) -> Result<(f64, i32)> {
    match (quant.scale.as_slice(), quant.zero_point.as_slice()) {
        ([scale], [zp]) => Ok((f64::from(*scale), *zp)),
        _ => Err(Error::model(Site::Whole, "an activation is quantized per channel")
            .help("only weights may be quantized per channel")),
    }
}

/// Scale and zero point of each of `n` rows of a weight tensor.
fn per_row(quant: &Quant, rows_axis: usize, n: usize) -> Result<Vec<(f64, i32)>> {
    let pairs: Vec<(f64, i32)> =
        quant.scale.iter().map(|&s| f64::from(s)).zip(quant.zero_point.iter().copied()).collect();
    match pairs.len() {
        1 => Ok(vec![pairs[0]; n]),
        len if len == n && quant.axis == Some(rows_axis) => Ok(pairs),
        len => Err(Error::model(
            Site::Whole,
            format!("the weights have {len} scales along axis {:?}, and {n} output channels", quant.axis),
        )
        .help("weights are quantized per tensor or per output channel")),
    }
}

impl Product {
    pub fn float(weights: &[f32], bias: Option<&[f32]>, rows: usize, clamp: Clamp) -> Product {
        Product {
            weights: Data::F32(weights.to_vec()),
            bias: Data::F32(bias.map_or_else(|| vec![0.0; rows], <[f32]>::to_vec)),
            x_zp: 0,
            operand: DType::F32,
            finish: Finish::Float(clamp),
        }
    }

    /// Integer weights with their code (rows along axis 0), an optional bias with its own code
    /// (none: real values), and the codes of input and result, eight or sixteen bits each.
    pub fn int(
        weights: (&Tensor, &Quant),
        bias: Option<(&Tensor, Option<&Quant>)>,
        x: &Quant,
        y: &Quant,
        clamp: Clamp,
    ) -> Result<Product> {
        let (y_scale, _) = affine(y)?;
        Product::rounded(weights, bias, x, y_scale, (Output::new(y, clamp)?, y.dtype == DType::I16))
    }

    /// The same with results of sixteen bits, each step `step` wide.
    pub fn wide(
        weights: (&Tensor, &Quant),
        bias: Option<(&Tensor, Option<&Quant>)>,
        x: &Quant,
        step: f64,
    ) -> Result<Product> {
        let out = Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() };
        Product::rounded(weights, bias, x, step, (out, true))
    }

    fn rounded(
        weights: (&Tensor, &Quant),
        bias: Option<(&Tensor, Option<&Quant>)>,
        x: &Quant,
        y_scale: f64,
        (out, wide): (Output, bool),
    ) -> Result<Product> {
        let rows = weights.0.shape().first().copied().unwrap_or(1);
        let (x_scale, x_zp) = affine(x)?;
        let operand = if x.dtype == DType::I16 { DType::I16 } else { DType::I8 };
        let codes = per_row(weights.1, 0, rows)?;
        let stored = weights.0.to_i64_vec();
        let taps = stored.len().checked_div(rows).unwrap_or(0);
        let w: Vec<i32> =
            stored.iter().enumerate().map(|(i, &w)| w as i32 - codes[i / taps.max(1)].1).collect();
        let steps: Vec<f64> = codes.iter().map(|c| x_scale * c.0).collect();
        let b = bias_integers(bias, &steps)?;
        let mut ranges = Vec::with_capacity(rows);
        for c in 0..rows {
            ranges.push(reach(&w[c * taps..(c + 1) * taps], b[c], (operand, x_zp))?);
        }
        let real: Vec<f64> = steps.iter().map(|s| s / y_scale).collect();
        let requant = if wide { requant_wide(&real, &ranges, out)? } else { requant(&real, &ranges, out)? };
        let finish = if wide { Finish::Wide(requant) } else { Finish::Int(requant) };
        Ok(Product { weights: Data::I32(w), bias: Data::I32(b), x_zp, operand, finish })
    }

    /// Least and greatest accumulator of each output channel; empty for floats.
    pub fn reach(&self) -> Result<Vec<(i32, i32)>> {
        let (Data::I32(w), Data::I32(b)) = (&self.weights, &self.bias) else { return Ok(Vec::new()) };
        let taps = w.len().checked_div(b.len()).unwrap_or(0);
        (0..b.len()).map(|c| reach(&w[c * taps..(c + 1) * taps], b[c], (self.operand, self.x_zp))).collect()
    }
    /// The suffix of kernel names: the types of inputs and results.
    pub fn suffix(&self) -> &'static str {
        match (self.operand, self.finish.elem()) {
            (DType::I16, DType::I16) => "s16_s16",
            (DType::I16, _) => "s16_s8",
            _ => self.finish.suffix(),
        }
    }
    /// Whether eight bits hold inputs and results, as most native kernels want it.
    pub fn eight_bits(&self) -> bool {
        self.operand == DType::I8 && self.finish.elem() == DType::I8
    }
    /// Moves the input's zero point into the bias: sums over plain stored inputs then give the
    /// same accumulator. Right only where every tap of every output is read.
    pub fn folded(mut self) -> Product {
        if let (Data::I32(w), Data::I32(b)) = (&self.weights, &mut self.bias) {
            let taps = w.len().checked_div(b.len()).unwrap_or(0);
            for (c, b) in b.iter_mut().enumerate() {
                *b -= self.x_zp * w[c * taps..(c + 1) * taps].iter().sum::<i32>();
            }
        }
        self.x_zp = 0;
        self
    }
    /// The same for inputs of sixteen bits, which kernels read as they are: padding is their zero point then.
    pub fn folded_wide(self) -> Product {
        if self.operand == DType::I16 { self.folded() } else { self }
    }
    /// Whether four bits hold each weight.
    pub fn four_bits(&self) -> bool {
        matches!(&self.weights, Data::I32(w) if w.iter().all(|w| (-8..=7).contains(w)))
    }
    /// Whether a twelfth of the weights is zero.
    pub fn zeros(&self) -> bool {
        matches!(&self.weights, Data::I32(w) if 12 * w.iter().filter(|&&w| w == 0).count() >= w.len())
    }
    /// The weights in another order (indices into [`Product::weights`]), as narrow as they go.
    pub fn packed(&self, order: &[usize]) -> Data {
        match &self.weights {
            Data::F32(w) => Data::F32(order.iter().map(|&i| w[i]).collect()),
            Data::I32(w) => {
                let w: Vec<i64> = order.iter().map(|&i| i64::from(w[i])).collect();
                let narrow = w.iter().all(|w| (-128..=127).contains(w));
                Data::from_i64(if narrow { DType::I8 } else { DType::I16 }, &w)
            }
            other => other.clone(),
        }
    }
    /// The same, two weights of four bits a byte where `four` says so: the low one first.
    pub fn coefficients(&self, order: &[usize], four: bool) -> Coefficients {
        let data = match &self.weights {
            Data::I32(w) if four => {
                let digits: Vec<u8> = order.iter().map(|&i| w[i] as u8 & 15).collect();
                let byte = |pair: &[u8]| (pair[0] | pair.get(1).unwrap_or(&0) << 4) as i8;
                Data::I8(digits.chunks(2).map(byte).collect())
            }
            _ => self.packed(order),
        };
        Coefficients { data, four }
    }
    /// Declares the scalar `zx` where the input has a zero point left to subtract.
    pub fn declare_zero(&self, k: &mut KernelBuilder) -> Zero {
        let (least, most) = stored(self.operand);
        Zero((self.x_zp != 0).then(|| k.scalar("zx", least, most)))
    }
    pub fn zero_role(&self) -> Option<Bind> {
        (self.x_zp != 0).then_some(Bind::Scalar(self.x_zp))
    }
}

/// Weights as portable loops read them, one behind the other.
pub struct Coefficients {
    pub data: Data,
    four: bool,
}

/// The parameter that stands for [`Coefficients`].
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    w: Buf,
    four: bool,
}

impl Coefficients {
    pub fn declare(&self, k: &mut KernelBuilder) -> Weights {
        Weights { w: constant(k, "w", &self.data), four: self.four }
    }
}

impl Weights {
    pub fn at(self, index: impl Into<Expr>) -> Expr {
        let index = index.into();
        if !self.four {
            return self.w.at(index);
        }
        let digit = (self.w.at(index.clone() >> 1) >> ((index & 1) << 2)) & 15;
        (digit ^ 8) - 8
    }
}

/// The zero point to subtract from each input, if any.
#[derive(Debug, Clone, Copy)]
pub struct Zero(pub Option<Val>);

impl Zero {
    pub fn load(self, x: Buf, index: impl Into<Expr>) -> Expr {
        match self.0 {
            Some(zp) => x.at(index) - zp,
            None => x.at(index),
        }
    }
}

/// Declares the input buffer that `strides` over `extents` reach into.
pub fn reach_len(extents: &[usize], strides: &[usize]) -> usize {
    1 + extents.iter().zip(strides).map(|(n, s)| n.saturating_sub(1) * s).sum::<usize>()
}

/// A read-only parameter of just the data's type and length.
pub fn constant(k: &mut KernelBuilder, name: &str, data: &Data) -> Buf {
    k.buffer(name, data.dtype(), data.len(), Access::Read)
}

/// Biases as integers of `steps[c]` each, re-rounded where their own code differs.
fn bias_integers(bias: Option<(&Tensor, Option<&Quant>)>, steps: &[f64]) -> Result<Vec<i32>> {
    let Some((tensor, quant)) = bias else { return Ok(vec![0; steps.len()]) };
    let codes = match quant {
        Some(q) => per_row(q, 0, steps.len())?,
        None => vec![(1.0, 0); steps.len()],
    };
    let stored = tensor.to_f64_vec();
    (stored.iter().zip(&codes).zip(steps))
        .map(|((&b, &(scale, zp)), &step)| {
            let units = b - f64::from(zp);
            // Producers round the product of scales to f32: what is that near counts as equal.
            let near = quant.is_some() && (scale - step).abs() <= step * 1e-5;
            let value = if near { units } else { libm::rint(units * scale / step) };
            if value.abs() <= f64::from(i32::MAX) {
                Ok(value as i32)
            } else {
                Err(Error::model(Site::Whole, format!("a bias of {value:e} steps leaves 32 bits")))
            }
        })
        .collect()
}

/// The integers of an activation's type in memory.
fn stored(operand: DType) -> (i32, i32) {
    match operand {
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        _ => (i8::MIN.into(), i8::MAX.into()),
    }
}

/// Least and greatest accumulator of one output channel over all inputs of a type and zero point.
fn reach(w: &[i32], bias: i32, (operand, x_zp): (DType, i32)) -> Result<(i32, i32)> {
    let (least, most) = stored(operand);
    let (least, most) = (i64::from(least) - i64::from(x_zp), i64::from(most) - i64::from(x_zp));
    // Sums over stored inputs and the zero point's share in the bias, which hold whichever way a kernel takes.
    let far = if operand == DType::I16 { (1 << 15) + i64::from(x_zp).abs() } else { 256 };
    let (mut lo, mut hi, mut worst) = (i64::from(bias), i64::from(bias), i64::from(bias).abs());
    for &w in w {
        let ends = [i64::from(w) * least, i64::from(w) * most];
        lo += ends[0].min(ends[1]).min(0);
        hi += ends[0].max(ends[1]).max(0);
        worst += far * i64::from(w).abs();
    }
    if worst > i64::from(i32::MAX) {
        return Err(Error::model(
            Site::Whole,
            format!("sums over {} products can leave 32 bits (up to {worst})", w.len()),
        )
        .help("weights this many and this large need a wider accumulator, which is not supported"));
    }
    Ok((lo as i32, hi as i32))
}
