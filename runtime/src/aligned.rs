//! Bytes at an address that suits wider elements.

/// A value placed at an address that is a multiple of `A`'s alignment: weights are byte strings
/// in the source, and read as `i16`, `i32` or `f32`.
///
/// ```
/// use secateur_runtime::Aligned;
/// static WEIGHTS: Aligned<u32, [u8; 4]> = Aligned::new(*b"\x01\x00\x00\x80");
/// assert_eq!(&WEIGHTS as *const _ as usize % 4, 0);
/// ```
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Aligned<A, T> {
    align: [A; 0],
    value: T,
}

/// Without the bytes.
#[cfg(feature = "defmt")]
impl<A, T> defmt::Format for Aligned<A, T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{} bytes", core::mem::size_of::<T>());
    }
}

impl<A, T> Aligned<A, T> {
    pub const fn new(value: T) -> Self {
        Aligned { align: [], value }
    }
    /// The value.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }
    /// The value's address.
    pub const fn as_ptr(&self) -> *const T {
        &raw const self.value
    }
    /// The value's address, for writing.
    pub const fn as_mut_ptr(&mut self) -> *mut T {
        &raw mut self.value
    }
}
