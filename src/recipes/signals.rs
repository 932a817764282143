//! Signals: which one has come. SIGTERM and SIGHUP go on to the command; SIGINT and SIGQUIT reach it by its terminal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals that came since this was made; the last of each look.
#[derive(Debug)]
pub struct Signals {
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// From now on these signals end nothing by themselves.
    pub fn listen() -> io::Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signal_hook::flag::register_usize(signal, Arc::clone(&last), signal.unsigned_abs() as usize)?;
        }
        Ok(Self { last })
    }

    /// The signal that came since the last look.
    #[must_use]
    pub fn take(&self) -> Option<i32> {
        let signal = self.last.swap(0, Ordering::Relaxed);
        i32::try_from(signal).ok().filter(|signal| *signal != 0)
    }
}
