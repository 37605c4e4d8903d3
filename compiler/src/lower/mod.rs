//! Graph + Schedule -> Program: spells what the schedule chose; makes no choice of its own.

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Quant};
use crate::program::{Arg, Program};
use crate::schedule::Schedule;
use crate::tensor::DType;
use secateur_targets::Target;

/// An operand or result as a kernel sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loc {
    pub arg: Arg,
    /// Type in memory.
    pub elem: DType,
    /// Logical shape, and the stride of each logical axis in elements.
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub quant: Option<Quant>,
}

/// What an operator's `lower` works with: one node, its operands' places, and the program
/// under construction.
#[derive(Debug)]
pub struct Cx<'a> {
    pub graph: &'a Graph,
    pub schedule: &'a Schedule,
    pub target: &'a Target,
    pub node: NodeId,
    pub program: &'a mut Program,
}

impl Cx<'_> {
    /// An error that names this node.
    pub fn unsupported(&self, why: &str) -> Error {
        Error::model(self.graph[self.node].site(), why)
    }
}

/// Lowers a scheduled graph.
pub fn lower(_graph: &Graph, _schedule: &Schedule, _target: &Target) -> Result<Program> {
    Err(crate::ops::unwritten("lower"))
}
