//! Who hears of progress and may stop the work.

/// Hears progress, and may stop the work between steps.
pub trait Observer {
    /// Stage `name` stands at `done` of `total` (0 of 0 when it cannot be counted).
    fn progress(&mut self, _name: &str, _done: usize, _total: usize) {}
    /// Asked between steps; `true` ends the compilation with `Fault::Cancelled`.
    fn cancelled(&mut self) -> bool {
        false
    }
}

/// An observer that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;
impl Observer for Silent {}
