//! House rules as tests: file headers, stable Rust only, no words of a single machine, sizes.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// Files of the repository with one of the endings, sorted.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            endings.iter().any(|e| name.ends_with(e))
        })
        .filter_map(|p| Some((p.clone(), std::fs::read_to_string(p).ok()?)))
        .collect()
}

#[test]
fn rust_files_say_what_they_are() {
    let bare: Vec<_> = files(&[".rs"])
        .into_iter()
        .filter(|(path, text)| {
            let fixture = path.components().any(|c| c.as_os_str() == "ui");
            !fixture && !text.starts_with("//!")
        })
        .map(|(path, _)| path)
        .collect();
    assert!(bare.is_empty(), "these files do not open with `//!`: {bare:#?}");
}

#[test]
fn only_stable_rust() {
    let needle = concat!("#![", "feature");
    let found: Vec<_> =
        files(&[".rs"]).into_iter().filter(|(_, text)| text.contains(needle)).map(|(p, _)| p).collect();
    assert!(found.is_empty(), "nightly features in {found:#?}");
}

#[test]
fn unsafe_stands_only_in_the_runtime() {
    let forbids = |path: &str| {
        let text = std::fs::read_to_string(root().join(path)).expect("the crate root is there");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{path} allows unsafe code");
    };
    ["compiler/src/lib.rs", "macros/src/lib.rs", "targets/src/lib.rs"].into_iter().for_each(forbids);
}

#[test]
fn the_library_does_no_io() {
    // Everything below compiler/src but the command line and tests.
    let needles =
        ["std::fs::", "std::env::", "println!(", "eprintln!(", "std::process::", "HashMap", "HashSet"];
    let mut wrong = Vec::new();
    for (path, text) in files(&[".rs"]) {
        let text_of_tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        let shown = path.display().to_string();
        if !shown.contains("compiler/src/")
            || shown.contains("/cli/")
            || shown.ends_with("main.rs")
            || shown.ends_with("/tests.rs")
        {
            continue;
        }
        for needle in needles {
            if text[..text_of_tests].contains(needle) {
                wrong.push(format!("{shown}: {needle}"));
            }
        }
    }
    assert!(wrong.is_empty(), "IO, environment or hash order in the library: {wrong:#?}");
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let needles = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/venv"),
        concat!("help", "er session"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in files(&[".rs", ".toml", ".md", ".py", ".c", ".h", ".S", "run", "setup", ".sh", ".ld"])
    {
        for needle in needles {
            if text.contains(needle) {
                wrong.push(format!("{}: {needle}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "words of one machine: {wrong:#?}");
}

#[test]
fn source_files_stay_readable() {
    // Not a target: above this, look for the seam.
    const LINES: usize = 700;
    let long: Vec<_> = files(&[".rs"])
        .into_iter()
        .map(|(p, t)| (p, t.lines().count()))
        .filter(|(p, n)| *n > LINES && !p.display().to_string().contains("/tests"))
        .collect();
    assert!(long.is_empty(), "files over {LINES} lines: {long:#?}");
}

#[test]
fn the_readme_lists_the_operators_that_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README is there");
    let begin = readme.find("<!-- operators").expect("the list has a beginning");
    let end = readme.find("<!-- end -->").expect("the list has an end");
    let mut listed: Vec<&str> = readme[begin..end].split('`').skip(1).step_by(2).collect();
    // Ours: made by passes, not read from a file.
    let own = ["Dense", "Requantize"];
    let mut known: Vec<&str> =
        secateur_compiler::ops::Op::NAMES.iter().copied().filter(|n| !own.contains(n)).collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
}
