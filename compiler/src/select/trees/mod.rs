//! Decision trees: tables of steps, and one walk through them.
//!
//! In: an ensemble, and features as floats. Out: one kernel: for each tree as many steps as the deepest takes,
//! of which those behind its leaf do nothing, and then the leaf's weights. Law: floats are compared as integers
//! ([`crate::kernel::UnOp::Order`]), and weights are added in the order of the trees, as the operator's meaning
//! has it. Every index is proven from what the tables hold: the tree with most steps stands last in the table
//! of steps, and so do most leaves, so that a position within any tree stays inside.

mod plan;

use super::Cx;
use super::elementwise::clamped;
use crate::error::{Error, Result};
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, float, int};
use crate::kernels::call::Bind;
use crate::ops::{Aggregate, Child, TreeEnsemble};
use crate::tensor::Data;
use plan::{Plan, Walk};

/// Counts and positions in the narrowest type that holds them all.
fn narrow(values: &[usize]) -> Data {
    let most = values.iter().copied().max().unwrap_or(0);
    match most {
        0..=0xff => Data::U8(values.iter().map(|&v| v as u8).collect()),
        0x100..=0xffff => Data::U16(values.iter().map(|&v| v as u16).collect()),
        _ => Data::I32(values.iter().map(|&v| v as i32).collect()),
    }
}

/// Constants of the kernel under construction, in the order of its parameters.
struct Tables<'c, 'a> {
    cx: &'c Cx<'a>,
    args: Vec<Bind>,
}

impl Tables<'_, '_> {
    fn add(&mut self, k: &mut KernelBuilder, name: &'static str, data: Data) -> Buf {
        let buffer = k.buffer(name, data.dtype(), data.len(), Access::Read);
        self.args.push(self.cx.constant(name, data, 1));
        buffer
    }
    fn positions(&mut self, k: &mut KernelBuilder, name: &'static str, values: &[usize]) -> Buf {
        self.add(k, name, narrow(values))
    }
    /// Numbers, or where few differ, positions in a table of those: half the bytes or less.
    fn pooled<T: Copy + PartialEq>(
        &mut self,
        k: &mut KernelBuilder,
        names: [&'static str; 2],
        values: &[T],
        bits: fn(T) -> u32,
        data: fn(Vec<T>) -> Data,
    ) -> Column {
        let mut sorted: Vec<u32> = values.iter().map(|&v| bits(v)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let place = |v: T| sorted.binary_search(&bits(v)).unwrap_or(0);
        let places = narrow(&values.iter().map(|&v| place(v)).collect::<Vec<_>>());
        let bytes = 4 * sorted.len() + places.len() * places.dtype().size();
        if 2 * bytes > 4 * values.len() {
            return Column { values: self.add(k, names[0], data(values.to_vec())), places: None };
        }
        let pool = sorted.iter().filter_map(|&b| values.iter().copied().find(|&v| bits(v) == b)).collect();
        let pool = self.add(k, names[0], data(pool));
        Column { values: pool, places: Some(self.add(k, names[1], places)) }
    }
}

/// Numbers by position, one behind another or in a pool.
#[derive(Clone, Copy)]
struct Column {
    values: Buf,
    places: Option<Buf>,
}

impl Column {
    fn at(&self, index: impl Into<Expr>) -> Expr {
        match self.places {
            None => self.values.at(index),
            Some(places) => self.values.at(places.at(index)),
        }
    }
}

/// By tree, where its part of a table begins: in the order of the trees, but for the longest, which is last.
fn starts(lengths: &[usize]) -> (Vec<usize>, usize) {
    let longest = lengths.iter().enumerate().max_by_key(|(_, len)| **len).map_or(0, |(i, _)| i);
    let mut starts = vec![0; lengths.len()];
    let mut next = 0;
    for (i, len) in lengths.iter().enumerate().filter(|(i, _)| *i != longest) {
        starts[i] = next;
        next += len;
    }
    if let Some(start) = starts.get_mut(longest) {
        *start = next;
    }
    (starts, lengths.get(longest).copied().unwrap_or(0))
}

/// One table of what all trees have, by where their parts begin.
fn joined<T: Clone>(parts: &[Vec<T>], starts: &[usize]) -> Vec<T> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&i| starts[i]);
    order.into_iter().flat_map(|i| parts[i].iter().cloned()).collect()
}

/// What leaves hold: one weight, for the same target throughout a tree; or rows of weights.
enum Leaves {
    One { weights: Vec<f32>, targets: Vec<usize> },
    Rows { of_leaf: Vec<usize>, starts: Vec<usize>, entries: Vec<(usize, f32)> },
}

/// `adds`: a leaf without a weight is one of zero.
fn leaves(plan: &Plan, first: &[usize], adds: bool) -> Leaves {
    let row = |r: &usize| plan.rows.get(*r).map_or(&[][..], Vec::as_slice);
    let one = |walk: &Walk| -> Option<usize> {
        let mut target = None;
        for leaf in walk.leaves.iter().map(row) {
            match (leaf, target) {
                ([], _) if adds => {}
                ([(t, _)], None) => target = Some(*t),
                ([(t, _)], Some(known)) if *t == known => {}
                _ => return None,
            }
        }
        Some(target.unwrap_or(0))
    };
    if let Some(targets) = plan.walks.iter().map(one).collect::<Option<Vec<usize>>>() {
        let weight = |r: &usize| row(r).first().map_or(0.0, |(_, w)| *w);
        let parts: Vec<Vec<f32>> = plan.walks.iter().map(|w| w.leaves.iter().map(weight).collect()).collect();
        return Leaves::One { weights: joined(&parts, first), targets };
    }
    let parts: Vec<Vec<usize>> = plan.walks.iter().map(|w| w.leaves.clone()).collect();
    let mut starts = vec![0];
    let mut entries = Vec::new();
    for row in &plan.rows {
        entries.extend(row.iter().copied());
        starts.push(entries.len());
    }
    Leaves::Rows { of_leaf: joined(&parts, first), starts, entries }
}

/// A weight joined to what there is.
fn together(aggregate: Aggregate, have: impl Into<Expr>, weight: impl Into<Expr>) -> Expr {
    let (have, weight) = (have.into(), weight.into());
    match aggregate {
        Aggregate::Sum | Aggregate::Average => have + weight,
        Aggregate::Min => have.min(weight),
        Aggregate::Max => have.max(weight),
    }
}

/// Steps of all trees, as buffers.
struct Steps {
    /// Where a tree's steps begin; with one tree, at once.
    first: Option<Buf>,
    /// Elements of a row in front of the feature; twice that, and one where what is no number goes left.
    feature: Buf,
    missing: bool,
    limit: Column,
    left: Buf,
    right: Buf,
    /// Positions from here on are leaves.
    most: usize,
    depth: usize,
}

impl Steps {
    fn new(k: &mut KernelBuilder, tables: &mut Tables<'_, '_>, plan: &Plan, stride: usize) -> Steps {
        let lengths: Vec<usize> = plan.walks.iter().map(|w| w.steps.len()).collect();
        let (begins, most) = starts(&lengths);
        let parts: Vec<_> = plan.walks.iter().map(|w| w.steps.clone()).collect();
        let all = joined(&parts, &begins);
        let missing = all.iter().any(|s| s.missing_left);
        let feature: Vec<usize> = all
            .iter()
            .map(|s| {
                if missing {
                    2 * s.feature * stride + usize::from(s.missing_left)
                } else {
                    s.feature * stride
                }
            })
            .collect();
        let child = |c: Child| match c {
            Child::Branch(i) => i,
            Child::Leaf(i) => most + i,
        };
        let [left, right] = [
            all.iter().map(|s| child(s.left)).collect::<Vec<_>>(),
            all.iter().map(|s| child(s.right)).collect::<Vec<_>>(),
        ];
        let limits: Vec<i32> = all.iter().map(|s| s.limit).collect();
        Steps {
            first: (plan.walks.len() > 1).then(|| tables.positions(k, "first_step", &begins)),
            feature: tables.positions(k, "feature", &feature),
            missing,
            limit: tables.pooled(k, ["limit", "limit_place"], &limits, |v| v as u32, Data::I32),
            left: tables.positions(k, "left", &left),
            right: tables.positions(k, "right", &right),
            most,
            depth: plan.walks.iter().map(|w| w.depth).max().unwrap_or(0),
        }
    }

    /// The leaf of a tree that a row leads to, counted within the tree.
    fn walk(&self, k: &mut KernelBuilder, from: Buf, row: &Expr, tree: Val) -> Val {
        let first = self.first.map(|first| k.let_("first", first.at(tree)));
        let at = k.var("at", int(0));
        k.for_("level", 0, self.depth, |k, _| {
            let here = k.let_("here", at);
            k.if_(here.lt(self.most), |k| {
                let step = match first {
                    Some(first) => k.let_("step", first + here),
                    None => here,
                };
                let code = k.let_("code", self.feature.at(step));
                let feature: Expr = if self.missing { code >> 1 } else { code.into() };
                let key = k.let_("key", from.at(row + feature).order());
                let left = key.le(self.limit.at(step));
                let missing = key.equals(i32::MAX).and((code & 1).differs(0));
                let left = if self.missing { left.or(missing) } else { left };
                k.if_else(left, |k| k.set(at, self.left.at(step)), |k| k.set(at, self.right.at(step)));
            });
        });
        // After so many steps it is a leaf.
        k.let_("leaf", (at - self.most).max(0))
    }
}

/// The node by one kernel.
pub(crate) fn trees(cx: &mut Cx<'_>, op: &TreeEnsemble) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    if x.quant.is_some() || y.quant.is_some() {
        return Err(
            cx.unsupported("is not computed on integers of 8 bits; this node's values have to stay floats")
        );
    }
    let site = cx.node().site();
    let plan = plan::plan(op).ok_or_else(|| Error::internal(site, "has a branch that leads nowhere"))?;
    let (Some(&feature_stride), Some(&target_stride), Some(&row_out)) =
        (x.strides.last(), y.strides.last(), y.strides.first())
    else {
        return Err(cx.unsupported("has no rows of features"));
    };
    let row_in = if x.shape.len() > 1 { x.strides.first().copied().unwrap_or(0) } else { 0 };
    let rows = y.shape.first().copied().unwrap_or(0);
    let lengths: Vec<usize> = plan.walks.iter().map(|w| w.leaves.len()).collect();
    let (begins, _) = starts(&lengths);
    let (count, targets, aggregate) = (plan.walks.len(), op.targets(), op.aggregate());
    let start = match aggregate {
        Aggregate::Sum | Aggregate::Average => 0.0,
        Aggregate::Min => f32::INFINITY,
        Aggregate::Max => f32::NEG_INFINITY,
    };
    // What no leaf has a weight for stays at the start, which only sums leave as it is.
    let left_over = start != 0.0 && !op.always().into_iter().all(|a| a);
    let clamp = cx.clamp();

    let mut k = KernelBuilder::new("trees_f32");
    let from = x.param(&mut k, "x", Access::Read);
    let mut tables = Tables { cx: &*cx, args: vec![x.arg.clone()] };
    let steps = Steps::new(&mut k, &mut tables, &plan, feature_stride);
    let first_leaf = (count > 1).then(|| tables.positions(&mut k, "first_leaf", &begins));
    let leaves = leaves(&plan, &begins, start == 0.0);
    enum Held {
        One { weight: Column, target: Option<Buf> },
        Rows { row: Buf, start: Buf, target: Option<Buf>, weight: Column },
    }
    let weights = |k: &mut KernelBuilder, tables: &mut Tables<'_, '_>, values: &[f32]| {
        tables.pooled(k, ["weight", "weight_place"], values, f32::to_bits, Data::F32)
    };
    let held = match &leaves {
        Leaves::One { weights: values, targets: of_tree } => Held::One {
            weight: weights(&mut k, &mut tables, values),
            target: (targets > 1).then(|| tables.positions(&mut k, "target", of_tree)),
        },
        Leaves::Rows { of_leaf, starts, entries } => {
            let (of_entry, values): (Vec<usize>, Vec<f32>) = entries.iter().copied().unzip();
            Held::Rows {
                row: tables.positions(&mut k, "row", of_leaf),
                start: tables.positions(&mut k, "start", starts),
                target: (targets > 1).then(|| tables.positions(&mut k, "target", &of_entry)),
                weight: weights(&mut k, &mut tables, &values),
            }
        }
    };
    let base = (targets > 1 && !op.base().is_empty())
        .then(|| tables.add(&mut k, "base", Data::F32(op.base().to_vec())));
    let to = y.param(&mut k, "y", if targets > 1 { Access::ReadWrite } else { Access::Write });
    let mut args = tables.args;
    args.push(y.arg.clone());

    let finished = |value: Expr, base: Option<Expr>| {
        let value = if left_over { value.equals(float(start)).select(float(0.0), value) } else { value };
        let value = if aggregate == Aggregate::Average { value / float(count as f32) } else { value };
        clamped(base.map_or(value.clone(), |base| value + base), clamp, y.elem)
    };
    k.for_("sample", 0, rows, |k, sample| {
        let row: Expr = sample * row_in;
        let place = |target: Expr| sample * row_out + target * target_stride;
        let sum = (targets == 1).then(|| k.var("sum", float(start)));
        if sum.is_none() {
            k.for_("t", 0, targets, |k, t| k.store(to, place(t.into()), float(start)));
        }
        let join = |k: &mut KernelBuilder, target: Expr, weight: Expr| match sum {
            Some(sum) => k.set(sum, together(aggregate, sum, weight)),
            None => {
                let at = k.let_("place", place(target));
                k.store(to, at, together(aggregate, to.at(at), weight));
            }
        };
        k.for_("tree", 0, count, |k, tree| {
            let leaf = steps.walk(k, from, &row, tree);
            let leaf = match first_leaf {
                Some(first) => k.let_("place", first.at(tree) + leaf),
                None => leaf,
            };
            let at = |target: Option<Buf>, i: Val| target.map_or(int(0), |target| target.at(i));
            match held {
                Held::One { weight, target } => join(k, at(target, tree), weight.at(leaf)),
                Held::Rows { row, start, target, weight } => {
                    let row = k.let_("row", row.at(leaf));
                    k.for_("entry", start.at(row), start.at(row + 1), |k, entry| {
                        join(k, at(target, entry), weight.at(entry));
                    });
                }
            }
        });
        match sum {
            Some(sum) => {
                let value = finished(sum.into(), op.base().first().map(|&b| float(b)));
                k.store(to, place(int(0)), value);
            }
            None if left_over || aggregate == Aggregate::Average || base.is_some() || !clamp.is_none() => {
                k.for_("t", 0, targets, |k, t| {
                    let at = k.let_("place", place(t.into()));
                    let value = k.let_("value", to.at(at));
                    k.store(to, at, finished(value.into(), base.map(|b| b.at(t))));
                });
            }
            None => {}
        }
    });
    cx.step(k, args)
}
