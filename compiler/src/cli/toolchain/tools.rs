//! Finding compilers and emulators, and running them.
//!
//! In: command lines. Out: their success, or an error that names the command, what it said, and
//! the package that brings a missing one. Law: what is missing is the environment's fault and
//! said so; nothing is installed or downloaded here.

use super::process::Running;
use crate::cli::signals;
use crate::error::{Error, Fault, Result, Site};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

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

/// A fresh temporary folder, removed with the value.
pub(crate) fn folder() -> Result<tempfile::TempDir> {
    let place = std::env::temp_dir();
    tempfile::tempdir_in(&place).map_err(|e| {
        environment(format!("no temporary folder can be made in `{}`: {e}", place.display()))
            .help("set TMPDIR to a folder that can be written to")
    })
}

/// Runs a command to its end, or to a signal that we get.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |e: std::io::Error| environment(format!("`{name}` could not be started: {e}"));
    let mut running =
        Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).map_err(failed)?;
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was said before a pipe broke is what there is.
            let _ = pipe.map(|mut p| p.read_to_end(&mut bytes));
            bytes
        })
    };
    let stdout = read(running.child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>));
    let stderr = read(running.child.stderr.take().map(|p| Box::new(p) as Box<dyn Read + Send>));
    let status = running.wait(|| !signals::stopped()).map_err(failed)?.ok_or_else(signals::cancelled)?;
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    let output = Output { status, stdout: text(stdout), stderr: text(stderr) };
    // A signal from the terminal may have reached the command first.
    signals::check()?;
    Ok(output)
}

/// Runs a command to its end. A failure is taken for a defect of what we gave it to build.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let name = name.to_string_lossy().into_owned();
    let output = output(command)?;
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
    command.stdout(Stdio::null()).stderr(log.try_clone().map_err(system)?);
    let mut late = false;
    let ended = Running::start(command).map_err(system)?.wait(|| {
        late = Instant::now() >= until;
        !late && !signals::stopped()
    });
    let status = match ended.map_err(system)? {
        Some(status) => status,
        None if late => return Err(Failed::TookTooLong),
        None => return Err(Failed::Said(signals::cancelled().message)),
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
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::WouldBlock) => signals::check()?,
            Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    if ready.is_dir() {
        return Ok(ready);
    }
    let fresh = tempfile::tempdir_in(&cache).map_err(failed)?;
    make(fresh.path())?;
    std::fs::rename(fresh.keep(), &ready).map_err(failed)?;
    Ok(ready)
}
