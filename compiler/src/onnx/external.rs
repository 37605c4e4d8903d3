//! Tensors whose elements lie in files beside the model (`.onnx.data`): which files, and the model
//! as one piece once they are read.
//!
//! In: the bytes of a model, and those of the files that it names. Out: the bytes of the same model
//! with every tensor inside. Law: no IO here, the fronts read files; a name is taken only if it is
//! a plain path below the model's folder, and a range only if it lies inside its file and has the
//! size of its tensor.

use super::proto;
use crate::error::{Error, Result, Site};
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{AttributeProto, GraphProto, Message, ModelProto, NodeProto, TensorProto};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that all tensors outside of a model may take together: far beyond any microcontroller.
const MAX_BYTES: usize = 1 << 28;

/// The model in one piece. `read` gives the bytes of a file by its path relative to the model's
/// folder; it is called once for each file, with names that stay below that folder.
pub fn embed<'a>(bytes: &'a [u8], read: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Cow<'a, [u8]>> {
    if !mentions(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut model = proto::parse(bytes)?;
    let mut names = BTreeSet::new();
    let mut errors = Vec::new();
    let mut total = 0usize;
    each(&mut model, &mut |t| {
        let checked = location(t).and_then(|name| {
            total = total.saturating_add(proto::raw_bytes(t)?);
            names.insert(name);
            Ok(())
        });
        errors.extend(checked.err().map(|e| e.at(Site::Value(t.name.clone()))));
    });
    if let Some(error) = Error::join(errors) {
        return Err(error);
    }
    if names.is_empty() {
        return Ok(Cow::Borrowed(bytes));
    }
    if total > MAX_BYTES {
        return Err(Error::model(
            Site::Whole,
            format!("the tensors in other files take {total} bytes, at most {MAX_BYTES} are read"),
        )
        .help("no microcontroller holds such a model"));
    }
    let mut files = BTreeMap::new();
    for name in names {
        let file = read(&name)?;
        files.insert(name, file);
    }
    let mut errors = Vec::new();
    each(&mut model, &mut |t| {
        let taken = take(t, &files);
        errors.extend(taken.err().map(|e| e.at(Site::Value(t.name.clone()))));
    });
    if let Some(error) = Error::join(errors) {
        return Err(error);
    }
    let whole = model.write_to_bytes();
    whole
        .map(Cow::Owned)
        .map_err(|e| Error::internal(Site::Whole, format!("the model cannot be written: {e}")))
}

/// Whether the key of a file's name stands anywhere: most models are spared a second decoding.
fn mentions(bytes: &[u8]) -> bool {
    let key = b"location";
    bytes.windows(key.len()).any(|w| w == key)
}

/// Calls `f` with every tensor that lies outside.
fn each(model: &mut ModelProto, f: &mut dyn FnMut(&mut TensorProto)) {
    if let Some(graph) = model.graph.as_mut() {
        of_graph(graph, f);
    }
    for function in &mut model.functions {
        of_nodes(&mut function.node, f);
    }
}

fn of_graph(graph: &mut GraphProto, f: &mut dyn FnMut(&mut TensorProto)) {
    graph.initializer.iter_mut().filter(|t| proto::is_external(t)).for_each(&mut *f);
    of_nodes(&mut graph.node, f);
}

fn of_nodes(nodes: &mut [NodeProto], f: &mut dyn FnMut(&mut TensorProto)) {
    nodes.iter_mut().flat_map(|n| &mut n.attribute).for_each(|a| of_attribute(a, f));
}

fn of_attribute(a: &mut AttributeProto, f: &mut dyn FnMut(&mut TensorProto)) {
    let tensors = a.t.as_mut().into_iter().chain(&mut a.tensors);
    tensors.filter(|t| proto::is_external(t)).for_each(&mut *f);
    // The scan has bounded how deep graphs nest.
    a.g.as_mut().into_iter().chain(&mut a.graphs).for_each(|g| of_graph(g, f));
}

fn value<'a>(t: &'a TensorProto, key: &str) -> Option<&'a str> {
    t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str())
}

/// The file of a tensor; refuses what does not stay below the model's folder.
fn location(t: &TensorProto) -> Result<String> {
    let name = value(t, "location").unwrap_or_default();
    let refuse = |why: &str| {
        Err(Error::model(Site::Whole, format!("its data lie in `{}`, {why}", name.escape_debug())).help(
            "data are read from the model's own folder only: move the file there and save the model again",
        ))
    };
    if name.is_empty() {
        return Err(Error::model(Site::Whole, "its data lie in another file that is not named")
            .help("save the model as one file: onnx.save(onnx.load(path), path_of_one_file)"));
    }
    if name.starts_with('/') || name.contains(['\\', ':', '\0']) {
        return refuse("which is no relative path");
    }
    if name.split('/').any(|part| part == "..") {
        return refuse("which leaves the model's folder");
    }
    // `./w.data` and `w.data` are one file.
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.is_empty() {
        return refuse("which is a folder");
    }
    Ok(parts.join("/"))
}

/// Takes the elements of a tensor out of its file.
fn take(t: &mut TensorProto, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let name = location(t)?;
    let file = files.get(&name).map(Vec::as_slice).unwrap_or_default();
    let number = |key: &str| match value(t, key) {
        None => Ok(None),
        Some(text) => text.trim().parse::<usize>().map(Some).map_err(|_| {
            Error::model(
                Site::Whole,
                format!("the {key} of its data is `{}`, no number", text.escape_debug()),
            )
        }),
    };
    let need = proto::raw_bytes(t)?;
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(need);
    if length != need {
        return Err(Error::model(
            Site::Whole,
            format!("shape {:?} needs {need} bytes, the model says that `{name}` holds {length}", t.dims),
        ));
    }
    let Some(data) = offset.checked_add(length).and_then(|end| file.get(offset..end)) else {
        return Err(Error::model(
            Site::Whole,
            format!(
                "its data are {length} bytes from byte {offset} of `{name}`, which has {} bytes",
                file.len()
            ),
        )
        .help(format!("`{name}` is truncated or belongs to another model; export the model again")));
    };
    t.raw_data = data.to_vec();
    t.external_data.clear();
    t.data_location = DataLocation::DEFAULT.into();
    Ok(())
}
