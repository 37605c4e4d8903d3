//! The command line: one subcommand, one file; toolchains and emulators.

pub mod toolchain;

use std::process::ExitCode;

/// Entry of the `secateur` binary.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}

// The subcommands stand beside this file and are wired in once the rooms below them are there:
// args, compare, compile, data, demo, engine (who computes; calls `toolchain`), eval, inspect,
// metric, output, progress, run, table, targets.
