//! Random graphs over all supported operators, each computed by everything that can compute it:
//! what must hold stands in `graphs/check.rs`.
//!
//! `fuzz-graphs [--seed N] [--graphs N] [--samples N] [--rust N] [--no-shrink]`. Graph `i` has the
//! seed N + i, so `--seed S --graphs 1` is graph S again. Emitted C is built for all graphs, Rust
//! for one in `--rust` (0: none). Without onnxruntime (`target/venv`, or `SECATEUR_PYTHON`) its part
//! is skipped, and that is said. A failing graph is made smaller and written with its samples to
//! `target/fuzz-graphs/SEED`; the exit code is 1 then.

use secateur_compiler::options::Language;
use secateur_compiler::{npy, ops};
use secateur_tests::graphs::check::{self, Check, Compiled, Finding, Tally};
use secateur_tests::graphs::witness::Witness;
use secateur_tests::graphs::{Case, generate, shrink};
use secateur_tests::repository;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: fuzz-graphs [--seed N] [--graphs N] [--samples N] [--rust N] [--no-shrink]";
/// Graphs whose code is built in one go.
const BATCH: usize = 20;
/// Smaller cases that are tried for one finding.
const TRIALS: usize = 400;
/// Findings that are made smaller; later ones are only named.
const SHRUNK: usize = 8;

struct Settings {
    seed: u64,
    graphs: u64,
    samples: usize,
    rust: usize,
    shrink: bool,
}

fn settings() -> Option<Settings> {
    let mut settings = Settings { seed: 1, graphs: 100, samples: 100, rust: 25, shrink: true };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        if flag == "--no-shrink" {
            settings.shrink = false;
            continue;
        }
        let value = args.next()?;
        match flag.as_str() {
            "--seed" => settings.seed = value.parse().ok()?,
            "--graphs" => settings.graphs = value.parse().ok()?,
            "--samples" => settings.samples = value.parse().ok().filter(|&n| n > 0)?,
            "--rust" => settings.rust = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(settings)
}

/// All findings so far, and what makes them.
struct Run {
    settings: Settings,
    witness: Option<Witness>,
    tally: Tally,
    findings: Vec<(u64, Finding)>,
    operators: BTreeMap<&'static str, usize>,
}

impl Run {
    /// A case once more, as far as the kind of a finding needs it.
    fn again(&mut self, case: &Case, seed: u64, kind: Check) -> Option<Finding> {
        let witness = self.witness.as_mut();
        match check::examine(case, seed, witness, &mut Tally::default()) {
            Err(found) => Some(found),
            Ok(compiled) if kind == Check::Engines => {
                let builds = [Language::C, Language::Rust].into_iter();
                let mut found = builds.flat_map(|language| check::builds(&[&compiled], language));
                found.next().map(|(_, found)| found)
            }
            Ok(_) => None,
        }
    }

    fn report(&mut self, seed: u64, finding: Finding) {
        println!("seed {seed}: {:?}: {}", finding.check, finding.text);
        self.findings.push((seed, finding.clone()));
        if !self.settings.shrink || self.findings.len() > SHRUNK {
            return;
        }
        // A panic of a smaller case is caught like this one; its text need not be shown.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let case = generate::case(seed, self.settings.samples);
        let kind = finding.check;
        // Refusals are many: only the same one counts, names aside.
        let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let told = (kind == Check::Refused || kind == Check::Panics).then(|| plain(&finding.text));
        let small = shrink::shrink(&case, TRIALS, &mut |case| {
            let found = self.again(case, seed, kind);
            found.is_some_and(|f| f.check == kind && told.as_ref().is_none_or(|t| plain(&f.text) == *t))
        });
        let last = self.again(&small, seed, kind).map_or(finding.text, |f| f.text);
        std::panic::set_hook(hook);
        match write(seed, &case, &small, &last) {
            Ok(folder) => {
                let nodes: Vec<&str> = small.nodes.iter().map(|n| n.op).collect();
                println!("  made smaller: {nodes:?}: {last}");
                println!("  kept in {}", folder.display());
            }
            Err(e) => println!("  could not be kept: {e}"),
        }
    }

    fn finish(&self, started: Instant) -> ExitCode {
        let t = &self.tally;
        let Settings { seed, graphs, .. } = self.settings;
        println!(
            "{graphs} graphs from seed {seed} in {:.0} s: {} operators, {} int8 outputs",
            started.elapsed().as_secs_f32(),
            self.operators.len(),
            t.outputs
        );
        for reason in check::REASONS {
            println!("  below 20 dB, for {reason}: {}", t.reasons.get(reason).unwrap_or(&0));
        }
        match &self.witness {
            None => println!("  onnxruntime: skipped"),
            Some(w) => {
                println!("  {} ran {} graphs", w.name, t.witnessed);
                println!(
                    "  its quantizer made {} models: {} layers compared, {} without a counterpart",
                    t.quantized, t.layers, t.apart
                );
                t.refused.iter().for_each(|(why, n)| println!("  it refused {n}: {why}"));
            }
        }
        let missing: Vec<_> = ops::Op::names().filter(|n| !self.operators.contains_key(n)).collect();
        println!("  operators without a graph: {missing:?}");
        if self.findings.is_empty() {
            println!("no finding");
            return ExitCode::SUCCESS;
        }
        let seeds: Vec<u64> = self.findings.iter().map(|(seed, _)| *seed).collect();
        println!("{} findings, seeds {seeds:?}", seeds.len());
        ExitCode::FAILURE
    }
}

/// Writes a case before and after it was made smaller, and the samples of the small one (the first
/// axis of each array counts them).
fn write(seed: u64, whole: &Case, case: &Case, text: &str) -> std::io::Result<PathBuf> {
    let folder = repository().join("target/fuzz-graphs").join(seed.to_string());
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("whole.onnx"), whole.bytes())?;
    std::fs::write(folder.join("model.onnx"), case.bytes())?;
    for (name, array) in &case.arrays().arrays {
        std::fs::write(folder.join(format!("{name}.npy")), npy::write(array))?;
    }
    std::fs::write(folder.join("finding.txt"), format!("{text}\n"))?;
    Ok(folder)
}

fn main() -> ExitCode {
    let Some(settings) = settings() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let mut run = Run {
        witness: Witness::start(),
        settings,
        tally: Tally::default(),
        findings: Vec::new(),
        operators: BTreeMap::new(),
    };
    let mut batch: Vec<Compiled> = Vec::new();
    for i in 0..run.settings.graphs {
        let seed = run.settings.seed + i;
        let case = generate::case(seed, run.settings.samples);
        for node in &case.nodes {
            *run.operators.entry(node.op).or_insert(0) += 1;
        }
        match check::examine(&case, seed, run.witness.as_mut(), &mut run.tally) {
            Ok(compiled) => batch.push(compiled),
            Err(finding) => run.report(seed, finding),
        }
        if batch.len() < BATCH && i + 1 < run.settings.graphs {
            continue;
        }
        let all: Vec<&Compiled> = batch.iter().collect();
        let mut found = check::builds(&all, Language::C);
        let every = run.settings.rust as u64;
        let some: Vec<&Compiled> = batch
            .iter()
            .filter(|c| every > 0 && (c.seed - run.settings.seed).is_multiple_of(every))
            .collect();
        if !some.is_empty() {
            found.extend(check::builds(&some, Language::Rust));
        }
        batch.clear();
        for (seed, finding) in found {
            run.report(seed, finding);
        }
        eprintln!("{} of {} graphs, {} findings", i + 1, run.settings.graphs, run.findings.len());
    }
    run.finish(started)
}
