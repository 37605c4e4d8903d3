//! SIGINT and SIGTERM: no temporary folder, no process and no file is left, and the exit code
//! says which it was.
//!
//! Compilers and emulators are stood in for by scripts that start a process of their own and
//! never end, so that the signal comes while they run, on any machine.
#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");

/// A folder with a place for temporary files, one for output, and commands in front of the
/// machine's own.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { root: tempfile::tempdir().unwrap() };
        for folder in ["tmp", "bin"] {
            std::fs::create_dir(place.at(folder)).unwrap();
        }
        place
    }
    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
    /// A command that says that it runs, and then only waits, with a process of its own.
    fn stand_in(&self, name: &str) {
        let file = self.at("bin").join(name);
        let text = format!(
            "#!/bin/sh\n: > \"$TMPDIR/half.o\"\n: > {}\nsleep 1000 &\nwait\n",
            self.at("started").display()
        );
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    fn start(&self, args: &[&str]) -> Child {
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        Command::new(env!("CARGO_BIN_EXE_secateur"))
            .args(args)
            .current_dir(self.root.path())
            .env("PATH", path)
            .env("TMPDIR", self.at("tmp"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
    /// Processes that were started from here.
    fn processes(&self) -> Vec<String> {
        let ours = self.at("tmp").display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.windows(ours.len()).any(|w| w == ours.as_bytes()) {
                found.push(std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default());
            }
        }
        found
    }
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn until(what: &str, mut true_at_last: impl FnMut() -> bool) {
    let since = Instant::now();
    while !true_at_last() {
        assert!(since.elapsed() < Duration::from_secs(240), "{what} never happened");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Starts, waits for the stand-in to run, sends the signal, and looks what is left.
fn nothing_is_left(stand_in: &str, args: &[&str], signal: &str, code: i32, word: &str) {
    let place = Place::new();
    place.stand_in(stand_in);
    let mut child = place.start(args);
    until(&format!("{args:?}: the stand-in's start"), || {
        place.at("started").exists() || child.try_wait().unwrap().is_some()
    });
    send(&child, signal);
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(word) && !said.contains("defect"), "{args:?}: {said}");
    // What a command itself left where it was told to is its own affair; ours are folders.
    let left: Vec<String> = names(&place.at("tmp")).into_iter().filter(|n| n != "half.o").collect();
    assert!(left.is_empty(), "{args:?}: {left:?}");
    assert!(names(&place.at("out")).is_empty(), "{args:?}: {:?}", names(&place.at("out")));
    until(&format!("{args:?}: the end of {:?}", place.processes()), || place.processes().is_empty());
}

#[test]
fn compile_with_check() {
    let args = ["compile", MODEL, "--calibrate", CALIBRATION, "--check", "-o", "out"];
    nothing_is_left("cc", &args, "-TERM", 143, "SIGTERM");
    nothing_is_left("cc", &args, "-INT", 130, "SIGINT");
    let args = [&args[..], &["--emit", "rust"]].concat();
    nothing_is_left("rustc", &args, "-INT", 130, "SIGINT");
}

#[test]
fn run_and_bench_on_an_emulator() {
    let args = ["--calibrate", CALIBRATION, "--target", "nrf52840"];
    let run = [&["run", MODEL, "--input", CALIBRATION, "--engine", "emulator"], &args[..]].concat();
    nothing_is_left("qemu-system-arm", &run, "-INT", 130, "SIGINT");
    nothing_is_left("qemu-system-arm", &[&["bench", MODEL], &args[..]].concat(), "-TERM", 143, "SIGTERM");
}

#[test]
fn the_second_signal_ends_at_once() {
    let place = Place::new();
    let model = place.at("model.onnx");
    assert!(Command::new("mkfifo").arg(&model).status().unwrap().success());
    // Nobody writes to the pipe: the first signal waits for a step that never comes.
    let mut child = place.start(&["inspect", "model.onnx"]);
    let listens = |child: &Child| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        u64::from_str_radix(&caught, 16).is_ok_and(|bits| bits & (1 << 14) != 0)
    };
    until("listening", || listens(&child));
    send(&child, "-TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    send(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_missing_folder_for_temporary_files_is_named() {
    let place = Place::new();
    let missing = place.at("nowhere");
    let out = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["run", MODEL, "--calibrate", CALIBRATION, "--input", CALIBRATION, "--engine", "c"])
        .env("TMPDIR", &missing)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).replace(['│', '\n', ' '], "");
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(&missing.display().to_string()) && said.contains("TMPDIR"), "{said}");
}
