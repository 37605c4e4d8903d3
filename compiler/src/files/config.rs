//! The file `secateur.toml` of a model: found, and read whole or refused.

use super::{io_error, read};
use crate::error::{Error, Fault, Result, Site};
use crate::options::{self, FILE_NAME, MAX_BYTES, Settings};
use crate::warning::Warning;
use secateur_targets::Target;
use std::io::Read;
use std::path::Path;

/// What the file that is named, or else the one beside the model, says of the model; nothing without
/// one.
pub(crate) fn of(model: &Path, named: Option<&Path>) -> Result<(Settings, Option<Warning>)> {
    let beside = model.parent().unwrap_or(Path::new("")).join(FILE_NAME);
    // A link to nowhere is there, and is refused as what cannot be read.
    let path = match named {
        Some(path) => path.to_owned(),
        None if std::fs::symlink_metadata(&beside).is_ok() => beside,
        None => return Ok((Settings::default(), None)),
    };
    let file = options::parse(&path.display().to_string(), &text(&path)?)?;
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    let is_model = |name: &str| model.with_file_name(format!("{name}.onnx")).is_file();
    file.of_model(&stem, &is_model)
}

fn text(path: &Path) -> Result<String> {
    let site = || Site::File(path.display().to_string());
    let refused = |why: String| Err(Error::new(Fault::Environment, site(), why));
    if path.is_dir() {
        return refused("is a folder; options stand in a file".to_owned());
    }
    let failed = |e: std::io::Error| io_error(path, "cannot be read", &e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return refused(format!("holds more than {MAX_BYTES} bytes, which no file of options takes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => {
            let line =
                e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            refused(format!("is not UTF-8 text: line {line} holds other bytes"))
        }
    }
}

/// The target of the settings, with its file read.
pub(crate) fn target(settings: &Settings) -> Result<Target> {
    let mut read = |file: &str| {
        String::from_utf8(read(Path::new(file))?)
            .map_err(|_| Error::new(Fault::Target, Site::File(file.into()), "is not UTF-8 text"))
    };
    settings.target(&mut read).map_err(|e| settings.located(e))
}
