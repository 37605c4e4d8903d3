//! Mutates small valid models and feeds them to the importer, the passes and the whole
//! compiler: whatever the bytes, they must come back with an artifact or an error, in
//! reasonable time.
//!
//! `fuzz-import [--seconds N | --iterations N] [--seed N] [--replay FILE]`. A case that panics,
//! reports a defect of our own or takes longer than thirty seconds is written to
//! `fuzz-import.onnx` in the folder for temporary files, and the exit code is 1. The same seed
//! gives the same cases.

use secateur_compiler::artifact::compile;
use secateur_compiler::error::Fault;
use secateur_compiler::options::Quantize;
use secateur_compiler::tensor::{Data, Samples};
use secateur_compiler::{Options, Result, Silent, Tensor, onnx, targets};
use secateur_tests::mutate::{self, Random};
use secateur_tests::seeds;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Far more than any case needs, also on a busy machine.
const SLOW: Duration = Duration::from_secs(30);

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

/// What is wrong with how the compiler took these bytes, if anything.
fn trial(bytes: &[u8], target: &targets::Target, accepted: &mut u64) -> Option<String> {
    let started = Instant::now();
    let float = Options { name: "fuzz".into(), quantize: Quantize::None, ..Options::default() };
    let int8 = Options { name: "fuzz".into(), ..Options::default() };
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
        compile(bytes, target, None, &float, &mut Silent)?;
        match calibration(bytes)? {
            Some(samples) => compile(bytes, target, Some(&samples), &int8, &mut Silent).map(|_| ()),
            None => Ok(()),
        }
    }));
    let took = started.elapsed();
    match caught {
        Err(_) => Some("panics".into()),
        Ok(Err(e)) if e.fault == Fault::Internal => Some(format!("meets a defect of ours: {e}")),
        Ok(Err(e)) if e.message.is_empty() => Some("is refused without a reason".into()),
        Ok(result) => {
            *accepted += u64::from(result.is_ok());
            (took > SLOW).then(|| format!("takes {took:?}"))
        }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seconds, mut iterations, mut seed, mut replay) = (None, None, 1u64, None);
    while let Some(flag) = args.next() {
        let value = args.next().unwrap_or_default();
        match flag.as_str() {
            "--seconds" => seconds = value.parse::<u64>().ok(),
            "--iterations" => iterations = value.parse::<u64>().ok(),
            "--seed" => seed = value.parse().unwrap_or(1),
            "--replay" => replay = Some(value),
            _ => {
                eprintln!("usage: fuzz-import [--seconds N | --iterations N] [--seed N] [--replay FILE]");
                return ExitCode::from(2);
            }
        }
    }
    let target = targets::find("host").expect("the target `host` exists");
    let mut accepted = 0;
    if let Some(path) = replay {
        let bytes = std::fs::read(&path).expect("a readable file");
        return match trial(&bytes, &target, &mut accepted) {
            None => ExitCode::SUCCESS,
            Some(why) => {
                eprintln!("{path} {why}");
                ExitCode::FAILURE
            }
        };
    }
    let seeds: Vec<Vec<u8>> = seeds::all().iter().map(|(_, model)| model.bytes()).collect();
    let mut random = Random::new(seed);
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(u64::from(u32::MAX)));
    let limit = iterations.unwrap_or(if seconds.is_some() { u64::MAX } else { 10_000 });
    let mut done = 0;
    while done < limit && Instant::now() < until {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        for _ in 0..=random.below(6) {
            match random.below(8) {
                0 => mutate::bytes(&mut bytes, other, &mut random),
                _ => mutate::fields(&mut bytes, other, &mut random),
            }
        }
        done += 1;
        if let Some(why) = trial(&bytes, &target, &mut accepted) {
            let path = std::env::temp_dir().join("fuzz-import.onnx");
            let kept = std::fs::write(&path, &bytes);
            eprintln!("case {done} of seed {seed} {why}");
            match kept {
                Ok(()) => eprintln!("kept as {}", path.display()),
                Err(e) => eprintln!("could not be kept: {e}"),
            }
            return ExitCode::FAILURE;
        }
    }
    println!("{done} cases, {accepted} of them compiled, none panicked");
    ExitCode::SUCCESS
}
