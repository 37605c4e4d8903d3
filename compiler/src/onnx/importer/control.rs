//! Control flow: loops become their iterations, and of a branch that is chosen at run time both are computed.
//!
//! In: If, Loop and Scan. Out: nodes, and a [`Step`] that waits for what these nodes give. Law: how often a loop
//! turns is known when its next iteration is placed, or it is refused; two branches give results of one
//! type and shape, of which a Where takes one.

use super::super::order::{name, site};
use super::super::proto::{Branch, RawNode};
use super::super::{branch, expand::build::OPSET, proto, support};
use super::Importer;
use super::sequences::Listed;
use crate::error::{Error, Result, Site};
use crate::graph::Value;
use crate::ops::Attr;
use crate::ops::check::{self, refuse};
use crate::tensor::{DType, Data, Tensor};

mod scan;

/// What is to be done, once all that was to be done before is done.
pub(super) enum Step {
    Node(Box<RawNode>),
    Turn(Box<Turn>),
    Choose(Box<Choose>),
}

impl From<RawNode> for Step {
    fn from(node: RawNode) -> Step {
        Step::Node(Box::new(node))
    }
}

impl Step {
    /// The node that asked for it.
    pub(super) fn site(&self) -> Site {
        match self {
            Step::Node(node) => site(node),
            Step::Turn(turn) => site(&turn.node),
            Step::Choose(choose) => site(&choose.node),
        }
    }
}

/// A loop before its next iteration.
pub(super) struct Turn {
    /// The Loop or Scan, without its body.
    node: RawNode,
    body: Branch,
    /// Whether all that the loop reads is known.
    known: bool,
    done: u64,
    /// Iterations at most, where they are counted.
    most: Option<u64>,
    /// The value that says whether it goes on.
    condition: Option<String>,
    /// What goes from one iteration to the next.
    carried: Vec<String>,
    /// What each iteration takes its part of.
    parted: Vec<Parted>,
    /// By result that collects parts: the parts so far, and how they are joined.
    collected: Vec<(Vec<String>, Along)>,
}

/// An axis, and whether it is walked from its end.
#[derive(Clone, Copy)]
pub(super) struct Along {
    pub(super) axis: i64,
    pub(super) backwards: bool,
}

/// A value that is read part by part.
struct Parted {
    name: String,
    along: Along,
}

/// The results of two branches, and the names of both in the order of `node`'s outputs.
pub(super) struct Choose {
    node: RawNode,
    then: Vec<String>,
    other: Vec<String>,
}

/// A node that is read by the rules of what stands for others.
pub(super) fn node(
    name: String,
    op: &str,
    inputs: &[&str],
    output: String,
    attrs: Vec<(String, Attr)>,
) -> RawNode {
    RawNode { opset: Some(OPSET), ..RawNode::plain(name, op, inputs, vec![output], attrs) }
}

/// What stands in the place of an iteration or a branch, until its nodes do.
pub(super) fn call(node: &RawNode, name: String, inputs: Vec<String>, outputs: Vec<String>) -> RawNode {
    RawNode { inputs, opset: node.opset, ..RawNode::plain(name, &node.op_type, &[], outputs, Vec::new()) }
}

/// What a loop collects that never turns: no elements, of the type that its body declares.
fn nothing(ty: Option<&proto::PortType>, axis: i64, output: &str) -> Result<Tensor> {
    let known = |d: &proto::Dim| match d {
        proto::Dim::Known(n) => usize::try_from(*n).ok(),
        proto::Dim::Named(_) | proto::Dim::Unknown => None,
    };
    let declared = ty.and_then(|ty| {
        let shape: Option<Vec<usize>> = ty.shape.as_ref()?.iter().map(known).collect();
        Some((ty.dtype, shape?))
    });
    let (dtype, mut shape) = declared.ok_or_else(|| {
        refuse(format!("does not turn once, and its body does not declare what shape `{output}` has then"))
    })?;
    shape.insert(check::axis(axis, shape.len() + 1)?, 0);
    check::len(&shape)?;
    Ok(Tensor::zeros(dtype, &shape))
}

impl Importer<'_> {
    /// Does what is to be done; what cannot be done is an error where a result of the model needs it.
    pub(super) fn step(&mut self, step: Step) -> Result<Vec<Step>> {
        let (site, outputs, known, done) = match step {
            Step::Node(node) => return self.node(*node),
            Step::Turn(turn) => {
                let (node, known) = (&turn.node, turn.known);
                (site(node), node.outputs.clone(), known, self.turn(*turn))
            }
            Step::Choose(choose) => {
                let node = &choose.node;
                (site(node), node.outputs.clone(), false, self.choose(*choose))
            }
        };
        done.or_else(|e| {
            self.spoil(&outputs, known, &[]);
            self.refused.push((outputs, e.at(site)));
            Ok(Vec::new())
        })
    }

    /// Marks results that are not given, as what they would have been made from is not.
    fn spoil(&mut self, outputs: &[String], known: bool, reads: &[String]) {
        for name in outputs.iter().filter(|n| !n.is_empty()) {
            self.poisoned.insert(name.clone(), known);
            self.reads.insert(name.clone(), reads.to_vec());
        }
    }

    pub(super) fn value(&self, name: &str) -> Result<&Value> {
        let id = self.names.get(name);
        id.map(|&id| &self.patch.graph()[id]).ok_or_else(|| self.nothing_gives(name))
    }

    pub(super) fn fresh(&mut self, wish: &str) -> String {
        branch::fresh(wish, &mut self.taken)
    }

    /// A new constant.
    pub(super) fn constant_of(&mut self, wish: &str, tensor: Tensor) -> String {
        let name = self.fresh(wish);
        let id = self.patch.add_constant(&name, tensor);
        self.names.insert(name.clone(), id);
        name
    }

    pub(super) fn ints_of(&mut self, wish: &str, values: &[i64]) -> String {
        self.constant_of(wish, Tensor::i64(&[values.len()], values.to_vec()))
    }

    /// The branch that a known condition chooses, or both of them.
    pub(super) fn branches(&mut self, mut node: RawNode) -> Result<Vec<Step>> {
        let first = node.inputs.first().filter(|n| !n.is_empty());
        let condition = first.ok_or_else(|| refuse("its condition is missing"))?;
        if let Some(known) = self.constant(condition) {
            let condition = branch::condition(known)?;
            let (inner, what) = branch::choice(&mut node, condition)?;
            return self.body(node, inner, what);
        }
        let value = self.value(condition)?;
        if value.dtype != DType::Bool || value.len() != 1 {
            return Err(refuse(format!(
                "its condition is {} of shape {:?}, not one bool",
                value.dtype, value.shape
            )));
        }
        let (mut steps, mut results) = (Vec::new(), Vec::new());
        for condition in [true, false] {
            let (inner, what) = branch::choice(&mut node, condition)?;
            let path = format!("{}/{what}", name(&node));
            let wanted =
                |o: &String| if o.is_empty() { o.clone() } else { self.fresh(&format!("{path}/{o}")) };
            let outputs: Vec<String> = node.outputs.iter().map(wanted).collect();
            let place = call(&node, path, Vec::new(), outputs.clone());
            steps.extend(self.body(place, inner, what)?);
            results.push(outputs);
        }
        let (Some(other), Some(then)) = (results.pop(), results.pop()) else { return Ok(steps) };
        steps.push(Step::Choose(Box::new(Choose { node, then, other })));
        Ok(steps)
    }

    /// The nodes of a body in the place of a node.
    pub(super) fn body(&mut self, node: RawNode, body: Branch, what: &str) -> Result<Vec<Step>> {
        let (initializers, nodes) = branch::place(node, body, what, &mut self.taken)?;
        self.initializers(initializers)?;
        self.count(&nodes)?;
        if what == "body" {
            self.count_turned(&nodes)?;
        }
        Ok(nodes.into_iter().map(Step::from).collect())
    }

    /// Takes each result of an If from one of its branches.
    fn choose(&mut self, choose: Choose) -> Result<Vec<Step>> {
        let Choose { node: from, then, other } = choose;
        let (path, here, mut steps) = (name(&from), site(&from), Vec::new());
        let mut condition = from.inputs.first().cloned().unwrap_or_default();
        // Without axes of its own it chooses between values of any shape.
        if !self.value(&condition)?.shape.is_empty() {
            let none = self.ints_of(&format!("{path}/shape"), &[]);
            let bare = self.fresh(&format!("{path}/condition"));
            let at = format!("{path}/condition");
            steps.push(Step::from(node(at, "Reshape", &[&condition, &none], bare.clone(), Vec::new())));
            condition = bare;
        }
        let mut errors = Vec::new();
        let pairs = from.outputs.into_iter().zip(then.into_iter().zip(other));
        let mut pairs: Vec<(String, (String, String))> = pairs.filter(|(o, _)| !o.is_empty()).collect();
        while let Some((output, (a, b))) = pairs.pop() {
            if [&a, &b].iter().any(|n| self.poisoned.contains_key(*n)) {
                self.spoil(&[output], false, &[a, b]);
                continue;
            }
            if let (Some(Listed::Sequence(x)), Some(Listed::Sequence(y))) =
                (self.listed.get(&a), self.listed.get(&b))
                && x.len() == y.len()
            {
                let both: Vec<(String, String)> = x.iter().cloned().zip(y.iter().cloned()).collect();
                let names: Vec<String> =
                    both.iter().map(|_| self.fresh(&format!("{path}/{output}"))).collect();
                self.listed.insert(output, Listed::Sequence(names.clone()));
                pairs.extend(names.into_iter().zip(both));
                continue;
            }
            let (x, y) = (self.value(&a)?, self.value(&b)?);
            if (x.dtype, &x.shape) != (y.dtype, &y.shape) {
                let why = format!(
                    "its condition is computed at run time, and its branches give `{output}` as {} {:?} and {} {:?}",
                    x.dtype, x.shape, y.dtype, y.shape
                );
                errors.push(refuse(why).help(support::IF).at(here.clone()));
                continue;
            }
            let at = format!("{path}/{output}");
            steps.push(node(at, "Where", &[&condition, &a, &b], output, Vec::new()).into());
        }
        Error::join(errors).map_or(Ok(steps), Err)
    }

    /// A Loop before its first iteration.
    pub(super) fn looped(&mut self, mut node: RawNode, known: bool) -> Result<Vec<Step>> {
        let body = branch::take(&mut node, "body")?;
        let carried: Vec<String> = node.inputs.iter().skip(2).cloned().collect();
        if body.inputs.len() != carried.len() + 2 {
            return Err(refuse(format!(
                "its body takes {} inputs, of which the node gives {}",
                body.inputs.len(),
                carried.len() + 2
            )));
        }
        let Some(collected) = body.outputs.len().checked_sub(carried.len() + 1) else {
            return Err(refuse(format!(
                "its body gives {} results: a condition and {} values that go on are needed",
                body.outputs.len(),
                carried.len()
            )));
        };
        let given = |at: usize| node.inputs.get(at).filter(|n| !n.is_empty());
        let most = match given(0).map(|n| self.constant(n)) {
            None => None,
            Some(Some(t)) if t.len() == 1 && t.dtype().range().is_some() && t.dtype() != DType::Bool => {
                Some(t.to_i64_vec().first().map_or(0, |n| u64::try_from(*n).unwrap_or(0)))
            }
            Some(_) => return Err(refuse("its number of iterations is not one whole number")),
        };
        let condition = given(1).cloned();
        if most.is_none() && condition.is_none() {
            return Err(refuse("has neither a number of iterations nor a condition, and would never end"));
        }
        let along = Along { axis: 0, backwards: false };
        self.begin(Turn {
            done: 0,
            most,
            condition,
            carried,
            parted: Vec::new(),
            collected: vec![(Vec::new(), along); collected],
            node,
            body,
            known,
        })
    }

    /// Checks the results of a loop, and takes out of its body what is the same in all iterations.
    fn begin(&mut self, mut turn: Turn) -> Result<Vec<Step>> {
        let gives = turn.carried.len() + turn.collected.len();
        if turn.node.outputs.len() > gives {
            let wants = turn.node.outputs.len();
            return Err(refuse(format!(
                "its body gives {gives} results beside the condition, the node {wants}"
            )));
        }
        turn.node.outputs.resize(gives, String::new());
        turn.body.check_names("body")?;
        let initializers = branch::hoist(&mut turn.body, &name(&turn.node), &mut self.taken);
        self.initializers(initializers)?;
        // Every iteration has names of its own, the first as well.
        self.taken.extend(turn.body.defines().into_iter().map(String::from));
        Ok(vec![Step::Turn(Box::new(turn))])
    }

    /// The next iteration of a loop, or what it gives.
    fn turn(&mut self, mut turn: Turn) -> Result<Vec<Step>> {
        let path = name(&turn.node);
        let made = turn.condition.iter().chain(&turn.carried);
        let made: Vec<String> =
            made.chain(turn.collected.iter().filter_map(|(parts, _)| parts.last())).cloned().collect();
        if made.iter().any(|n| self.poisoned.contains_key(n)) {
            self.spoil(&turn.node.outputs, turn.known, &made);
            return Ok(Vec::new());
        }
        let ended = turn.most.is_some_and(|most| turn.done >= most);
        if ended || !self.goes_on(&turn)? {
            return self.finish(turn);
        }
        let at = format!("{path}/{}", turn.done);
        let mut inputs = Vec::with_capacity(turn.body.inputs.len());
        if turn.node.op_type == "Loop" {
            // As many axes as the body says: none, or one.
            let shape = vec![1; turn.body.ranks.first().copied().flatten().unwrap_or(0).min(1)];
            let count = Tensor::new(shape, Data::I64(vec![turn.done as i64]))?;
            inputs.push(self.constant_of(&format!("{at}/iteration"), count));
            let condition = match &turn.condition {
                Some(condition) => condition.clone(),
                None => {
                    self.constant_of(&format!("{at}/go_on"), Tensor::new(Vec::new(), Data::Bool(vec![true]))?)
                }
            };
            inputs.push(condition);
        }
        inputs.extend(turn.carried.iter().cloned());
        let mut steps = Vec::new();
        for parted in &turn.parted {
            let (part, nodes) = self.part(parted, turn.done, &at)?;
            steps.extend(nodes);
            inputs.push(part);
        }
        let outputs: Vec<String> =
            turn.body.outputs.iter().map(|o| self.fresh(&format!("{at}/{o}"))).collect();
        let place = call(&turn.node, at, inputs, outputs.clone());
        steps.extend(self.body(place, turn.body.clone(), "body")?);
        turn.done += 1;
        let mut outputs = outputs.into_iter();
        if turn.node.op_type == "Loop" {
            turn.condition = outputs.next();
        }
        turn.carried = outputs.by_ref().take(turn.carried.len()).collect();
        turn.collected.iter_mut().zip(outputs).for_each(|((parts, _), part)| parts.push(part));
        steps.push(Step::Turn(Box::new(turn)));
        Ok(steps)
    }

    /// Whether a loop has another iteration, by its condition.
    fn goes_on(&self, turn: &Turn) -> Result<bool> {
        let Some(condition) = &turn.condition else { return Ok(true) };
        if let Some(known) = self.constant(condition) {
            return branch::condition(known);
        }
        self.value(condition)?;
        let why = format!("whether it goes on after {} iterations is computed at run time", turn.done);
        Err(refuse(why).help(support::LOOP))
    }

    /// What a loop gives, after its last iteration.
    fn finish(&mut self, turn: Turn) -> Result<Vec<Step>> {
        let path = name(&turn.node);
        let mut steps = Vec::new();
        for (from, output) in turn.carried.iter().zip(&turn.node.outputs).filter(|(_, o)| !o.is_empty()) {
            steps.push(Step::from(branch::copy(from, output, &path)));
        }
        let first = turn.body.types.len().saturating_sub(turn.collected.len());
        let outputs = turn.node.outputs.iter().skip(turn.carried.len());
        for (i, ((parts, along), output)) in turn.collected.iter().zip(outputs).enumerate() {
            if output.is_empty() {
                continue;
            }
            if parts.is_empty() {
                let ty = turn.body.types.get(first + i).and_then(Option::as_ref);
                let id = self.patch.add_constant(output, nothing(ty, along.axis, output)?);
                self.names.insert(output.clone(), id);
                continue;
            }
            steps.extend(self.stack(parts, *along, output, &path).into_iter().map(Step::from));
        }
        Ok(steps)
    }

    /// Parts side by side along a new axis.
    pub(super) fn stack(&mut self, parts: &[String], along: Along, output: &str, path: &str) -> Vec<RawNode> {
        let axes = self.ints_of(&format!("{path}/axis"), &[along.axis]);
        let mut nodes = Vec::with_capacity(parts.len() + 1);
        let mut rows = Vec::with_capacity(parts.len());
        for part in parts {
            let row = match parts {
                [_] => output.to_string(),
                _ => self.fresh(&format!("{part}/row")),
            };
            nodes.push(node(row.clone(), "Unsqueeze", &[part, &axes], row.clone(), Vec::new()));
            rows.push(row);
        }
        if parts.len() > 1 {
            if along.backwards {
                rows.reverse();
            }
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let axis = vec![("axis".to_string(), Attr::Int(along.axis))];
            nodes.push(node(format!("{path}/{output}"), "Concat", &rows, output.to_string(), axis));
        }
        nodes
    }
}
