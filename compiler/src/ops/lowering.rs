//! What operators ask of lowering, as data: which loops compute a node, and with which attributes.
//!
//! In: an operator and its operands' shapes. Out: a [`Lowering`]. Law: nothing here knows how loops
//! are written or where values lie; `select` turns each case into calls of kernels.

use super::window::Window;
use super::{
    Attention, Chain, Conv, Gemm, Map, Normalization, PadMode, Recurrent, Reduce, Scan, ScatterFlat, TopK,
    TreeEnsemble,
};
use crate::kernel::Expr;
use std::fmt;

/// The arithmetic of Add, Sub, Mul and Div.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arith {
    Add,
    Sub,
    Mul,
    Div,
}

/// An expression of one float, in the loop language.
pub struct Function<'a>(Box<dyn Fn(Expr) -> Expr + 'a>);

impl<'a> Function<'a> {
    pub fn new(body: impl Fn(Expr) -> Expr + 'a) -> Self {
        Function(Box::new(body))
    }
    /// The function of `x`.
    pub fn of(&self, x: Expr) -> Expr {
        (self.0)(x)
    }
}

impl fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// The loops that compute a node. Axes count from 0 and are below the operand's rank.
#[derive(Debug)]
pub enum Lowering<'a> {
    /// None: the operator can only be computed at compile time.
    Fold,
    /// The operand's elements in their order, under the result's shape.
    Reshape,
    Transpose {
        perm: &'a [usize],
    },
    /// NumPy broadcasting to the result's shape.
    Expand,
    Concat {
        axis: usize,
    },
    Split {
        axis: usize,
    },
    /// By axis: the first element, and the step from one to the next.
    Slice {
        starts: &'a [usize],
        steps: &'a [i64],
    },
    /// By axis elements before the first, then by axis elements behind the last; negative ones crop.
    Pad {
        mode: PadMode,
        pads: &'a [i64],
        value: f64,
    },
    Gather {
        axis: usize,
    },
    /// Element by element, in float; quantized values go through a table of 256 results.
    Unary {
        name: &'static str,
        function: Function<'a>,
    },
    Binary(Arith),
    /// Element by element, several functions.
    Chain(&'a Chain),
    /// Element by element, of any number of operands that broadcast.
    Map(&'a Map),
    /// To real limits; none on a side without one.
    Clip {
        min: Option<f64>,
        max: Option<f64>,
    },
    Mean {
        axes: Vec<usize>,
    },
    Reduce(&'a Reduce),
    Scan(&'a Scan),
    ScatterFlat(&'a ScatterFlat),
    TopK(&'a TopK),
    /// See [`super::PairwiseCoupling`].
    PairwiseCoupling,
    Trees(&'a TreeEnsemble),
    Maximum {
        axes: Vec<usize>,
    },
    ArgMax {
        axis: usize,
        /// The last of equal elements instead of the first.
        last: bool,
    },
    Softmax {
        axes: Vec<usize>,
        /// The logarithm of it.
        log: bool,
    },
    /// BatchNormalization: scale, bias, mean and variance are operands 1 to 4.
    Normalize {
        epsilon: f32,
    },
    /// Operands as [`Attention`] has them.
    Attention(&'a Attention),
    /// Operands as [`Normalization`] has them.
    LayerNormalization(&'a Normalization),
    MaxPool(Window<'a>),
    AveragePool {
        window: Window<'a>,
        /// Padding counts as elements of value 0.
        count_include_pad: bool,
    },
    /// Weights are operand 1, an optional bias operand 2.
    Conv(&'a Conv),
    /// Weights `[outputs, inputs]` are operand 1, an optional bias operand 2.
    Dense,
    Gemm(&'a Gemm),
    MatMul,
    /// Operands as [`Recurrent`] has them.
    Recurrent(&'a Recurrent),
    Cast,
    QuantizeLinear {
        axis: Option<usize>,
    },
    DequantizeLinear {
        axis: Option<usize>,
    },
    /// To the result's scale and type.
    Requantize,
}
