//! Printing results to standard output.

pub(crate) use crate::files::{io_error, read, write};

use crate::error::Result;
use std::io::Write;
use std::path::Path;

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
