//! `fit` on several machines: one folder with what all share, and a file for each plan.
//!
//! In: what `fit` was asked. Out: a folder `inputs-HASH` with model, samples, labels and options, and `jobs/HASH.json`,
//! each of which any machine may run by itself and in any order; what comes of it lies in `trials` as if `fit` had run
//! it. Law: names are hashes of contents, and what does not have its name is refused; a job that was lost is missing,
//! never wrong.

use super::trial::{self, Bench};
use super::{Asked, Search};
use crate::error::{Error, Fault, Result, Site};
use crate::fit::Plan;
use crate::npy;
use crate::options::{self, ChipName, Place, Raw, Settings, Untyped};
use crate::tensor::{Samples, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::super::args::ModelArgs;
use super::super::{data, output};

/// Folder of the jobs, in that of the plan.
const FOLDER: &str = "jobs";

/// Files of the inputs that all jobs share, in the order in which they are hashed.
const FILES: [&str; 6] =
    ["model.onnx", "samples.npz", "labels.npy", "secateur.toml", "target.toml", "asked.json"];

/// A job's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    /// Folder of the inputs, beside `jobs`.
    inputs: String,
    plan: Plan,
}

/// A hash of the files of a folder.
fn hash(folder: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in FILES {
        let path = folder.join(name);
        let bytes = if path.exists() { output::read(&path)? } else { Vec::new() };
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect())
}

/// The samples with the axes of their inputs, so that a file can hold them.
fn shaped(search: &Search) -> Result<Samples> {
    let mut samples = search.job.calibration.clone().unwrap_or_default();
    let graph = crate::onnx::import_with(&search.job.model, &search.job.options)?;
    for &input in graph.inputs() {
        let value = &graph[input];
        let key = if samples.flat.contains(&value.name) { &value.name } else { "" };
        if samples.flat.contains(key)
            && let Some(array) = samples.arrays.get_mut(key)
        {
            let count = array.shape().first().copied().unwrap_or(0);
            let shape: Vec<usize> = std::iter::once(count).chain(value.shape.iter().copied()).collect();
            *array = array.reshaped(&shape)?;
        }
    }
    Ok(samples)
}

/// Options that name the files of the inputs.
fn options_of(search: &Search, chip: bool) -> Result<String> {
    let mut own = Settings::default();
    let mut set = |option: &str, word: &str| {
        let raw = Raw { place: Place::Flag, value: Untyped::Word(word.to_owned()) };
        own.set(option, option, &raw).map_err(|e| Error::internal(Site::Option(option.to_owned()), e.message))
    };
    set("calibrate", "samples.npz")?;
    set("name", &search.job.options.name)?;
    if chip {
        set("target", "target.toml")?;
    }
    own.over(search.settings.clone());
    own.labels_column = None;
    Ok(options::print(&own, "What all jobs share."))
}

/// Writes the inputs, and what is asked; gives their folder.
fn write_inputs(search: &Search, folder: &Path) -> Result<PathBuf> {
    let failed = |e: &std::io::Error| output::io_error(folder, "cannot be made", e);
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    let made = tempfile::tempdir_in(folder).map_err(|e| failed(&e))?;
    let at = |name: &str| made.path().join(name);
    output::write(&at("model.onnx"), &search.job.model)?;
    data::write_npz(&at("samples.npz"), &shaped(search)?.arrays)?;
    if let Some(labels) = &search.labels {
        output::write(&at("labels.npy"), &npy::write(labels))?;
    }
    let chip = match search.settings.target.as_ref().map(|given| &given.value) {
        Some(ChipName::File(file)) => Some(output::read(Path::new(&file.0))?),
        _ => None,
    };
    if let Some(text) = &chip {
        output::write(&at("target.toml"), text)?;
    }
    output::write(&at("secateur.toml"), options_of(search, chip.is_some())?.as_bytes())?;
    let asked = serde_json::to_string_pretty(&search.asked);
    let asked = asked.map_err(|e| Error::internal(Site::Whole, e.to_string()))?;
    output::write(&at("asked.json"), asked.as_bytes())?;
    let named = folder.join(format!("inputs-{}", hash(made.path())?));
    if !named.exists() {
        let made = made.keep();
        std::fs::rename(&made, &named).map_err(|e| failed(&e))?;
    }
    Ok(named)
}

/// Reads the inputs again.
///
/// Errors: files that are not those that the folder was named by.
fn read_inputs(folder: &Path) -> Result<Search> {
    let refused = |why: &str| {
        Error::new(Fault::Environment, Site::File(folder.display().to_string()), why)
            .help("make the jobs again with `secateur fit --plan`")
    };
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if name != format!("inputs-{}", hash(folder)?) {
        return Err(refused("does not hold what it was named by: it is damaged, or of another run"));
    }
    let asked = output::read(&folder.join("asked.json"))?;
    let asked: Asked = serde_json::from_slice(&asked).map_err(|_| refused("does not say what was asked"))?;
    let labels: Option<Tensor> = match folder.join("labels.npy") {
        path if path.exists() => Some(npy::read(&output::read(&path)?)?),
        _ => None,
    };
    Search::new(&ModelArgs::of(folder.join("model.onnx")), asked, labels)
}

/// Writes the plans that `fit` would try first as jobs; those that were tried have none.
pub(super) fn plan(search: &Search, folder: &Path) -> Result<String> {
    let inputs = write_inputs(search, folder)?;
    let shared = read_inputs(&inputs)?;
    let bench = Bench::new(&shared)?;
    let (_, plans) = shared.first(&bench, folder)?;
    std::fs::create_dir_all(folder.join(FOLDER))
        .map_err(|e| output::io_error(folder, "cannot be made", &e))?;
    let name = inputs.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut written = Vec::new();
    for plan in plans {
        let key = bench.key_of(&plan);
        if trial::file(folder, &key).exists() {
            continue;
        }
        let path = folder.join(FOLDER).join(format!("{}.json", &key[..16]));
        trial::save(&path, &key, &Job { inputs: name.clone(), plan })?;
        written.push(path);
    }
    let mut text: String = written.iter().map(|path| format!("{}\n", path.display())).collect();
    text += &format!(
        "{} jobs: `secateur fit --job FILE` runs one, on any machine that has this folder; `secateur fit --collect {}` ends it\n",
        written.len(),
        folder.display()
    );
    Ok(text)
}

/// Runs one job; what comes of it lies in the folder's trials.
///
/// Errors: a file that is no job, damaged, or of another compiler or other inputs.
pub(super) fn run(file: &Path) -> Result<String> {
    let refused = |why: &str| {
        Error::new(Fault::Environment, Site::File(file.display().to_string()), why)
            .help("jobs are made by `secateur fit --plan`, and run by the same version")
    };
    let job: Job = trial::read(file).ok_or_else(|| refused("is no job, or is damaged"))?;
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder =
        whole.parent().and_then(Path::parent).ok_or_else(|| refused("stands in no folder of a plan"))?;
    if !job.inputs.starts_with("inputs-") || job.inputs.contains(['/', '\\']) {
        return Err(refused("names no inputs"));
    }
    let shared = read_inputs(&folder.join(&job.inputs))?;
    let bench = Bench::new(&shared)?;
    let key = bench.key_of(&job.plan);
    if whole.file_stem().is_none_or(|stem| stem.to_string_lossy() != key[..16]) {
        return Err(refused("is of another compiler, or its name was changed"));
    }
    std::fs::create_dir_all(folder.join(trial::FOLDER))
        .map_err(|e| output::io_error(folder, "cannot be made", &e))?;
    bench.run(std::slice::from_ref(&job.plan), &[], (Some(1), folder))?;
    Ok(format!("{}\n", trial::file(folder, &key).display()))
}

/// What was planned in a folder.
pub(super) fn planned(folder: &Path) -> Result<Search> {
    let refused = |why: &str| {
        Error::new(Fault::Environment, Site::File(folder.display().to_string()), why)
            .help("`secateur fit MODEL ... --plan DIR` makes such a folder")
    };
    let entries = std::fs::read_dir(folder).map_err(|e| output::io_error(folder, "cannot be read", &e))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    found.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("inputs-")));
    match found.as_slice() {
        [only] => read_inputs(only),
        [] => Err(refused("holds no plan")),
        _ => Err(refused("holds the inputs of several plans: keep one folder a plan")),
    }
}
