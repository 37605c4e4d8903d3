//! Helpers of the test suites: where models and data are, and how to skip without them.

pub mod drawn;
pub mod engines;
pub mod graphs;
pub mod host;
pub mod mutate;
pub mod objects;
pub mod onnx;
pub mod seeds;
pub mod single;
pub mod tools;

use secateur_compiler::graph::Graph;
use secateur_compiler::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of models and data that the suites measure with: `SECATEUR_ZOO`, else
/// `../shared/zoo` beside the repository. `None` where neither is there; a suite then says that
/// it is skipped.
pub fn zoo() -> Option<PathBuf> {
    let root = match std::env::var_os("SECATEUR_ZOO") {
        Some(path) => PathBuf::from(path),
        None => repository().parent()?.join("shared/zoo"),
    };
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: no models at {} (set SECATEUR_ZOO)", root.display());
    None
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("tests lie in the repository")
}

/// All `.onnx` files of the zoo with their path inside it, sorted.
pub fn zoo_models() -> Vec<(String, PathBuf)> {
    let Some(root) = zoo() else { return Vec::new() };
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the zoo").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "onnx") {
                let name = path.strip_prefix(&root).expect("inside the zoo").display().to_string();
                found.push((name, path));
            }
        }
    }
    found.sort();
    found
}

/// Whether the long form of the tests is asked for: `SECATEUR_FULL=1`.
pub fn full() -> bool {
    std::env::var_os("SECATEUR_FULL").is_some_and(|v| v == "1")
}

/// Reads a `.npy` array; a broken zoo fails the test.
pub fn npy(path: &Path) -> Tensor {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    secateur_compiler::npy::read(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Imports a model with no dimension named.
pub fn import(path: &Path) -> Graph {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    secateur_compiler::onnx::import(&bytes, &BTreeMap::new())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Cuts an array of samples into the inputs of a model with one input.
pub fn samples(array: Tensor, graph: &Graph, limit: Option<usize>) -> Vec<Vec<Tensor>> {
    let mut samples = secateur_compiler::tensor::Samples::default();
    samples.arrays.insert(String::new(), array);
    secateur_compiler::samples::split(&samples, graph, limit).unwrap_or_else(|e| panic!("{e}"))
}

/// The largest difference of two rows over the largest magnitude of the second: how far float
/// results are from their reference.
pub fn relative_error(a: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(a.len(), reference.len());
    let scale = reference.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let error = a.iter().zip(reference).fold(0.0f32, |m, (a, b)| {
        // `max` would lose a NaN, and with it the failure.
        if (a - b).is_nan() { f32::INFINITY } else { m.max((a - b).abs()) }
    });
    if error == 0.0 { 0.0 } else { error / scale }
}
