//! Scan: a loop over the parts of its operands along an axis, as many times as the axis is long.
//!
//! In: a Scan of operator set 8, which scans each sample of a batch, or of a later one. Out: a loop of
//! `control`. Law: the axes of all scanned operands have one length.

use super::super::Importer;
use super::{Along, Parted, Step, Turn, call, node};
use crate::error::Result;
use crate::onnx::branch;
use crate::onnx::order::name;
use crate::onnx::proto::RawNode;
use crate::ops::Attr;
use crate::ops::check::{axis, refuse};

/// The operator set that took the batch out of Scan.
const WITHOUT_BATCH: i64 = 9;

/// An attribute of integers, `default` for each of `count` where it is not given.
fn list(node: &RawNode, name: &str, default: i64, count: usize) -> Result<Vec<i64>> {
    match node.attrs.as_ref().map_err(Clone::clone)?.get(name) {
        None => Ok(vec![default; count]),
        Some(Attr::Ints(all)) if all.len() == count => Ok(all.clone()),
        Some(Attr::Ints(all)) => Err(refuse(format!("`{name}` has {} numbers, not {count}", all.len()))),
        Some(_) => Err(refuse(format!("attribute `{name}` is not a list of integers"))),
    }
}

/// By scanned operand or result, the axis and the direction.
fn walks(node: &RawNode, which: &str, count: usize) -> Result<Vec<Along>> {
    let axes = list(node, &format!("scan_{which}_axes"), 0, count)?;
    let directions = list(node, &format!("scan_{which}_directions"), 0, count)?;
    let along = |(&axis, &direction): (&i64, &i64)| match direction {
        0 | 1 => Ok(Along { axis, backwards: direction == 1 }),
        other => Err(refuse(format!("has the direction {other}, 0 and 1 are defined"))),
    };
    axes.iter().zip(&directions).map(along).collect()
}

/// Operands of a Scan that are scanned: the last of them.
fn scanned(node: &RawNode) -> Result<usize> {
    match node.attrs.as_ref().map_err(Clone::clone)?.get("num_scan_inputs") {
        Some(Attr::Int(n)) if *n > 0 => usize::try_from(*n).ok(),
        _ => None,
    }
    .filter(|n| *n <= node.inputs.len())
    .ok_or_else(|| refuse("`num_scan_inputs` is missing, or is no number of its inputs"))
}

impl Importer<'_> {
    /// A Scan before its first iteration.
    pub(in crate::onnx::importer) fn scan(&mut self, mut node: RawNode, known: bool) -> Result<Vec<Step>> {
        if node.opset.unwrap_or(self.opset) < WITHOUT_BATCH {
            return self.batched(node);
        }
        let body = branch::take(&mut node, "body")?;
        let count = scanned(&node)?;
        let states = node.inputs.len() - count;
        if body.inputs.len() != node.inputs.len() {
            let (takes, gives) = (body.inputs.len(), node.inputs.len());
            return Err(refuse(format!("its body takes {takes} inputs, of which the node gives {gives}")));
        }
        let Some(collected) = body.outputs.len().checked_sub(states) else {
            let gives = body.outputs.len();
            return Err(refuse(format!("its body gives {gives} results, {states} of them go on")));
        };
        let (carried, read) = node.inputs.split_at(states);
        let mut length = None;
        let mut parted = Vec::with_capacity(count);
        for (from, along) in read.iter().zip(walks(&node, "input", count)?) {
            let shape = &self.value(from)?.shape;
            let at = axis(along.axis, shape.len())?;
            if length.is_some_and(|n| n != shape[at]) {
                return Err(refuse(format!(
                    "scans axes of different lengths: `{from}` has the shape {shape:?}"
                )));
            }
            length = Some(shape[at]);
            parted.push(Parted { name: from.clone(), along: Along { axis: at as i64, ..along } });
        }
        let carried = carried.to_vec();
        let collected = walks(&node, "output", collected)?.into_iter().map(|a| (Vec::new(), a)).collect();
        let most = length.map(|n| n as u64);
        self.begin(Turn { node, body, known, done: 0, most, condition: None, carried, parted, collected })
    }

    /// The part of an operand that an iteration reads, and the nodes that cut it out.
    pub(super) fn part(&mut self, parted: &Parted, done: u64, at: &str) -> Result<(String, Vec<Step>)> {
        let Along { axis, backwards } = parted.along;
        let length =
            usize::try_from(axis).ok().and_then(|a| self.value(&parted.name).ok()?.shape.get(a).copied());
        let length = length.ok_or_else(|| refuse(format!("`{}` has no axis {axis}", parted.name)))? as i64;
        let step = if backwards { length - 1 - done as i64 } else { done as i64 };
        Ok(self.cut(&parted.name, axis, step, at))
    }

    /// Element `index` along an axis, which goes.
    pub(in crate::onnx::importer) fn cut(
        &mut self,
        from: &str,
        axis: i64,
        index: i64,
        at: &str,
    ) -> (String, Vec<Step>) {
        let [start, end, axes] = [("start", index), ("end", index + 1), ("axis", axis)]
            .map(|(what, v)| self.ints_of(&format!("{at}/{what}"), &[v]));
        let (part, row) = (self.fresh(&format!("{at}/{from}")), self.fresh(&format!("{at}/{from}/row")));
        let slice = node(row.clone(), "Slice", &[from, &start, &end, &axes], row.clone(), Vec::new());
        let squeeze = node(part.clone(), "Squeeze", &[&row, &axes], part.clone(), Vec::new());
        (part, vec![Step::from(slice), Step::from(squeeze)])
    }

    /// A Scan of operator set 8: one for each sample, and their results side by side.
    fn batched(&mut self, mut node: RawNode) -> Result<Vec<Step>> {
        let path = name(&node);
        let body = branch::take(&mut node, "body")?;
        if node.inputs.is_empty() {
            return Err(refuse("input 0 is missing"));
        }
        let lengths = node.inputs.remove(0);
        let count = scanned(&node)?;
        let directions = list(&node, "directions", 0, count)?;
        let (mut batch, mut length) = (None, None);
        for (i, from) in node.inputs.iter().enumerate() {
            let shape = &self.value(from)?.shape;
            let sizes = if i < node.inputs.len() - count {
                (shape.first(), None)
            } else {
                (shape.first(), shape.get(1))
            };
            let (Some(&n), steps) = sizes else { return Err(refuse(format!("`{from}` has no batch"))) };
            if batch.is_some_and(|b| b != n)
                || steps.is_some() && length.is_some_and(|l| Some(l) != steps.copied())
            {
                return Err(refuse(format!(
                    "scans batches of different sizes: `{from}` has the shape {shape:?}"
                )));
            }
            batch = Some(n);
            length = steps.copied().or(length);
        }
        let whole =
            |t: &crate::tensor::Tensor| t.to_i64_vec().iter().all(|&n| usize::try_from(n).ok() == length);
        if !lengths.is_empty() && !self.constant(&lengths).is_some_and(whole) {
            return Err(refuse(
                "has lengths of sequences that are not all of the axis, which is not supported",
            ));
        }
        let mut steps = Vec::new();
        let mut results = vec![Vec::new(); node.outputs.len()];
        for sample in 0..batch.unwrap_or(0) {
            let at = format!("{path}/{sample}");
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for from in &node.inputs {
                let (part, cut) = self.cut(from, 0, sample as i64, &at);
                inputs.push(part);
                steps.extend(cut);
            }
            let outputs: Vec<String> =
                (0..node.outputs.len()).map(|o| self.fresh(&format!("{at}/{o}"))).collect();
            results.iter_mut().zip(&outputs).for_each(|(all, one)| all.push(one.clone()));
            let mut single = call(&node, at, inputs, outputs);
            single.attrs = Ok([
                ("num_scan_inputs".to_string(), Attr::Int(count as i64)),
                ("scan_input_directions".to_string(), Attr::Ints(directions.clone())),
            ]
            .into());
            single.opset = Some(WITHOUT_BATCH);
            single.branches = vec![body.clone()];
            self.count(std::slice::from_ref(&single))?;
            steps.push(Step::from(single));
        }
        for (parts, output) in results.iter().zip(&node.outputs).filter(|(_, o)| !o.is_empty()) {
            if parts.is_empty() {
                return Err(refuse("has a batch of no samples"));
            }
            let along = Along { axis: 0, backwards: false };
            steps.extend(self.stack(parts, along, output, &path).into_iter().map(Step::from));
        }
        Ok(steps)
    }
}
