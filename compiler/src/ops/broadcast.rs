//! NumPy broadcasting of two operands, strided walks, and the shared body of Add, Sub, Mul, Div.

use super::check::{numeric, operand, refuse, result, same_dtype, tensor};
use super::{Operand, ValueType, check};
use crate::error::Result;
use crate::tensor::{Data, Tensor, row_major_strides};

/// The shape that two shapes broadcast to.
pub(crate) fn shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(refuse(format!("shapes {a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

/// Strides with which a tensor of shape `from` is read along the axes of `to`: 0 where it repeats.
pub(crate) fn strides(from: &[usize], to: &[usize]) -> Vec<isize> {
    let own = row_major_strides(from);
    let lead = to.len() - from.len();
    (0..to.len()).map(|i| if i < lead || from[i - lead] == 1 { 0 } else { own[i - lead] as isize }).collect()
}

/// Offsets of a strided walk over `shape`, row-major.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    shape: &'a [usize],
    strides: &'a [isize],
    index: Vec<usize>,
    offset: isize,
    left: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(shape: &'a [usize], strides: &'a [isize], start: usize) -> Self {
        let left = shape.iter().product();
        Walk { shape, strides, index: vec![0; shape.len()], offset: start as isize, left }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let now = self.offset as usize;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.strides[axis] * self.shape[axis] as isize;
            self.index[axis] = 0;
        }
        Some(now)
    }
}

/// The elements that a strided walk meets, as a tensor of `shape`. The walk must stay inside.
pub(crate) fn pick(t: &Tensor, shape: &[usize], strides: &[isize], start: usize) -> Result<Tensor> {
    let walk = Walk::new(shape, strides, start);
    let data = crate::with_data!(t.data(), v => Data::from(walk.map(|o| v[o]).collect::<Vec<_>>()));
    Tensor::new(shape.to_vec(), data)
}

/// Types of an elementwise operator with two numeric operands.
pub(crate) fn infer(inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
    check::at_most(inputs, 2)?;
    let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
    numeric(a, "the first input")?;
    same_dtype(a, b)?;
    result(a.dtype, shape(a.shape, b.shape)?)
}

/// Applies `real` to floats; integers go through `int` exactly and then wrap to their width.
pub(crate) fn eval(
    inputs: &[Option<&Tensor>],
    real: fn(f32, f32) -> f32,
    int: fn(i128, i128) -> Option<i128>,
) -> Result<Vec<Tensor>> {
    let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
    let to = shape(a.shape(), b.shape())?;
    let (sa, sb) = (strides(a.shape(), &to), strides(b.shape(), &to));
    let pairs = Walk::new(&to, &sa, 0).zip(Walk::new(&to, &sb, 0));
    macro_rules! ints {
        ($x:expr, $y:expr, $ty:ty) => {
            Data::from(
                pairs
                    .map(|(i, j)| int($x[i] as i128, $y[j] as i128).map(|v| v as $ty))
                    .collect::<Option<Vec<$ty>>>()
                    .ok_or_else(|| refuse("divides an integer by zero"))?,
            )
        };
    }
    let data = match (a.data(), b.data()) {
        (Data::F32(x), Data::F32(y)) if a.shape() == b.shape() => {
            Data::F32(x.iter().zip(y).map(|(&x, &y)| real(x, y)).collect())
        }
        (Data::F32(x), Data::F32(y)) => Data::F32(pairs.map(|(i, j)| real(x[i], y[j])).collect()),
        (Data::I8(x), Data::I8(y)) => ints!(x, y, i8),
        (Data::U8(x), Data::U8(y)) => ints!(x, y, u8),
        (Data::I16(x), Data::I16(y)) => ints!(x, y, i16),
        (Data::U16(x), Data::U16(y)) => ints!(x, y, u16),
        (Data::I32(x), Data::I32(y)) => ints!(x, y, i32),
        (Data::U32(x), Data::U32(y)) => ints!(x, y, u32),
        (Data::I64(x), Data::I64(y)) => ints!(x, y, i64),
        (Data::U64(x), Data::U64(y)) => ints!(x, y, u64),
        _ => return Err(refuse("the inputs have no common numeric type")),
    };
    Ok(vec![Tensor::new(to, data)?])
}
