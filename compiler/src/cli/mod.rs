//! The command line: one subcommand, one file; toolchains and emulators.

use std::process::ExitCode;

/// Entry of the `secateur` binary.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
