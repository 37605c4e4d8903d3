//! The command line: one subcommand, one file; toolchains and emulators.
//!
//! Law: exit code 0 on success, 1 on a refused input, 2 on wrong usage, 130 after SIGINT, 143 after
//! SIGTERM; results go to standard output, progress and errors to standard error.

mod args;
mod bench;
mod compare;
mod compile;
mod config;
mod demo;
mod disk;
pub mod engine;
mod eval;
mod fit;
mod folder;
mod inspect;
mod labels;
mod metric;
mod new;
mod operators;
mod output;
mod progress;
mod run;
mod sensitivity;
mod signals;
mod table;
mod targets;
pub mod toolchain;

pub use crate::files::data;

use crate::error::{Fault, Result};
use crate::files::{Diagnostic, model};
use crate::warning::Warning;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compiles trained ONNX models into small, fast C and Rust for microcontrollers.
#[derive(Debug, Parser)]
#[command(name = "secateur", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a model and write its C or Rust.
    Compile(compile::Args),
    /// Write a firmware project around a model, which builds and runs as it stands.
    New(new::Args),
    /// Run a model on samples and write its outputs.
    Run(run::Args),
    /// Measure a model on labelled data, beside its float meaning.
    Eval(eval::Args),
    /// Show where float and integer results part, layer by layer.
    Compare(compare::Args),
    /// Show what zeros in each layer cost the model's outputs, one layer pruned at a time.
    Sensitivity(sensitivity::Args),
    /// Find zeros, patterns and bits for each layer, so that the model keeps budgets and loses least.
    Fit(fit::Args),
    /// Count one inference on the target's emulated core: cycles, sizes, layer by layer.
    Bench(bench::Args),
    /// Show layers, shapes, parameters, and what is not supported.
    Inspect(inspect::Args),
    /// List the operators that are supported, in floats and in int8, with their limits.
    Operators(operators::Args),
    /// List chips and cores, or show one.
    Targets(targets::Args),
    /// Compile, run and check a bundled wearable model.
    Demo(demo::Args),
}

/// Entry of the `secateur` binary.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    signals::listen();
    let done = match cli.command {
        Command::Compile(args) => compile::main(&args),
        Command::New(args) => new::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Eval(args) => eval::main(&args),
        Command::Compare(args) => compare::main(&args),
        Command::Sensitivity(args) => sensitivity::main(&args),
        Command::Fit(args) => fit::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Inspect(args) => inspect::main(&args),
        Command::Operators(args) => operators::main(&args),
        Command::Targets(args) => targets::main(&args),
        Command::Demo(args) => demo::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(signal) = signals::received() {
                // Whatever failed, failed because of it.
                eprintln!("secateur: {}", signals::cancelled().message);
                return ExitCode::from(128 + signal);
            }
            let code = if error.fault == Fault::Option { 2 } else { 1 };
            eprintln!("{:?}", miette::Report::new(Diagnostic(error)));
            ExitCode::from(code)
        }
    }
}

/// Prints warnings to standard error; progress must have ended.
fn warn(warnings: &[Warning]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Prints a JSON value to standard output.
fn print_json(value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value prints");
    output::print(&format!("{text}\n"))
}
