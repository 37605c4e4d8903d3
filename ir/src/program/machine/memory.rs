//! The memory a program runs in: one byte array as the program placed it, and the constants.
//!
//! Law: an access outside of its region is an error, never a panic.

use crate::tensor::{DType, Data};

/// Byte arrays, by region: the arena, the constants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub regions: Vec<Vec<u8>>,
}

/// Part of a region: what a buffer parameter is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub region: usize,
    /// Byte offset in the region.
    pub start: usize,
    /// Elements.
    pub len: usize,
    pub elem: DType,
}

/// An element type held as an integer in an `i64`.
pub(crate) trait Integer {
    const SIZE: usize;
    /// Reads the element whose bytes start at `at`.
    fn get(bytes: &[u8], at: usize) -> i64;
    /// Writes it, wrapped to the type.
    fn put(bytes: &mut [u8], at: usize, value: i64);
    /// Whether a store keeps the value.
    fn fits(value: i64) -> bool;
}

macro_rules! integers {
    ($($ty:ty),*) => { $(
        impl Integer for $ty {
            const SIZE: usize = size_of::<$ty>();
            #[inline(always)]
            fn get(bytes: &[u8], at: usize) -> i64 {
                let mut le = [0; size_of::<$ty>()];
                le.copy_from_slice(&bytes[at..at + size_of::<$ty>()]);
                <$ty>::from_le_bytes(le) as i64
            }
            #[inline(always)]
            fn put(bytes: &mut [u8], at: usize, value: i64) {
                bytes[at..at + size_of::<$ty>()].copy_from_slice(&(value as $ty).to_le_bytes());
            }
            #[inline(always)]
            fn fits(value: i64) -> bool {
                // U64 shares the bits of I64: stores wrap (see the language).
                size_of::<$ty>() == 8 || value as $ty as i64 == value
            }
        }
    )* };
}
integers!(i8, u8, i16, u16, i32, u32, i64, u64);

/// `Bool`: one byte, 0 or 1.
pub(crate) struct Flag;

impl Integer for Flag {
    const SIZE: usize = 1;
    #[inline(always)]
    fn get(bytes: &[u8], at: usize) -> i64 {
        bytes[at].into()
    }
    #[inline(always)]
    fn put(bytes: &mut [u8], at: usize, value: i64) {
        bytes[at] = value as u8;
    }
    #[inline(always)]
    fn fits(value: i64) -> bool {
        (0..=1).contains(&value)
    }
}

/// Runs `$body` with `$T` as the [`Integer`] of an element type; `F32` gives `$float`.
macro_rules! with_integer {
    ($elem:expr, $T:ident => $body:expr, float => $float:expr) => {{
        use $crate::tensor::DType as D;
        macro_rules! arm {
            ($ty:ty) => {{
                type $T = $ty;
                $body
            }};
        }
        match $elem {
            D::I8 => arm!(i8),
            D::U8 => arm!(u8),
            D::I16 => arm!(i16),
            D::U16 => arm!(u16),
            D::I32 => arm!(i32),
            D::U32 => arm!(u32),
            D::I64 => arm!(i64),
            D::U64 => arm!(u64),
            D::Bool => arm!($crate::program::machine::memory::Flag),
            D::F32 => $float,
        }
    }};
}
pub(crate) use with_integer;

#[inline(always)]
pub(crate) fn get_f32(bytes: &[u8], at: usize) -> f32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    f32::from_le_bytes(le)
}

#[inline(always)]
pub(crate) fn put_f32(bytes: &mut [u8], at: usize, value: f32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

impl Memory {
    /// The elements of a slice that lies in its region.
    pub(crate) fn read(&self, slice: Slice) -> Option<Data> {
        let size = slice.elem.size();
        let end = slice.len.checked_mul(size).and_then(|n| n.checked_add(slice.start))?;
        let bytes = self.regions.get(slice.region)?.get(slice.start..end)?;
        Some(Data::from_le_bytes(slice.elem, bytes))
    }
}
