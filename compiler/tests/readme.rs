//! What README and docs tell a user to type is typed: shell lines and C of fenced blocks, and every
//! `secateur ...` that stands within a sentence. (Rust, TOML and what is shown: suites `ui` and
//! `configuration` of the tests.)
//!
//! It stands in this package, because only here does Cargo say where the binary is. Law: a block
//! that no rule here knows fails, so a new line of the docs needs a rule, not luck.

use std::path::{Path, PathBuf};
use std::process::Command;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d");

/// Pages whose blocks a suite of their own builds.
const OWN_SUITE: &[(&str, &str)] = &[("docs/build-systems.md", "tests/tests/build_systems.rs")];

/// The pages that are read, from the root of the repository: README and all of docs.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs").flatten();
    let docs = docs.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.ends_with(".md"));
    let mut pages: Vec<String> = docs.map(|n| format!("docs/{n}")).collect();
    pages.push("README.md".into());
    pages.sort();
    for (page, suite) in OWN_SUITE {
        assert!(root().join(suite).is_file(), "{page}: there is no {suite}");
        pages.retain(|p| p != page);
    }
    pages
}

/// What stands for the names that the docs give models and data.
const FILES: &[(&str, &str)] = &[
    ("kws.onnx", "model.onnx"),
    ("model_int8_qdq.onnx", "model.onnx"),
    ("MODEL", "model.onnx"),
    ("samples.npy", "calib.npy"),
    ("X.npy", "test_x.npy"),
    ("Y.npy", "test_y.npy"),
];

/// The ports that the docs' model has, and those of the model that stands for it.
const PORTS: &[(&str, &str)] =
    &[("audio", "imu"), ("AUDIO", "IMU"), ("label", "logits"), ("LABEL", "LOGITS")];

/// Lines that something else runs.
const ELSEWHERE: &[(&str, &str)] = &[
    ("./tests/run", "tests/fresh"),
    ("cargo run --release --bin secateur -- demo", "tests/fresh and stage demo"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Fenced blocks: the word behind the fence, the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(word) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                found.push((word.trim().into(), String::new()));
            }
        } else if inside {
            let (_, text) = found.last_mut().expect("a block is open");
            text.push_str(line);
            text.push('\n');
        }
    }
    assert!(!inside, "a block is not closed");
    found
}

/// `secateur ...` within sentences and tables.
fn mentions(page: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            outside.push_str(line);
            outside.push('\n');
        }
    }
    let spans = outside.split('`').skip(1).step_by(2);
    spans
        .filter(|s| s.starts_with("secateur "))
        .map(|s| s.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// A folder with everything that the docs name.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, from) in FILES {
        std::fs::copy(Path::new(MODEL).join(from), folder.path().join(name)).unwrap();
    }
    folder
}

/// A job that an earlier line planned in `folder`.
fn first_job(folder: &Path) -> String {
    let jobs = std::fs::read_dir(folder.join("cluster/jobs")).expect("an earlier line plans jobs");
    let mut jobs: Vec<String> = jobs.flatten().map(|e| e.path().display().to_string()).collect();
    jobs.sort();
    jobs.swap_remove(0)
}

/// Runs one line as a user would, in `folder`.
fn run(line: &str, folder: &Path) {
    if ELSEWHERE.iter().any(|(known, _)| *known == line) {
        return;
    }
    if line.starts_with("arm-none-eabi-gcc ") {
        // Suite `build_systems` of the tests.
        return;
    }
    if line.starts_with("make ") {
        // Suite `new`.
        return;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "secateur", "no rule for the line `{line}`");
    let mut args: Vec<String> = words[1..].iter().map(|w| w.trim_matches(['[', ']']).to_owned()).collect();
    for arg in &mut args {
        match arg.as_str() {
            "NAME" => *arg = "nrf52840".into(),
            "CHIP" => *arg = "nrf52840".into(),
            "DIR" => *arg = "out".into(),
            "FILE" if words.contains(&"--job") => *arg = first_job(folder),
            "OLD.json" => panic!("`{line}` needs a file that no one wrote"),
            _ => {}
        }
    }
    let command = args[0].clone();
    let command = command.as_str();
    if command == "fit" && args.iter().any(|a| a == "kws.onnx" || a == "MODEL") {
        // As typed, but for fewer plans.
        args.extend(["--trials", "5", "--patterns", "4x4"].map(String::from));
    }
    // The docs' models may be quantized ones; the one that stands for them is not.
    let samples = ["compile", "run", "eval", "bench"].contains(&command);
    if (samples || args.iter().any(|a| a == "--trials")) && !args.iter().any(|a| a == "--calibrate") {
        args.extend(["--calibrate".into(), "samples.npy".into()]);
    }
    let out = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(&args)
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    assert!(out.status.success(), "`{line}` as {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A program around statements of the docs. Lines before the first blank one stand outside of
/// `main` if they include a header.
fn program(text: &str, both: bool) -> String {
    let mut text = text.to_owned();
    for (from, to) in PORTS {
        text = text.replace(from, to);
    }
    let (declarations, statements) = match text.split_once("\n\n") {
        Some((head, rest)) if head.contains("#include") => (head.to_owned(), rest.to_owned()),
        _ => ("#include \"kws.h\"\nstatic kws_arena arena;".to_owned(), text),
    };
    let init = if both { "" } else { "kws_init(&arena);\n" };
    format!("{declarations}\nint main(void) {{\n{init}{statements}\nreturn 0;\n}}\n")
}

fn build_c(folder: &Path, texts: &[String]) {
    for text in texts {
        std::fs::write(folder.join("out/main.c"), program(text, text.contains("_init("))).unwrap();
        let sources: Vec<PathBuf> = std::fs::read_dir(folder.join("out"))
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "c" || e == "S"))
            .collect();
        let out = Command::new("arm-none-eabi-gcc")
            .args([
                "-mcpu=cortex-m4",
                "-mthumb",
                "-std=c99",
                "-Wall",
                "-Wextra",
                "-Werror",
                "--specs=rdimon.specs",
            ])
            .args(["-O1", "-o", "main"])
            .args(&sources)
            .current_dir(folder.join("out"))
            .output()
            .expect("`arm-none-eabi-gcc` starts (on Debian: apt-get install gcc-arm-none-eabi)");
        assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn every_line_that_a_user_would_type_runs() {
    let (mut lines, mut sentences) = (0, 0);
    for name in &pages() {
        let folder = workplace();
        let text = page(name);
        let mut c = Vec::new();
        for (language, block) in blocks(&text) {
            match language.as_str() {
                "sh" => {
                    for line in block.lines().map(|l| l.split('#').next().unwrap_or(l).trim()) {
                        if !line.is_empty() {
                            run(line, folder.path());
                            lines += 1;
                        }
                    }
                }
                // The texts of docs/tour.md are what a compile wrote: suite `tour` of the tests.
                "c" if name.ends_with("tour.md") => {}
                // Of two models, one with a state: suite `build_systems` of the tests.
                "c" if name.ends_with("configuration.md") && block.contains("words_arena") => {}
                "c" => c.push(block),
                // Suites `ui` and `configuration` of the tests.
                "rust" | "toml" | "text" => {}
                // Suite `build_systems` of the tests.
                "make" | "cmake" => {}
                other => {
                    panic!("{name}: no rule for a block marked `{other}` (mark shell lines `sh`):\n{block}")
                }
            }
        }
        build_c(folder.path(), &c);
        for line in mentions(&text) {
            // A subcommand's name alone says which is meant.
            if line.split_whitespace().count() > 2 || line.contains("targets") {
                run(&line, folder.path());
                sentences += 1;
            }
        }
    }
    assert!(
        lines >= 4 && sentences >= 6,
        "{lines} lines, {sentences} sentences: the rule has lost its sight"
    );
}

#[test]
fn what_is_elsewhere_stands_in_the_readme() {
    let readme = page("README.md");
    for (line, _) in ELSEWHERE {
        assert!(readme.contains(line), "{line}");
    }
}
