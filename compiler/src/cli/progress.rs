//! Progress on a terminal; silence in a pipe.

use crate::observe::Observer;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// An observer that draws a spinner or a bar on standard error when that is a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    bar: ProgressBar,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        // indicatif draws nothing by itself when standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Terminal { bar }
    }
}

impl Observer for Terminal {
    fn progress(&mut self, name: &str, done: usize, total: usize) {
        if total > 0 {
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_length(total as u64);
            self.bar.set_position(done as u64);
        } else {
            self.bar.set_style(ProgressStyle::default_spinner());
        }
        self.bar.set_message(name.to_string());
    }
    fn cancelled(&mut self) -> bool {
        super::signals::stopped()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
