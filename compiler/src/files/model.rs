//! The model's file, in one piece: tensors that lie in files beside it are read and put in.
//!
//! Law: nothing is read outside of the model's folder, links included, and plain files only.

use super::io_error;
use crate::error::{Error, Result, Site};
use crate::onnx;
use std::path::Path;

/// Bytes that a file beside the model may have.
const MAX_BYTES: u64 = 1 << 30;

/// Reads a model.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_with(path, &mut |_| {})
}

/// The same, naming each file of tensors beside it.
pub(crate) fn read_with(path: &Path, heard: &mut dyn FnMut(&Path)) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Err(folder(path));
    }
    let bytes = super::read(path)?;
    let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(onnx::embed(&bytes, &mut |name| external(beside, name, heard))?.into_owned())
}

fn folder(path: &Path) -> Error {
    let error = |what: &str| Error::model(Site::File(path.display().to_string()), what);
    if path.join("saved_model.pb").is_file() {
        let path = path.display();
        return error("this is the folder of a TensorFlow SavedModel, not ONNX").help(format!(
            "convert it: `pip install tf2onnx`, then `python -m tf2onnx.convert --saved-model {path} --output \
             model.onnx --opset 17`"
        ));
    }
    error("this is a folder").help("give the .onnx file")
}

/// A file of tensors, by its path below the model's folder.
fn external(folder: &Path, name: &str, heard: &mut dyn FnMut(&Path)) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let site = Site::File(path.display().to_string());
    let failed = |e: std::io::Error| {
        io_error(&path, "the model keeps tensors in it, and it cannot be read", &e).help(
            "put the file beside the model, or save the model as one file: onnx.save(onnx.load(path), path_of_one_file)",
        )
    };
    let real = path.canonicalize().map_err(failed)?;
    if !real.starts_with(folder.canonicalize().map_err(failed)?) {
        return Err(Error::model(
            site,
            "the model keeps tensors in it, but it is a link out of the model's folder",
        )
        .help("put the file itself beside the model"));
    }
    let found = std::fs::metadata(&real).map_err(failed)?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(Error::model(site, format!("holds {} bytes, or is no plain file", found.len()))
            .help(format!("a model's tensors are read from plain files of at most {MAX_BYTES} bytes")));
    }
    heard(&path);
    std::fs::read(&real).map_err(failed)
}
