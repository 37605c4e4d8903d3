//! Nodes as a file has them, and the graphs inside of nodes.
//!
//! Law: a node reads its inputs, and what its graphs take from around them.

use super::{PortType, Stored};
use crate::error::Result;
use crate::ops::Attr;
use crate::ops::check::refuse;
use std::collections::{BTreeMap, BTreeSet};

/// A graph inside a node: a branch of If, the body of Loop or Scan.
#[derive(Clone)]
pub(in crate::onnx) struct Branch {
    /// The attribute that holds it.
    pub(in crate::onnx) attr: String,
    pub(in crate::onnx) initializers: Vec<(String, Result<Stored>)>,
    pub(in crate::onnx) inputs: Vec<String>,
    /// Axes of each input, as far as the file says.
    pub(in crate::onnx) ranks: Vec<Option<usize>>,
    pub(in crate::onnx) outputs: Vec<String>,
    /// Declared types of the outputs, as far as the file says.
    pub(in crate::onnx) types: Vec<Option<PortType>>,
    pub(in crate::onnx) nodes: Vec<RawNode>,
}

#[derive(Clone)]
pub(in crate::onnx) struct RawNode {
    pub(in crate::onnx) name: String,
    pub(in crate::onnx) domain: String,
    pub(in crate::onnx) op_type: String,
    pub(in crate::onnx) inputs: Vec<String>,
    pub(in crate::onnx) outputs: Vec<String>,
    pub(in crate::onnx) attrs: Result<BTreeMap<String, Attr>>,
    pub(in crate::onnx) branches: Vec<Branch>,
    /// The version of the default operator set, where it is not the model's.
    pub(in crate::onnx) opset: Option<i64>,
}

impl RawNode {
    /// A node of the default domain without graphs inside.
    pub(in crate::onnx) fn plain(
        name: String,
        op: &str,
        inputs: &[&str],
        outputs: Vec<String>,
        attrs: Vec<(String, Attr)>,
    ) -> RawNode {
        RawNode {
            name,
            domain: String::new(),
            op_type: op.into(),
            inputs: inputs.iter().map(ToString::to_string).collect(),
            outputs,
            attrs: Ok(attrs.into_iter().collect()),
            branches: Vec::new(),
            opset: None,
        }
    }
    /// Every name that the node reads: its inputs, and what its branches take from around them.
    pub(in crate::onnx) fn reads(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(String::as_str).chain(self.branches.iter().flat_map(Branch::captures))
    }
}

impl Branch {
    /// Refuses a name that has two meanings inside; `what` says what the graph is.
    pub(in crate::onnx) fn check_names(&self, what: &str) -> Result<()> {
        let mut given = BTreeSet::new();
        let all = self.inputs.iter().chain(self.initializers.iter().map(|(name, _)| name));
        let mut twice = all.filter(|n| !n.is_empty()).find(|n| !given.insert(n.as_str()));
        if twice.is_none() {
            twice = self.nodes.iter().flat_map(|n| &n.outputs).find(|n| given.contains(n.as_str()));
        }
        match twice {
            Some(name) => Err(refuse(format!("its {what} has two values with the name `{name}`"))),
            None => Ok(()),
        }
    }
    /// Names that the branch defines itself.
    pub(in crate::onnx) fn defines(&self) -> BTreeSet<&str> {
        let given = self.inputs.iter().chain(self.initializers.iter().map(|(name, _)| name));
        given.chain(self.nodes.iter().flat_map(|n| &n.outputs)).map(String::as_str).collect()
    }
    /// Names that it reads and does not define.
    pub(in crate::onnx) fn captures(&self) -> BTreeSet<&str> {
        let own = self.defines();
        let read = self.nodes.iter().flat_map(|n| n.reads().collect::<Vec<_>>());
        let all = read.chain(self.outputs.iter().map(String::as_str));
        all.filter(|name| !name.is_empty() && !own.contains(name)).collect()
    }
}
