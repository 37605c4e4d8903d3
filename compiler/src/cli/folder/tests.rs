//! Faults at every step of replacing a set of files.

use super::*;
use std::collections::BTreeMap;

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}

fn ours(what: &str) -> String {
    format!("/* {what} of the model `net`, compiled by Secateur 9.9.\n */\n")
}

fn old() -> Vec<File> {
    vec![
        file("net.c", &ours("Old C")),
        file("net.h", &ours("Old header")),
        file("net.S", &ours("Old assembly")),
        file("secateur.h", "/* Secateur: old */\n"),
    ]
}

fn new() -> Vec<File> {
    vec![
        file("net.c", &(ours("New C") + &"int x;\n".repeat(100))),
        file("net.h", &ours("New header")),
        file("secateur.h", "/* Secateur: new */\n"),
        file("src/lib.rs", &ours("New Rust")),
    ]
}

/// A folder with the old files, and some of somebody else.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for f in old() {
        std::fs::write(folder.path().join(f.path), f.text).unwrap();
    }
    std::fs::write(folder.path().join("main.c"), "int main(void);\n").unwrap();
    let other = ours("C").replace("`net`", "`network`");
    std::fs::write(folder.path().join("network.c"), other).unwrap();
    folder
}

fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

/// What the folder holds before and after.
fn before_and_after() -> [BTreeMap<String, String>; 2] {
    let folder = folder();
    let before = contents(folder.path());
    let mut after = before.clone();
    after.remove("net.S");
    after.extend(new().into_iter().map(|f| (f.path, f.text)));
    [before, after]
}

#[test]
fn a_set_replaces_the_one_before_it() {
    let [_, after] = before_and_after();
    let folder = folder();
    assert_eq!(replace(folder.path(), "net", &new()).unwrap(), ["net.S"]);
    assert_eq!(contents(folder.path()), after);
}

#[test]
fn a_failure_at_any_step_changes_nothing() {
    let [before, after] = before_and_after();
    let mut failures = 0;
    for step in 0.. {
        let folder = folder();
        let disk = Disk { fails: Some((step, false)), ..Disk::default() };
        let replaced = replace_on(&disk, folder.path(), "net", &new());
        let now = contents(folder.path());
        if disk.steps.get() <= step {
            assert_eq!(now, after);
            break;
        }
        match replaced {
            Ok(_) => {
                // Only what comes after the plan is final may fail without a word.
                let clean: BTreeMap<_, _> =
                    now.into_iter().filter(|(n, _)| !n.starts_with(STAGING)).collect();
                assert_eq!(clean, after, "step {step}");
                replace(folder.path(), "net", &new()).unwrap();
                assert_eq!(contents(folder.path()), after, "step {step}");
            }
            Err(_) => {
                failures += 1;
                assert_eq!(now, before, "step {step}");
            }
        }
    }
    assert!(failures > 25, "{failures} steps failed");
}

#[test]
fn after_a_crash_at_any_step_the_next_look_finds_one_set() {
    let [before, after] = before_and_after();
    let (mut olds, mut news) = (0, 0);
    for step in 0.. {
        let folder = folder();
        let disk = Disk { fails: Some((step, true)), ..Disk::default() };
        // Whatever it says: after a crash nobody hears it.
        let _ = replace_on(&disk, folder.path(), "net", &new());
        if disk.steps.get() <= step {
            break;
        }
        // The recovery may crash as well, anywhere.
        for again in 0..6 {
            let _ = recover(&Disk { fails: Some((again, true)), ..Disk::default() }, folder.path());
        }
        recover(&Disk::default(), folder.path()).unwrap();
        let now = contents(folder.path());
        olds += usize::from(now == before);
        news += usize::from(now == after);
        assert!(now == before || now == after, "step {step}: {:?}", now.keys());
        replace(folder.path(), "net", &new()).unwrap();
        assert_eq!(contents(folder.path()), after, "step {step}");
    }
    assert!(olds > 25 && news > 0, "{olds} old, {news} new");
}

#[test]
fn a_folder_that_was_not_there_is_not_there_after_a_failure() {
    for step in 1..12 {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk { fails: Some((step, false)), ..Disk::default() };
        replace_on(&disk, &root.path().join("a/b"), "net", &new()).unwrap_err();
        assert!(!root.path().join("a").exists(), "step {step}");
    }
}

#[test]
fn files_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("net.h");
    std::fs::write(&theirs, "#define MINE 1\n").unwrap();
    let error = replace(folder.path(), "net", &new()).unwrap_err();
    assert!(error.to_string().contains("net.h") && error.help.is_some(), "{error}");
    assert_eq!(contents(folder.path()).len(), 1);
    assert!(!folder.path().join(STAGING).exists());
    std::fs::remove_file(&theirs).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    replace(folder.path(), "net", &new()).unwrap_err();
    assert!(theirs.is_dir());
}

/// A `Makefile` or a `Cargo.toml` is of one model: that of another is not replaced.
#[test]
fn files_of_another_model_stay() {
    let folder = folder();
    let theirs = ours("Makefile").replace("`net`", "`network`");
    std::fs::write(folder.path().join("Makefile"), theirs).unwrap();
    let before = contents(folder.path());
    let files = [new(), vec![file("Makefile", &ours("Makefile"))]].concat();
    let error = replace(folder.path(), "net", &files).unwrap_err().to_string();
    assert!(error.contains("Makefile") && error.contains("another model"), "{error}");
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn two_at_once_take_turns() {
    let folder = folder();
    std::thread::scope(|scope| {
        for set in [old(), new(), old(), new()] {
            let folder = folder.path();
            scope.spawn(move || (0..5).for_each(|_| drop(replace(folder, "net", &set).unwrap())));
        }
    });
    let [before, after] = before_and_after();
    let now = contents(folder.path());
    assert!(now == after || now == before, "{:?}", now.keys());
}

#[test]
fn a_folder_that_stays_locked_is_named() {
    let folder = folder();
    let before = contents(folder.path());
    let held = lock(folder.path(), PATIENCE).unwrap();
    let error = lock(folder.path(), Duration::from_millis(10)).unwrap_err().to_string();
    assert!(error.contains("another compilation") && error.contains("-o"), "{error}");
    assert_eq!(contents(folder.path()), before);
    drop(held);
    replace(folder.path(), "net", &new()).unwrap();
}
