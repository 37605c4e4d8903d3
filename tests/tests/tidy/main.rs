//! House rules as tests. Each rule is a function over a file's path and text, and is shown a file
//! that breaks it before it is trusted with the repository.

mod calls;
mod files;
mod rooms;
mod rules;

use files::File;
use secateur_tests::tools;
use std::collections::BTreeSet;

/// Fails with all that a rule finds in the files.
fn hold(files: &[File], rule: impl Fn(&File) -> Vec<String>) {
    let wrong: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A rule finds something in each of these texts, put at `path`.
fn planted(rule: impl Fn(&File) -> Vec<String>, path: &str, texts: &[&str]) {
    for text in texts {
        assert!(!rule(&File::new(path, text)).is_empty(), "the rule does not see `{text}` in {path}");
    }
}

#[test]
fn rust_files_say_what_they_are() {
    planted(rules::header, "tests/src/x.rs", &["fn main() {}", "// A comment.", ""]);
    hold(&files::rust(), rules::header);
}

#[test]
fn only_stable_rust() {
    let texts = [
        "#![feature(f16)]",
        "#![ feature (f16)]",
        "//! X.\n#![cfg_attr(target_os = \"none\", feature(f16))]",
    ];
    planted(rules::stable, "compiler/src/lib.rs", &texts);
    hold(&files::rust(), rules::stable);
}

#[test]
fn unsafe_stands_only_in_the_runtime() {
    assert!(!rules::forbids_unsafe(&File::new("lib.rs", "//! #![forbid(unsafe_code)]\nfn f() {}")));
    assert!(rules::forbids_unsafe(&File::new("lib.rs", "#![forbid(unsafe_code)]")));
    let roots = [
        "compiler/src/lib.rs",
        "compiler/src/main.rs",
        "ir/src/lib.rs",
        "kernels/src/lib.rs",
        "macros/src/lib.rs",
        "targets/src/lib.rs",
    ];
    let files = files::rust();
    for root in roots {
        let file = files.iter().find(|f| f.path == root).expect("the crate root is there");
        assert!(rules::forbids_unsafe(file), "{root} allows unsafe code");
    }
}

#[test]
fn only_the_policy_knows_what_is_optimized_for() {
    let texts = ["use crate::options::Optimize;", "fn f() -> bool { want.optimize == Optimize::Speed }"];
    planted(rooms::aims, "kernels/src/mve/engine.rs", &texts);
    hold(&files::rust(), rooms::aims);
}

#[test]
fn the_library_does_no_io() {
    let texts = [
        "fn f() { std::fs::read(\"x\"); }",
        "use std::fs;",
        "use std::{fmt, fs::File};",
        "use std::env as surroundings;",
        "use std as s;",
        "use std::*;",
        "fn f() -> ::std::process::Command { todo!() }",
        "type Map = std::collections::HashMap<u8, u8>;",
        "use std::collections::{BTreeMap, HashSet as Set};",
        "mod tests { use std::fs; }",
    ];
    planted(rules::no_io, "compiler/src/onnx/x.rs", &texts);
    let threads = "fn f() { std::thread::scope(|s| ()); }";
    planted(rules::no_io, "compiler/src/onnx/x.rs", &[threads]);
    planted(rules::no_io, "compiler/src/parallel.rs", &texts);
    assert!(rules::no_io(&File::new("compiler/src/parallel.rs", threads)).is_empty());
    let test = File::new("compiler/src/onnx/x.rs", "#[cfg(test)] mod tests { use std::fs; }");
    assert!(rules::no_io(&test).is_empty());
    let files = files::rust();
    assert!(files.iter().filter(|f| rules::is_library(&f.path)).count() > 100);
    hold(&files, rules::no_io);
}

/// Clippy resolves what no path shows. The crate root denies the lists of clippy.toml; a crate that
/// breaks them one by one is refused for each.
#[test]
fn clippy_refuses_io_in_the_library() {
    const DENIED: &str =
        "#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]";
    let root = secateur_tests::repository();
    for library in rules::LIBRARIES {
        let text = std::fs::read_to_string(root.join(library).join("lib.rs")).unwrap();
        assert!(text.lines().any(|l| l == DENIED), "{library}lib.rs does not deny clippy.toml's lists");
    }

    let planted = [
        "pub fn a() { println!(\"a\"); }",
        "pub fn b() { eprint!(\"b\"); }",
        "pub fn c(p: &std::path::Path) -> bool { p.exists() }",
        "pub fn d(p: &std::path::Path) -> bool { p.is_file() }",
        "use std as s; pub type E = s::collections::HashMap<u8, u8>;",
        "pub fn f() { let _ = std::env::var(\"F\"); }",
        "pub fn g() { let _ = std::io::stdin(); }",
        "pub fn h() -> u8 { dbg!(1) }",
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    let manifest = "[package]\nname = \"planted\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("src/lib.rs"), format!("{DENIED}\n{}\n", planted.join("\n"))).unwrap();
    let out = tools::command("cargo")
        .args(["clippy", "--offline", "--quiet", "--message-format=short"])
        .current_dir(folder.path())
        .env("CLIPPY_CONF_DIR", &root)
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&out.stderr);
    for (i, text) in planted.iter().enumerate() {
        let at = format!("src/lib.rs:{}:", i + 2);
        assert!(
            said.lines().any(|l| l.starts_with(&at) && l.contains("disallowed")),
            "`{text}` passes:\n{said}"
        );
    }
}

#[test]
fn arrows_between_rooms_never_turn_back() {
    let texts = [
        "use crate::lower::Cx;",
        "use crate::{error::Result, schedule::Choice};",
        "use super::super::graph::Quant;",
        "fn f(cx: &crate::lower::Cx) {}",
        "fn f() { assert!(crate::report::overflow(1)); }",
        "use crate::Options;",
    ];
    planted(rooms::order, "kernels/src/x.rs", &texts[..2]);
    planted(rooms::order, "kernels/src/x.rs", &texts[2..]);
    planted(rooms::order, "compiler/src/attic/x.rs", &["fn f() {}"]);
    let below =
        "use crate::kernel::Expr; use super::problem::Rows; #[cfg(test)] mod tests { use crate::lower::Cx; }";
    assert!(rooms::order(&File::new("kernels/src/x.rs", below)).is_empty());
    hold(&files::rust(), rooms::order);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let text = concat!("see /wo", "rk/main");
    planted(rules::words, "tests/fresh", &[text]);
    planted(rules::words, "Cargo.lock", &[text]);
    hold(&files::all(), rules::words);
}

#[test]
fn source_files_stay_readable() {
    let long = "//! Long.\n".repeat(rules::LINES + 1);
    planted(rules::length, "tests/tests/x.rs", &[&long]);
    planted(rules::length, "compiler/src/x.rs", &[&long]);
    planted(rules::length, rules::LONG[0].0, &["//! Short.", &"//! Long.\n".repeat(rules::LONG[0].1 + 1)]);
    let files = files::rust();
    for (path, _) in rules::LONG {
        assert!(files.iter().any(|f| f.path == *path), "{path} is gone; take it off the list of long files");
    }
    hold(&files, rules::length);
}

/// Long texts are digests: nobody reads a diff of thousands of lines.
#[test]
fn snapshots_stay_readable() {
    planted(rules::length, "tests/tests/snapshots/x.snap", &[&"text\n".repeat(rules::LINES + 1)]);
    let files: Vec<File> = files::all().into_iter().filter(|f| f.path.ends_with(".snap")).collect();
    assert!(files.len() > 10, "{} snapshots", files.len());
    hold(&files, rules::length);
}

/// Whether a command is in tests/tools.txt, or stands there in another version: where a toolchain
/// takes whichever of several it finds, one of them is installed.
fn is_listed(command: &str, listed: &BTreeSet<&str>) -> bool {
    let family = |name: &str| match name.rsplit_once('-') {
        Some((before, version)) if version.bytes().all(|b| b.is_ascii_digit()) => before.to_owned(),
        _ => name.to_owned(),
    };
    let name = command.rsplit('/').next().unwrap_or(command);
    listed.contains(command) || listed.contains(name) || listed.iter().any(|l| family(l) == family(name))
}

/// A script with the text of those that it sources.
fn with_sourced(script: &str) -> String {
    let line = |line: &str| match line.trim().strip_prefix("source ") {
        Some(path) => std::fs::read_to_string(secateur_tests::repository().join(path)).expect(path),
        None => line.to_owned(),
    };
    script.lines().map(|l| line(l) + "\n").collect()
}

#[test]
fn every_tool_that_is_called_is_in_the_list() {
    let rust = |text: &str| calls::in_rust(&File::new("tests/tests/x.rs", text));
    let shell = calls::in_shell;
    let seen = |found: BTreeSet<String>, want: &[&str]| {
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), want);
    };
    seen(rust("fn f() { std::process::Command::new(\"cppcheck\").arg(\"x\"); }"), &["cppcheck"]);
    seen(rust("fn f() { for cc in [\"tcc\"] { Command::new(cc).arg(\"-c\"); } }"), &["tcc"]);
    seen(rust("const A: &[&str] = &[\"lld-3\"]; fn f() { tools::find(A); }"), &["lld-3"]);
    seen(
        shell("set -e\nif ! shellcheck x; then echo \"$(ninja -C y)\"; fi # cmake"),
        &["ninja", "shellcheck"],
    );
    seen(shell("A=1 meson x | jq . && f() { cd x; }\ncat <<'E'\nscons\nE\n"), &["jq", "meson"]);
    seen(calls::in_python("subprocess.run([\"objcopy\", x])"), &["objcopy"]);

    let list = tools::list();
    let listed: BTreeSet<&str> = list.iter().map(|t| t.what).collect();
    let mut wrong = Vec::new();
    let mut total = 0;
    for file in files::all() {
        let toolchains =
            file.path.starts_with("compiler/src/cli/") || file.path.starts_with("compiler/tests/");
        let tests = file.path.starts_with("tests/") || file.path.starts_with(".ci/");
        let planted = file.path.starts_with("tests/tests/tidy/") || file.path == "tests/src/tools.rs";
        let found = match () {
            () if planted => continue,
            () if file.is_rust() && (tests || toolchains) => calls::in_rust(&file),
            () if tests
                && file.text.starts_with("#!")
                && file.text.lines().next().unwrap().contains("bash") =>
            {
                calls::in_shell(&with_sourced(&file.text))
            }
            () if tests
                && (file.path.ends_with(".py") || file.text.starts_with("#!/usr/bin/env python3")) =>
            {
                calls::in_python(&file.text)
            }
            () => continue,
        };
        total += found.len();
        let unlisted = found.into_iter().filter(|c| !is_listed(c, &listed));
        wrong.extend(unlisted.map(|c| format!("{}: {c}", file.path)));
    }
    // What cores name as data.
    for target in secateur_targets::names() {
        let core = secateur_targets::find(&target).expect("it is listed").core;
        let emulator = core.emulator.as_ref().map(|e| e.program.clone());
        let gcc = core.toolchain.as_ref().filter(|t| !t.gcc.is_empty()).map(|t| t.command("gcc"));
        let unlisted = emulator.into_iter().chain(gcc).filter(|c| !is_listed(c, &listed));
        wrong.extend(unlisted.map(|c| format!("core {}: {c}", core.name)));
    }
    assert!(total > 20, "{total} calls: the rule has lost its sight");
    assert!(wrong.is_empty(), "not in tests/tools.txt: {wrong:#?}");
}

/// Tests get their tools by `tools::command`, which says what is missing.
#[test]
fn tests_name_a_missing_tool() {
    for file in files::rust() {
        let helper = file.path == "tests/src/tools.rs" || file.path.starts_with("tests/tests/tidy/");
        if !file.path.starts_with("tests/") || file.path.starts_with("tests/ui/") || helper {
            continue;
        }
        let bare = file.text.matches("Command::new(").count();
        let own = file.text.matches("Command::new(env!(").count();
        assert_eq!(bare, own, "{}: take `tools::command` or `tools::built`", file.path);
    }
}

#[test]
fn the_readme_lists_the_operators_that_exist() {
    let readme = std::fs::read_to_string(secateur_tests::repository().join("README.md")).unwrap();
    let begin = readme.find("<!-- operators").expect("the list has a beginning");
    let end = readme.find("<!-- end -->").expect("the list has an end");
    let mut listed: Vec<String> =
        readme[begin..end].split('`').skip(1).step_by(2).map(String::from).collect();
    listed.sort_unstable();
    assert_eq!(listed, secateur_compiler::onnx::supported());
    // `secateur operators` has these, and beside them what only folds away.
    let all = secateur_compiler::operators::all();
    let name = |r: &secateur_compiler::operators::Supported| match r.domain {
        "" => r.name.to_string(),
        domain => format!("{domain}.{}", r.name),
    };
    let names: Vec<String> = all.iter().map(name).collect();
    listed.iter().for_each(|n| assert!(names.contains(n), "{n}"));
    all.iter().for_each(|r| assert!(!r.float || listed.contains(&name(r)), "{}", name(r)));
}

/// A file of the repository that is known by name.
fn text(path: &str) -> String {
    std::fs::read_to_string(secateur_tests::repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// An advisory passes with a reason, and where the guard is that the reason names.
#[test]
fn the_guarded_advisory_is_named() {
    let deny: toml::Value = toml::from_str(&text("deny.toml")).expect("deny.toml is TOML");
    let guarded = deny["advisories"]["ignore"].as_array().expect("a list");
    assert_eq!(guarded.len(), 1, "{guarded:?}");
    let word = |key: &str| guarded[0][key].as_str().expect("a word").to_owned();
    let (id, reason) = (word("id"), word("reason"));
    assert!(reason.contains("compiler/src/onnx/scan.rs"), "{reason}");
    for file in ["compiler/src/onnx/scan.rs", "SECURITY.md"] {
        assert!(text(file).contains(id.as_str()), "{file} does not name {id}");
    }
    assert!(
        text("Cargo.lock").contains("name = \"protobuf\"\nversion = \"3.4.0\""),
        "{id} may be mended: take it out"
    );
}

/// The seconds that stages may take sum to less than forty minutes, and every stage has some.
#[test]
fn the_stages_fit_into_forty_minutes() {
    let run = text("tests/run");
    let table = run.split("\nBUDGET=\"\n").nth(1).and_then(|t| t.split("\"\n").next()).expect("a table");
    let stages: Vec<(&str, u32)> = table
        .lines()
        .map(|line| line.split_once(' ').expect("a stage and its seconds"))
        .map(|(stage, seconds)| (stage, seconds.trim().parse().expect("seconds")))
        .collect();
    let total: u32 = stages.iter().map(|(_, seconds)| seconds).sum();
    assert!(total < 2400, "the stages may take {total} s");
    let defined = run.lines().filter_map(|l| l.split_once("()")).map(|(name, _)| name);
    let defined: Vec<&str> = defined.filter(|name| name.chars().all(char::is_alphanumeric)).collect();
    for (stage, _) in &stages {
        assert!(defined.contains(stage), "stage {stage} does nothing");
    }
    for stage in defined.iter().filter(|d| !["budget", "quick", "fresh"].contains(d)) {
        assert!(stages.iter().any(|(s, _)| s == stage), "stage {stage} has no seconds");
    }
}
