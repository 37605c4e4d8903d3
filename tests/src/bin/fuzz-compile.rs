//! Mutates small valid models and feeds them to the whole compiler: import, quantization,
//! schedule, lowering, proof, emission. Whatever the bytes, an artifact or an error must come
//! back, within 20 seconds of processor time for each MiB of model (20 at least) and 1 GiB of
//! memory.
//!
//! `fuzz-compile [--iterations N] [--seconds N] [--seed N] [--first N] [--keep FOLDER]
//! [--replay FILE]`.
//!
//! Before the first case it shows that it would find something: children that panic, loop, or
//! take too much memory on purpose.
//!
//! Cases run in child processes under limits of the system, many in each; a child that dies is
//! replaced. A case that panics, dies, reports a defect of our own, is refused without a reason
//! or breaks a limit is reduced and written to `FOLDER` (the one for temporary files, unless
//! told), and the exit code is 1. Case number N of a seed is the same wherever it runs.

use secateur_compiler::artifact::compile;
use secateur_compiler::error::{Error, Fault};
use secateur_compiler::options::{Language, Optimize, Quantize};
use secateur_compiler::tensor::{Data, Samples};
use secateur_compiler::{Options, Result, Silent, Tensor, onnx, targets};
use secateur_tests::mutate::{self, Random};
use secateur_tests::{seeds, tools};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Processor time for each MiB of model begun.
const CPU_SECONDS: u64 = 20;
const MEMORY: u64 = 1 << 30;
/// Cases of one child; a new one starts with clean memory.
const BATCH: u64 = 200;
/// Trials of a reduction.
const REDUCTIONS: usize = 300;

const TARGETS: [&str; 7] =
    ["host", "nrf52840", "rp2040", "cortex-m3", "cortex-m55", "rp2350-riscv", "cortex-m7"];

/// Two samples of a wave for every input; `None` for a model whose float inference takes long.
fn calibration(bytes: &[u8]) -> Result<Option<Samples>> {
    let graph = onnx::import(bytes, &BTreeMap::new())?;
    if graph.values().map(|(_, v)| v.len()).sum::<usize>() > 1 << 16 {
        return Ok(None);
    }
    let mut samples = Samples::default();
    for &id in graph.inputs() {
        let mut shape = vec![2];
        let port = &graph[id].shape;
        // The model's own batch axis of one is replaced by that of the samples.
        shape.extend(if port.first() == Some(&1) { &port[1..] } else { port });
        let len = shape.iter().product::<usize>();
        let wave: Vec<i64> = (0..len as i64).map(|i| i * 37 % 41 - 20).collect();
        let data = Data::from_i64(graph[id].dtype, &wave);
        samples.arrays.insert(graph[id].name.clone(), Tensor::new(shape, data)?);
    }
    Ok(Some(samples))
}

/// Compiles as float and as int8, for a target and a level that `choice` names.
fn compile_both(bytes: &[u8], choice: u64) -> Result<()> {
    let name = TARGETS[(choice % TARGETS.len() as u64) as usize];
    let target = targets::find(name)
        .map_err(|e| Error::internal(secateur_compiler::error::Site::Whole, e.to_string()))?;
    let int8 = Options {
        name: "fuzz".into(),
        optimize: [Optimize::Balanced, Optimize::Speed, Optimize::Size][(choice / 7 % 3) as usize],
        emit: vec![Language::C, Language::Rust],
        ..Options::default()
    };
    let float = Options { quantize: Quantize::None, ..int8.clone() };
    compile(bytes, &target, None, &float, &mut Silent)?;
    match calibration(bytes)? {
        Some(samples) => compile(bytes, &target, Some(&samples), &int8, &mut Silent).map(drop),
        None => Ok(()),
    }
}

/// What is wrong with how the compiler took these bytes, if anything; `Ok` says if it compiled.
fn trial(bytes: &[u8], choice: u64) -> Result<bool, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| compile_both(bytes, choice))) {
        Err(_) => Err("panics".into()),
        Ok(Err(e)) if e.fault == Fault::Internal => Err(format!("meets a defect of ours: {e}")),
        Ok(Err(e)) if e.message.is_empty() => Err("is refused without a reason".into()),
        Ok(result) => Ok(result.is_ok()),
    }
}

/// The bytes of a case: a seed with some changes, by nothing but its number.
fn case(seeds: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    // The first numbers of neighbouring states are alike.
    for _ in 0..8 {
        random.number();
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let other = &seeds[random.below(seeds.len())];
        match random.below(16) {
            0 => mutate::bytes(&mut bytes, other, &mut random),
            1..=6 => mutate::fields(&mut bytes, other, &mut random),
            _ => mutate::graph(&mut bytes, other, &mut random),
        }
    }
    bytes
}

#[cfg(unix)]
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.unsigned_abs(), t.tv_nsec.unsigned_abs() as u32)
}

/// Limits what the rest of this process may take: memory in all, processor time for one case.
#[cfg(unix)]
fn limit(bytes: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let set = |resource, most| {
        let maximum = getrlimit(resource).maximum;
        setrlimit(resource, Rlimit { current: Some(most), maximum }).expect("a limit can be lowered");
    };
    set(Resource::As, MEMORY);
    // A dump of a gigabyte helps nobody.
    set(Resource::Core, 0);
    let mib = (bytes as u64).div_ceil(1 << 20).max(1);
    set(Resource::Cpu, cpu_time().as_secs() + 1 + CPU_SECONDS * mib);
}

#[cfg(not(unix))]
fn limit(_bytes: usize) {}
#[cfg(not(unix))]
fn cpu_time() -> Duration {
    Duration::ZERO
}

/// Small models, and one as people train them.
fn all_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = seeds::all().iter().map(|(_, model)| model.bytes()).collect();
    seeds.push(include_bytes!("../../../compiler/models/watch_cnn1d/model.onnx").to_vec());
    seeds
}

/// Does on purpose what a case must not do, under the limits of a case.
fn misbehave(how: &str) -> Option<String> {
    limit(0);
    match how {
        "panics" => panic!("on purpose"),
        "loops" => {
            #[cfg(unix)]
            {
                use rustix::process::{Resource, getrlimit, setrlimit};
                let mut limit = getrlimit(Resource::Cpu);
                limit.current = Some(1);
                setrlimit(Resource::Cpu, limit).expect("a limit can be lowered");
            }
            let mut n = 1u64;
            while n != 0 {
                n = std::hint::black_box(n | 1);
            }
            None
        }
        "swells" => {
            let bytes = std::hint::black_box(vec![1u8; 2 * MEMORY as usize]);
            (bytes.len() < 2).then(String::new)
        }
        _ => None,
    }
}

/// Whether each misdeed is seen for what it is.
fn sees_misdeeds() -> bool {
    let expected = [
        ("panics", "on purpose"),
        ("loops", "takes too much processor time"),
        ("swells", "takes too much memory"),
    ];
    expected.iter().all(|(how, what)| {
        let mut child = tools::built(&std::env::current_exe().expect("this program has a path"));
        let output = child.args(["--misbehave", how]).output().expect("this program starts");
        let said = judge(output.status, &String::from_utf8_lossy(&output.stderr)).unwrap_or_default();
        let seen = said.contains(what);
        if !seen {
            eprintln!("a child that {how} on purpose passes for: {said}");
        }
        seen
    })
}

/// A child: cases from one number up to another, a line before and after each.
fn work(seed: u64, from: u64, to: u64) {
    let seeds = all_seeds();
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| {
        // Without the parent there is nobody to work for.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    };
    for number in from..to {
        say(format!("begin {number}"));
        let bytes = case(&seeds, seed, number);
        limit(bytes.len());
        let before = cpu_time();
        let answer = trial(&bytes, number);
        let took = (cpu_time() - before).as_millis();
        match answer {
            Ok(compiled) => say(format!("end {} {took}", u8::from(compiled))),
            Err(why) => say(format!("bad {}", why.replace('\n', " "))),
        }
    }
}

/// How a process that was to do one file ended: what is wrong, if anything.
fn judge(status: std::process::ExitStatus, said: &str) -> Option<String> {
    if status.success() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(24) => return Some("takes too much processor time".into()),
            Some(6) if said.contains("memory allocation") => return Some("takes too much memory".into()),
            Some(n) => return Some(format!("ends the process with signal {n}")),
            None => {}
        }
    }
    Some(said.lines().last().unwrap_or("fails").to_owned())
}

/// Tries one file in a child of its own.
fn replay(file: &Path, choice: u64) -> Option<String> {
    let mut child = tools::built(&std::env::current_exe().expect("this program has a path"));
    child.arg("--try").arg(file).arg(choice.to_string());
    let output = child.output().expect("this program starts");
    judge(output.status, &String::from_utf8_lossy(&output.stderr))
}

/// The kind of a finding: what must stay while a case is made smaller.
fn kind(why: &str) -> String {
    why.split(|c: char| c == '`' || c == ':' || c.is_ascii_digit()).next().unwrap_or(why).to_owned()
}

/// Leaves out what can be left out, from large parts to small ones.
fn reduce(mut bytes: Vec<u8>, why: &str, choice: u64, scratch: &Path) -> Vec<u8> {
    let (mut n, mut trials) = (0, 0);
    while trials < REDUCTIONS && n < mutate::parts(&bytes) {
        if let Some(less) = mutate::without(&bytes, n) {
            trials += 1;
            std::fs::write(scratch, &less).expect("the folder for findings can be written");
            if replay(scratch, choice).is_some_and(|w| kind(&w) == kind(why)) {
                bytes = less;
                continue;
            }
        }
        n += 1;
    }
    bytes
}

struct Settings {
    iterations: u64,
    seconds: u64,
    seed: u64,
    first: u64,
    keep: PathBuf,
}

/// What one child brought.
struct Batch {
    done: u64,
    compiled: u64,
    slowest: (u64, u64),
    finding: Option<(u64, String)>,
}

/// Runs a child over cases; ends early with a finding or when the time is over.
fn batch(seed: u64, from: u64, to: u64, until: Instant) -> Batch {
    let mut command = tools::built(&std::env::current_exe().expect("this program has a path"));
    command.args(["--work", &seed.to_string(), &from.to_string(), &to.to_string()]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("this program starts");
    let mut errors = child.stderr.take().expect("it was asked for");
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::copy(&mut errors, &mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let mut result = Batch { done: 0, compiled: 0, slowest: (0, from), finding: None };
    let mut current = from;
    let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    for line in lines.map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("begin", number)) => current = number.parse().unwrap_or(current),
            Some(("end", rest)) => {
                let (compiled, took) = rest.split_once(' ').unwrap_or(("0", "0"));
                result.done += 1;
                result.compiled += u64::from(compiled == "1");
                result.slowest = result.slowest.max((took.parse().unwrap_or(0), current));
            }
            Some(("bad", why)) => result.finding = Some((current, why.to_owned())),
            _ => {}
        }
        if result.finding.is_some() || Instant::now() > until {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            break;
        }
    }
    let stopped = result.finding.is_some() || Instant::now() > until;
    let status = child.wait().expect("a child can be waited for");
    let said = errors.join().ok().and_then(|r| r.ok()).unwrap_or_default();
    if !stopped && let Some(why) = judge(status, &said) {
        result.finding = Some((current, why));
    }
    result
}

fn fuzz(settings: &Settings) -> ExitCode {
    let until = Instant::now() + Duration::from_secs(settings.seconds);
    let end = settings.first.saturating_add(settings.iterations);
    let (mut next, mut done, mut compiled, mut findings) = (settings.first, 0, 0, 0);
    let mut slowest = (0, 0);
    let mut kinds = Vec::new();
    while next < end && Instant::now() < until && findings < 10 {
        let batch = batch(settings.seed, next, (next + BATCH).min(end), until);
        done += batch.done;
        compiled += batch.compiled;
        slowest = slowest.max(batch.slowest);
        let Some((number, why)) = batch.finding else {
            next += BATCH;
            continue;
        };
        next = number + 1;
        done += 1;
        findings += 1;
        eprintln!("case {number} of seed {} {why}", settings.seed);
        if kinds.contains(&kind(&why)) {
            continue;
        }
        kinds.push(kind(&why));
        let name =
            |what: &str| settings.keep.join(format!("fuzz-compile-{}-{number}{what}.onnx", settings.seed));
        let bytes = case(&all_seeds(), settings.seed, number);
        let small = reduce(bytes.clone(), &why, number, &name("-trial"));
        // The scratch file is not there if nothing was tried.
        let _ = std::fs::remove_file(name("-trial"));
        for (path, bytes) in [(name(""), &bytes), (name("-small"), &small)] {
            match std::fs::write(&path, bytes) {
                Ok(()) => eprintln!("kept as {} ({} bytes)", path.display(), bytes.len()),
                Err(e) => eprintln!("{} could not be written: {e}", path.display()),
            }
        }
    }
    println!(
        "{done} cases of seed {}, {compiled} compiled, {findings} findings; the slowest, case {}, took {} ms",
        settings.seed, slowest.1, slowest.0
    );
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: fuzz-compile [--iterations N] [--seconds N] [--seed N] [--first N] [--keep FOLDER] [--replay FILE]"
    );
    ExitCode::from(2)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match &args[..] {
        [how, seed, from, to] if how == "--work" => {
            if let (Some(seed), Some(from), Some(to)) = (number(seed), number(from), number(to)) {
                work(seed, from, to);
            }
            return ExitCode::SUCCESS;
        }
        [how, what] if how == "--misbehave" => {
            std::panic::set_hook(Box::new(|info| eprintln!("{}", info.to_string().replace('\n', " "))));
            return if misbehave(what).is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
        [how, file, choice] if how == "--try" => {
            let bytes = std::fs::read(file).expect("a readable file");
            limit(bytes.len());
            return match trial(&bytes, number(choice).unwrap_or(0)) {
                Ok(_) => ExitCode::SUCCESS,
                Err(why) => {
                    eprintln!("{}", why.replace('\n', " "));
                    ExitCode::FAILURE
                }
            };
        }
        _ => {}
    }
    let mut settings =
        Settings { iterations: 2000, seconds: 1 << 30, seed: 1, first: 0, keep: std::env::temp_dir() };
    for pair in args.chunks(2) {
        let [flag, value] = pair else { return usage() };
        let parsed = number(value);
        match (flag.as_str(), parsed) {
            ("--iterations", Some(n)) => settings.iterations = n,
            ("--seconds", Some(n)) => settings.seconds = n.min(1 << 30),
            ("--seed", Some(n)) => settings.seed = n,
            ("--first", Some(n)) => settings.first = n,
            ("--keep", _) => settings.keep = value.into(),
            ("--replay", _) => {
                // Every target and level: the file does not say for which it was kept.
                let bad = (0..21).find_map(|c| Some((c, replay(Path::new(value), c)?)));
                return match bad {
                    None => ExitCode::SUCCESS,
                    Some((choice, why)) => {
                        eprintln!("{value} {why} (choice {choice})");
                        ExitCode::FAILURE
                    }
                };
            }
            _ => return usage(),
        }
    }
    if cfg!(unix) && !sees_misdeeds() {
        return ExitCode::FAILURE;
    }
    fuzz(&settings)
}
