//! Nodes that others stand for: the branch of an If, the iterations of a loop, the body of a function, what an
//! operator is made of.
//!
//! Law: what comes in place of a node comes under names that nothing else has, and may be replaced again.

use super::super::{count, expand, order, support};
use super::control::Step;
use super::{Importer, early, operand};
use crate::error::Result;
use crate::onnx::proto::RawNode;
use crate::ops::check::refuse;
use crate::ops::{Operand, ParseCx};
use crate::warning::Warning;

/// More nodes than this cannot come in place of others.
const MOST: usize = 1 << 16;
/// More nodes than this cannot be iterations of loops: each is a layer with code of its own, and what a compilation
/// takes grows faster than their number.
const MOST_TURNED: usize = 1 << 12;

impl Importer<'_> {
    /// What comes in place of a node: nothing, when it is added itself.
    pub(super) fn place(&mut self, node: RawNode, known: bool) -> Result<Vec<Step>> {
        let plain = support::plain(&node.domain).is_empty();
        let node = self.text(node)?;
        if let Some(function) = self.support.function(&node) {
            let body = function.body(&node)?;
            return self.body(node, body, "function");
        }
        if let Some(steps) = self.narrow(&node, plain)? {
            return Ok(steps);
        }
        if plain && let Some(steps) = self.sequence(&node)? {
            return Ok(steps);
        }
        match node.op_type.as_str() {
            "If" if plain => return self.branches(node),
            "Loop" if plain => return self.looped(node, known),
            "Scan" if plain => return self.scan(node, known),
            _ => {}
        }
        if !(plain && known && early::knows(&node.op_type))
            && let Some(expanded) = self.expand(&node)?
        {
            for (message, help) in expanded.warnings {
                self.patch.warn(Warning::new(order::site(&node), message).help(help));
            }
            if let Some(texts) = expanded.text {
                self.say_text(&node, texts);
            }
            for (name, tensor) in expanded.constants {
                let id = self.patch.add_constant(&name, tensor);
                self.names.insert(name, id);
            }
            self.count(&expanded.nodes)?;
            return Ok(expanded.nodes.into_iter().map(Step::from).collect());
        }
        self.add(&node).map(|()| Vec::new())
    }

    /// Counts nodes that come in place of another, those inside of them included: a function that calls itself
    /// would never end.
    pub(super) fn count(&mut self, nodes: &[RawNode]) -> Result<()> {
        self.placed += count(nodes);
        if self.placed > MOST {
            let why = format!("more than {MOST} nodes would come in place of this one and others");
            return Err(refuse(why).help("a function must not call itself"));
        }
        Ok(())
    }

    /// Counts nodes of an iteration, which may be one of very many.
    pub(super) fn count_turned(&mut self, nodes: &[RawNode]) -> Result<()> {
        self.turned += count(nodes);
        if self.turned > MOST_TURNED {
            let why = format!("more than {MOST_TURNED} nodes would come in place of loops");
            return Err(refuse(why).help(
                "a loop becomes its iterations: export the model with fewer of them or smaller ones, or run the \
                 loop outside of the model, one iteration a call",
            ));
        }
        Ok(())
    }

    /// The nodes that an operator is made of, if it is not one of its own.
    fn expand(&mut self, node: &RawNode) -> Result<Option<expand::build::Expanded>> {
        let inputs = self.resolve(node)?;
        let graph = self.patch.graph();
        let operands: Vec<Option<Operand<'_>>> =
            inputs.iter().map(|v| v.map(|v| operand(graph, v))).collect();
        let attrs = node.attrs.as_ref().map_err(Clone::clone)?;
        let opset = node.opset.unwrap_or(self.opset);
        let cx =
            ParseCx { op_type: &node.op_type, opset, attrs, inputs: &operands, outputs: node.outputs.len() };
        expand::expand(cx, node, order::name(node), &mut self.taken).transpose()
    }
}
