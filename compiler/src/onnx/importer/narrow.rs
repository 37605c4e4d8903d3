//! Elements of less than a byte: which names have them, and quantizers that give them.
//!
//! In: nodes that read or give values of four or two bits. Out: nodes on 8-bit integers of the same numbers. Law:
//! what such a value meets knows its interval, or is refused; so no sum or quantizer leaves it unseen.

use super::super::order::name;
use super::super::proto::RawNode;
use super::Importer;
use super::control::{Step, node};
use crate::error::{Error, Result, Site};
use crate::ops::check::refuse;
use crate::ops::{Attr, Narrow};
use crate::tensor::{Data, Tensor};

/// Operators whose result has the elements of their first operand.
const MOVES: [&str; 6] = ["Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];
/// Operators whose result has no element of less than a byte, or that hand on what they are given.
const READS: [&str; 7] = ["Cast", "DequantizeLinear", "If", "Loop", "Scan", "Shape", "Size"];

impl Importer<'_> {
    /// What comes in place of a node that gives elements of less than a byte; `None` where it is placed as any other.
    ///
    /// Errors: an operator that does not know such elements reads some.
    pub(super) fn narrow(&mut self, from: &RawNode, plain: bool) -> Result<Option<Vec<Step>>> {
        let op = from.op_type.as_str();
        let output = || from.outputs.first().cloned().unwrap_or_default();
        let attr = |name: &str| from.attrs.as_ref().ok().and_then(|attrs| attrs.get(name));
        if plain && op == "Constant" {
            let Some(Attr::Narrow(tensor, narrow)) = attr("value") else { return Ok(None) };
            let (tensor, narrow) = (tensor.clone(), *narrow);
            self.constants(&[output()], vec![tensor]);
            self.mark(output(), narrow);
            return Ok(Some(Vec::new()));
        }
        // The operators of onnxruntime of these names read the same.
        if op == "QuantizeLinear" {
            let named = match attr("output_dtype") {
                Some(Attr::Int(code)) => Narrow::of(*code),
                _ => None,
            };
            let zero = from.inputs.get(2).and_then(|name| self.narrow.get(name)).copied();
            return match zero.or(named) {
                Some(_) if named.is_some_and(|n| zero.is_some_and(|z| z != n)) => {
                    Err(refuse("its zero point has another type than `output_dtype` says"))
                }
                Some(narrow) => self.limited(from, narrow).map(Some),
                None => Ok(None),
            };
        }
        if plain && MOVES.contains(&op) {
            if let Some(&narrow) = from.inputs.first().and_then(|name| self.narrow.get(name)) {
                self.mark(output(), narrow);
            }
            return Ok(None);
        }
        // A CastLike reads the type of its second operand, which the graph does not know.
        let harmless = match op {
            "CastLike" if plain => 1,
            _ if READS.contains(&op) => from.inputs.len(),
            _ => 0,
        };
        match from.inputs.iter().skip(harmless).find_map(|name| Some((name, self.narrow.get(name)?))) {
            Some((name, narrow)) => Err(refuse(format!("reads `{name}`, whose elements are {narrow}")).help(
                "elements of less than a byte may be moved, cast and dequantized, and be the zero point of a \
                 quantizer; cast them to 8 bits before",
            )),
            None => Ok(None),
        }
    }

    fn mark(&mut self, name: String, narrow: Narrow) {
        if !name.is_empty() {
            self.narrow.insert(name, narrow);
        }
    }

    /// A quantizer to eight bits and the limits of fewer.
    fn limited(&mut self, from: &RawNode, narrow: Narrow) -> Result<Vec<Step>> {
        let (path, output) = (name(from), from.outputs.first().cloned().unwrap_or_default());
        let (lo, hi) = narrow.range();
        let mut limits = Vec::with_capacity(2);
        for (word, value) in [("least", lo), ("greatest", hi)] {
            let limit = Tensor::new(Vec::new(), Data::from_i64(narrow.dtype(), &[value]))?;
            limits.push(self.constant_of(&format!("{path}/{word}"), limit));
        }
        let wide = self.fresh(&format!("{path}/8_bits"));
        let mut quantizer = RawNode { outputs: vec![wide.clone()], ..from.clone() };
        // The zero point as a number of eight bits: the same value by a name of its own.
        if let Some(zero) = quantizer.inputs.get_mut(2).filter(|name| !name.is_empty()) {
            let same = self.names.get(zero.as_str()).copied();
            *zero = self.fresh(&format!("{path}/zero_point"));
            self.names.extend(same.map(|id| (zero.clone(), id)));
        }
        if let Ok(attrs) = &mut quantizer.attrs {
            attrs.insert(
                "output_dtype".into(),
                Attr::Int(super::super::write::element(narrow.dtype()).into()),
            );
        }
        let clip = node(
            format!("{path}/limits"),
            "Clip",
            &[&wide, &limits[0], &limits[1]],
            output.clone(),
            Vec::new(),
        );
        self.mark(output, narrow);
        let nodes = [quantizer, clip];
        self.count(&nodes)?;
        Ok(nodes.into_iter().map(Step::from).collect())
    }

    /// Refuses a result of the model whose elements take less than a byte.
    pub(super) fn no_narrow_output(&self, name: &str) -> Result<()> {
        match self.narrow.get(name) {
            Some(narrow) => {
                let why = format!("is a graph output, and its elements are {narrow}");
                Err(Error::model(Site::Value(name.into()), why)
                    .help("elements of less than a byte are supported inside of a model: give 8-bit integers or floats"))
            }
            None => Ok(()),
        }
    }
}
