//! Files of other formats that are handed over as models, and how each becomes ONNX.
//!
//! In: bytes that could not be read as ONNX. Out: a refusal that names the format and the command
//! that converts it. Law: asked only after the decoder has failed, so no ONNX model is refused here.

use crate::error::{Error, Site};

/// Names the format of bytes that are no ONNX model; `None` when it is not known.
pub(super) fn recognize(bytes: &[u8]) -> Option<Error> {
    let (what, help) =
        archive(bytes).or_else(|| magic(bytes)).or_else(|| text(bytes)).or_else(|| tensorflow(bytes))?;
    Some(Error::model(Site::Whole, format!("this is {what}, not ONNX")).help(help))
}

const TFLITE: &str = "convert it: `pip install tf2onnx`, then `python -m tf2onnx.convert --tflite model.tflite \
                      --output model.onnx --opset 17`";
const SAVED_MODEL: &str = "convert its folder: `pip install tf2onnx`, then `python -m tf2onnx.convert \
                           --saved-model FOLDER --output model.onnx --opset 17`";
const GRAPH_DEF: &str = "convert it: `pip install tf2onnx`, then `python -m tf2onnx.convert --graphdef model.pb \
                         --inputs INPUT:0 --outputs OUTPUT:0 --output model.onnx --opset 17`";
const H5: &str = "convert it: `pip install tf2onnx`, then `python -m tf2onnx.convert --keras model.h5 --output \
                  model.onnx --opset 17`; a file that holds weights only must be loaded into its model first";
const KERAS: &str = "convert it: `python -c 'import keras; keras.models.load_model(\"model.keras\")\
                     .export(\"model.onnx\", format=\"onnx\")'`";
const TORCH: &str = "it holds weights and no graph; load it in Python and export the model: \
                     `torch.onnx.export(model.eval(), (example_input,), \"model.onnx\")`";
const TORCH_SCRIPT: &str = "convert it: `python -c 'import torch; torch.onnx.export(torch.jit.load(\"model.pt\")\
                            .eval(), (torch.zeros(1, 3, 32, 32),), \"model.onnx\", dynamo=False)'`, with the \
                            shape of your input";
const TORCH_EXPORT: &str = "convert it: `python -c 'import torch; torch.onnx.export(torch.export.load(\"model.pt2\"), \
                            (), \"model.onnx\", dynamo=True)'`";
const WEIGHTS: &str = "it holds weights and no graph; load them into their model in Python and export that: \
                       `torch.onnx.export(model.eval(), (example_input,), \"model.onnx\")`";
const PICKLE: &str = "it holds Python objects; load it in Python and export the model: `torch.onnx.export(...)` for \
                      PyTorch, `skl2onnx.to_onnx(model, sample)` for scikit-learn";
const ARRAY: &str = "give it with `--calibrate`, `--input` or `--data`; the model is the .onnx file";
const UNPACK: &str = "unpack it and give the .onnx file inside";

/// A format's name and what to do.
type Found = (&'static str, &'static str);

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
}

/// Zip archives, told by the names of what they hold.
fn archive(bytes: &[u8]) -> Option<Found> {
    if !bytes.starts_with(b"PK\x03\x04") {
        return None;
    }
    let has = |name: &str| contains(bytes, name);
    Some(if has("/data.pkl") || has("/data/0") || has("/bytecode.pkl") {
        if has("/constants.pkl") { ("a TorchScript model", TORCH_SCRIPT) } else { ("a PyTorch file", TORCH) }
    } else if has("archive_format") && has("/models/") || has("serialized_exported_program") {
        ("a program of torch.export", TORCH_EXPORT)
    } else if has("model.weights.h5") || has("config.json") && has("metadata.json") {
        ("a Keras model", KERAS)
    } else if has(".npy") {
        ("a NumPy archive (.npz)", ARRAY)
    } else {
        ("a zip archive", UNPACK)
    })
}

fn magic(bytes: &[u8]) -> Option<Found> {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let safetensors = || {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_le_bytes(*size);
        (size as usize <= rest.len() && rest.starts_with(b"{\"")).then_some(())
    };
    Some(if at(4, b"TFL3") {
        ("a TensorFlow Lite model", TFLITE)
    } else if at(0, b"\x89HDF\r\n\x1a\n") {
        ("an HDF5 file, as Keras writes (.h5)", H5)
    } else if at(4, b"ORTM") {
        ("a model in onnxruntime's own format (.ort)", "give the .onnx file that it was made from")
    } else if at(4, b"ET12") {
        ("an ExecuTorch program (.pte)", "export the model that it was made from with `torch.onnx.export`")
    } else if at(0, b"GGUF") {
        ("a GGUF file", "it holds a language model, which does not fit a microcontroller")
    } else if at(0, b"\x93NUMPY") {
        ("a NumPy array (.npy)", ARRAY)
    } else if safetensors().is_some() {
        ("a safetensors file", WEIGHTS)
    } else if at(0, b"\x80") && bytes.get(1).is_some_and(|v| (2..=5).contains(v)) {
        ("a Python pickle (.pkl, .joblib, or a .pt of old)", PICKLE)
    } else if at(0, b"\x1f\x8b") || at(0, b"\xfd7zXZ") || at(0, b"\x28\xb5\x2f\xfd") || at(0, b"BZh") {
        ("a compressed file", UNPACK)
    } else {
        return None;
    })
}

fn text(bytes: &[u8]) -> Option<Found> {
    // The beginning tells; a character may be cut at its end.
    let head = &bytes[..bytes.len().min(4096)];
    let head = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if head.is_empty() || head.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let starts = |word: &str| head.get(..word.len()).is_some_and(|h| h.eq_ignore_ascii_case(word));
    Some(if starts("version https://git-lfs") {
        ("a pointer of Git LFS", "fetch the file that it stands for: `git lfs pull`")
    } else if starts("<!doctype html") || starts("<html") || starts("<head") {
        (
            "a web page",
            "the download gave a page instead of the file; take the link to the file itself (on GitHub: \
             `Download raw file`)",
        )
    } else if starts("<?xml") && head.contains("<net") {
        ("an OpenVINO model", "give the .onnx file that it was made from")
    } else if starts("ir_version") || head.contains("ir_version:") {
        (
            "an ONNX model as text",
            "convert it: `python -c 'import onnx, onnx.parser; onnx.save(onnx.parser.parse_model(\
             open(\"model.txt\").read()), \"model.onnx\")'`",
        )
    } else if starts("{") && head.contains("layers-model") {
        ("a TensorFlow.js model", "convert the Keras model or SavedModel that it was made from with tf2onnx")
    } else if starts("{") || starts("[") {
        ("JSON text", "give the .onnx file")
    } else {
        ("a text file", "give the .onnx file")
    })
}

/// SavedModel and GraphDef are protobuf too; their operators tell them.
fn tensorflow(bytes: &[u8]) -> Option<Found> {
    let has = |name: &str| contains(bytes, name);
    if has("saved_model_main_op") || has("StatefulPartitionedCall") || has("serving_default") {
        return Some(("a TensorFlow SavedModel", SAVED_MODEL));
    }
    // A GraphDef is a list of nodes: field 1, whose own field 1 is a name.
    let nodes = bytes.first() == Some(&0x0a);
    (nodes && (has("Placeholder") || has("Const")) && has("dtype"))
        .then_some(("a TensorFlow graph (frozen .pb)", GRAPH_DEF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_what_they_hold() {
        let says = |bytes: &[u8], what: &str, how: &str| {
            let error = recognize(bytes).unwrap_or_else(|| panic!("{what} is not told"));
            let help = error.help.clone().unwrap_or_default();
            assert!(error.message.contains(what) && help.contains(how), "{error}");
        };
        says(b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite", "--tflite");
        says(b"PK\x03\x04\x14\0archive/data.pkl\0\0", "PyTorch", "torch.onnx.export");
        says(b"PK\x03\x04\x14\0net/data.pkl\0\0net/constants.pkl", "TorchScript", "torch.jit.load");
        says(b"PK\x03\x04\x14\0metadata.jsonPK config.json model.weights.h5", "Keras", "keras.models");
        says(b"PK\x03\x04\x14\0x.npy\0", ".npz", "--calibrate");
        says(b"PK\x03\x04\x14\0model.onnx", "zip", "unpack");
        says(b"\x89HDF\r\n\x1a\n\0", "HDF5", "--keras");
        says(b"\x08\0\0\0\0\0\0\0{\"a\":{}}", "safetensors", "weights");
        says(b"\x93NUMPY\x01\0", ".npy", "--calibrate");
        says(b"\x80\x02c__main__\n", "pickle", "skl2onnx");
        says(b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS", "git lfs pull");
        says(b"\n<!DOCTYPE HTML><html>", "web page", "raw");
        says(b"{\"modelTopology\": 1}", "JSON", ".onnx");
        says(b"Not found\n", "text", ".onnx");
        says(b"<\n  ir_version: 8\n>", "as text", "onnx.parser");
        says(b"\x08\x01\x12\x30..saved_model_main_op..serve", "SavedModel", "--saved-model");
        says(b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder*\x0b\x0a\x05dtype", "frozen", "--graphdef");
        assert!(recognize(b"\x89PNG\r\n\x1a\n").is_none());
    }
}
