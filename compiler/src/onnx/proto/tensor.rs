//! Tensors of a file -> elements in memory.
//!
//! In: the record of a tensor. Out: a [`Stored`]. Law: every width of integer and float is read from `raw_data` and
//! from the typed fields; elements of less than a byte are unpacked, the first from the lowest bits, and keep the
//! name of their type beside them; nothing is allocated before its size is checked.

use super::{DOUBLE, STRING};
use crate::error::{Error, Result, Site};
use crate::ops::Narrow;
use crate::ops::check::{len, refuse};
use crate::tensor::{DType, Data, Tensor};
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataLocation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A constant of the file: its elements, and their type where the graph has only a wider one.
#[derive(Clone)]
pub(in crate::onnx) struct Stored {
    pub(in crate::onnx) tensor: Tensor,
    pub(in crate::onnx) narrow: Option<Narrow>,
    /// Of text, the texts: the elements are their numbers here.
    pub(in crate::onnx) text: Option<Arc<[String]>>,
}

/// How elements lie in `raw_data`.
#[derive(Clone, Copy)]
enum Raw {
    Same,
    F16,
    Bf16,
    F64,
    /// Several to a byte.
    Packed(Narrow),
}

impl Raw {
    /// The bytes of so many elements, less than 2^31.
    fn bytes(self, dtype: DType, len: usize) -> usize {
        match self {
            Raw::Same => len * dtype.size(),
            Raw::F16 | Raw::Bf16 => len * 2,
            Raw::F64 => len * 8,
            Raw::Packed(narrow) => (len * narrow.bits()).div_ceil(8),
        }
    }
}

/// Our type for an ONNX element type of constants.
fn element(data_type: i32) -> Result<(DType, Raw)> {
    if let Some(narrow) = Narrow::of(data_type.into()) {
        return Ok((narrow.dtype(), Raw::Packed(narrow)));
    }
    let name = match data_type {
        1 => return Ok((DType::F32, Raw::Same)),
        2 => return Ok((DType::U8, Raw::Same)),
        3 => return Ok((DType::I8, Raw::Same)),
        4 => return Ok((DType::U16, Raw::Same)),
        5 => return Ok((DType::I16, Raw::Same)),
        6 => return Ok((DType::I32, Raw::Same)),
        7 => return Ok((DType::I64, Raw::Same)),
        9 => return Ok((DType::Bool, Raw::Same)),
        10 => return Ok((DType::F32, Raw::F16)),
        DOUBLE => return Ok((DType::F32, Raw::F64)),
        12 => return Ok((DType::U32, Raw::Same)),
        13 => return Ok((DType::U64, Raw::Same)),
        16 => return Ok((DType::F32, Raw::Bf16)),
        0 => "undefined",
        STRING => "string",
        14 => "complex64",
        15 => "complex128",
        17..=20 | 24 => "float8",
        23 => "float4",
        n => return Err(Error::model(Site::Whole, format!("has the unknown element type {n}"))),
    };
    Err(Error::model(Site::Whole, format!("element type {name} is not supported"))
        .help("supported are floats of 16, 32 and 64 bits, integers of 8 to 64 bits, and bool"))
}

/// Our type for the ONNX element type of an input or output.
pub(super) fn element_of_port(data_type: i32) -> Result<DType> {
    match element(data_type)? {
        (_, Raw::Packed(narrow)) => {
            Err(refuse(format!("element type {narrow} is supported for constants only"))
                .help("give it 8-bit integers: a caller's arrays have no smaller elements"))
        }
        (dtype, _) => Ok(dtype),
    }
}

/// A shape from signed dims: refuses negative and huge ones before anything is allocated.
pub(in crate::onnx) fn shape(dims: &[i64]) -> Result<Vec<usize>> {
    let shape: Vec<usize> = dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Error::model(Site::Whole, format!("has the dimension {d}"))))
        .collect::<Result<_>>()?;
    len(&shape)?;
    Ok(shape)
}

/// Whether the elements of a tensor lie in a file beside the model (see [`super::external`]).
pub(in crate::onnx) fn is_external(t: &TensorProto) -> bool {
    t.data_location.enum_value() != Ok(DataLocation::DEFAULT) || !t.external_data.is_empty()
}

/// The bytes that the elements of a tensor take in `raw_data`.
pub(in crate::onnx) fn raw_bytes(t: &TensorProto) -> Result<usize> {
    let (dtype, raw) = element(t.data_type)?;
    Ok(raw.bytes(dtype, shape(&t.dims)?.iter().product()))
}

pub(super) fn tensor(t: &TensorProto) -> Result<Stored> {
    let fail = |why: String| Err(Error::model(Site::Whole, why));
    if is_external(t) {
        let file = t.external_data.iter().find(|e| e.key == "location").map_or("", |e| &e.value);
        return Err(Error::model(Site::Whole, format!("its data lie in another file (`{file}`)"))
            .help("save the model as one file: onnx.save(onnx.load(path), path_of_one_file)"));
    }
    if t.segment.is_some() {
        return fail("is stored in segments, which is not supported".into());
    }
    let shape = shape(&t.dims)?;
    if t.data_type == STRING {
        return text(t, shape);
    }
    let (dtype, raw) = element(t.data_type)?;
    let len = shape.iter().product();
    let data = if t.raw_data.is_empty() { typed(t, dtype, raw, len)? } else { from_raw(t, dtype, raw, len)? };
    if data.len() != len {
        return fail(format!("shape {shape:?} needs {len} elements, the file holds {}", data.len()));
    }
    let narrow = if let Raw::Packed(narrow) = raw { Some(narrow) } else { None };
    Ok(Stored { tensor: Tensor::new(shape, data)?, narrow, text: None })
}

/// Text as numbers: texts are counted where they stand for the first time.
fn text(t: &TensorProto, shape: Vec<usize>) -> Result<Stored> {
    let fail = |why: String| Err(Error::model(Site::Whole, why));
    let len: usize = shape.iter().product();
    if t.string_data.len() != len {
        return fail(format!("shape {shape:?} needs {len} texts, the file holds {}", t.string_data.len()));
    }
    let mut known: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut texts, mut numbers) = (Vec::new(), Vec::with_capacity(len));
    for bytes in &t.string_data {
        let Ok(text) = std::str::from_utf8(bytes) else { return fail("is not UTF-8".into()) };
        let number = *known.entry(text).or_insert(texts.len() as i64);
        if number == texts.len() as i64 {
            texts.push(text.to_string());
        }
        numbers.push(number);
    }
    Ok(Stored { tensor: Tensor::new(shape, Data::I64(numbers))?, narrow: None, text: Some(texts.into()) })
}

fn from_raw(t: &TensorProto, dtype: DType, raw: Raw, len: usize) -> Result<Data> {
    let (bytes, needed) = (&t.raw_data, raw.bytes(dtype, len));
    if bytes.len() != needed {
        let why = format!("shape {:?} needs {needed} bytes, the file holds {}", t.dims, bytes.len());
        return Err(Error::model(Site::Whole, why));
    }
    Ok(match raw {
        Raw::Same => Data::from_le_bytes(dtype, bytes),
        Raw::F16 => Data::F32(halves(bytes).map(f16_to_f32).collect()),
        Raw::Bf16 => Data::F32(halves(bytes).map(bf16_to_f32).collect()),
        Raw::F64 => {
            let (chunks, _) = bytes.as_chunks::<8>();
            Data::F32(chunks.iter().map(|c| f64::from_le_bytes(*c) as f32).collect())
        }
        Raw::Packed(narrow) => unpacked(bytes, narrow, len),
    })
}

/// `len` elements out of bytes; the first of a byte stands in its lowest bits, and what the last one leaves is
/// padding.
fn unpacked(bytes: &[u8], narrow: Narrow, len: usize) -> Data {
    let each = (0..8).step_by(narrow.bits());
    let all = bytes.iter().flat_map(|&byte| each.clone().map(move |at| narrow.element(byte >> at)));
    Data::from_i64(narrow.dtype(), &all.take(len).collect::<Vec<_>>())
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|c| u16::from_le_bytes(*c))
}

/// Elements from the typed fields; narrow types share `int32_data` (packed ones a byte in each), u32 shares
/// `uint64_data`.
fn typed(t: &TensorProto, dtype: DType, raw: Raw, len: usize) -> Result<Data> {
    fn narrow<T: TryFrom<i32>>(values: &[i32]) -> Result<Vec<T>> {
        let unfit = |v| Error::model(Site::Whole, format!("element {v} does not fit its type"));
        values.iter().map(|&v| T::try_from(v).map_err(|_| unfit(v))).collect()
    }
    Ok(match (dtype, raw) {
        (_, Raw::Packed(narrow)) => {
            // A byte may be written as a signed one.
            let byte = |v: i32| u8::try_from(v).or_else(|_| i8::try_from(v).map(i8::cast_unsigned));
            let unfit = |v| Error::model(Site::Whole, format!("element {v} is no byte of packed elements"));
            let bytes =
                t.int32_data.iter().map(|&v| byte(v).map_err(|_| unfit(v))).collect::<Result<Vec<u8>>>()?;
            let needed = raw.bytes(dtype, len);
            if bytes.len() != needed {
                let why =
                    format!("shape {:?} needs {needed} packed bytes, the file holds {}", t.dims, bytes.len());
                return Err(Error::model(Site::Whole, why));
            }
            unpacked(&bytes, narrow, len)
        }
        (_, Raw::F16) => Data::F32(narrow(&t.int32_data)?.into_iter().map(f16_to_f32).collect()),
        (_, Raw::Bf16) => Data::F32(narrow(&t.int32_data)?.into_iter().map(bf16_to_f32).collect()),
        (_, Raw::F64) => Data::F32(t.double_data.iter().map(|&v| v as f32).collect()),
        (DType::F32, Raw::Same) => Data::F32(t.float_data.clone()),
        (DType::I8, Raw::Same) => Data::I8(narrow(&t.int32_data)?),
        (DType::U8, Raw::Same) => Data::U8(narrow(&t.int32_data)?),
        (DType::I16, Raw::Same) => Data::I16(narrow(&t.int32_data)?),
        (DType::U16, Raw::Same) => Data::U16(narrow(&t.int32_data)?),
        (DType::I32, Raw::Same) => Data::I32(t.int32_data.clone()),
        (DType::I64, Raw::Same) => Data::I64(t.int64_data.clone()),
        (DType::U32, Raw::Same) => {
            let unfit = |v| Error::model(Site::Whole, format!("element {v} does not fit its type"));
            Data::U32(
                t.uint64_data
                    .iter()
                    .map(|&v| u32::try_from(v).map_err(|_| unfit(v)))
                    .collect::<Result<_>>()?,
            )
        }
        (DType::U64, Raw::Same) => Data::U64(t.uint64_data.clone()),
        (DType::Bool, Raw::Same) => Data::Bool(t.int32_data.iter().map(|&v| v != 0).collect()),
    })
}

/// IEEE 754 binary16 to binary32, exact.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits) & 0x3ff;
    match exponent {
        // A subnormal is its fraction times 2^-24; the product is exact.
        0 => {
            let magnitude = fraction as f32 * (1.0 / 16_777_216.0);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// bfloat16 is the upper half of binary32.
fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests;
