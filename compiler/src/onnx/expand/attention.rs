//! Attention and rotary embeddings.

use super::build::{Builder, Expanded, int};
use crate::error::Result;
use crate::ops::check::{refuse, size};
use crate::tensor::{DType, Data, Tensor};

/// Heads of `[batch, steps, heads * size]` or `[batch, heads, steps, size]`: the latter, and its shape.
fn heads(b: &mut Builder<'_>, i: usize, attribute: &str) -> Result<(String, [usize; 4])> {
    let (x, shape) = (b.input(i)?, b.shape(i)?);
    match *shape.as_slice() {
        [n, h, s, d] => Ok((x, [n, h, s, d])),
        [n, s, all] => {
            let h = size(b.cx.int_or(attribute, 0)?, attribute)?;
            if h == 0 || all % h != 0 {
                return Err(refuse(format!("{all} features do not part into {h} heads")));
            }
            let y = b.reshape(&x, &[n, s, h, all / h]);
            Ok((b.transpose(&y, &[0, 2, 1, 3]), [n, h, s, all / h]))
        }
        _ => Err(refuse(format!("input {i} has shape {shape:?}"))),
    }
}

/// As many heads as there are of queries, each repeated.
fn repeated(b: &mut Builder<'_>, x: String, [n, h, s, d]: [usize; 4], heads: usize) -> Result<String> {
    if h == heads {
        return Ok(x);
    }
    if h == 0 || !heads.is_multiple_of(h) {
        return Err(refuse(format!("{heads} heads of queries do not part into {h} of keys")));
    }
    let y = b.reshape(&x, &[n, h, 1, s, d]);
    let y = b.expand(&y, &[n, h, heads / h, s, d]);
    Ok(b.reshape(&y, &[n, heads, s, d]))
}

/// All masks together.
#[derive(Default)]
struct Masks {
    /// Which keys a query sees, of so many axes.
    bits: Option<(String, usize)>,
    /// What is added to the scores beside that, of so many axes.
    added: Option<(String, usize)>,
    /// Whether a row may be closed whole.
    closes: bool,
}

impl Masks {
    fn see(&mut self, b: &mut Builder<'_>, bits: String, axes: usize) {
        self.bits = Some(match self.bits.take() {
            None => (bits, axes),
            Some((other, more)) => (b.op("And", &[&other, &bits]), more.max(axes)),
        });
    }

    /// The bias of all masks, and, where a row may be closed whole, whether each row has a key that it sees.
    fn bias(&self, b: &mut Builder<'_>) -> Option<(String, Option<String>)> {
        let not = b.float(f32::NEG_INFINITY);
        match (&self.bits, &self.added) {
            (None, None) => None,
            (Some((bits, axes)), None) => {
                let open = self.closes.then(|| b.reduce("ReduceMax", bits, &[axes - 1]));
                let through = b.float(0.0);
                Some((b.op("Where", &[bits, &through, &not]), open))
            }
            (bits, Some((added, axes))) => {
                let (mut all, mut rank) = (added.clone(), *axes);
                if let Some((bits, more)) = bits {
                    all = b.op("Where", &[bits, added, &not]);
                    rank = rank.max(*more);
                }
                let open = self.closes.then(|| {
                    let most = b.reduce("ReduceMax", &all, &[rank - 1]);
                    b.op("Greater", &[&most, &not])
                });
                Some((all, open))
            }
        }
    }
}

/// The masks of an attention by `queries` of `keys`, of which `past` stand in front.
fn masks(b: &mut Builder<'_>, [queries, keys, past]: [usize; 3]) -> Result<Masks> {
    let mut masks = Masks::default();
    if let Some(mask) = b.optional(3) {
        masks.closes = true;
        let mut name = b.input(3)?;
        let &[.., columns] = mask.shape else { return Err(refuse("the mask has no axis")) };
        let rank = mask.shape.len();
        let missing = keys.checked_sub(columns).ok_or_else(|| refuse("the mask is wider than the keys"))?;
        let mut pads = vec![0; 2 * rank];
        pads[2 * rank - 1] = missing as i64;
        if mask.dtype == DType::Bool {
            if missing > 0 {
                let (pads, not) =
                    (b.ints(&pads), b.constant(Tensor::new(Vec::new(), Data::Bool(vec![false]))?));
                name = b.op("Pad", &[&name, &pads, &not]);
            }
            masks.see(b, name, rank);
        } else if mask.dtype == DType::F32 {
            if missing > 0 {
                let (pads, not) = (b.ints(&pads), b.float(f32::NEG_INFINITY));
                name = b.op("Pad", &[&name, &pads, &not]);
            }
            masks.added = Some((name, rank));
        } else {
            return Err(refuse(format!("the mask has type {}", mask.dtype)));
        }
    }
    let causal = b.cx.int_or("is_causal", 0)? != 0;
    let (left, right) = (b.cx.int_or("left_window_size", -1)?, b.cx.int_or("right_window_size", -1)?);
    let lengths = b.optional(6).is_some();
    if causal || left >= 0 || right >= 0 {
        // A key may be seen at its distance behind a query, which may not be known before the run.
        let ahead = b.constant(Tensor::i64(
            &[1, 1, queries, keys],
            (0..queries * keys).map(|i| (i % keys) as i64 - (i / keys) as i64 - past as i64).collect(),
        ));
        let ahead = if lengths && b.optional(4).is_none() {
            masks.closes = true;
            let n = b.shape(6)?.first().copied().unwrap_or(1);
            let given = b.input(6)?;
            let given = b.cast(&given, DType::I64);
            let given = b.reshape(&given, &[n, 1, 1, 1]);
            let q = b.number(DType::I64, queries as f64)?;
            let offset = b.op("Sub", &[&given, &q]);
            b.op("Sub", &[&ahead, &offset])
        } else {
            ahead
        };
        let right = if causal && right < 0 {
            0
        } else if causal {
            right.min(0)
        } else {
            right
        };
        for (limit, op) in [(right, "LessOrEqual"), (if left < 0 { -1 } else { left }, "GreaterOrEqual")] {
            if limit < 0 {
                continue;
            }
            let end = if op == "LessOrEqual" { limit } else { -limit };
            let end = b.number(DType::I64, end as f64)?;
            let seen = b.op(op, &[&ahead, &end]);
            masks.see(b, seen, 4);
        }
        masks.closes |= left >= 0;
    }
    if lengths {
        masks.closes = true;
        let n = b.shape(6)?.first().copied().unwrap_or(1);
        let given = b.input(6)?;
        let given = b.cast(&given, DType::I64);
        let given = b.reshape(&given, &[n, 1, 1, 1]);
        let places = super::arithmetic::range_along(b, keys, 3, 4);
        let seen = b.op("Less", &[&places, &given]);
        masks.see(b, seen, 4);
    }
    Ok(masks)
}

/// `softmax(Q K^T * scale + bias) V`, with keys and values of the past in front.
pub(super) fn attention(mut b: Builder<'_>) -> Result<Expanded> {
    let flat = b.shape(0)?.len() == 3;
    let (q, [n, h, queries, depth]) = heads(&mut b, 0, "q_num_heads")?;
    let (mut k, mut k_shape) = heads(&mut b, 1, "kv_num_heads")?;
    let (mut v, mut v_shape) = heads(&mut b, 2, "kv_num_heads")?;
    let mut past = 0;
    if b.optional(4).is_some() || b.optional(5).is_some() {
        let (pk, pv) = (b.input(4)?, b.input(5)?);
        past = b.shape(4)?.get(2).copied().unwrap_or(0);
        k = b.concat(&[&pk, &k], 2);
        v = b.concat(&[&pv, &v], 2);
        k_shape[2] += past;
        v_shape[2] += past;
    }
    let present = [k.clone(), v.clone()];
    let k = repeated(&mut b, k, k_shape, h)?;
    let v = repeated(&mut b, v, v_shape, h)?;
    let scale = match b.cx.float_or("scale", 0.0)? {
        0.0 => (1.0 / (depth as f64).sqrt()) as f32,
        given => given,
    };
    let scale = b.float(scale);
    let q = b.op("Mul", &[&q, &scale]);
    let k = b.transpose(&k, &[0, 1, 3, 2]);
    let mut scores = b.op("MatMul", &[&q, &k]);
    let mode = b.cx.int_or("qk_matmul_output_mode", 0)?;
    let mut shown = scores.clone();
    let cap = b.cx.float_or("softcap", 0.0)?;
    if cap > 0.0 {
        let cap = b.float(cap);
        scores = b.op("Div", &[&scores, &cap]);
        scores = b.op("Tanh", &[&scores]);
        scores = b.op("Mul", &[&scores, &cap]);
        if mode != 0 {
            shown = scores.clone();
        }
    }
    let masks = masks(&mut b, [queries, k_shape[2], past])?;
    let (bias, open) = masks.bias(&mut b).unzip();
    if let Some(bias) = &bias {
        scores = b.op("Add", &[&scores, bias]);
    }
    if mode == 2 {
        shown = scores.clone();
    }
    let shares = b.with("Softmax", &[&scores], vec![int("axis", -1)]);
    let mut y = b.op("MatMul", &[&shares, &v]);
    if mode == 3 {
        shown = shares;
    }
    if let Some(open) = open.flatten() {
        // A query that sees nothing gives nothing.
        let none = b.float(0.0);
        y = b.op("Where", &[&open, &y, &none]);
        if mode == 3 {
            shown = b.op("Where", &[&open, &shown, &none]);
        }
    }
    if flat {
        y = b.transpose(&y, &[0, 2, 1, 3]);
        y = b.reshape(&y, &[n, queries, h * v_shape[3]]);
    }
    let [k, v] = present;
    b.finish(vec![y, k, v, shown])
}

/// Pairs of features turned by an angle that grows with the position.
pub(super) fn rotary_embedding(mut b: Builder<'_>) -> Result<Expanded> {
    let given = b.shape(0)?;
    let (x, [n, h, s, d]) = heads(&mut b, 0, "num_heads")?;
    let turned = match size(b.cx.int_or("rotary_embedding_dim", 0)?, "rotary_embedding_dim")? {
        0 => d,
        some => some,
    };
    let half = turned / 2;
    if turned > d || half == 0 || turned % 2 != 0 {
        return Err(refuse(format!("turns {turned} of {d} features")));
    }
    let mut caches = Vec::new();
    for i in [1, 2] {
        let mut cache = b.input(i)?;
        if b.optional(3).is_some() {
            let positions = b.input(3)?;
            cache = b.gather(&cache, &positions, 0);
        }
        caches.push(b.reshape(&cache, &[n, 1, s, half]));
    }
    let (cos, sin) = (caches[0].clone(), caches[1].clone());
    let (end, half_end) = (turned as i64, half as i64);
    let interleaved = b.cx.int_or("interleaved", 0)? != 0;
    let (first, second) = if interleaved {
        (b.slice(&x, 3, 0, end, 2), b.slice(&x, 3, 1, end, 2))
    } else {
        (b.slice(&x, 3, 0, half_end, 1), b.slice(&x, 3, half_end, end, 1))
    };
    let product = |b: &mut Builder<'_>, x: &str, by: &str| b.op("Mul", &[x, by]);
    let (a, c) = (product(&mut b, &first, &cos), product(&mut b, &second, &sin));
    let real = b.op("Sub", &[&a, &c]);
    let (a, c) = (product(&mut b, &first, &sin), product(&mut b, &second, &cos));
    let imaginary = b.op("Add", &[&a, &c]);
    let mut y = if interleaved {
        let (r, i) = (b.reshape(&real, &[n, h, s, half, 1]), b.reshape(&imaginary, &[n, h, s, half, 1]));
        let both = b.concat(&[&r, &i], 4);
        b.reshape(&both, &[n, h, s, turned])
    } else {
        b.concat(&[&real, &imaginary], 3)
    };
    if turned < d {
        let rest = b.slice(&x, 3, end, d as i64, 1);
        y = b.concat(&[&y, &rest], 3);
    }
    if given.len() == 3 {
        y = b.transpose(&y, &[0, 2, 1, 3]);
        y = b.reshape(&y, &given);
    }
    b.finish(vec![y])
}
