//! The border of a program: real values <-> what its ports hold.

use super::Port;
use crate::tensor::{DType, Data, Tensor};

/// A real input as the port wants it: quantized (round half to even, saturated) if it has a scale.
pub fn to_port(real: &Tensor, port: &Port) -> Tensor {
    if let (Some((scale, zero)), Some(floats)) = (port.affine, real.as_f32()) {
        let (lo, hi) = port.elem.range().unwrap_or((0, 0));
        let stored: Vec<i64> = floats
            .iter()
            .map(|&x| {
                (f64::from((x / scale).round_ties_even()) + f64::from(zero)).clamp(lo as f64, hi as f64)
                    as i64
            })
            .collect();
        return Tensor::new(port.shape.clone(), Data::from_i64(port.elem, &stored))
            .unwrap_or_else(|_| real.clone());
    }
    if let Some(shift) = shifted(real.dtype(), port.elem) {
        let stored: Vec<i64> = real.to_i64_vec().iter().map(|v| v - shift).collect();
        return Tensor::new(port.shape.clone(), Data::from_i64(port.elem, &stored))
            .unwrap_or_else(|_| real.clone());
    }
    real.clone()
}

/// A port's output as real values.
pub fn from_port(stored: &Tensor, port: &Port) -> Tensor {
    match port.affine {
        Some((scale, zero)) if !stored.dtype().is_float() => {
            let real = stored.to_i64_vec().iter().map(|&q| scale * (q - i64::from(zero)) as f32).collect();
            Tensor::f32(stored.shape(), real)
        }
        _ => stored.clone(),
    }
}

/// A port's output as the model declares it, `declared` being the type there: real values for a
/// float output; for an integer one the integers of the model's own type, whatever they stand for.
pub fn as_declared(stored: &Tensor, port: &Port, declared: DType) -> Tensor {
    match (declared, port.elem) {
        (DType::F32, _) => from_port(stored, port),
        _ => match shifted(declared, port.elem) {
            Some(shift) => {
                let plain: Vec<i64> = stored.to_i64_vec().iter().map(|v| v + shift).collect();
                Tensor::new(stored.shape().to_vec(), Data::from_i64(declared, &plain))
                    .unwrap_or_else(|_| stored.clone())
            }
            None => stored.clone(),
        },
    }
}

/// How far below a model's unsigned integers those of a port stand.
pub(super) fn shifted(declared: DType, elem: DType) -> Option<i64> {
    match (declared, elem) {
        (DType::U8, DType::I8) => Some(1 << 7),
        (DType::U16, DType::I16) => Some(1 << 15),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(elem: DType, affine: Option<(f32, i32)>, shape: &[usize]) -> Port {
        Port {
            name: "x".into(),
            shape: shape.to_vec(),
            elem,
            real: DType::F32,
            declared: DType::F32,
            affine,
            at: 0,
        }
    }

    #[test]
    fn quantizing_at_the_border_rounds_half_to_even_and_saturates() {
        let port = port(DType::I8, Some((0.5, -1)), &[6]);
        let real = Tensor::f32(&[6], vec![0.25, 0.75, -0.25, 1000.0, -1000.0, 0.5]);
        let stored = to_port(&real, &port);
        assert_eq!(stored.data(), &Data::I8(vec![-1, 1, -1, 127, -128, 0]));
        assert_eq!(from_port(&stored, &port).as_f32().unwrap()[1], 1.0);
    }

    #[test]
    fn integer_outputs_keep_the_type_of_the_model() {
        let port = port(DType::I8, Some((0.5, -118)), &[2]);
        let stored = Tensor::new(vec![2], Data::I8(vec![-128, 127])).unwrap();
        assert_eq!(as_declared(&stored, &port, DType::U8).data(), &Data::U8(vec![0, 255]));
        assert_eq!(as_declared(&stored, &port, DType::I8), stored);
        assert_eq!(as_declared(&stored, &port, DType::F32).as_f32(), Some(&[-5.0, 122.5][..]));
    }
}
