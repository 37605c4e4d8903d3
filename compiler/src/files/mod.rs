//! What fronts read: models, options, samples; and how they write a file and say an error. Shared by the command line,
//! the front for build scripts and, of samples, the macro.
//!
//! Law: results appear whole or not at all; an error names its file.

#[cfg(any(feature = "cli", feature = "build"))]
pub(crate) mod config;
pub mod data;
#[cfg(any(feature = "cli", feature = "build"))]
mod diagnostic;
#[cfg(any(feature = "cli", feature = "build"))]
pub(crate) mod model;

#[cfg(any(feature = "cli", feature = "build"))]
pub(crate) use diagnostic::Diagnostic;

use crate::error::{Error, Fault, Result, Site};
use std::path::Path;

/// Wraps an IO error with the file it happened on.
pub(crate) fn io_error(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    Error::new(Fault::Environment, Site::File(path.display().to_string()), format!("{doing}: {error}"))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| io_error(path, "cannot be read", &e))
}

/// Writes one file: first whole beside its place, then renamed into it.
#[cfg(any(feature = "cli", feature = "build"))]
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e: &std::io::Error| io_error(path, "cannot be written", e);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    file.write_all(bytes).and_then(|()| file.flush()).map_err(|e| failed(&e))?;
    file.as_file().sync_all().map_err(|e| failed(&e))?;
    set_default_mode(file.path());
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}

/// Temporary files are private by default; results should be as readable as any other file.
#[cfg(all(unix, any(feature = "cli", feature = "build")))]
fn set_default_mode(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644));
}

#[cfg(all(not(unix), any(feature = "cli", feature = "build")))]
fn set_default_mode(_path: &Path) {}
