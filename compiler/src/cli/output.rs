//! Writing results: to standard output, and files that appear whole or not at all.

use crate::error::{Error, Fault, Result, Site};
use std::io::Write;
use std::path::Path;

/// Wraps an IO error with the file it happened on.
pub(crate) fn io_error(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    Error::new(Fault::Environment, Site::File(path.display().to_string()), format!("{doing}: {error}"))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| io_error(path, "cannot be read", &e))
}

/// Prints to standard output; a closed pipe (`| head`) is not an error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(io_error(Path::new("standard output"), "cannot be written", &e))
        }
        _ => Ok(()),
    }
}

/// Writes one file: first whole beside its place, then renamed into it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
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
#[cfg(unix)]
fn set_default_mode(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644));
}

#[cfg(not(unix))]
fn set_default_mode(_path: &Path) {}
