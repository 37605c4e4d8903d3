//! What emitted C needs on the target: bytes of code and of stack, from its own compiler.
//!
//! Law: the stack bound is never low. GCC's call graph is summed along its deepest path; where
//! the compiler writes none, the largest frames are added up.

use super::languages::c;
use super::{Elf, Model, Optimize, tools};
use crate::error::Result;
use crate::kernel::{Kernel, Stmt};
use crate::program::Program;
use secateur_targets::Target;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What functions outside of the emitted code may use: `memcpy`, `memset` and the compiler's
/// own arithmetic (64-bit products, software floats).
const LIBRARY: usize = 96;

/// Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Machine code, with the read-only data that is not the model's constants.
    pub code: usize,
    /// Bound of the stack below the caller of `run`.
    pub stack: usize,
    /// The compiler's file name.
    pub compiler: String,
}

/// Compiles the emitted C for the target and measures it. An error of the environment says that
/// there is no compiler.
pub fn measure(model: &Model, target: &Target) -> Result<Measured> {
    let compiler = c::compiler(target)?;
    let folder = tempfile::tempdir().map_err(|e| tools::environment(e.to_string()))?;
    let sources = c::write_sources(model, folder.path(), &compiler, target.is_host())?;
    let (mut text, mut data) = (0, 0);
    let mut graph = Graph::default();
    for (i, source) in sources.iter().enumerate() {
        let object = folder.path().join(format!("{i}.o"));
        let mut command = Command::new(&compiler.program);
        command.args(&compiler.flags).args(c::EXACT).arg(c::level(Optimize::Speed));
        if !target.is_host() {
            command.args(c::FIRMWARE);
        }
        command.arg("-I").arg(folder.path());
        let is_c = source.extension().is_some_and(|e| e == "c");
        if is_c {
            command.arg(if compiler.gcc { "-fcallgraph-info=su" } else { "-fstack-usage" });
        }
        tools::run(command.arg("-c").arg(source).arg("-o").arg(&object))?;
        let bytes = std::fs::read(&object).map_err(|e| tools::environment(e.to_string()))?;
        let (code, rest) = Elf::read(&bytes)?.flash();
        text += code;
        data += rest;
        if is_c {
            graph.read(&object);
        }
    }
    let constants: usize = model.program.constants.iter().map(|c| c.bytes.len()).sum();
    Ok(Measured {
        code: text + data.saturating_sub(constants),
        stack: graph.deepest(&format!("{}_run", model.program.name), model.program),
        compiler: compiler.program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    })
}

/// Frames of functions, and who calls whom.
#[derive(Debug, Default)]
struct Graph {
    frames: BTreeMap<String, usize>,
    /// Empty where the compiler wrote none.
    calls: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Reads what stands beside an object: GCC's `.ci` (VCG text) or `.su` (a line a function).
    fn read(&mut self, object: &Path) {
        if let Ok(text) = std::fs::read_to_string(object.with_extension("ci")) {
            for line in text.lines() {
                let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
                if line.starts_with("node:")
                    && let [title, label, ..] = quoted[..]
                    && let Some(bytes) = label.split("\\n").find_map(|l| l.split_once(" bytes"))
                {
                    self.frames.insert(title.into(), bytes.0.trim().parse().unwrap_or(0));
                } else if line.starts_with("edge:")
                    && let [from, to, ..] = quoted[..]
                {
                    self.calls.entry(from.into()).or_default().push(to.into());
                }
            }
        } else if let Ok(text) = std::fs::read_to_string(object.with_extension("su")) {
            for line in text.lines() {
                let mut columns = line.split('\t');
                if let (Some(place), Some(bytes)) = (columns.next(), columns.next()) {
                    let name = place.rsplit(':').next().unwrap_or(place);
                    self.frames.insert(name.into(), bytes.parse().unwrap_or(0));
                }
            }
        }
    }

    fn deepest(&self, entry: &str, program: &Program) -> usize {
        let native = program.entries.iter().flat_map(|e| &e.steps).map(|s| native_stack(&s.kernel));
        let outside = LIBRARY.max(native.max().unwrap_or(0));
        // Static functions carry their file's name in front.
        let named = |n: &str| n == entry || n.ends_with(&format!(":{entry}"));
        match self.frames.keys().find(|n| named(n)) {
            Some(start) if !self.calls.is_empty() => self.below(start, outside, &mut Vec::new()),
            _ => {
                let mut frames: Vec<usize> = self.frames.values().copied().collect();
                frames.sort_unstable_by(|a, b| b.cmp(a));
                let depth = program.entries.iter().flat_map(|e| &e.steps).map(|s| depth(&s.kernel)).max();
                // `run`, the kernels, a helper of theirs and one of its own.
                frames.iter().take(depth.unwrap_or(0) + 3).sum::<usize>() + outside
            }
        }
    }

    /// Emitted code has no recursion; a cycle would be cut where it closes.
    fn below<'a>(&'a self, name: &'a str, outside: usize, path: &mut Vec<&'a str>) -> usize {
        let Some(frame) = self.frames.get(name) else { return outside };
        if path.contains(&name) {
            return 0;
        }
        path.push(name);
        let called = self.calls.get(name).into_iter().flatten();
        let deepest = called.map(|c| self.below(c, outside, path)).max().unwrap_or(0);
        path.pop();
        frame + deepest
    }
}

fn inner(stmts: &[Stmt], visit: &mut dyn FnMut(&Kernel)) {
    for stmt in stmts {
        match stmt {
            Stmt::For { body, .. } => inner(body, visit),
            Stmt::If { then, els, .. } => {
                inner(then, visit);
                inner(els, visit);
            }
            Stmt::Call { kernel, .. } => visit(kernel),
            Stmt::Let { .. } | Stmt::Var { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {}
        }
    }
}

/// Kernels that may stand on the stack at once.
fn depth(kernel: &Kernel) -> usize {
    let mut deepest = 0;
    inner(&kernel.body, &mut |k| deepest = deepest.max(depth(k)));
    deepest + 1
}

/// Stack of the hungriest native implementation of a kernel or of one that it calls.
fn native_stack(kernel: &Kernel) -> usize {
    let mut most = kernel.native.iter().map(|n| n.stack as usize).max().unwrap_or(0);
    inner(&kernel.body, &mut |k| most = most.max(native_stack(k)));
    most
}
