//! Typed windows over memory, as kernels see it.
//!
//! In: an address and a length, vouched for where the view is made. Out: elements by index.
//! Law: release builds check nothing. Every index that emitted code uses was proven inside the
//! view from the loop bounds when the code was generated; debug builds assert it again.

use core::marker::PhantomData;

mod sealed {
    pub trait Sealed {}
}

/// Types that a buffer may hold: plain numbers, for which every bit pattern is a value.
pub trait Element: Copy + sealed::Sealed {}

macro_rules! elements {
    ($($t:ty)*) => { $(impl sealed::Sealed for $t {} impl Element for $t {})* };
}
elements!(i8 u8 i16 u16 i32 u32 i64 u64 f32);

/// A window for reading.
///
/// It holds an address, not a reference: a kernel that works in place reads through a `View` and
/// writes through a [`ViewMut`] of the same memory.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T: Element> {
    start: *const T,
    #[cfg(debug_assertions)]
    len: usize,
    memory: PhantomData<&'a T>,
}

/// A window for reading and writing.
#[derive(Debug, Clone, Copy)]
pub struct ViewMut<'a, T: Element> {
    start: *mut T,
    #[cfg(debug_assertions)]
    len: usize,
    memory: PhantomData<&'a T>,
}

/// Traps in debug builds; nothing in release builds.
macro_rules! check {
    ($self:ident, $index:expr, $len:expr) => {
        #[cfg(debug_assertions)]
        assert!(
            $index >= 0 && $self.len.checked_sub($len).is_some_and(|last| $index as usize <= last),
            "index outside of the view"
        );
    };
}

impl<'a, T: Element> View<'a, T> {
    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// For all of `'a`, `start` is aligned for `T` and points to `len` initialised elements,
    /// which only views derived from the same pointer write to; and every index given to
    /// [`View::at`] and [`View::slice`] is within `len`. One thread uses the views.
    #[inline(always)]
    pub const unsafe fn new(start: *const T, len: usize) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = len;
        View {
            start,
            #[cfg(debug_assertions)]
            len,
            memory: PhantomData,
        }
    }
    /// The element at `index`, which the maker of the view has vouched for.
    #[inline(always)]
    pub fn at(self, index: i32) -> T {
        check!(self, index, 1);
        // SAFETY: the maker of the view vouched for the memory and for every index.
        unsafe { self.start.offset(index as isize).read() }
    }
    /// `len` elements from `index` on.
    #[inline(always)]
    pub fn slice(self, index: i32, len: usize) -> View<'a, T> {
        check!(self, index, len);
        // SAFETY: a part of this view; the maker vouched for its indices too.
        unsafe { View::new(self.start.offset(index as isize), len) }
    }
    /// The address of the first element, for instruction blocks.
    #[inline(always)]
    pub fn as_ptr(self) -> *const T {
        self.start
    }
}

impl<'a, T: Element> ViewMut<'a, T> {
    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// As [`View::new`], and `start` may be written through.
    #[inline(always)]
    pub const unsafe fn new(start: *mut T, len: usize) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = len;
        ViewMut {
            start,
            #[cfg(debug_assertions)]
            len,
            memory: PhantomData,
        }
    }
    /// The element at `index`, which the maker of the view has vouched for.
    #[inline(always)]
    pub fn at(self, index: i32) -> T {
        self.read().at(index)
    }
    /// Writes the element at `index`, which the maker of the view has vouched for.
    #[inline(always)]
    pub fn set(self, index: i32, value: T) {
        check!(self, index, 1);
        // SAFETY: the maker of the view vouched for the memory and for every index.
        unsafe { self.start.offset(index as isize).write(value) }
    }
    /// `len` elements from `index` on.
    #[inline(always)]
    pub fn slice(self, index: i32, len: usize) -> ViewMut<'a, T> {
        check!(self, index, len);
        // SAFETY: a part of this view; the maker vouched for its indices too.
        unsafe { ViewMut::new(self.start.offset(index as isize), len) }
    }
    /// The same elements for reading.
    #[inline(always)]
    pub fn read(self) -> View<'a, T> {
        #[cfg(debug_assertions)]
        let len = self.len;
        #[cfg(not(debug_assertions))]
        let len = 0;
        // SAFETY: the same window, with less leave.
        unsafe { View::new(self.start, len) }
    }
    /// The address of the first element, for instruction blocks.
    #[inline(always)]
    pub fn as_mut_ptr(self) -> *mut T {
        self.start
    }
}
