//! Which operators are supported, and what to do about those that are not.
//!
//! In: a node, and whether all that it reads is known at compile time. Out: nothing, or a refusal
//! with a help line. Law: `import` asks nobody else, and `inspect` shows what `import` said.

use super::order::site;
use super::proto::{Branch, Function, RawNode};
use crate::error::{Error, Site};
use crate::ops::{Op, fold};
use std::collections::{BTreeMap, BTreeSet};

/// Control flow, which becomes other nodes.
const CONTROL: [&str; 3] = ["If", "Loop", "Scan"];

/// Operators on lists of values, which are gone behind the import; sorted.
const LISTS: [&str; 12] = [
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
];

/// What to do about a loop whose iterations cannot be counted.
pub(super) const LOOP: &str = "Loop: it is written out iteration by iteration, so its number of iterations and its \
                               condition must be known: fix dimensions (`--dim NAME=N`) and inputs \
                               (`--bind NAME=VALUE`), or run the loop outside of the model, one iteration a call";

/// What to do about an If whose branches cannot both be computed.
pub(super) const IF: &str = "If: both branches are computed where the condition is not known, so their results need \
                             one type and shape; `--bind NAME=VALUE` and `--dim NAME=N` make more of it known";

/// The operators of ONNX that are supported at run time, sorted.
pub fn supported() -> Vec<&'static str> {
    let own = Op::names().filter(|n| Op::ours().all(|ours| ours != *n));
    own.chain(CONTROL).chain(super::expand::names()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The operators that are supported where what they depend on is known.
pub fn folded() -> impl Iterator<Item = &'static str> {
    fold::NAMES.iter().copied().chain(LISTS)
}

pub(super) fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// An operator as the file names it: with its domain in front, unless that is the default one.
pub(super) fn full_name(node: &RawNode) -> String {
    match plain(&node.domain) {
        "" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}

/// What a model brings that decides which of its nodes are supported.
pub(super) struct Support {
    /// The model's own functions by domain and name.
    functions: BTreeMap<(String, String), Function>,
}

impl Support {
    pub(super) fn new(functions: Vec<Function>) -> Support {
        let key = |f: &Function| (plain(f.domain()).to_string(), f.name().to_string());
        Support { functions: functions.into_iter().map(|f| (key(&f), f)).collect() }
    }

    /// The function of the model that a node calls.
    pub(super) fn function(&self, node: &RawNode) -> Option<&Function> {
        self.functions.get(&(plain(&node.domain).to_string(), node.op_type.clone()))
    }

    /// Why a node is not supported, if it is not. `constant` tells what is known at compile time, `known` whether
    /// all its operands are.
    pub(super) fn refusal(
        &self,
        node: &RawNode,
        known: bool,
        constant: &dyn Fn(&str) -> bool,
    ) -> Option<Error> {
        let (domain, op) = (plain(&node.domain), node.op_type.as_str());
        // Only what stands for other nodes is written in operators of ours.
        let ours = Op::ours().any(|ours| ours == op) && node.opset.is_none();
        let why = if self.function(node).is_some() || super::expand::names().any(|n| n == full_name(node)) {
            return None;
        } else if !domain.is_empty() {
            "operators of this domain are not supported"
        } else if op == "Loop" && !node.inputs.iter().take(2).all(|n| n.is_empty() || constant(n)) {
            "how often it turns is computed at run time"
        } else if CONTROL.contains(&op)
            || LISTS.contains(&op)
            || !ours && Op::names().any(|n| n == op)
            || known && fold::NAMES.contains(&op)
        {
            return None;
        } else {
            "operator is not supported"
        };
        Some(Error::model(site(node), why).help(Self::help(domain, op)))
    }

    /// The refusals of nodes that cannot be looked at one after the other: those of a branch that
    /// runs at run time, or of a graph whose inputs are in doubt. `known` tells the constants
    /// around them, `path` where they stand.
    pub(super) fn refusals<'a>(
        &self,
        nodes: impl IntoIterator<Item = &'a RawNode>,
        initializers: impl IntoIterator<Item = &'a str>,
        known: &dyn Fn(&str) -> bool,
        path: &str,
    ) -> Vec<Error> {
        let mut own: BTreeSet<&str> = initializers.into_iter().collect();
        let mut errors = Vec::new();
        for node in nodes {
            let constant = fold::reads_shape_only(&node.op_type)
                || node.reads().all(|n| n.is_empty() || own.contains(n) || known(n));
            let refusal = self.refusal(node, constant, &|n| own.contains(n) || known(n));
            let refused = refusal.is_some();
            errors.extend(refusal.map(|e| below(e, path)));
            if constant {
                own.extend(node.outputs.iter().map(String::as_str));
            }
            if refused || !constant {
                let known = |name: &str| own.contains(name) || known(name);
                errors.extend(node.branches.iter().flat_map(|b| self.branch(node, b, &known, path)));
            }
        }
        errors
    }

    /// The refusals inside of a node's branch.
    pub(super) fn branch(
        &self,
        node: &RawNode,
        branch: &Branch,
        known: &dyn Fn(&str) -> bool,
        path: &str,
    ) -> Vec<Error> {
        let path = format!("{path}{}/{}/", super::order::name(node), branch.attr);
        // What a branch defines itself hides names around it.
        let own = branch.defines();
        let known = |name: &str| !own.contains(name) && known(name);
        self.refusals(&branch.nodes, branch.initializers.iter().map(|(n, _)| n.as_str()), &known, &path)
    }

    /// What to do about an operator that is not supported.
    fn help(domain: &str, op: &str) -> String {
        let quantized = op.starts_with("QLinear")
            || op.starts_with("QGemm")
            || matches!(op, "ConvInteger" | "MatMulInteger" | "DynamicQuantizeLinear" | "QAttention");
        match (domain, op) {
            _ if quantized => format!(
                "{op}: quantize in QDQ form instead of QOperator form or dynamically: \
                 `onnxruntime.quantization.quantize_static(..., quant_format=QuantFormat.QDQ)`, or give the float \
                 model and let Secateur calibrate it"
            ),
            ("ai.onnx.ml", _) => format!(
                "{op}: of this domain those operators are supported that compute with numbers (the README lists them): \
                 encode text and look up dictionaries before the model"
            ),
            ("com.microsoft" | "com.microsoft.nchwc" | "com.ms.internal.nhwc", _) => format!(
                "{op}: this comes from onnxruntime's optimizer; take the model as exported, or save it with \
                 `SessionOptions.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC`"
            ),
            ("", "Loop") => LOOP.into(),
            ("", op) if fold::NAMES.contains(&op) => format!(
                "{op} is supported where all that it reads is known at compile time, and here it reads run-time data; \
                 write the layer with supported operators (the README lists them), or cut the model before it: \
                 `onnx.utils.extract_model`"
            ),
            _ => format!(
                "{op}: write the layer with supported operators (the README lists them), or cut the model before it: \
                 `onnx.utils.extract_model`"
            ),
        }
    }
}

/// The error with its node named by the path to its branch.
fn below(error: Error, path: &str) -> Error {
    let site = match error.site {
        Site::Node { name, op } => Site::Node { name: format!("{path}{name}"), op },
        other => other,
    };
    Error { site, ..error }
}
