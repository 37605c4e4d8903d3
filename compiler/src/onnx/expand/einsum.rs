//! Einsum: products over shared labels, operand after operand, as matrix products.

use super::build::{Builder, Expanded};
use crate::error::Result;
use crate::ops::check::{len, refuse};

/// A value whose axes have labels.
struct Term {
    name: String,
    labels: Vec<char>,
    shape: Vec<usize>,
}

impl Term {
    fn size(&self, label: char) -> usize {
        self.labels.iter().position(|&l| l == label).map_or(1, |at| self.shape[at])
    }

    /// The axes in another order.
    fn ordered(&mut self, b: &mut Builder<'_>, labels: &[char]) {
        let perm: Vec<usize> =
            labels.iter().filter_map(|l| self.labels.iter().position(|x| x == l)).collect();
        if perm.windows(2).any(|w| w[0] > w[1]) {
            self.name = b.transpose(&self.name, &perm);
        }
        self.shape = perm.iter().map(|&p| self.shape[p]).collect();
        self.labels = labels.to_vec();
    }

    /// Sums over labels that nobody reads.
    fn summed(&mut self, b: &mut Builder<'_>, wanted: &dyn Fn(char) -> bool) {
        let axes: Vec<usize> = (0..self.labels.len()).filter(|&a| !wanted(self.labels[a])).collect();
        if axes.is_empty() {
            return;
        }
        self.name = b.reduce("ReduceSum", &self.name, &axes);
        let keep: Vec<usize> = (0..self.labels.len()).filter(|a| !axes.contains(a)).collect();
        self.shape = keep.iter().map(|&a| self.shape[a]).collect();
        self.labels = keep.iter().map(|&a| self.labels[a]).collect();
        self.name = b.reshape(&self.name, &self.shape);
    }

    /// Two axes with one label become their diagonal.
    fn diagonal(&mut self, b: &mut Builder<'_>) -> Result<()> {
        while let Some((i, j)) = (0..self.labels.len())
            .flat_map(|i| (i + 1..self.labels.len()).map(move |j| (i, j)))
            .find(|&(i, j)| self.labels[i] == self.labels[j])
        {
            let n = self.shape[i];
            if self.shape[j] != n {
                return Err(refuse(format!("label `{}` stands for two sizes", self.labels[i])));
            }
            let mut perm: Vec<usize> = (0..self.labels.len()).filter(|a| *a != i && *a != j).collect();
            let rest: Vec<usize> = perm.iter().map(|&a| self.shape[a]).collect();
            let labels: Vec<char> = perm.iter().map(|&a| self.labels[a]).collect();
            perm.extend([i, j]);
            let turned = b.transpose(&self.name, &perm);
            let flat = b.reshape(&turned, &[rest.as_slice(), &[n * n]].concat());
            let places = b.ints(&(0..n).map(|k| (k * (n + 1)) as i64).collect::<Vec<_>>());
            let label = self.labels[i];
            self.name = b.gather(&flat, &places, rest.len());
            self.shape = [rest, vec![n]].concat();
            self.labels = labels.into_iter().chain([label]).collect();
        }
        Ok(())
    }
}

/// Labels of an operand, an ellipsis as labels of its own (`'0'` the last axis that it stands for).
fn labels(text: &str, rank: usize) -> Result<Vec<char>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (before, after) = text.split_once("...").unwrap_or((&text, ""));
    let named = before.chars().count() + after.chars().count();
    if !before.chars().chain(after.chars()).all(|c| c.is_ascii_alphabetic()) {
        return Err(refuse(format!("the term `{text}` is no list of letters")));
    }
    let hidden = rank.checked_sub(named).filter(|&n| n < 10 && (n == 0 || text.contains("...")));
    let hidden = hidden.ok_or_else(|| refuse(format!("the term `{text}` does not fit {rank} axes")))?;
    let hidden = (0..hidden).rev().filter_map(|i| char::from_digit(i as u32, 10));
    Ok(before.chars().chain(hidden).chain(after.chars()).collect())
}

/// Both operands' product, over labels that are still wanted.
fn product(b: &mut Builder<'_>, mut x: Term, mut y: Term, wanted: &dyn Fn(char) -> bool) -> Result<Term> {
    let both = |l: &char| x.labels.contains(l) && y.labels.contains(l);
    for l in x.labels.iter().filter(|l| both(l)) {
        if x.size(*l) != y.size(*l) && x.size(*l) != 1 && y.size(*l) != 1 {
            return Err(refuse(format!("label `{l}` stands for two sizes")));
        }
    }
    let ones = x.labels.iter().any(|l| both(l) && x.size(*l) != y.size(*l));
    let batch: Vec<char> = x.labels.iter().copied().filter(|l| both(l) && wanted(*l)).collect();
    let inner: Vec<char> = x.labels.iter().copied().filter(|l| both(l) && !wanted(*l)).collect();
    let rows: Vec<char> = x.labels.iter().copied().filter(|l| !y.labels.contains(l)).collect();
    let columns: Vec<char> = y.labels.iter().copied().filter(|l| !x.labels.contains(l)).collect();
    if ones {
        // An axis of one element against many: element by element.
        let all = [batch, inner, rows, columns].concat();
        for t in [&mut x, &mut y] {
            let own: Vec<char> = all.iter().copied().filter(|l| t.labels.contains(l)).collect();
            t.ordered(b, &own);
            let shape: Vec<usize> = all.iter().map(|&l| t.size(l)).collect();
            t.name = b.reshape(&t.name, &shape);
        }
        let shape: Vec<usize> = all.iter().map(|&l| x.size(l).max(y.size(l))).collect();
        let mut z = Term { name: b.op("Mul", &[&x.name, &y.name]), labels: all, shape };
        z.summed(b, wanted);
        return Ok(z);
    }
    x.ordered(b, &[batch.as_slice(), &rows, &inner].concat());
    y.ordered(b, &[batch.as_slice(), &inner, &columns].concat());
    let size = |t: &Term, labels: &[char]| -> usize { labels.iter().map(|&l| t.size(l)).product() };
    let (n, k) = (size(&x, &batch), size(&x, &inner));
    let a = b.reshape(&x.name, &[n, size(&x, &rows), k]);
    let c = b.reshape(&y.name, &[n, k, size(&y, &columns)]);
    let z = b.op("MatMul", &[&a, &c]);
    let labels = [batch.as_slice(), &rows, &columns].concat();
    let shape: Vec<usize> = labels.iter().map(|&l| x.size(l).max(y.size(l))).collect();
    len(&shape)?;
    Ok(Term { name: b.reshape(&z, &shape), labels, shape })
}

pub(super) fn einsum(mut b: Builder<'_>) -> Result<Expanded> {
    let equation = b.cx.str_or("equation", "")?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if texts.len() != b.cx.inputs.len() {
        return Err(refuse(format!(
            "`{equation}` has {} terms for {} operands",
            texts.len(),
            b.cx.inputs.len()
        )));
    }
    let mut terms = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let shape = b.shape(i)?;
        terms.push(Term { name: b.input(i)?, labels: labels(text, shape.len())?, shape });
    }
    let all: Vec<char> = terms.iter().flat_map(|t| t.labels.clone()).collect();
    let mut hidden: Vec<char> = all.iter().copied().filter(char::is_ascii_digit).collect();
    hidden.sort_unstable();
    hidden.dedup();
    let result = match right {
        Some(text) => {
            let named = text.chars().filter(char::is_ascii_alphabetic).count();
            labels(text, named + if text.contains("...") { hidden.len() } else { 0 })?
        }
        // Without an arrow: what stands once, in the order of the alphabet.
        None => {
            let mut once: Vec<char> = all
                .iter()
                .copied()
                .filter(|l| l.is_ascii_alphabetic() && all.iter().filter(|x| *x == l).count() == 1)
                .collect();
            once.sort_unstable();
            hidden.iter().rev().copied().chain(once).collect()
        }
    };
    if let Some(l) = result.iter().find(|l| !all.contains(l)) {
        return Err(refuse(format!("`{equation}` gives the label `{l}`, which no operand has")));
    }
    let mut rest = terms.into_iter();
    let mut sum = rest.next().ok_or_else(|| refuse("has no operand"))?;
    let others: Vec<Term> = rest.collect();
    sum.diagonal(&mut b)?;
    let mut others = std::collections::VecDeque::from(others);
    while let Some(mut next) = others.pop_front() {
        next.diagonal(&mut b)?;
        let later: Vec<char> = others.iter().flat_map(|t| t.labels.clone()).chain(result.clone()).collect();
        let (mine, theirs) = (next.labels.clone(), sum.labels.clone());
        sum.summed(&mut b, &|l| later.contains(&l) || mine.contains(&l));
        next.summed(&mut b, &|l| later.contains(&l) || theirs.contains(&l));
        sum = product(&mut b, sum, next, &|l| later.contains(&l))?;
    }
    sum.summed(&mut b, &|l| result.contains(&l));
    sum.ordered(&mut b, &result);
    b.finish(vec![sum.name])
}
