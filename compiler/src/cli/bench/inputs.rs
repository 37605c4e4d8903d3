//! `bench --inputs N`: whether every input takes the same instructions.
//!
//! In: a compiled model. Out: how many instructions an inference executes, for N inputs that run
//! one after the other in one process of the emulator. Law: the code is that of `compile`; marks
//! are only in a second build, which names the layers at fault.

use super::counter;
use crate::artifact::Artifact;
use crate::cli::args::Job;
use crate::cli::table::count;
use crate::cli::toolchain;
use crate::error::{Error, Fault, Result, Site};
use crate::observe::Observer;
use crate::options::Language;
use crate::program::Port;
use crate::program::machine::Machine;
use crate::tensor::{DType, Data, Tensor};
use serde_json::{Value, json};

/// Inputs whose results are compared with the evaluator's.
const COMPARED: usize = 8;
/// Inputs that are looked at layer by layer, where counts differ.
const LOOKED_AT: usize = 40;

/// Counts of one language.
pub(super) struct Counts {
    language: Language,
    inputs: usize,
    least: u64,
    most: u64,
    /// Layers whose counts differ: index, least, most.
    layers: Vec<(usize, u64, u64)>,
}

/// Counts each of `inputs` inferences.
pub(super) fn run(
    artifact: &Artifact,
    job: &Job,
    language: Language,
    inputs: usize,
    observer: &mut dyn Observer,
) -> Result<Counts> {
    let program = &artifact.program;
    let all = samples(&program.inputs, inputs);
    observer.progress("build", 0, 0);
    let mut counted = |files: &[crate::emit::File], samples: &[Vec<Tensor>], mark: &str| {
        let model = toolchain::Model { program, files };
        let image = toolchain::build(language, &[model], &job.target, toolchain::Optimize::Speed)?;
        observer.progress("count", 0, 0);
        counter::count_all(&image, samples, mark)
    };
    // Each run opens a stretch of its own.
    let (replies, profile) = counted(&artifact.emit(&[language])?, &all, "run_begins")?;
    let mut machine = Machine::new(program)?;
    for (i, input) in all.iter().take(COMPARED).enumerate() {
        if replies.outputs.get(i) != Some(&machine.run(input)?) {
            return Err(Error::new(
                Fault::Internal,
                Site::Whole,
                format!("the emitted {language:?} on the emulator differs from the evaluator on input {i}"),
            ));
        }
    }
    let each: Vec<u64> = profile.stretches.iter().skip(1).map(|s| s.instructions).collect();
    let (Some(&least), Some(&most), true) = (each.iter().min(), each.iter().max(), each.len() == inputs)
    else {
        return Err(Error::internal(Site::Whole, format!("{} of {inputs} runs were counted", each.len())));
    };
    let mut layers = Vec::new();
    if least != most {
        let low = each.iter().position(|&n| n == least).unwrap_or(0);
        let high = each.iter().position(|&n| n == most).unwrap_or(0);
        // What stands behind the last mark of a run and before the first of the next is the same
        // for all runs but the last.
        let few: Vec<Vec<Tensor>> = [low, high]
            .into_iter()
            .chain(0..LOOKED_AT.min(inputs))
            .chain([0])
            .map(|i| all[i].clone())
            .collect();
        let (_, profile) = counted(&artifact.emit_marked(language)?, &few, "secateur_layer")?;
        let marks = super::marks(program);
        if profile.stretches.len() != few.len() * marks.len() + 1 {
            return Err(Error::internal(Site::Whole, "the marks of layers were not all passed"));
        }
        for (m, &layer) in marks.iter().enumerate() {
            let seen =
                (0..few.len() - 1).map(|run| profile.stretches[1 + run * marks.len() + m].instructions);
            let (a, b) = (seen.clone().min().unwrap_or(0), seen.max().unwrap_or(0));
            if a != b {
                layers.push((layer, a, b));
            }
        }
    }
    Ok(Counts { language, inputs, least, most, layers })
}

impl Counts {
    pub(super) fn json(&self, artifact: &Artifact) -> Value {
        json!({
            "language": self.language,
            "inputs": self.inputs,
            "instructions_least": self.least,
            "instructions_most": self.most,
            "layers": self.layers.iter().map(|&(i, _, _)| &artifact.program.layers[i].name).collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let each = match self.least == self.most {
            true => format!("{} instructions each", count(self.least)),
            false => format!("{} to {} instructions", count(self.least), count(self.most)),
        };
        format!("{:?}: {} inputs, {each}\n", self.language, count(self.inputs as u64))
    }

    /// An error where counts differ in layers of which the report does not say so.
    pub(super) fn refuse(&self, artifact: &Artifact) -> Option<Error> {
        let known = |i: usize| artifact.report.layers[i].data_dependent.is_some();
        let unknown: Vec<&(usize, u64, u64)> = self.layers.iter().filter(|l| !known(l.0)).collect();
        if self.least == self.most || (unknown.is_empty() && !self.layers.is_empty()) {
            return None;
        }
        let layer = |&&(i, a, b): &&(usize, u64, u64)| {
            let l = &artifact.program.layers[i];
            format!("`{}` ({}, {}) {} to {}", l.name, l.op, l.family, count(a), count(b))
        };
        let named: Vec<String> = unknown.iter().map(layer).collect();
        Some(Error::new(
            Fault::Internal,
            Site::Whole,
            format!(
                "{:?}: the instructions of an inference depend on the input, from {} to {}: {}",
                self.language,
                count(self.least),
                count(self.most),
                named.join(", ")
            ),
        ))
    }
}

/// Extreme inputs first, then random ones of several kinds.
fn samples(ports: &[Port], count: usize) -> Vec<Vec<Tensor>> {
    let mut state = 1;
    (0..count).map(|i| ports.iter().map(|p| sample(p, i, &mut state)).collect()).collect()
}

fn sample(port: &Port, kind: usize, state: &mut u64) -> Tensor {
    let (Some((_, zero)), DType::I8 | DType::U8) = (port.affine, port.elem) else {
        return super::random(port, state);
    };
    let (lo, hi): (i64, i64) = if port.elem == DType::I8 { (-128, 127) } else { (0, 255) };
    let span = (hi - lo + 1) as u64;
    let len = port.len();
    let spike = super::next(state) as usize % len.max(1);
    let value = |i: usize, state: &mut u64| -> i64 {
        let r = super::next(state);
        let near = |width: u64| (i64::from(zero) + (r % (2 * width + 1)) as i64 - width as i64).clamp(lo, hi);
        match kind {
            0 => lo,
            1 => hi,
            2 => zero.into(),
            3 => {
                if i.is_multiple_of(2) {
                    lo
                } else {
                    hi
                }
            }
            4 => lo + (i as u64 % span) as i64,
            5 => {
                if i == spike {
                    hi
                } else {
                    lo
                }
            }
            6 => {
                if i == spike {
                    lo
                } else {
                    hi
                }
            }
            7 => {
                if i < len / 2 {
                    lo
                } else {
                    hi
                }
            }
            _ => match kind % 5 {
                0 => near(2),
                1 => near(20),
                2 => {
                    if r.is_multiple_of(16) {
                        hi
                    } else {
                        zero.into()
                    }
                }
                3 => {
                    if r & 1 == 0 {
                        lo
                    } else {
                        hi
                    }
                }
                _ => lo + (r % span) as i64,
            },
        }
    };
    let values: Vec<i64> = (0..len).map(|i| value(i, state)).collect();
    Tensor::new(port.shape.clone(), Data::from_i64(port.elem, &values))
        .unwrap_or_else(|_| Tensor::zeros(port.elem, &port.shape))
}
