//! The compile-time operators that move elements about: repeats, masks, gathers and scatters.

use super::{Fold, Values, values, whole};
use crate::error::Result;
use crate::ops::check::{axis, dtype, refuse, size};
use crate::tensor::{Data, Tensor, row_major_strides};

/// The elements at some offsets.
fn picked(t: &Tensor, shape: Vec<usize>, offsets: impl Iterator<Item = usize>) -> Result<Tensor> {
    let data = crate::with_data!(t.data(), v => Data::from(offsets.map(|o| v[o]).collect::<Vec<_>>()));
    Tensor::new(shape, data)
}

/// An index in `-n..n`, counted from the front.
fn index(i: i64, n: usize) -> Result<usize> {
    axis(i, n).map_err(|_| refuse(format!("index {i} lies outside of {n} elements")))
}

impl Fold<'_> {
    pub(super) fn cumulative(&self) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let axis = axis(self.number(1)?, x.shape().len())?;
        let (exclusive, reverse) = (self.cx.int_or("exclusive", 0)? != 0, self.cx.int_or("reverse", 0)? != 0);
        let (n, inner) = (x.shape()[axis], row_major_strides(x.shape())[axis]);
        let runs = |i: usize| {
            let at = i / inner % n;
            let place = if reverse { n - 1 - at } else { at };
            (i - at * inner, place)
        };
        fn sums<T: Copy>(v: &[T], zero: T, add: fn(T, T) -> T, pick: impl Fn(usize) -> Vec<usize>) -> Vec<T> {
            (0..v.len()).map(|i| pick(i).into_iter().fold(zero, |s, j| add(s, v[j]))).collect()
        }
        if x.len().saturating_mul(n) > self.most {
            return Err(refuse("sums more than can be folded"));
        }
        let terms = |i: usize| -> Vec<usize> {
            let (base, place) = runs(i);
            let count = if exclusive { place } else { place + 1 };
            (0..count).map(|p| base + if reverse { n - 1 - p } else { p } * inner).collect()
        };
        let data = match values(x) {
            Values::Real(v) => Data::F32(sums(&v, 0.0, |a, b| a + b, terms)),
            Values::Whole(v) => whole(x.dtype(), &sums(&v, 0, i128::wrapping_add, terms)),
        };
        Tensor::new(x.shape().to_vec(), data)
    }

    pub(super) fn tile(&self) -> Result<Tensor> {
        let (x, repeats) = (self.tensor(0)?, self.tensor(1)?.to_i64_vec());
        if repeats.len() != x.shape().len() {
            return Err(refuse(format!("{} repeats for {} axes", repeats.len(), x.shape().len())));
        }
        let mut shape = Vec::with_capacity(repeats.len());
        for (&n, &r) in x.shape().iter().zip(&repeats) {
            shape.push(n.saturating_mul(size(r, "a repeat")?));
        }
        self.fits(&shape)?;
        let (own, all) = (row_major_strides(x.shape()), row_major_strides(&shape));
        let place = |i: usize| -> usize {
            (0..shape.len()).map(|a| i / all[a] % shape[a] % x.shape()[a] * own[a]).sum()
        };
        let len = shape.iter().product();
        picked(x, shape.clone(), (0..len).map(place))
    }

    pub(super) fn non_zero(&self) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let found: Vec<usize> =
            x.to_f64_vec().iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect();
        let steps = row_major_strides(x.shape());
        let rank = x.shape().len();
        self.fits(&[rank, found.len()])?;
        let out = (0..rank).flat_map(|a| found.iter().map(move |&i| (a, i)));
        let out = out.map(|(a, i)| (i / steps[a] % x.shape()[a]) as i64).collect();
        Tensor::new(vec![rank, found.len()], Data::I64(out))
    }

    pub(super) fn triangle(&self) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let &[.., rows, columns] = x.shape() else { return Err(refuse("the input is no matrix")) };
        let k = if self.optional(1).is_some() { self.number(1)? } else { 0 };
        let upper = self.cx.int_or("upper", 1)? != 0;
        let keep = |i: usize| {
            let (r, c) = ((i / columns % rows) as i64, (i % columns) as i64);
            if upper { c.saturating_sub(r) >= k } else { c.saturating_sub(r) <= k }
        };
        let data = crate::with_data!(x.data(), v => Data::from(
            v.iter().enumerate().map(|(i, &e)| if keep(i) { e } else { Default::default() }).collect::<Vec<_>>()
        ));
        Tensor::new(x.shape().to_vec(), data)
    }

    pub(super) fn eye(&self) -> Result<Tensor> {
        let x = self.tensor(0)?;
        let &[rows, columns] = x.shape() else { return Err(refuse("the input is no matrix")) };
        let k = self.cx.int_or("k", 0)?;
        let ty = self.cx.int("dtype")?.map_or(Ok(x.dtype()), dtype)?;
        let one = |i: usize| i128::from((i % columns) as i64 == ((i / columns) as i64).saturating_add(k));
        Tensor::new(vec![rows, columns], whole(ty, &(0..rows * columns).map(one).collect::<Vec<_>>()))
    }

    pub(super) fn one_hot(&self) -> Result<Tensor> {
        let (indices, both) = (self.tensor(0)?, self.tensor(2)?);
        let depth = size(self.number(1)?, "the depth")?;
        if both.len() != 2 {
            return Err(refuse("the values for off and on are not two"));
        }
        let rank = indices.shape().len();
        let axis = axis(self.cx.int_or("axis", -1)?, rank + 1)?;
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, depth);
        self.fits(&shape)?;
        let inner: usize = indices.shape()[axis..].iter().product();
        let hot = indices.to_i64_vec();
        let place = |i: usize| {
            let (outer, at, rest) = (i / inner / depth, i / inner % depth, i % inner);
            usize::from(index(hot[outer * inner + rest], depth) == Ok(at))
        };
        let len = shape.iter().product();
        picked(both, shape, (0..len).map(place))
    }

    /// Where each index of GatherElements and ScatterElements points in a tensor of shape `data`.
    fn along(&self, data: &[usize], indices: &Tensor) -> Result<Vec<usize>> {
        let axis = axis(self.cx.int_or("axis", 0)?, data.len())?;
        let shape = indices.shape();
        if shape.len() != data.len() || (0..data.len()).any(|a| a != axis && shape[a] > data[a]) {
            return Err(refuse(format!("indices of shape {shape:?} do not fit a tensor of shape {data:?}")));
        }
        let (own, all) = (row_major_strides(shape), row_major_strides(data));
        let place = |(i, &at): (usize, &i64)| {
            let others = (0..data.len()).filter(|&a| a != axis).map(|a| i / own[a] % shape[a] * all[a]);
            Ok(others.sum::<usize>() + index(at, data[axis])? * all[axis])
        };
        indices.to_i64_vec().iter().enumerate().map(place).collect()
    }

    pub(super) fn gather_elements(&self) -> Result<Tensor> {
        let (x, indices) = (self.tensor(0)?, self.tensor(1)?);
        picked(x, indices.shape().to_vec(), self.along(x.shape(), indices)?.into_iter())
    }

    /// For each tuple of indices: the offset that it names, and how many elements lie there.
    fn tuples(&self, data: &[usize], indices: &Tensor) -> Result<(Vec<usize>, usize)> {
        let width = *indices.shape().last().ok_or_else(|| refuse("the indices have no axis"))?;
        if width == 0 || width > data.len() {
            return Err(refuse(format!("tuples of {width} indices into {} axes", data.len())));
        }
        let steps = row_major_strides(data);
        let place = |tuple: &[i64]| {
            tuple.iter().enumerate().try_fold(0, |at, (a, &i)| Ok(at + index(i, data[a])? * steps[a]))
        };
        let offsets = indices.to_i64_vec().chunks(width).map(place).collect::<Result<Vec<usize>>>()?;
        Ok((offsets, data[width..].iter().product()))
    }

    pub(super) fn gather_nd(&self) -> Result<Tensor> {
        let (x, indices) = (self.tensor(0)?, self.tensor(1)?);
        if self.cx.int_or("batch_dims", 0)? != 0 {
            return Err(refuse("`batch_dims` is not supported"));
        }
        let (offsets, run) = self.tuples(x.shape(), indices)?;
        let width = indices.shape().last().copied().unwrap_or(0);
        let mut shape = indices.shape()[..indices.shape().len() - 1].to_vec();
        shape.extend(&x.shape()[width..]);
        self.fits(&shape)?;
        picked(x, shape, offsets.into_iter().flat_map(|o| o..o + run))
    }

    /// `data` with the elements at `places` replaced.
    fn scattered(&self, places: &[usize], updates: &Tensor) -> Result<Tensor> {
        let data = self.tensor(0)?;
        match self.cx.str_or("reduction", "none")? {
            "none" => {}
            other => return Err(refuse(format!("`reduction` {other} is not supported"))),
        }
        if updates.dtype() != data.dtype() || updates.len() != places.len() {
            return Err(refuse("the updates fit neither the data nor the indices"));
        }
        let out = match (values(data), values(updates)) {
            (Values::Real(mut v), Values::Real(u)) => {
                places.iter().zip(u).for_each(|(&at, u)| v[at] = u);
                Data::F32(v)
            }
            (Values::Whole(mut v), Values::Whole(u)) => {
                places.iter().zip(u).for_each(|(&at, u)| v[at] = u);
                whole(data.dtype(), &v)
            }
            _ => return Err(refuse("the inputs have no common type")),
        };
        Tensor::new(data.shape().to_vec(), out)
    }

    pub(super) fn scatter_elements(&self) -> Result<Tensor> {
        let (indices, updates) = (self.tensor(1)?, self.tensor(2)?);
        let places = self.along(self.tensor(0)?.shape(), indices)?;
        self.scattered(&places, updates)
    }

    pub(super) fn scatter_nd(&self) -> Result<Tensor> {
        let (indices, updates) = (self.tensor(1)?, self.tensor(2)?);
        let (offsets, run) = self.tuples(self.tensor(0)?.shape(), indices)?;
        if offsets.len().checked_mul(run) != Some(updates.len()) {
            return Err(refuse("the updates do not fit the indices"));
        }
        let places: Vec<usize> = offsets.into_iter().flat_map(|o| o..o + run).collect();
        self.scattered(&places, updates)
    }
}
