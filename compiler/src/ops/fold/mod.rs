//! What operators mean on operands that are known: arithmetic on shapes and constants, as exporters write
//! it around `Expand`, `Reshape` and masks, and the float meaning of those that run too.
//!
//! In: a node whose operands are all known. Out: its results. Law: floats are computed in single
//! precision with `libm`, integers exactly and then wrapped to their width, as at run time
//! elsewhere; no result is larger than the caller allows; nothing panics.

mod places;
mod real;

use super::ParseCx;
use super::broadcast::{Walk, shape as broadcast, strides};
use super::check::{axes, refuse, value_type};
use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};

/// The operators that need what they read at compile time, sorted by name.
pub(crate) const NAMES: &[&str] =
    &["CastLike", "EyeLike", "NonZero", "OneHot", "Range", "Size", "Tile", "Trilu"];

/// Whether [`fold`] knows an operator.
pub(crate) fn knows(op: &str) -> bool {
    const PLACES: [&str; 9] = [
        "CumSum",
        "GatherElements",
        "GatherND",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ScatterElements",
        "ScatterND",
    ];
    NAMES.contains(&op) || PLACES.contains(&op) || super::Map::FUNCTIONS.contains(&op)
}

/// The results of a node whose operands are all known; each has at most `most` elements. `None` for an
/// operator that it does not know.
pub(crate) fn fold(cx: &ParseCx<'_>, most: usize) -> Option<Result<Vec<Tensor>>> {
    if !knows(cx.op_type) {
        return None;
    }
    Some(Fold { cx, most }.run().map(|t| vec![t]))
}

/// Elements without their width: integers and bools exactly, floats as they are.
enum Values {
    Real(Vec<f32>),
    Whole(Vec<i128>),
}

fn values(t: &Tensor) -> Values {
    fn wide<T: Copy + Into<i128>>(v: &[T]) -> Values {
        Values::Whole(v.iter().map(|&x| x.into()).collect())
    }
    match t.data() {
        Data::F32(v) => Values::Real(v.clone()),
        Data::I8(v) => wide(v),
        Data::U8(v) => wide(v),
        Data::I16(v) => wide(v),
        Data::U16(v) => wide(v),
        Data::I32(v) => wide(v),
        Data::U32(v) => wide(v),
        Data::I64(v) => wide(v),
        Data::U64(v) => wide(v),
        Data::Bool(v) => Values::Whole(v.iter().map(|&x| i128::from(x)).collect()),
    }
}

/// Integers wrapped to a width; bools are what is not zero.
fn whole(dtype: DType, v: &[i128]) -> Data {
    match dtype {
        DType::F32 => Data::F32(v.iter().map(|&x| x as f32).collect()),
        DType::I8 => Data::I8(v.iter().map(|&x| x as i8).collect()),
        DType::U8 => Data::U8(v.iter().map(|&x| x as u8).collect()),
        DType::I16 => Data::I16(v.iter().map(|&x| x as i16).collect()),
        DType::U16 => Data::U16(v.iter().map(|&x| x as u16).collect()),
        DType::I32 => Data::I32(v.iter().map(|&x| x as i32).collect()),
        DType::U32 => Data::U32(v.iter().map(|&x| x as u32).collect()),
        DType::I64 => Data::I64(v.iter().map(|&x| x as i64).collect()),
        DType::U64 => Data::U64(v.iter().map(|&x| x as u64).collect()),
        DType::Bool => Data::Bool(v.iter().map(|&x| x != 0).collect()),
    }
}

fn reciprocal(x: f32) -> f32 {
    1.0 / x
}

fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

struct Fold<'a> {
    cx: &'a ParseCx<'a>,
    most: usize,
}

impl Fold<'_> {
    fn run(&self) -> Result<Tensor> {
        let max = |a: f32, b: f32| if a.is_nan() || a > b { a } else { b };
        let min = |a: f32, b: f32| if a.is_nan() || a < b { a } else { b };
        if let Some(function) = self.real()? {
            return self.unary(function, None);
        }
        match self.cx.op_type {
            "IsNaN" => self.test(f32::is_nan),
            "IsInf" => self.is_inf(),
            "PRelu" => self.sloped(),
            "Mean" => self.mean(),
            "BitShift" => self.shift(),
            "BitwiseAnd" => self.bits(|a, b| a & b),
            "BitwiseOr" => self.bits(|a, b| a | b),
            "BitwiseXor" => self.bits(|a, b| a ^ b),
            "BitwiseNot" => self.complement(),
            "Equal" => self.compare(|a, b| a == b, |a, b| a == b),
            "Less" => self.compare(|a, b| a < b, |a, b| a < b),
            "LessOrEqual" => self.compare(|a, b| a <= b, |a, b| a <= b),
            "Greater" => self.compare(|a, b| a > b, |a, b| a > b),
            "GreaterOrEqual" => self.compare(|a, b| a >= b, |a, b| a >= b),
            "And" => self.logic(|a, b| a && b),
            "Or" => self.logic(|a, b| a || b),
            "Xor" => self.logic(|a, b| a != b),
            "Not" => self.not(),
            "Max" => self.variadic(max, i128::max),
            "Min" => self.variadic(min, i128::min),
            "Sum" => self.variadic(|a, b| a + b, i128::wrapping_add),
            "Mod" => self.modulo(),
            "Pow" => self.power(),
            "Neg" => self.unary(|x| -x, Some(i128::wrapping_neg)),
            "Abs" => self.unary(f32::abs, Some(i128::wrapping_abs)),
            "Sign" => self.unary(sign, Some(i128::signum)),
            "Floor" => self.unary(libm::floorf, None),
            "Ceil" => self.unary(libm::ceilf, None),
            "Round" => self.unary(libm::rintf, None),
            "Reciprocal" => self.unary(reciprocal, None),
            "Exp" => self.unary(libm::expf, None),
            "Log" => self.unary(libm::logf, None),
            "Erf" => self.unary(libm::erff, None),
            "Sin" => self.unary(libm::sinf, None),
            "Cos" => self.unary(libm::cosf, None),
            "ReduceSum" => self.reduce(0.0, |a, b| a + b, 0, i128::wrapping_add),
            "ReduceProd" => self.reduce(1.0, |a, b| a * b, 1, i128::wrapping_mul),
            "ReduceMax" => self.reduce(f32::NEG_INFINITY, max, i128::MIN, i128::max),
            "ReduceMin" => self.reduce(f32::INFINITY, min, i128::MAX, i128::min),
            "CumSum" => self.cumulative(),
            "Where" => self.choose(),
            "CastLike" => self.cast_like(),
            "Range" => self.range(),
            "Tile" => self.tile(),
            "Size" => {
                let len = self.cx.operand(0)?.shape.iter().product::<usize>();
                Ok(Tensor::i64(&[], vec![len as i64]))
            }
            "NonZero" => self.non_zero(),
            "Trilu" => self.triangle(),
            "EyeLike" => self.eye(),
            "OneHot" => self.one_hot(),
            "GatherElements" => self.gather_elements(),
            "GatherND" => self.gather_nd(),
            "ScatterElements" => self.scatter_elements(),
            "ScatterND" => self.scatter_nd(),
            _ => Err(refuse("operator is not supported")),
        }
    }

    /// The operand at `index`; refuses one that is missing.
    fn tensor(&self, index: usize) -> Result<&Tensor> {
        self.cx.operand(index)?.data.ok_or_else(|| refuse(format!("input {index} is not known")))
    }

    fn optional(&self, index: usize) -> Option<&Tensor> {
        self.cx.inputs.get(index).copied().flatten().and_then(|o| o.data)
    }

    /// An integer of an operand of one element.
    fn number(&self, index: usize) -> Result<i64> {
        match self.tensor(index)?.to_i64_vec()[..] {
            [v] => Ok(v),
            _ => Err(refuse(format!("input {index} has more or fewer than one element"))),
        }
    }

    /// Checks a shape against what may be computed.
    fn fits(&self, shape: &[usize]) -> Result<()> {
        let elements = value_type(DType::Bool, shape.to_vec())?.shape.iter().product::<usize>();
        if elements > self.most {
            return Err(refuse(format!(
                "computes a constant of {elements} elements, more than can be folded"
            )));
        }
        Ok(())
    }

    /// The shape that operands broadcast to, and for each the offsets that it is read at.
    fn aligned(&self, tensors: &[&Tensor]) -> Result<(Vec<usize>, Vec<Vec<usize>>)> {
        let mut to = Vec::new();
        for t in tensors {
            to = broadcast(&to, t.shape())?;
        }
        self.fits(&to)?;
        let offsets = tensors.iter().map(|t| Walk::new(&to, &strides(t.shape(), &to), 0).collect()).collect();
        Ok((to, offsets))
    }

    /// Both operands of a binary operator, of one type.
    fn pair(&self) -> Result<(&Tensor, &Tensor)> {
        let (a, b) = (self.tensor(0)?, self.tensor(1)?);
        if a.dtype() != b.dtype() {
            return Err(refuse(format!("the inputs have different types, {} and {}", a.dtype(), b.dtype())));
        }
        Ok((a, b))
    }

    fn compare(&self, real: fn(f32, f32) -> bool, int: fn(i128, i128) -> bool) -> Result<Tensor> {
        let (a, b) = self.pair()?;
        let (shape, at) = self.aligned(&[a, b])?;
        let places = at[0].iter().zip(&at[1]);
        let data = match (values(a), values(b)) {
            (Values::Real(x), Values::Real(y)) => places.map(|(&i, &j)| real(x[i], y[j])).collect(),
            (Values::Whole(x), Values::Whole(y)) => places.map(|(&i, &j)| int(x[i], y[j])).collect(),
            _ => return Err(refuse("the inputs have no common type")),
        };
        Tensor::new(shape, Data::Bool(data))
    }

    fn logic(&self, f: fn(bool, bool) -> bool) -> Result<Tensor> {
        let (a, b) = self.pair()?;
        let (Data::Bool(x), Data::Bool(y)) = (a.data(), b.data()) else {
            return Err(refuse("the inputs are not bool"));
        };
        let (shape, at) = self.aligned(&[a, b])?;
        let data = at[0].iter().zip(&at[1]).map(|(&i, &j)| f(x[i], y[j])).collect();
        Tensor::new(shape, Data::Bool(data))
    }

    fn not(&self) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let Data::Bool(v) = x.data() else { return Err(refuse("the input is not bool")) };
        Tensor::new(x.shape().to_vec(), Data::Bool(v.iter().map(|b| !b).collect()))
    }

    fn variadic(&self, real: fn(f32, f32) -> f32, int: fn(i128, i128) -> i128) -> Result<Tensor> {
        let mut sum = self.tensor(0)?.clone();
        for i in 1..self.cx.inputs.len() {
            sum = self.both(&sum, self.tensor(i)?, real, int)?;
        }
        Ok(sum)
    }

    /// An arithmetic operator on two operands of one type.
    fn both(
        &self,
        a: &Tensor,
        b: &Tensor,
        real: impl Fn(f32, f32) -> f32,
        int: impl Fn(i128, i128) -> i128,
    ) -> Result<Tensor> {
        if a.dtype() != b.dtype() {
            return Err(refuse(format!("the inputs have different types, {} and {}", a.dtype(), b.dtype())));
        }
        let (shape, at) = self.aligned(&[a, b])?;
        let places = at[0].iter().zip(&at[1]);
        let data = match (values(a), values(b)) {
            (Values::Real(x), Values::Real(y)) => {
                Data::F32(places.map(|(&i, &j)| real(x[i], y[j])).collect())
            }
            (Values::Whole(x), Values::Whole(y)) => {
                whole(a.dtype(), &places.map(|(&i, &j)| int(x[i], y[j])).collect::<Vec<_>>())
            }
            _ => return Err(refuse("the inputs have no common type")),
        };
        Tensor::new(shape, data)
    }

    fn unary(&self, real: impl Fn(f32) -> f32, int: Option<fn(i128) -> i128>) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let data = match (values(x), int) {
            (Values::Real(v), _) => Data::F32(v.into_iter().map(real).collect()),
            (Values::Whole(v), Some(int)) if x.dtype() != DType::Bool => {
                whole(x.dtype(), &v.into_iter().map(int).collect::<Vec<_>>())
            }
            _ => return Err(refuse(format!("is not defined for {}", x.dtype()))),
        };
        Tensor::new(x.shape().to_vec(), data)
    }

    fn modulo(&self) -> Result<Tensor> {
        let like_c = self.cx.int_or("fmod", 0)? != 0;
        let (a, b) = self.pair()?;
        if let Values::Whole(v) = values(b)
            && v.contains(&0)
        {
            return Err(refuse("divides an integer by zero"));
        }
        let real = |x: f32, y: f32| match libm::fmodf(x, y) {
            r if !like_c && r != 0.0 && (r < 0.0) != (y < 0.0) => r + y,
            r => r,
        };
        self.both(a, b, real, |x, y| match x % y {
            // Without `fmod` the result has the sign of the divisor.
            r if !like_c && r != 0 && (r < 0) != (y < 0) => r + y,
            r => r,
        })
    }

    fn power(&self) -> Result<Tensor> {
        let (a, b) = (self.tensor(0)?, self.tensor(1)?);
        let (shape, at) = self.aligned(&[a, b])?;
        let places = at[0].iter().zip(&at[1]);
        let data = match (values(a), values(b)) {
            (Values::Whole(x), Values::Whole(y)) => {
                let power = |(&i, &j): (&usize, &usize)| {
                    let exponent = u32::try_from(y[j]).ok();
                    exponent.and_then(|e| x[i].checked_pow(e))
                };
                let v = places.map(power).collect::<Option<Vec<i128>>>();
                whole(a.dtype(), &v.ok_or_else(|| refuse("has a negative or huge exponent"))?)
            }
            (Values::Real(x), _) => {
                let y = b.to_f32_vec();
                Data::F32(places.map(|(&i, &j)| libm::powf(x[i], y[j])).collect())
            }
            (Values::Whole(_), Values::Real(_)) => {
                let (x, y) = (a.to_f64_vec(), b.to_f64_vec());
                let v: Vec<i128> = places.map(|(&i, &j)| libm::pow(x[i], y[j]) as i128).collect();
                whole(a.dtype(), &v)
            }
        };
        Tensor::new(shape, data)
    }

    fn reduce(
        &self,
        zero: f32,
        real: fn(f32, f32) -> f32,
        none: i128,
        int: fn(i128, i128) -> i128,
    ) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let rank = x.shape().len();
        // Axes moved from an attribute to an input in operator set 13 or 18; either is read.
        let given = match self.cx.ints("axes")? {
            Some(list) => Some(list.to_vec()),
            None => self.optional(1).map(Tensor::to_i64_vec),
        };
        let idle = self.cx.int_or("noop_with_empty_axes", 0)? != 0;
        let axes = match given {
            Some(list) if !list.is_empty() => axes(&list, rank)?,
            _ if idle => return Ok(x.clone()),
            _ => (0..rank).collect(),
        };
        let kept: Vec<usize> = (0..rank).map(|a| if axes.contains(&a) { 1 } else { x.shape()[a] }).collect();
        let keep = self.cx.int_or("keepdims", 1)? != 0;
        let shape = (0..rank).filter(|a| keep || !axes.contains(a)).map(|a| kept[a]).collect();
        let len = kept.iter().product();
        let steps = strides(&kept, x.shape());
        let targets = Walk::new(x.shape(), &steps, 0);
        let empty = x.is_empty() && len > 0;
        let data = match values(x) {
            Values::Real(v) => {
                let mut out = vec![zero; len];
                targets.zip(v).for_each(|(at, v)| out[at] = real(out[at], v));
                Data::F32(out)
            }
            Values::Whole(_) if empty && none != 0 && none != 1 => {
                return Err(refuse("reduces nothing"));
            }
            Values::Whole(v) => {
                let mut out = vec![none; len];
                targets.zip(v).for_each(|(at, v)| out[at] = int(out[at], v));
                whole(x.dtype(), &out)
            }
        };
        Tensor::new(shape, data)
    }

    fn choose(&self) -> Result<Tensor> {
        let (condition, x, y) = (self.tensor(0)?, self.tensor(1)?, self.tensor(2)?);
        let Data::Bool(condition_data) = condition.data() else {
            return Err(refuse("the condition is not bool"));
        };
        if x.dtype() != y.dtype() {
            return Err(refuse(format!("chooses between {} and {}", x.dtype(), y.dtype())));
        }
        let (shape, at) = self.aligned(&[condition, x, y])?;
        let choose = |i: usize| condition_data[at[0][i]];
        let data = match (values(x), values(y)) {
            (Values::Real(x), Values::Real(y)) => Data::F32(
                (0..at[0].len()).map(|i| if choose(i) { x[at[1][i]] } else { y[at[2][i]] }).collect(),
            ),
            (Values::Whole(v), Values::Whole(w)) => {
                let out: Vec<i128> =
                    (0..at[0].len()).map(|i| if choose(i) { v[at[1][i]] } else { w[at[2][i]] }).collect();
                whole(x.dtype(), &out)
            }
            _ => return Err(refuse("the inputs have no common type")),
        };
        Tensor::new(shape, data)
    }

    fn cast_like(&self) -> Result<Tensor> {
        let (x, like) = (self.tensor(0)?, self.tensor(1)?);
        let cast = super::Cast { to: like.dtype() };
        let mut cast = super::Operator::eval(&cast, &[Some(x)])?;
        cast.pop().ok_or_else(|| refuse("has no result"))
    }

    fn range(&self) -> Result<Tensor> {
        let (start, limit, delta) = (self.tensor(0)?, self.tensor(1)?, self.tensor(2)?);
        if [start, limit, delta].iter().any(|t| t.len() != 1 || t.dtype() != start.dtype()) {
            return Err(refuse("start, limit and step are not single numbers of one type"));
        }
        let [first, last, step] = [start, limit, delta].map(|t| t.to_f64_vec()[0]);
        let count = ((last - first) / step).ceil();
        if step == 0.0 || !count.is_finite() || count > self.most as f64 {
            return Err(refuse(format!("counts from {first} to {last} by {step}")));
        }
        let count = count.max(0.0) as usize;
        let data = match (values(start), values(delta)) {
            (Values::Real(a), Values::Real(d)) => {
                Data::F32((0..count).map(|i| a[0] + i as f32 * d[0]).collect())
            }
            (Values::Whole(a), Values::Whole(d)) => {
                whole(start.dtype(), &(0..count).map(|i| a[0] + i as i128 * d[0]).collect::<Vec<_>>())
            }
            _ => return Err(refuse("the inputs have no common type")),
        };
        Tensor::new(vec![count], data)
    }
}

/// Whether a node reads the shape of its operand only, so that it is known at compile time
/// whatever the operand is.
pub(crate) fn reads_shape_only(op: &str) -> bool {
    matches!(op, "Shape" | "Size")
}
