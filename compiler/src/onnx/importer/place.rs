//! Nodes that others stand for: the branch of an If that is decided, the body of a function, what an operator
//! is made of.
//!
//! Law: what comes in place of a node comes under names that nothing else has, and may be replaced again.

use super::super::{branch, expand, order, support};
use super::{Importer, early, operand};
use crate::error::{Error, Result, Site};
use crate::onnx::proto::RawNode;
use crate::ops::{Operand, ParseCx};

/// More nodes than this cannot come in place of others.
const MOST: usize = 1 << 16;

impl Importer<'_> {
    /// What comes in place of a node: nothing, when it is added itself.
    pub(super) fn place(&mut self, node: RawNode, known: bool) -> Result<Vec<RawNode>> {
        let plain = support::plain(&node.domain).is_empty();
        let nodes = if let Some(function) = self.support.function(&node) {
            let body = function.body(&node)?;
            let (initializers, nodes) = branch::place(node, body, "function", &mut self.taken)?;
            self.initializers(initializers)?;
            nodes
        } else if plain && node.op_type == "If" {
            self.inline(node)?
        } else if !(plain && known && early::knows(&node.op_type))
            && let Some(expanded) = self.expand(&node)?
        {
            for (name, tensor) in expanded.constants {
                let id = self.patch.add_constant(&name, tensor);
                self.names.insert(name, id);
            }
            expanded.nodes
        } else {
            return self.add(&node).map(|()| Vec::new());
        };
        // A function that calls itself would never end.
        self.placed += nodes.len();
        if self.placed > MOST {
            return Err(Error::model(
                Site::Whole,
                "becomes more nodes than are supported: does it call itself?",
            ));
        }
        Ok(nodes)
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

    /// The nodes of the branch that a known condition chooses.
    fn inline(&mut self, node: RawNode) -> Result<Vec<RawNode>> {
        let condition = node.inputs.first().and_then(|name| self.constant(name));
        let condition = condition.ok_or_else(|| Error::model(Site::Whole, "its condition is missing"))?;
        let condition = branch::condition(condition)?;
        let (initializers, nodes) = branch::inline(node, condition, &mut self.taken)?;
        self.initializers(initializers)?;
        Ok(nodes)
    }
}
