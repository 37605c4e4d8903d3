//! How each operator ties the channels of its operands to those of its results.
//!
//! In: a graph. Out: its [`Channels`]. Forwards, every value gets the axis of its channels and an
//! atom for each index; products make new atoms, all else hands them on or joins them. Groups
//! are what is joined in the end. Law: what is not understood is fixed, with its reason.

use super::{Along, Channels, Fixed, Group, GroupId, Part, Role};
use crate::error::Site;
use crate::graph::{Graph, NodeId, ValueId, ValueKind};
use crate::ops::{Op, Pad, PadMode};
use crate::tensor::{DType, row_major_strides};
use std::collections::BTreeMap;

/// An axis and the atom of each of its indices.
#[derive(Debug, Clone)]
struct Row {
    axis: usize,
    atoms: Vec<usize>,
}

/// The axis of a constant operand whose indices go with atoms.
struct Band {
    node: NodeId,
    input: usize,
    axis: usize,
    atoms: Vec<usize>,
    role: Role,
}

struct Coupling<'g> {
    graph: &'g Graph,
    /// Another atom of the same group, nearer to the first one; itself for the first.
    parent: Vec<usize>,
    /// In the order in which they were found.
    fixed: Vec<(usize, Fixed)>,
    values: Vec<Result<Row, Fixed>>,
    bands: Vec<Band>,
}

pub(super) fn couple(graph: &Graph) -> Channels {
    let origin = |name: &str, why: &str| Fixed { site: Site::Value(name.into()), why: why.into() };
    let values = graph.values().map(|(_, value)| {
        Err(match value.kind {
            ValueKind::Input => origin(&value.name, "it is an input of the model"),
            ValueKind::State(_) => origin(&value.name, "it is kept between calls"),
            ValueKind::Constant(_) => origin(&value.name, "it is a constant"),
            ValueKind::Activation => origin(&value.name, "nothing computes it"),
        })
    });
    let values = values.collect();
    let mut all = Coupling { graph, parent: Vec::new(), fixed: Vec::new(), values, bands: Vec::new() };
    for id in graph.topological() {
        match all.node(id) {
            Ok(rows) => {
                for (&v, row) in graph[id].outputs.iter().zip(rows) {
                    all.values[v.index()] = Ok(row);
                }
            }
            Err(fixed) => {
                for v in all.live(id) {
                    all.fix_value(v, &fixed);
                }
                for v in &graph[id].outputs {
                    all.values[v.index()] = Err(fixed.clone());
                }
            }
        }
    }
    for &v in graph.outputs() {
        all.fix_value(v, &origin(&graph[v].name, "it is an output of the model"));
    }
    all.finish()
}

impl Coupling<'_> {
    fn fresh(&mut self, count: usize) -> Vec<usize> {
        let first = self.parent.len();
        self.parent.extend(first..first + count);
        (first..first + count).collect()
    }
    fn root(&mut self, mut atom: usize) -> usize {
        while self.parent[atom] != atom {
            self.parent[atom] = self.parent[self.parent[atom]];
            atom = self.parent[atom];
        }
        atom
    }
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
    fn fix(&mut self, atoms: &[usize], fixed: &Fixed) {
        self.fixed.extend(atoms.iter().map(|&a| (a, fixed.clone())));
    }
    fn fix_value(&mut self, value: ValueId, fixed: &Fixed) {
        if let Ok(row) = &self.values[value.index()] {
            let atoms = row.atoms.clone();
            self.fix(&atoms, fixed);
        }
    }
    fn operand(&self, id: NodeId, input: usize) -> Option<ValueId> {
        self.graph[id].inputs.get(input).copied().flatten()
    }
    fn is_constant(&self, value: ValueId) -> bool {
        self.graph[value].constant().is_some()
    }
    /// Operands that are computed or given at run time.
    fn live(&self, id: NodeId) -> Vec<ValueId> {
        self.graph[id].inputs.iter().flatten().copied().filter(|&v| !self.is_constant(v)).collect()
    }
    fn shape(&self, value: ValueId) -> &[usize] {
        &self.graph[value].shape
    }
    fn wall<T>(&self, id: NodeId, why: impl Into<String>) -> Result<T, Fixed> {
        Err(Fixed { site: self.graph[id].site(), why: why.into() })
    }
    fn row(&self, value: ValueId) -> Result<Row, Fixed> {
        self.values[value.index()].clone()
    }
    fn band(&mut self, node: NodeId, input: usize, axis: usize, atoms: &[usize], role: Role) {
        self.bands.push(Band { node, input, axis, atoms: atoms.to_vec(), role });
    }

    /// The channels of a node's results. An error fixes those of its operands.
    fn node(&mut self, id: NodeId) -> Result<Vec<Row>, Fixed> {
        let graph = self.graph;
        let node = &graph[id];
        let real = |v: &ValueId| graph[*v].dtype == DType::F32;
        if !node.inputs.iter().flatten().chain(node.outputs.first()).all(real) {
            return self.wall(id, "it does not compute with real numbers");
        }
        let Some(x) = self.live(id).first().copied() else {
            return self.wall(id, "all its operands are constants");
        };
        let same = |row: Row| vec![row; node.outputs.len()];
        match &node.op {
            Op::Conv(conv) if conv.group == 1 => self.product(id, [0, 1], 1, 1),
            Op::Conv(conv) => self.grouped(id, conv.group),
            Op::Dense(_) => {
                let last = self.shape(x).len() - 1;
                self.product(id, [0, 1], last, last)
            }
            Op::Gemm(gemm) if gemm.trans_a => self.wall(id, "it transposes its first operand"),
            Op::Gemm(gemm) => self.product(id, if gemm.trans_b { [0, 1] } else { [1, 0] }, 1, 1),
            Op::MatMul(_) => {
                let last = self.shape(x).len() - 1;
                self.product(id, [1, 0], last, last)
            }
            Op::BatchNormalization(_) => self.normalized(id, x).map(same),
            Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => self.binary(id).map(same),
            Op::Map(map) if map.is_table() => self.row(x).map(same),
            Op::Relu(_)
            | Op::Clip(_)
            | Op::LeakyRelu(_)
            | Op::HardSigmoid(_)
            | Op::HardSwish(_)
            | Op::Sigmoid(_)
            | Op::Chain(_)
            | Op::Tanh(_)
            | Op::Sqrt(_)
            | Op::Identity(_)
            | Op::Dropout(_)
            | Op::Cast(_)
            | Op::Requantize(_) => self.row(x).map(same),
            Op::AveragePool(_) | Op::MaxPool(_) | Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) => {
                let row = self.row(x)?;
                if row.axis > 1 {
                    return self.wall(id, "its windows run along the axis of the channels");
                }
                Ok(same(row))
            }
            Op::ReduceMean(mean) => {
                let row = self.row(x)?;
                if mean.axes.contains(&row.axis) {
                    return self.wall(id, "it takes the mean over the channels");
                }
                let before = mean.axes.iter().filter(|&&a| a < row.axis && !mean.keepdims).count();
                Ok(same(Row { axis: row.axis - before, ..row }))
            }
            Op::Softmax(op) => self.lanes(id, x, op.axis, op.flatten).map(same),
            Op::LogSoftmax(op) => self.lanes(id, x, op.axis, op.flatten).map(same),
            Op::Transpose(op) => {
                let row = self.row(x)?;
                let axis = op.perm.iter().position(|&p| p == row.axis).unwrap_or(row.axis);
                Ok(same(Row { axis, ..row }))
            }
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                self.reshaped(id, x).map(same)
            }
            Op::Concat(concat) => self.joined(id, concat.axis).map(same),
            Op::Split(split) => {
                let row = self.row(x)?;
                if split.axis != row.axis {
                    return Ok(same(row));
                }
                let mut rest = row.atoms.as_slice();
                let parts = split.sizes.iter().map(|&size| {
                    let (part, after) = rest.split_at(size);
                    rest = after;
                    Row { axis: row.axis, atoms: part.to_vec() }
                });
                Ok(parts.collect())
            }
            Op::Slice(slice) => {
                let row = self.row(x)?;
                if slice.steps[row.axis] != 1 && slice.sizes[row.axis] > 0 {
                    return self.wall(id, "it takes channels by a step");
                }
                let (start, size) = (slice.starts[row.axis], slice.sizes[row.axis]);
                let atoms = row.atoms.get(start..start + size).unwrap_or_default().to_vec();
                Ok(same(Row { axis: row.axis, atoms }))
            }
            Op::Pad(pad) => self.padded(id, x, pad).map(same),
            _ => self.wall(id, "nothing is known of what it does to channels"),
        }
    }

    /// Weights, an optional bias, and what they are multiplied with, all else constant.
    fn weighted(&self, id: NodeId) -> Result<(ValueId, ValueId), Fixed> {
        let (x, w) = (self.operand(id, 0), self.operand(id, 1));
        let bias = self.operand(id, 2).is_none_or(|b| self.is_constant(b));
        match (x, w) {
            (Some(x), Some(w)) if bias && self.is_constant(w) && !self.is_constant(x) => Ok((x, w)),
            _ => self.wall(id, "its weights are no constants"),
        }
    }

    /// Weights with rows and columns along two axes; sums over an axis of `x`.
    fn product(
        &mut self,
        id: NodeId,
        [rows, columns]: [usize; 2],
        summed: usize,
        result: usize,
    ) -> Result<Vec<Row>, Fixed> {
        let (x, w) = self.weighted(id)?;
        let shape = self.shape(w).to_vec();
        if shape.len() < 2 || (shape.len() > 2 && !matches!(self.graph[id].op, Op::Conv(_))) {
            return self.wall(id, "its weights are no matrix");
        }
        let atoms = self.rows(id, w, rows);
        match self.row(x) {
            Ok(row) if row.axis == summed => self.band(id, 1, columns, &row.atoms, Role::Column),
            Ok(row) => {
                let why = format!("it sums over axis {summed}, the channels lie along axis {}", row.axis);
                self.fix(&row.atoms, &Fixed { site: self.graph[id].site(), why });
            }
            Err(_) => {}
        }
        Ok(vec![Row { axis: result, atoms }])
    }

    /// New channels, one for each row of the weights, whose bias goes with it.
    fn rows(&mut self, id: NodeId, weights: ValueId, axis: usize) -> Vec<usize> {
        let count = self.shape(weights)[axis];
        let atoms = self.fresh(count);
        self.band(id, 1, axis, &atoms, Role::Row);
        if let Some(bias) = self.operand(id, 2) {
            // Gemm broadcasts its own: aligned at the last axis.
            if let Some((&last, lead)) = self.shape(bias).split_last()
                && last == count
            {
                let axis = lead.len();
                self.band(id, 2, axis, &atoms, Role::Row);
            }
        }
        atoms
    }

    /// A convolution of several groups, which can only lose whole ones. Depthwise, a group is a channel.
    fn grouped(&mut self, id: NodeId, count: usize) -> Result<Vec<Row>, Fixed> {
        let (x, w) = self.weighted(id)?;
        let from = self.row(x)?;
        if from.axis != 1 {
            return self.wall(id, format!("the channels lie along axis {}", from.axis));
        }
        let atoms = self.rows(id, w, 0);
        let (ins, outs) = (from.atoms.len() / count, atoms.len() / count);
        for group in 0..count {
            let first = atoms[group * outs];
            let ins = &from.atoms[group * ins..(group + 1) * ins];
            for &other in atoms[group * outs..(group + 1) * outs].iter().chain(ins) {
                self.join(first, other);
            }
        }
        Ok(vec![Row { axis: 1, atoms }])
    }

    fn normalized(&mut self, id: NodeId, x: ValueId) -> Result<Row, Fixed> {
        let row = self.row(x)?;
        let constant = (1..5).all(|i| self.operand(id, i).is_some_and(|v| self.is_constant(v)));
        if row.axis != 1 || !constant {
            return self.wall(id, "it normalizes along another axis, or by what is no constant");
        }
        for input in 1..5 {
            self.band(id, input, 0, &row.atoms, Role::Parameter);
        }
        Ok(row)
    }

    fn lanes(&mut self, id: NodeId, x: ValueId, axis: usize, to_the_end: bool) -> Result<Row, Fixed> {
        let row = self.row(x)?;
        if row.axis == axis || (to_the_end && row.axis > axis) {
            return self.wall(id, "it normalizes over the channels");
        }
        Ok(row)
    }

    /// An element-wise node of several operands, which NumPy's rules broadcast.
    fn binary(&mut self, id: NodeId) -> Result<Row, Fixed> {
        let live = self.live(id);
        let shape = self.shape(self.graph[id].outputs[0]).to_vec();
        // Channels in the axes of the result; an operand of one channel may be broadcast.
        let mut rows: Vec<(Row, bool)> = Vec::new();
        for &v in &live {
            if let Ok(row) = self.row(v) {
                let axis = row.axis + shape.len() - self.shape(v).len();
                let whole = row.atoms.len() == shape[axis];
                rows.push((Row { axis, ..row }, whole));
            }
        }
        let leads = |(row, whole): &&(Row, bool)| *whole && row.atoms.len() > 1;
        let lead = rows.iter().find(leads).or(rows.iter().find(|(_, whole)| *whole));
        let Some((lead, _)) = lead.cloned() else {
            let above = live.iter().find_map(|v| self.values[v.index()].as_ref().err().cloned());
            return above.map_or_else(|| self.wall(id, "it broadcasts one channel to several"), Err);
        };
        for (row, whole) in rows {
            if whole && row.axis == lead.axis {
                for (&a, &b) in lead.atoms.iter().zip(&row.atoms) {
                    self.join(a, b);
                }
            } else if row.atoms.len() == 1 {
                let why = "it broadcasts one channel to several".into();
                self.fix(&row.atoms, &Fixed { site: self.graph[id].site(), why });
            } else {
                return self.wall(id, "its operands have their channels along different axes");
            }
        }
        for v in live {
            let reaches = self.axis_of(v, &shape, &lead).is_some();
            if let (Err(fixed), true) = (self.values[v.index()].clone(), reaches) {
                self.fix(&lead.atoms, &fixed);
            }
        }
        for input in 0..self.graph[id].inputs.len() {
            if let Some(v) = self.operand(id, input)
                && self.is_constant(v)
                && let Some(axis) = self.axis_of(v, &shape, &lead)
            {
                self.band(id, input, axis, &lead.atoms, Role::Parameter);
            }
        }
        Ok(lead)
    }

    /// The axis along which an operand has an element for each channel of the result, aligned at the
    /// last axis as NumPy does.
    fn axis_of(&self, operand: ValueId, result: &[usize], lead: &Row) -> Option<usize> {
        let own = self.shape(operand);
        let axis = lead.axis.checked_sub(result.len() - own.len())?;
        (own[axis] == lead.atoms.len()).then_some(axis)
    }

    /// The same elements, row-major, in another shape.
    fn reshaped(&self, id: NodeId, x: ValueId) -> Result<Row, Fixed> {
        let row = self.row(x)?;
        let (old, new) = (self.shape(x), self.shape(self.graph[id].outputs[0]));
        match through_reshape(old, new, &row) {
            Some(row) => Ok(row),
            None => self.wall(id, "it splits the channels, or mixes them with another axis"),
        }
    }

    fn joined(&mut self, id: NodeId, axis: usize) -> Result<Row, Fixed> {
        let operands: Vec<ValueId> = self.graph[id].inputs.iter().flatten().copied().collect();
        let known: Vec<usize> =
            operands.iter().filter_map(|v| Some(self.values[v.index()].as_ref().ok()?.axis)).collect();
        let Some(&at) = known.first() else {
            let above = self.live(id).first().map(|&v| self.row(v));
            return above.unwrap_or_else(|| self.wall(id, "all its operands are constants"));
        };
        if known.iter().any(|&other| other != at) {
            return self.wall(id, "its operands have their channels along different axes");
        }
        let mut all: Vec<usize> = Vec::new();
        for (input, v) in operands.into_iter().enumerate() {
            let atoms = match self.row(v) {
                Ok(row) => row.atoms,
                Err(fixed) => {
                    let count = self.shape(v)[at];
                    let atoms = self.fresh(count);
                    match self.is_constant(v) {
                        true => self.band(id, input, at, &atoms, Role::Parameter),
                        false => self.fix(&atoms, &fixed),
                    }
                    atoms
                }
            };
            if at == axis || all.is_empty() {
                all.extend(atoms);
            } else {
                for (&a, &b) in all.iter().zip(&atoms) {
                    self.join(a, b);
                }
            }
        }
        Ok(Row { axis: at, atoms: all })
    }

    fn padded(&mut self, id: NodeId, x: ValueId, pad: &Pad) -> Result<Row, Fixed> {
        let row = self.row(x)?;
        let ends = [pad.pads[row.axis], pad.pads[self.shape(x).len() + row.axis]];
        if ends == [0, 0] {
            return Ok(row);
        }
        let [Ok(begin), Ok(end)] = ends.map(usize::try_from) else {
            return self.wall(id, "it cuts channels off");
        };
        if pad.mode != PadMode::Constant {
            return self.wall(id, "it repeats channels");
        }
        let mut atoms = self.fresh(begin);
        atoms.extend(&row.atoms);
        atoms.extend(self.fresh(end));
        Ok(Row { axis: row.axis, atoms })
    }

    fn finish(mut self) -> Channels {
        let mut ids: BTreeMap<usize, GroupId> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut values = Vec::new();
        for (index, value) in std::mem::take(&mut self.values).into_iter().enumerate() {
            values.push(value.map(|row| {
                let mut of = Vec::with_capacity(row.atoms.len());
                for (i, &atom) in row.atoms.iter().enumerate() {
                    let next = GroupId(groups.len() as u32);
                    let id = *ids.entry(self.root(atom)).or_insert(next);
                    if id == next {
                        groups.push(Group::default());
                    }
                    let members = &mut groups[id.index()].members;
                    let value = ValueId(index as u32);
                    match members.last_mut() {
                        Some((last, indices)) if *last == value => indices.push(i),
                        _ => members.push((value, vec![i])),
                    }
                    of.push(id);
                }
                Along { axis: row.axis, groups: of }
            }));
        }
        for band in std::mem::take(&mut self.bands) {
            for (i, &atom) in band.atoms.iter().enumerate() {
                let Some(id) = ids.get(&self.root(atom)) else { continue };
                let parts = &mut groups[id.index()].parts;
                let at = (band.node, band.input, band.axis);
                match parts.last_mut() {
                    Some(s) if (s.node, s.input, s.axis) == at => s.indices.push(i),
                    _ => parts.push(Part {
                        node: band.node,
                        input: band.input,
                        axis: band.axis,
                        indices: vec![i],
                        role: band.role,
                    }),
                }
            }
        }
        for (atom, fixed) in std::mem::take(&mut self.fixed) {
            if let Some(id) = ids.get(&self.root(atom)) {
                groups[id.index()].fixed.get_or_insert(fixed);
            }
        }
        Channels { values, groups }
    }
}

/// The axis of the new shape along which alone the channel changes, if there is one.
fn through_reshape(old: &[usize], new: &[usize], from: &Row) -> Option<Row> {
    let inner = row_major_strides(old)[from.axis];
    let total: usize = old.iter().product();
    let atoms: Vec<usize> = (0..total).map(|i| from.atoms[i / inner % old[from.axis]]).collect();
    let strides = row_major_strides(new);
    (0..new.len()).find_map(|axis| {
        let map: Vec<usize> =
            (0..new[axis]).map(|i| atoms.get(i * strides[axis]).copied()).collect::<Option<_>>()?;
        let fits = atoms.iter().enumerate().all(|(i, &a)| map[i / strides[axis] % new[axis]] == a);
        fits.then_some(Row { axis, atoms: map })
    })
}
