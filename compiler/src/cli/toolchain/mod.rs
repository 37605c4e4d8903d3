//! Builds emitted code and runs it: on the host, or on the target's emulated board.
//!
//! In: emitted files, their [`Program`], a [`Target`], inputs as the ports hold them. Out: what
//! the outputs hold. Law: the harness adds nothing to a model's arithmetic; many samples go
//! through one process or one boot.

mod elf;
mod glue;
mod image;
#[cfg(test)]
mod instructions;
mod languages;
mod measure;
mod process;
pub mod protocol;
pub(crate) mod tools;

pub use elf::Elf;
pub use image::{Image, Replies};
pub use measure::{Measured, measure};

use crate::artifact::Artifact;
use crate::emit::File;
use crate::error::Result;
use crate::observe::Observer;
use crate::options::Language;
use crate::program::Program;
use crate::tensor::Tensor;
use secateur_targets::Target;

/// A model as a harness takes it: its ports and its emitted files.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    pub program: &'a Program,
    pub files: &'a [File],
}

impl<'a> From<&'a Artifact> for Model<'a> {
    fn from(artifact: &'a Artifact) -> Self {
        Model { program: &artifact.program, files: &artifact.files }
    }
}

/// How a harness is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Optimize {
    #[default]
    Speed,
    Size,
    /// Quick to build; Rust checks every view and every addition.
    Debug,
}

/// Builds a harness around models: a process for the host, firmware for a chip or core.
pub fn build(language: Language, models: &[Model], target: &Target, optimize: Optimize) -> Result<Image> {
    match language {
        Language::C => languages::c::build(models, target, optimize),
        Language::Rust => languages::rust::build(models, target, optimize),
    }
}

/// The variables of the environment by which Cargo builds for a target on this machine, as
/// `cargo build --target TRIPLE`: of a toolchain that has the target installed, else of one with sources, whose `core`
/// is built here once.
///
/// Errors: no Rust of this machine can build for the target.
pub fn cargo_environment(target: &Target) -> Result<Vec<(String, String)>> {
    languages::rust::cargo_environment(target)
}

fn run_one(
    language: Language,
    artifact: &Artifact,
    target: &Target,
    sequences: &[&[Vec<Tensor>]],
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<Tensor>>> {
    observer.progress("build", 0, 0);
    let image = build(language, &[artifact.into()], target, Optimize::Speed)?;
    let mut outputs = Vec::new();
    for inputs in sequences {
        outputs.extend(image.run(0, inputs, observer)?.outputs);
    }
    Ok(outputs)
}

fn host() -> Result<Target> {
    secateur_targets::find("host").map_err(|e| tools::environment(e.to_string()))
}

/// The emitted C as a process of the host for each sequence: `[sample][output]`, as the ports hold them.
pub fn run_c(
    artifact: &Artifact,
    sequences: &[&[Vec<Tensor>]],
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<Tensor>>> {
    run_one(Language::C, artifact, &host()?, sequences, observer)
}

/// The emitted Rust as a process of the host.
pub fn run_rust(
    artifact: &Artifact,
    sequences: &[&[Vec<Tensor>]],
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<Tensor>>> {
    run_one(Language::Rust, artifact, &host()?, sequences, observer)
}

/// The emitted C on the target's emulated core.
pub fn emulate_c(
    artifact: &Artifact,
    target: &Target,
    sequences: &[&[Vec<Tensor>]],
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<Tensor>>> {
    run_one(Language::C, artifact, emulated(target)?, sequences, observer)
}

/// The emitted Rust on the target's emulated core.
pub fn emulate_rust(
    artifact: &Artifact,
    target: &Target,
    sequences: &[&[Vec<Tensor>]],
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<Tensor>>> {
    run_one(Language::Rust, artifact, emulated(target)?, sequences, observer)
}

fn emulated(target: &Target) -> Result<&Target> {
    if target.core.emulator.is_some() {
        return Ok(target);
    }
    Err(crate::error::Error::option(
        "engine",
        format!("no emulator is known for the core of target `{}`", target.name),
    )
    .help("name a chip with `--target`, for example `--target nrf52840`; `secateur targets` lists them"))
}
