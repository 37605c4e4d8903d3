//! Gives the compiler a fingerprint of its own sources: code that was kept by one compiler is not taken for another's.
//! Packages of a registry never change, so there versions are enough; in a checkout the text of every crate that
//! decides the output counts.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

/// Folders and files, relative to this package; those of other crates are there in a checkout alone.
const SOURCES: [&str; 7] =
    ["src", "Cargo.toml", "../ir/src", "../kernels/src", "../runtime/src", "../targets", "../Cargo.lock"];

fn main() {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = BTreeSet::new();
    for source in SOURCES {
        let path = package.join(source);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
            gather(&path, &mut files);
        }
    }
    let mut hash = std::collections::hash_map::DefaultHasher::new();
    for file in files {
        // A file that cannot be read fails the build itself.
        let bytes = std::fs::read(&file).unwrap_or_default();
        let name = file.strip_prefix(&package).unwrap_or(&file).display().to_string();
        for part in [name.as_bytes(), &bytes] {
            hash.write_usize(part.len());
            hash.write(part);
        }
    }
    println!("cargo:rustc-env=SECATEUR_SOURCES={:016x}", hash.finish());
}

fn gather(path: &Path, files: &mut BTreeSet<PathBuf>) {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|entry| gather(&entry.path(), files)),
        Err(_) => {
            files.insert(path.to_owned());
        }
    }
}
