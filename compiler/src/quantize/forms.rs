//! Which operators compute on integers, and how: the one list for quantization and for who asks by name.
//!
//! Law: what [`form`] says of a name is what [`integer_form`] says of the nodes of that name.

use crate::graph::{Node, ValueId};
use crate::ops::{
    Constant, ConstantOfShape, DequantizeLinear, Joining, Map, Op, Operator, QuantizeLinear, Reduce,
    Reducing, ScatterFlat, Shape, Values,
};

/// What becomes of an operator in an int8 model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// It computes on integers, or moves them.
    Integers,
    /// 256 bytes hold all of its results.
    Table,
    /// The same where the run brings one operand and the others are constants of one element; else floats.
    TableOrFloats,
    /// It computes in floats, between values of eight bits.
    Floats,
    /// It reads and gives no real values.
    Unreal,
    /// It says how a value is stored.
    Scales,
    /// It is known at compile time.
    Folded,
}

/// Declares a test of operators, and the names of those that pass it.
macro_rules! operators {
    ($(#[$doc:meta])* $test:ident, $names:ident: $($op:ident),+; $($pattern:pat => $name:literal),+ $(,)?) => {
        $(#[$doc])*
        pub(super) fn $test(op: &Op) -> bool {
            matches!(op, $(Op::$op(_))|+) || $(matches!(op, $pattern))||+
        }
        const $names: &[&str] = &[$(<crate::ops::$op as Operator>::NAME,)+ $($name),+];
    };
}

operators! {
    /// Operators whose results are elements of their operands (those that [`moved`] names): they move stored
    /// integers without knowing what they mean.
    carries, MOVED:
    Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity, Dropout, Slice, Split, Gather, Expand, Concat, Pad,
    MaxPool, GlobalMaxPool, Relu, Clip;
    Op::Reduce(Reduce { function: Reducing::Max, .. }) => "ReduceMax",
    Op::ScatterFlat(ScatterFlat { reduction: Joining::Replace | Joining::Max | Joining::Min }) => "ScatterFlat",
}

/// Moving operators whose result has elements of several operands.
pub(super) fn joins(op: &Op) -> bool {
    matches!(op, Op::Concat(_) | Op::ScatterFlat(_))
}

/// The operands whose elements a moving operator's results have: all of a Concat, elements and updates of a scatter,
/// else the first.
pub(super) fn moved(node: &Node) -> impl Iterator<Item = ValueId> + '_ {
    let among = |i: usize| match node.op {
        Op::Concat(_) => true,
        Op::ScatterFlat(_) => i != 1,
        _ => i == 0,
    };
    node.inputs.iter().enumerate().filter(move |(i, _)| among(*i)).filter_map(|(_, v)| *v)
}

operators! {
    /// Operators that have kernels for integers.
    computes, COMPUTED:
    Conv, Dense, Gemm, MatMul, Add, Sub, Mul, Div, LeakyRelu, HardSigmoid, HardSwish, Sigmoid, Tanh, Sqrt, Chain,
    AveragePool, GlobalAveragePool, ReduceMean, Softmax, LogSoftmax, Normalization, Requantize, ArgMax;
    Op::Reduce(Reduce { function: Reducing::Sum, .. }) => "ReduceSum",
}

/// Operators that have an integer form; the others compute on floats, between `Requantize`s.
pub(super) fn integer_form(op: &Op) -> bool {
    carries(op)
        || computes(op)
        || matches!(op, Op::Map(map) if map.is_table())
        || matches!(op, Op::Attention(a) if a.bits().is_some())
        || matches!(op, Op::Recurrent(layer) if layer.spans.is_some())
}

/// What becomes of the operator of that name, one of [`Op::names`], in an int8 model.
pub fn form(name: &str) -> Form {
    const SCALES: [&str; 2] = [QuantizeLinear::NAME, DequantizeLinear::NAME];
    const FOLDED: [&str; 3] = [Constant::NAME, ConstantOfShape::NAME, Shape::NAME];
    match Map::values(name) {
        _ if MOVED.contains(&name) || COMPUTED.contains(&name) => Form::Integers,
        _ if SCALES.contains(&name) => Form::Scales,
        _ if FOLDED.contains(&name) => Form::Folded,
        Some(Values::One) => Form::Table,
        Some(Values::Several) => Form::TableOrFloats,
        Some(Values::Unreal) => Form::Unreal,
        Some(Values::Mixed) | None => Form::Floats,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_of_an_operator() {
        let all: Vec<&str> = Op::names().collect();
        for name in MOVED.iter().chain(COMPUTED) {
            assert!(all.contains(name), "{name}");
        }
        assert_eq!(form("Relu"), Form::Integers);
        assert_eq!(form("Conv"), Form::Integers);
        assert_eq!(form("Exp"), Form::Table);
        assert_eq!(form("Pow"), Form::TableOrFloats);
        assert_eq!(form("Where"), Form::Floats);
        assert_eq!(form("And"), Form::Unreal);
        assert_eq!(form("TopK"), Form::Floats);
        assert_eq!(form("ReduceMin"), Form::Floats);
    }
}
