//! What emitted C needs on the target: bytes of code and of stack, from its own compiler.
//!
//! Law: the stack bound is never low. GCC's call graph is summed along its deepest path; where
//! the compiler writes none, the largest frames are added up.

use super::languages::c;
use super::{Elf, Model, Optimize, tools};
use crate::kernel::{Kernel, Stmt};
use crate::program::Program;
use crate::report::NotMeasured;
use secateur_targets::Target;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How many seconds measuring may take; 0 leaves it out.
const PATIENCE: &str = "SECATEUR_MEASURE_SECONDS";
const SECONDS: u64 = 120;

fn patience() -> Option<Duration> {
    let given = std::env::var(PATIENCE).ok().and_then(|v| v.parse().ok());
    Some(given.unwrap_or(SECONDS)).filter(|&s| s > 0).map(Duration::from_secs)
}

/// What functions outside of the emitted code may use: `memcpy`, `memset` and the compiler's
/// own arithmetic (64-bit products, software floats).
const LIBRARY: usize = 96;

/// Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Machine code, with the read-only data that is not the model's constants.
    pub code: usize,
    /// Bound of the stack below the caller of `run`; where there is none, why.
    pub stack: std::result::Result<usize, NotMeasured>,
    /// The compiler's file name.
    pub compiler: String,
}

/// How one source is compiled, the most telling way first.
struct Way {
    /// What makes the compiler tell of stack; `None`: it tells nothing.
    tells: Option<&'static str>,
    /// Without a C library: its own headers alone.
    freestanding: bool,
}

/// The ways of a compiler. GCC before release 10 writes no call graph, others may write not even
/// frames; and a GCC for a bare processor may stand there without a C library.
fn ways(gcc: bool, host: bool) -> Vec<Way> {
    let mut tells = vec![Some("-fstack-usage"), None];
    if gcc {
        tells.insert(0, Some("-fcallgraph-info=su"));
    }
    let way = |freestanding: bool| move |tells: &Option<&'static str>| Way { tells: *tells, freestanding };
    let hosted = tells.iter().map(way(false));
    if host { hosted.collect() } else { hosted.chain(tells.iter().map(way(true))).collect() }
}

/// Compiles the emitted C for the target and measures it. Whatever is wrong with the compiler is
/// a reason, never an error: what was emitted is good without it.
pub fn measure(model: &Model, target: &Target) -> std::result::Result<Measured, NotMeasured> {
    let fail = |e: crate::error::Error| NotMeasured { why: e.message, said: String::new() };
    let compiler = c::compiler(target).map_err(fail)?;
    let name = compiler.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = tools::folder().map_err(fail)?;
    let sources = c::write_sources(model, folder.path(), target.is_host()).map_err(fail)?;
    let mut ways = ways(compiler.gcc, target.is_host());
    let until = Instant::now()
        + patience().ok_or_else(|| NotMeasured { why: format!("{PATIENCE} is 0"), said: String::new() })?;
    let (mut text, mut data) = (0, 0);
    let mut graph = Graph::default();
    for (i, source) in sources.iter().enumerate() {
        let object = folder.path().join(format!("{i}.o"));
        let is_c = source.extension().is_some_and(|e| e == "c");
        let mut said = None;
        // A way that failed once is not tried again.
        while let Some(way) = ways.first() {
            let mut command = Command::new(&compiler.program);
            let flags = compiler.flags.iter().filter(|f| !way.freestanding || !f.starts_with("--specs="));
            command.args(flags).args(c::EXACT).arg(c::level(Optimize::Speed)).arg("-DNDEBUG");
            if !target.is_host() {
                command.args(c::FIRMWARE);
            }
            if way.freestanding {
                command.arg("-ffreestanding");
            }
            command.arg("-I").arg(folder.path());
            if is_c {
                command.args(way.tells);
            }
            command.arg("-c").arg(source).arg("-o").arg(&object);
            match tools::attempt(&mut command, until).and_then(|()| sizes(&object)) {
                Ok((code, rest)) => {
                    text += code;
                    data += rest;
                    if is_c {
                        graph.read(&object);
                    }
                    said = None;
                    break;
                }
                Err(tools::Failed::TookTooLong) => {
                    let why = format!("`{name}` was stopped after {PATIENCE} seconds");
                    return Err(NotMeasured { why, said: String::new() });
                }
                Err(tools::Failed::Said(words)) => {
                    // What the plainest way says is to the point.
                    said = Some(words);
                    ways.remove(0);
                }
            }
        }
        if let Some(said) = said {
            return Err(NotMeasured {
                why: format!("`{name}` does not compile for {}", target.core.name),
                said,
            });
        }
    }
    let constants: usize = model.program.constants.iter().map(|c| c.bytes.len()).sum();
    let stack = graph.deepest(&format!("{}_run", model.program.name), model.program);
    Ok(Measured {
        code: text + data.saturating_sub(constants),
        stack: stack.ok_or_else(|| NotMeasured {
            why: format!("`{name}` does not tell how much stack functions use"),
            said: String::new(),
        }),
        compiler: name,
    })
}

/// Bytes of code and of read-only data in an object.
fn sizes(object: &Path) -> std::result::Result<(usize, usize), tools::Failed> {
    let bytes = std::fs::read(object).map_err(|_| tools::Failed::Said("it wrote no object file".into()))?;
    let elf = Elf::read(&bytes).map_err(|e| tools::Failed::Said(e.message))?;
    Ok(elf.flash())
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

    /// `None` where the compiler did not tell of the entry's frame.
    fn deepest(&self, entry: &str, program: &Program) -> Option<usize> {
        let native = program.entries.iter().flat_map(|e| &e.steps).map(|s| native_stack(&s.kernel));
        let outside = LIBRARY.max(native.max().unwrap_or(0));
        // Static functions carry their file's name in front.
        let named = |n: &str| n == entry || n.ends_with(&format!(":{entry}"));
        let start = self.frames.keys().find(|n| named(n))?;
        Some(match self.calls.is_empty() {
            false => self.below(start, outside, &mut Vec::new()),
            true => {
                let mut frames: Vec<usize> = self.frames.values().copied().collect();
                frames.sort_unstable_by(|a, b| b.cmp(a));
                let depth = program.entries.iter().flat_map(|e| &e.steps).map(|s| depth(&s.kernel)).max();
                // `run`, the kernels, a helper of theirs and one of its own.
                frames.iter().take(depth.unwrap_or(0) + 3).sum::<usize>() + outside
            }
        })
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
