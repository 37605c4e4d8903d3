//! Dense tensors of the compiler: a row-major array with a shape and an element type.
//!
//! Law: the number of elements always equals the product of the shape.
//! All float widths of ONNX (bfloat16, float16, float, double) are held as `F32`.

use crate::error::{Error, Result, Site};

/// Element types of values, buffers and constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    Bool,
}

impl DType {
    /// Bytes of one element; `Bool` takes one.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::I64 | DType::U64 => 8,
        }
    }
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32)
    }
    /// Rust's name of the type, also used in the text forms.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::Bool => "bool",
        }
    }
    /// Smallest and largest value; `None` for floats.
    pub const fn range(self) -> Option<(i128, i128)> {
        Some(match self {
            DType::F32 => return None,
            DType::I8 => (-128, 127),
            DType::U8 => (0, 255),
            DType::I16 => (-32768, 32767),
            DType::U16 => (0, 65535),
            DType::I32 => (i32::MIN as i128, i32::MAX as i128),
            DType::U32 => (0, u32::MAX as i128),
            DType::I64 => (i64::MIN as i128, i64::MAX as i128),
            DType::U64 => (0, u64::MAX as i128),
            DType::Bool => (0, 1),
        })
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The elements, row-major. Narrow integers share the storage of their own width.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
}

/// Runs `$body` with `$v` bound to the vector of whatever element type `$data` has.
#[macro_export]
macro_rules! with_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::Data::F32($v) => $body,
            $crate::tensor::Data::I8($v) => $body,
            $crate::tensor::Data::U8($v) => $body,
            $crate::tensor::Data::I16($v) => $body,
            $crate::tensor::Data::U16($v) => $body,
            $crate::tensor::Data::I32($v) => $body,
            $crate::tensor::Data::U32($v) => $body,
            $crate::tensor::Data::I64($v) => $body,
            $crate::tensor::Data::U64($v) => $body,
            $crate::tensor::Data::Bool($v) => $body,
        }
    };
}

impl Data {
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::I8(_) => DType::I8,
            Data::U8(_) => DType::U8,
            Data::I16(_) => DType::I16,
            Data::U16(_) => DType::U16,
            Data::I32(_) => DType::I32,
            Data::U32(_) => DType::U32,
            Data::I64(_) => DType::I64,
            Data::U64(_) => DType::U64,
            Data::Bool(_) => DType::Bool,
        }
    }
    pub fn len(&self) -> usize {
        with_data!(self, v => v.len())
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// `len` zeros of the type.
    pub fn zeros(dtype: DType, len: usize) -> Data {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; len]),
            DType::I8 => Data::I8(vec![0; len]),
            DType::U8 => Data::U8(vec![0; len]),
            DType::I16 => Data::I16(vec![0; len]),
            DType::U16 => Data::U16(vec![0; len]),
            DType::I32 => Data::I32(vec![0; len]),
            DType::U32 => Data::U32(vec![0; len]),
            DType::I64 => Data::I64(vec![0; len]),
            DType::U64 => Data::U64(vec![0; len]),
            DType::Bool => Data::Bool(vec![false; len]),
        }
    }
    /// Integers (and bools) saturated into `dtype`; floats only for `F32`, by `as`.
    pub fn from_i64(dtype: DType, values: &[i64]) -> Data {
        fn conv<T: TryFrom<i64> + Copy>(values: &[i64], lo: T, hi: T) -> Vec<T> {
            values.iter().map(|&v| T::try_from(v).unwrap_or(if v < 0 { lo } else { hi })).collect()
        }
        match dtype {
            DType::F32 => Data::F32(values.iter().map(|&v| v as f32).collect()),
            DType::I8 => Data::I8(conv(values, i8::MIN, i8::MAX)),
            DType::U8 => Data::U8(conv(values, 0, u8::MAX)),
            DType::I16 => Data::I16(conv(values, i16::MIN, i16::MAX)),
            DType::U16 => Data::U16(conv(values, 0, u16::MAX)),
            DType::I32 => Data::I32(conv(values, i32::MIN, i32::MAX)),
            DType::U32 => Data::U32(conv(values, 0, u32::MAX)),
            DType::I64 => Data::I64(values.to_vec()),
            DType::U64 => Data::U64(conv(values, 0, u64::MAX)),
            DType::Bool => Data::Bool(values.iter().map(|&v| v != 0).collect()),
        }
    }
    /// Little-endian bytes, as they stand in flash and in NumPy files.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I8(v) => v.iter().map(|&x| x as u8).collect(),
            Data::U8(v) => v.clone(),
            Data::I16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::U16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::U64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::Bool(v) => v.iter().map(|&x| x as u8).collect(),
        }
    }
    /// The inverse of [`Data::to_le_bytes`]; trailing bytes that fill no element are ignored.
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Data {
        fn conv<const N: usize, T>(bytes: &[u8], f: fn([u8; N]) -> T) -> Vec<T> {
            let (chunks, _) = bytes.as_chunks::<N>();
            chunks.iter().map(|c| f(*c)).collect()
        }
        match dtype {
            DType::F32 => Data::F32(conv(bytes, f32::from_le_bytes)),
            DType::I8 => Data::I8(bytes.iter().map(|&b| b as i8).collect()),
            DType::U8 => Data::U8(bytes.to_vec()),
            DType::I16 => Data::I16(conv(bytes, i16::from_le_bytes)),
            DType::U16 => Data::U16(conv(bytes, u16::from_le_bytes)),
            DType::I32 => Data::I32(conv(bytes, i32::from_le_bytes)),
            DType::U32 => Data::U32(conv(bytes, u32::from_le_bytes)),
            DType::I64 => Data::I64(conv(bytes, i64::from_le_bytes)),
            DType::U64 => Data::U64(conv(bytes, u64::from_le_bytes)),
            DType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
        }
    }
}

/// A Rust type that stands in [`Data`].
pub trait Element: Copy + Default + PartialOrd + 'static {
    const DTYPE: DType;
    /// The elements, if `data` holds this type.
    fn of(data: &Data) -> Option<&[Self]>;
}

macro_rules! elements {
    ($($ty:ty => $variant:ident),* $(,)?) => {$(
        impl Element for $ty {
            const DTYPE: DType = DType::$variant;
            fn of(data: &Data) -> Option<&[Self]> {
                if let Data::$variant(v) = data { Some(v) } else { None }
            }
        }
        impl From<Vec<$ty>> for Data {
            fn from(v: Vec<$ty>) -> Data {
                Data::$variant(v)
            }
        }
    )*};
}

elements! {
    f32 => F32, i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32,
    i64 => I64, u64 => U64, bool => Bool,
}

/// A dense row-major tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// Number of elements of a shape; `None` on overflow of `usize`.
pub fn checked_len(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Row-major strides, in elements.
pub fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

impl Tensor {
    /// A tensor of `shape` over `data`; refuses when the counts differ.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self> {
        match checked_len(&shape) {
            Some(n) if n == data.len() => Ok(Tensor { shape, data }),
            _ => Err(Error::model(
                Site::Whole,
                format!("a tensor of shape {shape:?} cannot hold {} elements", data.len()),
            )),
        }
    }
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Self {
        Self::new(shape.to_vec(), Data::F32(data)).expect("the caller gives shape and data that agree")
    }
    pub fn i64(shape: &[usize], data: Vec<i64>) -> Self {
        Self::new(shape.to_vec(), Data::I64(data)).expect("the caller gives shape and data that agree")
    }
    pub fn zeros(dtype: DType, shape: &[usize]) -> Self {
        let len = shape.iter().product();
        Tensor { shape: shape.to_vec(), data: Data::zeros(dtype, len) }
    }
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }
    pub fn len(&self) -> usize {
        self.data.len()
    }
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
    pub fn data(&self) -> &Data {
        &self.data
    }
    pub fn into_data(self) -> Data {
        self.data
    }
    /// The elements as f32 without copying; `None` for other types.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let Data::F32(v) = &self.data { Some(v) } else { None }
    }
    /// Every element as f64 (exact for all but 64-bit integers beyond 2^53).
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
            _ => self.to_i64_vec().iter().map(|&x| x as f64).collect(),
        }
    }
    /// Every element as f32 (rounded for wide integers).
    pub fn to_f32_vec(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            _ => self.to_i64_vec().iter().map(|&x| x as f32).collect(),
        }
    }
    /// Every element as i64; floats truncate towards zero, u64 wraps.
    pub fn to_i64_vec(&self) -> Vec<i64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| x as i64).collect(),
            Data::I8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I64(v) => v.clone(),
            Data::U64(v) => v.iter().map(|&x| x as i64).collect(),
            Data::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
        }
    }
    /// The same elements under another shape of equal count.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Tensor> {
        Tensor::new(shape.to_vec(), self.data.clone())
    }
    /// Element order permuted: output axis `i` is input axis `perm[i]`.
    pub fn transposed(&self, perm: &[usize]) -> Tensor {
        fn go<T: Copy>(v: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
            let mut out = Vec::with_capacity(v.len());
            if v.is_empty() {
                return out;
            }
            let mut index = vec![0usize; shape.len()];
            let mut offset = 0usize;
            loop {
                out.push(v[offset]);
                let mut axis = shape.len();
                loop {
                    if axis == 0 {
                        return out;
                    }
                    axis -= 1;
                    index[axis] += 1;
                    offset += strides[axis];
                    if index[axis] < shape[axis] {
                        break;
                    }
                    offset -= strides[axis] * shape[axis];
                    index[axis] = 0;
                }
            }
        }
        let from = row_major_strides(&self.shape);
        let shape: Vec<usize> = perm.iter().map(|&p| self.shape[p]).collect();
        let strides: Vec<usize> = perm.iter().map(|&p| from[p]).collect();
        let data = match &self.data {
            Data::F32(v) => Data::F32(go(v, &shape, &strides)),
            Data::I8(v) => Data::I8(go(v, &shape, &strides)),
            Data::U8(v) => Data::U8(go(v, &shape, &strides)),
            Data::I16(v) => Data::I16(go(v, &shape, &strides)),
            Data::U16(v) => Data::U16(go(v, &shape, &strides)),
            Data::I32(v) => Data::I32(go(v, &shape, &strides)),
            Data::U32(v) => Data::U32(go(v, &shape, &strides)),
            Data::I64(v) => Data::I64(go(v, &shape, &strides)),
            Data::U64(v) => Data::U64(go(v, &shape, &strides)),
            Data::Bool(v) => Data::Bool(go(v, &shape, &strides)),
        };
        Tensor { shape, data }
    }
}

/// Named arrays whose first axis counts samples: calibration and test data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Sorted by name. A single unnamed array has the key `""` and feeds the only input.
    pub arrays: std::collections::BTreeMap<String, Tensor>,
    /// Those whose samples are rows of numbers, in the order of the input's elements, without its axes.
    pub flat: std::collections::BTreeSet<String>,
}
