//! Helpers of the test suites: where models and data are, and how to skip without them.

pub mod onnx;

use std::path::PathBuf;

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
