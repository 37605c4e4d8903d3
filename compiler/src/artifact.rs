//! `compile`: the one entry that every front calls, and what it returns.

use crate::graph::Graph;
use crate::program::Program;
use crate::report::Report;
use crate::schedule::Schedule;

/// Hears progress, and may stop the work between steps.
pub trait Observer {
    /// Stage `name` stands at `done` of `total` (0 of 0 when it cannot be counted).
    fn progress(&mut self, _name: &str, _done: usize, _total: usize) {}
    /// Asked between steps; `true` ends the compilation with `Fault::Cancelled`.
    fn cancelled(&mut self) -> bool {
        false
    }
}

/// An observer that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;
impl Observer for Silent {}

/// A file to write, relative to the output folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// Everything that a compilation gives.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The model as imported: its float meaning.
    pub imported: Graph,
    /// The graph after passes and quantization.
    pub graph: Graph,
    pub schedule: Schedule,
    pub program: Program,
    pub files: Vec<File>,
    /// Text forms asked for by `Options::dump_after`: stage name, text.
    pub dumps: Vec<(String, String)>,
    pub report: Report,
    /// SHA-256 of model, options, target and calibration, as hexadecimal text.
    pub digest: String,
}
