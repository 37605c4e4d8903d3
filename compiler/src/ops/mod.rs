//! Operators: one file each. A file says how the operator is parsed from ONNX, what shape and
//! type it gives, what it means in float, and how it is lowered.
//!
//! Law: after `parse`, an operator is self-contained: parameters that ONNX passes as constant
//! inputs (axes, pads, limits, target shapes) are fields of its struct, and only the first
//! [`Operator::OPERANDS`] inputs remain as operands of the node.

use crate::error::{Error, Result, Site};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::fmt::Debug;

#[cfg(test)]
mod adversarial;
pub(crate) mod broadcast;
pub(crate) mod check;
mod convolve;
pub(crate) mod fold;
mod lanes;
mod lowering;
mod narrow;
mod product;
mod unary;
mod window;
pub use window::Window;

pub use lowering::{Arith, Function, Lowering};
pub use narrow::Narrow;
pub use unary::Unary;

/// An operand as an operator sees it: type, shape, and the data if it is constant.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub data: Option<&'a Tensor>,
}

/// Type and shape of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueType {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

/// An attribute of an ONNX node.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    Int(i64),
    Float(f32),
    Str(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<String>),
    Tensor(Tensor),
    /// A tensor whose elements take less than a byte each.
    Narrow(Tensor, Narrow),
    /// Trees that an import read.
    Ensemble(TreeEnsemble),
    /// Inside of a function of the model: the attribute of that name of the call.
    Ref(String),
    /// A subgraph or another type that no supported operator reads.
    Other(&'static str),
}

/// An ONNX node on its way to becoming an [`Op`].
#[derive(Debug, Clone)]
pub struct ParseCx<'a> {
    pub op_type: &'a str,
    /// Version of the operator set that the model imports for this operator's domain.
    pub opset: i64,
    pub attrs: &'a BTreeMap<String, Attr>,
    /// All ONNX inputs, constants with their data.
    pub inputs: &'a [Option<Operand<'a>>],
    pub outputs: usize,
}

impl<'a> ParseCx<'a> {
    fn wrong(&self, name: &str, want: &str) -> Error {
        Error::model(Site::Whole, format!("attribute `{name}` is not {want}"))
    }
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        match self.attrs.get(name) {
            None => Ok(None),
            Some(Attr::Int(v)) => Ok(Some(*v)),
            Some(_) => Err(self.wrong(name, "an integer")),
        }
    }
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.int(name)?.unwrap_or(default))
    }
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32> {
        match self.attrs.get(name) {
            None => Ok(default),
            Some(Attr::Float(v)) => Ok(*v),
            Some(_) => Err(self.wrong(name, "a float")),
        }
    }
    pub fn str_or(&self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.attrs.get(name) {
            None => Ok(default),
            Some(Attr::Str(v)) => Ok(v),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        match self.attrs.get(name) {
            None => Ok(None),
            Some(Attr::Ints(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(name, "a list of integers")),
        }
    }
    pub fn tensor(&self, name: &str) -> Result<Option<&'a Tensor>> {
        match self.attrs.get(name) {
            None => Ok(None),
            Some(Attr::Tensor(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(name, "a tensor")),
        }
    }
    /// The operand at `index`; refuses when it is missing or too large.
    pub fn operand(&self, index: usize) -> Result<Operand<'a>> {
        check::operand(self.inputs, index)
    }
    /// A constant input as integers; `None` when left out, an error when not constant.
    pub fn const_ints(&self, index: usize, what: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.const_tensor(index, what)?.map(Tensor::to_i64_vec))
    }
    /// A constant input; `None` when left out, an error when it is computed at run time.
    pub fn const_tensor(&self, index: usize, what: &str) -> Result<Option<&'a Tensor>> {
        match self.inputs.get(index).copied().flatten() {
            None => Ok(None),
            Some(Operand { data: Some(t), .. }) => Ok(Some(t)),
            Some(_) => Err(Error::model(Site::Whole, format!("input {index} ({what}) is not a constant"))
                .help("only values known at compile time are supported here")),
        }
    }
}

/// What one operator file provides.
pub trait Operator: Debug + Clone + PartialEq + Sized {
    /// ONNX `op_type`, or our own name for an operator that ONNX lacks.
    const NAME: &'static str;
    /// All `op_type`s that one struct stands for, where they are many.
    const NAMES: &'static [&'static str] = &[Self::NAME];
    /// Whether it is an operator of our own, which import or a pass makes and no file names.
    const OURS: bool = false;
    /// How many leading ONNX inputs stay operands after `parse`; the rest became fields.
    const OPERANDS: usize = usize::MAX;
    /// Whether each element of the result depends on the elements at its own place only,
    /// broadcasting aside; its kernels read them before they write it.
    const ELEMENTWISE: bool = false;

    /// Reads attributes and constant inputs. The caller adds node name and operator to errors. Operators that only
    /// passes make have none.
    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Err(check::refuse("is not an operator of ONNX"))
    }
    /// Types and shapes of the results; checks operand count, types and shapes.
    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>>;
    /// The float meaning, by a plain and fixed order of operations.
    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>>;
    /// The name of this one.
    fn name(&self) -> &'static str {
        Self::NAME
    }
    /// How many leading operands stay: [`Operator::OPERANDS`], unless this one became a field too.
    fn operands(&self) -> usize {
        Self::OPERANDS
    }
    /// Multiply-accumulates of one inference, padded taps included.
    fn macs(&self, _inputs: &[Option<Operand<'_>>], _outputs: &[ValueType]) -> u64 {
        0
    }
    /// The loops that compute the node. Operators without this exist to be folded away.
    ///
    /// Errors: an operand is missing.
    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Fold)
    }
}

/// Declares the operators: modules, the closed enum [`Op`], and its dispatch.
macro_rules! ops {
    ($($module:ident :: $name:ident),* $(,)?) => {
        $(pub(crate) mod $module; pub use $module::$name;)*

        /// Every operator that Secateur knows; closed, so that matches stay exhaustive.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op { $($name($name)),* }

        impl Op {
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(op) => Operator::name(op)),* }
            }
            /// See [`Operator::ELEMENTWISE`].
            pub fn is_elementwise(&self) -> bool {
                match self { $(Op::$name(_) => <$name as Operator>::ELEMENTWISE),* }
            }
            pub fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
                match self { $(Op::$name(op) => op.infer(inputs)),* }
            }
            pub fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
                match self { $(Op::$name(op) => op.eval(inputs)),* }
            }
            pub fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
                match self { $(Op::$name(op) => op.macs(inputs, outputs)),* }
            }
            pub fn lowering(&self, inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
                match self { $(Op::$name(op) => op.lowering(inputs)),* }
            }
            /// Parses an ONNX node of the default domain. `None`: no such operator.
            /// Also gives how many leading inputs remain operands.
            pub fn parse(cx: &ParseCx<'_>) -> Option<Result<(Op, usize)>> {
                $(if <$name as Operator>::NAMES.contains(&cx.op_type) {
                    return Some(<$name as Operator>::parse(cx).map(|op| {
                        let keep = op.operands();
                        (Op::$name(op), keep)
                    }));
                })*
                None
            }
            /// Names of those that are [`Operator::OURS`].
            pub fn ours() -> impl Iterator<Item = &'static str> {
                let all: [(bool, &[&'static str]); _] =
                    [$((<$name as Operator>::OURS, <$name as Operator>::NAMES)),*];
                all.into_iter().filter(|(ours, _)| *ours).flat_map(|(_, names)| names).copied()
            }
            /// Names of all operators, as declared.
            pub fn names() -> impl Iterator<Item = &'static str> {
                let all: [&[&'static str]; _] = [$(<$name as Operator>::NAMES),*];
                all.into_iter().flatten().copied()
            }
        }
        $(impl From<$name> for Op { fn from(op: $name) -> Op { Op::$name(op) } })*
    };
}

ops! {
    conv::Conv,
    gemm::Gemm,
    mat_mul::MatMul,
    dense::Dense,
    add::Add,
    sub::Sub,
    mul::Mul,
    div::Div,
    relu::Relu,
    clip::Clip,
    leaky_relu::LeakyRelu,
    hard_sigmoid::HardSigmoid,
    hard_swish::HardSwish,
    sigmoid::Sigmoid,
    tanh::Tanh,
    sqrt::Sqrt,
    map::Map,
    batch_normalization::BatchNormalization,
    average_pool::AveragePool,
    max_pool::MaxPool,
    global_average_pool::GlobalAveragePool,
    global_max_pool::GlobalMaxPool,
    reduce_mean::ReduceMean,
    reduce::Reduce,
    scan::Scan,
    softmax::Softmax,
    log_softmax::LogSoftmax,
    reshape::Reshape,
    flatten::Flatten,
    squeeze::Squeeze,
    unsqueeze::Unsqueeze,
    transpose::Transpose,
    concat::Concat,
    split::Split,
    slice::Slice,
    pad::Pad,
    identity::Identity,
    dropout::Dropout,
    cast::Cast,
    quantize_linear::QuantizeLinear,
    dequantize_linear::DequantizeLinear,
    requantize::Requantize,
    arg_max::ArgMax,
    constant::Constant,
    shape::Shape,
    gather::Gather,
    constant_of_shape::ConstantOfShape,
    expand::Expand,
    scatter_flat::ScatterFlat,
    top_k::TopK,
    pairwise_coupling::PairwiseCoupling,
    attention::Attention,
    normalization::Normalization,
    chain::Chain,
    recurrent::Recurrent,
    tree_ensemble::TreeEnsemble,
}

pub(crate) use clip::limit;
pub use map::Values;
pub use pad::PadMode;
pub use reduce::Reducing;
pub(crate) use reduce::reduced_axes;
pub use scatter_flat::Joining;
pub use tree_ensemble::{Aggregate, Branch, Child, Test, Tree};
