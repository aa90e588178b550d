//! Ctrl-C: the run ends at the next check, and everything it made is removed on the way out. A second one ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn ask(_signal: i32) {
    ASKED.store(true, Ordering::Relaxed);
}

/// Takes SIGINT and SIGTERM from now on.
pub fn catch() -> Result<()> {
    // Reset: the second signal does what it always does. Restart: no call of ours fails for it.
    let flags = SaFlags::SA_RESETHAND | SaFlags::SA_RESTART;
    let action = SigAction::new(SigHandler::Handler(ask), flags, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { sigaction(signal, &action) }.context("catch signals")?;
    }
    Ok(())
}

/// Fails once the run is to end. Call it in every loop that takes long.
pub fn check() -> Result<()> {
    ensure!(!asked(), "interrupted");
    Ok(())
}

/// Whether the run is to end.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
