//! Element-wise operators with NumPy broadcasting: comparisons, logic, choices, transcendental
//! functions and kin, one row of a table each.
//!
//! In: a node with operands of shapes that broadcast. Out: a [`Map`]. Law: the meaning of a function is
//! that of `fold`, which knows no loops; `select::map` spells the same function in the loop language.

use super::check::{operand, refuse, result};
use super::{Attr, Lowering, Operand, Operator, ParseCx, ValueType, broadcast, fold};
use crate::error::Result;
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// An element-wise operator of any number of operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// ONNX's name of it.
    pub function: &'static str,
    pub attrs: BTreeMap<String, Attr>,
    /// Operands behind those that the run brings: constants of one element.
    pub tail: Vec<Tensor>,
}

/// What types a function takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Floats to floats.
    Real,
    /// Numbers of one type to numbers of that type.
    Numeric,
    /// A base of any numeric type, an exponent of another; the base's type.
    Power,
    /// Two of one type to bool.
    Compare,
    /// Bools to bool.
    Logic,
    /// A float to bool.
    Test,
    /// Integers to integers of that type.
    Bits,
    /// A bool, and two of one type.
    Choose,
}

/// What of a function's operands and results is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One value to one.
    One,
    /// Several values to one.
    Several,
    /// Some of them are real: comparisons and choices.
    Mixed,
    /// None of them.
    Unreal,
}

/// Name, least and most operands, types.
const TABLE: &[(&str, usize, usize, Kind)] = &[
    ("Abs", 1, 1, Kind::Numeric),
    ("Acos", 1, 1, Kind::Real),
    ("Acosh", 1, 1, Kind::Real),
    ("And", 2, 2, Kind::Logic),
    ("Asin", 1, 1, Kind::Real),
    ("Asinh", 1, 1, Kind::Real),
    ("Atan", 1, 1, Kind::Real),
    ("Atanh", 1, 1, Kind::Real),
    ("BitShift", 2, 2, Kind::Bits),
    ("BitwiseAnd", 2, 2, Kind::Bits),
    ("BitwiseNot", 1, 1, Kind::Bits),
    ("BitwiseOr", 2, 2, Kind::Bits),
    ("BitwiseXor", 2, 2, Kind::Bits),
    ("Ceil", 1, 1, Kind::Real),
    ("Celu", 1, 1, Kind::Real),
    ("Cos", 1, 1, Kind::Real),
    ("Cosh", 1, 1, Kind::Real),
    ("Elu", 1, 1, Kind::Real),
    ("Equal", 2, 2, Kind::Compare),
    ("Erf", 1, 1, Kind::Real),
    ("Exp", 1, 1, Kind::Real),
    ("Floor", 1, 1, Kind::Real),
    ("Gelu", 1, 1, Kind::Real),
    ("Greater", 2, 2, Kind::Compare),
    ("GreaterOrEqual", 2, 2, Kind::Compare),
    ("IsInf", 1, 1, Kind::Test),
    ("IsNaN", 1, 1, Kind::Test),
    ("Less", 2, 2, Kind::Compare),
    ("LessOrEqual", 2, 2, Kind::Compare),
    ("Log", 1, 1, Kind::Real),
    ("Max", 1, usize::MAX, Kind::Numeric),
    ("Mean", 1, usize::MAX, Kind::Real),
    ("Min", 1, usize::MAX, Kind::Numeric),
    ("Mish", 1, 1, Kind::Real),
    ("Mod", 2, 2, Kind::Numeric),
    ("Neg", 1, 1, Kind::Numeric),
    ("Not", 1, 1, Kind::Logic),
    ("Or", 2, 2, Kind::Logic),
    ("PRelu", 2, 2, Kind::Numeric),
    ("Pow", 2, 2, Kind::Power),
    ("Reciprocal", 1, 1, Kind::Real),
    ("Round", 1, 1, Kind::Real),
    ("Selu", 1, 1, Kind::Real),
    ("Shrink", 1, 1, Kind::Numeric),
    ("Sign", 1, 1, Kind::Numeric),
    ("Sin", 1, 1, Kind::Real),
    ("Sinh", 1, 1, Kind::Real),
    ("Softplus", 1, 1, Kind::Real),
    ("Softsign", 1, 1, Kind::Real),
    ("Sum", 1, usize::MAX, Kind::Numeric),
    ("Swish", 1, 1, Kind::Real),
    ("Tan", 1, 1, Kind::Real),
    ("ThresholdedRelu", 1, 1, Kind::Real),
    ("Where", 3, 3, Kind::Choose),
    ("Xor", 2, 2, Kind::Logic),
];

impl Map {
    /// All functions by ONNX's names, sorted.
    pub(super) const FUNCTIONS: [&'static str; TABLE.len()] = {
        let mut names = [""; TABLE.len()];
        let mut i = 0;
        while i < TABLE.len() {
            names[i] = TABLE[i].0;
            i += 1;
        }
        names
    };

    fn row(&self) -> Result<(usize, usize, Kind)> {
        let row = TABLE.iter().find(|r| r.0 == self.function);
        row.map(|r| (r.1, r.2, r.3)).ok_or_else(|| refuse("operator is not supported"))
    }

    /// What a function of that name reads and gives; `None` for another operator.
    pub(crate) fn values(name: &str) -> Option<Values> {
        let &(_, _, most, kind) = TABLE.iter().find(|r| r.0 == name)?;
        Some(match kind {
            Kind::Real | Kind::Numeric | Kind::Power if most == 1 => Values::One,
            Kind::Real | Kind::Numeric | Kind::Power => Values::Several,
            Kind::Compare | Kind::Test | Kind::Choose => Values::Mixed,
            Kind::Logic | Kind::Bits => Values::Unreal,
        })
    }

    /// Whether it maps one float to one, so that 256 results are all there is to it on integers of 8 bits.
    pub fn is_table(&self) -> bool {
        match Map::values(self.function) {
            Some(Values::One) => true,
            // Operators of any number of operands with one are that one.
            Some(Values::Several) => !self.tail.is_empty() && self.live() == 1,
            _ => false,
        }
    }

    /// Operands that the run brings, where there are constants behind them.
    fn live(&self) -> usize {
        self.row().map_or(0, |(least, _, _)| least.max(2).saturating_sub(self.tail.len()))
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attrs.get(name) {
            Some(Attr::Float(v)) => *v,
            _ => default,
        }
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attrs.get(name) {
            Some(Attr::Int(v)) => *v,
            _ => default,
        }
    }

    /// A word.
    pub fn word(&self, name: &str) -> &str {
        match self.attrs.get(name) {
            Some(Attr::Str(v)) => v,
            _ => "",
        }
    }

    /// All operands: those given, and the constants behind them.
    fn all<'a>(&'a self, inputs: &[Option<Operand<'a>>]) -> Vec<Option<Operand<'a>>> {
        let tail = self.tail.iter().map(|t| Some(Operand { dtype: t.dtype(), shape: t.shape(), data: Some(t) }));
        inputs.iter().copied().chain(tail).collect()
    }
}

/// Trailing constants of one element, which leave one operand for the run: all but it.
fn tail(cx: &ParseCx<'_>, kind: Kind) -> Vec<Tensor> {
    let [Some(first), Some(second)] = cx.inputs else { return Vec::new() };
    let known = second.data.filter(|t| t.len() == 1 && t.shape().len() <= first.shape.len());
    match (known, kind) {
        (Some(t), Kind::Numeric | Kind::Real | Kind::Power)
            if first.data.is_none() && first.dtype == DType::F32 =>
        {
            // Without axes of its own, so that it broadcasts to all 256 entries of a table too.
            Tensor::new(Vec::new(), t.data().clone()).map_or_else(|_| vec![t.clone()], |t| vec![t])
        }
        _ => Vec::new(),
    }
}

impl Operator for Map {
    const NAME: &'static str = "Map";
    const NAMES: &'static [&'static str] = &Map::FUNCTIONS;
    const ELEMENTWISE: bool = true;

    fn name(&self) -> &'static str {
        self.function
    }

    fn operands(&self) -> usize {
        if self.tail.is_empty() { usize::MAX } else { self.live() }
    }

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let row = TABLE.iter().find(|r| r.0 == cx.op_type);
        let &(function, _, _, kind) = row.ok_or_else(|| refuse("operator is not supported"))?;
        // What the attributes say must be of their types.
        for name in ["alpha", "gamma", "bias", "lambd"] {
            cx.float_or(name, 0.0)?;
        }
        for name in ["detect_positive", "detect_negative", "fmod"] {
            cx.int_or(name, 0)?;
        }
        match (function, cx.str_or("direction", "")?, cx.str_or("approximate", "none")?) {
            ("BitShift", "LEFT" | "RIGHT", _) => {}
            ("BitShift", other, _) => return Err(refuse(format!("has the direction `{other}`"))),
            ("Gelu", _, "none" | "tanh") => {}
            ("Gelu", _, other) => return Err(refuse(format!("is approximated by `{other}`"))),
            _ => {}
        }
        Ok(Map { function, attrs: cx.attrs.clone(), tail: tail(cx, kind) })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        let (least, most, kind) = self.row()?;
        let all = self.all(inputs);
        if all.len() < least || all.len() > most {
            return Err(refuse(format!("has {} operands", all.len())));
        }
        let mut shape = Vec::new();
        let mut types = Vec::with_capacity(all.len());
        for i in 0..all.len() {
            let x = operand(&all, i)?;
            shape = broadcast::shape(&shape, x.shape)?;
            types.push(x.dtype);
        }
        if self.function == "PRelu" && shape != operand(&all, 0)?.shape {
            return Err(refuse("has a slope wider than the input"));
        }
        let first = types[0];
        let same = |types: &[DType]| types.iter().all(|t| *t == types[0]);
        let dtype = match kind {
            Kind::Choose if first == DType::Bool && same(&types[1..]) => types[1],
            Kind::Power if first != DType::Bool && types[1] != DType::Bool => first,
            Kind::Real if first == DType::F32 && same(&types) => first,
            Kind::Numeric if first != DType::Bool && same(&types) => first,
            Kind::Bits if !matches!(first, DType::F32 | DType::Bool) && same(&types) => first,
            Kind::Compare if same(&types) => DType::Bool,
            Kind::Logic if first == DType::Bool && same(&types) => DType::Bool,
            Kind::Test if first == DType::F32 => DType::Bool,
            _ => {
                let names: Vec<&str> = types.iter().map(|t| t.name()).collect();
                return Err(refuse(format!("is not defined for {}", names.join(", "))));
            }
        };
        if matches!(self.function, "Shrink" | "PRelu") && first != DType::F32 {
            return Err(refuse(format!("has type {first}, only floats are supported")));
        }
        result(dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let operands: Vec<Option<Operand<'_>>> = inputs
            .iter()
            .map(|t| t.map(|t| Operand { dtype: t.dtype(), shape: t.shape(), data: Some(t) }))
            .collect();
        self.infer(&operands)?;
        let all = self.all(&operands);
        let cx =
            ParseCx { op_type: self.function, opset: 21, attrs: &self.attrs, inputs: &all, outputs: 1 };
        let most = super::check::MAX_ELEMENTS;
        fold::fold(&cx, most).ok_or_else(|| refuse("operator is not supported"))?
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Map(self))
    }
}
