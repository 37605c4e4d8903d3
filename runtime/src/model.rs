//! What all compiled models have in common, for code that is written once for any of them.
//!
//! In: nothing. Out: the trait [`Model`] that emitted structs implement, and the description of their ports. Law: constants
//! and direct calls alone, so that what nobody asks for is nowhere in the firmware.

/// A compiled model.
///
/// Emitted structs have all of this as constants and methods of their own too, with arguments by name; the trait is for
/// code that takes any model:
///
/// ```
/// use secateur_runtime::Model;
///
/// /// Bytes of working memory of two models.
/// fn ram<A: Model, B: Model>() -> usize {
///     let own = |shares, arena, states| if shares { arena + states } else { arena };
///     own(A::SHARES_ARENA, A::ARENA_BYTES, A::STATE_BYTES) + own(B::SHARES_ARENA, B::ARENA_BYTES, B::STATE_BYTES)
/// }
///
/// /// The place of the greatest score of a model with one input of 8 bytes and one output of 3.
/// fn classify<M>(model: &mut M, window: &[i8; 8]) -> usize
/// where
///     M: for<'a> Model<Inputs<'a> = &'a [i8; 8], Outputs<'a> = &'a mut [i8; 3]>,
/// {
///     let mut scores = [0; 3];
///     model.run(window, &mut scores);
///     (0..3).max_by_key(|&i| scores[i]).unwrap_or(0)
/// }
/// ```
///
/// Other ways to run are traits of their own above this one.
pub trait Model {
    /// Arrays of the inputs as [`Model::run`] reads them, row-major: `&[T; N]` for one input, a tuple of such in the order
    /// of [`Model::INPUTS`] for several, `()` for none.
    type Inputs<'a>;
    /// Arrays of the outputs as [`Model::run`] fills them: `&mut [T; N]`, a tuple of such, or `()`.
    type Outputs<'a>;

    /// The model's name.
    const NAME: &'static str;
    /// Whether the model runs in an arena that others share, and was compiled with `arena = "shared"`.
    const SHARES_ARENA: bool;
    /// Bytes of working memory, those of inputs and outputs included: of an instance, or of the shared arena.
    const ARENA_BYTES: usize;
    /// Bytes that are kept between runs: a part of the arena, or where that is shared an instance's own.
    const STATE_BYTES: usize;
    /// Bytes of constants in flash.
    const WEIGHTS_BYTES: usize;
    /// Bytes of machine code on the chip that the model was compiled for, as predicted; `None` where no prediction is
    /// known for its core.
    const CODE_BYTES: Option<usize>;
    /// Bytes of stack that a native kernel takes, the most of any. What the compiler of the code around them needs is not
    /// in it.
    const KERNEL_STACK_BYTES: usize;
    /// The inputs, in the order in which a run takes them.
    const INPUTS: &'static [Port];
    /// The outputs, in the order in which a run takes them.
    const OUTPUTS: &'static [Port];

    /// One inference. The arrays are copied to and from those inside the instance.
    fn run(&mut self, inputs: Self::Inputs<'_>, outputs: Self::Outputs<'_>);
    /// One inference on the inputs and outputs inside the instance.
    fn run_in_place(&mut self);
    /// Sets what is kept between runs to its initial value; of a model that keeps nothing it does nothing.
    fn reset(&mut self);
}

/// An input or output of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Port {
    /// As the ONNX model calls it.
    pub name: &'static str,
    /// Lengths of the axes; the elements are row-major.
    pub shape: &'static [usize],
    /// Type of an element.
    pub element: ElementType,
    /// What stored integers are worth; `None` where the elements are the values.
    pub affine: Option<Affine>,
}

/// The real value of a stored integer: `scale * (stored - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Affine {
    /// Real value of a step.
    pub scale: f32,
    /// The integer of a real 0.
    pub zero_point: i32,
}

/// Type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ElementType {
    /// `bool`.
    Bool,
    /// `i8`.
    I8,
    /// `u8`.
    U8,
    /// `i16`.
    I16,
    /// `u16`.
    U16,
    /// `i32`.
    I32,
    /// `u32`.
    U32,
    /// `i64`.
    I64,
    /// `u64`.
    U64,
    /// `f32`.
    F32,
}

impl Port {
    /// Elements of the array.
    pub const fn len(&self) -> usize {
        let (mut len, mut shape) = (1, self.shape);
        while let [first, rest @ ..] = shape {
            len = usize::wrapping_mul(len, *first);
            shape = rest;
        }
        len
    }
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of the array.
    pub const fn bytes(&self) -> usize {
        self.len() * self.element.bytes()
    }
}

impl ElementType {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            ElementType::Bool | ElementType::I8 | ElementType::U8 => 1,
            ElementType::I16 | ElementType::U16 => 2,
            ElementType::I32 | ElementType::U32 | ElementType::F32 => 4,
            ElementType::I64 | ElementType::U64 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_products_of_the_shape() {
        let port = |shape, element| Port { name: "x", shape, element, affine: None };
        assert_eq!(port(&[], ElementType::I16).bytes(), 2);
        assert_eq!(port(&[1, 3, 5], ElementType::F32).bytes(), 60);
        assert!(port(&[2, 0], ElementType::I64).is_empty());
    }
}
