//! Finding compilers and emulators, and running them.
//!
//! In: command lines. Out: their success, or an error that names the command, what it said, and
//! the package that brings a missing one. Law: what is missing is the environment's fault and
//! said so; nothing is installed or downloaded here.

use crate::error::{Error, Fault, Result, Site};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The first of these commands that is found on the path.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|p| p.is_file());
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    })
}

/// A missing command.
pub(crate) fn missing(what: &str, commands: &[&str], package: &str) -> Error {
    let commands: Vec<String> = commands.iter().map(|c| format!("`{c}`")).collect();
    Error::new(
        Fault::Environment,
        Site::Whole,
        format!("{what} was not found (looked for {})", commands.join(", ")),
    )
    .help(format!("on Debian: apt-get install {package}"))
}

/// Something about files or processes of this machine failed.
pub(crate) fn environment(message: impl Into<String>) -> Error {
    Error::new(Fault::Environment, Site::Whole, message)
}

/// Writes a file of a build folder.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| environment(format!("`{}` cannot be made: {e}", folder.display())))?;
    }
    std::fs::write(path, contents)
        .map_err(|e| environment(format!("`{}` cannot be written: {e}", path.display())))
}

/// Runs a command to its end. A failure is taken for a defect of what we gave it to build.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let name = name.to_string_lossy().into_owned();
    let output = command.output().map_err(|e| environment(format!("`{name}` could not be started: {e}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).take(12).collect();
    Err(Error::internal(Site::Whole, format!("`{name}` failed ({}):\n{}", output.status, said.join("\n"))))
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// In words: of the system, else the command's first line about an error.
    Said(String),
    TookTooLong,
}

/// Runs a command whose failure is nobody's fault, and stops it and what it started at a time.
pub(crate) fn attempt(command: &mut Command, until: Instant) -> std::result::Result<(), Failed> {
    let system = |e: std::io::Error| Failed::Said(e.to_string());
    // A file: a pipe would be held open by whatever outlives the command.
    let mut log = tempfile::tempfile().map_err(system)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().map_err(system)?);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.spawn().map_err(system)?;
    let mut pause = 1;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(system)? {
            break status;
        }
        if Instant::now() >= until {
            #[cfg(unix)]
            if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                // It may have ended by itself meanwhile; either way it is gone.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failed::TookTooLong);
        }
        std::thread::sleep(Duration::from_millis(pause));
        pause = (pause * 2).min(40);
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut said)).map_err(system)?;
    let said = String::from_utf8_lossy(&said);
    let lines = || said.lines().map(str::trim).filter(|l| !l.is_empty());
    let telling = lines().find(|l| l.contains("error")).or_else(|| lines().next());
    let plain = |l: &str| l.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    Err(Failed::Said(telling.map_or_else(|| status.to_string(), |l| format!("{} ({status})", plain(l)))))
}

/// Where built things that are worth keeping between runs stand: `SECATEUR_CACHE`, else the
/// user's cache folder.
pub(crate) fn cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    folder("SECATEUR_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|f| f.join("secateur")))
        .or_else(|| folder("HOME").map(|f| f.join(".cache/secateur")))
        .unwrap_or_else(|| std::env::temp_dir().join("secateur"))
}

/// Gives `cache()/name`, made by `make` on first use. Two processes make it once: the second
/// waits for the first; a failed attempt leaves nothing behind.
pub(crate) fn cached(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache();
    let ready = cache.join(name);
    if ready.is_dir() {
        return Ok(ready);
    }
    let failed =
        |e: std::io::Error| environment(format!("`{}` cannot be used as a cache: {e}", cache.display()));
    std::fs::create_dir_all(&cache).map_err(failed)?;
    let lock = std::fs::File::create(cache.join(format!("{name}.lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if ready.is_dir() {
        return Ok(ready);
    }
    let fresh = tempfile::tempdir_in(&cache).map_err(failed)?;
    make(fresh.path())?;
    std::fs::rename(fresh.keep(), &ready).map_err(failed)?;
    Ok(ready)
}
