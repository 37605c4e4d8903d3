//! Text: names of classes, for which their numbers stand.
//!
//! In: constants of text, and nodes that move such or give names. Out: the same nodes on numbers, and for each value
//! of text the list that its numbers count in. Law: nothing computes with text or compares it, so that no number of
//! one list passes for one of another; what a caller gets is told name by name.

use super::super::order;
use super::super::proto::{Port, RawNode};
use super::super::support::full_name;
use super::Importer;
use crate::error::{Result, Site};
use crate::ops::Attr;
use crate::ops::check::refuse;
use crate::warning::Warning;
use std::sync::Arc;

/// Operators whose result has elements of their first operand, and no others.
const MOVES: [&str; 13] = [
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "ai.onnx.ml.ArrayFeatureExtractor",
];
/// Operators that look at no element.
const READS: [&str; 2] = ["Shape", "Size"];

/// So many names stand in a warning.
const SHOWN: usize = 12;

impl Importer<'_> {
    /// Marks what a node moves; the node as it is, or one on the numbers of the text that it reads.
    ///
    /// Errors: an operator reads text that does more than move it.
    pub(super) fn text(&mut self, node: RawNode) -> Result<RawNode> {
        let Some((first, name)) = node.inputs.iter().enumerate().find(|(_, n)| self.text.contains_key(*n))
        else {
            return Ok(node);
        };
        let operator = full_name(&node);
        if READS.contains(&operator.as_str()) {
            return Ok(node);
        }
        let texts = self.text[name].clone();
        if first == 0 && MOVES.contains(&operator.as_str()) {
            self.say_text(&node, texts);
            return Ok(node);
        }
        let encoder = match operator.as_str() {
            "ai.onnx.ml.LabelEncoder" => Some(node.clone()),
            "ai.onnx.ml.CategoryMapper" => Some(encoder(node.clone())?),
            _ => None,
        };
        if let Some(encoder) = encoder {
            let mut encoder = keyed_by_number(encoder, &texts)?;
            // The same numbers by a name of their own, which is no text.
            let numbers = self.fresh(&format!("{}/numbers", order::name(&node)));
            let same = self.names.get(name).copied();
            self.names.extend(same.map(|id| (numbers.clone(), id)));
            self.reads.insert(numbers.clone(), vec![name.clone()]);
            encoder.inputs = vec![numbers];
            return Ok(encoder);
        }
        Err(refuse(format!("reads `{name}`, which is text")).help(
            "names may be chosen by their places, and be keys of a LabelEncoder; encode other text before the model, \
             and give it the numbers",
        ))
    }

    /// Says that the first result of a node is text.
    pub(super) fn say_text(&mut self, node: &RawNode, texts: Arc<[String]>) {
        if let Some(name) = node.outputs.first().filter(|name| !name.is_empty()) {
            self.text.insert(name.clone(), texts);
        }
    }

    /// Tells what the numbers of a result of the model stand for.
    pub(super) fn tell_text(&mut self, port: &Port) {
        let Some(texts) = self.text.get(&port.name) else { return };
        let shown = texts.iter().take(SHOWN).enumerate();
        let mut list: Vec<String> = shown.map(|(i, text)| format!("{i} is `{text}`")).collect();
        if texts.len() > SHOWN {
            list.push(format!("and so on up to {}", texts.len() - 1));
        }
        let message = format!("its elements are names, and it gives their numbers: {}", list.join(", "));
        let warning = Warning::new(Site::Value(port.name.clone()), message);
        self.patch.warn(warning.help("look the name up in the program that reads the number"));
    }
}

/// A CategoryMapper of text as a LabelEncoder.
fn encoder(mut node: RawNode) -> Result<RawNode> {
    node.op_type = "LabelEncoder".into();
    let attrs = node.attrs.as_mut().map_err(|e| e.clone())?;
    for (from, to) in [("cats_strings", "keys_strings"), ("cats_int64s", "values_int64s")] {
        if let Some(list) = attrs.remove(from) {
            attrs.insert(to.into(), list);
        }
    }
    Ok(node)
}

/// A LabelEncoder of text as one of the numbers of that text; keys that the text never is are gone.
fn keyed_by_number(mut node: RawNode, texts: &[String]) -> Result<RawNode> {
    let attrs = node.attrs.as_mut().map_err(|e| e.clone())?;
    let Some(Attr::Strs(keys)) = attrs.remove("keys_strings") else {
        return Err(refuse("reads text, and has no `keys_strings`"));
    };
    let numbers: Vec<Option<i64>> =
        keys.iter().map(|key| texts.iter().position(|t| t == key).map(|i| i as i64)).collect();
    for name in ["values_int64s", "values_floats", "values_strings"] {
        let kept = |len: usize| if len == keys.len() { Ok(()) } else { Err(len) };
        let checked = match attrs.get_mut(name) {
            Some(Attr::Ints(list)) => kept(list.len()).map(|()| keep(list, &numbers)),
            Some(Attr::Floats(list)) => kept(list.len()).map(|()| keep(list, &numbers)),
            Some(Attr::Strs(list)) => kept(list.len()).map(|()| keep(list, &numbers)),
            _ => Ok(()),
        };
        checked.map_err(|len| refuse(format!("has {} keys for {len} values", keys.len())))?;
    }
    if attrs.contains_key("values_tensor") {
        return Err(refuse("has text for keys, and values in `values_tensor`"));
    }
    let keys: Vec<i64> = numbers.into_iter().flatten().collect();
    if keys.is_empty() {
        return Err(refuse("has no key that the text it reads can be"));
    }
    attrs.insert("keys_int64s".into(), Attr::Ints(keys));
    Ok(node)
}

/// Keeps the values whose keys have a number.
fn keep<T>(list: &mut Vec<T>, numbers: &[Option<i64>]) {
    let mut numbers = numbers.iter();
    list.retain(|_| numbers.next().is_none_or(Option::is_some));
}
