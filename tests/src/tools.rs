//! The tools from outside that tests call: compilers, emulators, readers of objects.
//!
//! In: `tests/tools.txt`, which tests/setup installs from. Out: commands to run, or a failure that
//! names the tool and the package that brings it. Law: what is not in the list is not called, so a
//! machine that ran tests/setup has everything.

use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = include_str!("../tools.txt");

/// One line of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// A command, a file, or `check:NAME`, a function of tests/setup.
    pub what: &'static str,
    /// Debian packages; none: the tool is used where it is there.
    pub packages: Vec<&'static str>,
    pub callers: Vec<&'static str>,
}

/// The list.
pub fn list() -> Vec<Tool> {
    let parted = |words: &'static str| words.split(',').filter(|w| *w != "-").collect();
    LIST.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [what, packages, callers] = columns[..] else {
                panic!("tests/tools.txt: not three columns: {line}")
            };
            Tool { what, packages: parted(packages), callers: parted(callers) }
        })
        .collect()
}

/// Where a command stands, by `PATH`; a path is looked at where it is.
pub fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|p| p.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn listed(name: &str) -> Result<Tool, String> {
    list().into_iter().find(|tool| tool.what == name).ok_or_else(|| {
        format!("`{name}` is called by a test and is not in tests/tools.txt: add a line, for tests/setup to install it")
    })
}

/// Says what is missing, or gives the place.
pub fn look_up(name: &str) -> Result<PathBuf, String> {
    let tool = listed(name)?;
    find(name).ok_or_else(|| {
        let packages = tool.packages.join(" ");
        let remedy = match packages.as_str() {
            "" => "install it".into(),
            packages => format!("run tests/setup, or on Debian: apt-get install {packages}"),
        };
        format!("this test needs `{name}`, which this machine lacks: {remedy}")
    })
}

/// A tool that the test cannot do without: the test fails by its name where it is missing.
#[track_caller]
pub fn command(name: &str) -> Command {
    Command::new(look_up(name).unwrap_or_else(|why| panic!("{why}")))
}

/// Fails by name where one of these is missing: for what a tool of the list needs beside itself.
#[track_caller]
pub fn require(names: &[&str]) {
    for name in names {
        look_up(name).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// A program that the test built itself.
pub fn built(program: &Path) -> Command {
    Command::new(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let why = look_up("secateur-no-such-tool").unwrap_err();
        assert!(why.contains("`secateur-no-such-tool`") && why.contains("tests/tools.txt"), "{why}");
        let tools = list();
        let gcc = tools.iter().find(|t| t.what == "cc").expect("listed");
        assert_eq!(gcc.packages, ["gcc", "libc6-dev"]);
        let lacking = tools.iter().find(|t| find(t.what).is_none() && t.what == "clang");
        if let Some(tool) = lacking {
            assert!(look_up(tool.what).unwrap_err().contains("this test needs `clang`"));
        }
    }

    #[test]
    fn the_list_names_each_tool_once() {
        let mut names: Vec<&str> = list().iter().map(|t| t.what).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
