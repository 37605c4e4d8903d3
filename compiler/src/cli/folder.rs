//! A set of output files that replaces the set before it, whole or not at all.
//!
//! In: a folder, the files of one model, its name. Out: the folder with exactly these files of
//! the model. Law: after a failure the folder holds what it held before; after a crash it holds
//! the old files or the new ones as soon as the next compilation looks at it. Files that
//! Secateur did not write are neither overwritten nor removed.
//!
//! The way: new files are written to a staging folder inside and synced, old ones are linked
//! beside them, and a plan says which they are. Then each new file is renamed into its place.
//! Renaming the plan makes it final; whoever finds a plan that is not final undoes it.

use super::disk::Disk;
use super::output::io_error;
use crate::emit::File;
use crate::error::{Error, Fault, Result, Site};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Everything that is in the making stands here, inside the output folder.
const STAGING: &str = ".secateur-staging";
/// The plan, and its name once the new files are final.
const PLAN: &str = "plan";
const FINAL: &str = "final";
/// How long to wait for another compilation that writes to the same folder.
const PATIENCE: Duration = Duration::from_secs(30);
/// All files that we write say so in their first lines; how the headers of the runtime begin.
const BANNER: &str = ", compiled by Secateur ";
const RUNTIME: &str = "/* Secateur: ";

/// A file to write: its path in the folder, and what it holds.
pub(crate) trait Written {
    fn path(&self) -> &str;
    fn bytes(&self) -> &[u8];
}

impl Written for File {
    fn path(&self) -> &str {
        &self.path
    }
    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Written for (String, Vec<u8>) {
    fn path(&self) -> &str {
        &self.0
    }
    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

/// Names of the files that were removed because no other compilation would have.
pub(crate) type Removed = Vec<String>;

/// Replaces the files of model `name` in `folder`, which is made if needed.
pub(crate) fn replace(folder: &Path, name: &str, files: &[impl Written]) -> Result<Removed> {
    replace_on(&Disk::default(), folder, name, files)
}

pub(super) fn replace_on(disk: &Disk, folder: &Path, name: &str, files: &[impl Written]) -> Result<Removed> {
    let made = first_missing(folder);
    let replaced = disk
        .create_dir_all(folder)
        .map_err(|e| io_error(folder, "cannot be made", &e))
        .and_then(|()| locked(disk, folder, name, files));
    if replaced.is_err()
        && let Some(made) = made
    {
        // Only what we made ourselves, from the inside out, and only what is empty.
        for path in folder.ancestors().take_while(|p| p.starts_with(&made)) {
            let _ = disk.remove_dir(path);
        }
    }
    replaced
}

/// The outermost folder of a path that is not there yet.
fn first_missing(folder: &Path) -> Option<PathBuf> {
    let missing = folder.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
    missing.last().map(Path::to_path_buf)
}

/// What stands in the way of one compilation: the lock is the folder itself, where that can be
/// opened, so that nothing is left behind, whatever happens to us. The system frees it.
fn lock(folder: &Path, patience: Duration) -> Result<std::fs::File> {
    #[cfg(unix)]
    let opened = std::fs::File::open(folder);
    #[cfg(not(unix))]
    let opened = std::fs::File::create(folder.join(".secateur-lock"));
    let file = opened.map_err(|e| io_error(folder, "cannot be opened", &e))?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if since.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                let message = format!(
                    "another compilation has been writing to this folder for {} s",
                    patience.as_secs()
                );
                return Err(Error::new(
                    Fault::Environment,
                    Site::File(folder.display().to_string()),
                    message,
                )
                .help("wait for it, or name another folder with `-o`"));
            }
            // Some network file systems lock nothing. Their users have no second guard.
            Err(std::fs::TryLockError::Error(_)) => return Ok(file),
        }
    }
}

fn locked(disk: &Disk, folder: &Path, name: &str, files: &[impl Written]) -> Result<Removed> {
    let _lock = lock(folder, PATIENCE)?;
    recover(disk, folder)?;
    refuse_foreign(folder, name, files)?;
    let removed = stale(folder, name, files);
    let staging = folder.join(STAGING);
    let done = exchange(disk, folder, files, &removed);
    if let Err(error) = done {
        return Err(match undo(disk, folder) {
            Ok(()) => error,
            Err(_) => error.help(format!(
                "the files from before are kept in `{}`; the next compilation puts them back",
                staging.display()
            )),
        });
    }
    // The new files are final; what is left of the making goes now, or with the next compilation.
    let _ = disk.remove_dir_all(&staging);
    Ok(removed)
}

/// Puts back, or clears away, what an earlier compilation did not finish.
fn recover(disk: &Disk, folder: &Path) -> Result<()> {
    let staging = folder.join(STAGING);
    if !staging.exists() {
        return Ok(());
    }
    undo(disk, folder).map_err(|e| {
        io_error(&staging, "is left from a compilation that was broken off, and cannot be cleared", &e)
    })
}

/// Undoes a plan that is not final, then removes the staging folder. May be broken off and begun
/// again anywhere.
fn undo(disk: &Disk, folder: &Path) -> io::Result<()> {
    let staging = folder.join(STAGING);
    if !staging.exists() {
        return Ok(());
    }
    if let Ok(plan) = std::fs::read_to_string(staging.join(PLAN)) {
        for line in plan.lines() {
            let Some((how, path)) = line.split_once(' ') else { continue };
            let (place, old) = (folder.join(path), staging.join("old").join(path));
            if how == "old" {
                if old.exists() {
                    disk.rename(&old, &place)?;
                }
            } else if !staging.join("new").join(path).exists() && place.exists() {
                disk.remove_file(&place)?;
            }
            // A folder that was made for it goes with it, unless something else stands in it.
            if how != "old" && parent(&place) != folder {
                let _ = disk.remove_dir(parent(&place));
            }
        }
        disk.sync_dir(folder)?;
        // From here on there is nothing to undo, however far the removal gets.
        disk.remove_file(&staging.join(PLAN))?;
    }
    disk.remove_dir_all(&staging)
}

/// Writes, links, plans, renames.
fn exchange(disk: &Disk, folder: &Path, files: &[impl Written], removed: &[String]) -> Result<()> {
    let staging = folder.join(STAGING);
    let (new, old) = (staging.join("new"), staging.join("old"));
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |e: io::Error| io_error(&path, "cannot be written", &e)
    };
    for part in [&new, &old] {
        disk.create_dir_all(part).map_err(at(folder))?;
    }
    let mut plan = String::new();
    let replaced = files.iter().map(|f| f.path()).chain(removed.iter().map(String::as_str));
    for path in replaced {
        let (place, kept) = (folder.join(path), old.join(path));
        let there = place.exists();
        plan += &format!("{} {path}\n", if there { "old" } else { "none" });
        if there {
            disk.create_dir_all(parent(&kept)).map_err(at(&place))?;
            disk.keep(&place, &kept).map_err(at(&place))?;
        }
    }
    for file in files {
        let (place, fresh) = (folder.join(file.path()), new.join(file.path()));
        disk.create_dir_all(parent(&fresh)).map_err(at(&place))?;
        disk.write(&fresh, file.bytes()).map_err(at(&place))?;
        disk.sync_dir(parent(&fresh)).map_err(at(&place))?;
    }
    let half = staging.join("plan.half");
    disk.write(&half, plan.as_bytes()).map_err(at(folder))?;
    disk.rename(&half, &staging.join(PLAN)).map_err(at(folder))?;
    disk.sync_dir(&staging).map_err(at(folder))?;
    for file in files {
        let place = folder.join(file.path());
        disk.create_dir_all(parent(&place)).map_err(at(&place))?;
        disk.rename(&new.join(file.path()), &place).map_err(at(&place))?;
        disk.sync_dir(parent(&place)).map_err(at(&place))?;
    }
    for path in removed {
        disk.remove_file(&folder.join(path)).map_err(at(&folder.join(path)))?;
    }
    disk.sync_dir(folder).map_err(at(folder))?;
    disk.rename(&staging.join(PLAN), &staging.join(FINAL)).map_err(at(folder))?;
    // Either name of the plan is right on the disk from here on.
    let _ = disk.sync_dir(&staging);
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The first lines of a file, if it is a text that can be read.
fn head(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(512).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_ours(head: &str) -> bool {
    head.contains(BANNER) || head.starts_with(RUNTIME)
}

/// Text forms of `--dump-after` have no comments, and no other file has such a name.
fn is_dump(path: &str) -> bool {
    path.ends_with(".txt")
}

/// Refuses to overwrite what we did not write, or wrote for another model: a `Makefile` builds one.
fn refuse_foreign(folder: &Path, name: &str, files: &[impl Written]) -> Result<()> {
    let banner = format!("of the model `{name}`{BANNER}");
    for file in files {
        let place = folder.join(file.path());
        // A link that leads nowhere is something, too.
        let Ok(there) = std::fs::symlink_metadata(&place) else { continue };
        let head = head(&place).unwrap_or_default();
        if there.is_file() && head.contains(BANNER) && !head.contains(&banner) {
            let message = "stands where output is to go, and belongs to another model";
            return Err(Error::new(Fault::Environment, Site::File(place.display().to_string()), message)
                .help("name another folder with `-o`: with `--layout`, every model has its own"));
        }
        let ours = there.is_file() && (is_dump(file.path()) || is_ours(&head));
        if !ours {
            let message = "stands where output is to go, and was not written by Secateur";
            return Err(Error::new(Fault::Environment, Site::File(place.display().to_string()), message)
                .help("name another folder with `-o`, or move it away"));
        }
    }
    Ok(())
}

/// Files of the same model that an earlier compilation wrote and this one does not: they would
/// be built together with the new ones.
fn stale(folder: &Path, name: &str, files: &[impl Written]) -> Removed {
    let banner = format!("of the model `{name}`{BANNER}");
    let mut stale = Vec::new();
    for inside in ["", "src"] {
        let Ok(entries) = std::fs::read_dir(folder.join(inside)) else { continue };
        for entry in entries.flatten() {
            let Ok(file) = entry.file_name().into_string() else { continue };
            let path = if inside.is_empty() { file } else { format!("{inside}/{file}") };
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            // The plan has a line for each.
            if is_file
                && !path.contains('\n')
                && !files.iter().any(|f| f.path() == path)
                && head(&entry.path()).is_some_and(|h| h.contains(&banner))
            {
                stale.push(path);
            }
        }
    }
    stale.sort();
    stale
}

#[cfg(test)]
mod tests;
