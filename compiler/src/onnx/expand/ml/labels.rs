//! Labels and categories: from numbers to others, to places in a row, and what names them.

use super::super::build::{Builder, Expanded, int};
use super::{floats, ints, words};
use crate::error::{Error, Result};
use crate::ops::Attr;
use crate::ops::check::refuse;
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeMap;

/// The probabilities stand for the dictionaries that name them.
pub(super) fn zip_map(mut b: Builder<'_>) -> Result<Expanded> {
    let x = b.input(0)?;
    b.warn(
        "the scores stand as they are, a column for each class in the order of its labels, instead of as dictionaries",
        "nothing needs to be done; `skl2onnx.to_onnx(model, sample, options={'zipmap': False})` exports such a model",
    );
    b.finish(vec![x])
}

fn text() -> Error {
    refuse("maps text, which has no place in a tensor of numbers")
        .help("encode text before the model, and give it the numbers")
}

/// Keys or values: in a list of their type, or in a tensor.
fn numbers(b: &Builder<'_>, what: &str) -> Result<Data> {
    if !words(b, &format!("{what}_strings"))?.is_empty() {
        return Err(text());
    }
    if let Some(tensor) = b.cx.tensor(&format!("{what}_tensor"))? {
        return Ok(tensor.data().clone());
    }
    let (whole, real) = (ints(b, &format!("{what}_int64s"))?, floats(b, &format!("{what}_floats"))?);
    Ok(if whole.is_empty() { Data::F32(real) } else { Data::I64(whole.to_vec()) })
}

/// What stands for a key that is none.
fn default(b: &Builder<'_>, dtype: DType) -> Result<Tensor> {
    let data = match (b.cx.attrs.get("default_tensor"), dtype) {
        (Some(Attr::Tensor(t)), _) if t.dtype() == dtype && t.len() == 1 => t.data().clone(),
        (Some(_), _) => return Err(refuse("`default_tensor` is not one number of the values' type")),
        (None, DType::F32) => Data::F32(vec![b.cx.float_or("default_float", -0.0)?]),
        (None, _) => Data::from_i64(dtype, &[b.cx.int_or("default_int64", -1)?]),
    };
    Tensor::new(Vec::new(), data)
}

/// A table by number may be so much longer than its list of keys.
const LOOSE: i64 = 4;

/// Values for keys.
pub(super) fn encode(b: Builder<'_>) -> Result<Expanded> {
    if !words(&b, "classes_strings")?.is_empty() {
        return Err(text());
    }
    let keys = numbers(&b, "keys")?;
    let names = words(&b, "values_strings")?;
    if !names.is_empty() {
        let other = b.cx.str_or("default_string", "_Unused")?;
        return named(b, keys, names, other);
    }
    let values = numbers(&b, "values")?;
    let other = default(&b, values.dtype())?;
    look_up(b, keys, values, other)
}

/// Names for numbers; a number that is no category gets `default_string`.
pub(super) fn map_categories(b: Builder<'_>) -> Result<Expanded> {
    if b.operand(0)?.dtype != DType::I64 {
        return Err(refuse("maps int64 to text, or text to int64, and its input is neither"));
    }
    let (keys, names) = (ints(&b, "cats_int64s")?, words(&b, "cats_strings")?);
    let other = b.cx.str_or("default_string", "_Unused")?;
    named(b, Data::I64(keys.to_vec()), names, other)
}

/// Names for keys, as numbers: those of equal names are the same.
fn named(mut b: Builder<'_>, keys: Data, names: &[String], other: &str) -> Result<Expanded> {
    let mut texts: Vec<String> = Vec::new();
    let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
    let mut number = |name| {
        *numbers.entry(name).or_insert_with(|| {
            texts.push(name.to_string());
            texts.len() as i64 - 1
        })
    };
    let values: Vec<i64> = names.iter().map(|name| number(name.as_str())).collect();
    let other = number(other);
    b.names(texts);
    look_up(b, keys, Data::I64(values), Tensor::new(Vec::new(), Data::I64(vec![other]))?)
}

fn look_up(mut b: Builder<'_>, keys: Data, values: Data, other: Tensor) -> Result<Expanded> {
    if keys.len() != values.len() || keys.is_empty() {
        return Err(refuse(format!("has {} keys for {} values", keys.len(), values.len())));
    }
    let (x, operand) = (b.input(0)?, b.operand(0)?);
    if operand.dtype.is_float() != keys.dtype().is_float() {
        return Err(refuse(format!("has keys of {}, and an input of {}", keys.dtype(), operand.dtype)));
    }
    let keys = Tensor::new(vec![keys.len()], keys)?;
    let values = Tensor::new(vec![values.len()], values)?;
    let y = if operand.dtype.is_float() {
        if keys.to_f32_vec().iter().any(|k| k.is_nan()) {
            return Err(refuse("has a key that is no number, with which nothing compares"));
        }
        search(&mut b, &x, operand.shape, keys, values, other)?
    } else {
        let x = if operand.dtype == DType::I64 { x } else { b.cast(&x, DType::I64) };
        let list = keys.to_i64_vec();
        let (least, most) = list.iter().fold((i64::MAX, i64::MIN), |(a, z), &k| (a.min(k), z.max(k)));
        let dense = least > i64::MIN
            && most < i64::MAX
            && most.checked_sub(least).is_some_and(|d| d < LOOSE * list.len() as i64 + 16);
        if dense {
            by_number(&mut b, &x, &list, (least, most), &values, &other)?
        } else {
            let keys = Tensor::i64(&[list.len()], list);
            search(&mut b, &x, operand.shape, keys, values, other)?
        }
    };
    b.finish(vec![y])
}

/// A table from one below the least key to one above the greatest.
fn by_number(
    b: &mut Builder<'_>,
    x: &str,
    keys: &[i64],
    (least, most): (i64, i64),
    values: &Tensor,
    other: &Tensor,
) -> Result<String> {
    let (first, last) = (least - 1, most + 1);
    // Of equal keys the first one counts.
    let place = |number: i64| keys.iter().position(|&k| k == number);
    let places: Vec<Option<usize>> = (first..=last).map(place).collect();
    let data = match (values.data(), other.data()) {
        (Data::F32(v), Data::F32(o)) => {
            let of = |p: &Option<usize>| p.and_then(|p| v.get(p)).or(o.first()).copied().unwrap_or(0.0);
            Data::F32(places.iter().map(of).collect())
        }
        _ => {
            let (v, o) = (values.to_i64_vec(), other.to_i64_vec());
            let of = |p: &Option<usize>| p.and_then(|p| v.get(p)).or(o.first()).copied().unwrap_or(0);
            Data::from_i64(values.dtype(), &places.iter().map(of).collect::<Vec<_>>())
        }
    };
    let table = b.constant(Tensor::new(vec![data.len()], data)?);
    let [low, high] = [first, last].map(|v| Tensor::new(Vec::new(), Data::I64(vec![v])));
    let (low, high) = (b.constant(low?), b.constant(high?));
    let above = b.op("Max", &[x, &low]);
    let within = b.op("Min", &[&above, &high]);
    let index = b.op("Sub", &[&within, &low]);
    Ok(b.gather(&table, &index, 0))
}

/// Compares with every key.
fn search(
    b: &mut Builder<'_>,
    x: &str,
    shape: &[usize],
    keys: Tensor,
    values: Tensor,
    other: Tensor,
) -> Result<String> {
    let hits = equal(b, x, shape, keys);
    let rank = shape.len();
    // The first of equal keys is the first of the greatest.
    let place = b.with("ArgMax", &[&hits], vec![int("axis", rank as i64), int("keepdims", 0)]);
    let found = b.reduce("ReduceMax", &hits, &[rank]);
    let found = b.reshape(&found, shape);
    let none = b.float(0.0);
    let found = b.op("Greater", &[&found, &none]);
    let values = b.constant(values);
    let value = b.gather(&values, &place, 0);
    let other = b.constant(other);
    Ok(b.op("Where", &[&found, &value, &other]))
}

/// One where a number is a key, else zero, along a new last axis of keys.
fn equal(b: &mut Builder<'_>, x: &str, shape: &[usize], keys: Tensor) -> String {
    let wide: Vec<usize> = shape.iter().copied().chain([1]).collect();
    let x = b.reshape(x, &wide);
    let keys = b.constant(keys);
    let hit = b.op("Equal", &[&x, &keys]);
    b.cast(&hit, DType::F32)
}

/// A place for each category.
pub(super) fn one_hot(mut b: Builder<'_>) -> Result<Expanded> {
    if !words(&b, "cats_strings")?.is_empty() {
        return Err(text());
    }
    let categories = ints(&b, "cats_int64s")?;
    if categories.is_empty() {
        return Err(refuse("has no categories"));
    }
    let (x, operand) = (b.input(0)?, b.operand(0)?);
    let x = if operand.dtype == DType::I64 { x } else { b.cast(&x, DType::I64) };
    if b.cx.int_or("zeros", 1)? == 0 {
        b.warn(
            "a number that is no category becomes zeros, where the model asks for an error",
            "look at the numbers before the model runs",
        );
    }
    let keys = Tensor::i64(&[categories.len()], categories.to_vec());
    let y = equal(&mut b, &x, operand.shape, keys);
    b.finish(vec![y])
}
