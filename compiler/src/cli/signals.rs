//! SIGINT and SIGTERM: the first asks everything to stop and clean up, the second ends at once.
//!
//! Law: whoever waits for long asks [`stopped`] again and again, ends what it waits for, and
//! returns the error of [`check`]; temporary folders go with the values that hold them.

use crate::error::{Error, Fault, Result, Site};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static RECEIVED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Begins to listen. Where a signal cannot be listened to, it keeps its usual effect.
pub(crate) fn listen() {
    let received = RECEIVED.get_or_init(Arc::default);
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first arrival must not take itself for the second.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, again.clone());
        let _ = signal_hook::flag::register_usize(signal, received.clone(), signal as usize);
        let _ = signal_hook::flag::register(signal, again.clone());
    }
}

/// The signal that came, if one did.
pub(crate) fn received() -> Option<u8> {
    let number = RECEIVED.get().map_or(0, |r| r.load(Ordering::Relaxed));
    u8::try_from(number).ok().filter(|&n| n != 0)
}

pub(crate) fn stopped() -> bool {
    received().is_some()
}

/// The error of a run that was asked to stop.
pub(crate) fn cancelled() -> Error {
    let by = match received().map(i32::from) {
        Some(SIGINT) => "stopped by SIGINT",
        Some(SIGTERM) => "stopped by SIGTERM",
        _ => "stopped on request",
    };
    Error::new(Fault::Cancelled, Site::Whole, by)
}

/// Refuses to go on once a signal came.
pub(crate) fn check() -> Result<()> {
    if stopped() { Err(cancelled()) } else { Ok(()) }
}
