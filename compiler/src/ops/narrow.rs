//! Integer types of less than a byte, several of which ONNX packs into one.
//!
//! In: ONNX's number of an element type. Out: the type that holds its elements, and their interval. Law: no value
//! of a graph has such a type. Constants are held as 8-bit integers, and a quantizer to four bits is one to eight
//! whose results are limited.

use crate::tensor::DType;
use std::fmt;

/// An integer of four or two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    U4,
    I4,
    U2,
    I2,
}

impl Narrow {
    /// The type of a type number of ONNX (`TensorProto.DataType`), if it is one of these.
    pub(crate) fn of(code: i64) -> Option<Narrow> {
        match code {
            21 => Some(Narrow::U4),
            22 => Some(Narrow::I4),
            25 => Some(Narrow::U2),
            26 => Some(Narrow::I2),
            _ => None,
        }
    }
    pub(crate) fn bits(self) -> usize {
        match self {
            Narrow::U4 | Narrow::I4 => 4,
            Narrow::U2 | Narrow::I2 => 2,
        }
    }
    /// The type that holds its elements.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Narrow::U4 | Narrow::U2 => DType::U8,
            Narrow::I4 | Narrow::I2 => DType::I8,
        }
    }
    /// Its least and its greatest element.
    pub(crate) fn range(self) -> (i64, i64) {
        match self {
            Narrow::U4 => (0, 15),
            Narrow::I4 => (-8, 7),
            Narrow::U2 => (0, 3),
            Narrow::I2 => (-2, 1),
        }
    }
    /// The element in the lowest bits of a byte.
    pub(crate) fn element(self, byte: u8) -> i64 {
        let (_, most) = self.range();
        let bits = i64::from(byte) & ((1 << self.bits()) - 1);
        // Two's complement: what is beyond the greatest is negative.
        if bits > most { bits - (1 << self.bits()) } else { bits }
    }
}

impl fmt::Display for Narrow {
    /// As ONNX calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Narrow::U4 => "uint4",
            Narrow::I4 => "int4",
            Narrow::U2 => "uint2",
            Narrow::I2 => "int2",
        })
    }
}
