//! Sequences and optionals: lists of values that are known as lists on import, and gone behind it.
//!
//! In: operators on sequences, whose lengths and positions are known. Out: which values a name stands for, and
//! nodes where one is taken out or some are joined. Law: no value of the graph is a sequence; a position that only
//! the run knows is refused.

use super::super::branch;
use super::super::order::name;
use super::super::proto::RawNode;
use super::Importer;
use super::control::{Along, Step, node};
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::{axis, refuse, size, sizes};
use crate::tensor::{Data, Tensor};

/// What a name stands for that is no value.
#[derive(Clone)]
pub(super) enum Listed {
    /// The values of a sequence, in order.
    Sequence(Vec<String>),
    /// An optional that holds nothing.
    Nothing,
}

fn int(node: &RawNode, name: &str, default: i64) -> Result<i64> {
    match node.attrs.as_ref().map_err(Clone::clone)?.get(name) {
        None => Ok(default),
        Some(Attr::Int(value)) => Ok(*value),
        Some(_) => Err(refuse(format!("attribute `{name}` is not an integer"))),
    }
}

impl Importer<'_> {
    /// What a node on sequences becomes; `None` for one that has nothing to do with them.
    pub(super) fn sequence(&mut self, from: &RawNode) -> Result<Option<Vec<Step>>> {
        let first = from.inputs.first().filter(|n| !n.is_empty()).cloned();
        let output = from.outputs.first().cloned().unwrap_or_default();
        let is_listed = first.as_ref().is_some_and(|n| self.listed.contains_key(n));
        Ok(Some(match from.op_type.as_str() {
            "SequenceConstruct" => {
                from.inputs.iter().try_for_each(|n| self.value(n).map(|_| ()))?;
                self.list(output, from.inputs.clone())
            }
            "SequenceEmpty" => self.list(output, Vec::new()),
            "SequenceInsert" => {
                let mut all = self.all(from)?;
                let new = from.inputs.get(1).cloned().unwrap_or_default();
                self.value(&new)?;
                let at = self.position(from, 2, all.len() + 1)?.unwrap_or(all.len());
                all.insert(at, new);
                self.list(output, all)
            }
            "SequenceErase" => {
                let mut all = self.all(from)?;
                let last = all.len().checked_sub(1).ok_or_else(|| refuse("takes from an empty sequence"))?;
                let at = self.position(from, 1, all.len())?.unwrap_or(last);
                all.remove(at);
                self.list(output, all)
            }
            "SequenceAt" => {
                let all = self.all(from)?;
                let at =
                    self.position(from, 1, all.len())?.ok_or_else(|| refuse("the position is missing"))?;
                vec![branch::copy(&all[at], &output, &name(from)).into()]
            }
            "SequenceLength" => {
                let count = self.all(from)?.len() as i64;
                self.known_as(&output, Tensor::i64(&[], vec![count]))
            }
            "ConcatFromSequence" => self.joined(from, &output)?,
            "SplitToSequence" => self.parted(from, output)?,
            "SequenceMap" => self.mapped(from)?,
            "OptionalHasElement" => {
                let holds = match &first {
                    Some(name) => !matches!(self.listed.get(name), Some(Listed::Nothing)),
                    None => false,
                };
                self.known_as(&output, Tensor::new(Vec::new(), Data::Bool(vec![holds]))?)
            }
            "Optional" if first.is_none() => {
                self.listed.insert(output, Listed::Nothing);
                Vec::new()
            }
            "OptionalGetElement"
                if first.as_ref().is_some_and(|n| matches!(self.listed.get(n), Some(Listed::Nothing))) =>
            {
                return Err(refuse("takes what an optional holds that holds nothing"));
            }
            "Optional" | "OptionalGetElement" | "Identity" if is_listed => {
                let same = first.and_then(|n| self.listed.get(&n).cloned());
                self.listed.extend(same.map(|same| (output, same)));
                Vec::new()
            }
            "Optional" | "OptionalGetElement" => {
                let value = first.ok_or_else(|| refuse("input 0 is missing"))?;
                vec![branch::copy(&value, &output, &name(from)).into()]
            }
            _ => return Ok(None),
        }))
    }

    fn list(&mut self, name: String, all: Vec<String>) -> Vec<Step> {
        if !name.is_empty() {
            self.listed.insert(name, Listed::Sequence(all));
        }
        Vec::new()
    }

    fn known_as(&mut self, name: &str, tensor: Tensor) -> Vec<Step> {
        if !name.is_empty() {
            let id = self.patch.add_constant(name, tensor);
            self.names.insert(name.to_string(), id);
        }
        Vec::new()
    }

    /// The values of the sequence that a node reads.
    fn all(&self, node: &RawNode) -> Result<Vec<String>> {
        let name = node.inputs.first().map_or("", String::as_str);
        match self.listed.get(name) {
            Some(Listed::Sequence(all)) => Ok(all.clone()),
            _ => Err(refuse(format!("`{name}` is no sequence that is known on import"))),
        }
    }

    /// A position among `count`, from the end where it is below zero; `None`: it is left out.
    fn position(&self, node: &RawNode, input: usize, count: usize) -> Result<Option<usize>> {
        let Some(name) = node.inputs.get(input).filter(|n| !n.is_empty()) else { return Ok(None) };
        let known = self.constant(name).filter(|t| t.len() == 1 && !t.dtype().is_float());
        let Some(&[at]) = known.map(Tensor::to_i64_vec).as_deref().and_then(|v| v.first_chunk::<1>()) else {
            return Err(refuse(format!(
                "the position `{name}` is not one whole number that is known on import"
            )));
        };
        axis(at, count).map(Some).map_err(|_| refuse(format!("the position {at} is none of {count}")))
    }

    fn joined(&mut self, from: &RawNode, output: &str) -> Result<Vec<Step>> {
        let (all, path) = (self.all(from)?, name(from));
        let along = int(from, "axis", 0)?;
        if all.is_empty() {
            return Err(refuse("joins an empty sequence"));
        }
        if int(from, "new_axis", 0)? != 0 {
            let nodes = self.stack(&all, Along { axis: along, backwards: false }, output, &path);
            return Ok(nodes.into_iter().map(Step::from).collect());
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let attrs = vec![("axis".to_string(), Attr::Int(along))];
        Ok(vec![node(path, "Concat", &all, output.to_string(), attrs).into()])
    }

    fn parted(&mut self, from: &RawNode, output: String) -> Result<Vec<Step>> {
        let (path, x) = (name(from), from.inputs.first().cloned().unwrap_or_default());
        let shape = self.value(&x)?.shape.clone();
        let at = axis(int(from, "axis", 0)?, shape.len())?;
        let given = from.inputs.get(1).filter(|n| !n.is_empty());
        let parts: Vec<usize> = match given.map(|n| self.constant(n)) {
            None => vec![1; shape[at]],
            Some(None) => return Err(refuse("the sizes of its parts are computed at run time")),
            Some(Some(t)) if t.shape().is_empty() => {
                let each = size(t.to_i64_vec().first().copied().unwrap_or(0), "a part")?;
                if each == 0 {
                    return Err(refuse("has parts of no elements"));
                }
                (0..shape[at]).step_by(each).map(|begin| each.min(shape[at] - begin)).collect()
            }
            Some(Some(t)) => sizes(&t.to_i64_vec(), "a part")?,
        };
        if parts.iter().sum::<usize>() != shape[at] {
            return Err(refuse(format!("parts of {parts:?} do not make an axis of {}", shape[at])));
        }
        let bare = given.is_none() && int(from, "keepdims", 1)? == 0;
        let (mut steps, mut names, mut begin) = (Vec::new(), Vec::new(), 0);
        for (i, part) in parts.into_iter().enumerate() {
            let here = format!("{path}/{i}");
            if bare {
                let (cut, more) = self.cut(&x, at as i64, i as i64, &here);
                steps.extend(more);
                names.push(cut);
                continue;
            }
            let [start, end, axes] = [("start", begin), ("end", begin + part), ("axis", at)]
                .map(|(what, v)| self.ints_of(&format!("{here}/{what}"), &[v as i64]));
            let cut = self.fresh(&here);
            steps
                .push(node(cut.clone(), "Slice", &[&x, &start, &end, &axes], cut.clone(), Vec::new()).into());
            names.push(cut);
            begin += part;
        }
        self.list(output, names);
        Ok(steps)
    }

    /// A body for each value of a sequence, and of others of the same length.
    fn mapped(&mut self, from: &RawNode) -> Result<Vec<Step>> {
        let (path, count) = (name(from), self.all(from)?.len());
        let mut node = from.clone();
        let mut body = branch::take(&mut node, "body")?;
        if body.inputs.len() != node.inputs.len() || body.outputs.len() != node.outputs.len() {
            return Err(refuse("its body has another number of inputs or results"));
        }
        body.check_names("body")?;
        let initializers = branch::hoist(&mut body, &path, &mut self.taken);
        self.initializers(initializers)?;
        self.taken.extend(body.defines().into_iter().map(String::from));
        let (mut steps, mut results) = (Vec::new(), vec![Vec::new(); node.outputs.len()]);
        for i in 0..count {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for name in &node.inputs {
                inputs.push(match self.listed.get(name) {
                    Some(Listed::Sequence(all)) if all.len() == count => all[i].clone(),
                    Some(_) => return Err(refuse(format!("`{name}` has not {count} values"))),
                    None => name.clone(),
                });
            }
            let here = format!("{path}/{i}");
            let outputs: Vec<String> =
                body.outputs.iter().map(|o| self.fresh(&format!("{here}/{o}"))).collect();
            results
                .iter_mut()
                .zip(&outputs)
                .for_each(|(all, one): (&mut Vec<String>, _)| all.push(one.clone()));
            let place = super::control::call(&node, here, inputs, outputs);
            steps.extend(self.body(place, body.clone(), "body")?);
        }
        for (output, all) in node.outputs.into_iter().zip(results) {
            self.list(output, all);
        }
        Ok(steps)
    }
}
