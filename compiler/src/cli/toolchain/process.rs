//! Processes of others: compilers, emulators, built models.
//!
//! Law: none outlives the value that holds it. Each leads a group of its own, and a group ends
//! as a whole: a compiler's passes with the compiler.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to clean up after it was told to end.
const GRACE: Duration = Duration::from_secs(1);

/// A running process, ended with this value.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    ended: bool,
}

impl Running {
    /// Starts a command, which reads nothing.
    pub(super) fn start(command: &mut Command) -> io::Result<Running> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        Ok(Running { child: command.stdin(Stdio::null()).spawn()?, ended: false })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Waits for the end, asking `go_on` again and again; `None` if that said no and the process
    /// was ended.
    pub(super) fn wait(mut self, mut go_on: impl FnMut() -> bool) -> io::Result<Option<ExitStatus>> {
        let mut pause = 1;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if !go_on() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(pause));
            pause = (pause * 2).min(20);
        }
    }

    #[cfg(unix)]
    fn tell(&self, signal: rustix::process::Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // A group that is gone needs no telling.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn end(&mut self) {
        #[cfg(unix)]
        {
            // Compilers remove their temporary files when they are asked to end.
            self.tell(rustix::process::Signal::TERM);
            let since = Instant::now();
            while since.elapsed() < GRACE && !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.tell(rustix::process::Signal::KILL);
        }
        // It may have ended by itself meanwhile; either way it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.ended = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}
