//! The operations on files that change an output folder, each a step that a test can make fail.
//!
//! Law: nothing of [`super::folder`] changes a file but through these. In the binary they are
//! plain calls of the system.

use std::io;
use std::path::Path;

/// The disk; in tests, one that fails at a step.
#[derive(Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<usize>,
    /// The step that fails, and whether all after it do: what a crash looks like to the disk.
    #[cfg(test)]
    pub(super) fails: Option<(usize, bool)>,
}

impl Disk {
    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        let step = self.steps.replace(self.steps.get() + 1);
        match self.fails {
            Some((at, ever)) if step == at || (ever && step > at) => Err(io::Error::other("a step failed")),
            _ => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[inline]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::create_dir_all(path)
    }

    /// Writes a new file and waits until it is on the disk.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::create(path)?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first)?;
        self.step()?;
        file.write_all(second)?;
        file.sync_all()
    }

    /// The same file under a second name; a copy where the file system has no links.
    pub(super) fn keep(&self, path: &Path, second: &Path) -> io::Result<()> {
        self.step()?;
        if std::fs::hard_link(path, second).is_ok() {
            return Ok(());
        }
        std::fs::copy(path, second)?;
        std::fs::File::open(second)?.sync_all()
    }

    /// Takes the place of what is there.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::rename(from, to)
    }

    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::remove_file(path)
    }

    pub(super) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::remove_dir(path)
    }

    pub(super) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::remove_dir_all(path)
    }

    /// Waits until the names in a folder are on the disk, where the system can say so.
    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        #[cfg(unix)]
        match std::fs::File::open(path)?.sync_all() {
            Err(e) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                return Err(e);
            }
            _ => {}
        }
        #[cfg(not(unix))]
        let _ = path;
        Ok(())
    }
}
