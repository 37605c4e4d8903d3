//! The float meaning of functions of one float, and the operators on bits.
//!
//! Law: computed in double precision with `libm` and rounded once, where single precision would cancel.

use super::{Fold, Values, values, whole};
use crate::error::Result;
use crate::ops::check::refuse;
use crate::tensor::{DType, Data, Tensor};

/// Of a double, rounded once.
fn once(x: f32, f: fn(f64) -> f64) -> f32 {
    f(f64::from(x)) as f32
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

impl Fold<'_> {
    /// A float attribute, in double precision.
    fn factor(&self, name: &str, default: f32) -> Result<f64> {
        Ok(f64::from(self.cx.float_or(name, default)?))
    }

    /// The operator as a function of one float; `None` for others.
    pub(super) fn real(&self) -> Result<Option<Box<dyn Fn(f32) -> f32>>> {
        fn plain(f: fn(f64) -> f64) -> Box<dyn Fn(f32) -> f32> {
            Box::new(move |x| once(x, f))
        }
        fn of(f: impl Fn(f64) -> f64 + 'static) -> Box<dyn Fn(f32) -> f32> {
            Box::new(move |x| f(f64::from(x)) as f32)
        }
        Ok(Some(match self.cx.op_type {
            "Acos" => plain(libm::acos),
            "Acosh" => plain(libm::acosh),
            "Asin" => plain(libm::asin),
            "Asinh" => plain(libm::asinh),
            "Atan" => plain(libm::atan),
            "Atanh" => plain(libm::atanh),
            "Cosh" => plain(libm::cosh),
            "Sinh" => plain(libm::sinh),
            "Tan" => plain(libm::tan),
            "Softplus" => plain(softplus),
            "Softsign" => plain(|x| x / (1.0 + x.abs())),
            "Mish" => plain(|x| x * libm::tanh(softplus(x))),
            "Gelu" => {
                let tanh = self.cx.str_or("approximate", "none")? == "tanh";
                let root = libm::sqrt(2.0 / std::f64::consts::PI);
                of(move |x| match tanh {
                    true => 0.5 * x * (1.0 + libm::tanh(root * (x + 0.044715 * x * x * x))),
                    false => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
                })
            }
            "Swish" => {
                let alpha = self.factor("alpha", 1.0)?;
                of(move |x| x / (1.0 + libm::exp(-alpha * x)))
            }
            "Elu" => {
                let alpha = self.factor("alpha", 1.0)?;
                of(move |x| if x < 0.0 { alpha * libm::expm1(x) } else { x })
            }
            "Celu" => {
                let alpha = self.factor("alpha", 1.0)?;
                of(move |x| if x < 0.0 { alpha * libm::expm1(x / alpha) } else { x })
            }
            "Selu" => {
                let alpha = self.factor("alpha", 1.673_263_2)?;
                let gamma = self.factor("gamma", 1.050_701)?;
                of(move |x| gamma * if x <= 0.0 { alpha * libm::expm1(x) } else { x })
            }
            "ThresholdedRelu" => {
                let alpha = self.factor("alpha", 1.0)?;
                of(move |x| if x > alpha { x } else { 0.0 })
            }
            "Shrink" => {
                let (bias, lambd) = (self.factor("bias", 0.0)?, self.factor("lambd", 0.5)?);
                of(move |x| {
                    if x < -lambd {
                        x + bias
                    } else if x > lambd {
                        x - bias
                    } else {
                        0.0
                    }
                })
            }
            _ => return Ok(None),
        }))
    }

    /// A question about one float.
    pub(super) fn test(&self, f: impl Fn(f32) -> bool) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let Values::Real(v) = values(x) else { return Err(refuse("the input is not float")) };
        Tensor::new(x.shape().to_vec(), Data::Bool(v.into_iter().map(f).collect()))
    }

    pub(super) fn is_inf(&self) -> Result<Tensor> {
        let up = self.cx.int_or("detect_positive", 1)? != 0;
        let down = self.cx.int_or("detect_negative", 1)? != 0;
        self.test(|x| x.is_infinite() && if x > 0.0 { up } else { down })
    }

    /// A slope where the input is negative.
    pub(super) fn sloped(&self) -> Result<Tensor> {
        let (x, slope) = self.pair()?;
        self.both(x, slope, |x, s| if x < 0.0 { s * x } else { x }, |x, s| if x < 0 { s * x } else { x })
    }

    /// The mean of any number of operands.
    pub(super) fn mean(&self) -> Result<Tensor> {
        let sum = self.variadic(|a, b| a + b, i128::wrapping_add)?;
        let Values::Real(v) = values(&sum) else { return Err(refuse("the inputs are not float")) };
        let count = self.cx.inputs.len() as f32;
        Tensor::new(sum.shape().to_vec(), Data::F32(v.into_iter().map(|x| x / count).collect()))
    }

    /// An operator on the bits of integers.
    pub(super) fn bits(&self, f: fn(i128, i128) -> i128) -> Result<Tensor> {
        let (a, b) = self.pair()?;
        self.both(a, b, |_, _| f32::NAN, f)
    }

    pub(super) fn complement(&self) -> Result<Tensor> {
        let x = self.tensor(0)?;
        match (values(x), x.dtype()) {
            (Values::Whole(v), dtype) if dtype != DType::Bool => {
                let v: Vec<i128> = v.into_iter().map(|x| !x).collect();
                Tensor::new(x.shape().to_vec(), whole(dtype, &v))
            }
            (_, dtype) => Err(refuse(format!("is not defined for {dtype}"))),
        }
    }

    pub(super) fn shift(&self) -> Result<Tensor> {
        let left = self.cx.str_or("direction", "")? == "LEFT";
        let by = |b: i128| u32::try_from(b).unwrap_or(64).min(64);
        let (a, b) = self.pair()?;
        if left {
            return self.both(a, b, |_, _| f32::NAN, |a, n| a << by(n));
        }
        self.both(a, b, |_, _| f32::NAN, |a, n| a >> by(n))
    }
}
